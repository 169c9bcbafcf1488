//! Signals, in a process of their own: the first drains, the second ends at once.

mod support;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use pulse_native::drain;
use pulse_native::server::Server;
use rustix::process::{Pid, Signal, kill_process};
use support::{Client, echo::Echo, options_with};

/// What the child processes of this file run.
#[test]
#[ignore = "a server for the other tests of this file, which start it by name"]
fn serve_until_a_signal_comes() {
    let server = Server::bind(options_with(|options| options.shutdown_timeout_ms = 60_000)).unwrap();
    let addr = server.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let drained = runtime.block_on(async {
        let signal = drain::listen().unwrap();
        // Whoever runs this by hand ends it by the end of its input, which the tests keep open.
        let (end, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || end.send(std::io::copy(&mut std::io::stdin(), &mut std::io::sink())));
        eprintln!("serving {addr}");
        let until = async {
            tokio::select! {
                () = signal => {}
                _ = ended => {}
            }
        };
        server.run(|_| Echo::with_commands(), until).await.unwrap()
    });
    assert_eq!(drained.cut_off, 0);
}

#[test]
fn the_first_signal_asks_everybody_to_leave_and_ends_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut child, mut client) = start();
        tell(&child, signal);
        client.expect_close(4000);
        drop(client);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn the_second_signal_ends_at_once() {
    let (mut child, mut client) = start();
    tell(&child, Signal::TERM);
    client.expect_close(4000);
    // The client does not leave, and the server would wait for it for a while.
    tell(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// A server process, and a WebSocket to it.
fn start() -> (Child, Client) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["serve_until_a_signal_comes", "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let addr = lines
        .find_map(|line| line.unwrap().strip_prefix("serving ")?.parse().ok())
        .expect("the child serves");
    // The rest of its output must find a reader.
    std::thread::spawn(move || lines.count());
    let mut client = Client::new(TcpStream::connect(addr).unwrap());
    client.write(&support::upgrade(addr, "Sec-WebSocket-Protocol: pulse.v1\r\n"));
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    (child, client)
}

fn tell(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}
