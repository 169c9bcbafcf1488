//! Runs the test steps one after the other, goes on after a failure, and ends in one line for all of them.

use std::fmt::Write;
use std::time::Instant;

use crate::project::Project;
use crate::sh::Result;
use crate::tally::Tally;
use crate::toolchain::{BARE, Toolchain, WASM};
use crate::{api, autobahn, coverage, interop, playground, readme, setup};

struct Step {
    name: &'static str,
    about: &'static str,
    /// Only `--full` runs it without being asked by name.
    long: bool,
    run: fn(&Project, &mut Tally) -> Result,
}

/// In an order that builds nothing twice.
const STEPS: &[Step] = &[
    Step { name: "rust", about: "every Rust test and every example in the docs", long: false, run: rust },
    Step { name: "wasm", about: "the core's test suite on wasm32, in Node", long: false, run: wasm },
    Step { name: "bare", about: "the core without an operating system", long: false, run: bare },
    Step { name: "interop", about: "JavaScript libraries of others", long: false, run: interop::run },
    Step { name: "browser", about: "the playground in Chromium", long: false, run: playground::run },
    Step {
        name: "api",
        about: "requests made out of the description of the HTTP API",
        long: false,
        run: api::run,
    },
    Step { name: "autobahn", about: "the Autobahn cases", long: false, run: autobahn::run },
    Step {
        name: "deploy",
        about: "what the docs show for nginx, HAProxy, Caddy, systemd, Prometheus",
        long: false,
        run: deploy,
    },
    Step { name: "long", about: "the Rust tests that are marked as long, optimised", long: true, run: long },
    Step { name: "release", about: "the server as it ships", long: true, run: interop::release },
    Step { name: "readme", about: "what the front page shows", long: true, run: readme::run },
    Step {
        name: "coverage",
        about: "line and branch coverage of the decoder",
        long: true,
        run: |project, _| coverage::run(project),
    },
];

/// The list of steps, for the help.
pub(crate) fn help() -> String {
    let mut text = String::from("steps of test:\n\n");
    for step in STEPS {
        let long = if step.long { " (--full)" } else { "" };
        writeln!(text, "  {:<10}{}{long}", step.name, step.about).expect("writing to a string cannot fail");
    }
    text
}

pub(crate) fn run(project: &Project, args: &[&str]) -> Result {
    let steps = choose(args)?;
    heading("setup", "what the tests need");
    setup::run(project)?;

    let mut total = Tally::default();
    let mut table = String::new();
    let mut failures = Vec::new();
    for step in steps {
        heading(step.name, step.about);
        let started = Instant::now();
        let mut tally = Tally::default();
        let result = (step.run)(project, &mut tally);
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        let seconds = started.elapsed().as_secs();
        writeln!(table, "{:<10}{verdict:<8}{seconds:>5} s   {tally}", step.name).expect("strings take all");
        total.add(tally);
        if let Err(error) = result {
            eprintln!("xtask: {error}");
            failures.push(step.name);
            // A step can fail without a test that does: a build, say. The closing line shall not hide it.
            total.failed += u64::from(tally.failed == 0);
        }
    }
    println!("\n{table}\n{total}");
    if failures.is_empty() { Ok(()) } else { Err(format!("these steps failed: {}", failures.join(", "))) }
}

fn choose(args: &[&str]) -> Result<Vec<&'static Step>> {
    let (mut full, mut named) = (false, Vec::new());
    for arg in args {
        match STEPS.iter().find(|step| step.name == *arg) {
            Some(step) => named.push(step),
            None if *arg == "--full" => full = true,
            None => return Err(format!("{arg:?} is no step of test\n\n{}", help())),
        }
    }
    if named.is_empty() {
        named.extend(STEPS.iter().filter(|step| full || !step.long));
    }
    Ok(named)
}

fn heading(name: &str, about: &str) {
    eprintln!("\n== {name}: {about}\n");
}

fn rust(project: &Project, tally: &mut Tally) -> Result {
    project.cargo().line("test --workspace --no-fail-fast").run_counted(tally)
}

fn wasm(project: &Project, tally: &mut Tally) -> Result {
    let toolchain = Toolchain::wasm(project)?;
    println!("{WASM}: {}", toolchain.describe());
    toolchain.cargo(project, "build --package pulse-core", WASM).run()?;
    toolchain
        .cargo(project, "test --package pulse-core --lib --tests --no-fail-fast", WASM)
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", project.wasm_runner())
        .run_counted(tally)?;
    if tally.passed == 0 {
        return Err(
            "no test ran on wasm32: the suite's tests have to be wasm_bindgen_test's there".to_owned()
        );
    }
    Ok(())
}

fn bare(project: &Project, _: &mut Tally) -> Result {
    let toolchain = Toolchain::bare()?;
    println!("{BARE}: {}", toolchain.describe());
    toolchain.cargo(project, "build --package pulse-core --features sim", BARE).run()
}

fn deploy(project: &Project, tally: &mut Tally) -> Result {
    let tests = "--test deployment --test delivery_page --test durable_history --test metrics_documents";
    project.cargo().line(&format!("test --package pulse-native {tests} -- --ignored")).run_counted(tally)
}

fn long(project: &Project, tally: &mut Tally) -> Result {
    project
        .cargo()
        .line("test --workspace --lib --bins --tests --profile fast --no-fail-fast -- --ignored")
        .run_counted(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str], expected: &[&str]) {
        let steps = choose(args).expect("every word is a step or the option");
        assert_eq!(steps.iter().map(|step| step.name).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn full_adds_the_long_steps_and_names_pick_single_ones() {
        let quick = ["rust", "wasm", "bare", "interop", "browser", "api", "autobahn", "deploy"];
        check(&[], &quick);
        let all = [&quick[..], &["long", "release", "readme", "coverage"]].concat();
        check(&["--full"], &all);
        check(&["long", "bare"], &["long", "bare"]);
        assert!(choose(&["rusty"]).is_err());
    }
}
