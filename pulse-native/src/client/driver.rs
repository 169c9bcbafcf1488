//! The task behind a client: it moves bytes between the state machine and the server, dials when it is told to, and ends
//! when the client is closed.

use std::{future::Future, ops::ControlFlow, pin::Pin, sync::Arc};

use pulse_core::client::{ClientEffect, Status as CoreStatus};
use pulse_core::wire::CloseCode;
use tokio::time::{Instant, sleep_until};

use super::{
    ConnectError, Disconnected,
    endpoint::Endpoint,
    hub::{Phase, Shared},
    socket::Socket,
    stream::{Stream, Trust},
    upgrade,
};
use crate::ws;

/// The code that a client leaves with that was closed by its application (RFC 6455 7.4.1).
const NORMAL: u16 = 1000;

pub(super) struct Driver {
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    trust: Option<Trust>,
    max_message: usize,
    transport: Transport,
}

enum Transport {
    None,
    Dialing(Dial),
    Open(Socket),
}

type Dial = Pin<Box<dyn Future<Output = Result<(Stream, Vec<u8>), ConnectError>> + Send>>;

/// What a transport has to say.
enum Progress {
    Dialed(Result<(Stream, Vec<u8>), ConnectError>),
    Moved(Result<(), Disconnected>),
}

/// What to wait for.
struct Next {
    timeout: Option<Instant>,
    read: bool,
    over: bool,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        endpoint: Endpoint,
        trust: Option<Trust>,
        max_message: usize,
    ) -> Self {
        Self { shared, endpoint: Arc::new(endpoint), trust, max_message, transport: Transport::None }
    }

    pub(super) async fn run(mut self) {
        loop {
            let (next, left) = self.turn();
            if next.over {
                if let Some(socket) = left {
                    socket.leave(NORMAL).await;
                }
                self.shared.lock().finished();
                return;
            }
            if let Some(socket) = left {
                tokio::spawn(socket.leave(NORMAL));
            }
            let mut pongs = Vec::new();
            let mut close = None;
            let shared = &*self.shared;
            let on = |event: ws::Event<'_>| hear(shared, event, &mut pongs, &mut close);
            let progress = tokio::select! {
                () = shared.work.notified() => None,
                () = until(next.timeout) => None,
                progress = self.transport.progress(next.read, on) => Some(progress),
            };
            match progress {
                None => {}
                Some(Progress::Dialed(dialed)) => self.dialed(dialed),
                Some(Progress::Moved(moved)) => self.moved(moved, pongs, close),
            }
        }
    }

    /// Does what is due and has everything said that can be said; returns a socket to take leave of.
    fn turn(&mut self) -> (Next, Option<Socket>) {
        let mut left = None;
        let mut hub = self.shared.lock();
        // While nothing is read, nobody can say that the server is silent.
        if !hub.is_paused() {
            let now = hub.clock.now();
            hub.core.advance(now);
        }
        loop {
            if let Transport::Open(socket) = &mut self.transport {
                while !socket.is_full()
                    && let Some(message) = hub.core.poll_write()
                {
                    socket.send(message);
                }
            }
            while let Some(effect) = hub.core.poll_effect() {
                match effect {
                    ClientEffect::Dial => {
                        let dial = upgrade::connect(Arc::clone(&self.endpoint), self.trust.clone());
                        self.transport = Transport::Dialing(Box::pin(dial));
                    }
                    ClientEffect::HangUp => {
                        if let Transport::Open(socket) =
                            std::mem::replace(&mut self.transport, Transport::None)
                        {
                            left = Some(socket);
                        }
                    }
                    _ => {}
                }
            }
            if !hub.dispatch(&self.shared.room) {
                break;
            }
        }
        let over = hub.core.status() == CoreStatus::Closed;
        if over {
            // Whoever waits for room will find the client closed.
            self.shared.room.notify_waiters();
        }
        let read = !hub.is_paused();
        let timeout = hub.core.poll_timeout().filter(|_| read).map(|at| hub.clock.instant(at).into());
        (Next { timeout, read, over }, left)
    }

    fn dialed(&mut self, dialed: Result<(Stream, Vec<u8>), ConnectError>) {
        self.transport = Transport::None;
        let mut hub = self.shared.lock();
        match dialed {
            Err(error) => {
                hub.failed = Some(error);
                hub.core.closed(None);
            }
            Ok((stream, mut rest)) => {
                hub.phase = Phase::Greeting;
                hub.core.opened();
                drop(hub);
                let mut socket = Socket::new(stream, self.max_message);
                let (mut pongs, mut close) = (Vec::new(), None);
                let fed = socket.feed(&mut rest, |event| hear(&self.shared, event, &mut pongs, &mut close));
                self.transport = Transport::Open(socket);
                self.moved(fed, pongs, close);
            }
        }
    }

    /// Bytes have moved: answers what the transport asks, and finds out whether it has ended.
    fn moved(&mut self, moved: Result<(), Disconnected>, pongs: Vec<Vec<u8>>, close: Option<Close>) {
        let Transport::Open(socket) = &mut self.transport else { return };
        pongs.iter().for_each(|payload| socket.pong(payload));
        let (code, lost) = match (close, moved) {
            (Some(Close { code, reason }), _) => (Some(code), Disconnected::ByServer { code, reason }),
            (None, Err(lost)) => (None, lost),
            (None, Ok(())) => return,
        };
        let mut hub = self.shared.lock();
        hub.lost = Some(lost);
        hub.core.closed(code);
        drop(hub);
        if let Transport::Open(socket) = std::mem::replace(&mut self.transport, Transport::None) {
            // Answers a close frame; 1005 only stands for none (RFC 6455 7.1.5). A lost connection fails at once.
            let code = code.map_or(NORMAL, |code| code.0);
            tokio::spawn(socket.leave(if code == 1005 { NORMAL } else { code }));
        }
    }
}

/// A close frame of the server.
struct Close {
    code: CloseCode,
    reason: String,
}

/// Takes in what the server said.
fn hear(
    shared: &Shared,
    event: ws::Event<'_>,
    pongs: &mut Vec<Vec<u8>>,
    close: &mut Option<Close>,
) -> ControlFlow<()> {
    match event {
        ws::Event::Message(kind, message) => {
            let mut hub = shared.lock();
            let now = hub.clock.now();
            hub.core.advance(now);
            hub.core.receive(kind, message);
            if hub.core.is_full() {
                hub.dispatch(&shared.room);
            }
        }
        ws::Event::Ping(payload) => pongs.push(payload.to_vec()),
        ws::Event::Pong(_) => {}
        ws::Event::Close(given) => {
            let (code, reason) = given.unwrap_or((1005, ""));
            *close = Some(Close { code: CloseCode(code), reason: reason.to_owned() });
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}

impl Transport {
    async fn progress(&mut self, read: bool, on: impl FnMut(ws::Event<'_>) -> ControlFlow<()>) -> Progress {
        match self {
            Self::None => std::future::pending().await,
            Self::Dialing(dial) => Progress::Dialed(dial.await),
            Self::Open(socket) => Progress::Moved(socket.exchange(read, on).await),
        }
    }
}

async fn until(timeout: Option<Instant>) {
    match timeout {
        Some(timeout) => sleep_until(timeout).await,
        None => std::future::pending().await,
    }
}
