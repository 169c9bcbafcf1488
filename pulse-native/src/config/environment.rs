//! Variables that start with `PULSE_`.
//!
//! Kubernetes puts variables of the same shape into every container beside a service named pulse; those are told apart
//! here, since a server that starts with another service's address is worse than one that does not start.

use std::{collections::BTreeMap, ffi::OsString};

use super::{
    Given, Sources,
    error::{ConfigError, Origin},
    setting::Setting,
    suggest::nearest,
    table::SETTINGS,
};

const PREFIX: &str = "PULSE_";

/// Adds what the environment gives.
pub(super) fn read(environment: impl IntoIterator<Item = (OsString, OsString)>, into: &mut Sources) {
    // Sorted, so that the same environment gives the same report.
    let mut ours: BTreeMap<String, OsString> = environment
        .into_iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, value)| name.starts_with(PREFIX) && !is_blank(value))
        .collect();
    for setting in SETTINGS {
        let mut first: Option<Given> = None;
        for name in [Some(setting.variable()), setting.short_variable()].into_iter().flatten() {
            let Some(value) = ours.remove(&name) else { continue };
            match (given(setting, name, value), &first) {
                (Ok(given), None) => first = Some(given),
                (Ok(given), Some(first)) if given.value == first.value => {}
                (Ok(given), Some(first)) => into.errors.push(disagreement(first, given)),
                (Err(error), _) => into.errors.push(error),
            }
        }
        into.given.extend(first);
    }
    for (name, value) in ours {
        if !is_kubernetes(&name, &value) {
            into.warnings.push(stray(&name));
        }
    }
}

/// An empty variable is an unset one.
fn is_blank(value: &OsString) -> bool {
    value.to_str().is_some_and(|text| text.trim().is_empty())
}

fn given(setting: &'static Setting, name: String, value: OsString) -> Result<Given, ConfigError> {
    let origin = Origin::Variable(name);
    let Ok(text) = value.into_string() else { return Err(ConfigError::NotText { origin }) };
    match setting.kind.parse(&text) {
        Ok(value) => Ok(Given { setting, namespace: None, value, origin }),
        Err(refused) => {
            let kubernetes = || {
                "Kubernetes sets this variable for a service of this name: \
                 put enableServiceLinks: false into the pod's spec, or rename the service"
                    .into()
            };
            let hint = if is_link(&text) { Some(kubernetes()) } else { refused.hint };
            let (key, allowed) = (setting.path(), setting.kind.allowed().into());
            Err(ConfigError::BadValue { origin, key, given: text.into(), allowed, hint })
        }
    }
}

fn disagreement(first: &Given, second: Given) -> ConfigError {
    let text = format!(
        "{} is {} here and {} in {}; set one of them",
        second.setting.path(),
        second.value,
        first.value,
        first.origin
    );
    ConfigError::Conflict { origin: second.origin, text }
}

/// What Kubernetes says of a service in `<SERVICE>_PORT`.
fn is_link(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.trim_start().starts_with(scheme))
}

/// Whether Kubernetes sets such a variable, for a service named pulse or one whose name starts so.
fn is_kubernetes(name: &str, value: &OsString) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let is_protocol = |word: &str| matches!(word, "TCP" | "UDP" | "SCTP");
    let service = words.windows(2).any(|pair| matches!(pair, ["SERVICE", "HOST" | "PORT"]));
    let port =
        words.windows(3).any(|three| three[0] == "PORT" && is_number(three[1]) && is_protocol(three[2]));
    service || port || (name.ends_with("_PORT") && value.to_str().is_some_and(is_link))
}

/// A variable with our prefix that is no setting: said, not refused, because it may be meant for someone else.
fn stray(name: &str) -> String {
    if name == "PULSE_CONFIG" {
        return "PULSE_CONFIG is not used: name the configuration file by the flag --config".to_owned();
    }
    if name.starts_with("PULSE_NAMESPACES_") {
        return format!("{name} is not used: only the configuration file sets namespaces");
    }
    let known: Vec<String> = SETTINGS
        .iter()
        .flat_map(|setting| [Some(setting.variable()), setting.short_variable()])
        .flatten()
        .collect();
    let near = nearest(name, known.iter().map(String::as_str));
    near.map_or_else(
        || format!("{name} is not a setting, so it changes nothing"),
        |near| format!("{name} is not a setting, so it changes nothing; did you mean {near}?"),
    )
}
