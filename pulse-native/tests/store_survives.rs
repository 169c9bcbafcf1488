//! What is acknowledged outlives a process that is killed and a disk that is full.

mod store_support;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pulse_native::store::{Change, Entry, Named, Store, StoreError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use store_support::{Folder, append, frame, kept};

const CHANNELS: [&str; 3] = ["a", "b", "c"];

/// What a process of its own is to do, and where.
const TASK: &str = "PULSE_STORE_TEST_TASK";
const FOLDER: &str = "PULSE_STORE_TEST_FOLDER";

/// This test again, as a process that does one task; a command that `exec`s what follows it may stand before.
fn child(before: &[&str], task: &str, folder: &Path) -> Child {
    let this = env::current_exe().unwrap();
    let arguments = ["a_process_of_its_own", "--exact", "--ignored", "--nocapture"];
    let mut command = match before {
        [] => Command::new(this),
        [program, rest @ ..] => {
            let mut command = Command::new(program);
            command.args(rest).arg(this);
            command
        }
    };
    command.args(arguments).env(TASK, task).env(FOLDER, folder);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
#[ignore = "a process that the other tests start"]
fn a_process_of_its_own() {
    let Ok(task) = env::var(TASK) else { return };
    let folder = env::var_os(FOLDER).unwrap();
    let folder = Path::new(&folder);
    match &*task {
        "append" => append_for_ever(folder),
        "limited" => fill_up(folder, || {
            let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
            setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
        }),
        "full" => fill_up(folder, || fs::remove_file(folder.join("../filler")).unwrap()),
        other => panic!("there is no task {other}"),
    }
}

/// Every third publication has a name.
fn name(channel: &str, offset: u64) -> Vec<u8> {
    if offset.is_multiple_of(3) { format!("{channel}/{offset}").into_bytes() } else { Vec::new() }
}

/// Every fifth publication takes the place of the one that is four before it.
fn superseded_by(offset: u64) -> Option<u64> {
    (offset.is_multiple_of(5)).then(|| offset - 4)
}

/// How many publications and how many offsets with names a trim leaves.
fn bounds(channel: &str) -> (u64, u64) {
    if channel == "a" { (30, 60) } else { (30, 10) }
}

/// Commits small batches and says after each what is acknowledged: channel and offset, one a line.
fn append_for_ever(folder: &Path) {
    let mut store = Store::open(folder).unwrap();
    let top = |store: &Store, channel| store.channel(channel).unwrap().map_or(0, |channel| channel.top);
    let mut tops: BTreeMap<&str, u64> =
        CHANNELS.into_iter().map(|channel| (channel, top(&store, channel))).collect();
    for n in 0_usize.. {
        let mut batch = Vec::new();
        for at in 0..n % 5 + 1 {
            let channel = CHANNELS[(n + at * at) % CHANNELS.len()];
            let top = tops.get_mut(channel).unwrap();
            *top += 1;
            batch.push((channel, *top, name(channel, *top), frame(channel, *top)));
        }
        let mut changes = Vec::new();
        for (channel, offset, name, frame) in &batch {
            let (offset, time) = (*offset, offset + 1_000);
            changes.push(Change::Append(Entry { channel, epoch: "e", offset, time, name, frame }));
            changes.extend(superseded_by(offset).map(|offset| Change::Supersede { channel, offset }));
        }
        store.commit(&changes).unwrap();
        let mut out = std::io::stdout().lock();
        for (channel, offset, ..) in &batch {
            writeln!(out, "stored {channel} {offset}").unwrap();
        }
        out.flush().unwrap();
        if n % 16 == 15 {
            let trims = tops.iter().map(|(channel, top)| {
                let (publications, names) = bounds(channel);
                (*channel, top.saturating_sub(publications), top.saturating_sub(names))
            });
            store.trim(&trims.collect::<Vec<_>>()).unwrap();
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let folder = Folder::new("kill");
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..20 {
        let mut child = child(&[], "append", &folder);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed after different numbers of acknowledgements; those that were on their way count too.
        let enough = 3 + round * 7;
        let mut heard = 0;
        for line in lines {
            let line = line.unwrap();
            // The test runner writes to the same stream, and a kill may cut the last line.
            let Some((channel, offset)) = line.strip_prefix("stored ").and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            acknowledged.insert(channel.to_owned(), offset.parse().unwrap());
            heard += 1;
            if heard == enough {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(heard >= enough, "the child of round {round} ended by itself after {heard}");

        let store = Store::open(&folder).unwrap();
        for (channel, offset) in &acknowledged {
            let found = store.channel(channel).unwrap().unwrap();
            assert!(
                found.top >= *offset,
                "round {round}: {channel} {offset} was stored, {} is the top",
                found.top
            );
            // Trimmed at most so far, and whole from there on: publications as well as names.
            let (publications, names) = bounds(channel);
            assert!(
                found.first <= found.top.saturating_sub(publications).max(1),
                "round {round}: {found:?} after {offset}"
            );
            let superseded: Vec<u64> = (1..=found.top).filter_map(superseded_by).collect();
            let expected = (found.first..=found.top).filter(|offset| !superseded.contains(offset));
            assert_eq!(kept(&store, channel), expected.collect::<Vec<_>>(), "round {round}: {channel}");
            let named = store.names(channel, 0, usize::MAX).unwrap();
            let from =
                named.first().map_or(found.top, |first| first.offset).min(found.top.saturating_sub(names));
            let expected = (from.max(1)..=found.top)
                .map(|offset| Named { offset, time: offset + 1_000, name: name(channel, offset) })
                .filter(|named| !named.name.is_empty());
            assert_eq!(named, expected.collect::<Vec<_>>(), "round {round}: names of {channel}");
        }
    }
}

/// Appends until there is no room, makes room, and appends on.
fn fill_up(folder: &Path, make_room: impl FnOnce()) {
    let mut store = Store::open(folder).unwrap();
    let mut offset = 0;
    let error = loop {
        let frame = vec![offset as u8; 3_000];
        let entry = Entry { channel: "c", epoch: "e", offset: offset + 1, time: 0, name: b"", frame: &frame };
        match store.append(&[entry]) {
            Ok(()) => offset += 1,
            Err(error) => break error,
        }
    };
    let text = error.to_string();
    assert!(text.contains("store.db"), "{text}");
    if env::var(TASK).unwrap() == "full" {
        assert!(matches!(error, StoreError::Full { .. }) && text.contains("the disk is full"), "{text}");
    }
    // What was there before can still be read, and nothing more.
    assert_eq!(store.load("c", 0, usize::MAX).unwrap().len() as u64, offset);
    make_room();
    append(&mut store, "d", 1..=100);
    store
        .append(&[Entry {
            channel: "c",
            epoch: "e",
            offset: offset + 1,
            time: 0,
            name: b"",
            frame: b"later",
        }])
        .unwrap();
    drop(store);

    let store = Store::open(folder).unwrap();
    let kept = store.load("c", 0, usize::MAX).unwrap();
    assert_eq!(kept.len() as u64, offset + 1);
    for one in &kept[..offset as usize] {
        assert!(one.frame == vec![(one.offset - 1) as u8; 3_000], "{} is another one", one.offset);
    }
    assert_eq!(store_support::kept(&store, "d").len(), 100);
    println!("filled up after {offset}");
}

#[track_caller]
fn fills_up(child: Child) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let (_, count) = text.split_once("filled up after ").expect("the child says how far it came");
    let count: u64 = count.split_whitespace().next().unwrap().parse().unwrap();
    assert!(count > 50, "{text}");
}

#[test]
fn files_that_may_not_grow_are_an_error_that_passes() {
    let folder = Folder::new("limited");
    // In blocks of 512 or 1,024 bytes; the signal that comes with it would end the process.
    let limit = ["sh", "-c", "trap '' XFSZ; ulimit -S -f 2000; exec \"$@\"", "sh"];
    fills_up(child(&limit, "limited", &folder.join("store")));
}

#[test]
fn a_full_disk_is_an_error_that_passes() {
    let folder = Folder::new("full");
    // A small file system that nobody else sees, as root or as the root of a name space.
    let disk = folder.to_str().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=3m none '{disk}' && head -c 1000000 /dev/zero > '{disk}/filler' && exec \"$@\""
    );
    let unshare = ["unshare", "--mount", "--map-root-user", "sh", "-c", &script, "sh"];
    fills_up(child(&unshare, "full", &folder.join("store")));
}
