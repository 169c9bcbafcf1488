//! What all channels that are at home here keep together: how much it is, and which of them keeps the oldest of it, which gives
//! way where it is too much.
//!
//! Names may take half of the room before any of them gives way. Who misses a publication is told; a name that is not known any
//! more may be a message that is published twice, and nobody notices. But names that could take all of the room would leave no
//! history to those who use none.

use alloc::collections::BTreeSet;

use crate::Time;
use crate::history::Size;

/// What channels keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Publication,
    /// Of a publication that was taken.
    Name,
}

impl Piece {
    pub(super) const ALL: [Self; 2] = [Self::Publication, Self::Name];
}

/// All that is kept.
#[derive(Debug)]
pub(super) struct Bound {
    bytes: usize,
    /// By [`Piece`].
    piles: [Pile; 2],
}

/// All pieces of a kind.
#[derive(Debug, Default)]
struct Pile {
    size: Size,
    gone: u64,
    /// The channels that have any, by the time of their oldest when they were listed. It only gets younger meanwhile, so who is
    /// the first is listed anew or has the oldest of all; and publishing into a channel that is listed costs nothing.
    by_age: BTreeSet<(Time, u32)>,
}

impl Bound {
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes, piles: Default::default() }
    }

    /// Bytes that all may take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How much there is.
    pub(super) fn size(&self, piece: Piece) -> Size {
        self.piles[piece as usize].size
    }

    /// How many have given way.
    pub(super) fn gone(&self, piece: Piece) -> u64 {
        self.piles[piece as usize].gone
    }

    /// What is to give way, if there is too much.
    pub(super) fn excess(&self) -> Option<Piece> {
        let [publications, names] = Piece::ALL.map(|piece| self.size(piece).bytes);
        if publications + names <= self.bytes {
            None
        } else if names > self.bytes / 2 {
            Some(Piece::Name)
        } else {
            Some(Piece::Publication)
        }
    }

    /// A channel had as much, and has as much now.
    #[inline]
    pub(super) fn count(&mut self, piece: Piece, before: Size, after: Size) {
        let size = &mut self.piles[piece as usize].size;
        size.count = size.count - before.count + after.count;
        size.bytes = size.bytes - before.bytes + after.bytes;
    }

    /// So many have given way.
    pub(super) fn give_way(&mut self, piece: Piece, count: usize) {
        self.piles[piece as usize].gone += count as u64;
    }

    /// Lists a channel that is not, by its oldest piece.
    pub(super) fn list(&mut self, piece: Piece, oldest: Time, channel: u32) {
        self.piles[piece as usize].by_age.insert((oldest, channel));
    }

    /// Takes a channel off the list.
    pub(super) fn unlist(&mut self, piece: Piece, listed: Time, channel: u32) {
        self.piles[piece as usize].by_age.remove(&(listed, channel));
    }

    /// Takes the first channel off the list, with the time that it was listed by: that of its oldest, or an earlier one.
    pub(super) fn pop(&mut self, piece: Piece) -> Option<(Time, u32)> {
        self.piles[piece as usize].by_age.pop_first()
    }
}
