#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The Pulse realtime engine without I/O.

extern crate alloc;

mod id;
mod link;
mod time;
pub mod wire;

pub use id::{ConnId, Ticket};
pub use link::{Batch, Dialect, Framing, Kind, Link};
pub use time::{Now, Time};
