//! What the load programs share: a server in a process of its own, its costs as the kernel counts them, and clients
//! that are no more than a socket.

mod blast;
mod client;
mod fan_out;
mod histogram;
mod process;
mod server;

pub use blast::{Blast, blast};
pub use client::{Client, Dialect};
pub use fan_out::{FanOut, FanOutResult};
pub use histogram::Histogram;
pub use process::Process;
pub use server::Server;
