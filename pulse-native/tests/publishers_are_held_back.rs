//! What waits for all readers of a shard together is bounded: publishers wait before anything is lost.

mod e2e_support;

use std::hint::spin_loop;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use e2e_support::{Peer, Running, connect, dial, publication};
use pulse_core::wire::Frame;
use pulse_native::config::SlowConsumer;

const READERS: usize = 4;
const PUBLICATIONS: u32 = 6_000;
const LEN: usize = 16 << 10;

/// So many times in a row the publisher has to find its socket full before anybody reads: a server that goes on reading
/// does so much sooner.
const FULL: usize = 500;

#[test]
fn publishers_wait_before_the_queues_of_all_readers_hold_too_much() {
    let server = Running::start_custom(
        |config| {
            // More than a shard lets wait for all of them together.
            config.limits.queue_bytes = 40 << 20;
            config.channels.slow_consumer = SlowConsumer::DropOldest;
        },
        // However slow this machine is, none of the readers is taken for one that has stopped.
        |options| options.stall_timeout_ms = 600_000,
        |config| config.routers(),
    );
    let mut readers = [(); READERS].map(|()| {
        let mut reader = server.client();
        reader.subscribe("news");
        reader
    });
    let mut publisher = websocket(&server);
    let mut next = 0;
    for n in 0..PUBLICATIONS {
        let mut payload = vec![0; LEN];
        payload[..4].copy_from_slice(&n.to_be_bytes());
        let message = message(&publication("news", &payload));
        let (mut at, mut full) = (0, 0);
        while at < message.len() {
            match publisher.write(&message[at..]) {
                Ok(sent) => (at, full) = (at + sent, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    full += 1;
                    spin_loop();
                }
                Err(error) => panic!("{error}"),
            }
            if full == FULL {
                read_one(&mut readers, &mut next);
                full = 0;
            }
        }
    }
    while next < PUBLICATIONS {
        read_one(&mut readers, &mut next);
    }
}

/// Each reader gets the next publication.
fn read_one(readers: &mut [Peer], next: &mut u32) {
    for reader in readers {
        match reader.frame().decoded() {
            Frame::Publish(publish) => {
                let payload = publish.payload.as_bytes().expect("servers send payloads as bytes");
                assert_eq!(payload[..4], next.to_be_bytes());
            }
            other => panic!("{other:?} instead of publication {next}"),
        }
    }
    *next += 1;
}

/// A session whose socket never waits.
fn websocket(server: &Running) -> TcpStream {
    let mut stream = dial(server.addr);
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: pulse.v1\r\n\r\n",
        server.addr
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream.write_all(&message(&connect(1))).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// A client's WebSocket message, whose mask changes nothing.
fn message(frame: &Frame<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    frame.encode(&mut payload);
    let mut message = vec![0x82];
    match u16::try_from(payload.len()) {
        Ok(len @ ..126) => message.push(0x80 | len as u8),
        Ok(len) => {
            message.push(0x80 | 126);
            message.extend_from_slice(&len.to_be_bytes());
        }
        Err(_) => panic!("publications of this test are below 64 KiB"),
    }
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&payload);
    message
}
