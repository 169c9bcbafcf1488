//! The folder of a store: who holds it, what is in it, and how a store comes into it whole or not at all.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{APPLICATION, FORMAT, StoreError, wal};

const STORE: &str = "store.db";
const WAL: &str = "store.db-wal";
/// A store that is still being made; it gets its name when it is whole.
const NEW: &str = "store.db.new";

/// How each SQLite database begins, <https://www.sqlite.org/fileformat.html>.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// A folder that no other process has open as a store, for as long as this value lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The folder itself, open and locked: a file only for the lock would be a trace in folders that are not ours.
    handle: File,
}

impl Folder {
    /// Takes a folder, and makes it if it does not exist.
    pub(super) fn make(path: &Path) -> Result<Self, StoreError> {
        let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
        // What clients say to each other is nobody else's business.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| StoreError::io(path, error))?;
        for folder in missing {
            // A folder is on disk when the one that it is in is.
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or_else(|| ".".as_ref());
            let synced = File::open(parent).and_then(|parent| parent.sync_all());
            synced.map_err(|error| StoreError::io(parent, error))?;
        }
        Self::take(path)
    }

    /// Takes a folder that exists.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let handle = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { folder: path.to_owned() },
            _ => StoreError::io(path, error),
        })?;
        match handle.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), handle }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { folder: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(StoreError::io(path, error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file of the store.
    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Whether there is a store; if not, there is room for one.
    pub(super) fn has_store(&self) -> Result<bool, StoreError> {
        let listed =
            fs::read_dir(&self.path).and_then(|list| list.map(|entry| Ok(entry?.file_name())).collect());
        let mut names: Vec<OsString> = listed.map_err(|error| StoreError::io(&self.path, error))?;
        if names.iter().any(|name| name == STORE) {
            return Ok(true);
        }
        if names.iter().any(|name| name == WAL) {
            return Err(StoreError::corrupt(&self.path, format!("{WAL} is here without {STORE}")));
        }
        // The second is in the top folder of many file systems.
        names.retain(|name| !name.as_encoded_bytes().starts_with(NEW.as_bytes()) && name != "lost+found");
        names.sort();
        match names.first() {
            None => Ok(false),
            Some(name) => Err(StoreError::Foreign {
                path: self.path.clone(),
                what: format!("the folder holds {name:?} and no {STORE}"),
            }),
        }
    }

    /// Whether the store has a log, with something in it or not.
    pub(super) fn has_log(&self) -> bool {
        self.path.join(WAL).exists()
    }

    /// Looks at the files of the store without changing them.
    pub(super) fn examine(&self) -> Result<(), StoreError> {
        let path = self.store();
        let mut file = File::open(&path).map_err(|error| StoreError::io(&path, error))?;
        let mut header = Vec::new();
        let read = file.by_ref().take(100).read_to_end(&mut header);
        read.map_err(|error| StoreError::io(&path, error))?;
        let length = file.metadata().map_err(|error| StoreError::io(&path, error))?.len();
        let wal = self.path.join(WAL);
        let has_wal = fs::metadata(&wal).is_ok_and(|data| data.len() > 0);
        header_fits(&path, &header, length, has_wal)?;
        if has_wal { wal::examine(&wal) } else { Ok(()) }
    }

    /// Has `fill` make a store, and gives it its name when that has ended well.
    pub(super) fn create<T, E: From<StoreError>>(
        &self,
        fill: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<T, E> {
        let path = self.path.join(NEW);
        self.clear()?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.map_err(|error| StoreError::io(&path, error))?;
        let filled = fill(&path).and_then(|value| {
            fs::rename(&path, self.store()).map_err(|error| StoreError::io(&path, error))?;
            self.handle.sync_all().map_err(|error| StoreError::io(&self.path, error))?;
            Ok(value)
        });
        if filled.is_err() {
            // The first error is the one to tell; what is left behind is cleared by the next one who makes a store.
            let _ = self.clear();
        }
        filled
    }

    /// Removes what is left of a store that was never finished.
    fn clear(&self) -> Result<(), StoreError> {
        for end in ["", "-wal", "-shm", "-journal"] {
            let path = self.path.join(format!("{NEW}{end}"));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io(&path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing alone would not do while a process that is just being started still has a copy of the handle. There is
        // nobody to tell of an error, and closing follows.
        let _ = self.handle.unlock();
    }
}

/// Whether a file that begins like this is a store that this version can read.
fn header_fits(path: &Path, header: &[u8], length: u64, has_wal: bool) -> Result<(), StoreError> {
    let foreign = |what: &str| StoreError::Foreign { path: path.to_owned(), what: what.to_owned() };
    let Some(header) = header.first_chunk::<100>() else {
        return Err(StoreError::corrupt(path, format!("it ends after {length} bytes")));
    };
    let number = |at: usize| {
        u32::from_be_bytes(header[at..at + 4].try_into().expect("the header is longer than that"))
    };
    if &header[..16] != MAGIC {
        return Err(foreign(
            "this is not the beginning of a store: another program's file, or a damaged one",
        ));
    }
    if number(68) != APPLICATION {
        return Err(foreign("this is a database of another program"));
    }
    match number(60) {
        0 => return Err(StoreError::corrupt(path, "it has no version")),
        version if version > FORMAT => return Err(StoreError::Newer { path: path.to_owned(), version }),
        _ => {}
    }
    // 1 stands for 65,536 here.
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        page => u64::from(page),
    };
    // With a log beside it the file may be shorter: the kernel was stopped while the log was being copied into it.
    let expected = u64::from(number(28)) * page;
    if length < expected && !has_wal {
        return Err(StoreError::corrupt(path, format!("it has {length} bytes instead of {expected}")));
    }
    Ok(())
}
