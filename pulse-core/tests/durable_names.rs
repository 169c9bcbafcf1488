//! Repeats are known over a restart: the name of a publication is on disk with it, for as long as its window is open, whatever
//! history keeps meanwhile.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{Frame, Payload, Publish};
use pulse_core::{Command, Config, Heartbeat, Namespace, Outcome, Rules};
use support::{Cluster, Disk, World, publish, subscribe};

const X: &str = "safe:x";
const WINDOW_MS: u64 = 20_000;

/// Two publications on disk, which are known for twice as long as the channel is.
fn config(history_ttl_ms: u32) -> Config {
    let rules = Rules {
        history_size: 2,
        history_ttl_ms,
        idempotency_window_ms: WINDOW_MS as u32,
        durable: true,
        ..Rules::default()
    };
    let heartbeat = Heartbeat { interval_ms: 0, ..Heartbeat::default() };
    Config { namespaces: vec![Namespace { name: "safe".into(), rules }], heartbeat, ..Config::default() }
}

fn named<'a>(id: u64, name: &'a str) -> Frame<'a> {
    let publish = Publish { channel: X, payload: Payload::from(name.as_bytes()), ..Publish::default() };
    Frame::Publish(Publish { id: Some(id), idempotency_key: Some(name), ..publish })
}

/// Another router with what is on disk, so many milliseconds after the first one began.
fn restarted(config: &Config, disk: &Disk, after_ms: u64) -> World {
    let mut w = World::new(config.clone());
    w.advance(after_ms);
    disk.restore(&mut w.router);
    w
}

/// The numbers of the publications whose names are on disk.
fn named_on_disk(disk: &Disk) -> Vec<u64> {
    disk.0[X].names.iter().map(|(number, ..)| *number).collect()
}

#[test]
fn a_repeat_is_known_after_a_restart_and_published_once() {
    let config = config(60_000);
    let (mut w, mut disk) = (World::new(config.clone()), Disk::default());
    let a = w.client();
    w.send_all(a, &[subscribe(1, X), named(2, "a"), named(3, "b"), publish(X, "none")]);
    w.store(&mut disk);
    let (epoch, _) = w.position(a, X);
    assert_eq!(disk.numbers(X), [1, 2, 3], "the first goes with the next");

    let mut w = restarted(&config, &disk, 1_000);
    let (reader, b) = (w.client(), w.client());
    w.subscribe(reader, X);
    w.send_all(b, &[named(1, "a"), named(2, "b"), named(3, "c")]);
    w.store(&mut disk);
    assert_eq!(
        w.sees(b),
        [format!("ack 1 at {epoch}:1"), format!("ack 2 at {epoch}:2"), format!("ack 3 at {epoch}:4")]
    );
    assert_eq!(w.sees(reader), [format!("{X} c #4")]);
}

#[test]
fn a_name_outlives_its_publication_and_goes_from_the_disk_when_its_window_ends() {
    let config = config(60_000);
    let (mut w, mut disk) = (World::new(config.clone()), Disk::default());
    let a = w.client();
    w.send_all(a, &[subscribe(9, X), named(1, "a")]);
    w.store(&mut disk);
    for n in 1..=4 {
        w.advance(WINDOW_MS / 10);
        w.send(a, &publish(X, &n.to_string()));
        w.store(&mut disk);
    }
    assert_eq!((disk.numbers(X), disk.0[X].names.len()), (vec![3, 4, 5], 1));
    let elapsed = WINDOW_MS / 10 * 4;

    let mut w = restarted(&config, &disk, WINDOW_MS - 1);
    let a = w.client();
    w.send(a, &named(2, "a"));
    assert!(w.sees(a)[0].ends_with(":1"), "its window is open for another millisecond");
    w.advance(1);
    w.send(a, &named(3, "a"));
    w.store(&mut disk);
    assert!(w.sees(a)[0].ends_with(":6"), "and is over then");
    assert_eq!(named_on_disk(&disk), [6], "the one before is gone from the disk");
    w.advance(WINDOW_MS + elapsed);
    w.store(&mut disk);
    assert_eq!(disk.0[X].names, [], "a name goes though nothing comes");
}

#[test]
fn what_is_too_old_at_a_restart_is_not_known_and_gone() {
    let config = config(60_000);
    let (mut w, mut disk) = (World::new(config.clone()), Disk::default());
    let a = w.client();
    w.send(a, &named(1, "a"));
    w.store(&mut disk);
    w.advance(1_000);
    w.send(a, &named(2, "b"));
    w.store(&mut disk);
    let mut w = restarted(&config, &disk, WINDOW_MS);
    w.store(&mut disk);
    let a = w.client();
    w.send_all(a, &[named(3, "b"), named(4, "a")]);
    w.store(&mut disk);
    let offsets: Vec<String> = w.sees(a).iter().map(|ack| ack[ack.len() - 1..].into()).collect();
    assert_eq!(offsets, ["2", "3"]);
    assert_eq!(named_on_disk(&disk), [2, 3]);
}

#[test]
fn what_was_not_stored_is_not_known_after_a_restart() {
    let config = config(60_000);
    let (mut w, mut disk) = (World::new(config.clone()), Disk::default());
    let a = w.client();
    w.send(a, &named(1, "a"));
    w.store(&mut disk);
    w.send(a, &named(2, "b"));
    w.drain();
    let mut w = restarted(&config, &disk, 10);
    let a = w.client();
    w.send_all(a, &[named(3, "b"), named(4, "b"), named(5, "a")]);
    w.store(&mut disk);
    let offsets: Vec<String> =
        w.sees(a).iter().map(|ack| format!("{} {}", &ack[..5], &ack[ack.len() - 1..])).collect();
    assert_eq!(offsets, ["ack 3 2", "ack 4 2", "ack 5 1"], "it is published, once");
}

#[test]
fn the_hosts_repeats_are_known_and_those_of_clients_are_others() {
    let config = config(60_000);
    let host = |w: &mut World| {
        let Frame::Publish(publish) = named(1, "a") else { unreachable!() };
        w.router.command(&Command::Publish(Publish { id: None, ..publish })).expect("it is allowed")
    };
    let (mut w, mut disk) = (World::new(config.clone()), Disk::default());
    assert!(matches!(host(&mut w), Outcome::Storing(_)));
    w.store(&mut disk);
    let mut w = restarted(&config, &disk, 10);
    assert!(matches!(host(&mut w), Outcome::Kept { offset: 1, .. }));
    let a = w.client();
    w.send(a, &named(1, "a"));
    w.store(&mut disk);
    assert!(w.sees(a)[0].ends_with(":2"));
}

#[test]
fn another_number_of_routers_knows_the_same_repeats() {
    let config = config(60_000);
    let (mut one, mut disk) = (World::new(config.clone()), Disk::default());
    let a = one.client();
    one.send_all(a, &[named(1, "a"), named(2, "b")]);
    one.store(&mut disk);
    for count in [2, 3] {
        let mut cluster = Cluster::new(count, &config);
        cluster.worlds.iter_mut().for_each(|world| disk.restore(&mut world.router));
        for at in 0..count {
            let client = cluster.client(at);
            cluster.send(client, &[named(1, "a"), named(2, "b")]);
            let offsets: Vec<String> =
                cluster.sees(client).iter().map(|ack| ack[ack.len() - 1..].into()).collect();
            assert_eq!(offsets, ["1", "2"], "router {at} of {count}");
        }
    }
}

#[test]
fn a_window_that_is_closed_by_the_settings_leaves_nothing_on_disk() {
    let config = config(60_000);
    let (mut w, mut disk) = (World::new(config.clone()), Disk::default());
    let a = w.client();
    w.send_all(a, &[named(1, "a"), named(2, "b")]);
    w.store(&mut disk);
    assert_eq!(disk.0[X].names.len(), 2);
    let mut closed = config;
    closed.namespaces[0].rules.idempotency_window_ms = 0;
    let mut w = restarted(&closed, &disk, 10);
    w.store(&mut disk);
    assert_eq!((disk.0[X].names.len(), disk.numbers(X)), (0, vec![1, 2]));
    let a = w.client();
    w.send(a, &named(1, "a"));
    w.store(&mut disk);
    assert!(w.sees(a)[0].ends_with(":3"), "nothing is a repeat");
    assert_eq!(disk.0[X].names.len(), 0);
}
