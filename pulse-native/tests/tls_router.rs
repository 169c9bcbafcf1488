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
use rustls::ClientConfig;
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
