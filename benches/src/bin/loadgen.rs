//! `loadgen SCENARIO [--rounds N] [--shards N] [--cores LIST] [--tls]`: Pulse and Bun in turn under the same load, or Pulse
//! without and with TLS.
//!
//! `--rounds`, by default 5: each scenario runs this often, everything that is compared once a round; figures of
//! different rounds are not compared, since a machine's speed drifts.
//! `--shards`, by default 2: Pulse runs with one shard and with this many.
//! `--cores`, by default all, as in `0,1`: one CPU for Bun and for Pulse with one shard, one a shard otherwise, and the load
//! on those that are left. Where none is left the two share all, and the output says so: such figures tell whether more
//! shards help a machine of this size, not what a shard can do.
//!
//! `--tls`: no Bun and no second number of shards, by default one; Pulse over plain TCP and over TLS 1.3 instead, with the
//! certificate of `pulse dev-cert`. Every handshake is a full one.
//!
//! Both servers keep up to 16 MiB for a slow reader, which is Bun's default. Bun (uWebSockets) comes by `npm ci` in
//! `benches/peers`.

use std::error::Error;
use std::time::Duration;

use pulse_bench::{
    Acked, AckedResult, Comeback, Cores, Dialect, FanOut, Flood, Server, Storm, Turnover, blast,
};

/// One measurement: names and values of its figures.
type Figures = Vec<(&'static str, f64)>;

type Outcome = Result<Figures, Box<dyn Error>>;

/// A load, and how it is measured.
struct Scenario {
    name: &'static str,
    about: &'static str,
    /// Whether Bun can do it.
    bun: bool,
    run: fn(&Server, Dialect) -> Outcome,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "fan-out-100",
        about: "500 publications of 100 B a second to 100 subscribers",
        bun: true,
        run: |server, dialect| fan_out(server, dialect, 100, 500),
    },
    Scenario {
        name: "fan-out-1000",
        about: "50 publications of 100 B a second to 1,000 subscribers",
        bun: true,
        run: |server, dialect| fan_out(server, dialect, 1_000, 50),
    },
    Scenario {
        name: "blast",
        about: "16 clients publish 100 B flat out to each other for 4 s",
        bun: true,
        run: blast_16,
    },
    Scenario {
        name: "blast-200",
        about: "200 clients publish 100 B flat out to each other for 10 s, everything accounted for",
        bun: true,
        run: blast_200,
    },
    Scenario {
        name: "storm",
        about: "8,000 clients connect, upgrade and subscribe, 256 at once",
        bun: true,
        run: storm,
    },
    Scenario {
        name: "comeback",
        about: "5,000 clients come back at once, each of which has missed 100 publications of 100 B",
        bun: false,
        run: comeback,
    },
    Scenario {
        name: "durable",
        about: "64 clients publish 100 B and wait for the answers, 64 under way each; in memory, on disk, and on disk with idempotency keys",
        bun: false,
        run: durable,
    },
    Scenario {
        name: "durable-one",
        about: "one client publishes 100 B and waits for the answer each time; in memory, on disk, and on disk with idempotency keys",
        bun: false,
        run: durable_one,
    },
    Scenario {
        name: "presence",
        about: "64 of 10,000 members leave while 64 others join",
        bun: false,
        run: presence,
    },
];

/// A configuration with a namespace that keeps history.
const HISTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/history.toml");

/// Something that is measured.
struct Contender {
    name: String,
    /// 0 is Bun.
    shards: usize,
    tls: bool,
    cores: Cores,
}

impl Contender {
    fn run(&self, scenario: &Scenario) -> Outcome {
        if self.shards == 0 {
            return (scenario.run)(&Server::start_bun(Some(&self.cores))?, Dialect::Raw);
        }
        let shards = self.shards.to_string();
        let args = [
            "--server-shards",
            &shards,
            // As long as Bun waits: clients that only listen for a while are not asked whether they live.
            "--heartbeat-interval-ms",
            "120000",
            "--heartbeat-timeout-ms",
            "240000",
            "--limits-queue-bytes",
            "16777216",
            // As Bun does: a slow reader stays, and misses something.
            "--channels-slow-consumer",
            "drop_oldest",
            // Nothing is kept where no namespace says so: of the scenarios only those that need it have channels in these.
            "--config",
            HISTORY,
        ];
        let start = if self.tls { Server::start_tls } else { Server::start };
        (scenario.run)(&start(&args, Some(&self.cores))?, Dialect::V1)
    }
}

/// What the command line asks for.
struct Wanted {
    scenario: String,
    rounds: usize,
    shards: Option<usize>,
    cores: Vec<usize>,
    tls: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Wanted { scenario, rounds, shards, cores, tls } = wanted()?;
    let scenarios: Vec<&Scenario> =
        SCENARIOS.iter().filter(|it| scenario == "all" || scenario == it.name).collect();
    if scenarios.is_empty() {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        return Err(format!("{scenario:?} is no scenario; there are {} and all", names.join(", ")).into());
    }
    let contender = |name: &str, shards: usize, tls| Contender {
        name: name.into(),
        shards,
        tls,
        cores: Cores::split(&cores, shards.max(1)),
    };
    let contenders = if tls {
        let shards = shards.unwrap_or(1);
        vec![contender("plain", shards, false), contender("TLS", shards, true)]
    } else {
        let shards = shards.unwrap_or(2);
        let mut contenders = vec![contender("Pulse", 1, false)];
        if shards > 1 {
            contenders.push(contender(&format!("Pulse, {shards} shards"), shards, false));
        }
        contenders.push(contender("Bun", 0, false));
        contenders
    };
    for contender in &contenders {
        println!("{}: {}", contender.name, contender.cores);
    }
    for scenario in scenarios {
        let mut taking_part: Vec<(&Contender, Vec<Figures>)> = contenders
            .iter()
            .filter(|contender| contender.shards > 0 || scenario.bun)
            .map(|contender| (contender, Vec::new()))
            .collect();
        for round in 0..rounds {
            // Another one begins each time, so that none has always the same one before it.
            taking_part.rotate_left(usize::from(round > 0));
            for (contender, results) in &mut taking_part {
                let figures = contender.run(scenario);
                let place = |error| format!("{}, {}: {error}", scenario.name, contender.name);
                results.push(figures.map_err(place)?);
            }
        }
        taking_part.sort_by_key(|(contender, _)| (contender.shards == 0, contender.shards, contender.tls));
        print(scenario, rounds, &taking_part);
    }
    Ok(())
}

fn wanted() -> Result<Wanted, Box<dyn Error>> {
    let mut wanted =
        Wanted { scenario: "all".into(), rounds: 5, shards: None, cores: Cores::available()?, tls: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || -> Result<usize, String> {
            let value = args.next().and_then(|value| value.parse().ok()).filter(|value| *value > 0);
            value.ok_or_else(|| format!("{arg} takes a number from 1"))
        };
        match &*arg {
            "--rounds" => wanted.rounds = number()?,
            "--shards" => wanted.shards = Some(number()?),
            "--tls" => wanted.tls = true,
            "--cores" => {
                let list = args.next().unwrap_or_default();
                let cores: Result<Vec<usize>, _> = list.split(',').map(str::parse).collect();
                wanted.cores = cores.map_err(|_| "--cores takes the numbers of CPUs, such as 0,1")?;
            }
            name if !name.starts_with('-') => wanted.scenario = arg,
            _ => {
                let known = "--rounds, --shards, --cores and --tls";
                return Err(format!("{arg} is no option; there are {known}").into());
            }
        }
    }
    Ok(wanted)
}

/// A table in Markdown: medians, least and greatest of all rounds, and ratios taken round by round.
fn print(scenario: &Scenario, rounds: usize, results: &[(&Contender, Vec<Figures>)]) {
    println!("\n{}: {}; {rounds} rounds\n", scenario.name, scenario.about);
    let mut pairs = Vec::new();
    for one in 0..results.len() {
        pairs.extend(
            (one + 1..results.len())
                .map(|other| if results[other].0.shards == 0 { (one, other) } else { (other, one) }),
        );
    }
    let name = |n: usize| results[n].0.name.as_str();
    let heads = (0..results.len()).map(|n| name(n).to_owned());
    let heads = heads.chain(pairs.iter().map(|&(one, other)| format!("{} / {}", name(one), name(other))));
    let heads: Vec<String> = std::iter::once("figure".into()).chain(heads).collect();
    println!("| {} |", heads.join(" | "));
    println!("|{}", "---|".repeat(heads.len()));
    for (figure, (label, _)) in results[0].1[0].iter().enumerate() {
        let column = |n: usize| results[n].1.iter().map(move |figures| figures[figure].1);
        let mut cells = vec![(*label).to_owned()];
        cells.extend((0..results.len()).map(|n| spread(column(n).collect())));
        cells.extend(pairs.iter().map(|&(one, other)| {
            spread(column(one).zip(column(other)).map(|(one, other)| one / other).collect())
        }));
        println!("| {} |", cells.join(" | "));
    }
}

/// Median, least and greatest.
fn spread(mut values: Vec<f64>) -> String {
    if values.iter().any(|value| !value.is_finite()) {
        return String::new();
    }
    values.sort_by(f64::total_cmp);
    let (least, most) = (values[0], values[values.len() - 1]);
    format!("{} ({} to {})", short(values[values.len() / 2]), short(least), short(most))
}

/// Three digits or a little more, whole numbers as they are.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn fan_out(server: &Server, dialect: Dialect, subscribers: usize, rate: u64) -> Outcome {
    let load = FanOut { subscribers, rate, size: 100, time: Duration::from_secs(5) };
    let result = load.run(server, dialect)?;
    Ok(vec![
        ("server CPU us a delivery", result.cpu_us),
        ("p50 us", result.latency.percentile(0.5) as f64),
        ("p99 us", result.latency.percentile(0.99) as f64),
        ("max us", result.latency.max_us() as f64),
        ("lost", result.lost as f64),
        ("disordered", result.disordered as f64),
        ("load's CPU %", result.own_cpu),
    ])
}

fn blast_16(server: &Server, dialect: Dialect) -> Outcome {
    let result = blast(server, dialect, 16, 100, Duration::from_secs(4))?;
    Ok(vec![
        ("M deliveries a server CPU second", result.deliveries_per_cpu_second() / 1e6),
        ("M deliveries a second", result.delivered as f64 / 1e6 / result.elapsed.as_secs_f64()),
        ("peak MB", result.peak as f64 / 1e6),
    ])
}

fn blast_200(server: &Server, dialect: Dialect) -> Outcome {
    let load = Flood { clients: 200, size: 100, time: Duration::from_secs(10) };
    let result = load.run(server, dialect)?;
    // Bun acknowledges nothing, and sends nobody its own.
    let by_pulse = |value: u64| if dialect == Dialect::Raw { f64::NAN } else { value as f64 };
    Ok(vec![
        ("published", result.published as f64),
        ("delivered", result.delivered as f64),
        ("told as a gap", by_pulse(result.told)),
        ("neither", result.untold as f64),
        ("disordered", result.disordered as f64),
        ("orders seen", by_pulse(result.orders)),
        ("last publications acknowledged", by_pulse(result.acknowledged)),
        ("M deliveries a second", result.delivered as f64 / 1e6 / result.elapsed.as_secs_f64()),
        ("M deliveries a server CPU second", result.delivered as f64 / 1e6 / result.cpu.as_secs_f64()),
        ("largest message KB", result.largest as f64 / 1e3),
        ("peak MB", result.peak as f64 / 1e6),
        ("load's CPU %", result.own_cpu),
    ])
}

fn storm(server: &Server, dialect: Dialect) -> Outcome {
    const COUNT: usize = 8_000;
    // What a server does once, compiling included, is not divided among the connections.
    let _warm = Storm { count: 1_000, at_once: 256 }.run(server, dialect)?;
    let (_crowd, result) = Storm { count: COUNT, at_once: 256 }.run(server, dialect)?;
    let count = COUNT as f64;
    Ok(vec![
        ("server CPU us a connection", result.cpu.as_secs_f64() * 1e6 / count),
        ("connections a second", count / result.elapsed.as_secs_f64()),
        ("resident B a connection", result.resident as f64 / count),
    ])
}

fn comeback(server: &Server, _: Dialect) -> Outcome {
    let result = Comeback { clients: 5_000, missed: 100, size: 100, channels: 50 }.run(server)?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(vec![
        ("ms until the last has caught up", ms(result.elapsed)),
        ("server CPU ms", ms(result.cpu)),
        ("server CPU us a client", result.cpu.as_secs_f64() * 1e6 / 5_000.0),
        ("peak MiB over the start", result.peak as f64 / f64::from(1 << 20)),
        ("fresh clients served meanwhile", result.fresh.len() as f64),
        ("ms for half of them", ms(result.fresh_percentile(0.5))),
        ("ms for the slowest", ms(result.fresh_percentile(1.0))),
        ("disordered or repeated", result.disordered as f64),
    ])
}

fn durable(server: &Server, _: Dialect) -> Outcome {
    acked(server, 64, 64)
}

fn durable_one(server: &Server, _: Dialect) -> Outcome {
    acked(server, 1, 1)
}

fn acked(server: &Server, clients: usize, under_way: usize) -> Outcome {
    let time = Duration::from_secs(3);
    let load = Acked { clients, under_way, size: 100, namespace: "kept", named: false, time };
    let kept = load.run(server)?;
    let safe = Acked { namespace: "safe", ..load }.run(server)?;
    let named = Acked { namespace: "safe", named: true, ..load }.run(server)?;
    let ms = |result: &AckedResult, share| result.latency.percentile(share) as f64 / 1e3;
    Ok(vec![
        ("in memory: acks a second", kept.rate),
        ("on disk: acks a second", safe.rate),
        ("on disk with keys: acks a second", named.rate),
        ("in memory: p50 ms", ms(&kept, 0.5)),
        ("on disk: p50 ms", ms(&safe, 0.5)),
        ("on disk with keys: p50 ms", ms(&named, 0.5)),
        ("in memory: p99 ms", ms(&kept, 0.99)),
        ("on disk: p99 ms", ms(&safe, 0.99)),
        ("on disk with keys: p99 ms", ms(&named, 0.99)),
        ("in memory: server CPU us", kept.cpu_us),
        ("on disk: server CPU us", safe.cpu_us),
        ("on disk with keys: server CPU us", named.cpu_us),
    ])
}

fn presence(server: &Server, _: Dialect) -> Outcome {
    let result = Turnover { members: 10_000, changing: 64 }.run(server)?;
    Ok(vec![
        ("server CPU us a member, all joining", result.joining_us),
        ("server CPU us a client told", result.cpu_us),
        ("frames a client", result.frames),
        ("bytes a client", result.bytes),
        ("ms until all are told", result.elapsed.as_secs_f64() * 1e3),
        ("clients not told all", result.untold as f64),
        ("load's CPU %", result.own_cpu),
    ])
}
