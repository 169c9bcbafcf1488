//! Bytes that nobody should send: the server answers the next client as if nothing had been.

mod support;

use std::io::Write;

use pulse_native::ws::Opcode;
use support::{Host, frame, options_with};

/// xorshift64*: the same bytes in every run.
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

    /// Changes, cuts out, doubles or inserts a few bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(3) {
            let at = self.below(bytes.len().max(1));
            match self.below(4) {
                0 if !bytes.is_empty() => bytes[at] = self.next() as u8,
                1 => bytes.truncate(at),
                2 => bytes.extend_from_within(at..),
                _ => bytes.insert(at.min(bytes.len()), self.next() as u8),
            }
        }
    }
}

/// Half of the strings come where a request is expected, half where frames are; most are mutations of what is valid.
#[test]
fn ten_thousand_malformed_strings_leave_the_server_as_it_was() {
    const STRINGS: usize = 10_000;
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    let host = Host::start(options_with(|options| {
        options.handshake_timeout_ms = 1000;
        options.max_message = 10_000;
    }));
    let upgrade = host.upgrade("Sec-WebSocket-Protocol: pulse.v1\r\n");
    let health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut random = Random(SEED);
    // The last few stay open, so that the server meets silence as well as the end of the stream.
    let mut open = std::collections::VecDeque::new();
    for n in 0..STRINGS {
        let mut bytes = Vec::new();
        let mut start = 0;
        if n % 2 == 0 {
            match random.below(3) {
                0 => bytes.extend_from_slice(&upgrade),
                1 => bytes.extend_from_slice(health),
                _ => bytes.extend((0..random.below(200)).map(|_| random.next() as u8)),
            }
        } else {
            start = upgrade.len();
            bytes.extend_from_slice(&upgrade);
            for _ in 0..1 + random.below(3) {
                let payload: Vec<u8> = (0..random.below(300)).map(|_| random.next() as u8).collect();
                match random.below(6) {
                    0 => bytes.extend(frame(Opcode::Text, b"text that is valid")),
                    1 => bytes.extend(frame(Opcode::Ping, &payload[..payload.len().min(125)])),
                    2 => bytes.extend(frame(Opcode::Close, b"\x03\xe8")),
                    3 => bytes.extend(payload),
                    _ => bytes.extend(frame(Opcode::Binary, &payload)),
                }
            }
        }
        let mut tail = bytes.split_off(start);
        random.mutate(&mut tail);
        bytes.extend(tail);
        let mut client = host.connect();
        // The server may close before it has everything.
        let _ = client.stream.write_all(&bytes);
        open.push_back(client);
        if open.len() > 32 {
            open.pop_front();
        }
    }
    let answer = host.ask("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\nok"), "seed {SEED:#x}: {answer}");
    let mut client = host.websocket();
    client.send(Opcode::Text, b"business as usual");
    client.expect(Opcode::Text, b"business as usual");
    drop((open, client));
    host.wait_until_empty();
}
