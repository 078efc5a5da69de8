//! Check 37 in the engine: what is on hold is copied to hold storage before its lot is destroyed,
//! opens there and only there, and ends with its hold.

mod aside;

use super::backup::named;
use super::checks::copy;
use super::*;
use crate::engine::hold::HeldInfo;
use crate::engine::restore::Replay;
use crate::model::ids::HoldNo;

const ONE: HoldNo = HoldNo(1);
const TWO: HoldNo = HoldNo(2);

/// Lots with the same heirs.
fn kept(lots: &[Lot], heirs: &[HoldNo]) -> Vec<Doom> {
    let doom = |lot: &Lot| Doom { heirs: heirs.to_vec(), ..Doom::from(*lot) };
    lots.iter().map(doom).collect()
}

/// The copies that a hold has of lots.
fn copies(lots: &[Lot], hold: HoldNo, heirs: &[HoldNo]) -> Vec<Doom> {
    let doom = |lot: &Lot| Doom { lot: *lot, hold: Some(hold), heirs: heirs.to_vec() };
    lots.iter().map(doom).collect()
}

/// Sealed rows of hold storage.
type HoldRows = Vec<(Table, Vec<u8>, Vec<u8>)>;

impl World {
    fn moved(&mut self, lots: &[Lot], heirs: &[HoldNo]) -> DestroyReport {
        let report = self.destroy(&kept(lots, heirs), Arc::new(())).unwrap();
        assert_eq!((report.verification, report.nothing), (Verification::Passed, false));
        self.lose(lots);
        report
    }

    fn released(&self, lots: &[Lot], hold: HoldNo, heirs: &[HoldNo]) -> DestroyReport {
        let report = self.destroy(&copies(lots, hold, heirs), Arc::new(())).unwrap();
        assert_eq!((report.verification, report.nothing), (Verification::Passed, false));
        report
    }

    fn held(&self, hold: HoldNo) -> Vec<HeldInfo> {
        let all = self.engine().held().unwrap();
        all.into_iter().filter(|held| held.hold == hold).collect()
    }

    fn lots_held(&self, hold: HoldNo) -> Vec<Lot> {
        self.held(hold).iter().map(|held| held.lot).collect()
    }

    /// The event numbers in the copy that a hold has of a bucket.
    fn events_held(&self, hold: HoldNo, bucket: Bucket) -> Option<Vec<u16>> {
        let copy = self.engine().held_bucket(hold, bucket).unwrap()?;
        let mut events = Vec::new();
        for place in copy.blocks().unwrap() {
            for row in copy.read(place).unwrap() {
                let Item::Number(event) = details::items(&row.details).next().unwrap().unwrap().1
                else {
                    panic!()
                };
                events.push(event as u16);
            }
        }
        events.sort_unstable();
        Some(events)
    }

    /// Every bucket among the lots with the events that the model kept of it.
    fn events_of(&self, lots: &[Lot]) -> Vec<(Bucket, Vec<u16>)> {
        let of = |lot: &Lot| {
            let Lot::Records(bucket) = lot else { return None };
            let mut events = self.model.kept.get(bucket).cloned().unwrap_or_default();
            events.sort_unstable();
            Some((*bucket, events))
        };
        lots.iter().filter_map(of).collect()
    }

    fn check_held(&self, hold: HoldNo, events: &[(Bucket, Vec<u16>)]) {
        for (bucket, events) in events {
            assert_eq!(self.events_held(hold, *bucket).as_ref(), Some(events), "{bucket:?}");
        }
    }

    fn hold_rows(&self) -> HoldRows {
        let mut rows = Vec::new();
        for table in [Table::HoldRows, Table::HoldKeys] {
            if self.engine().store().has(table) {
                for row in self.engine().store().scan(table, &[], None).unwrap() {
                    let (key, value) = row.unwrap();
                    rows.push((table, key.into_vec(), value.into_vec()));
                }
            }
        }
        rows
    }

    /// How many rows of hold storage open under any key of either vault.
    fn open_hold_rows(&self, rows: &HoldRows) -> usize {
        let main = Arc::clone(self.engine().ring());
        let ring = main.hold_existing().unwrap().unwrap();
        let seals: Vec<_> = ring
            .list()
            .iter()
            .filter_map(|key| match ring.held_key(key.id) {
                Ok(keys::HeldKey::Seal(key)) => Some(key),
                _ => None,
            })
            .chain(main.list().iter().filter_map(|key| main.by_id(key.id)))
            .collect();
        let opens = |(table, row, sealed): &(Table, Vec<u8>, Vec<u8>)| {
            seals.iter().any(|key| match table {
                Table::HoldKeys => {
                    let hold = HoldNo(u64::from_be_bytes(row[..8].try_into().unwrap()));
                    let class = Class::from_code(row[9]).unwrap();
                    let own = store::keys::hold_key_of(row).unwrap();
                    let place = BlockPlace::from_key(class, own).unwrap();
                    hold::block_key_opens(key, hold, place, sealed)
                }
                _ => {
                    let (part, own) = store::keys::hold_row_of(row).unwrap();
                    let month = Month(u32::from_be_bytes(row[6..10].try_into().unwrap()));
                    part == 3 && runs::row_opens(key, Table::Tally(month), own, sealed)
                }
            })
        };
        rows.iter().filter(|row| opens(row)).count()
    }

    fn evidence(&self, at: SiteMonth, site: u8) -> Evidence {
        self.engine().usage(&site_id(site), at.month).unwrap().unwrap().evidence
    }

    fn check_held_evidence(&self) {
        for (name, wanted) in &self.model.counters {
            let site = self.engine().sites().into_iter().find(|s| s.no == name.site).unwrap();
            let usage = self.engine().usage(&site.id, name.month).unwrap().unwrap();
            assert_eq!(usage.tally.counters, *wanted, "{name:?}");
        }
    }
}

#[test]
fn check_37_what_is_held_moves_with_the_batch_and_opens_only_there() {
    let mut world = World::filled();
    world.fold_now();
    let (at, held) = world.month_lots(0);
    let (_, gone) = world.month_lots(1);
    let days: Vec<Lot> =
        world.month_lots(2).1.into_iter().filter(|lot| matches!(lot, Lot::Records(_))).collect();
    let held = [held, days[..1].to_vec()].concat();
    let events = world.events_of(&held);
    assert!(events.iter().all(|(_, events)| !events.is_empty()) && events.len() == 2);
    let rows = world.rows();
    assert_eq!(world.engine().held().unwrap(), []);
    let batch: Vec<Doom> =
        kept(&held, &[ONE]).into_iter().chain(gone.iter().copied().map(Doom::from)).collect();
    let epoch = world.engine().ring().vek_epoch().unwrap();
    let report = world.destroy(&batch, Arc::new(())).unwrap();
    assert_eq!((report.verification, report.nothing), (Verification::Passed, false));
    assert_eq!(report.new_epoch, epoch + 1, "one turn-over for all of them");
    let lots = [held.clone(), gone.clone()].concat();
    world.lose(&lots);
    for round in 0..2 {
        let mut sorted = held.clone();
        sorted.sort_unstable();
        assert_eq!(world.lots_held(ONE), sorted, "{round}");
        for info in world.held(ONE) {
            let of = events.iter().find(|(bucket, _)| Lot::Records(*bucket) == info.lot);
            assert_eq!(info.records, of.map_or(0, |(_, events)| events.len() as u64));
            let two = matches!(info.lot, Lot::Sets(_));
            assert_eq!(info.keys.len(), if two { 2 } else { 1 }, "{info:?}");
        }
        world.check_held(ONE, &events);
        assert_eq!(world.evidence(at, 0), Evidence::Held);
        assert_eq!(world.evidence(at, 1), Evidence::Destroyed);
        assert_eq!(world.events_held(TWO, events[0].0), None, "only for its hold");
        world.opens_all_but(&rows, &lots);
        world.check_held_evidence();
        world.check_blocks();
        assert!(world.engine().lots().iter().all(|info| !lots.contains(&info.lot)));
        world.reopen();
    }
    // What the hold kept is named by its own tables and its own register, and nowhere else.
    let of_holds: BTreeSet<KeyId> = world.held(ONE).iter().flat_map(|h| h.keys.clone()).collect();
    let ring = world.engine().ring().hold_existing().unwrap().unwrap();
    assert!(ring.list().iter().filter(|key| of_holds.contains(&key.id)).count() == 7);
    let keys = world.dir.path().join("keys/hold");
    assert!(keys.join("register.a").exists() && keys.join("vek.home").exists());
    for row in world.rows() {
        assert!(!lots.contains(&world.try_row(&row).0));
    }
    // A late record of a held lot is counted where its month takes records, and never kept.
    let row = Row { site: 2, event: 9_000, user: 3, device: 3, drm: 1, effect: 0, hours_ago: 1 };
    world.run_held(row);
    world.check_held(ONE, &events);
}

impl World {
    /// Submits a row; the evidence of held months is not the model's.
    fn run_held(&mut self, row: Row) {
        let rows = vec![(row, self.now() - i64::from(row.hours_ago) * HOUR)];
        self.submit(rows);
        self.fold_now();
        self.check_held_evidence();
        self.check_blocks();
    }
}

#[test]
fn a_release_ends_one_copy_and_others_keep_theirs() {
    let mut world = World::filled();
    world.fold_now();
    let (at, lots) = world.month_lots(0);
    let events = world.events_of(&lots);
    world.moved(&lots, &[ONE, TWO]);
    let all = world.hold_rows();
    let open = world.open_hold_rows(&all);
    assert!(open > 0 && all.iter().any(|(table, ..)| *table == Table::HoldKeys));
    // Copies from before the release, of data and of the register of holds.
    world.close();
    let old = world.dir.path().join("old");
    copy(&world.dir.path().join("keys"), &old);
    world.open();
    let report = world.released(&lots, ONE, &[TWO]);
    assert_eq!(
        report.lots.iter().filter_map(|lot| lot.records).sum::<u64>(),
        events[0].1.len() as u64
    );
    assert_eq!(report.lots.iter().map(|lot| lot.keys.len()).sum::<usize>(), 6);
    assert_eq!((world.lots_held(ONE).len(), world.lots_held(TWO).len()), (0, 5));
    world.check_held(TWO, &events);
    assert_eq!(world.evidence(at, 0), Evidence::Held);
    world.reopen();
    world.check_held(TWO, &events);
    let own = |rows: &HoldRows, hold: HoldNo| -> HoldRows {
        let of = |row: &&(Table, Vec<u8>, Vec<u8>)| {
            row.0 == Table::HoldKeys && row.1[..8] == hold.0.to_be_bytes()
        };
        rows.iter().filter(of).cloned().collect()
    };
    assert!(!own(&all, ONE).is_empty() && own(&world.hold_rows(), ONE).is_empty());
    assert_eq!(world.open_hold_rows(&own(&all, ONE)), 0);
    assert_eq!(world.open_hold_rows(&own(&all, TWO)), own(&all, TWO).len());

    let report = world.released(&lots, TWO, &[]);
    assert_eq!(report.new_epoch, report.old_epoch + 1);
    assert!(report.files_removed > 0);
    assert_eq!(world.engine().held().unwrap(), []);
    assert!(!world.engine().store().has(Table::HoldRows), "the tables go with the last copy");
    assert_eq!(world.evidence(at, 0), Evidence::Destroyed);
    assert_eq!(world.open_hold_rows(&all), 0);
    world.check();
    world.check_blocks();
    world.reopen();
    assert_eq!(world.open_hold_rows(&all), 0);
    // The old register of the holds with today's home and root is refused.
    let today = world.dir.path().join("keys");
    world.close();
    for part in ["hold/vek.home", "vek.home", "root.key"] {
        std::fs::copy(today.join(part), old.join(part)).unwrap();
    }
    for part in ["register.a", "register.b"] {
        std::fs::copy(today.join(part), old.join(part)).unwrap();
    }
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(&old)).unwrap();
    assert!(ring.hold_existing().is_err());
    drop(ring);
    world.open();
    // Nothing is left to release.
    let again = world.destroy(&copies(&lots, TWO, &[]), Arc::new(())).unwrap();
    assert!(again.nothing);
}

#[test]
fn a_hold_that_comes_later_gets_its_copy_from_the_first() {
    let mut world = World::filled();
    world.fold_now();
    let (_, lots) = world.month_lots(1);
    let events = world.events_of(&lots);
    world.moved(&lots, &[ONE]);
    world.released(&lots, ONE, &[TWO]);
    world.check_held(TWO, &events);
    world.reopen();
    world.check_held(TWO, &events);
    assert_eq!((world.lots_held(ONE).len(), world.lots_held(TWO).len()), (0, lots.len()));
    // Sets open under the key that was handed on.
    let rows = world.hold_rows();
    let sets = rows.iter().filter(|row| row.0 == Table::HoldRows && row.1[10] == 3).count();
    let block_keys = rows.iter().filter(|row| row.0 == Table::HoldKeys).count();
    assert!(sets > 0 && block_keys > 0);
    assert_eq!(world.open_hold_rows(&rows), sets + block_keys);
}

#[test]
fn lots_and_copies_do_not_go_together_and_an_unknown_hold_makes_no_vault() {
    let mut world = World::filled();
    world.fold_now();
    let (_, lots) = world.month_lots(0);
    assert!(world.destroy(&copies(&lots, ONE, &[]), Arc::new(())).is_none());
    assert!(!world.dir.path().join("keys/hold").exists());
    world.moved(&lots[..1], &[ONE]);
    let both = [copies(&lots[..1], ONE, &[]), kept(&lots[1..2], &[])].concat();
    assert!(world.destroy(&both, Arc::new(())).is_none());
    assert_eq!(world.engine().unfinished_destruction(), []);
}

#[test]
fn data_on_hold_without_its_keys_is_refused() {
    let mut world = World::filled();
    world.fold_now();
    let (_, lots) = world.month_lots(0);
    world.moved(&lots, &[ONE]);
    world.close();
    let (hold, away) = (world.dir.path().join("keys/hold"), world.dir.path().join("away"));
    std::fs::rename(&hold, &away).unwrap();
    let data = world.dir.path().join("data");
    let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 }).unwrap();
    let keys = keys::Settings::in_dir(world.dir.path().join("keys"));
    let (ring, _) = KeyRing::open(&keys).unwrap();
    let clock: Arc<dyn Clock> = world.clock.clone();
    let refused = Engine::open(store, ring, world.settings.clone(), clock).err().unwrap();
    let EngineError::Refused(why) = refused else { panic!("{refused:?}") };
    assert!(why.contains("put back"), "{why}");
    assert!(!hold.exists(), "no vault was made in its place");
    std::fs::rename(&away, &hold).unwrap();
    world.open();
}

/// A bucket with a block of which one bit is another, and that block as it was.
fn damaged(world: &World, lots: &[Lot]) -> (Table, Vec<u8>, Vec<u8>) {
    let Some(Lot::Records(bucket)) = lots.iter().find(|lot| matches!(lot, Lot::Records(_))) else {
        panic!()
    };
    let place = fold::blocks_of(world.engine().store(), *bucket).unwrap()[0];
    let [(table, row), ..] = place.rows();
    let body = world.engine().store().get(table, &row).unwrap().unwrap();
    let mut changes = store::Changes::default();
    let changed = [&body[..body.len() - 1], &[body[body.len() - 1] ^ 1]].concat();
    changes.put(table, row.clone(), changed);
    world.engine().store().apply(&changes).unwrap();
    (table, row, body)
}

/// A destruction whose copies cannot be made ends, with everything as it was and nothing of the
/// copies left; what is not on hold goes meanwhile.
#[test]
fn what_cannot_be_copied_is_not_destroyed_and_stops_nothing() {
    let mut world = World::filled();
    world.fold_now();
    let (_, lots) = world.month_lots(0);
    let (table, row, body) = damaged(&world, &lots);
    let before = world.engine().ring().vek_epoch().unwrap();
    for _ in 0..2 {
        let doomed = world.engine().destroy(kept(&lots, &[ONE]), MARK, Arc::new(()));
        let error = world.runtime.block_on(doomed).err().unwrap();
        assert!(matches!(error, EngineError::Damaged(_)), "{error:?}");
        assert_eq!(world.engine().unfinished_destruction(), [], "it stands in nobody's way");
        assert_eq!(world.engine().held().unwrap(), []);
        assert_eq!(world.hold_rows(), [], "no copy that nobody knows of");
        let ring = world.engine().ring();
        assert_eq!(ring.vek_epoch().unwrap(), before, "no key was destroyed");
        if let Some(hold) = ring.hold_existing().unwrap() {
            assert!(hold.list().iter().all(|key| key.hold.is_none()), "no key of a hold");
        }
        let living = world.engine().lots();
        assert!(lots.iter().all(|lot| living.iter().any(|info| info.lot == *lot)));
        world.reopen();
    }
    let other: Vec<Lot> = world.engine().lots().iter().map(|info| info.lot).collect();
    let other = *other.iter().find(|lot| !lots.contains(lot)).unwrap();
    let report = world.destroy(&[Doom::from(other)], Arc::new(())).unwrap();
    assert_eq!((report.verification, report.nothing), (Verification::Passed, false));
    world.lose(&[other]);
    let mut changes = store::Changes::default();
    changes.put(table, row, body);
    world.engine().store().apply(&changes).unwrap();
    let events = world.events_of(&lots);
    // With the block put right it goes.
    world.moved(&lots, &[ONE]);
    world.check_held(ONE, &events);
}

/// Once nothing is on hold any more, what could not be copied goes like everything else.
#[test]
fn what_could_not_be_copied_goes_when_nothing_holds_it() {
    let mut world = World::filled();
    world.fold_now();
    let (at, lots) = world.month_lots(0);
    damaged(&world, &lots);
    let doomed = world.engine().destroy(kept(&lots, &[ONE]), MARK, Arc::new(()));
    assert!(world.runtime.block_on(doomed).is_err());
    let report = world.destroy(&kept(&lots, &[]), Arc::new(())).unwrap();
    assert_eq!((report.verification, report.nothing), (Verification::Passed, false));
    world.lose(&lots);
    assert_eq!(world.evidence(at, 0), Evidence::Destroyed);
}

#[test]
fn check_36_a_move_and_a_release_cut_at_every_step_lose_nothing() {
    for step in 0..=STEPS {
        let mut world = World::filled();
        world.fold_now();
        let (at, lots) = world.month_lots(0);
        let events = world.events_of(&lots);
        let bucket = events[0].0;
        let (cut, batch) = (Cut::at(step), kept(&lots, &[ONE]));
        let report = world.destroy(&batch, cut.clone());
        assert_eq!(report.is_none(), step < STEPS, "{step}");
        world.reopen();
        let finished = world.engine().unfinished_destruction().is_empty();
        if !finished || step == 0 {
            // Until the end it is in one of the two places, or in both.
            let in_lot = world.engine().lots().iter().any(|info| info.lot == Lot::Records(bucket));
            assert!(in_lot || world.events_held(ONE, bucket).is_some(), "{step}");
            let again = if step == 0 { batch } else { world.engine().unfinished_destruction() };
            assert_eq!(again, kept(&lots, &[ONE]));
            let report = world.destroy(&again, Arc::new(())).unwrap();
            assert_eq!(report.verification, Verification::Passed);
        }
        world.lose(&lots);
        world.check_held(ONE, &events);
        assert_eq!(world.evidence(at, 0), Evidence::Held);

        // The end of the copy: neither fold nor notes, so two steps fewer.
        let rows = world.hold_rows();
        let cut = Cut::at(step);
        let batch = copies(&lots, ONE, &[]);
        let report = world.destroy(&batch, cut.clone());
        assert_eq!(report.is_none(), cut.was_reached(), "{step}");
        let ended = step >= STEPS - 2;
        assert_eq!(report.is_some(), ended, "{step}");
        world.reopen();
        let unfinished = world.engine().unfinished_destruction();
        assert_eq!(unfinished.is_empty(), ended || step == 0, "{step}");
        if !ended {
            let again = if step == 0 { batch } else { unfinished };
            let report = world.destroy(&again, Arc::new(())).unwrap();
            assert_eq!((report.verification, report.nothing), (Verification::Passed, false));
        }
        assert_eq!(world.open_hold_rows(&rows), 0, "{step}");
        assert_eq!(world.engine().held().unwrap(), []);
        assert_eq!(world.evidence(at, 0), Evidence::Destroyed);
        world.check();
        world.check_blocks();
        world.reopen();
        world.close();
    }
}

/// A backup knows nothing of what came later: a copy that has ended since then goes, and of one
/// that was made since then the sets are kept.
#[test]
fn data_that_was_put_back_has_what_the_ledger_says_of_holds() {
    let mut world = World::filled();
    world.fold_now();
    let before = world.back_up("before");
    let (at, lots) = world.month_lots(0);
    let events = world.events_of(&lots);
    world.moved(&lots, &[ONE, TWO]);
    let sets = |rows: HoldRows| -> HoldRows {
        let of = |row: &(Table, Vec<u8>, Vec<u8>)| row.0 == Table::HoldRows && row.1[10] == 3;
        rows.into_iter().filter(of).collect()
    };
    let had = sets(world.hold_rows());
    let moved = world.back_up("moved");
    world.released(&lots, ONE, &[TWO]);
    let named: Vec<_> = lots.iter().map(|lot| named(&world, lot)).collect();
    let replay = Replay {
        destroyed: named.clone(),
        copies_destroyed: named,
        released: [ONE].into(),
        ..Replay::default()
    };
    // Without the release in the ledger nothing explains that the keys are gone.
    world.put_back(&moved);
    let unsaid = Replay { released: BTreeSet::new(), ..replay.clone() };
    assert!(matches!(world.try_open(&unsaid), Err(EngineError::Refused(_))));
    world.restore(&moved, &replay);
    assert_eq!((world.lots_held(ONE).len(), world.lots_held(TWO).len()), (0, 5));
    world.check_held(TWO, &events);
    world.reopen();
    world.check_held(TWO, &events);
    // From before the move: the sets are there, and all of it ends with its hold.
    let replayed = world.restore(&before, &replay);
    assert_eq!(replayed.lots, 5);
    assert_eq!((world.lots_held(ONE).len(), world.lots_held(TWO).len()), (0, 5));
    assert!(world.held(TWO).iter().all(|held| held.records == 0));
    assert!(!had.is_empty() && world.open_hold_rows(&had) == had.len());
    assert_eq!((sets(world.hold_rows()), world.evidence(at, 0)), (had, Evidence::Held));
    world.released(&lots, TWO, &[]);
    assert_eq!(world.held(TWO), []);
}
