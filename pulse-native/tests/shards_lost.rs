//! What clients see of a shard that cannot be reached.

mod e2e_support;

use e2e_support::{Running, ack, publish, subscribe};
use pulse_core::PeerId;
use pulse_core::wire::{ErrorCode, Frame};

#[test]
fn a_channel_whose_home_is_lost_is_a_server_error() {
    let server = Running::start_custom(
        |config| config.server.shards = 2,
        |_| {},
        |config| {
            let routers = config.routers();
            move |shard| {
                let mut router = routers(shard);
                router.peer_lost(PeerId(1 - shard as u16));
                router
            }
        },
    );
    let mut client = server.client();
    let (mut here, mut lost) = (Vec::new(), Vec::new());
    for channel in (0..32).map(|n| format!("c{n}")) {
        client.send(&[subscribe(1, &channel)]);
        match client.frame().decoded() {
            Frame::Ack(ack) => {
                assert_eq!(ack.id, 1);
                here.push(channel);
            }
            Frame::Error(error) => {
                assert_eq!(
                    (error.id, error.code, error.temporary),
                    (1, ErrorCode::SERVER_ERROR.0, Some(true))
                );
                lost.push(channel);
            }
            answer => panic!("{answer:?} is no answer"),
        }
    }
    assert!(!here.is_empty() && !lost.is_empty(), "each shard is the home of some channels");
    client.send(&[publish(2, &lost[0], b"x")]);
    client.expect_error(2, ErrorCode::SERVER_ERROR);
    // What is at home here goes on.
    client.send(&[publish(3, &here[0], b"x")]);
    client.expect(&ack(3));
}
