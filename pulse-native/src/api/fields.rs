//! The fields of one object of a request: each is taken by name and kind, and what is left over is a mistake.

use std::collections::HashSet;
use std::fmt::Write;

use super::error::Error;
use super::value::Value;
use crate::config::nearest;

/// An object whose fields are taken one after the other.
#[derive(Debug)]
pub(super) struct Fields {
    entries: Vec<(String, Value)>,
    /// Where the object stands; empty for the whole request.
    place: String,
    /// What was asked for so far.
    known: Vec<&'static str>,
}

impl Fields {
    pub(super) fn new(value: Value, place: &str) -> Result<Self, Error> {
        let Value::Map(entries) = value else {
            let message = format!("this is {}; it has to be an object of parameters", value.kind());
            return Err(Error::invalid(place, message));
        };
        let mut seen = HashSet::new();
        for (key, _) in &entries {
            if !seen.insert(key) {
                return Err(Error::invalid(join(place, key), "this field stands here twice; give it once"));
            }
        }
        Ok(Self { entries, place: place.to_owned(), known: Vec::new() })
    }

    /// The place of a field.
    pub(super) fn at(&self, key: &str) -> String {
        join(&self.place, key)
    }

    /// Where the object stands.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// A field that may be absent; `null` is absent for all but payloads.
    pub(super) fn any(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        let at = self.entries.iter().position(|(name, _)| name == key)?;
        Some(self.entries.remove(at).1)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, Error> {
        match self.any(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, &other, "a string")),
        }
    }

    pub(super) fn required_text(&mut self, key: &'static str) -> Result<String, Error> {
        self.text(key)?.ok_or_else(|| self.missing(key, "a string"))
    }

    pub(super) fn number(&mut self, key: &'static str, min: u64, max: u64) -> Result<Option<u64>, Error> {
        match self.any(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Unsigned(number)) if (min..=max).contains(&number) => Ok(Some(number)),
            Some(Value::Unsigned(number)) => {
                Err(Error::invalid(self.at(key), format!("{number} is not from {min} to {max}")))
            }
            Some(other) => Err(self.wrong(key, &other, &format!("a whole number from {min} to {max}"))),
        }
    }

    /// `false` where it is absent.
    pub(super) fn switch(&mut self, key: &'static str) -> Result<bool, Error> {
        match self.any(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(on)) => Ok(on),
            Some(other) => Err(self.wrong(key, &other, "true or false")),
        }
    }

    pub(super) fn list(&mut self, key: &'static str) -> Result<Vec<Value>, Error> {
        match self.any(key) {
            None | Some(Value::Null) => Err(self.missing(key, "a list")),
            Some(Value::List(items)) => Ok(items),
            Some(other) => Err(self.wrong(key, &other, "a list")),
        }
    }

    pub(super) fn missing(&self, key: &str, kind: &str) -> Error {
        Error::invalid(self.at(key), format!("`{key}` is missing; it has to be {kind}"))
    }

    pub(super) fn wrong(&self, key: &str, given: &Value, kind: &str) -> Error {
        Error::invalid(self.at(key), format!("`{key}` is {}; it has to be {kind}", given.kind()))
    }

    /// Says so if a field is left that nobody has asked for.
    pub(super) fn end(self) -> Result<(), Error> {
        let Some((name, _)) = self.entries.first() else { return Ok(()) };
        let place = join(&self.place, name);
        Err(Error::invalid(place, unknown("field", name, &self.known)))
    }
}

/// A sentence about a name that there is not, with what would be right.
pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let shown = shorten(name);
    let mut text = format!("there is no {what} `{shown}` here");
    match nearest(name, known.iter().copied()) {
        Some(near) => write!(text, "; did you mean `{near}`?").expect("strings take all"),
        None if known.is_empty() => text.push_str(": it takes none"),
        None => write!(text, "; there are: {}", known.join(", ")).expect("strings take all"),
    }
    text
}

/// What somebody has sent, at a length that an answer has room for, and without control characters.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String =
        text.chars().take(64).map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect();
    if text.chars().nth(64).is_some() {
        short.push_str("...");
    }
    short
}

fn join(place: &str, key: &str) -> String {
    let key = shorten(key);
    if place.is_empty() { key } else { format!("{place}.{key}") }
}
