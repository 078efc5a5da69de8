//! Small parts of a breakdown are not shown, and neither is what they could be had from.
//!
//! Totals stay exact, since they are the bill. So a part that alone is missing from a total could
//! be had by subtraction: then others are left out with it, the smallest first, until every sum of
//! them that anybody can make has subjects enough and more than one part. Which sums anybody can
//! make is a question of linear algebra over the known totals; it is answered exactly.

use std::collections::BTreeSet;

use crate::model::explained::Part;

/// The prime that the sums are reduced by. The entries of the totals are zeros and ones, and no
/// determinant of theirs comes near it.
const PRIME: u64 = (1 << 61) - 1;

/// Parts that are left out beside small ones before nothing at all is shown. A few for each total
/// are enough; this bounds the work for breakdowns that are made to have very many parts.
const STEPS_MAX: usize = 64;

/// Which counts are left out, where their sum is known and each is about as many as it says.
/// `unsaid` is a place that is left out in any case.
pub fn ranges(of: &[u64], least: u64, unsaid: Option<usize>) -> Vec<bool> {
    let is_out = |(at, count): (usize, &u64)| Some(at) == unsaid || (1..least).contains(count);
    let mut hidden: Vec<bool> = of.iter().enumerate().map(is_out).collect();
    loop {
        let out = of.iter().zip(&hidden).filter(|(_, hidden)| **hidden);
        let members: u64 = out.map(|(count, _)| *count).sum();
        // A small one that is alone is less than enough, so this is more than one.
        if members == 0 || members >= least {
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
        let row = |total: &Vec<usize>| -> Row {
            (0..of.len()).map(|at| u64::from(total.contains(&at))).collect()
        };
        let rows: Vec<Row> = totals.iter().map(row).collect();
        let known = reduced(rows.clone());
        let mut steps = 0;
        while let Some(next) = neighbor(of, (&rows, &known), &hidden, least) {
            hidden[next] = true;
            steps += 1;
            if steps == STEPS_MAX {
                return vec![true; of.len()];
            }
        }
    }
    hidden
}

/// The smallest part that must be left out beside those that are; `None` when they are safe.
fn neighbor(
    of: &[&Part],
    (totals, known): (&[Row], &[Row]),
    hidden: &[bool],
    least: u64,
) -> Option<usize> {
    let smallest = |at: &usize| of[*at].records;
    let shown = || (0..of.len()).filter(|at| !hidden[*at]);
    let open = exposed(of, totals, hidden, least);
    // What follows from the totals alone cannot be hidden.
    let beside = open.iter().filter(|sum| !follows(sum, known)).filter_map(|sum| {
        let is_near = |at: &usize| {
            let common = |row: &Row| row.iter().zip(sum).any(|(row, sum)| *row > 0 && *sum > 0);
            totals.iter().any(|row| row[*at] > 0 && common(row))
        };
        shown().filter(is_near).min_by_key(smallest).or_else(|| shown().min_by_key(smallest))
    });
    beside.min_by_key(smallest)
}

/// A sum of parts: the factor of each.
type Row = Vec<u64>;

/// Sums of hidden parts that follow from the totals and are about too few.
fn exposed(of: &[&Part], totals: &[Row], hidden: &[bool], least: u64) -> Vec<Row> {
    let masked = |row: &Row| -> Row {
        row.iter().zip(hidden).map(|(entry, hidden)| if *hidden { *entry } else { 0 }).collect()
    };
    let rows: Vec<Row> = totals.iter().map(masked).collect();
    let sums: BTreeSet<Row> = rows.iter().cloned().chain(reduced(rows.clone())).collect();
    sums.into_iter().filter(|sum| is_small(of, sum, least)).collect()
}

/// Whether a sum is about too few, or is one part alone.
fn is_small(of: &[&Part], sum: &Row, least: u64) -> bool {
    let parts: Vec<&Part> =
        sum.iter().zip(of).filter(|(entry, _)| **entry > 0).map(|(_, part)| *part).collect();
    let subjects: BTreeSet<u32> = parts.iter().flat_map(|part| &part.subjects).copied().collect();
    let nameless: u64 = parts.iter().map(|part| part.nameless).sum();
    parts.len() == 1 || !parts.is_empty() && subjects.len() as u64 + nameless < least
}

/// Whether a sum follows from rows in reduced form.
fn follows(sum: &Row, rows: &[Row]) -> bool {
    let mut rest = sum.clone();
    for row in rows {
        let Some(pivot) = row.iter().position(|entry| *entry != 0) else { continue };
        let factor = rest[pivot];
        subtract(&mut rest, row, factor);
    }
    rest.iter().all(|entry| *entry == 0)
}

/// Takes so many times another row off a row.
fn subtract(row: &mut Row, other: &Row, factor: u64) {
    for (entry, other) in row.iter_mut().zip(other) {
        *entry = (*entry + PRIME - times(*other, factor)) % PRIME;
    }
}

/// The reduced echelon form of the rows: a single place is known where it has a row of its own.
fn reduced(mut rows: Vec<Row>) -> Vec<Row> {
    let width = rows.first().map_or(0, Vec::len);
    let mut done = 0;
    for column in 0..width {
        let Some(pivot) = (done..rows.len()).find(|at| rows[*at][column] != 0) else { continue };
        rows.swap(done, pivot);
        let inverse = power(rows[done][column], PRIME - 2);
        rows[done].iter_mut().for_each(|entry| *entry = times(*entry, inverse));
        let own = rows[done].clone();
        for (at, row) in rows.iter_mut().enumerate() {
            let factor = row[column];
            if at == done || factor == 0 {
                continue;
            }
            subtract(row, &own, factor);
        }
        done += 1;
    }
    rows
}

fn times(left: u64, right: u64) -> u64 {
    (u128::from(left) * u128::from(right) % u128::from(PRIME)) as u64
}

fn power(base: u64, mut exponent: u64) -> u64 {
    let (mut square, mut product) = (base, 1);
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
        let ranges = |of: &[u64]| ranges(of, 10, None);
        assert_eq!(ranges(&[0, 10, 40, 30, 0]), [false; 5]);
        assert_eq!(ranges(&[0, 9, 40, 30, 0]), [false, true, false, true, false]);
        assert_eq!(ranges(&[0, 9, 0, 0, 0]), [false, true, false, false, false]);
        assert_eq!(ranges(&[6, 6, 40]), [true, true, false]);
        let unsaid = |of: &[u64]| super::ranges(of, 10, Some(0));
        assert_eq!(unsaid(&[12, 40, 30]), [true, false, false]);
        assert_eq!(unsaid(&[12, 4, 30]), [true, true, false]);
        assert_eq!(unsaid(&[2, 40, 30]), [true, false, true]);
        assert_eq!(unsaid(&[0, 40, 30]), [true, false, false]);
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
        // Two cycles and a bridge between them: each row and column lacks two and more, and the
        // bridge would still be known.
        let edges = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 2), (2, 3), (3, 2), (3, 3)];
        let many: Vec<Part> = (0..9).map(|at| part(9, at * 20..at * 20 + 9)).collect();
        let line = |row: bool, of: usize| -> Vec<usize> {
            let here = |(at, edge): (usize, &(usize, usize))| {
                (if row { edge.0 } else { edge.1 } == of).then_some(at)
            };
            edges.iter().enumerate().filter_map(here).collect()
        };
        let totals: Vec<Vec<usize>> =
            [true, false].into_iter().flat_map(|row| (0..4).map(move |of| line(row, of))).collect();
        let references: Vec<&Part> = many.iter().collect();
        let rows =
            totals.iter().map(|total| (0..9).map(|at| u64::from(total.contains(&at))).collect());
        let open = exposed(&references, &rows.collect::<Vec<Row>>(), &[true; 9], 10);
        let alone = |at: usize| open.iter().any(|sum| (0..9).all(|x| (sum[x] > 0) == (x == at)));
        assert!(alone(4) && !alone(0), "{open:?}");
    }

    #[test]
    fn what_is_known_elsewhere_does_not_open_what_is_safe_here() {
        let of = [part(9, 0..9), part(12, 10..22), part(40, 30..70)];
        let by_stages =
            |stages: &[Vec<Vec<usize>>]| parts(&of.iter().collect::<Vec<_>>(), stages, 10);
        let (here, elsewhere) = (vec![vec![0, 1, 2]], vec![vec![0], vec![1, 2], vec![0, 1, 2]]);
        assert_eq!(by_stages(std::slice::from_ref(&elsewhere)), [true, false, false]);
        assert_eq!(by_stages(&[here, elsewhere]), [true, true, true]);
    }

    /// What nothing can hide takes nothing with it.
    #[test]
    fn what_the_totals_say_themselves_is_said() {
        let of = [part(3, 0..3), part(50, 10..60), part(60, 100..160)];
        assert_eq!(hide(&of, &[vec![0], vec![0, 1, 2]]), [true, false, false]);
        let of = [part(3, 0..3), part(2, 0..2), part(50, 10..60), part(60, 100..160)];
        assert_eq!(hide(&of, &[vec![0, 1], vec![0, 1, 2, 3]]), [true, true, false, false]);
    }

    proptest! {
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
