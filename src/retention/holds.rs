//! Holds: what is not destroyed although it is due, because somebody disputes it. A hold is a
//! predicate on site, months and classes, so it covers what arrives later too.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::due::Terms;
use super::plan::{epoch_of, word_of};
use super::{Desk, DeskError, Inner, credential, reviews};
use crate::engine::calendar;
use crate::ledger::{Actor, Alarm, Entry, Event, Word};
use crate::model::batch::Bucket;
use crate::model::caller::Caller;
use crate::model::ids::SiteId;
use crate::model::retention::Lot;
use crate::model::site::Site;
use crate::model::time::{DAY_MS, Month, Timestamp};
use crate::model::vocab::Class;
use crate::wire::retention::rows::{Asked, HoldRow, Reported, RunRow};
use crate::wire::retention::{HoldRequest, view};

/// Before the name of each hold's row.
pub(super) const ROWS: &str = "hold/";

/// How often it is said that a hold has passed its review, milliseconds: weekly.
const ALARM_MS: i64 = 7 * DAY_MS;

/// The name of a hold's row.
pub(super) fn row_of(number: u64) -> String {
    format!("{ROWS}{number:020}")
}

/// Whether a hold covers a lot of its site, when it is open.
pub(super) fn covers(hold: &HoldRow, terms: &Terms<'_>, lot: Lot) -> bool {
    let wants = |class: Class| hold.classes.is_empty() || hold.classes.contains(&class);
    let month = |month: &Month| hold.months.contains(month);
    hold.site == terms.site.id
        && match lot {
            Lot::Records(bucket) => {
                wants(bucket.class) && hold.months.iter().any(|month| terms.holds(bucket, *month))
            }
            Lot::Sets(at) => wants(Class::Sets) && month(&at.month),
            // Without these keys nobody can tell whose records are held.
            Lot::RecordKey(at) | Lot::WatermarkKey(at) => {
                (wants(Class::Records) || wants(Class::Detections)) && month(&at.month)
            }
            Lot::BaseKey(at) => month(&at.month),
            // No record is opened with them.
            Lot::Suppression(_) | Lot::Seen(_) | Lot::Access(_) => false,
        }
}

impl Desk {
    /// Opens a hold. The request's text is used up.
    ///
    /// # Errors
    /// [`DeskError`]; nothing is held then.
    pub async fn open_hold(
        &self,
        caller: &Caller,
        site: SiteId,
        text: &mut [u8],
    ) -> Result<Vec<u8>, DeskError> {
        let request = HoldRequest::parse(text)?;
        let (inner, by) = (self.0.clone(), credential(caller)?.to_string());
        self.whole(async move { inner.open_hold(by, &site, request).await }).await
    }

    /// Whether the records of a bucket stay as they are: an open hold covers them, or a destruction
    /// that has not ended has told the ledger their keys, so that they must not get others.
    pub fn stays(&self, site: &Site, bucket: Bucket) -> bool {
        let lot = Lot::Records(bucket);
        let is_planned = self.0.state().planned().any(|planned| planned.lot == lot);
        is_planned || self.is_held(site, bucket)
    }

    /// Whether an open hold covers the records of a bucket.
    fn is_held(&self, site: &Site, bucket: Bucket) -> bool {
        let (now, _) = self.0.believed();
        let terms = Terms { policy: self.0.policy_at(now), site, age_ms: self.0.vault.age_ms() };
        let lot = Lot::Records(bucket);
        let state = self.0.state();
        let mut open = state.holds.values().filter(|hold| hold.released.is_none());
        open.any(|hold| covers(hold, &terms, lot))
    }

    /// A site's holds, those that have ended included.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn holds(&self, site: &SiteId) -> Result<Vec<u8>, DeskError> {
        self.0.vault.site(site).ok_or(DeskError::NotFound)?;
        let state = self.0.state();
        let own: Vec<_> = state.holds.values().filter(|hold| hold.site == *site).cloned().collect();
        drop(state);
        // As a release goes by it, so that both agree on whether the first request waits still.
        Ok(view::holds_to_json(&own, self.0.believed().0))
    }

    /// Asks for the end of a hold, or ends it when another person has asked before. Whether it has
    /// ended, and the answer.
    ///
    /// # Errors
    /// [`DeskError::SamePerson`] for a second request by the first person.
    pub async fn release_hold(
        &self,
        caller: &Caller,
        site: SiteId,
        id: &str,
    ) -> Result<(bool, Vec<u8>), DeskError> {
        let number = view::hold_number(id).ok_or(DeskError::NotFound)?;
        let (inner, caller) = (self.0.clone(), caller.clone());
        self.whole(async move { inner.release_hold(&caller, &site, number).await }).await
    }
}

impl Inner {
    async fn open_hold(
        &self,
        by: String,
        site: &SiteId,
        request: HoldRequest,
    ) -> Result<Vec<u8>, DeskError> {
        let found = self.vault.site(site).ok_or(DeskError::NotFound)?;
        let now = self.clock.now();
        // Not the clock: one that jumped ahead would let a hold go for years without a look.
        reviews::in_time(request.review_at, self.believed().0)?;
        // Nothing is planned for destruction meanwhile, so it is before the hold or after it.
        let _deciding = self.deciding.lock().await;
        let left = self.lots_of(site).await?;
        if request.months.iter().any(|month| !self.has_month(&found, *month, &left, now)) {
            let event = Event::HoldRefused {
                hold: None,
                site: site.clone(),
                why: Word::of("unknown_month"),
            };
            self.append(Entry::new(now, actor(&by)?, event)).await?;
            return Err(DeskError::UnknownMonth);
        }
        let last = self.state().holds.last_key_value().map_or(0, |(number, _)| *number);
        let hold = HoldRow {
            number: last + 1,
            site: site.clone(),
            months: request.months,
            classes: request.classes,
            ground: request.ground.to_owned(),
            review_at: request.review_at,
            reason: request.reason,
            opened: Asked { by, at: now, clock: None },
            in_ledger: false,
            requested: None,
            released: None,
            alarmed: false,
            alarmed_at: None,
            reviewed: None,
        };
        // First it holds, then the ledger says so; a cut between the two is made good by a run.
        self.keep_hold(hold.clone()).await?;
        let hold = self.note_hold(hold).await?;
        let (lots, too_late) = self.covered(&hold, &found, &left);
        Ok(view::opened_to_json(&hold, self.believed().0, lots, too_late))
    }

    /// What is left of a site: its living lots, those in hold storage, and those that are being
    /// destroyed, whose keys the register may not list any more.
    async fn lots_of(&self, site: &SiteId) -> Result<BTreeSet<Lot>, DeskError> {
        // The keys are locked while they are turned over.
        let vault = Arc::clone(&self.vault);
        let listed = tokio::task::spawn_blocking(move || (vault.lots(), vault.held())).await;
        let (listed, held) = listed.map_err(|_| DeskError::Failed)?;
        let living = listed.into_iter().map(|info| (info.site, info.lot));
        let copies = held?.into_iter().map(|held| (held.site, held.lot));
        let own = living.chain(copies).filter(|(of, _)| of == site);
        let mut lots: BTreeSet<Lot> = own.map(|(_, lot)| lot).collect();
        let state = self.state();
        let going = state.planned();
        lots.extend(going.filter(|planned| planned.site == *site).map(|planned| planned.lot));
        Ok(lots)
    }

    /// Whether the site has the month and something of it is left, or it is the present one.
    fn has_month(&self, site: &Site, month: Month, left: &BTreeSet<Lot>, now: Timestamp) -> bool {
        if calendar::span(site, month).is_ok_and(|span| span.contains(now)) {
            return true;
        }
        let terms = Terms { policy: self.policy_at(now), site, age_ms: self.vault.age_ms() };
        let of_month = |lot: Lot| match lot {
            Lot::Records(bucket) => terms.holds(bucket, month),
            Lot::Sets(at) | Lot::RecordKey(at) | Lot::WatermarkKey(at) | Lot::BaseKey(at) => {
                at.month == month
            }
            Lot::Suppression(_) | Lot::Seen(_) | Lot::Access(_) => false,
        };
        let stored = site.months.iter().any(|span| span.month == month);
        stored && left.iter().any(|lot| of_month(*lot))
    }

    /// How many lots a hold covers and keeps, and how many of what is left it covers that are being
    /// destroyed already.
    fn covered(&self, hold: &HoldRow, site: &Site, left: &BTreeSet<Lot>) -> (usize, usize) {
        let now = self.clock.now();
        let terms = Terms { policy: self.policy_at(now), site, age_ms: self.vault.age_ms() };
        let going: BTreeSet<Lot> = {
            let state = self.state();
            let all = state.planned();
            // What goes to hold storage is there for this hold, too.
            all.filter(|planned| planned.heirs.is_empty()).map(|planned| planned.lot).collect()
        };
        let covered = left.iter().filter(|lot| covers(hold, &terms, **lot));
        let (late, kept): (Vec<&Lot>, Vec<&Lot>) = covered.partition(|lot| going.contains(lot));
        (kept.len(), late.len())
    }

    async fn release_hold(
        &self,
        caller: &Caller,
        site: &SiteId,
        number: u64,
    ) -> Result<(bool, Vec<u8>), DeskError> {
        let by = credential(caller)?;
        let _deciding = self.deciding.lock().await;
        let known = self.state().holds.get(&number).filter(|hold| hold.site == *site).cloned();
        let mut hold = known.ok_or(DeskError::NotFound)?;
        // Not the clock: one that is set back would have the first request wait longer.
        let (now, _) = self.believed();
        if hold.released.is_some() {
            return Err(DeskError::Released);
        }
        let asked = self.asks(caller, now)?;
        let entry = |event| Entry::new(now, Actor::Credential(by.clone()), event);
        let asked_before = hold.requested.clone().filter(|_| hold.waits_for_release(now));
        match self.first_of_two(asked_before, caller) {
            Ok(None) => {
                let (hold_no, site) = (number, site.clone());
                let event = Event::HoldReleaseRequested { hold: hold_no, site, reason: None };
                self.append(entry(event)).await?;
                hold.requested = Some(asked);
                self.keep_hold(hold.clone()).await?;
                Ok((false, view::requested_to_json(&hold, now)))
            }
            Err(DeskError::SamePerson) => {
                let (hold, site) = (Some(number), site.clone());
                let event = Event::HoldRefused { hold, site, why: Word::of("same_person") };
                self.append(entry(event)).await?;
                Err(DeskError::SamePerson)
            }
            Err(error) => Err(error),
            Ok(Some(first)) => {
                let requested_by = parse(&first.by)?;
                let event = Event::HoldReleased { hold: number, site: site.clone(), requested_by };
                self.append(entry(event)).await?;
                hold.released = Some(Asked { clock: None, ..asked });
                self.keep_hold(hold.clone()).await?;
                Ok((true, view::hold_to_json(&hold, now)))
            }
        }
    }

    pub(super) async fn keep_hold(&self, hold: HoldRow) -> Result<(), DeskError> {
        let name = row_of(hold.number);
        self.vault.put_row(name, hold.to_bytes()?).await?;
        self.state().holds.insert(hold.number, hold);
        Ok(())
    }

    /// Tells the ledger of a hold that it does not have yet.
    pub(super) async fn note_hold(&self, mut hold: HoldRow) -> Result<HoldRow, DeskError> {
        let event = Event::HoldOpened {
            hold: hold.number,
            site: hold.site.clone(),
            months: hold.months.clone(),
            classes: hold.classes.iter().map(|class| Word::of(class.name())).collect(),
            ground: word(&hold.ground),
            review_at: hold.review_at,
            // What somebody wrote freely may name a person, and the ledger never forgets.
            reason: None,
        };
        self.append(Entry::new(hold.opened.at, actor(&hold.opened.by)?, event)).await?;
        hold.in_ledger = true;
        self.keep_hold(hold.clone()).await?;
        Ok(hold)
    }

    /// Tells the ledger which lots of a destruction live on in hold storage, and for which hold.
    pub(super) async fn note_moved(
        &self,
        row: &RunRow,
        reported: &Reported,
        operation: u64,
    ) -> Result<(), DeskError> {
        let mut events = Vec::new();
        for (at, planned) in row.lots.iter().enumerate() {
            let records = reported.records.as_ref().and_then(|records| *records.get(at)?);
            events.extend(planned.heirs.iter().map(|heir| Event::HoldMoved {
                hold: *heir,
                site: planned.site.clone(),
                class: Word::of(word_of(planned.lot)),
                epoch: epoch_of(planned.lot),
                records,
            }));
        }
        if events.is_empty() {
            return Ok(());
        }
        // A cut may have left some of them behind; one reading finds all.
        let missing = Arc::new(Mutex::new(events));
        let left = Arc::clone(&missing);
        self.find(operation, move |entry| {
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            left.retain(|event| *event != entry.event);
            left.is_empty()
        })
        .await?;
        let missing = std::mem::take(&mut *missing.lock().unwrap_or_else(PoisonError::into_inner));
        let entry = |event| Entry::new(reported.ended_at, Actor::Server, event);
        let entries: Vec<Entry> = missing.into_iter().map(entry).collect();
        if entries.is_empty() {
            return Ok(());
        }
        self.ask(move |ledger| {
            ledger.append_all(&entries)?.into_iter().collect::<Result<Vec<_>, _>>()
        })
        .await
        .map(|_| ())
    }

    /// What a run does for holds: those that a cut kept from the ledger, and missed reviews.
    pub(super) async fn look_after_holds(&self, now: Timestamp) -> Result<(), DeskError> {
        let _deciding = self.deciding.lock().await;
        self.take_reviews().await?;
        let holds: Vec<HoldRow> = self.state().holds.values().cloned().collect();
        for mut hold in holds {
            if !hold.in_ledger {
                hold = self.note_hold(hold).await?;
            }
            let quiet = hold.alarmed_at.is_some_and(|at| now.0 < at.0.saturating_add(ALARM_MS));
            if is_unreviewed(&hold, now) && !quiet {
                self.alarm(Alarm::HoldUnreviewed).await?;
                (hold.alarmed, hold.alarmed_at) = (true, Some(now));
                self.keep_hold(hold).await?;
            }
        }
        Ok(())
    }
}

/// Whether somebody should have looked at it.
pub(super) fn is_unreviewed(hold: &HoldRow, now: Timestamp) -> bool {
    hold.released.is_none() && hold.review_at < now
}

/// The ledger's word of a ground; a row of our own has no other.
fn word(ground: &str) -> Word {
    let known = HoldRequest::GROUNDS.iter().find(|known| **known == ground);
    Word::of(known.copied().unwrap_or("unknown"))
}

fn parse(by: &str) -> Result<crate::ledger::Credential, DeskError> {
    crate::ledger::Credential::parse(by).ok_or(DeskError::Failed)
}

fn actor(by: &str) -> Result<Actor, DeskError> {
    parse(by).map(Actor::Credential)
}
