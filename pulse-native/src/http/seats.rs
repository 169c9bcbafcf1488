//! How many WebSockets may be open in this process, over all shards, and how many of one address.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::address::Neighbours;

/// Counts the open WebSockets. A seat is taken with the upgrade and given back when the socket is closed.
#[derive(Debug)]
pub struct Seats {
    taken: AtomicUsize,
    max: usize,
    /// For one address; `usize::MAX` where nobody counts them.
    max_of_one: usize,
    by_address: Mutex<HashMap<Neighbours, usize>>,
}

/// Why no seat is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All are taken.
    All,
    /// As many as one address may have are taken from this one.
    OfOne,
}

impl Seats {
    /// `max_of_one` of 0 does not count by address.
    pub(crate) fn new(max: usize, max_of_one: usize) -> Self {
        let max_of_one = if max_of_one == 0 { usize::MAX } else { max_of_one };
        Self { taken: AtomicUsize::new(0), max, max_of_one, by_address: Mutex::default() }
    }

    /// Open WebSockets, those that are being closed included.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// Whether it matters where a client comes from.
    pub(crate) fn count_addresses(&self) -> bool {
        self.max_of_one < usize::MAX
    }

    /// Takes a seat if one is free; [`leave`](Self::leave) gives it back. `whose` is there where addresses count.
    pub(crate) fn take(&self, whose: Option<Neighbours>) -> Result<(), Taken> {
        let free = |taken| (taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, free).map_err(|_| Taken::All)?;
        if let Some(whose) = whose {
            let mut by_address = self.by_address();
            let count = by_address.entry(whose).or_default();
            if *count >= self.max_of_one {
                drop(by_address);
                self.taken.fetch_sub(1, Relaxed);
                return Err(Taken::OfOne);
            }
            *count += 1;
        }
        Ok(())
    }

    pub(crate) fn leave(&self, whose: Option<Neighbours>) {
        self.taken.fetch_sub(1, Relaxed);
        if let Some(whose) = whose {
            let mut by_address = self.by_address();
            let count = by_address.get_mut(&whose).expect("who leaves has taken a seat");
            *count -= 1;
            if *count == 0 {
                by_address.remove(&whose);
            }
        }
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<Neighbours, usize>> {
        // Nothing under the lock panics halfway through a change.
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A seat on its way to a shard; dropped on the way, it is free again.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Option<Arc<Seats>>,
    whose: Option<Neighbours>,
}

impl Seat {
    pub(crate) fn take(seats: &Arc<Seats>, whose: Option<Neighbours>) -> Result<Self, Taken> {
        seats.take(whose)?;
        Ok(Self { seats: Some(Arc::clone(seats)), whose })
    }

    /// The seat stays taken: whoever calls this gives it back by [`Seats::leave`], with what this returns.
    pub(crate) fn keep(mut self) -> Option<Neighbours> {
        self.seats = None;
        self.whose
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(seats) = &self.seats {
            seats.leave(self.whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Peer;

    #[test]
    fn a_seat_that_is_lost_on_the_way_is_free_again() {
        let seats = Arc::new(Seats::new(2, 0));
        assert_eq!(Seat::take(&seats, None).unwrap().keep(), None);
        let second = Seat::take(&seats, None).unwrap();
        assert_eq!(Seat::take(&seats, None).unwrap_err(), Taken::All);
        drop(second);
        assert_eq!(seats.taken(), 1);
        assert_eq!((seats.take(None), seats.take(None)), (Ok(()), Err(Taken::All)));
    }

    #[test]
    fn one_address_has_so_many_seats_and_is_forgotten_with_the_last() {
        let seats = Arc::new(Seats::new(10, 2));
        let [a, b] =
            ["1.2.3.4", "2001:db8::1"].map(|text| Some(Neighbours::of(Peer::Ip(text.parse().unwrap()))));
        let first = Seat::take(&seats, a).unwrap();
        assert_eq!((seats.take(a), seats.take(a), seats.take(b)), (Ok(()), Err(Taken::OfOne), Ok(())));
        assert_eq!(seats.taken(), 3, "who got none has not taken one");
        drop(first);
        seats.leave(a);
        assert_eq!(seats.by_address().len(), 1);
        assert_eq!(seats.take(a), Ok(()));
    }
}
