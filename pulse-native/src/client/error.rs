//! What can go wrong for a client, each with what it means and, where there is something, what to do.

use std::{fmt, io, sync::Arc, time::Duration};

use pulse_core::{
    client::{Failure, PresenceError, SubscribeError},
    wire::{CloseCode, ErrorCode},
};

use super::{RootsError, UrlError};

/// Why no session was opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is none that this client can use.
    Url(UrlError),
    /// What [`Options::roots`](super::Options::roots) names cannot be used.
    Roots(RootsError),
    /// Nothing answers there.
    Unreachable {
        /// Where.
        url: String,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// No TLS session comes about, for example since the certificate is not one to trust.
    Insecure {
        /// Where.
        url: String,
        /// What TLS says.
        source: Arc<io::Error>,
    },
    /// The server does not make a WebSocket of it.
    Refused {
        /// Where.
        url: String,
        /// The status of the response.
        status: u16,
        /// What the response says, cut to a readable length.
        message: String,
    },
    /// What answers is no Pulse server.
    NotPulse {
        /// Where.
        url: String,
        /// What gave it away.
        what: &'static str,
    },
    /// The server answers `connect` with an error.
    NotOpened {
        /// Where.
        url: String,
        /// What it says.
        error: ServerError,
    },
    /// The connection ended before the session was open.
    Ended {
        /// Where.
        url: String,
        /// How.
        end: Disconnected,
    },
    /// It took too long.
    TimedOut {
        /// Where.
        url: String,
        /// How long that is.
        after: Duration,
    },
}

/// Why a request was not carried out, as far as the client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// A channel's name is 1 to 256 bytes of printable ASCII and does not start with `$`.
    InvalidChannel,
    /// This client has a [`Subscription`](super::Subscription) to the channel.
    AlreadySubscribed,
    /// The subscription is over.
    NotSubscribed,
    /// As many subscriptions, or requests that wait for an answer, as [`Options`](super::Options) allow.
    TooMany {
        /// How many that is.
        max: u32,
    },
    /// The message alone is larger than what may wait, [`Options::outbox_bytes`](super::Options::outbox_bytes).
    TooLarge {
        /// Bytes that may wait.
        limit_bytes: usize,
    },
    /// The server says no.
    Refused(ServerError),
    /// There was no answer in time, so nobody knows whether it was done.
    TimedOut,
    /// The connection was lost before the answer came, so nobody knows whether it was done.
    Lost,
    /// The client is closed.
    Closed {
        /// Whether it was sent, so that it may have been done.
        sent: bool,
    },
    /// The application has asked for something else since.
    Superseded,
}

/// An `error` frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// From the code table.
    pub code: ErrorCode,
    /// What was wrong, and what would be right.
    pub message: String,
    /// Whether the same request may succeed later.
    pub temporary: bool,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disconnected {
    /// The server ended it, by a `disconnect` frame or the transport's close alone.
    ByServer {
        /// From the code table, or one of the transport's own. 1005 if it gave none.
        code: CloseCode,
        /// For people; may be empty.
        reason: String,
    },
    /// The transport broke.
    Lost(io::ErrorKind),
    /// The server was silent for longer than it may be, and when it was asked.
    Silent,
    /// The server sent what this protocol does not have.
    Protocol(&'static str),
}

impl From<io::Error> for Disconnected {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.kind())
    }
}

impl From<UrlError> for ConnectError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Roots(error) => error.fmt(f),
            Self::Insecure { url, source } => {
                write!(f, "no TLS with {url}: {source}")?;
                match source.get_ref().and_then(|error| error.downcast_ref()) {
                    Some(rustls::Error::InvalidCertificate(_)) => f.write_str(
                        "; a certificate of one's own is trusted by naming its file, as in --ca cert.pem",
                    ),
                    Some(rustls::Error::InvalidMessage(_)) => {
                        f.write_str("; what answers speaks no TLS: is it a server for ws://?")
                    }
                    _ => Ok(()),
                }
            }
            Self::Unreachable { url, source } if source.kind() == io::ErrorKind::ConnectionRefused => {
                write!(
                    f,
                    "cannot reach {url}: connection refused; is the server running? start it with `pulse`"
                )
            }
            Self::Unreachable { url, source } => write!(f, "cannot reach {url}: {source}"),
            Self::Refused { url, status, message } => {
                write!(f, "{url} refuses with status {status}")?;
                if !message.is_empty() {
                    write!(f, ": {message}")?;
                }
                if *status == 404 {
                    f.write_str("; the usual path is /ws")?;
                }
                Ok(())
            }
            Self::NotPulse { url, what } => write!(f, "{url} is no Pulse server: {what}"),
            Self::NotOpened { url, error } => write!(f, "{url} opens no session: {error}"),
            Self::Ended { url, end } => write!(f, "{url} opens no session: {end}"),
            Self::TimedOut { url, after } => {
                write!(f, "cannot reach {url}: no session within {} ms", after.as_millis())
            }
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } | Self::Insecure { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidChannel => SubscribeError::InvalidChannel.fmt(f),
            Self::AlreadySubscribed => {
                f.write_str("this client is subscribed to the channel already: share that subscription")
            }
            Self::NotSubscribed => f.write_str("the subscription is over: subscribe again"),
            Self::TooMany { max } => write!(f, "there are {max} already, as many as this client may have"),
            Self::TooLarge { limit_bytes } => {
                write!(f, "the message is larger than the {limit_bytes} bytes that may wait to be sent")
            }
            Self::Refused(error) => error.fmt(f),
            Self::TimedOut => Failure::Timeout.fmt(f),
            Self::Lost => Failure::Lost.fmt(f),
            Self::Closed { sent } => Failure::Closed { sent: *sent }.fmt(f),
            Self::Superseded => Failure::Superseded.fmt(f),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<Failure<'_>> for RequestError {
    fn from(failure: Failure<'_>) -> Self {
        match failure {
            Failure::Refused { code, message, temporary } => {
                Self::Refused(ServerError { code, message: message.to_owned(), temporary })
            }
            Failure::Lost => Self::Lost,
            Failure::Closed { sent } => Self::Closed { sent },
            Failure::Superseded => Self::Superseded,
            // `Timeout`, and whatever else leaves it open what became of the request.
            _ => Self::TimedOut,
        }
    }
}

impl From<SubscribeError> for RequestError {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::InvalidChannel => Self::InvalidChannel,
            SubscribeError::AlreadySubscribed { .. } => Self::AlreadySubscribed,
            SubscribeError::TooMany { max } => Self::TooMany { max },
            _ => Self::Closed { sent: false },
        }
    }
}

impl From<PresenceError> for RequestError {
    fn from(error: PresenceError) -> Self {
        match error {
            PresenceError::InvalidChannel => Self::InvalidChannel,
            PresenceError::NotSubscribed => Self::NotSubscribed,
            PresenceError::TooMany { max } => Self::TooMany { max },
            _ => Self::Closed { sent: false },
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.code.row().map_or("unknown to this version", |row| row.name);
        write!(f, "error {} ({name}): {}", self.code.0, self.message.escape_debug())
    }
}

impl std::error::Error for ServerError {}

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByServer { code, reason } => {
                write!(f, "the server closed the connection with code {}", code.0)?;
                if let Some(row) = code.row() {
                    write!(f, " ({})", row.name)?;
                }
                if !reason.is_empty() {
                    write!(f, ": {}", reason.escape_debug())?;
                }
                Ok(())
            }
            Self::Lost(io::ErrorKind::UnexpectedEof) => {
                f.write_str("the server ended the connection without a word")
            }
            Self::Lost(kind) => write!(f, "the connection broke: {kind}"),
            Self::Silent => f.write_str("the server is silent"),
            Self::Protocol(what) => write!(f, "the server broke the protocol: {what}"),
        }
    }
}

impl std::error::Error for Disconnected {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_says_how_to_start_the_server() {
        let source = Arc::new(io::ErrorKind::ConnectionRefused.into());
        let error = ConnectError::Unreachable { url: "ws://127.0.0.1:8080/ws".to_owned(), source };
        let text = "cannot reach ws://127.0.0.1:8080/ws: connection refused; is the server running? start it with `pulse`";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn codes_are_named_where_the_table_has_them() {
        let error = |code| ServerError { code, message: "no".to_owned(), temporary: false }.to_string();
        assert_eq!(error(ErrorCode::FORBIDDEN), "error 1004 (forbidden): no");
        assert_eq!(error(ErrorCode(1999)), "error 1999 (unknown to this version): no");
        let end = |code| Disconnected::ByServer { code, reason: "bye".to_owned() };
        let text = "the server closed the connection with code 4000 (shutdown): bye";
        assert_eq!(end(CloseCode::SHUTDOWN).to_string(), text);
        assert_eq!(end(CloseCode(1009)).to_string(), "the server closed the connection with code 1009: bye");
    }

    #[test]
    fn a_server_cannot_write_to_the_terminal() {
        let error = ServerError { code: ErrorCode(1), message: "\u{1b}[2J".to_owned(), temporary: false };
        let end = Disconnected::ByServer { code: CloseCode(1), reason: "\u{1b}[2J".to_owned() };
        for text in [error.to_string(), end.to_string()] {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }
}
