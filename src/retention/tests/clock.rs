//! Check 60: a clock set back prolongs nothing, a jump ahead waits.

use super::*;

#[tokio::test]
async fn check_60_a_clock_that_is_set_back_prolongs_nothing() {
    let mut world = World::at("2026-08-02T00:00:00Z");
    world.run().await.unwrap();
    world.clock.set(at("2026-08-03T00:00:00Z"));
    // The time was seen; then it goes back by forty days, and the process ends.
    let believed = world.desk.0.believe(world.clock.now()).await.unwrap();
    world.clock.set(Timestamp(believed.0 - 40 * DAY_MS));
    world.restart();
    assert!(world.list(Some("due")).contains("\"class\":\"sets\""));
    assert_eq!(world.run().await.unwrap().destroyed, 2);
    world.run().await.unwrap();
    assert_eq!(world.alarms(), ["clock_back"], "once");
    // It is right again, and back again: another alarm.
    world.clock.set(at("2026-08-03T00:00:01Z"));
    world.run().await.unwrap();
    world.clock.set(at("2026-07-01T00:00:00Z"));
    world.run().await.unwrap();
    assert_eq!(world.alarms(), ["clock_back", "clock_back"]);
}

#[tokio::test]
async fn check_60_a_jump_ahead_destroys_nothing_until_it_is_confirmed() {
    let mut world = World::at("2026-07-30T00:00:00Z");
    world.run().await.unwrap();
    let custodian = caller(Role::Custodian, 5);
    assert_eq!(world.desk.confirm_clock(&custodian).await, Err(DeskError::NothingToConfirm));
    world.clock.set(at("2027-08-03T00:00:00Z"));
    for _ in 0..2 {
        assert_eq!(world.run().await, Err(DeskError::ClockAhead));
        world.restart();
        assert_eq!(world.desk.run(&custodian).await, Err(DeskError::ClockAhead));
    }
    assert_eq!(world.living().len(), 12);
    assert_eq!(world.alarms().iter().filter(|alarm| **alarm == "clock_ahead").count(), 1);
    assert!(world.list(None).contains("\"state\":\"unconfirmed\""));
    assert!(world.list(None).contains("\"high_water\":\"2026-07-30T00:00:00Z\""));
    let confirmed = world.desk.confirm_clock(&custodian).await.unwrap();
    assert!(String::from_utf8(confirmed).unwrap().contains("2027-08-03T00:00:00Z"));
    assert!(world.kinds().contains(&"clock_confirmed"));
    assert_eq!(world.run().await.unwrap().destroyed, 12);
}

#[tokio::test]
async fn a_jump_that_was_a_mistake_leaves_no_trace_in_what_is_due() {
    let world = World::at("2026-07-30T00:00:00Z");
    world.run().await.unwrap();
    world.clock.set(at("2027-08-03T00:00:00Z"));
    assert_eq!(world.run().await, Err(DeskError::ClockAhead));
    world.clock.set(at("2026-07-30T01:00:00Z"));
    assert_eq!(world.run().await.unwrap().destroyed, 0);
    assert_eq!(world.living().len(), 12);
    assert!(!world.alarms().contains(&"clock_back"));
}

#[tokio::test]
async fn three_days_need_no_confirmation_and_a_moment_more_does() {
    let world = World::at("2026-07-30T00:00:00Z");
    world.run().await.unwrap();
    world.clock.set(at("2026-08-02T00:00:00Z"));
    world.run().await.unwrap();
    world.clock.set(at("2026-08-05T00:00:00.001Z"));
    assert_eq!(world.run().await, Err(DeskError::ClockAhead));
}

#[tokio::test]
async fn a_site_ends_at_the_believed_time() {
    let world = World::at("2026-06-20T00:00:00Z");
    world.run().await.unwrap();
    let operator = caller(Role::Operator, 3);
    let end = async |site| {
        let ended = world.desk.terminate(&operator, site_id(site), &mut []).await;
        ended.map(|text| String::from_utf8(text).unwrap())
    };
    // By this clock six months after the end are over, by the believed time they begin.
    world.clock.set(at("2025-12-01T00:00:00Z"));
    let ended = end("ACME").await.unwrap();
    assert!(ended.contains("\"terminated_at\":\"2026-06-20T00:00:00Z\""), "{ended}");
    assert_eq!(world.run().await.unwrap().destroyed, 0);
    assert_eq!(world.living().len(), 12);
    // A time that nobody believes ends nothing, and neither makes anything late.
    world.clock.set(at("2027-12-01T00:00:00Z"));
    assert_eq!(end("B.C").await, Err(DeskError::ClockAhead));
    assert!(world.vault.with(|inside| inside.sites[&site_id("B.C")].terminated_at.is_none()));
    let entries = world.entries();
    let told = entries.iter().filter_map(|entry| match entry.event {
        Event::SiteTerminated { terminated_at, .. } => Some(terminated_at),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [at("2026-06-20T00:00:00Z")]);
}
