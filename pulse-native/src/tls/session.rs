//! One connection's TLS, without I/O: bytes of the wire in, plaintext out, and the other way round.
//!
//! Records are decrypted where they lie, and what a call makes to be sent is in its `wire` when it returns. So a session at
//! rest holds its keys and no buffer; only half of a record, if that is where a read ended, is kept until the rest comes.

use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError};
use rustls::{InvalidMessage, ServerConfig};

use crate::metrics::HandshakeFailed;

/// No record holds more plaintext.
pub(crate) const RECORD: usize = 16 << 10;

/// Most that is kept of a record, or of a handshake message that comes in several. The largest record has 18,437 bytes
/// (RFC 5246 6.2.3), and a ClientHello with everything in it less than 4 KiB.
pub(crate) const UNFINISHED: usize = 24 << 10;

/// What a record adds to its plaintext at most, for TLS 1.2 and 1.3.
const OVERHEAD: usize = 32;

/// Room for an alert, the most frequent thing that a session says by itself.
const ALERT: usize = 64;

/// One session, from the first byte of the handshake on.
pub(crate) struct Session {
    tls: UnbufferedServerConnection,
    /// The beginning of what comes next, at most [`UNFINISHED`] bytes; most often nothing.
    rest: Vec<u8>,
    /// Something has come.
    begun: bool,
    /// Nothing more is read or written.
    spent: bool,
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
        let tls =
            UnbufferedServerConnection::new(config).expect("the server's own configuration is consistent");
        Self { tls, rest: Vec::new(), begun: false, spent: false, ended: false }
    }

    /// What came and is not whole yet. The next bytes of the socket go behind it, and both together to
    /// [`receive`](Self::receive).
    pub(crate) fn unfinished(&self) -> &[u8] {
        &self.rest
    }

    /// Takes in what was [unfinished](Self::unfinished) and, behind it, what a socket brought. `plain` is what it says,
    /// never longer than `bytes`. `wire` is to be sent, after a fault as well.
    pub(crate) fn receive(
        &mut self,
        bytes: &mut [u8],
        mut plain: impl FnMut(&[u8]),
        wire: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if self.spent {
            return Ok(());
        }
        // A handshake record begins with 22, a request with the capital letter of its method.
        if !std::mem::replace(&mut self.begun, true) && bytes.first().is_some_and(u8::is_ascii_uppercase) {
            self.spent = true;
            return Err(Fault::Plain);
        }
        let done = self.process(bytes, &mut plain, wire);
        let rest = match done {
            Ok(done) if !self.ended => &bytes[done..],
            _ => &[],
        };
        let done = done.and_then(|_| match rest.len() {
            0..=UNFINISHED => Ok(()),
            _ => Err(InvalidMessage::HandshakePayloadTooLarge.into()),
        });
        self.rest = if done.is_ok() { rest.to_vec() } else { Vec::new() };
        done.map_err(|error| {
            self.spent = true;
            Fault::Tls(error)
        })
    }

    /// Appends `plain` to `wire` as records, unless the session is [spent](Self::is_spent).
    pub(crate) fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        let end = self.seal_over(plain, wire, wire.len());
        wire.truncate(end);
    }

    /// As [`seal`](Self::seal), over what is in `wire` from `at` on; returns where the records end. What is behind them means
    /// nothing: with it, room that is used again and again is cleared once and not each time.
    pub(crate) fn seal_over(&mut self, plain: &[u8], wire: &mut Vec<u8>, at: usize) -> usize {
        if self.spent || plain.is_empty() {
            return at;
        }
        let mut end = at;
        let room = plain.len() + plain.len().div_ceil(RECORD) * OVERHEAD;
        let mut rest = std::mem::take(&mut self.rest);
        let state = self.tls.process_tls_records(&mut rest).state;
        // Nothing is written before a request has come, and nothing behind the end of our side.
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            // It fails when the keys were used as often as is safe: TLS 1.2 cannot renew them.
            match write_over(wire, at, room, |wire| traffic.encrypt(plain, wire).map_err(too_small)) {
                Some(sealed) => end = sealed,
                None => self.spent = true,
            }
        }
        self.rest = rest;
        if self.spent {
            wire.truncate(at);
            self.drain(wire);
            end = wire.len();
        }
        end
    }

    /// Appends the end of our side of the stream to `wire` (RFC 8446 6.1).
    pub(crate) fn finish(&mut self, wire: &mut Vec<u8>) {
        if self.spent {
            return;
        }
        let mut rest = std::mem::take(&mut self.rest);
        // Before the handshake is over there is no stream that could end.
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = self.tls.process_tls_records(&mut rest).state
        {
            append(wire, ALERT, |wire| traffic.queue_close_notify(wire).map_err(too_small));
        }
        self.rest = rest;
    }

    /// Whether the handshake is not over yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether the peer has ended its side of the stream.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether nothing more is read or written: there was a fault, or the keys are used up.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent
    }

    /// Returns how many of `bytes` are done with. What there is to say is in `wire` in any case.
    fn process(
        &mut self,
        bytes: &mut [u8],
        plain: &mut impl FnMut(&[u8]),
        wire: &mut Vec<u8>,
    ) -> Result<usize, rustls::Error> {
        let mut done = 0;
        loop {
            let status = self.tls.process_tls_records(&mut bytes[done..]);
            let mut discard = status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, wire),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(_) => return Ok(done + discard),
                Err(error) => {
                    // The alert that tells the peer.
                    self.drain(wire);
                    return Err(error);
                }
            }
            done += discard;
        }
    }

    /// Takes out what is to be said although nothing more is read.
    fn drain(&mut self, wire: &mut Vec<u8>) {
        while self.tls.wants_write() {
            let Ok(ConnectionState::EncodeTlsData(data)) = self.tls.process_tls_records(&mut []).state else {
                return;
            };
            encode(data, wire);
        }
    }
}

/// Appends what a session has to say by itself.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, wire: &mut Vec<u8>) {
    append(wire, ALERT, |wire| {
        data.encode(wire).map_err(|error| match error {
            EncodeError::InsufficientSize(size) => Some(size),
            EncodeError::AlreadyEncoded => None,
        })
    });
}

fn too_small(error: EncryptError) -> Option<InsufficientSizeError> {
    match error {
        EncryptError::InsufficientSize(size) => Some(size),
        EncryptError::EncryptExhausted => None,
    }
}

/// Appends to `wire` what `write` writes.
fn append(
    wire: &mut Vec<u8>,
    room: usize,
    write: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) {
    let at = wire.len();
    let end = write_over(wire, at, room, write);
    wire.truncate(end.unwrap_or(at));
}

/// Has `write` write over what is in `wire` from `at` on, into `room` bytes or as many as it says that it takes. Where that
/// ends; `None` if it writes nothing.
fn write_over(
    wire: &mut Vec<u8>,
    at: usize,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> Option<usize> {
    let grow = |wire: &mut Vec<u8>, room| wire.resize(wire.len().max(at + room), 0);
    grow(wire, room);
    let mut written = write(&mut wire[at..]);
    if let Err(Some(InsufficientSizeError { required_size })) = written {
        grow(wire, required_size);
        written = write(&mut wire[at..]);
    }
    Some(at + written.ok()?)
}

impl Fault {
    /// What a handshake that ends by it counts as.
    pub(crate) fn failed(&self) -> HandshakeFailed {
        match self {
            Self::Plain => HandshakeFailed::Plain,
            Self::Tls(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
                HandshakeFailed::Incompatible
            }
            Self::Tls(rustls::Error::AlertReceived(_)) => HandshakeFailed::Rejected,
            Self::Tls(_) => HandshakeFailed::Invalid,
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tls: _, rest, begun, spent, ended } = self;
        let mut debug = f.debug_struct("Session");
        debug.field("rest", &rest.len()).field("begun", begun).field("spent", spent).field("ended", ended);
        debug.finish_non_exhaustive()
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

#[cfg(test)]
pub(super) mod tests {
    use ::ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    use rustls::crypto::{CryptoProvider, ring};
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{CipherSuiteCommon, ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite};
    use rustls::{ConnectionTrafficSecrets, SupportedProtocolVersion, Tls12CipherSuite, version};

    use super::*;

    /// Both sides of a session that is agreed upon in TLS 1.3.
    pub(crate) fn pair() -> (Session, ClientConnection) {
        pair_of(&version::TLS13, u64::MAX)
    }

    /// Both sides of a session that is agreed upon in TLS 1.2, whose keys encrypt `limit` records.
    pub(crate) fn pair_with_limit(limit: u64) -> (Session, ClientConnection) {
        pair_of(&version::TLS12, limit)
    }

    fn pair_of(version: &'static SupportedProtocolVersion, limit: u64) -> (Session, ClientConnection) {
        let SupportedCipherSuite::Tls12(suite) = ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        else {
            panic!("this is a suite of TLS 1.2");
        };
        let common = CipherSuiteCommon { confidentiality_limit: limit, ..suite.common };
        let limited: &'static _ = Box::leak(Box::new(Tls12CipherSuite { common, ..*suite }));
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![
                ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
                SupportedCipherSuite::Tls12(limited),
            ],
            ..ring::default_provider()
        });
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut session = Session::new(Arc::new(server));
        while client.is_handshaking() || session.is_handshaking() {
            let (mut wire, mut answer) = (Vec::new(), Vec::new());
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            session.receive(&mut wire, |_| {}, &mut answer).unwrap();
            take(&mut client, &answer);
        }
        (session, client)
    }

    /// What a client reads out of `wire`.
    fn take(client: &mut ClientConnection, mut wire: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            let left = client.process_new_packets().unwrap().plaintext_bytes_to_read();
            let at = plain.len();
            plain.resize(at + left, 0);
            std::io::Read::read_exact(&mut client.reader(), &mut plain[at..]).unwrap();
        }
        plain
    }

    #[test]
    fn a_session_keeps_half_of_a_record_and_at_rest_nothing() {
        let (mut session, mut client) = pair();
        assert_eq!(session.rest.capacity(), 0);
        let (mut record, mut heard) = (Vec::new(), Vec::new());
        std::io::Write::write_all(&mut client.writer(), &[7; 1000]).unwrap();
        client.write_tls(&mut record).unwrap();
        let (mut half, end) = (record[..600].to_vec(), &record[600..]);
        session.receive(&mut half, |plain| heard.extend_from_slice(plain), &mut Vec::new()).unwrap();
        assert_eq!((session.unfinished().len(), heard.len()), (600, 0));
        let mut whole = [session.unfinished(), end].concat();
        session.receive(&mut whole, |plain| heard.extend_from_slice(plain), &mut Vec::new()).unwrap();
        assert_eq!((session.rest.capacity(), heard), (0, vec![7; 1000]));
        assert!(size_of::<Session>() <= 1200, "{} bytes", size_of::<Session>());
    }

    #[test]
    fn half_of_a_handshake_message_keeps_a_session_neither_from_speaking_nor_from_hearing() {
        let (mut session, client) = pair();
        let secrets = client.dangerous_extract_secrets().unwrap();
        let (mut seq, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = secrets.tx else {
            panic!("the server knows no other suite of TLS 1.3");
        };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
        // RFC 8446 5.2: the plaintext with its type behind it; the number of the record goes into the nonce.
        let mut record = |kind: u8, plain: &[u8]| {
            let mut nonce: [u8; 12] = iv.as_ref().try_into().unwrap();
            nonce[4..].iter_mut().zip(u64::to_be_bytes(seq)).for_each(|(byte, of_seq)| *byte ^= of_seq);
            seq += 1;
            let mut sealed = [plain, &[kind]].concat();
            let header = [23, 3, 3, 0, (sealed.len() + 16) as u8];
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed).unwrap();
            [&header[..], &sealed].concat()
        };
        let hear = |session: &mut Session, bytes: &[u8]| {
            let mut bytes = [session.unfinished(), bytes].concat();
            let (mut heard, mut answer) = (Vec::new(), Vec::new());
            session.receive(&mut bytes, |plain| heard.extend_from_slice(plain), &mut answer).unwrap();
            heard
        };
        // A certificate that nobody has asked for would end the session, once it is whole.
        assert_eq!(hear(&mut session, &record(22, &[11, 0, 1])), b"");
        assert!(!session.unfinished().is_empty());
        let (mut sealed, mut end) = (Vec::new(), Vec::new());
        session.seal(b"spoken", &mut sealed);
        assert_eq!(sealed.len(), 5 + 6 + 1 + 16);
        assert_eq!(hear(&mut session, &record(22, &[0])), b"");
        // Half of a record behind it.
        let more = record(22, &[0, 0]);
        assert_eq!(hear(&mut session, &more[..9]), b"");
        assert_eq!(hear(&mut session, &more[9..]), b"");
        session.finish(&mut end);
        assert_eq!(end.len(), 5 + 2 + 1 + 16);
    }

    #[test]
    fn a_session_whose_keys_are_used_up_says_so_and_ends_in_order() {
        let (mut session, mut client) = pair_with_limit(64);
        let mut count = 0;
        loop {
            let mut wire = Vec::new();
            session.seal(b"x", &mut wire);
            let plain = take(&mut client, &wire);
            if session.is_spent() {
                assert_eq!(plain, b"");
                break;
            }
            assert_eq!(plain, b"x");
            count += 1;
        }
        assert!((32..64).contains(&count), "{count}");
        // The last that it said is that it ends.
        assert!(client.process_new_packets().unwrap().peer_has_closed());
        let mut wire = Vec::new();
        session.seal(b"x", &mut wire);
        session.finish(&mut wire);
        assert_eq!(wire, b"");
    }
}
