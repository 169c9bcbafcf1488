//! Telling the service manager how far the server is: the protocol of `sd_notify`(3), which is one datagram a message.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::sys;

/// The way to the service manager, if there is one that wants to know.
#[derive(Debug)]
pub struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// Reads `NOTIFY_SOCKET`, which systemd sets for units of `Type=notify`: a path, or an abstract name after an `@`.
    ///
    /// # Errors
    /// If the variable is there and names no socket.
    pub fn from_env() -> io::Result<Self> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self(None));
        };
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        Ok(Self(Some((UnixDatagram::unbound()?, address))))
    }

    /// It serves.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// It was asked to read its settings again; [`ready`](Self::ready) says when it has.
    pub fn reloading(&self) {
        // The time shows the service manager that the signal was its last one, not one before.
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", sys::monotonic_us()));
    }

    /// It takes leave of its clients.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.0
            && let Err(error) = socket.send_to_addr(state.as_bytes(), address)
        {
            tracing::warn!(%error, "the service manager (NOTIFY_SOCKET) could not be told {state}");
        }
    }
}
