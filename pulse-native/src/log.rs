//! What the server says on standard error, as lines for people or JSON for machines.
//!
//! Everything goes through `tracing`; this module decides the format and what is said. `RUST_LOG` is not looked at:
//! `logging.level` is the one place.

use std::{
    io::{self, IsTerminal as _, Write},
    str::FromStr as _,
};

use tracing::{Dispatch, level_filters::LevelFilter};
use tracing_subscriber::{
    Registry, filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, registry, reload,
};

use crate::config::{LogFormat, Logging};

/// Changes what a running logger says.
#[derive(Clone, Debug)]
pub struct Level(reload::Handle<Targets, Registry>);

impl Level {
    /// Says what `level` asks for from now on, written as `logging.level` is; false if it is no such text, which changes
    /// nothing.
    pub fn set(&self, level: &str) -> bool {
        // The logger lives as long as the process, or nobody hears it any more.
        filter(level).is_some_and(|filter| self.0.reload(filter).is_ok())
    }
}

/// Sends everything that is logged from now on to standard error. The first call in a process holds, and only what it
/// returns changes anything.
pub fn init(logging: &Logging) -> Level {
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // An earlier call, in a test, has said where logs go: that holds.
    let (dispatch, level) = dispatch(logging, io::stderr, colours);
    let _ = tracing::dispatcher::set_global_default(dispatch);
    level
}

/// A logger with another writer than standard error, and what changes its level.
///
/// A writer that fails costs the line, never the server: a full disk or a closed pipe is no reason to stop serving.
pub fn dispatch<W>(logging: &Logging, writer: W, colours: bool) -> (Dispatch, Level)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A filter that did not pass the configuration's check can only come from a caller who built the value by hand.
    let filter = filter(&logging.level).unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let (filter, handle) = reload::Layer::new(filter);
    let layer = tracing_subscriber::fmt::layer().log_internal_errors(false);
    let writer = Forgiving(writer);
    let dispatch = match logging.format {
        LogFormat::Text => {
            Dispatch::new(registry().with(filter).with(layer.with_ansi(colours).with_writer(writer)))
        }
        LogFormat::Json => {
            Dispatch::new(registry().with(filter).with(layer.json().flatten_event(true).with_writer(writer)))
        }
    };
    (dispatch, Level(handle))
}

/// Reads `logging.level`: a level, or levels by module separated by commas. `None` if it is neither.
pub(crate) fn filter(text: &str) -> Option<Targets> {
    let mut filter = Targets::new();
    for directive in text.split(',') {
        filter = match directive.trim().split_once('=') {
            Some((module, level)) if is_module(module) => filter.with_target(module, self::level(level)?),
            Some(_) => return None,
            None => filter.with_default(level(directive.trim())?),
        };
    }
    Some(filter)
}

fn level(word: &str) -> Option<LevelFilter> {
    // The parser takes digits as well; one spelling is enough.
    let known = word.bytes().all(|byte| byte.is_ascii_alphabetic()) && !word.is_empty();
    known.then(|| LevelFilter::from_str(word).ok()).flatten()
}

fn is_module(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

/// A writer whose errors are nobody's business: there is no other place to report them to.
struct Forgiving<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Forgiving<W> {
    type Writer = Forgiving<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Forgiving(self.0.make_writer())
    }
}

impl<W: Write> Write for Forgiving<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // All of it here: a short write answered with its own length would be taken up by a caller that gives up on
        // errors, and half a line would be followed by the next one.
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics while it writes").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: LogFormat) -> String {
        let page = Page::default();
        let writer = page.clone();
        let logging = Logging { level: level.to_owned(), format };
        let (dispatch, _) = dispatch(&logging, move || writer.clone(), false);
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::warn!(connection = 7, "slow\nclient");
            tracing::info!("started");
            tracing::debug!("turn");
            tracing::debug!(target: "pulse_native::shard", "flush");
        });
        let bytes = page.0.lock().expect("no test panics while it writes").clone();
        String::from_utf8(bytes).expect("logs are text")
    }

    #[test]
    fn the_level_decides_what_is_said() {
        let lines = |level| logged(level, LogFormat::Json).lines().count();
        assert_eq!(lines("off"), 0);
        assert_eq!(lines("error"), 0);
        assert_eq!(lines("warn"), 1);
        assert_eq!(lines("info"), 2);
        assert_eq!(lines("warn,pulse_native::shard=debug"), 2);
        assert_eq!(lines("trace"), 4);
    }

    #[test]
    fn a_new_level_holds_from_now_on_and_one_that_is_none_changes_nothing() {
        let page = Page::default();
        let writer = page.clone();
        let (dispatch, level) = dispatch(&Logging::default(), move || writer.clone(), false);
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::debug!("first");
            assert!(level.set("debug"));
            tracing::debug!("second");
            assert!(!level.set("inof"));
            tracing::debug!("third");
        });
        let text = String::from_utf8(page.0.lock().expect("no test panics while it writes").clone());
        let text = text.expect("logs are text");
        assert!(!text.contains("first") && text.contains("second") && text.contains("third"), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged("warn", LogFormat::Json);
        let object: serde_json::Value = serde_json::from_str(text.trim_end()).expect("a line is JSON");
        assert_eq!(object["level"], "WARN");
        assert_eq!(object["message"], "slow\nclient");
        assert_eq!(object["connection"], 7);
        assert!(object["timestamp"].is_string() && object["target"].is_string(), "{object}");
    }

    #[test]
    fn text_names_level_message_and_fields_without_colours_where_nobody_sees_them() {
        let text = logged("info", LogFormat::Text);
        assert!(text.contains("INFO") && text.contains("started") && text.contains("connection=7"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_writer_that_fails_costs_only_the_line() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        for format in [LogFormat::Text, LogFormat::Json] {
            let (dispatch, _) = dispatch(&Logging { format, ..Logging::default() }, || Full, false);
            tracing::dispatcher::with_default(&dispatch, || tracing::error!("the disk is full"));
        }
        assert!(Forgiving(Full).write_all(b"line").is_ok() && Forgiving(Full).flush().is_ok());
    }

    #[test]
    fn a_filter_is_a_level_or_levels_by_module() {
        for good in ["info", "off", "WARN", "info,pulse_native=debug", "warn, hyper=error", "a::b=trace"] {
            assert!(filter(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "inof",
            "pulse_native",
            "info,",
            "a=",
            "=info",
            "a=b=info",
            "3",
            "a=3",
            "[span]=info",
            "info;",
        ] {
            assert!(filter(bad).is_none(), "{bad}");
        }
    }
}
