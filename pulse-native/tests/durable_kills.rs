//! A real server with durable history is killed again and again under load: nothing that it acknowledged or delivered is lost, no
//! number is given to another message, and what its publishers send until it is acknowledged is published once.

mod e2e_support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use e2e_support::PATIENCE;
use e2e_support::process::Process;
use pulse_native::client::{
    Client, Event, HistoryOptions, Message, Options, Position, Publication, Subscription,
};
use rustix::process::Signal;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const ROUNDS: u64 = 100;
const CHANNELS: u64 = 3;
/// Acknowledgements in a round before the server is killed, at most; where in between is drawn.
const ACKS: u64 = 300;

/// What the outside knows of one channel.
#[derive(Default)]
struct Known {
    epoch: Option<String>,
    /// Payloads of what was acknowledged or delivered, by number, and not found in the history yet.
    seen: BTreeMap<u64, String>,
    /// What stands in the history, in its order.
    kept: Vec<String>,
}

impl Known {
    fn see(&mut self, number: u64, payload: String) {
        // What was sent again is told where it stood already.
        let kept = usize::try_from(number).ok().and_then(|number| self.kept.get(number - 1));
        let before = match kept {
            Some(kept) => Some(kept.clone()),
            None => self.seen.insert(number, payload.clone()),
        };
        assert!(before.is_none_or(|before| before == payload), "{number} is {payload} and something else");
    }

    /// What the history holds behind what was read of it before.
    async fn read(&mut self, client: &Client, channel: &str) {
        loop {
            let last = self.kept.len() as u64;
            let since = self.epoch.clone().map(|epoch| Position { epoch, offset: last });
            let options = HistoryOptions {
                since: since.as_ref().map(Position::point),
                limit: Some(1000),
                reverse: false,
            };
            let page =
                client.history(channel, options).await.expect("the epoch is the same, and all is kept");
            assert!(
                self.epoch.as_ref().is_none_or(|epoch| *epoch == page.position.epoch),
                "history was lost"
            );
            self.epoch = Some(page.position.epoch.clone());
            for publication in page.publications {
                let (number, payload) = parts(&publication);
                assert_eq!(number, self.kept.len() as u64 + 1, "there is no hole");
                if let Some(seen) = self.seen.remove(&number) {
                    assert_eq!(seen, payload, "number {number} of {channel} was given to another message");
                }
                self.kept.push(payload);
            }
            if page.position.offset == self.kept.len() as u64 {
                break;
            }
        }
        assert!(self.seen.is_empty(), "{channel} has lost {:?}", self.seen);
    }
}

fn parts(publication: &Publication) -> (u64, String) {
    let payload = String::from_utf8(publication.payload.clone()).expect("payloads of this test are text");
    (publication.offset.expect("it is numbered"), payload)
}

fn channel(n: u64) -> String {
    format!("safe:{n}")
}

async fn connect(server: &Process) -> Client {
    let options = Options { reconnect: false, ..Options::default() };
    Client::connect(&server.url(), options).await.expect("the server takes clients")
}

/// What came of publishing.
#[derive(Default)]
struct Taken {
    acked: Vec<(u64, String)>,
    /// Payloads that have no answer: the next round sends them again.
    open: Vec<String>,
}

/// Publishes until the server is gone, first what has no answer yet.
async fn publish(client: Client, n: u64, round: u64, open: Vec<String>, acked: Arc<Semaphore>) -> Taken {
    let (mut taken, mut tasks) = (Taken::default(), JoinSet::new());
    let fresh = (0..).map(|count| format!("{round}/{n}/{count}"));
    let mut messages = open.into_iter().chain(fresh);
    for payload in messages.by_ref() {
        let message = Message::raw(payload.as_str()).idempotency_key(payload.as_str());
        let Ok(receipt) = client.enqueue(&channel(n), message).await else {
            taken.open.push(payload);
            break;
        };
        let acked = Arc::clone(&acked);
        tasks.spawn(async move {
            let position = receipt.await.ok().and_then(|published| published.position);
            acked.add_permits(usize::from(position.is_some()));
            (position, payload)
        });
        while tasks.len() > 32 {
            taken.note(tasks.join_next().await.expect("some are there").expect("it does not panic"));
        }
        if let Some(done) = tasks.try_join_next() {
            taken.note(done.expect("it does not panic"));
        }
    }
    // Of these, too, some may not have been sent.
    let own = format!("{round}/");
    taken.open.extend(messages.take_while(|payload| !payload.starts_with(&own)));
    tasks.join_all().await.into_iter().for_each(|done| taken.note(done));
    taken
}

impl Taken {
    fn note(&mut self, (position, payload): (Option<Position>, String)) {
        match position {
            Some(position) => self.acked.push((position.offset, payload)),
            None => self.open.push(payload),
        }
    }
}

/// Publishes what has no answer, and waits for it.
async fn publish_rest(client: &Client, n: u64, open: &[String]) {
    for payload in open {
        let message = Message::raw(payload.as_str()).idempotency_key(payload.as_str());
        let published = client.publish(&channel(n), message).await.expect("the server takes it");
        assert!(published.position.is_some());
    }
}

/// What was delivered until the server was gone.
async fn watch(mut subscription: Subscription) -> Vec<(u64, String)> {
    let mut got = Vec::new();
    while let Some(event) = subscription.next().await {
        match event {
            Event::Publication(publication) => got.push(parts(&publication)),
            Event::Gap(gap) => panic!("{gap:?}"),
            _ => {}
        }
    }
    assert!(got.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "each once and in order");
    got
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kills-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

#[test]
#[ignore = "long: a hundred starts"]
fn a_server_that_is_killed_a_hundred_times_under_load_loses_nothing_and_repeats_nothing() {
    let folder = folder();
    let path = folder.to_str().expect("cargo's directory is text").to_owned();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let mut known: Vec<Known> = (0..CHANNELS).map(|_| Known::default()).collect();
    let (mut open, mut resent) = (vec![Vec::new(); CHANNELS as usize], 0);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..=ROUNDS {
        let server = Process::serve(&[
            "--store-path",
            &path,
            "--channels-durable",
            "true",
            "--channels-history-size",
            "1000000",
            "--channels-history-bytes",
            "1073741824",
        ]);
        runtime.block_on(async {
            let reader = connect(&server).await;
            for (n, known) in (0..).zip(&mut known) {
                known.read(&reader, &channel(n)).await;
            }
            if round == ROUNDS {
                for n in 0..CHANNELS {
                    publish_rest(&reader, n, &open[n as usize]).await;
                    known[n as usize].read(&reader, &channel(n)).await;
                }
                return;
            }
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let acked = Arc::new(Semaphore::new(0));
            let (mut publishers, mut watchers) = (JoinSet::new(), JoinSet::new());
            for n in 0..CHANNELS {
                let subscription = reader.subscribe(&channel(n)).await.expect("anyone may subscribe");
                watchers.spawn(async move { (n, watch(subscription).await) });
                let (client, acked) = (connect(&server).await, Arc::clone(&acked));
                let open = std::mem::take(&mut open[n as usize]);
                resent += open.len();
                publishers.spawn(async move { (n, publish(client, n, round, open, acked).await) });
            }
            let until = 1 + random % ACKS;
            let enough = acked.acquire_many(u32::try_from(until).expect("it is small"));
            let enough = tokio::time::timeout(PATIENCE, enough).await.expect("the server acknowledges");
            enough.expect("nobody closes it").forget();
            server.signal(Signal::KILL);
            let taken = publishers.join_all().await.into_iter().map(|(n, taken)| {
                open[n as usize] = taken.open;
                (n, taken.acked)
            });
            for (n, seen) in taken.chain(watchers.join_all().await) {
                seen.into_iter().for_each(|(number, payload)| known[n as usize].see(number, payload));
            }
        });
        drop(server);
    }
    assert!(resent > ROUNDS as usize, "few were sent again: {resent}");
    for known in &known {
        let mut payloads = known.kept.clone();
        payloads.sort_unstable();
        payloads.dedup();
        assert_eq!(payloads.len(), known.kept.len(), "no message stands there twice");
        assert!(known.kept.len() as u64 > ROUNDS, "there was load: {}", known.kept.len());
    }
    fs::remove_dir_all(&folder).expect("the servers have ended");
}
