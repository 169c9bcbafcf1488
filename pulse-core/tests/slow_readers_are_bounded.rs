//! Connections that cannot take more: what waits for them, where it ends, and that nobody else notices.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{Frame, Publish};
use pulse_core::{Config, ConnId, Limits, Rules, SlowConsumer};
use support::{World, publish, publish_with_id, subscribe, unsubscribe};

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

fn world_with(slow_consumer: SlowConsumer) -> World {
    let rules = Rules { slow_consumer, ..Rules::default() };
    let limits = Limits { queue_bytes: 10_000, ..Limits::default() };
    World::new(Config { rules, limits, ..Config::default() })
}

fn keyed<'a>(key: &'a str, payload: &'a str) -> Frame<'a> {
    let Frame::Publish(publish) = publish("news", payload) else { unreachable!("it is a publication") };
    Frame::Publish(Publish { key: Some(key), ..publish })
}

/// 100 MB go past a reader that has stopped for good.
fn bound_under_traffic(slow_consumer: SlowConsumer) -> usize {
    let mut w = world_with(slow_consumer);
    let (slow, healthy, publisher) = (w.client(), w.client(), w.client());
    w.subscribe(slow, "news");
    w.subscribe(healthy, "news");
    w.router.set_writable(slow, false);
    let payload = "x".repeat(1_000);
    let mut most = 0;
    for n in 0..100_000_u32 {
        w.send(publisher, &keyed(["a", "b", "c"][n as usize % 3], &payload));
        most = most.max(w.router.queued_bytes(slow));
        assert_eq!(w.sees(healthy).len(), 1, "a healthy reader does not notice");
    }
    assert!(w.router.stats().dropped > 99_000 || slow_consumer == SlowConsumer::Disconnect);
    most
}

#[test]
fn a_stopped_reader_costs_its_bound_under_disconnect() {
    assert!((1..=10_000).contains(&bound_under_traffic(SlowConsumer::Disconnect)));
}

#[test]
fn a_stopped_reader_costs_its_bound_under_drop_oldest() {
    assert!((8_000..=10_000).contains(&bound_under_traffic(SlowConsumer::DropOldest)));
}

#[test]
fn a_stopped_reader_costs_one_message_a_key_under_latest_per_key() {
    assert!((3_000..4_000).contains(&bound_under_traffic(SlowConsumer::LatestPerKey)));
}

#[test]
fn under_drop_oldest_a_reader_gets_the_newest_and_is_told_of_the_gap() {
    let mut w = world_with(SlowConsumer::DropOldest);
    let (slow, publisher) = (w.client(), w.client());
    w.subscribe(slow, "news");
    w.router.set_writable(slow, false);
    for n in 0..1_000 {
        w.send(publisher, &publish("news", &format!("{n:03}")));
        w.drain();
    }
    w.router.set_writable(slow, true);
    let seen = w.sees(slow);
    let kept = seen.len() - 1;
    assert_eq!(seen[0], format!("gap news {}", 1_000 - kept));
    assert_eq!(seen[1], format!("news {}", 1_000 - kept), "what is left follows without a hole");
    assert_eq!(seen[kept], "news 999");
    w.send(publisher, &publish("news", "next"));
    assert_eq!(w.sees(slow), ["news next"], "and then goes on as before");
}

#[test]
fn under_latest_per_key_a_reader_gets_the_newest_of_each() {
    let mut w = world_with(SlowConsumer::LatestPerKey);
    let (slow, publisher) = (w.client(), w.client());
    w.subscribe(slow, "news");
    w.send(publisher, &keyed("a", "a0"));
    w.router.set_writable(slow, false);
    for (key, payload) in [("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2"), ("b", "b3")] {
        w.send(publisher, &keyed(key, payload));
    }
    w.router.set_writable(slow, true);
    assert_eq!(w.sees(slow), ["gap news 4", "news a2", "news b3"], "a0 waited as well when it blocked");
}

#[test]
fn answers_are_kept_where_publications_give_way() {
    let mut w = world_with(SlowConsumer::DropOldest);
    let slow = w.client();
    w.subscribe(slow, "news");
    w.router.set_writable(slow, false);
    let payload = "x".repeat(1_000);
    for id in 1..=50 {
        w.send(slow, &publish_with_id(id, "news", &payload));
        w.drain();
    }
    w.router.set_writable(slow, true);
    let acks: Vec<String> = w.sees(slow).into_iter().filter(|line| line.starts_with("ack")).collect();
    let expected: Vec<String> = (1..=50).map(|id| format!("ack {id}")).collect();
    assert_eq!(acks, expected);
}

/// More than a reader's bound holds: 100 publications, of which 4 fit.
fn flood(w: &mut World, publisher: ConnId) {
    for _ in 0..100 {
        w.send(publisher, &publish("news", &"x".repeat(2_000)));
    }
}

#[test]
fn who_leaves_while_blocked_is_told_of_the_gap_before_that() {
    let mut w = world_with(SlowConsumer::DropOldest);
    let (slow, publisher) = (w.client(), w.client());
    w.subscribe(slow, "news");
    w.router.set_writable(slow, false);
    flood(&mut w, publisher);
    w.send(slow, &unsubscribe(2, "news"));
    w.send(publisher, &publish("news", "later"));
    w.router.set_writable(slow, true);
    let seen = w.sees(slow);
    let kept = seen.iter().filter(|line| line.starts_with("news x")).count();
    assert_eq!(seen[0], format!("gap news {}", 100 - kept));
    assert_eq!((seen.len(), seen.last().map(String::as_str)), (kept + 2, Some("ack 2")));
}

#[test]
fn who_subscribes_while_blocked_is_acked_before_it_is_told_of_a_gap() {
    let mut w = world_with(SlowConsumer::DropOldest);
    let (slow, publisher) = (w.client(), w.client());
    w.router.set_writable(slow, false);
    w.send(slow, &subscribe(1, "news"));
    flood(&mut w, publisher);
    w.router.set_writable(slow, true);
    assert_eq!(w.sees(slow)[..2], ["ack 1", "gap news 96"]);
}

#[test]
fn who_is_closed_while_blocked_is_told_of_the_gap_before_the_end() {
    let mut w = world_with(SlowConsumer::DropOldest);
    let (slow, publisher) = (w.client(), w.client());
    w.subscribe(slow, "news");
    w.router.set_writable(slow, false);
    flood(&mut w, publisher);
    w.router.receive(slow, pulse_core::Kind::Binary, b"nonsense");
    w.router.set_writable(slow, true);
    let seen = w.sees(slow);
    assert_eq!((&*seen[0], &*seen[seen.len() - 1]), ("gap news 96", "disconnect 4500"));
}
