//! Running out of file descriptors. A file of its own, since the limit is the whole process's.

mod support;

use std::time::Duration;

use pulse_native::ws::Opcode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use support::{Host, PATIENCE, options};

#[test]
fn running_out_of_descriptors_is_survived_without_spinning() {
    const CLIENTS: usize = 40;
    const SPARE: usize = 10;
    let host = Host::start(options());
    host.websocket();
    host.wait_until_empty();
    // The kernel completes these connections whether or not the server can accept them: a quarter finds no descriptor.
    let mut clients = Vec::new();
    let before = getrlimit(Resource::Nofile);
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count();
    limit_to(before, used + 2 * CLIENTS - SPARE);
    for _ in 0..CLIENTS {
        let mut client = host.connect();
        client.write(&host.upgrade("Sec-WebSocket-Protocol: pulse.v1\r\n"));
        clients.push(client);
    }
    let late = clients.split_off(CLIENTS - SPARE / 2);
    for client in &mut clients[..CLIENTS - 2 * SPARE] {
        assert!(client.head().starts_with("HTTP/1.1 101 "));
    }

    // Nothing comes for those that were not accepted, and waiting for it costs next to nothing.
    let cpu = cpu_time();
    let mut waiting = late;
    for client in &mut waiting {
        client.stream.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
        assert!(client.stream.peek(&mut [0]).is_err(), "the descriptors were meant to be used up");
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let spent = cpu_time() - cpu;
    assert!(spent < Duration::from_millis(100), "{spent:?} of CPU time for 300 ms of waiting");

    // Those who are in are served as ever; descriptors that come free go to those who wait.
    clients[0].send(Opcode::Text, b"still served");
    clients[0].expect(Opcode::Text, b"still served");
    clients.drain(..CLIENTS / 2);
    for client in &mut waiting {
        assert!(client.head().starts_with("HTTP/1.1 101 "));
    }
    limit_to(before, usize::try_from(before.current.unwrap_or(1024)).unwrap());
}

fn limit_to(limit: Rlimit, soft: usize) {
    setrlimit(Resource::Nofile, Rlimit { current: Some(soft as u64), ..limit }).unwrap();
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
