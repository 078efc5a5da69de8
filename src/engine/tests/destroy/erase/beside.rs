//! An erasure and what happens beside it: folds after a cut, other erasures, destructions, holds
//! that come meanwhile, and what it must know over a wait.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::engine::erase;
use crate::store::erasure::{Erasure, Sample};

#[test]
fn a_fold_after_the_cut_joins_nothing_of_the_person_under_the_fresh_key() {
    // From the step at which the first bucket's fresh key is written down.
    for step in 2..10 {
        let mut world = World::filled();
        world.fold_now();
        world.hide(0, 9, Order { person: person(3), ..Order::default() });
        assert!(world.erase(9, nobody(), Cut::at(step)).is_none(), "{step}");
        world.reopen();
        // Enough rows to take in all fragments; none is of the person.
        let row = |event: u16| Row {
            site: 0,
            event,
            user: user_of(event),
            device: 1,
            drm: 0,
            effect: 0,
            hours_ago: 1,
        };
        let others = (4_000..4_800).filter(|event| user_of(*event) != 3).map(row);
        world.run(Op::Submit(others.collect()));
        world.run(Op::Fold);
        let report = world.erase(9, nobody(), Arc::new(())).unwrap();
        assert!(report.done, "{step}: {report:?}");
        assert_eq!(report.records, world.forget(0, 3), "{step}");
        world.check_blocks();
    }
}

#[test]
fn an_end_that_is_cut_has_forgotten_who_it_was_and_is_made_again() {
    let mut world = World::filled();
    world.hide(0, 5, Order { person: person(3), ..Order::default() });
    let first = world.erase(5, nobody(), Arc::new(())).unwrap();
    assert!(first.done);
    // Cut before the files are rewritten: the row says that there is something to do.
    erase::run::make_nameless(world.engine(), 5).unwrap();
    world.reopen();
    assert_eq!(world.engine().erasures()[0].stage, Stage::Ended);
    assert_eq!(world.engine().shared.hidden(world.no(0)), [Person::default()]);
    assert_eq!(world.erase(5, nobody(), Arc::new(())), Some(first));
    world.runtime.block_on(world.engine().end_erasure(5)).unwrap();
    world.reopen();
    assert_eq!(world.engine().erasures(), []);
    world.forget(0, 3);
    world.check_blocks();
}

#[test]
fn what_waits_erases_nothing_that_came_later() {
    let mut world = World::filled();
    world.fold_now();
    let with = world.buckets_with(0, 3);
    let Lot::Records(held) = with[0] else { panic!() };
    world.hide(0, 5, Order { person: person(3), ..Order::default() });
    let waits: Waits = Arc::new(move |bucket| bucket == held);
    let first = world.erase(5, Arc::clone(&waits), Arc::new(())).unwrap();
    assert_eq!((first.done, &first.held), (false, &vec![held]));
    let stays = world.model.kept[&held].clone();
    world.forget(0, 3);
    world.model.kept.insert(held, stays);
    // The person goes on.
    let row = |event: u16| Row {
        site: 0,
        event,
        user: user_of(event),
        device: 1,
        drm: 0,
        effect: 0,
        hours_ago: 1,
    };
    let later: Vec<u16> = (4_000..4_070).filter(|event| user_of(*event) == 3).collect();
    world.run(Op::Submit(later.iter().map(|event| row(*event)).collect()));
    world.run(Op::Fold);
    assert!(world.buckets_with(0, 3).len() > 1);
    let lots = world.engine().lots();
    for _ in 0..2 {
        assert_eq!(world.erase(5, Arc::clone(&waits), Arc::new(())).as_ref(), Some(&first));
        assert_eq!(world.engine().lots(), lots);
        world.check_blocks();
        world.reopen();
    }
    // Released: only what had waited goes.
    let report = world.erase(5, nobody(), Arc::new(())).unwrap();
    let events = world.model.kept.get_mut(&held).unwrap();
    let before = events.len() as u64;
    events.retain(|event| user_of(*event) != 3);
    let gone = before - events.len() as u64;
    assert_eq!((report.done, report.records), (true, first.records + gone));
    world.check_blocks();
}

/// Says when the first bucket gets its fresh key.
struct Begun(AtomicBool);

impl EraseSteps for Begun {
    fn begins(&self, step: EraseStep) {
        self.0.fetch_or(step == EraseStep::Part, Ordering::SeqCst);
    }
}

#[test]
fn a_hold_that_comes_during_an_erasure_protects_what_is_not_begun() {
    let mut world = World::filled();
    world.fold_now();
    let with = world.buckets_with(0, 3);
    assert!(with.len() > 1);
    let rows = world.rows();
    world.hide(0, 5, Order { person: person(3), ..Order::default() });
    let begun = Arc::new(Begun(AtomicBool::new(false)));
    let held = Arc::clone(&begun);
    let waits: Waits = Arc::new(move |_| held.0.load(Ordering::SeqCst));
    let report = world.erase(5, waits, begun).unwrap();
    assert!(!report.done);
    let held: Vec<Lot> = report.held.iter().map(|bucket| Lot::Records(*bucket)).collect();
    assert_eq!(held, with[1..]);
    world.opens_all_but(&rows, &with[..1]);
    assert!(world.erase(5, nobody(), Arc::new(())).unwrap().done);
    world.forget(0, 3);
    world.opens_all_but(&rows, &with);
    world.check_blocks();
}

#[test]
fn two_erasures_of_a_bucket_that_are_cut_come_to_their_ends() {
    for step in 2..8 {
        let mut world = World::filled();
        world.fold_now();
        world.hide(0, 8, Order { person: person(3), ..Order::default() });
        assert!(world.erase(8, nobody(), Cut::at(step)).is_none(), "{step}");
        world.reopen();
        // The other one destroys the fresh key of the first.
        world.erased_beside(0, 9, 4);
        let report = world.erase(8, nobody(), Arc::new(())).unwrap();
        assert!(report.done, "{step}");
        assert_eq!(report.records, world.forget(0, 3), "{step}");
        world.runtime.block_on(world.engine().end_erasure(8)).unwrap();
        world.check_blocks();
        for info in world.engine().lots() {
            let two = matches!(info.lot, Lot::Sets(_));
            assert_eq!(info.keys.len(), if two { 2 } else { 1 }, "{step}: {info:?}");
        }
    }
}

#[test]
fn nobody_is_erased_while_a_destruction_has_not_ended() {
    // Shut, folded, kept, and with the keys gone.
    for step in [1, 3, 5, 8] {
        let mut world = World::filled();
        world.fold_now();
        let with = world.buckets_with(0, 3);
        world.hide(0, 9, Order { person: person(3), ..Order::default() });
        let doomed = [with[0]];
        assert!(world.destroy(&doomed, Cut::at(step)).is_none(), "{step}");
        world.reopen();
        assert!(!world.engine().unfinished_destruction().is_empty(), "{step}");
        let order = world.engine().erase(9, nobody(), MARK, Arc::new(()));
        let refused = world.runtime.block_on(order).unwrap_err();
        assert!(matches!(refused, EngineError::Busy), "{step}: {refused:?}");
        assert!(world.finish(&doomed).is_some(), "{step}");
        world.lose(&doomed);
        assert!(world.erase(9, nobody(), Arc::new(())).unwrap().done);
        world.forget(0, 3);
        world.check_blocks();
    }
}

#[test]
fn a_trial_that_failed_fails_again_until_nothing_opens() {
    let mut world = World::filled();
    world.fold_now();
    world.close();
    let shelf = world.dir.path().join("shelf");
    std::fs::create_dir(&shelf).unwrap();
    world.copies = vec![shelf.join("register.c")];
    world.open();
    let with = world.buckets_with(0, 3);
    let away = world.dir.path().join("away");
    std::fs::rename(&shelf, &away).unwrap();
    world.hide(0, 3, Order { person: person(3), ..Order::default() });
    assert!(!world.erase(3, nobody(), Arc::new(())).unwrap().waiting_for.is_empty());
    world.reopen();
    let load = |world: &World| {
        let engine = world.engine();
        let rows = erase::load(engine.store(), &engine.ring().state_key()).unwrap();
        rows[&3].clone()
    };
    let put = |world: &World, row: &Erasure| {
        let changes = erase::row_change(world.engine().ring(), row);
        world.engine().store().apply(&changes).unwrap();
    };
    // What was sealed before is known over the start; and one key of it opens, as it must not.
    let good = load(&world);
    assert!(good.samples.len() >= with.len(), "{good:?}");
    let rows = world.rows();
    let (table, key, sealed) = rows.iter().find(|row| world.try_row(row).0 == with[0]).unwrap();
    let Table::BlockKeys(class, _) = table else { panic!() };
    let BlockPlace { bucket, fragment, number } = BlockPlace::from_key(*class, key).unwrap();
    let mut bad = good.clone();
    bad.samples.push(Sample { bucket, fragment, number, sealed: sealed.clone() });
    put(&world, &bad);
    std::fs::rename(&away, &shelf).unwrap();
    for _ in 0..2 {
        assert!(world.erase(3, nobody(), Arc::new(())).is_none());
        world.reopen();
    }
    put(&world, &good);
    assert!(world.erase(3, nobody(), Arc::new(())).unwrap().done);
    assert_eq!(load(&world).samples, []);
    world.forget(0, 3);
    world.check_blocks();
}

#[test]
fn folds_go_on_where_a_block_ended_an_erasure_behind_a_fragment_that_is_gone() {
    let mut world = World::filled();
    world.fold_now();
    let row = |event: u16| Row {
        site: 0,
        event,
        user: user_of(event),
        device: 1,
        drm: 0,
        effect: 0,
        hours_ago: 1,
    };
    // A fragment of the person alone, one large enough for a piece, and one that is damaged.
    let own = (4_000..4_100).filter(|event| user_of(*event) == 3);
    for events in [own.collect(), (5_000..5_400).collect(), (6_000..6_020).collect::<Vec<u16>>()] {
        world.run(Op::Submit(events.into_iter().map(row).collect()));
        world.run(Op::Fold);
    }
    let last = world.rows().into_iter().filter_map(|(table, key, _)| match table {
        Table::BlockKeys(class, _) => BlockPlace::from_key(class, &key),
        _ => None,
    });
    let no = world.no(0);
    let place = last.filter(|place| place.bucket.site == no).max_by_key(|at| at.number).unwrap();
    let [_, (table, key), _] = place.rows();
    let whole = world.engine().store().get(table, &key).unwrap().unwrap();
    let put = |world: &World, value: Vec<u8>| {
        let mut changes = store::Changes::default();
        changes.put(table, key.clone(), value);
        world.engine().store().apply(&changes).unwrap();
    };
    put(&world, b"damaged".to_vec());
    world.hide(0, 3, Order { person: person(3), ..Order::default() });
    assert!(world.erase(3, nobody(), Arc::new(())).is_none());
    put(&world, whole);
    let others = (7_000..7_700).filter(|event| user_of(*event) != 3).map(row);
    world.run(Op::Submit(others.collect()));
    world.run(Op::Fold);
    assert!(world.engine().is_running());
    let report = world.erase(3, nobody(), Arc::new(())).unwrap();
    assert!(report.done);
    assert_eq!(report.records, world.forget(0, 3));
    world.check_blocks();
}
