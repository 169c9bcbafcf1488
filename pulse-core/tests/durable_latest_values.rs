//! Channels on disk that keep the newest publication of each key: after a restart there is what there was, and what newer ones
//! have taken the place of does not stay on disk.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{Frame, Publish};
use pulse_core::{Config, Heartbeat, Namespace, Rules};
use support::{Dice, Disk, World, history, publish, publish_with_id, recover, subscribe};

const X: &str = "px:x";

fn config(size: u32) -> Config {
    let rules = Rules {
        history_size: size,
        history_ttl_ms: 10_000,
        history_per_key: true,
        durable: true,
        ..Rules::default()
    };
    let heartbeat = Heartbeat { interval_ms: 0, ..Heartbeat::default() };
    Config { namespaces: vec![Namespace { name: "px".into(), rules }], heartbeat, ..Config::default() }
}

/// A publication of a key, which is also its payload.
fn tell(key: &str) -> Frame<'_> {
    let Frame::Publish(frame) = publish(X, key) else { unreachable!() };
    Frame::Publish(Publish { key: Some(key), ..frame })
}

fn restarted(config: &Config, disk: &Disk, after_ms: u64) -> World {
    let mut w = World::new(config.clone());
    w.advance(after_ms);
    disk.restore(&mut w.router);
    w
}

/// What a router shows of the channel, and what it gives to those who come back from each position.
fn shown(w: &mut World) -> Vec<Vec<String>> {
    let a = w.client();
    w.send(a, &history(1, X, None, None, None));
    let mut seen = vec![w.sees(a)];
    let (epoch, top) = w.position(a, X);
    for after in 0..=top + 1 {
        let reader = w.client();
        w.send(reader, &recover(1, X, &epoch, after));
        seen.push(w.sees(reader));
        w.router.closed(reader);
    }
    w.router.closed(a);
    seen
}

#[test]
fn the_newest_of_each_key_is_on_disk_and_those_before_it_go() {
    let (mut w, mut disk) = (World::new(config(10)), Disk::default());
    let a = w.client();
    w.send(a, &subscribe(1, X));
    for frame in [tell("a"), publish(X, "none"), tell("b"), tell("a"), tell("a"), tell("b")] {
        w.send(a, &frame);
        w.store(&mut disk);
    }
    assert_eq!(disk.numbers(X), [2, 5, 6]);
    let before = shown(&mut w);
    assert_eq!(before[0].len(), 1, "{before:?}");
    assert!(before[0][0].contains("none#2@0 a#5@0 b#6@0"), "{before:?}");
    let mut w = restarted(&config(10), &disk, 0);
    assert_eq!(shown(&mut w), before);
}

#[test]
fn what_a_loss_of_power_brought_back_goes_again() {
    let (mut w, mut disk) = (World::new(config(10)), Disk::default());
    let a = w.client();
    w.send_all(a, &[tell("a"), tell("b"), tell("a")]);
    w.drain();
    let (sequence, records) = w.stores.pop().expect("it is to be stored");
    disk.write(&records);
    w.router.stored(sequence);
    w.drain();
    // What is said of the first one now is not on disk when the power goes.
    assert_eq!(disk.numbers(X), [1, 2, 3]);
    let before = shown(&mut w);
    let mut w = restarted(&config(10), &disk, 0);
    assert_eq!(shown(&mut w), before);
    w.store(&mut disk);
    assert_eq!(disk.numbers(X), [2, 3]);
}

#[test]
fn a_namespace_that_keeps_all_from_now_on_keeps_what_has_no_hole() {
    let (mut w, mut disk) = (World::new(config(10)), Disk::default());
    let a = w.client();
    w.send_all(a, &[tell("a"), tell("b"), tell("c"), tell("b"), publish(X, "none")]);
    w.store(&mut disk);
    let (epoch, _) = w.position(a, X);
    let mut all = config(10);
    all.namespaces[0].rules.history_per_key = false;
    let mut w = restarted(&all, &disk, 0);
    w.store(&mut disk);
    assert_eq!(disk.numbers(X), [3, 4, 5]);
    let a = w.client();
    w.send_all(a, &[recover(1, X, &epoch, 1), publish_with_id(2, X, "next")]);
    w.store(&mut disk);
    let seen = w.sees(a);
    assert_eq!(seen[0], format!("ack 1 recovered false at {epoch}:5"), "nobody is given what has a hole");
    assert_eq!(seen[1], format!("ack 2 at {epoch}:6"));

    // And back again.
    let mut w = restarted(&config(10), &disk, 0);
    w.store(&mut disk);
    assert_eq!(disk.numbers(X), [3, 4, 5, 6]);
}

/// Random publications, times and restarts: a router that was restarted shows what one that goes on shows.
#[test]
fn a_router_that_was_restarted_shows_what_one_that_goes_on_shows() {
    for seed in 1..=60 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let config = config(1 + dice.roll(8) as u32);
        let (mut w, mut disk) = (World::new(config.clone()), Disk::default());
        let a = w.client();
        w.send(a, &subscribe(1, X));
        w.store(&mut disk);
        let mut elapsed = 0;
        for _ in 0..60 {
            for _ in 0..1 + dice.roll(3) {
                let key = ["", "a", "b", "c", "d", "e"][dice.roll(6)];
                let frame = if key.is_empty() { publish(X, "none") } else { tell(key) };
                w.send(a, &frame);
            }
            if dice.roll(3) == 0 {
                w.drain();
                let (sequence, records) = w.stores.pop().expect("it is to be stored");
                disk.write(&records);
                w.router.stored(sequence);
            } else {
                w.store(&mut disk);
            }
            if dice.roll(4) == 0 {
                let ms = dice.roll(3_000) as u64;
                elapsed += ms;
                w.advance(ms);
            }
            w.take(a);
            let mut other = restarted(&config, &disk, elapsed);
            assert_eq!(shown(&mut other), shown(&mut w), "seed {seed}");
            w.take(a);
            let mut tidied = disk.clone();
            other.store(&mut tidied);
            let kept = tidied.numbers(X).len();
            assert!(kept <= config.namespaces[0].rules.history_size as usize, "seed {seed}: {kept}");
        }
    }
}
