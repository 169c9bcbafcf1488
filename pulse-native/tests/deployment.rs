//! What docs/DEPLOYMENT.md shows: each proxy with the page's own configuration in front of a real server, and the unit.
//!
//! Only addresses are replaced, and TLS is left out where a client speaks to the proxy, since it is the proxy's business.

mod e2e_support;
mod tls_support;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use e2e_support::process::Process;
use e2e_support::{PATIENCE, Peer, ask, connect, dial, publication, subscribe};
use pulse_core::wire::{CloseCode, Disconnect, Frame};
use rustix::process::{Pid, Signal, kill_process};
use tls_support::Files;

const PAGE: &str = include_str!("../../docs/DEPLOYMENT.md");

/// Where the page has the server.
const UPSTREAM: &str = "127.0.0.1:8080";

/// Where the page has its Unix socket.
const SOCKET: &str = "/run/pulse/pulse.sock";

#[test]
#[ignore = "needs nginx: cargo xtask test deploy"]
fn behind_nginx_all_works() {
    let folder = Folder::new("nginx");
    let config = |upstream: SocketAddr, proxy| {
        nginx_without_tls(&folder, &block("nginx").replace(UPSTREAM, &upstream.to_string()), proxy)
    };
    behind(config, |config| run_nginx(&folder, config));
}

#[test]
#[ignore = "needs nginx: cargo xtask test deploy"]
fn behind_nginx_all_works_over_a_unix_socket() {
    let folder = Folder::new("nginx-unix");
    let config = |socket: &str, proxy| {
        let upstream = replaced(after("## A Unix socket", "nginx"), SOCKET, socket);
        let site = replaced(block("nginx"), &format!("server {UPSTREAM};"), &upstream);
        nginx_without_tls(&folder, &site, proxy)
    };
    behind_a_socket(&folder, config, |config| run_nginx(&folder, config));
}

/// As [`behind`], with the page's settings for a Unix socket, whose path `config` is given.
fn behind_a_socket(
    folder: &Folder,
    config: impl FnOnce(&str, SocketAddr) -> PathBuf,
    command: impl FnOnce(&Path) -> Command,
) {
    let socket = folder.0.join("pulse.sock");
    let socket = socket.to_str().unwrap();
    let settings = folder.write("pulse.toml", &replaced(after("## A Unix socket", "toml"), SOCKET, socket));
    let arguments = ["--config", settings.to_str().unwrap()];
    behind_with(&arguments, |_, proxy| config(socket, proxy), command);
}

/// The site, listening at `proxy` and without TLS.
fn nginx_without_tls(folder: &Folder, site: &str, proxy: SocketAddr) -> PathBuf {
    let site = replaced(site, "listen 443 ssl;", &format!("listen {proxy};"));
    let lines = site.lines().filter(|line| !line.contains("ssl_certificate"));
    let site: String = lines.map(|line| format!("{line}\n")).collect();
    folder.write("nginx.conf", &nginx(&folder.0, &site))
}

fn run_nginx(folder: &Folder, config: &Path) -> Command {
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(&folder.0).arg("-c").arg(config).args(["-g", "daemon off;"]);
    nginx
}

#[test]
#[ignore = "needs nginx: cargo xtask test deploy"]
fn nginx_takes_the_whole_example() {
    let folder = Folder::new("nginx-tls");
    let files = Files::new("nginx");
    let site = replaced(block("nginx"), "/etc/letsencrypt/live/pulse.example.com/fullchain.pem", &files.cert);
    let site = replaced(&site, "/etc/letsencrypt/live/pulse.example.com/privkey.pem", &files.key);
    let config = folder.write("nginx.conf", &nginx(&folder.0, &site));
    succeeds(Command::new("nginx").arg("-t").arg("-p").arg(&folder.0).arg("-c").arg(config));
}

#[test]
#[ignore = "needs HAProxy: cargo xtask test deploy"]
fn behind_haproxy_all_works() {
    let folder = Folder::new("haproxy");
    let config = |upstream: SocketAddr, proxy| {
        haproxy_without_tls(&folder, &block("haproxy").replace(UPSTREAM, &upstream.to_string()), proxy)
    };
    behind(config, run_haproxy);
}

#[test]
#[ignore = "needs HAProxy: cargo xtask test deploy"]
fn behind_haproxy_all_works_over_a_unix_socket() {
    let folder = Folder::new("haproxy-unix");
    let config = |socket: &str, proxy| {
        let server = replaced(inline("In HAProxy's it is"), SOCKET, socket);
        let page = replaced(block("haproxy"), &format!("server pulse1 {UPSTREAM} check"), &server);
        haproxy_without_tls(&folder, &page, proxy)
    };
    behind_a_socket(&folder, config, run_haproxy);
}

/// The page's configuration, listening at `proxy` and without TLS.
fn haproxy_without_tls(folder: &Folder, page: &str, proxy: SocketAddr) -> PathBuf {
    let page = replaced(page, "bind :443 ssl crt /etc/haproxy/pulse.pem", &format!("bind {proxy}"));
    folder.write("haproxy.cfg", &page)
}

fn run_haproxy(config: &Path) -> Command {
    let mut haproxy = Command::new("haproxy");
    haproxy.arg("-db").arg("-f").arg(config);
    haproxy
}

#[test]
#[ignore = "needs HAProxy: cargo xtask test deploy"]
fn haproxy_takes_the_whole_example() {
    let folder = Folder::new("haproxy-tls");
    let files = Files::new("haproxy");
    let both = fs::read_to_string(&files.cert).unwrap() + &fs::read_to_string(&files.key).unwrap();
    let both = folder.write("pulse.pem", &both);
    let page = replaced(block("haproxy"), "/etc/haproxy/pulse.pem", both.to_str().unwrap());
    succeeds(Command::new("haproxy").arg("-c").arg("-f").arg(folder.write("haproxy.cfg", &page)));
}

#[test]
#[ignore = "needs Caddy: cargo xtask test deploy"]
fn behind_caddy_all_works() {
    let folder = Folder::new("caddy");
    let config = |upstream: SocketAddr, proxy| {
        caddy_without_tls(&folder, &block("caddyfile").replace(UPSTREAM, &upstream.to_string()), proxy)
    };
    behind(config, |config| run_caddy(&folder, config));
}

#[test]
#[ignore = "needs Caddy: cargo xtask test deploy"]
fn behind_caddy_all_works_over_a_unix_socket() {
    let folder = Folder::new("caddy-unix");
    let config = |socket: &str, proxy| {
        let upstream = replaced(inline("in Caddy's"), SOCKET, socket);
        let page = replaced(block("caddyfile"), &format!("reverse_proxy {UPSTREAM}"), &upstream);
        caddy_without_tls(&folder, &page, proxy)
    };
    behind_a_socket(&folder, config, |config| run_caddy(&folder, config));
}

/// The page's configuration, listening at `proxy` and without TLS.
fn caddy_without_tls(folder: &Folder, page: &str, proxy: SocketAddr) -> PathBuf {
    let page = replaced(page, "pulse.example.com", &format!("http://{proxy}"));
    folder.write("Caddyfile", &format!("{{\n\tadmin off\n}}\n{page}\n"))
}

fn run_caddy(folder: &Folder, config: &Path) -> Command {
    let mut caddy = Command::new("caddy");
    caddy.env("HOME", &folder.0).args(["run", "--adapter", "caddyfile", "--config"]).arg(config);
    caddy
}

#[test]
#[ignore = "needs systemd-analyze: cargo xtask test deploy"]
fn systemd_takes_the_unit() {
    let folder = Folder::new("systemd");
    let unit = replaced(block("ini"), "/usr/local/bin/pulse", env!("CARGO_BIN_EXE_pulse"));
    let with_socket = format!("{unit}\n{}", after("## A Unix socket", "ini"));
    for unit in [unit, with_socket] {
        let unit = folder.write("pulse.service", &unit);
        succeeds(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit));
    }
}

/// Starts a server and a proxy in front of it, and looks at what clients of the proxy get.
fn behind(config: impl FnOnce(SocketAddr, SocketAddr) -> PathBuf, command: impl FnOnce(&Path) -> Command) {
    behind_with(&["--server-trusted-proxies=127.0.0.1"], config, command);
}

/// The same with these arguments for the server.
fn behind_with(
    arguments: &[&str],
    config: impl FnOnce(SocketAddr, SocketAddr) -> PathBuf,
    command: impl FnOnce(&Path) -> Command,
) {
    let more = ["--server-retry-spread-ms=0", "--limits-max-connections-per-address=2"];
    let server = Process::serve(&[arguments, &more].concat());
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = command(&config(server.addr, proxy));
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut running = Running(child.unwrap_or_else(|error| panic!("{program} does not start: {error}")));
    let begin = Instant::now();
    while TcpStream::connect(proxy).is_err() {
        if let Some(status) = running.0.try_wait().unwrap() {
            panic!("{program} has ended: {status}");
        }
        assert!(begin.elapsed() < PATIENCE, "{program} does not listen");
        std::thread::yield_now();
    }

    let health = ask(proxy, &format!("GET /health HTTP/1.1\r\nHost: {proxy}\r\nConnection: close\r\n\r\n"));
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");

    // A page of the proxy's own host may connect, a foreign one may not.
    let origin =
        |origin: &str| Peer::over(dial(proxy), &[("origin", origin), ("sec-websocket-protocol", "pulse.v1")]);
    let refused = origin("http://elsewhere.example").expect_err("a foreign page is refused");
    assert!(refused.contains("403"), "{refused}");
    let mut page = origin(&format!("http://{proxy}")).expect("a page of its own host may connect");
    page.send(&[connect(1), subscribe(1, "news")]);
    page.frame();
    page.frame();

    let mut other = Peer::v1(proxy);
    let payload = vec![0x61; 60_000];
    for n in 0..20_u8 {
        other.send(&[publication("news", &[&[n], &payload[..]].concat())]);
    }
    for n in 0..20_u8 {
        page.expect(&publication("news", &[&[n], &payload[..]].concat()));
    }

    server.signal(Signal::TERM);
    let goodbye =
        Disconnect { code: CloseCode::SHUTDOWN.0, reason: CloseCode::SHUTDOWN.text(), retry_ms: Some(0) };
    for mut client in [page, other] {
        client.expect(&Frame::Disconnect(goodbye));
        client.expect_close(CloseCode::SHUTDOWN);
    }
    assert!(server.wait().0.success());
}

/// The first example in this language.
fn block(language: &str) -> &'static str {
    after("", language)
}

/// The first example in this language behind a heading.
fn after(heading: &str, language: &str) -> &'static str {
    let (_, part) = PAGE.split_once(heading).expect("the page has this heading");
    let (_, rest) = part.split_once(&format!("```{language}\n")).expect("the page has this example");
    rest.split_once("\n```").expect("an example ends").0
}

/// What stands between backquotes behind these words.
fn inline(words: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("{words} `")).expect("the page has these words");
    rest.split_once('`').expect("what is quoted ends").0
}

/// With `to` in place of `from`, which has to be there.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the example has no {from:?}");
    text.replace(from, to)
}

/// A whole configuration around a site. Where root runs the test, nginx's workers have to be root as well, to be in the group
/// that may open the server's socket; for anybody else nginx does not look at `user`.
fn nginx(folder: &Path, site: &str) -> String {
    let folder = folder.display();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("    {what}_temp_path {folder}/{what};\n"))
        .collect();
    format!(
        "user root;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{ }}\nhttp {{\n    access_log off;\n{paths}{site}\n}}\n"
    )
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A program that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Not killed: some have processes of their own, which they end.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// A folder that goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pulse-deployment-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, format!("{text}\n")).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
