//! One publisher at a steady rate to many subscribers: latency, loss and order of every delivery.

use std::error::Error;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use pulse_core::wire::{self, Frame};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::{Client, Dialect, Histogram, Process, Server};

/// What is published, and to how many.
#[derive(Clone, Copy, Debug)]
pub struct FanOut {
    /// Subscribers.
    pub subscribers: usize,
    /// Publications a second.
    pub rate: u64,
    /// Bytes of payload, at least 16: number and intended time stand in it.
    pub size: usize,
    /// How long.
    pub time: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct FanOutResult {
    /// From the moment at which a publication was due to each subscriber's read, in microseconds. Publications that
    /// leave late are counted from when they were due, so a stalled server is not flattered (open loop).
    pub latency: Histogram,
    /// Deliveries that never came.
    pub lost: u64,
    /// Deliveries that came more than once or after a later one.
    pub disordered: u64,
    /// The server's CPU time for each delivery, in microseconds.
    pub cpu_us: f64,
    /// This program's own share of one CPU, in per cent: above 90 the rate is its own limit, not the server's.
    pub own_cpu: f64,
}

impl FanOut {
    /// Runs it.
    ///
    /// # Errors
    /// If a client cannot connect or is disconnected.
    pub fn run(&self, server: &Server, dialect: Dialect) -> Result<FanOutResult, Box<dyn Error>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut subscribers = Vec::new();
        for n in 0..self.subscribers {
            let mut client = Client::connect(server.target(), dialect)?;
            client.subscribe("room")?;
            client.set_nonblocking()?;
            epoll::add(&epoll, &client, epoll::EventData::new_u64(n as u64), epoll::EventFlags::IN)?;
            subscribers.push((client, 0_u64));
        }
        // Not subscribed: it only writes.
        let mut publisher = Client::connect(server.target(), dialect)?;
        let mut result = FanOutResult::default();
        let mut buffer = vec![0; 1 << 20];
        let mut events = Vec::with_capacity(1024);
        let mut payload = vec![0x61; self.size.max(16)];
        let count = self.rate * self.time.as_secs();
        let (mut sent, due_total) = (0, count * self.subscribers as u64);
        let (server_cpu, own) = (server.process().cpu(), Process::new(std::process::id()));
        let (own_cpu, begin) = (own.cpu(), Instant::now());
        let due = |n: u64| Duration::from_nanos(n * 1_000_000_000 / self.rate);
        let patience = self.time + Duration::from_secs(5);
        while result.latency.total() + result.disordered < due_total && begin.elapsed() < patience {
            while sent < count && begin.elapsed() >= due(sent) {
                payload[..8].copy_from_slice(&sent.to_be_bytes());
                payload[8..16].copy_from_slice(&(due(sent).as_nanos() as u64).to_be_bytes());
                let publication = Client::publication(dialect, "room", &payload);
                publisher.write_all(&publication)?;
                sent += 1;
            }
            let wait = if sent < count {
                due(sent).saturating_sub(begin.elapsed())
            } else {
                Duration::from_millis(100)
            };
            let wait = Timespec::try_from(wait)?;
            events.clear();
            epoll::wait(&epoll, spare_capacity(&mut events), Some(&wait))?;
            for epoll::Event { data, .. } in events.drain(..) {
                let (client, expected) = &mut subscribers[data.u64() as usize];
                let read = client.read(&mut buffer, |message| {
                    let Some((number, due)) = stamp(message, dialect) else { return };
                    if number < *expected {
                        result.disordered += 1;
                        return;
                    }
                    *expected = number + 1;
                    let late = begin.elapsed().saturating_sub(Duration::from_nanos(due));
                    result.latency.record(late.as_micros() as u64);
                });
                match read {
                    Ok(0) => return Err(format!("the server closed a {dialect:?} connection").into()),
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                    _ => {}
                }
            }
        }
        let delivered = result.latency.total();
        result.lost = due_total - (delivered + result.disordered).min(due_total);
        result.cpu_us = (server.process().cpu() - server_cpu).as_secs_f64() * 1e6 / delivered.max(1) as f64;
        result.own_cpu = 100.0 * (own.cpu() - own_cpu).as_secs_f64() / begin.elapsed().as_secs_f64();
        Ok(result)
    }
}

/// Number and intended nanoseconds of a publication; `None` for another frame.
fn stamp(message: &[u8], dialect: Dialect) -> Option<(u64, u64)> {
    let payload = match dialect {
        Dialect::Raw => message,
        Dialect::V1 | Dialect::Legacy => match wire::decode(message) {
            Ok(Frame::Publish(publish)) => publish.payload.as_bytes()?,
            _ => return None,
        },
    };
    let number = payload.first_chunk::<8>()?;
    let due = payload[8..].first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), u64::from_be_bytes(*due)))
}
