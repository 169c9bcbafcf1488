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

use pulse_core::{Record, Restored};
use tokio::sync::mpsc::UnboundedSender;

use crate::engine::Engine;
use crate::shard::Inbox;
use crate::store::{Change, Entry, Store, StoreError};

/// How a shard reaches the store.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    jobs: Sender<Job>,
    store: Arc<Mutex<Store>>,
}

/// What one shard wants stored.
#[derive(Debug)]
struct Job {
    shard: usize,
    sequence: u64,
    records: Vec<u8>,
}

/// What became of it: a reason that clients may be told if it is not stored.
pub(crate) type Stored = Result<(), &'static str>;

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
    pub(crate) fn start(
        store: Store,
        shards: Vec<UnboundedSender<Inbox>>,
        counts: Arc<Counts>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (jobs, waiting) = channel();
        let store = Arc::new(Mutex::new(store));
        let worker = Worker { store: Arc::clone(&store), shards, counts, failing: false };
        let thread = thread::Builder::new().name("store".into()).spawn(move || worker.run(&waiting))?;
        Ok((Self { jobs, store }, thread))
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
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut channels, mut publications, mut left) = (0_u64, 0, Vec::new());
        for channel in store.channels().map_err(io::Error::other)? {
            match engine.restores(&channel.name) {
                Restored::Here => {}
                Restored::Elsewhere => continue,
                Restored::NotDurable => {
                    left.push(channel.name);
                    continue;
                }
            }
            let kept = store.load(&channel.name, channel.first, usize::MAX).map_err(io::Error::other)?;
            let entries: Vec<(u64, &[u8])> = kept.iter().map(|kept| (kept.time, &*kept.frame)).collect();
            let restored = parse_epoch(&channel.epoch)
                .is_some_and(|epoch| engine.restore(&channel.name, epoch, channel.top, &entries).is_ok());
            if !restored {
                return Err(io::Error::other(format!(
                    "the store holds something under channel {:?} that no server of this version has written: restore a \
                     backup, or run the version that wrote it",
                    channel.name
                )));
            }
            channels += 1;
            publications += entries.len();
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

    fn tell(&self, job: &Job, stored: Stored) {
        // Fails for a shard that has ended: nobody waits there.
        let _ = self.shards[job.shard].send(Inbox::Stored(job.sequence, stored));
    }

    fn commit(&mut self, batches: &[&[u8]]) -> Stored {
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
    let mut trims: BTreeMap<&str, u64> = BTreeMap::new();
    for record in &records {
        match *record {
            Record::Begun { channel, .. } => {
                trims.remove(channel);
                changes.push(Change::Begin { channel, epoch: epoch() });
            }
            Record::Publication { channel, offset, time, frame, .. } => {
                publications += 1;
                changes.push(Change::Append(Entry {
                    channel,
                    epoch: epoch(),
                    offset,
                    time,
                    name: b"",
                    frame,
                }));
            }
            Record::Trimmed { channel, first } => {
                trims.insert(channel, first);
            }
            Record::Forgotten { channel } => {
                trims.remove(channel);
                changes.push(Change::Remove { channel });
            }
            _ => unreachable!("this host does all that its core wants stored"),
        }
    }
    let trim = |(channel, below)| Change::Trim { channel, below, names_below: below };
    changes.extend(trims.into_iter().map(trim));
    (work(&changes), publications)
}

fn parse_epoch(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok().filter(|epoch| format!("{epoch:08x}") == text)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
