//! The answers to requests that do not become a WebSocket: status, headers, and a sentence that helps.

use core::fmt;

use super::request::SUBPROTOCOLS;

/// Why a request is not upgraded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Another path. 404.
    NotFound,
    /// Not a GET. 405.
    MethodNotAllowed,
    /// A request that does not ask for a WebSocket. 426.
    NotUpgrade,
    /// A request that breaks a rule of HTTP or RFC 6455; the sentence says which. 400.
    BadRequest(&'static str),
    /// A version of WebSocket other than 13. 426.
    UnsupportedVersion,
    /// A page of another site. 403.
    ForbiddenOrigin {
        /// The `Origin` header, made printable and cut to a readable length.
        origin: String,
    },
    /// Subprotocols, none of which this server speaks. 400.
    UnsupportedSubprotocol {
        /// What the client offered, made printable and cut to a readable length.
        offered: String,
    },
}

impl Refusal {
    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotUpgrade | Self::UnsupportedVersion => 426,
            Self::BadRequest(_) | Self::UnsupportedSubprotocol { .. } => 400,
            Self::ForbiddenOrigin { .. } => 403,
        }
    }

    /// The headers that the status calls for, besides those of the body.
    #[must_use]
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::MethodNotAllowed => &[("allow", "GET")],
            // `connection` has to name `upgrade` wherever that is sent (RFC 9110 7.8).
            Self::NotUpgrade => &[("upgrade", "websocket"), ("connection", "upgrade")],
            Self::UnsupportedVersion => {
                &[("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-version", "13")]
            }
            Self::NotFound
            | Self::BadRequest(_)
            | Self::ForbiddenOrigin { .. }
            | Self::UnsupportedSubprotocol { .. } => &[],
        }
    }

    /// What was wrong and what would be right, for the body of the response and the log.
    #[must_use]
    pub fn message(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("nothing is served at this path"),
            Self::MethodNotAllowed => f.write_str("a websocket is opened by GET"),
            Self::NotUpgrade => f.write_str(
                "this path serves websocket: connect with a websocket client, which sends upgrade: websocket and \
                 connection: upgrade",
            ),
            Self::BadRequest(what) => f.write_str(what),
            Self::UnsupportedVersion => f.write_str("sec-websocket-version has to be 13"),
            Self::ForbiddenOrigin { origin } => write!(
                f,
                "pages of origin \"{origin}\" may not connect: only those of the server's own host and of the origins \
                 that its configuration allows",
            ),
            Self::UnsupportedSubprotocol { offered } => {
                write!(f, "none of the subprotocols \"{offered}\" is spoken here: offer ")?;
                for (name, _) in SUBPROTOCOLS {
                    write!(f, "{name}, or ")?;
                }
                f.write_str("no subprotocol")
            }
        }
    }
}

impl core::error::Error for Refusal {}

/// A header value as a message may show it.
pub(super) fn printable(value: &[u8]) -> String {
    const MAX_SHOWN: usize = 200;
    let shown = String::from_utf8_lossy(&value[..value.len().min(MAX_SHOWN)]);
    let mut shown = shown.escape_debug().to_string();
    if value.len() > MAX_SHOWN {
        shown.push_str("...");
    }
    shown
}
