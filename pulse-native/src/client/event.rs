//! What a subscription is told, owned.

use std::fmt;

use pulse_core::wire::{self, ErrorCode, Format, PresenceAction};
use serde::de::DeserializeOwned;

use super::RequestError;

/// Something that happened to a subscription.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A message.
    Publication(Publication),
    /// Publications were lost on the way to this client.
    Gap(Gap),
    /// Who is in the channel has changed.
    Presence(PresenceChange),
    /// The connection was lost meanwhile, and the channel is subscribed to again.
    Resumed {
        /// Whether everything missed follows. `None` where nothing could be missed, or the channel keeps no positions;
        /// `Some(false)` is followed by a [`Gap`](Self::Gap).
        recovered: Option<bool>,
    },
    /// The server does not take the subscription for now; the client goes on trying.
    Retrying(RequestError),
    /// The server ended the subscription: the last of its events.
    Unsubscribed {
        /// From the code table, where the server gave one.
        code: Option<ErrorCode>,
        /// For people.
        reason: String,
    },
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

/// Publications that did not reach the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// Why they were lost.
    pub reason: String,
    /// First missing offset.
    pub from: Option<u64>,
    /// Last missing offset.
    pub to: Option<u64>,
    /// How many are missing.
    pub count: Option<u64>,
}

/// News of who is in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceChange {
    /// Who came, went or shows something else, in order.
    pub changes: Vec<(Change, Member)>,
    /// How many there are now.
    pub total: Total,
}

/// What a member did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It came.
    Join,
    /// It went.
    Leave,
    /// It shows other data.
    Update,
}

/// One connection among a channel's members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its connection id.
    pub client: String,
    /// Its user, where the server knows it.
    pub user: Option<String>,
    /// What it shows of itself: one MessagePack value.
    pub data: Option<Vec<u8>>,
}

/// How many members a channel has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Connections.
    pub clients: u64,
    /// Users; a member without one counts as one of its own.
    pub users: u64,
}

/// Where a publication stands in its channel's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Changes when history was lost.
    pub epoch: String,
    /// Counts publications from 1.
    pub offset: u64,
}

/// Bytes that are not what was asked for.
#[derive(Debug)]
pub struct DecodeError(Box<dyn std::error::Error + Send + Sync>);

impl Publication {
    /// The payload as a value, by its `format`: JSON, or MessagePack with fields by name or by place. A `raw` payload is
    /// taken for JSON, which is what most programs mean by text.
    ///
    /// # Errors
    /// When the payload is no such value.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        match self.format {
            Format::MsgPack => decode(&self.payload),
            Format::Json | Format::Raw => {
                serde_json::from_slice(&self.payload).map_err(|error| DecodeError(error.into()))
            }
        }
    }
}

impl Member {
    /// What the member shows, as a value; `None` if it shows nothing.
    ///
    /// # Errors
    /// When it shows something else.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Option<T>, DecodeError> {
        self.data.as_deref().map(decode).transpose()
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    rmp_serde::from_slice(bytes).map_err(|error| DecodeError(error.into()))
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
            Self::Gap(it) => it.reason.len(),
            Self::Presence(it) => it.changes.iter().map(|(_, member)| member.size()).sum(),
            Self::Resumed { .. } => 0,
            Self::Retrying(RequestError::Refused(error)) => error.message.len(),
            Self::Retrying(_) => 0,
            Self::Unsubscribed { reason, .. } => reason.len(),
        };
        size_of::<Self>() + held
    }
}

impl Member {
    fn size(&self) -> usize {
        let texts = self.client.len() + self.user.as_ref().map_or(0, String::len);
        size_of::<(Change, Self)>() + texts + self.data.as_ref().map_or(0, Vec::len)
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

impl From<wire::Member<'_>> for Member {
    fn from(member: wire::Member<'_>) -> Self {
        Self {
            client: member.client.to_owned(),
            user: member.user.map(str::to_owned),
            data: member.data.map(|data| data.as_bytes().to_vec()),
        }
    }
}

impl From<&wire::Presence<'_>> for Total {
    fn from(frame: &wire::Presence<'_>) -> Self {
        Self { clients: frame.clients.unwrap_or(0), users: frame.users.unwrap_or(0) }
    }
}

impl From<wire::Presence<'_>> for PresenceChange {
    fn from(frame: wire::Presence<'_>) -> Self {
        let total = Total::from(&frame);
        let one = frame.client.map(|client| {
            let member = wire::Member { action: None, client, user: frame.user, data: frame.data };
            (frame.action, member)
        });
        let many = frame.changes.into_iter().flat_map(|changes| changes.iter().collect::<Vec<_>>());
        let many = many.map(|member| (member.action.unwrap_or_default(), member));
        let changes = one.into_iter().chain(many);
        Self { changes: changes.map(|(action, member)| (action.into(), member.into())).collect(), total }
    }
}

impl From<PresenceAction> for Change {
    fn from(action: PresenceAction) -> Self {
        match action {
            PresenceAction::Join => Self::Join,
            PresenceAction::Leave => Self::Leave,
            _ => Self::Update,
        }
    }
}

impl From<wire::Point<'_>> for Position {
    fn from(point: wire::Point<'_>) -> Self {
        Self { epoch: point.epoch.to_owned(), offset: point.offset }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it holds something else than was asked for: {}", self.0)
    }
}

impl std::error::Error for DecodeError {}
