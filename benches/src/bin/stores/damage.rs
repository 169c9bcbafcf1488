//! What a store makes of files that were spoiled: does it refuse, or give back less or something else without a word?

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::engines::{NAMES, Result, open};
use crate::{CHANNELS, Folder, Source, files, kill_after_filling};

/// One way to spoil a file.
#[derive(Clone, Copy)]
enum Harm {
    /// Turns one bit of this part of the file.
    Bit(f64),
    /// Cuts this part off the end.
    Cut(f64),
}

pub(crate) fn run(parent: &Path, times: u64, records: u64) -> Result<()> {
    println!("| | {} |", NAMES.join(" | "));
    println!("|---{}|", "|---".repeat(NAMES.len()));
    let part = |n: u64| (n as f64 + 0.5) / times as f64;
    for (text, harm) in [
        ("one bit turned", Harm::Bit as fn(f64) -> Harm),
        ("up to 1 % cut off the end", |part| Harm::Cut(part / 100.0)),
    ] {
        let mut cells = Vec::new();
        for name in NAMES {
            let mut tally = BTreeMap::new();
            let original = Folder::new(parent, name)?;
            kill_after_filling(name, &original.0, records)?;
            for n in 0..times {
                let folder = Folder::new(parent, "spoiled")?;
                copy(&original.0, &folder.0)?;
                spoil(&folder.0, harm(part(n)))?;
                *tally.entry(judge(name, &folder.0, records)?).or_insert(0) += 1;
            }
            let texts: Vec<String> =
                tally.iter().map(|(verdict, count)| format!("{verdict} {count}")).collect();
            cells.push(texts.join(", "));
        }
        println!("| {text}, {times} times | {} |", cells.join(" | "));
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.metadata()?.is_dir() {
            fs::create_dir(&to)?;
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

/// Spoils the file that holds the most data.
fn spoil(folder: &Path, harm: Harm) -> Result<()> {
    let (length, path) = largest(folder)?.ok_or("there are no files")?;
    let file = fs::File::options().read(true).write(true).open(path)?;
    // A file may be longer than what was written into it; what is behind that is nobody's.
    let data = fs::read(largest(folder)?.ok_or("there are no files")?.1)?;
    let used = data.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1).min(length);
    match harm {
        Harm::Bit(part) => {
            let at = (used as f64 * part) as u64;
            file.write_all_at(&[data[at as usize] ^ 0x10], at)?;
        }
        Harm::Cut(part) => file.set_len(used - (used as f64 * part) as u64)?,
    }
    Ok(())
}

/// The file with the most blocks, and how long it is.
fn largest(folder: &Path) -> Result<Option<(u64, PathBuf)>> {
    let found = files(folder)?.into_iter().map(|(path, data)| (data.blocks(), data.len(), path));
    Ok(found.max().map(|(_, length, path)| (length, path)))
}

/// Lets a process of its own read everything, since it may panic.
fn judge(name: &str, folder: &Path, records: u64) -> Result<String> {
    let output = Command::new(env::current_exe()?)
        .args(["check".as_ref(), name.as_ref(), folder.as_os_str(), records.to_string().as_ref()])
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(match output.status.code() {
        Some(0) => text.trim().to_owned(),
        Some(1) => "refused".to_owned(),
        _ => "panicked".to_owned(),
    })
}

/// Reads everything and prints whether it is what was written.
pub(crate) fn check(name: &str, folder: &Path, records: u64) -> Result<()> {
    let mut expected: Vec<_> = Source::default().take(records as usize);
    expected.sort_by_key(|record| (record.channel, record.offset));
    let mut store = open(name, folder)?;
    let (mut count, mut changed) = (0, false);
    store.read(&mut |channel, offset, time, frame| {
        count += 1;
        // Offsets begin with 1, channels take turns.
        let made = offset.wrapping_sub(1).wrapping_mul(CHANNELS).wrapping_add(channel);
        let at = expected.binary_search_by_key(&(channel, offset), |record| (record.channel, record.offset));
        let same = at.is_ok_and(|at| expected[at].time == time && expected[at].frame == frame);
        changed |= !same || made >= records;
    })?;
    println!(
        "{}",
        match (changed, count < records) {
            (true, _) => "gave back something else",
            (false, true) => "gave back less",
            (false, false) => "gave back all",
        }
    );
    Ok(())
}
