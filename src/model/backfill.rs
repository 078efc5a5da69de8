//! A backfill: records of a site that come late and all at once, kept aside until they are counted
//! as a whole or not at all.

use std::collections::BTreeMap;

use super::batch::Verdict;
use super::ids::{KeyId, SiteNo};
use super::time::{Day, Month, Timestamp};
use super::vocab::vocabulary;

/// How far back the records of a backfill may lie, milliseconds (180 days): as far as the accepted
/// age may be set. What is older has lost its months' keys.
pub const BACK_MS_MAX: i64 = 180 * 86_400_000;
/// Backfills that may be open at once.
pub const OPEN_MAX: usize = 100;
/// Requests that may load a backfill. Its close takes them one by one.
pub const LOADS_MAX: u32 = 10_000;
/// How often the server begins a close again by itself. What ends the server each time it is tried
/// would end it again at each start.
pub const ATTEMPTS_MAX: u32 = 5;
/// How long a close that was begun may go on behind the time that its backfill may be open,
/// milliseconds (7 days).
pub const CLOSING_MS_MAX: i64 = 7 * 86_400_000;
/// How long the figures of a backfill that has ended are kept, milliseconds (400 days, as long as
/// what arrived).
pub const FIGURES_MS: i64 = 400 * 86_400_000;
/// Longest reason, bytes: it goes into the ledger as a note.
pub const REASON_BYTES_MAX: usize = 200;

vocabulary! {
    /// How far a backfill is.
    pub enum Stage {
        /// It takes records.
        Loading = 1, "loading";
        /// It takes none any more and is being counted.
        Closing = 2, "closing";
        /// Its records are counted.
        Closed = 3, "closed";
        /// Its records are not counted and never will be.
        Abandoned = 4, "abandoned";
    }
}

vocabulary! {
    /// Why a backfill was abandoned.
    pub enum Why {
        /// An operator said so.
        Operator = 1, "operator";
        /// It was open for too long.
        Expired = 2, "expired";
        /// Its site's collection has ended.
        SiteTerminated = 3, "site_terminated";
        /// The data was put back from a backup that is older than the backfill's end.
        Restored = 4, "restored";
        /// Records of it became due while it was open.
        Due = 5, "due";
    }
}

/// What became of the records of a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Records that were counted, corrections and what was not kept included.
    pub accepted: u64,
    /// Records that were known.
    pub duplicates: u64,
    /// Of the accepted: those for a closed month.
    pub corrected: u64,
    /// Of the accepted: those that were not kept.
    pub not_retained: u64,
    /// Records whose month had lost its keys meanwhile.
    pub too_old: u64,
}

impl Outcomes {
    /// Counts a judged record.
    pub fn judge(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Duplicate => self.duplicates += 1,
            Verdict::TooOld => self.too_old += 1,
            taken => {
                self.accepted += 1;
                self.corrected += u64::from(taken.is_correction());
                let lost = matches!(taken, Verdict::NotRetained | Verdict::CorrectionNotRetained);
                self.not_retained += u64::from(lost);
            }
        }
    }

    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.corrected += other.corrected;
        self.not_retained += other.not_retained;
        self.too_old += other.too_old;
    }
}

/// A backfill as it stands. It holds nothing of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The number of the ledger's entry that says that it was made.
    pub number: u64,
    /// Its site.
    pub site: SiteNo,
    /// The producer name whose credentials may load it; `None` = every producer of the site.
    pub producer: Option<Box<str>>,
    /// The first instant of its records.
    pub from: Timestamp,
    /// The instant behind its records.
    pub to: Timestamp,
    /// Why it is made, in an operator's words.
    pub reason: Box<str>,
    /// The key id of the credential that made it.
    pub made_by: Box<str>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it is abandoned by itself.
    pub open_until: Timestamp,
    /// How far it is.
    pub stage: Stage,
    /// Why it was abandoned.
    pub why: Option<Why>,
    /// The ledger's number of the intent that ends it; zero until then.
    pub operation: u64,
    /// Whether the ledger has what came of that; of one that is being closed, the alarm that it
    /// cannot be.
    pub told: bool,
    /// How often its close was begun and was neither done nor put off.
    pub attempts: u32,
    /// Of one that is closed: the first day whose duplicates were known whether their records were
    /// kept or not.
    pub exact_from: Option<Day>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The key of its records; none once it is destroyed.
    pub key: Option<KeyId>,
    /// The key that tells its records apart, sealed under the key of its records.
    pub mark: Vec<u8>,
    /// Requests that were taken: its rows have the numbers below.
    pub loads: u32,
    /// Sealed bytes of its rows.
    pub bytes: u64,
    /// Records that were refused in those requests.
    pub rejected: u64,
    /// Records by month that wait to be counted, or waited.
    pub staged: BTreeMap<Month, u64>,
    /// What became of them, once they are counted.
    pub outcomes: BTreeMap<Month, Outcomes>,
}

impl Job {
    /// Records that wait to be counted, or waited.
    pub fn records(&self) -> u64 {
        self.staged.values().sum()
    }

    /// Whether it is neither closed nor abandoned.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Loading | Stage::Closing)
    }

    /// What became of all its records.
    pub fn total(&self) -> Outcomes {
        let mut total = Outcomes::default();
        self.outcomes.values().for_each(|month| total.add(month));
        total
    }
}
