//! Where a server is: what of a URL a WebSocket client needs.

use std::fmt;

use hyper::Uri;

/// A URL that this client can connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    url: String,
    host: String,
    port: u16,
    authority: String,
    target: String,
    /// Whether it is reached over TLS.
    secure: bool,
}

/// A URL that this client cannot connect to, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlError {
    url: String,
    what: &'static str,
}

impl Endpoint {
    pub(super) fn parse(url: &str) -> Result<Self, UrlError> {
        let invalid = |what| UrlError { url: url.to_owned(), what };
        let uri: Uri = url.parse().map_err(|_| invalid("it is no URL"))?;
        let secure = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(invalid("it has to begin with ws:// or wss://")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("user and password have no place in it"));
        }
        if url.contains('#') {
            return Err(invalid("a fragment (#) has no place in it"));
        }
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host) {
            Some("") if secure => 443,
            Some("") => 80,
            _ => authority
                .port_u16()
                .filter(|&port| port > 0)
                .ok_or_else(|| invalid("the port is from 1 to 65535"))?,
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if bare.is_empty() {
            return Err(invalid("it names no host"));
        }
        Ok(Self {
            url: url.to_owned(),
            host: bare.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            secure,
        })
    }

    /// The URL as it was given.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What to connect a socket to.
    pub(super) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Whose certificate has to be shown, where there is TLS.
    pub(super) fn secure_host(&self) -> Option<&str> {
        self.secure.then_some(&self.host)
    }

    /// The `Host` header.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// What the request line asks for.
    pub(super) fn target(&self) -> &str {
        &self.target
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, what } = self;
        write!(f, "cannot connect to \"{}\": {what}, as in ws://127.0.0.1:8080/ws", url.escape_debug())
    }
}

impl std::error::Error for UrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, address: (&str, u16), authority: &str, target: &str) {
        let endpoint = Endpoint::parse(url).expect("this is a URL");
        assert_eq!(endpoint.address(), address, "{url}");
        assert_eq!((endpoint.authority(), endpoint.target()), (authority, target), "{url}");
    }

    #[test]
    fn a_url_says_where_to_connect_and_what_to_ask_for() {
        check("ws://127.0.0.1:8080/ws", ("127.0.0.1", 8080), "127.0.0.1:8080", "/ws");
        check("ws://example.com", ("example.com", 80), "example.com", "/");
        check("WS://example.com/a?b=c", ("example.com", 80), "example.com", "/a?b=c");
        check("ws://[::1]:9000/ws", ("::1", 9000), "[::1]:9000", "/ws");
        check("ws://[::1]/ws", ("::1", 80), "[::1]", "/ws");
    }

    #[test]
    fn what_is_no_websocket_url_is_refused_with_what_is_wrong() {
        for (url, what) in [
            ("", "no URL"),
            ("chat:lobby", "ws://"),
            ("127.0.0.1:8080", "ws://"),
            ("http://127.0.0.1:8080/ws", "ws://"),
            ("/ws", "ws://"),
            ("ws:///ws", "no URL"),
            ("ws://host:70000/ws", "port"),
            ("ws://host:0/ws", "port"),
            ("ws://user:secret@host/ws", "password"),
            ("ws://host/ws#top", "fragment"),
            ("ws://host/a b", "no URL"),
        ] {
            let error = Endpoint::parse(url).expect_err(url).to_string();
            assert!(error.contains(what) && error.contains("as in ws://"), "{url}: {error}");
        }
    }

    #[test]
    fn wss_is_ws_over_tls_on_port_443() {
        let secure = Endpoint::parse("wss://example.com/ws").expect("this is a URL");
        assert_eq!((secure.secure_host(), secure.address()), (Some("example.com"), ("example.com", 443)));
        let secure = Endpoint::parse("wss://[::1]:8443").expect("this is a URL");
        assert_eq!((secure.secure_host(), secure.address()), (Some("::1"), ("::1", 8443)));
        assert_eq!(Endpoint::parse("ws://example.com").expect("this is a URL").secure_host(), None);
    }
}
