//! What a host does itself: publications, subscriptions and ends that no client has asked for, and questions.

mod support;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::wire::{self, CloseCode, ErrorCode, Frame, Payload, PresenceAction, Publish};
use pulse_core::{Answer, Command, Config, Limits, Outcome, PeerId, Rule, Rules, Target};
use support::{Cluster, World, connect, presence, publish, unsubscribe};

fn hello(channel: &str) -> Command<'_> {
    Command::Publish(Publish { channel, payload: Payload::from(&b"hello"[..]), ..Publish::default() })
}

fn name(c: &mut Cluster, (at, conn): (u16, pulse_core::ConnId)) -> String {
    String::from_utf8(c.router(at).name(conn).to_vec()).unwrap()
}

/// The code that a command is refused with.
#[track_caller]
fn refused(outcome: Result<Outcome, pulse_core::Refused>) -> u16 {
    outcome.unwrap_err().code.0
}

#[test]
fn a_publication_of_the_host_is_numbered_by_the_home_and_reaches_every_router() {
    let mut c = Cluster::new(
        2,
        &Config { rules: Rules { publish: Rule::Nobody, ..Rules::default() }, ..Config::default() },
    );
    let clients = [c.client(0), c.client(1)];
    let channel = c.channel_of(1);
    clients.iter().for_each(|client| c.subscribe(*client, &channel));
    assert_eq!(c.router(0).command(&hello(&channel)), Ok(Outcome::Elsewhere(PeerId(1))));
    for offset in 1..3 {
        assert_eq!(c.router(1).command(&hello(&channel)), Ok(Outcome::Published(Some(offset))));
        for client in clients {
            assert_eq!(c.sees(client), [format!("{channel} hello")]);
        }
    }
}

#[test]
fn a_publication_for_nobody_is_accepted_without_a_number() {
    let mut w = World::new(Config::default());
    assert_eq!(w.router.command(&hello("empty")), Ok(Outcome::Published(None)));
    assert_eq!(w.router.top("empty"), None);
}

#[test]
fn what_no_client_may_send_the_host_may_not_either() {
    let limits = Limits { max_message_size: 4, ..Limits::default() };
    let mut w = World::new(Config { limits, ..Config::default() });
    assert_eq!(refused(w.router.command(&hello("a"))), ErrorCode::PAYLOAD_TOO_LARGE.0);
    for bad in ["", "$a", "caf\u{e9}"] {
        assert_eq!(refused(w.router.command(&hello(bad))), ErrorCode::INVALID_CHANNEL.0);
        let count = Command::PresenceCount { channel: bad };
        assert_eq!(refused(w.router.command(&count)), ErrorCode::INVALID_CHANNEL.0);
    }
    let page = Command::Presence { channel: "a", after: Some("me"), limit: 5 };
    assert_eq!(refused(w.router.command(&page)), ErrorCode::INVALID_FRAME.0);
}

#[test]
fn a_connection_that_the_host_has_subscribed_gets_what_comes_and_may_leave() {
    let mut c = Cluster::new(2, &Config::default());
    let client = c.client(0);
    let own = name(&mut c, client);
    for home in 0..2 {
        let channel = c.channel_of(home);
        let subscribe = Command::Subscribe { target: Target::Client(&own), channel: &channel };
        assert_eq!(c.router(0).command(&subscribe), Ok(Outcome::Connections(1)));
        assert_eq!(c.router(0).command(&subscribe), Ok(Outcome::Connections(1)), "again changes nothing");
        assert_eq!(c.router(1).command(&subscribe), Ok(Outcome::Connections(0)), "it is not there");
        assert_eq!(c.sees(client), [""; 0]);
        c.router(home).command(&hello(&channel)).unwrap();
        assert_eq!(c.sees(client), [format!("{channel} hello")]);
        c.send(client, &[unsubscribe(7, &channel)]);
        assert_eq!(c.sees(client), ["ack 7"]);
    }
}

#[test]
fn limits_hold_for_subscriptions_of_the_host() {
    let limits = Limits { max_subscriptions_per_connection: 1, ..Limits::default() };
    let mut c = Cluster::new(1, &Config { limits, ..Config::default() });
    let client = c.client(0);
    let own = name(&mut c, client);
    let subscribe = |channel| Command::Subscribe { target: Target::Client(&own), channel };
    assert_eq!(c.router(0).command(&subscribe("a")), Ok(Outcome::Connections(1)));
    assert_eq!(refused(c.router(0).command(&subscribe("b"))), ErrorCode::LIMIT_EXCEEDED.0);
}

#[test]
fn a_connection_whose_subscription_the_host_ends_is_told() {
    let mut c = Cluster::new(2, &Config::default());
    let client = c.client(0);
    let own = name(&mut c, client);
    let channel = c.channel_of(1);
    c.subscribe(client, &channel);
    let unsubscribe = Command::Unsubscribe { target: Target::Client(&own), channel: &channel };
    assert_eq!(c.router(0).command(&unsubscribe), Ok(Outcome::Connections(1)));
    let seen = c.sees(client);
    assert!(seen.len() == 1 && seen[0].contains("unsubscribed"), "{seen:?}");
    c.router(1).command(&hello(&channel)).unwrap();
    assert_eq!(c.sees(client), [""; 0]);
    assert_eq!(c.router(0).command(&unsubscribe), Ok(Outcome::Connections(0)));
}

#[test]
fn all_connections_of_a_user_are_ended_with_code_and_reason() {
    let mut w = World::new(Config { connect: Rule::Ask, ..Config::default() });
    let conns = ["ada", "bob", "ada"].map(|user| {
        let conn = w.open(pulse_core::Dialect::V1);
        w.send(conn, &connect(1));
        w.drain();
        w.answer(Answer::AllowAs(user.into()));
        w.drain();
        w.take(conn);
        conn
    });
    w.effects();
    let end = Command::Disconnect {
        target: Target::User("ada"),
        code: CloseCode::UNAUTHORIZED,
        reason: Some("your account is closed"),
    };
    assert_eq!(w.router.command(&end), Ok(Outcome::Connections(2)));
    w.drain();
    for conn in [conns[0], conns[2]] {
        let seen = w.take(conn);
        assert!(seen.len() == 1 && seen[0].contains("4504"), "{seen:?}");
    }
    assert_eq!(w.take(conns[1]), [""; 0]);
    assert_eq!(w.effects(), ["close 0 4504", "close 2 4504"]);
    assert_eq!(w.router.command(&end), Ok(Outcome::Connections(0)), "they are on their way out");
}

#[test]
fn members_are_answered_by_the_home_in_pages() {
    let mut c = Cluster::new(2, &Config::default());
    let clients = [c.client(0), c.client(1), c.client(0)];
    let channel = c.channel_of(1);
    for client in clients {
        c.subscribe(client, &channel);
        c.send(client, &[presence(2, &channel, PresenceAction::Join, &[])]);
        c.sees(client);
    }
    let mut names: Vec<String> = clients.iter().map(|client| name(&mut c, *client)).collect();
    names.sort_unstable();
    let count = Command::PresenceCount { channel: &channel };
    assert_eq!(c.router(0).command(&count), Ok(Outcome::Elsewhere(PeerId(1))));
    let Ok(Outcome::Presence(frame)) = c.router(1).command(&count) else { panic!("a count is answered") };
    let Ok(Frame::Presence(answer)) = wire::decode(&frame[4..]) else { panic!("with a frame") };
    assert_eq!((answer.clients, answer.users), (Some(3), Some(3)));

    let (mut seen, mut after) = (vec![], None::<String>);
    loop {
        let page = Command::Presence { channel: &channel, after: after.as_deref(), limit: 2 };
        let Ok(Outcome::Presence(frame)) = c.router(1).command(&page) else { panic!("a page is answered") };
        let Ok(Frame::Presence(answer)) = wire::decode(&frame[4..]) else { panic!("with a frame") };
        seen.extend(answer.members.unwrap().iter().map(|member| member.client.to_owned()));
        after = answer.next.map(Into::into);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, names);
}

#[test]
fn channels_are_listed_by_prefix_and_page_with_their_subscribers() {
    let mut w = World::new(Config::default());
    let clients = [w.client(), w.client()];
    for n in 0..9 {
        w.subscribe(clients[0], &format!("a:{n}"));
    }
    w.subscribe(clients[1], "a:3");
    w.subscribe(clients[1], "b:1");
    w.send(clients[1], &publish("c", "nobody"));
    let mut list = |prefix, after, limit| match w.router.command(&Command::Channels { prefix, after, limit })
    {
        Ok(Outcome::Channels(list, more)) => {
            (list.into_iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>(), more)
        }
        other => panic!("{other:?}"),
    };
    let few = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(list("a:", None, 2), (few(&["a:0 1", "a:1 1"]), true));
    assert_eq!(list("a:", Some("a:1"), 3), (few(&["a:2 1", "a:3 2", "a:4 1"]), true));
    assert_eq!(list("a:", Some("a:6"), 2), (few(&["a:7 1", "a:8 1"]), false));
    assert_eq!(list("", Some("a:8"), 0), (few(&["b:1 1"]), false));
    assert_eq!(list("z", None, 1000), (few(&[]), false));
    assert_eq!(list("", None, usize::MAX).0.len(), 10);
}
