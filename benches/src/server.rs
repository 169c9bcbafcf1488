//! A server in a process of its own, so that its costs are its own.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Cores, Process};

/// A server on a free port of the loopback interface.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    /// Starts `pulse` with more arguments and waits until it answers.
    ///
    /// # Errors
    /// If the binary is not there, does not start or does not answer within ten seconds.
    pub fn start(args: &[&str], cores: Option<&Cores>) -> io::Result<Self> {
        Self::spawn(&beside("pulse")?, cores, |port| {
            let own = ["--port", port, "--metrics-enabled", "false", "--logging-level", "warn"];
            own.iter().chain(args).map(ToString::to_string).collect()
        })
    }

    /// Starts Bun with `benches/peers/bun-server.mjs` in the same way.
    ///
    /// # Errors
    /// As [`start`](Self::start); `npm ci` in `benches/peers` installs Bun.
    pub fn start_bun(cores: Option<&Cores>) -> io::Result<Self> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let bun = peers.join("node_modules/.bin/bun");
        if !bun.exists() {
            return Err(io::Error::other("Bun is not installed: run `npm ci` in benches/peers first"));
        }
        let script = peers.join("bun-server.mjs").display().to_string();
        Self::spawn(&bun, cores, |port| vec![script.clone(), port.to_owned()])
    }

    fn spawn(binary: &Path, cores: Option<&Cores>, args: impl Fn(&str) -> Vec<String>) -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(binary);
        command.args(args(&port.to_string())).stdin(Stdio::null()).stdout(Stdio::null());
        let child = match cores {
            Some(cores) => cores.place(|| command.spawn())?,
            None => command.spawn()?,
        };
        let mut server = Self { child, addr: SocketAddr::from(([127, 0, 0, 1], port)) };
        let begin = Instant::now();
        while !server.is_healthy() {
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("the server has ended: {status}")));
            }
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
