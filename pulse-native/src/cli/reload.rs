//! SIGHUP: reads the configuration and the certificate again, takes what a running server can take, and says what it cannot.

use std::{env, future::Future, io, path::PathBuf, sync::Arc};

use pulse_native::{
    config::{self, Loaded},
    handshake::{CurrentOrigins, Origins},
    log::Level,
    notify::Notify,
    tls::{self, Identity},
};
use tokio::signal::unix::{SignalKind, signal};

use super::flags::Flags;

/// The settings that a running server takes.
const TAKEN: [(&str, &str); 2] = [("logging", "level"), ("server", "origins")];

/// Where the settings came from, and which hold.
pub(crate) struct Reload {
    pub(crate) file: Option<PathBuf>,
    pub(crate) flags: Flags,
    pub(crate) running: Loaded,
    pub(crate) level: Level,
}

impl Reload {
    /// Reads the settings again whenever SIGHUP comes, which ends the process no more, then the files of `identity`; the
    /// service manager hears of the beginning and of the end. Never ends; needs a tokio runtime around it.
    ///
    /// # Errors
    /// If the signal cannot be listened to.
    pub(crate) fn follow(
        mut self,
        notify: Arc<Notify>,
        origins: CurrentOrigins,
        identity: Option<Arc<Identity>>,
    ) -> io::Result<impl Future<Output = ()>> {
        let mut hangup = signal(SignalKind::hangup())?;
        Ok(async move {
            while hangup.recv().await.is_some() {
                notify.reloading();
                self.settings(&origins);
                if let Some(identity) = &identity {
                    tls::renew(identity);
                }
                // Also where the settings could not be taken: it serves, and has said in the log what is wrong.
                notify.ready();
            }
        })
    }

    fn settings(&mut self, origins: &CurrentOrigins) {
        let loaded = match config::load(self.file.as_deref(), env::vars_os(), &self.flags.0) {
            Ok(loaded) => loaded,
            Err(errors) => {
                for error in errors.iter() {
                    tracing::error!("{error}");
                }
                tracing::error!("SIGHUP: the settings stay as they were");
                return;
            }
        };
        for change in changes(&self.running, &loaded) {
            tracing::warn!("SIGHUP: {change} needs a restart");
        }
        // Compared with what runs, not with what was read last: a change that is taken back needs no restart.
        let (running, now) = (&mut self.running.config, &loaded.config);
        let level = &now.logging.level;
        if *level != running.logging.level && self.level.set(level) {
            running.logging.level.clone_from(level);
            tracing::info!("SIGHUP: logging.level is {level:?} now");
        }
        let listed = &now.server.origins;
        if *listed != running.server.origins {
            match Origins::parse(listed) {
                Ok(parsed) => {
                    origins.set(parsed);
                    running.server.origins.clone_from(listed);
                    tracing::info!("SIGHUP: server.origins is {listed:?} now; who is connected stays");
                }
                Err(error) => tracing::error!("SIGHUP: server.origins stays as it was: {error}"),
            }
        }
        tracing::info!("SIGHUP: the configuration has been read again");
    }
}

/// What differs, beside what is taken: one text each.
fn changes(running: &Loaded, loaded: &Loaded) -> Vec<String> {
    let (old, new) = (running.effective(), loaded.effective());
    let mut changes = Vec::new();
    for now in new.iter().filter(|now| !TAKEN.contains(&(&*now.section, now.key))) {
        let before = old.iter().find(|old| old.section == now.section && old.key == now.key);
        let (name, value, origin) = (format!("{}.{}", now.section, now.key), &now.value, now.origin);
        match before {
            Some(before) if before.value == now.value => {}
            Some(before) => changes.push(format!("{name} = {value} ({origin}) instead of {}", before.value)),
            None => changes.push(format!("{name} = {value} ({origin})")),
        }
    }
    let gone = running.config.namespaces.keys().filter(|name| !loaded.config.namespaces.contains_key(*name));
    changes.extend(gone.map(|name| format!("taking [namespaces.{name}] away")));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(flags: &[(&str, &str)]) -> Loaded {
        let flags: Vec<_> = flags.iter().map(|(path, value)| ((*path).into(), (*value).into())).collect();
        config::load(None, [], &flags).expect("these are settings")
    }

    #[test]
    fn a_change_is_told_with_both_values_and_its_place() {
        let told = changes(
            &loaded(&[]),
            &loaded(&[("server.port", "9000"), ("logging.level", "debug"), ("server.origins", "*")]),
        );
        assert_eq!(told, ["server.port = 9000 (--port) instead of 8080"]);
    }

    #[test]
    fn the_same_value_from_another_place_is_no_change() {
        assert!(changes(&loaded(&[]), &loaded(&[("server.port", "8080")])).is_empty());
    }
}
