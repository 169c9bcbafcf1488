use pulse_core::wire::Format;
use pulse_native::client::{Client, Event, Options};

const URL: &str = "ws://127.0.0.1:8080/ws";
const CHANNELS: &[&str] = &["chat:lobby"];
const INTO: &str = "chat:lobby";
const PAYLOAD: &str = "{\"text\":\"hello\"}";
const FORMAT: Format = Format::Json;
const EVENT: Option<&str> = None;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut client = Client::connect(URL, Options::default()).await?;
    for channel in CHANNELS {
        client.subscribe(channel).await?;
    }
    client.publish(INTO, PAYLOAD.as_bytes(), FORMAT, EVENT).await?;
    loop {
        match client.next().await? {
            Event::Publication(it) => println!("{}: {}", it.channel, String::from_utf8_lossy(&it.payload)),
            other => println!("{other:?}"),
        }
    }
}
