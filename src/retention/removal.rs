//! The removal of a single month of a site before it is due, because its controller or an authority
//! asks for it. It takes two people, as the release of a hold does, and then goes the way of every
//! destruction: plan, intent, engine, result, certificate.
//!
//! A month that lost its keys takes no record any more ([`crate::engine::gone`]). So a month that
//! has not ended is not removed (end the site's collection instead), and one that could still get
//! late records only when the request says that they are refused.
//!
//! A month of which anything is on hold is not removed, wherever it lies. Copies in hold storage
//! whose hold was released go with the month, in a destruction of their own.

use std::collections::BTreeSet;

use super::due::Terms;
use super::plan::{LOTS_MAX, Standing};
use super::run::End;
use super::vault::LotInfo;
use super::{Desk, DeskError, Inner, credential};
use crate::engine::calendar;
use crate::ledger::{Actor, Credential, Entry, Event, Word};
use crate::model::batch::Epoch;
use crate::model::caller::Caller;
use crate::model::ids::SiteId;
use crate::model::retention::Lot;
use crate::model::site::{MonthSpan, Site};
use crate::model::time::{DAY_MS, Day, Month, Timestamp};
use crate::wire::retention::rows::{Asked, Planned, RemovalRow, RunRow};
use crate::wire::retention::view::{RunView, waits_to_json};
use crate::wire::retention::{REMOVAL_REASONS, RemovalRequest};

/// Before the names of the rows of removals that wait for a second person.
pub(super) const ROWS: &str = "removal/";
/// How long the first person's request waits for the second, milliseconds: 7 days.
pub(super) const WAITS_MS: i64 = 7 * DAY_MS;
/// Each reason with the rule that ledger and certificate name for it, and its ground.
const RULES: [(&str, &str, &str); REMOVAL_REASONS.len()] = [
    (
        "controller_request",
        "removal/controller_request",
        "instruction of the controller (PIPA Art. 26; GDPR Art. 28(3)(a), (g))",
    ),
    (
        "collected_in_error",
        "removal/collected_in_error",
        "no ground to keep it (PIPA Art. 21; GDPR Art. 17(1)(d))",
    ),
    (
        "authority_order",
        "removal/authority_order",
        "order of an authority (PIPA Art. 64; GDPR Art. 58(2)(g))",
    ),
];

/// Rule and ground of a removal for a reason.
pub(super) fn rule_of(reason: &str) -> Option<(&'static str, &'static str)> {
    let row = RULES.iter().find(|(known, ..)| *known == reason);
    row.map(|(_, rule, ground)| (*rule, *ground))
}

impl Desk {
    /// Asks for the removal of a site's month, or does it when another person has asked before.
    /// Whether it was done, and the answer. The request's text is used up.
    ///
    /// # Errors
    /// [`DeskError`]: nothing of the month is left, it is held, it runs, it could still get
    /// records, or the same person asks again.
    pub async fn remove(
        &self,
        caller: &Caller,
        site: SiteId,
        month: Month,
        text: &mut [u8],
    ) -> Result<(bool, Vec<u8>), DeskError> {
        let request = RemovalRequest::parse(text)?;
        let (inner, caller) = (self.0.clone(), caller.clone());
        self.whole(async move { inner.remove(&caller, site, month, request).await }).await
    }
}

impl Inner {
    async fn remove(
        &self,
        caller: &Caller,
        site: SiteId,
        month: Month,
        request: RemovalRequest,
    ) -> Result<(bool, Vec<u8>), DeskError> {
        let by = credential(caller)?;
        let _one = self.running.lock().await;
        let found = self.vault.site(&site).ok_or(DeskError::NotFound)?;
        let mut view = RunView::default();
        // Not the clock: one that is set back would have the first person's request wait longer.
        let now = self.confirmed().await?;
        if !self.settle(now, &mut view).await? {
            // What was begun before comes first, and it waits.
            return Err(DeskError::Busy);
        }
        let name = format!("{ROWS}{site}/{month}");
        let actor = Actor::Credential(by.clone());
        let asked = self.asked_before(&name, now, &request)?;
        let (row, first) = {
            // From here to the intent no hold comes in between.
            let _deciding = self.deciding.lock().await;
            let lots = self.removable(&found, month, now, request)?;
            let Some(asked) = self.first_of_two(asked, caller)? else {
                let asked = self.asks(caller, now)?;
                return self.first_person(name, asked, (by, site, month), request).await;
            };
            let requested_by = Credential::parse(&asked.by).ok_or(DeskError::Failed)?;
            let RemovalRequest { reason, late_refused } = request;
            let first =
                RemovalRow { reason: reason.to_owned(), late_refused, asked: asked.clone() };
            // Before anything else: after a cut two people are needed again.
            self.vault.delete_row(name.clone()).await?;
            let reason = Word::of(reason);
            let event = Event::RemovalConfirmed { site, month, reason, requested_by };
            self.append(Entry::new(now, actor.clone(), event)).await?;
            let row = match lots.is_empty() {
                true => None,
                false => {
                    let removal = Some((request.reason, asked.by.as_str()));
                    Some(self.intend(&actor, now, lots, removal).await?)
                }
            };
            (row, first)
        };
        if self.gone(row, (name, first), &mut view).await? {
            self.end_copies(&actor, &found, month, &mut view).await?;
        }
        self.look().await?;
        view.left_days = self.left_days(&found, month);
        // While a copy off the host is waited for, the next run goes on.
        Ok((!view.waiting, view.to_json()))
    }

    /// Whether a removal that two people agreed on is done. Where nothing went, and no run goes on
    /// with it, the first person's request is put back, as old as it was: what is in the way is
    /// not theirs to mend, and only the second one asks again.
    async fn gone(
        &self,
        row: Option<RunRow>,
        (name, first): (String, RemovalRow),
        view: &mut RunView,
    ) -> Result<bool, DeskError> {
        let Some(row) = row else { return Ok(true) };
        let why = match self.carry_on(row, false, view).await? {
            End::Certified => return Ok(true),
            End::Waiting | End::PutAside | End::Failed | End::Withdrawn => return Ok(false),
            End::NotKept => DeskError::Unremovable,
            End::NoRoom => DeskError::DiskFull,
            End::OutOfReach => DeskError::HoldsAway,
        };
        self.vault.put_row(name, first.to_bytes()?).await?;
        Err(why)
    }

    /// The first person's request, if it is the same and not too old.
    fn asked_before(
        &self,
        name: &str,
        now: Timestamp,
        request: &RemovalRequest,
    ) -> Result<Option<Asked>, DeskError> {
        let rows = self.vault.load_rows(name)?;
        let Some((_, bytes)) = rows.into_iter().find(|(row, _)| row == name) else {
            return Ok(None);
        };
        let row = RemovalRow::parse(&bytes)?;
        let same = row.reason == request.reason && row.late_refused == request.late_refused;
        let young = now.0 <= row.asked.at.0.saturating_add(WAITS_MS);
        Ok((same && young).then_some(row.asked))
    }

    async fn first_person(
        &self,
        name: String,
        asked: Asked,
        (by, site, month): (Credential, SiteId, Month),
        request: RemovalRequest,
    ) -> Result<(bool, Vec<u8>), DeskError> {
        let RemovalRequest { reason, late_refused } = request;
        let now = asked.at;
        let row = RemovalRow { reason: reason.to_owned(), late_refused, asked };
        let event = Event::RemovalRequested { site, month, reason: Word::of(reason), late_refused };
        self.append(Entry::new(now, Actor::Credential(by), event)).await?;
        self.vault.put_row(name, row.to_bytes()?).await?;
        let until = Timestamp(now.0.saturating_add(WAITS_MS));
        Ok((false, waits_to_json("removal_requested", until)))
    }

    /// Destroys the copies of a month whose hold was released, as the next run would. Of one that
    /// another hold covers by now nothing is touched.
    async fn end_copies(
        &self,
        actor: &Actor,
        site: &Site,
        month: Month,
        view: &mut RunView,
    ) -> Result<(), DeskError> {
        let (now, _) = self.believed();
        let row = {
            let _deciding = self.deciding.lock().await;
            let own = self.left_of(site, month, now)?;
            let is_over =
                |one: &&Standing| one.hold.is_some() && one.holds.is_empty() && one.is_free(now);
            let copies: Vec<Planned> =
                own.iter().filter(is_over).take(LOTS_MAX).map(|one| self.planned(one)).collect();
            if copies.is_empty() {
                return Ok(());
            }
            self.intend(actor, now, copies, None).await?
        };
        self.carry_on(row, false, view).await.map(|_| ())
    }

    /// What is left of a month: its lots, and their copies in hold storage.
    fn left_of(
        &self,
        site: &Site,
        month: Month,
        now: Timestamp,
    ) -> Result<Vec<Standing>, DeskError> {
        let span = calendar::span(site, month).map_err(|_| DeskError::Failed)?;
        let mut own = self.standings(now)?;
        own.retain(|standing| standing.info.site == site.id && is_of(standing.info.lot, span));
        Ok(own)
    }

    /// The UTC days with records that a month shares with another one of the site, and that stay.
    pub(super) fn left_days(&self, site: &Site, month: Month) -> Vec<Day> {
        let terms = Terms { policy: &self.policy, site, age_ms: self.vault.age_ms() };
        let of = |info: LotInfo| match info.lot {
            Lot::Records(bucket) if info.site == site.id && terms.holds(bucket, month) => {
                match bucket.epoch {
                    Epoch::Day(day) => Some(day),
                    Epoch::Month(_) => None,
                }
            }
            _ => None,
        };
        let days: BTreeSet<Day> = self.vault.lots().into_iter().filter_map(of).collect();
        days.into_iter().collect()
    }

    /// The lots that are removed with a month, where it may be.
    fn removable(
        &self,
        site: &Site,
        month: Month,
        now: Timestamp,
        request: RemovalRequest,
    ) -> Result<Vec<Planned>, DeskError> {
        let span = calendar::span(site, month).map_err(|_| DeskError::Failed)?;
        let own = self.left_of(site, month, now)?;
        if own.is_empty() {
            return Err(DeskError::UnknownMonth);
        }
        // A copy of a hold that is not known is kept, too.
        let is_held = |one: &Standing| !one.holds.is_empty() || one.free_at.is_none();
        if own.iter().any(is_held) {
            return Err(DeskError::Held);
        }
        let collects = site.terminated_at.is_none();
        if collects && now < span.to {
            return Err(DeskError::MonthRuns);
        }
        if self.vault.staged_in(&site.id, month).is_some() {
            return Err(DeskError::BackfillOpen);
        }
        let terms = Terms { policy: self.policy_at(now), site, age_ms: self.vault.age_ms() };
        if collects && now < terms.last_record(span.to) && !request.late_refused {
            return Err(DeskError::MonthOpen);
        }
        let lots = own.iter().filter(|standing| standing.hold.is_none());
        let planned = lots.take(LOTS_MAX).map(|standing| {
            let planned = self.planned(standing);
            // By this request, and not by the rule of its class.
            Planned { due: now, ..planned }
        });
        Ok(planned.collect())
    }
}

/// Whether a lot is of this month and of no other. A UTC day that the month shares with another one
/// of the site stays until it is due; without the month's keys nothing in it can be attributed.
fn is_of(lot: Lot, span: MonthSpan) -> bool {
    match lot {
        Lot::Records(bucket) => match bucket.epoch {
            Epoch::Month(month) => month == span.month,
            Epoch::Day(day) => {
                let start = day.start();
                span.from <= start && start.0 + DAY_MS <= span.to.0
            }
        },
        Lot::Sets(at) | Lot::RecordKey(at) | Lot::WatermarkKey(at) | Lot::BaseKey(at) => {
            at.month == span.month
        }
        Lot::Suppression(_) | Lot::Seen(_) | Lot::Access(_) => false,
    }
}
