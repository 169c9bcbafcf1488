//! Channels that keep history: numbers and positions, how much is kept and for how long, and questions about it.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{self, ErrorCode, Payload, Point, Publish};
use pulse_core::{Answer, Command, Config, Dialect, Heartbeat, Limits, Namespace, Outcome, Rule, Rules};
use support::{World, history, publish, publish_with_id, recover, subscribe, unsubscribe};

/// Four publications, 1,000 bytes and ten seconds in the namespace `kept`; nothing elsewhere.
fn config() -> Config {
    let rules = Rules { history_size: 4, history_bytes: 1_000, history_ttl_ms: 10_000, ..Rules::default() };
    // Nobody is asked for a sign of life, so that nothing but history falls due.
    let heartbeat = Heartbeat { interval_ms: 0, ..Heartbeat::default() };
    let namespaces = vec![Namespace { name: "kept".into(), rules }];
    Config { namespaces, heartbeat, ..Config::default() }
}

fn world() -> World {
    World::new(config())
}

const X: &str = "kept:x";

#[test]
fn publications_are_numbered_and_acks_say_where() {
    let mut w = world();
    let (a, b) = (w.client(), w.client());
    w.send(a, &publish_with_id(1, X, "a"));
    let seen = w.sees(a);
    let (epoch, offset) = w.position(a, X);
    assert_eq!((seen, offset), (vec![format!("ack 1 at {epoch}:1")], 1), "kept before anybody subscribes");
    w.send_all(b, &[subscribe(2, X), publish_with_id(3, X, "b"), publish(X, "c")]);
    let acks = [format!("ack 2 at {epoch}:1"), format!("ack 3 at {epoch}:2")];
    assert_eq!(w.sees(b)[..2], acks);
    w.send(a, &subscribe(4, X));
    w.send_all(b, &[publish(X, "d"), unsubscribe(5, X)]);
    assert_eq!(w.sees(a), [format!("ack 4 at {epoch}:3"), format!("{X} d #4")]);
}

#[test]
fn without_history_nothing_is_different() {
    let mut w = world();
    let a = w.client();
    w.send_all(
        a,
        &[
            subscribe(1, "other:x"),
            publish_with_id(2, "other:x", "a"),
            history(3, "other:x", None, None, None),
        ],
    );
    assert_eq!(w.sees(a), ["ack 1", "ack 2", "other:x a", "error 3 1014"]);
    w.send(a, &recover(4, "other:y", "00000000", 0));
    assert_eq!(w.sees(a), ["ack 4 recovered false"]);
    w.send(a, &unsubscribe(5, "other:x"));
    w.drain();
    assert_eq!(w.router.top("other:x"), None, "it goes with its last subscriber");
}

#[test]
fn a_client_of_the_first_release_is_told_no_positions() {
    let mut w = world();
    let a = w.open(Dialect::Legacy);
    w.send_all(a, &[subscribe(1, X), publish_with_id(2, X, "a")]);
    assert_eq!(w.sees(a), ["connected", "ack 1", "ack 2", "kept:x a #1"]);
}

#[test]
fn history_is_told_forwards_backwards_and_from_a_position() {
    let mut w = world();
    let a = w.client();
    for payload in ["a", "b", "c", "d", "e"] {
        w.send(a, &publish(X, payload));
        w.advance(100);
    }
    let (epoch, _) = w.position(a, X);
    let mut ask = |since: Option<u64>, limit, reverse| {
        w.send(a, &history(7, X, since.map(|offset| (&*epoch, offset)), limit, Some(reverse)));
        let seen = w.sees(a);
        let page =
            seen[0].strip_prefix("history 7: ").and_then(|page| page.strip_suffix(&format!(" of {epoch}:5")));
        page.unwrap_or_else(|| panic!("{seen:?}")).to_owned()
    };
    assert_eq!(ask(None, None, false), "b#2@100 c#3@200 d#4@300 e#5@400", "four are kept");
    assert_eq!(ask(None, Some(2), false), "b#2@100 c#3@200");
    assert_eq!(ask(Some(3), Some(2), false), "d#4@300 e#5@400", "the next page follows from the last");
    assert_eq!(ask(None, Some(2), true), "e#5@400 d#4@300");
    assert_eq!(ask(Some(3), None, true), "e#5@400 d#4@300");
    assert_eq!(ask(Some(5), None, false), "");
}

#[test]
fn what_history_does_not_reach_is_an_error() {
    let mut w = world();
    let a = w.client();
    for payload in ["a", "b", "c", "d", "e", "f"] {
        w.send(a, &publish(X, payload));
    }
    let (epoch, _) = w.position(a, X);
    let mut ask = |epoch, offset| {
        w.send(a, &history(7, X, Some((epoch, offset)), Some(0), None));
        w.sees(a).remove(0)
    };
    assert_eq!(ask(&epoch, 1), "error 7 1016", "2 is missing");
    assert_eq!(ask(&epoch, 2), format!("history 7:  of {epoch}:6"));
    assert_eq!(ask(&epoch, 7), "error 7 1016", "there is no 7");
    assert_eq!(ask("00000000", 6), "error 7 1016");
    assert_eq!(ask("no epoch", 6), "error 7 1016");
}

#[test]
fn a_page_ends_where_it_is_large_and_never_before_the_first() {
    let mut config = config();
    config.namespaces[0].rules.history_bytes = 1 << 20;
    let mut w = World::new(config);
    let a = w.client();
    let large = "x".repeat(40_000);
    for _ in 0..3 {
        w.send(a, &publish(X, &large));
    }
    w.send(a, &history(7, X, None, None, None));
    assert_eq!(w.sees(a)[0].matches('#').count(), 1);
}

#[test]
fn age_and_bytes_bound_what_is_kept_while_the_numbers_go_on() {
    let mut w = world();
    let a = w.client();
    w.subscribe(a, X);
    w.send(a, &publish(X, "old"));
    w.advance(9_999);
    let (epoch, _) = w.position(a, X);
    w.send(a, &history(1, X, None, None, None));
    assert_eq!(w.sees(a)[0], format!("history 1: old#1@0 of {epoch}:1"));
    w.advance(1);
    w.send(a, &history(2, X, None, None, None));
    assert_eq!(w.sees(a), [format!("history 2:  of {epoch}:1")]);
    w.send_all(
        a,
        &[publish(X, &"y".repeat(800)), publish(X, &"z".repeat(300)), history(3, X, None, None, None)],
    );
    let page = w.sees(a).pop().unwrap();
    assert_eq!((page.matches('#').count(), page.contains("z#3@")), (1, true), "1,000 bytes hold one of them");
}

#[test]
fn a_channel_that_nobody_uses_is_forgotten_after_its_ttl_and_begins_anew() {
    let mut w = world();
    let a = w.client();
    w.subscribe(a, X);
    let (epoch, _) = w.position(a, X);
    w.advance(60_000);
    assert_eq!(w.position(a, X), (epoch.clone(), 0), "a subscriber holds it for as long as that lasts");
    w.send_all(a, &[publish(X, "a"), unsubscribe(2, X)]);
    w.advance(9_999);
    assert_eq!(w.router.top(X), Some(1));
    assert_eq!(w.position(a, X), (epoch.clone(), 1), "and so does whoever asks");
    w.advance(9_999);
    assert_eq!(w.router.top(X), Some(1));
    w.advance(1);
    assert_eq!((w.router.top(X), w.router.stats().channels, w.router.poll_timeout()), (None, 0, None));
    w.send(a, &publish(X, "b"));
    let (other, offset) = w.position(a, X);
    assert_eq!(offset, 1);
    assert_ne!(epoch, other);
}

#[test]
fn the_longest_unused_channel_gives_way_to_a_new_one_and_used_ones_do_not() {
    let limits = Limits { max_channels: 3, ..Limits::default() };
    let mut w = World::new(Config { limits, ..config() });
    let a = w.client();
    for (n, channel) in ["kept:1", "kept:2", "kept:3", "kept:1"].into_iter().enumerate() {
        w.send(a, &publish_with_id(n as u64, channel, "x"));
        w.advance(10);
    }
    w.send(a, &subscribe(9, "kept:3"));
    w.take(a);
    w.send(a, &subscribe(10, "other"));
    assert_eq!(w.sees(a).pop().unwrap(), "ack 10");
    let tops = ["kept:1", "kept:2", "kept:3"].map(|channel| w.router.top(channel));
    assert_eq!(tops, [Some(2), None, Some(1)], "2 was unused for the longest time");
    w.send_all(
        a,
        &[subscribe(11, "more"), subscribe(12, "most"), publish_with_id(13, "kept:4", "x"), publish(X, "x")],
    );
    assert_eq!(w.sees(a), ["ack 11", "error 12 1013", "error 13 1013", "error 0 1013"]);
    w.send(a, &history(14, X, None, None, None));
    assert_eq!(w.sees(a), ["error 14 1013"]);
    let hello = Publish { channel: X, payload: Payload::from(&b"hello"[..]), ..Publish::default() };
    assert!(w.router.command(&Command::Publish(hello)).is_err());
    let hello = Publish { channel: "kept:3", ..hello };
    let epoch: Box<str> = w.position(a, "kept:3").0.into();
    assert_eq!(w.router.command(&Command::Publish(hello)), Ok(Outcome::Kept { epoch, offset: 2 }));
}

#[test]
fn who_may_subscribe_may_ask_for_history() {
    let mut config = config();
    let rules = config.namespaces[0].rules;
    config
        .namespaces
        .push(Namespace { name: "no".into(), rules: Rules { subscribe: Rule::Nobody, ..rules } });
    config.namespaces.push(Namespace { name: "ask".into(), rules: Rules { subscribe: Rule::Ask, ..rules } });
    let mut w = World::new(config);
    let a = w.client();
    w.send_all(a, &[history(1, "no:x", None, None, None), history(2, "ask:x", None, None, None)]);
    assert_eq!(w.sees(a), ["error 1 1004"]);
    w.answer(Answer::Deny);
    assert_eq!(w.sees(a), ["error 2 1004"]);
    w.send(a, &history(3, "ask:x", None, None, None));
    w.drain();
    w.answer(Answer::Allow);
    assert!(w.take(a)[0].starts_with("history 3: "));
    w.effects.clear();
    w.send(a, &subscribe(4, "ask:x"));
    w.drain();
    w.answer(Answer::Allow);
    w.send(a, &history(5, "ask:x", None, None, None));
    assert!(w.sees(a)[1].starts_with("history 5: "), "who is in is not asked about again");
    assert_eq!(w.effects().iter().filter(|effect| effect.starts_with("may")).count(), 1);
}

#[test]
fn a_question_without_a_channel_is_no_question() {
    let mut w = world();
    let a = w.client();
    let mut list = vec![];
    let page = wire::History {
        id: 1,
        epoch: Some("e"),
        offset: Some(0),
        publications: Some(wire::Publications::encode(&[], &mut list)),
        ..wire::History::default()
    };
    w.send_all(a, &[wire::Frame::History(page), history(2, "kept:\n", None, None, None)]);
    assert_eq!(w.sees(a), ["error 0 1001", "error 2 1002"]);
}

#[test]
fn a_host_asks_as_clients_do() {
    let mut w = world();
    let a = w.client();
    w.send_all(a, &[publish(X, "a"), publish(X, "b")]);
    let (epoch, _) = w.position(a, X);
    let mut ask = |channel, since: Option<(&str, u64)>| {
        let since = since.map(|(epoch, offset)| Point { epoch, offset });
        match w.router.command(&Command::History { channel, since, limit: 10, reverse: true }) {
            Ok(Outcome::History(frame)) => Ok(support::lines(&frame).remove(0)),
            Ok(other) => panic!("{other:?}"),
            Err(refused) => Err(refused.code),
        }
    };
    assert_eq!(ask(X, None), Ok(format!("history 1: b#2@0 a#1@0 of {epoch}:2")));
    assert_eq!(ask(X, Some((&epoch, 1))), Ok(format!("history 1: b#2@0 of {epoch}:2")));
    assert_eq!(ask(X, Some((&epoch, 3))), Err(ErrorCode::UNRECOVERABLE));
    assert_eq!(ask("other:x", None), Err(ErrorCode::NOT_AVAILABLE));
    assert_eq!(ask("$kept:x", None), Err(ErrorCode::INVALID_CHANNEL));
}
