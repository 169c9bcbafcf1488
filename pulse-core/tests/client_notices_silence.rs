//! A client looks whether its server lives, and does not take its own sleep for the server's silence.

mod client_support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use client_support::net::Net;
use client_support::script::Script;
use client_support::{ack, connected};
use pulse_core::client::{ClientConfig, ClientEffect, Status, SubscribeOptions};
use pulse_core::wire::{Connected, Frame};
use pulse_core::{Config, Heartbeat};

const PONG: Frame<'static> = Frame::Pong { timestamp: None };
const NOTHING: [String; 0] = [];

#[test]
fn a_silent_server_is_asked_after_its_heartbeat_and_left_after_ten_seconds_more() {
    let mut s = Script::open();
    s.run(31_999);
    assert_eq!(s.writes(), NOTHING);
    s.run(1);
    assert_eq!(s.writes(), ["ping"]);
    s.run(7_999);
    assert_eq!((s.effects(), s.writes()), (vec![], vec![]));
    s.run(1);
    assert_eq!((s.effects(), s.events()), (vec![ClientEffect::HangUp], vec!["waiting".to_string()]));
    assert_eq!(s.client.stats().silent, 1);
}

#[test]
fn any_frame_is_a_sign_of_life() {
    let mut s = Script::open();
    for _ in 0..10 {
        s.run(32_000);
        assert_eq!(s.writes(), ["ping"]);
        s.run(7_000);
        s.tell(&[PONG]);
    }
    for _ in 0..10 {
        s.run(31_000);
        s.tell(&[ack(77)]);
        assert_eq!(s.writes(), NOTHING);
    }
    assert_eq!(s.effects(), []);
}

#[test]
fn a_server_without_heartbeat_is_asked_all_the_same() {
    let mut s = Script::new(ClientConfig::default());
    s.client.connect();
    s.effects();
    s.client.opened();
    s.writes();
    s.tell(&[Frame::Connected(Connected { version: 1, connection_id: "c", ..Connected::default() })]);
    s.run(32_000);
    assert_eq!(s.writes(), ["ping"]);
}

#[test]
fn on_a_sound_connection_only_the_server_asks() {
    let mut net = Net::new(Config::default(), 1, 1);
    net.connect_all();
    net.run(3_600_000);
    let stats = net.peers[0].client.stats();
    assert_eq!((net.peers[0].client.status(), stats.connections), (Status::Connected, 1));
    // An exchange is two frames. Had the client asked as well, it would have heard twice as many.
    assert!((100..=121).contains(&stats.frames_in), "{stats:?}");
    assert_eq!(
        stats.frames_in - 1,
        net.router.stats().frames_in - 1,
        "a pong for each ping, a greeting for each"
    );
}

#[test]
fn a_router_that_does_not_ask_is_asked_by_the_client() {
    let heartbeat = Heartbeat { interval_ms: 0, ..Heartbeat::default() };
    let mut net = Net::new(Config { heartbeat, ..Config::default() }, 1, 1);
    net.connect_all();
    net.run(600_000);
    assert_eq!(net.peers[0].client.stats().connections, 1);
    net.silence(0);
    net.run(70_000);
    assert_eq!((net.peers[0].client.stats().silent, net.peers[0].client.stats().connections), (1, 2));
}

#[test]
fn a_link_that_goes_silent_is_replaced_and_the_subscriptions_with_it() {
    let mut net = Net::new(Config::default(), 1, 1);
    net.connect_all();
    net.peers[0].client.subscribe("a", SubscribeOptions::default()).unwrap();
    net.run(100);
    net.take(0);
    net.silence(0);
    net.run(41_000);
    assert_eq!(net.take(0), ["waiting", "connecting", "connected", "subscribed 1"]);
}

#[test]
fn after_a_laptops_sleep_the_server_is_asked_before_it_is_left() {
    let mut s = Script::open();
    s.advance(3_600_000);
    assert_eq!((s.writes(), s.effects()), (vec!["ping".to_string()], vec![]));
    s.run(7_999);
    s.tell(&[PONG]);
    s.run(8_000);
    assert_eq!((s.effects(), s.client.status()), (vec![], Status::Connected));
}

#[test]
fn a_sleep_between_question_and_verdict_gives_one_more_chance_and_not_two() {
    let mut s = Script::open();
    s.run(32_000);
    assert_eq!(s.writes(), ["ping"]);
    s.advance(3_600_000);
    assert_eq!(
        (s.writes(), s.effects()),
        (vec!["ping".to_string()], vec![]),
        "the pong may lie unread in the host"
    );
    s.advance(3_600_000);
    assert_eq!(s.effects(), [ClientEffect::HangUp], "a tab with slow timers comes to a verdict as well");
}

#[test]
fn requests_survive_a_sleep_too() {
    let mut s = Script::open();
    s.publish("a", "x");
    s.subscribe("a");
    s.writes();
    s.advance(3_600_000);
    s.tell(&[ack(1), ack(2)]);
    assert_eq!(s.events(), ["acked 1", "subscribed 2"]);
    let (publication, _) = (s.publish("a", "y"), s.subscribe("b"));
    s.writes();
    s.advance(3_600_000);
    s.tell(&[PONG]);
    assert_eq!(s.events(), NOTHING);
    s.run(5_000);
    assert_eq!(
        s.events(),
        [format!("failed publication {publication}: timeout"), "failed subscription 4: timeout".into()]
    );
}

#[test]
fn a_greeting_that_waits_unread_through_a_sleep_still_counts() {
    let mut s = Script::new(ClientConfig::default());
    s.client.connect();
    s.effects();
    s.advance(3_600_000);
    s.client.opened();
    assert_eq!(s.writes(), ["connect"]);
    s.advance(3_600_000);
    s.tell(&[connected()]);
    assert_eq!((s.effects(), s.client.status()), (vec![], Status::Connected));
}
