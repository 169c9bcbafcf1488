//! The simulated process ends in the middle of everything; what the next one knows is what was on its disk.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::sim::{ClientNo, End, Sim, SimConfig, What};
use pulse_core::wire::{Connect, Frame, Payload, Point, Publish, Subscribe};
use pulse_core::{Config, Dialect, Namespace, Rules, Seed};

fn sim(sync_us: u32) -> Sim {
    sim_of(sync_us, 5)
}

fn sim_of(sync_us: u32, seed: u64) -> Sim {
    let kept = Rules { history_size: 10, ..Rules::default() };
    let rules = [("kept", kept), ("safe", Rules { durable: true, ..kept })];
    let namespaces = rules.map(|(name, rules)| Namespace { name: name.into(), rules }).into();
    let router = Config { namespaces, ..Config::default() };
    Sim::new(&SimConfig { routers: 3, router, sync_us, trace: true, ..SimConfig::default() }, Seed(seed))
}

fn connect(sim: &mut Sim) -> ClientNo {
    let client = sim.open(Dialect::V1, 0);
    sim.send(client, &[Frame::Connect(Connect { version: 1, ..Connect::default() })]);
    client
}

fn publish(id: u64, channel: &str) -> Frame<'_> {
    let payload = Payload::from(&b"p"[..]);
    Frame::Publish(Publish { id: Some(id), channel, payload, ..Publish::default() })
}

/// What a client got and how it ended, one after the other.
fn seen(sim: &Sim, client: ClientNo) -> Vec<String> {
    let seen = sim.client(client).log().iter().filter_map(|entry| match &entry.what {
        What::Got(frame) => match frame.get() {
            Frame::Ack(ack) => Some(format!("ack {} at {:?} {:?}", ack.id, ack.offset, ack.recovered)),
            Frame::Publish(publish) => Some(format!("{} {:?}", publish.channel, publish.offset)),
            Frame::Error(error) => Some(format!("error {} {}", error.id, error.code)),
            _ => None,
        },
        What::Ended(code) => Some(format!("ended {code:?}")),
        _ => None,
    });
    seen.collect()
}

/// The epoch that a client was told.
fn epoch(sim: &Sim, client: ClientNo, id: u64) -> String {
    let mut acks = sim.client(client).log().iter().filter_map(|entry| match &entry.what {
        What::Got(frame) => match frame.get() {
            Frame::Ack(ack) if ack.id == id => ack.epoch.map(str::to_owned),
            _ => None,
        },
        _ => None,
    });
    acks.next().expect("it was acknowledged with a position")
}

#[test]
fn what_is_on_disk_is_there_after_a_restart_and_nothing_else() {
    for end in [End::Killed, End::PowerLost(300)] {
        let mut sim = sim(1_000);
        let before = connect(&mut sim);
        sim.send(before, &[publish(1, "safe:a"), publish(2, "kept:a")]);
        sim.run_for(100);
        assert_eq!(seen(&sim, before), ["ack 2 at Some(1) None", "ack 1 at Some(1) None"], "{end:?}");
        sim.restart(2, end, 50);
        assert!(!sim.is_up());
        let meanwhile = sim.open(Dialect::V1, 0);
        sim.run_for(500);
        assert!(sim.is_up());
        assert_eq!(seen(&sim, before).last().unwrap(), "ended None", "{end:?}");
        assert_eq!(seen(&sim, meanwhile), ["ended None"], "nobody was there");
        let after = connect(&mut sim);
        for (id, channel) in [(1, "safe:a"), (2, "kept:a")] {
            let epoch = epoch(&sim, before, id);
            let recover = Some(Point { epoch: &epoch, offset: 0 });
            sim.send(after, &[Frame::Subscribe(Subscribe { id, channel, recover, ..Subscribe::default() })]);
            sim.run_for(100);
        }
        let expected = ["ack 1 at Some(1) Some(true)", "safe:a Some(1)", "ack 2 at Some(0) Some(false)"];
        assert_eq!(seen(&sim, after), expected, "{end:?}");
        assert_eq!(sim.failure(), None);
    }
}

#[test]
fn what_was_written_before_the_process_was_killed_still_arrives_but_not_after_a_loss_of_power() {
    for (end, arrives) in [(End::Killed, true), (End::PowerLost(1), false)] {
        let mut sim = sim(1);
        let client = connect(&mut sim);
        sim.send(client, &[publish(1, "a")]);
        // The greeting, and the ack.
        while sim.stats().map(|stats| stats.frames_out).sum::<u64>() < 2 {
            assert!(sim.step(u64::MAX), "something is under way");
        }
        sim.restart(1, end, 0);
        sim.run_for(100);
        assert_eq!(seen(&sim, client).iter().any(|line| line.starts_with("ack 1")), arrives, "{end:?}");
    }
}

#[test]
fn a_full_disk_takes_nothing_until_there_is_room() {
    let mut sim = sim(1_000);
    let client = connect(&mut sim);
    sim.fill_disk(100);
    sim.send(client, &[publish(1, "safe:a")]);
    sim.run_for(100);
    sim.send(client, &[publish(2, "safe:a")]);
    sim.run_for(100);
    assert_eq!(seen(&sim, client), ["error 1 1011", "ack 2 at Some(1) None"]);
    assert_eq!(sim.disk().failed, 1);
    assert_eq!(sim.stored_channels().collect::<Vec<_>>(), ["safe:a"]);
}

#[test]
fn what_is_under_way_to_the_disk_is_there_or_is_not_and_was_promised_to_nobody() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..100 {
        let mut sim = sim_of(200_000, seed);
        let client = connect(&mut sim);
        sim.send(client, &[publish(1, "safe:a")]);
        sim.run_for(30);
        sim.restart(1, End::Killed, 0);
        sim.run_for(100);
        let after = connect(&mut sim);
        let latest = Subscribe { id: 1, channel: "safe:a", latest: Some(1), ..Subscribe::default() };
        sim.send(after, &[Frame::Subscribe(latest)]);
        sim.run_for(100);
        let is_there = seen(&sim, after).contains(&"safe:a Some(1)".to_owned());
        let told = seen(&sim, client).len() > 1;
        assert_eq!(is_there, told || sim.disk().kept == 1, "seed {seed}");
        kept += sim.disk().kept;
        lost += sim.disk().lost;
    }
    assert!(kept > 20 && lost > 20, "{kept} were there, and {lost} were not");
}
