//! The operating system as the shards use it: non-blocking sockets, epoll, the limit of open files.
//!
//! Every raw system call of the server is made here, through rustix; what its outcome means is the caller's business.
//! This is the only module that may hold `unsafe`; the one block there is registers the epoll with tokio.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use rustix::event::{Timespec, epoll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::unix::AsyncFd;

use crate::address::Peer;

#[cfg(not(target_os = "linux"))]
compile_error!("the Pulse server runs on Linux only so far: its shards wait with epoll");

pub(crate) use rustix::event::epoll::Event;

/// Connections that the kernel completes before they are accepted; `net.core.somaxconn` may cut it. 4,096 clients that
/// come at the same moment find room.
const BACKLOG: i32 = 4096;

/// A non-blocking listener whose accepted sockets send at once (they inherit `TCP_NODELAY`: one call less for each).
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(addr)?;
    // A second `listen` replaces the backlog of 128 that the standard library asks for.
    net::listen(&listener, BACKLOG)?;
    net::sockopt::set_tcp_nodelay(&listener, true)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A non-blocking Unix socket of this name that does not listen yet.
pub(crate) fn bind_unix(name: &SocketAddrUnix) -> Result<OwnedFd, Errno> {
    let socket = unix_socket()?;
    net::bind(&socket, name)?;
    Ok(socket)
}

/// Makes a socket of [`bind_unix`] a listener.
pub(crate) fn listen_unix(socket: impl AsFd) -> Result<(), Errno> {
    net::listen(socket, BACKLOG)
}

/// Connects to a Unix socket without waiting; the connection is of no use but to show that somebody listens.
pub(crate) fn knock(name: &SocketAddrUnix) -> Result<(), Errno> {
    net::connect(unix_socket()?, name)
}

fn unix_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

pub(crate) fn accept(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| net::accept_with(&listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC))
}

/// Whether it is a Unix socket; otherwise it is one of TCP.
pub(crate) fn is_unix(fd: impl AsFd) -> bool {
    net::sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
}

/// The other end.
pub(crate) fn peer(fd: impl AsFd) -> Option<Peer> {
    if is_unix(&fd) {
        return Some(Peer::Unix);
    }
    let addr = SocketAddr::try_from(net::getpeername(fd).ok()??).ok()?;
    Some(Peer::Ip(addr.ip().to_canonical()))
}

/// Reads what is there; 0 is the end of the stream.
pub(crate) fn recv(fd: impl AsFd, buf: &mut [u8]) -> Result<usize, Errno> {
    retry_on_intr(|| net::recv(&fd, &mut *buf, RecvFlags::DONTWAIT)).map(|(len, _)| len)
}

/// Writes what the socket takes now. `WOULDBLOCK` is 0 bytes: the caller keeps the rest either way.
pub(crate) fn send(fd: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    match retry_on_intr(|| net::send(&fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)) {
        Err(Errno::WOULDBLOCK) => Ok(0),
        other => other,
    }
}

/// Sends a FIN after everything written. An error means that the connection is gone already.
pub(crate) fn finish(fd: impl AsFd) {
    let _ = net::shutdown(fd, net::Shutdown::Write);
}

/// Whether accepting failed for want of descriptors or memory, which waiting may cure.
pub(crate) fn is_exhausted(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

/// Raises the soft limit of open files to the hard one; returns what is in force now.
///
/// # Errors
/// Whatever the kernel says to `setrlimit`; the old limit is in force then.
pub fn raise_open_files() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    }
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Microseconds of the system's monotonic clock, which all programs read alike.
pub(crate) fn monotonic_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

/// What a socket is watched for. An error or a hang-up is told in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, self.read);
        flags.set(epoll::EventFlags::OUT, self.write);
        flags
    }
}

/// What an event says about a socket, and which one: the key it was added with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) key: u64,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Both directions are over, by an error or by the end of both.
    pub(crate) dead: bool,
}

impl From<Event> for Ready {
    fn from(event: Event) -> Self {
        let Event { flags, data } = event;
        Self {
            key: data.u64(),
            read: flags.contains(epoll::EventFlags::IN),
            write: flags.contains(epoll::EventFlags::OUT),
            dead: flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP),
        }
    }
}

/// A level-triggered epoll: what was not read to the end is reported again.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    pub(crate) fn add(&self, fd: impl AsFd, key: u64, interest: Interest) -> Result<(), Errno> {
        epoll::add(&self.0, fd, epoll::EventData::new_u64(key), interest.flags())
    }

    /// Adds a listener that several shards watch; one connection wakes one of them where the kernel can tell.
    pub(crate) fn add_shared(&self, listener: impl AsFd, key: u64) -> Result<(), Errno> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        epoll::add(&self.0, listener, epoll::EventData::new_u64(key), flags)
    }

    pub(crate) fn modify(&self, fd: impl AsFd, key: u64, interest: Interest) -> Result<(), Errno> {
        epoll::modify(&self.0, fd, epoll::EventData::new_u64(key), interest.flags())
    }

    pub(crate) fn delete(&self, fd: impl AsFd) -> Result<(), Errno> {
        epoll::delete(&self.0, fd)
    }

    /// Replaces `events` with what is ready now, as many as it has capacity for. Never waits.
    pub(crate) fn poll(&self, events: &mut Vec<Event>) -> Result<(), Errno> {
        const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        events.clear();
        retry_on_intr(|| epoll::wait(&self.0, rustix::buffer::spare_capacity(events), Some(&NOW)))?;
        Ok(())
    }
}

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Has tokio tell when the epoll has something. Needs a runtime around it.
pub(crate) fn register(epoll: Rc<Epoll>) -> io::Result<AsyncFd<Rc<Epoll>>> {
    // SAFETY: the epoll owns its descriptor, never replaces it, and lives at least as long as this handle on it, so
    // `as_raw_fd` returns the same open descriptor until the `AsyncFd` is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(epoll, tokio::io::Interest::READABLE) };
    registered.map_err(|error| error.into_parts().1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn an_accepted_socket_sends_at_once_and_never_blocks() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add_shared(&listener, 7).unwrap();
        let mut events = Vec::with_capacity(4);
        while events.is_empty() {
            epoll.poll(&mut events).unwrap();
        }
        assert_eq!(Ready::from(events[0]), Ready { key: 7, read: true, write: false, dead: false });
        let socket = accept(&listener).unwrap();
        assert!(net::sockopt::tcp_nodelay(&socket).unwrap());
        assert_eq!(recv(&socket, &mut [0; 8]), Err(Errno::WOULDBLOCK));
        drop(client);
    }
}
