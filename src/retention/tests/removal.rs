//! The removal of a single month before it is due.

use super::*;
use crate::retention::fake::Cut;

const WHY: &str = r#"{"reason":"controller_request"}"#;

impl World {
    async fn remove(
        &self,
        person: u8,
        month: &str,
        body: &str,
    ) -> Result<(bool, String), DeskError> {
        let custodian = caller(Role::Custodian, person);
        let mut text = body.as_bytes().to_vec();
        let asked = self.desk.remove(&custodian, site_id("ACME"), super::month(month), &mut text);
        asked.await.map(|(done, text)| (done, String::from_utf8(text).unwrap()))
    }
}

#[tokio::test]
async fn check_30_one_person_alone_removes_nothing_and_two_do() {
    let world = World::at("2026-07-20T00:00:00Z");
    let (done, asked) = world.remove(0, "2026-05", WHY).await.unwrap();
    assert!(!done && asked.contains("\"needs\":\"second person\""), "{asked}");
    assert_eq!(world.remove(0, "2026-05", WHY).await, Err(DeskError::SamePerson));
    assert_eq!(world.living().len(), 12);
    // Another reason is another request.
    let other = r#"{"reason":"authority_order"}"#;
    assert!(!world.remove(1, "2026-05", other).await.unwrap().0);
    assert_eq!(world.living().len(), 12);
    let (done, answer) = world.remove(2, "2026-05", other).await.unwrap();
    assert!(done && answer.contains("\"destroyed\":6"), "{answer}");
    assert!(world.living().iter().all(|lot| lot.starts_with("B.C")), "{:?}", world.living());
    assert_eq!(world.remove(2, "2026-05", other).await, Err(DeskError::UnknownMonth));
    // The ledger names both, and the reason; so does the certificate.
    let [first, second] = [1, 2].map(|person| caller(Role::Custodian, person).key_id.clone());
    let entries = world.entries();
    let at = entries.iter().position(|entry| entry.event.kind() == "removal_confirmed").unwrap();
    let Event::RemovalConfirmed { site, reason, requested_by, .. } = &entries[at].event else {
        panic!()
    };
    assert_eq!((site, reason.as_str()), (&site_id("ACME"), "authority_order"));
    assert_eq!((requested_by.to_string(), entries[at].actor.to_string()), (first, second.clone()));
    let Event::DestructionIntent { buckets, .. } = &entries[at + 1].event else { panic!() };
    assert!(buckets.iter().all(|bucket| bucket.rule.as_str() == "removal/authority_order"));
    assert_eq!(entries[at + 1].actor.to_string(), second);
    let id = format!("c{}", entries[at + 1].number);
    let text = world.desk.certificate(&caller(Role::Auditor, 9), &id).unwrap();
    let body = certificate::verify(&text, &world.key()).unwrap();
    assert_eq!((body.lots.len(), body.initiated_by), (6, second));
    assert_eq!(body.requested_by, Some(caller(Role::Custodian, 1).key_id.clone()), "both people");
    assert!(body.lots.iter().all(|lot| lot.rule == "removal/authority_order"
        && lot.ground.contains("order of an authority")
        && lot.due == body.begun_at));
    assert!(world.alarms().is_empty());
}

/// Records of the month that a backfill has put aside are under a key of their own.
#[tokio::test]
async fn a_month_with_records_put_aside_is_not_removed() {
    let world = World::at("2026-07-20T00:00:00Z");
    let of = |name| (site_id("ACME"), month(name));
    world.vault.with(|inside| inside.staged.insert(of("2026-05"), 7));
    assert_eq!(world.remove(0, "2026-05", WHY).await, Err(DeskError::BackfillOpen));
    world.vault.with(|inside| inside.staged.clear());
    world.remove(0, "2026-05", WHY).await.unwrap();
    world.vault.with(|inside| inside.staged.insert(of("2026-05"), 8));
    assert_eq!(world.remove(1, "2026-05", WHY).await, Err(DeskError::BackfillOpen));
    assert_eq!(world.living().len(), 12);
    world.vault.with(|inside| inside.staged = [(of("2026-06"), 8)].into());
    assert!(world.remove(1, "2026-05", WHY).await.unwrap().0);
}

/// A UTC day that the month shares with the next one of the site stays, and is named.
#[tokio::test]
async fn the_days_that_stay_are_named() {
    let vault = Memory::default();
    let site = site("ACME", 1, "Asia/Seoul", Some(60));
    vault.with(|inside| {
        inside.epoch = 1;
        inside.lots = lots_of(&site, "2026-05", 100).split_off(2);
        for (key, day) in ["2026-04-30", "2026-05-10", "2026-05-31"].iter().enumerate() {
            let day = at(&format!("{day}T00:00:00Z")).day();
            let epoch = Epoch::Day(day);
            let lot = Lot::Records(Bucket { class: Class::Records, site: site.no, epoch });
            let ends_at = Timestamp(day.start().0 + DAY_MS);
            let keys = vec![KeyId(500 + key as u64)];
            inside.lots.push(LotInfo { lot, site: site.id.clone(), keys, ends_at });
        }
        inside.sites.insert(site.id.clone(), Arc::new(site.clone()));
    });
    let world = World::over(vault, at("2026-06-20T00:00:00Z"), Settings::default());
    let body = r#"{"reason":"controller_request","late_records":"refuse"}"#;
    world.remove(0, "2026-05", body).await.unwrap();
    let (_, answer) = world.remove(1, "2026-05", body).await.unwrap();
    assert!(answer.contains("\"left_days\":[\"2026-04-30\",\"2026-05-31\"]"), "{answer}");
    world.vault.with(|inside| assert_eq!(inside.lots.len(), 2));
    let id = answer.split("\"c").nth(2).unwrap().split('"').next().unwrap();
    let id = format!("c{id}");
    let text = world.desk.certificate(&caller(Role::Auditor, 9), &id).unwrap();
    let body = certificate::verify(&text, &world.key()).unwrap();
    let names = "2026-04-30, 2026-05-31 stay";
    assert!(body.limits.iter().any(|limit| limit.contains(names)), "{:?}", body.limits);
}

#[tokio::test]
async fn a_request_lapses_after_a_week() {
    let world = World::at("2026-07-20T00:00:00Z");
    world.remove(0, "2026-05", WHY).await.unwrap();
    for day in 1..5 {
        world.clock.set(Timestamp(at("2026-07-20T00:00:00Z").0 + 2 * day * DAY_MS));
        world.run().await.unwrap();
    }
    assert!(!world.remove(1, "2026-05", WHY).await.unwrap().0, "it began anew");
    assert!(world.remove(0, "2026-05", WHY).await.unwrap().0);
}

#[tokio::test]
async fn a_held_month_stays() {
    let world = World::at("2026-07-20T00:00:00Z");
    world.remove(0, "2026-05", WHY).await.unwrap();
    let hold = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2026-09-01T00:00:00Z",
        "classes":["sets"]}"#;
    let mut text = hold.as_bytes().to_vec();
    let privacy = caller(Role::Privacy, 7);
    world.desk.open_hold(&privacy, site_id("ACME"), &mut text).await.unwrap();
    assert_eq!(world.remove(1, "2026-05", WHY).await, Err(DeskError::Held));
    assert_eq!(world.living().len(), 12);
}

/// With a month its copies in hold storage go, where the hold that kept them was released; what
/// another hold keeps stays, and so does every other month's.
#[tokio::test]
async fn a_removal_ends_the_copies_of_released_holds() {
    let world = World::at("2026-07-20T00:00:00Z");
    let open = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2027-05-01T00:00:00Z"}"#;
    let privacy = caller(Role::Privacy, 7);
    for site in ["ACME", "B.C"] {
        let mut text = open.as_bytes().to_vec();
        world.desk.open_hold(&privacy, site_id(site), &mut text).await.unwrap();
    }
    world.live_until(at("2027-08-10T00:00:00Z")).await;
    assert_eq!(world.living().len(), 0);
    assert_eq!(world.vault.with(|inside| inside.held.len()), 12, "everything lies apart");
    assert_eq!(world.remove(0, "2026-05", WHY).await, Err(DeskError::Held));
    for (site, hold) in [("ACME", "h1"), ("B.C", "h2")] {
        for person in 0..2 {
            let person = caller(Role::Custodian, person);
            world.desk.release_hold(&person, site_id(site), hold).await.unwrap();
        }
    }
    assert!(!world.remove(0, "2026-05", WHY).await.unwrap().0);
    assert_eq!(world.vault.with(|inside| inside.held.len()), 12, "one person ends nothing");
    let (done, answer) = world.remove(1, "2026-05", WHY).await.unwrap();
    assert!(done && answer.contains("\"destroyed\":6"), "{answer}");
    let left = world.vault.with(|inside| inside.held.clone());
    assert!(left.len() == 6 && left.iter().all(|held| held.site == site_id("B.C")), "{left:?}");
    assert!(world.vault.with(|inside| inside.held_gone.len()) > 0);
    // By the rule of the copies and with a certificate of their own.
    let last = world.entries().into_iter().rev();
    let intent = last.map(|entry| entry.event).find_map(|event| match event {
        Event::DestructionIntent { buckets, .. } => Some(buckets),
        _ => None,
    });
    assert!(intent.unwrap().iter().all(|bucket| bucket.class.as_str().starts_with("hold.")));
    assert!(world.kinds().ends_with(&["certificate_issued"]), "{:?}", world.kinds());
    assert_eq!(world.remove(0, "2026-05", WHY).await, Err(DeskError::UnknownMonth));
}

#[tokio::test]
async fn a_month_that_takes_records_says_what_becomes_of_them() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.clock.set(at("2026-05-31T23:59:59Z"));
    let refuse = r#"{"reason":"collected_in_error","late_records":"refuse"}"#;
    assert_eq!(world.remove(0, "2026-05", refuse).await, Err(DeskError::MonthRuns));
    // 35 days after its end no record can come any more.
    world.clock.set(at("2026-06-01T00:00:00Z"));
    assert_eq!(world.remove(0, "2026-05", WHY).await, Err(DeskError::MonthOpen));
    assert!(!world.remove(0, "2026-05", refuse).await.unwrap().0);
    assert!(world.remove(1, "2026-05", refuse).await.unwrap().0);
    let world = World::at("2026-07-06T00:00:00Z");
    assert!(!world.remove(0, "2026-05", WHY).await.unwrap().0);
    // A site that has ended takes none.
    let world = World::at("2026-05-20T00:00:00Z");
    let operator = caller(Role::Operator, 3);
    world.desk.terminate(&operator, site_id("ACME"), &mut Vec::new()).await.unwrap();
    assert!(!world.remove(0, "2026-05", WHY).await.unwrap().0);
}

#[tokio::test]
async fn what_cannot_be_removed_is_refused() {
    let world = World::at("2026-07-20T00:00:00Z");
    assert_eq!(world.remove(0, "2026-06", WHY).await, Err(DeskError::UnknownMonth));
    let custodian = caller(Role::Custodian, 0);
    let none = site_id("NONE");
    let mut text = WHY.as_bytes().to_vec();
    let asked = world.desk.remove(&custodian, none, month("2026-05"), &mut text).await;
    assert_eq!(asked, Err(DeskError::NotFound));
    for bad in ["{}", r#"{"reason":"because"}"#, r#"{"reason":"authority_order","note":"x"}"#] {
        let refused = world.remove(0, "2026-05", bad).await;
        assert!(matches!(refused, Err(DeskError::Unfit(_))), "{bad}");
    }
    assert_eq!(world.remove(0, "2026-05", "").await, Err(DeskError::Unreadable));
    assert!(!world.kinds().contains(&"removal_requested"));
}

#[tokio::test]
async fn days_that_another_month_shares_stay() {
    let vault = Memory::default();
    // Seoul is nine hours ahead: its May begins and ends inside a UTC day.
    let site = site("ACME", 1, "Asia/Seoul", Some(90));
    let of = |day: i64| {
        let day = Day(u32::try_from(day).unwrap());
        let bucket = Bucket { class: Class::Records, site: site.no, epoch: Epoch::Day(day) };
        let ends_at = Timestamp(day.start().0 + DAY_MS);
        let keys = vec![KeyId(u64::from(day.0))];
        LotInfo { lot: Lot::Records(bucket), site: site.id.clone(), keys, ends_at }
    };
    let first = at("2026-04-30T00:00:00Z").day().0;
    vault.with(|inside| {
        inside.lots = (0..33).map(|day| of(i64::from(first) + day)).collect();
        inside.lots.extend(lots_of(&site, "2026-05", 500).split_off(2));
        inside.sites.insert(site.id.clone(), Arc::new(site.clone()));
    });
    let world = World::over(vault, at("2026-07-20T00:00:00Z"), Settings::default());
    world.remove(0, "2026-05", WHY).await.unwrap();
    let (_, answer) = world.remove(1, "2026-05", WHY).await.unwrap();
    // 1 to 30 May and the four others; 30 April and 31 May are of two months, 1 June of the next.
    assert!(answer.contains("\"destroyed\":34"), "{answer}");
    let left = world.vault.with(|inside| inside.lots.len());
    assert_eq!(left, 3);
}

#[tokio::test]
async fn a_removal_cut_anywhere_is_whole_or_needs_two_again() {
    let mut finished = 0;
    for number in 0..14 {
        for cut in [Cut::Before as fn(usize) -> Cut, Cut::After] {
            let mut world = World::at("2026-07-20T00:00:00Z");
            world.remove(0, "2026-05", WHY).await.unwrap();
            world.vault.with(|inside| inside.cut = Some(cut(inside.changes + number)));
            let _ = world.remove(1, "2026-05", WHY).await;
            world.vault.with(|inside| inside.cut = None);
            world.restart();
            world.run().await.unwrap();
            assert!(world.ledger.unfinished().unwrap().is_empty());
            let living = world.living().len();
            if living == 12 {
                // One person is not enough, whoever it is.
                let again = world.remove(1, "2026-05", WHY).await.unwrap();
                assert!(again.0 || world.remove(0, "2026-05", WHY).await.is_ok());
            }
            assert_eq!(world.living().len(), 6, "{number}");
            finished += usize::from(living == 6);
            let certificates = world.kinds().iter().filter(|k| **k == "certificate_issued").count();
            assert_eq!(certificates, 1, "{number}");
        }
    }
    assert!(finished > 10, "{finished}");
}

/// What is in the way of a removal is not for those to mend who agreed on it: their agreement
/// stands, and each hears what to wait for.
#[tokio::test]
async fn a_removal_that_cannot_be_made_says_why_and_uses_up_no_agreement() {
    use crate::retention::fake::Fault;
    for (fault, why, alarm) in [
        (Fault::Refuses(1), DeskError::Unremovable, "destruction_failed"),
        (Fault::GivenUp(1), DeskError::HoldsAway, "register_copy_unreachable"),
    ] {
        let world = World::at("2026-07-20T00:00:00Z");
        world.remove(0, "2026-05", WHY).await.unwrap();
        for tries in 1..=2 {
            world.vault.with(|inside| inside.fault = Some(fault));
            assert_eq!(world.remove(1, "2026-05", WHY).await, Err(why));
            assert_eq!((world.living().len(), world.alarms().len()), (12, tries));
            assert_eq!(world.alarms()[0], alarm);
            assert!(world.ledger.unfinished().unwrap().is_empty());
            // A run in between goes on with nothing of it.
            world.vault.with(|inside| inside.fault = None);
            world.run().await.unwrap();
            assert_eq!(world.living().len(), 12);
        }
        assert_eq!(world.remove(0, "2026-05", WHY).await, Err(DeskError::SamePerson));
        assert!(world.remove(1, "2026-05", WHY).await.unwrap().0, "the second one alone");
        assert_eq!(world.living().len(), 6);
        // As old as it was: it lapses when it would have.
        let world = World::at("2026-07-20T00:00:00Z");
        world.remove(0, "2026-05", WHY).await.unwrap();
        world.clock.set(at("2026-07-26T00:00:00Z"));
        world.vault.with(|inside| inside.fault = Some(fault));
        assert_eq!(world.remove(1, "2026-05", WHY).await, Err(why));
        world.vault.with(|inside| inside.fault = None);
        world.clock.set(at("2026-07-28T00:00:00Z"));
        assert!(!world.remove(1, "2026-05", WHY).await.unwrap().0, "it began anew");
    }
}

/// Where the settings want it, one person alone ends no site: collection goes on and nothing of it
/// is due earlier until another one asks for the same.
#[tokio::test]
async fn check_30_one_person_alone_ends_no_site_and_two_do() {
    let settings = Settings { two_people: true, ..Settings::default() };
    let plain = World::at("2026-06-01T00:00:00Z");
    let vault = Memory::default();
    vault.with(|inside| {
        inside.epoch = 7;
        (inside.sites, inside.lots) =
            plain.vault.with(|from| (from.sites.clone(), from.lots.clone()));
    });
    let mut world = World::over(vault, at("2026-06-01T00:00:00Z"), settings);
    world.run().await.unwrap();
    let lives = |world: &World| world.vault.site(&site_id("ACME")).unwrap().terminated_at.is_none();
    let end = async |world: &World, person| {
        let operator = caller(Role::Operator, person);
        let mut text = br#"{"reason":"contract ended"}"#.to_vec();
        let ended = world.desk.terminate(&operator, site_id("ACME"), &mut text).await;
        ended.map(|(done, text)| (done, String::from_utf8(text).unwrap()))
    };
    let (done, said) = end(&world, 0).await.unwrap();
    assert!(!done && said.contains("\"until\":\"2026-06-08T00:00:00Z\""), "{said}");
    // The same person again, also after a start, and one whose request came a week ago.
    for _ in 0..2 {
        assert_eq!(end(&world, 0).await, Err(DeskError::SamePerson));
        assert!(lives(&world) && !world.kinds().contains(&"site_terminated"));
        world.restart();
    }
    world.clock.set(at("2026-06-08T00:00:01Z"));
    assert!(!end(&world, 1).await.unwrap().0, "the first request has lapsed, this is a first one");
    assert!(lives(&world));
    let (done, said) = end(&world, 0).await.unwrap();
    assert!(done && said.contains("\"terminated_at\":\"2026-06-08T00:00:01Z\""), "{said}");
    assert!(!lives(&world));
    // Both are in the ledger, the second one with the end; and there is nothing to end twice.
    let entries = world.entries();
    let of = |kind: &str| {
        let own = entries.iter().filter(|entry| entry.event.kind() == kind);
        own.map(|entry| entry.actor.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of("termination_requested"), ["a".repeat(16), "b".repeat(16)]);
    assert_eq!(of("site_terminated"), ["a".repeat(16)]);
    assert!(end(&world, 1).await.unwrap().0);
    assert!(world.vault.load_rows("removal/").unwrap().is_empty());
    // A request that nobody joined goes with a week, and says nothing of a month.
    world.desk.terminate(&caller(Role::Operator, 1), site_id("B.C"), &mut []).await.unwrap();
    assert_eq!(world.vault.load_rows("removal/").unwrap().len(), 1);
    world.desk.0.sweep(at("2026-06-16T00:00:00Z")).await.unwrap();
    assert!(world.vault.load_rows("removal/").unwrap().is_empty());
}
