//! The one table of settings: names, types, defaults, bounds and meaning.
//!
//! The structs of [`Config`](super::Config), the file's keys, variables, flags, `--help`, the default file and the reference in
//! `docs/CONFIGURATION.md` all come from it.

use super::{
    rule::{FILE, FILTER, FOLDER, HOST, KEY, LISTEN, NETWORK, ORIGIN, PATH},
    setting::{Field, Kind, Setting, Value},
};

macro_rules! settings {
    ($(
        $(#[doc = $about:literal])+
        $section:ident: $Section:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $kind:expr; )*
        }
    )*) => {
        $(
            $(#[doc = $about])+
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $Section {
                $( $(#[doc = $doc])+ pub $key: $type, )*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $key: $default, )* }
                }
            }
        )*

        /// The sections of the file, with what each is about.
        pub(super) const SECTIONS: &[(&str, &str)] = &[$( (stringify!($section), concat!($($about),+)), )*];

        /// Every setting, in the order of the reference.
        pub const SETTINGS: &[Setting] = &[$($(
            Setting {
                section: stringify!($section),
                key: stringify!($key),
                kind: $kind,
                doc: concat!($($doc),+),
                read: |config| config.$section.$key.to_value(),
                write: |config, value| config.$section.$key.set(value),
            },
        )*)*];
    };
}

settings! {
    /// The listener for clients.
    server: Server {
        /// Where to listen; an address that is not loopback lets other machines in.
        host: String = "127.0.0.1".to_owned(), Kind::Text(LISTEN);
        /// TCP port to listen on; 0 takes a free one.
        port: u16 = 8080, count(0, 65_535);
        /// Origins of web pages that may connect, beside those of the server's own host.
        origins: Vec<String> = Vec::new(), Kind::List(ORIGIN);
        /// Proxies that are believed who their clients are, by `X-Forwarded-For` or `Forwarded`.
        trusted_proxies: Vec<String> = Vec::new(), Kind::List(NETWORK);
        /// Whether `/` is a page for trying the server out; `auto` serves it where the address is a loopback one.
        playground: Playground = Playground::Auto, Kind::Choice(Playground::WORDS);
        /// Time that clients have to take their last messages when the server stops.
        shutdown_timeout_ms: u32 = 10_000, ms(0, 600_000);
        /// Time that a new connection has for its upgrade, and then for its first frame.
        handshake_timeout_ms: u32 = 10_000, ms(10, 600_000);
        /// Time over which clients spread their return when the server stops.
        retry_spread_ms: u32 = 5_000, ms(0, 600_000);
        /// Threads that serve clients; 0 starts one for each processor, 64 at most.
        shards: u16 = 0, count(0, 64);
    }

    /// The ways in which clients connect.
    transport: Transport {
        /// Whether to accept WebSocket connections.
        websocket: bool = true, Kind::Switch;
        /// Path of the WebSocket endpoint.
        websocket_path: String = "/ws".to_owned(), Kind::Text(PATH);
        /// Whether to accept WebTransport sessions.
        webtransport: bool = false, Kind::NotYet("this version does not have WebTransport yet");
    }

    /// TLS on the listener for clients; the files are read again on SIGHUP and when they change.
    tls: Tls {
        /// PEM file with the certificate of the server, then those that signed it; empty for no TLS.
        cert: String = String::new(), Kind::Text(FILE);
        /// PEM file with the private key of the certificate; given together with it.
        key: String = String::new(), Kind::Text(FILE);
    }

    /// The HTTP API under `/api/v1/`, for an application's own servers.
    api: Api {
        /// Whether to serve it; `auto` serves it where there is a key or the address is a loopback one.
        enabled: ApiEnabled = ApiEnabled::Auto, Kind::Choice(ApiEnabled::WORDS);
        /// Key that callers have to send; without one, only programs on this machine may call.
        key: String = String::new(), Kind::Text(KEY);
    }

    /// What clients may use at most; what a client asks for beyond a limit is refused.
    limits: Limits {
        /// Connections open at a time; the next one is answered 503.
        max_connections: u32 = 100_000, count(1, 10_000_000);
        /// Connections open at a time from one address, or one /64 network of IPv6; the next one is answered 429; 0 sets no limit.
        max_connections_per_address: u32 = 0, count(0, 10_000_000);
        /// Channels that exist at a time.
        max_channels: u32 = 10_000, count(1, 100_000_000);
        /// Channels that one connection is subscribed to at a time.
        max_subscriptions_per_connection: u32 = 100, count(1, 1_000_000);
        /// Size of a publication's payload.
        max_message_size: u32 = 65_536, bytes(1, 67_108_864);
        /// Unsent data that one connection may have queued; beyond it, slow_consumer decides what gives way.
        queue_bytes: u32 = 1_048_576, bytes(1_024, 1_073_741_824);
        /// Size of what all channels keep as history, with idempotency keys; beyond it, the oldest gives way.
        history_bytes: u64 = 1_073_741_824, bytes(1_048_576, 1_099_511_627_776);
        /// Size of the data that a member shows of itself in a channel's presence, as MessagePack; 0 allows none.
        max_presence_size: u32 = 4_096, bytes(0, 32_768);
    }

    /// The disk, for namespaces that are durable.
    store: Store {
        /// Folder for what channels keep on disk, of this server alone; made if there is none; empty for none.
        path: String = String::new(), Kind::Text(FOLDER);
    }

    /// How the server finds out that a client is gone.
    heartbeat: Heartbeat {
        /// Silence of a client after which the server asks for a sign of life; 0 never asks and never gives up.
        interval_ms: u32 = 30_000, ms(0, 3_600_000);
        /// Silence of a client after which it is disconnected; more than the interval.
        timeout_ms: u32 = 60_000, ms(1, 7_200_000);
    }

    /// The listener for Prometheus.
    metrics: Metrics {
        /// Whether to serve metrics at `/metrics`.
        enabled: bool = true, Kind::Switch;
        /// Address to listen on.
        host: String = "127.0.0.1".to_owned(), Kind::Text(HOST);
        /// TCP port to listen on; 0 takes a free one.
        port: u16 = 9090, count(0, 65_535);
    }

    /// What the server writes to standard error.
    logging: Logging {
        /// What to log: a level, or levels by module, such as `info,pulse_native=debug`.
        level: String = "info".to_owned(), Kind::Text(FILTER);
        /// Lines for people or JSON objects for machines.
        format: LogFormat = LogFormat::Text, Kind::Choice(LogFormat::WORDS);
    }

    /// Who may do what in channels without a namespace, and in those whose namespace is not configured.
    channels: Rules {
        /// Who may subscribe.
        subscribe: Who = Who::Anyone, Kind::Choice(Who::WORDS);
        /// Who may publish.
        publish: Who = Who::Anyone, Kind::Choice(Who::WORDS);
        /// Who may see who is there.
        presence: Who = Who::Anyone, Kind::Choice(Who::WORDS);
        /// What gives way when a subscriber takes publications too slowly and limits.queue_bytes wait for it.
        slow_consumer: SlowConsumer = SlowConsumer::Disconnect, Kind::Choice(SlowConsumer::WORDS);
        /// Time for which a member whose connection has ended stays listed, so that it may come back unnoticed.
        presence_grace_ms: u32 = 5_000, ms(0, 600_000);
        /// Publications that each channel keeps for those who come later; 0 keeps none.
        history_size: u32 = 0, count(0, 1_000_000);
        /// Size of what each channel keeps at most, with 64 bytes for each publication.
        history_bytes: u32 = 1_048_576, bytes(1_024, 1_073_741_824);
        /// Time for which a publication is kept, and a channel that nobody uses.
        history_ttl: u32 = 300_000, ms(1, 604_800_000);
        /// Whether each channel keeps only the newest publication of each key, and those without a key as ever.
        history_per_key: bool = false, Kind::Switch;
        /// Whether a subscriber that comes back gets what it missed, where there is history.
        recovery: bool = true, Kind::Switch;
        /// Time for which a publication is known by its idempotency key, where there is history; 0 knows none.
        idempotency_window: u32 = 300_000, ms(0, 86_400_000);
        /// Whether a publication is on disk before anybody gets it, and is kept over a restart; needs history_size and store.path.
        durable: bool = false, Kind::Switch;
    }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Number { min, max, unit: "" }
}

const fn ms(min: u64, max: u64) -> Kind {
    Kind::Number { min, max, unit: "ms" }
}

const fn bytes(min: u64, max: u64) -> Kind {
    Kind::Number { min, max, unit: "bytes" }
}

macro_rules! words {
    ($(#[$about:meta])* $Name:ident { $( $(#[$doc:meta])* $Variant:ident = $word:literal, )* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Name {
            $( $(#[$doc])* $Variant, )*
        }

        impl $Name {
            const WORDS: &[&str] = &[$($word),*];
        }

        impl Field for $Name {
            fn to_value(&self) -> Value {
                Value::Text(match self { $( Self::$Variant => $word, )* }.to_owned())
            }

            fn set(&mut self, value: Value) {
                *self = match value {
                    $( Value::Text(text) if text == $word => Self::$Variant, )*
                    other => unreachable!("the kind's words are those of the type, not {other}"),
                };
            }
        }
    };
}

words! {
    /// Who may do something.
    Who {
        /// Every client.
        Anyone = "anyone",
        /// No client.
        Nobody = "nobody",
    }
}

words! {
    /// What gives way to new publications.
    SlowConsumer {
        /// The connection.
        Disconnect = "disconnect",
        /// The oldest publications.
        DropOldest = "drop_oldest",
        /// The older publications with the same key.
        LatestPerKey = "latest_per_key",
    }
}

words! {
    /// Whether the page for trying the server out is served.
    Playground {
        /// Where only this machine reaches it.
        Auto = "auto",
        /// Everywhere.
        On = "on",
        /// Nowhere.
        Off = "off",
    }
}

words! {
    /// Whether the HTTP API is served.
    ApiEnabled {
        /// Where it has a key, or only this machine reaches it.
        Auto = "auto",
        /// In any case; on an address that is not loopback it needs a key.
        On = "on",
        /// Nowhere.
        Off = "off",
    }
}

words! {
    /// How a log line looks.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Config, *};

    /// A few values at the edge of what a setting takes.
    fn edges(setting: &Setting) -> Vec<Value> {
        match &setting.kind {
            Kind::Switch => vec![Value::Switch(true), Value::Switch(false)],
            Kind::NotYet(_) => vec![Value::Switch(false)],
            Kind::Number { min, max, .. } => vec![Value::Number(*min), Value::Number(*max)],
            Kind::Choice(words) => words.iter().map(|&word| Value::Text(word.to_owned())).collect(),
            Kind::Text(_) => vec![setting.default_value()],
            Kind::List(rule) => {
                let one = if rule.name == NETWORK.name { "::/0" } else { "*" };
                vec![Value::List(vec![]), Value::List(vec![one.to_owned()])]
            }
        }
    }

    #[test]
    fn every_setting_holds_the_bounds_of_its_kind() {
        for setting in SETTINGS {
            for value in edges(setting) {
                let checked = setting.kind.check(value.clone()).expect("an edge is allowed");
                let mut config = Config::default();
                (setting.write)(&mut config, checked);
                assert_eq!(setting.value(&config), value, "{}", setting.path());
            }
        }
    }

    #[test]
    fn every_default_is_allowed() {
        for setting in SETTINGS {
            let default = setting.default_value();
            assert_eq!(setting.kind.check(default.clone()), Ok(default), "{}", setting.path());
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_first_release() {
        let config = Config::default();
        assert_eq!((config.server.host.as_str(), config.server.port), ("127.0.0.1", 8080));
        assert_eq!(config.transport.websocket_path, "/ws");
        let limits = config.limits;
        let numbers = (limits.max_connections, limits.max_channels, limits.max_subscriptions_per_connection);
        assert_eq!(numbers, (100_000, 10_000, 100));
        assert_eq!(limits.max_message_size, 65_536);
        assert_eq!((config.heartbeat.interval_ms, config.heartbeat.timeout_ms), (30_000, 60_000));
        assert_eq!((config.metrics.enabled, config.metrics.port), (true, 9090));
        assert_eq!(config.logging.level, "info");
    }
}
