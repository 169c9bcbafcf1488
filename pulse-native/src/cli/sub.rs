//! `pulse sub`: prints what is published.
//!
//! Publications go to standard output, everything else to standard error. How a publication looks is in `line`.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
    thread,
};

use clap::Args;
use pulse_native::client::{Client, Event};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::{
    io::{AsyncWriteExt as _, Stdout, stdout},
    signal,
    sync::oneshot,
};

use super::{
    complain,
    line::Style,
    remote::{self, Failure, Remote},
};

/// Bytes of lines that are put together before they are written.
const CHUNK: usize = 64 << 10;

pub(crate) const AFTER: &str = "\
Examples:
  pulse sub chat:lobby                     print what is published there, until Ctrl-C
  pulse sub chat:lobby news                several channels
  pulse sub --count 1 deploy:done          wait for one message
  pulse sub sensors | jq .payload          in a pipe, every line is a JSON object
  pulse sub --url ws://10.0.0.5/ws news    another server

On a terminal a line is the channel, the event's name if it has one, and the payload: text as text, anything else in
hexadecimal. In a pipe or file it is a JSON object with `channel` and `payload`, and where they are there `event`, `format`,
`key`, `tags`, `offset`, `time`, `client` and `user`. `payload` is a JSON value if `format` is `json`, else a string; a payload
that is neither is `payload_b64`, in base64.

Exit codes:
  0  --count is reached, Ctrl-C, or nobody reads the output any more
  1  the server cannot be reached, refuses, or is gone
  2  the command line is wrong";

/// Which channels to print, and for how long.
#[derive(Args, Debug)]
pub(crate) struct Sub {
    /// Channels to subscribe to.
    #[arg(value_name = "CHANNEL", required = true)]
    pub(crate) channels: Vec<String>,
    /// Stop after this many publications.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

impl Sub {
    pub(crate) fn run(self) -> ExitCode {
        remote::run(self.follow())
    }

    async fn follow(self) -> Result<(), Failure> {
        let mut client = self.remote.connect().await?;
        let done = tokio::select! {
            done = self.print(&mut client) => done,
            _ = signal::ctrl_c() => Ok(()),
            () = nobody_reads() => Ok(()),
        };
        client.close().await;
        done
    }

    async fn print(&self, client: &mut Client) -> Result<(), Failure> {
        for channel in &self.channels {
            let refused =
                |error| Failure::Failed(format!("cannot subscribe to {}: {error}", channel.escape_debug()));
            client.subscribe(channel).await.map_err(refused)?;
            complain(format_args!("subscribed to {channel}"));
        }
        let style = if io::stdout().is_terminal() { Style::Terminal } else { Style::Json };
        let mut left = self.count.unwrap_or(u64::MAX);
        let (mut out, mut lines) = (stdout(), Vec::new());
        while left > 0 {
            let mut event = Some(client.next().await.map_err(|end| Failure::Failed(end.to_string()))?);
            // What has come together is written together.
            while let Some(next) = event {
                if take(next, style, &mut lines)? {
                    left -= 1;
                }
                event = if left > 0 && lines.len() < CHUNK { client.try_next() } else { None };
            }
            match write(&mut out, &lines).await {
                Ok(()) => lines.clear(),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => {
                    return Err(Failure::Failed(format!("cannot write to standard output: {error}")));
                }
            }
        }
        Ok(())
    }
}

/// Appends the line of a publication, true if it is one; says everything else.
fn take(event: Event, style: Style, lines: &mut Vec<u8>) -> Result<bool, Failure> {
    match event {
        Event::Publication(publication) => {
            style.append(&publication, lines);
            return Ok(true);
        }
        Event::Gap(gap) => {
            let count = gap.count.map_or_else(|| "some".to_owned(), |count| count.to_string());
            let (channel, reason) = (gap.channel.escape_debug(), gap.reason.escape_debug());
            complain(format_args!("{count} publications in {channel} were lost: {reason}"));
        }
        Event::Unsubscribed(end) => {
            let (channel, reason) = (end.channel.escape_debug(), end.reason.escape_debug());
            let what =
                format!("the server ended the subscription to {channel} with code {}: {reason}", end.code);
            return Err(Failure::Failed(what));
        }
        Event::Error(error) => complain(error),
        // Nothing that this version prints.
        _ => {}
    }
    Ok(false)
}

async fn write(out: &mut Stdout, lines: &[u8]) -> io::Result<()> {
    out.write_all(lines).await?;
    out.flush().await
}

/// Ready once the other end of standard output is closed: without it, `pulse sub CHANNEL | head -1` would go on until the
/// second message.
async fn nobody_reads() {
    let (tell, told) = oneshot::channel();
    let watch = move || {
        let out = io::stdout();
        loop {
            // No flags: only errors and hang-ups end the wait.
            let mut fds = [PollFd::new(&out, PollFlags::empty())];
            match poll(&mut fds, None) {
                Ok(_) if fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => {
                    // Nobody waits any more: the command has ended meanwhile.
                    let _ = tell.send(());
                    return;
                }
                Err(rustix::io::Errno::INTR) => {}
                _ => return,
            }
        }
    };
    // Without a thread, the next write still finds out.
    let watched = thread::Builder::new().name("stdout".to_owned()).spawn(watch);
    if watched.is_err() || told.await.is_err() {
        std::future::pending::<()>().await;
    }
}
