//! Who may use the HTTP API: keys, pages of other origins, and requests that come again.

mod api_support;
mod e2e_support;

use api_support::{post, post_with, send};
use e2e_support::Running;
use pulse_native::config::{self, ApiEnabled};
use pulse_native::server::Server;
use serde_json::json;

const KEY: &str = "0123456789abcdef";

#[test]
fn a_key_that_is_set_has_to_be_sent() {
    let server = Running::start_with(|config| config.api.key = KEY.into());
    let right = [format!("X-API-Key: {KEY}"), format!("Authorization: apikey {KEY}")];
    for header in &right {
        assert_eq!(post_with(server.addr, "info", &[header], &json!({})).status, 200, "{header}");
        let host = "Host: pulse.example.com";
        assert_eq!(post_with(server.addr, "info", &[header, host], &json!({})).status, 200, "{header}");
    }
    for headers in [&[][..], &["X-API-Key: 0123456789abcdeF"], &["Authorization: Bearer 0123456789abcdef"]] {
        let answer = post_with(server.addr, "info", headers, &json!({}));
        let (status, code, message, _) = answer.error();
        assert!(status == 401 && code == 1004 && message.contains("api.key"), "{message}");
        assert_eq!(answer.header("www-authenticate"), Some("apikey"));
    }
}

#[test]
fn without_a_key_only_programs_on_this_machine_may_call() {
    let server = Running::start();
    assert_eq!(post(server.addr, "info", &json!({})).status, 200);
    for header in ["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "Host: pulse.example.com"] {
        let (status, code, message, _) = post_with(server.addr, "info", &[header], &json!({})).error();
        assert!(status == 401 && code == 1004 && message.contains("api.key"), "{header}: {message}");
    }
}

#[test]
fn the_document_says_whether_this_server_needs_a_key() {
    let security = |server: &Running| {
        let document = send(server.addr, "GET", "/api/v1/openapi.json", &[], b"").json();
        document["security"].clone()
    };
    assert_eq!(security(&Running::start()), json!([{"key": []}, {}]));
    assert_eq!(security(&Running::start_with(|config| config.api.key = KEY.into())), json!([{"key": []}]));
}

#[test]
fn where_it_is_off_nothing_is_served() {
    let server = Running::start_with(|config| config.api.enabled = ApiEnabled::Off);
    let answer = post(server.addr, "info", &json!({}));
    assert_eq!(answer.status, 404);
    assert_eq!(send(server.addr, "GET", "/api/v1/openapi.json", &[], b"").status, 404);
}

#[test]
fn an_api_for_everybody_is_refused_at_the_start() {
    let variables = [("PULSE_HOST", "0.0.0.0"), ("PULSE_API_ENABLED", "on")];
    let environment = || variables.map(|(name, value)| (name.into(), value.into()));
    let errors = config::load(None, environment(), &[]).unwrap_err();
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("api.enabled (on, PULSE_API_ENABLED) needs api.key"), "{text}");
    let key = [("PULSE_API_KEY".into(), KEY.into())];
    let loaded =
        config::load(None, environment().into_iter().chain(key), &[]).expect("with a key it is fine");
    let lines: Vec<String> = loaded.effective().iter().map(|line| line.value.to_string()).collect();
    assert!(!lines.iter().any(|line| line.contains(KEY)), "the key is not for logs: {lines:?}");

    let mut config = config::Config::default();
    config.server.host = "0.0.0.0".into();
    config.server.port = 0;
    config.metrics.enabled = false;
    let mut options = config.to_options().unwrap();
    assert!(!Server::bind(config.to_options().unwrap()).unwrap().has_api(), "auto is off there");
    options.api = Some(true);
    let error = Server::bind(options).unwrap_err().to_string();
    assert!(error.contains("set api.key"), "{error}");
}

#[test]
fn a_bad_key_is_refused_without_being_shown() {
    let errors = config::load(None, [("PULSE_API_KEY".into(), "hunter2".into())], &[]).unwrap_err();
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("api.key") && text.contains("16 to 256") && !text.contains("hunter2"), "{text}");
}

#[test]
fn pages_of_listed_origins_may_call_and_others_may_not() {
    let server = Running::start_with(|config| config.server.origins = vec!["https://app.example.com".into()]);
    let listed = "Origin: https://app.example.com";
    let asked = ["Access-Control-Request-Method: POST", listed];
    let preflight = send(server.addr, "OPTIONS", "/api/v1/publish", &asked, b"");
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("x-api-key"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("post, options"));
    let answer = post_with(server.addr, "info", &[listed], &json!({}));
    assert_eq!((answer.status, answer.header("vary")), (200, Some("origin")));
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
    for method in ["OPTIONS", "POST"] {
        let other = ["Origin: https://evil.example.com", "Content-Type: application/json"];
        let answer = send(server.addr, method, "/api/v1/info", &other, b"{}");
        let (status, code, message, place) = answer.error();
        assert_eq!((status, code, &*place), (403, 1004, "header Origin"));
        assert!(message.contains("server.origins"), "{message}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[test]
fn a_request_that_comes_again_under_its_key_is_done_once() {
    let server = Running::start_sharded(2);
    let mut client = server.client();
    client.subscribe("news");
    let key = ["Idempotency-Key: order-7"];
    let params = json!({"channel": "news", "payload": 1});
    for _ in 0..3 {
        let answer = post_with(server.addr, "publish", &key, &params);
        assert_eq!(answer.result(), json!({"offset": 1}));
    }
    let other = post_with(server.addr, "publish", &key, &json!({"channel": "news", "payload": 2}));
    let (status, code, _, place) = other.error();
    assert_eq!((status, code, &*place), (422, 1001, "header Idempotency-Key"));
    let method = post_with(server.addr, "broadcast", &key, &params);
    assert_eq!(method.status, 422, "the method is part of the request");
    assert_eq!(post(server.addr, "publish", &params).result(), json!({"offset": 2}));
    let long = format!("Idempotency-Key: {}", "k".repeat(256));
    for bad in [&*long, "Idempotency-Key: order 7", "Idempotency-Key: order\t7"] {
        let (status, _, message, place) = post_with(server.addr, "publish", &[bad], &params).error();
        assert_eq!((status, &*place), (400, "header Idempotency-Key"), "{bad}");
        assert!(message.contains("without spaces"), "{message}");
    }
    client.frame();
    client.frame();
    client.settle();
}

#[test]
fn duplicates_at_the_same_time_publish_once() {
    let server = Running::start_sharded(2);
    let mut client = server.client();
    client.subscribe("news");
    let params = json!({"channel": "news", "payload": 1});
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let one = || post_with(server.addr, "publish", &["Idempotency-Key: k"], &params).status;
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(
        statuses.contains(&200) && statuses.iter().all(|status| [200, 409].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(post(server.addr, "publish", &params).result(), json!({"offset": 2}));
}
