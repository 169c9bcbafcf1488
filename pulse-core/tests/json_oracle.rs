//! Generated lines and mutations of them, each judged by `serde_json` as well: what is one JSON object to one of the two
//! is one to the other, and says the same; and nothing panics or grows.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod wire_support;

use pulse_core::wire::{
    Format, Frame, MAX_DEPTH, MAX_VALUE_DEPTH, Payload, Presence, Publish, Value, decode, json,
};
use serde_json::{Map, Value as Json};
use wire_support::{Rng, TYPES, frame, item_len, pairs};

/// How deep arrays and objects are nested.
fn depth(value: &Json) -> usize {
    match value {
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Json::Object(pairs) => 1 + pairs.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether two values say the same. Floats may differ in the last place: `serde_json` rounds some of them to a neighbour.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (a.as_f64().expect("a float"), b.as_f64().expect("a float"));
            a == b || (a - b).abs() <= a.abs() * 4.0 * f64::EPSILON
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// Keys that have a meaning of their own somewhere.
const SPECIAL: [&str; 7] =
    ["payload", "payload_b64", "format", "data_b64", "publications", "members", "changes"];

/// Compares what `line` becomes with what `serde_json` makes of it; tells whether it is an object.
fn judge(line: &[u8], map: &mut Vec<u8>) -> bool {
    let shown = line.escape_ascii();
    let expected = serde_json::from_slice::<Map<String, Json>>(line).ok().map(Json::Object);
    let expected = expected.filter(|value| depth(value) <= MAX_DEPTH);
    let found = json::to_map(line, map);
    assert_eq!(found.is_ok(), expected.is_some(), "{shown}: {found:?}");
    let Some(expected) = expected else {
        assert!(map.is_empty() && found.is_err_and(|error| error.at <= line.len()), "{shown}");
        return false;
    };
    assert!(map.len() <= 3 * line.len() + 32, "{shown} becomes {} bytes", map.len());
    // One well-formed value, whatever it says.
    assert_eq!(item_len(map, 0), Some(map.len()), "{shown}");
    let (pairs, _) = pairs(map).expect("a map");
    let mut compared = Map::new();
    for pair in &pairs {
        let key = item_len(pair, 1).expect("a key");
        let name: String = rmp_serde::from_slice(&pair[..key]).expect("keys are strings");
        if !SPECIAL.contains(&&*name) && name != "data" {
            compared.insert(name, rmp_serde::from_slice(&pair[key..]).expect("a value that JSON can say"));
        }
    }
    let mut rest = expected;
    let rest_pairs = rest.as_object_mut().expect("an object");
    let special: Map<String, Json> =
        SPECIAL.iter().filter_map(|key| Some(((*key).to_owned(), rest_pairs.remove(*key)?))).collect();
    rest_pairs.remove("data");
    assert!(same(&Json::Object(compared), &rest), "{shown}: {map:x?}");
    if let Ok(Frame::Publish(publish)) = decode(map) {
        let bytes = publish.payload.as_bytes();
        match (publish.format, special.get("payload"), bytes) {
            // Its text, embedded in the map.
            (Format::Json, Some(payload), Some(bytes)) => {
                let found: Json = serde_json::from_slice(bytes).expect("a payload's text is JSON");
                assert!(same(&found, payload), "{shown}");
            }
            (Format::MsgPack, Some(payload), Some(bytes)) => {
                let found: Json = rmp_serde::from_slice(bytes).expect("a payload's value is MessagePack");
                assert!(same(&found, payload), "{shown}");
            }
            (Format::Raw, Some(Json::String(payload)), Some(bytes)) => assert_eq!(bytes, payload.as_bytes()),
            _ => {}
        }
    }
    if let Ok(frame) = decode(map) {
        echo(&frame, map.len());
    }
    true
}

/// A frame's line is one, is JSON to `serde_json`, and reads as the same frame.
fn echo(frame: &Frame<'_>, len: usize) {
    let mut line = Vec::new();
    json::encode(frame, &mut line);
    assert!(line.len() <= 7 * len + 100, "{} of {len}", line.len());
    let (last, line) = line.split_last().expect("a line");
    assert_eq!((*last, line.contains(&b'\n'), line.contains(&b'\r')), (b'\n', false, false));
    let shown: Json = serde_json::from_slice(line)
        .unwrap_or_else(|error| panic!("{} is no JSON: {error}", line.escape_ascii()));
    assert!(shown.is_object() && depth(&shown) <= MAX_DEPTH);
    let mut map = Vec::new();
    json::to_map(line, &mut map).unwrap_or_else(|error| panic!("{}: {error}", line.escape_ascii()));
    let back = decode(&map).unwrap_or_else(|error| panic!("{}: {error}", line.escape_ascii()));
    // Once in its own form it does not change any more.
    let mut again = Vec::new();
    json::encode(&back, &mut again);
    assert_eq!(again.strip_suffix(b"\n"), Some(line), "{}", line.escape_ascii());
}

/// Writes JSON of all kinds, white space and escapes included.
struct Author<'r> {
    rng: &'r mut Rng,
    text: String,
}

impl Author<'_> {
    fn space(&mut self) {
        while self.rng.one_in(6) {
            self.text.push(self.rng.pick(&[' ', '\t', '\n', '\r']));
        }
    }

    fn string(&mut self) {
        self.text.push('"');
        for _ in 0..self.rng.below(12) {
            let piece = self.rng.pick(&[
                "a",
                "bc",
                "defghijk",
                "é",
                "✓",
                "😀",
                "\u{7f}",
                "\u{2028}",
                "\\n",
                "\\\"",
                "\\\\",
                "\\/",
                "\\b",
                "\\f",
                "\\r",
                "\\t",
                "\\u0000",
                "\\u00e9",
                "\\ud83d\\ude00",
                "\\uFFFF",
                " ",
                "/",
                "{",
                "]",
                ",",
            ]);
            self.text.push_str(piece);
        }
        self.text.push('"');
    }

    fn number(&mut self) {
        let text = match self.rng.below(6) {
            0 => self.rng.below(300).to_string(),
            1 => (self.rng.next() >> self.rng.below(64)).to_string(),
            2 => (self.rng.next() as i64 >> self.rng.below(64)).to_string(),
            3 => {
                let bits = f64::from_bits(self.rng.next());
                if bits.is_finite() { format!("{bits:?}") } else { "0".to_owned() }
            }
            4 => format!("{:.3}", self.rng.below(1_000_000) as f64 / 1000.0),
            _ => self.rng.pick(&["-0", "1e5", "1E+5", "0.5e-5", "0", "123456789012345678901234"]).to_owned(),
        };
        self.text.push_str(&text);
    }

    fn value(&mut self, levels: usize) {
        self.space();
        match self.rng.below(if levels == 0 { 5 } else { 8 }) {
            0 => self.text.push_str("null"),
            1 => self.text.push_str(self.rng.pick(&["true", "false"])),
            2 => self.string(),
            3 | 4 => self.number(),
            5 | 6 => {
                self.text.push('[');
                for item in 0..self.items() {
                    self.comma(item);
                    self.value(levels - 1);
                }
                self.space();
                self.text.push(']');
            }
            _ => {
                self.text.push('{');
                for item in 0..self.items() {
                    self.comma(item);
                    self.string();
                    self.colon();
                    self.value(levels - 1);
                }
                self.space();
                self.text.push('}');
            }
        }
        self.space();
    }

    fn items(&mut self) -> usize {
        if self.rng.one_in(20) { 14 + self.rng.below(6) } else { self.rng.below(4) }
    }

    fn comma(&mut self, item: usize) {
        if item > 0 {
            self.text.push(',');
        }
        self.space();
    }

    fn colon(&mut self) {
        self.space();
        self.text.push(':');
    }

    /// Pairs with keys of frames or others, each once, among them those of a publication as often as not.
    fn object(&mut self, levels: usize) {
        self.text.push('{');
        let mut keys = vec![];
        if self.rng.one_in(2) {
            keys.extend(["\"type\":\"publish\"", "\"channel\":\"c\"", "\"payload\""]);
        }
        for key in [
            "\"id\"",
            "\"event\"",
            "\"x\"",
            "\"\"",
            "\"data\"",
            "\"payload_b64\"",
            "\"publications\"",
            "\"members\"",
            "\"k\\n\\u00e9\"",
            "\"format\":\"json\"",
            "\"format\":\"msgpack\"",
            "\"format\":\"raw\"",
            "\"format\"",
        ] {
            if self.rng.one_in(4) {
                keys.push(key);
            }
        }
        self.rng.shuffle(&mut keys);
        for (item, key) in keys.into_iter().enumerate() {
            self.comma(item);
            self.text.push_str(key);
            if !key.contains(':') {
                self.colon();
                self.value(levels);
            }
        }
        self.space();
        self.text.push('}');
    }
}

fn object(rng: &mut Rng) -> String {
    let levels = rng.below(6);
    let mut author = Author { rng, text: String::new() };
    author.space();
    author.object(levels);
    author.space();
    author.text
}

/// Changes `line` here and there: bytes, pieces of JSON, pieces of `other`, an early end.
fn mutate(line: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    const PIECES: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"\\u",
        b"\\ud800",
        b"\\udc00",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"0",
        b"-",
        b".",
        b"e",
        b"1e999",
        b"null",
        b"true",
        b"\n",
        b" ",
        b"\0",
        b"\x1f",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xf0\x9f",
        b"[[[[[[[[[[[[[[[[",
        b"{\"a\":{\"a\":{\"a\":",
        b"\"payload\":",
        b"\"payload_b64\":\"Zg\",",
        b"\"format\":null,",
        b"9007199254740993",
        b"\"data_b64\":\"AQ==\",",
        b"\"publications\":[{\"payload\":1}],",
    ];
    for _ in 0..=rng.below(3) {
        let at = rng.below(line.len() + 1);
        let end = (at + rng.below(8)).min(line.len());
        match rng.below(7) {
            0 => line.truncate(at),
            1 => drop(line.drain(at..end)),
            2 => drop(line.splice(at..at, rng.pick(PIECES).iter().copied())),
            3 => drop(line.splice(at..end, rng.pick(PIECES).iter().copied())),
            4 => {
                let from = rng.below(other.len() + 1);
                let to = (from + rng.below(20)).min(other.len());
                line.splice(at..end, other[from..to].iter().copied());
            }
            5 => {
                let again = line[at..end].to_vec();
                line.splice(at..at, again);
            }
            _ => {
                if let Some(byte) = line.get_mut(at) {
                    *byte = rng.next() as u8;
                }
            }
        }
    }
}

#[test]
fn generated_objects_say_the_same_to_serde_json() {
    let mut rng = Rng::new(0x0b_1ec7);
    let mut map = Vec::new();
    for _ in 0..50_000 {
        let line = object(&mut rng);
        assert!(judge(line.as_bytes(), &mut map), "{line} is an object");
    }
}

#[test]
fn mutated_objects_get_the_same_verdict_from_serde_json() {
    let mut rng = Rng::new(0x5eed);
    let mut map = Vec::new();
    let mut other = object(&mut rng).into_bytes();
    let mut accepted = 0;
    for _ in 0..300_000 {
        let mut line = if rng.one_in(3) {
            let mut line = Vec::new();
            let kind = rng.below(TYPES);
            json::encode(&frame(kind, &mut rng, false), &mut line);
            line.truncate(4000);
            line
        } else {
            object(&mut rng).into_bytes()
        };
        mutate(&mut line, &other, &mut rng);
        accepted += u32::from(judge(&line, &mut map));
        other = line;
    }
    assert!(
        (20_000..280_000).contains(&accepted),
        "{accepted} of the mutations are objects: both kinds are met"
    );
}

#[test]
fn payloads_of_random_bytes_leave_as_lines_that_read_the_same() {
    let mut rng = Rng::new(7);
    let (mut embedded, mut encoded) = (0, 0);
    for round in 0..200_000 {
        let mut bytes = Vec::new();
        if round % 2 == 0 {
            let mut author = Author { rng: &mut rng, text: String::new() };
            author.value(3);
            bytes = author.text.into_bytes();
            if round % 4 == 0 {
                let other = bytes.clone();
                mutate(&mut bytes, &other, &mut rng);
            }
        } else {
            for _ in 0..rng.below(20) {
                let byte = rng.next() as u8;
                bytes.push(if rng.one_in(2) { byte & 0x0f | 0x80 | byte << 5 & 0x20 } else { byte });
            }
        }
        let format = rng.pick(&[Format::Json, Format::MsgPack, Format::Raw]);
        let publish = Publish { channel: "c", payload: Payload::from(&*bytes), format, ..Publish::default() };
        echo(&Frame::Publish(publish), bytes.len());
        let mut line = Vec::new();
        json::encode(&Frame::Publish(publish), &mut line);
        let shown: Json = serde_json::from_slice(&line).expect("a line is JSON");
        match shown.get("payload") {
            Some(shown) => {
                embedded += 1;
                let expected: Json = match format {
                    Format::Json => serde_json::from_slice(&bytes).expect("what is embedded is JSON"),
                    Format::MsgPack => rmp_serde::from_slice(&bytes).expect("what is shown is MessagePack"),
                    Format::Raw => panic!("raw is never shown"),
                };
                assert!(same(shown, &expected), "{}", bytes.escape_ascii());
            }
            None => {
                encoded += 1;
                let json = serde_json::from_slice::<Json>(&bytes).is_ok_and(|json| depth(&json) < MAX_DEPTH);
                assert!(format != Format::Json || !json, "{} is JSON", bytes.escape_ascii());
                // Whatever travels as base64 comes back as it was.
                let mut map = Vec::new();
                json::to_map(line.trim_ascii(), &mut map).expect("a line");
                assert_eq!(decode(&map), Ok(Frame::Publish(publish)));
            }
        }
    }
    assert!(embedded > 20_000 && encoded > 20_000, "{embedded} are embedded and {encoded} are not");
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = Rng::new(3);
    let mut map = Vec::new();
    for _ in 0..200_000 {
        let mut line: Vec<u8> = (0..rng.below(24))
            .map(|_| if rng.one_in(4) { rng.next() as u8 } else { rng.pick(b"{}[]\",:\\u0d1e-. ntf") })
            .collect();
        if rng.one_in(2) {
            line.splice(0..0, *b"{\"a\":");
            line.push(b'}');
        }
        judge(&line, &mut map);
    }
}

#[test]
fn values_of_random_bytes_leave_as_data_and_come_back() {
    let mut rng = Rng::new(11);
    let mut values = 0;
    for _ in 0..200_000 {
        let bytes: Vec<u8> = (0..1 + rng.below(16)).map(|_| rng.next() as u8).collect();
        let Some(len) = item_len(&bytes, MAX_DEPTH - MAX_VALUE_DEPTH) else { continue };
        let Some(data) = Value::new(&bytes[..len]) else { continue };
        // `nil` is absent when it is read.
        if data.as_bytes() == b"\xc0" {
            continue;
        }
        values += 1;
        let presence = Presence { data: Some(data), ..Presence::default() };
        echo(&Frame::Presence(presence), len);
    }
    assert!(values > 50_000, "{values} are values");
}
