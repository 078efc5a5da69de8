//! The header of a block, before it is sealed: what is in the block, without opening it.
//!
//! `version ‖ rows ‖ first time ‖ last time ‖ three filters ‖ padding`, the filters over user,
//! device and watermark tags. A filter is a binary fuse filter (about nine bits a tag, 0.4 % false
//! hits), so that one pass over the headers finds the blocks of a person without an index entry for
//! each record.

use super::codec::{Corrupt, Put, Reader};
use super::filter::Filter;
use super::padding::Steps;
use crate::model::ids::Tag;
use crate::model::time::Timestamp;

/// The version that is written.
const VERSION: u8 = 2;
/// The one before, which had no padding.
const UNPADDED: u8 = 1;

/// The kinds of tags that have a filter of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// Users.
    User = 0,
    /// Devices.
    Device = 1,
    /// Watermark payloads, marks and sessions.
    Watermark = 2,
}

/// What a header says of its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Rows in the block.
    pub rows: usize,
    /// The earliest row.
    pub first: Timestamp,
    /// The latest row.
    pub last: Timestamp,
    filters: [Filter; 3],
}

impl Header {
    /// A header over the tags of each kind, which are sorted and made distinct here.
    pub fn new(rows: usize, span: (Timestamp, Timestamp), tags: [&mut Vec<u64>; 3]) -> Self {
        Self { rows, first: span.0, last: span.1, filters: tags.map(Filter::build) }
    }

    /// Whether the block may hold the tag; `false` is certain.
    pub fn may_hold(&self, kind: Filtered, tag: &Tag) -> bool {
        self.filters[kind as usize].may_hold(filter_key(tag))
    }

    /// Encodes the header.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.varint(self.rows as u64);
        out.zigzag(self.first.0);
        out.zigzag(self.last.0);
        self.filters.iter().for_each(|filter| out.prefixed(filter.as_bytes()));
        Steps::Header.pad(&mut out);
        out
    }

    /// Decodes the header.
    ///
    /// # Errors
    /// When the bytes do not follow the format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("block header", bytes);
        let version = reader.byte()?;
        if !matches!(version, VERSION | UNPADDED) {
            return Err(reader.corrupt());
        }
        let rows = reader.count()?;
        let first = Timestamp(reader.zigzag()?);
        let last = Timestamp(reader.zigzag()?);
        let corrupt = reader.corrupt();
        let mut filter = || Filter::decode(reader.prefixed()?).ok_or(corrupt);
        let filters = [filter()?, filter()?, filter()?];
        match version {
            UNPADDED => reader.end()?,
            _ => Steps::Header.end(&reader, bytes.len())?,
        }
        Ok(Self { rows, first, last, filters })
    }
}

/// The number of a tag in a filter: tags are random, so their first half will do.
pub fn filter_key(tag: &Tag) -> u64 {
    tag.short().prefix()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header over so many tags of each kind.
    fn over(rows: usize, tags: [usize; 3]) -> Header {
        let keys = |count: usize| -> Vec<u64> {
            (0..count as u64).map(|at| (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect()
        };
        let [mut users, mut devices, mut marks] = tags.map(keys);
        let span = (Timestamp(1_795_000_000_000), Timestamp(1_795_000_000_000));
        Header::new(rows, span, [&mut users, &mut devices, &mut marks])
    }

    /// Check 27: the header of one record does not show who is in it.
    #[test]
    fn check_27_the_header_of_one_record_does_not_show_what_is_in_it() {
        for tags in [[0; 3], [1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 3], [1, 4, 4]] {
            assert_eq!(over(1, tags).encode().len(), 256, "{tags:?}");
        }
    }

    #[test]
    fn a_header_without_padding_reads_as_ever() {
        for tags in [[0; 3], [1, 0, 2], [900, 300, 0]] {
            let header = over(1_000, tags);
            let padded = header.encode();
            let used = 1 + 2 + 2 * 6 + header.filters.iter().map(prefixed).sum::<usize>();
            let mut before = padded[..used].to_vec();
            assert!(Header::decode(&before).is_err(), "a header of today is whole");
            before[0] = UNPADDED;
            assert_eq!(Header::decode(&before).as_ref(), Ok(&header));
            assert_eq!(Header::decode(&padded).as_ref(), Ok(&header));
            before.push(0);
            assert!(Header::decode(&before).is_err());
        }
    }

    fn prefixed(filter: &Filter) -> usize {
        let mut out = Vec::new();
        out.prefixed(filter.as_bytes());
        out.len()
    }

    proptest! {
        #[test]
        fn a_header_never_denies_what_is_there(
            users in proptest::collection::vec(any::<[u8; 16]>(), 0..80),
            other in any::<[u8; 16]>(),
        ) {
            let tags: Vec<Tag> = users.into_iter().map(Tag).collect();
            let mut keys: Vec<u64> = tags.iter().map(filter_key).collect();
            let span = (Timestamp(1), Timestamp(-5));
            let header = Header::new(7, span, [&mut keys, &mut Vec::new(), &mut Vec::new()]);
            let header = Header::decode(&header.encode()).unwrap();
            for tag in &tags {
                prop_assert!(header.may_hold(Filtered::User, tag));
                prop_assert!(!header.may_hold(Filtered::Device, tag));
            }
            let _ = header.may_hold(Filtered::User, &Tag(other));
            prop_assert_eq!((header.rows, header.first, header.last), (7, span.0, span.1));
        }
    }
}
