//! The three stores behind one interface, each with its own defaults; SQLite with those of `pulse_native::store`.

use std::error::Error;
use std::path::Path;

use redb::ReadableDatabase as _;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A publication as a store sees it.
pub(crate) struct Record {
    pub(crate) channel: u64,
    pub(crate) offset: u64,
    pub(crate) time: u64,
    pub(crate) frame: Vec<u8>,
}

pub(crate) type Visit<'a> = dyn FnMut(u64, u64, u64, &[u8]) + 'a;

/// One embedded store.
pub(crate) trait Engine {
    /// Appends as one transaction, which is on disk when this returns.
    fn append(&mut self, records: &[Record]) -> Result<()>;

    /// Removes a channel's records below `offset`, as one transaction.
    fn trim(&mut self, channel: u64, offset: u64) -> Result<()>;

    /// Reads everything in order of channel and offset, and shows channel, offset, time and frame.
    fn read(&mut self, visit: &mut Visit<'_>) -> Result<()>;
}

/// The names that the command line takes.
pub(crate) const NAMES: [&str; 3] = ["redb", "fjall", "sqlite"];

/// Opens the store of this name in a folder, and makes it if there is none.
pub(crate) fn open(name: &str, folder: &Path) -> Result<Box<dyn Engine>> {
    Ok(match name {
        "redb" => Box::new(Redb::open(folder)?),
        "fjall" => Box::new(Fjall::open(folder)?),
        "sqlite" => Box::new(Sqlite::open(folder)?),
        other => return Err(format!("there is no store {other:?}; there are {}", NAMES.join(", ")).into()),
    })
}

/// Time and frame as one value, for the stores that know only bytes.
fn value(record: &Record) -> Vec<u8> {
    let mut value = record.time.to_be_bytes().to_vec();
    value.extend_from_slice(&record.frame);
    value
}

/// What `value` has put together.
fn parts(value: &[u8]) -> Result<(u64, &[u8])> {
    let (time, frame) = value.split_first_chunk().ok_or("a value is shorter than its time")?;
    Ok((u64::from_be_bytes(*time), frame))
}

struct Redb {
    database: redb::Database,
}

const ENTRIES: redb::TableDefinition<'_, (u64, u64), &[u8]> = redb::TableDefinition::new("entries");

impl Redb {
    fn open(folder: &Path) -> Result<Self> {
        let database = redb::Database::create(folder.join("redb"))?;
        let transaction = database.begin_write()?;
        transaction.open_table(ENTRIES)?;
        transaction.commit()?;
        Ok(Self { database })
    }
}

impl Engine for Redb {
    fn append(&mut self, records: &[Record]) -> Result<()> {
        // Durability::Immediate is the default.
        let transaction = self.database.begin_write()?;
        {
            let mut entries = transaction.open_table(ENTRIES)?;
            for record in records {
                entries.insert((record.channel, record.offset), &*value(record))?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn trim(&mut self, channel: u64, offset: u64) -> Result<()> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(ENTRIES)?.retain_in((channel, 0)..(channel, offset), |_, _| false)?;
        Ok(transaction.commit()?)
    }

    fn read(&mut self, visit: &mut Visit<'_>) -> Result<()> {
        let entries = self.database.begin_read()?.open_table(ENTRIES)?;
        for entry in entries.range::<(u64, u64)>(..)? {
            let (key, value) = entry?;
            let (channel, offset) = key.value();
            let (time, frame) = parts(value.value())?;
            visit(channel, offset, time, frame);
        }
        Ok(())
    }
}

struct Fjall {
    database: fjall::Database,
    entries: fjall::Keyspace,
}

impl Fjall {
    fn open(folder: &Path) -> Result<Self> {
        let database = fjall::Database::builder(folder.join("fjall")).open()?;
        let entries = database.keyspace("entries", fjall::KeyspaceCreateOptions::default)?;
        Ok(Self { database, entries })
    }

    fn key(channel: u64, offset: u64) -> [u8; 16] {
        (u128::from(channel) << 64 | u128::from(offset)).to_be_bytes()
    }

    /// A batch that is synced as it is committed.
    fn batch(&self) -> fjall::OwnedWriteBatch {
        self.database.batch().durability(Some(fjall::PersistMode::SyncData))
    }
}

impl Engine for Fjall {
    fn append(&mut self, records: &[Record]) -> Result<()> {
        let mut batch = self.batch();
        for record in records {
            batch.insert(&self.entries, Self::key(record.channel, record.offset), value(record));
        }
        Ok(batch.commit()?)
    }

    fn trim(&mut self, channel: u64, offset: u64) -> Result<()> {
        let mut batch = self.batch();
        for entry in self.entries.range(Self::key(channel, 0)..Self::key(channel, offset)) {
            batch.remove(&self.entries, entry.key()?);
        }
        Ok(batch.commit()?)
    }

    fn read(&mut self, visit: &mut Visit<'_>) -> Result<()> {
        for entry in self.entries.iter() {
            let (key, value) = entry.into_inner()?;
            let key = u128::from_be_bytes((*key).try_into()?);
            let (time, frame) = parts(&value)?;
            visit((key >> 64) as u64, key as u64, time, frame);
        }
        Ok(())
    }
}

struct Sqlite {
    connection: rusqlite::Connection,
}

impl Sqlite {
    fn open(folder: &Path) -> Result<Self> {
        let connection = rusqlite::Connection::open(folder.join("sqlite"))?;
        // As `pulse_native::store` has it.
        connection.pragma_update(None, "locking_mode", "exclusive")?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "wal_autocheckpoint", 4_096)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS entries (channel INTEGER, offset INTEGER, time INTEGER, frame BLOB,
                PRIMARY KEY (channel, offset)) WITHOUT ROWID",
        )?;
        let found: String = connection.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))?;
        if found == "ok" { Ok(Self { connection }) } else { Err(found.into()) }
    }
}

impl Engine for Sqlite {
    fn append(&mut self, records: &[Record]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO entries VALUES (?, ?, ?, ?)")?;
            for Record { channel, offset, time, frame } in records {
                insert.execute((*channel as i64, *offset as i64, *time as i64, frame))?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn trim(&mut self, channel: u64, offset: u64) -> Result<()> {
        let sql = "DELETE FROM entries WHERE channel = ? AND offset < ?";
        self.connection.prepare_cached(sql)?.execute((channel as i64, offset as i64))?;
        Ok(())
    }

    fn read(&mut self, visit: &mut Visit<'_>) -> Result<()> {
        let sql = "SELECT channel, offset, time, frame FROM entries ORDER BY channel, offset";
        let mut select = self.connection.prepare(sql)?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
            visit(number(0)?, number(1)?, number(2)?, row.get_ref(3)?.as_blob()?);
        }
        Ok(())
    }
}
