//! `e2e_throughput [clients] [seconds] [server arguments ...]`: every client subscribes to one channel and publishes
//! 64 B into it as fast as it can; prints deliveries a second and what the server paid for them.
//!
//! The server runs on CPU 0, this program on the others. One thread, one epoll, no library between it and the sockets.

use std::error::Error;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use pulse_bench::{Client, Dialect, Server};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

/// Publications prepared as one block of bytes: one write sends as many of them as fit.
const BLOCK: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let count: usize =
        args.next().map_or(Ok(16), |arg| arg.parse()).map_err(|_| "clients: a number, by default 16")?;
    let seconds: u64 =
        args.next().map_or(Ok(5), |arg| arg.parse()).map_err(|_| "seconds: a number, by default 5")?;
    let rest: Vec<String> = args.collect();
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let server = Server::start(&rest, Some(0))?;
    let process = server.process();

    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(server.addr(), Dialect::V1)?;
        client.subscribe("room")?;
        client.set_nonblocking()?;
        clients.push(client);
    }
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (n, client) in clients.iter().enumerate() {
        let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        epoll::add(&epoll, client, epoll::EventData::new_u64(n as u64), both)?;
    }
    let block = Client::publication("room", &[0x61; 64]).repeat(BLOCK);
    // Where in the block each client stands: a publication may leave in two pieces.
    let mut at = vec![0; count];
    let mut buffer = vec![0; 1 << 20];
    let mut events = Vec::with_capacity(1024);
    let (mut published, mut delivered) = (0_u64, 0_u64);
    let one = (block.len() / BLOCK) as u64;
    let (begin, cpu) = (Instant::now(), process.cpu());
    let end = begin + Duration::from_secs(seconds);
    while Instant::now() < end {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for epoll::Event { flags, data } in events.drain(..) {
            let n = data.u64() as usize;
            let client = &mut clients[n];
            if flags.contains(epoll::EventFlags::IN) {
                match client.read(&mut buffer, |_| delivered += 1) {
                    Ok(0) => return Err("the server closed a connection".into()),
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                    _ => {}
                }
            }
            if flags.contains(epoll::EventFlags::OUT) {
                match client.write(&block[at[n]..]) {
                    Ok(written) => {
                        published += written as u64;
                        at[n] = (at[n] + written) % block.len();
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    let (elapsed, cpu) = (begin.elapsed().as_secs_f64(), (process.cpu() - cpu).as_secs_f64());
    println!("clients                      {count}");
    println!("published/s                  {:.0}", (published / one) as f64 / elapsed);
    println!("deliveries/s                 {:.0}", delivered as f64 / elapsed);
    println!("deliveries/server CPU second {:.0}", delivered as f64 / cpu);
    println!("server CPU                   {:.0} %", 100.0 * cpu / elapsed);
    println!("server peak resident         {:.1} MB", process.peak() as f64 / 1e6);
    Ok(())
}
