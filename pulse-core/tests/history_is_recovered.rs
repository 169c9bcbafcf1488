//! What subscribers get of what was published before: all that they missed or the reason why not, in order and once, as they
//! take it.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{Frame, PresenceAction, Subscribe};
use pulse_core::{Command, Config, ConnId, Dialect, Kind, Limits, Link, Namespace, Outcome, Rules};
use support::{Dice, World, connect, presence, publish, publish_with_id, recover, subscribe, unsubscribe};

fn config(size: u32) -> Config {
    let rules =
        Rules { history_size: size, history_bytes: 1 << 24, history_ttl_ms: 10_000, ..Rules::default() };
    Config { namespaces: vec![Namespace { name: "kept".into(), rules }], ..Config::default() }
}

fn world(size: u32) -> World {
    World::new(config(size))
}

const X: &str = "kept:x";

fn latest<'a>(id: u64, channel: &'a str, latest: u64) -> Frame<'a> {
    Frame::Subscribe(Subscribe { id, channel, latest: Some(latest), ..Subscribe::default() })
}

/// Publishes these numbers as text and returns the epoch.
fn publish_numbers(w: &mut World, conn: ConnId, numbers: std::ops::RangeInclusive<u64>) -> String {
    for n in numbers {
        w.send(conn, &publish(X, &n.to_string()));
        w.drain();
    }
    w.position(conn, X).0
}

fn numbered(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|n| format!("{X} {n} #{n}")).collect()
}

#[test]
fn who_comes_back_gets_what_it_missed_and_then_what_is_published() {
    let mut w = world(10);
    let (a, b) = (w.client(), w.client());
    let epoch = publish_numbers(&mut w, b, 1..=5);
    w.send(a, &recover(1, X, &epoch, 2));
    w.send(b, &publish(X, "6"));
    let mut seen = w.sees(a);
    assert_eq!(seen.remove(0), format!("ack 1 recovered true at {epoch}:5"));
    assert_eq!(seen, numbered(3..=6));
    w.send(b, &publish(X, "7"));
    assert_eq!(w.sees(a), numbered(7..=7));
}

#[test]
fn who_missed_nothing_is_told_so() {
    let mut w = world(10);
    let (a, b) = (w.client(), w.client());
    let epoch = publish_numbers(&mut w, b, 1..=5);
    w.send(a, &recover(1, X, &epoch, 5));
    w.send(b, &publish(X, "6"));
    assert_eq!(w.sees(a), [format!("ack 1 recovered true at {epoch}:5"), numbered(6..=6).remove(0)]);
}

#[test]
fn what_cannot_be_recovered_whole_is_not_recovered_at_all() {
    let mut w = world(3);
    let b = w.client();
    let epoch = publish_numbers(&mut w, b, 1..=5);
    for (epoch_given, offset) in [(&*epoch, 1), (&*epoch, 6), ("00000000", 5), ("any other", 5)] {
        let a = w.client();
        w.send(a, &recover(1, X, epoch_given, offset));
        assert_eq!(w.sees(a), [format!("ack 1 recovered false at {epoch}:5")], "{epoch_given} {offset}");
        w.send(b, &publish("kept:other", "x"));
        w.router.closed(a);
    }
    let a = w.client();
    w.send(a, &recover(1, X, &epoch, 2));
    assert_eq!(w.sees(a).len(), 4, "the last position that is reached");
}

#[test]
fn a_channel_that_was_forgotten_recovers_nothing() {
    let mut w = world(10);
    let b = w.client();
    let epoch = publish_numbers(&mut w, b, 1..=5);
    w.advance(10_000);
    let a = w.client();
    w.send(a, &recover(1, X, &epoch, 5));
    let seen = w.sees(a);
    let (other, _) = w.position(a, X);
    assert_ne!(epoch, other);
    assert_eq!(seen, [format!("ack 1 recovered false at {other}:0")]);
}

#[test]
fn the_newest_are_sent_to_who_asks_for_them() {
    let mut w = world(4);
    let b = w.client();
    let epoch = publish_numbers(&mut w, b, 1..=6);
    let mut get = |request: &Frame<'_>| {
        let a = w.client();
        w.send(a, request);
        let seen = w.sees(a);
        w.router.closed(a);
        seen
    };
    let acked = |ack: &str, numbers| {
        let ack = format!("ack 1{ack} at {epoch}:6");
        [ack].into_iter().chain(numbered(numbers)).collect::<Vec<_>>()
    };
    assert_eq!(get(&latest(1, X, 2)), acked("", 5..=6));
    assert_eq!(get(&latest(1, X, 99)), acked("", 3..=6), "as many as there are");
    assert_eq!(get(&latest(1, X, 0)), [format!("ack 1 at {epoch}:6")]);
    let Frame::Subscribe(request) = recover(1, X, &epoch, 4) else { unreachable!() };
    let both = Subscribe { latest: Some(1), ..request };
    assert_eq!(get(&Frame::Subscribe(both)), acked(" recovered true", 5..=6), "recovering goes first");
    let Frame::Subscribe(request) = recover(1, X, &epoch, 1) else { unreachable!() };
    let both = Subscribe { latest: Some(1), ..request };
    assert_eq!(
        get(&Frame::Subscribe(both)),
        acked(" recovered false", 6..=6),
        "and what is left is the newest"
    );
}

#[test]
fn where_recovery_is_off_or_unknown_it_is_said_so() {
    let mut config = config(10);
    config.namespaces[0].rules.recovery = false;
    let mut w = World::new(config);
    let b = w.client();
    let epoch = publish_numbers(&mut w, b, 1..=3);
    let a = w.client();
    w.send_all(a, &[recover(1, X, &epoch, 2), publish(X, "4")]);
    assert_eq!(w.sees(a), [format!("ack 1 recovered false at {epoch}:3"), numbered(4..=4).remove(0)]);

    let mut w = world(10);
    let b = w.client();
    let epoch = publish_numbers(&mut w, b, 1..=3);
    let old = w.open(Dialect::Legacy);
    w.send(old, &recover(1, X, &epoch, 2));
    assert_eq!(w.sees(old), ["connected", "ack 1 recovered false"]);
}

#[test]
fn a_client_that_comes_back_sends_everything_in_one_message() {
    let mut w = world(10);
    let b = w.client();
    let epoch = publish_numbers(&mut w, b, 1..=4);
    w.send_all(b, &[publish("kept:y", "y"), publish("kept:y", "z")]);
    let (other, _) = w.position(b, "kept:y");
    let a = w.open(Dialect::V1);
    w.send_all(
        a,
        &[connect(1), recover(1, X, &epoch, 3), recover(2, "kept:y", &other, 0), subscribe(3, "plain")],
    );
    w.send_all(b, &[publish("plain", "p"), publish("kept:y", "!")]);
    let seen = w.sees(a);
    let acks = [
        format!("ack 1 recovered true at {epoch}:4"),
        format!("ack 2 recovered true at {other}:2"),
        "ack 3".into(),
    ];
    assert_eq!((&*seen[0], &seen[1..4]), ("connected", &acks[..]));
    let of =
        |channel: &str| seen.iter().filter(|line| line.starts_with(channel)).cloned().collect::<Vec<_>>();
    assert_eq!(of(X), numbered(4..=4));
    assert_eq!(of("kept:y"), ["kept:y y #1", "kept:y z #2", "kept:y ! #3"]);
    assert_eq!(of("plain"), ["plain p"]);
}

/// What a socket of 100,000 bytes gets at once, and whether it is full then.
fn read_some(w: &mut World, conn: ConnId) -> (usize, u64) {
    w.router.set_writable(conn, true);
    let (mut bytes, mut count) = (0, 0);
    while let Some(batch) = w.router.poll_write() {
        if batch.to().contains(&conn) {
            bytes += batch.payload().len();
            count += support::lines(batch.payload()).iter().filter(|line| line.starts_with(X)).count() as u64;
            if bytes >= 100_000 {
                w.router.set_writable(conn, false);
            }
        }
    }
    (bytes, count)
}

#[test]
fn a_replay_is_pulled_as_the_socket_drains_and_never_waits_in_a_queue() {
    let mut w = world(10_000);
    let (a, b) = (w.client(), w.client());
    let payload = "x".repeat(1_000);
    for _ in 0..5_000 {
        w.send(b, &publish(X, &payload));
    }
    let (epoch, _) = w.position(b, X);
    w.send(a, &recover(1, X, &epoch, 0));
    let (mut rounds, mut received) = (0, 0);
    while received < 5_000 {
        let (bytes, count) = read_some(&mut w, a);
        assert!(bytes < 170_000, "no more than a page beyond what it takes: {bytes}");
        assert_eq!(w.router.queued_bytes(a), 0, "the rest stays where it is");
        received += count;
        rounds += 1;
        assert!(rounds < 1_000, "no page comes any more: {received} are here");
        // Live ones wait behind the replay.
        w.send(b, &publish(X, "live"));
    }
    assert!((30..100).contains(&rounds), "{rounds}");
    w.router.set_writable(a, true);
    let left = w.sees(a);
    assert!(left.iter().all(|line| line.contains("live")), "live ones come behind all of it");
    assert_eq!(left.last().unwrap(), &format!("{X} live #{}", 5_000 + rounds));
}

#[test]
fn what_history_drops_before_it_is_read_is_told_as_a_gap() {
    let mut w = world(100);
    let (a, b) = (w.client(), w.client());
    let epoch = publish_numbers(&mut w, b, 1..=5);
    w.router.set_writable(a, false);
    w.send(a, &recover(1, X, &epoch, 2));
    publish_numbers(&mut w, b, 6..=200);
    w.router.set_writable(a, true);
    let mut seen = w.sees(a);
    assert_eq!(seen.remove(0), format!("ack 1 recovered true at {epoch}:5"), "so it was then");
    assert_eq!(seen.remove(0), format!("gap {X} 98 trimmed"));
    assert_eq!(seen, numbered(101..=200));
    assert_eq!(w.router.stats().dropped, 98);
}

#[test]
fn who_leaves_while_it_catches_up_gets_nothing_more_and_may_come_again() {
    let mut w = world(1_000);
    let (a, b) = (w.client(), w.client());
    let epoch = publish_numbers(&mut w, b, 1..=5);
    w.router.set_writable(a, false);
    w.send_all(
        a,
        &[recover(1, X, &epoch, 2), recover(2, X, &epoch, 2), unsubscribe(3, X), unsubscribe(4, X)],
    );
    w.router.set_writable(a, true);
    w.send(b, &publish(X, "6"));
    assert_eq!(
        w.sees(a),
        [&*format!("ack 1 recovered true at {epoch}:5"), "error 2 1009", "ack 3", "error 4 1008"]
    );
    assert_eq!(w.router.stats().subscriptions, 0);
    w.send(a, &recover(5, X, &epoch, 5));
    assert_eq!(w.sees(a)[1..], numbered(6..=6));
    w.router.set_writable(a, false);
    w.send_all(a, &[unsubscribe(6, X), recover(7, X, &epoch, 0)]);
    w.drain();
    w.router.closed(a);
    assert_eq!(w.router.stats().subscriptions, 0);
    w.send(b, &publish(X, "7"));
    w.advance(10_000);
    assert_eq!(w.router.top(X), None, "and it does not hold the channel");
}

#[test]
fn who_catches_up_holds_the_channel_counts_as_subscriber_and_hears_of_presence() {
    let mut w = world(1_000);
    let (a, b) = (w.client(), w.client());
    let epoch = publish_numbers(&mut w, b, 1..=5);
    w.router.set_writable(a, false);
    w.send_all(a, &[recover(1, X, &epoch, 2), presence(2, X, PresenceAction::Join, b"\xa1a")]);
    w.send(b, &subscribe(1, X));
    w.send(b, &presence(2, X, PresenceAction::Join, b"\xa1b"));
    w.send(b, &unsubscribe(3, X));
    w.drain();
    let channels = w.router.command(&Command::Channels { prefix: "kept", after: None, limit: 9 });
    assert_eq!(channels, Ok(Outcome::Channels(vec![(X.into(), 1)], false)));
    w.advance(9_999);
    w.advance(9_999);
    assert_eq!(w.router.top(X), Some(5));
    w.router.set_writable(a, true);
    let seen = w.sees(a);
    assert!(seen.contains(&"ack 2".to_owned()), "{seen:?}");
    assert!(seen.iter().any(|line| line.contains("+a")), "{seen:?}");
    assert!(seen.contains(&format!("gap {X} 3 trimmed")), "by age: {seen:?}");
}

#[test]
fn a_socket_that_fills_up_between_two_pages_has_nothing_of_the_replay_in_its_queue() {
    let mut config = config(1_000);
    config.limits = Limits { queue_bytes: 4_000, ..Limits::default() };
    let mut w = World::new(config);
    let (a, b) = (w.client(), w.client());
    let epoch = publish_numbers(&mut w, b, 1..=200);
    w.send(a, &recover(1, X, &epoch, 0));
    let ack = w.router.poll_write().map(|batch| support::lines(batch.payload()));
    assert_eq!(ack, Some(vec![format!("ack 1 recovered true at {epoch}:200")]));
    w.router.set_writable(a, false);
    w.send(b, &publish(X, "201"));
    w.drain();
    assert_eq!(w.router.queued_bytes(a), 0);
    w.router.set_writable(a, true);
    assert_eq!(w.sees(a), numbered(1..=201));
}

#[test]
fn readers_of_json_recover_too() {
    let mut w = world(10);
    let b = w.client();
    let epoch = publish_numbers(&mut w, b, 1..=2);
    let a = w.router.open(Link { class: 0, dialect: Dialect::Json });
    let subscribe = format!(
        "{{\"type\":\"connect\",\"version\":1}}\n{{\"type\":\"subscribe\",\"id\":1,\"channel\":\"{X}\",\"recover\":{{\"epoch\":\"{epoch}\",\"offset\":1}}}}"
    );
    w.router.receive(a, Kind::Text, subscribe.as_bytes());
    w.send(b, &publish(X, "3"));
    let mut text = String::new();
    while let Some(batch) = w.router.poll_write() {
        if batch.to() == [a] {
            text.push_str(core::str::from_utf8(batch.payload()).unwrap());
        }
    }
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].contains("\"recovered\":true"), "{text}");
    assert!(lines[2].contains("\"offset\":2") && lines[3].contains("\"offset\":3"), "{text}");
    assert_eq!(lines.len(), 4);
}

/// Readers of all speeds come, go and come back to a busy channel; each number reaches each of them once, rising, and what
/// does not reach it is told.
#[test]
fn whatever_happens_numbers_rise_without_a_hole_that_is_not_told() {
    for seed in 1..40 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let mut w = world(5 + dice.roll(60) as u32);
        let publisher = w.client();
        let (epoch, mut top) = w.position(publisher, X);
        let mut readers: Vec<(ConnId, u64, bool)> = (0..4).map(|_| (w.client(), 0, false)).collect();
        for _ in 0..400 {
            let at = dice.roll(4);
            let (conn, had, inside) = readers[at];
            match dice.roll(9) {
                0..=3 => {
                    for _ in 0..dice.roll(8) {
                        top += 1;
                        w.send(publisher, &publish_with_id(5, X, &"x".repeat(dice.roll(9_000))));
                    }
                }
                4 => w.router.set_writable(conn, false),
                5 | 6 => w.router.set_writable(conn, true),
                _ if inside => {
                    w.router.closed(conn);
                    w.take(conn);
                    readers[at] = (w.client(), had, false);
                }
                _ => {
                    w.send(conn, &recover(1, X, &epoch, had));
                    readers[at].2 = true;
                }
            }
            w.drain();
            for (conn, had, _) in &mut readers {
                note(&w.take(*conn), had, &epoch, seed);
            }
        }
        for (conn, had, inside) in readers {
            let mut had = had;
            w.router.set_writable(conn, true);
            if !inside {
                w.send(conn, &recover(1, X, &epoch, had));
            }
            note(&w.sees(conn), &mut had, &epoch, seed);
            assert_eq!(had, top, "seed {seed}");
        }
    }
}

/// Follows what one reader sees from the newest number that it had.
fn note(seen: &[String], had: &mut u64, epoch: &str, seed: u64) {
    for line in seen {
        if let Some(top) = line.strip_prefix(&format!("ack 1 recovered false at {epoch}:")) {
            *had = top.parse().unwrap();
        } else if let Some(gap) = line.strip_prefix(&format!("gap {X} ")) {
            *had += gap.split(' ').next().unwrap().parse::<u64>().unwrap();
        } else if let Some((_, number)) = line.split_once('#') {
            *had += 1;
            assert_eq!(number, had.to_string(), "seed {seed}");
        } else {
            assert!(line.starts_with("ack 1 recovered true"), "seed {seed}: {line}");
        }
    }
}
