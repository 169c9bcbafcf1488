//! Publications that are sent again over another connection, and those that are not newer than what is known, over real sockets
//! and by the HTTP API.

mod api_support;
mod e2e_support;

use api_support::post;
use e2e_support::{Peer, Running, publish, subscribe};
use pulse_core::wire::{Frame, Publish};
use pulse_native::config::Rules;
use serde_json::json;

const CHANNEL: &str = "kept:x";

/// Several shards, so that most channels are at home elsewhere.
fn server() -> Running {
    Running::start_with(|config| {
        config.server.shards = 3;
        config.namespaces.insert("kept".to_owned(), Rules { history_size: 5, ..Rules::default() });
    })
}

fn reader(server: &Running) -> Peer {
    let mut reader = server.client();
    reader.send(&[subscribe(1, CHANNEL)]);
    assert!(matches!(reader.frame().decoded(), Frame::Ack(ack) if ack.offset == Some(0)));
    reader
}

/// The position that a publication is acknowledged with, and whether it was stale.
fn published(client: &mut Peer, change: impl FnOnce(&mut Publish<'_>)) -> (String, u64, bool) {
    let Frame::Publish(mut frame) = publish(7, CHANNEL, b"x") else { unreachable!("it is a publication") };
    change(&mut frame);
    client.send(&[Frame::Publish(frame)]);
    let received = client.frame();
    let Frame::Ack(ack) = received.decoded() else { panic!("{received:?}") };
    let (epoch, offset) = ack.epoch.zip(ack.offset).expect("it has a position");
    (epoch.to_owned(), offset, ack.stale.unwrap_or(false))
}

fn expect_offsets(reader: &mut Peer, offsets: &[u64]) {
    for offset in offsets {
        let received = reader.frame();
        let Frame::Publish(got) = received.decoded() else { panic!("{received:?}") };
        assert_eq!(got.offset, Some(*offset));
        assert_eq!(got.idempotency_key, None, "it is between the publisher and the server");
    }
}

#[test]
fn a_repeat_over_another_connection_is_delivered_once() {
    let server = server();
    let mut reader = reader(&server);
    let mut told = vec![];
    for _ in 0..6 {
        // Connections are spread over the shards.
        told.push(published(&mut server.client(), |publish| publish.idempotency_key = Some("k")));
    }
    assert!(told.iter().all(|position| *position == told[0] && position.1 == 1), "{told:?}");
    published(&mut server.client(), |publish| publish.idempotency_key = Some("l"));
    expect_offsets(&mut reader, &[1, 2]);
}

#[test]
fn a_stale_version_is_told_to_its_publisher_alone() {
    let server = server();
    let mut reader = reader(&server);
    let mut version = |version| {
        let (_, offset, stale) = published(&mut server.client(), |publish| {
            (publish.key, publish.version) = (Some("k"), Some(version));
        });
        (offset, stale)
    };
    assert_eq!([5, 4, 6].map(&mut version), [(1, false), (1, true), (2, false)]);
    let params = json!({"channel": CHANNEL, "payload": 1, "key": "k", "version": 6});
    let result = post(server.addr, "publish", &params).result();
    assert_eq!((&result["offset"], &result["stale"]), (&json!(2), &json!(true)), "{result}");
    let params = json!({"channel": CHANNEL, "payload": 1, "key": "k", "version": 7, "idempotency_key": "i"});
    for _ in 0..2 {
        let again = post(server.addr, "publish", &params).result();
        assert_eq!(again, json!({"offset": 3, "epoch": result["epoch"]}));
    }
    expect_offsets(&mut reader, &[1, 2, 3]);
}
