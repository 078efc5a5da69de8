//! A month whose first statement is of an older form: later versions bill what that one billed, and
//! say nothing as late that it only did not state.

use super::groups::scope;
use super::*;
use crate::model::usage::Counters;
use crate::wire::statement::{Excluded, FORMAT, GROUP_FORMAT};

/// Left out nothing, and said nothing of a group's ids.
pub(super) fn older(body: &mut Body) {
    body.subjects_least = None;
    for of in &mut body.by_drm_type {
        let told = (of.mau.unwrap_or_default(), of.licenses_issued.unwrap_or_default());
        (of.mau, of.licenses_issued) = (Some(told.0), Some(told.1));
    }
    if let Some(members) = &mut body.members {
        body.quality = None;
        members.iter_mut().for_each(|of| of.quality = None);
    }
}

/// What an earlier program issued in the place of the only statement of a month.
fn issued_before(world: &World, scope: &SiteId, format: &str) -> Body {
    let name = format!("statement/{scope}/2026-11/0000000001");
    let mut rows = world.memory.rows.lock().unwrap();
    let row = rows.get_mut(&name).unwrap();
    let mut statement = Statement::parse(row).unwrap();
    let body = &mut statement.body;
    body.format = format.to_owned();
    older(body);
    (body.billable.device_users, body.evidence) = (None, None);
    let figures = &mut body.figures;
    figures.licenses_by_device = None;
    (figures.session_records, figures.other_records) = (None, None);
    // It knew fewer reasons.
    body.excluded.retain(|of| !of.reason.starts_with("session") && of.reason != "anonymous");
    let [records, users, licenses] =
        [body.corrections.records, body.corrections.users, body.corrections.licenses_issued];
    body.corrections = Default::default();
    let late = &mut body.corrections;
    (late.records, late.users, late.licenses_issued) = (records, users, licenses);
    if format == "blindtally/statement/1" {
        body.quality = None;
    }
    assert!(body.is_of_known_form(), "{format}");
    *row = statement.to_bytes().unwrap();
    statement.body
}

#[tokio::test]
async fn a_restated_month_bills_what_it_billed_at_first() {
    for (format, bills) in
        [("blindtally/statement/1", false), ("blindtally/statement/2", false), (FORMAT, true)]
    {
        let world = World::new();
        let counters = |change: &dyn Fn(&mut Counters, &mut Counters)| {
            let mut usage = world.memory.usage.lock().unwrap();
            let tally = &mut usage.as_mut().unwrap().tally;
            change(&mut tally.counters, &mut tally.corrections);
        };
        counters(&|of, late| (of.device_users, late.device_users) = (50, 4));
        {
            let mut found = world.memory.recount.lock().unwrap();
            let found = found.as_mut().unwrap();
            (found.device_users, found.late_device_users) = (50, 4);
        }
        world.desk.statement(site_id(), november()).await.unwrap();
        if !bills {
            issued_before(&world, &site_id(), format);
        }
        for version in [2, 3] {
            let reason = format!("late {version}");
            let statement = world.restate_for(&reason).await.unwrap();
            let body = verify(&statement.to_bytes().unwrap(), &world.key()).unwrap();
            assert_eq!((body.format.as_str(), body.version), (FORMAT, version));
            assert_eq!((body.billable.mau, body.billable.licenses_issued), (4, 9));
            assert_eq!(body.billable.device_users, bills.then_some(54), "{format} {version}");
            // They are said all the same.
            assert_eq!((body.figures.device_users, body.corrections.device_users), (50, 4));
            assert!(body.bills_what_it_says());
        }
        // Only a version that follows another one may lack them.
        let mut first = world.desk.statement(site_id(), november()).await.unwrap().body;
        (first.version, first.billable.device_users) = (1, None);
        first.recount.iter_mut().for_each(|of| {
            (of.late_users, of.late_device_users) = (None, None);
        });
        assert!(!first.is_of_known_form());
    }
}

/// What the first version billed decides, also where a version between billed by newer rules, and
/// where that first version is lost and another month shows which program issued it.
#[tokio::test]
async fn a_version_between_and_a_lost_one_bill_nothing_new() {
    let with_devices = || {
        let world = World::new();
        {
            let mut usage = world.memory.usage.lock().unwrap();
            usage.as_mut().unwrap().tally.counters.device_users = 50;
            world.memory.recount.lock().unwrap().as_mut().unwrap().device_users = 50;
        }
        world
    };
    let bills = |statement: Statement| statement.body.billable.device_users;
    let world = with_devices();
    world.desk.statement(site_id(), november()).await.unwrap();
    assert_eq!(bills(world.restate_for("between").await.unwrap()), Some(50));
    issued_before(&world, &site_id(), "blindtally/statement/2");
    assert_eq!(bills(world.restate_for("now").await.unwrap()), None);
    // Nothing tells which program issued the version that is lost.
    let world = with_devices();
    world.desk.statement(site_id(), november()).await.unwrap();
    world.memory.rows.lock().unwrap().clear();
    let again = world.desk.statement(site_id(), november()).await.unwrap();
    assert_eq!((again.body.version, again.body.figures.device_users), (2, 50));
    assert_eq!(bills(again), None);
    // A statement before it was of today's form, and so was that one; or of the one before.
    for (older, billed) in [(false, Some(50)), (true, None)] {
        let world = with_devices();
        let october = november().previous();
        world.desk.statement(site_id(), october).await.unwrap();
        if older {
            let mut rows = world.memory.rows.lock().unwrap();
            let row = rows.get_mut("statement/A/2026-10/0000000001").unwrap();
            let mut statement = Statement::parse(row).unwrap();
            statement.body.format = "blindtally/statement/2".to_owned();
            *row = statement.to_bytes().unwrap();
        }
        world.desk.statement(site_id(), november()).await.unwrap();
        world.desk.statement(site_id(), november().next()).await.unwrap();
        world.memory.rows.lock().unwrap().retain(|name, _| !name.contains("/2026-11/"));
        let again = world.desk.statement(site_id(), november()).await.unwrap();
        assert_eq!((again.body.version, bills(again)), (2, billed));
    }
}

#[tokio::test]
async fn what_a_group_did_not_state_is_not_all_late() {
    let world = World::grouped();
    let counts = |of: &mut Counters, times: u64| {
        (of.licenses_by_device, of.session_records, of.other_records) =
            (10 * times, 20 * times, 30 * times);
        (of.anonymous_licenses, of.sessions_trial, of.trial) = (4 * times, 5 * times, 6 * times);
        of.unattributed_licenses = 40 * times;
        of.anonymous_by_device = times;
    };
    // What is late is one tenth of what there is, for each member.
    world.change(|group| {
        for member in &mut group.members {
            counts(&mut member.tally.counters, 10);
            counts(&mut member.tally.corrections, 1);
        }
    });
    let now = world.desk.statement(scope(), november()).await.unwrap().body;
    let old = issued_before(&world, &scope(), "blindtally/group-statement/1");
    assert_eq!(old.figures.licenses_by_device, None);
    let second = world.restate_group().await.unwrap().body;
    assert_eq!((second.format.as_str(), second.figures.clone()), (GROUP_FORMAT, old.figures));
    assert_eq!(second.billable.device_users, None, "the first one billed none");
    let late = &second.corrections;
    let stated = &now.corrections;
    assert_eq!(late, stated, "as a first version of today says it");
    assert_eq!(
        [late.licenses_by_device, late.session_records, late.other_records],
        [20, 40, 60],
        "two members"
    );
    let of = |reason: &str| {
        let found = late.excluded.iter().find(|of: &&Excluded| of.reason == reason);
        found.map(|of| of.records)
    };
    assert_eq!([of("anonymous"), of("session_trial"), of("trial")], [6, 10, 12].map(Some));
    // Of today's form, what is late is what was not stated, whoever joins.
    let world = World::grouped();
    let first = world.desk.statement(scope(), november()).await.unwrap().body;
    world.change(|group| counts(&mut group.members[0].tally.corrections, 1));
    let second = world.restate_group().await.unwrap().body;
    assert_eq!(second.figures, first.figures);
    assert_eq!(second.corrections.other_records, 30);
}
