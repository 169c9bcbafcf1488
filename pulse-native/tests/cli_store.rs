//! `pulse store`: what it prints, what it copies, and what it refuses.

mod e2e_support;
mod store_support;

use std::fs;
use std::process::Command;

use pulse_native::store::{Change, Entry, Store, StoreError};

use e2e_support::process::run;
use store_support::{FILE, Folder, append, files, former, frame, kept};

/// A folder with a store in `store`, closed.
fn filled(test: &str) -> (Folder, String) {
    let folder = Folder::new(test);
    let path = folder.join("store").to_str().unwrap().to_owned();
    let mut store = Store::open(path.as_ref()).unwrap();
    append(&mut store, "chat:lobby", 1..=600);
    store.trim(&[("chat:lobby", 101, 0)]).unwrap();
    append(&mut store, "empty", 1..=9);
    store.trim(&[("empty", 10, 0)]).unwrap();
    // Names whose publications are there and others, and holes, also where it begins.
    let names: Vec<Vec<u8>> = (1..=700).map(|offset| format!("order {offset}").into_bytes()).collect();
    let named = (1..).zip(&names).map(|(offset, name)| {
        Change::Append(Entry { channel: "named", epoch: "e", offset, time: offset + 1, name, frame: b"x" })
    });
    store.commit(&named.collect::<Vec<_>>()).unwrap();
    let supersede = |offset| Change::Supersede { channel: "named", offset };
    let trim = Change::Trim { channel: "named", below: 650, names_below: 101 };
    store.commit(&[trim, supersede(650), supersede(651), supersede(660), supersede(700)]).unwrap();
    drop(store);
    (folder, path)
}

/// Runs `pulse store`; it ends well and prints this.
#[track_caller]
fn done(arguments: &[&str]) -> String {
    let (code, printed, errors) = run(&[&["store"], arguments].concat());
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    printed
}

/// Runs `pulse store`; it fails and says why.
#[track_caller]
fn fails(arguments: &[&str]) -> String {
    let (code, printed, errors) = run(&[&["store"], arguments].concat());
    assert_eq!((code, printed.as_str()), (Some(1), ""));
    assert!(errors.starts_with("pulse: ") && errors.lines().count() == 1, "{errors}");
    errors
}

#[test]
fn a_pipe_gets_an_object_for_each_channel() {
    let (_folder, path) = filled("inspect");
    let printed = done(&["inspect", &path]);
    let lines: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let bytes: usize = (101..=600).map(|offset| frame("chat:lobby", offset).len()).sum();
    let lobby = serde_json::json!({
        "channel": "chat:lobby", "epoch": "e", "first": 101, "top": 600, "messages": 500, "bytes": bytes,
        "names": 0
    });
    let empty = serde_json::json!({
        "channel": "empty", "epoch": "e", "first": 10, "top": 9, "messages": 0, "bytes": 0, "names": 0
    });
    let named = serde_json::json!({
        "channel": "named", "epoch": "e", "first": 650, "top": 700, "messages": 47, "bytes": 47, "names": 600
    });
    assert_eq!(lines, [lobby, empty, named]);
}

#[test]
fn a_backup_becomes_the_same_store() {
    let (folder, path) = filled("backup");
    let file = folder.join("monday.pulse").to_str().unwrap().to_owned();
    let printed = done(&["backup", &path, &file]);
    assert!(printed.contains("547 messages of 3 channels"), "{printed}");

    let other = folder.join("a/new/one").to_str().unwrap().to_owned();
    let printed = done(&["restore", &file, &other]);
    assert!(printed.contains("547 messages of 3 channels"), "{printed}");
    assert_eq!(done(&["inspect", &other]), done(&["inspect", &path]));
    let mut store = Store::open(other.as_ref()).unwrap();
    assert_eq!(kept(&store, "chat:lobby"), (101..=600).collect::<Vec<_>>());
    append(&mut store, "empty", [10]);
    let origin = Store::open(path.as_ref()).unwrap();
    assert_eq!(store.load("named", 0, 1_000).unwrap(), origin.load("named", 0, 1_000).unwrap());
    let names = store.names("named", 0, 1_000).unwrap();
    assert_eq!(names, origin.names("named", 0, 1_000).unwrap());
    assert_eq!((names.len(), names[0].offset, &*names[0].name), (600, 101, &b"order 101"[..]));
}

/// A backup of version 1, of channels with name, epoch, top, and offsets.
fn former_backup(channels: &[(&str, &str, u64, &[u64])]) -> Vec<u8> {
    let mut bytes = b"PULSEBAK\0\0\0\x01".to_vec();
    let mut put = |parts: &[&[u8]]| bytes.extend(parts.concat());
    let mut count = 0_u64;
    for (name, epoch, top, offsets) in channels {
        let lengths = [name.len() as u16, epoch.len() as u16].map(u16::to_be_bytes);
        put(&[b"C", &lengths[0], &lengths[1], name.as_bytes(), epoch.as_bytes(), &top.to_be_bytes()]);
        for offset in *offsets {
            let frame = frame(name, *offset);
            let length = (frame.len() as u32).to_be_bytes();
            put(&[b"E", &offset.to_be_bytes(), &(offset + 1_000).to_be_bytes(), &length, &frame]);
            count += 1;
        }
    }
    put(&[b"Z", &(channels.len() as u64).to_be_bytes(), &count.to_be_bytes()]);
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    bytes.extend(digest.as_ref());
    bytes
}

#[test]
fn a_backup_of_version_1_becomes_a_store() {
    let folder = Folder::new("former-backup");
    let (file, path) = (folder.join("file"), folder.join("store"));
    let offsets: Vec<u64> = (40..=900).collect();
    let channels =
        [("a", "e", 905, &offsets[..]), ("b", "e2", 7, &[]), ("c", "e3", 0, &[]), ("d", "e", 3, &[2, 3])];
    fs::write(&file, former_backup(&channels)).unwrap();
    let printed = done(&["restore", file.to_str().unwrap(), path.to_str().unwrap()]);
    assert!(printed.contains("863 messages of 4 channels"), "{printed}");
    let store = Store::open(&path).unwrap();
    let found: Vec<_> =
        store.channels().unwrap().into_iter().map(|one| (one.name, one.epoch, one.first, one.top)).collect();
    let channel = |name: &str, epoch: &str, first, top| (name.to_owned(), epoch.to_owned(), first, top);
    let expected = [
        channel("a", "e", 40, 905),
        channel("b", "e2", 8, 7),
        channel("c", "e3", 1, 0),
        channel("d", "e", 2, 3),
    ];
    assert_eq!(found, expected);
    assert_eq!((kept(&store, "a"), kept(&store, "d")), (offsets, vec![2, 3]));
    assert_eq!(store.names("a", 0, 9).unwrap(), []);
}

#[test]
fn a_backup_with_a_name_of_no_publication_restores_nothing() {
    let folder = Folder::new("name-backup");
    let [store, file, other] =
        ["store", "file", "other"].map(|name| folder.join(name).to_str().unwrap().to_owned());
    let entry = Entry { channel: "c", epoch: "e", offset: 5, time: 0, name: b"n", frame: b"x" };
    let mut made = Store::open(store.as_ref()).unwrap();
    made.append(&[entry]).unwrap();
    made.commit(&[Change::Supersede { channel: "c", offset: 5 }]).unwrap();
    drop(made);
    done(&["backup", &store, &file]);
    let mut bytes = fs::read(&file).unwrap();
    // The last byte of the top offset; what follows is the name and the end.
    let at = b"PULSEBAK....C....ce........".len() + 7;
    bytes.truncate(bytes.len() - 32);
    assert_eq!((bytes[at], bytes[at + 1]), (5, b'N'));
    bytes[at] = 4;
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    fs::write(&file, [&bytes, digest.as_ref()].concat()).unwrap();
    assert!(fails(&["restore", &file, &other]).contains("a name is of no publication"));
    assert!(!folder.join("other").exists());
}

#[test]
fn a_store_of_format_1_is_inspected_and_backed_up() {
    let folder = Folder::new("former-cli");
    let frames: Vec<(u64, Vec<u8>)> = (4..=6).map(|offset| (offset, frame("c", offset))).collect();
    for action in ["inspect", "backup"] {
        let path = folder.join(action);
        fs::create_dir(&path).unwrap();
        drop(former(&path, &[("c", "e", 3, &frames)]));
    }
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    assert!(
        done(&["inspect", &path("inspect")]).contains("\"first\":4,\"messages\":3,\"names\":0,\"top\":6")
    );
    assert!(done(&["backup", &path("backup"), &path("file")]).contains("3 messages of 1 channels"));
    done(&["restore", &path("file"), &path("restored")]);
    let store = Store::open(&folder.join("restored")).unwrap();
    assert_eq!((kept(&store, "c"), store.channels().unwrap()[0].first), (vec![4, 5, 6], 4));
}

#[test]
fn nothing_is_written_over() {
    let (folder, path) = filled("over");
    let file = folder.join("file").to_str().unwrap().to_owned();
    fs::write(&file, "a letter").unwrap();
    assert!(fails(&["backup", &path, &file]).contains("not written over"));
    assert_eq!(fs::read(&file).unwrap(), b"a letter");
    fs::remove_file(&file).unwrap();
    done(&["backup", &path, &file]);

    let before = files(path.as_ref());
    assert!(fails(&["restore", &file, &path]).contains("not written over"));
    assert!(files(path.as_ref()) == before);
    // Nor into a folder with something else in it.
    let letters = folder.join("letters");
    fs::create_dir(&letters).unwrap();
    fs::write(letters.join("letter"), "dear").unwrap();
    assert!(fails(&["restore", &file, letters.to_str().unwrap()]).contains("letter"));
    assert_eq!(files(&letters).len(), 1);
}

#[test]
fn a_store_in_use_is_refused_and_one_that_is_not_there_is_not_made() {
    let (folder, path) = filled("used");
    let file = folder.join("file").to_str().unwrap().to_owned();
    let store = Store::open(path.as_ref()).unwrap();
    for arguments in [&["inspect", &*path][..], &["backup", &path, &file]] {
        let error = fails(arguments);
        assert!(error.contains("another process") && error.contains(&path), "{error}");
    }
    drop(store);
    let nowhere = folder.join("nowhere").to_str().unwrap().to_owned();
    for arguments in [&["inspect", &*nowhere][..], &["backup", &nowhere, &file]] {
        assert!(fails(arguments).contains("no store"));
    }
    assert!(!folder.join("nowhere").exists() && !folder.join("file").exists());
    assert!(fails(&["restore", &file, &nowhere]).contains(&file));
    assert!(!folder.join("nowhere").exists());
}

#[test]
fn a_disk_that_is_full_in_the_end_has_no_half_of_a_store() {
    let folder = Folder::new("full");
    let path = folder.join("store");
    let mut store = Store::open(&path).unwrap();
    append(&mut store, "c", 1..=5_000);
    drop(store);
    let (path, file) = (path.to_str().unwrap(), folder.join("file"));
    let file = file.to_str().unwrap();
    done(&["backup", path, file]);
    let size = fs::metadata(folder.join("store").join(FILE)).unwrap().len();
    // A small file system that nobody else sees: the log has room, which is larger by a half, and the file beside it has not.
    let disk = folder.join("disk");
    fs::create_dir(&disk).unwrap();
    let disk = disk.to_str().unwrap();
    let script = format!(
        "mount -t tmpfs -o size={} none '{disk}' || exit 9; \"$@\"; code=$?; find '{disk}' -type f; exit $code",
        size * 2
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", &script, "sh"]).arg(env!("CARGO_BIN_EXE_pulse"));
    let output = command.args(["store", "restore", file, &format!("{disk}/new")]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && errors.contains("the disk is full"), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing is left there");
}

#[test]
fn a_damaged_backup_restores_nothing() {
    let (folder, path) = filled("damaged-backup");
    let file = folder.join("file").to_str().unwrap().to_owned();
    done(&["backup", &path, &file]);
    let whole = fs::read(&file).unwrap();
    let other = folder.join("other").to_str().unwrap().to_owned();
    let spoiled = |name: &str, bytes: &[u8]| {
        let path = folder.join(name).to_str().unwrap().to_owned();
        fs::write(&path, bytes).unwrap();
        let error = fails(&["restore", &path, &other]);
        assert!(error.contains(&path), "{error}");
        assert!(!folder.join("other").exists());
        error
    };
    for at in (0..whole.len()).step_by(whole.len() / 25) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        spoiled("bit", &bytes);
    }
    for length in [0, 11, 100, whole.len() / 2, whole.len() - 1] {
        assert!(spoiled("cut", &whole[..length]).contains("cut off"));
    }
    assert!(spoiled("more", &[&whole[..], b"x"].concat()).contains("follows its end"));
    let mut newer = whole.clone();
    newer[11] = 3;
    assert!(spoiled("newer", &newer).contains("version 3"));
    assert!(spoiled("letter", b"dear somebody, how are you").contains("no backup"));
}

#[test]
fn a_damaged_store_is_told_and_gives_no_backup() {
    let (folder, path) = filled("damaged-store");
    let store = folder.join("store").join(FILE);
    let mut bytes = fs::read(&store).unwrap();
    let needle = frame("chat:lobby", 300);
    let at = bytes.windows(needle.len()).position(|bytes| bytes == needle).unwrap();
    bytes[at + 5] ^= 1;
    fs::write(&store, &bytes).unwrap();
    let file = folder.join("file").to_str().unwrap().to_owned();
    for arguments in [&["inspect", &*path][..], &["backup", &path, &file]] {
        let error = fails(arguments);
        assert!(error.contains("entry 300 of channel \"chat:lobby\"") && error.contains(FILE), "{error}");
    }
    assert!(!folder.join("file").exists());
    // A server that reads this channel hears the same.
    let store = Store::open(path.as_ref()).unwrap();
    assert!(matches!(store.load("chat:lobby", 300, 1), Err(StoreError::Corrupt { .. })));
    assert_eq!(store.load("chat:lobby", 301, 1).unwrap()[0].offset, 301);
}
