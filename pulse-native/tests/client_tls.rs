//! `pulse_native::client` and the commands on it over TLS.

mod e2e_support;
mod tls_support;

use e2e_support::Running;
use e2e_support::process::run;
use pulse_native::client::{Client, ConnectError, Event, Message, Options, Roots};
use tls_support::Files;

fn start(files: &Files) -> (Running, String) {
    let identity = files.identity();
    let server =
        Running::start_custom(|_| {}, |options| options.tls = Some(identity), |config| config.routers());
    let url = format!("wss://localhost:{}/ws", server.addr.port());
    (server, url)
}

fn trusting(files: &Files) -> Options {
    Options { roots: Roots::File(files.cert.clone().into()), ..Options::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_whose_certificate_is_named_is_talked_to_over_tls() {
    let files = Files::new("client");
    let (server, url) = start(&files);
    let by_address = format!("wss://{}/ws", server.addr);
    for url in [url, by_address] {
        let client = Client::connect(&url, trusting(&files)).await.expect("the certificate is trusted");
        let mut channel = client.subscribe("c").await.expect("anyone may subscribe");
        // More than one TLS record, both ways.
        let payload = vec![7; 60_000];
        client.publish("c", Message::raw(payload.clone())).await.expect("anyone may publish");
        let Some(Event::Publication(publication)) = channel.next().await else { panic!("it was published") };
        assert!(publication.payload == payload, "it comes as it went");
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_nobody_vouches_for_is_refused_with_what_to_do() {
    let (files, other) = (Files::new("unknown"), Files::new("other"));
    let (_server, url) = start(&files);
    for options in [Options::default(), trusting(&other)] {
        let system = options.roots == Roots::System;
        match Client::connect(&url, options).await.expect_err("nobody vouches for it") {
            // A machine may trust nobody at all.
            ConnectError::Roots(error) if system => {
                assert!(error.to_string().contains("name a file"), "{error}");
            }
            error => {
                assert!(matches!(error, ConnectError::Insecure { .. }), "{error:?}");
                assert!(error.to_string().contains("as in --ca cert.pem"), "{error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tls_and_none_are_told_from_each_other() {
    let files = Files::new("mixed");
    let plain = Running::start();
    let url = format!("wss://{}/ws", plain.addr);
    let error = Client::connect(&url, trusting(&files)).await.expect_err("it speaks no TLS").to_string();
    assert!(error.contains("is it a server for ws://?"), "{error}");
    let (secure, _) = start(&files);
    let error = Client::connect(&secure.url(), Options::default()).await.expect_err("it speaks TLS");
    assert!(matches!(error, ConnectError::Refused { status: 400, .. }), "{error}");
}

#[test]
fn files_that_hold_no_certificates_are_named() {
    let files = Files::new("roots");
    let folder = files.folder.to_str().expect("it is text");
    let empty = format!("{folder}/empty.pem");
    std::fs::write(&empty, "nothing").expect("the folder is there");
    for (ca, says) in [
        (files.key.as_str(), "there is no certificate in it"),
        (&empty, "there is no certificate in it"),
        ("no/such/file.pem", "no/such/file.pem"),
    ] {
        let (code, out, said) = run(&["pub", "--url", "wss://127.0.0.1:1/ws", "--ca", ca, "c", "x"]);
        assert_eq!((code, out.as_str()), (Some(2), ""));
        assert!(said.contains(says) && said.contains(ca), "{said}");
    }
}

#[test]
fn commands_trust_the_certificate_that_dev_cert_makes() {
    let files = Files::new("dev-cert");
    let folder = files.folder.join("made");
    let folder = folder.to_str().expect("it is text");
    let (code, _, said) = run(&["dev-cert", "--out", folder]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let (cert, key) = (format!("{folder}/cert.pem"), format!("{folder}/key.pem"));
    let server = e2e_support::process::Process::serve(&["--tls-cert", &cert, "--tls-key", &key]);
    let url = format!("wss://localhost:{}/ws", server.addr.port());
    let (code, _, said) = run(&["pub", "--url", &url, "--ca", &cert, "c", "x"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let (code, out, said) = run(&["presence", "--url", &url, "--ca", &cert, "--count", "c"]);
    assert_eq!((code, out.as_str(), said.as_str()), (Some(0), "{\"clients\":0,\"users\":0}\n", ""));
}
