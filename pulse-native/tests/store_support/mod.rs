//! Folders for stores, and what is in their files.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use pulse_native::store::{Entry, Store};

/// The file of a store, and its log.
pub const FILE: &str = "store.db";
pub const LOG: &str = "store.db-wal";

/// A folder of this test's own, removed in the end.
pub struct Folder(PathBuf);

impl Folder {
    /// Empty.
    pub fn new(test: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("store-{test}-{}", std::process::id()));
        // What an earlier process of the same number has left.
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// With the same files as `from`, which may be open.
    pub fn copy(test: &str, from: &Path) -> Self {
        let folder = Self::new(test);
        for (name, bytes) in files(from) {
            fs::write(folder.join(name), bytes).unwrap();
        }
        folder
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed lies in cargo's own folder for such things, and is no matter of the test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// All files of a folder by name.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// What the tests publish under this number.
pub fn frame(channel: &str, offset: u64) -> Vec<u8> {
    format!("{channel} {offset} ").repeat(20).into_bytes()
}

/// Appends these offsets of a channel, with epoch `e` and [`frame`]s.
pub fn append(store: &mut Store, channel: &str, offsets: impl IntoIterator<Item = u64>) {
    let frames: Vec<(u64, Vec<u8>)> =
        offsets.into_iter().map(|offset| (offset, frame(channel, offset))).collect();
    let entries: Vec<Entry<'_>> = frames
        .iter()
        .map(|(offset, frame)| Entry {
            channel,
            epoch: "e",
            offset: *offset,
            time: offset + 1_000,
            name: b"",
            frame,
        })
        .collect();
    store.append(&entries).unwrap();
}

/// The offsets that are kept, each with the frame that it was appended with.
pub fn kept(store: &Store, channel: &str) -> Vec<u64> {
    let kept = store.load(channel, 0, usize::MAX).unwrap();
    for one in &kept {
        assert!(
            one.frame == frame(channel, one.offset) && one.time == one.offset + 1_000,
            "{channel} {} is another one",
            one.offset
        );
    }
    kept.iter().map(|one| one.offset).collect()
}

/// A channel in a store of format 1: its name, its epoch, the top that its row says, and offsets and frames.
pub type Former<'a> = (&'a str, &'a str, u64, &'a [(u64, Vec<u8>)]);

/// Makes a store as format 1 was. It is in the log for the most part until the connection is dropped.
pub fn former(folder: &Path, channels: &[Former<'_>]) -> rusqlite::Connection {
    let sum = |parts: &[&[u8]]| {
        let mut sum = crc32fast::Hasher::new();
        parts.iter().for_each(|part| sum.update(part));
        sum.finalize()
    };
    let connection = rusqlite::Connection::open(folder.join(FILE)).unwrap();
    connection.pragma_update(None, "locking_mode", "exclusive").unwrap();
    connection.pragma_update(None, "application_id", 0x5075_6c73).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection
        .execute_batch(
            "
    CREATE TABLE channels (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, epoch TEXT NOT NULL, top INTEGER NOT NULL, sum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE entries (
        channel INTEGER NOT NULL, offset INTEGER NOT NULL, time INTEGER NOT NULL, sum INTEGER NOT NULL, frame BLOB NOT NULL,
        PRIMARY KEY (channel, offset)
    ) STRICT, WITHOUT ROWID;
    BEGIN",
        )
        .unwrap();
    for (id, (name, epoch, top, entries)) in (1_i64..).zip(channels) {
        let key = id.to_be_bytes();
        let checksum = sum(&[&key, name.as_bytes(), &[0], epoch.as_bytes(), &top.to_be_bytes()]);
        let mut insert = connection.prepare_cached("INSERT INTO channels VALUES (?, ?, ?, ?, ?)").unwrap();
        insert.execute((id, name, epoch, top.cast_signed(), checksum)).unwrap();
        let mut insert = connection.prepare_cached("INSERT INTO entries VALUES (?, ?, ?, ?, ?)").unwrap();
        for (offset, frame) in *entries {
            let time = offset + 1_000;
            let checksum = sum(&[&key, &offset.to_be_bytes(), &time.to_be_bytes(), frame]);
            insert.execute((id, offset.cast_signed(), time.cast_signed(), checksum, frame)).unwrap();
        }
    }
    connection.execute_batch("COMMIT").unwrap();
    connection
}
