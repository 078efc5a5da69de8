//! A copy of the data while records come in: everything up to a barrier, no journal, no key.
//!
//! Most is folded and flushed first, while batches are taken; then the writer stands still for one
//! small fold and the copy (`writer/barrier.rs`), which is a matter of hard links. What is left,
//! opening the copy once to empty it of its journal, is done beside.

mod lease;

use std::path::PathBuf;
use std::sync::PoisonError;

use super::writer::Message;
use super::{Engine, EngineError, Shared};
use crate::keys::{KeyRing, KeysError, LedgerMark};
use crate::model::time::Timestamp;
use crate::store::backup::{BackupRow, DataMark};
use crate::store::{Changes, Store, Table, keys};
pub use lease::Lease;

/// A copy of the data, on the data's own disk until [`Engine::drop_copy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataCopy {
    /// Its directory.
    pub path: PathBuf,
    /// Its files.
    pub files: Vec<String>,
    /// Everything that was acknowledged before this is in it, and nothing after.
    pub barrier: Timestamp,
    /// The last journal group in it.
    pub folded_through: u64,
    /// How far keys and ledger were.
    pub mark: DataMark,
    /// To be held while it is read.
    pub lease: Lease,
}

/// What the data knows of keys and ledger; `None` before its first fold.
///
/// # Errors
/// When the row cannot be read.
pub fn mark_of(store: &Store) -> Result<Option<DataMark>, EngineError> {
    let own = match store.get(Table::Meta, keys::MARK)? {
        Some(row) => Some(DataMark::decode(&row)?),
        None => None,
    };
    let copied = backup_of(store)?.map(|row| row.mark);
    Ok(own.into_iter().chain(copied).max_by_key(|mark| mark.ledger_size))
}

/// What the data says of the backup that it is, until it was taken over.
///
/// # Errors
/// When the row cannot be read.
pub fn backup_of(store: &Store) -> Result<Option<BackupRow>, EngineError> {
    match store.get(Table::Meta, keys::BACKUP)? {
        Some(row) => Ok(Some(BackupRow::decode(&row)?)),
        None => Ok(None),
    }
}

/// How far keys and ledger are now.
///
/// # Errors
/// When the keys cannot be used any more.
pub(super) fn mark_now(ring: &KeyRing) -> Result<DataMark, KeysError> {
    let LedgerMark { size, root } = ring.mark()?;
    Ok(DataMark { generation: ring.generation()?, ledger_size: size, ledger_root: root })
}

impl Shared {
    /// How far keys and ledger are now.
    pub(super) fn mark(&self) -> Result<DataMark, EngineError> {
        Ok(mark_now(&self.ring)?)
    }

    /// Takes the copy beside the data away, if there is one, whoever is copying it: its links keep
    /// files that are to go. Answers how many files of it may still be open.
    pub(super) fn call_off_copy(&self) -> Result<u64, EngineError> {
        let copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lease) = copying.as_ref() else { return Ok(0) };
        let closed = lease.call_off();
        self.store.drop_checkpoint()?;
        tracing::warn!("a backup was called off, because files have to go; make it again");
        Ok(u64::from(!closed))
    }
}

impl Engine {
    /// Copies the data, for the backup whose intent has this number in the ledger; `known` is the
    /// ledger's mark after it. One at a time, and not while something is destroyed.
    ///
    /// # Errors
    /// When the disk is full, or the engine has stopped; then there is no copy.
    pub async fn copy_data(
        &self,
        operation: u64,
        known: LedgerMark,
    ) -> Result<DataCopy, EngineError> {
        self.aside(move |engine| {
            let shared = &engine.shared;
            let _still = shared.destroying.lock().unwrap_or_else(PoisonError::into_inner);
            let copied = engine.copy_now(operation, known);
            if copied.is_err() {
                let _ = shared.store.drop_checkpoint();
            }
            copied
        })
        .await
    }

    fn copy_now(&self, operation: u64, known: LedgerMark) -> Result<DataCopy, EngineError> {
        let shared = &self.shared;
        self.wait_for(Message::Fold)?;
        shared.store.flush()?;
        let mut copied = self.wait_for(Message::Checkpoint)?;
        let mark = &mut copied.mark;
        if known.size > mark.ledger_size {
            (mark.ledger_size, mark.ledger_root) = (known.size, known.root);
        }
        let row = BackupRow {
            replayed: false,
            operation,
            barrier: copied.barrier,
            folded_through: copied.folded_through,
            mark: copied.mark,
            done: [0; 3],
        };
        let mut changes = Changes::default();
        changes.put(Table::Meta, keys::BACKUP, row.encode());
        let files = Store::finish_checkpoint(&copied.path, &changes)?;
        let lease = Lease::default();
        let mut copying = shared.copying.lock().unwrap_or_else(PoisonError::into_inner);
        *copying = Some(lease.clone());
        Ok(DataCopy {
            path: copied.path,
            files,
            barrier: copied.barrier,
            folded_through: copied.folded_through,
            mark: copied.mark,
            lease,
        })
    }

    /// Whether a copy is being read, and nobody has called that off.
    pub fn is_copying(&self) -> bool {
        let copying = self.shared.copying.lock().unwrap_or_else(PoisonError::into_inner);
        copying.as_ref().is_some_and(|lease| !lease.is_called_off())
    }

    /// Removes the copy, once it lies elsewhere.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn drop_copy(&self) -> Result<(), EngineError> {
        self.aside(|engine| {
            let shared = &engine.shared;
            let mut copying = shared.copying.lock().unwrap_or_else(PoisonError::into_inner);
            shared.store.drop_checkpoint()?;
            *copying = None;
            Ok(())
        })
        .await
    }

    /// The backup that this data was put back from, until it was taken over.
    ///
    /// # Errors
    /// When the row cannot be read.
    pub fn backup(&self) -> Result<Option<BackupRow>, EngineError> {
        backup_of(&self.shared.store)
    }

    /// The data was taken over: it is like any other from here on.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn end_restore(&self) -> Result<(), EngineError> {
        self.aside(|engine| {
            let mut changes = Changes::default();
            changes.delete(Table::Meta, keys::BACKUP);
            Ok(engine.shared.store.apply(&changes)?)
        })
        .await
    }
}
