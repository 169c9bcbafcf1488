//! What a host does itself, asked by nobody's connection: publishing, subscriptions and ends of connections, and questions about
//! channels. The rules of namespaces are for clients; a host that asks is allowed.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::grant::is_channel_name;
use crate::history::EpochText;
use crate::peer::{HistoryQuery, PresenceRequest};
use crate::presence::ClientName;
use crate::wire::{CloseCode, ErrorCode, Point, PresenceAction, Publish, Unsubscribed};
use crate::{Dialect, PeerId, Ticket};

use super::guards::check_guards;
use super::presence::Settled;
use super::publications::{Source, for_subscribers};
use super::session::State;
use super::subscriptions::PendingAck;
use super::{Router, Slot};

/// Channels that one answer to [`Command::Channels`] lists at most.
const CHANNELS_PAGE: usize = 1_000;

/// Whose connections a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The connection whose client was told this name, 16 hexadecimal digits; on one router at most.
    Client(&'a str),
    /// Every connection of this user, whom [`Answer::AllowAs`](crate::Answer::AllowAs) has named; on any router.
    User(&'a str),
}

/// Whether a text may be the name that a client was told: 16 hexadecimal digits, in lower case.
///
/// ```
/// assert!(pulse_core::is_client_name("0123456789abcdef"));
/// assert!(!pulse_core::is_client_name("ada"));
/// ```
#[must_use]
pub fn is_client_name(name: &str) -> bool {
    ClientName::parse(name).is_some()
}

/// What a host may do by itself, by [`Router::command`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command<'a> {
    /// Publish. Belongs to the channel's home. `id` and what only servers set is passed over.
    Publish(Publish<'a>),
    /// Make the connections subscribers of a channel. Their clients are told by what they get from then on; one that is
    /// subscribed already stays so. Belongs to every router.
    Subscribe {
        /// Whose connections.
        target: Target<'a>,
        /// Channel name.
        channel: &'a str,
    },
    /// End the connections' subscription to a channel; their clients are told by `unsubscribed`. Belongs to every router.
    Unsubscribe {
        /// Whose connections.
        target: Target<'a>,
        /// Channel name.
        channel: &'a str,
    },
    /// End the connections. Belongs to every router.
    Disconnect {
        /// Whose connections.
        target: Target<'a>,
        /// Why, by number.
        code: CloseCode,
        /// Why, in words; by default those of the code's table.
        reason: Option<&'a str>,
    },
    /// Ask for a page of the members of a channel. Belongs to the channel's home.
    Presence {
        /// Channel name.
        channel: &'a str,
        /// The client behind which the page begins.
        after: Option<&'a str>,
        /// Members at most, 1 to 1000.
        limit: u64,
    },
    /// Ask for the numbers of members and users of a channel. Belongs to the channel's home.
    PresenceCount {
        /// Channel name.
        channel: &'a str,
    },
    /// Ask for what was published in a channel that keeps history. Belongs to the channel's home.
    History {
        /// Channel name.
        channel: &'a str,
        /// Only what came behind this position.
        since: Option<Point<'a>>,
        /// Publications at most, 0 to 1000.
        limit: u64,
        /// The newest first.
        reverse: bool,
    },
    /// Ask for channels with subscribers at this router, in the order of their names. Belongs to every router; counts of one
    /// channel add up.
    Channels {
        /// What the names begin with.
        prefix: &'a str,
        /// The name behind which the page begins.
        after: Option<&'a str>,
        /// Channels at most, 1 to 1000.
        limit: usize,
    },
}

/// What a [`Command`] has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Published, with this number; `None` where nobody is subscribed, so that nothing was numbered.
    Published(Option<u64>),
    /// It is published once it is stored: [`Effect::Settled`](crate::Effect::Settled) with this ticket tells what became of it.
    Storing(Ticket),
    /// Published and kept, at this position. Of a repeat under the same idempotency key, the position of the first one.
    Kept {
        /// Of the channel's history, as clients are told it.
        epoch: Box<str>,
        /// The publication's number.
        offset: u64,
    },
    /// Not published, because the channel keeps as new a version of the publication's `key`, or a newer one.
    Stale {
        /// Of the channel's history, as clients are told it.
        epoch: Box<str>,
        /// The number of the newest publication.
        offset: u64,
    },
    /// A `history` frame with the answer, its length in front.
    History(Vec<u8>),
    /// So many connections of this router were subscribed, unsubscribed or ended.
    Connections(u64),
    /// A `presence` frame with the answer, its length in front.
    Presence(Vec<u8>),
    /// Names of channels, each with its subscribers at this router, and whether more follow.
    Channels(Vec<(Box<str>, u64)>, bool),
    /// The command belongs to this router, which has the channel; nothing was done.
    Elsewhere(PeerId),
}

/// Why a [`Command`] was refused; nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The number that a client would be told.
    pub code: ErrorCode,
    /// What is wrong, in words.
    pub message: &'static str,
}

impl Refused {
    fn new(code: ErrorCode) -> Self {
        Self { code, message: code.text() }
    }
}

impl Router {
    /// Does what the host itself wants. An input like [`receive`](Self::receive): what clients are to be told comes by
    /// [`poll_write`](Self::poll_write).
    ///
    /// ```
    /// use pulse_core::wire::{Payload, Publish};
    /// use pulse_core::{Command, Config, Outcome, Router, Seed, Target};
    ///
    /// let mut router = Router::new(Config::default(), Seed(1));
    /// let hello = Publish { channel: "news", payload: Payload::from(&b"hello"[..]), ..Publish::default() };
    /// assert_eq!(router.command(&Command::Publish(hello)), Ok(Outcome::Published(None)));
    /// let nobody = Command::Subscribe { target: Target::User("ada"), channel: "news" };
    /// assert_eq!(router.command(&nobody), Ok(Outcome::Connections(0)));
    /// let bad = Command::PresenceCount { channel: "$news" };
    /// assert!(router.command(&bad).is_err());
    /// ```
    ///
    /// # Errors
    /// A sentence and a code of the table, if the command cannot be done.
    pub fn command(&mut self, command: &Command<'_>) -> Result<Outcome, Refused> {
        let outcome = match *command {
            Command::Publish(publish) => self.host_publish(&publish),
            Command::Subscribe { target, channel } => self.host_subscribe(target, channel),
            Command::Unsubscribe { target, channel } => self.host_unsubscribe(target, channel),
            Command::Disconnect { target, code, reason } => Ok(self.host_disconnect(target, code, reason)),
            Command::Presence { channel, after, limit } => self.host_presence(channel, Some((after, limit))),
            Command::PresenceCount { channel } => self.host_presence(channel, None),
            Command::History { channel, since, limit, reverse } => {
                self.host_history(channel, since, limit, reverse)
            }
            Command::Channels { prefix, after, limit } => Ok(self.list_channels(prefix, after, limit)),
        };
        self.close_overflowed();
        outcome
    }

    fn host_publish(&mut self, publish: &Publish<'_>) -> Result<Outcome, Refused> {
        if let Some(home) = self.elsewhere(publish.channel)? {
            return Ok(Outcome::Elsewhere(home));
        }
        if publish.payload.len() > self.config.limits.max_message_size as usize {
            return Err(Refused::new(ErrorCode::PAYLOAD_TOO_LARGE));
        }
        let known = self.find(publish.channel);
        if known.is_some_and(|channel| self.crowded_leaf(channel).is_some()) {
            return Err(Refused::new(ErrorCode::SERVER_ERROR));
        }
        let rules = self.rulebook.rules(publish.channel);
        check_guards(publish, &rules).map_err(|(code, message)| Refused { code, message })?;
        if rules.stores() && self.storing.is_crowded() {
            let message = "too much waits for the disk";
            return Err(Refused { code: ErrorCode::LIMIT_EXCEEDED, message });
        }
        if rules.history().is_some() {
            return self.host_publish_to_keep(publish);
        }
        self.stats.publications += 1;
        let Some(channel) = known else { return Ok(Outcome::Published(None)) };
        let meta = self.meta(channel, self.policy(channel), publish.key);
        self.deliver(channel, Source::Publication(&for_subscribers(publish)), meta);
        Ok(Outcome::Published(Some(self.channels.get(channel).offset)))
    }

    fn host_history(
        &mut self,
        channel: &str,
        since: Option<Point<'_>>,
        limit: u64,
        reverse: bool,
    ) -> Result<Outcome, Refused> {
        if let Some(home) = self.elsewhere(channel)? {
            return Ok(Outcome::Elsewhere(home));
        }
        if self.rulebook.rules(channel).history().is_none() {
            let message = "the namespace of this channel keeps no history";
            return Err(Refused { code: ErrorCode::NOT_AVAILABLE, message });
        }
        let since = since.map(|Point { epoch, offset }| (EpochText::parse(epoch), offset));
        let query = HistoryQuery { channel, id: 1, since, limit, reverse };
        let page = self.page_of_history(&query).map_err(|(code, message)| Refused { code, message })?;
        Ok(Outcome::History(page))
    }

    fn host_subscribe(&mut self, target: Target<'_>, name: &str) -> Result<Outcome, Refused> {
        check_name(name)?;
        let hash = self.channels.hash(name);
        let home = self.channels.home(hash);
        let (mut count, mut refused) = (0, None);
        for slot in self.targets(target) {
            let known = self.channels.find(hash, name);
            if known.is_some_and(|channel| self.conns[slot as usize].subscription(channel).is_some()) {
                count += 1;
                continue;
            }
            let limits = &self.config.limits;
            let held = self.conns[slot as usize].subscriptions.len();
            let away = home != self.config.shards.index;
            let refusal = if held >= limits.max_subscriptions_per_connection as usize {
                Some((ErrorCode::LIMIT_EXCEEDED, "limits.max_subscriptions_per_connection is reached"))
            } else if !away && known.is_none() && !self.make_room_for_channel() {
                Some((ErrorCode::LIMIT_EXCEEDED, "limits.max_channels is reached"))
            } else if away && self.is_out_of_reach(home, known.is_none()) {
                Some((ErrorCode::SERVER_ERROR, ErrorCode::SERVER_ERROR.text()))
            } else {
                None
            };
            if let Some((code, message)) = refusal {
                refused.get_or_insert(Refused { code, message });
                continue;
            }
            let channel = known.unwrap_or_else(|| self.create_channel(hash, name));
            self.admit(channel, PendingAck::silent(slot));
            count += 1;
        }
        match refused {
            Some(refused) if count == 0 => Err(refused),
            _ => Ok(Outcome::Connections(count)),
        }
    }

    fn host_unsubscribe(&mut self, target: Target<'_>, name: &str) -> Result<Outcome, Refused> {
        check_name(name)?;
        let mut count = 0;
        for slot in self.targets(target) {
            // Found anew each time: the last one to leave takes the channel along.
            let Some(channel) = self.find(name) else { break };
            let Some(at) = self.conns[slot as usize].subscription(channel) else { continue };
            if let Some(ack) = self.pending_ack(slot, channel) {
                self.confirm(channel, ack);
            }
            self.leave(slot, at, false);
            if self.conns[slot as usize].link.dialect != Dialect::Legacy {
                let reason = "the server has ended this subscription";
                let frame = Unsubscribed { channel: name, code: ErrorCode::FORBIDDEN.0, reason };
                self.tell(slot, &crate::wire::Frame::Unsubscribed(frame));
            }
            count += 1;
        }
        Ok(Outcome::Connections(count))
    }

    fn host_disconnect(&mut self, target: Target<'_>, code: CloseCode, reason: Option<&str>) -> Outcome {
        let slots = self.targets(target);
        for slot in &slots {
            self.end_saying(*slot, code, reason.unwrap_or_else(|| code.text()), None);
        }
        Outcome::Connections(slots.len() as u64)
    }

    /// A page, or without one the numbers.
    fn host_presence(
        &mut self,
        channel: &str,
        page: Option<(Option<&str>, u64)>,
    ) -> Result<Outcome, Refused> {
        let action = if page.is_some() { PresenceAction::Sync } else { PresenceAction::Count };
        let (after, limit) = page.unwrap_or_default();
        let after = match after.map(ClientName::parse) {
            Some(None) => {
                let message =
                    "`after` is a client's name: 16 hexadecimal digits, as `next` of the page before";
                return Err(Refused { code: ErrorCode::INVALID_FRAME, message });
            }
            known => known.flatten(),
        };
        if let Some(home) = self.elsewhere(channel)? {
            return Ok(Outcome::Elsewhere(home));
        }
        let request = PresenceRequest {
            channel,
            action,
            client: 0,
            id: 1,
            gone: false,
            user: None,
            data: &[],
            after,
            limit,
        };
        match self.settle_presence(self.config.shards.index, &request) {
            Settled::Answer(frame) => Ok(Outcome::Presence(frame)),
            Settled::Done | Settled::Refused(_) => unreachable!("a question is answered"),
        }
    }

    fn list_channels(&self, prefix: &str, after: Option<&str>, limit: usize) -> Outcome {
        let limit = limit.clamp(1, CHANNELS_PAGE);
        let wanted = self.channels.iter().filter(|(at, channel)| {
            self.num_subscribers(*at) > 0
                && channel.name.starts_with(prefix)
                && after.is_none_or(|after| &*channel.name > after)
        });
        // The first ones by name, without sorting all of them.
        let mut page: Vec<(&str, u64)> = Vec::with_capacity(2 * limit);
        let mut more = false;
        for (at, channel) in wanted {
            page.push((&channel.name, self.num_subscribers(at)));
            if page.len() == 2 * limit {
                more = true;
                page.select_nth_unstable(limit);
                page.truncate(limit);
            }
        }
        page.sort_unstable();
        more |= page.len() > limit;
        page.truncate(limit);
        Outcome::Channels(page.into_iter().map(|(name, count)| (name.into(), count)).collect(), more)
    }

    fn num_subscribers(&self, channel: u32) -> u64 {
        let entry = self.channels.get(channel);
        let reading = if entry.kept { self.replays.slots(channel).count() } else { 0 };
        (entry.subscribers.len() + reading) as u64
    }

    /// Another router that has this channel.
    fn elsewhere(&self, name: &str) -> Result<Option<PeerId>, Refused> {
        check_name(name)?;
        Ok(Some(self.home(name)).filter(|home| home.0 != self.config.shards.index))
    }

    fn is_out_of_reach(&self, home: u16, new: bool) -> bool {
        let outbox = &self.outboxes[usize::from(home)];
        !outbox.connected || (new && outbox.is_full())
    }

    /// The open connections that a target means, in the order of their slots.
    fn targets(&self, target: Target<'_>) -> Vec<Slot> {
        let is_open = |slot: &Slot| self.conns[*slot as usize].state == State::Open;
        let mut slots: Vec<Slot> = match target {
            Target::Client(name) => {
                let Some(client) = ClientName::parse(name) else { return Vec::new() };
                let is_it = |slot: &Slot| self.client(self.id(*slot)) == client;
                (0..self.conns.len() as u32).filter(is_open).find(is_it).into_iter().collect()
            }
            Target::User(user) => {
                let of_user = self.users.iter().filter(|(_, name)| ***name == *user);
                of_user.map(|(slot, _)| *slot).filter(is_open).collect()
            }
        };
        slots.sort_unstable();
        slots
    }
}

fn check_name(name: &str) -> Result<(), Refused> {
    if is_channel_name(name) { Ok(()) } else { Err(Refused::new(ErrorCode::INVALID_CHANNEL)) }
}

/// The codes that [`Command::Disconnect`] may well be given, for a host that lets its own callers choose.
impl CloseCode {
    /// The code of this number, if it is one of the table.
    #[must_use]
    pub fn of_table(number: u64) -> Option<Self> {
        let code = Self(u16::try_from(number).ok()?);
        code.row().map(|_| code)
    }
}
