//! Owners of groups of event partitions, each an engine of its own that sees its pieces only.

use proptest::strategy::ValueTree;

use super::*;
use crate::engine::partition::{cut, of_event, of_member};

const OWNERS: u16 = 3;

fn random_rows(runner: &mut proptest::test_runner::TestRunner) -> Vec<(Row, i64)> {
    let rows = rows().new_tree(runner).unwrap().current();
    rows.into_iter().map(|row| (row, START - i64::from(row.hours_ago % 700) * HOUR)).collect()
}

/// Each owner decides about its events without the others: the verdicts are those of one process,
/// the sums of the owners are its sums, and users who are sent to the owners of their partitions,
/// as often as they come, are as many as it counts.
#[test]
fn owners_together_count_what_one_process_counts() {
    let mut one = World::new(settings(false));
    let owners: Vec<World> = (0..OWNERS).map(|_| World::new(settings(false))).collect();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut users: BTreeMap<SiteMonth, Vec<BTreeSet<[u8; 12]>>> = BTreeMap::new();
    for _ in 0..12 {
        let rows = random_rows(&mut runner);
        let (pieces, order) = cut(one.batch(&rows), OWNERS, |_| calendar::PARTITIONS);
        assert!(pieces.len() > 1);
        let mut verdicts = Vec::new();
        for piece in pieces {
            let owner = of_group(&piece);
            let owner = &owners[usize::from(owner)];
            // Its months and days get their keys there as they did in the other process.
            owner.batch(&rows);
            let claims = piece.claims.clone();
            let months = piece.months.clone();
            let committed = owner.engine().commit(piece, Vec::new(), None);
            let outcome = owner.runtime.block_on(committed).unwrap();
            for (claim, verdict) in claims.iter().zip(&outcome.verdicts) {
                if let Some(user) = claim.user
                    && verdict.is_taken()
                    && claim.effect.is_countable()
                {
                    let empty = || vec![BTreeSet::new(); usize::from(OWNERS)];
                    let sets = users.entry(months[usize::from(claim.month)]).or_insert_with(empty);
                    let partition = of_member(user, calendar::PARTITIONS);
                    sets[usize::from(partition * OWNERS / calendar::PARTITIONS)].insert(user.0);
                }
            }
            verdicts.push(outcome.verdicts);
        }
        let batch = one.batch(&rows);
        let whole = one.runtime.block_on(one.engine().commit(batch, Vec::new(), None)).unwrap();
        assert_eq!(order.join(verdicts), whole.verdicts);
    }
    let divided = |sets: &&Vec<BTreeSet<_>>| sets.iter().all(|set| !set.is_empty());
    assert!(users.values().filter(divided).count() > 1);
    for (at, sets) in &users {
        let site = one.site_of(*at);
        let usage = |of: &World| of.engine().usage(&site.id, at.month).unwrap().unwrap().tally;
        let counters = usage(&one).counters;
        let sum = |figure: fn(&crate::model::usage::Counters) -> u64| {
            owners.iter().map(|owner| figure(&usage(owner).counters)).sum::<u64>()
        };
        assert_eq!(sum(|of| of.records), counters.records);
        assert_eq!(sum(|of| of.licenses_issued), counters.licenses_issued);
        assert_eq!(sum(|of| of.duplicates), counters.duplicates);
        assert_eq!(sets.iter().map(|set| set.len() as u64).sum::<u64>(), counters.mau);
    }
    one.close();
    owners.into_iter().for_each(|mut owner| owner.close());
}

/// The group of a piece's rows.
fn of_group(piece: &Batch) -> u16 {
    let event =
        |claim: &Claim| of_event(claim.seen, calendar::PARTITIONS) * OWNERS / calendar::PARTITIONS;
    let first = event(&piece.claims[0]);
    assert!(piece.claims.iter().all(|claim| event(claim) == first));
    first
}
