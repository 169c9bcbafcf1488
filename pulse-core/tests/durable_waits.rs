//! A store that is slow, hangs, or fails now and then: what waits for it is bounded, answers keep their order, and nothing that
//! nobody waits for is forgotten.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{Frame, Payload, Publish};
use pulse_core::{Config, Heartbeat, Limits, Namespace, Rules, Shards};
use support::{Cluster, Disk, World, publish, publish_with_id, subscribe};

const X: &str = "safe:x";

fn rules() -> Rules {
    Rules {
        history_size: 4,
        history_ttl_ms: 10_000,
        idempotency_window_ms: 10_000,
        durable: true,
        ..Rules::default()
    }
}

fn config_of(rules: Rules) -> Config {
    let heartbeat = Heartbeat { interval_ms: 0, ..Heartbeat::default() };
    Config { namespaces: vec![Namespace { name: "safe".into(), rules }], heartbeat, ..Config::default() }
}

fn named<'a>(id: u64, channel: &'a str, name: &'a str) -> Frame<'a> {
    let publish = Publish { channel, payload: Payload::from(name.as_bytes()), ..Publish::default() };
    Frame::Publish(Publish { id: Some(id), idempotency_key: Some(name), ..publish })
}

fn keyed<'a>(id: u64, channel: &'a str, version: Option<u64>) -> Frame<'a> {
    let publish = Publish { channel, payload: Payload::from(&b"x"[..]), ..Publish::default() };
    Frame::Publish(Publish { id: Some(id), key: Some("k"), version, ..publish })
}

fn home_at(c: &Cluster, home: u16, prefix: &str) -> String {
    (0..).map(|n| format!("{prefix}{n}")).find(|name| c.worlds[0].router.home(name).0 == home).unwrap()
}

/// Takes the batch that is to be stored, and says that it is not.
fn fail(w: &mut World) {
    w.drain();
    let (sequence, _) = w.stores.pop().expect("something is to be stored");
    w.router.not_stored(sequence, "the disk is full");
    w.drain();
}

#[test]
fn what_waits_for_the_disk_is_bounded_with_its_names() {
    let peer_bytes = 100_000;
    let limits = Limits { peer_bytes, ..Limits::default() };
    let (mut c, _disk) = (Cluster::new(2, &Config { limits, ..config_of(rules()) }), Disk::default());
    let channel = home_at(&c, 0, "safe:");
    let publisher = c.client(1);
    let names: Vec<String> = (0..5_000).map(|n| format!("{n:0>255}")).collect();
    let frame = |(id, name)| {
        let publish = Publish { channel: &channel, payload: Payload::from(&b""[..]), ..Publish::default() };
        Frame::Publish(Publish { id: Some(id), idempotency_key: Some(name), ..publish })
    };
    // One batch is with the disk; all that comes is in the next one.
    c.send(publisher, &[publish(&channel, "first")]);
    c.settle();
    c.worlds[0].stores.clear();
    let frames: Vec<_> = (1..).zip(names.iter().map(|name| &**name)).map(frame).collect();
    c.send(publisher, &frames);
    c.settle();
    let refused = c.sees(publisher).len();
    let taken = 5_000 - refused;
    // What would be handed out: the records of all that were taken.
    let sequence = 1;
    c.worlds[0].router.stored(sequence);
    c.settle();
    let (_, records) = c.worlds[0].stores.pop().unwrap();
    assert!(
        records.len() < 2 * peer_bytes as usize,
        "{taken} were taken: {} bytes of records alone",
        records.len()
    );
}

#[test]
fn answers_about_publishing_to_one_channel_come_in_their_order() {
    let (mut w, mut disk) = (World::new(config_of(rules())), Disk::default());
    let a = w.client();
    w.send(a, &named(1, X, "known"));
    w.store(&mut disk);
    w.take(a);
    w.send_all(a, &[named(2, X, "new"), named(3, X, "known")]);
    w.store(&mut disk);
    let ids: Vec<String> = w.sees(a).iter().map(|ack| ack[..5].into()).collect();
    assert_eq!(ids, ["ack 2", "ack 3"]);
}

#[test]
fn what_is_stale_is_told_after_what_was_published_before_it() {
    let (mut w, mut disk) = (World::new(config_of(rules())), Disk::default());
    let a = w.client();
    w.send(a, &keyed(1, X, Some(5)));
    w.store(&mut disk);
    w.take(a);
    w.send_all(a, &[publish_with_id(2, X, "new"), keyed(3, X, Some(4))]);
    w.store(&mut disk);
    let ids: Vec<String> = w.sees(a).iter().map(|ack| ack[..5].into()).collect();
    assert_eq!(ids, ["ack 2", "ack 3"]);
}

/// What is told must not depend on how quick the disk is.
#[test]
fn a_version_is_compared_with_what_will_be_kept_of_the_key() {
    let told = |at_once: bool| {
        let rules = Rules { history_per_key: true, ..rules() };
        let (mut w, mut disk) = (World::new(config_of(rules)), Disk::default());
        let a = w.client();
        for frame in [keyed(1, X, Some(5)), keyed(2, X, None), keyed(3, X, Some(4))] {
            w.send(a, &frame);
            w.drain();
            if at_once {
                w.store(&mut disk);
            }
        }
        w.store(&mut disk);
        w.sees(a)
    };
    assert_eq!(told(true), told(false));
}

#[test]
fn what_was_refused_is_not_counted_as_published() {
    let mut w = World::new(config_of(rules()));
    let a = w.client();
    w.send(a, &publish_with_id(1, X, "a"));
    fail(&mut w);
    assert_eq!(w.router.stats().publications, 0);
}

#[test]
fn an_answer_of_an_earlier_session_is_not_taken_for_one_of_this() {
    let config = config_of(rules());
    let (mut c, mut disk) = (Cluster::new(2, &config), Disk::default());
    let (one, other) = (home_at(&c, 0, "safe:"), home_at(&c, 0, "safe:other"));
    let publisher = c.client(1);
    c.send(publisher, &[publish_with_id(1, &one, "a")]);
    c.settle();
    // The leaf's thread, worker or process ends; another takes its place.
    c.part(0, 1);
    let shards = Shards { index: 1, count: 2, key: 7 };
    c.worlds[1] = World::new(Config { shards, ..config });
    c.rejoin(0, 1);
    let publisher = c.client(1);
    c.send(publisher, &[publish_with_id(7, &other, "b")]);
    c.settle();
    let home = &mut c.worlds[0];
    let (sequence, records) = home.stores.pop().unwrap();
    disk.write(&records);
    home.router.stored(sequence);
    // Now `a` is on disk, and `b` is not.
    assert_eq!(c.sees(publisher), [""; 0], "nothing of it is on disk: disk has {:?}", disk.numbers(&other));
}

/// The disk fails just when what is on it has become too old, and works for a long time after that.
fn fail_when_all_is_too_old(w: &mut World, disk: &mut Disk) {
    w.advance(10_000);
    fail(w);
    for _ in 0..100 {
        w.advance(10_000);
        w.store(disk);
    }
}

#[test]
fn what_is_too_old_goes_from_the_disk_though_the_disk_failed_once() {
    let (mut w, mut disk) = (World::new(config_of(rules())), Disk::default());
    let a = w.client();
    w.send_all(a, &[subscribe(1, X), publish(X, "secret")]);
    w.store(&mut disk);
    fail_when_all_is_too_old(&mut w, &mut disk);
    assert_eq!(disk.numbers(X), [0; 0], "its time was over long ago");
}

#[test]
fn what_is_forgotten_goes_from_the_disk_though_the_disk_failed_once() {
    let (mut w, mut disk) = (World::new(config_of(rules())), Disk::default());
    let a = w.client();
    w.send(a, &publish(X, "secret"));
    w.store(&mut disk);
    fail_when_all_is_too_old(&mut w, &mut disk);
    assert_eq!((w.router.top(X), disk.0.len()), (None, 0));
}

#[test]
fn what_newer_ones_have_taken_the_place_of_does_not_fill_a_disk_that_fails_now_and_then() {
    let rules = Rules { history_per_key: true, history_ttl_ms: 600_000, ..rules() };
    let (mut w, mut disk) = (World::new(config_of(rules)), Disk::default());
    let a = w.client();
    w.send(a, &subscribe(1, X));
    w.store(&mut disk);
    for n in 0..1_000 {
        w.send(a, &keyed(n, X, None));
        w.drain();
        let (sequence, records) = w.stores.pop().unwrap();
        disk.write(&records);
        w.router.stored(sequence);
        // That its predecessor may go is in the next batch.
        w.drain();
        if !w.stores.is_empty() {
            fail(&mut w);
        }
    }
    for _ in 0..10 {
        w.advance(10_000);
        w.store(&mut disk);
    }
    assert!(disk.numbers(X).len() <= 8, "{} are on disk, one is kept", disk.numbers(X).len());
}

/// A repeat gets the position of the first, also after a restart with a longer window.
#[test]
fn a_repeat_gets_the_position_that_was_told_after_a_trim_was_lost() {
    let (mut w, mut disk) = (World::new(config_of(rules())), Disk::default());
    let a = w.client();
    w.send_all(a, &[subscribe(1, X), named(2, X, "order")]);
    w.store(&mut disk);
    w.advance(10_000);
    fail(&mut w);
    w.send_all(a, &[publish(X, "between"), named(3, X, "order")]);
    w.store(&mut disk);
    let told = w.sees(a).iter().find(|line| line.starts_with("ack 3")).unwrap().replace("ack 3", "");
    assert!(told.ends_with(":3"), "{told}");
    let longer = Rules { idempotency_window_ms: 60_000, history_ttl_ms: 60_000, ..rules() };
    let mut w = World::new(config_of(longer));
    w.advance(11_000);
    disk.restore(&mut w.router);
    let a = w.client();
    w.send(a, &named(4, X, "order"));
    w.store(&mut disk);
    assert_eq!(w.sees(a), [format!("ack 4{told}")]);
}

#[test]
fn a_name_goes_when_its_window_ends_though_history_is_kept_longer() {
    let rules = Rules { history_ttl_ms: 1_000_000, ..rules() };
    let (mut w, mut disk) = (World::new(config_of(rules)), Disk::default());
    let a = w.client();
    w.send_all(a, &[subscribe(1, X), named(2, X, "a")]);
    w.store(&mut disk);
    for _ in 0..50 {
        w.advance(10_000);
        w.store(&mut disk);
    }
    assert_eq!(disk.0[X].names, [], "its window is over for {} s", 490);
}
