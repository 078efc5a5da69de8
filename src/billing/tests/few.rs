//! What is about too few is not handed out, and how far the ids of a group can be trusted.

use super::groups::{member, scope};
use super::older::older;
use super::*;
use crate::model::usage::Counters;
use crate::model::vocab::DrmType;
use crate::wire::statement::{ByDrm, FORMAT, GROUP_FORMAT};

fn told(body: &Body) -> Vec<(Option<u64>, Option<u64>)> {
    body.by_drm_type.iter().map(|of| (of.mau, of.licenses_issued)).collect()
}

/// So many users and licences of each system.
fn systems(counters: &mut Counters, systems: [(u64, u64); 3]) {
    counters.licenses_issued = 0;
    for (at, (users, licenses)) in systems.into_iter().enumerate() {
        (counters.mau_by_drm[at], counters.licenses_by_drm[at]) = (users, licenses);
        counters.licenses_issued += licenses;
    }
}

#[tokio::test]
async fn a_system_of_few_users_is_in_no_statement_table_or_page() {
    let world = World::new();
    {
        let mut usage = world.memory.usage.lock().unwrap();
        let counters = &mut usage.as_mut().unwrap().tally.counters;
        counters.mau = 120;
        systems(counters, [(90, 401), (7, 13), (60, 202)]);
        let mut found = world.memory.recount.lock().unwrap();
        let found = found.as_mut().unwrap();
        (found.users, found.users_by_drm) = (120, counters.mau_by_drm);
    }
    let statement = world.desk.statement(site_id(), november()).await.unwrap();
    let body = verify(&statement.to_bytes().unwrap(), &world.key()).unwrap();
    assert_eq!((body.format.as_str(), body.subjects_least), (FORMAT, Some(10)));
    // Totals are exact, and with it the smallest of the others is left out.
    assert_eq!((body.figures.mau, body.billable.licenses_issued), (120, 616));
    assert_eq!(told(&body), [(Some(90), Some(401)), (None, None), (None, None)]);
    let csv = String::from_utf8(csv(&statement).unwrap()).unwrap();
    for row in [
        "subjects_least,10",
        "licenses_issued_widevine,401",
        "mau_playready,",
        "licenses_issued_playready,",
        "mau_fairplay,",
        "licenses_issued,616",
        "quality_as_of,2026-12-01T00:00:00Z",
        "quality_limits_users_per_device,20",
        "quality_limits_devices_per_user,50",
        "quality_limits_license_share_ppm,10000",
    ] {
        assert!(csv.contains(&format!("\r\n{row}\r\n")), "{row}: {csv}");
    }
    let page = String::from_utf8(page(&statement).unwrap()).unwrap();
    assert!(page.contains("about fewer than 10 users") && !page.contains(">202<"), "{page}");
    // An earlier version told all of it, keeps its bytes, and no later one does.
    let name = "statement/A/2026-11/0000000001";
    let mut first = statement.clone();
    first.body.format = "blindtally/statement/3".to_owned();
    older(&mut first.body);
    assert!(first.body.is_of_known_form());
    let bytes = first.to_bytes().unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("subjects_least"));
    world.memory.rows.lock().unwrap().insert(name.to_owned(), bytes.clone());
    let second = world.restate().await.unwrap().body;
    assert_eq!((told(&second), second.version), (told(&body), 2));
    assert_eq!(world.memory.rows.lock().unwrap()[name], bytes);
    // A form says what it leaves out, or leaves out nothing.
    for change in [
        |of: &mut Body| of.subjects_least = None,
        |of: &mut Body| of.format = "blindtally/statement/3".to_owned(),
    ] {
        let mut other = body.clone();
        change(&mut other);
        assert!(!other.is_of_known_form());
    }
}

/// What two members have together, less what one of them tells, is what the other one does not
/// tell: the totals show that nobody is a user of both.
#[tokio::test]
async fn a_group_tells_nothing_that_a_member_does_not() {
    let world = World::grouped();
    world.change(|group| {
        systems(&mut group.members[0].tally.counters, [(40, 90), (3, 4), (12, 30)]);
        systems(&mut group.members[1].tally.counters, [(40, 90), (30, 50), (0, 0)]);
        group.members.iter_mut().for_each(|of| of.tally.counters.mau = 45);
        (group.tally.counters.mau, group.tally.counters.mau_by_drm[0]) = (90, 80);
        (group.tally.counters.mau_by_drm[1], group.tally.counters.mau_by_drm[2]) = (33, 12);
        let mut found = world.memory.recount.lock().unwrap();
        let found = found.as_mut().unwrap();
        (found.users, found.users_by_drm) = (90, group.tally.counters.mau_by_drm);
    });
    let body = world.desk.statement(scope(), november()).await.unwrap().body;
    let names: Vec<&str> = body.by_drm_type.iter().map(|of| of.drm_type.as_str()).collect();
    let all = [DrmType::Widevine, DrmType::PlayReady, DrmType::FairPlay];
    assert_eq!(names, all.map(DrmType::name));
    assert_eq!(told(&body), [(None, Some(180)), (None, None), (None, None)]);
    let second = world.restate_group().await.unwrap().body;
    assert_eq!((second.version, &second.by_drm_type), (2, &body.by_drm_type));
    // A first statement from before members were asked told more, and no later one does.
    let name = format!("statement/{}/2026-11/0000000001", scope());
    let mut first = Statement::parse(&world.memory.rows.lock().unwrap()[&name]).unwrap();
    for (of, users) in first.body.by_drm_type.iter_mut().zip([80, 33, 12]) {
        of.mau = Some(users);
    }
    world.memory.rows.lock().unwrap().retain(|row, _| *row == name);
    world.memory.rows.lock().unwrap().insert(name, first.to_bytes().unwrap());
    let again = world.restate_group().await.unwrap().body;
    assert_eq!(told(&again), told(&body));
    let exact = |of: &ByDrm| of.licenses_issued.unwrap_or_default();
    assert!(body.by_drm_type.iter().map(exact).sum::<u64>() < body.figures.licenses_issued);
}

/// What was left out of a version is left out of those that follow it, whatever the setting says by
/// then, and each of them says below how many.
#[tokio::test]
async fn a_later_version_tells_no_more_than_the_one_before() {
    let settings = |least| Settings { subjects_least: least, ..Settings::default() };
    let desk = |world: &World, least| {
        let clock = Arc::new(Ticking(1_798_000_000_000.into()));
        Billing::new(world.memory.clone(), world.ledger.clone(), settings(least), clock)
    };
    for of_group in [false, true] {
        let (world, of) = match of_group {
            true => (World::grouped(), scope()),
            false => (World::new(), site_id()),
        };
        let own = [(90, 401), (70, 130), (60, 202), (55, 40)];
        let set = |counters: &mut Counters| {
            counters.mau = 180;
            for (at, (users, licenses)) in own.into_iter().enumerate() {
                (counters.mau_by_drm[at], counters.licenses_by_drm[at]) = (users, licenses);
            }
        };
        world.memory.usage.lock().unwrap().iter_mut().for_each(|of| set(&mut of.tally.counters));
        let mut found = world.memory.recount.lock().unwrap().clone().unwrap();
        (found.users, found.users_by_drm) = (180, [90, 70, 60, 55, 0, 0, 0, 0]);
        *world.memory.recount.lock().unwrap() = Some(found);
        if of_group {
            world.change(|group| {
                set(&mut group.members[0].tally.counters);
                group.members.truncate(1);
                set(&mut group.tally.counters);
                group.tally.counters.licenses_by_drm = [0; 8];
            });
        }
        let first = desk(&world, 58).statement(of.clone(), november()).await.unwrap().body;
        let hidden = [(Some(90), Some(401)), (Some(70), Some(130)), (None, None), (None, None)];
        assert_eq!((told(&first), first.subjects_least), (hidden.to_vec(), Some(58)));
        // Lowered, raised, and lowered again.
        let all = [(None, None); 4].to_vec();
        let said = [(10, 58, hidden.to_vec()), (100, 100, all.clone()), (10, 100, all)];
        for (version, (least, effective, wanted)) in (2..).zip(said) {
            let mut text = format!(r#"{{"reason":"late {version}"}}"#).into_bytes();
            let desk = desk(&world, least);
            let caller = caller(Role::Operator);
            let restated = desk.restate(&caller, of.clone(), november(), &mut text).await.unwrap();
            let body = restated.statement.body;
            assert_eq!((body.version, body.subjects_least), (version, Some(effective)));
            assert_eq!(told(&body), wanted, "{version} of {of}");
            assert!(desk.0.says_the_same(&of, november(), &body).unwrap());
        }
    }
}

#[tokio::test]
async fn a_groups_ids_are_trusted_as_far_as_its_members() {
    let world = World::grouped();
    world.change(|group| {
        for (member, sentinels) in group.members.iter_mut().zip([1, 2]) {
            member.tally.counters.sentinel_licenses = sentinels;
            member.tally.counters.unattributed_licenses = 3;
        }
        group.members[1].as_of = Timestamp(group.members[0].as_of.0 + 5_000);
    });
    let statement = world.desk.statement(scope(), november()).await.unwrap();
    let body = verify(&statement.to_bytes().unwrap(), &world.key()).unwrap();
    assert_eq!(body.format, GROUP_FORMAT);
    let said = body.quality.clone().unwrap().unwrap();
    // Of twelve licences, five at one member and seven at the other.
    assert_eq!((said.sentinel_licenses, said.sentinel_share_ppm), (3, 250_000));
    assert_eq!((said.unattributed_licenses, said.unattributed_share_ppm), (6, 500_000));
    assert_eq!(said.records_counted, 15, "late ones included");
    let members = body.members.as_ref().unwrap();
    let own: Vec<_> = members.iter().map(|of| of.quality.clone().unwrap().unwrap()).collect();
    assert_eq!([own[0].sentinel_share_ppm, own[1].sentinel_share_ppm], [200_000, 285_714]);
    assert_eq!((said.as_of, own[1].as_of.0 - said.as_of.0), (own[0].as_of, 5_000));
    // Nothing was read of these records, so nobody knows who looks like many.
    assert_eq!((said.suspect_shared_users, own[0].suspect_shared_users), (None, None));
    let csv = String::from_utf8(csv(&statement).unwrap()).unwrap();
    for row in ["quality_sentinel_licenses,3", "quality_sentinel_licenses_of_B,2"] {
        assert!(csv.contains(&format!("\r\n{row}\r\n")), "{row}: {csv}");
    }
    // Where that of a member cannot be told, neither can that of all; it is no reason to restate.
    let same = world.desk.0.says_the_same(&scope(), november(), &body).unwrap();
    assert!(same, "what is not counted is no difference");
    *world.memory.unread.lock().unwrap() = Some("a block");
    let second = world.restate_group().await.unwrap().body;
    let members = second.members.clone().unwrap();
    assert_eq!((second.quality.clone(), members[0].quality.clone()), (Some(None), Some(None)));
    assert!(second.is_of_known_form());
    for change in [
        |of: &mut Body| of.quality = None,
        |of: &mut Body| of.members.as_mut().unwrap()[0].quality = None,
        |of: &mut Body| of.format = "blindtally/group-statement/2".to_owned(),
    ] {
        let mut other = second.clone();
        change(&mut other);
        assert!(!other.is_of_known_form());
    }
}

/// Where the first statement was issued before the second group of members joined, its close stays.
#[tokio::test]
async fn a_group_closed_when_it_was_stated() {
    let world = World::grouped();
    world.change(|group| group.tally.closed_at = None);
    let first = world.desk.statement(scope(), november()).await.unwrap().body;
    world.change(|group| {
        group.closes_at = Timestamp(group.closes_at.0 + 86_400_000);
        group.members.push(member("C", [0, 3, 0, 3]));
    });
    let second = world.restate_group().await.unwrap().body;
    assert_eq!((second.version, second.closed_at), (2, first.closed_at));
}
