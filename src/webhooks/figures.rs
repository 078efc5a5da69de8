//! The desk's metrics.

use std::sync::OnceLock;

use crate::observe::Registry;
use crate::observe::metrics::{Counter, Label};

/// How an attempt ends, in the order of the series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The endpoint has the message.
    Delivered,
    /// It will be tried again.
    Again,
    /// It will not be tried again.
    Failed,
}

/// The words of the label.
const WORDS: [&str; 3] = ["delivered", "again", "failed"];

/// What there is to see of the desk.
#[derive(Debug, Default)]
pub struct Figures(OnceLock<Counter>);

impl Figures {
    /// Registers the metrics.
    pub fn register(&self, registry: &Registry) {
        let attempts = registry.counter(
            "blindtally_webhook_attempts",
            "Attempts to deliver a message by what came of them.",
            vec![Label::new("outcome", WORDS)],
        );
        // A second registration changes nothing.
        let _ = self.0.set(attempts);
    }

    /// Counts an attempt.
    pub fn ended(&self, how: Ended) {
        if let Some(attempts) = self.0.get() {
            attempts.up(&[how as usize]);
        }
    }
}
