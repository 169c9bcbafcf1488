//! Identities that outlive nothing: each carries a generation, so a stale one finds nothing.

use core::num::NonZeroU64;

/// One connection: a 32-bit slot and a 32-bit generation that is never 0.
///
/// A stale id is a quiet no-op in every method of [`Router`](crate::Router), because closing races with everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(NonZeroU64);

impl ConnId {
    /// Puts an id together; a generation of 0 counts as 1.
    ///
    /// ```
    /// let id = pulse_core::ConnId::new(7, 3);
    /// assert_eq!((id.slot(), id.generation()), (7, 3));
    /// assert_eq!(pulse_core::ConnId::from_bits(id.to_bits()), Some(id));
    /// ```
    #[must_use]
    pub fn new(slot: u32, generation: u32) -> Self {
        let generation = u64::from(generation.max(1));
        Self(NonZeroU64::new(generation << 32 | u64::from(slot)).expect("the generation is at least 1"))
    }

    /// The place in the router's table, dense from 0: hosts may index by it.
    #[must_use]
    pub fn slot(self) -> u32 {
        self.0.get() as u32
    }

    /// How often the slot was given out, from 1.
    #[must_use]
    pub fn generation(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    /// The id as one number, for hosts that store it in an event key.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The inverse of [`to_bits`](Self::to_bits); `None` for a number that is no id.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        if bits >> 32 == 0 { None } else { NonZeroU64::new(bits).map(Self) }
    }
}

/// Pairs an [`Effect::Authorize`](crate::Effect::Authorize) with the answer that settles it, or an
/// [`Outcome::Storing`](crate::Outcome::Storing) with what becomes of it; never used twice by one router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) NonZeroU64);
