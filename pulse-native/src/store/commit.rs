//! Changes of all kinds as one transaction, and what each does in it.

use std::collections::HashMap;

use rusqlite::Transaction;

use super::rows::{ENTRIES, Known, NAMES, begun, forget, known_channel, write_channel};
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
    /// What is below these offsets goes, as by [`Store::trim`].
    Trim {
        /// The channel's name.
        channel: &'a str,
        /// The lowest offset of which a publication stays.
        below: u64,
        /// The lowest offset of which a name stays.
        names_below: u64,
    },
    /// The publication of this offset goes if it is there, since a newer one is kept in its place. Its name stays, and so does
    /// the channel's first offset.
    Supersede {
        /// The channel's name.
        channel: &'a str,
        /// The publication's offset.
        offset: u64,
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
                Change::Trim { channel, below, names_below } => {
                    trim(transaction, known, channel, *below, *names_below)
                }
                Change::Supersede { channel, offset } => supersede(transaction, known, channel, *offset),
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
    let Entry { offset, time, .. } = *entry;
    if offset <= channel.top || i64::try_from(offset).is_err() {
        let (name, top) = (entry.channel.to_owned(), channel.top);
        return Err(Fault::Other(StoreError::Misordered { channel: name, offset, top }));
    }
    ENTRIES.insert(transaction, channel.id, offset, time, entry.frame)?;
    if !entry.name.is_empty() {
        NAMES.insert(transaction, channel.id, offset, time, entry.name)?;
    }
    channel.top = offset;
    Ok(())
}

pub(super) fn trim(
    transaction: &Transaction<'_>,
    known: &mut HashMap<String, Known>,
    name: &str,
    below: u64,
    names_below: u64,
) -> Result<(), Fault> {
    let Some(channel) = known_channel(transaction, known, name)? else { return Ok(()) };
    let below = below.min(channel.top + 1);
    if below > channel.first {
        channel.first = below;
        // The row has to know the top by itself before the last entry goes.
        write_channel(transaction, name, channel)?;
        ENTRIES.delete(transaction, channel.id, 0, below - 1)?;
    }
    if names_below > 0 {
        NAMES.delete(transaction, channel.id, 0, names_below - 1)?;
    }
    Ok(())
}

fn supersede(
    transaction: &Transaction<'_>,
    known: &mut HashMap<String, Known>,
    name: &str,
    offset: u64,
) -> Result<(), Fault> {
    let Some(channel) = known_channel(transaction, known, name)? else { return Ok(()) };
    if offset >= channel.top {
        // As in `trim`. Below it there is an entry that says the top, or the row does already.
        write_channel(transaction, name, channel)?;
    }
    ENTRIES.delete(transaction, channel.id, offset, offset)
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
        forget(transaction, *id)?;
        transaction.execute("DELETE FROM channels WHERE id = ?", [&*id])?;
        known.remove(name);
    }
    Ok(())
}
