//! What clients ask and what they are answered: each frame type that a client may send, in each state.

use alloc::string::ToString;

use crate::grant::Rule;
use crate::queue::Meta;
use crate::wire::{
    self, CloseCode, Connect, Connected, DecodeError, ERRORS, ErrorCode, ErrorFrame, Frame, Split,
};
use crate::{Answer, Dialect, Request};

use super::session::State;
use super::{Router, Slot};

/// The protocol version that this crate speaks.
const VERSION: u64 = 1;

/// Whether the connection takes the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    /// This frame waits for a decision, and all behind it.
    Wait,
    /// The connection is closing.
    End,
}

impl Router {
    /// Takes the frames of one transport message.
    pub(super) fn frames(&mut self, slot: Slot, message: &[u8]) {
        if self.conns[slot as usize].waiting.is_some() {
            return self.wait(slot, message);
        }
        if message.is_empty() {
            return self.end(slot, CloseCode::MALFORMED, None);
        }
        let mut bytes = message;
        while !bytes.is_empty() {
            // A frame is part of its message, so only the message's own length limits it.
            let Split::Frame { map, rest } = wire::split(bytes, bytes.len()) else {
                return self.end(slot, CloseCode::MALFORMED, None);
            };
            self.stats.frames_in += 1;
            self.stats.bytes_in += (bytes.len() - rest.len()) as u64;
            match self.frame(slot, map, None) {
                Flow::On => bytes = rest,
                Flow::Wait => return self.wait(slot, bytes),
                Flow::End => return,
            }
        }
    }

    /// Takes the lines of one text message, each as the frame that it says.
    pub(super) fn lines(&mut self, slot: Slot, message: &[u8]) {
        let (mut map, mut frame) = core::mem::take(&mut self.scratch);
        let mut any = false;
        for line in wire::json::lines(message) {
            any = true;
            if wire::json::to_map(line, &mut map).is_err() {
                self.end(slot, CloseCode::MALFORMED, None);
                break;
            }
            frame.clear();
            let len = u32::try_from(map.len()).expect("a line is bounded by its message, a map by its line");
            frame.extend_from_slice(&len.to_be_bytes());
            frame.extend_from_slice(&map);
            self.frames(slot, &frame);
            if matches!(self.conns[slot as usize].state, State::Closing { .. }) {
                break;
            }
        }
        if !any {
            self.end(slot, CloseCode::MALFORMED, None);
        }
        self.scratch = (map, frame);
    }

    /// Takes one frame; `answer` is there when the host has decided about it.
    pub(super) fn frame(&mut self, slot: Slot, map: &[u8], answer: Option<&Answer>) -> Flow {
        // Looked at where it was decoded to: it is 200 bytes, more than all else that this function touches.
        let decoded = wire::decode(map);
        let frame = match &decoded {
            Ok(frame) => frame,
            Err(DecodeError::Malformed(_)) => {
                self.end(slot, CloseCode::MALFORMED, None);
                return Flow::End;
            }
            Err(DecodeError::Invalid(invalid)) => {
                if self.conns[slot as usize].state == State::Greeting {
                    self.end(slot, CloseCode::CONNECT_EXPECTED, None);
                    return Flow::End;
                }
                self.refuse(slot, invalid.id, ErrorCode::INVALID_FRAME, &invalid.what.to_string());
                return Flow::On;
            }
        };
        match (self.conns[slot as usize].state, frame) {
            (State::Free | State::Closing { .. }, _) => Flow::End,
            (_, Frame::Connect(connect)) => self.connect(slot, connect, answer),
            (State::Greeting, _) => {
                self.end(slot, CloseCode::CONNECT_EXPECTED, None);
                Flow::End
            }
            (State::Open, frame) => self.request(slot, frame, answer),
        }
    }

    fn connect(&mut self, slot: Slot, connect: &Connect<'_>, answer: Option<&Answer>) -> Flow {
        if connect.version != VERSION {
            self.refuse(slot, 0, ErrorCode::PROTOCOL_MISMATCH, "this server speaks protocol version 1");
            self.end(slot, CloseCode::VERSION, None);
            return Flow::End;
        }
        let conn = &self.conns[slot as usize];
        if conn.state == State::Open && conn.link.dialect != Dialect::Legacy {
            self.refuse(slot, 0, ErrorCode::INVALID_FRAME, "connect was sent already; it comes once");
            return Flow::On;
        }
        match judge(self.config.connect, answer) {
            Some(true) => {}
            Some(false) => {
                self.end(slot, CloseCode::UNAUTHORIZED, None);
                return Flow::End;
            }
            None => return self.ask(slot, Request::Connect { token: connect.token.map(Into::into) }),
        }
        if let Some(Answer::AllowAs(user)) = answer {
            self.users.insert(slot, user.clone());
        }
        self.greet(slot);
        Flow::On
    }

    /// Opens the session and says so.
    pub(super) fn greet(&mut self, slot: Slot) {
        self.conns[slot as usize].state = State::Open;
        self.deadlines.set_first_heartbeat(slot);
        let name = self.name(self.id(slot));
        let connected = Connected {
            connection_id: core::str::from_utf8(&name).expect("a name is hexadecimal digits"),
            version: VERSION,
            heartbeat: u64::from(self.config.heartbeat.interval_ms),
            user: self.users.get(&slot).map(|user| &**user),
            ..Connected::default()
        };
        let encoding = self.conns[slot as usize].link.dialect.encoding();
        let message =
            self.fanout.message(Meta::CONTROL, |out| encoding.encode(&Frame::Connected(connected), out));
        self.fanout.push(slot, message);
    }

    fn request(&mut self, slot: Slot, frame: &Frame<'_>, answer: Option<&Answer>) -> Flow {
        match frame {
            Frame::Publish(publish) => return self.publish(slot, publish, answer),
            Frame::Subscribe(subscribe) => return self.subscribe(slot, subscribe, answer),
            Frame::Unsubscribe(unsubscribe) => self.unsubscribe(slot, *unsubscribe),
            Frame::Ping { timestamp } => self.tell(slot, &Frame::Pong { timestamp: *timestamp }),
            // Any frame is a sign of life, and this one is no more than that.
            Frame::Pong { .. } => {}
            Frame::History(history) => return self.history(slot, history, answer),
            Frame::Presence(presence) => return self.presence(slot, presence, answer),
            Frame::Refresh(refresh) => self.unavailable(slot, refresh.id, "refresh of tokens"),
            _ => self.refuse_foreign(slot),
        }
        Flow::On
    }

    // ---- answers

    /// Queues one frame for one connection.
    pub(super) fn tell(&mut self, slot: Slot, frame: &Frame<'_>) {
        let encoding = self.conns[slot as usize].link.dialect.encoding();
        let message = self.fanout.message(Meta::CONTROL, |out| encoding.encode(frame, out));
        self.fanout.push(slot, message);
    }

    pub(super) fn refuse(&mut self, slot: Slot, id: u64, code: ErrorCode, message: &str) {
        let at = ERRORS.iter().position(|row| row.code == code.0).expect("only codes of the table are sent");
        self.stats.errors[at] += 1;
        let temporary = ERRORS[at].temporary.then_some(true);
        self.tell(slot, &Frame::Error(ErrorFrame { id, code: code.0, message, temporary }));
    }

    pub(super) fn refuse_name(&mut self, slot: Slot, id: u64) {
        let message = ErrorCode::INVALID_CHANNEL.row().expect("the code is in the table").text;
        self.refuse(slot, id, ErrorCode::INVALID_CHANNEL, message);
    }

    pub(super) fn refuse_not_subscribed(&mut self, slot: Slot, id: u64) {
        self.refuse(slot, id, ErrorCode::NOT_SUBSCRIBED, "this connection is not subscribed to it");
    }

    /// The home of the channel is lost.
    pub(super) fn refuse_lost(&mut self, slot: Slot, id: u64) {
        self.refuse(slot, id, ErrorCode::SERVER_ERROR, ErrorCode::SERVER_ERROR.text());
    }

    /// A frame that only servers send.
    pub(super) fn refuse_foreign(&mut self, slot: Slot) {
        self.refuse(slot, 0, ErrorCode::INVALID_FRAME, "only servers send frames of this type");
    }

    pub(super) fn unavailable(&mut self, slot: Slot, id: u64, what: &str) {
        self.refuse(slot, id, ErrorCode::NOT_AVAILABLE, &alloc::format!("this server does not offer {what}"));
    }
}

/// Whether a rule allows it; `None` when the host has to be asked.
pub(super) fn judge(rule: Rule, answer: Option<&Answer>) -> Option<bool> {
    match rule {
        Rule::Anyone => Some(true),
        Rule::Nobody => Some(false),
        Rule::Ask => answer.map(|answer| *answer != Answer::Deny),
    }
}
