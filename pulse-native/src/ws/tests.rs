//! Every rule of RFC 6455 about frames by a test of its own.
//!
//! [`check`] feeds each input whole, byte by byte and cut at random, so that no rule holds for one way of reading only.

use core::{
    mem::size_of,
    ops::ControlFlow::{Break, Continue},
    str::from_utf8,
};

use pulse_core::Kind;

use super::{Event, Opcode, Reader, Violation, close_payload, control, header, masked, oracle::Random};

/// An [`Event`] that outlives the bytes it was read from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message(Kind::Text, text) => {
                Self::Text(from_utf8(text).expect("text is UTF-8").to_owned())
            }
            Event::Message(Kind::Binary, bytes) => Self::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Event::Close(why) => Self::Close(why.map(|(code, reason)| (code, reason.to_owned()))),
        }
    }
}

/// What came of some bytes: the events, then the close code of the violation that ended them.
pub(super) type Outcome = (Vec<Seen>, Option<u16>);

pub(super) const LIMIT: usize = 100_000;

/// Feeds `bytes` in pieces of the lengths that `pieces` gives.
pub(super) fn read(
    mut reader: Reader,
    bytes: &[u8],
    limit: usize,
    mut pieces: impl FnMut() -> usize,
) -> Outcome {
    let mut bytes = bytes.to_vec();
    let (mut rest, mut seen) = (&mut bytes[..], Vec::new());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at_mut(pieces().clamp(1, rest.len()));
        let result = reader.feed(piece, limit, |event| {
            seen.push(event.into());
            Continue(())
        });
        assert!(reader.buffered() <= limit + 125, "{} bytes are kept", reader.buffered());
        assert!(!reader.is_idle() || reader.buffered() == 0, "an idle reader keeps nothing");
        if let Err(violation) = result {
            assert!(reader.is_idle(), "a violation frees everything");
            return (seen, Some(violation.code()));
        }
        rest = after;
    }
    (seen, None)
}

fn check_within(limit: usize, bytes: &[u8], expected: &[Seen], code: Option<u16>) {
    let expected = (expected.to_vec(), code);
    assert_eq!(read(Reader::new(), bytes, limit, || bytes.len()), expected, "read whole");
    assert_eq!(read(Reader::new(), bytes, limit, || 1), expected, "read byte by byte");
    let mut random = Random::seeded(7);
    for _ in 0..20 {
        assert_eq!(read(Reader::new(), bytes, limit, || random.below(9)), expected, "read in pieces");
    }
}

/// Expects the events, and then the violation.
#[track_caller]
fn check(frames: &[Vec<u8>], expected: &[Seen], code: Option<u16>) {
    check_within(LIMIT, &frames.concat(), expected, code);
}

pub(super) const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A masked frame with any first byte, legal or not.
fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    masked(&mut out, Opcode::Binary, payload.as_ref(), [0x37, 0xfa, 0x21, 0x3d]);
    out[0] = first;
    out
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

/// Feeds byte by byte and says after how many bytes the violation came.
fn fails_at(limit: usize, bytes: &[u8]) -> (usize, Violation) {
    let (mut reader, mut bytes) = (Reader::new(), bytes.to_vec());
    for (i, byte) in bytes.chunks_mut(1).enumerate() {
        if let Err(violation) = reader.feed(byte, limit, |_| Continue(())) {
            return (i + 1, violation);
        }
    }
    panic!("nothing is wrong with these bytes");
}

// Messages and fragments: RFC 6455 5.2, 5.4 and 5.6.

#[test]
fn a_whole_frame_is_a_message() {
    check(&[frame(FIN | TEXT, "hello")], &[text("hello")], None);
    check(&[frame(FIN | BINARY, [0, 255])], &[Seen::Binary(vec![0, 255])], None);
}

#[test]
fn empty_messages_are_messages() {
    check(&[frame(FIN | TEXT, ""), frame(FIN | BINARY, "")], &[text(""), Seen::Binary(vec![])], None);
}

#[test]
fn every_form_of_length_is_read() {
    for len in [1, 125, 126, 127, 128, 65_535, 65_536, LIMIT] {
        let payload = vec![0xee; len];
        let bytes = [frame(FIN | BINARY, &payload), frame(FIN | TEXT, "after")].concat();
        let expected = (vec![Seen::Binary(payload), text("after")], None);
        assert_eq!(read(Reader::new(), &bytes, LIMIT, || bytes.len()), expected);
        assert_eq!(read(Reader::new(), &bytes, LIMIT, || 1), expected);
        assert_eq!(read(Reader::new(), &bytes, LIMIT, || 16_384), expected);
    }
}

#[test]
fn fragments_are_put_together() {
    let frames = [frame(TEXT, "a"), frame(CONTINUATION, ""), frame(CONTINUATION, "b"), frame(FIN, "c")];
    check(&frames, &[text("abc")], None);
    check(&[frame(BINARY, ""), frame(FIN, "")], &[Seen::Binary(vec![])], None);
}

#[test]
fn control_frames_come_through_between_fragments() {
    check(
        &[frame(TEXT, "a"), frame(FIN | PING, "1"), frame(0, "b"), frame(FIN | PONG, "2"), frame(FIN, "c")],
        &[Seen::Ping(b"1".into()), Seen::Pong(b"2".into()), text("abc")],
        None,
    );
}

#[test]
fn a_close_between_fragments_ends_the_connection() {
    check(&[frame(TEXT, "a"), frame(FIN | CLOSE, ""), frame(FIN, "b")], &[Seen::Close(None)], None);
}

#[test]
fn a_continuation_needs_a_start() {
    check(&[frame(FIN, "a")], &[], Some(1002));
    check(&[frame(CONTINUATION, "a")], &[], Some(1002));
    check(&[frame(FIN | TEXT, "a"), frame(FIN, "b")], &[text("a")], Some(1002));
    check(&[frame(TEXT, "a"), frame(FIN, "b"), frame(FIN, "c")], &[text("ab")], Some(1002));
}

#[test]
fn a_new_message_waits_for_the_end_of_the_last() {
    for first in [TEXT, BINARY, FIN | TEXT, FIN | BINARY] {
        check(&[frame(TEXT, "a"), frame(first, "b")], &[], Some(1002));
    }
}

#[test]
fn reserved_bits_are_refused() {
    for bit in [0x40, 0x20, 0x10] {
        for first in [FIN | TEXT, TEXT, FIN | PING, FIN | CLOSE] {
            check(
                &[frame(FIN | BINARY, "a"), frame(first | bit, "b")],
                &[Seen::Binary(b"a".into())],
                Some(1002),
            );
        }
    }
}

#[test]
fn unknown_opcodes_are_refused() {
    for opcode in (3..8).chain(11..16) {
        check(&[frame(FIN | opcode, "")], &[], Some(1002));
        check(&[frame(opcode, "a")], &[], Some(1002));
    }
}

#[test]
fn a_length_takes_the_fewest_bytes_that_hold_it() {
    for len in [0u16, 5, 125] {
        let [high, low] = len.to_be_bytes();
        check(
            &[[&[FIN | BINARY, 0x80 | 126, high, low, 0, 0, 0, 0][..], &[0; 125]].concat()],
            &[],
            Some(1002),
        );
    }
    for len in [0u64, 125, 126, 65_535] {
        let bytes = [&[FIN | BINARY, 0x80 | 127][..], &len.to_be_bytes(), &[0; 4]].concat();
        check(&[bytes], &[], Some(1002));
    }
}

#[test]
fn the_top_bit_of_a_long_length_is_refused_as_a_mistake_not_as_a_size() {
    let bytes = [&[FIN | BINARY, 0x80 | 127][..], &(1u64 << 63 | 70_000).to_be_bytes(), &[0; 4]].concat();
    check(&[bytes], &[], Some(1002));
    let bytes = [&[FIN | BINARY, 0x80 | 127][..], &(u64::MAX >> 1).to_be_bytes(), &[0; 4]].concat();
    check(&[bytes], &[], Some(1009));
}

// Masks: 5.1.

#[test]
fn a_client_masks_its_frames() {
    let mut bytes = Vec::new();
    control(&mut bytes, Opcode::Ping, b"a");
    check(&[bytes], &[], Some(1002));
    check(&[[&*header(Opcode::Binary, 3), b"abc"].concat()], &[], Some(1002));
}

#[test]
fn a_server_does_not() {
    let outcome = read(Reader::of_server(), &frame(FIN | TEXT, "a"), LIMIT, || 1);
    assert_eq!(outcome, (vec![], Some(1002)));
}

#[test]
fn what_a_server_writes_is_read_by_a_client() {
    for len in [0, 1, 125, 126, 65_535, 65_536] {
        let mut bytes = header(Opcode::Binary, len).to_vec();
        bytes.resize(bytes.len() + len, 9);
        control(&mut bytes, Opcode::Pong, b"pong");
        control(&mut bytes, Opcode::Close, &close_payload(4000, "later"));
        let expected = [
            Seen::Binary(vec![9; len]),
            Seen::Pong(b"pong".into()),
            Seen::Close(Some((4000, "later".into()))),
        ];
        for size in [1, 1000, bytes.len()] {
            assert_eq!(read(Reader::of_server(), &bytes, LIMIT, || size), (expected.to_vec(), None));
        }
    }
}

// Control frames: 5.5.

#[test]
fn a_control_frame_holds_up_to_125_bytes() {
    check(&[frame(FIN | PING, [1; 125])], &[Seen::Ping(vec![1; 125])], None);
    check(&[frame(FIN | PONG, "")], &[Seen::Pong(vec![])], None);
    for opcode in [PING, PONG, CLOSE] {
        check(&[frame(FIN | opcode, [1; 126])], &[], Some(1002));
        check(&[frame(FIN | opcode, vec![1; 70_000])], &[], Some(1002));
    }
}

#[test]
fn a_control_frame_is_not_fragmented() {
    for opcode in [PING, PONG, CLOSE] {
        check(&[frame(opcode, "")], &[], Some(1002));
        check(&[frame(TEXT, "a"), frame(opcode, "b"), frame(FIN, "c")], &[], Some(1002));
    }
}

// Closing: 5.5.1 and 7.4.

#[test]
fn a_close_has_no_payload_or_a_code_and_a_reason() {
    check(&[frame(FIN | CLOSE, "")], &[Seen::Close(None)], None);
    check(&[frame(FIN | CLOSE, [3, 232])], &[Seen::Close(Some((1000, String::new())))], None);
    check(&[frame(FIN | CLOSE, b"\x0f\xa0ciao")], &[Seen::Close(Some((4000, "ciao".into())))], None);
    let longest = [&[3, 232][..], &[b'x'; 123]].concat();
    check(&[frame(FIN | CLOSE, longest)], &[Seen::Close(Some((1000, "x".repeat(123))))], None);
}

#[test]
fn half_a_close_code_is_refused() {
    check(&[frame(FIN | CLOSE, [3])], &[], Some(1002));
}

#[test]
fn a_close_code_that_may_not_be_sent_is_refused() {
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        check(&[frame(FIN | CLOSE, code.to_be_bytes())], &[], Some(1002));
    }
}

#[test]
fn the_reason_of_a_close_is_utf_8() {
    check(&[frame(FIN | CLOSE, b"\x03\xe8\xce\xba\xff")], &[], Some(1007));
    check(&[frame(FIN | CLOSE, b"\x03\xe8\xce")], &[], Some(1007));
}

#[test]
fn nothing_is_read_after_a_close() {
    let close = frame(FIN | CLOSE, "");
    check(&[close.clone(), frame(FIN | TEXT, "a"), close.clone(), vec![255; 9]], &[Seen::Close(None)], None);
}

#[test]
fn nothing_is_read_after_a_violation() {
    let mut reader = Reader::new();
    reader.feed(&mut frame(FIN, "a"), LIMIT, |_| Continue(())).unwrap_err();
    reader.feed(&mut frame(FIN | TEXT, "b"), LIMIT, |event| panic!("{event:?}")).unwrap();
    assert!(reader.is_idle());
}

#[test]
fn a_break_drops_the_rest_for_good() {
    let mut bytes = [frame(FIN | TEXT, "a"), frame(FIN | TEXT, "b"), frame(TEXT, "c")].concat();
    let (mut reader, mut events) = (Reader::new(), 0);
    for _ in 0..2 {
        let result = reader.feed(&mut bytes, LIMIT, |_| {
            events += 1;
            Break(())
        });
        assert_eq!(result, Ok(()));
    }
    assert_eq!(events, 1);
    assert!(reader.is_idle());
}

// UTF-8: 8.1.

#[test]
fn text_is_utf_8_wherever_it_is_cut() {
    let all = "κόσμε ß € 𐍈 \u{10ffff}";
    check(&[frame(FIN | TEXT, all)], &[text(all)], None);
    for cut in 0..all.len() {
        let (first, second) = all.as_bytes().split_at(cut);
        check(
            &[frame(TEXT, first), frame(FIN | PING, ""), frame(FIN, second)],
            &[Seen::Ping(vec![]), text(all)],
            None,
        );
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    for bad in [
        &b"\xff"[..],
        b"abc\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xce\xba\xce",
    ] {
        check(&[frame(FIN | TEXT, bad)], &[], Some(1007));
        check(&[frame(TEXT, bad), frame(FIN, "")], &[], Some(1007));
        check(&[frame(TEXT, ""), frame(FIN, bad)], &[], Some(1007));
        check(&[frame(FIN | BINARY, bad)], &[Seen::Binary(bad.to_vec())], None);
    }
}

#[test]
fn bad_text_is_refused_at_the_byte_that_spoils_it() {
    // Two bytes of length: the payload begins after 8 bytes.
    for (spoilt, at) in [(&b"ab\xff"[..], 3), (b"\xed\xa0", 2), (b"\xf4\x90", 2), (b"\xe2\x82x", 3)] {
        let payload = [spoilt, &[b'x'; 300]].concat();
        let (bytes, violation) = fails_at(LIMIT, &frame(FIN | TEXT, &payload));
        assert_eq!((bytes, violation.code()), (8 + at, 1007));
        let (bytes, violation) =
            fails_at(LIMIT, &[frame(TEXT, "fine"), frame(CONTINUATION, &payload)].concat());
        assert_eq!((bytes, violation.code()), (10 + 8 + at, 1007));
    }
}

// The limit: 7.4.1 and 10.4.

#[test]
fn a_message_may_be_as_long_as_the_limit() {
    check_within(5, &frame(FIN | TEXT, "12345"), &[text("12345")], None);
    check_within(5, &[frame(TEXT, "123"), frame(0, ""), frame(FIN, "45")].concat(), &[text("12345")], None);
    let frames = [frame(FIN | TEXT, ""), frame(FIN | PING, "ping"), frame(FIN | TEXT, "1")].concat();
    check_within(0, &frames, &[text(""), Seen::Ping(b"ping".into())], Some(1009));
}

#[test]
fn a_longer_one_is_refused_by_its_announcement() {
    // The last byte of the header is where its length is known and it is a header at all.
    let (at, violation) = fails_at(5, &frame(FIN | TEXT, "123456"));
    assert_eq!((at, violation.code()), (6, 1009));
    let (at, violation) = fails_at(5, &[frame(TEXT, "123"), frame(FIN, "456")].concat());
    assert_eq!((at, violation.code()), (9 + 6, 1009));
    let (at, violation) = fails_at(65_536, &frame(FIN | BINARY, vec![0; 65_537]));
    assert_eq!((at, violation.code()), (14, 1009));
}

// What it costs.

#[test]
fn a_reader_takes_16_bytes() {
    assert!(size_of::<Reader>() <= 16);
    assert_eq!(size_of::<Option<Reader>>(), size_of::<Reader>());
}

#[test]
fn whole_frames_are_handed_out_where_they_lie() {
    let frames = [frame(FIN | TEXT, "one"), frame(FIN | BINARY, [2; 300]), frame(FIN | PING, "three")];
    let (mut bytes, mut reader, mut events) = (frames.concat(), Reader::new(), 0);
    let range = bytes.as_ptr_range();
    let on = |event: Event<'_>| {
        let (Event::Message(_, payload) | Event::Ping(payload)) = event else { panic!("{event:?}") };
        assert!(range.contains(&payload.as_ptr()));
        events += 1;
        Continue(())
    };
    reader.feed(&mut bytes, LIMIT, on).unwrap();
    assert_eq!(events, 3);
    assert!(reader.is_idle());
}

#[test]
fn a_reader_is_idle_after_a_message_however_it_was_cut() {
    let fragments = [frame(TEXT, "four"), frame(FIN | PING, "five"), frame(FIN, "six")].concat();
    for bytes in
        [frame(FIN | TEXT, "one"), frame(FIN | BINARY, [2; 200]), frame(FIN | PING, "three"), fragments]
    {
        for cut in 1..bytes.len() {
            let (mut bytes, mut reader) = (bytes.clone(), Reader::new());
            let (first, second) = bytes.split_at_mut(cut);
            reader.feed(first, LIMIT, |_| Continue(())).unwrap();
            assert!(!reader.is_idle(), "after {cut} bytes");
            reader.feed(second, LIMIT, |_| Continue(())).unwrap();
            assert!(reader.is_idle(), "cut at {cut}");
        }
    }
}

#[test]
fn only_what_is_incomplete_is_kept() {
    let mut bytes =
        [frame(FIN | TEXT, "one"), frame(FIN | BINARY, "four"), frame(FIN | PING, "five")].concat();
    let mut reader = Reader::new();
    // After each byte: 6 bytes of header are kept as such, then the payload alone.
    let kept: Vec<usize> = bytes
        .chunks_mut(1)
        .map(|byte| {
            reader.feed(byte, LIMIT, |_| Continue(())).unwrap();
            reader.buffered()
        })
        .collect();
    assert_eq!(kept, [1, 2, 3, 4, 5, 0, 1, 2, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 0]);
    assert!(reader.is_idle());
}

#[test]
fn reasons_fit_into_a_close_frame() {
    for violation in [fails_at(0, &frame(FIN | TEXT, "a")).1, fails_at(9, &frame(0x91, "a")).1] {
        assert_eq!(close_payload(violation.code(), violation.reason())[2..], *violation.reason().as_bytes());
        assert!(violation.to_string().contains(&violation.code().to_string()));
    }
}
