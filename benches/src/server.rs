//! A server in a process of its own, so that its costs are its own.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Process;

/// A server on a free port of the loopback interface.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    /// Starts `pulse` with more arguments and waits until it answers. It runs on CPU `cpu`, if one is given.
    ///
    /// # Errors
    /// If the binary is not there, does not start or does not answer within ten seconds.
    pub fn start(args: &[&str], cpu: Option<usize>) -> io::Result<Self> {
        Self::spawn(&beside("pulse")?, cpu, |port| {
            let own = ["--port", port, "--metrics-enabled", "false", "--logging-level", "warn"];
            own.iter().chain(args).map(ToString::to_string).collect()
        })
    }

    /// Starts Bun with `benches/peers/bun-server.mjs` in the same way.
    ///
    /// # Errors
    /// As [`start`](Self::start); `npm ci` in `benches/peers` installs Bun.
    pub fn start_bun(cpu: Option<usize>) -> io::Result<Self> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let bun = peers.join("node_modules/.bin/bun");
        if !bun.exists() {
            return Err(io::Error::other("Bun is not installed: run `npm ci` in benches/peers first"));
        }
        let script = peers.join("bun-server.mjs").display().to_string();
        Self::spawn(&bun, cpu, |port| vec![script.clone(), port.to_owned()])
    }

    fn spawn(binary: &Path, cpu: Option<usize>, args: impl Fn(&str) -> Vec<String>) -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = match cpu {
            Some(cpu) => {
                leave(cpu)?;
                let mut command = Command::new("taskset");
                command.arg("-c").arg(cpu.to_string()).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command.args(args(&port.to_string()));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let server = Self { child, addr: SocketAddr::from(([127, 0, 0, 1], port)) };
        let begin = Instant::now();
        while !server.is_healthy() {
            if begin.elapsed() > Duration::from_secs(10) {
                return Err(io::Error::other("the server did not answer /health within 10 s"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its costs.
    #[must_use]
    pub fn process(&self) -> Process {
        // `taskset` becomes the server (exec), so the child's id is the server's.
        Process::new(self.child.id())
    }

    fn is_healthy(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.addr) else { return false };
        let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut answer = Vec::new();
        stream.write_all(request).and_then(|()| stream.read_to_end(&mut answer)).is_ok()
            && answer.starts_with(b"HTTP/1.1 200")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps this program, and what it starts without an order of its own, off a CPU, if there is another one.
fn leave(cpu: usize) -> io::Result<()> {
    let count = std::thread::available_parallelism()?.get();
    let mut others = CpuSet::new();
    (0..count.max(cpu + 1)).filter(|other| *other != cpu).for_each(|other| others.set(other));
    if others.count() > 0 {
        sched_setaffinity(None, &others)?;
    }
    Ok(())
}

/// A binary of this workspace, in the folder that this program was built into.
fn beside(name: &str) -> io::Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name(name);
    if binary.exists() {
        return Ok(binary);
    }
    Err(io::Error::other(format!(
        "there is no {}: build the server first, with `cargo build --release -p pulse-native`",
        binary.display()
    )))
}
