//! A channel's presence against the plainest thing that could be one, under random operations; and observers, who know
//! what pages and notices tell them.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{ClientName, NotPresent, Presence};
use crate::random::Random;
use crate::wire::{self, Frame, Member, PresenceAction, Split, decode, split};
use crate::{Seed, Time};

/// The presence frames that stand one after another in `bytes`.
pub(super) fn frames(mut bytes: &[u8]) -> Vec<wire::Presence<'_>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let Split::Frame { map, rest } = split(bytes, usize::MAX) else {
            panic!("whole frames follow each other")
        };
        let Ok(Frame::Presence(frame)) = decode(map) else { panic!("a presence frame") };
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// Members as a client keeps them: user and data.
type List = BTreeMap<u64, (Option<String>, Vec<u8>)>;

fn put(list: &mut List, member: &Member<'_>) {
    let client = ClientName::parse(member.client).expect("a name");
    let data = member.data.map_or(Vec::new(), |data| data.as_bytes().to_owned());
    list.insert(client, (member.user.map(str::to_owned), data));
}

/// A client that reads the list page by page, and takes notices in between.
#[derive(Default)]
struct Observer {
    list: List,
    /// Where its next page begins, while it has not read all.
    reading: Option<Option<u64>>,
}

impl Observer {
    fn begin(&mut self) {
        self.list.clear();
        self.reading = Some(None);
    }

    fn read(&mut self, presence: &mut Presence, limit: u64) {
        let Some(after) = self.reading else { return };
        let mut out = Vec::new();
        presence.page(1, "room", after, limit, &mut out);
        let page = frames(&out)[0];
        page.members.expect("a page").iter().for_each(|member| put(&mut self.list, &member));
        self.reading = page.next.map(ClientName::parse);
    }

    fn hear(&mut self, notice: &[u8]) {
        for change in changes(notice) {
            match change.action {
                Some(PresenceAction::Leave) => {
                    self.list.remove(&ClientName::parse(change.client).expect("a name"));
                }
                _ => put(&mut self.list, &change),
            }
        }
    }
}

/// All changes of a notice.
fn changes(notice: &[u8]) -> Vec<Member<'_>> {
    let each = frames(notice).into_iter().flat_map(|frame| {
        let wire::Presence { action, user, data, .. } = frame;
        let single = frame.client.map(|client| Member { action: Some(action), client, user, data });
        frame.changes.into_iter().flat_map(|changes| changes.iter()).chain(single)
    });
    each.collect()
}

/// A list of members, and a search through it for everything.
#[derive(Default)]
struct Model(Vec<Row>);

#[derive(Clone)]
struct Row {
    owner: u16,
    client: u64,
    user: Option<String>,
    data: Vec<u8>,
    until: Option<Time>,
}

impl Model {
    fn present(&mut self, client: u64) -> Result<&mut Row, NotPresent> {
        self.0.iter_mut().find(|row| row.client == client && row.until.is_none()).ok_or(NotPresent)
    }

    fn join(&mut self, row: Row) {
        let known = self.0.iter().any(|other| (other.client, &other.user) == (row.client, &row.user));
        self.0.retain(|other| other.client != row.client);
        if !known && row.user.is_some() {
            let gone = self.0.iter().filter(|other| other.user == row.user);
            let first = gone.filter_map(|other| Some((other.until?, other.client))).min();
            self.0.retain(|other| first.is_none_or(|(_, client)| client != other.client));
        }
        self.0.push(row);
    }

    fn leave(&mut self, client: u64) -> Result<(), NotPresent> {
        self.present(client)?;
        self.0.retain(|row| row.client != client);
        Ok(())
    }

    fn users(&self) -> usize {
        let users: BTreeSet<_> =
            self.0.iter().map(|row| (&row.user, row.user.is_none().then_some(row.client))).collect();
        users.len()
    }

    fn list(&self) -> List {
        self.0.iter().map(|row| (row.client, (row.user.clone(), row.data.clone()))).collect()
    }
}

/// Both, with the same operations done to them.
#[derive(Default)]
struct Pair {
    presence: Presence,
    model: Model,
    now: Time,
}

impl Pair {
    fn step(&mut self, random: &mut Random) {
        let client = u64::from(random.below(24));
        let data = [random.below(3) as u8];
        let data = &data[..random.below(2) as usize];
        let deadline = self.now.after_ms(u64::from(random.below(40)));
        match random.below(20) {
            0..=7 => {
                let owner = random.below(3) as u16;
                // Nearly always the same user for the same client.
                let user = if random.below(40) == 0 { 9 } else { client % 8 };
                let user = (user > 1).then(|| format!("u{user}"));
                self.presence.join(owner, client, user.as_deref(), data);
                self.model.join(Row { owner, client, user, data: data.to_owned(), until: None });
            }
            8..=10 => {
                let expected = self.model.present(client).map(|row| row.data = data.to_owned());
                assert_eq!(self.presence.update(client, data), expected);
            }
            11..=13 => assert_eq!(self.presence.leave(client), self.model.leave(client)),
            14..=18 => {
                let expected = self.model.present(client).map(|row| row.until = Some(deadline));
                assert_eq!(self.presence.gone(client, deadline), expected);
            }
            _ => {
                let owner = random.below(9) as u16;
                self.presence.lose(owner);
                self.model.0.retain(|row| row.owner != owner);
            }
        }
        self.now = self.now.after_ms(u64::from(random.below(3)));
        if random.below(3) == 0 {
            self.presence.expire(self.now);
            self.model.0.retain(|row| row.until.is_none_or(|until| until > self.now));
        }
        assert_eq!(self.presence.next_expiry(), self.model.0.iter().filter_map(|row| row.until).min());
        assert_eq!(self.presence.clients(), self.model.0.len());
        assert_eq!(self.presence.users(), self.model.users());
    }
}

/// How often each interesting thing happened, so that a test that meets none of it fails.
#[derive(Default, Debug)]
struct Seen {
    notices: u32,
    late_pages: u32,
    lists: u32,
}

fn run(seed: u64, seen: &mut Seen) {
    let mut random = Random::new(Seed(seed));
    let mut pair = Pair::default();
    // One has heard every notice, the other begins anew now and then and takes what comes while it reads.
    let (mut always, mut late) = (Observer::default(), Observer::default());
    let mut before = List::new();
    let mut read = false;
    for _ in 0..300 {
        pair.step(&mut random);
        if random.below(12) == 0 {
            late.begin();
        }
        if late.reading.is_some() && random.below(2) == 0 {
            late.read(&mut pair.presence, u64::from(random.below(4)));
            seen.late_pages += 1;
            read = true;
        }
        let due = pair.presence.next_notice(pair.now);
        if due.is_none_or(|due| due > pair.now) || random.below(3) > 0 {
            continue;
        }
        let mut notice = Vec::new();
        pair.presence.take_changes("room", pair.now, &mut notice);
        let list = pair.model.list();
        for change in changes(&notice) {
            let known = before.contains_key(&ClientName::parse(change.client).expect("a name"));
            assert!(
                read || known != (change.action == Some(PresenceAction::Join)),
                "seed {seed}: {change:?}"
            );
        }
        always.hear(&notice);
        late.hear(&notice);
        assert_eq!(always.list, list, "seed {seed}");
        let mut fresh = Observer::default();
        fresh.begin();
        while fresh.reading.is_some() {
            fresh.read(&mut pair.presence, 5);
        }
        assert_eq!(fresh.list, list, "seed {seed}");
        if late.reading.is_none() && !late.list.is_empty() {
            assert_eq!(late.list, list, "seed {seed}");
            seen.lists += 1;
        }
        (before, read) = (list, false);
        seen.notices += 1;
    }
}

#[test]
fn who_applies_the_notices_has_the_list_that_who_asks_anew_gets() {
    let mut seen = Seen::default();
    (0..300).for_each(|seed| run(seed, &mut seen));
    assert!(seen.notices > 5_000 && seen.late_pages > 5_000 && seen.lists > 1_000, "{seen:?}");
}
