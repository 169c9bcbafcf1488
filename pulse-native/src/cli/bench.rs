//! `pulse bench`: a quick look at what a server does, by clients in this process. Figures that mean more come from the load
//! generator (docs/BENCHMARKS.md).

use std::{
    collections::VecDeque,
    fmt,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use pulse_native::{
    client::{Client, Event, Message, Options, RequestError, Subscription},
    config::Config,
    server::Server,
};
use serde_json::json;
use tokio::{sync::oneshot, task::JoinSet, time::timeout};

use super::{
    print,
    remote::{self, Failure, Remote},
};

pub(crate) const AFTER: &str = "\
Examples:
  pulse bench                              a server of its own, with default settings, on this machine
  pulse bench --url ws://127.0.0.1:8080/ws this server
  pulse bench --clients 500 --seconds 10   more of both
  pulse bench | jq .deliveries_per_s       in a pipe, a JSON object

It connects clients, sends one message after another to one of them, then as many as they take to all of them. The clients
run on one processor; on a machine with few of them they take as much from the server as they measure.

Exit codes:
  0  it was measured, and every message came
  1  the server cannot be reached, refuses, or lost messages
  2  the command line is wrong";

/// Messages that wait for their answer at once, and how many subscribers may be behind.
const UNDER_WAY: usize = 256;

/// Bytes that these messages may have, so that none of the server's own bounds is reached by default.
const UNDER_WAY_BYTES: usize = 128 << 10;

/// How long the last messages may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to measure, and for how long.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// The server to measure; without it, one is started for the time being.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Trust the certificates in this file, PEM, instead of those that the system trusts.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<std::path::PathBuf>,
    /// Subscribers of the channel that many listen to.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Seconds that each of the two parts takes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Bytes of a payload.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=65_536))]
    size: u32,
}

/// What came out.
#[derive(Debug)]
struct Report {
    clients: u32,
    size: u32,
    connected_in: Duration,
    /// Rising.
    latencies: Vec<Duration>,
    published: u64,
    delivered: u64,
    lost: u64,
    flat_out: Duration,
}

impl Bench {
    pub(crate) fn run(self) -> ExitCode {
        let terminal = io::stdout().is_terminal();
        let (mut text, mut lost) = (String::new(), 0);
        let measured = remote::run(async {
            let report = self.measure().await?;
            lost = report.lost;
            text = if terminal { report.to_string() } else { report.json() };
            Ok(())
        });
        if measured != ExitCode::SUCCESS {
            return measured;
        }
        let printed = print(&text);
        if lost > 0 { ExitCode::FAILURE } else { printed }
    }

    async fn measure(&self) -> Result<Report, Failure> {
        // Fails where it may not be raised; then the system says so when there are too many.
        let _ = pulse_native::raise_open_files();
        let own = if self.url.is_none() { Some(Own::start()?) } else { None };
        let url = own.as_ref().map(|own| own.url.clone()).or_else(|| self.url.clone()).unwrap_or_default();
        let remote = Remote { url, ca: self.ca.clone() };
        let mut bar = Bar::new();
        let publisher = connect(&remote).await?;
        // A channel of this run alone: others may use the server meanwhile.
        let run = publisher_name(&publisher);

        let mut subscribers = Vec::new();
        let started = Instant::now();
        for done in 0..self.clients {
            bar.show("connecting", f64::from(done) / f64::from(self.clients));
            let client = connect(&remote).await?;
            let subscription = subscribe(&client, &format!("bench:{run}:many")).await?;
            subscribers.push((client, subscription));
        }
        let connected_in = started.elapsed();
        let latencies = self.latency(&remote, &publisher, &format!("bench:{run}:one"), &mut bar).await?;
        let counted = self.flat_out(&publisher, subscribers, &format!("bench:{run}:many"), &mut bar).await?;
        bar.clear();
        publisher.close().await;
        let Counted { published, delivered, lost, flat_out } = counted;
        let (clients, size) = (self.clients, self.size);
        Ok(Report { clients, size, connected_in, latencies, published, delivered, lost, flat_out })
    }

    /// From the call that publishes until the one subscriber has it, one message at a time.
    async fn latency(
        &self,
        remote: &Remote,
        publisher: &Client,
        channel: &str,
        bar: &mut Bar,
    ) -> Result<Vec<Duration>, Failure> {
        let listener = connect(remote).await?;
        let mut subscription = subscribe(&listener, channel).await?;
        let mut latencies = Vec::new();
        let started = Instant::now();
        while let Some(done) = self.share_of(started) {
            bar.show("one at a time", done);
            let sent = Instant::now();
            let mut receipt = publisher.enqueue(channel, self.message()).await.map_err(refused)?;
            let arrived = next_publication(&mut subscription);
            // A refusal is told at once; an acknowledgement may come before the message or behind it.
            let answered = tokio::select! {
                biased;
                there = arrived => {
                    there?;
                    None
                }
                answer = &mut receipt => Some(answer),
            };
            if let Some(answer) = answered {
                answer.map_err(refused)?;
                next_publication(&mut subscription).await?;
                latencies.push(sent.elapsed());
            } else {
                latencies.push(sent.elapsed());
                receipt.await.map_err(refused)?;
            }
        }
        latencies.sort_unstable();
        Ok(latencies)
    }

    /// As many messages as the subscribers take.
    async fn flat_out(
        &self,
        publisher: &Client,
        subscribers: Vec<(Client, Subscription)>,
        channel: &str,
        bar: &mut Bar,
    ) -> Result<Counted, Failure> {
        let (delivered, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for (client, mut subscription) in subscribers {
            let (delivered, lost) = (Arc::clone(&delivered), Arc::clone(&lost));
            tasks.spawn(async move {
                while let Some(event) = subscription.next().await {
                    match event {
                        Event::Publication(_) => delivered.fetch_add(1, Relaxed),
                        Event::Gap(gap) => lost.fetch_add(gap.count.unwrap_or(1), Relaxed),
                        _ => 0,
                    };
                }
                client.closed().await
            });
        }
        let everyone = u64::from(self.clients);
        let under_way = (UNDER_WAY_BYTES / (self.size as usize + 64)).clamp(1, UNDER_WAY);
        let arrived = || delivered.load(Relaxed) + lost.load(Relaxed);
        let (mut receipts, mut published) = (VecDeque::new(), 0);
        let started = Instant::now();
        while let Some(done) = self.share_of(started) {
            bar.show("to everybody", done);
            receipts.push_back(publisher.enqueue(channel, self.message()).await.map_err(refused)?);
            published += 1;
            while receipts.len() > under_way
                || (published * everyone).saturating_sub(arrived()) > under_way as u64 * everyone
            {
                match receipts.pop_front() {
                    Some(receipt) => drop(receipt.await.map_err(refused)?),
                    None => tokio::task::yield_now().await,
                }
                if let Some(ended) = tasks.try_join_next() {
                    return Err(remote::lost(ended.ok().flatten()));
                }
            }
        }
        let flat_out = started.elapsed();
        let on_time = delivered.load(Relaxed);
        for receipt in receipts {
            receipt.await.map_err(refused)?;
        }
        let rest = async {
            while arrived() < published * everyone {
                tokio::task::yield_now().await;
            }
        };
        // What has not come by then does not count as delivered.
        let all = timeout(PATIENCE, rest).await.is_ok();
        let missing = if all { 0 } else { published * everyone - arrived() };
        tasks.shutdown().await;
        Ok(Counted { published, delivered: on_time, lost: lost.load(Relaxed) + missing, flat_out })
    }

    /// How much of a part is over; `None` once all of it is.
    fn share_of(&self, started: Instant) -> Option<f64> {
        let done = started.elapsed().as_secs_f64() / f64::from(self.seconds);
        (done < 1.0).then_some(done)
    }

    fn message(&self) -> Message {
        Message::raw(vec![b'x'; self.size as usize])
    }
}

struct Counted {
    published: u64,
    /// Until publishing ended, which is when the time did.
    delivered: u64,
    lost: u64,
    flat_out: Duration,
}

async fn next_publication(subscription: &mut Subscription) -> Result<(), Failure> {
    loop {
        match timeout(PATIENCE, subscription.next()).await {
            Ok(Some(Event::Publication(_))) => return Ok(()),
            Ok(Some(_)) => {}
            Ok(None) => return Err(Failure::Failed("the server has ended the subscription".to_owned())),
            Err(_) => {
                let patience = PATIENCE.as_secs();
                return Err(Failure::Failed(format!("a message did not arrive within {patience} s")));
            }
        }
    }
}

async fn connect(remote: &Remote) -> Result<Client, Failure> {
    remote.connect_with(Options { reconnect: false, queue_bytes: 64 << 20, ..Options::default() }).await
}

async fn subscribe(client: &Client, channel: &str) -> Result<Subscription, Failure> {
    client.subscribe(channel).await.map_err(refused)
}

fn refused(error: RequestError) -> Failure {
    Failure::Failed(format!("the server does not take part: {error}"))
}

/// A name that no other run has: the server's for this connection.
fn publisher_name(client: &Client) -> String {
    match &*client.status().borrow() {
        pulse_native::client::Status::Connected { connection_id, .. } => connection_id.clone(),
        _ => std::process::id().to_string(),
    }
}

/// A server in this process, until it is dropped.
struct Own {
    url: String,
    /// Dropped, it ends the server. The process is about to end then, and does not wait for it.
    _stop: oneshot::Sender<()>,
}

impl Own {
    fn start() -> Result<Self, Failure> {
        let failed = |error: &dyn fmt::Display| Failure::Failed(format!("cannot start a server: {error}"));
        let mut config = Config::default();
        config.server.port = 0;
        config.metrics.enabled = false;
        let options = config.to_options().map_err(|error| failed(&error))?;
        let server = Server::bind(options).map_err(|error| failed(&error))?;
        let url = format!("ws://{}/ws", server.local_addr());
        let (stop, stopped) = oneshot::channel();
        let routers = config.routers();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        let serve = move || {
            let until = async { stopped.await.unwrap_or_default() };
            // Its clients would be told of a failure, and tell it.
            let _ = runtime.block_on(server.run(routers, until));
        };
        thread::Builder::new().name("server".to_owned()).spawn(serve).map_err(|error| failed(&error))?;
        Ok(Self { url, _stop: stop })
    }
}

/// How far it is, for people who watch.
struct Bar {
    shown: Option<Instant>,
    enabled: bool,
}

impl Bar {
    fn new() -> Self {
        Self { shown: None, enabled: io::stderr().is_terminal() }
    }

    fn show(&mut self, what: &str, done: f64) {
        const EVERY: Duration = Duration::from_millis(100);
        if self.enabled && self.shown.is_none_or(|shown| shown.elapsed() > EVERY) {
            self.shown = Some(Instant::now());
            // Nobody sees it, then.
            let _ = write!(io::stderr(), "\r{}", line(what, done));
        }
    }

    fn clear(&self) {
        if self.enabled {
            let _ = write!(io::stderr(), "\r{:60}\r", "");
        }
    }
}

fn line(what: &str, done: f64) -> String {
    const WIDTH: usize = 30;
    let filled = ((done * WIDTH as f64) as usize).min(WIDTH);
    format!(
        "{what:<15} [{}{}] {:>3} %",
        "#".repeat(filled),
        " ".repeat(WIDTH - filled),
        (done * 100.0) as u32
    )
}

impl Report {
    /// Microseconds that this share of the messages took at most.
    fn micros(&self, share: f64) -> u128 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies.get(at).map_or(0, Duration::as_micros)
    }

    fn per_second(&self, count: u64) -> u64 {
        (count as f64 / self.flat_out.as_secs_f64()) as u64
    }

    fn json(&self) -> String {
        let report = json!({
            "clients": self.clients,
            "payload_bytes": self.size,
            "connect_ms": self.connected_in.as_millis() as u64,
            "latency_us": {
                "p50": self.micros(0.5) as u64,
                "p99": self.micros(0.99) as u64,
                "max": self.micros(1.0) as u64,
                "count": self.latencies.len(),
            },
            "publications_per_s": self.per_second(self.published),
            "deliveries_per_s": self.per_second(self.delivered),
            "lost": self.lost,
        });
        format!("{report}\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clients, size, lost, .. } = self;
        let connect = self.connected_in.as_millis();
        writeln!(f, "connecting     {clients} clients, one after another, in {connect} ms")?;
        writeln!(
            f,
            "one at a time  {} us for half of {} messages, {} us for 99 of 100, {} us at most",
            self.micros(0.5),
            self.latencies.len(),
            self.micros(0.99),
            self.micros(1.0),
        )?;
        let (published, delivered) = (self.per_second(self.published), self.per_second(self.delivered));
        writeln!(
            f,
            "to everybody   {delivered} deliveries a second: {published} messages of {size} bytes to {clients} clients"
        )?;
        if *lost > 0 {
            writeln!(f, "lost           {lost} deliveries")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lost: u64) -> Report {
        Report {
            clients: 10,
            size: 64,
            connected_in: Duration::from_millis(5),
            latencies: (1..=101).map(Duration::from_micros).collect(),
            published: 2_000,
            delivered: 20_000,
            lost,
            flat_out: Duration::from_secs(2),
        }
    }

    #[test]
    fn people_get_a_line_a_part() {
        assert_eq!(
            report(0).to_string(),
            "connecting     10 clients, one after another, in 5 ms\n\
             one at a time  51 us for half of 101 messages, 100 us for 99 of 100, 101 us at most\n\
             to everybody   10000 deliveries a second: 1000 messages of 64 bytes to 10 clients\n"
        );
        assert!(report(3).to_string().ends_with("lost           3 deliveries\n"));
    }

    #[test]
    fn the_bar_fills_up() {
        assert_eq!(line("connecting", 0.0), format!("connecting      [{}]   0 %", " ".repeat(30)));
        assert_eq!(line("x", 0.5), format!("x               [{}{}]  50 %", "#".repeat(15), " ".repeat(15)));
        assert!(line("x", 1.5).contains(&"#".repeat(30)));
    }
}
