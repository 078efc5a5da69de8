//! A start on data that was put back from a backup: the ledger is told, the engine and the desk are
//! brought to where the ledger is, and only then is anything served.

use super::AppError;
use super::hooks::Hooks;
use crate::audit::Audit;
use crate::backup::history::History;
use crate::engine::Engine;
use crate::engine::backup::{backup_of, mark_of};
use crate::engine::restore::{Replay, Replayed};
use crate::keys::LedgerMark;
use crate::ledger::{Actor, Entry, Epoch, Event, LedgerError, Recorded, Witness, Word};
use crate::model::batch;
use crate::model::retention::Lot;
use crate::model::time::Timestamp;
use crate::retention;
use crate::store::Store;
use crate::store::backup::BackupRow;
use crate::webhooks::{self, Since};

use super::rooms::OpenError;

/// Entries that are read at once.
const READ_ENTRIES: u64 = 1_000;

/// Data that is being taken over.
pub struct Restored {
    row: BackupRow,
    /// The time of the ledger's last entry before this start.
    alive_until: Timestamp,
    history: History,
}

/// Refuses a ledger that is older than the data, and looks whether the data is a backup.
///
/// # Errors
/// When the ledger is behind or another one, or something cannot be read.
pub fn look(
    store: &Store,
    audit: &Audit,
    alive_until: Timestamp,
) -> Result<Option<Restored>, OpenError> {
    if let Some(mark) = mark_of(store)? {
        let mark = LedgerMark { size: mark.ledger_size, root: mark.ledger_root };
        audit.ledger().covers_of(Witness::Data, mark)?;
    }
    let Some(row) = backup_of(store)? else { return Ok(None) };
    let history = History::read(audit.ledger())?;
    Ok(Some(Restored { row, alive_until, history }))
}

/// The time of the ledger's last entry; nothing where it has none.
///
/// # Errors
/// When the entry cannot be read.
pub fn last_entry(audit: &Audit) -> Result<Timestamp, LedgerError> {
    let ledger = audit.ledger();
    let size = ledger.head()?.size;
    let Some(last) = size.checked_sub(1) else { return Ok(Timestamp(0)) };
    let line = ledger.read(last, 1)?.pop().unwrap_or_default();
    let read = Recorded::decode(line.as_bytes());
    Ok(read.map_err(|_| LedgerError::Changed { entry: last })?.time)
}

/// Writes down which records on hold are lost: those that were moved to hold storage after the
/// backup. Each once, also where a cut has this done again.
async fn note_lost(engine: &Engine, audit: &Audit, operation: u64) -> Result<(), AppError> {
    let mut wanted = Vec::new();
    for held in engine.held().map_err(OpenError::from)?.into_iter().filter(|held| held.lost) {
        let Lot::Records(bucket) = held.lot else { continue };
        wanted.push(Event::HoldLost {
            hold: held.hold.0,
            site: held.site,
            class: Word::of(bucket.class.name()),
            epoch: match bucket.epoch {
                batch::Epoch::Month(month) => Epoch::Month(month),
                batch::Epoch::Day(day) => Epoch::Day(day),
            },
        });
    }
    let ledger = audit.ledger();
    let (mut from, size) = (operation, ledger.head().map_err(OpenError::from)?.size);
    while from < size && !wanted.is_empty() {
        let lines = ledger.read(from, READ_ENTRIES).map_err(OpenError::from)?;
        let read = lines.iter().filter_map(|line| Recorded::decode(line.as_bytes()).ok());
        read.for_each(|entry| wanted.retain(|event| *event != entry.event));
        from += lines.len().max(1) as u64;
    }
    for event in wanted {
        tracing::error!(?event, "records on hold were moved after the backup and are lost");
        audit.note(Actor::Server, event).await.map_err(OpenError::from)?;
    }
    Ok(())
}

impl Restored {
    /// What the engine is brought to.
    pub fn replay(&self) -> &Replay {
        &self.history.replay
    }

    /// The rest, once the engine is open: the desk's rows, the ledger's entries, and the end.
    ///
    /// # Errors
    /// When the ledger or the engine refuses; the next start begins again.
    pub async fn take_over(
        self,
        engine: &Engine,
        audit: &Audit,
        replayed: Replayed,
    ) -> Result<(), AppError> {
        let backup = self.row.operation;
        let open = audit.ledger().unfinished().map_err(OpenError::from)?;
        // One that a cut left open, or a new one.
        let own = open.iter().find(
            |entry| matches!(entry.event, Event::RestoreIntent { backup: of, .. } if of == backup),
        );
        let operation = match own {
            Some(entry) => entry.number,
            None => {
                let (lost_from, lost_until) = (self.row.barrier, self.alive_until);
                let event = Event::RestoreIntent { backup, lost_from, lost_until };
                let noted = audit.note(Actor::Server, event).await.map_err(OpenError::from)?;
                noted.operation
            }
        };
        let holds = retention::replay(engine, &self.history.desk).await?;
        let hooks = Hooks { engine: engine.clone(), audit: audit.clone() };
        let since = Since { operation: backup, barrier: self.row.barrier };
        let now = engine.clock().now();
        let hooked = webhooks::replay(&hooks, &self.history.hooks, since, now).await?;
        if !hooked.disabled.is_empty() || !hooked.removed.is_empty() {
            tracing::warn!(
                removed = ?hooked.removed,
                disabled = ?hooked.disabled,
                "webhooks that were removed after the backup are removed again; those whose secret \
                 was replaced after it are disabled: make them anew"
            );
        }
        note_lost(engine, audit, operation).await?;
        let event = Event::RestoreResult {
            lots: replayed.lots,
            tokens_revoked: replayed.tokens,
            sites_terminated: replayed.sites,
            holds,
        };
        let entry = Entry::result(now, Actor::Server, operation, event);
        audit.ledger().append(entry).map_err(OpenError::from)?;
        engine.end_restore().await.map_err(OpenError::from)?;
        tracing::warn!(
            lost_from = %self.row.barrier,
            ran_until = %self.alive_until,
            lots = replayed.lots,
            "this data was put back from a backup: what was acknowledged from the first time on is \
             not in it; have it sent again"
        );
        Ok(())
    }
}
