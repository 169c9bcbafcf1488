//! Channels of one router: their names, their subscribers and the numbers that their publications get.
//!
//! A channel exists from its first subscription to the end of its last. Who may subscribe, and what a
//! subscriber is sent, are others' business.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// One subscriber: its connection's slot, and where the connection keeps this subscription in its own list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) slot: u32,
    pub(crate) at: u32,
}

/// A channel that has subscribers. At most 64 B, beside its name and its list.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    pub(crate) name: Box<str>,
    pub(crate) subscribers: Vec<Subscriber>,
    /// Number of the newest publication; the next one gets one more. Invariant: nothing is delivered unnumbered.
    pub(crate) offset: u64,
}

/// The channels of a router, by name and by a dense index that lives as long as the channel does.
#[derive(Debug)]
pub(crate) struct Channels {
    hasher: FixedState,
    names: HashTable<u32>,
    channels: Vec<Channel>,
    free: Vec<u32>,
}

impl Channels {
    /// `seed` keys the hash: channel names come from clients, who must not be able to make them collide.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            hasher: FixedState::with_seed(seed),
            names: HashTable::new(),
            channels: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.names.find(self.hash(name), |&at| *self.channels[at as usize].name == *name).copied()
    }

    /// Makes a channel. The caller knows that there is none of this name.
    pub(crate) fn create(&mut self, name: &str) -> u32 {
        let channel = Channel { name: name.into(), ..Channel::default() };
        let at = match self.free.pop() {
            Some(at) => {
                self.channels[at as usize] = channel;
                at
            }
            None => {
                self.channels.push(channel);
                u32::try_from(self.channels.len() - 1).expect("limits.max_channels is a u32")
            }
        };
        let Self { names, channels, hasher, .. } = self;
        names.insert_unique(hasher.hash_one(name), at, |&at| hasher.hash_one(&*channels[at as usize].name));
        at
    }

    /// Adds a subscriber at the end of the list and returns its place there.
    pub(crate) fn join(&mut self, channel: u32, subscriber: Subscriber) -> u32 {
        let list = &mut self.channels[channel as usize].subscribers;
        list.push(subscriber);
        list.len() as u32 - 1
    }

    /// Takes a subscriber out. Returns the one that now stands in its place, whose own note must be mended.
    /// The channel goes with its last subscriber.
    pub(crate) fn leave(&mut self, channel: u32, place: u32) -> Option<Subscriber> {
        let list = &mut self.channels[channel as usize].subscribers;
        list.swap_remove(place as usize);
        let moved = list.get(place as usize).copied();
        if list.is_empty() {
            let name = core::mem::take(&mut self.channels[channel as usize]).name;
            let entry = self.names.find_entry(self.hash(&name), |&at| at == channel);
            entry.expect("a channel is in the table by its name").remove();
            self.free.push(channel);
        }
        moved
    }

    /// Follows a subscription that moved within its connection's list.
    pub(crate) fn moved(&mut self, channel: u32, place: u32, at: u32) {
        self.channels[channel as usize].subscribers[place as usize].at = at;
    }

    /// Gives the next publication its number.
    pub(crate) fn number(&mut self, channel: u32) -> u64 {
        let channel = &mut self.channels[channel as usize];
        channel.offset += 1;
        channel.offset
    }

    pub(crate) fn get(&self, channel: u32) -> &Channel {
        &self.channels[channel as usize]
    }

    /// A number that stands for a publication's key, never 0. Keyed like the names.
    pub(crate) fn key(&self, key: &str) -> u64 {
        self.hash(key).max(1)
    }

    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn subscriber(slot: u32) -> Subscriber {
        Subscriber { slot, at: 0 }
    }

    #[test]
    fn a_channel_lives_from_its_first_to_its_last_subscriber() {
        let mut channels = Channels::new(1);
        let a = channels.create("a");
        let place = channels.join(a, subscriber(7));
        assert_eq!(channels.find("a"), Some(a));
        assert_eq!((channels.number(a), channels.number(a)), (1, 2));
        assert_eq!(channels.leave(a, place), None);
        assert_eq!((channels.find("a"), channels.len()), (None, 0));
        let b = channels.create("b");
        assert_eq!(b, a, "the place is used again");
        assert_eq!(channels.number(b), 1, "with numbers of its own");
    }

    #[test]
    fn leaving_tells_who_moved_into_the_gap() {
        let mut channels = Channels::new(1);
        let a = channels.create("a");
        for slot in 0..3 {
            channels.join(a, subscriber(slot));
        }
        assert_eq!(channels.leave(a, 0), Some(subscriber(2)));
        assert_eq!(channels.leave(a, 1), None, "the last in the list leaves no gap");
        assert_eq!(channels.get(a).subscribers, [subscriber(2)]);
    }

    #[test]
    fn a_channel_is_small() {
        assert!(size_of::<Channel>() <= 64, "{} B", size_of::<Channel>());
    }
}
