//! `pulse history`: prints what is kept of a channel.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::Args;
use pulse_native::client::{Client, HistoryOptions, Position, RequestError};

use super::{
    line::Style,
    print,
    remote::{self, Failure, Remote},
};

/// Publications on a page, which is as many as a server gives.
const PAGE: u64 = 1_000;

pub(crate) const AFTER: &str = "\
Examples:
  pulse history news                       print what is kept there, the oldest first
  pulse history --reverse --limit 10 news  print the newest ten, the newest first
  pulse history --position news            print the newest position
  pulse history --since 0f3a9c51/41 news   print what came behind this one
  pulse history news | jq .payload         in a pipe, every line is a JSON object

Lines are as `pulse sub` prints them. Channels keep something where their namespace has a history_size.

Exit codes:
  0  the server has answered, though perhaps with nothing
  1  the server cannot be reached, refuses, keeps no history or not all of what was asked for
  2  the command line is wrong";

/// What to print.
#[derive(Args, Debug)]
pub(crate) struct History {
    /// Channel to ask about.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// Only what came behind this position.
    #[arg(long, value_name = "EPOCH/OFFSET", value_parser = position)]
    since: Option<Position>,
    /// So many publications at most.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// The newest first; 1,000 of them at most.
    #[arg(long)]
    reverse: bool,
    /// Only the position of the newest publication, as --since takes it.
    #[arg(long, conflicts_with_all = ["since", "limit", "reverse"])]
    position: bool,
    #[command(flatten)]
    remote: Remote,
}

/// A position as it is printed.
pub(crate) fn position(text: &str) -> Result<Position, &'static str> {
    let wrong = "it has to be EPOCH/OFFSET, as `pulse history --position` prints it";
    let (epoch, offset) = text.rsplit_once('/').ok_or(wrong)?;
    let offset = offset.parse().map_err(|_| wrong)?;
    Ok(Position { epoch: epoch.to_owned(), offset })
}

impl History {
    pub(crate) fn run(self) -> ExitCode {
        let mut text = String::new();
        let asked = remote::run(async {
            let client = self.remote.connect().await?;
            let lines = self.lines(&client).await;
            client.close().await;
            let channel = self.channel.escape_debug();
            let failed = |error| Failure::Failed(format!("cannot read the history of {channel}: {error}"));
            text = lines.map_err(failed)?;
            Ok(())
        });
        if asked == ExitCode::SUCCESS { print(&text) } else { asked }
    }

    async fn lines(&self, client: &Client) -> Result<String, RequestError> {
        if self.position {
            let options = HistoryOptions { limit: Some(0), ..HistoryOptions::default() };
            let Position { epoch, offset } = client.history(&self.channel, options).await?.position;
            return Ok(format!("{epoch}/{offset}\n"));
        }
        let style = if io::stdout().is_terminal() { Style::Terminal } else { Style::Json };
        let (mut since, mut left) = (self.since.clone(), self.limit.unwrap_or(u64::MAX));
        let mut lines = Vec::new();
        while left > 0 {
            let options = HistoryOptions {
                since: since.as_ref().map(Position::point),
                limit: Some(left.min(PAGE)),
                reverse: self.reverse,
            };
            let page = client.history(&self.channel, options).await?;
            page.publications.iter().for_each(|publication| style.append(publication, &mut lines));
            left -= page.publications.len() as u64;
            let last = page.publications.last().and_then(|publication| publication.offset);
            match last {
                Some(offset) if !self.reverse && offset < page.position.offset => {
                    since = Some(Position { offset, epoch: page.position.epoch });
                }
                _ => break,
            }
        }
        Ok(String::from_utf8(lines).expect("lines are text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_printed() {
        let at = |epoch: &str, offset| Ok(Position { epoch: epoch.to_owned(), offset });
        assert_eq!(position("0f3a9c51/41"), at("0f3a9c51", 41));
        assert_eq!(position("a/b/0"), at("a/b", 0), "an epoch may be any text");
        for wrong in ["", "41", "a/", "a/-1", "a/x"] {
            assert!(position(wrong).is_err_and(|what| what.contains("EPOCH/OFFSET")), "{wrong}");
        }
    }
}
