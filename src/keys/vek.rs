//! The VEK home: the one place of the vault epoch key (VEK), wrapped by the root key. Never in the
//! register, the data directory or a backup: a copy of it, with the root key, would keep every copy
//! of the register of its epoch alive.
//!
//! A preallocated file of two slots of 512 bytes (a sector each), overwritten in place. The older
//! VEK stays until the register is re-wrapped for the newer one:
//!
//! | after | home | register | provider | the next start |
//! |---|---|---|---|---|
//! | start | n | n | n | |
//! | `begin_epoch(n+1)` | n | n | n, n+1 | goes on with n; n+1 wraps nothing and is begun again |
//! | [`VekHome::write_next`] | n, n+1 | n | n, n+1 | [`VekHome::discard_next`]: back to n |
//! | the register re-wraps its nodes | n, n+1 | n+1 | n, n+1 | goes on from here |
//! | each copy off the host confirmed | n, n+1 | n+1 | n, n+1 | goes on from here |
//! | `end_epoch(n)` | n, n+1 | n+1 | n+1 | goes on: ended again, then zeroed |
//! | [`VekHome::destroy_previous`] | n+1 | n+1 | n+1 | done; it may be called again |
//!
//! So the register's header says which epoch is in force; the newest valid slot is the home's own
//! answer. A torn slot is invalid and counts as empty: the step it belongs to had not ended. Where
//! the slot of n is already zero, the provider has ended n: that comes first, and so does it when
//! n+1 is discarded. Torn zeros may leave the whole wrapped VEK in a slot that reads as empty, and
//! zeros that are read may not be on the disk yet; so each start that finds one VEK ends what was
//! before it, and zeros and syncs the other slot, once more.
//!
//! A provider that has no key of an epoch may have destroyed it, or somebody may have put it aside
//! under another name, where it goes on opening copies of the home. So before a provider is told to
//! end an epoch for the first time, its slot is opened once more; only a key that was there then,
//! and is not there afterwards, counts as destroyed.

use std::io;

use super::VaultId;
use super::medium::{Medium, read_all};
use super::root::{RootError, RootProvider, VekId};
use crate::crypto::{Aad, Secret, digest, equal};

/// Size of a slot: the unit that disks write as a whole.
const SLOT_BYTES: usize = 512;
const FILE_BYTES: usize = 2 * SLOT_BYTES;
const MAGIC: &[u8; 8] = b"BTVEKHOM";
const VERSION: u16 = 1;
const WRAPPED_AT: usize = 76;
const SUM_AT: usize = SLOT_BYTES - 32;
/// Longest wrapped VEK that fits (a KMS may wrap longer than the key file does).
const WRAPPED_BYTES_MAX: usize = SUM_AT - WRAPPED_AT;

/// Why the VEK home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VekError {
    /// The root key.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The file system said no.
    #[error(
        "the VEK home cannot be read or written ({0}); check its disk and its rights, then start \
         again"
    )]
    Io(#[from] io::Error),
    /// Neither slot is valid.
    #[error("the VEK home is damaged or not a VEK home; put the right file back")]
    Damaged,
    /// Of a later program.
    #[error("the VEK home has format version {0}, which this program does not know; update it")]
    Version(u16),
    /// Slots of two vaults.
    #[error("the VEK home mixes two vaults; put the right file back")]
    TwoVaults,
    /// A turn-over before the last one ended.
    #[error(
        "the VEK home still holds the VEK before the last turn-over; start again, which destroys \
         that one first"
    )]
    PreviousLives,
    /// Not a turn-over but a leap.
    #[error(
        "the VEK home holds no VEK of epoch {0}; put back the VEK home that belongs to this key \
         register"
    )]
    NoEpoch(u64),
    /// A root provider whose wrapping is too long.
    #[error(
        "the root provider's wrapping of {0} bytes does not fit the VEK home; use another provider"
    )]
    TooLong(usize),
    /// The provider cannot destroy what it has not.
    #[error(
        "the root provider has no key of vault epoch {0}, which it was not told to destroy yet: \
         somebody removed it or put it aside, so nothing would show that it is destroyed; find out \
         who and where it is, then start again"
    )]
    GoneBefore(u64),
    /// A slot was written and something else was read, or it does not open.
    #[error(
        "the VEK home did not keep the new VEK, so nothing was re-wrapped for it and the one \
         before is in force; check the disk of the VEK home, then start again"
    )]
    NotKept,
    /// Zeros were written and something else was read.
    #[error(
        "the VEK home did not keep the zeros written over the previous VEK, which may still be \
         read there; check the disk of the VEK home, then start again"
    )]
    NotZeroed,
}

/// A ledger's size and root, so that a ledger behind the keys is refused. Zero until there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerMark {
    /// Entries.
    pub size: u64,
    /// Root hash.
    pub root: [u8; 32],
}

impl LedgerMark {
    /// The one of the longer ledger.
    pub(super) fn later(self, other: Self) -> Self {
        if other.size > self.size { other } else { self }
    }
}

/// One slot: a wrapped VEK and what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct VekSlot {
    vault: VaultId,
    epoch: u64,
    ledger: LedgerMark,
    wrapped: Vec<u8>,
}

/// The VEK home on a medium.
pub struct VekHome<M> {
    medium: M,
    slots: [Option<VekSlot>; 2],
    /// Once the provider was told to end the epoch before: whether that opened just before.
    ending: Option<bool>,
}

impl<M: Medium> VekHome<M> {
    /// Makes the home of a new vault, with a first VEK of epoch 1.
    ///
    /// # Errors
    /// When the root provider or the medium fails.
    pub fn create(
        mut medium: M,
        vault: VaultId,
        root: &dyn RootProvider,
        vek: &Secret,
    ) -> Result<Self, VekError> {
        let first = VekId { vault, epoch: 1 };
        let slot = VekSlot::wrap(first, LedgerMark::default(), root, vek)?;
        let mut bytes = [0; FILE_BYTES];
        bytes[..SLOT_BYTES].copy_from_slice(&slot.encode());
        medium.write_at(0, &bytes)?;
        medium.sync()?;
        Ok(Self { medium, slots: [Some(slot), None], ending: None })
    }

    /// Opens a home.
    ///
    /// # Errors
    /// When no slot of it is valid, or its version is unknown.
    pub fn open(medium: M) -> Result<Self, VekError> {
        let bytes = read_all(&medium)?;
        if bytes.len() != FILE_BYTES {
            return Err(VekError::Damaged);
        }
        let slots = [VekSlot::parse(&bytes[..SLOT_BYTES])?, VekSlot::parse(&bytes[SLOT_BYTES..])?];
        match &slots {
            [None, None] => Err(VekError::Damaged),
            [Some(one), Some(two)] if one.vault != two.vault => Err(VekError::TwoVaults),
            [Some(one), Some(two)] if one.epoch.abs_diff(two.epoch) != 1 => Err(VekError::Damaged),
            _ => Ok(Self { medium, slots, ending: None }),
        }
    }

    /// The vault of this home.
    pub fn vault(&self) -> VaultId {
        self.newest().map_or(VaultId([0; 16]), |(_, slot)| slot.vault)
    }

    /// The newest epoch.
    pub fn epoch(&self) -> u64 {
        self.newest().map_or(0, |(_, slot)| slot.epoch)
    }

    /// The ledger's mark in the newest slot.
    pub fn ledger(&self) -> LedgerMark {
        self.newest().map_or(LedgerMark::default(), |(_, slot)| slot.ledger)
    }

    /// The VEK of an epoch: the newest, or the one before while a turn-over is under way.
    ///
    /// # Errors
    /// When the home does not hold it or the root key does not open it.
    pub fn vek(&self, epoch: u64, root: &dyn RootProvider) -> Result<Secret, VekError> {
        let slot = self.slots.iter().flatten().find(|slot| slot.epoch == epoch);
        slot.ok_or(VekError::NoEpoch(epoch))?.unwrap(root)
    }

    /// Whether the home holds the VEK of an epoch.
    pub fn holds(&self, epoch: u64) -> bool {
        self.slots.iter().flatten().any(|slot| slot.epoch == epoch)
    }

    /// Whether a turn-over is under way: the home holds two epochs.
    pub fn turning(&self) -> bool {
        self.slots.iter().all(Option::is_some)
    }

    /// Whether the medium, read anew, holds the newest VEK and zeros, and nothing else.
    ///
    /// # Errors
    /// When the medium cannot be read.
    pub fn is_alone(&self) -> Result<bool, VekError> {
        let (at, newest) = self.newest().ok_or(VekError::Damaged)?;
        let mut slots = [[1; SLOT_BYTES]; 2];
        self.medium.read_at(0, slots.as_flattened_mut())?;
        let there = VekSlot::parse(&slots[at])?;
        Ok(there.as_ref() == Some(newest) && slots[1 - at] == [0; SLOT_BYTES])
    }

    /// First half of a turn-over: writes the VEK of the next epoch into the other slot; answers the
    /// epoch. It is read back and opened before this returns, because everything that lives is
    /// wrapped under it next. The one before stays readable until [`VekHome::destroy_previous`].
    ///
    /// # Errors
    /// When the last turn-over has not ended, the root provider or the medium fails, or what is
    /// read back is not the VEK that was written.
    pub fn write_next(
        &mut self,
        root: &dyn RootProvider,
        vek: &Secret,
        ledger: LedgerMark,
    ) -> Result<u64, VekError> {
        let (at, newest) = self.newest().ok_or(VekError::Damaged)?;
        let other = 1 - at;
        if self.slots[other].is_some() {
            return Err(VekError::PreviousLives);
        }
        let next = VekId { vault: newest.vault, epoch: newest.epoch + 1 };
        let slot = VekSlot::wrap(next, ledger, root, vek)?;
        let (place, bytes) = ((other * SLOT_BYTES) as u64, slot.encode());
        self.medium.write_at(place, &bytes)?;
        self.medium.sync()?;
        let mut back = [0; SLOT_BYTES];
        self.medium.read_at(place, &mut back)?;
        let there = VekSlot::parse(&back)?.filter(|_| back == bytes).ok_or(VekError::NotKept)?;
        if !equal(there.unwrap(root)?.expose(), vek.expose()) {
            return Err(VekError::NotKept);
        }
        let epoch = slot.epoch;
        self.slots[other] = Some(slot);
        Ok(epoch)
    }

    /// Second half of a turn-over: has the root provider end whatever is before the newest VEK,
    /// zeros it, and reads the zeros back. To be called only when every copy of the register is
    /// re-wrapped for the newest epoch; from then on every older copy of the register is noise.
    /// Calling it again does no harm. `resumed` says that it may have been called before a cut.
    ///
    /// Answers whether a copy of the home from before may still open: it does where the provider
    /// keeps one root key for all epochs, and nobody knows where a cut came between, because then a
    /// key that is gone may have been put aside.
    ///
    /// # Errors
    /// When the provider or the medium fails, the provider has no key of the epoch before although
    /// nobody told it to end it, or the zeros are not there afterwards.
    pub fn destroy_previous(
        &mut self,
        root: &dyn RootProvider,
        resumed: bool,
    ) -> Result<bool, VekError> {
        let (at, newest) = self.newest().ok_or(VekError::Damaged)?;
        let (vault, before) = (newest.vault, newest.epoch.saturating_sub(1));
        let old = self.slots[1 - at].clone();
        let opened = match (&old, self.ending) {
            (Some(_), Some(opened)) => opened,
            (Some(old), None) => {
                let opened = old.opens(root)?;
                if !opened && !resumed {
                    return Err(VekError::GoneBefore(before));
                }
                opened
            }
            (None, _) => false,
        };
        self.ending = Some(opened);
        if before > 0 {
            root.end_epoch(VekId { vault, epoch: before })?;
        }
        let opens = match &old {
            Some(old) => old.opens(root)? || !opened,
            // What is zeroed already cannot be tried; it was zeroed after its epoch had ended.
            None => !root.ends_epochs(),
        };
        self.zero(1 - at)?;
        self.ending = None;
        Ok(opens)
    }

    /// Takes the first half of a turn-over back: the newest VEK has wrapped nothing. Only for a
    /// home of two epochs whose register is still in the older one.
    ///
    /// # Errors
    /// When there are not two, the provider or the medium fails or the zeros are not there
    /// afterwards.
    pub fn discard_next(&mut self, root: &dyn RootProvider) -> Result<(), VekError> {
        let (at, newest) = self.newest().ok_or(VekError::Damaged)?;
        if !self.turning() {
            return Err(VekError::NoEpoch(newest.epoch + 1));
        }
        root.end_epoch(newest.id())?;
        self.zero(at)
    }

    /// Overwrites a slot and reads the zeros back.
    fn zero(&mut self, at: usize) -> Result<(), VekError> {
        let place = (at * SLOT_BYTES) as u64;
        self.medium.write_at(place, &[0; SLOT_BYTES])?;
        self.medium.sync()?;
        let mut back = [1; SLOT_BYTES];
        self.medium.read_at(place, &mut back)?;
        if back != [0; SLOT_BYTES] {
            return Err(VekError::NotZeroed);
        }
        self.slots[at] = None;
        Ok(())
    }

    fn newest(&self) -> Option<(usize, &VekSlot)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(at, slot)| Some((at, slot.as_ref()?))).max_by_key(|(_, s)| s.epoch)
    }
}

impl VekSlot {
    fn wrap(
        id: VekId,
        ledger: LedgerMark,
        root: &dyn RootProvider,
        vek: &Secret,
    ) -> Result<Self, VekError> {
        let VekId { vault, epoch } = id;
        root.begin_epoch(id)?;
        let wrapped = root.wrap(id, &aad(vault, epoch), vek.expose())?;
        if wrapped.len() > WRAPPED_BYTES_MAX {
            return Err(VekError::TooLong(wrapped.len()));
        }
        Ok(Self { vault, epoch, ledger, wrapped })
    }

    fn id(&self) -> VekId {
        VekId { vault: self.vault, epoch: self.epoch }
    }

    fn unwrap(&self, root: &dyn RootProvider) -> Result<Secret, VekError> {
        Ok(root.unwrap(self.id(), &aad(self.vault, self.epoch), &self.wrapped)?)
    }

    /// Whether its provider has a key that opens it. Any other error than that there is none says
    /// nothing.
    fn opens(&self, root: &dyn RootProvider) -> Result<bool, VekError> {
        match self.unwrap(root) {
            Ok(_) => Ok(true),
            Err(VekError::Root(error)) if error.is_ended() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_be_bytes());
        bytes[10..26].copy_from_slice(&self.vault.0);
        bytes[26..34].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[34..42].copy_from_slice(&self.ledger.size.to_be_bytes());
        bytes[42..74].copy_from_slice(&self.ledger.root);
        // Fits: at most WRAPPED_BYTES_MAX, checked where it was wrapped.
        bytes[74..76].copy_from_slice(&(self.wrapped.len() as u16).to_be_bytes());
        bytes[WRAPPED_AT..WRAPPED_AT + self.wrapped.len()].copy_from_slice(&self.wrapped);
        let sum = digest(&bytes[..SUM_AT]);
        bytes[SUM_AT..].copy_from_slice(&sum);
        bytes
    }

    /// `None` for an empty or torn slot.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, VekError> {
        let array = |at: usize| -> [u8; 8] { std::array::from_fn(|i| bytes[at + i]) };
        let sum: [u8; 32] = std::array::from_fn(|i| bytes[SUM_AT + i]);
        if !bytes.starts_with(MAGIC) || !equal(&sum, &digest(&bytes[..SUM_AT])) {
            return Ok(None);
        }
        let version = u16::from_be_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(VekError::Version(version));
        }
        let length = usize::from(u16::from_be_bytes([bytes[74], bytes[75]]));
        let Some(wrapped) = bytes[WRAPPED_AT..SUM_AT].get(..length) else { return Ok(None) };
        Ok(Some(Self {
            vault: VaultId(std::array::from_fn(|i| bytes[10 + i])),
            epoch: u64::from_be_bytes(array(26)),
            ledger: LedgerMark {
                size: u64::from_be_bytes(array(34)),
                root: std::array::from_fn(|i| bytes[42 + i]),
            },
            wrapped: wrapped.to_vec(),
        }))
    }
}

fn aad(vault: VaultId, epoch: u64) -> Aad {
    Aad::new("vek/1").bytes(&vault.0).number(epoch)
}

#[cfg(test)]
mod tests {
    use super::super::tests::disk::{Cut, Disk};
    use super::super::tests::hsm::Hsm;
    use super::*;
    use crate::keys::KeyFile;

    const VAULT: VaultId = VaultId([5; 16]);

    fn root() -> (tempfile::TempDir, KeyFile) {
        let dir = tempfile::tempdir().unwrap();
        let root = KeyFile::load_or_create(&dir.path().join("root.key")).unwrap();
        (dir, root)
    }

    fn secret(fill: u8) -> Secret {
        Secret::take(&mut [fill; 32]).unwrap()
    }

    #[test]
    fn opens_what_it_created() {
        let (_dir, root) = root();
        let disk = Disk::new(1);
        VekHome::create(disk.file(0), VAULT, &root, &secret(1)).unwrap();
        let home = VekHome::open(disk.file(0)).unwrap();
        assert_eq!((home.vault(), home.epoch()), (VAULT, 1));
        assert_eq!(home.ledger(), LedgerMark::default());
        assert_eq!(home.vek(1, &root).unwrap().expose(), &[1; 32]);
        assert!(matches!(home.vek(2, &root), Err(VekError::NoEpoch(2))));
    }

    #[test]
    fn a_turn_over_keeps_both_until_the_old_one_is_destroyed() {
        let (_dir, root) = root();
        let disk = Disk::new(1);
        let mut home = VekHome::create(disk.file(0), VAULT, &root, &secret(1)).unwrap();
        let old = disk.bytes(0)[..SLOT_BYTES].to_vec();
        let mark = LedgerMark { size: 3, root: [8; 32] };
        assert_eq!(home.write_next(&root, &secret(2), mark).unwrap(), 2);
        let again = home.write_next(&root, &secret(3), mark);
        assert!(matches!(again, Err(VekError::PreviousLives)));
        let mut home = VekHome::open(disk.file(0)).unwrap();
        assert_eq!((home.epoch(), home.ledger()), (2, mark));
        assert_eq!(home.vek(1, &root).unwrap().expose(), &[1; 32]);
        assert_eq!(home.vek(2, &root).unwrap().expose(), &[2; 32]);
        home.destroy_previous(&root, false).unwrap();
        home.destroy_previous(&root, false).unwrap();
        assert!(matches!(home.vek(1, &root), Err(VekError::NoEpoch(1))));
        assert_eq!(disk.bytes(0)[..SLOT_BYTES], [0; SLOT_BYTES]);
        let wrapped = &old[WRAPPED_AT..WRAPPED_AT + 73];
        assert!(!disk.bytes(0).windows(wrapped.len()).any(|window| window == wrapped));
        assert_eq!(home.write_next(&root, &secret(3), mark).unwrap(), 3);
        assert_eq!(VekHome::open(disk.file(0)).unwrap().epoch(), 3);
    }

    #[test]
    fn a_cut_at_any_step_of_a_turn_over_leaves_the_epoch_in_force() {
        let (_dir, root) = root();
        for (fuse, seed) in (0..4).flat_map(|fuse| (0..40).map(move |seed| (fuse, seed))) {
            let disk = Disk::new(1);
            let mut home = VekHome::create(disk.file(0), VAULT, &root, &secret(1)).unwrap();
            disk.burn_after(fuse);
            let wrote = home.write_next(&root, &secret(2), LedgerMark::default()).is_ok();
            let gone = wrote && home.destroy_previous(&root, false).is_ok();
            disk.power(Cut::Seeded(seed));
            let mut home = VekHome::open(disk.file(0)).unwrap();
            // Until the new one is acknowledged the register is wrapped for the old one.
            if !wrote {
                assert_eq!(home.vek(1, &root).unwrap().expose(), &[1; 32]);
            } else {
                assert_eq!(home.vek(2, &root).unwrap().expose(), &[2; 32]);
                home.destroy_previous(&root, false).unwrap();
            }
            assert!(!gone);
        }
    }

    #[test]
    fn a_new_vek_that_the_medium_or_the_provider_did_not_keep_is_none() {
        let (_dir, root) = root();
        let disk = Disk::new(1);
        let mut home = VekHome::create(disk.file(0), VAULT, &root, &secret(1)).unwrap();
        disk.forget_writes_of(0);
        let refused = home.write_next(&root, &secret(2), LedgerMark::default());
        assert!(matches!(refused, Err(VekError::NotKept)), "{refused:?}");
        disk.power(Cut::Kept);
        let home = VekHome::open(disk.file(0)).unwrap();
        assert_eq!((home.epoch(), home.turning()), (1, false));
        assert_eq!(home.vek(1, &root).unwrap().expose(), &[1; 32]);
        // A provider that answers with something that does not open.
        let disk = Disk::new(1);
        let mut home = VekHome::create(disk.file(0), VAULT, &root, &secret(1)).unwrap();
        let refused = home.write_next(&Garbles(&root), &secret(2), LedgerMark::default());
        assert!(matches!(refused, Err(VekError::NotKept)), "{refused:?}");
    }

    /// Wraps something else.
    struct Garbles<'a>(&'a KeyFile);

    impl RootProvider for Garbles<'_> {
        fn name(&self) -> &str {
            self.0.name()
        }

        fn wrap(&self, id: VekId, aad: &Aad, vek: &[u8; 32]) -> Result<Vec<u8>, RootError> {
            self.0.wrap(id, aad, &vek.map(|byte| !byte))
        }

        fn unwrap(&self, id: VekId, aad: &Aad, wrapped: &[u8]) -> Result<Secret, RootError> {
            self.0.unwrap(id, aad, wrapped)
        }
    }

    #[test]
    fn a_turn_over_can_be_taken_back() {
        let hsm = Hsm::default();
        let disk = Disk::new(1);
        let mut home = VekHome::create(disk.file(0), VAULT, &hsm, &secret(1)).unwrap();
        assert!(matches!(home.discard_next(&hsm), Err(VekError::NoEpoch(2))));
        home.write_next(&hsm, &secret(2), LedgerMark::default()).unwrap();
        assert_eq!(hsm.epochs(VAULT), [1, 2]);
        home.discard_next(&hsm).unwrap();
        assert_eq!((home.epoch(), home.is_alone().unwrap()), (1, true));
        assert_eq!(hsm.epochs(VAULT), [1]);
        // A cut right after the provider began: begun twice.
        hsm.begin_epoch(VekId { vault: VAULT, epoch: 2 }).unwrap();
        assert_eq!(home.write_next(&hsm, &secret(3), LedgerMark::default()).unwrap(), 2);
        assert_eq!(home.vek(2, &hsm).unwrap().expose(), &[3; 32]);
    }

    #[test]
    fn torn_zeros_are_not_taken_for_an_end() {
        let (_dir, root) = root();
        let disk = Disk::new(1);
        let mut home = VekHome::create(disk.file(0), VAULT, &root, &secret(1)).unwrap();
        home.write_next(&root, &secret(2), LedgerMark::default()).unwrap();
        let mut torn = disk.bytes(0);
        torn[..WRAPPED_AT].fill(0);
        disk.set(0, torn);
        let mut home = VekHome::open(disk.file(0)).unwrap();
        assert!(!home.turning() && !home.is_alone().unwrap());
        home.destroy_previous(&root, false).unwrap();
        assert!(home.is_alone().unwrap());
        assert_eq!(disk.durable(0)[..SLOT_BYTES], [0; SLOT_BYTES]);
    }

    #[test]
    fn a_provider_with_epochs_makes_copies_of_the_home_noise() {
        let hsm = Hsm::default();
        let disk = Disk::new(1);
        let mut home = VekHome::create(disk.file(0), VAULT, &hsm, &secret(1)).unwrap();
        home.write_next(&hsm, &secret(2), LedgerMark::default()).unwrap();
        let copy = disk.bytes(0);
        // A cut between the provider's end and the zeros: ended twice.
        hsm.end_epoch(VekId { vault: VAULT, epoch: 1 }).unwrap();
        let mut home = VekHome::open(disk.file(0)).unwrap();
        assert!(home.turning());
        // The key is not there before: only a start that goes on with it may take that for an end,
        // and even that does not know that it was one.
        assert!(matches!(home.destroy_previous(&hsm, false), Err(VekError::GoneBefore(1))));
        assert!(home.turning());
        assert!(home.destroy_previous(&hsm, true).unwrap());
        assert!(!home.destroy_previous(&hsm, true).unwrap());
        assert_eq!(home.vek(2, &hsm).unwrap().expose(), &[2; 32]);
        disk.set(0, copy);
        let home = VekHome::open(disk.file(0)).unwrap();
        assert!(matches!(home.vek(1, &hsm), Err(VekError::Root(_))));
        // Without a cut it is known.
        let disk = Disk::new(1);
        let mut home = VekHome::create(disk.file(0), VAULT, &hsm, &secret(1)).unwrap();
        home.write_next(&hsm, &secret(2), LedgerMark::default()).unwrap();
        assert!(!home.destroy_previous(&hsm, false).unwrap(), "a copy of the home opens nothing");
        assert!(!home.destroy_previous(&hsm, false).unwrap());
        // One root key for all cannot do that, and says so.
        let (_dir, root) = root();
        let disk = Disk::new(1);
        let mut home = VekHome::create(disk.file(0), VAULT, &root, &secret(1)).unwrap();
        home.write_next(&root, &secret(2), LedgerMark::default()).unwrap();
        assert!(home.destroy_previous(&root, false).unwrap());
    }

    #[test]
    fn damage_and_other_files_are_refused() {
        let (_dir, root) = root();
        let disk = Disk::new(1);
        VekHome::create(disk.file(0), VAULT, &root, &secret(1)).unwrap();
        let good = disk.bytes(0);
        for at in 0..SLOT_BYTES {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            disk.set(0, bytes);
            assert!(matches!(VekHome::open(disk.file(0)), Err(VekError::Damaged)));
        }
        let mut later = good[..SLOT_BYTES].to_vec();
        later[9] = 2;
        let sum = digest(&later[..SUM_AT]);
        later[SUM_AT..].copy_from_slice(&sum);
        later.resize(FILE_BYTES, 0);
        disk.set(0, later);
        assert!(matches!(VekHome::open(disk.file(0)), Err(VekError::Version(2))));
        disk.set(0, good[..1000].to_vec());
        assert!(matches!(VekHome::open(disk.file(0)), Err(VekError::Damaged)));
        let other = Disk::new(1);
        VekHome::create(other.file(0), VaultId([6; 16]), &root, &secret(1)).unwrap();
        disk.set(0, [&good[..SLOT_BYTES], &other.bytes(0)[..SLOT_BYTES]].concat());
        assert!(matches!(VekHome::open(disk.file(0)), Err(VekError::TwoVaults)));
        // The wrapped VEK is bound to vault and epoch, not only checksummed with them.
        let mut moved = VekSlot::parse(&good[..SLOT_BYTES]).unwrap().unwrap();
        moved.epoch = 2;
        disk.set(0, [moved.encode(), [0; SLOT_BYTES]].concat());
        let home = VekHome::open(disk.file(0)).unwrap();
        assert!(matches!(home.vek(2, &root), Err(VekError::Root(RootError::Other(_)))));
    }
}
