//! Answers: each request gets exactly one, in order within its channel, and only such errors as it deserves.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use crate::Dialect;
use crate::wire::PresenceAction;

use super::story::{Asked, Mark, Story, Wish};
use super::{Broken, Weather, is_kept, is_safe};

/// Bytes of payload that one publication may have in every run.
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;

/// Bytes of data that a member may show of itself.
pub(crate) const MAX_DATA: usize = 256;

/// Whether the rules of a run let nobody do anything in this channel: those of the namespace `no`, and the host says no
/// to channels whose name ends so.
pub(super) fn is_forbidden(channel: &str) -> bool {
    channel.starts_with("no:") || (channel.starts_with("ask:") && channel.ends_with('!'))
}

/// Whether a name is none.
fn is_bad_name(channel: &str) -> bool {
    channel.starts_with('$') || channel.is_empty()
}

/// Whether a publication into this channel is refused whatever happens.
pub(super) fn is_refused(channel: &str, len: usize) -> bool {
    is_forbidden(channel) || is_bad_name(channel) || len > MAX_PAYLOAD
}

/// Finds out which publications were sent more than once.
pub(super) fn find_repeats(stories: &mut [Story]) {
    let mut counts: BTreeMap<Mark, usize> = BTreeMap::new();
    for sent in stories.iter().flat_map(|story| &story.published) {
        *counts.entry(sent.mark).or_default() += 1;
    }
    for story in stories {
        let sent = story.published.iter().filter(|sent| counts[&sent.mark] > 1);
        let ids: BTreeSet<u64> = sent.filter_map(|sent| sent.id).collect();
        for asked in story.requests.iter_mut().filter(|asked| ids.contains(&asked.id)) {
            if let Wish::Publish { repeats, .. } = &mut asked.wish {
                *repeats = true;
            }
        }
    }
}

pub(super) fn judge(story: &Story, weather: &Weather) -> Result<(), Broken> {
    judge_end(story, weather)?;
    judge_complaints(story, weather)?;
    let mut channels: BTreeMap<&str, Membership> = BTreeMap::new();
    for asked in &story.requests {
        let broken = |text: String| {
            Err(Broken::new("answers", &asked.channel, format!("client {}: {text}: {asked:?}", story.no)))
        };
        let channel = channels.entry(&asked.channel).or_default();
        let Some(answer) = asked.answer else {
            if story.lives() {
                return broken("no answer came".into());
            }
            // Whatever it was: nothing that is known later depends on it.
            (channel.known, channel.present) = (false, None);
            continue;
        };
        // What somebody else has published before is acknowledged while what was asked earlier waits for the disk.
        let overtakes = matches!(asked.wish, Wish::Publish { repeats: true, .. }) && is_safe(&asked.channel);
        if asked.is_acked() && !overtakes {
            // A publication is acknowledged by the home, the others by the router that the client is connected to.
            let kind = match asked.wish {
                Wish::Subscribe | Wish::Unsubscribe | Wish::Unavailable => 0,
                Wish::Publish { .. } => 1,
                Wish::Presence(_) => 2,
                Wish::History => 3,
            };
            let newest = &mut channel.newest_acks[kind];
            if answer.got.0 < *newest {
                return broken("its ack came before that of an earlier request".into());
            }
            *newest = answer.got.0;
        }
        // A subscription counts from when it is taken, which shows in these codes, and may still be refused later.
        let early = match asked.wish {
            Wish::Subscribe => answer.code == Some(1009),
            Wish::Presence(_) => answer.code == Some(1015),
            _ => false,
        };
        if early && channel.pending > answer.got.0 {
            continue;
        }
        if let Err(text) = channel.judge(asked, answer.code, weather) {
            return broken(text);
        }
        if asked.wish == Wish::Subscribe {
            channel.pending = answer.got.0;
        }
    }
    Ok(())
}

/// What a client can know of itself in one channel.
struct Membership {
    inside: bool,
    /// Whether it is present; `None` where nobody can know.
    present: Option<bool>,
    /// Whether `inside` is certain.
    known: bool,
    /// Where in the log the newest ack is: of a subscription or its end, of a publication, about presence, about history.
    newest_acks: [usize; 4],
    /// Where in the log the last subscription was answered.
    pending: usize,
}

impl Default for Membership {
    fn default() -> Self {
        Self { inside: false, present: Some(false), known: true, newest_acks: [0; 4], pending: 0 }
    }
}

impl Membership {
    /// Judges the answer to the next request, by its code if it is an error.
    fn judge(&mut self, asked: &Asked, code: Option<u16>, weather: &Weather) -> Result<(), String> {
        // A channel that was too many when its home came back has ended, and old clients are not told.
        let expelled = weather.partitions && weather.small;
        let is = |inside: bool| !self.known || self.inside == inside || expelled;
        let bad = is_bad_name(&asked.channel) && asked.wish != Wish::Unavailable;
        let forbidden = is_forbidden(&asked.channel);
        let may_be = |present: bool| self.present.is_none_or(|known| known == present) || expelled;
        use PresenceAction::{Count, Join, Leave, Sync, Update};
        let right = match (asked.wish, code) {
            (_, Some(1002)) => bad,
            // Too much waits behind a request that the host decides.
            (_, Some(1013)) if weather.asks || weather.overload => true,
            (_, _) if bad => false,
            (Wish::Subscribe, None) => is(false) && !forbidden,
            (Wish::Subscribe, Some(1009)) => is(true),
            (Wish::Subscribe, Some(1013)) => weather.small && is(false),
            (Wish::Unsubscribe, None) => is(true),
            (Wish::Unsubscribe, Some(1008)) => is(false),
            (Wish::Publish { len, .. }, None) => len <= MAX_PAYLOAD && !forbidden,
            (Wish::Publish { .. } | Wish::History, Some(1013)) => weather.small && is_kept(&asked.channel),
            (Wish::History, None) => true,
            (Wish::History, Some(1016)) => asked.since.is_some(),
            (Wish::History, Some(1011)) => weather.partitions,
            (Wish::Publish { len, .. }, Some(1007)) => len > MAX_PAYLOAD,
            (Wish::Subscribe | Wish::Publish { .. }, Some(1004)) => forbidden,
            (Wish::Publish { .. }, Some(1011)) => {
                weather.partitions || weather.full && is_safe(&asked.channel)
            }
            (Wish::Subscribe, Some(1011)) => weather.partitions,
            (Wish::Presence(_), Some(1004)) => forbidden,
            (Wish::Presence(_), None) if forbidden => false,
            (Wish::Presence(_), Some(1007)) => asked.data.as_ref().is_some_and(|data| data.len() > MAX_DATA),
            (Wish::Presence(_), Some(1011)) => weather.partitions,
            // The channel had no room at its home, of which a client that has left it meanwhile is not told.
            (Wish::Presence(Join), Some(1013)) => weather.small,
            (Wish::Presence(Join), None) => is(true),
            (Wish::Presence(Join | Leave | Update), Some(1008)) => is(false),
            (Wish::Presence(Leave | Update), None) => is(true) && may_be(true),
            (Wish::Presence(Leave | Update), Some(1015)) => {
                // A home without room refuses a leaf one after the other what it asked in one go.
                let in_one_go = weather.small && asked.sent.0 < self.pending;
                (is(true) || in_one_go) && may_be(false)
            }
            (Wish::Presence(Sync | Count), None) => true,
            (Wish::Unavailable, Some(1014)) => true,
            _ => false,
        };
        if !right {
            let state = if self.inside { "inside" } else { "outside" };
            return Err(format!("the answer is wrong for a client that is {state}"));
        }
        match (asked.wish, code) {
            (Wish::Subscribe, None | Some(1009)) => (self.inside, self.known) = (true, true),
            (Wish::Unsubscribe, None | Some(1008)) => {
                (self.inside, self.known, self.present) = (false, true, Some(false));
            }
            (Wish::Presence(Join), None) => self.present = Some(true),
            (Wish::Presence(Leave), None) | (Wish::Presence(_), Some(1015)) => self.present = Some(false),
            (Wish::Presence(Join | Leave | Update), Some(1011)) => self.present = None,
            _ => {}
        }
        Ok(())
    }
}

/// Errors that answer no request.
fn judge_complaints(story: &Story, weather: &Weather) -> Result<(), Broken> {
    let silent = || story.published.iter().filter(|sent| sent.id.is_none());
    if let Some(code) =
        story.put_out.iter().find(|&&code| code != 1013 || !weather.partitions || !weather.small)
    {
        let text = format!("client {} was put out of a channel with {code}", story.no);
        return Err(Broken::new("answers", "", text));
    }
    for &code in &story.complaints {
        let right = match code {
            1001 => story.rude,
            1002 => silent().any(|sent| is_bad_name(&sent.channel)),
            1004 => silent().any(|sent| is_forbidden(&sent.channel)),
            1007 => silent().any(|sent| sent.len > MAX_PAYLOAD),
            1011 => {
                weather.partitions && silent().next().is_some()
                    || weather.full && silent().any(|sent| is_safe(&sent.channel))
            }
            1013 => {
                weather.asks
                    || weather.overload
                    || weather.small && silent().any(|sent| is_kept(&sent.channel))
            }
            _ => false,
        };
        if !right {
            let text = format!("client {} got error {code} for nothing", story.no);
            return Err(Broken::new("answers", "", text));
        }
    }
    Ok(())
}

/// Whether the connection ended for a reason, or not although there was one.
fn judge_end(story: &Story, weather: &Weather) -> Result<(), Broken> {
    let ended = story.end.filter(|_| !story.hung_up);
    let right = match ended {
        None => true,
        Some((_, None)) => story.broken,
        Some((_, Some(4001))) => weather.slow || weather.overload,
        Some((_, Some(4002))) => weather.leaps || story.stopped,
        Some((_, Some(4500))) => story.garbage,
        Some((_, Some(4502))) => {
            !story.connected && (story.dialect != Dialect::Legacy || weather.asks) || weather.leaps
        }
        Some((_, Some(4504))) => story.denied && weather.asks,
        Some(_) => false,
    };
    if !right {
        return Err(Broken::new("ends", "", format!("client {} ended by {ended:?}", story.no)));
    }
    if story.lives() && (story.garbage || !story.connected && story.dialect != Dialect::Legacy) {
        return Err(Broken::new("ends", "", format!("client {} lives on after its mistake", story.no)));
    }
    Ok(())
}
