//! `loadgen SCENARIO [rounds]`: Pulse and Bun in turn under the same load, each on CPU 0, this program on the others.
//!
//! Scenarios: `fan-out-100` (500 publications a second), `fan-out-1000` (50 a second), `blast` (16 clients publish flat
//! out), `storm` (8,000 connect, upgrade and subscribe), `all`. 100 B of payload. Both servers keep up to 16 MiB for a slow
//! reader, which is Bun's default. Compare figures of one round only:
//! the machine's speed drifts. Bun (uWebSockets) comes by `npm ci` in `benches/peers`.

use std::error::Error;
use std::time::{Duration, Instant};

use pulse_bench::{Client, Dialect, FanOut, Server, blast};

/// One measurement: names and values of its figures.
type Figures = Vec<(&'static str, f64)>;

/// A load, and how it is measured.
type Scenario = (&'static str, fn(&Server, Dialect) -> Result<Figures, Box<dyn Error>>);

const SCENARIOS: &[Scenario] = &[
    ("fan-out-100", |server, dialect| fan_out(server, dialect, 100, 500)),
    ("fan-out-1000", |server, dialect| fan_out(server, dialect, 1_000, 50)),
    ("blast", |server, dialect| {
        let result = blast(server, dialect, 16, 100, Duration::from_secs(4))?;
        Ok(vec![
            ("M deliveries a server CPU second", result.deliveries_per_cpu_second() / 1e6),
            ("peak MB", result.peak as f64 / 1e6),
        ])
    }),
    ("storm", storm),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let wanted = args.next().unwrap_or_else(|| "all".to_owned());
    let rounds: usize =
        args.next().map_or(Ok(5), |arg| arg.parse()).map_err(|_| "rounds: a number, by default 5")?;
    let scenarios: Vec<&Scenario> =
        SCENARIOS.iter().filter(|(name, _)| wanted == "all" || wanted == *name).collect();
    if scenarios.is_empty() {
        let names: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
        return Err(format!("{wanted:?} is no scenario; there are {} and all", names.join(", ")).into());
    }
    for (name, run) in scenarios {
        println!("{name}");
        let mut pairs: Vec<(Figures, Figures)> = Vec::new();
        for _ in 0..rounds {
            let pulse = run(&Server::start(&["--limits-queue-bytes", "16777216"], Some(0))?, Dialect::V1)?;
            let bun = run(&Server::start_bun(Some(0))?, Dialect::Raw)?;
            pairs.push((pulse, bun));
        }
        for (figure, (label, _)) in pairs[0].0.iter().enumerate() {
            let column = |pick: fn(&(Figures, Figures)) -> &Figures| -> Vec<f64> {
                pairs.iter().map(|pair| pick(pair)[figure].1).collect()
            };
            let (pulse, bun) = (column(|pair| &pair.0), column(|pair| &pair.1));
            let ratios = pulse.iter().zip(&bun).map(|(pulse, bun)| pulse / bun).collect();
            println!("  {label:<34} pulse {}  bun {}  ratio {}", spread(pulse), spread(bun), spread(ratios));
        }
    }
    Ok(())
}

fn fan_out(
    server: &Server,
    dialect: Dialect,
    subscribers: usize,
    rate: u64,
) -> Result<Figures, Box<dyn Error>> {
    let load = FanOut { subscribers, rate, size: 100, time: Duration::from_secs(5) };
    let result = load.run(server, dialect)?;
    Ok(vec![
        ("server CPU us a delivery", result.cpu_us),
        ("p50 us", result.latency.percentile(0.5) as f64),
        ("p99 us", result.latency.percentile(0.99) as f64),
        ("max us", result.latency.max_us() as f64),
        ("lost", result.lost as f64),
        ("disordered", result.disordered as f64),
        ("own CPU %", result.own_cpu),
    ])
}

fn storm(server: &Server, dialect: Dialect) -> Result<Figures, Box<dyn Error>> {
    const COUNT: usize = 8_000;
    let (cpu, resident, begin) = (server.process().cpu(), server.process().resident(), Instant::now());
    let mut clients = Vec::new();
    for _ in 0..COUNT {
        let mut client = Client::connect(server.addr(), dialect)?;
        client.subscribe("room")?;
        clients.push(client);
    }
    let (cpu, count) = (server.process().cpu() - cpu, COUNT as f64);
    Ok(vec![
        ("server CPU us a connect", cpu.as_secs_f64() * 1e6 / count),
        ("connects a second, one by one", count / begin.elapsed().as_secs_f64()),
        ("resident B a connection", (server.process().resident() as f64 - resident as f64) / count),
    ])
}

/// Median, least and greatest.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let (least, most) = (values[0], values[values.len() - 1]);
    format!("{:.2} ({least:.2} to {most:.2})", values[values.len() / 2])
}
