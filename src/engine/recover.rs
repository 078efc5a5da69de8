//! Recovery: load what is folded, apply the journal's verdicts, compare. It judges nothing and
//! reads no clock, so it comes to the same counts however often it runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::distinct::DistinctSet;
use super::fold::{FoldError, discard_unfinished};
use super::journal::{self, StoredGroup};
use super::runs::{self, Run, SetId};
use super::state::{Apply, MonthState, State, TALLY_KINDS, TallyKind, Window};
use super::writer::RingKeys;
use super::{EngineError, Settings, Shared};
use crate::crypto::SealKey;
use crate::model::arrival::Hour;
use crate::model::batch::SiteMonth;
use crate::model::ids::SiteNo;
use crate::model::retention::Lot;
use crate::model::time::{Day, Timestamp};
use crate::model::usage::Tally;
use crate::store::rows::Position;
use crate::store::verdict::decode_tally;
use crate::store::{Store, Table, keys};

/// Bytes of memory that a tag takes in a set, for planning what is loaded.
const TAG_BYTES: u64 = 18;

/// What recovery found.
pub struct Recovered {
    /// The sets and counters as of the last group.
    pub state: State,
    /// The runs of every set.
    pub runs: HashMap<SetId, Vec<Run>>,
    /// The last group in the journal.
    pub last_group: u64,
    /// Bytes of the groups that are not folded.
    pub pending_bytes: usize,
    /// The time that was believed last.
    pub believed: Timestamp,
}

/// Reads the position; a new directory begins at nothing, with the seen slots of today on.
///
/// # Errors
/// When the row cannot be read.
pub fn position(store: &Store, floor: Day, now: Timestamp) -> Result<Position, EngineError> {
    Ok(match store.get(Table::Meta, keys::POSITION)? {
        Some(row) => Position::decode(&row)?,
        None => {
            // Written down at once: a later start with a wrong clock must not come to another one.
            let position = Position { seen_floor: floor.0, believed: now, ..Position::default() };
            let mut changes = crate::store::Changes::default();
            changes.put(Table::Meta, keys::POSITION, position.encode());
            store.apply(&changes)?;
            position
        }
    })
}

/// Brings the state to where the last acknowledged group left it.
///
/// # Errors
/// When anything stored is missing, damaged or does not agree.
pub fn recover(
    shared: &Shared,
    settings: &Settings,
    position: &Position,
) -> Result<Recovered, EngineError> {
    let store = &shared.store;
    discard_unfinished(store)?;
    let floor = Day(position.seen_floor);
    let mut state = State::new(floor, settings.cache_bytes);
    let mut all_runs = HashMap::new();
    load_months(shared, settings, &mut state, &mut all_runs)?;
    load_seen(shared, settings, &mut state, &mut all_runs)?;
    let replayed = replay(shared, settings, position, &mut state)?;
    for month in state.months() {
        if !month.is_consistent() {
            return Err(not_agreed(month.at.month));
        }
    }
    let Replayed { last_group, pending_bytes, believed } = replayed;
    Ok(Recovered { state, runs: all_runs, last_group, pending_bytes, believed })
}

fn load_months(
    shared: &Shared,
    settings: &Settings,
    state: &mut State,
    all_runs: &mut HashMap<SetId, Vec<Run>>,
) -> Result<(), EngineError> {
    let mut counted: BTreeMap<SiteMonth, Tally> = BTreeMap::new();
    for row in shared.store.scan(Table::Counters, &[], None)? {
        let (key, value) = row?;
        let at = keys::counters_of(&key).ok_or(crate::store::codec::Corrupt("counters"))?;
        counted.insert(at, decode_tally(&value)?);
    }
    let mut left = settings.tally_bytes as u64;
    let mut tables: Vec<Table> = shared.store.tables();
    tables.retain(|table| matches!(table, Table::Tally(_)));
    // The latest month first: it is the one that is written to.
    tables.sort_unstable_by(|a, b| b.cmp(a));
    let mut sets: HashMap<SetId, DistinctSet> = HashMap::new();
    for table in tables {
        let Table::Tally(month) = table else { continue };
        for (id, numbers) in grouped(runs::list(&shared.store, table)?) {
            let at = SiteMonth { site: SiteNo(id.owner), month };
            let Some(key) = sets_key(shared, at)? else { continue };
            let len = counted.get(&at).map_or(0, |tally| set_len(tally, id.kind));
            let set = load_set(&shared.store, &key, id, &numbers, (&mut left, len))?;
            all_runs.insert(id, set.runs().to_vec());
            sets.insert(id, set);
        }
    }
    for (at, tally) in counted {
        let Some(key) = sets_key(shared, at)? else {
            shared.without_sets(at);
            state.add_month(MonthState::without_sets(at, tally));
            continue;
        };
        let mut month = MonthState::new(at, &key);
        for kind in 0..TALLY_KINDS {
            if let Some(set) = sets.remove(&MonthState::set_id(at, kind)) {
                month.sets[kind] = set;
            }
        }
        month.tally = tally;
        state.add_month(month);
    }
    if sets.is_empty() { Ok(()) } else { Err(EngineError::Damaged("a set has no counters".into())) }
}

/// The key of a month's sets; `None` where they are destroyed. Their rows may still be there.
fn sets_key(shared: &Shared, at: SiteMonth) -> Result<Option<Arc<SealKey>>, EngineError> {
    let site = shared.directory.by_no(at.site).ok_or(FoldError::NoSite)?;
    match shared.ring.sets_existing(&site.id, at.month) {
        Some(key) => Ok(Some(key)),
        None if shared.gone(|gone| gone.contains(&Lot::Sets(at))) => Ok(None),
        None => Err(missing_key(MonthState::set_id(at, 0))),
    }
}

/// How many members a set has that is not loaded, as its counters say.
fn set_len(tally: &Tally, kind: u8) -> u64 {
    let Tally { counters, corrections, .. } = tally;
    match kind {
        0 => counters.mau,
        1 => counters.devices,
        2 => counters.watermark_sessions,
        3 => counters.watermark_users,
        4 => corrections.users,
        5 => counters.device_users,
        _ => corrections.device_users,
    }
}

fn load_seen(
    shared: &Shared,
    settings: &Settings,
    state: &mut State,
    all_runs: &mut HashMap<SetId, Vec<Run>>,
) -> Result<(), EngineError> {
    let mut left = settings.seen_bytes as u64;
    let mut lists = grouped(runs::list(&shared.store, Table::Seen)?);
    lists.reverse();
    for (id, numbers) in lists {
        // It has ended, and waits for its destruction.
        if Day(id.owner) < state.floor() {
            continue;
        }
        // Never made anew here: what is stored was sealed under one that was there.
        let keys = shared.ring.seen_existing(Day(id.owner))?.ok_or_else(|| missing_key(id))?;
        let set = load_set(&shared.store, &keys.seal, id, &numbers, (&mut left, 0))?;
        all_runs.insert(id, set.runs().to_vec());
        state.seen().insert(Day(id.owner), set);
    }
    Ok(())
}

fn grouped(list: Vec<(SetId, u64)>) -> Vec<(SetId, Vec<u64>)> {
    list.chunk_by(|left, right| left.0 == right.0)
        .map(|of| (of[0].0, of.iter().map(|(_, number)| *number).collect()))
        .collect()
}

/// Loads a set into memory while there is room, else only the heads of its runs.
fn load_set(
    store: &Store,
    key: &Arc<SealKey>,
    id: SetId,
    numbers: &[u64],
    (left, len): (&mut u64, u64),
) -> Result<DistinctSet, EngineError> {
    let mut list = Vec::new();
    for number in numbers {
        list.push(runs::open(store, key, id, *number)?);
    }
    let tags = list.iter().map(|run| run.head.tags).sum::<u64>();
    let bytes = tags * TAG_BYTES;
    if bytes > *left {
        // Its runs are not read, and a tag may be in several of them: all that can be told here.
        // `Engine::recount` and `verify --recount` count it.
        // A session without an id is counted and in no set.
        let all_have_tags = id.kind != TallyKind::Sessions as u8;
        if all_have_tags && len > tags {
            return Err(not_agreed(id.table.name()));
        }
        return Ok(DistinctSet::spilled(id, Arc::clone(key), list, len));
    }
    *left -= bytes;
    let mut set = DistinctSet::new(id, Arc::clone(key));
    for run in &list {
        set.load(runs::read(store, key, id, run)?);
    }
    set.folded(list);
    Ok(set)
}

/// What the journal held.
struct Replayed {
    last_group: u64,
    pending_bytes: usize,
    believed: Timestamp,
}

fn replay(
    shared: &Shared,
    settings: &Settings,
    position: &Position,
    state: &mut State,
) -> Result<Replayed, EngineError> {
    let key_of = |id| shared.ring.by_id(id);
    let ring = RingKeys(shared);
    let mut last = position.folded_through;
    let mut pending_bytes = 0;
    let mut believed = position.believed;
    for stored in journal::stored(&shared.store, position.folded_through + 1, u64::MAX)? {
        let StoredGroup { number, row, .. } = stored?;
        if number != last + 1 {
            return Err(EngineError::Damaged(format!("journal group {} is missing", last + 1)));
        }
        let group = journal::decode_group(number, &row, &key_of)?;
        for (at, tally) in &group.verdict.tallies {
            if let Some(closed_at) = tally.closed_at {
                state.month(*at, &ring).ok_or(FoldError::NoSite)?.close(closed_at);
            }
        }
        for (batch, verdicts) in group.batches.iter().zip(&group.verdict.batches) {
            state.apply(Apply {
                batch,
                verdicts: Some(verdicts),
                repeats: None,
                now: group.verdict.judged_at,
                window: Window { age_ms: settings.age_ms },
                group: number,
                late_devices: group.verdict.late_devices,
                store: &shared.store,
                keys: &ring,
            })?;
        }
        for (at, tally) in &group.verdict.tallies {
            let month = state.month(*at, &ring).ok_or(FoldError::NoSite)?;
            if month.tally != *tally {
                return Err(EngineError::Damaged(format!(
                    "the recount of journal group {number} differs from what was acknowledged"
                )));
            }
        }
        let hour = Hour::of(group.verdict.judged_at);
        shared.arrivals.hold(hour)?;
        shared.arrivals.add(hour, &group.verdict.arrivals);
        last = number;
        pending_bytes += row.len();
        believed = group.verdict.believed;
    }
    Ok(Replayed { last_group: last, pending_bytes, believed })
}

fn not_agreed(of: impl std::fmt::Display) -> EngineError {
    EngineError::Damaged(format!("the counters of {of} do not agree with its sets"))
}

fn missing_key(id: SetId) -> EngineError {
    EngineError::Damaged(format!(
        "the register has no key for the sets of {}; the keys directory is older than the data",
        id.table.name()
    ))
}
