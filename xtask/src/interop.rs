//! Programs of others against ours: JavaScript libraries read the codec's vectors and talk to the real server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::project::Project;
use crate::sh::{Cmd, Result, Running};
use crate::tally::Tally;

/// A server starts in a fraction of this, on a machine that is busy with other things too.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The codec's vectors, and a client of the first release against the server that `cargo run` would start.
pub(crate) fn run(project: &Project, tally: &mut Tally) -> Result {
    let vectors = project.root.join("pulse-core/tests/vectors");
    Cmd::new("node")
        .arg("codec.mjs")
        .arg(vectors.join("frames.json"))
        .arg(vectors.join("v1-frames.json"))
        .dir(&project.interop())
        .run_counted(tally)?;
    project.cargo().line("build --package pulse-native --bin pulse").run()?;
    old_client(project, &project.target.join("debug/pulse"), tally)
}

/// What `cargo run --release` builds, whole: it starts, and an old client works with it.
pub(crate) fn release(project: &Project, tally: &mut Tally) -> Result {
    project.cargo().line("build --release").run()?;
    old_client(project, &project.target.join("release/pulse"), tally)
}

fn old_client(project: &Project, pulse: &Path, tally: &mut Tally) -> Result {
    let (_server, port) = serve(pulse, &[])?;
    Cmd::new("node")
        .arg("old_client.mjs")
        .arg(format!("ws://127.0.0.1:{port}/ws"))
        .dir(&project.interop())
        .run_counted(tally)
}

/// Starts `pulse` on a free port, with these variables too, and waits until it is healthy.
pub(crate) fn serve(pulse: &Path, variables: &[(&str, &str)]) -> Result<(Running, u16)> {
    let port = free_port()?;
    let pulse = variables.iter().fold(Cmd::new(pulse), |pulse, (name, value)| pulse.env(name, value));
    let mut server = pulse
        .env("PULSE_HOST", "127.0.0.1")
        .env("PULSE_PORT", port.to_string())
        .env("PULSE_METRICS_ENABLED", "false")
        .env("PULSE_LOGGING_LEVEL", "warn")
        .start(Stdio::null())?;
    let started = Instant::now();
    while !is_healthy(port) {
        server.check_alive()?;
        if started.elapsed() > START_LIMIT {
            return Err(format!(
                "pulse did not answer /health on port {port} within {} s",
                START_LIMIT.as_secs()
            ));
        }
        sleep(Duration::from_millis(20));
    }
    Ok((server, port))
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| format!("no port is free on 127.0.0.1: {error}"))
}

pub(crate) fn is_healthy(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = format!("GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.set_read_timeout(Some(START_LIMIT)).is_ok()
        && stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200 ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers one connection with `answer` and says what `is_healthy` made of it.
    fn check(answer: &'static str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection comes");
            let mut request = [0; 1024];
            let _length = stream.read(&mut request).expect("a request comes");
            stream.write_all(answer.as_bytes()).expect("the answer is small");
        });
        let healthy = is_healthy(port);
        server.join().expect("the server does not panic");
        healthy
    }

    #[test]
    fn healthy_is_a_server_that_answers_with_200() {
        assert!(check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
        assert!(!check("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"));
        assert!(!is_healthy(free_port().expect("loopback has a free port")));
    }
}
