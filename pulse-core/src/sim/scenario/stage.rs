//! The simulation as a stage.

use alloc::vec::Vec;

use crate::random::Seed;
use crate::sim::{ClientNo, Sim, SimConfig, What};
use crate::wire::Frame;
use crate::{Dialect, Kind};

use super::{Got, Stage};

/// Milliseconds of virtual time that it waits for something to come.
const PATIENCE_MS: u64 = 30_000;

/// A stage in virtual time. Clients are connected to one router after another.
#[derive(Debug)]
pub struct SimStage {
    sim: Sim,
    routers: usize,
    /// By client: how much of its log was returned.
    read: Vec<usize>,
}

impl SimStage {
    /// A stage with so many routers.
    #[must_use]
    pub fn new(routers: u16, seed: Seed) -> Self {
        let config = SimConfig { routers, router: super::config(), ..SimConfig::default() };
        Self { sim: Sim::new(&config, seed), routers: usize::from(routers), read: Vec::new() }
    }

    fn got(&mut self, client: ClientNo) -> Option<Got> {
        let log = self.sim.client(client).log();
        while let Some(entry) = log.get(self.read[client.0]) {
            self.read[client.0] += 1;
            match &entry.what {
                What::Got(frame) if !matches!(frame.get(), Frame::Ping { .. }) => {
                    return Some(Got::Frame(frame.clone()));
                }
                What::Ended(code) => return Some(Got::End(*code)),
                _ => {}
            }
        }
        None
    }
}

impl Stage for SimStage {
    fn open(&mut self, dialect: Dialect) -> ClientNo {
        self.read.push(0);
        self.sim.open(dialect, (self.read.len() - 1) % self.routers)
    }

    fn dialect(&self, client: ClientNo) -> Dialect {
        self.sim.client(client).dialect()
    }

    fn send(&mut self, client: ClientNo, kind: Kind, message: &[u8]) {
        self.sim.send_raw(client, kind, message);
    }

    fn next(&mut self, client: ClientNo) -> Got {
        let patience = self.sim.now_ms() + PATIENCE_MS;
        loop {
            if let Some(got) = self.got(client) {
                return got;
            }
            assert!(
                self.sim.step(patience * 1000),
                "client {} waits for something, and nothing comes within {PATIENCE_MS} ms",
                client.0
            );
        }
    }

    fn stop_reading(&mut self, client: ClientNo) {
        self.sim.stop_reading(client);
    }

    fn resume_reading(&mut self, client: ClientNo) {
        self.sim.resume_reading(client);
    }

    fn hang_up(&mut self, client: ClientNo) {
        self.sim.hang_up(client);
    }

    fn pass(&mut self, ms: u64) {
        self.sim.run_for(ms);
    }
}
