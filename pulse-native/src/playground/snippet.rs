use pulse_native::client::{Client, Event, Format, Message, Options};

const URL: &str = "ws://127.0.0.1:8080/ws";
const CHANNELS: &[&str] = &["chat:lobby"];
const INTO: &str = "chat:lobby";
const PAYLOAD: &str = "{\"text\":\"hello\"}";
const FORMAT: Format = Format::Json;
const EVENT: Option<&str> = None;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(URL, Options::default()).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for channel in CHANNELS {
        let mut subscription = client.subscribe(channel).await?;
        tasks.spawn(async move {
            while let Some(event) = subscription.next().await {
                match event {
                    Event::Publication(it) => {
                        println!("{}: {}", it.channel, String::from_utf8_lossy(&it.payload));
                    }
                    other => println!("{}: {other:?}", subscription.channel()),
                }
            }
        });
    }
    let mut message = Message::encoded(PAYLOAD, FORMAT);
    if let Some(event) = EVENT {
        message = message.event(event);
    }
    client.publish(INTO, message).await?;
    tasks.join_all().await;
    Ok(())
}
