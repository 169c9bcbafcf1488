//! What clients do, seen over real sockets from the other side: the metrics.

mod api_support;
mod e2e_support;

use api_support::{post, send};
use e2e_support::{Running, ack, publication, publish, unsubscribe};
use pulse_core::wire::ErrorCode;
use serde_json::json;

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
    server.wait_for_metric("pulse_errors_total{type=\"not_subscribed\"}", 1);
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
        assert_eq!(server.metric(name), value, "{name}");
    }
    drop((a, b));
    server.wait_for_metric("pulse_connections_active", 1);
    assert_eq!(server.metric("pulse_channels_active"), 1);
    assert_eq!(server.metric("pulse_connections_total"), 3);
}

#[test]
fn requests_of_the_api_are_counted_by_method_and_status() {
    let server = Running::start_with(|config| config.metrics.enabled = true);
    let publication = json!({"channel": "c", "payload": 1});
    assert_eq!(post(server.addr, "publish", &publication).status, 200);
    assert_eq!(post(server.addr, "publish", &publication).status, 200);
    assert_eq!(post(server.addr, "publish", &json!({})).status, 400);
    assert_eq!(post(server.addr, "nothing", &json!({})).status, 404);
    assert_eq!(send(server.addr, "GET", "/api/v1/openapi.json", &[], b"").status, 200);
    // What is no request of the API.
    assert_eq!(send(server.addr, "GET", "/publish", &[], b"").status, 404);
    for (labels, value) in [
        (r#"method="publish",status="2xx""#, 2),
        (r#"method="publish",status="4xx""#, 1),
        (r#"method="publish",status="5xx""#, 0),
        (r#"method="batch",status="2xx""#, 0),
        (r#"method="other",status="2xx""#, 1),
        (r#"method="other",status="4xx""#, 1),
    ] {
        assert_eq!(server.metric(&format!("pulse_api_requests_total{{{labels}}}")), value, "{labels}");
    }
}
