//! The Pulse realtime server: WebSocket, HTTP, metrics and configuration around [`pulse_core`].
//!
//! This crate moves bytes and decides nothing about the protocol; the binary `pulse` is a thin shell over it.

pub mod client;
pub mod config;
pub mod engine;
pub mod handshake;
pub mod log;
pub mod metrics;
pub mod ws;
