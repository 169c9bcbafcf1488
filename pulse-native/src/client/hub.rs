//! What the handles of one client and the task behind them share: the state machine of the core, what waits for the
//! application, and who waits for which answer.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pulse_core::{
    Seed,
    client::{Client, ClientConfig, Event as CoreEvent, Failure, PublishError, SubId, Subject},
    wire::{CloseCode, ErrorCode, Presence},
};
use tokio::sync::{Notify, oneshot, watch};

use super::{
    ConnectError, Disconnected, Event, Interruption, Member, Message, Options, Position, RequestError,
    ServerError, Status, Total, feed::Feed,
};
use crate::clock::Clock;

/// The hub behind its lock, and the two ways to be told of changes.
#[derive(Debug)]
pub(super) struct Shared {
    hub: Mutex<Hub>,
    /// The task has something to do.
    pub(super) work: Notify,
    /// Publications that wait have become fewer.
    pub(super) room: Notify,
}

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) core: Client,
    pub(super) clock: Clock,
    feeds: HashMap<SubId, Feed>,
    queue_bytes: usize,
    /// By the id of the request.
    waiters: HashMap<u64, oneshot::Sender<Result<Reply, RequestError>>>,
    status: watch::Sender<Status>,
    /// Whether to connect again after a loss.
    reconnect: bool,
    /// Whoever waits for the first session.
    opening: Option<oneshot::Sender<Result<(), ConnectError>>>,
    url: String,
    connect_timeout: Duration,
    /// How far the current connection has come.
    pub(super) phase: Phase,
    /// Why the transport ended, where the transport knows.
    pub(super) lost: Option<Disconnected>,
    /// What was wrong with the attempt to connect.
    pub(super) failed: Option<ConnectError>,
    /// An error that answers no request: the answer to `connect`, if anything.
    refusal: Option<ServerError>,
    /// Connections that had been given up for silence, and for what the server sent.
    given_up: (u64, u64),
    /// How it ended for good.
    end: Option<Interruption>,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Dialing,
    /// The transport is open, the session is not.
    Greeting,
    Open,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A publication was taken, or a wish about presence.
    Done(Option<Position>),
    /// About the members of a channel.
    Members(Page),
}

/// A page of a channel's members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) members: Vec<Member>,
    pub(super) total: Total,
    /// More follow behind this one.
    pub(super) next: Option<String>,
}

impl Shared {
    pub(super) fn new(url: &str, options: &Options, seed: Seed) -> Self {
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let config = ClientConfig {
            token: options.token.clone(),
            name: Some(options.name.as_str().into()),
            connect_ms: ms(options.connect_timeout),
            request_ms: ms(options.request_timeout),
            grace_ms: ms(options.silence_grace),
            backoff: options.backoff,
            outbox_bytes: bytes(options.outbox_bytes),
            ..ClientConfig::default()
        };
        let hub = Hub {
            core: Client::new(config, seed),
            clock: Clock::new(),
            feeds: HashMap::new(),
            queue_bytes: options.queue_bytes,
            waiters: HashMap::new(),
            status: watch::Sender::new(Status::Connecting),
            reconnect: options.reconnect,
            opening: None,
            url: url.to_owned(),
            connect_timeout: options.connect_timeout,
            phase: Phase::Dialing,
            lost: None,
            failed: None,
            refusal: None,
            given_up: (0, 0),
            end: None,
        };
        Self { hub: Mutex::new(hub), work: Notify::new(), room: Notify::new() }
    }

    /// Nothing that is done under the lock waits or panics half-way: a poisoned one is as good as any.
    pub(super) fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out a message to be sent; `Ok(None)` where there is no room for it yet.
    pub(super) fn try_publish(
        &self,
        channel: &str,
        message: &Message,
    ) -> Result<Option<Waiting>, RequestError> {
        let mut hub = self.lock();
        let taken = message.with_options(|options| hub.core.publish(channel, message.payload(), options));
        let id = match taken {
            Ok(id) => id,
            Err(PublishError::QueueFull { .. }) if hub.core.outbox_bytes() > 0 => return Ok(None),
            Err(PublishError::QueueFull { limit_bytes }) => {
                return Err(RequestError::TooLarge { limit_bytes });
            }
            Err(PublishError::InvalidChannel) => return Err(RequestError::InvalidChannel),
            Err(_) => return Err(RequestError::Closed { sent: false }),
        };
        let waiting = hub.wait_for(id.get());
        drop(hub);
        self.work.notify_one();
        Ok(Some(waiting))
    }

    /// Makes a request about presence.
    pub(super) fn request<E: Into<RequestError>>(
        &self,
        make: impl FnOnce(&mut Client) -> Result<pulse_core::client::RequestId, E>,
    ) -> Result<Waiting, RequestError> {
        let mut hub = self.lock();
        let id = make(&mut hub.core).map_err(Into::into)?;
        let waiting = hub.wait_for(id.get());
        drop(hub);
        self.work.notify_one();
        Ok(waiting)
    }
}

/// Where the answer to a request will be.
pub(super) type Waiting = oneshot::Receiver<Result<Reply, RequestError>>;

impl Hub {
    /// Begins to connect; the receiver hears how the first attempt went.
    pub(super) fn start(&mut self) -> oneshot::Receiver<Result<(), ConnectError>> {
        let (opening, opened) = oneshot::channel();
        self.opening = Some(opening);
        self.core.advance(self.clock.now());
        self.core.connect();
        opened
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// The task has ended: there is nothing left that could change.
    pub(super) fn finished(&self) {
        self.status.send_replace(Status::Closed { why: self.end.clone() });
    }

    /// Adds what waits for a new subscription; the receiver hears the first answer.
    pub(super) fn feed(&mut self, sub: SubId) -> oneshot::Receiver<Result<(), RequestError>> {
        let (opening, opened) = oneshot::channel();
        self.feeds.insert(sub, Feed::new(self.queue_bytes, opening));
        opened
    }

    pub(super) fn feed_of(&mut self, sub: SubId) -> Option<&mut Feed> {
        self.feeds.get_mut(&sub)
    }

    /// The application has dropped its subscription.
    pub(super) fn forget(&mut self, sub: SubId) {
        self.feeds.remove(&sub);
        self.core.unsubscribe(sub);
    }

    /// Whether nothing should be read: the application has too much to take, and waits for no answer that has to be read.
    pub(super) fn is_paused(&self) -> bool {
        self.waiters.is_empty()
            && self.feeds.values().any(Feed::is_full)
            && !self.feeds.values().any(Feed::is_opening)
    }

    fn wait_for(&mut self, id: u64) -> Waiting {
        let (answer, waiting) = oneshot::channel();
        self.waiters.insert(id, answer);
        waiting
    }

    /// Tells everybody what has happened; true if that was anything.
    pub(super) fn dispatch(&mut self, room: &Notify) -> bool {
        let mut told = false;
        while let Some(event) = self.core.poll_event() {
            told = true;
            let Self { feeds, waiters, status, clock, .. } = self;
            match event {
                CoreEvent::Connecting => {
                    self.phase = Phase::Dialing;
                    (self.lost, self.failed, self.refusal) = (None, None, None);
                    status.send_replace(Status::Connecting);
                }
                CoreEvent::Connected(connected) => {
                    self.phase = Phase::Open;
                    let connection_id = connected.connection_id.to_owned();
                    let user = connected.user.map(str::to_owned);
                    status.send_replace(Status::Connected { connection_id, user });
                    if let Some(opening) = self.opening.take() {
                        // Whoever gave up waiting has dropped the client as well.
                        let _ = opening.send(Ok(()));
                    }
                }
                CoreEvent::Waiting { retry_at, code } => {
                    let wait = Duration::from_millis(retry_at.ms_since(clock.now().mono));
                    let why = self.why(code.map(|code| (code, code.text().to_owned())));
                    self.interrupted(wait, why);
                }
                CoreEvent::Closed { code, reason } => {
                    let given = code.map(|code| (code, reason.to_owned()));
                    self.closed(given);
                }
                CoreEvent::Subscribed { sub, recovered } => {
                    if let Some(feed) = feeds.get_mut(&sub)
                        && !feed.answer(Ok(()))
                    {
                        feed.push(Event::Resumed { recovered });
                    }
                }
                CoreEvent::Unsubscribed { sub, code, reason } => {
                    if let Some(feed) = feeds.get_mut(&sub) {
                        let code = code.map(ErrorCode);
                        feed.push(Event::Unsubscribed { code, reason: reason.to_owned() });
                        feed.end();
                    }
                }
                CoreEvent::Publication { sub, publication } => {
                    if let Some(feed) = feeds.get_mut(&sub) {
                        feed.push(Event::Publication(publication.into()));
                    }
                }
                CoreEvent::Gap { sub, reason, from, to, count } => {
                    if let Some(feed) = feeds.get_mut(&sub) {
                        let reason = reason.to_owned();
                        feed.push(Event::Gap(super::Gap { reason, from, to, count }));
                    }
                }
                CoreEvent::Presence { sub, presence } => {
                    if let Some(feed) = feeds.get_mut(&sub) {
                        feed.push(Event::Presence(presence.into()));
                    }
                }
                CoreEvent::Acked { id, position } => {
                    answer(waiters, id.get(), Ok(Reply::Done(position.map(Position::from))));
                    room.notify_waiters();
                }
                CoreEvent::Answered { id, presence } => {
                    let reply =
                        presence.map_or(Reply::Done(None), |presence| Reply::Members(Page::from(&presence)));
                    answer(waiters, id.get(), Ok(reply));
                }
                CoreEvent::Failed { subject: Subject::Publication(id), failure } => {
                    answer(waiters, id.get(), Err(failure.into()));
                    room.notify_waiters();
                }
                CoreEvent::Failed { subject: Subject::Request(id), failure } => {
                    answer(waiters, id.get(), Err(failure.into()));
                }
                CoreEvent::Failed { subject: Subject::Subscription(sub), failure } => {
                    if let Some(feed) = feeds.get_mut(&sub) {
                        refused(feed, failure);
                    }
                }
                CoreEvent::Failed { subject: Subject::None, failure } => {
                    if let RequestError::Refused(error) = failure.into() {
                        self.refusal = Some(error);
                    }
                }
                // Nothing that this client asks for.
                _ => {}
            }
        }
        told
    }

    /// The connection is lost; the core would try again.
    fn interrupted(&mut self, retry_in: Duration, why: Interruption) {
        if let Some(opening) = self.opening.take() {
            let _ = opening.send(Err(why.clone().into_connect(&self.url)));
            self.reconnect = false;
        }
        if self.reconnect {
            self.status.send_replace(Status::Waiting { retry_in, why });
        } else {
            self.end = Some(why);
            self.core.close();
        }
    }

    /// The core does nothing more.
    fn closed(&mut self, given: Option<(CloseCode, String)>) {
        if given.is_some() {
            let why = self.why(given);
            if let Some(opening) = self.opening.take() {
                let _ = opening.send(Err(why.clone().into_connect(&self.url)));
            }
            self.end = Some(why);
        }
        self.feeds.values_mut().for_each(|feed| {
            feed.answer(Err(RequestError::Closed { sent: false }));
            feed.end();
        });
    }

    /// Why the connection that is lost was.
    fn why(&mut self, given: Option<(CloseCode, String)>) -> Interruption {
        let stats = self.core.stats();
        let before = mem::replace(&mut self.given_up, (stats.silent, stats.malformed));
        let lost = self.lost.take();
        let end = match (given, lost) {
            // The reason that came with the code says more than the table.
            (Some(_), Some(lost @ Disconnected::ByServer { .. })) => lost,
            (Some((code, reason)), _) => Disconnected::ByServer { code, reason },
            (None, Some(lost)) => lost,
            (None, None) if stats.malformed > before.1 => {
                Disconnected::Protocol("a message that is not made of frames")
            }
            (None, None) => Disconnected::Silent,
        };
        let url = self.url.clone();
        match self.phase {
            Phase::Open => Interruption::Disconnected(end),
            Phase::Dialing => Interruption::NotConnected(
                self.failed.take().unwrap_or(ConnectError::TimedOut { url, after: self.connect_timeout }),
            ),
            Phase::Greeting => Interruption::NotConnected(match (self.refusal.take(), end) {
                (Some(error), _) => ConnectError::NotOpened { url, error },
                (None, Disconnected::Silent) => ConnectError::TimedOut { url, after: self.connect_timeout },
                (None, end) => ConnectError::Ended { url, end },
            }),
        }
    }
}

impl Interruption {
    fn into_connect(self, url: &str) -> ConnectError {
        match self {
            Self::NotConnected(error) => error,
            Self::Disconnected(end) => ConnectError::Ended { url: url.to_owned(), end },
        }
    }
}

/// The server does not take a subscription.
fn refused(feed: &mut Feed, failure: Failure<'_>) {
    let temporary = failure.is_temporary();
    let error = RequestError::from(failure);
    if feed.is_opening() {
        feed.answer(Err(error));
    } else if temporary {
        feed.push(Event::Retrying(error));
    } else {
        let (code, reason) = match error {
            RequestError::Refused(error) => (Some(error.code), error.message),
            error => (None, error.to_string()),
        };
        feed.push(Event::Unsubscribed { code, reason });
        feed.end();
    }
}

fn answer(
    waiters: &mut HashMap<u64, oneshot::Sender<Result<Reply, RequestError>>>,
    id: u64,
    answer: Result<Reply, RequestError>,
) {
    if let Some(waiter) = waiters.remove(&id) {
        // Nobody waits any more: then nobody wants to know.
        let _ = waiter.send(answer);
    }
}

impl From<&Presence<'_>> for Page {
    fn from(presence: &Presence<'_>) -> Self {
        let members = presence.members.iter().flat_map(|members| members.iter()).map(Member::from).collect();
        Self { members, total: Total::from(presence), next: presence.next.map(str::to_owned) }
    }
}

/// A client that nobody holds any more ends.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().core.close();
        self.0.work.notify_one();
    }
}
