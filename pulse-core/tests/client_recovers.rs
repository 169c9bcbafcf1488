//! What a client does about publications that it misses: it comes back where it was, resumes by itself, and tells the
//! application what is lost for good.

mod client_support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use client_support::net::Net;
use client_support::script::Script;
use client_support::{Dice, publication};
use pulse_core::client::{PublishOptions, SubscribeOptions};
use pulse_core::wire::{self, Frame, Gap, Point};
use pulse_core::{Config, Heartbeat, Namespace, Rules};

fn subscribed(id: u64, offset: u64, recovered: Option<bool>) -> Frame<'static> {
    let reason = (recovered == Some(false)).then_some("why");
    Frame::Ack(wire::Ack { id, epoch: Some("e1"), offset: Some(offset), recovered, reason })
}

fn gap(reason: &str, count: Option<u64>) -> Frame<'_> {
    Frame::Gap(Gap { channel: "a", reason, count, ..Gap::default() })
}

/// A client that has had the publications up to 5.
fn at_five() -> Script {
    let mut s = Script::open();
    s.subscribe("a");
    s.writes();
    s.tell(&[subscribed(1, 4, None), publication("a", "five", Some(5))]);
    assert_eq!(s.events(), ["subscribed 1", "got 1 five"]);
    s
}

#[test]
fn a_hole_is_asked_for_again_and_nothing_comes_twice() {
    let mut s = at_five();
    s.tell(&[publication("a", "eight", Some(8)), publication("a", "nine", Some(9))]);
    assert_eq!(s.writes(), ["unsubscribe a, subscribe 1 a after e1/5"]);
    s.tell(&[publication("a", "ten", Some(10))]);
    assert_eq!(s.events(), [""; 0], "until the answer comes");
    s.tell(&[subscribed(1, 10, Some(true))]);
    for (text, offset) in [("six", 6), ("seven", 7), ("eight", 8), ("nine", 9), ("ten", 10), ("eleven", 11)] {
        s.tell(&[publication("a", text, Some(offset))]);
    }
    let got = ["six", "seven", "eight", "nine", "ten", "eleven"].map(|text| format!("got 1 {text}"));
    assert_eq!(s.events(), [&["subscribed 1 recovered true".to_owned()][..], &got].concat());
    assert_eq!(s.client.stats().resumed, 1);
}

#[test]
fn a_gap_between_parts_of_the_server_is_recovered_or_told() {
    let mut s = at_five();
    s.tell(&[gap("overloaded", Some(2)), publication("a", "eight", Some(8))]);
    assert_eq!(s.writes(), ["unsubscribe a, subscribe 1 a after e1/5"]);
    s.tell(&[subscribed(1, 8, Some(false)), publication("a", "nine", Some(9))]);
    assert_eq!(s.events(), ["subscribed 1 recovered false", "gap 1 6..8 why", "got 1 nine"]);
    assert_eq!(s.writes(), [""; 0]);
}

#[test]
fn what_gave_way_on_purpose_is_told_and_not_asked_for() {
    let mut s = at_five();
    s.tell(&[gap("slow_consumer", Some(2)), publication("a", "eight", Some(8))]);
    s.tell(&[gap("overloaded", Some(0)), gap("trimmed", Some(1)), publication("a", "ten", Some(10))]);
    let told = [
        "gap 1 0..0 slow_consumer",
        "got 1 eight",
        "gap 1 0..0 overloaded",
        "gap 1 0..0 trimmed",
        "got 1 ten",
    ];
    assert_eq!((s.events(), s.writes()), (told.map(str::to_owned).to_vec(), vec![]));
    s.tell(&[publication("a", "twelve", Some(12))]);
    assert_eq!(s.writes(), ["unsubscribe a, subscribe 1 a after e1/10"], "what was told is missing once");
}

#[test]
fn a_gap_where_nothing_is_numbered_is_told() {
    let mut s = Script::open();
    s.subscribe("a");
    s.writes();
    s.tell(&[client_support::ack(1), gap("overloaded", Some(2)), publication("a", "x", None)]);
    assert_eq!(s.events(), ["subscribed 1", "gap 1 0..0 overloaded", "got 1 x"]);
    assert_eq!(s.writes(), [""; 0]);
}

#[test]
fn the_newest_come_although_they_are_older_than_the_ack() {
    let mut s = Script::open();
    let options = SubscribeOptions { latest: Some(5), ..SubscribeOptions::default() };
    s.client.subscribe("a", options).unwrap();
    s.writes();
    // Three of the five are kept.
    s.tell(&[subscribed(1, 9, None)]);
    for (text, offset) in [("seven", 7), ("eight", 8), ("nine", 9), ("nine", 9), ("ten", 10)] {
        s.tell(&[publication("a", text, Some(offset))]);
    }
    assert_eq!(s.events(), ["subscribed 1", "got 1 seven", "got 1 eight", "got 1 nine", "got 1 ten"]);
    s.tell(&[publication("a", "twelve", Some(12))]);
    assert_eq!(s.writes(), ["unsubscribe a, subscribe 1 a after e1/10"]);
}

#[test]
fn a_connection_that_is_lost_while_it_resumes_goes_on_from_the_same_place() {
    let mut s = at_five();
    s.tell(&[publication("a", "eight", Some(8))]);
    s.client.closed(None);
    s.sleep();
    assert_eq!(s.greet(), ["connect, subscribe 1 a after e1/5"]);
}

#[test]
fn a_client_that_unsubscribes_while_it_resumes_hears_no_more() {
    let mut s = at_five();
    s.tell(&[publication("a", "eight", Some(8))]);
    let sub = pulse_core::client::SubId::new(1).unwrap();
    s.client.unsubscribe(sub);
    s.writes();
    s.tell(&[subscribed(1, 8, Some(true)), publication("a", "six", Some(6))]);
    assert_eq!(s.events(), ["unsubscribed 1"]);
    assert_eq!(s.client.position(sub), None::<Point<'_>>);
}

/// Links break and go silent while one client publishes; the others get everything once and in order, or are told.
#[test]
fn over_links_that_break_nothing_is_lost_in_silence() {
    let (mut recovered, mut lost) = (0, 0);
    for seed in 1..=20 {
        let mut dice = Dice::new(seed);
        let rules = Rules { history_size: 3 + dice.roll(40) as u32, ..Rules::default() };
        let namespaces = vec![Namespace { name: "kept".into(), rules }];
        let heartbeat = Heartbeat { interval_ms: 2_000, timeout_ms: 5_000, connect_ms: 2_000 };
        let mut net = Net::new(Config { namespaces, heartbeat, ..Config::default() }, 4, seed);
        net.connect_all();
        for at in 1..4 {
            net.peers[at].client.subscribe("kept:x", SubscribeOptions::default()).unwrap();
        }
        net.run(100);
        let (mut published, mut had) = (0_u64, [0_u64; 4]);
        (0..4).for_each(|at| net.peers[at].events.clear());
        for _ in 0..60 {
            let at = 1 + dice.roll(3);
            match dice.roll(8) {
                0 | 1 => net.cut(at),
                2 => net.silence(at),
                _ => {
                    for _ in 0..1 + dice.roll(10) {
                        published += 1;
                        let options = PublishOptions::default();
                        net.peers[0]
                            .client
                            .publish("kept:x", published.to_string().as_bytes(), options)
                            .unwrap();
                    }
                }
            }
            net.run(dice.roll(3_000) as u64);
        }
        net.run(60_000);
        for (at, had) in had.iter_mut().enumerate().skip(1) {
            for line in net.take(at) {
                if let Some(number) = line.strip_prefix("got 1 ") {
                    *had += 1;
                    assert_eq!(number, had.to_string(), "seed {seed}, client {at}");
                } else if let Some(range) = line.strip_prefix("gap 1 ") {
                    let (from, to) = range.split(' ').next().unwrap().split_once("..").unwrap();
                    assert_eq!(from, (*had + 1).to_string(), "seed {seed}, client {at}");
                    *had = to.parse().unwrap();
                    lost += 1;
                }
                recovered += u64::from(line == "subscribed 1 recovered true");
            }
            assert_eq!(*had, published, "seed {seed}, client {at}");
        }
    }
    assert!(recovered > 50 && lost > 5, "{recovered} {lost}");
}
