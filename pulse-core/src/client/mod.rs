//! The client's side of the protocol as a state machine for one connection: dialling, greeting, subscriptions that
//! outlive connections, publications that wait, and the decision when to come back. It moves no bytes and reads no
//! clock; browsers, the Rust client, the load generator and the simulator are its hosts.
//!
//! A turn is like the router's: any number of inputs, [`advance`](Client::advance) first; then
//! [`poll_write`](Client::poll_write), [`poll_effect`](Client::poll_effect) and [`poll_event`](Client::poll_event)
//! until `None`; then the host waits for input or for [`poll_timeout`](Client::poll_timeout).
//!
//! ```
//! use pulse_core::client::{Client, ClientConfig, ClientEffect, Event, PublishOptions, SubscribeOptions};
//! use pulse_core::{Config, Dialect, Kind, Link, Now, Router, Seed};
//!
//! let mut router = Router::new(Config::default(), Seed(1));
//! let mut client = Client::new(ClientConfig::default(), Seed(2));
//! let sub = client.subscribe("news", SubscribeOptions::default())?;
//! let id = client.publish("news", b"hello", PublishOptions::default())?;
//! client.connect();
//! assert_eq!(client.poll_effect(), Some(ClientEffect::Dial));
//!
//! // The transport is open. From here on the host carries messages.
//! let conn = router.open(Link { class: 0, dialect: Dialect::V1 });
//! client.opened();
//! let (mut got, mut acked) = (Vec::new(), None);
//! for _ in 0..3 {
//!     client.advance(Now::default());
//!     router.advance(Now::default());
//!     while let Some(message) = client.poll_write() {
//!         router.receive(conn, Kind::Binary, message);
//!     }
//!     while let Some(batch) = router.poll_write() {
//!         client.receive(batch.kind(), batch.payload());
//!     }
//!     while let Some(event) = client.poll_event() {
//!         match event {
//!             Event::Publication { sub, publication } => got.push((sub, publication.payload.as_bytes() == Some(b"hello"))),
//!             Event::Acked { id, .. } => acked = Some(id),
//!             _ => {}
//!         }
//!     }
//! }
//! assert_eq!((got, acked), (vec![(sub, true)], Some(id)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backoff;
mod config;
mod deadline;
mod event;
mod liveness;
mod outbox;
mod presence;
mod receive;
mod subscription;
mod write;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use crate::grant::is_channel_name;
use crate::random::Random;
use crate::wire::{CloseCode, Payload, Point, Publish, Tags};
use crate::{Now, Seed, Time};

pub use backoff::Backoff;
pub use config::{ClientConfig, Token};
pub use event::{Event, Failure, Subject};
pub use outbox::{PublishError, PublishId, PublishOptions};
pub use presence::{PresenceError, RequestId};
pub use subscription::{SubId, SubscribeError, SubscribeOptions};

use deadline::{Deadline, Due};
use event::Events;
use liveness::{Liveness, Silence};
use outbox::{Care, Outbox};
use presence::Requests;
use subscription::{State as Sub, Subscriptions};
use write::Op;

/// Host work other than writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEffect {
    /// Open a transport, dialect `pulse.v1`; then call [`Client::opened`], or [`Client::closed`] if that fails.
    Dial,
    /// End the transport, or the attempt to open one, and forget it: nothing of it may reach the client any more, its
    /// end included.
    HangUp,
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// [`Client::connect`] was not called yet.
    Idle,
    /// Dialling, or waiting for the server's greeting.
    Connecting,
    /// The session is open.
    Connected,
    /// Not connected; the next attempt is at `retry_at`.
    Waiting {
        /// When.
        retry_at: Time,
    },
    /// Over, by the application's wish or by a code that says to stay away.
    Closed,
}

/// What a client counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Attempts to connect.
    pub dials: u64,
    /// Sessions that were opened.
    pub connections: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Bytes of these frames, their length prefixes included.
    pub bytes_in: u64,
    /// Connections given up for what the server sent on them.
    pub malformed: u64,
    /// Connections given up since the server was silent.
    pub silent: u64,
    /// Frames without use: of unknown kinds, or about channels that are not subscribed to.
    pub ignored: u64,
    /// Publications dropped because the application has had them already.
    pub repeated: u64,
    /// Subscriptions made anew because publications were missing.
    pub resumed: u64,
}

const INVALID_CHANNEL: &str = "the channel name is not allowed: it has to be 1 to 256 bytes of printable ASCII that do not start with $";

/// One client: at most one connection at a time, and what is to survive it. See the [module](self) for its turn.
///
/// Between connections it waits by [`Backoff`], or as long as the server said. A close code from 4500 to 4999 ends it;
/// any other, and a loss without code, brings it back. `connect` and all subscriptions then leave together.
///
/// It is bounded by its configuration: subscriptions by number, publications by bytes. Events wait until they are
/// taken; a host that takes them when [`is_full`](Self::is_full) says so bounds them too.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    random: Random,
    now: Now,
    state: State,
    /// Failed attempts in a row.
    attempt: u32,
    subs: Subscriptions,
    outbox: Outbox,
    requests: Requests,
    /// What is to be written on this connection, in the order of the commands. Empty without a transport.
    ops: VecDeque<Op>,
    /// The newest `ping` of the server that is not answered yet.
    pong: Option<Option<u64>>,
    /// Whether to send a `ping` only to hear something.
    ask: bool,
    ping: Ping,
    events: Events,
    dial: bool,
    hang_up: bool,
    out: Vec<u8>,
    last_id: u64,
    stats: ClientStats,
}

#[derive(Debug)]
enum State {
    Idle,
    Dialing {
        until: Deadline,
    },
    /// The transport is open; `connected` has to come.
    Greeting {
        until: Deadline,
        /// Whether `connect` is written.
        greeted: bool,
    },
    Open {
        since: Time,
        liveness: Liveness,
    },
    Waiting {
        until: Time,
    },
    Closed,
}

/// The application's `ping`, one at a time.
#[derive(Clone, Copy, Debug)]
enum Ping {
    None,
    Due,
    Sent { timestamp: u64, at: Time },
}

/// How a connection ends.
enum End {
    Lost {
        code: Option<CloseCode>,
        retry_ms: Option<u64>,
    },
    /// For good; the caller says so.
    Final,
}

impl Client {
    /// A client that does nothing yet. The same configuration, seed and inputs give the same outputs.
    #[must_use]
    pub fn new(config: ClientConfig, seed: Seed) -> Self {
        let mut random = Random::new(seed);
        Self {
            subs: Subscriptions::new(random.next()),
            outbox: Outbox::new(config.outbox_bytes as usize),
            requests: Requests::default(),
            random,
            now: Now::default(),
            state: State::Idle,
            attempt: 0,
            ops: VecDeque::new(),
            pong: None,
            ask: false,
            ping: Ping::None,
            events: Events::default(),
            dial: false,
            hang_up: false,
            out: Vec::new(),
            last_id: 0,
            stats: ClientStats::default(),
            config,
        }
    }

    // ---- in: what the host reports

    /// Opens a turn: sets its clock and does what is due. After a sleep of the host the server is asked before it is
    /// given up, since what it sent may still be unread.
    pub fn advance(&mut self, now: Now) {
        self.now = now;
        let now = now.mono;
        match &mut self.state {
            State::Idle | State::Closed => {}
            State::Waiting { until } => {
                if *until <= now {
                    self.dial();
                }
            }
            State::Dialing { until } | State::Greeting { until, .. } => {
                if until.check(now) == Due::Passed {
                    self.hang_up();
                    self.lose(End::Lost { code: None, retry_ms: None });
                }
            }
            State::Open { liveness, .. } => match liveness.check(now) {
                Silence::Dead => {
                    self.stats.silent += 1;
                    self.hang_up();
                    self.lose(End::Lost { code: None, retry_ms: None });
                }
                silence => {
                    self.ask |= silence == Silence::Ask;
                    self.expire(now);
                }
            },
        }
    }

    /// The transport is open. Changes nothing unless [`ClientEffect::Dial`] was the last effect.
    pub fn opened(&mut self) {
        if self.dial || !matches!(self.state, State::Dialing { .. }) {
            return;
        }
        let until = Deadline::after_ms(self.now.mono, u64::from(self.config.connect_ms));
        self.state = State::Greeting { until, greeted: false };
        self.ops.extend(self.subs.ids().map(Op::Subscribe));
        if self.outbox.unsent() > 0 {
            self.ops.push_back(Op::Publish(self.outbox.unsent()));
        }
        self.ops.extend(self.requests.questions().map(Op::Ask));
    }

    /// The transport is gone or could not be opened; `code` is that of its close frame. Changes nothing after
    /// [`ClientEffect::HangUp`].
    pub fn closed(&mut self, code: Option<CloseCode>) {
        // What was to be hung up has ended by itself.
        if core::mem::take(&mut self.hang_up) {
            return;
        }
        // Before the host was asked to dial, it can only be an earlier transport that ends.
        if self.dial || !(self.is_live() || matches!(self.state, State::Dialing { .. })) {
            return;
        }
        match code {
            Some(code) if !code.comes_back() => {
                self.lose(End::Final);
                self.events.push(Event::Closed { code: Some(code), reason: code.text() });
            }
            code => self.lose(End::Lost { code, retry_ms: None }),
        }
    }

    // ---- in: what the application wants

    /// Connects and stays connected. While the client waits for its next attempt, this is the attempt: for hosts that
    /// learn that the network is back. After the end it begins anew, with the subscriptions that there are.
    pub fn connect(&mut self) {
        if let State::Closed = self.state {
            self.attempt = 0;
        }
        if let State::Idle | State::Waiting { .. } | State::Closed = self.state {
            self.dial();
        }
    }

    /// The token that the next `connect` carries; an open session keeps its own.
    pub fn set_token(&mut self, token: Option<&str>) {
        self.config.token = token.map(Token::from);
    }

    /// Subscribes to a channel, on this connection and on all that follow. Told by [`Event::Subscribed`].
    ///
    /// # Errors
    /// See [`SubscribeError`]; then nothing has changed.
    pub fn subscribe(
        &mut self,
        channel: &str,
        options: SubscribeOptions<'_>,
    ) -> Result<SubId, SubscribeError> {
        if let State::Closed = self.state {
            return Err(SubscribeError::Closed);
        }
        if !is_channel_name(channel) {
            return Err(SubscribeError::InvalidChannel);
        }
        if let Some(sub) = self.subs.find(channel) {
            return Err(SubscribeError::AlreadySubscribed { sub });
        }
        if self.subs.len() >= self.config.max_subscriptions as usize {
            return Err(SubscribeError::TooMany { max: self.config.max_subscriptions });
        }
        let sub = SubId(self.next_id());
        self.subs.add(sub, channel, &options);
        if self.is_live() {
            self.ops.push_back(Op::Subscribe(sub));
        }
        Ok(sub)
    }

    /// Ends a subscription at once; [`Event::Unsubscribed`] is the last that is told of it. One that is over already
    /// changes nothing.
    pub fn unsubscribe(&mut self, sub: SubId) {
        let Some(gone) = self.subs.remove(sub) else { return };
        if let Sub::Due = gone.state {
            self.ops.retain(|op| !matches!(op, Op::Subscribe(id) if *id == sub));
        }
        if gone.asked {
            self.ops.push_back(Op::Unsubscribe(gone.channel.clone()));
        }
        self.end_membership(Some(gone));
        self.events.push(Event::Unsubscribed { sub, code: None, reason: "" });
    }

    /// Publishes a message, as soon as there is a connection. Told by [`Event::Acked`] or [`Event::Failed`], exactly
    /// once unless it is silent.
    ///
    /// # Errors
    /// See [`PublishError`]; then nothing has changed.
    pub fn publish(
        &mut self,
        channel: &str,
        payload: &[u8],
        options: PublishOptions<'_>,
    ) -> Result<PublishId, PublishError> {
        if let State::Closed = self.state {
            return Err(PublishError::Closed);
        }
        if !is_channel_name(channel) {
            return Err(PublishError::InvalidChannel);
        }
        let limit_bytes = self.outbox.limit;
        if payload.len() > limit_bytes {
            return Err(PublishError::QueueFull { limit_bytes });
        }
        let PublishOptions { event, format, key, idempotency_key, tags, retry, silent } = options;
        let care = match (retry || idempotency_key.is_some(), silent) {
            (true, _) => Care::Retry,
            (false, true) => Care::Silent,
            (false, false) => Care::Once,
        };
        let made_up: Option<String> = (care == Care::Retry && idempotency_key.is_none())
            .then(|| alloc::format!("{:016x}", self.random.next()));
        let id = PublishId(self.next_id());
        let mut scratch = Vec::new();
        let publish = Publish {
            channel,
            payload: Payload::from(payload),
            id: (care != Care::Silent).then_some(id.get()),
            event,
            format,
            key,
            idempotency_key: idempotency_key.or(made_up.as_deref()),
            tags: (!tags.is_empty()).then(|| Tags::encode(tags, &mut scratch)),
            ..Publish::default()
        };
        let mut frame = Vec::new();
        publish.encode(&mut frame);
        frame.shrink_to_fit();
        self.outbox.push(id, care, frame)?;
        if self.is_live() {
            match self.ops.back_mut() {
                Some(Op::Publish(count)) => *count += 1,
                _ => self.ops.push_back(Op::Publish(1)),
            }
        }
        Ok(id)
    }

    /// Measures the way to the server and back, told by [`Event::Pong`]. `false` without a session, or while an earlier
    /// one is under way. A ping that is lost with its connection is not told.
    pub fn ping(&mut self) -> bool {
        let taken = matches!((&self.state, self.ping), (State::Open { .. }, Ping::None));
        if taken {
            self.ping = Ping::Due;
        }
        taken
    }

    /// Ends the client for good: [`Event::Closed`] is its last event. Publications that are not answered fail; to have
    /// them delivered, wait for their acks first.
    pub fn close(&mut self) {
        if let State::Closed = self.state {
            return;
        }
        self.hang_up();
        self.lose(End::Final);
        self.events.push(Event::Closed { code: None, reason: "the application closed the client" });
    }

    // ---- out (`poll_write` is in `write`)

    /// The next thing that only the host can do; ask after [`poll_write`](Self::poll_write). May have news after every
    /// input.
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<ClientEffect> {
        if core::mem::take(&mut self.hang_up) {
            return Some(ClientEffect::HangUp);
        }
        core::mem::take(&mut self.dial).then_some(ClientEffect::Dial)
    }

    /// The next thing to tell the application. May have news after every input.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        self.events.poll()
    }

    /// When [`advance`](Self::advance) is due at the latest; `None` while nothing can fall due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        match &self.state {
            State::Idle | State::Closed => None,
            State::Waiting { until } => Some(*until),
            State::Dialing { until } | State::Greeting { until, .. } => Some(until.at()),
            State::Open { liveness, .. } => {
                let requests = [self.subs.next(), self.outbox.next(), self.requests.next()];
                requests.into_iter().flatten().chain([liveness.next()]).min()
            }
        }
    }

    // ---- getters

    /// Whether so many events wait that the host should take them before it passes on the next message.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.events.is_full()
    }

    /// Where the client stands.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.state {
            State::Idle => Status::Idle,
            State::Dialing { .. } | State::Greeting { .. } => Status::Connecting,
            State::Open { .. } => Status::Connected,
            State::Waiting { until } => Status::Waiting { retry_at: until },
            State::Closed => Status::Closed,
        }
    }

    /// The channel of a subscription that is not over.
    #[must_use]
    pub fn channel(&self, sub: SubId) -> Option<&str> {
        self.subs.get(sub).map(|sub| &*sub.channel)
    }

    /// The last position of a subscription, for applications that keep it: where the next connection recovers from.
    #[must_use]
    pub fn position(&self, sub: SubId) -> Option<Point<'_>> {
        self.subs.get(sub)?.position.as_ref().map(|position| position.point())
    }

    /// Bytes of publications that wait to be sent or answered, of
    /// [`outbox_bytes`](ClientConfig::outbox_bytes) at most.
    #[must_use]
    pub fn outbox_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Counters since the client was made.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.stats
    }

    // ---- the life of a connection

    /// Whether there is a transport.
    fn is_live(&self) -> bool {
        matches!(self.state, State::Greeting { .. } | State::Open { .. })
    }

    fn dial(&mut self) {
        let until = Deadline::after_ms(self.now.mono, u64::from(self.config.connect_ms));
        self.state = State::Dialing { until };
        self.dial = true;
        self.stats.dials += 1;
        self.events.push(Event::Connecting);
    }

    /// Has the host end what there is of a transport.
    fn hang_up(&mut self) {
        // A dial that the host was not asked for yet needs no end.
        if !core::mem::take(&mut self.dial) && (self.is_live() || matches!(self.state, State::Dialing { .. }))
        {
            self.hang_up = true;
        }
    }

    /// Forgets the connection and decides what is next.
    fn lose(&mut self, end: End) {
        if let State::Open { since, .. } = self.state
            && self.now.mono.ms_since(since) >= u64::from(self.config.backoff.stable_ms)
        {
            self.attempt = 0;
        }
        self.ops = VecDeque::new();
        self.pong = None;
        self.ask = false;
        self.ping = Ping::None;
        self.subs.reset();
        let End::Lost { code, retry_ms } = end else {
            self.state = State::Closed;
            while let Some((id, sent)) = self.outbox.pop() {
                self.events.push(failed(id, Failure::Closed { sent }));
            }
            self.close_requests();
            return;
        };
        self.outbox.lose(|id| self.events.push(failed(id, Failure::Lost)));
        self.lose_requests();
        let delay = retry_ms.unwrap_or_else(|| self.config.backoff.delay_ms(self.attempt, &mut self.random));
        self.attempt = self.attempt.saturating_add(1);
        let until = self.now.mono.after_ms(delay);
        self.state = State::Waiting { until };
        self.events.push(Event::Waiting { retry_at: until, code });
    }

    /// Fails or repeats the requests whose answer is overdue.
    fn expire(&mut self, now: Time) {
        let again = Deadline::after_ms(now, u64::from(self.config.request_ms));
        let mut overdue = self.outbox.expire(now, again, |id| self.events.push(failed(id, Failure::Timeout)));
        overdue |= self.attend_requests(now);
        if let (true, State::Open { liveness, .. }) = (overdue, &mut self.state) {
            self.ask |= liveness.suspect(now);
        }
        self.attend_subscriptions(now);
    }

    /// Ids of subscriptions, publications and requests come from one counter, so that an answer names one of them.
    fn next_id(&mut self) -> NonZeroU64 {
        self.last_id += 1;
        NonZeroU64::new(self.last_id).expect("ids are counted from 1")
    }
}

fn failed(id: PublishId, failure: Failure<'static>) -> Event<'static> {
    Event::Failed { subject: Subject::Publication(id), failure }
}
