//! Running out of file descriptors: the server is a process of its own here, so that the limit is its alone.

mod e2e_support;
mod support;

use std::fs;
use std::time::Duration;

use e2e_support::{
    dial,
    process::{Process, cpu_time},
};
use pulse_native::ws::Opcode;
use rustix::process::{Resource, Rlimit, prlimit};
use support::{Client, PATIENCE, upgrade};

#[test]
fn running_out_of_descriptors_is_survived_without_spinning() {
    const CLIENTS: usize = 40;
    const SERVED: usize = 30;
    /// Descriptors that the server may have open for a moment while it starts.
    const SPARE: usize = 5;
    const SHARDS: usize = 2;
    let server = Process::serve(&["--server-shards", &SHARDS.to_string()]);
    let connect = |_| {
        let mut client = Client::new(dial(server.addr));
        client.write(&upgrade(server.addr, "Sec-WebSocket-Protocol: pulse.v1\r\n"));
        client
    };
    // A shard that has served somebody has opened all that it needs for itself, and at most some more.
    let mut first: Vec<Client> = (0..SHARDS).map(connect).collect();
    for client in &mut first {
        assert!(client.head().starts_with("HTTP/1.1 101 "));
    }
    let used = fs::read_dir(format!("/proc/{}/fd", server.pid().as_raw_nonzero())).unwrap().count();
    let limit = Rlimit { current: Some((used + SERVED) as u64), maximum: Some((used + CLIENTS) as u64) };
    prlimit(Some(server.pid()), Resource::Nofile, limit).unwrap();

    // The kernel completes these connections whether or not the server can accept them, in the order in which they come.
    let mut served: Vec<Client> = (0..CLIENTS).map(connect).collect();
    let mut waiting = served.split_off(SERVED);
    for client in &mut served {
        assert!(client.head().starts_with("HTTP/1.1 101 "));
    }

    // Nothing comes for those that were not accepted, and waiting for it costs next to nothing.
    let cpu = cpu_time(server.pid());
    for client in &mut waiting[SPARE..] {
        client.stream.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
        assert!(client.stream.peek(&mut [0]).is_err(), "the descriptors were meant to be used up");
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let spent = cpu_time(server.pid()) - cpu;
    assert!(spent < Duration::from_millis(100), "{spent:?} of CPU time for 300 ms of waiting");

    // Those who are in are served as ever; descriptors that come free go to those who wait.
    served[0].send(Opcode::Text, b"ping");
    served[0].expect(Opcode::Text, b"pong");
    served.truncate(SERVED / 2);
    for client in &mut waiting {
        assert!(client.head().starts_with("HTTP/1.1 101 "));
    }
}
