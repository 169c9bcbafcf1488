//! From settings to what the core and the server are made with.

use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::{error, fmt};

use pulse_core::{Namespace, Router, Rule, Seed, Shards};

use super::{ApiEnabled, Config, Playground, Rules, SlowConsumer, Who};
use crate::address::Network;
use crate::handshake::{OriginError, Origins};
use crate::server::Options;
use crate::store::{Store, StoreError};
use crate::tls::{Identity, TlsError};

/// Why settings that are right in themselves do not make a server.
#[derive(Debug)]
pub enum OptionsError {
    /// `server.origins` holds something else than origins.
    Origin(OriginError),
    /// The files of `tls` cannot be used.
    Tls(TlsError),
}

impl Config {
    /// Threads that serve clients: `server.shards`, or as many as there are processors for this process.
    #[must_use]
    pub fn num_shards(&self) -> u16 {
        match self.server.shards {
            // Where the system does not tell, one is right for the smallest machine.
            0 => available_parallelism().map_or(1, |cores| cores.get().min(Shards::MAX.into()) as u16),
            shards => shards,
        }
    }

    /// What a router is made with that shares its channels with no other.
    ///
    /// ```
    /// let core = pulse_native::config::Config::default().to_core();
    /// assert_eq!(core.limits, pulse_core::Limits::default());
    /// assert_eq!(core.heartbeat, pulse_core::Heartbeat::default());
    /// ```
    #[must_use]
    pub fn to_core(&self) -> pulse_core::Config {
        let limits = &self.limits;
        pulse_core::Config {
            limits: pulse_core::Limits {
                max_channels: limits.max_channels,
                max_subscriptions_per_connection: limits.max_subscriptions_per_connection,
                max_message_size: limits.max_message_size,
                queue_bytes: limits.queue_bytes,
                max_presence_size: limits.max_presence_size,
                history_bytes: limits.history_bytes,
                peer_bytes: pulse_core::Limits::default().peer_bytes,
            },
            heartbeat: pulse_core::Heartbeat {
                interval_ms: self.heartbeat.interval_ms,
                timeout_ms: self.heartbeat.timeout_ms,
                connect_ms: self.server.handshake_timeout_ms,
            },
            rules: rules(&self.channels),
            namespaces: self
                .namespaces
                .iter()
                .map(|(name, own)| Namespace { name: name.as_str().into(), rules: rules(own) })
                .collect(),
            connect: Rule::Anyone,
            shards: Shards::default(),
        }
    }

    /// What a server is bound with.
    ///
    /// # Errors
    /// If the files of `tls` cannot be used, or an entry of `server.origins` is no origin; [`load`](super::load) has refused
    /// the latter already.
    pub fn to_options(&self) -> Result<Options, OptionsError> {
        let (server, limits, tls) = (&self.server, &self.limits, &self.tls);
        let identity = (!tls.cert.is_empty()).then(|| Identity::load(&tls.cert, &tls.key)).transpose()?;
        Ok(Options {
            host: server.host.clone(),
            port: server.port,
            metrics: self.metrics.enabled.then(|| (self.metrics.host.clone(), self.metrics.port)),
            websocket: self.transport.websocket,
            path: self.transport.websocket_path.clone(),
            playground: match server.playground {
                Playground::Auto => None,
                Playground::On => Some(true),
                Playground::Off => Some(false),
            },
            api: match self.api.enabled {
                ApiEnabled::Auto => None,
                ApiEnabled::On => Some(true),
                ApiEnabled::Off => Some(false),
            },
            api_key: Some(self.api.key.clone()).filter(|key| !key.is_empty()),
            origins: Origins::parse(&server.origins)?,
            tls: identity.map(Arc::new),
            max_connections: limits.max_connections as usize,
            max_connections_per_address: limits.max_connections_per_address as usize,
            trusted_proxies: server.trusted_proxies.iter().filter_map(|text| Network::parse(text)).collect(),
            max_message: self.to_core().limits.transport_message(),
            handshake_timeout_ms: server.handshake_timeout_ms.into(),
            shutdown_timeout_ms: server.shutdown_timeout_ms.into(),
            retry_spread_ms: server.retry_spread_ms,
            shards: self.num_shards().into(),
            ..Options::default()
        })
    }

    /// Opens the folder of the store, if there is one; it is made if it is new. For
    /// [`Server::with_store`](crate::server::Server::with_store): only a server that is
    /// about to start has any business there.
    ///
    /// # Errors
    /// If another server has it open, or what is there is no store that can be used.
    pub fn open_store(&self) -> Result<Option<Store>, StoreError> {
        let path = &self.store.path;
        (!path.is_empty()).then(|| Store::open(Path::new(path))).transpose()
    }

    /// Makes the router of each shard, for [`Server::run`](crate::server::Server::run).
    pub fn routers(&self) -> impl Fn(usize) -> Router + Send + Sync + use<> {
        // Keyed by the system's randomness, once a process.
        let seeds = RandomState::new();
        let shards = Shards { index: 0, count: self.num_shards(), key: seeds.hash_one("homes") };
        let core = pulse_core::Config { shards, ..self.to_core() };
        move |shard| {
            let index = u16::try_from(shard).expect("shards are counted by a u16");
            let core = pulse_core::Config { shards: Shards { index, ..core.shards }, ..core.clone() };
            Router::new(core, Seed(seeds.hash_one(shard)))
        }
    }
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(error) => write!(f, "server.origins: {error}"),
            Self::Tls(error) => write!(f, "{error}"),
        }
    }
}

impl error::Error for OptionsError {}

impl From<OriginError> for OptionsError {
    fn from(error: OriginError) -> Self {
        Self::Origin(error)
    }
}

impl From<TlsError> for OptionsError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

fn rules(rules: &Rules) -> pulse_core::Rules {
    let rule = |who| match who {
        Who::Anyone => Rule::Anyone,
        Who::Nobody => Rule::Nobody,
    };
    pulse_core::Rules {
        subscribe: rule(rules.subscribe),
        publish: rule(rules.publish),
        presence: rule(rules.presence),
        slow_consumer: match rules.slow_consumer {
            SlowConsumer::Disconnect => pulse_core::SlowConsumer::Disconnect,
            SlowConsumer::DropOldest => pulse_core::SlowConsumer::DropOldest,
            SlowConsumer::LatestPerKey => pulse_core::SlowConsumer::LatestPerKey,
        },
        presence_grace_ms: rules.presence_grace_ms,
        history_size: rules.history_size,
        history_bytes: rules.history_bytes,
        history_ttl_ms: rules.history_ttl,
        history_per_key: rules.history_per_key,
        recovery: rules.recovery,
        idempotency_window_ms: rules.idempotency_window,
        durable: rules.durable,
    }
}
