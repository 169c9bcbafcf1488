//! What channels keep, and what those get of it who come later, over real sockets.

mod api_support;
mod e2e_support;

use api_support::post;
use e2e_support::{Peer, Running, connect, expect_numbers, publish};
use pulse_core::wire::{ErrorCode, Frame, History, Point, Subscribe};
use pulse_native::config::Rules;
use serde_json::json;

const CHANNEL: &str = "kept:x";

/// Keeps five publications in the namespace `kept`. Several shards, so that most channels are at home elsewhere.
fn server() -> Running {
    Running::start_with(|config| {
        config.server.shards = 3;
        config.namespaces.insert("kept".to_owned(), Rules { history_size: 5, ..Rules::default() });
    })
}

/// Publishes the numbers 1 to `count` and returns the epoch that the acks say.
fn publish_numbers(client: &mut Peer, count: u64) -> String {
    let mut epoch = String::new();
    for n in 1..=count {
        client.send(&[publish(100 + n, CHANNEL, n.to_string().as_bytes())]);
        let received = client.frame();
        let Frame::Ack(ack) = received.decoded() else { panic!("{received:?}") };
        assert_eq!((ack.id, ack.offset), (100 + n, Some(n)));
        epoch = ack.epoch.expect("the position has an epoch").to_owned();
    }
    epoch
}

fn history<'a>(id: u64, epoch: &'a str, offset: u64) -> Frame<'a> {
    let since = Some(Point { epoch, offset });
    Frame::History(History { id, channel: Some(CHANNEL), since, ..History::default() })
}

#[test]
fn history_is_told_across_shards() {
    let server = server();
    let epoch = publish_numbers(&mut server.client(), 7);
    let mut reader = server.client();
    reader.send(&[history(1, &epoch, 4)]);
    let received = reader.frame();
    let Frame::History(page) = received.decoded() else { panic!("{received:?}") };
    assert_eq!((page.id, page.epoch, page.offset), (1, Some(&*epoch), Some(7)));
    let publications = page.publications.expect("a page has them");
    let offsets: Vec<_> = publications.iter().map(|publication| publication.offset).collect();
    assert_eq!(offsets, [Some(5), Some(6), Some(7)]);
    assert!(publications.iter().all(|publication| publication.time > Some(1_700_000_000_000)));
}

#[test]
fn a_position_that_history_does_not_reach_is_unrecoverable() {
    let server = server();
    let epoch = publish_numbers(&mut server.client(), 7);
    let mut reader = server.client();
    for (id, epoch, offset) in [(1, &*epoch, 1), (2, &*epoch, 8), (3, "another", 7)] {
        reader.send(&[history(id, epoch, offset)]);
        reader.expect_error(id, ErrorCode::UNRECOVERABLE);
    }
    reader.settle();
}

/// What a client that comes back sends, all in one message.
fn comes_back(server: &Running, epoch: &str, offset: u64) -> Peer {
    let mut client = server.unconnected();
    let recover = Some(Point { epoch, offset });
    let recover = Subscribe { id: 2, channel: CHANNEL, recover, ..Subscribe::default() };
    client.send(&[connect(1), Frame::Subscribe(recover)]);
    assert!(matches!(client.frame().decoded(), Frame::Connected(_)));
    client
}

#[test]
fn who_comes_back_gets_what_it_missed_at_every_shard() {
    let server = server();
    let mut publisher = server.client();
    let epoch = publish_numbers(&mut publisher, 7);
    // More than there are shards, and they are spread over them.
    let mut readers: Vec<Peer> = (0..6).map(|_| comes_back(&server, &epoch, 4)).collect();
    for reader in &mut readers {
        let received = reader.frame();
        let Frame::Ack(ack) = received.decoded() else { panic!("{received:?}") };
        assert_eq!((ack.recovered, ack.epoch, ack.offset), (Some(true), Some(&*epoch), Some(7)));
        expect_numbers(reader, 5..=7);
    }
    publisher.send(&[publish(9, CHANNEL, b"8")]);
    readers.iter_mut().for_each(|reader| expect_numbers(reader, 8..=8));
}

#[test]
fn what_is_lost_is_said_to_be_lost() {
    let server = server();
    let epoch = publish_numbers(&mut server.client(), 7);
    for (epoch_given, offset) in [(&*epoch, 1), (&*epoch, 8), ("another", 7)] {
        let mut reader = comes_back(&server, epoch_given, offset);
        let received = reader.frame();
        let Frame::Ack(ack) = received.decoded() else { panic!("{received:?}") };
        assert_eq!((ack.recovered, ack.epoch, ack.offset), (Some(false), Some(&*epoch), Some(7)));
        assert!(ack.reason.is_some());
        reader.settle();
    }
}

/// Far more than a socket holds, read by one that does not hurry.
#[test]
fn a_long_history_comes_whole_to_a_slow_reader() {
    let server = Running::start_with(|config| {
        config.server.shards = 2;
        config.limits.queue_bytes = 100_000;
        let rules = Rules { history_size: 10_000, history_bytes: 1 << 28, ..Rules::default() };
        config.namespaces.insert("kept".to_owned(), rules);
    });
    let mut publisher = server.client();
    let payload = vec![b'x'; 30_000];
    for n in 1..=1_000 {
        publisher.send(&[publish(n, CHANNEL, &payload)]);
    }
    let mut epoch = String::new();
    for n in 1..=1_000 {
        let received = publisher.frame();
        let Frame::Ack(ack) = received.decoded() else { panic!("{received:?}") };
        assert_eq!((ack.id, ack.offset), (n, Some(n)));
        epoch = ack.epoch.expect("the position has an epoch").to_owned();
    }
    let mut readers = [comes_back(&server, &epoch, 0), comes_back(&server, &epoch, 0)];
    // It reads when the other one has all, and something was published since.
    for reader in &mut readers {
        assert!(matches!(reader.frame().decoded(), Frame::Ack(ack) if ack.recovered == Some(true)));
        for n in 1..=1_000 {
            let received = reader.frame();
            let Frame::Publish(publication) = received.decoded() else { panic!("{received:?}") };
            assert_eq!(publication.offset, Some(n));
        }
        publisher.send(&[publish(2_000, CHANNEL, b"more")]);
    }
}

#[test]
fn the_http_api_publishes_with_positions_and_tells_history() {
    let server = server();
    let publish = |params: &serde_json::Value| post(server.addr, "publish", params).result();
    let first = publish(&json!({"channel": CHANNEL, "payload": {"n": 1}, "event": "e", "tags": {"k": "v"}}));
    let epoch = first["epoch"].as_str().expect("it is kept").to_owned();
    assert_eq!(first["offset"], 1);
    publish(&json!({"channel": CHANNEL, "payload_base64": "AAE=", "key": "k"}));
    let third = publish(&json!({"channel": CHANNEL, "payload": "text", "format": "raw"}));
    assert_eq!(third, json!({"epoch": epoch, "offset": 3}));
    let mut page = post(server.addr, "history", &json!({"channel": CHANNEL})).result();
    for item in page["publications"].as_array_mut().expect("a list") {
        let time = item.as_object_mut().expect("an object").remove("time");
        assert!(time.and_then(|time| time.as_u64()) > Some(1_700_000_000_000));
    }
    let items = json!([
        {"offset": 1, "payload": {"n": 1}, "format": "json", "event": "e", "tags": {"k": "v"}},
        {"offset": 2, "payload_base64": "AAE=", "key": "k"},
        {"offset": 3, "payload_base64": "dGV4dA=="},
    ]);
    assert_eq!(page, json!({"epoch": epoch, "offset": 3, "publications": items}));
    let ask = |params: serde_json::Value| post(server.addr, "history", &params);
    let since = json!({"epoch": epoch, "offset": 1});
    let newest = ask(json!({"channel": CHANNEL, "since": since, "limit": 1, "reverse": true})).result();
    assert_eq!(newest["publications"][0]["offset"], 3);
    assert_eq!(newest["publications"].as_array().map(Vec::len), Some(1));
    let (status, code, _, place) =
        ask(json!({"channel": CHANNEL, "since": {"epoch": epoch, "offset": 4}})).error();
    assert_eq!((status, code, &*place), (400, 1016, "since"));
    let (status, code, _, place) = ask(json!({"channel": "plain"})).error();
    assert_eq!((status, code, &*place), (404, 1014, "channel"));
    let (status, code, _, place) = ask(json!({"channel": CHANNEL, "since": {"epoch": epoch}})).error();
    assert_eq!((status, code, &*place), (400, 1001, "since.offset"));
    let (status, code, _, place) = ask(json!({"channel": CHANNEL, "reverse": 1})).error();
    assert_eq!((status, code, &*place), (400, 1001, "reverse"));
}
