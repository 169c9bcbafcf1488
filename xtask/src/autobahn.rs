//! The Autobahn cases against Pulse's own read and write path, with an echo in the router's place.
//!
//! The cases are played by our Python 3 translation of the suite (pulse-native/tests/autobahn), first over plain TCP and
//! then over TLS.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use crate::project::Project;
use crate::sh::{Cmd, Result};
use crate::tally::Tally;

pub(crate) fn run(project: &Project, tally: &mut Tally) -> Result {
    project
        .cargo()
        .line("build --profile fast --package pulse-native --bin pulse --example autobahn_echo")
        .run()?;
    let plain = play(project, tally, "ws", &[]);
    let folder = project.target.join("setup/tls");
    let pulse = Cmd::new(project.target.join("fast/pulse"));
    pulse.line("dev-cert --force --out").arg(&folder).output()?;
    let secure = play(project, tally, "wss", &[folder.join("cert.pem"), folder.join("key.pem")]);
    plain.and(secure)
}

fn play(project: &Project, tally: &mut Tally, scheme: &str, certificate: &[PathBuf]) -> Result {
    let echo = Cmd::new(project.target.join("fast/examples/autobahn_echo"));
    let mut server = echo.args(certificate).start(Stdio::piped())?;
    let mut line = String::new();
    BufReader::new(server.stdout()?)
        .read_line(&mut line)
        .map_err(|error| format!("cannot read the port of autobahn_echo: {error}"))?;
    let port: u16 = line
        .trim()
        .parse()
        .map_err(|_| format!("the first line of autobahn_echo has to be its port, not {:?}", line.trim()))?;
    Cmd::new(project.python())
        .arg(project.autobahn().join("run.py"))
        .arg(project.target.join("setup/autobahn"))
        .arg(format!("{scheme}://127.0.0.1:{port}"))
        .run_counted(tally)?;
    server.check_alive()
}
