//! What is published: a payload and what goes with it.

use std::fmt;

use pulse_core::{client::PublishOptions, wire::Format};
use serde::Serialize;

/// One message to publish.
///
/// ```
/// use pulse_native::client::Message;
///
/// let raw = Message::raw("hello").event("greeting");
/// let json = Message::json(&[1, 2])?.key("sensor-7").tag("unit", "celsius");
/// assert_eq!(json.payload(), b"[1,2]");
/// # Ok::<(), pulse_native::client::EncodeError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Message {
    payload: Vec<u8>,
    format: Format,
    event: Option<String>,
    key: Option<String>,
    idempotency_key: Option<String>,
    tags: Vec<(String, String)>,
    retry: bool,
}

/// A value that cannot be a payload.
#[derive(Debug)]
pub struct EncodeError(Box<dyn std::error::Error + Send + Sync>);

impl EncodeError {
    pub(super) fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl Message {
    /// Bytes of the application's own.
    pub fn raw(payload: impl Into<Vec<u8>>) -> Self {
        Self::encoded(payload, Format::Raw)
    }

    /// A payload that is written already as `format` says.
    pub fn encoded(payload: impl Into<Vec<u8>>, format: Format) -> Self {
        Self { payload: payload.into(), format, ..Self::default() }
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// When JSON has no such value, for example a map whose keys are no strings.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        let payload = serde_json::to_vec(value).map_err(EncodeError::new)?;
        Ok(Self::encoded(payload, Format::Json))
    }

    /// A value as MessagePack, its fields by name, so that subscribers in any language and of any version find them.
    ///
    /// # Errors
    /// When the value fails to serialize itself.
    pub fn msgpack<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        let payload = rmp_serde::to_vec_named(value).map_err(EncodeError::new)?;
        Ok(Self::encoded(payload, Format::MsgPack))
    }

    /// Names the event, for the application.
    pub fn event(self, event: impl Into<String>) -> Self {
        Self { event: Some(event.into()), ..self }
    }

    /// Names what the message is about: for a subscriber that is slow a newer one with the same key replaces it.
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Adds a small fact beside the payload.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((name.into(), value.into()));
        self
    }

    /// Sends it until it is answered, on however many connections; it does not time out. A server that does not act on
    /// idempotency keys may deliver it twice.
    pub fn retry(self) -> Self {
        Self { retry: true, ..self }
    }

    /// Names the message itself, so that a server that acts on it delivers a repeat once. Implies [`retry`](Self::retry).
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        Self { idempotency_key: Some(key.into()), ..self }
    }

    /// The payload's bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Hands the core what goes with the payload.
    pub(super) fn with_options<R>(&self, take: impl FnOnce(PublishOptions<'_>) -> R) -> R {
        let tags: Vec<(&str, &str)> =
            self.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        take(PublishOptions {
            event: self.event.as_deref(),
            format: self.format,
            key: self.key.as_deref(),
            idempotency_key: self.idempotency_key.as_deref(),
            tags: &tags,
            retry: self.retry,
            silent: false,
        })
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value cannot be a payload: {}", self.0)
    }
}

impl std::error::Error for EncodeError {}
