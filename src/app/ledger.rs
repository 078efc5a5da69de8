//! Opens the ledger before the keys, and makes it the witness of every write of the key register.

use std::sync::Arc;

use super::rooms::OpenError;
use crate::admin::{Noting, Scribe, Unwritten};
use crate::audit::Audit;
use crate::config::Settings;
use crate::crypto::random_bytes;
use crate::keys::vek::LedgerMark;
use crate::keys::{self, FileMark, Known, RegisterWrite, Said, Unwitnessed, VaultId, Witness};
use crate::ledger::{Actor, CHECKPOINTS, Event, Keys, Ledger, SecondCopy, Vault};
use crate::model::time::Clock;
use crate::observe::Registry;

/// Opens the ledger that belongs to the keys, or makes it where the keys know of none.
///
/// The keys may write to their register while they are opened, and the ledger is told of each
/// write. So the marks that the keys carry are read from their files first, in clear.
///
/// # Errors
/// When the ledger is missing, older than the keys, another one, or damaged.
pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Audit, OpenError> {
    let mut ledger = settings.ledger.clone();
    ledger.marks = carried(&keys::marks(&settings.keys)?);
    let known = ledger.marks.iter().map(|mark| mark.size).max().unwrap_or(0);
    if known > 0 && !ledger.dir.join(CHECKPOINTS).exists() {
        // Looked at before anything is made: a new ledger would hide the loss.
        return Err(OpenError::LedgerGone(ledger.dir, known));
    }
    if ledger.name.is_empty() {
        let digits: [u8; 8] = random_bytes();
        ledger.name = format!("blindtally/{:016x}", u64::from_be_bytes(digits));
    }
    let (ledger, opened) = Ledger::open(&ledger, clock.now())?;
    if opened.cut_bytes > 0 || opened.rebuilt {
        let (entries, bytes, rebuilt) = (opened.cut_entries, opened.cut_bytes, opened.rebuilt);
        tracing::warn!(entries, bytes, rebuilt, "the ledger was cut while it was written");
    }
    if is_behind(opened.second_copy) {
        let state = opened.second_copy;
        tracing::warn!(?state, "the second copy of the ledger does not follow");
    }
    Ok(Audit::new(Arc::new(ledger), clock))
}

/// The marks of files that have one.
pub fn carried(files: &[FileMark]) -> Vec<LedgerMark> {
    let marks = files.iter().filter_map(|file| match file.said {
        Said::Mark(mark) if mark.size > 0 => Some(mark),
        _ => None,
    });
    marks.collect()
}

fn is_behind(state: SecondCopy) -> bool {
    !matches!(state, SecondCopy::NotConfigured | SecondCopy::InStep)
}

/// Writes an entry of each write of the key register before it happens. What it costs: two syncs
/// more, for the keys of a site's month, of a day's duplicates, of the buckets of a fold, and of a
/// journal segment. Without an entry there is no write, and the process stops.
pub struct RegisterWitness(pub Audit);

impl Witness for RegisterWitness {
    fn note(&self, write: &RegisterWrite) -> Result<LedgerMark, Unwitnessed> {
        let event = Event::RegisterWritten {
            vault: Vault(write.vault.0),
            generation: write.generation,
            vek_epoch: write.vek_epoch,
            made: Keys::of(write.made.iter().map(|(id, _)| *id)),
            gone: Keys::of(write.gone.iter().map(|(id, _)| *id)),
        };
        let noted = self.0.note_now(Actor::Server, event).map(|receipt| receipt.mark());
        noted.map_err(|error| {
            // The register takes no write without its entry, so the server cannot go on.
            self.0.fail(&format!("the key register cannot be written, because {error}"));
            Unwitnessed
        })
    }

    fn known(&self, vault: VaultId) -> Known {
        self.0.ledger().noted_at_start().of(&vault.0)
    }
}

impl Scribe for Audit {
    fn note(&self, actor: Actor, event: Event) -> Noting<'_> {
        let noting = Self::note(self, actor, event);
        Box::pin(async move { noting.await.map(drop).map_err(|_| Unwritten) })
    }
}

/// Shows the ledger in the metrics.
pub fn register(audit: &Audit, registry: &Registry) {
    let ledger = Arc::clone(audit.ledger());
    let help = "Entries of the ledger.";
    // After a failed write there is no head, and the process ends.
    registry.total("blindtally_ledger_entries", help, move || {
        ledger.head().map_or(0, |head| head.size)
    });
    let ledger = Arc::clone(audit.ledger());
    let help =
        "Whether the second copy of the ledger's checkpoints does not follow (1) or does (0).";
    registry.probe("blindtally_ledger_second_copy_behind", help, move || {
        i64::from(is_behind(ledger.second_copy()))
    });
}
