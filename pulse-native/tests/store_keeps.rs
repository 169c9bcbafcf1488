//! What a store keeps is what it was given, across closing and opening.

mod store_support;

use std::path::Path;

use pulse_native::store::{Change, Channel, Entry, Kept, Store, StoreError};

use store_support::{FILE, Folder, LOG, append, kept};

fn channel(name: &str, epoch: &str, first: u64, top: u64) -> Channel {
    Channel { name: name.to_owned(), epoch: epoch.to_owned(), first, top }
}

#[test]
fn what_is_appended_is_there_after_opening_again() {
    let folder = Folder::new("again");
    let mut store = Store::open(&folder).unwrap();
    append(&mut store, "chat:b", 1..=3);
    append(&mut store, "chat:a", [7]);
    drop(store);

    let store = Store::open_existing(&folder).unwrap();
    assert_eq!(store.channels().unwrap(), [channel("chat:a", "e", 1, 7), channel("chat:b", "e", 1, 3)]);
    assert_eq!(kept(&store, "chat:b"), [1, 2, 3]);
    assert_eq!(store.channel("chat:c").unwrap(), None);
    assert_eq!(store.load("chat:c", 0, 10).unwrap(), []);
}

#[test]
fn entries_come_from_an_offset_on_and_not_more_than_asked_for() {
    let folder = Folder::new("limits");
    let mut store = Store::open(&folder).unwrap();
    append(&mut store, "c", (10..100).step_by(10));
    let offsets = |from, limit| {
        store.load("c", from, limit).unwrap().iter().map(|kept| kept.offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(15, 2), [20, 30]);
    assert_eq!(offsets(80, usize::MAX), [80, 90]);
    assert!(offsets(91, 5).is_empty());
    assert!(offsets(0, 0).is_empty());
    assert!(offsets(u64::MAX, 1).is_empty());
}

#[test]
fn all_sizes_and_numbers_are_kept_exactly() {
    let folder = Folder::new("sizes");
    let largest = vec![0xa5; 1 << 20];
    let frames: [(u64, u64, &[u8]); 3] =
        [(1, 0, b""), (1 << 53, u64::MAX, &largest), (i64::MAX as u64, 1 << 63, b"\0")];
    let mut store = Store::open(&folder).unwrap();
    let entries =
        frames.map(|(offset, time, frame)| Entry { channel: "c", epoch: "", offset, time, name: b"", frame });
    store.append(&entries).unwrap();
    store.append(&[]).unwrap();
    drop(store);
    let expected = frames.map(|(offset, time, frame)| Kept { offset, time, frame: frame.to_vec() });
    assert_eq!(Store::open(&folder).unwrap().load("c", 0, 10).unwrap(), expected);
}

#[test]
fn epoch_and_top_survive_the_last_entry() {
    let folder = Folder::new("top");
    let mut store = Store::open(&folder).unwrap();
    append(&mut store, "c", 1..=5);
    append(&mut store, "d", 1..=2);
    store.trim(&[("c", 4, 0), ("d", u64::MAX, 0), ("nobody", 3, 3)]).unwrap();
    assert_eq!(store.channels().unwrap(), [channel("c", "e", 4, 5), channel("d", "e", 3, 2)]);
    store.trim(&[("c", 6, 0)]).unwrap();
    drop(store);

    let mut store = Store::open(&folder).unwrap();
    assert_eq!(store.channel("c").unwrap(), Some(channel("c", "e", 6, 5)));
    assert!(kept(&store, "c").is_empty());
    let again = Entry { channel: "c", epoch: "e", offset: 5, time: 0, name: b"", frame: b"" };
    assert!(matches!(store.append(&[again]), Err(StoreError::Misordered { offset: 5, top: 5, .. })));
    append(&mut store, "c", [6]);
    assert_eq!(kept(&store, "c"), [6]);
}

#[test]
fn a_batch_with_one_wrong_entry_leaves_nothing_behind() {
    let folder = Folder::new("batch");
    let mut store = Store::open(&folder).unwrap();
    append(&mut store, "c", 1..=2);
    let entry = |channel, offset| Entry { channel, epoch: "e", offset, time: 0, name: b"", frame: b"x" };
    for wrong in [2, 0, 1 << 63] {
        let error = store.append(&[entry("new", 1), entry("c", 3), entry("c", wrong)]).unwrap_err();
        assert!(error.to_string().contains(&format!("{wrong} of channel \"c\"")), "{error}");
        assert_eq!(store.channels().unwrap(), [channel("c", "e", 1, 2)]);
    }
    // Nor is there anything in memory of what was not done.
    append(&mut store, "c", [3]);
    append(&mut store, "new", [1]);
    assert_eq!((kept(&store, "c"), kept(&store, "new")), (vec![1, 2, 3], vec![1]));
}

#[test]
fn another_epoch_begins_anew() {
    let folder = Folder::new("epoch");
    let mut store = Store::open(&folder).unwrap();
    append(&mut store, "c", 1..=9);
    store
        .append(&[Entry { channel: "c", epoch: "f", offset: 1, time: 2, name: b"", frame: b"new" }])
        .unwrap();
    assert_eq!(store.channels().unwrap(), [channel("c", "f", 1, 1)]);
    assert_eq!(store.load("c", 0, 9).unwrap(), [Kept { offset: 1, time: 2, frame: b"new".to_vec() }]);
}

#[test]
fn changes_of_all_kinds_are_one_transaction() {
    let folder = Folder::new("commit");
    let mut store = Store::open(&folder).unwrap();
    let entry = |channel, epoch, offset| {
        Change::Append(Entry { channel, epoch, offset, time: 0, name: b"", frame: b"x" })
    };
    let begin = |channel, epoch| Change::Begin { channel, epoch };
    store.commit(&[begin("a", "e1"), begin("b", "e1"), entry("a", "e1", 1), entry("a", "e1", 2)]).unwrap();
    store
        .commit(&[Change::Trim { channel: "a", below: 2, names_below: 0 }, Change::Remove { channel: "b" }])
        .unwrap();
    assert_eq!(store.channels().unwrap(), [channel("a", "e1", 2, 2)]);
    let changes = [
        Change::Remove { channel: "a" },
        begin("a", "e2"),
        entry("a", "e2", 1),
        entry("c", "e1", 1),
        entry("c", "e1", 1),
    ];
    assert!(store.commit(&changes).is_err(), "an offset comes twice");
    assert_eq!(store.channels().unwrap(), [channel("a", "e1", 2, 2)], "none of it is done");
    store.commit(&changes[..4]).unwrap();
    drop(store);
    let store = Store::open(&folder).unwrap();
    assert_eq!(store.channels().unwrap(), [channel("a", "e2", 1, 1), channel("c", "e1", 1, 1)]);
}

#[test]
fn a_channel_is_marked_without_an_entry_and_forgotten_whole() {
    let folder = Folder::new("mark");
    let mut store = Store::open(&folder).unwrap();
    store.mark("c", "e", 42, 41).unwrap();
    store.mark("c", "e", 7, 7).unwrap();
    append(&mut store, "c", [42]);
    store.remove("never").unwrap();
    store.mark("d", "e", 1, 1).unwrap();
    store.remove("d").unwrap();
    assert!(matches!(store.mark("c", "e", 1, 1 << 63), Err(StoreError::Misordered { .. })));
    drop(store);
    let mut store = Store::open(&folder).unwrap();
    assert_eq!(store.channels().unwrap(), [channel("c", "e", 42, 42)]);
    append(&mut store, "c", [43]);
    store.mark("c", "e", 43, 0).unwrap();
    assert_eq!((kept(&store, "c"), store.channels().unwrap()), (vec![43], vec![channel("c", "e", 43, 43)]));
    store.mark("c", "f", u64::MAX, 3).unwrap();
    assert_eq!(store.channels().unwrap(), [channel("c", "f", 4, 3)]);
    store.remove("c").unwrap();
    assert_eq!(store.channels().unwrap(), []);
    append(&mut store, "c", [1]);
    assert_eq!(kept(&store, "c"), [1]);
}

#[test]
fn nobody_else_may_read_what_a_store_has_made() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("mode");
    let path = folder.join("made/here");
    let mut store = Store::open(&path).unwrap();
    append(&mut store, "c", [1]);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o077;
    assert_eq!((mode(&path), mode(&path.join(FILE)), mode(&path.join(LOG))), (0, 0, 0));
}
