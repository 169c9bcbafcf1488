//! Frames survive being written as a line and read again, and a line says what the frame says.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod wire_support;

use pulse_core::wire::{
    Format, Frame, History, MAX_DEPTH, MAX_VALUE_DEPTH, Member, Members, Payload, Presence, Publications,
    Publish, Tags, Value, decode, json,
};
use serde_json::Value as Json;
use wire_support::{Rng, TYPES, describe, frame};

/// The frame's line, which is one and UTF-8.
fn line(frame: &Frame<'_>) -> String {
    let mut out = b"before\n".to_vec();
    json::encode(frame, &mut out);
    let text = String::from_utf8(out).expect("a line is UTF-8");
    let line = text.strip_prefix("before\n").and_then(|rest| rest.strip_suffix('\n'));
    let line = line.expect("a line is appended and ended");
    assert!(!line.contains(['\n', '\r']), "{line} is one line");
    line.to_owned()
}

fn map(line: &str) -> Vec<u8> {
    let mut map = Vec::new();
    json::to_map(line.as_bytes(), &mut map).unwrap_or_else(|error| panic!("{line}: {error}"));
    map
}

#[track_caller]
fn shows(payload: &[u8], format: Format, expected: &str) {
    let frame =
        Frame::Publish(Publish { channel: "c", payload: payload.into(), format, ..Publish::default() });
    let format = match format {
        Format::Raw => "",
        Format::Json => ",\"format\":\"json\"",
        Format::MsgPack => ",\"format\":\"msgpack\"",
    };
    assert_eq!(line(&frame), format!("{{\"type\":\"publish\",\"channel\":\"c\",{expected}{format}}}"));
}

#[test]
fn every_frame_survives_as_a_line() {
    for kind in 0..TYPES {
        for seed in 0..600 {
            let frame = frame(kind, &mut Rng::new(seed), seed % 2 == 0);
            let line = line(&frame);
            let map = map(&line);
            let back = decode(&map).unwrap_or_else(|error| panic!("seed {seed}: {line}: {error}"));
            // Compared by content: a payload of MessagePack comes back in its shortest form, which these are not.
            assert_eq!(describe(&back), describe(&frame), "seed {seed}: {line}");
            let mut again = Vec::new();
            json::encode(&back, &mut again);
            assert_eq!(String::from_utf8(again), Ok(line + "\n"), "seed {seed}");
        }
    }
}

#[test]
fn a_line_says_what_the_frame_says() {
    for kind in 0..TYPES {
        for seed in 0..300 {
            let frame = frame(kind, &mut Rng::new(seed), seed % 2 == 0);
            let line = line(&frame);
            let found: Json = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let mut expected = describe(&frame);
            let items = match &mut expected["publications"] {
                Json::Array(items) => std::mem::take(items),
                _ => vec![],
            };
            let (mut found, page) = (found.clone(), found["publications"].as_array().cloned());
            let found = found.as_object_mut().expect("a frame is an object");
            found.remove("publications");
            let expected = expected.as_object_mut().expect("a frame is an object");
            expected.remove("publications");
            same(found, expected);
            let page = page.unwrap_or_default();
            assert_eq!(page.len(), items.len(), "{line}");
            for (mut found, mut expected) in page.into_iter().zip(items) {
                let found = found.as_object_mut().expect("a publication is an object");
                same(found, expected.as_object_mut().expect("a publication is an object"));
            }
        }
    }
}

/// Compares the keys of a frame, the payload by what it is worth.
fn same(found: &mut serde_json::Map<String, Json>, expected: &mut serde_json::Map<String, Json>) {
    let (value, base64) = (found.remove("payload"), found.remove("payload_b64"));
    let bytes =
        expected.remove("payload").map(|bytes| wire_support::unhex(bytes["hex"].as_str().expect("hex")));
    assert_eq!(found, expected);
    let format = expected.get("format").and_then(Json::as_str);
    match (bytes, value, base64) {
        (None, None, None) => {}
        (Some(bytes), None, Some(base64)) => assert_eq!(base64, base64_of(&bytes)),
        (Some(bytes), Some(value), None) if format == Some("json") => {
            assert_eq!(value, serde_json::from_slice::<Json>(&bytes).expect("what is shown is JSON"));
        }
        (Some(bytes), Some(value), None) if format == Some("msgpack") => {
            assert_eq!(value, rmp_serde::from_slice::<Json>(&bytes).expect("what is shown is MessagePack"));
        }
        other => panic!("{found:?} has its payload in the wrong form: {other:?}"),
    }
}

/// Bit by bit.
fn base64_of(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digits = bits.as_bytes().chunks(6).map(|six| {
        let digit = format!("{:0<6}", String::from_utf8_lossy(six));
        match u8::from_str_radix(&digit, 2).expect("six bits") {
            value @ 0..26 => b'A' + value,
            value @ 26..52 => b'a' + value - 26,
            value @ 52..62 => b'0' + value - 52,
            62 => b'+',
            _ => b'/',
        }
    });
    let mut text: String = digits.map(char::from).collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

#[test]
fn a_json_payload_is_embedded_as_it_is() {
    for text in ["null", "5", "-0", "1.50E+2", "\"a\\u0041é\"", "[1, 2]", "{\"a\" : {},\"a\":[ ]}"] {
        shows(text.as_bytes(), Format::Json, &format!("\"payload\":{text}"));
        shows(format!(" \t\r\n{text}\n ").as_bytes(), Format::Json, &format!("\"payload\":{text}"));
    }
}

#[test]
fn ends_of_lines_in_a_json_payload_are_taken_out_with_all_its_white_space() {
    shows(
        b"{\r\n  \"a b\" : [ 1,\t\"x \\\" \\\\\" , \"\\n\" ],\n \"c\": {}\n}",
        Format::Json,
        r#""payload":{"a b":[1,"x \" \\","\n"],"c":{}}"#,
    );
    shows(b"[\r1 ]", Format::Json, "\"payload\":[1]");
}

#[test]
fn what_is_not_one_json_text_is_sent_as_base64() {
    for bytes in [
        &b""[..],
        b" ",
        b"{",
        b"1 2",
        b"{}x",
        b"nil",
        b"\"\xff\"",
        b"\"\n\"",
        b"\"\\ud800\"",
        b"1e999",
        b"'a'",
        b"\xef\xbb\xbf1",
    ] {
        shows(bytes, Format::Json, &format!("\"payload_b64\":\"{}\"", base64_of(bytes)));
    }
}

#[test]
fn raw_payloads_are_base64_whatever_they_are() {
    for bytes in [&b""[..], b"hello", b"{}", b"\x00\xff", b"\xfb\xff\xfe"] {
        shows(bytes, Format::Raw, &format!("\"payload_b64\":\"{}\"", base64_of(bytes)));
    }
}

#[test]
fn a_msgpack_payload_is_transcoded() {
    for (bytes, text) in [
        (&b"\xc0"[..], "null"),
        (b"\xc2", "false"),
        (b"\xc3", "true"),
        (b"\x05", "5"),
        (b"\xcc\x05", "5"),
        (b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff", "9007199254740991"),
        (b"\xff", "-1"),
        (b"\xe0", "-32"),
        (b"\xd0\x80", "-128"),
        (b"\xd0\x05", "5"),
        (b"\xd1\x80\x00", "-32768"),
        (b"\xd2\x80\x00\x00\x00", "-2147483648"),
        (b"\xd3\xff\xe0\x00\x00\x00\x00\x00\x01", "-9007199254740991"),
        (b"\xca\x3f\xc0\x00\x00", "1.5"),
        (b"\xcb\x3f\xf0\0\0\0\0\0\0", "1.0"),
        (b"\xcb\x80\0\0\0\0\0\0\0", "-0.0"),
        (b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1"),
        (b"\xcb\x7f\xef\xff\xff\xff\xff\xff\xff", "1.7976931348623157e308"),
        (b"\xcb\0\0\0\0\0\0\0\x01", "5e-324"),
        (b"\xa5a\"\n\\\x01", r#""a\"\n\\\u0001""#),
        (b"\xd9\x02\xc3\xa9", "\"é\""),
        (b"\x90", "[]"),
        (b"\x80", "{}"),
        (b"\x93\x90\x80\x91\x01", "[[],{},[1]]"),
        (b"\xdc\x00\x02\x01\x02", "[1,2]"),
        (b"\x82\xa1a\x81\xa0\x92\x01\x80\xa1a\xc0", r#"{"a":{"":[1,{}]},"a":null}"#),
    ] {
        shows(bytes, Format::MsgPack, &format!("\"payload\":{text}"));
    }
}

#[test]
fn what_json_cannot_say_is_sent_as_base64_as_a_whole() {
    for value in [
        &b"\xcf\x00\x20\0\0\0\0\0\0"[..],
        b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xd3\xff\xe0\0\0\0\0\0\0",
        b"\xd3\x80\0\0\0\0\0\0\0",
        b"\xca\x7f\x80\0\0",
        b"\xcb\x7f\xf8\0\0\0\0\0\0",
        b"\xc4\x01a",
        b"\xd4\x01a",
        b"\xc7\x00\x01",
        b"\xa1\xff",
        b"\x81\x01\x02",
        b"\x81\xa1\xff\x02",
        b"\x81\xc0\x02",
        b"\x81\x90\x02",
        b"\xc1",
        b"\xa2a",
    ] {
        shows(value, Format::MsgPack, &format!("\"payload_b64\":\"{}\"", base64_of(value)));
        let within = [b"\x92\xa1x", value].concat();
        shows(&within, Format::MsgPack, &format!("\"payload_b64\":\"{}\"", base64_of(&within)));
        let within = [b"\x82\xa1x\x05\xa1y", value].concat();
        shows(&within, Format::MsgPack, &format!("\"payload_b64\":\"{}\"", base64_of(&within)));
    }
    for not_one in [&b""[..], b"\x01\x02", b"\x92\x01", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"] {
        shows(not_one, Format::MsgPack, &format!("\"payload_b64\":\"{}\"", base64_of(not_one)));
    }
}

#[test]
fn payloads_nest_as_deep_as_a_line_may_and_not_deeper() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let packed = |levels: usize| [&vec![0x91; levels - 1][..], b"\x90"].concat();
    for (levels, around, shown) in [
        (MAX_DEPTH - 1, 1, true),
        (MAX_DEPTH, 1, false),
        (5000, 1, false),
        (MAX_DEPTH - 3, 3, true),
        (MAX_DEPTH - 2, 3, false),
    ] {
        for (payload, format) in
            [(deep(levels).into_bytes(), Format::Json), (packed(levels), Format::MsgPack)]
        {
            let publish = Publish { payload: Payload::from(&*payload), format, ..Publish::default() };
            let mut buffer = Vec::new();
            let frame = if around == 1 {
                Frame::Publish(publish)
            } else {
                let page = Publications::encode(&[publish], &mut buffer);
                let (epoch, offset) = (Some(""), Some(0));
                Frame::History(History { epoch, offset, publications: Some(page), ..History::default() })
            };
            let line = line(&frame);
            assert_eq!(line.contains("payload_b64"), !shown, "{line}");
            // What is shown may be sent.
            let map = map(&line);
            assert_eq!(decode(&map).map(|back| describe(&back)), Ok(describe(&frame)));
        }
    }
}

#[test]
fn data_that_json_cannot_say_is_base64_of_its_messagepack() {
    let deepest = [&vec![0x91; MAX_VALUE_DEPTH - 1][..], b"\x90"].concat();
    for (bytes, text) in [
        (&b"\x81\xa1x\xc3"[..], r#""data":{"x":true}"#.to_owned()),
        (b"\xc4\x02\x00\xff", r#""data_b64":"xAIA/w==""#.to_owned()),
        (b"\x81\x01\x02", r#""data_b64":"gQEC""#.to_owned()),
        (&deepest, format!("\"data\":{}{}", "[".repeat(MAX_VALUE_DEPTH), "]".repeat(MAX_VALUE_DEPTH))),
    ] {
        let data = Value::new(bytes);
        assert!(data.is_some());
        let mut buffer = Vec::new();
        let members = Members::encode(&[Member { client: "m", data, ..Member::default() }], &mut buffer);
        let presence = Presence { channel: "c", data, changes: Some(members), ..Presence::default() };
        let frame = Frame::Presence(presence);
        let line = line(&frame);
        assert_eq!(
            line,
            format!(
                "{{\"type\":\"presence\",\"id\":0,\"channel\":\"c\",\"action\":0,{text},\
                 \"changes\":[{{\"client\":\"m\",{text}}}]}}"
            )
        );
        assert_eq!(decode(&map(&line)), Ok(frame));
    }
}

#[test]
fn what_a_frame_borrowed_is_escaped() {
    let mut buffer = Vec::new();
    let tags = Tags::encode(&[("a\"", "\n"), ("", "é"), ("a\"", "2")], &mut buffer);
    let frame = Frame::Publish(Publish {
        channel: "\\\u{1}",
        event: Some("\r\n"),
        tags: Some(tags),
        ..Publish::default()
    });
    assert_eq!(
        line(&frame),
        r#"{"type":"publish","channel":"\\\u0001","event":"\r\n","payload_b64":"","tags":{"a\"":"\n","":"é","a\"":"2"}}"#
    );
    assert_eq!(decode(&map(&line(&frame))), Ok(frame));
}

#[test]
fn lines_grow_by_no_more_than_they_say() {
    // The worst that there is: control characters, words and floats.
    for item in
        [&b"\xa8\0\0\0\0\0\0\0\0"[..], b"\xc2", b"\xca\x80\0\0\x01", b"\xcb\xb3\xb1\xb2\xb3\xb4\xb5\xb6\xb7"]
    {
        let count = 10_000_u16;
        let payload = [&[0xdc][..], &count.to_be_bytes(), &item.repeat(usize::from(count))].concat();
        let publish =
            Publish { payload: Payload::from(&*payload), format: Format::MsgPack, ..Publish::default() };
        let line = line(&Frame::Publish(publish));
        let found: Json = serde_json::from_str(&line).expect("a line is JSON");
        assert_eq!(found["payload"].as_array().map(Vec::len), Some(usize::from(count)));
        assert!(line.len() <= 7 * payload.len() + 100, "{} of {}", line.len(), payload.len());
    }
    for item in ["[]", "1", "1e1", "\"\"", "{\"\":1e1}", "{\"payload\":1}"] {
        for key in ["x", "publications"] {
            let line = format!("{{\"{key}\":[{}]}}", vec![item; 10_000].join(","));
            let map = map(&line);
            assert!(map.len() <= 3 * line.len() + 100, "{item}: {} of {}", map.len(), line.len());
        }
    }
}
