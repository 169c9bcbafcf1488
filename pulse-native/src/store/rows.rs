//! The tables of a store, and how a row of each is written and believed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension as _, Row, Transaction};

use super::{Fault, StoreError};

pub(super) const TABLES: &str = "
    CREATE TABLE channels (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, epoch TEXT NOT NULL, top INTEGER NOT NULL, sum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE entries (
        channel INTEGER NOT NULL, offset INTEGER NOT NULL, time INTEGER NOT NULL, sum INTEGER NOT NULL, frame BLOB NOT NULL,
        PRIMARY KEY (channel, offset)
    ) STRICT, WITHOUT ROWID;
";

/// A channel as writing needs it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) epoch: String,
    pub(super) top: u64,
}

/// What [`known_of`] and [`super::Store::channel_of`] read.
pub(super) const CHANNELS: &str = "SELECT id, name, epoch, top, sum, \
    (SELECT max(offset) FROM entries WHERE channel = channels.id), \
    (SELECT min(offset) FROM entries WHERE channel = channels.id) FROM channels";

pub(super) fn known_of(row: &Row<'_>, path: &Path) -> Result<(i64, String, Known), Fault> {
    let (id, name, epoch): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let top: i64 = row.get(3)?;
    if row.get::<_, u32>(4)? != channel_sum(id, &name, &epoch, top) {
        let what = format!("what it says of channel {name:?} is not what was written");
        return Err(Fault::Other(StoreError::corrupt(path, what)));
    }
    let top = top.max(row.get::<_, Option<i64>>(5)?.unwrap_or(0)).cast_unsigned();
    Ok((id, name, Known { id, epoch, top }))
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
        let Some((_, name, channel)) = found else { return Ok(None) };
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
            transaction.execute("DELETE FROM entries WHERE channel = ?", [channel.id])?;
            Some(channel.id)
        }
        None => {
            Some(transaction.query_row("SELECT ifnull(max(id), 0) + 1 FROM channels", (), |row| row.get(0))?)
        }
    };
    if let Some(id) = id {
        let channel = Known { id, epoch: epoch.to_owned(), top: 0 };
        write_channel(transaction, name, &channel)?;
        known.insert(name.to_owned(), channel);
    }
    Ok(known.get_mut(name).expect("it was found or has just been put there"))
}

pub(super) fn write_channel(transaction: &Transaction<'_>, name: &str, channel: &Known) -> Result<(), Fault> {
    let Known { id, epoch, top } = channel;
    let top = top.cast_signed();
    transaction.prepare_cached("INSERT OR REPLACE INTO channels VALUES (?, ?, ?, ?, ?)")?.execute((
        id,
        name,
        epoch,
        top,
        channel_sum(*id, name, epoch, top),
    ))?;
    Ok(())
}

// SQLite keeps no checksums of what is in its file: a bit that the disk turns would be given back as it is.

pub(super) fn entry_sum(channel: i64, offset: i64, time: i64, frame: &[u8]) -> u32 {
    sum(&[&channel.to_be_bytes(), &offset.to_be_bytes(), &time.to_be_bytes(), frame])
}

fn channel_sum(id: i64, name: &str, epoch: &str, top: i64) -> u32 {
    sum(&[&id.to_be_bytes(), name.as_bytes(), &[0], epoch.as_bytes(), &top.to_be_bytes()])
}

fn sum(parts: &[&[u8]]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    parts.iter().for_each(|part| sum.update(part));
    sum.finalize()
}
