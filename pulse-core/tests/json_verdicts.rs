//! What each kind of line means: the map that it becomes, or where and why it is refused.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::json::{self, JsonError, What};
use pulse_core::wire::{DecodeError, Format, Frame, Invalid, MAX_DEPTH, Publish, decode};

fn map(line: impl AsRef<[u8]>) -> Result<Vec<u8>, JsonError> {
    let mut out = b"what was there before".to_vec();
    let result = json::to_map(line.as_ref(), &mut out);
    assert!(result.is_ok() || out.is_empty(), "nothing is left behind by an error");
    result.map(|()| out)
}

#[track_caller]
fn check(line: &str, expected: &[u8]) {
    let map = map(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!(map.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{line}");
}

/// The value of a pair, in a map of one.
#[track_caller]
fn check_value(value: &str, expected: &[u8]) {
    check(&format!("{{\"x\":{value}}}"), &[b"\x81\xa1x", expected].concat());
    check(&format!(" \t{{\r\n\"x\" :\t{value}\n}} "), &[b"\x81\xa1x", expected].concat());
    check(&format!("{{\"x\":[{value} , {value}]}}"), &[b"\x81\xa1x\x92", expected, expected].concat());
}

#[track_caller]
fn refuse(line: impl AsRef<[u8]>, at: usize, what: What) {
    let line = line.as_ref();
    assert_eq!(map(line), Err(JsonError { at, what }), "{}", line.escape_ascii());
}

#[track_caller]
fn publication<T>(line: &str, look: impl FnOnce(Publish<'_>) -> T) -> T {
    let map = map(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    match decode(&map) {
        Ok(Frame::Publish(publish)) => look(publish),
        other => panic!("{line} is no publication: {other:?}"),
    }
}

#[track_caller]
fn payload(pairs: &str, format: Format, bytes: &[u8]) {
    let line = format!("{{\"type\":\"publish\",\"channel\":\"c\",{pairs}}}");
    publication(&line, |publish| {
        let mut found = Vec::new();
        publish.payload.append_to(&mut found);
        assert_eq!(found.escape_ascii().to_string(), bytes.escape_ascii().to_string(), "{pairs}");
        assert_eq!(publish.format, format, "{pairs}");
    });
}

/// A request with these pairs gets error 1001 with this text, under its id.
#[track_caller]
fn invalid(pairs: &str, message: &str) {
    let line = format!("{{{pairs},\"type\":\"publish\",\"channel\":\"c\",\"id\":9}}");
    let map = map(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
    match decode(&map) {
        Err(DecodeError::Invalid(Invalid { id: 9, what })) => {
            assert_eq!(what.to_string(), message, "{pairs}");
        }
        other => panic!("{line} is not invalid: {other:?}"),
    }
}

#[test]
fn words_and_containers_become_their_shortest_forms() {
    check("{}", b"\x80");
    check_value("null", b"\xc0");
    check_value("false", b"\xc2");
    check_value("true", b"\xc3");
    check_value("[]", b"\x90");
    check_value("{}", b"\x80");
    check_value("[ ]", b"\x90");
    check_value("{ }", b"\x80");
    check_value("[[],{}]", b"\x92\x90\x80");
    check_value("{\"a\":[1],\"b\":{\"c\":null}}", b"\x82\xa1a\x91\x01\xa1b\x81\xa1c\xc0");
}

#[test]
fn numbers_become_their_shortest_integer_or_a_float() {
    let float = |float: f64| [&[0xcb][..], &float.to_be_bytes()].concat();
    for (text, bytes) in [
        ("0", &b"\x00"[..]),
        ("127", b"\x7f"),
        ("128", b"\xcc\x80"),
        ("255", b"\xcc\xff"),
        ("256", b"\xcd\x01\x00"),
        ("65535", b"\xcd\xff\xff"),
        ("65536", b"\xce\x00\x01\x00\x00"),
        ("4294967295", b"\xce\xff\xff\xff\xff"),
        ("4294967296", b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
        ("9007199254740991", b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff"),
        ("-1", b"\xff"),
        ("-32", b"\xe0"),
        ("-33", b"\xd0\xdf"),
        ("-128", b"\xd0\x80"),
        ("-129", b"\xd1\xff\x7f"),
        ("-32768", b"\xd1\x80\x00"),
        ("-32769", b"\xd2\xff\xff\x7f\xff"),
        ("-2147483648", b"\xd2\x80\x00\x00\x00"),
        ("-2147483649", b"\xd3\xff\xff\xff\xff\x7f\xff\xff\xff"),
        ("-9007199254740991", b"\xd3\xff\xe0\x00\x00\x00\x00\x00\x01"),
    ] {
        check_value(text, bytes);
    }
    for (text, number) in [
        ("-0", -0.0),
        ("0.0", 0.0),
        ("1.0", 1.0),
        ("1.5", 1.5),
        ("-1.25e2", -125.0),
        ("1E+3", 1000.0),
        ("2e-3", 0.002),
        ("0e99999999999999999999", 0.0),
        ("1e-99999999999999999999", 0.0),
        ("0.1", 0.1),
        ("5e-324", 5e-324),
        ("1.7976931348623157e308", f64::MAX),
        ("9007199254740992", 9_007_199_254_740_992.0),
        ("9007199254740993", 9_007_199_254_740_992.0),
        ("18446744073709551615", 18_446_744_073_709_551_615.0),
        ("18446744073709551616", 18_446_744_073_709_551_616.0),
        ("-9007199254740992", -9_007_199_254_740_992.0),
        ("123456789012345678901234567890", 123_456_789_012_345_678_901_234_567_890.0),
    ] {
        check_value(text, &float(number));
    }
    check_value(&"1".repeat(309), &float("1".repeat(309).parse().expect("a number")));
}

#[test]
fn strings_mean_what_their_escapes_say() {
    for (text, bytes) in [
        (r#""""#, &b"\xa0"[..]),
        (r#""abc""#, b"\xa3abc"),
        (r#""\"\\\/\b\f\n\r\t""#, b"\xa8\"\\/\x08\x0c\n\r\t"),
        (r#""\u0000\u001f""#, b"\xa2\x00\x1f"),
        (r#""\u00e9\u00E9é""#, b"\xa6\xc3\xa9\xc3\xa9\xc3\xa9"),
        (r#""\u20ac""#, b"\xa3\xe2\x82\xac"),
        (r#""\ud83d\ude00\uD83D\uDE00""#, b"\xa8\xf0\x9f\x98\x80\xf0\x9f\x98\x80"),
        (r#""\ud800\udc00""#, b"\xa4\xf0\x90\x80\x80"),
        (r#""\udbff\udfff""#, b"\xa4\xf4\x8f\xbf\xbf"),
        (r#""\ud7ff\ue000""#, b"\xa6\xed\x9f\xbf\xee\x80\x80"),
        (r#""\\u0041""#, b"\xa6\\u0041"),
        ("\"\u{7f}\u{2028}\u{feff}\"", b"\xa7\x7f\xe2\x80\xa8\xef\xbb\xbf"),
        (r#""12345678901234567890123456789\u0041\n""#, b"\xbf12345678901234567890123456789A\n"),
        (r#""123456789012345678901234567890\u0041\n""#, b"\xd9\x20123456789012345678901234567890A\n"),
    ] {
        check_value(text, bytes);
    }
}

#[test]
fn strings_and_collections_take_their_shortest_head_at_every_border() {
    for (len, text, array, map) in [
        (15, &b"\xaf"[..], &b"\x9f"[..], &b"\x8f"[..]),
        (16, b"\xb0", b"\xdc\x00\x10", b"\xde\x00\x10"),
        (31, b"\xbf", b"\xdc\x00\x1f", b"\xde\x00\x1f"),
        (32, b"\xd9\x20", b"\xdc\x00\x20", b"\xde\x00\x20"),
        (255, b"\xd9\xff", b"\xdc\x00\xff", b"\xde\x00\xff"),
        (256, b"\xda\x01\x00", b"\xdc\x01\x00", b"\xde\x01\x00"),
        (65_535, b"\xda\xff\xff", b"\xdc\xff\xff", b"\xde\xff\xff"),
        (65_536, b"\xdb\x00\x01\x00\x00", b"\xdd\x00\x01\x00\x00", b"\xdf\x00\x01\x00\x00"),
    ] {
        check_value(&format!("\"{}\"", "s".repeat(len)), &[text, &vec![b's'; len]].concat());
        check_value(&format!("\"{}\\u0073\"", "s".repeat(len - 1)), &[text, &vec![b's'; len]].concat());
        check_value(
            &format!("[{}]", vec!["[1]"; len].join(",")),
            &[array, &b"\x91\x01".repeat(len)].concat(),
        );
        let pairs = vec!["\"k\":5"; len].join(",");
        check_value(&format!("{{{pairs}}}"), &[map, &b"\xa1k\x05".repeat(len)].concat());
        // The frame itself.
        check(&format!("{{{pairs}}}"), &[map, &b"\xa1k\x05".repeat(len)].concat());
    }
}

#[test]
fn a_repeated_key_is_passed_on_for_the_decoder_to_find() {
    check(r#"{"id":1,"id":2}"#, b"\x82\xa2id\x01\xa2id\x02");
    let map = map(r#"{"type":"ping","timestamp":1,"timest\u0061mp":1}"#).expect("an object");
    assert_eq!(
        decode(&map).map_err(|error| error.to_string()),
        Err("timestamp is repeated: each key has to come once".to_owned())
    );
}

#[test]
fn numbers_that_javascript_does_not_count_to_are_out_of_range() {
    for number in ["9007199254740992", "-1", "1.5", "-0.5", "1e300"] {
        let map = map(format!("{{\"type\":\"ping\",\"timestamp\":{number}}}")).expect("an object");
        assert!(matches!(decode(&map), Err(DecodeError::Invalid(_))), "{number}");
    }
    for (number, timestamp) in
        [("9007199254740991", 9_007_199_254_740_991), ("-0", 0), ("3.0", 3), ("2e3", 2000)]
    {
        let map = map(format!("{{\"type\":\"ping\",\"timestamp\":{number}}}")).expect("an object");
        assert_eq!(decode(&map), Ok(Frame::Ping { timestamp: Some(timestamp) }), "{number}");
    }
}

#[test]
fn a_payload_is_the_text_of_any_value_as_it_was_sent() {
    for text in [
        "null",
        "true",
        "5",
        "1.50e+3",
        "123456789012345678901234567890",
        r#""a\u0041""#,
        "[1, 2 ,3]",
        "{ \"a\" : { \"a\":1,\"a\":2 } }",
        "\"é\u{2028}\"",
    ] {
        payload(&format!("\"payload\":{text}"), Format::Json, text.as_bytes());
        payload(&format!("\"payload\" : \t{text} "), Format::Json, text.as_bytes());
        payload(&format!("\"pay\\u006coad\":{text}"), Format::Json, text.as_bytes());
        payload(&format!("\"format\":\"json\",\"payload\":{text}"), Format::Json, text.as_bytes());
        payload(&format!("\"payload\":{text},\"format\":\"json\""), Format::Json, text.as_bytes());
        payload(&format!("\"payload\":{text},\"format\":null"), Format::Json, text.as_bytes());
        payload(&format!("\"format\":null,\"payload\":{text}"), Format::Json, text.as_bytes());
        payload(&format!("\"payload\":{text},\"payload_b64\":null"), Format::Json, text.as_bytes());
    }
    let long = format!("\"{}\"", "x".repeat(70_000));
    payload(&format!("\"payload\":{long},\"event\":\"e\""), Format::Json, long.as_bytes());
}

#[test]
fn a_payload_of_format_msgpack_is_transcoded() {
    for (text, bytes) in [
        ("null", &b"\xc0"[..]),
        ("-5", b"\xfb"),
        (r#""a\nb""#, b"\xa3a\nb"),
        (r#"{"x":[1,1.5]}"#, b"\x81\xa1x\x92\x01\xcb\x3f\xf8\0\0\0\0\0\0"),
        (r#"{"payload":{"format":1}}"#, b"\x81\xa7payload\x81\xa6format\x01"),
    ] {
        payload(&format!("\"payload\":{text},\"format\":\"msgpack\""), Format::MsgPack, bytes);
        payload(&format!("\"format\":\"msg\\u0070ack\",\"payload\": {text}"), Format::MsgPack, bytes);
    }
    for len in [1, 250, 252, 253, 254, 65_531, 65_532, 65_533, 65_534] {
        let mut bytes = vec![];
        match len {
            0..=31 => bytes.push(0xa0 | len as u8),
            32..=255 => bytes.extend([0xd9, len as u8]),
            _ => bytes.extend([0xda, (len >> 8) as u8, len as u8]),
        }
        bytes.resize(bytes.len() + len, b's');
        payload(
            &format!("\"payload\":\"{}\",\"format\":\"msgpack\"", "s".repeat(len)),
            Format::MsgPack,
            &bytes,
        );
    }
}

#[test]
fn a_payload_of_format_raw_means_what_it_means_in_messagepack() {
    payload(r#""payload":"a\u00e9\n","format":"raw""#, Format::Raw, "aé\n".as_bytes());
    payload(r#""format":"raw","payload":"""#, Format::Raw, b"");
    payload(r#""format":"raw","payload":[0,127,255,3.0]"#, Format::Raw, &[0, 127, 255, 3]);
    let expected = "payload has the wrong type or range: it has to be binary data, a string or an array of integers \
                    from 0 to 255";
    invalid(r#""format":"raw","payload":5"#, expected);
    invalid(r#""format":"raw","payload":[256]"#, expected);
    invalid(r#""format":"raw","payload":{"a":1}"#, expected);
    invalid(r#""format":"raw","payload":null"#, "payload is missing: frames of this type need it");
}

#[test]
fn bytes_come_as_base64_of_any_format() {
    for (text, bytes) in [
        ("", &b""[..]),
        ("Zg==", b"f"),
        ("Zg", b"f"),
        ("+\\/\\u002f+", b"\xfb\xff\xfe"),
        ("AP8B", b"\x00\xff\x01"),
    ] {
        payload(&format!("\"payload_b64\":\"{text}\""), Format::Raw, bytes);
        payload(&format!("\"format\":null,\"payload_b64\":\"{text}\""), Format::Raw, bytes);
        payload(&format!("\"payload_b64\":\"{text}\",\"format\":\"raw\""), Format::Raw, bytes);
        payload(&format!("\"payload_b64\":\"{text}\",\"format\":\"json\""), Format::Json, bytes);
        payload(&format!("\"format\":\"msgpack\",\"payload_b64\": \"{text}\""), Format::MsgPack, bytes);
    }
    for len in [254, 255, 256, 257, 65_535, 65_536] {
        payload(
            &format!("\"payload_b64\":\"{}\"", "AAAA".repeat(len / 3) + ["", "AA", "AAA="][len % 3]),
            Format::Raw,
            &vec![0; len],
        );
    }
}

#[test]
fn what_is_no_base64_is_a_payload_of_the_wrong_type() {
    for value in [
        r#""Z""#,
        r#""Zg=""#,
        r#""Zg===""#,
        r#""Zh==""#,
        r#""Zm9-""#,
        r#""Zm9v ""#,
        "\"é\"",
        "5",
        "true",
        "{}",
        "[0]",
    ] {
        invalid(
            &format!("\"payload_b64\":{value}"),
            "payload has the wrong type or range: it has to be binary data, a string or an array of integers from 0 \
             to 255",
        );
    }
    invalid("\"payload_b64\":null", "payload is missing: frames of this type need it");
}

#[test]
fn a_payload_that_is_given_twice_is_repeated() {
    for pairs in [
        r#""payload":1,"payload":1"#,
        r#""payload":1,"payload_b64":"Zg==""#,
        r#""payload_b64":"Zg==","payload":null"#,
        r#""payload_b64":"Zg==","payload_b64":"Zg==""#,
        r#""payload":1,"format":"json","payload":2,"payload":3"#,
    ] {
        invalid(pairs, "payload is repeated: each key has to come once");
    }
    for pairs in [
        r#""payload":1,"format":"json","format":"json""#,
        r#""payload":1,"format":null,"format":"json""#,
        r#""payload":1,"format":"raw","format":null"#,
        r#""payload":1,"format":null,"format":null"#,
    ] {
        invalid(pairs, "format is repeated: each key has to come once");
    }
}

#[test]
fn a_format_that_is_none_is_refused() {
    for format in ["\"xml\"", "5", "{}", "[null]", "\"JSON\""] {
        invalid(
            &format!("\"payload\":1,\"format\":{format}"),
            "format has the wrong type or range: it has to be one of raw, json and msgpack",
        );
    }
}

#[test]
fn data_is_any_value_or_base64_of_messagepack() {
    let head = r#""type":"presence","id":1,"channel":"c","action":2"#;
    let presence = b"\xa4type\xa8presence\xa2id\x01\xa7channel\xa1c\xa6action\x02";
    let pairs = |count: u8, rest: &[u8]| [&[0x80 | count][..], presence, rest].concat();
    check(&format!("{{{head},\"data\":{{\"a\":[null]}}}}"), &pairs(5, b"\xa4data\x81\xa1a\x91\xc0"));
    check(&format!("{{{head},\"data_b64\":\"xAH/\"}}"), &pairs(5, b"\xa4data\xc4\x01\xff"));
    check(&format!("{{{head},\"data_b64\":null}}"), &pairs(4, b""));
    for junk in ["\"\"", "\"wQ==\"", "\"kg==\"", "\"AQI=\"", "\"AQ=\"", "5", "[]", "\"of8=\""] {
        let map = map(format!("{{{head},\"data_b64\":{junk}}}")).expect("an object");
        assert_eq!(
            decode(&map).map_err(|error| error.to_string()),
            Err("data has the wrong type or range: it has to be a value with strings of UTF-8 that nests at most 29 \
                 levels deep"
                .to_owned()),
            "{junk}"
        );
    }
}

#[test]
fn items_of_lists_follow_the_rules_of_frames() {
    check(
        r#"{"publications":[{"payload":[1],"key":"k"},{"payload_b64":"Zg=="},{},5,[{"payload":1}]]}"#,
        b"\x81\xacpublications\x95\
          \x83\xa3key\xa1k\xa7payload\xc4\x03[1]\xa6format\xa4json\
          \x81\xa7payload\xc4\x01f\x80\x05\x91\x81\xa7payload\x01",
    );
    check(
        r#"{"members":[{"client":"c","data_b64":"xAA="}],"changes":[ ]}"#,
        b"\x82\xa7members\x91\x82\xa6client\xa1c\xa4data\xc4\x00\xa7changes\x90",
    );
    // Elsewhere the names mean nothing.
    check(
        r#"{"data":{"members":[{"data_b64":"xAA="}]},"members":{"payload":1}}"#,
        b"\x82\xa4data\x81\xa7members\x91\x81\xa8data_b64\xa4xAA=\xa7members\x81\xa7payload\x01",
    );
    check(
        r#"{"publications":[{"members":[{"payload":1}],"x":[{"payload":1}]}]}"#,
        b"\x81\xacpublications\x91\x82\xa7members\x91\x81\xa7payload\x01\xa1x\x91\x81\xa7payload\x01",
    );
    let many = vec!["{\"payload_b64\":\"\"}"; 20].join(",");
    check(
        &format!("{{\"publications\":[{many}]}}"),
        &[b"\x81\xacpublications\xdc\x00\x14", &b"\x81\xa7payload\xc4\x00".repeat(20)[..]].concat(),
    );
}

#[test]
fn text_that_is_not_one_object_is_refused_where_it_goes_wrong() {
    refuse("", 0, What::Ended);
    refuse("  \t", 3, What::Ended);
    for text in ["5", "[]", "\"{}\"", "null", "x", "}", "\u{feff}{}"] {
        refuse(text, 0, What::NotAnObject);
    }
    refuse("{}{}", 2, What::Trailing);
    refuse("{} x", 3, What::Trailing);
    refuse("{,}", 1, What::Expected("a key in quotes"));
    refuse("{\"a\":1,}", 7, What::Expected("a key in quotes"));
    refuse("{a:1}", 1, What::Expected("a key in quotes"));
    refuse("{1:1}", 1, What::Expected("a key in quotes"));
    refuse("{\"a\" 1}", 5, What::Expected("a colon"));
    refuse("{\"a\":}", 5, What::Expected("a value"));
    refuse("{\"a\":1 \"b\":2}", 7, What::Expected("a comma or a closing brace"));
    refuse("{\"a\":{\"b\":1]}", 11, What::Expected("a comma or a closing brace"));
    refuse("{\"a\":[1}", 7, What::Expected("a comma or a closing bracket"));
    refuse("{\"a\":[1 2]}", 8, What::Expected("a comma or a closing bracket"));
    refuse("{\"a\":[1,]}", 8, What::Expected("a value"));
    refuse("{\"a\":[,1]}", 6, What::Expected("a value"));
    refuse("{\"a\":{\"b\":{},}}", 13, What::Expected("a key in quotes"));
    refuse("{\"members\":[{}}", 14, What::Expected("a comma or a closing bracket"));
    refuse("{\"members\":[{},]", 15, What::Expected("a value"));
    for (value, at, what) in [
        ("nul", 3, What::Expected("null")),
        ("nulL", 3, What::Expected("null")),
        ("True", 0, What::Expected("a value")),
        ("tru3", 3, What::Expected("true")),
        ("falsy", 4, What::Expected("false")),
        ("NaN", 0, What::Expected("a value")),
        ("Infinity", 0, What::Expected("a value")),
        ("-Infinity", 1, What::Expected("a digit")),
        ("+1", 0, What::Expected("a value")),
        (".5", 0, What::Expected("a value")),
        ("-", 1, What::Expected("a digit")),
        ("1.", 2, What::Expected("a digit")),
        ("1.e5", 2, What::Expected("a digit")),
        ("1e", 2, What::Expected("a digit")),
        ("1e+", 3, What::Expected("a digit")),
        ("01", 1, What::Expected("a comma or a closing brace")),
        ("-01", 2, What::Expected("a comma or a closing brace")),
        ("0x10", 1, What::Expected("a comma or a closing brace")),
        ("1_000", 1, What::Expected("a comma or a closing brace")),
        ("'a'", 0, What::Expected("a value")),
        ("/**/1", 0, What::Expected("a value")),
        ("1e999", 0, What::OutOfRange),
        ("-1e309", 0, What::OutOfRange),
        (&"9".repeat(310), 0, What::OutOfRange),
        ("\"\n\"", 1, What::Control),
        ("\"a\0\"", 2, What::Control),
        ("\"\x1f\"", 1, What::Control),
        (r#""\x""#, 1, What::Escape),
        (r#""\'""#, 1, What::Escape),
        (r#""\u12g4""#, 1, What::Escape),
        (r#""\u+123""#, 1, What::Escape),
        (r#""\U0041""#, 1, What::Escape),
        (r#""ab\ud800""#, 3, What::Surrogate),
        (r#""\ud800x""#, 1, What::Surrogate),
        (r#""\ud800\n""#, 1, What::Surrogate),
        (r#""\ud800\ud800""#, 1, What::Surrogate),
        (r#""\ud800\ue000""#, 1, What::Surrogate),
        (r#""\udc00""#, 1, What::Surrogate),
        (r#""\udc00\ud800""#, 1, What::Surrogate),
        (r#""\udc00\udc00""#, 1, What::Surrogate),
        (r#""\udfff\udfff""#, 1, What::Surrogate),
        (r#""\ud800\u12""#, 1, What::Escape),
    ] {
        // In every place that has its own reader.
        for key in ["x", "payload", "payload_b64", "data", "data_b64", "format"] {
            let line = format!("{{\"{key}\":{value}}}");
            refuse(&line, line.len() - 1 - value.len() + at, what);
        }
    }
    refuse(b"{\"a\":\"\xff\"}", 6, What::NotUtf8);
    refuse(b"{\"a\":\"\xed\xa0\x80\"}", 6, What::NotUtf8);
    refuse(b"{\xa0\"a\":1}", 1, What::NotUtf8);
}

#[test]
fn nesting_is_bounded_wherever_it_stands() {
    for (key, around) in [("x", 1), ("payload", 1), ("format", 1), ("payload_b64", 1), ("data_b64", 1)] {
        for (open, close) in [("[", "]"), ("{\"k\":", "}")] {
            let line =
                |levels: usize| format!("{{\"{key}\":{}1{}}}", open.repeat(levels), close.repeat(levels));
            let most = MAX_DEPTH - around;
            assert!(map(line(most)).is_ok(), "{key}");
            refuse(line(most + 1), 4 + key.len() + most * open.len(), What::TooDeep);
            refuse(line(100_000), 4 + key.len() + most * open.len(), What::TooDeep);
        }
    }
    for list in ["publications", "members", "changes"] {
        // A list in its own items is an array like any other.
        let line = format!("{{\"{list}\":[").repeat(100_000);
        assert!(matches!(map(line), Err(JsonError { what: What::TooDeep, .. })), "{list}");
        for key in ["x", "payload"] {
            let line = |levels: usize| {
                format!("{{\"{list}\":[{{\"{key}\":{}{}}}]}}", "[".repeat(levels), "]".repeat(levels))
            };
            assert!(map(line(MAX_DEPTH - 3)).is_ok(), "{list}");
            assert!(matches!(map(line(MAX_DEPTH - 2)), Err(JsonError { what: What::TooDeep, .. })), "{list}");
        }
    }
}

#[test]
fn a_line_that_ends_early_is_refused_wherever_it_does() {
    let line = "{\"type\":\"publish\",\"channel\":\"c\\u00e9\\ud83d\\ude00é\",\"format\":\"msgpack\",\"payload\":\
                {\"a\":[1,-2.5e+7,true,false,null,{}]},\"publications\":[{\"payload_b64\":\"Zg==\"},5],\"x\":10}";
    assert!(map(line).is_ok());
    for len in 0..line.len() {
        let error = map(&line.as_bytes()[..len]).expect_err("half an object is none");
        // In the middle of a character it is not even UTF-8; otherwise more was to come.
        let what = if line.is_char_boundary(len) { What::Ended } else { What::NotUtf8 };
        assert_eq!(error.what, what, "{}", line.get(..len).unwrap_or_default());
        assert!(error.at <= len);
    }
}

#[test]
fn an_error_says_where_and_what_would_be_right() {
    for (line, text) in [
        (&b"{\"a\" 1}"[..], "byte 5: a colon has to stand here"),
        (b"[]", "byte 0: the line is not a JSON object: a frame has to be one"),
        (
            b"{\"a\":\"\\q\"}",
            "byte 6: an unknown escape: a backslash has to be followed by one of \" \\ / b f n r t or by u and four hexadecimal digits",
        ),
        (b"{\"a\":1e999}", "byte 5: the number is out of range: it has to fit a 64-bit float"),
    ] {
        assert_eq!(map(line).map_err(|error| error.to_string()), Err(text.to_owned()));
    }
    let deep = JsonError { at: 36, what: What::TooDeep };
    assert_eq!(deep.to_string(), "byte 36: arrays and objects are nested too deep: 32 levels are allowed");
}

#[test]
fn a_message_is_cut_into_lines() {
    #[track_caller]
    fn check(message: &[u8], lines: &[&[u8]]) {
        assert_eq!(json::lines(message).collect::<Vec<_>>(), lines);
    }
    check(b"", &[]);
    check(b"\n\r\n\n", &[]);
    check(b"{}", &[b"{}"]);
    check(b"{}\n", &[b"{}"]);
    check(b"a\nb\r\n\r\n\nc\r", &[b"a", b"b", b"c"]);
    check(b" \n\rx\n", &[b" ", b"\rx"]);
}
