//! Changes of all kinds as one transaction, and what each does in it.

use std::collections::HashMap;

use rusqlite::Transaction;

use super::rows::{Known, begun, entry_sum, known_channel, write_channel};
use super::{Durable, Entry, Fault, Store, StoreError};

/// One change to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The channel begins in this epoch. What was kept of another one goes away.
    Begin {
        /// The channel's name.
        channel: &'a str,
        /// The run of offsets that begins.
        epoch: &'a str,
    },
    /// A publication is kept, as by [`Store::append`].
    Append(Entry<'a>),
    /// What is below this offset goes, as by [`Store::trim`].
    Trim {
        /// The channel's name.
        channel: &'a str,
        /// The lowest offset that stays.
        below: u64,
    },
    /// The channel goes, as by [`Store::remove`].
    Remove {
        /// The channel's name.
        channel: &'a str,
    },
}

impl Store {
    /// Makes these changes in their order, as one transaction. It is on disk when this returns if a publication is among
    /// them; if none is, it is there with the next one that has one, or a power cut undoes all of it.
    ///
    /// # Errors
    /// As [`Store::append`]; none of the changes is made then.
    pub fn commit(&mut self, changes: &[Change<'_>]) -> Result<(), StoreError> {
        let waits = changes.iter().any(|change| matches!(change, Change::Append(_)));
        let durable = if waits { Durable::Now } else { Durable::Later };
        self.change(durable, |transaction, known| {
            changes.iter().try_for_each(|change| match change {
                Change::Begin { channel, epoch } => begin(transaction, known, channel, epoch, 0),
                Change::Append(entry) => append(transaction, known, entry),
                Change::Trim { channel, below } => trim(transaction, known, channel, *below),
                Change::Remove { channel } => remove(transaction, known, channel),
            })
        })
    }
}

pub(super) fn append(
    transaction: &Transaction<'_>,
    known: &mut HashMap<String, Known>,
    entry: &Entry<'_>,
) -> Result<(), Fault> {
    let channel = begun(transaction, known, entry.channel, entry.epoch)?;
    let Some(offset) = i64::try_from(entry.offset).ok().filter(|_| entry.offset > channel.top) else {
        let (name, offset, top) = (entry.channel.to_owned(), entry.offset, channel.top);
        return Err(Fault::Other(StoreError::Misordered { channel: name, offset, top }));
    };
    let time = entry.time.cast_signed();
    let sum = entry_sum(channel.id, offset, time, entry.frame);
    transaction.prepare_cached("INSERT INTO entries VALUES (?, ?, ?, ?, ?)")?.execute((
        channel.id,
        offset,
        time,
        sum,
        entry.frame,
    ))?;
    channel.top = entry.offset;
    Ok(())
}

pub(super) fn trim(
    transaction: &Transaction<'_>,
    known: &mut HashMap<String, Known>,
    name: &str,
    below: u64,
) -> Result<(), Fault> {
    let Some(channel) = known_channel(transaction, known, name)? else { return Ok(()) };
    // The row has to know the top by itself before the last entry goes.
    write_channel(transaction, name, channel)?;
    let below = i64::try_from(below).unwrap_or(i64::MAX);
    transaction
        .prepare_cached("DELETE FROM entries WHERE channel = ? AND offset < ?")?
        .execute((channel.id, below))?;
    Ok(())
}

pub(super) fn begin(
    transaction: &Transaction<'_>,
    known: &mut HashMap<String, Known>,
    name: &str,
    epoch: &str,
    top: u64,
) -> Result<(), Fault> {
    let channel = begun(transaction, known, name, epoch)?;
    if i64::try_from(top).is_err() {
        let (channel, offset, top) = (name.to_owned(), top, channel.top);
        return Err(Fault::Other(StoreError::Misordered { channel, offset, top }));
    }
    channel.top = channel.top.max(top);
    write_channel(transaction, name, channel)
}

pub(super) fn remove(
    transaction: &Transaction<'_>,
    known: &mut HashMap<String, Known>,
    name: &str,
) -> Result<(), Fault> {
    if let Some(Known { id, .. }) = known_channel(transaction, known, name)? {
        transaction.execute("DELETE FROM entries WHERE channel = ?", [&*id])?;
        transaction.execute("DELETE FROM channels WHERE id = ?", [&*id])?;
        known.remove(name);
    }
    Ok(())
}
