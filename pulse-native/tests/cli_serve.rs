//! `pulse` as a server, at its edges: no room, no address, no permission.

mod e2e_support;

use std::net::TcpListener;
use std::time::Instant;

use e2e_support::process::{Process, run};
use e2e_support::{PATIENCE, Peer, dial};
use pulse_core::wire::Frame;

/// Status, headers and body of the answer to an upgrade with this `Origin`; nothing if it is granted.
fn refusal(server: &Process, origin: Option<&str>) -> Option<String> {
    let protocol = ("sec-websocket-protocol", "pulse.v1");
    let headers: Vec<_> = [protocol].into_iter().chain(origin.map(|origin| ("origin", origin))).collect();
    Peer::over(dial(server.addr), &headers).err()
}

#[test]
fn who_comes_when_all_seats_are_taken_is_told_when_to_come_back() {
    let server = Process::serve(&["--limits-max-connections", "2"]);
    let (one, mut other) = (Peer::v1(server.addr), Peer::v1(server.addr));
    let refused = refusal(&server, None).expect("there are two seats");
    assert!(refused.starts_with("503 Service Unavailable"), "{refused}");
    assert!(refused.to_lowercase().contains("\"retry-after\": "), "{refused}");
    other.settle();
    // A seat that is given up is free again, once the server has seen it.
    drop(one);
    let given_up = Instant::now() + PATIENCE;
    while let Some(refused) = refusal(&server, None) {
        assert!(refused.starts_with("503 ") && Instant::now() < given_up, "{refused}");
    }
}

#[test]
fn pages_of_other_sites_may_not_connect() {
    let server = Process::serve(&["--server-origins", "https://app.example.com"]);
    let own = format!("http://{}", server.addr);
    for origin in [None, Some("https://app.example.com"), Some(&*own), Some("http://localhost:3000")] {
        assert_eq!(refusal(&server, origin), None, "{origin:?}");
    }
    for origin in
        ["https://evil.example.com", "http://app.example.com", "null", "https://app.example.com:8443"]
    {
        let refused = refusal(&server, Some(origin)).expect("this is another site");
        assert!(refused.starts_with("403 Forbidden") && refused.contains(origin), "{refused}");
    }
}

#[test]
fn an_address_in_use_is_told_in_one_line() {
    let server = Process::serve(&[]);
    let port = server.addr.port().to_string();
    let (code, out, said) = run(&["--port", &port, "--metrics-port", "0", "--logging-level", "error"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let expected = format!("pulse: cannot listen on 127.0.0.1:{port}: another program has this port; ");
    assert!(said.starts_with(&expected) && said.lines().count() == 1, "{said}");
}

#[test]
fn the_number_of_threads_is_told_at_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    for (shards, says) in [("3", "threads that serve clients: 3\n"), ("0", "threads that serve clients: ")] {
        let (_, _, said) = run(&["--port", &port, "--metrics-enabled", "false", "--server-shards", shards]);
        assert!(said.contains(says), "{said}");
        assert!(said.contains(&format!("shards = {shards} (--server-shards)")), "{said}");
    }
}

#[test]
fn rules_and_limits_of_the_settings_hold_for_clients() {
    let server = Process::serve(&[
        "--channels-publish",
        "nobody",
        "--limits-max-channels",
        "1",
        "--server-shards",
        "1",
    ]);
    let mut client = Peer::v1(server.addr);
    client.subscribe("a");
    client.send(&[e2e_support::publish(2, "a", b"x"), e2e_support::subscribe(3, "b")]);
    for (id, code) in [(2, 1004), (3, 1013)] {
        let received = client.frame();
        let error = e2e_support::error(&received);
        assert_eq!((error.id, error.code), (id, code));
    }
    client.send(&[Frame::Ping { timestamp: None }]);
    client.expect(&Frame::Pong { timestamp: None });
}
