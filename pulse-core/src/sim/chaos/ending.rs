//! The end of a random run: all is well again, everybody looks, everybody goes, and nothing stays behind.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::Dialect;
use crate::wire::Frame;

use super::Chaos;
use super::wish::Wish;
use crate::sim::model::{self, Weather};
use crate::sim::{ClientNo, What};

impl Chaos {
    /// All is well again, and everything that waits is delivered; then each channel gets one more publication.
    /// Returns who has asked for the whole of what is on disk.
    pub(super) fn settle(&mut self) -> Result<ClientNo, model::Broken> {
        self.return_all();
        for at in 0..self.drivers.len() {
            self.sim.resume_reading(self.drivers[at].no);
        }
        for a in 0..self.routers {
            (0..a).for_each(|b| self.sim.heal(b, a));
        }
        self.calm_down()?;
        for channel in self.channels.clone() {
            let open: Vec<usize> =
                (0..self.drivers.len()).filter(|&at| self.lives(&self.drivers[at])).collect();
            if let Some(&at) = self.pick(&open) {
                let wish = self.publication(at, channel, 0);
                self.ask(at, &[wish]);
            }
        }
        self.calm_down()?;
        let visitor = self.read_all();
        self.look()?;
        Ok(visitor)
    }

    /// A process runs, and some who were away are there again.
    fn return_all(&mut self) {
        while !self.sim.is_up() {
            self.sim.run_for(20);
        }
        for _ in 0..self.away.len().min(4) {
            self.come_back();
        }
    }

    /// Somebody who was never there asks for all that is kept in each channel that is on disk.
    fn read_all(&mut self) -> ClientNo {
        let at = self.enter(Dialect::V1, None, true);
        for channel in self.channels.clone().into_iter().filter(|channel| model::is_safe(channel)) {
            let mut since = None;
            loop {
                let id = self.new_id(at);
                self.ask(at, &[Wish::History { id, channel, since, limit: None, reverse: false }]);
                let Some((epoch, top, last)) = self.page_of_history(at, id) else { break };
                if last.is_none_or(|last| last == top) {
                    break;
                }
                since = last.map(|last| (epoch, last));
            }
        }
        self.drivers[at].no
    }

    /// The position that a page of history says, and the number of the last publication on it.
    fn page_of_history(&mut self, at: usize, id: u64) -> Option<(String, u64, Option<u64>)> {
        self.wait_for(at, id);
        self.sim.client(self.drivers[at].no).log().iter().rev().find_map(|entry| {
            let What::Got(frame) = &entry.what else { return None };
            let Frame::History(page) = frame.get() else { return None };
            let last = page.publications.filter(|_| page.id == id)?.iter().last();
            Some((page.epoch?.to_string(), page.offset?, last.and_then(|last| last.offset)))
        })
    }

    /// Until a question is answered, or for long enough.
    fn wait_for(&mut self, at: usize, id: u64) {
        for _ in 0..20 {
            self.sim.run_for(20);
            if model::is_answered(self.sim.client(self.drivers[at].no), id) {
                break;
            }
        }
    }

    /// Everybody who is left looks who is there, some all at once and some page by page.
    fn look(&mut self) -> Result<(), model::Broken> {
        for channel in self.channels.clone() {
            for at in 0..self.drivers.len() {
                if !self.lives(&self.drivers[at]) {
                    continue;
                }
                let id = self.new_id(at);
                self.ask(at, &[Wish::Page { id, channel, after: None, limit: None }]);
                let Some((all, _)) = self.page(at, id) else { continue };
                let (mut pages, mut after) = (Vec::new(), None);
                loop {
                    let (id, limit) = (self.new_id(at), Some(1 + u64::from(self.random.below(3))));
                    self.ask(at, &[Wish::Page { id, channel, after, limit }]);
                    let Some((page, next)) = self.page(at, id) else { break };
                    pages.extend(page);
                    after = next;
                    if after.is_none() || pages.len() > all.len() {
                        break;
                    }
                }
                if pages != all {
                    let text = format!("client {at} sees {all:?}, and page by page {pages:?}");
                    return Err(self.broken("presence", text));
                }
            }
        }
        self.calm_down()
    }

    /// The names on a page that a client asked for, and what is to be asked next; `None` if it got none.
    fn page(&mut self, at: usize, id: u64) -> Option<(Vec<String>, Option<String>)> {
        self.wait_for(at, id);
        self.sim.client(self.drivers[at].no).log().iter().rev().find_map(|entry| {
            let What::Got(frame) = &entry.what else { return None };
            let Frame::Presence(page) = frame.get() else { return None };
            let names =
                page.members.filter(|_| page.id == id)?.iter().map(|member| member.client.to_string());
            Some((names.collect(), page.next.map(ToString::to_string)))
        })
    }

    /// Time passes until nothing waits any more.
    fn calm_down(&mut self) -> Result<(), model::Broken> {
        self.sim.run_for(3_000);
        for _ in 0..100 {
            if self.sim.queued_bytes() == 0 {
                return Ok(());
            }
            self.sim.run_for(1_000);
        }
        Err(self.broken("counters", format!("{} bytes wait for readers for ever", self.sim.queued_bytes())))
    }

    /// What routers count is what clients know.
    pub(super) fn judge_counters(&self) -> Result<(), model::Broken> {
        let open = self.drivers.iter().filter(|driver| self.lives(driver)).count() as u64;
        let connections: u64 = self.sim.stats().map(|stats| stats.connections).sum();
        if connections != open {
            return Err(self.broken("counters", format!("{connections} connections, {open} clients")));
        }
        let inside = model::subscriptions(self.sim.clients())?;
        let subscriptions: u64 = self.sim.stats().map(|stats| stats.subscriptions).sum();
        // A channel that was too many when its home came back has ended, and old clients are not told.
        let expelled = self.weather.partitions && self.weather.small;
        if subscriptions != inside && !expelled {
            return Err(
                self.broken("counters", format!("{subscriptions} subscriptions, clients know of {inside}"))
            );
        }
        Ok(())
    }

    /// Everybody goes, and nothing stays behind.
    pub(super) fn leave(&mut self) -> Result<(), model::Broken> {
        for at in 0..self.drivers.len() {
            self.sim.hang_up(self.drivers[at].no);
        }
        // Longer than the grace of those who were present, and than history is kept.
        self.sim.run_for(2_000 + u64::from(model::HISTORY_TTL_MS.max(model::WINDOW_MS)));
        for (router, stats) in self.sim.stats().enumerate() {
            let left = (stats.connections, stats.subscriptions, stats.channels, stats.members);
            if left != (0, 0, 0, 0) {
                let text =
                    format!("router {router} keeps {left:?} connections, subscriptions, channels, members");
                return Err(self.broken("counters", text));
            }
        }
        for channel in &self.channels {
            if self.sim.knows(channel) {
                return Err(
                    self.broken("counters", format!("channel {channel} is kept, at home or in a leaf"))
                );
            }
        }
        // That a channel is forgotten may be lost where the disk takes nothing meanwhile: then it is forgotten at the next start.
        let Weather { leaps, small, full, overload, .. } = self.weather;
        let left = self.sim.stored_channels().next().filter(|_| !((leaps || small) && (full || overload)));
        if let Some(channel) = left {
            return Err(self.broken("counters", format!("channel {channel} stays on the disk")));
        }
        Ok(())
    }
}
