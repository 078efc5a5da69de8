//! What is frozen once a record was counted, and what is refused or asked without a trace.

use super::*;
use crate::model::rules::RuleSet;

/// A change of a site without records holds at once; a row that was made before it is not counted
/// under it, and the first accepted record ends that.
#[test]
fn a_row_made_under_settings_that_changed_is_sent_back() {
    let world = World::new(settings(false));
    let row = Row { site: 0, event: 1, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
    let zone = |zone: &str| {
        let settings = SiteSettings { time_zone: zone.into(), ..SiteSettings::default() };
        world.runtime.block_on(world.engine().put_site(site_id(0), settings)).unwrap()
    };
    let append = |batch: Batch, seen: &Arc<Site>| {
        let months = vec![(Arc::clone(seen), batch.months[0].month)];
        world.runtime.block_on(world.engine().commit(batch, months, None))
    };
    let batch = world.batch(&[(row, START)]);
    let seen = world.engine().site(&site_id(0)).unwrap();
    assert_eq!(seen.months.len(), 1);
    let put = zone("Asia/Seoul");
    assert_eq!((put.effective, put.site.months.len()), (None, 0));
    assert_eq!(append(batch, &seen), Err(EngineError::Busy));
    assert_eq!(world.engine().figures().queued_bytes, 0);
    let batch = world.batch(&[(row, START)]);
    let seen = world.engine().site(&site_id(0)).unwrap();
    assert_eq!(append(batch, &seen).unwrap().verdicts, [Verdict::Accepted]);
    let put = zone("UTC");
    assert!(put.effective.is_some());
    assert_eq!(put.site.months, seen.months, "a month that was counted never moves");
}

/// A build without a site's zone would begin its months at other instants.
#[test]
fn a_site_of_an_unknown_zone_refuses_the_start() {
    let mut world = World::new(settings(false));
    let unknown = SiteSettings { time_zone: "Asia/Atlantis".into(), ..SiteSettings::default() };
    world.runtime.block_on(world.engine().put_site(site_id(7), unknown)).unwrap();
    world.close();
    let data = world.dir.path().join("data");
    let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 }).unwrap();
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(world.dir.path().join("keys"))).unwrap();
    let refused = Engine::open(store, ring, world.settings.clone(), world.clock.clone());
    let Err(EngineError::Refused(why)) = refused else { panic!("it was opened") };
    assert!(why.contains("S7 has a time zone that this build does not know"), "{why}");
}

/// A row changed by hand, as a program with newer rules would have written it. An open month is not
/// counted by other rules than it was begun with; a closed one keeps their name.
#[test]
fn a_month_of_rules_that_are_not_known_refuses_the_start() {
    let mut world = World::new(settings(false));
    let row = Row { site: 0, event: 1, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
    world.run(Op::Submit(vec![row]));
    let written = |world: &World, closes: bool| {
        let engine = world.engine();
        let mut site = Site::clone(&engine.site(&site_id(0)).unwrap());
        assert_eq!(site.months[0].rule_set, RuleSet::default());
        site.months[0].rule_set = RuleSet::of(2);
        let open = site.closed_through;
        if closes {
            site.closed_through = Some(site.months[0].month);
        }
        let mut changes = store::Changes::default();
        engine.shared.directory.site_rows(&[site], &mut changes);
        engine.store().apply(&changes).unwrap();
        open
    };
    written(&world, false);
    world.close();
    let data = world.dir.path().join("data");
    let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 }).unwrap();
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(world.dir.path().join("keys"))).unwrap();
    let refused = Engine::open(store, ring, world.settings.clone(), world.clock.clone());
    let Err(EngineError::Refused(why)) = refused else { panic!("it was opened") };
    let said = "site S0 counts 2026-11 by the rule set mau/2, which this program does not have";
    assert!(
        why.starts_with(said) && why.contains("or a newer one") && !why.contains(". "),
        "{why}"
    );
    // The same month, closed before, is told under its own rules.
    let mut world = World::new(settings(false));
    world.run(Op::Submit(vec![row]));
    assert_eq!(written(&world, true), None);
    world.close();
    world.open();
    let november = Month::parse(b"2026-11").unwrap();
    let usage = |month| world.engine().usage(&site_id(0), month).unwrap().unwrap();
    assert_eq!(usage(november).span.rule_set, RuleSet::of(2));
    assert_eq!(usage(november.next()).span.rule_set, RuleSet::CURRENT);
}

/// Asking for the answer of a key makes no keys of the days before.
#[test]
fn a_question_for_a_kept_answer_makes_no_keys() {
    let world = World::new(settings(false));
    let before = world.engine().ring().seen_days();
    assert_eq!(world.engine().kept_answer(&[1; 32], &[2; 32]), Ok(None));
    assert_eq!(world.engine().ring().seen_days(), before);
}

/// What was said with a longer period does not wait for its notice, and what was announced before
/// it does not either.
#[test]
fn only_a_longer_period_waits_for_its_notice() {
    let at = |text: &str| Timestamp::parse(text.as_bytes()).unwrap();
    let month = |text: &str| Month::parse(text.as_bytes()).unwrap();
    let world = World::new(settings(false));
    let mut site = Site::clone(&world.engine().site(&site_id(0)).unwrap());
    assert_eq!(&site.settings.time_zone, "UTC");
    site.settings.records_days = Some(7);
    site.months = calendar::reaching(&site, at("2026-11-22T00:00:00Z")).unwrap();
    let later = SiteSettings {
        time_zone: "Asia/Seoul".into(),
        records_days: Some(30),
        ..site.settings.clone()
    };
    let (both, first) =
        directory::changed(&site, later.clone(), at("2026-11-20T00:00:00Z")).unwrap();
    // The same in two steps.
    let zone = SiteSettings { records_days: Some(7), ..later.clone() };
    let (step, _) = directory::changed(&site, zone, at("2026-11-19T00:00:00Z")).unwrap();
    let (steps, again) =
        directory::changed(&step, later.clone(), at("2026-11-20T00:00:00Z")).unwrap();
    assert_eq!((&both, first), (&steps, again));
    assert_eq!((first, both.last_said()), (Some(month("2026-12")), &later));
    let said = |site: &Site, of: &str| {
        let settings = site.settings_in(month(of));
        (settings.time_zone.clone(), settings.records_days)
    };
    let all = |site: &Site| ["2026-11", "2026-12", "2027-01"].map(|of| said(site, of));
    let zones = ["UTC", "Asia/Seoul", "Asia/Seoul"].map(str::to_owned);
    let wanted: [_; 3] = std::array::from_fn(|at| (zones[at].clone(), [7, 7, 30].map(Some)[at]));
    assert_eq!(all(&both), wanted);
    let shown = crate::wire::admin::site_to_value(&both)["effective"].clone();
    let told = serde_json::json!({"time_zone": "2026-12", "retention": "2027-01"});
    assert_eq!(shown, told);
    // What has begun is no announcement any more, and the rest of it goes on.
    let december = directory::as_of(&Arc::new(both.clone()), at("2026-12-05T00:00:00Z")).unwrap();
    assert_eq!((&december.settings.time_zone[..], december.pending.len()), ("Asia/Seoul", 1));
    let hours = SiteSettings { closing_hours: 24, ..later.clone() };
    let (more, first) = directory::changed(&both, hours, at("2026-12-05T00:00:00Z")).unwrap();
    assert_eq!((all(&more), first), (wanted, Some(month("2027-01"))), "the notice runs on");
    assert_eq!(more.settings_in(month("2027-01")).closing_hours, 24);
    // Taken back, nothing is left of it.
    let (back, none) =
        directory::changed(&both, site.settings.clone(), at("2026-11-21T00:00:00Z")).unwrap();
    assert_eq!((back, none), (site, None));
}

/// In Auckland a month begins nearly a day before it does in Los Angeles: where the zone changes in
/// the same request, or once the notice runs, the notice is whole all the same.
#[test]
fn a_notice_is_whole_in_the_zone_that_its_month_begins_by() {
    let at = |text: &str| Timestamp::parse(text.as_bytes()).unwrap();
    let month = |text: &str| Month::parse(text.as_bytes()).unwrap();
    let world = World::new(settings(false));
    let mut site = Site::clone(&world.engine().site(&site_id(0)).unwrap());
    site.settings.time_zone = "America/Los_Angeles".into();
    site.settings.records_days = Some(7);
    site.months = calendar::reaching(&site, at("2026-10-22T00:00:00Z")).unwrap();
    let longer = SiteSettings { records_days: Some(30), ..site.settings.clone() };
    let moved =
        |of: &SiteSettings| SiteSettings { time_zone: "Pacific/Auckland".into(), ..of.clone() };
    let begins = |site: &Site| {
        let months = ["2026-12", "2027-01", "2027-02"].map(month).into_iter();
        let first = months.into_iter().find(|of| site.settings_in(*of).records_days == Some(30));
        calendar::span(site, first.unwrap()).unwrap().from
    };
    let (asked, notice) = (at("2026-11-01T06:59:00Z"), 30 * 86_400_000);
    // December begins 30 days and an hour later in the old zone, and in the new one too soon.
    let (stays, first) = directory::changed(&site, longer.clone(), asked).unwrap();
    assert_eq!((first, begins(&stays)), (Some(month("2026-12")), at("2026-12-01T08:00:00Z")));
    let (both, first) = directory::changed(&site, moved(&longer), asked).unwrap();
    assert_eq!(first, Some(month("2026-11")), "the zone does not wait");
    assert!(begins(&both).0 - asked.0 >= notice, "{}", begins(&both));
    assert_eq!(begins(&both), at("2026-12-31T11:00:00Z"));
    // The zone changes while the notice runs.
    let later = at("2026-11-01T06:59:30Z");
    let (after, _) = directory::changed(&stays, moved(&longer), later).unwrap();
    assert!(begins(&after) >= begins(&stays), "{}", begins(&after));
    assert_eq!(begins(&after), at("2026-12-31T11:00:00Z"));
}
