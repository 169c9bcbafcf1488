//! Publications: to whom they go, in which order and form, and what a reader that is too slow is told.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Dialect;
use crate::wire::{Format, Frame, Payload, Publish, Tags};

use super::script::{
    DIALECTS, ask, channels, client, frame, publish, publish_with_id, sees, sees_all, sees_nothing, send,
    subscribe, subscriber, unsubscribe,
};
use super::{Stage, list};

list! {
    everybody_in_the_channel_gets_it_the_publisher_too
    nobody_outside_the_channel_gets_it
    nothing_comes_after_a_channel_was_left
    all_subscribers_see_one_order
    publications_of_one_publisher_keep_their_order
    one_message_into_many_channels_reaches_each
    what_a_publisher_says_about_its_payload_comes_along
    text_and_binary_clients_read_each_other
    the_largest_payload_reaches_everybody
    a_slow_reader_is_told_how_much_it_missed
    only_the_newest_of_a_key_waits_for_a_slow_reader
    a_slow_reader_does_not_hold_up_others
}

fn everybody_in_the_channel_gets_it_the_publisher_too(stage: &mut dyn Stage) {
    for channel in channels("fan-out") {
        let readers = [0, 1, 2, 0, 1, 2].map(|n| subscriber(stage, DIALECTS[n], &channel));
        let expected = [&channel, " hello"].concat();
        for publisher in readers {
            send(stage, publisher, &[publish_with_id(5, &channel, "hello")]);
            sees_all(stage, publisher, &["ack 5", &expected]);
            for reader in readers.into_iter().filter(|reader| *reader != publisher) {
                sees(stage, reader, &[&expected]);
            }
        }
        for reader in readers {
            sees_nothing(stage, reader);
            stage.hang_up(reader);
        }
    }
}

fn nobody_outside_the_channel_gets_it(stage: &mut dyn Stage) {
    let outside = client(stage, Dialect::V1);
    ask(stage, outside, &[subscribe(1, "elsewhere")], &["ack 1"]);
    for channel in channels("inside") {
        let reader = subscriber(stage, Dialect::V1, &channel);
        ask(stage, outside, &[publish_with_id(2, &channel, "x")], &["ack 2"]);
        sees(stage, reader, &[&[&channel, " x"].concat()]);
        sees_nothing(stage, outside);
    }
}

fn nothing_comes_after_a_channel_was_left(stage: &mut dyn Stage) {
    for channel in channels("left") {
        let (stays, goes) =
            (subscriber(stage, Dialect::V1, &channel), subscriber(stage, Dialect::Json, &channel));
        ask(stage, goes, &[unsubscribe(1, &channel)], &["ack 1"]);
        send(stage, stays, &[Frame::Publish(publish(&channel, "late"))]);
        sees(stage, stays, &[&[&channel, " late"].concat()]);
        sees_nothing(stage, goes);
    }
}

fn all_subscribers_see_one_order(stage: &mut dyn Stage) {
    for channel in channels("order") {
        let clients = [0, 1, 2, 0, 1].map(|n| subscriber(stage, DIALECTS[n], &channel));
        for round in 0..10 {
            for (n, client) in clients.iter().enumerate() {
                send(stage, *client, &[Frame::Publish(publish(&channel, &format!("{n}.{round}")))]);
            }
        }
        let seen = clients.map(|client| read(stage, client, 50));
        for (n, one) in seen.iter().enumerate() {
            assert!(*one == seen[0], "client {n} of {channel:?} sees {one:?}, another {:?}", seen[0]);
            for publisher in 0..5 {
                let start = format!("{channel} {publisher}.");
                let rounds = one.iter().filter_map(|line| line.strip_prefix(&start));
                assert!(rounds.eq((0..10).map(|n| format!("{n}"))), "{publisher} of {one:?}");
            }
        }
    }
}

/// The next publications, as lines.
fn read(stage: &mut dyn Stage, client: crate::sim::ClientNo, count: usize) -> Vec<String> {
    (0..count).map(|_| super::script::line(&frame(stage, client).get())).collect()
}

fn publications_of_one_publisher_keep_their_order(stage: &mut dyn Stage) {
    for channel in channels("in turn") {
        let (reader, writer) = (subscriber(stage, Dialect::V1, &channel), client(stage, Dialect::V1));
        let texts: Vec<String> = (0..100).map(|n| format!("{n}")).collect();
        // Some in one message, some in messages of their own.
        for part in texts.chunks(7) {
            let frames: Vec<Frame<'_>> =
                part.iter().map(|text| Frame::Publish(publish(&channel, text))).collect();
            send(stage, writer, &frames);
        }
        let seen = read(stage, reader, 100);
        assert!(
            seen.iter().eq(texts.iter().map(|text| format!("{channel} {text}")).collect::<Vec<_>>().iter())
        );
    }
}

fn one_message_into_many_channels_reaches_each(stage: &mut dyn Stage) {
    let channels = channels("many at once");
    let (reader, writer) = (client(stage, Dialect::V1), client(stage, Dialect::Legacy));
    for channel in &channels {
        ask(stage, reader, &[subscribe(1, channel)], &["ack 1"]);
    }
    let frames: Vec<Frame<'_>> =
        channels.iter().map(|channel| Frame::Publish(publish(channel, "x"))).collect();
    send(stage, writer, &frames);
    let lines: Vec<String> = channels.iter().map(|channel| format!("{channel} x")).collect();
    sees_all(stage, reader, &lines.iter().map(|line| &**line).collect::<Vec<_>>());
}

fn what_a_publisher_says_about_its_payload_comes_along(stage: &mut dyn Stage) {
    for channel in channels("about") {
        let readers = [Dialect::V1, Dialect::Json].map(|dialect| subscriber(stage, dialect, &channel));
        let writer = client(stage, Dialect::V1);
        let mut raw = Vec::new();
        let tags = Tags::encode(&[("color", "red"), ("size", "9")], &mut raw);
        let full = Publish {
            event: Some("changed"),
            key: Some("k"),
            format: Format::Json,
            tags: Some(tags),
            ..publish(&channel, "{\"x\":1}")
        };
        send(stage, writer, &[Frame::Publish(full)]);
        for reader in readers {
            let frame = frame(stage, reader);
            let Frame::Publish(got) = frame.get() else { panic!("{frame:?} is no publication") };
            let expected = Publish { offset: got.offset, time: got.time, ..full };
            assert!(got == expected, "{got:?} is not {expected:?}");
        }
    }
}

fn text_and_binary_clients_read_each_other(stage: &mut dyn Stage) {
    for channel in channels("mixed") {
        let (text, binary) =
            (subscriber(stage, Dialect::Json, &channel), subscriber(stage, Dialect::V1, &channel));
        let json = Publish { format: Format::Json, ..publish(&channel, "[1,\"a\"]") };
        let bytes = Publish { payload: Payload::from(&b"\xff\xfe"[..]), ..publish(&channel, "") };
        for sender in [text, binary] {
            for publication in [json, bytes] {
                send(stage, sender, &[Frame::Publish(publication)]);
                for reader in [text, binary] {
                    let frame = frame(stage, reader);
                    let Frame::Publish(got) = frame.get() else { panic!("{frame:?} is no publication") };
                    assert!(
                        (got.payload, got.format) == (publication.payload, publication.format),
                        "{got:?}"
                    );
                }
            }
        }
    }
}

fn the_largest_payload_reaches_everybody(stage: &mut dyn Stage) {
    let most: String = core::iter::repeat_n('z', 65_536).collect();
    for channel in channels("largest") {
        let readers = DIALECTS.map(|dialect| subscriber(stage, dialect, &channel));
        send(stage, readers[0], &[Frame::Publish(publish(&channel, &most))]);
        for reader in readers {
            sees(stage, reader, &[&[&channel, " ", &most].concat()]);
        }
    }
}

/// More than any socket holds, with what may wait beside it.
const TOO_MUCH: usize = 400;

fn a_slow_reader_is_told_how_much_it_missed(stage: &mut dyn Stage) {
    let channel = "drop:slow";
    let (reader, writer) = (subscriber(stage, Dialect::V1, channel), client(stage, Dialect::V1));
    stage.stop_reading(reader);
    flood(stage, writer, channel, None);
    stage.resume_reading(reader);
    let (mut numbers, mut missed) = (Vec::new(), 0);
    while numbers.last() != Some(&TOO_MUCH) {
        let frame = frame(stage, reader);
        match frame.get() {
            Frame::Publish(publication) => numbers.push(number(&publication)),
            Frame::Gap(gap) => {
                assert!((gap.channel, gap.reason) == (channel, "slow_consumer"), "{gap:?}");
                missed += gap.count.expect("a server counts what it gives up") as usize;
            }
            other => panic!("{other:?} is neither a publication nor a gap"),
        }
    }
    assert!(numbers.is_sorted(), "{numbers:?} are out of order");
    assert!(missed > 0, "a reader that takes nothing misses something");
    assert!(numbers.len() + missed == TOO_MUCH + 1, "{} came, {missed} are said to be missed", numbers.len());
}

fn only_the_newest_of_a_key_waits_for_a_slow_reader(stage: &mut dyn Stage) {
    let channel = "latest:slow";
    let (reader, writer) = (subscriber(stage, Dialect::V1, channel), client(stage, Dialect::V1));
    stage.stop_reading(reader);
    flood(stage, writer, channel, Some("k"));
    stage.resume_reading(reader);
    let (mut gaps, mut last) = (0, 0);
    while last != TOO_MUCH {
        let frame = frame(stage, reader);
        match frame.get() {
            Frame::Publish(publication) => last = number(&publication),
            Frame::Gap(_) => gaps += 1,
            other => panic!("{other:?} is neither a publication nor a gap"),
        }
    }
    assert!(gaps > 0, "what gave way is told");
}

fn a_slow_reader_does_not_hold_up_others(stage: &mut dyn Stage) {
    let channel = "drop:held up";
    let [slow, fast] = [(); 2].map(|()| subscriber(stage, Dialect::V1, channel));
    let writer = client(stage, Dialect::V1);
    stage.stop_reading(slow);
    let numbers = flood_read(stage, writer, channel, Some(fast));
    assert!(numbers.len() == TOO_MUCH + 1, "the fast reader got {} publications", numbers.len());
    stage.resume_reading(slow);
}

fn number(publication: &Publish<'_>) -> usize {
    let bytes = publication.payload.as_bytes().expect("servers send bytes");
    let text = core::str::from_utf8(bytes).expect("it was text");
    let number = text.split(' ').next().expect("there is a first part");
    number.parse().expect("it begins with a number")
}

fn flood(stage: &mut dyn Stage, writer: crate::sim::ClientNo, channel: &str, key: Option<&str>) {
    publish_much(stage, writer, channel, key, None);
}

fn flood_read(
    stage: &mut dyn Stage,
    writer: crate::sim::ClientNo,
    channel: &str,
    reader: Option<crate::sim::ClientNo>,
) -> BTreeSet<usize> {
    publish_much(stage, writer, channel, None, reader)
}

/// Publishes too much, each one after the ack of the last; returns what a reader got meanwhile.
fn publish_much(
    stage: &mut dyn Stage,
    writer: crate::sim::ClientNo,
    channel: &str,
    key: Option<&str>,
    reader: Option<crate::sim::ClientNo>,
) -> BTreeSet<usize> {
    let padding: String = core::iter::repeat_n('.', 60_000).collect();
    let mut numbers = BTreeSet::new();
    for n in 0..=TOO_MUCH {
        let text = format!("{n} {padding}");
        let publication = Publish { id: Some(n as u64 + 1), key, ..publish(channel, &text) };
        ask(stage, writer, &[Frame::Publish(publication)], &[&format!("ack {}", n + 1)]);
        if let Some(reader) = reader {
            let frame = frame(stage, reader);
            let Frame::Publish(publication) = frame.get() else { panic!("{frame:?} is no publication") };
            numbers.insert(number(&publication));
        }
    }
    numbers
}
