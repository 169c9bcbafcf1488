//! TLS on the listener for clients: who the server is, and the sessions of its connections.
//!
//! An [`Identity`] is a certificate chain with its key, from two files, and may be replaced while connections live. A
//! `session` turns bytes of one socket into plaintext and back, without I/O; reading, writing and tails are the shard's.

mod error;
mod follow;
mod identity;
mod session;
mod validity;

pub use error::TlsError;
pub use follow::{follow, renew};
pub use identity::Identity;
#[cfg(test)]
pub(crate) use session::tests::{pair, pair_with_limit};
pub(crate) use session::{Fault, RECORD, Session, UNFINISHED};
