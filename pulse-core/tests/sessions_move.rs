//! Sessions and channels outlive their router: exported from one, imported into another, and no client has to know.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::MAX_SAFE;
use pulse_core::wire::PresenceAction::{Join, Leave, Sync};
use pulse_core::{Answer, Config, ConnId, Dialect, ImportError, Limits, Now, Rule, Rules, Time};
use support::{Cluster, World, connect, presence, publish, subscribe, unsubscribe};

const A: &[u8] = b"\xa1a";
const B: &[u8] = b"\xa1b";

/// Moves these connections into a router of its own, and returns their new ids.
fn move_house(old: &mut World, conns: &[ConnId], config: Config) -> (World, Vec<ConnId>) {
    old.drain();
    let mut channels = vec![];
    old.router.export_channels(&mut channels);
    let mut new = World::new(config);
    // Its clock began at another time.
    new.now_ms = 7_000;
    new.router.advance(Now { mono: Time(7_000_000), unix_ms: 0 });
    new.router.import_channels(&channels).unwrap();
    let conns = conns.iter().map(|conn| {
        let mut session = vec![];
        assert!(old.router.export(*conn, &mut session));
        let moved = new.router.import(0, &session).unwrap();
        assert_eq!(new.router.name(moved), old.router.name(*conn));
        moved
    });
    let conns = conns.collect();
    (new, conns)
}

#[test]
fn subscribers_go_on_as_if_nothing_had_happened() {
    let mut old = World::new(Config::default());
    let (a, b) = (old.client(), old.client());
    for channel in ["c", "d"] {
        old.subscribe(a, channel);
    }
    old.subscribe(b, "c");
    old.send(b, &publish("c", "one"));
    old.drain();
    let (mut new, conns) = move_house(&mut old, &[a, b], Config::default());
    new.send(conns[1], &publish("c", "two"));
    new.send(conns[1], &publish("d", "three"));
    assert_eq!(new.sees(conns[0]), ["c two", "d three"]);
    assert_eq!(new.router.top("c"), Some(2), "numbers go on");
    new.send_all(conns[0], &[subscribe(5, "c"), unsubscribe(6, "d")]);
    assert_eq!(new.sees(conns[0]), ["error 5 1009", "ack 6"]);
    let stats = new.router.stats();
    assert_eq!((stats.connections, stats.subscriptions, stats.channels), (2, 2, 1));
}

#[test]
fn members_that_move_are_not_told_of_and_others_have_their_grace() {
    let mut old = World::new(Config::default());
    let conns: Vec<_> = (0..3).map(|_| old.client()).collect();
    for (n, conn) in conns.iter().enumerate() {
        old.subscribe(*conn, "c");
        if n > 0 {
            old.send(*conn, &presence(2, "c", Join, [A, B][n - 1]));
        }
    }
    let (mut new, moved) = move_house(&mut old, &conns[..2], Config::default());
    new.send(moved[0], &presence(3, "c", Sync, &[]));
    assert_eq!(new.sees(moved[0]), ["members 3: a b of 2/2"]);
    new.advance(4_999);
    assert_eq!(new.sees(moved[0]), Vec::<String>::new());
    new.advance(1);
    assert_eq!(new.sees(moved[0]), ["c -- of 1/1"], "who was not imported is gone");
    new.send(moved[1], &presence(4, "c", Leave, &[]));
    assert_eq!(new.sees(moved[1]), ["c -- of 1/1", "ack 4", "c -- of 0/0"]);
}

#[test]
fn members_of_one_user_move_together_and_none_takes_the_place_of_another() {
    // Whichever of the two comes first in the export.
    for gone in 0..2 {
        let config = Config { connect: Rule::Ask, ..Config::default() };
        let mut old = World::new(config.clone());
        let conns = [A, B].map(|data| {
            let conn = old.open(Dialect::V1);
            old.send(conn, &connect(1));
            old.drain();
            old.answer(Answer::AllowAs("ada".into()));
            old.subscribe(conn, "c");
            old.send(conn, &presence(2, "c", Join, data));
            old.drain();
            conn
        });
        old.router.closed(conns[gone]);
        let (mut new, moved) = move_house(&mut old, &[conns[1 - gone]], config);
        new.send(moved[0], &presence(3, "c", Sync, &[]));
        let list = new.sees(moved[0]);
        assert!(list[0].ends_with("of 2/1"), "one is away and has its grace: {list:?}");
        new.advance(5_000);
        assert_eq!(new.sees(moved[0]), ["c --@ada of 1/1"], "it goes with a word");
    }
}

#[test]
fn channels_that_no_session_needs_are_dropped_with_the_next_turn() {
    let mut old = World::new(Config::default());
    let a = old.client();
    old.subscribe(a, "c");
    let (mut new, _) = move_house(&mut old, &[], Config::default());
    assert_eq!(new.router.top("c"), Some(0));
    new.advance(1);
    assert_eq!((new.router.top("c"), new.router.stats().channels), (None, 0));
}

#[test]
fn what_was_missed_meanwhile_is_a_gap() {
    let mut old = World::new(Config::default());
    let (a, b) = (old.client(), old.client());
    old.subscribe(a, "c");
    old.subscribe(b, "c");
    let (mut late, mut channels) = (vec![], vec![]);
    assert!(old.router.export(a, &mut late));
    let (mut new, moved) = move_house(&mut old, &[b], Config::default());
    new.send(moved[0], &publish("c", "one"));
    let a = new.router.import(0, &late).unwrap();
    assert_eq!(new.sees(a), ["gap c 1 moved"]);

    old.router.export_channels(&mut channels);
    let mut forgetful = World::new(Config::default());
    // Another life of a channel has another epoch: here, the second that is drawn.
    let other = forgetful.client();
    forgetful.subscribe(other, "d");
    let a = forgetful.router.import(0, &late).unwrap();
    assert_eq!(forgetful.sees(a), ["gap c some moved"], "the channel began anew");
}

#[test]
fn what_a_slow_reader_was_not_sent_goes_with_it() {
    let rules = Rules { slow_consumer: pulse_core::SlowConsumer::DropOldest, ..Rules::default() };
    let limits = Limits { queue_bytes: 300, ..Limits::default() };
    let config = Config { rules, limits, ..Config::default() };
    let mut old = World::new(config.clone());
    let (slow, b) = (old.client(), old.client());
    old.subscribe(slow, "c");
    old.router.set_writable(slow, false);
    for n in 0..9 {
        old.send(b, &publish("c", &n.to_string()));
    }
    let (mut new, moved) = move_house(&mut old, &[slow, b], config);
    new.send(moved[1], &publish("c", "x"));
    assert_eq!(new.sees(moved[0]), Vec::<String>::new());
    new.router.set_writable(moved[0], true);
    assert_eq!(new.sees(moved[0]), ["gap c 7", "c 7", "c 8", "gap c 1"]);
}

#[test]
fn a_request_that_waits_for_the_host_is_asked_again() {
    let rules = Rules { subscribe: Rule::Ask, ..Rules::default() };
    let config = Config { rules, ..Config::default() };
    let mut old = World::new(config.clone());
    let a = old.client();
    old.send_all(a, &[subscribe(1, "c"), publish("c", "x")]);
    let (mut new, moved) = move_house(&mut old, &[a], config);
    assert_eq!(new.effects(), ["may 0 subscribe c", "pause 0 true"]);
    new.answer(Answer::Allow);
    assert_eq!(new.sees(moved[0]), ["ack 1", "c x"]);
}

#[test]
fn a_session_that_has_not_begun_moves_too() {
    let mut old = World::new(Config::default());
    let a = old.open(Dialect::V1);
    let (mut new, moved) = move_house(&mut old, &[a], Config::default());
    new.send(moved[0], &connect(1));
    assert_eq!(new.sees(moved[0]), ["connected"]);
}

#[test]
fn what_cannot_move_says_so() {
    let mut w = World::new(Config::default());
    let mut out = vec![];
    let (closing, busy, gone) = (w.client(), w.client(), w.client());
    w.router.receive(closing, pulse_core::Kind::Binary, b"nonsense");
    w.drain();
    w.router.closed(gone);
    w.send(busy, &subscribe(1, "c"));
    for conn in [closing, busy, gone] {
        assert!(!w.router.export(conn, &mut out), "{conn:?}");
    }
    w.drain();
    assert!(w.router.export(busy, &mut out), "a drained turn is enough");

    let mut c = Cluster::new(2, &Config::default());
    let (channel, (_, asking)) = (c.channel_of(1), c.client(0));
    out.clear();
    c.send((0, asking), &[subscribe(1, &channel)]);
    c.worlds[0].drain();
    assert!(!c.router(0).export(asking, &mut out));
    assert!(out.is_empty());
    c.settle();
}

#[test]
fn a_leaf_that_moves_joins_its_channels_again() {
    let mut c = Cluster::new(2, &Config::default());
    let (reader, publisher) = (c.client(0), c.client(1));
    let channel = c.channel_of(1);
    for client in [reader, publisher] {
        c.subscribe(client, &channel);
        c.send(client, &[presence(2, &channel, Join, A)]);
        c.settle();
    }
    c.sees(publisher);
    let mut session = vec![];
    assert!(c.router(0).export(reader.1, &mut session));
    let shards = pulse_core::Shards { index: 0, count: 2, key: 7 };
    c.part(0, 1);
    c.worlds[0] = World::new(Config { shards, ..Config::default() });
    c.router(0).peer_lost(pulse_core::PeerId(1));
    let moved = c.router(0).import(0, &session).unwrap();
    c.send(publisher, &[publish(&channel, "missed")]);
    c.settle();
    c.rejoin(0, 1);
    assert_eq!(c.sees((0, moved)), [format!("gap {channel} 1 peer_lost"), format!("{channel} +a of 2/2")]);
    let told = c.sees(publisher);
    let expected =
        [format!("{channel} -- of 1/1"), format!("{channel} missed"), format!("{channel} +a of 2/2")];
    assert_eq!(told, expected);
}

#[test]
fn other_versions_and_broken_bytes_are_refused_and_change_nothing() {
    let mut old = World::new(Config::default());
    let a = old.client();
    old.subscribe(a, "c");
    old.send(a, &presence(2, "c", Join, A));
    old.drain();
    let (mut session, mut channels) = (vec![], vec![]);
    assert!(old.router.export(a, &mut session));
    old.router.export_channels(&mut channels);
    let mut new = World::new(Config::default());
    for len in 0..session.len() {
        assert_eq!(new.router.import(0, &session[..len]), Err(ImportError::Malformed), "{len} bytes");
    }
    for len in 0..channels.len() {
        assert_eq!(new.router.import_channels(&channels[..len]), Err(ImportError::Malformed), "{len} bytes");
    }
    assert_eq!(new.router.import(0, &channels), Err(ImportError::Malformed), "of the other kind");
    session[1] = 4;
    channels[1] = 9;
    assert_eq!(new.router.import(0, &session), Err(ImportError::Version(4)));
    let error = new.router.import_channels(&channels).unwrap_err();
    assert_eq!(error.to_string(), "this is an export of version 9, and only version 3 can be read");
    let stats = new.router.stats();
    assert_eq!((stats.connections, stats.channels, stats.members), (0, 0, 0));
    (session[1], channels[1]) = (3, 3);
    // Its number is behind the version, the count, the name and the epoch; what is kept behind it begins before two counts.
    for (top, imported) in [(1 << 50, Ok(())), (MAX_SAFE, Err(ImportError::Malformed))] {
        let mut last = channels.clone();
        for at in [2 + 8 + (4 + 1) + 8, last.len() - 3 * 8] {
            last[at..at + 8].copy_from_slice(&u64::to_le_bytes(top));
        }
        let mut world = World::new(Config::default());
        assert_eq!(world.router.import_channels(&last), imported, "numbers that are used up");
    }
    let mut dice = support::Dice(5);
    for _ in 0..20_000 {
        let (mut s, mut c) = (session.clone(), channels.clone());
        let (at, flip) = (dice.roll(s.len()), dice.roll(c.len()));
        s[at] ^= dice.roll(256) as u8;
        c[flip] ^= dice.roll(256) as u8;
        let mut world = World::new(Config::default());
        let _ = world.router.import_channels(&c);
        let _ = world.router.import(0, &s);
        world.drain();
    }
}
