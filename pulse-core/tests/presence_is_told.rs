//! Who is present: requests and their answers, what subscribers are told and when, on one router and across several.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::PresenceAction::{Count, Join, Leave, Sync, Update};
use pulse_core::wire::{Frame, Presence};
use pulse_core::{Answer, Config, ConnId, Limits, PeerId, Rule, Rules, SlowConsumer};
use support::{Cluster, World, connect, presence, publish, subscribe, unsubscribe};

const A: &[u8] = b"\xa1a";
const B: &[u8] = b"\xa1b";
const C: &[u8] = b"\xa1c";

fn named(w: &mut World, user: &str) -> ConnId {
    let conn = w.open(pulse_core::Dialect::V1);
    w.send(conn, &connect(1));
    w.drain();
    w.answer(Answer::AllowAs(user.into()));
    assert_eq!(w.take(conn), ["connected"]);
    conn
}

/// A router that asks who its clients are.
fn asking() -> World {
    World::new(Config { connect: Rule::Ask, ..Config::default() })
}

#[test]
fn joins_changes_and_leaves_are_acked_and_told() {
    let mut w = World::new(Config::default());
    let (one, two) = (w.client(), w.client());
    w.subscribe(one, "c");
    w.subscribe(two, "c");
    w.send(one, &presence(2, "c", Join, A));
    assert_eq!(
        (w.sees(one), w.sees(two)),
        (vec!["ack 2".into(), "c +a of 1/1".into()], vec!["c +a of 1/1".into()])
    );
    w.send(one, &presence(3, "c", Update, B));
    assert_eq!(w.sees(one), ["ack 3", "c ~b of 1/1"]);
    w.send(two, &presence(4, "c", Join, &[]));
    assert_eq!(w.sees(two), ["c ~b of 1/1", "ack 4", "c +- of 2/2"]);
    w.send(one, &presence(5, "c", Leave, &[]));
    assert_eq!(w.sees(one), ["c +- of 2/2", "ack 5", "c -- of 1/1"]);
}

#[test]
fn a_second_join_is_an_update_and_what_is_the_same_is_not_told() {
    let mut w = World::new(Config::default());
    let one = w.client();
    w.subscribe(one, "c");
    w.send_all(one, &[presence(2, "c", Join, A), presence(3, "c", Join, A)]);
    assert_eq!(w.sees(one), ["ack 2", "ack 3", "c +a of 1/1"]);
    w.send_all(one, &[presence(4, "c", Join, B), presence(5, "c", Update, B)]);
    assert_eq!(w.sees(one), ["ack 4", "ack 5", "c ~b of 1/1"]);
}

#[test]
fn what_cannot_be_is_refused() {
    let limits = Limits { max_presence_size: 2, ..Limits::default() };
    let mut w = World::new(Config { limits, ..Config::default() });
    let one = w.client();
    w.send(one, &presence(1, "c", Join, A));
    assert_eq!(w.sees(one), ["error 1 1008"]);
    w.subscribe(one, "d");
    w.send(one, &presence(2, "d", Update, A));
    w.send(one, &presence(3, "d", Leave, &[]));
    w.send(one, &presence(4, "d", Join, b"\xa2ab"));
    w.send(one, &presence(5, "$d", Count, &[]));
    let after = Presence { id: 6, channel: "d", action: Sync, after: Some("x"), ..Presence::default() };
    w.send(one, &Frame::Presence(after));
    w.send(one, &presence(7, "d", Join, A));
    let seen = w.sees(one);
    let expected = [
        "error 2 1015",
        "error 3 1015",
        "error 4 1007",
        "error 5 1002",
        "error 6 1001",
        "ack 7",
        "d +a of 1/1",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_rule_decides_who_may() {
    let rules = Rules { presence: Rule::Nobody, ..Rules::default() };
    let mut w = World::new(Config { rules, ..Config::default() });
    let one = w.client();
    w.subscribe(one, "c");
    w.send(one, &presence(2, "c", Join, &[]));
    w.send(one, &presence(3, "c", Count, &[]));
    assert_eq!(w.sees(one), ["error 2 1004", "error 3 1004"]);

    let rules = Rules { presence: Rule::Ask, ..Rules::default() };
    let mut w = World::new(Config { rules, ..Config::default() });
    let one = w.client();
    w.subscribe(one, "c");
    w.send(one, &presence(2, "c", Join, A));
    assert_eq!(w.effects(), ["may 0 presence c", "pause 0 true"]);
    w.answer(Answer::Allow);
    assert_eq!(w.sees(one), ["ack 2", "c +a of 1/1"]);
}

#[test]
fn whoever_asks_gets_the_list_and_the_numbers_without_a_subscription() {
    let mut w = World::new(Config::default());
    let (one, two) = (w.client(), w.client());
    w.send_all(two, &[presence(1, "c", Sync, &[]), presence(2, "c", Count, &[])]);
    assert_eq!(w.sees(two), ["members 1:  of 0/0", "count 2: 0/0"]);
    w.subscribe(one, "c");
    w.send(one, &presence(2, "c", Join, A));
    w.send_all(two, &[presence(3, "c", Sync, &[]), presence(4, "c", Count, &[])]);
    assert_eq!(w.sees(two), ["members 3: a of 1/1", "count 4: 1/1"]);
}

#[test]
fn leaving_the_channel_is_leaving_at_once_and_a_lost_connection_has_its_grace() {
    let mut w = World::new(Config::default());
    let (one, two, three) = (w.client(), w.client(), w.client());
    for (conn, data) in [(one, A), (two, B), (three, C)] {
        w.subscribe(conn, "c");
        w.send(conn, &presence(2, "c", Join, data));
    }
    w.drain();
    w.take_all();
    w.send(one, &unsubscribe(3, "c"));
    assert_eq!(w.sees(three), ["c -- of 2/2"]);
    w.router.closed(two);
    w.advance(4_999);
    assert_eq!(w.sees(three), Vec::<String>::new());
    w.send(three, &presence(4, "c", Count, &[]));
    assert_eq!(w.sees(three), ["count 4: 2/2"], "a member in its grace is listed");
    assert!(w.router.poll_timeout().unwrap().0 <= 5_000_000);
    w.advance(1);
    assert_eq!(w.sees(three), ["c -- of 1/1"]);
    w.router.closed(three);
    w.advance(5_000);
    assert_eq!(w.router.top("c"), None, "the channel goes with its last member");
    assert_eq!((w.router.stats().members, w.router.stats().channels), (0, 0));
}

#[test]
fn a_user_that_comes_back_in_time_was_never_away() {
    let mut w = asking();
    let (watcher, ada) = (named(&mut w, "eve"), named(&mut w, "ada"));
    for conn in [watcher, ada] {
        w.subscribe(conn, "c");
    }
    w.send(ada, &presence(2, "c", Join, A));
    assert_eq!(w.sees(watcher), ["c +a@ada of 1/1"]);
    w.router.closed(ada);
    w.advance(1_000);
    let again = named(&mut w, "ada");
    w.subscribe(again, "c");
    w.send(again, &presence(2, "c", Join, B));
    assert_eq!(w.sees(watcher), ["c +b@ada --@ada of 1/1"], "one frame: other client, same user");
    let phone = named(&mut w, "ada");
    w.subscribe(phone, "c");
    w.send(phone, &presence(2, "c", Join, C));
    assert_eq!(w.sees(watcher), ["c +c@ada of 2/1"], "first in");
    w.send(phone, &presence(3, "c", Leave, &[]));
    assert_eq!(w.sees(watcher), ["c --@ada of 1/1"]);
    w.send(again, &presence(3, "c", Leave, &[]));
    assert_eq!(w.sees(watcher), ["c --@ada of 0/0"], "last out");
}

#[test]
fn large_channels_hear_of_changes_in_batches() {
    let mut w = World::new(Config::default());
    let conns: Vec<_> = (0..200).map(|_| w.client()).collect();
    for conn in &conns {
        w.subscribe(*conn, "c");
        w.send(*conn, &presence(2, "c", Join, A));
    }
    w.advance(1_000);
    w.advance(1_000);
    w.take_all();
    w.send(conns[0], &presence(3, "c", Leave, &[]));
    assert_eq!(w.sees(conns[9]), ["c -- of 199/199"], "the first change after a pause goes at once");
    w.send(conns[1], &presence(3, "c", Leave, &[]));
    w.send(conns[2], &presence(3, "c", Leave, &[]));
    assert_eq!(w.sees(conns[9]), Vec::<String>::new());
    w.send(conns[1], &presence(4, "c", Join, B));
    assert_eq!(w.sees(conns[9]), Vec::<String>::new());
    w.advance(19);
    assert_eq!(w.sees(conns[9]), ["c -- ~b of 198/198"]);
}

#[test]
fn the_list_comes_in_pages() {
    let mut w = World::new(Config::default());
    let conns: Vec<_> = (0..10).map(|_| w.client()).collect();
    for conn in &conns {
        w.subscribe(*conn, "c");
        w.send(*conn, &presence(2, "c", Join, A));
    }
    w.drain();
    w.take_all();
    let (mut after, mut members, mut pages) = (None::<String>, vec![], 0);
    loop {
        let page = Presence {
            id: 9,
            channel: "c",
            action: Sync,
            limit: Some(4),
            after: after.as_deref(),
            ..Presence::default()
        };
        w.send(conns[0], &Frame::Presence(page));
        let batch = w.router.poll_write().expect("an answer");
        let pulse_core::wire::Split::Frame { map, .. } = pulse_core::wire::split(batch.payload(), 1 << 20)
        else {
            panic!()
        };
        let Frame::Presence(answer) = pulse_core::wire::decode(map).unwrap() else { panic!() };
        members.extend(answer.members.unwrap().iter().map(|m| m.client.to_string()));
        after = answer.next.map(Into::into);
        pages += 1;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((pages, members.len()), (3, 10));
    assert!(members.is_sorted());
}

#[test]
fn a_leaf_shows_what_its_home_knows() {
    for home in 0..3 {
        let mut c = Cluster::new(3, &Config::default());
        let channel = c.channel_of(home);
        let clients: Vec<_> = (0..3).map(|at| c.client(at)).collect();
        clients.iter().for_each(|client| c.subscribe(*client, &channel));
        c.send(clients[0], &[presence(2, &channel, Join, A), presence(3, &channel, Update, B)]);
        let told = format!("{channel} +b of 1/1");
        let mut seen = c.sees(clients[0]);
        // At home the update may come before the join was told.
        seen.retain(|line| !line.starts_with(&channel));
        assert_eq!(seen, ["ack 2", "ack 3"]);
        assert_eq!(c.sees(clients[1]).last(), Some(&told), "home {home}");
        c.send(clients[1], &[presence(4, &channel, Leave, &[]), presence(5, &channel, Sync, &[])]);
        assert_eq!(c.sees(clients[1]), ["error 4 1015", "members 5: b of 1/1"]);
        c.close(clients[0]);
        c.worlds.iter_mut().for_each(|w| w.advance(5_000));
        assert_eq!(c.sees(clients[2]).last(), Some(&format!("{channel} -- of 0/0")));
        assert_eq!(c.router(home).stats().members, 0);
    }
}

#[test]
fn a_join_in_a_channel_that_its_home_has_no_room_for_is_refused_for_that() {
    let limits = Limits { max_channels: 2, ..Limits::default() };
    let mut c = Cluster::new(2, &Config { limits, ..Config::default() });
    let (here, there) = (c.client(0), c.client(1));
    let taken = c.channel_of(1);
    let wanted = (0..).map(|n| format!("w{n}")).find(|name| c.router(0).home(name) == PeerId(1)).unwrap();
    c.subscribe(there, &taken);
    c.send(here, &[subscribe(1, &wanted), presence(2, &wanted, Join, A), unsubscribe(3, &wanted)]);
    assert_eq!(c.sees(here), ["ack 1", "ack 3", "error 2 1013"]);
}

#[test]
fn members_of_a_lost_router_go_and_come_back_with_it() {
    let mut c = Cluster::new(2, &Config::default());
    let channel = c.channel_of(1);
    let (here, there) = (c.client(0), c.client(1));
    for client in [here, there] {
        c.subscribe(client, &channel);
        c.send(client, &[presence(2, &channel, Join, A)]);
        c.settle();
    }
    c.sees(here);
    c.sees(there);
    c.part(0, 1);
    assert_eq!(c.sees(there), [format!("{channel} -- of 1/1")]);
    c.send(here, &[presence(3, &channel, Update, B)]);
    assert_eq!(c.sees(here), ["error 3 1011"]);
    c.rejoin(0, 1);
    assert_eq!(c.sees(there), [format!("{channel} +a of 2/2")]);
    c.send(here, &[presence(4, &channel, Sync, &[])]);
    assert_eq!(c.sees(here).last(), Some(&"members 4: a a of 2/2".to_string()));
}

#[test]
fn a_join_that_a_lost_home_did_not_answer_is_no_join() {
    let mut c = Cluster::new(2, &Config::default());
    let channel = c.channel_of(1);
    let (here, there) = (c.client(0), c.client(1));
    c.subscribe(here, &channel);
    c.subscribe(there, &channel);
    c.shut(0, 1);
    c.send(here, &[presence(2, &channel, Join, A)]);
    c.part(0, 1);
    assert_eq!(c.sees(here), ["error 2 1011"]);
    c.rejoin(0, 1);
    assert_eq!(c.sees(there), Vec::<String>::new());
    c.send(here, &[presence(3, &channel, Leave, &[])]);
    assert_eq!(c.sees(here), [format!("gap {channel} 0 peer_lost"), "error 3 1015".into()]);
}

#[test]
fn a_leaf_that_missed_changes_is_told_of_a_gap() {
    let limits = Limits { peer_bytes: 50_000, ..Limits::default() };
    let mut c = Cluster::new(2, &Config { limits, ..Config::default() });
    let channel = c.channel_of(1);
    let (here, there) = (c.client(0), c.client(1));
    c.subscribe(here, &channel);
    c.subscribe(there, &channel);
    c.shut(1, 0);
    let big = "x".repeat(60_000);
    c.send(there, &[publish(&channel, &big)]);
    c.settle();
    c.send(there, &[presence(2, &channel, Join, A)]);
    c.settle();
    c.reopen(1, 0);
    assert_eq!(c.sees(here).last(), Some(&format!("gap {channel} 0 overloaded")));
}

#[test]
fn a_slow_reader_that_lost_changes_is_told_of_a_gap() {
    let limits = Limits { queue_bytes: 300, ..Limits::default() };
    let rules = Rules { slow_consumer: SlowConsumer::DropOldest, ..Rules::default() };
    let mut w = World::new(Config { limits, rules, ..Config::default() });
    let (slow, busy) = (w.client(), w.client());
    w.subscribe(slow, "c");
    w.subscribe(busy, "c");
    w.router.set_writable(slow, false);
    for n in 0..5 {
        w.send(busy, &presence(n, "c", [Join, Leave][n as usize % 2], &[]));
        w.drain();
    }
    assert_eq!(w.sees(busy).len(), 10);
    w.router.set_writable(slow, true);
    assert_eq!(w.sees(slow), ["gap c 0", "c +- of 1/1"]);
    let _ = subscribe(1, "c");
}
