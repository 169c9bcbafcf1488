//! Every close code of the code table, provoked over a real socket. 4501 is in `codes_requests`, with its error.

mod e2e_support;

use std::net::TcpStream;

use e2e_support::process::Process;
use e2e_support::{Heard, Peer, Running, ack, dial, publication, publish, subscribe};
use pulse_core::wire::{CloseCode, Disconnect, Frame};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::process::Signal;

#[test]
fn sigterm_drains_every_client() {
    let spread_ms = 3_000;
    let server = Process::serve(&["--server-retry-spread-ms", &spread_ms.to_string()]);
    let mut clients: Vec<Peer> = (0..20).map(|_| Peer::v1(server.addr)).collect();
    clients.iter_mut().for_each(|client| client.subscribe("c"));
    let mut old = Peer::open(server.addr, None);
    assert!(matches!(old.frame().decoded(), Frame::Connected(_)));
    let mut undecided = Peer::open(server.addr, Some("pulse.v1"));

    server.signal(Signal::TERM);
    for client in clients.iter_mut().chain([&mut undecided]) {
        let received = client.frame();
        let Frame::Disconnect(bye) = received.decoded() else { panic!("{received:?} is no disconnect") };
        assert_eq!((bye.code, bye.reason), (CloseCode::SHUTDOWN.0, CloseCode::SHUTDOWN.text()));
        let retry_ms = bye.retry_ms.expect("clients are told when to come back");
        assert!(retry_ms <= spread_ms, "{retry_ms} ms");
        client.expect_close(CloseCode::SHUTDOWN);
    }
    // A client of the first release does not know the frame.
    old.expect_close(CloseCode::SHUTDOWN);
    assert!(CloseCode::SHUTDOWN.comes_back());

    let addr = server.addr;
    drop((clients, old, undecided));
    let (status, said) = server.wait();
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains("every client has left"), "{said}");
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}

#[test]
fn a_reader_that_stops_is_disconnected_as_slow() {
    const BYTES: usize = 60_000;
    // More than any system keeps for a connection by itself: 24 MB.
    const COUNT: u64 = 400;
    let server = Running::start_with(|config| config.limits.queue_bytes = 200_000);
    let stream = dial(server.addr);
    set_socket_recv_buffer_size(&stream, 64 << 10).expect("a stream has a buffer");
    let mut slow =
        Peer::over(stream, &[("sec-websocket-protocol", "pulse.v1")]).expect("the server upgrades");
    slow.send(&[e2e_support::connect(1), subscribe(1, "c")]);
    assert!(matches!(slow.frame().decoded(), Frame::Connected(_)));
    slow.expect(&ack(1));
    let (mut healthy, mut publisher) = (server.client(), server.client());
    healthy.subscribe("c");

    let mut payload = vec![7; BYTES];
    for number in 1..=COUNT {
        payload[..8].copy_from_slice(&number.to_be_bytes());
        publisher.send(&[publish(number, "c", &payload)]);
        publisher.expect(&ack(number));
        healthy.expect(&publication("c", &payload));
    }

    // What was under way arrives, in order and without a hole; then the goodbye, and nothing of what was dropped.
    let mut number = 0;
    loop {
        let received = slow.frame();
        match received.decoded() {
            Frame::Publish(publish) => {
                number += 1u64;
                payload[..8].copy_from_slice(&number.to_be_bytes());
                assert_eq!(publish.payload.as_bytes(), Some(&payload[..]), "publication {number}");
            }
            Frame::Disconnect(bye) => {
                let code = CloseCode::SLOW_CONSUMER;
                assert_eq!(bye, Disconnect { code: code.0, reason: code.text(), retry_ms: None });
                break;
            }
            other => panic!("{other:?} came instead of a publication"),
        }
    }
    assert!(number < COUNT, "a reader that took everything was not slow");
    slow.expect_close(CloseCode::SLOW_CONSUMER);
    // Whoever reads is none the worse for it.
    healthy.settle();
}

#[test]
fn a_silent_client_is_closed() {
    let server = Running::start_with(|config| {
        config.heartbeat.interval_ms = 50;
        config.heartbeat.timeout_ms = 1_000;
    });
    let mut client = server.client();
    client.fall_silent();
    let mut asked = 0;
    loop {
        let received = client.frame();
        match received.decoded() {
            Frame::Ping { timestamp: None } => asked += 1,
            Frame::Disconnect(bye) => {
                let code = CloseCode::HEARTBEAT_TIMEOUT;
                assert_eq!(bye, Disconnect { code: code.0, reason: code.text(), retry_ms: None });
                break;
            }
            other => panic!("{other:?} came instead of a ping"),
        }
    }
    assert!(asked > 0, "it was asked before it was given up");
    assert_eq!(client.heard(), Heard::Close(4002, CloseCode::HEARTBEAT_TIMEOUT.text().to_owned()));
}

#[test]
fn bytes_that_are_no_frame_close_the_connection() {
    let server = Running::start();
    for bytes in [
        &b""[..],
        b"\0\0",
        // Longer than the message, a number where a map has to be, a byte that begins no value, and half a map.
        b"\0\0\0\x05\x80",
        b"\0\0\0\x01\x01",
        b"\0\0\0\x01\xc1",
        b"\0\0\0\x06\x81\xa4type",
    ] {
        let mut client = server.client();
        // What came before it is answered.
        let mut message = Vec::new();
        if !bytes.is_empty() {
            Frame::Ping { timestamp: Some(1) }.encode(&mut message);
        }
        let answered = !message.is_empty();
        message.extend_from_slice(bytes);
        client.send_bytes(message);
        if answered {
            client.expect(&Frame::Pong { timestamp: Some(1) });
        }
        client.expect_end(CloseCode::MALFORMED);
    }
}

#[test]
fn a_client_that_does_not_connect_first_is_closed() {
    let server = Running::start_with(|config| config.server.handshake_timeout_ms = 500);
    let mut hasty = server.unconnected();
    hasty.send(&[subscribe(1, "c")]);
    hasty.expect_end(CloseCode::CONNECT_EXPECTED);
    let mut mistaken = server.unconnected();
    mistaken.send_bytes(b"\0\0\0\x01\x80".to_vec());
    mistaken.expect_end(CloseCode::CONNECT_EXPECTED);
    let mut silent = server.unconnected();
    silent.expect_end(CloseCode::CONNECT_EXPECTED);
}

#[test]
fn a_text_message_on_a_binary_dialect_closes_the_connection() {
    let server = Running::start();
    let mut client = server.client();
    client.send_text("{\"type\":\"ping\"}");
    client.expect_end(CloseCode::WRONG_KIND);
    let mut old = server.old_client();
    old.send_text("hello");
    old.expect_close(CloseCode::WRONG_KIND);
}
