//! Clients that publish and wait for acknowledgements, a number of them under way at a time: what it takes until a publication
//! is taken, and until it is on disk.

use std::error::Error;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use pulse_core::wire::{self, Frame, Payload, Publish};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::client::{complaint, message};
use crate::{Client, Dialect, Histogram, Server};

/// Who publishes.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    /// Clients, each in a channel of its own.
    pub clients: usize,
    /// Publications of each that have no answer yet.
    pub under_way: usize,
    /// Bytes of a payload.
    pub size: usize,
    /// Before the name of the channel: `safe` for channels on disk, `kept` for those in memory.
    pub namespace: &'static str,
    /// Whether each publication has an idempotency key.
    pub named: bool,
    /// For how long.
    pub time: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct AckedResult {
    /// Acknowledgements a second.
    pub rate: f64,
    /// From a publication's write to its acknowledgement.
    pub latency: Histogram,
    /// Microseconds of the server's CPU time for each of them.
    pub cpu_us: f64,
}

struct Publisher {
    client: Client,
    channel: String,
    /// When those that have no answer were written, from the one with the id `answered + 1` on.
    sent: std::collections::VecDeque<Instant>,
    answered: u64,
}

impl Acked {
    /// Runs it.
    ///
    /// # Errors
    /// If a client cannot connect, is refused or is disconnected.
    pub fn run(self, server: &Server) -> Result<AckedResult, Box<dyn Error>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut publishers = Vec::with_capacity(self.clients);
        for n in 0..self.clients {
            let client = Client::connect(server.target(), Dialect::V1)?;
            client.set_nonblocking()?;
            epoll::add(&epoll, &client, epoll::EventData::new_u64(n as u64), epoll::EventFlags::IN)?;
            let channel = format!("{}:{n}", self.namespace);
            publishers.push(Publisher { client, channel, sent: <_>::default(), answered: 0 });
        }
        let process = server.process();
        let (begin, cpu) = (Instant::now(), process.cpu());
        for publisher in &mut publishers {
            publisher.publish(self)?;
        }
        let (mut latency, mut buffer) = (Histogram::default(), vec![0; 1 << 20]);
        let mut events = Vec::with_capacity(256);
        while begin.elapsed() < self.time {
            events.clear();
            epoll::wait(&epoll, spare_capacity(&mut events), None)?;
            for epoll::Event { data, .. } in events.drain(..) {
                let publisher = &mut publishers[data.u64() as usize];
                publisher.hear(&mut buffer, &mut latency)?;
                publisher.publish(self)?;
            }
        }
        let (elapsed, cpu) = (begin.elapsed(), process.cpu() - cpu);
        let count = latency.total().max(1) as f64;
        Ok(AckedResult {
            rate: count / elapsed.as_secs_f64(),
            latency,
            cpu_us: cpu.as_secs_f64() * 1e6 / count,
        })
    }
}

impl Publisher {
    /// Publishes until as many as are wanted have no answer.
    fn publish(&mut self, load: Acked) -> Result<(), Box<dyn Error>> {
        let payload = vec![b'x'; load.size];
        let mut out = Vec::new();
        while self.sent.len() < load.under_way {
            let id = self.answered + self.sent.len() as u64 + 1;
            let name = format!("{}/{id}", self.channel);
            let publish = Publish {
                channel: &self.channel,
                payload: Payload::from(&payload[..]),
                id: Some(id),
                idempotency_key: load.named.then_some(&name),
                ..Publish::default()
            };
            message(&mut out, |out| publish.encode(out));
            self.sent.push_back(Instant::now());
        }
        // It fits into the socket's buffer: the server has answered as much before.
        Ok(self.client.write_all(&out)?)
    }

    fn hear(&mut self, buffer: &mut [u8], latency: &mut Histogram) -> Result<(), Box<dyn Error>> {
        let (sent, answered, now) = (&mut self.sent, &mut self.answered, Instant::now());
        let mut failure = None;
        let read = self.client.read(buffer, |frame| match wire::decode(frame) {
            Ok(Frame::Ack(ack)) if ack.id == *answered + 1 => {
                *answered += 1;
                let sent = sent.pop_front().expect("an answer follows a publication");
                latency.record((now - sent).as_micros() as u64);
            }
            Ok(frame) => failure = failure.take().or_else(|| complaint(&frame)),
            Err(_) => {}
        });
        match (read, failure) {
            (_, Some(error)) => Err(error.into()),
            (Ok(0), None) => Err("the server closed a connection".into()),
            (Err(error), None) if error.kind() != ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(()),
        }
    }
}
