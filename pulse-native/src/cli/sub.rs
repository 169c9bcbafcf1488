//! `pulse sub`: prints what is published.
//!
//! Publications go to standard output, everything else to standard error. How a publication looks is in `line`.

use std::{
    convert::Infallible,
    future::poll_fn,
    io::{self, IsTerminal as _},
    pin::Pin,
    process::ExitCode,
    task::Poll,
    thread,
};

use clap::Args;
use futures_core::Stream as _;
use pulse_native::client::{
    Client, Event, Options, Position, RequestError, Status, SubscribeOptions, Subscription,
};
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
  pulse sub --reconnect news               come back whenever the server does
  pulse sub --latest 10 news               begin with the newest ten, where the channel keeps history
  pulse sub --since 0f3a9c51/41 news       begin behind a position, as `pulse history --position` prints it
  pulse sub --url ws://10.0.0.5/ws news    another server

On a terminal a line is the channel, the event's name if it has one, and the payload: text as text, anything else in
hexadecimal. In a pipe or file it is a JSON object with `channel` and `payload`, and where they are there `event`, `format`,
`key`, `tags`, `offset`, `time`, `client` and `user`. `payload` is a JSON value if `format` is `json`, else a string; a payload
that is neither is `payload_b64`, in base64.

Exit codes:
  0  --count is reached, Ctrl-C, or nobody reads the output any more
  1  the server cannot be reached, refuses, or is gone for good (without --reconnect: is gone)
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
    /// Begin with the newest publications, at most so many, where the channel keeps history.
    #[arg(long, value_name = "N", conflicts_with = "since")]
    pub(crate) latest: Option<u64>,
    /// Begin behind this position, with one channel that keeps history.
    #[arg(long, value_name = "EPOCH/OFFSET", value_parser = super::history::position)]
    pub(crate) since: Option<Position>,
    /// Connect again when the connection is lost, for as long as it takes.
    #[arg(long)]
    pub(crate) reconnect: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

impl Sub {
    pub(crate) fn run(self) -> ExitCode {
        remote::run(self.follow())
    }

    async fn follow(self) -> Result<(), Failure> {
        let options = Options { reconnect: self.reconnect, ..Options::default() };
        let client = self.remote.connect_with(options).await?;
        let done = tokio::select! {
            done = self.print(&client) => done,
            never = tell_interruptions(&client) => match never {},
            _ = signal::ctrl_c() => Ok(()),
            () = nobody_reads() => Ok(()),
        };
        client.close().await;
        done
    }

    async fn print(&self, client: &Client) -> Result<(), Failure> {
        if self.since.is_some() && self.channels.len() > 1 {
            let what = "--since is a position in one channel: name one, not several";
            return Err(Failure::Misused(what.to_owned()));
        }
        let mut subscriptions = Vec::new();
        for channel in &self.channels {
            let options = SubscribeOptions {
                recover: self.since.as_ref().map(Position::point),
                latest: self.latest,
                ..SubscribeOptions::default()
            };
            match client.subscribe_with(channel, options).await {
                Ok(subscription) => subscriptions.push(subscription),
                Err(RequestError::Closed { .. }) => return Err(remote::lost(client.closed().await)),
                Err(error) => {
                    let channel = channel.escape_debug();
                    return Err(Failure::Failed(format!("cannot subscribe to {channel}: {error}")));
                }
            }
            complain(format_args!("subscribed to {channel}"));
        }
        let style = if io::stdout().is_terminal() { Style::Terminal } else { Style::Json };
        let mut left = self.count.unwrap_or(u64::MAX);
        let (mut out, mut lines) = (stdout(), Vec::new());
        while left > 0 {
            let mut event = next(&mut subscriptions).await;
            if event.is_none() {
                return Err(remote::lost(client.closed().await));
            }
            // What has come together is written together.
            while let Some((channel, event_there)) = event {
                if take(&channel, event_there, style, &mut lines)? {
                    left -= 1;
                }
                event = if left > 0 && lines.len() < CHUNK { try_next(&mut subscriptions) } else { None };
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

/// What happens next in any of them, with the channel's name; `None` once one of them is over, which only the end of the
/// client does without a word.
async fn next(subscriptions: &mut [Subscription]) -> Option<(String, Event)> {
    poll_fn(|cx| {
        for subscription in &mut *subscriptions {
            if let Poll::Ready(event) = Pin::new(&mut *subscription).poll_next(cx) {
                return Poll::Ready(event.map(|event| (subscription.channel().to_owned(), event)));
            }
        }
        Poll::Pending
    })
    .await
}

/// What has happened already in any of them.
fn try_next(subscriptions: &mut [Subscription]) -> Option<(String, Event)> {
    subscriptions.iter_mut().find_map(|subscription| {
        let event = subscription.try_next()?;
        Some((subscription.channel().to_owned(), event))
    })
}

/// Says when the connection is lost and when it is back, for as long as the process lives.
async fn tell_interruptions(client: &Client) -> Infallible {
    let mut status = client.status();
    let mut lost = false;
    while status.changed().await.is_ok() {
        match &*status.borrow_and_update() {
            Status::Waiting { why, .. } if !lost => {
                complain(format_args!("{why}; connecting again"));
                lost = true;
            }
            Status::Connected { .. } if lost => {
                complain("connected again");
                lost = false;
            }
            _ => {}
        }
    }
    // The client is over: what there is to say of that is said elsewhere.
    std::future::pending().await
}

/// Appends the line of a publication, true if it is one; says everything else.
fn take(channel: &str, event: Event, style: Style, lines: &mut Vec<u8>) -> Result<bool, Failure> {
    let channel = channel.escape_debug();
    match event {
        Event::Publication(publication) => {
            style.append(&publication, lines);
            return Ok(true);
        }
        Event::Gap(gap) => {
            let count = gap.count.map_or_else(|| "some".to_owned(), |count| count.to_string());
            let reason = gap.reason.escape_debug();
            complain(format_args!("{count} publications in {channel} were lost: {reason}"));
        }
        Event::Resumed { recovered: None } => {
            complain(format_args!("subscribed to {channel} again; what came meanwhile was missed"));
        }
        Event::Unsubscribed { code, reason } => {
            let code = code.map_or_else(String::new, |code| format!(" with code {}", code.0));
            let reason = reason.escape_debug();
            let what = format!("the server ended the subscription to {channel}{code}: {reason}");
            return Err(Failure::Failed(what));
        }
        Event::Retrying(error) => complain(format_args!("cannot subscribe to {channel} for now: {error}")),
        // Who comes and goes is the business of `pulse presence`.
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
