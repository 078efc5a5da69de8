//! What the desk is asked beside batches: to count what was none, and to give a receipt again.

use std::sync::PoisonError;

use super::senders::Senders;
use super::{Ingest, KeyName, Posted};
use crate::model::batch::Batch;
use crate::model::caller::Caller;

impl Ingest {
    /// Counts a request that could not be read as a whole; durable when this returns.
    ///
    /// # Errors
    /// What to answer instead: it is not counted.
    pub async fn unreadable(&self, caller: &Caller) -> Result<(), Posted> {
        let arrival = Senders::unreadable(self.shared.credentials.of(caller));
        let batch = Batch { arrival, ..Batch::default() };
        self.engine.commit(batch, Vec::new(), None).await.map(|_| ()).map_err(Posted::from)
    }

    /// The receipt of the batch that was sent with an `Idempotency-Key`, as long as it is kept.
    pub fn receipt(&self, caller: &Caller, key: &str) -> Posted {
        let name = KeyName::new(caller, key);
        let running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains(&name) {
            return Posted::IdempotencyRunning;
        }
        drop(running);
        match self.engine.kept_answer(&name.scope, &name.key) {
            Ok(Some((_, body))) => Posted::Receipt { status: 200, body, replayed: true },
            Ok(None) => Posted::NoReceipt,
            Err(error) => error.into(),
        }
    }
}
