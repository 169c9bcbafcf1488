//! Every request of the first release, byte for byte as its encoder wrote it, to the real server.

mod e2e_support;

use e2e_support::{Running, ack, connected};
use pulse_core::wire::{CloseCode, Connect, ErrorCode, Frame};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    frames: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    hex: String,
    frame: serde_json::Value,
}

#[test]
fn every_frame_that_the_first_release_wrote_is_taken() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../../pulse-core/tests/vectors/v1-frames.json"))
            .expect("the vectors are JSON");
    let server = Running::start();
    let mut client = server.old_client();
    let mut taken = 0;
    for Vector { name, hex, frame } in &vectors.frames {
        let kind = frame["type"].as_str().expect("every frame has a type");
        if matches!(kind, "ack" | "error" | "connected") {
            continue;
        }
        let digits = (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]);
        client.send_bytes(digits.map(|two| u8::from_str_radix(two, 16).expect("these are digits")).collect());
        let id = frame["id"].as_u64();
        match kind {
            "subscribe" | "unsubscribe" | "publish" => id.into_iter().for_each(|id| client.expect(&ack(id))),
            // Its library does not subscribe before it joins, which is refused in words; anybody may ask who is there.
            "presence" => {
                let id = id.expect("a request has an id");
                match frame["action"].as_u64() {
                    Some(0..=2) => drop(client.expect_error(id, ErrorCode::NOT_SUBSCRIBED)),
                    _ => assert!(
                        matches!(client.frame().decoded(), Frame::Presence(answer) if answer.id == id)
                    ),
                }
            }
            "ping" => client.expect(&Frame::Pong { timestamp: frame["timestamp"].as_u64() }),
            "pong" => {}
            // It is greeted without, but its library sends it.
            "connect" => assert_eq!(connected(&client.frame()).version, 1),
            other => panic!("{name}: the first release has no {other}"),
        }
        client.settle();
        taken += 1;
    }
    assert!(taken >= 14, "{taken} frames were sent");
}

#[test]
fn an_old_client_is_closed_without_a_frame_that_it_does_not_know() {
    let server = Running::start();
    for bytes in [&b""[..], b"\0\0", b"\0\0\0\x02\x80", b"\0\0\0\x01\x90", b"\0\0\0\x01\xc1"] {
        let mut client = server.old_client();
        client.send_bytes(bytes.to_vec());
        client.expect_close(CloseCode::MALFORMED);
    }
    let mut client = server.old_client();
    client.send(&[Frame::Connect(Connect { version: 2, ..Connect::default() })]);
    client.expect_error(0, ErrorCode::PROTOCOL_MISMATCH);
    client.expect_close(CloseCode::VERSION);
}
