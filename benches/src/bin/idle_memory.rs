//! `idle_memory [connections]`: resident memory of the server for each idle subscribed connection, and for each
//! channel with one subscriber.
//!
//! Half of the connections come first and are not counted, so that what a server needs once is not divided among them.

use std::error::Error;

use pulse_bench::{Client, Dialect, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let count: usize = std::env::args()
        .nth(1)
        .map_or(Ok(5_000), |arg| arg.parse())
        .map_err(|_| "connections: a number, by default 5000")?;
    let shared = slope(count, |_| "room".into())?;
    println!("one idle connection subscribed to a shared channel      {shared:.0} B resident");
    let own = slope(count, |n| format!("room:{n:06}"))?;
    println!("one idle connection subscribed to a channel of its own  {own:.0} B resident");
    println!("one channel with one subscriber                         {:.0} B resident", own - shared);
    Ok(())
}

/// Bytes that the server's memory grows by for each connection of the second half.
fn slope(count: usize, channel: impl Fn(usize) -> String) -> Result<f64, Box<dyn Error>> {
    let server = Server::start(&["--limits-max-channels", "1000000"], None)?;
    let mut clients = Vec::new();
    let mut half = 0;
    for n in 0..count + count / 2 {
        if n == count / 2 {
            half = server.process().resident();
        }
        let mut client = Client::connect(server.target(), Dialect::V1)?;
        client.subscribe(&channel(n))?;
        clients.push(client);
    }
    Ok((server.process().resident() as f64 - half as f64) / count as f64)
}
