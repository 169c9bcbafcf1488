//! Heartbeats: who is asked for a sign of life, and who is given up.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::Frame;
use pulse_core::{Config, Dialect, Heartbeat, Limits, Namespace, Rules};
use support::{Disk, World, publish_with_id};

#[test]
fn a_silent_client_is_asked_and_then_closed() {
    let mut w = World::new(Config::default());
    let a = w.client();
    w.advance(31_000);
    assert_eq!(w.take(a), ["ping"]);
    w.advance(31_000);
    assert_eq!(w.take(a), ["disconnect 4002"]);
    assert_eq!(w.effects(), ["close 0 4002"]);
}

#[test]
fn a_client_that_answers_lives_on() {
    let mut w = World::new(Config::default());
    let a = w.client();
    for _ in 0..20 {
        w.advance(31_000);
        assert_eq!(w.take(a), ["ping"]);
        w.send(a, &Frame::Pong { timestamp: None });
    }
    assert_eq!(w.effects(), Vec::<String>::new());
}

#[test]
fn a_client_that_speaks_is_not_asked() {
    let mut w = World::new(Config::default());
    let a = w.client();
    for _ in 0..30 {
        w.advance(10_000);
        w.send(a, &Frame::Pong { timestamp: None });
    }
    assert_eq!(w.sees(a), Vec::<String>::new());
}

#[test]
fn a_client_of_the_first_release_is_asked_by_its_transport() {
    let mut w = World::new(Config::default());
    let a = w.open(Dialect::Legacy);
    assert_eq!(w.sees(a), ["connected"]);
    w.advance(31_000);
    assert_eq!(w.effects(), ["ping 0"]);
    w.router.heard(a);
    w.advance(31_000);
    assert_eq!(w.effects(), ["ping 0"], "the transport's pong counts as a sign of life");
    w.advance(31_000);
    assert_eq!((w.take(a), w.effects()), (vec![], vec!["close 0 4002".to_string()]));
}

#[test]
fn a_client_that_does_not_connect_in_time_is_closed() {
    let mut w = World::new(Config::default());
    let a = w.open(Dialect::V1);
    w.advance(9_000);
    assert_eq!(w.take(a), Vec::<String>::new());
    w.advance(3_000);
    assert_eq!(w.take(a), ["disconnect 4502"]);
}

#[test]
fn an_idle_router_without_clients_needs_no_clock() {
    let mut w = World::new(Config::default());
    assert_eq!(w.router.poll_timeout(), None);
    let a = w.client();
    assert!(w.router.poll_timeout().is_some());
    w.router.closed(a);
    w.advance(100_000);
    assert_eq!(w.router.poll_timeout(), None);
}

#[test]
fn without_heartbeats_nobody_is_asked() {
    let heartbeat = Heartbeat { interval_ms: 0, ..Heartbeat::default() };
    let mut w = World::new(Config { heartbeat, ..Config::default() });
    let a = w.client();
    w.advance(86_400_000);
    assert_eq!((w.take(a), w.effects()), (vec![], vec![]));
}

/// Its answers are not read.
#[test]
fn who_is_held_back_is_not_closed_for_its_silence() {
    let rules = Rules { history_size: 10, durable: true, ..Rules::default() };
    let namespaces = vec![Namespace { name: "safe".into(), rules }];
    let limits = Limits { peer_bytes: 8_000, ..Limits::default() };
    let (mut w, mut disk) = (World::new(Config { namespaces, limits, ..Config::default() }), Disk::default());
    let a = w.client();
    for n in 1..=5 {
        w.send(a, &publish_with_id(n, "safe:x", &"x".repeat(600)));
        w.drain();
    }
    assert_eq!(w.effects(), [format!("pause {} true", a.slot())]);
    for _ in 0..5 {
        w.advance(31_000);
        assert_eq!(w.take(a), ["ping"], "it must not take the server for dead");
    }
    w.store(&mut disk);
    w.store(&mut disk);
    assert_eq!(w.take(a).len(), 5, "all is acknowledged");
    w.advance(31_000);
    assert_eq!(w.take(a), ["ping"], "its silence begins when it goes on");
    w.advance(31_000);
    assert_eq!(w.take(a), ["disconnect 4002"]);
}
