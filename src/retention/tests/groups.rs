//! The lots of a billing group go with the last of its members' own sets.

use super::*;
use crate::model::ids::GroupId;
use crate::wire::retention::certificate::Body;

/// The world of two sites in one group, the second in another zone and with longer hours.
fn world(closed: Option<Month>) -> World {
    let world = World::at("2026-06-01T00:00:00Z");
    world.vault.with(|inside| {
        let group = GroupId::parse(b"G").unwrap();
        for (no, id, zone, hours) in [(1, "ACME", "UTC", 72), (2, "B.C", "Asia/Seoul", 240)] {
            let mut site = site(id, no, zone, None);
            site.settings.closing_hours = hours;
            site.settings.billing_group = Some(group.clone());
            if no == 2 {
                site.closed_through = closed;
            }
            inside.sites.insert(site.id.clone(), Arc::new(site));
        }
        let scope = Site {
            id: SiteId::of_group(&group),
            no: SiteNo(3),
            closed_through: None,
            months: Vec::new(),
            ..site("x", 3, "UTC", None)
        };
        let own = lots_of(&scope, "2026-05", 900).into_iter();
        inside.lots.extend(own.filter(|info| matches!(info.lot, Lot::Sets(_) | Lot::BaseKey(_))));
        inside.sites.insert(scope.id.clone(), Arc::new(scope));
    });
    world
}

fn standings(world: &World, site: u32) -> Vec<(Timestamp, bool, Vec<u64>)> {
    let all = world.desk.0.standings(world.clock.now()).unwrap();
    let wanted = [Lot::Sets, Lot::BaseKey]
        .map(|lot| lot(SiteMonth { site: SiteNo(site), month: month("2026-05") }));
    let of = |lot: &Lot| all.iter().find(|one| one.info.lot == *lot).unwrap();
    wanted.iter().map(of).map(|one| (one.due, one.waits, one.holds.clone())).collect()
}

#[test]
fn a_group_is_due_with_the_last_of_its_members() {
    let world = world(Some(month("2026-12")));
    let due = |site| standings(&world, site)[0].0;
    assert_ne!(due(1), due(2));
    let last = due(1).max(due(2));
    assert_eq!(standings(&world, 3), [(last, false, vec![]), (last, false, vec![])]);
    assert_eq!(due(2), last, "ten days of closing and sixty of objection");
    assert_eq!(last, at("2026-08-09T15:00:00Z"));
    // A member that ends takes nothing from the others.
    world.vault.with(|inside| {
        let ended = inside.sites.get_mut(&site_id("B.C")).unwrap();
        Arc::make_mut(ended).terminated_at = Some(at("2025-12-02T00:00:00Z"));
    });
    assert_eq!(standings(&world, 3)[0].0, due(1));
}

/// The statement of a group is readable as long as it is kept: the figures of the members wait.
#[tokio::test]
async fn figures_of_members_wait_for_the_statement_of_their_group() {
    let world = world(Some(month("2026-12")));
    world.vault.with(|inside| {
        inside.lots.clear();
        inside.figures = vec![sweep::figures("ACME", "2026-04", "2026-05-04T00:00:00Z", false)];
    });
    let restated = sweep::statement("+G", "2026-04", 2, "2026-09-01T00:00:00Z");
    world.row("statement/+G/2026-04/0000000002", restated);
    world.run_at("2031-08-31T23:59:59Z").await;
    assert_eq!(world.figures(), ["ACME/2026-04"]);
    world.run_at("2031-09-01T00:00:00Z").await;
    assert!(world.figures().is_empty());
}

#[test]
fn a_group_waits_for_the_close_of_every_member() {
    let world = world(Some(month("2026-04")));
    assert!(!standings(&world, 1)[0].1);
    assert!(standings(&world, 3).iter().all(|(_, waits, _)| *waits));
}

/// A site is made every few days, and each is a member of the months before.
#[test]
fn sites_to_come_put_a_group_off_by_six_months_at_most() {
    let world = world(Some(month("2026-12")));
    let own = standings(&world, 3)[0].0;
    let made = |no: u32, created_at: &str| {
        let mut site = site(&format!("new-{no}"), no, "UTC", None);
        site.settings.billing_group = GroupId::parse(b"G");
        (site.created_at, site.closed_through) = (at(created_at), None);
        world.vault.with(|inside| inside.sites.insert(site.id.clone(), Arc::new(site)));
        standings(&world, 3)
    };
    let last = at("2026-12-01T00:00:00Z");
    for (no, created_at) in [(10, "2026-07-20T00:00:00Z"), (11, "2026-11-30T00:00:00Z")] {
        for (due, waits, _) in made(no, created_at) {
            assert!(!waits && own < due && due <= last, "{created_at}: {due}");
        }
    }
    assert_eq!(made(12, "2028-01-01T00:00:00Z")[0].0, last);
    // One that was there and is open is waited for.
    assert!(made(13, "2026-05-31T00:00:00Z").iter().all(|(_, waits, _)| *waits));
}

#[tokio::test]
async fn a_hold_on_a_member_holds_the_group() {
    let world = world(Some(month("2026-12")));
    world.run().await.unwrap();
    let mut body = br#"{"months":["2026-05"],"classes":["sets"],"ground":"billing_dispute",
        "review_at":"2026-09-01T00:00:00Z"}"#
        .to_vec();
    world.desk.open_hold(&caller(Role::Privacy, 7), site_id("B.C"), &mut body).await.unwrap();
    assert!(standings(&world, 3).iter().all(|(_, _, holds)| *holds == [1]));
    assert!(standings(&world, 1).iter().all(|(_, _, holds)| holds.is_empty()));
    // Its certificate names the hold, which is of no site of its list, and certifies.
    world.live_until(at("2026-08-12T00:00:00Z")).await;
    let rows = world.vault.load_rows("certificate/").unwrap();
    let verified = |(_, row): &(String, Vec<u8>)| certificate::verify(row, &world.key()).unwrap();
    let bodies: Vec<_> = rows.iter().map(verified).collect();
    let of_group = |body: &&Body| body.lots.iter().any(|lot| lot.site.is_group());
    let body = bodies.iter().find(of_group).unwrap();
    assert!(body.lots.iter().all(|lot| lot.site.is_group() && lot.held_by == [1]));
    let check = body.hold_check.unwrap();
    assert_eq!((check.open, check.covered), (1, body.lots.len() as u64));
}

#[tokio::test]
async fn a_group_is_destroyed_and_certified_under_its_own_name() {
    let mut world = world(Some(month("2026-12")));
    world.run().await.unwrap();
    let left = |world: &World| {
        let of_group = |info: &&LotInfo| info.site.is_group();
        world.vault.with(|inside| inside.lots.iter().filter(of_group).count())
    };
    world.live_until(at("2026-08-09T00:00:00Z")).await;
    assert_eq!(left(&world), 2);
    world.live_until(at("2026-08-12T00:00:00Z")).await;
    assert_eq!(left(&world), 0);
    world.restart();
    let listed = world.list(Some("certified"));
    assert_eq!(listed.matches("\"site_id\":\"+G\"").count(), 2, "{listed}");
}
