//! Logs that nobody takes: the server goes on, and does not try for ever.

mod e2e_support;

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use e2e_support::process::{cpu_time, pulse};
use e2e_support::unix::{Place, frames, send};
use e2e_support::{PATIENCE, publication};
use rustix::process::{Pid, Signal, kill_process};
use tungstenite::{Error, Message};

/// Killed if it is dropped before it has ended.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that says much to `stderr`, which takes nothing, serves and ends as any other.
fn check(name: &str, stderr: Stdio, format: &str) {
    let place = Place::new(name);
    // A Unix socket, since a port would have to be read from the log.
    let host = place.host();
    let mut command = pulse(&["serve", "--host", &host, "--metrics-port", "0", "--server-shards", "2"]);
    command
        .args(["--logging-level", "trace", "--logging-format", format])
        .stdout(Stdio::null())
        .stderr(stderr);
    let mut server = Running(command.spawn().expect("pulse starts"));
    let start = Instant::now();
    while UnixStream::connect(place.socket()).is_err() {
        assert_eq!(server.0.try_wait().expect("it is a child"), None, "{name}: it has ended");
        assert!(start.elapsed() < PATIENCE, "{name}: it does not listen");
        std::thread::yield_now();
    }
    let pid = Pid::from_child(&server.0);
    let mut subscriber = place.subscriber();
    let mut session = |n: u8| {
        let payload = [n];
        let mut publisher = place.subscriber();
        send(&mut publisher, &[publication("news", &payload)]);
        for socket in [&mut publisher, &mut subscriber] {
            assert_eq!(frames(socket)[0].decoded(), publication("news", &payload));
        }
    };
    (0..10).for_each(&mut session);
    kill_process(pid, Signal::HUP).expect("the server runs");
    (10..20).for_each(&mut session);

    // What was said is gone, and is not tried again: idle is idle.
    let cpu = cpu_time(pid);
    let pause = Duration::from_millis(300);
    subscriber.get_ref().0.set_read_timeout(Some(pause)).expect("a socket takes a time limit");
    match subscriber.read() {
        Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
        other => panic!("{name}: {other:?} came from nobody"),
    }
    let spent = cpu_time(pid) - cpu;
    assert!(spent < pause / 3, "{name}: {spent:?} of CPU time for {pause:?} of waiting");

    subscriber.get_ref().0.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    kill_process(pid, Signal::TERM).expect("the server runs");
    assert!(matches!(subscriber.read(), Ok(Message::Binary(_))), "{name}: it takes leave");
    assert!(matches!(subscriber.read(), Ok(Message::Close(_))), "{name}: it takes leave");
    drop(subscriber);
    assert!(server.0.wait().expect("it is a child").success(), "{name}");
}

#[test]
fn a_full_disk_under_the_log_costs_lines_and_nothing_else() {
    for format in ["text", "json"] {
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        check(&format!("full-{format}"), full.into(), format);
    }
}

#[test]
fn a_log_whose_reader_has_gone_costs_lines_and_nothing_else() {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    check("closed-pipe", writer.into(), "text");
}
