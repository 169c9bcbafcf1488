//! Durable channels over several routers: leaves and their publishers wait for the home's store, and a restart may have another
//! number of routers.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::{Config, Limits, Namespace, Restored, Rules};
use support::{Cluster, Disk, publish, publish_with_id, recover, subscribe};

fn config() -> Config {
    let rules = Rules { history_size: 100, durable: true, ..Rules::default() };
    Config { namespaces: vec![Namespace { name: "safe".into(), rules }], ..Config::default() }
}

/// A channel that is at home at this router.
fn safe(c: &Cluster, home: u16) -> String {
    (0..).map(|n| format!("safe:{n}")).find(|name| c.worlds[0].router.home(name).0 == home).unwrap()
}

/// Stores nothing and fails what waits.
fn fail(c: &mut Cluster, home: u16) {
    c.settle();
    let world = &mut c.worlds[usize::from(home)];
    let (sequence, _) = world.stores.pop().expect("something is to be stored");
    world.router.not_stored(sequence, "the disk is full");
    c.settle();
}

#[test]
fn leaves_and_their_publishers_wait_for_the_store_of_the_home() {
    let (mut c, mut disk) = (Cluster::new(3, &config()), Disk::default());
    let channel = safe(&c, 0);
    let (at_home, at_leaf, publisher) = (c.client(0), c.client(1), c.client(2));
    for reader in [at_home, at_leaf] {
        c.subscribe(reader, &channel);
    }
    c.store(&mut disk);
    c.send(publisher, &[publish_with_id(1, &channel, "a"), publish(&channel, "b")]);
    for client in [at_home, at_leaf, publisher] {
        assert_eq!(c.sees(client), [""; 0]);
    }
    c.store(&mut disk);
    let ack = c.sees(publisher).remove(0);
    assert!(ack.starts_with("ack 1 at ") && ack.ends_with(":1"), "{ack}");
    let both = [format!("{channel} a #1"), format!("{channel} b #2")];
    assert_eq!((c.sees(at_home), c.sees(at_leaf)), (both.to_vec(), both.to_vec()));
    let counted: u64 = (0..3).map(|n| c.router(n).stats().publications).sum();
    assert_eq!(counted, 2, "each is counted where its client is, and nowhere else");
    c.send(publisher, &[publish_with_id(2, &channel, "c"), publish(&channel, "d")]);
    fail(&mut c, 0);
    let refused = vec!["error 2 1011".to_string(), "error 0 1011".into()];
    assert_eq!(
        (c.sees(publisher), c.sees(at_leaf)),
        (refused, vec![]),
        "who asked for no answer is told, too"
    );
    c.send(publisher, &[publish_with_id(3, &channel, "e")]);
    c.store(&mut disk);
    assert_eq!(
        (c.sees(at_home), c.sees(at_leaf)),
        (vec![format!("{channel} e #3")], vec![format!("{channel} e #3")])
    );
}

#[test]
fn a_publisher_whose_router_is_lost_meanwhile_gets_one_answer() {
    let (mut c, mut disk) = (Cluster::new(2, &config()), Disk::default());
    let channel = safe(&c, 0);
    let (reader, publisher) = (c.client(0), c.client(1));
    c.subscribe(reader, &channel);
    c.send(publisher, &[publish_with_id(1, &channel, "a")]);
    c.settle();
    c.part(0, 1);
    assert_eq!(c.sees(publisher), ["error 1 1011"], "it cannot know");
    c.rejoin(0, 1);
    c.store(&mut disk);
    assert_eq!((c.sees(publisher), c.sees(reader)), (vec![], vec![format!("{channel} a #1")]));
    c.send(publisher, &[publish_with_id(2, &channel, "b")]);
    c.store(&mut disk);
    assert!(c.sees(publisher)[0].starts_with("ack 2 at "));
}

#[test]
fn who_publishes_without_an_id_at_a_leaf_is_told_only_what_was_not_stored() {
    let (mut c, mut disk) = (Cluster::new(2, &config()), Disk::default());
    let channel = safe(&c, 0);
    let (gone, publisher) = (c.client(1), c.client(1));
    c.send(publisher, &[publish(&channel, "a")]);
    c.store(&mut disk);
    assert_eq!(c.sees(publisher), [""; 0]);
    c.send(gone, &[publish(&channel, "b")]);
    c.send(publisher, &[publish(&channel, "c")]);
    c.settle();
    c.close(gone);
    let newcomer = c.client(1);
    assert_eq!(newcomer.1.slot(), gone.1.slot());
    fail(&mut c, 0);
    assert_eq!((c.sees(publisher), c.sees(newcomer)), (vec!["error 0 1011".into()], vec![]));
}

#[test]
fn publishers_at_leaves_are_held_back_while_too_much_waits_at_the_home() {
    let limits = Limits { peer_bytes: 80_000, ..Limits::default() };
    let (mut c, mut disk) = (Cluster::new(2, &Config { limits, ..config() }), Disk::default());
    let channel = safe(&c, 0);
    let publisher = c.client(1);
    let payload = "x".repeat(1_000);
    for n in 1..=30 {
        c.send(publisher, &[publish_with_id(n, &channel, &payload)]);
        c.settle();
    }
    assert_eq!(c.worlds[1].effects, [format!("pause {} true", publisher.1.slot())]);
    c.store(&mut disk);
    assert_eq!(c.sees(publisher).len(), 30);
    assert_eq!(disk.0[&channel].top, 30);
    // Those that could not be told in time are refused beyond a bound.
    let publisher = c.client(1);
    let all: Vec<_> = (1..=200).map(|n| publish_with_id(n, &channel, &payload)).collect();
    c.send(publisher, &all);
    c.store(&mut disk);
    let seen = c.sees(publisher);
    let refused = seen.iter().filter(|line| line.starts_with("error") && line.ends_with("1013")).count();
    let acked = seen.iter().filter(|line| line.starts_with("ack")).count();
    assert!(refused > 0 && acked >= 30 && refused + acked == 200, "{refused} {acked}");
    assert_eq!(disk.0[&channel].top, 30 + acked as u64);
}

#[test]
fn who_wants_nothing_of_the_disk_goes_on_at_a_leaf_too() {
    let limits = Limits { peer_bytes: 80_000, ..Limits::default() };
    let (mut c, mut disk) = (Cluster::new(2, &Config { limits, ..config() }), Disk::default());
    let safe = safe(&c, 0);
    let (first, second) = (c.channel_of(0), (0..).map(|n| format!("other:{n}")));
    let second = second.into_iter().find(|name| c.worlds[0].router.home(name).0 == 0).unwrap();
    let filler = c.client(0);
    for n in 1..=30 {
        c.send(filler, &[publish_with_id(n, &safe, &"x".repeat(1_000))]);
        c.settle();
    }
    let (waits, goes_on) = (c.client(1), c.client(1));
    c.send(waits, &[publish_with_id(1, &safe, "a")]);
    c.send(goes_on, &[publish_with_id(1, &first, "a"), subscribe(2, &second)]);
    assert_eq!(c.sees(goes_on), ["ack 1", "ack 2"]);
    assert_eq!(c.worlds[1].effects(), [format!("pause {} true", waits.1.slot())]);
    c.store(&mut disk);
    assert_eq!(disk.0[&safe].top, 31, "who was held back goes on");
    assert!(c.sees(waits)[0].starts_with("ack 1 at "));
}

#[test]
fn another_number_of_routers_takes_over_what_is_stored() {
    let (mut c, mut disk) = (Cluster::new(3, &config()), Disk::default());
    let channels: Vec<String> = (0..3).map(|home| safe(&c, home)).collect();
    let client = c.client(1);
    for channel in &channels {
        c.subscribe(client, channel);
        c.send(client, &[publish(channel, "a"), publish(channel, "b")]);
    }
    c.store(&mut disk);
    for count in [1, 2, 5, 3] {
        let mut c = Cluster::new(count, &config());
        c.worlds.iter_mut().for_each(|world| disk.restore(&mut world.router));
        let client = c.client(count - 1);
        for channel in &channels {
            let epoch = format!("{:08x}", disk.0[channel].epoch);
            let here = c.worlds.iter().filter(|world| world.router.restores(channel) == Restored::Here);
            assert_eq!(here.count(), 1, "one router has it");
            c.send(client, &[recover(1, channel, &epoch, 1)]);
            let seen = c.sees(client);
            assert_eq!(seen, [format!("ack 1 recovered true at {epoch}:2"), format!("{channel} b #2")]);
        }
    }
}
