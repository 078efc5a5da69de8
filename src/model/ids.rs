//! Names that are safe to print: they belong to customers and machines, never to end users.

use std::fmt;
use std::sync::Arc;

use super::limits;

/// A customer's content service, e.g. `ACME`: `[A-Za-z0-9._-]{1,64}` (API.md "Sites").
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(Arc<str>);

impl SiteId {
    /// Parses a site id; `None` when it breaks the pattern.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let ok = (1..=limits::SITE_ID_BYTES_MAX).contains(&text.len())
            && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !ok {
            return None;
        }
        std::str::from_utf8(text).ok().map(|text| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The short number that stands for a site in row keys; given once, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteNo(pub u32);

/// The number of a key in the register; given once, never reused, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

/// The number of a hold; from 1, given by whoever keeps the holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldNo(pub u64);

/// A keyed pseudonym as it is stored in a block: 128 bits under a key that will be destroyed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub [u8; 16]);

impl Tag {
    /// The first 96 bits, the form that sets keep (expected false merges at 10^9 members: 6e-12).
    pub fn short(&self) -> ShortTag {
        let mut short = [0; 12];
        short.copy_from_slice(&self.0[..12]);
        ShortTag(short)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(…)")
    }
}

/// The 96-bit form of a [`Tag`], kept in sets of distinct users, devices and seen events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ShortTag(pub [u8; 12]);

impl ShortTag {
    /// The top 64 bits as a number, in the order of the bytes.
    pub fn prefix(&self) -> u64 {
        let mut top = [0; 8];
        top.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(top)
    }

    /// The low 32 bits as a number, in the order of the bytes.
    pub fn suffix(&self) -> u32 {
        let mut low = [0; 4];
        low.copy_from_slice(&self.0[8..]);
        u32::from_be_bytes(low)
    }
}

impl fmt::Debug for ShortTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShortTag(…)")
    }
}
