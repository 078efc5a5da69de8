//! What is due of the small rows: tokens that ended, holds that were released, requests for a
//! removal that nobody confirmed, statements, and plain counts ([`super::counts`]). They hold names
//! of credentials, an operator's words and counts, and nothing of an end user; they are in clear or
//! sealed under the key that lives as long as the vault. So their end is that their rows go and the
//! files that held them are rewritten; no certificate says more. A row says so until the files are
//! rewritten: cut before, the next sweep does it.

use std::collections::BTreeSet;

use super::due::add_months;
use super::inventory::Sweep;
use super::plan::COPY_WAIT_DAYS;
use super::policy::RetentionClass;
use super::removal::{self, WAITS_MS};
use super::{DeskError, Inner, holds};
use crate::engine::EngineError;
use crate::engine::names::REWRITE;
use crate::ledger::{Actor, Alarm, Credential, Entry, Event};
use crate::model::arrival::Hour;
use crate::model::ids::SiteId;
use crate::model::time::{DAY_MS, Day, Month, Timestamp};
use crate::wire::retention::rows::{HoldRow, RemovalRow};
use crate::wire::statement::Statement;

/// The row that says that rows were removed whose files are not rewritten yet.
pub(super) const ROW: &str = REWRITE;
/// Before the names of statements' rows, which go on with site, month and version.
pub(super) const STATEMENTS: &str = "statement/";

impl Inner {
    /// Removes what is due by this believed time; how many rows.
    pub(super) async fn sweep(&self, now: Timestamp) -> Result<u64, DeskError> {
        let (mut swept, mut in_use) = (0, false);
        // The registers do not list the keys of what is being destroyed, so nobody can tell that
        // nothing is left of its months and sites.
        let destroying = !self.vault.unfinished_destruction().is_empty()
            || !self.vault.waiting_destruction().is_empty();
        for sweep in Sweep::ALL {
            swept += match sweep {
                Sweep::Rejects => match self.rejects_due(now).await {
                    Err(EngineError::InUse) => {
                        in_use = true;
                        0
                    }
                    ended => ended?,
                },
                Sweep::Tokens => self.tokens_due(now).await?,
                Sweep::Holds => self.holds_due(now).await?,
                Sweep::Removals => self.removals_due(now).await?,
                Sweep::Statements => self.statements_due(now).await?,
                Sweep::Figures | Sweep::Sites if destroying => 0,
                Sweep::Figures => self.figures_due(now).await?,
                Sweep::Sites => self.sites_due(now).await?,
            };
        }
        // Also what an earlier sweep removed that was cut here.
        if self.state().sweeping {
            tracing::info!(rows = swept, "rows that were due are removed");
            match self.vault.rewrite_rows().await {
                // The row stays, so the next run tries it again.
                Err(EngineError::InUse) => in_use = true,
                rewritten => {
                    rewritten?;
                    self.vault.delete_row(ROW.to_owned()).await?;
                    self.state().sweeping = false;
                }
            }
        }
        self.figures.in_use(in_use);
        self.lasting(Alarm::FilesInUse, in_use).await?;
        Ok(swept)
    }

    /// Before a row is removed: a cut from here on has the next sweep rewrite the files.
    pub(super) async fn removing(&self) -> Result<(), DeskError> {
        if !self.state().sweeping {
            self.vault.put_row(ROW.to_owned(), Vec::new()).await?;
            self.state().sweeping = true;
        }
        Ok(())
    }

    /// Why records were refused, by the days on which they arrived; how many hours knew it. How
    /// many they were stays.
    async fn rejects_due(&self, now: Timestamp) -> Result<u64, EngineError> {
        let days = self.policy_at(now).days(RetentionClass::Rejects);
        let Some(days) = days else { return Ok(0) };
        // It would call a backup off.
        let more = if self.vault.is_copying() { COPY_WAIT_DAYS } else { 0 };
        let first_kept = now.day().0.saturating_sub(days + more);
        self.vault.end_reasons(Hour::of(Day(first_kept).start())).await
    }

    /// Tokens whose end is longer ago than the class allows. A revoked one has no row any more.
    async fn tokens_due(&self, now: Timestamp) -> Result<u64, DeskError> {
        let months = self.policy_at(now).years_as_months(RetentionClass::AccessLog);
        let Some(months) = months else { return Ok(0) };
        let ends = self.vault.token_ends();
        let (mut swept, all) = (0, ends.len() as u64);
        for (key_id, expires_at) in ends {
            // The last one stays: a vault without any token makes a new operator's.
            if add_months(expires_at, months) > now || swept + 1 == all {
                continue;
            }
            self.removing().await?;
            if let Some(token) = Credential::parse(&key_id) {
                let event = Event::TokenRevoked { token };
                self.append(Entry::new(now, Actor::Server, event)).await?;
            }
            self.vault.delete_token(key_id).await?;
            swept += 1;
        }
        Ok(swept)
    }

    /// Holds that were released so long ago. The latest one stays, because it knows which number
    /// comes next.
    async fn holds_due(&self, now: Timestamp) -> Result<u64, DeskError> {
        let months = self.policy_at(now).years_as_months(RetentionClass::Disputes);
        let Some(months) = months else { return Ok(0) };
        let is_due = |hold: &HoldRow| {
            hold.in_ledger
                && hold.released.as_ref().is_some_and(|end| add_months(end.at, months) <= now)
        };
        let _deciding = self.deciding.lock().await;
        let mut due: Vec<u64> =
            self.state().holds.values().filter(|hold| is_due(hold)).map(|h| h.number).collect();
        let last = self.state().holds.last_key_value().map(|(number, _)| *number);
        // One whose copies are not gone yet says why they may go.
        let copies: BTreeSet<u64> = self.vault.held()?.iter().map(|held| held.hold.0).collect();
        due.retain(|number| Some(*number) != last && !copies.contains(number));
        for number in &due {
            self.removing().await?;
            self.vault.delete_row(holds::row_of(*number)).await?;
            self.state().holds.remove(number);
        }
        Ok(due.len() as u64)
    }

    /// Statements of a month whose last version was issued so long ago, all versions together: each
    /// names the one before. Months are read in their order, and none that is too young.
    async fn statements_due(&self, now: Timestamp) -> Result<u64, DeskError> {
        let months = self.policy_at(now).years_as_months(RetentionClass::Statements);
        let Some(months) = months else { return Ok(0) };
        let mut swept = 0;
        let sites = self.vault.sites().into_iter().map(|site| site.id.clone());
        for scope in sites.chain(self.vault.groups()) {
            let own = format!("{STATEMENTS}{scope}/");
            let mut from = own.clone();
            while let Some((name, _)) = self.vault.load_row_from(&own, &from)? {
                let month = name.strip_prefix(&own).and_then(|rest| rest.split('/').next());
                let month = month.and_then(|text| Month::parse(text.as_bytes()));
                let month = month.ok_or(DeskError::Failed)?;
                // Nothing is issued before the end of its month, which is a day earlier at most
                // than that of UTC.
                let ended = Timestamp(month.next().start().0 - DAY_MS);
                if add_months(ended, months) > now {
                    break;
                }
                swept += self.statement_due((scope.clone(), month), months, now).await?;
                // Behind the digits of every version.
                from = format!("{own}{month}/~");
            }
        }
        Ok(swept)
    }

    async fn statement_due(
        &self,
        (site, month): (SiteId, Month),
        months: u32,
        now: Timestamp,
    ) -> Result<u64, DeskError> {
        let versions = self.vault.load_rows(&format!("{STATEMENTS}{site}/{month}/"))?;
        let mut last = (0, Timestamp(i64::MIN));
        for (_, row) in &versions {
            let body = Statement::parse(row)?.body;
            last = (last.0.max(body.version), last.1.max(body.issued_at));
        }
        let (version, issued_at) = last;
        if add_months(issued_at, months) > now {
            return Ok(0);
        }
        // Before the rows: a row that a cut leaves is removed by the next run.
        self.removing().await?;
        let event = Event::StatementRemoved { site: site.clone(), month, version };
        self.append(Entry::new(now, Actor::Server, event)).await?;
        let swept = versions.len() as u64;
        for (name, _) in versions {
            self.vault.delete_row(name).await?;
        }
        Ok(swept + self.questions_end(&site, month).await?)
    }

    /// Requests for a removal whose second person did not come.
    pub(super) async fn removals_due(&self, now: Timestamp) -> Result<u64, DeskError> {
        // A first request that takes the place of one that has lapsed comes before or after.
        let _deciding = self.deciding.lock().await;
        let mut swept = 0;
        for (name, bytes) in self.vault.load_rows(removal::ROWS)? {
            let asked = RemovalRow::parse(&bytes)?.asked;
            if asked.at.0.saturating_add(WAITS_MS) < now.0 {
                self.removing().await?;
                self.vault.delete_row(name).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}
