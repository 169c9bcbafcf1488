//! Two hundred thousand messages, most of them mutations of valid ones: the client neither panics nor grows.
#![cfg(not(target_family = "wasm"))]

mod client_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use client_support::script::Script;
use client_support::{Dice, ack, connected, disconnect, encode, error, publication};
use pulse_core::client::{ClientConfig, ClientEffect, PublishOptions, Status, SubscribeOptions};
use pulse_core::wire::{self, Frame, MAX_SAFE};
use pulse_core::{Kind, Now, Time};

struct Measuring;
static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; measuring touches no memory of its.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the pointer came from `alloc` above, hence from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

/// The tests of this file measure one process, so they are one test.
#[test]
fn the_client_neither_panics_nor_grows() {
    malformed_bytes_cost_the_connection_and_no_memory();
    two_hundred_thousand_messages_leave_nothing_behind();
    what_a_flood_took_is_given_back();
    a_host_that_never_takes_everything_holds_what_it_left();
    a_clock_at_the_end_of_its_range_is_no_trouble();
}

fn malformed_bytes_cost_the_connection_and_no_memory() {
    let whole = encode(&[connected()]);
    let garbage: [&[u8]; 6] =
        [b"", b"\0", b"\0\0\0\x01\xc1", b"\0\0\0\x05\x81", b"\xff\xff\xff\xff", &whole[..whole.len() - 1]];
    for bytes in garbage {
        let mut s = Script::open();
        s.client.receive(Kind::Binary, bytes);
        assert_eq!((s.effects(), s.client.stats().malformed), (vec![ClientEffect::HangUp], 1), "{bytes:?}");
        assert!(matches!(s.client.status(), Status::Waiting { .. }));
    }
    let mut s = Script::open();
    s.client.receive(Kind::Text, &whole);
    assert_eq!(s.client.stats().malformed, 1);
    // Well formed and unknown is another matter: a newer server may say it.
    let mut s = Script::open();
    s.client.receive(Kind::Binary, b"\0\0\0\x0c\x81\xa4type\xa5hello");
    s.tell(&[Frame::Connect(wire::Connect { version: 1, ..wire::Connect::default() }), connected()]);
    assert_eq!((s.client.status(), s.client.stats().ignored), (Status::Connected, 3));
}

fn two_hundred_thousand_messages_leave_nothing_behind() {
    let mut dice = Dice::new(0x5eed);
    let valid = valid();
    let mut s =
        Script::new(ClientConfig { max_subscriptions: 20, outbox_bytes: 4_096, ..ClientConfig::default() });
    let (mut message, mut start, mut sessions) = (vec![], 0, 0);
    for round in 0..200_000_u32 {
        if round == 20_000 {
            start = LIVE.load(Relaxed);
        }
        message.clear();
        if dice.roll(8) == 0 {
            let len = dice.roll(64);
            message.extend((0..len).map(|_| dice.roll(256) as u8));
        } else {
            message.extend_from_slice(&valid[dice.roll(valid.len())]);
            mutate(&mut message, &valid, &mut dice);
        }
        s.client.receive(if dice.roll(500) == 0 { Kind::Text } else { Kind::Binary }, &message);
        let _ = s.client.subscribe(["a", "b", "c"][dice.roll(3)], SubscribeOptions::default());
        if dice.roll(50) == 0 {
            if let Ok(sub) = s.client.subscribe("gone", SubscribeOptions::default()) {
                s.client.unsubscribe(sub);
            }
            let _ = s.client.publish(
                "a",
                b"x",
                PublishOptions { retry: dice.roll(2) == 0, ..PublishOptions::default() },
            );
        }
        if round % 8 == 0 {
            drain(&mut s);
            match s.client.status() {
                Status::Closed | Status::Idle => s.client.connect(),
                Status::Waiting { .. } => {
                    s.sleep();
                }
                Status::Connecting => {
                    s.client.opened();
                    s.tell(&[connected()]);
                    sessions += 1;
                }
                _ => s.advance(dice.roll(500) as u64),
            }
        }
    }
    drain(&mut s);
    let grown = LIVE.load(Relaxed).saturating_sub(start);
    assert!(grown < 64 * 1024, "grown by {grown} B over 180,000 messages");
    let stats = s.client.stats();
    assert!(
        sessions > 1_000 && stats.malformed > 1_000 && stats.frames_in > 50_000,
        "all states were met: {stats:?}"
    );
}

/// Takes everything out, as a host does at the end of a turn.
fn drain(s: &mut Script) {
    while s.client.poll_write().is_some() {}
    while s.client.poll_effect().is_some() {}
    while s.client.poll_event().is_some() {}
}

fn what_a_flood_took_is_given_back() {
    let mut s = Script::open();
    let sub = s.subscribe("a");
    s.writes();
    s.tell(&[ack(sub.get())]);
    s.events();
    let start = LIVE.load(Relaxed);
    let text = "x".repeat(1_000);
    let message = encode(&[publication("a", &text, None); 10]);
    let mut messages = 0;
    while !s.client.is_full() {
        s.client.receive(Kind::Binary, &message);
        messages += 1;
    }
    assert!(messages < 8, "64 KiB are a full turn: {messages}");
    (0..1_000).for_each(|_| s.client.receive(Kind::Binary, &message));
    while s.client.poll_event().is_some() {}
    s.client
        .publish("a", &[7; 200_000], PublishOptions { silent: true, ..PublishOptions::default() })
        .unwrap();
    while s.client.poll_write().is_some() {}
    let kept = LIVE.load(Relaxed).saturating_sub(start);
    assert!(kept < 128 * 1024, "{kept} B are kept of 10 MB");
    // A server that asks for more answers than anybody writes.
    let pings = encode(&[Frame::Ping { timestamp: Some(1) }; 1_000]);
    (0..1_000).for_each(|_| s.client.receive(Kind::Binary, &pings));
    assert_eq!(s.writes(), ["pong 1"]);
}

fn a_host_that_never_takes_everything_holds_what_it_left() {
    let mut s = Script::open();
    let sub = s.subscribe("a");
    s.writes();
    s.tell(&[ack(sub.get())]);
    let text = "x".repeat(1_000);
    let message = encode(&[publication("a", &text, None)]);
    (0..10).for_each(|_| s.client.receive(Kind::Binary, &message));
    let start = LIVE.load(Relaxed);
    for _ in 0..10_000 {
        s.client.receive(Kind::Binary, &message);
        assert!(s.client.poll_event().is_some());
    }
    let kept = LIVE.load(Relaxed).saturating_sub(start);
    assert!(kept < 64 * 1024, "{kept} B are held for ten events");
}

/// One message of each kind that a server may send, about ids and channels that the client may know.
fn valid() -> Vec<Vec<u8>> {
    let mut members = vec![];
    let members =
        wire::Members::encode(&[wire::Member { client: "c", ..wire::Member::default() }], &mut members);
    let at = |id| {
        Frame::Ack(wire::Ack {
            id,
            epoch: Some("e"),
            offset: Some(MAX_SAFE),
            recovered: Some(false),
            reason: None,
            ..wire::Ack::default()
        })
    };
    let mut valid: Vec<_> = [
        connected(),
        publication("a", "hello", None),
        publication("b", "hello", Some(3)),
        publication("c", "hello", Some(MAX_SAFE)),
        Frame::Gap(wire::Gap { channel: "a", reason: "slow", from: Some(1), to: Some(0), count: None }),
        Frame::Presence(wire::Presence { channel: "a", members: Some(members), ..wire::Presence::default() }),
        Frame::Unsubscribed(wire::Unsubscribed { channel: "b", code: 1004, reason: "no" }),
        Frame::History(wire::History {
            id: 1,
            epoch: Some("e"),
            offset: Some(1),
            ..wire::History::default()
        }),
        Frame::Ping { timestamp: Some(1) },
        Frame::Pong { timestamp: None },
        error(0, 1001, false),
        disconnect(4000, Some(10)),
        disconnect(4500, None),
    ]
    .iter()
    .map(|frame| encode(&[*frame]))
    .collect();
    for id in 1..40 {
        valid.push(encode(&[ack(id), at(id + 1), error(id + 2, 1004, false), error(id + 3, 1013, true)]));
    }
    valid
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

fn a_clock_at_the_end_of_its_range_is_no_trouble() {
    let mut s = Script::open();
    s.client.advance(Now { mono: Time(u64::MAX), unix_ms: u64::MAX });
    s.client.ping();
    drain(&mut s);
    s.client.closed(None);
    assert_eq!(s.client.poll_timeout(), Some(Time(u64::MAX)));
}
