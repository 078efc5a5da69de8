//! Which partition owns what, and how a batch is cut by it. Today one process owns all of them; the
//! functions are fixed all the same, because a month's partitions never change once its row is
//! written.
//!
//! An event's owner decides about duplicates, sums and the record; a user's owner keeps the user
//! sets, a device's owner the device sets. Tags are random, so their top bits are the hash, and the
//! members of a partition are one range of a sorted run. Neighboring partitions of events make a
//! group, and a batch is cut into a piece for each group: whoever owns the group judges its piece
//! without knowing of the others, because two rows of one event are always in one piece.

use crate::model::batch::{Batch, Claim, SiteMonth};
use crate::model::ids::ShortTag;
use crate::store::shapes::DetailsWriter;

/// The partition that owns an event: by its seen tag, which is made of (site, producer, event id).
pub fn of_event(seen: ShortTag, partitions: u16) -> u16 {
    scaled(seen, partitions)
}

/// The partition that owns a user or a device in its set.
pub fn of_member(tag: ShortTag, partitions: u16) -> u16 {
    scaled(tag, partitions)
}

/// The group, of so many, that an event's partition belongs to.
fn group_of(seen: ShortTag, partitions: u16, groups: u16) -> u16 {
    let partitions = partitions.max(1);
    let at = u32::from(of_event(seen, partitions)) * u32::from(groups) / u32::from(partitions);
    u16::try_from(at).unwrap_or(0)
}

fn scaled(tag: ShortTag, partitions: u16) -> u16 {
    let at = (u128::from(tag.prefix()) * u128::from(partitions)) >> 64;
    u16::try_from(at).unwrap_or(0)
}

/// The piece that each row of a batch went into; empty where the batch is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order(Vec<u16>);

impl Order {
    /// What was said of the rows of each piece, in the order of the batch's rows.
    pub fn join<T>(&self, mut pieces: Vec<Vec<T>>) -> Vec<T> {
        if self.0.is_empty() {
            return pieces.pop().unwrap_or_default();
        }
        let mut pieces: Vec<_> = pieces.into_iter().map(Vec::into_iter).collect();
        let next = |piece: &u16| pieces.get_mut(usize::from(*piece)).and_then(Iterator::next);
        self.0.iter().filter_map(next).collect()
    }

    /// What is known of the batch's rows, by pieces.
    pub fn split<T: Copy>(&self, rows: &[T]) -> Vec<Vec<T>> {
        if self.0.is_empty() {
            return vec![rows.to_vec()];
        }
        let count = self.0.iter().max().map_or(0, |last| usize::from(*last) + 1);
        let mut pieces = vec![Vec::new(); count];
        for (piece, row) in self.0.iter().zip(rows) {
            pieces[usize::from(*piece)].push(*row);
        }
        pieces
    }
}

/// Cuts a batch by groups of event partitions; who sent its rows is no part of a piece. A month has
/// as many partitions as its row says. With one group, or rows of one group, the batch is whole.
pub fn cut(
    batch: Batch,
    groups: u16,
    partitions: impl Fn(SiteMonth) -> u16,
) -> (Vec<Batch>, Order) {
    if groups <= 1 {
        return (vec![batch], Order::default());
    }
    let counts: Vec<u16> = batch.months.iter().map(|at| partitions(*at)).collect();
    let of = |claim: &Claim| {
        let partitions = counts.get(usize::from(claim.month)).copied().unwrap_or(1);
        group_of(claim.seen, partitions, groups)
    };
    let owners: Vec<u16> = batch.claims.iter().map(of).collect();
    let mut found = owners.clone();
    found.sort_unstable();
    found.dedup();
    if found.len() <= 1 {
        return (vec![batch], Order::default());
    }
    let place = |owner: &u16| found.binary_search(owner).map_or(0, |at| at as u16);
    let order: Vec<u16> = owners.iter().map(place).collect();
    let pieces = (0..found.len()).map(|piece| piece_of(&batch, &order, piece as u16)).collect();
    (pieces, Order(order))
}

/// The rows of a batch that go into one piece, with the months, days and words that they have.
fn piece_of(batch: &Batch, order: &[u16], piece: u16) -> Batch {
    let is_in = |row: usize| order.get(row) == Some(&piece);
    let mut writer = DetailsWriter::with_capacity(order.len() / 2);
    writer.copy_some(&batch.details, is_in);
    let mut out =
        Batch { details: writer.finish(), suppressions: batch.suppressions, ..Batch::default() };
    for (_, claim) in batch.claims.iter().enumerate().filter(|(row, _)| is_in(*row)) {
        let mut claim = *claim;
        let month = usize::from(claim.month);
        if let Some(at) = batch.months.get(month) {
            claim.month = out.month_index(*at).unwrap_or_default();
            if let Some(group) = batch.group_of(month) {
                out.set_group(claim.month, group);
            }
        }
        if let Some(day) = batch.days.get(usize::from(claim.day)) {
            claim.day = out.day_index(*day).unwrap_or_default();
        }
        out.claims.push(claim);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::batch::{self as format, tests::batch};

    #[test]
    fn partitions_cover_the_whole_range_in_order() {
        assert_eq!(of_event(ShortTag([0; 12]), 256), 0);
        assert_eq!(of_event(ShortTag([255; 12]), 256), 255);
        assert_eq!(of_member(ShortTag([128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 256), 128);
    }

    #[test]
    fn groups_are_neighbors_and_all_have_partitions() {
        let tag = |top: u8| ShortTag([top, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for groups in [1, 2, 3, 7, 256] {
            let all: Vec<u16> = (0..=255).map(|top| group_of(tag(top), 256, groups)).collect();
            assert!(all.is_sorted());
            let mut found = all.clone();
            found.dedup();
            assert_eq!(found, (0..groups).collect::<Vec<_>>());
        }
        // A month of few partitions has few groups.
        assert!((0..=255).all(|top| [0, 4].contains(&group_of(tag(top), 2, 8))));
    }

    #[test]
    fn one_group_leaves_a_batch_as_it_is() {
        let (pieces, order) = cut(Batch::default(), 1, |_| 256);
        assert_eq!((pieces, &order), (vec![Batch::default()], &Order::default()));
        assert_eq!(order.join(vec![vec![1, 2]]), [1, 2]);
        assert_eq!(order.split(&[1, 2]), [vec![1, 2]]);
        assert_eq!(cut(Batch::default(), 9, |_| 256).0.len(), 1, "a batch without rows is one");
    }

    /// Everything of a row, whatever its batch has together.
    fn rows(batch: &Batch) -> Vec<String> {
        let words: Vec<_> = batch.details.words().collect();
        let details = batch.details.rows();
        let row = |(claim, (shape, numbers, values)): (&Claim, (u32, &[u32], &[u8]))| {
            let (month, day) = (usize::from(claim.month), usize::from(claim.day));
            let bare = Claim { month: 0, day: 0, ..*claim };
            let group = batch.group_of(month).filter(|_| claim.group.is_some());
            let names = (batch.months[month], group, batch.days[day]);
            let words: Vec<_> = numbers.iter().map(|number| words[*number as usize]).collect();
            let shape = &batch.details.shapes[shape as usize];
            format!("{bare:?} {names:?} {shape:?} {words:?} {values:?}")
        };
        batch.claims.iter().zip(details).map(row).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Pieces hold all rows as they were, each where its event belongs and readable by itself,
        /// and what is said of them finds its way back.
        #[test]
        fn a_cut_batch_is_the_same_rows((batch, _) in batch(), groups in 2..40u16, few: bool) {
            let partitions = if few { 3 } else { 256 };
            let (pieces, order) = cut(batch.clone(), groups, |_| partitions);
            prop_assert_eq!(order.join(pieces.iter().map(rows).collect()), rows(&batch));
            let numbers: Vec<usize> = (0..batch.claims.len()).collect();
            prop_assert_eq!(order.join(order.split(&numbers)), numbers);
            let mut owner_of = BTreeMap::new();
            for (nth, piece) in pieces.iter().enumerate() {
                prop_assert_eq!(&format::decode(&format::encode(piece)).unwrap(), piece);
                prop_assert!(pieces.len() == 1 || !piece.claims.is_empty());
                for claim in &piece.claims {
                    let group = group_of(claim.seen, partitions, groups);
                    prop_assert_eq!(*owner_of.entry(group).or_insert(nth), nth);
                }
            }
            prop_assert_eq!(owner_of.len(), pieces.len() - usize::from(batch.claims.is_empty()));
        }
    }
}
