//! The page for trying the server out, as HTTP clients see it.

mod e2e_support;

use e2e_support::process::Process;

/// The whole answer, its head in lower case.
fn ask(server: &Process, method: &str, path: &str) -> (String, String) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.addr);
    let answer = e2e_support::ask(server.addr, &request);
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.to_lowercase(), body.to_owned())
}

#[track_caller]
fn is_served(server: &Process) {
    let (head, body) = ask(server, "GET", "/");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(body.starts_with("<!doctype html>"), "{body}");
}

#[track_caller]
fn is_not_served(server: &Process) {
    for path in ["/", "/playground/app.js"] {
        let (head, body) = ask(server, "GET", path);
        assert!(head.starts_with("http/1.1 404 "), "{head}");
        assert_eq!(body, "nothing is served at this path");
    }
}

#[test]
fn the_page_comes_with_its_files_and_a_policy_that_lets_nothing_else_in() {
    let server = Process::serve(&[]);
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/playground/style.css", "text/css; charset=utf-8"),
        ("/playground/icon.svg", "image/svg+xml"),
        ("/playground/app.js", "text/javascript; charset=utf-8"),
        ("/playground/session.js", "text/javascript; charset=utf-8"),
        ("/playground/snippet.rs", "text/plain; charset=utf-8"),
    ] {
        let (head, body) = ask(&server, "GET", path);
        assert!(head.starts_with("http/1.1 200 "), "{path}: {head}");
        assert!(head.contains(&format!("content-type: {kind}\r\n")), "{path}: {head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
        let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: "));
        let policy = policy.expect("every file has a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        for foreign in ["src=\"http", "href=\"http", "innerHTML", "style=\"", "from \"http"] {
            assert!(!body.contains(foreign), "{path} has {foreign}");
        }
    }
    let (head, body) = ask(&server, "HEAD", "/");
    assert!(head.starts_with("http/1.1 200 ") && body.is_empty(), "{head}{body}");
    let (head, body) = ask(&server, "POST", "/");
    assert!(head.starts_with("http/1.1 405 ") && head.contains("allow: get, head"), "{head}");
    assert_eq!(body, "/ is asked for by GET");
    assert!(ask(&server, "GET", "/playground/other.js").0.starts_with("http/1.1 404 "));
}

#[test]
fn the_page_is_told_where_the_websocket_is() {
    let server = Process::serve(&["--transport-websocket-path", "/live&now"]);
    let (_, body) = ask(&server, "GET", "/");
    assert!(body.contains("name=\"pulse-websocket-path\" content=\"/live&amp;now\""), "{body}");
}

#[test]
fn the_page_is_told_whether_there_is_an_http_api_and_whether_it_needs_a_key() {
    for (flags, expected) in
        [(&[][..], "open"), (&["--api-enabled", "off"], "off"), (&["--api-key", "0123456789abcdef"], "key")]
    {
        let (_, body) = ask(&Process::serve(flags), "GET", "/");
        assert!(body.contains(&format!("name=\"pulse-api\" content=\"{expected}\"")), "{flags:?}: {body}");
    }
}

#[test]
fn the_page_is_served_by_default_where_only_this_machine_reaches_it() {
    is_served(&Process::serve(&[]));
    is_not_served(&Process::serve(&["--host", "0.0.0.0"]));
}

#[test]
fn the_setting_decides_whatever_the_address() {
    is_not_served(&Process::serve(&["--server-playground", "off"]));
    is_served(&Process::serve(&["--server-playground", "on", "--host", "0.0.0.0"]));
}

#[test]
fn there_is_no_page_without_a_websocket_or_in_its_place() {
    is_not_served(&Process::serve(&["--transport-websocket", "false"]));
    let server = Process::serve(&["--transport-websocket-path", "/"]);
    assert!(ask(&server, "GET", "/").0.starts_with("http/1.1 426 "));
    assert!(ask(&server, "GET", "/playground/app.js").0.starts_with("http/1.1 404 "));
}
