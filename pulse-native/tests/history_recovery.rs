//! What channels keep, and what those get of it who come later, over real sockets.

mod e2e_support;

use e2e_support::{Peer, Running, publish};
use pulse_core::wire::{ErrorCode, Frame, History, Point};
use pulse_native::config::Rules;

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
