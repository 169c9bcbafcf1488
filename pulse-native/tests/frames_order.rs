//! One order for everybody, and who comes too late for it.

mod e2e_support;

use std::collections::BTreeSet;

use e2e_support::{Peer, Running, ask, publication};
use pulse_core::wire::{CloseCode, ErrorCode, Frame};

/// Each publisher's publications stay in order, and all subscribers see the same order of all.
#[test]
fn subscribers_agree_on_the_order_of_several_publishers() {
    const PUBLISHERS: u8 = 4;
    const EACH: u32 = 100;
    let server = Running::start();
    let mut subscribers = [server.client(), server.client(), server.old_client()];
    subscribers.iter_mut().for_each(|subscriber| subscriber.subscribe("c"));
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                for number in 0..EACH {
                    let payload = [&[publisher][..], &number.to_be_bytes()].concat();
                    client.send(&[publication("c", &payload)]);
                }
                client.settle();
            });
        }
    });
    let count = u32::from(PUBLISHERS) * EACH;
    let orders = subscribers.each_mut().map(|client| (0..count).map(|_| payload(client)).collect::<Vec<_>>());
    assert!(orders.iter().all(|order| *order == orders[0]), "subscribers disagree");
    for publisher in 0..PUBLISHERS {
        let own = orders[0].iter().filter(|payload| payload[0] == publisher);
        let numbers = own.map(|payload| u32::from_be_bytes(*payload[1..].first_chunk().expect("four bytes")));
        assert!(numbers.eq(0..EACH), "publisher {publisher}");
    }
}

fn payload(client: &mut Peer) -> Vec<u8> {
    let received = client.frame();
    let Frame::Publish(publish) = received.decoded() else { panic!("{received:?} is no publication") };
    publish.payload.as_bytes().expect("servers send payloads as bytes").to_vec()
}

#[test]
fn what_stands_before_malformed_bytes_is_done_and_what_stands_behind_is_not() {
    let server = Running::start();
    let (mut client, mut other) = (server.client(), server.client());
    other.subscribe("c");
    let mut message = Vec::new();
    publication("c", b"before").encode(&mut message);
    message.extend_from_slice(b"\0\0\0\x01\xc1");
    publication("c", b"behind").encode(&mut message);
    client.send_bytes(message);
    client.expect_end(CloseCode::MALFORMED);
    other.expect(&publication("c", b"before"));
    other.settle();
}

#[test]
fn a_refused_publication_reaches_nobody_and_those_around_it_do() {
    let server = Running::start_with(|config| config.limits.max_message_size = 10);
    let (mut subscriber, mut publisher) = (server.client(), server.client());
    subscriber.subscribe("c");
    publisher.send(&[
        publication("c", b"first"),
        publication("c", b"longer than ten"),
        publication("c", b"last"),
    ]);
    publisher.expect_error(0, ErrorCode::PAYLOAD_TOO_LARGE);
    subscriber.expect(&publication("c", b"first"));
    subscriber.expect(&publication("c", b"last"));
    subscriber.settle();
}

#[test]
fn clients_of_a_server_that_stops_are_told_different_moments_to_come_back() {
    let mut server = Running::start_with(|config| config.server.retry_spread_ms = 100_000);
    let mut clients: Vec<Peer> = (0..20).map(|_| server.client()).collect();
    server.stop();
    let moments: BTreeSet<u64> = clients
        .iter_mut()
        .map(|client| {
            let received = client.frame();
            let Frame::Disconnect(end) = received.decoded() else { panic!("{received:?} is no disconnect") };
            end.retry_ms.expect("clients are told when to come back")
        })
        .collect();
    assert!(moments.len() > 1 && moments.iter().all(|&ms| ms <= 100_000), "{moments:?}");
}

#[test]
fn a_request_without_exactly_one_host_gets_no_further() {
    let server = Running::start();
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let request = format!(
            "GET /ws HTTP/1.1\r\n{hosts}Upgrade: websocket\r\nConnection: Upgrade, close\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let answer = ask(server.addr, &request);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("host"), "{answer}");
        let answer = ask(server.addr, &format!("GET /health HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}
