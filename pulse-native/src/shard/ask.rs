//! Questions from outside a shard's loop to its engine.

use std::fmt;

use pulse_core::{Outcome, Refused, Ticket};

use crate::engine::Engine;

type Question = dyn FnOnce(&mut dyn Engine) -> Option<(Ticket, Settle)> + Send;

/// Takes what became of a publication that had to be stored first.
pub(super) type Settle = Box<dyn FnOnce(Result<Outcome, Refused>) + Send>;

/// A question that carries its own way back; an input like any other.
pub(crate) struct Ask(Box<Question>);

impl Ask {
    pub(crate) fn new(question: impl FnOnce(&mut dyn Engine) + Send + 'static) -> Self {
        Self(Box::new(move |engine| {
            question(engine);
            None
        }))
    }

    /// One whose outcome may have to wait for the disk. `tell` is not called if the shard ends before that.
    pub(crate) fn outcome(
        question: impl FnOnce(&mut dyn Engine) -> Result<Outcome, Refused> + Send + 'static,
        tell: impl FnOnce(Result<Outcome, Refused>) + Send + 'static,
    ) -> Self {
        Self(Box::new(move |engine| match question(engine) {
            Ok(Outcome::Storing(ticket)) => Some((ticket, Box::new(tell))),
            outcome => {
                tell(outcome);
                None
            }
        }))
    }

    /// Asks. What has to wait is to be settled when the engine says so under this ticket.
    pub(super) fn put(self, engine: &mut dyn Engine) -> Option<(Ticket, Settle)> {
        (self.0)(engine)
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}
