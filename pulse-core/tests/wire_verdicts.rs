//! What is wrong with a frame, and under which id the sender is told: one small test for each cause.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod wire_support;

use pulse_core::wire::{DecodeError, Frame, Invalid, MAX_DEPTH, MAX_VALUE_DEPTH, Malformed, What, decode};
use wire_support::{Rng, map_from, pairs};

/// Decodes `input` as it is and with its pairs in other orders: the verdict is the same each time.
#[track_caller]
fn check(input: &[u8], expected: DecodeError) {
    assert_eq!(decode(input), Err(expected), "as given");
    let Some((mut keys, rest)) = pairs(input) else {
        assert!(matches!(expected, DecodeError::Malformed(_)), "the plain checker finds no map");
        return;
    };
    assert!(matches!(expected, DecodeError::Invalid(_)), "the plain checker finds a map");
    let mut rng = Rng::new(1);
    for turn in 0..keys.len() * 8 {
        if turn < keys.len() {
            keys.rotate_left(1);
        } else {
            rng.shuffle(&mut keys);
        }
        let input = map_from(&keys, rest);
        assert_eq!(decode(&input), Err(expected), "in the order of {input:x?}");
    }
}

fn malformed(why: Malformed) -> DecodeError {
    DecodeError::Malformed(why)
}

fn invalid(id: u64, what: What) -> DecodeError {
    DecodeError::Invalid(Invalid { id, what })
}

fn wrong(id: u64, key: &'static str, expected: &'static str) -> DecodeError {
    invalid(id, What::WrongType { key, expected })
}

#[track_caller]
fn accept(input: &[u8]) {
    assert!(decode(input).is_ok(), "{:?}", decode(input));
}

const UINT: &str = "an integer from 0 to 2^53 - 1";
const TEXT: &str = "a string of UTF-8";

#[test]
fn nothing_at_all_is_truncated() {
    check(b"", malformed(Malformed::Truncated));
}

#[test]
fn a_value_that_is_no_map_is_malformed() {
    check(b"\xc0", malformed(Malformed::NotAMap));
    check(b"\x07", malformed(Malformed::NotAMap));
    check(b"\x92\xa4type\xa4ping", malformed(Malformed::NotAMap));
    check(b"\xa4ping", malformed(Malformed::NotAMap));
}

#[test]
fn the_reserved_byte_is_malformed_wherever_it_stands() {
    check(b"\xc1", malformed(Malformed::Reserved));
    check(b"\x82\xa4type\xa4ping\xa9timestamp\xc1", malformed(Malformed::Reserved));
    check(b"\x82\xa4type\xa4ping\xc1\x01", malformed(Malformed::Reserved));
    check(b"\x82\xa4type\xa4ping\xa1x\x91\xc1", malformed(Malformed::Reserved));
    check(b"\x82\xa4type\xc1\xa2id\x01", malformed(Malformed::Reserved));
}

#[test]
fn a_map_with_fewer_pairs_than_it_announces_is_malformed() {
    check(b"\x82\xa4type\xa4ping", malformed(Malformed::Truncated));
    check(b"\x81\xa4type", malformed(Malformed::Truncated));
    check(b"\x81", malformed(Malformed::Truncated));
}

#[test]
fn an_invalid_pair_does_not_hide_that_the_rest_is_malformed() {
    check(b"\x83\xa4type\xa4ping\xa9timestamp\xa1x\xa1x\xa5ab", malformed(Malformed::Truncated));
    check(b"\x83\xa4type\xa4nope\xa2id\x01\xa1x\xc1", malformed(Malformed::Reserved));
    check(b"\x82\xa4type\x05\xa1x\xc4\x05abcd", malformed(Malformed::Truncated));
}

#[test]
fn a_huge_announced_length_is_malformed_at_once() {
    for head in [
        &b"\xdd\xff\xff\xff\xff"[..],
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff",
    ] {
        check(&[&b"\x82\xa4type\xa4ping\xa1x"[..], head, &[0; 64]].concat(), malformed(Malformed::Truncated));
        check(
            &[&b"\x82\xa4type\xa7publish\xa7payload"[..], head, &[0; 64]].concat(),
            malformed(Malformed::Truncated),
        );
    }
    check(b"\xdf\xff\xff\xff\xff\xa4type\xa4ping", malformed(Malformed::Truncated));
    check(b"\xdf\x80\x00\x00\x01\xa4type\xa4ping", malformed(Malformed::Truncated));
}

/// A ping with an unknown key whose value is `depth` arrays, one in the other.
fn nested(depth: usize) -> Vec<u8> {
    let mut input = b"\x82\xa4type\xa4ping\xa1x".to_vec();
    input.resize(input.len() + depth - 1, 0x91);
    input.push(0x90);
    input
}

#[test]
fn nesting_is_bounded_and_the_bound_is_allowed() {
    accept(&nested(MAX_DEPTH - 1));
    check(&nested(MAX_DEPTH), malformed(Malformed::TooDeep));
    check(&nested(100_000), malformed(Malformed::TooDeep));
    // As a key, too, and as maps.
    let mut keys = b"\x82\xa4type\xa4ping".to_vec();
    keys.extend([0x81; MAX_DEPTH + 1]);
    keys.extend([0xc0; 2 * MAX_DEPTH]);
    check(&keys, malformed(Malformed::TooDeep));
}

#[test]
fn presence_data_may_nest_as_deep_as_it_can_be_passed_on() {
    let data = |depth: usize| {
        let mut input = b"\x85\xa4type\xa8presence\xa2id\x03\xa7channel\xa1c\xa6action\x02\xa4data".to_vec();
        input.resize(input.len() + depth - 1, 0x91);
        input.push(0x90);
        input
    };
    let expected = "a value with strings of UTF-8 that nests at most 29 levels deep";
    assert_eq!(MAX_VALUE_DEPTH, 29);
    accept(&data(MAX_VALUE_DEPTH));
    check(&data(MAX_VALUE_DEPTH + 1), wrong(3, "data", expected));
    check(&data(MAX_DEPTH - 1), wrong(3, "data", expected));
    check(&data(MAX_DEPTH), malformed(Malformed::TooDeep));
    // The deepest place for a value: a member in a list in a frame.
    let mut members = b"\x85\xa4type\xa8presence\xa2id\x03\xa7channel\xa1c\xa6action\x03\xa7members\x91\x82\xa6client\xa1d\xa4data".to_vec();
    members.extend([0x91; MAX_VALUE_DEPTH - 1]);
    accept(&[&members[..], b"\x90"].concat());
    check(&[&members[..], b"\x91\x90"].concat(), malformed(Malformed::TooDeep));
}

#[test]
fn a_type_that_is_unknown_is_invalid() {
    check(b"\x82\xa4type\xa4nope\xa2id\x07", invalid(7, What::UnknownType));
    check(b"\x82\xa4type\xa0\xa2id\x07", invalid(7, What::UnknownType));
    check(b"\x82\xa4type\xa4PING\xa2id\x07", invalid(7, What::UnknownType));
    check(b"\x81\xa4type\xd9\x05ping\0", invalid(0, What::UnknownType));
}

#[test]
fn a_frame_without_a_type_is_invalid() {
    check(b"\x80", invalid(0, What::MissingKey("type")));
    check(b"\x81\xa2id\x07", invalid(7, What::MissingKey("type")));
    check(b"\x82\xa4type\xc0\xa2id\x07", invalid(7, What::MissingKey("type")));
    check(b"\x82\xc4\x04type\xa4ping\xa2id\x07", invalid(7, What::MissingKey("type")));
}

#[test]
fn a_type_that_is_no_string_is_invalid() {
    check(b"\x82\xa4type\x05\xa2id\x07", wrong(7, "type", "a string"));
    check(b"\x82\xa4type\xc4\x04ping\xa2id\x07", wrong(7, "type", "a string"));
}

#[test]
fn each_key_that_a_type_needs_is_missed() {
    for (kind, needs) in [
        ("connect", &["version"][..]),
        ("connected", &["connection_id", "version", "heartbeat"]),
        ("subscribe", &["id", "channel"]),
        ("unsubscribe", &["id", "channel"]),
        ("unsubscribed", &["channel", "code", "reason"]),
        ("publish", &["channel", "payload"]),
        ("gap", &["channel", "reason"]),
        ("presence", &["id", "channel", "action"]),
        ("refresh", &["id", "token"]),
        ("ack", &["id"]),
        ("error", &["id", "code", "message"]),
        ("disconnect", &["code", "reason"]),
    ] {
        let string = |text: &str| [&[0xa0 | text.len() as u8], text.as_bytes()].concat();
        let pair = |key: &str, nil: bool| {
            let value = match key {
                _ if nil => b"\xc0".to_vec(),
                "version" | "heartbeat" | "code" | "action" | "id" => b"\x01".to_vec(),
                key => string(key),
            };
            [string(key), value].concat()
        };
        let frame = |without: &str, nil: &str| {
            let mut all = vec![[string("type"), string(kind)].concat()];
            all.extend(needs.iter().filter(|key| **key != without).map(|key| pair(key, *key == nil)));
            map_from(&all.iter().map(Vec::as_slice).collect::<Vec<_>>(), b"")
        };
        accept(&frame("", ""));
        for key in needs {
            let id = u64::from(needs.contains(&"id") && *key != "id");
            check(&frame(key, ""), invalid(id, What::MissingKey(key)));
            check(&frame("", key), invalid(id, What::MissingKey(key)));
        }
    }
}

#[test]
fn a_history_frame_is_a_query_or_a_whole_page() {
    let head = |pairs: u8| [&[0x80 | pairs], &b"\xa4type\xa7history\xa2id\x07"[..]].concat();
    accept(&[&head(3)[..], b"\xa7channel\xa1c"].concat());
    accept(&[&head(5)[..], b"\xa5epoch\xa1e\xa6offset\x00\xacpublications\x90"].concat());
    check(&head(2), invalid(7, What::MissingKey("channel")));
    check(
        &[&head(4)[..], b"\xa5epoch\xa1e\xa6offset\x00"].concat(),
        invalid(7, What::MissingKey("publications")),
    );
    check(
        &[&head(4)[..], b"\xa5epoch\xa1e\xacpublications\x90"].concat(),
        invalid(7, What::MissingKey("offset")),
    );
    check(
        &[&head(4)[..], b"\xa6offset\x00\xacpublications\x90"].concat(),
        invalid(7, What::MissingKey("epoch")),
    );
    check(b"\x82\xa4type\xa7history\xa7channel\xa1c", invalid(0, What::MissingKey("id")));
}

#[test]
fn a_known_key_that_is_repeated_is_invalid_even_if_it_is_nil() {
    let what = What::RepeatedKey;
    check(
        b"\x84\xa4type\xa9subscribe\xa2id\x07\xa7channel\xa1c\xa7channel\xa1c",
        invalid(7, what("channel")),
    );
    check(b"\x84\xa4type\xa9subscribe\xa2id\x07\xa7channel\xa1c\xa7channel\xc0", invalid(7, what("channel")));
    check(
        b"\x85\xa4type\xa9subscribe\xa2id\x07\xa7channel\xa1c\xa5token\xc0\xa5token\xc0",
        invalid(7, what("token")),
    );
    // The same key in a longer format is the same key.
    check(
        b"\x84\xa4type\xa9subscribe\xa2id\x07\xa7channel\xa1c\xd9\x07channel\xa1c",
        invalid(7, what("channel")),
    );
    check(b"\x83\xa4type\xa4ping\xa4type\xa4ping\xa2id\x07", invalid(7, what("type")));
}

#[test]
fn a_key_that_is_repeated_but_unknown_to_the_type_is_passed_over() {
    accept(b"\x83\xa4type\xa4ping\xa1x\x01\xa1x\x02");
    accept(b"\x83\xa4type\xa4ping\xa5token\x01\xa5token\x02");
}

#[test]
fn a_repeated_id_is_no_id() {
    check(
        b"\x84\xa4type\xa9subscribe\xa2id\x07\xa7channel\xa1c\xa2id\x07",
        invalid(0, What::RepeatedKey("id")),
    );
    check(
        b"\x84\xa4type\xa9subscribe\xa2id\x07\xa7channel\xa1c\xa2id\xc0",
        invalid(0, What::RepeatedKey("id")),
    );
    check(b"\x83\xa4type\xa4nope\xa2id\x07\xa2id\x07", invalid(0, What::UnknownType));
}

#[test]
fn an_id_counts_in_every_width_and_out_of_range_is_none() {
    for (id, number) in [
        (&b"\x00"[..], 0),
        (b"\x7f", 127),
        (b"\xcc\x05", 5),
        (b"\xcd\x00\x05", 5),
        (b"\xce\x00\x00\x00\x05", 5),
        (b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff", (1 << 53) - 1),
        (b"\xd0\x05", 5),
        (b"\xd1\x00\x05", 5),
        (b"\xd2\x00\x00\x00\x05", 5),
        (b"\xd3\x00\x00\x00\x00\x00\x00\x00\x05", 5),
        (b"\xca\x40\xa0\x00\x00", 5),
        (b"\xcb\x40\x14\x00\x00\x00\x00\x00\x00", 5),
        (b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00", 0),
        (b"\xcb\x43\x3f\xff\xff\xff\xff\xff\xff", (1 << 53) - 1),
    ] {
        let input = [b"\x82\xa4type\xa3ack\xa2id", id].concat();
        let Ok(Frame::Ack(ack)) = decode(&input) else { panic!("{:?}", decode(&input)) };
        assert_eq!(ack.id, number);
        check(&[b"\x82\xa4type\xa4nope\xa2id", id].concat(), invalid(number, What::UnknownType));
    }
    for id in [
        &b"\xff"[..],
        b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00",
        b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xd0\xff",
        b"\xd1\xff\xff",
        b"\xd2\xff\xff\xff\xff",
        b"\xd3\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xca\x3f\x00\x00\x00",
        b"\xca\xbf\x80\x00\x00",
        b"\xca\x7f\x80\x00\x00",
        b"\xcb\x43\x40\x00\x00\x00\x00\x00\x00",
        b"\xcb\x43\xf0\x00\x00\x00\x00\x00\x00",
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"\xa15",
        b"\xc2",
        b"\x90",
    ] {
        check(&[b"\x82\xa4type\xa3ack\xa2id", id].concat(), wrong(0, "id", UINT));
        check(&[b"\x82\xa4type\xa4nope\xa2id", id].concat(), invalid(0, What::UnknownType));
    }
}

#[test]
fn bytes_after_the_map_are_invalid_and_the_id_counts() {
    check(b"\x82\xa4type\xa3ack\xa2id\x07\x00", invalid(7, What::TrailingBytes));
    check(b"\x82\xa4type\xa3ack\xa2id\x07\xc1\xff", invalid(7, What::TrailingBytes));
}

#[test]
fn a_number_of_the_wrong_type_or_range_is_invalid() {
    check(b"\x82\xa4type\xa7connect\xa7version\xa11", wrong(0, "version", UINT));
    check(
        b"\x83\xa4type\xa3ack\xa2id\x07\xa6offset\xcf\x00\x20\x00\x00\x00\x00\x00\x00",
        wrong(7, "offset", UINT),
    );
    check(b"\x84\xa4type\xa7publish\xa7channel\xa1c\xa7payload\xa0\xa4time\xff", wrong(0, "time", UINT));
    check(
        b"\x83\xa4type\xaadisconnect\xa6reason\xa0\xa4code\xce\x00\x01\x00\x00",
        wrong(0, "code", "an integer from 0 to 65535"),
    );
    check(
        b"\x83\xa4type\xaadisconnect\xa6reason\xa0\xa4code\xff",
        wrong(0, "code", "an integer from 0 to 65535"),
    );
}

#[test]
fn a_string_that_is_none_or_no_utf8_is_invalid() {
    check(b"\x83\xa4type\xa9subscribe\xa2id\x07\xa7channel\x05", wrong(7, "channel", TEXT));
    check(b"\x83\xa4type\xa9subscribe\xa2id\x07\xa7channel\xc4\x01c", wrong(7, "channel", TEXT));
    check(b"\x83\xa4type\xa9subscribe\xa2id\x07\xa7channel\xa1\xff", wrong(7, "channel", TEXT));
    // A surrogate, an overlong form, half a character.
    check(b"\x83\xa4type\xa9subscribe\xa2id\x07\xa7channel\xa3\xed\xa0\x80", wrong(7, "channel", TEXT));
    check(b"\x83\xa4type\xa9subscribe\xa2id\x07\xa7channel\xa2\xc0\x80", wrong(7, "channel", TEXT));
    check(b"\x83\xa4type\xa9subscribe\xa2id\x07\xa7channel\xa1\xc3", wrong(7, "channel", TEXT));
}

#[test]
fn a_boolean_that_is_none_is_invalid() {
    check(b"\x83\xa4type\xa3ack\xa2id\x07\xa9recovered\x01", wrong(7, "recovered", "true or false"));
}

#[test]
fn an_epoch_is_at_most_16_bytes() {
    let expected = "a string of at most 16 bytes of UTF-8";
    accept(b"\x83\xa4type\xa3ack\xa2id\x07\xa5epoch\xb00123456789abcdef");
    check(b"\x83\xa4type\xa3ack\xa2id\x07\xa5epoch\xb10123456789abcdefg", wrong(7, "epoch", expected));
    check(b"\x83\xa4type\xa3ack\xa2id\x07\xa5epoch\x01", wrong(7, "epoch", expected));
}

#[test]
fn a_format_that_is_unknown_is_invalid() {
    let expected = "one of raw, json and msgpack";
    let publish = |format: &[u8]| {
        [b"\x85\xa4type\xa7publish\xa2id\x07\xa7channel\xa1c\xa7payload\xa0\xa6format", format].concat()
    };
    for format in [&b"\xa3raw"[..], b"\xa4json", b"\xa7msgpack", b"\xc0"] {
        accept(&publish(format));
    }
    for format in [&b"\xa3xml"[..], b"\xa4JSON", b"\xa0", b"\x01"] {
        check(&publish(format), wrong(7, "format", expected));
    }
}

#[test]
fn a_presence_action_is_a_number_from_0_to_4() {
    let expected = "0 (join), 1 (leave), 2 (update), 3 (sync) or 4 (count)";
    let presence =
        |action: &[u8]| [b"\x84\xa4type\xa8presence\xa2id\x07\xa7channel\xa1c\xa6action", action].concat();
    accept(&presence(b"\x04"));
    accept(&presence(b"\xcc\x04"));
    for action in [&b"\x05"[..], b"\xff", b"\xa4join", b"\xcd\x01\x00"] {
        check(&presence(action), wrong(7, "action", expected));
    }
}

#[test]
fn a_payload_of_another_type_is_invalid() {
    let expected = "binary data, a string or an array of integers from 0 to 255";
    let publish =
        |payload: &[u8]| [b"\x84\xa4type\xa7publish\xa2id\x07\xa7channel\xa1c\xa7payload", payload].concat();
    for payload in [
        &b"\x05"[..],
        b"\x80",
        b"\xc3",
        b"\x91\xcd\x01\x00",
        b"\x91\xff",
        b"\x92\x00\xa1a",
        b"\x91\xc0",
        b"\xd4\x01\x01",
    ] {
        check(&publish(payload), wrong(7, "payload", expected));
    }
}

#[test]
fn tags_are_strings_by_strings() {
    let expected = "a map of strings to strings";
    let publish = |tags: &[u8]| {
        [b"\x85\xa4type\xa7publish\xa2id\x07\xa7channel\xa1c\xa7payload\xa0\xa4tags", tags].concat()
    };
    accept(&publish(b"\x81\xa1a\xa1b"));
    for tags in [
        &b"\x81\xa1a\x01"[..],
        b"\x81\x01\xa1a",
        b"\x81\xa1a\xc0",
        b"\x81\xa1a\xa1\xff",
        b"\x92\xa1a\xa1b",
        b"\xa1a",
    ] {
        check(&publish(tags), wrong(7, "tags", expected));
    }
}

#[test]
fn features_are_a_list_of_strings() {
    let connect =
        |features: &[u8]| [b"\x83\xa4type\xa7connect\xa7version\x01\xa8features", features].concat();
    accept(&connect(b"\x92\xa1a\xa1b"));
    for features in [&b"\x91\x01"[..], b"\xa1a", b"\x81\xa1a\xa1b", b"\x91\xc0"] {
        check(&connect(features), wrong(0, "features", "a list of strings"));
    }
}

#[test]
fn a_position_has_an_epoch_and_an_offset() {
    let expected = "a map of epoch (a string of at most 16 bytes) and offset (an integer)";
    let subscribe = |recover: &[u8]| {
        [b"\x84\xa4type\xa9subscribe\xa2id\x07\xa7channel\xa1c\xa7recover", recover].concat()
    };
    accept(&subscribe(b"\x82\xa5epoch\xa1e\xa6offset\x00"));
    accept(&subscribe(b"\x83\xa6offset\x00\xa4type\x01\xa5epoch\xa0"));
    for recover in [
        &b"\x80"[..],
        b"\x81\xa5epoch\xa1e",
        b"\x82\xa5epoch\xa1e\xa6offset\xc0",
        b"\x82\xa5epoch\x01\xa6offset\x00",
        b"\x82\xa5epoch\xa1e\xa6offset\xff",
        b"\x83\xa5epoch\xa1e\xa6offset\x00\xa6offset\x00",
        b"\x92\xa1e\x00",
        b"\x05",
    ] {
        check(&subscribe(recover), wrong(7, "recover", expected));
    }
}

#[test]
fn members_and_publications_are_lists_of_what_they_say() {
    let members = |list: &[u8]| {
        [b"\x85\xa4type\xa8presence\xa2id\x07\xa7channel\xa1c\xa6action\x03\xa7members", list].concat()
    };
    accept(&members(b"\x91\x81\xa6client\xa1c"));
    for list in [
        &b"\x91\x80"[..],
        b"\x91\x01",
        b"\x80",
        b"\x91\x82\xa6client\xa1c\xa6action\x05",
        b"\x91\x82\xa6client\xa1c\xa6client\xa1c",
    ] {
        check(&members(list), wrong(7, "members", "a list of members, each a map with a client"));
    }
    let page = |list: &[u8]| {
        [b"\x85\xa4type\xa7history\xa2id\x07\xa5epoch\xa1e\xa6offset\x00\xacpublications", list].concat()
    };
    accept(&page(b"\x91\x81\xa7payload\xa0"));
    for list in [&b"\x91\x80"[..], b"\x91\x01", b"\x80", b"\x91\x82\xa7payload\xa0\xa6offset\xff"] {
        check(&page(list), wrong(7, "publications", "a list of publications, each a map with a payload"));
    }
}

#[test]
fn every_text_says_what_was_wrong_and_what_would_be_right() {
    for (input, text) in [
        (&b"\xc0"[..], "the frame is not a MessagePack map: it has to be one map with string keys"),
        (b"\x81", "the frame ends within a value: its length prefix has to cover the whole map"),
        (b"\xc1", "the byte 0xc1 begins no MessagePack value"),
        (&nested(40), "arrays and maps are nested too deep: 32 levels are allowed"),
        (b"\x81\xa4type\xa1x", "type is unknown: it has to be a frame type of protocol version 1"),
        (b"\x81\xa4type\xa3ack", "id is missing: frames of this type need it"),
        (
            b"\x82\xa4type\xa3ack\xa2id\xa1a",
            "id has the wrong type or range: it has to be an integer from 0 to 2^53 - 1",
        ),
        (b"\x82\xa4type\xa4ping\xa4type\xa4ping", "type is repeated: each key has to come once"),
        (b"\x81\xa4type\xa4ping\x00", "bytes follow the map: a frame has to be exactly one map"),
    ] {
        let error = decode(input).expect_err("every input here is wrong");
        assert_eq!(error.to_string(), text);
    }
}
