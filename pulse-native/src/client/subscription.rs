//! One subscription as its application holds it.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use pulse_core::{client::SubId, wire::Value};
use serde::Serialize;

use super::{EncodeError, Event, RequestError, hub::Handle};

/// A subscription to one channel; it ends when it is dropped.
///
/// It outlives connections: the client subscribes again on each, and tells it as [`Event::Resumed`]. What nobody takes waits
/// here, up to [`Options::queue_bytes`](super::Options::queue_bytes); then the client reads no more, and the server's own
/// policy for slow consumers decides. While a request waits for its answer the client has to read on: then the oldest
/// give way, and an [`Event::Gap`] says how many.
#[derive(Debug)]
pub struct Subscription {
    handle: Arc<Handle>,
    id: SubId,
    channel: String,
}

/// Why a client did not become a member.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// What is to be shown cannot be written as MessagePack.
    Encode(EncodeError),
    /// The request failed.
    Request(RequestError),
}

impl Subscription {
    pub(super) fn new(handle: Arc<Handle>, id: SubId, channel: &str) -> Self {
        Self { handle, id, channel: channel.to_owned() }
    }

    /// The channel's name.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Waits for what happens next; `None` once the subscription or the client is over and everything was handed out.
    ///
    /// Cancel safe: an event is handed out or stays.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// What has happened already, without waiting.
    pub fn try_next(&mut self) -> Option<Event> {
        let event = self.handle.0.lock().feed_of(self.id)?.try_pop();
        if event.is_some() {
            self.handle.0.work.notify_one();
        }
        event
    }

    /// Shows this client among the channel's members, with `data`, on this connection and on all that follow while the
    /// subscription lasts. Joining again changes the data.
    ///
    /// Not cancel safe: once polled it is asked for, whether or not somebody waits for the answer.
    ///
    /// # Errors
    /// When the data cannot be encoded, or the server refuses or does not answer. After a refusal for now, and after no
    /// answer, the client goes on asking.
    pub async fn join<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), JoinError> {
        let data =
            rmp_serde::to_vec_named(data).map_err(|error| JoinError::Encode(EncodeError::new(error)))?;
        let waiting = self.handle.0.request(|core| core.join(self.id, Value::new(&data)));
        let waiting = waiting.map_err(JoinError::Request)?;
        super::reply(waiting).await.map(drop).map_err(JoinError::Request)
    }

    /// Takes this client out of the channel's members.
    ///
    /// Not cancel safe: once polled it is asked for, whether or not somebody waits for the answer.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn leave(&self) -> Result<(), RequestError> {
        let waiting = self.handle.0.request(|core| core.leave(self.id))?;
        super::reply(waiting).await.map(drop)
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Event>> {
        let mut hub = self.handle.0.lock();
        let Some(feed) = hub.feed_of(self.id) else { return Poll::Ready(None) };
        let was_full = feed.is_full();
        let Some(event) = feed.pop(cx.waker()) else { return Poll::Pending };
        let reads_again = was_full && !feed.is_full();
        drop(hub);
        if reads_again {
            self.handle.0.work.notify_one();
        }
        Poll::Ready(event)
    }
}

/// The events, as [`next`](Subscription::next) hands them out.
impl Stream for Subscription {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.handle.0.lock().forget(self.id);
        self.handle.0.work.notify_one();
    }
}

impl std::fmt::Display for JoinError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for JoinError {}
