//! Questions from outside a shard's loop to its engine.

use std::fmt;

use crate::engine::Engine;

type Question = dyn FnOnce(&mut dyn Engine) + Send;

/// A question that carries its own way back; an input like any other.
pub(crate) struct Ask(Box<Question>);

impl Ask {
    pub(crate) fn new(question: impl FnOnce(&mut dyn Engine) + Send + 'static) -> Self {
        Self(Box::new(question))
    }

    pub(super) fn put(self, engine: &mut dyn Engine) {
        (self.0)(engine);
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}
