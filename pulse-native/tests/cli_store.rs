//! `pulse store`: what it prints, what it copies, and what it refuses.

mod e2e_support;
mod store_support;

use std::fs;
use std::process::Command;

use pulse_native::store::{Store, StoreError};

use e2e_support::process::run;
use store_support::{FILE, Folder, append, files, frame, kept};

/// A folder with a store in `store`, closed.
fn filled(test: &str) -> (Folder, String) {
    let folder = Folder::new(test);
    let path = folder.join("store").to_str().unwrap().to_owned();
    let mut store = Store::open(path.as_ref()).unwrap();
    append(&mut store, "chat:lobby", 1..=600);
    store.trim(&[("chat:lobby", 101, 0)]).unwrap();
    append(&mut store, "empty", 1..=9);
    store.trim(&[("empty", 10, 0)]).unwrap();
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
        "channel": "chat:lobby", "epoch": "e", "first": 101, "top": 600, "messages": 500, "bytes": bytes
    });
    let empty = serde_json::json!({
        "channel": "empty", "epoch": "e", "first": 10, "top": 9, "messages": 0, "bytes": 0
    });
    assert_eq!(lines, [lobby, empty]);
}

#[test]
fn a_backup_becomes_the_same_store() {
    let (folder, path) = filled("backup");
    let file = folder.join("monday.pulse").to_str().unwrap().to_owned();
    let printed = done(&["backup", &path, &file]);
    assert!(printed.contains("500 messages of 2 channels"), "{printed}");

    let other = folder.join("a/new/one").to_str().unwrap().to_owned();
    let printed = done(&["restore", &file, &other]);
    assert!(printed.contains("500 messages of 2 channels"), "{printed}");
    assert_eq!(done(&["inspect", &other]), done(&["inspect", &path]));
    let mut store = Store::open(other.as_ref()).unwrap();
    assert_eq!(kept(&store, "chat:lobby"), (101..=600).collect::<Vec<_>>());
    append(&mut store, "empty", [10]);
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
    newer[11] = 2;
    assert!(spoiled("newer", &newer).contains("version 2"));
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
