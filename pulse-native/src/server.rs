//! The server as its embedder sees it: options, listening addresses, running, and an orderly end.
//!
//! [`Server::bind`] takes the addresses, [`Server::run`] starts a thread for each shard and ends when it is told to.
//! Where the options come from, what is printed and which signals end the server is the embedder's business.

use std::fmt;
use std::future::{self, Future};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pulse_core::{Answer, Request, Shards};
use tokio::sync::{mpsc, watch};

use crate::address::Network;
use crate::api::Api;
use crate::engine::Engine;
use crate::handshake::{CurrentOrigins, Origins, Policy};
use crate::http::{Http, Seats, playground};
use crate::keeper::{Counts, Keeper};
use crate::metrics::{self, ShardMetrics};
use crate::shard::{Inbox, Parts, Post, Shard};
use crate::store::Store;
use crate::sys;
use crate::tls::Identity;
use crate::unix::{self, SocketFile};

/// Decides what the static rules leave open; called on a shard's thread, so it must not wait.
pub type Authorize = Box<dyn Fn(&Request) -> Answer + Send + Sync>;

/// Everything that a server is told before it starts. Times are milliseconds, sizes bytes.
pub struct Options {
    /// The address for clients: a name or an IP address. Of a name with several addresses, the first that can be
    /// listened on is taken. Or `unix:` and the path of a Unix socket, which has neither port nor TLS.
    pub host: String,
    /// Its port; 0 takes a free one.
    pub port: u16,
    /// Address and port of `/metrics`; `None` serves no metrics.
    pub metrics: Option<(String, u16)>,
    /// Whether WebSockets are accepted.
    pub websocket: bool,
    /// The path of the WebSocket endpoint.
    pub path: String,
    /// Whether `/` is a page for trying the server out; `None` serves it where the address is a loopback one. It needs
    /// WebSockets, and `/` not to be their path.
    pub playground: Option<bool>,
    /// Whether the HTTP API is served; `None` serves it where there is a key or the address is a loopback one.
    pub api: Option<bool>,
    /// The key that callers of the HTTP API have to send; without one, only programs on this machine may call it.
    pub api_key: Option<String>,
    /// The pages, besides those of the server's own host, that may connect; [`Server::origins`] replaces them later.
    pub origins: Origins,
    /// Who the server is; `None` serves without TLS, otherwise nothing is served without.
    pub tls: Option<Arc<Identity>>,
    /// WebSockets open at a time; the next one is answered 503.
    pub max_connections: usize,
    /// WebSockets open at a time from one address, or from one network of 64 bits of IPv6; the next one is answered 429.
    /// 0 sets no limit.
    pub max_connections_per_address: usize,
    /// Proxies that are believed who their clients are.
    pub trusted_proxies: Vec<Network>,
    /// The largest WebSocket message that is taken, frames of the protocol included; a larger one closes with 1009.
    pub max_message: usize,
    /// Time for a request head, and for which an HTTP connection may be idle.
    pub handshake_timeout_ms: u64,
    /// Time for all clients to go when the server stops; those that are left are cut off.
    pub shutdown_timeout_ms: u64,
    /// Time over which clients spread their return when the server stops.
    pub retry_spread_ms: u32,
    /// While a shard reads from nobody because too much is unsent: after how long what waits for clients that take nothing
    /// at all no longer counts, so that the others go on.
    pub stall_timeout_ms: u64,
    /// Threads with an engine of their own, 1 to 64; less counts as 1, more as 64.
    pub shards: usize,
    /// Answers [`Effect::Authorize`](pulse_core::Effect::Authorize); without it, all of them are denied.
    pub authorize: Option<Authorize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8080,
            metrics: None,
            websocket: true,
            path: "/ws".into(),
            playground: None,
            api: None,
            api_key: None,
            origins: Origins::default(),
            tls: None,
            max_connections: 100_000,
            max_connections_per_address: 0,
            trusted_proxies: Vec::new(),
            max_message: 1 << 20,
            handshake_timeout_ms: 10_000,
            shutdown_timeout_ms: 10_000,
            retry_spread_ms: 5_000,
            stall_timeout_ms: 1_000,
            shards: 1,
            authorize: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("path", &self.path)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

/// A server whose addresses are taken. Connections are completed by the kernel from now on, and served by
/// [`run`](Self::run).
pub struct Server {
    options: Options,
    listener: OwnedFd,
    /// `None` for a Unix socket, whose file is the next field.
    local_addr: Option<SocketAddr>,
    socket_file: Option<SocketFile>,
    metrics: Option<(TcpListener, SocketAddr)>,
    origins: CurrentOrigins,
    seats: Arc<Seats>,
    store: Option<Store>,
    ready: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("options", &self.options)
            .field("local_addr", &self.local_addr)
            .field("metrics", &self.metrics)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// WebSockets that had not ended when the time was over.
    pub cut_off: usize,
}

impl Server {
    /// Takes the addresses.
    ///
    /// # Errors
    /// A sentence about the address that cannot be listened on.
    pub fn bind(options: Options) -> Result<Self, BindError> {
        let (listener, local_addr, socket_file) = match options.host.strip_prefix(unix::PREFIX) {
            Some(path) => {
                let (listener, file) = listen_unix(path, &options)?;
                (listener, None, Some(file))
            }
            None => {
                let (listener, local_addr) = listen("server", &options.host, options.port)?;
                (listener.into(), Some(local_addr), None)
            }
        };
        let metrics = match &options.metrics {
            Some((host, port)) => Some(listen("metrics", host, *port)?),
            None => None,
        };
        if options.api == Some(true) && options.api_key.is_none() && !is_loopback(local_addr) {
            let source = io::Error::other("the HTTP API is on, and without api.key anybody could use it");
            let address = local_addr.map_or_else(|| options.host.clone(), |addr| addr.to_string());
            return Err(BindError { section: "api", address, source });
        }
        let seats = Arc::new(Seats::new(options.max_connections, options.max_connections_per_address));
        let origins = options.origins.clone().into();
        let (store, ready) = (None, Box::new(|| ()));
        Ok(Self { options, listener, local_addr, socket_file, metrics, origins, seats, store, ready })
    }

    /// Has this called as soon as all shards serve: when their engines have taken back what is stored.
    #[must_use]
    pub fn on_ready(mut self, ready: impl FnOnce() + Send + 'static) -> Self {
        self.ready = Box::new(ready);
        self
    }

    /// Keeps in this store what is durable, after the engines have taken back what is there. Without one, what is to be durable
    /// is refused.
    #[must_use]
    pub fn with_store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// The address for clients, with its real port; `None` if they come by a Unix socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// The address of the metrics, with its real port; `None` if there are none.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(_, addr)| *addr)
    }

    /// Whether the page for trying the server out is served at `/`.
    #[must_use]
    pub fn has_playground(&self) -> bool {
        let Options { playground, websocket, path, .. } = &self.options;
        playground.unwrap_or_else(|| is_loopback(self.local_addr)) && *websocket && path != playground::PATH
    }

    /// Whether the HTTP API is served at `/api/v1/`.
    #[must_use]
    pub fn has_api(&self) -> bool {
        let Options { api, api_key, .. } = &self.options;
        api.unwrap_or_else(|| api_key.is_some() || is_loopback(self.local_addr))
    }

    /// Replaces the origins of pages that may connect, also while the server runs.
    #[must_use]
    pub fn origins(&self) -> CurrentOrigins {
        self.origins.clone()
    }

    /// Counts the open WebSockets, also while the server runs.
    #[must_use]
    pub fn seats(&self) -> Arc<Seats> {
        Arc::clone(&self.seats)
    }

    /// Serves until `shutdown` is ready, then takes leave of everybody: no more connections are accepted, the engines
    /// drain, and what is left after the shutdown time is cut off. `engine` makes each shard's engine, on its thread.
    ///
    /// Needs a tokio runtime with I/O and time around it, which serves the metrics.
    ///
    /// # Errors
    /// A shard that could not start, or ended early by a panic of its engine.
    pub async fn run<E: Engine>(
        self,
        engine: impl Fn(usize) -> E + Send + Sync + 'static,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<Drained> {
        let (stop, stopped) = watch::channel(false);
        let (ended, mut ends) = mpsc::unbounded_channel();
        let (serving, mut served) = mpsc::unbounded_channel();
        let engine = Arc::new(engine);
        let num_shards = self.options.shards.clamp(1, Shards::MAX.into());
        let posts = Post::new(num_shards as u16);
        let counters: Vec<Arc<ShardMetrics>> = (0..num_shards).map(|_| Arc::default()).collect();
        let (playground, has_api) = (self.has_playground(), self.has_api());
        let options = Arc::new(self.options);
        let policy = Policy {
            path: options.path.clone(),
            origins: self.origins,
            bound_to_loopback: is_loopback(self.local_addr),
        };
        let proxies: Arc<[Network]> = options.trusted_proxies.as_slice().into();
        let (inboxes, inbox_ends): (Vec<_>, Vec<_>) =
            (0..num_shards).map(|_| mpsc::unbounded_channel()).unzip();
        let patience = Duration::from_millis(options.handshake_timeout_ms);
        let api = has_api.then(|| {
            let (key, max_message) = (options.api_key.as_deref(), options.max_message);
            Arc::new(Api::new(key, policy.clone(), max_message, patience, inboxes.clone()))
        });
        let counts = Arc::<Counts>::default();
        let start = |store| Keeper::start(store, inboxes.clone(), Arc::clone(&counts));
        let (keeper, storing) = self.store.map(start).transpose()?.unzip();
        for (index, ((counters, post), inbox)) in counters.iter().zip(posts).zip(inbox_ends).enumerate() {
            let http = Arc::new(Http {
                policy: policy.clone(),
                websocket: options.websocket,
                playground,
                seats: Arc::clone(&self.seats),
                proxies: Arc::clone(&proxies),
                metrics: Arc::clone(counters),
                api: api.as_ref().map(|api| (Arc::clone(api), index)),
                inbox: inboxes[index].clone(),
                patience,
                stop: stopped.clone(),
                slots: Http::slots(),
            });
            let listener = self.listener.try_clone()?;
            let (options, metrics) = (Arc::clone(&options), Arc::clone(counters));
            let (engine, keeper) = (Arc::clone(&engine), keeper.clone());
            let (ended, serving) = (ended.clone(), serving.clone());
            thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
                let serve = || {
                    let parts = || Parts {
                        engine: engine(index),
                        listener,
                        options,
                        http,
                        inbox,
                        post,
                        keeper,
                        metrics,
                    };
                    // As below.
                    serve(parts, || {
                        let _ = serving.send(());
                    })
                };
                let end = catch_unwind(AssertUnwindSafe(serve))
                    .unwrap_or_else(|_| Err(io::Error::other(format!("shard {index} panicked"))));
                // Nobody listens if `run` was dropped: the process is about to end.
                let _ = ended.send(end);
            })?;
        }
        // The shards' copies keep the socket open until they have drained.
        drop(self.listener);
        // And theirs keep the store's thread running.
        drop(keeper);
        let scraped = match self.metrics {
            Some((listener, _)) => {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let mut registry = metrics::registry(counters);
                metrics::register_store(&mut registry, counts);
                Some(tokio::spawn(metrics::serve(listener, registry)))
            }
            None => None,
        };

        let ready = async {
            for _ in 0..num_shards {
                served.recv().await;
            }
            (self.ready)();
            future::pending::<()>().await;
        };
        let early = tokio::select! {
            () = shutdown => None,
            end = ends.recv() => end,
            () = ready => None,
        };
        stop.send_replace(true);
        // From now on another server may have the place.
        drop(self.socket_file);
        let deadline = Instant::now() + Duration::from_millis(options.shutdown_timeout_ms);
        for inbox in &inboxes {
            // Fails for a shard that has ended.
            let _ = inbox.send(Inbox::Drain(deadline));
        }
        let mut cut_off = 0;
        let mut failed = Ok(());
        let mut note = |end: io::Result<usize>| match end {
            Ok(left) => cut_off += left,
            Err(error) => failed = Err(error),
        };
        let left = num_shards - usize::from(early.is_some());
        early.into_iter().for_each(&mut note);
        for _ in 0..left {
            note(ends.recv().await.expect("every shard tells of its end"));
        }
        if let Some(scraped) = scraped {
            scraped.abort();
        }
        if storing.is_some_and(|storing| storing.join().is_err()) {
            failed = failed.and_then(|()| Err(io::Error::other("the store's thread panicked")));
        }
        failed.map(|()| Drained { cut_off })
    }
}

/// Whether the network reaches only this machine's own programs there. A Unix socket does not count: what listens there is
/// most often meant for a proxy, which lets everybody in.
fn is_loopback(addr: Option<SocketAddr>) -> bool {
    addr.is_some_and(|addr| addr.ip().to_canonical().is_loopback())
}

fn listen_unix(path: &str, options: &Options) -> Result<(OwnedFd, SocketFile), BindError> {
    let listening = if options.tls.is_some() {
        let text =
            "a Unix socket has no TLS; leave tls.cert and tls.key out, or set server.host to an address";
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    } else {
        unix::listen(Path::new(path))
    };
    listening.map_err(|source| BindError { section: "server", address: options.host.clone(), source })
}

/// The life of a shard's thread.
fn serve<E: Engine>(parts: impl FnOnce() -> Parts<E>, ready: impl FnOnce()) -> io::Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let shard = Shard::new(parts())?;
        ready();
        Ok(shard.run().await)
    })
}

fn listen(section: &'static str, host: &str, port: u16) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |address: String, source| BindError { section, address, source };
    let mut last = None;
    let name = || format!("{host}:{port}");
    for addr in (host, port).to_socket_addrs().map_err(|error| failed(name(), error))? {
        match sys::listen(addr).and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((local_addr, listener)) => return Ok((listener, local_addr)),
            Err(error) => last = Some(failed(addr.to_string(), error)),
        }
    }
    Err(last.unwrap_or_else(|| failed(name(), io::Error::other("the name has no address"))))
}

/// An address that cannot be listened on. The text says which setting to change.
#[derive(Debug)]
pub struct BindError {
    /// The section of the configuration that is to blame: `server`, `metrics` or `api`.
    pub section: &'static str,
    /// Address and port, or `unix:` and a path.
    pub address: String,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { section, address, source } = self;
        write!(f, "cannot listen on {address}: ")?;
        match source.kind() {
            // Which says what to do by itself.
            _ if *section == "server" && address.starts_with(unix::PREFIX) => write!(f, "{source}"),
            io::ErrorKind::AddrInUse => write!(
                f,
                "another program has this port; stop it, or set {section}.port to another one (0 takes a free one)"
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "this user may not; set {section}.port to 1024 or more, or give the program CAP_NET_BIND_SERVICE"
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "this machine does not have the address; set {section}.host to one of its own, or to 0.0.0.0 for all"
            ),
            _ if *section == "api" => write!(f, "{source}; set api.key, or set api.enabled to auto or off"),
            _ => write!(f, "{source}; check {section}.host and {section}.port"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(host: &str, port: u16) -> Result<Server, BindError> {
        Server::bind(Options { host: host.into(), port, ..Options::default() })
    }

    #[test]
    fn an_address_in_use_is_named_with_a_way_out() {
        let first = bind("127.0.0.1", 0).unwrap();
        let addr = first.local_addr().unwrap();
        let error = bind("127.0.0.1", addr.port()).unwrap_err().to_string();
        let expected = format!("cannot listen on {addr}: another program has this port");
        assert!(error.starts_with(&expected) && error.contains("server.port"), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_is_named_with_a_way_out() {
        // TEST-NET-1 (RFC 5737) belongs to nobody.
        let error = bind("192.0.2.1", 0).unwrap_err().to_string();
        assert!(error.starts_with("cannot listen on 192.0.2.1:0: this machine does not have"), "{error}");
    }

    #[test]
    fn a_forbidden_port_is_named_with_a_way_out() {
        let source = io::ErrorKind::PermissionDenied.into();
        let error = BindError { section: "server", address: "127.0.0.1:80".into(), source }.to_string();
        assert!(error.contains("127.0.0.1:80") && error.contains("1024 or more"), "{error}");
    }
}
