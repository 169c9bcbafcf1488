//! Positions: in channels that keep history each number is one publication for everybody, numbers come once and rise, and what
//! is missing in between was told before; who comes back gets all it missed, or is told that it does not.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use super::story::{Asked, Mark, Stay, Step, Story, Wish};
use super::{Broken, Tally, Weather};

/// Publications that such channels keep, for longer than a run takes unless the clock leaps.
pub(crate) const HISTORY_SIZE: u64 = 20;
pub(crate) const HISTORY_TTL_MS: u32 = 60_000;

/// For which they know idempotency keys: longer than a run takes, however the clock leaps.
pub(crate) const WINDOW_MS: u32 = 3_600_000;

/// Whether a channel keeps history in every run.
pub(crate) fn is_kept(channel: &str) -> bool {
    channel.starts_with("kept:") || is_safe(channel)
}

/// Whether a channel keeps history on disk.
pub(crate) fn is_safe(channel: &str) -> bool {
    channel.starts_with("safe:")
}

/// Returns which publication has which number, for all of them that anybody was told.
pub(super) fn judge(stories: &[Story], weather: &Weather, tally: &mut Tally) -> Result<Book, Broken> {
    let mut book = Book::default();
    for story in stories {
        for sent in story.published.iter().filter(|sent| is_kept(&sent.channel)) {
            book.sent(&sent.channel, sent.mark, story.life);
        }
    }
    for story in stories {
        for asked in &story.requests {
            if let (Some(at), Wish::Publish { .. }) = (&asked.acked_at, asked.wish) {
                let sent = story.published.iter().find(|sent| sent.id == Some(asked.id));
                let mark = sent.expect("what is acknowledged was published").mark;
                book.write(&asked.channel, &at.epoch, at.offset, mark)?;
            }
        }
        for page in &story.pages {
            for &(offset, mark) in &page.publications {
                book.write(&page.channel, &page.epoch, offset, mark)?;
            }
        }
        for stay in story.stays.iter().filter(|stay| is_kept(&stay.channel)) {
            judge_stay(story, stay, weather, &mut book, tally)?;
        }
    }
    book.judge_repeats()?;
    Ok(book)
}

/// Which publication has which number.
#[derive(Default)]
pub(super) struct Book {
    /// By channel, epoch and number.
    pub(super) marks: BTreeMap<(String, String, u64), Mark>,
    publications: BTreeMap<(String, Mark), Sends>,
}

/// How often a publication was sent, and where it is.
#[derive(Default)]
struct Sends {
    count: usize,
    /// Of the process, in which it was sent.
    lives: BTreeSet<usize>,
    /// Epochs and numbers.
    places: BTreeSet<(String, u64)>,
}

impl Book {
    fn sent(&mut self, channel: &str, mark: Mark, life: usize) {
        let sends = self.publications.entry((channel.into(), mark)).or_default();
        sends.count += 1;
        sends.lives.insert(life);
    }

    fn write(&mut self, channel: &str, epoch: &str, offset: u64, mark: Mark) -> Result<(), Broken> {
        let place = (String::from(epoch), offset);
        let other = *self.marks.entry((channel.into(), place.0.clone(), offset)).or_insert(mark);
        if other != mark {
            let text = format!("{place:?} is {mark:?} for one and {other:?} for another");
            return Err(Broken::new("positions", channel, text));
        }
        self.publications.entry((channel.into(), mark)).or_default().places.insert(place);
        Ok(())
    }

    /// A publication has one number, and if it was sent again under its idempotency key one in each epoch.
    fn judge_repeats(&self) -> Result<(), Broken> {
        for ((channel, mark), Sends { count, places, .. }) in &self.publications {
            let all = if *count > 1 { usize::MAX } else { 1 };
            let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
            places.iter().for_each(|(epoch, _)| *numbers.entry(epoch).or_default() += 1);
            if places.len() > all || numbers.values().any(|count| *count > 1) {
                let text = format!("{mark:?}, which was sent {count} times, is at {places:?}");
                return Err(Broken::new("positions", channel, text));
            }
        }
        Ok(())
    }

    /// Whether it was published in an earlier life of the process than this, for certain.
    fn is_of_earlier(&self, channel: &str, mark: Mark, life: usize) -> bool {
        let sends = self.publications.get(&(channel.into(), mark));
        sends.and_then(|sends| sends.lives.last()).is_some_and(|last| *last < life)
    }
}

fn judge_stay(
    story: &Story,
    stay: &Stay,
    weather: &Weather,
    book: &mut Book,
    tally: &mut Tally,
) -> Result<(), Broken> {
    let broken = |text: String| {
        let steps = &stay.steps;
        let text = format!("client {}: {text}; it asked at {:?}: {steps:?}", story.no, stay.asked);
        Err(Broken::new("positions", &stay.channel, text))
    };
    let asked =
        story.requests.iter().find(|asked| asked.sent == stay.asked).expect("a stay begins with a request");
    // A client of the first release is told no positions, and not what it misses.
    let Some(at) = &asked.acked_at else {
        let rising = stay.numbers().is_sorted_by(|one, other| one < other);
        return if rising { Ok(()) } else { broken("numbers do not rise".into()) };
    };
    let leaves = story.requests.iter().filter(|other| {
        other.wish == Wish::Unsubscribe && other.channel == stay.channel && other.sent.0 > stay.asked.0
    });
    // Who leaves before it is decided is told that nothing is recovered.
    let hurried = leaves.map(|leave| leave.sent.0).next().is_some_and(|left| left < stay.acked.0);
    let recovered = match judge_verdict(asked, weather.leaps || hurried) {
        Ok(recovered) => recovered,
        Err(text) => return broken(text),
    };
    let base = match &asked.since {
        Some((_, since)) if recovered == Some(true) => *since,
        // Some of the newest come first.
        _ if asked.latest > 0 => first_base(stay).map_or(at.offset, |base| base.min(at.offset)),
        _ => at.offset,
    };
    if recovered != Some(true) && at.offset - base > asked.latest {
        return broken(format!("more than the {} newest", asked.latest));
    }
    tally.recovered += u64::from(recovered == Some(true) && base < at.offset);
    tally.unrecovered += u64::from(recovered == Some(false));
    // The server's goodbye may push a small publication or two out of a full queue.
    let ended = story.end.is_some_and(|(_, code)| code.is_some());
    let excused = if ended && weather.loses() { 2 } else { 0 };
    let (mut got, mut told, mut last) = (0, 0, base);
    for &(place, step) in &stay.steps {
        match step {
            Step::Gap { count: None, .. } => return Ok(()),
            Step::Gap { count: Some(count), from, .. } => {
                told += count;
                tally.trimmed += u64::from(from.is_some());
            }
            Step::Got { offset, mark } => {
                book.write(&stay.channel, &at.epoch, offset, mark)?;
                tally.found += u64::from(book.is_of_earlier(&stay.channel, mark, story.life));
                if offset <= last {
                    return broken(format!("{offset} comes behind {last}"));
                }
                let missing = offset - base - 1 - got;
                // What gives way once it has left is not told, and what is kept still comes.
                if missing > told + excused && stay.left.is_none_or(|left| place < left.0) {
                    return broken(format!("{missing} are missing before {offset}, and {told} were told"));
                }
                (got, last) = (got + 1, offset);
            }
        }
    }
    let stays = stay.left.is_none() && story.lives();
    if stays && matches!(stay.steps.last(), Some((_, Step::Got { .. }))) && base + got + told != last {
        return broken(format!("{got} came and {told} were told to be missing, from {base} to {last}"));
    }
    Ok(())
}

/// The number behind which a stay begins, by the first that it was given or told to miss.
fn first_base(stay: &Stay) -> Option<u64> {
    let mut told = 0;
    for (_, step) in &stay.steps {
        match *step {
            Step::Got { offset: first, .. } | Step::Gap { from: Some(first), .. } => {
                return (first - 1).checked_sub(told);
            }
            Step::Gap { count, .. } => told += count?,
        }
    }
    None
}

/// Whether it was told that it gets all that it missed, and rightly, unless it is excused that it does not.
fn judge_verdict(asked: &Asked, excused: bool) -> Result<Option<bool>, String> {
    let (Some(at), Some((epoch, since))) = (&asked.acked_at, &asked.since) else {
        return match asked.recovered {
            None => Ok(None),
            Some(recovered) => Err(format!("recovered is {recovered}, which nobody asked")),
        };
    };
    let same = *epoch == at.epoch && *since <= at.offset;
    match asked.recovered {
        None => Err("nothing says whether it has recovered".into()),
        Some(true) if !same => Err(format!("recovered from {epoch}:{since} at {at:?}")),
        Some(false) if same && at.offset - since <= HISTORY_SIZE && !excused => {
            Err(format!("not recovered from {since} at {}, though all is kept", at.offset))
        }
        recovered => Ok(recovered),
    }
}
