//! `pulse store`: what is in a folder of stored history, and copies of it.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use pulse_native::store::{self, Channel, StoreError, Totals};
use serde_json::json;

use super::{complain, line::visible, print};

pub(crate) const AFTER: &str = "\
Examples:
  pulse store inspect history                 print what is kept of each channel
  pulse store inspect history | jq .channel   in a pipe, every line is a JSON object
  pulse store backup history monday.pulse     copy all of it into one file
  pulse store restore monday.pulse history    make a store of it, in a folder that is empty or new

A store belongs to one process: while a server has it open, each of these says so and does nothing. `inspect` and `backup`
read every message and check it against its checksum. Nothing is ever written over; only a store that an older version has
written is taken over into the present format as it is opened, as a server does.

Exit codes:
  0  it is done
  1  the store is in use, damaged or not there, or the disk refuses
  2  the command line is wrong";

/// What to do with stored history.
#[derive(Args, Debug)]
pub(crate) struct Store {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the channels, with epoch, first and top offset, messages and their bytes, and names.
    Inspect {
        /// Folder of the store.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Copy a store into one file.
    Backup {
        /// Folder of the store.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// File to write; it must not exist.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Make a store of a backup.
    Restore {
        /// File that `pulse store backup` has written.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Folder for the store; it must be empty or not exist.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

impl Store {
    pub(crate) fn run(self) -> ExitCode {
        match self.action.run() {
            Ok(text) => print(&text),
            Err(error) => {
                complain(error);
                ExitCode::FAILURE
            }
        }
    }
}

impl Action {
    /// Returns what is to be printed.
    fn run(&self) -> Result<String, Box<dyn Error>> {
        Ok(match self {
            Self::Inspect { folder } => listed(&inspect(folder)?, io::stdout().is_terminal()),
            Self::Backup { folder, file } => {
                let store = store::Store::open_existing(folder)?;
                said(store::backup(&store, file)?, "are in", file)
            }
            Self::Restore { file, folder } => {
                said(store::restore(file, folder)?, "were restored into", folder)
            }
        })
    }
}

fn said(Totals { channels, entries, .. }: Totals, what: &str, path: &Path) -> String {
    format!("{entries} messages of {channels} channels {what} {}\n", path.display())
}

/// A channel, and what is kept of it.
struct Line {
    channel: Channel,
    entries: u64,
    bytes: u64,
    /// By how many of its messages, kept or not, repeats are known.
    names: u64,
}

/// How many messages are read at once; the largest ones fit into memory that often.
const PIECE: usize = 256;

/// Reads all of a store, which checks it.
fn inspect(folder: &Path) -> Result<Vec<Line>, StoreError> {
    let store = store::Store::open_existing(folder)?;
    let mut lines = Vec::new();
    for channel in store.channels()? {
        let (mut entries, mut bytes, mut from) = (0, 0, channel.first);
        loop {
            let piece = store.load(&channel.name, from, PIECE)?;
            let Some(last) = piece.last() else { break };
            from = last.offset + 1;
            entries += piece.len() as u64;
            bytes += piece.iter().map(|kept| kept.frame.len() as u64).sum::<u64>();
        }
        let (mut names, mut from) = (0, 0);
        loop {
            let piece = store.names(&channel.name, from, PIECE)?;
            let Some(last) = piece.last() else { break };
            from = last.offset + 1;
            names += piece.len() as u64;
        }
        lines.push(Line { channel, entries, bytes, names });
    }
    Ok(lines)
}

/// For people, a table; for programs, an object a line.
fn listed(lines: &[Line], terminal: bool) -> String {
    let mut text = String::new();
    if terminal && lines.is_empty() {
        text.push_str("nothing is stored\n");
    } else if terminal {
        let name = |line: &Line| visible(&line.channel.name);
        let width = lines.iter().map(|line| name(line).chars().count()).max().unwrap_or(0).max(7);
        let header = ("CHANNEL", "EPOCH", "FIRST", "TOP", "MESSAGES", "BYTES", "NAMES");
        let (a, b, c, d, e, f, g) = header;
        writeln!(text, "{a:width$}  {b:16}  {c:>10}  {d:>10}  {e:>10}  {f:>12}  {g:>10}")
            .expect("a string takes everything");
        for line in lines {
            let Line { channel: Channel { epoch, first, top, .. }, entries, bytes, names } = line;
            let (name, epoch) = (name(line), visible(epoch));
            let offsets = format!("{first:>10}  {top:>10}");
            writeln!(text, "{name:width$}  {epoch:16}  {offsets}  {entries:>10}  {bytes:>12}  {names:>10}")
                .expect("a string takes everything");
        }
    } else {
        for Line { channel: Channel { name, epoch, first, top }, entries, bytes, names } in lines {
            let object = json!({
                "channel": name, "epoch": epoch, "first": first, "top": top, "messages": entries, "bytes": bytes,
                "names": names,
            });
            writeln!(text, "{object}").expect("a string takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        let channel =
            |name: &str, first, top| Channel { name: name.to_owned(), epoch: "e1".to_owned(), first, top };
        vec![
            Line { channel: channel("chat:lobby", 3, 5), entries: 3, bytes: 600, names: 12 },
            Line { channel: channel("e\u{1b}[2J", 8, 7), entries: 0, bytes: 0, names: 0 },
        ]
    }

    #[test]
    fn people_get_a_table_with_nothing_that_a_terminal_obeys() {
        let text = listed(&lines(), true);
        assert!(!text.contains('\u{1b}'), "{text}");
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["CHANNEL", "EPOCH", "FIRST", "TOP", "MESSAGES", "BYTES", "NAMES"]);
        assert_eq!(rows[1], ["chat:lobby", "e1", "3", "5", "3", "600", "12"]);
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [widths[0]; 3]);
        assert_eq!(listed(&[], true), "nothing is stored\n");
    }

    #[test]
    fn programs_get_an_object_a_line() {
        let text = listed(&lines(), false);
        let values: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        assert_eq!(
            values[0],
            json!({
                "channel": "chat:lobby", "epoch": "e1", "first": 3, "top": 5, "messages": 3, "bytes": 600, "names": 12,
            })
        );
        assert_eq!(values[1]["channel"], "e\u{1b}[2J");
        assert_eq!(listed(&[], false), "");
    }
}
