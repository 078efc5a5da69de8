//! Rows become blocks: sorted by bucket and user, cut into blocks of a good size, each sealed under
//! a key of its own that is wrapped by the bucket's key and stored apart from it.
//!
//! A bucket with too few rows for a good block gets a fragment, a small block that the bucket's
//! later rows take in; a fragment is sealed like any block from the start.

use std::collections::HashMap;
use std::mem::take;

use super::ahead::Ahead;
use super::read::{read_block, wrapped_key};
use super::{FoldError, Stats};
use crate::crypto::{Aad, SealKey, Secret, seal};
use crate::engine::directory::Directory;
use crate::engine::gone::epoch_of;
use crate::engine::journal::OpenGroup;
use crate::keys::KeyRing;
use crate::model::batch::{Batch, Bucket, Epoch, Verdict};
use crate::model::ids::KeyId;
use crate::model::vocab::Class;
use crate::store::block::{self, FilterKeys, Row};
use crate::store::codec::Corrupt;
use crate::store::dictionary::{AddedRow, Dictionary};
use crate::store::header::Header;
use crate::store::{Changes, RowRange, Store, Table, keys, spread};

/// Rows of a full block.
const ROWS_TARGET: usize = 4_096;
/// Bytes of details after which a block takes no more rows.
const BYTES_TARGET: usize = 2 << 20;
/// A bucket with fewer rows gets a fragment.
const ROWS_MIN: usize = 1_024;
/// So many fragments of a bucket are joined, even if they are still a fragment together.
const FRAGMENTS_MAX: usize = 16;

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockPlace {
    /// Its bucket.
    pub bucket: Bucket,
    /// Whether it is a fragment.
    pub fragment: bool,
    /// Its number.
    pub number: u64,
}

impl BlockPlace {
    /// The key of the block's small rows.
    pub fn key(self) -> Vec<u8> {
        keys::block(self.fragment, self.bucket.site, self.bucket.epoch.code(), self.number)
    }

    /// The place in one of a class's tables.
    pub fn from_key(class: Class, key: &[u8]) -> Option<Self> {
        let (fragment, site, epoch, number) = keys::block_of(key)?;
        let bucket = Bucket { class, site, epoch: Epoch::from_code(epoch) };
        Some(Self { bucket, fragment, number })
    }

    /// What binds a sealed value to the block's place and to a key.
    pub fn aad(self, what: &str, bucket_key: KeyId) -> Aad {
        Aad::new(what)
            .number(bucket_key.0)
            .text(self.bucket.class.name())
            .number(u64::from(self.bucket.site.0))
            .number(u64::from(self.bucket.epoch.code()))
            .number(u64::from(self.fragment))
            .number(self.number)
    }

    /// The rows of the block, its header and its key. Blocks stand in the order of their numbers,
    /// so that their files are never rewritten; the small rows stand by bucket.
    pub fn rows(self) -> [(Table, Vec<u8>); 3] {
        let [blocks, headers, block_keys] = tables(self.bucket);
        [
            (blocks, keys::block_body(self.number).to_vec()),
            (headers, self.key()),
            (block_keys, self.key()),
        ]
    }
}

/// The rows of a bucket's blocks from a number up to, and without, another. In the table of blocks
/// those of other buckets are among them.
pub fn ranges(bucket: Bucket, first: u64, end: u64) -> Vec<RowRange> {
    let [blocks, headers, block_keys] = tables(bucket);
    let (first_body, last_body) = (keys::block_body(first), keys::block_body(end));
    let mut ranges = vec![(blocks, first_body.to_vec(), last_body.to_vec())];
    for (table, fragment) in [headers, block_keys].into_iter().flat_map(|t| [(t, false), (t, true)])
    {
        let key = |number| keys::block(fragment, bucket.site, bucket.epoch.code(), number);
        ranges.push((table, key(first), key(end)));
    }
    ranges
}

/// The tables of a bucket: blocks, headers, block keys.
pub fn tables(bucket: Bucket) -> [Table; 3] {
    let (class, month) = (bucket.class, bucket.epoch.month());
    [Table::Blocks(class, month), Table::Headers(class, month), Table::BlockKeys(class, month)]
}

/// The fragments of all buckets: number and rows.
pub struct Fragments(pub HashMap<Bucket, Vec<u64>>);

impl Fragments {
    /// Lists the fragments; they stand together at the end of their tables.
    pub fn load(store: &Store) -> Result<Self, FoldError> {
        let mut all: HashMap<Bucket, Vec<u64>> = HashMap::new();
        for table in store.tables() {
            let Table::BlockKeys(class, _) = table else { continue };
            for row in store.scan(table, &[1], None)? {
                let (key, _) = row?;
                let place = BlockPlace::from_key(class, &key).ok_or(Corrupt("block key"))?;
                all.entry(place.bucket).or_default().push(place.number);
            }
        }
        Ok(Self(all))
    }
}

/// Writes the blocks of one fold.
pub struct Writer<'a> {
    /// Where to.
    pub store: &'a Store,
    /// The keys of the buckets.
    pub ring: &'a KeyRing,
    /// The sites.
    pub directory: &'a Directory,
    /// What is left of earlier folds.
    pub fragments: &'a mut Fragments,
    /// The next number of a block.
    pub next: u64,
    /// What was written so far.
    pub stats: Stats,
}

/// A row, and the most bytes that its details take.
type SizedRow<'a> = (Row<'a>, usize);

/// The rows of a bucket in their order, and the most bytes that the details of each take.
#[derive(Default)]
struct BucketRows<'a> {
    rows: Vec<Row<'a>>,
    bytes: Vec<usize>,
}

/// The kept rows of a fold, by bucket and user.
pub struct Sorted<'a> {
    rows: Vec<SizedRow<'a>>,
    buckets: Vec<(Bucket, Vec<Place>)>,
}

/// Where a row of a bucket stands in [`Sorted::rows`], behind what it is sorted by: zero for
/// nobody, or the upper bits of its user's tag. Equal ones stay in the order of their arrival.
type Place = (u64, u32);

const SOMEBODY: u64 = 1 << 63;

impl<'a> Sorted<'a> {
    /// Gathers the kept rows of the groups.
    ///
    /// # Errors
    /// When a row names a site that does not exist, or does not follow its format.
    pub fn of(
        groups: &'a [OpenGroup],
        dictionary: &Dictionary,
        directory: &Directory,
    ) -> Result<Self, FoldError> {
        let batches = || groups.iter().flat_map(|group| &group.batches);
        let most = batches().map(|batch| batch.claims.len()).sum();
        let mut sorted = Self { rows: Vec::with_capacity(most), buckets: Vec::new() };
        let mut numbers: HashMap<Bucket, usize> = HashMap::new();
        let verdicts = groups.iter().flat_map(|group| &group.verdict.batches);
        for (batch, verdicts) in batches().zip(verdicts) {
            sorted.add((batch, verdicts), dictionary, directory, &mut numbers)?;
        }
        for (_, places) in &mut sorted.buckets {
            spread::sort(places, |(user, _)| user << 1, |place| *place);
        }
        Ok(sorted)
    }

    fn add(
        &mut self,
        (batch, verdicts): (&'a Batch, &[Verdict]),
        dictionary: &Dictionary,
        directory: &Directory,
        numbers: &mut HashMap<Bucket, usize>,
    ) -> Result<(), FoldError> {
        let mut sites = Vec::with_capacity(batch.months.len());
        for at in &batch.months {
            sites.push(directory.by_no(at.site).ok_or(FoldError::NoSite)?);
        }
        // The last bucket of each month and class.
        let mut known = vec![[None; 2]; batch.months.len()];
        let rows = dictionary.rows(&batch.details);
        for ((claim, verdict), row) in batch.claims.iter().zip(verdicts).zip(rows) {
            if !matches!(verdict, Verdict::Accepted | Verdict::Correction) {
                continue;
            }
            let month = usize::from(claim.month);
            let at = batch.months[month];
            let epoch = epoch_of(&sites[month], at.month, claim.occurred_at);
            let class = claim.kind.class();
            let known = &mut known[month][usize::from(class == Class::Detections)];
            let number = match *known {
                Some((of, number)) if of == epoch => number,
                _ => {
                    let bucket = Bucket { class, site: at.site, epoch };
                    let number = *numbers.entry(bucket).or_insert_with(|| {
                        self.buckets.push((bucket, Vec::new()));
                        self.buckets.len() - 1
                    });
                    *known = Some((epoch, number));
                    number
                }
            };
            let AddedRow { user, details, bytes } = row?;
            let user_bits = user.map_or(0, |tag| tag.short().prefix() >> 1 | SOMEBODY);
            let place = u32::try_from(self.rows.len()).map_err(|_| Corrupt("journal"))?;
            self.buckets[number].1.push((user_bits, place));
            self.rows.push((Row { user, occurred_at: claim.occurred_at, details }, bytes));
        }
        Ok(())
    }

    /// The rows of a bucket in their order.
    fn of_bucket(&self, places: &[Place]) -> BucketRows<'a> {
        let mut all = BucketRows::default();
        (all.rows, all.bytes) = places.iter().map(|(_, place)| self.rows[*place as usize]).unzip();
        all
    }

    /// The buckets that have rows.
    pub fn bucket_names(&self) -> Vec<Bucket> {
        self.buckets.iter().map(|(bucket, _)| *bucket).collect()
    }
}

impl<'a> BucketRows<'a> {
    /// Puts rows that were kept before among them.
    fn take_in(&mut self, kept: impl Iterator<Item = SizedRow<'a>>) {
        let mut all: Vec<SizedRow<'a>> =
            take(&mut self.rows).into_iter().zip(take(&mut self.bytes)).chain(kept).collect();
        all.sort_by_key(|(row, _)| (row.user, row.occurred_at));
        (self.rows, self.bytes) = all.into_iter().unzip();
    }
}

impl Writer<'_> {
    /// Writes blocks of the rows; what must not happen without the rest of the fold goes to `last`.
    pub fn write(
        &mut self,
        dictionary: &mut Dictionary,
        rows: &Sorted<'_>,
        ahead: &mut Ahead<'_>,
        last: &mut Changes,
    ) -> Result<(), FoldError> {
        self.make_keys(rows)?;
        rows.buckets.iter().try_for_each(|(bucket, places)| {
            self.write_bucket(*bucket, (&mut *dictionary, rows.of_bucket(places)), ahead, last)
        })
    }

    /// Makes the keys of all new buckets with one write of the register, instead of one each.
    fn make_keys(&self, rows: &Sorted<'_>) -> Result<(), FoldError> {
        let name = |(bucket, _): &(Bucket, Vec<Place>)| {
            let site = self.directory.by_no(bucket.site).ok_or(FoldError::NoSite)?;
            Ok((site.id.clone(), bucket.class, bucket.epoch.code()))
        };
        let names: Result<Vec<_>, FoldError> = rows.buckets.iter().map(name).collect();
        Ok(self.ring.make_buckets(&names?)?)
    }

    fn write_bucket(
        &mut self,
        bucket: Bucket,
        (dictionary, rows): (&mut Dictionary, BucketRows<'_>),
        ahead: &mut Ahead<'_>,
        last: &mut Changes,
    ) -> Result<(), FoldError> {
        let site = self.directory.by_no(bucket.site).ok_or(FoldError::NoSite)?;
        let key = self.ring.bucket(&site.id, bucket.class, bucket.epoch.code())?;
        for table in tables(bucket) {
            self.store.ensure(table)?;
        }
        let known = self.fragments.0.get(&bucket).map_or(0, Vec::len);
        let mut kept = Vec::new();
        if known > 0 && (rows.rows.len() >= ROWS_MIN / 2 || known >= FRAGMENTS_MAX) {
            let mut others = Vec::new();
            for number in self.fragments.0.remove(&bucket).unwrap_or_default() {
                let place = BlockPlace { bucket, fragment: true, number };
                // Under a key from before it may hold somebody who is being erased: nothing of it
                // comes under the fresh key but by the erasure's own hand.
                if seal::key_id(&wrapped_key(self.store, place)?)? != key.id() {
                    others.push(number);
                    continue;
                }
                kept.extend(read_block(self.store, &key, place)?);
                place.rows().into_iter().for_each(|(table, key)| last.delete(table, key));
            }
            if !others.is_empty() {
                self.fragments.0.insert(bucket, others);
            }
        }
        let mut all = rows;
        if !kept.is_empty() {
            all.take_in(kept.iter().map(|row| (row.as_row(), row.details.len())));
        }
        let BucketRows { rows: all, bytes } = all;
        let fragment = all.len() < ROWS_MIN && bytes.iter().sum::<usize>() < BYTES_TARGET;
        for rows in cut(&bytes) {
            let place = BlockPlace { bucket, fragment, number: self.next };
            self.next += 1;
            self.write_block(place, &key, (&mut *dictionary, &all[rows]), ahead)?;
            if fragment {
                self.fragments.0.entry(bucket).or_default().push(place.number);
            }
        }
        Ok(())
    }

    fn write_block(
        &mut self,
        place: BlockPlace,
        bucket_key: &SealKey,
        (dictionary, rows): (&mut Dictionary, &[Row<'_>]),
        ahead: &mut Ahead<'_>,
    ) -> Result<(), FoldError> {
        let [sealed, header, wrapped] = seal_block(place, bucket_key, (dictionary, rows))?;
        self.stats.rows += rows.len() as u64;
        self.stats.blocks += 1;
        self.stats.bytes += (sealed.len() + header.len() + wrapped.len()) as u64;
        let [(blocks, at), (headers, header_at), (block_keys, key_at)] = place.rows();
        ahead.put(blocks, at, sealed)?;
        ahead.put(headers, header_at, header)?;
        ahead.put(block_keys, key_at, wrapped)
    }
}

/// A block of these rows under a fresh key of its own: block, header, and the key under the
/// bucket's, as they are stored.
///
/// # Errors
/// When a row's details do not follow their format.
pub fn seal_block(
    place: BlockPlace,
    bucket_key: &SealKey,
    (dictionary, rows): (&mut Dictionary, &[Row<'_>]),
) -> Result<[Vec<u8>; 3], FoldError> {
    let secret = Secret::random();
    let key = SealKey::new(KeyId(place.number), &secret);
    let id = bucket_key.id();
    let (plain, filter_keys) = block::encode_with(dictionary, rows)?;
    let header = header_of(rows, filter_keys);
    Ok([
        key.seal(&place.aad("block/1", id), &plain),
        key.seal(&place.aad("header/1", id), &header.encode()),
        bucket_key.seal(&place.aad("block key/1", id), secret.expose()),
    ])
}

/// Cuts a bucket's rows, of which each takes so many bytes, into blocks of even size, none of them
/// much over [`BYTES_TARGET`].
fn cut(all: &[usize]) -> Vec<std::ops::Range<usize>> {
    let rows_most = all.len().div_ceil(all.len().div_ceil(ROWS_TARGET).max(1));
    let (mut blocks, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, more) in all.iter().enumerate() {
        if at > start && (at - start == rows_most || bytes + more > BYTES_TARGET) {
            blocks.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes += more;
    }
    blocks.push(start..all.len());
    blocks
}

fn header_of(rows: &[Row<'_>], mut keys: FilterKeys) -> Header {
    let times = || rows.iter().map(|row| row.occurred_at);
    let span = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
    Header::new(rows.len(), span, [&mut keys.users, &mut keys.devices, &mut keys.marks])
}
