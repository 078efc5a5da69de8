//! Requests that need two people where the settings want it: the end of a site, and the
//! confirmation of a jump of the clock. The first one's request waits a week in a row beside those
//! of removals; the second one's, of another credential, is what happens. The request goes before
//! what was asked for comes, so after a cut two people are needed again.

use super::removal::{ROWS, WAITS_MS};
use super::{DeskError, Inner};
use crate::ledger::{Actor, Credential, Entry, Event};
use crate::model::time::Timestamp;
use crate::wire::retention::rows::{Asked, RemovalRow};

impl Inner {
    /// Until when the first person's request waits for a second one. `None` where this is the
    /// second one's, or one person is enough. `what` names the request among those of removals, and
    /// no month is written so; `reason` is kept with it, and a request with another one is of
    /// something else; `event` tells the ledger of a first one.
    ///
    /// # Errors
    /// [`DeskError::SamePerson`] for a second request by the first person.
    pub(super) async fn waits_for_second(
        &self,
        by: &Credential,
        (what, reason): (&str, &str),
        is_same: impl Fn(&str) -> bool,
        now: Timestamp,
        event: Event,
    ) -> Result<Option<Timestamp>, DeskError> {
        if !self.settings.two_people {
            return Ok(None);
        }
        let name = format!("{ROWS}{what}");
        let rows = self.vault.load_rows(&name)?.into_iter();
        let row = rows.filter(|(row, _)| *row == name).map(|(_, bytes)| RemovalRow::parse(&bytes));
        let asked = row.last().transpose()?.filter(|row| is_same(&row.reason));
        let asked = asked.map(|row| row.asked);
        let until = |at: Timestamp| Timestamp(at.0.saturating_add(WAITS_MS));
        match asked.filter(|asked| now <= until(asked.at)) {
            Some(asked) if asked.by == by.to_string() => Err(DeskError::SamePerson),
            Some(_) => {
                self.vault.delete_row(name).await?;
                Ok(None)
            }
            None => {
                self.append(Entry::new(now, Actor::Credential(by.clone()), event)).await?;
                let asked = Asked { by: by.to_string(), at: now };
                let row = RemovalRow { reason: reason.to_owned(), late_refused: false, asked };
                self.vault.put_row(name, row.to_bytes()?).await?;
                Ok(Some(until(now)))
            }
        }
    }
}
