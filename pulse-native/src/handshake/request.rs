//! The rules that make a request a WebSocket upgrade, over headers that somebody else has parsed.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use pulse_core::Dialect;

use super::{Accepted, Policy, Refusal, refusal::printable};
use crate::ws::accept_key;

/// The subprotocols that a client may offer, and what they mean.
pub(super) const SUBPROTOCOLS: &[(&str, Dialect)] =
    &[("pulse.v1", Dialect::V1), ("pulse.v1.json", Dialect::Json)];

/// Decides about a request by its method, target (path and query), minor version of HTTP/1 and headers.
///
/// # Errors
/// The [`Refusal`] to answer with. What is wrong with the request as such comes first, then whether it is for this
/// path, then what is wrong with the upgrade.
pub fn check<'a>(
    method: &str,
    target: &str,
    minor_version: u8,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    policy: &Policy,
) -> Result<Accepted, Refusal> {
    let fields = Fields::collect(headers);
    let host = fields.host.one_host(minor_version)?;
    if target.split('?').next() != Some(&policy.path) {
        return Err(Refusal::NotFound);
    }
    if method != "GET" {
        return Err(Refusal::MethodNotAllowed);
    }
    if !fields.upgrade || !fields.connection {
        return Err(Refusal::NotUpgrade);
    }
    if minor_version < 1 {
        return Err(Refusal::BadRequest("an upgrade takes HTTP/1.1"));
    }
    if fields.body {
        return Err(Refusal::BadRequest("a request that opens a websocket has no body"));
    }
    match fields.version {
        Field::Once(b"13") => {}
        Field::Once(_) | Field::Absent => return Err(Refusal::UnsupportedVersion),
        Field::Repeated => return Err(Refusal::BadRequest("sec-websocket-version is given more than once")),
    }
    let key = match fields.key {
        Field::Once(key) if is_key(key) => key,
        Field::Once(_) => return Err(Refusal::BadRequest("sec-websocket-key has to be 16 bytes in base64")),
        Field::Absent => return Err(Refusal::BadRequest("sec-websocket-key is missing")),
        Field::Repeated => return Err(Refusal::BadRequest("sec-websocket-key is given more than once")),
    };
    let origin = match fields.origin {
        Field::Absent => None,
        Field::Once(origin) => Some(origin),
        Field::Repeated => return Err(Refusal::BadRequest("origin is given more than once")),
    };
    if let Some(origin) = origin
        && !policy.origins.admit(origin, host, policy.bound_to_loopback)
    {
        return Err(Refusal::ForbiddenOrigin { origin: printable(origin) });
    }
    let (protocol, dialect) = fields.protocols.choose()?;
    Ok(Accepted { dialect, accept_key: accept_key(key), protocol })
}

/// The one `Host` that every request of HTTP/1.1 has, whatever its path (RFC 9112 3.2); `None` for a request of
/// HTTP/1.0, which may lack it.
///
/// # Errors
/// [`Refusal::BadRequest`] if there is none, more than one, or one that is no host.
pub fn host<'a>(
    minor_version: u8,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Option<&'a [u8]>, Refusal> {
    Fields::collect(headers).host.one_host(minor_version)
}

/// What the headers say, as far as an upgrade is concerned.
#[derive(Default)]
struct Fields<'a> {
    host: Field<'a>,
    origin: Field<'a>,
    key: Field<'a>,
    version: Field<'a>,
    protocols: Protocols<'a>,
    /// `Upgrade` names `websocket`.
    upgrade: bool,
    /// `Connection` names `upgrade`.
    connection: bool,
    /// A body follows the head.
    body: bool,
}

/// A header that may be given once.
#[derive(Clone, Copy, Default)]
enum Field<'a> {
    #[default]
    Absent,
    Once(&'a [u8]),
    Repeated,
}

/// The subprotocols that are offered, over all lines of the header.
#[derive(Default)]
struct Protocols<'a> {
    /// The first line; `None` if there is none.
    first: Option<&'a [u8]>,
    /// The first that is known, in the order of the client's preference.
    known: Option<&'static (&'static str, Dialect)>,
}

impl<'a> Fields<'a> {
    fn collect(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            let value = value.trim_ascii();
            let is = |expected| name.eq_ignore_ascii_case(expected);
            if is("host") {
                fields.host.add(value);
            } else if is("upgrade") {
                fields.upgrade |= list(value).any(|token| token.eq_ignore_ascii_case(b"websocket"));
            } else if is("connection") {
                fields.connection |= list(value).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
            } else if is("origin") {
                fields.origin.add(value);
            } else if is("sec-websocket-key") {
                fields.key.add(value);
            } else if is("sec-websocket-version") {
                fields.version.add(value);
            } else if is("sec-websocket-protocol") {
                fields.protocols.add(value);
            } else if is("transfer-encoding") || (is("content-length") && value != b"0") {
                fields.body = true;
            }
        }
        fields
    }
}

impl<'a> Field<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent => Self::Once(value),
            Self::Once(_) | Self::Repeated => Self::Repeated,
        };
    }

    /// Reads this field as `Host`.
    fn one_host(self, minor_version: u8) -> Result<Option<&'a [u8]>, Refusal> {
        match self {
            Self::Once(host) if is_host(host) => Ok(Some(host)),
            Self::Once(_) => {
                Err(Refusal::BadRequest("host has to be a name or an address, with or without a port"))
            }
            Self::Absent if minor_version < 1 => Ok(None),
            Self::Absent => Err(Refusal::BadRequest("host is missing")),
            Self::Repeated => Err(Refusal::BadRequest("host is given more than once")),
        }
    }
}

impl<'a> Protocols<'a> {
    fn add(&mut self, line: &'a [u8]) {
        self.first.get_or_insert(line);
        let known =
            || list(line).find_map(|offer| SUBPROTOCOLS.iter().find(|(name, _)| name.as_bytes() == offer));
        self.known = self.known.or_else(known);
    }

    /// What to speak. A client that offers nothing is one of the first release.
    fn choose(&self) -> Result<(Option<&'static str>, Dialect), Refusal> {
        match (self.first, self.known) {
            (_, Some((name, dialect))) => Ok((Some(*name), *dialect)),
            (None, None) => Ok((None, Dialect::Legacy)),
            (Some(line), None) => Err(Refusal::UnsupportedSubprotocol { offered: printable(line) }),
        }
    }
}

/// The elements of a comma list; empty ones do not count (RFC 9110 5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Whether these are 16 bytes in base64. Bits that base64 leaves unused may be anything, as some clients send them.
fn is_key(value: &[u8]) -> bool {
    const BASE64: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
    let mut key = [0; 18];
    BASE64.decode_slice(value, &mut key) == Ok(16)
}

/// Whether a `Host` is made of characters that RFC 3986 has in a host and port. A comma, which it would allow as well,
/// shows that somebody joined two headers. The empty host is a legal one.
fn is_host(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte))
}
