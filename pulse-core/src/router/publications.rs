//! The way of a publication: from its publisher to the channel's home, which numbers it, and on to every subscriber, here and
//! through the leaves.

use crate::grant::{SlowConsumer, is_channel_name};
use crate::peer::{Asked, PeerMessage, put_publish};
use crate::queue::Meta;
use crate::wire::{self, Ack, ErrorCode, Frame, Gap, Publish, Split};
use crate::{Answer, BadParcel, Dialect, Request};

use super::guards::check_guards;
use super::requests::{Flow, judge};
use super::{Message, Router, Shared, Slot};

/// A frame for subscribers, as it came.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// A publication of this router's clients.
    Publication(&'a Publish<'a>),
    /// MessagePack, with its length in front; decoded where [`Router::decode`] says that it matters.
    Encoded(&'a [u8], Option<&'a Frame<'a>>),
}

impl Router {
    pub(super) fn publish(&mut self, slot: Slot, request: &Publish<'_>, answer: Option<&Answer>) -> Flow {
        let id = request.id.unwrap_or(0);
        let hash = self.channels.hash(request.channel);
        let known = self.channels.find(hash, request.channel);
        if known.is_none() && !is_channel_name(request.channel) {
            self.refuse_name(slot, id);
            return Flow::On;
        }
        if request.payload.len() > self.config.limits.max_message_size as usize {
            self.refuse(
                slot,
                id,
                ErrorCode::PAYLOAD_TOO_LARGE,
                "the payload is over limits.max_message_size",
            );
            return Flow::On;
        }
        let rules = self.rulebook.rules(request.channel);
        // One branch in place of two: nearly no publication has either.
        if (request.idempotency_key.is_some() | request.version.is_some())
            && let Err((code, message)) = check_guards(request, &rules)
        {
            self.refuse(slot, id, code, message);
            return Flow::On;
        }
        match judge(rules.publish, answer) {
            Some(true) => {}
            Some(false) => {
                self.refuse(slot, id, ErrorCode::FORBIDDEN, "publishing is not allowed in this namespace");
                return Flow::On;
            }
            None => return self.ask(slot, Request::Publish { channel: request.channel.into() }),
        }
        let publication = for_subscribers(request);
        let home =
            known.map_or_else(|| self.channels.home(hash), |channel| self.channels.get(channel).home());
        if home != self.config.shards.index {
            if rules.stores() && self.outboxes[usize::from(home)].busy.store {
                return self.wait_for_store_of(slot, home);
            }
            let name = self.name_at_home(slot, request, &rules);
            return self.publish_away(slot, home, request.id, &publication, &name, rules.history().is_some());
        }
        if let Some(leaf) = known.and_then(|channel| self.crowded_leaf(channel)) {
            return self.wait_for_peer(slot, leaf);
        }
        if rules.stores() && self.storing.is_crowded() {
            return self.wait_for_store(slot);
        }
        if rules.history().is_some() {
            let name = self.name_at_home(slot, request, &rules);
            self.publish_to_keep(slot, request.id, &publication, &name);
            return Flow::On;
        }
        self.stats.publications += 1;
        if let Some(id) = request.id {
            self.tell_ack(slot, Ack { id, ..Ack::default() }, None);
        }
        if let Some(channel) = known {
            let meta = self.meta(channel, rules.slow_consumer, request.key);
            self.deliver(channel, Source::Publication(&publication), meta);
        }
        Flow::On
    }

    /// Hands a publication to the home of its channel, which refuses none of those that are not `kept`.
    fn publish_away(
        &mut self,
        slot: Slot,
        home: u16,
        id: Option<u64>,
        publication: &Publish<'_>,
        name: &[u8],
        kept: bool,
    ) -> Flow {
        if let Some(flow) = self.out_of_reach(slot, id.unwrap_or(0), home) {
            return flow;
        }
        self.stats.publications += 1;
        let conn = self.id(slot);
        let ticket = match id {
            Some(id) => self.outboxes[usize::from(home)].ask(Asked::Client { conn, id }),
            None if kept => PeerMessage::only_refusal(conn),
            None => 0,
        };
        Self::send(&mut self.outboxes, &mut self.unsent, home, |out| {
            put_publish(out, ticket, publication.channel, name, |out| publication.encode(out));
        });
        Flow::On
    }

    /// At home: numbers a publication and gives it to all subscribers.
    pub(super) fn deliver(&mut self, channel: u32, source: Source<'_>, meta: Meta) {
        if self.channels.get(channel).kept {
            let publication = match source {
                Source::Publication(publication) => publication,
                Source::Encoded(_, Some(Frame::Publish(publication))) => publication,
                Source::Encoded(..) => unreachable!("publications of peers are decoded where they are kept"),
            };
            return self.deliver_kept(channel, publication, meta);
        }
        let offset = self.channels.number(channel);
        let message = self.spread(channel, source, meta);
        let entry = self.channels.get(channel);
        if entry.leaves == 0 {
            return;
        }
        let message = message.expect("where there are leaves, a publication is encoded");
        let frame = self.fanout.bytes(message);
        let publication = PeerMessage::Publication { channel: &entry.name, offset, frame };
        self.stats.dropped_between +=
            Self::pass_on(&mut self.outboxes, &mut self.unsent, entry.leaves, channel, &publication);
    }

    /// What gives way in this channel when a subscriber is too slow.
    pub(super) fn policy(&self, channel: u32) -> SlowConsumer {
        self.rulebook.rules(&self.channels.get(channel).name).slow_consumer
    }

    /// What a queue has to know of a publication.
    pub(super) fn meta(&self, channel: u32, policy: SlowConsumer, key: Option<&str>) -> Meta {
        let key = match key {
            Some(key) if policy == SlowConsumer::LatestPerKey => self.channels.key(key),
            _ => 0,
        };
        Meta::publication(channel, key, policy)
    }

    /// Decodes a frame of a peer, where something in it matters: its key, or what readers of JSON are to be shown.
    pub(super) fn decode<'f>(
        &self,
        policy: SlowConsumer,
        frame: &'f [u8],
    ) -> Result<Option<Frame<'f>>, BadParcel> {
        let matters = self.num_json > 0 || policy == SlowConsumer::LatestPerKey;
        if matters { first(frame).map(Some) } else { Ok(None) }
    }

    /// Appends a frame to what each subscriber of this router has to get, encoded once for each encoding among them.
    pub(super) fn spread(&mut self, channel: u32, source: Source<'_>, meta: Meta) -> Option<Message> {
        let entry = self.channels.get(channel);
        if entry.subscribers.is_empty() && entry.leaves == 0 {
            return None;
        }
        let message = self.fanout.message(meta, |out| match source {
            Source::Publication(publication) => publication.encode(out),
            Source::Encoded(bytes, _) => out.extend_from_slice(bytes),
        });
        if self.num_json == 0 {
            self.fanout.push_all(entry.subscribers.iter().map(|subscriber| subscriber.slot), message);
            return Some(message);
        }
        let publication;
        let frame = match source {
            Source::Publication(publish) => {
                publication = Frame::Publish(*publish);
                &publication
            }
            Source::Encoded(_, frame) => frame.expect("with readers of JSON, frames of peers are decoded"),
        };
        let mut shared = Shared::with(message);
        for subscriber in &entry.subscribers {
            let encoding = self.conns[subscriber.slot as usize].link.dialect.encoding();
            let message = shared.message(encoding, meta, frame, &mut self.fanout);
            self.fanout.push(subscriber.slot, message);
        }
        Some(message)
    }

    /// Tells the subscribers of this router, but those who do not know yet that they are, that they missed publications.
    pub(super) fn tell_gap(&mut self, channel: u32, reason: &str, count: Option<u64>) {
        let entry = self.channels.get(channel);
        let frame = Frame::Gap(Gap { channel: &entry.name, reason, count, ..Gap::default() });
        let unaware = self.joining.get(&channel).map_or(&[][..], |joining| &joining.acks);
        let mut shared = Shared::default();
        for subscriber in &entry.subscribers {
            let dialect = self.conns[subscriber.slot as usize].link.dialect;
            // A client of the first release does not know the frame.
            if dialect != Dialect::Legacy && unaware.iter().all(|ack| ack.slot != subscriber.slot) {
                let message = shared.message(dialect.encoding(), Meta::CONTROL, &frame, &mut self.fanout);
                self.fanout.push(subscriber.slot, message);
            }
        }
        let missed = count.unwrap_or(0).saturating_mul(entry.subscribers.len() as u64);
        self.stats.dropped_between = self.stats.dropped_between.saturating_add(missed);
    }
}

/// What subscribers get of a request: nothing that is between its sender and the server, or that only servers say.
pub(super) fn for_subscribers<'a>(request: &Publish<'a>) -> Publish<'a> {
    let &Publish { channel, payload, event, format, key, version, tags, .. } = request;
    Publish { channel, payload, event, format, key, version, tags, ..Publish::default() }
}

/// A frame that a router has encoded, with its length in front.
pub(super) fn first(frame: &[u8]) -> Result<Frame<'_>, BadParcel> {
    match wire::split(frame, frame.len()) {
        Split::Frame { map, rest: [] } => wire::decode(map).map_err(|_| BadParcel),
        _ => Err(BadParcel),
    }
}

/// The numbers of the bits that are set, from the lowest.
pub(super) fn bits(mut set: u64) -> impl Iterator<Item = u16> {
    core::iter::from_fn(move || {
        let bit = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (bit < 64).then_some(bit as u16)
    })
}
