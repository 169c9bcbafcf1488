//! Many clients that connect, upgrade and subscribe, a bounded number of them under way at once.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::client::is_subscribed;
use crate::{Client, Dialect, Server};

/// How many clients, and how many of them wait for an answer at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Connections in all.
    pub count: usize,
    /// Connections under way at once.
    pub at_once: usize,
}

/// What it cost.
#[derive(Clone, Copy, Debug)]
pub struct StormResult {
    /// From the first connection to the last answer.
    pub elapsed: Duration,
    /// The server's CPU time meanwhile.
    pub cpu: Duration,
    /// By how many bytes the server's resident memory grew.
    pub resident: i64,
}

/// Clients that came in a storm, not blocking, and the epoll that watches them by their index.
#[derive(Debug)]
pub struct Crowd {
    /// The clients.
    pub clients: Vec<Client>,
    pub(crate) epoll: rustix::fd::OwnedFd,
}

impl Storm {
    /// Runs it. Whichever the server, each client waits twice: for the answer to the upgrade, then for the answer to the
    /// one message that it sends after that.
    ///
    /// # Errors
    /// If a client is refused or disconnected, or nothing comes for ten seconds.
    pub fn run(self, server: &Server, dialect: Dialect) -> Result<(Crowd, StormResult), Box<dyn Error>> {
        let (process, begin) = (server.process(), Instant::now());
        let (cpu, resident) = (process.cpu(), process.resident());
        let is_in = |_, frame: &[u8]| is_subscribed(frame, dialect);
        let crowd = self.gather(server, dialect, &[Client::opening(dialect, "room")], is_in)?;
        let result = StormResult {
            elapsed: begin.elapsed(),
            cpu: process.cpu() - cpu,
            resident: process.resident() as i64 - resident as i64,
        };
        Ok((crowd, result))
    }

    /// Brings the clients in, each with one of `openings`, in turn, as its one message after the upgrade; a client, by its
    /// index, is in once `is_in` says so of a frame. What comes later is read and passed over.
    pub(crate) fn gather(
        self,
        server: &Server,
        dialect: Dialect,
        openings: &[Vec<u8>],
        mut is_in: impl FnMut(usize, &[u8]) -> io::Result<bool>,
    ) -> Result<Crowd, Box<dyn Error>> {
        let mut crowd = Crowd {
            clients: Vec::with_capacity(self.count),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        };
        let mut stages = vec![Stage::Upgrading; self.count];
        let mut buffer = vec![0; 1 << 20];
        let mut settled = 0;
        while settled < self.count {
            while crowd.clients.len() < self.count && crowd.clients.len() < settled + self.at_once {
                let client = Client::begin(server.target(), dialect)?;
                client.set_nonblocking()?;
                crowd.add(client)?;
            }
            crowd.wait(Duration::from_secs(10), |client, n| {
                let stage = &mut stages[n];
                let (was, mut failure) = (*stage, None);
                client.read_some(&mut buffer, |frame| {
                    if *stage != Stage::In {
                        match is_in(n, frame) {
                            Ok(true) => *stage = Stage::In,
                            Ok(false) => {}
                            Err(error) => failure = Some(error),
                        }
                    }
                })?;
                if let Some(error) = failure {
                    return Err(error);
                }
                if *stage == Stage::Upgrading && client.is_upgraded() {
                    client.write_all(&openings[n % openings.len()])?;
                    *stage = Stage::Opening;
                }
                settled += usize::from(was != Stage::In && *stage == Stage::In);
                Ok(())
            })?;
        }
        Ok(crowd)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Opening,
    In,
}

impl Crowd {
    fn add(&mut self, client: Client) -> io::Result<()> {
        let data = epoll::EventData::new_u64(self.clients.len() as u64);
        epoll::add(&self.epoll, &client, data, epoll::EventFlags::IN)?;
        self.clients.push(client);
        Ok(())
    }

    /// Waits until something can be read, and has `on` read it: the client and its index. Finding nothing is no error.
    pub(crate) fn wait(
        &mut self,
        patience: Duration,
        mut on: impl FnMut(&mut Client, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        let patience = patience.try_into().map_err(io::Error::other)?;
        if epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience))? == 0 {
            return Err(io::Error::new(ErrorKind::TimedOut, "the server sends nothing more"));
        }
        for epoll::Event { data, .. } in events {
            let n = data.u64() as usize;
            match on(&mut self.clients[n], n) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => other?,
            }
        }
        Ok(())
    }
}
