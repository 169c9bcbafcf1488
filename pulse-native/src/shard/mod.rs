//! One thread's worth of server: an engine, its sockets, and the loop that joins them.
//!
//! WebSockets wait in a level-triggered epoll of the shard's own, which this loop polls from inside its tokio
//! runtime; a turn is: what is ready, read; then what the engine has to say, written. Everything else (HTTP) is
//! ordinary tokio on the same thread and hands over its upgraded sockets through the [`Inbox`]. The other shards are
//! reached by [`Post`]. What a message means is the engine's business.

mod ask;
mod close;
mod conn;
mod deadlines;
mod flow;
mod peers;
mod post;
mod read;
mod secure;
mod write;

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pulse_core::{Answer, Effect, PeerId, Ticket, Time};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::Sleep;

pub(crate) use self::ask::Ask;
use self::ask::Settle;
use self::conn::Key;
use self::deadlines::Deadlines;
use self::flow::Flow;
use self::peers::{Drain, Peers};
use self::post::Mail;
pub(crate) use self::post::Post;
use self::write::{Net, Note, Pongs};
use crate::address::Neighbours;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::http::{Http, Upgraded};
use crate::keeper::{self, Keeper};
use crate::metrics::ShardMetrics;
use crate::server::Options;
use crate::sys::{self, Epoll, Event};
use crate::ws::{self, Opcode};

/// Sends of one flush before the loop looks at its sockets again: 1 to 2 ms.
const SENDS: usize = 512;

/// Events taken from the epoll at once.
const EVENTS: usize = 1024;

/// One read takes at most this much: as much as a turn should hold.
const READ: usize = 64 << 10;

/// What reaches a shard from outside its loop.
#[derive(Debug)]
pub(crate) enum Inbox {
    /// A socket whose upgrade was served by hyper.
    Upgraded(Upgraded),
    /// Something that the HTTP API wants of the engine.
    Ask(Ask),
    /// What became of what the engine wanted stored.
    Stored(u64, keeper::Verdict),
    /// Take leave of everybody; who is not gone then is cut off.
    Drain(Instant),
}

/// What a shard is made of.
pub(crate) struct Parts<E> {
    pub(crate) engine: E,
    /// Of TCP or a Unix socket; shared with the other shards.
    pub(crate) listener: OwnedFd,
    pub(crate) options: Arc<Options>,
    pub(crate) http: Arc<Http>,
    pub(crate) inbox: mpsc::UnboundedReceiver<Inbox>,
    pub(crate) post: Post,
    /// For engines that want something stored.
    pub(crate) keeper: Option<Keeper>,
    pub(crate) metrics: Arc<ShardMetrics>,
}

/// A shard that runs.
pub(crate) struct Shard<E> {
    engine: E,
    options: Arc<Options>,
    http: Arc<Http>,
    inbox: mpsc::UnboundedReceiver<Inbox>,
    post: Post,
    keeper: Option<Keeper>,
    metrics: Arc<ShardMetrics>,
    clock: Clock,
    now: Time,

    /// Gone while draining.
    listener: Option<OwnedFd>,
    /// When to listen again after descriptors ran out.
    accept_at: Option<Time>,
    complained_at: Option<Time>,

    poller: AsyncFd<Rc<Epoll>>,
    events: Vec<Event>,
    /// The first of `events` that was not looked at yet.
    next_event: usize,
    arrived: Vec<Upgraded>,
    /// Not put to the engine yet.
    asked: VecDeque<Ask>,
    /// Wait until something is stored.
    unsettled: HashMap<Ticket, Settle>,
    /// What the engine was not told yet.
    stored: Option<(u64, keeper::Verdict)>,
    /// Taken out of the mailbox, not looked at yet.
    mail: VecDeque<(PeerId, Mail)>,
    /// The next input is to be mail rather than an event, so that neither kind shuts out the other.
    mail_next: bool,
    buf: Box<[u8]>,
    /// What came over TLS and is not decrypted yet; empty until the first such connection.
    wire: Box<[u8]>,
    pongs: Pongs,

    net: Net,
    /// Whose allowance a seat counts for, where addresses count.
    whose: HashMap<Key, Neighbours>,
    /// Upgraded, and the answer not written yet.
    fresh: Vec<Key>,
    /// To be closed with this frame once the engine has nothing more to say.
    ending: Vec<(Key, Vec<u8>)>,
    flow: Flow,
    deadlines: Deadlines,
    /// To be done when everything before them is written.
    effects: VecDeque<Effect>,
    peers: Peers,
    drain: Option<Drain>,
    /// When the oldest input came whose outputs are not all written.
    since: Option<Instant>,
}

impl<E: Engine> Shard<E> {
    /// Must be called within the runtime that will run it.
    pub(crate) fn new(parts: Parts<E>) -> io::Result<Self> {
        let Parts { mut engine, listener, options, http, inbox, post, keeper, metrics } = parts;
        let clock = Clock::new();
        if let Some(keeper) = &keeper {
            // What is restored has an age.
            engine.advance(clock.now());
            keeper.restore(&mut engine)?;
        }
        let epoll = Rc::new(Epoll::new()?);
        epoll.add_shared(&listener, read::LISTENER)?;
        Ok(Self {
            engine,
            clock,
            now: Time(0),
            listener: Some(listener),
            accept_at: None,
            complained_at: None,
            poller: sys::register(Rc::clone(&epoll))?,
            events: Vec::with_capacity(EVENTS),
            next_event: 0,
            arrived: Vec::new(),
            asked: VecDeque::new(),
            unsettled: HashMap::new(),
            stored: None,
            mail: VecDeque::new(),
            mail_next: false,
            buf: vec![0; READ].into_boxed_slice(),
            wire: Box::default(),
            pongs: Pongs::default(),
            net: Net::new(epoll),
            whose: HashMap::new(),
            fresh: Vec::new(),
            ending: Vec::new(),
            flow: Flow::default(),
            deadlines: Deadlines::new(options.handshake_timeout_ms),
            effects: VecDeque::new(),
            peers: Peers::new(&post),
            drain: None,
            since: None,
            options,
            http,
            inbox,
            post,
            keeper,
            metrics,
        })
    }

    /// Serves until it has drained; returns how many connections had to be cut off.
    pub(crate) async fn run(mut self) -> usize {
        let mut sleep = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        let mut alarm = None;
        let mut busy = false;
        loop {
            let due = self.due();
            if let Some(due) = due.filter(|_| due != alarm) {
                sleep.as_mut().reset(self.clock.instant(due).into());
            }
            alarm = due;
            poll_fn(|cx| self.poll_inputs(cx, alarm.map(|_| sleep.as_mut()), busy)).await;
            busy = self.turn();
            if let Some(end) = self.is_over() {
                let http = Arc::clone(&self.http);
                let left = self.cut_off();
                http.idle(self.clock.instant(end)).await;
                return left;
            }
            if busy || self.http.is_active() {
                // Otherwise a shard with enough to do would leave the others on this thread waiting for dozens of
                // turns, until tokio's budget for one task is used up.
                tokio::task::yield_now().await;
            }
        }
    }

    /// When the next turn is due if nothing comes before.
    fn due(&mut self) -> Option<Time> {
        let own = [self.deadlines.next(&self.net.table), self.accept_at, self.flow.look_at, self.drain_due()];
        own.into_iter().flatten().chain(self.engine.poll_timeout()).min()
    }

    /// Collects what is ready, unless the last events or mail are not all handled. Pending if there is nothing at all, and
    /// the shard is not `busy` anyway.
    fn poll_inputs(&mut self, cx: &mut Context<'_>, sleep: Option<Pin<&mut Sleep>>, busy: bool) -> Poll<()> {
        let mut ready = busy | sleep.is_some_and(|sleep| sleep.poll(cx).is_ready());
        while let Poll::Ready(Some(input)) = self.inbox.poll_recv(cx) {
            match input {
                Inbox::Upgraded(upgraded) => self.arrived.push(upgraded),
                Inbox::Ask(ask) => self.asked.push_back(ask),
                Inbox::Stored(sequence, stored) => self.stored = Some((sequence, stored)),
                Inbox::Drain(end) => self.drain = Some(Drain::Asked(end)),
            }
            ready = true;
        }
        while self.next_event == self.events.len() {
            let Poll::Ready(Ok(mut guard)) = self.poller.poll_read_ready(cx) else { break };
            self.next_event = 0;
            guard.get_inner().poll(&mut self.events).expect("the shard's own epoll can be polled");
            if self.events.is_empty() {
                // Tokio watches the epoll edge-triggered: only now will it tell again.
                guard.clear_ready();
            }
        }
        ready |= self.next_event < self.events.len();
        // The last look before sleeping: whoever sends from here on finds the waker.
        self.post.collect(&mut self.mail, (!ready).then(|| cx.waker()));
        if ready || self.has_mail() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Inputs until the engine is full, then outputs. True if there is more to do at once.
    fn turn(&mut self) -> bool {
        self.tick();
        self.expire();
        self.drain();
        let mut sends = SENDS;
        loop {
            while !self.engine.is_full() && self.take_input() {}
            let drained = self.flush(&mut sends);
            self.release();
            self.report(drained);
            if !drained {
                return true;
            }
            if self.arrived.is_empty()
                && self.asked.is_empty()
                && self.stored.is_none()
                && !self.has_mail()
                && self.next_event == self.events.len()
            {
                return false;
            }
        }
    }

    /// Deals with one input; false if there is none.
    fn take_input(&mut self) -> bool {
        if let Some(upgraded) = self.arrived.pop() {
            self.adopt(upgraded);
            return true;
        }
        if let Some(ask) = self.asked.pop_front() {
            if let Some((ticket, settle)) = ask.put(&mut self.engine) {
                self.unsettled.insert(ticket, settle);
            }
            return true;
        }
        if let Some((sequence, stored)) = self.stored.take() {
            match stored {
                Ok(()) => self.engine.stored(sequence),
                Err(reason) => self.engine.not_stored(sequence, reason),
            }
            self.leave_if_settled();
            return true;
        }
        self.mail_next = !self.mail_next;
        if self.mail_next && self.take_mail() {
            return true;
        }
        let Some(&event) = self.events.get(self.next_event) else { return self.take_mail() };
        self.next_event += 1;
        self.on_event(event.into());
        true
    }

    /// Reads the clocks, once a turn.
    fn tick(&mut self) {
        let now = self.clock.now();
        (self.now, self.net.out.now) = (now.mono, now.mono);
        self.engine.advance(now);
    }

    /// Writes what the engine has to say, at most about `sends` times; then does what only a host can do. True if
    /// nothing is left.
    fn flush(&mut self, sends: &mut usize) -> bool {
        loop {
            let mut news = self.hurry();
            while let Some(mut batch) = self.engine.poll_write() {
                // Writing may be what an effect waited for.
                news = true;
                let receivers = self.net.deliver(&mut batch);
                self.settle();
                *sends = sends.saturating_sub(receivers);
                if *sends == 0 {
                    return false;
                }
            }
            // The engine has answered everything that was read: now, and not before, an answer to an upgrade may
            // leave alone and a close frame may follow.
            self.greet();
            if self.end() {
                continue;
            }
            match self.effects.pop_front() {
                Some(effect) => self.perform(effect),
                // Finding nothing to write, the engine may have asked another shard for it.
                None if news || self.hurry() => {}
                None => return true,
            }
        }
    }

    /// Does at once what need not wait until everything is written: so other shards write to their clients while this one
    /// writes to its own. True if the engine asked for anything.
    fn hurry(&mut self) -> bool {
        let mut news = false;
        while let Some(effect) = self.engine.poll_effect() {
            news = true;
            match effect {
                Effect::Send { to, parcel } => self.send(to, parcel),
                Effect::Store { sequence, records } => self.store(sequence, records),
                Effect::Settled { ticket, outcome } => {
                    if let Some(settle) = self.unsettled.remove(&ticket) {
                        settle(outcome);
                    }
                }
                later => self.effects.push_back(later),
            }
        }
        self.answer_asking();
        news
    }

    fn store(&mut self, sequence: u64, records: Vec<u8>) {
        match &self.keeper {
            Some(keeper) => keeper.store(self.post.own().0.into(), sequence, records),
            None => self.engine.not_stored(sequence, "this server was started without a store"),
        }
    }

    /// Tells the engine what became of the writes.
    fn settle(&mut self) {
        while let Some(note) = self.net.out.notes.pop() {
            match note {
                Note::Blocked(session) => self.engine.set_writable(session, false),
                Note::Free(session) => self.engine.set_writable(session, true),
                Note::Lost(key) => self.remove(key),
            }
        }
    }

    /// Writes the answers to upgrades that nothing followed.
    fn greet(&mut self) {
        for key in self.fresh.drain(..) {
            if let Some(conn) = self.net.table.get_mut(key) {
                self.net.out.write_head(key, conn);
            }
        }
        self.settle();
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Close { conn: session, code } => {
                if let Some((key, _)) = self.net.table.find(session) {
                    self.close(key, &close::frame(code.0, code.text()));
                }
            }
            Effect::Ping { conn: session } => {
                if let Some((key, conn)) = self.net.table.find(session) {
                    self.net.out.write(key, conn, &ws::header(Opcode::Ping, 0));
                }
            }
            Effect::Pause { conn: session, paused } => {
                if let Some((key, conn)) = self.net.table.find(session) {
                    conn.paused = paused;
                    self.net.out.watch(key, conn);
                }
            }
            Effect::Authorize { ticket, request, .. } => {
                let answer = self.options.authorize.as_ref().map_or(Answer::Deny, |decide| decide(&request));
                self.engine.answer(ticket, answer);
            }
            other => unreachable!("this host performs every effect of its core, {other:?} included"),
        }
        self.settle();
    }

    fn report(&mut self, drained: bool) {
        self.metrics.store(&self.engine.stats(), self.net.unsent());
        if drained && let Some(since) = self.since.take() {
            self.metrics.latency(since.elapsed());
        }
    }
}
