//! `server.host = "unix:..."`: the same server at a path, whom it believes what there, and which places it takes.

mod e2e_support;
mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use e2e_support::process::{Process, run};
use e2e_support::unix::{Place, frames, send};
use e2e_support::{PATIENCE, publication};
use pulse_core::wire::{CloseCode, Disconnect, Frame};
use pulse_native::server::Server;
use pulse_native::ws::Opcode;
use rustix::process::Signal;
use support::{echo::Echo, frame, options_with};
use tungstenite::Message;

const KEY: &str = "0123456789abcdef";

/// A `pulse` that listens at a place.
fn serve(place: &Place, arguments: &[&str]) -> Process {
    Process::serve(&[&["--host", &place.host()], arguments].concat())
}

#[test]
fn sessions_and_requests_come_over_a_unix_socket_until_it_is_removed_at_the_end() {
    let place = Place::new("unix-session");
    let serving = serve(&place, &["--server-shards=2", "--server-retry-spread-ms=0", "--api-key", KEY]);
    let there = fs::symlink_metadata(place.socket()).unwrap();
    assert!(there.file_type().is_socket());
    assert_eq!(there.permissions().mode() & 0o777, 0o660);

    // On both shards, as they are given connections in turn.
    let mut sessions = [(); 4].map(|()| place.subscriber());
    let payload = vec![0x61; 60_000];
    for n in 0..20_u8 {
        let payload = [&[n], &payload[..]].concat();
        send(&mut sessions[usize::from(n) % 4], &[publication("news", &payload)]);
        for session in &mut sessions {
            assert_eq!(frames(session)[0].decoded(), publication("news", &payload));
        }
    }

    let health = place.ask("GET", "/health", &[]);
    assert!(health.starts_with("HTTP/1.1 200 ") && health.ends_with("ok"), "{health}");
    let body = "{\"channel\":\"news\",\"payload\":\"hello\"}";
    let headers = [
        "Content-Type: application/json",
        &format!("X-API-Key: {KEY}"),
        &format!("Content-Length: {}", body.len()),
        &format!("\r\n{body}"),
    ];
    let published = place.ask("POST", "/api/v1/publish", &headers);
    assert!(published.starts_with("HTTP/1.1 200 "), "{published}");
    for session in &mut sessions {
        assert!(matches!(frames(session)[0].decoded(), Frame::Publish(_)));
    }

    serving.signal(Signal::TERM);
    let goodbye =
        Disconnect { code: CloseCode::SHUTDOWN.0, reason: CloseCode::SHUTDOWN.text(), retry_ms: Some(0) };
    for session in &mut sessions {
        assert_eq!(frames(session)[0].decoded(), Frame::Disconnect(goodbye));
        assert!(matches!(session.read(), Ok(Message::Close(Some(_)))));
        // Once a client was told, nobody new comes.
        assert!(!place.socket().exists());
    }
    drop(sessions);
    assert!(serving.wait().0.success());
}

#[test]
fn an_upgrade_that_goes_the_long_way_comes_back_to_its_shard() {
    let place = Place::new("unix-hyper");
    let _serving = serve(&place, &[]);
    let mut stream = place.dial();
    // The method is not read in one piece, so the first bytes are handed to hyper.
    stream.write_all(b"\r\n").unwrap();
    stream.write_all(&support::upgrade(([127, 0, 0, 1], 80).into(), "")).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    stream.write_all(&frame(Opcode::Text, b"ping")).unwrap();
    // The greeting of the first release comes before it.
    let mut heard = Vec::new();
    while !heard.ends_with(b"\x81\x04pong") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        heard.push(byte[0]);
    }
}

#[test]
fn what_loopback_addresses_are_trusted_with_a_unix_socket_is_not() {
    let place = Place::new("unix-trust");
    let _serving = serve(&place, &[]);
    for (method, path) in [("GET", "/"), ("GET", "/api/v1/openapi.json"), ("POST", "/api/v1/info")] {
        let answer = place.ask(method, path, &["Content-Length: 0"]);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    // A page of the same host is one in any case, another port of this machine is not.
    assert!(place.open(&[("origin", "http://localhost")]).is_ok());
    assert_eq!(place.open(&[("origin", "http://localhost:3000")]).err(), Some(403));
}

#[test]
fn all_of_the_socket_are_one_address_unless_it_is_listed_as_a_proxy() {
    let limit = "--limits-max-connections-per-address=1";
    let from = |place: &Place, client| place.open(&[("x-forwarded-for", client)]);

    let place = Place::new("unix-one");
    let _serving = serve(&place, &[limit]);
    let _first = from(&place, "9.9.9.9").expect("one may come");
    assert_eq!(from(&place, "8.8.8.8").err(), Some(429));

    let place = Place::new("unix-proxy");
    let _serving = serve(&place, &[limit, "--server-trusted-proxies=unix"]);
    let _first = from(&place, "9.9.9.9").expect("one may come");
    let _second = from(&place, "8.8.8.8").expect("one of another address may come");
    assert_eq!(from(&place, "8.8.8.8").err(), Some(429));
    let _bare = place.open(&[]).expect("who is not told of is the socket itself");
    assert_eq!(place.open(&[]).err(), Some(429));
}

/// Exit code and the last line of a `pulse` that does not start.
#[track_caller]
fn refused(host: &str, arguments: &[&str], code: i32, says: &str) {
    let (status, _, said) = run(&[&["serve", "--host", host, "--metrics-port", "0"], arguments].concat());
    assert_eq!(status, Some(code), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("pulse: ") && last.contains(host) && last.contains(says), "{said}");
}

#[test]
fn a_place_that_is_taken_or_cannot_be_is_refused_and_left_as_it_is() {
    let place = Place::new("unix-refused");
    let serving = serve(&place, &[]);
    refused(&place.host(), &[], 1, "another server is listening on this socket; stop it, or");
    assert!(place.ask("GET", "/health", &[]).ends_with("ok"), "the one that listens goes on");
    drop(serving);

    let file = place.0.join("file");
    fs::write(&file, "precious").unwrap();
    refused(&format!("unix:{}", file.display()), &[], 1, "a file is there that is no socket; remove it");
    assert_eq!(fs::read(&file).unwrap(), b"precious");

    let link = place.0.join("link");
    std::os::unix::fs::symlink(place.socket(), &link).unwrap();
    refused(&format!("unix:{}", link.display()), &[], 1, "a file is there that is no socket; remove it");

    let missing = place.0.join("missing");
    let says = format!("the folder {} does not exist; make it, or", missing.display());
    refused(&format!("unix:{}/pulse.sock", missing.display()), &[], 1, &says);
    let says = format!("{} is no folder; set server.host", file.display());
    refused(&format!("unix:{}/pulse.sock", file.display()), &[], 1, &says);

    // Somebody has it who does not speak HTTP, and is not asked to.
    fs::remove_file(place.socket()).unwrap();
    let _datagrams = std::os::unix::net::UnixDatagram::bind(place.socket()).unwrap();
    refused(&place.host(), &[], 1, "another server is listening on this socket");
}

#[test]
fn settings_that_do_not_go_with_a_unix_socket_are_mistakes() {
    let tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    refused("unix:/run/pulse.sock", &tls, 2, "tls.cert (\"cert.pem\", --tls-cert) has to be empty where");
    refused("unix:pulse.sock", &[], 2, "or \"unix:\" and the path of a socket");
    refused("unix:/run/pulse.sock", &["--api-enabled", "on"], 2, "needs api.key");
    // Ports are of no account: the same one twice is no conflict.
    let (code, _, said) = run(&["check-config", "--host", "unix:/run/pulse.sock", "--port", "9090"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let limit = ["check-config", "--host", "unix:/a", "--limits-max-connections-per-address", "5"];
    let (_, _, said) = run(&limit);
    assert!(said.contains("put \"unix\" into server.trusted_proxies"), "{said}");
    assert_eq!(run(&[&limit[..], &["--server-trusted-proxies", "unix"]].concat()).2, "");
}

#[test]
fn a_socket_that_a_killed_server_has_left_is_replaced() {
    let place = Place::new("unix-stale");
    drop(serve(&place, &[]));
    assert!(place.socket().exists(), "a process that is killed removes nothing");
    let _serving = serve(&place, &[]);
    assert!(place.ask("GET", "/health", &[]).ends_with("ok"));
}

#[test]
fn a_socket_that_has_come_in_its_place_stays() {
    let place = Place::new("unix-other");
    let serving = serve(&place, &[]);
    fs::remove_file(place.socket()).unwrap();
    let _other = UnixListener::bind(place.socket()).unwrap();
    serving.signal(Signal::TERM);
    assert!(serving.wait().0.success());
    assert!(place.socket().exists());
}

#[test]
fn a_server_that_does_not_start_leaves_no_socket() {
    let place = Place::new("unix-metrics");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, _, said) = run(&["serve", "--host", &place.host(), "--metrics-port", &port]);
    assert_eq!(code, Some(1), "{said}");
    assert!(!place.socket().exists());
}

#[test]
fn what_was_written_before_leaving_counts_also_where_reading_is_held_back() {
    let place = Place::new("unix-paused");
    let server = Server::bind(options_with(|options| options.host = place.host())).unwrap();
    assert_eq!(server.local_addr(), None);
    let seats = server.seats();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(server.run(|_| Echo::with_commands(), async { stopped.await.unwrap() })).unwrap()
    });
    let mut watcher = place.open(&[]).unwrap();
    let mut leaver = place.open(&[]).unwrap();
    // The second is answered by the host itself in the turn of the pause, so the pause holds when that has come. They are
    // one write, since the pause would keep the second from being read later.
    leaver.write(Message::binary(b"!pause".to_vec())).unwrap();
    leaver.write(Message::text("ping")).unwrap();
    leaver.flush().unwrap();
    assert_eq!(leaver.read().unwrap(), Message::text("pong"));
    leaver.send(Message::binary(b"!tell".to_vec())).unwrap();
    drop(leaver);
    assert_eq!(watcher.read().unwrap(), Message::text("told"));
    let start = Instant::now();
    while seats.taken() > 1 {
        assert!(start.elapsed() < PATIENCE, "the one that left is still there");
        thread::yield_now();
    }
    drop(watcher);
    stop.send(()).unwrap();
    assert_eq!(thread.join().unwrap().cut_off, 0);
    assert!(!place.socket().exists());
}

#[test]
fn of_servers_that_start_at_once_one_has_the_place() {
    const SERVERS: usize = 4;
    let place = Place::new("unix-race");
    for round in 0..25 {
        // What a server leaves that is killed.
        drop(UnixListener::bind(place.socket()).unwrap());
        let ready = Barrier::new(SERVERS);
        let start = || {
            let options = options_with(|options| options.host = place.host());
            ready.wait();
            Server::bind(options)
        };
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..SERVERS).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "round {round}: {results:?}");
        drop(place.dial());
        drop(results);
        assert!(!place.socket().exists(), "round {round}");
    }
}
