//! What one receiver got of what many publishers numbered.

/// Bytes of a [`stamp`](Ledger::stamp).
pub(crate) const STAMP: usize = 12;

/// One receiver's account.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// By publisher: the number after the newest one that came.
    next: Vec<u64>,
    /// Publications that came in order.
    pub(crate) received: u64,
    /// Publications that it was told it would not get.
    pub(crate) told: u64,
    /// Publications that came twice, or after a later one of the same publisher.
    pub(crate) disordered: u64,
    /// Stands for all publications in the order in which they came: equal for receivers with the same order.
    pub(crate) order: u64,
}

impl Ledger {
    /// An account with nothing in it.
    pub(crate) fn new(publishers: usize) -> Self {
        Self { next: vec![0; publishers], received: 0, told: 0, disordered: 0, order: 0 }
    }

    /// What the payload of a publication begins with.
    pub(crate) fn stamp(publisher: u32, number: u64) -> [u8; STAMP] {
        let mut stamp = [0; STAMP];
        stamp[..4].copy_from_slice(&publisher.to_be_bytes());
        stamp[4..].copy_from_slice(&number.to_be_bytes());
        stamp
    }

    /// Enters a publication with this payload.
    pub(crate) fn take(&mut self, payload: &[u8]) {
        let Some((publisher, number)) = read(payload) else { return };
        let Some(next) = self.next.get_mut(publisher as usize) else { return };
        if number < *next {
            self.disordered += 1;
            return;
        }
        *next = number + 1;
        self.received += 1;
        let one = (u64::from(publisher) << 40) ^ number;
        self.order = (self.order.rotate_left(5) ^ one).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

fn read(payload: &[u8]) -> Option<(u32, u64)> {
    let (publisher, rest) = payload.split_first_chunk()?;
    let (number, _) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*publisher), u64::from_be_bytes(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_tells_order_loss_and_repetition_apart() {
        let ledger = |entries: &[(u32, u64)]| {
            let mut ledger = Ledger::new(2);
            entries.iter().for_each(|&(publisher, number)| ledger.take(&Ledger::stamp(publisher, number)));
            ledger
        };
        let whole = ledger(&[(0, 0), (1, 0), (0, 1)]);
        assert_eq!((whole.received, whole.disordered), (3, 0));
        assert_eq!(whole.order, ledger(&[(0, 0), (1, 0), (0, 1)]).order);
        assert_ne!(whole.order, ledger(&[(1, 0), (0, 0), (0, 1)]).order);
        assert_eq!(ledger(&[(0, 0), (0, 2)]).received, 2);
        let repeated = ledger(&[(0, 0), (0, 0), (1, 1), (1, 0)]);
        assert_eq!((repeated.received, repeated.disordered), (2, 2));
    }
}
