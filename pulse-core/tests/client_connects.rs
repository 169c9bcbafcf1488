//! A client connects, subscribes and exchanges messages; what the server refuses is told.

mod client_support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use client_support::net::Net;
use client_support::script::Script;
use client_support::{ack, connected, error, publication};
use pulse_core::client::{
    Client, ClientConfig, ClientEffect, Event, PublishError, PublishOptions, Status, SubscribeError,
    SubscribeOptions,
};
use pulse_core::wire::{self, Connected, Format, Frame};
use pulse_core::{Config, Namespace, Rule, Rules, Seed};

const DIAL: ClientEffect = ClientEffect::Dial;
const HANG_UP: ClientEffect = ClientEffect::HangUp;

#[test]
fn messages_go_both_ways_between_clients_of_a_router() {
    let mut net = Net::new(Config::default(), 2, 1);
    net.connect_all();
    let subs: Vec<_> = net
        .peers
        .iter_mut()
        .map(|peer| peer.client.subscribe("chat", SubscribeOptions::default()).unwrap().get())
        .collect();
    net.run(100);
    let said: Vec<_> = ["hello", "hi"]
        .iter()
        .zip(&mut net.peers)
        .map(|(text, peer)| {
            peer.client.publish("chat", text.as_bytes(), PublishOptions::default()).unwrap().get()
        })
        .collect();
    net.run(100);
    for at in 0..2 {
        let sub = subs[at];
        let mut told = net.take(at);
        let news = told.split_off(3);
        assert_eq!(told, ["connecting".into(), "connected".into(), format!("subscribed {sub}")]);
        let messages: Vec<_> = news.iter().filter(|line| line.starts_with("got")).collect();
        assert_eq!(
            messages,
            [&format!("got {sub} hello"), &format!("got {sub} hi")],
            "in the channel's order"
        );
        assert!(news.contains(&format!("acked {}", said[at])), "{news:?}");
    }
}

#[test]
fn connect_and_all_subscriptions_leave_in_one_message() {
    let mut s = Script::new(ClientConfig { token: Some("t".into()), ..ClientConfig::default() });
    s.subscribe("a");
    s.subscribe("b");
    assert_eq!((s.writes(), s.effects(), s.client.status()), (vec![], vec![], Status::Idle));
    s.client.connect();
    assert_eq!((s.effects(), s.client.status()), (vec![DIAL], Status::Connecting));
    s.client.opened();
    assert_eq!(s.writes(), ["connect t, subscribe 1 a, subscribe 2 b"]);
    s.tell(&[connected(), ack(1), ack(2), publication("b", "x", None)]);
    assert_eq!(s.events(), ["connecting", "connected", "subscribed 1", "subscribed 2", "got 2 x"]);
    assert_eq!(s.client.status(), Status::Connected);
}

#[test]
fn commands_of_one_turn_are_one_message_in_their_order() {
    let mut s = Script::open();
    s.publish("a", "before");
    let sub = s.subscribe("a");
    s.publish("a", "within");
    s.publish("a", "too");
    assert_eq!(s.writes(), ["publish 1 a before, subscribe 2 a, publish 3 a within, publish 4 a too"]);
    s.client.unsubscribe(sub);
    s.publish("a", "after");
    assert_eq!(s.writes(), ["unsubscribe a, publish 5 a after"]);
    assert_eq!(s.events(), ["unsubscribed 2"]);
}

#[test]
fn a_message_stays_under_its_bound_and_loses_nothing() {
    let mut s = Script::open();
    let text = "x".repeat(30_000);
    for _ in 0..5 {
        s.publish("a", &text);
    }
    let mut sizes = vec![];
    while let Some(message) = s.client.poll_write() {
        sizes.push(message.len() / 30_000);
    }
    assert_eq!(sizes, [2, 2, 1]);
    let large = "x".repeat(150_000);
    s.publish("a", "small");
    s.publish("a", &large);
    let sizes: Vec<_> = std::iter::from_fn(|| s.client.poll_write().map(<[u8]>::len)).collect();
    assert!(sizes.len() == 2 && sizes[1] > 150_000, "a frame over the bound goes alone: {sizes:?}");
}

#[test]
fn a_publication_arrives_with_all_its_keys() {
    let mut net = Net::new(Config::default(), 1, 1);
    net.connect_all();
    let client = &mut net.peers[0].client;
    client.subscribe("a", SubscribeOptions::default()).unwrap();
    let options = PublishOptions {
        event: Some("created"),
        format: Format::Json,
        key: Some("k"),
        tags: &[("lang", "en")],
        ..PublishOptions::default()
    };
    client.publish("a", b"{}", options).unwrap();
    // Its events are taken here, and not by the network.
    let mut sent = client.poll_write().unwrap().to_vec();
    let conn = net.conn(0).unwrap();
    net.router.receive(conn, pulse_core::Kind::Binary, &sent);
    sent.clear();
    while let Some(batch) = net.router.poll_write() {
        sent.extend_from_slice(batch.payload());
    }
    let client = &mut net.peers[0].client;
    client.receive(pulse_core::Kind::Binary, &sent);
    let mut seen = 0;
    while let Some(event) = client.poll_event() {
        if let Event::Publication { publication: p, .. } = event {
            seen += 1;
            assert_eq!(
                (p.channel, p.event, p.format, p.key),
                ("a", Some("created"), Format::Json, Some("k"))
            );
            assert_eq!(p.tags.unwrap().iter().collect::<Vec<_>>(), [("lang", "en")]);
        }
    }
    assert_eq!(seen, 1);
}

#[test]
fn a_refusal_ends_a_subscription_and_a_temporary_one_is_asked_again() {
    let mut s = Script::open();
    let (a, b) = (s.subscribe("a"), s.subscribe("b"));
    s.writes();
    s.tell(&[error(a.get(), 1004, false), error(b.get(), 1013, true)]);
    assert_eq!(s.events(), ["failed subscription 1: 1004", "failed subscription 2: 1013 for now"]);
    assert_eq!((s.client.channel(a), s.client.channel(b)), (None, Some("b")));
    let waited = s.sleep();
    assert!((50..=500).contains(&waited), "{waited}");
    assert_eq!(s.writes(), ["subscribe 2 b"]);
    s.tell(&[error(b.get(), 1013, true)]);
    let waited = s.sleep();
    assert!((50..=1_000).contains(&waited), "{waited}");
    assert_eq!(s.writes(), ["subscribe 2 b"]);
    s.tell(&[ack(b.get())]);
    assert_eq!(s.events(), ["failed subscription 2: 1013 for now", "subscribed 2"]);
}

#[test]
fn a_code_that_is_temporary_by_the_table_needs_no_word_of_the_server() {
    let mut s = Script::open();
    let a = s.subscribe("a");
    s.writes();
    s.tell(&[error(a.get(), 1013, false)]);
    assert_eq!(s.events(), ["failed subscription 1: 1013 for now"]);
}

#[test]
fn being_subscribed_already_is_being_subscribed() {
    let mut s = Script::open();
    let a = s.subscribe("a");
    s.writes();
    s.tell(&[error(a.get(), 1009, false), publication("a", "x", None)]);
    assert_eq!(s.events(), ["subscribed 1", "got 1 x"]);
}

#[test]
fn a_router_that_forbids_is_told_under_what_it_forbids() {
    let closed = Rules { subscribe: Rule::Nobody, publish: Rule::Nobody, ..Rules::default() };
    let namespaces = vec![Namespace { name: "secret".into(), rules: closed }];
    let mut net = Net::new(Config { namespaces, ..Config::default() }, 1, 1);
    net.connect_all();
    net.take(0);
    let client = &mut net.peers[0].client;
    client.subscribe("secret:1", SubscribeOptions::default()).unwrap();
    client.publish("secret:1", b"x", PublishOptions::default()).unwrap();
    net.run(100);
    assert_eq!(net.take(0), ["failed subscription 1: 1004", "failed publication 2: 1004"]);
}

#[test]
fn what_arrives_after_unsubscribing_is_not_told_and_a_new_subscription_begins_with_its_ack() {
    let mut s = Script::open();
    let a = s.subscribe("a");
    s.writes();
    s.tell(&[ack(a.get()), publication("a", "one", None)]);
    s.client.unsubscribe(a);
    let again = s.subscribe("a");
    assert_eq!(s.writes(), ["unsubscribe a, subscribe 2 a"]);
    // Sent by the server before it took the request, hence for the first subscription.
    s.tell(&[publication("a", "two", None), ack(3), ack(again.get()), publication("a", "three", None)]);
    assert_eq!(s.events(), ["subscribed 1", "got 1 one", "unsubscribed 1", "subscribed 2", "got 2 three"]);
    assert_eq!(s.client.stats().ignored, 1);
    s.client.unsubscribe(a);
    assert_eq!((s.writes(), s.events()), (vec![], vec![]), "a stale id finds nothing");
}

#[test]
fn a_subscription_that_was_not_asked_for_yet_is_taken_back_without_a_word() {
    let mut s = Script::open();
    for _ in 0..1_000 {
        let a = s.subscribe("a");
        s.client.unsubscribe(a);
    }
    assert_eq!(s.writes(), Vec::<String>::new());
}

#[test]
fn the_server_may_end_a_subscription() {
    let mut s = Script::open();
    let a = s.subscribe("a");
    s.writes();
    let over = wire::Unsubscribed { channel: "a", code: 1004, reason: "moved" };
    s.tell(&[ack(a.get()), Frame::Unsubscribed(over), publication("a", "x", None)]);
    assert_eq!(s.events(), ["subscribed 1", "unsubscribed 1 1004"]);
}

#[test]
fn gaps_and_presence_are_passed_on() {
    let mut s = Script::open();
    let a = s.subscribe("a");
    s.writes();
    let gap = wire::Gap { channel: "a", reason: "slow", from: Some(3), to: Some(5), count: Some(3) };
    let presence = wire::Presence { channel: "a", client: Some("c2"), ..wire::Presence::default() };
    s.tell(&[ack(a.get()), Frame::Gap(gap), Frame::Presence(presence)]);
    assert_eq!(s.events(), ["subscribed 1", "gap 1 3..5 slow", "presence 1 Join"]);
}

#[test]
fn a_transport_that_does_not_open_and_a_server_that_does_not_greet_are_given_up_after_ten_seconds() {
    let mut s = Script::new(ClientConfig::default());
    s.client.connect();
    assert_eq!((s.effects(), s.sleep()), (vec![DIAL], 10_000));
    assert_eq!((s.effects(), s.events()), (vec![HANG_UP], vec!["connecting".to_string(), "waiting".into()]));
    s.sleep();
    assert_eq!(s.effects(), [DIAL]);
    s.client.opened();
    assert_eq!((s.writes(), s.sleep()), (vec!["connect".to_string()], 10_000));
    assert_eq!(s.effects(), [HANG_UP]);
}

#[test]
fn a_server_of_another_version_is_left() {
    let mut s = Script::new(ClientConfig::default());
    s.client.connect();
    s.effects();
    s.client.opened();
    s.writes();
    s.tell(&[Frame::Connected(Connected { version: 2, connection_id: "c", ..Connected::default() })]);
    assert_eq!((s.effects(), s.client.stats().malformed), (vec![HANG_UP], 1));
}

#[test]
fn a_servers_ping_is_answered_and_an_own_one_is_timed() {
    let mut s = Script::open();
    let pings = [1, 2, 3].map(|n| Frame::Ping { timestamp: Some(n) });
    s.tell(&pings);
    assert_eq!(s.writes(), ["pong 3"]);
    assert!(s.client.ping() && !s.client.ping(), "one at a time");
    assert_eq!(s.writes(), ["ping"]);
    s.advance(40);
    let timestamp = Some(1_700_000_000_000 + s.now_ms - 40);
    s.tell(&[Frame::Pong { timestamp: Some(1) }, Frame::Pong { timestamp }, Frame::Pong { timestamp }]);
    assert_eq!(s.events(), ["pong after 40"]);
}

#[test]
fn what_the_caller_may_not_do_is_refused_with_a_reason() {
    let config = ClientConfig { max_subscriptions: 1, ..ClientConfig::default() };
    let mut client = Client::new(config, Seed(1));
    let options = SubscribeOptions::default();
    assert_eq!(client.subscribe("$a", options), Err(SubscribeError::InvalidChannel));
    let sub = client.subscribe("a", options).unwrap();
    assert_eq!(client.subscribe("a", options), Err(SubscribeError::AlreadySubscribed { sub }));
    assert_eq!(client.subscribe("b", options), Err(SubscribeError::TooMany { max: 1 }));
    assert_eq!(client.publish("", b"", PublishOptions::default()), Err(PublishError::InvalidChannel));
    client.close();
    assert_eq!(client.subscribe("b", options), Err(SubscribeError::Closed));
    assert_eq!(client.publish("a", b"", PublishOptions::default()), Err(PublishError::Closed));
}

#[test]
fn a_transport_that_opens_or_ends_unasked_changes_nothing() {
    let mut s = Script::new(ClientConfig::default());
    s.client.opened();
    s.client.closed(None);
    s.tell(&[connected()]);
    s.client.connect();
    s.client.closed(None);
    assert_eq!((s.effects(), s.events()), (vec![DIAL], vec!["connecting".to_string()]));
    s.client.close();
    s.client.opened();
    assert_eq!((s.writes(), s.effects()), (vec![], vec![HANG_UP]));
    assert_eq!((s.events(), s.client.poll_timeout()), (vec!["closed".to_string()], None));
}
