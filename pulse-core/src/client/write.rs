//! What a client has to say, put together to messages: the greeting, answers, and its application's commands in the
//! order in which they were given.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::limits::WRITE_BYTES;
use crate::wire::{Connect, Frame, MAX_SAFE, Unsubscribe};

use super::deadline::Deadline;
use super::subscription::State as Sub;
use super::{Client, ClientConfig, Ping, RequestId, State, SubId, Token, receive};

/// One thing to be written.
#[derive(Debug)]
pub(super) enum Op {
    /// Stale if the subscription is gone or not due any more.
    Subscribe(SubId),
    Unsubscribe(Box<str>),
    /// A request about presence or history, by id. Stale if it is answered or not due any more.
    Ask(RequestId),
    /// So many publications of the outbox.
    Publish(usize),
}

impl Client {
    /// The next transport message, a binary one of one frame or more; `None` when nothing is to be written. At most
    /// 64 KiB, or one frame. Once handed out it counts as sent. May have news after every input.
    #[must_use]
    pub fn poll_write(&mut self) -> Option<&[u8]> {
        self.out.clear();
        if self.out.capacity() > 2 * WRITE_BYTES {
            self.out = Vec::new();
        }
        let open = match &mut self.state {
            State::Greeting { greeted, .. } => {
                if !core::mem::replace(greeted, true) {
                    let ClientConfig { token, name, .. } = &self.config;
                    let (token, name) = (token.as_ref().map(Token::expose), name.as_deref());
                    Connect { version: receive::VERSION, token, name, features: None }.encode(&mut self.out);
                }
                false
            }
            State::Open { .. } => true,
            _ => return None,
        };
        if let Some(timestamp) = self.pong.take() {
            Frame::Pong { timestamp }.encode(&mut self.out);
        }
        if core::mem::take(&mut self.ask) {
            Frame::Ping { timestamp: None }.encode(&mut self.out);
        }
        if let Ping::Due = self.ping {
            let timestamp = self.now.unix_ms.min(MAX_SAFE);
            self.ping = Ping::Sent { timestamp, at: self.now.mono };
            Frame::Ping { timestamp: Some(timestamp) }.encode(&mut self.out);
        }
        while self.write_next(open) {}
        (!self.out.is_empty()).then_some(&*self.out)
    }

    /// Appends one frame to the message; `false` when there is none or it does not fit.
    fn write_next(&mut self, open: bool) -> bool {
        let start = self.out.len();
        let answer = Deadline::after_ms(self.now.mono, u64::from(self.config.request_ms));
        match self.ops.front_mut() {
            None => return false,
            Some(Op::Subscribe(id)) => {
                let Some(sub) = self.subs.get_mut(id.get()).filter(|sub| matches!(sub.state, Sub::Due))
                else {
                    self.ops.pop_front();
                    return true;
                };
                sub.request().encode(&mut self.out);
                if !fits(&mut self.out, start) {
                    return false;
                }
                (sub.state, sub.asked) = (Sub::Asked(answer), true);
                self.subs.wake_at(answer.at());
                self.ops.pop_front();
            }
            Some(Op::Unsubscribe(channel)) => {
                self.last_id += 1;
                Unsubscribe { id: self.last_id, channel }.encode(&mut self.out);
                if !fits(&mut self.out, start) {
                    return false;
                }
                self.ops.pop_front();
            }
            // What asks waits for the session, as publications do.
            Some(Op::Ask(_)) if !open => return false,
            Some(Op::Ask(id)) => {
                let id = *id;
                let Some(frame) = self.requests.frame(&self.subs, id) else {
                    self.ops.pop_front();
                    return true;
                };
                frame.encode(&mut self.out);
                if !fits(&mut self.out, start) {
                    return false;
                }
                self.requests.mark_sent(id, answer);
                self.ops.pop_front();
            }
            // Publications wait for the session: what is sent to a server that refuses it has an unknown fate.
            Some(Op::Publish(_)) if !open => return false,
            Some(Op::Publish(count)) => {
                let frame = self.outbox.next_frame().expect("as many are unsent as are to be written");
                if start > 0 && start + frame.len() > WRITE_BYTES {
                    return false;
                }
                self.out.extend_from_slice(frame);
                self.outbox.mark_sent(answer);
                *count -= 1;
                if *count == 0 {
                    self.ops.pop_front();
                }
            }
        }
        true
    }
}

/// Takes the frame that begins at `start` back if the message is too long with it and does not consist of it.
fn fits(out: &mut Vec<u8>, start: usize) -> bool {
    let fits = start == 0 || out.len() <= WRITE_BYTES;
    if !fits {
        out.truncate(start);
    }
    fits
}
