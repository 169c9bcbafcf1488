#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The Pulse realtime engine without I/O.

extern crate alloc;

mod effect;
mod id;
mod link;
mod stats;
mod time;
pub mod wire;

pub use effect::{Answer, Effect, Request};
pub use id::{ConnId, Ticket};
pub use link::{Batch, Dialect, Framing, Kind, Link};
pub use stats::Stats;
pub use time::{Now, Time};
