//! The register of wrapped keys: two copies of preallocated fixed slots, overwritten in place.
//! Never renamed over, unlinked or shortened: those leave the old bytes in free blocks of the disk.
//!
//! # Why a cut at any byte is resolved
//!
//! A write is a batch: some slots get a key, some are zeroed, the header's generation grows by one.
//! It goes to copy A (slots and header in any order), then A is synced, then the same to copy B,
//! then B is synced, and only then is it acknowledged. One sync a copy, whatever the batch.
//!
//! The header holds the number of live slots and the exclusive or of their checksums. A copy is
//! **whole** when its header is valid, every slot is free (all zero) or valid, and both figures
//! agree. A whole copy is one committed state from before the batch or from after it, never a mix.
//!
//! 1. While A is being written, B is whole at the generation before: a start takes B and puts A
//!    back. The batch was not acknowledged, so that it never happened is a true answer.
//! 2. While B is being written, A is whole at the new generation, and synced: a start takes A and
//!    finishes B. A zeroed slot of A thus wins over the live one of B, by the header's word and not
//!    by that of the slot, which no longer has one.
//! 3. If both are whole, A may be one generation ahead (nothing of the batch reached B, or all of A
//!    got there unsynced): A is taken. Anything else means that one file is from another time; a
//!    start refuses, because guessing could bring a destroyed key back.
//!
//! Neither whole means damage, not a cut. A start then tries to put one committed state together,
//! slot by slot, from whichever copy is valid there, and accepts it only if count and sum of a
//! valid header agree; otherwise it names a slot and refuses. So a single damaged byte is repaired.
//!
//! A start writes all of the copy it trusts again and syncs it before it touches the other, then
//! the other likewise. A killed process, and a failed sync, leave bytes in the page cache that are
//! not on the disk but are read as if they were (a failed sync even marks them clean); the argument
//! above needs the one copy durable while the other is in flux. Within a run a failed write or sync
//! is never tried again: the register refuses everything until it is opened anew.
//!
//! # A turn-over of the VEK
//!
//! A batch that zeros the victims, puts nodes under fresh numbers and wraps the rest anew in place,
//! with the next VEK epoch in the header. The argument above holds unchanged: a rewritten slot is a
//! slot that loses one checksum and gains another, so that a copy with some old and some new slots
//! agrees with neither header. More is asked of it, because what cannot be read afterwards is lost:
//! copy A is read back from its file and every key in it opened under the new keys before B is
//! touched, then B before anything else happens. Until B has passed, the VEK of the old epoch is at
//! its home, so that whichever copy a start takes opens: A at the new epoch, or B at the old one.
//! (The bytes come from the page cache where the system has them: what it proves is that the right
//! bytes were given to the disk, and that the sync took them.)
//!
//! Copies off the host get every write after both copies have it; see [`copies`](super::copies).
//! They are never read at a start but to see that none of them is ahead, so nothing above changes.
//!
//! Growth writes zeros behind the last slot of A, syncs, then B, so that a full disk shows before a
//! batch begins; the new number of slots becomes true with the header of the next batch. Bytes
//! behind the last slot of a valid header mean nothing, and a start zeros them.

use std::io;
use std::path::PathBuf;

use super::VaultId;
use super::copies::{CopyStatus, OffCopy, Remote};
use super::medium::Medium;
use super::pages::{self, BackError, Inspect, Touched, add, slot_of, write_slots, write_zeros};
use super::settle::{Image, check_vaults, restore, settle};
use super::slot::{Copy, Header, SLOT_BYTES, Slot, SlotRead, stored_sum};
use super::vek::LedgerMark;

/// Slots that a register has at first, and the least that it grows by.
pub(super) const CHUNK_SLOTS: u32 = 1024;

/// Why the register cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The file system said no.
    #[error(
        "the key register's file {file} cannot be read ({source}); check its disk and its rights, \
         then start again"
    )]
    Io {
        /// The copy.
        file: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another kind of file.
    #[error("the file {file} is not a copy of this key register; put the right file back")]
    Foreign {
        /// The copy.
        file: &'static str,
    },
    /// Of a later program.
    #[error(
        "the key register's file {file} has format version {version}, which this program does not \
         know; update it"
    )]
    Version {
        /// The copy.
        file: &'static str,
        /// Its version.
        version: u16,
    },
    /// Of another vault.
    #[error(
        "the key register's file {file} belongs to another vault than the VEK home; put the right \
         file back"
    )]
    OtherVault {
        /// The copy.
        file: &'static str,
    },
    /// Someone copied one over the other.
    #[error(
        "the key register's file {file} is a duplicate of the other copy; put the right file back"
    )]
    Duplicate {
        /// The copy.
        file: &'static str,
    },
    /// Copies of different times.
    #[error(
        "the key register's files register.a (generation {a}) and register.b (generation {b}) are \
         from different times; put back both of one time"
    )]
    Apart {
        /// Generation of A.
        a: u64,
        /// Generation of B.
        b: u64,
    },
    /// No valid header.
    #[error("the headers of register.a and register.b are both damaged; put back both files")]
    Headers,
    /// A slot that neither copy can give.
    #[error(
        "slot {slot} of the key register is damaged in register.a or register.b and the other copy \
         cannot repair it; put back both files of one time"
    )]
    Slot {
        /// The slot.
        slot: u32,
    },
    /// What was written to a copy in a turn-over is not what is read from it.
    #[error(
        "the key register's file {file} did not keep what was written to it (slot {slot:?}), so \
         this process must stop and start again; look at the disk"
    )]
    NotKept {
        /// The copy.
        file: &'static str,
        /// The slot, if it is a matter of one.
        slot: Option<u32>,
    },
    /// As many slots as a number can name.
    #[error(
        "the key register has no room for more keys; end sites or shorten periods, so that keys \
         go and make room"
    )]
    Full,
    /// A write or sync failed, now or before.
    #[error(
        "writing the key register failed ({0}); check the room and the state of its disk, then \
         start again"
    )]
    Failed(io::ErrorKind),
}

/// One write: all of it or nothing.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Slots that get a key.
    pub(super) live: Vec<(u32, Slot)>,
    /// Slots that are zeroed, with what they held.
    pub(super) gone: Vec<(u32, Slot)>,
    /// The next key's number afterwards.
    pub(super) next_key: u64,
    /// The ledger's mark afterwards.
    pub(super) ledger: LedgerMark,
}

/// The copies off the host after a turn-over asked for them.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    /// Written, synced, read back, every key opened.
    pub(super) done: Vec<PathBuf>,
    /// Not so.
    pub(super) waiting: Vec<PathBuf>,
    /// Keys opened in them.
    pub(super) slots: u64,
}

/// Where wrapped keys are kept. The files below are one such place; a replicated one is another.
pub(super) trait KeyRegister: Send {
    /// The vault.
    fn vault(&self) -> VaultId;
    /// The VEK that wraps the nodes.
    fn vek_epoch(&self) -> u64;
    /// The next key's number.
    fn next_key(&self) -> u64;
    /// Makes the next key's number at least this one; it is written with the next batch.
    fn raise_next_key(&mut self, least: u64);
    /// Grows by one with each write.
    fn generation(&self) -> u64;
    /// The ledger's mark of the last write.
    fn mark(&self) -> LedgerMark;
    /// This many free slots, in order, preallocated. They stay free until written.
    fn reserve(&mut self, count: usize) -> Result<Vec<u32>, RegisterError>;
    /// Writes a batch and stamps its live slots with the generation; durable in every copy when it
    /// returns.
    fn write(&mut self, batch: &mut Batch) -> Result<(), RegisterError>;
    /// As `write`, into a new VEK epoch; each copy is read back and inspected before the next one
    /// is touched. A slot that is rewritten in place is in both lists of the batch. Answers how
    /// many keys were opened.
    fn turn_over(
        &mut self,
        batch: &mut Batch,
        epoch: u64,
        inspect: &mut dyn Inspect,
    ) -> Result<u64, RegisterError>;
    /// Reads both copies back, as after a turn-over.
    fn read_back(&mut self, inspect: &mut dyn Inspect) -> Result<u64, RegisterError>;
    /// Writes the copies off the host that are behind, and reads all of them back.
    fn confirm(&mut self, inspect: &mut dyn Inspect) -> Confirmed;
    /// Takes copies off the host on, and brings those up to date that can be reached.
    fn follow(&mut self, copies: Vec<Remote>);
    /// How the copies off the host stand.
    fn copies(&self) -> Vec<CopyStatus>;
}

/// The register in two files.
pub(super) struct FileRegister<M> {
    copies: [M; 2],
    header: Header,
    /// Slots that exist; more than the header says after growing, until the next batch.
    slots: u32,
    /// Free slots, the lowest last.
    free: Vec<u32>,
    chunk: u32,
    /// The least number of the next key, where somebody knows of more than the header.
    next_key: u64,
    failed: Option<io::ErrorKind>,
    off: Vec<OffCopy>,
}

/// A register that was opened.
pub(super) struct OpenRegister<M> {
    /// The register.
    pub(super) register: FileRegister<M>,
    /// Its live slots.
    pub(super) live: Vec<(u32, Slot)>,
    /// Slots and headers that differed or were damaged and are as they should be now.
    pub(super) repaired: u32,
}

impl<M: Medium> FileRegister<M> {
    /// Writes both copies of an empty register, synced.
    pub(super) fn create(copies: [M; 2], vault: VaultId) -> Result<(), RegisterError> {
        Self::create_sized(copies, vault, CHUNK_SLOTS)
    }

    /// As `create`, with a number of slots.
    pub(super) fn create_sized(
        mut copies: [M; 2],
        vault: VaultId,
        slots: u32,
    ) -> Result<(), RegisterError> {
        let (ledger, sum) = (LedgerMark::default(), [0; 32]);
        let header =
            Header { vault, generation: 1, slots, live: 0, vek_epoch: 1, next_key: 1, ledger, sum };
        for (copy, medium) in Copy::BOTH.into_iter().zip(&mut copies) {
            let done = medium.write_at(0, &header.encode(copy));
            let done = done.and_then(|()| write_zeros(medium, 0, slots));
            done.and_then(|()| medium.sync()).map_err(|e| RegisterError::Failed(e.kind()))?;
        }
        Ok(())
    }

    /// Opens both copies and repairs what a cut or damage left behind. It will grow by at least
    /// this many slots.
    pub(super) fn open_chunked(
        mut copies: [M; 2],
        vault: VaultId,
        chunk: u32,
    ) -> Result<OpenRegister<M>, RegisterError> {
        let images = [Image::read(Copy::A, &copies[0])?, Image::read(Copy::B, &copies[1])?];
        check_vaults(&images, vault)?;
        let settled = settle(&images)?;
        let failed = |error: io::Error| RegisterError::Failed(error.kind());
        let (lead, other) = (settled.lead.index(), 1 - settled.lead.index());
        let mut repaired = 0;
        for at in [lead, other] {
            repaired += restore(&mut copies[at], &images[at], &settled).map_err(failed)?;
        }
        let mut live = Vec::new();
        let mut free = Vec::new();
        for no in (0..settled.header.slots).rev() {
            let bytes = slot_of(&settled.slots, no).ok_or(RegisterError::Slot { slot: no })?;
            match Slot::parse(vault, no, bytes) {
                SlotRead::Free => free.push(no),
                SlotRead::Live(slot) => live.push((no, *slot)),
                SlotRead::Bad => return Err(RegisterError::Slot { slot: no }),
            }
        }
        let (header, slots) = (settled.header.clone(), settled.header.slots);
        let next_key = header.next_key;
        let (failed, off) = (None, Vec::new());
        let register = Self { copies, header, slots, free, chunk, next_key, failed, off };
        Ok(OpenRegister { register, live, repaired })
    }

    /// The header of the last write.
    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    fn fail(&mut self, error: &io::Error) -> RegisterError {
        self.failed = Some(error.kind());
        RegisterError::Failed(error.kind())
    }

    fn usable(&self) -> Result<(), RegisterError> {
        self.failed.map_or(Ok(()), |kind| Err(RegisterError::Failed(kind)))
    }

    fn grow(&mut self, least: usize) -> Result<(), RegisterError> {
        let least = u32::try_from(least).map_err(|_| RegisterError::Full)?;
        let more = least.max(self.chunk).max(self.slots / 8);
        let slots = self.slots.checked_add(more).ok_or(RegisterError::Full)?;
        for at in 0..2 {
            let copy = &mut self.copies[at];
            let done = write_zeros(copy, self.slots, more).and_then(|()| copy.sync());
            done.map_err(|error| self.fail(&error))?;
        }
        self.free.splice(0..0, (self.slots..slots).rev());
        self.slots = slots;
        Ok(())
    }

    /// The header after a batch, and the bytes of each slot it touches.
    fn apply(&self, batch: &mut Batch) -> (Header, Touched) {
        let vault = self.header.vault;
        let mut header = self.header.clone();
        header.generation += 1;
        header.slots = self.slots;
        header.next_key = batch.next_key;
        header.ledger = batch.ledger;
        let mut bytes = Touched::new();
        for (no, old) in &batch.gone {
            add(&mut header.sum, &stored_sum(&old.encode(vault, *no)));
            header.live -= 1;
            bytes.insert(*no, [0; SLOT_BYTES]);
        }
        for (no, slot) in &mut batch.live {
            slot.generation = header.generation;
            let slot = slot.encode(vault, *no);
            add(&mut header.sum, &stored_sum(&slot));
            header.live += 1;
            bytes.insert(*no, slot);
        }
        (header, bytes)
    }

    /// Writes one copy, synced.
    fn put(&mut self, copy: Copy, header: &Header, bytes: &Touched) -> Result<(), RegisterError> {
        let medium = &mut self.copies[copy.index()];
        let done = write_slots(medium, bytes)
            .and_then(|()| medium.write_at(0, &header.encode(copy)))
            .and_then(|()| medium.sync());
        done.map_err(|error| self.fail(&error))
    }

    fn inspect(
        &mut self,
        copy: Copy,
        header: &Header,
        inspect: &mut dyn Inspect,
    ) -> Result<u64, RegisterError> {
        let file = copy.file();
        let back = pages::read_back(&self.copies[copy.index()], copy, header, inspect);
        back.map(u64::from).map_err(|error| match error {
            BackError::Io(error) => self.fail(&error),
            BackError::State => self.not_kept(file, None),
            BackError::Slot(slot) => self.not_kept(file, Some(slot)),
        })
    }

    fn not_kept(&mut self, file: &'static str, slot: Option<u32>) -> RegisterError {
        self.failed = Some(io::ErrorKind::InvalidData);
        RegisterError::NotKept { file, slot }
    }

    /// Both copies hold this now; those off the host follow if they can.
    fn written(&mut self, header: Header, bytes: &Touched) {
        self.header = header;
        let zeroed = |slot: &[u8; SLOT_BYTES]| *slot == [0; SLOT_BYTES];
        // Reserved slots are the last of the free ones.
        while self.free.last().is_some_and(|no| bytes.get(no).is_some_and(|slot| !zeroed(slot))) {
            self.free.pop();
        }
        self.free.extend(bytes.iter().rev().filter(|(_, slot)| zeroed(slot)).map(|(no, _)| *no));
        for off in &mut self.off {
            off.follow(&self.header, bytes, &self.copies[0]);
        }
    }
}

impl<M: Medium> KeyRegister for FileRegister<M> {
    fn vault(&self) -> VaultId {
        self.header.vault
    }

    fn vek_epoch(&self) -> u64 {
        self.header.vek_epoch
    }

    fn next_key(&self) -> u64 {
        self.header.next_key.max(self.next_key)
    }

    fn raise_next_key(&mut self, least: u64) {
        self.next_key = self.next_key.max(least);
    }

    fn generation(&self) -> u64 {
        self.header.generation
    }

    fn mark(&self) -> LedgerMark {
        self.header.ledger
    }

    fn reserve(&mut self, count: usize) -> Result<Vec<u32>, RegisterError> {
        self.usable()?;
        if self.free.len() < count {
            self.grow(count - self.free.len())?;
        }
        Ok(self.free.iter().rev().take(count).copied().collect())
    }

    fn write(&mut self, batch: &mut Batch) -> Result<(), RegisterError> {
        self.usable()?;
        let (header, bytes) = self.apply(batch);
        for copy in Copy::BOTH {
            self.put(copy, &header, &bytes)?;
        }
        self.written(header, &bytes);
        Ok(())
    }

    fn turn_over(
        &mut self,
        batch: &mut Batch,
        epoch: u64,
        inspect: &mut dyn Inspect,
    ) -> Result<u64, RegisterError> {
        self.usable()?;
        let (mut header, bytes) = self.apply(batch);
        header.vek_epoch = epoch;
        let mut opened = 0;
        for copy in Copy::BOTH {
            self.put(copy, &header, &bytes)?;
            opened += self.inspect(copy, &header, inspect)?;
        }
        self.written(header, &bytes);
        Ok(opened)
    }

    fn read_back(&mut self, inspect: &mut dyn Inspect) -> Result<u64, RegisterError> {
        self.usable()?;
        let header = self.header.clone();
        let mut opened = 0;
        for copy in Copy::BOTH {
            opened += self.inspect(copy, &header, inspect)?;
        }
        Ok(opened)
    }

    fn confirm(&mut self, inspect: &mut dyn Inspect) -> Confirmed {
        let mut confirmed = Confirmed::default();
        for off in &mut self.off {
            match off.confirm(&self.header, &self.copies[0], inspect) {
                Some(slots) => {
                    confirmed.slots += u64::from(slots);
                    confirmed.done.push(off.path().to_owned());
                }
                None => confirmed.waiting.push(off.path().to_owned()),
            }
        }
        confirmed
    }

    fn follow(&mut self, copies: Vec<Remote>) {
        self.off = copies.into_iter().map(OffCopy::new).collect();
        for off in &mut self.off {
            off.catch_up(&self.header, &self.copies[0]);
        }
    }

    fn copies(&self) -> Vec<CopyStatus> {
        self.off.iter().map(|off| off.status(self.header.generation)).collect()
    }
}
