//! A backfill's number is that of its entry in the ledger, so the entry comes before the backfill,
//! and the engine may refuse it then, or the process may end between the two. The ledger must not
//! go on saying that there is one: a second operation says that it is not there. A row of the desk
//! has the ledger's size from before the entry until the backfill is there or that is said.

use std::sync::Arc;

use super::{BackfillError, Inner};
use crate::ledger::{Actor, Entry, Event, Keys, LedgerError, Note, Recorded, Word};
use crate::model::backfill::Job;
use crate::model::ids::SiteId;

/// The row: how many entries the ledger had, in decimal digits.
const ROW: &str = "backfill-making";
/// Why a backfill ends that is not there, and what came of it.
const NOT_THERE: &str = "not_there";
/// What the ledger has in the place of a reason.
const REASON_KEPT: &str = "kept with the backfill";
/// Entries that are read at once.
const READ_ENTRIES: u64 = 1_000;

/// What the ledger says of a backfill that may not be there.
struct Said {
    number: u64,
    site: SiteId,
    /// The operation that ends it, and whether that has ended.
    end: Option<(u64, bool)>,
}

impl Inner {
    /// Writes a backfill down, and makes it.
    pub(super) async fn make(
        &self,
        by: Actor,
        site: SiteId,
        mut job: Job,
    ) -> Result<Arc<Job>, BackfillError> {
        // A row that is left speaks of a backfill before this one, which may be none.
        self.unmade().await?;
        let entries = self.ledger.head()?.size;
        self.engine.put_desk_row(ROW, entries.to_string().as_bytes()).await?;
        // What somebody wrote freely may name a person, and the ledger never forgets: the text is
        // in the backfill's row, and goes with it.
        let reason = Note::parse(REASON_KEPT).ok_or(BackfillError::Failed)?;
        let event = Event::BackfillMade { site, from: job.from, to: job.to, reason };
        job.number = self.note(by, event).await?.operation;
        let made = self.engine.make_backfill(job).await;
        if made.is_err()
            && let Err(error) = self.unmade().await
        {
            tracing::error!(%error, "the ledger has a backfill that is not there, for now");
        } else if made.is_ok() {
            self.engine.delete_desk_row(ROW).await?;
        }
        Ok(made?)
    }

    /// Says of a backfill that was written down and not made that it is not there. Cut anywhere, it
    /// is said once.
    pub(super) async fn unmade(&self) -> Result<(), BackfillError> {
        let Some((_, row)) = self.engine.desk_rows(ROW)?.into_iter().next() else { return Ok(()) };
        // What was asked of the engine before is done or refused when this is written; an engine
        // that has stopped cannot tell which, and the next start can.
        self.engine.put_desk_row(ROW, &row).await?;
        let entries = std::str::from_utf8(&row).ok().and_then(|digits| digits.parse().ok());
        let entries: u64 = entries.ok_or(BackfillError::Failed)?;
        let ledger = Arc::clone(&self.ledger);
        let said = tokio::task::spawn_blocking(move || said_from(&ledger, entries)).await;
        let said = said.map_err(|_| BackfillError::Failed)??;
        if let Some(said) = said.filter(|said| self.engine.backfill(said.number).is_none()) {
            self.not_there(said).await?;
        }
        Ok(self.engine.delete_desk_row(ROW).await?)
    }

    async fn not_there(&self, Said { number, site, end }: Said) -> Result<(), BackfillError> {
        let operation = match end {
            Some((_, true)) => return Ok(()),
            Some((operation, false)) => operation,
            None => {
                let why = Word::of(NOT_THERE);
                let intent = Event::BackfillAbandonIntent { backfill: number, site, why };
                self.note(Actor::Server, intent).await?.operation
            }
        };
        let (outcome, keys) = (Word::of(NOT_THERE), Keys::of([]));
        let event = Event::BackfillAbandonResult { backfill: number, outcome, records: 0, keys };
        let entry = Entry::result(self.clock.now(), Actor::Server, operation, event);
        self.append(entry).await.map(drop)
    }
}

/// The first backfill that was written down from an entry on: backfills are made one at a time, so
/// it is the one of the row.
fn said_from(ledger: &crate::ledger::Ledger, mut from: u64) -> Result<Option<Said>, LedgerError> {
    let (size, mut said) = (ledger.head()?.size, None::<Said>);
    while from < size {
        let lines = ledger.read(from, READ_ENTRIES)?;
        for (line, entry) in lines.iter().zip(from..) {
            let read = Recorded::decode(line.as_bytes());
            let read = read.map_err(|_| LedgerError::Changed { entry })?;
            match (read.event, &mut said) {
                (Event::BackfillMade { site, .. }, None) => {
                    said = Some(Said { number: read.number, site, end: None });
                }
                (
                    Event::BackfillAbandonIntent { backfill, .. }
                    | Event::BackfillCloseIntent { backfill, .. },
                    Some(said),
                ) if backfill == said.number => said.end = Some((read.number, false)),
                (
                    Event::BackfillAbandonResult { backfill, .. }
                    | Event::BackfillCloseResult { backfill, .. },
                    Some(Said { number, end: Some((_, is_over)), .. }),
                ) if backfill == *number => *is_over = true,
                _ => {}
            }
        }
        from += lines.len().max(1) as u64;
    }
    Ok(said)
}
