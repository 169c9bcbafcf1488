//! What a client asks about a channel's history.

use alloc::boxed::Box;

use crate::grant::is_channel_name;
use crate::wire::{History, Point};

use super::subscription::Position;
use super::{AskError, Client, RequestId};

/// Which part of a channel's history is asked for; the default is its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryOptions<'a> {
    /// Only what was published behind this position. Where some of that is not kept any more, or there is no such position,
    /// the answer is error 1016.
    pub since: Option<Point<'a>>,
    /// At most so many publications, from 0 to 1,000; 100 if absent. The server gives fewer where they are large.
    pub limit: Option<u64>,
    /// The newest first.
    pub reverse: bool,
}

/// What is asked, kept until it is answered.
#[derive(Debug)]
pub(super) struct Query {
    channel: Box<str>,
    since: Option<Position>,
    limit: Option<u64>,
    reverse: bool,
}

impl Query {
    pub(super) fn frame(&self, id: RequestId) -> History<'_> {
        History {
            id: id.get(),
            channel: Some(&self.channel),
            since: self.since.as_ref().map(Position::point),
            limit: self.limit,
            reverse: self.reverse.then_some(true),
            ..History::default()
        }
    }
}

impl Client {
    /// Asks for a page of a channel's history. Told by [`Event::History`](super::Event::History) or
    /// [`Event::Failed`](super::Event::Failed), exactly once; a connection that is lost meanwhile makes it ask again. Needs
    /// no subscription.
    ///
    /// # Errors
    /// See [`AskError`]; then nothing has changed.
    pub fn history(&mut self, channel: &str, options: HistoryOptions<'_>) -> Result<RequestId, AskError> {
        let HistoryOptions { since, limit, reverse } = options;
        if !is_channel_name(channel) {
            return Err(AskError::InvalidChannel);
        }
        self.query(Query { channel: channel.into(), since: since.map(Position::from), limit, reverse })
    }
}
