//! rmp-serde as oracle, both ways: it reads what we write, and we read what it writes.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod wire_support;

use std::collections::BTreeMap;
use std::fmt;

use pulse_core::wire::decode;
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;
use wire_support::{Rng, TYPES, describe, encoded, frame, hex, map_of};

macro_rules! peer {
    ($($(#[$attribute:meta])* $Name:ident { $($key:ident: $kind:ty),* $(; $($option:ident: $type:ty),*)? })*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        struct $Name {
            $($key: $kind,)*
            $($(#[serde(default, skip_serializing_if = "Option::is_none")] $option: Option<$type>,)*)?
        }
    )*};
}

// The frame table once more, as serde sees it.
peer! {
    Connect { version: u64; token: String, name: String, features: Vec<String> }
    Connected { connection_id: String, version: u64, heartbeat: u64; features: Vec<String>, user: String, expires_at: u64 }
    Subscribe { id: u64, channel: String; token: String, recover: Point, latest: u64 }
    Unsubscribe { id: u64, channel: String }
    Unsubscribed { channel: String, code: u16, reason: String }
    Publish {
        channel: String, payload: Bytes;
        id: u64, event: String, format: String, key: String, version: u64, idempotency_key: String, tags: BTreeMap<String, String>,
        offset: u64, time: u64, client: String, user: String
    }
    History {
        id: u64;
        channel: String, since: Point, limit: u64, reverse: bool, epoch: String, offset: u64,
        publications: Vec<Publication>
    }
    Gap { channel: String, reason: String; from: u64, to: u64, count: u64 }
    Presence {
        id: u64, channel: String, action: u8;
        data: Json, client: String, user: String, members: Vec<Member>, clients: u64, users: u64, changes: Vec<Member>,
        after: String, limit: u64, next: String
    }
    Refresh { id: u64, token: String }
    Ack { id: u64; epoch: String, offset: u64, recovered: bool, reason: String, stale: bool, sparse: bool }
    Error { id: u64, code: u16, message: String; temporary: bool }
    Disconnect { code: u16, reason: String; retry_ms: u64 }
    Beat {; timestamp: u64 }
    Point { epoch: String, offset: u64 }
    Publication {
        payload: Bytes;
        id: u64, event: String, format: String, key: String, version: u64, idempotency_key: String, tags: BTreeMap<String, String>,
        offset: u64, time: u64, client: String, user: String
    }
    Member { client: String; action: u8, user: String, data: Json }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Peer {
    Connect(Connect),
    Connected(Connected),
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    Unsubscribed(Unsubscribed),
    Publish(Publish),
    History(History),
    Gap(Gap),
    Presence(Presence),
    Refresh(Refresh),
    Ack(Ack),
    Error(Error),
    Disconnect(Disconnect),
    Ping(Beat),
    Pong(Beat),
}

/// Bytes on the wire, `{"hex": ..}` in JSON.
#[derive(Clone, Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("hex", &hex(&self.0))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("binary data")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Bytes, A::Error> {
                Err(serde::de::Error::custom("payloads are sent as binary data"))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// Every type, with all keys and with some, under many seeds.
fn each(mut test: impl FnMut(&pulse_core::wire::Frame<'_>, u64)) {
    for kind in 0..TYPES {
        for seed in 0..300 {
            test(&frame(kind, &mut Rng::new(seed), seed % 3 == 0), seed);
        }
    }
}

fn as_json(peer: &Peer) -> Json {
    serde_json::to_value(peer).expect("frames are JSON, too")
}

#[test]
fn rmp_serde_reads_what_we_write() {
    each(|frame, seed| {
        let bytes = encoded(frame);
        let peer: Peer = rmp_serde::from_slice(map_of(&bytes)).unwrap_or_else(|error| {
            panic!("seed {seed}: {frame:?} is not read by rmp-serde: {error}");
        });
        assert_eq!(as_json(&peer), describe(frame), "seed {seed}");
    });
}

#[test]
fn we_read_what_rmp_serde_writes() {
    each(|frame, seed| {
        let peer: Peer = rmp_serde::from_slice(map_of(&encoded(frame))).expect("the test above has shown it");
        let bytes = rmp_serde::to_vec_named(&peer).expect("a peer is encoded");
        let read =
            decode(&bytes).unwrap_or_else(|error| panic!("seed {seed}: {peer:?} is not read: {error}"));
        assert_eq!(describe(&read), as_json(&peer), "seed {seed}");
    });
}

#[test]
fn we_read_payloads_that_serde_wrote_as_arrays() {
    // What serde makes of a `Vec<u8>` that nobody told it is bytes, as the first release's clients may.
    #[derive(Serialize)]
    struct Naive {
        channel: &'static str,
        payload: Vec<u8>,
        r#type: &'static str,
    }
    let payload: Vec<u8> = (0..=255).collect();
    let naive = Naive { channel: "c", payload: payload.clone(), r#type: "publish" };
    let bytes = rmp_serde::to_vec_named(&naive).expect("it is encoded");
    let Ok(pulse_core::wire::Frame::Publish(publish)) = decode(&bytes) else {
        panic!("{:?}", decode(&bytes))
    };
    assert_eq!(publish.payload, payload.as_slice().into());
    assert_eq!(publish.payload.as_bytes(), None);
}
