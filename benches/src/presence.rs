//! Some of many members of one channel leave while as many others join.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use pulse_core::wire::{self, Frame, Presence, PresenceAction, Value};

use crate::client::{complaint, is_subscribed, message};
use crate::{Client, Dialect, Process, Server, Storm};

/// The id of every request about presence.
const PRESENCE_ID: u64 = 2;

/// How long the last change may take to reach everybody. Changes are told every `members / 10` ms.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many are present, and how many of them change places with others.
#[derive(Clone, Copy, Debug)]
pub struct Turnover {
    /// Members before and after.
    pub members: usize,
    /// Members that leave, and clients that join, all at once.
    pub changing: usize,
}

/// What it cost. Everybody in the channel is told: members, those who have left and those who join.
#[derive(Clone, Copy, Debug, Default)]
pub struct TurnoverResult {
    /// The server's CPU time until all had joined at first, and everybody was told, for each member.
    pub joining_us: f64,
    /// Frames of presence for each client after the turnover.
    pub frames: f64,
    /// Bytes of these frames for each client.
    pub bytes: f64,
    /// The server's CPU time for each client, from the turnover until everybody was told all of it.
    pub cpu_us: f64,
    /// From the turnover until everybody was told all of it.
    pub elapsed: Duration,
    /// Clients that were not told of as many changes as there were, or other totals.
    pub untold: u64,
    /// This program's own share of one CPU, in per cent.
    pub own_cpu: f64,
}

/// What one client was told.
#[derive(Clone, Copy, Default)]
struct Told {
    frames: u64,
    bytes: u64,
    changes: u64,
    /// The total in the newest frame.
    clients: u64,
}

impl Turnover {
    /// Runs it.
    ///
    /// # Errors
    /// If a client cannot connect, subscribe or join, or is disconnected.
    pub fn run(self, server: &Server) -> Result<TurnoverResult, Box<dyn Error>> {
        let Self { members, changing } = self;
        let everybody = members + changing;
        let dialect = Dialect::V1;
        let (process, own) = (server.process(), Process::new(std::process::id()));
        let mut crowd = Storm { count: everybody, at_once: 256 }.gather(
            server,
            dialect,
            &[Client::opening(dialect, "room")],
            |_, frame| is_subscribed(frame, dialect),
        )?;
        let mut told = vec![Told::default(); everybody];
        let mut buffer = vec![0; 1 << 20];

        let (cpu, mut joined) = (process.cpu(), 0);
        for batch in (0..members).step_by(256) {
            let end = (batch + 256).min(members);
            crowd.clients[batch..end].iter_mut().try_for_each(|client| client.write_all(&request(true)))?;
            while joined < end {
                crowd.wait(PATIENCE, |client, n| read(client, &mut buffer, &mut told[n], &mut joined))?;
            }
        }
        let all = |told: &Told| told.clients == members as u64;
        while !told.iter().all(all) {
            crowd.wait(PATIENCE, |client, n| read(client, &mut buffer, &mut told[n], &mut joined))?;
        }
        let joining = process.cpu() - cpu;

        // Long enough after the last notice the next change is told at once: from there on each round is alike.
        let (quiet, interval) = (Instant::now(), Duration::from_millis(members as u64 / 10 + 100));
        while let Some(left) = interval.checked_sub(quiet.elapsed()) {
            match crowd.wait(left, |client, n| read(client, &mut buffer, &mut told[n], &mut joined)) {
                Err(error) if error.kind() != ErrorKind::TimedOut => return Err(error.into()),
                _ => {}
            }
        }
        told.fill(Told::default());
        let (cpu, own_cpu, begin) = (process.cpu(), own.cpu(), Instant::now());
        for n in 0..changing {
            crowd.clients[n].write_all(&request(false))?;
            crowd.clients[members + n].write_all(&request(true))?;
        }
        let due = 2 * changing as u64;
        let whole = |told: &&Told| told.changes == due && told.clients == members as u64;
        while told.iter().filter(whole).count() < everybody && begin.elapsed() < PATIENCE {
            crowd.wait(PATIENCE, |client, n| read(client, &mut buffer, &mut told[n], &mut joined))?;
        }
        let (elapsed, cpu) = (begin.elapsed(), process.cpu() - cpu);
        let each = |sum: u64| sum as f64 / everybody as f64;
        Ok(TurnoverResult {
            joining_us: joining.as_secs_f64() * 1e6 / members as f64,
            frames: each(told.iter().map(|told| told.frames).sum()),
            bytes: each(told.iter().map(|told| told.bytes).sum()),
            cpu_us: cpu.as_secs_f64() * 1e6 / everybody as f64,
            elapsed,
            untold: (everybody - told.iter().filter(whole).count()) as u64,
            own_cpu: 100.0 * (own.cpu() - own_cpu).as_secs_f64() / elapsed.as_secs_f64(),
        })
    }
}

/// A message that joins or leaves.
fn request(join: bool) -> Vec<u8> {
    let data = b"\x81\xa4name\xa3Ada";
    let presence = Presence {
        id: PRESENCE_ID,
        channel: "room",
        action: if join { PresenceAction::Join } else { PresenceAction::Leave },
        data: Value::new(data).filter(|_| join),
        ..Presence::default()
    };
    let mut out = Vec::new();
    message(&mut out, |out| Frame::Presence(presence).encode(out));
    out
}

fn read(client: &mut Client, buffer: &mut [u8], told: &mut Told, answers: &mut usize) -> io::Result<()> {
    let mut refused = None;
    client.read_some(buffer, |frame| match wire::decode(frame) {
        Ok(Frame::Presence(presence)) if presence.id == 0 => {
            told.frames += 1;
            told.bytes += frame.len() as u64 + 4;
            told.changes += presence.changes.map_or(1, |changes| changes.len() as u64);
            told.clients = presence.clients.unwrap_or(told.clients);
        }
        Ok(Frame::Ack(ack)) if ack.id == PRESENCE_ID => *answers += 1,
        Ok(frame) => refused = refused.take().or_else(|| complaint(&frame)),
        Err(_) => {}
    })?;
    refused.map_or(Ok(()), Err)
}
