//! The first bytes of a connection: upgrades in all shapes, and what is no upgrade.

mod support;

use std::io::Write;

use pulse_native::handshake::Origins;
use pulse_native::ws::Opcode;
use support::{Host, frame, options};

#[test]
fn an_upgrade_that_comes_byte_by_byte_is_answered() {
    let host = Host::start(options());
    let mut client = host.connect();
    for byte in host.upgrade("") {
        client.write(&[byte]);
    }
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    client.expect(Opcode::Binary, b"\0\0\0\x05hello");
    client.expect(Opcode::Binary, b"\0\0\0\x05again");
}

#[test]
fn frames_that_come_with_the_request_are_answered_after_the_upgrade() {
    let host = Host::start(options());
    let mut client = host.connect();
    let mut bytes = host.upgrade("Sec-WebSocket-Protocol: pulse.v1\r\n");
    bytes.extend(frame(Opcode::Ping, b"early"));
    bytes.extend(frame(Opcode::Text, b"bird"));
    client.write(&bytes);
    let head = client.head();
    assert!(head.contains("Sec-WebSocket-Protocol: pulse.v1\r\n"), "{head}");
    client.expect(Opcode::Pong, b"early");
    client.expect(Opcode::Text, b"bird");
}

#[test]
fn what_the_engine_says_first_leaves_with_the_answer_to_the_upgrade() {
    let host = Host::start(options());
    let mut client = host.connect();
    client.write(&host.upgrade(""));
    // One `recv` of the client sees the head and both frames only if one `send` wrote them; the read asks for more.
    let mut buf = [0; 4096];
    let len = std::io::Read::read(&mut client.stream, &mut buf).unwrap();
    assert!(buf[..len].starts_with(b"HTTP/1.1 101 "));
    assert!(
        buf[..len].ends_with(b"\r\n\r\n\x82\x09\0\0\0\x05hello\x82\x09\0\0\0\x05again"),
        "{:?}",
        &buf[..len]
    );
}

#[test]
fn a_request_in_pieces_that_is_no_upgrade_reaches_hyper_whole() {
    let host = Host::start(options());
    let mut client = host.connect();
    for piece in ["G", "ET /he", "alth HTTP/1.1\r\nHo", "st: localhost\r\n\r", "\n"] {
        client.write(piece.as_bytes());
    }
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    // The connection is kept alive for the next request, which may have come already.
    client.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let rest = client.rest();
    assert!(rest.starts_with("okHTTP/1.1 200 OK\r\n") && rest.ends_with("\r\n\r\nok"), "{rest}");
}

#[test]
fn requests_that_are_pipelined_are_all_answered() {
    let host = Host::start(options());
    let one = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answers = host.ask(&format!("{one}{one}{last}"));
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answers}");
    assert_eq!(answers.matches("\r\n\r\nok").count(), 2, "{answers}");
}

#[test]
fn an_upgrade_that_the_shard_leaves_to_hyper_becomes_the_same_websocket() {
    let host = Host::start(options());
    let plain = String::from_utf8(host.upgrade("")).unwrap();
    let many: String = (0..80).map(|n| format!("X-Header-{n}: {n}\r\n")).collect();
    let absolute = plain.replace("GET /ws ", &format!("GET http://{}/ws ", host.addr));
    for request in [String::from_utf8(host.upgrade(&many)).unwrap(), absolute] {
        let mut client = host.connect();
        let mut bytes = request.into_bytes();
        bytes.extend(frame(Opcode::Text, b"behind the request"));
        client.write(&bytes);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        client.expect(Opcode::Binary, b"\0\0\0\x05hello");
        client.expect(Opcode::Binary, b"\0\0\0\x05again");
        client.expect(Opcode::Text, b"behind the request");
        client.send(Opcode::Binary, &[1; 70_000]);
        client.expect(Opcode::Binary, &[1; 70_000]);
        client.send(Opcode::Close, &[]);
        client.expect(Opcode::Close, &[]);
        assert_eq!(client.frame(), None);
    }
    host.wait_until_empty();
}

#[test]
fn a_refused_request_is_told_why() {
    let host = Host::start(options());
    let ws = |lines: &str| format!("GET /ws HTTP/1.1\r\nConnection: close\r\n{lines}\r\n");
    let upgrade = |from: &str, to: &str| {
        let request = String::from_utf8(host.upgrade("")).unwrap();
        assert!(request.contains(from));
        request.replace(from, to).replace("Connection: Upgrade", "Connection: Upgrade, close")
    };
    let host_line = format!("Host: {}\r\n", host.addr);
    for (request, status, words) in [
        (ws(""), 400, "host is missing"),
        (ws("Host: a\r\nHost: b\r\n"), 400, "host is given more than once"),
        (ws(&host_line), 426, "this path serves websocket"),
        (upgrade(&host_line, ""), 400, "host is missing"),
        (upgrade(&host_line, &format!("{host_line}{host_line}")), 400, "host is given more than once"),
        (upgrade("GET ", "POST "), 405, "by GET"),
        (upgrade("Version: 13", "Version: 8"), 426, "sec-websocket-version: 13\r\n"),
        (upgrade("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400, "sec-websocket-key has to be"),
        (upgrade("Host:", "Origin: https://evil.example\r\nHost:"), 403, "https://evil.example"),
        (upgrade("Host:", "Origin: null\r\nHost:"), 403, "null"),
        (upgrade("Host:", "Sec-WebSocket-Protocol: mqtt\r\nHost:"), 400, "pulse.v1"),
        (upgrade("/ws", "/elsewhere"), 404, "nothing is served at this path"),
        ("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n".into(), 400, "host is missing"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\nConnection: close\r\n\r\n".into(), 400, "more than once"),
        (
            "DELETE /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(),
            405,
            "allow: GET, HEAD\r\n",
        ),
    ] {
        let answer = host.ask(&request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
        assert!(answer.contains(words), "{request}{answer}");
    }
    assert_eq!(host.seats.taken(), 0);
}

#[test]
fn pages_of_the_same_host_of_this_machine_and_of_the_list_may_connect() {
    let origins = Origins::parse(["https://app.example"]).unwrap();
    let host = Host::start(support::options_with(|options| options.origins = origins));
    for origin in [&*format!("http://{}", host.addr), "http://localhost:3000", "https://app.example"] {
        let mut client = host.connect();
        client.write(&host.upgrade(&format!("Origin: {origin}\r\n")));
        assert!(client.head().starts_with("HTTP/1.1 101 "), "{origin}");
    }
}

#[test]
fn without_websocket_its_path_is_no_path() {
    let host = Host::start(support::options_with(|options| options.websocket = false));
    let request =
        String::from_utf8(host.upgrade("")).unwrap().replace("Connection: Upgrade", "Connection: close");
    let answer = host.ask(&request);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[test]
fn who_finds_no_seat_is_told_when_to_come_back() {
    let host = Host::start(support::options_with(|options| options.max_connections = 2));
    let first = host.websocket();
    let _second = host.websocket();
    let plain = String::from_utf8(host.upgrade("")).unwrap();
    let many: String = (0..80).map(|n| format!("X-Header-{n}: {n}\r\n")).collect();
    let by_hyper = String::from_utf8(host.upgrade(&many))
        .unwrap()
        .replace("Connection: Upgrade", "Connection: Upgrade, close");
    for request in [plain, by_hyper] {
        let answer = host.ask(&request);
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        assert!(answer.contains("retry-after: 5\r\n"), "{answer}");
        assert!(answer.ends_with("as many connections as it takes"), "{answer}");
    }
    assert_eq!(host.seats.taken(), 2);
    drop(first);
    while host.seats.taken() == 2 {
        std::thread::yield_now();
    }
    host.websocket();
}

#[test]
fn a_handshake_that_never_ends_is_ended() {
    let host = Host::start(support::options_with(|options| options.handshake_timeout_ms = 50));
    assert_eq!(host.connect().rest(), "", "nothing was sent, nothing is answered");
    let answer = host.ask("GET /ws HTTP/1.1\r\nHost: local");
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert_eq!(host.ask("GET /health HTTP/1.1\r\nHost: local"), "", "hyper ends it without a word");
    let answer = host.ask("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\nok"), "an idle connection is ended as well: {answer}");
}

#[test]
fn a_head_without_end_is_refused() {
    let host = Host::start(options());
    for start in ["GET /ws HTTP/1.1\r\nHost: a\r\nX: ", "GET /health HTTP/1.1\r\nHost: a\r\nX: "] {
        let mut client = host.connect();
        // The server may have closed before all of it is written.
        let _ = client.stream.write_all(format!("{start}{}", "x".repeat(60_000)).as_bytes());
        let answer = client.rest();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert!(host.ask("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ends_with("ok"));
}
