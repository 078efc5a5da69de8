//! What knows duplicates: a day's slot goes with a certificate once it is over, and only then.

use super::*;
use crate::retention::certificate::verify;

const DUE: &str = "2026-07-07T01:05:00Z";

/// Two sites without lots, and the slots of three days from 1 June on.
fn world(now: &str) -> World {
    let world = World::at(now);
    world.vault.with(|inside| {
        let slot = |day: u32| {
            let day = Day(at("2026-06-01T00:00:00Z").day().0 + day);
            let ends_at = Day(day.0 + 1).start();
            let keys = vec![KeyId(u64::from(day.0))];
            LotInfo { lot: Lot::Seen(day), site: SiteId::everywhere(), keys, ends_at }
        };
        inside.lots = (0..3).map(slot).collect();
    });
    world
}

fn states(world: &World) -> [usize; 4] {
    ["active", "due", "overdue", "certified"]
        .map(|state| count(&world.list(Some(state)), "\"site_id\":\"*\""))
}

#[tokio::test]
async fn a_slot_goes_when_its_life_is_over_with_intent_result_and_certificate() {
    let world = world("2026-07-06T00:00:00Z");
    world.run().await.unwrap();
    let before = world.kinds();
    // The end of the day, 35 days, 5 minutes and an hour.
    world.clock.set(Timestamp(at(DUE).0 - 1));
    assert_eq!(world.run().await.unwrap().destroyed, 0);
    assert_eq!((world.kinds(), states(&world)), (before.clone(), [3, 0, 0, 0]), "no entry");
    world.clock.set(at(DUE));
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.certificates.len()), (1, 1));
    assert_eq!(states(&world), [2, 0, 0, 1]);
    let new = world.kinds().split_off(before.len());
    assert_eq!(new, ["destruction", "destruction", "certificate_issued"]);
    let entries = world.entries();
    let intent = &entries[before.len()];
    let Event::DestructionIntent { buckets, keys, .. } = &intent.event else { panic!("no intent") };
    let [bucket] = &buckets[..] else { panic!("{buckets:?}") };
    assert_eq!((bucket.class.as_str(), bucket.rule.as_str()), ("seen", "limits/age"));
    assert_eq!((bucket.epoch.to_string(), bucket.due), ("2026-06-01".to_owned(), at(DUE)));
    assert_eq!((bucket.sites[0].as_str(), keys.count()), ("*", 1));
    // Nothing is due: nothing is said.
    world.clock.set(at("2026-07-08T00:00:00Z"));
    let said = world.kinds();
    assert_eq!(world.run().await.unwrap(), Default::default());
    assert_eq!(world.kinds(), said);
    // It is of no site, so it is no secret of one; and it stands on its own.
    let of_one = Token {
        sites: SiteScope::Some([site_id("B.C")].into()),
        ..Token::clone(&caller(Role::Auditor, 0))
    };
    let bytes = world.desk.certificate(&Arc::new(of_one), &ran.certificates[0]).unwrap();
    let body = verify(&bytes, &world.key()).unwrap();
    assert_eq!((body.lots[0].class.as_str(), body.lots[0].site.as_str()), ("seen", "*"));
    assert!(body.verification.passed && body.lots[0].ground.contains("age_days"));
    let forged = String::from_utf8(bytes).unwrap().replacen("2026-06-01", "2026-06-02", 1);
    assert!(verify(forged.as_bytes(), &world.key()).is_err());
}

#[tokio::test]
async fn days_that_are_due_together_are_one_destruction() {
    let world = world("2026-07-12T00:00:00Z");
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.certificates.len()), (3, 1));
    let intents = world.entries().into_iter();
    let intents = intents.filter(|entry| matches!(entry.event, Event::DestructionIntent { .. }));
    assert_eq!(intents.count(), 1);
}

#[tokio::test]
async fn a_slot_waits_for_its_floor_and_no_hold_keeps_it() {
    let world = world("2026-07-06T00:00:00Z");
    // Something of the month must be there to be held; it is due in September at the earliest.
    let own = lots_of(&site("ACME", 1, "UTC", None), "2026-06", 500);
    world.vault.with(|inside| inside.lots.extend(own));
    let hold = r#"{"months":["2026-06"],"ground":"unpaid","review_at":"2027-01-01T00:00:00Z"}"#;
    let mut hold = hold.as_bytes().to_vec();
    let privacy = caller(Role::Privacy, 7);
    world.desk.open_hold(&privacy, site_id("ACME"), &mut hold).await.unwrap();
    // The clock of the engine is behind, so the day is still needed.
    let first = at("2026-06-01T00:00:00Z").day();
    world.vault.with(|inside| inside.floor_stays = Some(first));
    world.clock.set(at("2026-07-08T00:00:00Z"));
    let said = world.kinds();
    assert_eq!(world.run().await.unwrap().destroyed, 0);
    assert!(!world.kinds().contains(&"destruction"));
    assert_eq!((said.len() <= world.kinds().len(), states(&world)), (true, [2, 1, 0, 0]));
    assert_eq!(world.live_until(at("2026-07-12T01:05:00.001Z")).await, 0);
    assert_eq!(states(&world), [0, 2, 1, 0]);
    assert_eq!(world.alarms(), ["destruction_overdue"], "somebody looks at the clock");
    world.vault.with(|inside| inside.floor_stays = Some(Day(first.0 + 1)));
    assert_eq!(world.run().await.unwrap().destroyed, 1);
    world.vault.with(|inside| inside.floor_stays = None);
    assert_eq!(world.run().await.unwrap().destroyed, 2);
    assert_eq!(states(&world), [0, 0, 0, 3]);
}

#[tokio::test]
async fn a_slot_waits_three_days_at_most_for_a_backup_and_nothing_else_does() {
    let world = world(DUE);
    let copying = |copying| world.vault.with(|inside| inside.copying = copying);
    let from = || world.vault.with(|inside| inside.reasons_from.unwrap().start());
    copying(true);
    assert_eq!(world.run().await.unwrap().destroyed, 0);
    assert!(!world.kinds().contains(&"destruction"));
    assert_eq!(states(&world), [2, 1, 0, 0]);
    assert_eq!(from(), at("2026-06-04T00:00:00Z"), "33 days");
    copying(false);
    assert_eq!(world.run().await.unwrap().destroyed, 1);
    assert_eq!(from(), at("2026-06-07T00:00:00Z"));
    copying(true);
    // The second one is due on the 8th.
    assert_eq!(world.live_until(at("2026-07-11T01:04:59.999Z")).await, 0);
    world.clock.set(at("2026-07-11T01:05:00Z"));
    assert_eq!(world.run().await.unwrap().destroyed, 2, "the third one goes with it");
    assert_eq!(world.alarms(), [] as [&str; 0]);
    // With something of a site nothing waits.
    let other = World::at("2026-08-03T00:00:00Z");
    other.vault.with(|inside| inside.copying = true);
    assert_eq!(other.run().await.unwrap().destroyed, 2);
}

#[tokio::test]
async fn what_is_on_hold_does_not_wait_for_a_backup_with_the_slots() {
    let world = World::at("2026-06-15T00:00:00Z");
    let own = lots_of(&site("ACME", 1, "UTC", None), "2026-06", 500);
    world.vault.with(|inside| inside.lots = own);
    let hold = r#"{"months":["2026-06"],"ground":"unpaid","review_at":"2027-05-01T00:00:00Z"}"#;
    let privacy = caller(Role::Privacy, 7);
    let mut hold = hold.as_bytes().to_vec();
    world.desk.open_hold(&privacy, site_id("ACME"), &mut hold).await.unwrap();
    world.live_until(at("2026-12-31T00:00:00Z")).await;
    let copies = || world.vault.with(|inside| inside.held.len());
    let before = copies();
    // Due a day before the records that are on hold.
    let day = at("2026-11-25T00:00:00Z").day();
    let ends_at = Day(day.0 + 1).start();
    let slot =
        LotInfo { lot: Lot::Seen(day), site: SiteId::everywhere(), keys: vec![KeyId(9)], ends_at };
    world.vault.with(|inside| {
        inside.lots.push(slot);
        inside.copying = true;
    });
    world.live_until(at("2027-01-02T00:00:00Z")).await;
    assert!(copies() > before, "{before} copies");
    let waits = |info: &LotInfo| info.lot == Lot::Seen(day);
    assert!(world.vault.with(|inside| inside.lots.iter().any(waits)), "the slot waits");
}
