//! The two shapes of the register's file: the header page and the slot.

use super::VaultId;
use super::vek::LedgerMark;
use crate::crypto::{Aad, digest, equal, seal};
use crate::model::ids::{GroupId, KeyId, SiteId};
use crate::model::limits::SITE_ID_BYTES_MAX;
use crate::model::vocab::{Class, vocabulary};

/// Size of the header page, bytes.
pub const HEADER_BYTES: usize = 4096;
/// Size of a slot, bytes.
pub const SLOT_BYTES: usize = 256;
/// Size of a wrapped key, bytes.
pub(super) const WRAPPED_BYTES: usize = 32 + seal::OVERHEAD_BYTES;

const MAGIC: &[u8; 8] = b"BTREGSTR";
/// What is written. A program of version 1 would take a key of the access log for damage.
const VERSION: u16 = 2;
const VERSIONS: [u16; 2] = [1, VERSION];
const LIVE: u8 = 1;
const OWNER_AT: usize = 32;
/// In the first byte of an owner: it is a billing group. Ids have seven bits.
const OF_GROUP: u8 = 0x80;
const WRAPPED_AT: usize = OWNER_AT + SITE_ID_BYTES_MAX;
const HOLD_AT: usize = WRAPPED_AT + WRAPPED_BYTES;
const ORIGIN_AT: usize = HOLD_AT + 8;
const SLOT_SUM_AT: usize = SLOT_BYTES - 32;
const HEADER_SUM_AT: usize = HEADER_BYTES - 32;

const _: () = assert!(ORIGIN_AT + 8 <= SLOT_SUM_AT);

vocabulary! {
    /// What a key is for. Each key has one use.
    pub enum KeyKind {
        /// Wraps the keys of one (use, month) or (bucket class, epoch).
        Node = 1, "node";
        /// First step of the pseudonyms of a (site, month); its output is never stored.
        Base = 2, "base";
        /// Second step for the tallies.
        Tally = 3, "tally";
        /// Second step for records in blocks.
        Record = 4, "record";
        /// Second step for payloads, marks and sessions.
        Watermark = 5, "watermark";
        /// Seals the tallies' deltas and snapshots of a (site, month).
        Sets = 6, "sets";
        /// Wraps the block keys of a (site, class, epoch).
        Bucket = 7, "bucket";
        /// Duplicates of a UTC day.
        Seen = 8, "seen";
        /// Seals journal entries until the fold.
        Journal = 9, "journal";
        /// Seals long-lived state: tokens, sites, answers kept for a repeated request.
        State = 10, "state";
        /// Wraps what is kept for a hold: one for each (hold, site, class, epoch).
        Hold = 11, "hold";
        /// Makes the tags of a site's persons whose later records are not kept; one for all months.
        Suppression = 12, "suppression";
        /// Seals the records of a backfill until it is closed or abandoned.
        Backfill = 13, "backfill";
        /// Seals the days of the access log of a UTC month.
        Access = 14, "access";
    }
}

impl KeyKind {
    /// Whether keys of this kind seal values that name them.
    pub(super) fn seals(self) -> bool {
        match self {
            Self::Sets | Self::Bucket | Self::Seen | Self::Access => true,
            Self::Journal | Self::State | Self::Hold | Self::Backfill => true,
            Self::Node | Self::Base | Self::Tally | Self::Record | Self::Watermark => false,
            Self::Suppression => false,
        }
    }
}

/// What a key is called; a name is given once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyName {
    /// Its use.
    pub(super) kind: KeyKind,
    /// For a node: the kind of the keys under it.
    pub(super) of: Option<KeyKind>,
    /// The retention class of buckets and of their nodes.
    pub(super) class: Option<Class>,
    /// Month, day or serial.
    pub(super) epoch: u32,
    /// The site or the billing group, where it belongs to one.
    pub(super) owner: Option<SiteId>,
    /// The hold it is kept for; zero outside of the hold register.
    pub(super) hold: u64,
    /// Its number in the main register, if it was moved from there; of a bucket's key that an
    /// erasure made, the number of the one before it; else zero.
    pub(super) origin: u64,
}

/// A live slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// What it is called.
    pub(super) name: KeyName,
    /// Its number.
    pub(super) id: KeyId,
    /// The number of the key that wraps it; zero is the VEK.
    pub(super) parent: KeyId,
    /// The register's generation that wrote it.
    pub(super) generation: u64,
    /// The wrapped key.
    pub(super) wrapped: [u8; WRAPPED_BYTES],
}

/// What the bytes of a slot say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SlotRead {
    /// All zero.
    Free,
    /// A key.
    Live(Box<Slot>),
    /// Torn or damaged.
    Bad,
}

impl Slot {
    /// What binds a wrapped key to its place, name and parent.
    pub(super) fn aad(vault: VaultId, no: u32, name: &KeyName, id: KeyId, parent: KeyId) -> Aad {
        let aad = Aad::new("key/1")
            .bytes(&vault.0)
            .number(u64::from(no))
            .number(id.0)
            .number(parent.0)
            .bytes(&[name.kind.code(), code_of(name.of), class_code(name.class)])
            .number(u64::from(name.epoch))
            .text(name.owner.as_ref().map_or("", SiteId::as_str));
        // Two parts more for a held key, so that no other key has the same bytes.
        if (name.hold, name.origin) == (0, 0) {
            aad
        } else {
            aad.number(name.hold).number(name.origin)
        }
    }

    /// The bytes on disk.
    pub(super) fn encode(&self, vault: VaultId, no: u32) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        let (owner, mark) = match self.name.owner.as_ref().map_or("", SiteId::as_str) {
            text if self.name.owner.as_ref().is_some_and(SiteId::is_group) => {
                (&text.as_bytes()[1..], OF_GROUP)
            }
            text => (text.as_bytes(), 0),
        };
        // A site id, or a group's without its sign, is at most SITE_ID_BYTES_MAX = 64 long.
        bytes[..4].copy_from_slice(&[
            LIVE,
            self.name.kind.code(),
            code_of(self.name.of),
            class_code(self.name.class),
        ]);
        bytes[4..8].copy_from_slice(&self.name.epoch.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.id.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.parent.0.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.generation.to_be_bytes());
        bytes[OWNER_AT..OWNER_AT + owner.len()].copy_from_slice(owner);
        bytes[OWNER_AT] |= mark;
        bytes[WRAPPED_AT..WRAPPED_AT + WRAPPED_BYTES].copy_from_slice(&self.wrapped);
        bytes[HOLD_AT..HOLD_AT + 8].copy_from_slice(&self.name.hold.to_be_bytes());
        bytes[ORIGIN_AT..ORIGIN_AT + 8].copy_from_slice(&self.name.origin.to_be_bytes());
        let sum = slot_sum(vault, no, &bytes);
        bytes[SLOT_SUM_AT..].copy_from_slice(&sum);
        bytes
    }

    /// Reads the bytes on disk.
    pub(super) fn parse(vault: VaultId, no: u32, bytes: &[u8; SLOT_BYTES]) -> SlotRead {
        if bytes.iter().all(|byte| *byte == 0) {
            return SlotRead::Free;
        }
        if !equal(&stored_sum(bytes), &slot_sum(vault, no, bytes)) {
            return SlotRead::Bad;
        }
        Self::decode(bytes).map_or(SlotRead::Bad, |slot| SlotRead::Live(Box::new(slot)))
    }

    fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<Self> {
        let owner = &bytes[OWNER_AT..WRAPPED_AT];
        let length = owner.iter().position(|byte| *byte == 0).unwrap_or(owner.len());
        let owner = match length {
            0 => None,
            _ if owner[0] & OF_GROUP != 0 => {
                let mut name = owner[..length].to_vec();
                name[0] &= !OF_GROUP;
                Some(SiteId::of_group(&GroupId::parse(&name)?))
            }
            _ => Some(SiteId::parse(&owner[..length])?),
        };
        let of = match bytes[2] {
            0 => None,
            code => Some(KeyKind::from_code(code)?),
        };
        let class = match bytes[3] {
            0 => None,
            code => Some(Class::from_code(code)?),
        };
        let kind = KeyKind::from_code(bytes[1])?;
        let epoch = u32::from_be_bytes(std::array::from_fn(|i| bytes[4 + i]));
        let known = bytes[0] == LIVE;
        let (hold, origin) = (number(bytes, HOLD_AT), number(bytes, ORIGIN_AT));
        known.then(|| Self {
            name: KeyName { kind, of, class, epoch, owner, hold, origin },
            id: KeyId(number(bytes, 8)),
            parent: KeyId(number(bytes, 16)),
            generation: number(bytes, 24),
            wrapped: std::array::from_fn(|i| bytes[WRAPPED_AT + i]),
        })
    }
}

/// What a slot with these bytes says, written again; zeros where it is free, nothing where it is
/// torn, damaged, or of another place or vault. Bytes that mean nothing are not written again.
pub fn written_again(
    vault: VaultId,
    no: u32,
    bytes: &[u8; SLOT_BYTES],
) -> Option<[u8; SLOT_BYTES]> {
    match Slot::parse(vault, no, bytes) {
        SlotRead::Free => Some([0; SLOT_BYTES]),
        SlotRead::Live(slot) => Some(slot.encode(vault, no)),
        SlotRead::Bad => None,
    }
}

/// The same of the header of a copy, by its letter; nothing where it is none of this version.
pub fn header_written_again(letter: u8, bytes: &[u8]) -> Option<[u8; HEADER_BYTES]> {
    let copies = [Copy::A, Copy::B, Copy::Off];
    let copy = copies.into_iter().find(|copy| copy.letter() == letter)?;
    match Header::parse(copy, bytes) {
        HeaderRead::Good(header) => Some(header.encode(copy)),
        HeaderRead::Bad { .. } | HeaderRead::Version(_) | HeaderRead::OtherCopy => None,
    }
}

/// The numbers of key and parent and the wrapped bytes as they stand in a slot, whatever it is.
pub(super) fn slot_words(bytes: &[u8; SLOT_BYTES]) -> (KeyId, KeyId, [u8; WRAPPED_BYTES]) {
    let wrapped = std::array::from_fn(|i| bytes[WRAPPED_AT + i]);
    (KeyId(number(bytes, 8)), KeyId(number(bytes, 16)), wrapped)
}

/// The checksum as it stands in a slot's bytes.
pub(super) fn stored_sum(bytes: &[u8; SLOT_BYTES]) -> [u8; 32] {
    std::array::from_fn(|i| bytes[SLOT_SUM_AT + i])
}

/// Binds vault and slot number, so that a write that went to another place is no valid slot there.
fn slot_sum(vault: VaultId, no: u32, bytes: &[u8; SLOT_BYTES]) -> [u8; 32] {
    let mut all = [0; 20 + SLOT_SUM_AT];
    all[..16].copy_from_slice(&vault.0);
    all[16..20].copy_from_slice(&no.to_be_bytes());
    all[20..].copy_from_slice(&bytes[..SLOT_SUM_AT]);
    digest(&all)
}

fn code_of(kind: Option<KeyKind>) -> u8 {
    kind.map_or(0, KeyKind::code)
}

fn class_code(class: Option<Class>) -> u8 {
    class.map_or(0, Class::code)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Which of the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    /// Written first.
    A,
    /// Written when A is durable.
    B,
    /// Beside them, off the host: never read but to restore the other two.
    Off,
}

impl Copy {
    /// Those on the host, in the order in which they are written.
    pub(super) const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The file's name.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::A => "register.a",
            Self::B => "register.b",
            Self::Off => "off the host",
        }
    }

    /// The place in an array of both.
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    const fn letter(self) -> u8 {
        match self {
            Self::A => b'A',
            Self::B => b'B',
            Self::Off => b'C',
        }
    }
}

/// The header: what a whole copy looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The vault.
    pub(super) vault: VaultId,
    /// Grows by one with each write.
    pub(super) generation: u64,
    /// Slots that exist.
    pub(super) slots: u32,
    /// Live slots.
    pub(super) live: u32,
    /// The VEK that wraps the nodes.
    pub(super) vek_epoch: u64,
    /// The next key's number; never goes back.
    pub(super) next_key: u64,
    /// The ledger that belongs to it.
    pub(super) ledger: LedgerMark,
    /// Exclusive or of the checksums of all live slots.
    pub(super) sum: [u8; 32],
}

/// What the bytes of a header page say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderRead {
    /// A header.
    Good(Header),
    /// One of ours, torn or damaged.
    Bad {
        /// The bytes where the vault id stands.
        vault: VaultId,
        /// Whether the magic is ours.
        magic: bool,
    },
    /// Of another format version.
    Version(u16),
    /// The header of the other copy: someone copied the file.
    OtherCopy,
}

impl Header {
    /// The bytes on disk. All that changes lies in the first sector.
    pub(super) fn encode(&self, copy: Copy) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_be_bytes());
        bytes[10] = copy.letter();
        bytes[12..16].copy_from_slice(&(SLOT_BYTES as u32).to_be_bytes());
        bytes[16..32].copy_from_slice(&self.vault.0);
        bytes[32..40].copy_from_slice(&self.generation.to_be_bytes());
        bytes[40..48].copy_from_slice(&u64::from(self.slots).to_be_bytes());
        bytes[48..56].copy_from_slice(&u64::from(self.live).to_be_bytes());
        bytes[56..64].copy_from_slice(&self.vek_epoch.to_be_bytes());
        bytes[64..72].copy_from_slice(&self.next_key.to_be_bytes());
        bytes[72..80].copy_from_slice(&self.ledger.size.to_be_bytes());
        bytes[80..112].copy_from_slice(&self.ledger.root);
        bytes[112..144].copy_from_slice(&self.sum);
        let sum = digest(&bytes[..HEADER_SUM_AT]);
        bytes[HEADER_SUM_AT..].copy_from_slice(&sum);
        bytes
    }

    /// Reads the bytes on disk; a page cut short counts as damaged.
    pub(super) fn parse(copy: Copy, bytes: &[u8]) -> HeaderRead {
        let mut page = [0; HEADER_BYTES];
        let length = bytes.len().min(HEADER_BYTES);
        page[..length].copy_from_slice(&bytes[..length]);
        let vault = VaultId(std::array::from_fn(|i| page[16 + i]));
        let magic = page.starts_with(MAGIC);
        let version = u16::from_be_bytes([page[8], page[9]]);
        if magic && !VERSIONS.contains(&version) {
            return HeaderRead::Version(version);
        }
        let sum: [u8; 32] = std::array::from_fn(|i| page[HEADER_SUM_AT + i]);
        let slots = (u32::try_from(number(&page, 40)), u32::try_from(number(&page, 48)));
        let known = page[12..16] == (SLOT_BYTES as u32).to_be_bytes();
        let (Ok(slots), Ok(live), true) = (slots.0, slots.1, magic && known) else {
            return HeaderRead::Bad { vault, magic };
        };
        if !equal(&sum, &digest(&page[..HEADER_SUM_AT])) {
            return HeaderRead::Bad { vault, magic };
        }
        if page[10] != copy.letter() {
            return HeaderRead::OtherCopy;
        }
        HeaderRead::Good(Self {
            vault,
            generation: number(&page, 32),
            slots,
            live,
            vek_epoch: number(&page, 56),
            next_key: number(&page, 64),
            ledger: LedgerMark {
                size: number(&page, 72),
                root: std::array::from_fn(|i| page[80 + i]),
            },
            sum: std::array::from_fn(|i| page[112 + i]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VAULT: VaultId = VaultId([3; 16]);

    fn slot(owner: &str) -> Slot {
        let name = KeyName {
            kind: KeyKind::Bucket,
            of: None,
            class: Some(Class::Records),
            epoch: 24_320,
            owner: SiteId::parse_scope(owner.as_bytes()),
            hold: 2,
            origin: 3,
        };
        let (id, parent) = (KeyId(7), KeyId(4));
        Slot { name, id, parent, generation: 9, wrapped: [0xa5; WRAPPED_BYTES] }
    }

    proptest! {
        #[test]
        fn a_slot_reads_back_only_unchanged_and_in_place(
            owner in "([A-Za-z0-9._-]{0,64}|[+][A-Za-z0-9._-]{1,64})",
            at in 0..SLOT_BYTES, bit in 0..8,
        ) {
            let slot = slot(&owner);
            let mut bytes = slot.encode(VAULT, 5);
            prop_assert_eq!(Slot::parse(VAULT, 6, &bytes), SlotRead::Bad);
            prop_assert_eq!(Slot::parse(VaultId([4; 16]), 5, &bytes), SlotRead::Bad);
            prop_assert_eq!(Slot::parse(VAULT, 5, &bytes), SlotRead::Live(Box::new(slot)));
            bytes[at] ^= 1u8 << bit;
            prop_assert_eq!(Slot::parse(VAULT, 5, &bytes), SlotRead::Bad);
        }

        #[test]
        fn a_header_reads_back_only_unchanged(at in 0..HEADER_BYTES, bit in 0..8) {
            let header = Header {
                vault: VAULT, generation: 6, slots: 1024, live: 3, vek_epoch: 2, next_key: 44,
                ledger: LedgerMark { size: 8, root: [1; 32] }, sum: [2; 32],
            };
            let mut bytes = header.encode(Copy::B);
            prop_assert_eq!(Header::parse(Copy::A, &bytes), HeaderRead::OtherCopy);
            prop_assert_eq!(Header::parse(Copy::B, &bytes), HeaderRead::Good(header));
            bytes[at] ^= 1u8 << bit;
            let read = Header::parse(Copy::B, &bytes);
            let refused = matches!(read, HeaderRead::Bad { .. } | HeaderRead::Version(_));
            prop_assert!(refused);
        }
    }

    #[test]
    fn zeros_are_a_free_slot_and_no_header() {
        assert_eq!(Slot::parse(VAULT, 0, &[0; SLOT_BYTES]), SlotRead::Free);
        let read = Header::parse(Copy::A, &[]);
        assert_eq!(read, HeaderRead::Bad { vault: VaultId([0; 16]), magic: false });
    }
}
