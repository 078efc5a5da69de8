//! Reviews of holds. A hold keeps data beyond its time, so it has a date by which somebody must
//! look at it again: within twelve months at most. Past that date it stays in force, and a run says
//! so each week, until a review gives it the next date or two people release it.
//!
//! The ledger is told first, then the row changes. What a cut kept from the row is taken over from
//! the ledger by the first run after a start, so that the two agree.

use super::due::add_months;
use super::{Desk, DeskError, Inner, credential, replay};
use crate::ledger::{Actor, Credential, Entry, Event, LedgerError, Recorded};
use crate::model::caller::Caller;
use crate::model::ids::SiteId;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::wire::fault::{Flaw, Pointer};
use crate::wire::retention::rows::{Asked, HoldRow, Reviewed};
use crate::wire::retention::{ReviewRequest, view};

/// The longest time to the next review of a hold, months of the calendar (privacy.md §1.2, row 18).
/// Holds of earlier builds, which knew no such bound, count as they are.
pub(super) const REVIEW_MONTHS_MAX: u32 = 12;

/// Whether a review may be at that time.
///
/// # Errors
/// When it is not ahead, or too far.
pub(super) fn in_time(review_at: Timestamp, now: Timestamp) -> Result<(), DeskError> {
    let flaw = Flaw { reason: Reason::BadValue, pointer: Pointer::of("review_at") };
    if review_at <= now {
        return Err(DeskError::Unfit(flaw));
    }
    if review_at > add_months(now, REVIEW_MONTHS_MAX) {
        return Err(DeskError::ReviewTooFar(flaw));
    }
    Ok(())
}

impl Desk {
    /// Somebody has looked at a hold, and it stays until the next review. The request's text is
    /// used up.
    ///
    /// # Errors
    /// [`DeskError::Released`] for one that has ended, [`DeskError::ReviewTooFar`] for a review
    /// beyond twelve months.
    pub async fn review_hold(
        &self,
        caller: &Caller,
        site: SiteId,
        id: &str,
        text: &mut [u8],
    ) -> Result<Vec<u8>, DeskError> {
        let request = ReviewRequest::parse(text)?;
        let number = view::hold_number(id).ok_or(DeskError::NotFound)?;
        let (inner, by) = (self.0.clone(), credential(caller)?);
        self.whole(async move { inner.review_hold(by, &site, number, request).await }).await
    }
}

/// Entries that are read from the ledger at once.
const READ_ENTRIES: u64 = 1_000;
/// What a line of the ledger about a review has in it.
const LINE: &str = "\"kind\":\"hold_reviewed\"";

impl Inner {
    /// Takes over what a cut kept from the rows of holds: once after a start, and after a row
    /// that could not be written.
    pub(super) async fn take_reviews(&self) -> Result<(), DeskError> {
        let holds: Vec<HoldRow> = {
            let state = self.state();
            if state.reviews_known {
                return Ok(());
            }
            state.holds.values().filter(|hold| hold.released.is_none()).cloned().collect()
        };
        let told = if holds.is_empty() { Vec::new() } else { self.reviews().await? };
        for mut hold in holds {
            let new = told.iter().filter(|entry| replay::reviewed(&mut hold, entry)).count();
            if new > 0 {
                self.keep_hold(hold).await?;
            }
        }
        self.state().reviews_known = true;
        Ok(())
    }

    /// Every review that the ledger has.
    async fn reviews(&self) -> Result<Vec<Recorded>, DeskError> {
        self.ask(|ledger| {
            let (mut from, size, mut reviews) = (0, ledger.head()?.size, Vec::new());
            while from < size {
                let lines = ledger.read(from, READ_ENTRIES.min(size - from))?;
                for (line, entry) in lines.iter().zip(from..) {
                    if line.contains(LINE) {
                        let read = Recorded::decode(line.as_bytes());
                        reviews.push(read.map_err(|_| LedgerError::Changed { entry })?);
                    }
                }
                from += lines.len().max(1) as u64;
            }
            Ok(reviews)
        })
        .await
    }

    async fn review_hold(
        &self,
        by: Credential,
        site: &SiteId,
        number: u64,
        request: ReviewRequest,
    ) -> Result<Vec<u8>, DeskError> {
        let _deciding = self.deciding.lock().await;
        let known = self.state().holds.get(&number).filter(|hold| hold.site == *site).cloned();
        let hold = known.ok_or(DeskError::NotFound)?;
        // Not the clock: one that jumped ahead would let a hold go for years without a look.
        let (now, _) = self.believed();
        if hold.released.is_some() {
            return Err(DeskError::Released);
        }
        let ReviewRequest { review_at, reason } = request;
        in_time(review_at, now)?;
        // An entry about a hold comes after the one that opened it.
        let hold = if hold.in_ledger { hold } else { self.note_hold(hold).await? };
        let event = Event::HoldReviewed { hold: number, site: site.clone(), review_at };
        let told = self.append(Entry::new(now, Actor::Credential(by.clone()), event)).await?;
        let by = Asked { by: by.to_string(), at: now, clock: None };
        let reviewed = Some(Reviewed { entry: told.index, by, reason: Some(reason) });
        let hold = HoldRow { review_at, reviewed, alarmed: false, alarmed_at: None, ..hold };
        let kept = self.keep_hold(hold.clone()).await;
        if kept.is_err() {
            self.state().reviews_known = false;
        }
        kept?;
        Ok(view::hold_to_json(&hold, now))
    }
}
