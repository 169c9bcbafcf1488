//! Every client publishes as fast as it can, and every publication is accounted for at every receiver.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use pulse_core::wire::{self, Frame, Payload, Publish};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::client::{complaint, message};
use crate::ledger::{Ledger, STAMP};
use crate::{Client, Dialect, Process, Server, Storm};

/// Publications in the block that a client writes from.
const BLOCK: usize = 64;

/// What the kernel keeps of a client's publications. With megabytes, as it likes to, delivering what was published in ten
/// seconds would take minutes.
const SEND_BUFFER: usize = 16 << 10;

/// The id of each client's last publication, whose answer says that all of them were taken.
const LAST_ID: u64 = 9;

/// How long after the end of publishing what is on its way may stand still.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who publishes what, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// Clients, each of which publishes and subscribes.
    pub clients: usize,
    /// Bytes of payload, at least 16.
    pub size: usize,
    /// How long they publish.
    pub time: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct FloodResult {
    /// Publications written.
    pub published: u64,
    /// Deliveries, over all receivers.
    pub delivered: u64,
    /// Deliveries that a `gap` told of instead, over all receivers.
    pub told: u64,
    /// Deliveries that neither came nor were told of, over all receivers.
    pub untold: u64,
    /// Deliveries that came twice, or after a later one of the same publisher.
    pub disordered: u64,
    /// Different orders among the receivers that missed nothing; 1 where there is one order for all.
    pub orders: u64,
    /// Clients whose last publication was acknowledged.
    pub acknowledged: u64,
    /// From the first publication to the last delivery.
    pub elapsed: Duration,
    /// The server's CPU time meanwhile.
    pub cpu: Duration,
    /// Bytes of the largest message that a client was sent.
    pub largest: usize,
    /// The most resident memory that the server ever had, in bytes.
    pub peak: u64,
    /// This program's own share of one CPU, in per cent: above 90 the rate is its own limit, not the server's.
    pub own_cpu: f64,
}

impl Flood {
    /// Runs it.
    ///
    /// # Errors
    /// If a client cannot connect or is disconnected.
    pub fn run(self, server: &Server, dialect: Dialect) -> Result<FloodResult, Box<dyn Error>> {
        let storm = Storm { count: self.clients, at_once: 64 };
        let (mut crowd, _) = storm.run(server, dialect)?;
        for (n, client) in crowd.clients.iter().enumerate() {
            client.set_send_buffer(SEND_BUFFER)?;
            let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
            epoll::modify(&crowd.epoll, client, epoll::EventData::new_u64(n as u64), both)?;
        }
        let mut writers: Vec<Writer> =
            (0..self.clients).map(|n| Writer::new(dialect, n as u32, self.size)).collect();
        let mut ledgers: Vec<Ledger> = (0..self.clients).map(|_| Ledger::new(self.clients)).collect();
        let mut result = FloodResult::default();
        let mut buffer = vec![0; 16 << 20];
        let mut events = Vec::with_capacity(1024);
        let (process, own) = (server.process(), Process::new(std::process::id()));
        let (cpu, own_cpu, begin) = (process.cpu(), own.cpu(), Instant::now());
        let mut writing = self.clients;
        let mut moved = begin;
        while moved.elapsed() < PATIENCE {
            events.clear();
            epoll::wait(
                &crowd.epoll,
                spare_capacity(&mut events),
                Some(&Duration::from_millis(100).try_into()?),
            )?;
            let late = begin.elapsed() >= self.time;
            for epoll::Event { flags, data } in events.drain(..) {
                let n = data.u64() as usize;
                let client = &mut crowd.clients[n];
                if flags.contains(epoll::EventFlags::IN) {
                    let mut end = None;
                    let read = client.read_some(&mut buffer, |frame| match received(frame, dialect) {
                        Received::Publication(payload) => ledgers[n].take(payload),
                        Received::Gap(count) => ledgers[n].told += count,
                        Received::Acknowledged => result.acknowledged += 1,
                        Received::Complaint(why) => end = Some(why),
                        Received::Other => {}
                    });
                    if let Some(why) = end {
                        return Err(why.into());
                    }
                    if unless_blocked(read)?.is_some() {
                        moved = Instant::now();
                    }
                }
                if flags.contains(epoll::EventFlags::OUT)
                    && unless_blocked(writers[n].write(|bytes| client.write(bytes), late))? == Some(true)
                {
                    writing -= 1;
                    let data = epoll::EventData::new_u64(n as u64);
                    epoll::modify(&crowd.epoll, &*client, data, epoll::EventFlags::IN)?;
                }
            }
            if writing == 0 {
                result.published = writers.iter().map(|writer| writer.written).sum();
                let due = |n: usize| result.published - own_share(dialect, &writers[n]);
                if ledgers.iter().enumerate().all(|(n, ledger)| ledger.received + ledger.told >= due(n)) {
                    break;
                }
            }
        }
        result.elapsed = begin.elapsed();
        result.own_cpu = 100.0 * (own.cpu() - own_cpu).as_secs_f64() / result.elapsed.as_secs_f64();
        result.cpu = process.cpu() - cpu;
        result.peak = process.peak();
        result.largest = crowd.clients.iter().map(Client::largest_message).max().unwrap_or(0);
        let mut orders = Vec::new();
        for (ledger, writer) in ledgers.iter().zip(&writers) {
            result.delivered += ledger.received;
            result.told += ledger.told;
            result.disordered += ledger.disordered;
            let due = result.published - own_share(dialect, writer);
            result.untold += due.abs_diff(ledger.received + ledger.told);
            if ledger.received == due {
                orders.push(ledger.order);
            }
        }
        orders.sort_unstable();
        orders.dedup();
        result.orders = orders.len() as u64;
        Ok(result)
    }
}

/// What a client does not get of what was published: its own, if the server is a raw peer.
fn own_share(dialect: Dialect, writer: &Writer) -> u64 {
    if dialect == Dialect::Raw { writer.written } else { 0 }
}

fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}

enum Received<'a> {
    Publication(&'a [u8]),
    Gap(u64),
    Acknowledged,
    Complaint(io::Error),
    Other,
}

fn received(frame: &[u8], dialect: Dialect) -> Received<'_> {
    if dialect == Dialect::Raw {
        return Received::Publication(frame);
    }
    match wire::decode(frame) {
        Ok(Frame::Publish(publish)) => {
            publish.payload.as_bytes().map_or(Received::Other, Received::Publication)
        }
        // A gap without a number tells nothing that could be counted.
        Ok(Frame::Gap(gap)) => Received::Gap(gap.count.unwrap_or(0)),
        Ok(Frame::Ack(ack)) if ack.id == LAST_ID => Received::Acknowledged,
        Ok(frame) => complaint(&frame).map_or(Received::Other, Received::Complaint),
        Err(_) => Received::Other,
    }
}

/// One client's publications, each with its publisher and number in the payload.
struct Writer {
    publisher: u32,
    dialect: Dialect,
    size: usize,
    block: Vec<u8>,
    /// Bytes of one publication in the block, and where in it the payload begins.
    each: usize,
    payload: usize,
    /// How much of the block is written.
    at: usize,
    /// Publications of the blocks that are written whole.
    written: u64,
    /// The block ends with the last publication, which has an id.
    is_last: bool,
}

impl Writer {
    fn new(dialect: Dialect, publisher: u32, size: usize) -> Self {
        let size = size.max(16);
        let one = publication(dialect, &vec![0x61; size], None);
        let payload = one.windows(16).position(|window| window == [0x61; 16]).expect("the payload is in it");
        let (each, block) = (one.len(), one.repeat(BLOCK));
        let mut writer =
            Self { publisher, dialect, size, block, each, payload, at: 0, written: 0, is_last: false };
        writer.stamp();
        writer
    }

    /// Numbers the publications of the block.
    fn stamp(&mut self) {
        for (number, one) in (self.written..).zip(self.block.chunks_exact_mut(self.each)) {
            one[self.payload..][..STAMP].copy_from_slice(&Ledger::stamp(self.publisher, number));
        }
    }

    /// Writes once. `late`: no more than the publication that is begun, and a last one; true once that is done.
    fn write(&mut self, to: impl FnOnce(&[u8]) -> io::Result<usize>, late: bool) -> io::Result<bool> {
        if late && !self.is_last {
            let begun = self.at.div_ceil(self.each);
            self.block.truncate(begun * self.each);
            let mut payload = vec![0x61; self.size];
            payload[..STAMP].copy_from_slice(&Ledger::stamp(self.publisher, self.written + begun as u64));
            self.block.extend_from_slice(&publication(self.dialect, &payload, Some(LAST_ID)));
            self.is_last = true;
        }
        self.at += to(&self.block[self.at..])?;
        if self.at < self.block.len() {
            return Ok(false);
        }
        // The last publication is longer than the others by its id, so it does not make another whole one.
        self.written += (self.block.len() / self.each) as u64;
        self.at = 0;
        if !self.is_last {
            self.stamp();
        }
        Ok(self.is_last)
    }
}

fn publication(dialect: Dialect, payload: &[u8], id: Option<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, |out| match dialect {
        Dialect::Raw => out.extend_from_slice(payload),
        Dialect::V1 | Dialect::Legacy => {
            Publish { channel: "room", payload: Payload::from(payload), id, ..Publish::default() }
                .encode(out);
        }
    });
    out
}
