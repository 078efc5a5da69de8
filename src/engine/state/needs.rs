//! What judging needs that the state does not hold: keys, what of them is destroyed, how old a
//! record may be.

use std::sync::Arc;

use crate::crypto::SealKey;
use crate::engine::gone::Takes;
use crate::model::batch::{Epoch, SiteMonth};
use crate::model::time::Day;
use crate::model::vocab::Class;

/// The keys that new months and slots are sealed under, and what of them is destroyed.
pub trait SetKeys {
    /// What a month takes from a group on.
    fn takes(&self, at: SiteMonth, group: u64) -> Takes;
    /// Buckets for rows of a month and of these days that are due by now.
    fn past_due(&self, at: SiteMonth, days: &[Day]) -> Vec<(Epoch, Class)>;
    /// The key of a site-month's sets; the month's keys exist, since a batch was made with them.
    fn month(&self, at: SiteMonth) -> Option<Arc<SealKey>>;
    /// The key of a day's seen slot.
    fn day(&self, day: Day) -> Option<Arc<SealKey>>;
}

/// How old and how new a record may be, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The accepted age.
    pub age_ms: i64,
}
