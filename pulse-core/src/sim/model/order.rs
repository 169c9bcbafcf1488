//! Publications: one order for everybody, nothing twice, nothing invented, and nothing missing that no gap tells of.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use crate::Dialect;

use super::requests::is_refused;
use super::story::{Mark, Sent, Stay, Story};
use super::{Broken, Tally, Weather, is_kept};

pub(super) fn judge(stories: &[Story], weather: &Weather) -> Result<Tally, Broken> {
    let mut channels: BTreeMap<&str, Channel<'_>> = BTreeMap::new();
    for story in stories {
        for sent in &story.published {
            channels.entry(&sent.channel).or_default().add(story, sent, weather);
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
                if channel.publications[at].fate == Fate::Refused {
                    return broken("was refused");
                }
                if !seen.insert(mark) {
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

struct Publication<'a> {
    sent: &'a Sent,
    fate: Fate,
}

/// All publications that were sent into one channel.
#[derive(Default)]
struct Channel<'a> {
    publications: Vec<Publication<'a>>,
    places: BTreeMap<Mark, usize>,
    /// `before[a][b]`: somebody can know that `a` came before `b`.
    before: Vec<Vec<bool>>,
}

impl<'a> Channel<'a> {
    fn add(&mut self, story: &Story, sent: &'a Sent, weather: &Weather) {
        let asked = sent.id.and_then(|id| story.requests.iter().find(|asked| asked.id == id));
        let fate = if is_refused(&sent.channel, sent.len) {
            Fate::Refused
        } else if let Some(answer) = asked.and_then(|asked| asked.answer) {
            match answer.code {
                None => Fate::Accepted(Some(answer.got.1)),
                // The home may have had it when its answer was lost.
                Some(1011) => Fate::Unknown,
                Some(_) => Fate::Refused,
            }
        } else if sent.id.is_none()
            && !weather.partitions
            && !story.complaints.contains(&1013)
            && story.was_taken(sent.at)
            // A home without room for the channel does not say so.
            && !(weather.small && is_kept(&sent.channel))
        {
            Fate::Accepted(None)
        } else {
            Fate::Unknown
        };
        self.places.insert(sent.mark, self.publications.len());
        self.publications.push(Publication { sent, fate });
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
                for (at, &a) in received.iter().enumerate() {
                    reached[a] = true;
                    received[at + 1..].iter().for_each(|&b| self.before[a][b] = true);
                }
            }
        }
        for a in 0..count {
            // What nobody received was perhaps never numbered.
            let Publication { sent, fate } = &self.publications[a];
            let numbered = reached[a] || matches!(fate, Fate::Accepted(_));
            for b in (0..count).filter(|&b| b != a && numbered) {
                let other = &self.publications[b];
                let same =
                    sent.mark.client == other.sent.mark.client && sent.mark.count < other.sent.mark.count;
                let acked = matches!(fate, Fate::Accepted(Some(at)) if *at < other.sent.at);
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
        let circle: Vec<Mark> = (0..count)
            .filter(|&at| earlier[at] > 0)
            .take(8)
            .map(|at| self.publications[at].sent.mark)
            .collect();
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
            let early = matches!(publication.fate, Fate::Accepted(Some(at)) if at < stay.asked.1);
            let late = stay.over.is_some_and(|over| publication.sent.at > over);
            possible += u64::from(!early && !late);
            if publication.sent.at > stay.acked.1 && matches!(publication.fate, Fate::Accepted(_)) {
                // What gives way once it has left is not told, and what is kept still comes.
                let shown = received
                    .iter()
                    .filter(|(place, _)| stay.left.is_none_or(|left| *place < left.0))
                    .find(|&&(_, b)| self.before[a][b])
                    .map(|&(place, _)| place);
                let stays = stay.left.is_none() && story.lives();
                if let Some(place) = shown.or_else(|| stays.then_some(usize::MAX)) {
                    missing.push((place, publication.sent.mark));
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
