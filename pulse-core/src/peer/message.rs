//! The vocabulary between routers, and its bytes: a parcel is any number of messages one after another.
//!
//! Parcels pass between routers of one version in one process or cluster; they are no public format. Numbers are
//! little-endian, strings and bytes have their length in front.

use alloc::vec::Vec;
use core::fmt;

use crate::ConnId;
use crate::bytes::{Reader, Short, put_bytes, put_str, put_u64};
use crate::wire::{MAX_SAFE, PresenceAction};

/// What one router says to another. A `ticket` pairs a request with the one message that answers it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PeerMessage<'a> {
    /// To the home: the first subscriber came. Answered by `Subscribed` or `Refused`.
    Subscribe {
        /// Pairs the answer.
        ticket: u64,
        /// Channel name.
        channel: &'a str,
    },
    /// To the home: the last subscriber went.
    Unsubscribe {
        /// Channel name.
        channel: &'a str,
    },
    /// To the home: number this publication and pass it on. Answered by `Accepted`, unless `ticket` is 0.
    Publish {
        /// Pairs the answer; 0 wants none, and one of [`only_refusal`](Self::only_refusal) no `Accepted`.
        ticket: u64,
        /// Channel name.
        channel: &'a str,
        /// What the channel is to know the publication by, so that it takes no other one of this name; empty for nothing.
        name: &'a [u8],
        /// The frame for subscribers, with its length in front.
        frame: &'a [u8],
    },
    /// To the home: a member came, went or changed, or somebody asks for the members. Join, leave and update are
    /// answered by `Accepted` or `Refused`, sync and count by `Reply`, unless `ticket` is 0.
    Presence {
        /// Pairs the answer; 0 wants none.
        ticket: u64,
        /// What happened or is asked.
        request: PresenceRequest<'a>,
    },
    /// To the home: somebody asks for what was published. Answered by `Reply` or `Refused`.
    History {
        /// Pairs the answer.
        ticket: u64,
        /// What is asked.
        query: HistoryQuery<'a>,
    },
    /// To the home, behind `Subscribe`: a subscriber of a leaf wants what was published before. Answered by `Recalled`.
    Recall {
        /// Pairs the answer.
        ticket: u64,
        /// What is wanted.
        recall: Recall<'a>,
    },
    /// To a leaf: what its subscriber wanted, or that it cannot be had. Publications that follow are behind `offset`.
    Recalled {
        /// Pairs it with its `Recall`.
        ticket: u64,
        /// What there is.
        recalled: Recalled<'a>,
    },
    /// To a leaf: publications follow from the one after `offset` on.
    Subscribed {
        /// Pairs it with its `Subscribe`.
        ticket: u64,
        /// Channel name.
        channel: &'a str,
        /// Names this life of the channel: another one means that its numbers began again.
        epoch: u32,
        /// Number of the newest publication.
        offset: u64,
    },
    /// To a leaf: the request is done.
    Accepted {
        /// Pairs it with its request.
        ticket: u64,
        /// Epoch and number of the publication, where its publisher is told.
        position: Option<(u32, u64)>,
        /// Whether the publication was dropped because it is not newer than what the channel keeps.
        stale: bool,
    },
    /// To a leaf: the request is not done.
    Refused {
        /// Pairs it with its request.
        ticket: u64,
        /// From the table of request errors.
        code: u16,
    },
    /// To a leaf: the whole answer to a question, for the client that asked.
    Reply {
        /// Pairs it with its request.
        ticket: u64,
        /// A frame, with its length in front.
        frame: &'a [u8],
    },
    /// To a leaf: a publication for its subscribers.
    Publication {
        /// Channel name.
        channel: &'a str,
        /// Its number.
        offset: u64,
        /// The frame, with its length in front.
        frame: &'a [u8],
    },
    /// To a leaf: changes of presence for its subscribers.
    Notice {
        /// Channel name.
        channel: &'a str,
        /// The frame, with its length in front.
        frame: &'a [u8],
    },
    /// To a leaf: publications up to this one were not passed on, because the leaf took too little.
    Missed {
        /// Channel name.
        channel: &'a str,
        /// Number of the newest publication.
        offset: u64,
        /// Whether changes of presence were not passed on either.
        changes: bool,
    },
    /// To everybody: what should not be sent to this router for now, since it can hold no more of it. Replaces what it said before.
    Busy {
        /// Anything to publish or to ask: it has as much to pass on as it can hold.
        peers: bool,
        /// Publications that are to be on disk: it has as much to store as it can hold.
        store: bool,
    },
}

/// What a client does or asks about the members of a channel, as its home is told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PresenceRequest<'a> {
    /// Channel name.
    pub channel: &'a str,
    /// What happened or is asked.
    pub action: PresenceAction,
    /// The client's name, as a number.
    pub client: u64,
    /// The id that a `Reply` answers under.
    pub id: u64,
    /// Leave: the connection has ended, so that the member may come back as another client.
    pub gone: bool,
    /// Join: who the client is.
    pub user: Option<&'a str>,
    /// Join and update: one MessagePack value. Empty for none.
    pub data: &'a [u8],
    /// Sync: the client after which the page begins.
    pub after: Option<u64>,
    /// Sync: members of the page at most.
    pub limit: u64,
}

/// What a client asks of a channel's history, as its home is told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HistoryQuery<'a> {
    /// Channel name.
    pub channel: &'a str,
    /// The id that a `Reply` answers under.
    pub id: u64,
    /// Only what came after this position; without an epoch, one of which no channel is.
    pub since: Option<(Option<u32>, u64)>,
    /// Publications at most.
    pub limit: u64,
    /// The newest first.
    pub reverse: bool,
}

/// What a subscriber of a leaf wants of what was published before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Recall<'a> {
    /// Channel name.
    pub channel: &'a str,
    /// Everything behind this position.
    pub since: Option<(u32, u64)>,
    /// The newest publications, where there is no such position or it is lost.
    pub latest: u64,
    /// Whether publications are to be told now, a page of them. Otherwise only whether and from where on they can be.
    pub page: bool,
}

/// The answer to a [`Recall`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Recalled<'a> {
    /// Why what is behind the position cannot be had, if it cannot: 1 another epoch, 2 not kept any more, 3 no such position.
    pub lost: u8,
    /// Names this life of the channel.
    pub epoch: u32,
    /// Number of the newest publication.
    pub offset: u64,
    /// The number behind which it goes on.
    pub after: u64,
    /// Frames of publications, each with its length in front, from the one after `after` on.
    pub frames: &'a [u8],
}

/// Bytes that are no parcel of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadParcel;

impl From<Short> for BadParcel {
    fn from(Short: Short) -> Self {
        Self
    }
}

impl fmt::Display for BadParcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these bytes are no messages between routers of this version")
    }
}

impl core::error::Error for BadParcel {}

const SUBSCRIBE: u8 = 1;
const UNSUBSCRIBE: u8 = 2;
const PUBLISH: u8 = 3;
const PRESENCE: u8 = 4;
const SUBSCRIBED: u8 = 5;
const ACCEPTED: u8 = 6;
const REFUSED: u8 = 7;
const REPLY: u8 = 8;
const PUBLICATION: u8 = 9;
const NOTICE: u8 = 10;
const MISSED: u8 = 11;
const BUSY: u8 = 12;
const HISTORY: u8 = 13;
const RECALL: u8 = 14;
const RECALLED: u8 = 15;
const PUBLISH_NAMED: u8 = 16;

/// Of a ticket. What it hides of a connection's id is the highest bit of how often its slot was given out.
const ONLY_REFUSAL: u64 = 1 << 63;

impl<'a> PeerMessage<'a> {
    /// Appends the message to a parcel.
    ///
    /// ```
    /// use pulse_core::PeerMessage;
    ///
    /// let message = PeerMessage::Missed { channel: "news", offset: 7, changes: false };
    /// let mut parcel = Vec::new();
    /// message.encode(&mut parcel);
    /// assert_eq!(PeerMessage::decode(&parcel), Ok((message, &[][..])));
    /// ```
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Subscribe { ticket, channel } => {
                out.push(SUBSCRIBE);
                put_u64(out, ticket);
                put_str(out, channel);
            }
            Self::Unsubscribe { channel } => {
                out.push(UNSUBSCRIBE);
                put_str(out, channel);
            }
            Self::Publish { ticket, channel, name, frame } => {
                put_publish(out, ticket, channel, name, |out| out.extend_from_slice(frame));
            }
            Self::Presence { ticket, request } => {
                let PresenceRequest { channel, action, client, id, gone, user, data, after, limit } = request;
                out.extend_from_slice(&[PRESENCE, action as u8, u8::from(gone)]);
                out.extend_from_slice(&[u8::from(user.is_some()), u8::from(after.is_some())]);
                for number in [ticket, client, id, limit, after.unwrap_or(0)] {
                    put_u64(out, number);
                }
                put_str(out, channel);
                put_str(out, user.unwrap_or_default());
                put_bytes(out, data);
            }
            Self::Subscribed { ticket, channel, epoch, offset } => {
                out.push(SUBSCRIBED);
                put_u64(out, ticket);
                put_u64(out, offset);
                out.extend_from_slice(&epoch.to_le_bytes());
                put_str(out, channel);
            }
            Self::Accepted { ticket, position, stale } => {
                out.extend_from_slice(&[ACCEPTED, u8::from(position.is_some()) | u8::from(stale) << 1]);
                put_u64(out, ticket);
                put_position(out, position.unwrap_or_default());
            }
            Self::Refused { ticket, code } => {
                out.push(REFUSED);
                put_u64(out, ticket);
                out.extend_from_slice(&code.to_le_bytes());
            }
            Self::Reply { ticket, frame } => {
                out.push(REPLY);
                put_u64(out, ticket);
                put_bytes(out, frame);
            }
            Self::Publication { channel, offset, frame } => {
                out.push(PUBLICATION);
                put_u64(out, offset);
                put_str(out, channel);
                put_bytes(out, frame);
            }
            Self::Notice { channel, frame } => {
                out.push(NOTICE);
                put_str(out, channel);
                put_bytes(out, frame);
            }
            Self::Missed { channel, offset, changes } => {
                out.extend_from_slice(&[MISSED, u8::from(changes)]);
                put_u64(out, offset);
                put_str(out, channel);
            }
            Self::History { ticket, query } => {
                let HistoryQuery { channel, id, since, limit, reverse } = query;
                let (epoch, after) = since.unwrap_or_default();
                out.extend_from_slice(&[HISTORY, u8::from(since.is_some()), u8::from(epoch.is_some())]);
                out.push(u8::from(reverse));
                [ticket, id, limit].into_iter().for_each(|number| put_u64(out, number));
                put_position(out, (epoch.unwrap_or_default(), after));
                put_str(out, channel);
            }
            Self::Recall { ticket, recall } => {
                let Recall { channel, since, latest, page } = recall;
                out.extend_from_slice(&[RECALL, u8::from(since.is_some()), u8::from(page)]);
                [ticket, latest].into_iter().for_each(|number| put_u64(out, number));
                put_position(out, since.unwrap_or_default());
                put_str(out, channel);
            }
            Self::Recalled { ticket, recalled } => {
                let Recalled { lost, epoch, offset, after, frames } = recalled;
                out.extend_from_slice(&[RECALLED, lost]);
                [ticket, after].into_iter().for_each(|number| put_u64(out, number));
                put_position(out, (epoch, offset));
                put_bytes(out, frames);
            }
            Self::Busy { peers, store } => {
                out.extend_from_slice(&[BUSY, u8::from(peers) | u8::from(store) << 1]);
            }
        }
    }

    /// The ticket of a publication of which its sender wants to know only if it is refused. Nothing has to be remembered for it: the
    /// ticket itself says who that is.
    ///
    /// ```
    /// use pulse_core::{ConnId, PeerMessage};
    ///
    /// let ticket = PeerMessage::only_refusal(ConnId::new(7, 3));
    /// assert!(PeerMessage::wants_only_refusal(ticket) && !PeerMessage::wants_only_refusal(7));
    /// ```
    #[must_use]
    pub fn only_refusal(conn: ConnId) -> u64 {
        ONLY_REFUSAL | conn.to_bits()
    }

    /// Whether a ticket is one of [`only_refusal`](Self::only_refusal). Others are counted from 1 and never come so far.
    #[must_use]
    pub fn wants_only_refusal(ticket: u64) -> bool {
        ticket & ONLY_REFUSAL != 0
    }

    /// The ticket, 0 for none, and the channel of what only the channel's home can do.
    pub(crate) fn asked_of_home(&self) -> Option<(u64, &'a str)> {
        match *self {
            Self::Subscribe { ticket, channel } | Self::Publish { ticket, channel, .. } => {
                Some((ticket, channel))
            }
            Self::Unsubscribe { channel } => Some((0, channel)),
            Self::Presence { ticket, request } => Some((ticket, request.channel)),
            Self::History { ticket, query } => Some((ticket, query.channel)),
            Self::Recall { ticket, recall } => Some((ticket, recall.channel)),
            _ => None,
        }
    }

    /// The first message of a parcel, and what follows it.
    ///
    /// # Errors
    /// [`BadParcel`] if the bytes do not begin with a whole message. Call it only with bytes left.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), BadParcel> {
        let mut r = Reader(bytes);
        let message = match r.u8()? {
            SUBSCRIBE => Self::Subscribe { ticket: r.u64()?, channel: r.str()? },
            UNSUBSCRIBE => Self::Unsubscribe { channel: r.str()? },
            PUBLISH => Self::Publish { ticket: r.u64()?, channel: r.str()?, name: &[], frame: r.bytes()? },
            PUBLISH_NAMED => {
                let (name, ticket) = (r.bytes()?, r.u64()?);
                Self::Publish { ticket, channel: r.str()?, name, frame: r.bytes()? }
            }
            PRESENCE => {
                let action = PresenceAction::from_number(r.u8()?.into()).ok_or(BadParcel)?;
                let (gone, has_user, has_after) = (r.u8()? != 0, r.u8()? != 0, r.u8()? != 0);
                let [ticket, client, id, limit, after] = [r.u64()?, r.u64()?, r.u64()?, r.u64()?, r.u64()?];
                let (channel, user, data) = (r.str()?, r.str()?, r.bytes()?);
                let (user, after) = (has_user.then_some(user), has_after.then_some(after));
                let request = PresenceRequest { channel, action, client, id, gone, user, data, after, limit };
                Self::Presence { ticket, request }
            }
            SUBSCRIBED => {
                let (ticket, offset, epoch) = (r.u64()?, offset(&mut r)?, u32::from_le_bytes(r.array()?));
                Self::Subscribed { ticket, channel: r.str()?, epoch, offset }
            }
            ACCEPTED => {
                let (bits, ticket, position) = (r.u8()?, r.u64()?, position(&mut r)?);
                let position = (bits & 1 != 0).then_some(position);
                Self::Accepted { ticket, position, stale: bits & 2 != 0 }
            }
            REFUSED => Self::Refused { ticket: r.u64()?, code: u16::from_le_bytes(r.array()?) },
            REPLY => Self::Reply { ticket: r.u64()?, frame: r.bytes()? },
            PUBLICATION => {
                let offset = offset(&mut r)?;
                Self::Publication { channel: r.str()?, offset, frame: r.bytes()? }
            }
            NOTICE => Self::Notice { channel: r.str()?, frame: r.bytes()? },
            MISSED => {
                let (changes, offset) = (r.u8()? != 0, offset(&mut r)?);
                Self::Missed { channel: r.str()?, offset, changes }
            }
            HISTORY => {
                let (has_since, has_epoch, reverse) = (r.u8()? != 0, r.u8()? != 0, r.u8()? != 0);
                let (ticket, id, limit) = (r.u64()?, r.u64()?, r.u64()?);
                let (epoch, after) = position(&mut r)?;
                let since = has_since.then_some((has_epoch.then_some(epoch), after));
                let query = HistoryQuery { channel: r.str()?, id, since, limit, reverse };
                Self::History { ticket, query }
            }
            RECALL => {
                let (has_since, page, ticket, latest) = (r.u8()? != 0, r.u8()? != 0, r.u64()?, r.u64()?);
                let since = Some(position(&mut r)?).filter(|_| has_since);
                Self::Recall { ticket, recall: Recall { channel: r.str()?, since, latest, page } }
            }
            RECALLED => {
                let (lost, ticket, after) = (r.u8()?, r.u64()?, offset(&mut r)?);
                let (epoch, offset) = position(&mut r)?;
                let recalled = Recalled { lost, epoch, offset, after, frames: r.bytes()? };
                Self::Recalled { ticket, recalled }
            }
            BUSY => {
                let bits = r.u8()?;
                Self::Busy { peers: bits & 1 != 0, store: bits & 2 != 0 }
            }
            _ => return Err(BadParcel),
        };
        Ok((message, r.0))
    }
}

fn put_position(out: &mut Vec<u8>, (epoch, offset): (u32, u64)) {
    out.extend_from_slice(&epoch.to_le_bytes());
    put_u64(out, offset);
}

fn position(r: &mut Reader<'_>) -> Result<(u32, u64), Short> {
    Ok((u32::from_le_bytes(r.array()?), offset(r)?))
}

/// A publication's number. Clients are told it, and frames have no room for a larger one.
fn offset(r: &mut Reader<'_>) -> Result<u64, Short> {
    Ok(r.u64()?.min(MAX_SAFE))
}

/// Appends a [`PeerMessage::Publish`] whose frame is encoded in place.
pub(crate) fn put_publish(
    out: &mut Vec<u8>,
    ticket: u64,
    channel: &str,
    name: &[u8],
    frame: impl FnOnce(&mut Vec<u8>),
) {
    if name.is_empty() {
        out.push(PUBLISH);
    } else {
        out.push(PUBLISH_NAMED);
        put_bytes(out, name);
    }
    put_u64(out, ticket);
    put_str(out, channel);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    frame(out);
    let len = u32::try_from(out.len() - at - 4).expect("a frame is bounded by limits.max_message_size");
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn all() -> Vec<PeerMessage<'static>> {
        let presence = |action, user, after| PeerMessage::Presence {
            ticket: 1,
            request: PresenceRequest {
                channel: "c",
                action,
                client: u64::MAX,
                id: 3,
                gone: action == PresenceAction::Leave,
                user,
                data: &[0xc0],
                after,
                limit: 9,
            },
        };
        let history = |since| PeerMessage::History {
            ticket: 1,
            query: HistoryQuery { channel: "c", id: 3, since, limit: 9, reverse: since.is_some() },
        };
        [
            PeerMessage::Subscribe { ticket: 1, channel: "a" },
            PeerMessage::Unsubscribe { channel: "" },
            PeerMessage::Publish { ticket: 0, channel: "a", name: &[], frame: &[1, 2, 3] },
            PeerMessage::Publish { ticket: 9, channel: "a", name: &[4, 5], frame: &[1, 2, 3] },
            presence(PresenceAction::Join, Some("u"), None),
            presence(PresenceAction::Leave, None, None),
            presence(PresenceAction::Update, None, None),
            presence(PresenceAction::Sync, None, Some(0)),
            presence(PresenceAction::Count, Some(""), None),
            PeerMessage::Subscribed { ticket: 2, channel: "b", epoch: u32::MAX, offset: 1 << 52 },
            PeerMessage::Accepted { ticket: 3, position: None, stale: false },
            PeerMessage::Accepted { ticket: 3, position: Some((7, 1 << 52)), stale: false },
            PeerMessage::Accepted { ticket: 3, position: Some((7, 8)), stale: true },
            PeerMessage::Recall {
                ticket: 1,
                recall: Recall { channel: "c", since: Some((7, 8)), latest: 0, page: true },
            },
            PeerMessage::Recall {
                ticket: 1,
                recall: Recall { channel: "c", latest: 9, ..Recall::default() },
            },
            PeerMessage::Recalled {
                ticket: 1,
                recalled: Recalled { lost: 2, epoch: 7, offset: 9, after: 8, frames: &[1, 2] },
            },
            history(None),
            history(Some((None, 3))),
            history(Some((Some(0), 0))),
            PeerMessage::Refused { ticket: 4, code: 1013 },
            PeerMessage::Reply { ticket: 5, frame: &[] },
            PeerMessage::Publication { channel: "d", offset: 5, frame: &[9; 300] },
            PeerMessage::Notice { channel: "e", frame: &[8] },
            PeerMessage::Missed { channel: "f", offset: 6, changes: true },
            PeerMessage::Busy { peers: true, store: false },
            PeerMessage::Busy { peers: false, store: true },
        ]
        .into()
    }

    #[test]
    fn a_parcel_comes_out_as_it_was_put_together() {
        let mut parcel = Vec::new();
        all().iter().for_each(|message| message.encode(&mut parcel));
        let (mut bytes, mut seen) = (&parcel[..], Vec::new());
        while !bytes.is_empty() {
            let (message, rest) = PeerMessage::decode(bytes).unwrap();
            seen.push(message);
            bytes = rest;
        }
        assert_eq!(seen, all());
    }

    #[test]
    fn a_part_of_a_message_is_refused() {
        for message in all() {
            let mut parcel = Vec::new();
            message.encode(&mut parcel);
            for len in 0..parcel.len() {
                assert_eq!(PeerMessage::decode(&parcel[..len]), Err(BadParcel), "{message:?} to {len}");
            }
        }
        assert_eq!(PeerMessage::decode(&[99]), Err(BadParcel));
    }
}
