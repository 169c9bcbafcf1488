//! From messages to batches: the turn's palette, who still has to get which of its messages, and in which slices.
//!
//! Every message of a turn is encoded once, into the palette. What a connection still has to get is one `u32`, a list of
//! `lists`: equal lists are equal integers, and a list of consecutive messages is one slice of the palette that is
//! never copied.

use alloc::vec::Vec;

use crate::limits::TURN_BYTES;
use crate::queue::{Full, Meta, Queue};
use crate::{Batch, ConnId, Link};

use super::backlog::Backlog;
use super::lists::{self, List, Lists, Message, NONE, is_root, root};

/// Stands in `pending` for a connection whose messages go to its [`Queue`].
const QUEUED: u32 = u32::MAX - 1;
/// One connection. All that a delivery touches lies together, so that it costs one cache line.
#[derive(Clone, Copy, Debug)]
struct Peer {
    /// What it still has to get, or `QUEUED`.
    pending: u32,
    /// The next connection with the same list, while batches are handed out.
    next: u32,
    /// Of its id; 0 while the slot is free.
    generation: u32,
    /// Whether it stands in `dirty` or among some list's members.
    listed: bool,
}

/// What each connection still has to get.
#[derive(Debug)]
pub(crate) struct Fanout {
    /// `HEADROOM` spare bytes, then all messages of the turn one after another.
    palette: Vec<u8>,
    /// Where each message begins in the palette, and where the last one ends.
    bounds: Vec<usize>,
    /// By message: what a queue has to know of it.
    metas: Vec<Meta>,
    lists: Lists,
    /// By slot.
    peers: Vec<Peer>,
    /// Connections that were given their first message since the last pass began, in that order.
    dirty: Vec<u32>,
    /// How many of `dirty` have been handed out already, from the front.
    taken: usize,
    /// The pass: lists that have members, the next one last.
    pass: Vec<u32>,
    backlog: Backlog,
    /// Connections with a queue that the host takes bytes for.
    ready: Vec<u32>,
    /// Connections whose queue overflowed: the router closes them.
    overflowed: Vec<u32>,
    /// Connections whose queue was handed out to its end.
    drained: Vec<u32>,
    /// Bytes put together for the current batch, where the palette has no slice of them.
    out: Vec<u8>,
    to: Vec<ConnId>,
    /// The headroom that the last batch may have overwritten, and where.
    saved: Option<(usize, [u8; Batch::HEADROOM])>,
    queue_bytes: usize,
    pub(crate) counters: Counters,
}

/// What was handed out, and what was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped: u64,
}

/// The next batch, for the connections in `to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gathered {
    link: Link,
    /// What they have pending; `None` if the bytes are in `out`, from a connection's queue.
    list: Option<u32>,
}

impl Peer {
    /// Whether nothing is pending that a batch could take.
    fn is_idle(&self) -> bool {
        is_root(self.pending) || self.pending == QUEUED
    }

    fn id(&self, slot: u32) -> ConnId {
        assert_ne!(self.generation, 0, "only an open connection has messages pending");
        ConnId::new(slot, self.generation)
    }
}

impl Fanout {
    pub(crate) fn new(queue_bytes: usize) -> Self {
        Self {
            palette: [0; Batch::HEADROOM].into(),
            bounds: [Batch::HEADROOM].into(),
            metas: Vec::new(),
            lists: Lists::default(),
            peers: Vec::new(),
            dirty: Vec::new(),
            taken: 0,
            pass: Vec::new(),
            backlog: Backlog::default(),
            ready: Vec::new(),
            overflowed: Vec::new(),
            drained: Vec::new(),
            out: Vec::new(),
            to: Vec::new(),
            saved: None,
            queue_bytes,
            counters: Counters::default(),
        }
    }

    /// Whether this turn holds as much as a turn should.
    pub(crate) fn is_full(&self) -> bool {
        self.palette.len() >= TURN_BYTES || self.lists.is_full()
    }

    pub(crate) fn open(&mut self, id: ConnId, link: Link) {
        let slot = id.slot() as usize;
        if slot >= self.peers.len() {
            let free = Peer { pending: 0, next: NONE, generation: 0, listed: false };
            self.peers.resize(slot + 1, free);
        }
        let peer = &mut self.peers[slot];
        (peer.pending, peer.generation) = (root(link), id.generation());
    }

    /// Forgets the connection and what it had to get.
    pub(crate) fn close(&mut self, slot: u32) {
        let peer = &mut self.peers[slot as usize];
        if peer.pending == QUEUED {
            self.backlog.remove(slot);
        }
        // A slot that is still listed is passed over when its turn comes: its list is an empty one.
        (peer.pending, peer.generation) = (0, 0);
    }

    /// Encodes a message into the palette, for [`push`](Self::push).
    pub(crate) fn message(&mut self, meta: Meta, encode: impl FnOnce(&mut Vec<u8>)) -> Message {
        self.restore();
        encode(&mut self.palette);
        self.metas.push(meta);
        self.bounds.push(self.palette.len());
        Message(self.bounds.len() as u32 - 2)
    }

    /// A message's bytes, its length prefix included.
    pub(crate) fn bytes(&self, message: Message) -> &[u8] {
        bytes(&self.palette, &self.bounds, message.0)
    }

    /// Appends a message to what a connection has to get.
    #[inline]
    pub(crate) fn push(&mut self, slot: u32, message: Message) {
        self.push_all([slot], message);
    }

    /// Appends a message to what each of some connections has to get.
    pub(crate) fn push_all(&mut self, slots: impl IntoIterator<Item = u32>, message: Message) {
        // Most subscribers of a channel have the same list, so where the last one went is where the next one goes.
        let (mut from, mut to, mut first) = (NONE, NONE, false);
        for slot in slots {
            let peer = &mut self.peers[slot as usize];
            if peer.pending != from {
                if peer.pending == QUEUED {
                    self.enqueue(slot, message);
                    continue;
                }
                from = peer.pending;
                first = is_root(from);
                to = self.lists.continued(from, message);
            }
            let peer = &mut self.peers[slot as usize];
            peer.pending = to;
            if first && !peer.listed {
                peer.listed = true;
                self.dirty.push(slot);
            }
        }
    }

    #[cold]
    fn enqueue(&mut self, slot: u32, message: Message) {
        let Self { backlog, metas, palette, bounds, queue_bytes, .. } = self;
        let bytes = bytes(palette, bounds, message.0);
        let push = |queue: &mut Queue| queue.push(metas[message.0 as usize], bytes, *queue_bytes);
        match backlog.change(slot, push).expect("a queued connection has a queue") {
            Ok(lost) => self.counters.dropped += lost,
            Err(Full) => {
                self.counters.dropped += 1;
                self.overflowed.push(slot);
            }
        }
    }

    /// A connection whose queue overflowed since the last call. It may be named more than once.
    pub(crate) fn poll_overflow(&mut self) -> Option<u32> {
        self.overflowed.pop()
    }

    /// A connection whose queue was handed out to its end since the last call.
    pub(crate) fn poll_drained(&mut self) -> Option<u32> {
        self.drained.pop()
    }

    /// Drops what waits in a connection's queue; messages after this one still reach it.
    pub(crate) fn drop_queue(&mut self, slot: u32) {
        self.counters.dropped += self.backlog.change(slot, Queue::clear).unwrap_or(0);
    }

    /// Whether nothing waits for a connection.
    pub(crate) fn is_drained(&self, slot: u32) -> bool {
        self.backlog.get(slot).is_none_or(Queue::is_empty)
    }

    /// From now on messages for this connection wait in a queue.
    pub(crate) fn block(&mut self, slot: u32, link: Link) {
        let list = self.peers[slot as usize].pending;
        if list == QUEUED {
            let block = |queue: &mut Queue| queue.writable = false;
            return self.backlog.change(slot, block).expect("a queued connection has a queue");
        }
        self.restore();
        self.peers[slot as usize].pending = QUEUED;
        self.backlog.insert(slot, Queue::new(link.dialect));
        let mut messages: Vec<u32> = self.lists.newest_first(list).collect();
        while let Some(message) = messages.pop() {
            self.enqueue(slot, Message(message));
        }
    }

    /// The connection has left a channel, whose name this is.
    pub(crate) fn leave(&mut self, slot: u32, channel: u32, name: &str) {
        if self.peers[slot as usize].pending == QUEUED {
            let leave = |queue: &mut Queue| queue.leave(channel, name);
            self.backlog.change(slot, leave).expect("a queued connection has a queue");
        }
    }

    /// Whether messages for a connection wait in a queue, because the host takes nothing for it.
    pub(crate) fn is_queued(&self, slot: u32) -> bool {
        self.peers[slot as usize].pending == QUEUED
    }

    /// Bytes that wait for a connection in its queue.
    pub(crate) fn queued_bytes(&self, slot: u32) -> usize {
        self.backlog.get(slot).map_or(0, Queue::bytes)
    }

    /// Bytes that wait for all connections in their queues.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.backlog.bytes()
    }

    /// Whether nothing is pending that the next batches would take.
    pub(crate) fn is_settled(&self, slot: u32) -> bool {
        self.peers[slot as usize].is_idle()
    }

    /// The frames that wait in a connection's queue; `None` if it has none because the host takes bytes for it.
    pub(crate) fn kept<'n>(&self, slot: u32, name: impl Fn(u32) -> &'n str) -> Option<Vec<Vec<u8>>> {
        self.backlog.get(slot).map(|queue| queue.frames(name))
    }

    /// Puts a frame into the queue of a blocked connection, whatever the bound.
    pub(crate) fn keep(&mut self, slot: u32, frame: &[u8]) {
        let push = |queue: &mut Queue| queue.push(Meta::CONTROL, frame, usize::MAX);
        let pushed = self.backlog.change(slot, push).expect("a blocked connection has a queue");
        pushed.expect("without a bound there is room");
    }

    /// The connection takes bytes again: first what waits in its queue, then what comes.
    pub(crate) fn unblock(&mut self, slot: u32, link: Link) {
        let unblock = |queue: &mut Queue| {
            queue.writable = true;
            queue.is_empty()
        };
        match self.backlog.change(slot, unblock) {
            Some(true) => {
                self.backlog.remove(slot);
                self.peers[slot as usize].pending = root(link);
            }
            Some(false) => self.ready.push(slot),
            None => {}
        }
    }

    /// Gathers the next batch; `None` when nothing is left to hand out. `link` tells a slot's link, `name` a channel's name.
    pub(crate) fn gather<'n>(
        &mut self,
        link: impl Fn(u32) -> Link,
        name: impl Fn(u32) -> &'n str,
    ) -> Option<Gathered> {
        self.restore();
        self.to.clear();
        while let Some(&slot) = self.ready.last() {
            self.out.clear();
            self.out.resize(Batch::HEADROOM, 0);
            let out = &mut self.out;
            let taken = self.backlog.change(slot, |queue| {
                let is_waiting = queue.writable && !queue.is_empty();
                is_waiting.then(|| (queue.take(out, &name), queue.is_empty()))
            });
            let Some((frames, is_empty)) = taken.flatten() else {
                self.ready.pop();
                continue;
            };
            self.counters.frames += frames;
            self.counters.bytes += (self.out.len() - Batch::HEADROOM) as u64;
            self.to.push(self.peers[slot as usize].id(slot));
            let link = link(slot);
            if is_empty {
                self.ready.pop();
                self.backlog.remove(slot);
                self.peers[slot as usize].pending = root(link);
                self.drained.push(slot);
            }
            return Some(Gathered { link, list: None });
        }
        let list = self.gather_list()?;
        Some(Gathered { link: link(self.to[0].slot()), list: Some(list) })
    }

    /// The batch that was gathered.
    pub(crate) fn batch(&mut self, Gathered { link, list }: Gathered) -> Batch<'_> {
        let Some(list) = list else { return Batch::new(&self.to, link, &mut self.out) };
        let &List { first, message, count, root, .. } = &self.lists[list];
        debug_assert_eq!(root, lists::root(link), "all members of a list have the link of its root");
        let buf = if first == NONE {
            self.assemble(list);
            &mut self.out[..]
        } else {
            let begin = self.bounds[first as usize] - Batch::HEADROOM;
            let headroom = self.palette[begin..].first_chunk().expect("a message has headroom in front");
            self.saved = Some((begin, *headroom));
            &mut self.palette[begin..self.bounds[message as usize + 1]]
        };
        let receivers = self.to.len() as u64;
        self.counters.frames += receivers * u64::from(count);
        self.counters.bytes += receivers * (buf.len() - Batch::HEADROOM) as u64;
        Batch::new(&self.to, link, buf)
    }

    /// Collects up to [`Batch::MAX_RECEIVERS`] connections with one list in `to`; returns the list.
    fn gather_list(&mut self) -> Option<u32> {
        loop {
            let Some(&list) = self.pass.last() else {
                if self.taken == self.dirty.len() {
                    self.end_turn();
                    return None;
                }
                if let Some(list) = self.take_run() {
                    return Some(list);
                }
                self.begin_pass();
                continue;
            };
            let List { members: mut member, root, .. } = self.lists[list];
            while member != NONE && self.to.len() < Batch::MAX_RECEIVERS {
                let slot = member;
                let peer = &mut self.peers[slot as usize];
                member = peer.next;
                if peer.pending == list {
                    self.to.push(peer.id(slot));
                    (peer.pending, peer.listed) = (root, false);
                } else if peer.is_idle() {
                    peer.listed = false;
                } else {
                    // More was added to its list since the pass began: it goes with the next one.
                    self.dirty.push(slot);
                }
            }
            self.lists[list].members = member;
            if member == NONE {
                self.pass.pop();
            }
            if !self.to.is_empty() {
                return Some(list);
            }
        }
    }

    /// Takes the next dirty connections as they stand, if all of them, or as many as a batch names, have one list:
    /// so it is after a single publication, and sorting would cost as much as the rest.
    fn take_run(&mut self) -> Option<u32> {
        let next = &self.dirty[self.taken..];
        let next = &next[..next.len().min(Batch::MAX_RECEIVERS)];
        let first = self.peers[next[0] as usize];
        if first.is_idle() {
            return None;
        }
        let list = first.pending;
        let root = self.lists[list].root;
        self.to.reserve(next.len());
        for &slot in next {
            let peer = &mut self.peers[slot as usize];
            if peer.pending != list {
                for id in self.to.drain(..) {
                    let peer = &mut self.peers[id.slot() as usize];
                    (peer.pending, peer.listed) = (list, true);
                }
                return None;
            }
            self.to.push(peer.id(slot));
            (peer.pending, peer.listed) = (root, false);
        }
        self.taken += next.len();
        Some(list)
    }

    /// Sorts the dirty connections by their lists. Connections and lists keep the order of their first message.
    fn begin_pass(&mut self) {
        for &slot in self.dirty[self.taken..].iter().rev() {
            let peer = &mut self.peers[slot as usize];
            if peer.is_idle() {
                peer.listed = false;
                continue;
            }
            let members = &mut self.lists[peer.pending].members;
            if *members == NONE {
                self.pass.push(peer.pending);
            }
            peer.next = core::mem::replace(members, slot);
        }
        self.dirty.clear();
        self.taken = 0;
    }

    /// Nothing is pending any more: the palette and its lists go.
    fn end_turn(&mut self) {
        if self.bounds.len() == 1 {
            return;
        }
        self.palette.truncate(Batch::HEADROOM);
        self.metas.clear();
        self.bounds.truncate(1);
        self.dirty.clear();
        self.taken = 0;
        self.lists.clear();
        // One large turn must not keep its memory for ever.
        if self.palette.capacity() > 8 * TURN_BYTES {
            self.palette.shrink_to(2 * TURN_BYTES);
        }
        if self.out.capacity() > 8 * TURN_BYTES {
            self.out = Vec::new();
        }
    }

    /// Puts the messages of a list together in `out`, behind the headroom.
    fn assemble(&mut self, list: u32) {
        let Self { lists, palette, bounds, out, .. } = self;
        let mut len = Batch::HEADROOM;
        for message in lists.newest_first(list) {
            len += bytes(palette, bounds, message).len();
        }
        // What stood there is overwritten, all but the headroom: clearing it first would be work for nothing.
        out.resize(len, 0);
        let mut end = len;
        for message in lists.newest_first(list) {
            let bytes = bytes(palette, bounds, message);
            out[end - bytes.len()..end].copy_from_slice(bytes);
            end -= bytes.len();
        }
    }

    /// Puts back what a host's header overwrote: it is the end of the message before.
    fn restore(&mut self) {
        if let Some((at, bytes)) = self.saved.take() {
            self.palette[at..at + Batch::HEADROOM].copy_from_slice(&bytes);
        }
    }
}

/// One message, with its length prefix.
fn bytes<'p>(palette: &'p [u8], bounds: &[usize], message: u32) -> &'p [u8] {
    &palette[bounds[message as usize]..bounds[message as usize + 1]]
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::Dialect;
    use alloc::string::{String, ToString};
    use alloc::{format, vec};

    const LINK: Link = Link { class: 0, dialect: Dialect::V1 };

    fn fanout(connections: u32) -> Fanout {
        let mut fanout = Fanout::new(1000);
        (0..connections).for_each(|slot| fanout.open(ConnId::new(slot, 1), LINK));
        fanout
    }

    fn message(fanout: &mut Fanout, text: &str) -> Message {
        fanout.message(Meta::CONTROL, |out| {
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        })
    }

    fn text(mut frames: &[u8]) -> String {
        let mut text = String::new();
        while let Some(prefix) = frames.first_chunk::<4>() {
            let end = 4 + u32::from_be_bytes(*prefix) as usize;
            text += core::str::from_utf8(&frames[4..end]).unwrap();
            frames = &frames[end..];
        }
        text
    }

    fn next(fanout: &mut Fanout, link: impl Fn(u32) -> Link) -> Option<Batch<'_>> {
        let gathered = fanout.gather(link, |_| "")?;
        Some(fanout.batch(gathered))
    }

    fn poll(fanout: &mut Fanout) -> Option<String> {
        let mut batch = next(fanout, |_| LINK)?;
        let to: Vec<String> = batch.to().iter().map(|id| id.slot().to_string()).collect();
        // A host writes into the headroom; that must never be seen in a later batch.
        let written = format!("{}<-{}", to.join(","), text(batch.payload()));
        let _ = batch.framed(&[0xff; Batch::HEADROOM]);
        Some(written)
    }

    fn drain(fanout: &mut Fanout) -> Vec<String> {
        core::iter::from_fn(|| poll(fanout)).collect()
    }

    #[test]
    fn equal_lists_leave_as_one_batch() {
        let mut f = fanout(3);
        let (a, b) = (message(&mut f, "a"), message(&mut f, "b"));
        for slot in 0..3 {
            f.push(slot, a);
            f.push(slot, b);
        }
        assert_eq!(drain(&mut f), ["0,1,2<-ab"]);
        assert_eq!(drain(&mut f), Vec::<String>::new());
    }

    #[test]
    fn lists_that_part_leave_apart_and_in_order() {
        let mut f = fanout(3);
        let a = message(&mut f, "a");
        (0..3).for_each(|slot| f.push(slot, a));
        let b = message(&mut f, "b");
        f.push(1, b);
        let c = message(&mut f, "c");
        f.push(1, c);
        f.push(2, c);
        assert_eq!(drain(&mut f), ["0<-a", "1<-abc", "2<-ac"]);
    }

    #[test]
    fn headers_written_into_the_headroom_do_no_harm() {
        let mut f = fanout(3);
        let long = message(&mut f, "a message longer than the headroom");
        f.push(0, long);
        let b = message(&mut f, "b");
        f.push(1, b);
        f.push(0, b);
        let c = message(&mut f, "c");
        f.push(2, c);
        f.push(0, c);
        let mut all = drain(&mut f);
        all.sort();
        assert_eq!(all, ["0<-a message longer than the headroombc", "1<-b", "2<-c"]);
    }

    #[test]
    fn no_batch_names_more_receivers_than_it_may() {
        let mut f = fanout(600);
        let a = message(&mut f, "a");
        (0..600).for_each(|slot| f.push(slot, a));
        let mut sizes = vec![];
        while let Some(batch) = next(&mut f, |_| LINK) {
            sizes.push(batch.to().len());
        }
        assert_eq!(sizes, [256, 256, 88]);
        assert_eq!(f.counters, Counters { frames: 600, bytes: 600 * 5, dropped: 0 });
    }

    #[test]
    fn messages_that_come_between_two_batches_keep_their_order() {
        let mut f = fanout(4);
        let (a, b) = (message(&mut f, "a"), message(&mut f, "b"));
        f.push(0, a);
        f.push(1, b);
        f.push(2, b);
        assert_eq!(poll(&mut f).unwrap(), "0<-a");
        let c = message(&mut f, "c");
        (0..4).for_each(|slot| f.push(slot, c));
        assert_eq!(drain(&mut f), ["0,3<-c", "1,2<-bc"]);
    }

    #[test]
    fn a_slot_used_again_within_the_turn_gets_only_its_own() {
        let mut f = fanout(2);
        let a = message(&mut f, "a");
        f.push(0, a);
        f.push(1, a);
        f.close(0);
        f.open(ConnId::new(0, 2), LINK);
        let b = message(&mut f, "b");
        f.push(0, b);
        assert_eq!(drain(&mut f), ["0<-b", "1<-a"]);
    }

    #[test]
    fn a_blocked_connection_gets_everything_once_it_is_writable() {
        let mut f = fanout(2);
        let a = message(&mut f, "a");
        (0..2).for_each(|slot| f.push(slot, a));
        f.block(0, LINK);
        let b = message(&mut f, "b");
        (0..2).for_each(|slot| f.push(slot, b));
        assert_eq!(drain(&mut f), ["1<-ab"]);
        let c = message(&mut f, "c");
        (0..2).for_each(|slot| f.push(slot, c));
        f.unblock(0, LINK);
        assert_eq!(drain(&mut f), ["0<-abc", "1<-c"]);
        let d = message(&mut f, "d");
        (0..2).for_each(|slot| f.push(slot, d));
        assert_eq!(drain(&mut f), ["0,1<-d"], "and is like the others again");
    }

    #[test]
    fn a_queue_ends_at_its_bound() {
        let mut f = fanout(1);
        f.block(0, LINK);
        let big = "x".repeat(400);
        for _ in 0..3 {
            let m = message(&mut f, &big);
            f.push(0, m);
        }
        assert_eq!(f.poll_overflow(), Some(0));
        f.drop_queue(0);
        assert_eq!(f.counters.dropped, 3);
        let last = message(&mut f, "bye");
        f.push(0, last);
        f.unblock(0, LINK);
        assert_eq!(drain(&mut f), ["0<-bye"]);
    }

    #[test]
    fn kinds_of_link_never_share_a_batch() {
        let mut f = fanout(1);
        let legacy = Link { class: 0, dialect: Dialect::Legacy };
        f.open(ConnId::new(1, 1), legacy);
        let a = message(&mut f, "a");
        (0..2).for_each(|slot| f.push(slot, a));
        let link = |slot| if slot == 1 { legacy } else { LINK };
        assert_eq!(next(&mut f, link).unwrap().to(), [ConnId::new(0, 1)]);
        assert_eq!(next(&mut f, link).unwrap().to(), [ConnId::new(1, 1)]);
        assert!(next(&mut f, link).is_none());
    }
}
