//! Connections that cannot take more: what waits for them, where it ends, and that nobody else notices.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::{Config, Limits};
use support::{World, publish, subscribe};

fn world(queue_bytes: u32) -> World {
    World::new(Config { limits: Limits { queue_bytes, ..Limits::default() }, ..Config::default() })
}

#[test]
fn what_a_blocked_reader_missed_comes_in_order_once_it_reads() {
    let mut w = world(1 << 20);
    let (a, b) = (w.client(), w.client());
    w.subscribe(a, "news");
    w.router.set_writable(a, false);
    for n in 0..3 {
        w.send(b, &publish("news", &n.to_string()));
        assert_eq!(w.sees(a), Vec::<String>::new());
    }
    w.router.set_writable(a, true);
    w.send(b, &publish("news", "3"));
    assert_eq!(w.sees(a), ["news 0", "news 1", "news 2", "news 3"]);
}

#[test]
fn a_reader_over_its_bound_is_disconnected_and_the_others_notice_nothing() {
    let mut w = world(10_000);
    let (slow, healthy, publisher) = (w.client(), w.client(), w.client());
    w.subscribe(slow, "news");
    w.subscribe(healthy, "news");
    w.router.set_writable(slow, false);
    let payload = "x".repeat(1000);
    for _ in 0..20 {
        w.send(publisher, &publish("news", &payload));
        assert_eq!(w.sees(healthy).len(), 1);
    }
    assert_eq!(w.effects(), Vec::<String>::new(), "what is left for it is the goodbye");
    let dropped = w.router.stats().dropped;
    assert!(dropped > 0, "what it lost is counted");
    w.router.set_writable(slow, true);
    assert_eq!(w.sees(slow), ["disconnect 4001"]);
    assert_eq!(w.effects(), ["close 0 4001"]);
}

#[test]
fn a_reader_that_never_reads_again_is_cut_off_in_the_end() {
    let mut w = world(1_000);
    let (slow, publisher) = (w.client(), w.client());
    w.subscribe(slow, "news");
    w.router.set_writable(slow, false);
    w.send(publisher, &publish("news", &"x".repeat(2000)));
    w.drain();
    assert_eq!(w.effects(), Vec::<String>::new());
    w.advance(7_000);
    assert_eq!(w.effects(), ["close 0 4001"]);
}

#[test]
fn a_turn_says_when_it_is_full() {
    let mut w = world(1 << 20);
    let a = w.client();
    w.subscribe(a, "news");
    let payload = "x".repeat(10_000);
    let mut sent = 0;
    while !w.router.is_full() {
        w.send(a, &publish("news", &payload));
        sent += 1;
    }
    assert_eq!(sent, 7, "64 KiB of publications");
    w.drain();
    assert!(!w.router.is_full());
}

#[test]
fn drain_sends_everybody_away() {
    let mut w = world(1 << 20);
    let (a, b) = (w.client(), w.client());
    w.subscribe(a, "news");
    w.router.drain(5_000);
    assert_eq!(
        (w.sees(a), w.sees(b)),
        (vec!["disconnect 4000".to_string()], vec!["disconnect 4000".to_string()])
    );
    assert_eq!(w.effects(), ["close 0 4000", "close 1 4000"]);
    assert_eq!(w.router.stats().subscriptions, 0);
    w.send(a, &subscribe(1, "late"));
    assert_eq!(w.sees(a), Vec::<String>::new());
}
