//! What the licences of a site's month were: one reading of its sealed records, in the background,
//! one month at a time, in bounded memory. Nothing is counted for it while records come in.
//!
//! The blocks are listed between two folds together with the figures of the same moment, so sums
//! and figures must agree to the last record even while records come in; where they do not, there
//! is no report. What was destroyed or never kept is missing, and so is whoever is being erased;
//! the report says of how many records it was made. What was made last is kept in memory
//! ([`kept`]): asking again costs nothing as long as nothing changed, or little time went by.

mod check;
mod crowd;
mod facts;
mod hidden;
mod kept;
mod pass;
mod quiet;
mod suppress;
mod totals;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::desk::DeskOrder;
use super::erase::Stage;
use super::fold::{ListOrder, Listing, is_of, open_fragment, read_living};
use super::writer::Message;
use super::{Engine, EngineError, Shared, calendar};
use crate::model::batch::{Bucket, Epoch, SiteMonth};
use crate::model::explained::{Explained, Limits};
use crate::model::ids::{SiteId, SiteNo};
use crate::model::person::Person;
use crate::model::retention::Lot;
use crate::model::site::{MonthSpan, Site};
use crate::model::time::{Day, Month, Timestamp};
use crate::model::usage::Tally;
use crate::model::vocab::Class;
use crate::store::block::OwnedRow;
use crowd::Crowd;
use facts::Facts;
pub use kept::Kept;
use pass::{Part, Pass};
use totals::Totals;

/// How often a month is begun again whose records are destroyed meanwhile.
const TRIES: usize = 3;

/// How often months that nobody explained are looked for.
const LOOK: Duration = Duration::from_secs(600);
/// A day: of two reports the difference may be about one person, so they lie apart.
const FRESH_MS: i64 = 24 * 60 * 60 * 1_000;

/// What explanations may take, and whom they suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Memory for the members of a pass, bytes; what does not fit is left to further passes.
    pub memory_bytes: usize,
    /// How long a report of a month that changed is given again, milliseconds. What it has of the
    /// ids goes into no statement then; that is made of the figures that are stated.
    pub fresh_ms: i64,
    /// So many subjects of a part of a breakdown are told apart.
    pub subjects: usize,
    /// From where on a member is suspect.
    pub limits: Limits,
    /// How often open months that nobody explained for a day are looked for.
    pub look: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            fresh_ms: FRESH_MS,
            subjects: 10,
            limits: Limits::default(),
            look: LOOK,
        }
    }
}

impl Engine {
    /// Explains the licences of a site's month: reads its records, or answers what was made of them
    /// before, where that is recent or nothing changed.
    ///
    /// # Errors
    /// When there is no such site, the engine has stopped, a record cannot be read, or what the
    /// records say is not what the counters say; [`EngineError::Busy`] where it was explained so
    /// short a time ago that it is not explained anew, and the report is not kept any more.
    pub async fn explain(&self, id: SiteId, month: Month) -> Result<Arc<Explained>, EngineError> {
        if let Some(fit) = self.fit(&id, month, true)? {
            return Ok(fit);
        }
        let turn = self.shared.explained.turn().await;
        if let Some(fit) = self.fit(&id, month, true)? {
            return Ok(fit);
        }
        self.fold().await?;
        self.explain_now(id, month, turn, None).await
    }

    /// The same of what is folded already, for who explains many months after one fold; of the
    /// figures as they are, however recent the last report is.
    ///
    /// # Errors
    /// As [`Engine::explain`].
    pub async fn explain_folded(
        &self,
        id: SiteId,
        month: Month,
    ) -> Result<Arc<Explained>, EngineError> {
        if let Some(fit) = self.fit(&id, month, false)? {
            return Ok(fit);
        }
        let turn = self.shared.explained.turn().await;
        if let Some(fit) = self.fit(&id, month, false)? {
            return Ok(fit);
        }
        self.explain_now(id, month, turn, None).await
    }

    /// Explains a month on a thread of its own; `at_ease` is what that thread does first, of a
    /// reading that gives way to all others.
    async fn explain_now(
        &self,
        id: SiteId,
        month: Month,
        turn: OwnedMutexGuard<()>,
        at_ease: Option<fn()>,
    ) -> Result<Arc<Explained>, EngineError> {
        self.aside(move |engine| {
            // The turn ends with the work, also where nobody waits for it any more.
            let _turn = turn;
            if let Some(at_ease) = at_ease {
                at_ease();
            }
            let site = engine.site(&id).ok_or(EngineError::NoSite)?;
            let (at, kept) = (SiteMonth { site: site.no, month }, &engine.shared.explained);
            let fresh_ms = engine.settings.explain.fresh_ms;
            for _ in 0..TRIES {
                let removals = kept.removals(site.no);
                let mut work = Work::new(engine, &site, month)?;
                work.gives_way = at_ease.is_some();
                let made = Arc::new(work.explain()?);
                let now = engine.shared.clock.now();
                if kept.keep(at, &made, removals, (now, fresh_ms)) {
                    return Ok(made);
                }
            }
            Err(EngineError::Busy)
        })
        .await
    }

    /// The explanation of a month that was made last, by this process.
    pub fn explained(&self, id: &SiteId, month: Month) -> Option<Arc<Explained>> {
        let at = SiteMonth { site: self.site(id)?.no, month };
        self.shared.explained.of(at)?.report
    }

    /// What was made before and can be given again: of the same figures, or recent. A month that
    /// never had a record needs no reading, and nothing of it is kept.
    fn fit(
        &self,
        id: &SiteId,
        month: Month,
        recent: bool,
    ) -> Result<Option<Arc<Explained>>, EngineError> {
        let usage = self.usage(id, month)?.ok_or(EngineError::NoSite)?;
        if !usage.tally.has_records() {
            let work = Work::new(self, &usage.site, month)?;
            return Ok(Some(Arc::new(work.nothing(usage.tally))));
        }
        let at = SiteMonth { site: usage.site.no, month };
        let Some(last) = self.shared.explained.of(at) else { return Ok(None) };
        let is_fresh = recent && last.is_fresh(usage.as_of, self.settings.explain.fresh_ms);
        match last.report {
            Some(report) if is_fresh || report.tally == usage.tally => Ok(Some(report)),
            None if is_fresh => Err(EngineError::Busy),
            _ => Ok(None),
        }
    }
}

impl Shared {
    /// The erasures of a site that have not ended.
    pub(super) fn erasing_at(&self, site: SiteNo) -> Vec<u64> {
        let erasing = self.erasing.read().unwrap_or_else(PoisonError::into_inner);
        erasing.values().filter(|row| row.site == site).map(|row| row.number).collect()
    }

    /// Whether an erasure of somebody with records in the month was lost.
    pub(super) fn has_lost_erasure(&self, at: SiteMonth) -> bool {
        let erasing = self.erasing.read().unwrap_or_else(PoisonError::into_inner);
        let mut lost = erasing.values().filter(|row| row.stage == Stage::Lost);
        lost.any(|row| row.site == at.site && row.months.contains(&at.month))
    }
}

/// A month that is being explained.
pub(super) struct Work<'e> {
    engine: &'e Engine,
    shared: &'e Shared,
    site: &'e Site,
    span: MonthSpan,
    settings: Settings,
    /// The erasures of the site that had not ended when this began, and whose they are: nobody is
    /// shown anything of them, neither before they are sealed away nor after.
    erasing: Vec<u64>,
    hidden: Vec<Person>,
    /// Whether it ends where somebody waits for the turn.
    pub(super) gives_way: bool,
}

impl<'e> Work<'e> {
    pub(super) fn new(
        engine: &'e Engine,
        site: &'e Site,
        month: Month,
    ) -> Result<Self, EngineError> {
        let (shared, settings) = (&*engine.shared, engine.settings.explain);
        let span = calendar::span(site, month)?;
        let (erasing, hidden) = (shared.erasing_at(site.no), shared.hidden(site.no));
        let gives_way = false;
        Ok(Self { engine, shared, site, span, settings, erasing, hidden, gives_way })
    }

    fn at(&self) -> SiteMonth {
        SiteMonth { site: self.site.no, month: self.span.month }
    }

    fn explain(mut self) -> Result<Explained, EngineError> {
        for _ in 0..TRIES {
            self.hidden = self.shared.hidden(self.site.no);
            self.erasing = self.shared.erasing_at(self.site.no);
            if let Some(explained) = self.read(&self.list()?)? {
                let counting = self.site.settings_in(self.span.month).counting;
                if let Err(figure) = check::agrees(&explained, counting) {
                    tracing::error!(
                        site = %self.site.id, month = %self.span.month, figure,
                        "a month's records and its counters differ; there is no explanation"
                    );
                    return Err(EngineError::Damaged(
                        "a month's records and its counters differ".into(),
                    ));
                }
                return Ok(explained);
            }
        }
        Err(EngineError::Busy)
    }

    pub(super) fn list(&self) -> Result<Listing, EngineError> {
        let (at, buckets) = (self.at(), self.buckets());
        let order = |reply| Message::Desk(DeskOrder::List(ListOrder { at, buckets, reply }));
        self.engine.wait_for(order)
    }

    /// The buckets that hold the month's records, without those that are destroyed. None while a
    /// lost erasure of the month was not ordered again: nobody knows whom not to show.
    fn buckets(&self) -> Vec<Bucket> {
        if self.shared.has_lost_erasure(self.at()) {
            return Vec::new();
        }
        let epochs: Vec<Epoch> = match self.site.settings_in(self.span.month).records_days {
            Some(_) => {
                let last = Timestamp(self.span.to.0.saturating_sub(1)).day();
                (self.span.from.day().0..=last.0).map(|day| Epoch::Day(Day(day))).collect()
            }
            None => vec![Epoch::Month(self.span.month)],
        };
        let site = self.site.no;
        let classes = [Class::Records, Class::Detections];
        let all =
            epochs.into_iter().flat_map(|epoch| classes.map(|class| Bucket { class, site, epoch }));
        all.filter(|bucket| !self.is_gone(*bucket)).collect()
    }

    fn is_gone(&self, bucket: Bucket) -> bool {
        self.shared.gone(|gone| gone.contains(&Lot::Records(bucket)))
    }

    /// Whether a block of this bucket may have changed since this began: destroyed with its bucket,
    /// or sealed anew without a person.
    fn may_change(&self, bucket: Bucket) -> bool {
        self.is_gone(bucket)
            || !self.erasing.is_empty()
            || self.shared.erasing_at(self.site.no) != self.erasing
    }

    /// Reads the listed records as often as it takes; `None` where some of them were destroyed
    /// or sealed anew meanwhile, so that it must begin again.
    pub(super) fn read(&self, listing: &Listing) -> Result<Option<Explained>, EngineError> {
        let counting = self.site.settings_in(self.span.month).counting;
        let Settings { memory_bytes, limits, subjects, .. } = self.settings;
        let mut explained = self.empty(listing.as_of, listing.tally.clone());
        let mut parts = vec![Part::ALL];
        let mut totals = Some(Totals::new(subjects));
        let mut crowd = Crowd::new(subjects);
        let mut issued = 0;
        while let Some(part) = parts.pop() {
            let mut pass = Pass::new(part, limits, memory_bytes);
            let whole = self.every_block(listing, |bucket, rows| {
                for row in &rows {
                    // A day may lie in two months of the site.
                    let elsewhere = bucket.epoch.is_day() && !self.span.contains(row.occurred_at);
                    if elsewhere || self.hidden.iter().any(|person| is_of(row, person)) {
                        continue;
                    }
                    let facts = Facts::of(row, counting)?;
                    if let Some(totals) = &mut totals {
                        totals.take(&facts);
                    }
                    pass.take(&facts);
                }
                pass.fit();
                Ok(())
            })?;
            if !whole {
                return Ok(None);
            }
            if let Some(totals) = totals.take() {
                issued = totals.end(&mut explained);
            }
            parts.extend(pass.end(issued, &mut explained, &mut crowd));
        }
        explained.hidden = hidden::hidden(&explained, &crowd, subjects as u64);
        let same = self.shared.erasing_at(self.site.no) == self.erasing;
        Ok(same.then_some(explained))
    }

    /// Reads every listed block once; whether all of them could be read.
    pub(super) fn every_block(
        &self,
        listing: &Listing,
        mut take: impl FnMut(Bucket, Vec<OwnedRow>) -> Result<(), EngineError>,
    ) -> Result<bool, EngineError> {
        let (store, ring) = (&self.shared.store, &self.shared.ring);
        for place in &listing.blocks {
            if !self.engine.is_running() {
                return Err(EngineError::Stopped);
            }
            if self.gives_way && self.shared.explained.is_waited_for() {
                return Err(EngineError::Busy);
            }
            // Its key may be destroyed between one step of the reading and the next.
            match read_living(store, ring, *place) {
                Ok(Some(rows)) => take(place.bucket, rows)?,
                Ok(None) | Err(_) if self.may_change(place.bucket) => return Ok(false),
                Ok(None) => return Err(EngineError::Damaged("a block is missing".into())),
                Err(error) => return Err(error.into()),
            }
        }
        for fragment in &listing.fragments {
            match open_fragment(ring, fragment) {
                Ok(Some(rows)) => take(fragment.place.bucket, rows)?,
                Ok(None) | Err(_) if self.may_change(fragment.place.bucket) => {
                    return Ok(false);
                }
                Ok(None) => return Err(EngineError::Damaged("the key of a block".into())),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// What there is to say of a month without a record.
    fn nothing(&self, tally: Tally) -> Explained {
        let mut explained = self.empty(self.shared.clock.now(), tally);
        let least = self.settings.subjects;
        explained.hidden = hidden::hidden(&explained, &Crowd::new(least), least as u64);
        explained
    }

    fn empty(&self, as_of: Timestamp, tally: Tally) -> Explained {
        Explained::new(
            (self.site.id.clone(), self.span.month),
            (as_of, tally),
            self.settings.limits,
        )
    }
}
