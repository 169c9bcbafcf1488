//! One file that holds all of a store, to be kept elsewhere and read into an empty folder.
//!
//! Numbers are big-endian. The file begins with [`MAGIC`] and the version as a `u32`. Then, for each channel: [`CHANNEL`], the
//! lengths of name and epoch as a `u16` each, both, the first and the top offset as a `u64` each; for each of its entries:
//! [`ENTRY`], offset and time as a `u64` each, the frame's length as a `u32`, the frame; then for each of its names: [`NAME`] and
//! the same, with the name. At last [`END`], the numbers of channels, of entries and of names as a `u64` each, and the
//! SHA-256 of everything before it.
//!
//! Version 1 has no names, nor their number, and no first offset: that of the first entry stands for it, as it did in the store.

use std::error::Error;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use super::folder::Folder;
use super::{Entry, Kept, Named, Store, StoreError};

const MAGIC: &[u8; 8] = b"PULSEBAK";
const VERSION: u32 = 2;
const CHANNEL: u8 = b'C';
const ENTRY: u8 = b'E';
const NAME: u8 = b'N';
const END: u8 = b'Z';

/// How much is read or written at once: few enough that large frames fit into memory.
const PIECE_ROWS: usize = 256;
const PIECE_BYTES: usize = 4 << 20;

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Channels.
    pub channels: u64,
    /// Publications in all of them.
    pub entries: u64,
    /// Names of publications in all of them.
    pub names: u64,
}

/// Why a backup cannot be made or restored.
#[derive(Debug)]
#[non_exhaustive]
pub enum BackupError {
    /// The store cannot be opened, read or written.
    Store(StoreError),
    /// There is a file already where the backup is to be written.
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is a store already where the backup is to be read into.
    Occupied {
        /// The folder.
        folder: PathBuf,
    },
    /// The file was written by a newer version of Pulse.
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its format.
        version: u32,
    },
    /// The file is not a backup, or not all of one.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The operating system refuses.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Exists { path } => {
                write!(f, "{}: it is there already and is not written over; name a new file", path.display())
            }
            Self::Occupied { folder } => write!(
                f,
                "{}: there is a store already and it is not written over; name an empty folder",
                folder.display()
            ),
            Self::Newer { path, version } => write!(
                f,
                "{}: its format is version {version}, and this version of Pulse knows up to {VERSION}; run the version \
                 that wrote it",
                path.display()
            ),
            Self::Damaged { path, what } => {
                write!(f, "{}: {what}; nothing was restored. Take another backup", path.display())
            }
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl Error for BackupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Store(error) => error.source(),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Writes all of a store into a file that does not exist yet. It is on disk when this returns.
///
/// # Errors
/// If the file exists or cannot be written, or the store cannot be read; then there is no such file.
pub fn backup(store: &Store, path: &Path) -> Result<Totals, BackupError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists { path: path.to_owned() },
        _ => BackupError::Io { path: path.to_owned(), source },
    })?;
    let written = write(store, &mut Sink { file: BufWriter::new(file), digest: Context::new(&SHA256), path });
    if written.is_err() {
        // The first error is the one to tell; half a backup has no end, and is refused.
        let _ = fs::remove_file(path);
    }
    written
}

fn write(store: &Store, sink: &mut Sink<'_>) -> Result<Totals, BackupError> {
    let mut totals = Totals::default();
    sink.put(&[MAGIC, &VERSION.to_be_bytes()])?;
    for channel in store.channels()? {
        let (name, epoch) = (channel.name.as_bytes(), channel.epoch.as_bytes());
        let length = |bytes: &[u8]| {
            let length = u16::try_from(bytes.len());
            length.map_err(|_| sink.error("a name or an epoch is longer than 65,535 bytes"))
        };
        let lengths = [length(name)?.to_be_bytes(), length(epoch)?.to_be_bytes()];
        let offsets = [channel.first.to_be_bytes(), channel.top.to_be_bytes()];
        sink.put(&[&[CHANNEL], &lengths[0], &lengths[1], name, epoch, &offsets[0], &offsets[1]])?;
        totals.channels += 1;
        totals.entries += sink.rows(ENTRY, |from| {
            let piece = store.load(&channel.name, from, PIECE_ROWS)?;
            Ok(piece.into_iter().map(|Kept { offset, time, frame }| (offset, time, frame)).collect())
        })?;
        totals.names += sink.rows(NAME, |from| {
            let piece = store.names(&channel.name, from, PIECE_ROWS)?;
            Ok(piece.into_iter().map(|Named { offset, time, name }| (offset, time, name)).collect())
        })?;
    }
    let Totals { channels, entries, names } = totals;
    let [channels, entries, names] = [channels, entries, names].map(u64::to_be_bytes);
    sink.put(&[&[END], &channels, &entries, &names])?;
    sink.end()?;
    Ok(totals)
}

/// A backup that is being written.
struct Sink<'a> {
    file: BufWriter<File>,
    digest: Context,
    path: &'a Path,
}

impl Sink<'_> {
    fn put(&mut self, parts: &[&[u8]]) -> Result<(), BackupError> {
        for part in parts {
            self.digest.update(part);
            self.file.write_all(part).map_err(|source| self.io(source))?;
        }
        Ok(())
    }

    /// Writes all rows of a kind, as pieces that begin at the offset asked for; returns how many there are.
    fn rows(
        &mut self,
        kind: u8,
        piece: impl Fn(u64) -> Result<Vec<(u64, u64, Vec<u8>)>, StoreError>,
    ) -> Result<u64, BackupError> {
        let (mut from, mut count) = (0, 0);
        loop {
            let rows = piece(from)?;
            let Some((last, ..)) = rows.last() else { return Ok(count) };
            from = last + 1;
            count += rows.len() as u64;
            for (offset, time, bytes) in &rows {
                self.row(kind, *offset, *time, bytes)?;
            }
        }
    }

    fn row(&mut self, kind: u8, offset: u64, time: u64, bytes: &[u8]) -> Result<(), BackupError> {
        let length = u32::try_from(bytes.len());
        let length = length.map_err(|_| self.error("a frame or a name is longer than 4 GiB"))?.to_be_bytes();
        self.put(&[&[kind], &offset.to_be_bytes(), &time.to_be_bytes(), &length, bytes])
    }

    /// Writes the checksum and waits for the disk.
    fn end(&mut self) -> Result<(), BackupError> {
        let digest = self.digest.clone().finish();
        let parent = self
            .path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or_else(|| ".".as_ref());
        let file = &mut self.file;
        let ended = file
            .write_all(digest.as_ref())
            .and_then(|()| file.flush())
            .and_then(|()| file.get_ref().sync_all())
            .and_then(|()| File::open(parent)?.sync_all());
        ended.map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> BackupError {
        BackupError::Io { path: self.path.to_owned(), source }
    }

    fn error(&self, what: &str) -> BackupError {
        self.io(io::Error::other(what))
    }
}

/// Reads a backup into a folder that does not exist or is empty. The folder has all of it afterwards, or no store.
///
/// # Errors
/// If the file is not a whole backup, if there is a store already, or if the disk refuses.
pub fn restore(path: &Path, folder: &Path) -> Result<Totals, BackupError> {
    // To its end first: what is damaged is not to be half restored.
    read(path, &mut |_| Ok(()))?;
    let folder = Folder::make(folder)?;
    if folder.has_store()? {
        return Err(BackupError::Occupied { folder: folder.path().to_owned() });
    }
    folder.create(|at| {
        let mut store = Store::create(at)?;
        let mut pieces =
            Pieces { store: &mut store, channel: None, entries: Vec::new(), names: Vec::new(), bytes: 0 };
        let totals = read(path, &mut |item| pieces.take(item))?;
        store.close()?;
        Ok(totals)
    })
}

/// What comes out of a backup.
enum Item {
    Channel(Head),
    Entry(Kept),
    Name(Named),
    End,
}

/// A channel that entries and names follow.
struct Head {
    name: String,
    epoch: String,
    /// Not said in version 1, until the first entry comes.
    first: Option<u64>,
    top: u64,
}

/// Reads a whole backup, and shows what is in it.
fn read(path: &Path, visit: &mut dyn FnMut(Item) -> Result<(), BackupError>) -> Result<Totals, BackupError> {
    let file = File::open(path).map_err(|source| BackupError::Io { path: path.to_owned(), source })?;
    let mut source = Source { file: BufReader::new(file), digest: Context::new(&SHA256), path };
    if source.array()? != *MAGIC {
        return Err(source.damaged("this is no backup of a store"));
    }
    let version = u32::from_be_bytes(source.array()?);
    match version {
        1..=VERSION => {}
        0 => return Err(source.damaged("it has no version")),
        _ => return Err(BackupError::Newer { path: path.to_owned(), version }),
    }
    let mut totals = Totals::default();
    let mut top = 0;
    loop {
        match source.array::<1>()?[0] {
            CHANNEL => {
                let [name, epoch] = [source.array()?, source.array()?].map(u16::from_be_bytes);
                let (name, epoch) = (source.text(name)?, source.text(epoch)?);
                totals.channels += 1;
                let first = if version == 1 { None } else { Some(source.number()?) };
                top = source.number()?;
                visit(Item::Channel(Head { name, epoch, first, top }))?;
            }
            ENTRY if totals.channels > 0 => {
                let (offset, time, frame) = source.row()?;
                totals.entries += 1;
                visit(Item::Entry(Kept { offset, time, frame }))?;
            }
            NAME if totals.channels > 0 && version > 1 => {
                let (offset, time, name) = source.row()?;
                if offset > top {
                    // The publication that is to have this offset could not be named any more.
                    return Err(source.damaged("it is damaged: a name is of no publication that there was"));
                }
                totals.names += 1;
                visit(Item::Name(Named { offset, time, name }))?;
            }
            END => break,
            _ => return Err(source.damaged("it is damaged")),
        }
    }
    let (channels, entries) = (source.number()?, source.number()?);
    let names = if version == 1 { 0 } else { source.number()? };
    let said = Totals { channels, entries, names };
    let digest = source.digest.clone().finish();
    if said != totals || source.array::<SHA256_OUTPUT_LEN>()? != digest.as_ref() {
        return Err(source.damaged("it is damaged: its checksum is not that of what is in it"));
    }
    if !source.ended()? {
        return Err(source.damaged("something follows its end"));
    }
    visit(Item::End)?;
    Ok(totals)
}

/// A backup that is being read.
struct Source<'a> {
    file: BufReader<File>,
    digest: Context,
    path: &'a Path,
}

impl Source<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut array = [0; N];
        match self.file.read_exact(&mut array) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.cut()),
            Err(source) => return Err(self.io(source)),
        }
        self.digest.update(&array);
        Ok(array)
    }

    fn number(&mut self) -> Result<u64, BackupError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Offset, time and bytes.
    fn row(&mut self) -> Result<(u64, u64, Vec<u8>), BackupError> {
        let (offset, time) = (self.number()?, self.number()?);
        let length = u32::from_be_bytes(self.array()?);
        Ok((offset, time, self.bytes(length)?))
    }

    fn bytes(&mut self, length: u32) -> Result<Vec<u8>, BackupError> {
        // Grows with what is there: a damaged length is not to take all memory.
        let mut bytes = Vec::new();
        let read = self.file.by_ref().take(length.into()).read_to_end(&mut bytes);
        read.map_err(|source| self.io(source))?;
        if bytes.len() < length as usize {
            return Err(self.cut());
        }
        self.digest.update(&bytes);
        Ok(bytes)
    }

    fn text(&mut self, length: u16) -> Result<String, BackupError> {
        let bytes = self.bytes(length.into())?;
        String::from_utf8(bytes).map_err(|_| self.damaged("it is damaged: a name is no text"))
    }

    fn ended(&mut self) -> Result<bool, BackupError> {
        let more = self.file.read(&mut [0]).map_err(|source| self.io(source))?;
        Ok(more == 0)
    }

    fn cut(&self) -> BackupError {
        self.damaged("it is cut off: its end is missing")
    }

    fn damaged(&self, what: &str) -> BackupError {
        BackupError::Damaged { path: self.path.to_owned(), what: what.to_owned() }
    }

    fn io(&self, source: io::Error) -> BackupError {
        BackupError::Io { path: self.path.to_owned(), source }
    }
}

/// Puts what comes out of a backup into a store, many rows at once.
struct Pieces<'a> {
    store: &'a mut Store,
    /// The channel whose rows come.
    channel: Option<Head>,
    entries: Vec<Kept>,
    names: Vec<Named>,
    bytes: usize,
}

impl Pieces<'_> {
    fn take(&mut self, item: Item) -> Result<(), BackupError> {
        let bytes = match item {
            Item::Channel(head) => {
                self.end()?;
                self.channel = Some(head);
                return Ok(());
            }
            Item::End => return self.end(),
            Item::Entry(entry) => {
                if let Some(head) = &mut self.channel {
                    head.first.get_or_insert(entry.offset);
                }
                let bytes = entry.frame.len();
                self.entries.push(entry);
                bytes
            }
            Item::Name(name) => {
                let bytes = name.name.len();
                self.names.push(name);
                bytes
            }
        };
        self.bytes += bytes;
        if self.entries.len() + self.names.len() >= PIECE_ROWS || self.bytes >= PIECE_BYTES {
            self.put()?;
        }
        Ok(())
    }

    fn put(&mut self) -> Result<(), BackupError> {
        if let Some(Head { name: channel, epoch, .. }) = &self.channel {
            let entries: Vec<Entry<'_>> = self
                .entries
                .iter()
                .map(|Kept { offset, time, frame }| Entry {
                    channel,
                    epoch,
                    offset: *offset,
                    time: *time,
                    // Its publication may be gone, so each name comes by itself.
                    name: b"",
                    frame,
                })
                .collect();
            if !entries.is_empty() {
                self.store.append(&entries)?;
            }
            if !self.names.is_empty() {
                self.store.name(channel, epoch, &self.names)?;
            }
        }
        self.entries.clear();
        self.names.clear();
        self.bytes = 0;
        Ok(())
    }

    /// The channel is complete; its top comes last, since entries have to be above it.
    fn end(&mut self) -> Result<(), BackupError> {
        self.put()?;
        if let Some(Head { name, epoch, first, top }) = self.channel.take() {
            self.store.mark(&name, &epoch, first.unwrap_or(u64::MAX), top)?;
        }
        Ok(())
    }
}
