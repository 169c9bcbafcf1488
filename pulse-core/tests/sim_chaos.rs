//! Random things done to routers and their network, each seed another run; every run is judged by a model.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use pulse_core::sim::chaos::{self, Summary};

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} has to be a number, not {text:?}")))
}

#[test]
fn every_run_keeps_the_promises() {
    judge(number("PULSE_SIM_SEEDS").unwrap_or(500));
}

#[test]
#[ignore = "long: two minutes"]
fn ten_thousand_runs_keep_the_promises() {
    judge(10_000);
}

fn judge(seeds: u64) {
    let (mut total, mut failed) = (Summary::default(), vec![]);
    for seed in 1..=seeds {
        match chaos::run(seed) {
            Ok(run) => {
                total.clients += run.clients;
                total.ms += run.ms;
                total.tally.published += run.tally.published;
                total.tally.received += run.tally.received;
                total.tally.missed += run.tally.missed;
                total.tally.overloaded += run.tally.overloaded;
                total.tally.unknown_gaps += run.tally.unknown_gaps;
                total.tally.recovered += run.tally.recovered;
                total.tally.unrecovered += run.tally.unrecovered;
                total.tally.trimmed += run.tally.trimmed;
                total.tally.errors += run.tally.errors;
                total.tally.found += run.tally.found;
                total.tally.restarts += run.tally.restarts;
                total.tally.disk.failed += run.tally.disk.failed;
                total.tally.disk.kept += run.tally.disk.kept;
                total.tally.disk.lost += run.tally.disk.lost;
            }
            Err(failure) => {
                failed.push((seed, failure.property));
                if failed.len() == 1 {
                    println!("{failure}");
                }
            }
        }
    }
    println!("{seeds} runs of {} s: {} clients, {:?}", total.ms / 1000, total.clients, total.tally);
    assert!(failed.is_empty(), "{} of {seeds} runs failed, the first is above: {failed:?}", failed.len());
    let tally = total.tally;
    let losses = [
        tally.missed,
        tally.overloaded,
        tally.unknown_gaps,
        tally.unrecovered,
        tally.trimmed,
        tally.recovered,
    ];
    assert!(
        seeds < 500 || losses.iter().all(|count| *count > 0),
        "some runs have to lose something of every kind, or nothing is tested of that: {losses:?}"
    );
    let ends = [tally.restarts, tally.disk.lost, tally.disk.kept, tally.disk.failed, tally.found];
    assert!(
        seeds < 500 || ends.iter().all(|count| *count > 0),
        "some runs have to end with batches under way, fail batches, and find publications again: {ends:?}"
    );
}

#[test]
fn same_seed_same_run() {
    for seed in [1, 2, 3, 4, 5, 6, 7, 8] {
        assert_eq!(chaos::run(seed), chaos::run(seed), "seed {seed}");
    }
    let digests = [1, 2, 3, 4].map(|seed| chaos::run(seed).map(|run| run.digest));
    assert!(digests.iter().enumerate().all(|(at, one)| !digests[..at].contains(one)), "{digests:?}");
}

#[test]
fn replay() {
    let Some(seed) = number("PULSE_SIM_SEED") else { return };
    match chaos::replay(seed) {
        Ok(run) => println!("{run:#?}"),
        Err(failure) => {
            failure.trace.iter().for_each(|line| println!("{line}"));
            panic!("{failure}");
        }
    }
}
