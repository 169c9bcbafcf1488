//! What a shard drives: the router in production, an echo behind the very same I/O path in tests.

use pulse_core::wire::ErrorCode;
use pulse_core::{
    Answer, BadParcel, Batch, Command, ConnId, Effect, ImportError, Kind, Link, Now, Outcome, PeerId,
    Refused, Restored, Router, Stats, Stored, Ticket, Time,
};

/// The inputs and outputs of [`pulse_core::Router`], so that the I/O path can be tested with another one behind it.
///
/// Inputs of one turn are stacked; then `poll_write` is drained, then `poll_effect`. Stopping early keeps the rest.
pub trait Engine {
    /// Opens a turn: sets its clock, fires what is due.
    fn advance(&mut self, now: Now);
    /// A transport is ready for frames.
    fn open(&mut self, link: Link) -> ConnId;
    /// One whole transport message, unmasked.
    fn receive(&mut self, conn: ConnId, kind: Kind, message: &[u8]);
    /// The client is alive: it sent something that is no message (a control frame, a text ping).
    fn heard(&mut self, conn: ConnId);
    /// `false` after a short write, whose tail the host keeps; `true` once that tail is gone.
    fn set_writable(&mut self, conn: ConnId, writable: bool);
    /// The transport is gone.
    fn closed(&mut self, conn: ConnId);
    /// Settles an [`Effect::Authorize`].
    fn answer(&mut self, ticket: Ticket, answer: Answer);
    /// What the engine of another shard has sent by [`Effect::Send`]. An engine that never sends need not take anything.
    ///
    /// # Errors
    /// If the other engine speaks another language, which ends the server.
    fn peer(&mut self, from: PeerId, parcel: &[u8]) -> Result<(), BadParcel> {
        let _ = (from, parcel);
        Ok(())
    }
    /// `false` when enough waits for that shard: it is sent no more until `true`.
    fn set_peer_writable(&mut self, peer: PeerId, writable: bool) {
        let _ = (peer, writable);
    }
    /// Another shard has ended.
    fn peer_lost(&mut self, peer: PeerId) {
        let _ = peer;
    }
    /// Does what the host itself wants. An engine that has nothing to do with channels need not do anything.
    ///
    /// # Errors
    /// What a caller of the HTTP API is to be told.
    fn command(&mut self, command: &Command<'_>) -> Result<Outcome, Refused> {
        let _ = command;
        Err(Refused { code: ErrorCode::NOT_AVAILABLE, message: ErrorCode::NOT_AVAILABLE.text() })
    }
    /// What the engine would do with a channel that was stored.
    fn restores(&self, channel: &str) -> Restored {
        let _ = channel;
        Restored::NotDurable
    }
    /// Takes back a channel that was stored.
    ///
    /// # Errors
    /// If no engine has stored that.
    fn restore(&mut self, stored: &Stored<'_>) -> Result<Restored, ImportError> {
        Ok(self.restores(stored.channel))
    }
    /// What [`Effect::Store`] asked for is on disk.
    fn stored(&mut self, sequence: u64) {
        let _ = sequence;
    }
    /// What [`Effect::Store`] asked for is not on disk.
    fn not_stored(&mut self, sequence: u64, reason: &'static str) {
        let _ = (sequence, reason);
    }
    /// Whether somebody is not answered yet because something is not on disk yet.
    fn is_storing(&self) -> bool {
        false
    }
    /// The turn holds as much as it should: drain before the next input.
    fn is_full(&self) -> bool;
    /// Tells every client to go and to come back within `spread_ms`.
    fn drain(&mut self, spread_ms: u32);
    /// The next bytes for some connections.
    fn poll_write(&mut self) -> Option<Batch<'_>>;
    /// The next thing that only a host can do.
    fn poll_effect(&mut self) -> Option<Effect>;
    /// When `advance` is due at the latest.
    fn poll_timeout(&self) -> Option<Time>;
    /// Bytes that wait for this connection within the engine.
    fn queued_bytes(&self, conn: ConnId) -> usize {
        let _ = conn;
        0
    }
    /// Bytes that wait for all connections within the engine: with them a host decides to read from nobody.
    fn backlog_bytes(&self) -> usize {
        0
    }
    /// Counters for metrics.
    fn stats(&self) -> Stats;
}

impl Engine for Router {
    fn advance(&mut self, now: Now) {
        self.advance(now);
    }
    fn open(&mut self, link: Link) -> ConnId {
        self.open(link)
    }
    fn receive(&mut self, conn: ConnId, kind: Kind, message: &[u8]) {
        self.receive(conn, kind, message);
    }
    fn heard(&mut self, conn: ConnId) {
        self.heard(conn);
    }
    fn set_writable(&mut self, conn: ConnId, writable: bool) {
        self.set_writable(conn, writable);
    }
    fn closed(&mut self, conn: ConnId) {
        self.closed(conn);
    }
    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.answer(ticket, answer);
    }
    fn peer(&mut self, from: PeerId, parcel: &[u8]) -> Result<(), BadParcel> {
        self.peer(from, parcel)
    }
    fn set_peer_writable(&mut self, peer: PeerId, writable: bool) {
        self.set_peer_writable(peer, writable);
    }
    fn peer_lost(&mut self, peer: PeerId) {
        self.peer_lost(peer);
    }
    fn command(&mut self, command: &Command<'_>) -> Result<Outcome, Refused> {
        self.command(command)
    }
    fn restores(&self, channel: &str) -> Restored {
        self.restores(channel)
    }
    fn restore(&mut self, stored: &Stored<'_>) -> Result<Restored, ImportError> {
        self.restore(stored)
    }
    fn stored(&mut self, sequence: u64) {
        self.stored(sequence);
    }
    fn not_stored(&mut self, sequence: u64, reason: &'static str) {
        self.not_stored(sequence, reason);
    }
    fn is_storing(&self) -> bool {
        self.is_storing()
    }
    fn is_full(&self) -> bool {
        self.is_full()
    }
    fn drain(&mut self, spread_ms: u32) {
        self.drain(spread_ms);
    }
    fn poll_write(&mut self) -> Option<Batch<'_>> {
        self.poll_write()
    }
    fn poll_effect(&mut self) -> Option<Effect> {
        self.poll_effect()
    }
    fn poll_timeout(&self) -> Option<Time> {
        self.poll_timeout()
    }
    fn queued_bytes(&self, conn: ConnId) -> usize {
        self.queued_bytes(conn)
    }
    fn backlog_bytes(&self) -> usize {
        self.backlog_bytes()
    }
    fn stats(&self) -> Stats {
        self.stats()
    }
}
