//! Durable history on disk: which publications each channel has, under which epoch, how far its offsets have come, and by which
//! names repeats of publications are known.
//!
//! A store is a folder that one process at a time has open. It knows nothing of the protocol: a channel is a name, an epoch a
//! string, a publication an offset, a time and bytes, its name bytes too. What is to be kept and for how long is for others to say. Why it is
//! SQLite underneath, and the measurements, are in docs/STORAGE.md.
//!
//! What [`Store::append`] has returned from is on disk, all of it; what it has failed at is not there, none of it. Calls block
//! while the disk works, so they want a thread of their own.
//!
//! ```
//! use pulse_native::store::{Entry, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("pulse-store-doc-{}", std::process::id()));
//! let mut store = Store::open(&folder)?;
//! let entry = |offset, name, frame| Entry {
//!     channel: "chat:lobby", epoch: "e1", offset, time: 1_700_000_000_000, name, frame,
//! };
//! store.append(&[entry(1, b"", b"hello"), entry(2, b"order 17", b"world")])?;
//! assert_eq!(store.load("chat:lobby", 2, 100)?[0].frame, b"world");
//! assert_eq!(store.names("chat:lobby", 0, 100)?[0].offset, 2);
//! # drop(store);
//! # std::fs::remove_dir_all(folder)?;
//! # Ok(())
//! # }
//! ```

mod backup;
mod commit;
mod error;
mod folder;
mod former;
mod rows;
mod wal;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, Transaction};

pub use backup::{BackupError, Totals, backup, restore};
pub use commit::Change;
pub use error::StoreError;
use folder::Folder;
use rows::{CHANNELS, ENTRIES, Known, MAKE_NAMES, MAKE_TABLES, NAMES, Numbered, TABLES, known_of};

/// The version of the format, in the file's `user_version`. Those before it are taken over ([`former`]), those after it refused.
const FORMAT: u32 = 2;

/// Says in the file's header whose database it is: "Puls".
const APPLICATION: u32 = 0x5075_6c73;

/// After how many pages of 4 KiB the log is copied into the file: 16 MiB. Fewer copy the pages that all channels write to more
/// often; more make the log longer that has to be read at the next start after a kill.
const CHECKPOINT_PAGES: u32 = 4_096;

/// A publication that is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The channel's name.
    pub channel: &'a str,
    /// Which run of offsets this one belongs to. Another epoch than the channel's begins a new run: what was kept of the
    /// former one goes away in the same transaction.
    pub epoch: &'a str,
    /// Its number, above all that this epoch of the channel has had.
    pub offset: u64,
    /// When it was published, as the caller counts time.
    pub time: u64,
    /// What a repeat of it is known by, empty for none. It is kept with the publication or not at all, and afterwards each may
    /// go without the other.
    pub name: &'a [u8],
    /// The publication itself.
    pub frame: &'a [u8],
}

/// A publication that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub offset: u64,
    /// When it was published.
    pub time: u64,
    /// The publication itself.
    pub frame: Vec<u8>,
}

/// What a publication was named, kept or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The publication's number.
    pub offset: u64,
    /// When it was published.
    pub time: u64,
    /// The name.
    pub name: Vec<u8>,
}

/// What a store knows of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// The run of offsets that it is in.
    pub epoch: String,
    /// What a trim has said to be the lowest offset that stays, the highest of them; 1 if none has. There may be holes from there on,
    /// at this offset as well. It is at most the one after `top`.
    pub first: u64,
    /// The highest offset that this epoch has had, kept or not.
    pub top: u64,
}

/// Durable history, open in this process alone.
#[derive(Debug)]
pub struct Store {
    // Closed before the folder is let go.
    connection: Connection,
    /// What is known of the channels that were written to.
    known: HashMap<String, Known>,
    /// The file, for errors.
    path: PathBuf,
    _folder: Option<Folder>,
}

/// What can go wrong within a transaction.
enum Fault {
    Database(rusqlite::Error),
    Other(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// When a transaction has to be on disk.
#[derive(Clone, Copy, PartialEq)]
enum Durable {
    /// Before it is told to have ended.
    Now,
    /// With the next one.
    Later,
}

impl Store {
    /// Opens the store in this folder; makes both if they do not exist.
    ///
    /// # Errors
    /// If another process has it open, if what is there is not a store, is damaged or was written by a newer version, or if the
    /// system refuses. Nothing is changed then. What an older version has written is taken over otherwise.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let folder = Folder::make(folder)?;
        if !folder.has_store()? {
            folder.create(|path| Self::create(path)?.close())?;
        }
        Self::open_in(folder)
    }

    /// Opens a store that is there.
    ///
    /// # Errors
    /// As [`Store::open`], and if there is none.
    pub fn open_existing(folder: &Path) -> Result<Self, StoreError> {
        let folder = Folder::take(folder)?;
        if !folder.has_store()? {
            return Err(StoreError::Missing { folder: folder.path().to_owned() });
        }
        Self::open_in(folder)
    }

    fn open_in(folder: Folder) -> Result<Self, StoreError> {
        folder.examine()?;
        // Until it is known to be whole. Where there is none, SQLite makes an empty one, which is to go again.
        let keep_log = folder.has_log();
        let mut store = Self::connect(folder.store(), keep_log)?;
        // SQLite reads the log now, and what it says of the version and the tables is what the rest relies on.
        let tables = store.check_format()?;
        let former = tables == former::TABLES;
        store.check_structure(&tables[1..])?;
        if former {
            store.ask(|connection| former::check(connection, &store.path))?;
        }
        // No change, unless a tool of SQLite's has changed it.
        store.ask(|connection| Ok(connection.pragma_update(None, "journal_mode", "wal")?))?;
        store.keep_log(false)?;
        if former {
            let Self { connection, path, .. } = &mut store;
            former::take_over(connection, path).map_err(|fault| explained(path, fault))?;
        }
        store._folder = Some(folder);
        Ok(store)
    }

    /// The tables, which are those of this format or of the one before it, as the version says.
    fn check_format(&self) -> Result<&'static [&'static str], StoreError> {
        let (version, tables) = self.ask(|connection| {
            let version: i32 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
            let mut select =
                connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
            let names = select.query_map((), |row| row.get::<_, String>(0))?;
            Ok((version.cast_unsigned(), names.collect::<Result<Vec<_>, _>>()?))
        })?;
        // The file alone may say something else, while its log has not been copied.
        let expected: &[&str] = match version {
            0 => return Err(StoreError::corrupt(&self.path, "it has no version")),
            1 => &former::TABLES,
            FORMAT => &TABLES,
            _ => return Err(StoreError::Newer { path: self.path.clone(), version }),
        };
        if tables == expected {
            Ok(expected)
        } else {
            Err(StoreError::corrupt(&self.path, format!("its tables are {tables:?}")))
        }
    }

    /// Reads the whole file and finds what does not hold together. Entries have checksums, the pages around them have none: without
    /// this, a bit turned in a page's own numbers makes entries disappear without a word.
    fn check_structure(&self, numbered: &[&str]) -> Result<(), StoreError> {
        let found: String = self
            .ask(|connection| Ok(connection.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))?))?;
        if found != "ok" {
            return Err(StoreError::corrupt(&self.path, found.replace('\n', " ")));
        }
        // A row whose channel became another number would be missed by nobody, if it is the last one of its channel. This steps
        // from channel to channel instead of reading all rows.
        for table in numbered {
            let stray = self.ask(|connection| {
                let select = format!(
                    "WITH RECURSIVE used(id) AS (
                        SELECT min(channel) FROM {table} UNION ALL
                        SELECT (SELECT min(channel) FROM {table} WHERE channel > id) FROM used WHERE id IS NOT NULL
                    ) SELECT id FROM used WHERE id IS NOT NULL AND id NOT IN (SELECT id FROM channels) LIMIT 1"
                );
                Ok(connection.query_row(&select, (), |row| row.get::<_, i64>(0)).optional()?)
            })?;
            if let Some(id) = stray {
                let what = format!("{table} are of a channel with the number {id}, and there is none");
                return Err(StoreError::corrupt(&self.path, what));
            }
        }
        Ok(())
    }

    /// Makes a store in a file that exists and is empty.
    fn create(path: &Path) -> Result<Self, StoreError> {
        let store = Self::connect(path.to_owned(), false)?;
        store.ask(|connection| {
            connection.pragma_update(None, "application_id", APPLICATION)?;
            connection.pragma_update(None, "user_version", FORMAT)?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.execute_batch(MAKE_TABLES)?;
            Ok(connection.execute_batch(MAKE_NAMES)?)
        })?;
        Ok(store)
    }

    fn connect(path: PathBuf, keep_log: bool) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(&path, flags).map_err(|error| StoreError::database(&path, error))?;
        let store = Self { connection, known: HashMap::new(), path, _folder: None };
        store.keep_log(keep_log)?;
        store.ask(|connection| {
            // Nobody else may write, so the index of the log needs no file that is shared.
            connection.pragma_update(None, "locking_mode", "exclusive")?;
            connection.busy_timeout(Duration::ZERO)?;
            connection.pragma_update(None, "temp_store", "memory")?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
            // A damaged page is to be an error before it is believed.
            connection.pragma_update(None, "cell_size_check", true)?;
            Ok(connection.pragma_update(None, "trusted_schema", false)?)
        })?;
        Ok(store)
    }

    /// Whether closing leaves the log as it is instead of copying it into the file, so that what is damaged is not changed.
    fn keep_log(&self, keep: bool) -> Result<(), StoreError> {
        self.ask(|connection| {
            Ok(connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)?)
        })
    }

    /// Closes the store with all of it in the one file. Dropping it does the same, and hears of no error.
    ///
    /// # Errors
    /// If the disk takes no more. What was acknowledged is safe all the same.
    pub fn close(self) -> Result<(), StoreError> {
        // Closing copies the log too, and keeps to itself that it could not.
        self.ask(|connection| {
            Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, bool>(0))?)
        })?;
        let Self { connection, path, .. } = self;
        connection.close().map_err(|(_, error)| StoreError::database(&path, error))
    }

    /// Keeps these publications, of any channels, as one transaction that is on disk when this returns.
    ///
    /// # Errors
    /// If an offset does not come after those of its channel, if the disk is full, or if it fails. Then none of them is
    /// kept, except that after an error of the disk itself they may be there when the store is opened again.
    pub fn append(&mut self, entries: &[Entry<'_>]) -> Result<(), StoreError> {
        self.change(Durable::Now, |transaction, known| {
            entries.iter().try_for_each(|entry| commit::append(transaction, known, entry))
        })
    }

    /// Forgets the publications of these channels below the first offset that stands beside each, and the names of publications
    /// below the second. It is on disk with the next [`Store::append`] and costs no wait of its own: if a power cut undoes it,
    /// it is done again.
    ///
    /// # Errors
    /// If the disk is full, or fails.
    pub fn trim(&mut self, below: &[(&str, u64, u64)]) -> Result<(), StoreError> {
        self.change(Durable::Later, |transaction, known| {
            below.iter().try_for_each(|(name, below, names_below)| {
                commit::trim(transaction, known, name, *below, *names_below)
            })
        })
    }

    /// Keeps a channel's epoch, first and top offset where there is no publication to say them. An epoch that the channel is not
    /// in begins a new run; a first or top below the channel's changes nothing, and publications below `first` go.
    ///
    /// # Errors
    /// If `top` is no offset, if the disk is full, or if it fails.
    pub fn mark(&mut self, channel: &str, epoch: &str, first: u64, top: u64) -> Result<(), StoreError> {
        self.change(Durable::Now, |transaction, known| {
            commit::begin(transaction, known, channel, epoch, top)?;
            commit::trim(transaction, known, channel, first, 0)
        })
    }

    /// Forgets a channel, its names, its epoch and its offsets as well.
    ///
    /// # Errors
    /// If the disk is full, or fails.
    pub fn remove(&mut self, channel: &str) -> Result<(), StoreError> {
        self.change(Durable::Now, |transaction, known| commit::remove(transaction, known, channel))
    }

    /// All channels in the order of their names.
    ///
    /// # Errors
    /// If the file is damaged, or the disk fails.
    pub fn channels(&self) -> Result<Vec<Channel>, StoreError> {
        self.ask(|connection| {
            let mut select = connection.prepare(&format!("{CHANNELS} ORDER BY name"))?;
            let mut rows = select.query(())?;
            let mut channels = Vec::new();
            while let Some(row) = rows.next()? {
                channels.push(self.channel_of(row)?.1);
            }
            Ok(channels)
        })
    }

    /// What is known of this channel, if there is one.
    ///
    /// # Errors
    /// If the file is damaged, or the disk fails.
    pub fn channel(&self, name: &str) -> Result<Option<Channel>, StoreError> {
        Ok(self.find(name)?.map(|(_, channel)| channel))
    }

    /// The publications of a channel from this offset on, in order, `limit` at most.
    ///
    /// # Errors
    /// If one of them is not what was written, or the disk fails.
    pub fn load(&self, channel: &str, from: u64, limit: usize) -> Result<Vec<Kept>, StoreError> {
        let mut kept = Vec::new();
        self.each(&ENTRIES, channel, from, limit, |offset, time, frame| {
            kept.push(Kept { offset, time, frame });
        })?;
        Ok(kept)
    }

    /// The names of a channel's publications from this offset on, in order, `limit` at most.
    ///
    /// # Errors
    /// If one of them is not what was written, or the disk fails.
    pub fn names(&self, channel: &str, from: u64, limit: usize) -> Result<Vec<Named>, StoreError> {
        let mut names = Vec::new();
        self.each(&NAMES, channel, from, limit, |offset, time, name| {
            names.push(Named { offset, time, name });
        })?;
        Ok(names)
    }

    fn each(
        &self,
        table: &Numbered,
        channel: &str,
        from: u64,
        limit: usize,
        visit: impl FnMut(u64, u64, Vec<u8>),
    ) -> Result<(), StoreError> {
        let Some((id, _)) = self.find(channel)? else { return Ok(()) };
        self.ask(|connection| table.each(connection, &self.path, (id, channel), from, limit, visit))
    }

    fn find(&self, name: &str) -> Result<Option<(i64, Channel)>, StoreError> {
        self.ask(|connection| {
            let mut select = connection.prepare_cached(&format!("{CHANNELS} WHERE name = ?"))?;
            let mut rows = select.query([name])?;
            rows.next()?.map(|row| self.channel_of(row)).transpose()
        })
    }

    /// A row of [`CHANNELS`].
    fn channel_of(&self, row: &Row<'_>) -> Result<(i64, Channel), Fault> {
        let (name, Known { id, epoch, first, top }) = known_of(row, &self.path)?;
        Ok((id, Channel { name, epoch, first, top }))
    }

    fn ask<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        work(&self.connection).map_err(|fault| explained(&self.path, fault))
    }

    /// Does some work as one transaction.
    fn change(
        &mut self,
        durable: Durable,
        work: impl FnOnce(&Transaction<'_>, &mut HashMap<String, Known>) -> Result<(), Fault>,
    ) -> Result<(), StoreError> {
        let Self { connection, known, path, .. } = self;
        let transact = || {
            let synchronous = if durable == Durable::Now { "full" } else { "normal" };
            connection.pragma_update(None, "synchronous", synchronous)?;
            let transaction = connection.transaction()?;
            work(&transaction, known)?;
            Ok(transaction.commit()?)
        };
        let done = transact();
        if done.is_err() {
            // It holds what the transaction would have made true.
            known.clear();
        }
        done.map_err(|fault| explained(path, fault))
    }
}

fn explained(path: &Path, fault: Fault) -> StoreError {
    match fault {
        Fault::Database(error) => StoreError::database(path, error),
        Fault::Other(error) => error,
    }
}
