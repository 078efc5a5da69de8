//! What is frozen once a record was counted, and what is refused or asked without a trace.

use super::*;

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

/// Asking for the answer of a key makes no keys of the days before.
#[test]
fn a_question_for_a_kept_answer_makes_no_keys() {
    let world = World::new(settings(false));
    let before = world.engine().ring().seen_days();
    assert_eq!(world.engine().kept_answer(&[1; 32], &[2; 32]), Ok(None));
    assert_eq!(world.engine().ring().seen_days(), before);
}
