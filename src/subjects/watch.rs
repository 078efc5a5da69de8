//! When what waits is tried again: now and then, at once when something has ended that it waits
//! for, and where other keys were just being destroyed soon, and then less and less often.

use std::time::Duration;

use super::{SubjectError, Subjects};

/// The pause between two tries of what waits.
const EVERY: Duration = Duration::from_secs(600);
/// How soon that is where keys were just being destroyed.
const SOON: Duration = Duration::from_secs(5);

impl Subjects {
    /// Tries what waits, now and then, as long as it is polled.
    pub async fn watch(self) {
        let mut soon = SOON;
        loop {
            let passed = self.pass().await;
            let is_busy = matches!(passed, Err(SubjectError::Busy));
            let wait = if is_busy { soon } else { EVERY };
            soon = if is_busy { (2 * soon).min(EVERY) } else { SOON };
            match passed {
                Ok(()) | Err(SubjectError::Stopped) => {}
                // Not yet.
                Err(SubjectError::Busy) if wait < EVERY => {}
                Err(error) => {
                    tracing::error!(%error, "not all erasures could be brought to an end");
                }
            }
            let _ = tokio::time::timeout(wait, self.0.nudged.notified()).await;
        }
    }
}
