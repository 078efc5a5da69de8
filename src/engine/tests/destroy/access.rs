//! The access log of a month goes as a lot: cut or not, in copies from before, and after a restore.
//! The numbers in names are those of the checks of the privacy study.

mod before;

use super::backup::{Kept, named, replay_of};
use super::checks::{copy, under_way};
use super::*;
use crate::crypto::seal::counts::DECRYPTS;
use crate::crypto::{SealKey, Secret, seal};
use crate::engine::desk::DeskOrder;
use crate::engine::destroy::trial;
use crate::engine::restore::{Named, NamedKind};
use crate::engine::{access, names};
use crate::store::keys as rows;

/// The first month of these tests.
const FIRST: Month = Month(2026 * 12);

fn month(at: u32) -> Month {
    Month(FIRST.0 + at)
}

fn name(month: Month, day: u32) -> String {
    format!("access/{month}-{day:02}")
}

/// A row of a day: row key and sealed bytes.
type Stored = (Box<[u8]>, Box<[u8]>);

impl World {
    fn write_day(&self, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
        self.runtime.block_on(self.engine().put_desk_row(name, bytes))
    }

    /// Writes something of a day of a month into the log, where it may be written.
    pub(super) fn note(&mut self, at: u8) {
        let month = month(u32::from(at));
        let name = name(month, 1 + u32::from(at) % 28);
        let bytes = format!("{name} {}", self.model.log.len()).into_bytes();
        if self.model.log_gone.contains(&month) {
            assert_eq!(self.write_day(&name, &bytes), Err(EngineError::Ended));
        } else {
            self.write_day(&name, &bytes).unwrap();
            self.model.log.insert(name, bytes);
        }
    }

    /// What is written is there, and nothing else.
    pub(super) fn check_log(&self) {
        let there = self.engine().desk_rows("access/").unwrap();
        assert_eq!(there, self.model.log.clone().into_iter().collect::<Vec<_>>());
        let living = self.log_months();
        for month in &self.model.log_gone {
            assert!(!living.contains(month), "{month}: its name is not given again");
        }
        assert!(
            self.stored_days()
                .iter()
                .all(|(row, _)| { !self.model.log_gone.contains(&access::month_of(row).unwrap()) })
        );
    }

    /// The months that have a key.
    fn log_months(&self) -> BTreeSet<Month> {
        let of = |info: LotInfo| match info.lot {
            Lot::Access(month) => Some(month),
            _ => None,
        };
        self.engine().lots().into_iter().filter_map(of).collect()
    }

    fn stored_days(&self) -> Vec<Stored> {
        days_in(self.engine().store())
    }

    /// How many files of the data have the bytes of a day's row.
    fn files_with(&self, (_, sealed): &Stored) -> usize {
        let entries = std::fs::read_dir(self.dir.path().join("data")).unwrap();
        let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let holds = |path: &std::path::PathBuf| {
            std::fs::read(path).unwrap().windows(sealed.len()).any(|at| at == &sealed[..])
        };
        files.filter(holds).count()
    }

    /// A world with two days in each of some months, three sites beside it.
    fn with_log(months: u32) -> Self {
        let mut world = Self::filled();
        world.log(months);
        world
    }

    fn log(&mut self, months: u32) {
        for month in (0..months).map(month) {
            for day in [1, 28] {
                let name = name(month, day);
                self.write_day(&name, name.as_bytes()).unwrap();
                self.model.log.insert(name.clone(), name.into_bytes());
            }
        }
        self.check_log();
    }

    /// Data as it was before format 7: each day is in its old row under the state key.
    fn as_before(&self, store: &Store) -> usize {
        let ring = self.engine().ring();
        let mut changes = store::Changes::default();
        let days = days_in(store);
        for (row, sealed) in &days {
            let key = ring.access_existing(access::month_of(row).unwrap()).unwrap().unwrap();
            let aad = crate::crypto::Aad::new("access/1").bytes(row);
            let day = std::str::from_utf8(row.strip_prefix(rows::ACCESS).unwrap()).unwrap();
            let name = format!("access/{day}");
            let (old, value) =
                names::seal(&ring.state_key(), &name, &key.open(&aad, sealed).unwrap());
            changes.put(Table::Meta, old, value);
            changes.delete(Table::Meta, row.to_vec());
        }
        store.apply(&changes).unwrap();
        days.len()
    }
}

fn days_in(store: &Store) -> Vec<Stored> {
    let days = store.scan(Table::Meta, rows::ACCESS, Some(rows::ACCESS_END)).unwrap();
    days.map(Result::unwrap).collect()
}

fn days_before(store: &Store) -> Vec<Stored> {
    let days = store.scan(Table::Meta, rows::ACCESS_BEFORE, Some(rows::ACCESS)).unwrap();
    days.map(Result::unwrap).collect()
}

fn is_of(month: Month) -> impl Fn(&&Stored) -> bool {
    move |(row, _)| access::month_of(row) == Some(month)
}

#[test]
fn check_36_a_month_of_the_access_log_is_destroyed_cut_at_every_step() {
    let mut world = World::with_log(STEPS + 2);
    let before = world.stored_days();
    let mut cuts = 0;
    for step in 0..=STEPS {
        let victim = month(step);
        let lots = [Lot::Access(victim)];
        let ring = world.engine().ring();
        let key = ring.access(victim).unwrap();
        let own: Vec<&Stored> = before.iter().filter(is_of(victim)).collect();
        let opens = |key: &SealKey| own.iter().any(|(row, at)| access::row_opens(key, row, at));
        assert!(own.len() == 2 && opens(&key), "{step}");
        let commitment = ring.commitment(key.id()).unwrap();
        let old = world.dir.path().join("old");
        copy(&world.dir.path().join("keys"), &old);
        let cut = Cut::at(step);
        let report = match world.destroy(&lots, cut.clone()) {
            Some(report) => {
                assert_eq!(step, STEPS);
                Some(report)
            }
            None => {
                assert!(cut.was_reached(), "{step}");
                cuts += 1;
                world.finish(&lots)
            }
        };
        // Cut before its row was written it has not begun.
        let begun = !world.log_months().contains(&victim);
        let report = report.or_else(|| (!begun).then(|| world.destroyed(&lots)));
        world.lose(&lots);
        if let Some(report) = &report {
            let victim_key = &report.lots[0].keys[0];
            assert_eq!((victim_key.key.id, victim_key.commitment), (key.id(), commitment));
            assert_eq!((victim_key.key.site.clone(), victim_key.key.epoch), (None, victim.0));
            assert_eq!(victim_key.key.kind, KeyKind::Access, "{step}");
        }
        world.check_log();
        assert!(world.engine().ring().by_id(key.id()).is_none(), "{step}");
        let refused = world.write_day(&name(victim, 5), b"late");
        assert_eq!(refused, Err(EngineError::Ended), "{step}");
        assert!(!world.opens_with_register_of(&old), "{step}");
        // Across a start, too.
        assert_eq!(world.write_day(&name(victim, 5), b"late"), Err(EngineError::Ended), "{step}");
        world.check_log();
    }
    assert_eq!(cuts, STEPS, "every step was cut");
    assert_eq!(world.log_months(), [month(STEPS + 1)].into());
    world.check();
    world.check_blocks();
}

/// The bytes of its rows are in no file, and other months are not rewritten away.
#[test]
fn no_row_of_a_destroyed_month_is_left_in_a_file() {
    let mut world = World::with_log(3);
    world.reopen();
    let days = world.stored_days();
    assert!(days.iter().all(|day| world.files_with(day) > 0));
    world.destroyed(&[Lot::Access(month(1))]);
    for day in &days {
        let is_gone = is_of(month(1))(&day);
        assert_eq!(world.files_with(day) == 0, is_gone, "{:?}", String::from_utf8_lossy(&day.0));
    }
    world.check_log();
}

/// What was sealed before the month was shut and comes behind it is not written.
#[test]
fn nothing_is_written_into_a_month_that_is_being_destroyed() {
    let mut world = World::with_log(2);
    let victim = month(0);
    let name = name(victim, 9);
    let seal = |world: &World| world.engine().shared.seal_desk_row(&name, b"late").unwrap();
    let put = |world: &World, (row, sealed): (Vec<u8>, Vec<u8>)| {
        let put = |reply| Message::Desk(DeskOrder::Put(row, sealed, reply));
        world.runtime.block_on(world.engine().ask(put))
    };
    let late = seal(&world);
    // Shut, and cut with the key still there.
    let cut = Cut::at(2);
    assert!(world.destroy(&[Lot::Access(victim)], cut.clone()).is_none() && cut.was_reached());
    world.reopen();
    assert!(world.log_months().contains(&victim));
    assert_eq!(put(&world, late), Err(EngineError::Ended));
    let sealed = seal(&world);
    assert_eq!(put(&world, sealed), Err(EngineError::Ended));
    // Until the key goes it can be read.
    world.check_log();
    world.finish(&[Lot::Access(victim)]).unwrap();
    world.lose(&[Lot::Access(victim)]);
    assert_eq!(world.engine().shared.seal_desk_row(&name, b"late"), Err(EngineError::Ended));
    world.check_log();
    // A name that is no day has no month, and so no key.
    for name in ["access/", "access/2026-02", "access/2026-02-30", "access/=2026-02-01"] {
        assert!(matches!(world.write_day(name, b""), Err(EngineError::Damaged(_))), "{name}");
    }
}

/// Rows of a destroyed month that lie there all the same, as in data that was put back, are not
/// there for whoever asks: no key is tried. What has a key and does not open is damage.
#[test]
fn check_23_a_day_whose_key_is_gone_is_not_there_and_nothing_is_tried() {
    let mut world = World::with_log(3);
    let days = world.stored_days();
    world.destroyed(&[Lot::Access(month(0))]);
    let put = |world: &World, row: &[u8], sealed: &[u8]| {
        let mut changes = store::Changes::default();
        changes.put(Table::Meta, row, sealed);
        world.engine().store().apply(&changes).unwrap();
    };
    for (row, sealed) in days.iter().filter(is_of(month(0))) {
        put(&world, row, sealed);
    }
    let first = name(month(0), 1);
    let engine = world.engine();
    let (found, tried) = DECRYPTS.during(|| engine.desk_row_from(&first, &first).unwrap());
    assert_eq!((found, tried), (None, 0));
    // Those behind it are found.
    let (found, tried) = DECRYPTS.during(|| engine.desk_row_from("access/", &first).unwrap());
    assert_eq!((found.unwrap().0, tried), (name(month(1), 1), 1));
    let (all, tried) = DECRYPTS.during(|| engine.desk_rows("access/").unwrap().len());
    assert_eq!((all, tried), (4, 4));
    assert_eq!(engine.desk_rows_after("access/", &first, 3).unwrap().len(), 3);
    // Another day's bytes, those of another month, and such as the state key sealed.
    let own = &days[2];
    assert!(is_of(month(1))(&own));
    let state = engine.ring().state_key();
    let aad = crate::crypto::Aad::new("access/1").bytes(&own.0);
    for sealed in [&days[3].1[..], &days[4].1[..], &days[0].1[..], &state.seal(&aad, b"{}")] {
        put(&world, &own.0, sealed);
        let name = name(month(1), 1);
        let found = world.engine().desk_row_from(&name, &name);
        assert!(matches!(found, Err(EngineError::Damaged(_))), "{found:?}");
    }
    put(&world, &own.0, &own.1);
    assert_eq!(world.engine().desk_rows("access/").unwrap().len(), 4);
    world.close();
}

/// A copy of the data from before, with every key of today.
#[test]
fn check_32_a_copy_from_before_opens_no_day_of_a_destroyed_month() {
    let mut world = World::with_log(3);
    let kept = world.back_up("backup");
    let victims = [month(0), month(2)];
    let then = world.engine().ring().secrets_for_scan();
    world.destroyed(&victims.map(Lot::Access));
    world.close();
    let keys = keys::Settings::in_dir(world.dir.path().join("keys"));
    let (ring, _) = KeyRing::open(&keys).unwrap();
    let store = kept.store();
    let today = ring.secrets_for_scan();
    let mut tried = [0, 0];
    for (row, sealed) in days_in(&store) {
        let number = seal::key_id(&sealed).unwrap();
        let is_victim = victims.contains(&access::month_of(&row).unwrap());
        let by = ring.by_id(number);
        assert_eq!(by.is_some_and(|by| access::row_opens(&by, &row, &sealed)), !is_victim);
        // It is the key that is gone, not its entry.
        let opens = |secret: &[u8; 32]| {
            let secret = Secret::take(&mut secret.to_vec()).unwrap();
            access::row_opens(&SealKey::new(number, &secret), &row, &sealed)
        };
        assert!(then.iter().any(opens));
        assert_eq!(today.iter().any(opens), !is_victim);
        tried[usize::from(is_victim)] += 1;
    }
    assert_eq!(tried, [2, 4]);
    drop((store, ring));
    world.open();
}

/// A reader that began before keeps its rows and no key.
#[test]
fn check_35_a_held_iterator_keeps_no_day_that_opens() {
    let mut world = World::with_log(2);
    let store = Arc::clone(world.engine().store());
    store.flush().unwrap();
    let victim = month(0);
    let key = world.engine().ring().access(victim).unwrap();
    let mut held = store.scan(Table::Meta, rows::ACCESS, Some(rows::ACCESS_END)).unwrap();
    let first = held.next().unwrap().unwrap();
    assert!(access::row_opens(&key, &first.0, &first.1));
    let report = world.destroy(&[Lot::Access(victim)], Arc::new(())).unwrap();
    world.lose(&[Lot::Access(victim)]);
    assert_ne!(report.verification, Verification::KeyStillOpens);
    for (row, sealed) in [first].into_iter().chain(held.map(Result::unwrap)) {
        let is_victim = access::month_of(&row) == Some(victim);
        let by = world.engine().ring().by_id(seal::key_id(&sealed).unwrap());
        assert_eq!(by.is_none(), is_victim);
        assert!(!access::row_opens(&key, &row, &sealed), "who held the key holds nothing");
    }
    drop(store);
    let again: Vec<Lot> =
        world.engine().unfinished_destruction().iter().map(|doom| doom.lot).collect();
    if !again.is_empty() {
        let report = world.destroy(&again, Arc::new(())).unwrap();
        assert_eq!(report.verification, Verification::Passed);
    }
    world.check_log();
}

impl Kept {
    fn store(&self) -> Store {
        let data = store::Settings { data: self.path.clone(), block_cache_bytes: 1 << 20 };
        Store::open(&data).unwrap()
    }
}

/// Data from before the destruction is put back, of this format and of the one before: no row of
/// the month is left, none opens, and its name is not given again.
#[test]
fn check_42_after_a_restore_no_day_of_a_destroyed_month_is_left() {
    for is_before in [false, true] {
        let mut world = World::with_log(3);
        let kept = world.back_up("backup");
        if is_before {
            assert_eq!(world.as_before(&kept.store()), 6);
        }
        let store = kept.store();
        let put_back = [days_in(&store), days_before(&store)].concat();
        drop(store);
        assert_eq!(put_back.len(), 6);
        let victims = [month(0), month(2)].map(Lot::Access);
        let destroyed: Vec<Named> = victims.iter().map(|lot| named(&world, lot)).collect();
        world.destroyed(&victims);
        // A month that the backup knows nothing of.
        world.note(9);
        let replayed = world.restore(&kept, &replay_of(destroyed));
        assert_eq!(replayed.lots, 2, "{is_before}");
        world.lose(&victims);
        let store = world.engine().store();
        assert_eq!((days_in(store).len(), days_before(store).len()), (2, 0), "{is_before}");
        for day in &put_back {
            let text = String::from_utf8_lossy(&day.0);
            let is_victim = !text.contains(&month(1).to_string());
            assert!(!is_victim || world.files_with(day) == 0, "{text} is in a file");
        }
        world.check_log();
        world.reopen();
        world.take_over();
        world.check_log();
        for month in [month(0), month(2)] {
            assert_eq!(world.write_day(&name(month, 7), b"late"), Err(EngineError::Ended));
        }
        world.note(1);
        world.note(9);
        world.check_log();
        world.check();
        world.check_blocks();
        let report = world.destroy(&victims, Arc::new(())).unwrap();
        assert!(report.nothing && report.verification == Verification::Passed, "{report:?}");
        world.close();
    }
}

/// A register from before a month had its key does not open data that has the month.
#[test]
fn a_register_without_the_key_of_a_month_is_refused() {
    let mut world = World::with_log(1);
    world.close();
    let (keys, old) = (world.dir.path().join("keys"), world.dir.path().join("old keys"));
    copy(&keys, &old);
    world.open();
    world.note(5);
    let kept = world.back_up("backup");
    world.put_back(&kept);
    std::fs::remove_dir_all(&keys).unwrap();
    copy(&old, &keys);
    let refused = world.try_open(&Default::default()).err().unwrap().to_string();
    assert!(refused.contains("the access log of 2026-06"), "{refused}");
    // With the ledger's word that it was destroyed it does.
    let (kind, epoch) = (NamedKind::Access, Epoch::Month(month(5)));
    let gone = Named { site: SiteId::everywhere(), kind, epoch };
    world.restore(&kept, &replay_of(vec![gone]));
    world.lose(&[Lot::Access(month(5))]);
    world.check_log();
    assert_eq!(world.model.log.len(), 2);
    world.close();
}

/// What is stored of a month and opens is found, whoever has the key: a trial does not just pass.
#[test]
fn a_trial_finds_the_days_that_open() {
    let world = World::with_log(2);
    let (shared, ring) = (&world.engine().shared, world.engine().ring());
    let row = under_way(&[Lot::Access(month(0))]);
    let found = |held: &[Arc<SealKey>]| trial::all(shared, ring, &row, held).unwrap();
    assert_eq!(found(&[]), trial::Found { opens: 2, rows: 2 });
    let key = ring.access(month(0)).unwrap();
    ring.retire(&[key.id()]).unwrap();
    assert_eq!(found(&[]), trial::Found { opens: 0, rows: 2 });
    assert_eq!(found(&[key]), trial::Found { opens: 2, rows: 2 });
}
