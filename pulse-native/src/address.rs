//! Whose connection it is: the address of the peer, or the one that a trusted proxy has noted for it.

use std::net::{IpAddr, Ipv6Addr};

/// A network, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// As IPv6, with the others mapped into it.
    bits: u128,
    prefix: u32,
}

impl Network {
    /// Reads `10.0.0.0/8`, `2001:db8::/32` or a single address; `None` for anything else, bits beyond the prefix included.
    ///
    /// ```
    /// use pulse_native::address::Network;
    /// let network = Network::parse("10.0.0.0/8").expect("this is a network");
    /// assert!(network.contains("10.1.2.3".parse().unwrap()));
    /// assert_eq!(Network::parse("10.0.0.1/8"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
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
        let network = Self { bits: bits(addr), prefix: 128 - width + prefix };
        (network.bits & !network.mask() == 0).then_some(network)
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, addr: IpAddr) -> bool {
        bits(addr) & self.mask() == self.bits
    }

    fn mask(self) -> u128 {
        u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0)
    }
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
    peer: IpAddr,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    trusted: &[Network],
) -> IpAddr {
    let is_trusted = |addr: IpAddr| trusted.iter().any(|network| network.contains(addr));
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
        client = hop;
        if !is_trusted(hop) {
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

/// Those who share one allowance: an address of IPv4, or a network of 64 bits of IPv6, which is what one customer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Neighbours(u128);

impl Neighbours {
    pub(crate) fn of(addr: IpAddr) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits() & !u128::from(u64::MAX)),
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
        assert_eq!(client(peer.parse().unwrap(), headers, &trusted), expected.parse::<IpAddr>().unwrap());
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
        let of = |text: &str| Neighbours::of(text.parse().unwrap());
        assert_eq!(of("1.2.3.4"), of("::ffff:1.2.3.4"));
        assert_ne!(of("1.2.3.4"), of("1.2.3.5"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
