//! Publications that are sent again, because their publisher was not told what became of them: taken once. And those that say
//! something older than what is known: not taken.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{Frame, MAX_SAFE, Payload, Publish};
use pulse_core::{Answer, Command, Config, Heartbeat, Limits, Namespace, Now, Outcome, Rule, Rules, Time};
use support::{Cluster, World, connect, history, publish_with_id, subscribe};

/// A hundred publications and ten seconds of them in the namespace `kept`, names known for five; nothing elsewhere.
fn config() -> Config {
    let rules =
        Rules { history_size: 100, history_ttl_ms: 10_000, idempotency_window_ms: 5_000, ..Rules::default() };
    let heartbeat = Heartbeat { interval_ms: 0, ..Heartbeat::default() };
    let namespaces = vec![Namespace { name: "kept".into(), rules }];
    Config { namespaces, heartbeat, ..Config::default() }
}

const X: &str = "kept:x";

/// A publication under an idempotency key.
fn once<'a>(id: u64, channel: &'a str, payload: &'a str, key: &'a str) -> Frame<'a> {
    let Frame::Publish(publish) = publish_with_id(id, channel, payload) else { unreachable!() };
    Frame::Publish(Publish { idempotency_key: Some(key), ..publish })
}

#[test]
fn a_repeat_is_acknowledged_as_the_first_one_and_delivered_to_nobody() {
    let mut w = World::new(config());
    let (reader, a) = (w.client(), w.client());
    w.subscribe(reader, X);
    let (epoch, _) = w.position(a, X);
    w.send_all(a, &[publish_with_id(1, X, "before"), once(2, X, "x", "k"), once(3, X, "other", "l")]);
    w.drain();
    w.take(a);
    w.router.closed(a);
    let again = w.client();
    w.send_all(again, &[once(4, X, "x", "k"), publish_with_id(5, X, "after")]);
    assert_eq!(w.sees(again), [format!("ack 4 at {epoch}:2"), format!("ack 5 at {epoch}:4")]);
    let all = ["before #1", "x #2", "other #3", "after #4"].map(|line| format!("{X} {line}"));
    assert_eq!(w.sees(reader), all);
    assert_eq!(w.router.stats().publications, 4, "what is not taken is not counted");
}

#[test]
fn a_key_is_known_until_its_window_ends_counted_from_the_first() {
    let mut w = World::new(config());
    let a = w.client();
    let (epoch, _) = w.position(a, X);
    w.send(a, &once(1, X, "x", "k"));
    w.advance(4_999);
    w.send(a, &once(2, X, "x", "k"));
    w.advance(1);
    w.send(a, &once(3, X, "x", "k"));
    assert_eq!(
        w.sees(a),
        [1, 1, 2].iter().zip(1..).map(|(n, id)| format!("ack {id} at {epoch}:{n}")).collect::<Vec<_>>()
    );
}

#[test]
fn ten_thousand_keys_are_known_and_then_the_oldest_gives_way() {
    let mut w = World::new(config());
    let a = w.client();
    let (epoch, _) = w.position(a, X);
    for n in 0..10_001 {
        w.send(a, &once(1, X, "x", &n.to_string()));
    }
    w.drain();
    w.take(a);
    w.send_all(a, &[once(2, X, "x", "1"), once(3, X, "x", "0")]);
    assert_eq!(w.sees(a), [format!("ack 2 at {epoch}:2"), format!("ack 3 at {epoch}:10002")]);
}

#[test]
fn a_key_belongs_to_its_channel_and_its_user() {
    let mut w = World::new(Config { connect: Rule::Ask, ..config() });
    let client = |w: &mut World, answer| {
        let conn = w.open(pulse_core::Dialect::V1);
        w.send(conn, &connect(1));
        w.drain();
        w.answer(answer);
        w.take(conn);
        conn
    };
    let ada = client(&mut w, Answer::AllowAs("ada".into()));
    let bob = client(&mut w, Answer::AllowAs("bob".into()));
    let (one, other) = (client(&mut w, Answer::Allow), client(&mut w, Answer::Allow));
    let ada_again = client(&mut w, Answer::AllowAs("ada".into()));
    // The name of a user and a key that would be the same if they were put together without a care.
    let ad = client(&mut w, Answer::AllowAs("ad".into()));
    let number = |w: &mut World, conn, channel, key| {
        w.send(conn, &once(7, channel, "x", key));
        w.sees(conn)[0].split_once(':').expect("it is acknowledged").1.parse::<u64>().unwrap()
    };
    assert_eq!([ada, bob, one, ad].map(|conn| number(&mut w, conn, X, "k")), [1, 2, 3, 4]);
    assert_eq!(number(&mut w, ad, X, "ak"), 5);
    assert_eq!([ada_again, bob, other, ad].map(|conn| number(&mut w, conn, X, "k")), [1, 2, 3, 4]);
    assert_eq!(number(&mut w, ada, "kept:y", "k"), 1, "another channel");
    let publish = Publish {
        channel: X,
        payload: Payload::from(&b"x"[..]),
        idempotency_key: Some("k"),
        ..Publish::default()
    };
    for _ in 0..2 {
        let outcome = w.router.command(&Command::Publish(publish));
        let is_sixth = matches!(outcome, Ok(Outcome::Kept { offset: 6, .. }));
        assert!(is_sixth, "the host is somebody else, too: {outcome:?}");
    }
}

#[test]
fn what_was_refused_is_not_known() {
    let mut config = config();
    config.limits = Limits { max_message_size: 10, max_channels: 1, ..Limits::default() };
    let mut w = World::new(config);
    let a = w.client();
    w.subscribe(a, "plain");
    w.send_all(a, &[once(1, X, "far too large", "k"), once(2, X, "no room", "k")]);
    assert_eq!(w.sees(a), ["error 1 1007", "error 2 1013"]);
    w.send(a, &support::unsubscribe(3, "plain"));
    w.send(a, &once(4, X, "x", "k"));
    assert!(w.sees(a)[1].ends_with(":1"));
}

#[test]
fn a_key_that_is_empty_or_too_long_is_refused_everywhere() {
    let mut w = World::new(config());
    let a = w.client();
    let (longest, longer) = ("k".repeat(255), "k".repeat(256));
    for channel in [X, "plain"] {
        w.send_all(a, &[once(1, channel, "x", ""), once(2, channel, "x", &longer)]);
        assert_eq!(w.sees(a), ["error 1 1001", "error 2 1001"], "{channel}");
        w.send(a, &once(3, channel, "x", &longest));
        assert!(w.sees(a)[0].starts_with("ack 3"), "{channel}");
        let publish = Publish { channel, idempotency_key: Some(&longer), ..Publish::default() };
        assert!(w.router.command(&Command::Publish(publish)).is_err());
    }
}

#[test]
fn where_nothing_is_kept_or_the_window_is_zero_everything_is_taken() {
    let mut config = config();
    let off = Rules { idempotency_window_ms: 0, ..config.namespaces[0].rules };
    config.namespaces.push(Namespace { name: "off".into(), rules: off });
    let mut w = World::new(config);
    let a = w.client();
    for channel in ["off:x", "plain"] {
        w.subscribe(a, channel);
        w.send_all(a, &[once(2, channel, "x", "k"), once(3, channel, "x", "k")]);
        let seen = w.sees(a);
        assert_eq!(seen.iter().filter(|line| line.starts_with(channel)).count(), 2, "{seen:?}");
    }
}

#[test]
fn a_repeat_that_wants_no_answer_gets_none() {
    let mut w = World::new(config());
    let a = w.client();
    w.subscribe(a, X);
    let Frame::Publish(publish) = once(1, X, "x", "k") else { unreachable!() };
    let silent = Frame::Publish(Publish { id: None, ..publish });
    w.send_all(a, &[silent, silent]);
    assert_eq!(w.sees(a), [format!("{X} x #1")]);
}

#[test]
fn a_new_epoch_knows_nothing_of_the_one_before() {
    let mut w = World::new(config());
    let a = w.client();
    w.send(a, &once(1, X, "x", "k"));
    w.advance(4_000);
    let (epoch, _) = w.position(a, X);
    w.send(a, &once(2, X, "x", "k"));
    assert_eq!(w.sees(a).pop().unwrap(), format!("ack 2 at {epoch}:1"));
    // Asking for its history and a repeat have held the channel; the key's window has ended before its life does.
    w.advance(10_000);
    assert_eq!((w.router.top(X), w.router.poll_timeout()), (None, None));
    w.send(a, &once(3, X, "x", "k"));
    let seen = w.sees(a).pop().unwrap();
    assert!(seen.ends_with(":1") && !seen.contains(&epoch), "{seen}");
}

#[test]
fn keys_outlive_what_history_drops() {
    let mut config = config();
    config.namespaces[0].rules.history_size = 1;
    config.namespaces[0].rules.idempotency_window_ms = 60_000;
    let mut w = World::new(config);
    let a = w.client();
    w.subscribe(a, X);
    let (epoch, _) = w.position(a, X);
    w.send_all(a, &[once(1, X, "x", "k"), publish_with_id(2, X, "y")]);
    w.advance(30_000);
    w.take(a);
    w.send(a, &once(3, X, "x", "k"));
    assert_eq!(w.sees(a), [format!("ack 3 at {epoch}:1")]);
    w.advance(30_000);
    assert_eq!(w.router.poll_timeout(), None, "and are swept by themselves");
}

#[test]
fn a_channel_that_nobody_uses_is_not_forgotten_while_it_knows_a_key() {
    let mut config = config();
    config.namespaces[0].rules.idempotency_window_ms = 60_000;
    let ttl: u64 = config.namespaces[0].rules.history_ttl_ms.into();
    assert!(ttl < 50_000);
    let mut w = World::new(config);
    let a = w.client();
    w.send(a, &once(1, X, "x", "k"));
    let first = w.sees(a).pop().unwrap();
    w.advance(59_999);
    w.send(a, &once(1, X, "x", "k"));
    assert_eq!(w.sees(a), [first]);
    w.advance(ttl - 1);
    assert_eq!(w.router.top(X), Some(1), "a repeat uses the channel too");
    w.advance(1);
    assert_eq!((w.router.top(X), w.router.poll_timeout()), (None, None));
}

fn channel_of(c: &Cluster, home: u16) -> String {
    (0..).map(|n| format!("kept:{n}")).find(|name| c.worlds[0].router.home(name).0 == home).unwrap()
}

#[test]
fn a_repeat_is_known_at_every_router() {
    let mut c = Cluster::new(3, &config());
    for home in 0..3 {
        let channel = channel_of(&c, home);
        let reader = c.client(2);
        c.subscribe(reader, &channel);
        let mut acks = vec![];
        for at in 0..3 {
            let publisher = c.client(at);
            c.send(publisher, &[once(1, &channel, "x", "k"), once(2, &channel, "x", "k")]);
            acks.extend(c.sees(publisher));
            c.close(publisher);
        }
        let number = |ack: &String| ack.split_once(" at ").expect("it has a position").1.to_owned();
        let positions: Vec<String> = acks.iter().map(number).collect();
        assert!(positions.len() == 6 && positions.iter().all(|at| *at == positions[0]), "{acks:?}");
        assert_eq!(c.sees(reader), [format!("{channel} x #1")]);
    }
}

#[test]
fn a_publisher_whose_router_lost_the_home_may_send_again_when_it_is_back() {
    let mut c = Cluster::new(2, &config());
    let channel = channel_of(&c, 0);
    let (reader, publisher) = (c.client(0), c.client(1));
    c.subscribe(reader, &channel);
    // The home takes it, and what it says of it is lost.
    c.delay(0, 1);
    c.send(publisher, &[once(1, &channel, "x", "k")]);
    c.settle();
    c.part(0, 1);
    assert_eq!(c.sees(publisher), ["error 1 1011"]);
    c.rejoin(0, 1);
    c.send(publisher, &[once(2, &channel, "x", "k")]);
    assert!(c.sees(publisher)[0].ends_with(":1"));
    assert_eq!(c.sees(reader), [format!("{channel} x #1")]);
}

#[test]
fn what_is_known_moves_with_its_channel() {
    let mut old = World::new(config());
    let a = old.client();
    old.send_all(a, &[once(1, X, "x", "early")]);
    old.advance(3_000);
    old.send_all(a, &[publish_with_id(2, X, "y"), once(3, X, "z", "late")]);
    let (epoch, _) = old.position(a, X);
    old.advance(1_000);
    let mut channels = vec![];
    old.router.export_channels(&mut channels);
    let mut new = World::new(config());
    new.now_ms = 50_000;
    new.router.advance(Now { mono: Time(50_000_000), unix_ms: 0 });
    new.router.import_channels(&channels).unwrap();
    let a = new.client();
    new.subscribe(a, X);
    new.send_all(a, &[once(4, X, "x", "early"), once(5, X, "z", "late")]);
    assert_eq!(new.sees(a), [format!("ack 4 at {epoch}:1"), format!("ack 5 at {epoch}:3")]);
    new.advance(1_000);
    new.send_all(a, &[once(6, X, "x", "early"), once(7, X, "z", "late")]);
    let seen = new.sees(a);
    assert!(seen.contains(&format!("ack 6 at {epoch}:4")), "its age has moved too: {seen:?}");
    assert!(seen.contains(&format!("ack 7 at {epoch}:3")), "{seen:?}");
    new.send(a, &history(8, X, None, None, None));
    assert_eq!(new.sees(a)[0].matches('#').count(), 4);
    new.send(a, &subscribe(9, X));
    assert_eq!(new.sees(a), ["error 9 1009"]);
}

/// A publication of a key's version.
fn versioned<'a>(id: u64, channel: &'a str, key: &'a str, version: u64) -> Frame<'a> {
    let Frame::Publish(publish) = publish_with_id(id, channel, "x") else { unreachable!() };
    Frame::Publish(Publish { key: Some(key), version: Some(version), ..publish })
}

#[test]
fn a_version_that_is_not_newer_is_dropped_and_its_publisher_is_told() {
    let mut w = World::new(config());
    let (reader, a) = (w.client(), w.client());
    w.subscribe(reader, X);
    let (epoch, _) = w.position(a, X);
    w.send_all(
        a,
        &[
            versioned(1, X, "k", 5),
            versioned(2, X, "k", 5),
            versioned(3, X, "other", 0),
            versioned(4, X, "k", 4),
            versioned(5, X, "k", 6),
            versioned(6, X, "k", 5),
        ],
    );
    let told =
        [" at E:1", " stale true at E:1", " at E:2", " stale true at E:2", " at E:3", " stale true at E:3"];
    let told: Vec<_> =
        told.iter().zip(1..).map(|(told, id)| format!("ack {id}{}", told.replace('E', &epoch))).collect();
    assert_eq!(w.sees(a), told);
    assert_eq!(w.sees(reader), ["#1", "#2", "#3"].map(|number| format!("{X} x {number}")));
    assert_eq!(w.router.stats().publications, 3);
}

#[test]
fn a_version_guards_as_long_as_history_keeps_it() {
    let mut config = config();
    config.namespaces[0].rules.history_size = 3;
    let mut w = World::new(config);
    let a = w.client();
    w.subscribe(a, X);
    w.send_all(a, &[versioned(1, X, "k", 9), publish_with_id(2, X, "x"), publish_with_id(3, X, "x")]);
    w.send(a, &versioned(4, X, "k", 1));
    assert!(w.sees(a).iter().any(|line| line.starts_with("ack 4 stale true")));
    w.send_all(a, &[publish_with_id(5, X, "x"), versioned(6, X, "k", 1)]);
    assert!(w.sees(a).iter().any(|line| line.starts_with("ack 6 at")), "by number");
    w.advance(10_000);
    w.send(a, &versioned(7, X, "k", 0));
    assert!(w.sees(a)[0].starts_with("ack 7 at"), "by age");
}

#[test]
fn a_repeat_is_told_what_the_first_one_was_even_when_it_would_not_be_so_now() {
    let mut config = config();
    config.namespaces[0].rules.history_size = 1;
    let mut w = World::new(config);
    let a = w.client();
    w.subscribe(a, X);
    let (epoch, _) = w.position(a, X);
    let named = |id, version, key| {
        let Frame::Publish(publish) = versioned(id, X, "k", version) else { unreachable!() };
        Frame::Publish(Publish { idempotency_key: Some(key), ..publish })
    };
    let acks = |w: &mut World| {
        let seen = w.sees(a).into_iter();
        seen.filter(|line| line.starts_with("ack")).collect::<Vec<_>>()
    };
    w.send_all(a, &[named(1, 5, "five"), named(2, 4, "four"), named(3, 6, "six"), named(4, 5, "five")]);
    let stale = format!("ack 2 stale true at {epoch}:1");
    let told = [format!("ack 1 at {epoch}:1"), stale, format!("ack 3 at {epoch}:2")];
    assert_eq!(acks(&mut w), [&told[..], &[format!("ack 4 at {epoch}:1")]].concat());
    w.send_all(a, &[publish_with_id(5, X, "x"), named(6, 4, "four")]);
    assert_eq!(acks(&mut w)[1], format!("ack 6 stale true at {epoch}:1"), "nothing of it is kept now");
    // And all of that moves.
    let mut channels = vec![];
    w.router.export_channels(&mut channels);
    let mut w = World::new(Config::default());
    assert!(w.router.import_channels(&channels).is_ok(), "where nothing is kept it is dropped");
}

#[test]
fn versions_move_with_their_channel() {
    let mut old = World::new(config());
    let a = old.client();
    old.send_all(a, &[versioned(1, X, "k", 5), versioned(2, X, "l", 2)]);
    old.drain();
    let mut channels = vec![];
    old.router.export_channels(&mut channels);
    let mut new = World::new(config());
    new.router.import_channels(&channels).unwrap();
    let a = new.client();
    new.send_all(a, &[versioned(3, X, "k", 5), versioned(4, X, "l", 3)]);
    let seen = new.sees(a);
    assert!(seen[0].contains("stale") && seen[1].ends_with(":3"), "{seen:?}");
}

#[test]
fn a_version_needs_a_key_and_history() {
    let mut w = World::new(config());
    let a = w.client();
    let Frame::Publish(publish) = versioned(1, X, "k", 5) else { unreachable!() };
    w.send(a, &Frame::Publish(Publish { key: None, ..publish }));
    w.send(a, &versioned(2, "plain", "k", 5));
    assert_eq!(w.sees(a), ["error 1 1001", "error 2 1014"]);
    let host = Publish { channel: "plain", ..publish };
    assert_eq!(w.router.command(&Command::Publish(host)).unwrap_err().code.0, 1014);
    let host = Publish { version: Some(MAX_SAFE + 1), ..publish };
    assert_eq!(w.router.command(&Command::Publish(host)).unwrap_err().code.0, 1001, "no frame can say that");
    let (epoch, _) = w.position(a, X);
    let epoch: Box<str> = epoch.into();
    let kept = Outcome::Kept { epoch: epoch.clone(), offset: 1 };
    assert_eq!(w.router.command(&Command::Publish(publish)), Ok(kept));
    let stale = Outcome::Stale { epoch, offset: 1 };
    assert_eq!(w.router.command(&Command::Publish(publish)), Ok(stale));
}

#[test]
fn a_stale_version_is_told_across_routers() {
    let mut c = Cluster::new(2, &config());
    let channel = channel_of(&c, 0);
    let (near, far) = (c.client(0), c.client(1));
    c.subscribe(far, &channel);
    c.send(near, &[versioned(1, &channel, "k", 5)]);
    c.settle();
    c.send(far, &[versioned(2, &channel, "k", 4), versioned(3, &channel, "k", 6)]);
    let seen = c.sees(far);
    let stale = seen.iter().find(|line| line.starts_with("ack 2 stale true at")).expect("it is told");
    assert!(stale.ends_with(":1"), "{stale}");
    let got: Vec<_> = seen.iter().filter(|line| line.starts_with(&channel)).collect();
    assert_eq!(got, [&format!("{channel} x #1"), &format!("{channel} x #2")]);
}

#[test]
fn a_version_and_a_time_of_day_as_large_as_may_be_are_kept() {
    let mut w = World::new(config());
    let a = w.client();
    w.router.advance(Now { mono: Time(1_000), unix_ms: u64::MAX });
    w.send_all(a, &[versioned(1, X, "k", MAX_SAFE), history(2, X, None, None, None)]);
    let seen = w.sees(a);
    assert!(seen[0].starts_with("ack 1 at ") && seen[1].starts_with("history 2: x#1@"), "{seen:?}");
}
