//! What clients do, seen over real sockets from the other side: the metrics.

mod e2e_support;

use std::time::Instant;

use e2e_support::{PATIENCE, Running, ack, ask, publication, publish, unsubscribe};
use pulse_core::wire::ErrorCode;

/// A metric's value as of now.
fn metric(server: &Running, name: &str) -> u64 {
    let metrics = server.metrics.expect("the test has switched metrics on");
    let text = ask(metrics, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().expect("counters are whole numbers")
}

/// Waits for a value: counters are shown at the end of a turn, just after its answers are sent.
fn wait_for(server: &Running, name: &str, value: u64) {
    let start = Instant::now();
    while metric(server, name) != value {
        assert!(start.elapsed() < PATIENCE, "{name} did not become {value}: {}", metric(server, name));
    }
}

#[test]
fn metrics_count_what_clients_do() {
    let server = Running::start_with(|config| config.metrics.enabled = true);
    let (mut a, mut b, mut old) = (server.client(), server.client(), server.old_client());
    a.subscribe("c");
    old.subscribe("c");
    b.subscribe("d");
    b.send(&[publish(2, "c", b"counted")]);
    b.expect(&ack(2));
    a.expect(&publication("c", b"counted"));
    old.expect(&publication("c", b"counted"));
    b.send(&[unsubscribe(3, "nowhere")]);
    b.expect_error(3, ErrorCode::NOT_SUBSCRIBED);
    wait_for(&server, "pulse_errors_total{type=\"not_subscribed\"}", 1);
    for (name, value) in [
        ("pulse_connections_total", 3),
        ("pulse_connections_active", 3),
        // Two connects, three subscriptions, a publication and a request that is refused.
        ("pulse_messages_total{direction=\"in\"}", 7),
        // Three greetings, four acks, two deliveries and an error.
        ("pulse_messages_total{direction=\"out\"}", 10),
        ("pulse_publications_total", 1),
        ("pulse_subscriptions_total", 3),
        ("pulse_subscriptions_active", 3),
        ("pulse_channels_active", 2),
        ("pulse_dropped_total{reason=\"slow_consumer\"}", 0),
        ("pulse_queue_bytes", 0),
        ("pulse_disconnects_total{type=\"shutdown\"}", 0),
        ("pulse_errors_total{type=\"invalid_frame\"}", 0),
    ] {
        assert_eq!(metric(&server, name), value, "{name}");
    }
    drop((a, b));
    wait_for(&server, "pulse_connections_active", 1);
    assert_eq!(metric(&server, "pulse_channels_active"), 1);
    assert_eq!(metric(&server, "pulse_connections_total"), 3);
}
