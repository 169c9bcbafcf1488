//! `pulse_native::client` against the real server, and against servers that a test scripts.

mod e2e_support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use e2e_support::{PATIENCE, Received, Running, split};
use pulse_core::wire::{
    Ack, CloseCode, Connected, Disconnect, ErrorCode, ErrorFrame, Format, Frame, Gap as GapFrame, Payload,
    Publish, Unsubscribed as UnsubscribedFrame,
};
use pulse_native::client::{
    Client, ConnectError, Disconnected, Event, Gap, Options, Publication, RequestError, ServerError,
    Unsubscribed,
};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

async fn connect(server: &Running) -> Client {
    Client::connect(&server.url(), Options::default()).await.expect("the server opens a session")
}

fn publication(channel: &str, payload: &[u8]) -> Event {
    Event::Publication(Publication {
        channel: channel.to_owned(),
        payload: payload.to_vec(),
        ..Publication::default()
    })
}

#[tokio::test]
async fn what_one_client_publishes_another_gets() {
    let server = Running::start();
    let (mut subscriber, mut publisher) = (connect(&server).await, connect(&server).await);
    assert!(!subscriber.connection_id().is_empty());
    assert_ne!(subscriber.connection_id(), publisher.connection_id());
    subscriber.subscribe("c").await.expect("anyone may subscribe");
    publisher.publish("c", b"{}", Format::Json, Some("made")).await.expect("anyone may publish");
    let expected = Publication {
        channel: "c".to_owned(),
        payload: b"{}".to_vec(),
        format: Format::Json,
        event: Some("made".to_owned()),
        ..Publication::default()
    };
    assert_eq!(subscriber.next().await, Ok(Event::Publication(expected)));
    assert_eq!(subscriber.try_next(), None);
    subscriber.close().await;
    publisher.close().await;
}

#[tokio::test]
async fn what_arrives_while_a_request_waits_is_kept() {
    let server = Running::start();
    let mut client = connect(&server).await;
    client.subscribe("c").await.expect("anyone may subscribe");
    for payload in [b"1", b"2"] {
        client.publish("c", payload, Format::Raw, None).await.expect("anyone may publish");
    }
    // Its own message came behind the ack of the first, before the ack of the second.
    assert_eq!(client.try_next(), Some(publication("c", b"1")));
    assert_eq!(client.next().await, Ok(publication("c", b"2")));
}

#[tokio::test]
async fn a_payload_as_large_as_a_server_takes_goes_and_comes() {
    const SIZE: usize = 8 << 20;
    let server = Running::start_with(|config| {
        config.limits.max_message_size = SIZE as u32;
        config.limits.queue_bytes = 2 * SIZE as u32;
    });
    let mut client = connect(&server).await;
    client.subscribe("c").await.expect("anyone may subscribe");
    let payload: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
    client.publish("c", &payload, Format::Raw, None).await.expect("it is within the limit");
    assert_eq!(client.next().await, Ok(publication("c", &payload)));
}

#[tokio::test]
async fn a_refusal_names_code_and_text_and_the_session_goes_on() {
    let server = Running::start_with(|config| config.limits.max_subscriptions_per_connection = 1);
    let mut client = connect(&server).await;
    let refused = client.subscribe("$internal").await.expect_err("the name is reserved");
    let RequestError::Refused(error) = refused else { panic!("{refused:?}") };
    assert_eq!((error.code, error.temporary), (ErrorCode::INVALID_CHANNEL, false));
    assert!(error.message.contains("do not start with $"), "{error}");
    client.subscribe("a").await.expect("anyone may subscribe");
    let refused = client.subscribe("b").await.expect_err("one is the limit");
    let RequestError::Refused(error) = refused else { panic!("{refused:?}") };
    assert_eq!((error.code, error.temporary), (ErrorCode::LIMIT_EXCEEDED, true));
}

#[tokio::test]
async fn a_server_that_drains_tells_when_to_come_back() {
    let mut server = Running::start_with(|config| config.server.retry_spread_ms = 0);
    let mut client = connect(&server).await;
    server.stop();
    let end = Disconnected::ByServer {
        code: CloseCode::SHUTDOWN,
        reason: CloseCode::SHUTDOWN.text().to_owned(),
        retry_ms: Some(0),
    };
    assert_eq!(client.next().await, Err(end.clone()));
    assert_eq!(client.next().await, Err(end.clone()));
    assert_eq!(client.subscribe("c").await, Err(RequestError::Disconnected(end)));
}

#[tokio::test]
async fn a_server_that_refuses_is_quoted() {
    let server = Running::start_with(|config| config.limits.max_connections = 1);
    let _first = connect(&server).await;
    let error = Client::connect(&server.url(), Options::default()).await.expect_err("there is one seat");
    assert!(matches!(&error, ConnectError::Refused { status: 503, .. }), "{error}");
    let elsewhere = format!("{}/nowhere", server.url());
    let error = Client::connect(&elsewhere, Options::default()).await.expect_err("there is nothing");
    assert!(error.to_string().contains("404") && error.to_string().contains("/ws"), "{error}");
}

// ---- servers that a test scripts

/// What scripted servers call their heartbeat, in ms. Far above what a busy machine, or a delayed acknowledgement of TCP
/// (40 ms), makes of an answer that comes at once.
const HEARTBEAT: u32 = 500;

type Socket = WebSocket<TcpStream>;

/// A server of one connection: upgrades it, reads `connect`, answers `connected`, then does as told.
fn scripted(script: impl FnOnce(&mut Socket) + Send + 'static) -> (String, JoinHandle<()>) {
    listening(|tcp| {
        let mut socket = tungstenite::accept_hdr(tcp, protocol).expect("the client upgrades");
        let connect = heard(&mut socket);
        assert!(matches!(connect.decoded(), Frame::Connect(connect) if connect.version == 1));
        let connected = Connected {
            connection_id: "a1",
            version: 1,
            heartbeat: HEARTBEAT.into(),
            ..Connected::default()
        };
        say(&mut socket, &[Frame::Connected(connected)]);
        script(&mut socket);
    })
}

/// A server of one connection that does as told from the first byte.
fn listening(script: impl FnOnce(TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let addr: SocketAddr = listener.local_addr().expect("it is bound");
    let thread = spawn(move || {
        let (tcp, _) = listener.accept().expect("the client connects");
        // Or the second of two small messages would wait until the client has acknowledged the first.
        tcp.set_nodelay(true).expect("a TCP stream has no delay");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a stream takes a time limit");
        script(tcp);
    });
    (format!("ws://{addr}/ws"), thread)
}

#[expect(clippy::result_large_err, reason = "the type is the library's")]
fn protocol(
    request: &Request,
    mut response: Response,
) -> Result<Response, tungstenite::handshake::server::ErrorResponse> {
    assert_eq!(request.headers()["sec-websocket-protocol"], "pulse.v1");
    let value = "pulse.v1".parse().expect("this is a header's value");
    response.headers_mut().insert("sec-websocket-protocol", value);
    Ok(response)
}

fn say(socket: &mut Socket, frames: &[Frame<'_>]) {
    let mut message = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut message));
    socket.send(Message::binary(message)).expect("the client takes a message");
}

fn heard(socket: &mut Socket) -> Received {
    match socket.read() {
        Ok(Message::Binary(bytes)) => split(&bytes).swap_remove(0),
        other => panic!("{other:?} was heard"),
    }
}

/// Until the client has gone.
fn outlast(socket: &mut Socket) {
    while socket.read().is_ok() {}
}

fn id_of(request: &Received) -> u64 {
    match request.decoded() {
        Frame::Subscribe(subscribe) => subscribe.id,
        other => panic!("{other:?} is no subscription"),
    }
}

fn quick() -> Options {
    Options { request_timeout: Duration::from_millis(100), ..Options::default() }
}

#[tokio::test]
async fn pings_of_both_kinds_are_answered() {
    let (url, server) = scripted(|socket| {
        say(socket, &[Frame::Ping { timestamp: Some(7) }]);
        socket.send(Message::Ping(b"alive?".to_vec().into())).expect("the client takes a ping");
        assert_eq!(heard(socket).decoded(), Frame::Pong { timestamp: Some(7) });
        assert_eq!(socket.read().expect("the client answers"), Message::Pong(b"alive?".to_vec().into()));
        say(socket, &[Frame::Disconnect(Disconnect { code: 4000, reason: "done", retry_ms: None })]);
        outlast(socket);
    });
    let mut client = Client::connect(&url, Options::default()).await.expect("the server opens a session");
    assert_eq!(client.connection_id(), "a1");
    assert!(matches!(client.next().await, Err(Disconnected::ByServer { code: CloseCode::SHUTDOWN, .. })));
    drop(client);
    server.join().expect("the script went through");
}

#[tokio::test]
async fn everything_that_a_server_may_tell_becomes_an_event() {
    let (url, server) = scripted(|socket| {
        let error = ErrorFrame { id: 0, code: 1001, message: "what?", temporary: None };
        let gap = GapFrame { channel: "c", reason: "slow", from: Some(2), to: Some(4), count: Some(3) };
        let unsubscribed = UnsubscribedFrame { channel: "c", code: 4, reason: "gone" };
        say(socket, &[Frame::Error(error), Frame::Gap(gap), Frame::Unsubscribed(unsubscribed)]);
        outlast(socket);
    });
    let mut client = Client::connect(&url, Options::default()).await.expect("the server opens a session");
    let error = ServerError { code: ErrorCode::INVALID_FRAME, message: "what?".to_owned(), temporary: false };
    assert_eq!(client.next().await, Ok(Event::Error(error)));
    let gap = Gap {
        channel: "c".to_owned(),
        reason: "slow".to_owned(),
        from: Some(2),
        to: Some(4),
        count: Some(3),
    };
    assert_eq!(client.next().await, Ok(Event::Gap(gap)));
    let end = Unsubscribed { channel: "c".to_owned(), code: 4, reason: "gone".to_owned() };
    assert_eq!(client.next().await, Ok(Event::Unsubscribed(end)));
    client.close().await;
    server.join().expect("the script went through");
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_time_fails_and_the_next_one_may_succeed() {
    let (url, server) = scripted(|socket| {
        let late = heard(socket);
        let next = heard(socket);
        let acks = [&late, &next].map(|request| Frame::Ack(Ack { id: id_of(request), ..Ack::default() }));
        say(socket, &acks);
        outlast(socket);
    });
    let mut client = Client::connect(&url, quick()).await.expect("the server opens a session");
    let error = client.subscribe("slow").await.expect_err("the server says nothing");
    assert_eq!(error, RequestError::TimedOut(Duration::from_millis(100)));
    client.subscribe("quick").await.expect("the second answer is for the second request");
    client.close().await;
    server.join().expect("the script went through");
}

#[tokio::test]
async fn a_flood_before_the_answer_is_kept_within_a_bound() {
    let (url, server) = scripted(|socket| {
        heard(socket);
        let publish = Publish { channel: "c", payload: Payload::from(&[7; 1000][..]), ..Publish::default() };
        let mut message = Vec::new();
        Frame::Publish(publish).encode(&mut message);
        while socket.send(Message::binary(message.clone())).is_ok() {}
    });
    let options = Options { max_message_size: 100_000, ..Options::default() };
    let mut client = Client::connect(&url, options).await.expect("the server opens a session");
    assert_eq!(client.subscribe("c").await, Err(RequestError::Backlog { limit: 100_000 }));
    // What was kept is not lost: the bound and one read more, at most.
    let mut kept = 0;
    while client.try_next().is_some() {
        kept += 1;
    }
    assert!((80..200).contains(&kept), "{kept} publications of 1,000 bytes");
    drop(client);
    server.join().expect("the script went through");
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let (url, server) = scripted(|socket| {
        for number in 0..100u8 {
            let payload = Payload::from(std::slice::from_ref(&number));
            say(socket, &[Frame::Publish(Publish { channel: "c", payload, ..Publish::default() })]);
        }
        outlast(socket);
    });
    let mut client = Client::connect(&url, Options::default()).await.expect("the server opens a session");
    let mut number = 0u8;
    while number < 100 {
        // Polled once and dropped, as often as it takes.
        tokio::select! {
            biased;
            event = client.next() => {
                assert_eq!(event, Ok(publication("c", &[number])));
                number += 1;
            }
            () = tokio::task::yield_now() => {}
        }
    }
    client.close().await;
    server.join().expect("the script went through");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let (url, server) = scripted(outlast);
    let options = Options { silence_grace: Duration::from_millis(50), ..Options::default() };
    let mut client = Client::connect(&url, options).await.expect("the server opens a session");
    // Two heartbeats, and the grace.
    assert_eq!(client.next().await, Err(Disconnected::Silent { ms: u128::from(2 * HEARTBEAT + 50) }));
    drop(client);
    server.join().expect("the script went through");
}

#[tokio::test]
async fn what_came_while_nobody_listened_is_no_silence() {
    let (sent, was_sent) = std::sync::mpsc::channel();
    let (url, server) = scripted(move |socket| {
        let payload = Payload::from(&b"x"[..]);
        say(socket, &[Frame::Publish(Publish { channel: "c", payload, ..Publish::default() })]);
        sent.send(()).expect("the test waits for it");
        outlast(socket);
    });
    let options = Options { silence_grace: Duration::ZERO, ..Options::default() };
    let mut client = Client::connect(&url, options).await.expect("the server opens a session");
    // The whole thread waits, and the runtime with it: for the message, then for longer than the patience, which is two
    // heartbeats.
    was_sent.recv_timeout(PATIENCE).expect("the server sends");
    assert!(
        was_sent.recv_timeout(Duration::from_millis(u64::from(3 * HEARTBEAT))).is_err(),
        "the server sends nothing more"
    );
    assert_eq!(client.next().await, Ok(publication("c", b"x")));
    client.close().await;
    server.join().expect("the script went through");
}

#[tokio::test]
async fn a_message_larger_than_wanted_ends_the_connection() {
    let (url, server) = scripted(|socket| {
        socket.send(Message::binary(vec![0; 1001])).expect("the client has not seen it yet");
        outlast(socket);
    });
    let options = Options { max_message_size: 1000, ..Options::default() };
    let mut client = Client::connect(&url, options).await.expect("the server opens a session");
    let end = client.next().await.expect_err("the message is too large");
    assert!(matches!(end, Disconnected::Protocol(_)), "{end}");
    drop(client);
    server.join().expect("the script went through");
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_from_one_that_is_closed() {
    let (url, server) = scripted(|socket| {
        socket.get_ref().shutdown(std::net::Shutdown::Both).expect("the stream is open");
    });
    let mut client = Client::connect(&url, Options::default()).await.expect("the server opens a session");
    assert!(matches!(client.next().await, Err(Disconnected::Lost(_))));
    server.join().expect("the script went through");
    let (url, server) = scripted(|socket| {
        socket.close(None).expect("the client takes a close");
        outlast(socket);
    });
    let mut client = Client::connect(&url, Options::default()).await.expect("the server opens a session");
    assert!(matches!(client.next().await, Err(Disconnected::ByServer { code: CloseCode(1005), .. })));
    drop(client);
    server.join().expect("the script went through");
}

#[tokio::test]
async fn what_answers_but_is_no_pulse_server_is_told_so() {
    use std::io::{Read as _, Write as _};
    for (answer, says) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "200: hello"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
            "handshake",
        ),
        (b"", "without a word"),
    ] {
        let (url, server) = listening(move |mut tcp| {
            let mut request = [0; 4096];
            assert!(tcp.read(&mut request).expect("the client asks") > 0);
            tcp.write_all(answer).expect("the client listens");
        });
        let error = Client::connect(&url, Options::default()).await.expect_err("it is no server").to_string();
        assert!(error.contains(says), "{error}");
        server.join().expect("the script went through");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    // The system accepts the connection; nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("ws://{}/ws", listener.local_addr().expect("it is bound"));
    let options = Options { connect_timeout: Duration::from_millis(100), ..Options::default() };
    let error = Client::connect(&url, options).await.expect_err("nobody answers");
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("100 ms"), "{error}");
}
