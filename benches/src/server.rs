//! A server in a process of its own, so that its costs are its own.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::stream::Stream;
use crate::{Cores, Process, Target};

/// What every Pulse is started with.
const OWN: [&str; 4] = ["--metrics-enabled", "false", "--logging-level", "warn"];

/// A server on a free port of the loopback interface.
#[derive(Debug)]
pub struct Server {
    child: Child,
    target: Target,
    /// Holds its certificate and what is durable, and goes when it ends.
    folder: Option<Folder>,
}

impl Server {
    /// Starts `pulse` with more arguments and waits until it answers.
    ///
    /// # Errors
    /// If the binary is not there, does not start or does not answer within ten seconds.
    pub fn start(args: &[&str], cores: Option<&Cores>) -> io::Result<Self> {
        let folder = Folder::beside()?;
        let mut server = Self::spawn(&beside("pulse")?, cores, |port| folder.own(port, args))?;
        server.folder = Some(folder);
        Ok(server)
    }

    /// As [`start`](Self::start), over TLS, with a certificate of its own by `pulse dev-cert`.
    ///
    /// # Errors
    /// As [`start`](Self::start), and if no certificate can be made.
    pub fn start_tls(args: &[&str], cores: Option<&Cores>) -> io::Result<Self> {
        let binary = beside("pulse")?;
        let folder = Folder::beside()?;
        let name = |file: &str| folder.0.join(file).display().to_string();
        let (cert, key) = (name("cert.pem"), name("key.pem"));
        let mut command = Command::new(&binary);
        command.args(["dev-cert", "--force", "--out"]).arg(&folder.0).stdout(Stdio::null());
        if !command.status()?.success() {
            return Err(io::Error::other("`pulse dev-cert` made no certificate"));
        }
        let args = ["--tls-cert", &cert, "--tls-key", &key].into_iter().chain(args.iter().copied());
        let args: Vec<&str> = args.collect();
        let certificate = fs::read(&cert)?;
        let mut server = Self::spawn_at(
            &binary,
            cores,
            |addr| Target::secure(addr, &certificate),
            |port| folder.own(port, &args),
        )?;
        server.folder = Some(folder);
        Ok(server)
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
        Self::spawn_at(binary, cores, |addr| Ok(addr.into()), args)
    }

    fn spawn_at(
        binary: &Path,
        cores: Option<&Cores>,
        target: impl Fn(SocketAddr) -> io::Result<Target>,
        args: impl Fn(&str) -> Vec<String>,
    ) -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let target = target(SocketAddr::from(([127, 0, 0, 1], port)))?;
        let mut command = Command::new(binary);
        command.args(args(&port.to_string())).stdin(Stdio::null()).stdout(Stdio::null());
        let child = match cores {
            Some(cores) => cores.place(|| command.spawn())?,
            None => command.spawn()?,
        };
        let mut server = Self { child, target, folder: None };
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
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Its costs.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    fn is_healthy(&self) -> bool {
        let Ok(mut stream) = Stream::connect(&self.target) else { return false };
        let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut buffer = vec![0; 64 << 10];
        // The status line comes in one piece.
        let answer = stream.write_all(request).and_then(|()| stream.read(&mut buffer));
        answer.is_ok_and(|len| buffer[..len].starts_with(b"HTTP/1.1 200"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that goes with its owner.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    /// A new one, on the disk that this program was built on: the system's own for such things may be in memory.
    fn beside() -> io::Result<Self> {
        let path = std::env::current_exe()?.with_file_name(format!("pulse-bench-{}", std::process::id()));
        // One that a killed run has left.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// The arguments of a Pulse that keeps here what is durable.
    fn own(&self, port: &str, more: &[&str]) -> Vec<String> {
        let store = self.0.join("store").display().to_string();
        OWN.iter()
            .chain(&["--port", port, "--store-path", &store])
            .chain(more)
            .map(ToString::to_string)
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that is left over harms nobody, and the next server writes over what is in it.
        let _ = fs::remove_dir_all(&self.0);
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
