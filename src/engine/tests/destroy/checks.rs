//! The checks of the privacy study that a destruction in the engine must pass, by their numbers.

use std::path::Path;

use super::*;
use crate::crypto::{Aad, OpenError};

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn check_31_a_destroyed_month_keeps_its_figures_and_nothing_else() {
    let mut world = World::filled();
    world.fold_now();
    let (at, lots) = world.month_lots(0);
    assert_eq!(lots.len(), 5, "{lots:?}");
    let before = world.engine().usage(&site_id(0), at.month).unwrap().unwrap();
    assert_eq!(before.evidence, Evidence::Live);
    let kept: u64 = world
        .model
        .kept
        .iter()
        .filter(|(bucket, _)| lots.contains(&Lot::Records(**bucket)))
        .map(|(_, events)| events.len() as u64)
        .sum();
    let report = world.destroyed(&lots);
    assert_eq!(report.new_epoch, report.old_epoch + 1);
    assert_eq!(report.lots.iter().map(|lot| lot.records).sum::<u64>(), kept);
    assert_eq!(report.lots.iter().map(|lot| lot.keys.len()).sum::<usize>(), 6);
    assert!(report.home_copy_opens, "a key file cannot end an epoch");
    for round in 0..2 {
        let after = world.engine().usage(&site_id(0), at.month).unwrap().unwrap();
        assert_eq!((after.evidence, &after.counters), (Evidence::Destroyed, &before.counters));
        assert_eq!(world.month_lots(0).1, [], "{round}");
        assert_eq!(
            world.engine().ring().site_month_existing(&site_id(0), at.month).map(|_| ()),
            None
        );
        assert!(!world.engine().takes_records(at));
        world.check();
        world.check_blocks();
        assert_eq!(world.month_lots(0).1, [], "a name is given once");
        world.reopen();
    }
}

#[test]
fn check_32_and_33_copies_from_before_open_nothing_of_it_and_everything_else() {
    let mut world = World::filled();
    world.fold_now();
    let (_, mut lots) = world.month_lots(1);
    lots.push(world.lot(|lot| matches!(lot, Lot::Records(Bucket { epoch: Epoch::Day(_), .. }))));
    let rows = world.rows();
    world.opens_all_but(&rows, &[]);
    assert!(rows.iter().any(|row| lots.contains(&world.try_row(row).0)));
    world.close();
    let (old, today) = (world.dir.path().join("old"), world.dir.path().join("today"));
    copy(&world.dir.path().join("data"), &old.join("data"));
    copy(&world.dir.path().join("keys"), &old.join("keys"));
    world.open();
    world.destroyed(&lots);
    world.opens_all_but(&rows, &lots);
    world.reopen();
    world.opens_all_but(&rows, &lots);
    world.close();
    // 32: the old data directory, opened with all keys of today: it is refused as a whole where
    // keys are missing that it needs, and row by row it opens nothing of the victims.
    copy(&world.dir.path().join("keys"), &today);
    let data = store::Settings { data: old.join("data"), block_cache_bytes: 1 << 20 };
    let old_store = Store::open(&data).unwrap();
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(&today)).unwrap();
    let mut tried = [0, 0];
    for table in old_store.tables() {
        let Table::BlockKeys(class, _) = table else { continue };
        for row in old_store.scan(table, &[], None).unwrap() {
            let (key, wrapped) = row.unwrap();
            let place = BlockPlace::from_key(class, &key).unwrap();
            let by = ring.by_id(crate::crypto::seal::key_id(&wrapped).unwrap());
            let victim = lots.contains(&Lot::Records(place.bucket));
            let opens = by.is_some_and(|by| {
                let read = read_block(&old_store, &by, place).is_ok();
                read && read_header(&old_store, &by, place).is_ok()
            });
            assert_eq!(opens, !victim);
            tried[usize::from(victim)] += 1;
        }
    }
    assert!(tried[0] > 0 && tried[1] > 0, "{tried:?}");
    drop((old_store, ring));
    // 33: the old register with today's home and root is refused.
    for part in ["vek.home", "root.key"] {
        std::fs::copy(today.join(part), old.join("keys").join(part)).unwrap();
    }
    assert!(KeyRing::open(&keys::Settings::in_dir(old.join("keys"))).is_err());
    world.open();
}

#[test]
fn check_35_a_held_iterator_does_not_keep_it() {
    let mut world = World::filled();
    world.fold_now();
    let (_, lots) = world.month_lots(0);
    let rows = world.rows();
    let engine = world.engine().clone();
    let store = Arc::clone(engine.store());
    let table = store.tables().into_iter().find(|t| matches!(t, Table::Blocks(..))).unwrap();
    let mut held = store.scan(table, &[], None).unwrap();
    let first = held.next().unwrap().unwrap();
    let report = world.destroy(&lots, Arc::new(())).unwrap();
    world.lose(&lots);
    // The keys are gone whatever the reader keeps of the files.
    world.opens_all_but(&rows, &lots);
    assert_ne!(report.verification, Verification::KeyStillOpens);
    assert!(!first.1.is_empty());
    drop(held);
    drop((store, engine));
    if report.verification != Verification::Passed {
        // What an iterator pinned is left, and said to be; the next call removes it.
        assert!(matches!(report.verification, Verification::BytesLeft(_)));
        let again = world.engine().unfinished_destruction();
        let again: Vec<Lot> = again.iter().map(|doom| doom.lot).collect();
        assert_eq!(world.destroy(&again, Arc::new(())).unwrap().verification, Verification::Passed);
    }
    assert_eq!(world.engine().unfinished_destruction(), []);
    world.check_blocks();
}

#[test]
fn check_40_nothing_to_destroy_is_an_alarm() {
    let mut world = World::filled();
    world.fold_now();
    let (_, lots) = world.month_lots(0);
    world.destroyed(&lots);
    let epoch = world.engine().ring().vek_epoch().unwrap();
    for _ in 0..2 {
        let report = world.destroy(&lots, Arc::new(())).unwrap();
        assert!(report.nothing && report.lots.iter().all(|lot| lot.keys.is_empty()));
        assert_eq!(report.new_epoch, epoch, "no epoch ended");
        world.reopen();
    }
    let at = SiteMonth { site: crate::model::ids::SiteNo(1), month: Month(24_000) };
    assert!(world.destroy(&[Lot::Sets(at)], Arc::new(())).unwrap().nothing);
    assert!(world.engine().takes_records(at), "a lot that never was closes no month");
}

#[test]
fn check_43_who_holds_a_key_holds_nothing_afterwards() {
    let mut world = World::filled();
    world.fold_now();
    let (_, lots) = world.month_lots(0);
    let ring = Arc::clone(world.engine().ring());
    let living = world.engine().lots();
    let ids = living.iter().filter(|info| lots.contains(&info.lot)).flat_map(|info| &info.keys);
    let held: Vec<_> = ids.filter_map(|id| ring.by_id(*id)).collect();
    assert_eq!(held.len(), 2, "of the bucket and of the sets");
    let aad = Aad::new("reader");
    let values: Vec<Vec<u8>> = held.iter().map(|key| key.seal(&aad, b"x")).collect();
    world.destroyed(&lots);
    for (key, value) in held.iter().zip(&values) {
        assert_eq!(key.open(&aad, value), Err(OpenError::Destroyed(key.id())));
        assert!(ring.by_id(key.id()).is_none());
    }
}

#[test]
fn check_36_cut_at_every_step_it_finishes_and_says_nothing_before() {
    for step in 0..=STEPS {
        let mut world = World::filled();
        let (at, mut lots) = world.month_lots(0);
        lots.retain(|lot| !matches!(lot, Lot::Records(_)));
        let no = world.engine().site(&site_id(1)).unwrap().no;
        lots.push(world.lot(|lot| matches!(lot, Lot::Records(bucket) if bucket.site == no)));
        lots.push(
            world.lot(|lot| matches!(lot, Lot::Records(Bucket { epoch: Epoch::Day(_), .. }))),
        );
        let rows = {
            world.fold_now();
            world.rows()
        };
        let cut = Cut::at(step);
        let report = world.destroy(&lots, cut.clone());
        assert_eq!(report.is_none(), cut.was_reached(), "{step}");
        assert_eq!(report.is_some(), step == STEPS, "every step is cut once");
        match world.finish(&lots) {
            None if step == 0 => {
                // Nothing had begun.
                world.opens_all_but(&rows, &[]);
                world.destroyed(&lots);
            }
            None => assert_eq!(step, STEPS, "unfinished until its end"),
            Some(report) => {
                let keys: usize = report.lots.iter().map(|lot| lot.keys.len()).sum();
                assert_eq!(keys, 7, "what was destroyed is known after a start, too");
                assert!(report.lots.iter().any(|lot| lot.records > 0));
            }
        }
        world.lose(&lots);
        world.opens_all_but(&rows, &lots);
        assert_eq!(
            world.engine().usage(&site_id(0), at.month).unwrap().unwrap().evidence,
            Evidence::Destroyed
        );
        world.check();
        world.check_blocks();
        let row = Row { site: 1, event: 77, user: 3, device: 3, drm: 1, effect: 0, hours_ago: 2 };
        world.run(Op::Submit(vec![row, Row { site: 0, ..row }, Row { site: 2, ..row }]));
        world.run(Op::Restart);
        world.check_blocks();
        world.close();
    }
}
