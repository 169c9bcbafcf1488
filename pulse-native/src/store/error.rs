//! What can be wrong with a store, in sentences that name the file and say what to do.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::FORMAT;

/// Why a store cannot be opened, read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the folder open.
    Locked {
        /// The folder of the store, or its file.
        folder: PathBuf,
    },
    /// There is no store where one has to be.
    Missing {
        /// The folder that was named.
        folder: PathBuf,
    },
    /// What is there was not written by Pulse.
    Foreign {
        /// The folder or file.
        path: PathBuf,
        /// What is there instead.
        what: String,
    },
    /// The store was written by a newer version of Pulse.
    Newer {
        /// The file of the store.
        path: PathBuf,
        /// The version of its format.
        version: u32,
    },
    /// The file does not hold what was written.
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// What is wrong in it.
        what: String,
    },
    /// The disk has no room left.
    Full {
        /// The file that cannot grow.
        path: PathBuf,
    },
    /// An entry was to be appended that does not come after what is kept.
    Misordered {
        /// The channel.
        channel: String,
        /// The offset of the entry.
        offset: u64,
        /// The highest offset that the channel has had.
        top: u64,
    },
    /// The operating system refuses.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database refuses for another reason.
    Database {
        /// The file of the store.
        path: PathBuf,
        /// What the database said.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StoreError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull {
            Self::Full { path: path.to_owned() }
        } else {
            Self::Io { path: path.to_owned(), source }
        }
    }

    pub(super) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), what: what.into() }
    }

    /// What the database says, for a store in this file.
    pub(super) fn database(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error,
        };
        if let FromSqlConversionFailure(..)
        | IntegralValueOutOfRange(..)
        | InvalidColumnType(..)
        | Utf8Error(..) = source
        {
            // We wrote nothing of that kind.
            return Self::corrupt(path, source.to_string());
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path: path.to_owned() },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::corrupt(path, source.to_string())
            }
            // Our own lock is held; this is a tool of SQLite's that does not know of it.
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Locked { folder: path.to_owned() }
            }
            _ => Self::Database { path: path.to_owned(), source: source.into() },
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { folder } => write!(
                f,
                "{}: another process has this store open; stop it first, or give each server a folder of its own",
                folder.display()
            ),
            Self::Missing { folder } => {
                write!(
                    f,
                    "{}: there is no store here; name the folder that a server keeps its history in",
                    folder.display()
                )
            }
            Self::Foreign { path, what } => write!(
                f,
                "{}: {what}; nothing was changed. Name an empty folder, or one that Pulse has written",
                path.display()
            ),
            Self::Newer { path, version } => write!(
                f,
                "{}: its format is version {version}, and this version of Pulse knows up to {FORMAT}; nothing was changed. \
                 Run the version that wrote it, or restore a backup into an empty folder",
                path.display()
            ),
            Self::Corrupt { path, what } => write!(
                f,
                "{}: the store is damaged: {what}. Nothing was overwritten; keep a copy of the folder, and restore a \
                 backup into an empty one with `pulse store restore`",
                path.display()
            ),
            Self::Full { path } => {
                write!(f, "{}: the disk is full; what was stored before is safe. Make room", path.display())
            }
            Self::Misordered { channel, offset, top } => write!(
                f,
                "the entry {offset} of channel {channel:?} cannot be stored after {top}; offsets rise within an epoch, and \
                 stay below 2^63"
            ),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Database { path, source } => write!(f, "{}: the store refuses: {source}", path.display()),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Database { source, .. } => Some(&**source),
            _ => None,
        }
    }
}
