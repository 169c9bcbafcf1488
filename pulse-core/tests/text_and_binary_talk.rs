//! The text dialect: the same requests and answers as lines of JSON, and what crosses from one encoding to the other.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{Format, Frame, Payload, Publish};
use pulse_core::{Answer, Config, ConnId, Dialect, Kind, Link, Rule, Rules};
use support::{World, publish, subscribe};

fn say(w: &mut World, conn: ConnId, text: &str) {
    w.router.receive(conn, Kind::Text, text.as_bytes());
}

/// What one connection is sent in this turn, as one text.
fn hears(w: &mut World, conn: ConnId) -> String {
    let mut heard = String::new();
    while let Some(batch) = w.router.poll_write() {
        if batch.to().contains(&conn) {
            assert_eq!(batch.kind(), Kind::Text);
            heard.push_str(std::str::from_utf8(batch.payload()).expect("text is UTF-8"));
        }
    }
    heard
}

fn client(w: &mut World) -> ConnId {
    let conn = w.router.open(Link { class: 0, dialect: Dialect::Json });
    say(w, conn, r#"{"type":"connect","version":1}"#);
    let connected = hears(w, conn);
    assert!(connected.starts_with(r#"{"type":"connected","connection_id":""#), "{connected}");
    conn
}

#[test]
fn requests_are_answered_line_by_line() {
    let mut w = World::new(Config::default());
    let a = client(&mut w);
    say(
        &mut w,
        a,
        "{\"type\":\"subscribe\",\"id\":1,\"channel\":\"news\"}\n\
         {\"type\":\"publish\",\"id\":2,\"channel\":\"news\",\"payload\":{\"a\":[1,null]}}\n\
         {\"id\":3,\"type\":\"dance\"}\n",
    );
    let heard = hears(&mut w, a);
    let lines: Vec<&str> = heard.lines().collect();
    assert_eq!(lines[0], r#"{"type":"ack","id":1}"#);
    assert_eq!(lines[1], r#"{"type":"ack","id":2}"#);
    assert_eq!(lines[2], r#"{"type":"publish","channel":"news","payload":{"a":[1,null]},"format":"json"}"#);
    assert!(lines[3].starts_with(r#"{"type":"error","id":3,"code":1001,"message":""#), "{}", lines[3]);
    assert_eq!(lines.len(), 4);
}

#[test]
fn a_message_crosses_from_one_encoding_to_the_other() {
    let mut w = World::new(Config::default());
    let (text, binary) = (client(&mut w), w.client());
    say(&mut w, text, r#"{"type":"subscribe","id":1,"channel":"news"}"#);
    hears(&mut w, text);
    w.send(binary, &subscribe(1, "news"));
    while w.router.poll_write().is_some() {}

    say(&mut w, text, r#"{"type":"publish","channel":"news","payload":"hi"}"#);
    let mut binary_saw = vec![];
    while let Some(batch) = w.router.poll_write() {
        if batch.to().contains(&binary) {
            binary_saw.extend(support::lines(batch.payload()));
        }
    }
    assert_eq!(binary_saw, [r#"news "hi""#], "JSON text is the payload");

    // {"n": 1} in MessagePack is shown as JSON; bytes that say nothing of themselves are base64.
    let payload = Payload::from(&b"\x81\xa1n\x01"[..]);
    let publication = Publish { channel: "news", payload, format: Format::MsgPack, ..Publish::default() };
    w.send(binary, &Frame::Publish(publication));
    w.send(binary, &publish("news", "raw"));
    let heard = hears(&mut w, text);
    let expected = "{\"type\":\"publish\",\"channel\":\"news\",\"payload\":{\"n\":1},\"format\":\"msgpack\"}\n\
                    {\"type\":\"publish\",\"channel\":\"news\",\"payload_b64\":\"cmF3\"}\n";
    assert_eq!(heard, expected);
}

#[test]
fn what_is_no_line_of_json_ends_the_connection() {
    for text in ["", "\n\n", "hello", "[1]", "{\"type\":\"ping\"", "{\"type\":\"ping\"}{}"] {
        let mut w = World::new(Config::default());
        let a = client(&mut w);
        say(&mut w, a, text);
        let heard = hears(&mut w, a);
        assert!(heard.starts_with(r#"{"type":"disconnect","code":4500,"#), "{text:?}: {heard}");
        assert_eq!(w.effects(), ["close 0 4500"], "{text:?}");
    }
}

#[test]
fn binary_is_no_message_of_the_text_dialect() {
    let mut w = World::new(Config::default());
    let a = client(&mut w);
    w.router.receive(a, Kind::Binary, b"\0\0\0\x0b\x81\xa4type\xa4ping");
    assert!(hears(&mut w, a).starts_with(r#"{"type":"disconnect","code":4503,"#));
}

#[test]
fn a_slow_reader_of_text_gets_its_lines_later_and_in_order() {
    let mut w = World::new(Config::default());
    let (text, binary) = (client(&mut w), w.client());
    say(&mut w, text, r#"{"type":"subscribe","id":1,"channel":"news"}"#);
    hears(&mut w, text);
    w.router.set_writable(text, false);
    for payload in ["a", "b"] {
        w.send(binary, &publish("news", payload));
        assert_eq!(hears(&mut w, text), "");
    }
    w.router.set_writable(text, true);
    w.send(binary, &publish("news", "c"));
    let heard = hears(&mut w, text);
    let payloads: Vec<&str> = heard.lines().map(|line| line.rsplit('"').nth(1).unwrap_or_default()).collect();
    assert_eq!(payloads, ["YQ==", "Yg==", "Yw=="]);
}

#[test]
fn lines_wait_for_a_decision_as_frames_do() {
    let rules = Rules { subscribe: Rule::Ask, ..Rules::default() };
    let mut w = World::new(Config { rules, ..Config::default() });
    let a = client(&mut w);
    say(
        &mut w,
        a,
        "{\"type\":\"subscribe\",\"id\":1,\"channel\":\"news\"}\n{\"type\":\"ping\",\"timestamp\":7}",
    );
    assert_eq!(hears(&mut w, a), "");
    assert_eq!(w.effects(), ["may 0 subscribe news", "pause 0 true"]);
    let ticket = w.tickets.remove(0);
    w.router.answer(ticket, Answer::Allow);
    assert_eq!(hears(&mut w, a), "{\"type\":\"ack\",\"id\":1}\n{\"type\":\"pong\",\"timestamp\":7}\n");
}

#[test]
fn a_silent_reader_of_text_is_asked_in_text() {
    let mut w = World::new(Config::default());
    let a = client(&mut w);
    w.router.advance(pulse_core::Now { mono: pulse_core::Time(31_000_000), unix_ms: 0 });
    assert_eq!(hears(&mut w, a), "{\"type\":\"ping\"}\n");
}
