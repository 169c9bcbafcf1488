//! The rules of an upgrade, one test each, by way of [`check`]: each head is decided by the fast path and by the rules
//! over parsed headers, which have to agree.

use super::*;

/// What is asked of a head: to be accepted, or to be refused.
type Verdict = Result<(Dialect, Option<&'static str>), Refusal>;

const LEGACY: Verdict = Ok((Dialect::Legacy, None));
const V1: Verdict = Ok((Dialect::V1, Some("pulse.v1")));

/// A valid upgrade of a client of the first release, after RFC 6455 1.2.
const HEAD: &str = "GET /ws HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ACCEPT: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn policy() -> Policy {
    let origins = Origins::parse(["https://app.example.com"]).unwrap();
    Policy { path: "/ws".to_owned(), origins: origins.into(), bound_to_loopback: false }
}

/// [`HEAD`] with `line` in the place of `of`, which it has to contain.
fn with(of: &str, line: &str) -> String {
    assert!(HEAD.contains(of));
    HEAD.replacen(of, line, 1)
}

/// [`HEAD`] with more header lines.
fn and(lines: &str) -> String {
    with("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"))
}

#[track_caller]
fn check_head(head: &str, expected: Verdict) {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let used = request.parse(head.as_bytes()).unwrap().unwrap();
    let decided = check(
        request.method.unwrap(),
        request.path.unwrap(),
        request.version.unwrap(),
        request.headers.iter().map(|header| (header.name, header.value)),
        &policy(),
    );
    let fast = fast(head.as_bytes(), &policy());
    match &decided {
        Ok(accepted) => assert_eq!(fast, Fast::Upgrade { accepted: *accepted, used }, "{head}"),
        Err(_) => assert_eq!(fast, Fast::Hyper, "{head}"),
    }
    assert_eq!(decided.map(|accepted| (accepted.dialect, accepted.protocol)), expected, "{head}");
}

/// Expects a 400 that mentions `word`.
#[track_caller]
fn check_bad(head: &str, word: &str) {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head.as_bytes()).unwrap().unwrap();
    let headers = request.headers.iter().map(|header| (header.name, header.value));
    let minor = request.version.unwrap();
    let refusal =
        check(request.method.unwrap(), request.path.unwrap(), minor, headers, &policy()).unwrap_err();
    assert_eq!(refusal.status(), 400, "{head}");
    assert!(refusal.message().contains(word), "{} about {head}", refusal.message());
    assert_eq!(fast(head.as_bytes(), &policy()), Fast::Hyper);
}

#[test]
fn a_plain_upgrade_is_accepted_with_the_key_of_the_rfc() {
    check_head(HEAD, LEGACY);
    let Fast::Upgrade { accepted, used } = fast(HEAD.as_bytes(), &policy()) else {
        panic!("it is an upgrade")
    };
    assert_eq!((&accepted.accept_key, used), (ACCEPT, HEAD.len()));
}

#[test]
fn the_response_is_what_the_rfc_shows() {
    for (protocol, line) in [(None, ""), (Some("pulse.v1"), "Sec-WebSocket-Protocol: pulse.v1\r\n")] {
        let accepted = Accepted { dialect: Dialect::V1, accept_key: *ACCEPT, protocol };
        let mut out = b"before ".to_vec();
        response(&accepted, &mut out);
        let expected = format!(
            "before HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{line}\r\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn frames_may_follow_the_head_at_once() {
    let bytes = [HEAD.as_bytes(), &[0x82, 0x80, 1, 2, 3, 4]].concat();
    let Fast::Upgrade { used, .. } = fast(&bytes, &policy()) else { panic!("it is an upgrade") };
    assert_eq!(used, HEAD.len());
}

#[test]
fn a_head_is_waited_for_as_long_as_it_may_become_an_upgrade() {
    for cut in 0..HEAD.len() {
        assert_eq!(fast(&HEAD.as_bytes()[..cut], &policy()), Fast::Incomplete, "after {cut} bytes");
    }
    for other in
        ["P", "POST /ws", "GET /he", "GET  /ws", "get /ws", "\x16\x03\x01", "\r\nGET /ws", "PRI * HTTP/2.0"]
    {
        assert_eq!(fast(other.as_bytes(), &policy()), Fast::Hyper, "{other:?}");
    }
}

#[test]
fn the_query_of_the_path_is_ignored() {
    check_head(&with("/ws", "/ws?token=abc&x=/other?"), LEGACY);
    check_head(&with("/ws", "/ws?"), LEGACY);
}

#[test]
fn other_paths_are_not_found() {
    for path in ["/", "/wss", "/ws/", "/ws/x", "/WS", "/w", "//ws", "/ws%3F", "*"] {
        check_head(&with("/ws", path), Err(Refusal::NotFound));
    }
}

#[test]
fn only_get_opens_a_websocket() {
    for method in ["POST", "HEAD", "PUT", "OPTIONS", "get"] {
        check_head(&with("GET", method), Err(Refusal::MethodNotAllowed));
    }
}

#[test]
fn an_upgrade_takes_http_1_1() {
    check_bad(&with("HTTP/1.1", "HTTP/1.0"), "HTTP/1.1");
}

#[test]
fn there_is_exactly_one_host() {
    check_bad(&with("Host: server.example.com\r\n", ""), "host is missing");
    check_bad(&and("Host: server.example.com"), "host is given more than once");
    check_bad(&with("server.example.com", "a.test, b.test"), "host has to be");
    check_bad(&with("server.example.com", "a.test/path"), "host has to be");
    for host in ["", "server.example.com:8080", "[::1]:8080", "127.0.0.1"] {
        check_head(&with("server.example.com", host), LEGACY);
    }
}

#[test]
fn the_host_is_checked_before_the_path() {
    check_bad("GET /health HTTP/1.1\r\n\r\n", "host is missing");
    check_bad("GET /health HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "host is given more than once");
}

#[test]
fn every_request_can_be_held_to_one_host() {
    let one = ("host", &b" a.test:80 "[..]);
    let accept = ("accept", &b"*/*"[..]);
    assert_eq!(host(1, [accept, one]), Ok(Some(&b"a.test:80"[..])));
    assert_eq!(host(0, [accept, one]), Ok(Some(&b"a.test:80"[..])));
    assert_eq!(host(0, [accept]), Ok(None), "HTTP/1.0 knows no host");
    for (minor, headers) in [(1, vec![accept]), (1, vec![one, accept, one]), (0, vec![one, one])] {
        assert_eq!(host(minor, headers).unwrap_err().status(), 400);
    }
}

#[test]
fn the_upgrade_header_names_websocket() {
    check_head(&with("Upgrade: websocket", "uPGRADE: WebSocket"), LEGACY);
    check_head(&with("Upgrade: websocket", "Upgrade: h2c , websocket"), LEGACY);
    check_head(&with("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"), LEGACY);
    check_head(&with("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: h2c"), LEGACY);
    for other in
        ["", "Upgrade: h2c\r\n", "Upgrade: websockets\r\n", "Upgrade: web socket\r\n", "Upgrade:\r\n"]
    {
        check_head(&with("Upgrade: websocket\r\n", other), Err(Refusal::NotUpgrade));
    }
}

#[test]
fn the_connection_header_names_upgrade() {
    check_head(&with("Connection: Upgrade", "connection: keep-alive,UPGRADE"), LEGACY);
    check_head(&with("Connection: Upgrade", "Connection: keep-alive\r\nConnection: , upgrade"), LEGACY);
    check_head(&with("Connection: Upgrade", "Connection: upgrade\r\nConnection: keep-alive"), LEGACY);
    for other in
        ["", "Connection: keep-alive\r\n", "Connection: upgraded\r\n", "Connection: keep-alive upgrade\r\n"]
    {
        check_head(&with("Connection: Upgrade\r\n", other), Err(Refusal::NotUpgrade));
    }
}

#[test]
fn the_key_is_16_bytes_in_base64() {
    // The last character before the padding may have bits that nothing uses.
    for key in ["AAAAAAAAAAAAAAAAAAAAAA==", "//////////////////////==", "+/+/+/+/+/+/+/+/+/+/+w=="] {
        check_head(&with("dGhlIHNhbXBsZSBub25jZQ==", key), LEGACY);
    }
    for key in [
        "",
        "AAAA",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZS4=",
        "dGhlIHNhbXBsZSBub25jZS4u",
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZS_ub25jZQ==",
        "dGhlIHNhbXBs ZSBub25jZQ==",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        check_bad(&with("dGhlIHNhbXBsZSBub25jZQ==", key), "16 bytes in base64");
    }
    check_bad(&with(KEY, ""), "sec-websocket-key is missing");
    check_bad(&and(KEY.trim_end()), "sec-websocket-key is given more than once");
}

#[test]
fn the_version_is_13() {
    for other in
        ["Sec-WebSocket-Version: 8\r\n", "Sec-WebSocket-Version: 13, 8\r\n", "Sec-WebSocket-Version:\r\n", ""]
    {
        check_head(&with("Sec-WebSocket-Version: 13\r\n", other), Err(Refusal::UnsupportedVersion));
    }
    check_bad(&and("Sec-WebSocket-Version: 13"), "sec-websocket-version is given more than once");
}

#[test]
fn an_offer_of_pulse_v1_is_taken_up() {
    for offer in [
        "pulse.v1",
        "mqtt, pulse.v1",
        "pulse.v1 ,mqtt",
        ",,pulse.v1",
        "mqtt\r\nSec-WebSocket-Protocol: pulse.v1",
        "pulse.v1\r\nSec-WebSocket-Protocol: mqtt",
    ] {
        check_head(&and(&format!("Sec-WebSocket-Protocol: {offer}")), V1);
    }
}

#[test]
fn of_several_that_are_known_the_first_offer_is_taken_up() {
    let json = Ok((Dialect::Json, Some("pulse.v1.json")));
    for (offer, verdict) in [
        ("pulse.v1.json", json.clone()),
        ("mqtt, pulse.v1.json, pulse.v1", json),
        ("pulse.v1, pulse.v1.json", V1),
    ] {
        check_head(&and(&format!("Sec-WebSocket-Protocol: {offer}")), verdict);
    }
}

#[test]
fn an_offer_of_unknown_subprotocols_is_refused_with_the_known_ones() {
    for offer in ["mqtt", "pulse.v2, mqtt", "PULSE.V1", "pulse.v1.jsn", ""] {
        let refusal = Refusal::UnsupportedSubprotocol { offered: offer.to_owned() };
        assert!(refusal.message().contains(&format!("\"{offer}\"")), "{refusal}");
        assert!(refusal.message().contains("pulse.v1"), "{refusal}");
        assert_eq!(refusal.status(), 400);
        check_head(&and(&format!("Sec-WebSocket-Protocol: {offer}")), Err(refusal));
    }
}

#[test]
fn the_origin_is_held_against_host_and_list() {
    for origin in ["http://server.example.com", "https://SERVER.example.com:443", "https://app.example.com"] {
        check_head(&and(&format!("Origin: {origin}")), LEGACY);
    }
    for origin in ["null", "", "https://evil.test", "http://localhost", "http://server.example.com:81"] {
        let refusal = Refusal::ForbiddenOrigin { origin: origin.to_owned() };
        assert!(refusal.message().contains(&format!("\"{origin}\"")), "{refusal}");
        assert_eq!(refusal.status(), 403);
        check_head(&and(&format!("Origin: {origin}")), Err(refusal));
    }
    let twice = "Origin: https://app.example.com\r\nOrigin: https://app.example.com";
    check_bad(&and(twice), "origin is given more than once");
}

#[test]
fn what_a_message_shows_of_a_header_is_printable_and_short() {
    let head = and(&format!("Origin: {}\u{202e}{}", "\t\"", "x".repeat(5000)));
    let refusal = check(
        "GET",
        "/ws",
        1,
        head.lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name, value.as_bytes())),
        &policy(),
    )
    .unwrap_err();
    let message = refusal.message();
    assert!(message.contains("\\\"\\u{202e}xxx"), "{message}");
    assert!(message.contains("x...\"") && message.len() < 400, "{message}");
    assert!(message.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{message}");
}

#[test]
fn an_upgrade_has_no_body() {
    check_head(&and("Content-Length: 0"), LEGACY);
    for body in
        ["Content-Length: 5", "Transfer-Encoding: chunked", "Content-Length: 0\r\ntransfer-encoding: gzip"]
    {
        check_bad(&and(body), "no body");
    }
}

#[test]
fn a_head_that_is_too_large_is_for_hyper() {
    let largest = |pad: usize| and(&format!("X: {}", "x".repeat(pad)));
    let pad = 16 * 1024 - largest(0).len();
    check_head(&largest(pad), LEGACY);
    check_head_for_hyper(&largest(pad + 1));
    let endless = largest(20_000);
    assert_eq!(fast(&endless.as_bytes()[..16 * 1024 - 1], &policy()), Fast::Incomplete);
    assert_eq!(fast(&endless.as_bytes()[..16 * 1024], &policy()), Fast::Hyper);
}

#[test]
fn more_than_64_headers_are_for_hyper() {
    let own = HEAD.matches("\r\n").count() - 2;
    let more = |count: usize| and(["X: y"].repeat(count).join("\r\n").as_str());
    check_head(&more(64 - own), LEGACY);
    check_head_for_hyper(&more(65 - own));
}

#[track_caller]
fn check_head_for_hyper(head: &str) {
    assert_eq!(fast(head.as_bytes(), &policy()), Fast::Hyper);
}

#[test]
fn a_refusal_names_what_its_status_calls_for() {
    let names = |refusal: Refusal| refusal.headers().iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert_eq!(Refusal::NotUpgrade.status(), 426);
    assert_eq!(names(Refusal::NotUpgrade), ["upgrade", "connection"]);
    assert_eq!(Refusal::UnsupportedVersion.status(), 426);
    assert_eq!(names(Refusal::UnsupportedVersion), ["upgrade", "connection", "sec-websocket-version"]);
    assert_eq!(Refusal::MethodNotAllowed.status(), 405);
    assert_eq!(names(Refusal::MethodNotAllowed), ["allow"]);
    assert_eq!(Refusal::NotFound.status(), 404);
}

/// Whether a line of the head is a key that RFC 6455 allows, found without the code under test.
fn has_one_valid_key(head: &[u8]) -> bool {
    let keys: Vec<&[u8]> = head
        .split(|byte| *byte == b'\n')
        .filter(|line| line.len() > 18 && line[..18].eq_ignore_ascii_case(b"sec-websocket-key:"))
        .map(|line| line[18..].trim_ascii())
        .collect();
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'+' || *byte == b'/';
    matches!(keys[..], [key] if key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_base64))
}

#[test]
fn no_mutation_of_a_head_panics_or_passes_without_a_key() {
    let head = and("Origin: https://app.example.com\r\nSec-WebSocket-Protocol: pulse.v1");
    let (mut upgrades, mut others) = (0, 0);
    let mut try_one = |bytes: &[u8]| match fast(bytes, &policy()) {
        Fast::Upgrade { used, .. } => {
            assert!(has_one_valid_key(&bytes[..used]), "{}", String::from_utf8_lossy(bytes));
            upgrades += 1;
        }
        Fast::Incomplete | Fast::Hyper => others += 1,
    };
    // Every byte in the place of every byte, every byte left out, every piece of up to 30 bytes left out.
    for at in 0..head.len() {
        for byte in 0..=255 {
            let mut bytes = head.clone().into_bytes();
            bytes[at] = byte;
            try_one(&bytes);
        }
        for len in 1..=30.min(head.len() - at) {
            let mut bytes = head.clone().into_bytes();
            bytes.drain(at..at + len);
            try_one(&bytes);
        }
    }
    // Several at once: a multiplicative generator, so that a failure can be run again.
    let mut seed = 1u64;
    for _ in 0..100_000 {
        let mut bytes = head.clone().into_bytes();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (at, from) = ((seed >> 33) as usize % bytes.len(), (seed >> 13) as usize % bytes.len());
            match seed >> 61 {
                0..4 => bytes[at] = bytes[from],
                4 | 5 => bytes.insert(at, bytes[from]),
                _ => drop(bytes.remove(at)),
            }
        }
        try_one(&bytes);
    }
    assert!(upgrades > 5_000 && others > 100_000, "{upgrades} upgrades, {others} others");
}
