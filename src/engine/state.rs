//! What the writer knows: the counters and sets of each site and month, and the seen slots. It is
//! the writer's own; readers see only the counters, and only after they are on the disk.

mod judge;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::distinct::{Disk, DistinctSet, TagCache};
use super::gone::Takes;
use super::runs::{RunError, SetId};
use crate::crypto::SealKey;
use crate::model::batch::{Batch, Claim, Effect, Epoch, SiteMonth, Verdict};
use crate::model::time::{Day, Month, Timestamp};
use crate::model::usage::Tally;
use crate::model::vocab::Class;
use crate::store::{Store, Table};
use judge::{judge, judge_late, judge_shut, refine, remember};

/// The sets of a site's month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TallyKind {
    /// Users with a countable licence; the mask holds their DRM systems.
    Users = 0,
    /// Recommended good devices of countable licences.
    Devices = 1,
    /// Watermark sessions.
    Sessions = 2,
    /// Users of watermark sessions.
    WatermarkUsers = 3,
    /// Users with a countable licence that came after the close, who are not among the users.
    CorrectedUsers = 4,
    /// Devices that stand for users who are nobody.
    DeviceUsers = 5,
    /// Such devices that came after the close, and are not among those.
    CorrectedDevices = 6,
}

/// Sets of a site's month.
pub const TALLY_KINDS: usize = 7;

/// The bit of a mere member.
const MEMBER: u8 = 1;

/// A site's month.
pub struct MonthState {
    /// Which.
    pub at: SiteMonth,
    /// What is counted, as of the last judged row.
    pub tally: Tally,
    /// Its sets, by [`TallyKind`]; none once they are destroyed.
    pub sets: Vec<DistinctSet>,
    /// Whether the tally changed since the last cut.
    pub changed: bool,
    /// The group that last touched it.
    pub touched_in: u64,
}

impl MonthState {
    /// An empty month whose sets are sealed under `key`.
    pub fn new(at: SiteMonth, key: &Arc<SealKey>) -> Self {
        let set = |kind: usize| DistinctSet::new(Self::set_id(at, kind), Arc::clone(key));
        Self {
            at,
            tally: Tally::default(),
            sets: (0..TALLY_KINDS).map(set).collect(),
            changed: false,
            touched_in: 0,
        }
    }

    /// A month whose sets are destroyed; its figures stay.
    pub fn without_sets(at: SiteMonth, tally: Tally) -> Self {
        Self { at, tally, sets: Vec::new(), changed: false, touched_in: 0 }
    }

    /// The id of one of the sets.
    pub fn set_id(at: SiteMonth, kind: usize) -> SetId {
        SetId { table: Table::Tally(at.month), owner: at.site.0, kind: kind as u8 }
    }

    /// The members of the sets, while there are any, must be as many as the counters say.
    pub fn is_consistent(&self) -> bool {
        if self.sets.is_empty() {
            return true;
        }
        let size = |kind: TallyKind| self.sets[kind as usize].len();
        let Tally { counters, corrections, .. } = &self.tally;
        counters.mau == size(TallyKind::Users)
            && counters.devices == size(TallyKind::Devices)
            && counters.watermark_users == size(TallyKind::WatermarkUsers)
            && counters.watermark_sessions >= size(TallyKind::Sessions)
            && corrections.users == size(TallyKind::CorrectedUsers)
            && counters.device_users == size(TallyKind::DeviceUsers)
            && corrections.device_users == size(TallyKind::CorrectedDevices)
    }

    /// Makes the figures final; later rows are corrections.
    pub fn close(&mut self, now: Timestamp) {
        self.tally.closed_at.get_or_insert(now);
        self.changed = true;
    }

    /// Whether the figures are final.
    pub fn is_closed(&self) -> bool {
        self.tally.closed_at.is_some()
    }

    /// Counts a row that was taken.
    fn take(
        &mut self,
        claim: &Claim,
        late_devices: bool,
        disk: &mut Disk<'_>,
    ) -> Result<(), RunError> {
        match self.is_closed() {
            true => self.correct(claim, late_devices, disk),
            false => self.count(claim, disk),
        }
    }

    /// Counts an accepted row (rule set `mau/1`).
    fn count(&mut self, claim: &Claim, disk: &mut Disk<'_>) -> Result<(), RunError> {
        self.tally.counters.records += 1;
        match claim.effect {
            Effect::Issued => self.count_issued(claim, disk)?,
            Effect::Renewal => {
                self.count_license(claim);
                self.tally.counters.renewals_excluded += 1;
            }
            Effect::Failed => self.tally.counters.licenses_failed += 1,
            Effect::FailedCounted => {
                self.tally.counters.licenses_failed += 1;
                let counted = self.count_user(claim, disk)?;
                self.tally.counters.failures_counted += u64::from(counted);
            }
            Effect::NoLicense => self.tally.counters.no_license += 1,
            Effect::FailedElsewhere => self.tally.counters.failed_elsewhere += 1,
            Effect::Trial => self.tally.counters.trial += 1,
            Effect::Test => self.tally.counters.test += 1,
            Effect::Session => {
                // A session without an id is nobody's second one.
                let new = match claim.session {
                    Some(tag) => self.add(TallyKind::Sessions, tag, disk)?,
                    None => true,
                };
                self.tally.counters.watermark_sessions += u64::from(new);
                if let Some(tag) = claim.user {
                    let new = self.add(TallyKind::WatermarkUsers, tag, disk)?;
                    self.tally.counters.watermark_users += u64::from(new);
                }
            }
            Effect::Kept => {}
        }
        Ok(())
    }

    fn count_license(&mut self, claim: &Claim) {
        self.tally.counters.licenses_issued += 1;
        self.tally.counters.licenses_by_drm[usize::from(claim.drm.code())] += 1;
    }

    fn count_issued(&mut self, claim: &Claim, disk: &mut Disk<'_>) -> Result<(), RunError> {
        self.count_license(claim);
        let counted = self.count_user(claim, disk)?;
        if claim.user.is_none() {
            self.tally.counters.unattributed_licenses += 1;
            self.tally.counters.sentinel_licenses += u64::from(claim.sentinel);
            self.tally.counters.licenses_by_device += u64::from(counted);
        }
        if let Some(tag) = claim.device {
            let new = self.add(TallyKind::Devices, tag, disk)?;
            self.tally.counters.devices += u64::from(new);
        }
        Ok(())
    }

    /// Makes the user active, or the device that stands for one; whether there was either.
    fn count_user(&mut self, claim: &Claim, disk: &mut Disk<'_>) -> Result<bool, RunError> {
        if let Some(tag) = claim.user {
            let bit = claim.drm.bit();
            let before = self.sets[TallyKind::Users as usize].insert(tag, bit, disk)?;
            self.tally.counters.mau += u64::from(before == 0);
            let drm = usize::from(claim.drm.code());
            self.tally.counters.mau_by_drm[drm] += u64::from(before & bit == 0);
            return Ok(true);
        }
        let Some(tag) = claim.device.filter(|_| claim.by_device) else { return Ok(false) };
        let new = self.add(TallyKind::DeviceUsers, tag, disk)?;
        self.tally.counters.device_users += u64::from(new);
        Ok(true)
    }

    pub(super) fn add(
        &mut self,
        kind: TallyKind,
        tag: crate::model::ids::ShortTag,
        disk: &mut Disk<'_>,
    ) -> Result<bool, RunError> {
        Ok(self.sets[kind as usize].insert(tag, MEMBER, disk)? == 0)
    }
}

/// The keys that new months and slots are sealed under, and what of them is destroyed.
pub trait SetKeys {
    /// What a month takes from a group on.
    fn takes(&self, at: SiteMonth, group: u64) -> Takes;
    /// Buckets for rows of a month and of these days that are due by now.
    fn past_due(&self, at: SiteMonth, days: &[Day]) -> Vec<(Epoch, Class)>;
    /// The key of a site-month's sets; the month's keys exist, since a batch was made with them.
    fn month(&self, at: SiteMonth) -> Option<Arc<SealKey>>;
    /// The key of a day's seen slot.
    fn day(&self, day: Day) -> Option<Arc<SealKey>>;
}

/// How old and how new a record may be, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The accepted age.
    pub age_ms: i64,
}

/// Everything that judging needs.
pub struct State {
    months: Vec<MonthState>,
    by_name: HashMap<SiteMonth, usize>,
    seen: BTreeMap<Day, DistinctSet>,
    floor: Day,
    cache: TagCache,
}

/// Rows whose tags are touched before the first of them is judged: some lines of memory each, so
/// that all of them stay in the second-level cache.
const AHEAD: usize = 256;

impl State {
    /// An empty state; records before `floor` are too old whatever the clock says.
    pub fn new(floor: Day, cache_bytes: usize) -> Self {
        Self {
            months: Vec::new(),
            by_name: HashMap::new(),
            seen: BTreeMap::new(),
            floor,
            cache: TagCache::new(cache_bytes),
        }
    }

    /// The site-months.
    pub fn months(&mut self) -> &mut [MonthState] {
        &mut self.months
    }

    /// The site-months, to be looked at.
    pub fn months_now(&self) -> &[MonthState] {
        &self.months
    }

    /// The seen slots.
    pub fn seen(&mut self) -> &mut BTreeMap<Day, DistinctSet> {
        &mut self.seen
    }

    /// The first day that has, or may get, a seen slot.
    pub fn floor(&self) -> Day {
        self.floor
    }

    /// A site-month that is known.
    pub fn known(&self, at: SiteMonth) -> Option<&MonthState> {
        self.by_name.get(&at).and_then(|index| self.months.get(*index))
    }

    /// Drops the sets of a month; its counters stay.
    pub fn drop_sets(&mut self, at: SiteMonth) {
        let month = self.by_name.get(&at).and_then(|index| self.months.get_mut(*index));
        if let Some(month) = month {
            month.sets = Vec::new();
        }
        self.cache.forget(|set| set.table == Table::Tally(at.month) && set.owner == at.site.0);
    }

    /// Forgets months whose figures have ended.
    pub fn forget(&mut self, months: &HashSet<SiteMonth>) {
        self.months.retain(|month| !months.contains(&month.at));
        let places = self.months.iter().enumerate();
        self.by_name = places.map(|(index, month)| (month.at, index)).collect();
    }

    /// Forgets the slots before a day for good.
    pub fn raise_floor(&mut self, floor: Day) {
        self.floor = self.floor.max(floor);
        self.seen = self.seen.split_off(&self.floor);
        let floor = self.floor.0;
        self.cache.forget(|set| set.table == Table::Seen && set.owner < floor);
    }

    /// Adds a site-month that was loaded.
    pub fn add_month(&mut self, month: MonthState) {
        self.by_name.insert(month.at, self.months.len());
        self.months.push(month);
    }

    /// A site-month, made where it is new.
    pub fn month(&mut self, at: SiteMonth, keys: &dyn SetKeys) -> Option<&mut MonthState> {
        let index = self.month_index(at, keys)?;
        self.months.get_mut(index)
    }

    pub(super) fn month_index(&mut self, at: SiteMonth, keys: &dyn SetKeys) -> Option<usize> {
        if let Some(index) = self.by_name.get(&at) {
            return Some(*index);
        }
        self.add_month(MonthState::new(at, &keys.month(at)?));
        Some(self.months.len() - 1)
    }

    fn open_slots(&mut self, batch: &Batch, keys: &dyn SetKeys) -> Option<()> {
        for day in &batch.days {
            if *day >= self.floor && !self.seen.contains_key(day) {
                let id = SetId { table: Table::Seen, owner: day.0, kind: 0 };
                self.seen.insert(*day, DistinctSet::new(id, keys.day(*day)?));
            }
        }
        Some(())
    }

    /// The months of a batch.
    fn places(&mut self, input: &Apply<'_>) -> Result<Vec<MonthPlace>, RunError> {
        let Apply { batch, verdicts, group, keys, .. } = input;
        let mut places = Vec::with_capacity(batch.months.len());
        for at in &batch.months {
            let mut gone = match keys.takes(*at, *group) {
                Takes::Nothing => {
                    places.push(MonthPlace::Shut);
                    continue;
                }
                Takes::All => Vec::new(),
                Takes::Counts(gone) => gone,
            };
            if verdicts.is_none() {
                gone.extend(keys.past_due(*at, &batch.days));
            }
            let index = self
                .month_index(*at, *keys)
                .ok_or(crate::store::codec::Corrupt("key of a month"))?;
            let gone = (!gone.is_empty()).then_some((at.month, gone));
            let group = match batch.group_of(places.len()) {
                Some(of) => self.group_index(SiteMonth { site: of, ..*at }, *group, *keys)?,
                None => None,
            };
            places.push(MonthPlace::Open { index, gone, group });
        }
        Ok(places)
    }

    /// Judges the rows of a batch, or, where `verdicts` are given, applies what was judged before.
    /// Answers the verdicts and the site-months that were touched.
    ///
    /// # Errors
    /// When a set on disk cannot be read. Then the state is half changed and must be thrown away.
    pub fn apply(&mut self, input: Apply<'_>) -> Result<(Vec<Verdict>, Vec<usize>), RunError> {
        let Apply { batch, verdicts, repeats, now, window, group, late_devices, store, keys } =
            input;
        let missing = crate::store::codec::Corrupt("key of a month or day");
        self.open_slots(batch, keys).ok_or(missing)?;
        let places = self.places(&input)?;
        let Self { months, seen, cache, .. } = self;
        let mut slots: Vec<Option<&mut DistinctSet>> = Vec::with_capacity(batch.days.len());
        let mut by_day: BTreeMap<Day, &mut DistinctSet> =
            seen.iter_mut().map(|(day, slot)| (*day, slot)).collect();
        slots.extend(batch.days.iter().map(|day| by_day.remove(day)));
        let mut disk = Disk { store, cache };
        let mut out = Vec::with_capacity(batch.claims.len());
        for (row, claim) in batch.claims.iter().enumerate() {
            if row % AHEAD == 0 {
                let next = batch.claims.iter().skip(row).take(AHEAD);
                // A loop of nothing but these loads: the processor has many of them under way at
                // once, where judging would wait for each in turn.
                let sum = |sum, claim| sum ^ warm(claim, &slots, months, &places);
                std::hint::black_box(next.fold(0, sum));
            }
            let slot = slots[usize::from(claim.day)].as_deref_mut();
            let place = &places[usize::from(claim.month)];
            let verdict = match (verdicts, place) {
                (Some(given), _) => remember(given[row], claim, slot, &mut disk)?,
                (None, MonthPlace::Shut) => judge_shut(claim, slot, &mut disk)?,
                (None, MonthPlace::Open { index, .. }) => {
                    let verdict = match repeats {
                        Some(repeats) => {
                            let known = repeats.get(row).copied().unwrap_or(false);
                            judge_late(claim, slot, known, &mut disk)?
                        }
                        None => judge(claim, slot, now, window, &mut disk)?,
                    };
                    let lost = claim.suppressed || place.lost(claim);
                    refine(verdict, months[*index].is_closed(), lost)
                }
            };
            match (verdict, place) {
                (verdict, MonthPlace::Open { index, group, .. }) if verdict.is_taken() => {
                    let month = &mut months[*index];
                    if verdict.is_correction() != month.is_closed() {
                        return Err(crate::store::codec::Corrupt("verdict").into());
                    }
                    month.take(claim, late_devices, &mut disk)?;
                    if let (Some(tag), Some(group)) = (claim.group, group) {
                        months[*group].take_member(tag, claim.drm, &mut disk)?;
                    }
                }
                (Verdict::Duplicate, MonthPlace::Open { index, .. }) => {
                    let month = &mut months[*index];
                    month.tally.counters.duplicates += u64::from(!month.is_closed());
                }
                (Verdict::TooOld, _) | (Verdict::Duplicate, MonthPlace::Shut) => {}
                // No such verdict was ever given.
                _ => return Err(missing.into()),
            }
            out.push(verdict);
        }
        let mut indexes = Vec::with_capacity(places.len());
        for place in &places {
            let MonthPlace::Open { index, group: of, .. } = place else { continue };
            for index in of.iter().chain([index]) {
                months[*index].changed = true;
                months[*index].touched_in = group;
                indexes.push(*index);
            }
        }
        Ok((out, indexes))
    }
}

/// What [`State::apply`] works on.
#[derive(Clone, Copy)]
pub struct Apply<'a> {
    /// The rows.
    pub batch: &'a Batch,
    /// What was judged of them before (replay).
    pub verdicts: Option<&'a [Verdict]>,
    /// Of a backfill: which rows are known to be repeated. Its rows may be of any age.
    pub repeats: Option<&'a [bool]>,
    /// The present time.
    pub now: Timestamp,
    /// The accepted ages.
    pub window: Window,
    /// The number of the group.
    pub group: u64,
    /// Whether devices that stand for users are counted among corrections.
    pub late_devices: bool,
    /// Where sets on disk are.
    pub store: &'a Store,
    /// Keys for new months and slots.
    pub keys: &'a dyn SetKeys,
}

/// A month of a batch.
enum MonthPlace {
    /// It takes nothing any more.
    Shut,
    Open {
        /// Where it is.
        index: usize,
        /// Which of its buckets are destroyed or due.
        gone: Option<(Month, Vec<(Epoch, Class)>)>,
        /// Where the month of its billing group is.
        group: Option<usize>,
    },
}

impl MonthPlace {
    /// Whether the bucket of a row is destroyed, or due.
    fn lost(&self, claim: &Claim) -> bool {
        let Self::Open { gone: Some((month, gone)), .. } = self else { return false };
        let class = claim.kind.class();
        let (day, month) = (Epoch::Day(claim.occurred_at.day()), Epoch::Month(*month));
        // A month's buckets are months or days, never both.
        gone.iter().any(|(epoch, of)| *of == class && (*epoch == day || *epoch == month))
    }
}

#[inline]
fn warm(
    claim: &Claim,
    slots: &[Option<&mut DistinctSet>],
    months: &[MonthState],
    places: &[MonthPlace],
) -> u8 {
    let seen = slots[usize::from(claim.day)].as_ref().map_or(0, |slot| slot.warm(claim.seen));
    let place = &places[usize::from(claim.month)];
    let MonthPlace::Open { index, .. } = place else { return seen };
    let sets = &months[*index].sets;
    let warm = |kind: TallyKind, tag| sets.get(kind as usize).map_or(0, |set| set.warm(tag));
    let user = claim.user.map_or(0, |tag| warm(TallyKind::Users, tag));
    let device = claim.device.map_or(0, |tag| warm(TallyKind::Devices, tag));
    if let (Some(tag), MonthPlace::Open { group: Some(group), .. }) = (claim.group, place) {
        let set = months[*group].sets.get(TallyKind::Users as usize);
        return seen ^ user ^ device ^ set.map_or(0, |set| set.warm(tag));
    }
    seen ^ user ^ device
}
