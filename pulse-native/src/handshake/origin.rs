//! Which pages may open a connection: the rule about the `Origin` header (RFC 6454), and its configuration.
//!
//! Only browsers send `Origin`, and they do so truthfully: it keeps a page of somebody else's site from using its
//! visitor's network place or cookies. It says nothing about other programs, which need not send it.

use core::{fmt, net::Ipv4Addr, net::Ipv6Addr, str::from_utf8};
use std::sync::{Arc, PoisonError, RwLock};

/// The origins that may connect besides the server's own host. By default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    listed: Vec<Origin>,
}

/// An entry of the list that is no origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginError {
    entry: String,
}

impl Origins {
    /// Reads a configured list: `*` for any origin, or `scheme://host[:port]`.
    ///
    /// ```
    /// use pulse_native::handshake::Origins;
    /// assert!(Origins::parse(["https://app.example.com", "http://localhost:3000"]).is_ok());
    /// let error = Origins::parse(["example.com/chat"]).unwrap_err();
    /// assert!(error.to_string().contains("\"example.com/chat\""));
    /// ```
    ///
    /// # Errors
    /// The first entry that is neither.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<Self, OriginError> {
        let mut origins = Self::default();
        for entry in entries {
            let entry = entry.as_ref().trim();
            match Origin::parse(entry) {
                _ if entry == "*" => origins.any = true,
                Some(origin) => origins.listed.push(origin),
                None => return Err(OriginError { entry: entry.to_owned() }),
            }
        }
        Ok(origins)
    }

    /// Whether a page of `origin` may connect to the server that it calls `host`.
    pub(crate) fn admit(&self, origin: &[u8], host: Option<&[u8]>, bound_to_loopback: bool) -> bool {
        if self.any {
            return true;
        }
        // `null`, which sandboxed pages and files send, is no origin and so equals nothing.
        let Some(origin) = from_utf8(origin).ok().and_then(Origin::parse) else { return false };
        self.listed.contains(&origin)
            || host.and_then(|host| from_utf8(host).ok()).is_some_and(|host| origin.is_at(host))
            || (bound_to_loopback && origin.is_loopback())
    }
}

/// The origins that hold now, for all who share this value; others may take their place while a server runs.
///
/// Whoever has been let in stays. A lock is enough: it is taken for each handshake that names an origin, and by many at
/// once unless the list is being replaced.
#[derive(Clone, Debug, Default)]
pub struct CurrentOrigins(Arc<RwLock<Origins>>);

impl CurrentOrigins {
    /// Has these hold from now on.
    pub fn set(&self, origins: Origins) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = origins;
    }

    /// As [`Origins::admit`].
    pub(crate) fn admit(&self, origin: &[u8], host: Option<&[u8]>, bound_to_loopback: bool) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).admit(origin, host, bound_to_loopback)
    }
}

impl From<Origins> for CurrentOrigins {
    fn from(origins: Origins) -> Self {
        Self(Arc::new(RwLock::new(origins)))
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" is not an origin: write scheme://host or scheme://host:port, without a path, or * for any",
            self.entry
        )
    }
}

impl core::error::Error for OriginError {}

/// Two origins are the same if all three parts are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    /// In lower case.
    scheme: String,
    /// In lower case; an IPv6 address in its shortest form, in brackets.
    host: String,
    /// The effective port; `None` for a scheme without a default, where none is given.
    port: Option<u16>,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let mut letters = scheme.bytes();
        let scheme_is_legal = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !scheme_is_legal {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = host_and_port(authority)?;
        let port = port.or_else(|| default_port(&scheme));
        Some(Self { scheme, host, port })
    }

    /// Whether the `Host` that a request names is this origin's own. A host without a port is at the default one of
    /// the origin's scheme, so that a proxy may take TLS off.
    fn is_at(&self, host: &str) -> bool {
        let Some(default) = default_port(&self.scheme) else { return false };
        host_and_port(host)
            .is_some_and(|(host, port)| host == self.host && Some(port.unwrap_or(default)) == self.port)
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host == "[::1]"
            || self.host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// Reads `host[:port]`, the host in its one spelling.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    let (host, port) = text.split_at(end);
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => format!("[{}]", address.parse::<Ipv6Addr>().ok()?),
        None if !host.is_empty() && host.bytes().all(is_legal) => host.to_ascii_lowercase(),
        None => return None,
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        None if port.is_empty() => None,
        _ => return None,
    };
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listed: &[&str], origin: &str, host: &str, bound_to_loopback: bool, expected: bool) {
        let origins = Origins::parse(listed).unwrap();
        let admitted = origins.admit(origin.as_bytes(), Some(host.as_bytes()), bound_to_loopback);
        assert_eq!(admitted, expected, "origin {origin:?} at host {host:?}, listed {listed:?}");
    }

    #[test]
    fn pages_of_the_servers_own_host_may_connect() {
        for (origin, host, expected) in [
            ("https://example.com", "example.com", true),
            ("http://example.com", "example.com", true),
            ("https://EXAMPLE.com", "Example.COM", true),
            ("https://example.com", "example.com:443", true),
            ("https://example.com:443", "example.com", true),
            ("http://example.com", "example.com:80", true),
            ("http://example.com:8080", "example.com:8080", true),
            ("http://[2001:db8::1]:8080", "[2001:DB8:0:0::1]:8080", true),
            ("http://example.com", "example.com:443", false),
            ("https://example.com", "example.com:80", false),
            ("https://example.com", "example.com:8443", false),
            ("http://example.com:8080", "example.com", false),
            ("http://example.com:3000", "example.com:8080", false),
            ("https://www.example.com", "example.com", false),
            ("https://example.com.evil.test", "example.com", false),
            ("https://evil.test", "example.com", false),
            ("https://example.com", "", false),
            ("https://example.com", "example.com:", false),
            ("https://example.com", "example.com:x", false),
            ("chrome-extension://example.com", "example.com", false),
            ("chrome-extension://example.com:80", "example.com:80", false),
        ] {
            check(&[], origin, host, false, expected);
        }
    }

    #[test]
    fn listed_origins_may_connect() {
        let listed = &[
            "https://app.example.com",
            "HTTP://Dev.Example.com:3000",
            "capacitor://localhost",
            "http://[::1]:5",
        ];
        for (origin, expected) in [
            ("https://app.example.com", true),
            ("https://app.example.com:443", true),
            ("https://APP.example.com", true),
            ("http://dev.example.com:3000", true),
            ("capacitor://localhost", true),
            ("http://[0:0::1]:5", true),
            ("http://app.example.com", false),
            ("https://app.example.com:8443", false),
            ("https://example.com", false),
            ("https://x.app.example.com", false),
            ("http://dev.example.com", false),
            ("capacitor://localhost:1", false),
            ("https://app.example.com/", false),
            ("https://app.example.com https://evil.test", false),
            ("https://evil.test@app.example.com", false),
        ] {
            check(listed, origin, "pulse.example.com", false, expected);
        }
    }

    #[test]
    fn loopback_pages_may_connect_to_a_server_that_is_bound_to_loopback() {
        for (origin, expected) in [
            ("http://localhost:3000", true),
            ("https://LOCALHOST", true),
            ("http://127.0.0.1:5173", true),
            ("http://127.255.0.9", true),
            ("http://[::1]:3000", true),
            ("http://localhost.evil.test", false),
            ("http://127.0.0.1.evil.test", false),
            ("http://128.0.0.1", false),
            ("http://[::2]", false),
            ("https://evil.test", false),
        ] {
            check(&[], origin, "127.0.0.1:8080", true, expected);
            check(&[], origin, "192.0.2.1:8080", false, false);
        }
    }

    #[test]
    fn null_and_what_is_no_origin_equal_nothing() {
        for origin in
            ["null", "", "localhost", "://", "http://", "http://:80", "1ttp://localhost", "http://[::1"]
        {
            check(&["https://app.example.com"], origin, origin, true, false);
        }
        let bytes = b"http://localhost\xff";
        assert!(!Origins::default().admit(bytes, Some(bytes), true));
    }

    #[test]
    fn a_star_admits_everything() {
        for origin in ["null", "", "https://evil.test", "file://"] {
            check(&["https://app.example.com", "*"], origin, "example.com", false, true);
        }
    }

    #[test]
    fn without_a_host_only_listed_and_loopback_origins_are_known() {
        let origins = Origins::parse(["https://app.example.com"]).unwrap();
        assert!(origins.admit(b"https://app.example.com", None, false));
        assert!(!origins.admit(b"https://example.com", None, false));
        assert!(origins.admit(b"http://localhost", None, true));
    }

    #[test]
    fn an_entry_that_is_no_origin_is_named_with_what_is_allowed() {
        for entry in [
            "",
            "null",
            "example.com",
            "https://",
            "https://example.com/",
            "https://example.com/chat",
            "https://*.example.com",
            "https://example.com:port",
            "https://example.com:70000",
            "https://example.com:",
            "https://user@example.com",
            "https://[example]",
            "https://[::1]x",
        ] {
            let error = Origins::parse(["https://fine.example.com", entry]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("\"{entry}\"")), "{error}");
            assert!(error.contains("scheme://host:port, without a path"), "{error}");
        }
    }
}
