//! What a client is made with: who it is, how long it waits and how much it keeps.

use alloc::boxed::Box;
use core::fmt;

use super::Backoff;

/// What a [`Client`](super::Client) is made with. The defaults suit a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Sent with `connect`; see also [`Client::set_token`](super::Client::set_token).
    pub token: Option<Token>,
    /// Name of the software, for the server's logs.
    pub name: Option<Box<str>>,
    /// Milliseconds for the transport to open, and again for the server to say `connected`; default 10,000.
    pub connect_ms: u32,
    /// Milliseconds for the answer to a request; default 10,000.
    pub request_ms: u32,
    /// Milliseconds of silence after which the client looks whether the server lives, where the server names no
    /// interval of its own; default 30,000.
    pub heartbeat_ms: u32,
    /// Milliseconds of silence beyond the heartbeat after which the connection is given up; default 10,000.
    pub grace_ms: u32,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// Subscriptions at once; one more is refused with
    /// [`SubscribeError::TooMany`](super::SubscribeError::TooMany). Default 1,000.
    pub max_subscriptions: u32,
    /// Requests about presence and history that wait for their answer; one more is refused with
    /// [`AskError::TooMany`](super::AskError::TooMany). Default 1,000.
    pub max_requests: u32,
    /// Bytes of publications that wait to be sent or answered, 64 for each counted in; beyond them
    /// [`PublishError::QueueFull`](super::PublishError::QueueFull). Default 256 KiB.
    pub outbox_bytes: u32,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            token: None,
            name: None,
            connect_ms: 10_000,
            request_ms: 10_000,
            heartbeat_ms: 30_000,
            grace_ms: 10_000,
            backoff: Backoff::default(),
            max_subscriptions: 1_000,
            max_requests: 1_000,
            outbox_bytes: 256 * 1024,
        }
    }
}

/// A proof of identity that does not show in logs.
///
/// ```
/// let token = pulse_core::client::Token::from("secret");
/// assert_eq!((format!("{token:?}").as_str(), token.expose()), ("Token(..)", "secret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// The token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Token {
    fn from(token: &str) -> Self {
        Self(token.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}
