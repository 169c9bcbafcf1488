//! Publications that are on disk before anybody gets them: one router, whose store answers when the test says so.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{Frame, MAX_SAFE, Payload, Publish};
use pulse_core::{
    Command, Config, ConnId, Dialect, Heartbeat, ImportError, Limits, Namespace, Outcome, Restored, Rules,
    Stored,
};
use support::{Disk, World, history, publish, publish_with_id, recover, subscribe, unsubscribe};

/// Four publications and ten seconds in the namespace `safe`, on disk.
fn config() -> Config {
    let rules = Rules { history_size: 4, history_ttl_ms: 10_000, durable: true, ..Rules::default() };
    let heartbeat = Heartbeat { interval_ms: 0, ..Heartbeat::default() };
    let namespaces = vec![Namespace { name: "safe".into(), rules }];
    Config { namespaces, heartbeat, ..Config::default() }
}

const X: &str = "safe:x";

/// A world whose channel exists and has one subscriber, with all of that stored.
fn world() -> (World, Disk, ConnId, String) {
    let (mut w, mut disk) = (World::new(config()), Disk::default());
    let reader = w.client();
    w.subscribe(reader, X);
    assert_eq!(w.store(&mut disk), 1, "the channel's beginning");
    let (epoch, _) = w.position(reader, X);
    (w, disk, reader, epoch)
}

fn host_publish(w: &mut World, payload: &str) -> Result<Outcome, u16> {
    let publish = Publish { channel: X, payload: Payload::from(payload.as_bytes()), ..Publish::default() };
    w.router.command(&Command::Publish(publish)).map_err(|refused| refused.code.0)
}

#[test]
fn nobody_gets_a_publication_before_it_is_stored() {
    let (mut w, mut disk, reader, epoch) = world();
    let publisher = w.client();
    w.send(publisher, &publish_with_id(1, X, "a"));
    assert_eq!((w.sees(publisher), w.sees(reader)), (vec![], vec![]));
    w.advance(10);
    assert_eq!(w.position(reader, X), (epoch.clone(), 0), "nor is it in any position");
    w.send_all(publisher, &[subscribe(2, X), history(3, X, None, None, None)]);
    assert_eq!(
        w.sees(publisher),
        [format!("ack 2 at {epoch}:0"), format!("history 3:  of {epoch}:0")],
        "nor in the history"
    );
    assert!(w.router.is_storing());
    w.store(&mut disk);
    assert!(!w.router.is_storing());
    assert_eq!(w.sees(publisher), [format!("ack 1 at {epoch}:1"), format!("{X} a #1")]);
    assert_eq!(w.sees(reader), [format!("{X} a #1")]);
    w.send(publisher, &history(4, X, None, None, None));
    assert_eq!(w.sees(publisher), [format!("history 4: a#1@0 of {epoch}:1")], "of when it was published");
}

#[test]
fn all_that_comes_while_one_batch_is_stored_is_the_next() {
    let (mut w, mut disk, reader, epoch) = world();
    let publisher = w.client();
    w.send(publisher, &publish_with_id(1, X, "1"));
    w.drain();
    let (first, records) = w.stores.pop().expect("it is to be stored");
    for n in 2..=9 {
        w.send(publisher, &publish_with_id(n, if n % 2 == 0 { X } else { "safe:y" }, &n.to_string()));
        w.drain();
    }
    assert_eq!(w.stores, [], "one at a time");
    disk.write(&records);
    w.router.stored(first + 1);
    w.router.not_stored(first + 1, "no such batch");
    assert_eq!(w.sees(publisher), [""; 0], "another batch's answer is none");
    w.router.stored(first);
    w.router.stored(first);
    assert_eq!(w.sees(publisher), [format!("ack 1 at {epoch}:1")]);
    assert_eq!(w.store(&mut disk), 1, "eight of two channels at once");
    let acks = w.sees(publisher);
    let ids: Vec<&str> = acks.iter().map(|ack| ack.split(' ').nth(1).unwrap()).collect();
    assert_eq!(ids, ["2", "3", "4", "5", "6", "7", "8", "9"], "in the order in which they came");
    let numbers = [1, 2, 4, 6, 8].into_iter().zip(1..);
    assert_eq!(w.sees(reader), numbers.map(|(n, at)| format!("{X} {n} #{at}")).collect::<Vec<_>>());
}

#[test]
fn what_comes_again_while_it_is_stored_is_answered_with_the_first_and_published_once() {
    let (mut w, mut disk, reader, epoch) = world();
    let (one, other) = (w.client(), w.client());
    let once = |id, payload: &'static str| {
        let payload = Payload::from(payload.as_bytes());
        let publish = Publish { channel: X, payload, id: Some(id), ..Publish::default() };
        Frame::Publish(Publish { idempotency_key: Some("order"), ..publish })
    };
    w.send(one, &once(1, "a"));
    w.drain();
    w.send(other, &once(2, "again"));
    w.send(one, &publish_with_id(3, X, "b"));
    assert_eq!(w.sees(other), [""; 0]);
    w.store(&mut disk);
    w.store(&mut disk);
    assert_eq!(w.sees(one), [format!("ack 1 at {epoch}:1"), format!("ack 3 at {epoch}:2")]);
    assert_eq!(w.sees(other), [format!("ack 2 at {epoch}:1")]);
    w.send(other, &once(4, "later"));
    assert_eq!(w.sees(other), [format!("ack 4 at {epoch}:1")], "nothing has to be stored for that");
    assert_eq!(w.sees(reader), [format!("{X} a #1"), format!("{X} b #2")]);

    // What was refused is not known.
    let again = |id| {
        let Frame::Publish(publish) = once(id, "c") else { unreachable!() };
        Frame::Publish(Publish { idempotency_key: Some("other"), ..publish })
    };
    w.send(one, &again(5));
    w.send(other, &again(6));
    w.drain();
    let (sequence, _) = w.stores.pop().expect("it is to be stored");
    w.router.not_stored(sequence, "the disk is full");
    assert_eq!((w.sees(one), w.sees(other)), (vec!["error 5 1011".into()], vec!["error 6 1011".into()]));
    w.send(one, &again(7));
    w.store(&mut disk);
    assert_eq!(
        (w.sees(one), w.sees(reader)),
        (vec![format!("ack 7 at {epoch}:3")], vec![format!("{X} c #3")])
    );
}

#[test]
fn a_version_is_compared_with_those_that_wait_for_the_disk() {
    let (mut w, mut disk, reader, epoch) = world();
    let publisher = w.client();
    let versioned = |id, version| {
        let publish =
            Publish { channel: X, payload: Payload::from(&b"x"[..]), id: Some(id), ..Publish::default() };
        Frame::Publish(Publish { key: Some("k"), version: Some(version), ..publish })
    };
    w.send_all(publisher, &[versioned(1, 5), versioned(2, 4), versioned(3, 6)]);
    assert_eq!(w.sees(publisher), [""; 0]);
    w.store(&mut disk);
    assert_eq!(
        w.sees(publisher),
        [
            format!("ack 1 at {epoch}:1"),
            format!("ack 2 stale true at {epoch}:1"),
            format!("ack 3 at {epoch}:2")
        ]
    );
    w.send(publisher, &versioned(4, 6));
    assert_eq!(w.sees(publisher), [format!("ack 4 stale true at {epoch}:2")]);
    assert_eq!(w.sees(reader).len(), 2);

    // Nothing newer is published where that one fails: then an older one is not stale.
    w.send_all(publisher, &[versioned(5, 8), versioned(6, 7)]);
    w.drain();
    let (sequence, _) = w.stores.pop().expect("it is to be stored");
    w.router.not_stored(sequence, "the disk is full");
    assert_eq!(w.sees(publisher), ["error 5 1011", "error 6 1011"]);
    w.send(publisher, &versioned(7, 7));
    w.store(&mut disk);
    assert_eq!(w.sees(publisher), [format!("ack 7 at {epoch}:3")]);
}

#[test]
fn what_is_stale_by_one_that_waits_is_known_by_its_name() {
    let (mut w, mut disk, reader, epoch) = world();
    let publisher = w.client();
    let versioned = |id, version, name: &'static str| {
        let publish =
            Publish { channel: X, payload: Payload::from(&b"x"[..]), id: Some(id), ..Publish::default() };
        let version = Some(version);
        Frame::Publish(Publish { key: Some("k"), version, idempotency_key: Some(name), ..publish })
    };
    w.send_all(publisher, &[versioned(1, 5, "new"), versioned(2, 4, "old"), versioned(3, 4, "old")]);
    w.store(&mut disk);
    w.send_all(publisher, &[versioned(4, 4, "old"), versioned(5, 5, "new")]);
    let stale = [(1, ""), (2, "stale true "), (3, "stale true "), (4, "stale true "), (5, "")];
    let acks = stale.map(|(id, stale)| format!("ack {id} {stale}at {epoch}:1"));
    assert_eq!((w.sees(publisher), w.sees(reader).len()), (acks.to_vec(), 1));
}

#[test]
fn what_cannot_be_stored_is_refused_with_all_behind_it_and_leaves_no_hole() {
    let (mut w, mut disk, reader, epoch) = world();
    let publisher = w.client();
    w.send(publisher, &publish_with_id(1, X, "lost"));
    w.drain();
    let (sequence, _) = w.stores.pop().expect("it is to be stored");
    w.send_all(publisher, &[publish(X, "lost"), publish_with_id(2, "safe:new", "lost")]);
    assert_eq!(host_publish(&mut w, "lost").map(|outcome| matches!(outcome, Outcome::Storing(_))), Ok(true));
    w.drain();
    w.router.not_stored(sequence, "the disk is full");
    assert_eq!(w.sees(publisher), ["error 1 1011", "error 0 1011", "error 2 1011"]);
    assert_eq!((w.effects.pop().as_deref(), &w.stores[..]), (Some("refused 1011"), &[][..]));
    assert_eq!((w.sees(reader), w.router.top(X), w.router.is_storing()), (vec![], Some(0), false));
    w.send_all(publisher, &[publish_with_id(3, X, "kept"), publish_with_id(4, "safe:new", "kept")]);
    w.store(&mut disk);
    assert_eq!(w.sees(publisher)[0], format!("ack 3 at {epoch}:1"), "the number is given anew");
    assert_eq!(w.sees(reader), [format!("{X} kept #1")]);
    assert_eq!(disk.numbers("safe:new"), [1], "a channel whose beginning was lost begins with its first");
}

#[test]
fn the_host_hears_of_its_own_publications_when_they_are_stored() {
    let (mut w, mut disk, reader, epoch) = world();
    for _ in 0..2 {
        assert!(matches!(host_publish(&mut w, "a"), Ok(Outcome::Storing(_))));
    }
    w.drain();
    assert_eq!(w.effects, [""; 0]);
    w.store(&mut disk);
    assert_eq!(w.effects, [format!("published {epoch}:1"), format!("published {epoch}:2")]);
    assert_eq!(w.sees(reader), [format!("{X} a #1"), format!("{X} a #2")]);
}

#[test]
fn a_publisher_that_is_gone_has_published_all_the_same() {
    let (mut w, mut disk, reader, _) = world();
    let publisher = w.client();
    w.send_all(publisher, &[publish_with_id(1, X, "a"), publish_with_id(2, "safe:y", "b")]);
    w.drain();
    w.router.closed(publisher);
    w.send(reader, &unsubscribe(2, X));
    w.advance(20_000);
    assert_eq!(w.router.top(X), Some(0), "a channel with something on its way is not forgotten");
    w.store(&mut disk);
    assert_eq!((w.router.top(X), w.router.top("safe:y")), (Some(1), Some(1)));
}

#[test]
fn the_disk_keeps_what_history_keeps_and_forgets_with_it() {
    let (mut w, mut disk, reader, epoch) = world();
    for n in 1..=7 {
        w.send(reader, &publish(X, "x"));
        w.store(&mut disk);
        w.advance(if n == 4 { 5_000 } else { 0 });
    }
    assert_eq!(disk.numbers(X), [3, 4, 5, 6, 7], "the four newest, and one that goes with the next");
    w.advance(5_000);
    w.store(&mut disk);
    assert_eq!(disk.numbers(X), [5, 6, 7], "what is too old goes though nothing comes");
    w.advance(5_000);
    w.store(&mut disk);
    assert_eq!((disk.numbers(X), disk.0[X].top), (vec![], 7));
    w.send(reader, &unsubscribe(2, X));
    w.advance(9_999);
    w.store(&mut disk);
    assert_eq!((w.position(reader, X), disk.0.len()), ((epoch.clone(), 7), 1));
    w.advance(10_000);
    w.store(&mut disk);
    assert_eq!((w.router.top(X), disk.0.len()), (None, 0));
    assert_ne!(w.position(reader, X).0, epoch);
}

#[test]
fn stored_channels_do_not_give_way_and_empty_ones_do() {
    let limits = Limits { max_channels: 3, ..Limits::default() };
    let (mut w, mut disk) = (World::new(Config { limits, ..config() }), Disk::default());
    let a = w.client();
    w.send_all(
        a,
        &[publish("safe:1", "x"), publish("safe:2", "x"), subscribe(1, "safe:3"), unsubscribe(2, "safe:3")],
    );
    w.store(&mut disk);
    w.take(a);
    w.send_all(a, &[subscribe(3, "other:1"), publish_with_id(4, "safe:4", "x")]);
    w.store(&mut disk);
    assert_eq!(w.sees(a), ["ack 3", "error 4 1013"]);
    assert_eq!(disk.0.keys().collect::<Vec<_>>(), ["safe:1", "safe:2"]);
    w.advance(10_000);
    w.send(a, &publish_with_id(5, "safe:4", "x"));
    w.store(&mut disk);
    assert_eq!(disk.0.keys().collect::<Vec<_>>(), ["safe:4"], "they are forgotten in their time");
}

#[test]
fn publishers_are_held_back_while_too_much_waits() {
    let limits = Limits { peer_bytes: 16_000, ..Limits::default() };
    let (mut w, mut disk) = (World::new(Config { limits, ..config() }), Disk::default());
    let (a, b) = (w.client(), w.client());
    let payload = "x".repeat(600);
    for n in 1..=5 {
        w.send(a, &publish_with_id(n, X, &payload));
        w.drain();
    }
    assert_eq!(w.effects, [format!("pause {} true", a.slot())]);
    assert_eq!(host_publish(&mut w, "x"), Err(1013));
    w.send(b, &publish_with_id(1, "other", "x"));
    assert_eq!(w.sees(b), ["ack 1"], "who wants nothing of the disk goes on");
    w.send(b, &publish_with_id(2, X, "x"));
    w.drain();
    w.router.closed(b);
    assert_eq!(w.sees(a), [""; 0]);
    w.store(&mut disk);
    let ids: Vec<String> = w.sees(a).iter().map(|ack| ack.split(' ').nth(1).unwrap().into()).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5"]);
    assert_eq!(w.effects.last(), Some(&format!("pause {} false", a.slot())));
    w.effects.clear();
    w.send(a, &publish_with_id(6, X, &payload));
    w.send(a, &publish_with_id(7, X, &payload));
    w.send(a, &publish_with_id(8, X, &payload));
    w.drain();
    let (sequence, _) = w.stores.pop().expect("it is to be stored");
    w.router.not_stored(sequence, "the disk is full");
    assert_eq!(w.sees(a), ["error 6 1011", "error 7 1011"], "the third has waited, and is tried");
    w.store(&mut disk);
    assert!(w.sees(a)[0].starts_with("ack 8 at "));
}

#[test]
fn channels_that_come_and_go_while_the_disk_takes_nothing_fill_no_memory() {
    let limits = Limits { peer_bytes: 8_000, max_channels: 3, ..Limits::default() };
    let (mut w, mut disk) = (World::new(Config { limits, ..config() }), Disk::default());
    let a = w.client();
    w.send(a, &publish_with_id(1, X, "x"));
    w.drain();
    let (sequence, records) = w.stores.pop().expect("it is to be stored");
    for n in 0..1_000 {
        let channel = format!("safe:{n}");
        w.send_all(a, &[subscribe(2, &channel), unsubscribe(3, &channel)]);
        w.drain();
    }
    w.send(a, &publish_with_id(4, "safe:999", "y"));
    disk.write(&records);
    w.router.stored(sequence);
    w.drain();
    let (_, records) = &w.stores[0];
    assert!((7_000..9_000).contains(&records.len()), "{}", records.len());
    w.store(&mut disk);
    assert_eq!((disk.numbers(X), disk.numbers("safe:999")), (vec![1], vec![1]));
}

#[test]
fn a_restart_keeps_epoch_numbers_and_history() {
    let (mut w, mut disk, reader, epoch) = world();
    w.send_all(reader, &[publish(X, "a"), publish(X, "b"), subscribe(5, "safe:empty")]);
    w.store(&mut disk);
    let (empty, _) = w.position(reader, "safe:empty");
    w.send_all(reader, &[publish(X, "c"), publish_with_id(6, X, "d")]);
    w.store(&mut disk);
    w.advance(100_000);
    let mut w = World::new(config());
    w.advance(200_000);
    disk.restore(&mut w.router);
    w.drain();
    let a = w.client();
    w.send(a, &recover(1, "safe:empty", &empty, 0));
    assert_eq!(w.sees(a), [format!("ack 1 recovered true at {empty}:0")], "nothing was lost");
    w.send(a, &recover(2, X, &epoch, 4));
    assert_eq!(w.sees(a), [format!("ack 2 recovered true at {epoch}:4")]);
    w.send(a, &history(3, X, None, None, None));
    assert_eq!(w.sees(a), [format!("history 3:  of {epoch}:4")], "it has become too old meanwhile");
    w.store(&mut disk);
    assert_eq!((disk.numbers(X), disk.0[X].top), (vec![], 4), "and goes from the disk as well");
}

#[test]
fn who_comes_back_over_a_restart_gets_what_it_missed() {
    let (mut w, mut disk, reader, epoch) = world();
    for n in 1..=6 {
        w.send(reader, &publish(X, &n.to_string()));
        w.store(&mut disk);
    }
    let mut w = World::new(config());
    w.advance(9_000);
    disk.restore(&mut w.router);
    let a = w.client();
    let rest = |from: u64| (from..=6).map(|n| format!("{X} {n} #{n}"));
    for (id, after) in [(1, 3), (2, 2)] {
        w.send(a, &recover(id, X, &epoch, after));
        let ack = format!("ack {id} recovered true at {epoch}:6");
        assert_eq!(w.sees(a), [ack].into_iter().chain(rest(after + 1)).collect::<Vec<_>>());
        w.send(a, &unsubscribe(9, X));
        assert_eq!(w.sees(a), ["ack 9"]);
    }
    w.send(a, &recover(3, X, &epoch, 1));
    assert_eq!(w.sees(a), [format!("ack 3 recovered false at {epoch}:6")]);
    w.send(a, &publish_with_id(4, X, "7"));
    w.store(&mut disk);
    assert_eq!(w.sees(a), [format!("ack 4 at {epoch}:7"), format!("{X} 7 #7")], "numbers go on");
    w.advance(1_000);
    w.send(a, &history(5, X, None, None, None));
    assert_eq!(w.sees(a), [format!("history 5: 7#7@9000 of {epoch}:7")], "ages go on, too");
}

#[test]
fn a_restored_channel_that_nobody_uses_is_forgotten_after_its_ttl() {
    let (mut w, mut disk, reader, _) = world();
    w.send(reader, &publish(X, "a"));
    w.store(&mut disk);
    let mut w = World::new(config());
    disk.restore(&mut w.router);
    w.advance(9_999);
    w.store(&mut disk);
    assert_eq!((w.router.top(X), disk.0.len()), (Some(1), 1));
    w.advance(1);
    w.store(&mut disk);
    assert_eq!((w.router.top(X), disk.0.len()), (None, 0));
}

#[test]
fn only_what_a_router_has_stored_is_restored() {
    let (mut w, mut disk, reader, _) = world();
    w.send_all(reader, &[publish(X, "a"), publish(X, "b")]);
    w.store(&mut disk);
    let frames: Vec<_> = disk.0[X].entries.iter().map(|(_, time, frame)| (*time, &frame[..])).collect();
    let good =
        Stored { channel: X, epoch: 1, first: 1, top: 2, publications: &frames, names: &[(1, 0, b"name")] };
    let mut w = World::new(config());
    let mut restore = |stored: Stored<'_>| w.router.restore(&stored);
    let bad = Err(ImportError::Malformed);
    assert_eq!(restore(Stored { top: 3, ..good }), bad, "the newest is missing");
    assert_eq!(restore(Stored { top: 1, ..good }), bad, "more than there ever was");
    assert_eq!(restore(Stored { first: 2, ..good }), bad, "what does not matter any more");
    assert_eq!(restore(Stored { first: 0, ..good }), bad, "numbers begin with 1");
    assert_eq!(restore(Stored { channel: "safe:y", ..good }), bad, "frames of another channel");
    assert_eq!(restore(Stored { publications: &[frames[1], frames[0]], ..good }), bad, "not in order");
    let nothing = (0, &b"\0\0\0\x01\xc0"[..]);
    assert_eq!(restore(Stored { publications: &[nothing, frames[1]], ..good }), bad, "no publication");
    for names in [&[(3, 0, &b"name"[..])][..], &[(1, 0, b"")], &[(2, 0, b"a"), (1, 0, b"b")]] {
        assert_eq!(restore(Stored { names, ..good }), bad, "not what was named: {names:?}");
    }
    let empty = Stored { channel: "safe:\n", top: 0, publications: &[], names: &[], ..good };
    assert_eq!(restore(empty), bad, "no name of a channel");
    let (first, top) = (MAX_SAFE + 1, MAX_SAFE);
    let last = Stored { first, top, publications: &[], names: &[], ..good };
    assert_eq!(restore(last), bad, "numbers that are used up");
    assert_eq!(restore(Stored { channel: "other:x", ..good }), Ok(Restored::NotDurable));
    assert_eq!((w.router.stats().channels, w.router.top(X)), (0, None));
    let mut restore = |stored: Stored<'_>| w.router.restore(&stored);
    assert_eq!(restore(good), Ok(Restored::Here));
    assert_eq!(restore(good), bad, "a second time");
    assert_eq!(w.router.top(X), Some(2));
}

#[test]
fn nothing_moves_house_while_something_waits_for_the_disk() {
    let (mut w, mut disk, reader, _) = world();
    let publisher = w.client();
    w.send(publisher, &publish_with_id(1, X, "a"));
    w.drain();
    let mut out = vec![];
    assert!(!w.router.export_channels(&mut out) && !w.router.export(publisher, &mut out));
    assert_eq!(out, [0; 0]);
    assert!(w.router.export(reader, &mut out), "who waits for nothing may go");
    w.store(&mut disk);
    out.clear();
    assert!(w.router.export_channels(&mut out));
    let mut other = World::new(config());
    other.router.import_channels(&out).expect("it is an export");
    let legacy = other.open(Dialect::Legacy);
    other.send(legacy, &subscribe(1, X));
    other.drain();
    other.send(legacy, &publish(X, "b"));
    other.store(&mut disk);
    assert_eq!(disk.numbers(X), [1, 2], "the numbers go on where the store is the same");
}
