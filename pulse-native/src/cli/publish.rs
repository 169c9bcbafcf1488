//! `pulse pub`: publishes one message and waits until the server has taken it.

use std::{
    ffi::OsString,
    io::{self, Read as _},
    os::unix::ffi::OsStringExt as _,
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use pulse_core::wire;
use serde::de::IgnoredAny;

use super::remote::{self, Failure, Remote};

/// Bytes of the largest payload that a server can be configured to take.
const MAX_PAYLOAD: u64 = 64 << 20;

pub(crate) const AFTER: &str = "\
Examples:
  pulse pub chat:lobby 'hello, world'
  pulse pub --event typing chat:lobby ada
  pulse pub --format json sensors '{\"celsius\": 21.5}'
  pulse pub images - < cat.png                        the payload is standard input
  pulse pub --url ws://10.0.0.5/ws news 'it rains'    another server

Exit codes:
  0  the server has taken the message
  1  the server cannot be reached, refuses, or does not answer
  2  the command line is wrong";

/// What to publish, and where.
#[derive(Args, Debug)]
pub(crate) struct Publish {
    /// Channel to publish into.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// The message; `-` reads it from standard input.
    #[arg(value_name = "PAYLOAD", allow_negative_numbers = true)]
    payload: OsString,
    /// Name of the event, for the application.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
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
    /// One MessagePack value.
    Msgpack,
}

impl Publish {
    pub(crate) fn run(self) -> ExitCode {
        remote::run(self.send())
    }

    async fn send(self) -> Result<(), Failure> {
        let payload = if self.payload == "-" { from_stdin()? } else { self.payload.into_vec() };
        if self.format == Format::Json {
            // A payload that the shell has taken the quotes from is found out here, not by every subscriber.
            let wrong = |error| Failure::Misused(format!("the payload is no JSON: {error}"));
            let _: IgnoredAny = serde_json::from_slice(&payload).map_err(wrong)?;
        }
        let format = match self.format {
            Format::Raw => wire::Format::Raw,
            Format::Json => wire::Format::Json,
            Format::Msgpack => wire::Format::MsgPack,
        };
        let mut client = self.remote.connect().await?;
        let sent = client.publish(&self.channel, &payload, format, self.event.as_deref()).await;
        client.close().await;
        let channel = self.channel.escape_debug();
        sent.map_err(|error| Failure::Failed(format!("cannot publish into {channel}: {error}")))
    }
}

fn from_stdin() -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::new();
    io::stdin()
        .take(MAX_PAYLOAD + 1)
        .read_to_end(&mut payload)
        .map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
    if payload.len() as u64 > MAX_PAYLOAD {
        return Err(Failure::Misused(format!(
            "standard input is over {MAX_PAYLOAD} bytes: no server takes that"
        )));
    }
    Ok(payload)
}
