//! What is durable, between the shards and the store: one thread that does what all of them want stored.
//!
//! It takes all that waits as one transaction with one sync; so the longer a sync takes, the more share the next one. A shard
//! has one batch here at a time, and hears of its end through its [`Inbox`]. What the records mean to clients is the
//! engine's business, what stands on disk that of [`Store`].

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pulse_core::{Record, Restored, Stored};
use tokio::sync::mpsc::UnboundedSender;

use crate::engine::Engine;
use crate::shard::Inbox;
use crate::store::{Change, Channel, Entry, Store, StoreError};

/// How a shard reaches the store.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    jobs: Sender<Job>,
    store: Arc<Mutex<Store>>,
    /// Channels that no shard has taken back yet.
    waiting: Arc<Mutex<Vec<Channel>>>,
}

/// What one shard wants stored.
#[derive(Debug)]
struct Job {
    shard: usize,
    sequence: u64,
    records: Vec<u8>,
}

/// What became of it: a reason that clients may be told if it is not stored.
pub(crate) type Verdict = Result<(), &'static str>;

/// Counters for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) publications: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) commit_ns: AtomicU64,
    pub(crate) errors: AtomicU64,
}

impl Keeper {
    /// Starts the thread. It ends, and the store is closed, when all clones of the keeper are gone.
    ///
    /// # Errors
    /// If the store cannot be read, or the system has no thread to give.
    pub(crate) fn start(
        store: Store,
        shards: Vec<UnboundedSender<Inbox>>,
        counts: Arc<Counts>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = channel();
        let waiting = Arc::new(Mutex::new(store.channels().map_err(io::Error::other)?));
        let store = Arc::new(Mutex::new(store));
        let worker = Worker { store: Arc::clone(&store), shards, counts, failing: false };
        let thread = thread::Builder::new().name("store".into()).spawn(move || worker.run(&queue))?;
        Ok((Self { jobs, store, waiting }, thread))
    }

    /// Stores what an engine wants stored; the shard is told when that has ended.
    pub(crate) fn store(&self, shard: usize, sequence: u64, records: Vec<u8>) {
        // The thread ends after the last keeper: only a panic of it ends this server's durability before.
        self.jobs.send(Job { shard, sequence, records }).expect("the store's thread runs");
    }

    /// Gives an engine back what is stored of the channels that are at home there.
    ///
    /// # Errors
    /// If the store cannot be read, or holds what no engine has stored.
    pub(crate) fn restore<E: Engine>(&self, engine: &mut E) -> io::Result<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = waiting.extract_if(.., |channel| engine.restores(&channel.name) != Restored::Elsewhere);
        let ours: Vec<Channel> = ours.collect();
        drop(waiting);
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut channels, mut publications, mut left) = (0_u64, 0, Vec::new());
        for channel in ours {
            if engine.restores(&channel.name) == Restored::NotDurable {
                left.push(channel.name);
                continue;
            }
            let kept = store.load(&channel.name, channel.first, usize::MAX).map_err(io::Error::other)?;
            let named = store.names(&channel.name, 1, usize::MAX).map_err(io::Error::other)?;
            let restored = parse_epoch(&channel.epoch).is_some_and(|epoch| {
                let publications: Vec<_> = kept.iter().map(|kept| (kept.time, &*kept.frame)).collect();
                let names: Vec<_> = named.iter().map(|it| (it.offset, it.time, &*it.name)).collect();
                let stored = Stored {
                    channel: &channel.name,
                    epoch,
                    first: channel.first,
                    top: channel.top,
                    publications: &publications,
                    names: &names,
                };
                engine.restore(&stored).is_ok()
            });
            if !restored {
                return Err(io::Error::other(format!(
                    "the store holds something under channel {:?} that no server of this version has written: restore a \
                     backup, or run the version that wrote it",
                    channel.name
                )));
            }
            channels += 1;
            publications += kept.len();
        }
        if channels > 0 {
            tracing::info!(channels, publications, "restored from the store");
        }
        if let [first, ..] = &*left {
            tracing::warn!(
                "the store holds {} channels whose namespaces are not durable, such as {first:?}: they are left alone",
                left.len()
            );
        }
        Ok(())
    }
}

/// The thread's side.
struct Worker {
    store: Arc<Mutex<Store>>,
    shards: Vec<UnboundedSender<Inbox>>,
    counts: Arc<Counts>,
    /// The last commit failed, and the log says so.
    failing: bool,
}

impl Worker {
    fn run(mut self, waiting: &Receiver<Job>) {
        while let Ok(first) = waiting.recv() {
            let jobs: Vec<Job> = std::iter::once(first).chain(waiting.try_iter()).collect();
            let records: Vec<&[u8]> = jobs.iter().map(|job| &*job.records).collect();
            match self.commit(&records) {
                Err(_) if jobs.len() > 1 => {
                    // What is wrong with one shard's batch, if it is that, is not to be another's loss.
                    for job in &jobs {
                        let stored = self.commit(&[&job.records]);
                        self.tell(job, stored);
                    }
                }
                stored => jobs.iter().for_each(|job| self.tell(job, stored)),
            }
        }
    }

    fn tell(&self, job: &Job, verdict: Verdict) {
        // Fails for a shard that has ended: nobody waits there.
        let _ = self.shards[job.shard].send(Inbox::Stored(job.sequence, verdict));
    }

    fn commit(&mut self, batches: &[&[u8]]) -> Verdict {
        let start = Instant::now();
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, publications) = with_changes(batches, |changes| store.commit(changes));
        drop(store);
        let Counts { publications: stored, commits, commit_ns, errors } = &*self.counts;
        commits.fetch_add(1, Relaxed);
        commit_ns.fetch_add(nanos(start.elapsed()), Relaxed);
        match done {
            Ok(()) => {
                stored.fetch_add(publications, Relaxed);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the store takes publications again");
                }
                Ok(())
            }
            Err(error) => {
                errors.fetch_add(1, Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "publications cannot be stored and are refused, until they can");
                }
                Err(match error {
                    StoreError::Full { .. } => {
                        "the server's disk is full: nothing can be stored; try again later"
                    }
                    _ => "the server's disk refuses: nothing can be stored; try again later",
                })
            }
        }
    }
}

/// Makes changes to a store of batches of records, and counts the publications among them.
fn with_changes<T>(batches: &[&[u8]], work: impl FnOnce(&[Change<'_>]) -> T) -> (T, u64) {
    let mut epochs: Vec<String> = Vec::new();
    let mut records: Vec<Record<'_>> = Vec::new();
    for batch in batches {
        let mut rest = *batch;
        while !rest.is_empty() {
            let (record, behind) = Record::decode(rest).expect("engine and host are of one version");
            if let Record::Begun { epoch, .. } | Record::Publication { epoch, .. } = record {
                epochs.push(format!("{epoch:08x}"));
            }
            records.push(record);
            rest = behind;
        }
    }
    let mut epochs = epochs.iter();
    let mut epoch = || epochs.next().expect("there is one for each").as_str();
    let (mut changes, mut publications) = (Vec::with_capacity(records.len()), 0);
    // The last word on each channel is enough, if it does not end meanwhile.
    let mut trims: BTreeMap<&str, (u32, u64, u64)> = BTreeMap::new();
    for record in &records {
        match *record {
            Record::Begun { channel, .. } => {
                trims.remove(channel);
                changes.push(Change::Begin { channel, epoch: epoch() });
            }
            Record::Publication { channel, epoch: of_record, offset, time, name, frame } => {
                publications += 1;
                // It may begin another life of the channel.
                if trims.get(channel).is_some_and(|(of, ..)| *of != of_record) {
                    trims.remove(channel);
                }
                changes.push(Change::Append(Entry { channel, epoch: epoch(), offset, time, name, frame }));
            }
            Record::Superseded { channel, offset } => changes.push(Change::Supersede { channel, offset }),
            Record::Trimmed { channel, epoch, first, named } => {
                trims.insert(channel, (epoch, first, named));
            }
            Record::Forgotten { channel } => {
                trims.remove(channel);
                changes.push(Change::Remove { channel });
            }
            _ => unreachable!("this host does all that its core wants stored"),
        }
    }
    let trims = trims.into_iter();
    changes.extend(trims.map(|(channel, (_, below, names_below))| Change::Trim {
        channel,
        below,
        names_below,
    }));
    (work(&changes), publications)
}

fn parse_epoch(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok().filter(|epoch| format!("{epoch:08x}") == text)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use pulse_core::wire::{Connect, Frame, Payload, Publish, Subscribe, Unsubscribe};
    use pulse_core::{
        Config, Dialect, Effect, Heartbeat, ImportError, Kind, Limits, Link, Namespace, Now, Router, Rules,
        Seed, Time,
    };

    use super::*;

    const X: &str = "safe:x";

    fn router(now_ms: u64) -> Router {
        let rules = Rules { history_size: 4, history_ttl_ms: 10_000, durable: true, ..Rules::default() };
        let heartbeat = Heartbeat { interval_ms: 0, ..Heartbeat::default() };
        let limits = Limits { peer_bytes: 8_000, max_channels: 3, ..Limits::default() };
        let namespaces = vec![Namespace { name: "safe".into(), rules }];
        let seed = Seed(now_ms + 1);
        let mut router = Router::new(Config { namespaces, heartbeat, limits, ..Config::default() }, seed);
        advance(&mut router, now_ms);
        router
    }

    fn advance(router: &mut Router, ms: u64) {
        router.advance(Now { mono: Time(ms * 1_000), unix_ms: ms });
    }

    fn send(router: &mut Router, conn: pulse_core::ConnId, frames: &[Frame<'_>]) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        router.receive(conn, Kind::Binary, &bytes);
    }

    fn batch(router: &mut Router) -> Option<(u64, Vec<u8>)> {
        while router.poll_write().is_some() {}
        let mut batch = None;
        while let Some(effect) = router.poll_effect() {
            if let Effect::Store { sequence, records } = effect {
                batch = Some((sequence, records));
            }
        }
        batch
    }

    fn write(store: &mut Store, router: &mut Router, (sequence, records): (u64, Vec<u8>)) {
        let (done, _) = with_changes(&[&records], |changes| store.commit(changes));
        done.expect("the disk takes it");
        router.stored(sequence);
    }

    fn publish(channel: &str) -> Frame<'_> {
        Frame::Publish(Publish { channel, payload: Payload::from(&b"x"[..]), ..Publish::default() })
    }

    fn subscribe(channel: &str) -> Frame<'_> {
        Frame::Subscribe(Subscribe { id: 1, channel, ..Subscribe::default() })
    }

    fn unsubscribe(channel: &str) -> Frame<'_> {
        Frame::Unsubscribe(Unsubscribe { id: 2, channel })
    }

    /// The disk hangs, and there is no room to say that the channel was forgotten and has begun again.
    #[test]
    fn a_trim_of_a_former_life_of_a_channel_takes_nothing_of_this_one() {
        let folder = std::env::temp_dir().join(format!("pulse-keeper-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let (mut store, mut router) = (Store::open(&folder).unwrap(), router(0));
        let conn = router.open(Link { class: 0, dialect: Dialect::V1 });
        send(
            &mut router,
            conn,
            &[Frame::Connect(Connect { version: 1, ..Connect::default() }), subscribe(X)],
        );
        for _ in 0..6 {
            send(&mut router, conn, &[publish(X)]);
            while let Some(batch) = batch(&mut router) {
                write(&mut store, &mut router, batch);
            }
        }
        send(&mut router, conn, &[publish("safe:other")]);
        let hangs = batch(&mut router).unwrap();
        advance(&mut router, 10_000);
        send(&mut router, conn, &[unsubscribe(X)]);
        for n in 0..1_000 {
            let channel = format!("safe:{n}");
            send(&mut router, conn, &[subscribe(&channel), unsubscribe(&channel)]);
            batch(&mut router);
        }
        advance(&mut router, 20_000);
        send(&mut router, conn, &[publish(X)]);
        assert_eq!(batch(&mut router), None, "the disk hangs");
        write(&mut store, &mut router, hangs);
        while let Some(batch) = batch(&mut router) {
            write(&mut store, &mut router, batch);
        }
        assert_eq!(router.top(X), Some(1), "it is published: subscribers have it, its publisher was told");
        let kept = store.load(X, 1, 10).unwrap().len();
        let channel = store.channel(X).unwrap().unwrap();
        let restored = restore(&store, &channel);
        drop(store);
        let _ = std::fs::remove_dir_all(&folder);
        assert_eq!((kept, channel.first, channel.top, restored), (1, 1, 1, Ok(Restored::Here)));
    }

    fn restore(store: &Store, channel: &Channel) -> Result<Restored, ImportError> {
        let kept = store.load(&channel.name, channel.first, 10).unwrap();
        let publications: Vec<_> = kept.iter().map(|kept| (kept.time, &*kept.frame)).collect();
        router(20_001).restore(&Stored {
            channel: &channel.name,
            epoch: parse_epoch(&channel.epoch).unwrap(),
            first: channel.first,
            top: channel.top,
            publications: &publications,
            names: &[],
        })
    }
}
