//! How a publication looks as a line: for people, who must not be able to be fooled by what others publish, or for programs.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pulse_native::client::{Format, Publication};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Bytes of a binary payload that a terminal is shown.
const MAX_SHOWN: usize = 64;

/// For whom a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// For people.
    Terminal,
    /// One JSON object.
    Json,
}

impl Style {
    /// Appends the line of a publication, its end included.
    pub(crate) fn append(self, publication: &Publication, out: &mut Vec<u8>) {
        match self {
            Self::Terminal => out.extend_from_slice(shown(publication).as_bytes()),
            Self::Json => {
                let line = Line::new(publication);
                serde_json::to_writer(&mut *out, &line).expect("strings and numbers are always JSON");
            }
        }
        out.push(b'\n');
    }
}

fn shown(publication: &Publication) -> String {
    let mut line = visible(&publication.channel);
    if let Some(event) = &publication.event {
        line += &format!(" [{}]", visible(event));
    }
    line.push_str("  ");
    match std::str::from_utf8(&publication.payload) {
        Ok(text) if publication.format != Format::MsgPack => line += &visible(text),
        _ => hexadecimal(&publication.payload, &mut line),
    }
    line
}

/// Text without anything that a terminal obeys: control characters, and those that turn the direction of writing.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(char.escape_unicode());
            }
            _ if char.is_control() => out.extend(char.escape_unicode()),
            _ => out.push(char),
        }
    }
    out
}

fn hexadecimal(bytes: &[u8], out: &mut String) {
    out.push_str("0x");
    for byte in &bytes[..bytes.len().min(MAX_SHOWN)] {
        write!(out, "{byte:02x}").expect("a string takes everything");
    }
    if bytes.len() > MAX_SHOWN {
        write!(out, "... ({} bytes)", bytes.len()).expect("a string takes everything");
    }
}

/// The keys of a line, named as those of a `publish` frame.
#[derive(Serialize)]
struct Line<'a> {
    channel: &'a str,
    #[serde(flatten)]
    payload: Payload<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "map")]
    tags: &'a [(String, String)],
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

#[derive(Serialize)]
enum Payload<'a> {
    /// As its publisher wrote it, digits and order of keys included.
    #[serde(rename = "payload")]
    Json(Box<RawValue>),
    #[serde(rename = "payload")]
    Text(&'a str),
    #[serde(rename = "payload_b64")]
    Binary(String),
}

impl<'a> Line<'a> {
    fn new(publication: &'a Publication) -> Self {
        Self {
            channel: &publication.channel,
            payload: Payload::new(&publication.payload, publication.format),
            event: publication.event.as_deref(),
            format: match publication.format {
                Format::Raw => None,
                Format::Json => Some("json"),
                Format::MsgPack => Some("msgpack"),
            },
            key: publication.key.as_deref(),
            tags: &publication.tags,
            offset: publication.offset,
            time: publication.time,
            client: publication.client.as_deref(),
            user: publication.user.as_deref(),
        }
    }
}

impl<'a> Payload<'a> {
    fn new(payload: &'a [u8], format: Format) -> Self {
        match (std::str::from_utf8(payload), format) {
            (Ok(text), Format::Json) => json(text).map_or(Self::Text(text), Self::Json),
            (Ok(text), Format::Raw) => Self::Text(text),
            _ => Self::Binary(BASE64_STANDARD.encode(payload)),
        }
    }
}

/// `text` on one line, if it is JSON.
fn json(text: &str) -> Option<Box<RawValue>> {
    // Within a string JSON has no line ends, so that all of them stand between values, where a space does as well.
    RawValue::from_string(text.replace(['\n', '\r'], " ").trim().to_owned()).ok()
}

fn map<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(style: Style, publication: &Publication) -> String {
        let mut out = Vec::new();
        style.append(publication, &mut out);
        let line = String::from_utf8(out).expect("lines are text");
        line.strip_suffix('\n').expect("a line has an end").to_owned()
    }

    fn publication(payload: &[u8], format: Format) -> Publication {
        Publication { channel: "c".to_owned(), payload: payload.to_vec(), format, ..Publication::default() }
    }

    #[track_caller]
    fn check(payload: &[u8], format: Format, terminal: &str, json: &str) {
        let publication = publication(payload, format);
        assert_eq!(line(Style::Terminal, &publication), terminal);
        assert_eq!(line(Style::Json, &publication), json);
    }

    #[test]
    fn text_is_text() {
        check(
            "grüß \"dich\"".as_bytes(),
            Format::Raw,
            "c  grüß \"dich\"",
            r#"{"channel":"c","payload":"grüß \"dich\""}"#,
        );
        check(b"", Format::Raw, "c  ", r#"{"channel":"c","payload":""}"#);
    }

    #[test]
    fn what_is_no_text_is_told_in_hexadecimal_or_base64() {
        check(b"\xff\x00\x01", Format::Raw, "c  0xff0001", r#"{"channel":"c","payload_b64":"/wAB"}"#);
        let long = line(Style::Terminal, &publication(&[0xfe; 1000], Format::Raw));
        assert!(long.ends_with("fe... (1000 bytes)") && long.len() < 200, "{long}");
        // The number 1, which would be a control character as text.
        check(
            b"\x01",
            Format::MsgPack,
            "c  0x01",
            r#"{"channel":"c","payload_b64":"AQ==","format":"msgpack"}"#,
        );
    }

    #[test]
    fn json_stays_as_it_was_written_but_on_one_line() {
        check(
            b"{\"b\": 1.50,\r\n \"a\": 12345678901234567890}\n",
            Format::Json,
            "c  {\"b\": 1.50,\\r\\n \"a\": 12345678901234567890}\\n",
            r#"{"channel":"c","payload":{"b": 1.50,   "a": 12345678901234567890},"format":"json"}"#,
        );
        let escaped = r#""line\nend""#;
        let expected = format!(r#"{{"channel":"c","payload":{escaped},"format":"json"}}"#);
        assert_eq!(line(Style::Json, &publication(escaped.as_bytes(), Format::Json)), expected);
    }

    #[test]
    fn json_that_is_none_is_a_string() {
        for bad in ["{", "1 2", "", "\"a\nb\"x", "1\n2"] {
            let line = line(Style::Json, &publication(bad.as_bytes(), Format::Json));
            let object: serde_json::Value = serde_json::from_str(&line).expect("a line is JSON");
            assert_eq!(object["payload"], bad);
        }
    }

    #[test]
    fn nothing_that_is_published_reaches_a_terminal_as_a_command() {
        let nasty = "\u{1b}]0;title\u{7}\u{9b}2J\r\n\u{202e}gpj.exe\u{2066}\u{0}";
        let publication = Publication {
            channel: nasty.to_owned(),
            event: Some(nasty.to_owned()),
            ..publication(nasty.as_bytes(), Format::Raw)
        };
        let line = line(Style::Terminal, &publication);
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}' || c == '\u{2066}'), "{line:?}");
        assert!(line.contains("\\u{1b}]0;title\\u{7}") && line.contains("\\r\\n\\u{202e}gpj.exe"), "{line}");
    }

    #[test]
    fn everything_that_a_publication_holds_is_told_to_programs() {
        let full = Publication {
            event: Some("typing".to_owned()),
            key: Some("k".to_owned()),
            tags: vec![("room".to_owned(), "1".to_owned()), ("app".to_owned(), "x".to_owned())],
            offset: Some(7),
            time: Some(8),
            client: Some("a1".to_owned()),
            user: Some("ada".to_owned()),
            ..publication(b"hi", Format::Raw)
        };
        assert_eq!(
            line(Style::Json, &full),
            r#"{"channel":"c","payload":"hi","event":"typing","key":"k","tags":{"room":"1","app":"x"},"offset":7,"time":8,"client":"a1","user":"ada"}"#
        );
        assert_eq!(line(Style::Terminal, &full), "c [typing]  hi");
    }
}
