//! How many connections one address may have, as the server sees addresses and as proxies tell of them.

mod e2e_support;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Instant;

use e2e_support::{PATIENCE, Peer, Running, ask, dial};

fn server(trusted: &[&str]) -> Running {
    let trusted = trusted.iter().map(|&network| network.to_owned()).collect();
    Running::start_with(|config| {
        config.limits.max_connections_per_address = 2;
        config.server.trusted_proxies = trusted;
        config.metrics.enabled = true;
    })
}

fn open(server: &Running, header: &'static str, value: &str) -> Result<Peer, String> {
    Peer::over(dial(server.addr), &[("sec-websocket-protocol", "pulse.v1"), (header, value)])
}

#[track_caller]
fn check_refused(result: Result<Peer, String>) {
    let refusal = result.expect_err("there is no room for this one");
    assert!(refusal.starts_with("429") && refusal.contains("retry-after"), "{refusal}");
    assert!(refusal.contains("this address has as many connections as one may have"), "{refusal}");
}

#[test]
fn one_address_has_so_many_connections_and_no_more_until_one_ends() {
    let server = server(&[]);
    let (first, _second) = (server.client(), server.client());
    // Whatever it says of others.
    check_refused(open(&server, "x-forwarded-for", "9.9.9.9"));
    drop(first);
    let start = Instant::now();
    while Peer::try_open(server.addr, Some("pulse.v1")).is_err() {
        assert!(start.elapsed() < PATIENCE, "a connection that has ended still counts");
    }
    let text = ask(
        server.metrics.expect("metrics are on"),
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    assert!(!text.contains("pulse_refused_total{reason=\"address\"} 0"), "{text}");
}

#[test]
fn behind_a_trusted_proxy_the_addresses_of_its_clients_count() {
    let server = server(&["127.0.0.0/8"]);
    let from = |client: &str| open(&server, "x-forwarded-for", client);
    let _held = [from("9.9.9.9").unwrap(), from("6.6.6.6, 9.9.9.9").unwrap()];
    check_refused(from("9.9.9.9"));
    let _other = from("9.9.9.8").unwrap();
    check_refused(open(&server, "forwarded", "for=9.9.9.9"));
}

#[test]
fn requests_that_go_the_long_way_are_counted_too() {
    let server = server(&[]);
    // The method is not read in one piece, so the first bytes are handed to hyper.
    let slow = || {
        let mut stream = dial(server.addr);
        let request = format!(
            "\r\nGET /ws HTTP/1.1\r\nHost: {}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            server.addr
        );
        stream.write_all(request.as_bytes()).unwrap();
        let status = status(&mut stream);
        (stream, status)
    };
    let (first, second, third) = (slow(), slow(), slow());
    assert_eq!([first.1, second.1, third.1], [101, 101, 429]);
}

fn status(stream: &mut TcpStream) -> u16 {
    use std::io::Read as _;
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("the server answers");
    str::from_utf8(&head[9..]).unwrap().parse().expect("a status is a number")
}
