//! The vector files: what the first release's server sends, and our own, which other languages read as well.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod wire_support;

use std::collections::BTreeSet;

use pulse_core::wire::{DecodeError, Malformed, Split, What, decode, split};
use serde_json::{Value as Json, json};
use wire_support::{describe, encoded, hex, map_of, unhex};

/// Of the first release, as its server encodes them.
const FIRST_RELEASE: &str = include_str!("vectors/v1-frames.json");
/// Our own: verdicts of all kinds.
const OURS: &str = include_str!("vectors/frames.json");

/// Calls `test` with name, whole bytes and the entry of each vector.
fn each(file: &str, mut test: impl FnMut(&str, &[u8], &Json)) {
    let file: Json = serde_json::from_str(file).expect("the vectors are JSON");
    let frames = file["frames"].as_array().expect("the vectors are a list");
    assert!(frames.len() >= 17, "all vectors are there");
    for vector in frames {
        let text = |key: &str| vector[key].as_str().unwrap_or_else(|| panic!("{vector} has no {key}"));
        test(text("name"), &unhex(text("hex")), vector);
    }
}

#[test]
fn frames_of_the_first_release_are_read() {
    each(FIRST_RELEASE, |name, bytes, vector| {
        let frame = decode(map_of(bytes)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(describe(&frame), vector["frame"], "{name}");
    });
}

#[test]
fn frames_of_the_first_release_are_written_byte_for_byte() {
    each(FIRST_RELEASE, |name, bytes, _| {
        let frame = decode(map_of(bytes)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(hex(&encoded(&frame)), hex(bytes), "{name}");
    });
}

#[test]
fn our_vectors_get_the_verdict_that_they_state() {
    let mut verdicts = BTreeSet::new();
    each(OURS, |name, bytes, vector| {
        let meaning = &vector["meaning"];
        let verdict = vector["verdict"].as_str().expect("a verdict");
        verdicts.insert(verdict.to_owned());
        match (verdict, decode(map_of(bytes))) {
            ("ok", Ok(frame)) => {
                assert_eq!(describe(&frame), *meaning, "{name}");
                let same = hex(&encoded(&frame)) == hex(bytes);
                assert_eq!(
                    Json::from(same),
                    vector["canonical"],
                    "{name}: written as {}",
                    hex(&encoded(&frame))
                );
            }
            ("invalid", Err(DecodeError::Invalid(invalid))) => {
                let (cause, key) = cause(invalid.what);
                let mut found = json!({ "id": invalid.id, "cause": cause });
                if let Some(key) = key {
                    found["key"] = key.into();
                }
                assert_eq!(found, *meaning, "{name}");
            }
            ("malformed", Err(DecodeError::Malformed(malformed))) => {
                assert_eq!(json!({ "cause": name_of(malformed) }), *meaning, "{name}");
            }
            (verdict, found) => panic!("{name} is {verdict}, but decoded to {found:?}"),
        }
    });
    assert_eq!(verdicts.into_iter().collect::<Vec<_>>(), ["invalid", "malformed", "ok"]);
}

fn cause(what: What) -> (&'static str, Option<&'static str>) {
    match what {
        What::UnknownType => ("unknown_type", None),
        What::MissingKey(key) => ("missing_key", Some(key)),
        What::RepeatedKey(key) => ("repeated_key", Some(key)),
        What::WrongType { key, .. } => ("wrong_type", Some(key)),
        What::TrailingBytes => ("trailing_bytes", None),
        other => panic!("{other:?} has no name in the vectors"),
    }
}

fn name_of(malformed: Malformed) -> &'static str {
    match malformed {
        Malformed::Truncated => "truncated",
        Malformed::NotAMap => "not_a_map",
        Malformed::Reserved => "reserved",
        Malformed::TooDeep => "too_deep",
        other => panic!("{other:?} has no name in the vectors"),
    }
}

#[test]
fn every_type_stands_in_our_vectors() {
    let mut types = BTreeSet::new();
    for file in [FIRST_RELEASE, OURS] {
        each(file, |_, _, vector| {
            let frame = if vector["frame"].is_object() { &vector["frame"] } else { &vector["meaning"] };
            types.extend(frame["type"].as_str().map(str::to_owned));
        });
    }
    let all = [
        "ack",
        "connect",
        "connected",
        "disconnect",
        "error",
        "gap",
        "history",
        "ping",
        "pong",
        "presence",
        "publish",
        "refresh",
        "subscribe",
        "unsubscribe",
        "unsubscribed",
    ];
    assert_eq!(types.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn a_frame_that_is_cut_anywhere_is_malformed() {
    for file in [FIRST_RELEASE, OURS] {
        each(file, |name, bytes, vector| {
            let map = map_of(bytes);
            // Bytes after the map are no part of it: without them it is whole.
            let whole = vector["meaning"]["cause"] == "trailing_bytes";
            for len in 0..map.len() - usize::from(whole) {
                let error = decode(&map[..len]).expect_err("it is cut");
                let cut = matches!(error, DecodeError::Malformed(Malformed::Truncated));
                let malformed =
                    vector["verdict"] == "malformed" && matches!(error, DecodeError::Malformed(_));
                assert!(cut || malformed, "{name} cut to {len} bytes is {error:?}");
            }
        });
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_is_incomplete_and_says_how_much_it_needs() {
    let mut stream = Vec::new();
    let mut maps = Vec::new();
    each(FIRST_RELEASE, |_, bytes, _| {
        stream.extend_from_slice(bytes);
        maps.push(map_of(bytes).to_vec());
        for len in 0..bytes.len() {
            let need = if len < 4 { 4 } else { bytes.len() };
            assert_eq!(split(&bytes[..len], 1024), Split::Incomplete { need });
        }
    });
    // All of them one after the other come out as they went in.
    let mut rest = &stream[..];
    for expected in &maps {
        let Split::Frame { map, rest: after } = split(rest, 1024) else {
            panic!("{rest:x?} begins with a frame")
        };
        assert_eq!(map, expected);
        rest = after;
    }
    assert_eq!(split(rest, 1024), Split::Incomplete { need: 4 });
}

#[test]
fn a_length_over_the_limit_is_refused_by_its_prefix_alone() {
    assert_eq!(split(b"\x00\x00\x04\x01", 1024), Split::TooLong { len: 1025 });
    assert_eq!(split(b"\x00\x00\x04\x00", 1024), Split::Incomplete { need: 1028 });
    assert_eq!(split(b"\xff\xff\xff\xff", 1024), Split::TooLong { len: 0xffff_ffff });
    assert_eq!(split(b"\x00\x00\x00\x00", 0), Split::Frame { map: b"", rest: b"" });
    assert_eq!(split(b"\x00\x00\x00\x01\x80", 0), Split::TooLong { len: 1 });
}
