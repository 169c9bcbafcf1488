//! Answers about a channel's members: the list page by page, and the numbers.
//!
//! The frames are made where the members are, so that they pass routers as they are.

use alloc::vec::Vec;
use core::ops::Bound;

use super::{ClientName, Presence};
use crate::limits::{PRESENCE_PAGE, PRESENCE_PAGE_BYTES};
use crate::wire::{self, MembersBuf, PresenceAction};

impl Presence {
    /// Appends the answer to a sync, with its length in front: the members behind `after`, those in grace included, in
    /// order of clients. It holds at most `limit` of them, at least 1 and at most 1000, and ends with the one that makes
    /// it 64 KiB; if more follow, it has the last one's name as `next`.
    pub(crate) fn page(&mut self, id: u64, channel: &str, after: Option<u64>, limit: u64, out: &mut Vec<u8>) {
        let limit = limit.clamp(1, PRESENCE_PAGE) as usize;
        let mut rest =
            self.members.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let mut buf = MembersBuf::new();
        let mut last = None;
        while buf.len() < limit && buf.size() < PRESENCE_PAGE_BYTES {
            let Some((&client, member)) = rest.next() else { break };
            let name = ClientName::new(client);
            buf.push(&member.show(&name, None));
            last = Some(name);
        }
        let next = rest.next().and(last);
        let answer = wire::Presence {
            members: Some(buf.members()),
            next: next.as_ref().map(ClientName::as_str),
            ..self.totals(id, channel, PresenceAction::Sync)
        };
        answer.encode(out);
        self.changes.show();
    }

    /// Appends the answer to a count, with its length in front.
    pub(crate) fn count(&self, id: u64, channel: &str, out: &mut Vec<u8>) {
        self.totals(id, channel, PresenceAction::Count).encode(out);
    }

    /// What all frames about the members have in common.
    pub(super) fn totals<'a>(&self, id: u64, channel: &'a str, action: PresenceAction) -> wire::Presence<'a> {
        wire::Presence {
            id,
            channel,
            action,
            clients: Some(self.clients() as u64),
            users: Some(self.users() as u64),
            ..wire::Presence::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::wire::{Frame, Members, decode};
    use alloc::string::ToString;
    use alloc::vec;

    /// One page: the clients in it, and what follows.
    fn page(presence: &mut Presence, after: Option<u64>, limit: u64) -> (Vec<u64>, Option<u64>, usize) {
        let mut out = Vec::new();
        presence.page(7, "room", after, limit, &mut out);
        let Ok(Frame::Presence(answer)) = decode(&out[4..]) else { panic!("{out:?} is no answer") };
        assert_eq!((answer.id, answer.channel, answer.action), (7, "room", PresenceAction::Sync));
        let totals = (Some(presence.clients() as u64), Some(presence.users() as u64));
        assert_eq!((answer.clients, answer.users), totals);
        let clients =
            |members: Members<'_>| members.iter().flat_map(|m| ClientName::parse(m.client)).collect();
        (clients(answer.members.unwrap()), answer.next.and_then(ClientName::parse), out.len())
    }

    #[test]
    fn pages_one_after_another_are_the_whole_list_in_order() {
        let mut presence = Presence::default();
        let clients: Vec<u64> = (0..2_500).map(|n| n * n).collect();
        clients.iter().rev().for_each(|&client| presence.join(0, client, None, b""));
        for limit in [0, 1, 999, 1000, 1001, u64::MAX] {
            let (mut seen, mut after, mut pages) = (vec![], None, 0);
            loop {
                let (part, next, _) = page(&mut presence, after, limit);
                seen.extend(part);
                pages += 1;
                after = next;
                if next.is_none() {
                    break;
                }
            }
            assert!(seen == clients, "pages of {limit}");
            assert_eq!(pages, clients.len().div_ceil(limit.clamp(1, 1000) as usize), "pages of {limit}");
        }
    }

    #[test]
    fn a_page_begins_behind_a_client_that_is_there_no_more() {
        let mut presence = Presence::default();
        [1, 2, 3].iter().for_each(|&client| presence.join(0, client, None, b""));
        presence.leave(2).unwrap();
        assert_eq!(page(&mut presence, Some(1), 9).0, [3]);
        assert_eq!(page(&mut presence, Some(2), 9).0, [3]);
        let (rest, next, _) = page(&mut presence, Some(3), 9);
        assert_eq!((rest, next), (vec![], None));
        assert_eq!(page(&mut presence, Some(u64::MAX), 9).1, None);
    }

    #[test]
    fn members_with_much_data_make_short_pages() {
        let mut presence = Presence::default();
        let data = [&[0xc5, 0x0f, 0xa0][..], &[1; 4_000]].concat();
        (0..100).for_each(|client| presence.join(0, client, Some(&client.to_string()), &data));
        let (clients, next, len) = page(&mut presence, None, 1000);
        assert_eq!((clients.len(), next), (17, Some(16)));
        assert!((65_536..70_000).contains(&len), "{len} bytes");
    }

    #[test]
    fn a_page_of_nobody_is_an_empty_list() {
        let (clients, next, _) = page(&mut Presence::default(), None, 1000);
        assert_eq!((clients, next), (vec![], None));
    }

    #[test]
    fn a_count_has_the_numbers_alone() {
        let mut presence = Presence::default();
        [(1, Some("ada")), (2, Some("ada")), (3, None), (4, None)]
            .iter()
            .for_each(|&(client, user)| presence.join(0, client, user, b""));
        let mut out = Vec::new();
        presence.count(9, "room", &mut out);
        let expected = wire::Presence {
            id: 9,
            channel: "room",
            action: PresenceAction::Count,
            clients: Some(4),
            users: Some(3),
            ..wire::Presence::default()
        };
        assert_eq!(decode(&out[4..]), Ok(Frame::Presence(expected)));
    }
}
