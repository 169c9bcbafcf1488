//! Moving house: sessions and channels as bytes, so that they outlive their router, when a worker hibernates or a server is
//! replaced under its open sockets.
//!
//! The format carries its version. Fields are as in `crate::bytes`; whatever cannot be read leaves the router as it was.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

use crate::bytes::{Reader, Short, put_bytes, put_str, put_u64};
use crate::grant::is_channel_name;
use crate::history::Item;
use crate::limits::OFFSET_MAX;
use crate::peer::Asked;
use crate::presence;
use crate::repeats::Fate;
use crate::wire::{ErrorCode, Frame, Gap, MAX_SAFE, Unsubscribed, Value};
use crate::{ConnId, Dialect, Link, Time};

use super::history::item_behind;
use super::session::State;
use super::{Router, Slot};

/// The version of both formats.
const VERSION: u8 = 3;
const SESSION: u8 = b'S';
const CHANNELS: u8 = b'C';

/// Why an export cannot be imported. The router is as it was: close the transport, and the client comes back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportError {
    /// Another version of this crate has written it, with this number. This one writes and reads 3.
    Version(u8),
    /// The bytes are no export of the kind that is asked for, or only a part of one.
    Malformed,
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "this is an export of version {version}, and only version {VERSION} can be read")
            }
            Self::Malformed => f.write_str("these bytes are no whole export of a router"),
        }
    }
}

impl core::error::Error for ImportError {}

impl From<Short> for ImportError {
    fn from(Short: Short) -> Self {
        Self::Malformed
    }
}

/// A session as it was read, before anything is done.
struct Session<'a> {
    dialect: Dialect,
    open: bool,
    client: u64,
    user: Option<&'a str>,
    subscriptions: Vec<Moved<'a>>,
    blocked: bool,
    kept: Vec<&'a [u8]>,
    waiting: &'a [u8],
}

/// A subscription with its position.
struct Moved<'a> {
    channel: &'a str,
    epoch: u32,
    offset: u64,
    /// What the client shows of itself, if it is present.
    data: Option<&'a [u8]>,
}

/// A channel as it was read.
struct Channel<'a> {
    name: &'a str,
    epoch: u32,
    offset: u64,
    members: Vec<Gone<'a>>,
    /// The number behind which `kept` is everything.
    floor: u64,
    kept: Vec<Kept<'a>>,
    named: Vec<Named<'a>>,
}

/// A publication that is kept, and its age in microseconds.
struct Kept<'a> {
    age: u64,
    item: Item<'a>,
}

/// What became of a publication that had a name, and its age in microseconds.
struct Named<'a> {
    age: u64,
    name: &'a [u8],
    fate: Fate,
}

/// A member whose connection may be imported within `grace` microseconds.
struct Gone<'a> {
    client: u64,
    user: Option<&'a str>,
    data: &'a [u8],
    grace: u64,
}

impl Router {
    /// Appends what a connection needs to outlive this router: who it is, its subscriptions with their positions, its
    /// presence, what it was not sent yet and requests that wait. At most `limits.queue_bytes` and twice the largest transport
    /// message, and about 300 bytes for each subscription with its presence data.
    ///
    /// `false`, and nothing appended, if it cannot move now: it is closing or gone, another router or the store still has to
    /// answer it, or the turn is not drained.
    ///
    /// ```
    /// use pulse_core::{Config, Dialect, Link, Now, Router, Seed};
    ///
    /// let mut old = Router::new(Config::default(), Seed(1));
    /// old.advance(Now::default());
    /// let conn = old.open(Link { class: 0, dialect: Dialect::Legacy });
    /// while old.poll_write().is_some() {}
    /// let (mut channels, mut session) = (Vec::new(), Vec::new());
    /// old.export_channels(&mut channels);
    /// assert!(old.export(conn, &mut session));
    ///
    /// let mut new = Router::new(Config::default(), Seed(2));
    /// new.advance(Now::default());
    /// new.import_channels(&channels).unwrap();
    /// let moved = new.import(0, &session).unwrap();
    /// assert_eq!(new.name(moved), old.name(conn), "the client need not know");
    /// ```
    #[must_use]
    pub fn export(&self, conn: ConnId, out: &mut Vec<u8>) -> bool {
        let Some(slot) = self.live(conn) else { return false };
        let entry = &self.conns[slot as usize];
        let open = match entry.state {
            State::Open => true,
            State::Greeting => false,
            State::Free | State::Closing { .. } => return false,
        };
        if !self.fanout.is_settled(slot) || self.is_asking(conn) {
            return false;
        }
        out.extend_from_slice(&[SESSION, VERSION, entry.link.dialect as u8, u8::from(open)]);
        put_u64(out, self.client(conn));
        put_option(out, self.users.get(&slot).map(|user| user.as_bytes()));
        put_u64(out, entry.subscriptions.len() as u64);
        for subscription in &entry.subscriptions {
            let channel = self.channels.get(subscription.channel);
            let here = subscription.channel;
            let (epoch, offset) = self.replays.position(slot, here).unwrap_or_else(|| channel.position());
            put_str(out, &channel.name);
            put_u64(out, epoch.into());
            put_u64(out, offset);
            put_option(out, self.shown_data(slot, subscription.channel));
        }
        let kept = self.fanout.kept(slot, |channel| &self.channels.get(channel).name);
        out.push(u8::from(kept.is_some()));
        let kept = kept.unwrap_or_default();
        put_u64(out, kept.len() as u64);
        kept.iter().for_each(|frame| put_bytes(out, frame));
        put_bytes(out, entry.waiting.as_ref().map_or(&[][..], |waiting| &waiting.frames));
        true
    }

    /// Takes over a connection that another router has exported, on a transport of this kind. A connection that took nothing
    /// when it was exported is taken not to be writable until the host says otherwise. What it missed since, and where its
    /// channel was not imported, is told as a gap.
    ///
    /// # Errors
    /// [`ImportError`]; nothing is changed then.
    pub fn import(&mut self, class: u8, session: &[u8]) -> Result<ConnId, ImportError> {
        let session = read_session(session)?;
        let link = Link { class, dialect: session.dialect };
        let slot = self.take_slot(link);
        self.names.insert(slot, session.client);
        if let Some(user) = session.user {
            self.users.insert(slot, user.into());
        }
        if session.blocked {
            self.fanout.block(slot, link);
            session.kept.into_iter().for_each(|frame| self.fanout.keep(slot, frame));
        }
        if session.open {
            self.conns[slot as usize].state = State::Open;
            self.deadlines.set_first_heartbeat(slot);
        } else {
            self.deadlines.set(slot, self.config.heartbeat.connect_ms);
        }
        for moved in &session.subscriptions {
            self.move_in(slot, moved);
        }
        if !session.waiting.is_empty() {
            self.frames(slot, session.waiting);
        }
        self.close_overflowed();
        Ok(self.id(slot))
    }

    /// Appends the channels that are at home here, with their positions and their members. Import them before the sessions.
    ///
    /// `false`, and nothing appended, while publications wait for the store: their numbers are taken, but nobody has them yet.
    pub fn export_channels(&self, out: &mut Vec<u8>) -> bool {
        if self.is_storing() {
            return false;
        }
        out.extend_from_slice(&[CHANNELS, VERSION]);
        let now = self.now.mono;
        put_u64(out, self.channels.num_home() as u64);
        for (at, channel) in self.channels.iter().filter(|(at, _)| self.channels.is_home(*at)) {
            put_str(out, &channel.name);
            put_u64(out, channel.epoch.into());
            put_u64(out, channel.offset);
            let grace = self.rulebook.rules(&channel.name).presence_grace_ms;
            let members = self.own_members(at);
            put_u64(out, members.len() as u64);
            for presence::Shown { client, user, data, until } in members {
                put_u64(out, client);
                put_option(out, user.map(str::as_bytes));
                put_bytes(out, data);
                // To the microsecond: nobody is to leave early because of a move.
                let until = until.unwrap_or_else(|| now.after_ms(grace.into()));
                put_u64(out, until.0.saturating_sub(now.0));
            }
            put_u64(out, self.histories.floor(at, now).unwrap_or(channel.offset));
            let kept = self.histories.kept(at, now);
            put_u64(out, kept.len() as u64);
            for (at, frame) in kept {
                put_u64(out, now.0.saturating_sub(at.0));
                put_bytes(out, frame);
            }
            let named = self.histories.fates(at, now);
            put_u64(out, named.len() as u64);
            for (at, name, Fate { offset, stale }) in named {
                put_u64(out, now.0.saturating_sub(at.0));
                put_bytes(out, name);
                put_u64(out, offset);
                out.push(u8::from(stale));
            }
        }
        true
    }

    /// Takes over channels that another router has exported, as far as they are at home here; one that is in use here already
    /// stays as it is. Their members have their grace to be imported too. What no import has used by the next turn is dropped.
    ///
    /// # Errors
    /// [`ImportError`]; nothing is changed then.
    pub fn import_channels(&mut self, channels: &[u8]) -> Result<(), ImportError> {
        let now = self.now.mono;
        for Channel { name, epoch, offset, members, floor, kept, named } in read_channels(channels)? {
            let hash = self.channels.hash(name);
            if self.channels.home(hash) != self.config.shards.index
                || self.channels.find(hash, name).is_some()
            {
                continue;
            }
            let channel = self.make_channel(hash, name);
            let entry = self.channels.get_mut(channel);
            (entry.epoch, entry.offset) = (epoch, offset);
            for Gone { client, user, data, grace } in members {
                self.move_member_in(channel, client, user, data, Time(now.0.saturating_add(grace)));
            }
            if self.channels.get(channel).kept {
                // Where the clock began later than this, it is kept for a while longer.
                let at = |age: u64| Time(now.0.saturating_sub(age));
                let items: Vec<_> = kept.into_iter().map(|Kept { age, item }| (at(age), item)).collect();
                // What was exported is the newest of each key already.
                let _ = self.histories.restore(channel, now, floor, &items);
                for Named { age, name, fate } in named {
                    self.histories.note_fate(channel, at(age), name, fate);
                }
                // Maybe nobody comes who needs it: its time begins now.
                self.histories.vacate(channel, now, offset == 0);
            } else {
                self.moved_in.push(name.into());
            }
            // Whoever is imported next knows of them.
            self.forget_changes(channel);
        }
        Ok(())
    }

    /// Drops imported channels that nobody needs.
    pub(super) fn drop_unused(&mut self) {
        for name in core::mem::take(&mut self.moved_in) {
            if let Some(channel) = self.find(&name) {
                self.vacate(channel);
            }
        }
    }

    /// Whether another router or the store has to answer this connection.
    fn is_asking(&self, conn: ConnId) -> bool {
        let slot = conn.slot();
        let asks = |asked: &Asked| match asked {
            Asked::Client { conn: asking, .. }
            | Asked::Join { conn: asking, .. }
            | Asked::Replay { conn: asking, .. } => *asking == conn,
            Asked::Channel { channel } => self
                .joining
                .get(channel)
                .is_some_and(|joining| joining.acks.iter().any(|ack| ack.slot == slot)),
        };
        self.storing.owes(conn) || self.outboxes.iter().any(|outbox| outbox.open().any(asks))
    }

    /// Subscribes a connection as it was.
    fn move_in(&mut self, slot: Slot, moved: &Moved<'_>) {
        let &Moved { channel: name, epoch, offset, data } = moved;
        let hash = self.channels.hash(name);
        let known = self.channels.find(hash, name);
        let legacy = self.conns[slot as usize].link.dialect == Dialect::Legacy;
        if known.is_none()
            && self.channels.home(hash) == self.config.shards.index
            && !self.make_room_for_channel()
        {
            if !legacy {
                let code = ErrorCode::LIMIT_EXCEEDED;
                let frame = Unsubscribed { channel: name, code: code.0, reason: code.text() };
                self.tell(slot, &Frame::Unsubscribed(frame));
            }
            return;
        }
        let channel = known.unwrap_or_else(|| {
            let channel = self.create_channel(hash, name);
            if let Some(joining) = self.joining.get_mut(&channel) {
                joining.since = Some((epoch, offset));
            }
            channel
        });
        if self.channels.get(channel).kept && !legacy {
            self.move_behind(slot, channel, (epoch, offset));
        } else {
            self.enter(slot, channel);
            self.tell_moved(slot, channel, (epoch, offset));
        }
        if let Some(data) = data {
            self.show_again(slot, channel, data);
        }
    }

    /// Tells a connection what it missed of a channel while it was moved.
    fn tell_moved(&mut self, slot: Slot, channel: u32, (epoch, offset): (u32, u64)) {
        let legacy = self.conns[slot as usize].link.dialect == Dialect::Legacy;
        let entry = self.channels.get(channel);
        if !entry.joining && !legacy {
            let missed = entry.offset.checked_sub(offset).filter(|_| epoch == entry.epoch);
            if missed != Some(0) {
                let name = entry.name.clone();
                let gap = Gap { channel: &name, reason: "moved", count: missed, ..Gap::default() };
                self.tell(slot, &Frame::Gap(gap));
            }
        }
    }
}

fn put_option(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.push(u8::from(bytes.is_some()));
    put_bytes(out, bytes.unwrap_or_default());
}

fn option<'a>(r: &mut Reader<'a>) -> Result<Option<&'a [u8]>, ImportError> {
    let (some, bytes) = (r.u8()? != 0, r.bytes()?);
    Ok(some.then_some(bytes))
}

/// A number that may stand in a frame.
fn number(r: &mut Reader<'_>) -> Result<u64, ImportError> {
    Some(r.u64()?).filter(|number| *number <= MAX_SAFE).ok_or(ImportError::Malformed)
}

fn text(bytes: Option<&[u8]>) -> Result<Option<&str>, ImportError> {
    bytes.map(core::str::from_utf8).transpose().map_err(|_| ImportError::Malformed)
}

/// Data of presence: nothing, or one value.
fn data(bytes: &[u8]) -> Result<&[u8], ImportError> {
    if bytes.is_empty() || Value::new(bytes).is_some() { Ok(bytes) } else { Err(ImportError::Malformed) }
}

/// The kind and the version, which stand in front.
fn open(bytes: &[u8], kind: u8) -> Result<Reader<'_>, ImportError> {
    match bytes {
        [first, VERSION, rest @ ..] if *first == kind => Ok(Reader(rest)),
        [first, version, ..] if *first == kind => Err(ImportError::Version(*version)),
        _ => Err(ImportError::Malformed),
    }
}

fn read_session(bytes: &[u8]) -> Result<Session<'_>, ImportError> {
    let mut r = open(bytes, SESSION)?;
    let dialect = match r.u8()? {
        0 => Dialect::V1,
        1 => Dialect::Json,
        2 => Dialect::Legacy,
        _ => return Err(ImportError::Malformed),
    };
    let (open, client, user) = (r.u8()? != 0, r.u64()?, text(option(&mut r)?)?);
    let mut subscriptions: Vec<Moved<'_>> = Vec::new();
    for _ in 0..r.u64()? {
        let channel = r.str()?;
        let epoch = u32::try_from(r.u64()?).map_err(|_| ImportError::Malformed)?;
        let (offset, shown) = (number(&mut r)?, option(&mut r)?.map(data).transpose()?);
        let again = subscriptions.iter().any(|other| other.channel == channel);
        if !is_channel_name(channel) || again {
            return Err(ImportError::Malformed);
        }
        subscriptions.push(Moved { channel, epoch, offset, data: shown });
    }
    let blocked = r.u8()? != 0;
    let mut kept = Vec::new();
    for _ in 0..r.u64()? {
        kept.push(r.bytes()?);
    }
    let waiting = r.bytes()?;
    if !r.0.is_empty() || (!open && !subscriptions.is_empty()) {
        return Err(ImportError::Malformed);
    }
    Ok(Session { dialect, open, client, user, subscriptions, blocked, kept, waiting })
}

fn read_channels(bytes: &[u8]) -> Result<Vec<Channel<'_>>, ImportError> {
    let mut r = open(bytes, CHANNELS)?;
    let mut channels = Vec::new();
    for _ in 0..r.u64()? {
        let name = r.str()?;
        let epoch = u32::try_from(r.u64()?).map_err(|_| ImportError::Malformed)?;
        let (offset, mut members) = (number(&mut r)?, Vec::new());
        if !is_channel_name(name) || offset > OFFSET_MAX {
            return Err(ImportError::Malformed);
        }
        for _ in 0..r.u64()? {
            let (client, user) = (r.u64()?, text(option(&mut r)?)?);
            let (data, grace) = (data(r.bytes()?)?, r.u64()?);
            members.push(Gone { client, user, data, grace });
        }
        let (floor, kept) = read_kept(&mut r, name, offset)?;
        let named = read_named(&mut r, offset)?;
        channels.push(Channel { name, epoch, offset, members, floor, kept, named });
    }
    if r.0.is_empty() { Ok(channels) } else { Err(ImportError::Malformed) }
}

/// What a channel keeps, up to the number of its newest publication, and the number behind which that is everything.
fn read_kept<'a>(r: &mut Reader<'a>, channel: &str, top: u64) -> Result<(u64, Vec<Kept<'a>>), ImportError> {
    let floor = number(r)?;
    let (mut last, mut kept) = (floor, Vec::new());
    for _ in 0..r.u64()? {
        let (age, frame) = (r.u64()?, r.bytes()?);
        let item = item_behind(channel, last, frame).map_err(|_| ImportError::Malformed)?;
        last = item.offset;
        kept.push(Kept { age, item });
    }
    // The newest is kept, or nothing is.
    if last == top { Ok((floor, kept)) } else { Err(ImportError::Malformed) }
}

/// What a channel knows by name, up to the number of its newest publication.
fn read_named<'a>(r: &mut Reader<'a>, top: u64) -> Result<Vec<Named<'a>>, ImportError> {
    let mut named: Vec<Named<'_>> = Vec::new();
    let mut names = BTreeSet::new();
    for _ in 0..r.u64()? {
        let (age, name, offset, stale) = (r.u64()?, r.bytes()?, number(r)?, r.u8()? != 0);
        if offset > top || name.is_empty() || !names.insert(name) {
            return Err(ImportError::Malformed);
        }
        named.push(Named { age, name, fate: Fate { offset, stale } });
    }
    Ok(named)
}
