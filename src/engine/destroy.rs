//! Destruction of lots: fold what may hold a victim, let nothing more in, destroy the keys, drop
//! what memory holds, remove the rows and the files, and try what must not open any more.
//!
//! A row in the default table says what is being destroyed; it is written first and removed last,
//! so a start knows of a destruction that was cut short, and the same call goes on with it. Nothing
//! is reported destroyed before the keys are, and these are when [`KeyRing::destroy`] says so.
//!
//! A destroyed lot's name is never given again. A row of a destroyed bucket is counted and not
//! kept (`not_retained`); a month that lost one of its keys takes no rows any more: they are
//! duplicates where their event is known, else `too_old`, and the month's figures are final.
//!
//! What is on hold gets its copy in hold storage ([`hold`]) between fold and keys. Such a copy ends
//! by the same steps in the vault of the holds; nothing has to be shut or folded for it.
//!
//! [`KeyRing::destroy`]: crate::keys::KeyRing::destroy
//! [`hold`]: super::hold

mod aside;
mod floor;
pub mod lots;
pub(super) mod run;
pub(super) mod trial;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

pub(super) use aside::Waiting;
pub(super) use lots::lot_of;
use tokio::sync::oneshot;

use super::{Engine, EngineError, spawn};
use crate::keys::{self, KeyInfo, KeyRing, LedgerMark, Victim};
use crate::model::batch::SiteMonth;
use crate::model::ids::{HoldNo, KeyId, SiteId};
use crate::model::retention::{Doom, Lot};
use crate::model::time::Timestamp;
use crate::store::Store;

/// A living lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotInfo {
    /// Which.
    pub lot: Lot,
    /// Its site.
    pub site: SiteId,
    /// Its living keys.
    pub keys: Vec<KeyId>,
    /// When its month or day ends.
    pub ends_at: Timestamp,
}

/// A step of a destruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestroyStep {
    /// The row of the destruction is written; from then on nothing more gets in.
    Close,
    /// Everything from before is folded, and the journal keys from before are retired.
    Fold,
    /// What will be destroyed is noted: records, keys, commitments.
    Note,
    /// What is on hold is copied to hold storage, and opened there.
    Keep,
    /// The copies are made whole: from then on the keys may go.
    Kept,
    /// The keys are destroyed.
    Keys,
    /// The register has done this step of the destruction of keys, and the next one begins.
    After(keys::Step),
    /// What memory holds is dropped.
    Memory,
    /// Everything that is still stored is tried.
    Trial,
    /// The rows are removed.
    Rows,
    /// The files that held them are rewritten or removed.
    Files,
    /// What is left is looked for.
    Verify,
    /// The row of the destruction is removed.
    End,
}

/// Who follows a destruction: a progress line, or a test that ends the process.
pub trait DestroySteps: Send + Sync {
    /// A step begins. The keys may be locked: it must not ask the engine for anything.
    fn begins(&self, step: DestroyStep);
}

/// Nobody.
impl DestroySteps for () {
    fn begins(&self, _: DestroyStep) {}
}

/// What verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// No key opens anything, and nothing is left.
    Passed,
    /// A key still opens: nothing is destroyed.
    KeyStillOpens,
    /// The keys are destroyed, and so many rows or files that they opened are still there.
    BytesLeft(u64),
}

/// What became of a lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotReport {
    /// Which.
    pub lot: Lot,
    /// The hold whose copy it was; `None` for the lot itself.
    pub hold: Option<HoldNo>,
    /// The holds that have a copy of it; it is not gone where there is one.
    pub heirs: Vec<HoldNo>,
    /// The records in it; 0 for a lot that is a key or a set, `None` where a block of it could not
    /// be read to count them.
    pub records: Option<u64>,
    /// Its keys; none where it had no living one.
    pub keys: Vec<Victim>,
}

/// What became of a destruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestroyReport {
    /// The lots that were asked for.
    pub lots: Vec<LotReport>,
    /// The vault epoch that the keys lived in, and that was destroyed.
    pub old_epoch: u64,
    /// The vault epoch in force.
    pub new_epoch: u64,
    /// The register's generation.
    pub generation: u64,
    /// Copies of the register that are waited for. While there are any nothing is destroyed, and
    /// the same call goes on. Where it ended before a key went, because a copy of the register of
    /// holds is out of reach, nothing is unfinished, and the same call begins anew. Where keys of
    /// copies went before that copy was lost it is a [`Engine::waiting_destruction`].
    pub waiting_for: Vec<PathBuf>,
    /// No lot had a living key: an alarm, not a success.
    pub nothing: bool,
    /// What verification found. Unless it passed the destruction has not ended.
    pub verification: Verification,
    /// Keys whose wrapped form from before was tried at the end and did not open. None where a
    /// start finished the destruction of the keys: it has no such form any more.
    pub keys_tried: u64,
    /// Files that are gone.
    pub files_removed: u64,
    /// By how much the tables of the lots became smaller, bytes.
    pub bytes_reclaimed: u64,
    /// Table files and logs that were looked at when it was verified.
    pub files_searched: u64,
    /// Whether a copy of the VEK home from before, with the root key, would open the old epoch.
    pub home_copy_opens: bool,
}

/// What a destruction takes that has not ended.
///
/// # Errors
/// When its row cannot be read.
pub fn unfinished(store: &Store, ring: &KeyRing) -> Result<Vec<Doom>, EngineError> {
    let row = run::load(store, ring, crate::store::keys::DESTRUCTION)?;
    Ok(row.map_or(Vec::new(), |row| run::dooms(&row)))
}

impl Engine {
    /// Every living lot with its keys, its site, and the instant at which its epoch ends.
    pub fn lots(&self) -> Vec<LotInfo> {
        lots::list(&self.shared)
    }

    /// What a destruction began to take and has not ended with: to be destroyed again before
    /// anything else.
    pub fn unfinished_destruction(&self) -> Vec<Doom> {
        self.shared.unfinished.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a destruction of copies took whose keys have left the register of holds, while a copy
    /// of it off the host is waited for. It stands in no other's way; to be destroyed again, with
    /// the same lots, until it has ended.
    pub fn waiting_destruction(&self) -> Vec<Doom> {
        self.shared.waiting.read().unwrap_or_else(PoisonError::into_inner).dooms.clone()
    }

    /// The keys of the destructions that have begun and not ended. The register may not list them
    /// any more, and until the end nobody may say that they are gone.
    ///
    /// # Errors
    /// When its row cannot be read.
    pub fn unfinished_keys(&self) -> Result<Vec<KeyInfo>, EngineError> {
        aside::doomed_keys(self)
    }

    /// The report of the destruction that ended last: whoever ordered it may not have lived to hear
    /// it.
    ///
    /// # Errors
    /// When its row cannot be read.
    pub fn last_destruction(&self) -> Result<Option<DestroyReport>, EngineError> {
        run::last(self)
    }

    /// Destroys lots, or copies in hold storage, as this page says. `mark` is the ledger's after
    /// the entry that says so will happen. What has no living key is reported without keys. Heirs
    /// get their copies first; those of the first call count.
    ///
    /// Called again with the same lots it goes on where it stood, in this process or after a start.
    ///
    /// # Errors
    /// Refused while a destruction of other lots has not ended, for lots and copies together, or by
    /// the register; busy when a request holds an old journal key for a minute; damaged where a
    /// copy does not hold what it should; stopped. Nothing counts as destroyed then.
    pub async fn destroy<D: Into<Doom>>(
        &self,
        lots: Vec<D>,
        mark: LedgerMark,
        steps: Arc<dyn DestroySteps>,
    ) -> Result<DestroyReport, EngineError> {
        let lots = lots.into_iter().map(Into::into).collect();
        self.aside(move |engine| {
            let shared = &engine.shared;
            let _one = shared.destroying.lock().unwrap_or_else(PoisonError::into_inner);
            run::Run { engine, mark, steps: &*steps }.destroy(lots)
        })
        .await
    }

    /// Turns the vault epoch over without destroying a living key: due at least every 24 hours, so
    /// that journal and seen keys that were retired become noise in older copies of the register.
    ///
    /// # Errors
    /// As [`Engine::destroy`].
    pub async fn turn_over(&self, mark: LedgerMark) -> Result<DestroyReport, EngineError> {
        self.aside(move |engine| {
            let shared = &engine.shared;
            let _one = shared.destroying.lock().unwrap_or_else(PoisonError::into_inner);
            run::Run { engine, mark, steps: &() }.turn_over()
        })
        .await
    }

    /// Whether a month of a site takes records: it does not once one of its keys is destroyed.
    pub fn takes_records(&self, at: SiteMonth) -> bool {
        self.shared.gone(|gone| !gone.is_closed(at, u64::MAX))
    }

    /// Works on a thread of its own, which the end of the engine waits for.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        if !self.is_running() {
            return Err(EngineError::Stopped);
        }
        let (reply, answer) = oneshot::channel();
        let engine = self.clone();
        let thread = spawn("destroy", &self.shared, move || {
            let _ = reply.send(work(&engine));
        })?;
        // A scope of its own: a lock that lives to the end would not go to another thread.
        {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            threads.retain(|thread| !thread.is_finished());
            threads.push(thread);
        }
        answer.await.map_err(|_| EngineError::Stopped)?
    }
}
