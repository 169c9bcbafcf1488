//! How many WebSockets may be open in this process, over all shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts the open WebSockets. A seat is taken with the upgrade and given back when the socket is closed.
#[derive(Debug)]
pub struct Seats {
    taken: AtomicUsize,
    max: usize,
}

impl Seats {
    pub(crate) fn new(max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), max }
    }

    /// Open WebSockets, those that are being closed included.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// Takes a seat if one is free; [`leave`](Self::leave) gives it back.
    pub(crate) fn take(&self) -> bool {
        self.taken.fetch_update(Relaxed, Relaxed, |taken| (taken < self.max).then_some(taken + 1)).is_ok()
    }

    pub(crate) fn leave(&self) {
        self.taken.fetch_sub(1, Relaxed);
    }
}

/// A seat on its way to a shard; dropped on the way, it is free again.
#[derive(Debug)]
pub(crate) struct Seat(Option<Arc<Seats>>);

impl Seat {
    pub(crate) fn take(seats: &Arc<Seats>) -> Option<Self> {
        seats.take().then(|| Self(Some(Arc::clone(seats))))
    }

    /// The seat stays taken: whoever calls this gives it back by [`Seats::leave`].
    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(seats) = &self.0 {
            seats.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_that_is_lost_on_the_way_is_free_again() {
        let seats = Arc::new(Seats::new(2));
        Seat::take(&seats).unwrap().keep();
        let second = Seat::take(&seats).unwrap();
        assert!(Seat::take(&seats).is_none());
        drop(second);
        assert_eq!(seats.taken(), 1);
        assert!(seats.take());
        assert!(!seats.take());
    }
}
