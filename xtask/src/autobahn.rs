//! The Autobahn cases against Pulse's own read and write path, with an echo in the router's place.
//!
//! The cases are played by our Python 3 translation of the suite (pulse-native/tests/autobahn).

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::project::Project;
use crate::sh::{Cmd, Result};
use crate::tally::Tally;

pub(crate) fn run(project: &Project, tally: &mut Tally) -> Result {
    project.cargo().line("build --profile fast --package pulse-native --example autobahn_echo").run()?;
    let mut server = Cmd::new(project.target.join("fast/examples/autobahn_echo")).start(Stdio::piped())?;
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
        .arg(format!("ws://127.0.0.1:{port}"))
        .run_counted(tally)?;
    server.check_alive()
}
