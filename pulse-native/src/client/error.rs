//! What can go wrong for a client, each with what it means and, where there is something, what to do.

use std::{fmt, io, time::Duration};

use pulse_core::wire::{CloseCode, ErrorCode};

use super::UrlError;

/// Why no session was opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is none that this client can use.
    Url(UrlError),
    /// Nothing answers there.
    Unreachable {
        /// Where.
        url: String,
        /// What the system says.
        source: io::Error,
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
    /// The server says no.
    Refused(ServerError),
    /// There was no answer in time.
    TimedOut(Duration),
    /// More publications arrived before the answer than the client keeps.
    Backlog {
        /// Bytes that it keeps.
        limit: usize,
    },
    /// The connection has ended.
    Disconnected(Disconnected),
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
        /// Milliseconds to wait before coming back, if the server says so.
        retry_ms: Option<u64>,
    },
    /// The transport broke.
    Lost(io::ErrorKind),
    /// The server was silent for longer than it may be.
    Silent {
        /// Milliseconds.
        ms: u128,
    },
    /// The server sent what this protocol does not have.
    Protocol(String),
}

impl Disconnected {
    /// The code to take leave with.
    pub(super) fn close_code(&self) -> u16 {
        match self {
            // The server's own code goes back to it, unless it only stands for none.
            Self::ByServer { code, .. } if code.0 != 1005 => code.0,
            Self::Protocol(_) => 1002,
            _ => 1000,
        }
    }
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
            Self::Unreachable { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::TimedOut(after) => write!(f, "the server did not answer within {} ms", after.as_millis()),
            Self::Backlog { limit } => {
                write!(f, "more than {limit} bytes of publications came before the answer")
            }
            Self::Disconnected(end) => end.fmt(f),
        }
    }
}

impl std::error::Error for RequestError {}

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
            Self::ByServer { code, reason, .. } => {
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
            Self::Silent { ms } => write!(f, "nothing was heard of the server for {ms} ms"),
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
        let source = io::ErrorKind::ConnectionRefused.into();
        let error = ConnectError::Unreachable { url: "ws://127.0.0.1:8080/ws".to_owned(), source };
        let text = "cannot reach ws://127.0.0.1:8080/ws: connection refused; is the server running? start it with `pulse`";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn codes_are_named_where_the_table_has_them() {
        let error = |code| ServerError { code, message: "no".to_owned(), temporary: false }.to_string();
        assert_eq!(error(ErrorCode::FORBIDDEN), "error 1004 (forbidden): no");
        assert_eq!(error(ErrorCode(1999)), "error 1999 (unknown to this version): no");
        let end = |code| Disconnected::ByServer { code, reason: "bye".to_owned(), retry_ms: None };
        let text = "the server closed the connection with code 4000 (shutdown): bye";
        assert_eq!(end(CloseCode::SHUTDOWN).to_string(), text);
        assert_eq!(end(CloseCode(1009)).to_string(), "the server closed the connection with code 1009: bye");
    }

    #[test]
    fn a_server_cannot_write_to_the_terminal() {
        let error = ServerError { code: ErrorCode(1), message: "\u{1b}[2J".to_owned(), temporary: false };
        let end =
            Disconnected::ByServer { code: CloseCode(1), reason: "\u{1b}[2J".to_owned(), retry_ms: None };
        for text in [error.to_string(), end.to_string()] {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn only_a_code_that_may_be_sent_goes_back() {
        let end =
            |code| Disconnected::ByServer { code: CloseCode(code), reason: String::new(), retry_ms: None };
        assert_eq!(end(4000).close_code(), 4000);
        assert_eq!(end(1005).close_code(), 1000);
        assert_eq!(Disconnected::Protocol(String::new()).close_code(), 1002);
        assert_eq!(Disconnected::Silent { ms: 1 }.close_code(), 1000);
    }
}
