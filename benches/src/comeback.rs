//! Many clients that come back at once and have missed something, as after a restart of what stands in front of a server;
//! and others meanwhile that come for the first time.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pulse_core::wire::{self, Frame, Point, Publish};

use crate::client::{complaint, is_subscribed, message};
use crate::{Client, Dialect, Server, Storm};

/// Who comes back, and what each has missed.
#[derive(Clone, Copy, Debug)]
pub struct Comeback {
    /// Clients that come back, all at once.
    pub clients: usize,
    /// Publications that each has missed.
    pub missed: u64,
    /// Bytes of a payload.
    pub size: usize,
    /// Channels that they are spread over.
    pub channels: usize,
}

/// What it cost.
#[derive(Clone, Debug)]
pub struct ComebackResult {
    /// From the first connection until the last client has everything.
    pub elapsed: Duration,
    /// The server's CPU time meanwhile.
    pub cpu: Duration,
    /// By how many bytes the server's resident memory grew at most.
    pub peak: u64,
    /// How long clients took meanwhile to connect and subscribe that came for the first time, rising.
    pub fresh: Vec<Duration>,
    /// Publications that came twice or not in their order.
    pub disordered: u64,
}

/// How far one client is.
#[derive(Clone, Copy, Default)]
struct Got {
    subscribed: bool,
    offset: u64,
}

impl Comeback {
    /// Runs it.
    ///
    /// # Errors
    /// If a client is refused or disconnected, does not get all that it missed, or nothing comes for ten seconds.
    pub fn run(self, server: &Server) -> Result<ComebackResult, Box<dyn Error>> {
        let mut publisher = Client::connect(server.target(), Dialect::V1)?;
        let mut openings = Vec::with_capacity(self.channels);
        for n in 0..self.channels {
            let channel = format!("kept:{n}");
            let epoch = self.publish(&mut publisher, &channel)?;
            openings.push(Client::returning(&channel, Point { epoch: &epoch, offset: 0 }));
        }
        let process = server.process();
        let (begin, cpu, resident) = (Instant::now(), process.cpu(), process.resident());
        let mut got = vec![Got::default(); self.clients];
        let (mut disordered, over) = (0, AtomicBool::new(false));
        let (crowd, fresh) = std::thread::scope(|scope| {
            let fresh = scope.spawn(|| come_fresh(server, &over));
            let storm = Storm { count: self.clients, at_once: self.clients };
            let crowd = storm.gather(server, Dialect::V1, &openings, |n, frame| {
                let got = &mut got[n];
                match wire::decode(frame) {
                    Ok(Frame::Ack(ack)) if ack.recovered == Some(true) => got.subscribed = true,
                    Ok(Frame::Ack(ack)) => {
                        let reason = ack.reason.unwrap_or_default();
                        return Err(io::Error::other(format!("not recovered: {reason}")));
                    }
                    Ok(Frame::Publish(publication)) => {
                        let offset = publication.offset.unwrap_or_default();
                        disordered += u64::from(offset != got.offset + 1);
                        got.offset = offset;
                    }
                    Ok(frame) => complaint(&frame).map_or(Ok(()), Err)?,
                    Err(_) => {}
                }
                Ok(got.subscribed && got.offset == self.missed)
            });
            over.store(true, Relaxed);
            (crowd, fresh.join().expect("the thread does not panic"))
        });
        let _crowd = crowd?;
        let (elapsed, cpu, peak) = (begin.elapsed(), process.cpu() - cpu, process.peak());
        let mut fresh = fresh?;
        fresh.sort_unstable();
        Ok(ComebackResult { elapsed, cpu, peak: peak.saturating_sub(resident), fresh, disordered })
    }

    /// Publishes what will have been missed; returns the channel's epoch.
    fn publish(&self, publisher: &mut Client, channel: &str) -> Result<String, Box<dyn Error>> {
        let payload = vec![b'x'; self.size];
        let mut out = Vec::new();
        for id in 1..=self.missed {
            let payload = wire::Payload::from(&payload[..]);
            let publish = Publish { channel, payload, id: Some(id), ..Publish::default() };
            message(&mut out, |out| publish.encode(out));
        }
        publisher.write_all(&out)?;
        let (mut buffer, mut epoch, mut answered) = (vec![0; 1 << 20], String::new(), 0);
        let mut failure = None;
        while answered < self.missed {
            publisher.read_some(&mut buffer, |frame| match wire::decode(frame) {
                Ok(Frame::Ack(ack)) => {
                    answered += 1;
                    if let Some(given) = ack.epoch {
                        given.clone_into(&mut epoch);
                    }
                }
                Ok(frame) => failure = failure.take().or_else(|| complaint(&frame)),
                Err(_) => {}
            })?;
            if let Some(error) = failure {
                return Err(error.into());
            }
        }
        Ok(epoch)
    }
}

impl ComebackResult {
    /// How long this share of the fresh clients took at most.
    #[must_use]
    pub fn fresh_percentile(&self, share: f64) -> Duration {
        let last = self.fresh.len().saturating_sub(1);
        self.fresh.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

/// One client after the other connects and subscribes to a channel without history, until the others are done.
fn come_fresh(server: &Server, over: &AtomicBool) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    let opening = Client::opening(Dialect::V1, "room");
    let mut buffer = vec![0; 64 * 1024];
    while !over.load(Relaxed) {
        let begin = Instant::now();
        let mut client = Client::begin(server.target(), Dialect::V1)?;
        while !client.is_upgraded() {
            client.read_some(&mut buffer, |_| {})?;
        }
        client.write_all(&opening)?;
        let (mut subscribed, mut failure) = (false, None);
        while !subscribed {
            client.read_some(&mut buffer, |frame| match is_subscribed(frame, Dialect::V1) {
                Ok(answer) => subscribed |= answer,
                Err(error) => failure = Some(error),
            })?;
            if let Some(error) = failure {
                return Err(error);
            }
        }
        times.push(begin.elapsed());
    }
    Ok(times)
}
