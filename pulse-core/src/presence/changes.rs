//! What is to be told about a channel's members: for each client the net of what happened since the last notice, and
//! when the next notice may come.
//!
//! A notice costs every subscriber a message, so a channel with many members has few notices with many changes in them.
//! Each change says all about its member, so whoever takes them in order, *joined* and *updated* as putting a member into
//! the list and *left* as taking it out if it is there, has the list, whichever page of it was read in between.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{ClientName, Member, Presence};
use crate::limits::PRESENCE_NOTICE_BYTES;
use crate::time::Time;
use crate::wire::{self, MembersBuf, PresenceAction, Value};

/// The changes since the last notice, by client.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pending: BTreeMap<u64, Change>,
    /// Whether a page may have shown one of them: who has joined since and leaves again is told of then.
    seen: bool,
    /// When the last notice was taken.
    last: Option<Time>,
}

#[derive(Debug)]
enum Change {
    /// Was not in the list.
    Joined,
    /// Was in the list with other data.
    Updated,
    /// Was in the list. Its user, because the member is no more.
    Left(Option<Arc<str>>),
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn joined(&mut self, client: u64) {
        let change = self.pending.entry(client).or_insert(Change::Joined);
        if matches!(change, Change::Left(_)) {
            *change = Change::Updated;
        }
    }

    pub(super) fn updated(&mut self, client: u64) {
        self.pending.entry(client).or_insert(Change::Updated);
    }

    pub(super) fn left(&mut self, client: u64, user: Option<Arc<str>>) {
        // Nobody has heard of it, unless from a page.
        if !self.seen && matches!(self.pending.get(&client), Some(Change::Joined)) {
            self.pending.remove(&client);
        } else {
            self.pending.insert(client, Change::Left(user));
        }
    }

    /// The list is read.
    pub(super) fn show(&mut self) {
        self.seen |= !self.pending.is_empty();
    }
}

impl Presence {
    /// When the next notice is due: `now` if that is at once, `None` if there is nothing to tell. Between two notices lie
    /// at least as many milliseconds as there are tens of members.
    pub(crate) fn next_notice(&self, now: Time) -> Option<Time> {
        if self.changes.is_empty() {
            return None;
        }
        let interval = self.clients() as u64 / 10;
        Some(self.changes.last.map_or(now, |last| last.after_ms(interval).max(now)))
    }

    /// Appends the frames that tell what changed since the last time, each with its length in front, and takes it as
    /// told at `now`. One change is a frame with its action; several are a list of `changes` under action `update`, in
    /// order of clients, one frame for each 32 KiB or so. All frames carry the totals after all changes.
    ///
    /// It is for the caller to keep to [`next_notice`](Self::next_notice). Without changes there is no frame.
    pub(crate) fn take_changes(&mut self, channel: &str, now: Time, out: &mut Vec<u8>) {
        let pending = core::mem::take(&mut self.changes.pending);
        self.changes.seen = false;
        if pending.is_empty() {
            return;
        }
        self.changes.last = Some(now);
        let notice = self.totals(0, channel, PresenceAction::Update);
        let single = pending.len() == 1;
        let mut buf = MembersBuf::new();
        for (&client, change) in &pending {
            let name = ClientName::new(client);
            let change = self.tell(client, change, &name);
            if single {
                let wire::Member { action, client, user, data } = change;
                let action = action.expect("every change has an action");
                return wire::Presence { action, client: Some(client), user, data, ..notice }.encode(out);
            }
            buf.push(&change);
            if buf.size() >= PRESENCE_NOTICE_BYTES {
                wire::Presence { changes: Some(buf.members()), ..notice }.encode(out);
                buf.clear();
            }
        }
        if buf.len() > 0 {
            wire::Presence { changes: Some(buf.members()), ..notice }.encode(out);
        }
    }

    /// A change as it is told: the member as it is now.
    fn tell<'a>(&'a self, client: u64, change: &'a Change, name: &'a ClientName) -> wire::Member<'a> {
        let member =
            || self.members.get(&client).expect("who joined or changed and has not left is a member");
        match change {
            Change::Joined => member().show(name, Some(PresenceAction::Join)),
            Change::Updated => member().show(name, Some(PresenceAction::Update)),
            Change::Left(user) => wire::Member {
                action: Some(PresenceAction::Leave),
                client: name.as_str(),
                user: user.as_deref(),
                data: None,
            },
        }
    }
}

impl Member {
    /// The member as it stands in a frame.
    pub(super) fn show<'a>(
        &'a self,
        name: &'a ClientName,
        action: Option<PresenceAction>,
    ) -> wire::Member<'a> {
        let data = if self.data.is_empty() { None } else { Value::new(&self.data) };
        wire::Member { action, client: name.as_str(), user: self.user.as_deref(), data }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::super::model::frames;
    use super::*;
    use alloc::string::String;
    use alloc::{format, vec};

    /// What is told at `now`, a line for each change: action, client, user and data.
    fn told(presence: &mut Presence, now: Time) -> Vec<String> {
        let mut out = Vec::new();
        presence.take_changes("room", now, &mut out);
        let mut lines = vec![];
        for frame in frames(&out) {
            assert_eq!((frame.id, frame.channel), (0, "room"));
            let totals = (Some(presence.clients() as u64), Some(presence.users() as u64));
            assert_eq!((frame.clients, frame.users), totals);
            let single = frame.client.map(|client| wire::Member {
                action: Some(frame.action),
                client,
                user: frame.user,
                data: frame.data,
            });
            for change in frame.changes.iter().flat_map(wire::Members::iter).chain(single) {
                let action = ["join", "leave", "update"][change.action.unwrap() as usize];
                let client = ClientName::parse(change.client).unwrap();
                let data = change.data.map_or(&b"-"[..], |data| data.as_bytes()).escape_ascii();
                let user = change.user.unwrap_or("-");
                lines.push(format!("{action} {client} {user} {data}"));
            }
        }
        lines
    }

    /// Members 0 to `clients` of which everybody has heard, each of a user of its own.
    fn room(clients: u64) -> Presence {
        let mut presence = Presence::default();
        (0..clients).for_each(|client| presence.join(0, client, Some(&format!("u{client}")), b"\x01"));
        presence.take_changes("room", Time(0), &mut Vec::new());
        presence
    }

    #[test]
    fn a_single_change_is_a_frame_with_its_action() {
        let mut presence = Presence::default();
        presence.join(0, 0xab, Some("ada"), b"\xa2hi");
        let mut out = Vec::new();
        presence.take_changes("room", Time(0), &mut out);
        presence.update(0xab, b"\x05").unwrap();
        presence.take_changes("room", Time(0), &mut out);
        presence.leave(0xab).unwrap();
        presence.take_changes("room", Time(0), &mut out);
        let frame = |action, data, clients| wire::Presence {
            channel: "room",
            action,
            data,
            client: Some("00000000000000ab"),
            user: Some("ada"),
            clients: Some(clients),
            users: Some(clients),
            ..wire::Presence::default()
        };
        let expected = [
            frame(PresenceAction::Join, Value::new(b"\xa2hi"), 1),
            frame(PresenceAction::Update, Value::new(b"\x05"), 1),
            frame(PresenceAction::Leave, None, 0),
        ];
        assert_eq!(frames(&out), expected);
        assert!(presence.is_empty());
    }

    #[test]
    fn several_changes_are_a_list_in_order_of_clients() {
        let mut presence = room(3);
        presence.leave(2).unwrap();
        presence.join(0, 9, None, b"");
        presence.update(0, b"\x07").unwrap();
        assert_eq!(told(&mut presence, Time(0)), [r"update 0 u0 \x07", "leave 2 u2 -", "join 9 - -"]);
        assert!(told(&mut presence, Time(0)).is_empty(), "it is told once");
    }

    #[test]
    fn only_the_net_of_what_happened_is_told() {
        let mut presence = room(3);
        presence.join(0, 7, None, b"");
        presence.update(7, b"\x01").unwrap();
        presence.leave(7).unwrap();
        assert_eq!(presence.next_notice(Time(0)), None, "who came and went was never there");
        presence.update(1, b"\x02").unwrap();
        presence.update(1, b"\x03").unwrap();
        presence.leave(2).unwrap();
        presence.join(0, 2, Some("u2"), b"\x04");
        presence.join(0, 8, None, b"\x05");
        presence.update(8, b"\x06").unwrap();
        let expected = [r"update 1 u1 \x03", r"update 2 u2 \x04", r"join 8 - \x06"];
        assert_eq!(told(&mut presence, Time(0)), expected);
    }

    #[test]
    fn data_that_stays_as_it_is_is_no_change() {
        let mut presence = room(1);
        presence.update(0, b"\x01").unwrap();
        presence.join(0, 0, Some("u0"), b"\x01");
        assert_eq!(presence.next_notice(Time(0)), None);
    }

    #[test]
    fn who_was_seen_on_a_page_is_told_to_have_left() {
        let mut presence = room(3);
        presence.join(0, 7, None, b"");
        presence.page(1, "room", None, 1000, &mut Vec::new());
        presence.leave(7).unwrap();
        assert_eq!(told(&mut presence, Time(0)), ["leave 7 - -"]);
        presence.page(1, "room", None, 1000, &mut Vec::new());
        presence.join(0, 8, None, b"");
        presence.leave(8).unwrap();
        assert!(told(&mut presence, Time(0)).is_empty(), "the page was older than that");
    }

    #[test]
    fn notices_keep_apart_by_a_millisecond_for_ten_members() {
        let now = Time(9_000_000);
        for (clients, interval) in [(1, 0), (9, 0), (10, 1), (999, 99), (1_000, 100), (10_000, 1_000)] {
            let mut presence = room(clients);
            presence.take_changes("room", now, &mut Vec::new());
            assert_eq!(presence.next_notice(now), None);
            presence.update(0, b"\x02").unwrap();
            // What was taken without a change has not begun an interval.
            assert_eq!(presence.next_notice(now), Some(now));
            presence.take_changes("room", now, &mut Vec::new());
            presence.update(0, b"\x03").unwrap();
            assert_eq!(presence.next_notice(now), Some(now.after_ms(interval)), "{clients} members");
            let late = now.after_ms(interval + 5);
            assert_eq!(presence.next_notice(late), Some(late));
        }
    }

    #[test]
    fn large_notices_are_cut_into_frames_of_32_kib() {
        let mut presence = Presence::default();
        let data = [&[0xc5, 0x0f, 0xa0][..], &[1; 4_000]].concat();
        (0..100).for_each(|client| presence.join(0, client, None, &data));
        let mut out = Vec::new();
        presence.take_changes("room", Time(0), &mut out);
        let frames = frames(&out);
        assert!(frames.iter().all(|frame| frame.clients == Some(100) && frame.client.is_none()));
        let lens: Vec<usize> = frames.iter().map(|frame| frame.changes.unwrap().len()).collect();
        assert_eq!(lens, [9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 1]);
        let longest = frames.iter().map(|frame| frame.changes.unwrap().as_bytes().len()).max().unwrap();
        assert!((32_768..32_768 + 4_096).contains(&longest), "{longest} bytes");
    }

    /// The bytes of the one frame, and its changes, when 64 members leave and come back as other clients.
    fn churn(members: u64) -> (usize, usize) {
        let mut presence = room(members);
        for client in 100..164 {
            presence.leave(client).unwrap();
            presence.join(0, client << 32, Some(&format!("u{client}")), b"\x01");
        }
        let mut out = Vec::new();
        presence.take_changes("room", Time(0), &mut out);
        let frames = frames(&out);
        assert_eq!(frames.len(), 1);
        (out.len(), frames[0].changes.unwrap().len())
    }

    #[test]
    fn a_notice_is_as_large_as_what_changed_and_not_as_the_channel() {
        assert_eq!(churn(10_000).1, 128);
        // The totals are numbers of the same length.
        assert_eq!(churn(10_000), churn(300));
    }
}
