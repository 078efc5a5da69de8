//! A sorted run of tags, cut into pages, before they are sealed.
//!
//! A page: `n ‖ n × (12-byte tag, mask byte)` in the order of the tags. The head of a run:
//! `number of tags ‖ number of pages ‖ first tag of each page (its top 64 bits)`.

use super::codec::{Corrupt, Put, Reader};
use crate::model::ids::ShortTag;

/// Tags in a page. A probe opens one page, so this is small: about 6 KB.
pub const PAGE_TAGS: usize = 512;
const ENTRY_BYTES: usize = 13;

/// A tag with its mask of bits (one bit for a mere member).
pub type Entry = (ShortTag, u8);

/// The head of a run: how many tags there are, and where each page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunHead {
    /// Tags in the run.
    pub tags: u64,
    /// The top 64 bits of each page's first tag, ascending.
    pub fences: Vec<u64>,
}

impl RunHead {
    /// Encodes the head.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(10 + self.fences.len() * 8);
        out.varint(self.tags);
        out.varint(self.fences.len() as u64);
        self.fences.iter().for_each(|fence| out.extend_from_slice(&fence.to_be_bytes()));
        out
    }

    /// Decodes the head.
    ///
    /// # Errors
    /// When the bytes do not follow the format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("run head", bytes);
        let tags = reader.varint()?;
        let mut fences = Vec::new();
        for _ in 0..reader.count_of(8)? {
            fences.push(u64::from_be_bytes(reader.array()?));
        }
        reader.end()?;
        Ok(Self { tags, fences })
    }

    /// The pages in which a tag may stand: those from the last one that begins before it to the
    /// last one that begins with it (equal top 64 bits may straddle pages).
    pub fn pages_of(&self, tag: ShortTag) -> std::ops::Range<usize> {
        let prefix = tag.prefix();
        let end = self.fences.partition_point(|fence| *fence <= prefix);
        let start = self.fences.partition_point(|fence| *fence < prefix).saturating_sub(1);
        start..end
    }
}

/// Encodes a page.
pub fn encode_page(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + entries.len() * ENTRY_BYTES);
    out.varint(entries.len() as u64);
    for (tag, mask) in entries {
        out.extend_from_slice(&tag.0);
        out.push(*mask);
    }
    out
}

/// Decodes a page.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode_page(bytes: &[u8]) -> Result<Vec<Entry>, Corrupt> {
    let mut reader = Reader::new("run page", bytes);
    let count = reader.count_of(ENTRY_BYTES)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push((reader.short_tag()?, reader.byte()?));
    }
    reader.end()?;
    Ok(entries)
}

/// The mask of a tag in a page, found by halving; 0 where it is not there.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn find_in_page(bytes: &[u8], tag: ShortTag) -> Result<u8, Corrupt> {
    let mut reader = Reader::new("run page", bytes);
    let count = reader.count_of(ENTRY_BYTES)?;
    let (entries, _) = reader.rest().as_chunks::<ENTRY_BYTES>();
    let entries = entries.get(..count).ok_or(reader.corrupt())?;
    let found = entries.binary_search_by(|entry| entry[..12].cmp(&tag.0));
    Ok(found.map_or(0, |at| entries[at][12]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pages_and_heads_round_trip(
            mut tags in proptest::collection::vec((any::<[u8; 12]>(), 1u8..), 0..60),
            prefixes in proptest::collection::vec(0u64..9, 0..9),
        ) {
            tags.sort();
            tags.dedup_by_key(|(tag, _)| *tag);
            let entry = |(tag, mask): &([u8; 12], u8)| (ShortTag(*tag), *mask);
            let entries: Vec<Entry> = tags.iter().map(entry).collect();
            let page = encode_page(&entries);
            for (tag, mask) in &entries {
                prop_assert_eq!(find_in_page(&page, *tag), Ok(*mask));
            }
            prop_assert_eq!(decode_page(&page), Ok(entries));
            let mut fences = prefixes;
            fences.sort_unstable();
            let head = RunHead { tags: 7, fences };
            prop_assert_eq!(RunHead::decode(&head.encode()), Ok(head));
        }

        #[test]
        fn a_tag_is_found_in_its_pages(mut tops in proptest::collection::vec(0u8..20, 1..40)) {
            tops.sort_unstable();
            let tag = |top: u8, low: usize| {
                let mut tag = [0; 12];
                tag[7] = top;
                tag[11] = low as u8;
                ShortTag(tag)
            };
            let numbered = tops.iter().enumerate();
            let all: Vec<ShortTag> = numbered.map(|(no, top)| tag(*top, no)).collect();
            let pages: Vec<&[ShortTag]> = all.chunks(3).collect();
            let fences = pages.iter().map(|page| page[0].prefix()).collect();
            let head = RunHead { tags: all.len() as u64, fences };
            for wanted in &all {
                let found = head.pages_of(*wanted).any(|page| pages[page].contains(wanted));
                prop_assert!(found);
            }
        }
    }
}
