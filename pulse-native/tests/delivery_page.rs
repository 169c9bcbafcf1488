//! The worked example of docs/DELIVERY.md, as it stands there: a token stream whose viewers come, go and reload.

mod e2e_support;

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e_support::process::Process;

const PAGE: &str = include_str!("../../docs/DELIVERY.md");

/// Produces 200 tokens and watches them: from the beginning, from the middle, and with a connection that is cut again and
/// again. Prints what each of the three saw.
const DRIVER: &str = r#"
import NodeSocket from "ws";

const [http, url] = process.argv.slice(1);
const tokens = Array.from({ length: 200 }, (_, n) => `token ${n} `);

async function publish(payload, number) {
  const body = JSON.stringify({ channel: "ai:answer-1", payload, idempotency_key: `answer-1/${number}` });
  const answer = await fetch(`${http}/api/v1/publish`, { method: "POST", headers: { "content-type": "application/json" }, body });
  if (answer.status !== 200) throw new Error(await answer.text());
}

async function produce(first, end) {
  for (let number = first; number < end; number++) {
    await publish({ token: tokens[number] }, number);
    // The answer was not heard: it is sent once more.
    if (number % 3 === 0) await publish({ token: tokens[number] }, number);
  }
}

// A connection that is cut after some messages.
class Cut extends NodeSocket {
  constructor(...given) {
    super(...given);
    let left = 7;
    this.on("message", () => --left === 0 && this.terminate());
  }
}

// As a page that is loaded again whenever it has lost its connection.
async function reloading(Socket, state) {
  for (let times = 0; ; times++) {
    try {
      const text = await watch(Socket, url, "ai:answer-1", state, () => {});
      return [text, times];
    } catch (error) {
      if (error.message !== "disconnected") throw error;
    }
  }
}

const fresh = () => ({ text: "", position: null });
const first = reloading(NodeSocket, fresh());
const cut = reloading(Cut, fresh());
await produce(0, 100);
const late = reloading(NodeSocket, fresh());
await produce(100, 200);
await publish({ done: true }, "done");
const seen = await Promise.all([first, cut, late]);
const whole = tokens.join("");
for (const [text, times] of seen) console.log(text === whole ? "whole" : `not whole: ${text}`, times > 10 ? "reloading" : "");
process.exit();
"#;

fn block(language: &str) -> &'static str {
    let open = format!("```{language}\n");
    let (_, rest) = PAGE.split_once(&*open).unwrap_or_else(|| panic!("the page has a {language} block"));
    rest.split_once("```").expect("a block ends").0
}

/// With the configuration of the page.
fn server(test: &str) -> Process {
    let name = format!("delivery-{test}-{}.toml", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, block("toml")).expect("cargo's directory for tests takes files");
    let server = Process::serve(&["--config", path.to_str().expect("it is text")]);
    fs::remove_file(&path).expect("it was written just now");
    server
}

#[test]
#[ignore = "needs npm's ws: cargo xtask test deploy"]
fn every_viewer_of_a_token_stream_sees_all_of_it() {
    let server = server("viewers");
    let script = format!("{}{DRIVER}", block("js"));
    let node = Command::new("node")
        .args(["--input-type=module", "--eval", &script])
        .args([format!("http://{}", server.addr), server.url()])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop"))
        .output()
        .expect("there is Node");
    let said = String::from_utf8_lossy(&node.stderr);
    assert_eq!(String::from_utf8_lossy(&node.stdout), "whole \nwhole reloading\nwhole \n", "{said}");
}

#[test]
#[ignore = "needs curl: cargo xtask test deploy"]
fn the_request_of_the_page_publishes_a_token_once() {
    let server = server("request");
    let command = block("sh").replace("127.0.0.1:8080", &server.addr.to_string());
    let run = || {
        let output = Command::new("sh").args(["-c", &command]).output().expect("there is a shell");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let first = run();
    assert_eq!(first["result"]["offset"], 1, "{first}");
    assert_eq!(run(), first, "it is the same token");
}
