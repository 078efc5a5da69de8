//! Rows that were put back from any earlier moment come to where the ledger is.

use std::collections::BTreeMap;

use super::*;
use crate::wire::retention::rows::ClockRow;

#[tokio::test]
async fn holds_and_clock_of_any_earlier_moment_come_to_where_the_ledger_is() {
    let world = World::at("2026-06-01T00:00:00Z");
    let mut moments: Vec<BTreeMap<String, Vec<u8>>> = Vec::new();
    let mut keep = || moments.push(world.vault.with(|inside| inside.rows.clone()));
    world.run().await.unwrap();
    keep();
    for text in [
        r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2027-05-01T00:00:00Z"}"#,
        r#"{"months":["2026-05"],"ground":"legal_claim","review_at":"2027-05-01T00:00:00Z",
            "classes":["sets"]}"#,
    ] {
        let privacy = caller(Role::Privacy, 7);
        let mut text = text.as_bytes().to_vec();
        world.desk.open_hold(&privacy, site_id("ACME"), &mut text).await.unwrap();
        keep();
    }
    for person in [1, 2] {
        let custodian = caller(Role::Custodian, person);
        world.desk.release_hold(&custodian, site_id("ACME"), "h1").await.unwrap();
        keep();
    }
    world.clock.jump(at("2026-09-01T00:00:00Z"));
    assert_eq!(world.run().await.err(), Some(DeskError::ClockAhead));
    clock::confirm(&world, "2026-09-01T00:00:00Z").await.unwrap();
    keep();
    let last = world.vault.with(|inside| inside.rows.clone());
    let holds = |rows: &BTreeMap<String, Vec<u8>>| -> Vec<(String, Vec<u8>)> {
        let of = rows.iter().filter(|(name, _)| name.starts_with(super::super::holds::ROWS));
        of.map(|(name, row)| (name.clone(), row.clone())).collect()
    };
    assert_eq!(holds(&last).len(), 2);
    let entries = world.entries();
    for (number, moment) in moments.into_iter().enumerate() {
        world.vault.with(|inside| inside.rows = moment.clone());
        let changed = replay(world.vault.as_ref(), &entries).await.unwrap();
        assert_eq!(changed, [2, 2, 1, 1, 0, 0][number], "{number}");
        let rows = world.vault.with(|inside| inside.rows.clone());
        assert_eq!(holds(&rows), holds(&last), "{number}");
        let clock = ClockRow::parse(&rows[super::super::clock::ROW]).unwrap();
        assert_eq!(clock.high_water, at("2026-09-01T00:00:00Z"), "{number}");
        assert_eq!(replay(world.vault.as_ref(), &entries).await.unwrap(), 0, "twice is once");
    }
}

/// A hold whose entry came after the copy of its row is told of once.
#[tokio::test]
async fn a_hold_that_the_ledger_has_meanwhile_is_not_told_again() {
    let mut world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    let mut text =
        br#"{"months":["2026-05"],"ground":"unpaid","review_at":"2027-05-01T00:00:00Z"}"#.to_vec();
    let privacy = caller(Role::Privacy, 7);
    world.desk.open_hold(&privacy, site_id("ACME"), &mut text).await.unwrap();
    let name = format!("{}{:020}", super::super::holds::ROWS, 1);
    world.vault.with(|inside| {
        let mut row = HoldRow::parse(&inside.rows[&name]).unwrap();
        row.in_ledger = false;
        inside.rows.insert(name.clone(), row.to_bytes().unwrap());
    });
    assert_eq!(replay(world.vault.as_ref(), &world.entries()).await.unwrap(), 1);
    world.restart();
    world.run().await.unwrap();
    assert_eq!(world.kinds().iter().filter(|kind| **kind == "hold_opened").count(), 1);
}

/// Rows from before a policy was taken up: the restore brings it back, whole.
#[tokio::test]
async fn the_policy_in_force_comes_back_with_the_ledger() {
    let mut world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    let older = world.vault.with(|inside| inside.rows.clone());
    let path = world.folder.path().join("policy.json");
    let doc = r#"{"profile":"kr-pipa","published":"2026-06-01","effective":"2026-06-08",
                  "material":false,"periods":{"c2_months":3}}"#;
    std::fs::write(&path, doc).unwrap();
    world.desk.0 = {
        let settings = Settings { policy: Some(path), ..Settings::default() };
        let (vault, ledger) = (world.vault.clone(), world.ledger.clone());
        Desk::new(vault, ledger, settings, world.clock.clone()).unwrap().0
    };
    world.live_until(at("2026-06-20T00:00:00Z")).await;
    let months = |world: &World| world.list(None).contains("3 months");
    assert!(months(&world));
    for rows in [older, BTreeMap::new()] {
        world.vault.with(|inside| inside.rows = rows);
        replay(world.vault.as_ref(), &world.entries()).await.unwrap();
        // Also where the file and its setting are gone.
        let (vault, ledger) = (world.vault.clone(), world.ledger.clone());
        let settings = Settings::default();
        world.desk = Desk::new(vault, ledger, settings, world.clock.clone()).unwrap();
        assert!(months(&world));
    }
}
