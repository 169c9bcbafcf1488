//! From the bytes of a connection to its messages and control frames.
//!
//! Frames that came whole are handed out where they lie; what is cut by the end of a read, or fragmented, is gathered
//! in a box that exists only meanwhile. So an idle connection costs the [`Reader`] itself and no buffer.

use core::{
    fmt, mem,
    ops::ControlFlow::{self, Break, Continue},
    str::from_utf8,
};

use pulse_core::Kind;

use super::{
    Opcode, Violation, close,
    header::{Head, MAX_HEAD, Sender},
    mask::{turned, unmask},
    message::Message,
};

/// What a peer sent, in the order in which it was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message; [`Kind::Text`] is UTF-8.
    Message(Kind, &'a [u8]),
    /// Wants a pong with the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// The peer is alive.
    Pong(&'a [u8]),
    /// The peer's last frame: a code that may be sent, and a reason, if it gave any. Nothing follows it.
    Close(Option<(u16, &'a str)>),
}

/// The reading half of one connection.
///
/// After a [`Violation`], an [`Event::Close`] or a `Break` it is over: what it kept is freed and all further bytes are
/// passed over.
pub struct Reader {
    /// Exists only while something is incomplete.
    partial: Option<Box<Partial>>,
    sender: Sender,
    over: bool,
}

/// What has come of frames and messages that are not complete.
#[derive(Default)]
struct Partial {
    /// The message that has begun and is not complete.
    message: Option<Message>,
    cut: Cut,
}

/// The frame through which the last read ended.
#[derive(Default)]
enum Cut {
    /// None: it ended between two frames.
    #[default]
    Nowhere,
    /// In its header: the first bytes of it.
    Header([u8; MAX_HEAD], u8),
    /// In the payload of a data frame: what has come of it is in the message.
    Data { missing: usize, mask: [u8; 4], fin: bool },
    /// In the payload of a control frame.
    Control { opcode: Opcode, missing: usize, mask: [u8; 4], payload: Vec<u8> },
}

/// Whether to go on, or what the peer did wrong.
type Step = Result<ControlFlow<()>, Violation>;

impl Reader {
    /// A reader of the frames of a client, which are masked.
    #[must_use]
    pub fn new() -> Self {
        Self { partial: None, sender: Sender::Client, over: false }
    }

    /// A reader of the frames of a server, which are not masked.
    #[must_use]
    pub fn of_server() -> Self {
        Self { sender: Sender::Server, ..Self::new() }
    }

    /// Takes in all of `bytes`, unmasks them in place, and calls `on` for each event in order. If that returns
    /// `Break`, the rest of the bytes is dropped.
    ///
    /// `max_message` bounds a message and all that is kept of it; one that is announced to be larger, alone or with
    /// the fragments before it, is refused before any of it is kept.
    ///
    /// # Errors
    /// At the first byte that breaks a rule of RFC 6455, or makes a text message something else than UTF-8. The events
    /// before it have been handed out.
    pub fn feed(
        &mut self,
        bytes: &mut [u8],
        max_message: usize,
        mut on: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), Violation> {
        if self.over {
            return Ok(());
        }
        let step = self.run(bytes, max_message, &mut on);
        if !matches!(step, Ok(Continue(()))) {
            self.over = true;
            self.partial = None;
        }
        step.map(drop)
    }

    /// Whether nothing incomplete is kept.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Bytes that are kept of incomplete frames and messages: at most `max_message`, and a header or control frame.
    #[must_use]
    pub fn buffered(&self) -> usize {
        let Some(partial) = &self.partial else { return 0 };
        let cut = match &partial.cut {
            Cut::Nowhere | Cut::Data { .. } => 0,
            Cut::Header(_, len) => usize::from(*len),
            Cut::Control { payload, .. } => payload.len(),
        };
        cut + partial.message.as_ref().map_or(0, Message::len)
    }

    fn run(
        &mut self,
        bytes: &mut [u8],
        max_message: usize,
        on: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Step {
        let mut rest = bytes;
        if self.partial.is_some() && self.resume(&mut rest, max_message, on)?.is_break() {
            return Ok(Break(()));
        }
        while !rest.is_empty() {
            let Some(head) = Head::parse(rest, self.sender)? else {
                self.keep_header(rest);
                break;
            };
            rest = &mut mem::take(&mut rest)[head.size..];
            if self.frame(&head, &mut rest, max_message, on)?.is_break() {
                return Ok(Break(()));
            }
        }
        Ok(Continue(()))
    }

    /// Goes on with the frame through which the last read ended.
    fn resume(
        &mut self,
        rest: &mut &mut [u8],
        max_message: usize,
        on: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Step {
        let Some(partial) = &mut self.partial else { return Ok(Continue(())) };
        match &mut partial.cut {
            Cut::Nowhere => Ok(Continue(())),
            Cut::Header(bytes, len) => {
                let had = usize::from(*len);
                let new = rest.len().min(MAX_HEAD - had);
                bytes[had..had + new].copy_from_slice(&rest[..new]);
                let Some(head) = Head::parse(&bytes[..had + new], self.sender)? else {
                    // A header of the full size is whole, so all that is there has been taken.
                    *len += new as u8;
                    *rest = &mut [];
                    return Ok(Continue(()));
                };
                *rest = &mut mem::take(rest)[head.size - had..];
                partial.cut = Cut::Nowhere;
                self.tidy();
                self.frame(&head, rest, max_message, on)
            }
            Cut::Data { missing, mask, fin } => {
                let part = take(rest, *missing);
                unmask(part, *mask);
                *mask = turned(*mask, part.len());
                *missing -= part.len();
                let (missing, fin) = (*missing, *fin);
                if missing == 0 {
                    partial.cut = Cut::Nowhere;
                }
                self.append(None, part, missing, fin, max_message, on)
            }
            Cut::Control { opcode, missing, mask, payload } => {
                let part = take(rest, *missing);
                unmask(part, *mask);
                *mask = turned(*mask, part.len());
                *missing -= part.len();
                payload.extend_from_slice(part);
                if *missing > 0 {
                    return Ok(Continue(()));
                }
                let (opcode, payload) = (*opcode, mem::take(payload));
                partial.cut = Cut::Nowhere;
                self.tidy();
                control_event(opcode, &payload, on)
            }
        }
    }

    /// Takes in what `rest` holds of the payload of the frame whose header was just read.
    #[inline]
    fn frame(
        &mut self,
        head: &Head,
        rest: &mut &mut [u8],
        max_message: usize,
        on: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Step {
        let kind = self.admit(head, max_message)?;
        // Checked: a control frame is short, a data frame within the message limit.
        let len = head.len as usize;
        let part = take(rest, len);
        unmask(part, head.mask);
        let missing = len - part.len();
        match (head.opcode, kind) {
            (Opcode::Text | Opcode::Binary, Some(kind)) if head.fin && missing == 0 => {
                if kind == Kind::Text && from_utf8(part).is_err() {
                    return Err(Violation::TEXT);
                }
                Ok(on(Event::Message(kind, part)))
            }
            (opcode, _) if opcode.is_control() && missing == 0 => control_event(opcode, part, on),
            (opcode, _) if opcode.is_control() => {
                let mask = turned(head.mask, part.len());
                let mut payload = Vec::with_capacity(len);
                payload.extend_from_slice(part);
                self.partial.get_or_insert_default().cut = Cut::Control { opcode, missing, mask, payload };
                Ok(Continue(()))
            }
            (_, kind) => {
                if missing > 0 {
                    let mask = turned(head.mask, part.len());
                    self.partial.get_or_insert_default().cut = Cut::Data { missing, mask, fin: head.fin };
                }
                self.append(kind, part, missing, head.fin, max_message, on)
            }
        }
    }

    /// Checks a frame against the frames before it: whether it may come now, and whether its message stays within
    /// the limit. `Some` is the kind of the message that it begins.
    #[inline]
    fn admit(&self, head: &Head, max_message: usize) -> Result<Option<Kind>, Violation> {
        let open = self.partial.as_ref().and_then(|partial| partial.message.as_ref());
        let kind = match (head.opcode, open) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(None),
            (Opcode::Continuation, None) => return Err(Violation::NO_START),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::NOT_CONTINUED),
            (Opcode::Continuation, Some(_)) => None,
            (Opcode::Text, None) => Some(Kind::Text),
            (Opcode::Binary, None) => Some(Kind::Binary),
        };
        let room = max_message.saturating_sub(open.map_or(0, Message::len));
        if head.len > room as u64 {
            return Err(Violation::TOO_BIG);
        }
        Ok(kind)
    }

    /// Adds `part` of a data frame to the message, which it begins if `begins` says so, and hands the message out if
    /// that was the last of it.
    fn append(
        &mut self,
        begins: Option<Kind>,
        part: &[u8],
        missing: usize,
        fin: bool,
        max_message: usize,
        on: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Step {
        let partial = self.partial.get_or_insert_default();
        if let Some(kind) = begins {
            partial.message = Some(Message::new(kind));
        }
        let message =
            partial.message.as_mut().expect("a frame that continues was admitted because a message is open");
        let more = if fin { missing } else { max_message.saturating_sub(message.len() + part.len()) };
        message.append(part, more)?;
        if !fin || missing > 0 {
            return Ok(Continue(()));
        }
        let message = partial.message.take().expect("it was just appended to");
        self.tidy();
        Ok(on(Event::Message(message.kind, message.complete()?)))
    }

    fn keep_header(&mut self, bytes: &[u8]) {
        let mut kept = [0; MAX_HEAD];
        kept[..bytes.len()].copy_from_slice(bytes);
        self.partial.get_or_insert_default().cut = Cut::Header(kept, bytes.len() as u8);
    }

    /// Frees the box once nothing in it is incomplete.
    fn tidy(&mut self) {
        if self
            .partial
            .as_ref()
            .is_some_and(|partial| partial.message.is_none() && matches!(partial.cut, Cut::Nowhere))
        {
            self.partial = None;
        }
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("buffered", &self.buffered())
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

fn control_event(opcode: Opcode, payload: &[u8], on: &mut impl FnMut(Event<'_>) -> ControlFlow<()>) -> Step {
    match opcode {
        Opcode::Ping => Ok(on(Event::Ping(payload))),
        Opcode::Pong => Ok(on(Event::Pong(payload))),
        _ => {
            let _ = on(Event::Close(close::parse(payload)?));
            Ok(Break(()))
        }
    }
}

/// Splits off the first `n` bytes, or all if there are fewer.
#[inline]
fn take<'a>(rest: &mut &'a mut [u8], n: usize) -> &'a mut [u8] {
    let n = n.min(rest.len());
    let (part, after) = mem::take(rest).split_at_mut(n);
    *rest = after;
    part
}
