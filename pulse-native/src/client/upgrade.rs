//! From a URL to a WebSocket: the stream, the request for an upgrade and the judgement on its answer (RFC 6455 4.1).

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    ConnectError, Disconnected,
    endpoint::Endpoint,
    socket::Masks,
    stream::{Stream, Trust},
};

/// The subprotocol that this client speaks.
const SUBPROTOCOL: &str = "pulse.v1";

/// Bytes of the longest head of a response.
const MAX_HEAD: usize = 16 << 10;

/// Bytes of a refusal's body that are shown.
const MAX_SHOWN: usize = 500;

/// Connects; returns what the server sent behind its answer as well.
pub(super) async fn connect(
    endpoint: Arc<Endpoint>,
    trust: Option<Trust>,
) -> Result<(Stream, Vec<u8>), ConnectError> {
    let url = || endpoint.url().to_owned();
    let lost = |error: std::io::Error| ConnectError::Ended { url: url(), end: error.into() };
    let mut stream = Stream::open(&endpoint, trust).await?;
    let key = key();
    stream.write_all(request(&endpoint, &key).as_bytes()).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;

    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.map_err(lost)? == 0 {
            let end = Disconnected::Lost(std::io::ErrorKind::UnexpectedEof);
            return Err(ConnectError::Ended { url: url(), end });
        }
        match judge(&bytes, &key) {
            Answer::Incomplete if bytes.len() < MAX_HEAD => {}
            Answer::Incomplete => {
                return Err(ConnectError::NotPulse { url: url(), what: "its answer does not end" });
            }
            Answer::Upgraded { used } => {
                bytes.drain(..used);
                return Ok((stream, bytes));
            }
            Answer::Refused { status, used, length } => {
                let message = body(&mut stream, bytes.split_off(used), length).await;
                return Err(ConnectError::Refused { url: url(), status, message });
            }
            Answer::Wrong(what) => return Err(ConnectError::NotPulse { url: url(), what }),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Incomplete,
    Upgraded {
        /// Bytes of the head.
        used: usize,
    },
    Refused {
        status: u16,
        used: usize,
        /// Bytes of the body, where the head says so.
        length: Option<usize>,
    },
    Wrong(&'static str),
}

fn request(endpoint: &Endpoint, key: &str) -> String {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n",
        endpoint.target(),
        endpoint.authority(),
    )
}

fn judge(bytes: &[u8], key: &str) -> Answer {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let used = match response.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Answer::Incomplete,
        Err(_) => return Answer::Wrong("it does not speak HTTP"),
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| header.value.trim_ascii())
    };
    let status = response.code.unwrap_or(0);
    if status != 101 {
        let length = header("content-length").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        return Answer::Refused { status, used, length };
    }
    let names = |header: Option<&[u8]>, token: &[u8]| {
        let mut tokens = header.unwrap_or_default().split(|&byte| byte == b',');
        tokens.any(|given| given.trim_ascii().eq_ignore_ascii_case(token))
    };
    if !names(header("upgrade"), b"websocket") || !names(header("connection"), b"upgrade") {
        return Answer::Wrong("it upgrades to something else than a WebSocket");
    }
    if header("sec-websocket-accept") != Some(&crate::ws::accept_key(key.as_bytes())) {
        return Answer::Wrong("its handshake answers another one than ours");
    }
    if header("sec-websocket-extensions").is_some() {
        return Answer::Wrong("it uses an extension that was not offered");
    }
    if header("sec-websocket-protocol") != Some(SUBPROTOCOL.as_bytes()) {
        return Answer::Wrong("it does not speak pulse.v1");
    }
    Answer::Upgraded { used }
}

/// What a refusal says, on one line.
async fn body(stream: &mut Stream, mut bytes: Vec<u8>, length: Option<usize>) -> String {
    let wanted = length.unwrap_or(MAX_SHOWN).min(MAX_SHOWN);
    while bytes.len() < wanted {
        // The status is what counts: of the rest we show what can be had.
        match stream.read_buf(&mut bytes).await {
            Ok(n) if n > 0 => {}
            _ => break,
        }
    }
    bytes.truncate(wanted);
    let text: String = String::from_utf8_lossy(&bytes)
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    text.trim().to_owned()
}

/// A key that was not used before (RFC 6455 4.1).
fn key() -> String {
    let mut masks = Masks::default();
    BASE64_STANDARD.encode([masks.number().to_ne_bytes(), masks.number().to_ne_bytes()].as_flattened())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake;

    /// The example of RFC 6455 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn response(headers: &[(&str, &str)]) -> Vec<u8> {
        let mut text = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
        headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        (text + "\r\n").into_bytes()
    }

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("Connection", "upgrade"),
        ("Sec-WebSocket-Accept", ACCEPT),
        ("sec-websocket-protocol", "pulse.v1"),
    ];

    #[test]
    fn an_upgrade_is_taken_once_its_head_is_whole() {
        let good = response(&GOOD);
        for end in 0..good.len() {
            assert_eq!(judge(&good[..end], KEY), Answer::Incomplete, "{end} bytes");
        }
        assert_eq!(judge(&good, KEY), Answer::Upgraded { used: good.len() });
        let more = [&good[..], b"\x82\0"].concat();
        assert_eq!(judge(&more, KEY), Answer::Upgraded { used: good.len() });
    }

    #[test]
    fn an_upgrade_that_lacks_anything_is_not_taken() {
        for (missing, header) in GOOD.iter().enumerate() {
            let mut headers = GOOD.to_vec();
            headers.remove(missing);
            assert!(matches!(judge(&response(&headers), KEY), Answer::Wrong(_)), "without {:?}", header);
            headers.insert(missing, (header.0, "something else"));
            assert!(matches!(judge(&response(&headers), KEY), Answer::Wrong(_)), "with {headers:?}");
        }
        let extended = [&GOOD[..], &[("Sec-WebSocket-Extensions", "permessage-deflate")]].concat();
        assert!(matches!(judge(&response(&extended), KEY), Answer::Wrong(_)));
        assert!(matches!(judge(b"SSH-2.0-OpenSSH_9.2\r\n", KEY), Answer::Wrong(_)));
    }

    #[test]
    fn a_refusal_says_how_long_its_reason_is() {
        let head = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\n";
        assert_eq!(
            judge(&[&head[..], b"full"].concat(), KEY),
            Answer::Refused { status: 503, used: head.len(), length: Some(4) }
        );
    }

    #[test]
    fn our_own_server_takes_the_request() {
        let endpoint = Endpoint::parse("ws://127.0.0.1:8080/ws?x=1").expect("this is a URL");
        let policy = handshake::Policy {
            path: "/ws".to_owned(),
            origins: handshake::Origins::default(),
            bound_to_loopback: true,
        };
        let request = request(&endpoint, KEY);
        let handshake::Fast::Upgrade { accepted, used } = handshake::fast(request.as_bytes(), &policy) else {
            panic!("{request} is not taken")
        };
        assert_eq!(used, request.len());
        let mut response = Vec::new();
        handshake::response(&accepted, &mut response);
        assert_eq!(judge(&response, KEY), Answer::Upgraded { used: response.len() });
    }

    #[test]
    fn keys_are_16_bytes_and_not_the_same_twice() {
        assert_eq!(BASE64_STANDARD.decode(key()).expect("a key is base64").len(), 16);
        assert_ne!(key(), key());
    }
}
