//! A real server on a free port, and what talks to it: WebSockets by somebody else's library, frames by pulse-core.
//!
//! Every wait is for an event. The only clock is a time limit on reading, and whoever runs into it has failed.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this")]

pub mod process;
pub mod unix;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use pulse_core::Router;
use pulse_core::wire::{
    self, Ack, Connect, Connected, Disconnect, ErrorCode, ErrorFrame, Frame, Payload, Publish, Split,
    Subscribe, Unsubscribe,
};
use pulse_native::config::Config;
use pulse_native::server::{Drained, Options, Server};
use tokio::sync::oneshot;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::frame::{
    CloseFrame, Frame as Fragment,
    coding::{Data, OpCode},
};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

/// Longer than anything takes, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct Running {
    pub addr: SocketAddr,
    /// The address of the metrics, where a test has switched them on.
    pub metrics: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Drained>>,
}

impl Running {
    /// With the default settings.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// With other settings than the default ones.
    pub fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_custom(change, |_| {}, |config| config.routers())
    }

    /// With this many shards.
    pub fn start_sharded(shards: u16) -> Self {
        Self::start_with(|config| config.server.shards = shards)
    }

    /// With other settings, with what only an embedder can set, and with routers of the test's own making.
    pub fn start_custom<F: Fn(usize) -> Router + Send + Sync + 'static>(
        change: impl FnOnce(&mut Config),
        embed: impl FnOnce(&mut Options),
        routers: impl FnOnce(&Config) -> F,
    ) -> Self {
        let mut config = Config::default();
        config.server.port = 0;
        config.metrics.enabled = false;
        config.metrics.port = 0;
        change(&mut config);
        let mut options = config.to_options().expect("the settings make options");
        embed(&mut options);
        let routers = routers(&config);
        let server = Server::bind(options).expect("a free port can be listened on");
        let (addr, metrics) = (server.local_addr().expect("it listens on TCP"), server.metrics_addr());
        let (stop, stopped) = oneshot::channel();
        let thread = spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            let until = async { stopped.await.unwrap_or_default() };
            runtime.block_on(server.run(routers, until)).expect("the server ends in order")
        });
        Self { addr, metrics, stop: Some(stop), thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.addr)
    }

    /// A client of `pulse.v1` whose session is open.
    pub fn client(&self) -> Peer {
        Peer::v1(self.addr)
    }

    /// A client of the first release, as the server sees it: no subprotocol. It was sent `connected`.
    pub fn old_client(&self) -> Peer {
        let mut peer = Peer::open(self.addr, None);
        assert!(matches!(peer.frame().decoded(), Frame::Connected(_)));
        peer
    }

    /// A WebSocket of `pulse.v1` on which nothing was said yet.
    pub fn unconnected(&self) -> Peer {
        Peer::open(self.addr, Some("pulse.v1"))
    }

    /// A metric's value as of now.
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics.expect("the test has switched metrics on");
        let text = ask(metrics, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
            .parse()
            .expect("counters are whole numbers")
    }

    /// Waits for a value: counters are shown at the end of a turn, just after its answers are sent.
    pub fn wait_for_metric(&self, name: &str, value: u64) {
        let start = Instant::now();
        while self.metric(name) != value {
            assert!(start.elapsed() < PATIENCE, "{name} did not become {value}: {}", self.metric(name));
        }
    }

    /// Asks the server to end. Clients are told now; it has ended when this value is dropped.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(_))), "the server did not end in order");
        }
    }
}

/// A TCP stream that can be made to keep to itself what is written.
#[derive(Debug)]
struct Stream {
    tcp: TcpStream,
    muted: Arc<AtomicBool>,
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.tcp.read(buf)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.muted.load(Relaxed) { Ok(bytes.len()) } else { self.tcp.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// One WebSocket.
#[derive(Debug)]
pub struct Peer {
    socket: WebSocket<Stream>,
    muted: Arc<AtomicBool>,
    frames: VecDeque<Received>,
}

/// A frame that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received(Vec<u8>);

impl Received {
    pub fn decoded(&self) -> Frame<'_> {
        wire::decode(&self.0).expect("a server sends frames of the protocol")
    }
}

/// What a WebSocket brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The frames of one binary message: one or more.
    Frames(Vec<Received>),
    Text(String),
    Ping,
    /// Code and reason.
    Close(u16, String),
    /// The end of the stream after the close.
    End,
}

impl Peer {
    pub fn v1(addr: SocketAddr) -> Self {
        let mut peer = Self::open(addr, Some("pulse.v1"));
        peer.send(&[connect(1)]);
        assert!(matches!(peer.frame().decoded(), Frame::Connected(_)));
        peer
    }

    pub fn open(addr: SocketAddr, subprotocol: Option<&str>) -> Self {
        Self::try_open(addr, subprotocol).expect("the server upgrades")
    }

    /// The error is status, headers and body of the response.
    pub fn try_open(addr: SocketAddr, subprotocol: Option<&str>) -> Result<Self, String> {
        Self::over(dial(addr), subprotocol.map(|it| ("sec-websocket-protocol", it)).as_slice())
    }

    /// Upgrades a stream that is connected already, with these headers.
    pub fn over(tcp: TcpStream, headers: &[(&'static str, &str)]) -> Result<Self, String> {
        let url = format!("ws://{}/ws", tcp.peer_addr().expect("the stream is connected"));
        let mut request = url.into_client_request().expect("this is a URL");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("this is a header's value"));
        }
        let wanted = request.headers().get("sec-websocket-protocol").cloned();
        let muted = Arc::<AtomicBool>::default();
        let (socket, response) = match tungstenite::client(request, Stream { tcp, muted: Arc::clone(&muted) })
        {
            Ok(upgraded) => upgraded,
            Err(HandshakeError::Failure(Error::Http(response))) => {
                let body =
                    String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
                return Err(format!("{} {:?} {body}", response.status(), response.headers()));
            }
            Err(error) => panic!("{error}"),
        };
        assert_eq!(response.headers().get("sec-websocket-protocol"), wanted.as_ref());
        Ok(Self { socket, muted, frames: VecDeque::new() })
    }

    /// From now on nothing leaves, answers to control frames included.
    pub fn fall_silent(&self) {
        self.muted.store(true, Relaxed);
    }

    // ---- sending

    /// Sends frames in one message.
    pub fn send(&mut self, frames: &[Frame<'_>]) {
        let mut message = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut message));
        self.send_bytes(message);
    }

    pub fn send_bytes(&mut self, message: Vec<u8>) {
        self.socket.send(Message::binary(message)).expect("the server takes a message");
    }

    pub fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the server takes a message");
    }

    /// Sends one binary message in these fragments.
    pub fn send_fragments<'b>(&mut self, fragments: impl Iterator<Item = &'b [u8]>) {
        let mut fragments = fragments.peekable();
        let mut opcode = Data::Binary;
        while let Some(fragment) = fragments.next() {
            let last = fragments.peek().is_none();
            let frame = Fragment::message(fragment.to_vec(), OpCode::Data(opcode), last);
            self.socket.send(Message::Frame(frame)).expect("the server takes a fragment");
            opcode = Data::Continue;
        }
    }

    /// Begins the closing handshake.
    pub fn close(&mut self, close: CloseFrame) {
        self.socket.close(Some(close)).expect("the server takes a close frame");
    }

    pub fn subscribe(&mut self, channel: &str) {
        self.send(&[subscribe(1, channel)]);
        self.expect(&ack(1));
    }

    /// Sends a frame whose answer shows that everything before it was taken in.
    pub fn settle(&mut self) {
        self.send(&[Frame::Ping { timestamp: Some(4711) }]);
        self.expect(&Frame::Pong { timestamp: Some(4711) });
    }

    // ---- receiving

    /// What comes next; what was split off a message before is passed over by no test that mixes both.
    pub fn heard(&mut self) -> Heard {
        assert!(self.frames.is_empty(), "frames of an earlier message wait: {:?}", self.frames);
        match self.socket.read() {
            Ok(Message::Binary(bytes)) => Heard::Frames(split(&bytes)),
            Ok(Message::Text(text)) => Heard::Text(text.as_str().to_owned()),
            Ok(Message::Ping(_)) => Heard::Ping,
            Ok(Message::Close(Some(close))) => {
                Heard::Close(close.code.into(), close.reason.as_str().to_owned())
            }
            Err(Error::ConnectionClosed) => Heard::End,
            other => panic!("{other:?} was heard"),
        }
    }

    /// The next frame.
    pub fn frame(&mut self) -> Received {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            match self.heard() {
                Heard::Frames(frames) => self.frames.extend(frames),
                other => panic!("{other:?} came instead of a frame"),
            }
        }
    }

    #[track_caller]
    pub fn expect(&mut self, frame: &Frame<'_>) {
        assert_eq!(self.frame().decoded(), *frame);
    }

    /// The next frame is an error of this code under this id, temporary or not as the table says; returns what it says.
    #[track_caller]
    pub fn expect_error(&mut self, id: u64, code: ErrorCode) -> String {
        let row = code.row().expect("a code that is sent is in the table");
        let received = self.frame();
        let Frame::Error(error) = received.decoded() else { panic!("{received:?} is no error") };
        assert_eq!((error.id, error.code), (id, code.0), "{}", error.message);
        assert_eq!(error.temporary.unwrap_or(false), row.temporary);
        assert!(!error.message.is_empty());
        error.message.to_owned()
    }

    /// Next come a `disconnect` frame of this code, the close with the same code, and the end of the stream.
    #[track_caller]
    pub fn expect_end(&mut self, code: wire::CloseCode) {
        self.expect(&Frame::Disconnect(Disconnect { code: code.0, reason: code.text(), retry_ms: None }));
        self.expect_close(code);
    }

    /// Next come the close with this code and its text, and the end of the stream.
    #[track_caller]
    pub fn expect_close(&mut self, code: wire::CloseCode) {
        assert_eq!(self.heard(), Heard::Close(code.0, code.text().to_owned()));
        assert_eq!(self.heard(), Heard::End);
    }
}

/// The next frames are publications of these numbers, whose payloads are the same numbers as text.
pub fn expect_numbers(reader: &mut Peer, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        let received = reader.frame();
        let Frame::Publish(publication) = received.decoded() else { panic!("{received:?}") };
        let text = n.to_string();
        assert_eq!((publication.offset, publication.payload), (Some(n), text.as_bytes().into()));
    }
}

/// A connection whose reads and writes fail instead of waiting for ever.
pub fn dial(addr: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(addr).expect("the server accepts");
    tcp.set_nodelay(true).expect("a TCP stream has no delay");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a stream takes a time limit");
    tcp.set_write_timeout(Some(PATIENCE)).expect("a stream takes a time limit");
    tcp
}

/// The whole answer to a request on a connection of its own, which the server has to close.
pub fn ask(addr: SocketAddr, request: &str) -> String {
    let mut stream = dial(addr);
    stream.write_all(request.as_bytes()).expect("the server takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers in text");
    answer
}

/// The frames of a message. A message is whole frames and nothing else.
pub fn split(message: &[u8]) -> Vec<Received> {
    let (mut frames, mut bytes) = (Vec::new(), message);
    while !bytes.is_empty() {
        let Split::Frame { map, rest } = wire::split(bytes, bytes.len()) else {
            panic!("{message:?} does not end with a frame")
        };
        frames.push(Received(map.to_vec()));
        bytes = rest;
    }
    assert!(!frames.is_empty(), "a message holds a frame");
    frames
}

// ---- frames

pub fn connect(version: u64) -> Frame<'static> {
    Frame::Connect(Connect { version, name: Some("test"), ..Connect::default() })
}

pub fn subscribe(id: u64, channel: &str) -> Frame<'_> {
    Frame::Subscribe(Subscribe { id, channel, ..Subscribe::default() })
}

pub fn unsubscribe(id: u64, channel: &str) -> Frame<'_> {
    Frame::Unsubscribe(Unsubscribe { id, channel })
}

pub fn ack(id: u64) -> Frame<'static> {
    Frame::Ack(Ack { id, ..Ack::default() })
}

/// A publication, as it is sent without asking for an ack and as it is received.
pub fn publication<'a>(channel: &'a str, payload: &'a [u8]) -> Frame<'a> {
    Frame::Publish(Publish { channel, payload: Payload::from(payload), ..Publish::default() })
}

/// A publication that asks for an ack.
pub fn publish<'a>(id: u64, channel: &'a str, payload: &'a [u8]) -> Frame<'a> {
    Frame::Publish(Publish { id: Some(id), channel, payload: Payload::from(payload), ..Publish::default() })
}

/// What a frame says about the session.
pub fn connected(received: &Received) -> Connected<'_> {
    match received.decoded() {
        Frame::Connected(connected) => connected,
        other => panic!("{other:?} is not connected"),
    }
}

/// What a frame says about an error.
pub fn error(received: &Received) -> ErrorFrame<'_> {
    match received.decoded() {
        Frame::Error(error) => error,
        other => panic!("{other:?} is no error"),
    }
}
