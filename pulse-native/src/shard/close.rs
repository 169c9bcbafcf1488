//! How connections end: by the peer's close frame, by a rule it broke, by the engine, by a deadline.
//!
//! After our close frame the write side is shut down and what still comes is thrown away until the peer's end of the
//! stream: closing a socket with unread bytes in it would reset the connection and could destroy what the peer has not
//! read yet (RFC 6455 7.1.1).

use tracing::debug;

use super::Shard;
use super::conn::{Conn, Key, Phase};
use crate::engine::Engine;
use crate::metrics::HandshakeFailed;
use crate::ws::{self, Opcode};

/// The answer to half a request head that nothing followed.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A close frame with a code and a reason.
pub(super) fn frame(code: u16, reason: &str) -> Vec<u8> {
    let mut out = Vec::new();
    ws::control(&mut out, Opcode::Close, &ws::close_payload(code, reason));
    out
}

/// The answer to a peer's close frame: its code, or none as it gave none.
pub(super) fn echo(close: Option<(u16, &str)>) -> Vec<u8> {
    match close {
        Some((code, _)) => frame(code, ""),
        None => {
            let mut out = Vec::new();
            ws::control(&mut out, Opcode::Close, &[]);
            out
        }
    }
}

impl<E: Engine> Shard<E> {
    /// Closes whom this turn's reading has ended; true if there was anybody.
    pub(super) fn end(&mut self) -> bool {
        let mut any = false;
        while let Some((key, frame)) = self.ending.pop() {
            any = true;
            self.close(key, &frame);
        }
        any
    }

    /// Writes `last` after everything else, then waits for the peer to end its side.
    pub(super) fn close(&mut self, key: Key, last: &[u8]) {
        let Some(conn) = self.net.table.get_mut(key).filter(|conn| conn.phase != Phase::Closing) else {
            return;
        };
        if let Some(rare) = conn.rare.as_deref_mut() {
            if conn.phase == Phase::Handshake {
                rare.head.clear();
            }
            rare.pong.clear();
            rare.text_pong = false;
            conn.slim();
        }
        conn.phase = Phase::Closing;
        let session = conn.session.take();
        self.net.out.write(key, conn, last);
        self.net.out.finish(key, conn);
        self.net.out.watch(key, conn);
        self.deadlines.closing(key, self.now);
        if let Some(session) = session {
            self.engine.closed(session);
        }
        self.settle();
    }

    /// Forgets a connection whose socket is of no more use.
    pub(super) fn remove(&mut self, key: Key) {
        let Some(conn) = self.forget(key) else { return };
        if conn.seated {
            self.http.seats().leave(self.whose.remove(&key));
        }
        if let Some(session) = conn.session {
            self.engine.closed(session);
        }
    }

    /// Takes a connection out of the table.
    pub(super) fn forget(&mut self, key: Key) -> Option<Conn> {
        let conn = self.net.remove(key)?;
        self.post.drop_socket();
        Some(conn)
    }

    /// What is due by the clock.
    pub(super) fn expire(&mut self) {
        while let Some(key) = self.deadlines.expired(&self.net.table, self.now) {
            let conn = self.net.table.get(key).expect("an expired deadline names a live connection");
            if conn.phase == Phase::Handshake && conn.rare.is_some() && !conn.is_handshaking() {
                self.close(key, TOO_SLOW);
            } else {
                if conn.is_handshaking() {
                    self.metrics.handshake_failed(HandshakeFailed::Timeout);
                }
                self.remove(key);
            }
        }
        if self.accept_at.is_some_and(|at| at <= self.now) {
            self.accept_again();
        }
        if self.flow.look_at.is_some_and(|at| at <= self.now) {
            self.look_for_stuck();
        }
    }

    /// Accepts nobody from now on.
    pub(super) fn stop_accepting(&mut self) {
        self.accept_at = None;
        if let Some(listener) = self.listener.take() {
            // Other shards hold the same socket: closing this descriptor would not take it out of the epoll.
            let _ = self.poller.get_ref().delete(&listener);
        }
        let unfinished = self.net.table.iter().filter(|(_, conn)| conn.phase == Phase::Handshake);
        for key in unfinished.map(|(key, _)| key).collect::<Vec<_>>() {
            self.remove(key);
        }
    }

    /// Drops the connections that are left; returns how many these were.
    pub(super) fn cut_off(&mut self) -> usize {
        let left: Vec<Key> = self.net.table.iter().map(|(key, _)| key).collect();
        for &key in &left {
            self.remove(key);
        }
        self.report(false);
        debug!(cut_off = left.len(), "a shard has drained");
        left.len()
    }
}
