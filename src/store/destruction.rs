//! Stored rows of destruction: what was destroyed, by number, and the destruction under way.
//!
//! A row of a destroyed lot stays for ever, because a name is given once: the register remembers
//! nothing of a key that is gone. The row of a destruction under way is sealed by the caller.

use super::codec::{Corrupt, Put, Reader};
use crate::model::batch::{Bucket, Epoch, SiteMonth};
use crate::model::ids::{HoldNo, KeyId, SiteNo};
use crate::model::retention::Lot;
use crate::model::time::{Day, Month};
use crate::model::vocab::Class;

const VERSION: u8 = 1;
/// Stands for a number of records that is not known.
const UNCOUNTED: u64 = u64::MAX;
/// Of rows with lots; version 1 knew of no holds.
const WITH_HOLDS: u8 = 2;
/// Bytes of a lot.
pub const LOT_BYTES: usize = 10;
/// Least bytes of a lot's part in version 1: lot, records, blocks, number of keys.
const PART_BYTES_MIN: usize = LOT_BYTES + 4;
/// Least bytes of a key's part: kind, number, parent, commitment.
const KEY_BYTES_MIN: usize = 3 + 32;

/// `kind ‖ class or 0 ‖ site (4) ‖ epoch or month (4)`; the order of the bytes is that of the lots.
pub fn encode_lot(lot: &Lot) -> [u8; LOT_BYTES] {
    let (kind, class, site, epoch) = match lot {
        Lot::Records(of) => (1, of.class.code(), of.site, of.epoch.code()),
        Lot::Sets(at) => (2, 0, at.site, at.month.0),
        Lot::RecordKey(at) => (3, 0, at.site, at.month.0),
        Lot::WatermarkKey(at) => (4, 0, at.site, at.month.0),
        Lot::BaseKey(at) => (5, 0, at.site, at.month.0),
        Lot::Suppression(at) => (6, 0, at.site, at.month.0),
        Lot::Seen(day) => (7, 0, SiteNo(0), day.0),
        Lot::Access(month) => (8, 0, SiteNo(0), month.0),
    };
    let mut bytes = [kind, class, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[2..6].copy_from_slice(&site.0.to_be_bytes());
    bytes[6..].copy_from_slice(&epoch.to_be_bytes());
    bytes
}

/// The lot of [`encode_lot`].
pub fn decode_lot(bytes: &[u8]) -> Option<Lot> {
    let [kind, class, rest @ ..] = bytes else { return None };
    let (site, epoch) = rest.split_first_chunk::<4>()?;
    let site = SiteNo(u32::from_be_bytes(*site));
    let epoch = u32::from_be_bytes(epoch.try_into().ok()?);
    if *kind == 1 {
        let (class, epoch) = (Class::from_code(*class)?, Epoch::from_code(epoch));
        return Some(Lot::Records(Bucket { class, site, epoch }));
    }
    let at = SiteMonth { site, month: Month(epoch) };
    let lot = match kind {
        2 => Lot::Sets(at),
        3 => Lot::RecordKey(at),
        4 => Lot::WatermarkKey(at),
        5 => Lot::BaseKey(at),
        6 => Lot::Suppression(at),
        7 if site == SiteNo(0) => Lot::Seen(Day(epoch)),
        8 if site == SiteNo(0) => Lot::Access(Month(epoch)),
        _ => return None,
    };
    (*class == 0).then_some(lot)
}

/// The value of a destroyed lot's row: the first journal group that knew of it.
pub fn encode_gone(from_group: u64) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.varint(from_group);
    out
}

/// Reads the value of a destroyed lot's row.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode_gone(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut reader = Reader::new("destroyed lot", bytes);
    if reader.byte()? != VERSION {
        return Err(reader.corrupt());
    }
    let from_group = reader.varint()?;
    reader.end().map(|()| from_group)
}

/// A key that is to be destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoomedKey {
    /// The code of its use.
    pub kind: u8,
    /// Its number.
    pub id: KeyId,
    /// The number of the key that wraps it.
    pub parent: KeyId,
    /// Its commitment.
    pub commitment: [u8; 32],
}

/// A lot that is to be destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoomedLot {
    /// Which.
    pub lot: Lot,
    /// The hold whose copy it is; `None` for the lot itself.
    pub hold: Option<HoldNo>,
    /// The holds that get a copy before.
    pub heirs: Vec<HoldNo>,
    /// The records in it; `None` where a block could not be read to count them.
    pub records: Option<u64>,
    /// The numbers of its blocks: the first, and the one behind the last; equal for none. Its rows
    /// may be gone from their tables and still stand in a file.
    pub blocks: (u64, u64),
    /// Its keys that lived.
    pub keys: Vec<DoomedKey>,
}

/// How far a destruction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Its lots are shut.
    Shut,
    /// Everything from before it is folded.
    Folded,
    /// Each hold has its copy, so that the keys may be gone.
    Kept,
}

/// A destruction under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// How far it is.
    pub stage: Stage,
    /// The vault epoch that its keys lived in.
    pub vek_epoch: u64,
    /// What is destroyed.
    pub lots: Vec<DoomedLot>,
}

/// The destruction that ended last: what its report said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whether a copy of the VEK home from before would open the old epoch.
    pub home_copy_opens: bool,
    /// Epoch before, epoch after, generation of the register, keys tried, files removed, bytes
    /// reclaimed, files searched.
    pub numbers: [u64; 7],
    /// What was destroyed.
    pub lots: Vec<DoomedLot>,
}

impl Ended {
    /// Encodes the row.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![WITH_HOLDS, u8::from(self.home_copy_opens)];
        self.numbers.iter().for_each(|number| out.varint(*number));
        put_lots(&mut out, &self.lots);
        out
    }

    /// Decodes the row, also one of version 1.
    ///
    /// # Errors
    /// When the bytes do not follow the format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("destruction that ended", bytes);
        let (with_holds, opens) = (with_holds(&mut reader)?, reader.byte()?);
        if opens > 1 {
            return Err(reader.corrupt());
        }
        let mut numbers = [0; 7];
        for number in &mut numbers {
            *number = reader.varint()?;
        }
        let lots = lots_of(&mut reader, with_holds)?;
        reader.end()?;
        Ok(Self { home_copy_opens: opens == 1, numbers, lots })
    }
}

fn put_lots(out: &mut Vec<u8>, lots: &[DoomedLot]) {
    out.varint(lots.len() as u64);
    for doomed in lots {
        out.extend_from_slice(&encode_lot(&doomed.lot));
        // Holds are numbered from 1.
        out.varint(doomed.hold.map_or(0, |hold| hold.0));
        out.varint(doomed.heirs.len() as u64);
        doomed.heirs.iter().for_each(|heir| out.varint(heir.0));
        out.varint(doomed.records.unwrap_or(UNCOUNTED));
        out.varint(doomed.blocks.0);
        out.varint(doomed.blocks.1);
        out.varint(doomed.keys.len() as u64);
        for key in &doomed.keys {
            out.push(key.kind);
            out.varint(key.id.0);
            out.varint(key.parent.0);
            out.extend_from_slice(&key.commitment);
        }
    }
}

/// Whether lots name holds in a row with lots, by its version.
fn with_holds(reader: &mut Reader<'_>) -> Result<bool, Corrupt> {
    match reader.byte()? {
        VERSION => Ok(false),
        WITH_HOLDS => Ok(true),
        _ => Err(reader.corrupt()),
    }
}

fn lots_of(reader: &mut Reader<'_>, with_holds: bool) -> Result<Vec<DoomedLot>, Corrupt> {
    let count = reader.count_of(PART_BYTES_MIN)?;
    (0..count).map(|_| decode_doomed(reader, with_holds)).collect()
}

impl UnderWay {
    /// Encodes the row.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![WITH_HOLDS, self.stage as u8];
        out.varint(self.vek_epoch);
        put_lots(&mut out, &self.lots);
        out
    }

    /// Decodes the row, also one of version 1.
    ///
    /// # Errors
    /// When the bytes do not follow the format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("destruction under way", bytes);
        let corrupt = reader.corrupt();
        let with_holds = with_holds(&mut reader)?;
        let stage = match reader.byte()? {
            0 => Stage::Shut,
            // Nothing was to be kept for a hold.
            1 if !with_holds => Stage::Kept,
            1 => Stage::Folded,
            2 if with_holds => Stage::Kept,
            _ => return Err(corrupt),
        };
        let vek_epoch = reader.varint()?;
        let row = Self { stage, vek_epoch, lots: lots_of(&mut reader, with_holds)? };
        reader.end()?;
        Ok(row)
    }
}

fn decode_doomed(reader: &mut Reader<'_>, with_holds: bool) -> Result<DoomedLot, Corrupt> {
    let corrupt = reader.corrupt();
    let lot = decode_lot(reader.bytes(LOT_BYTES)?).ok_or(corrupt)?;
    let (mut hold, mut heirs) = (None, Vec::new());
    if with_holds {
        hold = Some(HoldNo(reader.varint()?)).filter(|hold| hold.0 != 0);
        for _ in 0..reader.count_of(1)? {
            heirs.push(HoldNo(reader.varint()?));
        }
    }
    let records = Some(reader.varint()?).filter(|records| *records != UNCOUNTED);
    let blocks = (reader.varint()?, reader.varint()?);
    let mut keys = Vec::new();
    for _ in 0..reader.count_of(KEY_BYTES_MIN)? {
        keys.push(DoomedKey {
            kind: reader.byte()?,
            id: KeyId(reader.varint()?),
            parent: KeyId(reader.varint()?),
            commitment: reader.array()?,
        });
    }
    Ok(DoomedLot { lot, hold, heirs, records, blocks, keys })
}

/// A copy in hold storage: what its rows and keys cannot say of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldRow {
    /// The records in it; 0 for a lot that is a key or a set.
    pub records: u64,
    /// The bucket key that the lot had, which its blocks still name; 0 for a lot that is no bucket,
    /// and for one whose records are lost.
    pub bucket_key: KeyId,
}

impl HeldRow {
    /// Whether the records of a bucket are lost: data from a backup that is older than the move has
    /// no key that opens them. A bucket whose records are there had a key, and no key has number 0.
    pub fn is_lost(&self, lot: &Lot) -> bool {
        matches!(lot, Lot::Records(_)) && self.bucket_key == KeyId(0)
    }

    /// Encodes the row.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.varint(self.records);
        out.varint(self.bucket_key.0);
        out
    }

    /// Decodes the row.
    ///
    /// # Errors
    /// When the bytes do not follow the format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("copy on hold", bytes);
        if reader.byte()? != VERSION {
            return Err(reader.corrupt());
        }
        let row = Self { records: reader.varint()?, bucket_key: KeyId(reader.varint()?) };
        reader.end().map(|()| row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lot() -> impl Strategy<Value = Lot> {
        (0u8..9, any::<u32>(), any::<u32>()).prop_map(|(kind, site, epoch)| {
            let site = SiteNo(site);
            let at = SiteMonth { site, month: Month(epoch) };
            let bucket = |class| Bucket { class, site, epoch: Epoch::from_code(epoch) };
            match kind {
                0 => Lot::Records(bucket(Class::Records)),
                1 => Lot::Records(bucket(Class::Detections)),
                2 => Lot::Sets(at),
                3 => Lot::RecordKey(at),
                4 => Lot::WatermarkKey(at),
                5 => Lot::Suppression(at),
                6 => Lot::Seen(Day(epoch)),
                7 => Lot::Access(Month(epoch)),
                _ => Lot::BaseKey(at),
            }
        })
    }

    fn key() -> impl Strategy<Value = DoomedKey> {
        (any::<u8>(), any::<u64>(), any::<u64>(), any::<[u8; 32]>()).prop_map(
            |(kind, id, parent, commitment)| DoomedKey {
                kind,
                id: KeyId(id),
                parent: KeyId(parent),
                commitment,
            },
        )
    }

    proptest! {
        #[test]
        fn lots_round_trip_in_order(left in lot(), right in lot()) {
            let bytes = encode_lot(&left);
            prop_assert_eq!(decode_lot(&bytes), Some(left));
            prop_assert_eq!(decode_lot(&bytes[..9]), None);
            prop_assert_eq!(encode_lot(&left) == encode_lot(&right), left == right);
        }

        #[test]
        fn rows_round_trip(
            stage in 0..3u8, vek_epoch in any::<u64>(), from_group in any::<u64>(),
            parts in proptest::collection::vec(
                (lot(), proptest::option::of(0..u64::MAX), any::<(u64, u64)>(),
                 proptest::collection::vec(key(), 0..4), any::<u64>(),
                 proptest::collection::vec(any::<u64>(), 0..3)), 0..5),
        ) {
            let part = |(lot, records, blocks, keys, hold, heirs): (_, _, _, _, u64, Vec<u64>)| {
                DoomedLot {
                    lot,
                    hold: (hold != 0).then_some(HoldNo(hold)),
                    heirs: heirs.into_iter().map(HoldNo).collect(),
                    records,
                    blocks,
                    keys,
                }
            };
            let lots: Vec<DoomedLot> = parts.into_iter().map(part).collect();
            let numbers = [vek_epoch, from_group, 0, 1, u64::MAX, 5, 6];
            let ended = Ended { home_copy_opens: stage == 0, numbers, lots };
            prop_assert_eq!(Ended::decode(&ended.encode()), Ok(ended.clone()));
            let stage = [Stage::Shut, Stage::Folded, Stage::Kept][usize::from(stage)];
            let row = UnderWay { stage, vek_epoch, lots: ended.lots };
            let bytes = row.encode();
            prop_assert_eq!(UnderWay::decode(&bytes), Ok(row));
            prop_assert!(UnderWay::decode(&bytes[..bytes.len() - 1]).is_err());
            prop_assert_eq!(decode_gone(&encode_gone(from_group)), Ok(from_group));
            let held = HeldRow { records: vek_epoch, bucket_key: KeyId(from_group) };
            prop_assert_eq!(HeldRow::decode(&held.encode()), Ok(held));
            prop_assert!(HeldRow::decode(&[1, 0]).is_err());
        }

        #[test]
        fn a_row_of_version_1_has_no_holds(lot in lot(), key in key(), folded in any::<bool>()) {
            let mut bytes = vec![1, u8::from(folded), 7, 1];
            bytes.extend_from_slice(&encode_lot(&lot));
            bytes.extend_from_slice(&[5, 2, 4, 1, key.kind]);
            bytes.varint(key.id.0);
            bytes.varint(key.parent.0);
            bytes.extend_from_slice(&key.commitment);
            let row = UnderWay::decode(&bytes).unwrap();
            let stage = if folded { Stage::Kept } else { Stage::Shut };
            prop_assert_eq!((row.stage, row.vek_epoch), (stage, 7));
            let doomed = DoomedLot {
                lot, hold: None, heirs: Vec::new(), records: Some(5), blocks: (2, 4),
                keys: vec![key],
            };
            prop_assert_eq!(row.lots, vec![doomed]);
        }

        #[test]
        fn anything_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = UnderWay::decode(&bytes);
            let _ = Ended::decode(&bytes);
            let _ = decode_gone(&bytes);
            let _ = decode_lot(&bytes);
            let _ = HeldRow::decode(&bytes);
        }
    }
}
