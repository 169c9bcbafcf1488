//! The behaviours that every server has to show, shown by this one over real sockets, with one shard and with several. They
//! are played at the same time, each by clients of its own.

mod e2e_support;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use e2e_support::{PATIENCE, Running, dial};
use pulse_core::sim::scenario::{self, Got, Scenario, Stage};
use pulse_core::sim::{ClientNo, frames};
use pulse_core::wire::Frame;
use pulse_core::{Config, Dialect, Kind, Router, Seed, Shards};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Error, Message, WebSocket};

/// Clients of one scenario.
struct Sockets {
    server: SocketAddr,
    clients: Vec<Client>,
}

struct Client {
    dialect: Dialect,
    /// Gone when the connection has ended.
    socket: Option<WebSocket<TcpStream>>,
    reads: bool,
    got: VecDeque<Got>,
}

impl Client {
    /// Takes what is there, and answers pings.
    fn read(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        socket.get_ref().set_nonblocking(true).expect("a socket can be read without waiting");
        let mut pings = 0;
        let end = loop {
            match socket.read() {
                Ok(message @ (Message::Binary(_) | Message::Text(_))) => {
                    let kind = if message.is_text() { Kind::Text } else { Kind::Binary };
                    assert_eq!(kind, self.dialect.kind(), "a dialect is made of one kind of message");
                    let frames =
                        frames(self.dialect, &message.into_data()).expect("messages are whole frames");
                    for frame in frames {
                        if matches!(frame.get(), Frame::Ping { .. }) {
                            pings += 1;
                        } else {
                            self.got.push_back(Got::Frame(frame));
                        }
                    }
                }
                Ok(Message::Close(close)) => break Some(close.map(|close| close.code.into())),
                // Tungstenite answers the transport's own pings by itself.
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break None,
                Err(_) => break Some(None),
            }
        };
        if let Some(code) = end {
            self.got.push_back(Got::End(code));
            self.socket = None;
        }
        for _ in 0..pings {
            let pong = pulse_core::sim::message(self.dialect, &[Frame::Pong { timestamp: None }]);
            self.send(self.dialect.kind(), pong);
        }
    }

    fn send(&mut self, kind: Kind, message: Vec<u8>) {
        let Some(socket) = &mut self.socket else { return };
        socket.get_ref().set_nonblocking(false).expect("a socket can be written to until it has taken all");
        let message = match kind {
            Kind::Binary => Message::binary(message),
            Kind::Text => Message::text(String::from_utf8(message).expect("text is UTF-8")),
        };
        // A server that has closed is heard of by reading.
        let _ = socket.send(message);
    }
}

impl Sockets {
    /// Waits until something comes for a client that reads, at most until then, and takes it.
    fn pump(&mut self, until: Instant) {
        let reading = |client: &&Client| client.reads && client.socket.is_some();
        let sockets = self.clients.iter().filter(reading).filter_map(|client| client.socket.as_ref());
        let mut fds: Vec<PollFd<'_>> =
            sockets.map(|socket| PollFd::new(socket.get_ref(), PollFlags::IN)).collect();
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a scenario waits for seconds");
        poll(&mut fds, Some(&left)).expect("sockets can be waited for");
        self.clients.iter_mut().filter(|client| client.reads).for_each(Client::read);
    }
}

impl Stage for Sockets {
    fn open(&mut self, dialect: Dialect) -> ClientNo {
        let tcp = dial(self.server);
        // So that a client that stops reading is felt.
        set_socket_recv_buffer_size(&tcp, 64 << 10).expect("a socket has a buffer");
        let mut request = format!("ws://{}/ws", self.server).into_client_request().expect("this is a URL");
        let subprotocol = match dialect {
            Dialect::V1 => Some("pulse.v1"),
            Dialect::Json => Some("pulse.v1.json"),
            _ => None,
        };
        if let Some(name) = subprotocol {
            let value = name.parse().expect("this is a header's value");
            request.headers_mut().insert("sec-websocket-protocol", value);
        }
        let (socket, _) = tungstenite::client(request, tcp).expect("the server upgrades");
        let mut client = Client { dialect, socket: Some(socket), reads: true, got: VecDeque::new() };
        // What came with the answer to the upgrade is in the library's buffer, where no poll of the socket finds it.
        client.read();
        self.clients.push(client);
        ClientNo(self.clients.len() - 1)
    }

    fn dialect(&self, client: ClientNo) -> Dialect {
        self.clients[client.0].dialect
    }

    fn send(&mut self, client: ClientNo, kind: Kind, message: &[u8]) {
        self.clients[client.0].send(kind, message.to_vec());
    }

    fn next(&mut self, client: ClientNo) -> Got {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(got) = self.clients[client.0].got.pop_front() {
                return got;
            }
            assert!(Instant::now() < until, "client {} waits for something, and nothing comes", client.0);
            self.pump(until);
        }
    }

    fn stop_reading(&mut self, client: ClientNo) {
        self.clients[client.0].reads = false;
    }

    fn resume_reading(&mut self, client: ClientNo) {
        self.clients[client.0].reads = true;
    }

    fn hang_up(&mut self, client: ClientNo) {
        self.clients[client.0].socket = None;
    }

    fn pass(&mut self, ms: u64) {
        let until = Instant::now() + Duration::from_millis(ms);
        while Instant::now() < until {
            self.pump(until);
        }
    }
}

fn play(count: u16) {
    let server = Running::start_custom(
        |config| config.server.shards = count,
        |_| {},
        |_| {
            move |shard| {
                let shards = Shards { index: shard as u16, count, key: 7 };
                Router::new(Config { shards, ..scenario::config() }, Seed(shard as u64))
            }
        },
    );
    let play = |(name, scenario): (&'static str, Scenario)| {
        let mut stage = Sockets { server: server.addr, clients: Vec::new() };
        let played = thread::Builder::new().name(name.into()).spawn(move || scenario(&mut stage));
        (name, played.expect("a thread starts"))
    };
    let played: Vec<_> = scenario::scenarios().into_iter().map(play).collect();
    let failed: Vec<&str> =
        played.into_iter().filter_map(|(name, played)| played.join().is_err().then_some(name)).collect();
    assert!(failed.is_empty(), "{count} shards: {failed:?}; what went wrong is above, by name");
}

#[test]
fn one_shard_shows_every_behaviour() {
    play(1);
}

#[test]
fn two_shards_show_every_behaviour() {
    play(2);
}

#[test]
fn four_shards_show_every_behaviour() {
    play(4);
}
