//! What is asked of several settings together, and what is allowed but deserves a warning.

use std::net::IpAddr;

use super::{
    Config, Loaded, by_path,
    error::{ConfigError, Origin},
    table::{ApiEnabled, Who},
};
use crate::unix;

/// The rules between settings that `loaded` breaks.
pub(super) fn conflicts(loaded: &Loaded) -> Vec<ConfigError> {
    let Config { heartbeat, limits, metrics, server, tls, .. } = &loaded.config;
    let rules = [
        (
            heartbeat.interval_ms == 0 || heartbeat.timeout_ms > heartbeat.interval_ms,
            "heartbeat.timeout_ms",
            "has to be greater than",
            "heartbeat.interval_ms",
        ),
        (
            limits.queue_bytes >= limits.max_message_size,
            "limits.queue_bytes",
            "has to be at least",
            "limits.max_message_size",
        ),
        (
            !metrics.enabled
                || metrics.port == 0
                || metrics.port != server.port
                || !overlap(&metrics.host, &server.host),
            "metrics.port",
            "has to differ from",
            "server.port",
        ),
        (tls.key.is_empty() == tls.cert.is_empty(), "tls.key", "has to be given together with", "tls.cert"),
        (
            tls.cert.is_empty() || !is_unix(&server.host),
            "tls.cert",
            "has to be empty where clients come by a Unix socket, which has no TLS, as by",
            "server.host",
        ),
    ];
    let broken = rules.into_iter().filter(|(holds, ..)| !holds);
    broken
        .map(|(_, left, relation, right)| conflict(loaded, left, relation, right))
        .chain(open_api(loaded))
        .chain(durable(loaded))
        .collect()
}

/// Rules that are durable without anything to keep or a place to keep it, or that keep too little.
fn durable(loaded: &Loaded) -> Vec<ConfigError> {
    let Config { channels, namespaces, store, .. } = &loaded.config;
    let sections = [("channels".to_owned(), channels)]
        .into_iter()
        .chain(namespaces.iter().map(|(name, rules)| (format!("namespaces.{name}"), rules)));
    let mut errors = Vec::new();
    for (section, rules) in sections.filter(|(_, rules)| rules.durable) {
        let origin = &loaded.origins[&format!("{section}.durable")];
        let mut needs = |what: String, other: &Origin, why: &str| {
            let origin_of_both = origin.clone().max(other.clone());
            if origin_of_both <= Origin::Channels {
                // Both are as in [channels], where it was said already.
                return;
            }
            errors.push(ConfigError::Conflict {
                origin: origin_of_both,
                text: format!("{section}.durable (true, {origin}) needs {what}: {why}"),
            });
        };
        if rules.history_size == 0 {
            let other = &loaded.origins[&format!("{section}.history_size")];
            let what = format!("{section}.history_size (0, {other}) to be greater than 0");
            needs(what, other, "otherwise there is nothing to keep");
        }
        if store.path.is_empty() {
            let other = &loaded.origins["store.path"];
            needs(format!("store.path (\"\", {other})"), other, "the folder that it is kept in");
        }
    }
    errors
}

/// An API for everybody.
fn open_api(loaded: &Loaded) -> Option<ConfigError> {
    let Config { api, server, .. } = &loaded.config;
    let is_open = api.enabled == ApiEnabled::On && api.key.is_empty() && !is_loopback(&server.host);
    is_open.then(|| {
        let (enabled, host) = (&loaded.origins["api.enabled"], &loaded.origins["server.host"]);
        ConfigError::Conflict {
            origin: enabled.clone().max(host.clone()),
            text: format!(
                "api.enabled (on, {enabled}) needs api.key where server.host ({}, {host}) is not loopback: without \
                 one, everybody could use the API",
                server.host
            ),
        }
    })
}

fn conflict(loaded: &Loaded, left: &str, relation: &str, right: &str) -> ConfigError {
    let told = |path: &str| {
        let value =
            by_path(path).map(|setting| setting.value(&loaded.config).to_string()).unwrap_or_default();
        let origin = &loaded.origins[path];
        (format!("{path} ({value}, {origin})"), origin.clone())
    };
    let ((left, left_origin), (right, right_origin)) = (told(left), told(right));
    // Sources are ordered by strength: the stronger one is the one that was written last, and to this purpose.
    ConfigError::Conflict {
        origin: left_origin.max(right_origin),
        text: format!("{left} {relation} {right}"),
    }
}

/// Whether two listeners with the same port would meet.
fn overlap(one: &str, other: &str) -> bool {
    let covers = |wide: &str, narrow: &str| match (wide.parse(), narrow.parse()) {
        // `::` takes IPv4 too, `0.0.0.0` does not take IPv6.
        (Ok(IpAddr::V6(wide)), _) => wide.is_unspecified(),
        (Ok(IpAddr::V4(wide)), Ok(IpAddr::V6(_))) if wide.is_unspecified() => false,
        (Ok(IpAddr::V4(wide)), _) => wide.is_unspecified(),
        (Err(_), _) => false,
    };
    !is_unix(one) && !is_unix(other) && (one == other || covers(one, other) || covers(other, one))
}

/// What the operator should know before clients come.
pub(super) fn warnings(loaded: &Loaded) -> Vec<String> {
    let Config { server, transport, limits, metrics, heartbeat, .. } = &loaded.config;
    let mut warnings = Vec::new();
    if is_unix(&server.host)
        && limits.max_connections_per_address > 0
        && !server.trusted_proxies.iter().any(|proxy| proxy == "unix")
    {
        warnings.push(format!(
            "limits.max_connections_per_address is {} ({}), and all who come by server.host ({}, {}) count as one \
             address; put \"unix\" into server.trusted_proxies if what opens the socket is a proxy that writes \
             X-Forwarded-For or Forwarded",
            limits.max_connections_per_address,
            loaded.origins["limits.max_connections_per_address"],
            server.host,
            loaded.origins["server.host"]
        ));
    }
    if !is_loopback(&server.host) && !is_unix(&server.host) && anyone_may_something(&loaded.config) {
        warnings.push(format!(
            "server.host is {} ({}): every machine that reaches this address may use Pulse without a name or a \
             password; this version has no authentication, so set the rules of [channels] and [namespaces], or \
             listen on a loopback address behind a proxy that checks who comes",
            server.host, loaded.origins["server.host"]
        ));
    }
    if metrics.enabled && !is_loopback(&metrics.host) {
        warnings.push(format!(
            "metrics.host is {} ({}): every machine that reaches this address can read the metrics",
            metrics.host, loaded.origins["metrics.host"]
        ));
    }
    if heartbeat.interval_ms == 0 {
        warnings.push(format!(
            "heartbeat.interval_ms is 0 ({}): a client that vanishes without a word is held for ever",
            loaded.origins["heartbeat.interval_ms"]
        ));
    }
    if !transport.websocket {
        warnings.push(format!(
            "transport.websocket is false ({}): no client can connect",
            loaded.origins["transport.websocket"]
        ));
    }
    warnings
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

fn is_unix(host: &str) -> bool {
    host.starts_with(unix::PREFIX)
}

fn anyone_may_something(config: &Config) -> bool {
    let rules = config.namespaces.values().chain([&config.channels]);
    rules.flat_map(|rules| [rules.subscribe, rules.publish, rules.presence]).any(|who| who == Who::Anyone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_meet_on_the_same_address_or_on_every_one() {
        let check = |one, other, expected| {
            assert_eq!(overlap(one, other), expected, "{one} and {other}");
            assert_eq!(overlap(other, one), expected, "{other} and {one}");
        };
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("0.0.0.0", "127.0.0.1", true);
        check("0.0.0.0", "localhost", true);
        check("0.0.0.0", "::1", false);
        check("::", "127.0.0.1", true);
        check("::", "0.0.0.0", true);
        check("::1", "127.0.0.1", false);
        check("localhost", "127.0.0.1", false);
        check("unix:/a", "0.0.0.0", false);
        check("unix:/a", "::", false);
    }

    #[test]
    fn loopback_addresses_are_known_in_every_spelling() {
        for yes in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["0.0.0.0", "::", "10.0.0.1", "example.com", "::ffff:10.0.0.1"] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
