//! A client of Pulse over WebSocket, speaking `pulse.v1` (docs/PROTOCOL.md).
//!
//! [`Client`] keeps the session of one connection: it pairs requests with their answers, answers what the server asks,
//! and hands out what arrives. It starts no task and does not come back after a disconnection; while nobody calls it,
//! nothing is read, and the server sees a slow reader.
//!
//! ```no_run
//! use pulse_native::client::{Client, Event, Options};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut client = Client::connect("ws://127.0.0.1:8080/ws", Options::default()).await?;
//! client.subscribe("chat:lobby").await?;
//! while let Event::Publication(publication) = client.next().await? {
//!     println!("{} bytes in {}", publication.payload.len(), publication.channel);
//! }
//! # Ok(())
//! # }
//! ```

mod endpoint;
mod error;
mod event;
mod session;
mod socket;
mod upgrade;

use std::{ops::ControlFlow, time::Duration};

use pulse_core::wire::{Connect, Format, Frame, Payload, Publish, Subscribe};
use tokio::time::{Instant, timeout, timeout_at};

use endpoint::Endpoint;
use session::Session;
use socket::Socket;

pub use endpoint::UrlError;
pub use error::{ConnectError, Disconnected, RequestError, ServerError};
pub use event::{Event, Gap, Publication, Unsubscribed};

/// How a client connects and what it bears with.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the client calls itself, for the server's logs.
    pub name: String,
    /// Time until the session is open, name look-up and handshake included.
    pub connect_timeout: Duration,
    /// Time until a request is answered.
    pub request_timeout: Duration,
    /// How much longer the server may be silent than two of the intervals at which it looks after a silent client.
    pub silence_grace: Duration,
    /// Bytes of the largest message that is taken; a larger one ends the connection. As much may also be kept of
    /// publications that arrive while a request waits for its answer.
    pub max_message_size: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: concat!("pulse-native/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            silence_grace: Duration::from_secs(10),
            // The largest payload that a server can be configured for, and room for what comes with it.
            max_message_size: 65 << 20,
        }
    }
}

/// One open session.
///
/// Every future of it may be dropped at any time: no event is lost, though a request whose future was dropped may or
/// may not have been carried out.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    session: Session,
    connection_id: String,
    /// How long the server may be silent.
    patience: Option<Duration>,
    heard: Instant,
    last_id: u64,
    request_timeout: Duration,
    max_backlog: usize,
}

impl Client {
    /// Connects to a `ws://` URL and opens a session.
    ///
    /// # Errors
    ///
    /// When the URL is none that this client can use, or no session is open within [`Options::connect_timeout`].
    pub async fn connect(url: &str, options: Options) -> Result<Self, ConnectError> {
        let endpoint = Endpoint::parse(url)?;
        match timeout(options.connect_timeout, Self::open(&endpoint, &options)).await {
            Ok(done) => done,
            Err(_) => Err(ConnectError::TimedOut { url: url.to_owned(), after: options.connect_timeout }),
        }
    }

    /// The server's name for this connection.
    #[must_use]
    pub fn connection_id(&self) -> &str {
        &self.connection_id
    }

    /// Subscribes to a channel; once this returns, every publication in it reaches [`next`](Self::next).
    ///
    /// # Errors
    ///
    /// When the server refuses, does not answer in time, or is gone.
    pub async fn subscribe(&mut self, channel: &str) -> Result<(), RequestError> {
        self.request(|id| Frame::Subscribe(Subscribe { id, channel, ..Subscribe::default() })).await
    }

    /// Publishes into a channel; once this returns, the server has taken it.
    ///
    /// # Errors
    ///
    /// When the server refuses, does not answer in time, or is gone. In the last two cases nobody knows whether the
    /// message was delivered.
    pub async fn publish(
        &mut self,
        channel: &str,
        payload: &[u8],
        format: Format,
        event: Option<&str>,
    ) -> Result<(), RequestError> {
        let payload = Payload::from(payload);
        self.request(|id| {
            Frame::Publish(Publish { id: Some(id), channel, payload, format, event, ..Publish::default() })
        })
        .await
    }

    /// Waits for what happens next.
    ///
    /// # Errors
    ///
    /// When the connection has ended; from then on it is the same every time.
    pub async fn next(&mut self) -> Result<Event, Disconnected> {
        loop {
            if let Some(event) = self.session.pop() {
                return Ok(event);
            }
            if let Some(end) = self.session.end() {
                return Err(end.clone());
            }
            self.turn().await;
        }
    }

    /// What has already happened, without waiting.
    #[must_use]
    pub fn try_next(&mut self) -> Option<Event> {
        self.session.pop()
    }

    /// Takes leave: says so and waits for the server to have heard it, for a second at most.
    pub async fn close(mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        self.socket.close(1000);
        let _ = timeout(PATIENCE, async {
            while self.socket.exchange(|_| ControlFlow::Continue(())).await.is_ok() {}
        })
        .await;
    }

    async fn open(endpoint: &Endpoint, options: &Options) -> Result<Self, ConnectError> {
        let (stream, mut rest) = upgrade::connect(endpoint).await?;
        let mut client = Self {
            socket: Socket::new(stream, options.max_message_size),
            session: Session::default(),
            connection_id: String::new(),
            patience: None,
            heard: Instant::now(),
            last_id: 0,
            request_timeout: options.request_timeout,
            max_backlog: options.max_message_size,
        };
        let fed = client.socket.feed(&mut rest, |event| client.session.take(event));
        client.settle(fed);
        client.send(&Frame::Connect(Connect { version: 1, name: Some(&options.name), ..Connect::default() }));
        loop {
            if let Some(welcome) = client.session.welcome() {
                client.connection_id = welcome.connection_id;
                client.patience = patience(welcome.heartbeat_ms, options.silence_grace);
                return Ok(client);
            }
            if let Some(error) = client.session.refusal() {
                return Err(ConnectError::NotOpened { url: endpoint.url().to_owned(), error });
            }
            if let Some(end) = client.session.end() {
                return Err(ConnectError::Ended { url: endpoint.url().to_owned(), end: end.clone() });
            }
            client.turn().await;
        }
    }

    /// Sends a request and waits for its answer. What else arrives meanwhile is kept, within a bound.
    async fn request<'f>(&mut self, frame: impl FnOnce(u64) -> Frame<'f>) -> Result<(), RequestError> {
        let patience = self.request_timeout;
        let deadline = Instant::now() + patience;
        let timed_out = |_| RequestError::TimedOut(patience);
        // One that was given up before it was sent is not to pile up under this one.
        while self.socket.is_unsent() && self.session.end().is_none() {
            timeout_at(deadline, self.turn()).await.map_err(timed_out)?;
        }
        self.last_id += 1;
        self.session.expect(self.last_id);
        self.send(&frame(self.last_id));
        loop {
            if let Some(answer) = self.session.answer() {
                return answer.map_err(RequestError::Refused);
            }
            if let Some(end) = self.session.end() {
                return Err(RequestError::Disconnected(end.clone()));
            }
            if self.session.backlog() > self.max_backlog {
                return Err(RequestError::Backlog { limit: self.max_backlog });
            }
            timeout_at(deadline, self.turn()).await.map_err(timed_out)?;
        }
    }

    /// Moves bytes once. Whatever came of it is in the session afterwards.
    async fn turn(&mut self) {
        let quiet = self.patience.and_then(|patience| Some((patience, self.heard.checked_add(patience)?)));
        let exchange = self.socket.exchange(|event| self.session.take(event));
        let exchanged = match quiet {
            None => exchange.await,
            Some((patience, until)) => match timeout_at(until, exchange).await {
                Ok(exchanged) => exchanged,
                // Nobody may have listened for so long; then what was said meanwhile is still there.
                Err(_) if self.socket.has_input() => Ok(true),
                Err(_) => Err(Disconnected::Silent { ms: patience.as_millis() }),
            },
        };
        if matches!(exchanged, Ok(true)) {
            self.heard = Instant::now();
        }
        self.settle(exchanged.map(drop));
    }

    /// Sends what the session has to answer, and takes leave if it is over.
    fn settle(&mut self, moved: Result<(), Disconnected>) {
        if let Err(end) = moved {
            self.session.finish(end);
        }
        self.session.replies(|reply| self.socket.reply(reply));
        if let Some(end) = self.session.end() {
            self.socket.close(end.close_code());
        }
    }

    fn send(&mut self, frame: &Frame<'_>) {
        let mut message = Vec::new();
        frame.encode(&mut message);
        self.socket.send(&message);
    }
}

/// How long a server may be silent that asks for a sign of life every `heartbeat_ms`; `None` if it never asks.
fn patience(heartbeat_ms: u64, grace: Duration) -> Option<Duration> {
    (heartbeat_ms > 0).then(|| Duration::from_millis(heartbeat_ms).saturating_mul(2).saturating_add(grace))
}
