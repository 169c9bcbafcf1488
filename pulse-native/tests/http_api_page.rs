//! What docs/HTTP_API.md shows, as it stands there but for the port.

mod e2e_support;

use std::process::Command;

use e2e_support::{Running, publication};
use pulse_core::wire::Frame;
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../docs/HTTP_API.md");

/// What each `sh` block prints.
fn printed(server: &Running) -> Vec<Value> {
    let blocks = PAGE.split("```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default());
    let run = |block: &str| {
        assert!(block.contains("http://127.0.0.1:8080/"), "{block}");
        let block = block.replace("127.0.0.1:8080", &server.addr.to_string()).replace("curl", "curl -sS");
        let output = Command::new("sh").args(["-c", &block]).output().expect("there is a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}: {said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{block}: {error}"))
    };
    blocks.map(run).collect()
}

#[test]
fn the_examples_do_what_they_show() {
    let server = Running::start();
    let (mut chats, mut orders) = (server.client(), server.client());
    chats.subscribe("chat:lobby");
    chats.subscribe("chat:attic");
    orders.subscribe("orders");
    let results: Vec<Value> = printed(&server).into_iter().map(|answer| answer["result"].clone()).collect();
    let lobby = json!({"channel": "chat:lobby", "subscribers": 1});
    let attic = json!({"channel": "chat:attic", "subscribers": 1});
    assert_eq!(
        results,
        [
            json!({"offset": 1}),
            json!({"results": [
                {"channel": "chat:lobby", "result": {"offset": 2}},
                {"channel": "chat:attic", "result": {"offset": 1}},
            ]}),
            json!({"clients": 0, "users": 0}),
            json!({"channels": [attic, lobby]}),
            json!({"offset": 1}),
        ]
    );
    // The order has the key of the first time, so this is the first time's answer, and nobody hears of it again.
    assert_eq!(printed(&server)[4]["result"], json!({"offset": 1}));
    orders.send(&[publication("orders", b"the end")]);
    let payloads = [(); 2].map(|()| match orders.frame().decoded() {
        Frame::Publish(publication) => publication.payload.as_bytes().expect("servers send bytes").to_vec(),
        other => panic!("{other:?}"),
    });
    assert_eq!(payloads, [&b"{\"order\":4711}"[..], b"the end"]);
}

#[test]
fn the_page_names_every_method_of_the_document() {
    let document: Value = serde_json::from_str(include_str!("../src/api/openapi.json")).expect("it is JSON");
    let paths = document["paths"].as_object().expect("it has paths");
    assert!(paths.len() >= 10);
    for path in paths.keys() {
        let method = path.rsplit('/').next().unwrap_or_default();
        assert!(PAGE.contains(&format!("`{method}`")) || PAGE.contains(path), "{path}");
    }
}
