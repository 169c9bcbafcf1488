//! What each method takes, does and answers.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pulse_core::wire::{self, CLOSES, CloseCode, Format, Frame, Payload, Point, Publish, Tags};
use pulse_core::{Command, Outcome, PeerId, Refused, Target, is_client_name};

use super::error::Error;
use super::fields::{Fields, shorten, unknown};
use super::history::{self, Since};
use super::value::Value;
use super::{Api, Kind, MAX_KEY};
use crate::engine::Engine;

/// Every method. The last one, `batch`, is made of the others.
pub(crate) const NAMES: [&str; 11] = [
    "publish",
    "broadcast",
    "subscribe",
    "unsubscribe",
    "disconnect",
    "presence",
    "presence_count",
    "history",
    "channels",
    "info",
    "batch",
];

/// What a batch may hold.
const METHODS: &[&str] = NAMES.split_at(NAMES.len() - 1).0;

/// Requests in a batch, and channels of a broadcast.
const MAX_LIST: usize = 1_000;

/// Items on a page, and where none is asked for.
const PAGE: u64 = 1_000;

/// Publications on a page of history where no number is asked for.
const HISTORY_PAGE: u64 = 100;

/// Characters of a reason.
const MAX_REASON: usize = 123;

/// Whether a path's last part names a method.
pub(super) fn check_method(name: &str) -> Result<(), Error> {
    if NAMES.contains(&name) {
        return Ok(());
    }
    let code = wire::ErrorCode::NOT_AVAILABLE;
    Err(Error::new(hyper::StatusCode::NOT_FOUND, code, unknown("method", name, &NAMES)).at("path"))
}

/// Methods that may come again under one `Idempotency-Key`.
pub(super) fn is_repeatable(name: &str) -> bool {
    matches!(name, "publish" | "broadcast" | "batch")
}

/// Who asks: through which shard, and in what format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) shard: usize,
    pub(super) kind: Kind,
}

/// What is published, and where is said apart.
#[derive(Debug)]
struct Publication {
    payload: Vec<u8>,
    format: Format,
    event: Option<String>,
    key: Option<String>,
    version: Option<u64>,
    idempotency_key: Option<String>,
    /// A map in MessagePack.
    tags: Option<Vec<u8>>,
}

/// Whose connections.
#[derive(Debug)]
enum Whose {
    Client(String),
    User(String),
}

impl Whose {
    fn target(&self) -> Target<'_> {
        match self {
            Self::Client(name) => Target::Client(name),
            Self::User(name) => Target::User(name),
        }
    }
}

impl Api {
    /// Does what a request says. `place` is where its parameters stand.
    pub(super) async fn method(
        &self,
        caller: Caller,
        name: &str,
        params: Value,
        place: &str,
    ) -> Result<Value, Error> {
        let mut fields = Fields::new(params, place)?;
        match name {
            "publish" => {
                let channel = fields.required_text("channel")?;
                let publication = Arc::new(publication(&mut fields, caller.kind)?);
                let at = fields.at("channel");
                fields.end()?;
                self.publish(caller, channel.into(), &publication).await.map_err(|error| placed(error, &at))
            }
            "broadcast" => self.broadcast(caller, fields).await,
            "subscribe" | "unsubscribe" => {
                let (whose, channel) = (whose(&mut fields)?, fields.required_text("channel")?);
                let at = fields.at("channel");
                fields.end()?;
                let leave = name == "unsubscribe";
                let command = move |engine: &mut dyn Engine| {
                    let (target, channel) = (whose.target(), &*channel);
                    engine.command(&if leave {
                        Command::Unsubscribe { target, channel }
                    } else {
                        Command::Subscribe { target, channel }
                    })
                };
                self.count(command).await.map_err(|error| placed(error, &at))
            }
            "disconnect" => {
                let whose = whose(&mut fields)?;
                let code = close_code(&mut fields)?;
                let reason = fields.text("reason")?;
                if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
                    let message = format!("a reason has at most {MAX_REASON} characters");
                    return Err(Error::invalid(fields.at("reason"), message));
                }
                fields.end()?;
                self.count(move |engine| {
                    let reason = reason.as_deref();
                    engine.command(&Command::Disconnect { target: whose.target(), code, reason })
                })
                .await
            }
            "presence" => {
                let channel: Arc<str> = fields.required_text("channel")?.into();
                let (after, limit) =
                    (fields.text("after")?, fields.number("limit", 1, PAGE)?.unwrap_or(PAGE));
                if after.as_deref().is_some_and(|after| !is_client_name(after)) {
                    let message = "`after` is the `next` of the page before: 16 hexadecimal digits";
                    return Err(Error::invalid(fields.at("after"), message));
                }
                let at = fields.at("channel");
                fields.end()?;
                let frame = self.ask_members(caller, channel, Some((after, limit))).await;
                members(caller.kind, &frame.map_err(|error| placed(error, &at))?)
            }
            "presence_count" => {
                let channel: Arc<str> = fields.required_text("channel")?.into();
                let at = fields.at("channel");
                fields.end()?;
                let frame = self.ask_members(caller, channel, None).await;
                members(caller.kind, &frame.map_err(|error| placed(error, &at))?)
            }
            "history" => self.history(caller, fields).await,
            "channels" => self.channels(fields).await,
            "info" => {
                fields.end()?;
                self.info().await
            }
            _ => Err(unknown_method(name, &fields)),
        }
    }

    /// Requests one after the other, each with a result or an error of its own.
    pub(super) async fn batch(&self, caller: Caller, params: Value) -> Result<Value, Error> {
        let mut fields = Fields::new(params, "")?;
        let requests = list(&mut fields, "requests")?;
        fields.end()?;
        let mut results = Vec::with_capacity(requests.len());
        for (at, request) in requests.into_iter().enumerate() {
            let result = self.one_of_batch(caller, request, &format!("requests[{at}]")).await;
            results
                .push(result.map_or_else(|error| error.to_value(), |value| Value::map([("result", value)])));
        }
        Ok(Value::map([("results", Value::List(results))]))
    }

    async fn one_of_batch(&self, caller: Caller, request: Value, place: &str) -> Result<Value, Error> {
        let mut fields = Fields::new(request, place)?;
        let name = fields.required_text("method")?;
        let params = fields.any("params").unwrap_or(Value::Map(Vec::new()));
        let at = fields.at("params");
        if !METHODS.contains(&&*name) {
            return Err(unknown_method(&name, &fields));
        }
        fields.end()?;
        self.method(caller, &name, params, &at).await
    }

    async fn publish(
        &self,
        caller: Caller,
        channel: Arc<str>,
        publication: &Arc<Publication>,
    ) -> Result<Value, Error> {
        let publication = Arc::clone(publication);
        let outcome = self
            .ask_home(caller.shard, move |engine| {
                let Publication { payload, format, event, key, version, idempotency_key, tags } =
                    &*publication;
                engine.command(&Command::Publish(Publish {
                    channel: &channel,
                    payload: Payload::from(&payload[..]),
                    event: event.as_deref(),
                    format: *format,
                    key: key.as_deref(),
                    version: *version,
                    idempotency_key: idempotency_key.as_deref(),
                    tags: tags.as_deref().and_then(Tags::new),
                    ..Publish::default()
                }))
            })
            .await
            .map_err(|error| match error.code {
                // Of a publication, nothing else is what a namespace may not offer.
                wire::ErrorCode::NOT_AVAILABLE => {
                    Error { status: hyper::StatusCode::BAD_REQUEST, ..error.at("version") }
                }
                _ => error,
            })?;
        let (epoch, offset, stale) = match outcome {
            Outcome::Published(offset) => (None, offset, None),
            Outcome::Kept { epoch, offset } => (Some(epoch), Some(offset), None),
            Outcome::Stale { epoch, offset } => (Some(epoch), Some(offset), Some(true)),
            _ => unreachable!("a publication is answered as one"),
        };
        let epoch = epoch.map(|epoch| ("epoch".to_owned(), Value::from(&*epoch)));
        let offset = offset.map(|offset| ("offset".to_owned(), Value::from(offset)));
        let stale = stale.map(|stale| ("stale".to_owned(), Value::Bool(stale)));
        Ok(Value::Map(epoch.into_iter().chain(offset).chain(stale).collect()))
    }

    async fn history(&self, caller: Caller, mut fields: Fields) -> Result<Value, Error> {
        let channel = fields.required_text("channel")?;
        let since = Since::take(&mut fields)?;
        let limit = fields.number("limit", 0, PAGE)?.unwrap_or(HISTORY_PAGE);
        let reverse = fields.switch("reverse")?;
        let (at, of_since) = (fields.at("channel"), fields.at("since"));
        fields.end()?;
        let outcome = self.ask_home(caller.shard, move |engine| {
            let since = since.as_ref().map(|Since { epoch, offset }| Point { epoch, offset: *offset });
            engine.command(&Command::History { channel: &channel, since, limit, reverse })
        });
        match outcome.await {
            Ok(Outcome::History(frame)) => Ok(history::page(caller.kind, &frame)),
            Ok(_) => unreachable!("a question about history is answered with a page"),
            Err(error) if error.code == wire::ErrorCode::UNRECOVERABLE => Err(error.at(of_since)),
            Err(error) => Err(placed(error, &at)),
        }
    }

    async fn broadcast(&self, caller: Caller, mut fields: Fields) -> Result<Value, Error> {
        let mut channels = Vec::new();
        for (at, channel) in list(&mut fields, "channels")?.into_iter().enumerate() {
            match channel {
                Value::Text(name) => channels.push(name),
                other => {
                    let message = format!("this is {}; it has to be a channel's name", other.kind());
                    return Err(Error::invalid(format!("{}[{at}]", fields.at("channels")), message));
                }
            }
        }
        let publication = Arc::new(publication(&mut fields, caller.kind)?);
        let place = fields.at("channels");
        fields.end()?;
        let mut results = Vec::with_capacity(channels.len());
        for (at, channel) in channels.into_iter().enumerate() {
            let name = channel.clone();
            let result = self.publish(caller, channel.into(), &publication).await;
            let (key, value) = match result {
                Ok(value) => ("result", value),
                Err(error) => match placed(error, &format!("{place}[{at}]")).to_value() {
                    Value::Map(mut error) => ("error", error.remove(0).1),
                    _ => unreachable!("an error is shown as an object"),
                },
            };
            results.push(Value::map([("channel", Value::Text(name)), (key, value)]));
        }
        Ok(Value::map([("results", Value::List(results))]))
    }

    async fn ask_members(
        &self,
        caller: Caller,
        channel: Arc<str>,
        page: Option<(Option<String>, u64)>,
    ) -> Result<Vec<u8>, Error> {
        let outcome = self
            .ask_home(caller.shard, move |engine| {
                engine.command(&match &page {
                    Some((after, limit)) => {
                        Command::Presence { channel: &channel, after: after.as_deref(), limit: *limit }
                    }
                    None => Command::PresenceCount { channel: &channel },
                })
            })
            .await?;
        let Outcome::Presence(frame) = outcome else { unreachable!("a question about members is answered") };
        Ok(frame)
    }

    async fn channels(&self, mut fields: Fields) -> Result<Value, Error> {
        let (prefix, after) = (fields.text("prefix")?.unwrap_or_default(), fields.text("after")?);
        let limit = fields.number("limit", 1, PAGE)?.unwrap_or(PAGE) as usize;
        fields.end()?;
        let outcomes = self
            .ask_all(move |engine| {
                engine.command(&Command::Channels { prefix: &prefix, after: after.as_deref(), limit })
            })
            .await?;
        let mut all = std::collections::BTreeMap::<Box<str>, u64>::new();
        // Behind the last name of a page that is not the whole, its shard may have names that are not known here.
        let (mut known, mut more) = (None::<Box<str>>, false);
        for outcome in outcomes {
            let Outcome::Channels(list, cut) = outcome? else {
                unreachable!("channels are answered as a list")
            };
            if cut && let Some((last, _)) = list.last() {
                more = true;
                known = Some(known.map_or_else(|| last.clone(), |known| known.min(last.clone())));
            }
            for (name, count) in list {
                *all.entry(name).or_default() += count;
            }
        }
        let within = |name: &str| known.as_ref().is_none_or(|known| name <= &**known);
        more |= all.len() > limit;
        let page: Vec<_> = all.into_iter().filter(|(name, _)| within(name)).take(limit).collect();
        let next = page.last().filter(|_| more).map(|(name, _)| Value::from(&**name));
        let channels = page.iter().map(|(name, subscribers)| {
            Value::map([("channel", Value::from(&**name)), ("subscribers", Value::from(*subscribers))])
        });
        let mut result = vec![("channels".to_owned(), Value::List(channels.collect()))];
        result.extend(next.map(|next| ("next".to_owned(), next)));
        Ok(Value::Map(result))
    }

    async fn info(&self) -> Result<Value, Error> {
        let stats = self.ask_all(|engine| engine.stats()).await?;
        let sum = |of: fn(&pulse_core::Stats) -> u64| Value::from(stats.iter().map(of).sum::<u64>());
        Ok(Value::map([
            ("version", Value::from(env!("CARGO_PKG_VERSION"))),
            ("uptime_s", Value::from(self.started.elapsed().as_secs())),
            ("shards", Value::from(stats.len() as u64)),
            ("connections", sum(|stats| stats.connections)),
            ("channels", sum(|stats| stats.channels)),
            ("subscriptions", sum(|stats| stats.subscriptions)),
        ]))
    }

    /// Asks the shard that has the channel, which is found by asking any.
    async fn ask_home(
        &self,
        shard: usize,
        question: impl Fn(&mut dyn Engine) -> Result<Outcome, Refused> + Send + Sync + 'static,
    ) -> Result<Outcome, Error> {
        let question = Arc::new(question);
        let first = Arc::clone(&question);
        match self.ask(shard, move |engine| first(engine)).await? {
            Outcome::Elsewhere(PeerId(home)) => self.ask(home.into(), move |engine| question(engine)).await,
            outcome => Ok(outcome),
        }
    }

    /// Asks all shards, each of which counts the connections that it has.
    async fn count(
        &self,
        question: impl Fn(&mut dyn Engine) -> Result<Outcome, Refused> + Send + Sync + 'static,
    ) -> Result<Value, Error> {
        let (mut sum, mut refused) = (0, None);
        for outcome in self.ask_all(question).await? {
            match outcome {
                Ok(Outcome::Connections(count)) => sum += count,
                Ok(_) => unreachable!("connections are answered as a number"),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(refused) if sum == 0 => Err(refused.into()),
            _ => Ok(Value::map([("connections", Value::from(sum))])),
        }
    }
}

/// Says where a refusal comes from that speaks of the channel; another place is kept.
fn placed(error: Error, channel: &str) -> Error {
    match error.code {
        wire::ErrorCode::INVALID_CHANNEL | wire::ErrorCode::NOT_AVAILABLE if error.place.is_none() => {
            error.at(channel)
        }
        wire::ErrorCode::PAYLOAD_TOO_LARGE if error.place.is_none() => error.at("payload"),
        _ => error,
    }
}

fn unknown_method(name: &str, fields: &Fields) -> Error {
    let text = if name == "batch" {
        "a batch holds no batch; put its requests into this one".to_owned()
    } else {
        unknown("method", name, METHODS)
    };
    Error::invalid(fields.at("method"), text)
}

/// A list of 1 to 1000 items.
fn list(fields: &mut Fields, key: &'static str) -> Result<Vec<Value>, Error> {
    let items = fields.list(key)?;
    if (1..=MAX_LIST).contains(&items.len()) {
        return Ok(items);
    }
    let message = format!("`{key}` has {} items; it takes 1 to {MAX_LIST}", items.len());
    Err(Error::invalid(fields.at(key), message))
}

fn whose(fields: &mut Fields) -> Result<Whose, Error> {
    match (fields.text("client")?, fields.text("user")?) {
        (Some(client), None) if is_client_name(&client) => Ok(Whose::Client(client)),
        (Some(client), None) => {
            let shown = shorten(&client);
            let message = format!("`{shown}` is no client: send its connection_id, 16 hexadecimal digits");
            Err(Error::invalid(fields.at("client"), message))
        }
        (None, Some(user)) => Ok(Whose::User(user)),
        (Some(_), Some(_)) => {
            Err(Error::invalid(fields.at("user"), "`client` stands here already; send one of the two"))
        }
        (None, None) => Err(Error::invalid(
            fields.place(),
            "whose connections? send `client` (a connection_id) or `user`",
        )),
    }
}

fn close_code(fields: &mut Fields) -> Result<CloseCode, Error> {
    let Some(number) = fields.number("code", 0, u64::MAX)? else { return Ok(CloseCode::UNAUTHORIZED) };
    CloseCode::of_table(number).ok_or_else(|| {
        let all: Vec<String> = CLOSES.iter().map(|row| format!("{} {}", row.code, row.name)).collect();
        Error::invalid(fields.at("code"), format!("{number} is no close code; there are: {}", all.join(", ")))
    })
}

/// What is to be published, from the fields that say so.
fn publication(fields: &mut Fields, kind: Kind) -> Result<Publication, Error> {
    let (payload, base64) = (fields.any("payload"), fields.text("payload_base64")?);
    let (event, key) = (fields.text("event")?, fields.text("key")?);
    let version = fields.number("version", 0, wire::MAX_SAFE)?;
    if version.is_some() && key.is_none() {
        return Err(
            fields.missing("key", "a string where there is a `version`: the version is one of the key")
        );
    }
    let idempotency_key = fields.text("idempotency_key")?;
    if idempotency_key.as_ref().is_some_and(|key| !(1..=MAX_KEY).contains(&key.len())) {
        let message = format!("an idempotency_key is 1 to {MAX_KEY} bytes");
        return Err(Error::invalid(fields.at("idempotency_key"), message));
    }
    let format = match fields.text("format")?.as_deref() {
        None => None,
        Some("raw") => Some(Format::Raw),
        Some("json") => Some(Format::Json),
        Some("msgpack") => Some(Format::MsgPack),
        Some(other) => {
            let message = format!("`{}` is no format; there are: json, msgpack, raw", shorten(other));
            return Err(Error::invalid(fields.at("format"), message));
        }
    };
    let tags = tags(fields)?;
    let (payload, format) = match (payload, base64) {
        (Some(_), Some(_)) => {
            let message = "`payload` stands here already; send one of the two";
            return Err(Error::invalid(fields.at("payload_base64"), message));
        }
        (None, None) => {
            return Err(fields.missing("payload", "any value; send binary data as `payload_base64`"));
        }
        (None, Some(base64)) => match BASE64_STANDARD.decode(base64.as_bytes()) {
            Ok(bytes) => (bytes, format.unwrap_or_default()),
            Err(_) => {
                let message = "this is no base64 of RFC 4648, section 4, with its padding";
                return Err(Error::invalid(fields.at("payload_base64"), message));
            }
        },
        (Some(Value::Bytes(bytes)), None) => (bytes, format.unwrap_or_default()),
        (Some(value), None) => {
            let format = format.unwrap_or_else(|| kind.format());
            let bytes = match (format, value) {
                (Format::Json, value) if value.has_bytes() => {
                    let message = "JSON has no binary data; send format msgpack";
                    return Err(Error::invalid(fields.at("payload"), message));
                }
                (Format::Json, value) => value.to_json(),
                (Format::MsgPack, value) => value.to_msgpack(),
                (Format::Raw, Value::Text(text)) => text.into_bytes(),
                (Format::Raw, other) => {
                    return Err(fields.wrong("payload", &other, "a string where the format is raw"));
                }
            };
            (bytes, format)
        }
    };
    Ok(Publication { payload, format, event, key, version, idempotency_key, tags })
}

fn tags(fields: &mut Fields) -> Result<Option<Vec<u8>>, Error> {
    let entries = match fields.any("tags") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Map(entries)) => entries,
        Some(other) => return Err(fields.wrong("tags", &other, "an object of strings")),
    };
    let mut pairs = Vec::with_capacity(entries.len());
    for (key, value) in &entries {
        let Value::Text(text) = value else {
            let at = format!("{}.{}", fields.at("tags"), shorten(key));
            return Err(Error::invalid(at, format!("this is {}; tags are strings", value.kind())));
        };
        pairs.push((&**key, &**text));
    }
    let mut out = Vec::new();
    Tags::encode(&pairs, &mut out);
    Ok(Some(out))
}

/// An answer about members as it is shown.
fn members(kind: Kind, frame: &[u8]) -> Result<Value, Error> {
    let Some(Ok(Frame::Presence(answer))) = frame.get(4..).map(wire::decode) else {
        unreachable!("the core answers with a frame")
    };
    let mut result = Vec::new();
    if let Some(members) = answer.members {
        let list = members.iter().map(|member| {
            let mut shown = vec![("client".to_owned(), Value::from(member.client))];
            shown.extend(member.user.map(|user| ("user".to_owned(), Value::from(user))));
            shown.extend(member.data.map(|data| {
                match rmp_serde::from_slice::<Value>(data.as_bytes()) {
                    Ok(value) if kind == Kind::MessagePack || !value.has_bytes() => {
                        ("data".to_owned(), value)
                    }
                    // What JSON cannot say.
                    _ => ("data_base64".to_owned(), Value::Text(BASE64_STANDARD.encode(data.as_bytes()))),
                }
            }));
            Value::Map(shown)
        });
        result.push(("members".to_owned(), Value::List(list.collect())));
    }
    result.push(("clients".to_owned(), Value::from(answer.clients.unwrap_or(0))));
    result.push(("users".to_owned(), Value::from(answer.users.unwrap_or(0))));
    result.extend(answer.next.map(|next| ("next".to_owned(), Value::from(next))));
    Ok(Value::Map(result))
}
