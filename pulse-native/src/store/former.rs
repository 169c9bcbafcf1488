//! A store of format 1, and how it becomes one of this format.
//!
//! Format 1 had no names, and the first number of a channel was that of the first entry that it had. [`check`] reads all of it
//! and changes nothing; what [`take_over`] then does is one transaction, so a kill leaves the one format or the other.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use super::rows::{ENTRIES, MAKE_NAMES, channel_sum, sum, wrong_channel};
use super::{FORMAT, Fault};

/// The tables of format 1 in the order of their names.
pub(super) const TABLES: [&str; 2] = ["channels", "entries"];

/// Reads every row. What is damaged is not to get a new checksum, nor to be half of the one format and half of the other.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), Fault> {
    each_channel(connection, path, |channel| {
        ENTRIES.each(connection, path, (channel.id, &channel.name), 0, usize::MAX, |_, _, _| ())
    })
}

pub(super) fn take_over(connection: &mut Connection, path: &Path) -> Result<(), Fault> {
    let transaction = connection.transaction()?;
    transaction.execute_batch("ALTER TABLE channels ADD COLUMN first INTEGER NOT NULL DEFAULT 1")?;
    transaction.execute_batch(MAKE_NAMES)?;
    each_channel(&transaction, path, |Channel { id, name, epoch, top, lowest }| {
        // Where nothing is kept the row knows the top by itself. It is at most 2^63 - 1, and this column is read as unsigned.
        let first = lowest.unwrap_or_else(|| top.wrapping_add(1));
        let sum = channel_sum(id, &name, &epoch, top, first);
        let mut update = transaction.prepare_cached("UPDATE channels SET first = ?, sum = ? WHERE id = ?")?;
        update.execute((first, sum, id))?;
        Ok(())
    })?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    Ok(transaction.commit()?)
}

/// A row of `channels`, and the lowest offset among its entries.
struct Channel {
    id: i64,
    name: String,
    epoch: String,
    top: i64,
    lowest: Option<i64>,
}

/// Shows the channels one by one; each may be changed meanwhile, and not all of them are in memory.
fn each_channel(
    connection: &Connection,
    path: &Path,
    mut visit: impl FnMut(Channel) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut select = connection.prepare(
        "SELECT id, name, epoch, top, (SELECT min(offset) FROM entries WHERE channel = channels.id), sum FROM channels \
         WHERE id > ? ORDER BY id LIMIT 1",
    )?;
    let mut after = i64::MIN;
    loop {
        let next = select.query_row([after], |row| {
            let (id, name, epoch) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let channel = Channel { id, name, epoch, top: row.get(3)?, lowest: row.get(4)? };
            Ok((channel, row.get::<_, u32>(5)?))
        });
        let Some((channel, written)) = next.optional()? else { return Ok(()) };
        let Channel { id, name, epoch, top, .. } = &channel;
        if written != sum(&[&id.to_be_bytes(), name.as_bytes(), &[0], epoch.as_bytes(), &top.to_be_bytes()]) {
            return Err(Fault::Other(wrong_channel(path, name)));
        }
        after = *id;
        visit(channel)?;
    }
}
