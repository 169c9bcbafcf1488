//! A store of format 1 is taken over when it is opened, with all that is in it, or left as it is.

mod store_support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{env, thread};

use pulse_native::store::{Channel, Entry, Store, StoreError};

use store_support::{FILE, Folder, LOG, append, files, former, frame, kept};

fn channel(name: &str, epoch: &str, first: u64, top: u64) -> Channel {
    Channel { name: name.to_owned(), epoch: epoch.to_owned(), first, top }
}

fn frames(name: &str, offsets: impl IntoIterator<Item = u64>) -> Vec<(u64, Vec<u8>)> {
    offsets.into_iter().map(|offset| (offset, frame(name, offset))).collect()
}

/// What is in the stores here: never trimmed, trimmed, all of it gone, and never published to.
fn filled(folder: &Path) -> rusqlite::Connection {
    let (a, b) = (frames("a", 1..=200), frames("b", 31..=50));
    former(folder, &[("a", "e", 0, &a), ("b", "e2", 40, &b), ("c", "e3", 7, &[]), ("d", "", 0, &[])])
}

#[track_caller]
fn is_whole(store: &Store) {
    let channels = [
        channel("a", "e", 1, 200),
        channel("b", "e2", 31, 50),
        channel("c", "e3", 8, 7),
        channel("d", "", 1, 0),
    ];
    assert_eq!(store.channels().unwrap(), channels);
    assert_eq!(kept(store, "a"), (1..=200).collect::<Vec<_>>());
    assert_eq!(kept(store, "b"), (31..=50).collect::<Vec<_>>());
    for channel in channels {
        assert_eq!(
            store.load(&channel.name, 0, usize::MAX).unwrap().len() as u64,
            channel.top + 1 - channel.first
        );
        assert_eq!(store.names(&channel.name, 0, usize::MAX).unwrap(), []);
    }
}

/// The format that the file and its log say, in a copy.
fn format(folder: &Path) -> i64 {
    let copy = Folder::copy("former-format", folder);
    let tool = rusqlite::Connection::open(copy.join(FILE)).unwrap();
    tool.query_row("PRAGMA user_version", (), |row| row.get(0)).unwrap()
}

#[track_caller]
fn refused(folder: &Path, part: &str) {
    let before = files(folder);
    let error = Store::open(folder).expect_err("this is refused");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    assert!(files(folder) == before, "the folder has changed: {error}");
}

#[test]
fn a_store_of_format_1_is_taken_over_with_everything() {
    let folder = Folder::new("former");
    drop(filled(&folder));
    let store = Store::open_existing(&folder).unwrap();
    is_whole(&store);
    drop(store);
    assert_eq!(format(&folder), 2);
    is_whole(&Store::open(&folder).unwrap());
}

#[test]
fn what_is_in_the_log_alone_is_taken_over_too() {
    let origin = Folder::new("former-log-open");
    let connection = filled(&origin);
    let folder = Folder::copy("former-log", &origin);
    drop(connection);
    assert!(fs::metadata(folder.join(LOG)).unwrap().len() > 10_000);
    // And as this version leaves it when it is killed right after that: the file says 1 then, and its log says 2.
    let store = Store::open(&folder).unwrap();
    is_whole(&store);
    let killed = Folder::copy("former-log-killed", &folder);
    drop(store);
    assert_eq!(fs::read(killed.join(FILE)).unwrap()[63], 1);
    assert_eq!(format(&killed), 2);
    is_whole(&Store::open(&killed).unwrap());
}

#[test]
fn a_store_that_was_taken_over_is_one_like_any_other() {
    let folder = Folder::new("former-goes-on");
    drop(filled(&folder));
    let mut store = Store::open(&folder).unwrap();
    append(&mut store, "a", [201]);
    append(&mut store, "new", [1]);
    store
        .append(&[Entry { channel: "c", epoch: "e3", offset: 8, time: 1, name: b"n", frame: b"x" }])
        .unwrap();
    store.trim(&[("a", 150, 0)]).unwrap();
    store.remove("b").unwrap();
    drop(store);
    let store = Store::open(&folder).unwrap();
    let channels = [
        channel("a", "e", 150, 201),
        channel("c", "e3", 8, 8),
        channel("d", "", 1, 0),
        channel("new", "e", 1, 1),
    ];
    assert_eq!(store.channels().unwrap(), channels);
    assert_eq!(kept(&store, "a"), (150..=201).collect::<Vec<_>>());
    assert_eq!(store.names("c", 0, 9).unwrap()[0].name, b"n");
    // Its tables are those of a store that was made in this format.
    let schema = |folder: &Path| {
        let tool = rusqlite::Connection::open(folder.join(FILE)).unwrap();
        let mut select = tool.prepare("SELECT name FROM pragma_table_info('channels')").unwrap();
        let names = select.query_map((), |row| row.get::<_, String>(0)).unwrap();
        names.collect::<Result<Vec<_>, _>>().unwrap()
    };
    drop(store);
    let made = Folder::new("former-made");
    drop(Store::open(&made).unwrap());
    assert_eq!(schema(&folder), schema(&made));
}

#[test]
fn a_damaged_row_of_format_1_is_refused_and_nothing_is_changed() {
    for (change, part) in [
        ("UPDATE channels SET epoch = 'f' WHERE name = 'b'", "channel \"b\""),
        ("UPDATE channels SET top = 9000 WHERE name = 'c'", "channel \"c\""),
        ("UPDATE channels SET sum = 1 WHERE name = 'd'", "channel \"d\""),
        ("UPDATE entries SET frame = x'00' WHERE channel = 1 AND offset = 200", "entry 200 of channel \"a\""),
        ("UPDATE entries SET offset = 30 WHERE channel = 2 AND offset = 31", "entry 30 of channel \"b\""),
        ("DROP TABLE entries", "tables"),
        ("CREATE TABLE names (a)", "tables"),
        ("PRAGMA user_version = 2", "tables"),
        ("PRAGMA user_version = 0", "version"),
    ] {
        let origin = Folder::new("former-damaged-open");
        let connection = filled(&origin);
        connection.execute_batch(change).unwrap();
        // Once with its log, once without.
        let folder = Folder::copy("former-damaged-log", &origin);
        refused(&folder, part);
        drop(connection);
        refused(&origin, part);
    }
}

#[test]
fn no_turned_bit_in_format_1_is_taken_over_as_something_else() {
    let origin = Folder::new("former-bits");
    drop(filled(&origin));
    let whole = fs::read(origin.join(FILE)).unwrap();
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(whole.len() / 300) {
        let folder = Folder::copy("former-bit", &origin);
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(folder.join(FILE), &bytes).unwrap();
        let before = files(&folder);
        match Store::open(&folder) {
            Ok(store) => is_whole(&store),
            Err(error) => {
                assert!(files(&folder) == before, "byte {at}: the folder has changed: {error}");
                noticed += 1;
            }
        }
    }
    // The rest of the file is room that nothing is written in yet.
    assert!(noticed > 150, "{noticed} of 300");
}

#[test]
fn a_newer_format_in_the_log_alone_is_refused() {
    let origin = Folder::new("former-newer-open");
    let connection = filled(&origin);
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA user_version = 3").unwrap();
    let folder = Folder::copy("former-newer", &origin);
    drop(connection);
    assert_eq!(fs::read(folder.join(FILE)).unwrap()[63], 1);
    let before = files(&folder);
    assert!(matches!(Store::open(&folder), Err(StoreError::Newer { version: 3, .. })));
    assert!(files(&folder) == before, "the folder has changed");
}

/// The store that a process of its own is to open.
const FOLDER: &str = "PULSE_STORE_TEST_FOLDER";

#[test]
#[ignore = "a process that the other tests start"]
fn a_process_of_its_own() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    match Store::open(folder.as_ref()) {
        Ok(_) => println!("taken over"),
        Err(error) => println!("refused: {error}"),
    }
}

/// This test's process of its own, started by a shell after this script.
fn opens(folder: &Path, script: &str) -> Child {
    let script = format!("{script}exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(env::current_exe().unwrap());
    command.args(["a_process_of_its_own", "--exact", "--ignored", "--nocapture"]);
    command.env(FOLDER, folder).stdout(Stdio::piped()).spawn().unwrap()
}

/// More channels than SQLite changes in memory before it writes to the log what is not committed; and what becomes of them.
fn many(folder: &Path) -> Vec<Channel> {
    let names: Vec<String> = (0..20_000).map(|n| format!("{n:0200}")).collect();
    let channels: Vec<_> = names.iter().map(|name| (&**name, "e", 9, &[][..])).collect();
    drop(former(folder, &channels));
    names.iter().map(|name| channel(name, "e", 10, 9)).collect()
}

#[test]
fn a_log_that_may_not_grow_leaves_format_1_as_it_was() {
    let folder = Folder::new("former-limited");
    let expected = many(&folder);
    let before = fs::read(folder.join(FILE)).unwrap();
    // In blocks of 512 or 1,024 bytes; the signal that comes with it would end the process.
    let output = opens(&folder, "trap '' XFSZ; ulimit -S -f 2000; ").wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("refused: ") && text.contains(FILE), "{text}");
    assert!(format(&folder) == 1 && fs::read(folder.join(FILE)).unwrap() == before);
    assert!(Store::open(&folder).unwrap().channels().unwrap() == expected);
}

#[test]
fn a_kill_leaves_the_one_format_or_the_other() {
    let origin = Folder::new("former-kill");
    let expected = many(&origin);
    let mut formats = Vec::new();
    for enough in [1, 1_000_000, 3_000_000] {
        let folder = Folder::copy("former-killed", &origin);
        let mut child = opens(&folder, "");
        while child.try_wait().unwrap().is_none() {
            if fs::metadata(folder.join(LOG)).is_ok_and(|log| log.len() >= enough) {
                child.kill().unwrap();
                child.wait().unwrap();
                break;
            }
            thread::yield_now();
        }
        formats.push(format(&folder));
        assert!(Store::open(&folder).unwrap().channels().unwrap() == expected, "after {formats:?}");
    }
    assert!(formats.contains(&1), "{formats:?}: none was killed before the end");
}
