//! What the ledger tells of the past is read once, and a statement agrees with every line of it.

use super::*;
use crate::ledger::{Digest, Word};
use crate::wire::retention::rows::ToldRow;

const ROUTE: &str = "/v1/ledger";

fn reads(world: &World, count: usize) {
    let event = || Event::PrivilegedRead { route: Word::of(ROUTE), site: None };
    let entry = || Entry::new(world.clock.now(), Actor::Server, event());
    let entries: Vec<Entry> = std::iter::repeat_with(entry).take(count).collect();
    world.ledger.append_all(&entries).unwrap();
}

/// What a statement says of it: reads, policies, and the entries that it is of.
async fn stated(world: &World) -> (u64, usize, u64) {
    let text = world.desk.evidence(&caller(Role::Auditor, 1)).await.unwrap();
    let stated: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let policies = stated["policy_history"].as_array().unwrap().len();
    let size = stated["ledger"]["size"].as_u64().unwrap();
    (stated["privileged_reads"][ROUTE].as_u64().unwrap_or(0), policies, size)
}

fn row(world: &World) -> Option<ToldRow> {
    let bytes = world.vault.with(|inside| inside.rows.get("told").cloned())?;
    Some(ToldRow::parse(&bytes).unwrap())
}

/// The same counted over all lines.
fn counted(world: &World, size: u64) -> u64 {
    let entries = world.entries();
    let is_read = |entry: &&Recorded| matches!(entry.event, Event::PrivilegedRead { .. });
    entries.iter().filter(|entry| entry.number < size).filter(is_read).count() as u64
}

#[tokio::test]
async fn a_statement_reads_what_came_since_the_last_run() {
    let mut world = World::at("2026-06-01T10:00:00Z");
    world.run().await.unwrap();
    reads(&world, 7);
    let (count, policies, size) = stated(&world).await;
    assert_eq!((count, policies), (counted(&world, size), 1));
    assert_eq!((count, row(&world)), (7, None), "too few to be written down");
    reads(&world, 130);
    world.run().await.unwrap();
    let kept = row(&world).unwrap();
    assert_eq!((kept.entries, kept.reads[ROUTE]), (world.ledger.head().unwrap().size, 137));
    reads(&world, 3);
    for _ in 0..2 {
        let (count, policies, size) = stated(&world).await;
        assert_eq!((count, policies), (140, 1));
        assert_eq!(count, counted(&world, size));
        world.restart();
    }
    // What the row has is not read again.
    let marked = ToldRow { reads: [(ROUTE.to_owned(), 9_000)].into(), ..kept.clone() };
    world.vault.with(|inside| inside.rows.insert("told".to_owned(), marked.to_bytes().unwrap()));
    world.restart();
    assert_eq!(stated(&world).await.0, 9_003);
    // Of another ledger, or of more of it than there is, it tells nothing.
    let other = Digest([7; 32]);
    for (entries, root) in [(kept.entries, other), (kept.entries + 1_000, kept.root)] {
        let foreign = ToldRow { entries, root, ..marked.clone() };
        let bytes = foreign.to_bytes().unwrap();
        world.vault.with(|inside| inside.rows.insert("told".to_owned(), bytes));
        world.restart();
        let (count, policies, size) = stated(&world).await;
        assert_eq!((count, policies), (counted(&world, size), 1));
        assert_eq!(row(&world).unwrap().reads[ROUTE], 140, "and is written anew");
    }
}

/// A reading that is given up half-way leaves nothing half added.
#[tokio::test]
async fn a_statement_that_nobody_waits_for_counts_nothing_twice() {
    let world = World::at("2026-06-01T10:00:00Z");
    world.run().await.unwrap();
    reads(&world, 60);
    for _ in 0..3 {
        let mut asked = Box::pin(stated(&world));
        // Polled once, so that it has begun.
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        assert!(asked.as_mut().poll(&mut context).is_pending());
        drop(asked);
    }
    let (count, _, size) = stated(&world).await;
    assert_eq!((count, counted(&world, size)), (60, 60));
}
