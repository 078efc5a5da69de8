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
async fn check_37_a_held_month_is_kept_apart_until_two_have_released_it() {
    let mut world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    let opened = open(&world, "ACME", BODY).await.unwrap();
    assert!(opened.contains("\"id\":\"h1\"") && opened.contains("\"lots\":6"), "{opened}");
    assert_eq!(world.live_until(at("2026-12-20T00:00:00Z")).await, 6, "those of the other site");
    assert_eq!(world.living(), BTreeSet::new(), "what is held is not where it was");
    let listed = world.list(Some("held"));
    assert_eq!(count(&listed, "\"holds\":[\"h1\"],\"rule\":"), 6, "{listed}");
    assert_eq!(count(&listed, "\"storage\":\"hold\""), 6);
    assert_eq!(count(&world.list(Some("certified")), "ACME"), 0, "what is held is not gone");
    assert_eq!(world.desk.0.figures.last().held, 6);
    assert_eq!(world.desk.0.figures.last().overdue, 0);
    // One entry for each lot and hold says where it is.
    let moved = |event: &Event| matches!(event, Event::HoldMoved { hold: 1, .. });
    assert_eq!(world.entries().iter().filter(|entry| moved(&entry.event)).count(), 6);
    world.restart();
    assert_eq!(release(&world, 1).await, Ok(false));
    assert_eq!(release(&world, 1).await, Err(DeskError::SamePerson));
    world.restart();
    assert_eq!(release(&world, 1).await, Err(DeskError::SamePerson));
    assert_eq!(world.run().await.unwrap().destroyed, 0, "one person is not enough");
    assert_eq!(release(&world, 2).await, Ok(true));
    assert_eq!(release(&world, 3).await, Err(DeskError::Released));
    let now = world.clock.now();
    assert!(!world.desk.0.standings(now).unwrap()[0].is_overdue(now));
    let before = world.vault.with(|inside| (inside.epoch, inside.held_epoch));
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.moved), (6, 0));
    let after = world.vault.with(|inside| (inside.epoch, inside.held_epoch));
    assert_eq!(after, (before.0, before.1 + 1), "a turn-over of the vault of the holds only");
    assert!(world.vault.with(|inside| inside.held.is_empty()));
    // The certificate says that it was held, and by what its copy was kept.
    let auditor = caller(Role::Auditor, 0);
    let text = world.desk.certificate(&auditor, &ran.certificates[0]).unwrap();
    let body = certificate::verify(&text, &world.key()).unwrap();
    assert!(body.lots.iter().all(|lot| (&lot.released_holds[..], lot.hold) == (&[1], Some(1))));
    assert!(body.lots.iter().all(|lot| lot.class.starts_with("hold.") && lot.held_by.is_empty()));
    assert_eq!(count(&world.list(Some("certified")), "\"site_id\":\"ACME\""), 6);
    // Both people are in the ledger.
    let entries = world.entries();
    let released = entries.iter().find(|entry| entry.event.kind() == "hold_released").unwrap();
    let Event::HoldReleased { requested_by, hold, .. } = &released.event else { panic!() };
    assert_eq!((requested_by.to_string(), *hold), ("b".repeat(16), 1));
    assert_eq!(released.actor.to_string(), "c".repeat(16));
}

#[tokio::test]
async fn a_first_request_to_release_lapses_after_a_week() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    open(&world, "ACME", BODY).await.unwrap();
    assert_eq!(release(&world, 1).await, Ok(false));
    let shown = || String::from_utf8(world.desk.holds(&site_id("ACME")).unwrap()).unwrap();
    assert!(shown().contains("\"release_until\":\"2026-06-08T00:00:00Z\""), "{}", shown());
    world.live_until(at("2026-06-08T00:00:00.000Z")).await;
    assert!(shown().contains("\"state\":\"release_requested\""), "{}", shown());
    world.live_until(at("2026-06-08T00:00:00.001Z")).await;
    let lapsed = shown();
    assert!(lapsed.contains("\"state\":\"open\"") && lapsed.contains("\"release_until\":null"));
    assert_eq!(release(&world, 2).await, Ok(false), "it begins anew, with another person");
    assert_eq!(release(&world, 2).await, Err(DeskError::SamePerson));
    world.live_until(at("2026-06-15T00:00:00.001Z")).await;
    assert_eq!(release(&world, 1).await, Ok(true), "to the last millisecond");
}

/// A hold that is opened when the lots are in hold storage already keeps them when the first ends.
#[tokio::test]
async fn another_hold_of_the_same_lot_keeps_its_own() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    open(&world, "ACME", BODY).await.unwrap();
    world.live_until(at("2026-12-20T00:00:00Z")).await;
    let later = BODY.replacen('{', r#"{"classes":["sets"],"#, 1).replace("2026-09", "2027-09");
    let opened = open(&world, "ACME", &later).await.unwrap();
    assert!(opened.contains("\"lots\":2") && opened.contains("\"too_late\":0"), "{opened}");
    let holds = || -> Vec<(u64, &'static str)> {
        let name = |held: &vault::HeldInfo| (held.hold.0, plan::word_of(held.lot));
        world.vault.with(|inside| inside.held.iter().map(name).collect())
    };
    release(&world, 1).await.unwrap();
    release(&world, 2).await.unwrap();
    assert_eq!(world.desk.0.figures.last().overdue, 0);
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.moved), (4, 2));
    assert_eq!(holds(), [(2, "sets"), (2, "key.base")]);
    let listed = world.list(Some("held"));
    assert_eq!(count(&listed, "\"holds\":[\"h2\"]"), 2, "{listed}");
    let auditor = caller(Role::Auditor, 0);
    let text = world.desk.certificate(&auditor, &ran.certificates[1]).unwrap();
    let body = certificate::verify(&text, &world.key()).unwrap();
    assert_eq!(body.lots.iter().filter(|lot| lot.held_by == [2]).count(), 2);
    assert!(body.limits.iter().any(|limit| limit.contains("held_by")));
    // What a hold keeps opens what a backup has of it: of the first hold's copies, too, while the
    // second one has the same keys.
    let dead = |body: &crate::wire::retention::certificate::Body| {
        body.backups.clone().unwrap().dead.unwrap()
    };
    for (at, id) in ran.certificates.iter().enumerate() {
        let text = world.desk.certificate(&auditor, id).unwrap();
        let body = certificate::verify(&text, &world.key()).unwrap();
        assert_eq!(dead(&body).contains("are not dead"), at == 1, "{body:?}");
        let says = body.limits.iter().any(|limit| limit.contains("open such rows until these"));
        assert_eq!(says, at == 1);
    }
    // One that calls them dead all the same does not agree with itself.
    let plain = world.desk.certificate(&auditor, &ran.certificates[0]).unwrap();
    let plain = certificate::verify(&plain, &world.key()).unwrap();
    let backups = Some(crate::wire::retention::certificate::Backups {
        dead: Some(dead(&plain)),
        ..body.backups.clone().unwrap()
    });
    let lie = crate::wire::retention::certificate::Body { backups, ..body.clone() };
    let digest = crate::ledger::Digest(crate::crypto::sha256(&[&lie.to_bytes().unwrap()]));
    let event = Event::CertificateIssued { destruction: lie.intent.index, digest };
    let told = world.ledger.append(Entry::new(lie.issued_at, Actor::Server, event)).unwrap();
    let issued = world.ledger.proof(told.index).unwrap();
    let lie = crate::wire::retention::certificate::Certificate { body: lie, issued };
    assert_eq!(
        certificate::verify(&lie.to_bytes().unwrap(), &world.key()),
        Err(certificate::CertificateError::Itself("backups"))
    );
    // Hold 2 is of this site, and of no other lot of the list.
    let check = body.hold_check.unwrap();
    assert_eq!((check.open, check.covered, check.checked_at), (1, 2, body.begun_at));
    // And the second ends on its own.
    for person in [1, 2] {
        let custodian = caller(Role::Custodian, person);
        world.desk.release_hold(&custodian, site_id("ACME"), "h2").await.unwrap();
    }
    assert_eq!(world.run().await.unwrap().destroyed, 2);
    assert_eq!(holds(), []);
    assert_eq!(world.list(Some("held")).matches("ACME").count(), 0);
}

/// Whatever somebody writes of a hold or of a site's end, no line of the ledger has it.
#[tokio::test]
async fn what_is_written_freely_stays_out_of_the_ledger() {
    let world = World::at("2026-06-01T00:00:00Z");
    let free = "kim@example.com disputes";
    let body = BODY.replacen('{', &format!(r#"{{"reason":"{free}","#), 1);
    assert!(open(&world, "ACME", &body).await.unwrap().contains(free), "the hold shows it");
    let operator = caller(Role::Operator, 3);
    let mut text = format!(r#"{{"reason":"{free}"}}"#).into_bytes();
    world.desk.terminate(&operator, site_id("ACME"), &mut text).await.unwrap();
    world.run().await.unwrap();
    let lines = world.ledger.read(0, 1_000).unwrap();
    assert!(lines.len() > 2 && lines.iter().all(|line| !line.contains("kim")), "{lines:?}");
    let row = world.vault.with(|inside| inside.rows["terminated/ACME"].clone());
    assert_eq!(row, free.as_bytes());
}

/// One block that cannot be read keeps the lots of its own class where they are, and nothing else.
#[tokio::test]
async fn what_cannot_be_kept_apart_stops_no_other_destruction() {
    let mut world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    open(&world, "ACME", BODY).await.unwrap();
    world.live_until(at("2026-11-30T00:00:00Z")).await;
    world.vault.with(|inside| inside.fault = Some(fake::Fault::CannotKeep(1)));
    world.clock.set(at("2026-12-01T00:00:00Z"));
    let ran = world.run().await.unwrap();
    // Of the other site everything, of this one what can be copied.
    assert_eq!((ran.destroyed, ran.moved, ran.failed), (5, 3, 0));
    assert_eq!(world.living(), ["ACME detections", "ACME records"].map(str::to_owned).into());
    let left = |world: &World| world.desk.0.figures.left();
    let failed = |world: &World| {
        let alarms = world.alarms();
        alarms.iter().filter(|alarm| **alarm == "hold_not_kept").count()
    };
    assert_eq!(failed(&world), 1, "when it begins");
    assert_eq!(left(&world), 2);
    // As long as it lasts it is shown and tried, and is no second alarm.
    let tried = || world.kinds().iter().filter(|kind| **kind == "destruction").count();
    let before = tried();
    world.run().await.unwrap();
    assert!(tried() > before && left(&world) == 2);
    assert_eq!(failed(&world), 1);
    assert!(world.ledger.unfinished().unwrap().is_empty());
    // Also after a start, and again, and something else that becomes due goes.
    world.restart();
    world.vault.with(|inside| {
        let site = inside.sites[&site_id("B.C")].clone();
        inside.lots.extend(lots_of(&site, "2026-04", 900));
    });
    assert_eq!(world.run().await.unwrap().destroyed, 6);
    assert_eq!(world.living().len(), 2);
    // The disk gives it back.
    world.vault.with(|inside| inside.fault = None);
    assert_eq!(world.run().await.unwrap().moved, 2);
    assert_eq!((world.living(), left(&world)), (BTreeSet::new(), 0));
    assert_eq!(failed(&world), 2, "once more after a start");
}

/// On a full disk what is on hold stays where it is, and not each of its lots is tried.
#[tokio::test]
async fn a_full_disk_is_asked_once_a_run() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    open(&world, "ACME", BODY).await.unwrap();
    world.live_until(at("2026-11-30T00:00:00Z")).await;
    world.vault.with(|inside| inside.fault = Some(fake::Fault::NoRoom));
    world.clock.set(at("2026-12-01T00:00:00Z"));
    let ran = world.run().await.unwrap();
    assert!(ran.destroyed > 0 && ran.moved == 0, "{ran:?}");
    let told = || world.kinds().iter().filter(|kind| **kind == "destruction").count();
    let alarms = || world.alarms().iter().filter(|alarm| **alarm == "hold_not_kept").count();
    let (before, left) = (told(), world.desk.0.figures.left());
    assert!(left > 2 && alarms() == 1, "{left} {:?}", world.alarms());
    assert_eq!(world.run().await.unwrap().moved, 0);
    assert_eq!((told(), alarms()), (before + 2, 1), "intent and result");
    world.vault.with(|inside| inside.fault = None);
    assert_eq!(i64::try_from(world.run().await.unwrap().moved), Ok(left));
}

/// While a copy of the register of holds is out of reach, what is on hold and what was released
/// waits; all else goes, rows that need no key included.
#[tokio::test]
async fn a_copy_of_the_register_of_holds_out_of_reach_stops_nothing_else() {
    for fault in [None, Some(fake::Fault::CopyLost)] {
        let world = World::at("2026-06-01T00:00:00Z");
        world.run().await.unwrap();
        open(&world, "ACME", BODY).await.unwrap();
        let away = |away| {
            world.vault.with(|inside| {
                inside.no_hold_copy = away;
                inside.fault = fault.filter(|_| away);
            });
        };
        away(true);
        world.live_until(at("2026-11-30T00:00:00Z")).await;
        world.clock.set(at("2026-12-01T00:00:00Z"));
        let intents =
            |world: &World| world.kinds().iter().filter(|kind| **kind == "destruction").count();
        let before = intents(&world);
        world.desk.0.removing().await.unwrap();
        let rewritten = world.vault.with(|inside| inside.rewritten);
        let ran = world.run().await.unwrap();
        assert!(ran.waiting && ran.moved == 0 && ran.destroyed > 0, "{ran:?}");
        let of = |site: &str| world.living().iter().filter(|name| name.starts_with(site)).count();
        assert_eq!((of("ACME"), of("B.C")), (6, 0), "{:?}", world.living());
        assert_eq!(world.vault.with(|inside| inside.rewritten), rewritten + 1, "swept");
        assert!(fault.is_some() || intents(&world) <= before + 4, "no intent that must fail");
        for _ in 0..3 {
            world.run().await.unwrap();
        }
        let alarm = "register_copy_unreachable";
        assert_eq!(world.alarms().iter().filter(|one| **one == alarm).count(), 1, "{fault:?}");
        assert!(world.ledger.unfinished().unwrap().is_empty());
        assert!(world.desk.0.figures.left() > 0);
        away(false);
        let ran = world.run().await.unwrap();
        assert_eq!((ran.waiting, world.desk.0.figures.left()), (false, 0));
        let held = || world.vault.with(|inside| inside.held.len());
        assert!(ran.moved > 0 && held() > 0 && of("ACME") == 0, "{:?}", world.living());
        // And what was released.
        away(true);
        let copies = held();
        release(&world, 1).await.unwrap();
        release(&world, 2).await.unwrap();
        let ran = world.run().await.unwrap();
        assert!(ran.waiting && held() == copies, "{ran:?}");
        world.vault.with(|inside| {
            let site = inside.sites[&site_id("B.C")].clone();
            inside.lots.extend(lots_of(&site, "2026-04", 900));
        });
        assert_eq!(world.run().await.unwrap().destroyed, 6);
        away(false);
        world.run().await.unwrap();
        assert_eq!(held(), 0);
    }
}

#[tokio::test]
async fn a_copy_that_is_not_there_is_an_alarm_and_no_success() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    open(&world, "ACME", BODY).await.unwrap();
    world.vault.with(|inside| inside.fault = Some(fake::Fault::KeepsNothing));
    world.live_until(at("2026-08-10T00:00:00Z")).await;
    assert_eq!(world.alarms(), ["verification_failed"]);
    let kinds = world.kinds();
    assert!(!kinds.contains(&"hold_moved"));
    let issued = kinds.iter().filter(|kind| **kind == "certificate_issued").count();
    assert_eq!(issued, 1, "for what nothing holds");
}

#[tokio::test]
async fn a_hold_of_one_class_keeps_the_keys_that_it_needs() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    let body = BODY.replacen('{', r#"{"classes":["detections"],"#, 1);
    open(&world, "ACME", &body).await.unwrap();
    world.live_until(at("2026-12-20T00:00:00Z")).await;
    let left: BTreeSet<&str> =
        world.vault.with(|inside| inside.held.iter().map(|h| plan::word_of(h.lot)).collect());
    assert_eq!(left, ["detections", "key.record", "key.watermark", "key.base"].into());
    assert_eq!(world.living(), BTreeSet::new());
}

#[tokio::test]
async fn a_hold_covers_days_that_lie_in_its_month_and_what_may_still_come() {
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
    // A record of that day may come for 35 days, so it stays open for as long.
    assert_eq!(world.live_until(at("2026-12-05T00:00:00Z")).await, 1);
    world.vault.with(|inside| assert_eq!(inside.lots, [day("2026-10-31T00:00:00Z")]));
    assert_eq!(world.desk.0.figures.last().overdue, 0);
    assert_eq!(count(&world.list(Some("held")), "\"storage\""), 0);
    world.live_until(at("2026-12-08T00:00:00Z")).await;
    world.vault.with(|inside| assert_eq!((inside.lots.len(), inside.held.len()), (0, 1)));
    assert_eq!(count(&world.list(Some("held")), "\"storage\":\"hold\""), 1);
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
    // And again each week, until somebody has looked.
    for day in [7, 8, 9, 14, 15] {
        world.clock.set(Timestamp(at("2026-09-01T00:00:01Z").0 + day * DAY_MS));
        world.run().await.unwrap();
    }
    assert_eq!(world.alarms(), ["hold_unreviewed"; 3]);
}

/// Lots that no hold covers, and that keys of a copy would open which was given up: they wait, and
/// nobody refused them. Once they are found no run tries them until the copy is back.
#[tokio::test]
async fn what_waits_for_a_copy_of_the_register_of_holds_is_not_refused() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    let away = |away| {
        world.vault.with(|inside| {
            inside.no_hold_copy = away;
            inside.fault = Some(fake::Fault::GivenUp(1)).filter(|_| away);
        });
    };
    away(true);
    world.live_until(at("2026-12-02T00:00:00Z")).await;
    let buckets = BTreeSet::from(["ACME detections".to_owned(), "ACME records".to_owned()]);
    assert_eq!(world.living(), buckets, "all else went");
    let entries = world.kinds().len();
    for _ in 0..3 {
        let ran = world.run().await.unwrap();
        assert!(ran.waiting && ran.destroyed == 0, "{ran:?}");
    }
    assert_eq!(world.kinds().len(), entries, "no intent that must fail");
    assert_eq!(world.desk.0.figures.left(), 2);
    assert_eq!(world.alarms(), ["register_copy_unreachable"], "nobody refused");
    away(false);
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.waiting, world.desk.0.figures.left()), (2, false, 0));
}
