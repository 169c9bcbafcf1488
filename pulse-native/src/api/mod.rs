//! The HTTP API: what an application's own server does, by POST to `/api/v1/<method>`, in JSON or MessagePack.
//!
//! This file takes requests apart and carries questions to shards; `gate` decides who may ask, `methods` what each method
//! means, `repeats` keeps answers for requests that come again. `openapi.json` and `docs/HTTP_API.md` say the same for others.

mod error;
mod fields;
mod gate;
mod history;
mod methods;
mod repeats;
mod value;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use pulse_core::wire::{self, ErrorCode, Format};
use pulse_core::{Outcome, Refused};
use sha1::{Digest, Sha1};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use self::error::Error;
use self::gate::Gate;
use self::methods::Caller;
pub(crate) use self::methods::NAMES as METHOD_NAMES;
use self::repeats::{Answer, First, Repeats, Seen};
use self::value::Value;
use crate::engine::Engine;
use crate::handshake::Policy;
use crate::shard::{Ask, Inbox};

/// What the paths of the API begin with.
pub(crate) const PREFIX: &str = "/api/";

const METHODS: &str = "/api/v1/";
const DOCUMENT: &str = "/api/v1/openapi.json";

/// The method that a path names.
pub(crate) fn method(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix(METHODS)?;
    METHOD_NAMES.into_iter().find(|method| *method == name)
}

/// The description of the API, in OpenAPI 3.1.
const OPENAPI: &str = include_str!("openapi.json");

/// Where it says that a request may do without a key.
const OR_NO_KEY: &str = ",\n    {}";

/// Requests that wait for shards at the same time, on the whole server.
const UNDER_WAY: usize = 256;

/// Characters of an `Idempotency-Key`.
const MAX_KEY: usize = 255;

/// Seconds after which a request that was not served may come again.
const RETRY_AFTER_S: &str = "1";

/// A format of requests; their answers are of the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    MessagePack,
}

impl Kind {
    fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let given = headers.get(CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or_default();
        let name = given.split(';').next().unwrap_or_default().trim();
        if name.eq_ignore_ascii_case("application/json") {
            return Ok(Self::Json);
        }
        if ["application/msgpack", "application/vnd.msgpack"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
        {
            return Ok(Self::MessagePack);
        }
        let message = "send application/json or application/msgpack";
        let error = Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::INVALID_FRAME, message);
        Err(error.at("header Content-Type"))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/msgpack",
        }
    }

    /// What a payload is in a request of this format.
    fn format(self) -> Format {
        match self {
            Self::Json => Format::Json,
            Self::MessagePack => Format::MsgPack,
        }
    }

    fn read(self, body: &[u8]) -> Result<Value, Error> {
        match self {
            Self::Json => serde_json::from_slice(body)
                .map_err(|error| Error::invalid("body", format!("this is no JSON: {error}"))),
            // The core's check is for one whole value of bounded depth; the library's is for what a request may hold.
            Self::MessagePack => wire::Value::new(body)
                .ok_or_else(|| {
                    Error::invalid("body", "this is not one value of MessagePack, at most 29 levels deep")
                })
                .and_then(|_| {
                    rmp_serde::from_slice(body)
                        .map_err(|error| Error::invalid("body", format!("this is no request: {error}")))
                }),
        }
    }

    fn write(self, value: &Value) -> Bytes {
        match self {
            Self::Json => value.to_json().into(),
            Self::MessagePack => value.to_msgpack().into(),
        }
    }
}

/// The API of a server, shared by its shards.
#[derive(Debug)]
pub(crate) struct Api {
    gate: Gate,
    /// By their numbers.
    shards: Vec<mpsc::UnboundedSender<Inbox>>,
    under_way: Semaphore,
    repeats: Repeats,
    /// The description of this server's API.
    document: Bytes,
    /// Bytes of a body.
    max_body: usize,
    /// For a body to come.
    patience: Duration,
    started: Instant,
}

impl Api {
    /// `max_message` is the size of the largest publication with what goes with it.
    pub(crate) fn new(
        key: Option<&str>,
        policy: Policy,
        max_message: usize,
        patience: Duration,
        shards: Vec<mpsc::UnboundedSender<Inbox>>,
    ) -> Self {
        Self {
            gate: Gate::new(key, policy),
            shards,
            under_way: Semaphore::new(UNDER_WAY),
            repeats: Repeats::default(),
            document: match key {
                Some(_) => OPENAPI.replacen(OR_NO_KEY, "", 1).into(),
                None => OPENAPI.into(),
            },
            // As base64.
            max_body: max_message.div_ceil(3).saturating_mul(4),
            patience,
            started: Instant::now(),
        }
    }

    /// Whether requests need a key.
    pub(crate) fn needs_key(&self) -> bool {
        self.gate.needs_key()
    }

    /// Answers a request that came by this shard.
    pub(crate) async fn answer(&self, shard: usize, request: Request<Incoming>) -> Response<Full<Bytes>> {
        // Also of a refusal, so that a page can show it.
        let (kind, origin) =
            (Kind::of(request.headers()).unwrap_or(Kind::Json), self.gate.origin(request.headers()));
        let allowed = origin.as_ref().ok().and_then(|origin| HeaderValue::from_bytes((*origin)?).ok());
        let is_document = request.uri().path() == DOCUMENT;
        let answer = match origin {
            Err(error) => Err(error),
            Ok(_) => self.route(shard, request).await,
        };
        let mut response = match answer {
            Ok(response) => response,
            Err(error) => refuse(kind, &error, is_document),
        };
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(allowed) = allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        }
        response
    }

    async fn route(&self, shard: usize, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Error> {
        let path = request.uri().path();
        let is_document = path == DOCUMENT;
        let Some(name) = path.strip_prefix(METHODS) else {
            let message = "nothing is served at this path; methods are at /api/v1/<method>";
            return Err(Error::new(StatusCode::NOT_FOUND, ErrorCode::NOT_AVAILABLE, message).at("path"));
        };
        if !is_document {
            methods::check_method(name)?;
        }
        match (request.method(), is_document) {
            (&Method::OPTIONS, _) => return Ok(preflight(is_document)),
            (&Method::GET | &Method::HEAD, true) => {
                return Ok(body(Kind::Json, StatusCode::OK, self.document.clone()));
            }
            (&Method::POST, false) => {}
            _ => {
                let asked = if is_document { "GET" } else { "POST" };
                let message = format!("ask by {asked}");
                let error = Error::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::NOT_AVAILABLE, message);
                return Err(error.at("method"));
            }
        }
        self.gate.admit(request.headers())?;
        let kind = Kind::of(request.headers())?;
        let name = name.to_owned();
        let key = idempotency_key(request.headers())?.filter(|_| methods::is_repeatable(&name));
        let bytes = self.read(request.into_body()).await?;
        let first = match &key {
            None => None,
            Some(key) => match self.first(key, kind, &name, &bytes)? {
                Ok(first) => Some(first),
                Err(again) => return Ok(body(kind, again.status, again.body)),
            },
        };
        let caller = Caller { shard, kind };
        let (status, value) = match self.perform(caller, &name, &bytes).await {
            Ok(result) => (StatusCode::OK, Value::map([("result", result)])),
            // What may succeed later is to be tried again.
            Err(error) if error.status.is_server_error() => return Err(error),
            Err(error) => (error.status, error.to_value()),
        };
        let answer = Answer { status, body: kind.write(&value) };
        if let Some(first) = first {
            first.answer(&answer, Instant::now());
        }
        Ok(body(kind, answer.status, answer.body))
    }

    async fn perform(&self, caller: Caller, name: &str, body: &[u8]) -> Result<Value, Error> {
        let Ok(_under_way) = self.under_way.try_acquire() else {
            return Err(Error::busy("as many requests as are taken at a time are under way; try again"));
        };
        let params = caller.kind.read(body)?;
        match name {
            "batch" => self.batch(caller, params).await,
            _ => self.method(caller, name, params, "").await,
        }
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Error> {
        let max = self.max_body;
        match timeout(self.patience, Limited::new(body, max).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let message = format!("a body has at most {max} bytes, by limits.max_message_size");
                let error = Error::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::PAYLOAD_TOO_LARGE, message);
                Err(error.at("body"))
            }
            Ok(Err(_)) => Err(Error::invalid("body", "the body ended early")),
            Err(_) => {
                let message = "the body did not come in time (server.handshake_timeout_ms)";
                let error = Error::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::INVALID_FRAME, message);
                Err(error.at("body"))
            }
        }
    }

    /// Whether this is the first request of its key, or what the first one was answered.
    fn first(
        &self,
        key: &str,
        kind: Kind,
        name: &str,
        body: &[u8],
    ) -> Result<Result<First<'_>, Answer>, Error> {
        let digest =
            Sha1::new().chain_update(kind.name()).chain_update(name).chain_update([0]).chain_update(body);
        let refuse =
            |status, code, message: &str| Err(Error::new(status, code, message).at("header Idempotency-Key"));
        match self.repeats.see(key, digest.finalize().into(), Instant::now()) {
            Seen::First(first) => Ok(Ok(first)),
            Seen::Again(answer) => Ok(Err(answer)),
            Seen::UnderWay => {
                let message = "the first request with this key is still under way; try again";
                refuse(StatusCode::CONFLICT, ErrorCode::SERVER_ERROR, message)
            }
            Seen::Other => {
                let message = "another request had this key within five minutes; send a key of its own";
                refuse(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::INVALID_FRAME, message)
            }
        }
    }

    /// Asks one shard's engine. What has to be stored first is answered when it is.
    async fn ask(
        &self,
        shard: usize,
        question: impl FnOnce(&mut dyn Engine) -> Result<Outcome, Refused> + Send + 'static,
    ) -> Result<Outcome, Error> {
        let (sender, answer) = oneshot::channel();
        let ask = Ask::outcome(question, move |outcome| {
            // Fails when the request was given up.
            let _ = sender.send(outcome);
        });
        let _ = self.shards[shard].send(Inbox::Ask(ask));
        Ok(answer.await.map_err(|_| stopping())??)
    }

    /// Asks the engines of all shards, in their order.
    async fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(&mut dyn Engine) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>, Error> {
        let question = Arc::new(question);
        let waiting: Vec<_> = (0..self.shards.len())
            .map(|shard| {
                let question = Arc::clone(&question);
                self.put(shard, move |engine| question(engine))
            })
            .collect();
        let mut answers = Vec::with_capacity(waiting.len());
        for answer in waiting {
            answers.push(answer.await.map_err(|_| stopping())?);
        }
        Ok(answers)
    }

    /// Puts a question to a shard. One that has ended drops it, which is an answer too.
    fn put<T: Send + 'static>(
        &self,
        shard: usize,
        question: impl FnOnce(&mut dyn Engine) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, answer) = oneshot::channel();
        let ask = Ask::new(move |engine| {
            // Fails when the request was given up.
            let _ = sender.send(question(engine));
        });
        let _ = self.shards[shard].send(Inbox::Ask(ask));
        answer
    }
}

fn stopping() -> Error {
    Error::busy("the server is shutting down")
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(given) = headers.get("idempotency-key") else { return Ok(None) };
    match given.to_str() {
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(key.to_owned()))
        }
        _ => {
            let message = format!("a key is 1 to {MAX_KEY} characters of printable ASCII without spaces");
            Err(Error::invalid("header Idempotency-Key", message))
        }
    }
}

/// The answer to a browser that asks whether a page may ask.
fn preflight(is_document: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let methods = allowed(is_document);
    let headers: [(HeaderName, &'static str); 4] = [
        (ALLOW, methods),
        (ACCESS_CONTROL_ALLOW_METHODS, methods),
        (ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type, X-API-Key, Authorization, Idempotency-Key"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    response.headers_mut().extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// The methods of HTTP that a path takes.
fn allowed(is_document: bool) -> &'static str {
    if is_document { "GET, HEAD, OPTIONS" } else { "POST, OPTIONS" }
}

fn refuse(kind: Kind, error: &Error, is_document: bool) -> Response<Full<Bytes>> {
    let mut response = body(kind, error.status, kind.write(&error.to_value()));
    let header: Option<(HeaderName, &'static str)> = match error.status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT => Some((RETRY_AFTER, RETRY_AFTER_S)),
        StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "apikey")),
        StatusCode::METHOD_NOT_ALLOWED => Some((ALLOW, allowed(is_document))),
        _ => None,
    };
    response.headers_mut().extend(header.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

fn body(kind: Kind, status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind.name()));
    response
}
