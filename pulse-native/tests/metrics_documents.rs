//! The dashboard, the alert rules and the page about operations name metrics that there are, and all of them.

mod e2e_support;

use std::collections::BTreeSet;

use e2e_support::{Running, ask};

const PAGE: &str = include_str!("../../docs/OPERATIONS.md");
const DASHBOARD: &str = include_str!("../../docs/grafana-dashboard.json");
const ALERTS: &str = include_str!("../../docs/alerts.yml");

/// The names of all samples that a server shows, those of histograms without the suffix of their parts.
fn shown() -> BTreeSet<String> {
    let server = Running::start_with(|config| config.metrics.enabled = true);
    let metrics = server.metrics.expect("metrics are on");
    let text = ask(metrics, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let (_, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(|name| ["_bucket", "_sum", "_count"].iter().fold(name, |name, part| name.trim_end_matches(part)))
        .filter(|name| name.starts_with("pulse_") || name.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// The names of metrics in a text, without the suffix of a histogram's buckets.
fn named(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("pulse_") || word.starts_with("process_"))
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

#[test]
fn the_page_names_every_metric_and_no_other() {
    assert_eq!(named(PAGE), shown());
}

#[test]
fn the_dashboard_shows_every_metric_but_the_limit_of_files() {
    let mut all = shown();
    all.remove("process_max_fds");
    assert_eq!(named(DASHBOARD), all);
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("the dashboard is JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 10));
}

#[test]
fn alerts_are_about_metrics_that_there_are_and_each_is_explained() {
    let unknown: Vec<_> = named(ALERTS).difference(&shown()).cloned().collect();
    assert_eq!(unknown, Vec::<String>::new());
    for name in ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(PAGE.contains(name) || name == "PulseDown", "{name} is not explained");
    }
}

#[test]
#[ignore = "needs promtool: cargo xtask test deploy"]
fn prometheus_takes_the_alert_rules() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/alerts.yml");
    let output = std::process::Command::new("promtool").args(["check", "rules", rules]).output();
    let output = output.expect("promtool is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
