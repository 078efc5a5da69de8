//! The stored row of one person's erasure: who is hidden, what is sealed anew, which keys must go.
//! It is sealed by the caller, it is the only place that says whom an erasure is of, and it goes
//! with the erasure's end.

use super::codec::{Corrupt, Put, Reader};
use crate::model::batch::{Bucket, Epoch};
use crate::model::ids::{KeyId, SiteNo, Tag};
use crate::model::person::Person;
use crate::model::time::Month;
use crate::model::vocab::{Class, vocabulary};

const VERSION: u8 = 2;
/// Rows of this version end behind the parts.
const VERSION_SHORT: u8 = 1;
const VERSION_SUPPRESSED: u8 = 2;
/// Rows of this version have the tag of the byte-exact form alone.
const VERSION_SUPPRESSED_EXACT: u8 = 1;
/// Bytes of a tag.
const TAG_BYTES: usize = 16;
/// Least bytes of a part: class, epoch, key, number of keys.
const PART_BYTES_MIN: usize = 4;
/// Least bytes of a bucket of a known site: class, epoch.
const BUCKET_BYTES_MIN: usize = 2;
/// Least bytes of a sample: bucket, whether it was a fragment, number, length.
const SAMPLE_BYTES_MIN: usize = 5;

vocabulary! {
    /// How far an erasure is.
    pub enum Stage {
        /// The person is hidden. With parts: their blocks are being sealed anew.
        Hidden = 0, "hidden";
        /// The parts are sealed anew, so that the keys from before may be gone.
        Sealed = 1, "sealed";
        /// The keys from before are gone, and nothing waits; whoever ordered it may not know.
        Ended = 2, "ended";
        /// Only the ledger knew of it when this data was put back: it must be repeated.
        Lost = 3, "lost";
    }
}

/// A bucket that is being sealed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub bucket: Bucket,
    /// Its fresh key.
    pub key: KeyId,
    /// Its keys from before.
    pub old: Vec<KeyId>,
}

/// The key of a block that had the person, as it was stored: at the end it must not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The block's bucket.
    pub bucket: Bucket,
    /// Whether it was a fragment.
    pub fragment: bool,
    /// The block's number.
    pub number: u64,
    /// Its key, sealed.
    pub sealed: Vec<u8>,
}

/// An erasure that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// The ledger's number of its intent.
    pub number: u64,
    /// How far it is.
    pub stage: Stage,
    /// The site.
    pub site: SiteNo,
    /// The months whose records were searched, or, of a lost one, are to be.
    pub months: Vec<Month>,
    /// Who it is.
    pub person: Person,
    /// Whether later records of the person are not kept either.
    pub suppress: bool,
    /// Buckets that are being sealed anew.
    pub parts: Vec<Part>,
    /// The vault epoch that the keys from before lived in.
    pub vek_epoch: u64,
    /// Blocks that were sealed anew without the person.
    pub blocks: u64,
    /// Records that are erased.
    pub records: u64,
    /// Keys that were destroyed for it.
    pub gone: Vec<KeyId>,
    /// Once everything was searched: the buckets that are left, because they are on hold and have
    /// the person, or have a copy in hold storage. Nothing else is searched again.
    pub left: Option<Vec<Bucket>>,
    /// What is tried at the end, also when that comes after a start or another try.
    pub samples: Vec<Sample>,
    /// The lost erasure that this one repeats.
    pub repeats: Option<u64>,
}

impl Erasure {
    /// Encodes the row.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.stage.code(), u8::from(self.suppress)];
        for number in [self.number, u64::from(self.site.0), self.vek_epoch] {
            out.varint(number);
        }
        out.varint(self.blocks);
        out.varint(self.records);
        out.varint(self.months.len() as u64);
        self.months.iter().for_each(|month| out.varint(u64::from(month.0)));
        for tags in [&self.person.users, &self.person.devices] {
            out.varint(tags.len() as u64);
            tags.iter().for_each(|tag| out.extend_from_slice(&tag.0));
        }
        put_keys(&mut out, &self.gone);
        out.varint(self.parts.len() as u64);
        for part in &self.parts {
            put_bucket(&mut out, &part.bucket);
            out.varint(part.key.0);
            put_keys(&mut out, &part.old);
        }
        out.push(u8::from(self.left.is_some()));
        let left = self.left.as_deref().unwrap_or_default();
        out.varint(left.len() as u64);
        for bucket in left {
            put_bucket(&mut out, bucket);
        }
        out.varint(self.samples.len() as u64);
        for sample in &self.samples {
            put_bucket(&mut out, &sample.bucket);
            out.push(u8::from(sample.fragment));
            out.varint(sample.number);
            out.varint(sample.sealed.len() as u64);
            out.extend_from_slice(&sample.sealed);
        }
        out.push(u8::from(self.repeats.is_some()));
        out.varint(self.repeats.unwrap_or_default());
        out
    }

    /// Decodes the row.
    ///
    /// # Errors
    /// When the bytes do not follow the format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("erasure", bytes);
        let version = reader.byte()?;
        if ![VERSION_SHORT, VERSION].contains(&version) {
            return Err(reader.corrupt());
        }
        let stage = Stage::from_code(reader.byte()?).ok_or(reader.corrupt())?;
        let suppress = flag(&mut reader)?;
        let (number, site) = (reader.varint()?, SiteNo(reader.number32()?));
        let (vek_epoch, blocks, records) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let count = reader.count_of(1)?;
        let months: Result<_, Corrupt> =
            (0..count).map(|_| Ok(Month(reader.number32()?))).collect();
        let months = months?;
        let person = Person { users: tags(&mut reader)?, devices: tags(&mut reader)? };
        let gone = keys(&mut reader)?;
        let mut parts = Vec::new();
        for _ in 0..reader.count_of(PART_BYTES_MIN)? {
            let bucket = bucket(&mut reader, site)?;
            let key = KeyId(reader.varint()?);
            parts.push(Part { bucket, key, old: keys(&mut reader)? });
        }
        let (mut left, mut samples, mut repeats) = (None, Vec::new(), None);
        if version == VERSION {
            left = self::left(&mut reader, site)?;
            for _ in 0..reader.count_of(SAMPLE_BYTES_MIN)? {
                samples.push(sample(&mut reader, site)?);
            }
            let (is_repeat, lost) = (flag(&mut reader)?, reader.varint()?);
            repeats = is_repeat.then_some(lost);
        }
        reader.end()?;
        Ok(Self {
            number,
            stage,
            site,
            months,
            person,
            suppress,
            parts,
            vek_epoch,
            blocks,
            records,
            gone,
            left,
            samples,
            repeats,
        })
    }
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Corrupt> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.corrupt()),
    }
}

fn left(reader: &mut Reader<'_>, site: SiteNo) -> Result<Option<Vec<Bucket>>, Corrupt> {
    let searched = flag(reader)?;
    let mut left = Vec::new();
    for _ in 0..reader.count_of(BUCKET_BYTES_MIN)? {
        left.push(bucket(reader, site)?);
    }
    Ok(searched.then_some(left))
}

fn sample(reader: &mut Reader<'_>, site: SiteNo) -> Result<Sample, Corrupt> {
    let (bucket, fragment, number) = (bucket(reader, site)?, flag(reader)?, reader.varint()?);
    let count = reader.count_of(1)?;
    let sealed = (0..count).map(|_| reader.byte()).collect::<Result<_, Corrupt>>()?;
    Ok(Sample { bucket, fragment, number, sealed })
}

fn put_bucket(out: &mut Vec<u8>, bucket: &Bucket) {
    out.push(bucket.class.code());
    out.varint(u64::from(bucket.epoch.code()));
}

fn bucket(reader: &mut Reader<'_>, site: SiteNo) -> Result<Bucket, Corrupt> {
    let class = Class::from_code(reader.byte()?).ok_or(reader.corrupt())?;
    Ok(Bucket { class, site, epoch: Epoch::from_code(reader.number32()?) })
}

fn put_keys(out: &mut Vec<u8>, keys: &[KeyId]) {
    out.varint(keys.len() as u64);
    keys.iter().for_each(|key| out.varint(key.0));
}

fn keys(reader: &mut Reader<'_>) -> Result<Vec<KeyId>, Corrupt> {
    let count = reader.count_of(1)?;
    (0..count).map(|_| Ok(KeyId(reader.varint()?))).collect()
}

fn tags(reader: &mut Reader<'_>) -> Result<Vec<Tag>, Corrupt> {
    let count = reader.count_of(TAG_BYTES)?;
    (0..count).map(|_| reader.tag()).collect()
}

/// The value of a suppressed person's row: `version ‖ n × tag (16)`, one for each form of user ids.
pub fn encode_suppressed(tags: &[Tag]) -> Vec<u8> {
    let mut out = vec![VERSION_SUPPRESSED];
    out.varint(tags.len() as u64);
    tags.iter().for_each(|tag| out.extend_from_slice(&tag.0));
    out
}

/// Reads the value of a suppressed person's row.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode_suppressed(bytes: &[u8]) -> Result<Vec<Tag>, Corrupt> {
    let mut reader = Reader::new("suppressed person", bytes);
    let tags = match reader.byte()? {
        VERSION_SUPPRESSED => tags(&mut reader)?,
        VERSION_SUPPRESSED_EXACT => vec![reader.tag()?],
        _ => return Err(reader.corrupt()),
    };
    reader.end().map(|()| tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn erasures_round_trip_and_a_cut_one_is_refused(
            numbers in any::<[u32; 4]>(), stage in 0u8..4, suppress in any::<bool>(),
            tags in proptest::collection::vec(any::<[u8; 16]>(), 0..4),
            keys in proptest::collection::vec(any::<u64>(), 0..4),
        ) {
            let [number, site, epoch, month] = numbers;
            let site = SiteNo(site);
            let keys: Vec<KeyId> = keys.into_iter().map(KeyId).collect();
            let users: Vec<Tag> = tags.into_iter().map(Tag).collect();
            let bucket = Bucket { class: Class::Records, site, epoch: Epoch::from_code(epoch) };
            let erasure = Erasure {
                number: u64::from(number),
                stage: Stage::from_code(stage).unwrap(),
                site,
                months: vec![Month(month); keys.len()],
                person: Person { devices: users.clone(), users },
                suppress,
                parts: vec![Part { bucket, key: KeyId(7), old: keys.clone() }],
                vek_epoch: 5,
                blocks: 6,
                records: 8,
                gone: keys,
                left: (month % 2 == 0).then(|| vec![bucket]),
                repeats: suppress.then_some(epoch.into()),
                samples: vec![Sample { bucket, fragment: suppress, number: 3, sealed: vec![9; 5] }],
            };
            let bytes = erasure.encode();
            prop_assert_eq!(Erasure::decode(&bytes), Ok(erasure));
            for cut in 0..bytes.len() {
                prop_assert!(Erasure::decode(&bytes[..cut]).is_err());
            }
        }
    }

    #[test]
    fn suppressed_persons_of_both_versions_are_read() {
        let tags: Vec<Tag> = (1..=8).map(|of| Tag([of; 16])).collect();
        let bytes = encode_suppressed(&tags);
        assert_eq!(decode_suppressed(&bytes), Ok(tags));
        let before = [&[1][..], &[7; 16]].concat();
        assert_eq!(decode_suppressed(&before), Ok(vec![Tag([7; 16])]));
        for cut in 0..bytes.len() {
            assert!(decode_suppressed(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(decode_suppressed(&[before, vec![0]].concat()).is_err());
        assert!(decode_suppressed(&[3, 0]).is_err());
    }
}
