//! One connection as the router sees it: which frames are legal now, what it subscribed to, what waits.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::wire::CloseCode;
use crate::{Answer, Dialect, Link, Ticket};

/// Where a connection is in its life, with exactly the data that is valid there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// The slot belongs to nobody.
    #[default]
    Free,
    /// The transport is open; `connect` has to come first.
    Greeting,
    /// Every request is legal.
    Open,
    /// The goodbye is said. Nothing is taken any more; what is left is still written.
    Closing {
        /// Why.
        code: CloseCode,
        /// Whether the host was asked to close.
        asked: bool,
    },
}

/// One subscription of a connection: the channel, and its place in the channel's own list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) channel: u32,
    pub(crate) place: u32,
}

/// Stands for the place of a subscription that is not in its channel's list yet, because it is catching up.
pub(crate) const CATCHING_UP: u32 = u32::MAX;

/// One slot of the router's table. Kept small: an idle connection is this, its subscriptions and 20 bytes elsewhere.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) generation: u32,
    /// The tick in which the client was last heard.
    pub(crate) heard: u32,
    pub(crate) link: Link,
    pub(crate) state: State,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) waiting: Option<Box<Waiting>>,
}

impl Default for Conn {
    fn default() -> Self {
        Self {
            generation: 0,
            heard: 0,
            link: Link { class: 0, dialect: Dialect::V1 },
            state: State::Free,
            subscriptions: Vec::new(),
            waiting: None,
        }
    }
}

impl Conn {
    pub(crate) fn open(&mut self, link: Link, tick: u32) {
        // A generation is never 0, so that no id is.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.heard = tick;
        self.link = link;
        self.state = State::Greeting;
    }

    /// Where in `subscriptions` a channel stands.
    pub(crate) fn subscription(&self, channel: u32) -> Option<usize> {
        self.subscriptions.iter().position(|s| s.channel == channel)
    }
}

/// Requests that wait until the first of them can be decided.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Of the question to the host, if that is what they wait for.
    pub(crate) ticket: Option<Ticket>,
    /// What the host has said of the first of them, where that waits on for something else.
    pub(crate) answer: Option<Answer>,
    /// Whole frames with their prefixes.
    pub(crate) frames: Vec<u8>,
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Conn>() <= 56, "{} B", size_of::<Conn>());
    }
}
