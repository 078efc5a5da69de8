//! The search for what was destroyed in the register's own files: both copies are opened anew by
//! their names and read from the first place for a key to the end of the file, and no place may
//! name a key that is gone or hold the wrapped form that it had. It looks at bytes and trusts
//! neither header nor checksum, so it also sees what stands in a damaged slot or behind the last
//! one; and not the handles that the destroyer wrote through.
//!
//! It is made after a destruction has said that it is over, by whoever certifies that: what the
//! destroyer says of itself is another matter. Bytes may come from the page cache.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;

use super::medium::{DiskFile, Medium};
use super::pages::{PASS_SLOTS, place};
use super::slot::{Copy, HEADER_BYTES, SLOT_BYTES, Slot, WRAPPED_BYTES, slot_words};
use super::{KeyRing, KeysError};
use crate::model::ids::KeyId;

/// Wrapped forms of destroyed keys that a process remembers for the search: some megabytes. The
/// vault epoch key that they were wrapped under is gone, so that they are noise.
const FORMS_MAX: usize = if cfg!(test) { 64 } else { 65_536 };

/// What a search in both copies of the register found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegisterScan {
    /// Copies that were read whole.
    pub copies: u64,
    /// Places for a key in them, the free ones included.
    pub places: u64,
    /// Numbers of keys that were looked for.
    pub keys: u64,
    /// Wrapped forms that were looked for; fewer than there are keys where a start finished the
    /// destruction and had none of them any more.
    pub wrapped: u64,
    /// Places that name one of the keys or hold one of the forms. With any nothing is destroyed.
    pub found: u64,
}

/// What is looked for.
struct Sought {
    keys: HashSet<KeyId>,
    wrapped: HashSet<[u8; WRAPPED_BYTES]>,
}

impl Sought {
    /// Adds a copy of the register to a search. Whoever writes it is kept out of each part while
    /// that is read, and of no more: what is written meanwhile has none of the keys in it.
    fn look(&self, medium: &dyn Medium, ring: &KeyRing, scan: &mut RegisterScan) -> io::Result<()> {
        let places = medium.size()?.saturating_sub(HEADER_BYTES as u64) / SLOT_BYTES as u64;
        let places = u32::try_from(places).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut buffer = vec![0; PASS_SLOTS as usize * SLOT_BYTES];
        for no in (0..places).step_by(PASS_SLOTS as usize) {
            let bytes = &mut buffer[..PASS_SLOTS.min(places - no) as usize * SLOT_BYTES];
            {
                let _core = ring.core().map_err(io::Error::other)?;
                medium.read_at(place(no), bytes)?;
            }
            for slot in bytes.as_chunks::<SLOT_BYTES>().0 {
                scan.found += u64::from(self.is_in(slot));
            }
        }
        scan.copies += 1;
        scan.places += u64::from(places);
        Ok(())
    }

    fn is_in(&self, slot: &[u8; SLOT_BYTES]) -> bool {
        let (id, parent, wrapped) = slot_words(slot);
        self.keys.contains(&id) || self.keys.contains(&parent) || self.wrapped.contains(&wrapped)
    }
}

/// The wrapped forms that destroyed keys had, the newest ones.
#[derive(Default)]
pub(super) struct Forms(BTreeMap<KeyId, [u8; WRAPPED_BYTES]>);

impl Forms {
    /// Remembers what stood in slots of keys that are gone.
    pub(super) fn remember<'s>(&mut self, gone: impl Iterator<Item = &'s Slot>) {
        self.0.extend(gone.map(|slot| (slot.id, slot.wrapped)));
        while self.0.len() > FORMS_MAX {
            self.0.pop_first();
        }
    }

    fn sought(&self, keys: &[KeyId]) -> Sought {
        let keys: HashSet<KeyId> = keys.iter().copied().collect();
        let wrapped = keys.iter().filter_map(|id| self.0.get(id)).copied().collect();
        Sought { keys, wrapped }
    }
}

impl KeyRing {
    /// Looks for destroyed keys in both copies of the register, as this page says.
    ///
    /// # Errors
    /// When the keys cannot be used any more, or a copy cannot be read.
    pub fn scan(&self, gone: &[KeyId]) -> Result<RegisterScan, KeysError> {
        self.usable()?;
        let sought = {
            // What is being destroyed has its form remembered when this is free.
            let _core = self.core()?;
            self.turning()?.forms.sought(gone)
        };
        let (keys, wrapped) = (sought.keys.len() as u64, sought.wrapped.len() as u64);
        let mut scan = RegisterScan { keys, wrapped, ..RegisterScan::default() };
        for copy in Copy::BOTH {
            let path = self.settings.dir.join(copy.file());
            let looked =
                File::open(&path).and_then(|file| sought.look(&DiskFile(file), self, &mut scan));
            looked.map_err(|source| KeysError::Io { what: "read", path, source })?;
        }
        Ok(scan)
    }
}
