//! A million messages, half of them mutations of valid ones: the router neither panics nor grows.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{self, Format, Frame, Payload, Point, Presence, Publish, Subscribe};
use pulse_core::{Config, Dialect, Kind, Limits, Rules};
use support::{Dice, World, connect, publish_with_id, subscribe, unsubscribe};

#[test]
fn a_million_malformed_messages_neither_panic_nor_leave_anything_behind() {
    let limits = Limits { max_channels: 50, ..Limits::default() };
    let mut w = World::new(Config { limits, ..Config::default() });
    let (mut dice, valid) = (Dice(0x5eed), valid());
    let mut message = vec![];
    let mut largest = 0;
    // Connections that were closed for what they sent are replaced, so that all states are met.
    let mut conns: Vec<_> = (0..8).map(|_| w.client()).collect();
    for round in 0..1_000_000_u32 {
        let at = dice.roll(conns.len());
        message.clear();
        if dice.roll(4) == 0 {
            let len = dice.roll(64);
            message.extend((0..len).map(|_| dice.roll(256) as u8));
        } else {
            message.extend_from_slice(&valid[dice.roll(valid.len())]);
            mutate(&mut message, &valid, &mut dice);
        }
        w.router.receive(conns[at], Kind::Binary, &message);
        if round % 16 == 0 || w.router.is_full() {
            while let Some(batch) = w.router.poll_write() {
                largest = largest.max(batch.payload().len());
            }
            while let Some(effect) = w.router.poll_effect() {
                if let pulse_core::Effect::Close { conn, .. } = effect {
                    w.router.closed(conn);
                    let gone = conns.iter().position(|c| *c == conn).expect("only our own are closed");
                    conns[gone] = w.open([Dialect::V1, Dialect::Legacy][dice.roll(2)]);
                    if dice.roll(2) == 0 {
                        w.send(conns[gone], &connect(1));
                    }
                }
            }
        }
    }
    assert!(largest < 200_000, "no batch is larger than a turn and a message: {largest}");
    conns.into_iter().for_each(|conn| w.router.closed(conn));
    w.advance(Rules::default().presence_grace_ms.into());
    let stats = w.router.stats();
    assert_eq!((stats.connections, stats.subscriptions, stats.channels, stats.members), (0, 0, 0, 0));
    assert!(stats.frames_in > 300_000 && stats.publications > 10_000, "valid ones are among them: {stats:?}");
}

/// One message of each kind that a client may send.
fn valid() -> Vec<Vec<u8>> {
    let tags = b"\x82\xa1a\xa1b\xa1c\xa1d";
    let frames = [
        connect(1),
        subscribe(1, "chat:lobby"),
        Frame::Subscribe(Subscribe {
            id: 2,
            channel: "news",
            token: Some("abc"),
            recover: Some(Point { epoch: "e", offset: 9 }),
            latest: Some(3),
        }),
        unsubscribe(3, "chat:lobby"),
        publish_with_id(4, "chat:lobby", "hello"),
        Frame::Publish(Publish {
            channel: "news",
            payload: Payload::from(&tags[..]),
            id: Some(5),
            event: Some("greeting"),
            format: Format::MsgPack,
            key: Some("k"),
            idempotency_key: Some("i"),
            ..Publish::default()
        }),
        Frame::History(wire::History {
            id: 6,
            channel: Some("news"),
            limit: Some(10),
            ..wire::History::default()
        }),
        Frame::Presence(Presence { id: 7, channel: "news", ..Presence::default() }),
        Frame::Refresh(wire::Refresh { id: 8, token: "abc" }),
        Frame::Ping { timestamp: Some(1 << 40) },
        Frame::Pong { timestamp: None },
    ];
    frames
        .iter()
        .map(|frame| {
            let mut bytes = vec![];
            frame.encode(&mut bytes);
            bytes
        })
        .collect()
}

fn mutate(message: &mut Vec<u8>, valid: &[Vec<u8>], dice: &mut Dice) {
    for _ in 0..dice.roll(3) {
        let len = message.len();
        match dice.roll(6) {
            0 if len > 0 => message[dice.roll(len)] ^= 1 << dice.roll(8),
            1 if len > 0 => message[dice.roll(len)] = dice.roll(256) as u8,
            2 => message.truncate(dice.roll(len + 1)),
            3 => message.insert(dice.roll(len + 1), dice.roll(256) as u8),
            4 => message.extend_from_slice(&valid[dice.roll(valid.len())]),
            _ if len > 3 => message[3] = message[3].wrapping_add(dice.roll(5) as u8).wrapping_sub(2),
            _ => {}
        }
    }
}
