//! Which committed state two copies of the register stand for, and putting both into it: the code
//! of the argument at the head of [`register`](super::register).

use std::io;

use super::VaultId;
use super::medium::{Medium, read_all};
use super::pages::{Tally, place, slot_of};
use super::register::RegisterError;
use super::slot::{Copy, HEADER_BYTES, Header, HeaderRead, SLOT_BYTES, Slot, SlotRead};

/// A copy as it was read.
pub(super) struct Image {
    copy: Copy,
    bytes: Vec<u8>,
    header: HeaderRead,
}

impl Image {
    pub(super) fn read(copy: Copy, medium: &dyn Medium) -> Result<Self, RegisterError> {
        let file = copy.file();
        let bytes = read_all(medium).map_err(|source| RegisterError::Io { file, source })?;
        let header = Header::parse(copy, &bytes);
        match header {
            HeaderRead::Version(version) => Err(RegisterError::Version { file, version }),
            HeaderRead::OtherCopy => Err(RegisterError::Duplicate { file }),
            HeaderRead::Good(_) | HeaderRead::Bad { .. } => Ok(Self { copy, bytes, header }),
        }
    }

    pub(super) fn header(&self) -> Option<&Header> {
        match &self.header {
            HeaderRead::Good(header) => Some(header),
            _ => None,
        }
    }

    pub(super) fn slots(&self) -> &[u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// The header, if the copy is one committed state.
    pub(super) fn whole(&self) -> Option<&Header> {
        let header = self.header()?;
        let mut tally = Tally::default();
        for no in 0..header.slots {
            let bytes = slot_of(self.slots(), no)?;
            tally.add(&Slot::parse(header.vault, no, bytes), bytes);
        }
        tally.agrees(header).then_some(header)
    }
}

/// What both copies should hold.
pub(super) struct Settled {
    /// What both headers should say.
    pub(super) header: Header,
    /// The bytes of as many slots as the header says.
    pub(super) slots: Vec<u8>,
    /// The copy to trust while the other is repaired.
    pub(super) lead: Copy,
}

/// A header that is damaged is repaired only in a file that is recognisably ours.
pub(super) fn check_vaults(images: &[Image; 2], vault: VaultId) -> Result<(), RegisterError> {
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
pub(super) fn settle(images: &[Image; 2]) -> Result<Settled, RegisterError> {
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
pub(super) fn restore<M: Medium>(
    medium: &mut M,
    image: &Image,
    settled: &Settled,
) -> io::Result<u32> {
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
