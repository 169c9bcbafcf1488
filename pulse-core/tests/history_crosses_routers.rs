//! Several routers: history is asked for at its home, positions hold everywhere, and nothing is lost in silence when routers
//! lose each other, take too little or hand over to others.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::{Config, ConnId, Limits, Namespace, Rules};
use support::{Cluster, Dice, World, history, publish, publish_with_id, recover, subscribe, unsubscribe};

type Client = (u16, ConnId);

fn config(size: u32) -> Config {
    let rules = Rules { history_size: size, history_bytes: 1 << 24, ..Rules::default() };
    Config { namespaces: vec![Namespace { name: "kept".into(), rules }], ..Config::default() }
}

/// A channel with history that is at home at this router.
fn kept(c: &Cluster, home: u16) -> String {
    (0..).map(|n| format!("kept:{n}")).find(|name| c.worlds[0].router.home(name).0 == home).unwrap()
}

fn position(c: &mut Cluster, client: Client, channel: &str) -> (String, u64) {
    c.send(client, &[history(99, channel, None, Some(0), None)]);
    let seen = c.sees(client);
    let position =
        seen.iter().find_map(|line| line.strip_prefix("history 99:  of ")).expect("it is answered");
    let (epoch, offset) = position.split_once(':').unwrap();
    (epoch.into(), offset.parse().unwrap())
}

fn numbered(channel: &str, numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|n| format!("{channel} {n} #{n}")).collect()
}

fn publish_numbers(c: &mut Cluster, client: Client, channel: &str, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        c.send(client, &[publish(channel, &n.to_string())]);
        c.settle();
    }
}

#[test]
fn positions_and_what_came_behind_them_are_the_same_at_every_router() {
    let mut c = Cluster::new(3, &config(10));
    for home in 0..3 {
        let channel = kept(&c, home);
        let publisher = c.client(1);
        publish_numbers(&mut c, publisher, &channel, 1..=4);
        let (epoch, _) = position(&mut c, publisher, &channel);
        c.send(publisher, &[publish_with_id(7, &channel, "5")]);
        assert_eq!(c.sees(publisher), [format!("ack 7 at {epoch}:5")]);
        for at in 0..3 {
            let client = c.client(at);
            c.send(client, &[recover(1, &channel, &epoch, 3), recover(2, "kept:none", "00000000", 0)]);
            let seen: Vec<String> =
                c.sees(client).into_iter().filter(|line| !line.starts_with("ack 2")).collect();
            let ack = format!("ack 1 recovered true at {epoch}:5");
            assert_eq!(seen, [vec![ack], numbered(&channel, 4..=5)].concat(), "home {home}, at {at}");
            let other = c.client(at);
            c.send(other, &[recover(1, &channel, &epoch, 6)]);
            assert_eq!(c.sees(other), [format!("ack 1 recovered false at {epoch}:5")], "above the top");
            c.close(client);
            c.close(other);
        }
        let (one, other) = (c.client(0), c.client(2));
        c.send(one, &[subscribe(1, &channel)]);
        c.send(other, &[recover(1, &channel, &epoch, 5)]);
        assert_eq!(c.sees(one), [format!("ack 1 at {epoch}:5")]);
        assert_eq!(c.sees(other), [format!("ack 1 recovered true at {epoch}:5")]);
        publish_numbers(&mut c, publisher, &channel, 6..=6);
        assert_eq!((c.sees(one), c.sees(other)), (numbered(&channel, 6..=6), numbered(&channel, 6..=6)));
    }
}

#[test]
fn live_publications_wait_behind_pages_that_are_still_to_come() {
    let mut c = Cluster::new(2, &config(10_000));
    let channel = kept(&c, 0);
    let (publisher, reader, live) = (c.client(0), c.client(1), c.client(1));
    c.subscribe(live, &channel);
    let payload = "x".repeat(1_000);
    for _ in 0..500 {
        c.send(publisher, &[publish(&channel, &payload)]);
    }
    let (epoch, _) = position(&mut c, publisher, &channel);
    c.sees(live);
    c.delay(0, 1);
    c.send(reader, &[recover(1, &channel, &epoch, 100)]);
    let (mut rounds, mut seen) = (0, vec![]);
    while seen.len() < 500 {
        // Something is published before each answer of the home.
        c.send(publisher, &[publish(&channel, "live")]);
        c.settle();
        c.carry(0, 1);
        let new = c.sees(reader);
        assert!(new.len() <= 70, "a page at a time: {}", new.len());
        seen.extend(new);
        rounds += 1;
        assert!(rounds < 1_000, "no page comes any more: {} are here", seen.len());
    }
    assert!(rounds > 6, "{rounds}");
    c.reopen(0, 1);
    seen.extend(c.sees(reader));
    assert_eq!(seen.remove(0), format!("ack 1 recovered true at {epoch}:501"));
    let numbers: Vec<u64> =
        seen.iter().map(|line| line.split_once('#').unwrap().1.parse().unwrap()).collect();
    assert!(numbers.into_iter().eq(101..=500 + rounds));
}

#[test]
fn many_who_come_back_at_once_all_get_their_pages() {
    let mut c = Cluster::new(2, &config(10_000));
    let channel = kept(&c, 0);
    let publisher = c.client(0);
    for _ in 0..150 {
        c.send(publisher, &[publish(&channel, &"x".repeat(1_000))]);
    }
    let (epoch, _) = position(&mut c, publisher, &channel);
    let readers: Vec<Client> = (0..60).map(|_| c.client(1)).collect();
    for reader in &readers {
        c.send(*reader, &[recover(1, &channel, &epoch, 0)]);
    }
    // Some go while they wait for their turn, and one takes nothing.
    c.delay(0, 1);
    c.settle();
    c.reopen(0, 1);
    for reader in &readers[..30] {
        c.worlds[1].router.closed(reader.1);
        c.worlds[1].take(reader.1);
    }
    c.router(1).set_writable(readers[30].1, false);
    for reader in &readers[31..] {
        assert_eq!(c.sees(*reader).len(), 151);
    }
    c.router(1).set_writable(readers[30].1, true);
    assert_eq!(c.sees(readers[30]).len(), 151);
}

#[test]
fn whoever_was_not_told_yet_fails_with_the_home_and_the_others_go_on_when_it_is_back() {
    let mut c = Cluster::new(2, &config(10_000));
    let channel = kept(&c, 0);
    let (publisher, early, late) = (c.client(0), c.client(1), c.client(1));
    for _ in 0..200 {
        c.send(publisher, &[publish(&channel, &"x".repeat(1_000))]);
    }
    let (epoch, _) = position(&mut c, publisher, &channel);
    c.router(1).set_writable(early.1, false);
    c.send(early, &[recover(1, &channel, &epoch, 10)]);
    c.settle();
    c.delay(1, 0);
    c.send(late, &[recover(1, &channel, &epoch, 10)]);
    c.settle();
    c.part(0, 1);
    assert_eq!(c.sees(late), ["error 1 1011"]);
    c.send(publisher, &[publish(&channel, "while away")]);
    c.router(1).set_writable(early.1, true);
    assert_eq!(c.sees(early), [format!("ack 1 recovered true at {epoch}:200")], "it waits for the home");
    c.rejoin(0, 1);
    let seen = c.sees(early);
    let numbers: Vec<u64> =
        seen.iter().map(|line| line.split_once('#').expect(line).1.parse().unwrap()).collect();
    assert!(numbers.into_iter().eq(11..=201));
    assert_eq!(c.router(1).stats().subscriptions, 1);
}

#[test]
fn who_waits_for_a_home_that_begins_anew_is_told_of_the_gap() {
    let mut config = config(10_000);
    config.namespaces[0].rules.history_ttl_ms = 1_000;
    let mut c = Cluster::new(2, &config);
    let channel = kept(&c, 0);
    let (publisher, reader) = (c.client(0), c.client(1));
    for _ in 0..200 {
        c.send(publisher, &[publish(&channel, &"x".repeat(1_000))]);
    }
    let (epoch, _) = position(&mut c, publisher, &channel);
    c.router(1).set_writable(reader.1, false);
    c.send(reader, &[recover(1, &channel, &epoch, 10)]);
    c.settle();
    c.part(0, 1);
    c.worlds[0].advance(5_000);
    assert_eq!(c.router(0).top(&channel), None);
    c.rejoin(0, 1);
    c.send(publisher, &[publish(&channel, "in the gap")]);
    c.settle();
    c.router(1).set_writable(reader.1, true);
    let gap = format!("gap {channel} some peer_lost");
    assert_eq!(c.sees(reader), [format!("ack 1 recovered true at {epoch}:200"), gap]);
    c.send(publisher, &[publish(&channel, "behind it")]);
    assert_eq!(c.sees(reader), [format!("{channel} behind it #2")]);
}

#[test]
fn who_leaves_before_it_is_decided_is_answered_and_may_come_again_at_once() {
    let mut c = Cluster::new(2, &config(100));
    let channel = kept(&c, 0);
    let (publisher, reader) = (c.client(0), c.client(1));
    publish_numbers(&mut c, publisher, &channel, 1..=5);
    let (epoch, _) = position(&mut c, publisher, &channel);
    c.delay(1, 0);
    c.send(
        reader,
        &[recover(1, &channel, &epoch, 1), unsubscribe(2, &channel), recover(3, &channel, &epoch, 3)],
    );
    assert_eq!(c.sees(reader), ["ack 1 recovered false", "ack 2"]);
    c.reopen(1, 0);
    let ack = format!("ack 3 recovered true at {epoch}:5");
    assert_eq!(c.sees(reader), [vec![ack], numbered(&channel, 4..=5)].concat());
}

#[test]
fn what_the_home_left_out_is_a_gap_for_the_others_and_not_for_who_recovers_it() {
    let mut config = config(10_000);
    config.limits = Limits { peer_bytes: 1 << 20, ..Limits::default() };
    let mut c = Cluster::new(3, &config);
    let channel = kept(&c, 1);
    let (publisher, live, reader) = (c.client(2), c.client(0), c.client(0));
    c.subscribe(live, &channel);
    let (epoch, _) = position(&mut c, publisher, &channel);
    // Two MiB are on their way to the home before it learns that its leaf takes nothing.
    c.shut(1, 0);
    c.delay(2, 1);
    for _ in 0..200 {
        c.send(publisher, &[publish(&channel, &"x".repeat(10_000))]);
    }
    c.reopen(2, 1);
    c.send(reader, &[recover(1, &channel, &epoch, 0)]);
    c.settle();
    c.reopen(1, 0);
    let seen = c.sees(reader);
    assert_eq!(seen[0], format!("ack 1 recovered true at {epoch}:200"));
    let numbers = seen[1..].iter().map(|line| line.split_once('#').expect(line).1.parse::<u64>().unwrap());
    assert!(numbers.eq(1..=200));
    let told = c.sees(live);
    let got = told.iter().filter(|line| line.contains('#')).count();
    assert!((100..110).contains(&got), "a MiB is kept: {got}");
    assert_eq!(told[got..], [format!("gap {channel} {} overloaded", 200 - got)]);
}

#[test]
fn a_home_without_room_refuses_whoever_wants_to_recover() {
    let mut config = config(100);
    config.limits = Limits { max_channels: 2, ..Limits::default() };
    let mut c = Cluster::new(2, &config);
    let names: Vec<String> = (0..)
        .map(|n| format!("kept:{n}"))
        .filter(|name| c.worlds[0].router.home(name).0 == 0)
        .take(2)
        .collect();
    let (holder, reader) = (c.client(0), c.client(1));
    c.subscribe(holder, &names[0]);
    c.send(
        reader,
        &[
            recover(1, &names[1], "00000000", 3),
            publish_with_id(2, &names[1], "x"),
            history(3, &names[1], None, None, None),
        ],
    );
    assert_eq!(c.sees(reader), ["error 1 1013", "error 2 1013", "error 3 1013"]);
    assert_eq!(c.router(1).stats().subscriptions, 0);
}

/// Exports all of a cluster and imports it into one of another size. Returns where each client is now.
fn move_all(c: &mut Cluster, count: u16, config: &Config, clients: &[Client]) -> (Cluster, Vec<Client>) {
    c.settle();
    let exports: Vec<Vec<u8>> = c
        .worlds
        .iter()
        .map(|world| {
            let mut out = vec![];
            world.router.export_channels(&mut out);
            out
        })
        .collect();
    let mut next = Cluster::new(count, config);
    for world in &mut next.worlds {
        exports.iter().for_each(|export| world.router.import_channels(export).expect("it is an export"));
    }
    let moved = clients.iter().map(|&(at, conn)| {
        let mut session = vec![];
        assert!(c.router(at).export(conn, &mut session));
        let to = at % count;
        (to, next.router(to).import(0, &session).expect("it is an export"))
    });
    let moved = moved.collect();
    (next, moved)
}

#[test]
fn another_number_of_routers_keeps_epochs_numbers_and_history() {
    let config = config(10);
    let mut c = Cluster::new(2, &config);
    let publisher = c.client(0);
    let channels: Vec<String> = (0..12).map(|n| format!("kept:{n}")).collect();
    for channel in &channels {
        publish_numbers(&mut c, publisher, channel, 1..=12);
    }
    let positions: Vec<_> = channels.iter().map(|channel| position(&mut c, publisher, channel)).collect();
    let reader = c.client(1);
    channels[..6].iter().for_each(|channel| c.subscribe(reader, channel));
    for count in [5, 1] {
        let (mut next, moved) = move_all(&mut c, count, &config, &[reader]);
        let publisher = next.client(0);
        for (channel, position) in channels.iter().zip(&positions) {
            assert_eq!(&self::position(&mut next, publisher, channel), position, "{channel}");
            let client = next.client(count - 1);
            next.send(client, &[recover(1, channel, &position.0, 5)]);
            let ack = format!("ack 1 recovered true at {}:12", position.0);
            assert_eq!(next.sees(client), [vec![ack], numbered(channel, 6..=12)].concat());
        }
        assert_eq!(next.sees(moved[0]), Vec::<String>::new(), "it has missed nothing");
        publish_numbers(&mut next, publisher, &channels[0], 13..=13);
        assert_eq!(next.sees(moved[0]), numbered(&channels[0], 13..=13));
    }
}

#[test]
fn a_session_that_moves_while_it_catches_up_goes_on_where_it_was() {
    let config = config(1_000);
    let mut c = Cluster::new(1, &config);
    let (publisher, reader) = (c.client(0), c.client(0));
    let channel = "kept:x";
    publish_numbers(&mut c, publisher, channel, 1..=50);
    let (epoch, _) = position(&mut c, publisher, channel);
    c.router(0).set_writable(reader.1, false);
    c.send(reader, &[recover(1, channel, &epoch, 20)]);
    let (mut next, moved) = move_all(&mut c, 3, &config, &[reader]);
    let publisher = next.client(1);
    publish_numbers(&mut next, publisher, channel, 51..=52);
    next.router(0).set_writable(moved[0].1, true);
    let seen = next.sees(moved[0]);
    assert_eq!(seen[0], format!("ack 1 recovered true at {epoch}:50"));
    assert_eq!(seen[1..], numbered(channel, 21..=52));
    let mut old = World::new(config);
    let mut session = vec![];
    assert!(next.router(0).export(moved[0].1, &mut session));
    let alone = old.router.import(0, &session).unwrap();
    assert_eq!(
        old.sees(alone),
        [format!("gap {channel} some moved")],
        "a router that knows nothing of the channel"
    );
}

#[test]
fn an_export_with_other_publications_than_it_says_is_refused() {
    let mut w = World::new(config(10));
    let a = w.client();
    w.send(a, &publish("kept:x", "hello"));
    w.drain();
    let mut export = vec![];
    w.router.export_channels(&mut export);
    for at in 2..export.len() {
        let mut other = World::new(config(10));
        let mut bytes = export.clone();
        bytes[at] ^= 1;
        let imported = other.router.import_channels(&bytes).is_ok();
        // A changed epoch, age or payload is one as good as another; nothing else goes through, and nothing panics.
        if imported {
            let reader = other.client();
            other.send(reader, &history(1, "kept:x", None, None, None));
            assert!(other.sees(reader)[0].starts_with("history 1: "), "{at}");
        }
    }
    assert!(World::new(config(10)).router.import_channels(&export[..export.len() - 1]).is_err());
}

/// Routers lose each other, take nothing for a while, and readers of all speeds come back at any of them.
#[test]
fn whatever_happens_between_routers_numbers_rise_without_a_hole_that_is_not_told() {
    let (mut received, mut gaps) = (0, 0);
    for seed in 1..30 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let mut config = config(20 + dice.roll(100) as u32);
        config.limits = Limits { peer_bytes: 100_000, ..Limits::default() };
        let mut c = Cluster::new(3, &config);
        let channel = kept(&c, 0);
        let publisher = c.client(0);
        let (epoch, mut had) = position(&mut c, publisher, &channel);
        assert_eq!(had, 0);
        let mut readers: Vec<Reader> =
            (0..5).map(|n| Reader { client: c.client(n % 3), had: Some(0), inside: false }).collect();
        for _ in 0..300 {
            let at = dice.roll(5);
            let client = readers[at].client;
            let peer = 1 + dice.roll(2) as u16;
            match dice.roll(14) {
                0..=3 => {
                    let text = "x".repeat(dice.roll(6_000));
                    (0..dice.roll(10)).for_each(|_| c.send(publisher, &[publish(&channel, &text)]));
                }
                4 => c.router(client.0).set_writable(client.1, false),
                5 | 6 => c.router(client.0).set_writable(client.1, true),
                7 => {
                    c.part(0, peer);
                    c.rejoin(0, peer);
                }
                8 if dice.roll(2) == 0 => c.shut(0, peer),
                8 => c.shut(peer, 0),
                9 => {
                    c.reopen(0, peer);
                    c.reopen(peer, 0);
                }
                10 if readers[at].inside => {
                    c.close(client);
                    c.worlds[usize::from(client.0)].take(client.1);
                    let to = dice.roll(3) as u16;
                    readers[at] = Reader { client: c.client(to), inside: false, ..readers[at] };
                }
                _ if !readers[at].inside => {
                    let since = readers[at].had.unwrap_or(0);
                    c.send(client, &[recover(1, &channel, &epoch, since)]);
                    readers[at].inside = true;
                }
                _ => {}
            }
            c.settle();
            readers.iter_mut().for_each(|reader| reader.note(&mut c, &epoch, &mut received, &mut gaps, seed));
        }
        for peer in 1..3 {
            c.reopen(0, peer);
            c.reopen(peer, 0);
        }
        (_, had) = position(&mut c, publisher, &channel);
        for mut reader in readers {
            c.router(reader.client.0).set_writable(reader.client.1, true);
            reader.note(&mut c, &epoch, &mut received, &mut gaps, seed);
            if !reader.inside {
                c.send(reader.client, &[recover(1, &channel, &epoch, reader.had.unwrap_or(0))]);
                reader.note(&mut c, &epoch, &mut received, &mut gaps, seed);
            }
            if let Some(number) = reader.had {
                assert_eq!(number, had, "seed {seed}: {:?}", reader.client);
            }
        }
    }
    assert!(received > 10_000 && gaps > 20, "{received} {gaps}");
}

#[derive(Clone, Copy)]
struct Reader {
    client: Client,
    /// The newest number that it had; nobody knows after a gap without a number.
    had: Option<u64>,
    inside: bool,
}

impl Reader {
    fn note(&mut self, c: &mut Cluster, epoch: &str, received: &mut u64, gaps: &mut u64, seed: u64) {
        for line in c.sees(self.client) {
            if let Some(top) = line.strip_prefix(&format!("ack 1 recovered false at {epoch}:")) {
                self.had = Some(top.parse().unwrap());
            } else if line.starts_with("gap") {
                *gaps += 1;
                let count = line.split(' ').nth(2).unwrap().parse::<u64>().ok();
                self.had = self.had.zip(count).map(|(had, count)| had + count);
            } else if let Some((_, number)) = line.split_once('#') {
                let number: u64 = number.parse().unwrap();
                *received += 1;
                assert!(
                    self.had.is_none_or(|had| number == had + 1),
                    "seed {seed}: {number} behind {:?}",
                    self.had
                );
                self.had = Some(number);
            } else if line == "error 1 1011" {
                self.inside = false;
            } else {
                assert!(
                    line.starts_with(&format!("ack 1 recovered true at {epoch}:")),
                    "seed {seed}: {line}"
                );
            }
        }
    }
}

#[test]
fn a_channel_that_moves_and_is_not_needed_any_more_is_forgotten_in_its_time() {
    let mut c = Cluster::new(1, &config(10));
    let publisher = c.client(0);
    position(&mut c, publisher, "kept:x");
    c.send(publisher, &[publish("kept:y", "hello")]);
    c.close(publisher);
    let (mut next, _) = move_all(&mut c, 1, &config(10), &[]);
    let due = next.router(0).poll_timeout().expect("there is something to forget");
    next.worlds[0].advance(due.0.div_ceil(1_000));
    assert_eq!((next.router(0).stats().channels, next.router(0).poll_timeout()), (0, None));
}
