//! Lists of messages as nodes of a tree: a list is a path from its root, and equal lists are one node.
//!
//! Appending message `m` to a list goes to the list's newest child if that child is `m`, else makes one. Messages are
//! numbered upwards within a turn, so an older child is never asked for again.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

use crate::limits::TURN_LISTS;
use crate::{Dialect, Link};

/// Stands for no list, no message and no connection.
pub(super) const NONE: u32 = u32::MAX;

/// The lists that every turn begins with: the empty one of each kind of link.
const ROOTS: usize = 64;

/// One message of this turn, by its number in the palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message(pub(super) u32);

/// A list of messages: those of `parent`, then `message`.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    parent: u32,
    pub(super) message: u32,
    /// The newest list that continues this one, and with which message.
    child: u32,
    child_message: u32,
    /// Its first message if all are consecutive, so that their bytes lie together; else `NONE`.
    pub(super) first: u32,
    pub(super) count: u32,
    /// While batches are handed out: the first connection whose list this is.
    pub(super) members: u32,
    pub(super) root: u32,
}

impl List {
    const EMPTY: Self = Self {
        parent: NONE,
        message: NONE,
        child: NONE,
        child_message: NONE,
        first: NONE,
        count: 0,
        members: NONE,
        root: 0,
    };
}

/// All lists of a turn.
#[derive(Debug)]
pub(super) struct Lists {
    lists: Vec<List>,
    /// One bit for each root that was continued in this turn.
    used_roots: u64,
}

impl Default for Lists {
    fn default() -> Self {
        let lists = (0..ROOTS as u32).map(|root| List { root, ..List::EMPTY }).collect();
        Self { lists, used_roots: 0 }
    }
}

impl Lists {
    pub(super) fn is_full(&self) -> bool {
        self.lists.len() >= TURN_LISTS
    }

    /// The list that is `from` and then this message.
    #[inline]
    pub(super) fn continued(&mut self, from: u32, message: Message) -> u32 {
        let list = &self.lists[from as usize];
        if list.child_message == message.0 { list.child } else { self.append(from, message) }
    }

    fn append(&mut self, from: u32, message: Message) -> u32 {
        let new = self.lists.len() as u32;
        let list = &mut self.lists[from as usize];
        (list.child, list.child_message) = (new, message.0);
        let first = match list.count {
            0 => message.0,
            _ if list.message + 1 == message.0 => list.first,
            _ => NONE,
        };
        let next = List {
            parent: from,
            message: message.0,
            first,
            count: list.count + 1,
            root: list.root,
            ..List::EMPTY
        };
        if is_root(from) {
            self.used_roots |= 1 << from;
        }
        self.lists.push(next);
        new
    }

    /// The messages of a list from the last to the first.
    pub(super) fn newest_first(&self, mut list: u32) -> impl Iterator<Item = u32> {
        core::iter::from_fn(move || {
            let List { parent, message, count, .. } = self.lists[list as usize];
            list = parent;
            (count > 0).then_some(message)
        })
    }

    /// Only the empty lists are left.
    pub(super) fn clear(&mut self) {
        self.lists.truncate(ROOTS);
        while self.used_roots != 0 {
            let root = &mut self.lists[self.used_roots.trailing_zeros() as usize];
            (root.child, root.child_message) = (NONE, NONE);
            self.used_roots &= self.used_roots - 1;
        }
        // One large turn must not keep its memory for ever.
        if self.lists.capacity() > 4 * TURN_LISTS {
            self.lists.shrink_to(TURN_LISTS);
        }
    }
}

impl Index<u32> for Lists {
    type Output = List;

    fn index(&self, list: u32) -> &List {
        &self.lists[list as usize]
    }
}

impl IndexMut<u32> for Lists {
    fn index_mut(&mut self, list: u32) -> &mut List {
        &mut self.lists[list as usize]
    }
}

/// Whether a list is an empty one.
pub(super) fn is_root(list: u32) -> bool {
    list < ROOTS as u32
}

/// The empty list of a link.
pub(super) fn root(link: Link) -> u32 {
    let dialect = match link.dialect {
        Dialect::V1 => 0,
        Dialect::Legacy => 1,
        Dialect::Json => 2,
    };
    u32::from(link.class & 15) * 4 + dialect
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const EMPTY: u32 = 0;

    #[test]
    fn equal_lists_are_one_number() {
        let mut lists = Lists::default();
        let [a, also_a] = [0; 2].map(|_| lists.continued(EMPTY, Message(0)));
        assert_eq!(a, also_a);
        let [ab, also_ab] = [0; 2].map(|_| lists.continued(a, Message(1)));
        assert_eq!(ab, also_ab);
        assert_ne!(ab, lists.continued(EMPTY, Message(1)));
    }

    #[test]
    fn a_list_knows_whether_its_messages_lie_together() {
        let mut lists = Lists::default();
        let run = lists.continued(EMPTY, Message(3));
        let run = lists.continued(run, Message(4));
        assert_eq!((lists[run].first, lists[run].message), (3, 4));
        let hole = lists.continued(run, Message(6));
        assert_eq!(lists[hole].first, NONE);
        let after = lists.continued(hole, Message(7));
        assert_eq!(lists[after].first, NONE, "what is behind a hole is no run either");
        assert_eq!(lists.newest_first(after).collect::<Vec<_>>(), [7, 6, 4, 3]);
    }

    #[test]
    fn a_new_turn_knows_nothing_of_the_old_one() {
        let mut lists = Lists::default();
        let old = lists.continued(EMPTY, Message(0));
        lists.continued(old, Message(1));
        lists.clear();
        let new = lists.continued(EMPTY, Message(0));
        assert_eq!((new, lists[new].count), (old, 1));
        assert_eq!(lists.newest_first(EMPTY).count(), 0);
    }

    #[test]
    fn each_kind_of_link_has_an_empty_list_of_its_own() {
        let mut seen = alloc::collections::BTreeSet::new();
        for class in 0..16 {
            for dialect in [Dialect::V1, Dialect::Legacy, Dialect::Json] {
                let root = root(Link { class, dialect });
                assert!(is_root(root) && seen.insert(root), "{class} {dialect:?}");
            }
        }
    }
}
