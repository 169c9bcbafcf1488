//! Every method of the HTTP API over real sockets, with one shard and with two, in JSON and in MessagePack.

mod api_support;
mod e2e_support;

use api_support::{Answer, post, send};
use e2e_support::{Peer, Running, ack, connect, connected, subscribe, unsubscribe};
use pulse_core::wire::{
    CloseCode, Connect, Disconnect, ErrorCode, Format, Frame, Presence, PresenceAction, Tags, Value as Raw,
};
use pulse_core::{Config, Request, Router, Rule, Seed, Shards};
use serde_json::{Value, json};

/// Runs with one shard and with two.
fn with_shards(test: impl Fn(&Running)) {
    for shards in 1..=2 {
        test(&Running::start_sharded(shards));
    }
}

/// A server that takes each token for the user's name.
fn with_users(shards: u16) -> Running {
    Running::start_custom(
        |config| config.server.shards = shards,
        |options| {
            options.authorize = Some(Box::new(|request| match request {
                Request::Connect { token: Some(token) } => pulse_core::Answer::AllowAs(token.clone()),
                _ => pulse_core::Answer::Deny,
            }));
        },
        |config| {
            let core = Config { connect: Rule::Ask, ..config.to_core() };
            move |shard| {
                let shards = Shards { index: shard as u16, count: shards, key: 7 };
                Router::new(Config { shards, ..core.clone() }, Seed(shard as u64))
            }
        },
    )
}

/// A client and the name that it was told.
fn named(server: &Running, frame: &Frame<'_>) -> (Peer, String) {
    let mut client = server.unconnected();
    client.send(&[*frame]);
    let name = connected(&client.frame()).connection_id.to_owned();
    (client, name)
}

#[track_caller]
fn expect_payload(client: &mut Peer, channel: &str, format: Format, payload: &[u8]) {
    let received = client.frame();
    let Frame::Publish(publication) = received.decoded() else { panic!("{:?}", received.decoded()) };
    let got = publication.payload.as_bytes().expect("a server sends bytes");
    assert_eq!((publication.channel, publication.format, got), (channel, format, payload));
}

#[test]
fn what_is_published_reaches_subscribers_with_all_that_goes_with_it() {
    with_shards(|server| {
        let mut clients: Vec<Peer> = (0..4).map(|_| server.client()).collect();
        for n in 0..6 {
            let channel = format!("c{n}");
            clients.iter_mut().for_each(|client| client.subscribe(&channel));
            let params = json!({
                "channel": channel, "payload": {"a": "\u{e9}", "b": [1, 2.5, null]}, "event": "e", "key": "k",
                "tags": {"x": "y"},
            });
            let offset = |answer: Answer| answer.result()["offset"].as_u64();
            assert_eq!(offset(post(server.addr, "publish", &params)), Some(1));
            for client in &mut clients {
                let received = client.frame();
                let Frame::Publish(got) = received.decoded() else { panic!("{:?}", received.decoded()) };
                assert_eq!(got.payload.as_bytes(), Some("{\"a\":\"\u{e9}\",\"b\":[1,2.5,null]}".as_bytes()));
                assert_eq!((got.event, got.key, got.format), (Some("e"), Some("k"), Format::Json));
                assert_eq!(got.tags.map(|tags: Tags<'_>| tags.iter().collect()), Some(vec![("x", "y")]));
            }
            let raw = json!({"channel": channel, "payload_base64": "AP8="});
            assert_eq!(offset(post(server.addr, "publish", &raw)), Some(2));
            let text = json!({"channel": channel, "payload": "text", "format": "raw"});
            assert_eq!(offset(post(server.addr, "publish", &text)), Some(3));
            let packed = json!({"channel": channel, "payload": [1], "format": "msgpack"});
            assert_eq!(offset(post(server.addr, "publish", &packed)), Some(4));
            for client in &mut clients {
                expect_payload(client, &channel, Format::Raw, b"\0\xff");
                expect_payload(client, &channel, Format::Raw, b"text");
                expect_payload(client, &channel, Format::MsgPack, b"\x91\x01");
            }
        }
        assert_eq!(
            post(server.addr, "publish", &json!({"channel": "nobody", "payload": null})).result(),
            json!({})
        );
    });
}

#[test]
fn a_request_of_messagepack_is_answered_in_it() {
    with_shards(|server| {
        let mut client = server.client();
        client.subscribe("news");
        // {"channel": "news", "payload": bin 00 ff}
        let binary = b"\x82\xa7channel\xa4news\xa7payload\xc4\x02\x00\xff";
        // {"channel": "news", "payload": [1]}
        let value = b"\x82\xa7channel\xa4news\xa7payload\x91\x01";
        for (at, request) in [&binary[..], value].into_iter().enumerate() {
            let answer =
                send(server.addr, "POST", "/api/v1/publish", &["Content-Type: application/msgpack"], request);
            assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/msgpack")));
            assert_eq!(answer.body, [b"\x81\xa6result\x81\xa6offset", &[at as u8 + 1][..]].concat());
        }
        expect_payload(&mut client, "news", Format::Raw, b"\0\xff");
        expect_payload(&mut client, "news", Format::MsgPack, b"\x91\x01");
        for bad in [&b""[..], b"\xc1", b"\x80\x80", b"\x90", b"\x81\x01\x02"] {
            let answer =
                send(server.addr, "POST", "/api/v1/publish", &["Content-Type: application/msgpack"], bad);
            assert_eq!((answer.status, &answer.body[..7]), (400, &b"\x81\xa5error"[..]), "{bad:?}");
        }
    });
}

#[test]
fn a_broadcast_has_a_result_for_each_channel() {
    with_shards(|server| {
        let mut client = server.client();
        ["a", "b"].iter().for_each(|channel| client.subscribe(channel));
        let params = json!({"channels": ["a", "$no", "b", "c"], "payload": 1});
        let result = post(server.addr, "broadcast", &params).result();
        assert_eq!(result["results"][0], json!({"channel": "a", "result": {"offset": 1}}));
        assert_eq!(result["results"][1]["error"]["code"], 1002);
        assert_eq!(result["results"][1]["error"]["where"], "channels[1]");
        assert_eq!(result["results"][2], json!({"channel": "b", "result": {"offset": 1}}));
        assert_eq!(result["results"][3], json!({"channel": "c", "result": {}}));
        let mut seen = [client.frame(), client.frame()].map(|received| match received.decoded() {
            Frame::Publish(publication) => publication.channel.to_owned(),
            other => panic!("{other:?}"),
        });
        seen.sort();
        assert_eq!(seen, ["a", "b"]);
    });
}

#[test]
fn a_batch_does_its_requests_in_order_each_with_a_result() {
    with_shards(|server| {
        let mut client = server.client();
        client.subscribe("a");
        let publish = |n: u64| json!({"method": "publish", "params": {"channel": "a", "payload": n}});
        let requests =
            json!([publish(1), {"method": "publsh"}, publish(2), {"method": "info"}, {"method": "batch"}]);
        let result = post(server.addr, "batch", &json!({"requests": requests})).result();
        let results = result["results"].as_array().unwrap();
        assert_eq!(results[0], json!({"result": {"offset": 1}}));
        let error = &results[1]["error"];
        assert_eq!((&error["code"], &error["where"]), (&json!(1001), &json!("requests[1].method")));
        assert!(error["message"].as_str().unwrap().contains("did you mean `publish`?"), "{error}");
        assert_eq!(results[2], json!({"result": {"offset": 2}}));
        assert_eq!(results[3]["result"]["subscriptions"], 1);
        assert_eq!(results[4]["error"]["where"], "requests[4].method");
        expect_payload(&mut client, "a", Format::Json, b"1");
        expect_payload(&mut client, "a", Format::Json, b"2");
    });
}

#[test]
fn connections_are_subscribed_and_unsubscribed_by_their_name() {
    with_shards(|server| {
        let clients: Vec<_> = (0..4).map(|_| named(server, &connect(1))).collect();
        for (mut client, name) in clients {
            for n in 0..4 {
                let channel = format!("c{n}");
                let params = json!({"client": name, "channel": channel});
                assert_eq!(post(server.addr, "subscribe", &params).result(), json!({"connections": 1}));
                // A leaf is part of its channel once the home has heard of it: the client's own request comes behind.
                client.send(&[e2e_support::publish(9, &channel, b"x")]);
                let mut seen = [client.frame(), client.frame()].map(
                    |received| matches!(received.decoded(), Frame::Publish(got) if got.channel == channel),
                );
                seen.sort_unstable();
                assert_eq!(seen, [false, true], "an ack and the publication");
                assert_eq!(post(server.addr, "unsubscribe", &params).result(), json!({"connections": 1}));
                let received = client.frame();
                let Frame::Unsubscribed(told) = received.decoded() else {
                    panic!("{:?}", received.decoded())
                };
                let reason = "the server has ended this subscription";
                assert_eq!((told.channel, told.code, told.reason), (&*channel, 1004, reason));
                assert_eq!(post(server.addr, "unsubscribe", &params).result(), json!({"connections": 0}));
            }
        }
    });
}

#[test]
fn a_client_that_was_subscribed_may_leave_but_not_subscribe_again() {
    with_shards(|server| {
        let (mut client, name) = named(server, &connect(1));
        for n in 0..4 {
            let channel = format!("c{n}");
            let params = json!({"client": name, "channel": channel});
            assert_eq!(post(server.addr, "subscribe", &params).result(), json!({"connections": 1}));
            client.send(&[subscribe(1, &channel)]);
            client.expect_error(1, ErrorCode::ALREADY_SUBSCRIBED);
            client.send(&[unsubscribe(2, &channel)]);
            client.expect(&ack(2));
            assert_eq!(post(server.addr, "unsubscribe", &params).result(), json!({"connections": 0}));
        }
        client.settle();
    });
}

#[test]
fn a_client_of_the_first_release_is_not_told_of_a_subscription_that_is_ended() {
    with_shards(|server| {
        let mut client = Peer::open(server.addr, None);
        let name = connected(&client.frame()).connection_id.to_owned();
        for n in 0..4 {
            let params = json!({"client": name, "channel": format!("c{n}")});
            for method in ["subscribe", "unsubscribe"] {
                assert_eq!(post(server.addr, method, &params).result(), json!({"connections": 1}));
            }
        }
        client.settle();
    });
}

#[test]
fn a_connection_or_all_of_a_user_are_disconnected() {
    for shards in 1..=2 {
        let server = with_users(shards);
        let client = |user| {
            let frame = Frame::Connect(Connect { version: 1, token: Some(user), ..Connect::default() });
            named(&server, &frame)
        };
        let (mut ada, mut bob) = ((0..6).map(|_| client("ada")).collect::<Vec<_>>(), client("bob"));
        // Counted in characters, as JSON Schema does.
        let reason = &*"\u{e9}".repeat(123);
        let first = json!({"client": ada[0].1, "code": 4000, "reason": reason});
        assert_eq!(post(server.addr, "disconnect", &first).result(), json!({"connections": 1}));
        ada[0].0.expect(&Frame::Disconnect(Disconnect { code: 4000, reason, retry_ms: None }));
        ada[0].0.expect_close(CloseCode::SHUTDOWN);
        let user = json!({"user": "ada"});
        let subscribe = json!({"user": "ada", "channel": "news"});
        assert_eq!(post(server.addr, "subscribe", &subscribe).result(), json!({"connections": 5}));
        assert_eq!(post(server.addr, "disconnect", &user).result(), json!({"connections": 5}));
        ada.iter_mut().skip(1).for_each(|(client, _)| client.expect_end(CloseCode::UNAUTHORIZED));
        assert_eq!(post(server.addr, "disconnect", &user).result(), json!({"connections": 0}));
        bob.0.settle();
    }
}

#[test]
fn members_are_listed_and_counted() {
    with_shards(|server| {
        let mut clients: Vec<_> = (0..5).map(|_| named(server, &connect(1))).collect();
        for (client, _) in &mut clients {
            client.subscribe("room");
            let data = Raw::new(b"\x81\xa1x\x01");
            let join = Presence {
                id: 5,
                channel: "room",
                action: PresenceAction::Join,
                data,
                ..Presence::default()
            };
            client.send(&[Frame::Presence(join)]);
            while !matches!(client.frame().decoded(), Frame::Ack(ack) if ack.id == 5) {}
        }
        let mut names: Vec<_> = clients.iter().map(|(_, name)| name.clone()).collect();
        names.sort();
        let count = post(server.addr, "presence_count", &json!({"channel": "room"})).result();
        assert_eq!(count, json!({"clients": 5, "users": 5}));
        let (mut seen, mut after) = (vec![], Value::Null);
        loop {
            let params = json!({"channel": "room", "limit": 2.0, "after": after});
            let page = post(server.addr, "presence", &params).result();
            assert_eq!((&page["clients"], &page["users"]), (&json!(5), &json!(5)));
            for member in page["members"].as_array().unwrap() {
                assert_eq!(member["data"], json!({"x": 1}));
                seen.push(member["client"].as_str().unwrap().to_owned());
            }
            after = page["next"].clone();
            if after.is_null() {
                break;
            }
        }
        assert_eq!(seen, names);
        let nobody = post(server.addr, "presence", &json!({"channel": "empty"})).result();
        assert_eq!(nobody, json!({"members": [], "clients": 0, "users": 0}));
    });
}

#[test]
fn channels_are_listed_in_pages_with_their_subscribers_on_all_shards() {
    with_shards(|server| {
        let mut clients: Vec<Peer> = (0..6).map(|_| server.client()).collect();
        for n in 0..7 {
            clients[..=n % 6].iter_mut().for_each(|client| client.subscribe(&format!("a:{n}")));
        }
        clients[0].subscribe("b");
        let expected: Vec<Value> =
            (0..7).map(|n| json!({"channel": format!("a:{n}"), "subscribers": n % 6 + 1})).collect();
        for limit in [1, 3, 7, 1000] {
            let (mut seen, mut after) = (vec![], Value::Null);
            loop {
                let params = json!({"prefix": "a:", "limit": limit, "after": after});
                let page = post(server.addr, "channels", &params).result();
                let channels = page["channels"].as_array().unwrap();
                assert!(channels.len() <= limit);
                seen.extend(channels.iter().cloned());
                after = page["next"].clone();
                if after.is_null() {
                    break;
                }
            }
            assert_eq!(seen, expected, "by {limit}");
        }
        let info = post(server.addr, "info", &json!({})).result();
        assert_eq!((&info["connections"], &info["channels"]), (&json!(6), &json!(8)));
        assert_eq!(info["subscriptions"], json!(1 + 2 + 3 + 4 + 5 + 6 + 1 + 1));
        assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    });
}
