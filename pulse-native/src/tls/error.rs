//! What can be wrong with a certificate and its key, in sentences that name the file and say what is right.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a certificate and its key cannot be used.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read.
    Unreadable {
        /// The setting that names it: `tls.cert` or `tls.key`.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it has to.
    Wrong {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is right.
        what: String,
    },
    /// The key is another one than the certificate was made for.
    KeyDoesNotFit {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { setting, path, source } => {
                let path = path.display();
                match source.kind() {
                    io::ErrorKind::NotFound => write!(
                        f,
                        "{setting}: there is no file {path}; name a PEM file, or make one for trying out with \
                         `pulse dev-cert`"
                    ),
                    io::ErrorKind::PermissionDenied => {
                        write!(f, "{setting}: this user may not read {path}; let it, or run as its owner")
                    }
                    _ => write!(f, "{setting}: {path} cannot be read: {source}"),
                }
            }
            Self::Wrong { setting, path, what } => write!(f, "{setting}: {}: {what}", path.display()),
            Self::KeyDoesNotFit { cert, key } => write!(
                f,
                "tls.key: {} is not the key of the first certificate in {}; name the two files that were made together, \
                 the server's own certificate first in its file",
                key.display(),
                cert.display()
            ),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Wrong { .. } | Self::KeyDoesNotFit { .. } => None,
        }
    }
}
