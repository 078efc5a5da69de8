//! An exact set of tags: in memory while the memory bound allows, else on disk with a cache before
//! it; exact either way.
//!
//! Every member reaches the disk in a sorted run at the next fold. What is in memory is either the
//! whole set (`Resident`), or only what no run holds yet (`Spilled`), and then a probe goes on to
//! the cache of full tags and to the runs, the latest first. Masks only gain bits and each run
//! holds the whole mask as of its fold, so the latest run that has a tag has its mask.

use std::sync::Arc;

use super::runs::{self, Run, RunError, SetId};
use super::tagset::TagSet;
use crate::crypto::SealKey;
use crate::model::ids::ShortTag;
use crate::store::Store;
use crate::store::pages::Entry;

/// A set of tags with masks.
pub struct DistinctSet {
    id: SetId,
    key: Arc<SealKey>,
    members: Members,
    /// Members that are new, or gained bits, since the last cut, with their masks as of then.
    fresh: Vec<Entry>,
    /// Runs on disk, the earliest first.
    runs: Vec<Run>,
    len: u64,
}

enum Members {
    Resident(TagSet),
    /// What no run holds yet.
    Spilled(TagSet),
}

/// What a probe of a spilled set needs.
pub struct Disk<'a> {
    /// Where the runs are.
    pub store: &'a Store,
    /// Full tags of spilled sets that were met lately.
    pub cache: &'a mut TagCache,
}

impl DistinctSet {
    /// An empty set whose runs are sealed under `key`.
    pub fn new(id: SetId, key: Arc<SealKey>) -> Self {
        let members = Members::Resident(TagSet::default());
        Self { id, key, members, fresh: Vec::new(), runs: Vec::new(), len: 0 }
    }

    /// A set that stays on disk, of `len` members.
    pub fn spilled(id: SetId, key: Arc<SealKey>, runs: Vec<Run>, len: u64) -> Self {
        let members = Members::Spilled(TagSet::default());
        Self { id, key, members, fresh: Vec::new(), runs, len }
    }

    /// Adds members that a run holds, when a set is loaded.
    pub fn load(&mut self, entries: Vec<Entry>) {
        if let Members::Resident(set) = &mut self.members {
            for (tag, mask) in entries {
                self.len += u64::from(set.insert(tag, mask) == 0);
            }
        }
    }

    /// Which set it is.
    pub fn id(&self) -> SetId {
        self.id
    }

    /// The key of its runs.
    pub fn key(&self) -> &Arc<SealKey> {
        &self.key
    }

    /// Members. For a spilled set that was loaded from runs this is the sum it was given.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether all members are in memory.
    pub fn is_resident(&self) -> bool {
        matches!(self.members, Members::Resident(_))
    }

    /// Memory of the members, bytes.
    pub fn memory_bytes(&self) -> usize {
        let (Members::Resident(set) | Members::Spilled(set)) = &self.members;
        let runs: usize = self.runs.iter().map(Run::memory_bytes).sum();
        set.memory_bytes() + self.fresh.capacity() * size_of::<Entry>() + runs
    }

    /// Runs on disk.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Touches the memory that [`DistinctSet::insert`] of this tag will need.
    #[inline]
    pub fn warm(&self, tag: ShortTag) -> u8 {
        let (Members::Resident(set) | Members::Spilled(set)) = &self.members;
        set.warm(tag)
    }

    /// The mask of a tag; 0 where it is no member.
    ///
    /// # Errors
    /// When a run cannot be read.
    pub fn get(&self, tag: ShortTag, disk: &mut Disk<'_>) -> Result<u8, RunError> {
        match &self.members {
            Members::Resident(set) => Ok(set.get(tag)),
            Members::Spilled(set) => match set.get(tag) {
                0 => self.probe_disk(tag, disk),
                mask => Ok(mask),
            },
        }
    }

    /// Adds bits to a tag's mask, making it a member; answers the mask before.
    ///
    /// # Errors
    /// When a run cannot be read; then nothing has changed.
    #[inline]
    pub fn insert(&mut self, tag: ShortTag, bits: u8, disk: &mut Disk<'_>) -> Result<u8, RunError> {
        let before = match &mut self.members {
            Members::Resident(set) => set.insert(tag, bits),
            Members::Spilled(set) => match set.get(tag) {
                0 => return self.insert_spilled(tag, bits, disk),
                before => {
                    if before | bits != before {
                        set.insert(tag, bits);
                        // The set forgets the tag after the fold, and the cache must not know less.
                        disk.cache.put(self.id, tag, before | bits);
                    }
                    before
                }
            },
        };
        self.note(tag, before, bits);
        Ok(before)
    }

    fn insert_spilled(
        &mut self,
        tag: ShortTag,
        bits: u8,
        disk: &mut Disk<'_>,
    ) -> Result<u8, RunError> {
        let before = self.probe_disk(tag, disk)?;
        if before | bits != before {
            if let Members::Spilled(set) = &mut self.members {
                set.insert(tag, before | bits);
            }
            disk.cache.put(self.id, tag, before | bits);
            self.note(tag, before, bits);
        }
        Ok(before)
    }

    fn note(&mut self, tag: ShortTag, before: u8, bits: u8) {
        self.len += u64::from(before == 0);
        if before | bits != before {
            self.fresh.push((tag, before | bits));
        }
    }

    fn probe_disk(&self, tag: ShortTag, disk: &mut Disk<'_>) -> Result<u8, RunError> {
        if let Some(mask) = disk.cache.get(self.id, tag) {
            return Ok(mask);
        }
        for run in self.runs.iter().rev() {
            let mask = runs::probe(disk.store, &self.key, self.id, run, tag)?;
            if mask != 0 {
                disk.cache.put(self.id, tag, mask);
                return Ok(mask);
            }
        }
        Ok(0)
    }

    /// Takes what is new since the last cut, for the fold to sort and write. A tag that gained bits
    /// twice is in it twice; joined, its masks are the whole mask.
    pub fn cut(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.fresh)
    }

    /// Whether nothing is new since the last cut.
    pub fn is_clean(&self) -> bool {
        self.fresh.is_empty()
    }

    /// Takes over the runs after a fold. A spilled set then forgets what the runs hold.
    pub fn folded(&mut self, runs: Vec<Run>) {
        self.runs = runs;
        if let Members::Spilled(set) = &mut self.members {
            *set = only(&self.fresh);
        }
    }

    /// Gives the memory back: from here on the set is on disk. What no run holds yet stays. Only
    /// right when no fold is under way.
    pub fn spill(&mut self) {
        if self.is_resident() {
            self.members = Members::Spilled(only(&self.fresh));
        }
    }
}

fn only(entries: &[Entry]) -> TagSet {
    let mut kept = TagSet::default();
    for (tag, mask) in entries {
        kept.insert(*tag, *mask);
    }
    kept
}

/// A direct-mapped cache of full tags of spilled sets: most probes are repeats, for which a filter
/// could only say "maybe".
pub struct TagCache {
    slots: Vec<Option<(SetId, ShortTag, u8)>>,
}

impl TagCache {
    /// A cache of about this much memory.
    pub fn new(bytes: usize) -> Self {
        let count = (bytes / size_of::<Option<(SetId, ShortTag, u8)>>()).max(1);
        Self { slots: vec![None; count] }
    }

    fn place(&self, tag: ShortTag) -> usize {
        ((u128::from(tag.prefix()) * self.slots.len() as u128) >> 64) as usize
    }

    fn get(&self, set: SetId, tag: ShortTag) -> Option<u8> {
        self.slots[self.place(tag)]
            .and_then(|(of, known, mask)| (of == set && known == tag).then_some(mask))
    }

    /// Forgets the tags of some sets.
    pub fn forget(&mut self, of: impl Fn(SetId) -> bool) {
        let gone =
            |slot: &&mut Option<(SetId, ShortTag, u8)>| slot.is_some_and(|(set, ..)| of(set));
        self.slots.iter_mut().filter(gone).for_each(|slot| *slot = None);
    }

    fn put(&mut self, set: SetId, tag: ShortTag, mask: u8) {
        let place = self.place(tag);
        self.slots[place] = Some((set, tag, mask));
    }
}
