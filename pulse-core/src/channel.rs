//! Channels of one router: their names, their subscribers, where they are at home and the numbers of their publications.
//!
//! A channel exists while somebody needs it here: a subscriber, a leaf or a member. Who may subscribe, and what a subscriber is
//! sent, are others' business.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::peer::Shards;

/// One subscriber: its connection's slot, and where the connection keeps this subscription in its own list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) slot: u32,
    pub(crate) at: u32,
}

/// A channel that somebody needs here. At most 64 B, beside its name and its list.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    pub(crate) name: Box<str>,
    pub(crate) subscribers: Vec<Subscriber>,
    /// Number of the newest publication; the next one gets one more. Invariant: nothing is delivered unnumbered.
    /// In a leaf: of the newest one that came or is known to be missed.
    pub(crate) offset: u64,
    /// At home: the peers that have subscribers, one bit each.
    pub(crate) leaves: u64,
    /// Names this life of the channel at its home.
    pub(crate) epoch: u32,
    /// The router that numbers the publications, below [`Shards::MAX`].
    home: u8,
    /// In a leaf: its home has not said yet from which publication on it takes part.
    pub(crate) joining: bool,
    /// At home: it has members, so it lives on without subscribers.
    pub(crate) peopled: bool,
    /// Its namespace keeps history.
    pub(crate) kept: bool,
}

impl Channel {
    /// The router that numbers the publications.
    #[inline]
    pub(crate) fn home(&self) -> u16 {
        self.home.into()
    }

    /// Where its publications are: the epoch and the number of the newest one.
    pub(crate) fn position(&self) -> (u32, u64) {
        (self.epoch, self.offset)
    }

    /// Whether nobody needs it here any more.
    pub(crate) fn is_vacant(&self) -> bool {
        self.subscribers.is_empty() && self.leaves == 0 && !self.peopled
    }
}

/// The hash of a channel's name: where it is in the table, and where it is at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash(u64);

/// The channels of a router, by name and by a dense index that lives as long as the channel does.
#[derive(Debug)]
pub(crate) struct Channels {
    hasher: FixedState,
    shards: Shards,
    names: HashTable<u32>,
    channels: Vec<Channel>,
    free: Vec<u32>,
    /// How many are at home here.
    num_home: usize,
}

impl Channels {
    /// `seed` keys the hash: channel names come from clients, who must not be able to make them collide. Routers that share
    /// channels have the same one.
    pub(crate) fn new(seed: u64, shards: Shards) -> Self {
        Self {
            hasher: FixedState::with_seed(seed),
            shards,
            names: HashTable::new(),
            channels: Vec::new(),
            free: Vec::new(),
            num_home: 0,
        }
    }

    /// How many channels are at home here.
    pub(crate) fn num_home(&self) -> usize {
        self.num_home
    }

    #[inline]
    pub(crate) fn hash(&self, name: &str) -> Hash {
        Hash(self.hasher.hash_one(name))
    }

    /// Where a channel is at home, which need not exist.
    #[inline]
    pub(crate) fn home(&self, hash: Hash) -> u16 {
        self.shards.home(hash.0)
    }

    /// Whether a channel's home is this router.
    pub(crate) fn is_home(&self, channel: u32) -> bool {
        self.channels[channel as usize].home() == self.shards.index
    }

    #[inline]
    pub(crate) fn find(&self, hash: Hash, name: &str) -> Option<u32> {
        self.names.find(hash.0, |&at| *self.channels[at as usize].name == *name).copied()
    }

    /// Makes a channel. The caller knows that there is none of this name.
    pub(crate) fn create(&mut self, hash: Hash, name: &str) -> u32 {
        let home = self.home(hash);
        self.num_home += usize::from(home == self.shards.index);
        let home = u8::try_from(home).expect("there are at most 64 routers");
        let channel = Channel { name: name.into(), home, ..Channel::default() };
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
        names.insert_unique(hash.0, at, |&at| hasher.hash_one(&*channels[at as usize].name));
        at
    }

    /// Forgets a channel that nobody needs.
    pub(crate) fn remove(&mut self, channel: u32) {
        let Channel { name, home, .. } = core::mem::take(&mut self.channels[channel as usize]);
        let entry = self.names.find_entry(self.hasher.hash_one(&*name), |&at| at == channel);
        entry.expect("a channel is in the table by its name").remove();
        self.num_home -= usize::from(u16::from(home) == self.shards.index);
        self.free.push(channel);
    }

    /// Adds a subscriber at the end of the list and returns its place there.
    pub(crate) fn join(&mut self, channel: u32, subscriber: Subscriber) -> u32 {
        let list = &mut self.channels[channel as usize].subscribers;
        list.push(subscriber);
        list.len() as u32 - 1
    }

    /// Takes a subscriber out. Returns the one that now stands in its place, whose own note must be mended.
    pub(crate) fn leave(&mut self, channel: u32, place: u32) -> Option<Subscriber> {
        let list = &mut self.channels[channel as usize].subscribers;
        list.swap_remove(place as usize);
        list.get(place as usize).copied()
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

    pub(crate) fn get_mut(&mut self, channel: u32) -> &mut Channel {
        &mut self.channels[channel as usize]
    }

    /// The indices of the channels of which this is true.
    pub(crate) fn which(&self, is: impl Fn(&Channel) -> bool) -> Vec<u32> {
        self.iter().filter(|(_, channel)| is(channel)).map(|(at, _)| at).collect()
    }

    /// The channels that exist, in the order of their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Channel)> {
        (0..).zip(&self.channels).filter(|(_, channel)| !channel.name.is_empty())
    }

    /// A number that stands for a publication's key, never 0. Keyed like the names.
    pub(crate) fn key(&self, key: &str) -> u64 {
        self.hash(key).0.max(1)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn channels() -> Channels {
        Channels::new(1, Shards::default())
    }

    fn subscriber(slot: u32) -> Subscriber {
        Subscriber { slot, at: 0 }
    }

    #[test]
    fn a_channel_is_found_until_it_is_removed() {
        let mut channels = channels();
        let (hash, other) = (channels.hash("a"), channels.hash("b"));
        let a = channels.create(hash, "a");
        let place = channels.join(a, subscriber(7));
        assert_eq!(channels.find(hash, "a"), Some(a));
        assert_eq!((channels.number(a), channels.number(a)), (1, 2));
        assert_eq!(channels.leave(a, place), None);
        assert!(channels.get(a).is_vacant());
        channels.remove(a);
        assert_eq!((channels.find(hash, "a"), channels.num_home()), (None, 0));
        let b = channels.create(other, "b");
        assert_eq!(b, a, "the place is used again");
        assert_eq!(channels.number(b), 1, "with numbers of its own");
    }

    #[test]
    fn leaving_tells_who_moved_into_the_gap() {
        let mut channels = channels();
        let a = channels.create(channels.hash("a"), "a");
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
