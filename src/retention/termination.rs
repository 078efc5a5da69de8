//! The end of a site: collection stops at once, and what is left is due within six months. Where
//! the settings want two people for it, the first one's request waits, as that of a removal does.

use std::collections::BTreeSet;

use super::{Desk, DeskError, Inner, credential};
use crate::ledger::{Actor, Entry, Event};
use crate::model::caller::Caller;
use crate::model::ids::SiteId;
use crate::model::time::Timestamp;
use crate::wire::admin::site_to_value;
use crate::wire::retention::TerminateRequest;
use crate::wire::retention::view::waits_to_json;

/// Before the name of the row that says that the ledger has a site's end.
const ROWS: &str = "terminated/";

/// What stands in the row of a request that waits: no removal of a month has this reason.
const REASON: &str = "termination";

/// The name of that row.
pub(super) fn row_of(site: &SiteId) -> String {
    format!("{ROWS}{site}")
}

impl Desk {
    /// Ends a site's collection, or asks for it where two people are needed: whether it has ended,
    /// and the answer. A site that has ended keeps its time. The request's text is used up.
    ///
    /// # Errors
    /// [`DeskError::SamePerson`] for a second request by the first person.
    /// [`DeskError::ClockAhead`] while a jump of the clock waits for its confirmation: what is left
    /// of the site would be due by a time that nobody believes.
    pub async fn terminate(
        &self,
        caller: &Caller,
        site: SiteId,
        text: &mut [u8],
    ) -> Result<(bool, Vec<u8>), DeskError> {
        let request = TerminateRequest::parse(text)?;
        let (inner, caller) = (self.0.clone(), caller.clone());
        self.whole(async move { inner.terminate(&caller, site, request).await }).await
    }
}

impl Inner {
    /// Tells the ledger of sites whose end a cut kept from it: a restore would have them collect
    /// again.
    pub(super) async fn note_ended_sites(&self, now: Timestamp) -> Result<(), DeskError> {
        let _deciding = self.deciding.lock().await;
        let rows = self.vault.load_rows(ROWS)?;
        let known: BTreeSet<String> = rows.into_iter().map(|(name, _)| name).collect();
        for site in self.vault.sites() {
            let (Some(terminated_at), row) = (site.terminated_at, row_of(&site.id)) else {
                continue;
            };
            if known.contains(&row) {
                continue;
            }
            let event =
                Event::SiteTerminated { site: site.id.clone(), terminated_at, reason: None };
            self.append(Entry::new(now, Actor::Server, event)).await?;
            self.vault.put_row(row, Vec::new()).await?;
        }
        Ok(())
    }

    async fn terminate(
        &self,
        caller: &Caller,
        site: SiteId,
        request: TerminateRequest,
    ) -> Result<(bool, Vec<u8>), DeskError> {
        let by = credential(caller)?;
        let _deciding = self.deciding.lock().await;
        // Not the clock: set back by half a year it would make everything of the site due at once.
        let (now, is_believed) = self.believed();
        if !is_believed {
            return Err(DeskError::ClockAhead);
        }
        let found = self.vault.site(&site).filter(|found| !found.id.is_group());
        let lives = found.ok_or(DeskError::NotFound)?.terminated_at.is_none();
        let event = Event::TerminationRequested { site: site.clone() };
        let what = format!("{site}/site");
        if lives
            && let Some(until) = self
                .waits_for_second(caller, (&what, REASON), |of| of == REASON, now, event)
                .await?
        {
            return Ok((false, waits_to_json("termination_requested", until)));
        }
        let ended = self.vault.terminate(site.clone(), now).await?;
        let row = row_of(&site);
        // A cut between the two is made good by the same request again, or by the next run.
        if self.vault.load_rows(&row)?.iter().all(|(name, _)| *name != row) {
            let terminated_at = ended.terminated_at.unwrap_or(now);
            // What somebody wrote freely may name a person, and the ledger never forgets: it is
            // kept beside the site, and goes with it.
            let said = request.reason.unwrap_or_default().into_bytes();
            let event = Event::SiteTerminated { site, terminated_at, reason: None };
            self.append(Entry::new(now, Actor::Credential(by), event)).await?;
            self.vault.put_row(row, said).await?;
        }
        Ok((true, site_to_value(&ended).to_string().into_bytes()))
    }
}
