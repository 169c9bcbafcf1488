//! The tables of a store, and how a row of each is written and believed.
//!
//! SQLite keeps no checksums of what is in its file: a bit that the disk turns would be given back as it is. So each row has one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};

use super::{Fault, StoreError};

/// All of them in the order of their names. What is in those after the first is numbered in a channel.
pub(super) const TABLES: [&str; 3] = ["channels", "entries", "names"];

/// What a store is made with. The columns are in the order in which a store of format 1 has come by them.
pub(super) const MAKE_TABLES: &str = "
    CREATE TABLE channels (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, epoch TEXT NOT NULL, top INTEGER NOT NULL, sum INTEGER NOT NULL,
        first INTEGER NOT NULL DEFAULT 1
    ) STRICT;
    CREATE TABLE entries (
        channel INTEGER NOT NULL, offset INTEGER NOT NULL, time INTEGER NOT NULL, sum INTEGER NOT NULL, frame BLOB NOT NULL,
        PRIMARY KEY (channel, offset)
    ) STRICT, WITHOUT ROWID;
";

/// Apart from the entries, since either may go first; and without them no publication pays for a name that it does not have.
pub(super) const MAKE_NAMES: &str = "
    CREATE TABLE names (
        channel INTEGER NOT NULL, offset INTEGER NOT NULL, time INTEGER NOT NULL, sum INTEGER NOT NULL, name BLOB NOT NULL,
        PRIMARY KEY (channel, offset)
    ) STRICT, WITHOUT ROWID;
";

/// A table of bytes that have a number within a channel, and a time.
pub(super) struct Numbered {
    /// What a row of it is, to people.
    noun: &'static str,
    /// What the checksums begin with: no row passes for one of the other table.
    tag: &'static [u8],
    insert: &'static str,
    select: &'static str,
    delete: &'static str,
}

pub(super) const ENTRIES: Numbered = Numbered {
    noun: "entry",
    tag: b"",
    insert: "INSERT INTO entries VALUES (?, ?, ?, ?, ?)",
    select: "SELECT offset, time, sum, frame FROM entries WHERE channel = ? AND offset >= ? ORDER BY offset LIMIT ?",
    delete: "DELETE FROM entries WHERE channel = ? AND offset BETWEEN ? AND ?",
};

pub(super) const NAMES: Numbered = Numbered {
    noun: "name",
    tag: b"name",
    insert: "INSERT INTO names VALUES (?, ?, ?, ?, ?)",
    select: "SELECT offset, time, sum, name FROM names WHERE channel = ? AND offset >= ? ORDER BY offset LIMIT ?",
    delete: "DELETE FROM names WHERE channel = ? AND offset BETWEEN ? AND ?",
};

impl Numbered {
    /// Writes a row. The offset is one that fits.
    pub(super) fn insert(
        &self,
        transaction: &Transaction<'_>,
        channel: i64,
        offset: u64,
        time: u64,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let (offset, time) = (offset.cast_signed(), time.cast_signed());
        let sum = self.sum(channel, offset, time, bytes);
        transaction.prepare_cached(self.insert)?.execute((channel, offset, time, sum, bytes))?;
        Ok(())
    }

    /// Shows the rows of a channel from this offset on, `limit` at most: offset, time and bytes.
    pub(super) fn each(
        &self,
        connection: &Connection,
        path: &Path,
        (channel, name): (i64, &str),
        from: u64,
        limit: usize,
        mut visit: impl FnMut(u64, u64, Vec<u8>),
    ) -> Result<(), Fault> {
        let Ok(from) = i64::try_from(from) else { return Ok(()) };
        let mut select = connection.prepare_cached(self.select)?;
        let mut rows = select.query((channel, from, i64::try_from(limit).unwrap_or(i64::MAX)))?;
        while let Some(row) = rows.next()? {
            let (offset, time, bytes): (i64, i64, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(3)?);
            if row.get::<_, u32>(2)? != self.sum(channel, offset, time, &bytes) {
                let what = format!("the {} {offset} of channel {name:?} is not what was written", self.noun);
                return Err(Fault::Other(StoreError::corrupt(path, what)));
            }
            visit(offset.cast_unsigned(), time.cast_unsigned(), bytes);
        }
        Ok(())
    }

    /// Deletes the rows of a channel from one offset to another.
    pub(super) fn delete(
        &self,
        transaction: &Transaction<'_>,
        channel: i64,
        from: u64,
        to: u64,
    ) -> Result<(), Fault> {
        let Ok(from) = i64::try_from(from) else { return Ok(()) };
        let to = i64::try_from(to).unwrap_or(i64::MAX);
        transaction.prepare_cached(self.delete)?.execute((channel, from, to))?;
        Ok(())
    }

    fn sum(&self, channel: i64, offset: i64, time: i64, bytes: &[u8]) -> u32 {
        sum(&[self.tag, &channel.to_be_bytes(), &offset.to_be_bytes(), &time.to_be_bytes(), bytes])
    }
}

/// A channel as writing needs it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) epoch: String,
    /// At most the one after `top`.
    pub(super) first: u64,
    pub(super) top: u64,
}

/// What [`known_of`] reads.
pub(super) const CHANNELS: &str = "SELECT id, name, epoch, top, sum, first, \
    (SELECT max(offset) FROM entries WHERE channel = channels.id) FROM channels";

pub(super) fn known_of(row: &Row<'_>, path: &Path) -> Result<(String, Known), Fault> {
    let (id, name, epoch): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (top, first): (i64, i64) = (row.get(3)?, row.get(5)?);
    if row.get::<_, u32>(4)? != channel_sum(id, &name, &epoch, top, first) {
        return Err(Fault::Other(wrong_channel(path, &name)));
    }
    let top = top.max(row.get::<_, Option<i64>>(6)?.unwrap_or(0)).cast_unsigned();
    Ok((name, Known { id, epoch, first: first.cast_unsigned(), top }))
}

pub(super) fn wrong_channel(path: &Path, name: &str) -> StoreError {
    StoreError::corrupt(path, format!("what it says of channel {name:?} is not what was written"))
}

/// A channel for writing, if there is one.
pub(super) fn known_channel<'a>(
    transaction: &Transaction<'_>,
    known: &'a mut HashMap<String, Known>,
    name: &str,
) -> Result<Option<&'a mut Known>, Fault> {
    if !known.contains_key(name) {
        let path = transaction.path().map(PathBuf::from).unwrap_or_default();
        let mut select = transaction.prepare_cached(&format!("{CHANNELS} WHERE name = ?"))?;
        let found = select.query_row([name], |row| Ok(known_of(row, &path))).optional()?.transpose()?;
        let Some((name, channel)) = found else { return Ok(None) };
        known.insert(name, channel);
    }
    Ok(known.get_mut(name))
}

/// A channel for writing, in this epoch.
pub(super) fn begun<'a>(
    transaction: &Transaction<'_>,
    known: &'a mut HashMap<String, Known>,
    name: &str,
    epoch: &str,
) -> Result<&'a mut Known, Fault> {
    let id = match known_channel(transaction, known, name)? {
        Some(channel) if channel.epoch == epoch => None,
        Some(channel) => {
            forget(transaction, channel.id)?;
            Some(channel.id)
        }
        None => {
            Some(transaction.query_row("SELECT ifnull(max(id), 0) + 1 FROM channels", (), |row| row.get(0))?)
        }
    };
    if let Some(id) = id {
        let channel = Known { id, epoch: epoch.to_owned(), first: 1, top: 0 };
        write_channel(transaction, name, &channel)?;
        known.insert(name.to_owned(), channel);
    }
    Ok(known.get_mut(name).expect("it was found or has just been put there"))
}

/// Deletes all that is numbered in a channel.
pub(super) fn forget(transaction: &Transaction<'_>, channel: i64) -> Result<(), Fault> {
    for table in [ENTRIES, NAMES] {
        table.delete(transaction, channel, 0, u64::MAX)?;
    }
    Ok(())
}

pub(super) fn write_channel(transaction: &Transaction<'_>, name: &str, channel: &Known) -> Result<(), Fault> {
    let Known { id, epoch, first, top } = channel;
    let (first, top) = (first.cast_signed(), top.cast_signed());
    transaction.prepare_cached("INSERT OR REPLACE INTO channels VALUES (?, ?, ?, ?, ?, ?)")?.execute((
        id,
        name,
        epoch,
        top,
        channel_sum(*id, name, epoch, top, first),
        first,
    ))?;
    Ok(())
}

pub(super) fn channel_sum(id: i64, name: &str, epoch: &str, top: i64, first: i64) -> u32 {
    let (id, top, first) = (id.to_be_bytes(), top.to_be_bytes(), first.to_be_bytes());
    sum(&[&id, name.as_bytes(), &[0], epoch.as_bytes(), &top, &first])
}

pub(super) fn sum(parts: &[&[u8]]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    parts.iter().for_each(|part| sum.update(part));
    sum.finalize()
}
