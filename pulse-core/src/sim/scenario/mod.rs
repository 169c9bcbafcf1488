//! Behaviours that every server has to show, as functions over a [`Stage`]: the simulation is one, a server behind real
//! sockets can be another.
//!
//! They assume nothing about which part of a server a client is connected to or a channel is at home in, and so nothing
//! about the order of answers that concern different channels.

mod ends;
mod presence;
mod publishing;
mod requests;
mod script;
mod stage;

use alloc::vec::Vec;

use crate::{Config, Dialect, Heartbeat, Kind, Limits, Namespace, Rule, Rules, SlowConsumer};

use super::{ClientNo, OwnedFrame};

pub use stage::SimStage;

/// Where scenarios are played: clients of one server that runs with [`config`].
///
/// A client that reads answers the server's pings by itself, frames and the transport's own, and they are not among what
/// [`next`](Self::next) returns.
pub trait Stage {
    /// Opens the transport for a client, which says nothing yet.
    fn open(&mut self, dialect: Dialect) -> ClientNo;
    /// What a client speaks.
    fn dialect(&self, client: ClientNo) -> Dialect;
    /// A client sends one transport message, whatever is in it.
    fn send(&mut self, client: ClientNo, kind: Kind, message: &[u8]);
    /// Waits for the next thing that a client gets. Panics with a sentence when the stage has lost its patience, which has
    /// to last for at least ten seconds.
    fn next(&mut self, client: ClientNo) -> Got;
    /// A client takes nothing more from its socket, and so answers no ping.
    fn stop_reading(&mut self, client: ClientNo);
    /// It does again.
    fn resume_reading(&mut self, client: ClientNo);
    /// A client ends its connection.
    fn hang_up(&mut self, client: ClientNo);
    /// Lets at least so many milliseconds pass.
    fn pass(&mut self, ms: u64);
}

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// A frame.
    Frame(OwnedFrame),
    /// The end of the connection, with the server's close code if it gave one.
    End(Option<u16>),
}

/// What a server has to be made with. It may have several routers.
#[must_use]
pub fn config() -> Config {
    let plain = Rules { presence_grace_ms: GRACE_MS as u32, ..Rules::default() };
    let rules = [
        ("mute", Rules { publish: Rule::Nobody, ..plain }),
        ("closed", Rules { subscribe: Rule::Nobody, ..plain }),
        ("hidden", Rules { presence: Rule::Nobody, ..plain }),
        ("drop", Rules { slow_consumer: SlowConsumer::DropOldest, ..plain }),
        ("latest", Rules { slow_consumer: SlowConsumer::LatestPerKey, ..plain }),
    ];
    Config {
        limits: Limits { queue_bytes: 256 * 1024, max_presence_size: 1_024, ..Limits::default() },
        heartbeat: Heartbeat {
            interval_ms: TIMEOUT_MS as u32 / 2,
            timeout_ms: TIMEOUT_MS as u32,
            connect_ms: CONNECT_MS as u32,
        },
        rules: plain,
        namespaces: rules.map(|(name, rules)| Namespace { name: name.into(), rules }).into(),
        ..Config::default()
    }
}

/// Milliseconds of the settings in [`config`].
const GRACE_MS: u64 = 500;
const TIMEOUT_MS: u64 = 10_000;
const CONNECT_MS: u64 = 2_000;

/// One behaviour.
pub type Scenario = fn(&mut dyn Stage);

/// All behaviours by name.
#[must_use]
pub fn scenarios() -> Vec<(&'static str, Scenario)> {
    [requests::ALL, publishing::ALL, presence::ALL, ends::ALL].concat()
}

/// A table of scenarios under their own names.
macro_rules! list {
    ($($name:ident)*) => {
        pub(super) const ALL: &[(&str, super::Scenario)] = &[$((stringify!($name), $name)),*];
    };
}
use list;
