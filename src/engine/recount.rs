//! A month counted once more, by another way than the counters: the stored runs of its sets are
//! read in order, a page of each at a time, and their distinct tags are counted.
//!
//! The sets of a closed month do not change, so neither do its runs once they are folded. Memory is
//! a page for each run of one set.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::runs::{self, Run, RunError, SetId};
use super::state::{MonthState, TALLY_KINDS, TallyKind};
use super::{Engine, EngineError, Shared};
use crate::crypto::{SealKey, Sha256};
use crate::identity::Listed;
use crate::model::batch::SiteMonth;
use crate::model::ids::{ShortTag, SiteId};
use crate::model::time::Month;
use crate::store::Store;
use crate::store::codec::Corrupt;
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
    /// Distinct users that came after the close and are not among the users.
    pub late_users: u64,
    /// The same of devices that stand for users.
    pub late_device_users: u64,
    /// Distinct watermark sessions that have an id; those without one are in no set.
    pub sessions: u64,
    /// Distinct devices that came after the close and are not among the devices.
    pub late_devices: u64,
    /// The same of users of watermark sessions.
    pub late_watermark_users: u64,
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
    /// Counts the sets of a site's month again; `None` where they are destroyed or never were. Of
    /// these only what is folded is seen: the caller folds once, before all that it counts.
    ///
    /// # Errors
    /// When the engine has stopped, or a set cannot be read.
    pub async fn recount(&self, id: SiteId, month: Month) -> Result<Option<Recount>, EngineError> {
        self.aside(move |engine| recount(&engine.shared, &id, month)).await
    }

    /// How many tags of a list are in the set of a closed month's users, and how many are in it at
    /// all; and the same of the users that came late. `None` where the sets are destroyed or never
    /// were. What was not folded yet is not seen.
    ///
    /// # Errors
    /// When the engine has stopped, or the set cannot be read.
    pub async fn compare(
        &self,
        id: SiteId,
        month: Month,
        list: Listed,
    ) -> Result<Option<Compared>, EngineError> {
        self.aside(move |engine| compare(&engine.shared, (&id, month), list.tags())).await
    }
}

/// A list beside the users of a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Users of the close.
    pub members: u64,
    /// Of these, users that are on the list.
    pub listed: u64,
    /// Users that came after the close and are not among those.
    pub late: u64,
    /// Of these, users that are on the list.
    pub late_listed: u64,
}

/// Compares sorted, distinct tags with the users of a month.
fn compare(
    shared: &Shared,
    (id, month): (&SiteId, Month),
    list: &[ShortTag],
) -> Result<Option<Compared>, EngineError> {
    let site = shared.directory.site(id).ok_or(EngineError::NoSite)?;
    let Some(key) = shared.ring.sets_existing(id, month) else { return Ok(None) };
    let at = SiteMonth { site: site.no, month };
    let beside = |kind: TallyKind| {
        let (mut members, mut listed, mut rest) = (0, 0, list);
        let set = MonthState::set_id(at, kind as usize);
        walk(&shared.store, &key, set, &mut |tag, _| {
            members += 1;
            while let Some((next, after)) = rest.split_first()
                && *next <= tag
            {
                listed += u64::from(*next == tag);
                rest = after;
            }
        })?;
        Ok::<_, EngineError>((members, listed))
    };
    let (members, listed) = beside(TallyKind::Users)?;
    let (late, late_listed) = beside(TallyKind::CorrectedUsers)?;
    Ok(Some(Compared { members, listed, late, late_listed }))
}

fn recount(shared: &Shared, id: &SiteId, month: Month) -> Result<Option<Recount>, EngineError> {
    let site = shared.directory.site(id).ok_or(EngineError::NoSite)?;
    let Some(key) = shared.ring.sets_existing(id, month) else { return Ok(None) };
    let at = SiteMonth { site: site.no, month };
    let mut sets = Vec::with_capacity(TALLY_KINDS);
    for kind in 0..TALLY_KINDS {
        sets.push(count(&shared.store, &key, MonthState::set_id(at, kind))?);
    }
    let of = |kind: TallyKind| sets.get(kind as usize).ok_or(Corrupt("sets of a month"));
    let tags = |kind: TallyKind| of(kind).map(|set| set.tags);
    let users = of(TallyKind::Users)?;
    Ok(Some(Recount {
        users: users.tags,
        users_by_drm: users.by_bit,
        devices: tags(TallyKind::Devices)?,
        watermark_users: tags(TallyKind::WatermarkUsers)?,
        device_users: tags(TallyKind::DeviceUsers)?,
        late_users: tags(TallyKind::CorrectedUsers)?,
        late_device_users: tags(TallyKind::CorrectedDeviceUsers)?,
        sessions: tags(TallyKind::Sessions)?,
        late_devices: tags(TallyKind::CorrectedDevices)?,
        late_watermark_users: tags(TallyKind::CorrectedWatermarkUsers)?,
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
    walk(store, key, set, &mut |tag, mask| {
        digest.update(&tag.0);
        counted.tags += 1;
        for (bit, count) in counted.by_bit.iter_mut().enumerate() {
            *count += u64::from(mask >> bit & 1);
        }
    })?;
    counted.digest = digest.finish();
    Ok(counted)
}

/// Shows the distinct tags of a set in their order, each with its mask.
fn walk(
    store: &Store,
    key: &SealKey,
    set: SetId,
    each: &mut dyn FnMut(ShortTag, u8),
) -> Result<(), RunError> {
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
    while let Some(Reverse((tag, at, mask))) = heads.pop() {
        match &mut last {
            // Runs of one set may hold a tag each; their masks together are the whole one.
            Some((known, bits)) if known.0 == tag => *bits |= mask,
            _ => {
                if let Some((tag, mask)) = last.replace((ShortTag(tag), mask)) {
                    each(tag, mask);
                }
            }
        }
        if let Some((tag, mask)) = cursors[at].next(store, key, set)? {
            heads.push(Reverse((tag.0, at, mask)));
        }
    }
    if let Some((tag, mask)) = last {
        each(tag, mask);
    }
    Ok(())
}
