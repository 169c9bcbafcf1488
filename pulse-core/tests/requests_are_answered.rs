//! Each request a client may send, in each state, and what it is answered.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{self, Frame, Point, Subscribe};
use pulse_core::{Config, Dialect, Kind, Limits, Namespace, Rule, Rules};
use support::{World, connect, publish, publish_with_id, subscribe, unsubscribe};

fn world() -> World {
    World::new(Config::default())
}

#[test]
fn a_subscriber_gets_what_is_published_and_the_publisher_an_ack() {
    let mut w = world();
    let (a, b) = (w.client(), w.client());
    w.subscribe(a, "news");
    w.send(b, &publish_with_id(7, "news", "hello"));
    assert_eq!(w.sees(a), ["news hello"]);
    assert_eq!(w.sees(b), ["ack 7"]);
}

#[test]
fn a_publisher_that_subscribed_gets_its_own_message() {
    let mut w = world();
    let a = w.client();
    w.subscribe(a, "news");
    w.send(a, &publish("news", "mine"));
    assert_eq!(w.sees(a), ["news mine"]);
}

#[test]
fn publications_are_numbered_from_one_while_the_channel_lives() {
    let mut w = world();
    let a = w.client();
    assert_eq!(w.router.top("news"), None);
    w.subscribe(a, "news");
    assert_eq!(w.router.top("news"), Some(0));
    w.send_all(a, &[publish("news", "1"), publish("news", "2"), publish("other", "x")]);
    assert_eq!(w.router.top("news"), Some(2));
    w.send(a, &unsubscribe(2, "news"));
    assert_eq!(w.router.top("news"), None);
}

#[test]
fn who_has_left_gets_nothing_more() {
    let mut w = world();
    let (a, b) = (w.client(), w.client());
    w.subscribe(a, "news");
    w.subscribe(b, "news");
    w.send(a, &unsubscribe(2, "news"));
    w.send(b, &publish("news", "later"));
    assert_eq!(w.sees(a), ["ack 2"]);
    assert_eq!(w.sees(b), ["news later"]);
}

#[test]
fn mistakes_are_answered_under_the_id_of_the_request() {
    let mut w = world();
    let a = w.client();
    w.subscribe(a, "news");
    w.send_all(
        a,
        &[
            subscribe(2, "news"),
            subscribe(3, ""),
            subscribe(4, "$internal"),
            unsubscribe(5, "other"),
            unsubscribe(6, "caf\u{e9}"),
            publish_with_id(7, "new\nline", "x"),
            publish("\u{1}", "x"),
        ],
    );
    let expected = [
        "error 2 1009",
        "error 3 1002",
        "error 4 1002",
        "error 5 1008",
        "error 6 1002",
        "error 7 1002",
        "error 0 1002",
    ];
    assert_eq!(w.sees(a), expected);
    assert_eq!(w.effects(), Vec::<String>::new(), "and the connection lives on");
}

#[test]
fn what_a_client_may_not_send_is_an_invalid_frame() {
    let mut w = world();
    let a = w.client();
    w.send(a, &Frame::Ack(wire::Ack { id: 9, ..wire::Ack::default() }));
    w.send(a, &connect(1));
    assert_eq!(w.sees(a), ["error 0 1001", "error 0 1001"]);
}

#[test]
fn an_invalid_frame_between_good_ones_harms_neither() {
    let mut w = world();
    let a = w.client();
    let mut message = vec![];
    subscribe(1, "news").encode(&mut message);
    let unknown = b"\x82\xa4type\xa6dance!\xa2id\x05";
    message.extend_from_slice(&(unknown.len() as u32).to_be_bytes());
    message.extend_from_slice(unknown);
    publish("news", "x").encode(&mut message);
    w.router.receive(a, Kind::Binary, &message);
    assert_eq!(w.sees(a), ["ack 1", "error 5 1001", "news x"]);
}

#[test]
fn bytes_that_are_no_frame_end_the_connection() {
    for bytes in [&b""[..], b"\0\0\0", b"\0\0\0\x09\x81", b"\0\0\0\x01\xc1", b"\0\0\0\0", b"\0\0\0\x01\x01"] {
        let mut w = world();
        let a = w.client();
        w.router.receive(a, Kind::Binary, bytes);
        assert_eq!(w.sees(a), ["disconnect 4500"], "{bytes:02x?}");
        assert_eq!(w.effects(), ["close 0 4500"], "{bytes:02x?}");
        w.send(a, &publish("news", "x"));
        assert_eq!(w.sees(a), Vec::<String>::new(), "nothing is taken after the goodbye");
    }
}

#[test]
fn a_ping_comes_back_with_its_timestamp() {
    let mut w = world();
    let a = w.client();
    w.send(a, &Frame::Ping { timestamp: Some(1234) });
    assert_eq!(w.sees(a), ["pong 1234"]);
}

#[test]
fn connect_has_to_come_first() {
    let mut w = world();
    let a = w.open(Dialect::V1);
    w.send(a, &subscribe(1, "news"));
    assert_eq!(w.sees(a), ["disconnect 4502"]);
    assert_eq!(w.effects(), ["close 0 4502"]);
}

#[test]
fn another_version_is_refused() {
    let mut w = world();
    let a = w.open(Dialect::V1);
    w.send(a, &connect(2));
    assert_eq!(w.sees(a), ["error 0 1012", "disconnect 4501"]);
    assert_eq!(w.effects(), ["close 0 4501"]);
}

#[test]
fn text_is_no_message_of_a_binary_dialect() {
    let mut w = world();
    let a = w.client();
    w.router.receive(a, Kind::Text, b"hello");
    assert_eq!(w.sees(a), ["disconnect 4503"]);
}

#[test]
fn a_client_of_the_first_release_is_greeted_and_spared_new_frames() {
    let mut w = world();
    let a = w.open(Dialect::Legacy);
    assert_eq!(w.sees(a), ["connected"]);
    w.send(a, &subscribe(1, "news"));
    w.send(a, &publish_with_id(2, "news", "x"));
    w.send(a, &connect(1));
    assert_eq!(w.sees(a), ["ack 1", "ack 2", "news x", "connected"]);
    w.router.receive(a, Kind::Binary, b"\xff");
    assert_eq!(w.sees(a), Vec::<String>::new(), "no disconnect frame");
    assert_eq!(w.effects(), ["close 0 4500"]);
}

#[test]
fn limits_are_told_and_kept() {
    let limits = Limits {
        max_channels: 3,
        max_subscriptions_per_connection: 2,
        max_message_size: 4,
        ..Limits::default()
    };
    let mut w = World::new(Config { limits, ..Config::default() });
    let (a, b) = (w.client(), w.client());
    w.send_all(a, &[subscribe(1, "a"), subscribe(2, "b"), subscribe(3, "c")]);
    assert_eq!(w.sees(a), ["ack 1", "ack 2", "error 3 1013"]);
    w.send_all(b, &[subscribe(1, "c"), subscribe(2, "d"), subscribe(3, "a")]);
    assert_eq!(w.sees(b), ["ack 1", "error 2 1013", "ack 3"]);
    w.send_all(a, &[publish_with_id(4, "a", "1234"), publish_with_id(5, "a", "12345")]);
    assert_eq!(w.sees(a), ["ack 4", "a 1234", "error 5 1007"]);
    w.send_all(a, &[unsubscribe(6, "b"), subscribe(7, "d")]);
    assert_eq!(w.sees(a), ["ack 6", "ack 7"], "a place that is free can be used");
}

#[test]
fn rules_hold_for_their_namespace() {
    let closed =
        Rules { subscribe: Rule::Nobody, publish: Rule::Nobody, presence: Rule::Nobody, ..Rules::default() };
    let namespaces = vec![Namespace { name: "secret".into(), rules: closed }];
    let mut w = World::new(Config { namespaces, ..Config::default() });
    let a = w.client();
    w.send_all(a, &[subscribe(1, "secret:x"), publish_with_id(2, "secret:x", "x"), subscribe(3, "public:x")]);
    assert_eq!(w.sees(a), ["error 1 1004", "error 2 1004", "ack 3"]);
}

#[test]
fn what_is_not_offered_is_said_to_be_so() {
    let mut w = world();
    let a = w.client();
    w.send(a, &Frame::History(wire::History { id: 1, channel: Some("a"), ..wire::History::default() }));
    w.send(a, &Frame::Refresh(wire::Refresh { id: 3, token: "t" }));
    assert_eq!(w.sees(a), ["error 1 1014", "error 3 1014"]);
}

#[test]
fn recovery_without_history_is_answered_not_faked() {
    let mut w = world();
    let a = w.client();
    let recover = Some(Point { epoch: "e", offset: 3 });
    w.send(a, &Frame::Subscribe(Subscribe { id: 1, channel: "news", recover, ..Subscribe::default() }));
    assert_eq!(w.sees(a), ["ack 1 recovered false"]);
}

#[test]
fn a_stale_id_finds_nothing() {
    let mut w = world();
    let a = w.client();
    w.subscribe(a, "news");
    w.router.closed(a);
    let b = w.client();
    assert_eq!((b.slot(), b.generation()), (a.slot(), a.generation() + 1));
    w.subscribe(b, "news");
    w.send(a, &publish("news", "from the past"));
    w.router.closed(a);
    w.router.set_writable(a, false);
    assert_eq!(w.sees(b), Vec::<String>::new());
    assert_eq!(w.router.stats().connections, 1);
}

#[test]
fn names_of_connections_differ_and_follow_from_the_seed() {
    let mut w = world();
    let (a, b) = (w.client(), w.client());
    assert_ne!(w.router.name(a), w.router.name(b));
    assert_eq!(w.router.name(a), world().router.name(a));
}
