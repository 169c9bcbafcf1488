//! Open WebSockets: messages, control frames, slow readers, and all the ways in which they end.

mod support;

use std::thread;

use pulse_native::server::Drained;
use pulse_native::ws::Opcode;
use support::{Frame, Host, frame, options, options_with};

#[test]
fn messages_of_every_size_come_back_in_order() {
    let host = Host::start(options());
    let mut client = host.websocket();
    for len in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let sent = payload.clone();
        client.send(Opcode::Binary, &sent);
        let frame = client.frame().unwrap();
        assert!(frame == Frame { opcode: Opcode::Binary, payload }, "{len} bytes came back changed");
    }
}

#[test]
fn pings_are_answered_whatever_their_kind() {
    let host = Host::start(options());
    let mut client = host.websocket();
    let mut bytes = Vec::new();
    for n in 0..10 {
        bytes.extend(frame(Opcode::Ping, &[n; 125]));
    }
    bytes.extend(frame(Opcode::Text, b"ping"));
    bytes.extend(frame(Opcode::Text, b"pings"));
    bytes.extend(frame(Opcode::Pong, b"nobody asked"));
    bytes.extend(frame(Opcode::Binary, b"ping"));
    client.write(&bytes);
    for n in 0..10 {
        client.expect(Opcode::Pong, &[n; 125]);
    }
    client.expect(Opcode::Text, b"pong");
    client.expect(Opcode::Text, b"pings");
    client.expect(Opcode::Binary, b"ping");
    client.send(Opcode::Binary, b"!ping");
    client.expect(Opcode::Ping, b"");
}

#[test]
fn a_client_that_does_not_read_gets_everything_in_order_later() {
    const MESSAGES: u32 = 400;
    const LEN: usize = 50_000;
    let host = Host::start(options());
    let mut reader = host.websocket();
    let mut writer = reader.stream.try_clone().unwrap();
    // Connected before there is much to read, so that it is known to the echo.
    let mut other = host.websocket();
    // 20 MB are echoed before the first byte is read.
    for n in 0..MESSAGES {
        let mut payload = vec![0; LEN];
        payload[..4].copy_from_slice(&n.to_be_bytes());
        std::io::Write::write_all(&mut writer, &frame(Opcode::Binary, &payload)).unwrap();
    }
    // While its answers wait, its pings are kept to the newest, and others are served.
    for n in 0..100 {
        std::io::Write::write_all(&mut writer, &frame(Opcode::Ping, &[n])).unwrap();
    }
    std::io::Write::write_all(&mut writer, &frame(Opcode::Binary, b"!tell")).unwrap();
    other.expect(Opcode::Text, b"told");
    // Now all of it has been read by the server.
    let (mut next, mut pongs) = (0_u32, Vec::new());
    while next < MESSAGES || pongs.last() != Some(&99) {
        let frame = reader.frame().unwrap();
        match frame.opcode {
            Opcode::Pong => pongs.push(frame.payload[0]),
            _ => {
                assert_eq!(frame.payload[..4], next.to_be_bytes(), "out of order");
                assert_eq!(frame.payload.len(), LEN);
                next += 1;
            }
        }
    }
    assert!(pongs.is_sorted() && pongs.len() < 100, "{pongs:?}");
}

#[test]
fn a_client_that_takes_nothing_does_not_hold_up_the_others_for_long() {
    let host = Host::start(options_with(|options| {
        options.max_message = 64 << 20;
        options.stall_timeout_ms = 100;
    }));
    let mut stuck = host.websocket();
    // More than a shard keeps unsent: nobody is read from, until what waits for this one no longer counts.
    let message = vec![1; 48 << 20];
    stuck.send(Opcode::Binary, &message);
    let mut other = host.websocket();
    for _ in 0..10 {
        other.send(Opcode::Text, b"still here");
        other.expect(Opcode::Text, b"still here");
    }
    stuck.expect(Opcode::Binary, &message);
}

/// What it says meanwhile cannot be heard.
#[test]
fn who_is_not_read_from_is_not_taken_for_silent() {
    let host = Host::start(options_with(|options| {
        options.max_message = 64 << 20;
        options.stall_timeout_ms = 1_000;
    }));
    let mut other = host.websocket();
    let mut heard = || {
        other.send(Opcode::Binary, b"!heard");
        other.frame().unwrap().payload == b"yes"
    };
    // On a busy machine one may be found out to take nothing before the other has said anything: then there is another one.
    loop {
        let mut stuck = host.websocket();
        stuck.send(Opcode::Binary, &vec![1; 48 << 20]);
        if (0..1_000).any(|_| heard()) {
            return;
        }
    }
}

#[test]
fn a_pause_stops_reading_until_it_ends() {
    let host = Host::start(options());
    let mut paused = host.websocket();
    paused.send(Opcode::Binary, b"!pause");
    // Answered by the host itself in the turn of the pause, so the pause holds when this has come.
    let mut other = host.websocket();
    other.send(Opcode::Text, b"one turn later");
    other.expect(Opcode::Text, b"one turn later");
    paused.send(Opcode::Text, b"after the pause");
    other.send(Opcode::Text, b"another turn later");
    other.expect(Opcode::Text, b"another turn later");
    paused.stream.set_nonblocking(true).unwrap();
    let early = paused.stream.peek(&mut [0]).map_err(|error| error.kind());
    assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));
    paused.stream.set_nonblocking(false).unwrap();
    other.send(Opcode::Binary, b"!resume");
    paused.expect(Opcode::Text, b"after the pause");
}

#[test]
fn a_close_is_echoed_after_the_answers_to_what_came_before_it() {
    let host = Host::start(options());
    for (payload, echo) in [
        (&b"\x03\xe8bye"[..], &b"\x03\xe8"[..]),
        (b"", b""),
        (b"\x0f\xa0", b"\x0f\xa0"),
        (b"\x0b\xb8", b"\x0b\xb8"),
    ] {
        let mut client = host.websocket();
        let mut bytes = frame(Opcode::Text, b"last words");
        bytes.extend(frame(Opcode::Close, payload));
        bytes.extend(frame(Opcode::Text, b"nobody hears this"));
        client.write(&bytes);
        client.expect(Opcode::Text, b"last words");
        client.expect(Opcode::Close, echo);
        assert_eq!(client.frame(), None);
    }
    host.wait_until_empty();
}

#[test]
fn the_engine_closes_with_its_code_and_text() {
    let host = Host::start(options());
    let mut client = host.websocket();
    let mut bytes = frame(Opcode::Text, b"before");
    bytes.extend(frame(Opcode::Binary, b"!close"));
    client.write(&bytes);
    client.expect(Opcode::Text, b"before");
    let reason = client.expect_close(4001);
    assert_eq!(reason, "the client reads more slowly than messages come");
    drop(client);
    host.wait_until_empty();
}

#[test]
fn a_closed_connection_is_dropped_though_the_client_never_ends_its_side() {
    let host = Host::start(options());
    let mut client = host.websocket();
    client.send(Opcode::Close, &[]);
    client.expect(Opcode::Close, &[]);
    host.wait_until_empty();
}

#[test]
fn who_breaks_a_rule_is_told_which() {
    let host = Host::start(options_with(|options| options.max_message = 1000));
    for (bytes, code) in [
        (b"\x81\x05hello".to_vec(), 1002),
        (b"\xc1\x80\0\0\0\0".to_vec(), 1002),
        (frame(Opcode::Close, b"\x03"), 1002),
        (frame(Opcode::Close, b"\x03\xed"), 1002),
        (frame(Opcode::Text, b"\xff"), 1007),
        (frame(Opcode::Binary, &[0; 1001]), 1009),
    ] {
        let mut client = host.websocket();
        let mut all = frame(Opcode::Text, b"fine");
        all.extend(&bytes);
        all.extend([0; 5000]);
        client.write(&all);
        client.expect(Opcode::Text, b"fine");
        assert!(!client.expect_close(code).is_empty());
    }
    host.wait_until_empty();
}

#[test]
fn a_close_frame_survives_what_the_client_still_sends() {
    let host = Host::start(options());
    let mut client = host.websocket();
    // Bytes that nobody reads would turn the server's close into a reset, which destroys what was not received yet.
    let mut bytes = frame(Opcode::Binary, b"!close");
    bytes.extend(frame(Opcode::Binary, &vec![0; 900_000]));
    client.write(&bytes);
    client.expect_close(4001);
}

#[test]
fn a_client_that_vanishes_is_forgotten() {
    let host = Host::start(options());
    let clients: Vec<_> = (0..50).map(|_| host.websocket()).collect();
    assert_eq!(host.seats.taken(), 50);
    for (n, client) in clients.iter().enumerate() {
        if n % 2 == 0 {
            client.finish();
        }
    }
    drop(clients);
    host.wait_until_empty();
}

#[test]
fn a_flood_reaches_everybody() {
    let host = Host::start(options());
    let mut clients: Vec<_> = (0..20).map(|_| host.websocket()).collect();
    clients[0].send(Opcode::Binary, b"!flood");
    for client in &mut clients {
        let frame = client.frame().unwrap();
        assert!(frame.payload == vec![7; 1 << 20], "{} bytes came", frame.payload.len());
    }
}

#[test]
fn draining_closes_every_client_with_the_code_and_ends() {
    let mut host = Host::start(options());
    let mut clients: Vec<_> = (0..30).map(|_| host.websocket()).collect();
    let unfinished = host.connect();
    let mut kept_alive = host.connect();
    kept_alive.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    kept_alive.head();
    host.begin_stop();
    for client in &mut clients {
        assert_eq!(client.expect_close(4000), "the server is shutting down");
    }
    for mut client in [unfinished, kept_alive] {
        client.rest();
    }
    drop(clients);
    assert_eq!(host.wait_for_end(), Drained { cut_off: 0 });
    assert!(std::net::TcpStream::connect(host.addr).is_err(), "nobody listens any more");
}

#[test]
fn who_does_not_leave_in_time_is_cut_off() {
    let mut host = Host::start(options_with(|options| options.shutdown_timeout_ms = 50));
    let mut stays = host.websocket();
    let drains = thread::spawn(move || {
        host.begin_stop();
        host.wait_for_end()
    });
    stays.expect_close(4000);
    assert_eq!(drains.join().unwrap(), Drained { cut_off: 1 });
}
