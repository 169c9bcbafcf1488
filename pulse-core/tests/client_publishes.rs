//! What becomes of publications: those that wait for a connection, those that are lost with one, those that nobody
//! answers.

mod client_support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use client_support::net::Net;
use client_support::script::Script;
use client_support::{ack, connected, disconnect, error};
use pulse_core::client::{
    Client, ClientConfig, ClientEffect, PublishError, PublishOptions, Status, SubscribeOptions,
};
use pulse_core::wire::{self, Frame};
use pulse_core::{Config, Seed};

const RETRY: PublishOptions<'_> = PublishOptions {
    retry: true,
    event: None,
    format: wire::Format::Raw,
    key: None,
    version: None,
    idempotency_key: None,
    tags: &[],
    silent: false,
};
const SILENT: PublishOptions<'_> = PublishOptions { retry: false, silent: true, ..RETRY };

#[test]
fn what_is_published_offline_is_delivered_after_the_reconnect_in_order() {
    let mut net = Net::new(Config::default(), 2, 4);
    net.connect_all();
    net.peers[1].client.subscribe("log", SubscribeOptions::default()).unwrap();
    net.run(100);
    net.cut(0);
    for n in 0..50 {
        let options = [PublishOptions::default(), RETRY, SILENT][n % 3];
        net.peers[0].client.publish("log", n.to_string().as_bytes(), options).unwrap();
    }
    net.run(1_000);
    let got: Vec<_> = net.take(1).into_iter().filter(|line| line.starts_with("got")).collect();
    assert_eq!(got, (0..50).map(|n| format!("got 1 {n}")).collect::<Vec<_>>());
    let told = net.take(0);
    assert_eq!(
        told.iter().filter(|line| line.starts_with("acked")).count(),
        34,
        "all but the silent ones: {told:?}"
    );
    assert_eq!(net.peers[0].client.outbox_bytes(), 0);
}

#[test]
fn publications_wait_for_the_session_behind_the_subscriptions() {
    let mut s = Script::new(ClientConfig::default());
    s.publish("a", "first");
    s.subscribe("a");
    s.client.connect();
    s.effects();
    s.client.opened();
    assert_eq!(s.writes(), ["connect, subscribe 2 a"]);
    s.publish("a", "second");
    assert_eq!(s.writes(), Vec::<String>::new());
    s.tell(&[connected()]);
    assert_eq!(s.writes(), ["publish 1 a first, publish 3 a second"]);
}

#[test]
fn the_queue_is_bounded_by_bytes_and_takes_again_what_was_answered() {
    let config = ClientConfig { outbox_bytes: 10_000, ..ClientConfig::default() };
    let mut s = Script::new(config);
    let payload = [7; 1_000];
    let mut ids = vec![];
    let refused = loop {
        match s.client.publish("a", &payload, RETRY) {
            Ok(id) => ids.push(id.get()),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, PublishError::QueueFull { limit_bytes: 10_000 });
    assert!((7..=9).contains(&ids.len()) && s.client.outbox_bytes() <= 10_000, "{ids:?}");
    s.client.connect();
    s.greet();
    assert_eq!(
        s.client.publish("a", &payload, RETRY),
        Err(refused),
        "what is not answered may have to be sent again"
    );
    s.tell(&[ack(ids[0])]);
    assert!(s.client.publish("a", &payload, RETRY).is_ok());
    assert_eq!(s.client.publish("a", &[0; 10_001], RETRY), Err(refused));
}

#[test]
fn small_messages_count_for_what_it_costs_to_remember_them() {
    let mut client = Client::new(ClientConfig::default(), Seed(1));
    let taken = (0..).take_while(|_| client.publish("a", b"", PublishOptions::default()).is_ok()).count();
    assert!((1_000..=4_096).contains(&taken), "{taken}");
}

#[test]
fn what_was_sent_and_not_answered_fails_as_unknown_unless_it_may_be_sent_again() {
    let mut s = Script::open();
    s.publish("a", "once");
    s.publish_with("a", "again", RETRY);
    s.publish_with("a", "keyed", PublishOptions { idempotency_key: Some("k"), ..PublishOptions::default() });
    s.publish_with("a", "silent", SILENT);
    assert_eq!(s.writes(), ["publish 1 a once, publish 2 a again, publish 3 a keyed, publish 0 a silent"]);
    s.publish("a", "not handed out yet");
    s.client.closed(None);
    assert_eq!(s.events(), ["failed publication 1: lost", "waiting"]);
    s.sleep();
    assert_eq!(
        s.greet(),
        ["connect", "publish 2 a again, publish 3 a keyed, publish 5 a not handed out yet"]
    );
    s.tell(&[ack(2), ack(3), ack(5), ack(5), ack(99)]);
    assert_eq!(s.events(), ["connecting", "connected", "acked 2", "acked 3", "acked 5"]);
}

#[test]
fn what_is_sent_again_carries_the_same_key_each_time() {
    let keys = |s: &mut Script| {
        let mut keys = vec![];
        while let Some(message) = s.client.poll_write() {
            let mut bytes = message;
            while let wire::Split::Frame { map, rest } = wire::split(bytes, bytes.len()) {
                if let Ok(Frame::Publish(p)) = wire::decode(map) {
                    keys.push(p.idempotency_key.map(str::to_string));
                }
                bytes = rest;
            }
        }
        keys
    };
    let mut s = Script::open();
    s.publish_with("a", "x", RETRY);
    s.publish_with("a", "x", RETRY);
    s.publish_with("a", "x", PublishOptions { idempotency_key: Some("mine"), ..RETRY });
    let first = keys(&mut s);
    assert!(first[0].as_ref().is_some_and(|key| key.len() == 16) && first[0] != first[1], "{first:?}");
    assert_eq!(first[2].as_deref(), Some("mine"));
    s.client.closed(None);
    s.sleep();
    s.effects();
    s.client.opened();
    s.tell(&[connected()]);
    assert_eq!(keys(&mut s), first);
}

#[test]
fn an_answer_that_does_not_come_is_a_timeout_and_a_late_one_is_nothing() {
    let mut s = Script::open();
    s.publish("a", "x");
    s.writes();
    s.run(9_999);
    assert_eq!(s.events(), Vec::<String>::new());
    s.run(1);
    assert_eq!(s.events(), ["failed publication 1: timeout"]);
    s.tell(&[ack(1)]);
    assert_eq!((s.events(), s.client.outbox_bytes()), (vec![], 0));
}

#[test]
fn an_answer_that_does_not_come_lets_the_client_look_whether_the_server_lives() {
    let mut s = Script::open();
    s.publish("a", "once");
    s.publish_with("a", "until it is answered", RETRY);
    s.writes();
    s.run(10_000);
    assert_eq!(
        (s.writes(), s.events()),
        (vec!["ping".to_string()], vec!["failed publication 1: timeout".into()])
    );
    s.run(8_000);
    assert_eq!((s.effects(), s.events()), (vec![ClientEffect::HangUp], vec!["waiting".to_string()]));
    s.sleep();
    assert_eq!(s.greet(), ["connect", "publish 2 a until it is answered"]);
    s.run(10_000);
    assert_eq!(s.writes(), ["ping"]);
    s.tell(&[Frame::Pong { timestamp: None }]);
    s.run(9_000);
    assert_eq!(
        (s.effects(), s.client.status()),
        (vec![], Status::Connected),
        "it lives, so the answer may still come"
    );
    s.tell(&[ack(2)]);
    assert_eq!(s.events(), ["connecting", "connected", "acked 2"]);
}

#[test]
fn a_subscription_that_is_not_answered_is_asked_for_again_and_either_answer_counts() {
    let mut s = Script::open();
    s.subscribe("a");
    s.writes();
    s.run(10_000);
    assert_eq!(s.events(), ["failed subscription 1: timeout"]);
    s.run(500);
    assert_eq!(s.writes(), ["subscribe 1 a"]);
    s.tell(&[ack(1), error(1, 1009, false)]);
    assert_eq!(s.events(), ["subscribed 1"]);
}

#[test]
fn what_a_server_refuses_fails_with_its_word() {
    let mut s = Script::open();
    s.publish("a", "x");
    s.publish_with("a", "y", SILENT);
    s.writes();
    s.tell(&[error(1, 1007, false), error(0, 1004, false)]);
    assert_eq!(s.events(), ["failed publication 1: 1007", "failed none: 1004"]);
}

#[test]
fn the_end_tells_what_may_have_been_delivered() {
    let mut s = Script::open();
    s.publish_with("a", "sent on an earlier connection", RETRY);
    s.writes();
    s.client.closed(None);
    s.sleep();
    s.effects();
    s.client.opened();
    s.publish("a", "never sent");
    s.publish_with("a", "never sent either", SILENT);
    s.tell(&[disconnect(4500, None)]);
    assert_eq!(
        s.events()[2..],
        [
            "failed publication 1: closed, sent",
            "failed publication 2: closed, not sent",
            "failed publication 3: closed, not sent",
            "closed 4500"
        ]
    );
}
