//! What the load programs share: a server in a process of its own, its costs as the kernel counts them, and clients
//! that are no more than a socket.

mod client;
mod process;
mod server;

pub use client::{Client, Dialect};
pub use process::Process;
pub use server::Server;
