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

    /// The key scope of a billing group. It stands where a site's id stands in the register, in
    /// rows, in the ledger and in certificates; its sign keeps it apart from every site.
    pub fn of_group(group: &GroupId) -> Self {
        Self(format!("{}{}", GROUP_SIGN, group.as_str()).into())
    }

    /// The group, where this is the key scope of one.
    pub fn group(&self) -> Option<GroupId> {
        GroupId::parse(self.0.strip_prefix(GROUP_SIGN)?.as_bytes())
    }

    /// Whether this is the key scope of a billing group, and no site.
    pub fn is_group(&self) -> bool {
        self.0.starts_with(GROUP_SIGN)
    }

    /// The scope of what is kept for all sites together, as duplicates are. No site's id is written
    /// so.
    pub fn everywhere() -> Self {
        Self(EVERYWHERE.into())
    }

    /// Whether this is the scope of all sites together.
    pub fn is_everywhere(&self) -> bool {
        &*self.0 == EVERYWHERE
    }

    /// Parses a key scope: a site, a billing group with its sign, or all sites. For what this
    /// server wrote itself; a caller's text is a site or nothing.
    pub fn parse_scope(text: &[u8]) -> Option<Self> {
        if text == EVERYWHERE.as_bytes() {
            return Some(Self::everywhere());
        }
        match std::str::from_utf8(text).ok()?.strip_prefix(GROUP_SIGN) {
            Some(group) => GroupId::parse(group.as_bytes()).map(|group| Self::of_group(&group)),
            None => Self::parse(text),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What tells the key scope of a billing group from a site; no site's id has it.
const GROUP_SIGN: char = '+';
/// What stands for all sites together; no site's id has it.
const EVERYWHERE: &str = "*";

/// Sites that are billed together: `[A-Za-z0-9._-]{1,64}` (API.md "Sites").
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(Arc<str>);

impl GroupId {
    /// Parses a group's id; `None` when it breaks the pattern, which is that of sites.
    pub fn parse(text: &[u8]) -> Option<Self> {
        SiteId::parse(text).map(|id| Self(id.0))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

/// The short number that stands for a site, or for a billing group, in row keys; given once, never
/// reused.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_never_taken_for_a_site() {
        let longest = "g".repeat(64);
        for name in ["ACME", "a.b-c_1", &longest] {
            let group = GroupId::parse(name.as_bytes()).unwrap();
            let scope = SiteId::of_group(&group);
            assert_eq!(SiteId::parse(scope.as_str().as_bytes()), None, "as a caller would say it");
            assert_eq!(SiteId::parse_scope(scope.as_str().as_bytes()), Some(scope.clone()));
            assert_eq!((scope.group(), scope.is_group()), (Some(group), true));
            let site = SiteId::parse(name.as_bytes()).unwrap();
            assert_eq!(SiteId::parse_scope(name.as_bytes()), Some(site.clone()));
            assert_eq!((site.group(), site.is_group()), (None, false));
        }
        for bad in ["", "+", "a b", "+a", "g/1", &"g".repeat(65)] {
            assert_eq!(GroupId::parse(bad.as_bytes()), None, "{bad}");
        }
        for bad in ["", "+", "++a", "+a b", "a+"] {
            assert_eq!(SiteId::parse_scope(bad.as_bytes()), None, "{bad}");
        }
    }
}
