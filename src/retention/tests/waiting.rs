//! A copy of the register of holds is lost when the keys of a copy that ended have left the
//! register: that destruction waits, and nothing else does.

use super::*;
use crate::retention::fake::{Cut, Fault};

const BODY: &str =
    r#"{"months":["2026-05"],"ground":"billing_dispute","review_at":"2026-09-01T00:00:00Z"}"#;

async fn open(world: &World, body: &str) {
    let mut text = body.as_bytes().to_vec();
    let privacy = caller(Role::Privacy, 7);
    world.desk.open_hold(&privacy, site_id("ACME"), &mut text).await.unwrap();
}

async fn release(world: &World, hold: &str) {
    for person in [1, 2] {
        let custodian = caller(Role::Custodian, person);
        world.desk.release_hold(&custodian, site_id("ACME"), hold).await.unwrap();
    }
}

/// What was held of May is in hold storage, and its hold has ended.
async fn released(now: &str) -> World {
    let world = World::at(now);
    world.run().await.unwrap();
    open(&world, BODY).await;
    world.live_until(at("2026-12-20T00:00:00Z")).await;
    assert_eq!(world.vault.with(|inside| inside.held.len()), 6);
    release(&world, "h1").await;
    world
}

fn away(world: &World, away: bool) {
    world.vault.with(|inside| {
        inside.no_hold_copy = away;
        inside.fault = Some(Fault::LostBehind).filter(|_| away);
    });
}

fn has_row(world: &World, name: &str) -> bool {
    world.vault.with(|inside| inside.rows.contains_key(name))
}

/// Passed results of destructions of copies.
fn ended(world: &World) -> usize {
    let entries = world.entries();
    let of_holds = |entry: &&Recorded| match &entry.event {
        Event::DestructionIntent { buckets, .. } => {
            buckets.iter().all(|bucket| bucket.class.as_str().starts_with("hold."))
        }
        _ => false,
    };
    let passed = |intent: &&Recorded| {
        entries.iter().any(|entry| match &entry.event {
            Event::DestructionResult { verification, .. } => {
                entry.operation == intent.number && verification.passed
            }
            _ => false,
        })
    };
    entries.iter().filter(of_holds).filter(passed).count()
}

#[tokio::test]
async fn it_waits_alone_and_ends_when_the_copy_is_back() {
    let mut world = released("2026-06-01T00:00:00Z").await;
    away(&world, true);
    let ran = world.run().await.unwrap();
    assert!(ran.waiting && ran.destroyed == 0 && ran.failed == 0, "{ran:?}");
    for turn in 0..3 {
        assert!(has_row(&world, "waiting") && !has_row(&world, "run"), "{turn}");
        let listed = world.list(None);
        assert_eq!(count(&listed, "\"destroying\""), 6, "{listed}");
        assert_eq!(ended(&world), 0);
        assert_eq!(world.ledger.unfinished().unwrap().len(), 1, "it is nobody's but its own");
        let text = world.desk.evidence(&caller(Role::Auditor, 1)).await.unwrap();
        let stated: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let keys = stated["key_list"].as_array().unwrap();
        assert_eq!(keys.iter().filter(|key| key["state"] == "destroying").count(), 7, "{turn}");
        // Everything else goes, rows that need no key included, and nothing is begun with holds.
        world.vault.with(|inside| {
            let site = inside.sites[&site_id("B.C")].clone();
            inside.lots.extend(lots_of(&site, "2026-04", 900 + 10 * turn));
        });
        world.desk.0.removing().await.unwrap();
        let rewritten = world.vault.with(|inside| inside.rewritten);
        let said = world.kinds().len();
        let ran = world.run().await.unwrap();
        assert!(ran.waiting && ran.destroyed == 6 && ran.certificates.len() == 1, "{ran:?}");
        assert_eq!(world.vault.with(|inside| inside.rewritten), rewritten + 1, "swept");
        let new = world.kinds().split_off(said);
        let own = new.iter().filter(|kind| **kind == "destruction").count();
        assert_eq!(own, 2, "intent and result of the other: {new:?}");
        assert_eq!(world.desk.0.figures.left(), 6);
        world.restart();
    }
    let alarm = |world: &World| {
        world.alarms().iter().filter(|one| **one == "register_copy_unreachable").count()
    };
    assert_eq!(alarm(&world), 3, "once in the life of each desk that had a run");
    away(&world, false);
    let ran = world.run().await.unwrap();
    assert_eq!((ran.destroyed, ran.waiting, ran.certificates.len()), (6, false, 1));
    assert!(!has_row(&world, "waiting") && !has_row(&world, "run"));
    assert_eq!((ended(&world), world.desk.0.figures.left(), alarm(&world)), (1, 0, 3));
    assert!(world.ledger.unfinished().unwrap().is_empty());
    let auditor = caller(Role::Auditor, 0);
    let text = world.desk.certificate(&auditor, &ran.certificates[0]).unwrap();
    let body = certificate::verify(&text, &world.key()).unwrap();
    assert!(body.verification.passed && body.lots.iter().all(|lot| lot.hold == Some(1)));
}

/// Another hold of the same lots, of all or some of them, and its end meanwhile.
#[tokio::test]
async fn what_is_held_by_others_is_left_alone_until_then() {
    for (classes, waits) in [("", 6), (r#""classes":["sets"],"#, 4)] {
        let world = World::at("2026-06-01T00:00:00Z");
        world.run().await.unwrap();
        open(&world, BODY).await;
        world.live_until(at("2026-12-20T00:00:00Z")).await;
        let later = BODY.replacen('{', &format!("{{{classes}"), 1).replace("2026-09", "2027-09");
        open(&world, &later).await;
        release(&world, "h1").await;
        away(&world, true);
        assert!(world.run().await.unwrap().waiting);
        let held = || -> Vec<u64> {
            world.vault.with(|inside| inside.held.iter().map(|held| held.hold.0).collect())
        };
        // Whoever inherits has a copy; what was in a plan of its own is where it was.
        let stays = if waits == 6 { vec![2; 6] } else { vec![1; 2] };
        assert_eq!((held(), world.vault.with(|inside| inside.waiting.len())), (stays, waits));
        release(&world, "h2").await;
        let ran = world.run().await.unwrap();
        assert!(ran.waiting && ran.destroyed == 0, "{ran:?}");
        assert_eq!(world.vault.with(|inside| inside.waiting.len()), waits, "one at a time");
        assert_eq!(world.desk.0.figures.left(), if waits == 6 { 12 } else { 6 });
        away(&world, false);
        let ran = world.run().await.unwrap();
        assert!(!ran.waiting && ran.failed == 0, "{ran:?}");
        // Those of the first, which the second inherited, were moved; its own are destroyed.
        let expected = if waits == 6 { (6, 6) } else { (6, 0) };
        assert_eq!((ran.destroyed, ran.moved), expected);
        assert_eq!(held(), [0; 0]);
        assert!(world.ledger.unfinished().unwrap().is_empty());
    }
}

/// Somebody who asks for something else is not answered that it waits.
#[tokio::test]
async fn a_removal_beside_it_is_done() {
    let world = released("2026-06-01T00:00:00Z").await;
    away(&world, true);
    assert!(world.run().await.unwrap().waiting);
    world.vault.with(|inside| {
        let site = inside.sites[&site_id("B.C")].clone();
        inside.lots.extend(lots_of(&site, "2026-07", 900));
    });
    let body = r#"{"reason":"authority_order","late_records":"refuse"}"#;
    let mut answers = Vec::new();
    for person in [3, 4] {
        let custodian = caller(Role::Custodian, person);
        let mut text = body.as_bytes().to_vec();
        let asked = world.desk.remove(&custodian, site_id("B.C"), month("2026-07"), &mut text);
        answers.push(asked.await.unwrap().0);
    }
    assert_eq!((answers, world.living()), (vec![false, true], BTreeSet::new()));
    assert!(has_row(&world, "waiting"));
}

#[tokio::test]
async fn cut_anywhere_it_ends_once() {
    let mut cuts = 0;
    for number in 0.. {
        let mut done = true;
        for cut in [Cut::Before(number), Cut::After(number)] {
            let mut world = released("2026-06-01T00:00:00Z").await;
            let cut_from_here = |world: &World| {
                world.vault.with(|inside| {
                    inside.cut = Some(match cut {
                        Cut::Before(number) => Cut::Before(inside.changes + number),
                        Cut::After(number) => Cut::After(inside.changes + number),
                    });
                });
            };
            // On its way aside, and on its way to the end.
            for is_away in [true, false] {
                away(&world, is_away);
                cut_from_here(&world);
                let ran = world.run().await;
                done &= ran.is_ok();
                cuts += usize::from(ran.is_err());
                let living = world.vault.with(|inside| inside.held.len() + inside.waiting.len());
                assert!(ended(&world) == 0 || living == 0, "{cut:?}");
                world.vault.with(|inside| inside.cut = None);
                world.restart();
                world.run().await.unwrap();
                assert_eq!(ended(&world), usize::from(!is_away), "{cut:?}");
                assert!(!is_away || has_row(&world, "waiting") && !has_row(&world, "run"));
            }
            assert!(!has_row(&world, "waiting") && !has_row(&world, "run"), "{cut:?}");
            assert!(world.ledger.unfinished().unwrap().is_empty(), "{cut:?}");
            let certified = count(&world.list(Some("certified")), "\"site_id\":\"ACME\"");
            assert_eq!(certified, 6, "{cut:?}");
        }
        if done {
            break;
        }
    }
    assert!(cuts >= 12, "only {cuts} cuts were reached");
}

/// What is on hold and cannot be copied waits with the register of holds: nobody knows then
/// whether that is over, so nothing says so.
#[tokio::test]
async fn what_waits_is_not_called_over() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    open(&world, BODY).await;
    world.vault.with(|inside| inside.fault = Some(Fault::CannotKeep(1)));
    world.live_until(at("2026-12-20T00:00:00Z")).await;
    let lasting = |world: &World| {
        let all = world.desk.0.state().lasting.clone();
        all.into_iter().map(|of| of.reason).collect::<Vec<_>>()
    };
    let kept = |world: &World| world.alarms().iter().filter(|of| **of == "hold_not_kept").count();
    assert_eq!(lasting(&world), [crate::ledger::Alarm::HoldNotKept]);
    world.vault.with(|inside| inside.no_hold_copy = true);
    for _ in 0..2 {
        assert!(world.run().await.unwrap().waiting);
        assert!(lasting(&world).contains(&crate::ledger::Alarm::HoldNotKept));
    }
    world.vault.with(|inside| inside.no_hold_copy = false);
    assert!(!world.run().await.unwrap().waiting);
    assert_eq!((lasting(&world).len(), kept(&world)), (1, 1), "it goes on, and is no second one");
    world.vault.with(|inside| inside.fault = None);
    assert!(world.run().await.unwrap().moved > 0);
    assert_eq!(lasting(&world), []);
}

/// What the engine refuses of the main vault has its alarm though copies were refused before, and
/// nobody knows whether that is over while the register of holds is away.
#[tokio::test]
async fn copies_that_are_refused_hide_no_other_failure() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    open(&world, BODY).await;
    world.live_until(at("2026-12-20T00:00:00Z")).await;
    for person in [1, 2] {
        let custodian = caller(Role::Custodian, person);
        world.desk.release_hold(&custodian, site_id("ACME"), "h1").await.unwrap();
    }
    world.vault.with(|inside| inside.fault = Some(Fault::Refuses(1)));
    world.run().await.unwrap();
    let failed =
        |world: &World| world.alarms().iter().filter(|of| **of == "destruction_failed").count();
    assert_eq!(failed(&world), 1);
    world.vault.with(|inside| {
        let site = site("B.C", 2, "UTC", None);
        inside.lots.extend(lots_of(&site, "2026-06", 900));
        inside.no_hold_copy = true;
        inside.fault = Some(Fault::Refuses(2));
    });
    world.live_until(at("2027-02-20T00:00:00Z")).await;
    assert_eq!(failed(&world), 2);
}
