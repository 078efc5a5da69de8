//! Sorting of what is spread evenly, as pseudonyms are: each value is first put near its place by
//! the upper bits of its key, and then only a few neighbors are left to be compared.

/// Values of a cell, on average.
const CELL: usize = 4;
/// Fewer values are sorted as they are.
const CELLS_FROM: usize = 64;
/// Most cells: what is counted for each stays in the nearer caches.
const CELLS_MAX: usize = 1 << 16;

/// Sorts values by `key`, whose order is that of `top` where those differ: equal values in no
/// particular order. Keys that are not spread evenly cost time and nothing else.
pub fn sort<T: Copy, K: Ord>(values: &mut Vec<T>, top: impl Fn(&T) -> u64, key: impl Fn(&T) -> K) {
    let Some(first) = values.first().filter(|_| values.len() >= CELLS_FROM).copied() else {
        return values.sort_unstable_by_key(key);
    };
    if values.is_sorted_by_key(&key) {
        return;
    }
    let cells = (values.len() / CELL).next_power_of_two().min(CELLS_MAX);
    let shift = u64::BITS - cells.ilog2();
    let cell = |value: &T| (top(value) >> shift) as usize;
    // How many there are of each cell, then where its next value goes.
    let mut ends = vec![0usize; cells];
    values.iter().for_each(|value| ends[cell(value)] += 1);
    let mut before = 0;
    for end in &mut ends {
        before += std::mem::replace(end, before);
    }
    let mut placed = vec![first; values.len()];
    for value in values.iter() {
        let next = &mut ends[cell(value)];
        placed[*next] = *value;
        *next += 1;
    }
    let mut start = 0;
    for end in ends {
        placed[start..end].sort_unstable_by_key(&key);
        start = end;
    }
    *values = placed;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Also of values that crowd in one cell.
        #[test]
        fn sorts_as_the_standard_does(
            values in proptest::collection::vec((any::<u64>(), any::<u8>(), 0u32..9), 0..600),
        ) {
            for shifted in [true, false] {
                let of = |(key, shift, place): &(u64, u8, u32)| {
                    (if shifted { key >> (shift % 64) } else { *key }, *place)
                };
                let mut sorted: Vec<(u64, u32)> = values.iter().map(of).collect();
                let mut wanted = sorted.clone();
                wanted.sort_unstable();
                sort(&mut sorted, |(key, _)| *key, |value| *value);
                prop_assert_eq!(sorted, wanted);
            }
        }
    }
}
