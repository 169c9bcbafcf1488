//! Presence: at the end everybody who looks sees who is there, whoever followed the changes too, and on the way nobody is
//! shown who did not come, or said to be gone who did not go.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Dialect;
use crate::wire::PresenceAction;

use super::story::{Seen, SeenMember, Sight, Stay, Story, Wish};
use super::{Broken, Weather};

pub(super) fn judge(stories: &[Story], weather: &Weather, grace_ms: u32) -> Result<(), Broken> {
    let mut names = BTreeMap::new();
    for story in stories {
        let Some((name, user)) = &story.name else { continue };
        let token = story.token.as_ref().filter(|_| weather.asks);
        if user.as_ref() != token {
            let text = format!("client {} is {user:?}, its token said {token:?}", story.no);
            return Err(Broken::new("presence", "", text));
        }
        if names.insert(&**name, story).is_some() {
            return Err(Broken::new("presence", "", format!("two clients are called {name}")));
        }
    }
    let judge = Judge { names, weather, grace_us: u64::from(grace_ms) * 1000 };
    let end = stories.iter().filter_map(|story| Some(story.sights.last()?.at)).max().unwrap_or(0);
    let channels: BTreeSet<&str> =
        stories.iter().flat_map(|story| &story.sights).map(|sight| &*sight.channel).collect();
    for story in stories {
        for sight in &story.sights {
            judge.judge_sight(story, sight)?;
        }
    }
    for channel in channels {
        let truth = judge.truth(channel);
        for story in stories.iter().filter(|story| story.lives()) {
            judge.judge_last_look(story, channel, &truth, end)?;
            judge.judge_follower(story, channel, &truth)?;
        }
    }
    Ok(())
}

struct Judge<'a> {
    /// All clients by the name that they were told.
    names: BTreeMap<&'a str, &'a Story>,
    weather: &'a Weather,
    grace_us: u64,
}

/// Whether a client is in a channel's list at the end, and what it shows.
struct Standing {
    member: SeenMember,
    /// `None` where nobody can know.
    present: Option<bool>,
    /// Whether `member` has the data that it should show.
    knows_data: bool,
}

impl Judge<'_> {
    /// What has to be in the list at the end, by client.
    fn truth(&self, channel: &str) -> BTreeMap<&str, Standing> {
        self.names.iter().map(|(&name, story)| (name, self.standing(name, story, channel))).collect()
    }

    fn standing(&self, name: &str, story: &Story, channel: &str) -> Standing {
        use PresenceAction::{Join, Leave, Update};
        let user = story.name.as_ref().and_then(|(_, user)| user.clone());
        let member = SeenMember { client: name.into(), user, data: None };
        let mut standing = Standing { member, present: Some(false), knows_data: true };
        if !story.lives() {
            return standing;
        }
        for asked in story.requests.iter().filter(|asked| asked.channel == channel) {
            let code = asked.answer.and_then(|answer| answer.code);
            match (asked.wish, code) {
                (Wish::Unsubscribe, None) => standing.present = Some(false),
                (Wish::Presence(Join | Leave | Update), Some(1011)) => {
                    // It may have been done all the same.
                    (standing.present, standing.knows_data) = (None, false);
                }
                (Wish::Presence(Join), None) => {
                    standing.present = Some(true);
                    (standing.member.data, standing.knows_data) = (asked.data.clone(), true);
                }
                (Wish::Presence(Update), None) => {
                    (standing.member.data, standing.knows_data) = (asked.data.clone(), true);
                }
                (Wish::Presence(Leave), None) => standing.present = Some(false),
                _ => {}
            }
        }
        // A channel that was too many when its home came back has ended.
        if self.weather.partitions && self.weather.small {
            standing.present = None;
        }
        standing
    }

    /// What a client saw when it looked last, after all was quiet.
    fn judge_last_look(
        &self,
        story: &Story,
        channel: &str,
        truth: &BTreeMap<&str, Standing>,
        end: u64,
    ) -> Result<(), Broken> {
        let last = story.sights.iter().rev().find(|sight| {
            sight.channel == channel && matches!(sight.what, Seen::Page { whole: true, .. } | Seen::Count)
        });
        // Who looked before that saw what was true then.
        let Some(sight) = last.filter(|sight| sight.at + 1_000_000 > end) else { return Ok(()) };
        if let Seen::Page { members, .. } = &sight.what {
            let list = members.iter().map(|member| (&*member.client, member)).collect();
            self.judge_list(story, channel, truth, &list, (sight.clients, sight.users))?;
        }
        Ok(())
    }

    /// Who looked once and then took every change has the same list as who looks now.
    fn judge_follower(
        &self,
        story: &Story,
        channel: &str,
        truth: &BTreeMap<&str, Standing>,
    ) -> Result<(), Broken> {
        if self.weather.loses() && story.dialect == Dialect::Legacy {
            return Ok(());
        }
        let stay = story.stays.iter().rev().find(|stay| stay.channel == channel && stay.left.is_none());
        let Some(stay) = stay else { return Ok(()) };
        let after = self.lost_track(stay);
        let mut sights = story.sights.iter().filter(|sight| sight.channel == channel && sight.place > after);
        // The first look after it was in, and since it was told last that it missed something.
        let start = sights.by_ref().find(|sight| matches!(sight.what, Seen::Page { whole: true, .. }));
        let Some(Sight { what: Seen::Page { members, .. }, clients, users, .. }) = start else {
            return Ok(());
        };
        let mut list: BTreeMap<&str, &SeenMember> =
            members.iter().map(|member| (&*member.client, member)).collect();
        let mut totals = (*clients, *users);
        for sight in sights {
            totals = (sight.clients, sight.users);
            let Seen::Changes(changes) = &sight.what else { continue };
            for (action, member) in changes {
                match action {
                    PresenceAction::Leave => list.remove(&*member.client),
                    _ => list.insert(&member.client, member),
                };
            }
        }
        self.judge_list(story, channel, truth, &list, totals)
    }

    /// Where in the log a client was in, or was told the last time that it missed something.
    fn lost_track(&self, stay: &Stay) -> usize {
        stay.gaps.iter().map(|gap| gap.place).chain([stay.acked.0]).max().expect("there is at least the ack")
    }

    fn judge_list(
        &self,
        story: &Story,
        channel: &str,
        truth: &BTreeMap<&str, Standing>,
        list: &BTreeMap<&str, &SeenMember>,
        totals: (u64, u64),
    ) -> Result<(), Broken> {
        let broken = |text: String| {
            Err(Broken::new("presence", channel, format!("client {} {text}; it sees {list:?}", story.no)))
        };
        for (name, standing) in truth {
            let shown = list.get(name);
            if standing.present.is_some_and(|present| present != shown.is_some()) {
                let is = if shown.is_some() { "is shown, and not there" } else { "is there, and not shown" };
                return broken(format!("at the end: {name} (client {}) {is}", self.names[name].no));
            }
            if let Some(shown) = shown
                && standing.knows_data
                && **shown != standing.member
            {
                return broken(format!("at the end: {name} should be {:?}", standing.member));
            }
        }
        let users: BTreeSet<_> =
            list.values().map(|member| member.user.as_ref().ok_or(&member.client)).collect();
        if totals != (list.len() as u64, users.len() as u64) {
            return broken(format!("is told of {totals:?} clients and users"));
        }
        Ok(())
    }

    /// What was shown at some moment can be true: who is shown has come, who is said to be gone has gone.
    fn judge_sight(&self, story: &Story, sight: &Sight) -> Result<(), Broken> {
        let broken = |member: &SeenMember, what: &str| {
            let text = format!("client {} was told of {member:?}, which {what}", story.no);
            Err(Broken::new("presence", &sight.channel, text))
        };
        let shown: Vec<(PresenceAction, &SeenMember)> = match &sight.what {
            Seen::Page { members, .. } => members.iter().map(|m| (PresenceAction::Join, m)).collect(),
            Seen::Changes(changes) => changes.iter().map(|(action, member)| (*action, member)).collect(),
            Seen::Count => return Ok(()),
        };
        for (action, member) in shown {
            let Some(&other) = self.names.get(&*member.client) else {
                // A name that its client did not live to read.
                continue;
            };
            if other.name.as_ref().is_some_and(|(_, user)| *user != member.user) {
                return broken(member, "is somebody else");
            }
            if other.life != story.life {
                return broken(member, "was there in another life of the process");
            }
            match action {
                PresenceAction::Join | PresenceAction::Update => {
                    let came = other.requests.iter().any(|asked| {
                        matches!(asked.wish, Wish::Presence(PresenceAction::Join | PresenceAction::Update))
                            && asked.channel == sight.channel
                            && asked.sent.1 <= sight.at
                            && asked.data == member.data
                    });
                    if !came {
                        return broken(member, "never said so");
                    }
                }
                PresenceAction::Leave if !self.may_have_left(other, &sight.channel, sight.at) => {
                    return broken(member, "did not leave, and has not been away for long enough");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a member can be gone at a time: it asked to leave, or its connection ended a grace ago.
    fn may_have_left(&self, member: &Story, channel: &str, at: u64) -> bool {
        let asked = member.requests.iter().any(|asked| {
            matches!(asked.wish, Wish::Unsubscribe | Wish::Presence(PresenceAction::Leave))
                && asked.channel == channel
                && asked.sent.1 <= at
        });
        // A user that comes back takes the place of a member that is away.
        let has_user = member.name.as_ref().is_some_and(|(_, user)| user.is_some());
        let grace = if has_user || self.weather.leaps { 0 } else { self.grace_us };
        // A server that ends a connection knows of it before the client does, who may never read of it, and so may it of
        // a link that breaks.
        let unread = member.hung_up && (self.weather.slow || self.weather.overload);
        let closed = member.end.is_some_and(|(_, code)| code.is_some());
        let sudden = member.broken || member.stopped || unread || closed;
        let ended = sudden || member.end.is_some_and(|((_, end), _)| end + grace <= at);
        asked || ended || self.weather.partitions
    }
}
