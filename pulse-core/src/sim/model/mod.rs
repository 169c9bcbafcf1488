//! The judge: from what clients sent and received alone, whether the routers kept their promises.
//!
//! It knows nothing of routers, only what a client may rely on. `reader` reads the clients' logs as each `story`, `order` judges the order
//! and completeness of publications, `positions` their numbers where history is kept, `newest` that nobody
//! who asks later is told less, `restarts` what outlives the process, `requests` the answers, `presence` who was shown as present.

mod newest;
mod order;
mod positions;
mod presence;
mod reader;
mod requests;
mod restarts;
mod story;

use alloc::string::String;

use super::DiskCounts;
use super::client::{Client, ClientNo, What};
use crate::wire::Frame;
use story::Story;

pub(crate) use positions::{HISTORY_SIZE, HISTORY_TTL_MS, WINDOW_MS, is_kept, is_safe};
pub(crate) use requests::{MAX_DATA, MAX_PAYLOAD};
pub(crate) use story::Mark;

/// What happens in a run, and so what clients have to put up with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Clients stop reading for a while, and their queues are short.
    pub slow: bool,
    /// Links of clients break.
    pub cuts: bool,
    /// Routers lose each other.
    pub partitions: bool,
    /// Nothing passes between routers for a while, while much is published.
    pub overload: bool,
    /// The server's clock leaps.
    pub leaps: bool,
    /// The host decides who may connect.
    pub asks: bool,
    /// The limits of subscriptions and channels are low.
    pub small: bool,
    /// The process of all routers ends, and the next one begins.
    pub restarts: bool,
    /// The disk takes nothing for a while.
    pub full: bool,
}

impl Weather {
    /// Whether publications may be lost at all, which subscribers are told then.
    #[must_use]
    pub fn loses(&self) -> bool {
        self.slow || self.partitions || self.overload
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which one.
    pub property: &'static str,
    /// In which channel, where it is one of channels.
    pub channel: String,
    /// What happened.
    pub text: String,
}

impl Broken {
    fn new(property: &'static str, channel: &str, text: String) -> Self {
        Self { property, channel: channel.into(), text }
    }
}

/// What a run was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Publications that clients sent.
    pub published: u64,
    /// Publications that clients received.
    pub received: u64,
    /// Publications that subscribers were told they missed.
    pub missed: u64,
    /// How many of these were lost between routers that had too much to carry.
    pub overloaded: u64,
    /// Gaps whose number nobody knows.
    pub unknown_gaps: u64,
    /// Subscriptions that got what they missed, which was something.
    pub recovered: u64,
    /// Subscriptions that were told that they do not.
    pub unrecovered: u64,
    /// Gaps of what history dropped before it was sent.
    pub trimmed: u64,
    /// Publications that clients of a later process received.
    pub found: u64,
    /// Requests that were refused.
    pub errors: u64,
    /// How often the process ended.
    pub restarts: u64,
    /// What happened to batches of records.
    pub disk: DiskCounts,
}

/// Judges a run that has settled: everything is healed, everybody reads, nothing is under way, and
/// members that are gone have had their grace of so many milliseconds. The visitor has asked for all that is on disk.
///
/// # Errors
/// The first promise that was found broken.
pub fn judge(
    clients: &[Client],
    weather: &Weather,
    grace_ms: u32,
    visitor: ClientNo,
) -> Result<Tally, Broken> {
    let stories: Result<alloc::vec::Vec<Story>, Broken> =
        clients.iter().enumerate().map(|(no, client)| Story::read(no, client)).collect();
    let mut stories = stories?;
    requests::find_repeats(&mut stories);
    for story in &stories {
        requests::judge(story, weather)?;
    }
    presence::judge(&stories, weather, grace_ms)?;
    let mut tally = order::judge(&stories, weather)?;
    let book = positions::judge(&stories, weather, &mut tally)?;
    newest::judge(&stories)?;
    restarts::judge(&stories, weather, &book, &stories[visitor.0])?;
    Ok(tally)
}

/// How many subscriptions clients that live know they have.
pub(crate) fn subscriptions(clients: &[Client]) -> Result<u64, Broken> {
    let mut count = 0;
    for (no, client) in clients.iter().enumerate() {
        let story = Story::read(no, client)?;
        if story.lives() {
            count += story.stays.iter().filter(|stay| stay.left.is_none()).count() as u64;
        }
    }
    Ok(count)
}

/// Whether one of the newest things that a client got answers this question.
pub(crate) fn is_answered(client: &Client, id: u64) -> bool {
    client.log().iter().rev().take(16).any(|entry| match &entry.what {
        What::Got(frame) => match frame.get() {
            Frame::Presence(answer) => answer.id == id,
            Frame::History(answer) => answer.id == id,
            Frame::Error(answer) => answer.id == id,
            _ => false,
        },
        _ => false,
    })
}
