//! The way in over TLS: what a socket brings is decrypted on its way into the shard's buffer, and what the session has to
//! say by itself is sent.

use rustix::io::Errno;
use tracing::debug;

use super::conn::{Key, Phase};
use super::read::HEAD_MAX;
use super::{READ, Shard};
use crate::engine::Engine;
use crate::metrics::HandshakeFailed;
use crate::sys;
use crate::tls::{Fault, Session, UNFINISHED};

// A request head that is not whole stands before the plaintext.
const _: () = assert!(HEAD_MAX + UNFINISHED < READ);

/// The answer to a request without TLS.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 48\r\nconnection: close\r\n\r\n\
    this port speaks TLS: ask for https:// or wss://";

impl<E: Engine> Shard<E> {
    /// As `recv`, for a connection with TLS: reads into the shard's buffer from `at`, and returns where the plaintext ends.
    pub(super) fn recv_tls(&mut self, key: Key, at: usize) -> Option<usize> {
        if self.wire.is_empty() {
            self.wire = vec![0; READ].into_boxed_slice();
        }
        // Plaintext is shorter than its records, so it fits; and what is unfinished leaves room for the end of it.
        let room = self.buf.len() - at;
        let conn = self.net.table.get_mut(key)?;
        let tls = conn.tls.as_deref_mut()?;
        let held = tls.unfinished().len();
        self.wire[..held].copy_from_slice(tls.unfinished());
        let len = match sys::recv(&conn.fd, &mut self.wire[held..room]) {
            Ok(len @ 1..) => held + len,
            Err(Errno::WOULDBLOCK) => return None,
            Ok(0) | Err(_) => {
                if tls.is_handshaking() {
                    self.metrics.handshake_failed(HandshakeFailed::Closed);
                }
                self.remove(key);
                return None;
            }
        };
        self.since.get_or_insert_with(|| self.clock.instant(self.now));
        let (mut end, mut answer) = (at, Vec::new());
        let received = tls.receive(
            &mut self.wire[..len],
            |plain| {
                self.buf[end..end + plain.len()].copy_from_slice(plain);
                end += plain.len();
            },
            &mut answer,
        );
        let (has_ended, is_handshaking) = (tls.has_ended(), tls.is_handshaking());
        if let Err(fault) = &received
            && is_handshaking
        {
            self.metrics.handshake_failed(fault.failed());
        }
        self.net.out.send_wire(key, conn, &answer);
        match received {
            Ok(()) => {}
            Err(Fault::Plain) => {
                debug!("a connection without TLS is refused");
                conn.tls = None;
                self.close(key, PLAIN);
                return None;
            }
            Err(fault @ Fault::Tls(_)) => {
                debug!(%fault, "a connection is closed");
                self.close(key, &[]);
                return None;
            }
        }
        self.settle();
        self.net.table.get(key)?;
        if end > at {
            return Some(end);
        }
        if has_ended {
            if is_handshaking {
                self.metrics.handshake_failed(HandshakeFailed::Closed);
            }
            self.remove(key);
        }
        None
    }

    /// Removes a connection whose peer has ended its side of the stream behind the bytes that were just read.
    pub(super) fn remove_if_ended(&mut self, key: Key) {
        let conn = self.net.table.get(key).filter(|conn| conn.phase == Phase::Open);
        if conn.and_then(|conn| conn.tls.as_deref()).is_some_and(Session::has_ended) {
            self.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PLAIN;

    #[test]
    fn the_answer_without_tls_tells_its_length() {
        let text = str::from_utf8(PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
    }
}
