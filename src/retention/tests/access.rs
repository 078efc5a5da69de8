//! The access log: counted by the day, written, swept with its class, and silent about ids.

use super::*;
use crate::retention::fake::Cut;

async fn shown(world: &World, day: &str) -> serde_json::Value {
    let auditor = caller(Role::Auditor, 0);
    let text = world.desk.access(&auditor, Some(at(day).day())).await.unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn rows(world: &World) -> Vec<String> {
    let is_own = |name: &&String| name.starts_with("access/");
    world.vault.with(|inside| inside.rows.keys().filter(is_own).cloned().collect())
}

#[tokio::test]
async fn uses_are_counted_by_day_and_survive_a_start() {
    let mut world = World::at("2026-06-01T10:00:00Z");
    world.run().await.unwrap();
    let (auditor, custodian) = (caller(Role::Auditor, 1), caller(Role::Custodian, 2));
    for _ in 0..3 {
        world.desk.note_access(&auditor, "certificate_list", None, 200);
    }
    world.desk.note_access(&custodian, "hold_release", Some("ACME"), 202);
    // What is no site of ours may be anything that somebody typed there.
    world.desk.note_access(&custodian, "hold_release", Some("viewer-81231"), 404);
    world.desk.note_access(&custodian, "hold_release", Some("kim@example.com"), 404);
    let producer = caller(Role::Producer, 3);
    // Taken records are counted elsewhere; whatever else a producer does is here.
    world.desk.note_access(&producer, "records", None, 200);
    world.desk.note_access(&producer, "backfill_records", None, 200);
    world.desk.note_access(&producer, "records", None, 429);
    world.desk.note_access(&producer, "ledger_list", None, 403);
    world.desk.note_access(&producer, "receipt", None, 200);
    assert_eq!(rows(&world), [""; 0], "not before it is written");
    world.desk.write_access().await.unwrap();
    assert_eq!(rows(&world), ["access/2026-06-01"]);
    world.restart();
    world.desk.note_access(&auditor, "certificate_list", None, 200);
    world.clock.set(at("2026-06-02T00:00:00Z"));
    world.desk.note_access(&auditor, "certificate_list", None, 200);
    let first = shown(&world, "2026-06-01T00:00:00Z").await;
    let line = |by: char, role: &str, route: &str, site: Option<&str>, status: u16, count: u64| {
        serde_json::json!({"by": by.to_string().repeat(16), "role": role, "route": route,
            "site_id": site, "status": status, "count": count})
    };
    assert_eq!(
        first["lines"],
        serde_json::json!([
            line('b', "auditor", "certificate_list", None, 200, 4),
            line('c', "custodian", "hold_release", None, 404, 2),
            line('c', "custodian", "hold_release", Some("ACME"), 202, 1),
            line('d', "producer", "ledger_list", None, 403, 1),
            line('d', "producer", "receipt", None, 200, 1),
            line('d', "producer", "records", None, 429, 1),
        ])
    );
    assert_eq!(rows(&world), ["access/2026-06-01"], "a reading writes nothing");
    assert_eq!(shown(&world, "2026-06-02T00:00:00Z").await["lines"][0]["count"], 1);
    assert_eq!(shown(&world, "2026-06-03T00:00:00Z").await["lines"], serde_json::json!([]));
    world.desk.write_access().await.unwrap();
    assert_eq!(rows(&world), ["access/2026-06-01", "access/2026-06-02"]);
    assert_eq!(shown(&world, "2026-06-01T00:00:00Z").await, first);
    let all =
        world.vault.with(|inside| inside.rows.values().flatten().copied().collect::<Vec<_>>());
    let text = String::from_utf8_lossy(&all);
    assert!(!text.contains("viewer") && !text.contains("kim"), "{text}");
    // Who did what is of all sites.
    let mut of_some = Token::clone(&auditor);
    of_some.sites = SiteScope::Some([site_id("ACME")].into());
    let refused = world.desk.access(&Arc::new(of_some), None).await;
    assert_eq!(refused, Err(DeskError::NeedsAllSites));
}

#[tokio::test]
async fn what_could_not_be_written_is_written_later() {
    let world = World::at("2026-06-01T10:00:00Z");
    world.run().await.unwrap();
    let auditor = caller(Role::Auditor, 1);
    world.desk.note_access(&auditor, "evidence", None, 200);
    world.vault.with(|inside| inside.cut = Some(Cut::Before(inside.changes)));
    assert_eq!(world.desk.write_access().await, Err(DeskError::Stopped));
    world.desk.note_access(&auditor, "evidence", None, 200);
    world.vault.with(|inside| inside.cut = None);
    world.desk.write_access().await.unwrap();
    let shown = shown(&world, "2026-06-01T00:00:00Z").await;
    assert_eq!(shown["lines"][0]["count"], 2);
}

#[tokio::test]
async fn days_go_with_their_class_and_a_clock_that_jumps_keeps_none_longer() {
    for (profile, last, gone) in [
        (Profile::KrPipa, "2028-06-01T23:59:59Z", "2028-06-02T00:00:00Z"),
        (Profile::EuGdpr, "2027-06-01T23:59:59Z", "2027-06-02T00:00:00Z"),
    ] {
        let settings = Settings { profile, ..Settings::default() };
        let world = World::over(Memory::default(), at("2026-06-01T10:00:00Z"), settings);
        world.run().await.unwrap();
        let auditor = caller(Role::Auditor, 1);
        world.desk.note_access(&auditor, "evidence", None, 200);
        // Half a year ahead, and nobody says that it is right.
        world.clock.jump(at("2026-12-01T10:00:00Z"));
        world.desk.note_access(&auditor, "evidence", None, 200);
        world.desk.write_access().await.unwrap();
        assert_eq!(rows(&world), ["access/2026-06-01"]);
        // A backup that is being copied is waited for, and not for long.
        let waited = Timestamp(at(gone).0 + 3 * DAY_MS);
        let just = Timestamp(waited.0 - 1);
        for (time, copying, left) in
            [(at(last), false, 1), (at(gone), true, 1), (just, true, 1), (waited, true, 0)]
        {
            world.vault.with(|inside| inside.copying = copying);
            world.clock.jump(time);
            if world.run().await == Err(DeskError::ClockAhead) {
                clock::confirm(&world, &time.to_string()).await.unwrap();
                world.run().await.unwrap();
            }
            assert_eq!(rows(&world).len(), left, "{profile:?} {time}");
        }
    }
}

#[tokio::test]
async fn a_day_goes_at_once_where_nothing_is_copied() {
    let world = World::over(Memory::default(), at("2026-06-01T10:00:00Z"), Settings::default());
    world.run().await.unwrap();
    world.desk.note_access(&caller(Role::Auditor, 1), "evidence", None, 200);
    world.desk.write_access().await.unwrap();
    world.clock.jump(at("2028-06-02T00:00:00Z"));
    assert_eq!(world.run().await, Err(DeskError::ClockAhead));
    clock::confirm(&world, "2028-06-02T00:00:00Z").await.unwrap();
    world.run().await.unwrap();
    assert_eq!((rows(&world), world.vault.with(|inside| inside.rewritten)), (Vec::new(), 1));
}

#[tokio::test]
async fn evidence_has_a_summary_that_names_nobody() {
    let world = World::at("2026-06-01T10:00:00Z");
    world.run().await.unwrap();
    let (auditor, custodian) = (caller(Role::Auditor, 1), caller(Role::Custodian, 2));
    world.desk.note_access(&auditor, "evidence", None, 200);
    world.desk.note_access(&custodian, "hold_release", Some("ACME"), 202);
    world.clock.set(at("2026-06-02T00:00:00Z"));
    world.desk.note_access(&caller(Role::Custodian, 3), "hold_release", Some("ACME"), 202);
    let text = world.desk.evidence(&auditor).await.unwrap();
    let stated: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let said = &stated["access"];
    let days = (said["from"].as_str(), said["to"].as_str(), said["others"].as_u64());
    assert_eq!(days, (Some("2026-06-01"), Some("2026-06-02"), Some(0)));
    let used = |one: &serde_json::Value| {
        let text = |name: &str| one[name].as_str().unwrap().to_owned();
        format!("{} {} {} {}", text("role"), text("route"), one["status"], one["count"])
    };
    let uses: Vec<String> = said["uses"].as_array().unwrap().iter().map(used).collect();
    assert_eq!(uses, ["auditor evidence 200 1", "custodian hold_release 202 2"]);
    // Neither who nor of which site.
    assert!(uses.len() == 2 && !said.to_string().contains("ACME"), "{said}");
}

/// An auditor of some sites reads how often who used what of these, and nothing of others, nor of
/// uses that name no site.
#[tokio::test]
async fn an_auditor_of_some_sites_has_the_summary_of_these() {
    let world = World::at("2026-06-01T10:00:00Z");
    world.run().await.unwrap();
    let (auditor, custodian) = (caller(Role::Auditor, 1), caller(Role::Custodian, 2));
    world.desk.note_access(&auditor, "evidence", None, 200);
    world.desk.note_access(&custodian, "hold_release", Some("ACME"), 202);
    world.clock.set(at("2026-06-02T00:00:00Z"));
    // A day of other sites only, written; then one of both, in memory.
    world.desk.note_access(&custodian, "hold_release", Some("B.C"), 202);
    world.desk.write_access().await.unwrap();
    world.clock.set(at("2026-06-03T00:00:00Z"));
    world.desk.note_access(&custodian, "hold_release", Some("ACME"), 404);
    world.desk.note_access(&custodian, "hold_release", Some("ACME"), 202);
    world.desk.note_access(&custodian, "site_usage", Some("B.C"), 403);
    let summary = async |sites: &[&str]| {
        let mut of_some = Token::clone(&auditor);
        of_some.sites = SiteScope::Some(sites.iter().map(|id| site_id(id)).collect());
        let text = world.desk.evidence(&Arc::new(of_some)).await.unwrap();
        let stated: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert!(stated["privileged_reads"].is_null());
        stated["access"].to_string()
    };
    let line = |count: u32, route: &str, status: u16| {
        format!(r#"{{"count":{count},"role":"custodian","route":"{route}","status":{status}}}"#)
    };
    let of = |days: [&str; 2], lines: &[String]| {
        let [from, to] = days;
        let lines = lines.join(",");
        format!(r#"{{"from":"{from}","others":0,"to":"{to}","uses":[{lines}]}}"#)
    };
    let acme = [line(2, "hold_release", 202), line(1, "hold_release", 404)];
    assert_eq!(summary(&["ACME"]).await, of(["2026-06-01", "2026-06-03"], &acme));
    let other = [line(1, "hold_release", 202), line(1, "site_usage", 403)];
    assert_eq!(summary(&["B.C"]).await, of(["2026-06-02", "2026-06-03"], &other));
    let none = r#"{"from":null,"others":0,"to":null,"uses":[]}"#;
    assert_eq!(summary(&["NONE"]).await, none);
}

/// The rows of the log are many and large, so neither a start nor a second statement reads them.
#[tokio::test]
async fn a_start_and_a_statement_do_not_read_all_days() {
    let mut world = World::at("2026-06-01T10:00:00Z");
    let auditor = caller(Role::Auditor, 1);
    let opened = |world: &World| world.vault.with(|inside| std::mem::take(&mut inside.opened));
    let uses = async |world: &World| {
        let text = world.desk.evidence(&auditor).await.unwrap();
        let stated: serde_json::Value = serde_json::from_slice(&text).unwrap();
        stated["access"]["uses"][0]["count"].as_u64().unwrap()
    };
    let mut starts = Vec::new();
    for day in 1..=28 {
        world.clock.set(at(&format!("2026-06-{day:02}T12:00:00Z")));
        world.run().await.unwrap();
        world.desk.note_access(&auditor, "evidence", None, 200);
        world.desk.write_access().await.unwrap();
        opened(&world);
        world.restart();
        starts.push(opened(&world));
    }
    assert_eq!((rows(&world).len(), starts[1]), (28, starts[27]), "{starts:?}");
    opened(&world);
    assert_eq!(uses(&world).await, 28);
    let first = opened(&world);
    // What is added later is in the sum, written or not, and what went is not.
    world.desk.note_access(&auditor, "evidence", None, 200);
    assert_eq!(uses(&world).await, 29);
    assert!(opened(&world) + 27 < first, "{first}");
    world.desk.write_access().await.unwrap();
    assert_eq!(uses(&world).await, 29);
    world.live_until(at("2028-06-02T00:00:00Z")).await;
    assert_eq!((rows(&world).len(), uses(&world).await), (27, 28));
}

/// Days are read by a few at a time, and whoever waits for a place keeps nobody from writing. What
/// is noted and written meanwhile is counted once.
#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_of_some_sites_waits_for_a_place_and_keeps_nobody_from_writing() {
    let world = World::at("2026-06-01T10:00:00Z");
    let auditor = caller(Role::Auditor, 1);
    let use_it = || world.desk.note_access(&auditor, "evidence", Some("ACME"), 200);
    let sum = async || {
        let sites = SiteScope::Some([site_id("ACME")].into());
        let sum = world.desk.0.access_summary_of(sites).await.unwrap();
        format!("{sum:?}")
    };
    use_it();
    world.desk.write_access().await.unwrap();
    use_it();
    let two = sum().await;
    world.desk.write_access().await.unwrap();
    assert_eq!(sum().await, two, "written or noted, it is counted once");
    use_it();
    let places = world.desk.0.reading.available_permits();
    let all = u32::try_from(places).unwrap();
    let taken = Arc::clone(&world.desk.0.reading).acquire_many_owned(all).await.unwrap();
    let mut waits = Box::pin(sum());
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    assert!(Future::poll(waits.as_mut(), &mut context).is_pending());
    world.desk.write_access().await.unwrap();
    assert!(Future::poll(waits.as_mut(), &mut context).is_pending());
    drop(taken);
    assert_ne!(waits.await, two);
    // One that nobody waits for any more keeps its place until it has ended.
    let writing = world.desk.0.access.writing.lock().await;
    let mut dropped = Box::pin(sum());
    assert!(Future::poll(dropped.as_mut(), &mut context).is_pending());
    drop(dropped);
    assert_eq!(world.desk.0.reading.available_permits(), places - 1);
    drop(writing);
    let back = world.desk.0.reading.acquire_many(all).await.unwrap();
    drop(back);
}
