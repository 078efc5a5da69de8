//! A process that ends anywhere: the next one finishes, and never says more than is true.

use super::*;
use crate::ledger::Phase;
use crate::retention::fake::{Cut, Fault};

/// Intents, passed results and certificates in the ledger, and certificates that are kept.
fn told(world: &World) -> [usize; 4] {
    let entries = world.entries();
    let of = |wanted: &dyn Fn(&Event) -> bool| {
        entries.iter().filter(|entry| wanted(&entry.event)).count()
    };
    let kept = world.vault.with(|inside| {
        inside.rows.keys().filter(|name| name.starts_with(certificate::ROWS)).count()
    });
    let passed = |event: &Event| match event {
        Event::DestructionResult { verification, .. } => verification.passed,
        _ => false,
    };
    [
        of(&|event| matches!(event, Event::DestructionIntent { .. })),
        of(&passed),
        of(&|event| matches!(event, Event::CertificateIssued { .. })),
        kept,
    ]
}

/// Whatever was cut, what the ledger says to be destroyed is.
fn no_lie(world: &World) {
    let living: u64 = world.vault.with(|inside| {
        inside.lots.iter().filter(|info| matches!(info.lot, Lot::Sets(_))).count() as u64
    });
    let [_, passed, issued, kept] = told(world);
    assert!(living == 0 || [passed, issued, kept] == [0; 3], "{living} {passed} {issued} {kept}");
}

#[tokio::test]
async fn check_36_a_run_cut_anywhere_is_finished_by_the_next() {
    let (mut cuts, mut seen) = (0, 0);
    for number in 0.. {
        let mut done = true;
        for cut in [Cut::Before(number), Cut::After(number)] {
            let mut world = World::at("2026-08-03T00:00:00Z");
            world.vault.with(|inside| inside.cut = Some(cut));
            let ran = world.run().await;
            no_lie(&world);
            let reached = world.vault.with(|inside| inside.changes) > number;
            // What is noted of the turn-over behind the certificate is no part of the run's answer.
            assert!(ran.is_err() == reached || told(&world)[3] == 1, "{cut:?}");
            done &= !reached;
            cuts += usize::from(reached);
            world.vault.with(|inside| inside.cut = None);
            world.restart();
            // Whatever was cut, each lot is there in one state.
            let listed = world.list(None);
            assert_eq!(count(&listed, "site_id"), 12, "{cut:?} {listed}");
            let destroyed = count(&listed, "\"destroyed\"");
            assert!(destroyed == 0 || destroyed == 2, "{cut:?} {listed}");
            seen += usize::from(destroyed == 2);
            world.run().await.unwrap();
            let [intents, passed, issued, kept] = told(&world);
            assert_eq!([passed, issued, kept], [1, 1, 1], "{cut:?}");
            assert_eq!(intents, 1, "{cut:?}");
            assert!(world.ledger.unfinished().unwrap().is_empty());
            assert_eq!(world.living().len(), 10);
            let left = world.vault.with(|inside| inside.rows.keys().cloned().collect::<Vec<_>>());
            assert!(left.iter().all(|row| {
                ["clock", "policy", "turn"].contains(&row.as_str())
                    || row.starts_with("certificate/")
            }));
            let auditor = caller(Role::Auditor, 0);
            let id = format!(
                "c{}",
                world.entries().iter().find(|e| e.event.phase() == Phase::Intent).unwrap().number
            );
            let text = world.desk.certificate(&auditor, &id).unwrap();
            let body = certificate::verify(&text, &world.key()).unwrap();
            // Whatever was cut, what the engine counted before is in the certificate.
            assert!(body.lots.iter().all(|lot| lot.records.is_some()), "{cut:?}");
            assert!(body.vek.register_generation.is_some(), "{cut:?}");
        }
        if done {
            break;
        }
    }
    assert!(cuts >= 20, "only {cuts} cuts were reached");
    assert!(seen > 0, "what is destroyed and not certified was never seen");
}

#[tokio::test]
async fn keys_that_went_before_the_end_are_not_destroyed_twice() {
    let mut world = World::at("2026-08-03T00:00:00Z");
    world.vault.with(|inside| inside.fault = Some(Fault::HalfWay));
    assert_eq!(world.run().await, Err(DeskError::Stopped));
    no_lie_half_way(&world);
    world.restart();
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.failed), (2, 0));
    assert_eq!(told(&world), [1, 1, 1, 1]);
    let epoch = world.vault.with(|inside| inside.epoch);
    assert_eq!(epoch, 8, "one turn-over");
    // Nobody claims a trial that the start could not make.
    let text = world.desk.certificate(&caller(Role::Auditor, 0), &ran.certificates[0]).unwrap();
    let body = certificate::verify(&text, &world.key()).unwrap();
    assert!(body.verification.passed && body.verification.keys_tried == 0);
    assert!(body.limits.iter().any(|limit| limit.contains("Not every key was tried")));
    let told = world.entries().into_iter().filter_map(|entry| match entry.event {
        Event::DestructionResult { verification, keys, .. } => {
            Some((verification.opened_none_of, keys.count()))
        }
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(0, 4)]);
}

fn no_lie_half_way(world: &World) {
    assert_eq!(told(world), [1, 0, 0, 0]);
    assert_eq!(world.ledger.unfinished().unwrap().len(), 1);
}

#[tokio::test]
async fn a_hold_cut_from_its_entry_gets_it_later() {
    for cut in [Cut::After(0), Cut::Before(1)] {
        let mut world = World::at("2026-06-01T00:00:00Z");
        world.vault.with(|inside| inside.cut = Some(cut));
        let body = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2026-09-01T00:00:00Z"}"#;
        let mut text = body.as_bytes().to_vec();
        let site = site_id("ACME");
        let opened = world.desk.open_hold(&caller(Role::Privacy, 7), site, &mut text).await;
        assert_eq!(opened, Err(DeskError::Stopped));
        world.vault.with(|inside| inside.cut = None);
        world.restart();
        world.run().await.unwrap();
        assert!(world.kinds().contains(&"hold_opened"), "{cut:?}");
        assert_eq!(world.live_until(at("2026-08-10T00:00:00Z")).await, 1, "it holds");
    }
}

#[tokio::test]
async fn a_plan_that_a_cut_left_looks_at_holds_again() {
    let (privacy, custodians) =
        (caller(Role::Privacy, 7), [1, 2].map(|one| caller(Role::Custodian, one)));
    let body = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2027-01-01T00:00:00Z"}"#;
    // Cut before the engine began, or sent away by it; and cut again where the plan is given up.
    for (again, busy) in [(None, false), (None, true), (Some(1), false), (Some(2), false)] {
        let mut world = World::at("2026-08-03T00:00:00Z");
        world.vault.with(|inside| match busy {
            true => inside.fault = Some(Fault::Busy),
            false => inside.cut = Some(Cut::Before(5)),
        });
        world.run().await.unwrap_err();
        assert_eq!(told(&world)[0], 1, "the ledger has the intent");
        world.vault.with(|inside| (inside.cut, inside.changes) = (None, 0));
        if !busy {
            world.restart();
        }
        let mut text = body.as_bytes().to_vec();
        world.desk.open_hold(&privacy, site_id("ACME"), &mut text).await.unwrap();
        if let Some(more) = again {
            world.vault.with(|inside| inside.cut = Some(Cut::After(inside.changes + more)));
            world.run().await.unwrap_err();
            world.vault.with(|inside| inside.cut = None);
            world.restart();
        }
        let ran = world.run().await.unwrap();
        assert_eq!((ran.destroyed, ran.moved, ran.failed), (1, 1, 0), "one of each site");
        assert!(world.living().iter().all(|lot| !lot.ends_with(" sets")), "{:?}", world.living());
        let held = world.vault.with(|inside| inside.held.clone());
        assert!(matches!(held[..], [vault::HeldInfo { lot: Lot::Sets(_), .. }]), "{held:?}");
        // The first intent has a result that did not pass, those of the free and of the held lot
        // have one that did.
        assert_eq!(told(&world), [3, 2, 2, 2]);
        assert!(world.ledger.unfinished().unwrap().is_empty());
        assert!(world.alarms().is_empty(), "{:?}", world.alarms());
        for custodian in &custodians {
            world.desk.release_hold(custodian, site_id("ACME"), "h1").await.unwrap();
        }
        let ran = world.run().await.unwrap();
        assert_eq!(ran.destroyed, 1);
        let text = world.desk.certificate(&caller(Role::Auditor, 0), &ran.certificates[0]).unwrap();
        let body = certificate::verify(&text, &world.key()).unwrap();
        assert_eq!(body.lots[0].released_holds, [1]);
    }
}

/// An erasure gives a bucket another key between the plan and the engine: ledger and certificate
/// name the key that opened it, and from the plan on no erasure begins with the bucket.
#[tokio::test]
async fn a_plan_whose_keys_were_replaced_is_given_up_and_made_again() {
    let mut world = World::at("2026-08-03T00:00:00Z");
    world.vault.with(|inside| inside.cut = Some(Cut::Before(5)));
    world.run().await.unwrap_err();
    world.vault.with(|inside| (inside.cut, inside.changes) = (None, 0));
    world.restart();
    let planned = world.desk.0.state().run.clone().unwrap().lots;
    let (lot, fresh) = (planned[0].lot, KeyId(99_999));
    world.vault.with(|inside| {
        let of = inside.lots.iter_mut().find(|info| info.lot == lot).unwrap();
        inside.gone.extend(std::mem::replace(&mut of.keys, vec![fresh]));
    });
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed as usize, ran.failed), (planned.len(), 0));
    assert_eq!(told(&world), [2, 1, 1, 1]);
    let text = world.desk.certificate(&caller(Role::Auditor, 0), &ran.certificates[0]).unwrap();
    assert!(String::from_utf8_lossy(&text).contains("99999"));
}

/// With a hold: no cut loses a held lot, and both the move and the end of the copies are finished.
#[tokio::test]
async fn check_36_and_37_a_move_and_a_release_cut_anywhere_are_finished() {
    let body = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2027-07-01T00:00:00Z"}"#;
    let mut cuts = 0;
    for number in 0.. {
        let mut done = true;
        for cut in [Cut::Before(number), Cut::After(number)] {
            let mut world = World::at("2026-08-03T00:00:00Z");
            let (site, mut text) = (site_id("ACME"), body.as_bytes().to_vec());
            let privacy = caller(Role::Privacy, 7);
            world.desk.open_hold(&privacy, site.clone(), &mut text).await.unwrap();
            let from = world.vault.with(|inside| inside.changes);
            let at_number = |inside: &mut fake::Inside, from: usize| {
                inside.cut = Some(match cut {
                    Cut::Before(number) => Cut::Before(from + number),
                    Cut::After(number) => Cut::After(from + number),
                });
            };
            world.vault.with(|inside| at_number(inside, from));
            let ran = world.run().await;
            done &= ran.is_ok();
            cuts += usize::from(ran.is_err());
            let somewhere = |world: &World| {
                let mine = |info: &LotInfo| info.site == site && matches!(info.lot, Lot::Sets(_));
                let is_copy = |held: &vault::HeldInfo| matches!(held.lot, Lot::Sets(_));
                world
                    .vault
                    .with(|inside| inside.lots.iter().any(mine) || inside.held.iter().any(is_copy))
            };
            assert!(somewhere(&world), "{cut:?}");
            world.vault.with(|inside| inside.cut = None);
            world.restart();
            world.run().await.unwrap();
            assert!(somewhere(&world), "{cut:?}");
            assert_eq!(world.vault.with(|inside| inside.held.len()), 1, "{cut:?}");
            let kinds = world.kinds();
            assert_eq!(kinds.iter().filter(|kind| **kind == "hold_moved").count(), 1, "{cut:?}");
            assert_eq!(told(&world), [2, 2, 2, 2], "{cut:?}");
            for person in [1, 2] {
                let custodian = caller(Role::Custodian, person);
                world.desk.release_hold(&custodian, site.clone(), "h1").await.unwrap();
            }
            let from = world.vault.with(|inside| inside.changes);
            world.vault.with(|inside| at_number(inside, from));
            let ran = world.run().await;
            done &= ran.is_ok();
            assert!(told(&world)[1] == 2 || !somewhere(&world), "{cut:?}");
            world.vault.with(|inside| inside.cut = None);
            world.restart();
            world.run().await.unwrap();
            assert!(!somewhere(&world), "{cut:?}");
            assert_eq!(told(&world), [3, 3, 3, 3], "{cut:?}");
            assert!(world.ledger.unfinished().unwrap().is_empty());
        }
        if done {
            break;
        }
    }
    assert!(cuts >= 12, "only {cuts} cuts were reached");
}
