//! What was told is there for everybody from then on: who asks afterwards is told no smaller number, and what is published
//! afterwards gets a higher one, whichever router is asked and whichever life of the process.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::story::{Step, Story, Wish};
use super::{Broken, is_kept};

/// By channel and epoch.
type Told<'a> = BTreeMap<(&'a str, &'a str), Vec<(u64, u64)>>;

pub(super) fn judge(stories: &[Story]) -> Result<(), Broken> {
    let mut told = Told::new();
    stories.iter().for_each(|story| note(story, &mut told));
    for numbers in told.values_mut() {
        numbers.sort_unstable();
        // The highest that anybody knew by then.
        let mut highest = 0;
        for (_, number) in numbers {
            highest = highest.max(*number);
            *number = highest;
        }
    }
    for story in stories {
        judge_story(story, &told)?;
    }
    Ok(())
}

/// Notes when a client was told of which number.
fn note<'a>(story: &'a Story, told: &mut Told<'a>) {
    for asked in story.requests.iter().filter(|asked| is_kept(&asked.channel)) {
        if let (Some(at), Some(answer)) = (&asked.acked_at, &asked.answer) {
            told.entry((&asked.channel, &at.epoch)).or_default().push((answer.got.1, at.offset));
        }
    }
    for stay in story.stays.iter().filter(|stay| is_kept(&stay.channel)) {
        let asked = story.requests.iter().find(|asked| asked.sent == stay.asked);
        let Some(at) = asked.and_then(|asked| asked.acked_at.as_ref()) else { continue };
        let numbers = told.entry((&stay.channel, &at.epoch)).or_default();
        for (place, step) in &stay.steps {
            match step {
                Step::Got { offset, .. } => numbers.push((story.times[*place], *offset)),
                // The epoch may be another one from here on.
                Step::Gap { count: None, .. } => break,
                Step::Gap { .. } => {}
            }
        }
    }
}

fn judge_story(story: &Story, told: &Told<'_>) -> Result<(), Broken> {
    let known = |channel: &str, epoch: &str, when: u64| {
        let numbers = told.get(&(channel, epoch)).map_or(&[][..], |numbers| numbers);
        let before = numbers.partition_point(|(at, _)| *at < when);
        numbers[..before].last().map_or(0, |(_, number)| *number)
    };
    for page in &story.pages {
        let known = known(&page.channel, &page.epoch, page.asked_at);
        if page.top < known {
            let text = format!("client {} is told of {} in a page, after {known}", story.no, page.top);
            return Err(Broken::new("newest", &page.channel, text));
        }
    }
    for asked in story.requests.iter().filter(|asked| is_kept(&asked.channel)) {
        let Some(at) = &asked.acked_at else { continue };
        let least = match asked.wish {
            Wish::Publish { repeats: false, .. } => 1,
            // Who does not recover is told by a router that may be behind.
            Wish::Subscribe if asked.recovered == Some(true) => 0,
            _ => continue,
        };
        let known = known(&asked.channel, &at.epoch, asked.sent.1);
        if at.offset < known + least {
            let text = format!("client {} is told of {at:?}, after {known}: {asked:?}", story.no);
            return Err(Broken::new("newest", &asked.channel, text));
        }
    }
    Ok(())
}
