//! `pulse bench` measures a server of its own or another one, and says what it cannot measure.

mod e2e_support;

use std::net::TcpListener;

use e2e_support::process::{Process, run};
use serde_json::Value;

#[track_caller]
fn report(arguments: &[&str]) -> Value {
    let quick = ["bench", "--seconds", "1", "--clients", "5"];
    let (code, out, said) = run(&[&quick, arguments].concat());
    assert_eq!((code, said.as_str()), (Some(0), ""), "{out}");
    serde_json::from_str(&out).expect("it is one JSON object")
}

#[track_caller]
fn check(report: &Value) {
    assert_eq!((report["clients"].as_u64(), report["lost"].as_u64()), (Some(5), Some(0)), "{report}");
    let latency = &report["latency_us"];
    let [p50, p99, max] = ["p50", "p99", "max"].map(|key| latency[key].as_u64().expect("it is a number"));
    assert!(0 < p50 && p50 <= p99 && p99 <= max, "{report}");
    let [published, delivered] =
        ["publications_per_s", "deliveries_per_s"].map(|key| report[key].as_u64().expect("it is a number"));
    assert!(published > 0 && delivered > published, "every message goes to five clients: {report}");
}

#[test]
fn a_server_of_its_own_is_measured_where_no_other_is_named() {
    check(&report(&[]));
}

#[test]
fn a_server_that_is_named_is_measured() {
    let server = Process::serve(&[]);
    let large = report(&["--url", &server.url(), "--size", "10000"]);
    check(&large);
    assert_eq!(large["payload_bytes"], 10_000);
}

#[test]
fn what_cannot_be_measured_is_told() {
    let free =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free");
    let (code, out, said) = run(&["bench", "--url", &format!("ws://{free}/ws")]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(said.contains("connection refused; is the server running?"), "{said}");
    let server = Process::serve(&["--limits-max-message-size", "100"]);
    let (code, _, said) = run(&["bench", "--url", &server.url(), "--size", "101", "--clients", "1"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("does not take part: error 1007 (payload_too_large): "), "{said}");
    for wrong in [&["--clients", "0"][..], &["--seconds", "0"], &["--size", "-1"], &["--ca", "x.pem"]] {
        let (code, _, said) = run(&[&["bench"], wrong].concat());
        assert_eq!(code, Some(2), "{said}");
    }
}
