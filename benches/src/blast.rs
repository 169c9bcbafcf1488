//! Every client subscribes and publishes as fast as it can.

use std::error::Error;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use pulse_core::wire;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::client::complaint;
use crate::{Client, Dialect, Server};

/// Publications prepared as one block of bytes: one write sends as many of them as fit.
const BLOCK: usize = 256;

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Blast {
    /// Publications written.
    pub published: u64,
    /// Publications read.
    pub delivered: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// The server's CPU time meanwhile.
    pub cpu: Duration,
    /// The most resident memory that the server ever had, in bytes.
    pub peak: u64,
}

impl Blast {
    /// Deliveries for each second of the server's CPU time.
    #[must_use]
    pub fn deliveries_per_cpu_second(&self) -> f64 {
        self.delivered as f64 / self.cpu.as_secs_f64()
    }
}

/// Lets `count` clients publish payloads of `size` bytes to each other for some time.
///
/// # Errors
/// If a client cannot connect or is disconnected.
pub fn blast(
    server: &Server,
    dialect: Dialect,
    count: usize,
    size: usize,
    time: Duration,
) -> Result<Blast, Box<dyn Error>> {
    let process = server.process();
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(server.target(), dialect)?;
        client.subscribe("room")?;
        client.set_nonblocking()?;
        clients.push(client);
    }
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (n, client) in clients.iter().enumerate() {
        let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        epoll::add(&epoll, client, epoll::EventData::new_u64(n as u64), both)?;
    }
    let block = Client::publication(dialect, "room", &vec![0x61; size]).repeat(BLOCK);
    // Where in the block each client stands: a publication may leave in two pieces.
    let mut at = vec![0; count];
    let mut buffer = vec![0; 16 << 20];
    let mut events = Vec::with_capacity(1024);
    let (mut written, mut delivered) = (0_u64, 0_u64);
    let (begin, cpu) = (Instant::now(), process.cpu());
    while begin.elapsed() < time {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for epoll::Event { flags, data } in events.drain(..) {
            let n = data.u64() as usize;
            let client = &mut clients[n];
            if flags.contains(epoll::EventFlags::IN) {
                let mut end = None;
                let read = client.read(&mut buffer, |frame| {
                    if dialect == Dialect::Raw || is_publication(frame) {
                        delivered += 1;
                    } else if let Ok(frame) = wire::decode(frame) {
                        end = end.take().or_else(|| complaint(&frame));
                    }
                });
                if let Some(end) = end {
                    return Err(end.into());
                }
                match read {
                    Ok(0) => return Err(format!("the server closed a {dialect:?} connection").into()),
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                    _ => {}
                }
            }
            if flags.contains(epoll::EventFlags::OUT) {
                match client.write(&block[at[n]..]) {
                    Ok(sent) => {
                        written += sent as u64;
                        at[n] = (at[n] + sent) % block.len();
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(Blast {
        published: written / (block.len() / BLOCK) as u64,
        delivered,
        elapsed: begin.elapsed(),
        cpu: process.cpu() - cpu,
        peak: process.peak(),
    })
}

/// Whether a frame is one, as Pulse writes them: the type first. Decoding each would take longer than counting it.
fn is_publication(frame: &[u8]) -> bool {
    frame.get(1..).is_some_and(|rest| rest.starts_with(b"\xa4type\xa7publish"))
}
