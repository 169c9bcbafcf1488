//! A million byte strings, most of them damaged frames: no panic, the verdict of a plain checker, and whatever is
//! accepted survives being encoded again.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod wire_support;

use pulse_core::wire::{DecodeError, Split, decode, split};
use wire_support::{Rng, TYPES, describe, encoded, frame, hex, map_of, pairs};

const SEEDS: u64 = 1_000;
const INPUTS_PER_SEED: usize = 1_000;

/// Bytes that begin something in MessagePack, for mutations that hit more often than chance.
const HEADS: &[u8] = &[
    0x00, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x91, 0x9f, 0xa0, 0xa4, 0xbf, 0xc0, 0xc1, 0xc2, 0xc4, 0xc5, 0xc6,
    0xc7, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd3, 0xd4, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd,
    0xde, 0xdf, 0xe0, 0xff,
];

fn mutate(map: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    if map.is_empty() {
        map.push(rng.next() as u8);
        return;
    }
    let at = rng.below(map.len());
    match rng.below(8) {
        0 => map[at] ^= 1 << rng.below(8),
        1 => map.truncate(at),
        2 => map[at] = rng.pick(HEADS),
        3 => map.insert(at, rng.pick(HEADS)),
        // A piece of another frame in place of a piece of this one.
        4 => {
            let to = at + rng.below(map.len() - at + 1).min(40);
            let from = rng.below(other.len());
            let len = rng.below(other.len() - from + 1).min(40);
            map.splice(at..to, other[from..from + len].iter().copied());
        }
        // Lengths: the byte grows or shrinks a little.
        5 => map[at] = map[at].wrapping_add(rng.pick(&[1, 2, 0xff, 0xfe])),
        6 => {
            let to = (at + 1 + rng.below(9)).min(map.len());
            map.drain(at..to);
        }
        _ => map.extend((0..=rng.below(8)).map(|_| rng.pick(HEADS))),
    }
}

fn input(rng: &mut Rng) -> Vec<u8> {
    if rng.one_in(8) {
        // From nowhere: a map's head and then noise.
        let mut noise: Vec<u8> = (0..rng.below(60)).map(|_| rng.next() as u8).collect();
        noise.insert(0, rng.pick(&[0x81, 0x82, 0x83, 0xde, 0xdf, 0xff]));
        return noise;
    }
    let bytes = encoded(&frame(rng.below(TYPES), rng, false));
    let other = encoded(&frame(rng.below(TYPES), rng, false));
    let mut map = map_of(&bytes).to_vec();
    for _ in 0..rng.pick(&[1, 1, 1, 2, 3]) {
        mutate(&mut map, map_of(&other), rng);
    }
    map
}

#[derive(Debug, Default)]
struct Seen {
    accepted: usize,
    invalid: usize,
    malformed: usize,
}

fn examine(map: &[u8], seen: &mut Seen) {
    let well_formed = pairs(map).is_some();
    match decode(map) {
        Ok(frame) => {
            assert!(well_formed, "accepted, but no well-formed map");
            let again = encoded(&frame);
            assert_eq!(decode(map_of(&again)), Ok(frame), "changed by encoding");
            seen.accepted += 1;
            // Everything inside can be walked: once in a while, for it is slow.
            if seen.accepted.is_multiple_of(16) {
                assert_eq!(describe(&frame), describe(&decode(map_of(&again)).expect("decoded above")));
            }
        }
        Err(DecodeError::Invalid(_)) => {
            assert!(well_formed, "called invalid, but it is no well-formed map");
            seen.invalid += 1;
        }
        Err(DecodeError::Malformed(_)) => {
            assert!(!well_formed, "called malformed, but it is a well-formed map");
            seen.malformed += 1;
        }
    }
}

#[test]
fn a_million_damaged_frames_do_no_harm() {
    let mut seen = Seen::default();
    for seed in 1..=SEEDS {
        let mut rng = Rng::new(seed);
        for number in 0..INPUTS_PER_SEED {
            let map = input(&mut rng);
            let named = Named { seed, number, map: &map };
            examine(&map, &mut seen);
            std::mem::forget(named);
        }
    }
    // The mutations are of use only if they reach all three verdicts in numbers.
    let Seen { accepted, invalid, malformed } = seen;
    assert!(accepted.min(invalid).min(malformed) > 50_000, "{seen:?}");
}

/// Names the input when examining it panics; forgotten when it does not.
struct Named<'a> {
    seed: u64,
    number: usize,
    map: &'a [u8],
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        println!("seed {}, input {}: {}", self.seed, self.number, hex(self.map));
    }
}

#[test]
fn splitting_damaged_streams_never_goes_beyond_them() {
    let mut rng = Rng::new(7);
    for _ in 0..50_000 {
        let mut stream = encoded(&frame(rng.below(TYPES), &mut rng, false));
        let other = encoded(&frame(rng.below(TYPES), &mut rng, false));
        stream.extend_from_slice(&other);
        mutate(&mut stream, &other, &mut rng);
        let max = rng.below(2_000);
        let mut rest = &stream[..];
        loop {
            match split(rest, max) {
                Split::Frame { map, rest: after } => {
                    assert!(map.len() <= max);
                    assert_eq!(4 + map.len() + after.len(), rest.len());
                    rest = after;
                }
                Split::Incomplete { need } => {
                    assert!(need > rest.len() && need <= max + 4);
                    break;
                }
                Split::TooLong { len } => {
                    assert!(len > max);
                    break;
                }
            }
        }
    }
}
