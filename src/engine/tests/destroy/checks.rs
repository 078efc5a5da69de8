//! The checks of the privacy study that a destruction in the engine must pass, by their numbers.

use std::path::Path;

use super::*;
use crate::crypto::{Aad, OpenError, SealKey, Secret};
use crate::engine::destroy::trial;
use crate::keys::{KeyInfo, KeyKind};
use crate::store::destruction::{DoomedKey, DoomedLot, Stage, UnderWay};

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

/// A destruction of lots, behind their keys, for who tries what is left. The keys never lived, so
/// that only rows are counted.
pub(super) fn under_way(lots: &[Lot]) -> UnderWay {
    let none = DoomedKey { kind: 0, id: KeyId(u64::MAX), parent: KeyId(0), commitment: [0; 32] };
    let doomed = |lot: &Lot| DoomedLot {
        lot: *lot,
        records: Some(0),
        hold: None,
        heirs: Vec::new(),
        blocks: (0, 0),
        keys: vec![none.clone()],
    };
    UnderWay { stage: Stage::Kept, vek_epoch: 1, lots: lots.iter().map(doomed).collect() }
}

impl World {
    /// Whether the keys open with the register as it was copied before, and today's root key and
    /// VEK home. The copy goes, and everything is as it was.
    pub(super) fn opens_with_register_of(&mut self, old: &Path) -> bool {
        self.close();
        let keys = self.dir.path().join("keys");
        let aside = self.dir.path().join("aside");
        copy(&keys, &aside);
        for name in ["register.a", "register.b"] {
            std::fs::copy(old.join(name), keys.join(name)).unwrap();
        }
        let opens = KeyRing::open(&keys::Settings::in_dir(keys.clone())).is_ok();
        std::fs::remove_dir_all(&keys).unwrap();
        std::fs::rename(&aside, &keys).unwrap();
        std::fs::remove_dir_all(old).unwrap();
        self.open();
        opens
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
    assert_eq!(report.lots.iter().filter_map(|lot| lot.records).sum::<u64>(), kept);
    assert_eq!(report.lots.iter().map(|lot| lot.keys.len()).sum::<usize>(), 6);
    assert_eq!(report.keys_tried, 6);
    assert!(report.home_copy_opens, "a key file cannot end an epoch");
    for round in 0..2 {
        let after = world.engine().usage(&site_id(0), at.month).unwrap().unwrap();
        assert_eq!((after.evidence, &after.tally), (Evidence::Destroyed, &before.tally));
        assert_eq!(world.month_lots(0).1, [], "{round}");
        assert_eq!(
            world.engine().ring().site_month_existing(&site_id(0), at.month).map(|_| ()),
            None
        );
        assert!(!world.engine().takes_records(at));
        world.check();
        world.check_blocks();
        assert_eq!(world.month_lots(0).1, [], "a name is given once");
        // Whoever ordered it may have died before it was heard.
        assert_eq!(world.engine().last_destruction().unwrap().as_ref(), Some(&report), "{round}");
        world.reopen();
    }
    assert!(report.files_searched > 0);
}

#[test]
fn a_month_without_records_stays_destroyed_over_a_start() {
    let mut world = World::filled();
    let (at, _) = world.month_lots(0);
    let empty = SiteMonth { month: at.month.next().next(), ..at };
    let sets = Lot::Sets(empty);
    let evidence =
        |world: &World| world.engine().usage(&site_id(0), empty.month).unwrap().unwrap().evidence;
    world.engine().ring().site_month(&site_id(0), empty.month).unwrap();
    world.reopen();
    assert_eq!(evidence(&world), Evidence::Live);
    assert!(!world.destroy(&[sets], Arc::new(())).unwrap().nothing);
    for round in 0..3 {
        assert_eq!(evidence(&world), Evidence::Destroyed, "{round}");
        world.reopen();
    }
}

#[test]
fn a_block_that_cannot_be_read_is_destroyed_uncounted() {
    let mut world = World::filled();
    world.fold_now();
    let (_, lots) = world.month_lots(0);
    let (_, others) = world.month_lots(1);
    let rows = world.rows();
    // One header of site 0 is damaged: another value stands in its place.
    let store = Arc::clone(world.engine().store());
    let (table, key) = rows
        .iter()
        .find_map(|row| {
            let Table::BlockKeys(class, _) = row.0 else { return None };
            let place = BlockPlace::from_key(class, &row.1)?;
            let [_, header, _] = place.rows();
            lots.contains(&Lot::Records(place.bucket)).then_some(header)
        })
        .unwrap();
    let mut changes = store::Changes::default();
    changes.put(table, key, b"damaged".to_vec());
    store.apply(&changes).unwrap();
    let all = [lots.clone(), others.clone()].concat();
    let counted: u64 = others
        .iter()
        .filter_map(|lot| match lot {
            Lot::Records(bucket) => Some(world.model.kept[bucket].len() as u64),
            _ => None,
        })
        .sum();
    let report = world.destroyed(&all);
    let of = |lot: &Lot| report.lots.iter().find(|done| done.lot == *lot).unwrap().records;
    assert!(lots.iter().all(|lot| of(lot).is_none() == matches!(lot, Lot::Records(_))));
    assert_eq!(others.iter().map(|lot| of(lot).unwrap()).sum::<u64>(), counted);
    assert!(counted > 0);
    world.opens_all_but(&rows, &all);
    world.check_blocks();
}

/// The VEK epoch in the header of a register, as docs/FORMATS.md says.
fn epoch_in(keys: &Path) -> [u8; 8] {
    std::fs::read(keys.join("register.a")).unwrap()[56..64].try_into().unwrap()
}

/// Gives both copies of a register another epoch in their headers, with a checksum that fits.
fn put_epoch(keys: &Path, epoch: [u8; 8]) {
    for copy in ["register.a", "register.b"] {
        let mut bytes = std::fs::read(keys.join(copy)).unwrap();
        bytes[56..64].copy_from_slice(&epoch);
        let sum = crate::crypto::digest(&bytes[..4_064]);
        bytes[4_064..4_096].copy_from_slice(&sum);
        std::fs::write(keys.join(copy), bytes).unwrap();
    }
}

/// A key of today under another number opens nothing of the victims either, and the keys of then
/// under their numbers do: it is the key that is gone, not its entry.
fn only_keys_of_then_open(rows: &Rows, lots: &[Lot], [then, today]: &[Vec<[u8; 32]>; 2]) {
    let mut tried = 0;
    for (table, key, wrapped) in rows {
        let Table::BlockKeys(class, _) = table else { continue };
        let place = BlockPlace::from_key(*class, key).unwrap();
        if !lots.contains(&Lot::Records(place.bucket)) {
            continue;
        }
        let number = crate::crypto::seal::key_id(wrapped).unwrap();
        let opens = |secret: &[u8; 32]| {
            let secret = Secret::take(&mut secret.to_vec()).unwrap();
            fold::block_key_opens(&SealKey::new(number, &secret), place, wrapped)
        };
        assert!(then.iter().any(opens) && !today.iter().any(opens));
        tried += 1;
    }
    assert!(tried > 1);
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
    let (then, _) = KeyRing::open(&keys::Settings::in_dir(old.join("keys"))).unwrap();
    let secrets = [then.secrets_for_scan(), ring.secrets_for_scan()];
    drop(then);
    only_keys_of_then_open(&rows, &lots, &secrets);
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
    // 33: the old register with today's home and root is refused; and not only for the epoch that
    // its header names, which says nothing of what wraps its keys.
    let old = old.join("keys");
    let open =
        || KeyRing::open(&keys::Settings::in_dir(&old)).map(|_| ()).map_err(|e| e.to_string());
    let own = epoch_in(&old);
    put_epoch(&old, own);
    assert_eq!(open(), Ok(()), "a header that is written anew is as good as before");
    for part in ["vek.home", "root.key"] {
        std::fs::copy(today.join(part), old.join(part)).unwrap();
    }
    let by_epoch = open().unwrap_err();
    put_epoch(&old, epoch_in(&today));
    assert_ne!(epoch_in(&today), own);
    let by_key = open().unwrap_err();
    assert_ne!(by_key, by_epoch);
    world.open();
}

#[test]
fn check_35_a_held_iterator_does_not_keep_it() {
    let mut world = World::filled();
    world.fold_now();
    let (at, lots) = world.month_lots(0);
    let rows = world.rows();
    let engine = world.engine().clone();
    let store = Arc::clone(engine.store());
    // In a file, which a reader keeps, and of other sites too, so that the table lives on.
    store.flush().unwrap();
    let table = Table::Blocks(Class::Records, at.month);
    let bodies = rows.iter().filter_map(|(of, key, _)| match of {
        Table::BlockKeys(class, _) => BlockPlace::from_key(*class, key),
        _ => None,
    });
    let of_victims = bodies.filter(|place| lots.contains(&Lot::Records(place.bucket)));
    let of_victims: BTreeSet<Vec<u8>> = of_victims.map(|place| place.rows()[0].1.clone()).collect();
    let is_victim = |key: &[u8]| of_victims.contains(key);
    let victims = || {
        let rows = store.scan(table, &[], None).unwrap().map(Result::unwrap);
        rows.filter(|(key, _)| is_victim(key)).count()
    };
    let there = victims();
    let mut held = store.scan(table, &[], None).unwrap().map(Result::unwrap).peekable();
    assert!(held.peek().is_some() && there > 0);
    let report = world.destroy(&lots, Arc::new(())).unwrap();
    world.lose(&lots);
    // The reader still sees every row of it, nobody who begins now does, and the file is said to be
    // left. The keys are gone whatever it keeps.
    assert!(matches!(report.verification, Verification::BytesLeft(1..)), "{report:?}");
    assert_eq!((held.filter(|(key, _)| is_victim(key)).count(), victims()), (there, 0));
    world.opens_all_but(&rows, &lots);
    drop((store, engine));
    // The reader has gone, and the next call removes what it pinned.
    let again = world.engine().unfinished_destruction();
    assert_eq!(again.len(), lots.len());
    let again: Vec<Lot> = again.iter().map(|doom| doom.lot).collect();
    let report = world.destroy(&again, Arc::new(())).unwrap();
    assert_eq!(report.verification, Verification::Passed);
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

/// Keys of pseudonyms cannot be wiped under a request's hands; while one has them, nothing is said
/// to be destroyed.
#[test]
fn check_43_while_a_request_holds_a_key_nothing_is_destroyed() {
    let mut world = World::filled();
    world.fold_now();
    let (at, lots) = world.month_lots(0);
    let site = world.site_of(at).id.clone();
    let ring = Arc::clone(world.engine().ring());
    let request = ring.site_month(&site, at.month).unwrap();
    // A look-up opens keys of its own.
    let look_up = ring.record_keys(&site).unwrap();
    let waits = |world: &World| {
        let report = world.destroy(&lots, Arc::new(())).unwrap();
        assert_eq!(report.verification, Verification::KeyStillOpens);
        assert_eq!(world.engine().unfinished_destruction().len(), lots.len());
    };
    waits(&world);
    drop(request);
    waits(&world);
    drop(look_up);
    let report = world.destroy(&lots, Arc::new(())).unwrap();
    assert_eq!(report.verification, Verification::Passed);
    world.lose(&lots);
    world.check();
}

#[test]
fn check_36_cut_at_every_step_it_finishes_and_says_nothing_before() {
    let mut tried = Vec::new();
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
                tried.push(report.keys_tried);
                assert!(report.lots.iter().any(|lot| lot.records > Some(0)));
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
    // All of them before the register is written, none where a start found it written.
    let all = tried.iter().take_while(|keys| **keys == 7).count();
    assert!(all >= 5 && tried[all..].iter().all(|keys| *keys == 0), "{tried:?}");
    assert!(all + 5 <= tried.len(), "{tried:?}");
}

/// Every row that is stored opens under a key in force, and then under none but those that somebody
/// still holds: the trial says so, or it would pass whatever it is given.
#[test]
fn a_trial_finds_what_opens() {
    let world = World::filled();
    world.fold_now();
    let (_, lots) = world.month_lots(0);
    let shared = &world.engine().shared;
    let row = under_way(&lots);
    let ring = world.engine().ring();
    let found = trial::all(shared, ring, &row, &[]).unwrap();
    assert!(found.rows > 1 && found.opens == found.rows, "{found:?}");
    let seals = |info: &KeyInfo| matches!(info.kind, KeyKind::Bucket | KeyKind::Sets);
    let ids: Vec<KeyId> = ring.list().into_iter().filter(seals).map(|info| info.id).collect();
    let held: Vec<_> = ids.iter().filter_map(|id| ring.by_id(*id)).collect();
    ring.retire(&ids).unwrap();
    let rows = found.rows;
    let opens = |held: &[_]| trial::all(shared, ring, &row, held).unwrap();
    assert_eq!(opens(&[]), trial::Found { opens: 0, rows });
    assert_eq!(opens(&held), trial::Found { opens: rows, rows });
    // A key that lives is one more.
    let mut row = row.clone();
    row.lots[0].keys[0].id = ring.state_key().id();
    assert_eq!(trial::all(shared, ring, &row, &[]).unwrap(), trial::Found { opens: 1, rows });
}
