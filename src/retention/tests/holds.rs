//! Check 37: what is on hold stays, and goes when two have released it.

use super::*;

const BODY: &str =
    r#"{"months":["2026-05"],"ground":"billing_dispute","review_at":"2026-09-01T00:00:00Z"}"#;

async fn open(world: &World, site: &str, body: &str) -> Result<String, DeskError> {
    let mut text = body.as_bytes().to_vec();
    let privacy = caller(Role::Privacy, 7);
    let opened = world.desk.open_hold(&privacy, site_id(site), &mut text).await?;
    Ok(String::from_utf8(opened).unwrap())
}

async fn release(world: &World, person: u8) -> Result<bool, DeskError> {
    let custodian = caller(Role::Custodian, person);
    world.desk.release_hold(&custodian, site_id("ACME"), "h1").await.map(|(ended, _)| ended)
}

#[tokio::test]
async fn check_37_a_held_month_stays_until_two_have_released_it() {
    let mut world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    let opened = open(&world, "ACME", BODY).await.unwrap();
    assert!(opened.contains("\"id\":\"h1\"") && opened.contains("\"lots\":6"), "{opened}");
    assert_eq!(world.live_until(at("2026-12-20T00:00:00Z")).await, 6, "those of the other site");
    assert_eq!(count(&world.list(Some("held")), "\"holds\":[\"h1\"]"), 6);
    assert_eq!(world.desk.0.figures.last().held, 6);
    assert_eq!(world.desk.0.figures.last().overdue, 0);
    world.restart();
    assert_eq!(release(&world, 1).await, Ok(false));
    assert_eq!(release(&world, 1).await, Err(DeskError::SamePerson));
    world.restart();
    assert_eq!(release(&world, 1).await, Err(DeskError::SamePerson));
    assert_eq!(world.run().await.unwrap().destroyed, 0, "one person is not enough");
    assert_eq!(release(&world, 2).await, Ok(true));
    assert_eq!(release(&world, 3).await, Err(DeskError::Released));
    assert_eq!(world.desk.0.standings(world.clock.now())[0].is_overdue(world.clock.now()), false);
    let ran = world.run().await.unwrap();
    assert_eq!(ran.destroyed, 6);
    // The certificate says that it was held once.
    let auditor = caller(Role::Auditor, 0);
    let text = world.desk.certificate(&auditor, &ran.certificates[0]).unwrap();
    let body = certificate::verify(&text, &world.key()).unwrap();
    assert!(body.lots.iter().all(|lot| lot.released_holds == [1]));
    // Both people are in the ledger.
    let entries = world.entries();
    let released = entries.iter().find(|entry| entry.event.kind() == "hold_released").unwrap();
    let Event::HoldReleased { requested_by, hold, .. } = &released.event else { panic!() };
    assert_eq!((requested_by.to_string(), *hold), ("b".repeat(16), 1));
    assert_eq!(released.actor.to_string(), "c".repeat(16));
}

#[tokio::test]
async fn a_hold_of_one_class_keeps_the_keys_that_it_needs() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    let body = BODY.replacen('{', r#"{"classes":["detections"],"#, 1);
    open(&world, "ACME", &body).await.unwrap();
    world.live_until(at("2026-12-20T00:00:00Z")).await;
    let left = ["detections", "key.record", "key.watermark", "key.base"];
    assert_eq!(world.living(), left.map(|class| format!("ACME {class}")).into());
}

#[tokio::test]
async fn a_hold_covers_days_that_lie_in_its_month() {
    let vault = Memory::default();
    // The site's November begins on 31 October 15:00 UTC.
    let site = site("ACME", 1, "Asia/Seoul", Some(3));
    let day = |text: &str| {
        let day = at(text).day();
        let lot =
            Lot::Records(Bucket { class: Class::Records, site: site.no, epoch: Epoch::Day(day) });
        let ends_at = Timestamp(day.start().0 + DAY_MS);
        LotInfo { lot, site: site.id.clone(), keys: vec![KeyId(u64::from(day.0))], ends_at }
    };
    vault.with(|inside| {
        inside.epoch = 1;
        inside.lots = vec![day("2026-10-30T00:00:00Z"), day("2026-10-31T00:00:00Z")];
        inside.sites.insert(site.id.clone(), Arc::new(site.clone()));
    });
    let world = World::over(vault, at("2026-11-01T00:00:00Z"), Settings::default());
    world.run().await.unwrap();
    let body = BODY.replace("2026-05", "2026-11").replace("2026-09-01", "2026-12-24");
    open(&world, "ACME", &body).await.unwrap();
    assert_eq!(world.live_until(at("2026-11-20T00:00:00Z")).await, 1);
    world.vault.with(|inside| assert_eq!(inside.lots, [day("2026-10-31T00:00:00Z")]));
}

#[tokio::test]
async fn what_cannot_be_held_is_refused() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    assert_eq!(open(&world, "NONE", BODY).await, Err(DeskError::NotFound));
    for unknown in ["2025-05", "2026-04", "2026-07", "2030-01"] {
        let body = BODY.replace("2026-05", unknown);
        assert_eq!(open(&world, "ACME", &body).await, Err(DeskError::UnknownMonth), "{unknown}");
    }
    assert!(world.kinds().contains(&"hold_refused"));
    // The present month has no lot yet and is held all the same.
    open(&world, "ACME", &BODY.replace("2026-05", "2026-06")).await.unwrap();
    for unfit in [
        BODY.replace("billing_dispute", "because"),
        BODY.replace("2026-09-01", "2026-05-01"),
        BODY.replace("[\"2026-05\"]", "[]"),
        BODY.replace("2026-05", "2026-5"),
        BODY.replacen('{', "{\"x\":1,", 1),
        BODY.replacen('{', "{\"classes\":[\"c2\"],", 1),
        "{}".to_owned(),
    ] {
        let refused = open(&world, "ACME", &unfit).await;
        assert!(matches!(refused, Err(DeskError::Unfit(_))), "{unfit}: {refused:?}");
    }
    assert_eq!(open(&world, "ACME", "[").await, Err(DeskError::Unreadable));
    let custodian = caller(Role::Custodian, 1);
    for (site, id) in [("ACME", "h9"), ("B.C", "h1"), ("ACME", "1"), ("ACME", "h01")] {
        let refused = world.desk.release_hold(&custodian, site_id(site), id).await;
        assert_eq!(refused, Err(DeskError::NotFound), "{site} {id}");
    }
    assert_eq!(world.desk.holds(&site_id("NONE")), Err(DeskError::NotFound));
}

#[tokio::test]
async fn a_missed_review_is_shown_and_an_alarm() {
    let mut world = World::at("2026-08-30T00:00:00Z");
    open(&world, "ACME", BODY).await.unwrap();
    let shown = || String::from_utf8(world.desk.holds(&site_id("ACME")).unwrap()).unwrap();
    assert!(shown().contains("\"review_overdue\":false"));
    world.run().await.unwrap();
    world.clock.set(at("2026-09-01T00:00:01Z"));
    world.run().await.unwrap();
    assert!(shown().contains("\"review_overdue\":true"));
    assert_eq!(world.desk.0.figures.last().unreviewed, 1);
    world.restart();
    world.run().await.unwrap();
    assert_eq!(world.alarms(), ["hold_unreviewed"], "once");
}
