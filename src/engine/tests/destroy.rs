//! Destruction against the model: whole lots go, everything else stays, cut at every step or not.
//!
//! A failure is: a survivor that does not open or is not counted, a victim that opens with any key
//! of today, a destruction that is reported while a key opens, a name that is given again, a row or
//! file that is left. The numbers in names are those of the checks of the privacy study.

mod access;
mod backup;
mod checks;
mod ended;
mod erase;
mod holds;
mod image;
mod seen;

use std::sync::atomic::AtomicU32;

use super::*;
use crate::engine::destroy::{DestroyReport, DestroyStep, DestroySteps, LotInfo, Verification};
use crate::keys::{KeyInfo, LedgerMark, Step};
use crate::model::ids::KeyId;
use crate::model::retention::{Doom, Lot};
use crate::store::destruction::encode_lot;

const MARK: LedgerMark = LedgerMark { size: 9, root: [9; 32] };

/// Ends the thread at the n-th step from now.
struct Cut(AtomicU32);

impl Cut {
    fn at(step: u32) -> Arc<Self> {
        Arc::new(Self(AtomicU32::new(step)))
    }

    fn was_reached(&self) -> bool {
        self.0.load(Ordering::SeqCst) > u32::MAX / 2
    }
}

impl DestroySteps for Cut {
    fn begins(&self, step: DestroyStep) {
        let left = self.0.fetch_sub(1, Ordering::SeqCst);
        assert!(left != 0, "cut at {step:?}");
    }
}

/// Everything that is in the tables of blocks and tallies: table, row key, value.
type Rows = Vec<(Table, Vec<u8>, Vec<u8>)>;

impl World {
    fn destroy<D: Into<Doom> + Clone>(
        &self,
        lots: &[D],
        steps: Arc<dyn DestroySteps>,
    ) -> Option<DestroyReport> {
        let destroyed = self.engine().destroy(lots.to_vec(), MARK, steps);
        self.runtime.block_on(destroyed).ok()
    }

    pub(super) fn destroyed(&mut self, lots: &[Lot]) -> DestroyReport {
        let report = self.destroy(lots, Arc::new(())).unwrap();
        let passed = (Verification::Passed, false);
        assert_eq!((report.verification, report.nothing), passed, "{lots:?}");
        self.lose(lots);
        report
    }

    /// The model forgets what a destruction takes.
    fn lose(&mut self, lots: &[Lot]) {
        for lot in lots {
            match lot {
                Lot::Records(bucket) => {
                    self.model.kept.remove(bucket);
                    self.model.lost.insert(*bucket);
                }
                Lot::Sets(at) => {
                    self.model.shut.insert(*at);
                    self.model.without_sets.insert(*at);
                }
                Lot::RecordKey(at) | Lot::WatermarkKey(at) | Lot::BaseKey(at) => {
                    self.model.shut.insert(*at);
                }
                Lot::Access(month) => self.model.end_log(*month),
                Lot::Suppression(_) | Lot::Seen(_) => {}
            }
        }
    }

    /// Some of the living lots.
    fn some_lots(&self, seed: u64) -> Vec<Lot> {
        let all = self.engine().lots();
        let floor = self.engine().seen_floor();
        let picked = |lot: &&LotInfo| {
            if matches!(lot.lot, Lot::Seen(day) if day >= floor) {
                return false;
            }
            let bytes = [&encode_lot(&lot.lot)[..], &seed.to_be_bytes()].concat();
            crate::crypto::digest(&bytes)[0] < 48
        };
        all.iter().filter(picked).map(|info| info.lot).collect()
    }

    fn reopen(&mut self) {
        self.close();
        self.open();
    }

    /// After a cut: opened again, and brought to its end.
    fn finish(&mut self, lots: &[Lot]) -> Option<DestroyReport> {
        self.reopen();
        let unfinished = self.engine().unfinished_destruction();
        if unfinished.is_empty() {
            return None;
        }
        let unfinished: Vec<Lot> = unfinished.iter().map(|doom| doom.lot).collect();
        let wanted: BTreeSet<Lot> = lots.iter().copied().collect();
        assert_eq!(unfinished, wanted.into_iter().collect::<Vec<_>>());
        let report = self.destroy(&unfinished, Arc::new(())).unwrap();
        assert_eq!((report.verification, report.nothing), (Verification::Passed, false));
        assert_eq!(self.engine().unfinished_destruction(), []);
        Some(report)
    }

    fn rows(&self) -> Rows {
        let mut rows = Vec::new();
        for table in self.engine().store().tables() {
            let kept = matches!(table, Table::BlockKeys(..) | Table::Tally(_));
            if !kept {
                continue;
            }
            for row in self.engine().store().scan(table, &[], None).unwrap() {
                let (key, value) = row.unwrap();
                rows.push((table, key.into_vec(), value.into_vec()));
            }
        }
        rows
    }

    /// Which lot a row is of, and whether a key of today opens it.
    fn try_row(&self, (table, key, sealed): &(Table, Vec<u8>, Vec<u8>)) -> (Lot, bool) {
        let by = crate::crypto::seal::key_id(sealed).unwrap();
        let by = self.engine().ring().by_id(by);
        match table {
            Table::BlockKeys(class, _) => {
                let place = BlockPlace::from_key(*class, key).unwrap();
                let opens = by.is_some_and(|by| fold::block_key_opens(&by, place, sealed));
                (Lot::Records(place.bucket), opens)
            }
            Table::Tally(month) => {
                let (owner, ..) = store::keys::page_of(key).unwrap();
                let at = SiteMonth { site: crate::model::ids::SiteNo(owner), month: *month };
                let opens = by.is_some_and(|by| runs::row_opens(&by, *table, key, sealed));
                (Lot::Sets(at), opens)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Rows of a copy from before: those of the lots do not open, all others do.
    fn opens_all_but(&self, rows: &Rows, lots: &[Lot]) {
        for row in rows {
            let (lot, opens) = self.try_row(row);
            assert_eq!(opens, !lots.contains(&lot), "{lot:?}");
        }
    }

    fn lot(&self, wanted: impl Fn(&Lot) -> bool) -> Lot {
        self.engine().lots().iter().map(|info| info.lot).find(wanted).unwrap()
    }

    /// A world with records of three sites, of this month and the one before, folded.
    fn filled() -> Self {
        Self::filled_in(tempfile::tempdir().unwrap())
    }

    fn filled_in(dir: tempfile::TempDir) -> Self {
        let mut world = Self::new_in(dir, settings(false));
        let rows = |from: u16, hours: u16| -> Vec<Row> {
            let row = |event: u16| Row {
                site: (event % 3) as u8,
                event: from + event,
                user: event % 7,
                device: event % 5,
                drm: (event % 4) as u8,
                effect: 0,
                hours_ago: hours + event % 60,
            };
            (0..90).map(row).collect()
        };
        world.run(Op::Submit(rows(0, 1)));
        world.run(Op::Submit(rows(1_000, 600)));
        world.run(Op::Fold);
        world.run(Op::Submit(rows(2_000, 1)));
        world
    }

    fn month_lots(&self, site: u8) -> (SiteMonth, Vec<Lot>) {
        let no = self.engine().site(&site_id(site)).unwrap().no;
        let month = Month::parse(b"2026-11").unwrap();
        let lots = self.engine().lots().into_iter().map(|info| info.lot);
        let of = |lot: &Lot| match lot {
            Lot::Records(bucket) => bucket.site == no && bucket.epoch.month() == month,
            Lot::Sets(at) | Lot::RecordKey(at) | Lot::WatermarkKey(at) | Lot::BaseKey(at) => {
                (at.site, at.month) == (no, month)
            }
            Lot::Suppression(_) | Lot::Seen(_) | Lot::Access(_) => false,
        };
        (SiteMonth { site: no, month }, lots.filter(of).collect())
    }
}

#[test]
fn lots_come_from_the_register_with_the_end_of_their_epoch() {
    let mut world = World::filled();
    world.fold_now();
    world.note(0);
    let lots = world.engine().lots();
    assert!(lots.iter().any(|info| matches!(info.lot, Lot::Access(_))));
    for info in &lots {
        assert!(!info.keys.is_empty());
        let two = matches!(info.lot, Lot::Sets(_));
        assert_eq!(info.keys.len(), if two { 2 } else { 1 }, "{info:?}");
        if let Lot::Seen(_) | Lot::Access(_) = info.lot {
            let end = match info.lot {
                Lot::Seen(day) => Day(day.0 + 1).start(),
                _ => Timestamp::parse(b"2026-02-01T00:00:00Z").unwrap(),
            };
            assert_eq!((info.ends_at, info.site.as_str()), (end, "*"));
            continue;
        }
        let site = world.engine().site(&info.site).unwrap();
        let end = match info.lot {
            Lot::Records(Bucket { epoch: Epoch::Day(Day(day)), .. }) => Day(day + 1).start(),
            Lot::Records(Bucket { epoch: Epoch::Month(month), .. }) => {
                calendar::named(&site, month).unwrap().to
            }
            Lot::Sets(at) | Lot::RecordKey(at) | Lot::WatermarkKey(at) | Lot::BaseKey(at) => {
                calendar::named(&site, at.month).unwrap().to
            }
            Lot::Suppression(_) => panic!("no site has ended"),
            Lot::Seen(_) | Lot::Access(_) => panic!("of no site"),
        };
        assert_eq!(info.ends_at, end);
    }
    let days = lots.iter().filter(
        |info| matches!(info.lot, Lot::Records(bucket) if matches!(bucket.epoch, Epoch::Day(_))),
    );
    assert!(days.count() > 2, "site 2 keeps its records by days");
    let keys: BTreeSet<KeyId> = lots.iter().flat_map(|info| info.keys.iter().copied()).collect();
    let of_all = |key: &KeyInfo| matches!(key.kind, KeyKind::Seen | KeyKind::Access);
    let of_sites =
        world.engine().ring().list().into_iter().filter(|key| key.site.is_some() || of_all(key));
    assert_eq!(keys, of_sites.map(|key| key.id).collect());
}

impl World {
    fn fold_now(&self) {
        self.runtime.block_on(self.engine().fold()).unwrap();
    }
}

#[test]
fn no_row_no_file_and_no_log_from_before_is_left() {
    let mut world = World::filled();
    world.fold_now();
    let listed = |world: &World| -> BTreeSet<String> {
        let names = std::fs::read_dir(world.dir.path().join("data")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".sst") || name.ends_with(".log")).collect()
    };
    let logs: Vec<String> =
        listed(&world).into_iter().filter(|name| name.ends_with(".log")).collect();
    let tables = world.engine().store().tables();
    // All of site 2's days of one month but one: rows go; then everything of a month: tables go.
    let (at, all) = world.month_lots(2);
    let (days, rest): (Vec<Lot>, Vec<Lot>) =
        all.iter().partition(|lot| matches!(lot, Lot::Records(_)));
    assert!(days.len() > 1 && rest.len() == 4);
    let report = world.destroyed(&days[1..]);
    assert!(report.files_removed > 0);
    let now = listed(&world);
    assert!(logs.iter().all(|log| !now.contains(log)), "{logs:?} {now:?}");
    assert_eq!(world.engine().store().tables(), tables);
    world.check_blocks();
    let every: Vec<Lot> = (0..3).flat_map(|site| world.month_lots(site).1).collect();
    let report = world.destroyed(&every);
    assert!(report.bytes_reclaimed > 0 && report.files_removed > 0, "{report:?}");
    let of_month = |table: &Table| match table {
        Table::Tally(month) => *month == at.month,
        Table::Blocks(_, month) | Table::Headers(_, month) | Table::BlockKeys(_, month) => {
            *month == at.month
        }
        _ => false,
    };
    let left: Vec<Table> = world.engine().store().tables().into_iter().filter(of_month).collect();
    assert_eq!(left, []);
    world.check_blocks();
    world.reopen();
    world.check_blocks();
}

#[test]
fn the_journal_keys_from_before_are_gone() {
    let mut world = World::filled();
    let journal = |world: &World| -> BTreeSet<KeyId> {
        let keys = world.engine().ring().list().into_iter();
        keys.filter(|key| key.kind == KeyKind::Journal).map(|key| key.id).collect()
    };
    // What is not folded yet lies under the key in use.
    let used = world.engine().shared.current_key().key.id();
    let lot = world.lot(|lot| matches!(lot, Lot::Records(_)));
    world.destroyed(&[lot]);
    assert!(!journal(&world).contains(&used));
    // A key that stayed in use over the first fold is no exception, with nothing to fold.
    world.fold_now();
    let used = world.engine().shared.current_key().key.id();
    let lot = world.lot(|lot| matches!(lot, Lot::Records(_)));
    world.destroyed(&[lot]);
    assert!(!journal(&world).contains(&used));
}

#[test]
fn a_batch_on_its_way_is_judged_by_what_is_destroyed_meanwhile() {
    let mut world = World::filled();
    world.fold_now();
    let row = |site, event, hours_ago| Row {
        site,
        event,
        user: 50,
        device: 1,
        drm: 0,
        effect: 0,
        hours_ago,
    };
    let rows: Vec<(Row, i64)> =
        [row(0, 9_000, 1), row(1, 9_001, 1), row(0, 0, 1), row(2, 9_002, 1)]
            .into_iter()
            .map(|row| (row, START - i64::from(row.hours_ago) * HOUR))
            .collect();
    let batch = world.batch(&rows);
    let again = world.batch(&rows);
    let (_, closed) = world.month_lots(0);
    let lost = world.month_lots(1).1.into_iter().find(|lot| matches!(lot, Lot::Records(_)));
    let lots = [closed, lost.into_iter().collect()].concat();
    world.destroyed(&lots);
    for (batch, wanted) in [
        (batch, [Verdict::TooOld, Verdict::NotRetained, Verdict::Duplicate, Verdict::Accepted]),
        (again, [Verdict::TooOld, Verdict::Duplicate, Verdict::Duplicate, Verdict::Duplicate]),
    ] {
        let expected = world.apply(&rows, &batch);
        let outcome =
            world.runtime.block_on(world.engine().commit(batch, Vec::new(), None)).unwrap();
        assert_eq!((&outcome.verdicts[..], &expected[..]), (&wanted[..], &wanted[..]));
        world.check();
        // From the journal it comes to the same.
        world.reopen();
        world.check();
    }
    world.check_blocks();
}

#[test]
fn a_turn_over_ends_an_epoch_and_destroys_no_living_lot() {
    let world = World::filled();
    let before = world.engine().lots();
    let report = world.runtime.block_on(world.engine().turn_over(MARK)).unwrap();
    assert_eq!(report.new_epoch, report.old_epoch + 1);
    assert_eq!((report.verification, report.lots.len()), (Verification::Passed, 0));
    assert_eq!(world.engine().lots(), before);
    world.check_blocks();
}

#[test]
fn another_destruction_waits_for_the_one_that_was_cut() {
    let mut world = World::filled();
    let lots = world.some_lots(1);
    let other = world.some_lots(2);
    assert_ne!(lots, other);
    let cut = Cut::at(3);
    assert!(world.destroy(&lots, cut.clone()).is_none() && cut.was_reached());
    world.reopen();
    assert!(world.destroy(&other, Arc::new(())).is_none());
    world.finish(&lots).unwrap();
    world.lose(&lots);
    assert!(world.destroy(&other, Arc::new(())).is_some());
}

/// The number of steps of a destruction.
const STEPS: u32 = 20;

#[test]
fn nothing_is_reported_while_the_register_waits_for_a_copy() {
    let mut world = World::filled();
    world.fold_now();
    world.close();
    let shelf = world.dir.path().join("shelf");
    std::fs::create_dir(&shelf).unwrap();
    world.copies = vec![shelf.join("register.c")];
    world.open();
    let (_, lots) = world.month_lots(0);
    let rows = world.rows();
    let away = world.dir.path().join("away");
    std::fs::rename(&shelf, &away).unwrap();
    for _ in 0..2 {
        let report = world.destroy(&lots, Arc::new(())).unwrap();
        assert_eq!(report.waiting_for, world.copies);
        assert_eq!(report.verification, Verification::KeyStillOpens);
        assert_eq!(world.engine().unfinished_destruction().len(), lots.len());
        // The register lists none of their keys any more, and they are known all the same.
        let listed = world.engine().ring().list();
        let going = world.engine().unfinished_keys().unwrap();
        assert!(going.len() >= lots.len() && going.iter().all(|key| key.kind != KeyKind::Node));
        assert!(going.iter().all(|key| !listed.iter().any(|one| one.id == key.id)), "{going:?}");
        world.reopen();
    }
    std::fs::rename(&away, &shelf).unwrap();
    world.finish(&lots);
    assert_eq!(world.engine().unfinished_keys().unwrap(), []);
    world.lose(&lots);
    world.opens_all_but(&rows, &lots);
    world.check_blocks();
}

#[derive(Clone, Debug)]
enum Deed {
    Do(Op),
    /// Destroys some lots, cut at a step if there are so many.
    Destroy(u64, Option<u32>),
    TurnOver,
    /// Something is written into the access log.
    Note(u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => op().prop_map(Deed::Do),
        2 => (any::<u64>(), proptest::option::of(0..STEPS))
            .prop_map(|(seed, cut)| Deed::Destroy(seed, cut)),
        1 => Just(Deed::TurnOver),
        2 => (0u8..4).prop_map(Deed::Note),
    ]
}

impl World {
    fn run_deed(&mut self, deed: Deed) {
        match deed {
            Deed::Do(op) => self.run(op),
            Deed::Note(at) => self.note(at),
            Deed::TurnOver => {
                self.runtime.block_on(self.engine().turn_over(MARK)).unwrap();
            }
            Deed::Destroy(seed, cut) => {
                let lots = self.some_lots(seed);
                if lots.is_empty() {
                    return;
                }
                let cut = Cut::at(cut.unwrap_or(u32::MAX / 2));
                let report = self.destroy(&lots, cut);
                if report.is_some() || self.finish(&lots).is_some() {
                    self.lose(&lots);
                }
            }
        }
        self.check();
        self.check_log();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12, max_shrink_iters: 60, ..ProptestConfig::default()
    })]

    /// The engine with destructions equals the model with the same lots taken out, through folds,
    /// spills, restarts, failed writes and cuts.
    #[test]
    fn engine_with_destructions_equals_model(
        deeds in proptest::collection::vec(deed(), 1..25), tight in any::<bool>(),
    ) {
        let mut world = World::new(settings(tight));
        for deed in deeds {
            world.run_deed(deed);
        }
        world.check_blocks();
        world.run(Op::Restart);
        world.check_blocks();
        world.close();
    }
}

#[test]
fn steps_of_the_register_are_told() {
    assert_eq!(STEPS as usize, 12 + Step::ALL.len());
}
