//! What scenarios are written in: clients that are in, frames to send, and what has to come, a line for each frame.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::Dialect;
use crate::sim::{ClientNo, OwnedFrame, message};
use crate::wire::{
    Connect, Format, Frame, Member, Payload, Presence, PresenceAction, Publish, Subscribe, Unsubscribe, Value,
};

use super::{Got, Stage};

/// The dialects, one client of each makes a good mixture.
pub(super) const DIALECTS: [Dialect; 3] = [Dialect::V1, Dialect::Json, Dialect::Legacy];

/// Channels that are at home in different places of any server, most likely.
pub(super) fn channels(name: &str) -> Vec<String> {
    (0..5).map(|n| format!("{name}/{n}")).collect()
}

pub(super) fn connect() -> Frame<'static> {
    Frame::Connect(Connect { version: 1, ..Connect::default() })
}

pub(super) fn subscribe(id: u64, channel: &str) -> Frame<'_> {
    Frame::Subscribe(Subscribe { id, channel, ..Subscribe::default() })
}

pub(super) fn unsubscribe(id: u64, channel: &str) -> Frame<'_> {
    Frame::Unsubscribe(Unsubscribe { id, channel })
}

pub(super) fn publish<'a>(channel: &'a str, text: &'a str) -> Publish<'a> {
    Publish { channel, payload: Payload::from(text.as_bytes()), ..Publish::default() }
}

pub(super) fn publish_with_id<'a>(id: u64, channel: &'a str, text: &'a str) -> Frame<'a> {
    Frame::Publish(Publish { id: Some(id), ..publish(channel, text) })
}

/// `data` is MessagePack; empty for none.
pub(super) fn presence<'a>(id: u64, channel: &'a str, action: PresenceAction, data: &'a [u8]) -> Frame<'a> {
    let data = (!data.is_empty()).then(|| Value::new(data).expect("scenarios show one whole value"));
    Frame::Presence(Presence { id, channel, action, data, ..Presence::default() })
}

/// A client that is in.
pub(super) fn client(stage: &mut dyn Stage, dialect: Dialect) -> ClientNo {
    named(stage, dialect).0
}

/// A client that is in, and the name that it was told.
pub(super) fn named(stage: &mut dyn Stage, dialect: Dialect) -> (ClientNo, String) {
    let client = stage.open(dialect);
    if dialect != Dialect::Legacy {
        send(stage, client, &[connect()]);
    }
    let frame = frame(stage, client);
    match frame.get() {
        Frame::Connected(connected) => (client, connected.connection_id.to_string()),
        other => panic!("a client has to be told that it is connected, not {other:?}"),
    }
}

/// A client that is in this channel.
pub(super) fn subscriber(stage: &mut dyn Stage, dialect: Dialect, channel: &str) -> ClientNo {
    let client = client(stage, dialect);
    ask(stage, client, &[subscribe(900, channel)], &["ack 900"]);
    client
}

/// Sends frames in one message.
pub(super) fn send(stage: &mut dyn Stage, client: ClientNo, frames: &[Frame<'_>]) {
    let dialect = stage.dialect(client);
    stage.send(client, dialect.kind(), &message(dialect, frames));
}

/// Sends frames, and this comes next.
pub(super) fn ask(stage: &mut dyn Stage, client: ClientNo, frames: &[Frame<'_>], lines: &[&str]) {
    send(stage, client, frames);
    sees(stage, client, lines);
}

/// The next frame.
pub(super) fn frame(stage: &mut dyn Stage, client: ClientNo) -> OwnedFrame {
    match stage.next(client) {
        Got::Frame(frame) => frame,
        Got::End(code) => panic!("client {} has come to an end with {code:?}, in place of a frame", client.0),
    }
}

/// This comes next, in this order.
pub(super) fn sees(stage: &mut dyn Stage, client: ClientNo, lines: &[&str]) {
    for (at, expected) in lines.iter().enumerate() {
        let got = line(&frame(stage, client).get());
        assert!(got == *expected, "client {} sees {got:?} in place {at} of {lines:?}", client.0);
    }
}

/// This comes next, in any order.
pub(super) fn sees_all(stage: &mut dyn Stage, client: ClientNo, lines: &[&str]) {
    let mut got: Vec<String> = lines.iter().map(|_| line(&frame(stage, client).get())).collect();
    let mut expected = lines.to_vec();
    got.sort_unstable();
    expected.sort_unstable();
    assert!(got == expected, "client {} sees {got:?}, it has to be {expected:?}", client.0);
}

/// What was on its way is not there: the answer to a ping comes next.
pub(super) fn sees_nothing(stage: &mut dyn Stage, client: ClientNo) {
    send(stage, client, &[Frame::Ping { timestamp: Some(4711) }]);
    sees(stage, client, &["pong 4711"]);
}

/// The end comes next, after `disconnect` for those who know it.
pub(super) fn ends(stage: &mut dyn Stage, client: ClientNo, code: u16) {
    if stage.dialect(client) != Dialect::Legacy {
        sees(stage, client, &[&format!("disconnect {code}")]);
    }
    let got = stage.next(client);
    assert!(got == Got::End(Some(code)), "client {} sees {got:?}, not the end by {code}", client.0);
}

/// A frame as one line. Publications are their channel and payload, `#` before what is about presence.
pub(super) fn line(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Connected(_) => "connected".into(),
        Frame::Ack(ack) => match ack.recovered {
            None => format!("ack {}", ack.id),
            Some(recovered) => format!("ack {} recovered {recovered}", ack.id),
        },
        Frame::Publish(publish) => {
            let (mut payload, mut line) = (Vec::new(), publish.channel.to_string());
            publish.payload.append_to(&mut payload);
            line.extend([" ", &String::from_utf8_lossy(&payload)]);
            line.extend(publish.event.iter().flat_map(|event| [" event ", event]));
            line.extend(publish.key.iter().flat_map(|key| [" key ", key]));
            line.push_str(match publish.format {
                Format::Raw => "",
                Format::Json => " as json",
                Format::MsgPack => " as msgpack",
            });
            line
        }
        Frame::Error(error) => format!("error {} {}", error.id, error.code),
        Frame::Gap(gap) => format!("gap {}", gap.channel),
        Frame::Disconnect(end) => format!("disconnect {}", end.code),
        Frame::Pong { timestamp } => format!("pong {}", timestamp.unwrap_or(0)),
        Frame::Presence(presence) => presence_line(presence),
        other => panic!("{other:?} is no frame that scenarios provoke"),
    }
}

fn presence_line(presence: &Presence<'_>) -> String {
    let what = match presence.action {
        PresenceAction::Join => "join",
        PresenceAction::Leave => "leave",
        PresenceAction::Update => "update",
        PresenceAction::Sync => "sync",
        PresenceAction::Count => "count",
    };
    let members = presence.members.iter().chain(&presence.changes).flat_map(|list| list.iter());
    let single = presence.client.map(|client| Member {
        action: None,
        client,
        user: presence.user,
        data: presence.data,
    });
    let members: Vec<String> = members.chain(single).map(|member| member_text(&member)).collect();
    let total = presence.clients.unwrap_or_default();
    format!("#{} {what} {} [{}] of {total}", presence.id, presence.channel, members.join(", "))
}

fn member_text(member: &Member<'_>) -> String {
    match member.data {
        None => member.client.to_string(),
        Some(data) => format!("{} {}", member.client, data.as_bytes().escape_ascii()),
    }
}
