//! One client, whose server is the test.

use pulse_core::client::{
    Client, ClientConfig, ClientEffect, Event, PublishOptions, SubId, SubscribeOptions,
};
use pulse_core::wire::Frame;
use pulse_core::{Kind, Now, Seed, Time};

use super::{connected, encode, event_line, frame_lines};

pub struct Script {
    pub client: Client,
    pub now_ms: u64,
    /// When the last `Waiting` said that the client comes back.
    pub retry_at: Option<u64>,
}

impl Script {
    pub fn new(config: ClientConfig) -> Self {
        Self::seeded(config, 1)
    }

    pub fn seeded(config: ClientConfig, seed: u64) -> Self {
        let mut script = Self { client: Client::new(config, Seed(seed)), now_ms: 1_000, retry_at: None };
        script.advance(0);
        script
    }

    /// A client whose session is open, all of it told.
    pub fn open() -> Self {
        let mut script = Self::new(ClientConfig::default());
        script.client.connect();
        script.greet();
        script.events();
        script
    }

    /// Opens the transport that the client dials, and the session. Returns the messages that the client sent.
    pub fn greet(&mut self) -> Vec<String> {
        assert_eq!(self.effects().last(), Some(&ClientEffect::Dial));
        self.client.opened();
        let mut sent = self.writes();
        self.tell(&[connected()]);
        sent.extend(self.writes());
        sent
    }

    pub fn advance(&mut self, ms: u64) {
        self.now_ms += ms;
        self.client
            .advance(Now { mono: Time(self.now_ms * 1_000), unix_ms: 1_700_000_000_000 + self.now_ms });
    }

    /// Goes to the moment that the client asks for, once, and returns how many milliseconds that took.
    pub fn sleep(&mut self) -> u64 {
        let at = self.client.poll_timeout().expect("the client waits for a moment");
        let ms = at.0.div_ceil(1_000).saturating_sub(self.now_ms);
        self.advance(ms);
        ms
    }

    /// Goes on for so long, stopping at each moment that the client asks for.
    pub fn run(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(at) = self.client.poll_timeout().map(|at| at.0.div_ceil(1_000)).filter(|at| *at <= end)
        {
            self.advance(at.saturating_sub(self.now_ms));
        }
        self.advance(end - self.now_ms);
    }

    pub fn tell(&mut self, frames: &[Frame<'_>]) {
        self.client.receive(Kind::Binary, &encode(frames));
    }

    /// The messages that the client sends, their frames joined by commas.
    pub fn writes(&mut self) -> Vec<String> {
        let mut messages = vec![];
        while let Some(message) = self.client.poll_write() {
            messages.push(frame_lines(message).join(", "));
        }
        messages
    }

    pub fn effects(&mut self) -> Vec<ClientEffect> {
        std::iter::from_fn(|| self.client.poll_effect()).collect()
    }

    pub fn events(&mut self) -> Vec<String> {
        let mut lines = vec![];
        while let Some(event) = self.client.poll_event() {
            if let Event::Waiting { retry_at, .. } = event {
                self.retry_at = Some(retry_at.0 / 1_000);
            }
            lines.push(event_line(&event));
        }
        lines
    }

    pub fn subscribe(&mut self, channel: &str) -> SubId {
        self.client.subscribe(channel, SubscribeOptions::default()).expect("the subscription is taken up")
    }

    pub fn publish(&mut self, channel: &str, payload: &str) -> u64 {
        self.publish_with(channel, payload, PublishOptions::default())
    }

    pub fn publish_with(&mut self, channel: &str, payload: &str, options: PublishOptions<'_>) -> u64 {
        self.client.publish(channel, payload.as_bytes(), options).expect("the message is taken").get()
    }
}
