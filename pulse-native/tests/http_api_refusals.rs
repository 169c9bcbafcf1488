//! Bad requests to the HTTP API: each is refused with what, where and what would be right, and harms nobody.

mod api_support;
mod e2e_support;

use api_support::{post, send};
use e2e_support::Running;
use serde_json::{Value, json};

#[test]
fn a_refusal_says_what_where_and_what_would_be_right() {
    let server = Running::start_sharded(2);
    let check = |method: &str, params: Value, status: u16, code: u64, place: &str, hint: &str| {
        let (got_status, got_code, message, got_place) = post(server.addr, method, &params).error();
        assert_eq!(
            (got_status, got_code, &*got_place),
            (status, code, place),
            "{method} {params}: {message}"
        );
        assert!(message.contains(hint), "{method} {params}: {message}");
    };
    check("publsh", json!({}), 404, 1014, "path", "did you mean `publish`?");
    check("zzzzzzzz", json!({}), 404, 1014, "path", "there are: publish, broadcast");
    check("publish", json!([]), 400, 1001, "", "an object");
    check("publish", json!({}), 400, 1001, "channel", "is missing");
    check("publish", json!({"channel": 7}), 400, 1001, "channel", "it has to be a string");
    check("publish", json!({"channel": "a"}), 400, 1001, "payload", "any value");
    check(
        "publish",
        json!({"channel": "a", "payload": 1, "evnt": "x"}),
        400,
        1001,
        "evnt",
        "did you mean `event`?",
    );
    check("publish", json!({"channel": "$a", "payload": 1}), 400, 1002, "channel", "printable ASCII");
    check(
        "publish",
        json!({"channel": "a", "payload": 1, "format": "xml"}),
        400,
        1001,
        "format",
        "json, msgpack",
    );
    check(
        "publish",
        json!({"channel": "a", "payload": 1, "format": "raw"}),
        400,
        1001,
        "payload",
        "a string",
    );
    check("publish", json!({"channel": "a", "payload_base64": "!"}), 400, 1001, "payload_base64", "RFC 4648");
    check("publish", json!({"channel": "a", "payload": 1, "tags": {"x": 1}}), 400, 1001, "tags.x", "strings");
    check(
        "publish",
        json!({"channel": "a", "payload": "x".repeat(65_536)}),
        413,
        1007,
        "payload",
        "max_message_size",
    );
    check(
        "publish",
        json!({"channel": "a", "payload": "x".repeat(200_000)}),
        413,
        1007,
        "body",
        "max_message_size",
    );
    check("broadcast", json!({"channels": [], "payload": 1}), 400, 1001, "channels", "1 to 1000");
    check("broadcast", json!({"channels": [1], "payload": 1}), 400, 1001, "channels[0]", "a channel's name");
    check(
        "batch",
        json!({"requests": vec![json!({"method": "info"}); 1001]}),
        400,
        1001,
        "requests",
        "1 to 1000",
    );
    check("subscribe", json!({"channel": "a"}), 400, 1001, "", "`client`");
    check("subscribe", json!({"client": "me", "channel": "a"}), 400, 1001, "client", "16 hexadecimal digits");
    check("subscribe", json!({"user": "u", "channel": ""}), 400, 1002, "channel", "printable ASCII");
    check("disconnect", json!({"user": "u", "code": 1}), 400, 1001, "code", "4504 unauthorized");
    check("disconnect", json!({"user": "u", "reason": "x".repeat(124)}), 400, 1001, "reason", "123 bytes");
    check("presence", json!({"channel": "a", "limit": 0}), 400, 1001, "limit", "1 to 1000");
    check("presence", json!({"channel": "a", "after": "b"}), 400, 1001, "after", "`next`");
    check("channels", json!({"limit": 1.5}), 400, 1001, "limit", "a whole number");
    check("info", json!({"x": 1}), 400, 1001, "x", "takes none");
}

#[test]
fn a_request_of_the_wrong_kind_is_told_the_right_one() {
    let server = Running::start();
    let json = "Content-Type: application/json";
    let get = send(server.addr, "GET", "/api/v1/publish", &[], b"");
    assert_eq!((get.status, get.header("allow")), (405, Some("post, options")));
    let posted = send(server.addr, "POST", "/api/v1/openapi.json", &[json], b"{}");
    assert_eq!((posted.status, posted.header("allow")), (405, Some("get, head, options")));
    assert_eq!(send(server.addr, "POST", "/api/v2/publish", &[json], b"{}").error().0, 404);
    let (status, _, message, place) =
        send(server.addr, "POST", "/api/v1/info", &["Content-Type: text/plain"], b"{}").error();
    assert_eq!((status, &*place), (415, "header Content-Type"));
    assert!(message.contains("application/json"), "{message}");
    let twice = send(
        server.addr,
        "POST",
        "/api/v1/publish",
        &[json],
        br#"{"channel":"a","channel":"b","payload":1}"#,
    );
    assert_eq!((twice.error().0, &*twice.error().3), (400, "channel"));
    let document = send(server.addr, "GET", "/api/v1/openapi.json", &[], b"");
    assert_eq!(document.json()["openapi"], "3.1.0");
}

/// A small generator, for the same requests in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Requests that are right as they stand.
fn right() -> Vec<(&'static str, Value)> {
    vec![
        ("publish", json!({"channel": "a", "payload": {"x": [1, "y"]}, "event": "e", "tags": {"k": "v"}})),
        ("publish", json!({"channel": "a", "payload_base64": "AAAA", "format": "raw", "key": "k"})),
        ("broadcast", json!({"channels": ["a", "b"], "payload": "text"})),
        ("batch", json!({"requests": [{"method": "info", "params": {}}, {"method": "channels"}]})),
        ("subscribe", json!({"client": "0123456789abcdef", "channel": "a"})),
        ("unsubscribe", json!({"user": "u", "channel": "a"})),
        ("disconnect", json!({"user": "u", "code": 4000, "reason": "r"})),
        ("presence", json!({"channel": "a", "limit": 10})),
        ("presence_count", json!({"channel": "a"})),
        (
            "history",
            json!({"channel": "a", "since": {"epoch": "e", "offset": 3}, "limit": 3, "reverse": true}),
        ),
        ("channels", json!({"prefix": "a", "after": "b", "limit": 3})),
        ("info", json!({})),
    ]
}

/// A request with some damage to its name, its fields or its bytes.
fn damaged(random: &mut Random) -> (String, Vec<u8>) {
    let mut all = right();
    let (method, mut params) = all.swap_remove(random.below(12));
    let mut method = method.to_owned();
    let values = [json!(null), json!(-1), json!(1.5), json!("$"), json!([]), json!({"a": {}}), json!(true)];
    let fields = params.as_object_mut().expect("parameters are an object");
    let names: Vec<String> = fields.keys().cloned().collect();
    let value = values[random.below(values.len())].clone();
    match random.below(5) {
        0 => method.insert(random.below(method.len()), 'x'),
        1 if !names.is_empty() => drop(fields.remove(&names[random.below(names.len())])),
        2 if !names.is_empty() => drop(fields.insert(names[random.below(names.len())].clone(), value)),
        3 => drop(fields.insert("chanel".into(), value)),
        _ => {}
    }
    let mut body = params.to_string().into_bytes();
    for _ in 0..random.below(3) {
        let at = random.below(body.len());
        match random.below(3) {
            0 => body[at] = random.below(256) as u8,
            1 => body.truncate(at.max(1)),
            _ => body.insert(at, random.below(256) as u8),
        }
    }
    (method, body)
}

#[test]
fn ten_thousand_damaged_requests_are_refused_with_reasons_or_done() {
    let server = Running::start_sharded(2);
    let (mut done, mut refused) = (0, 0);
    for seed in 1..=10_000_u64 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let (method, body) = damaged(&mut random);
        let kind = ["Content-Type: application/json", "Content-Type: application/msgpack"]
            [usize::from(seed % 8 == 0)];
        let answer = send(server.addr, "POST", &format!("/api/v1/{method}"), &[kind], &body);
        let shown = String::from_utf8_lossy(&body).into_owned();
        match answer.status {
            200 => done += 1,
            400 | 404 | 413 => {
                refused += 1;
                if answer.header("content-type") == Some("application/json") {
                    let (_, code, message, _) = answer.error();
                    assert!(code >= 1001 && message.len() > 10 && message.len() < 500, "{shown}: {message}");
                    assert!(!message.contains(char::is_control), "{message:?}");
                }
            }
            other => panic!("seed {seed}, {method} {shown}: {other}"),
        }
    }
    assert!(done > 500 && refused > 5_000, "{done} done and {refused} refused: one-sided damage");
    server.client().settle();
}
