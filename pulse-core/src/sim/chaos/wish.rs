//! What a client of a random run asks, until it becomes a frame.

use alloc::string::String;
use alloc::vec::Vec;

use crate::wire::{
    Format, Frame, History, Payload, Point, Presence, PresenceAction, Publish, Refresh, Subscribe,
    Unsubscribe, Value,
};

/// A request that is about to be sent.
pub(super) enum Wish {
    Subscribe {
        id: u64,
        channel: &'static str,
        recover: Option<(String, u64)>,
        latest: Option<u64>,
    },
    History {
        id: u64,
        channel: &'static str,
        since: Option<(String, u64)>,
        limit: Option<u64>,
        reverse: bool,
    },
    Unsubscribe {
        id: u64,
        channel: &'static str,
    },
    Publish {
        id: Option<u64>,
        channel: &'static str,
        payload: String,
        key: Option<&'static str>,
        /// Its idempotency key.
        name: Option<String>,
        json: bool,
    },
    Presence {
        id: u64,
        channel: &'static str,
        action: PresenceAction,
        data: Option<Vec<u8>>,
    },
    /// A page of the list of members.
    Page {
        id: u64,
        channel: &'static str,
        after: Option<String>,
        limit: Option<u64>,
    },
    Unavailable {
        id: u64,
        channel: &'static str,
    },
    Ping,
}

impl Wish {
    pub(super) fn frame(&self) -> Frame<'_> {
        match self {
            Self::Subscribe { id, channel, recover, latest } => Frame::Subscribe(Subscribe {
                id: *id,
                channel,
                recover: recover.as_ref().map(point),
                latest: *latest,
                ..Subscribe::default()
            }),
            Self::History { id, channel, since, limit, reverse } => Frame::History(History {
                id: *id,
                channel: Some(channel),
                since: since.as_ref().map(point),
                limit: *limit,
                reverse: Some(*reverse),
                ..History::default()
            }),
            &Self::Unsubscribe { id, channel } => Frame::Unsubscribe(Unsubscribe { id, channel }),
            Self::Publish { id, channel, payload, key, name, json } => Frame::Publish(Publish {
                id: *id,
                channel,
                payload: Payload::from(payload.as_bytes()),
                key: *key,
                idempotency_key: name.as_deref(),
                format: if *json { Format::Json } else { Format::Raw },
                ..Publish::default()
            }),
            Self::Presence { id, channel, action, data } => Frame::Presence(Presence {
                id: *id,
                channel,
                action: *action,
                data: data.as_deref().map(|data| Value::new(data).expect("the data is one value")),
                ..Presence::default()
            }),
            Self::Page { id, channel, after, limit } => Frame::Presence(Presence {
                id: *id,
                channel,
                action: PresenceAction::Sync,
                after: after.as_deref(),
                limit: *limit,
                ..Presence::default()
            }),
            &Self::Unavailable { id, channel } if id % 2 == 0 => {
                Frame::History(History { id, channel: Some(channel), ..History::default() })
            }
            &Self::Unavailable { id, .. } => Frame::Refresh(Refresh { id, token: "t" }),
            Self::Ping => Frame::Ping { timestamp: Some(7) },
        }
    }
}

fn point((epoch, offset): &(String, u64)) -> Point<'_> {
    Point { epoch, offset: *offset }
}
