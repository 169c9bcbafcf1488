//! What a client asks about a channel's history, and how it is answered.

mod client_support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use client_support::net::Net;
use client_support::script::Script;
use client_support::{ack, error};
use pulse_core::client::{AskError, HistoryOptions, PublishOptions};
use pulse_core::wire::Point;
use pulse_core::{Config, Namespace, Rules};

#[test]
fn pages_come_from_either_end_and_behind_a_position() {
    let rules = Rules { history_size: 10, ..Rules::default() };
    let namespaces = vec![Namespace { name: "kept".into(), rules }];
    let mut net = Net::new(Config { namespaces, ..Config::default() }, 2, 3);
    net.connect_all();
    for text in ["a", "b", "c", "d"] {
        net.peers[0].client.publish("kept:x", text.as_bytes(), PublishOptions::default()).unwrap();
    }
    net.run(100);
    let client = &mut net.peers[1].client;
    client.history("kept:x", HistoryOptions::default()).unwrap();
    client.history("kept:x", HistoryOptions { limit: Some(2), reverse: true, since: None }).unwrap();
    client.history("other:x", HistoryOptions::default()).unwrap();
    net.run(100);
    let lines: Vec<String> = net.take(1).into_iter().filter(|line| line != "connecting").collect();
    let epoch = lines.iter().find_map(|line| line.strip_prefix("history 1 of ")).expect("it is answered");
    let epoch = epoch.split('/').next().unwrap().to_owned();
    let expected = [
        format!("history 1 of {epoch}/4: a b c d"),
        format!("history 2 of {epoch}/4: d c"),
        "failed request 3: 1014".to_owned(),
    ];
    assert!(lines.ends_with(&expected), "{lines:?}");
    let since = Some(Point { epoch: &epoch, offset: 3 });
    net.peers[1].client.history("kept:x", HistoryOptions { since, ..HistoryOptions::default() }).unwrap();
    let ahead = Some(Point { epoch: &epoch, offset: 5 });
    net.peers[1]
        .client
        .history("kept:x", HistoryOptions { since: ahead, ..HistoryOptions::default() })
        .unwrap();
    net.run(100);
    assert_eq!(net.take(1), [format!("history 4 of {epoch}/4: d"), "failed request 5: 1016".to_owned()]);
}

#[test]
fn a_question_is_asked_again_on_the_next_connection_and_answered_once() {
    let mut s = Script::open();
    let since = Some(Point { epoch: "e1", offset: 7 });
    let options = HistoryOptions { since, limit: Some(5), reverse: true };
    s.client.history("a", options).unwrap();
    assert_eq!(s.writes(), ["history 1 a after e1/7 limit 5 reverse"]);
    s.client.closed(None);
    s.sleep();
    let greeted = s.greet();
    assert_eq!(greeted, ["connect", "history 1 a after e1/7 limit 5 reverse"]);
    s.events();
    // An answer of another kind is none.
    s.tell(&[ack(9), error(1, 1016, false)]);
    assert_eq!(s.events(), ["failed request 1: 1016"]);
    s.tell(&[error(1, 1016, false)]);
    assert_eq!(s.events(), [""; 0]);
}

#[test]
fn what_cannot_be_asked_is_refused_at_once() {
    let mut s = Script::open();
    assert_eq!(s.client.history("$a", HistoryOptions::default()), Err(AskError::InvalidChannel));
    s.client.close();
    assert_eq!(s.client.history("a", HistoryOptions::default()), Err(AskError::Closed));
}
