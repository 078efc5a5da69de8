//! Destruction of keys, and the turn-over of the VEK that it consists of.
//!
//! Nothing that was ever written is taken back by zeros in today's files: older copies of the
//! register hold the wrapped keys too. So the key above them is destroyed. In this order, and
//! `n` is the VEK epoch:
//!
//! 1. the ledger is told; VEK n+1 stands at its home beside VEK n
//! 2. in memory: each node that loses a key but keeps others gets a fresh key, its other keys are
//!    wrapped anew, and so is every node and journal key, under VEK n+1
//! 3. copy A of the register: victims zeroed, the rest rewritten in place, synced, read back from
//!    the file, every key opened; then copy B likewise
//! 4. each copy off the host likewise; without them it waits here
//! 5. VEK n destroyed: at its provider if that can, zeroed at its home, zeros read back
//! 6. what memory holds of the victims is wiped, for everybody who holds it
//! 7. verified: what the slots held before is tried under today's keys and must not open
//!
//! Cut at any byte, the next start knows from home and register where it stood: before the end of
//! copy A nothing has happened and VEK n+1 is discarded; from then on it goes on to the end. Only
//! the end answers [`Destroyed`].
//!
//! What it costs: one write for each run of neighboring slots, a header and a sync a copy, however
//! many sites; the processor wraps and opens the leaves of the nodes that are hit and all nodes,
//! and opens every key of the register once for each copy. While it runs, keys that were handed out
//! before go on working and new ones wait.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::copies::CopyStatus;
use super::medium::Medium;
use super::rewrap::{Plan, commitment};
use super::root::RootProvider;
use super::scan::Forms;
use super::slot::{Copy, Slot};
use super::tree::{Core, VEK};
use super::vek::{LedgerMark, VekHome};
use super::{KeyInfo, KeyRing, KeysError, VaultId, VekError};
use crate::crypto::{SealKey, Secret};
use crate::model::ids::KeyId;

/// A step that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The ledger was told; the next VEK is at its home.
    VekWritten,
    /// Everything is wrapped anew, in memory.
    Rewrapped,
    /// Copy A is written, synced and read back.
    CopyA,
    /// Copy B likewise.
    CopyB,
    /// Each copy off the host likewise.
    Copies,
    /// The VEK before is destroyed.
    VekDestroyed,
    /// Memory is wiped.
    CachesDropped,
    /// Nothing of it opens.
    Verified,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::VekWritten,
        Self::Rewrapped,
        Self::CopyA,
        Self::CopyB,
        Self::Copies,
        Self::VekDestroyed,
        Self::CachesDropped,
        Self::Verified,
    ];
}

/// Who follows a destruction step by step: a progress line, or a test that stops the process. The
/// keys are locked meanwhile; it must not ask the ring for anything.
pub trait Steps {
    /// A step is done.
    fn done(&self, step: Step);
}

/// Nobody.
impl Steps for () {
    fn done(&self, _: Step) {}
}

/// A key that was destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Which one.
    pub key: KeyInfo,
    /// Its commitment, as [`KeyRing::commitment`] gave it before.
    pub commitment: [u8; 32],
}

/// What was destroyed, and what shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// The keys; empty for a turn-over. Empty also where a start finished it: the keys are gone,
    /// and only the ledger's intent knows them (see [`KeyRing::is_destroyed`]).
    pub victims: Vec<Victim>,
    /// Numbers that were asked for and had no living key. Where a start found the turn-over under
    /// way these are all that were asked for: [`KeyRing::is_destroyed`] knows more of them.
    pub missing: Vec<KeyId>,
    /// The VEK epoch that was destroyed.
    pub old_epoch: u64,
    /// The VEK epoch in force.
    pub new_epoch: u64,
    /// The register's generation.
    pub generation: u64,
    /// The ledger's mark in the register's header.
    pub mark: LedgerMark,
    /// Slots that were wrapped anew.
    pub rewrapped: u64,
    /// Keys that were read back and opened, over all copies.
    pub read_back: u64,
    /// The copies off the host that were confirmed.
    pub copies: Vec<PathBuf>,
    /// Whether a copy of the VEK home from before, with the root key, may still open the destroyed
    /// VEK. A root provider that ends epochs makes this false, unless a cut came between.
    pub home_copy_opens: bool,
    /// Requests that still hold keys of pseudonyms of the victims (or of keys retired before) in
    /// memory; [`KeyRing::held`] tells when the last of them has ended.
    pub held: usize,
}

/// How far a destruction got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destruction {
    /// To the end.
    Done(Destroyed),
    /// These copies off the host do not have the register yet, so the old VEK lives and nothing is
    /// destroyed. Calling it again, or [`KeyRing::resume`], goes on.
    Waiting(Vec<PathBuf>),
    /// None of the keys lives. Whoever expected one has an alarm, not a success.
    NothingToDestroy,
}

/// How the vault epoch stands, for whoever decides when it is turned over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStanding {
    /// The VEK epoch that wraps the register.
    pub epoch: u64,
    /// Keys that have ended in this vault's life, retired or destroyed. It never goes back.
    pub ended: u64,
    /// The same right after the turn-over to this epoch, if that was in this process: what has
    /// ended since can still be opened in an older copy of the register.
    pub ended_before: Option<u64>,
    /// A turn-over or destruction waits for a copy off the host.
    pub waiting: bool,
}

/// The VEK home, and a turn-over that has not ended.
pub(super) struct Turning {
    pub(super) home: VekHome<Box<dyn Medium>>,
    pub(super) root: Arc<dyn RootProvider>,
    pub(super) pending: Option<Pending>,
    /// How many keys had ended when the register was written under today's VEK.
    pub(super) ended_before: Option<u64>,
    /// What the slots of destroyed keys held, for whoever looks for it.
    pub(super) forms: Forms,
}

/// A turn-over whose register is written.
pub(super) struct Pending {
    draft: Destroyed,
    /// Slots as they were before.
    old: Vec<(u32, Slot)>,
    /// Found at a start: it is not known whose.
    found: bool,
}

impl Pending {
    /// One that a start found.
    pub(super) fn found(core: &Core, read_back: u64) -> Self {
        let draft = Destroyed { read_back, ..Destroyed::of(core) };
        Self { draft, old: Vec::new(), found: true }
    }
}

impl Destroyed {
    fn of(core: &Core) -> Self {
        let new_epoch = core.register.vek_epoch();
        Self {
            old_epoch: new_epoch.saturating_sub(1),
            new_epoch,
            generation: core.register.generation(),
            mark: core.register.mark(),
            ..Self::default()
        }
    }
}

impl KeyRing {
    /// Destroys keys. `mark` is the ledger's after the entry that says so will happen.
    ///
    /// # Errors
    /// When one of them is a node or the state key, another turn-over has not ended, the ledger,
    /// the root provider or a write fails, or something still opens at the end. Nothing counts
    /// as destroyed then. Calling it again goes on where the register was written already, and
    /// begins anew where not; after [`KeysError::Failed`] the next start finds out.
    pub fn destroy(
        &self,
        victims: &[KeyId],
        mark: LedgerMark,
        steps: &dyn Steps,
    ) -> Result<Destruction, KeysError> {
        self.usable()?;
        let mut core = self.core()?;
        let mut turning = self.turning()?;
        if let Some(pending) = &mut turning.pending {
            let own = |id: &KeyId| pending.draft.victims.iter().any(|victim| victim.key.id == *id);
            let other = victims.iter().any(|id| core.by_id.contains_key(id));
            if other || !(pending.found || victims.iter().any(own)) {
                return Err(KeysError::Unfinished);
            }
            if pending.found {
                // It is not known what went with it, so what was asked for may be none of it.
                let asked: BTreeSet<KeyId> = victims.iter().copied().collect();
                pending.draft.missing = asked.into_iter().collect();
            }
            return self.finish(&mut core, &mut turning, steps);
        }
        let plan = core.plan(victims)?;
        if plan.victims.is_empty() {
            return Ok(Destruction::NothingToDestroy);
        }
        let unique: BTreeSet<KeyId> = victims.iter().copied().collect();
        let missing = unique.difference(&plan.victims).copied().collect();
        self.begin(&mut core, &mut turning, (plan, missing, mark), steps)?;
        self.finish(&mut core, &mut turning, steps)
    }

    /// Turns the VEK over without destroying a key that lives: due at least every 24 hours, so that
    /// what was retired becomes noise in older copies of the register too.
    ///
    /// # Errors
    /// As [`KeyRing::destroy`].
    pub fn turn_over(&self, mark: LedgerMark, steps: &dyn Steps) -> Result<Destruction, KeysError> {
        self.usable()?;
        let mut core = self.core()?;
        let mut turning = self.turning()?;
        if turning.pending.is_none() {
            let plan = core.plan(&[])?;
            self.begin(&mut core, &mut turning, (plan, Vec::new(), mark), steps)?;
        }
        self.finish(&mut core, &mut turning, steps)
    }

    /// Goes on with a destruction or turn-over that waits; `None` if there is none.
    ///
    /// # Errors
    /// As [`KeyRing::destroy`].
    pub fn resume(&self, steps: &dyn Steps) -> Result<Option<Destruction>, KeysError> {
        self.usable()?;
        let mut core = self.core()?;
        let mut turning = self.turning()?;
        if turning.pending.is_none() {
            return Ok(None);
        }
        self.finish(&mut core, &mut turning, steps).map(Some)
    }

    /// Whether keys that lived in a VEK epoch, by a ledger's intent, are destroyed now: none of
    /// them lives, and that epoch has ended. After a start that finished a destruction this is how
    /// its result is known.
    pub fn is_destroyed(&self, victims: &[KeyId], epoch: u64) -> bool {
        let (Ok(core), Ok(turning)) = (self.core(), self.turning()) else { return false };
        let next = core.register.next_key();
        let gone = |id: &KeyId| id.0 < next && !core.by_id.contains_key(id);
        let ended = core.register.vek_epoch() > epoch && turning.pending.is_none();
        self.usable().is_ok() && ended && !victims.is_empty() && victims.iter().all(gone)
    }

    /// The commitment of a living key, `HMAC-SHA-256(key, "blindtally/commit/1")`: for the ledger's
    /// intent, and the same in the destruction's result.
    pub fn commitment(&self, id: KeyId) -> Option<[u8; 32]> {
        self.core().ok()?.secret(id).ok().map(|secret| commitment(&secret))
    }

    /// The VEK epoch that wraps the register.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn vek_epoch(&self) -> Result<u64, KeysError> {
        Ok(self.core()?.register.vek_epoch())
    }

    /// How the vault epoch stands.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn epoch_standing(&self) -> Result<EpochStanding, KeysError> {
        let core = self.core()?;
        let turning = self.turning()?;
        Ok(EpochStanding {
            epoch: core.register.vek_epoch(),
            ended: ended(&core),
            ended_before: turning.ended_before,
            waiting: turning.pending.is_some(),
        })
    }

    /// Whether a turn-over waits whose old vault epoch opens keys that are listed no more, for
    /// whoever has an older copy of the register. Of one that a start found nobody knows whose they
    /// were, nor whether there were any.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn may_open_victims(&self) -> Result<bool, KeysError> {
        let turning = self.turning()?;
        Ok(turning.pending.as_ref().is_some_and(|of| of.found || !of.draft.victims.is_empty()))
    }

    /// Whether a copy of the VEK home, with the root, opens an epoch that has ended.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn home_copies_open(&self) -> Result<bool, KeysError> {
        Ok(!self.turning()?.root.ends_epochs())
    }

    /// What the vault epoch key is wrapped by, and what file system its home lies on.
    pub fn home_in_words(&self) -> String {
        let root = self.turning().map(|turning| turning.root.name().to_owned());
        let root = root.unwrap_or_else(|_| "unknown".to_owned());
        let medium = super::mounts::of(&self.settings.vek_home);
        format!("{root}; the home is a file on {medium}")
    }

    /// The register's generation: one more with each write.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn generation(&self) -> Result<u64, KeysError> {
        Ok(self.core()?.register.generation())
    }

    /// The vault.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn vault(&self) -> Result<VaultId, KeysError> {
        Ok(self.core()?.register.vault())
    }

    /// The newest mark of the ledger in register and VEK home: a ledger that is behind it was put
    /// back from an older time.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn mark(&self) -> Result<LedgerMark, KeysError> {
        let core = self.core()?;
        Ok(core.register.mark().later(self.turning()?.home.ledger()))
    }

    /// How the copies off the host stand.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn copies(&self) -> Result<Vec<CopyStatus>, KeysError> {
        Ok(self.core()?.register.copies())
    }

    /// Requests that still hold keys of pseudonyms that were destroyed or retired.
    pub fn held(&self) -> usize {
        self.cache.write().unwrap_or_else(PoisonError::into_inner).held()
    }

    pub(super) fn turning(&self) -> Result<MutexGuard<'_, Turning>, KeysError> {
        self.turning.lock().map_err(|_| KeysError::Failed(std::io::ErrorKind::Other))
    }

    /// Up to the register in both copies: from then on there is no way back.
    fn begin(
        &self,
        core: &mut Core,
        turning: &mut Turning,
        (plan, missing, mark): (Plan, Vec<KeyId>, LedgerMark),
        steps: &dyn Steps,
    ) -> Result<(), KeysError> {
        let Turning { home, root, pending, ended_before, .. } = turning;
        if home.turning() {
            // An attempt before this one ended between home and register.
            self.note(home.discard_next(root.as_ref()).map_err(KeysError::from))?;
        }
        let mut victims = Vec::with_capacity(plan.victims.len());
        for id in &plan.victims {
            let secret = core.secret(*id)?;
            let key = core.by_id.get(id).map(|entry| entry.slot.info());
            let key = key.ok_or(KeysError::NoKey(*id))?;
            victims.push(Victim { key, commitment: commitment(&secret) });
        }
        let mark = core.witness_plan(&plan)?.later(mark);
        let vek = Secret::random();
        let written = home.write_next(root.as_ref(), &vek, mark.later(home.ledger()));
        self.note(written.map_err(KeysError::from))?;
        steps.done(Step::VekWritten);
        let turned = core.rewrap(&plan, SealKey::new(VEK, &vek))?;
        drop(vek);
        steps.done(Step::Rewrapped);
        let mut kept = |copy| match copy {
            Copy::A => steps.done(Step::CopyA),
            Copy::B => steps.done(Step::CopyB),
            Copy::Off => {}
        };
        let written = self.note(core.turn(&plan, turned, mark, &mut kept))?;
        // From here on nobody gets a victim any more; who holds one holds it until step 6.
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        let gone = |slot: &&(u32, Slot)| plan.victims.contains(&slot.1.id);
        written.old.iter().filter(gone).for_each(|(_, slot)| cache.forget(slot));
        let (rewrapped, read_back) = (written.rewrapped, written.read_back);
        let draft = Destroyed { victims, missing, rewrapped, read_back, ..Destroyed::of(core) };
        *pending = Some(Pending { draft, old: written.old, found: false });
        *ended_before = Some(ended(core));
        Ok(())
    }

    /// From the copies off the host to the end.
    fn finish(
        &self,
        core: &mut Core,
        turning: &mut Turning,
        steps: &dyn Steps,
    ) -> Result<Destruction, KeysError> {
        let Turning { home, root, pending, forms, .. } = turning;
        let Some(open) = pending.as_mut() else { return Err(KeysError::Unfinished) };
        let confirmed = core.confirm();
        if !confirmed.waiting.is_empty() {
            return Ok(Destruction::Waiting(confirmed.waiting));
        }
        open.draft.copies = confirmed.done;
        steps.done(Step::Copies);
        let ended = home.destroy_previous(root.as_ref(), open.found);
        let opens = self.note(ended.map_err(KeysError::from))?;
        open.draft.home_copy_opens |= opens;
        steps.done(Step::VekDestroyed);
        self.cache.write().unwrap_or_else(PoisonError::into_inner).wipe();
        steps.done(Step::CachesDropped);
        self.note(verify(core, home, open))?;
        steps.done(Step::Verified);
        let Some(Pending { mut draft, old, .. }) = pending.take() else {
            return Err(KeysError::Unfinished);
        };
        let gone: BTreeSet<KeyId> = draft.victims.iter().map(|victim| victim.key.id).collect();
        forms.remember(old.iter().map(|(_, slot)| slot).filter(|slot| gone.contains(&slot.id)));
        draft.generation = core.register.generation();
        draft.mark = core.register.mark();
        draft.read_back += confirmed.slots;
        draft.held = self.held();
        Ok(Destruction::Done(draft))
    }
}

/// Keys that have ended: numbers that were given and have no living key.
fn ended(core: &Core) -> u64 {
    core.register.next_key().saturating_sub(1).saturating_sub(core.by_id.len() as u64)
}

/// Tries what should not open any more.
fn verify(
    core: &Core,
    home: &VekHome<Box<dyn Medium>>,
    pending: &Pending,
) -> Result<(), KeysError> {
    if !home.is_alone()? || home.epoch() != core.register.vek_epoch() {
        return Err(VekError::NotZeroed.into());
    }
    for victim in &pending.draft.victims {
        if core.by_id.contains_key(&victim.key.id) {
            return Err(KeysError::StillOpens(victim.key.id));
        }
    }
    match core.still_opens(&pending.old)? {
        Some(id) => Err(KeysError::StillOpens(id)),
        None => Ok(()),
    }
}
