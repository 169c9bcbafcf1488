//! The way in: accepting, the request head, WebSocket frames.
//!
//! A fresh socket is read at once, since under load its request is often there already. A plain upgrade is answered
//! here; every other request goes to hyper with the bytes that were read. What the messages mean is the engine's
//! business.

use std::ops::ControlFlow::{Break, Continue};
use std::os::fd::OwnedFd;

use pulse_core::{Kind, Link};
use rustix::io::Errno;
use tracing::{debug, warn};

use super::conn::{Conn, Key, Phase};
use super::post::Mail;
use super::write::Note;
use super::{Shard, close};
use crate::engine::Engine;
use crate::handshake::{self, Accepted, Fast};
use crate::http::{Socket, Taken, Upgraded};
use crate::sys::{self, Ready};
use crate::tls::Session;
use crate::ws::Event;

/// The listener's key: no connection has it.
pub(super) const LISTENER: u64 = Key::NONE.to_bits();

/// A stream, TCP or Unix, as the core groups receivers.
const CLASS: u8 = 0;

/// Accepted at once before others have their turn.
const ACCEPTS: usize = 64;

/// A longer request head is hyper's business, which has a limit of its own.
pub(super) const HEAD_MAX: usize = 16 << 10;

/// How long the listener rests when descriptors have run out, and how often that is complained about at most.
const REST_MS: u64 = 100;
const COMPLAIN_MS: u64 = 10_000;

impl<E: Engine> Shard<E> {
    pub(super) fn on_event(&mut self, ready: Ready) {
        if ready.key == LISTENER {
            return self.accept();
        }
        let key = Key::from_bits(ready.key);
        if ready.write {
            self.net.writable(key);
            self.settle();
        }
        if ready.read || ready.dead {
            self.read(key, ready.dead);
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else { return };
            match sys::accept(listener) {
                Ok(fd) => {
                    let shard = self.post.assign();
                    if shard == self.post.own() {
                        self.welcome(fd);
                    } else {
                        self.post.send(shard, Mail::Socket(fd));
                    }
                }
                Err(Errno::WOULDBLOCK) => return,
                Err(error) if sys::is_exhausted(error) => return self.rest(error),
                // The client is gone already, or its packets were refused on the way: the next one, please.
                Err(error) => debug!(%error, "a connection could not be accepted"),
            }
            if self.engine.is_full() {
                return;
            }
        }
    }

    /// A socket that was accepted for this shard.
    pub(super) fn welcome(&mut self, fd: OwnedFd) {
        if self.drain.is_some() {
            return self.post.drop_socket();
        }
        let tls = self.options.tls.as_ref().map(|identity| Box::new(Session::new(identity.config())));
        let key = self.net.table.insert(Conn::new(fd, tls));
        self.read(key, false);
        if let Some(conn) = self.net.table.get_mut(key).filter(|conn| !conn.watched) {
            self.deadlines.handshake(key, self.now);
            self.net.out.watch(key, conn);
            self.settle();
        }
    }

    /// Out of descriptors: the listener stays readable, so it must not be watched for a while.
    fn rest(&mut self, error: Errno) {
        let Some(listener) = &self.listener else { return };
        let _ = self.poller.get_ref().delete(listener);
        self.accept_at = Some(self.now.after_ms(REST_MS));
        if self.complained_at.is_none_or(|at| self.now.ms_since(at) >= COMPLAIN_MS) {
            self.complained_at = Some(self.now);
            warn!(%error, "no more connections can be accepted for now; raise the limit of open files (ulimit -n)");
        }
    }

    pub(super) fn accept_again(&mut self) {
        self.accept_at = None;
        let Some(listener) = &self.listener else { return };
        if let Err(error) = self.poller.get_ref().add_shared(listener, LISTENER) {
            self.rest(error);
        }
    }

    /// Reads once what is there. `dead`: the socket has nothing more to wait for.
    fn read(&mut self, key: Key, dead: bool) {
        let Some(conn) = self.net.table.get(key) else { return };
        match conn.phase {
            // What a peer wrote before it went counts, so nothing holds back what is left of it. TCP tells of its end only
            // behind all that, but a Unix socket at once.
            Phase::Open if dead || (!conn.paused && !conn.held) => {
                if (self.is_clogged() || self.is_settling()) && !dead {
                    self.hold(key);
                } else {
                    self.read_frames(key);
                }
            }
            Phase::Handshake => self.read_head(key),
            Phase::Closing => self.discard(key),
            Phase::Open => {}
            Phase::Ending => {
                if dead {
                    self.remove(key);
                }
            }
        }
    }

    fn read_frames(&mut self, key: Key) {
        if let Some(len) = self.recv(key, 0) {
            self.feed(key, 0, len);
            self.remove_if_ended(key);
        }
    }

    /// Reads into the shard's buffer from `at`; returns where the bytes end. An end or an error removes the connection.
    fn recv(&mut self, key: Key, at: usize) -> Option<usize> {
        let conn = self.net.table.get(key)?;
        if conn.tls.is_some() {
            return self.recv_tls(key, at);
        }
        match sys::recv(&conn.fd, &mut self.buf[at..]) {
            Ok(0) => self.remove(key),
            Ok(len) => {
                self.since.get_or_insert_with(|| self.clock.instant(self.now));
                return Some(at + len);
            }
            Err(Errno::WOULDBLOCK) => {}
            Err(_) => self.remove(key),
        }
        None
    }

    fn discard(&mut self, key: Key) {
        // What is thrown away is no input whose latency counts.
        let Some(conn) = self.net.table.get(key) else { return };
        match sys::recv(&conn.fd, &mut self.buf) {
            Ok(1..) | Err(Errno::WOULDBLOCK) => {}
            Ok(0) | Err(_) => self.remove(key),
        }
    }

    fn read_head(&mut self, key: Key) {
        let Some(conn) = self.net.table.get_mut(key) else { return };
        let mut held = 0;
        if let Some(rare) = &conn.rare {
            held = rare.head.len();
            self.buf[..held].copy_from_slice(&rare.head);
        }
        let Some(len) = self.recv(key, held) else { return };
        if !self.options.websocket {
            return self.hand_to_hyper(key, len);
        }
        match handshake::fast(&self.buf[..len], self.http.policy()) {
            Fast::Upgrade { accepted, used } => {
                if let Err(taken) = self.take_seat(key, used) {
                    self.metrics.refused(taken.refused());
                    return self.close(key, &taken.answer());
                }
                let mut head = Vec::new();
                handshake::response(&accepted, &mut head);
                self.open(key, &accepted, head);
                self.feed(key, used, len);
            }
            Fast::Incomplete if len < HEAD_MAX => {
                let conn = self.net.table.get_mut(key).expect("the connection was read from just now");
                conn.rare().head.extend_from_slice(&self.buf[held..len]);
            }
            Fast::Incomplete | Fast::Hyper => self.hand_to_hyper(key, len),
        }
    }

    /// Takes a seat for a connection whose request head is in the first `used` bytes of the buffer.
    fn take_seat(&mut self, key: Key, used: usize) -> Result<(), Taken> {
        let seats = self.http.seats();
        if !seats.count_addresses() {
            return seats.take(None);
        }
        let conn = self.net.table.get(key).expect("the connection was read from just now");
        let whose = self.http.neighbours(sys::peer(&conn.fd), handshake::headers(&self.buf[..used]));
        seats.take(whose)?;
        self.whose.extend(whose.map(|whose| (key, whose)));
        Ok(())
    }

    /// Gives the socket and the first `len` bytes in the buffer to hyper.
    fn hand_to_hyper(&mut self, key: Key, len: usize) {
        let Some(conn) = self.forget(key) else { return };
        if conn.watched {
            // Hyper's descriptor is this one: it would go on to be reported here.
            let _ = self.poller.get_ref().delete(&conn.fd);
        }
        let unsent = conn.rare.as_ref().map_or_else(Vec::new, |rare| rare.tail.unsent().to_vec());
        let socket = Socket { fd: conn.fd, tls: conn.tls, unsent };
        self.http.serve(socket, self.buf[..len].to_vec());
    }

    /// A socket that hyper has upgraded; its answer is sent.
    pub(super) fn adopt(&mut self, upgraded: Upgraded) {
        let Upgraded { socket, accepted, early, seat } = upgraded;
        let Socket { fd, tls, unsent } = socket;
        if self.drain.is_some() {
            return;
        }
        let whose = seat.keep();
        self.post.keep_socket();
        let key = self.net.table.insert(Conn::new(fd, tls));
        self.whose.extend(whose.map(|whose| (key, whose)));
        let conn = self.net.table.get_mut(key).expect("the connection was put there just now");
        self.net.out.send_wire(key, conn, &unsent);
        self.open(key, &accepted, Vec::new());
        for piece in early.chunks(self.buf.len()) {
            self.buf[..piece.len()].copy_from_slice(piece);
            self.feed(key, 0, piece.len());
        }
    }

    /// Makes a WebSocket of a connection that has a seat; `head` answers the upgrade.
    fn open(&mut self, key: Key, accepted: &Accepted, head: Vec<u8>) {
        let session = self.engine.open(Link { class: CLASS, dialect: accepted.dialect });
        self.net.table.bind(key, session);
        let conn = self.net.table.get_mut(key).expect("the connection was bound just now");
        conn.phase = Phase::Open;
        conn.seated = true;
        if let Some(rare) = conn.rare.as_deref_mut() {
            rare.head = Vec::new();
            conn.slim();
        }
        // With TLS, the end of its handshake may still be on its way.
        let is_blocked = conn.has_tail();
        if is_blocked {
            self.net.out.notes.push(Note::Blocked(session));
            self.net.out.write(key, conn, &head);
        } else if !head.is_empty() {
            conn.rare().head = head;
            self.fresh.push(key);
        }
        self.net.out.watch(key, conn);
        self.settle();
    }

    /// WebSocket bytes of `key`, at `from..to` in the buffer.
    fn feed(&mut self, key: Key, from: usize, to: usize) {
        let Some(conn) = self.net.table.get_mut(key).filter(|conn| conn.phase == Phase::Open) else { return };
        let Some(session) = conn.session else { return };
        let (engine, pongs) = (&mut self.engine, &mut self.pongs);
        let mut last = None;
        pongs.clear();
        let result = conn.reader.feed(&mut self.buf[from..to], self.options.max_message, |event| {
            match event {
                // The one message that the host answers: edge platforms do so without waking what is behind them.
                Event::Message(Kind::Text, b"ping") => {
                    pongs.text_pong();
                    engine.heard(session);
                }
                Event::Message(kind, message) => engine.receive(session, kind, message),
                Event::Ping(payload) => {
                    pongs.pong(payload);
                    engine.heard(session);
                }
                Event::Pong(_) => engine.heard(session),
                Event::Close(close) => {
                    last = Some(close::echo(close));
                    return Break(());
                }
            }
            Continue(())
        });
        if let Err(violation) = result {
            debug!(connection = session.to_bits(), %violation, "closing a connection");
            last = Some(close::frame(violation.code(), violation.reason()));
        }
        self.net.out.answer(key, conn, &self.pongs);
        if let Some(last) = last {
            // Its events are passed over until the flush is done, which is most often at once.
            conn.phase = Phase::Ending;
            self.ending.push((key, last));
        }
        self.settle();
    }
}
