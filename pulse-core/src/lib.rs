#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The Pulse realtime engine without I/O.

extern crate alloc;

mod bytes;
mod channel;
pub mod client;
mod effect;
mod grant;
mod history;
mod id;
mod limits;
mod link;
mod peer;
mod presence;
mod queue;
mod random;
mod repeats;
mod router;
#[cfg(feature = "sim")]
pub mod sim;
mod stats;
mod store;
mod time;
pub mod wire;

pub use client::{Client, ClientConfig, ClientEffect, ClientStats};
pub use effect::{Answer, Effect, Request};
pub use grant::{Namespace, Rule, Rules, SlowConsumer};
pub use id::{ConnId, Ticket};
pub use limits::{Heartbeat, Limits};
pub use link::{Batch, Dialect, Framing, Kind, Link};
pub use peer::{BadParcel, HistoryQuery, PeerId, PeerMessage, PresenceRequest, Recall, Recalled, Shards};
pub use random::Seed;
pub use router::{Command, Config, ImportError, Outcome, Refused, Restored, Router, Target, is_client_name};
pub use stats::Stats;
pub use store::{Record, Stored};
pub use time::{Now, Time};
