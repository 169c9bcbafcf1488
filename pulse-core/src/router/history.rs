//! Channels that keep history: how a publication becomes part of it, when they are forgotten, and what clients ask of it. What
//! all of them keep is in `histories`; what a subscriber is given of it is `recovery`'s business.

use alloc::vec::Vec;

use crate::history::{EpochText, Item, Lost};
use crate::limits::{HISTORY_PAGE, HISTORY_PAGE_BYTES, HISTORY_PAGE_DEFAULT};
use crate::peer::{Asked, HistoryQuery, PeerMessage};
use crate::queue::Meta;
use crate::wire::{self, Ack, ErrorCode, Frame, Point, Publications, Publish};
use crate::{Answer, BadParcel, Dialect, Request};

use super::publications::{Source, first};
use super::requests::{Flow, judge};
use super::{Router, Slot};

impl Router {
    /// Forgets channels that only their history has kept, once it is too old.
    pub(super) fn forget_expired(&mut self) {
        while let Some((channel, over)) = self.histories.due(self.now.mono) {
            // It may be needed again, of which it is not told.
            if over && self.is_vacant(channel) {
                self.forget(channel);
            } else {
                self.store_trimming(channel);
            }
        }
    }

    /// The channel of this name, which is at home here and keeps history, made if there is none; `None` without room for it.
    /// Whoever uses it and is no subscriber says so by [`vacate`](Self::vacate) afterwards.
    pub(super) fn channel_to_keep(&mut self, name: &str) -> Option<u32> {
        let hash = self.channels.hash(name);
        self.channels
            .find(hash, name)
            .or_else(|| self.make_room_for_channel().then(|| self.create_channel(hash, name)))
    }

    /// At home: numbers a publication, keeps it and gives it to all subscribers.
    pub(super) fn deliver_kept(&mut self, channel: u32, publication: &Publish<'_>, meta: Meta) {
        let offset = self.channels.number(channel);
        let publication = Publish { offset: Some(offset), time: Some(self.now.unix_ms), ..*publication };
        let mut frame = core::mem::take(&mut self.kept_frame);
        frame.clear();
        publication.encode(&mut frame);
        self.histories.push(channel, self.now.mono, &Item::new(&publication, &frame));
        self.spread_kept(channel, &frame, publication, meta);
        self.kept_frame = frame;
        self.vacate(channel);
    }

    /// At home: gives a channel's newest publication, which is kept, to all subscribers.
    pub(super) fn spread_kept(&mut self, channel: u32, frame: &[u8], publication: Publish<'_>, meta: Meta) {
        let decoded = Frame::Publish(publication);
        self.spread(channel, Source::Encoded(frame, Some(&decoded)), meta);
        let entry = self.channels.get(channel);
        if entry.leaves != 0 {
            let publication = PeerMessage::Publication { channel: &entry.name, offset: entry.offset, frame };
            let (outboxes, unsent) = (&mut self.outboxes, &mut self.unsent);
            let missed = Self::pass_on(outboxes, unsent, entry.leaves, channel, &publication);
            self.stats.dropped_between += missed;
        }
    }

    /// Acknowledges a request, with a position if there is one that the client knows what to do with.
    pub(super) fn tell_ack(&mut self, slot: Slot, ack: Ack<'_>, position: Option<(u32, u64)>) {
        let position = position.filter(|_| self.conns[slot as usize].link.dialect != Dialect::Legacy);
        let ack = Ack { sparse: ack.sparse.filter(|_| position.is_some()), ..ack };
        let epoch = position.map(|(epoch, _)| EpochText::new(epoch));
        let epoch = epoch.as_ref().map(EpochText::as_str);
        let offset = position.map(|(_, offset)| offset);
        self.tell(slot, &Frame::Ack(Ack { epoch, offset, ..ack }));
    }

    // ---- questions

    /// A client asks for a page of a channel's history.
    pub(super) fn history(
        &mut self,
        slot: Slot,
        request: &wire::History<'_>,
        answer: Option<&Answer>,
    ) -> Flow {
        let &wire::History { id, channel, since, limit, reverse, .. } = request;
        let Some(name) = channel else {
            self.refuse_foreign(slot);
            return Flow::On;
        };
        let rules = self.rulebook.rules(name);
        if rules.history().is_none() {
            self.unavailable(slot, id, "history of channels in this namespace");
            return Flow::On;
        }
        if !crate::grant::is_channel_name(name) {
            self.refuse_name(slot, id);
            return Flow::On;
        }
        let hash = self.channels.hash(name);
        let known = self.channels.find(hash, name);
        let inside = known.is_some_and(|at| self.conns[slot as usize].subscription(at).is_some());
        match if inside { Some(true) } else { judge(rules.subscribe, answer) } {
            Some(true) => {}
            Some(false) => {
                self.refuse(slot, id, ErrorCode::FORBIDDEN, "subscribing is not allowed in this namespace");
                return Flow::On;
            }
            None => return self.ask(slot, Request::History { channel: name.into() }),
        }
        let query = HistoryQuery {
            channel: name,
            id,
            since: since.map(|Point { epoch, offset }| (EpochText::parse(epoch), offset)),
            limit: limit.unwrap_or(HISTORY_PAGE_DEFAULT),
            reverse: reverse == Some(true),
        };
        let home = self.channels.home(hash);
        if home != self.config.shards.index {
            if let Some(flow) = self.out_of_reach(slot, id, home) {
                return flow;
            }
            let conn = self.id(slot);
            let ticket = self.outboxes[usize::from(home)].ask(Asked::Client { conn, id });
            self.say(home, PeerMessage::History { ticket, query });
            return Flow::On;
        }
        match self.page_of_history(&query) {
            Ok(page) => {
                let page = first(&page).expect("it was encoded just now");
                self.tell(slot, &page);
            }
            Err((code, message)) => self.refuse(slot, id, code, message),
        }
        Flow::On
    }

    /// A leaf's question.
    pub(super) fn on_history(&mut self, from: u16, ticket: u64, query: &HistoryQuery<'_>) {
        if self.rulebook.rules(query.channel).history().is_none() {
            // The peer has other rules.
            let code = ErrorCode::NOT_AVAILABLE.0;
            return self.say(from, PeerMessage::Refused { ticket, code });
        }
        match self.page_of_history(query) {
            Ok(page) => self.say(from, PeerMessage::Reply { ticket, frame: &page }),
            Err((code, _)) => self.say(from, PeerMessage::Refused { ticket, code: code.0 }),
        }
    }

    /// At home: a page as a frame with its length in front, or why there is none. Whoever asks is told a position and may
    /// come back with it, so the channel begins to exist.
    pub(super) fn page_of_history(
        &mut self,
        query: &HistoryQuery<'_>,
    ) -> Result<Vec<u8>, (ErrorCode, &'static str)> {
        let &HistoryQuery { channel: name, id, since, limit, reverse } = query;
        let channel = self
            .channel_to_keep(name)
            .ok_or((ErrorCode::LIMIT_EXCEEDED, "limits.max_channels is reached"))?;
        let (epoch, top) = self.channels.get(channel).position();
        let history = self.histories.get(channel, self.now.mono);
        let after = match since {
            None => Ok(0),
            Some((given, _)) if given != Some(epoch) => Err(Lost::Epoch),
            Some((_, after)) => history.reaches(top, after).map(|()| after),
        };
        let page = after.map(|after| {
            let frames = history.behind(after);
            if reverse {
                encode_page(id, (epoch, top), limit, frames.rev())
            } else {
                encode_page(id, (epoch, top), limit, frames)
            }
        });
        self.vacate(channel);
        page.map_err(|lost| (ErrorCode::UNRECOVERABLE, lost.text()))
    }
}

fn encode_page<'f>(
    id: u64,
    (epoch, top): (u32, u64),
    limit: u64,
    frames: impl Iterator<Item = &'f [u8]>,
) -> Vec<u8> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    for frame in frames.take(limit.min(HISTORY_PAGE) as usize) {
        bytes += frame.len();
        if bytes > HISTORY_PAGE_BYTES && !items.is_empty() {
            break;
        }
        items.push(publication(frame).expect("what is kept was encoded here or checked when it was read"));
    }
    let (epoch, mut list, mut page) = (EpochText::new(epoch), Vec::new(), Vec::new());
    let publications = Some(Publications::encode(&items, &mut list));
    let answer = wire::History {
        id,
        epoch: Some(epoch.as_str()),
        offset: Some(top),
        publications,
        ..wire::History::default()
    };
    answer.encode(&mut page);
    page
}

/// A kept publication that is taken over: one of this channel, numbered behind the last one, with its time.
pub(super) fn item_behind<'a>(channel: &str, last: u64, frame: &'a [u8]) -> Result<Item<'a>, BadParcel> {
    let publication = publication(frame)?;
    let is_behind = publication.offset.is_some_and(|offset| offset > last);
    if is_behind && publication.time.is_some() && publication.channel == channel {
        Ok(Item::new(&publication, frame))
    } else {
        Err(BadParcel)
    }
}

/// The publication that a frame is.
pub(super) fn publication(frame: &[u8]) -> Result<Publish<'_>, BadParcel> {
    match first(frame)? {
        Frame::Publish(publication) => Ok(publication),
        _ => Err(BadParcel),
    }
}
