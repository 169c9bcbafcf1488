//! What proves that a server has understood a request for an upgrade (RFC 6455 4.2.2).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha1::{Digest, Sha1};

/// The value of `Sec-WebSocket-Accept` for a key.
#[must_use]
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let digest =
        Sha1::new().chain_update(key).chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    let mut out = [0; 28];
    let written = BASE64_STANDARD.encode_slice(digest, &mut out);
    debug_assert_eq!(written, Ok(28), "20 bytes make 28 characters");
    out
}
