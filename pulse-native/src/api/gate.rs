//! Who may use the API: the key, the pages of which origins, and on whose say-so without a key.

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use pulse_core::wire::ErrorCode;
use sha1::{Digest, Sha1};

use super::error::Error;
use crate::handshake::Policy;

/// What lets a request in.
#[derive(Debug)]
pub(super) struct Gate {
    /// The digest of the key; without one, only requests from this machine itself are let in.
    key: Option<[u8; 20]>,
    policy: Policy,
}

impl Gate {
    pub(super) fn new(key: Option<&str>, policy: Policy) -> Self {
        Self { key: key.map(|key| digest(key.as_bytes())), policy }
    }

    pub(super) fn needs_key(&self) -> bool {
        self.key.is_some()
    }

    /// The origin of the page that asks, if it is one that may; `None` where no page asks.
    pub(super) fn origin<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a [u8]>, Error> {
        let Some(origin) = headers.get(ORIGIN).map(|origin| origin.as_bytes()) else { return Ok(None) };
        let host = headers.get(HOST).map(|host| host.as_bytes());
        if self.policy.origins.admit(origin, host, self.policy.bound_to_loopback) {
            return Ok(Some(origin));
        }
        let message = "pages of this origin may not use this server; add the origin to server.origins";
        Err(Error::new(StatusCode::FORBIDDEN, ErrorCode::FORBIDDEN, message).at("header Origin"))
    }

    /// Whether the request has the key, or needs none.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), Error> {
        let Some(key) = &self.key else { return from_this_machine(headers) };
        let given = match (headers.get("x-api-key"), headers.get(AUTHORIZATION)) {
            (Some(given), _) => Some(given.as_bytes()),
            (None, Some(given)) => apikey(given.as_bytes()),
            (None, None) => None,
        };
        let (message, place) = match given {
            // Digests are compared, each to its end, so that no time depends on the key.
            Some(given) if equal(&digest(given), key) => return Ok(()),
            Some(_) => ("this is not the server's key (api.key)", "header X-API-Key"),
            None => {
                ("send the server's key (api.key) as X-API-Key: KEY or Authorization: apikey KEY", "headers")
            }
        };
        Err(Error::new(StatusCode::UNAUTHORIZED, ErrorCode::FORBIDDEN, message).at(place))
    }
}

/// Without a key the API is for programs on this machine: not for what a proxy passes on, nor for a page whose host's name
/// was made to mean this machine.
fn from_this_machine(headers: &HeaderMap) -> Result<(), Error> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_local = name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    let passed_on = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    let place = match passed_on.into_iter().find(|name| headers.contains_key(*name)) {
        Some(name) => format!("header {name}"),
        None if !is_local => "header Host".to_owned(),
        None => return Ok(()),
    };
    let message = "without a key (api.key) only programs on this machine may use the API, at a loopback address \
                   and not through a proxy";
    Err(Error::new(StatusCode::UNAUTHORIZED, ErrorCode::FORBIDDEN, message).at(place))
}

/// The key in `apikey KEY`.
fn apikey(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"apikey ").then(|| key.trim_ascii())
}

fn digest(bytes: &[u8]) -> [u8; 20] {
    Sha1::digest(bytes).into()
}

fn equal(one: &[u8; 20], other: &[u8; 20]) -> bool {
    std::hint::black_box(one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::CurrentOrigins;
    use hyper::header::{HeaderName, HeaderValue};

    #[track_caller]
    fn check(key: Option<&str>, headers: &[(&'static str, &'static str)], expected: bool) {
        let policy =
            Policy { path: "/ws".into(), origins: CurrentOrigins::default(), bound_to_loopback: true };
        let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let headers: HeaderMap = headers.iter().map(pair).collect();
        assert_eq!(Gate::new(key, policy).admit(&headers).is_ok(), expected, "{headers:?}");
    }

    #[test]
    fn the_key_opens_the_gate_in_either_header() {
        for good in
            [("x-api-key", "secret"), ("authorization", "apikey secret"), ("authorization", "ApiKey  secret")]
        {
            check(Some("secret"), &[good], true);
        }
        for bad in [
            ("x-api-key", "Secret"),
            ("x-api-key", ""),
            ("authorization", "Bearer secret"),
            ("host", "localhost"),
        ] {
            check(Some("secret"), &[bad], false);
        }
        check(Some("secret"), &[("x-api-key", "wrong"), ("authorization", "apikey secret")], false);
    }

    #[test]
    fn without_a_key_only_this_machine_is_let_in() {
        for host in ["localhost:8080", "127.0.0.1", "[::1]:80", "LOCALHOST"] {
            check(None, &[("host", host)], true);
            check(None, &[("host", host), ("x-forwarded-for", "127.0.0.1")], false);
        }
        for host in ["example.com", "localhost.example.com", "10.0.0.1:80", ""] {
            check(None, &[("host", host)], false);
        }
    }
}
