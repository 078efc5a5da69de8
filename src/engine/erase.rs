//! Erasure of one person of a site: hide at once, seal the person's blocks anew without the person,
//! give every bucket that had one a fresh key, and destroy the key from before, as any destruction
//! destroys keys. What an older copy of the data holds of such a bucket is noise then, whosever it
//! was; what today's data holds of everybody else still opens.
//!
//! A row in the default table says who is erased. It is written before the call answers, it is the
//! only thing that knows the person, and it goes when whoever ordered the erasure has heard of its
//! end. Cut at any step, the same call goes on. Sets and counters are not touched: who was counted
//! stays counted, without a record that says when or for what.
//!
//! Buckets on hold are left as they are; the row stays and hides the person until the same call
//! finds them released, or destroyed with their hold.

pub(super) mod run;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::destroy::lots::suppression_of;
use super::directory::Directory;
use super::fold::FoldError;
use super::gone::Gone;
use super::{Engine, EngineError, Shared};
use crate::crypto::{Aad, SealKey};
use crate::keys::{self as ring, KeyRing, LedgerMark, SuppressionKeys};
use crate::model::batch::Bucket;
use crate::model::ids::{KeyId, SiteId, SiteNo, Tag};
use crate::model::person::Person;
use crate::model::time::Month;
use crate::store::codec::Corrupt;
pub use crate::store::erasure::Stage;
use crate::store::erasure::{self, Erasure};
use crate::store::{Changes, Store, Table, keys};

/// A step of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EraseStep {
    /// Everything from before is folded.
    Fold,
    /// A bucket that has the person gets a fresh key.
    Succeed,
    /// The row says so.
    Part,
    /// Some blocks are sealed anew.
    Piece,
    /// The row says that all of them are.
    Sealed,
    /// The keys from before are destroyed.
    Keys,
    /// The register has done this step of the destruction of keys, and the next one begins.
    After(ring::Step),
    /// What is left is tried.
    Trial,
    /// The row says that the keys are gone.
    Gone,
}

/// Who follows an erasure: nobody, or a test that ends the process.
pub trait EraseSteps: Send + Sync {
    /// A step begins. The keys may be locked: it must not ask the engine for anything.
    fn begins(&self, step: EraseStep);
}

/// Nobody.
impl EraseSteps for () {
    fn begins(&self, _: EraseStep) {}
}

/// Who says which buckets are on hold.
pub type Waits = Arc<dyn Fn(Bucket) -> bool + Send + Sync>;

/// An order to erase a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The ledger's number of its intent.
    pub number: u64,
    /// The months whose records can be searched.
    pub months: Vec<Month>,
    /// Who it is.
    pub person: Person,
    /// The person's tags under the site's suppression key, one for each form of user ids, where
    /// later records are not kept either; else none.
    pub suppress: Vec<Tag>,
    /// A lost erasure that this one repeats.
    pub repeats: Option<u64>,
}

/// An erasure that has not ended, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The ledger's number of its intent.
    pub number: u64,
    /// How far it is.
    pub stage: Stage,
    /// The site.
    pub site: SiteId,
    /// The months whose records are searched.
    pub months: Vec<Month>,
    /// The lost erasure that it repeats.
    pub repeats: Option<u64>,
}

/// What became of an erasure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EraseReport {
    /// Whether nothing of it is left to do. Then it stays known until [`Engine::end_erasure`].
    pub done: bool,
    /// Blocks that were sealed anew without the person.
    pub blocks: u64,
    /// Records that are erased.
    pub records: u64,
    /// Keys that were destroyed.
    pub keys: Vec<KeyId>,
    /// Buckets that are on hold and have the person, or copies in hold storage that may.
    pub held: Vec<Bucket>,
    /// Backfills of the site whose records may have the person; they are waited for.
    pub backfills: Vec<u64>,
    /// Copies of the register that are waited for; until they have it nothing is destroyed.
    pub waiting_for: Vec<PathBuf>,
}

/// Erasures that have not ended, by number.
pub type Erasures = BTreeMap<u64, Erasure>;

/// The persons of a site whose later records are not kept.
pub struct Persons {
    /// What makes their tags.
    pub keys: SuppressionKeys,
    /// The tags: of each person one for each form of user ids, because no form follows from another
    /// and the site's may change.
    pub tags: HashSet<Tag>,
    /// Whether of some persons only the byte-exact form is known: their rows are from before there
    /// were others, so that every id is compared byte for byte as well.
    pub only_exact: bool,
}

/// The persons of each site whose later records are not kept, and how often the lists changed.
#[derive(Default)]
pub struct Suppressed {
    /// One more with each change.
    pub generation: u64,
    sites: BTreeMap<SiteNo, Arc<Persons>>,
}

impl Suppressed {
    /// Loads the rows.
    ///
    /// # Errors
    /// When a row cannot be read or opened.
    pub fn load(
        store: &Store,
        ring: &KeyRing,
        directory: &Directory,
        gone: &Gone,
    ) -> Result<Self, EngineError> {
        let mut all = Self::default();
        let mut tags: BTreeMap<SiteNo, Vec<Vec<Tag>>> = BTreeMap::new();
        for row in store.scan(Table::Meta, keys::SUPPRESSED, Some(keys::SUPPRESSED_END))? {
            let (name, sealed) = row?;
            let (site, _) = keys::suppressed_of(&name).ok_or(Corrupt("suppressed person"))?;
            let plain = ring.state_key().open(&aad(&name), &sealed).map_err(FoldError::from)?;
            tags.entry(site).or_default().push(erasure::decode_suppressed(&plain)?);
        }
        for (no, tags) in tags {
            let site = directory.by_no(no).ok_or(EngineError::NoSite)?;
            // A fresh key would know nobody, and nobody would hear of it.
            let none = "the register has no key of a site's erased persons: it is older than the \
                        data; put back the newest register";
            let keys = ring.suppression_existing(&site.id)?;
            if keys.is_none() && gone.contains(&suppression_of(&site)) {
                // Cut after the end of the key; the rows go when that destruction is finished.
                continue;
            }
            all.put(no, keys.ok_or_else(|| EngineError::Refused(none.into()))?, &tags);
        }
        Ok(all)
    }

    /// Adds persons, each with its tags.
    fn put(&mut self, site: SiteNo, keys: SuppressionKeys, persons: &[Vec<Tag>]) {
        let mut only_exact = persons.iter().any(|tags| tags.len() == 1);
        let mut tags: HashSet<Tag> = persons.iter().flatten().copied().collect();
        if let Some(before) = self.sites.get(&site) {
            tags.extend(&before.tags);
            only_exact |= before.only_exact;
        }
        self.sites.insert(site, Arc::new(Persons { keys, tags, only_exact }));
        self.generation += 1;
    }

    fn forget(&mut self, site: SiteNo) {
        self.sites.remove(&site);
        self.generation += 1;
    }

    /// The persons of a site; `None` where there are none.
    pub fn of(&self, site: SiteNo) -> Option<Arc<Persons>> {
        self.sites.get(&site).cloned()
    }
}

fn aad(row: &[u8]) -> Aad {
    Aad::new("meta/1").bytes(row)
}

/// Loads the rows of all erasures that have not ended.
///
/// # Errors
/// When a row cannot be read or opened.
pub fn load(store: &Store, key: &SealKey) -> Result<Erasures, EngineError> {
    let mut all = Erasures::new();
    for row in store.scan(Table::Meta, keys::ERASING, Some(keys::ERASING_END))? {
        let (name, sealed) = row?;
        let plain = key.open(&aad(&name), &sealed).map_err(FoldError::from)?;
        let erasure = Erasure::decode(&plain)?;
        all.insert(erasure.number, erasure);
    }
    Ok(all)
}

/// The change that writes an erasure's row.
pub fn row_change(ring: &KeyRing, row: &Erasure) -> Changes {
    let name = keys::erasing(row.number);
    let sealed = ring.state_key().seal(&aad(&name), &row.encode());
    let mut changes = Changes::default();
    changes.put(Table::Meta, name, sealed);
    changes
}

impl Shared {
    /// Drops who is suppressed at a site, and what makes their tags.
    pub(super) fn forget_suppressed(&self, site: SiteNo) {
        self.suppressed.write().unwrap_or_else(PoisonError::into_inner).forget(site);
    }

    /// The persons whose records nobody is shown, of a site.
    pub fn hidden(&self, site: SiteNo) -> Vec<Person> {
        let erasing = self.erasing.read().unwrap_or_else(PoisonError::into_inner);
        erasing.values().filter(|row| row.site == site).map(|row| row.person.clone()).collect()
    }
}

impl Engine {
    /// Every erasure that has not ended.
    pub fn erasures(&self) -> Vec<Standing> {
        let erasing = self.shared.erasing.read().unwrap_or_else(PoisonError::into_inner);
        let standing = |row: &Erasure| {
            let site = self.shared.directory.by_no(row.site)?.id.clone();
            let (number, stage, months) = (row.number, row.stage, row.months.clone());
            Some(Standing { number, stage, site, months, repeats: row.repeats })
        };
        erasing.values().filter_map(standing).collect()
    }

    /// Hides a person from every reading, durably, and notes that the person is to be erased; from
    /// then on [`Engine::erase`] can be called.
    ///
    /// # Errors
    /// When there is no such site, the disk refuses, or the engine has stopped.
    pub async fn hide(&self, site: &SiteId, order: Order) -> Result<(), EngineError> {
        let site = self.site(site).ok_or(EngineError::NoSite)?.no;
        self.aside(move |engine| run::hide(engine, site, order)).await
    }

    /// Erases a person who is hidden, as this page says. `mark` is the ledger's after the entry
    /// that says so will happen.
    ///
    /// Called again it goes on where it stood, in this process or after a start.
    ///
    /// # Errors
    /// Refused where no such erasure is known; busy while a destruction has not ended, or when a
    /// request holds an old journal key for a minute; damaged where a block does not open; stopped.
    /// Nothing counts as erased then.
    pub async fn erase(
        &self,
        number: u64,
        waits: Waits,
        mark: LedgerMark,
        steps: Arc<dyn EraseSteps>,
    ) -> Result<EraseReport, EngineError> {
        self.aside(move |engine| {
            let shared = &engine.shared;
            let _one = shared.destroying.lock().unwrap_or_else(PoisonError::into_inner);
            run::Run { engine, mark, steps }.erase(number, &waits)
        })
        .await
    }

    /// Forgets an erasure that is done, and whose it was, also in the files of the default table.
    /// The row stays until the files are rewritten: cut before, the same call does it again.
    ///
    /// # Errors
    /// When the disk refuses, or the engine has stopped.
    pub async fn end_erasure(&self, number: u64) -> Result<(), EngineError> {
        self.aside(move |engine| run::make_nameless(engine, number)).await?;
        self.rewrite_desk_rows().await?;
        self.aside(move |engine| run::end(engine, number)).await
    }

    /// The persons of a site whose later records are not kept, and the state of the lists: a batch
    /// that was made by an older one is not taken.
    pub fn suppressed(&self, site: SiteNo) -> Option<Arc<Persons>> {
        self.shared.suppressed.read().unwrap_or_else(PoisonError::into_inner).of(site)
    }

    /// How often the lists of [`Engine::suppressed`] changed since the start.
    pub fn suppressions(&self) -> u64 {
        self.shared.suppressed.read().unwrap_or_else(PoisonError::into_inner).generation
    }
}
