//! How long a report is given again, and months that are explained without anybody asking.

use super::*;
use crate::wire::explained::IdQuality;

/// A server whose reports are fresh for an hour.
fn fresh() -> Told {
    let mut told = Told::new(1 << 30);
    told.world.close();
    told.world.settings.explain.fresh_ms = HOUR;
    told.world.open();
    told
}

/// Who may see the bill asks for as many months as there are; none of them ever had a record.
#[test]
fn no_report_is_had_sooner_by_asking_for_other_months() {
    let mut told = fresh();
    told.submit(0, &[issue(1, 1, 1, 0)]);
    let first = told.explain(0, november()).unwrap();
    told.submit(0, &[issue(2, 2, 1, 0)]);
    let mut month = Month::parse(b"2030-01").unwrap();
    for _ in 0..1_100 {
        let found = told.explain(0, month).unwrap();
        assert_eq!((found.records_seen, found.users, found.month), (0, 0, month));
        month = month.next();
    }
    assert!(Arc::ptr_eq(&first, &told.explain(0, november()).unwrap()), "it is fresh");
}

/// A report that there was no room for is not made anew before its time.
#[test]
fn a_report_that_went_is_not_made_anew_before_its_time() {
    let mut told = fresh();
    told.submit(0, &[issue(1, 1, 1, 0)]);
    let first = told.explain(0, november()).unwrap();
    let engine = told.world.engine().clone();
    let site = engine.site(&site_id(0)).unwrap();
    let now = Timestamp(told.world.now());
    let mut month = Month::parse(b"2030-01").unwrap();
    for _ in 0..30 {
        let at = SiteMonth { site: site.no, month };
        assert!(engine.shared.explained.keep(at, &first, 0, (now, HOUR)));
        month = month.next();
    }
    assert_eq!(engine.explained(&site.id, november()), None);
    assert_eq!(told.explain(0, november()), Err(EngineError::Busy));
    // A statement is made of what it states, and changes nothing of that.
    let run = &told.world.runtime;
    let stated = run.block_on(engine.explain_folded(site_id(0), november())).unwrap();
    assert_eq!(stated.users, 1);
    assert_eq!(told.explain(0, november()), Err(EngineError::Busy));
    told.world.clock.0.fetch_add(HOUR, Ordering::SeqCst);
    assert_eq!(told.explain(0, november()).unwrap().users, 1);
}

/// Nobody asks: what is open and may hold somebody suspect is explained all the same, once a day.
#[test]
fn an_open_month_is_explained_without_anybody_asking() {
    let mut told = Told::new(1 << 30);
    // Two of anything are nobody's limit here.
    told.submit(2, &[issue(1, 1, 1, 0), issue(2, 1, 2, 0)]);
    let rows: Vec<Full> = (1..30).map(|event| issue(event, 7, event, 0)).collect();
    told.submit(0, &rows);
    let engine = told.world.engine().clone();
    let due = || engine.unexplained().unwrap();
    assert_eq!(due(), [(site_id(0), november())]);
    let quietly = |told: &Told| {
        let run = &told.world.runtime;
        run.block_on(engine.fold()).unwrap();
        let (id, month) = due().remove(0);
        run.block_on(engine.explain_at_ease(id, month, || ()))
    };
    assert_eq!(quietly(&told).unwrap().suspects.users, 1);
    let found = engine.explained(&site_id(0), november()).unwrap();
    assert_eq!((found.suspects.users, found.suspects.users_by_devices), (1, 1));
    assert_eq!(due(), [], "it was explained today");
    told.world.clock.0.fetch_add(24 * HOUR - 1, Ordering::SeqCst);
    assert_eq!(due(), []);
    told.world.clock.0.fetch_add(1, Ordering::SeqCst);
    assert_eq!(due(), [], "nothing came");
    told.submit(0, &[issue(100, 8, 1, 0)]);
    assert_eq!(quietly(&told).unwrap().users, 2);
    // Whoever has the turn comes first, and whoever comes for it meanwhile.
    told.world.clock.0.fetch_add(24 * HOUR, Ordering::SeqCst);
    told.submit(0, &[issue(101, 9, 1, 0)]);
    let turn = told.world.runtime.block_on(engine.shared.explained.turn());
    assert_eq!(quietly(&told), Err(EngineError::Busy));
    let waits = |cx: &mut std::task::Context<'_>| {
        let mut next = Box::pin(engine.shared.explained.turn());
        assert!(next.as_mut().poll(cx).is_pending());
        assert!(engine.shared.explained.is_waited_for());
        std::task::Poll::Ready(())
    };
    told.world.runtime.block_on(std::future::poll_fn(waits));
    assert!(!engine.shared.explained.is_waited_for(), "who gave up does not wait");
    drop(turn);
    assert_eq!(quietly(&told).unwrap().users, 3);
}

/// Somebody comes for the turn while a month is read for nobody.
#[test]
fn a_reading_that_nobody_asked_for_ends_for_one_that_somebody_did() {
    let mut told = Told::new(1 << 30);
    let rows: Vec<Full> = (1..30).map(|event| issue(event, 7, event, 0)).collect();
    told.submit(0, &rows);
    let engine = told.world.engine().clone();
    told.world.runtime.block_on(engine.fold()).unwrap();
    let site = engine.site(&site_id(0)).unwrap();
    let mut work = Work::new(&engine, &site, november()).unwrap();
    // So that there is a block to come to.
    let rows: Vec<Full> = (100..3_000).map(|event| issue(event, event, 1, 0)).collect();
    // Of one group: rows that come one fold after the other may be carried on as fragments.
    told.submit(0, &rows);
    told.world.runtime.block_on(engine.fold()).unwrap();
    let listing = work.list().unwrap();
    assert!(!listing.blocks.is_empty());
    let turn = told.world.runtime.block_on(engine.shared.explained.turn());
    let read = |work: &Work<'_>, cx: &mut std::task::Context<'_>| {
        let mut next = Box::pin(engine.shared.explained.turn());
        assert!(next.as_mut().poll(cx).is_pending());
        work.read(&listing).map(|found| found.is_some())
    };
    let now = |work: &Work<'_>| {
        let read = std::future::poll_fn(|cx| std::task::Poll::Ready(read(work, cx)));
        told.world.runtime.block_on(read)
    };
    assert_eq!(now(&work), Ok(true), "this one was asked for");
    work.gives_way = true;
    assert_eq!(now(&work), Err(EngineError::Busy));
    drop(turn);
}

/// Records of a short life: what is left says nothing of who is suspect, and nobody is not zero.
#[test]
fn a_fragment_does_not_say_that_nobody_is_suspect() {
    let mut told = Told::new(1 << 30);
    let rows: Vec<Full> = (1..60).map(|event| issue(event, 7, event, event % 3 * 24)).collect();
    told.submit(2, &rows);
    let whole = told.explain(2, november()).unwrap();
    assert_eq!(IdQuality::of(&whole).suspect_users_by_devices, Some(1));
    let site = told.world.engine().site(&site_id(2)).unwrap();
    let now = Timestamp(told.world.now());
    let bucket = Bucket { class: Class::Records, site: site.no, epoch: Epoch::Day(now.day()) };
    let mark = keys::LedgerMark { size: 9, root: [9; 32] };
    let destroyed = told.world.engine().destroy(vec![Lot::Records(bucket)], mark, Arc::new(()));
    told.world.runtime.block_on(destroyed).unwrap();
    let found = told.explain(2, november()).unwrap();
    let quality = IdQuality::of(&found);
    assert!(found.suspects.users > 0 && found.records_seen * 10 < found.records_counted() * 9);
    assert_eq!((quality.records_counted, quality.records_seen), (59, found.records_seen));
    let figures = quality.figures().into_iter().filter(|(name, _)| name.starts_with("suspect_"));
    assert_eq!(figures.filter(|(_, figure)| figure.is_some()).count(), 0);
    let text = serde_json::to_string(&quality).unwrap();
    assert!(text.contains("\"suspect_shared_users\":null"), "{text}");
}
