//! A client comes back when it should, when it should, with everything that it had.

mod client_support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use client_support::net::Net;
use client_support::script::Script;
use client_support::{ack, connected, disconnect, publication};
use pulse_core::Config;
use pulse_core::client::{ClientConfig, ClientEffect, PublishOptions, Status, SubscribeOptions};
use pulse_core::wire::{self, CloseCode, Frame, Point};

#[test]
fn all_subscriptions_come_back_in_one_message_under_their_ids() {
    let mut s = Script::open();
    let subs = ["a", "b", "c"].map(|channel| s.subscribe(channel));
    s.writes();
    s.tell(&subs.map(|sub| ack(sub.get())));
    s.client.unsubscribe(subs[1]);
    s.events();
    s.client.closed(None);
    assert_eq!((s.writes(), s.events()), (vec![], vec!["waiting".to_string()]));
    let late = s.subscribe("d");
    s.sleep();
    assert_eq!(s.greet(), ["connect, subscribe 1 a, subscribe 3 c, subscribe 4 d"]);
    s.tell(&[ack(1), ack(3), ack(4), publication("c", "x", None)]);
    assert_eq!(
        s.events(),
        ["connecting", "connected", "subscribed 1", "subscribed 3", "subscribed 4", "got 3 x"]
    );
    assert_eq!(s.client.channel(late), Some("d"));
}

#[test]
fn delays_spread_over_windows_that_double_up_to_twenty_seconds() {
    let mut widest = [0; 8];
    for seed in 0..400 {
        let mut s = Script::seeded(ClientConfig::default(), seed);
        s.client.connect();
        for (attempt, widest) in widest.iter_mut().enumerate() {
            s.effects();
            s.client.closed(None);
            let window = 20_000.min(500 << attempt);
            let waited = s.sleep();
            assert!((50..=window).contains(&waited), "seed {seed}, attempt {attempt}: {waited}");
            *widest = waited.max(*widest);
        }
    }
    let windows: Vec<u64> = (0..8).map(|attempt| 20_000.min(500 << attempt)).collect();
    for (widest, window) in widest.iter().zip(&windows) {
        assert!(widest * 10 > window * 9, "the whole window is used: {widest} of {window}");
    }
}

/// The longest of the first delays after connections that lasted so long, over many clients.
fn longest_delay_after(uptime_ms: u64) -> u64 {
    let delays = (0..200).map(|seed| {
        let mut s = Script::seeded(ClientConfig::default(), seed);
        s.client.connect();
        for _ in 0..5 {
            s.effects();
            s.client.closed(None);
            s.sleep();
        }
        s.greet();
        s.run(uptime_ms);
        s.client.closed(None);
        s.sleep()
    });
    delays.max().unwrap()
}

#[test]
fn five_seconds_of_uptime_let_the_delays_start_over_and_less_does_not() {
    assert!(longest_delay_after(4_999) > 10_000);
    assert!(longest_delay_after(5_000) <= 500);
}

#[test]
fn the_servers_delay_is_obeyed() {
    let mut s = Script::open();
    s.tell(&[disconnect(4000, Some(7_654)), publication("a", "nothing after it counts", None)]);
    assert_eq!((s.effects(), s.events()), (vec![ClientEffect::HangUp], vec!["waiting 4000".to_string()]));
    assert_eq!(s.retry_at, Some(s.now_ms + 7_654));
    assert_eq!(s.client.status(), Status::Waiting { retry_at: s.client.poll_timeout().unwrap() });
    s.advance(7_653);
    assert_eq!(s.effects(), []);
    s.advance(1);
    assert_eq!(s.effects(), [ClientEffect::Dial]);
}

#[test]
fn an_absurd_delay_is_an_hour() {
    let mut s = Script::open();
    s.tell(&[disconnect(4000, Some(wire::MAX_SAFE))]);
    assert_eq!(s.sleep(), 3_600_000);
}

#[test]
fn codes_from_4500_to_4999_end_the_client_and_all_others_do_not() {
    for (code, ends) in [
        (1000, false),
        (1006, false),
        (4000, false),
        (4499, false),
        (4500, true),
        (4999, true),
        (5000, false),
    ] {
        let mut by_frame = Script::open();
        by_frame.tell(&[disconnect(code, None)]);
        assert_eq!(by_frame.effects(), [ClientEffect::HangUp]);
        let mut by_transport = Script::open();
        by_transport.client.closed(Some(CloseCode(code)));
        assert_eq!(by_transport.effects(), [], "there is nothing to hang up any more");
        for mut s in [by_frame, by_transport] {
            let word = if ends { "closed" } else { "waiting" };
            assert_eq!(s.events(), [format!("{word} {code}")]);
            s.run(3_600_000);
            assert_eq!(s.client.status() == Status::Closed, ends, "{code}");
            assert_eq!(s.client.stats().dials > 1, !ends);
        }
    }
}

#[test]
fn a_closed_client_begins_anew_when_it_is_told_to() {
    let mut s = Script::open();
    s.subscribe("a");
    s.writes();
    s.tell(&[ack(1), disconnect(4500, None)]);
    s.effects();
    assert_eq!(s.client.poll_timeout(), None);
    s.client.set_token(Some("fresh"));
    s.client.connect();
    assert_eq!(s.greet(), ["connect fresh, subscribe 1 a"]);
}

#[test]
fn connecting_by_hand_ends_the_wait() {
    let mut s = Script::open();
    s.client.closed(None);
    s.client.connect();
    s.client.connect();
    assert_eq!(
        (s.effects(), s.events()),
        (vec![ClientEffect::Dial], vec!["waiting".to_string(), "connecting".into()])
    );
}

#[test]
fn closing_is_for_good() {
    let mut s = Script::open();
    s.subscribe("a");
    s.publish("a", "never sent");
    s.client.close();
    s.client.close();
    assert_eq!((s.writes(), s.effects()), (vec![], vec![ClientEffect::HangUp]));
    assert_eq!(s.events(), ["failed publication 2: closed, not sent", "closed"]);
    s.run(3_600_000);
    assert_eq!((s.effects(), s.events()), (vec![], vec![]));
}

#[test]
fn a_router_that_drains_is_left_and_found_again() {
    let mut net = Net::new(Config::default(), 5, 3);
    net.connect_all();
    for peer in &mut net.peers {
        peer.client.subscribe("news", SubscribeOptions::default()).unwrap();
    }
    net.run(100);
    net.router.drain(8_000);
    net.run(20_000);
    net.peers[0].client.publish("news", b"back", PublishOptions::default()).unwrap();
    net.run(100);
    for at in 0..5 {
        let told = net.take(at);
        let expected = [
            "connecting",
            "connected",
            "subscribed 1",
            "waiting 4000",
            "connecting",
            "connected",
            "subscribed 1",
            "got 1 back",
        ];
        let told: Vec<_> = told.iter().filter(|line| !line.starts_with("acked")).collect();
        assert_eq!(told, expected.iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_server_that_is_away_is_found_again() {
    let mut net = Net::new(Config::default(), 1, 9);
    net.connect_all();
    net.peers[0].reachable = false;
    net.cut(0);
    net.run(120_000);
    let dials = net.peers[0].client.stats().dials;
    assert!((7..60).contains(&dials), "about one in ten seconds after the first few: {dials}");
    net.peers[0].reachable = true;
    net.run(20_100);
    assert_eq!(net.peers[0].client.status(), Status::Connected);
}

// ---- positions, for servers that keep history

fn subscribed(id: u64, offset: u64, recovered: Option<bool>) -> Frame<'static> {
    Frame::Ack(wire::Ack {
        id,
        epoch: Some("e1"),
        offset: Some(offset),
        recovered,
        reason: recovered.map(|_| "why"),
        ..wire::Ack::default()
    })
}

#[test]
fn a_subscription_goes_on_after_its_last_position_and_drops_what_it_has_had() {
    let mut s = Script::open();
    let a = s.subscribe("a");
    s.writes();
    s.tell(&[subscribed(1, 4, None), publication("a", "five", Some(5))]);
    assert_eq!(s.client.position(a), Some(Point { epoch: "e1", offset: 5 }));
    s.client.closed(None);
    s.sleep();
    assert_eq!(s.greet(), ["connect, subscribe 1 a after e1/5"]);
    s.events();
    s.tell(&[subscribed(1, 7, Some(true))]);
    for (text, offset) in [("five", 5), ("six", 6), ("seven", 7), ("six", 6), ("eight", 8)] {
        s.tell(&[publication("a", text, Some(offset))]);
    }
    assert_eq!(s.events(), ["subscribed 1 recovered true", "got 1 six", "got 1 seven", "got 1 eight"]);
    assert_eq!(s.client.stats().repeated, 2);
}

#[test]
fn what_cannot_be_recovered_is_told_as_a_gap() {
    let mut s = Script::open();
    let options =
        SubscribeOptions { recover: Some(Point { epoch: "e1", offset: 2 }), ..SubscribeOptions::default() };
    s.client.subscribe("a", options).unwrap();
    assert_eq!(s.writes(), ["subscribe 1 a after e1/2"]);
    s.tell(&[subscribed(1, 9, Some(false)), publication("a", "ten", Some(10))]);
    assert_eq!(s.events(), ["subscribed 1 recovered false", "gap 1 3..9 why", "got 1 ten"]);
    // Another epoch: nobody can say how much is missing.
    s.client.closed(None);
    s.sleep();
    s.greet();
    s.events();
    let lost = wire::Ack {
        id: 1,
        epoch: Some("e2"),
        offset: Some(1),
        recovered: Some(false),
        reason: Some("new"),
        ..wire::Ack::default()
    };
    s.tell(&[Frame::Ack(lost), publication("a", "two", Some(2))]);
    assert_eq!(s.events(), ["subscribed 1 recovered false", "gap 1 0..0 new", "got 1 two"]);
}

#[test]
fn the_router_of_today_says_that_it_recovers_nothing() {
    let mut net = Net::new(Config::default(), 1, 1);
    net.connect_all();
    net.take(0);
    let options =
        SubscribeOptions { recover: Some(Point { epoch: "e", offset: 2 }), ..SubscribeOptions::default() };
    net.peers[0].client.subscribe("a", options).unwrap();
    net.run(100);
    assert_eq!(net.take(0), ["subscribed 1 recovered false", "gap 1 0..0 this channel keeps no history"]);
}

#[test]
fn the_newest_are_asked_for_once() {
    let mut s = Script::open();
    let options = SubscribeOptions { latest: Some(3), ..SubscribeOptions::default() };
    s.client.subscribe("a", options).unwrap();
    assert_eq!(s.writes(), ["subscribe 1 a latest 3"]);
    s.tell(&[ack(1)]);
    s.client.closed(None);
    s.sleep();
    assert_eq!(s.greet(), ["connect, subscribe 1 a"]);
}

#[test]
fn a_message_that_greets_and_dismisses_is_both() {
    let mut s = Script::new(ClientConfig::default());
    s.client.connect();
    s.effects();
    s.client.opened();
    s.writes();
    s.tell(&[connected(), disconnect(4001, None)]);
    assert_eq!(s.events(), ["connecting", "connected", "waiting 4001"]);
}
