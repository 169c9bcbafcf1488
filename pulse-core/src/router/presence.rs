//! Who is present: what clients ask, how it reaches the channel's home, and when changes are told. The lists themselves are
//! `crate::presence`'s business.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::grant::is_channel_name;
use crate::limits::PRESENCE_PAGE;
use crate::peer::{Asked, PeerMessage, PresenceRequest};
use crate::presence::{ClientName, Presence, Shown};
use crate::queue::Meta;
use crate::wire::{self, Ack, ErrorCode, Frame, PresenceAction, Split};
use crate::{Answer, BadParcel, Request, Time};

use super::publications::{Source, first};
use super::requests::{Flow, judge};
use super::{Router, Slot};

/// The presence of all channels that are at home here, and what this router's clients show of themselves elsewhere.
#[derive(Debug)]
pub(super) struct Crowds {
    /// By channel. A channel that has one is `peopled`.
    crowds: HashMap<u32, Crowd, foldhash::fast::FixedState>,
    /// When to look at which channel next.
    alarms: BTreeSet<(Time, u32)>,
    /// Channels whose changes are told before anything else is handed out.
    due: Vec<u32>,
    /// Members of all channels.
    pub(super) members: u64,
    /// Data of this router's clients in channels that are at home elsewhere, by channel and connection: a home that was lost
    /// is told again.
    away: BTreeMap<(u32, Slot), Vec<u8>>,
}

#[derive(Debug, Default)]
struct Crowd {
    presence: Presence,
    alarm: Option<Time>,
    /// Whether it stands in `due`.
    listed: bool,
}

impl Crowds {
    pub(super) fn new() -> Self {
        Self {
            crowds: HashMap::with_hasher(foldhash::fast::FixedState::default()),
            alarms: BTreeSet::new(),
            due: Vec::new(),
            members: 0,
            away: BTreeMap::new(),
        }
    }

    /// When something is to be told or a grace ends.
    pub(super) fn next(&self) -> Option<Time> {
        self.alarms.first().map(|(at, _)| *at)
    }

    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Lists the channels whose time has come.
    pub(super) fn advance(&mut self, now: Time) {
        while let Some(&(at, channel)) = self.alarms.first().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, channel));
            self.change(channel, now, |presence| presence.expire(now));
        }
    }

    /// Changes a channel's presence and sees to it that the change is told.
    fn change<T>(&mut self, channel: u32, now: Time, change: impl FnOnce(&mut Presence) -> T) -> T {
        let crowd = self.crowds.entry(channel).or_default();
        let before = crowd.presence.clients() as u64;
        let result = change(&mut crowd.presence);
        self.members = self.members + crowd.presence.clients() as u64 - before;
        let notice = crowd.presence.next_notice(now);
        if notice.is_some_and(|at| at <= now) && !crowd.listed {
            crowd.listed = true;
            self.due.push(channel);
        }
        let alarm = [notice.filter(|at| *at > now), crowd.presence.next_expiry()].into_iter().flatten().min();
        if alarm != crowd.alarm
            && let Some(old) = core::mem::replace(&mut crowd.alarm, alarm)
        {
            self.alarms.remove(&(old, channel));
        }
        if let Some(alarm) = alarm {
            self.alarms.insert((alarm, channel));
        }
        result
    }

    fn remove(&mut self, channel: u32) {
        let crowd = self.crowds.remove(&channel);
        if let Some(alarm) = crowd.and_then(|crowd| crowd.alarm) {
            self.alarms.remove(&(alarm, channel));
        }
    }
}

impl Router {
    /// A client joins, leaves, changes its data or asks who is there.
    pub(super) fn presence(
        &mut self,
        slot: Slot,
        request: &wire::Presence<'_>,
        answer: Option<&Answer>,
    ) -> Flow {
        let &wire::Presence { id, channel: name, action, data, after, limit, .. } = request;
        let hash = self.channels.hash(name);
        let known = self.channels.find(hash, name);
        if known.is_none() && !is_channel_name(name) {
            self.refuse_name(slot, id);
            return Flow::On;
        }
        match judge(self.rulebook.rules(name).presence, answer) {
            Some(true) => {}
            Some(false) => {
                self.refuse(slot, id, ErrorCode::FORBIDDEN, "presence is not allowed in this namespace");
                return Flow::On;
            }
            None => return self.ask(slot, Request::Presence { channel: name.into(), action }),
        }
        let data = data.map_or(&[][..], |value| value.as_bytes());
        if data.len() > self.config.limits.max_presence_size as usize {
            self.refuse(slot, id, ErrorCode::PAYLOAD_TOO_LARGE, "the data is over limits.max_presence_size");
            return Flow::On;
        }
        let Some(after) = after.map(ClientName::parse).map_or(Some(None), |after| after.map(Some)) else {
            let message = "after is the next of an earlier page";
            self.refuse(slot, id, ErrorCode::INVALID_FRAME, message);
            return Flow::On;
        };
        let of_its_own =
            matches!(action, PresenceAction::Join | PresenceAction::Leave | PresenceAction::Update);
        let subscribed = known.filter(|channel| self.conns[slot as usize].subscription(*channel).is_some());
        if of_its_own && subscribed.is_none() {
            self.refuse_not_subscribed(slot, id);
            return Flow::On;
        }
        let home = self.channels.home(hash);
        let index = self.config.shards.index;
        let request = PresenceRequest {
            channel: name,
            action,
            client: self.client(self.id(slot)),
            id,
            data,
            after,
            limit: limit.unwrap_or(PRESENCE_PAGE),
            ..PresenceRequest::default()
        };
        if home != index {
            return self.ask_away(slot, home, subscribed, request);
        }
        let user = self.users.get(&slot).cloned();
        // The answer goes first: whoever joins hears of itself in the changes that follow.
        match self.settle_presence(index, &PresenceRequest { user: user.as_deref(), ..request }) {
            Settled::Done => self.tell(slot, &Frame::Ack(Ack { id, ..Ack::default() })),
            Settled::Refused(code) => self.refuse(slot, id, code, code.text()),
            Settled::Answer(frame) => {
                let frame = first(&frame).expect("it was encoded just now");
                self.tell(slot, &frame);
            }
        }
        Flow::On
    }

    /// Hands a request to the home of its channel.
    fn ask_away(
        &mut self,
        slot: Slot,
        home: u16,
        subscribed: Option<u32>,
        request: PresenceRequest<'_>,
    ) -> Flow {
        let PresenceRequest { action, id, data, .. } = request;
        if let Some(flow) = self.out_of_reach(slot, id, home) {
            return flow;
        }
        let conn = self.id(slot);
        let mut asked = Asked::Client { conn, id };
        if let Some(at) = subscribed {
            let key = (at, slot);
            match action {
                PresenceAction::Join => {
                    self.crowds.away.insert(key, data.to_vec());
                    asked = Asked::Join { conn, id, channel: at };
                }
                PresenceAction::Update if self.crowds.away.contains_key(&key) => {
                    self.crowds.away.insert(key, data.to_vec());
                }
                PresenceAction::Leave if self.crowds.away.remove(&key).is_some() => {}
                PresenceAction::Leave | PresenceAction::Update => {
                    self.refuse(slot, id, ErrorCode::NOT_PRESENT, ErrorCode::NOT_PRESENT.text());
                    return Flow::On;
                }
                PresenceAction::Sync | PresenceAction::Count => {}
            }
        }
        let ticket = self.outboxes[usize::from(home)].ask(asked);
        let request = PresenceRequest { user: self.users.get(&slot).map(|user| &**user), ..request };
        Self::send(&mut self.outboxes, &mut self.unsent, home, |out| {
            PeerMessage::Presence { ticket, request }.encode(out);
        });
        Flow::On
    }

    /// At home: does what a request of router `owner` says.
    pub(super) fn settle_presence(&mut self, owner: u16, request: &PresenceRequest<'_>) -> Settled {
        let &PresenceRequest { channel: name, action, client, id, gone, user, data, after, limit } = request;
        let now = self.now.mono;
        let known = self.find(name);
        let peopled = known.filter(|channel| self.channels.get(*channel).peopled);
        let done = match (action, known, peopled) {
            (PresenceAction::Join, Some(channel), _) => {
                self.people(channel, |presence| presence.join(owner, client, user, data));
                Ok(())
            }
            // Only subscribers of a leaf get so far, so the home has just refused the leaf for want of room.
            (PresenceAction::Join, None, _) => return Settled::Refused(ErrorCode::LIMIT_EXCEEDED),
            (PresenceAction::Update, _, Some(channel)) => {
                self.crowds.change(channel, now, |presence| presence.update(client, data))
            }
            (PresenceAction::Leave, _, Some(channel)) => {
                let grace = if gone { self.rulebook.rules(name).presence_grace_ms } else { 0 };
                self.crowds.change(channel, now, |presence| match grace {
                    0 => presence.leave(client),
                    _ => presence.gone(client, now.after_ms(grace.into())),
                })
            }
            (PresenceAction::Update | PresenceAction::Leave, _, None) => Err(crate::presence::NotPresent),
            (PresenceAction::Sync | PresenceAction::Count, ..) => {
                let (mut nobody, mut frame) = (Presence::default(), Vec::new());
                let crowd = peopled.and_then(|channel| self.crowds.crowds.get_mut(&channel));
                let presence = crowd.map_or(&mut nobody, |crowd| &mut crowd.presence);
                if action == PresenceAction::Sync {
                    presence.page(id, name, after, limit, &mut frame);
                } else {
                    presence.count(id, name, &mut frame);
                }
                return Settled::Answer(frame);
            }
        };
        done.map_or(Settled::Refused(ErrorCode::NOT_PRESENT), |()| Settled::Done)
    }

    /// A leaf's request.
    pub(super) fn on_presence(&mut self, from: u16, ticket: u64, request: &PresenceRequest<'_>) {
        let settled = self.settle_presence(from, request);
        if ticket == 0 {
            return;
        }
        match settled {
            Settled::Done => self.say(from, PeerMessage::Accepted { ticket, position: None, stale: false }),
            Settled::Refused(code) => self.say(from, PeerMessage::Refused { ticket, code: code.0 }),
            Settled::Answer(frame) => self.say(from, PeerMessage::Reply { ticket, frame: &frame }),
        }
    }

    /// A subscription ends, and with it the client's presence; `gone` if it is because the connection does.
    pub(super) fn leave_presence(&mut self, slot: Slot, channel: u32, gone: bool) {
        let entry = self.channels.get(channel);
        if self.channels.is_home(channel) && !entry.peopled
            || !self.channels.is_home(channel) && self.crowds.away.remove(&(channel, slot)).is_none()
        {
            return;
        }
        let (name, home) = (entry.name.clone(), entry.home());
        let request = PresenceRequest {
            channel: &name,
            action: PresenceAction::Leave,
            client: self.client(self.id(slot)),
            gone,
            ..PresenceRequest::default()
        };
        if home == self.config.shards.index {
            // Most often it is no member.
            let _ = self.settle_presence(home, &request);
        } else {
            self.say(home, PeerMessage::Presence { ticket: 0, request });
        }
    }

    /// The home did not take a client into the list, or is lost.
    pub(super) fn forget_join(&mut self, slot: Slot, channel: u32, home: u16) {
        // The index may be another channel's by now.
        if self.channels.get(channel).home() == home {
            self.crowds.away.remove(&(channel, slot));
        }
    }

    /// Tells a home that has come back who is present here.
    pub(super) fn join_again(&mut self, channel: u32) {
        let here = self.crowds.away.range((channel, 0)..=(channel, Slot::MAX));
        let slots: Vec<Slot> = here.map(|(&(_, slot), _)| slot).collect();
        slots.into_iter().for_each(|slot| self.join_as(slot, channel));
    }

    /// Tells a home of a member here.
    fn join_as(&mut self, slot: Slot, channel: u32) {
        let entry = self.channels.get(channel);
        let request = PresenceRequest {
            channel: &entry.name,
            action: PresenceAction::Join,
            client: self.client(self.id(slot)),
            user: self.users.get(&slot).map(|user| &**user),
            data: &self.crowds.away[&(channel, slot)],
            ..PresenceRequest::default()
        };
        Self::send(&mut self.outboxes, &mut self.unsent, entry.home(), |out| {
            PeerMessage::Presence { ticket: 0, request }.encode(out);
        });
    }

    /// At home: changes the members of a channel that may have had none.
    fn people(&mut self, channel: u32, change: impl FnOnce(&mut Presence)) {
        self.channels.get_mut(channel).peopled = true;
        self.crowds.change(channel, self.now.mono, change);
    }

    // ---- moving house

    /// What a connection shows of itself in a channel, if it is present.
    pub(super) fn shown_data(&self, slot: Slot, channel: u32) -> Option<&[u8]> {
        if !self.channels.is_home(channel) {
            return self.crowds.away.get(&(channel, slot)).map(|data| &**data);
        }
        let crowd = self.crowds.crowds.get(&channel)?;
        crowd.presence.member(self.client(self.id(slot))).map(|member| member.data)
    }

    /// The members of a channel whose connections are this router's, or were.
    pub(super) fn own_members(&self, channel: u32) -> Vec<Shown<'_>> {
        let crowd = self.crowds.crowds.get(&channel);
        crowd.into_iter().flat_map(|crowd| crowd.presence.of(self.config.shards.index)).collect()
    }

    /// Lists a member whose connection may follow until `deadline`.
    pub(super) fn move_member_in(
        &mut self,
        channel: u32,
        client: u64,
        user: Option<&str>,
        data: &[u8],
        deadline: Time,
    ) {
        let owner = self.config.shards.index;
        self.people(channel, |presence| presence.move_in(owner, client, user, data, deadline));
    }

    /// Takes what has changed in a channel as told.
    pub(super) fn forget_changes(&mut self, channel: u32) {
        if self.channels.get(channel).peopled {
            self.crowds.change(channel, self.now.mono, Presence::forget_changes);
        }
    }

    /// Lists a connection that was imported.
    pub(super) fn show_again(&mut self, slot: Slot, channel: u32, data: &[u8]) {
        if self.channels.is_home(channel) {
            let (owner, client) = (self.config.shards.index, self.client(self.id(slot)));
            let user = self.users.get(&slot).cloned();
            self.people(channel, |presence| presence.join(owner, client, user.as_deref(), data));
        } else {
            self.crowds.away.insert((channel, slot), data.to_vec());
            self.join_as(slot, channel);
        }
    }

    /// At home: a peer is lost, and all its members with it.
    pub(super) fn lose_members(&mut self, peer: u16) {
        let now = self.now.mono;
        for channel in self.channels.which(|channel| channel.peopled) {
            self.crowds.change(channel, now, |presence| presence.lose(peer));
        }
    }

    /// Tells what has changed, in all channels where that is due.
    pub(super) fn tell_changes(&mut self) {
        while let Some(channel) = self.crowds.due.pop() {
            self.tell_changes_of(channel);
            self.close_overflowed();
        }
    }

    fn tell_changes_of(&mut self, channel: u32) {
        let now = self.now.mono;
        let Some(crowd) = self.crowds.crowds.get_mut(&channel) else { return };
        crowd.listed = false;
        let mut frames = Vec::new();
        crowd.presence.take_changes(&self.channels.get(channel).name, now, &mut frames);
        let is_empty = crowd.presence.is_empty();
        let mut rest = &frames[..];
        while let Split::Frame { rest: behind, .. } = wire::split(rest, rest.len()) {
            let frame = &rest[..rest.len() - behind.len()];
            self.spread_notice(channel, frame).expect("it was encoded just now");
            let entry = self.channels.get(channel);
            let notice = PeerMessage::Notice { channel: &entry.name, frame };
            Self::pass_on(&mut self.outboxes, &mut self.unsent, entry.leaves, channel, &notice);
            rest = behind;
        }
        if is_empty {
            self.crowds.remove(channel);
            self.channels.get_mut(channel).peopled = false;
            self.vacate(channel);
        } else {
            self.crowds.change(channel, now, |_| ());
        }
    }

    /// Gives changes to this router's subscribers.
    fn spread_notice(&mut self, channel: u32, frame: &[u8]) -> Result<(), BadParcel> {
        let policy = self.policy(channel);
        let decoded = self.decode(policy, frame)?;
        let meta = Meta::notice(channel, policy);
        self.spread(channel, Source::Encoded(frame, decoded.as_ref()), meta);
        if self.channels.get(channel).kept && self.replays.reads(channel) {
            // Presence has no numbers: whoever still catches up on publications hears of it now.
            let frame = first(frame)?;
            for slot in self.replays.aware(channel) {
                let encoding = self.conns[slot as usize].link.dialect.encoding();
                let message = self.fanout.message(meta, |out| encoding.encode(&frame, out));
                self.fanout.push(slot, message);
            }
        }
        Ok(())
    }

    /// In a leaf: changes that the home tells.
    pub(super) fn on_notice(&mut self, name: &str, frame: &[u8]) -> Result<(), BadParcel> {
        self.settled_leaf(name).map_or(Ok(()), |channel| self.spread_notice(channel, frame))
    }
}

/// What became of a request.
pub(super) enum Settled {
    Done,
    Refused(ErrorCode),
    /// A frame, with its length in front.
    Answer(Vec<u8>),
}
