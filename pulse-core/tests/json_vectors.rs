//! The vector file of the text dialect, which other languages read as well, and the frames of the binary one as lines.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod wire_support;

use std::collections::BTreeSet;

use pulse_core::wire::{DecodeError, decode, json};
use serde_json::{Value as Json, json as value};
use wire_support::{describe, hex, map_of, unhex};

const LINES: &str = include_str!("vectors/json.json");
/// Frames of the binary dialect.
const FRAMES: [&str; 2] = [include_str!("vectors/v1-frames.json"), include_str!("vectors/frames.json")];

fn list(file: &str, key: &str) -> Vec<Json> {
    let file: Json = serde_json::from_str(file).expect("the vectors are JSON");
    file[key].as_array().expect("the vectors are a list").clone()
}

fn text<'a>(vector: &'a Json, key: &str) -> &'a str {
    vector[key].as_str().unwrap_or_else(|| panic!("{vector} has no {key}"))
}

fn shown(frame: &pulse_core::wire::Frame<'_>) -> String {
    let mut out = Vec::new();
    json::encode(frame, &mut out);
    String::from_utf8(out).expect("a line is UTF-8")
}

#[test]
fn lines_get_the_verdict_that_they_state() {
    let mut names = BTreeSet::new();
    let mut verdicts = BTreeSet::new();
    let mut types = BTreeSet::new();
    for vector in list(LINES, "lines") {
        let (name, verdict) = (text(&vector, "name"), text(&vector, "verdict"));
        assert!(names.insert(name.to_owned()), "{name} is there once");
        verdicts.insert(verdict.to_owned());
        let mut map = Vec::new();
        let result = json::to_map(text(&vector, "json").as_bytes(), &mut map);
        if verdict == "malformed" {
            let at = result.expect_err("a malformed line is refused").at;
            assert_eq!(
                vector,
                value!({ "name": name, "json": vector["json"], "verdict": verdict, "at": at })
            );
            continue;
        }
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(hex(&map), text(&vector, "hex"), "{name}");
        match (verdict, decode(&map)) {
            ("ok", Ok(frame)) => {
                assert_eq!(shown(&frame), text(&vector, "shown").to_owned() + "\n", "{name}");
                types.insert(text(&describe(&frame), "type").to_owned());
            }
            ("invalid", Err(DecodeError::Invalid(invalid))) => {
                assert_eq!(Json::from(invalid.id), vector["id"], "{name}");
            }
            (verdict, found) => panic!("{name} is {verdict}, but decoded to {found:?}"),
        }
    }
    assert_eq!(verdicts.into_iter().collect::<Vec<_>>(), ["invalid", "malformed", "ok"]);
    assert_eq!(types.len(), 15, "each type of frame is there: {types:?}");
}

#[test]
fn what_is_shown_reads_as_the_same_frame() {
    for vector in list(LINES, "lines") {
        if vector["verdict"] != "ok" {
            continue;
        }
        let (mut map, mut again) = (Vec::new(), Vec::new());
        let line = text(&vector, "shown");
        assert_eq!(json::lines(line.as_bytes()).count(), 1, "{line}");
        json::to_map(text(&vector, "json").as_bytes(), &mut map).expect("a line");
        json::to_map(line.as_bytes(), &mut again).expect("a line");
        let frame = decode(&again).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(shown(&frame), line.to_owned() + "\n");
        let mut frames = [decode(&map).map(|frame| describe(&frame)), Ok(describe(&frame))];
        // White space in a JSON payload is the one thing that may go.
        for frame in frames.iter_mut().flatten().filter(|frame| frame["format"] == "json") {
            let payload = unhex(text(&frame["payload"], "hex"));
            if let Ok(payload) = serde_json::from_slice::<Json>(&payload) {
                frame["payload"] = payload;
            }
        }
        assert_eq!(frames[0], frames[1], "{line}");
    }
}

#[test]
fn frames_of_the_binary_dialect_survive_as_lines() {
    let mut survived = 0;
    for vector in FRAMES.into_iter().flat_map(|file| list(file, "frames")) {
        let bytes = unhex(text(&vector, "hex"));
        let Ok(frame) = decode(map_of(&bytes)) else { continue };
        let line = shown(&frame);
        let mut map = Vec::new();
        json::to_map(line.trim_ascii_end().as_bytes(), &mut map)
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(decode(&map).map(|back| describe(&back)), Ok(describe(&frame)), "{line}");
        survived += 1;
    }
    assert!(survived >= 40, "{survived} frames survived");
}
