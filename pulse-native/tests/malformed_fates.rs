//! What becomes of those who send what is almost right: each is answered, or closed by a code that says why; and nobody
//! else notices.

mod e2e_support;

use std::collections::BTreeMap;

use e2e_support::{Heard, Peer, Running, ack, publication, publish};
use pulse_core::wire::{
    Connect, Frame, History, List, Payload, Point, Presence, PresenceAction, Publish, Refresh, Subscribe,
    Tags, Unsubscribe, Value,
};

/// xorshift64*: the same messages in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Changes, cuts off, doubles, removes or inserts a few bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(3) {
            let at = self.below(bytes.len().max(1));
            match self.below(5) {
                0 | 1 if !bytes.is_empty() => bytes[at] = self.next() as u8,
                2 => bytes.truncate(at),
                3 => bytes.extend_from_within(at..),
                4 if !bytes.is_empty() => drop(bytes.remove(at)),
                _ => bytes.insert(at.min(bytes.len()), self.next() as u8),
            }
        }
        // Three of four get a right length again, so that it is the map that is judged.
        if self.below(4) > 0 && bytes.len() >= 4 {
            let len = u32::try_from(bytes.len() - 4).expect("messages of this test are short");
            bytes[..4].copy_from_slice(&len.to_be_bytes());
        }
    }
}

/// One of every request, with every key that it may have.
fn requests() -> Vec<Vec<u8>> {
    let (mut tags, mut features) = (Vec::new(), Vec::new());
    let tags = Some(Tags::encode(&[("a", "b"), ("c", "d")], &mut tags));
    let features = Some(List::encode(&["one", "two"], &mut features));
    let point = Some(Point { epoch: "epoch", offset: 300 });
    let publish = Publish {
        id: Some(4),
        channel: "chat:lobby",
        payload: Payload::from(&b"payload"[..]),
        event: Some("event"),
        key: Some("key"),
        idempotency_key: Some("idempotency"),
        tags,
        ..Publish::default()
    };
    let presence = Presence {
        id: 5,
        channel: "chat:lobby",
        action: PresenceAction::Update,
        data: Value::new(b"\x92\x81\xa1x\x01\xc3"),
        ..Presence::default()
    };
    let (token, channel) = (Some("token"), "chat:lobby");
    let history =
        History { id: 6, channel: Some(channel), since: point, limit: Some(9), ..History::default() };
    let frames = [
        Frame::Connect(Connect { version: 1, token, name: Some("name"), features }),
        Frame::Subscribe(Subscribe { id: 2, channel, token, recover: point, latest: Some(5) }),
        Frame::Unsubscribe(Unsubscribe { id: 3, channel }),
        Frame::Publish(publish),
        Frame::Presence(presence),
        Frame::History(history),
        Frame::Refresh(Refresh { id: 7, token: "token" }),
        Frame::Ping { timestamp: Some(1 << 40) },
        Frame::Pong { timestamp: None },
    ];
    let encoded = frames.iter().map(|frame| {
        let mut message = Vec::new();
        frame.encode(&mut message);
        message
    });
    encoded.collect()
}

/// What became of a client that sent some messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Alive,
    Closed(u16),
}

/// Hears to the answer of a text ping, or to the close. The host answers such a ping as it reads it, before the router has
/// answered the messages that came with it; so a second one is sent once the first is answered.
fn fate(client: &mut Peer) -> Fate {
    for _ in 0..2 {
        client.send_text("ping");
        loop {
            match client.heard() {
                Heard::Text(text) if text == "pong" => break,
                Heard::Close(code, _) => return Fate::Closed(code),
                Heard::Frames(_) => {}
                other => panic!("{other:?} is neither an answer nor a close"),
            }
        }
    }
    Fate::Alive
}

#[test]
fn almost_valid_messages_are_answered_or_closed_by_a_code_that_says_why() {
    const CLIENTS: usize = 2_000;
    const SEED: u64 = 0x1234_5678_9abc_def1;
    let server = Running::start();
    let (mut witness, mut random) = (server.client(), Random(SEED));
    witness.subscribe("witness");
    let requests = requests();
    let (mut alive, mut closed) = (0, BTreeMap::<u16, u32>::new());
    for _ in 0..CLIENTS {
        let mut client = match random.below(4) {
            0 => server.unconnected(),
            1 => server.old_client(),
            _ => server.client(),
        };
        for _ in 0..1 + random.below(3) {
            let mut message = requests[random.below(requests.len())].clone();
            if random.below(2) == 0 {
                message.extend_from_slice(&requests[random.below(requests.len())]);
            }
            random.mutate(&mut message);
            client.send_bytes(message);
        }
        match fate(&mut client) {
            Fate::Alive => alive += 1,
            Fate::Closed(code) => *closed.entry(code).or_insert(0) += 1,
        }
    }
    // Malformed, another version, no connect first: no other code is ever the answer to binary messages.
    let at_least = |code: u16, count: u32| closed.get(&code).is_some_and(|&closed| closed >= count);
    let common = alive > 100 && at_least(4500, 100) && at_least(4502, 20);
    let known = closed.keys().all(|code| (4500..=4502).contains(code));
    assert!(common && known, "seed {SEED:#x}: {alive} alive, closed: {closed:?}");

    let mut fresh = server.client();
    fresh.send(&[publish(1, "witness", b"business as usual")]);
    fresh.expect(&ack(1));
    witness.expect(&publication("witness", b"business as usual"));
    witness.settle();
}
