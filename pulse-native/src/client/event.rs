//! What a client is told: frames of the server that answer no request, owned.

use pulse_core::wire::{self, Format};

use super::ServerError;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message in a channel that the client is subscribed to.
    Publication(Publication),
    /// Publications were lost on the way to this client.
    Gap(Gap),
    /// The server ended a subscription.
    Unsubscribed(Unsubscribed),
    /// An error that answers no request which the client still waits for.
    Error(ServerError),
}

/// One publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// The channel's name.
    pub channel: String,
    /// The application's bytes.
    pub payload: Vec<u8>,
    /// What the payload holds, as its publisher says.
    pub format: Format,
    /// Name of the event.
    pub event: Option<String>,
    /// What the message is about.
    pub key: Option<String>,
    /// Small facts beside the payload, in the order in which they came.
    pub tags: Vec<(String, String)>,
    /// Number in the channel's stream.
    pub offset: Option<u64>,
    /// Unix milliseconds at which the channel numbered it.
    pub time: Option<u64>,
    /// Connection id of the publisher.
    pub client: Option<String>,
    /// User of the publisher.
    pub user: Option<String>,
}

/// Publications that did not reach this client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// The channel's name.
    pub channel: String,
    /// Why they were lost.
    pub reason: String,
    /// First missing offset.
    pub from: Option<u64>,
    /// Last missing offset.
    pub to: Option<u64>,
    /// How many are missing.
    pub count: Option<u64>,
}

/// A subscription that the server ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsubscribed {
    /// The channel's name.
    pub channel: String,
    /// From the code table.
    pub code: u16,
    /// For people.
    pub reason: String,
}

impl Event {
    /// About how much memory it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        let held = match self {
            Self::Publication(it) => {
                let texts = [&it.event, &it.key, &it.client, &it.user].into_iter().flatten().map(String::len);
                let tags = it
                    .tags
                    .iter()
                    .map(|(key, value)| size_of::<(String, String)>() + key.len() + value.len());
                it.channel.len() + it.payload.len() + texts.chain(tags).sum::<usize>()
            }
            Self::Gap(it) => it.channel.len() + it.reason.len(),
            Self::Unsubscribed(it) => it.channel.len() + it.reason.len(),
            Self::Error(it) => it.message.len(),
        };
        size_of::<Self>() + held
    }
}

impl From<wire::Publish<'_>> for Publication {
    fn from(frame: wire::Publish<'_>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let mut payload = Vec::with_capacity(frame.payload.len());
        frame.payload.append_to(&mut payload);
        let tags = frame
            .tags
            .map(|tags| tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
        Self {
            channel: frame.channel.to_owned(),
            payload,
            format: frame.format,
            event: owned(frame.event),
            key: owned(frame.key),
            tags: tags.unwrap_or_default(),
            offset: frame.offset,
            time: frame.time,
            client: owned(frame.client),
            user: owned(frame.user),
        }
    }
}

impl From<wire::Gap<'_>> for Gap {
    fn from(frame: wire::Gap<'_>) -> Self {
        Self {
            channel: frame.channel.to_owned(),
            reason: frame.reason.to_owned(),
            from: frame.from,
            to: frame.to,
            count: frame.count,
        }
    }
}

impl From<wire::Unsubscribed<'_>> for Unsubscribed {
    fn from(frame: wire::Unsubscribed<'_>) -> Self {
        Self { channel: frame.channel.to_owned(), code: frame.code, reason: frame.reason.to_owned() }
    }
}
