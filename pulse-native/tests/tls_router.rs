//! TLS around the whole server, router and metrics included: what is the same as without it, and what is counted.

mod e2e_support;
mod tls_support;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use e2e_support::{Running, connect, dial, publication, split, subscribe};
use pulse_core::wire::Frame;
use pulse_native::config::Config;
use rustls::{ClientConfig, HandshakeKind};
use tls_support::{Files, Secure, secure, websocket};
use tungstenite::{Message, WebSocket};

fn start(files: &Files, change: impl FnOnce(&mut Config)) -> Running {
    Running::start_custom(change, |options| options.tls = Some(files.identity()), |config| config.routers())
}

/// Counts the records of application data that come.
struct Counted {
    tcp: TcpStream,
    records: Arc<AtomicUsize>,
    /// Of the next record's header.
    header: Vec<u8>,
    /// Bytes of this record that are still to come.
    left: usize,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.tcp.read(buf)?;
        for &byte in &buf[..len] {
            if self.left > 0 {
                self.left -= 1;
                continue;
            }
            self.header.push(byte);
            if let [kind, _, _, high, low] = self.header[..] {
                self.records.fetch_add(usize::from(kind == 23), Relaxed);
                self.left = u16::from_be_bytes([high, low]).into();
                self.header.clear();
            }
        }
        Ok(len)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// A client whose session is open, and the number of records that it got.
fn client(server: &Running, config: &Arc<ClientConfig>) -> (WebSocket<Secure<Counted>>, Arc<AtomicUsize>) {
    let records = Arc::<AtomicUsize>::default();
    let tcp = dial(server.addr);
    let counted = Counted { tcp, records: Arc::clone(&records), header: Vec::new(), left: 0 };
    let mut socket = websocket(server.addr, secure(config, counted));
    send(&mut socket, &[connect(1)]);
    assert!(
        matches!(binary(&mut socket), bytes if matches!(split(&bytes)[0].decoded(), Frame::Connected(_)))
    );
    (socket, records)
}

fn send(socket: &mut WebSocket<Secure<Counted>>, frames: &[Frame<'_>]) {
    let mut message = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut message));
    socket.send(Message::binary(message)).unwrap();
}

fn binary(socket: &mut WebSocket<Secure<Counted>>) -> Vec<u8> {
    match socket.read().unwrap() {
        Message::Binary(bytes) => bytes.to_vec(),
        other => panic!("{other:?} came"),
    }
}

#[test]
fn what_one_turn_says_to_a_client_is_in_as_few_records_as_can_be() {
    const COUNT: usize = 100;
    let files = Files::new("batch");
    let server = start(&files, |_| {});
    let (mut reader, records) = client(&server, &files.trusting());
    send(&mut reader, &[subscribe(1, "c")]);
    binary(&mut reader);
    let (mut publisher, _) = client(&server, &files.trusting());
    for (size, expected) in [(50, 1), (400, 3)] {
        let before = records.load(Relaxed);
        // One message of the publisher is taken in at once, however many publications are in it.
        let payload = vec![7; size];
        send(&mut publisher, &vec![publication("c", &payload); COUNT]);
        let message = binary(&mut reader);
        assert_eq!(split(&message).len(), COUNT);
        let (came, fewest) = (records.load(Relaxed) - before, message.len().div_ceil(16 << 10));
        assert_eq!((came, fewest), (expected, expected), "{} bytes", message.len());
    }
}

#[test]
fn connections_of_one_address_count_as_they_do_without_tls() {
    let files = Files::new("address");
    let server = start(&files, |config| {
        config.limits.max_connections_per_address = 2;
        config.metrics.enabled = true;
    });
    let config = files.trusting();
    let (first, _second) = (client(&server, &config), client(&server, &config));
    let host = server.addr;
    let upgrade = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    // Read by the shard, and, for the line before it, by hyper.
    for request in [upgrade.clone(), format!("\r\n{upgrade}")] {
        let mut stream = secure(&config, dial(server.addr));
        stream.write_all(request.as_bytes()).unwrap();
        let (mut answer, mut buf) = (String::new(), [0; 1024]);
        while !answer.ends_with("this address has as many connections as one may have") {
            let len = stream.read(&mut buf).expect("the answer comes whole");
            assert!(len > 0, "{answer}");
            answer.push_str(str::from_utf8(&buf[..len]).unwrap());
        }
        assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("retry-after: "), "{answer}");
    }
    assert_eq!(server.metric("pulse_refused_total{reason=\"address\"}"), 2);
    // A handshake alone takes no place, and one that has ended gives its own back.
    let mut waiting = secure(&config, dial(server.addr));
    waiting.conn.complete_io(&mut waiting.sock).unwrap();
    drop(first);
    server.wait_for_metric("pulse_connections_active", 1);
    let _third = websocket(server.addr, waiting);
    server.wait_for_metric("pulse_connections_active", 2);
}

#[test]
fn failed_handshakes_are_counted_by_reason() {
    let files = Files::new("counted");
    let server = start(&files, |config| config.metrics.enabled = true);
    let other = Files::new("other");
    let mut hello = Vec::new();
    secure(&files.trusting(), io::empty()).conn.write_tls(&mut hello).unwrap();
    let mut unknown = (*files.trusting()).clone();
    unknown.alpn_protocols = vec![b"h2".to_vec()];
    let handshake = |config: ClientConfig| {
        let mut stream = secure(&Arc::new(config), dial(server.addr));
        stream.conn.complete_io(&mut stream.sock).expect_err("this handshake fails");
    };
    let say = |bytes: &[u8]| dial(server.addr).write_all(bytes).unwrap();

    handshake((*other.trusting()).clone());
    handshake(unknown);
    say(b"GET /health HTTP/1.1\r\n\r\n");
    say(&[0; 100]);
    say(b"");
    say(&hello[..hello.len() / 2]);
    // After its handshake a session may end as it likes.
    let (ended, _) = client(&server, &files.trusting());
    drop(ended);
    let mut changed = secure(&files.trusting(), dial(server.addr));
    changed.conn.complete_io(&mut changed.sock).unwrap();
    changed.sock.write_all(&[23, 3, 3, 0, 20]).unwrap();
    changed.sock.write_all(&[0; 20]).unwrap();
    changed.read(&mut [0; 1]).expect_err("a record that cannot be read ends the session");

    let count = |reason: &str, value| {
        server.wait_for_metric(&format!("pulse_tls_handshakes_failed_total{{reason=\"{reason}\"}}"), value);
    };
    for (reason, value) in
        [("rejected", 1), ("incompatible", 1), ("plain", 1), ("invalid", 1), ("closed", 2), ("timeout", 0)]
    {
        count(reason, value);
    }
}

#[test]
fn a_handshake_that_is_not_over_in_time_is_counted() {
    let files = Files::new("slow");
    let server = start(&files, |config| {
        config.metrics.enabled = true;
        config.server.handshake_timeout_ms = 50;
    });
    let _silent = dial(server.addr);
    server.wait_for_metric("pulse_tls_handshakes_failed_total{reason=\"timeout\"}", 1);
}

#[test]
fn a_client_that_comes_back_with_its_ticket_spares_the_full_handshake() {
    let files = Files::new("ticket");
    let server = start(&files, |_| {});
    let config = files.trusting();
    let kinds = [(); 2].map(|()| {
        // Its session is open, so the ticket has been read.
        let (socket, _) = client(&server, &config);
        assert_eq!(socket.get_ref().conn.tls13_tickets_received(), 1);
        socket.get_ref().conn.handshake_kind()
    });
    assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
}
