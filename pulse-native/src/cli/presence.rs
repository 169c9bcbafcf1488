//! `pulse presence`: prints who is in a channel.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::Args;
use pulse_native::client::{Member, Total};
use serde_json::{Value, json};

use super::{
    line::visible,
    print,
    remote::{self, Failure, Remote},
};

pub(crate) const AFTER: &str = "\
Examples:
  pulse presence chat:lobby                 print who is there
  pulse presence --count chat:lobby         print how many
  pulse presence chat:lobby | jq .data      in a pipe, every line is a JSON object

On a terminal a line is the connection, the user if the server knows one, and what the member shows of itself. In a pipe or
file it is a JSON object with `client`, and where they are there `user` and `data`. With --count it is `clients` and `users`.

Exit codes:
  0  the server has answered, though perhaps with nobody
  1  the server cannot be reached, refuses, or does not answer
  2  the command line is wrong";

/// Whose members to print.
#[derive(Args, Debug)]
pub(crate) struct Presence {
    /// Channel to ask about.
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// Only how many there are.
    #[arg(long)]
    count: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Presence {
    pub(crate) fn run(self) -> ExitCode {
        let mut text = String::new();
        let terminal = io::stdout().is_terminal();
        let asked = remote::run(async {
            text = self.ask(terminal).await?;
            Ok(())
        });
        if asked == ExitCode::SUCCESS { print(&text) } else { asked }
    }

    async fn ask(&self, terminal: bool) -> Result<String, Failure> {
        let client = self.remote.connect().await?;
        let text = if self.count {
            client.count_members(&self.channel).await.map(|total| counted(total, terminal))
        } else {
            client.members(&self.channel).await.map(|members| listed(&members, terminal))
        };
        client.close().await;
        let channel = self.channel.escape_debug();
        text.map_err(|error| Failure::Failed(format!("cannot ask who is in {channel}: {error}")))
    }
}

fn counted(Total { clients, users }: Total, terminal: bool) -> String {
    if terminal {
        format!("{clients} connections of {users} users\n")
    } else {
        format!("{}\n", json!({"clients": clients, "users": users}))
    }
}

fn listed(members: &[Member], terminal: bool) -> String {
    let mut text = String::new();
    if terminal && members.is_empty() {
        text.push_str("nobody is there\n");
    }
    for member in members {
        let data = member.data.as_deref().map(shown);
        if terminal {
            text += &visible(&member.client);
            if let Some(user) = &member.user {
                write!(text, "  {}", visible(user)).expect("a string takes everything");
            }
            if let Some(data) = data {
                write!(text, "  {}", visible(&data.to_string())).expect("a string takes everything");
            }
        } else {
            let mut line = json!({"client": member.client});
            if let Some(user) = &member.user {
                line["user"] = json!(user);
            }
            if let Some(data) = data {
                line["data"] = data;
            }
            text += &line.to_string();
        }
        text.push('\n');
    }
    text
}

/// What a member shows, as JSON; what JSON cannot say is base64 under a name of its own.
fn shown(data: &[u8]) -> Value {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    rmp_serde::from_slice(data).unwrap_or_else(|_| json!({"base64": BASE64_STANDARD.encode(data)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<Member> {
        let data = rmp_serde::to_vec_named(&json!({"name": "Ada\u{1b}[2J"})).expect("this is a value");
        vec![
            Member { client: "a1".to_owned(), user: Some("ada".to_owned()), data: Some(data) },
            Member { client: "b2".to_owned(), user: None, data: None },
        ]
    }

    #[test]
    fn people_get_a_line_a_member_and_nothing_that_a_terminal_obeys() {
        assert_eq!(listed(&members(), true), "a1  ada  {\"name\":\"Ada\\u001b[2J\"}\nb2\n");
        assert_eq!(listed(&[], true), "nobody is there\n");
        assert_eq!(counted(Total { clients: 3, users: 2 }, true), "3 connections of 2 users\n");
    }

    #[test]
    fn programs_get_an_object_a_line() {
        let text = listed(&members(), false);
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        assert_eq!(
            lines,
            [
                json!({"client": "a1", "user": "ada", "data": {"name": "Ada\u{1b}[2J"}}),
                json!({"client": "b2"})
            ]
        );
        assert_eq!(listed(&[], false), "");
        assert_eq!(counted(Total { clients: 3, users: 2 }, false), "{\"clients\":3,\"users\":2}\n");
    }

    #[test]
    fn what_json_cannot_say_is_base64() {
        assert_eq!(shown(b"\xc4\x01\xff"), json!({"base64": "xAH/"}));
    }
}
