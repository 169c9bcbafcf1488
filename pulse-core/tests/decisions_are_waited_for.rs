//! Requests that the host decides: what waits, what goes on, and where waiting ends.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::{Answer, Command, Config, Limits, Rule, Rules};
use support::{Disk, World, publish, publish_with_id, subscribe};

fn world() -> World {
    let rules = Rules { subscribe: Rule::Ask, ..Rules::default() };
    World::new(Config { rules, ..Config::default() })
}

#[test]
fn later_requests_wait_for_an_earlier_one_and_keep_their_order() {
    let mut w = world();
    let a = w.client();
    w.send_all(a, &[subscribe(1, "news"), publish_with_id(2, "news", "x")]);
    w.send(a, &publish_with_id(3, "news", "y"));
    assert_eq!(w.sees(a), Vec::<String>::new());
    assert_eq!(w.effects(), ["may 0 subscribe news", "pause 0 true"]);
    w.answer(Answer::Allow);
    assert_eq!(w.take(a), ["ack 1", "ack 2", "news x", "ack 3", "news y"]);
    assert_eq!(w.effects(), ["pause 0 false"]);
}

#[test]
fn a_no_is_forbidden_and_the_rest_goes_on() {
    let mut w = world();
    let a = w.client();
    w.send_all(a, &[subscribe(1, "news"), publish_with_id(2, "news", "x"), subscribe(3, "other")]);
    w.drain();
    w.answer(Answer::Deny);
    assert_eq!(w.take(a), ["error 1 1004", "ack 2"]);
    assert_eq!(
        w.effects(),
        ["may 0 subscribe news", "pause 0 true", "may 0 subscribe other", "pause 0 true"]
    );
    w.answer(Answer::Allow);
    assert_eq!(w.take(a), ["ack 3"]);
}

#[test]
fn an_answer_for_a_connection_that_left_changes_nothing() {
    let mut w = world();
    let a = w.client();
    w.send(a, &subscribe(1, "news"));
    w.drain();
    w.router.closed(a);
    w.answer(Answer::Allow);
    assert_eq!(w.router.stats().subscriptions, 0);
}

#[test]
fn what_waits_is_bounded_and_the_rest_is_refused_under_its_id() {
    let mut w = world();
    let a = w.client();
    w.send(a, &subscribe(1, "news"));
    let payload = "x".repeat(60_000);
    for id in 2..12 {
        w.send(a, &publish_with_id(id, "news", &payload));
    }
    let refused: Vec<String> = (6..12).map(|id| format!("error {id} 1013")).collect();
    assert_eq!(w.sees(a), refused);
    w.answer(Answer::Deny);
    assert_eq!(w.take(a), ["error 1 1004", "ack 2", "ack 3", "ack 4", "ack 5"]);
}

#[test]
fn who_was_allowed_to_publish_and_waits_for_the_disk_is_not_asked_about_again() {
    let rules = Rules { publish: Rule::Ask, history_size: 4, durable: true, ..Rules::default() };
    let limits = Limits { peer_bytes: 8_000, ..Limits::default() };
    let (mut w, mut disk) = (World::new(Config { rules, limits, ..Config::default() }), Disk::default());
    let payload = "x".repeat(2_000);
    let pulse_core::wire::Frame::Publish(filler) = publish("news", &payload) else { unreachable!() };
    w.router.command(&Command::Publish(filler)).unwrap();
    let a = w.client();
    w.send_all(a, &[publish_with_id(1, "news", "a"), publish_with_id(2, "news", "b")]);
    w.drain();
    w.answer(Answer::Allow);
    assert_eq!(w.effects(), ["may 0 publish news", "pause 0 true", "pause 0 true"]);
    w.store(&mut disk);
    let effects = w.effects();
    assert!(
        effects[0].starts_with("published ") && effects[1..] == ["may 0 publish news", "pause 0 true"],
        "{effects:?}"
    );
    assert_eq!(disk.numbers("news"), [1, 2]);
    w.answer(Answer::Deny);
    w.store(&mut disk);
    let seen = w.take(a);
    assert!(seen[0].starts_with("ack 1 at ") && seen[1..] == ["error 2 1004"], "{seen:?}");
}
