//! Keeps the sets within their memory bounds: the one that was left alone the longest goes to disk
//! first.

use super::Settings;
use super::distinct::DistinctSet;
use super::state::State;

/// How large the sets are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Memory of the tallies' sets, bytes.
    pub tally_bytes: usize,
    /// Members of all tallies' sets, also of those on disk.
    pub tally_members: u64,
    /// Memory of the seen slots, bytes.
    pub seen_bytes: usize,
}

/// Gives back memory until both bounds hold. Only right when no fold is under way.
pub fn within_bounds(state: &mut State, settings: &Settings) -> Sizes {
    let tallies = || state.months_now().iter().flat_map(|month| &month.sets);
    let tally_members = tallies().map(DistinctSet::len).sum();
    let mut tally_bytes: usize = tallies().map(DistinctSet::memory_bytes).sum();
    let mut order: Vec<usize> = (0..state.months().len()).collect();
    order.sort_by_key(|index| state.months()[*index].touched_in);
    for index in order {
        for set in &mut state.months()[index].sets {
            spill(set, &mut tally_bytes, settings.tally_bytes);
        }
    }
    let mut seen_bytes = state.seen().values().map(DistinctSet::memory_bytes).sum();
    for slot in state.seen().values_mut() {
        spill(slot, &mut seen_bytes, settings.seen_bytes);
    }
    Sizes { tally_bytes, tally_members, seen_bytes }
}

fn spill(set: &mut DistinctSet, bytes: &mut usize, bytes_max: usize) {
    if *bytes > bytes_max && set.is_resident() {
        *bytes -= set.memory_bytes();
        set.spill();
        *bytes += set.memory_bytes();
    }
}
