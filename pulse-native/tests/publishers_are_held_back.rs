//! What waits for all readers of a shard together is bounded: publishers wait before anything is lost.

mod e2e_support;
mod support;

use std::hint::spin_loop;
use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;

use e2e_support::{Peer, Running, connect, dial, publication};
use pulse_core::wire::Frame;
use pulse_native::config::SlowConsumer;
use pulse_native::ws::Opcode;
use support::{Client, frame, upgrade};

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
    let mut client = Client::new(dial(server.addr));
    client.write(&upgrade(server.addr, "Sec-WebSocket-Protocol: pulse.v1\r\n"));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.write(&message(&connect(1)));
    client.stream.set_nonblocking(true).unwrap();
    client.stream
}

/// A client's WebSocket message with one frame.
fn message(of: &Frame<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    of.encode(&mut payload);
    frame(Opcode::Binary, &payload)
}
