//! Whose connection it is: the address of the peer, or the one that a trusted proxy has noted for it.

use std::net::{IpAddr, Ipv6Addr};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address of the network.
    Ip(IpAddr),
    /// A program on this machine that has opened the server's Unix socket. It has no address: all of them are one.
    Unix,
}

/// A network, a single address, or the server's Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As IPv6, with the others mapped into it.
    Ip {
        bits: u128,
        prefix: u32,
    },
    Unix,
}

impl Network {
    /// Reads `10.0.0.0/8`, `2001:db8::/32`, a single address, or `unix`; `None` for anything else, bits beyond the prefix
    /// included.
    ///
    /// ```
    /// use pulse_native::address::Network;
    /// let network = Network::parse("10.0.0.0/8").expect("this is a network");
    /// assert!(network.contains("10.1.2.3".parse().unwrap()));
    /// assert_eq!(Network::parse("10.0.0.1/8"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "unix" {
            return Some(Self(Kind::Unix));
        }
        let (addr, prefix) = text.split_once('/').map_or((text, None), |(addr, prefix)| (addr, Some(prefix)));
        let addr: IpAddr = addr.parse().ok()?;
        let width = if addr.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
        };
        if prefix > width {
            return None;
        }
        let (bits, prefix) = (bits(addr), 128 - width + prefix);
        (bits & !mask(prefix) == 0).then_some(Self(Kind::Ip { bits, prefix }))
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, addr: IpAddr) -> bool {
        self.has(Peer::Ip(addr))
    }

    fn has(self, peer: Peer) -> bool {
        match (self.0, peer) {
            (Kind::Ip { bits, prefix }, Peer::Ip(addr)) => self::bits(addr) & mask(prefix) == bits,
            (Kind::Unix, Peer::Unix) => true,
            _ => false,
        }
    }
}

fn mask(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix).unwrap_or(0)
}

fn bits(addr: IpAddr) -> u128 {
    let v6: Ipv6Addr = match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    v6.to_bits()
}

/// The client's address: that of `peer`, unless it is a proxy that is trusted; then the last one in `X-Forwarded-For`, or in
/// `Forwarded` (RFC 7239) where there is none, that is no trusted proxy's. What stands left of that anybody can have written.
#[must_use]
pub fn client<'a>(
    peer: Peer,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    trusted: &[Network],
) -> Peer {
    let is_trusted = |peer: Peer| trusted.iter().any(|network| network.has(peer));
    if !is_trusted(peer) {
        return peer;
    }
    let (mut listed, mut forwarded) = (Vec::new(), Vec::new());
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("x-forwarded-for") {
            listed.extend(value.split(|byte| *byte == b',').map(address));
        } else if name.eq_ignore_ascii_case("forwarded") {
            forwarded.extend(value.split(|byte| *byte == b',').map(forwarded_for));
        }
    }
    let hops = if listed.is_empty() { forwarded } else { listed };
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        // What is no address says nothing about who is behind it: the proxy that wrote it down stands for all of them.
        let Some(hop) = hop else { break };
        client = Peer::Ip(hop);
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// An element of `Forwarded`: its `for`.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    element.split(|byte| *byte == b';').find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        if !name.eq_ignore_ascii_case(b"for") {
            return None;
        }
        address(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// An address, with or without a port, brackets around one of IPv6 or not.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Some(addr.to_canonical());
    }
    let host = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text.rsplit_once(':')?.0,
    };
    host.parse::<IpAddr>().ok().map(|addr| addr.to_canonical())
}

/// Those who share one allowance: an address of IPv4, or a network of 64 bits of IPv6, which is what one customer gets;
/// `None` for all who come by the Unix socket and are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Neighbours(Option<u128>);

impl Neighbours {
    pub(crate) fn of(client: Peer) -> Self {
        let Peer::Ip(addr) = client else { return Self(None) };
        match addr.to_canonical() {
            IpAddr::V4(v4) => Self(Some(v4.to_ipv6_mapped().to_bits())),
            IpAddr::V6(v6) => Self(Some(v6.to_bits() & !u128::from(u64::MAX))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_addresses_with_a_prefix_and_nothing_beyond_it() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("0.0.0.0/0", "1.2.3.4", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::/0", "2001:db8::1", "none"),
            ("::1", "::1", "::2"),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} has {inside}");
            assert!(
                outside.parse().map_or(true, |outside| !parsed.contains(outside)),
                "{network} lacks {outside}"
            );
        }
        for bad in
            ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/+8", "::/129", "localhost", "10.0.0/8"]
        {
            assert_eq!(Network::parse(bad), None, "{bad:?}");
        }
    }

    #[track_caller]
    fn check(peer: &str, headers: &[(&str, &str)], expected: &str) {
        let trusted = ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"].map(|text| Network::parse(text).unwrap());
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        assert_eq!(client(ip(peer), headers, &trusted), ip(expected));
    }

    fn ip(text: &str) -> Peer {
        Peer::Ip(text.parse().unwrap())
    }

    #[test]
    fn the_unix_socket_is_believed_where_it_is_listed_and_only_there() {
        let networks =
            |list: &[&str]| list.iter().map(|text| Network::parse(text).unwrap()).collect::<Vec<_>>();
        let header: [(&str, &[u8]); 1] = [("x-forwarded-for", b"9.9.9.9, 10.0.0.1")];
        assert_eq!(client(Peer::Unix, header, &networks(&["unix", "10.0.0.0/8"])), ip("9.9.9.9"));
        assert_eq!(client(Peer::Unix, [], &networks(&["unix"])), Peer::Unix);
        assert_eq!(client(Peer::Unix, header, &networks(&["::/0", "0.0.0.0/0"])), Peer::Unix);
        assert_eq!(client(ip("127.0.0.1"), header, &networks(&["unix"])), ip("127.0.0.1"));
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_up_to_the_first_other_one() {
        check("1.2.3.4", &[("x-forwarded-for", "9.9.9.9")], "1.2.3.4");
        check("127.0.0.1", &[], "127.0.0.1");
        check("127.0.0.1", &[("X-Forwarded-For", "9.9.9.9")], "9.9.9.9");
        check("127.0.0.1", &[("x-forwarded-for", "6.6.6.6, 9.9.9.9, 10.0.0.1")], "9.9.9.9");
        check(
            "127.0.0.1",
            &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "9.9.9.9,10.0.0.1")],
            "9.9.9.9",
        );
        check("127.0.0.1", &[("x-forwarded-for", "10.0.0.2, 10.0.0.1")], "10.0.0.2");
        check("127.0.0.1", &[("x-forwarded-for", "9.9.9.9, unknown, 10.0.0.1")], "10.0.0.1");
        check("127.0.0.1", &[("x-forwarded-for", "")], "127.0.0.1");
        check("127.0.0.1", &[("x-forwarded-for", "9.9.9.9:4711")], "9.9.9.9");
        check("127.0.0.1", &[("x-forwarded-for", "::ffff:9.9.9.9")], "9.9.9.9");
        check("127.0.0.1", &[("x-forwarded-for", "[2001:db9::1]:80")], "2001:db9::1");
    }

    #[test]
    fn the_standard_header_counts_where_the_common_one_is_missing() {
        check("10.0.0.1", &[("forwarded", "for=9.9.9.9;proto=https;by=10.0.0.1")], "9.9.9.9");
        check("10.0.0.1", &[("forwarded", "for=6.6.6.6, For=\"[2001:db9::1]:4711\"")], "2001:db9::1");
        check("10.0.0.1", &[("forwarded", "for=_hidden")], "10.0.0.1");
        check("10.0.0.1", &[("forwarded", "proto=https")], "10.0.0.1");
        check("10.0.0.1", &[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "9.9.9.9")], "9.9.9.9");
    }

    #[test]
    fn neighbours_share_an_address_or_a_network_of_64_bits() {
        let of = |text: &str| Neighbours::of(ip(text));
        assert_eq!(of("1.2.3.4"), of("::ffff:1.2.3.4"));
        assert_ne!(of("1.2.3.4"), of("1.2.3.5"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(Neighbours::of(Peer::Unix), of("::"));
    }
}
