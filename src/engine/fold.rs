//! The fold, in the background: journal groups become blocks, new tags become runs, counters become
//! rows; then the groups and, a little later, their key are gone.
//!
//! Blocks and runs are written ahead ([`ahead`]); nothing names them yet. The last change set is
//! synced and makes the fold whole: counters, the new position, the removal of the groups.

mod ahead;
mod blocks;
mod erase;
mod listing;
mod read;
mod remove;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::arrivals;
use super::backup::mark_now;
use super::directory::Directory;
use super::journal::{self, JournalError, JournalKey, OpenGroup, StoredGroup};
use super::runs::{self, Run, RunError, SetId};
use crate::crypto::SealKey;
use crate::keys::{KeyRing, KeysError};
use crate::model::arrival::Hour;
use crate::model::batch::SiteMonth;
use crate::model::ids::KeyId;
use crate::model::time::{Day, Timestamp};
use crate::model::usage::Tally;
use crate::store::dictionary::Dictionary;
use crate::store::pages::Entry;
use crate::store::rows::Position;
use crate::store::verdict::encode_tally;
use crate::store::{Changes, Half, Store, StoreError, Table, keys};

pub use ahead::discard_unfinished;
pub use blocks::{BlockPlace, ranges};
pub use erase::{Sealing, is_of, may_hold};
pub use listing::{Fragment, ListOrder, Listing, header_living, open_fragment, read_living};
pub use read::{
    BlockKey, block_key_opens, count_records, header_of, key_of, open_block, open_block_key,
    open_header, read_block, read_header, rows_of, wrapped_key,
};
pub use remove::{
    answers_of, blocks_of, rows_of_access, rows_of_seen, rows_of_sets, rows_of_suppressed,
    tables_of,
};

use ahead::{Ahead, Intent};
use blocks::Sorted;

/// Folded groups that the memory of a half of the journal holds before it is cleared, bytes.
const DEAD_BYTES: usize = 4 << 20;
/// Runs of one size class that are merged into one.
const RUNS_MERGED: usize = 8;
/// Most tags of a merged run: merging takes about 40 bytes of memory a tag.
const RUN_TAGS_MAX: u64 = 1 << 23;

/// A fold failed; the engine stops and recovers.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A journal entry could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A run could not be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The register refused.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A stored value does not follow its format.
    #[error(transparent)]
    Corrupt(#[from] crate::store::codec::Corrupt),
    /// A block does not open.
    #[error("a block cannot be opened: {0}")]
    Open(#[from] crate::crypto::OpenError),
    /// A row of a site that does not exist.
    #[error("a stored record names a site that does not exist")]
    NoSite,
}

/// New members of a set since the last cut.
pub struct Delta {
    /// The set.
    pub set: SetId,
    /// The key of its runs.
    pub key: Arc<SealKey>,
    /// The members, in no order; masks of equal tags are to be joined.
    pub entries: Vec<Entry>,
}

/// What the writer hands over at a cut: everything as of group `through`.
pub struct Cut {
    /// The last group of the fold.
    pub through: u64,
    /// The half of the journal that takes no group from here on, until the fold has ended.
    pub half: Half,
    /// New members of sets.
    pub deltas: Vec<Delta>,
    /// Tallies that changed.
    pub tallies: Vec<(SiteMonth, Tally)>,
    /// Records before this day are too old from here on.
    pub floor: Day,
    /// The time that the writer believes.
    pub believed: Timestamp,
    /// Kept answers of days before this one go.
    pub answers_before: Day,
    /// What arrived since the last cut.
    pub arrivals: Changes,
}

/// What a fold did.
pub struct Folded {
    /// The last group that is folded.
    pub through: u64,
    /// The runs of the sets that had new members.
    pub runs: Vec<(SetId, Vec<Run>)>,
    /// Runs that were merged into those; they stay until nobody probes them any more.
    pub merged: Vec<(SetId, u64)>,
    /// A fresh journal key for the next rotation.
    pub next_key: Arc<JournalKey>,
    /// What was written.
    pub stats: Stats,
}

/// Figures of a fold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows put into blocks.
    pub rows: u64,
    /// Blocks written.
    pub blocks: u64,
    /// Bytes of sealed blocks and headers.
    pub bytes: u64,
}

/// The runs of sets, and the numbers of runs that are no longer among them.
type Runs = (Vec<(SetId, Vec<Run>)>, Vec<(SetId, u64)>);

/// The folder: what only the fold thread touches.
pub struct Folder {
    store: Arc<Store>,
    ring: Arc<KeyRing>,
    directory: Arc<Directory>,
    position: Position,
    runs: HashMap<SetId, Vec<Run>>,
    fragments: blocks::Fragments,
    /// Bytes of folded groups that the memory of each half of the journal still holds.
    dead: [usize; 2],
}

impl Folder {
    /// A folder that goes on from a position.
    ///
    /// # Errors
    /// When the fragments cannot be listed.
    pub fn new(
        store: Arc<Store>,
        ring: Arc<KeyRing>,
        directory: Arc<Directory>,
        position: Position,
        runs: HashMap<SetId, Vec<Run>>,
    ) -> Result<Self, FoldError> {
        let fragments = blocks::Fragments::load(&store)?;
        Ok(Self { store, ring, directory, position, runs, fragments, dead: [0; 2] })
    }

    /// Folds all groups up to the cut.
    ///
    /// # Errors
    /// When anything cannot be read or written; then the engine must stop and recover.
    pub fn fold(&mut self, cut: Cut) -> Result<Folded, FoldError> {
        let (mut groups, rows_of_groups) = self.groups(cut.through)?;
        let store = Arc::clone(&self.store);
        let mut dictionary = Dictionary::default();
        for batch in groups.iter_mut().flat_map(|group| &mut group.batches) {
            dictionary.add(&mut batch.details)?;
        }
        let rows = Sorted::of(&groups, &dictionary, &self.directory)?;
        let mut last = Changes::default();
        let mut ahead = Ahead::new(
            &store,
            Intent {
                first_block: self.position.next_block,
                buckets: rows.bucket_names(),
                first_run: self.position.next_run,
                sets: cut.deltas.iter().map(|delta| delta.set).collect(),
            },
        );
        let mut writer = blocks::Writer {
            store: &self.store,
            ring: &self.ring,
            directory: &self.directory,
            fragments: &mut self.fragments,
            next: self.position.next_block,
            stats: Stats::default(),
        };
        writer.write(&mut dictionary, &rows, &mut ahead, &mut last)?;
        let stats = writer.stats;
        self.position.next_block = writer.next;
        drop(rows);
        drop(groups);
        for (half, number, bytes) in rows_of_groups {
            last.delete(Table::Journal(half), keys::group(number));
            self.dead[half as usize] += bytes;
        }
        let (runs, merged) = self.fold_sets(&mut ahead, cut.deltas)?;
        ahead.finish(&mut last)?;
        for (at, tally) in &cut.tallies {
            last.put(Table::Counters, keys::counters(*at), encode_tally(tally));
        }
        // Their rows and keys go by a destruction.
        self.runs.retain(|set, _| set.table != Table::Seen || set.owner >= cut.floor.0);
        let answers_to = keys::answer(cut.answers_before.0, &[0; 16]);
        last.delete_range(Table::Answers, keys::answer(0, &[0; 16]), answers_to);
        last.append(cut.arrivals);
        arrivals::drop_old(&self.store, cut.answers_before, &mut last)?;
        self.position.folded_through = cut.through;
        self.position.seen_floor = cut.floor.0;
        self.position.believed = cut.believed;
        last.put(Table::Meta, keys::POSITION, self.position.encode());
        last.put(Table::Meta, keys::MARK, mark_now(&self.ring)?.encode());
        self.store.apply(&last)?;
        self.clear(cut.half)?;
        let next_key = Arc::new(JournalKey { key: self.ring.journal()? });
        Ok(Folded { through: cut.through, runs, merged, next_key, stats })
    }

    /// Ends the slots of days before the first of these two, and drops the kept answers of those
    /// before the other. The rows and keys of the slots go by a destruction.
    ///
    /// # Errors
    /// When the disk refuses; then the engine must stop and recover.
    pub fn expire(&mut self, slots: Day, answers: Day) -> Result<(), FoldError> {
        let mut changes = Changes::default();
        self.runs.retain(|set, _| set.table != Table::Seen || set.owner >= slots.0);
        let answers_to = keys::answer(answers.0, &[0; 16]);
        changes.delete_range(Table::Answers, keys::answer(0, &[0; 16]), answers_to);
        arrivals::drop_old(&self.store, answers, &mut changes)?;
        self.position.seen_floor = self.position.seen_floor.max(slots.0);
        changes.put(Table::Meta, keys::POSITION, self.position.encode());
        Ok(self.store.apply(&changes)?)
    }

    /// Forgets why records of these hours were refused; how many rows knew it.
    ///
    /// # Errors
    /// When a row cannot be read, or the disk refuses; then the engine must stop and recover.
    pub fn end_reasons(&self, hours: &Range<Hour>) -> Result<u64, FoldError> {
        arrivals::end_stored(&self.store, &self.ring.state_key(), hours)
    }

    /// Retires journal keys that no group needs any more.
    ///
    /// # Errors
    /// When the register refuses.
    pub fn retire(&self, ids: &[KeyId]) -> Result<(), FoldError> {
        Ok(self.ring.retire(ids)?)
    }

    /// Removes runs that were merged into others, once the writer has taken those over. A crash
    /// before this leaves runs that hold nothing but what the merged one holds too, so it harms no
    /// count; the next merge takes them in.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn forget(&self, merged: &[(SetId, u64)]) -> Result<(), FoldError> {
        let mut changes = Changes::default();
        for (set, run) in merged {
            runs::delete(&mut changes, *set, *run);
        }
        Ok(self.store.apply_ahead(&changes)?)
    }

    /// The groups that are not folded, and where each lies: half, number, bytes.
    fn groups(&self, through: u64) -> Result<(Vec<OpenGroup>, Vec<(Half, u64, usize)>), FoldError> {
        let key_of = |id| self.ring.by_id(id);
        let (mut groups, mut rows) = (Vec::new(), Vec::new());
        let from = self.position.folded_through + 1;
        for stored in journal::stored(&self.store, from, through + 1)? {
            let StoredGroup { number, half, row } = stored?;
            groups.push(journal::decode_group(number, &row, &key_of)?);
            rows.push((half, number, row.len()));
        }
        Ok((groups, rows))
    }

    /// Gives back the memory and the log of a half whose groups are all folded. Nothing of them is
    /// written to a file: they are deleted. A little is left until it is worth a file.
    fn clear(&mut self, half: Half) -> Result<(), FoldError> {
        if self.dead[half as usize] >= DEAD_BYTES {
            self.dead[half as usize] = 0;
            self.store.flush_tables(&[Table::Journal(half)].into())?;
        }
        Ok(())
    }

    /// Writes the runs of new members; answers the runs of each set, and those that were merged.
    fn fold_sets(&mut self, ahead: &mut Ahead<'_>, deltas: Vec<Delta>) -> Result<Runs, FoldError> {
        let (mut touched, mut merged) = (Vec::new(), Vec::new());
        for delta in deltas {
            self.store.ensure(delta.set.table)?;
            let list = self.runs.entry(delta.set).or_default();
            let from = merged_from(list, delta.entries.len() as u64);
            let mut parts = Vec::new();
            for run in list.drain(from..) {
                parts.push(runs::read(&self.store, &delta.key, delta.set, &run)?);
                merged.push((delta.set, run.number));
            }
            let number = self.position.next_run;
            self.position.next_run += 1;
            let mut put = |key, value| ahead.put(delta.set.table, key, value);
            let entries = runs::merge(parts, delta.entries);
            list.push(runs::write(&delta.key, delta.set, number, &entries, &mut put)?);
            touched.push((delta.set, list.clone()));
        }
        Ok((touched, merged))
    }
}

/// From which run on the runs of a set are merged with a new one of so many tags: as long as seven
/// runs before it are of its size class (a factor of eight) or smaller, they join; near the end, as
/// many as make a run of up to [`RUN_TAGS_MAX`] that is at least half of that.
fn merged_from(list: &[Run], new: u64) -> usize {
    let class = |tags: u64| tags.max(1).ilog2() / 3;
    let (mut from, mut total) = (list.len(), new);
    loop {
        let of = class(total);
        let (mut first, mut sum, mut is_full) = (from, total, false);
        for run in list[..from].iter().rev().take_while(|run| class(run.head.tags) <= of) {
            if sum + run.head.tags > RUN_TAGS_MAX {
                is_full = sum >= RUN_TAGS_MAX / 2;
                break;
            }
            (first, sum) = (first - 1, sum + run.head.tags);
        }
        if first == from || from - first + 1 < RUNS_MERGED && !is_full {
            return from;
        }
        (from, total) = (first, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::filter::Filter;
    use crate::store::pages::RunHead;

    #[test]
    fn runs_stay_few_and_are_rarely_rewritten() {
        let mut list: Vec<Run> = Vec::new();
        let mut written = 0;
        for number in 0..4_096 {
            let from = merged_from(&list, 1_000);
            let tags = 1_000 + list.drain(from..).map(|run| run.head.tags).sum::<u64>();
            written += tags;
            let head = RunHead { tags, fences: Vec::new() };
            list.push(Run { number, head, filter: Filter::build(&mut Vec::new()) });
            assert!(list.len() <= 40, "{}", list.len());
        }
        assert!(written <= 6 * 4_096_000, "{written}");
    }

    #[test]
    fn runs_of_a_large_set_stay_few() {
        let mut list: Vec<Run> = Vec::new();
        for number in 0..66_000 {
            let from = merged_from(&list, 3_000);
            let tags = 3_000 + list.drain(from..).map(|run| run.head.tags).sum::<u64>();
            let head = RunHead { tags, fences: Vec::new() };
            list.push(Run { number, head, filter: Filter::build(&mut Vec::new()) });
        }
        let most = 2 * 66_000 * 3_000 / RUN_TAGS_MAX as usize + 40;
        assert!(list.len() <= most, "{} runs, {most} would do", list.len());
    }
}
