//! The access log: counted by the day, written, destroyed by the month, and silent about ids.

use super::*;
use crate::retention::certificate::verify;
use crate::retention::fake::Cut;
use crate::retention::policy::RetentionClass;
use crate::retention::vault::Vault;
use crate::wire::retention::access::AccessDay;

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

/// Two days of June and one of July, written; a lot of no site for each of the months.
async fn written(profile: Profile) -> World {
    let settings = Settings { profile, ..Settings::default() };
    let world = World::over(Memory::default(), at("2026-06-01T10:00:00Z"), settings);
    world.run().await.unwrap();
    let auditor = caller(Role::Auditor, 1);
    for time in ["2026-06-01T10:00:00Z", "2026-06-30T23:59:59Z", "2026-07-01T00:00:00Z"] {
        world.live_until(at(time)).await;
        world.desk.note_access(&auditor, "evidence", None, 200);
    }
    world.desk.write_access().await.unwrap();
    assert_eq!(rows(&world), ["access/2026-06-01", "access/2026-06-30", "access/2026-07-01"]);
    assert_eq!(world.living(), ["* access".to_owned()].into());
    world
}

/// Lots of the log by their states.
fn states(world: &World) -> [usize; 4] {
    ["active", "due", "overdue", "certified"]
        .map(|state| count(&world.list(Some(state)), "\"class\":\"access\""))
}

#[tokio::test]
async fn a_month_goes_as_a_whole_when_its_period_is_over_with_a_certificate() {
    for (profile, due, rule) in [
        (Profile::KrPipa, "2028-07-01T00:00:00Z", "kr-pipa/c6"),
        (Profile::EuGdpr, "2027-07-01T00:00:00Z", "eu-gdpr/c6"),
    ] {
        let world = written(profile).await;
        // Its first day is older by a month.
        assert_eq!(world.live_until(Timestamp(at(due).0 - 1)).await, 0);
        assert_eq!((rows(&world).len(), states(&world)), (3, [2, 0, 0, 0]), "{profile:?}");
        let before = world.entries().len();
        world.clock.set(at(due));
        assert_eq!(states(&world), [1, 1, 0, 0], "{profile:?}");
        let ran = world.run().await.unwrap();
        assert_eq!((ran.destroyed, ran.certificates.len()), (1, 1), "{profile:?}");
        assert_eq!(rows(&world), ["access/2026-07-01"], "{profile:?}");
        assert_eq!(states(&world), [1, 0, 0, 1], "{profile:?}");
        let entries = world.entries().split_off(before);
        let kinds: Vec<_> = entries.iter().map(|entry| entry.event.kind()).collect();
        assert_eq!(kinds, ["destruction", "destruction", "certificate_issued"]);
        let Event::DestructionIntent { buckets, keys, .. } = &entries[0].event else {
            panic!("no intent")
        };
        let [bucket] = &buckets[..] else { panic!("{buckets:?}") };
        assert_eq!((bucket.class.as_str(), bucket.rule.as_str()), ("access", rule));
        assert_eq!((bucket.epoch.to_string(), bucket.due), ("2026-06".to_owned(), at(due)));
        assert_eq!((bucket.sites[0].as_str(), keys.count()), ("*", 1));
        // It is of no site, so it is no secret of one.
        let of_one = Token {
            sites: SiteScope::Some([site_id("B.C")].into()),
            ..Token::clone(&caller(Role::Auditor, 0))
        };
        let bytes = world.desk.certificate(&Arc::new(of_one), &ran.certificates[0]).unwrap();
        let body = verify(&bytes, &world.key()).unwrap();
        let lot = &body.lots[0];
        assert_eq!((lot.class.as_str(), lot.site.as_str(), lot.keys.len()), ("access", "*", 1));
        assert!(!lot.ground.is_empty() && body.verification.passed);
        // Backups of earlier programs have it under another key, and the certificate says so.
        let dead = body.backups.and_then(|backups| backups.dead).unwrap();
        assert!(dead.contains("data format 7"), "{dead}");
        assert!(body.limits.iter().any(|limit| limit.contains("under the state key")));
        let forged = String::from_utf8(bytes).unwrap().replacen("2026-06", "2026-05", 1);
        assert!(verify(forged.as_bytes(), &world.key()).is_err());
        // The policy's table says how it is cut.
        let policy = Policy::of(profile);
        let of_log = policy.rule(RetentionClass::AccessLog).unwrap();
        assert_eq!(of_log.epoch.name(), "month");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_keeps_no_month_longer_and_ends_none_early() {
    let world = written(Profile::KrPipa).await;
    let auditor = caller(Role::Auditor, 1);
    // Half a year ahead, and nobody says that it is right.
    world.clock.jump(at("2027-01-01T10:00:00Z"));
    world.desk.note_access(&auditor, "evidence", None, 200);
    world.desk.write_access().await.unwrap();
    assert_eq!(rows(&world).len(), 3);
    world.clock.jump(at("2028-07-01T00:00:00Z"));
    assert_eq!(world.run().await, Err(DeskError::ClockAhead));
    assert_eq!(rows(&world).len(), 3);
    clock::confirm(&world, "2028-07-01T00:00:00Z").await.unwrap();
    assert_eq!(world.run().await.unwrap().destroyed, 1);
    assert_eq!(rows(&world), ["access/2026-07-01"]);
}

#[tokio::test]
async fn a_month_waits_three_days_at_most_for_a_backup() {
    let world = written(Profile::KrPipa).await;
    world.live_until(at("2028-06-30T00:00:00Z")).await;
    world.vault.with(|inside| inside.copying = true);
    assert_eq!(world.live_until(at("2028-07-03T23:59:59.999Z")).await, 0);
    assert_eq!(states(&world), [1, 1, 0, 0]);
    world.clock.set(at("2028-07-04T00:00:00Z"));
    assert_eq!(world.run().await.unwrap().destroyed, 1);
    assert_eq!(world.alarms(), [] as [&str; 0]);
}

/// What holds and removals are about are records of sites; the log is of all of them.
#[tokio::test]
async fn no_hold_keeps_a_month_and_no_removal_takes_it() {
    let world = World::at("2026-05-20T10:00:00Z");
    world.run().await.unwrap();
    let auditor = caller(Role::Auditor, 1);
    world.desk.note_access(&auditor, "evidence", Some("ACME"), 200);
    world.desk.write_access().await.unwrap();
    let hold = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2026-11-01T00:00:00Z"}"#;
    let mut hold = hold.as_bytes().to_vec();
    let privacy = caller(Role::Privacy, 7);
    let opened = world.desk.open_hold(&privacy, site_id("ACME"), &mut hold).await.unwrap();
    assert!(String::from_utf8(opened).unwrap().contains("\"lots\":6"), "those of the site");
    world.clock.set(at("2026-06-02T00:00:00Z"));
    let removed = r#"{"reason":"controller_request","late_records":"refuse"}"#;
    for person in [2, 3] {
        let mut text = removed.as_bytes().to_vec();
        let custodian = caller(Role::Custodian, person);
        world.desk.remove(&custodian, site_id("B.C"), month("2026-05"), &mut text).await.unwrap();
    }
    assert!(world.living().iter().all(|lot| !lot.starts_with("B.C ")), "the month is removed");
    assert!(world.living().contains("* access"));
    assert_eq!(rows(&world), ["access/2026-05-20"]);
    world.live_until(at("2028-06-01T00:00:00Z")).await;
    assert!(!world.living().contains("* access"));
    assert_eq!(rows(&world), [""; 0]);
    // Other lots of the month are held still.
    assert_eq!(world.vault.with(|inside| inside.held.len()), 6);
}

/// What cannot be written any more keeps nothing else from being written.
#[tokio::test]
async fn nothing_is_written_into_a_destroyed_month() {
    let world = written(Profile::KrPipa).await;
    // As after a restore: the month is destroyed, and the clock of its data is behind.
    world.vault.with(|inside| {
        let (gone, left) = std::mem::take(&mut inside.lots)
            .into_iter()
            .partition(|info| info.lot == Lot::Access(month("2026-07")));
        let gone: Vec<LotInfo> = gone;
        inside.lots = left;
        inside.gone.extend(gone.iter().flat_map(|info| &info.keys));
        inside.rows.remove("access/2026-07-01");
    });
    let auditor = caller(Role::Auditor, 1);
    world.desk.note_access(&auditor, "evidence", None, 200);
    world.clock.set(at("2026-07-02T00:00:00Z"));
    world.desk.note_access(&auditor, "evidence", None, 200);
    world.clock.set(at("2026-08-01T00:00:00Z"));
    world.desk.note_access(&auditor, "evidence", None, 200);
    world.desk.write_access().await.unwrap();
    assert_eq!(rows(&world), ["access/2026-06-01", "access/2026-06-30", "access/2026-08-01"]);
    assert_eq!(shown(&world, "2026-07-02T00:00:00Z").await["lines"], serde_json::json!([]));
}

/// A day that cannot be read keeps its own lines waiting, and no other's.
#[tokio::test]
async fn a_damaged_day_keeps_no_other_from_the_disk() {
    let world = World::at("2026-06-01T10:00:00Z");
    world.run().await.unwrap();
    let auditor = caller(Role::Auditor, 1);
    let damaged = "access/2026-06-01";
    world.vault.with(|inside| inside.rows.insert(damaged.to_owned(), b"damaged".to_vec()));
    world.desk.note_access(&auditor, "evidence", None, 200);
    world.clock.set(at("2026-06-02T10:00:00Z"));
    world.desk.note_access(&auditor, "evidence", None, 200);
    assert!(world.desk.write_access().await.is_err());
    assert_eq!(rows(&world), [damaged, "access/2026-06-02"]);
    world.vault.with(|inside| inside.rows.remove(damaged));
    world.desk.write_access().await.unwrap();
    for day in ["2026-06-01T00:00:00Z", "2026-06-02T00:00:00Z"] {
        assert_eq!(shown(&world, day).await["lines"][0]["count"], 1, "{day}");
    }
}

/// A vault with these days of the log, in which nothing is noted.
async fn vault_of(days: &[&str]) -> Memory {
    let vault = Memory::default();
    for day in days {
        let row = AccessDay::default().to_bytes().unwrap();
        vault.put_row(format!("access/{day}"), row).await.unwrap();
    }
    vault
}

#[tokio::test]
async fn check_36_the_destruction_of_a_month_cut_anywhere_is_finished_by_the_next_run() {
    let mut cuts = 0;
    for number in 0.. {
        let mut done = true;
        for cut in [Cut::Before(number), Cut::After(number)] {
            let mut world = World::over(
                vault_of(&["2026-06-01", "2026-06-30", "2026-07-01"]).await,
                at("2027-06-30T23:00:00Z"),
                Settings { profile: Profile::EuGdpr, ..Settings::default() },
            );
            world.run().await.unwrap();
            world.clock.set(at("2027-07-01T00:00:00Z"));
            let from = world.vault.with(|inside| inside.changes);
            let cut = match cut {
                Cut::Before(at) => Cut::Before(from + at),
                Cut::After(at) => Cut::After(from + at),
            };
            world.vault.with(|inside| inside.cut = Some(cut));
            let _ = world.run().await;
            let reached = world.vault.with(|inside| inside.changes) > from + number;
            done &= !reached;
            cuts += usize::from(reached);
            world.vault.with(|inside| inside.cut = None);
            let issued = |world: &World| count(&world.kinds().join(" "), "certificate_issued");
            let is_there = rows(&world).len() == 3;
            assert!(!is_there || issued(&world) == 0, "{cut:?}: nothing is said before");
            world.restart();
            world.run().await.unwrap();
            assert_eq!((rows(&world), issued(&world)), (vec!["access/2026-07-01".into()], 1));
            assert_eq!(states(&world), [1, 0, 0, 1], "{cut:?}");
        }
        if done {
            break;
        }
    }
    assert!(cuts >= 10, "only {cuts} cuts were reached");
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
    // The last half of June and the first days of July.
    for day in 0..28 {
        world.clock.set(Timestamp(at("2026-06-15T12:00:00Z").0 + day * DAY_MS));
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
    world.live_until(at("2028-07-01T00:00:00Z")).await;
    assert_eq!((rows(&world).len(), uses(&world).await), (12, 13));
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
