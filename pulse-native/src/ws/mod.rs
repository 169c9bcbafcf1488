//! WebSocket frames on the wire (RFC 6455), without I/O.
//!
//! A [`Reader`] turns whatever bytes a read brought into events, checks every rule of the RFC on the way and keeps
//! only what is incomplete; the functions beside it write frames. It sends nothing itself: answering pings, echoing a
//! close and closing after a [`Violation`] are the caller's business, and so is what a message means.
//!
//! ```
//! use core::ops::ControlFlow;
//! use pulse_core::Kind;
//! use pulse_native::ws::{Event, Opcode, Reader, masked};
//!
//! let mut bytes = Vec::new();
//! masked(&mut bytes, Opcode::Text, b"hello", [1, 2, 3, 4]);
//! let mut reader = Reader::new();
//! let mut heard = Vec::new();
//! for piece in bytes.chunks_mut(4) {
//!     reader
//!         .feed(piece, 65_536, |event| {
//!             if let Event::Message(Kind::Text, text) = event {
//!                 heard.push(text.to_vec());
//!             }
//!             ControlFlow::Continue(())
//!         })
//!         .unwrap();
//! }
//! assert_eq!(heard, [b"hello"]);
//! assert!(reader.is_idle());
//! ```

mod accept;
mod close;
mod header;
mod mask;
mod message;
#[cfg(test)]
mod oracle;
mod reader;
#[cfg(test)]
mod tests;
mod violation;

pub use accept::accept_key;
pub use close::{ClosePayload, close_payload};
pub use header::{Header, Opcode, control, header, masked};
pub use reader::{Event, Reader};
pub use violation::Violation;
