//! What outlives the process: all that was acknowledged or delivered in a channel whose history is on disk, under its numbers and
//! in its epoch. Of other channels nothing does, and their epochs say so.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::positions::{Book, HISTORY_SIZE};
use super::story::{Page, Story};
use super::{Broken, Weather, is_kept, is_safe};

/// Microseconds after which the disk has everything that was handed out before, if it takes anything.
const SYNCED_US: u64 = 1_000_000;

pub(super) fn judge(
    stories: &[Story],
    weather: &Weather,
    book: &Book,
    visitor: &Story,
) -> Result<(), Broken> {
    let mut channels: BTreeMap<&str, Epochs<'_>> = BTreeMap::new();
    // Until when each life of the process was certainly going on.
    let mut lived: BTreeMap<usize, u64> = BTreeMap::new();
    for story in stories {
        for asked in story.requests.iter().filter(|asked| is_kept(&asked.channel)) {
            if let (Some(at), Some(answer)) = (&asked.acked_at, &asked.answer) {
                let epochs = channels.entry(&asked.channel).or_default();
                epochs.note((story.life, &at.epoch), answer.got.1, at.offset);
            }
        }
        for page in &story.pages {
            let epochs = channels.entry(&page.channel).or_default();
            // When it came is not noted: late enough.
            epochs.note((story.life, &page.epoch), u64::MAX, page.top);
        }
        let answers = story.requests.iter().filter_map(|asked| asked.answer);
        let last = answers.map(|answer| answer.got.1).max().unwrap_or(0);
        let until = lived.entry(story.life).or_default();
        *until = last.max(*until);
    }
    for (channel, epochs) in &channels {
        if let Err(text) = epochs.judge(is_safe(channel), &lived, weather) {
            return Err(Broken::new("restarts", channel, format!("{text}: {epochs:?}")));
        }
        if is_safe(channel)
            && let Err(text) = judge_whole(channel, book, visitor, weather)
        {
            return Err(Broken::new("restarts", channel, text));
        }
    }
    Ok(())
}

/// The epochs of one channel that clients were told, by the life of the process.
#[derive(Debug, Default)]
struct Epochs<'a> {
    told: BTreeMap<(usize, &'a str), Told>,
}

/// What was told of an epoch in one life of the process.
#[derive(Debug)]
struct Told {
    /// When it was told first.
    since: u64,
    /// The highest number.
    top: u64,
}

impl<'a> Epochs<'a> {
    fn note(&mut self, of: (usize, &'a str), at: u64, offset: u64) {
        let told = self.told.entry(of).or_insert(Told { since: at, top: offset });
        (told.since, told.top) = (told.since.min(at), told.top.max(offset));
    }

    /// `safe` if the channel is on disk.
    fn judge(&self, safe: bool, lived: &BTreeMap<usize, u64>, weather: &Weather) -> Result<(), &'static str> {
        let outlives = |(life, epoch): &(usize, &str)| {
            self.told.keys().any(|(other, same)| other != life && same == epoch)
        };
        if !safe && self.told.keys().any(outlives) {
            return Err("an epoch of a history that is in memory alone outlives the process");
        }
        // Nothing is forgotten while somebody may come back, unless the clock leaps or there is no room.
        if weather.leaps {
            return Ok(());
        }
        let mut pairs = self.told.keys().zip(self.told.keys().skip(1));
        if !weather.small && pairs.any(|((life, _), (next, _))| life == next) {
            return Err("two epochs in one life of the process, though no history was lost");
        }
        let mut stored: Option<(usize, &str)> = None;
        for (&(life, epoch), &Told { since, top }) in self.told.iter().filter(|_| safe) {
            if let Some((before, other)) = stored
                && other != epoch
                && (life > before || top > 0)
            {
                return Err("another epoch, though there was one on disk");
            }
            // That a channel has begun need not be on disk before it is told; and without publications it may give way.
            let begun = since.saturating_add(SYNCED_US) < lived[&life]
                && !(weather.small || weather.full || weather.overload);
            if stored.is_none() && (top > 0 || begun) {
                stored = Some((life, epoch));
            }
        }
        Ok(())
    }
}

/// What the visitor saw at the end: everything that was ever told of a channel on disk, as far as history reaches.
fn judge_whole(channel: &str, book: &Book, visitor: &Story, weather: &Weather) -> Result<(), String> {
    let pages: Vec<&Page> = visitor.pages.iter().filter(|page| page.channel == channel).collect();
    let told = book.marks.keys().filter(|(of, ..)| of == channel);
    let told: Vec<(&str, u64)> = told.map(|(_, epoch, offset)| (&**epoch, *offset)).collect();
    let Some(Page { epoch, top, .. }) = pages.first() else {
        // Where nothing was published, there may be no room for the channel.
        let excused = told.is_empty() || weather.leaps;
        return if excused { Ok(()) } else { Err(format!("{told:?} were told, and nothing is there")) };
    };
    let found: Vec<u64> =
        pages.iter().flat_map(|page| &page.publications).map(|(offset, _)| *offset).collect();
    let whole = found.windows(2).all(|pair| pair[1] == pair[0] + 1)
        && found.last().is_none_or(|last| last == top)
        && pages.iter().all(|page| page.epoch == *epoch && page.top == *top);
    if !whole || !weather.leaps && found.len() as u64 != HISTORY_SIZE.min(*top) {
        return Err(format!("the whole history of {top} is {found:?}"));
    }
    // What the pages have at these numbers, the book has compared.
    let lost = told.iter().find(|&&(of, offset)| if of == epoch { offset > *top } else { !weather.leaps });
    match lost {
        None => Ok(()),
        Some(lost) => Err(format!("{lost:?} was told, and {top} in {epoch} is the newest that is there")),
    }
}
