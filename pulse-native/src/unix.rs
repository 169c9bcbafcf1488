//! The Unix socket that a server may listen on instead of a port: what may be in its place before, who may open it, and that
//! its file goes when the server does.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

use crate::sys;

/// What `server.host` begins with where a path follows.
pub(crate) const PREFIX: &str = "unix:";

/// Bytes of a path: what the kernel takes (`unix`(7)), without the zero at its end.
pub(crate) const MAX_PATH: usize = 107;

/// The owner and the group may connect, which takes the right to write, and nobody else.
const MODE: u32 = 0o660;

/// The file of a socket that is listened on. It is removed with this value, unless another one has come in its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    is: (u64, u64),
}

/// Listens at a path. A socket that nobody listens on any more makes room; whatever else is there stays.
///
/// # Errors
/// What is wrong with the place, and what would be right.
pub(crate) fn listen(path: &Path) -> io::Result<(OwnedFd, SocketFile)> {
    if !path.is_absolute() {
        return Err(refused(ErrorKind::InvalidInput, "the path of a Unix socket has to begin with /"));
    }
    let name = SocketAddrUnix::new(path).map_err(|_| {
        refused(ErrorKind::InvalidInput, format!("the path of a Unix socket has at most {MAX_PATH} bytes"))
    })?;
    let folder = path.parent().unwrap_or(path);
    // Until the place is taken: of two servers that start at once, one would remove the socket of the other.
    let _lock = lock(folder)?;
    make_room(path, &name)?;
    let failed = |error: io::Error| {
        let text = format!("no socket can be made in {}: {error}; {ELSEWHERE}", folder.display());
        refused(error.kind(), text)
    };
    let socket = sys::bind_unix(&name).map_err(|error| failed(error.into()))?;
    let file = SocketFile::of(path).map_err(failed)?;
    // Nobody can connect before the mode is right, whatever the umask is: the socket does not listen yet.
    fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
    sys::listen_unix(&socket).map_err(|error| failed(error.into()))?;
    Ok((socket, file))
}

const ELSEWHERE: &str = "set server.host to another path";

fn refused(kind: ErrorKind, text: impl Into<String>) -> io::Error {
    io::Error::new(kind, text.into())
}

/// Holds off other servers that want a place in this folder, until the result is dropped.
fn lock(folder: &Path) -> io::Result<File> {
    let failed = |error: io::Error| {
        let shown = folder.display();
        let text = match error.kind() {
            ErrorKind::NotFound => format!("the folder {shown} does not exist; make it, or {ELSEWHERE}"),
            ErrorKind::NotADirectory => format!("{shown} is no folder; {ELSEWHERE}"),
            _ => format!("the folder {shown} cannot be looked into: {error}; {ELSEWHERE}"),
        };
        refused(error.kind(), text)
    };
    if !fs::metadata(folder).map_err(failed)?.is_dir() {
        return Err(failed(ErrorKind::NotADirectory.into()));
    }
    let lock = File::open(folder).map_err(failed)?;
    lock.lock().map_err(failed)?;
    Ok(lock)
}

/// Removes what an earlier server has left.
fn make_room(path: &Path, name: &SocketAddrUnix) -> io::Result<()> {
    let is_socket = match fs::symlink_metadata(path) {
        Ok(there) => there.file_type().is_socket(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error.kind(), format!("it cannot be looked at: {error}"))),
    };
    if !is_socket {
        let text = format!("a file is there that is no socket; remove it if nobody needs it, or {ELSEWHERE}");
        return Err(refused(ErrorKind::AlreadyExists, text));
    }
    match sys::knock(name) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(|error| {
            let text = format!("the socket of a server that has ended cannot be removed: {error}");
            refused(error.kind(), text)
        }),
        // As many wait as may wait, or it is a socket of datagrams: somebody has it.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
            let text = format!("another server is listening on this socket; stop it, or {ELSEWHERE}");
            Err(refused(ErrorKind::AddrInUse, text))
        }
        Err(error) => {
            let text = format!(
                "a socket is there, and whether a server listens on it cannot be found out: {error}; remove it if it \
                 is of no use, or {ELSEWHERE}"
            );
            Err(refused(error.kind(), text))
        }
    }
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), is: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.is) {
            // Whoever comes next replaces what could not be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What tells a file from one that has come in its place: device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()))
}
