//! What a store keeps beside publications: by which names repeats of them are known, and how far back a channel is whole.

mod store_support;

use std::fs;

use pulse_native::store::{Change, Channel, Entry, Named, Store, StoreError};

use store_support::{FILE, Folder, append, kept};

fn entry<'a>(channel: &'a str, offset: u64, name: &'a [u8]) -> Entry<'a> {
    Entry { channel, epoch: "e", offset, time: offset + 1_000, name, frame: b"x" }
}

/// Offset and name of each name of a channel that is kept.
fn names(store: &Store, channel: &str) -> Vec<(u64, Vec<u8>)> {
    let names = store.names(channel, 0, usize::MAX).unwrap();
    names.into_iter().map(|named| (named.offset, named.name)).collect()
}

/// The offsets alone.
fn named(store: &Store, channel: &str) -> Vec<u64> {
    names(store, channel).into_iter().map(|(offset, _)| offset).collect()
}

fn offsets(store: &Store, channel: &str) -> Vec<u64> {
    store.load(channel, 0, usize::MAX).unwrap().iter().map(|kept| kept.offset).collect()
}

fn first_and_top(store: &Store, channel: &str) -> (u64, u64) {
    let Channel { first, top, .. } = store.channel(channel).unwrap().unwrap();
    (first, top)
}

/// Ten publications of channel `c`, the even ones with a name.
fn filled(folder: &Folder) -> Store {
    let mut store = Store::open(folder).unwrap();
    let names: Vec<Vec<u8>> = (1..=10).map(|n| if n % 2 == 0 { vec![n] } else { Vec::new() }).collect();
    let entries: Vec<Entry<'_>> = (1..).zip(&names).map(|(offset, name)| entry("c", offset, name)).collect();
    store.append(&entries).unwrap();
    store
}

fn reopened(store: Store, folder: &Folder) -> Store {
    drop(store);
    Store::open_existing(folder).unwrap()
}

#[test]
fn names_come_back_as_they_went_in() {
    let folder = Folder::new("names");
    let largest = vec![0xa5; 100_000];
    let mut store = Store::open(&folder).unwrap();
    store.append(&[entry("c", 1, b"order 17"), entry("c", 2, b""), entry("d", 2, b"\0")]).unwrap();
    store
        .commit(&[Change::Append(entry("c", 7, &largest)), Change::Append(entry("c", 8, b"order 17"))])
        .unwrap();
    let last = Entry { time: u64::MAX, ..entry("c", i64::MAX as u64, b"last") };
    store.append(&[last]).unwrap();

    let store = reopened(store, &folder);
    let named = |offset, time, name: &[u8]| Named { offset, time, name: name.to_owned() };
    let expected = [
        named(1, 1_001, b"order 17"),
        named(7, 1_007, &largest),
        named(8, 1_008, b"order 17"),
        named(i64::MAX as u64, u64::MAX, b"last"),
    ];
    assert_eq!(store.names("c", 0, usize::MAX).unwrap(), expected);
    assert_eq!(store.names("c", 2, 2).unwrap(), expected[1..3]);
    assert_eq!(store.names("c", 8, 1).unwrap(), expected[2..3]);
    assert_eq!(store.names("c", u64::MAX, 1).unwrap(), []);
    assert_eq!(store.names("d", 0, 9).unwrap(), [named(2, 1_002, b"\0")]);
    assert_eq!(store.names("nobody", 0, 9).unwrap(), []);
    assert_eq!(offsets(&store, "c"), [1, 2, 7, 8, i64::MAX as u64]);
}

#[test]
fn a_name_is_kept_with_its_publication_or_not_at_all() {
    let folder = Folder::new("names-failed");
    let mut store = filled(&folder);
    let wrong = [entry("c", 11, b"eleven"), entry("new", 1, b"one"), entry("c", 10, b"ten")];
    assert!(matches!(store.append(&wrong), Err(StoreError::Misordered { offset: 10, .. })));
    assert_eq!((named(&store, "c"), named(&store, "new")), (vec![2, 4, 6, 8, 10], vec![]));
    // The same offset may be named differently the next time.
    store.append(&[entry("c", 11, b"another")]).unwrap();
    let store = reopened(store, &folder);
    assert_eq!(names(&store, "c").last(), Some(&(11, b"another".to_vec())));
}

#[test]
fn publications_and_names_go_without_each_other() {
    let folder = Folder::new("names-trimmed");
    let mut store = filled(&folder);
    store.trim(&[("c", 8, 4)]).unwrap();
    assert_eq!((offsets(&store, "c"), named(&store, "c")), (vec![8, 9, 10], vec![4, 6, 8, 10]));
    store.commit(&[Change::Trim { channel: "c", below: 3, names_below: 9 }]).unwrap();
    let mut store = reopened(store, &folder);
    assert_eq!((offsets(&store, "c"), named(&store, "c")), (vec![8, 9, 10], vec![10]));
    store.trim(&[("c", u64::MAX, 0)]).unwrap();
    let mut store = reopened(store, &folder);
    assert_eq!((offsets(&store, "c"), named(&store, "c")), (vec![], vec![10]));
    store.trim(&[("c", 0, u64::MAX)]).unwrap();
    assert_eq!((named(&store, "c"), first_and_top(&store, "c")), (vec![], (11, 10)));
}

#[test]
fn a_superseded_publication_leaves_its_name_and_a_hole() {
    let folder = Folder::new("superseded");
    let mut store = filled(&folder);
    let supersede = |offset| Change::Supersede { channel: "c", offset };
    store.commit(&[Change::Append(entry("c", 11, b"new")), supersede(4), supersede(1)]).unwrap();
    // What is not there is none to go.
    let nobody = Change::Supersede { channel: "nobody", offset: 1 };
    store.commit(&[supersede(4), supersede(0), supersede(12), supersede(u64::MAX), nobody]).unwrap();
    let store = reopened(store, &folder);
    assert_eq!(offsets(&store, "c"), [2, 3, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(named(&store, "c"), [2, 4, 6, 8, 10, 11]);
    assert_eq!(first_and_top(&store, "c"), (1, 11));
    assert_eq!(store.channel("nobody").unwrap(), None);
}

#[test]
fn a_channel_knows_its_offsets_after_all_was_superseded() {
    let folder = Folder::new("superseded-all");
    let mut store = Store::open(&folder).unwrap();
    append(&mut store, "c", 1..=5);
    store.trim(&[("c", 3, 0)]).unwrap();
    append(&mut store, "c", 6..=7);
    let all: Vec<Change<'_>> = (1..=7).map(|offset| Change::Supersede { channel: "c", offset }).collect();
    store.commit(&all).unwrap();
    let mut store = reopened(store, &folder);
    assert_eq!((offsets(&store, "c"), first_and_top(&store, "c")), (vec![], (3, 7)));
    assert!(matches!(store.append(&[entry("c", 7, b"")]), Err(StoreError::Misordered { top: 7, .. })));
    append(&mut store, "c", [8]);
    assert_eq!((kept(&store, "c"), first_and_top(&store, "c")), (vec![8], (3, 8)));
}

#[test]
fn the_first_offset_is_the_highest_that_a_trim_has_said() {
    let folder = Folder::new("first");
    let mut store = Store::open(&folder).unwrap();
    append(&mut store, "c", 5..=9);
    assert_eq!(first_and_top(&store, "c"), (1, 9));
    for (below, first) in [(0, 1), (3, 3), (2, 3), (7, 7), (1, 7)] {
        store.trim(&[("c", below, 0)]).unwrap();
        assert_eq!(first_and_top(&store, "c"), (first, 9), "below {below}");
        store = reopened(store, &folder);
        assert_eq!(first_and_top(&store, "c"), (first, 9), "below {below}, opened again");
    }
    assert_eq!(kept(&store, "c"), [7, 8, 9]);
    // A hole may be where it begins, and it is within what the channel has had.
    store.commit(&[Change::Supersede { channel: "c", offset: 7 }]).unwrap();
    assert_eq!(first_and_top(&store, "c"), (7, 9));
    store.trim(&[("c", 100, 0)]).unwrap();
    assert_eq!(first_and_top(&store, "c"), (10, 9));
    append(&mut store, "c", [50]);
    let mut store = reopened(store, &folder);
    assert_eq!((first_and_top(&store, "c"), kept(&store, "c")), ((10, 50), vec![50]));
    let last = i64::MAX as u64;
    append(&mut store, "c", [last]);
    store.trim(&[("c", u64::MAX, 0)]).unwrap();
    assert_eq!((first_and_top(&store, "c"), kept(&store, "c")), ((last + 1, last), vec![]));
}

#[test]
fn another_epoch_and_removing_leave_no_name_and_no_first_offset() {
    let folder = Folder::new("names-epoch");
    let mut store = filled(&folder);
    store.trim(&[("c", 5, 0)]).unwrap();
    store.append(&[Entry { epoch: "f", ..entry("c", 1, b"one") }]).unwrap();
    assert_eq!((names(&store, "c"), first_and_top(&store, "c")), (vec![(1, b"one".to_vec())], (1, 1)));
    store.trim(&[("c", 2, 0)]).unwrap();
    store.commit(&[Change::Begin { channel: "c", epoch: "f" }]).unwrap();
    assert_eq!((named(&store, "c"), first_and_top(&store, "c")), (vec![1], (2, 1)), "it is in this epoch");
    store.commit(&[Change::Begin { channel: "c", epoch: "g" }]).unwrap();
    assert_eq!((named(&store, "c"), first_and_top(&store, "c")), (vec![], (1, 0)));

    store.append(&[Entry { epoch: "g", ..entry("c", 2, b"two") }]).unwrap();
    store.trim(&[("c", 3, 0)]).unwrap();
    store.remove("c").unwrap();
    // Under the number that the other one had.
    append(&mut store, "d", [3]);
    let mut store = reopened(store, &folder);
    assert_eq!((named(&store, "d"), first_and_top(&store, "d")), (vec![], (1, 3)));
    append(&mut store, "c", [2]);
    assert_eq!((named(&store, "c"), first_and_top(&store, "c")), (vec![], (1, 2)));
}

#[test]
fn a_turned_bit_in_a_name_is_noticed() {
    let folder = Folder::new("names-bit");
    let mut store = Store::open(&folder).unwrap();
    store
        .append(&[entry("c", 1, b"first of all"), entry("c", 2, b"second to none"), entry("c", 3, b"third")])
        .unwrap();
    store.close().unwrap();
    let mut bytes = fs::read(folder.join(FILE)).unwrap();
    let at = bytes.windows(6).position(|bytes| bytes == b"second").unwrap();
    bytes[at + 2] ^= 1;
    fs::write(folder.join(FILE), &bytes).unwrap();

    let store = Store::open(&folder).unwrap();
    let error = store.names("c", 0, 9).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("name 2 of channel \"c\"") && text.contains(FILE), "{text}");
    assert!(matches!(error, StoreError::Corrupt { .. }));
    assert_eq!(store.names("c", 3, 9).unwrap()[0].name, b"third");
    assert_eq!(offsets(&store, "c"), [1, 2, 3]);
}

#[test]
fn a_name_that_was_moved_is_noticed() {
    for change in [
        "UPDATE names SET offset = 3 WHERE offset = 2",
        "UPDATE names SET time = 0 WHERE offset = 2",
        "UPDATE names SET channel = 2 WHERE offset = 10",
        // What is whole in the one table is not in the other.
        "UPDATE entries SET (time, sum, frame) = (SELECT time, sum, name FROM names WHERE offset = 2) WHERE offset = 2",
    ] {
        let folder = Folder::new("names-moved");
        append(&mut filled(&folder), "d", [1]);
        let tool = rusqlite::Connection::open(folder.join(FILE)).unwrap();
        tool.execute_batch(change).unwrap();
        drop(tool);
        let store = Store::open(&folder).unwrap();
        let read = || {
            for channel in ["c", "d"] {
                store.names(channel, 0, 9)?;
                store.load(channel, 0, 9)?;
            }
            Ok(())
        };
        assert!(matches!(read(), Err(StoreError::Corrupt { .. })), "{change}: {:?}", read());
    }
}
