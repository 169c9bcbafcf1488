//! Whether a request becomes a WebSocket, and what it is told (RFC 6455 4, RFC 9110 7.8).
//!
//! One set of rules, reached two ways: [`fast`] looks at the first bytes of a connection and takes only what is a
//! plain, valid upgrade; whatever else it is goes to hyper, whose routes call [`check`] on the parsed headers. So an
//! error is always answered by hyper, and both ways decide alike. Limits on connections and time are the caller's.

mod origin;
mod refusal;
mod request;
#[cfg(test)]
mod tests;

use pulse_core::Dialect;

pub use origin::{CurrentOrigins, OriginError, Origins};
pub use refusal::Refusal;
pub use request::{check, host};

/// What an upgrade is held against.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The path that serves WebSocket, `/ws` by default; a query behind it is ignored.
    pub path: String,
    /// The pages, besides those of the server's own host, that may connect.
    pub origins: CurrentOrigins,
    /// Whether only this machine can reach the server: then its own pages may connect whatever their port.
    pub bound_to_loopback: bool,
}

/// An upgrade that is to be answered by [`response`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What the client speaks.
    pub dialect: Dialect,
    /// The value of `Sec-WebSocket-Accept`.
    pub accept_key: [u8; 28],
    /// The subprotocol to echo; `None` if the client offered none.
    pub protocol: Option<&'static str>,
}

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fast {
    /// Perhaps an upgrade, but its head is not there whole: read more and ask again with all of it.
    Incomplete,
    /// An upgrade that follows every rule.
    Upgrade {
        /// How to answer it.
        accepted: Accepted,
        /// Bytes of the head; frames may follow it.
        used: usize,
    },
    /// Anything else, mistakes included: hyper answers it, from these bytes on.
    Hyper,
}

/// Decides about the bytes that a connection began with.
///
/// Heads of more than 16 KiB or 64 headers are hyper's to refuse, and so are requests with a body.
#[must_use]
pub fn fast(bytes: &[u8], policy: &Policy) -> Fast {
    if !begins_alike(bytes, b"GET ", policy.path.as_bytes()) {
        return Fast::Hyper;
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let used = match request.parse(bytes) {
        Ok(httparse::Status::Complete(used)) if used <= MAX_HEAD => used,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Fast::Incomplete,
        _ => return Fast::Hyper,
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Fast::Hyper;
    };
    let headers = request.headers.iter().map(|header| (header.name, header.value));
    match check(method, target, minor, headers, policy) {
        Ok(accepted) => Fast::Upgrade { accepted, used },
        Err(_) => Fast::Hyper,
    }
}

/// The headers of a request that [`fast`] has taken.
pub(crate) fn headers(head: &[u8]) -> Vec<(&str, &[u8])> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(_) => request.headers.iter().map(|header| (header.name, header.value)).collect(),
        Err(error) => unreachable!("the head was parsed before: {error}"),
    }
}

/// Appends the head of the 101 response.
pub fn response(accepted: &Accepted, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accepted.accept_key);
    if let Some(protocol) = accepted.protocol {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(protocol.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// The most bytes of a head.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// Whether `bytes` go on as `first` and `second` do, as far as there are any: what cannot become an upgrade any more
/// need not be waited for.
fn begins_alike(bytes: &[u8], first: &[u8], second: &[u8]) -> bool {
    bytes.iter().zip(first.iter().chain(second)).all(|(byte, expected)| byte == expected)
}
