//! What a client shows of itself and asks about others: over reconnects, refusals and silence.

mod client_support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use client_support::net::Net;
use client_support::script::Script;
use client_support::{ack, disconnect, error};
use pulse_core::Config;
use pulse_core::client::{AskError, ClientConfig, SubId, SubscribeOptions};
use pulse_core::wire::{self, Frame, PresenceAction, Value};

/// One MessagePack value.
fn data(bytes: &[u8]) -> Option<Value<'_>> {
    Some(Value::new(bytes).expect("one value"))
}

/// A client with one active subscription, number 1.
fn subscribed() -> (Script, SubId) {
    let mut s = Script::open();
    let sub = s.subscribe("a");
    s.writes();
    s.tell(&[ack(1)]);
    assert_eq!(s.events(), ["subscribed 1"]);
    (s, sub)
}

fn page(id: u64, clients: u64) -> Frame<'static> {
    let action = PresenceAction::Sync;
    Frame::Presence(wire::Presence { id, channel: "a", action, clients: Some(clients), ..Default::default() })
}

#[test]
fn who_joins_is_seen_by_the_others_until_it_leaves() {
    let mut net = Net::new(Config::default(), 2, 3);
    net.connect_all();
    let sub = net.peers[0].client.subscribe("a", SubscribeOptions::default()).unwrap();
    net.peers[1].client.subscribe("a", SubscribeOptions::default()).unwrap();
    net.peers[0].client.join(sub, data(&[1])).unwrap();
    net.run(100);
    assert!(net.take(0).contains(&"answered 2".to_owned()));
    assert_eq!(net.take(1).last().map(String::as_str), Some("presence 1 Join"));
    net.peers[1].client.members("a", None, None).unwrap();
    net.run(100);
    assert_eq!(net.take(1), ["answered 2 clients 1"]);
    net.peers[0].client.leave(sub).unwrap();
    net.run(100);
    // Still subscribed, it hears of its own leave as the others do.
    let own = net.take(0);
    for line in ["answered 3", "presence 1 Leave"] {
        assert!(own.iter().any(|own| own == line), "{line} is not in {own:?}");
    }
    assert_eq!(net.take(1), ["presence 1 Leave"]);
}

#[test]
fn a_membership_comes_back_with_its_subscription() {
    let mut net = Net::new(Config::default(), 2, 3);
    net.connect_all();
    let sub = net.peers[0].client.subscribe("a", SubscribeOptions::default()).unwrap();
    net.peers[0].client.join(sub, data(&[1])).unwrap();
    net.run(100);
    net.cut(0);
    // Past the reconnect and past the grace of the member that is gone.
    net.run(10_000);
    net.peers[1].client.count_members("a").unwrap();
    net.run(100);
    assert_eq!(net.take(1).last().map(String::as_str), Some("answered 1 clients 1"));
    assert_eq!(net.take(0).iter().filter(|line| line.starts_with("answered")).count(), 1, "it is told once");
}

#[test]
fn a_join_waits_for_its_subscription_and_carries_the_newest_data() {
    let mut s = Script::open();
    let sub = s.subscribe("a");
    s.client.join(sub, data(&[1])).unwrap();
    s.client.join(sub, data(&[2])).unwrap();
    assert_eq!(s.writes(), ["subscribe 1 a"]);
    s.tell(&[ack(1)]);
    assert_eq!(s.writes(), ["join 3 a [02]"]);
    s.tell(&[ack(3)]);
    assert_eq!(s.events(), ["failed request 2: superseded", "subscribed 1", "answered 3"]);
    s.client.closed(None);
    s.sleep();
    assert_eq!(s.greet(), ["connect, subscribe 1 a"]);
    s.tell(&[ack(1)]);
    assert_eq!(s.writes(), ["join 3 a [02]"]);
    s.tell(&[ack(3)]);
    assert_eq!(s.events(), ["waiting", "connecting", "connected", "subscribed 1"]);
}

#[test]
fn leaving_takes_back_a_join_and_nobody_joins_again() {
    let (mut s, sub) = subscribed();
    s.client.join(sub, None).unwrap();
    assert_eq!(s.writes(), ["join 2 a"]);
    s.client.leave(sub).unwrap();
    assert_eq!(s.writes(), ["leave 3 a"]);
    s.tell(&[ack(2), error(3, 1015, false)]);
    assert_eq!(s.events(), ["failed request 2: superseded", "answered 3"]);
    s.client.leave(sub).unwrap();
    s.writes();
    s.client.closed(None);
    assert_eq!(s.events(), ["answered 4", "waiting"], "the connection that joined is gone");
    s.client.leave(sub).unwrap();
    assert_eq!(s.events(), ["answered 5"]);
    s.sleep();
    s.greet();
    s.tell(&[ack(1)]);
    assert_eq!(s.writes(), Vec::<String>::new());
}

#[test]
fn a_refused_join_is_over_unless_it_is_refused_for_now() {
    let (mut s, sub) = subscribed();
    s.client.join(sub, None).unwrap();
    s.writes();
    s.tell(&[error(2, 1011, true)]);
    assert_eq!(s.events(), ["failed request 2: 1011 for now"]);
    s.run(500);
    assert_eq!(s.writes(), ["join 2 a"]);
    s.tell(&[error(2, 1004, false), error(2, 1004, false)]);
    assert_eq!(s.events(), ["failed request 2: 1004"]);
    s.client.closed(None);
    s.sleep();
    s.greet();
    s.tell(&[ack(1)]);
    assert_eq!(s.writes(), Vec::<String>::new());
}

#[test]
fn the_end_of_a_subscription_is_the_end_of_its_membership() {
    let (mut s, sub) = subscribed();
    s.client.join(sub, None).unwrap();
    s.writes();
    s.client.unsubscribe(sub);
    assert_eq!(s.writes(), ["unsubscribe a"]);
    s.tell(&[ack(2)]);
    assert_eq!(s.events(), ["failed request 2: superseded", "unsubscribed 1"]);
    assert_eq!(s.client.join(sub, None), Err(AskError::NotSubscribed));
    assert_eq!(s.client.leave(sub), Err(AskError::NotSubscribed));
}

#[test]
fn a_question_is_asked_again_on_the_next_connection_and_answered_once() {
    let mut s = Script::new(ClientConfig::default());
    s.client.members("a", None, None).unwrap();
    s.client.connect();
    assert_eq!(s.greet(), ["connect", "sync 1 a"]);
    s.client.closed(None);
    s.sleep();
    assert_eq!(s.greet(), ["connect", "sync 1 a"]);
    s.events();
    s.tell(&[page(1, 7), page(1, 8), page(99, 9)]);
    assert_eq!(s.events(), ["answered 1 clients 7"]);
}

#[test]
fn a_question_that_is_not_answered_in_time_fails_and_lets_the_client_look_whether_the_server_lives() {
    let mut s = Script::open();
    s.client.count_members("a").unwrap();
    assert_eq!(s.writes(), ["count 1 a"]);
    s.run(10_000);
    assert_eq!(
        (s.writes(), s.events()),
        (vec!["ping".to_owned()], vec!["failed request 1: timeout".to_owned()])
    );
    s.tell(&[page(1, 7)]);
    assert_eq!(s.events(), Vec::<String>::new());
}

#[test]
fn a_join_that_is_not_answered_is_asked_again() {
    let (mut s, sub) = subscribed();
    s.client.join(sub, None).unwrap();
    s.writes();
    s.run(10_000);
    assert_eq!(
        (s.writes(), s.events()),
        (vec!["ping".to_owned()], vec!["failed request 2: timeout".to_owned()])
    );
    s.run(500);
    assert_eq!(s.writes(), ["join 2 a"]);
    s.tell(&[ack(2)]);
    assert_eq!(s.events(), ["answered 2"]);
}

#[test]
fn requests_are_bounded_and_checked() {
    let config = ClientConfig { max_requests: 2, ..ClientConfig::default() };
    let mut s = Script::new(config);
    assert_eq!(s.client.members("$a", None, None), Err(AskError::InvalidChannel));
    s.client.members("a", None, None).unwrap();
    s.client.count_members("a").unwrap();
    assert_eq!(s.client.count_members("a"), Err(AskError::TooMany { max: 2 }));
    s.client.connect();
    s.greet();
    s.tell(&[page(1, 0)]);
    assert!(s.client.count_members("a").is_ok());
}

#[test]
fn the_end_tells_of_what_is_not_answered_and_a_new_beginning_joins_again() {
    let (mut s, sub) = subscribed();
    s.client.join(sub, data(&[1])).unwrap();
    s.writes();
    s.tell(&[ack(2)]);
    s.client.count_members("a").unwrap();
    s.tell(&[disconnect(4500, None)]);
    assert_eq!(s.events(), ["answered 2", "failed request 3: closed, not sent", "closed 4500"]);
    assert_eq!(s.client.join(sub, None), Err(AskError::Closed));
    s.client.connect();
    s.greet();
    s.tell(&[ack(1)]);
    assert_eq!(s.writes(), ["join 2 a [01]"]);
}
