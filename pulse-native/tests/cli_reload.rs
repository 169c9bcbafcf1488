//! SIGHUP to a server that runs: what it takes, what it says, and that its clients stay.

mod api_support;
mod e2e_support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use api_support::post_with;
use e2e_support::{Peer, dial, process::Process};
use rustix::process::Signal;
use serde_json::json;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.toml", std::process::id()))
}

#[test]
fn a_hangup_takes_the_level_names_what_needs_a_restart_and_drops_nobody() {
    let path = file("reload");
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

#[test]
fn a_hangup_takes_new_origins_for_who_comes_and_lets_stay_who_is_there() {
    const OLD: &str = "https://old.example.com";
    const NEW: &str = "https://new.example.com";
    let path = file("origins");
    let write = |text: &str| fs::write(&path, text).expect("cargo's directory for tests takes files");
    write(&format!("[server]\nshards = 2\norigins = [\"{OLD}\"]\n"));
    let shown = path.display().to_string();
    let mut server = Process::serve(&["--config", &shown]);
    let addr = server.addr;
    let open = |origin: &str, more: Option<(&'static str, &str)>| {
        let headers = [("sec-websocket-protocol", "pulse.v1"), ("origin", origin)];
        Peer::over(dial(addr), &headers.into_iter().chain(more).collect::<Vec<_>>())
    };
    // Connections go to the two shards in turn. With so long a header the shard's own parser leaves them to hyper.
    let long = "x".repeat(20_000);
    let ways = [None, None, Some(("x-padding", &*long)), Some(("x-padding", &*long))];
    let check = |allowed: &str, refused: &str| {
        for more in ways {
            assert!(open(allowed, more).is_ok(), "{allowed} may connect");
            let refusal = open(refused, more).expect_err("this origin is not listed");
            assert!(refusal.starts_with("403 ") && refusal.contains(refused), "{refusal}");
        }
        let ask = |origin| post_with(addr, "info", &[&format!("Origin: {origin}")], &json!({}));
        assert_eq!(ask(allowed).header("access-control-allow-origin"), Some(allowed));
        assert_eq!(ask(refused).error().0, 403);
    };
    check(OLD, NEW);
    let mut there = open(OLD, None).expect("it is listed");
    there.send(&[e2e_support::connect(1)]);
    there.frame();

    write(&format!("[server]\nshards = 2\norigins = [\"{NEW}\"]\n"));
    server.signal(Signal::HUP);
    server.wait_for_line(&format!("server.origins is [{NEW:?}] now; who is connected stays"));
    check(NEW, OLD);
    there.settle();

    // What is no origin changes nothing.
    write("[server]\nshards = 2\norigins = [\"*/\"]\n");
    server.signal(Signal::HUP);
    server.wait_for_line("the settings stay as they were");
    check(NEW, OLD);
    let _ = fs::remove_file(&path);
}
