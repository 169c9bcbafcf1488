//! Channels that keep the newest publication of each key: who comes late or comes back gets the newest of each, and not all that
//! led to it.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::collections::BTreeMap;

use pulse_core::wire::{Frame, Publish, Subscribe};
use pulse_core::{Config, ConnId, Dialect, Heartbeat, Namespace, Now, Rules, Time};
use support::{Cluster, Dice, World, history, publish, recover, subscribe};

fn config(size: u32) -> Config {
    let rules =
        Rules { history_size: size, history_ttl_ms: 10_000, history_per_key: true, ..Rules::default() };
    let heartbeat = Heartbeat { interval_ms: 0, ..Heartbeat::default() };
    Config { namespaces: vec![Namespace { name: "px".into(), rules }], heartbeat, ..Config::default() }
}

const X: &str = "px:x";

/// A publication of a key, which is also its payload.
fn tell<'a>(channel: &'a str, key: &'a str) -> Frame<'a> {
    let Frame::Publish(frame) = publish(channel, key) else { unreachable!() };
    Frame::Publish(Publish { key: Some(key), ..frame })
}

/// `a` to 1, `b` to 5, `c` to 4, and 2 and 6 without a key: `a`, `none`, `b`, `c`, `b`, `none`.
fn told(w: &mut World) -> (ConnId, String) {
    let a = w.client();
    let frames =
        [tell(X, "a"), publish(X, "none"), tell(X, "b"), tell(X, "c"), tell(X, "b"), publish(X, "none")];
    w.send_all(a, &frames);
    let (epoch, _) = w.position(a, X);
    (a, epoch)
}

fn got(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| format!("{X} {line}")).collect()
}

#[test]
fn who_comes_back_gets_the_newest_of_each_key_in_order() {
    let mut w = World::new(config(10));
    let (a, epoch) = told(&mut w);
    let ack = |id: u64| format!("ack {id} recovered true at {epoch}:6 sparse");
    let mut get = |after| {
        let reader = w.client();
        w.send(reader, &recover(1, X, &epoch, after));
        let seen = w.sees(reader);
        w.router.closed(reader);
        seen
    };
    let all = ["a #1", "none #2", "c #4", "b #5", "none #6"];
    assert_eq!(get(0), [vec![ack(1)], got(&all)].concat());
    assert_eq!(get(2), [vec![ack(1)], got(&all[2..])].concat());
    assert_eq!(
        get(3),
        [vec![ack(1)], got(&all[2..])].concat(),
        "a position that is not kept is one all the same"
    );
    assert_eq!(get(6), [ack(1)]);
    assert_eq!(get(7), [format!("ack 1 recovered false at {epoch}:6 sparse")]);
    let reader = w.client();
    w.send(reader, &recover(1, X, &epoch, 4));
    w.send_all(a, &[tell(X, "b"), tell(X, "b")]);
    let live = ["none #6", "b #7", "b #8"];
    let seen = w.sees(reader);
    assert_eq!(seen.last(), got(&live).last());
    w.send(a, &tell(X, "b"));
    assert_eq!(w.sees(reader), got(&["b #9"]), "who has caught up gets all that is published");
}

#[test]
fn who_comes_new_may_have_the_newest_values() {
    let mut w = World::new(config(10));
    let (_, epoch) = told(&mut w);
    let mut get = |latest| {
        let reader = w.client();
        w.send(
            reader,
            &Frame::Subscribe(Subscribe { id: 1, channel: X, latest: Some(latest), ..Subscribe::default() }),
        );
        let seen = w.sees(reader);
        w.router.closed(reader);
        assert_eq!(seen[0], format!("ack 1 at {epoch}:6 sparse"));
        seen[1..].to_vec()
    };
    assert_eq!(get(2), got(&["b #5", "none #6"]));
    assert_eq!(get(3), got(&["c #4", "b #5", "none #6"]), "three that are kept, whatever their numbers");
    assert_eq!(get(99).len(), 5);
    assert_eq!(get(0), got(&[]));
}

#[test]
fn whoever_subscribes_is_told_that_numbers_may_be_missing() {
    let mut c = Cluster::new(2, &config(10));
    for at in 0..2 {
        let client = c.client(at);
        c.send(client, &[subscribe(1, X), subscribe(2, "plain")]);
        let seen = c.sees(client);
        assert!(
            seen.iter().any(|line| line.starts_with("ack 1 at ") && line.ends_with(":0 sparse")),
            "{seen:?}"
        );
        assert!(seen.contains(&"ack 2".to_owned()), "{seen:?}");
    }
    let mut w = World::new(config(10));
    let old = w.open(Dialect::Legacy);
    w.send(old, &subscribe(1, X));
    assert_eq!(w.sees(old), ["connected", "ack 1"], "who is told no numbers is not");
}

#[test]
fn history_shows_what_is_kept() {
    let mut w = World::new(config(10));
    let (a, epoch) = told(&mut w);
    w.send_all(
        a,
        &[
            history(1, X, None, None, None),
            history(2, X, Some((&epoch, 2)), Some(2), None),
            history(3, X, None, Some(2), Some(true)),
        ],
    );
    let pages = [
        "history 1: a#1@0 none#2@0 c#4@0 b#5@0 none#6@0 of E:6",
        "history 2: c#4@0 b#5@0 of E:6",
        "history 3: none#6@0 b#5@0 of E:6",
    ];
    assert_eq!(w.sees(a), pages.map(|page| page.replace('E', &epoch)));
}

#[test]
fn the_bounds_count_what_is_kept_and_what_they_drop_is_not_recovered() {
    let mut w = World::new(config(2));
    let a = w.client();
    (0..100).for_each(|n| w.send(a, &tell(X, if n % 2 == 0 { "a" } else { "b" })));
    let (epoch, _) = w.position(a, X);
    let get = |w: &mut World, after| {
        let reader = w.client();
        w.send(reader, &recover(1, X, &epoch, after));
        w.sees(reader)
    };
    let ack = format!("ack 1 recovered true at {epoch}:100 sparse");
    assert_eq!(
        get(&mut w, 0),
        [vec![ack], got(&["a #99", "b #100"])].concat(),
        "two keys are two publications"
    );
    w.send(a, &tell(X, "c"));
    let lost = format!("ack 1 recovered false at {epoch}:101 sparse");
    assert_eq!(get(&mut w, 98), [lost], "the newest a was 99");
    assert_eq!(get(&mut w, 99)[1..], got(&["b #100", "c #101"]));
    w.send(a, &subscribe(2, X));
    w.advance(10_000);
    assert_eq!(get(&mut w, 100), [format!("ack 1 recovered false at {epoch}:101 sparse")], "and age as well");
}

#[test]
fn who_reads_slowly_gets_the_newest_of_what_it_still_has_to_get() {
    let mut w = World::new(config(10));
    let (a, epoch) = told(&mut w);
    let reader = w.client();
    w.router.set_writable(reader, false);
    w.send(reader, &recover(1, X, &epoch, 0));
    for _ in 0..500 {
        w.send_all(a, &[tell(X, "b"), tell(X, "c")]);
        w.drain();
    }
    w.router.set_writable(reader, true);
    let kept = ["a #1", "none #2", "none #6", "b #1005", "c #1006"];
    assert_eq!(
        w.sees(reader),
        [vec![format!("ack 1 recovered true at {epoch}:6 sparse")], got(&kept)].concat()
    );
    assert_eq!(w.router.stats().dropped, 0, "nothing is missing");
}

#[test]
fn what_the_bounds_drop_before_it_is_read_is_a_gap_without_a_count() {
    let mut w = World::new(config(3));
    let a = w.client();
    w.send_all(a, &[tell(X, "a"), tell(X, "b")]);
    let (epoch, _) = w.position(a, X);
    let reader = w.client();
    w.router.set_writable(reader, false);
    w.send(reader, &recover(1, X, &epoch, 0));
    w.send_all(a, &[tell(X, "b"), tell(X, "c"), tell(X, "d")]);
    w.router.set_writable(reader, true);
    let seen = w.sees(reader);
    assert_eq!(seen[1..], [vec![format!("gap {X} some trimmed")], got(&["b #3", "c #4", "d #5"])].concat());
    assert_eq!(w.router.stats().dropped, 1);
}

#[test]
fn a_version_guards_the_value_that_is_kept() {
    let mut w = World::new(config(10));
    let a = w.client();
    let version = |key, version| {
        let Frame::Publish(frame) = tell(X, key) else { unreachable!() };
        Frame::Publish(Publish { id: Some(1), version: Some(version), ..frame })
    };
    let (epoch, _) = w.position(a, X);
    w.send_all(a, &[version("a", 5), version("a", 4), version("b", 1), version("a", 6)]);
    let told = [" at E:1", " stale true at E:1", " at E:2", " at E:3"];
    assert_eq!(w.sees(a), told.map(|told| format!("ack 1{}", told.replace('E', &epoch))));
    // One without a version takes the place of the one that had it.
    w.send_all(a, &[tell(X, "a"), version("a", 1)]);
    assert_eq!(w.sees(a), [format!("ack 1 at {epoch}:5")]);
}

#[test]
fn values_move_with_their_channel_and_to_where_everything_is_kept_as_far_as_they_are_whole() {
    let mut old = World::new(config(10));
    let (_, epoch) = told(&mut old);
    old.advance(4_000);
    let mut channels = vec![];
    old.router.export_channels(&mut channels);
    let moved = |config: Config, after| {
        let mut new = World::new(config);
        new.now_ms = 50_000;
        new.router.advance(Now { mono: Time(50_000_000), unix_ms: 0 });
        new.router.import_channels(&channels).unwrap();
        let reader = new.client();
        new.send(reader, &recover(1, X, &epoch, after));
        (new.sees(reader), new, reader)
    };
    let (seen, mut new, reader) = moved(config(10), 0);
    assert_eq!(seen[1..], got(&["a #1", "none #2", "c #4", "b #5", "none #6"]));
    new.send(reader, &tell(X, "c"));
    assert_eq!(new.sees(reader), got(&["c #7"]));
    let again = new.client();
    new.send(again, &recover(1, X, &epoch, 0));
    assert_eq!(new.sees(again)[1..], got(&["a #1", "none #2", "b #5", "none #6", "c #7"]));
    new.advance(6_000);
    let late = new.client();
    new.send(late, &recover(1, X, &epoch, 5));
    assert_eq!(new.sees(late), [format!("ack 1 recovered false at {epoch}:7 sparse")], "with its ages");

    let mut whole = config(10);
    whole.namespaces[0].rules.history_per_key = false;
    assert_eq!(moved(whole.clone(), 3).0[1..], got(&["c #4", "b #5", "none #6"]));
    let (seen, ..) = moved(whole, 2);
    assert_eq!(seen, [format!("ack 1 recovered false at {epoch}:6")], "3 may have been anything");
}

#[test]
fn the_newest_of_each_key_come_from_other_routers_page_by_page() {
    let mut c = Cluster::new(2, &config(1_000));
    let channel = (0..).map(|n| format!("px:{n}")).find(|name| c.worlds[0].router.home(name).0 == 0).unwrap();
    let (publisher, reader) = (c.client(0), c.client(1));
    // 300 keys of a thousand bytes, three times; the last time without every third.
    let keys: Vec<String> = (0..300).map(|n| format!("{n:01000}")).collect();
    for round in 0..3 {
        for (n, key) in keys.iter().enumerate() {
            if round < 2 || n % 3 != 0 {
                c.send(publisher, &[tell(&channel, key)]);
                c.settle();
            }
        }
    }
    c.send(publisher, &[history(9, &channel, None, Some(0), None)]);
    let page = c.sees(publisher).pop().unwrap();
    let (epoch, top) = page.rsplit_once(' ').unwrap().1.split_once(':').unwrap();
    assert_eq!(top, "800");
    c.send(reader, &[recover(1, &channel, epoch, 0)]);
    let seen = c.sees(reader);
    assert_eq!(seen[0], format!("ack 1 recovered true at {epoch}:800 sparse"));
    let numbers: Vec<u64> =
        seen[1..].iter().map(|line| line.split_once('#').unwrap().1.parse().unwrap()).collect();
    assert!(numbers.len() == 300 && numbers.is_sorted(), "{numbers:?}");
    assert_eq!((numbers[0], numbers[99], numbers[100]), (301, 598, 601));
    c.send(publisher, &[tell(&channel, "live")]);
    assert_eq!(c.sees(reader), [format!("{channel} live #801")]);
}

/// Readers of all speeds come, go and come back: in the end each knows the newest of each key, unless it was told that it may not.
#[test]
fn whatever_happens_each_reader_ends_with_the_newest_of_each_key() {
    let (mut whole, mut lost) = (0, 0);
    for seed in 1..40 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let mut w = World::new(config(6 + dice.roll(6) as u32));
        let publisher = w.client();
        let (epoch, _) = w.position(publisher, X);
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        let mut top = 0;
        let mut readers: Vec<Reader> = (0..4).map(|_| Reader::new(w.client())).collect();
        for _ in 0..300 {
            let at = dice.roll(4);
            match dice.roll(8) {
                0..=2 => {
                    for _ in 0..dice.roll(8) {
                        let key = format!("k{}", dice.roll(10));
                        w.send(publisher, &tell(X, &key));
                        top += 1;
                        newest.insert(key, top);
                    }
                }
                3 => w.router.set_writable(readers[at].conn, false),
                4 | 5 => w.router.set_writable(readers[at].conn, true),
                _ if readers[at].inside => {
                    w.router.closed(readers[at].conn);
                    w.take(readers[at].conn);
                    (readers[at].conn, readers[at].inside) = (w.client(), false);
                }
                _ => {
                    w.send(readers[at].conn, &recover(1, X, &epoch, readers[at].had));
                    readers[at].inside = true;
                }
            }
            w.drain();
            readers.iter_mut().for_each(|reader| reader.note(&w.take(reader.conn)));
        }
        for mut reader in readers {
            w.router.set_writable(reader.conn, true);
            if !reader.inside {
                w.send(reader.conn, &recover(1, X, &epoch, reader.had));
            }
            reader.note(&w.sees(reader.conn));
            assert_eq!(reader.had, top, "seed {seed}");
            let behind = |(_, number): &(&String, &u64)| **number > reader.lost_to;
            let known =
                newest.iter().filter(behind).all(|(key, number)| reader.values.get(key) == Some(number));
            assert!(known, "seed {seed}: {:?} of {newest:?}", reader.values);
            whole += u32::from(reader.lost_to == 0);
            lost += u32::from(reader.lost_to > 0);
        }
    }
    assert!(whole > 20 && lost > 20, "{whole} {lost}");
}

struct Reader {
    conn: ConnId,
    inside: bool,
    had: u64,
    values: BTreeMap<String, u64>,
    /// Up to this number it was told that something is lost.
    lost_to: u64,
}

impl Reader {
    fn new(conn: ConnId) -> Self {
        Self { conn, inside: false, had: 0, values: BTreeMap::new(), lost_to: 0 }
    }

    fn note(&mut self, seen: &[String]) {
        let mut gap = false;
        for line in seen {
            if let Some((_, position)) = line.split_once("recovered false at ") {
                let number = position.strip_suffix(" sparse").expect("it says that holes are by design");
                self.had = number.split_once(':').unwrap().1.parse().unwrap();
                self.lost_to = self.had;
            } else if line.starts_with("gap") {
                gap = true;
            } else if let Some((key, number)) = line.split_once(" #") {
                let number = number.parse().unwrap();
                assert!(number > self.had, "numbers rise: {line} behind {}", self.had);
                if core::mem::take(&mut gap) {
                    self.lost_to = number - 1;
                }
                self.had = number;
                self.values.insert(key.rsplit_once(' ').unwrap().1.to_owned(), number);
            }
        }
        assert!(!gap, "behind a gap there is what it is in front of: {seen:?}");
    }
}
