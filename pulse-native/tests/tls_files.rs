//! The certificate and its key as files: refused when they are wrong, and followed when they change.

mod e2e_support;
mod support;
mod tls_support;

use std::fs;
use std::time::Instant;

use e2e_support::process::{Process, run};
use pulse_native::tls::Identity;
use rustix::process::Signal;
use support::{Host, options_with};
use tls_support::{Files, PATIENCE, careless, dial, secure, shown, websocket};
use tungstenite::Message;

fn serve(files: &Files) -> Process {
    Process::serve(&["--tls-cert", &files.cert, "--tls-key", &files.key])
}

/// Waits until new handshakes show the certificate in the files.
fn wait_until_shown(server: &Process, files: &Files) {
    let start = Instant::now();
    while shown(server.addr) != files.der {
        assert!(start.elapsed() < PATIENCE, "the old certificate is still shown");
    }
}

#[test]
fn a_certificate_is_replaced_under_live_connections_with_traffic() {
    const CONNECTIONS: usize = 500;
    pulse_native::raise_open_files().unwrap();
    let mut files = Files::new("rotation");
    let identity = files.identity();
    let old = files.der.clone();
    let host = Host::start(options_with(|options| options.tls = Some(identity.clone())));
    let config = careless();
    let mut sockets: Vec<_> =
        (0..CONNECTIONS).map(|_| websocket(host.addr, secure(&config, dial(host.addr)))).collect();
    assert_eq!(shown(host.addr), old);
    for round in 0..4_u64 {
        // What is on its way when the certificate changes arrives like everything else.
        for (n, socket) in sockets.iter_mut().enumerate() {
            if n == CONNECTIONS / 2 {
                files.renew(round + 2);
                identity.reload().unwrap();
            }
            socket.send(Message::text(format!("{round} {n}"))).unwrap();
        }
        assert_eq!(shown(host.addr), files.der);
        for (n, socket) in sockets.iter_mut().enumerate() {
            assert_eq!(socket.read().unwrap(), Message::text(format!("{round} {n}")));
        }
    }
    assert_eq!(host.seats.taken(), CONNECTIONS);
}

#[test]
fn a_hangup_reads_the_files_again_and_keeps_connections() {
    let mut files = Files::new("hangup");
    let mut server = serve(&files);
    let mut socket = websocket(server.addr, secure(&careless(), dial(server.addr)));
    files.renew(2);
    server.signal(Signal::HUP);
    // In this order, so that whoever reads the log knows when all is done.
    server.wait_for_line("the configuration has been read again");
    server.wait_for_line("new connections get the certificate");
    assert_eq!(shown(server.addr), files.der);
    socket.send(Message::text("ping")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("pong"));
    // Bad files change nothing and are told; the next good ones are taken.
    let good = files.der.clone();
    fs::write(&files.cert, "no certificate").unwrap();
    server.signal(Signal::HUP);
    server.wait_for_line("the certificate stays as it was: tls.cert: ");
    assert_eq!(shown(server.addr), good);
    files.renew(3);
    server.signal(Signal::HUP);
    server.wait_for_line("new connections get the certificate");
    assert_eq!(shown(server.addr), files.der);
    drop(socket);
    server.signal(Signal::TERM);
    let (status, said) = server.wait();
    assert!(status.success(), "{said}");
}

#[test]
fn files_that_change_are_noticed_without_a_signal() {
    let mut files = Files::new("change");
    let server = serve(&files);
    assert_eq!(shown(server.addr), files.der);
    files.renew(2);
    wait_until_shown(&server, &files);
}

#[test]
fn a_bad_file_at_a_reload_leaves_the_old_certificate() {
    let files = Files::new("reload");
    let identity = files.identity();
    let host = Host::start(options_with(|options| options.tls = Some(identity.clone())));
    let key = fs::read(&files.key).unwrap();
    fs::write(&files.key, "").unwrap();
    let error = identity.reload().unwrap_err().to_string();
    assert!(error.contains("there is no private key in it"), "{error}");
    assert_eq!(shown(host.addr), files.der);
    fs::write(&files.key, key).unwrap();
    identity.reload().unwrap();
    assert_eq!(shown(host.addr), files.der);
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let files = Files::new("bad");
    let other = Files::new("bad-other");
    let absent = files.folder.join("absent.pem").to_str().unwrap().to_owned();
    let junk = files.folder.join("junk.pem").to_str().unwrap().to_owned();
    fs::write(&junk, "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n").unwrap();
    let nonsense = files.folder.join("nonsense.pem").to_str().unwrap().to_owned();
    fs::write(&nonsense, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    for (cert, key, setting, expected) in [
        (&absent, &files.key, "tls.cert", "there is no file"),
        (&files.cert, &absent, "tls.key", "there is no file"),
        (&files.key, &files.key, "tls.cert", "there is no certificate in it"),
        (&files.cert, &files.cert, "tls.key", "there is no private key in it"),
        (&junk, &files.key, "tls.cert", "no valid PEM"),
        (&nonsense, &files.key, "tls.cert", "cannot be used"),
        (&files.cert, &other.key, "tls.key", "is not the key of the first certificate"),
    ] {
        let error = Identity::load(cert, key).unwrap_err().to_string();
        assert!(error.starts_with(setting) && error.contains(expected), "{error}");
        let culprit = if setting == "tls.cert" { cert } else { key };
        assert!(error.contains(culprit.as_str()), "{error}");
    }
    // The program says the same, and starts nothing.
    let (code, _, said) =
        run(&["--port", "0", "--metrics-port", "0", "--tls-cert", &absent, "--tls-key", &files.key]);
    assert_eq!(code, Some(1));
    assert!(said.lines().last().unwrap().starts_with("pulse: tls.cert: there is no file"), "{said}");
    let (code, _, said) = run(&["check-config", "--tls-cert", &files.cert, "--tls-key", &other.key]);
    assert_eq!(code, Some(2));
    assert!(said.contains("is not the key of the first certificate"), "{said}");
    // One without the other is a mistake of the configuration.
    let (code, _, said) = run(&["--tls-cert", &files.cert]);
    assert_eq!(code, Some(2));
    assert!(said.contains("has to be given together with tls.cert"), "{said}");
}

#[test]
fn a_certificate_out_of_its_time_is_a_warning_with_the_date() {
    let mut files = Files::new("expired");
    assert_eq!(files.identity().warning(), None);
    files.renew_with(2, |params| params.not_after = rcgen::date_time_ymd(2020, 2, 29));
    let warning = files.identity().warning().unwrap();
    assert!(warning.contains("has expired") && warning.contains("2020-02-29 00:00:00 UTC"), "{warning}");
    files.renew_with(3, |params| params.not_before = rcgen::date_time_ymd(2900, 1, 1));
    let warning = files.identity().warning().unwrap();
    assert!(warning.contains("2900-01-01 00:00:00 UTC"), "{warning}");
}

#[test]
fn a_certificate_for_trying_out_serves_and_is_not_written_over() {
    let files = Files::new("dev-cert");
    let folder = files.folder.join("made");
    let out = folder.to_str().unwrap();
    let (code, said, errors) = run(&["dev-cert", "--out", out, "--host", "pulse.test", "192.0.2.7"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let command = format!("pulse serve --tls-cert {} --tls-key {}", cert.display(), key.display());
    assert!(said.contains(&command) && said.contains("pulse.test, 192.0.2.7"), "{said}");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    let server = Process::serve(&["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    let der = shown(server.addr);
    let hex: Vec<String> = ring::digest::digest(&ring::digest::SHA256, &der)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    assert!(said.contains(&hex.join(":")), "{said}");
    let files = Files { der, folder: folder.join("none"), cert: String::new(), key: String::new() };
    let answer = tls_support::ask(
        &files.trusting(),
        server.addr,
        "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.ends_with("ok"), "{answer}");

    let before = fs::read(&cert).unwrap();
    let (code, _, errors) = run(&["dev-cert", "--out", out]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("is there already; --force"), "{errors}");
    assert_eq!(fs::read(&cert).unwrap(), before);
    assert_eq!(run(&["dev-cert", "--out", out, "--force"]).0, Some(0));
    assert_ne!(fs::read(&cert).unwrap(), before);
}
