//! What a service manager is told, by the socket that systemd gives to units of `Type=notify`.

mod e2e_support;

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Stdio};

use e2e_support::PATIENCE;
use e2e_support::process::pulse;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

fn serve(notify_socket: &str, arguments: &[&str]) -> Child {
    let mut command = pulse(&["serve", "--port", "0", "--metrics-port", "0"]);
    command.args(arguments).env("NOTIFY_SOCKET", notify_socket).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("pulse starts")
}

fn told(socket: &UnixDatagram) -> String {
    let mut message = [0; 100];
    let len = socket.recv(&mut message).expect("the server tells in time");
    String::from_utf8_lossy(&message[..len]).into_owned()
}

/// Whoever has this socket hears of the start and of the end.
#[track_caller]
fn check(socket: &UnixDatagram, name: &str) {
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    let mut server = serve(name, &[]);
    assert_eq!(told(socket), "READY=1");
    kill_process(Pid::from_child(&server), Signal::TERM).expect("the server runs");
    assert_eq!(told(socket), "STOPPING=1");
    assert!(server.wait().expect("the server ends").success());
}

#[test]
fn a_service_manager_is_told_of_the_start_and_of_the_end() {
    let path = std::env::temp_dir().join(format!("pulse-notify-{}", std::process::id()));
    let socket = UnixDatagram::bind(&path).expect("the folder takes a socket");
    check(&socket, path.to_str().expect("the path is text"));
    let _ = std::fs::remove_file(&path);

    let name = format!("pulse-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("the name is short");
    check(&UnixDatagram::bind_addr(&address).expect("nobody has the name"), &format!("@{name}"));
}

#[test]
fn a_service_manager_is_told_when_a_reload_begins_and_when_it_is_done() {
    let folder = std::env::temp_dir();
    let [path, config] =
        ["socket", "toml"].map(|what| folder.join(format!("pulse-reload-{}.{what}", std::process::id())));
    let socket = UnixDatagram::bind(&path).expect("the folder takes a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    std::fs::write(&config, "").expect("the folder takes a file");
    let arguments = ["--config", config.to_str().expect("the path is text")];
    let mut server = serve(path.to_str().expect("the path is text"), &arguments);
    assert_eq!(told(&socket), "READY=1");
    // Settings that cannot be taken end a reload as well.
    for settings in ["[logging]\nlevel = \"warn\"\n", "[logging]\nlevel = 7\n"] {
        std::fs::write(&config, settings).expect("the folder takes a file");
        let before = now_us();
        kill_process(Pid::from_child(&server), Signal::HUP).expect("the server runs");
        let message = told(&socket);
        let since = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("it says so first");
        let since: u64 = since.parse().expect("a number follows");
        assert!((before..=now_us()).contains(&since), "{message}");
        assert_eq!(told(&socket), "READY=1");
    }
    kill_process(Pid::from_child(&server), Signal::TERM).expect("the server runs");
    assert_eq!(told(&socket), "STOPPING=1");
    assert!(server.wait().expect("the server ends").success());
    for path in [path, config] {
        let _ = std::fs::remove_file(path);
    }
}

fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

#[test]
fn a_socket_that_cannot_be_is_named_before_anything_is_served() {
    let output = serve(&"x".repeat(200), &[]).wait_with_output().expect("pulse ends");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("NOTIFY_SOCKET"), "{said}");
}
