//! What outlives the process: all that was acknowledged or delivered in a channel whose history is on disk, under its numbers and
//! in its epoch. Of other channels nothing does, and their epochs say so.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::positions::{Book, HISTORY_SIZE};
use super::story::{Page, Story};
use super::{Broken, Weather, is_kept, is_safe};

pub(super) fn judge(
    stories: &[Story],
    weather: &Weather,
    book: &Book,
    visitor: &Story,
) -> Result<(), Broken> {
    let mut channels: BTreeMap<&str, Epochs<'_>> = BTreeMap::new();
    for story in stories {
        for asked in story.requests.iter().filter(|asked| is_kept(&asked.channel)) {
            if let Some(at) = &asked.acked_at {
                channels.entry(&asked.channel).or_default().note(story.life, &at.epoch, at.offset);
            }
        }
        for page in &story.pages {
            channels.entry(&page.channel).or_default().note(story.life, &page.epoch, page.top);
        }
    }
    for (channel, epochs) in &channels {
        if let Err(text) = epochs.judge(is_safe(channel), weather) {
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

/// The epochs of one channel that clients were told.
#[derive(Debug, Default)]
struct Epochs<'a> {
    /// By the life of the process and the epoch: the highest number that was told.
    told: BTreeMap<(usize, &'a str), u64>,
}

impl<'a> Epochs<'a> {
    fn note(&mut self, life: usize, epoch: &'a str, offset: u64) {
        let highest = self.told.entry((life, epoch)).or_default();
        *highest = offset.max(*highest);
    }

    /// `safe` if the channel is on disk.
    fn judge(&self, safe: bool, weather: &Weather) -> Result<(), &'static str> {
        // A position before the first publication may go with the process: there is nothing to lose with it.
        let mut first: Option<(usize, &str)> = None;
        let mut before: Option<(usize, &str)> = None;
        for (&(life, epoch), &highest) in &self.told {
            if !safe && self.told.keys().any(|&(other, same)| other != life && same == epoch) {
                return Err("an epoch of a history that is in memory alone outlives the process");
            }
            // Nothing is forgotten while somebody may come back, unless the clock leaps or there is no room.
            if weather.leaps {
                continue;
            }
            // What has no publications gives way, whether it is on disk or not.
            if let Some((_, other)) = before.filter(|(other, _)| *other == life)
                && !weather.small
                && other != epoch
            {
                return Err("two epochs in one life of the process, though no history was lost");
            }
            before = Some((life, epoch));
            if let Some((since, stored)) = first
                && safe
                && stored != epoch
                && (life > since || highest > 0)
            {
                return Err("another epoch, though there were publications");
            }
            if highest > 0 && first.is_none() {
                first = Some((life, epoch));
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
