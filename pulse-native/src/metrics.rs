//! What Prometheus reads: the counters of every shard, summed when somebody asks.
//!
//! A shard counts in plain integers and publishes them here once a turn, so that the message path touches no shared
//! memory. Where the listener is bound and on which runtime [`serve`] runs is the server's decision.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};
use pulse_core::Stats;
use pulse_core::wire::{CLOSES, ERRORS};
use tokio::net::TcpListener;

use crate::api::METHOD_NAMES;
use crate::keeper::Counts;

/// The content type of OpenMetrics text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the latency histogram in microseconds, 50 us to 5 s; one more bucket holds the rest.
const BOUNDS_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000,
];

/// One shard's counters, as of its last turn. Written by that shard, read by whoever scrapes.
///
/// Aligned so that two shards never write the same pair of cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardMetrics {
    plain: [AtomicU64; PLAIN.len()],
    errors: [AtomicU64; ERRORS.len()],
    closed: [AtomicU64; CLOSES.len()],
    refused: [AtomicU64; REFUSALS.len()],
    handshakes: [AtomicU64; HANDSHAKES.len()],
    api: [[AtomicU64; STATUSES.len()]; API.len()],
    unsent: AtomicU64,
    latency: [AtomicU64; BOUNDS_US.len() + 1],
    latency_ns: AtomicU64,
}

impl ShardMetrics {
    /// Publishes what the router counted, and how many bytes the sockets have not taken yet. Once a turn is enough: about
    /// sixty plain stores.
    pub fn store(&self, stats: &Stats, unsent: usize) {
        for (shared, metric) in self.plain.iter().zip(&PLAIN) {
            shared.store((metric.of)(stats), Relaxed);
        }
        for (shared, count) in
            self.errors.iter().zip(stats.errors).chain(self.closed.iter().zip(stats.closed))
        {
            shared.store(count, Relaxed);
        }
        self.unsent.store(unsent as u64, Relaxed);
    }

    /// Counts a WebSocket that was refused.
    pub fn refused(&self, refused: Refused) {
        self.refused[refused as usize].fetch_add(1, Relaxed);
    }

    /// Counts a TLS handshake that failed.
    pub fn handshake_failed(&self, why: HandshakeFailed) {
        self.handshakes[why as usize].fetch_add(1, Relaxed);
    }

    /// Counts a request of the HTTP API, by its method and the status of its answer. `None` stands for all paths that are no
    /// method's.
    pub fn api_answered(&self, method: Option<&str>, status: u16) {
        let method = API.iter().position(|name| Some(*name) == method).unwrap_or(API.len() - 1);
        let class = match status {
            ..400 => 0,
            400..500 => 1,
            500.. => 2,
        };
        self.api[method][class].fetch_add(1, Relaxed);
    }

    /// Counts one turn that took `elapsed` from its first input to its last byte written.
    pub fn latency(&self, elapsed: Duration) {
        let bucket = BOUNDS_US.iter().position(|&bound| elapsed <= Duration::from_micros(bound));
        self.latency[bucket.unwrap_or(BOUNDS_US.len())].fetch_add(1, Relaxed);
        self.latency_ns.fetch_add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

/// Why a WebSocket was refused before it was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many connections as are allowed are open, or the server stops.
    Full,
    /// As many connections of its address as are allowed are open.
    Address,
    /// The page's origin is not listed.
    Origin,
    /// The request is not a valid one.
    Invalid,
}

/// The label's values, by [`Refused`].
const REFUSALS: [&str; 4] = ["full", "address", "origin", "invalid"];

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailed {
    /// A request came without TLS.
    Plain,
    /// Both sides have no version, suite or protocol in common.
    Incompatible,
    /// The client does not want to go on: most often it does not trust the certificate.
    Rejected,
    /// What came is no handshake.
    Invalid,
    /// The client ended the connection.
    Closed,
    /// It was not over in time.
    Timeout,
}

/// The label's values, by [`HandshakeFailed`].
const HANDSHAKES: [&str; 6] = ["plain", "incompatible", "rejected", "invalid", "closed", "timeout"];

/// The label's values for the statuses of answers: up to 399, up to 499, all others.
const STATUSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// The label's values for what a request of the API asks for; the last one stands for paths that are no method's.
const API: [&str; METHOD_NAMES.len() + 1] = {
    let mut names = ["other"; METHOD_NAMES.len() + 1];
    names.split_at_mut(METHOD_NAMES.len()).0.copy_from_slice(&METHOD_NAMES);
    names
};

/// Everything that `/metrics` shows, for these shards.
#[must_use]
pub fn registry(shards: Vec<Arc<ShardMetrics>>) -> Registry {
    let mut registry = Registry::default();
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register("pulse_build", "The running version", Info::new(version));
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    registry.register_collector(Box::new(Process { started }));
    registry.register_collector(Box::new(Shards(shards)));
    registry
}

/// Adds what the store counts.
pub(crate) fn register_store(registry: &mut Registry, counts: Arc<Counts>) {
    registry.register_collector(Box::new(Stored(counts)));
}

/// Answers `GET /metrics` from `registry`, and 404 to everything else.
pub fn router(registry: Arc<Registry>) -> Router {
    let scrape = move || {
        let mut body = String::new();
        // Writing to a string fails only where an encoder of ours does, and those pass on the string's result.
        text::encode(&mut body, &registry).expect("a string takes every metric");
        std::future::ready(([(CONTENT_TYPE, OPENMETRICS)], body))
    };
    Router::new().route("/metrics", get(scrape))
}

/// Serves [`router`] on `listener` until it is dropped.
pub fn serve(listener: TcpListener, registry: Registry) -> impl Future<Output = io::Result<()>> {
    let router = router(Arc::new(registry));
    async move { axum::serve(listener, router).await }
}

/// A number of [`Stats`] and how Prometheus calls it; a counter's name is without the `_total` that the encoder adds.
struct Metric {
    name: &'static str,
    /// A label and its value, if the metric has one.
    label: Option<(&'static str, &'static str)>,
    help: &'static str,
    kind: MetricType,
    of: fn(&Stats) -> u64,
}

const fn counter(name: &'static str, help: &'static str, of: fn(&Stats) -> u64) -> Metric {
    Metric { name, label: None, help, kind: MetricType::Counter, of }
}

const fn gauge(name: &'static str, help: &'static str, of: fn(&Stats) -> u64) -> Metric {
    Metric { name, label: None, help, kind: MetricType::Gauge, of }
}

const fn labelled(
    name: &'static str,
    label: (&'static str, &'static str),
    help: &'static str,
    of: fn(&Stats) -> u64,
) -> Metric {
    Metric { name, label: Some(label), help, kind: MetricType::Counter, of }
}

const FRAMES: &str = "Frames from and to clients, each counted once for each receiver";
const DROPPED: &str = "Publications not delivered, each counted once for each receiver";
const EVICTED: &str = "What history has dropped because all channels together kept too much";
const BYTES: &str = "Bytes of these frames, their length prefixes included";

/// Metrics of one name are neighbours: they are one family.
static PLAIN: [Metric; 19] = [
    counter("pulse_connections", "Connections opened", |stats| stats.opened),
    gauge("pulse_connections_active", "Connections open now", |stats| stats.connections),
    labelled("pulse_messages", ("direction", "in"), FRAMES, |stats| stats.frames_in),
    labelled("pulse_messages", ("direction", "out"), FRAMES, |stats| stats.frames_out),
    labelled("pulse_messages_bytes", ("direction", "in"), BYTES, |stats| stats.bytes_in),
    labelled("pulse_messages_bytes", ("direction", "out"), BYTES, |stats| stats.bytes_out),
    counter("pulse_subscriptions", "Subscriptions made", |stats| stats.subscribed),
    gauge("pulse_subscriptions_active", "Subscriptions that exist now", |stats| stats.subscriptions),
    gauge("pulse_channels_active", "Channels that exist now", |stats| stats.channels),
    counter("pulse_publications", "Publications accepted", |stats| stats.publications),
    labelled("pulse_dropped", ("reason", "slow_consumer"), DROPPED, |stats| stats.dropped),
    labelled("pulse_dropped", ("reason", "shard_behind"), DROPPED, |stats| stats.dropped_between),
    gauge("pulse_presence_members", "Members of channels now", |stats| stats.members),
    gauge("pulse_history_publications", "Publications that channels keep now", |stats| {
        stats.history_publications
    }),
    gauge("pulse_history_keys", "Idempotency keys that channels know now", |stats| stats.history_keys),
    gauge("pulse_history_bytes", "Bytes of both, with an overhead for each", |stats| stats.history_bytes),
    labelled("pulse_history_evicted", ("kind", "publication"), EVICTED, |stats| stats.history_evicted),
    labelled("pulse_history_evicted", ("kind", "key"), EVICTED, |stats| stats.history_keys_evicted),
    gauge("pulse_queue_bytes", "Bytes queued now for connections that take nothing", |stats| {
        stats.backlog_bytes
    }),
];

/// Sums over shards at the time of a scrape.
#[derive(Debug)]
struct Shards(Vec<Arc<ShardMetrics>>);

impl Shards {
    fn sum(&self, of: impl Fn(&ShardMetrics) -> &AtomicU64) -> u64 {
        self.0.iter().map(|shard| of(shard).load(Relaxed)).fold(0, u64::wrapping_add)
    }

    fn plain(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut rest = PLAIN.iter().enumerate().peekable();
        while let Some((index, metric)) = rest.next() {
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)?;
            let value = |index: usize| self.sum(|shard| &shard.plain[index]);
            let Some(label) = metric.label else {
                match metric.kind {
                    MetricType::Gauge => ConstGauge::new(value(index)).encode(family)?,
                    _ => ConstCounter::new(value(index)).encode(family)?,
                }
                continue;
            };
            ConstCounter::new(value(index)).encode(family.encode_family(&[label])?)?;
            while let Some((index, next)) = rest.next_if(|(_, next)| next.name == metric.name) {
                let label = next.label.expect("metrics of one name have one label");
                ConstCounter::new(value(index)).encode(family.encode_family(&[label])?)?;
            }
        }
        Ok(())
    }

    /// Counters of one name, told apart by a label.
    fn family<'v>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        label: &str,
        values: impl Iterator<Item = &'v str>,
        of: impl Fn(&ShardMetrics, usize) -> &AtomicU64,
    ) -> std::fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (index, value) in values.enumerate() {
            let count = self.sum(|shard| of(shard, index));
            ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }

    /// What has a name or a reason of its own in each sample, and what sockets have not taken.
    fn by_reason(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let errors = ("pulse_errors", "Error frames sent, by the name of their code");
        let closes = ("pulse_disconnects", "Connections that the server has ended, by the name of the code");
        let refusals = ("pulse_refused", "WebSockets that were refused");
        self.family(encoder, errors, "type", ERRORS.iter().map(|row| row.name), |shard, at| {
            &shard.errors[at]
        })?;
        self.family(encoder, closes, "type", CLOSES.iter().map(|row| row.name), |shard, at| {
            &shard.closed[at]
        })?;
        self.family(encoder, refusals, "reason", REFUSALS.into_iter(), |shard, at| &shard.refused[at])?;
        let handshakes = ("pulse_tls_handshakes_failed", "TLS handshakes that failed");
        self.family(encoder, handshakes, "reason", HANDSHAKES.into_iter(), |shard, at| {
            &shard.handshakes[at]
        })?;
        self.api(encoder)?;
        let help = "Bytes written that sockets have not taken yet";
        let unsent = encoder.encode_descriptor("pulse_unsent_bytes", help, None, MetricType::Gauge)?;
        ConstGauge::new(self.sum(|shard| &shard.unsent)).encode(unsent)
    }

    fn api(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Requests of the HTTP API, by method and status of the answer";
        let mut family = encoder.encode_descriptor("pulse_api_requests", help, None, MetricType::Counter)?;
        for (method, name) in API.into_iter().enumerate() {
            for (class, status) in STATUSES.into_iter().enumerate() {
                let count = ConstCounter::new(self.sum(|shard| &shard.api[method][class]));
                count.encode(family.encode_family(&[("method", name), ("status", status)])?)?;
            }
        }
        Ok(())
    }

    fn latency(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Time from the first input of a turn to the last byte that it wrote";
        let mut encoder =
            encoder.encode_descriptor("pulse_latency_seconds", help, None, MetricType::Histogram)?;
        let bounds =
            BOUNDS_US.iter().map(|&bound| seconds(Duration::from_micros(bound))).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .enumerate()
            .map(|(index, bound)| (bound, self.sum(|shard| &shard.latency[index])))
            .collect();
        // Counted from the buckets: a count kept apart could differ from them in the middle of a turn.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(Duration::from_nanos(self.sum(|shard| &shard.latency_ns)));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.plain(&mut encoder)?;
        self.by_reason(&mut encoder)?;
        self.latency(&mut encoder)
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// What is durable.
#[derive(Debug)]
struct Stored(Arc<Counts>);

impl Collector for Stored {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Counts { publications, commits, commit_ns, errors } = &*self.0;
        let counters = [
            ("pulse_store_publications", "Publications that are on disk", publications),
            (
                "pulse_store_commits",
                "Transactions of the store, each with one sync if it has a publication",
                commits,
            ),
            (
                "pulse_store_errors",
                "Transactions of the store that failed, with all that was in them",
                errors,
            ),
        ];
        for (name, help, count) in counters {
            let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(count.load(Relaxed)).encode(counter)?;
        }
        let help = "Time that the store's transactions took, their syncs included";
        let time =
            encoder.encode_descriptor("pulse_store_commit_seconds", help, None, MetricType::Counter)?;
        ConstCounter::new(seconds(Duration::from_nanos(commit_ns.load(Relaxed)))).encode(time)
    }
}

/// What Prometheus calls the standard metrics of a process, as far as they cost nothing.
#[derive(Debug)]
struct Process {
    started: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Start time of the process, in seconds since 1970";
        let started =
            encoder.encode_descriptor("process_start_time_seconds", help, None, MetricType::Gauge)?;
        ConstGauge::new(self.started).encode(started)?;
        // Read each time: the server raises the limit when it starts. No limit at all has no number to show.
        if let Some(files) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            let help = "Files and sockets that the process may have open";
            let limit = encoder.encode_descriptor("process_max_fds", help, None, MetricType::Gauge)?;
            ConstGauge::new(files).encode(limit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Two shards with counts that tell every metric apart.
    fn shards() -> Vec<Arc<ShardMetrics>> {
        let mut stats = Stats {
            frames_in: 1,
            bytes_in: 2,
            frames_out: 3,
            bytes_out: 4,
            publications: 5,
            subscribed: 6,
            opened: 7,
            dropped: 8,
            connections: 9,
            subscriptions: 10,
            channels: 11,
            dropped_between: 13,
            members: 14,
            backlog_bytes: 15,
            history_publications: 19,
            history_keys: 20,
            history_bytes: 21,
            history_evicted: 22,
            history_keys_evicted: 23,
            ..Stats::default()
        };
        stats.errors[1] = 12;
        stats.closed[2] = 16;
        let shards = [Arc::<ShardMetrics>::default(), Arc::default()];
        shards[0].store(&stats, 17);
        shards[0].refused(Refused::Origin);
        stats.frames_in = 100;
        stats.errors[1] = 200;
        shards[1].store(&stats, 18);
        shards[1].refused(Refused::Origin);
        for shard in &shards {
            shard.handshake_failed(HandshakeFailed::Rejected);
            shard.api_answered(Some("publish"), 200);
            shard.api_answered(None, 404);
        }
        shards[1].api_answered(Some("batch"), 503);
        shards[0].latency(Duration::ZERO);
        shards[0].latency(Duration::from_micros(50));
        shards[1].latency(Duration::from_micros(51));
        shards[1].latency(Duration::from_secs(6));
        shards.to_vec()
    }

    fn scraped() -> String {
        let mut text = String::new();
        text::encode(&mut text, &registry(shards())).expect("a string takes every metric");
        text
    }

    #[test]
    fn every_counter_is_summed_over_shards_under_the_name_that_dashboards_know() {
        let text = scraped();
        for line in [
            "pulse_connections_total 14",
            "pulse_connections_active 18",
            "pulse_messages_total{direction=\"in\"} 101",
            "pulse_messages_total{direction=\"out\"} 6",
            "pulse_messages_bytes_total{direction=\"in\"} 4",
            "pulse_messages_bytes_total{direction=\"out\"} 8",
            "pulse_subscriptions_total 12",
            "pulse_subscriptions_active 20",
            "pulse_channels_active 22",
            "pulse_publications_total 10",
            "pulse_dropped_total{reason=\"slow_consumer\"} 16",
            "pulse_dropped_total{reason=\"shard_behind\"} 26",
            "pulse_presence_members 28",
            "pulse_queue_bytes 30",
            "pulse_history_publications 38",
            "pulse_history_keys 40",
            "pulse_history_bytes 42",
            "pulse_history_evicted_total{kind=\"publication\"} 44",
            "pulse_history_evicted_total{kind=\"key\"} 46",
            "pulse_unsent_bytes 35",
            &format!("pulse_disconnects_total{{type=\"{}\"}} 32", CLOSES[2].name),
            "pulse_refused_total{reason=\"origin\"} 2",
            "pulse_refused_total{reason=\"full\"} 0",
            "pulse_tls_handshakes_failed_total{reason=\"rejected\"} 2",
            "pulse_tls_handshakes_failed_total{reason=\"timeout\"} 0",
            "pulse_api_requests_total{method=\"publish\",status=\"2xx\"} 2",
            "pulse_api_requests_total{method=\"publish\",status=\"4xx\"} 0",
            "pulse_api_requests_total{method=\"batch\",status=\"5xx\"} 1",
            "pulse_api_requests_total{method=\"other\",status=\"4xx\"} 2",
            &format!("pulse_errors_total{{type=\"{}\"}} 212", ERRORS[1].name),
            &format!("pulse_errors_total{{type=\"{}\"}} 0", ERRORS[0].name),
            "pulse_latency_seconds_bucket{le=\"0.00005\"} 2",
            "pulse_latency_seconds_bucket{le=\"0.0001\"} 3",
            "pulse_latency_seconds_bucket{le=\"5.0\"} 3",
            "pulse_latency_seconds_bucket{le=\"+Inf\"} 4",
            "pulse_latency_seconds_count 4",
            "pulse_latency_seconds_sum 6.000101",
            &format!("pulse_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_family_is_described_once_and_the_text_ends_with_its_mark() {
        let text = scraped();
        let mut described: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let all = described.len();
        described.sort_unstable();
        described.dedup();
        assert_eq!(described.len(), all, "{text}");
        assert!(
            described.contains(&"pulse_messages counter") && described.contains(&"pulse_build info"),
            "{text}"
        );
        assert!(described.contains(&"pulse_latency_seconds histogram"), "{text}");
        assert!(!text.contains("_total_total") && text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn the_process_tells_when_it_started_and_how_many_files_it_may_open() {
        let text = scraped();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse::<f64>().ok())
        };
        assert!(value("process_start_time_seconds ").is_some_and(|time| time > 1.7e9), "{text}");
        assert!(value("process_max_fds ").is_none_or(|files| files >= 1.0), "{text}");
    }

    /// The whole answer to a request for `path`.
    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("the listener is bound");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the server answers in text");
        answer
    }

    #[tokio::test]
    async fn a_scrape_gets_openmetrics_and_every_other_path_gets_404() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let server = tokio::spawn(serve(listener, registry(shards())));
        let scrape = get(address, "/metrics").await;
        assert!(scrape.starts_with("HTTP/1.1 200 OK\r\n"), "{scrape}");
        assert!(scrape.contains(&format!("content-type: {OPENMETRICS}\r\n")), "{scrape}");
        assert!(
            scrape.contains("\npulse_connections_active 18\n") && scrape.ends_with("# EOF\n"),
            "{scrape}"
        );
        for other in ["/", "/metrics/", "/health"] {
            let answer = get(address, other).await;
            assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
        }
        server.abort();
    }

    #[test]
    fn shards_do_not_share_cache_lines() {
        assert_eq!(align_of::<ShardMetrics>(), 128);
        assert_eq!(size_of::<ShardMetrics>() % 128, 0);
    }
}
