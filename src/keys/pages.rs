//! Where header and slots lie in a register's file: writing some of them, carrying all of them
//! over, and reading back what was written.

use std::collections::BTreeMap;
use std::io;

use super::medium::Medium;
use super::slot::{Copy, HEADER_BYTES, Header, HeaderRead, SLOT_BYTES, Slot, SlotRead, stored_sum};

/// Slots that are read or written in one go.
pub(super) const PASS_SLOTS: u32 = 1024;

/// Slots that a write touches, with the bytes they get.
pub(super) type Touched = BTreeMap<u32, [u8; SLOT_BYTES]>;

/// Who looks at a copy that was written, synced and is read back.
pub(super) trait Inspect {
    /// Whether a key may be there and opens under the keys in force.
    fn opens(&mut self, no: u32, slot: &Slot) -> bool;
    /// The copy is as it should be.
    fn kept(&mut self, copy: Copy);
}

/// Why a copy that was read back is not what was written.
#[derive(Debug)]
pub(super) enum BackError {
    /// It cannot be read.
    Io(io::Error),
    /// Another header, or other slots than the header speaks of.
    State,
    /// A slot that is damaged or does not open.
    Slot(u32),
}

impl From<io::Error> for BackError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a copy back from its file: its header is the given one, its slots are those that the
/// header speaks of, and every key opens. Answers how many keys that were.
pub(super) fn read_back(
    medium: &dyn Medium,
    copy: Copy,
    header: &Header,
    inspect: &mut dyn Inspect,
) -> Result<u32, BackError> {
    let mut page = [0; HEADER_BYTES];
    medium.read_at(0, &mut page)?;
    if Header::parse(copy, &page) != HeaderRead::Good(header.clone()) {
        return Err(BackError::State);
    }
    let mut tally = Tally::default();
    passes(medium, header.slots, |from, bytes| {
        for (no, bytes) in (from..).zip(bytes.as_chunks().0) {
            let read = Slot::parse(header.vault, no, bytes);
            match &read {
                SlotRead::Bad => return Err(BackError::Slot(no)),
                SlotRead::Live(slot) if !inspect.opens(no, slot) => {
                    return Err(BackError::Slot(no));
                }
                SlotRead::Free | SlotRead::Live(_) => tally.add(&read, bytes),
            }
        }
        Ok(())
    })?;
    if !tally.agrees(header) {
        return Err(BackError::State);
    }
    inspect.kept(copy);
    Ok(tally.live)
}

/// Carries all slots over from another copy; what lies behind them becomes zero.
pub(super) fn carry(from: &dyn Medium, into: &mut dyn Medium, slots: u32) -> io::Result<()> {
    passes(from, slots, |no, bytes| into.write_at(place(no), bytes))?;
    let behind = into.size()?.saturating_sub(place(slots));
    // A register never shrinks, so that this is at most what was left of a greater one.
    let zeros = vec![0; usize::try_from(behind).map_err(|_| io::ErrorKind::FileTooLarge)?];
    if zeros.is_empty() { Ok(()) } else { into.write_at(place(slots), &zeros) }
}

/// Reads all slots, some at a time.
pub(super) fn passes<E: From<io::Error>>(
    medium: &dyn Medium,
    slots: u32,
    mut each: impl FnMut(u32, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = vec![0; PASS_SLOTS as usize * SLOT_BYTES];
    let mut no = 0;
    while no < slots {
        let count = PASS_SLOTS.min(slots - no);
        let bytes = &mut buffer[..count as usize * SLOT_BYTES];
        medium.read_at(place(no), bytes)?;
        each(no, bytes)?;
        no += count;
    }
    Ok(())
}

/// Count and sum of the slots seen.
#[derive(Default)]
pub(super) struct Tally {
    /// Live slots.
    pub(super) live: u32,
    sum: [u8; 32],
    bad: bool,
}

impl Tally {
    /// Adds a slot.
    pub(super) fn add(&mut self, read: &SlotRead, bytes: &[u8; SLOT_BYTES]) {
        match read {
            SlotRead::Free => {}
            SlotRead::Live(_) => {
                self.live += 1;
                add(&mut self.sum, &stored_sum(bytes));
            }
            SlotRead::Bad => self.bad = true,
        }
    }

    /// Whether this is the state that a header speaks of.
    pub(super) fn agrees(&self, header: &Header) -> bool {
        !self.bad && self.live == header.live && self.sum == header.sum
    }
}

/// The bytes of a slot among those of all.
pub(super) fn slot_of(slots: &[u8], no: u32) -> Option<&[u8; SLOT_BYTES]> {
    let at = (no as usize).checked_mul(SLOT_BYTES)?;
    slots.get(at..)?.first_chunk()
}

/// Where a slot begins in the file, bytes.
pub(super) fn place(no: u32) -> u64 {
    HEADER_BYTES as u64 + u64::from(no) * SLOT_BYTES as u64
}

/// Writes slots, neighbors in one go.
pub(super) fn write_slots(medium: &mut impl Medium, slots: &Touched) -> io::Result<()> {
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

/// Writes free slots.
pub(super) fn write_zeros(medium: &mut impl Medium, from: u32, count: u32) -> io::Result<()> {
    let zeros = vec![0; PASS_SLOTS as usize * SLOT_BYTES];
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

/// Exclusive or.
pub(super) fn add(sum: &mut [u8; 32], other: &[u8; 32]) {
    sum.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
}
