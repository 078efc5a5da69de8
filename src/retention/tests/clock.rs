//! Check 60: a clock set back prolongs nothing, a jump ahead waits and stalls nothing else.

use super::*;

#[tokio::test]
async fn check_60_a_clock_that_is_set_back_prolongs_nothing() {
    let mut world = World::at("2026-08-02T00:00:00Z");
    world.run().await.unwrap();
    world.clock.set(at("2026-08-03T00:00:00Z"));
    // The time was seen; then it goes back by forty days, and the process ends.
    let (believed, _) = world.desk.0.believe(world.clock.now()).await.unwrap();
    world.clock.set(Timestamp(believed.0 - 40 * DAY_MS));
    world.restart();
    assert!(world.list(Some("due")).contains("\"class\":\"sets\""));
    assert_eq!(world.run().await.unwrap().destroyed, 2);
    world.run().await.unwrap();
    assert_eq!(world.alarms(), ["clock_back"], "once");
    // It is right again, and back again: another alarm.
    world.clock.jump(at("2026-08-03T00:00:01Z"));
    world.run().await.unwrap();
    world.clock.jump(at("2026-07-01T00:00:00Z"));
    world.run().await.unwrap();
    assert_eq!(world.alarms(), ["clock_back", "clock_back"]);
}

/// A clock that is wrong says nothing about how much time has passed: what becomes due while it is
/// wrong goes on its day, also after a start.
#[tokio::test]
async fn check_60_time_goes_on_while_the_clock_is_back() {
    for restarts in [false, true] {
        let mut world = World::at("2026-08-01T00:00:00Z");
        world.run().await.unwrap();
        world.clock.jump(at("2026-06-22T00:00:00Z"));
        let mut gone = Vec::new();
        for day in 1..=10 {
            world.clock.set(Timestamp(world.clock.now().0 + DAY_MS));
            gone.push(world.run().await.unwrap().destroyed);
            if restarts {
                world.restart();
            }
            let (believed, _) = world.desk.0.believed();
            assert_eq!(believed, Timestamp(at("2026-08-01T00:00:00Z").0 + day * DAY_MS));
        }
        // The sets are due on 3 August, and the clock says 24 June.
        assert_eq!(gone, [0, 2, 0, 0, 0, 0, 0, 0, 0, 0], "{restarts}");
        assert_eq!(world.alarms(), ["clock_back"]);
        // It is right again, and nothing has been lost or won.
        world.clock.jump(at("2026-08-11T00:00:00Z"));
        world.run().await.unwrap();
        assert_eq!(world.desk.0.believed(), (at("2026-08-11T00:00:00Z"), true));
    }
}

/// A clock that lags by what a quartz does is no alarm, and prolongs nothing either.
#[tokio::test]
async fn a_slow_clock_is_no_alarm_before_it_lags_by_more_than_a_quartz_does() {
    let world = World::at("2026-06-01T00:00:00Z");
    for _ in 0..20 {
        world.run().await.unwrap();
        world.clock.set(Timestamp(world.clock.now().0 + DAY_MS));
        // Ten seconds a day.
        world.clock.jump(Timestamp(world.clock.now().0 - 10_000));
    }
    assert_eq!(world.alarms(), [""; 0]);
    assert_eq!(world.desk.0.believed().0, at("2026-06-21T00:00:00Z"));
}

/// What was due before the jump does not wait for the people who look at it.
#[tokio::test]
async fn check_60_a_jump_ahead_stalls_nothing_that_is_due_without_it() {
    let mut world = World::at("2026-08-01T00:00:00Z");
    world.run().await.unwrap();
    world.clock.jump(at("2027-08-01T00:00:00Z"));
    for (day, left) in [(2, 12), (3, 10), (4, 10)] {
        world.clock.set(Timestamp(world.clock.now().0 + DAY_MS));
        assert_eq!(world.run().await, Err(DeskError::ClockAhead));
        assert_eq!(world.living().len(), left, "{day}");
        world.restart();
    }
    assert!(world.kinds().contains(&"certificate_issued"));
    assert_eq!(world.alarms().iter().filter(|alarm| **alarm == "clock_ahead").count(), 1);
    assert!(world.list(None).contains("\"high_water\":\"2026-08-04T00:00:00Z\""));
    assert_eq!(world.desk.0.believed(), (at("2026-08-04T00:00:00Z"), false));
}

#[tokio::test]
async fn check_60_a_jump_ahead_destroys_nothing_until_it_is_confirmed() {
    let mut world = World::at("2026-07-30T00:00:00Z");
    world.run().await.unwrap();
    let custodian = caller(Role::Custodian, 5);
    let none = confirm(&world, "2026-07-30T00:00:00Z").await;
    assert_eq!(none, Err(DeskError::NothingToConfirm));
    world.clock.jump(at("2027-08-03T00:00:00Z"));
    for _ in 0..2 {
        assert_eq!(world.run().await, Err(DeskError::ClockAhead));
        world.restart();
        assert_eq!(world.desk.run(&custodian).await, Err(DeskError::ClockAhead));
    }
    assert_eq!(world.living().len(), 12);
    assert_eq!(world.alarms().iter().filter(|alarm| **alarm == "clock_ahead").count(), 1);
    assert!(world.list(None).contains("\"state\":\"unconfirmed\""));
    assert!(world.list(None).contains("\"high_water\":\"2026-07-30T00:00:00Z\""));
    let confirmed = confirm(&world, "2027-08-03T00:09:00Z").await.unwrap();
    assert_eq!(
        world.vault.with(|inside| inside.believed),
        Some(world.clock.now()),
        "the engine hears it"
    );
    assert!(confirmed.contains("\"to\":\"2027-08-03T00:00:00Z\""), "{confirmed}");
    assert!(world.kinds().contains(&"clock_confirmed"));
    assert_eq!(world.run().await.unwrap().destroyed, 12);
}

/// Data from before the desk's first look, as from a backup: the engine knows how late it was.
#[tokio::test]
async fn a_desk_without_a_time_goes_on_from_the_engines() {
    let world = World::at("2026-07-30T00:00:00Z");
    world.vault.with(|inside| inside.engine_at = Some(at("2026-07-30T00:00:00Z")));
    world.clock.jump(at("2027-08-03T00:00:00Z"));
    assert!(world.list(None).contains("\"state\":\"unconfirmed\""));
    assert_eq!(world.run().await, Err(DeskError::ClockAhead));
    assert_eq!(world.living().len(), 12, "nothing goes by a clock that nobody confirmed");
    confirm(&world, "2027-08-03T00:00:00Z").await.unwrap();
    assert_eq!(world.vault.with(|inside| inside.believed), Some(world.clock.now()));
    assert_eq!(world.run().await.unwrap().destroyed, 12);
}

/// The desk allows days and the engine an hour: what holds the engine up can be confirmed, also
/// before the desk has looked at any clock.
#[tokio::test]
async fn the_engine_hears_of_a_confirmation_that_the_desk_does_not_need() {
    for looked in [false, true] {
        let world = World::at("2026-06-01T00:00:00Z");
        world.vault.with(|inside| inside.engine_at = Some(at("2026-06-01T00:00:00Z")));
        world.clock.set(at("2026-06-01T12:00:00Z"));
        if looked {
            world.run().await.unwrap();
        }
        confirm(&world, "2026-06-01T12:00:00Z").await.unwrap();
        assert_eq!(world.vault.with(|inside| inside.believed), Some(world.clock.now()));
        let again = confirm(&world, "2026-06-01T12:00:00Z").await;
        assert_eq!(again, Err(DeskError::NothingToConfirm), "{looked}");
    }
}

#[tokio::test]
async fn a_jump_that_was_a_mistake_leaves_no_trace_in_what_is_due() {
    let world = World::at("2026-07-30T00:00:00Z");
    world.run().await.unwrap();
    world.clock.jump(at("2027-08-03T00:00:00Z"));
    assert_eq!(world.run().await, Err(DeskError::ClockAhead));
    world.clock.jump(at("2026-07-30T01:00:00Z"));
    assert_eq!(world.run().await.unwrap().destroyed, 0);
    assert_eq!(world.living().len(), 12);
    assert!(!world.alarms().contains(&"clock_back"));
}

pub(super) async fn confirm(world: &World, time: &str) -> Result<String, DeskError> {
    let mut text = format!("{{\"time\":\"{time}\"}}").into_bytes();
    let confirmed = world.desk.confirm_clock(&caller(Role::Custodian, 5), &mut text).await;
    confirmed.map(|(done, text)| {
        assert!(done);
        String::from_utf8(text).unwrap()
    })
}

#[tokio::test]
async fn three_days_need_no_confirmation_and_a_moment_more_does() {
    let mut world = World::at("2026-07-30T00:00:00Z");
    world.run().await.unwrap();
    world.clock.jump(at("2026-08-02T00:00:00Z"));
    world.run().await.unwrap();
    // A server that was off: the same, and nobody knows for how long.
    world.restart();
    world.clock.jump(at("2026-08-05T00:00:00.001Z"));
    assert_eq!(world.run().await, Err(DeskError::ClockAhead));
    world.clock.jump(at("2026-08-05T00:00:00Z"));
    world.run().await.unwrap();
}

#[tokio::test]
async fn check_60_many_small_steps_are_one_large_one() {
    let world = World::at("2026-07-30T00:00:00Z");
    world.run().await.unwrap();
    // An hour passes, and the clock makes two days of it.
    let mut believed = 0;
    for _ in 0..20 {
        world.clock.set(Timestamp(world.clock.now().0 + 3_600_000));
        world.clock.jump(Timestamp(world.clock.now().0 + 47 * 3_600_000));
        believed += u32::from(world.run().await.is_ok());
    }
    assert_eq!(believed, 1, "three days ahead of what has passed, no more");
    assert_eq!(world.living().len(), 12);
    assert_eq!(world.alarms().iter().filter(|alarm| **alarm == "clock_ahead").count(), 1);
    // Set right it is believed again, and what has passed counts in full.
    world.clock.jump(at("2026-07-30T20:00:00Z"));
    world.run().await.unwrap();
    world.clock.set(at("2026-08-30T00:00:00Z"));
    assert_eq!(world.run().await.unwrap().destroyed, 2);
    // After a confirmation the steps are counted from there.
    world.clock.jump(at("2026-10-01T00:00:00Z"));
    confirm(&world, "2026-10-01T00:00:00Z").await.unwrap();
    world.clock.jump(at("2026-10-03T00:00:00Z"));
    world.run().await.unwrap();
    world.clock.jump(at("2026-10-05T00:00:00Z"));
    assert_eq!(world.run().await, Err(DeskError::ClockAhead));
}

#[tokio::test]
async fn check_60_a_confirmation_names_the_time() {
    let world = World::at("2026-07-30T00:00:00Z");
    world.run().await.unwrap();
    world.clock.jump(at("2027-08-03T00:00:00Z"));
    assert_eq!(world.run().await, Err(DeskError::ClockAhead));
    // Meant for another time than the clock says by now.
    for time in ["2026-08-03T00:00:00Z", "2027-08-02T23:49:59Z", "2027-08-03T00:10:01Z", "now"] {
        let refused = confirm(&world, time).await;
        assert!(matches!(refused, Err(DeskError::Unfit(_))), "{time}: {refused:?}");
    }
    for text in ["", "{}", "[]"] {
        let custodian = caller(Role::Custodian, 5);
        let refused = world.desk.confirm_clock(&custodian, &mut text.as_bytes().to_vec()).await;
        assert!(matches!(refused, Err(DeskError::Unfit(_) | DeskError::Unreadable)), "{text}");
    }
    assert!(!world.kinds().contains(&"clock_confirmed"));
    assert_eq!(world.run().await, Err(DeskError::ClockAhead));
    confirm(&world, "2027-08-03T00:10:00Z").await.unwrap();
    assert_eq!(world.run().await.unwrap().destroyed, 12);
}

#[tokio::test]
async fn a_site_ends_at_the_believed_time() {
    let world = World::at("2026-06-20T00:00:00Z");
    world.run().await.unwrap();
    let operator = caller(Role::Operator, 3);
    let end = async |site| {
        let ended = world.desk.terminate(&operator, site_id(site), &mut []).await;
        ended.map(|(_, text)| String::from_utf8(text).unwrap())
    };
    // By this clock six months after the end are over, by the believed time they begin.
    world.clock.set(at("2025-12-01T00:00:00Z"));
    let ended = end("ACME").await.unwrap();
    assert!(ended.contains("\"terminated_at\":\"2026-06-20T00:00:00Z\""), "{ended}");
    assert_eq!(world.run().await.unwrap().destroyed, 0);
    assert_eq!(world.living().len(), 12);
    // A time that nobody believes ends nothing, and neither makes anything late.
    world.clock.jump(at("2027-12-01T00:00:00Z"));
    assert_eq!(end("B.C").await, Err(DeskError::ClockAhead));
    assert!(world.vault.with(|inside| inside.sites[&site_id("B.C")].terminated_at.is_none()));
    let entries = world.entries();
    let told = entries.iter().filter_map(|entry| match entry.event {
        Event::SiteTerminated { terminated_at, .. } => Some(terminated_at),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [at("2026-06-20T00:00:00Z")]);
}

#[tokio::test]
async fn what_the_engine_keeps_by_itself_goes_by_the_believed_time() {
    let world = World::at("2026-06-20T00:00:00Z");
    world.run().await.unwrap();
    let told = || world.vault.with(|inside| inside.expired);
    world.clock.jump(at("2026-01-01T00:00:00Z"));
    world.run().await.unwrap();
    assert_eq!(told(), Some(at("2026-06-20T00:00:00Z")));
    world.clock.jump(at("2027-01-01T00:00:00Z"));
    world.run().await.unwrap_err();
    assert_eq!(told(), Some(at("2026-06-20T00:00:00Z")), "nothing goes by a time of a jump");
    world.clock.jump(at("2026-06-21T00:00:00Z"));
    world.run().await.unwrap();
    assert_eq!(told(), Some(at("2026-06-21T00:00:00Z")));
}

/// Where the settings want it, one person alone does not say that a clock is right which jumped:
/// nothing is due by it before another one has said so, too.
#[tokio::test]
async fn check_30_one_person_alone_confirms_no_jump_and_two_do() {
    let vault = Memory::default();
    let plain = World::at("2026-06-01T00:00:00Z");
    vault.with(|inside| {
        inside.epoch = 7;
        (inside.sites, inside.lots) =
            plain.vault.with(|from| (from.sites.clone(), from.lots.clone()));
    });
    let settings = Settings { two_people: true, ..Settings::default() };
    let mut world = World::over(vault, at("2026-06-01T00:00:00Z"), settings);
    world.run().await.unwrap();
    let say = async |world: &World, person, time: &str| {
        let mut text = format!("{{\"time\":\"{time}\"}}").into_bytes();
        let said = world.desk.confirm_clock(&caller(Role::Custodian, person), &mut text).await;
        said.map(|(done, text)| (done, String::from_utf8(text).unwrap()))
    };
    world.clock.jump(at("2027-08-03T00:00:00Z"));
    assert_eq!(world.run().await, Err(DeskError::ClockAhead));
    let (done, said) = say(&world, 1, "2027-08-03T00:00:00Z").await.unwrap();
    assert!(!done && said.contains("\"needs\":\"second person\""), "{said}");
    assert!(said.contains("\"until\":\"2026-06-08T00:00:00Z\""), "by the believed time: {said}");
    for _ in 0..2 {
        let again = say(&world, 1, "2027-08-03T00:00:00Z").await;
        assert_eq!(again, Err(DeskError::SamePerson));
        assert_eq!(world.run().await, Err(DeskError::ClockAhead));
        assert_eq!(world.living().len(), 12);
        world.restart();
    }
    // Somebody sets it further: of that nobody has said anything yet.
    world.clock.jump(at("2027-09-03T00:00:00Z"));
    assert!(!say(&world, 2, "2027-09-03T00:00:00Z").await.unwrap().0);
    world.clock.jump(at("2027-08-03T00:00:00Z"));
    assert!(!say(&world, 1, "2027-08-03T00:00:00Z").await.unwrap().0);
    assert_eq!(world.living().len(), 12);
    // The second one names the time as well.
    let refused = say(&world, 2, "2027-08-04T00:00:00Z").await.unwrap_err();
    assert!(matches!(refused, DeskError::Unfit(_)), "{refused}");
    let (done, said) = say(&world, 2, "2027-08-03T00:00:00Z").await.unwrap();
    assert!(done && said.contains("\"to\":\"2027-08-03T00:00:00Z\""), "{said}");
    assert_eq!(world.run().await.unwrap().destroyed, 12);
    let entries = world.entries();
    let by = |kind: &str| {
        let own = entries.iter().filter(|entry| entry.event.kind() == kind);
        own.map(|entry| entry.actor.to_string()).collect::<Vec<_>>()
    };
    let asked = ["b", "c", "b"].map(|person| person.repeat(16));
    assert_eq!(by("clock_confirmation_requested"), asked);
    assert_eq!(by("clock_confirmed"), ["c".repeat(16)]);
    assert!(world.vault.load_rows("removal/").unwrap().is_empty());
}
