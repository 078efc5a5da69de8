//! What the ledger tells of the time since a backup: read once, at the start on data that was put
//! back. The whole ledger is read, because an entry may be older than the backup and what it speaks
//! of younger; doing it twice does no harm.

use crate::engine::restore::{LedgerErasure, LedgerPeriod, Named, NamedKind, Replay};
use crate::ledger::{Bucket, Epoch, Event, Ledger, LedgerError, Recorded, Word};
use crate::model::batch;
use crate::model::ids::HoldNo;
use crate::model::vocab::Class;

/// Outcomes of an erasure that did nothing of its own.
const CUT: Word = Word::of("cut");
const REPEATED: Word = Word::of("repeated");

/// Entries that are read at once.
const READ_ENTRIES: u64 = 1_000;

/// The entries that matter, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// For the engine.
    pub replay: Replay,
    /// Entries about holds, the policy and the clock, for the retention desk.
    pub desk: Vec<Recorded>,
    /// Entries about webhooks, for their desk.
    pub hooks: Vec<Recorded>,
}

impl History {
    /// Reads the ledger.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(ledger: &Ledger) -> Result<Self, LedgerError> {
        let mut history = Self::default();
        let (mut from, size) = (0, ledger.head()?.size);
        while from < size {
            let lines = ledger.read(from, READ_ENTRIES)?;
            for (line, entry) in lines.iter().zip(from..) {
                let read = Recorded::decode(line.as_bytes());
                history.take(read.map_err(|_| LedgerError::Changed { entry })?);
            }
            from += lines.len().max(1) as u64;
        }
        Ok(history)
    }

    fn take(&mut self, entry: Recorded) {
        self.replay.last = self.replay.last.max(entry.time);
        match &entry.event {
            Event::DestructionIntent { buckets, .. } => {
                self.replay
                    .destroyed
                    .extend(buckets.iter().flat_map(|all| named(all, all.class.as_str())));
                let copies = buckets.iter().filter_map(|all| {
                    all.class.as_str().strip_prefix("hold.").map(|word| named(all, word))
                });
                self.replay.copies_destroyed.extend(copies.flatten());
                self.desk.push(entry);
            }
            Event::SiteTerminated { site, terminated_at, .. } => {
                self.replay.terminated.push((site.clone(), *terminated_at));
            }
            Event::SiteRetention { site, records_days } => {
                self.replay.periods.push(LedgerPeriod {
                    number: entry.number,
                    site: site.clone(),
                    records_days: *records_days,
                    at: entry.time,
                });
            }
            // What was asked of it was not asked of a site of the same id that came later.
            Event::SiteRemoved { site } => {
                self.replay.erasures.retain(|of| of.site != *site);
                self.replay.periods.retain(|of| of.site != *site);
            }
            Event::ErasureIntent { site, months, suppressed, .. } => {
                self.replay.erasures.push(LedgerErasure {
                    number: entry.number,
                    site: site.clone(),
                    months: months.clone(),
                    suppressed: *suppressed,
                    ended: false,
                    keys: 0,
                });
            }
            Event::ErasureResult { outcome, keys, .. } => {
                let own = |of: &&mut LedgerErasure| of.number == entry.operation;
                if let Some(of) = self.replay.erasures.iter_mut().find(own) {
                    (of.ended, of.keys) = (true, keys.count());
                    // Nobody was hidden, or somebody asked for all of it again.
                    let is_void = [CUT, REPEATED].contains(outcome);
                    of.suppressed &= !is_void;
                    of.keys |= u64::from(is_void);
                }
            }
            Event::TokenRevoked { token } => self.replay.revoked.push(token.to_string()),
            Event::HoldReleased { hold, .. } => {
                self.replay.released.insert(HoldNo(*hold));
                self.desk.push(entry);
            }
            Event::HoldOpened { .. }
            | Event::HoldReviewed { .. }
            | Event::PolicyAdopted { .. }
            | Event::PolicyLoaded { .. }
            | Event::HoldReleaseRequested { .. }
            | Event::ClockConfirmed { .. } => self.desk.push(entry),
            Event::WebhookMade { .. }
            | Event::WebhookSecretReplaced { .. }
            | Event::WebhookRemoved { .. } => self.hooks.push(entry),
            _ => {}
        }
    }
}

/// The lots of a group of the ledger. A class that is not known here names none: where the data
/// needs a key that is gone, and nothing known explains it, the start is refused.
fn named(bucket: &Bucket, class: &str) -> Vec<Named> {
    let kind = match class {
        "sets" => NamedKind::Sets,
        "key.record" => NamedKind::RecordKey,
        "key.watermark" => NamedKind::WatermarkKey,
        "key.base" => NamedKind::BaseKey,
        "key.suppression" => NamedKind::Suppression,
        "seen" => NamedKind::Seen,
        "access" => NamedKind::Access,
        word => match Class::from_name(word.as_bytes()) {
            Some(class) => NamedKind::Records(class),
            None => return Vec::new(),
        },
    };
    let epoch = match bucket.epoch {
        Epoch::Month(month) => batch::Epoch::Month(month),
        Epoch::Day(day) => batch::Epoch::Day(day),
    };
    bucket.sites.iter().map(|site| Named { site: site.clone(), kind, epoch }).collect()
}
