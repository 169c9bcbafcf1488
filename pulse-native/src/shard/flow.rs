//! Holding back: while too much is unsent a shard reads from nobody and takes no parcels, so that those who send wait
//! and memory does not grow.
//!
//! What waits for clients that take nothing at all does not count after a while. They would hold up everybody else;
//! and what they may keep is bounded for each of them by its own queue.

use pulse_core::Time;

use super::Shard;
use super::conn::{Conn, Key};
use super::post::Mail;
use crate::engine::Engine;

/// Above this many unsent bytes the shard takes nothing in, until half of it is gone: the kernel's receive buffers then
/// hold the publishers back. Measured with 200 clients publishing flat out to each other: 2 GB resident without a bound,
/// 712 MB with one on the tails alone (2026-11-25).
const UNSENT_MAX: usize = 32 << 20;

#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Not read from, because too much is unsent.
    held: Vec<Key>,
    /// Unsent bytes of clients that took nothing for `stall_timeout_ms`, as of the last look.
    stuck: usize,
    /// When to look for those again.
    pub(super) look_at: Option<Time>,
}

impl<E: Engine> Shard<E> {
    /// Whether so much is unsent that nothing is to be taken in.
    pub(super) fn is_clogged(&self) -> bool {
        self.unsent() > UNSENT_MAX
    }

    /// Whether there is mail that may be taken.
    pub(super) fn has_mail(&self) -> bool {
        self.mail.front().is_some_and(|(_, mail)| !matches!(mail, Mail::Parcel(_)) || !self.is_clogged())
    }

    /// Stops reading from a connection until [`release`](Self::release).
    pub(super) fn hold(&mut self, key: Key) {
        let Some(conn) = self.net.table.get_mut(key) else { return };
        conn.held = true;
        self.flow.held.push(key);
        self.net.out.watch(key, conn);
        self.settle();
    }

    /// Reads from everybody again once enough is sent.
    pub(super) fn release(&mut self) {
        if self.is_clogged() && self.flow.look_at.is_none() {
            self.flow.look_at = Some(self.now.after_ms(self.options.stall_timeout_ms));
        }
        if self.flow.held.is_empty() || self.unsent() > UNSENT_MAX / 2 || self.is_settling() {
            return;
        }
        for key in std::mem::take(&mut self.flow.held) {
            if let Some(conn) = self.net.table.get_mut(key) {
                conn.held = false;
                self.net.out.watch(key, conn);
                conn.session.into_iter().for_each(|session| self.engine.heard(session));
            }
        }
        self.settle();
    }

    /// Finds out what is unsent because its receivers take nothing.
    pub(super) fn look_for_stuck(&mut self) {
        let stall_ms = self.options.stall_timeout_ms;
        self.flow.stuck = 0;
        self.flow.look_at = None;
        if self.unsent() > UNSENT_MAX / 2 {
            let stalled =
                |conn: &Conn| conn.rare.as_ref().is_some_and(|rare| rare.is_stalled(self.now, stall_ms));
            let stuck = self.net.table.iter().filter(|(_, conn)| stalled(conn)).map(|(_, conn)| {
                conn.tail_len() + conn.session.map_or(0, |session| self.engine.queued_bytes(session))
            });
            self.flow.stuck = stuck.sum();
            self.flow.look_at = Some(self.now.after_ms(stall_ms.div_ceil(4)));
            // Whoever is not read from must not be taken for silent.
            let held = self.flow.held.iter().filter_map(|key| self.net.table.get(*key)?.session);
            held.for_each(|session| self.engine.heard(session));
        }
        self.release();
    }

    fn unsent(&self) -> usize {
        (self.net.unsent() + self.engine.backlog_bytes()).saturating_sub(self.flow.stuck)
    }
}
