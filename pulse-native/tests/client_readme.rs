//! The Rust program of README.md is the example `chat`, and does what it says.

mod e2e_support;

#[allow(dead_code, unreachable_pub, reason = "it is a program: its main function connects to the usual port")]
#[path = "../examples/chat.rs"]
mod chat;

use e2e_support::Running;

#[test]
fn the_program_on_the_front_page_is_the_example() {
    let page = include_str!("../../README.md");
    let (_, rest) = page.split_once("```rust\n").expect("README.md shows a program");
    let (program, _) = rest.split_once("```\n").expect("the block ends");
    assert_eq!(program, include_str!("../examples/chat.rs"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_program_on_the_front_page_hears_what_it_says() {
    let server = Running::start();
    let said = chat::chat(&server.url()).await.expect("the server runs");
    assert_eq!(said, chat::Said { who: "Ada".to_owned(), text: "hello".to_owned() });
}
