//! A client of the first release: no subprotocol, on somebody else's WebSocket and MessagePack.
//!
//! It waits for `connected` on opening and takes everything after the first four bytes of a message for one frame, which
//! has to be one of those that it knows.

mod e2e_support;

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use e2e_support::process::Process;
use e2e_support::{Heard, PATIENCE, Running, publication};
use futures_util::{SinkExt as _, StreamExt as _};
use pulse_core::wire::CloseCode;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// The frames that the first release knows, as it declares them: any other `type` is an error to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Frame {
    Connected {
        connection_id: String,
        version: u8,
        heartbeat: u32,
    },
    Subscribe {
        id: u64,
        channel: String,
    },
    Unsubscribe {
        id: u64,
        channel: String,
    },
    Publish {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        channel: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<String>,
        payload: ByteBuf,
    },
    Ack {
        id: u64,
    },
    Error {
        id: u64,
        code: u16,
        message: String,
    },
    Ping {
        #[serde(skip_serializing_if = "Option::is_none")]
        timestamp: Option<u64>,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        timestamp: Option<u64>,
    },
}

impl Frame {
    fn encode(&self) -> Vec<u8> {
        let map = rmp_serde::to_vec_named(self).expect("a frame is MessagePack");
        [&(map.len() as u32).to_be_bytes()[..], &map].concat()
    }

    /// All of a message but its first four bytes is one value.
    fn decode(message: &[u8]) -> Self {
        let mut rest = &message[4..];
        assert_eq!(message[..4], (rest.len() as u32).to_be_bytes(), "one frame a message");
        let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
        let frame = Self::deserialize(&mut deserializer).expect("the first release knows the frame");
        assert!(rest.is_empty(), "{} bytes follow {frame:?}", rest.len());
        frame
    }

    fn publish(id: Option<u64>, channel: &str, payload: &[u8]) -> Self {
        Self::Publish { id, channel: channel.to_owned(), event: None, payload: ByteBuf::from(payload) }
    }
}

struct OldClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl OldClient {
    /// Connects and waits for `connected`.
    async fn open(addr: SocketAddr) -> Self {
        let (socket, _) = connect_async(format!("ws://{addr}/ws")).await.expect("the server upgrades");
        let mut client = Self { socket };
        match client.frame().await {
            Frame::Connected { connection_id, version: 1, heartbeat } => {
                assert!(!connection_id.is_empty() && heartbeat > 0);
            }
            other => panic!("{other:?} came instead of connected"),
        }
        client
    }

    async fn send(&mut self, frame: Frame) {
        self.socket.send(Message::binary(frame.encode())).await.expect("the server takes a message");
    }

    async fn message(&mut self) -> Option<Message> {
        let message = timeout(PATIENCE, self.socket.next()).await.expect("something comes in time");
        message.map(|message| message.expect("the server speaks WebSocket"))
    }

    async fn frame(&mut self) -> Frame {
        match self.message().await {
            Some(Message::Binary(bytes)) => Frame::decode(&bytes),
            other => panic!("{other:?} came instead of a frame"),
        }
    }

    async fn subscribe(&mut self, channel: &str) {
        self.send(Frame::Subscribe { id: 1, channel: channel.to_owned() }).await;
        assert_eq!(self.frame().await, Frame::Ack { id: 1 });
    }

    /// Next comes the close with this code, and before it no frame that the first release does not know.
    async fn expect_close(&mut self, code: CloseCode) {
        match self.message().await {
            Some(Message::Close(Some(close))) => assert_eq!(u16::from(close.code), code.0),
            other => panic!("{other:?} came instead of the close"),
        }
        assert_eq!(self.message().await, None);
    }
}

#[tokio::test]
async fn an_old_client_subscribes_publishes_and_gets_its_own_message_the_ack_and_a_pong() {
    let server = Running::start();
    let mut client = OldClient::open(server.addr).await;
    client.subscribe("chat:lobby").await;
    client.send(Frame::publish(Some(2), "chat:lobby", b"hello")).await;
    assert_eq!(client.frame().await, Frame::Ack { id: 2 });
    assert_eq!(client.frame().await, Frame::publish(None, "chat:lobby", b"hello"));
    for timestamp in [None, Some(1_764_547_200_000)] {
        client.send(Frame::Ping { timestamp }).await;
        assert_eq!(client.frame().await, Frame::Pong { timestamp });
    }
    client.send(Frame::Unsubscribe { id: 3, channel: "chat:lobby".to_owned() }).await;
    assert_eq!(client.frame().await, Frame::Ack { id: 3 });
    client.send(Frame::Unsubscribe { id: 4, channel: "chat:lobby".to_owned() }).await;
    match client.frame().await {
        Frame::Error { id: 4, code: 1008, message } => assert!(!message.is_empty()),
        other => panic!("{other:?} came instead of error 1008"),
    }
}

#[tokio::test]
async fn an_old_client_may_send_connect_and_is_answered_once_more() {
    let server = Running::start();
    let mut client = OldClient::open(server.addr).await;
    let map = b"\x82\xa4type\xa7connect\xa7version\x01";
    let message = [&(map.len() as u32).to_be_bytes()[..], map].concat();
    client.socket.send(Message::binary(message)).await.expect("the server takes a message");
    assert!(matches!(client.frame().await, Frame::Connected { version: 1, .. }));
    client.subscribe("c").await;
}

#[tokio::test]
async fn an_old_client_decodes_fifty_publications_of_one_turn_one_by_one() {
    const NUMBERS: RangeInclusive<u8> = 1..=50;
    let server = Running::start();
    let mut client = OldClient::open(server.addr).await;
    client.subscribe("c").await;
    let addr = server.addr;
    let publisher = tokio::task::spawn_blocking(move || {
        let mut publisher = e2e_support::Peer::v1(addr);
        let payloads: Vec<[u8; 1]> = NUMBERS.map(|number| [number]).collect();
        publisher.send(&payloads.iter().map(|payload| publication("c", payload)).collect::<Vec<_>>());
        publisher.settle();
    });
    for number in NUMBERS {
        assert_eq!(client.frame().await, Frame::publish(None, "c", &[number]));
    }
    publisher.await.expect("the publisher is not disturbed");
}

#[tokio::test]
async fn a_new_publisher_and_an_old_subscriber_understand_each_other() {
    let server = Running::start();
    let mut client = OldClient::open(server.addr).await;
    client.subscribe("c").await;
    let addr = server.addr;
    // What it does not know of a message, it skips.
    tokio::task::spawn_blocking(move || {
        use pulse_core::wire::{self, Format, Payload, Publish};
        let publish = Publish {
            channel: "c",
            payload: Payload::from(&b"1"[..]),
            event: Some("count"),
            format: Format::Json,
            key: Some("k"),
            ..Publish::default()
        };
        e2e_support::Peer::v1(addr).send(&[wire::Frame::Publish(publish)]);
    })
    .await
    .expect("the publisher is not disturbed");
    match client.frame().await {
        Frame::Publish { id: None, channel, event, payload } => {
            assert_eq!((&*channel, event.as_deref(), &payload[..]), ("c", Some("count"), &b"1"[..]));
        }
        other => panic!("{other:?} came instead of a publication"),
    }
}

#[tokio::test]
async fn an_old_client_gets_the_close_code_alone_when_the_server_drains() {
    let mut server = Running::start();
    let mut client = OldClient::open(server.addr).await;
    client.subscribe("c").await;
    server.stop();
    client.expect_close(CloseCode::SHUTDOWN).await;
}

#[tokio::test]
async fn an_old_client_gets_the_close_code_alone_on_sigterm() {
    let server = Process::serve(&[]);
    let mut client = OldClient::open(server.addr).await;
    client.subscribe("c").await;
    server.signal(Signal::TERM);
    client.expect_close(CloseCode::SHUTDOWN).await;
    drop(client);
    let (status, said) = tokio::task::spawn_blocking(|| server.wait()).await.expect("waiting does not fail");
    assert!(status.success(), "{status}: {said}");
}

#[tokio::test]
async fn an_old_client_is_asked_by_control_pings_and_lives_as_long_as_its_library_answers() {
    let server = Running::start_with(|config| {
        config.heartbeat.interval_ms = 100;
        config.heartbeat.timeout_ms = 1_000;
    });
    let mut client = OldClient::open(server.addr).await;
    // The library answers while it reads. Fifteen intervals are longer than the time for which it may be silent.
    for _ in 0..15 {
        let message = client.message().await;
        assert!(matches!(message, Some(Message::Ping(_))), "{message:?} came instead of a control ping");
    }
    client.subscribe("c").await;
}

#[test]
fn an_old_client_that_does_not_answer_is_closed() {
    let server = Running::start_with(|config| {
        config.heartbeat.interval_ms = 100;
        config.heartbeat.timeout_ms = 1_000;
    });
    let mut client = server.old_client();
    client.fall_silent();
    let mut asked = 0;
    let close = loop {
        match client.heard() {
            Heard::Ping => asked += 1,
            other => break other,
        }
    };
    assert!(asked > 0, "it was asked before it was given up");
    let code = CloseCode::HEARTBEAT_TIMEOUT;
    assert_eq!(close, Heard::Close(code.0, code.text().to_owned()));
}
