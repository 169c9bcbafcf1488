//! TLS on the listener: the same WebSockets and the same HTTP, and what is no TLS.

mod support;
mod tls_support;

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use pulse_native::ws::Opcode;
use support::{Host, frame, options_with};
use tls_support::{Drip, Files, ask, careless, dial, secure, websocket};
use tungstenite::{Error, Message};

fn start(files: &Files) -> Host {
    Host::start(options_with(|options| options.tls = Some(files.identity())))
}

/// Reads what comes until the server ends the connection, by a reset as well.
fn rest(mut stream: impl std::io::Read) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    all
}

#[test]
fn messages_of_every_size_come_back_in_order() {
    let files = Files::new("sizes");
    let host = start(&files);
    let mut socket = websocket(host.addr, secure(&files.trusting(), dial(host.addr)));
    for len in [0, 1, 125, 126, 16_383, 16_384, 16_385, 65_535, 65_536, 200_000, 1 << 20] {
        let payload: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
        socket.send(Message::binary(payload.clone())).unwrap();
        assert!(socket.read().unwrap() == Message::binary(payload), "{len} bytes came back changed");
    }
}

#[test]
fn health_is_answered_on_a_connection_that_stays_and_ends_in_order() {
    let files = Files::new("health");
    let host = start(&files);
    let mut stream = secure(&files.trusting(), dial(host.addr));
    for _ in 0..3 {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
    let last = ask(
        &files.trusting(),
        host.addr,
        "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    assert!(last.starts_with("HTTP/1.1 404 "), "{last}");
}

#[test]
fn an_upgrade_that_the_shard_leaves_to_hyper_becomes_the_same_websocket() {
    let files = Files::new("hyper");
    let host = start(&files);
    // More headers than the shard's own parser takes; the first frame comes with the request.
    let many: String = (0..80).map(|n| format!("X-Header-{n}: {n}\r\n")).collect();
    let mut request = host.upgrade(&format!("Sec-WebSocket-Protocol: pulse.v1\r\n{many}"));
    request.extend(frame(Opcode::Binary, b"early"));
    let mut stream = secure(&files.trusting(), dial(host.addr));
    stream.write_all(&request).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    let mut socket =
        tungstenite::WebSocket::from_raw_socket(stream, tungstenite::protocol::Role::Client, None);
    assert_eq!(socket.read().unwrap(), Message::binary(&b"early"[..]));
    let long = vec![3; 300_000];
    socket.send(Message::binary(long.clone())).unwrap();
    assert!(socket.read().unwrap() == Message::binary(long));
}

#[test]
fn a_client_that_does_not_read_gets_everything_in_order_later() {
    const MESSAGES: u32 = 200;
    const LEN: usize = 50_000;
    let files = Files::new("slow");
    let host = start(&files);
    let mut reader = websocket(host.addr, secure(&files.trusting(), dial(host.addr)));
    let mut other = websocket(host.addr, secure(&files.trusting(), dial(host.addr)));
    // 10 MB are echoed before the first byte is read.
    for n in 0..MESSAGES {
        let mut payload = vec![0; LEN];
        payload[..4].copy_from_slice(&n.to_be_bytes());
        reader.send(Message::binary(payload)).unwrap();
    }
    reader.send(Message::binary(&b"!tell"[..])).unwrap();
    assert_eq!(other.read().unwrap(), Message::text("told"));
    for n in 0..MESSAGES {
        let Message::Binary(payload) = reader.read().unwrap() else { panic!("an echo comes") };
        assert_eq!((&payload[..4], payload.len()), (&n.to_be_bytes()[..], LEN), "out of order");
    }
}

#[test]
fn records_that_come_byte_by_byte_are_the_same_records() {
    let files = Files::new("drip");
    let host = start(&files);
    let mut socket = websocket(host.addr, secure(&files.trusting(), Drip(dial(host.addr))));
    for len in [1, 500, 20_000] {
        let payload = vec![len as u8; len];
        socket.send(Message::binary(payload.clone())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::binary(payload));
    }
}

#[test]
fn both_sides_end_in_order() {
    let files = Files::new("ends");
    let host = start(&files);
    // By the client's close frame: echoed, then close_notify, which rustls tells from a cut connection.
    let mut socket = websocket(host.addr, secure(&files.trusting(), dial(host.addr)));
    socket.close(None).unwrap();
    assert!(matches!(socket.read(), Ok(Message::Close(_))));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    assert_eq!(socket.get_mut().read(&mut [0; 8]).unwrap(), 0);
    // By the server.
    let mut socket = websocket(host.addr, secure(&files.trusting(), dial(host.addr)));
    socket.send(Message::binary(&b"!close"[..])).unwrap();
    assert!(matches!(socket.read(), Ok(Message::Close(_))));
    // Without a close frame, by the end of the client's TLS alone: its TCP stays open.
    let mut socket = websocket(host.addr, secure(&files.trusting(), dial(host.addr)));
    let stream = socket.get_mut();
    stream.conn.send_close_notify();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut stream.sock).unwrap();
    }
    host.wait_until_empty();
    assert_eq!(rest(&mut stream.sock).len(), 0);
}

#[test]
fn a_request_without_tls_is_told_what_to_do() {
    let files = Files::new("plain");
    let host = start(&files);
    for request in ["GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST / HTTP/1.0\r\n\r\n"] {
        let answer = host.ask(request);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https:// or wss://"), "{answer}");
    }
}

#[test]
fn what_is_no_handshake_ends_and_harms_nobody() {
    let files = Files::new("garbage");
    let host = start(&files);
    let mut bystander = websocket(host.addr, secure(&files.trusting(), dial(host.addr)));
    let mut hello = Vec::new();
    secure(&files.trusting(), std::io::Cursor::new(Vec::new())).conn.write_tls(&mut hello).unwrap();
    let mut garbage: Vec<Vec<u8>> = vec![
        vec![0; 100],
        vec![0xff; 70_000],
        b"\x16\x03\x01\xff\xff".to_vec(),
        b"\x17\x03\x03\x00\x02ab".to_vec(),
        b"\x15\x03\x03\x00\x02\x02\x28".to_vec(),
        b"get / http/1.1\r\n\r\n".to_vec(),
        [&hello[..], &hello[..]].concat(),
    ];
    // One byte changed, all over the first message of a client.
    for at in (0..hello.len()).step_by(7) {
        let mut changed = hello.clone();
        changed[at] ^= 0x55;
        garbage.push(changed);
    }
    for bytes in garbage {
        let mut stream = dial(host.addr);
        // It may be closed already by the time that the last bytes leave.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        rest(&mut stream);
    }
    bystander.send(Message::text("still here")).unwrap();
    assert_eq!(bystander.read().unwrap(), Message::text("still here"));
}

#[test]
fn a_handshake_message_in_more_pieces_than_anybody_sends_ends_and_harms_nobody() {
    let files = Files::new("pieces");
    let host = start(&files);
    let mut bystander = websocket(host.addr, secure(&files.trusting(), dial(host.addr)));
    // A ClientHello of nearly 64 KiB, in whole records and byte by byte.
    let hello = [&[1, 0, 0xff, 0xf0][..], &[0; 0xfff0]].concat();
    for each in [16 << 10, 1_000, 1] {
        let mut stream = dial(host.addr);
        for piece in hello.chunks(each) {
            let mut record = vec![0x16, 3, 1];
            record.extend((piece.len() as u16).to_be_bytes());
            record.extend(piece);
            // It may be closed already.
            if stream.write_all(&record).is_err() {
                break;
            }
        }
        rest(&mut stream);
    }
    bystander.send(Message::text("still here")).unwrap();
    assert_eq!(bystander.read().unwrap(), Message::text("still here"));
}

#[test]
fn a_record_that_was_changed_on_the_way_ends_the_websocket() {
    let files = Files::new("changed");
    let host = start(&files);
    let mut socket = websocket(host.addr, secure(&files.trusting(), dial(host.addr)));
    let stream = socket.get_mut();
    stream.conn.writer().write_all(&frame(Opcode::Binary, b"hello")).unwrap();
    let mut record = Vec::new();
    stream.conn.write_tls(&mut record).unwrap();
    *record.last_mut().unwrap() ^= 1;
    stream.sock.write_all(&record).unwrap();
    // An alert, then the end.
    assert!(stream.read(&mut [0; 64]).is_err());
    host.wait_until_empty();
}

#[test]
fn a_handshake_that_never_ends_is_ended() {
    let files = Files::new("deadline");
    let host = Host::start(options_with(|options| {
        options.tls = Some(files.identity());
        options.handshake_timeout_ms = 50;
    }));
    // Nothing at all, and half a ClientHello.
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut stream = dial(host.addr);
        stream.write_all(bytes).unwrap();
        assert_eq!(rest(&mut stream), b"");
    }
    // TLS is agreed upon, and half a request follows.
    let mut stream = secure(&careless(), dial(host.addr));
    stream.write_all(b"GET /ws HTTP/1.1\r\n").unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", answer.escape_ascii());
}

#[test]
fn openssl_agrees_in_both_versions_of_tls() {
    let files = Files::new("openssl");
    let host = start(&files);
    for version in ["-tls1_2", "-tls1_3"] {
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &host.addr.to_string(), "-servername", "localhost", "-ign_eof"])
            .args(["-CAfile", &files.cert, "-verify_return_error", "-alpn", "http/1.1", version])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed; `cargo xtask setup` does that");
        let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        child.stdin.as_mut().unwrap().write_all(request).unwrap();
        let said = String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned();
        for expected in ["Verify return code: 0 (ok)", "ALPN protocol: http/1.1", "HTTP/1.1 200 OK", "\r\nok"]
        {
            assert!(said.contains(expected), "{expected} is missing with {version}:\n{said}");
        }
    }
}
