//! `pulse_native::client` against the real server, and against servers that a test scripts.

mod e2e_support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use e2e_support::{PATIENCE, Received, Running, split};
use pulse_core::wire::{
    Ack, CloseCode, Connected, Disconnect, ErrorCode, ErrorFrame, Frame, Gap as GapFrame, Payload, Publish,
    Unsubscribed as UnsubscribedFrame,
};
use pulse_native::client::{
    Change, Client, ConnectError, Disconnected, Event, Format, Gap, Interruption, Message, Options,
    Publication, RequestError, Status, Subscription, Total,
};
use serde_json::{Value, json};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message as WsMessage, WebSocket};

// Tests with a real server have a thread for their clients: they take leave there while the test waits for the server's end.

async fn connect(server: &Running) -> Client {
    Client::connect(&server.url(), Options::default()).await.expect("the server opens a session")
}

/// A client that does not come back.
fn once() -> Options {
    Options { reconnect: false, ..Options::default() }
}

fn publication(channel: &str, payload: &[u8]) -> Event {
    Event::Publication(Publication {
        channel: channel.to_owned(),
        payload: payload.to_vec(),
        ..Publication::default()
    })
}

/// The next event; a test that waits for one which does not come fails.
async fn next(subscription: &mut Subscription) -> Option<Event> {
    tokio::time::timeout(PATIENCE, subscription.next()).await.expect("something happens in time")
}

async fn next_publication(subscription: &mut Subscription) -> Publication {
    match next(subscription).await {
        Some(Event::Publication(publication)) => publication,
        other => panic!("{other:?} is no publication"),
    }
}

async fn end_of(client: &Client) -> Interruption {
    tokio::time::timeout(PATIENCE, client.closed()).await.expect("it ends in time").expect("it says why")
}

fn connection_id(client: &Client) -> String {
    match &*client.status().borrow() {
        Status::Connected { connection_id, .. } => connection_id.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_one_client_publishes_another_gets() {
    let server = Running::start();
    let (subscriber, publisher) = (connect(&server).await, connect(&server).await);
    assert_ne!(connection_id(&subscriber), connection_id(&publisher));
    let mut channel = subscriber.subscribe("c").await.expect("anyone may subscribe");
    let message = Message::json(&json!({"n": 1})).expect("this is JSON").event("made").key("k").tag("a", "b");
    assert_eq!(publisher.publish("c", message).await, Ok(None), "the channel keeps no positions");
    let expected = Publication {
        channel: "c".to_owned(),
        payload: b"{\"n\":1}".to_vec(),
        format: Format::Json,
        event: Some("made".to_owned()),
        key: Some("k".to_owned()),
        tags: vec![("a".to_owned(), "b".to_owned())],
        ..Publication::default()
    };
    assert_eq!(next_publication(&mut channel).await, expected);
    assert_eq!(channel.try_next(), None);
    subscriber.close().await;
    assert_eq!(channel.next().await, None, "nothing more will come");
    assert!(matches!(*subscriber.status().borrow(), Status::Closed { why: None }));
    assert_eq!(
        subscriber.publish("c", Message::raw("late")).await,
        Err(RequestError::Closed { sent: false })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn values_go_and_come_as_their_types() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Reading {
        sensor: String,
        celsius: f64,
    }
    let server = Running::start();
    let client = connect(&server).await;
    let mut channel = client.subscribe("c").await.expect("anyone may subscribe");
    let reading = Reading { sensor: "roof".to_owned(), celsius: 21.5 };
    for message in [Message::json(&reading), Message::msgpack(&reading)] {
        client.publish("c", message.expect("it has an encoding")).await.expect("anyone may publish");
        assert_eq!(next_publication(&mut channel).await.decode::<Reading>().expect("it is one"), reading);
    }
    client.publish("c", Message::raw("hello")).await.expect("anyone may publish");
    let error = next_publication(&mut channel).await.decode::<Reading>().expect_err("it is none");
    assert!(error.to_string().contains("something else than was asked for"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn answers_are_read_though_nobody_takes_what_comes() {
    let server = Running::start();
    let options = Options { queue_bytes: 10_000, ..Options::default() };
    let client = Client::connect(&server.url(), options).await.expect("the server opens a session");
    let mut channel = client.subscribe("c").await.expect("anyone may subscribe");
    for number in 0..100u8 {
        client.publish("c", Message::raw(vec![number; 1000])).await.expect("anyone may publish");
    }
    let mut expected = 0;
    while expected < 100 {
        match next(&mut channel).await {
            Some(Event::Gap(gap)) => {
                assert_eq!(gap.reason, "slow_application");
                expected += gap.count.expect("it is counted");
            }
            Some(event) => {
                assert_eq!(event, publication("c", &[expected as u8; 1000]));
                expected += 1;
            }
            None => panic!("it ended"),
        }
    }
    assert_eq!(expected, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_payload_as_large_as_a_server_takes_goes_and_comes() {
    const SIZE: usize = 8 << 20;
    let server = Running::start_with(|config| {
        config.limits.max_message_size = SIZE as u32;
        config.limits.queue_bytes = 2 * SIZE as u32;
    });
    let small = connect(&server).await;
    let payload: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
    let refused = small.publish("c", Message::raw(payload.clone())).await;
    assert_eq!(refused, Err(RequestError::TooLarge { limit_bytes: 1 << 20 }));
    let options = Options { outbox_bytes: 2 * SIZE, ..Options::default() };
    let client = Client::connect(&server.url(), options).await.expect("the server opens a session");
    let mut channel = client.subscribe("c").await.expect("anyone may subscribe");
    client.publish("c", Message::raw(payload.clone())).await.expect("it is within the limit");
    assert!(next_publication(&mut channel).await.payload == payload, "it comes as it went");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_messages_are_under_way_at_once_and_stay_in_order() {
    let server = Running::start();
    let options = Options { outbox_bytes: 5_000, ..Options::default() };
    let client = Client::connect(&server.url(), options).await.expect("the server opens a session");
    let mut channel = client.subscribe("c").await.expect("anyone may subscribe");
    let publish = async {
        let mut receipts = Vec::new();
        for number in 0..1000u32 {
            // More than may wait at once: it waits for room.
            let message = Message::raw(number.to_string());
            receipts.push(client.enqueue("c", message).await.expect("anyone may publish"));
        }
        for receipt in receipts {
            receipt.await.expect("the server takes it");
        }
    };
    let take = async {
        for number in 0..1000u32 {
            assert_eq!(next_publication(&mut channel).await.payload, number.to_string().into_bytes());
        }
    };
    tokio::join!(publish, take);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_refusal_names_code_and_text_and_the_session_goes_on() {
    let server = Running::start_with(|config| config.limits.max_subscriptions_per_connection = 1);
    let client = connect(&server).await;
    assert_eq!(client.subscribe("$internal").await.map(drop), Err(RequestError::InvalidChannel));
    assert_eq!(client.publish("", Message::raw("x")).await, Err(RequestError::InvalidChannel));
    let first = client.subscribe("a").await.expect("anyone may subscribe");
    assert_eq!(client.subscribe("a").await.map(drop), Err(RequestError::AlreadySubscribed));
    let refused = client.subscribe("b").await.map(drop).expect_err("one is the limit");
    let RequestError::Refused(error) = refused else { panic!("{refused:?}") };
    assert_eq!((error.code, error.temporary), (ErrorCode::LIMIT_EXCEEDED, true));
    // It is not asked for again: the place is free for another.
    drop(first);
    client.subscribe("c").await.expect("the first one was ended");
    let too_large = Message::raw(vec![b'x'; 65_537]);
    let refused = client.publish("c", too_large).await.expect_err("the server takes 65,536 bytes");
    assert!(refused.to_string().starts_with("error 1007 (payload_too_large): "), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn members_are_listed_counted_and_told_of() {
    let server = Running::start();
    let (watcher, member) = (connect(&server).await, connect(&server).await);
    let mut seen = watcher.subscribe("room").await.expect("anyone may subscribe");
    let shown = member.subscribe("room").await.expect("anyone may subscribe");
    shown.join(&json!({"name": "Ada"})).await.expect("anyone may join");
    let Some(Event::Presence(change)) = next(&mut seen).await else { panic!("a member came") };
    assert_eq!(change.total, Total { clients: 1, users: 1 });
    let [(Change::Join, ada)] = &change.changes[..] else { panic!("{change:?}") };
    assert_eq!(ada.client, connection_id(&member));
    assert_eq!(ada.decode::<Value>().expect("it is a value"), Some(json!({"name": "Ada"})));
    assert_eq!(watcher.members("room").await.expect("anyone may ask"), std::slice::from_ref(ada));
    shown.leave().await.expect("it was there");
    let Some(Event::Presence(change)) = next(&mut seen).await else { panic!("a member went") };
    assert!(matches!(change.changes[..], [(Change::Leave, _)]), "{change:?}");
    assert_eq!(watcher.count_members("room").await, Ok(Total { clients: 0, users: 0 }));
    assert_eq!(watcher.members("$no").await, Err(RequestError::InvalidChannel));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_list_of_members_longer_than_a_page_comes_whole() {
    let server = Running::start_with(|config| config.limits.max_presence_size = 60_000);
    let mut shown = Vec::new();
    for _ in 0..3 {
        let member = connect(&server).await;
        let subscription = member.subscribe("room").await.expect("anyone may subscribe");
        subscription.join(&"x".repeat(50_000)).await.expect("anyone may join");
        shown.push(subscription);
    }
    let members = connect(&server).await.members("room").await.expect("anyone may ask");
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|member| member.data.as_ref().is_some_and(|data| data.len() > 50_000)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_drains_ends_a_client_that_does_not_come_back() {
    let mut server = Running::start();
    let client = Client::connect(&server.url(), once()).await.expect("the server opens a session");
    let mut channel = client.subscribe("c").await.expect("anyone may subscribe");
    server.stop();
    let Interruption::Disconnected(end) = end_of(&client).await else { panic!("there was a session") };
    let reason = CloseCode::SHUTDOWN.text().to_owned();
    assert_eq!(end, Disconnected::ByServer { code: CloseCode::SHUTDOWN, reason });
    assert_eq!(channel.next().await, None);
    assert_eq!(client.subscribe("d").await.map(drop), Err(RequestError::Closed { sent: false }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_comes_back_with_its_subscriptions_and_members() {
    let mut server = Running::start_with(|config| config.server.retry_spread_ms = 0);
    let addr = server.addr;
    let client = connect(&server).await;
    let mut status = client.status();
    let mut channel = client.subscribe("c").await.expect("anyone may subscribe");
    channel.join(&"here").await.expect("anyone may join");
    assert!(matches!(next(&mut channel).await, Some(Event::Presence(_))));
    server.stop();
    let lost = status.wait_for(|status| matches!(status, Status::Waiting { .. })).await;
    drop(lost.expect("it is told"));
    drop(server);
    // While there is no server, what is published waits.
    let late = client.enqueue("c", Message::raw("late")).await.expect("there is room");
    let _server = Running::start_with(|config| config.server.port = addr.port());
    assert_eq!(late.await, Ok(None));
    loop {
        match next(&mut channel).await {
            Some(Event::Resumed { recovered: None }) => break,
            Some(Event::Presence(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let mut left = vec!["late", "member"];
    while !left.is_empty() {
        match next(&mut channel).await {
            Some(Event::Publication(it)) if it.payload == b"late" => left.retain(|it| *it != "late"),
            Some(Event::Presence(change)) => {
                assert!(matches!(change.changes[..], [(Change::Join, _)]), "{change:?}");
                left.retain(|it| *it != "member");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_refuses_is_quoted() {
    let server = Running::start_with(|config| config.limits.max_connections = 1);
    let _first = connect(&server).await;
    let error = Client::connect(&server.url(), Options::default()).await.expect_err("there is one seat");
    assert!(matches!(&error, ConnectError::Refused { status: 503, .. }), "{error}");
    let elsewhere = format!("{}/nowhere", server.url());
    let error = Client::connect(&elsewhere, Options::default()).await.expect_err("there is nothing");
    assert!(error.to_string().contains("404") && error.to_string().contains("/ws"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_that_nobody_holds_takes_leave() {
    let server = Running::start_with(|config| config.limits.max_connections = 1);
    let client = connect(&server).await;
    let mut subscription = client.subscribe("c").await.expect("anyone may subscribe");
    drop(client);
    // A subscription holds it as well.
    let other = Client::connect(&server.url(), Options::default()).await;
    assert!(matches!(other, Err(ConnectError::Refused { status: 503, .. })));
    assert_eq!(subscription.try_next(), None);
    drop(subscription);
    let until_there_is_room = async {
        while Client::connect(&server.url(), Options::default()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, until_there_is_room).await.expect("the seat is given back");
}

// ---- servers that a test scripts

/// What scripted servers call their heartbeat, in ms: the shortest that a client believes.
const HEARTBEAT: u32 = 1000;

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
    socket.send(WsMessage::binary(message)).expect("the client takes a message");
}

fn heard(socket: &mut Socket) -> Received {
    match socket.read() {
        Ok(WsMessage::Binary(bytes)) => split(&bytes).swap_remove(0),
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

/// A server that acknowledges the first subscription, then does as told.
fn subscribed(script: impl FnOnce(&mut Socket) + Send + 'static) -> (String, JoinHandle<()>) {
    scripted(|socket| {
        let id = id_of(&heard(socket));
        say(socket, &[Frame::Ack(Ack { id, ..Ack::default() })]);
        script(socket);
    })
}

/// Subscribed to `c` there.
async fn subscribe(url: &str, options: Options) -> (Client, Subscription) {
    let client = Client::connect(url, options).await.expect("the server opens a session");
    let subscription = client.subscribe("c").await.expect("the server acknowledges");
    (client, subscription)
}

#[tokio::test]
async fn pings_of_both_kinds_are_answered() {
    let (url, server) = scripted(|socket| {
        say(socket, &[Frame::Ping { timestamp: Some(7) }]);
        assert_eq!(heard(socket).decoded(), Frame::Pong { timestamp: Some(7) });
        socket.send(WsMessage::Ping(b"alive?".to_vec().into())).expect("the client takes a ping");
        assert_eq!(socket.read().expect("the client answers"), WsMessage::Pong(b"alive?".to_vec().into()));
        say(socket, &[Frame::Disconnect(Disconnect { code: 4000, reason: "done", retry_ms: None })]);
        outlast(socket);
    });
    let client = Client::connect(&url, once()).await.expect("the server opens a session");
    assert_eq!(connection_id(&client), "a1");
    let end = end_of(&client).await;
    assert!(
        matches!(end, Interruption::Disconnected(Disconnected::ByServer { code: CloseCode::SHUTDOWN, .. })),
        "{end}"
    );
    server.join().expect("the script went through");
}

#[tokio::test]
async fn everything_that_a_server_may_tell_of_a_channel_becomes_an_event() {
    let (url, server) = subscribed(|socket| {
        let gap = GapFrame { channel: "c", reason: "slow", from: Some(2), to: Some(4), count: Some(3) };
        let unsubscribed = UnsubscribedFrame { channel: "c", code: 1004, reason: "gone" };
        say(socket, &[Frame::Gap(gap), Frame::Unsubscribed(unsubscribed)]);
        outlast(socket);
    });
    let (client, mut channel) = subscribe(&url, Options::default()).await;
    let gap = Gap { reason: "slow".to_owned(), from: Some(2), to: Some(4), count: Some(3) };
    assert_eq!(next(&mut channel).await, Some(Event::Gap(gap)));
    let end = Event::Unsubscribed { code: Some(ErrorCode::FORBIDDEN), reason: "gone".to_owned() };
    assert_eq!(next(&mut channel).await, Some(end));
    assert_eq!(next(&mut channel).await, None);
    client.close().await;
    server.join().expect("the script went through");
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_time_fails_and_the_next_one_may_succeed() {
    let (url, server) = scripted(|socket| {
        let id = loop {
            let Ok(WsMessage::Binary(message)) = socket.read() else { panic!("the client asks") };
            // What is asked next comes together with the end of what was not answered.
            let mut ids = split(&message).into_iter().filter_map(|frame| match frame.decoded() {
                Frame::Subscribe(subscribe) if subscribe.channel == "quick" => Some(subscribe.id),
                _ => None,
            });
            if let Some(id) = ids.next_back() {
                break id;
            }
        };
        say(socket, &[Frame::Ack(Ack { id, ..Ack::default() })]);
        outlast(socket);
    });
    let options = Options { request_timeout: Duration::from_millis(100), ..Options::default() };
    let client = Client::connect(&url, options).await.expect("the server opens a session");
    assert_eq!(client.subscribe("slow").await.map(drop), Err(RequestError::TimedOut));
    client.subscribe("quick").await.expect("this one is answered");
    client.close().await;
    server.join().expect("the script went through");
}

#[tokio::test]
async fn a_slow_application_makes_the_client_read_no_more() {
    let (filled, full) = std::sync::mpsc::channel();
    let (url, server) = subscribed(move |socket| {
        let payload = vec![7; 100_000];
        let publish = Publish { channel: "c", payload: Payload::from(&payload[..]), ..Publish::default() };
        let mut message = Vec::new();
        Frame::Publish(publish).encode(&mut message);
        // Until the system's buffers are full, too: a write that takes so long has nobody who reads.
        let patience = Some(Duration::from_millis(200));
        socket.get_ref().set_write_timeout(patience).expect("a stream takes a time limit");
        let mut sent = 0u64;
        while socket.send(WsMessage::binary(message.clone())).is_ok() {
            sent += 1;
        }
        filled.send(sent).expect("the test waits for it");
        socket.get_ref().set_write_timeout(Some(PATIENCE)).expect("a stream takes a time limit");
        socket.flush().expect("the rest of the last one is taken now");
        outlast(socket);
    });
    let options = Options { queue_bytes: 1 << 20, ..Options::default() };
    let (client, mut channel) = subscribe(&url, options).await;
    let sent = tokio::task::spawn_blocking(move || full.recv_timeout(PATIENCE).expect("it fills up"));
    let sent = sent.await.expect("the thread ends");
    // Bounded by the queue and the system's buffers; and nothing of it is lost once it is taken.
    assert!(sent < 1000, "{sent} messages of 100,000 bytes");
    for _ in 0..=sent {
        assert_eq!(next_publication(&mut channel).await.payload.len(), 100_000);
    }
    client.close().await;
    server.join().expect("the script went through");
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let (url, server) = subscribed(|socket| {
        for number in 0..100u8 {
            let payload = Payload::from(std::slice::from_ref(&number));
            say(socket, &[Frame::Publish(Publish { channel: "c", payload, ..Publish::default() })]);
        }
        outlast(socket);
    });
    let (client, mut channel) = subscribe(&url, Options::default()).await;
    let mut number = 0u8;
    while number < 100 {
        // Polled once and dropped, as often as it takes.
        tokio::select! {
            biased;
            event = channel.next() => {
                assert_eq!(event, Some(publication("c", &[number])));
                number += 1;
            }
            () = tokio::task::yield_now() => {}
        }
    }
    client.close().await;
    server.join().expect("the script went through");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_subscription_that_nobody_waits_for_ends() {
    let server = Running::start_with(|config| config.limits.max_subscriptions_per_connection = 1);
    let client = connect(&server).await;
    {
        let mut given_up = std::pin::pin!(client.subscribe("a"));
        tokio::select! {
            biased;
            _ = &mut given_up => panic!("the server cannot have answered yet"),
            () = tokio::task::yield_now() => {}
        }
    }
    client.subscribe("b").await.expect("the one place is free again");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_asked_and_given_up() {
    let (url, server) = scripted(|socket| {
        assert_eq!(heard(socket).decoded(), Frame::Ping { timestamp: None });
        outlast(socket);
    });
    let options = Options { silence_grace: Duration::from_millis(50), ..once() };
    let client = Client::connect(&url, options).await.expect("the server opens a session");
    let end = end_of(&client).await;
    assert!(matches!(end, Interruption::Disconnected(Disconnected::Silent)), "{end}");
    server.join().expect("the script went through");
}

#[tokio::test]
async fn what_came_while_nobody_listened_is_no_silence() {
    let (sent, was_sent) = std::sync::mpsc::channel();
    let (url, server) = subscribed(move |socket| {
        let payload = Payload::from(&b"x"[..]);
        say(socket, &[Frame::Publish(Publish { channel: "c", payload, ..Publish::default() })]);
        sent.send(()).expect("the test waits for it");
        outlast(socket);
    });
    let options = Options { silence_grace: Duration::from_millis(500), ..once() };
    let (client, mut channel) = subscribe(&url, options).await;
    // The whole thread waits, and the runtime with it: for the message, then for longer than a heartbeat and the grace.
    was_sent.recv_timeout(PATIENCE).expect("the server sends");
    assert!(
        was_sent.recv_timeout(Duration::from_millis(u64::from(2 * HEARTBEAT))).is_err(),
        "the server sends nothing more"
    );
    assert_eq!(next(&mut channel).await, Some(publication("c", b"x")));
    client.close().await;
    server.join().expect("the script went through");
}

#[tokio::test]
async fn a_message_larger_than_wanted_ends_the_connection() {
    let (url, server) = scripted(|socket| {
        socket.send(WsMessage::binary(vec![0; 1001])).expect("the client has not seen it yet");
        outlast(socket);
    });
    let options = Options { max_message_size: 1000, ..once() };
    let client = Client::connect(&url, options).await.expect("the server opens a session");
    let end = end_of(&client).await;
    assert!(matches!(end, Interruption::Disconnected(Disconnected::Protocol(_))), "{end}");
    server.join().expect("the script went through");
}

#[tokio::test]
async fn bytes_that_are_no_frames_end_the_connection() {
    for (message, says) in [
        (WsMessage::binary(vec![0, 0, 0, 9, 1]), "not made of frames"),
        (WsMessage::text("hello"), "not made of frames"),
    ] {
        let (url, server) = scripted(move |socket| {
            socket.send(message).expect("the client has not seen it yet");
            outlast(socket);
        });
        let client = Client::connect(&url, once()).await.expect("the server opens a session");
        let end = end_of(&client).await.to_string();
        assert!(end.contains(says), "{end}");
        server.join().expect("the script went through");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_from_one_that_is_closed() {
    let (url, server) = scripted(|socket| {
        socket.get_ref().shutdown(std::net::Shutdown::Both).expect("the stream is open");
    });
    let client = Client::connect(&url, once()).await.expect("the server opens a session");
    let end = end_of(&client).await;
    assert!(matches!(end, Interruption::Disconnected(Disconnected::Lost(_))), "{end}");
    server.join().expect("the script went through");
    let (url, server) = scripted(|socket| {
        socket.close(None).expect("the client takes a close");
        outlast(socket);
    });
    let client = Client::connect(&url, once()).await.expect("the server opens a session");
    let end = end_of(&client).await;
    assert!(
        matches!(end, Interruption::Disconnected(Disconnected::ByServer { code: CloseCode(1005), .. })),
        "{end}"
    );
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
async fn an_error_instead_of_a_session_is_quoted() {
    let (url, server) = listening(|tcp| {
        let mut socket = tungstenite::accept_hdr(tcp, protocol).expect("the client upgrades");
        heard(&mut socket);
        let message = "this server speaks protocol version 2";
        let error = ErrorFrame { id: 0, code: 1012, message, temporary: None };
        let end = Disconnect { code: 4501, reason: "no", retry_ms: None };
        say(&mut socket, &[Frame::Error(error), Frame::Disconnect(end)]);
        outlast(&mut socket);
    });
    let error = Client::connect(&url, Options::default()).await.expect_err("there is no session");
    assert!(matches!(&error, ConnectError::NotOpened { .. }), "{error:?}");
    assert!(error.to_string().contains("speaks protocol version 2"), "{error}");
    server.join().expect("the script went through");
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
