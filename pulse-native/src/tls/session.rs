//! One connection's TLS, without I/O: bytes of the wire in, plaintext out, and the other way round.
//!
//! What a call makes to be sent is in its `wire` when it returns, so an idle session holds nothing but its keys and the
//! library's small buffer for half a record.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;

use rustls::{InvalidMessage, ServerConfig, ServerConnection};

/// No record holds more plaintext.
pub(crate) const RECORD: usize = 16 << 10;

/// One session, from the first byte of the handshake on.
#[derive(Debug)]
pub(crate) struct Session {
    tls: ServerConnection,
    /// Something has come.
    begun: bool,
    /// It has failed: nothing more is read or written.
    failed: bool,
    /// The peer has ended its side.
    ended: bool,
}

/// Why a session ends.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A request without TLS, in plain text.
    Plain,
    /// Anything else that is no TLS, or none that is accepted.
    Tls(rustls::Error),
}

impl Session {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Self {
        let mut tls = ServerConnection::new(config).expect("the server's own configuration is consistent");
        // What is written leaves it in the same call.
        tls.set_buffer_limit(None);
        Self { tls, begun: false, failed: false, ended: false }
    }

    /// Takes in what a socket brought. `plain` is what it says: at most as long as `bytes` and one record. `wire` is to be
    /// sent, after a fault as well.
    pub(crate) fn receive(
        &mut self,
        mut bytes: &[u8],
        mut plain: impl FnMut(&[u8]),
        wire: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if self.failed {
            return Ok(());
        }
        // A handshake record begins with 22, a request with the capital letter of its method.
        if !std::mem::replace(&mut self.begun, true) && bytes.first().is_some_and(u8::is_ascii_uppercase) {
            self.failed = true;
            return Err(Fault::Plain);
        }
        while !bytes.is_empty() && !self.ended {
            if self.tls.read_tls(&mut bytes).is_err() {
                // Plaintext is taken out at once, so it is a handshake message for which there is no room.
                self.failed = true;
                return Err(Fault::Tls(InvalidMessage::HandshakePayloadTooLarge.into()));
            }
            let state = self.tls.process_new_packets();
            self.drain(wire);
            let state = state.map_err(|error| {
                self.failed = true;
                Fault::Tls(error)
            })?;
            self.ended = state.peer_has_closed();
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let mut reader = self.tls.reader();
                let piece = reader.fill_buf().expect("there is plaintext to read");
                let len = piece.len();
                plain(piece);
                reader.consume(len);
                left -= len;
            }
        }
        Ok(())
    }

    /// Appends `plain` to `wire` as records.
    pub(crate) fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        if !self.failed {
            self.tls.writer().write_all(plain).expect("there is no limit to what a session takes");
            self.drain(wire);
        }
    }

    /// Appends the end of our side of the stream to `wire` (RFC 8446 6.1).
    pub(crate) fn finish(&mut self, wire: &mut Vec<u8>) {
        if !self.failed {
            self.tls.send_close_notify();
            self.drain(wire);
        }
    }

    /// Whether the handshake is not over yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether the peer has ended its side of the stream.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    fn drain(&mut self, wire: &mut Vec<u8>) {
        while self.tls.wants_write() {
            self.tls.write_tls(wire).expect("a vector takes everything");
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain => f.write_str("a request came in plain text"),
            Self::Tls(error) => write!(f, "{error}"),
        }
    }
}
