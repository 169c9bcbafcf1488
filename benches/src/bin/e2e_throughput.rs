//! `e2e_throughput [clients] [seconds] [server arguments ...]`: every client subscribes to one channel and publishes
//! 64 B into it as fast as it can; prints deliveries a second and what the server paid for them.
//!
//! The server runs on the first CPU, this program on the others. One thread, one epoll, no library between it and the sockets.

use std::error::Error;
use std::time::Duration;

use pulse_bench::{Cores, Dialect, Server, blast};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let count: usize =
        args.next().map_or(Ok(16), |arg| arg.parse()).map_err(|_| "clients: a number, by default 16")?;
    let seconds: u64 =
        args.next().map_or(Ok(5), |arg| arg.parse()).map_err(|_| "seconds: a number, by default 5")?;
    let rest: Vec<String> = args.collect();
    // On a busy machine this program is a slow reader at times: that is to cost it publications, not the connection.
    let own = ["--channels-slow-consumer", "drop_oldest"];
    let rest: Vec<&str> = own.into_iter().chain(rest.iter().map(String::as_str)).collect();
    let cores = Cores::split(&Cores::available()?, 1);
    let server = Server::start(&rest, Some(&cores))?;
    let result = blast(&server, Dialect::V1, count, 64, Duration::from_secs(seconds))?;
    let elapsed = result.elapsed.as_secs_f64();
    println!("{cores}");
    println!("clients                      {count}");
    println!("published/s                  {:.0}", result.published as f64 / elapsed);
    println!("deliveries/s                 {:.0}", result.delivered as f64 / elapsed);
    println!("deliveries/server CPU second {:.0}", result.deliveries_per_cpu_second());
    println!("server CPU                   {:.0} %", 100.0 * result.cpu.as_secs_f64() / elapsed);
    println!("server peak resident         {:.1} MB", result.peak as f64 / 1e6);
    Ok(())
}
