//! `pulse serve`: settings first, then logs, then the server.

use std::{
    env,
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use pulse_native::{
    config::{self, Config, Loaded},
    drain, log,
    notify::Notify,
    raise_open_files,
    server::Server,
    tls,
};

use super::{MISUSED, complain, flags::Flags, reload::Reload};

/// What to serve with.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Configuration file, in TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Flags,
}

impl Serve {
    /// Serves until the process is told to stop.
    pub(crate) fn run(self) -> ExitCode {
        match config::load(self.config.as_deref(), env::vars_os(), &self.settings.0) {
            Ok(loaded) => run(loaded, self),
            Err(errors) => {
                for error in errors.iter() {
                    complain(error);
                }
                ExitCode::from(MISUSED)
            }
        }
    }
}

fn run(loaded: Loaded, given: Serve) -> ExitCode {
    let level = log::init(&loaded.config.logging);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    announce(&loaded);
    tracing::info!("threads that serve clients: {}", loaded.config.num_shards());
    match raise_open_files() {
        Ok(limit) => tracing::info!("up to {limit} files may be open; each connection is one"),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let config = loaded.config.clone();
    let reload = Reload { file: given.config, flags: given.settings, running: loaded, level };
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(serve(&config, reload))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: &Config, reload: Reload) -> Result<(), Box<dyn Error>> {
    let options = config.to_options()?;
    let identity = options.tls.clone();
    let mut server = Server::bind(options)?;
    if let Some(store) = config.open_store()? {
        server = server.with_store(store);
    }
    let asked = drain::listen()?;
    let notify = Notify::from_env().map_err(|error| format!("NOTIFY_SOCKET names no socket: {error}"))?;
    let notify = Arc::new(notify);
    tokio::spawn(reload.follow(Arc::clone(&notify), server.origins(), identity.clone())?);
    let s = if identity.is_some() { "s" } else { "" };
    if let Some(identity) = identity {
        if let Some(warning) = identity.warning() {
            tracing::warn!("{warning}");
        }
        tokio::spawn(tls::follow(identity));
    }
    let places = Places {
        scheme: s,
        host: config.server.host.clone(),
        path: config.transport.websocket_path.clone(),
        addr: server.local_addr(),
        has_playground: server.has_playground(),
        metrics: server.metrics_addr(),
    };
    let ready = Arc::clone(&notify);
    let server = server.on_ready(move || {
        places.tell();
        ready.ready();
    });
    let shutdown = async {
        asked.await;
        notify.stopping();
    };
    let drained = server.run(config.routers(), shutdown).await?;
    match drained.cut_off {
        0 => tracing::info!("every client has left"),
        left => {
            tracing::warn!("{left} clients had not left within server.shutdown_timeout_ms and were cut off");
        }
    }
    Ok(())
}

/// Where the server is to be found.
struct Places {
    /// An `s` for TLS.
    scheme: &'static str,
    host: String,
    path: String,
    addr: Option<SocketAddr>,
    has_playground: bool,
    metrics: Option<SocketAddr>,
}

impl Places {
    fn tell(&self) {
        let Self { scheme: s, host, path, .. } = self;
        match self.addr {
            Some(addr) => tracing::info!("listening on http{s}://{addr}, WebSocket at ws{s}://{addr}{path}"),
            None => tracing::info!("listening on {host}, WebSocket at {path}"),
        }
        if let Some(addr) = self.addr.filter(|_| self.has_playground) {
            tracing::info!("try it out in a browser: http{s}://{}/", reachable(addr));
        }
        if let Some(addr) = self.metrics {
            tracing::info!("metrics on http://{addr}/metrics");
        }
    }
}

/// The address as a browser on this machine reaches it.
fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, addr.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, addr.port()).into(),
        _ => addr,
    }
}

/// Logs the effective settings, a line for each section: what holds, and what made it so.
fn announce(loaded: &Loaded) {
    let effective = loaded.effective();
    for section in effective.chunk_by(|one, next| one.section == next.section) {
        let settings: Vec<String> =
            section.iter().map(|line| format!("{} = {} ({})", line.key, line.value, line.origin)).collect();
        tracing::info!("[{}] {}", section[0].section, settings.join(", "));
    }
}
