//! Who may do what in which namespace: the rules, and the channel names that they are looked up by.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::history::Bounds;
use crate::limits::CHANNEL_NAME_BYTES;

/// Who may do one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// Every connection.
    #[default]
    Anyone,
    /// No connection; only the server's own API.
    Nobody,
    /// The host decides each time, by [`Effect::Authorize`](crate::Effect::Authorize).
    Ask,
}

/// What gives way when a connection takes publications more slowly than they come, and
/// [`Limits::queue_bytes`](crate::Limits::queue_bytes) wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// The connection: it is closed with code 4001.
    #[default]
    Disconnect,
    /// The oldest publications that wait. The client is told how many by a `gap` frame.
    DropOldest,
    /// While a connection takes nothing, a publication gives way to a newer one with the same `key`; beyond the bound the
    /// oldest give way too. The client is told how many by a `gap` frame.
    LatestPerKey,
}

/// The rules of one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who may subscribe.
    pub subscribe: Rule,
    /// Who may publish.
    pub publish: Rule,
    /// Who may see who is there.
    pub presence: Rule,
    /// What gives way when a subscriber is too slow.
    pub slow_consumer: SlowConsumer,
    /// Milliseconds for which a member whose connection has ended stays listed, so that it may come back unnoticed.
    pub presence_grace_ms: u32,
    /// Publications that each channel keeps for those who come later; 0 keeps none.
    pub history_size: u32,
    /// Bytes of these at most, with 64 for each.
    pub history_bytes: u32,
    /// Milliseconds for which they are kept. A channel that nobody uses is forgotten after as long, or when it knows no
    /// idempotency key any more.
    pub history_ttl_ms: u32,
    /// Whether they keep only the newest of each `key`. Publications without one are kept as ever.
    pub history_per_key: bool,
    /// Whether a subscriber that comes back gets what it missed, where there is history.
    pub recovery: bool,
    /// Milliseconds for which a channel that keeps history knows a publication by its idempotency key, and takes no other one
    /// under it; 0 takes all.
    pub idempotency_window_ms: u32,
    /// Whether what is kept is on disk before anybody gets it, where there is history: the host stores it
    /// ([`Effect::Store`](crate::Effect::Store)).
    pub durable: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            subscribe: Rule::Anyone,
            publish: Rule::Anyone,
            presence: Rule::Anyone,
            slow_consumer: SlowConsumer::Disconnect,
            presence_grace_ms: 5_000,
            history_size: 0,
            history_bytes: 1 << 20,
            history_ttl_ms: 300_000,
            history_per_key: false,
            recovery: true,
            idempotency_window_ms: 300_000,
            durable: false,
        }
    }
}

impl Rules {
    /// Whether channels keep publications, and how many.
    pub(crate) fn history(&self) -> Option<Bounds> {
        let &Self { history_size, history_bytes, history_ttl_ms, idempotency_window_ms, .. } = self;
        (history_size > 0).then_some(Bounds {
            size: history_size as usize,
            bytes: history_bytes as usize,
            ttl_ms: history_ttl_ms.into(),
            per_key: self.history_per_key,
            window_ms: idempotency_window_ms.into(),
        })
    }

    /// Whether channels know publications by their idempotency keys: where they keep nothing, not even that.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.history_size > 0 && self.idempotency_window_ms > 0
    }

    /// Whether publications are on disk before anybody gets them.
    pub(crate) fn stores(&self) -> bool {
        self.durable && self.history_size > 0
    }
}

/// A named set of rules, for channels whose name begins with `name` and a colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// The part of a channel name before its first colon.
    pub name: Box<str>,
    /// What holds in it.
    pub rules: Rules,
}

/// Picks the rules for a channel: those of its namespace, or the default where it has none or an unknown one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rulebook {
    default: Rules,
    /// Sorted by name.
    namespaces: Vec<Namespace>,
}

impl Rulebook {
    pub(crate) fn new(default: Rules, mut namespaces: Vec<Namespace>) -> Self {
        namespaces.sort_by(|a, b| a.name.cmp(&b.name));
        Self { default, namespaces }
    }

    pub(crate) fn rules(&self, channel: &str) -> Rules {
        if self.namespaces.is_empty() {
            return self.default;
        }
        let found = channel
            .split_once(':')
            .and_then(|(name, _)| self.namespaces.binary_search_by(|n| (*n.name).cmp(name)).ok());
        found.map_or(self.default, |at| self.namespaces[at].rules)
    }
}

/// 1 to 256 bytes of printable ASCII that do not begin with the reserved `$`.
pub(crate) fn is_channel_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    // One pass without an early end is a vectorised loop; names are short.
    let printable = bytes.iter().fold(true, |ok, b| ok & (0x20..=0x7e).contains(b));
    printable && !bytes.is_empty() && bytes.len() <= CHANNEL_NAME_BYTES && bytes[0] != b'$'
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use alloc::string::String;

    #[test]
    fn names_are_printable_ascii_of_bounded_length() {
        let longest: String = core::iter::repeat_n('x', 256).collect();
        for good in ["a", "chat:lobby", " ", "~", "a$b", &longest] {
            assert!(is_channel_name(good), "{good:?}");
        }
        let too_long: String = core::iter::repeat_n('x', 257).collect();
        for bad in ["", "$internal", "tab\there", "caf\u{e9}", "\u{7f}", &too_long] {
            assert!(!is_channel_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_part_before_the_first_colon_picks_the_rules() {
        let closed = Rules { subscribe: Rule::Nobody, ..Rules::default() };
        let namespace = |name: &str| Namespace { name: name.into(), rules: closed };
        let book = Rulebook::new(Rules::default(), [namespace("news"), namespace("admin")].into());
        for channel in ["news:1", "admin:", "news:a:b"] {
            assert_eq!(book.rules(channel), closed, "{channel}");
        }
        for channel in ["news", "newsroom:1", "other:news:1", ":news"] {
            assert_eq!(book.rules(channel), Rules::default(), "{channel}");
        }
    }
}
