//! Publications: one order for everybody, nothing twice, nothing invented, and nothing missing that no gap tells of.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use crate::Dialect;

use super::requests::is_refused;
use super::story::{Mark, Sent, Stay, Story};
use super::{Broken, Tally, Weather, is_kept, is_safe};

pub(super) fn judge(stories: &[Story], weather: &Weather) -> Result<Tally, Broken> {
    let mut channels: BTreeMap<&str, Channel> = BTreeMap::new();
    let last_life = stories.iter().map(|story| story.life).max().unwrap_or(0);
    for story in stories {
        for sent in &story.published {
            channels.entry(&sent.channel).or_default().add(story, sent, weather, last_life);
        }
    }
    let mut tally =
        Tally { published: stories.iter().map(|s| s.published.len() as u64).sum(), ..Tally::default() };
    tally.errors = stories
        .iter()
        .flat_map(|story| &story.requests)
        .filter(|asked| asked.answer.is_some_and(|answer| answer.code.is_some()))
        .count() as u64;
    let nobody = Channel::default();
    for story in stories {
        let mut seen = BTreeSet::new();
        for stay in &story.stays {
            let channel = channels.get(&*stay.channel).unwrap_or(&nobody);
            if is_kept(&stay.channel) {
                // Who comes back may ask for what it had.
                seen.clear();
            }
            for &(_, mark) in &stay.received {
                let broken = |what: &str| {
                    let text = format!("client {} got {mark:?}, which {what}", story.no);
                    Err(Broken::new("delivery", &stay.channel, text))
                };
                let Some(&at) = channel.places.get(&mark) else {
                    return broken("nobody sent into this channel");
                };
                let publication = &channel.publications[at];
                if publication.fate == Fate::Refused {
                    return broken("was refused");
                }
                if publication.last_life < story.life && !is_safe(&stay.channel) {
                    return broken("was sent to a process that has ended");
                }
                if !seen.insert(mark) && !publication.is_several {
                    return broken("it had already");
                }
            }
            tally.received += stay.received.len() as u64;
            tally.missed += stay.gaps.iter().filter_map(|gap| gap.count).sum::<u64>();
            let overloaded = stay.gaps.iter().filter(|gap| gap.overloaded);
            tally.overloaded += overloaded.filter_map(|gap| gap.count).sum::<u64>();
            tally.unknown_gaps += stay.gaps.iter().filter(|gap| gap.count.is_none()).count() as u64;
        }
    }
    for (name, channel) in &mut channels {
        channel.judge(name, stories, weather)?;
    }
    Ok(tally)
}

/// What became of a publication, as far as its publisher can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Numbered for certain; the time of the ack where there was one.
    Accepted(Option<u64>),
    Refused,
    Unknown,
}

impl Fate {
    /// Of what was sent several times.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Accepted(Some(one)), Self::Accepted(Some(other))) => Self::Accepted(Some(one.min(other))),
            (Self::Accepted(None), Self::Accepted(at))
            | (Self::Accepted(at), _)
            | (_, Self::Accepted(at)) => Self::Accepted(at),
            (Self::Refused, Self::Refused) => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

struct Publication {
    mark: Mark,
    /// When it was sent first.
    at: u64,
    /// The last life of the process in which it was sent.
    last_life: usize,
    /// It was sent again, under its idempotency key.
    is_repeated: bool,
    /// It may have several numbers, since its key was lost between two times that it was sent.
    is_several: bool,
    fate: Fate,
}

/// All publications that were sent into one channel.
#[derive(Default)]
struct Channel {
    publications: Vec<Publication>,
    places: BTreeMap<Mark, usize>,
    /// `before[a][b]`: somebody can know that `a` came before `b`.
    before: Vec<Vec<bool>>,
}

impl Channel {
    fn add(&mut self, story: &Story, sent: &Sent, weather: &Weather, last_life: usize) {
        let asked = sent.id.and_then(|id| story.requests.iter().find(|asked| asked.id == id));
        let safe = is_safe(&sent.channel);
        // What is not acknowledged may be lost on its way to the disk.
        let stored = !safe || !weather.full && !weather.overload && story.life == last_life;
        let fate = if is_refused(&sent.channel, sent.len) {
            Fate::Refused
        } else if let Some(answer) = asked.and_then(|asked| asked.answer) {
            match answer.code {
                None => Fate::Accepted(Some(answer.got.1)),
                // The home may have had it when its answer was lost.
                Some(1011) if weather.partitions => Fate::Unknown,
                Some(_) => Fate::Refused,
            }
        } else if sent.id.is_none()
            && !weather.partitions
            && !story.complaints.contains(&1013)
            && story.was_taken(sent.at)
            && stored
            // A home without room for the channel does not say so.
            && !(weather.small && is_kept(&sent.channel))
        {
            Fate::Accepted(None)
        } else {
            Fate::Unknown
        };
        let Some(&at) = self.places.get(&sent.mark) else {
            self.places.insert(sent.mark, self.publications.len());
            return self.publications.push(Publication {
                mark: sent.mark,
                at: sent.at,
                last_life: story.life,
                is_repeated: false,
                is_several: false,
                fate,
            });
        };
        let first = &mut self.publications[at];
        let forgets = weather.leaps || weather.small && !safe;
        let lost = story.life != first.last_life && !safe;
        first.is_several |= forgets || lost;
        first.is_repeated = true;
        first.at = first.at.min(sent.at);
        first.last_life = first.last_life.max(story.life);
        first.fate = first.fate.or(fate);
    }

    fn judge(&mut self, name: &str, stories: &[Story], weather: &Weather) -> Result<(), Broken> {
        self.find_order(name, stories);
        self.judge_order(name)?;
        for story in stories {
            for stay in story.stays.iter().filter(|stay| stay.channel == name) {
                self.judge_stay(story, stay, weather)?;
            }
        }
        Ok(())
    }

    /// Writes down what anybody can know about the order.
    fn find_order(&mut self, name: &str, stories: &[Story]) {
        let count = self.publications.len();
        self.before = vec![vec![false; count]; count];
        let mut reached = vec![false; count];
        for story in stories {
            let stays = story.stays.iter().filter(|stay| stay.channel == name);
            let received =
                stays.map(|stay| stay.received.iter().map(|(_, mark)| self.places[mark]).collect::<Vec<_>>());
            // Over all stays: what came before it left, came before what came after it was back. But where history is kept
            // it may come back to what was before.
            let received: Vec<Vec<usize>> =
                if is_kept(name) { received.collect() } else { [received.flatten().collect()].into() };
            for received in received {
                received.iter().for_each(|&a| reached[a] = true);
                let once = received.into_iter().filter(|&a| !self.publications[a].is_several);
                let once: Vec<usize> = once.collect();
                for (at, &a) in once.iter().enumerate() {
                    once[at + 1..].iter().for_each(|&b| self.before[a][b] = true);
                }
            }
        }
        for a in 0..count {
            // What nobody received was perhaps never numbered.
            let one = &self.publications[a];
            let numbered = (reached[a] || matches!(one.fate, Fate::Accepted(_))) && !one.is_several;
            for b in (0..count).filter(|&b| b != a && numbered && !self.publications[b].is_several) {
                let other = &self.publications[b];
                // Which of several times has counted is not known.
                let same = one.mark.client == other.mark.client
                    && one.mark.count < other.mark.count
                    && !one.is_repeated
                    && !other.is_repeated;
                let acked = matches!(one.fate, Fate::Accepted(Some(at)) if at < other.at);
                if (same || acked) && (reached[b] || matches!(other.fate, Fate::Accepted(_))) {
                    self.before[a][b] = true;
                }
            }
        }
        for (at, reached) in reached.into_iter().enumerate() {
            if reached && self.publications[at].fate == Fate::Unknown {
                self.publications[at].fate = Fate::Accepted(None);
            }
        }
    }

    /// Takes away, again and again, what nothing else came before: what is left goes in circles.
    fn judge_order(&self, name: &str) -> Result<(), Broken> {
        let count = self.publications.len();
        let mut earlier: Vec<usize> =
            (0..count).map(|b| (0..count).filter(|&a| self.before[a][b]).count()).collect();
        let mut next: Vec<usize> = (0..count).filter(|&at| earlier[at] == 0).collect();
        let mut taken = 0;
        while let Some(a) = next.pop() {
            taken += 1;
            for b in (0..count).filter(|&b| self.before[a][b]) {
                earlier[b] -= 1;
                if earlier[b] == 0 {
                    next.push(b);
                }
            }
        }
        if taken == count {
            return Ok(());
        }
        let circle: Vec<Mark> =
            (0..count).filter(|&at| earlier[at] > 0).take(8).map(|at| self.publications[at].mark).collect();
        let text = format!("receivers or publishers disagree about the order of some of {circle:?}");
        Err(Broken::new("order", name, text))
    }

    /// Whether a subscriber received everything that it can know it should have, but for what it was told it missed.
    fn judge_stay(&self, story: &Story, stay: &Stay, weather: &Weather) -> Result<(), Broken> {
        // While a client takes nothing, however short that is, a publication gives way to a newer one with its key.
        let loses = weather.loses() || stay.channel.starts_with("key:");
        if !loses && stay.gaps.iter().any(|gap| !gap.trimmed) {
            let text = format!("client {} is told of gaps {:?} in fine weather", story.no, stay.gaps);
            return Err(Broken::new("gaps", &stay.channel, text));
        }
        // An old client cannot be told what it misses.
        if loses && story.dialect == Dialect::Legacy {
            return Ok(());
        }
        let received: Vec<(usize, usize)> =
            stay.received.iter().map(|&(place, mark)| (place, self.places[&mark])).collect();
        // Where in the log it shows that something is missing, and what.
        let mut missing: Vec<(usize, Mark)> = Vec::new();
        let mut possible = 0;
        for (a, publication) in self.publications.iter().enumerate() {
            if publication.fate == Fate::Refused || received.iter().any(|&(_, b)| a == b) {
                continue;
            }
            // What was acknowledged may still be on its way to a leaf, where it is for those who come meanwhile too.
            let early = matches!(publication.fate, Fate::Accepted(Some(at)) if at < stay.asked.1)
                && !weather.overload;
            let late = stay.over.is_some_and(|over| publication.at > over);
            possible += u64::from(!early && !late);
            if publication.at > stay.acked.1 && matches!(publication.fate, Fate::Accepted(_)) {
                // What gives way once it has left is not told, and what is kept still comes.
                let shown = received
                    .iter()
                    .filter(|(place, _)| stay.left.is_none_or(|left| *place < left.0))
                    .find(|&&(_, b)| self.before[a][b])
                    .map(|&(place, _)| place);
                let stays = stay.left.is_none() && story.lives();
                if let Some(place) = shown.or_else(|| stays.then_some(usize::MAX)) {
                    missing.push((place, publication.mark));
                }
            }
        }
        // The server's goodbye may push a small publication or two out of a full queue.
        let ended = story.end.is_some_and(|(_, code)| code.is_some());
        let excused = if ended && loses { 2 } else { 0 };
        missing.sort_unstable();
        for (at, &(place, mark)) in missing.iter().enumerate() {
            let told = stay.gaps.iter().filter(|gap| gap.place < place);
            let told = told.map(|gap| gap.count.unwrap_or(u64::MAX)).fold(0, u64::saturating_add);
            if told.saturating_add(excused) <= at as u64 {
                let text = format!(
                    "client {} misses {mark:?} and {at} others, and was told of {told}; it asked at {:?}, was in from \
                     {:?} to {:?}, gaps {:?}",
                    story.no, stay.asked, stay.acked, stay.left, stay.gaps
                );
                return Err(Broken::new("completeness", &stay.channel, text));
            }
        }
        // A leaf that is behind tells all its subscribers how far, whenever they came.
        let told: u64 = stay.gaps.iter().filter(|gap| !gap.overloaded).filter_map(|gap| gap.count).sum();
        // Where history is kept, all is judged by the numbers.
        if told > possible && !is_kept(&stay.channel) {
            let text = format!("client {} is told of {told} losses, {possible} are possible", story.no);
            return Err(Broken::new("gaps", &stay.channel, text));
        }
        Ok(())
    }
}
