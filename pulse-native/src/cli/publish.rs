//! `pulse pub`: publishes messages and waits until the server has taken them.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::File,
    io::{self, BufRead as _, Read},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

use clap::{Args, ValueEnum};
use pulse_native::client::{Client, Format as Payload, Message, Receipt, RequestError};
use serde::de::IgnoredAny;
use tokio::sync::mpsc;

use super::remote::{self, Failure, MAX_PAYLOAD, Remote};

/// Messages that wait for their answer at once.
const UNDER_WAY: usize = 256;

pub(crate) const AFTER: &str = "\
Examples:
  pulse pub chat:lobby 'hello, world'
  pulse pub --event typing chat:lobby ada
  pulse pub --format json sensors '{\"celsius\": 21.5}'
  pulse pub images --file cat.png                     the payload is a file
  pulse pub images - < cat.png                        the payload is standard input
  tail -f app.log | pulse pub logs --lines            every line is a message
  pulse pub --url ws://10.0.0.5/ws news 'it rains'    another server

With --format json a payload is checked to be JSON. With --format msgpack it is given as JSON and sent as MessagePack.

Exit codes:
  0  the server has taken every message
  1  the server cannot be reached, refuses, or does not answer; or the input cannot be read
  2  the command line is wrong, or a payload is not what --format says";

/// What to publish, and where.
#[derive(Args, Debug)]
pub(crate) struct Publish {
    /// Channel to publish into.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The message; `-` reads it from standard input.
    #[arg(
        value_name = "PAYLOAD",
        allow_negative_numbers = true,
        required_unless_present_any = ["file", "lines"],
        conflicts_with_all = ["file", "lines"]
    )]
    payload: Option<OsString>,
    /// The message is in this file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Publish every line of standard input, or of --file, as soon as it is there.
    #[arg(long)]
    lines: bool,
    /// Name of the event, for the application.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// What the message is about: for a slow subscriber a newer one with the same key replaces it.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A small fact beside the payload; may be given several times.
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// What the payload holds.
    #[arg(long, value_enum, default_value_t = Format::Raw)]
    format: Format,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Bytes of the application's own.
    Raw,
    /// One JSON text.
    Json,
    /// Given as one JSON text, sent as one MessagePack value.
    Msgpack,
}

fn tag(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("it has to be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Publish {
    pub(crate) fn run(self) -> ExitCode {
        remote::run(async { if self.lines { self.send_lines().await } else { self.send_one().await } })
    }

    async fn send_one(self) -> Result<(), Failure> {
        let payload = match (&self.payload, &self.file) {
            (Some(payload), _) if payload != "-" => payload.clone().into_vec(),
            (_, Some(path)) => whole(open(path)?, &path.display().to_string())?,
            _ => whole(io::stdin(), STDIN)?,
        };
        let message = self.message(payload).map_err(Failure::Misused)?;
        let client = self.remote.connect().await?;
        let sent = client.publish(&self.channel, message).await;
        let end = self.sent(&client, sent.map(drop), None).await;
        client.close().await;
        end
    }

    async fn send_lines(self) -> Result<(), Failure> {
        // Who cannot be connected to is told before the input is touched.
        let input: (Box<dyn Read + Send>, String) = match &self.file {
            Some(path) => (Box::new(open(path)?), path.display().to_string()),
            None => (Box::new(io::stdin()), STDIN.to_owned()),
        };
        let client = self.remote.connect().await?;
        let end = self.publish_lines(&client, lines(input.0), &input.1).await;
        client.close().await;
        end
    }

    async fn publish_lines(
        &self,
        client: &Client,
        mut lines: mpsc::Receiver<io::Result<Vec<u8>>>,
        name: &str,
    ) -> Result<(), Failure> {
        let mut under_way: VecDeque<(u64, Receipt)> = VecDeque::new();
        let (mut number, mut open, mut failed) = (0, true, None);
        // What came before a line that is wrong is on its way, and is answered first.
        while open || !under_way.is_empty() {
            tokio::select! {
                line = lines.recv(), if open && under_way.len() < UNDER_WAY => {
                    let Some(line) = line else {
                        open = false;
                        continue;
                    };
                    number += 1;
                    let at = |what: &dyn std::fmt::Display| format!("line {number} of {name}: {what}");
                    let message = line
                        .map_err(|error| Failure::Failed(at(&error)))
                        .and_then(|line| self.message(line).map_err(|what| Failure::Misused(at(&what))));
                    let message = match message {
                        Ok(message) => message,
                        Err(failure) => {
                            (failed, open) = (Some(failure), false);
                            continue;
                        }
                    };
                    match client.enqueue(&self.channel, message).await {
                        Ok(receipt) => under_way.push_back((number, receipt)),
                        Err(error) => return self.sent(client, Err(error), Some(number)).await,
                    }
                }
                sent = async { (&mut under_way.front_mut().expect("one is under way").1).await },
                    if !under_way.is_empty() =>
                {
                    let (number, _) = under_way.pop_front().expect("one was under way");
                    self.sent(client, sent.map(drop), Some(number)).await?;
                }
                why = client.closed(), if under_way.is_empty() => return Err(remote::lost(why)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What is to be said of a message's fate.
    async fn sent(
        &self,
        client: &Client,
        sent: Result<(), RequestError>,
        line: Option<u64>,
    ) -> Result<(), Failure> {
        let Err(error) = sent else { return Ok(()) };
        let what = match error {
            // Why it was lost says more than that it was.
            RequestError::Lost | RequestError::Closed { .. } => match client.closed().await {
                Some(why) => why.to_string(),
                None => error.to_string(),
            },
            error => error.to_string(),
        };
        let line = line.map_or_else(String::new, |line| format!(" line {line}"));
        let channel = self.channel.escape_debug();
        Err(Failure::Failed(format!("cannot publish{line} into {channel}: {what}")))
    }

    /// The message of a payload, if it is what the format says.
    fn message(&self, payload: Vec<u8>) -> Result<Message, String> {
        // A payload that the shell has taken the quotes from is found out here, not by every subscriber.
        let wrong = |error: serde_json::Error| format!("the payload is no JSON: {error}");
        let mut message = match self.format {
            Format::Raw => Message::raw(payload),
            Format::Json => {
                let _: IgnoredAny = serde_json::from_slice(&payload).map_err(wrong)?;
                Message::encoded(payload, Payload::Json)
            }
            Format::Msgpack => {
                let value: serde_json::Value = serde_json::from_slice(&payload).map_err(wrong)?;
                Message::msgpack(&value).map_err(|error| error.to_string())?
            }
        };
        if let Some(event) = &self.event {
            message = message.event(event);
        }
        if let Some(key) = &self.key {
            message = message.key(key);
        }
        Ok(self.tags.iter().fold(message, |message, (name, value)| message.tag(name, value)))
    }
}

const STDIN: &str = "standard input";

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::Failed(format!("cannot open {}: {error}", path.display())))
}

/// All of an input.
fn whole(input: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::new();
    input
        .take(MAX_PAYLOAD as u64 + 1)
        .read_to_end(&mut payload)
        .map_err(|error| Failure::Failed(format!("cannot read {name}: {error}")))?;
    if payload.len() > MAX_PAYLOAD {
        return Err(Failure::Misused(format!("{name} is over {MAX_PAYLOAD} bytes: no server takes that")));
    }
    Ok(payload)
}

/// The lines of an input, without their ends, as they come; read by a thread, since a terminal or a pipe may keep it waiting
/// for ever.
fn lines(input: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (tell, lines) = mpsc::channel(64);
    let read = move || {
        let mut input = io::BufReader::new(input);
        loop {
            let mut line = Vec::new();
            let read = input.by_ref().take(MAX_PAYLOAD as u64 + 1).read_until(b'\n', &mut line);
            let line = match read {
                Ok(0) => return,
                Ok(_) if line.len() > MAX_PAYLOAD => {
                    Err(io::Error::other(format!("it is over {MAX_PAYLOAD} bytes: no server takes that")))
                }
                Ok(_) => {
                    let line = line.strip_suffix(b"\n").unwrap_or(&line);
                    Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
                }
                Err(error) => Err(error),
            };
            let failed = line.is_err();
            if tell.blocking_send(line).is_err() || failed {
                return;
            }
        }
    };
    // Without the thread there is no line, and the closed channel would pass for an empty input.
    thread::Builder::new().name("lines".to_owned()).spawn(read).expect("the system has room for one thread");
    lines
}
