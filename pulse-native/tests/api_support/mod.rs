//! Requests to the HTTP API, one connection each.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than anything takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer, its head in lower case.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// What a request was answered that was done.
    #[track_caller]
    pub fn result(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()["result"].clone()
    }

    /// Status, code, message and place of a request that was refused.
    #[track_caller]
    pub fn error(&self) -> (u16, u64, String, String) {
        let error = &self.json()["error"];
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        (self.status, error["code"].as_u64().expect("a refusal has a code"), text("message"), text("where"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Sends a request with these header lines.
pub fn send(addr: SocketAddr, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(addr).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        request += &format!("Host: {addr}\r\n");
    }
    headers.iter().for_each(|header| request += &format!("{header}\r\n"));
    let bytes = [request.as_bytes(), b"\r\n", body].concat();
    // A server that has refused the head need not read the rest.
    let _ = stream.write_all(&bytes);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a head has a status");
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

/// Sends a request of a method as JSON.
pub fn post(addr: SocketAddr, method: &str, params: &Value) -> Answer {
    post_with(addr, method, &[], params)
}

/// The same with more header lines.
pub fn post_with(addr: SocketAddr, method: &str, headers: &[&str], params: &Value) -> Answer {
    let headers = [&["Content-Type: application/json"], headers].concat();
    send(addr, "POST", &format!("/api/v1/{method}"), &headers, params.to_string().as_bytes())
}
