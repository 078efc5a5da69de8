//! A set of 96-bit tags with a byte of bits each, in 15 to 19 bytes a member.
//!
//! Open addressing with linear probing; tags are keyed pseudonyms, random by nature and out of an
//! attacker's hands, so they serve as their own hash. Tables grow by a quarter, which keeps them at
//! least two thirds full; a member's place goes with its hash, so growing reads and writes memory
//! in order. A large set is cut into shards that grow one at a time, so that no insert waits for
//! long.

use crate::model::ids::ShortTag;
use crate::store::pages::Entry;

/// Bytes of a slot: the tag and its mask; a mask of zero marks an empty slot.
const SLOT: usize = 13;
/// A table grows when more than 17 in 20 slots are taken.
const FULL: (usize, usize) = (17, 20);
/// By one slot in so many.
const GROWTH: usize = 4;
/// Slots that lie a line of memory apart.
const LINE_SLOTS: usize = 64 / SLOT + 1;
/// Lines that a search for a tag mostly stays within.
const LINES: usize = 3;
const FIRST_SLOTS: usize = 8;
/// A set of this many members is cut into shards.
const SHARD_FROM: usize = 32_768;
const SHARDS: usize = 256;

/// A set of tags with their masks.
#[derive(Default)]
pub struct TagSet {
    tables: Vec<Table>,
    len: usize,
}

#[derive(Default)]
struct Table {
    slots: Vec<[u8; SLOT]>,
    len: usize,
}

impl TagSet {
    /// Members.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Memory of the slots, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.tables.iter().map(|table| table.slots.capacity() * SLOT).sum()
    }

    /// The mask of a tag; 0 where it is no member.
    pub fn get(&self, tag: ShortTag) -> u8 {
        match self.tables.get(self.shard(tag)) {
            Some(table) => table.get(tag),
            None => 0,
        }
    }

    /// Adds bits (at least one) to a tag's mask, making it a member; answers the mask before.
    pub fn insert(&mut self, tag: ShortTag, bits: u8) -> u8 {
        debug_assert_ne!(bits, 0);
        if self.tables.is_empty() {
            self.tables.push(Table::default());
        }
        if self.len == SHARD_FROM && self.tables.len() == 1 {
            self.split();
        }
        let shard = self.shard(tag);
        let before = self.tables[shard].insert(tag, bits);
        self.len += usize::from(before == 0);
        before
    }

    /// Every member with its mask, in no order.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        self.tables.iter().flat_map(|table| &table.slots).filter_map(read)
    }

    /// Touches the slot where a tag would be, so that the memory is on its way when the tag is
    /// looked up a little later; several of these overlap where lookups would wait in turn.
    #[inline]
    pub fn warm(&self, tag: ShortTag) -> u8 {
        let Some(table) = self.tables.get(self.shard(tag)) else { return 0 };
        let home = table.home(tag);
        let lines = (0..LINES).filter_map(|line| table.slots.get(home + line * LINE_SLOTS));
        lines.fold(0, |sum, slot| sum ^ slot[12])
    }

    /// The shard is told by the last byte, the slot by those before it.
    #[inline]
    fn shard(&self, tag: ShortTag) -> usize {
        if self.tables.len() <= 1 { 0 } else { usize::from(tag.0[11]) }
    }

    fn split(&mut self) {
        let whole = std::mem::take(&mut self.tables);
        self.tables.resize_with(SHARDS, Table::default);
        for (tag, mask) in whole.iter().flat_map(|table| &table.slots).filter_map(read) {
            self.tables[usize::from(tag.0[11])].insert(tag, mask);
        }
    }
}

fn read(slot: &[u8; SLOT]) -> Option<Entry> {
    let (tag, mask) = slot.split_first_chunk::<12>()?;
    (mask[0] != 0).then_some((ShortTag(*tag), mask[0]))
}

impl Table {
    /// Where the search for a tag begins: bits of its middle, scaled to the number of slots. Not
    /// its first ones: runs are sorted by those, and a table that grows while it is loaded in that
    /// order would be one long cluster.
    #[inline]
    fn home(&self, tag: ShortTag) -> usize {
        let [_, _, _, middle @ .., _] = tag.0;
        ((u128::from(u64::from_be_bytes(middle)) * self.slots.len() as u128) >> 64) as usize
    }

    /// The slot that holds the tag, or the empty slot where it would go.
    #[inline]
    fn find(&self, tag: ShortTag) -> usize {
        let mut at = self.home(tag);
        loop {
            let slot = &self.slots[at];
            if slot[12] == 0 || slot[..12] == tag.0 {
                return at;
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }

    fn get(&self, tag: ShortTag) -> u8 {
        if self.slots.is_empty() { 0 } else { self.slots[self.find(tag)][12] }
    }

    fn insert(&mut self, tag: ShortTag, bits: u8) -> u8 {
        if (self.len + 1) * FULL.1 > self.slots.len() * FULL.0 {
            self.grow();
        }
        let at = self.find(tag);
        let slot = &mut self.slots[at];
        let before = slot[12];
        if before == 0 {
            slot[..12].copy_from_slice(&tag.0);
            self.len += 1;
        }
        slot[12] |= bits;
        before
    }

    /// Moves to a larger table. The members come nearly in the order of their homes, so nearly all
    /// go to a home that is still empty or right behind the one before: no search, and memory is
    /// written in order.
    fn grow(&mut self) {
        let slots = (self.slots.len() + self.slots.len() / GROWTH + 1).max(FIRST_SLOTS);
        let old = std::mem::replace(&mut self.slots, vec![[0; SLOT]; slots]);
        // The slots from `run` up to, and without, `next` are taken.
        let (mut run, mut next) = (0, 0);
        for slot in old {
            let Some((tag, _)) = read(&slot) else { continue };
            let home = self.home(tag);
            if home > next {
                (run, next) = (home, home);
            }
            while self.slots.get(next).is_some_and(|slot| slot[12] != 0) {
                next += 1;
            }
            let at = if home >= run && next < slots { next } else { self.find(tag) };
            self.slots[at] = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn spread(number: u32) -> ShortTag {
        let mut tag = [0; 12];
        tag.copy_from_slice(&blake3::hash(&number.to_le_bytes()).as_bytes()[..12]);
        ShortTag(tag)
    }

    proptest! {
        /// Also with tags that crowd around few slots.
        #[test]
        fn agrees_with_a_map(
            ops in proptest::collection::vec((0u32..200, 0u8..8, any::<bool>()), 0..400),
        ) {
            let (mut set, mut map) = (TagSet::default(), HashMap::new());
            for (number, bit, crowd) in ops {
                let mut tag = spread(number);
                if crowd {
                    tag.0[3..10].fill(0xff);
                }
                let known = map.entry(tag).or_insert(0u8);
                prop_assert_eq!(set.insert(tag, 1 << bit), *known);
                *known |= 1 << bit;
            }
            prop_assert_eq!(set.len(), map.len());
            prop_assert_eq!(set.iter().collect::<HashMap<_, _>>(), map);
        }
    }

    /// As a start does; minutes where sorted tags crowd.
    #[test]
    fn sorted_tags_load_fast() {
        let mut tags: Vec<ShortTag> = (0..1_000_000).map(spread).collect();
        tags.sort_unstable();
        let mut set = TagSet::default();
        for tag in tags {
            set.insert(tag, 1);
        }
        let steps: usize = set.tables.iter().map(Table::steps).sum();
        assert!(steps < 10 * set.len(), "{steps}");
    }

    impl Table {
        /// Slots between where each search begins and where it ends.
        fn steps(&self) -> usize {
            let taken =
                self.slots.iter().enumerate().filter_map(|(at, slot)| Some((at, read(slot)?)));
            taken
                .map(|(at, (tag, _))| (at + self.slots.len() - self.home(tag)) % self.slots.len())
                .sum()
        }
    }

    #[test]
    fn large_sets_stay_exact_and_lean() {
        let mut set = TagSet::default();
        for number in 0..200_000 {
            assert_eq!(set.insert(spread(number), 1), 0);
            if number > 10_000 && number % 1_000 == 0 {
                assert!(set.memory_bytes() <= 20 * set.len(), "{number}: {}", set.memory_bytes());
            }
        }
        for number in 0..200_000 {
            assert_eq!(set.insert(spread(number), 2), 1);
            assert_eq!(set.get(spread(number)), 3);
        }
        assert_eq!(set.len(), 200_000);
        assert_eq!(set.get(spread(200_000)), 0);
    }
}
