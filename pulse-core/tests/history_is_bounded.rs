//! What all channels keep together is bounded, and the oldest of all gives way: publications, and idempotency keys where these
//! take more than half of the room.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{self, Frame, Payload, Point, Publish, Split};
use pulse_core::{Command, Config, ConnId, Heartbeat, Limits, Namespace, Now, Outcome, Router, Rules, Time};
use support::{Cluster, Dice, Disk, World, publish, publish_with_id, recover, subscribe};

/// Bytes that count for a publication beside its frame, and for an idempotency key of somebody without a user beside its text.
const PUBLICATION: usize = 64;
const NAME: usize = 80 + 5;

const SIZE: usize = 12;

/// Twelve publications and an hour of them in each channel, which is more than all may keep.
fn config(history_bytes: u64) -> Config {
    let rules = Rules {
        history_size: SIZE as u32,
        history_ttl_ms: 3_600_000,
        idempotency_window_ms: 3_600_000,
        ..Rules::default()
    };
    let namespaces = vec![
        Namespace { name: "kept".into(), rules },
        Namespace { name: "safe".into(), rules: Rules { durable: true, ..rules } },
        Namespace { name: "keys".into(), rules: Rules { history_per_key: true, ..rules } },
    ];
    let limits = Limits { history_bytes, ..Limits::default() };
    let heartbeat = Heartbeat { interval_ms: 0, ..Heartbeat::default() };
    Config { limits, namespaces, heartbeat, ..Config::default() }
}

/// Under an idempotency key.
fn once<'a>(id: u64, channel: &'a str, payload: &'a str, key: &'a str) -> Frame<'a> {
    let Frame::Publish(publish) = publish_with_id(id, channel, payload) else { unreachable!() };
    Frame::Publish(Publish { idempotency_key: Some(key), ..publish })
}

/// The numbers of what a channel keeps and the bytes that this counts for, as whoever reads its whole history sees it. Of what
/// has a key that counts too if `keyed`.
fn kept(router: &mut Router, channel: &str, keyed: bool) -> (Vec<u64>, usize) {
    let (mut numbers, mut bytes, mut since) = (vec![], 0, None);
    loop {
        let from = since.as_ref().map(|(epoch, offset): &(String, u64)| Point { epoch, offset: *offset });
        let command = Command::History { channel, since: from, limit: 1_000, reverse: false };
        let Ok(Outcome::History(frame)) = router.command(&command) else { panic!("{channel} has a history") };
        let Split::Frame { map, .. } = wire::split(&frame, frame.len()) else { panic!("it is a frame") };
        let Ok(Frame::History(page)) = wire::decode(map) else { panic!("it is a page") };
        let before = numbers.len();
        for publication in page.publications.expect("a page has a list").iter() {
            let mut frame = vec![];
            Frame::Publish(Publish { channel, ..publication }).encode(&mut frame);
            let key = publication.key.filter(|_| keyed).map_or(0, str::len);
            bytes += frame.len() + key + PUBLICATION;
            numbers.push(publication.offset.expect("it is numbered"));
        }
        if numbers.len() == before {
            return (numbers, bytes);
        }
        since = page.epoch.map(|epoch| (epoch.to_owned(), numbers[numbers.len() - 1]));
    }
}

fn numbers(w: &mut World, channel: &str) -> Vec<u64> {
    kept(&mut w.router, channel, false).0
}

/// What is kept, from the oldest on, by the rules as the documentation has them.
#[derive(Default)]
struct Model {
    bound: usize,
    /// Channel, number and cost.
    publications: Vec<(usize, u64, usize)>,
    /// Channel, number, name and cost.
    names: Vec<(usize, u64, String, usize)>,
    gone: [u64; 2],
}

impl Model {
    fn bytes(&self) -> [usize; 2] {
        let publications = self.publications.iter().map(|(.., cost)| cost).sum();
        [publications, self.names.iter().map(|(.., cost)| cost).sum()]
    }

    fn make_room(&mut self) {
        while self.bytes()[0] + self.bytes()[1] > self.bound {
            if self.bytes()[1] > self.bound / 2 {
                self.names.remove(0);
                self.gone[1] += 1;
            } else {
                self.publications.remove(0);
                self.gone[0] += 1;
            }
        }
    }

    fn note(&mut self, channel: usize, number: u64, name: String) {
        let cost = name.len() + NAME;
        self.names.push((channel, number, name, cost));
        self.make_room();
    }

    fn publish(&mut self, channel: usize, number: u64, cost: usize) {
        self.publications.push((channel, number, cost));
        let mut kept = self.publications.iter().enumerate().filter(|(_, it)| it.0 == channel);
        let (oldest, count) = (kept.next().map(|(at, _)| at), 1 + kept.count());
        if let Some(oldest) = oldest.filter(|_| count > SIZE) {
            self.publications.remove(oldest);
        }
        self.make_room();
    }

    fn of(&self, channel: usize) -> Vec<u64> {
        self.publications.iter().filter(|it| it.0 == channel).map(|it| it.1).collect()
    }
}

/// Publishes at random, one each millisecond, and compares with the model; `named` in ten have a key.
fn compare(seed: u64, bound: usize, named: usize) {
    let mut w = World::new(config(bound as u64));
    let (a, mut dice) = (w.client(), Dice(seed));
    let mut model = Model { bound, ..Model::default() };
    let channels: Vec<String> = (0..40).map(|n| format!("kept:{n}")).collect();
    let mut tops = vec![0; channels.len()];
    let payload = "x".repeat(2_000);
    for n in 0..4_000_usize {
        w.advance(1);
        // Some channels have more than others, and some nothing for a long time.
        let at = dice.roll(channels.len()).min(dice.roll(channels.len()));
        let payload = &payload[..dice.roll([10, 300, 2_000][n % 3])];
        tops[at] += 1;
        let name = (dice.roll(10) < named).then(|| format!("{n}{}", &"name".repeat(dice.roll(50))));
        let (key, number) = (name.as_deref().unwrap_or_default(), tops[at]);
        if name.is_some() {
            model.note(at, number, key.to_owned());
            w.send(a, &once(1, &channels[at], payload, key));
        } else {
            w.send(a, &publish_with_id(1, &channels[at], payload));
        }
        assert!(w.sees(a)[0].ends_with(&format!(":{number}")), "numbers go on");
        let (channel, payload) = (channels[at].as_str(), Payload::from(payload.as_bytes()));
        let (mut frame, time) = (vec![], Some(w.now_ms));
        let sent = Publish { channel, payload, offset: Some(number), time, ..Publish::default() };
        Frame::Publish(sent).encode(&mut frame);
        model.publish(at, number, frame.len() + PUBLICATION);

        let stats = w.router.stats();
        let [publications, names] = model.bytes();
        assert!(stats.history_bytes <= bound as u64);
        assert_eq!(stats.history_bytes, (publications + names) as u64, "{n}");
        let counts = [stats.history_publications, stats.history_keys];
        assert_eq!(counts, [model.publications.len() as u64, model.names.len() as u64], "{n}");
        assert_eq!([stats.history_evicted, stats.history_keys_evicted], model.gone, "{n}");
        if n % 100 == 0 {
            let mut all = 0;
            for (at, channel) in channels.iter().enumerate() {
                let (numbers, bytes) = kept(&mut w.router, channel, false);
                assert_eq!(numbers, model.of(at), "{channel} after {n}");
                all += bytes;
            }
            assert_eq!(all, publications);
        }
    }
    // The names that the model knows, and no other.
    for (at, number, name, _) in std::mem::take(&mut model.names) {
        w.send(a, &once(1, &channels[at], "again", &name));
        assert!(w.sees(a)[0].ends_with(&format!(":{number}")), "{name} is known");
    }
}

#[test]
fn the_oldest_of_all_channels_give_way_and_the_rest_stays() {
    for (seed, bound, named) in [(7, 100_000, 0), (8, 60_000, 2), (9, 60_000, 10), (10, 20_000, 10)] {
        compare(seed, bound, named);
    }
}

#[test]
fn whoever_comes_back_is_told_what_gave_way() {
    let mut w = World::new(config(4_000));
    let (a, b) = (w.client(), w.client());
    w.send_all(a, &[publish("kept:x", "1"), publish("kept:x", "2"), publish("kept:x", "3")]);
    let (epoch, _) = w.position(a, "kept:x");
    w.advance(1);
    let large = "y".repeat(3_750);
    w.send(a, &publish("kept:y", &large));
    assert_eq!((numbers(&mut w, "kept:x"), w.router.stats().history_evicted), (vec![3], 2));
    w.send_all(b, &[recover(1, "kept:x", &epoch, 1), recover(2, "kept:y", "00000000", 0)]);
    assert_eq!(w.sees(b)[0], format!("ack 1 recovered false at {epoch}:3"), "2 is missing");
    let c = w.client();
    w.send(c, &recover(1, "kept:x", &epoch, 2));
    assert_eq!(w.sees(c), [format!("ack 1 recovered true at {epoch}:3"), "kept:x 3 #3".into()]);
    w.send(a, &publish_with_id(4, "kept:x", "4"));
    assert_eq!(w.sees(a), [format!("ack 4 at {epoch}:4")], "the epoch and the numbers are the same");
}

#[test]
fn who_is_behind_when_the_rest_gives_way_is_told_of_the_gap() {
    let mut config = config(400_000);
    config.namespaces[0].rules.history_size = 1_000;
    let mut w = World::new(config);
    let (a, slow) = (w.client(), w.client());
    let (epoch, _) = w.position(a, "kept:x");
    let payload = "x".repeat(60_000);
    (0..5).for_each(|_| w.send(a, &publish("kept:x", &payload)));
    w.drain();
    w.advance(1);
    w.send(slow, &recover(1, "kept:x", &epoch, 0));
    // It takes the ack and the first page, and then nothing.
    while let Some(batch) = w.router.poll_write() {
        let is_page = batch.payload().len() > 60_000;
        if is_page {
            break;
        }
    }
    w.router.set_writable(slow, false);
    (0..6).for_each(|_| w.send(a, &publish("kept:y", &payload)));
    w.advance(1);
    assert_eq!(numbers(&mut w, "kept:x"), [0_u64; 0], "all of it gave way");
    w.take(slow);
    w.router.set_writable(slow, true);
    let seen = w.sees(slow);
    assert_eq!(seen.last().map(String::as_str), Some("gap kept:x 4 trimmed"), "{} lines", seen.len());
    w.send(a, &publish("kept:x", "new"));
    assert_eq!(w.sees(slow), ["kept:x new #6"]);
}

#[test]
fn one_that_is_larger_than_all_may_be_takes_its_channel_along_and_no_other() {
    let mut w = World::new(config(4_000));
    let a = w.client();
    let large = "y".repeat(4_000);
    w.send_all(a, &[publish("kept:x", "1"), publish("kept:y", "1"), publish("kept:y", &large)]);
    w.send(a, &publish("kept:z", &large));
    let epoch = w.position(a, "kept:y").0;
    let kept = ["kept:x", "kept:y", "kept:z"].map(|channel| numbers(&mut w, channel));
    assert_eq!(kept, [vec![1], vec![], vec![]]);
    let stats = w.router.stats();
    assert_eq!((stats.history_publications, stats.history_evicted), (1, 3));
    w.send_all(a, &[recover(1, "kept:y", &epoch, 2), publish("kept:y", "3")]);
    let seen = [format!("ack 1 recovered true at {epoch}:2"), "kept:y 3 #3".into()];
    assert_eq!(w.sees(a)[..], seen, "who has it has missed nothing");
}

#[test]
fn keys_stay_while_publications_can_give_way_up_to_half_of_the_room() {
    let bound = 4_000;
    let mut w = World::new(config(bound));
    let a = w.client();
    let half = bound / 2 / (NAME as u64 + 3);
    for n in 0..half {
        w.send(a, &once(n, &format!("kept:{}", n % 3), "x", &format!("{n:03}")));
        w.advance(1);
    }
    let large = "y".repeat(3_000);
    for _ in 0..3 {
        w.send(a, &publish("kept:x", &large));
        w.advance(1);
    }
    let stats = w.router.stats();
    assert_eq!((stats.history_keys, stats.history_keys_evicted), (half, 0));
    assert_eq!(stats.history_publications, 0, "there is no room for one beside the keys");
    w.take(a);
    w.send(a, &once(1, "kept:0", "x", "000"));
    assert!(w.sees(a)[0].ends_with(":1"), "the oldest is known");

    for n in half..half + 40 {
        w.send(a, &once(n, "kept:more", "x", &format!("{n:03}")));
        w.advance(1);
    }
    let stats = w.router.stats();
    assert!(stats.history_bytes <= bound && stats.history_keys_evicted > 0, "{stats:?}");
    assert!(stats.history_publications > 10, "keys leave the other half to publications");
    w.take(a);
    let top = w.position(a, "kept:0").1;
    w.send_all(a, &[once(1, "kept:0", "x", "000"), once(2, "kept:more", "x", &format!("{:03}", half + 39))]);
    let seen = w.sees(a);
    assert!(seen[0].ends_with(&format!(":{}", top + 1)), "the oldest is published again");
    assert!(seen[1].ends_with(":40"), "and the newest is not");
}

#[test]
fn a_bound_of_nothing_keeps_nothing_and_all_else_works() {
    for bound in [0, 1, 100, 200] {
        let mut w = World::new(config(bound));
        let (a, reader) = (w.client(), w.client());
        w.subscribe(reader, "kept:x");
        let (epoch, _) = w.position(a, "kept:x");
        let long = "k".repeat(255);
        for n in 0..5 {
            w.send(a, &once(n, "kept:x", "x", &long));
            w.send(a, &publish("keys:x", "x"));
            w.advance(1_000);
        }
        let acks: Vec<_> = (1..=5).map(|n| format!("ack {} at {epoch}:{n}", n - 1)).collect();
        assert_eq!(w.sees(a), acks, "no repeat is known");
        assert_eq!(w.sees(reader).len(), 5);
        assert!(w.router.stats().history_bytes <= bound);
        w.send_all(a, &[recover(8, "kept:x", &epoch, 5), recover(9, "keys:x", &epoch, 0)]);
        assert_eq!(w.sees(a)[0], format!("ack 8 recovered true at {epoch}:5"), "there is nothing to miss");
        w.router.closed(a);
        w.router.closed(reader);
        w.advance(4_000_000);
        assert_eq!((w.router.stats().channels, w.router.poll_timeout()), (0, None));
    }
}

#[test]
fn what_is_too_old_or_forgotten_is_not_counted_any_more() {
    let mut w = World::new(config(1_000));
    let a = w.client();
    w.subscribe(a, "kept:x");
    w.send_all(a, &[once(1, "kept:x", "x", "k"), once(2, "kept:y", "y", "k"), publish("keys:x", "z")]);
    let stats = w.router.stats();
    assert_eq!((stats.history_publications, stats.history_keys), (3, 2));
    w.advance(3_600_000);
    w.advance(1_000);
    let stats = w.router.stats();
    assert_eq!((stats.history_publications, stats.history_keys, stats.history_bytes), (0, 0, 0));
    assert_eq!((stats.channels, stats.history_evicted), (1, 0), "nothing of it gave way");
    for n in 0..20 {
        w.send(a, &once(1, "kept:x", &"x".repeat(100), &n.to_string()));
        w.advance(1);
    }
    let stats = w.router.stats();
    assert!(stats.history_evicted > 0 && stats.history_bytes <= 1_000, "{stats:?}");
}

#[test]
fn channels_that_give_way_to_new_ones_free_their_room() {
    let mut config = config(10_000);
    config.limits.max_channels = 10;
    let mut w = World::new(config);
    let (a, mut dice) = (w.client(), Dice(3));
    for n in 0..2_000 {
        let channel = format!("kept:{}", dice.roll(30));
        w.send(a, &once(1, &channel, &"x".repeat(dice.roll(400)), &n.to_string()));
        w.advance(1);
        let stats = w.router.stats();
        assert!(stats.channels <= 10 && stats.history_bytes <= 10_000 && stats.history_publications > 0);
    }
    let names: Vec<String> = (0..30).map(|n| format!("kept:{n}")).collect();
    let exist: Vec<&String> = names.iter().filter(|name| w.router.top(name).is_some()).collect();
    let publications: u64 = exist.iter().map(|name| numbers(&mut w, name).len() as u64).sum();
    assert_eq!(publications, w.router.stats().history_publications);
}

#[test]
fn the_newest_of_each_key_count_as_they_are_kept() {
    let bound = 8_000;
    let mut w = World::new(config(bound));
    let (a, mut dice) = (w.client(), Dice(5));
    let channels: Vec<String> = (0..8).map(|n| format!("keys:{n}")).collect();
    for n in 0..3_000_u64 {
        let payload = "x".repeat(dice.roll(200));
        let key = ["a", "bb", "ccc", "dddd", "eeeee"][dice.roll(5)];
        let Frame::Publish(publish) = publish(&channels[dice.roll(8)], &payload) else { unreachable!() };
        let key = (dice.roll(4) > 0).then_some(key);
        let version = key.and_then(|_| (dice.roll(2) > 0).then_some(n));
        w.send(a, &Frame::Publish(Publish { key, version, ..publish }));
        w.advance(1);
        let stats = w.router.stats();
        assert!(stats.history_bytes <= bound);
        if n % 50 == 0 {
            let (mut count, mut bytes) = (0, 0);
            for channel in &channels {
                let (numbers, size) = kept(&mut w.router, channel, true);
                (count, bytes) = (count + numbers.len(), bytes + size);
            }
            assert_eq!((stats.history_publications, stats.history_bytes), (count as u64, bytes as u64));
        }
    }
    assert!(w.router.stats().history_evicted > 100);
}

#[test]
fn each_of_several_routers_has_its_share() {
    let mut cluster = Cluster::new(2, &config(20_000));
    let a = cluster.client(0);
    for n in 0..400 {
        let channel = format!("kept:{}", n % 40);
        cluster.send(a, &[once(1, &channel, &"x".repeat(100), &n.to_string())]);
        cluster.worlds.iter_mut().for_each(|world| world.advance(1));
        cluster.settle();
    }
    for at in 0..2 {
        let bytes = cluster.router(at).stats().history_bytes;
        assert!((9_000..=10_000).contains(&bytes), "{bytes}");
    }
}

/// What 40 publications in turn into five channels are, counted from 0, as far as they are kept.
fn kept_in_turn(w: &mut World, namespace: &str) -> Vec<u64> {
    let mut all: Vec<u64> = vec![];
    for channel in 0..5 {
        let numbers = numbers(w, &format!("{namespace}:{channel}"));
        all.extend(numbers.iter().map(|number| (number - 1) * 5 + channel));
    }
    all.sort_unstable();
    all
}

/// Publishes into channels on disk, one each ten milliseconds, and stores all of it.
fn publish_durably(w: &mut World, disk: &mut Disk, a: ConnId, count: usize) {
    for n in 0..count {
        w.send(a, &once(1, &format!("safe:{}", n % 5), &"x".repeat(100), &format!("{n:04}")));
        w.store(disk);
        w.advance(10);
    }
}

fn on_disk(disk: &Disk) -> [usize; 2] {
    let channels = disk.0.values();
    let counts = channels.map(|channel| [channel.entries.len(), channel.names.len()]);
    counts.fold([0, 0], |all, one| [all[0] + one[0], all[1] + one[1]])
}

#[test]
fn what_gives_way_goes_from_the_disk_too() {
    let mut w = World::new(config(4_000));
    let (a, mut disk) = (w.client(), Disk::default());
    publish_durably(&mut w, &mut disk, a, 40);
    w.store(&mut disk);
    let stats = w.router.stats();
    assert!(stats.history_evicted > 0 && stats.history_keys_evicted > 0, "{stats:?}");
    assert_eq!(on_disk(&disk), [stats.history_publications as usize, stats.history_keys as usize]);
    for n in 0..5 {
        let channel = format!("safe:{n}");
        assert_eq!(disk.numbers(&channel), numbers(&mut w, &channel));
        assert_eq!(disk.0[&channel].top, 8);
    }
}

#[test]
fn a_start_takes_the_newest_of_what_is_on_disk_and_the_rest_goes() {
    let mut w = World::new(config(1 << 20));
    let (a, mut disk) = (w.client(), Disk::default());
    publish_durably(&mut w, &mut disk, a, 40);
    let epochs: Vec<u32> = disk.0.values().map(|stored| stored.epoch).collect();
    assert_eq!(on_disk(&disk), [40, 40]);

    let mut less = World::new(config(6_000));
    less.advance(1_000);
    disk.restore(&mut less.router);
    let stats = less.router.stats();
    assert!(stats.history_bytes <= 6_000 && stats.history_bytes > 5_500, "{stats:?}");
    less.store(&mut disk);
    assert_eq!(on_disk(&disk), [stats.history_publications as usize, stats.history_keys as usize]);
    let after: Vec<u32> = disk.0.values().map(|stored| stored.epoch).collect();
    assert_eq!(epochs, after, "epochs stay");
    // 0 to 39 in turn into five channels: the newest of all are kept.
    let newest: Vec<u64> = (40 - stats.history_publications..40).collect();
    assert_eq!(kept_in_turn(&mut less, "safe"), newest);
    assert_eq!(disk.numbers("safe:4"), numbers(&mut less, "safe:4"));
    let a = less.client();
    less.send_all(a, &[once(1, "safe:4", "x", "0039"), once(2, "safe:0", "x", "0000")]);
    less.store(&mut disk);
    let seen = less.sees(a);
    assert!(seen.iter().any(|ack| ack.starts_with("ack 1 ") && ack.ends_with(":8")), "{seen:?}");
    assert!(seen.iter().any(|ack| ack.starts_with("ack 2 ") && ack.ends_with(":9")), "{seen:?}");
}

#[test]
fn channels_that_move_in_keep_the_newest_of_what_they_bring() {
    let mut old = World::new(config(1 << 20));
    let a = old.client();
    for n in 0..40 {
        old.send(a, &once(1, &format!("kept:{}", n % 5), &"x".repeat(100), &format!("{n:04}")));
        old.advance(1);
    }
    let positions: Vec<_> = (0..5).map(|n| old.position(a, &format!("kept:{n}"))).collect();
    let mut moved = vec![];
    assert!(old.router.export_channels(&mut moved));
    let mut new = World::new(config(6_000));
    new.router.advance(Now { mono: Time(7_000_000), unix_ms: 0 });
    new.router.import_channels(&moved).expect("it was exported");
    let stats = new.router.stats();
    assert!(stats.history_bytes <= 6_000 && stats.history_bytes > 5_500, "{stats:?}");
    let newest: Vec<u64> = (40 - stats.history_publications..40).collect();
    assert_eq!(kept_in_turn(&mut new, "kept"), newest);
    let b = new.client();
    let after: Vec<_> = (0..5).map(|n| new.position(b, &format!("kept:{n}"))).collect();
    assert_eq!(positions, after, "epochs and numbers stay");
    new.send_all(b, &[subscribe(1, "kept:0"), recover(2, "kept:1", &positions[1].0, 0)]);
    assert!(new.sees(b)[1].starts_with("ack 2 recovered false"));
}

#[test]
fn what_comes_without_keys_from_the_disk_or_another_router_is_bounded_before_anything_else_comes() {
    let mut w = World::new(config(1 << 20));
    let (a, mut disk) = (w.client(), Disk::default());
    for n in 0..40 {
        let payload = "x".repeat(100);
        for kind in ["kept", "safe"] {
            w.send(a, &publish(&format!("{kind}:{}", n % 5), &payload));
        }
        w.store(&mut disk);
        w.advance(1);
    }
    let mut moved = vec![];
    assert!(w.router.export_channels(&mut moved));
    for (moves, kind) in [(false, "safe"), (true, "kept")] {
        let mut w = World::new(config(4_000));
        w.advance(1_000);
        if moves {
            w.router.import_channels(&moved).expect("it was exported");
        } else {
            disk.restore(&mut w.router);
        }
        let stats = w.router.stats();
        assert!(stats.history_bytes <= 4_000 && stats.history_bytes > 3_500, "{kind}: {stats:?}");
        let newest = kept_in_turn(&mut w, kind);
        assert_eq!(newest, (40 - newest.len() as u64..40).collect::<Vec<u64>>(), "{kind}");
    }
}
