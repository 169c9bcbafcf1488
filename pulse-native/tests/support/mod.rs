//! A server with an echo in it, and a blocking client that sees every byte.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(unreachable_pub, reason = "a module of tests has no users outside")]

pub mod echo;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use pulse_native::Seats;
use pulse_native::server::{Drained, Options, Server};
use pulse_native::ws::{Opcode, masked};
use tokio::sync::oneshot;

use echo::Echo;

/// Longer than anything takes, on a busy machine too: whoever waits for it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; ends with this value.
pub struct Host {
    pub addr: SocketAddr,
    pub seats: Arc<Seats>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Drained>>,
}

/// Options for a free port.
pub fn options() -> Options {
    Options { port: 0, ..Options::default() }
}

/// Options for a free port, with a change.
pub fn options_with(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = options();
    change(&mut options);
    options
}

impl Host {
    pub fn start(options: Options) -> Self {
        let server = Server::bind(options).expect("a free port can be listened on");
        let (addr, seats) = (server.local_addr().expect("it listens on TCP"), server.seats());
        let (stop, stopped) = oneshot::channel();
        let thread = spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let until = async { stopped.await.unwrap_or_default() };
            runtime.block_on(server.run(|_| Echo::with_commands(), until)).unwrap()
        });
        Self { addr, seats, stop: Some(stop), thread: Some(thread) }
    }

    pub fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.addr).unwrap())
    }

    /// An upgraded client of `pulse.v1`, which the echo does not greet.
    pub fn websocket(&self) -> Client {
        let mut client = self.connect();
        client.write(&self.upgrade("Sec-WebSocket-Protocol: pulse.v1\r\n"));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    /// A request for a WebSocket, with further header lines.
    pub fn upgrade(&self, more: &str) -> Vec<u8> {
        upgrade(self.addr, more)
    }

    /// Sends one request on a connection of its own and reads its answer to the end.
    pub fn ask(&self, request: &str) -> String {
        let mut client = self.connect();
        client.write(request.as_bytes());
        client.rest()
    }

    /// Waits until no WebSocket is open.
    pub fn wait_until_empty(&self) {
        let start = Instant::now();
        while self.seats.taken() > 0 {
            assert!(start.elapsed() < PATIENCE, "{} connections are still open", self.seats.taken());
            std::thread::yield_now();
        }
    }

    pub fn begin_stop(&mut self) {
        self.stop.take().expect("a server is stopped once").send(()).expect("the server runs");
    }

    pub fn wait_for_end(&mut self) -> Drained {
        self.thread.take().expect("a server ends once").join().expect("the server does not panic")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let end = thread.join();
            assert!(end.is_ok() || std::thread::panicking(), "the server does not panic");
        }
    }
}

/// A frame as a server sends it.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: Opcode,
    pub payload: Vec<u8>,
}

pub struct Client {
    pub stream: TcpStream,
    /// Received, not looked at yet.
    read: Vec<u8>,
}

impl Client {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        self.write(&frame(opcode, payload));
    }

    /// Reads a response's head.
    pub fn head(&mut self) -> String {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill(), "the connection ended within a head: {:?}", self.read);
        };
        String::from_utf8(self.read.drain(..end).collect()).unwrap()
    }

    /// Reads one frame; `None` at the end of the stream.
    pub fn frame(&mut self) -> Option<Frame> {
        let (opcode, from, to) = loop {
            match header(&self.read) {
                Some((opcode, from, len)) if self.read.len() >= from + len => {
                    break (opcode, from, from + len);
                }
                _ if self.fill() => {}
                _ if self.read.is_empty() => return None,
                _ => panic!("the connection ended within a frame"),
            }
        };
        let payload = self.read[from..to].to_vec();
        self.read.drain(..to);
        Some(Frame { opcode, payload })
    }

    #[track_caller]
    pub fn expect(&mut self, opcode: Opcode, payload: &[u8]) {
        let frame = self.frame().expect("the connection is open");
        assert_eq!(
            (frame.opcode, &*frame.payload.escape_ascii().to_string()),
            (opcode, &*payload.escape_ascii().to_string())
        );
    }

    /// Expects a close frame with this code, and the end of the stream behind it.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) -> String {
        let frame = self.frame().expect("a close frame comes before the end");
        assert_eq!(frame.opcode, Opcode::Close);
        assert_eq!(frame.payload[..2], code.to_be_bytes(), "{}", frame.payload.escape_ascii());
        assert_eq!(self.frame(), None);
        String::from_utf8(frame.payload[2..].to_vec()).unwrap()
    }

    /// Reads to the end of the stream, which a reset is as well.
    pub fn rest(&mut self) -> String {
        while self.fill() {}
        String::from_utf8_lossy(&self.read).into_owned()
    }

    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads once; false at the end of the stream.
    fn fill(&mut self) -> bool {
        let mut buf = vec![0; 256 << 10];
        match self.stream.read(&mut buf) {
            Ok(len) => {
                self.read.extend_from_slice(&buf[..len]);
                len > 0
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            Err(error) => panic!("nothing came for {PATIENCE:?}: {error}"),
        }
    }
}

/// A request for a WebSocket, with further header lines.
pub fn upgrade(addr: SocketAddr, more: &str) -> Vec<u8> {
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    );
    request.into_bytes()
}

/// A masked frame.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    masked(&mut out, opcode, payload, [0x37, 0xfa, 0x21, 0x3d]);
    out
}

/// Opcode, size of the header, length of the payload.
fn header(bytes: &[u8]) -> Option<(Opcode, usize, usize)> {
    let [first, second, rest @ ..] = bytes else { return None };
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8a => Opcode::Pong,
        other => panic!("a server sends whole frames, not {other:#x}"),
    };
    match second {
        126 => Some((opcode, 4, u16::from_be_bytes(*rest.first_chunk()?).into())),
        127 => Some((opcode, 10, u64::from_be_bytes(*rest.first_chunk()?) as usize)),
        &len => Some((opcode, 2, len.into())),
    }
}
