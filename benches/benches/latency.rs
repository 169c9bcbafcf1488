//! From one client's write to another one's read, through a real server over loopback, one message at a time.
//!
//! `cargo bench -p pulse-bench --bench latency`. The server runs on a thread of this process; what is measured holds
//! two wake-ups of sleeping threads, which cost more than the server itself on most machines.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pulse_bench::{Client, Dialect};
use pulse_native::config::Config;
use pulse_native::server::Server;

fn server() -> SocketAddr {
    let mut config = Config::default();
    config.server.port = 0;
    config.metrics.enabled = false;
    let server = Server::bind(config.to_options().expect("the defaults are valid")).expect("a port is free");
    let addr = server.local_addr().expect("it listens on TCP");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(server.run(config.routers(), std::future::pending())).expect("the server runs");
    });
    addr
}

/// One publication, and each subscriber has read it.
fn publish(c: &mut Criterion) {
    let addr = server();
    let mut group = c.benchmark_group("publish to the last of");
    for subscribers in [1, 10, 100] {
        let room = format!("room:{subscribers}");
        let mut clients: Vec<Client> = (0..subscribers)
            .map(|_| {
                let mut client = Client::connect(&addr.into(), Dialect::V1).expect("the server accepts");
                client.subscribe(&room).expect("anyone may subscribe");
                client
            })
            .collect();
        let mut publisher = Client::connect(&addr.into(), Dialect::V1).expect("the server accepts");
        let publication = Client::publication(Dialect::V1, &room, &[0x61; 64]);
        let mut buffer = vec![0; 64 * 1024];
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter(|| {
                publisher.write(&publication).expect("the server reads");
                for client in &mut clients {
                    let mut seen = 0;
                    while seen == 0 {
                        client.read(&mut buffer, |_| seen += 1).expect("the server writes");
                    }
                }
            });
        });
    }
    group.finish();
}

/// The same exchange of bytes without a server between: what the machine itself takes.
fn bare_echo(c: &mut Criterion) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let addr = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        stream.set_nodelay(true).expect("a TCP socket");
        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..n]).expect("the client reads");
        }
    });
    let mut stream = TcpStream::connect(addr).expect("the thread accepts");
    stream.set_nodelay(true).expect("a TCP socket");
    let mut buffer = [0; 1024];
    c.bench_function("bare echo of 100 B by another thread", |b| {
        b.iter(|| {
            stream.write_all(&[7; 100]).expect("the thread reads");
            let mut read = 0;
            while read < 100 {
                read += stream.read(&mut buffer).expect("the thread writes");
            }
        });
    });
}

criterion_group!(benches, publish, bare_echo);
criterion_main!(benches);
