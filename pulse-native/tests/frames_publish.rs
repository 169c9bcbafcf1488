//! Publications over a real socket: what travels with a message, who gets it and what is acknowledged.

mod e2e_support;

use e2e_support::{Heard, Received, Running, ack, publication, publish, split, subscribe};
use pulse_core::wire::{Format, Frame, Payload, Publish, Tags};

/// Everything that a publisher may say about a message.
fn full<'a>(tags: &'a mut Vec<u8>, id: Option<u64>, format: Format) -> Publish<'a> {
    Publish {
        channel: "chat:lobby",
        payload: Payload::from(&b"{\"text\":\"hello\"}"[..]),
        id,
        event: Some("message"),
        format,
        key: Some("ada"),
        tags: Some(Tags::encode(&[("room", "1"), ("lang", "en")], tags)),
        ..Publish::default()
    }
}

#[test]
fn event_format_key_and_tags_travel_with_the_payload() {
    let server = Running::start();
    let (mut subscriber, mut publisher) = (server.client(), server.client());
    subscriber.subscribe("chat:lobby");
    for (id, format) in [(2, Format::Raw), (3, Format::Json), (4, Format::MsgPack)] {
        let mut tags = Vec::new();
        publisher.send(&[Frame::Publish(full(&mut tags, Some(id), format))]);
        publisher.expect(&ack(id));
        let mut tags = Vec::new();
        subscriber.expect(&Frame::Publish(full(&mut tags, None, format)));
    }
}

#[test]
fn who_says_who_published_is_the_server_alone() {
    let server = Running::start();
    let (mut subscriber, mut publisher) = (server.client(), server.client());
    subscriber.subscribe("c");
    publisher.send(&[Frame::Publish(Publish {
        channel: "c",
        payload: Payload::from(&b"x"[..]),
        offset: Some(99),
        time: Some(1),
        client: Some("somebody else"),
        user: Some("root"),
        ..Publish::default()
    })]);
    let received = subscriber.frame();
    let Frame::Publish(publish) = received.decoded() else { panic!("{received:?} is no publication") };
    assert_ne!(publish.client, Some("somebody else"));
    assert_ne!(publish.offset, Some(99));
    assert_ne!(publish.time, Some(1));
    assert_eq!(publish.user, None);
}

#[test]
fn a_publication_without_an_id_is_not_acknowledged() {
    let server = Running::start();
    let (mut subscriber, mut publisher) = (server.client(), server.client());
    subscriber.subscribe("c");
    publisher.send(&[publication("c", b"quiet"), publish(3, "c", b"loud")]);
    publisher.expect(&ack(3));
    publisher.settle();
    subscriber.expect(&publication("c", b"quiet"));
    subscriber.expect(&publication("c", b"loud"));
}

#[test]
fn a_publication_reaches_every_subscriber_the_publisher_included_and_nobody_else() {
    let server = Running::start();
    let (mut one, mut other, mut stranger) = (server.client(), server.client(), server.client());
    one.subscribe("c");
    other.subscribe("c");
    stranger.subscribe("d");
    one.send(&[publish(2, "c", b"all")]);
    one.expect(&ack(2));
    one.expect(&publication("c", b"all"));
    other.expect(&publication("c", b"all"));
    stranger.settle();
}

#[test]
fn a_publication_that_nobody_gets_is_acknowledged_as_well() {
    let server = Running::start();
    let mut publisher = server.client();
    publisher.send(&[publish(0, "nobody:here", b"x")]);
    publisher.expect(&ack(0));
}

#[test]
fn payloads_of_every_size_up_to_the_limit_arrive_as_they_were() {
    let server = Running::start();
    let (mut subscriber, mut publisher) = (server.client(), server.client());
    subscriber.subscribe("c");
    for size in [0, 1, 31, 32, 125, 126, 255, 256, 1_000, 65_000, 65_535, 65_536] {
        let payload: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        publisher.send(&[publication("c", &payload)]);
        subscriber.expect(&publication("c", &payload));
    }
}

#[test]
fn a_payload_may_come_as_binary_as_a_string_or_as_an_array() {
    let server = Running::start();
    let mut client = server.client();
    client.subscribe("c");
    for payload in [&b"\xc4\x02hi"[..], b"\xa2hi", b"\x92\x68\x69"] {
        let map = [b"\x83\xa4type\xa7publish\xa7channel\xa1c\xa7payload", payload].concat();
        client.send_bytes([&(map.len() as u32).to_be_bytes()[..], &map].concat());
        client.expect(&publication("c", b"hi"));
    }
}

#[test]
fn frames_of_one_message_are_taken_in_order() {
    // With several shards, answers that concern different channels may overtake each other.
    let server = Running::start_sharded(1);
    let mut client = server.client();
    client.send(&[
        subscribe(1, "c"),
        publish(2, "c", b"one"),
        Frame::Ping { timestamp: Some(3) },
        publication("c", b"two"),
        subscribe(4, "d"),
    ]);
    client.expect(&ack(1));
    client.expect(&ack(2));
    client.expect(&publication("c", b"one"));
    client.expect(&Frame::Pong { timestamp: Some(3) });
    client.expect(&publication("c", b"two"));
    client.expect(&ack(4));
}

#[test]
fn publications_of_one_turn_arrive_in_one_message() {
    let server = Running::start();
    let (mut subscriber, mut publisher) = (server.client(), server.client());
    subscriber.subscribe("c");
    let payloads: Vec<String> = (0..50).map(|number| format!("number {number}")).collect();
    let frames: Vec<Frame<'_>> = payloads.iter().map(|text| publication("c", text.as_bytes())).collect();
    publisher.send(&frames);
    let Heard::Frames(received) = subscriber.heard() else { panic!("publications are binary messages") };
    let mut expected = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut expected));
    // One message of the publisher is taken in one turn, so this holds however busy the machine is.
    assert_eq!(received, split(&expected));
}

#[test]
fn what_one_publisher_sends_arrives_in_its_order_at_everybody() {
    const COUNT: usize = 2_000;
    let server = Running::start();
    let mut subscribers = [server.client(), server.client(), server.old_client()];
    subscribers.iter_mut().for_each(|subscriber| subscriber.subscribe("c"));
    let mut publisher = server.client();
    for first in (0..COUNT).step_by(10) {
        let payloads: Vec<[u8; 4]> =
            (first..first + 10).map(|number| (number as u32).to_be_bytes()).collect();
        publisher.send(&payloads.iter().map(|payload| publication("c", payload)).collect::<Vec<_>>());
    }
    for subscriber in &mut subscribers {
        for number in 0..COUNT {
            subscriber.expect(&publication("c", &(number as u32).to_be_bytes()));
        }
    }
}

#[test]
fn an_old_client_gets_each_frame_of_a_turn_in_a_message_of_its_own() {
    let server = Running::start();
    let (mut old, mut publisher) = (server.old_client(), server.client());
    old.subscribe("c");
    let payloads: Vec<[u8; 1]> = (0..50).map(|number| [number]).collect();
    publisher.send(&payloads.iter().map(|payload| publication("c", payload)).collect::<Vec<_>>());
    for payload in &payloads {
        let Heard::Frames(frames) = old.heard() else { panic!("publications are binary messages") };
        let decoded: Vec<Frame<'_>> = frames.iter().map(Received::decoded).collect();
        assert_eq!(decoded, [publication("c", payload)]);
    }
}
