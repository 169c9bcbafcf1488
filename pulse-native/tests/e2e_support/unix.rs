//! A server on a Unix socket, and clients of it.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use pulse_core::wire::Frame;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{HandshakeError, Message, WebSocket};

use super::{PATIENCE, Received, ack, connect, split, subscribe};

/// A folder that goes with this value, and the socket in it.
#[derive(Debug)]
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pulse-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("pulse.sock")
    }

    /// As the setting has it.
    pub fn host(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    pub fn dial(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The whole answer to a request on a connection of its own, which the server has to close.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str]) -> String {
        let mut stream = self.dial();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        headers.iter().for_each(|header| request += &format!("{header}\r\n"));
        stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the server answers in text");
        answer
    }

    /// A WebSocket of `pulse.v1`, or the status that refuses it.
    pub fn open(&self, headers: &[(&'static str, &str)]) -> Result<WebSocket<Stream>, u16> {
        let mut request = "ws://localhost/ws".into_client_request().unwrap();
        for (name, value) in [("sec-websocket-protocol", "pulse.v1")].iter().chain(headers) {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tungstenite::client(request, Stream(self.dial())) {
            Ok((socket, _)) => Ok(socket),
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// A session that is subscribed to `news`.
    pub fn subscriber(&self) -> WebSocket<Stream> {
        let mut socket = self.open(&[]).expect("the server upgrades");
        send(&mut socket, &[connect(1), subscribe(1, "news")]);
        let mut frames = frames(&mut socket);
        while frames.len() < 2 {
            frames.extend(self::frames(&mut socket));
        }
        assert_eq!(frames[1].decoded(), ack(1));
        socket
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn send(socket: &mut WebSocket<Stream>, frames: &[Frame<'_>]) {
    let mut message = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut message));
    socket.send(Message::binary(message)).expect("the server takes a message");
}

/// Those of the next message.
pub fn frames(socket: &mut WebSocket<Stream>) -> Vec<Received> {
    match socket.read() {
        Ok(Message::Binary(bytes)) => split(&bytes),
        other => panic!("{other:?} came instead of frames"),
    }
}

/// A socket whose calls begin again where they were interrupted: with a time limit, the system does not do so by itself
/// (`signal`(7)).
#[derive(Debug)]
pub struct Stream(pub UnixStream);

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| self.0.read(buf))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
