//! Runs: what goes, when, and what is said of it.

use super::*;
use crate::retention::fake::Fault;

#[tokio::test]
async fn what_is_due_goes_and_nothing_else() {
    let world = World::at("2026-06-01T00:00:00Z");
    assert_eq!(world.run().await.unwrap(), Default::default());
    // 72 hours, 60 days: the sets are due on 3 August.
    assert_eq!(world.live_until(at("2026-08-02T23:00:00Z")).await, 0);
    assert_eq!(world.list(Some("due")).matches("\"class\"").count(), 9, "only the rules");
    world.clock.set(at("2026-08-03T00:00:00Z"));
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.certificates.len()), (2, 1));
    assert!(!world.living().contains("ACME sets") && world.living().contains("ACME key.base"));
    assert_eq!(world.live_until(at("2026-11-30T23:59:00Z")).await, 0);
    world.clock.set(at("2026-12-01T00:00:00Z"));
    assert_eq!(world.run().await.unwrap().destroyed, 10);
    assert!(world.living().is_empty());
    assert_eq!(count(&world.list(Some("certified")), "\"certificate\":\"c"), 12);
    assert!(world.alarms().is_empty(), "{:?}", world.alarms());
    let searched = world.entries().into_iter().filter_map(|entry| match entry.event {
        Event::DestructionResult { verification, .. } => Some(verification.files_searched),
        _ => None,
    });
    assert_eq!(searched.collect::<Vec<_>>(), [9, 9]);
    // Intent, result and certificate in order, and nothing is open.
    let kinds = world.kinds();
    assert_eq!(kinds[kinds.len() - 3..], ["destruction", "destruction", "certificate_issued"]);
    assert!(world.ledger.unfinished().unwrap().is_empty());
}

#[tokio::test]
async fn the_intent_names_lots_keys_and_commitments_before_anything_goes() {
    let world = World::at("2026-08-02T00:00:00Z");
    world.run().await.unwrap();
    world.clock.set(at("2026-08-03T00:00:00Z"));
    world.run().await.unwrap();
    let entries = world.entries();
    let intent = entries.iter().find(|entry| entry.event.phase() == crate::ledger::Phase::Intent);
    let Event::DestructionIntent { profile, buckets, keys, .. } = &intent.unwrap().event else {
        panic!("no intent");
    };
    assert_eq!((profile.as_str(), buckets.len(), keys.count()), ("kr-pipa", 1, 4));
    assert_eq!(buckets[0].sites, [site_id("ACME"), site_id("B.C")]);
    assert_eq!(buckets[0].rule.as_str(), "kr-pipa/c3");
}

#[tokio::test]
async fn check_40_nothing_destroyed_is_an_alarm() {
    let world = World::at("2026-08-03T00:00:00Z");
    world.vault.with(|inside| inside.fault = Some(Fault::Nothing));
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.failed, ran.certificates.len()), (0, 1, 0));
    assert_eq!(world.alarms(), ["nothing_destroyed"]);
    assert!(world.ledger.unfinished().unwrap().is_empty());
    // The next run tries again, with an intent of its own.
    assert_eq!(world.run().await.unwrap().destroyed, 2);
}

#[tokio::test]
async fn a_lie_of_the_engine_is_found_out() {
    let world = World::at("2026-08-03T00:00:00Z");
    world.vault.with(|inside| inside.fault = Some(Fault::Lies));
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.failed, ran.certificates.len()), (0, 1, 0));
    assert_eq!(world.alarms(), ["verification_failed"]);
    assert_eq!(world.run().await.unwrap().destroyed, 2);
}

/// Whatever the destroyer says: where the register still has the wrapped form of a key, nothing is
/// certified.
#[tokio::test]
async fn what_the_search_in_the_register_finds_is_not_certified() {
    let world = World::at("2026-08-03T00:00:00Z");
    world.vault.with(|inside| inside.forms_left = 1);
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.failed, ran.certificates.len()), (0, 1, 0));
    assert_eq!(world.alarms(), ["verification_failed"]);
    let passed = world.entries().into_iter().find_map(|entry| match entry.event {
        Event::DestructionResult { verification, .. } => Some(verification.passed),
        _ => None,
    });
    assert_eq!(passed, Some(false));
}

#[tokio::test]
async fn what_still_opens_stays_under_destruction() {
    let world = World::at("2026-08-03T00:00:00Z");
    world.vault.with(|inside| inside.fault = Some(Fault::StillOpens));
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.failed), (0, 1));
    assert_eq!(world.alarms(), ["verification_failed"]);
    assert_eq!(count(&world.list(Some("destroying")), "site_id"), 2);
    assert_eq!(world.ledger.unfinished().unwrap().len(), 1);
    assert_eq!(world.run().await.unwrap().destroyed, 2);
    assert!(world.ledger.unfinished().unwrap().is_empty());
}

/// A lot that the engine refuses keeps its own place in line and no other's; each run tries again.
#[tokio::test]
async fn what_the_engine_refuses_stops_nothing_else() {
    let vault = Memory::default();
    vault.with(|inside| {
        for no in 1..=30 {
            let site = site(&format!("S{no}"), no, "UTC", None);
            inside.lots.extend(lots_of(&site, "2026-05", u64::from(no) * 100));
            inside.sites.insert(site.id.clone(), Arc::new(site));
        }
        inside.fault = Some(Fault::Refuses(17));
    });
    let mut world = World::over(vault, at("2026-12-01T00:00:00Z"), Settings::default());
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.failed), (30 * 6 - 2, 0));
    assert_eq!(world.living(), ["S17 detections", "S17 records"].map(str::to_owned).into());
    let told = world.kinds().iter().filter(|kind| **kind == "destruction").count();
    assert!(told < 80, "halves, and not one after the other: {told}");
    assert!(world.ledger.unfinished().unwrap().is_empty());
    world.run().await.unwrap();
    assert_eq!((world.alarms(), world.desk.0.figures.left()), (vec!["destruction_failed"], 2));
    // Something else becomes due, after a start, too; and the engine takes it at last.
    world.restart();
    world.vault.with(|inside| {
        let site = inside.sites[&site_id("S3")].clone();
        inside.lots.extend(lots_of(&site, "2026-04", 9_000));
    });
    assert_eq!(world.run().await.unwrap().destroyed, 6);
    world.vault.with(|inside| inside.fault = None);
    assert_eq!(world.run().await.unwrap().destroyed, 2);
    assert_eq!((world.living(), world.desk.0.figures.left()), (BTreeSet::new(), 0));
}

#[tokio::test]
async fn a_copy_that_is_not_there_is_waited_for() {
    let world = World::at("2026-08-03T00:00:00Z");
    for _ in 0..2 {
        world.vault.with(|inside| inside.fault = Some(Fault::Waiting));
        let ran = world.run().await.unwrap();
        assert!(ran.waiting && ran.destroyed == 0);
        assert_eq!(count(&world.list(Some("destroying")), "site_id"), 2);
    }
    assert_eq!(world.alarms(), ["register_copy_unreachable"]);
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.waiting), (2, false));
}

#[tokio::test]
async fn check_38_what_is_overdue_is_an_alarm_and_a_metric() {
    let world = World::at("2026-08-03T00:00:00Z");
    let registry = Registry::default();
    world.desk.register(&registry);
    for day in 3..=9 {
        world.clock.set(at(&format!("2026-08-0{day}T00:00:00Z")));
        world.vault.with(|inside| inside.fault = Some(Fault::Waiting));
        world.run().await.unwrap();
        let overdue = world.desk.0.figures.last().overdue;
        assert_eq!(overdue, if day > 8 { 2 } else { 0 }, "day {day}");
    }
    assert_eq!(world.alarms(), ["register_copy_unreachable", "destruction_overdue"]);
    let text = registry.render(crate::observe::metrics::Exposition::Prometheus);
    assert!(text.contains("blindtally_retention_lots_overdue 2\n"), "{text}");
    assert!(text.contains("{reason=\"destruction_overdue\"} 1\n"), "{text}");
    world.run().await.unwrap();
    assert_eq!(world.desk.0.figures.last(), Default::default());
}

#[tokio::test]
async fn termination_brings_everything_forward() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    let operator = caller(Role::Operator, 3);
    let site = site_id("ACME");
    let mut text = br#"{"reason":"contract ended"}"#.to_vec();
    let (done, ended) = world.desk.terminate(&operator, site.clone(), &mut text).await.unwrap();
    assert!(done);
    assert!(
        String::from_utf8(ended).unwrap().contains("\"terminated_at\":\"2026-06-01T00:00:00Z\"")
    );
    // Again: the same time, and no second entry.
    world.clock.set(at("2026-06-02T00:00:00Z"));
    let again = world.desk.terminate(&operator, site.clone(), &mut Vec::new()).await.unwrap();
    assert!(String::from_utf8(again.1).unwrap().contains("2026-06-01T00:00:00Z"));
    assert_eq!(world.kinds().iter().filter(|kind| **kind == "site_terminated").count(), 1);
    let none = world.desk.terminate(&operator, site_id("NONE"), &mut Vec::new()).await;
    assert_eq!(none, Err(DeskError::NotFound));
    let bad = world.desk.terminate(&operator, site, &mut br#"{"reason":"\u00e9"}"#.to_vec()).await;
    assert!(matches!(bad, Err(DeskError::Unfit(_))));
    // A bucket of December is due at the termination's end, not its own.
    world.vault.with(|inside| {
        let site = inside.sites[&site_id("ACME")].clone();
        inside.lots = lots_of(&site, "2026-11", 500);
    });
    let listed = world.list(None);
    assert_eq!(count(&listed, "\"due\":\"2026-12-01T00:00:00Z\""), 6, "{listed}");
}

/// A site that ended, and a cut before the ledger heard of it.
#[tokio::test]
async fn an_end_that_a_cut_kept_from_the_ledger_is_told_by_the_next_run() {
    let mut world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    let ended = at("2026-05-31T00:00:00Z");
    world.vault.with(|inside| {
        let site = inside.sites.get_mut(&site_id("ACME")).unwrap();
        *site = Arc::new(Site { terminated_at: Some(ended), ..Site::clone(site) });
    });
    for _ in 0..2 {
        world.restart();
        world.run().await.unwrap();
    }
    let told = world.entries().into_iter().filter_map(|entry| match entry.event {
        Event::SiteTerminated { site, terminated_at, .. } => Some((site, terminated_at)),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(site_id("ACME"), ended)], "once");
}

#[tokio::test]
async fn many_lots_go_in_several_destructions() {
    let vault = Memory::default();
    vault.with(|inside| {
        for no in 1..=300 {
            let site = site(&format!("S{no}"), no, "UTC", None);
            inside.lots.extend(lots_of(&site, "2026-05", u64::from(no) * 100));
            inside.sites.insert(site.id.clone(), Arc::new(site));
        }
    });
    let world = World::over(vault, at("2026-12-01T00:00:00Z"), Settings::default());
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.certificates.len()), (1_800, 2));
    assert!(world.living().is_empty());
}

#[tokio::test]
async fn the_list_has_pages_and_shows_own_sites_only() {
    let world = World::at("2026-06-01T00:00:00Z");
    let page = |from| Question { site: None, state: None, limit: 5, from };
    let auditor = caller(Role::Auditor, 0);
    let text = |question: &Question, caller: &Caller| {
        String::from_utf8(world.desk.list(caller, question).unwrap()).unwrap()
    };
    let first = text(&page(0), &auditor);
    assert!(first.contains("\"next_cursor\":\"5\"") && count(&first, "site_id") == 5, "{first}");
    let last = text(&page(10), &auditor);
    assert!(!last.contains("next_cursor") && count(&last, "site_id") == 2, "{last}");
    let own = Token { sites: SiteScope::Some([site_id("B.C")].into()), ..Token::clone(&auditor) };
    let all = Question { site: None, state: None, limit: 100, from: 0 };
    let listed = text(&all, &Arc::new(own));
    assert!(!listed.contains("ACME") && count(&listed, "site_id") == 6, "{listed}");
}

#[tokio::test]
async fn what_waits_to_be_destroyed_is_shown_counted_and_told_to_holds() {
    for (fault, alarm) in [
        (Fault::Waiting, "register_copy_unreachable"),
        (Fault::Away, "destruction_failed"),
        (Fault::StillOpens, "verification_failed"),
    ] {
        let world = World::at("2026-08-03T00:00:00Z");
        for day in 3..=9 {
            world.clock.set(at(&format!("2026-08-0{day}T00:00:00Z")));
            world.vault.with(|inside| inside.fault = Some(fault));
            assert_eq!(world.run().await.is_err(), fault == Fault::Away);
            world.vault.with(|inside| assert_eq!(inside.lots.len(), 10, "the register has let go"));
            assert_eq!(count(&world.list(Some("destroying")), "site_id"), 2, "{fault:?} {day}");
            let look = world.desk.0.figures.last();
            assert_eq!((look.due, look.overdue), (2, if day > 8 { 2 } else { 0 }), "{fault:?}");
        }
        assert_eq!(world.alarms(), [alarm, "destruction_overdue"]);
        // All that is left of the month is what goes.
        world.vault.with(|inside| inside.lots.clear());
        let hold = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2027-01-01T00:00:00Z"}"#;
        let (privacy, site) = (caller(Role::Privacy, 7), site_id("ACME"));
        let opened = world.desk.open_hold(&privacy, site, &mut hold.as_bytes().to_vec()).await;
        let opened = String::from_utf8(opened.unwrap()).unwrap();
        assert!(opened.contains("\"lots\":0,") && opened.contains("\"too_late\":1"), "{opened}");
        assert_eq!(world.desk.0.figures.last().held, 0, "no hold keeps it");
        assert_eq!(world.run().await.unwrap().destroyed, 2);
        assert_eq!(count(&world.list(Some("destroying")), "site_id"), 0);
        assert_eq!(world.desk.0.figures.last(), Default::default());
    }
}

#[tokio::test]
async fn a_credential_of_some_sites_does_nothing_to_all_of_them() {
    let world = World::at("2026-08-03T00:00:00Z");
    let custodian = caller(Role::Custodian, 5);
    let own = SiteScope::Some([site_id("ACME"), site_id("B.C")].into());
    let own: Caller = Arc::new(Token { sites: own, ..Token::clone(&custodian) });
    assert_eq!(world.desk.run(&own).await, Err(DeskError::NeedsAllSites));
    assert_eq!(world.living().len(), 12);
    world.run().await.unwrap();
    world.clock.jump(at("2026-12-01T00:00:00Z"));
    let time = || br#"{"time":"2026-12-01T00:00:00Z"}"#.to_vec();
    let refused = world.desk.confirm_clock(&own, &mut time()).await;
    assert_eq!(refused, Err(DeskError::NeedsAllSites));
    assert_eq!(world.desk.run(&custodian).await, Err(DeskError::ClockAhead));
    world.desk.confirm_clock(&custodian, &mut time()).await.unwrap();
    assert!(world.desk.run(&custodian).await.is_ok());
}

#[tokio::test]
async fn a_ledger_that_fails_under_the_desk_is_told() {
    let world = World::at("2026-08-03T00:00:00Z");
    let folder = tempfile::tempdir().unwrap();
    drop(open_ledger(folder.path(), world.clock.now()));
    // Reads as empty, and has no room.
    let entries = folder.path().join("ledger").join(crate::ledger::ENTRIES);
    std::fs::remove_file(&entries).unwrap();
    std::os::unix::fs::symlink("/dev/full", &entries).unwrap();
    let ledger = Arc::new(open_ledger(folder.path(), world.clock.now()));
    let (vault, clock) = (world.vault.clone(), world.clock.clone());
    let desk = Desk::new(vault, ledger, Settings::default(), clock).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&told);
    desk.on_ledger_failure(move |sentence| list.lock().unwrap().push(sentence.to_owned()));
    assert_eq!(desk.run_by(Actor::Server).await, Err(DeskError::Failed));
    let told = told.lock().unwrap();
    assert!(told.iter().any(|said| said.contains("writing the ledger failed")), "{told:?}");
    assert_eq!(world.living().len(), 12, "nothing goes without its entry");
}

/// A month that is due and not closed yet still takes records, so its keys stay; its records go.
#[tokio::test]
async fn what_its_month_still_needs_waits_for_the_close() {
    let world = World::at("2026-12-01T00:00:00Z");
    let close = |through: Option<Month>| {
        world.vault.with(|inside| {
            for site in inside.sites.values_mut() {
                *site = Arc::new(Site { closed_through: through, ..Site::clone(site) });
            }
        });
    };
    close(Some(month("2026-04")));
    world.run().await.unwrap();
    let wanted = ["ACME", "B.C"].map(|site| {
        ["sets", "key.record", "key.watermark", "key.base"].map(|word| format!("{site} {word}"))
    });
    assert_eq!(world.living(), wanted.into_iter().flatten().collect());
    close(Some(month("2026-05")));
    world.run().await.unwrap();
    assert_eq!(world.living(), BTreeSet::new());
}

/// Once the register is written it lists none of the keys that go; as long as they open, evidence
/// does.
#[tokio::test]
async fn evidence_has_the_keys_of_a_destruction_that_waits() {
    let world = World::at("2026-08-03T00:00:00Z");
    let auditor = caller(Role::Auditor, 1);
    let stated = async || {
        let text = world.desk.evidence(&auditor).await.unwrap();
        let said: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let keys = said["key_list"].as_array().unwrap();
        let of = |state: &str| keys.iter().filter(|key| key["state"] == state).count();
        (said["keys"]["bucket"].as_u64(), of("living"), of("destroying"))
    };
    assert_eq!(stated().await, (Some(14), 14, 0));
    world.vault.with(|inside| inside.fault = Some(Fault::Waiting));
    assert!(world.run().await.unwrap().waiting);
    let listed = world.vault.with(|inside| inside.lots.iter().map(|lot| lot.keys.len()).sum());
    let listed: usize = listed;
    assert_eq!(listed, 10, "the register has let go of those of two sets");
    assert_eq!(stated().await, (Some(14), 10, 4));
    assert_eq!(world.run().await.unwrap().destroyed, 2);
    assert_eq!(stated().await, (Some(10), 10, 0));
}

/// A register that cannot be searched certifies nothing and is an alarm, once; when it can be read
/// again the same destruction is certified.
#[tokio::test]
async fn a_search_that_cannot_be_made_is_an_alarm_and_is_made_later() {
    let mut world = World::at("2026-12-20T00:00:00Z");
    world.vault.with(|inside| inside.unreadable = true);
    for _ in 0..2 {
        let ran = world.run().await.unwrap();
        assert_eq!((ran.destroyed, ran.failed, ran.certificates.len()), (0, 1, 0));
        world.restart();
    }
    let failed =
        |world: &World| world.alarms().iter().filter(|of| **of == "verification_failed").count();
    assert_eq!(failed(&world), 1);
    world.vault.with(|inside| inside.unreadable = false);
    let ran = world.run().await.unwrap();
    assert!(ran.destroyed == 12 && ran.failed == 0, "{ran:?}");
    assert_eq!((failed(&world), ran.certificates.len()), (1, 1));
}
