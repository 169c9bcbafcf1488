//! The client's side of the protocol, without I/O: what each frame of the server changes and what it is answered.

use std::{collections::VecDeque, mem, ops::ControlFlow};

use pulse_core::Kind;
use pulse_core::wire::{self, CloseCode, ErrorCode, Frame, Split};

use super::{Disconnected, Event, ServerError};
use crate::ws::{self, Opcode};

/// What has come and was not asked for yet.
#[derive(Debug, Default)]
pub(super) struct Session {
    welcome: Option<Welcome>,
    events: VecDeque<Event>,
    /// What `events` take, in bytes.
    backlog: usize,
    /// The request that waits for an answer; ids count from 1.
    waiting: Option<u64>,
    answer: Option<Result<(), ServerError>>,
    /// What the server asked to hear, oldest first.
    replies: Vec<Reply>,
    end: Option<Disconnected>,
}

/// What `connected` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Welcome {
    pub(super) connection_id: String,
    pub(super) heartbeat_ms: u64,
}

/// A WebSocket message or control frame to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) opcode: Opcode,
    pub(super) payload: Vec<u8>,
}

impl Session {
    /// What the server said about the session, once.
    pub(super) fn welcome(&mut self) -> Option<Welcome> {
        self.welcome.take()
    }

    /// The first of the events if that is an error: the answer to `connect`, which has no id.
    pub(super) fn refusal(&mut self) -> Option<ServerError> {
        match self.pop()? {
            Event::Error(error) => Some(error),
            _ => None,
        }
    }

    /// The next event.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.backlog -= event.size();
        Some(event)
    }

    /// Bytes of events that nobody has taken yet.
    pub(super) fn backlog(&self) -> usize {
        self.backlog
    }

    /// From now on only the answer to this request is one.
    pub(super) fn expect(&mut self, id: u64) {
        self.waiting = Some(id);
        self.answer = None;
    }

    /// The answer to the request that waits.
    pub(super) fn answer(&mut self) -> Option<Result<(), ServerError>> {
        self.answer.take()
    }

    /// Hands out what is to be sent.
    pub(super) fn replies(&mut self, send: impl FnMut(Reply)) {
        mem::take(&mut self.replies).into_iter().for_each(send);
    }

    /// How the session has ended. What came before is still to be popped.
    pub(super) fn end(&self) -> Option<&Disconnected> {
        self.end.as_ref()
    }

    /// It has ended; only the first reason holds.
    pub(super) fn finish(&mut self, end: Disconnected) {
        self.end.get_or_insert(end);
    }

    /// Takes in what the transport brought. Nothing is looked at after the end.
    pub(super) fn take(&mut self, event: ws::Event<'_>) -> ControlFlow<()> {
        match event {
            ws::Event::Message(Kind::Binary, frames) => self.frames(frames),
            ws::Event::Message(Kind::Text, _) => {
                self.finish(Disconnected::Protocol(
                    "a text message, where only binary ones are spoken".to_owned(),
                ));
            }
            ws::Event::Ping(payload) => {
                self.replies.push(Reply { opcode: Opcode::Pong, payload: payload.to_vec() });
            }
            ws::Event::Pong(_) => {}
            ws::Event::Close(close) => {
                let (code, reason) = close.unwrap_or((1005, ""));
                self.finish(by_server(code, reason, None));
            }
        }
        if self.end.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn frames(&mut self, mut frames: &[u8]) {
        while !frames.is_empty() && self.end.is_none() {
            let Split::Frame { map, rest } = wire::split(frames, frames.len()) else {
                return self
                    .finish(Disconnected::Protocol("a message that does not end with a frame".to_owned()));
            };
            frames = rest;
            match wire::decode(map) {
                Ok(frame) => self.frame(frame),
                // A newer server may say more than this client knows; what it does not know, it can do without.
                Err(wire::DecodeError::Invalid(invalid)) if invalid.what == wire::What::UnknownType => {}
                Err(error) => self.finish(Disconnected::Protocol(error.to_string())),
            }
        }
    }

    fn frame(&mut self, frame: Frame<'_>) {
        match frame {
            Frame::Connected(it) => {
                self.welcome =
                    Some(Welcome { connection_id: it.connection_id.to_owned(), heartbeat_ms: it.heartbeat });
            }
            Frame::Publish(it) => self.push(Event::Publication(it.into())),
            Frame::Gap(it) => self.push(Event::Gap(it.into())),
            Frame::Unsubscribed(it) => self.push(Event::Unsubscribed(it.into())),
            Frame::Ack(it) => self.settle(it.id, Ok(())),
            Frame::Error(it) => {
                let error = ServerError {
                    code: ErrorCode(it.code),
                    message: it.message.to_owned(),
                    temporary: it.temporary == Some(true),
                };
                self.settle(it.id, Err(error));
            }
            Frame::Ping { timestamp } => {
                let mut payload = Vec::new();
                Frame::Pong { timestamp }.encode(&mut payload);
                self.replies.push(Reply { opcode: Opcode::Binary, payload });
            }
            Frame::Disconnect(it) => self.finish(by_server(it.code, it.reason, it.retry_ms)),
            // Answers to what this client does not ask.
            _ => {}
        }
    }

    fn settle(&mut self, id: u64, answer: Result<(), ServerError>) {
        if self.waiting == Some(id) {
            self.waiting = None;
            self.answer = Some(answer);
        } else if let Err(error) = answer {
            self.push(Event::Error(error));
        }
    }

    fn push(&mut self, event: Event) {
        self.backlog += event.size();
        self.events.push_back(event);
    }
}

fn by_server(code: u16, reason: &str, retry_ms: Option<u64>) -> Disconnected {
    Disconnected::ByServer { code: CloseCode(code), reason: reason.to_owned(), retry_ms }
}

#[cfg(test)]
mod tests {
    use pulse_core::wire::{Ack, Connected, Disconnect, ErrorFrame, Payload, Publish};

    use super::*;

    fn hear(session: &mut Session, frames: &[Frame<'_>]) -> ControlFlow<()> {
        let mut message = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut message));
        session.take(ws::Event::Message(Kind::Binary, &message))
    }

    fn publish(payload: &[u8]) -> Frame<'_> {
        Frame::Publish(Publish { channel: "c", payload: Payload::from(payload), ..Publish::default() })
    }

    fn error(id: u64, code: u16) -> Frame<'static> {
        Frame::Error(ErrorFrame { id, code, message: "no", temporary: None })
    }

    #[test]
    fn only_the_answer_to_the_request_that_waits_is_one() {
        let mut session = Session::default();
        session.expect(2);
        let flow = hear(
            &mut session,
            &[Frame::Ack(Ack { id: 1, ..Ack::default() }), error(1, 1004), error(2, 1002)],
        );
        assert_eq!(flow, ControlFlow::Continue(()));
        let answer = session.answer().expect("request 2 is answered").expect_err("by an error");
        assert_eq!(answer.code, ErrorCode::INVALID_CHANNEL);
        assert_eq!(session.answer(), None);
        assert!(matches!(session.pop(), Some(Event::Error(late)) if late.code == ErrorCode::FORBIDDEN));
        assert_eq!(session.pop(), None);
    }

    #[test]
    fn what_waits_is_counted_until_it_is_taken() {
        let mut session = Session::default();
        let _ = hear(&mut session, &[publish(&[0; 1000]), publish(b"")]);
        assert!(session.backlog() >= 1000, "{}", session.backlog());
        assert!(matches!(session.pop(), Some(Event::Publication(first)) if first.payload.len() == 1000));
        assert!(session.backlog() > 0);
        assert!(session.pop().is_some());
        assert_eq!(session.backlog(), 0);
    }

    #[test]
    fn pings_of_both_kinds_are_answered_with_what_they_hold() {
        let mut session = Session::default();
        let _ = hear(&mut session, &[Frame::Ping { timestamp: Some(7) }]);
        let _ = session.take(ws::Event::Ping(b"alive?"));
        let mut sent = Vec::new();
        session.replies(|reply| sent.push(reply));
        let mut pong = Vec::new();
        Frame::Pong { timestamp: Some(7) }.encode(&mut pong);
        assert_eq!(
            sent,
            [
                Reply { opcode: Opcode::Binary, payload: pong },
                Reply { opcode: Opcode::Pong, payload: b"alive?".to_vec() }
            ]
        );
        session.replies(|reply| panic!("{reply:?} was sent already"));
    }

    #[test]
    fn the_disconnect_frame_is_the_reason_that_holds_and_nothing_after_it_counts() {
        let mut session = Session::default();
        let bye = Frame::Disconnect(Disconnect { code: 4000, reason: "bye", retry_ms: Some(9) });
        assert_eq!(hear(&mut session, &[publish(b"last"), bye, publish(b"late")]), ControlFlow::Break(()));
        let _ = session.take(ws::Event::Close(Some((1000, ""))));
        let end =
            Disconnected::ByServer { code: CloseCode(4000), reason: "bye".to_owned(), retry_ms: Some(9) };
        assert_eq!(session.end(), Some(&end));
        assert!(matches!(session.pop(), Some(Event::Publication(last)) if last.payload == b"last"));
        assert_eq!(session.pop(), None);
    }

    #[test]
    fn a_close_without_a_code_is_one_too() {
        let mut session = Session::default();
        assert_eq!(session.take(ws::Event::Close(None)), ControlFlow::Break(()));
        assert_eq!(session.end(), Some(&by_server(1005, "", None)));
    }

    #[test]
    fn what_is_no_frame_ends_the_session_and_what_is_only_unknown_does_not() {
        let unknown = b"\0\0\0\x0b\x81\xa4type\xa4gift";
        let mut session = Session::default();
        assert_eq!(session.take(ws::Event::Message(Kind::Binary, unknown)), ControlFlow::Continue(()));
        for broken in [&b"\0\0\0\x01\xc1"[..], b"\0\0\0\x05\x81", b"\0\0", b"\0\0\0\x01\x80"] {
            let mut session = Session::default();
            assert_eq!(
                session.take(ws::Event::Message(Kind::Binary, broken)),
                ControlFlow::Break(()),
                "{broken:?}"
            );
            assert!(matches!(session.end(), Some(Disconnected::Protocol(_))), "{broken:?}");
        }
        assert_eq!(session.take(ws::Event::Message(Kind::Text, b"hi")), ControlFlow::Break(()));
    }

    #[test]
    fn the_welcome_says_what_the_session_is_like() {
        let mut session = Session::default();
        let connected =
            Connected { connection_id: "a1", version: 1, heartbeat: 30_000, ..Connected::default() };
        let _ = hear(&mut session, &[Frame::Connected(connected)]);
        let welcome = Welcome { connection_id: "a1".to_owned(), heartbeat_ms: 30_000 };
        assert_eq!(session.welcome(), Some(welcome));
    }
}
