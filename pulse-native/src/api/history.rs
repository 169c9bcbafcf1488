//! What was published in a channel that keeps history: how it is asked for, and how it is shown.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pulse_core::wire::{self, Format, Frame, MAX_SAFE, Publish};

use super::Kind;
use super::error::Error;
use super::fields::Fields;
use super::value::Value;

/// The position behind which publications are wanted.
#[derive(Debug)]
pub(super) struct Since {
    pub(super) epoch: String,
    pub(super) offset: u64,
}

impl Since {
    pub(super) fn take(fields: &mut Fields) -> Result<Option<Self>, Error> {
        let position = match fields.any("since") {
            None | Some(Value::Null) => return Ok(None),
            Some(position) => position,
        };
        let mut position = Fields::new(position, &fields.at("since"))?;
        let epoch = position.required_text("epoch")?;
        let offset = position.number("offset", 0, MAX_SAFE)?;
        let offset = offset.ok_or_else(|| position.missing("offset", "a whole number"))?;
        position.end()?;
        Ok(Some(Self { epoch, offset }))
    }
}

/// A page as it is shown.
pub(super) fn page(kind: Kind, frame: &[u8]) -> Value {
    let Some(Ok(Frame::History(page))) = frame.get(4..).map(wire::decode) else {
        unreachable!("the core answers with a page")
    };
    let publications = page.publications.into_iter().flat_map(|list| list.iter());
    Value::map([
        ("epoch", Value::from(page.epoch.unwrap_or_default())),
        ("offset", Value::from(page.offset.unwrap_or(0))),
        ("publications", Value::List(publications.map(|one| publication(kind, &one)).collect())),
    ])
}

fn publication(kind: Kind, publication: &Publish<'_>) -> Value {
    let &Publish { payload, event, format, key, tags, offset, time, .. } = publication;
    let bytes = payload.as_bytes().unwrap_or_default();
    // What the format says, where the bytes are that and the answer can say it.
    let value = match format {
        Format::Json => serde_json::from_slice(bytes).ok(),
        Format::MsgPack => rmp_serde::from_slice::<Value>(bytes)
            .ok()
            .filter(|value| kind == Kind::MessagePack || !value.has_bytes()),
        Format::Raw => None,
    };
    let format = match format {
        Format::Raw => None,
        Format::Json => Some("json"),
        Format::MsgPack => Some("msgpack"),
    };
    let tags = tags.map(|tags| {
        Value::Map(tags.iter().map(|(name, text)| (name.to_owned(), Value::from(text))).collect())
    });
    let entries = [
        ("offset", offset.map(Value::from)),
        ("time", time.map(Value::from)),
        match value {
            Some(value) => ("payload", Some(value)),
            None => ("payload_base64", Some(Value::Text(BASE64_STANDARD.encode(bytes)))),
        },
        ("format", format.map(Value::from)),
        ("event", event.map(Value::from)),
        ("key", key.map(Value::from)),
        ("tags", tags),
    ];
    Value::Map(entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}
