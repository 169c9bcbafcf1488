//! The process ends, and its clients come back to the next one: with the positions that they had, and with what they published
//! and heard nothing of.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Chaos;
use super::wish::Wish;
use crate::Dialect;
use crate::sim::End;
use crate::sim::model::{self, Mark};

/// A publication with an idempotency key, which may be sent again.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// The driver that sent it first, and under which id.
    pub(super) by: usize,
    pub(super) id: Option<u64>,
    /// Under somebody else's name it would be another one.
    pub(super) user: Option<String>,
    pub(super) channel: &'static str,
    pub(super) mark: Mark,
    pub(super) len: usize,
    pub(super) key: Option<&'static str>,
    pub(super) json: bool,
}

impl Named {
    /// It is sent under this id; with its idempotency key if `is_named`.
    pub(super) fn wish(&self, id: Option<u64>, is_named: bool) -> Wish {
        Wish::Publish {
            id,
            channel: self.channel,
            payload: self.mark.payload(self.len),
            key: self.key,
            name: is_named.then(|| format!("{}.{}", self.mark.client, self.mark.count)),
            json: self.json,
        }
    }
}

impl Chaos {
    /// The process ends, and the next one has another number of routers.
    pub(super) fn restart(&mut self) {
        if self.one_in(2) {
            self.burst();
        }
        let end = if self.one_in(2) { End::Killed } else { End::PowerLost(self.random.below(400)) };
        let open: Vec<usize> =
            (self.num_old..self.drivers.len()).filter(|&at| self.lives(&self.drivers[at])).collect();
        for at in open {
            self.drivers[at].cut = true;
            self.away.push(at);
        }
        self.num_old = self.drivers.len();
        self.routers = 1 + self.random.below(4) as usize;
        let down_ms = if self.one_in(3) { self.random.below(400) } else { self.random.below(20) };
        self.sim.restart(self.routers as u16, end, down_ms);
        if self.one_in(2) {
            // Many are back at once.
            self.sim.run_for(u64::from(down_ms));
            for _ in 0..1 + self.random.below(4) {
                self.come();
            }
        }
    }

    /// Something is published that may be on its way to the disk when the process ends.
    fn burst(&mut self) {
        let open: Vec<usize> =
            (self.num_old..self.drivers.len()).filter(|&at| self.lives(&self.drivers[at])).collect();
        for _ in 0..1 + self.random.below(6) {
            let safe: Vec<&str> =
                self.channels.iter().copied().filter(|channel| model::is_safe(channel)).collect();
            if let (Some(&at), Some(&channel)) = (self.pick(&open), self.pick(&safe)) {
                let wish = self.publication(at, channel, 0);
                self.ask(at, &[wish]);
            }
            let us = self.random.below(4_000);
            self.sim.run_until(self.sim.world.now + u64::from(us));
        }
    }

    /// One whose connection broke has a new one, and goes on where it was.
    pub(super) fn come_back(&mut self) {
        let which = self.random.below(self.away.len() as u32) as usize;
        let old = self.away.swap_remove(which);
        let (no, user) = (self.drivers[old].no, self.drivers[old].user.clone());
        let dialect = self.sim.client(no).dialect();
        let at = self.enter(dialect, user, true);
        let mut wishes = Vec::new();
        for channel in self.drivers[old].wants.clone() {
            let asks = model::is_kept(channel) && dialect != Dialect::Legacy && !self.one_in(8);
            let recover = if asks { self.sim.client(no).position(channel) } else { None };
            let latest = (asks && self.one_in(4)).then(|| u64::from(self.random.below(6)));
            self.drivers[at].wants.insert(channel);
            let (question, id) = (self.new_id(at), self.new_id(at));
            if asks && self.one_in(3) {
                wishes.push(self.question(question, channel));
            }
            wishes.push(Wish::Subscribe { id, channel, recover, latest });
        }
        let open: Vec<Named> = self
            .named
            .iter()
            .filter(|named| {
                named.by == old && !named.id.is_some_and(|id| self.sim.client(no).is_answered(id))
            })
            .cloned()
            .collect();
        if !wishes.is_empty() {
            self.ask(at, &wishes);
        }
        // One after the other: all together may be more than a message may have.
        for named in open {
            let wish = self.repeat(at, &named);
            self.ask(at, &[wish]);
        }
    }

    /// Something is published again by somebody of the same name, answered or not.
    pub(super) fn repeat_any(&mut self, at: usize) -> Option<Wish> {
        let (user, rude) = (self.drivers[at].user.clone(), self.drivers[at].rude);
        let can: Vec<Named> =
            self.named.iter().filter(|named| !rude && named.user == user).cloned().collect();
        let named = self.pick(&can)?.clone();
        Some(self.repeat(at, &named))
    }

    fn repeat(&mut self, at: usize, named: &Named) -> Wish {
        let id = self.new_id(at);
        let with_id = !self.one_in(3);
        named.wish(with_id.then_some(id), true)
    }
}
