//! A client of Pulse over WebSocket, in plain and over TLS, speaking `pulse.v1` (docs/PROTOCOL.md).
//!
//! [`Client`] connects and stays connected: a task of its own reads and writes, comes back with backoff after a loss, and
//! subscribes again to what was subscribed to. What it decides is the state machine [`pulse_core::client`]; nothing here
//! knows the protocol. It needs a tokio runtime with I/O and time.
//!
//! ```no_run
//! use pulse_native::client::{Client, Event, Message, Options};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("ws://127.0.0.1:8080/ws", Options::default()).await?;
//! let mut lobby = client.subscribe("chat:lobby").await?;
//! client.publish("chat:lobby", Message::json("hello")?).await?;
//! while let Some(event) = lobby.next().await {
//!     if let Event::Publication(publication) = event {
//!         println!("{}", publication.decode::<String>()?);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod driver;
mod endpoint;
mod error;
mod event;
mod feed;
mod hub;
mod message;
mod socket;
mod stream;
mod subscription;
mod upgrade;

use std::{
    future::Future,
    hash::{BuildHasher as _, RandomState},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pulse_core::Seed;
use tokio::sync::watch;

use driver::Driver;
use endpoint::Endpoint;
use hub::{Handle, Page, Reply, Shared, Waiting};
use stream::Trust;

pub use endpoint::UrlError;
pub use error::{ConnectError, Disconnected, RequestError, ServerError};
pub use event::{Change, DecodeError, Event, Gap, Member, Position, PresenceChange, Publication, Total};
pub use message::{EncodeError, Message};
pub use pulse_core::client::{Backoff, SubscribeOptions, Token};
pub use pulse_core::wire::Format;
pub use stream::{Roots, RootsError};
pub use subscription::{JoinError, Subscription};

/// How a client connects and what it bears with.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the client calls itself, for the server's logs.
    pub name: String,
    /// Proof of identity, for servers that ask for it.
    pub token: Option<Token>,
    /// Whose certificates are believed, for `wss://`.
    pub roots: Roots,
    /// Whether to come back after a loss; default true. Otherwise the client is closed then. The first attempt is never
    /// repeated: [`Client::connect`] says how it went.
    pub reconnect: bool,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// Time until the transport is open, and again until the session is; default 10 s.
    pub connect_timeout: Duration,
    /// Time until a request is answered; default 10 s.
    pub request_timeout: Duration,
    /// How much longer than its heartbeat the server may be silent; default 10 s.
    pub silence_grace: Duration,
    /// Bytes of the largest message that is taken; a larger one ends the connection. Default 65 MiB: the largest payload
    /// that a server can be configured for, and what comes with it.
    pub max_message_size: usize,
    /// Bytes of events that wait in one subscription before the client reads no more; default 4 MiB.
    pub queue_bytes: usize,
    /// Bytes of messages that wait to be sent or answered, 64 for each counted in; default 1 MiB. Beyond it
    /// [`Client::publish`] waits.
    pub outbox_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: concat!("pulse-native/", env!("CARGO_PKG_VERSION")).to_owned(),
            token: None,
            roots: Roots::default(),
            reconnect: true,
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            silence_grace: Duration::from_secs(10),
            max_message_size: 65 << 20,
            queue_bytes: 4 << 20,
            outbox_bytes: 1 << 20,
        }
    }
}

/// Where a client stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Status {
    /// An attempt to connect is under way.
    Connecting,
    /// The session is open.
    Connected {
        /// The server's name for this connection.
        connection_id: String,
        /// Who the server takes the client for.
        user: Option<String>,
    },
    /// Not connected, until the next attempt.
    Waiting {
        /// How long that is from now.
        retry_in: Duration,
        /// Why.
        why: Interruption,
    },
    /// Over, by the application's wish or for good.
    Closed {
        /// Why, unless the application closed it.
        why: Option<Interruption>,
    },
}

/// Why there is no session.
#[derive(Clone, Debug)]
pub enum Interruption {
    /// The one that there was has ended.
    Disconnected(Disconnected),
    /// None was opened.
    NotConnected(ConnectError),
}

impl std::fmt::Display for Interruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disconnected(end) => end.fmt(f),
            Self::NotConnected(error) => error.fmt(f),
        }
    }
}

/// A client, connected until it is closed. Clones are handles of the same one; when the last of them and of its
/// subscriptions is dropped, it takes leave by itself.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
    status: watch::Receiver<Status>,
}

impl Client {
    /// Connects to a `ws://` or `wss://` URL and opens a session.
    ///
    /// Cancel safe: what has begun ends.
    ///
    /// # Errors
    /// When the URL is none that this client can use, or the first attempt opens no session.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(url: &str, options: Options) -> Result<Self, ConnectError> {
        let endpoint = Endpoint::parse(url).map_err(ConnectError::Url)?;
        let secure = endpoint.secure_host().is_some();
        let trust = secure.then(|| Trust::new(&options.roots)).transpose().map_err(ConnectError::Roots)?;
        let seed = Seed(RandomState::new().hash_one(url));
        let shared = Arc::new(Shared::new(url, &options, seed));
        let (opened, status) = {
            let mut hub = shared.lock();
            (hub.start(), hub.status())
        };
        let client = Self { handle: Arc::new(Handle(Arc::clone(&shared))), status };
        tokio::spawn(Driver::new(shared, endpoint, trust, options.max_message_size).run());
        match opened.await {
            Ok(done) => done.map(|()| client),
            // Only a runtime that shuts down drops the task.
            Err(_) => Err(ConnectError::Ended {
                url: url.to_owned(),
                end: Disconnected::Lost(std::io::ErrorKind::Interrupted),
            }),
        }
    }

    /// Where the client stands, and how that changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The token that the next connection carries; an open session keeps its own.
    pub fn set_token(&self, token: Option<&str>) {
        self.handle.0.lock().core.set_token(token);
    }

    /// Subscribes to a channel; once this returns, everything that is published in it reaches the subscription. Without a
    /// connection it waits for the next one.
    ///
    /// Cancel safe: a subscription that nobody waits for any more ends.
    ///
    /// # Errors
    /// [`InvalidChannel`](RequestError::InvalidChannel), [`AlreadySubscribed`](RequestError::AlreadySubscribed),
    /// [`TooMany`](RequestError::TooMany), or when the server refuses, does not answer in time or the client is closed.
    pub async fn subscribe(&self, channel: &str) -> Result<Subscription, RequestError> {
        self.subscribe_with(channel, SubscribeOptions::default()).await
    }

    /// As [`subscribe`](Self::subscribe), with a token, or from a position on.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn subscribe_with(
        &self,
        channel: &str,
        options: SubscribeOptions<'_>,
    ) -> Result<Subscription, RequestError> {
        let (subscription, opened) = {
            let mut hub = self.handle.0.lock();
            let id = hub.core.subscribe(channel, options)?;
            (Subscription::new(Arc::clone(&self.handle), id, channel), hub.feed(id))
        };
        self.handle.0.work.notify_one();
        opened.await.unwrap_or(Err(RequestError::Closed { sent: true }))?;
        Ok(subscription)
    }

    /// Publishes a message; once this returns, the server has taken it. Needs no subscription. Returns where the message
    /// stands, in channels that keep positions. Without a connection, or while too much waits, it waits.
    ///
    /// Cancel safe until it is handed to the connection: a message whose future is dropped after that is delivered or not.
    ///
    /// # Errors
    /// [`InvalidChannel`](RequestError::InvalidChannel), [`TooLarge`](RequestError::TooLarge), or when the server refuses,
    /// does not answer in time, is lost or the client is closed.
    pub async fn publish(&self, channel: &str, message: Message) -> Result<Option<Position>, RequestError> {
        self.enqueue(channel, message).await?.await
    }

    /// Hands a message out to be sent, and returns where its answer will be: for many messages under way at once. They are
    /// sent in the order in which this returns.
    ///
    /// Cancel safe: a message whose future is dropped before this returns was not handed out.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), as far as it is known before the message is sent.
    pub async fn enqueue(&self, channel: &str, message: Message) -> Result<Receipt, RequestError> {
        let shared = &self.handle.0;
        loop {
            let mut room = pin!(shared.room.notified());
            // Before the attempt, so that room that is made meanwhile is not missed.
            room.as_mut().enable();
            if let Some(waiting) = shared.try_publish(channel, &message)? {
                return Ok(Receipt(waiting));
            }
            room.await;
        }
    }

    /// All members of a channel, by connection id. Needs no subscription.
    ///
    /// Cancel safe: nothing is changed by asking.
    ///
    /// # Errors
    /// [`InvalidChannel`](RequestError::InvalidChannel), [`TooMany`](RequestError::TooMany), or when the server refuses,
    /// does not answer in time or the client is closed.
    pub async fn members(&self, channel: &str) -> Result<Vec<Member>, RequestError> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = self.page(|core| core.members(channel, after.as_deref(), None)).await?;
            all.extend(page.members);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// How many members a channel has. Needs no subscription.
    ///
    /// Cancel safe: nothing is changed by asking.
    ///
    /// # Errors
    /// As [`members`](Self::members).
    pub async fn count_members(&self, channel: &str) -> Result<Total, RequestError> {
        Ok(self.page(|core| core.count_members(channel)).await?.total)
    }

    /// Waits until the client is closed, and says why; `None` if the application closed it.
    ///
    /// Cancel safe: it only waits.
    pub async fn closed(&self) -> Option<Interruption> {
        let mut status = self.status.clone();
        match status.wait_for(|status| matches!(status, Status::Closed { .. })).await.as_deref() {
            Ok(Status::Closed { why }) => why.clone(),
            // A runtime that shuts down has dropped the task.
            _ => None,
        }
    }

    /// Takes leave: says so to the server and waits for it to have heard it, for a second at most. What is not answered yet
    /// fails; subscriptions hand out what they have.
    ///
    /// Not cancel safe: once polled the client closes, whether or not somebody waits for it.
    pub async fn close(&self) {
        self.handle.0.lock().core.close();
        self.handle.0.work.notify_one();
        self.closed().await;
    }

    async fn page(
        &self,
        ask: impl FnOnce(
            &mut pulse_core::client::Client,
        ) -> Result<pulse_core::client::RequestId, pulse_core::client::PresenceError>,
    ) -> Result<Page, RequestError> {
        match reply(self.handle.0.request(ask)?).await? {
            Reply::Members(page) => Ok(page),
            // What is no answer to a question never counts as one.
            Reply::Done(_) => Ok(Page::default()),
        }
    }
}

/// Where the answer to a message that was handed out will be.
///
/// Dropping it does not take the message back.
#[derive(Debug)]
#[must_use = "whether the server has taken the message is known only here"]
pub struct Receipt(Waiting);

impl Future for Receipt {
    type Output = Result<Option<Position>, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(Ok(Reply::Done(position))) => Ok(position),
            Ok(Ok(Reply::Members(_))) => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(RequestError::Closed { sent: true }),
        })
    }
}

/// Waits for the answer to a request.
async fn reply(waiting: Waiting) -> Result<Reply, RequestError> {
    // Only a runtime that shuts down drops the task, and the answer with it.
    waiting.await.unwrap_or(Err(RequestError::Closed { sent: true }))
}
