//! What waits for the application in one subscription, within a bound of bytes.

use std::{collections::VecDeque, task::Waker};

use tokio::sync::oneshot;

use super::{Event, Gap, RequestError};

/// How many bounds of bytes are kept at the very most: see [`Feed::push`].
const OVERRUN: usize = 2;

#[derive(Debug)]
pub(super) struct Feed {
    events: VecDeque<Event>,
    bytes: usize,
    bound: usize,
    /// Nothing more will come.
    over: bool,
    waker: Option<Waker>,
    /// Whoever waits for the first answer to the subscription.
    opening: Option<oneshot::Sender<Result<(), RequestError>>>,
}

impl Feed {
    pub(super) fn new(bound: usize, opening: oneshot::Sender<Result<(), RequestError>>) -> Self {
        Self { events: VecDeque::new(), bytes: 0, bound, over: false, waker: None, opening: Some(opening) }
    }

    /// Answers whoever waits for the first answer. `false` if nobody does any more.
    pub(super) fn answer(&mut self, answer: Result<(), RequestError>) -> bool {
        // Whoever has dropped the future has dropped the subscription with it.
        self.opening.take().is_some_and(|opening| opening.send(answer).is_ok())
    }

    /// Whether somebody still waits for the first answer.
    pub(super) fn is_opening(&self) -> bool {
        self.opening.is_some()
    }

    /// Whether so much waits that no more should be read.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > self.bound
    }

    /// Appends an event. Reading stops at the bound, but where it must not since an answer is waited for, twice as much
    /// may come together; then the oldest publications and changes of presence give way, and a gap says so in their place.
    pub(super) fn push(&mut self, event: Event) {
        self.bytes += event.size();
        self.events.push_back(event);
        if self.bytes > OVERRUN * self.bound {
            self.give_way();
        }
        self.wake();
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        self.over = true;
        self.wake();
    }

    /// The next event; `Some(None)` after the last one, `None` where it has to be waited for.
    pub(super) fn pop(&mut self, waker: &Waker) -> Option<Option<Event>> {
        let event = self.try_pop();
        if event.is_some() || self.over {
            return Some(event);
        }
        self.waker = Some(waker.clone());
        None
    }

    pub(super) fn try_pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.bytes -= event.size();
        Some(event)
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Drops the oldest until what is left is within the bound; the newest stays, however large it is.
    fn give_way(&mut self) {
        let mut lost = 0;
        while self.bytes > self.bound {
            let gives_way = |event: &Event| matches!(event, Event::Publication(_) | Event::Presence(_));
            let older = self.events.len() - 1;
            let Some(at) = self.events.iter().take(older).position(gives_way) else { break };
            let event = self.events.remove(at).expect("its place was found just now");
            self.bytes -= event.size();
            lost += u64::from(matches!(event, Event::Publication(_)));
        }
        if lost == 0 {
            return;
        }
        // What is told of losses adds up to one gap at the front.
        if let Some(Event::Gap(Gap { count: Some(count), reason, .. })) = self.events.front_mut()
            && reason == LOST
        {
            *count += lost;
            return;
        }
        let gap = Event::Gap(Gap { reason: LOST.to_owned(), count: Some(lost), ..Gap::default() });
        self.bytes += gap.size();
        self.events.push_front(gap);
    }
}

/// The `reason` of gaps that arise here.
const LOST: &str = "slow_application";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Publication;

    fn feed(bound: usize) -> Feed {
        Feed::new(bound, oneshot::channel().0)
    }

    fn publication(number: u8) -> Event {
        Event::Publication(Publication { payload: vec![number; 100], ..Publication::default() })
    }

    #[test]
    fn it_is_full_from_its_bound_until_enough_is_taken() {
        let size = publication(0).size();
        let mut feed = feed(2 * size);
        for number in 0..3 {
            assert!(!feed.is_full(), "{number}");
            feed.push(publication(number));
        }
        assert!(feed.is_full());
        assert_eq!(feed.try_pop(), Some(publication(0)));
        assert!(!feed.is_full());
    }

    #[test]
    fn what_does_not_fit_gives_way_and_a_gap_counts_it() {
        let size = publication(0).size();
        let mut feed = feed(10 * size);
        let resumed = Event::Resumed { recovered: None };
        feed.push(resumed.clone());
        (0..100).for_each(|number| feed.push(publication(number)));
        let (mut events, mut lost) = (Vec::new(), 0);
        while let Some(event) = feed.try_pop() {
            match event {
                Event::Gap(gap) => lost += gap.count.expect("it was counted"),
                event => events.push(event),
            }
        }
        assert_eq!(events.remove(0), resumed, "only publications give way");
        assert_eq!(lost + events.len() as u64, 100);
        let kept: Vec<_> = (100 - events.len() as u8..100).map(publication).collect();
        assert_eq!(events, kept, "the newest are kept, in order");
        assert!((8..=21).contains(&kept.len()), "{} are kept", kept.len());
        assert_eq!(feed.bytes, 0);
    }

    #[test]
    fn what_alone_is_more_than_the_bound_is_kept() {
        let mut feed = feed(10);
        feed.push(publication(1));
        assert_eq!(feed.try_pop(), Some(publication(1)));
    }
}
