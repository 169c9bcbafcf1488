use pulse_native::client::{Client, Event, Message, Options};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    pub who: String,
    pub text: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let said = chat("ws://127.0.0.1:8080/ws").await?;
    println!("{}: {}", said.who, said.text);
    Ok(())
}

pub async fn chat(url: &str) -> Result<Said, Box<dyn std::error::Error>> {
    let client = Client::connect(url, Options::default()).await?;
    let mut lobby = client.subscribe("chat:lobby").await?;
    let said = Said { who: "Ada".to_owned(), text: "hello".to_owned() };
    client.publish("chat:lobby", Message::msgpack(&said)?).await?;
    while let Some(event) = lobby.next().await {
        // A lost connection is no end: the client comes back, and tells it as `Event::Resumed`.
        if let Event::Publication(publication) = event {
            client.close().await;
            return Ok(publication.decode()?);
        }
    }
    Err("the server has ended the subscription".into())
}
