//! The statement of a billing group: the desk's own machinery, about several sites.

use super::*;
use crate::engine::groups::GroupMonth;
use crate::model::ids::GroupId;
use crate::model::pseudonym::Algorithm;
use crate::model::usage::{Counters, Evidence};
use crate::wire::statement::{Corrected, Earlier, FORMAT, GROUP_FORMAT};

fn acme() -> GroupId {
    GroupId::parse(b"acme").unwrap()
}

pub(super) fn scope() -> SiteId {
    SiteId::of_group(&acme())
}

/// A member with so many users and licences, and as many late ones.
pub(super) fn member(
    id: &str,
    [users, licenses, late, late_licenses]: [u64; 4],
) -> crate::engine::UsageMonth {
    let mut usage = usage();
    let mut site = Site::clone(&usage.site);
    site.id = SiteId::parse(id.as_bytes()).unwrap();
    site.settings.billing_group = Some(acme());
    usage.site = Arc::new(site);
    let counters = &mut usage.tally.counters;
    (counters.mau, counters.licenses_issued, counters.records) = (users, licenses, licenses);
    (counters.licenses_by_drm[0], counters.unattributed_licenses) = (licenses, 1);
    (counters.devices, counters.device_users) = (5, 2);
    usage.tally.corrections = Counters {
        records: late_licenses,
        mau: late,
        licenses_issued: late_licenses,
        device_users: late,
        ..Counters::default()
    };
    usage
}

/// Three users of two sites, of whom one is a user of both, and one that came late for both.
fn month() -> GroupMonth {
    let own = usage();
    let mut tally = crate::model::usage::Tally { closed_at: own.tally.closed_at, ..own.tally };
    tally.counters = Default::default();
    tally.counters.mau = 3;
    tally.corrections = Counters { mau: 1, ..Counters::default() };
    GroupMonth {
        group: acme(),
        month: november(),
        algorithm: Algorithm::Blake3,
        members: vec![member("A", [2, 5, 1, 1]), member("B", [2, 7, 1, 2])],
        tally,
        state: State::Closed,
        closes_at: own.closes_at,
        evidence: Evidence::Live,
        as_of: own.as_of,
    }
}

impl World {
    pub(super) fn grouped() -> Self {
        let world = Self::new();
        *world.memory.group.lock().unwrap() = Some(month());
        world
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut GroupMonth)) {
        change(self.memory.group.lock().unwrap().as_mut().unwrap());
    }

    pub(super) async fn restate_group(&self) -> Result<Statement, BillingError> {
        let mut text = br#"{"reason":"late"}"#.to_vec();
        let desk = &self.desk;
        let restated = desk.restate(&caller(Role::Operator), scope(), november(), &mut text).await;
        restated.map(|restated| restated.statement)
    }
}

#[tokio::test]
async fn a_group_is_stated_with_its_own_users_and_its_members_sums() {
    let world = World::grouped();
    let first = world.desk.statement(scope(), november()).await.unwrap();
    let bytes = first.to_bytes().unwrap();
    let body = verify(&bytes, &world.key()).unwrap();
    assert_eq!((body.format.as_str(), body.version), (GROUP_FORMAT, 1));
    assert_eq!((body.site_id.clone(), body.billing_group.clone()), (None, Some(acme())));
    assert_eq!(body.scope(), Some(scope()));
    assert_eq!((body.billable.mau, body.billable.licenses_issued), (3, 12));
    let figures = &body.figures;
    assert_eq!((figures.mau, figures.licenses_issued, figures.records), (3, 12, 12));
    assert_eq!((figures.device_users, figures.unattributed_licenses), (4, 2));
    // What cannot be added up has no figure.
    assert_eq!((figures.devices, figures.watermark_users), (None, None));
    // No user is known to have it, and so it is about too few.
    let widevine = &body.by_drm_type[0];
    assert_eq!((widevine.mau, widevine.licenses_issued), (None, None));
    assert_eq!(body.subjects_least, Some(10));
    let late = &body.corrections;
    assert_eq!((late.users, late.records, late.licenses_issued), (1, 3, 3));
    assert_eq!(late.device_users, 2, "those of the members");
    let members = body.members.as_ref().unwrap();
    let own: Vec<_> = members.iter().map(|of| (of.site_id.as_str(), of.figures.mau)).collect();
    assert_eq!(own, [("A", 2), ("B", 2)]);
    assert!(members.iter().all(|of| of.closed_at.is_some() && of.figures.devices == Some(5)));
    let recount = body.recount.clone().unwrap();
    assert_eq!((recount.mau, recount.user_set.0), (3, [7; 32]));
    assert_eq!((recount.devices, recount.device_users), (None, None));
    assert_eq!(world.memory.asked.load(Ordering::SeqCst), 2, "the ids of each member");
    // A second version bills what came late, once.
    let second = world.restate_group().await.unwrap().body;
    assert_eq!((second.version, second.figures.clone()), (2, body.figures));
    assert_eq!((second.billable.mau, second.billable.licenses_issued), (4, 15));
    assert_eq!(
        (first.body.billable.device_users, second.billable.device_users),
        (Some(4), Some(6))
    );
    assert_eq!(world.entries(), [1, 2]);
}

/// Each member has a quality, a method and figures of its own: the statement of many is long, and
/// what was issued is read again.
#[tokio::test]
async fn a_group_of_many_members_is_stated_and_read_again() {
    const MEMBERS: usize = 1_500;
    let world = World::grouped();
    world.change(|group| {
        let more = (group.members.len()..MEMBERS).map(|at| member(&format!("M{at}"), [0, 3, 0, 0]));
        group.members.extend(more);
    });
    let first = world.desk.statement(scope(), november()).await.unwrap();
    let bytes = first.to_bytes().unwrap();
    assert!(bytes.len() > MEMBERS * 1_000, "{}", bytes.len());
    let body = verify(&bytes, &world.key()).unwrap();
    assert_eq!(body.members.map(|of| of.len()), Some(MEMBERS));
    assert_eq!(world.desk.statement(scope(), november()).await.unwrap(), first);
    assert_eq!(world.restate_group().await.unwrap().body.version, 2);
    world.desk.versions(scope(), november()).await.unwrap();
}

/// A statement that could not be read again would take all versions of its month with it.
#[tokio::test]
async fn a_statement_too_long_to_be_read_is_not_issued() {
    use crate::wire::statement::BODY_BYTES_MAX;
    let world = World::grouped();
    world.change(|group| group.members[0].time_zone = "x".repeat(BODY_BYTES_MAX));
    let refused = world.desk.statement(scope(), november()).await;
    assert_eq!(refused, Err(BillingError::Failed));
    assert!(world.entries().is_empty() && world.memory.rows.lock().unwrap().is_empty());
    world.change(|group| group.members[0].time_zone = "UTC".to_owned());
    assert_eq!(world.desk.statement(scope(), november()).await.unwrap().body.version, 1);
}

/// The figures of a later version are those of the first, whoever joined meanwhile.
#[tokio::test]
async fn a_site_that_joins_after_the_close_adds_to_the_corrections() {
    let world = World::grouped();
    let first = world.desk.statement(scope(), november()).await.unwrap().body;
    world.change(|group| {
        let mut late = member("C", [4, 9, 0, 0]);
        (late.state, late.tally.closed_at) = (State::Open, None);
        group.members.push(late);
        group.tally.corrections.mau = 5;
    });
    world.memory.recount.lock().unwrap().as_mut().unwrap().late_users = 5;
    let second = world.restate_group().await.unwrap().body;
    assert_eq!((&second.figures, &second.by_drm_type), (&first.figures, &first.by_drm_type));
    let late = &second.corrections;
    assert_eq!((late.users, late.records, late.licenses_issued), (5, 12, 12));
    assert_eq!((second.billable.mau, second.billable.licenses_issued), (8, 24));
    let members = second.members.unwrap();
    assert_eq!((members.len(), members[2].closed_at), (3, None));
}

/// Who joined between the close and the first version is in no figure of it.
#[tokio::test]
async fn a_site_that_joins_before_the_first_version_is_late_too() {
    let world = World::grouped();
    world.change(|group| {
        let mut late = member("C", [4, 9, 0, 0]);
        late.tally.closed_at = late.tally.closed_at.map(|at| Timestamp(at.0 + 1));
        group.members.push(late);
        group.tally.corrections.mau = 5;
    });
    world.memory.recount.lock().unwrap().as_mut().unwrap().late_users = 5;
    let first = world.desk.statement(scope(), november()).await.unwrap().body;
    assert_eq!((first.figures.records, first.by_drm_type[0].licenses_issued), (12, None));
    let late = &first.corrections;
    assert_eq!((late.users, late.records, late.device_users), (5, 12, 4));
    let second = world.restate_group().await.unwrap().body;
    assert_eq!((&second.figures, &second.corrections), (&first.figures, late));
    assert_eq!((second.billable.mau, second.billable.licenses_issued), (8, 24));
}

/// The next statement has what came late, also where no member has a late record of its own, or
/// where the group had no user before.
#[tokio::test]
async fn a_site_that_joins_after_the_close_is_on_the_next_statement() {
    for users in [3, 0] {
        let world = World::grouped();
        let lone = |month| Earlier { month, corrections: Corrected::default() };
        world.change(|group| {
            group.members.truncate(1);
            group.members[0].tally.corrections = Counters::default();
            group.tally.counters.mau = users;
            group.tally.corrections = Counters::default();
            if users == 0 {
                group.tally.closed_at = None;
            }
        });
        world.memory.recount.lock().unwrap().as_mut().unwrap().users = users;
        let first = world.desk.statement(scope(), november()).await.unwrap().body;
        assert_eq!(first.earlier_corrections, []);
        world.change(|group| {
            let mut late = member("C", [4, 9, 0, 0]);
            (late.state, late.tally.closed_at) = (State::Open, None);
            group.members.push(late);
            group.tally.corrections.mau = 4;
            // A group without a tally is open again; what was stated is closed all the same.
            group.state = if users == 0 { State::Open } else { State::Closed };
        });
        let earlier = world.desk.0.earlier(&scope(), november().next()).unwrap();
        let own = earlier.into_iter().find(|of| of.month == november());
        let own = own.unwrap_or_else(|| lone(november())).corrections;
        assert_eq!((own.users, own.records, own.licenses_issued), (4, 9, 9), "{users}");
        assert_eq!(own.device_users, 2, "{users}");
    }
}

/// Users that stand among the figures by now and were not stated are billed by the next version.
#[tokio::test]
async fn users_that_were_not_stated_are_corrections() {
    let world = World::grouped();
    let first = world.desk.statement(scope(), november()).await.unwrap().body;
    world.change(|group| group.tally.counters.mau = 8);
    world.memory.recount.lock().unwrap().as_mut().unwrap().users = 8;
    let second = world.restate_group().await.unwrap().body;
    assert_eq!((second.figures.mau, second.corrections.users), (first.figures.mau, 6));
    assert_eq!(second.billable.mau, 9);
}

#[tokio::test]
async fn a_group_has_no_statement_before_its_close_and_none_of_nothing() {
    let world = World::grouped();
    for state in [State::Open, State::Closing] {
        world.change(|group| group.state = state);
        let refused = world.desk.statement(scope(), november()).await;
        assert_eq!(refused, Err(BillingError::NotClosed));
    }
    world.change(|group| {
        (group.state, group.tally) = (State::Closed, Default::default());
        for of in &mut group.members {
            of.tally = Default::default();
        }
    });
    let refused = world.desk.statement(scope(), november()).await;
    assert_eq!(refused, Err(BillingError::NotFound));
    let other = SiteId::of_group(&GroupId::parse(b"other").unwrap());
    assert_eq!(world.desk.statement(other, november()).await, Err(BillingError::NotFound));
    assert!(world.entries().is_empty());
}

#[tokio::test]
async fn two_counts_of_a_group_that_differ_make_no_statement() {
    let world = World::grouped();
    world.memory.recount.lock().unwrap().as_mut().unwrap().users = 4;
    let refused = world.desk.statement(scope(), november()).await;
    assert_eq!(refused, Err(BillingError::Failed));
    assert!(world.entries().is_empty());
}

#[tokio::test]
async fn what_a_group_closed_is_issued_unasked() {
    let world = World::grouped();
    world.desk.0.issue_due().await.unwrap();
    world.desk.0.issue_due().await.unwrap();
    let rows: Vec<String> = world.memory.rows.lock().unwrap().keys().cloned().collect();
    let own = rows.iter().filter(|row| row.starts_with("statement/+acme/")).count();
    // Every month is alike, and of a group four are looked at.
    assert_eq!((own, rows.len()), (4, 7));
}

#[tokio::test]
async fn a_member_says_which_group_it_is_of_and_no_other_site_does() {
    let world = World::grouped();
    let alone = world.desk.statement(site_id(), november()).await.unwrap();
    let text = String::from_utf8(alone.to_bytes().unwrap()).unwrap();
    assert!(!text.contains("billing_group") && !text.contains("members"), "{text}");
    let world = World::grouped();
    *world.memory.usage.lock().unwrap() = Some(member("A", [3, 7, 0, 0]));
    let found = Recount { devices: 5, device_users: 2, late_users: 0, ..found() };
    *world.memory.recount.lock().unwrap() = Some(found);
    let member = world.desk.statement(site_id(), november()).await.unwrap();
    let body = verify(&member.to_bytes().unwrap(), &world.key()).unwrap();
    assert_eq!((body.format.as_str(), body.billing_group), (FORMAT, Some(acme())));
}

#[test]
fn a_statement_of_a_group_is_for_whoever_has_every_member() {
    let world = tokio::runtime::Runtime::new().unwrap().block_on(async { World::grouped() });
    let ask = |sites: &[&str], name: &[u8]| {
        let held = sites.iter().map(|id| SiteId::parse(id.as_bytes()).unwrap()).collect();
        let token = Token { sites: SiteScope::Some(held), ..Token::clone(&caller(Role::Billing)) };
        world.desk.group(&Arc::new(token), &GroupId::parse(name).unwrap(), november())
    };
    assert_eq!(ask(&["A", "B", "C"], b"acme"), Ok(scope()));
    for sites in [&["A"][..], &["B", "C"], &[]] {
        assert_eq!(ask(sites, b"acme"), Err(BillingError::NotFound), "{sites:?}");
    }
    assert_eq!(ask(&["A", "B"], b"other"), Err(BillingError::NotFound));
}

/// A form has its own members, and none of the other's.
#[tokio::test]
async fn the_two_forms_are_not_mixed() {
    let world = World::grouped();
    let group = world.desk.statement(scope(), november()).await.unwrap().body;
    let site = world.desk.statement(site_id(), november()).await.unwrap().body;
    assert!(group.is_of_known_form() && site.is_of_known_form());
    let mut mixed = Vec::new();
    for body in [&group, &site] {
        let (one, other) = if body.site_id.is_some() { (&site, &group) } else { (&group, &site) };
        mixed.push(Body { format: other.format.clone(), ..one.clone() });
        mixed.push(Body { site_id: other.site_id.clone(), ..one.clone() });
        mixed.push(Body { members: other.members.clone(), ..one.clone() });
        mixed.push(Body { method: other.method.clone(), ..one.clone() });
        mixed.push(Body { time_zone: other.time_zone.clone(), ..one.clone() });
        mixed.push(Body { figures: other.figures.clone(), ..one.clone() });
        mixed.push(Body { recount: other.recount.clone(), ..one.clone() });
        mixed.push(Body { quality: None, ..one.clone() });
    }
    mixed.push(Body { site_id: Some(scope()), ..site.clone() });
    mixed.push(Body { billing_group: None, ..group.clone() });
    for (at, body) in mixed.iter().enumerate() {
        assert!(!body.is_of_known_form(), "{at}");
    }
}

#[tokio::test]
async fn a_group_is_exported_under_its_own_name() {
    let world = World::grouped();
    let wanted = Wanted {
        format: crate::wire::export::Format::OpenMeter,
        metric: crate::wire::export::Metric::Mau,
        amount: crate::wire::export::Amount::Total,
        moment: crate::wire::export::Moment::MonthEnd,
        version: None,
        event: None,
        customer: None,
    };
    let body = world.desk.export(scope(), november(), wanted).await.unwrap();
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&said["subject"], &said["data"]["value"]), (&"acme".into(), &3.into()));
    assert_eq!(said["data"]["billing_group"], "acme");
    assert_eq!(
        (&said["data"]["site_id"], &said["id"]),
        (&().into(), &"bt-+acme-2026-11-v1-mau".into())
    );
}
