//! Connections over shards: each gets as many as the others, however they come.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::spawn;
use std::time::Instant;

use pulse_core::{Answer, Batch, ConnId, Effect, Kind, Link, Now, Stats, Ticket, Time};
use pulse_native::engine::Engine;
use pulse_native::server::Server;
use support::{Client, PATIENCE, echo::Echo, options_with, upgrade};

/// An echo that counts what is opened on its shard.
struct Counting {
    echo: Echo,
    counts: Arc<Vec<AtomicUsize>>,
    shard: usize,
}

impl Engine for Counting {
    fn advance(&mut self, now: Now) {
        self.echo.advance(now);
    }
    fn open(&mut self, link: Link) -> ConnId {
        self.counts[self.shard].fetch_add(1, SeqCst);
        self.echo.open(link)
    }
    fn receive(&mut self, conn: ConnId, kind: Kind, message: &[u8]) {
        self.echo.receive(conn, kind, message);
    }
    fn heard(&mut self, conn: ConnId) {
        self.echo.heard(conn);
    }
    fn set_writable(&mut self, conn: ConnId, writable: bool) {
        self.echo.set_writable(conn, writable);
    }
    fn closed(&mut self, conn: ConnId) {
        self.counts[self.shard].fetch_sub(1, SeqCst);
        self.echo.closed(conn);
    }
    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.echo.answer(ticket, answer);
    }
    fn is_full(&self) -> bool {
        self.echo.is_full()
    }
    fn drain(&mut self, spread_ms: u32) {
        self.echo.drain(spread_ms);
    }
    fn poll_write(&mut self) -> Option<Batch<'_>> {
        self.echo.poll_write()
    }
    fn poll_effect(&mut self) -> Option<Effect> {
        self.echo.poll_effect()
    }
    fn poll_timeout(&self) -> Option<Time> {
        self.echo.poll_timeout()
    }
    fn stats(&self) -> Stats {
        self.echo.stats()
    }
}

/// Runs `connect` against a server of two shards, then returns how many connections each has.
fn counts(connect: impl FnOnce(SocketAddr, &[AtomicUsize]) -> Vec<Client>) -> Vec<usize> {
    let server = Server::bind(options_with(|options| options.shards = 2)).unwrap();
    let addr = server.local_addr().unwrap();
    let counts: Arc<Vec<AtomicUsize>> = Arc::new((0..2).map(|_| AtomicUsize::new(0)).collect());
    let shared = Arc::clone(&counts);
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let thread = spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let engine =
            move |shard| Counting { echo: Echo::with_commands(), counts: Arc::clone(&shared), shard };
        runtime.block_on(server.run(engine, async { stopped.await.unwrap() })).unwrap()
    });
    let clients = connect(addr, &counts);
    let now = counts.iter().map(|count| count.load(SeqCst)).collect();
    drop(clients);
    stop.send(()).unwrap();
    thread.join().unwrap();
    now
}

fn request(addr: SocketAddr) -> Client {
    let mut client = Client::new(TcpStream::connect(addr).unwrap());
    client.write(&upgrade(addr, "Sec-WebSocket-Protocol: pulse.v1\r\n"));
    client
}

fn answered(mut client: Client) -> Client {
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client
}

#[test]
fn connections_made_one_after_another_are_spread_evenly() {
    let counts = counts(|addr, _| (0..400).map(|_| answered(request(addr))).collect());
    assert_eq!(counts, [200, 200]);
}

#[test]
fn connections_made_at_once_are_spread_evenly() {
    let counts = counts(|addr, _| {
        let clients: Vec<Client> = (0..400).map(|_| request(addr)).collect();
        clients.into_iter().map(answered).collect()
    });
    // Two shards that accept at the same moment may both think that the other one is behind.
    assert!(counts.iter().all(|count| (190..=210).contains(count)), "{counts:?}");
}

#[test]
fn places_that_become_free_are_filled_first() {
    let counts = counts(|addr, counts| {
        let mut clients: Vec<Client> = (0..40).map(|_| answered(request(addr))).collect();
        // Every other one is on the same shard.
        let mut index = 0;
        clients.retain(|_| {
            index += 1;
            index % 2 == 0
        });
        let start = Instant::now();
        while counts.iter().map(|count| count.load(SeqCst)).sum::<usize>() > 20 {
            assert!(start.elapsed() < PATIENCE, "the server does not notice");
        }
        clients.extend((0..20).map(|_| answered(request(addr))));
        clients
    });
    assert_eq!(counts, [20, 20]);
}
