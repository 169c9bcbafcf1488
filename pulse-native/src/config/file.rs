//! The configuration file: TOML, one table a section, each mistake with its line.

use std::{fs::File, io::Read as _, path::Path};

use toml_edit::{Document, Item, TableLike, Value as Toml};

use super::{
    Given, Sources, by_path,
    error::{ConfigError, Origin},
    rule::{NAMESPACE, is_namespace},
    setting::{Refused, Value},
    suggest::nearest,
    table::{SECTIONS, SETTINGS},
};

/// No configuration is as large as this; `/dev/zero` is larger.
const LIMIT_BYTES: u64 = 1 << 20;

/// The table that holds a table for each namespace.
const NAMESPACES: &str = "namespaces";

/// Adds what the file at `path` gives.
pub(super) fn read(path: &Path, into: &mut Sources) {
    match text(path) {
        Ok(text) => parse(path, &text, into),
        Err(error) => into.errors.push(error),
    }
}

fn text(path: &Path) -> Result<String, ConfigError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned(), limit_bytes: LIMIT_BYTES });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = Lines::new(error.as_bytes()).at(valid);
        ConfigError::NotText { origin: Origin::File { path: path.to_owned(), line } }
    })
}

fn parse(path: &Path, text: &str, into: &mut Sources) {
    match Document::parse(text) {
        Ok(document) => {
            Reader { path, text, lines: Lines::new(text.as_bytes()), into }.root(document.as_table());
        }
        Err(error) => into.errors.push(syntax(path, text, &error)),
    }
}

fn syntax(path: &Path, text: &str, error: &toml_edit::TomlError) -> ConfigError {
    let offset = error.span().map_or(0, |span| span.start).min(text.len());
    let lines = Lines::new(text.as_bytes());
    let line = lines.at(offset);
    let column = 1 + String::from_utf8_lossy(&text.as_bytes()[lines.0[line - 1]..offset]).chars().count();
    // The parser's text may have lines of its own.
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    ConfigError::Syntax { path: path.to_owned(), line, column, message }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    lines: Lines,
    into: &'a mut Sources,
}

/// Where each line begins: a file of many keys asks for the line of each.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &[u8]) -> Self {
        let newlines = text.iter().enumerate().filter(|&(_, &byte)| byte == b'\n');
        Self([0].into_iter().chain(newlines.map(|(at, _)| at + 1)).collect())
    }

    /// The line, from 1, that the byte at `offset` is in.
    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|&start| start <= offset)
    }
}

impl Reader<'_> {
    fn root(&mut self, root: &dyn TableLike) {
        for (name, item) in root.iter() {
            let origin = self.line(root, name, item);
            if name == NAMESPACES {
                self.table(name, item, origin, Self::namespaces);
            } else if SECTIONS.iter().any(|(section, _)| *section == name) {
                self.table(name, item, origin, |reader, table| reader.section(name, None, table));
            } else {
                let sections = SECTIONS.iter().map(|(section, _)| *section).chain([NAMESPACES]);
                // A key without its section is more often forgotten than a section misspelt.
                let key = SETTINGS.iter().find(|setting| setting.key == name).map(|setting| setting.path());
                let section = || nearest(name, sections).map(|section| format!("[{section}]"));
                self.unknown(origin, name.to_owned(), key.or_else(section));
            }
        }
    }

    fn namespaces(&mut self, table: &dyn TableLike) {
        for (name, item) in table.iter() {
            let origin = self.line(table, name, item);
            let key = format!("{NAMESPACES}.{name}");
            if !is_namespace(name) {
                self.into.errors.push(ConfigError::BadValue {
                    origin,
                    key: "the name of a namespace".to_owned(),
                    given: Value::Text(name.to_owned()).to_string().into(),
                    allowed: NAMESPACE.into(),
                    hint: None,
                });
                continue;
            }
            self.table(&key, item, origin, |reader, table| {
                reader.into.namespaces.insert(name.to_owned());
                reader.section("channels", Some(name), table);
            });
        }
    }

    /// Reads a section's keys; those of a namespace are those of `[channels]`.
    fn section(&mut self, section: &str, namespace: Option<&str>, table: &dyn TableLike) {
        let shown = namespace.map_or_else(|| section.to_owned(), |name| format!("{NAMESPACES}.{name}"));
        for (key, item) in table.iter() {
            let origin = self.line(table, key, item);
            let path = format!("{shown}.{key}");
            let Some(setting) = by_path(&format!("{section}.{key}")) else {
                let keys = || SETTINGS.iter().filter(|setting| setting.section == section);
                let near =
                    nearest(key, keys().map(|setting| setting.key)).map(|key| format!("{shown}.{key}"));
                let elsewhere =
                    SETTINGS.iter().find(|setting| setting.key == key).map(|setting| setting.path());
                self.unknown(origin, path, near.or(elsewhere));
                continue;
            };
            let value = item.as_value().and_then(plain).ok_or(Refused { hint: None });
            match value.and_then(|value| setting.kind.check(value)) {
                Ok(value) => {
                    let namespace = namespace.map(str::to_owned);
                    self.into.given.push(Given { setting, namespace, value, origin });
                }
                Err(Refused { hint }) => {
                    let given = self.shown(item).into();
                    let allowed = setting.kind.allowed().into();
                    self.into.errors.push(ConfigError::BadValue { origin, key: path, given, allowed, hint });
                }
            }
        }
    }

    fn table(
        &mut self,
        name: &str,
        item: &Item,
        origin: Origin,
        read: impl FnOnce(&mut Self, &dyn TableLike),
    ) {
        if let Some(table) = item.as_table_like() {
            return read(self, table);
        }
        self.into.errors.push(ConfigError::BadValue {
            origin,
            key: name.to_owned(),
            given: self.shown(item).into(),
            allowed: format!("a table, as in [{name}]").into(),
            hint: None,
        });
    }

    fn unknown(&mut self, origin: Origin, key: String, suggestion: Option<String>) {
        self.into.errors.push(ConfigError::Unknown { origin, key, suggestion });
    }

    fn line(&self, table: &dyn TableLike, key: &str, item: &Item) -> Origin {
        let span = table.key(key).and_then(toml_edit::Key::span).or_else(|| item.span());
        Origin::File { path: self.path.to_owned(), line: self.lines.at(span.map_or(0, |span| span.start)) }
    }

    /// The value as the file has it.
    fn shown(&self, item: &Item) -> String {
        match item {
            Item::Value(value) => {
                value.span().and_then(|span| self.text.get(span)).unwrap_or("a table").to_owned()
            }
            Item::ArrayOfTables(_) => "an array of tables".to_owned(),
            Item::Table(_) | Item::None => "a table".to_owned(),
        }
    }
}

/// The value in our terms; `None` for types that no setting has.
fn plain(value: &Toml) -> Option<Value> {
    match value {
        Toml::Boolean(on) => Some(Value::Switch(*on.value())),
        Toml::Integer(number) => u64::try_from(*number.value()).ok().map(Value::Number),
        Toml::String(text) => Some(Value::Text(text.value().clone())),
        Toml::Array(array) => {
            let texts = array.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map(Value::List)
        }
        Toml::Float(_) | Toml::Datetime(_) | Toml::InlineTable(_) => None,
    }
}
