//! The queues of the connections that take nothing for now, and how much they hold together.

use hashbrown::HashMap;

use crate::queue::Queue;

/// By slot.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    queues: HashMap<u32, Queue, foldhash::fast::FixedState>,
    /// Of all queues: what a host holds its readers back by.
    bytes: usize,
}

impl Backlog {
    pub(super) fn insert(&mut self, slot: u32, queue: Queue) {
        self.bytes += queue.bytes();
        let before = self.queues.insert(slot, queue);
        debug_assert!(before.is_none(), "a connection has one queue");
    }

    /// Forgets a queue and what is in it.
    pub(super) fn remove(&mut self, slot: u32) {
        if let Some(queue) = self.queues.remove(&slot) {
            self.bytes -= queue.bytes();
        }
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Queue> {
        self.queues.get(&slot)
    }

    /// Changes a queue, if there is one; returns what `change` does.
    pub(super) fn change<T>(&mut self, slot: u32, change: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        let queue = self.queues.get_mut(&slot)?;
        let before = queue.bytes();
        let result = change(queue);
        self.bytes = self.bytes - before + queue.bytes();
        Some(result)
    }

    /// What all of them hold, with what the lists themselves take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::Dialect;
    use crate::queue::Meta;
    use alloc::vec;

    #[test]
    fn the_sum_follows_every_change() {
        let mut backlog = Backlog::default();
        for slot in [3, 4] {
            backlog.insert(slot, Queue::new(Dialect::V1));
            for _ in 0..=slot {
                let pushed = backlog.change(slot, |queue| queue.push(Meta::CONTROL, &[0; 36], 1 << 20));
                assert_eq!(pushed, Some(Ok(0)));
            }
        }
        assert_eq!(backlog.bytes(), 9 * 100);
        assert_eq!(backlog.change(9, |queue| queue.clear()), None, "it has no queue");
        let taken = backlog.change(3, |queue| queue.take(&mut vec![], |_| ""));
        assert_eq!((taken, backlog.bytes()), (Some(4), 500));
        backlog.remove(4);
        backlog.remove(4);
        assert_eq!(backlog.bytes(), 0);
    }
}
