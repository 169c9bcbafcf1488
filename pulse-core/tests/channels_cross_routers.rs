//! Several routers that share channels: one order everywhere, limits together, full queues and lost peers.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::PresenceAction::{Count, Join};
use pulse_core::wire::{Frame, Payload, Publish};
use pulse_core::{
    BadParcel, Config, ConnId, Dialect, Kind, Limits, Link, Namespace, PeerId, PeerMessage, Rules, Shards,
    SlowConsumer,
};
use support::{
    Cluster, World, connect, history, presence, publish, publish_with_id, recover, subscribe, unsubscribe,
};

#[test]
fn a_publication_reaches_subscribers_of_every_router_whoever_is_home() {
    let mut c = Cluster::new(4, &Config::default());
    let clients: Vec<_> = (0..4).map(|at| c.client(at)).collect();
    for home in 0..4 {
        let channel = c.channel_of(home);
        clients.iter().for_each(|client| c.subscribe(*client, &channel));
        for (n, client) in clients.iter().enumerate() {
            c.send(*client, &[publish_with_id(n as u64, &channel, &n.to_string())]);
            let expected = format!("{channel} {n}");
            for other in &clients {
                let ack = (other == client).then(|| format!("ack {n}"));
                let due: Vec<String> = ack.into_iter().chain([expected.clone()]).collect();
                assert_eq!(c.sees(*other), due, "home {home}, from {n}");
            }
        }
    }
}

#[test]
fn all_subscribers_see_one_order() {
    let mut c = Cluster::new(3, &Config::default());
    let clients: Vec<_> = (0..6).map(|n| c.client(n % 3)).collect();
    let channel = c.channel_of(1);
    clients.iter().for_each(|client| c.subscribe(*client, &channel));
    for round in 0..20 {
        for (n, client) in clients.iter().enumerate() {
            c.send(*client, &[publish(&channel, &format!("{round}.{n}"))]);
        }
    }
    let seen: Vec<_> = clients.iter().map(|client| c.sees(*client)).collect();
    assert_eq!(seen[0].len(), 120);
    assert!(seen.iter().all(|one| *one == seen[0]));
}

#[test]
fn requests_in_one_message_are_each_answered_and_take_effect_in_order() {
    let mut c = Cluster::new(2, &Config::default());
    let client = c.client(0);
    let channel = c.channel_of(1);
    let frames = [
        subscribe(1, &channel),
        subscribe(2, &channel),
        publish_with_id(3, &channel, "x"),
        unsubscribe(4, &channel),
        subscribe(5, &channel),
        publish_with_id(6, &channel, "y"),
    ];
    c.send(client, &frames);
    let mut seen = c.sees(client);
    let received = seen.iter().filter(|line| line.starts_with('c')).cloned().collect::<Vec<_>>();
    assert_eq!(received, [format!("{channel} y")], "what it published before it left is not its any more");
    seen.retain(|line| !line.starts_with('c'));
    seen.sort();
    assert_eq!(seen, ["ack 1", "ack 3", "ack 4", "ack 5", "ack 6", "error 2 1009"]);
}

#[test]
fn a_channel_is_gone_everywhere_when_its_last_subscriber_is() {
    let mut c = Cluster::new(2, &Config::default());
    let (here, there) = (c.client(0), c.client(1));
    let channel = c.channel_of(1);
    c.subscribe(here, &channel);
    c.subscribe(there, &channel);
    assert_eq!((c.router(0).stats().channels, c.router(1).stats().channels), (0, 1), "counted at home");
    c.close(there);
    assert!(c.router(1).top(&channel).is_some(), "the leaf still needs it");
    c.send(here, &[unsubscribe(2, &channel)]);
    c.settle();
    assert_eq!((c.router(0).top(&channel), c.router(1).top(&channel)), (None, None));
    assert_eq!(c.router(1).stats().channels, 0);
}

#[test]
fn a_subscription_that_ends_before_the_home_has_answered_leaves_nothing_behind() {
    let mut c = Cluster::new(2, &Config::default());
    let channel = c.channel_of(1);
    for _ in 0..3 {
        let client = c.client(0);
        c.send(client, &[subscribe(1, &channel)]);
        c.close(client);
    }
    assert_eq!((c.router(0).top(&channel), c.router(1).top(&channel)), (None, None));
}

#[test]
fn an_answer_for_a_channel_that_is_gone_is_not_taken_for_the_one_in_its_place() {
    let mut c = Cluster::new(3, &Config::default());
    let (client, publisher) = (c.client(0), c.client(2));
    let (gone, wanted) = (c.channel_of(1), c.channel_of(2));
    c.subscribe(publisher, &wanted);
    c.send(publisher, &[publish(&wanted, "one")]);
    c.settle();
    // Both are the first thing that their homes are asked, and the second takes the index of the first.
    c.shut(2, 0);
    c.send(client, &[subscribe(1, &gone), unsubscribe(2, &gone), subscribe(3, &wanted)]);
    c.settle();
    c.reopen(2, 0);
    c.send(publisher, &[publish(&wanted, "two")]);
    assert_eq!(c.sees(client), ["ack 1", "ack 2", "ack 3", &format!("{wanted} two")]);
}

#[test]
fn the_limit_of_channels_is_shared_and_told_through_the_leaf() {
    let limits = Limits { max_channels: 4, ..Limits::default() };
    let mut c = Cluster::new(2, &Config { limits, ..Config::default() });
    let client = c.client(0);
    let names: Vec<String> = (0..100)
        .map(|n| format!("n{n}"))
        .filter(|name| c.router(0).home(name) == PeerId(1))
        .take(3)
        .collect();
    c.subscribe(client, &names[0]);
    c.subscribe(client, &names[1]);
    let second = c.client(0);
    c.send(client, &[subscribe(7, &names[2])]);
    c.send(second, &[subscribe(8, &names[2])]);
    assert_eq!(c.sees(client), ["error 7 1013"]);
    assert_eq!(c.sees(second), ["error 8 1013"]);
    assert_eq!(c.router(0).top(&names[2]), None);
    c.send(client, &[unsubscribe(9, &names[0]), subscribe(10, &names[2])]);
    assert_eq!(c.sees(client), ["ack 9", "ack 10"]);
}

/// Two MiB are on their way to a home before it learns that its leaf takes nothing.
#[test]
fn a_leaf_that_takes_too_little_is_told_how_much_it_missed() {
    let limits = Limits { peer_bytes: 1 << 20, ..Limits::default() };
    let mut c = Cluster::new(3, &Config { limits, ..Config::default() });
    let (publisher, reader) = (c.client(2), c.client(0));
    let channel = c.channel_of(1);
    let quiet = (0..).map(|n| format!("q{n}")).find(|q| c.router(0).home(q) == PeerId(1)).unwrap();
    c.subscribe(reader, &channel);
    c.subscribe(reader, &quiet);
    c.shut(1, 0);
    c.delay(2, 1);
    let big = "x".repeat(10_000);
    for _ in 0..200 {
        c.send(publisher, &[publish(&channel, &big)]);
    }
    c.send(publisher, &[publish(&quiet, "hush")]);
    c.reopen(2, 1);
    assert_eq!(c.sees(reader), Vec::<String>::new());
    c.reopen(1, 0);
    let seen = c.sees(reader);
    let received = seen.iter().filter(|line| line.ends_with('x')).count();
    assert!((100..110).contains(&received), "a MiB is kept: {received}");
    let mut gaps: Vec<String> = seen.iter().filter(|line| line.starts_with("gap")).cloned().collect();
    gaps.sort();
    let mut expected =
        [format!("gap {channel} {} overloaded", 200 - received), format!("gap {quiet} 1 overloaded")];
    expected.sort();
    assert_eq!(gaps, expected);
    c.send(publisher, &[publish(&channel, "after")]);
    assert_eq!(c.sees(reader), [format!("{channel} after")]);
}

/// Lets a client publish, counted from 1, until its router reads no more from it. Returns how many that were.
fn until_paused(
    c: &mut Cluster,
    publisher: (u16, ConnId),
    mut publish: impl FnMut(&mut Cluster, u64),
) -> u64 {
    let mut sent = 0;
    while c.worlds[usize::from(publisher.0)].effects.is_empty() {
        sent += 1;
        publish(c, sent);
        c.settle();
        assert!(sent < 100, "a publisher is paused");
    }
    sent
}

#[test]
fn publishers_wait_wherever_they_are_for_a_leaf_that_takes_nothing() {
    let mut c = Cluster::new(3, &Config::default());
    let (at_home, elsewhere, reader) = (c.client(1), c.client(2), c.client(0));
    let channel = c.channel_of(1);
    c.subscribe(reader, &channel);
    c.shut(1, 0);
    let big = "x".repeat(60_000);
    let mut sent = 0;
    for publisher in [at_home, elsewhere] {
        sent += until_paused(&mut c, publisher, |c, n| {
            c.send(publisher, &[publish(&channel, &format!("{n}{big}"))]);
        });
    }
    assert_eq!(c.sees(reader), Vec::<String>::new());
    c.reopen(1, 0);
    let seen = c.sees(reader);
    assert_eq!(seen.len() as u64, sent, "nothing is lost");
    for world in [1, 2] {
        let effects = c.worlds[world].effects.join(", ");
        assert!(effects.ends_with(" false"), "router {world} reads again: {effects}");
    }
}

#[test]
fn what_waited_for_a_peer_is_written_in_turns_of_the_usual_size() {
    let mut c = Cluster::new(2, &Config::default());
    let (publisher, here, there) = (c.client(0), c.client(0), c.client(1));
    let channel = c.channel_of(0);
    c.subscribe(here, &channel);
    c.subscribe(there, &channel);
    c.shut(0, 1);
    let big = "x".repeat(60_000);
    until_paused(&mut c, publisher, |c, _| c.send(publisher, &[publish(&channel, &big)]));
    let waiting = [(); 30].map(|()| c.client(0));
    for publisher in waiting {
        c.send(publisher, &[publish(&channel, &big)]);
    }
    c.settle();
    c.sees(here);
    c.router(0).set_peer_writable(PeerId(1), true);
    let mut sizes = vec![];
    loop {
        while let Some(batch) = c.router(0).poll_write() {
            sizes.push(batch.payload().len());
        }
        let mut any = false;
        while c.router(0).poll_effect().is_some() {
            any = true;
        }
        if !any {
            break;
        }
    }
    assert!(sizes.iter().all(|size| *size < 2 * 60_000), "{sizes:?}");
    assert!(sizes.iter().sum::<usize>() > 31 * 60_000, "all of it is written: {sizes:?}");
}

#[test]
fn publishers_wait_for_a_home_that_takes_nothing_and_lose_nothing() {
    let mut c = Cluster::new(2, &Config::default());
    let (publisher, reader) = (c.client(0), c.client(1));
    let channel = c.channel_of(1);
    c.subscribe(reader, &channel);
    c.shut(0, 1);
    let big = "x".repeat(60_000);
    let sent = until_paused(&mut c, publisher, |c, n| {
        c.send(publisher, &[publish_with_id(n, &channel, &format!("{n}{big}"))]);
    });
    let slot = publisher.1.slot();
    assert_eq!(c.worlds[0].effects, [format!("pause {slot} true")]);
    assert_eq!(c.sees(reader), Vec::<String>::new());
    c.reopen(0, 1);
    assert_eq!(c.worlds[0].effects, [format!("pause {slot} true"), format!("pause {slot} false")]);
    assert_eq!(c.sees(reader).len() as u64, sent);
    let acks: Vec<String> = (1..=sent).map(|id| format!("ack {id}")).collect();
    assert_eq!(c.sees(publisher), acks);
}

#[test]
fn a_lost_home_fails_what_waits_and_comes_back_with_a_gap() {
    let mut c = Cluster::new(2, &Config::default());
    let (here, there) = (c.client(0), c.client(1));
    let channel = c.channel_of(1);
    c.subscribe(here, &channel);
    c.subscribe(there, &channel);
    c.shut(0, 1);
    c.send(here, &[publish_with_id(2, &channel, "lost")]);
    c.part(0, 1);
    assert_eq!(c.sees(here), ["error 2 1011"]);
    c.send(here, &[publish_with_id(3, &channel, "x"), subscribe(4, &channel), unsubscribe(5, "a")]);
    let second = c.client(0);
    c.send(second, &[subscribe(1, &channel)]);
    assert_eq!(c.sees(here), ["error 3 1011", "error 4 1009", "error 5 1008"]);
    assert_eq!(c.sees(second), ["error 1 1011"]);
    c.send(there, &[publish(&channel, "one"), publish(&channel, "two")]);
    assert_eq!(c.sees(there), [format!("{channel} one"), format!("{channel} two")]);
    c.rejoin(0, 1);
    assert_eq!(c.sees(here), [format!("gap {channel} 2 peer_lost")]);
    c.send(here, &[publish_with_id(6, &channel, "three")]);
    assert_eq!(c.sees(here), ["ack 6".to_string(), format!("{channel} three")]);
    assert_eq!(c.sees(there), [format!("{channel} three")]);
}

#[test]
fn a_channel_that_began_anew_meanwhile_is_a_gap_of_unknown_size() {
    let mut c = Cluster::new(2, &Config::default());
    let here = c.client(0);
    let channel = c.channel_of(1);
    c.subscribe(here, &channel);
    c.part(0, 1);
    assert_eq!(c.router(1).top(&channel), None, "nobody needs it there");
    c.rejoin(0, 1);
    assert_eq!(c.sees(here), [format!("gap {channel} some peer_lost")]);
}

#[test]
fn a_home_that_was_lost_is_a_gap_even_where_no_publication_was_missed() {
    let mut c = Cluster::new(2, &Config::default());
    let (here, there) = (c.client(0), c.client(1));
    let channel = c.channel_of(1);
    c.subscribe(here, &channel);
    c.subscribe(there, &channel);
    c.part(0, 1);
    c.rejoin(0, 1);
    assert_eq!(c.sees(here), [format!("gap {channel} 0 peer_lost")]);
}

#[test]
fn a_home_that_has_no_room_any_more_ends_the_subscription() {
    let limits = Limits { max_channels: 2, ..Limits::default() };
    let mut c = Cluster::new(2, &Config { limits, ..Config::default() });
    let (here, there) = (c.client(0), c.client(1));
    let names: Vec<String> = (0..100)
        .map(|n| format!("n{n}"))
        .filter(|name| c.router(0).home(name) == PeerId(1))
        .take(2)
        .collect();
    c.subscribe(here, &names[0]);
    c.part(0, 1);
    c.subscribe(there, &names[1]);
    c.rejoin(0, 1);
    assert_eq!(c.sees(here), [format!("unsubscribed {} 1013", names[0])]);
    c.send(here, &[unsubscribe(2, &names[0])]);
    assert_eq!(c.sees(here), ["error 2 1008"]);
}

#[test]
fn text_and_binary_readers_of_a_leaf_get_the_same_publication() {
    let rules = Rules { slow_consumer: SlowConsumer::LatestPerKey, ..Rules::default() };
    let mut c = Cluster::new(2, &Config { rules, ..Config::default() });
    let (publisher, reader) = (c.client(1), c.client(0));
    let channel = c.channel_of(1);
    c.subscribe(reader, &channel);
    let text = c.router(0).open(Link { class: 0, dialect: Dialect::Json });
    c.router(0).receive(text, Kind::Text, b"{\"type\":\"connect\",\"version\":1}");
    let line = format!("{{\"type\":\"subscribe\",\"id\":1,\"channel\":\"{channel}\"}}");
    c.router(0).receive(text, Kind::Text, line.as_bytes());
    let mut lines = String::new();
    while let Some(batch) = c.router(0).poll_write() {
        lines += core::str::from_utf8(batch.payload()).unwrap();
    }
    let keyed = Publish {
        channel: &channel,
        key: Some("k"),
        payload: Payload::from(&b"[1]"[..]),
        ..Publish::default()
    };
    let format = pulse_core::wire::Format::Json;
    c.send(publisher, &[Frame::Publish(Publish { format, ..keyed })]);
    c.worlds[1].drain();
    for (_, parcel) in std::mem::take(&mut c.worlds[1].parcels) {
        c.router(0).peer(PeerId(1), &parcel).unwrap();
    }
    let mut binary = vec![];
    while let Some(batch) = c.router(0).poll_write() {
        match batch.kind() {
            Kind::Text => lines += core::str::from_utf8(batch.payload()).unwrap(),
            Kind::Binary => binary.extend(support::lines(batch.payload())),
        }
    }
    assert_eq!(binary, [format!("{channel} [1]")]);
    let published = format!("\"channel\":\"{channel}\",\"payload\":[1]");
    assert!(lines.contains(&published), "{lines}");
}

#[test]
fn bytes_that_are_no_parcel_are_refused() {
    let mut c = Cluster::new(2, &Config::default());
    assert_eq!(c.router(0).peer(PeerId(1), b"nonsense"), Err(BadParcel));
    assert_eq!(c.router(0).peer(PeerId(0), &[]), Err(BadParcel), "nobody is its own peer");
    assert_eq!(c.router(0).peer(PeerId(9), &[]), Err(BadParcel));
    let alone = &mut World::new(Config::default()).router;
    assert_eq!(alone.peer(PeerId(1), &[]), Err(BadParcel));
}

#[test]
fn no_two_connections_of_a_cluster_have_one_name() {
    let mut c = Cluster::new(4, &Config::default());
    let mut names: Vec<_> = (0..400)
        .map(|n| {
            let (at, conn) = (n % 4, c.router(n % 4).open(Link { class: 0, dialect: Dialect::V1 }));
            c.router(at).name(conn)
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 400);
    let _ = connect(1);
}

/// Routers that do not agree who has a channel, by a mistake of whoever set them up.
#[test]
fn a_peer_that_asks_for_what_is_not_at_home_here_is_refused_and_ends_nobody() {
    let rules = Rules { history_size: 4, ..Rules::default() };
    let kept = Config { namespaces: vec![Namespace { name: "kept".into(), rules }], ..Config::default() };
    let world = |index, key| World::new(Config { shards: Shards { index, count: 2, key }, ..kept.clone() });
    for namespace in ["plain", "kept"] {
        for (is_known, recovers) in [(false, false), (true, false), (false, true)] {
            let (mut home, mut leaf) = (world(0, 7), world(1, 8));
            let each_has_the_other =
                |name: &String| leaf.router.home(name) == PeerId(0) && home.router.home(name) == PeerId(1);
            let channel = (0..).map(|n| format!("{namespace}:{n}")).find(each_has_the_other).unwrap();
            if is_known {
                let there = home.client();
                home.send(there, &subscribe(1, &channel));
                home.drain();
                home.parcels.clear();
            }
            let a = leaf.client();
            leaf.send_all(a, &[history(1, &channel, None, None, None), publish_with_id(2, &channel, "a")]);
            leaf.send_all(a, &[publish(&channel, "b"), presence(3, &channel, Count, b"")]);
            leaf.send(
                a,
                &if recovers { recover(4, &channel, "00000000", 0) } else { subscribe(4, &channel) },
            );
            leaf.send(a, &presence(5, &channel, Join, b"\xa1a"));
            let told = |from: &mut World, to: &mut World, peer| {
                from.drain();
                for (_, parcel) in from.parcels.drain(..) {
                    to.router.peer(peer, &parcel).expect("it is a parcel");
                }
            };
            told(&mut leaf, &mut home, PeerId(1));
            told(&mut home, &mut leaf, PeerId(0));
            let mut seen = leaf.sees(a);
            seen.sort();
            let all = (1..=5).map(|id| format!("error {id} 1011"));
            let expected: Vec<_> = match namespace {
                "kept" => core::iter::once("error 0 1011".into()).chain(all).collect(),
                _ => core::iter::once("error 1 1014".into()).chain(all.skip(1)).collect(),
            };
            assert_eq!(seen, expected);
            let dropped = home.router.stats().dropped_between;
            assert_eq!(dropped, u64::from(namespace == "plain"), "who is not told is counted");
            assert_eq!(leaf.router.stats().subscriptions, 0);
        }
    }
}

#[test]
fn a_peers_numbers_may_be_as_large_as_they_are_written() {
    let mut c = Cluster::new(2, &Config::default());
    let channel = c.channel_of(0);
    let (a, b) = (c.client(1), c.client(1));
    c.subscribe(a, &channel);
    c.subscribe(b, &channel);
    c.send(a, &[publish_with_id(1, &channel, "a")]);
    c.settle();
    c.sees(a);
    let (mut parcel, mut frame) = (vec![], vec![]);
    publish(&channel, "b").encode(&mut frame);
    let (channel, frame) = (&*channel, &*frame);
    PeerMessage::Missed { channel, offset: u64::MAX, changes: false }.encode(&mut parcel);
    PeerMessage::Publication { channel, offset: u64::MAX, frame }.encode(&mut parcel);
    PeerMessage::Publication { channel, offset: 0, frame }.encode(&mut parcel);
    assert_eq!(c.router(1).peer(PeerId(0), &parcel), Ok(()));

    // Nor does a code have to be one of ours.
    let other = c.client(1);
    c.worlds[1].send(other.1, &publish_with_id(7, channel, "b"));
    c.worlds[1].drain();
    c.worlds[1].parcels.clear();
    let mut parcel = vec![];
    (1..9).for_each(|ticket| PeerMessage::Refused { ticket, code: 9 }.encode(&mut parcel));
    assert_eq!(c.router(1).peer(PeerId(0), &parcel), Ok(()));
    assert_eq!(c.sees(other), ["error 7 1011"]);
}
