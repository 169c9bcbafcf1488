//! Everything that is not a plain WebSocket upgrade: ordinary tokio and hyper on the shard's thread.
//!
//! Answers `/health`, serves the [`playground`] and the [`api`], tells why a request for a WebSocket is refused, and serves the valid
//! upgrades that the shard's own parser left to hyper: their sockets go back to the shard through its [`Inbox`].

pub(crate) mod playground;
mod prefixed;
mod seats;

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, UPGRADE};
use hyper::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::debug;

use self::prefixed::{Parts, Prefixed, Stream};
pub use self::seats::Seats;
pub(crate) use self::seats::{Seat, Taken};
use crate::address::{self, Neighbours, Network, Peer};
use crate::api::{self, Api};
use crate::handshake::{self, Accepted, Policy, Refusal};
use crate::metrics::{Refused, ShardMetrics};
use crate::shard::Inbox;
use crate::sys;
use crate::tls::Session;

/// HTTP connections that a shard serves at the same time. They hold buffers, other than WebSockets.
const CONNECTIONS: usize = 256;

/// Longer heads get 431.
const HEAD_MAX: usize = 32 << 10;

/// A connection is kept alive no longer than this, so that none can be held by a peer that reads no answers.
const LIFETIME: Duration = Duration::from_secs(60);

/// Seconds after which a client that found no seat may try again.
const RETRY_AFTER_S: &str = "5";

/// The HTTP side of one shard.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) policy: Policy,
    /// Whether the policy's path is served at all.
    pub(crate) websocket: bool,
    /// Whether the playground is served.
    pub(crate) playground: bool,
    /// The HTTP API, where it is served, and the number of this shard.
    pub(crate) api: Option<(Arc<Api>, usize)>,
    pub(crate) seats: Arc<Seats>,
    /// The proxies whose word about a client's address is taken.
    pub(crate) proxies: Arc<[Network]>,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) inbox: mpsc::UnboundedSender<Inbox>,
    /// For a request head, and for an answer when it is time to go.
    pub(crate) patience: Duration,
    /// True when the server stops.
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) slots: Arc<Semaphore>,
}

/// A connection as it goes to hyper and comes back.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    /// `None` for plain TCP.
    pub(crate) tls: Option<Box<Session>>,
    /// Records that are to be sent before anything else.
    pub(crate) unsent: Vec<u8>,
}

/// A socket that is a WebSocket now.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) socket: Socket,
    pub(crate) accepted: Accepted,
    /// What came behind the request.
    pub(crate) early: Vec<u8>,
    pub(crate) seat: Seat,
}

impl Http {
    pub(crate) fn slots() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(CONNECTIONS))
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn seats(&self) -> &Seats {
        &self.seats
    }

    /// With whom a client shares its allowance; `None` where nobody counts.
    pub(crate) fn neighbours<'a>(
        &self,
        peer: Option<Peer>,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Option<Neighbours> {
        let peer = peer.filter(|_| self.seats.count_addresses())?;
        Some(Neighbours::of(address::client(peer, headers, &self.proxies)))
    }

    /// Serves a connection whose first bytes were read already, as a task of this thread's runtime.
    pub(crate) fn serve(self: &Arc<Self>, socket: Socket, early: Vec<u8>) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            debug!("an http connection is refused: {CONNECTIONS} are open");
            return refuse_at_once(socket);
        };
        let Socket { fd, tls, unsent } = socket;
        let peer = sys::peer(&fd);
        match Stream::new(fd) {
            Ok(stream) => {
                let io = Prefixed::new(early, stream, tls, unsent);
                drop(tokio::spawn(Arc::clone(self).run(io, peer, slot)));
            }
            Err(error) => debug!(%error, "an http connection cannot be watched"),
        }
    }

    /// Whether there are HTTP connections.
    pub(crate) fn is_active(&self) -> bool {
        self.slots.available_permits() < CONNECTIONS
    }

    /// Waits until no HTTP connection is left, at most until `end`.
    pub(crate) async fn idle(&self, end: Instant) {
        let all = self.slots.acquire_many(CONNECTIONS as u32);
        if tokio::time::timeout_at(end.into(), all).await.is_err() {
            debug!("http connections are cut off");
        }
    }

    async fn run(self: Arc<Self>, io: Prefixed, peer: Option<Peer>, _slot: OwnedSemaphorePermit) {
        let mut stop = self.stop.clone();
        let patience = self.patience;
        let service = service_fn(move |request| {
            let http = Arc::clone(&self);
            async move { Ok::<_, Infallible>(http.answer(peer, request).await) }
        });
        let mut http = http1::Builder::new();
        // The time for a head runs while a kept-alive connection is idle, too.
        http.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(HEAD_MAX);
        let mut connection = pin!(http.serve_connection(TokioIo::new(io), service).with_upgrades());
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    debug!(%error, "an http connection ended early");
                }
                return;
            }
            _ = stop.wait_for(|stop| *stop) => {}
            () = sleep(LIFETIME) => {}
        }
        connection.as_mut().graceful_shutdown();
        if timeout(patience, connection).await.is_err() {
            debug!("an http connection is cut off");
        }
    }

    async fn answer(
        self: &Arc<Self>,
        peer: Option<Peer>,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let minor = minor_version(&request);
        if let Err(refusal) = handshake::host(minor, fields(request.headers())) {
            return refuse(&refusal);
        }
        let path = request.uri().path();
        if self.websocket && path == self.policy.path {
            return self.upgrade(peer, request);
        }
        if let Some((api, shard)) = self.api.as_ref().filter(|_| path.starts_with(api::PREFIX)) {
            let method = api::method(path);
            let response = api.answer(*shard, request).await;
            self.metrics.api_answered(method, response.status().as_u16());
            return response;
        }
        let page = if self.playground { self.playground(path) } else { None };
        if page.is_none() && path != "/health" {
            return text(StatusCode::NOT_FOUND, "nothing is served at this path".into());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("{path} is asked for by GET"));
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        page.unwrap_or_else(|| text(StatusCode::OK, "ok".into()))
    }

    fn playground(&self, path: &str) -> Option<Response<Full<Bytes>>> {
        let api = match &self.api {
            None => "off",
            Some((api, _)) if api.needs_key() => "key",
            Some(_) => "open",
        };
        playground::answer(path, &self.policy.path, api)
    }

    fn upgrade(
        self: &Arc<Self>,
        peer: Option<Peer>,
        mut request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let method = request.method().as_str();
        let checked = handshake::check(
            method,
            target,
            minor_version(&request),
            fields(request.headers()),
            &self.policy,
        );
        let accepted = match checked {
            Ok(accepted) => accepted,
            Err(refusal) => {
                debug!(%refusal, "a websocket is refused");
                let origin = matches!(refusal, Refusal::ForbiddenOrigin { .. });
                self.metrics.refused(if origin { Refused::Origin } else { Refused::Invalid });
                return refuse(&refusal);
            }
        };
        if *self.stop.borrow() {
            self.metrics.refused(Refused::Full);
            return come_back(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down");
        }
        let whose = self.neighbours(peer, fields(request.headers()));
        let seat = match Seat::take(&self.seats, whose) {
            Ok(seat) => seat,
            Err(taken) => {
                self.metrics.refused(taken.refused());
                return come_back(taken.status(), taken.why());
            }
        };
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        let key = HeaderValue::from_bytes(&accepted.accept_key).expect("base64 is legal in a header");
        headers.insert(SEC_WEBSOCKET_ACCEPT, key);
        if let Some(protocol) = accepted.protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(Arc::clone(self).hand_over(upgraded, accepted, seat));
        response
    }

    /// Gives the socket to the shard as soon as hyper has written the answer.
    async fn hand_over(self: Arc<Self>, upgraded: OnUpgrade, accepted: Accepted, seat: Seat) {
        let Ok(upgraded) = upgraded.await else { return };
        let parts =
            upgraded.downcast::<TokioIo<Prefixed>>().expect("every connection is served over this type");
        let Parts { mut early, stream, tls, unsent } = parts.io.into_inner().into_parts();
        // What hyper has read beyond the request comes before what it has not read of the early bytes.
        early.splice(..0, parts.read_buf);
        match stream.into_fd() {
            Ok(fd) => {
                let socket = Socket { fd, tls, unsent };
                let upgraded = Upgraded { socket, accepted, early, seat };
                // Fails when the shard has ended: the socket is closed with it.
                let _ = self.inbox.send(Inbox::Upgraded(upgraded));
            }
            Err(error) => debug!(%error, "an upgraded socket cannot be handed over"),
        }
    }
}

/// There is no room for another connection of hyper's.
fn refuse_at_once(socket: Socket) {
    let Socket { fd, tls, unsent: mut wire } = socket;
    let full = Taken::All.answer();
    match tls {
        Some(mut tls) => {
            tls.seal(&full, &mut wire);
            tls.finish(&mut wire);
        }
        None => wire.extend_from_slice(&full),
    }
    let _ = sys::send(&fd, &wire);
    sys::finish(&fd);
}

fn minor_version(request: &Request<Incoming>) -> u8 {
    u8::from(request.version() >= Version::HTTP_11)
}

fn fields(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

fn refuse(refusal: &Refusal) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(refusal.status()).expect("the statuses of the table are legal");
    let mut response = text(status, refusal.message());
    for &(name, value) in refusal.headers() {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn come_back(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let mut response = text(status, why.into());
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    response
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

impl Taken {
    /// What it counts as.
    pub(crate) fn refused(self) -> Refused {
        match self {
            Self::All => Refused::Full,
            Self::OfOne => Refused::Address,
        }
    }

    /// The whole answer, for a socket that hyper does not serve.
    pub(crate) fn answer(self) -> Vec<u8> {
        let (status, why) = (self.status(), self.why());
        format!(
            "HTTP/1.1 {status}\r\nretry-after: {RETRY_AFTER_S}\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{why}",
            why.len()
        )
        .into_bytes()
    }

    fn status(self) -> StatusCode {
        match self {
            Self::All => StatusCode::SERVICE_UNAVAILABLE,
            Self::OfOne => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::All => "the server has as many connections as it takes",
            Self::OfOne => "this address has as many connections as one may have",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Taken;

    #[test]
    fn the_answers_without_a_seat_tell_their_length() {
        for answer in [Taken::All, Taken::OfOne].map(Taken::answer) {
            let text = str::from_utf8(&answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
            assert!(head.contains(&format!("retry-after: {}\r\n", super::RETRY_AFTER_S)));
        }
    }
}
