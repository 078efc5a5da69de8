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
//! Growth writes zeros behind the last slot of A, syncs, then B, so that a full disk shows before a
//! batch begins; the new number of slots becomes true with the header of the next batch. Bytes
//! behind the last slot of a valid header mean nothing, and a start zeros them.

use std::collections::BTreeMap;
use std::io;

use super::VaultId;
use super::medium::{Medium, read_all};
use super::slot::{Copy, HEADER_BYTES, Header, HeaderRead, SLOT_BYTES, Slot, SlotRead, stored_sum};
use super::vek::LedgerMark;

/// Slots that a register has at first, and the least that it grows by.
const CHUNK_SLOTS: u32 = 1024;

/// Why the register cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The file system said no.
    #[error("the key register's file {file} cannot be read: {source}")]
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
    /// As many slots as a number can name.
    #[error("the key register has no room for more keys")]
    Full,
    /// A write or sync failed, now or before.
    #[error("writing the key register failed: {0}")]
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
}

/// Where wrapped keys are kept. The files below are one such place; a replicated one is another.
pub(super) trait KeyRegister: Send {
    /// The vault.
    fn vault(&self) -> VaultId;
    /// The VEK that wraps the nodes.
    fn vek_epoch(&self) -> u64;
    /// The next key's number.
    fn next_key(&self) -> u64;
    /// This many free slots, in order, preallocated. They stay free until written.
    fn reserve(&mut self, count: usize) -> Result<Vec<u32>, RegisterError>;
    /// Writes a batch and stamps its live slots with the generation; durable in every copy when it
    /// returns.
    fn write(&mut self, batch: &mut Batch) -> Result<(), RegisterError>;
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
    failed: Option<io::ErrorKind>,
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

    /// Opens both copies and repairs what a cut or damage left behind.
    pub(super) fn open(copies: [M; 2], vault: VaultId) -> Result<OpenRegister<M>, RegisterError> {
        Self::open_chunked(copies, vault, CHUNK_SLOTS)
    }

    /// As `open`, growing by at least this many slots.
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
        let register = Self { copies, header, slots, free, chunk, failed: None };
        Ok(OpenRegister { register, live, repaired })
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
    fn apply(&self, batch: &mut Batch) -> (Header, BTreeMap<u32, [u8; SLOT_BYTES]>) {
        let vault = self.header.vault;
        let mut header = self.header.clone();
        header.generation += 1;
        header.slots = self.slots;
        header.next_key = batch.next_key;
        let mut bytes = BTreeMap::new();
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
}

impl<M: Medium> KeyRegister for FileRegister<M> {
    fn vault(&self) -> VaultId {
        self.header.vault
    }

    fn vek_epoch(&self) -> u64 {
        self.header.vek_epoch
    }

    fn next_key(&self) -> u64 {
        self.header.next_key
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
            let medium = &mut self.copies[copy.index()];
            let done = write_slots(medium, &bytes)
                .and_then(|()| medium.write_at(0, &header.encode(copy)))
                .and_then(|()| medium.sync());
            done.map_err(|error| self.fail(&error))?;
        }
        self.header = header;
        let zeroed = |slot: &[u8; SLOT_BYTES]| *slot == [0; SLOT_BYTES];
        // Reserved slots are the last of the free ones.
        while self.free.last().is_some_and(|no| bytes.get(no).is_some_and(|slot| !zeroed(slot))) {
            self.free.pop();
        }
        self.free.extend(bytes.iter().rev().filter(|(_, slot)| zeroed(slot)).map(|(no, _)| *no));
        Ok(())
    }
}

/// A copy as it was read.
struct Image {
    copy: Copy,
    bytes: Vec<u8>,
    header: HeaderRead,
}

impl Image {
    fn read(copy: Copy, medium: &dyn Medium) -> Result<Self, RegisterError> {
        let file = copy.file();
        let bytes = read_all(medium).map_err(|source| RegisterError::Io { file, source })?;
        let header = Header::parse(copy, &bytes);
        match header {
            HeaderRead::Version(version) => Err(RegisterError::Version { file, version }),
            HeaderRead::OtherCopy => Err(RegisterError::Duplicate { file }),
            HeaderRead::Good(_) | HeaderRead::Bad { .. } => Ok(Self { copy, bytes, header }),
        }
    }

    fn header(&self) -> Option<&Header> {
        match &self.header {
            HeaderRead::Good(header) => Some(header),
            _ => None,
        }
    }

    fn slots(&self) -> &[u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// The header, if the copy is one committed state.
    fn whole(&self) -> Option<&Header> {
        let header = self.header()?;
        let mut tally = Tally::default();
        for no in 0..header.slots {
            let bytes = slot_of(self.slots(), no)?;
            tally.add(&Slot::parse(header.vault, no, bytes), bytes);
        }
        tally.agrees(header).then_some(header)
    }
}

/// Count and sum of the slots seen.
#[derive(Default)]
struct Tally {
    live: u32,
    sum: [u8; 32],
    bad: bool,
}

impl Tally {
    fn add(&mut self, read: &SlotRead, bytes: &[u8; SLOT_BYTES]) {
        match read {
            SlotRead::Free => {}
            SlotRead::Live(_) => {
                self.live += 1;
                add(&mut self.sum, &stored_sum(bytes));
            }
            SlotRead::Bad => self.bad = true,
        }
    }

    fn agrees(&self, header: &Header) -> bool {
        !self.bad && self.live == header.live && self.sum == header.sum
    }
}

/// What both copies should hold.
struct Settled {
    header: Header,
    /// The bytes of as many slots as the header says.
    slots: Vec<u8>,
    /// The copy to trust while the other is repaired.
    lead: Copy,
}

/// A header that is damaged is repaired only in a file that is recognisably ours.
fn check_vaults(images: &[Image; 2], vault: VaultId) -> Result<(), RegisterError> {
    for image in images {
        let file = image.copy.file();
        match &image.header {
            HeaderRead::Good(header) if header.vault != vault => {
                return Err(RegisterError::OtherVault { file });
            }
            HeaderRead::Bad { vault: seen, magic } if !magic && *seen != vault => {
                return Err(RegisterError::Foreign { file });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Which committed state the two copies stand for (see the top of this page).
fn settle(images: &[Image; 2]) -> Result<Settled, RegisterError> {
    let [a, b] = images;
    if let (Some(in_a), Some(in_b)) = (a.header(), b.header()) {
        let (a, b) = (in_a.generation, in_b.generation);
        if a != b && a != b.saturating_add(1) {
            return Err(RegisterError::Apart { a, b });
        }
    }
    // A first: where both are whole, it is the one that may be ahead.
    for image in images {
        if let Some(header) = image.whole() {
            let (header, lead) = (header.clone(), image.copy);
            let slots = image.slots()[..header.slots as usize * SLOT_BYTES].to_vec();
            return Ok(Settled { header, slots, lead });
        }
    }
    if a.header().is_none() && b.header().is_none() {
        return Err(RegisterError::Headers);
    }
    for (first, second) in [(a, b), (b, a)] {
        for header in [first.header(), second.header()].into_iter().flatten() {
            if let Some(slots) = merge(first, second, header) {
                return Ok(Settled { header: header.clone(), slots, lead: first.copy });
            }
        }
    }
    Err(RegisterError::Slot { slot: first_bad(a, b) })
}

/// Each slot from the first copy, or from the second where the first has none that is valid; `None`
/// unless that is the state the header speaks of.
fn merge(first: &Image, second: &Image, header: &Header) -> Option<Vec<u8>> {
    let mut slots = Vec::with_capacity(header.slots as usize * SLOT_BYTES);
    let mut tally = Tally::default();
    for no in 0..header.slots {
        let read = |image: &Image| {
            let bytes = *slot_of(image.slots(), no)?;
            let read = Slot::parse(header.vault, no, &bytes);
            (read != SlotRead::Bad).then_some((read, bytes))
        };
        let (read, bytes) = read(first).or_else(|| read(second))?;
        tally.add(&read, &bytes);
        slots.extend_from_slice(&bytes);
    }
    tally.agrees(header).then_some(slots)
}

/// A slot to name in the error: one that is valid in neither copy, or else the first that differs.
fn first_bad(a: &Image, b: &Image) -> u32 {
    let Some(header) = a.header().or(b.header()) else { return 0 };
    let bad = |image: &Image, no| {
        slot_of(image.slots(), no)
            .is_none_or(|bytes| Slot::parse(header.vault, no, bytes) == SlotRead::Bad)
    };
    let differs = |no: &u32| slot_of(a.slots(), *no) != slot_of(b.slots(), *no);
    let both = (0..header.slots).find(|no| bad(a, *no) && bad(b, *no));
    both.or_else(|| (0..header.slots).find(differs)).unwrap_or(0)
}

/// Writes the settled state, synced; answers how many slots and headers differed.
fn restore<M: Medium>(medium: &mut M, image: &Image, settled: &Settled) -> io::Result<u32> {
    let differs = |no: &u32| slot_of(image.slots(), *no) != slot_of(&settled.slots, *no);
    let slots = (0..settled.header.slots).filter(differs).count();
    let header = usize::from(image.header() != Some(&settled.header));
    medium.write_at(HEADER_BYTES as u64, &settled.slots)?;
    let behind = image.slots().get(settled.slots.len()..).unwrap_or_default();
    if behind.iter().any(|byte| *byte != 0) {
        // Keys of a batch that never was; nothing uses them, and nothing should find them.
        medium.write_at(place(settled.header.slots), &vec![0; behind.len()])?;
    }
    medium.write_at(0, &settled.header.encode(image.copy))?;
    medium.sync()?;
    Ok(u32::try_from(slots + header).unwrap_or(u32::MAX))
}

fn slot_of(slots: &[u8], no: u32) -> Option<&[u8; SLOT_BYTES]> {
    let at = (no as usize).checked_mul(SLOT_BYTES)?;
    slots.get(at..)?.first_chunk()
}

fn place(no: u32) -> u64 {
    HEADER_BYTES as u64 + u64::from(no) * SLOT_BYTES as u64
}

/// Writes slots, neighbors in one go.
fn write_slots(
    medium: &mut impl Medium,
    slots: &BTreeMap<u32, [u8; SLOT_BYTES]>,
) -> io::Result<()> {
    let mut run: Vec<u8> = Vec::new();
    let mut start = 0;
    for (no, bytes) in slots {
        let end = start + run.len() as u64;
        if place(*no) != end && !run.is_empty() {
            medium.write_at(start, &run)?;
            run.clear();
        }
        if run.is_empty() {
            start = place(*no);
        }
        run.extend_from_slice(bytes);
    }
    if run.is_empty() { Ok(()) } else { medium.write_at(start, &run) }
}

fn write_zeros(medium: &mut impl Medium, from: u32, count: u32) -> io::Result<()> {
    let zeros = vec![0; CHUNK_SLOTS as usize * SLOT_BYTES];
    let mut left = u64::from(count) * SLOT_BYTES as u64;
    let mut at = place(from);
    while left > 0 {
        let length = left.min(zeros.len() as u64);
        medium.write_at(at, &zeros[..length as usize])?;
        at += length;
        left -= length;
    }
    Ok(())
}

fn add(sum: &mut [u8; 32], other: &[u8; 32]) {
    sum.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
}
