//! Every request error of the code table, provoked over a real socket.

mod e2e_support;

use e2e_support::{Running, ack, connect, error, publication, publish, subscribe, unsubscribe};
use pulse_core::wire::{CloseCode, ErrorCode, Frame, History, Presence, PresenceAction, Refresh};
use pulse_native::config::{Rules, Who};

/// A frame: its length and the map.
fn framed(map: &[u8]) -> Vec<u8> {
    let mut frame = (map.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(map);
    frame
}

#[test]
fn an_invalid_request_is_answered_under_its_id() {
    let server = Running::start();
    let mut client = server.client();
    for (map, id, says) in [
        // A subscription without a channel, a type that nobody knows, an id that is none, and two ids.
        (&b"\x82\xa4type\xa9subscribe\xa2id\x07"[..], 7, "channel"),
        (b"\x82\xa4type\xa4gift\xa2id\x08", 8, "type"),
        (b"\x83\xa4type\xa9subscribe\xa2id\xff\xa7channel\xa1c", 0, "id"),
        (b"\x84\xa4type\xa9subscribe\xa2id\x01\xa2id\x02\xa7channel\xa1c", 0, "id"),
        (b"\x83\xa4type\xa9subscribe\xa2id\x09\xa7channel\x01", 9, "channel"),
    ] {
        client.send_bytes(framed(map));
        let message = client.expect_error(id, ErrorCode::INVALID_FRAME);
        assert!(message.contains(says), "{message}");
    }
    // A frame that only servers send, and a second connect.
    client.send(&[ack(1), connect(1)]);
    client.expect_error(0, ErrorCode::INVALID_FRAME);
    client.expect_error(0, ErrorCode::INVALID_FRAME);
    client.settle();
}

#[test]
fn a_bad_channel_name_is_refused() {
    let server = Running::start();
    let mut client = server.client();
    let long = "x".repeat(257);
    for name in ["", "$internal", "tab\there", "größe", &long] {
        client.send(&[
            subscribe(2, name),
            unsubscribe(3, name),
            publish(4, name, b"x"),
            publication(name, b"x"),
        ]);
        for id in [2, 3, 4, 0] {
            let message = client.expect_error(id, ErrorCode::INVALID_CHANNEL);
            assert!(message.contains("1 to 256 bytes"), "{message}");
        }
    }
    client.subscribe(&"x".repeat(256));
}

#[test]
fn a_namespace_that_nobody_may_use_is_forbidden() {
    let nobody = Rules { subscribe: Who::Nobody, publish: Who::Nobody, ..Rules::default() };
    let server = Running::start_with(|config| {
        config.namespaces.insert("closed".to_owned(), nobody);
    });
    let mut client = server.client();
    client.send(&[subscribe(2, "closed:1"), publish(3, "closed:1", b"x"), publication("closed:1", b"x")]);
    assert!(client.expect_error(2, ErrorCode::FORBIDDEN).contains("subscribing"));
    assert!(client.expect_error(3, ErrorCode::FORBIDDEN).contains("publishing"));
    client.expect_error(0, ErrorCode::FORBIDDEN);
    client.subscribe("open:1");
}

#[test]
fn a_payload_over_the_limit_is_refused_and_the_connection_lives() {
    let server = Running::start_with(|config| config.limits.max_message_size = 1000);
    let mut client = server.client();
    client.subscribe("c");
    client.send(&[publish(2, "c", &[7; 1001]), publication("c", &[7; 1001]), publication("c", &[7; 1000])]);
    let message = client.expect_error(2, ErrorCode::PAYLOAD_TOO_LARGE);
    assert!(message.contains("limits.max_message_size"), "{message}");
    client.expect_error(0, ErrorCode::PAYLOAD_TOO_LARGE);
    client.expect(&publication("c", &[7; 1000]));
}

#[test]
fn leaving_a_channel_twice_is_not_subscribed() {
    let server = Running::start();
    let mut client = server.client();
    client.subscribe("c");
    client.send(&[unsubscribe(2, "c"), unsubscribe(3, "c"), unsubscribe(4, "never")]);
    client.expect(&ack(2));
    client.expect_error(3, ErrorCode::NOT_SUBSCRIBED);
    client.expect_error(4, ErrorCode::NOT_SUBSCRIBED);
}

#[test]
fn subscribing_twice_is_already_subscribed() {
    let server = Running::start();
    let mut client = server.client();
    client.subscribe("c");
    client.send(&[subscribe(2, "c")]);
    client.expect_error(2, ErrorCode::ALREADY_SUBSCRIBED);
    // The first subscription stands, and is one.
    client.send(&[publication("c", b"once")]);
    client.expect(&publication("c", b"once"));
    client.settle();
}

#[test]
fn another_protocol_version_is_refused_and_told_to_stay_away() {
    let server = Running::start();
    let mut client = server.unconnected();
    client.send(&[connect(2)]);
    let received = client.frame();
    let refused = error(&received);
    assert_eq!((refused.id, refused.code), (0, ErrorCode::PROTOCOL_MISMATCH.0));
    assert!(refused.message.contains("version 1"), "{}", refused.message);
    assert!(!CloseCode::VERSION.comes_back());
    client.expect_end(CloseCode::VERSION);
}

#[test]
fn a_subscription_over_the_limit_is_refused() {
    let server = Running::start_with(|config| {
        config.limits.max_subscriptions_per_connection = 2;
        config.limits.max_channels = 3;
        // Several would share the channels, and answer in another order.
        config.server.shards = 1;
    });
    let (mut one, mut other) = (server.client(), server.client());
    one.send(&[subscribe(1, "a"), subscribe(2, "b"), subscribe(3, "c")]);
    one.expect(&ack(1));
    one.expect(&ack(2));
    assert!(one.expect_error(3, ErrorCode::LIMIT_EXCEEDED).contains("max_subscriptions_per_connection"));
    other.send(&[subscribe(1, "c"), subscribe(2, "d")]);
    other.expect(&ack(1));
    assert!(other.expect_error(2, ErrorCode::LIMIT_EXCEEDED).contains("max_channels"));
    // Room that is given back is room.
    one.send(&[unsubscribe(4, "b"), subscribe(5, "c")]);
    one.expect(&ack(4));
    one.expect(&ack(5));
}

#[test]
fn what_a_namespace_does_not_offer_is_not_available() {
    let server = Running::start();
    let mut client = server.client();
    client.send(&[
        Frame::History(History { id: 2, channel: Some("c"), ..History::default() }),
        Frame::Refresh(Refresh { id: 4, token: "t" }),
    ]);
    for (id, what) in [(2, "history"), (4, "refresh")] {
        let message = client.expect_error(id, ErrorCode::NOT_AVAILABLE);
        assert!(message.contains(what), "{message}");
    }
    client.settle();
}

#[test]
fn leaving_presence_without_having_joined_is_not_present() {
    let server = Running::start();
    let mut client = server.client();
    client.subscribe("c");
    for (id, action) in [(2, PresenceAction::Leave), (3, PresenceAction::Update)] {
        client.send(&[Frame::Presence(Presence { id, channel: "c", action, ..Presence::default() })]);
        assert!(client.expect_error(id, ErrorCode::NOT_PRESENT).contains("join first"));
    }
    client.settle();
}
