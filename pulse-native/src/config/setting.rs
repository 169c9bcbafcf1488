//! What a setting is: its name, the values it takes, and its names as a variable and as a flag.
//!
//! The settings themselves are in the neighbour `table`. Nothing here knows where a value comes from.

use std::fmt;

use super::Config;

/// One setting of the table [`SETTINGS`](super::SETTINGS).
#[derive(Debug)]
pub struct Setting {
    /// The table of the file that it stands in.
    pub section: &'static str,
    /// Its key in that table, and the name of its field in [`Config`].
    pub key: &'static str,
    /// The values it takes.
    pub kind: Kind,
    pub(super) doc: &'static str,
    pub(super) read: fn(&Config) -> Value,
    pub(super) write: fn(&mut Config, Value),
}

impl Setting {
    /// Its full name, such as `server.port`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// What it does, in one line.
    #[must_use]
    pub fn doc(&self) -> &'static str {
        self.doc.trim_start()
    }

    /// Its environment variable, such as `PULSE_SERVER_PORT`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("PULSE_{}_{}", self.section, self.key).to_ascii_uppercase()
    }

    /// The short variable of the settings that everyone sets, such as `PULSE_PORT`.
    #[must_use]
    pub fn short_variable(&self) -> Option<String> {
        self.is_short().then(|| format!("PULSE_{}", self.key).to_ascii_uppercase())
    }

    /// Its flag without the dashes, such as `limits-max-connections`.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("{}-{}", self.section, self.key).replace('_', "-")
    }

    /// The short flag of the settings that everyone sets, such as `port`.
    #[must_use]
    pub fn short_flag(&self) -> Option<&'static str> {
        self.is_short().then_some(self.key)
    }

    /// Its value in `config`.
    #[must_use]
    pub fn value(&self, config: &Config) -> Value {
        (self.read)(config)
    }

    /// Its value where no source gives one.
    #[must_use]
    pub fn default_value(&self) -> Value {
        self.value(&Config::default())
    }

    fn is_short(&self) -> bool {
        self.section == "server" && matches!(self.key, "host" | "port")
    }
}

/// The values that a setting takes.
#[derive(Debug)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// `false` until a later version can do it; the text says so.
    NotYet(&'static str),
    /// A whole number.
    Number {
        /// The least value allowed.
        min: u64,
        /// The greatest value allowed.
        max: u64,
        /// What is counted, such as `ms` or `bytes`; empty for plain things.
        unit: &'static str,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text under a rule.
    Text(Rule),
    /// A list of such texts; in a variable or a flag, separated by commas.
    List(Rule),
}

/// What a text has to look like.
#[derive(Debug)]
pub struct Rule {
    /// How `--help` calls such a value.
    pub name: &'static str,
    /// What is allowed, for people.
    pub allowed: &'static str,
    /// The text in its one spelling, or `None` if it is not allowed.
    pub parse: fn(&str) -> Option<String>,
}

/// Why a [`Kind`] refuses a value: more than that it is not in [`Kind::allowed`], if there is more to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) hint: Option<Box<str>>,
}

impl Kind {
    /// The values allowed, as an error or the reference says it.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self {
            Self::Switch => "true or false".to_owned(),
            Self::NotYet(reason) => format!("false ({reason})"),
            Self::Number { min, max, unit: "" } => format!("a whole number from {min} to {max}"),
            Self::Number { min, max, unit } => format!("a whole number of {unit} from {min} to {max}"),
            Self::Choice(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                quoted.join(" or ")
            }
            Self::Text(rule) => rule.allowed.to_owned(),
            Self::List(rule) => format!("a list, each {}", rule.allowed),
        }
    }

    /// How `--help` calls a value.
    #[must_use]
    pub fn value_name(&self) -> &'static str {
        match self {
            Self::Switch | Self::NotYet(_) => "BOOL",
            Self::Number { unit: "ms", .. } => "MS",
            Self::Number { unit: "bytes", .. } => "BYTES",
            Self::Number { .. } => "N",
            Self::Choice(_) => "WORD",
            Self::Text(rule) | Self::List(rule) => rule.name,
        }
    }

    /// Reads the text of a variable or a flag.
    pub(super) fn parse(&self, text: &str) -> Result<Value, Refused> {
        let text = text.trim();
        let value = match self {
            Self::Switch | Self::NotYet(_) => text.parse().ok().map(Value::Switch),
            Self::Number { .. } => number(text).map(Value::Number),
            Self::Choice(_) | Self::Text(_) => Some(Value::Text(text.to_owned())),
            Self::List(_) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(Value::List(parts.map(str::to_owned).collect()))
            }
        };
        self.check(value.ok_or(Refused { hint: None })?)
    }

    /// Holds a value of any type against the rule; gives it back in its one spelling.
    pub(super) fn check(&self, value: Value) -> Result<Value, Refused> {
        match (self, value) {
            (Self::Switch, value @ Value::Switch(_)) => Ok(value),
            (Self::NotYet(_), value @ Value::Switch(false)) => Ok(value),
            (Self::Number { min, max, .. }, Value::Number(n)) if (*min..=*max).contains(&n) => {
                Ok(Value::Number(n))
            }
            (Self::Choice(words), Value::Text(text)) if words.contains(&text.as_str()) => {
                Ok(Value::Text(text))
            }
            (Self::Choice(words), Value::Text(text)) => {
                let near = super::suggest::nearest(&text, words.iter().copied());
                Err(Refused { hint: near.map(|word| format!("did you mean \"{word}\"?").into()) })
            }
            (Self::Text(rule), Value::Text(text)) => {
                (rule.parse)(&text).map(Value::Text).ok_or(Refused { hint: None })
            }
            (Self::List(rule), Value::List(list)) => {
                let list = list.iter().map(|text| {
                    let hint =
                        || Refused { hint: Some(format!("{} is not", Value::Text(text.clone())).into()) };
                    (rule.parse)(text).ok_or_else(hint)
                });
                list.collect::<Result<_, _>>().map(Value::List)
            }
            _ => Err(Refused { hint: None }),
        }
    }
}

/// A whole number as TOML writes it: digits, with single underscores between them.
fn number(text: &str) -> Option<u64> {
    let parts = || text.split('_');
    parts().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())).then_some(())?;
    parts().collect::<String>().parse().ok()
}

/// A setting's value; displayed as the file writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A whole number.
    Number(u64),
    /// A text.
    Text(String),
    /// Texts.
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => write!(f, "{on}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => quote(f, text),
            Self::List(list) => {
                f.write_str("[")?;
                for (index, text) in list.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    quote(f, text)?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Writes a TOML basic string: no control character gets out to a terminal or a log.
fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for char in text.chars() {
        match char {
            '"' | '\\' => write!(f, "\\{char}")?,
            _ if char.is_control() => write!(f, "\\u{:04x}", u32::from(char))?,
            _ => write!(f, "{char}")?,
        }
    }
    f.write_str("\"")
}

/// The type of a field of [`Config`], and how a [`Value`] goes in and out of it.
pub(super) trait Field {
    fn to_value(&self) -> Value;
    /// `value` has passed [`Kind::check`].
    fn set(&mut self, value: Value);
}

const FITS: &str = "a setting's kind fits the type of its field: a test writes the bounds of each";

impl Field for bool {
    fn to_value(&self) -> Value {
        Value::Switch(*self)
    }

    fn set(&mut self, value: Value) {
        let Value::Switch(on) = value else { unreachable!("{FITS}") };
        *self = on;
    }
}

impl Field for String {
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn set(&mut self, value: Value) {
        let Value::Text(text) = value else { unreachable!("{FITS}") };
        *self = text;
    }
}

impl Field for Vec<String> {
    fn to_value(&self) -> Value {
        Value::List(self.clone())
    }

    fn set(&mut self, value: Value) {
        let Value::List(list) = value else { unreachable!("{FITS}") };
        *self = list;
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn to_value(&self) -> Value {
                Value::Number(u64::from(*self))
            }

            fn set(&mut self, value: Value) {
                let Value::Number(number) = value else { unreachable!("{FITS}") };
                *self = Self::try_from(number).expect(FITS);
            }
        }
    )*};
}

numbers!(u16, u32, u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(number(text), expected, "{text}");
    }

    #[test]
    fn a_number_is_digits_with_single_underscores_between_them() {
        check("0", Some(0));
        check("100000", Some(100_000));
        check("100_000", Some(100_000));
        check("18446744073709551615", Some(u64::MAX));
        for not in ["", "_1", "1_", "1__0", "+1", "-1", "1.0", "1e3", "0x10", "18446744073709551616", "١"] {
            check(not, None);
        }
    }

    #[test]
    fn a_shown_text_has_no_control_characters() {
        let shown = Value::List(vec!["a\"b\\c".to_owned(), "\u{1b}[31m\n".to_owned()]).to_string();
        assert_eq!(shown, r#"["a\"b\\c", "\u001b[31m\u000a"]"#);
    }
}
