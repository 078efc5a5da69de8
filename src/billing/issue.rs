//! How a statement comes to be, so that a cut anywhere leaves one version or none.

use std::sync::Arc;

use super::months::Recount;
use super::subject::Subject;
use super::trust::Trust;
use super::{BillingError, Inner, Known, Restated};
use crate::crypto::sha256;
use crate::ledger::{Actor, Alarm, Digest, Entry, Event, Ledger, LedgerError, Recorded};
use crate::model::ids::SiteId;
use crate::model::time::Month;
use crate::model::usage::{Evidence, Tally};
use crate::wire::statement::{
    BODY_BYTES_MAX, Billable, Body, Draft, Member, Recounted, Replaced, Statement,
};

/// Before the names of statements' rows.
pub(super) const ROWS: &str = "statement/";
/// Before the name of the row of a body whose entry may not be in the ledger yet.
const DRAFTS: &str = "statement-draft/";
/// The reason of the first version after one that only the ledger knows.
const RESTORED: &str = "the data was put back from a backup older than the version before";
/// Entries that are read at once.
const READ_ENTRIES: u64 = 1_000;

pub(super) fn row_of(prefix: &str, site: &SiteId, month: Month) -> String {
    format!("{prefix}{site}/{month}/")
}

fn version_row(prefix: &str, site: &SiteId, month: Month, version: u32) -> String {
    format!("{}{version:010}", row_of(prefix, site, month))
}

impl Inner {
    /// The versions that are stored, the earliest first.
    pub(super) fn stored(
        &self,
        site: &SiteId,
        month: Month,
    ) -> Result<Vec<Statement>, BillingError> {
        let rows = self.months.load_rows(&row_of(ROWS, site, month))?;
        rows.iter().map(|(_, row)| Ok(Statement::parse(row)?)).collect()
    }

    /// The last version; the first one is issued where there is none. For who has the month's turn;
    /// `folded` where everything was folded since the month was seen closed.
    pub(super) async fn last(
        &self,
        site: &SiteId,
        month: Month,
        folded: bool,
    ) -> Result<Statement, BillingError> {
        if let Some(last) = self.stored(site, month)?.pop() {
            return Ok(last);
        }
        // An open month costs no fold, nor does one without records.
        let subject = self.closed(site, month)?;
        let replaces = match self.begun(site, month, 0)? {
            Some(body) => body.replaces.map(|of| (of, body.reason.unwrap_or_default())),
            None => self.lost(site, month).await?.map(|lost| (lost, RESTORED.to_owned())),
        };
        if !folded && subject.has_records() {
            self.months.fold().await?;
        }
        self.issue(site, month, Actor::Server, replaces).await
    }

    /// The first version after a number that a cut left unfinished: it is finished as it was begun.
    fn begun(&self, site: &SiteId, month: Month, after: u32) -> Result<Option<Body>, BillingError> {
        for (_, bytes) in self.months.load_rows(&row_of(DRAFTS, site, month))? {
            let body = Draft::parse(&bytes)?.body;
            if body.version > after {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    /// The last version that the ledger knows of a statement. Where it is not stored, the data was
    /// put back from before it, and its number is never given to other figures. A statement that
    /// was removed when it was due is not issued again.
    async fn lost(&self, site: &SiteId, month: Month) -> Result<Option<Replaced>, BillingError> {
        let at = (site.clone(), month);
        match self.of_ledger(move |known| known.issued.get(&at).copied()).await? {
            None => Ok(None),
            Some(None) => Err(BillingError::Ended),
            Some(Some((version, digest))) => Ok(Some(Replaced { version, digest })),
        }
    }

    /// Asks what the ledger says by now.
    pub(super) async fn of_ledger<T: Send + 'static>(
        &self,
        asked: impl FnOnce(&Known) -> T + Send + 'static,
    ) -> Result<T, BillingError> {
        let mut known = self.known.lock().await;
        let before = std::mem::take(&mut *known);
        let (answer, read) = self
            .ask(move |ledger| {
                let known = read_known(ledger, before)?;
                Ok((asked(&known), known))
            })
            .await?;
        *known = read;
        Ok(answer)
    }

    /// A version that takes the place of the last one, unless that is it. For who has the month's
    /// turn.
    pub(super) async fn restate(
        &self,
        site: &SiteId,
        month: Month,
        by: Actor,
        reason: String,
    ) -> Result<Restated, BillingError> {
        self.months.fold().await?;
        let mut last = self.last(site, month, true).await?;
        let mut replaced = self.replaced(site, month, &last).await?;
        let is_own =
            |body: &Body| body.reason.as_ref() == Some(&reason) && body.issued_by == by.to_string();
        // Nothing is begun and nothing is lost behind it.
        let next = self.begun(site, month, last.body.version)?;
        let is_last = next.is_none() && replaced.version == last.body.version;
        if is_last && is_own(&last.body) && self.says_the_same(site, month, &last.body)? {
            return Ok(Restated { statement: last, is_new: false });
        }
        loop {
            let asked = Some((replaced, reason.clone()));
            last = self.issue(site, month, by.clone(), asked).await?;
            // What a cut left of another restatement is finished first, and is not this one.
            if is_own(&last.body) {
                return Ok(Restated { statement: last, is_new: true });
            }
            replaced = self.replaced(site, month, &last).await?;
        }
    }

    /// Whether another version would say what the last one says.
    pub(super) fn says_the_same(
        &self,
        site: &SiteId,
        month: Month,
        last: &Body,
    ) -> Result<bool, BillingError> {
        let said = self.closed(site, month)?.said(month, Some(last), self.least(Some(last)));
        let members = last.members.clone();
        let members: Option<Vec<_>> =
            members.map(|of| of.into_iter().map(Member::counted).collect());
        Ok(said.figures == last.figures
            && said.corrections == last.corrections
            && said.members == members
            && self.earlier(site, month)? == last.earlier_corrections)
    }

    /// Of how few users a version tells nothing by DRM system: never less than the one before,
    /// since what that one left out is not told by lowering the setting.
    fn least(&self, before: Option<&Body>) -> u64 {
        let before = before.and_then(|body| body.subjects_least).unwrap_or_default();
        before.max(self.settings.subjects_least)
    }

    /// What the next version takes the place of: the last one that is stored, or a later one that
    /// only the ledger knows.
    async fn replaced(
        &self,
        site: &SiteId,
        month: Month,
        last: &Statement,
    ) -> Result<Replaced, BillingError> {
        let version = last.body.version;
        let own = Replaced { version, digest: Digest(sha256(&[&last.body.to_bytes()?])) };
        // The ledger may know of one that a cut left, which is finished first.
        if let Some(begun) = self.begun(site, month, version)?.and_then(|body| body.replaces) {
            return Ok(begun);
        }
        let lost = self.lost(site, month).await?.filter(|lost| lost.version > version);
        Ok(lost.unwrap_or(own))
    }

    /// Issues the next version. The bytes are kept before the ledger has their digest: after a cut
    /// they would not come out alike.
    async fn issue(
        &self,
        site: &SiteId,
        month: Month,
        by: Actor,
        replaces: Option<(Replaced, String)>,
    ) -> Result<Statement, BillingError> {
        let version = replaces.as_ref().map_or(1, |(of, _)| of.version.saturating_add(1));
        let draft_row = version_row(DRAFTS, site, month, version);
        let kept = self.months.load_rows(&draft_row)?.into_iter().next();
        // It may take minutes, or come to nothing: nothing is half-way meanwhile.
        let trust = match kept {
            Some(_) => Trust::default(),
            None => self.trust(site, month).await?,
        };
        let _writing = self.writing.read().await;
        let draft = match kept {
            Some((_, bytes)) => Draft::parse(&bytes)?,
            None => {
                let body = self.body(site, month, &by, (version, replaces), trust).await?;
                // Nothing of what nobody could read again is left behind.
                fitting(&body)?;
                if body.quality == Some(None) {
                    let alarm = Event::Alarm { reason: Alarm::StatementWithoutQuality };
                    let entry = Entry::new(body.issued_at, Actor::Server, alarm);
                    self.ask(move |ledger| ledger.append(entry)).await?;
                }
                let entries = self.ask(|ledger| Ok(ledger.head()?.size)).await?;
                let draft = Draft { entries, body };
                self.months.put_row(draft_row.clone(), draft.to_bytes()?).await?;
                draft
            }
        };
        let Draft { entries, body } = draft;
        let digest = Digest(sha256(&[&fitting(&body)?]));
        let event = Event::StatementIssued { site: site.clone(), month, version, digest };
        let wanted = event.clone();
        let index = match self.find(entries, move |entry| entry.event == wanted).await? {
            Some(entry) => entry.number,
            None => {
                let entry = Entry::new(body.issued_at, by, event);
                self.ask(move |ledger| ledger.append(entry)).await?.index
            }
        };
        let issued = self.ask(move |ledger| ledger.proof(index)).await?;
        let statement = Statement { body, issued };
        let row = version_row(ROWS, site, month, version);
        self.months.put_row(row, statement.to_bytes()?).await?;
        self.months.delete_row(draft_row).await?;
        Ok(statement)
    }

    async fn body(
        &self,
        site: &SiteId,
        month: Month,
        by: &Actor,
        (version, replaces): (u32, Option<(Replaced, String)>),
        trust: Trust,
    ) -> Result<Body, BillingError> {
        // First the time: everything that came until then is stated, however long the sets take.
        let issued_at = self.clock.now();
        let subject = self.closed(site, month)?;
        let earlier_corrections = self.earlier(site, month)?;
        let (evidence, recount) = self.recounted(site, month, version, &subject).await?;
        let mut before = self.stored(site, month)?;
        let bills_devices = match (before.first(), &replaces) {
            // As the first version did: none between may have billed by other rules.
            (Some(first), _) => first.body.billable.device_users.is_some(),
            (None, Some((lost, _))) => self.billed_devices(site, month, lost).await?,
            (None, None) => true,
        };
        let before = before.pop().map(|last| last.body);
        let subjects_least = self.least(before.as_ref());
        let said = subject.said(month, before.as_ref(), subjects_least);
        let (quality, members) = trust.said(said.members);
        let (replaces, reason) = replaces.unzip();
        let billable = Billable::of(version, &said.figures, &said.corrections);
        Ok(Body {
            format: said.format.to_owned(),
            ledger: self.ledger.verifier_key().name().to_owned(),
            site_id: said.site_id,
            billing_group: said.billing_group,
            month,
            version,
            replaces,
            reason,
            issued_at,
            issued_by: by.to_string(),
            time_zone: said.time_zone,
            from: said.from,
            to: said.to,
            // A group that nobody was counted of closed with its members, and some may be new.
            closed_at: before.map_or_else(|| subject.closed_at(), |first| first.closed_at),
            method: said.method,
            pseudonym_algorithm: said.pseudonym_algorithm,
            billable: billable.as_before(bills_devices),
            figures: said.figures,
            by_drm_type: said.by_drm_type,
            subjects_least: Some(subjects_least),
            excluded: said.excluded,
            corrections: said.corrections,
            earlier_corrections,
            evidence: Some(evidence),
            recount,
            quality,
            members,
        })
    }

    /// Whether a version that only the ledger knows billed devices that stand for users: surely
    /// where a stored statement of the same scope that the ledger had before is of a form that
    /// does. Else nobody can tell, and a bill is not raised by a guess.
    async fn billed_devices(
        &self,
        site: &SiteId,
        month: Month,
        lost: &Replaced,
    ) -> Result<bool, BillingError> {
        let Replaced { version, digest } = lost.clone();
        let wanted = Event::StatementIssued { site: site.clone(), month, version, digest };
        let Some(lost) = self.find(0, move |entry| entry.event == wanted).await? else {
            return Ok(false);
        };
        for (_, row) in self.months.load_rows(&format!("{ROWS}{site}/"))? {
            let Statement { body, issued } = Statement::parse(&row)?;
            if body.is_of_form_with_devices() && issued.index < lost.number {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The sets of a month counted again, and what became of them.
    async fn recounted(
        &self,
        site: &SiteId,
        month: Month,
        version: u32,
        subject: &Subject,
    ) -> Result<(Evidence, Option<Recounted>), BillingError> {
        // What is billed must be in the stored sets; what is late goes on coming.
        if version > 1 {
            self.months.fold().await?;
        }
        let found = self.months.recount(site.clone(), month).await?;
        let now = self.closed(site, month)?;
        let Some(found) = found else { return Ok((now.evidence(), None)) };
        let late_agrees = version == 1 || late_agrees(subject.tally(), now.tally(), &found);
        if !agrees(subject.tally(), &found) || !late_agrees {
            tracing::error!(%site, %month, "a month's sets and counters differ; no statement");
            return Err(BillingError::Failed);
        }
        let own = |count| (!site.is_group()).then_some(count);
        let late = |count| (version > 1).then_some(count);
        let recounted = Recounted {
            mau: found.users,
            devices: own(found.devices),
            watermark_users: own(found.watermark_users),
            device_users: own(found.device_users),
            late_users: late(found.late_users),
            late_device_users: own(found.late_device_users).and_then(late),
            user_set: Digest(found.digest),
        };
        Ok((Evidence::Live, Some(recounted)))
    }

    /// Asks the ledger, which waits for the disk.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, BillingError> {
        let ledger = Arc::clone(&self.ledger);
        let asked = tokio::task::spawn_blocking(move || question(&ledger)).await;
        Ok(asked.map_err(|_| BillingError::Failed)??)
    }

    /// The first entry from a number on that is wanted.
    async fn find(
        &self,
        from: u64,
        wanted: impl Fn(&Recorded) -> bool + Send + 'static,
    ) -> Result<Option<Recorded>, BillingError> {
        self.ask(move |ledger| search(ledger, from, |read| wanted(&read).then_some(read))).await
    }
}

/// The bytes of a body that is issued.
///
/// # Errors
/// When they are more than are read again: then every version of the month would be lost with it.
fn fitting(body: &Body) -> Result<Vec<u8>, BillingError> {
    let bytes = body.to_bytes()?;
    if bytes.len() <= BODY_BYTES_MAX {
        return Ok(bytes);
    }
    let (of, most) = (body.subject(), BODY_BYTES_MAX);
    tracing::error!(%of, bytes = bytes.len(), most, "a statement is too long to be issued");
    Err(BillingError::Failed)
}

/// What the ledger says of all months, from where it was read to before.
fn read_known(ledger: &Ledger, before: Known) -> Result<Known, LedgerError> {
    let mut known = before;
    search(ledger, known.read, |read| {
        known.read = read.number + 1;
        match read.event {
            Event::StatementIssued { site, month, version, digest } => {
                known.issued.insert((site, month), Some((version, digest)));
            }
            Event::StatementRemoved { site, month, .. } => {
                known.issued.insert((site, month), None);
            }
            Event::StatementChallenged { site, month, .. }
            | Event::RestatementChallenged { site, month, .. } => {
                *known.challenged.entry((site, month)).or_default() += 1;
            }
            _ => {}
        }
        None::<()>
    })?;
    Ok(known)
}

/// Reads the entries from a number on, until something is found.
fn search<T>(
    ledger: &Ledger,
    mut from: u64,
    mut found: impl FnMut(Recorded) -> Option<T>,
) -> Result<Option<T>, LedgerError> {
    let size = ledger.head()?.size;
    while from < size {
        let lines = ledger.read(from, READ_ENTRIES)?;
        for (line, entry) in lines.iter().zip(from..) {
            let read = Recorded::decode(line.as_bytes());
            let read = read.map_err(|_| LedgerError::Changed { entry })?;
            if let Some(found) = found(read) {
                return Ok(Some(found));
            }
        }
        from += lines.len().max(1) as u64;
    }
    Ok(None)
}

/// Whether the stored sets hold what the counters say.
fn agrees(tally: &Tally, found: &Recount) -> bool {
    let counters = &tally.counters;
    counters.mau == found.users
        && counters.mau_by_drm == found.users_by_drm
        && counters.devices == found.devices
        && counters.watermark_users == found.watermark_users
        && counters.device_users == found.device_users
        // A session without an id is counted and in no set.
        && counters.watermark_sessions >= found.sessions
}

/// Whether the sets of what came late hold what was counted before they were read, and no more than
/// was counted afterwards.
fn late_agrees(before: &Tally, after: &Tally, found: &Recount) -> bool {
    let (before, after) = (&before.corrections, &after.corrections);
    (before.mau..=after.mau).contains(&found.late_users)
        && (before.device_users..=after.device_users).contains(&found.late_device_users)
        && (before.devices..=after.devices).contains(&found.late_devices)
        && (before.watermark_users..=after.watermark_users).contains(&found.late_watermark_users)
}
