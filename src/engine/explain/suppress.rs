//! Small parts of a breakdown are not shown, and neither is what they could be had from.
//!
//! Totals stay exact, since they are the bill. So a small part that alone is missing from a total
//! could be had by subtraction, and others are left out with it. What anybody can make of the known
//! totals are their linear combinations. A combination is about too few when all parts of it that
//! are not shown are together about too few subjects; which ones there are is a question of ranks,
//! and it is answered exactly, over a prime field.
//!
//! The parts that lie in the same totals can only be had together, so they are one column; a
//! breakdown has some dozens of those at most, however many parts it has.

use std::collections::{BTreeMap, BTreeSet};

use super::crowd::Few;
use crate::model::explained::Part;

/// The prime that the totals are reduced by. Their entries are zeros and ones; no determinant of
/// twenty of them (Hadamard's bound: 2⁻²⁰ · 21^10.5) reaches it.
const PRIME: u64 = (1 << 31) - 1;

/// Sets of too few subjects that are looked at one by one. Where there are more, all small parts
/// are taken for parts about the same subjects: that leaves out more, and never less.
const SETS_MAX: usize = 256;

/// Which counts are left out, where their sum is known, and whom each is about. `unsaid` is a place
/// that is left out in any case.
pub fn ranges(of: &[u64], about: &[Few], least: u64, unsaid: Option<usize>) -> Vec<bool> {
    let is_few = |few: &Few| (few.len() as u64) < least;
    let counts = of.iter().zip(about).enumerate();
    let is_out = counts.map(|(at, (of, few))| Some(at) == unsaid || *of > 0 && is_few(few));
    let mut hidden: Vec<bool> = is_out.collect();
    loop {
        let out = || (0..hidden.len()).filter(|at| hidden[*at] && of[*at] > 0);
        let subjects: Few = out().flat_map(|at| &about[at]).copied().collect();
        // A small one that is alone is less than enough, so this is more than one.
        if out().next().is_none() || !is_few(&subjects) {
            return hidden;
        }
        let shown = (0..hidden.len()).filter(|at| !hidden[*at] && of[*at] > 0);
        let Some(smallest) = shown.min_by_key(|at| of[*at]) else { return hidden };
        hidden[smallest] = true;
    }
}

/// Which parts are left out, where each of these totals (the places of their parts) is known. What
/// is safe among the totals of one stage stays so in the next one, which may know more.
pub fn parts(of: &[&Part], stages: &[Vec<Vec<usize>>], least: u64) -> Vec<bool> {
    let mut hidden: Vec<bool> = of.iter().map(|part| part.subjects() < least).collect();
    for totals in stages {
        let mut columns = columns(of.len(), totals);
        for column in &mut columns {
            column.split(of, &hidden, least);
        }
        for subjects in few(&columns, least) {
            // Where the sets were too many, all that is small is looked at together.
            let is_of = |column: &Column| match &subjects {
                Some(subjects) => column.subjects.is_subset(subjects),
                None => (column.subjects.len() as u64) < least,
            };
            for at in beside(&columns, is_of) {
                hidden[at] = true;
                if let Some(column) = columns.iter_mut().find(|column| column.parts.contains(&at)) {
                    column.split(of, &hidden, least);
                }
            }
        }
    }
    hidden
}

/// The parts that lie in the same totals.
struct Column {
    /// In which of them they lie: zeros and ones.
    entries: Row,
    parts: Vec<usize>,
    /// Whether some of them are left out, and whom those are about.
    is_hidden: bool,
    subjects: BTreeSet<u64>,
    /// The smallest one that is not: its records, and its place.
    smallest: Option<(u64, usize)>,
}

/// Numbers, one for each total.
type Row = Vec<u64>;

/// The columns of so many parts.
fn columns(parts: usize, totals: &[Vec<usize>]) -> Vec<Column> {
    let totals: Vec<BTreeSet<&usize>> = totals.iter().map(|total| total.iter().collect()).collect();
    let mut alike: BTreeMap<Row, Vec<usize>> = BTreeMap::new();
    for at in 0..parts {
        let entries = totals.iter().map(|total| u64::from(total.contains(&at))).collect();
        alike.entry(entries).or_default().push(at);
    }
    let column = |(entries, parts)| Column {
        entries,
        parts,
        is_hidden: false,
        subjects: BTreeSet::new(),
        smallest: None,
    };
    alike.into_iter().map(column).collect()
}

impl Column {
    /// Tells apart what is left out and what is not.
    fn split(&mut self, of: &[&Part], hidden: &[bool], least: u64) {
        let (out, shown): (Vec<usize>, Vec<usize>) = self.parts.iter().partition(|at| hidden[**at]);
        self.is_hidden = !out.is_empty();
        self.smallest = shown.into_iter().map(|at| (of[at].records, at)).min();
        self.subjects.clear();
        for at in out {
            self.subjects.extend(of[at].subjects.iter().map(|subject| u64::from(*subject)));
            // Each is somebody of its own; more than enough need no telling apart.
            let first = (at as u64 + 1) << u32::BITS;
            self.subjects.extend((0..of[at].nameless.min(least)).map(|one| first | one));
        }
    }
}

/// The sets of fewer than enough subjects that some columns are together about. Safe for a set is
/// safe for each set within it.
fn few(columns: &[Column], least: u64) -> Vec<Option<BTreeSet<u64>>> {
    let mut sets = BTreeSet::from([BTreeSet::new()]);
    for column in columns.iter().filter(|column| column.is_hidden) {
        let joined: Vec<BTreeSet<u64>> = sets.iter().map(|set| set | &column.subjects).collect();
        sets.extend(joined.into_iter().filter(|set| (set.len() as u64) < least));
        if sets.len() > SETS_MAX {
            return vec![None];
        }
    }
    sets.into_iter().map(Some).collect()
}

/// A column that others were taken off, and how often each of them was.
struct Reduced {
    rest: Row,
    pivot: usize,
    taken: BTreeMap<usize, u64>,
}

/// The parts that must be left out beside some hidden columns so that no combination of the totals
/// has, of what is not shown, parts of theirs only; but for those that have nothing else in them,
/// which nothing can hide.
///
/// A combination is nothing in all other columns and something in theirs as long as one of theirs
/// does not follow from the others. So each is written as a sum of others, of hidden ones first,
/// and then of those that have the smallest parts; what it takes of these is left out with it.
fn beside(columns: &[Column], is_theirs: impl Fn(&Column) -> bool) -> BTreeSet<usize> {
    let is_inside = |column: &Column| column.is_hidden && is_theirs(column);
    let (inside, outside): (Vec<&Column>, Vec<&Column>) =
        columns.iter().filter(|column| column.is_hidden).partition(|column| is_inside(column));
    let mut shown: Vec<((u64, usize), &Column)> =
        columns.iter().filter_map(|column| Some((column.smallest?, column))).collect();
    shown.sort_unstable_by_key(|(smallest, _)| *smallest);
    let costs: Vec<Option<usize>> = outside
        .iter()
        .map(|_| None)
        .chain(shown.iter().map(|((_, at), _)| Some(*at)))
        .chain(inside.iter().map(|_| None))
        .collect();
    let first_inside = costs.len() - inside.len();
    let all = outside.into_iter().chain(shown.iter().map(|(_, column)| *column)).chain(inside);
    let mut basis: Vec<Reduced> = Vec::new();
    let mut out = BTreeSet::new();
    for (number, column) in all.enumerate() {
        let reduced = reduce(&column.entries, number, &basis);
        match reduced.rest.get(reduced.pivot) {
            Some(_) => basis.push(reduced),
            None if number >= first_inside => {
                out.extend(reduced.taken.keys().filter_map(|number| costs[*number]));
            }
            None => {}
        }
    }
    out
}

/// Takes the columns of a basis off one; its pivot is behind its end where nothing is left.
fn reduce(entries: &Row, number: usize, basis: &[Reduced]) -> Reduced {
    let mut rest = entries.clone();
    let mut taken = BTreeMap::from([(number, 1)]);
    for of in basis {
        let factor = times(rest[of.pivot], inverse(of.rest[of.pivot]));
        if factor == 0 {
            continue;
        }
        for (entry, other) in rest.iter_mut().zip(&of.rest) {
            *entry = minus(*entry, times(factor, *other));
        }
        for (number, often) in &of.taken {
            let entry = taken.entry(*number).or_default();
            *entry = minus(*entry, times(factor, *often));
        }
        taken.retain(|_, often| *often != 0);
    }
    let pivot = rest.iter().position(|entry| *entry != 0).unwrap_or(rest.len());
    Reduced { rest, pivot, taken }
}

fn times(left: u64, right: u64) -> u64 {
    left * right % PRIME
}

fn minus(left: u64, right: u64) -> u64 {
    (left + PRIME - right) % PRIME
}

/// By Fermat's little theorem.
fn inverse(of: u64) -> u64 {
    let (mut square, mut product, mut exponent) = (of, 1, PRIME - 2);
    while exponent > 0 {
        if exponent & 1 == 1 {
            product = times(product, square);
        }
        square = times(square, square);
        exponent >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(records: u64, subjects: impl IntoIterator<Item = u32>) -> Part {
        Part { records, subjects: subjects.into_iter().collect(), nameless: 0 }
    }

    fn hide(of: &[Part], totals: &[Vec<usize>]) -> Vec<bool> {
        parts(&of.iter().collect::<Vec<_>>(), &[totals.to_vec()], 10)
    }

    /// Check 19 of the privacy study.
    #[test]
    fn check_19_one_subject_fewer_than_enough_is_not_shown() {
        let all = |first: u32| {
            [part(99, 0..first), part(99, 100..109), part(500, 200..230), part(600, 300..330)]
        };
        let total = [vec![0, 1, 2, 3]];
        assert_eq!(hide(&all(9), &total), [true, true, false, false]);
        // Ten are enough; the other one would be alone, and the ten go with it.
        assert_eq!(hide(&all(10), &total), [true, true, false, false]);
        assert_eq!(hide(&all(10), &[]), [false, true, false, false]);
        let shown = [part(99, 0..10), part(500, 200..230)];
        assert_eq!(hide(&shown, &[vec![0, 1]]), [false, false]);
        let next = std::cell::Cell::new(0);
        let own = |of: &u64| -> Few {
            let first = next.replace(next.get() + *of as u32);
            (first..next.get()).take(10).collect()
        };
        let each = |of: &[u64]| -> Vec<Few> { of.iter().map(own).collect() };
        let ranges = |of: &[u64]| ranges(of, &each(of), 10, None);
        assert_eq!(ranges(&[0, 10, 40, 30, 0]), [false; 5]);
        assert_eq!(ranges(&[0, 9, 40, 30, 0]), [false, true, false, true, false]);
        assert_eq!(ranges(&[0, 9, 0, 0, 0]), [false, true, false, false, false]);
        assert_eq!(ranges(&[6, 6, 40]), [true, true, false]);
        let unsaid = |of: &[u64]| super::ranges(of, &each(of), 10, Some(0));
        assert_eq!(unsaid(&[12, 40, 30]), [true, false, false]);
        assert_eq!(unsaid(&[12, 4, 30]), [true, true, false]);
        assert_eq!(unsaid(&[2, 40, 30]), [true, false, true]);
        assert_eq!(unsaid(&[0, 40, 30]), [true, false, false]);
    }

    /// Sessions and devices are many, and may be one person's.
    #[test]
    fn a_range_is_about_subjects_and_not_about_members() {
        let (one, many) = (Few::from([7]), (10..20).collect::<Few>());
        let others: Few = (30..40).collect();
        let hide = |of: &[u64], about: &[Few]| ranges(of, about, 10, None);
        assert_eq!(hide(&[12, 40], &[one.clone(), many.clone()]), [true, true]);
        assert_eq!(hide(&[12, 40, 60], &[one, many, others]), [true, true, false]);
        let nine: [Few; 3] = [(0..9).collect(), (0..9).collect(), (10..20).collect()];
        assert_eq!(hide(&[9, 9, 70], &nine), [true; 3], "the two are about the same nine");
    }

    #[test]
    fn nobody_is_had_by_subtraction() {
        // A square whose rows and columns are known: one small part takes three others with it.
        let rows_and_columns = [vec![0, 1], vec![2, 3], vec![0, 2], vec![1, 3]];
        let square = [part(1, 0..1), part(50, 10..60), part(60, 100..160), part(70, 200..270)];
        assert_eq!(hide(&square, &rows_and_columns), [true; 4]);
        // Two parts about one and the same person are not enough for their sum.
        let twice = [part(5, 0..1), part(6, 0..1), part(50, 10..60), part(40, 100..140)];
        assert_eq!(hide(&twice, &[vec![0, 1, 2, 3]]), [true, true, false, true]);
        // `a` and `b` are two parts about one and the same person, in none of the totals together.
        // From `a + c` and `c − b`, which is `c + d` less `b + d`, follows `a + b`.
        let of = [part(5, 0..1), part(6, 0..1), part(50, 10..60), part(40, 100..140)];
        let more = [part(70, 200..270), part(80, 300..380)];
        let totals = [vec![0, 2, 4, 5], vec![2, 3, 4], vec![1, 3, 5]];
        let hidden = hide(&[of.to_vec(), more.to_vec()].concat(), &totals);
        assert_eq!(hidden[..2], [true, true]);
        assert_eq!(exposed(&totals, &hidden, &[0, 1]), exposed(&totals, &[true; 6], &[0, 1]));
    }

    /// How many combinations of the totals have, of what is left out, parts of these only: the
    /// rank of all of that less the rank of what is not theirs, over the rational numbers.
    fn exposed(totals: &[Vec<usize>], hidden: &[bool], theirs: &[usize]) -> usize {
        let rank_of = |wanted: &dyn Fn(usize) -> bool| -> usize {
            let columns: Vec<usize> = (0..hidden.len()).filter(|at| wanted(*at)).collect();
            let row = |total: &Vec<usize>| -> Vec<i128> {
                columns.iter().map(|at| i128::from(total.contains(at))).collect()
            };
            rank(totals.iter().map(row).collect(), columns.len())
        };
        rank_of(&|at| hidden[at]) - rank_of(&|at| hidden[at] && !theirs.contains(&at))
    }

    /// By elimination without fractions; the numbers stay small, since the matrices do.
    fn rank(mut rows: Vec<Vec<i128>>, width: usize) -> usize {
        let mut done = 0;
        for column in 0..width {
            let Some(at) = (done..rows.len()).find(|at| rows[*at][column] != 0) else { continue };
            rows.swap(done, at);
            let own = rows[done].clone();
            for row in &mut rows[done + 1..] {
                let factor = row[column];
                for (entry, other) in row.iter_mut().zip(&own) {
                    *entry = *entry * own[column] - other * factor;
                }
            }
            done += 1;
        }
        done
    }

    #[test]
    fn what_is_known_elsewhere_does_not_open_what_is_safe_here() {
        let of = [part(9, 0..9), part(12, 10..22), part(40, 30..70)];
        let by_stages =
            |stages: &[Vec<Vec<usize>>]| parts(&of.iter().collect::<Vec<_>>(), stages, 10);
        let (here, elsewhere) = (vec![vec![0, 1, 2]], vec![vec![0], vec![1, 2], vec![0, 1, 2]]);
        assert_eq!(by_stages(std::slice::from_ref(&elsewhere)), [true, false, false]);
        // What is known of the second part there is about enough.
        assert_eq!(by_stages(&[here, elsewhere]), [true, true, false]);
    }

    /// What nothing can hide takes nothing with it.
    #[test]
    fn what_the_totals_say_themselves_is_said() {
        let of = [part(3, 0..3), part(50, 10..60), part(60, 100..160)];
        assert_eq!(hide(&of, &[vec![0], vec![0, 1, 2]]), [true, false, false]);
        let of = [part(3, 0..3), part(2, 0..2), part(50, 10..60), part(60, 100..160)];
        assert_eq!(hide(&of, &[vec![0, 1], vec![0, 1, 2, 3]]), [true, true, false, false]);
    }

    /// Every kind of licence request, and one small one in each few hundred; then all of them
    /// about ten users.
    #[test]
    fn very_many_parts_are_few_columns() {
        let places = || 0..2_592usize;
        let by = |wanted: &dyn Fn(usize) -> bool| places().filter(|at| wanted(*at)).collect();
        let mut totals: Vec<Vec<usize>> = vec![by(&|_| true), by(&|at| at < 864)];
        totals.extend((0..8).map(|drm| by(&|at| at < 864 && at % 8 == drm)));
        totals.push(by(&|at| at < 864 && at % 3 == 1));
        let first = |at: usize| at as u32 * 10;
        let of: Vec<Part> = places()
            .map(|at| if at % 324 == 7 { 1 } else { 10 + at as u32 % 5 })
            .zip(places().map(first))
            .map(|(subjects, first)| part(u64::from(subjects) * 2, first..first + subjects))
            .collect();
        assert_eq!(columns(of.len(), &totals).len(), 17);
        let hidden = hide(&of, &totals);
        let left_out = hidden.iter().filter(|hidden| **hidden).count();
        assert!((9..=24).contains(&left_out), "{left_out}");
        let same: Vec<Part> =
            places().map(|at| part(9, (0..10).filter(|user| at % 10 != *user as usize))).collect();
        assert_eq!(hide(&same, &totals), [true; 2_592]);
    }

    proptest! {
        /// Against all sets of parts that are left out: where one is about too few, nobody has more
        /// sums of it alone than the totals themselves are.
        #[test]
        fn nothing_can_be_had_that_is_about_too_few(
            of in proptest::collection::vec(
                (1u64..50, proptest::collection::btree_set(0u32..9, 1..7), 0u64..8), 3..9,
            ),
            bits in proptest::collection::vec(any::<u16>(), 1..6),
        ) {
            let of: Vec<Part> = of
                .into_iter()
                .map(|(records, subjects, nameless)| Part {
                    records,
                    subjects: subjects.into_iter().collect(),
                    nameless: nameless / 7,
                })
                .collect();
            let totals: Vec<Vec<usize>> = bits
                .iter()
                .map(|bits| (0..of.len()).filter(|at| bits >> at & 1 == 1).collect())
                .collect();
            let hidden = parts(&of.iter().collect::<Vec<_>>(), std::slice::from_ref(&totals), 4);
            let out: Vec<usize> = (0..of.len()).filter(|at| hidden[*at]).collect();
            for set in 1..1u32 << out.len() {
                let member = |(bit, at): (usize, &usize)| (set >> bit & 1 == 1).then_some(*at);
                let set: Vec<usize> = out.iter().enumerate().filter_map(member).collect();
                let subjects: BTreeSet<u32> =
                    set.iter().flat_map(|at| &of[*at].subjects).copied().collect();
                let nameless: u64 = set.iter().map(|at| of[*at].nameless).sum();
                if subjects.len() as u64 + nameless < 4 {
                    let always = exposed(&totals, &vec![true; of.len()], &set);
                    let found = exposed(&totals, &hidden, &set);
                    prop_assert_eq!(found, always, "{:?} {:?}", &set, &hidden);
                }
            }
            for (part, hidden) in of.iter().zip(&hidden) {
                prop_assert!(*hidden || part.subjects() >= 4);
            }
        }

        /// Seen as a graph, whose nodes are rows and columns and whose edges are the parts that are
        /// left out, a part is safe where another way leads from its row to its column.
        #[test]
        fn every_part_that_is_left_out_could_be_another_number(
            counts in proptest::collection::vec(1u32..40, 12),
        ) {
            let part_of = |(at, n): (usize, &u32)| {
                part(u64::from(*n) * 2, (0..*n).map(move |s| s + 100 * at as u32))
            };
            let of: Vec<Part> = counts.iter().enumerate().map(part_of).collect();
            // Three rows and four columns.
            let columns = (0..4).map(|column| (0..3).map(|row| row * 4 + column).collect());
            let rows = (0..3).map(|row| (row * 4..row * 4 + 4).collect());
            let hidden = hide(&of, &rows.chain(columns).collect::<Vec<Vec<usize>>>());
            for at in (0..12).filter(|at| hidden[*at]) {
                let edges: Vec<_> = (0..12).filter(|x| hidden[*x] && *x != at).collect();
                let mut reached = BTreeSet::from([at / 4]);
                for _ in 0..12 {
                    for edge in &edges {
                        let ends = [edge / 4, 10 + edge % 4];
                        if ends.iter().any(|end| reached.contains(end)) {
                            reached.extend(ends);
                        }
                    }
                }
                prop_assert!(reached.contains(&(10 + at % 4)), "{counts:?} {hidden:?} {at}");
            }
            for (at, n) in counts.iter().enumerate() {
                prop_assert!(hidden[at] || *n >= 10);
            }
            prop_assert!(counts.iter().any(|n| *n < 10) || !hidden.contains(&true));
        }
    }
}
