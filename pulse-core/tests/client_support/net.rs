//! Many clients and one router, joined by links in virtual time.

use std::collections::{BTreeMap, VecDeque};

use pulse_core::client::{Client, ClientConfig, ClientEffect, Event, Status};
use pulse_core::wire::CloseCode;
use pulse_core::{Config, ConnId, Dialect, Effect, Kind, Link, Now, Router, Seed, Time};

use super::event_line;

pub struct Net {
    pub router: Router,
    pub now_ms: u64,
    pub peers: Vec<Peer>,
    conns: BTreeMap<ConnId, usize>,
}

/// A client, its link and what it was told.
pub struct Peer {
    pub client: Client,
    pub events: Vec<String>,
    /// Milliseconds each way, for messages sent from now on.
    pub latency_ms: u64,
    /// Whether a dial succeeds.
    pub reachable: bool,
    link: Option<Wire>,
}

struct Wire {
    conn: Option<ConnId>,
    /// Nothing passes any more, and nobody is told.
    dead: bool,
    up: VecDeque<(u64, Vec<u8>)>,
    down: VecDeque<(u64, Down)>,
}

enum Down {
    Opened,
    Failed,
    Message(Vec<u8>),
    Closed(CloseCode),
}

impl Net {
    pub fn new(config: Config, clients: usize, seed: u64) -> Self {
        let peers = (0..clients as u64)
            .map(|n| Peer {
                client: Client::new(ClientConfig::default(), Seed(seed * 1_000 + n)),
                events: vec![],
                latency_ms: 5,
                reachable: true,
                link: None,
            })
            .collect();
        let router = Router::new(config, Seed(seed));
        let mut net = Self { router, now_ms: 1_000, peers, conns: BTreeMap::new() };
        net.turn();
        net
    }

    /// All clients connect, and the time passes that this takes.
    pub fn connect_all(&mut self) {
        self.peers.iter_mut().for_each(|peer| peer.client.connect());
        self.run(1_000);
        assert!(self.peers.iter().all(|peer| peer.client.status() == Status::Connected));
    }

    /// Goes on for so long, stopping wherever something happens.
    pub fn run(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        self.turn();
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.now_ms = at.max(self.now_ms);
            self.turn();
        }
        self.now_ms = end;
        self.turn();
    }

    /// The link breaks, and both ends are told.
    pub fn cut(&mut self, at: usize) {
        if let Some(wire) = self.peers[at].link.take() {
            self.forget(wire.conn);
            self.peers[at].client.closed(None);
        }
    }

    /// Nothing passes the link any more, and nobody is told.
    pub fn silence(&mut self, at: usize) {
        if let Some(wire) = &mut self.peers[at].link {
            wire.dead = true;
        }
    }

    /// What a client was told since the last call.
    pub fn take(&mut self, at: usize) -> Vec<String> {
        std::mem::take(&mut self.peers[at].events)
    }

    /// The connection of a client, for getters of the router.
    pub fn conn(&self, at: usize) -> Option<ConnId> {
        self.peers[at].link.as_ref().and_then(|wire| wire.conn)
    }

    fn forget(&mut self, conn: Option<ConnId>) {
        if let Some(conn) = conn {
            self.conns.remove(&conn);
            self.router.closed(conn);
        }
    }

    /// When something happens next, by itself.
    fn next(&self) -> Option<u64> {
        let ms = |time: Time| time.0.div_ceil(1_000);
        let mut next = self.router.poll_timeout().map(ms);
        for peer in &self.peers {
            let wire = peer.link.as_ref().filter(|wire| !wire.dead);
            let up = wire.and_then(|wire| wire.up.front()).map(|(at, _)| *at);
            let down = wire.and_then(|wire| wire.down.front()).map(|(at, _)| *at);
            for at in [peer.client.poll_timeout().map(ms), up, down].into_iter().flatten() {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        // A moment that has passed already would otherwise be asked for again and again.
        next.map(|next| if next <= self.now_ms { self.now_ms + 1 } else { next })
    }

    /// Everything that is due now.
    fn turn(&mut self) {
        let now = Now { mono: Time(self.now_ms * 1_000), unix_ms: 1_700_000_000_000 + self.now_ms };
        self.router.advance(now);
        for at in 0..self.peers.len() {
            self.peers[at].client.advance(now);
            self.arrive(at);
        }
        self.drain_router();
        for at in 0..self.peers.len() {
            self.drain_client(at);
        }
    }

    fn arrive(&mut self, at: usize) {
        let now = self.now_ms;
        let peer = &mut self.peers[at];
        let Some(wire) = peer.link.as_mut().filter(|wire| !wire.dead) else { return };
        while let Some((_, message)) = wire.up.pop_front_if(|(at, _)| *at <= now) {
            self.router.receive(
                wire.conn.expect("what was sent was sent on an open link"),
                Kind::Binary,
                &message,
            );
        }
        while let Some((_, down)) = wire.down.pop_front_if(|(at, _)| *at <= now) {
            match down {
                Down::Opened => {
                    let conn = self.router.open(Link { class: 0, dialect: Dialect::V1 });
                    self.conns.insert(conn, at);
                    wire.conn = Some(conn);
                    peer.client.opened();
                }
                Down::Message(message) => peer.client.receive(Kind::Binary, &message),
                Down::Failed => {
                    peer.link = None;
                    peer.client.closed(None);
                    return;
                }
                Down::Closed(code) => {
                    peer.link = None;
                    peer.client.closed(Some(code));
                    return;
                }
            }
        }
    }

    fn drain_router(&mut self) {
        while let Some(batch) = self.router.poll_write() {
            for conn in batch.to() {
                let peer = &mut self.peers[self.conns[conn]];
                peer.send_down(self.now_ms, Down::Message(batch.payload().to_vec()));
            }
        }
        while let Some(effect) = self.router.poll_effect() {
            let Effect::Close { conn, code } = effect else { panic!("{effect:?}") };
            // It may be gone since the router asked.
            let Some(&at) = self.conns.get(&conn) else { continue };
            self.peers[at].send_down(self.now_ms, Down::Closed(code));
            self.forget(Some(conn));
        }
    }

    fn drain_client(&mut self, at: usize) {
        let now = self.now_ms;
        let peer = &mut self.peers[at];
        while let Some(message) = peer.client.poll_write() {
            let wire = peer.link.as_mut().expect("a client writes to a transport");
            let at = wire.up.back().map_or(0, |(at, _)| *at).max(now + peer.latency_ms);
            wire.up.push_back((at, message.to_vec()));
        }
        while let Some(effect) = self.peers[at].client.poll_effect() {
            match effect {
                ClientEffect::Dial => {
                    let peer = &mut self.peers[at];
                    assert!(peer.link.is_none(), "a client has one transport at a time");
                    peer.link =
                        Some(Wire { conn: None, dead: false, up: VecDeque::new(), down: VecDeque::new() });
                    let answer = if peer.reachable { Down::Opened } else { Down::Failed };
                    peer.send_down(now, answer);
                }
                ClientEffect::HangUp => {
                    let wire = self.peers[at].link.take().expect("there is something to hang up");
                    self.forget(wire.conn);
                }
                other => panic!("{other:?}"),
            }
        }
        let peer = &mut self.peers[at];
        while let Some(event) = peer.client.poll_event() {
            peer.events.push(event_line(&event));
            assert!(
                !matches!(event, Event::Failed { subject: pulse_core::client::Subject::None, .. }),
                "{event:?}"
            );
        }
    }
}

impl Peer {
    fn send_down(&mut self, now: u64, down: Down) {
        let wire = self.link.as_mut().expect("the router writes to open links");
        let at = wire.down.back().map_or(0, |(at, _)| *at).max(now + self.latency_ms);
        wire.down.push_back((at, down));
    }
}
