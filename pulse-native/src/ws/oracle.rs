//! The reader against a decoder that is too simple to be wrong, over random frames, cuts and mutations.

use core::str::from_utf8;

use super::{
    Opcode, Reader, close_payload, masked,
    tests::{FIN, LIMIT, Outcome, Seen, read},
};

/// All of `bytes` at once, a byte at a time, no state: what the reader is held against.
fn simple(bytes: &[u8], limit: usize) -> Outcome {
    let mut seen = Vec::new();
    let code = simple_into(bytes, limit, &mut seen).err();
    (seen, code)
}

fn simple_into(bytes: &[u8], limit: usize, seen: &mut Vec<Seen>) -> Result<(), u16> {
    let mut open: Option<(u8, Vec<u8>)> = None;
    let mut at = 0;
    loop {
        let Some(&first) = bytes.get(at) else { return Ok(()) };
        let (fin, opcode) = (first >= 0x80, first % 16);
        if first & 0x70 != 0 || ![0, 1, 2, 8, 9, 10].contains(&opcode) || (opcode >= 8 && !fin) {
            return Err(1002);
        }
        let Some(&second) = bytes.get(at + 1) else { return Ok(()) };
        if second < 0x80 || (opcode >= 8 && second - 0x80 > 125) {
            return Err(1002);
        }
        let (width, least) = match second - 0x80 {
            126 => (2, 126),
            127 => (8, 65_536),
            _ => (0, 0),
        };
        let Some(digits) = bytes.get(at + 2..at + 2 + width) else { return Ok(()) };
        let len = if width == 0 {
            u64::from(second - 0x80)
        } else {
            digits.iter().fold(0, |n, d| n << 8 | u64::from(*d))
        };
        if len < least || len >= 1 << 63 {
            return Err(1002);
        }
        let Some(mask) = bytes.get(at + 2 + width..at + 6 + width) else { return Ok(()) };
        at += 6 + width;
        if opcode < 8 {
            if (opcode == 0) != open.is_some() {
                return Err(1002);
            }
            if open.as_ref().map_or(0, |(_, had)| had.len() as u64) + len > limit as u64 {
                return Err(1009);
            }
        }
        let end = bytes.len().min(at + len as usize);
        let whole = end == at + len as usize;
        let payload: Vec<u8> =
            bytes[at..end].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        at = end;
        match opcode {
            8.. if !whole => return Ok(()),
            9 => seen.push(Seen::Ping(payload)),
            10 => seen.push(Seen::Pong(payload)),
            8 => {
                seen.push(Seen::Close(simple_close(&payload)?));
                return Ok(());
            }
            _ => {
                let (opcode, mut all) = open.take().unwrap_or((opcode, Vec::new()));
                all.extend(payload);
                let complete = whole && fin;
                if opcode == 1 && from_utf8(&all).is_err_and(|error| complete || error.error_len().is_some())
                {
                    return Err(1007);
                }
                match (complete, opcode) {
                    (false, _) => open = Some((opcode, all)),
                    (true, 1) => seen.push(Seen::Text(String::from_utf8(all).expect("it was checked"))),
                    (true, _) => seen.push(Seen::Binary(all)),
                }
            }
        }
    }
}

fn simple_close(payload: &[u8]) -> Result<Option<(u16, String)>, u16> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() { Ok(None) } else { Err(1002) };
    };
    let code = u16::from_be_bytes([*high, *low]);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(1002);
    }
    Ok(Some((code, from_utf8(reason).map_err(|_| 1007u16)?.to_owned())))
}

/// A small generator (xorshift): the seed is the whole state, so a failure can be run again.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A legal sequence of frames: messages of both kinds, whole and in fragments, with control frames anywhere between.
fn legal_frames(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..1 + random.below(6) {
        let len = [0, 3, 30, 200, 2000][random.below(5)];
        let is_text = random.below(2) == 0;
        let payload = if is_text {
            "aß€𐍈".chars().cycle().skip(random.below(4)).take(len / 3).collect::<String>().into_bytes()
        } else {
            random.bytes(len)
        };
        let (mut rest, mut opcode) = (&payload[..], if is_text { Opcode::Text } else { Opcode::Binary });
        loop {
            let cut = if random.below(2) == 0 { rest.len() } else { random.below(rest.len() + 1) };
            let last = cut == rest.len() && random.below(4) != 0;
            let start = out.len();
            masked(&mut out, opcode, &rest[..cut], (random.next() as u32).to_ne_bytes());
            if last {
                break;
            }
            out[start] &= !FIN;
            (rest, opcode) = (&rest[cut..], Opcode::Continuation);
            if random.below(3) == 0 {
                let control = [Opcode::Ping, Opcode::Pong][random.below(2)];
                let len = random.below(126);
                masked(&mut out, control, &random.bytes(len), [9, 8, 7, 6]);
            }
        }
    }
    if random.below(4) == 0 {
        masked(&mut out, Opcode::Close, &close_payload(1001, "going away"), [1, 1, 2, 3]);
    }
    out
}

#[test]
fn frames_cut_at_random_give_the_events_of_uncut_ones() {
    for seed in 1..=3000 {
        let mut random = Random::seeded(seed);
        let bytes = legal_frames(&mut random);
        let expected = simple(&bytes, LIMIT);
        assert!(!expected.0.is_empty() && expected.1.is_none(), "seed {seed}: {expected:?}");
        for widest in [2, 20, 5000] {
            let outcome = read(Reader::new(), &bytes, LIMIT, || random.below(widest));
            assert!(outcome == expected, "seed {seed}, pieces below {widest}: {outcome:?}, not {expected:?}");
        }
    }
}

#[test]
fn random_and_mutated_bytes_do_what_the_simple_decoder_says() {
    let (mut violations, mut messages) = (0, 0);
    for seed in 1..=200_000 {
        let mut random = Random::seeded(seed);
        let bytes = if seed % 5 == 0 {
            let len = random.below(60);
            random.bytes(len)
        } else {
            let mut bytes = legal_frames(&mut random);
            bytes.truncate(1 + random.below(600));
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    _ => drop(bytes.drain(at..bytes.len().min(at + random.below(4) + 1))),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            bytes
        };
        let limit = [50, 300, LIMIT][random.below(3)];
        let expected = simple(&bytes, limit);
        let outcome = read(Reader::new(), &bytes, limit, || random.below(200));
        assert!(outcome == expected, "seed {seed}, limit {limit}: {outcome:?}, not {expected:?}");
        violations += usize::from(expected.1.is_some());
        messages += expected.0.len();
    }
    // Neither side of the comparison is empty.
    assert!(violations > 50_000 && messages > 100_000, "{violations} violations, {messages} events");
}
