//! The HTTP API against its own description: schemathesis makes requests out of `openapi.json`, right ones and wrong ones, and
//! holds the answers against it.

use crate::interop::serve;
use crate::project::Project;
use crate::sh::{Cmd, Result};
use crate::tally::Tally;

/// What the server asks for; nothing else ever runs with it.
const KEY: &str = "a-key-for-tests-alone";

pub(crate) fn run(project: &Project, tally: &mut Tally) -> Result {
    project.cargo().line("build --package pulse-native --bin pulse").run()?;
    // Without heartbeats, which the client that is a member meanwhile does not answer.
    let variables =
        [("PULSE_API_KEY", KEY), ("PULSE_HEARTBEAT_INTERVAL_MS", "0"), ("PULSE_CHANNELS_HISTORY_SIZE", "10")];
    let (mut server, port) = serve(&project.target.join("debug/pulse"), &variables)?;
    Cmd::new(project.schemathesis_python())
        .arg(project.schemathesis().join("run.py"))
        .arg(format!("http://127.0.0.1:{port}"))
        .arg(project.target.join("schemathesis"))
        .env("PULSE_API_KEY", KEY)
        .run_counted(tally)?;
    server.check_alive()
}
