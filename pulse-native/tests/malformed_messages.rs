//! Messages that are almost right, ten thousand of them, over real sockets: the server takes none of it amiss.

mod e2e_support;

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;

use e2e_support::{Running, connect, dial, publication, publish, subscribe, unsubscribe};
use pulse_core::wire::{self, Frame, Presence};
use pulse_native::ws::{Opcode, masked};

const MESSAGES: usize = 10_000;
const SEED: u64 = 0x5eed_0000_0000_0011;

/// xorshift64*: the same messages in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end as u64) as usize
    }
}

#[test]
fn ten_thousand_malformed_messages_leave_the_server_as_it_was() {
    let server = Running::start();
    let mut random = Random(SEED);
    let binary = binary();
    let text = [
        r#"{"type":"connect","version":1}"#,
        r#"{"type":"subscribe","id":1,"channel":"news"}"#,
        r#"{"type":"publish","id":2,"channel":"news","payload":{"a":[1,"\u00e9"]},"tags":{"k":"v"}}"#,
        "{\"type\":\"ping\",\"timestamp\":7}\n{\"type\":\"unsubscribe\",\"id\":3,\"channel\":\"news\"}",
    ];
    let (mut sent, mut resident) = (0, 0);
    while sent < MESSAGES {
        // Most connections end with the first message that is no frame; what was written behind it is for nothing.
        let kind = random.below(3);
        let subprotocol =
            ["Sec-WebSocket-Protocol: pulse.v1\r\n", "", "Sec-WebSocket-Protocol: pulse.v1.json\r\n"][kind];
        let mut bytes = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{subprotocol}\r\n",
            server.addr
        )
        .into_bytes();
        let opcode = if kind == 2 { Opcode::Text } else { Opcode::Binary };
        let first = if kind == 2 { text[0].as_bytes() } else { &binary[0][..] };
        masked(&mut bytes, opcode, first, [1, 2, 3, 4]);
        for _ in 0..10 {
            let mut message = if kind == 2 {
                text[random.below(text.len())].as_bytes().to_vec()
            } else {
                binary[random.below(binary.len())].clone()
            };
            mutate(&mut message, &mut random);
            masked(&mut bytes, opcode, &message, [9, 8, 7, 6]);
            sent += 1;
        }
        let mut stream = dial(server.addr);
        // The server may have closed while this was being written: that is one of the right answers.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 101 ") || answer.is_empty(), "seed {SEED:#x}, message {sent}");
        if sent == MESSAGES / 5 {
            resident = resident_bytes();
        }
    }
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown < 4 << 20, "{grown} bytes more resident after {MESSAGES} messages");
    let mut client = server.client();
    client.subscribe("news");
    client.send(&[publication("news", b"still here")]);
    client.expect(&publication("news", b"still here"));
}

/// One message of each kind that a client may send.
fn binary() -> Vec<Vec<u8>> {
    let frames = [
        connect(1),
        subscribe(1, "news"),
        publish(2, "news", b"payload"),
        publication("news", b"payload"),
        unsubscribe(3, "news"),
        Frame::Presence(Presence { id: 4, channel: "news", ..Presence::default() }),
        Frame::History(wire::History { id: 5, channel: Some("news"), ..wire::History::default() }),
        Frame::Refresh(wire::Refresh { id: 6, token: "token" }),
        Frame::Ping { timestamp: Some(7) },
    ];
    let encoded = frames.iter().map(|frame| {
        let mut message = Vec::new();
        frame.encode(&mut message);
        message
    });
    encoded.collect()
}

fn mutate(message: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(message.len().max(1));
        match random.below(5) {
            0 if !message.is_empty() => message[at] ^= 1 << random.below(8),
            1 if !message.is_empty() => message[at] = random.below(256) as u8,
            2 => message.truncate(at),
            3 => message.extend_from_within(at.min(message.len())..),
            _ => message.insert(at.min(message.len()), random.below(256) as u8),
        }
    }
}

/// Of this process, server and test together.
fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells of every process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("with its resident memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("in KiB") * 1024
}
