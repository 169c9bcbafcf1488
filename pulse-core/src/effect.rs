//! What a router asks its host to do besides writing, and the answers it takes back.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::wire::{CloseCode, PresenceAction};
use crate::{ConnId, Outcome, PeerId, Refused, Ticket};

/// Host work other than writing. Rare beside writes, hence owned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Flush what is left for `conn`, then close its transport with `code`; report the end with
    /// [`Router::closed`](crate::Router::closed).
    Close {
        /// The connection; the router takes no more input from it.
        conn: ConnId,
        /// For the transport's close frame, where it has one.
        code: CloseCode,
    },
    /// Send the transport's own ping: this connection's client would not understand a `ping` frame.
    Ping {
        /// The connection.
        conn: ConnId,
    },
    /// Read no more from `conn` while `paused`: its earlier requests still wait for an answer.
    Pause {
        /// The connection.
        conn: ConnId,
        /// `false` ends the pause.
        paused: bool,
    },
    /// Decide a request, now or later; settle it with [`Router::answer`](crate::Router::answer).
    Authorize {
        /// Pairs the answer with this question.
        ticket: Ticket,
        /// Who asks.
        conn: ConnId,
        /// What for.
        request: Box<Request>,
    },
    /// Carry a parcel to another router, which takes it by [`Router::peer`](crate::Router::peer). Parcels between two
    /// routers keep their order.
    Send {
        /// Whom.
        to: PeerId,
        /// [`PeerMessage`](crate::PeerMessage)s, one or more.
        parcel: Vec<u8>,
    },
    /// Do what these records say, all or none of it, and sync; then say so with [`Router::stored`](crate::Router::stored) or
    /// [`Router::not_stored`](crate::Router::not_stored). The next one comes only then.
    Store {
        /// Pairs the answer.
        sequence: u64,
        /// [`Record`](crate::Record)s, one or more.
        records: Vec<u8>,
    },
    /// What became of a publication of the host's own that had to be stored first ([`Outcome::Storing`]).
    Settled {
        /// Of the outcome.
        ticket: Ticket,
        /// Where it is kept ([`Outcome::Kept`]), or why it was not published.
        outcome: Result<Outcome, Refused>,
    },
}

/// What [`Effect::Authorize`] asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// May the client open a session, and who is it?
    Connect {
        /// What the client sent to prove it.
        token: Option<Box<str>>,
    },
    /// May the connection subscribe to this channel?
    Subscribe {
        /// Channel name.
        channel: Box<str>,
        /// What the client sent to prove it.
        token: Option<Box<str>>,
    },
    /// May the connection publish into this channel?
    Publish {
        /// Channel name.
        channel: Box<str>,
    },
    /// May the connection ask for what was published in this channel? It is not asked of one that is subscribed.
    History {
        /// Channel name.
        channel: Box<str>,
    },
    /// May the connection show itself in this channel, or see who is there?
    Presence {
        /// Channel name.
        channel: Box<str>,
        /// What it wants to do.
        action: PresenceAction,
    },
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Go on.
    Allow,
    /// To [`Request::Connect`]: go on, and this is the user. Anywhere else the same as `Allow`.
    AllowAs(Box<str>),
    /// The client gets error 1004 (forbidden); one that wanted to connect is closed with code 4504.
    Deny,
}
