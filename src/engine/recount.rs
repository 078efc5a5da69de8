//! A month counted once more, by another way than the counters: the stored runs of its sets are
//! read in order, a page of each at a time, and their distinct tags are counted.
//!
//! The sets of a closed month do not change, so neither do its runs once they are folded. Memory is
//! a page for each run of one set.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::runs::{self, Run, RunError, SetId};
use super::state::{MonthState, TALLY_KINDS};
use super::{Engine, EngineError, Shared};
use crate::crypto::{SealKey, Sha256};
use crate::model::batch::SiteMonth;
use crate::model::ids::{ShortTag, SiteId};
use crate::model::time::Month;
use crate::store::Store;
use crate::store::pages::Entry;

/// What was found in the sets of a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recount {
    /// Distinct users.
    pub users: u64,
    /// Distinct users by DRM system, in the order of their bits.
    pub users_by_drm: [u64; 8],
    /// Distinct devices.
    pub devices: u64,
    /// Distinct users of watermark sessions.
    pub watermark_users: u64,
    /// Distinct devices that stand for users.
    pub device_users: u64,
    /// SHA-256 over the sorted tags of the users.
    pub digest: [u8; 32],
}

/// One set, counted.
struct Counted {
    tags: u64,
    by_bit: [u64; 8],
    digest: [u8; 32],
}

impl Engine {
    /// Counts the sets of a site's month again; `None` where they are destroyed or never were.
    ///
    /// # Errors
    /// When the engine has stopped, or a set cannot be read.
    pub async fn recount(&self, id: SiteId, month: Month) -> Result<Option<Recount>, EngineError> {
        self.fold().await?;
        self.aside(move |engine| recount(&engine.shared, &id, month)).await
    }
}

fn recount(shared: &Shared, id: &SiteId, month: Month) -> Result<Option<Recount>, EngineError> {
    let site = shared.directory.site(id).ok_or(EngineError::NoSite)?;
    let Some(key) = shared.ring.sets_existing(id, month) else { return Ok(None) };
    let at = SiteMonth { site: site.no, month };
    let mut sets = Vec::with_capacity(TALLY_KINDS);
    for kind in 0..TALLY_KINDS {
        sets.push(count(&shared.store, &key, MonthState::set_id(at, kind))?);
    }
    let [users, devices, _, watermark_users, _, device_users] = &sets[..] else {
        return Ok(None);
    };
    Ok(Some(Recount {
        users: users.tags,
        users_by_drm: users.by_bit,
        devices: devices.tags,
        watermark_users: watermark_users.tags,
        device_users: device_users.tags,
        digest: users.digest,
    }))
}

/// A run on its way through.
struct Cursor {
    run: Run,
    next_page: usize,
    page: std::vec::IntoIter<Entry>,
}

impl Cursor {
    fn next(
        &mut self,
        store: &Store,
        key: &SealKey,
        set: SetId,
    ) -> Result<Option<Entry>, RunError> {
        loop {
            if let Some(entry) = self.page.next() {
                return Ok(Some(entry));
            }
            if self.next_page == self.run.head.fences.len() {
                return Ok(None);
            }
            self.page = runs::page(store, key, set, &self.run, self.next_page)?.into_iter();
            self.next_page += 1;
        }
    }
}

fn count(store: &Store, key: &SealKey, set: SetId) -> Result<Counted, RunError> {
    let mut counted = Counted { tags: 0, by_bit: [0; 8], digest: [0; 32] };
    let mut digest = Sha256::default();
    let mut cursors = Vec::new();
    let mut heads = BinaryHeap::new();
    for number in runs::numbers(store, set)? {
        let run = runs::open(store, key, set, number)?;
        let mut cursor = Cursor { run, next_page: 0, page: Vec::new().into_iter() };
        if let Some((tag, mask)) = cursor.next(store, key, set)? {
            heads.push(Reverse((tag.0, cursors.len(), mask)));
        }
        cursors.push(cursor);
    }
    let mut last: Option<(ShortTag, u8)> = None;
    let mut end = |entry: Option<(ShortTag, u8)>, counted: &mut Counted| {
        let Some((tag, mask)) = entry else { return };
        digest.update(&tag.0);
        counted.tags += 1;
        for (bit, count) in counted.by_bit.iter_mut().enumerate() {
            *count += u64::from(mask >> bit & 1);
        }
    };
    while let Some(Reverse((tag, at, mask))) = heads.pop() {
        match &mut last {
            // Runs of one set may hold a tag each; their masks together are the whole one.
            Some((known, bits)) if known.0 == tag => *bits |= mask,
            _ => end(last.replace((ShortTag(tag), mask)), &mut counted),
        }
        if let Some((tag, mask)) = cursors[at].next(store, key, set)? {
            heads.push(Reverse((tag.0, at, mask)));
        }
    }
    end(last, &mut counted);
    counted.digest = digest.finish();
    Ok(counted)
}
