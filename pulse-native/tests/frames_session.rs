//! The frames that open, keep and end a session, over a real socket.

mod e2e_support;

use e2e_support::{
    Heard, Peer, Running, ack, connect, connected, publication, publish, subscribe, unsubscribe,
};
use pulse_core::wire::{self, Connect, Frame, List, Point, Subscribe};
use tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};

#[test]
fn connect_is_answered_with_what_the_session_is_like() {
    let server = Running::start_with(|config| config.heartbeat.interval_ms = 12_345);
    let mut names = Vec::new();
    for _ in 0..3 {
        let mut client = server.unconnected();
        let mut features = Vec::new();
        let connect = Connect {
            version: 1,
            token: Some("ignored without authentication"),
            name: Some("test"),
            features: Some(List::encode(&["gaps"], &mut features)),
        };
        client.send(&[Frame::Connect(connect)]);
        let received = client.frame();
        let session = connected(&received);
        assert_eq!((session.version, session.heartbeat), (1, 12_345));
        assert_eq!((session.user, session.expires_at), (None, None));
        assert!(!session.connection_id.is_empty());
        names.push(session.connection_id.to_owned());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3, "every connection has a name of its own");
}

#[test]
fn requests_may_follow_connect_in_the_same_message() {
    let server = Running::start();
    let mut client = server.unconnected();
    client.send(&[connect(1), subscribe(1, "c"), publish(2, "c", b"x")]);
    connected(&client.frame());
    client.expect(&ack(1));
    client.expect(&ack(2));
    client.expect(&publication("c", b"x"));
}

#[test]
fn subscribing_is_acknowledged_and_leaving_ends_it() {
    let server = Running::start();
    let (mut client, mut publisher) = (server.client(), server.client());
    client.send(&[subscribe(7, "c")]);
    client.expect(&ack(7));
    publisher.send(&[publish(1, "c", b"first")]);
    publisher.expect(&ack(1));
    client.expect(&publication("c", b"first"));
    client.send(&[unsubscribe(9_007_199_254_740_991, "c")]);
    client.expect(&ack(9_007_199_254_740_991));
    publisher.send(&[publish(2, "c", b"second")]);
    publisher.expect(&ack(2));
    client.settle();
}

#[test]
fn a_subscription_with_a_position_is_told_that_nothing_can_be_recovered() {
    let server = Running::start();
    let mut client = server.client();
    let recover = Some(Point { epoch: "e", offset: 3 });
    client.send(&[Frame::Subscribe(Subscribe { id: 1, channel: "c", recover, ..Subscribe::default() })]);
    let received = client.frame();
    let Frame::Ack(ack) = received.decoded() else { panic!("{received:?} is no ack") };
    assert_eq!((ack.id, ack.recovered), (1, Some(false)));
    assert!(ack.reason.is_some_and(|reason| reason.contains("no history")), "{ack:?}");
}

#[test]
fn a_ping_is_answered_with_its_timestamp() {
    let server = Running::start();
    let mut client = server.client();
    for timestamp in [None, Some(0), Some(1_764_547_200_000)] {
        client.send(&[Frame::Ping { timestamp }]);
        client.expect(&Frame::Pong { timestamp });
    }
}

#[test]
fn a_text_ping_is_answered_by_a_text_pong_in_every_dialect() {
    let server = Running::start();
    for mut client in [server.client(), server.old_client(), server.unconnected()] {
        client.send_text("ping");
        assert_eq!(client.heard(), Heard::Text("pong".to_owned()));
    }
}

#[test]
fn a_quiet_client_is_asked_and_lives_as_long_as_it_answers() {
    let server = Running::start_with(|config| {
        config.heartbeat.interval_ms = 100;
        config.heartbeat.timeout_ms = 1_000;
    });
    let mut client = server.client();
    // Fifteen intervals are longer than the time for which it may be silent.
    for _ in 0..15 {
        client.expect(&Frame::Ping { timestamp: None });
        client.send(&[Frame::Pong { timestamp: None }]);
    }
    client.settle();
}

#[test]
fn keys_in_any_order_unknown_keys_and_nil_are_understood() {
    let server = Running::start();
    let mut client = server.client();
    let map = b"\x85\xa7channel\xa1c\xa5extra\x93\x01\x80\xc3\xa5token\xc0\xa2id\x05\xa4type\xa9subscribe";
    let mut message = (map.len() as u32).to_be_bytes().to_vec();
    message.extend_from_slice(map);
    client.send_bytes(message);
    client.expect(&ack(5));
}

#[test]
fn a_client_that_closes_is_answered_with_its_code_and_leaves_its_channels() {
    let server = Running::start();
    let (mut leaving, mut staying) = (server.client(), server.client());
    leaving.subscribe("c");
    staying.subscribe("c");
    leaving.close(CloseFrame { code: CloseCode::Normal, reason: "done".into() });
    assert_eq!(leaving.heard(), Heard::Close(1000, String::new()));
    assert_eq!(leaving.heard(), Heard::End);
    staying.send(&[publish(2, "c", b"still here")]);
    staying.expect(&ack(2));
    staying.expect(&publication("c", b"still here"));
}

#[test]
fn a_frame_is_understood_however_its_message_is_cut_into_fragments() {
    let server = Running::start();
    let mut client = server.client();
    let mut message = Vec::new();
    for frame in [Frame::Ping { timestamp: Some(2) }, subscribe(1, "c"), publication("c", &[5; 300])] {
        frame.encode(&mut message);
    }
    client.send_fragments(message.chunks(7));
    client.expect(&Frame::Pong { timestamp: Some(2) });
    client.expect(&ack(1));
    client.expect(&publication("c", &[5; 300]));
}

#[test]
fn a_subprotocol_that_nobody_speaks_is_refused() {
    let server = Running::start();
    let error = Peer::try_open(server.addr, Some("pulse.v9")).expect_err("nobody speaks that");
    assert!(error.starts_with("400") && error.contains("pulse.v1"), "{error}");
}

#[test]
fn what_the_server_sends_is_what_pulse_core_would_send_in_the_shortest_form() {
    let server = Running::start();
    let mut client = server.client();
    client.send(&[Frame::Ping { timestamp: Some(3) }]);
    let Heard::Frames(frames) = client.heard() else { panic!("a pong is a binary message") };
    let mut encoded = Vec::new();
    Frame::Pong { timestamp: Some(3) }.encode(&mut encoded);
    assert_eq!(frames, e2e_support::split(&encoded));
    assert_eq!(&encoded[wire::PREFIX..], b"\x82\xa4type\xa4pong\xa9timestamp\x03");
}
