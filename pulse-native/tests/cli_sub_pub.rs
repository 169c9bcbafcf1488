//! `pulse sub` and `pulse pub` against the real server: what goes to which stream, and how they end.

mod e2e_support;

use std::net::TcpListener;
use std::process::Stdio;

use e2e_support::process::{Process, Subscriber, pulse, run, run_with_input};
use e2e_support::{Peer, publish};
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
        said.starts_with("pulse: cannot subscribe to $internal: error 1002 (invalid_channel): "),
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
        &["pub", "--url", "wss://example.com/ws", "c", "x"],
        &["pub", "--format", "json", "c", "{hello}"],
        &["pub", "--format", "yaml", "c", "x"],
    ] {
        let (code, out, said) = run(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {said}");
        assert!(!said.is_empty(), "{arguments:?}");
    }
    let (_, _, said) = run(&["pub", "--url", "wss://example.com/ws", "c", "x"]);
    assert!(said.contains("has no TLS"), "{said}");
}

#[test]
fn help_teaches_by_examples() {
    for command in ["sub", "pub"] {
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
