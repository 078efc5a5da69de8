//! How a statement comes to be, so that a cut anywhere leaves one version or none, and the check of
//! one with nothing but the ledger's public key.

use std::sync::Arc;

use super::months::Recount;
use super::{BillingError, Inner, Issued, MONTHS_BACK};
use crate::crypto::sha256;
use crate::engine::UsageMonth;
use crate::identity::CANONICALIZER_VERSION;
use crate::ledger::{
    Actor, Digest, Entry, Event, Ledger, LedgerError, ProofError, Recorded, VerifierKey,
    verify_proof,
};
use crate::model::ids::SiteId;
use crate::model::time::Month;
use crate::model::usage::{Counters, State, Tally};
use crate::model::vocab::DrmType;
use crate::wire::statement::{
    Billable, Body, ByDrm, Draft, Earlier, Excluded, FORMAT, Method, Recounted, Replaced, Statement,
};
use crate::wire::usage::RULE_SET;

/// Before the names of statements' rows.
const ROWS: &str = "statement/";
/// Before the name of the row of a body whose entry may not be in the ledger yet.
const DRAFTS: &str = "statement-draft/";
/// The reason of the first version after one that only the ledger knows.
const RESTORED: &str = "the data was put back from a backup older than the version before";
/// Entries that are read at once.
const READ_ENTRIES: u64 = 1_000;
/// How many months before may have had late records since the last statement.
const EARLIER: usize = 4;

fn row_of(prefix: &str, site: &SiteId, month: Month) -> String {
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

    /// The last version; the first one is issued where there is none.
    pub(super) async fn last(
        &self,
        site: &SiteId,
        month: Month,
    ) -> Result<Statement, BillingError> {
        let _one = self.issuing.lock().await;
        self.last_held(site, month, false).await
    }

    /// The same for who holds the lock; `folded` where everything was folded since the month was
    /// seen closed.
    async fn last_held(
        &self,
        site: &SiteId,
        month: Month,
        folded: bool,
    ) -> Result<Statement, BillingError> {
        match self.stored(site, month)?.pop() {
            Some(last) => Ok(last),
            None => {
                let drafts = self.months.load_rows(&row_of(DRAFTS, site, month))?;
                let lost = if drafts.is_empty() { self.lost(site, month).await? } else { None };
                let replaces = lost.map(|lost| (lost, RESTORED.to_owned()));
                if !folded {
                    self.months.fold().await?;
                }
                self.issue(site, month, Actor::Server, replaces).await
            }
        }
    }

    /// The last version that the ledger knows of a statement of which nothing is stored: the data
    /// was put back from before it. Its number is never given to other figures. A statement that
    /// was removed when it was due is not issued again.
    async fn lost(&self, site: &SiteId, month: Month) -> Result<Option<Replaced>, BillingError> {
        let mut known = self.known.lock().await;
        let before = std::mem::take(&mut *known);
        *known = self.ask(move |ledger| issued(ledger, before)).await?;
        match known.all.get(&(site.clone(), month)) {
            None => Ok(None),
            Some(None) => Err(BillingError::NotFound),
            Some(Some((version, digest))) => {
                Ok(Some(Replaced { version: *version, digest: *digest }))
            }
        }
    }

    /// A version that takes the place of the last one.
    pub(super) async fn restate(
        &self,
        site: &SiteId,
        month: Month,
        by: Actor,
        reason: String,
    ) -> Result<Statement, BillingError> {
        let _one = self.issuing.lock().await;
        self.months.fold().await?;
        let mut last = self.last_held(site, month, true).await?;
        loop {
            let digest = Digest(sha256(&[&last.body.to_bytes()?]));
            let replaced = Replaced { version: last.body.version, digest };
            let asked = Some((replaced, reason.clone()));
            last = self.issue(site, month, by.clone(), asked).await?;
            // What a cut left of another restatement is finished first, and is not this one.
            let own = last.body.reason.as_ref() == Some(&reason);
            if own && last.body.issued_by == by.to_string() {
                return Ok(last);
            }
        }
    }

    /// Issues the statements of months that closed and had records, after one fold for all of them.
    pub(super) async fn issue_due(&self) -> Result<(), BillingError> {
        let (due, mut first) = self.due();
        if due.is_empty() {
            return first;
        }
        self.months.fold().await?;
        for (site, month) in due {
            let _one = self.issuing.lock().await;
            // One site's fault keeps no other site from its statement.
            if let Err(error) = self.last_held(&site, month, true).await {
                tracing::error!(%site, %month, %error, "no statement was issued");
                first = first.and(Err(error));
            }
        }
        first
    }

    /// The closed months that had records and have no statement; and the first fault on the way.
    fn due(&self) -> (Vec<(SiteId, Month)>, Result<(), BillingError>) {
        let (mut due, mut first) = (Vec::new(), Ok(()));
        for site in self.months.sites() {
            let Some(mut month) = site.closed_through else { continue };
            for _ in 0..MONTHS_BACK {
                match self.is_due(&site.id, month) {
                    Ok(true) => due.push((site.id.clone(), month)),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::error!(site = %site.id, %month, %error, "no statement was issued");
                        first = first.and(Err(error));
                    }
                }
                month = month.previous();
            }
        }
        (due, first)
    }

    fn is_due(&self, site: &SiteId, month: Month) -> Result<bool, BillingError> {
        let usage = self.months.usage(site, month)?;
        let any = usage.is_some_and(|usage| usage.tally.has_records());
        Ok(any && self.months.load_rows(&row_of(ROWS, site, month))?.is_empty())
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
        let draft = match self.months.load_rows(&draft_row)?.into_iter().next() {
            Some((_, bytes)) => Draft::parse(&bytes)?,
            None => {
                let body = self.body(site, month, &by, version, replaces).await?;
                let entries = self.ask(|ledger| Ok(ledger.head()?.size)).await?;
                let draft = Draft { entries, body };
                self.months.put_row(draft_row.clone(), draft.to_bytes()?).await?;
                draft
            }
        };
        let Draft { entries, body } = draft;
        let digest = Digest(sha256(&[&body.to_bytes()?]));
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
        version: u32,
        replaces: Option<(Replaced, String)>,
    ) -> Result<Body, BillingError> {
        let usage = self.months.usage(site, month)?.ok_or(BillingError::NotFound)?;
        if usage.state != State::Closed {
            return Err(BillingError::NotClosed);
        }
        // Nothing is stated of a time before the site.
        if usage.span.to <= usage.site.created_at && !usage.tally.has_records() {
            return Err(BillingError::NotFound);
        }
        let recounted = self.months.recount(site.clone(), month).await?;
        let UsageMonth { span, tally, closes_at, .. } = &usage;
        let Tally { counters, corrections, closed_at } = tally;
        let recount = match recounted {
            Some(found) if agrees(tally, &found) => Some(Recounted {
                mau: found.users,
                devices: found.devices,
                watermark_users: found.watermark_users,
                device_users: found.device_users,
                user_set: Digest(found.digest),
            }),
            Some(_) => {
                tracing::error!(%site, %month, "a month's sets and counters differ; no statement");
                return Err(BillingError::Failed);
            }
            None => None,
        };
        let quality = self.months.quality(site.clone(), month).await?;
        let settings = usage.site.settings_in(month);
        let (hours, counting) = (settings.closing_hours, settings.counting);
        // The first version bills the month as it closed.
        let more = if version > 1 { *corrections } else { Default::default() };
        let (replaces, reason) = replaces.unzip();
        Ok(Body {
            format: FORMAT.to_owned(),
            ledger: self.ledger.verifier_key().name().to_owned(),
            site_id: site.clone(),
            month,
            version,
            replaces,
            reason,
            issued_at: self.clock.now(),
            issued_by: by.to_string(),
            time_zone: usage.time_zone.clone(),
            from: span.from,
            to: span.to,
            closed_at: closed_at.unwrap_or(*closes_at),
            method: Method::new(RULE_SET, u32::from(CANONICALIZER_VERSION), hours, counting),
            figures: counters.into(),
            by_drm_type: by_drm(counters),
            excluded: excluded(counters),
            corrections: (*corrections).into(),
            earlier_corrections: self.earlier(site, month)?,
            billable: Billable {
                mau: counters.mau + more.users,
                licenses_issued: counters.licenses_issued + more.licenses_issued,
            },
            recount,
            quality: Some(quality),
        })
    }

    /// The corrections of the months before, the earliest first.
    fn earlier(&self, site: &SiteId, month: Month) -> Result<Vec<Earlier>, BillingError> {
        let mut earlier = Vec::new();
        let mut of = month;
        for _ in 0..EARLIER {
            of = of.previous();
            let usage = self.months.usage(site, of)?.ok_or(BillingError::NotFound)?;
            if usage.tally.corrections.records > 0 {
                let corrections = usage.tally.corrections.into();
                earlier.insert(0, Earlier { month: of, corrections });
            }
        }
        Ok(earlier)
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

fn by_drm(counters: &Counters) -> Vec<ByDrm> {
    let row = |(drm, mau, licenses_issued): (DrmType, u64, u64)| ByDrm {
        drm_type: drm.name().to_owned(),
        mau,
        licenses_issued,
    };
    counters.by_drm().map(row).collect()
}

fn excluded(counters: &Counters) -> Vec<Excluded> {
    let row = |(reason, records): (&str, u64)| Excluded { reason: reason.to_owned(), records };
    counters.exclusions().map(row).collect()
}

/// The last version of every statement that the ledger says was issued, from where it was read to
/// before.
fn issued(ledger: &Ledger, before: Issued) -> Result<Issued, LedgerError> {
    let mut known = before;
    search(ledger, known.read, |read| {
        known.read = read.number + 1;
        match read.event {
            Event::StatementIssued { site, month, version, digest } => {
                known.all.insert((site, month), Some((version, digest)));
            }
            Event::StatementRemoved { site, month, .. } => {
                known.all.insert((site, month), None);
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
}

/// Why a statement states nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The key file.
    #[error("the key is not a verifier key of a ledger; take verifier.key of the ledger directory")]
    Key,
    /// Another form, or another spelling.
    #[error(
        "the file is not a statement in the form that the server issued; get it anew, byte for byte"
    )]
    Form,
    /// Of another ledger.
    #[error("the statement is of another ledger than the key")]
    OtherLedger,
    /// The proof in it.
    #[error("the entry that the statement holds does not prove anything: {0}")]
    Proof(ProofError),
    /// The digest is another.
    #[error("the ledger has another digest of this statement: something in it was changed")]
    Digest,
}

/// A statement as a page for people.
///
/// # Errors
/// When there is no memory for it.
pub fn page(statement: &Statement) -> Result<Vec<u8>, BillingError> {
    Ok(statement.to_page(Digest(sha256(&[&statement.body.to_bytes()?]))))
}

/// The page of a statement's file, without asking whether it is genuine.
///
/// # Errors
/// When the file is none.
pub fn page_of(text: &[u8]) -> Result<Vec<u8>, StatementError> {
    let statement = Statement::parse(text).map_err(|_| StatementError::Form)?;
    page(&statement).map_err(|_| StatementError::Form)
}

/// Checks a statement with nothing but the ledger's public key; what it says.
///
/// # Errors
/// When it states nothing.
pub fn verify(text: &[u8], key: &str) -> Result<Body, StatementError> {
    let key = VerifierKey::parse(key).ok_or(StatementError::Key)?;
    let Statement { body, issued } = Statement::parse(text).map_err(|_| StatementError::Form)?;
    let entry = verify_proof(&issued, &key).map_err(StatementError::Proof)?;
    if !body.is_of_known_form() {
        return Err(StatementError::Form);
    }
    if body.ledger != key.name() {
        return Err(StatementError::OtherLedger);
    }
    let bytes = body.to_bytes().map_err(|_| StatementError::Form)?;
    let said = Event::StatementIssued {
        site: body.site_id.clone(),
        month: body.month,
        version: body.version,
        digest: Digest(sha256(&[&bytes])),
    };
    if entry.event == said { Ok(body) } else { Err(StatementError::Digest) }
}
