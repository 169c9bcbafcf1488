//! Who is present in one channel, as the channel's home knows it: members come, change and go, what changed is told in
//! batches, and the list is handed out in pages.
//!
//! It knows clients by the number of their name and routers by their index, and nothing of connections, subscribers and
//! rules: who may ask, and who is told, is decided by its owner. Every member of a channel is held in one place, so that
//! all of its subscribers see one order of changes.

mod changes;
#[cfg(test)]
mod model;
mod name;
mod page;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::time::Time;
use changes::Changes;
pub(crate) use name::ClientName;

/// The members of one channel. A *client* is a connection by its name, as a number; a *user* is who a host takes the
/// connection for, so that one user may be there with several clients.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    members: BTreeMap<u64, Member>,
    /// How many members each user has, those in grace counted.
    users: BTreeMap<Arc<str>, u32>,
    /// Members without a user.
    nameless: usize,
    /// Members in grace, by when it ends.
    graces: BTreeSet<(Time, u64)>,
    /// Those of them that have a user.
    replaceable: BTreeSet<(Arc<str>, Time, u64)>,
    changes: Changes,
}

/// One client in the list.
#[derive(Debug)]
struct Member {
    /// Shared with `users`: a name may be long, and one user may have many clients.
    user: Option<Arc<str>>,
    /// One MessagePack value, or nothing.
    data: Box<[u8]>,
    /// When the member goes because its connection has ended; [`STAYS`] while it has not.
    until: Time,
    /// The router that holds the connection.
    owner: u16,
}

/// A member as its channel knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) client: u64,
    pub(crate) user: Option<&'a str>,
    pub(crate) data: &'a [u8],
    /// When its grace ends, if it is in one.
    pub(crate) until: Option<Time>,
}

impl Member {
    fn shown(&self, client: u64) -> Shown<'_> {
        let until = Some(self.until).filter(|until| *until != STAYS);
        Shown { client, user: self.user.as_deref(), data: &self.data, until }
    }
}

const STAYS: Time = Time(u64::MAX);

/// The request names a client that is no member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotPresent;

impl Presence {
    /// Puts a client into the list. One that is there gets the new data, and its grace, if it was in one, ends.
    ///
    /// If a member of the same `user` is in grace it goes now, the one whose grace ends first. So a user that comes back
    /// in time was there all along, and one that comes back with two of three clients still has three until the last
    /// grace ends.
    pub(crate) fn join(&mut self, owner: u16, client: u64, user: Option<&str>, data: &[u8]) {
        if let Some(member) = self.members.get(&client)
            && member.user.as_deref() == user
        {
            self.stay(client);
            let member = self.members.get_mut(&client).expect("it was found above");
            member.owner = owner;
            if *member.data != *data {
                member.data = data.into();
                self.changes.updated(client);
            }
            return;
        }
        // A name given to somebody else: hosts do not do that, but then it is another member.
        self.remove(client);
        let replaced = user.and_then(|user| self.replaceable_by(user));
        self.insert(owner, client, user, data);
        if let Some(replaced) = replaced {
            self.remove(replaced);
        }
    }

    /// Puts a client into the list that was in it in another router, and is away until `deadline`. It comes in nobody's place:
    /// members of one user that were there together are so here.
    pub(crate) fn move_in(
        &mut self,
        owner: u16,
        client: u64,
        user: Option<&str>,
        data: &[u8],
        deadline: Time,
    ) {
        self.remove(client);
        self.insert(owner, client, user, data);
        self.gone(client, deadline).expect("it is there since just now");
    }

    /// Gives a member new data.
    ///
    /// # Errors
    /// [`NotPresent`] if the client is no member, or its connection has ended.
    pub(crate) fn update(&mut self, client: u64, data: &[u8]) -> Result<(), NotPresent> {
        let member =
            self.members.get_mut(&client).filter(|member| member.until == STAYS).ok_or(NotPresent)?;
        if *member.data != *data {
            member.data = data.into();
            self.changes.updated(client);
        }
        Ok(())
    }

    /// Takes a member out of the list.
    ///
    /// # Errors
    /// [`NotPresent`] if the client is no member, or its connection has ended.
    pub(crate) fn leave(&mut self, client: u64) -> Result<(), NotPresent> {
        self.members.get(&client).filter(|member| member.until == STAYS).ok_or(NotPresent)?;
        self.remove(client);
        Ok(())
    }

    /// A member's connection has ended: it stays in the list until `deadline`, and goes with the first
    /// [`expire`](Self::expire) at or after it.
    ///
    /// # Errors
    /// [`NotPresent`] if the client is no member, or its connection had ended before.
    pub(crate) fn gone(&mut self, client: u64, deadline: Time) -> Result<(), NotPresent> {
        let member =
            self.members.get_mut(&client).filter(|member| member.until == STAYS).ok_or(NotPresent)?;
        // The end of time is taken, and as far away as a moment before it.
        let deadline = deadline.min(Time(STAYS.0 - 1));
        member.until = deadline;
        self.graces.insert((deadline, client));
        if let Some(user) = &member.user {
            self.replaceable.insert((user.clone(), deadline, client));
        }
        Ok(())
    }

    /// Takes out the members whose grace has ended.
    pub(crate) fn expire(&mut self, now: Time) {
        while let Some(&(deadline, client)) = self.graces.first()
            && deadline <= now
        {
            self.remove(client);
        }
    }

    /// When [`expire`](Self::expire) next has something to do.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.graces.first().map(|&(deadline, _)| deadline)
    }

    /// The session with a router has ended: all its members go, those in grace too. Looks at every member.
    pub(crate) fn lose(&mut self, owner: u16) {
        let lost = self.members.iter().filter(|(_, member)| member.owner == owner);
        let lost: Vec<u64> = lost.map(|(&client, _)| client).collect();
        for client in lost {
            self.remove(client);
        }
    }

    /// One member.
    pub(crate) fn member(&self, client: u64) -> Option<Shown<'_>> {
        self.members.get(&client).map(|member| member.shown(client))
    }

    /// The members of one router.
    pub(crate) fn of(&self, owner: u16) -> impl Iterator<Item = Shown<'_>> {
        let own = self.members.iter().filter(move |(_, member)| member.owner == owner);
        own.map(|(&client, member)| member.shown(client))
    }

    /// Takes what has changed as told.
    pub(crate) fn forget_changes(&mut self) {
        self.changes = Changes::default();
    }

    /// The number of members, those in grace included.
    pub(crate) fn clients(&self) -> usize {
        self.members.len()
    }

    /// The number of different users among the members. A member without a user counts as one of its own.
    pub(crate) fn users(&self) -> usize {
        self.users.len() + self.nameless
    }

    /// Whether there is nothing to keep: no member, and nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.changes.is_empty()
    }

    // ---- keeping the parts in step

    /// Counts one more member of a user.
    fn count_in(&mut self, user: &str) -> Arc<str> {
        let (name, count) = match self.users.get_key_value(user) {
            Some((name, &count)) => (name.clone(), count),
            None => (user.into(), 0),
        };
        self.users.insert(name.clone(), count + 1);
        name
    }

    fn replaceable_by(&self, user: &str) -> Option<u64> {
        let (user, _) = self.users.get_key_value(user)?;
        let from = (user.clone(), Time(0), 0);
        self.replaceable.range(from..).next().filter(|(of, ..)| of == user).map(|&(.., client)| client)
    }

    /// Lists a client that is not there.
    fn insert(&mut self, owner: u16, client: u64, user: Option<&str>, data: &[u8]) {
        let user = user.map(|user| self.count_in(user));
        if user.is_none() {
            self.nameless += 1;
        }
        self.members.insert(client, Member { user, data: data.into(), until: STAYS, owner });
        self.changes.joined(client);
    }

    fn remove(&mut self, client: u64) {
        self.stay(client);
        let Some(member) = self.members.remove(&client) else { return };
        match &member.user {
            None => self.nameless -= 1,
            Some(user) => {
                let count = self.users.get_mut(user).expect("the user of every member is counted");
                *count -= 1;
                if *count == 0 {
                    self.users.remove(user);
                }
            }
        }
        self.changes.left(client, member.user);
    }

    /// Ends a member's grace, if it is in one, without taking it out.
    fn stay(&mut self, client: u64) {
        let Some(member) = self.members.get_mut(&client) else { return };
        let until = core::mem::replace(&mut member.until, STAYS);
        if until != STAYS {
            self.graces.remove(&(until, client));
            if let Some(user) = &member.user {
                self.replaceable.remove(&(user.clone(), until, client));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    /// Members with these names and users, of router 0.
    fn room(members: &[(u64, Option<&str>)]) -> Presence {
        let mut presence = Presence::default();
        members.iter().for_each(|&(client, user)| presence.join(0, client, user, b""));
        presence
    }

    fn clients(presence: &Presence) -> Vec<u64> {
        presence.members.keys().copied().collect()
    }

    #[test]
    fn a_user_is_there_from_the_first_client_to_the_last() {
        let mut presence =
            room(&[(1, Some("ada")), (2, Some("ada")), (3, Some("bob")), (4, None), (5, None)]);
        assert_eq!((presence.clients(), presence.users()), (5, 4));
        presence.leave(1).unwrap();
        assert_eq!((presence.clients(), presence.users()), (4, 4));
        presence.leave(2).unwrap();
        presence.leave(4).unwrap();
        assert_eq!((presence.clients(), presence.users()), (2, 2));
    }

    #[test]
    fn who_is_not_there_can_neither_change_nor_leave() {
        let mut presence = room(&[(1, None)]);
        for client in [1, 2] {
            let _ = presence.gone(1, Time(5));
            assert_eq!(presence.update(client, b""), Err(NotPresent));
            assert_eq!(presence.leave(client), Err(NotPresent));
            assert_eq!(presence.gone(client, Time(9)), Err(NotPresent));
        }
        assert_eq!(presence.next_expiry(), Some(Time(5)));
    }

    #[test]
    fn a_member_stays_until_its_grace_ends() {
        let mut presence = room(&[(1, Some("ada")), (2, None), (3, None)]);
        presence.gone(1, Time(20)).unwrap();
        presence.gone(2, Time(10)).unwrap();
        presence.expire(Time(9));
        assert_eq!((clients(&presence), presence.next_expiry()), ([1, 2, 3].into(), Some(Time(10))));
        presence.expire(Time(10));
        assert_eq!((clients(&presence), presence.next_expiry()), ([1, 3].into(), Some(Time(20))));
        presence.expire(Time(u64::MAX));
        assert_eq!((clients(&presence), presence.next_expiry()), ([3].into(), None));
        assert_eq!((presence.clients(), presence.users()), (1, 1));
    }

    #[test]
    fn a_grace_without_an_end_is_one_all_the_same() {
        let mut presence = room(&[(1, None)]);
        presence.gone(1, Time(u64::MAX)).unwrap();
        assert_eq!(presence.leave(1), Err(NotPresent));
        presence.expire(Time(u64::MAX));
        assert_eq!(presence.clients(), 0);
    }

    #[test]
    fn a_user_that_comes_back_takes_the_place_of_one_client_in_grace() {
        let mut presence = room(&[(1, Some("ada")), (2, Some("ada")), (3, Some("ad")), (4, None)]);
        presence.gone(1, Time(20)).unwrap();
        presence.gone(2, Time(10)).unwrap();
        presence.gone(3, Time(5)).unwrap();
        presence.gone(4, Time(5)).unwrap();
        presence.join(0, 11, Some("ada"), b"");
        assert_eq!(clients(&presence), [1, 3, 4, 11], "the one with the least time left");
        presence.join(0, 12, Some("ada"), b"");
        presence.join(0, 13, Some("ada"), b"");
        presence.join(0, 14, None, b"");
        assert_eq!(clients(&presence), [3, 4, 11, 12, 13, 14]);
        presence.expire(Time(99));
        assert_eq!((clients(&presence), presence.users()), ([11, 12, 13, 14].into(), 2));
    }

    #[test]
    fn the_same_client_can_come_back_itself() {
        let mut presence = room(&[(1, Some("ada"))]);
        presence.gone(1, Time(10)).unwrap();
        presence.join(3, 1, Some("ada"), b"");
        assert_eq!(presence.next_expiry(), None);
        presence.lose(0);
        assert_eq!(clients(&presence), [1], "its connection is another router's now");
        presence.join(3, 1, Some("bob"), b"");
        assert_eq!((presence.clients(), presence.users()), (1, 1));
    }

    #[test]
    fn a_lost_router_takes_all_its_members_along() {
        let mut presence = room(&[(1, Some("ada")), (2, None), (3, Some("bob"))]);
        presence.join(5, 4, Some("ada"), b"");
        presence.gone(3, Time(10)).unwrap();
        presence.lose(0);
        assert_eq!((clients(&presence), presence.users()), ([4].into(), 1));
        assert_eq!(presence.next_expiry(), None);
        presence.lose(5);
        presence.take_changes("room", Time(0), &mut Vec::new());
        assert!(presence.is_empty());
    }

    #[test]
    fn a_member_takes_little_memory() {
        // 48 bytes and the client's 8, in nodes that are about two thirds full: some 85 bytes. The data is an allocation
        // of its length. A user, shared by its clients, is 24 bytes in such a node and an allocation of 16 and the name.
        assert!(size_of::<Member>() <= 48, "{} bytes", size_of::<Member>());
        assert!(size_of::<(Arc<str>, u32)>() <= 24);
    }
}
