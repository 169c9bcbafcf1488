//! Clients of several shards, over channels of every home. Which client is on which shard nobody can tell, so there are
//! enough of both.

mod e2e_support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use e2e_support::process::Process;
use e2e_support::{Heard, PATIENCE, Peer, Running, ack, ask, publication, publish, subscribe, unsubscribe};
use pulse_core::wire::{CloseCode, ErrorCode, Frame};
use rustix::process::Signal;

const CHANNELS: usize = 32;

fn channels() -> Vec<String> {
    (0..CHANNELS).map(|n| format!("c{n}")).collect()
}

/// So many clients that each shard has some, each subscribed to all of these.
fn clients(server: &Running, count: usize, channels: &[String]) -> Vec<Peer> {
    let client = |_| {
        let mut client = server.client();
        let requests: Vec<_> = (0..).zip(channels).map(|(id, channel)| subscribe(id, channel)).collect();
        client.send(&requests);
        assert_eq!(acked(&mut client, channels.len()), (0..channels.len() as u64).collect());
        client
    };
    (0..count).map(client).collect()
}

/// The ids of the next acks, which come in any order.
fn acked(client: &mut Peer, count: usize) -> BTreeSet<u64> {
    let id = |received: e2e_support::Received| match received.decoded() {
        Frame::Ack(ack) => ack.id,
        other => panic!("{other:?} is no ack"),
    };
    (0..count).map(|_| id(client.frame())).collect()
}

/// What a client got: publications as channel and payload, in their order, and the ids of acks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    publications: Vec<(String, Vec<u8>)>,
    acks: Vec<u64>,
}

impl Seen {
    fn take(&mut self, frame: &Frame<'_>) {
        match frame {
            Frame::Publish(publish) => {
                let payload = publish.payload.as_bytes().expect("servers send payloads as bytes");
                self.publications.push((publish.channel.to_owned(), payload.to_vec()));
            }
            Frame::Ack(ack) => self.acks.push(ack.id),
            other => panic!("{other:?} is neither a publication nor an ack"),
        }
    }

    /// The next frames, as many as this.
    fn of(client: &mut Peer, count: usize) -> Self {
        let mut seen = Self::default();
        (0..count).for_each(|_| seen.take(&client.frame().decoded()));
        seen
    }

    fn sorted(mut self) -> Self {
        self.publications.sort();
        self.acks.sort_unstable();
        self
    }
}

#[test]
fn clients_of_all_shards_talk_to_each_other_over_channels_of_every_home() {
    const CLIENTS: usize = 8;
    for shards in [2, 4] {
        let server = Running::start_sharded(shards);
        let channels = channels();
        let mut clients = clients(&server, CLIENTS, &channels);
        for (number, client) in (0u8..).zip(&mut clients) {
            for (id, channel) in (100..).zip(&channels) {
                client.send(&[publish(id, channel, &[number])]);
            }
        }
        let all = channels.iter().flat_map(|channel| (0..CLIENTS as u8).map(|n| (channel.clone(), vec![n])));
        let all = Seen { publications: all.collect(), acks: (100..).take(CHANNELS).collect() }.sorted();
        for client in &mut clients {
            assert_eq!(Seen::of(client, CHANNELS * CLIENTS + CHANNELS).sorted(), all, "{shards} shards");
        }
    }
}

#[test]
fn all_subscribers_of_all_shards_see_one_order() {
    const PUBLISHERS: u8 = 4;
    const EACH: u64 = 250;
    for shards in [2, 4] {
        let server = Running::start_sharded(shards);
        let channel = ["c".to_owned()];
        let mut subscribers = clients(&server, 8, &channel);
        std::thread::scope(|scope| {
            for publisher in 0..PUBLISHERS {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.client();
                    for number in 0..EACH {
                        let payload = [&[publisher][..], &number.to_be_bytes()].concat();
                        client.send(&[publish(number, "c", &payload)]);
                    }
                    assert_eq!(Seen::of(&mut client, EACH as usize).acks, (0..EACH).collect::<Vec<_>>());
                });
            }
        });
        let count = usize::from(PUBLISHERS) * EACH as usize;
        let orders: Vec<Seen> = subscribers.iter_mut().map(|client| Seen::of(client, count)).collect();
        assert!(orders.iter().all(|order| *order == orders[0]), "subscribers disagree on {shards} shards");
        for publisher in 0..PUBLISHERS {
            let own = orders[0].publications.iter().filter(|(_, payload)| payload[0] == publisher);
            let numbers =
                own.map(|(_, payload)| u64::from_be_bytes(*payload[1..].first_chunk().expect("eight bytes")));
            assert!(numbers.eq(0..EACH), "publisher {publisher} on {shards} shards");
        }
    }
}

#[test]
fn channels_are_limited_over_all_shards() {
    const LIMIT: usize = 8;
    let server = Running::start_with(|config| {
        config.server.shards = 4;
        config.limits.max_channels = LIMIT as u32;
    });
    let (mut one, mut other) = (server.client(), server.client());
    // Of so many, each home gets more than its share.
    let channels: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    let mut taken = Vec::new();
    for (id, channel) in (0..).zip(&channels) {
        one.send(&[subscribe(id, channel)]);
        match one.frame().decoded() {
            Frame::Ack(ack) => {
                assert_eq!(ack.id, id);
                taken.push(channel);
            }
            Frame::Error(error) => {
                assert_eq!((error.id, error.code), (id, ErrorCode::LIMIT_EXCEEDED.0), "{}", error.message);
                assert_eq!(error.temporary, Some(true));
            }
            answer => panic!("{answer:?} is no answer"),
        }
    }
    assert_eq!(taken.len(), LIMIT);
    // A channel that exists takes more subscribers; one that is given up makes room for the same one again.
    for channel in taken {
        other.subscribe(channel);
        other.send(&[unsubscribe(2, channel)]);
        other.expect(&ack(2));
        one.send(&[unsubscribe(1000, channel)]);
        one.expect(&ack(1000));
        other.subscribe(channel);
    }
}

#[test]
fn metrics_are_those_of_all_shards_together() {
    let server = Running::start_with(|config| {
        config.server.shards = 4;
        config.metrics.enabled = true;
    });
    let channels = channels();
    let mut clients = clients(&server, 8, &channels);
    for channel in &channels {
        clients[0].send(&[publish(100, channel, b"x")]);
    }
    let mine = Seen::of(&mut clients[0], 2 * CHANNELS);
    assert_eq!((mine.publications.len(), mine.acks.len()), (CHANNELS, CHANNELS));
    for client in &mut clients[1..] {
        assert_eq!(Seen::of(client, CHANNELS).publications.len(), CHANNELS);
    }
    let expected = [
        "pulse_connections_total 8".to_owned(),
        "pulse_connections_active 8".to_owned(),
        format!("pulse_channels_active {CHANNELS}"),
        format!("pulse_publications_total {CHANNELS}"),
        format!("pulse_subscriptions_active {}", 8 * CHANNELS),
        // Connects, subscriptions, publications; greetings, acks, deliveries.
        format!("pulse_messages_total{{direction=\"in\"}} {}", 8 + 8 * CHANNELS + CHANNELS),
        format!("pulse_messages_total{{direction=\"out\"}} {}", 8 + 8 * CHANNELS + CHANNELS + 8 * CHANNELS),
    ];
    // Counters are shown at the end of a turn, just after its answers are sent.
    let metrics = server.metrics.expect("metrics are on");
    let start = Instant::now();
    loop {
        let text = ask(metrics, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let missing = expected.iter().find(|line| !text.lines().any(|found| found == line.as_str()));
        let Some(missing) = missing else { break };
        assert!(start.elapsed() < PATIENCE, "{missing} is not in\n{text}");
    }
}

#[test]
fn a_signal_drains_the_clients_of_all_shards() {
    let server = Process::serve(&["--server-shards", "4"]);
    let mut clients: Vec<Peer> = (0..16).map(|_| Peer::v1(server.addr)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.subscribe(&format!("c{}", n % 5));
    }
    server.signal(Signal::TERM);
    for client in &mut clients {
        let received = client.frame();
        assert!(matches!(received.decoded(), Frame::Disconnect(end) if end.code == CloseCode::SHUTDOWN.0));
        client.expect_close(CloseCode::SHUTDOWN);
    }
    drop(clients);
    let (status, said) = server.wait();
    assert!(status.success() && said.contains("every client has left"), "{said}");
}

/// Whatever a server that stops has taken, it answers before the goodbye, whichever shard has the channel.
#[test]
fn what_a_subscriber_got_before_the_end_was_acknowledged() {
    const PUBLISHERS: u8 = 4;
    const EACH: u64 = 2_000;
    let mut server = Running::start_sharded(4);
    let channels = channels();
    let mut subscribers = clients(&server, 4, &channels);
    let (seen, acked) = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let mut client = server.client();
                let channels = &channels;
                scope.spawn(move || {
                    for number in 0..EACH {
                        let payload = [&[publisher][..], &number.to_be_bytes()].concat();
                        client.send(&[publish(number, &channels[number as usize % CHANNELS], &payload)]);
                    }
                    let acks = until_goodbye(&mut client, Seen::default()).acks;
                    acks.into_iter().map(move |id| [&[publisher][..], &id.to_be_bytes()].concat())
                })
            })
            .collect();
        // It stops in the midst of it.
        let first: Vec<Seen> = subscribers.iter_mut().map(|client| Seen::of(client, 100)).collect();
        server.stop();
        let seen: Vec<Seen> =
            subscribers.iter_mut().zip(first).map(|(client, seen)| until_goodbye(client, seen)).collect();
        let acked =
            publishers.into_iter().flat_map(|thread| thread.join().expect("the publisher goes through"));
        (seen, acked.collect::<BTreeSet<_>>())
    });
    for seen in seen {
        let unanswered = seen.publications.iter().find(|(_, payload)| !acked.contains(payload));
        assert_eq!(unanswered, None);
    }
}

/// What comes up to the goodbye of a server that stops.
fn until_goodbye(client: &mut Peer, mut seen: Seen) -> Seen {
    loop {
        match client.frame().decoded() {
            Frame::Disconnect(end) => {
                assert_eq!(end.code, CloseCode::SHUTDOWN.0);
                return seen;
            }
            frame => seen.take(&frame),
        }
    }
}

/// The shard that is flooded may leave out publications of its other channels too, and tells of it; it answers everybody.
#[test]
fn a_flood_on_one_shard_does_not_stop_the_others() {
    let server = Running::start_with(|config| {
        config.server.shards = 4;
        config.channels.slow_consumer = pulse_native::config::SlowConsumer::DropOldest;
    });
    // They read nothing at all.
    let _flooded = clients(&server, 8, &["flood".to_owned()]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (over, _ends) = (&over, Ends(&over));
        let mut flooder = server.client();
        scope.spawn(move || {
            while !over.load(Relaxed) {
                flooder.send(&[publication("flood", &[7; 60_000])]);
            }
        });
        let (mut one, mut other) = (server.client(), server.client());
        let mut whole = 0;
        for channel in channels() {
            one.subscribe(&channel);
            for _ in 0..10 {
                other.send(&[publish(2, &channel, b"through")]);
                other.expect(&ack(2));
                match one.frame().decoded() {
                    Frame::Gap(gap) => {
                        assert_eq!((gap.channel, gap.reason, gap.count), (&*channel, "overloaded", Some(1)));
                    }
                    frame => {
                        assert_eq!(frame, publication(&channel, b"through"));
                        whole += 1;
                    }
                }
            }
        }
        assert!(whole > CHANNELS, "only {whole} publications came through");
    });
}

/// Sets the flag when the test is done, also by a failure.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_client_that_leaves_is_gone_from_channels_of_every_home() {
    let server = Running::start_sharded(4);
    let channels = channels();
    let leaving = clients(&server, 4, &channels);
    let mut staying = clients(&server, 1, &channels).remove(0);
    for mut client in leaving {
        client.close(tungstenite::protocol::CloseFrame {
            code: tungstenite::protocol::frame::coding::CloseCode::Normal,
            reason: "done".into(),
        });
        assert_eq!(client.heard(), Heard::Close(1000, String::new()));
    }
    for (id, channel) in (100..).zip(&channels) {
        staying.send(&[publish(id, channel, b"still here")]);
        let seen = Seen::of(&mut staying, 2);
        assert_eq!((seen.acks, seen.publications.len()), (vec![id], 1));
    }
}
