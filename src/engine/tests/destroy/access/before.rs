//! Days from before format 7, and days whose key is lost.

use super::*;

/// Rows of a month whose key is lost stay damage: no second key hides the loss.
#[test]
fn a_month_with_rows_gets_no_second_key() {
    let mut world = World::with_log(1);
    let lost = month(7);
    let mut changes = store::Changes::default();
    changes.put(Table::Meta, access::row_of(&name(lost, 3)).unwrap(), vec![1; 64]);
    world.engine().store().apply(&changes).unwrap();
    let sealed = world.engine().shared.seal_desk_row(&name(lost, 4), b"late");
    assert!(matches!(sealed, Err(EngineError::Damaged(_))), "{sealed:?}");
    assert_eq!(world.engine().ring().access_existing(lost).unwrap().map(|key| key.id()), None);
    assert!(world.engine().shared.seal_desk_row(&name(month(6), 4), b"new").is_ok());
    world.close();
}

/// Days as they were before format 7, more than go into one write, in a start that is cut.
#[test]
fn days_from_before_are_sealed_under_their_month_at_the_first_start() {
    let mut world = World::new(settings(false));
    let all = 1_300;
    let start = FIRST.start().day().0;
    let days: Vec<String> = (0..all).map(|at| format!("access/{}", Day(start + at))).collect();
    let state = world.engine().ring().state_key();
    let mut changes = store::Changes::default();
    for name in &days {
        let (row, sealed) = names::seal(&state, name, name.as_bytes());
        assert_eq!(row, rows::desk(name), "as it was");
        changes.put(Table::Meta, row, sealed);
        world.model.log.insert(name.clone(), name.clone().into_bytes());
    }
    world.engine().store().apply(&changes).unwrap();
    let store = Arc::clone(world.engine().store());
    let before: Vec<Stored> = days_before(&store);
    assert_eq!((before.len(), days_in(&store).len()), (1_300, 0));
    // One of the first write, and one of the next.
    let ends = [&before[0], &before[1_299]];
    assert!(ends.iter().all(|day| world.files_with(day) > 0));
    // The first write of a start, behind which it is cut.
    assert!(access::raise_some(&world.engine().shared).unwrap());
    assert_eq!((days_before(&store).len(), days_in(&store).len()), (300, 1_000));
    drop(store);
    world.reopen();
    assert_eq!(days_before(world.engine().store()), []);
    assert!(ends.iter().all(|day| world.files_with(day) == 0), "before anything is served");
    world.check_log();
    let months: BTreeSet<Month> = (0..all).map(|at| Day(start + at).month()).collect();
    assert_eq!(world.log_months(), months);
    for (row, sealed) in world.stored_days() {
        let key = world.engine().ring().access_existing(access::month_of(&row).unwrap());
        assert_eq!(seal::key_id(&sealed), Ok(key.unwrap().unwrap().id()));
    }
    // The next run rewrites the files, and does so once.
    let sweep = |world: &World| world.engine().desk_rows(names::REWRITE).unwrap().len();
    assert_eq!(sweep(&world), 1);
    world.runtime.block_on(world.engine().delete_desk_row(names::REWRITE)).unwrap();
    let stored = world.stored_days();
    world.reopen();
    assert_eq!((sweep(&world), world.stored_days()), (0, stored), "nothing is left to do");
    // What was raised ends by its key.
    let lots: Vec<Lot> = months.iter().take(2).copied().map(Lot::Access).collect();
    world.destroyed(&lots);
    world.check_log();
}
