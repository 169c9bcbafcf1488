//! The Pulse realtime server: WebSocket, HTTP, metrics and configuration around [`pulse_core`].
//!
//! This crate moves bytes and decides nothing about the protocol; the binary `pulse` is a thin shell over it.

pub mod address;
mod api;
pub mod client;
mod clock;
pub mod config;
pub mod drain;
pub mod engine;
pub mod handshake;
mod http;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod server;
mod shard;
mod sys;
pub mod tls;
mod unix;
pub mod ws;

pub use http::Seats;
pub use sys::raise_open_files;
