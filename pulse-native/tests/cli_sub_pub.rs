//! `pulse sub` and `pulse pub` against the real server: what goes to which stream, and how they end.

mod e2e_support;

use std::net::TcpListener;
use std::process::Stdio;

use e2e_support::process::{Process, Subscriber, pulse, run, run_with_input};
use e2e_support::{Peer, publish};
use pulse_core::wire::{Frame, Presence, Value as Packed};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A line of `pulse sub` in a pipe.
fn parsed(line: Option<String>) -> Value {
    let line = line.expect("a publication was printed");
    assert!(line.ends_with('\n'));
    serde_json::from_str(&line).expect("a line is JSON")
}

#[test]
fn what_is_published_is_printed_as_a_json_object_a_line() {
    let server = Process::serve(&[]);
    let mut subscriber = Subscriber::start(&server.url(), &["chat:lobby", "news"], &[]);
    let publish = |arguments: &[&str]| {
        let (code, out, errors) = run(&[&["pub", "--url", &server.url()], arguments].concat());
        assert_eq!((code, out.as_str(), errors.as_str()), (Some(0), "", ""));
    };
    publish(&["chat:lobby", "hello, world"]);
    assert_eq!(parsed(subscriber.line()), json!({"channel": "chat:lobby", "payload": "hello, world"}));
    publish(&["--event", "typing", "news", "zwei\nZeilen"]);
    let expected = json!({"channel": "news", "payload": "zwei\nZeilen", "event": "typing"});
    assert_eq!(parsed(subscriber.line()), expected);
    publish(&["--format", "json", "news", r#"{"n": [1, 2.50]}"#]);
    let line = subscriber.line();
    assert_eq!(
        line.as_deref(),
        Some("{\"channel\":\"news\",\"payload\":{\"n\": [1, 2.50]},\"format\":\"json\"}\n")
    );
    publish(&["news", "-5"]);
    assert_eq!(parsed(subscriber.line())["payload"], "-5");
}

#[test]
fn a_payload_from_standard_input_may_be_anything() {
    let server = Process::serve(&[]);
    let mut subscriber = Subscriber::start(&server.url(), &["c"], &[]);
    let (code, _, errors) = run_with_input(&["pub", "--url", &server.url(), "c", "-"], b"\0\xff");
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert_eq!(parsed(subscriber.line()), json!({"channel": "c", "payload_b64": "AP8="}));
}

#[test]
fn a_payload_may_be_a_file_or_json_that_becomes_messagepack() {
    let server = Process::serve(&[]);
    let mut subscriber = Subscriber::start(&server.url(), &["c"], &[]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let (code, _, said) = run(&["pub", "--url", &server.url(), "c", "--file", file]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let expected = std::fs::read_to_string(file).expect("the manifest is text");
    assert_eq!(parsed(subscriber.line())["payload"], expected);
    let (code, _, said) = run(&["pub", "--url", &server.url(), "--format", "msgpack", "c", "[1,\"a\"]"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let expected = json!({"channel": "c", "payload_b64": "kgGhYQ==", "format": "msgpack"});
    assert_eq!(parsed(subscriber.line()), expected);
    let (code, _, said) = run(&["pub", "--url", &server.url(), "c", "--file", "no/such/file"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot open no/such/file"), "{said}");
}

#[test]
fn every_line_of_the_input_may_be_a_message() {
    let server = Process::serve(&[]);
    let mut subscriber = Subscriber::start(&server.url(), &["c"], &[]);
    // More than are under way at once, an empty one among them, and the last one without an end.
    let payloads: Vec<String> =
        (0..1000).map(|n| if n == 7 { String::new() } else { format!("line {n}") }).collect();
    let input = payloads.join("\n");
    let arguments =
        ["pub", "--url", &server.url(), "--lines", "--event", "e", "--key", "k", "--tag", "a=b", "c"];
    let (code, _, said) = run_with_input(&arguments, input.as_bytes());
    assert_eq!((code, said.as_str()), (Some(0), ""));
    for payload in payloads {
        let expected =
            json!({"channel": "c", "payload": payload, "event": "e", "key": "k", "tags": {"a": "b"}});
        assert_eq!(parsed(subscriber.line()), expected);
    }
    let (code, _, said) =
        run_with_input(&["pub", "--url", &server.url(), "--lines", "--format", "json", "c"], b"{}\nno\n{}\n");
    assert_eq!(code, Some(2));
    assert!(said.starts_with("pulse: line 2 of standard input: the payload is no JSON: "), "{said}");
    assert_eq!(parsed(subscriber.line())["payload"], json!({}));
}

#[test]
fn who_is_present_is_printed_as_a_json_object_a_line() {
    let server = Process::serve(&[]);
    let mut member = Peer::v1(server.addr);
    member.send(&[e2e_support::subscribe(1, "room")]);
    member.expect(&e2e_support::ack(1));
    let ask = |arguments: &[&str]| {
        let (code, out, said) = run(&[&["presence", "--url", &server.url(), "room"], arguments].concat());
        assert_eq!((code, said.as_str()), (Some(0), ""));
        out
    };
    assert_eq!(ask(&[]), "");
    let value = Packed::new(b"\x81\xa1n\x01").expect("this is a value");
    let join = Presence { id: 2, channel: "room", data: Some(value), ..Presence::default() };
    member.send(&[Frame::Presence(join)]);
    // It is told of itself, too.
    while member.frame().decoded() != e2e_support::ack(2) {}
    let line = parsed(Some(ask(&[])));
    assert_eq!(line["data"], json!({"n": 1}));
    assert!(line["client"].as_str().is_some_and(|id| id.len() == 16), "{line}");
    assert_eq!(ask(&["--count"]), "{\"clients\":1,\"users\":1}\n");
    let (code, _, said) = run(&["presence", "--url", &server.url(), "$no"]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("pulse: cannot ask who is in $no: the channel name is not allowed: "), "{said}");
}

#[test]
fn what_is_kept_is_printed_and_a_subscriber_begins_where_it_is_told() {
    let server = Process::serve(&["--channels-history-size", "3000"]);
    let input: Vec<String> = (1..=2500).map(|n| n.to_string()).collect();
    let (code, _, said) =
        run_with_input(&["pub", "--url", &server.url(), "--lines", "c"], input.join("\n").as_bytes());
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let history = |arguments: &[&str]| {
        let (code, out, said) = run(&[&["history", "--url", &server.url(), "c"], arguments].concat());
        assert_eq!((code, said.as_str()), (Some(0), ""));
        out
    };
    let payloads = |out: &str| -> Vec<String> {
        let payload =
            |line| parsed(Some(format!("{line}\n")))["payload"].as_str().expect("it is text").to_owned();
        out.lines().map(payload).collect()
    };
    // More than a page.
    assert_eq!(payloads(&history(&[])), input);
    assert_eq!(payloads(&history(&["--limit", "2"])), ["1", "2"]);
    assert_eq!(payloads(&history(&["--limit", "2", "--reverse"])), ["2500", "2499"]);
    let newest = history(&["--position"]);
    let epoch = newest.trim().strip_suffix("/2500").expect("it is the last one's").to_owned();
    let since = format!("{epoch}/2498");
    assert_eq!(payloads(&history(&["--since", &since])), ["2499", "2500"]);
    for arguments in [["--since", &since], ["--latest", "2"]] {
        let subscriber =
            Subscriber::start(&server.url(), &["c"], &[&["--count", "2"], &arguments[..]].concat());
        let (code, out, said) = subscriber.wait();
        assert_eq!((code, said.as_str(), payloads(&out)), (Some(0), "", vec!["2499".into(), "2500".into()]));
    }
    let (code, _, said) = run(&["history", "--url", &server.url(), "--since", &format!("{epoch}/2501"), "c"]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("pulse: cannot read the history of c: error 1016 (unrecoverable): "), "{said}");
    let (code, _, said) = run(&["sub", "--url", &server.url(), "--since", &since, "c", "d"]);
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn a_subscriber_may_come_back_whenever_the_server_does() {
    let server = Process::serve(&["--server-retry-spread-ms", "0"]);
    let (addr, url) = (server.addr, server.url());
    let mut subscriber = Subscriber::start(&url, &["c"], &["--reconnect"]);
    server.signal(Signal::TERM);
    assert!(server.wait().0.success());
    let port = addr.port().to_string();
    let server = Process::serve(&["--port", &port]);
    subscriber.wait_until_it_says("subscribed to c again");
    let (code, _, said) = run(&["pub", "--url", &url, "c", "back"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(parsed(subscriber.line())["payload"], "back");
    drop(server);
}

#[test]
fn count_ends_it_after_so_many_publications() {
    let server = Process::serve(&[]);
    let subscriber = Subscriber::start(&server.url(), &["c"], &["--count", "3"]);
    let mut publisher = Peer::v1(server.addr);
    let payloads = ["1", "2", "3", "4", "5"];
    let frames: Vec<_> = payloads.iter().map(|text| e2e_support::publication("c", text.as_bytes())).collect();
    publisher.send(&frames);
    let (code, out, said) = subscriber.wait();
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let printed: Vec<Value> =
        out.lines().map(|line| parsed(Some(format!("{line}\n")))["payload"].take()).collect();
    assert_eq!(printed, ["1", "2", "3"]);
}

#[test]
fn an_interrupt_ends_it_well_and_takes_leave() {
    let server = Process::serve(&[]);
    let mut subscriber = Subscriber::start(&server.url(), &["c"], &[]);
    let mut publisher = Peer::v1(server.addr);
    publisher.send(&[publish(1, "c", b"x")]);
    // Once it prints, it listens for signals.
    assert_eq!(parsed(subscriber.line())["payload"], "x");
    subscriber.signal(Signal::INT);
    let (code, out, said) = subscriber.wait();
    assert_eq!((code, out.as_str(), said.as_str()), (Some(0), "", ""));
}

#[test]
fn a_server_that_goes_ends_it_with_code_1_and_the_reason() {
    let server = Process::serve(&[]);
    let subscriber = Subscriber::start(&server.url(), &["c"], &[]);
    server.signal(Signal::TERM);
    let (code, out, said) = subscriber.wait();
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(
        said,
        "pulse: the server closed the connection with code 4000 (shutdown): the server is shutting down\n"
    );
    assert!(server.wait().0.success());
}

#[test]
fn nobody_who_reads_ends_it_quietly_and_at_once() {
    let server = Process::serve(&[]);
    let mut subscriber = Subscriber::start(&server.url(), &["c"], &[]);
    let mut publisher = Peer::v1(server.addr);
    publisher.send(&[publish(1, "c", b"x")]);
    assert_eq!(parsed(subscriber.line())["payload"], "x");
    subscriber.close_output();
    // Nothing more is published: it finds out by itself.
    let (code, _, said) = subscriber.wait();
    assert_eq!((code, said.as_str()), (Some(0), ""));
}

#[test]
fn an_interrupt_ends_it_though_its_output_is_stuck() {
    let server = Process::serve(&[]);
    let mut subscriber = Subscriber::start(&server.url(), &["c"], &[]);
    let mut publisher = Peer::v1(server.addr);
    publisher.send(&[publish(1, "c", b"x")]);
    assert_eq!(parsed(subscriber.line())["payload"], "x");
    publisher.expect(&e2e_support::ack(1));
    // More than a pipe and the buffer in front of it hold, which nobody reads.
    for id in 2..102 {
        publisher.send(&[publish(id, "c", &[b'x'; 60_000])]);
        publisher.expect(&e2e_support::ack(id));
    }
    subscriber.signal(Signal::INT);
    assert_eq!(subscriber.wait_without_reading(), Some(0));
}

#[test]
fn what_the_server_refuses_is_told_with_its_code() {
    let server = Process::serve(&[]);
    let (code, out, said) = run(&["sub", "--url", &server.url(), "$internal"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        said.starts_with("pulse: cannot subscribe to $internal: the channel name is not allowed: "),
        "{said}"
    );
    let (code, _, said) = run(&["pub", "--url", &server.url(), "c", &"x".repeat(65_537)]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("pulse: cannot publish into c: error 1007 (payload_too_large): "), "{said}");
    // Beyond what the server takes as one message, the transport says it.
    let (code, _, said) = run_with_input(&["pub", "--url", &server.url(), "c", "-"], &[b'x'; 300_000]);
    assert_eq!(code, Some(1));
    assert!(said.contains("code 1009"), "{said}");
}

#[test]
fn a_server_that_is_not_there_is_told_in_one_line() {
    let free =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free");
    let url = format!("ws://{free}/ws");
    for arguments in [&["sub", "--url", &url, "c"][..], &["pub", "--url", &url, "c", "x"]] {
        let (code, out, said) = run(arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        let expected = "connection refused; is the server running? start it with `pulse`";
        assert_eq!(said, format!("pulse: cannot reach {url}: {expected}\n"));
    }
}

#[test]
fn what_makes_no_sense_ends_with_code_2() {
    for arguments in [
        &["sub"][..],
        &["pub", "c"],
        &["sub", "--count", "0", "c"],
        &["sub", "--url", "http://127.0.0.1/ws", "c"],
        &["pub", "--ca", "nowhere.pem", "--url", "wss://127.0.0.1/ws", "c", "x"],
        &["pub", "--file", "x", "c", "x"],
        &["pub", "--tag", "x", "c", "x"],
        &["presence"],
        &["history"],
        &["history", "--since", "x", "c"],
        &["sub", "--latest", "1", "--since", "a/1", "c"],
        &["pub", "--format", "json", "c", "{hello}"],
        &["pub", "--format", "yaml", "c", "x"],
    ] {
        let (code, out, said) = run(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {said}");
        assert!(!said.is_empty(), "{arguments:?}");
    }
    let (_, _, said) = run(&["pub", "--ca", "nowhere.pem", "--url", "wss://127.0.0.1/ws", "c", "x"]);
    assert!(said.contains("nowhere.pem") && said.contains("PEM"), "{said}");
}

#[test]
fn help_teaches_by_examples() {
    for command in ["sub", "pub", "presence"] {
        let (code, help, _) = run(&[command, "--help"]);
        assert_eq!(code, Some(0));
        assert!(
            help.contains(&format!("pulse {command} chat:lobby")) && help.contains("Exit codes:"),
            "{help}"
        );
        assert!(help.contains("ws://127.0.0.1:8080/ws"), "{help}");
    }
}

#[test]
fn a_closed_standard_error_changes_nothing() {
    let server = Process::serve(&[]);
    let mut command = pulse(&["pub", "--url", &server.url(), "$no", "x"]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("pulse starts");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("pulse ends").code(), Some(1));
}
