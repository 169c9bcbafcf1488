//! What the load programs share: a server in a process of its own, its costs as the kernel counts them, clients
//! that are no more than a socket, and the loads that these make.

mod blast;
mod client;
mod comeback;
mod cores;
mod durable;
mod fan_out;
mod flood;
mod histogram;
mod ledger;
mod presence;
mod process;
mod server;
mod storm;
mod stream;

pub use blast::{Blast, blast};
pub use client::{Client, Dialect};
pub use comeback::{Comeback, ComebackResult};
pub use cores::Cores;
pub use durable::{Acked, AckedResult};
pub use fan_out::{FanOut, FanOutResult};
pub use flood::{Flood, FloodResult};
pub use histogram::Histogram;
pub use presence::{Turnover, TurnoverResult};
pub use process::Process;
pub use server::Server;
pub use storm::{Crowd, Storm, StormResult};
pub use stream::Target;
