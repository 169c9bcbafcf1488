//! The Pulse realtime server: WebSocket, HTTP, metrics and configuration around [`pulse_core`].
//!
//! This crate moves bytes and decides nothing about the protocol; the binary `pulse` is a thin shell over it.
//!
//! Two features, both on by default: `server`, and `client` for the module [`client`] alone, which pulls in nothing of
//! the server.

#[cfg(feature = "server")]
pub mod address;
#[cfg(feature = "server")]
mod api;
#[cfg(feature = "client")]
pub mod client;
mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod drain;
#[cfg(feature = "server")]
pub mod engine;
#[cfg(feature = "server")]
pub mod handshake;
#[cfg(feature = "server")]
mod http;
#[cfg(feature = "server")]
mod keeper;
#[cfg(feature = "server")]
pub mod log;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod notify;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
mod shard;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
mod sys;
#[cfg(feature = "server")]
pub mod tls;
#[cfg(feature = "server")]
mod unix;
pub mod ws;

#[cfg(feature = "server")]
pub use http::Seats;
#[cfg(feature = "server")]
pub use sys::raise_open_files;
