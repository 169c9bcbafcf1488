//! What is no store, is damaged or belongs to somebody else is refused, and stays as it is.

mod store_support;

use std::fs;
use std::path::Path;

use pulse_native::store::{Store, StoreError};

use store_support::{FILE, Folder, LOG, append, files, kept};

/// Opening is refused with this sentence in the error, and has changed nothing.
#[track_caller]
fn refused(folder: &Path, parts: &[&str]) -> StoreError {
    let before = files(folder);
    let error = Store::open(folder).expect_err("this is refused");
    let text = error.to_string();
    for part in [&[folder.to_str().unwrap()], parts].concat() {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert!(files(folder) == before, "the folder has changed");
    error
}

/// A store with some channels, closed.
fn filled(test: &str) -> Folder {
    let folder = Folder::new(test);
    let mut store = Store::open(&folder).unwrap();
    append(&mut store, "a", 1..=200);
    append(&mut store, "b", 1..=50);
    store.close().unwrap();
    folder
}

/// A store as a kill leaves it, with all of it in the log still.
fn killed(test: &str) -> Folder {
    let folder = Folder::new(&format!("{test}-open"));
    let mut store = Store::open(&folder).unwrap();
    for offset in 1..=20 {
        append(&mut store, "a", [offset]);
    }
    Folder::copy(test, &folder)
}

#[test]
fn a_second_one_on_the_same_folder_is_refused_until_the_first_has_ended() {
    let folder = Folder::new("second");
    let store = Store::open(&folder).unwrap();
    assert!(matches!(refused(&folder, &["another process"]), StoreError::Locked { .. }));
    drop(store);
    Store::open(&folder).unwrap();
}

#[test]
fn a_tool_that_has_the_file_open_is_a_process_like_any_other() {
    let folder = filled("tool");
    let tool = rusqlite::Connection::open(folder.join(FILE)).unwrap();
    tool.pragma_update(None, "locking_mode", "exclusive").unwrap();
    tool.query_row("SELECT count(*) FROM entries", (), |row| row.get::<_, i64>(0)).unwrap();
    assert!(matches!(refused(&folder, &[FILE, "another process"]), StoreError::Locked { .. }));
    drop(tool);
    Store::open(&folder).unwrap();
}

#[test]
fn a_folder_of_somebody_else_is_refused() {
    let folder = Folder::new("foreign");
    fs::write(folder.join("letters.txt"), "dear").unwrap();
    assert!(matches!(refused(&folder, &["letters.txt", "empty folder"]), StoreError::Foreign { .. }));
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    for (name, bytes) in [("text", b"not a store ".repeat(20)), ("zeros", vec![0; 4096])] {
        let folder = Folder::new(name);
        fs::write(folder.join(FILE), bytes).unwrap();
        assert!(matches!(
            refused(&folder, &[FILE, "not the beginning of a store"]),
            StoreError::Foreign { .. }
        ));
    }
    let folder = Folder::new("database");
    rusqlite::Connection::open(folder.join(FILE)).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    assert!(matches!(refused(&folder, &[FILE, "another program"]), StoreError::Foreign { .. }));
}

#[test]
fn a_newer_format_is_refused() {
    let folder = filled("newer");
    rusqlite::Connection::open(folder.join(FILE)).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let error = refused(&folder, &["version 7", "up to 2", "backup"]);
    assert!(matches!(error, StoreError::Newer { version: 7, .. }));
}

#[test]
fn a_file_that_was_cut_is_refused() {
    let folder = filled("cut");
    let whole = fs::read(folder.join(FILE)).unwrap();
    for length in [0, 50, 4_096, whole.len() - 1] {
        fs::write(folder.join(FILE), &whole[..length]).unwrap();
        assert!(matches!(refused(&folder, &[FILE, "damaged", "restore"]), StoreError::Corrupt { .. }));
    }
    fs::write(folder.join(FILE), &whole).unwrap();
    Store::open(&folder).unwrap();
}

#[test]
fn a_log_without_its_file_is_refused() {
    let folder = killed("alone");
    fs::remove_file(folder.join(FILE)).unwrap();
    assert!(matches!(refused(&folder, &[LOG]), StoreError::Corrupt { .. }));
}

#[test]
fn a_store_that_was_never_finished_is_begun_again() {
    let folder = Folder::new("unfinished");
    fs::write(folder.join("store.db.new"), "half of").unwrap();
    fs::write(folder.join("store.db.new-wal"), "something").unwrap();
    Store::open(&folder).unwrap();
    assert_eq!(files(&folder).keys().collect::<Vec<_>>(), [FILE]);
}

#[test]
fn there_has_to_be_one_where_none_is_made() {
    let folder = Folder::new("missing");
    for path in [folder.to_path_buf(), folder.join("not/there")] {
        assert!(matches!(Store::open_existing(&path), Err(StoreError::Missing { .. })));
    }
    assert!(files(&folder).is_empty());
}

/// What can be read is what was written, or an error about this file.
fn whole_or_refused(folder: &Path) -> Result<(), StoreError> {
    let store = Store::open_existing(folder)?;
    for (channel, top) in [("a", 200), ("b", 50)] {
        let entries = store.load(channel, 0, usize::MAX)?;
        let found = store.channel(channel)?.expect("the channel does not go away");
        assert_eq!((found.epoch.as_str(), found.first, found.top), ("e", 1, top));
        assert_eq!(entries.len() as u64, top);
        assert_eq!(kept(&store, channel), (1..=top).collect::<Vec<_>>());
    }
    assert_eq!(store.channels()?.len(), 2);
    Ok(())
}

#[test]
fn no_turned_bit_gives_back_something_else() {
    let original = filled("bits");
    let whole = fs::read(original.join(FILE)).unwrap();
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(whole.len() / 400) {
        let folder = Folder::copy("bit", &original);
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(folder.join(FILE), &bytes).unwrap();
        let before = files(&folder);
        if let Err(error) = whole_or_refused(&folder) {
            let error = error.to_string();
            assert!(error.contains(FILE) && error.lines().count() == 1, "byte {at}: {error}");
            assert!(files(&folder) == before, "byte {at}: the folder has changed");
            noticed += 1;
        }
    }
    // The rest of the file is room that nothing is written in yet.
    assert!(noticed > 200, "{noticed} of 400");
}

#[test]
fn what_is_known_of_a_channel_is_checked_as_well() {
    for change in ["SET epoch = 'f'", "SET top = 7000", "SET first = 9", "SET name = 'c'"] {
        let folder = filled("row");
        let tool = rusqlite::Connection::open(folder.join(FILE)).unwrap();
        tool.execute_batch(&format!("UPDATE channels {change} WHERE name = 'a'")).unwrap();
        drop(tool);
        let mut store = Store::open(&folder).unwrap();
        let name = if change.contains("name") { "c" } else { "a" };
        let text = store.channels().unwrap_err().to_string();
        assert!(text.contains(FILE) && text.contains(&format!("{name:?}")), "{text}");
        assert!(matches!(store.channel(name), Err(StoreError::Corrupt { .. })));
        assert!(matches!(store.trim(&[(name, 5, 0)]), Err(StoreError::Corrupt { .. })));
    }
}

#[test]
fn a_row_of_a_channel_that_there_is_not_is_refused() {
    let folder = filled("stray");
    let tool = rusqlite::Connection::open(folder.join(FILE)).unwrap();
    tool.execute_batch("UPDATE entries SET channel = 18 WHERE channel = 2 AND offset = 50").unwrap();
    drop(tool);
    assert!(matches!(refused(&folder, &[FILE, "entries", "number 18"]), StoreError::Corrupt { .. }));
}

#[test]
fn a_damaged_file_keeps_its_log() {
    let folder = filled("with-log");
    let mut store = Store::open(&folder).unwrap();
    append(&mut store, "c", 1..=9);
    let folder = Folder::copy("with-log-killed", &folder);
    drop(store);
    let whole = fs::read(folder.join(FILE)).unwrap();
    let mut bytes = whole.clone();
    // The kind of a page that the log does not replace: before it are the schema and the roots.
    bytes[3 * 4_096] ^= 0x10;
    fs::write(folder.join(FILE), &bytes).unwrap();
    assert!(matches!(refused(&folder, &[FILE, "damaged"]), StoreError::Corrupt { .. }));
    fs::write(folder.join(FILE), &whole).unwrap();
    assert_eq!(kept(&Store::open(&folder).unwrap(), "c"), (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_log_that_is_damaged_in_the_middle_is_refused() {
    let original = killed("log");
    let whole = fs::read(original.join(LOG)).unwrap();
    let frame = 24 + 4096;
    // Of the header; of the first frames: number, salt and checksum of the frame, its data; then of later ones.
    let first = [0, 9, 17, 28].into_iter().chain([0, 9, 17, 24, 3_000].map(|at| 32 + at));
    let later = (2..15).map(|n| 32 + n * frame + 24 + n * 100);
    for at in first.chain(later) {
        let folder = Folder::copy("log-bit", &original);
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(folder.join(LOG), &bytes).unwrap();
        let error = refused(&folder, &[LOG, "damaged"]);
        assert!(matches!(error, StoreError::Corrupt { .. }), "byte {at}: {error}");
    }
}

#[test]
fn a_log_that_is_torn_at_its_end_gives_back_what_is_before_it() {
    let original = killed("torn");
    let whole = fs::read(original.join(LOG)).unwrap();
    let torn = [whole[..whole.len() - 100].to_vec(), [&whole[..], &[7; 5_000]].concat(), {
        let mut bytes = whole.clone();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    }];
    for (bytes, tops) in torn.into_iter().zip([[19], [20], [19]]) {
        let folder = Folder::copy("torn-end", &original);
        fs::write(folder.join(LOG), &bytes).unwrap();
        let mut store = Store::open(&folder).unwrap();
        assert_eq!(kept(&store, "a"), (1..=tops[0]).collect::<Vec<_>>());
        append(&mut store, "a", [tops[0] + 1]);
    }
    // Of a transaction of several pages, the first one.
    let folder = Folder::copy("torn-large", &original);
    let mut store = Store::open(&folder).unwrap();
    append(&mut store, "a", 21..=80);
    let before = fs::read(folder.join(LOG)).unwrap().len();
    append(&mut store, "a", 81..=200);
    let killed = Folder::copy("torn-large-killed", &folder);
    let mut bytes = fs::read(killed.join(LOG)).unwrap();
    assert!(bytes.len() > before + 3 * (24 + 4_096), "the transaction has several pages");
    bytes[before + 24 + 100] ^= 1;
    fs::write(killed.join(LOG), &bytes).unwrap();
    assert_eq!(kept(&Store::open(&killed).unwrap(), "a"), (1..=80).collect::<Vec<_>>());
    drop(store);
    // A log that was never begun.
    let folder = filled("zeros-log");
    fs::write(folder.join(LOG), [0; 100]).unwrap();
    whole_or_refused(&folder).unwrap();
}
