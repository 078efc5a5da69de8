//! The access log (class C6): how often who used which route, of which site and with what outcome,
//! by the day. Every route is in it that asks for a credential, but for records that were taken,
//! which are counted by the hour ([`crate::reconciliation`]); also what was refused to a credential
//! that was proven.
//!
//! It is counted in memory and written each minute and at the end: a kill loses a minute of it.
//! The days of a month of UTC are under one key, and go with it as a lot ([`Lot::Access`]).
//!
//! What must not be lost (reads of few, and whatever changes what is kept) is an entry of the
//! ledger, durable before its answer; this log is for whoever looks at what people do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::vault::Vault;
use super::{Desk, DeskError, Inner, everywhere};
use crate::engine::EngineError;
use crate::model::caller::{Caller, SiteScope};
use crate::model::ids::SiteId;
use crate::model::retention::Lot;
use crate::model::time::Day;
use crate::wire::retention::access::{AccessDay, AccessLine, AccessSummary};

/// Before the name of each day's row.
pub(super) const ROWS: &str = "access/";
/// The pause between two writings.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// Routes, by their names in the metrics, that take records.
const POSTS: [&str; 2] = ["records", "backfill_records"];
/// The first status that is no success.
const REFUSED_FROM: u16 = 400;

/// What is not written yet.
#[derive(Default)]
pub(super) struct AccessLog {
    noted: Mutex<BTreeMap<Day, AccessDay>>,
    /// Held while rows are read, added to and written.
    pub(super) writing: tokio::sync::Mutex<()>,
    /// What is written of each day, in sum, once a statement has asked for it: a day has up to a
    /// megabyte, and a statement reads none of them again.
    sums: Mutex<Option<BTreeMap<Day, AccessSummary>>>,
}

impl AccessLog {
    fn noted(&self) -> MutexGuard<'_, BTreeMap<Day, AccessDay>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sums(&self) -> MutexGuard<'_, Option<BTreeMap<Day, AccessSummary>>> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The day of a row's name.
fn day_of(name: &str) -> Option<Day> {
    Day::parse(name.strip_prefix(ROWS)?.as_bytes())
}

impl Desk {
    /// Counts a use of a route by a credential that was proven. `site` is what the path names in
    /// the place of a site: it is kept only where there is a site of that name, since anything can
    /// stand there.
    pub fn note_access(
        &self,
        caller: &Caller,
        route: &'static str,
        site: Option<&str>,
        status: u16,
    ) {
        if status < REFUSED_FROM && POSTS.contains(&route) {
            return;
        }
        let inner = &self.0;
        let site = site.and_then(|text| SiteId::parse(text.as_bytes()));
        let site = site.filter(|site| inner.vault.site(site).is_some());
        let line = AccessLine {
            by: caller.key_id.clone(),
            role: caller.role.to_string(),
            route: route.to_owned(),
            site: site.map(|site| site.to_string()),
            status,
        };
        // Not the clock: one that jumped ahead would keep lines for longer than they may be kept.
        let day = inner.believed().0.day();
        inner.access.noted().entry(day).or_default().add(line, 1);
    }

    /// Writes what was noted, now and then, as long as it is polled: what the app spawns.
    pub async fn keep_access(self) {
        loop {
            tokio::time::sleep(WRITE_EVERY).await;
            if let Err(error) = self.write_access().await {
                tracing::error!(%error, "the access log could not be written");
            }
        }
    }

    /// Writes what was noted since the last time.
    ///
    /// # Errors
    /// When a row cannot be read or written; what was noted is kept for the next time.
    pub async fn write_access(&self) -> Result<(), DeskError> {
        // A writing that is dropped half-way would lose what it had taken.
        let inner = self.0.clone();
        self.whole(async move { inner.write_access().await }).await
    }

    /// What is known of a day, as an auditor asks.
    ///
    /// # Errors
    /// [`DeskError::NeedsAllSites`] for a credential of some sites: who did what is of all.
    pub async fn access(&self, caller: &Caller, day: Option<Day>) -> Result<Vec<u8>, DeskError> {
        everywhere(caller)?;
        let inner = &self.0;
        let day = day.unwrap_or_else(|| inner.believed().0.day());
        // Whoever has a place may wait for the writing, and never the other way round.
        let answer = self.look_up(move |desk| {
            let log = &desk.0.access;
            // Nothing is between row and memory then.
            let one = log.writing.blocking_lock();
            let noted = log.noted().get(&day).cloned().unwrap_or_default();
            let mut known = access_of(desk.0.vault.as_ref(), day)?;
            drop(one);
            known.merge(noted);
            Ok(known.to_json(day))
        });
        answer.await
    }
}

impl Inner {
    pub(super) async fn write_access(&self) -> Result<(), DeskError> {
        let _one = self.access.writing.lock().await;
        let noted = std::mem::take(&mut *self.access.noted());
        let mut first = Ok(());
        for (day, noted) in noted {
            // One day's fault keeps no other from the disk.
            if let Err(error) = self.write_day(day, noted.clone()).await {
                self.access.noted().entry(day).or_default().merge(noted);
                first = first.and(Err(error));
            }
        }
        first
    }

    /// Adds to what is written of a day.
    async fn write_day(&self, day: Day, noted: AccessDay) -> Result<(), DeskError> {
        let vault = Arc::clone(&self.vault);
        let added = move || {
            let mut kept = access_of(vault.as_ref(), day)?;
            kept.merge(noted);
            let mut sum = AccessSummary::default();
            sum.add(day, &kept);
            Ok::<_, DeskError>((kept.to_bytes()?, sum))
        };
        let added = tokio::task::spawn_blocking(added).await;
        let (bytes, sum) = added.map_err(|_| DeskError::Failed)??;
        match self.vault.put_row(format!("{ROWS}{day}"), bytes).await {
            Err(EngineError::Ended) => {
                tracing::warn!(%day, "uses of a destroyed month of the access log are not written");
                return Ok(());
            }
            written => written?,
        }
        if let Some(sums) = self.access.sums().as_mut() {
            sums.insert(day, sum);
        }
        Ok(())
    }

    /// All days together.
    pub(super) async fn access_summary(&self) -> Result<AccessSummary, DeskError> {
        // Nothing is between rows and memory then.
        let _one = self.access.writing.lock().await;
        if self.access.sums().is_none() {
            let vault = Arc::clone(&self.vault);
            let sums = tokio::task::spawn_blocking(move || sums_of(vault.as_ref())).await;
            let sums = sums.map_err(|_| DeskError::Failed)??;
            *self.access.sums() = Some(sums);
        }
        let mut summary = AccessSummary::default();
        for sum in self.access.sums().iter().flat_map(BTreeMap::values) {
            summary.merge(sum);
        }
        for (day, noted) in self.access.noted().iter() {
            summary.add(*day, noted);
        }
        Ok(summary)
    }

    /// All days together, of the uses whose line names one of these sites. The sums do not know
    /// sites, so the days are read, one at a time. Only the days that something is noted of are
    /// read while nobody writes: no other one can get again what was seen in memory.
    pub(super) async fn access_summary_of(
        &self,
        sites: SiteScope,
    ) -> Result<AccessSummary, DeskError> {
        let (vault, log) = (Arc::clone(&self.vault), Arc::clone(&self.access));
        let read = move || {
            let one = log.writing.blocking_lock();
            let mut noted = log.noted().clone();
            for (day, known) in &mut noted {
                known.merge(access_of(vault.as_ref(), *day)?);
            }
            drop(one);
            let mut summary = AccessSummary::default();
            let mut add = |day, known: AccessDay| {
                let is_own =
                    |text: &str| SiteId::parse(text.as_bytes()).is_some_and(|id| sites.holds(&id));
                let own = known.of_sites(is_own);
                if !own.lines.is_empty() {
                    summary.add(day, &own);
                }
            };
            each_day(vault.as_ref(), &mut |day, known| {
                if !noted.contains_key(&day) {
                    add(day, known);
                }
            })?;
            noted.into_iter().for_each(|(day, known)| add(day, known));
            Ok::<_, DeskError>(summary)
        };
        self.in_turn(read).await
    }

    /// Forgets the sums after a destruction that was about months of the log: whatever became of
    /// it, the next statement adds up what can be read.
    pub(super) async fn forget_access(&self, mut lots: impl Iterator<Item = Lot>) {
        if lots.any(|lot| matches!(lot, Lot::Access(_))) {
            // Nobody adds up meanwhile what was read before.
            let _one = self.access.writing.lock().await;
            *self.access.sums() = None;
        }
    }
}

/// What is written of a day.
fn access_of(vault: &dyn Vault, day: Day) -> Result<AccessDay, DeskError> {
    let name = format!("{ROWS}{day}");
    let row = vault.load_row_from(&name, &name)?.filter(|(row, _)| *row == name);
    row.map_or(Ok(AccessDay::default()), |(_, bytes)| Ok(AccessDay::parse(&bytes)?))
}

/// What is written, in sum; one day at a time is in memory.
fn sums_of(vault: &dyn Vault) -> Result<BTreeMap<Day, AccessSummary>, DeskError> {
    let mut sums = BTreeMap::new();
    each_day(vault, &mut |day, known| {
        let mut sum = AccessSummary::default();
        sum.add(day, &known);
        sums.insert(day, sum);
    })?;
    Ok(sums)
}

/// What is written of each day, one after the other.
fn each_day(vault: &dyn Vault, see: &mut dyn FnMut(Day, AccessDay)) -> Result<(), DeskError> {
    let mut from = ROWS.to_owned();
    while let Some((name, bytes)) = vault.load_row_from(ROWS, &from)? {
        see(day_of(&name).ok_or(DeskError::Failed)?, AccessDay::parse(&bytes)?);
        // The next name after one is it with a zero behind it.
        from = format!("{name}\0");
    }
    Ok(())
}
