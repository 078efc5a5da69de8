//! Turns: one asker at a time for a site's month, and nobody in the way of another month's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::model::ids::SiteId;
use crate::model::time::Month;

/// Whose turn it is, of each month that somebody has or waits for.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<(SiteId, Month), Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the turn of a month; it ends when what this gives is dropped.
    pub async fn of(&self, site: &SiteId, month: Month) -> OwnedMutexGuard<()> {
        self.named(site, month).lock_owned().await
    }

    fn named(&self, site: &SiteId, month: Month) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (site.clone(), month);
        if let Some(turn) = turns.get(&at).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(at, Arc::downgrade(&turn));
        turn
    }
}
