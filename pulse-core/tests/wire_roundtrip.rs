//! Frames survive encoding and decoding, whatever keys they have and in whichever order these stand.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod wire_support;

use pulse_core::wire::{
    Ack, Format, Frame, List, Member, Members, Payload, Publications, Publish, Tags, Value, decode,
};
use wire_support::{Rng, TYPES, encoded, frame, map_from, map_of, pairs};

#[test]
fn every_frame_with_all_its_keys_survives() {
    for kind in 0..TYPES {
        for seed in 0..200 {
            let frame = frame(kind, &mut Rng::new(seed), true);
            assert_eq!(decode(map_of(&encoded(&frame))), Ok(frame), "seed {seed}");
        }
    }
}

#[test]
fn every_frame_with_some_of_its_keys_survives() {
    for kind in 0..TYPES {
        for seed in 0..500 {
            let frame = frame(kind, &mut Rng::new(seed), false);
            assert_eq!(decode(map_of(&encoded(&frame))), Ok(frame), "seed {seed}");
        }
    }
}

#[test]
fn the_order_of_keys_does_not_matter() {
    for kind in 0..TYPES {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let frame = frame(kind, &mut rng, seed % 2 == 0);
            let bytes = encoded(&frame);
            let (mut keys, _) = pairs(map_of(&bytes)).expect("what is encoded is a map");
            // Turned so that each key comes first once, then at random.
            for _ in 0..keys.len() {
                keys.rotate_left(1);
                assert_eq!(decode(&map_from(&keys, b"")), Ok(frame), "seed {seed}");
            }
            for _ in 0..10 {
                rng.shuffle(&mut keys);
                assert_eq!(decode(&map_from(&keys, b"")), Ok(frame), "seed {seed}");
            }
        }
    }
}

#[test]
fn unknown_keys_and_nil_are_passed_over_anywhere() {
    // Keys that are unknown to every frame, among them some that are no strings; `latest` and others only to most.
    let extra: [&[u8]; 10] = [
        b"\xa1x\x01",
        b"\xa1x\x82\xa2id\x05\x93\x01\x02\x03\xc7\x02\x01ab",
        b"\x05\xa2id",
        b"\xc0\xc0",
        b"\x92\xa2id\x01\xa4type",
        b"\x81\xa2id\x01\xcb\0\0\0\0\0\0\0\0",
        b"\xc4\x02id\x05",
        b"\xa7unknown\xa1\xff",
        b"\xd9\x03new\xd6\xff\0\0\0\0",
        b"\xa0\xdf\0\0\0\0",
    ];
    for kind in 0..TYPES {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let frame = frame(kind, &mut rng, true);
            let bytes = encoded(&frame);
            let (mut keys, _) = pairs(map_of(&bytes)).expect("what is encoded is a map");
            keys.extend(extra);
            rng.shuffle(&mut keys);
            assert_eq!(decode(&map_from(&keys, b"")), Ok(frame), "seed {seed}");
        }
    }
}

#[test]
fn nil_is_the_same_as_absent() {
    for (bytes, frame) in [
        (&b"\x82\xa4type\xa4ping\xa9timestamp\xc0"[..], Frame::Ping { timestamp: None }),
        (
            b"\x86\xa4type\xa3ack\xa2id\x01\xa5epoch\xc0\xa6offset\xc0\xa9recovered\xc0\xa6reason\xc0",
            Frame::Ack(Ack { id: 1, ..Ack::default() }),
        ),
        (
            b"\x88\xa4type\xa7publish\xa7channel\xa1c\xa7payload\xa0\xa2id\xc0\xa5event\xc0\xa6format\xc0\xa4tags\xc0\xa6client\xc0",
            Frame::Publish(Publish { channel: "c", ..Publish::default() }),
        ),
    ] {
        assert_eq!(decode(bytes), Ok(frame));
    }
}

#[test]
fn encoding_appends_and_leaves_what_was_there() {
    let mut out = b"before".to_vec();
    let ack = Ack { id: 1, ..Ack::default() };
    ack.encode(&mut out);
    Frame::Ack(ack).encode(&mut out);
    assert_eq!(out, b"before\0\0\0\x0e\x82\xa4type\xa3ack\xa2id\x01\0\0\0\x0e\x82\xa4type\xa3ack\xa2id\x01");
}

#[test]
fn numbers_take_their_shortest_form() {
    for (number, bytes) in [
        (0, &b"\x00"[..]),
        (127, b"\x7f"),
        (128, b"\xcc\x80"),
        (255, b"\xcc\xff"),
        (256, b"\xcd\x01\x00"),
        (65_535, b"\xcd\xff\xff"),
        (65_536, b"\xce\x00\x01\x00\x00"),
        (0xffff_ffff, b"\xce\xff\xff\xff\xff"),
        (0x1_0000_0000, b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
    ] {
        let frame = encoded(&Frame::Ping { timestamp: Some(number) });
        assert_eq!(&frame[4..], [b"\x82\xa4type\xa4ping\xa9timestamp", bytes].concat());
    }
}

#[test]
fn strings_and_payloads_take_their_shortest_form_at_every_border() {
    for (len, text, bin) in [
        (0, &b"\xa0"[..], &b"\xc4\x00"[..]),
        (31, b"\xbf", b"\xc4\x1f"),
        (32, b"\xd9\x20", b"\xc4\x20"),
        (255, b"\xd9\xff", b"\xc4\xff"),
        (256, b"\xda\x01\x00", b"\xc5\x01\x00"),
        (65_535, b"\xda\xff\xff", b"\xc5\xff\xff"),
        (65_536, b"\xdb\x00\x01\x00\x00", b"\xc6\x00\x01\x00\x00"),
    ] {
        let channel = "x".repeat(len);
        let frame = Frame::Publish(Publish {
            channel: &channel,
            payload: Payload::from(channel.as_bytes()),
            ..Publish::default()
        });
        let bytes = encoded(&frame);
        let map = [
            b"\x83\xa4type\xa7publish\xa7channel",
            text,
            channel.as_bytes(),
            b"\xa7payload",
            bin,
            channel.as_bytes(),
        ];
        assert_eq!(map_of(&bytes), map.concat());
        assert_eq!(decode(map_of(&bytes)), Ok(frame));
    }
}

#[test]
fn a_payload_may_come_as_bytes_as_a_string_or_as_an_array() {
    let head = b"\x83\xa4type\xa7publish\xa7channel\xa1c\xa7payload";
    for (payload, in_one_piece) in [
        (&b"\xc4\x03\x01\x02\xff"[..], true),
        (b"\xc5\x00\x03\x01\x02\xff", true),
        (b"\xc6\x00\x00\x00\x03\x01\x02\xff", true),
        (b"\xa3\x01\x02\xff", true),
        (b"\xd9\x03\x01\x02\xff", true),
        (b"\x93\x01\x02\xcc\xff", false),
        (b"\xdc\x00\x03\x01\xd0\x02\xcd\x00\xff", false),
        (b"\xdd\x00\x00\x00\x03\xca\x3f\x80\x00\x00\xd3\x00\x00\x00\x00\x00\x00\x00\x02\xce\x00\x00\x00\xff", false),
    ] {
        let map = [head, payload].concat();
        let Ok(Frame::Publish(publish)) = decode(&map) else { panic!("{map:x?} is no publication") };
        assert_eq!(publish.payload, Payload::from(&b"\x01\x02\xff"[..]));
        assert_ne!(publish.payload, Payload::from(&b"\x01\x02\xfe"[..]));
        assert_ne!(publish.payload, Payload::from(&b"\x01\x02"[..]));
        assert_eq!(publish.payload.as_bytes().is_some(), in_one_piece);
        assert_eq!((publish.payload.len(), publish.payload.is_empty()), (3, false));
        let mut bytes = b"before ".to_vec();
        publish.payload.append_to(&mut bytes);
        assert_eq!(bytes, b"before \x01\x02\xff");
        // It leaves as binary data in any case.
        let mut out = Vec::new();
        publish.encode(&mut out);
        assert_eq!(map_of(&out), [&head[..], b"\xc4\x03\x01\x02\xff"].concat());
    }
}

#[test]
fn collections_give_back_what_they_were_made_of() {
    let (mut a, mut b, mut c, mut d) = (Vec::new(), b"before".to_vec(), Vec::new(), Vec::new());
    let list = List::encode(&["one", "", "three"], &mut a);
    assert_eq!(list.iter().collect::<Vec<_>>(), ["one", "", "three"]);
    assert_eq!(List::new(list.as_bytes()), Some(list));
    assert_eq!((list.len(), list.is_empty()), (3, false));
    let tags = Tags::encode(&[("lang", "en"), ("", "x")], &mut b);
    assert_eq!(tags.iter().collect::<Vec<_>>(), [("lang", "en"), ("", "x")]);
    assert_eq!(Tags::new(tags.as_bytes()), Some(tags));
    let data = Value::new(b"\x81\xa1x\x01");
    let member = Member { action: None, client: "c", user: Some("u"), data };
    let members = Members::encode(&[member, Member { client: "d", ..Member::default() }], &mut c);
    assert_eq!(members.iter().collect::<Vec<_>>(), [member, Member { client: "d", ..Member::default() }]);
    assert_eq!(Members::new(members.as_bytes()), Some(members));
    let publication = Publish {
        payload: Payload::from(&b"p"[..]),
        format: Format::MsgPack,
        tags: Some(tags),
        offset: Some(7),
        ..Publish::default()
    };
    let publications = Publications::encode(&[publication, Publish::default()], &mut d);
    assert_eq!(publications.iter().collect::<Vec<_>>(), [publication, Publish::default()]);
    assert_eq!(Publications::new(publications.as_bytes()), Some(publications));
}

#[test]
fn a_collection_is_made_only_of_bytes_that_are_exactly_one() {
    assert_eq!(List::new(b"\x91\xa1a\x00"), None);
    assert_eq!(List::new(b"\x92\xa1a"), None);
    assert_eq!(List::new(b"\x91\x01"), None);
    assert_eq!(List::new(b"\xc0"), None);
    assert_eq!(Tags::new(b"\x81\xa1a\x01"), None);
    assert_eq!(Tags::new(b"\x91\xa1a"), None);
    assert_eq!(Members::new(b"\x91\x80"), None);
    assert_eq!(Publications::new(b"\x91\x81\xa7channel\xa1c"), None);
    assert_eq!(Value::new(b""), None);
    assert_eq!(Value::new(b"\xc0\xc0"), None);
    assert_eq!(Value::new(b"\xa1\xff"), None);
    assert!(Value::new(b"\xc0").is_some());
}

#[test]
fn a_publication_in_a_page_has_no_type_and_no_channel_but_may_carry_them() {
    let page = b"\x85\xa4type\xa7history\xa2id\x01\xa5epoch\xa1e\xa6offset\x02\xacpublications\x91\x83\xa4type\x01\xa7channel\xa1c\xa7payload\xa1p";
    let Ok(Frame::History(history)) = decode(page) else { panic!("{page:x?} is no page") };
    let items: Vec<_> = history.publications.expect("a page").iter().collect();
    assert_eq!(items, [Publish { payload: Payload::from(&b"p"[..]), ..Publish::default() }]);
}
