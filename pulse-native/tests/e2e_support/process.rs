//! The program `pulse` as a process of its own: what it says line by line, and how it ends.

use std::fs;
use std::io::{self, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A server in a process of its own; killed if it is dropped before it has ended.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// All zeros where it listens on a Unix socket.
    pub addr: SocketAddr,
    log: BufReader<ChildStderr>,
}

/// `pulse` with these arguments and no environment.
pub fn pulse(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
    command.env_clear().args(arguments).stdin(Stdio::null());
    command
}

impl Process {
    /// Serves on free ports; listens already.
    pub fn serve(arguments: &[&str]) -> Self {
        Self::serve_under(&[], arguments)
    }

    /// The same, started by another program with these arguments of its own.
    pub fn serve_under(wrapper: &[&str], arguments: &[&str]) -> Self {
        Self::serve_and_say(wrapper, arguments).0
    }

    /// The same, with what it has said before it listened.
    pub fn serve_and_say(wrapper: &[&str], arguments: &[&str]) -> (Self, String) {
        let port = ["--port", "0"];
        let port = if arguments.contains(&"--port") { &[][..] } else { &port };
        let serve = [&["serve", "--metrics-port", "0"], port].concat();
        let mut command = match wrapper {
            [] => pulse(&serve),
            [program, rest @ ..] => {
                let mut command = Command::new(program);
                command.args(rest).arg(env!("CARGO_BIN_EXE_pulse")).args(serve);
                command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
                command
            }
        };
        let mut child = command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("pulse starts");
        let mut log = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let mut said = String::new();
        let addr = loop {
            let line = line(&mut log).unwrap_or_else(|| panic!("pulse does not listen:\n{said}"));
            if let Some((_, rest)) = line.split_once("listening on http") {
                let addr = rest.trim_start_matches('s').trim_start_matches("://");
                let addr = addr.split(',').next().unwrap_or_default();
                break addr.parse().expect("an address and a port follow");
            }
            if line.contains("listening on unix:") {
                break ([0; 4], 0).into();
            }
            said += &line;
        };
        (Self { child, addr, log }, said)
    }

    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.addr)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        tell(&self.child, signal);
    }

    /// Reads its log up to a line that contains this.
    pub fn wait_for_line(&mut self, text: &str) {
        while !line(&mut self.log).unwrap_or_else(|| panic!("it ended without {text:?}")).contains(text) {}
    }

    /// The address of the metrics, which it says behind the one for clients.
    pub fn metrics(&mut self) -> SocketAddr {
        loop {
            let line = line(&mut self.log).expect("it says where its metrics are");
            if let Some((_, rest)) = line.split_once("metrics on http://") {
                let addr = rest.split('/').next().unwrap_or_default();
                break addr.parse().expect("an address and a port follow");
            }
        }
    }

    /// Waits until it has ended, however it did.
    pub fn wait_for_end(&mut self) {
        self.child.wait().expect("the process was started by this test");
    }

    /// How it ended, and what it said since it listened.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.log.read_to_string(&mut said).expect("logs are text");
        (self.child.wait().expect("the process was started by this test"), said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `pulse sub` that runs.
#[derive(Debug)]
pub struct Subscriber {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
    said: BufReader<ChildStderr>,
}

impl Subscriber {
    /// Subscribed already.
    pub fn start(url: &str, channels: &[&str], arguments: &[&str]) -> Self {
        let mut command = pulse(&["sub", "--url", url]);
        command.args(arguments).args(channels).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("pulse starts");
        let mut said = BufReader::new(child.stderr.take().expect("standard error is piped"));
        for channel in channels {
            assert_eq!(line(&mut said).as_deref(), Some(&*format!("pulse: subscribed to {channel}\n")));
        }
        let out = BufReader::new(child.stdout.take().expect("standard output is piped"));
        Self { child, out: Some(out), said }
    }

    /// The next line of standard output, with its end; `None` after the last one.
    pub fn line(&mut self) -> Option<String> {
        line(self.out.as_mut().expect("standard output is open"))
    }

    /// Reads what it says on standard error up to a line that contains this.
    pub fn wait_until_it_says(&mut self, text: &str) {
        while !line(&mut self.said).unwrap_or_else(|| panic!("it ended without {text:?}")).contains(text) {}
    }

    /// Reads no more.
    pub fn close_output(&mut self) {
        self.out = None;
    }

    pub fn signal(&self, signal: Signal) {
        tell(&self.child, signal);
    }

    /// The exit code of one whose output nobody reads.
    pub fn wait_without_reading(mut self) -> Option<i32> {
        self.child.wait().expect("the process was started by this test").code()
    }

    /// The exit code, the rest of standard output, and what it said after it had subscribed.
    pub fn wait(mut self) -> (Option<i32>, String, String) {
        let (mut rest, mut said) = (String::new(), String::new());
        if let Some(out) = &mut self.out {
            out.read_to_string(&mut rest).expect("lines are text");
        }
        self.said.read_to_string(&mut said).expect("messages are text");
        (self.child.wait().expect("the process was started by this test").code(), rest, said)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `pulse` to its end: exit code, standard output and standard error.
pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    finish(pulse(arguments).output().expect("pulse starts"))
}

/// As [`run`], with this on standard input.
pub fn run_with_input(arguments: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let mut command = pulse(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("pulse starts");
    match child.stdin.take().expect("standard input is piped").write_all(input) {
        // It may have ended without reading what it does not need.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.expect("pulse reads its input"),
    }
    finish(child.wait_with_output().expect("pulse ends"))
}

fn finish(Output { status, stdout, stderr }: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("pulse writes text");
    (status.code(), text(stdout), text(stderr))
}

fn line(reader: &mut impl io::BufRead) -> Option<String> {
    let mut line = String::new();
    (reader.read_line(&mut line).expect("pulse writes text") > 0).then_some(line)
}

fn tell(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("the process has not been waited for");
}

/// CPU time of all threads of a process.
pub fn cpu_time(pid: Pid) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).expect("the process runs");
    let nanos = tasks.map(|task| {
        let path = task.expect("the system lists threads").path().join("schedstat");
        let line = fs::read_to_string(path).expect("the thread runs");
        let first = line.split(' ').next().unwrap_or_default();
        first.parse::<u64>().expect("the kernel counts nanoseconds")
    });
    Duration::from_nanos(nanos.sum())
}
