//! `stores FOLDER [rounds] [records] [seconds]`: embedded stores beside each other on the disk that holds the folder: appending
//! with one sync for 1, 16 and 256 records, what comes back after a kill, the size, and trimming.
//!
//! `stores damage FOLDER [times] [records]` spoils the files of a killed store, one byte or one end at a time, and says what
//! each store makes of it.
//!
//! `stores commits STORE FOLDER GROUP COUNT` commits so often and does nothing else, to count the syncs with strace.

mod damage;
mod engines;

use std::error::Error;
use std::fs::Metadata;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use pulse_bench::Process;

use engines::{Engine, NAMES, Record, Result, open};

const GROUPS: [usize; 3] = [1, 16, 256];
const CHANNELS: u64 = 100;

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match &*args.iter().map(String::as_str).collect::<Vec<_>>() {
        ["commits", name, folder, group, count] => {
            let mut source = Source::default();
            let mut store = open(name, Path::new(folder))?;
            let group = group.parse()?;
            (0..count.parse::<u64>()?).try_for_each(|_| store.append(&source.take(group)))
        }
        ["fill", name, folder, records] => fill(name, Path::new(folder), records.parse()?),
        ["check", name, folder, records] => damage::check(name, Path::new(folder), records.parse()?),
        ["damage", folder, rest @ ..] if rest.len() <= 2 => {
            let number = |at: usize, default| rest.get(at).map_or(Ok(default), |text| text.parse());
            damage::run(Path::new(folder), number(0, 40)?, number(1, 20_000)?)
        }
        [folder, rest @ ..] if rest.len() <= 3 && *folder != "--help" => {
            let number = |at: usize, default| rest.get(at).map_or(Ok(default), |text| text.parse());
            compare(Path::new(folder), number(0, 3)?, number(1, 500_000)?, number(2, 3)?)
        }
        _ => Err("stores FOLDER [rounds, 3] [records, 500000] [seconds, 3]\n\
                  stores damage FOLDER [times, 40] [records, 20000]\n\
                  stores commits STORE FOLDER GROUP COUNT"
            .into()),
    }
}

/// Records of channels in turn, each with the next offset; the same ones in every run.
#[derive(Default)]
struct Source {
    made: u64,
}

impl Source {
    fn take(&mut self, count: usize) -> Vec<Record> {
        (0..count).map(|_| self.record()).collect()
    }

    fn record(&mut self) -> Record {
        let n = self.made;
        self.made += 1;
        // Text that a compressor shortens to about a half, as it does JSON with names and numbers in it.
        let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut frame = format!("{{\"type\":\"publish\",\"n\":{n},\"text\":\"").into_bytes();
        while frame.len() < 200 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            frame.extend_from_slice(format!("{:08x}", state as u32).as_bytes());
        }
        Record { channel: n % CHANNELS, offset: n / CHANNELS + 1, time: 1_700_000_000_000 + n, frame }
    }
}

/// What one store did in one round.
#[derive(Default)]
struct Round {
    /// For each of `GROUPS`: records a second, and the median and 99th percentile of a commit in milliseconds.
    appends: Vec<[f64; 3]>,
    fill_seconds: f64,
    /// Megabytes of memory after filling.
    resident: f64,
    open_seconds: f64,
    read_seconds: f64,
    megabytes: f64,
    trim_seconds: f64,
    megabytes_after: f64,
}

fn compare(folder: &Path, rounds: u64, records: u64, seconds: u64) -> Result<()> {
    let mut all: Vec<Vec<Round>> = NAMES.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        // Each begins as often as the others do.
        for turn in 0..NAMES.len() {
            let at = (round as usize + turn) % NAMES.len();
            let done = measure(NAMES[at], folder, records, Duration::from_secs(seconds))?;
            eprintln!("round {} of {rounds}: {} {:.0?} records/s", round + 1, NAMES[at], done.rates());
            all[at].push(done);
        }
    }
    print(&all, records);
    Ok(())
}

impl Round {
    fn rates(&self) -> Vec<f64> {
        self.appends.iter().map(|append| append[0]).collect()
    }
}

fn measure(name: &str, parent: &Path, records: u64, time: Duration) -> Result<Round> {
    let mut round = Round::default();
    for group in GROUPS {
        let folder = Folder::new(parent, name)?;
        round.appends.push(append(&mut *open(name, &folder.0)?, group, time)?);
    }

    let folder = Folder::new(parent, name)?;
    let begin = Instant::now();
    round.resident = kill_after_filling(name, &folder.0, records)?;
    round.fill_seconds = begin.elapsed().as_secs_f64();
    round.megabytes = megabytes(&folder.0)?;

    let begin = Instant::now();
    let mut store = open(name, &folder.0)?;
    round.open_seconds = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let (mut count, mut bytes) = (0, 0);
    store.read(&mut |_, _, _, frame| {
        count += 1;
        bytes += frame.len() as u64;
    })?;
    round.read_seconds = begin.elapsed().as_secs_f64();
    if count != records || bytes < 200 * records {
        return Err(format!("{name} gave back {count} records of {records}, {bytes} bytes").into());
    }

    let begin = Instant::now();
    let half = records / CHANNELS / 2 + 1;
    (0..CHANNELS).try_for_each(|channel| store.trim(channel, half))?;
    round.trim_seconds = begin.elapsed().as_secs_f64();
    let mut left = 0;
    store.read(&mut |_, _, _, _| left += 1)?;
    if left != records - (half - 1) * CHANNELS {
        return Err(format!("{name} has {left} records after trimming half of {records}").into());
    }
    round.megabytes_after = megabytes(&folder.0)?;
    Ok(round)
}

fn append(store: &mut dyn Engine, group: usize, time: Duration) -> Result<[f64; 3]> {
    let mut source = Source::default();
    let mut commits = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < time {
        let records = source.take(group);
        let commit = Instant::now();
        store.append(&records)?;
        commits.push(commit.elapsed().as_secs_f64());
    }
    // Making the records is not the store's work.
    let busy: f64 = commits.iter().sum();
    commits.sort_by(f64::total_cmp);
    let at = |part: f64| commits[((commits.len() - 1) as f64 * part) as usize] * 1e3;
    Ok([source.made as f64 / busy, at(0.5), at(0.99)])
}

/// Lets a process of its own fill a store, and kills it, so that nothing is closed in order. Returns how many megabytes of
/// memory it had.
fn kill_after_filling(name: &str, folder: &Path, records: u64) -> Result<f64> {
    let mut child = Command::new(env::current_exe()?)
        .args(["fill".as_ref(), name.as_ref(), folder.as_os_str(), records.to_string().as_ref()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let out = child.stdout.take().ok_or("a child has an output")?;
    BufReader::new(out).read_line(&mut line)?;
    let resident = Process::new(child.id()).resident() as f64 / 1e6;
    child.kill()?;
    child.wait()?;
    if line.trim() == "filled" { Ok(resident) } else { Err(format!("{name} could not be filled").into()) }
}

fn fill(name: &str, folder: &Path, records: u64) -> Result<()> {
    let mut store = open(name, folder)?;
    let mut source = Source::default();
    while source.made < records {
        store.append(&source.take((records - source.made).min(1_000) as usize))?;
    }
    println!("filled");
    // The store stays open until this process is killed.
    loop {
        thread::park();
    }
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(parent: &Path, name: &str) -> Result<Self> {
        let path = parent.join(format!("stores-{name}-{}", std::process::id()));
        fs::create_dir_all(parent)?;
        fs::create_dir(&path)
            .map_err(|error| -> Box<dyn Error> { format!("{}: {error}", path.display()).into() })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

/// What the files of a folder take on the disk; less than their lengths where a file has holes.
fn megabytes(folder: &Path) -> Result<f64> {
    let blocks: u64 = files(folder)?.iter().map(|(_, data)| data.blocks()).sum();
    Ok(blocks as f64 * 512.0 / 1e6)
}

/// All files of a folder and of the folders in it.
fn files(folder: &Path) -> Result<Vec<(PathBuf, Metadata)>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let data = entry.metadata()?;
            if data.is_dir() {
                folders.push(entry.path());
            } else {
                files.push((entry.path(), data));
            }
        }
    }
    Ok(files)
}

fn print(all: &[Vec<Round>], records: u64) {
    println!("| | {} |", NAMES.join(" | "));
    println!("|---{}|", "|---".repeat(NAMES.len()));
    for (at, group) in GROUPS.iter().enumerate() {
        let many = if *group == 1 { "1 record".to_owned() } else { format!("{group} records") };
        row(all, &format!("records/s, {many} a sync"), 0, |round| round.appends[at][0]);
        row(all, "its commits, median ms", 2, |round| round.appends[at][1]);
        row(all, "its commits, 99 % ms", 2, |round| round.appends[at][2]);
    }
    row(all, &format!("{records} records, 1,000 a sync, seconds"), 2, |round| round.fill_seconds);
    row(all, "MB of memory after that", 0, |round| round.resident);
    row(all, "MB on disk", 0, |round| round.megabytes);
    row(all, "opening after a kill, seconds", 3, |round| round.open_seconds);
    row(all, "reading all, seconds", 2, |round| round.read_seconds);
    row(all, "trimming half, 100 commits, seconds", 2, |round| round.trim_seconds);
    row(all, "MB on disk after that", 0, |round| round.megabytes_after);
}

/// Medians, with least and greatest.
fn row(all: &[Vec<Round>], name: &str, digits: usize, figure: impl Fn(&Round) -> f64) {
    let cell = |rounds: &Vec<Round>| {
        let mut figures: Vec<f64> = rounds.iter().map(&figure).collect();
        figures.sort_by(f64::total_cmp);
        let (least, middle, most) = (figures[0], figures[figures.len() / 2], figures[figures.len() - 1]);
        format!("{middle:.digits$} ({least:.digits$} to {most:.digits$})")
    };
    println!("| {name} | {} |", all.iter().map(cell).collect::<Vec<_>>().join(" | "));
}
