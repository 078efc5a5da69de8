//! What becomes of a row: known, too late, or taken.

use super::{MEMBER, Window};
use crate::engine::distinct::{Disk, DistinctSet};
use crate::engine::runs::RunError;
use crate::model::batch::{Claim, Verdict};
use crate::model::time::Timestamp;

/// What becomes of an accepted row in a month that may be closed and a bucket that may be gone.
pub(super) fn refine(verdict: Verdict, closed: bool, lost: bool) -> Verdict {
    match (verdict, closed, lost) {
        (Verdict::Accepted, false, true) => Verdict::NotRetained,
        (Verdict::Accepted, true, false) => Verdict::Correction,
        (Verdict::Accepted, true, true) => Verdict::CorrectionNotRetained,
        (verdict, ..) => verdict,
    }
}

/// Judges a row of a month that has lost a key: known or too late, and counted nowhere.
pub(super) fn judge_shut(
    claim: &Claim,
    slot: Option<&mut DistinctSet>,
    disk: &mut Disk<'_>,
) -> Result<Verdict, RunError> {
    let known = slot.map_or(Ok(0), |slot| slot.get(claim.seen, disk))? != 0;
    Ok(if known { Verdict::Duplicate } else { Verdict::TooOld })
}

/// Judges a row, and remembers its event where it is accepted. Duplicates before age: a retry of an
/// accepted record is a duplicate however late it comes, as long as its slot lives.
pub(super) fn judge(
    claim: &Claim,
    slot: Option<&mut DistinctSet>,
    now: Timestamp,
    window: Window,
    disk: &mut Disk<'_>,
) -> Result<Verdict, RunError> {
    let Some(slot) = slot else { return Ok(Verdict::TooOld) };
    if now.0.saturating_sub(claim.occurred_at.0) > window.age_ms {
        let known = slot.get(claim.seen, disk)? != 0;
        return Ok(if known { Verdict::Duplicate } else { Verdict::TooOld });
    }
    let known = slot.insert(claim.seen, MEMBER, disk)? != 0;
    Ok(if known { Verdict::Duplicate } else { Verdict::Accepted })
}

/// Judges a row of a backfill, of any age. Where its day has no slot any more, whoever read what is
/// kept of that day has said whether it is known.
pub(super) fn judge_late(
    claim: &Claim,
    slot: Option<&mut DistinctSet>,
    known: bool,
    disk: &mut Disk<'_>,
) -> Result<Verdict, RunError> {
    let known = known
        || match slot {
            Some(slot) => slot.insert(claim.seen, MEMBER, disk)? != 0,
            None => false,
        };
    Ok(if known { Verdict::Duplicate } else { Verdict::Accepted })
}

/// Remembers the event of a row that was judged before.
pub(super) fn remember(
    verdict: Verdict,
    claim: &Claim,
    slot: Option<&mut DistinctSet>,
    disk: &mut Disk<'_>,
) -> Result<Verdict, RunError> {
    if let (true, Some(slot)) = (verdict.is_taken(), slot) {
        slot.insert(claim.seen, MEMBER, disk)?;
    }
    Ok(verdict)
}
