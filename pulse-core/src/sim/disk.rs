//! The disk of the process whose threads the routers are: what they have handed out and is not synced, what is there, and what
//! routers of the next process are given back of it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::random::Random;
use crate::{Record, Restored, Router, Stored};

/// What a full disk's host says.
const FULL: &str = "the disk is full";

/// What has happened to batches of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Those that a full disk did not take.
    pub failed: u64,
    /// Those under way when the process ended that were on the disk afterwards.
    pub kept: u64,
    /// Those under way when the process ended that were not.
    pub lost: u64,
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    channels: BTreeMap<String, Stock>,
    /// By router: what it wants stored next, with the sequence number. One at a time.
    batches: BTreeMap<usize, (u64, Vec<u8>)>,
    /// Nothing is taken before this time.
    pub(super) full_until: u64,
    counts: DiskCounts,
}

/// A channel on the disk.
#[derive(Debug)]
struct Stock {
    epoch: u32,
    first: u64,
    top: u64,
    publications: Vec<Stowed>,
    names: Vec<Stowed>,
}

impl Stock {
    fn new(epoch: u32) -> Self {
        Self { epoch, first: 1, top: 0, publications: Vec::new(), names: Vec::new() }
    }
}

/// A publication on the disk, or its name.
#[derive(Debug)]
struct Stowed {
    offset: u64,
    time: u64,
    bytes: Vec<u8>,
}

impl Disk {
    /// A router hands out a batch.
    pub(super) fn take(&mut self, router: usize, sequence: u64, records: Vec<u8>) -> Result<(), String> {
        match self.batches.insert(router, (sequence, records)) {
            None => Ok(()),
            Some(_) => Err(format!("router {router} hands out a batch before it is told of the last one")),
        }
    }

    /// The disk is done with a router's batch. Returns what the router is to be told.
    ///
    /// # Errors
    /// If the batch is one that no router may hand out.
    pub(super) fn sync(
        &mut self,
        router: usize,
        now: u64,
    ) -> Result<(u64, Result<(), &'static str>), String> {
        let (sequence, records) = self.batches.remove(&router).expect("what is synced was handed out");
        if now < self.full_until {
            self.counts.failed += 1;
            return Ok((sequence, Err(FULL)));
        }
        self.write(&records)?;
        Ok((sequence, Ok(())))
    }

    /// The process ends: each batch under way is on the disk or is not.
    pub(super) fn end(&mut self, random: &mut Random) -> Result<(), String> {
        for (_, records) in core::mem::take(&mut self.batches).into_values() {
            if random.below(2) == 0 {
                self.counts.lost += 1;
            } else {
                self.counts.kept += 1;
                self.write(&records)?;
            }
        }
        Ok(())
    }

    /// Gives all routers of a new process back what is theirs.
    pub(super) fn restore(&self, routers: &mut [Router]) -> Result<(), String> {
        for (name, stock) in &self.channels {
            let &Stock { epoch, first, top, ref publications, ref names } = stock;
            let publications: Vec<_> =
                publications.iter().map(|stowed| (stowed.time, &*stowed.bytes)).collect();
            let names: Vec<_> =
                names.iter().map(|stowed| (stowed.offset, stowed.time, &*stowed.bytes)).collect();
            let stored =
                Stored { channel: name, epoch, first, top, publications: &publications, names: &names };
            let mut homes = 0;
            for router in &mut *routers {
                match router.restore(&stored) {
                    Ok(restored) => homes += u32::from(restored == Restored::Here),
                    Err(error) => return Err(format!("{name} cannot be restored up to {top}: {error}")),
                }
            }
            if homes != 1 {
                return Err(format!("{name} is on the disk, and taken back by {homes} routers"));
            }
        }
        Ok(())
    }

    pub(super) fn counts(&self) -> DiskCounts {
        self.counts
    }

    /// The channels of which something is on the disk.
    pub(super) fn channels(&self) -> impl Iterator<Item = &str> {
        self.channels.keys().map(String::as_str)
    }

    /// Does what a batch of records says.
    fn write(&mut self, mut records: &[u8]) -> Result<(), String> {
        while !records.is_empty() {
            let (record, rest) = Record::decode(records).map_err(|_| "a batch that is no records")?;
            self.write_one(record)?;
            records = rest;
        }
        Ok(())
    }

    fn write_one(&mut self, record: Record<'_>) -> Result<(), String> {
        match record {
            Record::Begun { channel, epoch } => {
                let top = self.begin(channel, epoch).top;
                if top > 0 {
                    return Err(format!("{channel} begins again in its epoch, with {top} publications"));
                }
            }
            Record::Publication { channel, epoch, offset, time, name, frame } => {
                let stored = self.begin(channel, epoch);
                if offset != stored.top + 1 {
                    return Err(format!("{channel} is to have {offset} behind {}", stored.top));
                }
                stored.top = offset;
                stored.publications.push(Stowed { offset, time, bytes: frame.into() });
                if !name.is_empty() {
                    stored.names.push(Stowed { offset, time, bytes: name.into() });
                }
            }
            // What may go need not go at once.
            Record::Superseded { channel, offset } => {
                let stored = self.channels.get_mut(channel).filter(|_| offset % 4 == 0);
                if let Some(stored) = stored {
                    stored.publications.retain(|stowed| stowed.offset != offset);
                }
            }
            Record::Trimmed { channel, epoch, first, named } => {
                let stored = self.channels.get_mut(channel).filter(|it| it.epoch == epoch && first % 4 == 0);
                if let Some(stored) = stored {
                    stored.first = first;
                    stored.publications.retain(|stowed| stowed.offset >= first);
                    stored.names.retain(|stowed| stowed.offset >= named);
                }
            }
            Record::Forgotten { channel } => {
                self.channels.remove(channel);
            }
        }
        Ok(())
    }

    /// The channel in this epoch; what was kept of another one goes away.
    fn begin(&mut self, channel: &str, epoch: u32) -> &mut Stock {
        let stored = self.channels.entry(channel.into()).or_insert_with(|| Stock::new(epoch));
        if stored.epoch != epoch {
            *stored = Stock::new(epoch);
        }
        stored
    }
}
