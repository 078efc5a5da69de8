//! Keeps the sets within their memory bounds: the one that was left alone the longest goes to disk
//! first.

use super::Settings;
use super::state::State;

/// Gives back memory until both bounds hold. Only right when no fold is under way.
pub fn within_bounds(state: &mut State, settings: &Settings) {
    let mut total: usize = state
        .months()
        .iter()
        .flat_map(|month| &month.sets)
        .map(super::distinct::DistinctSet::memory_bytes)
        .sum();
    let mut order: Vec<usize> = (0..state.months().len()).collect();
    order.sort_by_key(|index| state.months()[*index].touched_in);
    for index in order {
        for set in &mut state.months()[index].sets {
            if total > settings.tally_bytes && set.is_resident() {
                total -= set.memory_bytes();
                set.spill();
                total += set.memory_bytes();
            }
        }
    }
    let mut total: usize =
        state.seen().values().map(super::distinct::DistinctSet::memory_bytes).sum();
    for slot in state.seen().values_mut() {
        if total > settings.seen_bytes && slot.is_resident() {
            total -= slot.memory_bytes();
            slot.spill();
            total += slot.memory_bytes();
        }
    }
}
