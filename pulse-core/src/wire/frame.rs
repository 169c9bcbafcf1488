//! The frame table as types: one borrowed struct for each `type`, the same struct in both directions.
//!
//! Optional keys are `Option`s: `None` is absent or `nil`. Which keys a sender must give is the decoder's business
//! (docs/PROTOCOL.md, "Frames"); which frames are legal now is the session's.

use super::{List, Members, Payload, Publications, Tags, Value};

/// One frame, borrowed from the bytes that it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is documented at the struct it holds")]
pub enum Frame<'a> {
    Connect(Connect<'a>),
    Connected(Connected<'a>),
    Subscribe(Subscribe<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsubscribed(Unsubscribed<'a>),
    Publish(Publish<'a>),
    History(History<'a>),
    Gap(Gap<'a>),
    Presence(Presence<'a>),
    Refresh(Refresh<'a>),
    Ack(Ack<'a>),
    Error(ErrorFrame<'a>),
    Disconnect(Disconnect<'a>),
    /// Asks for a `pong` with the same timestamp.
    Ping {
        /// Whatever the sender wants back, by custom milliseconds since 1970.
        timestamp: Option<u64>,
    },
    /// Answers a `ping`.
    Pong {
        /// The timestamp of the `ping`.
        timestamp: Option<u64>,
    },
}

/// A place in a channel's stream as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point<'a> {
    /// Opaque, at most 16 bytes; changes when history was lost.
    pub epoch: &'a str,
    /// Counts publications from 1; 0 is before the first.
    pub offset: u64,
}

/// What is in a payload, as its publisher says; it travels with the message and is not checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Bytes of the application's own. Absent on the wire.
    #[default]
    Raw,
    /// One JSON text.
    Json,
    /// One MessagePack value.
    MsgPack,
}

/// C to S: opens a session. Required: `version`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Connect<'a> {
    /// The protocol version the client speaks: 1.
    pub version: u64,
    /// Proof of identity, for servers that ask for it.
    pub token: Option<&'a str>,
    /// Name of the client software, for logs and metrics.
    pub name: Option<&'a str>,
    /// Optional abilities the client has.
    pub features: Option<List<'a>>,
}

/// S to C: the session is open. Required: `connection_id`, `version`, `heartbeat`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Connected<'a> {
    /// Names the connection, for the server's API and logs.
    pub connection_id: &'a str,
    /// The protocol version of the session.
    pub version: u64,
    /// Milliseconds between the server's liveness checks.
    pub heartbeat: u64,
    /// The abilities that both sides have.
    pub features: Option<List<'a>>,
    /// Who the server takes the client for.
    pub user: Option<&'a str>,
    /// Unix milliseconds at which the session's token ends.
    pub expires_at: Option<u64>,
}

/// C to S: subscribes to a channel. Required: `id`, `channel`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Subscribe<'a> {
    /// Pairs the request with its `ack` or `error`.
    pub id: u64,
    /// Channel name.
    pub channel: &'a str,
    /// Proof of the right to this channel.
    pub token: Option<&'a str>,
    /// The last position the client has: asks for what came after it.
    pub recover: Option<Point<'a>>,
    /// How many of the newest publications to send first.
    pub latest: Option<u64>,
}

/// C to S: leaves a channel. Required: `id`, `channel`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unsubscribe<'a> {
    /// Pairs the request with its answer.
    pub id: u64,
    /// Channel name.
    pub channel: &'a str,
}

/// S to C: the server ended a subscription. Required: `channel`, `code`, `reason`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unsubscribed<'a> {
    /// Channel name.
    pub channel: &'a str,
    /// From the code table.
    pub code: u16,
    /// For people.
    pub reason: &'a str,
}

/// Both ways: one publication. Required: `channel`, `payload`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Publish<'a> {
    /// Channel name.
    pub channel: &'a str,
    /// The application's bytes.
    pub payload: Payload<'a>,
    /// C to S: asks for an `ack`.
    pub id: Option<u64>,
    /// Name of the event, for the application.
    pub event: Option<&'a str>,
    /// What the payload holds.
    pub format: Format,
    /// What the message is about: a newer one with the same key replaces it.
    pub key: Option<&'a str>,
    /// How new it is among those with the same `key`: one that is not newer than what the channel keeps is not published.
    pub version: Option<u64>,
    /// Names the message itself: a repeat within the window is acknowledged, not delivered again.
    pub idempotency_key: Option<&'a str>,
    /// Small facts beside the payload.
    pub tags: Option<Tags<'a>>,
    /// S to C: number in the channel's stream.
    pub offset: Option<u64>,
    /// S to C: unix milliseconds at which the channel numbered it.
    pub time: Option<u64>,
    /// S to C: connection id of the publisher.
    pub client: Option<&'a str>,
    /// S to C: user of the publisher.
    pub user: Option<&'a str>,
}

/// Both ways. A query requires `id` and `channel`, a page `id`, `epoch`, `offset` and `publications`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct History<'a> {
    /// Pairs the page with its query.
    pub id: u64,
    /// Channel name, in a query.
    pub channel: Option<&'a str>,
    /// Query: only what came after this position.
    pub since: Option<Point<'a>>,
    /// Query: at most this many publications.
    pub limit: Option<u64>,
    /// Query: newest first.
    pub reverse: Option<bool>,
    /// Page: the stream's epoch.
    pub epoch: Option<&'a str>,
    /// Page: the stream's newest offset.
    pub offset: Option<u64>,
    /// Page: the publications.
    pub publications: Option<Publications<'a>>,
}

/// S to C: publications that this subscriber did not get. Required: `channel`, `reason`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gap<'a> {
    /// Channel name.
    pub channel: &'a str,
    /// Why they were lost.
    pub reason: &'a str,
    /// First missing offset.
    pub from: Option<u64>,
    /// Last missing offset.
    pub to: Option<u64>,
    /// How many are missing.
    pub count: Option<u64>,
}

/// What a [`Presence`] frame is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum PresenceAction {
    /// A member came. 0 on the wire.
    #[default]
    Join = 0,
    /// A member went. 1.
    Leave = 1,
    /// A member changed its data. 2.
    Update = 2,
    /// Asks for, or is, the list of members. 3.
    Sync = 3,
    /// Asks for, or is, the number of members. 4.
    Count = 4,
}

impl PresenceAction {
    /// The action of this number on the wire.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        [Self::Join, Self::Leave, Self::Update, Self::Sync, Self::Count]
            .into_iter()
            .find(|action| *action as u64 == number)
    }
}

/// Both ways: who is in a channel. Required: `id`, `channel`, `action`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Presence<'a> {
    /// Pairs the request with its answer; 0 in a frame that answers no request.
    pub id: u64,
    /// Channel name.
    pub channel: &'a str,
    /// What happened or is asked.
    pub action: PresenceAction,
    /// The member's data: any value.
    pub data: Option<Value<'a>>,
    /// S to C: the member's connection id.
    pub client: Option<&'a str>,
    /// S to C: the member's user.
    pub user: Option<&'a str>,
    /// S to C: a page of the member list.
    pub members: Option<Members<'a>>,
    /// S to C: number of member connections.
    pub clients: Option<u64>,
    /// S to C: number of member users.
    pub users: Option<u64>,
    /// S to C: several joins, leaves and updates in one frame.
    pub changes: Option<Members<'a>>,
    /// C to S, with sync: only members behind this one, by connection id.
    pub after: Option<&'a str>,
    /// C to S, with sync: at most this many members.
    pub limit: Option<u64>,
    /// S to C, with sync: more members follow; asks for them when it is sent as `after`.
    pub next: Option<&'a str>,
}

/// C to S: a new token for the session. Required: `id`, `token`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Refresh<'a> {
    /// Pairs the request with its answer.
    pub id: u64,
    /// The new token.
    pub token: &'a str,
}

/// S to C: a request succeeded. Required: `id`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ack<'a> {
    /// The request's id.
    pub id: u64,
    /// Epoch of the channel's stream.
    pub epoch: Option<&'a str>,
    /// The publication's offset, or the stream's newest.
    pub offset: Option<u64>,
    /// Whether everything missed follows this frame.
    pub recovered: Option<bool>,
    /// Why it could not be recovered.
    pub reason: Option<&'a str>,
    /// The publication was dropped, because the channel has as new a version of its `key`, or a newer one.
    pub stale: Option<bool>,
    /// The channel keeps only the newest of each key: numbers that are missing are not lost, unless a `gap` says so.
    pub sparse: Option<bool>,
}

/// S to C: a request failed. Required: `id`, `code`, `message`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorFrame<'a> {
    /// The request's id, 0 when it answers none.
    pub id: u64,
    /// From the code table.
    pub code: u16,
    /// For people: what was wrong, and what would be right.
    pub message: &'a str,
    /// Whether the same request may succeed later.
    pub temporary: Option<bool>,
}

/// S to C: the last frame before a close. Required: `code`, `reason`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Disconnect<'a> {
    /// From the code table: its range says whether to come back.
    pub code: u16,
    /// For people.
    pub reason: &'a str,
    /// Milliseconds to wait before coming back.
    pub retry_ms: Option<u64>,
}
