//! Sorted runs of tags on disk: written at a fold, merged when there are many, probed where a set
//! is not in memory.
//!
//! A run is a few rows of its table: a head (page 0), pages of tags and a filter, each sealed with
//! the place it belongs to. Runs are only added; a merged run replaces its parts in one change set.

use crate::crypto::{Aad, OpenError, SealKey};
use crate::model::ids::ShortTag;
use crate::store::codec::Corrupt;
use crate::store::filter::Filter;
use crate::store::pages::{self, Entry, PAGE_TAGS, RunHead};
use crate::store::{Changes, Store, StoreError, Table, keys, spread};

/// A run could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A page did not open under its key at its place.
    #[error("a stored run of tags cannot be opened: {0}")]
    Open(#[from] OpenError),
    /// A page is missing or does not follow its format.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// Which set a run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId {
    /// The table of its runs.
    pub table: Table,
    /// The site of a tally, the day of a seen slot.
    pub owner: u32,
    /// Which of the owner's sets.
    pub kind: u8,
}

impl SetId {
    fn aad(&self, run: u64, page: u32) -> Aad {
        Aad::new("run/1")
            .text(&self.table.name())
            .bytes(&keys::page(self.owner, self.kind, run, page))
    }
}

/// A run on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub number: u64,
    /// How many tags, and where the pages begin.
    pub head: RunHead,
    /// A filter over the tags.
    pub filter: Filter,
}

/// The row of a run that holds its filter.
const FILTER_PAGE: u32 = u32::MAX;

impl Run {
    /// Memory of the head and the filter, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.head.fences.capacity() * size_of::<u64>() + self.filter.as_bytes().len()
    }
}

/// Writes a run of sorted, distinct entries; `put` takes its rows.
///
/// # Errors
/// Those of `put`.
pub fn write<E>(
    key: &SealKey,
    set: SetId,
    number: u64,
    entries: &[Entry],
    put: &mut dyn FnMut(Vec<u8>, Vec<u8>) -> Result<(), E>,
) -> Result<Run, E> {
    let mut row = |page: u32, plain: &[u8]| {
        let sealed = key.seal(&set.aad(number, page), plain);
        put(keys::page(set.owner, set.kind, number, page), sealed)
    };
    let mut head = RunHead { tags: entries.len() as u64, fences: Vec::new() };
    for (page, entries) in (1..).zip(entries.chunks(PAGE_TAGS)) {
        head.fences.push(entries.first().map_or(0, |(tag, _)| tag.prefix()));
        row(page, &pages::encode_page(entries))?;
    }
    row(0, &head.encode())?;
    let mut prefixes = entries.iter().map(|(tag, _)| tag.prefix()).collect();
    let filter = Filter::build(&mut prefixes);
    row(FILTER_PAGE, filter.as_bytes())?;
    Ok(Run { number, head, filter })
}

/// Removes a run in a change set.
pub fn delete(changes: &mut Changes, set: SetId, number: u64) {
    let from = keys::page(set.owner, set.kind, number, 0);
    changes.delete_range(set.table, from, keys::page(set.owner, set.kind, number + 1, 0));
}

/// Opens the head and the filter of a stored run.
///
/// # Errors
/// When it does not open or does not follow its format.
pub fn open(store: &Store, key: &SealKey, set: SetId, number: u64) -> Result<Run, RunError> {
    let row = |page| {
        let row = store.get(set.table, &keys::page(set.owner, set.kind, number, page))?;
        Ok::<_, RunError>(key.open(&set.aad(number, page), &row.ok_or(Corrupt("run"))?)?)
    };
    let head = RunHead::decode(&row(0)?)?;
    let filter = Filter::decode(&row(FILTER_PAGE)?).ok_or(Corrupt("run filter"))?;
    Ok(Run { number, head, filter })
}

/// The sets and runs of a table, in the order of their keys, found without reading their pages.
///
/// # Errors
/// When the disk refuses or a row key does not follow its format.
pub fn list(store: &Store, table: Table) -> Result<Vec<(SetId, u64)>, RunError> {
    let mut found = Vec::new();
    let mut from = Vec::new();
    loop {
        let Some(row) = store.scan(table, &from, None)?.next() else { return Ok(found) };
        let (owner, kind, run, _) = keys::page_of(&row?.0).ok_or(Corrupt("run key"))?;
        found.push((SetId { table, owner, kind }, run));
        from = keys::page(owner, kind, run + 1, 0);
    }
}

/// The runs of one set, the earliest first, found without reading their pages.
///
/// # Errors
/// When the disk refuses or a row key does not follow its format.
pub fn numbers(store: &Store, set: SetId) -> Result<Vec<u64>, RunError> {
    let mut found = Vec::new();
    let mut from = keys::page(set.owner, set.kind, 0, 0);
    // A table is made with its first row.
    if !store.tables().contains(&set.table) {
        return Ok(found);
    }
    loop {
        let Some(row) = store.scan(set.table, &from, None)?.next() else { return Ok(found) };
        let (owner, kind, run, _) = keys::page_of(&row?.0).ok_or(Corrupt("run key"))?;
        if (owner, kind) != (set.owner, set.kind) {
            return Ok(found);
        }
        found.push(run);
        from = keys::page(owner, kind, run + 1, 0);
    }
}

/// A page of a run, sorted; pages are counted from 0.
///
/// # Errors
/// As [`read`].
pub fn page(
    store: &Store,
    key: &SealKey,
    set: SetId,
    run: &Run,
    page: usize,
) -> Result<Vec<Entry>, RunError> {
    Ok(pages::decode_page(&open_page(store, key, set, run.number, page)?)?)
}

/// Reads all entries of a run, sorted.
///
/// # Errors
/// When a page is missing, does not open or does not follow its format.
pub fn read(store: &Store, key: &SealKey, set: SetId, run: &Run) -> Result<Vec<Entry>, RunError> {
    let mut entries = Vec::with_capacity(usize::try_from(run.head.tags).unwrap_or(0).min(1 << 24));
    for page in 0..run.head.fences.len() {
        entries.extend(pages::decode_page(&open_page(store, key, set, run.number, page)?)?);
    }
    if entries.len() as u64 == run.head.tags { Ok(entries) } else { Err(Corrupt("run").into()) }
}

/// The mask of a tag in a run; 0 where it is not there.
///
/// # Errors
/// As [`read`].
pub fn probe(
    store: &Store,
    key: &SealKey,
    set: SetId,
    run: &Run,
    tag: ShortTag,
) -> Result<u8, RunError> {
    if !run.filter.may_hold(tag.prefix()) {
        return Ok(0);
    }
    for page in run.head.pages_of(tag) {
        let mask = pages::find_in_page(&open_page(store, key, set, run.number, page)?, tag)?;
        if mask != 0 {
            return Ok(mask);
        }
    }
    Ok(0)
}

fn open_page(
    store: &Store,
    key: &SealKey,
    set: SetId,
    run: u64,
    page: usize,
) -> Result<Vec<u8>, RunError> {
    let page = u32::try_from(page + 1).map_err(|_| Corrupt("run"))?;
    let row = store.get(set.table, &keys::page(set.owner, set.kind, run, page))?;
    Ok(key.open(&set.aad(run, page), &row.ok_or(Corrupt("run"))?)?)
}

/// Whether a stored row of a run opens under a key.
pub fn row_opens(key: &SealKey, table: Table, row: &[u8], sealed: &[u8]) -> bool {
    let Some((owner, kind, run, page)) = keys::page_of(row) else { return false };
    key.open(&SetId { table, owner, kind }.aad(run, page), sealed).is_ok()
}

/// What a row of a run says of the number of its run's tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    /// The head: so many are in the run.
    Said(u64),
    /// A page: so many are in it.
    Here(u64),
    /// The filter.
    Filter,
}

/// Opens a stored row of a run, wherever it lies now: its table and key are those it was written
/// with. Answers what it says of tags.
///
/// # Errors
/// When it does not open or does not follow its format.
pub fn open_row(key: &SealKey, table: Table, row: &[u8], sealed: &[u8]) -> Result<Tags, RunError> {
    let (owner, kind, run, page) = keys::page_of(row).ok_or(Corrupt("run key"))?;
    let plain = key.open(&SetId { table, owner, kind }.aad(run, page), sealed)?;
    Ok(match page {
        0 => Tags::Said(RunHead::decode(&plain)?.tags),
        FILTER_PAGE => Tags::Filter,
        _ => Tags::Here(pages::decode_page(&plain)?.len() as u64),
    })
}

/// Merges sorted runs and new entries in no order into one list; the masks of equal tags are
/// joined.
pub fn merge(runs: Vec<Vec<Entry>>, mut new: Vec<Entry>) -> Vec<Entry> {
    // Compared as two numbers, not byte by byte.
    let order = |(tag, _): &Entry| (tag.prefix(), tag.suffix());
    spread::sort(&mut new, |(tag, _)| tag.prefix(), order);
    let mut all = new;
    if !runs.is_empty() {
        all.reserve_exact(runs.iter().map(Vec::len).sum());
        runs.into_iter().for_each(|run| all.extend(run));
        // The standard stable sort finds the sorted stretches and merges them.
        all.sort_by_key(order);
    }
    all.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 |= next.1;
        }
        same
    });
    all
}
