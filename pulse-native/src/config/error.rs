//! Where a value came from, and what can be wrong with it.

use std::{error::Error, fmt, io, path::PathBuf};

/// Where a setting's value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// No source gives it.
    Default,
    /// A namespace's rule that its own table does not give: that of `[channels]`.
    Channels,
    /// A line of the configuration file.
    File {
        /// The file, as it was given.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Channels => f.write_str("as [channels]"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong with a configuration. Its text names the place, the key, the value and what is allowed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file, as it was given.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    TooLarge {
        /// The file, as it was given.
        path: PathBuf,
        /// The size allowed.
        limit_bytes: u64,
    },
    /// A file or a variable is not UTF-8.
    NotText {
        /// The line or the variable.
        origin: Origin,
    },
    /// The file is not TOML.
    Syntax {
        /// The file, as it was given.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The character of the line, from 1.
        column: usize,
        /// What the parser found and expected.
        message: String,
    },
    /// No setting is called so.
    Unknown {
        /// Where it stands.
        origin: Origin,
        /// The name, with its section.
        key: String,
        /// The setting that is probably meant.
        suggestion: Option<String>,
    },
    /// The setting does not take this value.
    BadValue {
        /// Where it stands.
        origin: Origin,
        /// The setting's full name.
        key: String,
        /// The value, as it was given.
        given: Box<str>,
        /// The values allowed.
        allowed: Box<str>,
        /// What probably went wrong.
        hint: Option<Box<str>>,
    },
    /// Each value is allowed, but not with the other.
    Conflict {
        /// Where the value that was given last stands.
        origin: Origin,
        /// Both settings, their values, and what is asked of them.
        text: String,
    },
}

impl ConfigError {
    /// The line, variable or flag to change; `None` if it is the whole file.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Self::Unreadable { .. } | Self::TooLarge { .. } => None,
            Self::Syntax { path, line, .. } => Some(Origin::File { path: path.clone(), line: *line }),
            Self::NotText { origin }
            | Self::Unknown { origin, .. }
            | Self::BadValue { origin, .. }
            | Self::Conflict { origin, .. } => Some(origin.clone()),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => {
                let path = path.display();
                match source.kind() {
                    io::ErrorKind::NotFound => write!(f, "{path}: there is no such file"),
                    io::ErrorKind::IsADirectory => write!(f, "{path}: this is a directory, not a file"),
                    io::ErrorKind::PermissionDenied => write!(f, "{path}: this user may not read it"),
                    _ => write!(f, "{path}: cannot be read: {source}"),
                }
            }
            Self::TooLarge { path, limit_bytes } => {
                write!(f, "{}: a configuration file has at most {limit_bytes} bytes", path.display())
            }
            Self::NotText { origin } => write!(f, "{origin}: is not valid UTF-8"),
            Self::Syntax { path, line, column, message } => {
                write!(f, "{}:{line}:{column}: {message}", path.display())
            }
            Self::Unknown { origin, key, suggestion } => {
                write!(f, "{origin}: {} is not a setting", short(key))?;
                suggestion.as_ref().map_or(Ok(()), |name| write!(f, "; did you mean {name}?"))
            }
            Self::BadValue { origin, key, given, allowed, hint } => {
                let given = if key == super::SECRET { "not one".into() } else { short(given) };
                write!(f, "{origin}: {} is {given}; allowed: {allowed}", short(key))?;
                hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
            }
            Self::Conflict { origin, text } => write!(f, "{origin}: {text}"),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Everything that is wrong with a configuration, in the order of the sources. Displayed one a line.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `errors` is not empty.
    pub(super) fn new(errors: Vec<ConfigError>) -> Self {
        debug_assert!(!errors.is_empty(), "a refused configuration has a reason");
        Self(errors)
    }

    /// One after the other.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "\n" })?;
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl Error for ConfigErrors {}

/// What was given, fit for one line of a terminal or a log.
fn short(given: &str) -> String {
    const LONGEST: usize = 80;
    let visible = |char: char| if char.is_control() { '\u{fffd}' } else { char };
    let mut text: String = given.chars().take(LONGEST).map(visible).collect();
    if given.chars().nth(LONGEST).is_some() {
        text.push_str("...");
    }
    text
}
