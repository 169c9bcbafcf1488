//! The shapes of texts: addresses, origins, paths, log filters and names of namespaces.

use std::net::IpAddr;

use super::setting::Rule;
use crate::address::Network;
use crate::unix;

/// An IP address or a host name, without a port.
pub(super) const HOST: Rule = Rule {
    name: "HOST",
    allowed: "an IP address or a host name without a port, such as \"0.0.0.0\", \"::1\" or \"localhost\"",
    parse: host,
};

/// The same, or a Unix socket.
pub(super) const LISTEN: Rule = Rule {
    name: "HOST",
    allowed: "an IP address or a host name, without a port, or \"unix:\" and the path of a socket of at most 107 bytes, such \
              as \"0.0.0.0\", \"::1\" or \"unix:/run/pulse/pulse.sock\"",
    parse: |text| match text.strip_prefix(unix::PREFIX) {
        Some(path) => is_socket_path(path).then(|| text.to_owned()),
        None => host(text),
    },
};

/// An `Origin` header's value, or `*`.
pub(super) const ORIGIN: Rule = Rule {
    name: "ORIGINS",
    allowed: "\"*\" or an origin as browsers send it, scheme://host[:port] without a path, \
              such as \"https://example.com\"",
    parse: origin,
};

/// An address, or a network of addresses.
pub(super) const NETWORK: Rule = Rule {
    name: "NETWORKS",
    allowed: "an IP address or a network without bits beyond its prefix, such as \"127.0.0.1\", \"10.0.0.0/8\" or \
              \"2001:db8::/32\", or \"unix\" for whoever opens the Unix socket",
    parse: |text| Network::parse(text).map(|_| text.to_owned()),
};

/// The path of an endpoint that no request has to escape.
pub(super) const PATH: Rule = Rule {
    name: "PATH",
    allowed: "a path of at most 256 characters that starts with / and has no query, no escapes and \
              no braces; not \"/health\", which the server answers itself",
    parse: path,
};

/// A file, or none.
pub(super) const FILE: Rule = Rule {
    name: "FILE",
    allowed: "the path of a file, such as \"/etc/pulse/cert.pem\", or empty for none",
    parse: |text| (!text.contains('\0')).then(|| text.to_owned()),
};

/// A folder, or none.
pub(super) const FOLDER: Rule = Rule {
    name: "FOLDER",
    allowed: "the path of a folder, such as \"/var/lib/pulse\", or empty for none",
    parse: |text| (!text.contains('\0')).then(|| text.to_owned()),
};

/// A level or directives of a log filter.
pub(super) const FILTER: Rule = Rule {
    name: "FILTER",
    allowed: "error, warn, info, debug, trace or off, or several of module=level separated by commas, \
              such as \"info,pulse_native=debug\"",
    parse: |text| crate::log::filter(text).map(|_| text.to_owned()),
};

/// A secret that callers send; empty where there is none.
pub(super) const KEY: Rule = Rule {
    name: "KEY",
    allowed: "16 to 256 characters of printable ASCII without spaces, such as those of `openssl rand -hex 32`; \
              empty for none",
    parse: |text| {
        let is_key = (16..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        (is_key || text.is_empty()).then(|| text.to_owned())
    },
};

/// What a namespace may be called.
pub(super) const NAMESPACE: &str = "1 to 64 letters, digits, - or _ (ASCII)";

/// Whether a namespace may be called so.
pub(super) fn is_namespace(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
        // Brackets belong to IPv6 alone.
        return (bare.is_none() || address.is_ipv6()).then(|| address.to_string());
    }
    is_host_name(text).then(|| text.to_ascii_lowercase())
}

fn is_socket_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.ends_with('/')
        && path.len() <= unix::MAX_PATH
        && !path.contains(char::is_control)
}

fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    // A last label of digits is a mistyped IPv4 address: no top-level domain is a number.
    text.len() <= 253 && text.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn origin(text: &str) -> Option<String> {
    if text == "*" {
        return Some(text.to_owned());
    }
    let (scheme, authority) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    // The colon of a port comes after the bracket of an IPv6 address, if there is one.
    let after_bracket = authority.rfind(']').unwrap_or(0);
    let (name, port) = match authority[after_bracket..].find(':') {
        Some(at) => authority.split_at(after_bracket + at),
        None => (authority, ":1"),
    };
    let is_port = port.get(1..)?.parse::<u16>().is_ok_and(|port| port > 0);
    let is_bare_v6 = name.parse::<std::net::Ipv6Addr>().is_ok();
    (is_scheme && is_port && !is_bare_v6 && host(name).is_some()).then(|| text.to_ascii_lowercase())
}

fn path(text: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte);
    let allowed =
        text.starts_with('/') && text.len() <= 256 && text != "/health" && text.bytes().all(is_plain);
    allowed.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(parse: fn(&str) -> Option<String>, text: &str, expected: Option<&str>) {
        assert_eq!(parse(text).as_deref(), expected, "{text:?}");
    }

    #[test]
    fn a_host_is_an_address_or_a_name() {
        for same in ["127.0.0.1", "0.0.0.0", "::", "::1", "localhost", "pulse_1.example.com", "a-b"] {
            check(host, same, Some(same));
        }
        check(host, "[::1]", Some("::1"));
        check(host, "LocalHost", Some("localhost"));
        let long = format!("{}.example", "a".repeat(64));
        for not in [
            "",
            " ",
            "127.0.0.1:80",
            "localhost:80",
            "[::1]:80",
            "[127.0.0.1]",
            "127.0.0",
            "256.1.1.1",
            "a..b",
            "-a",
            "a-",
            "a b",
            "*",
            "http://a",
            "fe80::1%eth0",
            "é",
            &long,
        ] {
            check(host, not, None);
        }
    }

    #[test]
    fn a_unix_socket_is_the_path_of_a_file() {
        let longest = format!("unix:/{}", "a".repeat(106));
        for same in ["unix:/run/pulse/pulse.sock", "unix:/a", "unix:/with space", &longest, "localhost"] {
            check(LISTEN.parse, same, Some(same));
        }
        for not in [
            "unix:",
            "unix:pulse.sock",
            "unix:./a",
            "unix:/",
            "unix:/run/",
            "unix:/a\0b",
            &format!("{longest}a"),
        ] {
            check(LISTEN.parse, not, None);
        }
        assert_eq!(longest.len(), unix::PREFIX.len() + unix::MAX_PATH);
        assert!(LISTEN.allowed.contains(&format!("at most {} bytes", unix::MAX_PATH)));
        check(host, "unix:/a", None);
    }

    #[test]
    fn an_origin_is_what_browsers_send() {
        for same in ["*", "https://example.com", "http://localhost:3000", "http://[::1]:3000", "http://[::1]"]
        {
            check(origin, same, Some(same));
        }
        check(origin, "capacitor://localhost", Some("capacitor://localhost"));
        check(origin, "HTTPS://Example.COM", Some("https://example.com"));
        for not in [
            "",
            "null",
            "example.com",
            "https://",
            "https://example.com/",
            "https://example.com/app",
            "https://*.example.com",
            "https://user@example.com",
            "https://a:0",
            "https://a:99999",
            "https://a:",
            "http://::1",
            "http://[::1",
            "http://[::1]x",
            "://a",
            "1x://a",
            "https://a b",
        ] {
            check(origin, not, None);
        }
    }

    #[test]
    fn a_path_needs_no_escapes() {
        for same in ["/", "/ws", "/v1/realtime", "/~pulse/@ws"] {
            check(path, same, Some(same));
        }
        let long = format!("/{}", "a".repeat(256));
        for not in ["", "ws", "/a?b", "/a#b", "/a b", "/%20", "/{id}", "/é", "/health", "/a\n", &long] {
            check(path, not, None);
        }
    }

    #[test]
    fn a_namespace_is_short_and_plain() {
        assert!(is_namespace("chat") && is_namespace("A-1_") && is_namespace(&"a".repeat(64)));
        for not in ["", "a b", "a:b", "a.b", "é", &"a".repeat(65)] {
            assert!(!is_namespace(not), "{not:?}");
        }
    }
}
