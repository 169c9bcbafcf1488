//! The effective settings: defaults, then the file, then the environment, then flags, each stronger than the one before.
//!
//! [`load`] decides what holds and says where each value came from, or names everything that is wrong at once. It reads
//! the file that it is told to read and nothing else; the environment and the flags are handed in.
//!
//! ```
//! use pulse_native::config;
//! let environment = [("PULSE_PORT".into(), "9000".into())];
//! let loaded = config::load(None, environment, &[]).expect("9000 is a port");
//! assert_eq!(loaded.config.server.port, 9000);
//! assert_eq!(loaded.origins["server.port"].to_string(), "PULSE_PORT");
//! ```

mod apply;
mod check;
mod environment;
mod error;
mod file;
mod render;
mod rule;
mod setting;
mod suggest;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::Path,
};

pub use apply::OptionsError;
pub(crate) use suggest::nearest;

pub use error::{ConfigError, ConfigErrors, Origin};
pub use render::{default_toml, reference};
pub use setting::{Kind, Rule, Setting, Value};
pub use table::{
    Api, ApiEnabled, Heartbeat, Limits, LogFormat, Logging, Metrics, Playground, Rules, SETTINGS, Server,
    SlowConsumer, Store, Tls, Transport, Who,
};

/// Every setting's value. Fields are named as the keys of the file; times are milliseconds, sizes bytes.
///
/// Settings are read when the server starts; SIGHUP makes `pulse serve` read them again, and take a new
/// `logging.level` and new `server.origins`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The listener for clients.
    pub server: Server,
    /// The ways in which clients connect.
    pub transport: Transport,
    /// TLS on the listener for clients.
    pub tls: Tls,
    /// The HTTP API.
    pub api: Api,
    /// What clients may use at most.
    pub limits: Limits,
    /// The disk.
    pub store: Store,
    /// How the server finds out that a client is gone.
    pub heartbeat: Heartbeat,
    /// The listener for Prometheus.
    pub metrics: Metrics,
    /// What is logged, and how.
    pub logging: Logging,
    /// The rules of channels without a namespace, and of those whose namespace is not in `namespaces`.
    pub channels: Rules,
    /// The rules of each namespace, complete: what its table does not give is as in `channels`.
    pub namespaces: BTreeMap<String, Rules>,
}

/// A configuration, and how it came to be.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values that hold.
    pub config: Config,
    /// Where each came from, by the setting's full name: `server.port`, `namespaces.chat.publish`.
    pub origins: BTreeMap<String, Origin>,
    /// What is allowed, but probably not meant or not safe. One sentence each.
    pub warnings: Vec<String>,
}

/// One line of [`Loaded::effective`].
#[derive(Clone, Debug)]
pub struct Effective<'a> {
    /// The table that the setting stands in, such as `server` or `namespaces.chat`.
    pub section: String,
    /// Its key there.
    pub key: &'static str,
    /// The value that holds.
    pub value: Value,
    /// Where it came from.
    pub origin: &'a Origin,
}

impl Loaded {
    /// Every setting with its value and where that came from, in the order of the reference, namespaces last.
    #[must_use]
    pub fn effective(&self) -> Vec<Effective<'_>> {
        let settings = SETTINGS.iter().map(|setting| Effective {
            section: setting.section.to_owned(),
            key: setting.key,
            value: shown(setting, &self.config),
            origin: &self.origins[&setting.path()],
        });
        let namespaces = self.config.namespaces.iter().flat_map(|(name, rules)| {
            let view = Config { channels: rules.clone(), ..Config::default() };
            rules_settings().map(move |setting| {
                let section = format!("namespaces.{name}");
                let origin = &self.origins[&format!("{section}.{}", setting.key)];
                Effective { section, key: setting.key, value: setting.value(&view), origin }
            })
        });
        settings.chain(namespaces).collect()
    }
}

/// A value as logs and checks may show it.
fn shown(setting: &Setting, config: &Config) -> Value {
    match setting.value(config) {
        Value::Text(secret) if setting.path() == SECRET && !secret.is_empty() => {
            Value::Text("(not shown)".to_owned())
        }
        value => value,
    }
}

/// The setting whose value is not for everybody.
const SECRET: &str = "api.key";

/// Combines the sources. `flags` are full names of settings with their values, such as `("server.port", "9000")`.
///
/// # Errors
///
/// Everything that is wrong with any source; rules between settings are looked at once each source is right in itself.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[(String, String)],
) -> Result<Loaded, ConfigErrors> {
    let mut sources = Sources::default();
    if let Some(path) = file {
        file::read(path, &mut sources);
    }
    environment::read(environment, &mut sources);
    for (path, text) in flags {
        sources.flag(path, text);
    }
    if !sources.errors.is_empty() {
        return Err(ConfigErrors::new(sources.errors));
    }
    let mut loaded = combine(sources);
    let conflicts = check::conflicts(&loaded);
    if !conflicts.is_empty() {
        return Err(ConfigErrors::new(conflicts));
    }
    loaded.warnings.extend(check::warnings(&loaded));
    Ok(loaded)
}

/// What the sources gave, the weakest first.
#[derive(Default)]
struct Sources {
    given: Vec<Given>,
    namespaces: BTreeSet<String>,
    warnings: Vec<String>,
    errors: Vec<ConfigError>,
}

/// One value from one source, allowed in itself.
struct Given {
    setting: &'static Setting,
    /// The namespace whose rule it is; `setting` is then that of `[channels]`.
    namespace: Option<String>,
    value: Value,
    origin: Origin,
}

impl Sources {
    fn flag(&mut self, path: &str, text: &str) {
        let Some(setting) = by_path(path) else {
            let origin = Origin::Flag(format!("--{}", path.replace(['.', '_'], "-")));
            self.errors.push(ConfigError::Unknown { origin, key: path.to_owned(), suggestion: None });
            return;
        };
        let name = setting.short_flag().map_or_else(|| setting.flag(), str::to_owned);
        let origin = Origin::Flag(format!("--{name}"));
        match setting.kind.parse(text) {
            Ok(value) => self.given.push(Given { setting, namespace: None, value, origin }),
            Err(refused) => self.errors.push(ConfigError::BadValue {
                origin,
                key: setting.path(),
                given: if text.is_empty() { "empty" } else { text }.into(),
                allowed: setting.kind.allowed().into(),
                hint: refused.hint,
            }),
        }
    }
}

fn combine(sources: Sources) -> Loaded {
    let mut config = Config::default();
    let mut origins: BTreeMap<String, Origin> =
        SETTINGS.iter().map(|setting| (setting.path(), Origin::Default)).collect();
    let (of_namespaces, plain): (Vec<Given>, Vec<Given>) =
        sources.given.into_iter().partition(|given| given.namespace.is_some());
    for given in plain {
        (given.setting.write)(&mut config, given.value);
        origins.insert(given.setting.path(), given.origin);
    }
    // Only now, because a variable or a flag may have changed what namespaces take over.
    for name in sources.namespaces {
        for setting in rules_settings() {
            origins.insert(format!("namespaces.{name}.{}", setting.key), Origin::Channels);
        }
        let mut view = Config { channels: config.channels.clone(), ..Config::default() };
        for given in of_namespaces.iter().filter(|given| given.namespace.as_deref() == Some(&name)) {
            (given.setting.write)(&mut view, given.value.clone());
            origins.insert(format!("namespaces.{name}.{}", given.setting.key), given.origin.clone());
        }
        config.namespaces.insert(name, view.channels);
    }
    Loaded { config, origins, warnings: sources.warnings }
}

/// The settings that a namespace has too.
fn rules_settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.section == "channels")
}

fn by_path(path: &str) -> Option<&'static Setting> {
    let (section, key) = path.split_once('.')?;
    SETTINGS.iter().find(|setting| setting.section == section && setting.key == key)
}
