//! The page for trying the server out: its files, which are part of the program, and the headers that keep it harmless.
//!
//! Whether it is served is the server's decision. The page loads nothing from elsewhere, and the policy sent with it
//! makes browsers refuse whatever would.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

/// The page's own path.
pub(crate) const PATH: &str = "/";

struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($path:literal: $kind:literal, $file:literal;)*) => {
        &[$(File { path: $path, kind: $kind, text: include_str!(concat!("../playground/", $file)) },)*]
    };
}

const FILES: &[File] = files! {
    "/": "text/html; charset=utf-8", "index.html";
    "/playground/style.css": "text/css; charset=utf-8", "style.css";
    "/playground/icon.svg": "image/svg+xml", "icon.svg";
    "/playground/app.js": "text/javascript; charset=utf-8", "app.js";
    "/playground/backoff.js": "text/javascript; charset=utf-8", "backoff.js";
    "/playground/channel.js": "text/javascript; charset=utf-8", "channel.js";
    "/playground/dom.js": "text/javascript; charset=utf-8", "dom.js";
    "/playground/messages.js": "text/javascript; charset=utf-8", "messages.js";
    "/playground/payload.js": "text/javascript; charset=utf-8", "payload.js";
    "/playground/presence.js": "text/javascript; charset=utf-8", "presence.js";
    "/playground/session.js": "text/javascript; charset=utf-8", "session.js";
    "/playground/snippets.js": "text/javascript; charset=utf-8", "snippets.js";
    "/playground/status.js": "text/javascript; charset=utf-8", "status.js";
    "/playground/snippet.rs": "text/plain; charset=utf-8", "snippet.rs";
};

/// Where the page says which path the WebSocket has.
const WEBSOCKET_PATH: &str = "{websocket_path}";

/// Where it says whether there is an HTTP API, and whether that needs a key.
const API: &str = "{api}";

/// No script or style but the files above, no connection but to this server, no frame around the page, and no text that
/// becomes HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The page, or one of its files; `None` for any other path. `api` is `off`, `open` or `key`.
pub(super) fn answer(path: &str, websocket_path: &str, api: &str) -> Option<Response<Full<Bytes>>> {
    let file = FILES.iter().find(|file| file.path == path)?;
    let body = if path == PATH {
        Bytes::from(file.text.replace(API, api).replace(WEBSOCKET_PATH, &escape(websocket_path)))
    } else {
        Bytes::from_static(file.text.as_bytes())
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::OK;
    let headers: [(HeaderName, &'static str); 5] = [
        (CONTENT_TYPE, file.kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // The files of two versions of the server do not mix.
        (CACHE_CONTROL, "no-store"),
    ];
    response.headers_mut().extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    Some(response)
}

/// As the value of an attribute in double quotes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let mut named = 0;
        for file in FILES {
            for (at, _) in file.text.match_indices("playground/") {
                let name = &file.text[at..];
                let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || "/._".contains(c)));
                let path = format!("/{}", &name[..end.unwrap_or(name.len())]);
                assert!(answer(&path, "/ws", "off").is_some(), "{} names {path}", file.path);
                named += 1;
            }
            for (at, _) in file.text.match_indices("from \"./") {
                let name = file.text[at + 8..].split('"').next().unwrap_or_default();
                assert!(
                    answer(&format!("/playground/{name}"), "/ws", "off").is_some(),
                    "{} imports {name}",
                    file.path
                );
                named += 1;
            }
        }
        assert!(named >= 5, "{named} files are named");
        assert!(answer("/playground/", "/ws", "off").is_none());
    }

    #[test]
    fn the_page_is_told_once_what_it_has_to_know_of_the_server() {
        let page = FILES[0].text;
        for mark in [WEBSOCKET_PATH, API] {
            assert_eq!((FILES[0].path, page.matches(mark).count()), (PATH, 1), "{mark}");
        }
        assert_eq!(escape("/a&b\"<"), "/a&amp;b&quot;&lt;");
    }
}
