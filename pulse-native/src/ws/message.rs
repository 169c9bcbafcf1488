//! A message that has not come whole: fragments, or the parts of a frame that several reads brought.
//!
//! Its memory follows what has arrived, never what was announced, and text is checked as it arrives.

use core::str::from_utf8;

use pulse_core::Kind;

use super::Violation;

#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    bytes: Vec<u8>,
    /// Text: how much of `bytes` is known to be UTF-8. Less than all only by the beginning of one character.
    valid: usize,
}

impl Message {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, bytes: Vec::new(), valid: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends `part`, after which at most `more` bytes may come. Text that no continuation could make UTF-8 is
    /// refused here.
    pub(super) fn append(&mut self, part: &[u8], more: usize) -> Result<(), Violation> {
        let len = self.bytes.len() + part.len();
        if len > self.bytes.capacity() {
            // Doubling moves each byte about once, however many reads bring them. Never twice as much as has arrived
            // makes an announced length cost its sender as much as us, and never more than may come keeps the memory
            // of a message within the message limit.
            self.bytes.reserve_exact(part.len() + more.min(len));
        }
        self.bytes.extend_from_slice(part);
        if self.kind == Kind::Text {
            match from_utf8(&self.bytes[self.valid..]) {
                Ok(_) => self.valid = self.bytes.len(),
                Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
                Err(_) => return Err(Violation::TEXT),
            }
        }
        Ok(())
    }

    /// All of it, once the last byte is there.
    pub(super) fn complete(&self) -> Result<&[u8], Violation> {
        // Invariant: the length of what is valid is that of the text unless a character is cut.
        if self.kind == Kind::Text && self.valid < self.bytes.len() {
            return Err(Violation::TEXT);
        }
        Ok(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_megabyte_in_small_reads_is_moved_few_times_and_takes_no_more_than_a_megabyte() {
        let mut message = Message::new(Kind::Binary);
        let mut capacities = Vec::new();
        for read in 1..=1024 {
            message.append(&[7; 1024], (1024 - read) * 1024).unwrap();
            capacities.push(message.bytes.capacity());
        }
        assert_eq!(message.complete().unwrap().len(), 1 << 20);
        assert_eq!(message.bytes.capacity(), 1 << 20);
        capacities.dedup();
        assert!(capacities.len() <= 11, "{capacities:?}");
    }

    #[test]
    fn an_announced_length_reserves_no_more_than_twice_what_has_arrived() {
        let mut message = Message::new(Kind::Binary);
        message.append(&[0; 100], 1 << 30).unwrap();
        assert!(message.bytes.capacity() <= 200, "{}", message.bytes.capacity());
    }

    #[test]
    fn many_tiny_fragments_are_moved_few_times() {
        let mut message = Message::new(Kind::Text);
        let mut moves = 0;
        for _ in 0..100_000 {
            let before = message.bytes.capacity();
            message.append(b"x", 1 << 20).unwrap();
            moves += usize::from(message.bytes.capacity() != before);
        }
        assert!(moves <= 18, "{moves} reallocations");
    }
}
