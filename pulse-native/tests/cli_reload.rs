//! SIGHUP to a server that runs: what it takes, what it says, and that its clients stay.

mod e2e_support;

use std::{fs, path::Path};

use e2e_support::{Peer, process::Process};
use rustix::process::Signal;

#[test]
fn a_hangup_takes_the_level_names_what_needs_a_restart_and_drops_nobody() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("reload-{}.toml", std::process::id()));
    let write = |text: &str| fs::write(&path, text).expect("cargo's directory for tests takes files");
    write("[limits]\nmax_channels = 5\n");
    let shown = path.display().to_string();
    let mut server = Process::serve(&["--config", &shown]);
    let mut client = Peer::v1(server.addr);

    write("[limits]\nmax_channels = 6\n[logging]\nlevel = \"debug\"\n");
    server.signal(Signal::HUP);
    server.wait_for_line(&format!("limits.max_channels = 6 ({shown}:2) instead of 5 needs a restart"));
    server.wait_for_line("logging.level is \"debug\" now");

    write("[limits]\nmax_chanels = 6\n");
    server.signal(Signal::HUP);
    server.wait_for_line(&format!("{shown}:2: limits.max_chanels is not a setting"));
    server.wait_for_line("the settings stay as they were");

    client.settle();
    // Gone or not: nothing below reads it.
    let _ = fs::remove_file(&path);
}
