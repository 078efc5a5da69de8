//! Backups against the model: what a restored engine counts is what was acknowledged before the
//! barrier, less what was destroyed since; what is sent again counts once. The numbers in names are
//! those of the checks of the privacy study.

mod model;
mod periods;

use std::path::{Path, PathBuf};

use super::*;
use crate::engine::backup::{DataCopy, backup_of, mark_of};
use crate::engine::directory::Directory;
use crate::engine::fold::Folder;
use crate::engine::journal;
use crate::engine::restore::{Named, NamedKind, Replay};
use crate::store::keys as rows;

const DAY: i64 = 24 * HOUR;
const KNOWN: LedgerMark = LedgerMark { size: 5, root: [5; 32] };

/// A backup that lies beside, and what the model knew then.
pub(super) struct Kept {
    pub(super) path: PathBuf,
    copy: DataCopy,
    model: Model,
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

pub(super) fn named(world: &World, lot: &Lot) -> Named {
    let (no, kind, epoch) = match lot {
        Lot::Seen(day) => {
            let (site, epoch) = (SiteId::everywhere(), Epoch::Day(*day));
            return Named { site, kind: NamedKind::Seen, epoch };
        }
        Lot::Records(bucket) => (bucket.site, NamedKind::Records(bucket.class), bucket.epoch),
        Lot::Sets(at) => (at.site, NamedKind::Sets, Epoch::Month(at.month)),
        Lot::RecordKey(at) => (at.site, NamedKind::RecordKey, Epoch::Month(at.month)),
        Lot::WatermarkKey(at) => (at.site, NamedKind::WatermarkKey, Epoch::Month(at.month)),
        Lot::BaseKey(at) => (at.site, NamedKind::BaseKey, Epoch::Month(at.month)),
        Lot::Suppression(at) => (at.site, NamedKind::Suppression, Epoch::Month(at.month)),
        Lot::Access(month) => {
            let (site, epoch) = (SiteId::everywhere(), Epoch::Month(*month));
            return Named { site, kind: NamedKind::Access, epoch };
        }
    };
    let site = world.engine().sites().into_iter().find(|site| site.no == no).unwrap();
    Named { site: site.id.clone(), kind, epoch }
}

impl World {
    pub(super) fn back_up(&self, name: &str) -> Kept {
        let copy = self.runtime.block_on(self.engine().copy_data(7, KNOWN)).unwrap();
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        for file in &copy.files {
            std::fs::copy(copy.path.join(file), path.join(file)).unwrap();
        }
        self.runtime.block_on(self.engine().drop_copy()).unwrap();
        assert!(!copy.path.exists());
        Kept { path, copy, model: self.model.clone() }
    }

    pub(super) fn try_open(&self, replay: &Replay) -> Result<(Engine, Replayed), EngineError> {
        let data = self.dir.path().join("data");
        let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 })?;
        let keys = keys::Settings::in_dir(self.dir.path().join("keys"));
        let (ring, _) = KeyRing::open(&keys)?;
        Engine::open_restored(store, ring, self.settings.clone(), self.clock.clone(), replay)
    }

    /// The data directory is lost, and put back.
    pub(super) fn put_back(&mut self, kept: &Kept) {
        if self.engine.is_some() {
            self.close();
        }
        let data = self.dir.path().join("data");
        std::fs::remove_dir_all(&data).unwrap();
        copy_all(&kept.path, &data);
    }

    pub(super) fn restore(&mut self, kept: &Kept, replay: &Replay) -> Replayed {
        self.put_back(kept);
        let (engine, replayed) = self.try_open(replay).unwrap();
        self.engine = Some(engine);
        self.model = kept.model.clone();
        replayed
    }

    pub(super) fn take_over(&self) {
        self.runtime.block_on(self.engine().end_restore()).unwrap();
        assert_eq!(backup_of(self.engine().store()).unwrap(), None);
    }
}

pub(super) fn replay_of(destroyed: Vec<Named>) -> Replay {
    Replay { destroyed, ..Replay::default() }
}

#[test]
fn a_backup_holds_no_journal_and_no_log() {
    let mut world = World::filled();
    // The journal lies in a file, where its rows stay when the fold removes them.
    let group = journal::stored(world.engine().store(), 0, u64::MAX).unwrap().next();
    // Of a journal row the random number of its first batch.
    let text = group.unwrap().unwrap().row[2..18].to_vec();
    world.engine().store().flush().unwrap();
    let holds = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(text.len()).any(|window| window == text)
    };
    let data = world.dir.path().join("data");
    let files = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    let ends = |path: &Path| path.extension().is_some_and(|end| end == "sst");
    assert!(files.filter(|path| ends(path)).any(|path| holds(&path)), "the search finds it");
    let kept = world.back_up("backup");
    assert!(kept.copy.files.iter().all(|name| !name.ends_with(".log") && name != "LOG"));
    assert_eq!((kept.copy.mark.ledger_size, kept.copy.mark.ledger_root), (5, [5; 32]));
    for name in &kept.copy.files {
        assert!(!holds(&kept.path.join(name)), "{name}");
    }
    let data = store::Settings { data: kept.path.clone(), block_cache_bytes: 1 << 20 };
    let store = Store::open(&data).unwrap();
    assert_eq!(journal::stored(&store, 0, u64::MAX).unwrap().count(), 0);
    let row = backup_of(&store).unwrap().unwrap();
    assert_eq!((row.operation, row.replayed), (7, false));
    assert_eq!((row.barrier, row.mark), (kept.copy.barrier, kept.copy.mark));
    assert_eq!(mark_of(&store).unwrap(), Some(row.mark));
    drop(store);
    world.check();
    world.check_blocks();
    world.run(Op::Restart);
    world.check();
}

#[test]
fn a_backup_is_not_opened_unless_it_is_made_fit() {
    let mut world = World::filled();
    let kept = world.back_up("backup");
    world.put_back(&kept);
    let data = world.dir.path().join("data");
    let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 }).unwrap();
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(world.dir.path().join("keys"))).unwrap();
    let refused = Engine::open(store, ring, world.settings.clone(), world.clock.clone());
    assert!(refused.err().unwrap().to_string().contains("not made fit"));
}

#[test]
fn no_number_is_given_twice_after_a_restore() {
    let mut world = World::new(settings(false));
    let row = |event| Row { site: 0, event, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
    let mut receipts = BTreeSet::new();
    let mut send = |world: &mut World, event| {
        let batch = world.batch(&[(row(event), world.now())]);
        let commit = world.engine().commit(batch, Vec::new(), None);
        assert!(receipts.insert(world.runtime.block_on(commit).unwrap().receipt));
    };
    send(&mut world, 1);
    let kept = world.back_up("backup");
    for round in 0..3 {
        (10..20).for_each(|event| send(&mut world, event));
        world.fold_now();
        let before = world.position();
        world.restore(&kept, &Replay::default());
        world.take_over();
        (10..20).for_each(|event| send(&mut world, event));
        world.fold_now();
        let after = world.position();
        assert!(after.next_block > before.next_block && after.next_run > before.next_run);
        let next = world.back_up(&format!("backup {round}"));
        world.restore(&next, &Replay::default());
        world.take_over();
        (20..30).for_each(|event| send(&mut world, event));
        // Journal keys that the data does not know are gone.
        assert_eq!(world.journal_keys(), 1);
    }
    world.close();
}

impl World {
    fn position(&self) -> store::rows::Position {
        let row = self.engine().store().get(Table::Meta, rows::POSITION).unwrap();
        store::rows::Position::decode(&row.unwrap()).unwrap()
    }

    fn journal_keys(&self) -> usize {
        let keys = self.engine().ring().list();
        keys.iter().filter(|key| key.kind == KeyKind::Journal).count()
    }
}

#[test]
fn check_42_a_restore_completes_the_destruction_before_anything_is_served() {
    for attempt in 0..2 {
        let mut world = World::filled();
        world.fold_now();
        let kept = world.back_up("backup");
        let (at, mut lots) = world.month_lots(0);
        lots.push(
            world.lot(|lot| matches!(lot, Lot::Records(Bucket { epoch: Epoch::Day(_), .. }))),
        );
        let destroyed: Vec<Named> = lots.iter().map(|lot| named(&world, lot)).collect();
        world.destroyed(&lots);
        if attempt == 1 {
            // An attempt before was cut when the rows were gone and nothing was written down.
            world.put_back(&kept);
            let data = world.dir.path().join("data");
            let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 });
            let store = Arc::new(store.unwrap());
            let keys = keys::Settings::in_dir(world.dir.path().join("keys"));
            let ring = Arc::new(KeyRing::open(&keys).unwrap().0);
            let directory = Arc::new(Directory::load(&store, ring.state_key()).unwrap());
            let position = recover::position(&store, Day(0), Timestamp(0)).unwrap();
            let folder = Folder::new(Arc::clone(&store), ring, directory, position, [].into());
            folder.unwrap().remove(&lots).unwrap();
            drop(store);
            let (engine, replayed) = world.try_open(&replay_of(destroyed.clone())).unwrap();
            assert_eq!(replayed.lots, lots.len() as u64);
            (world.engine, world.model) = (Some(engine), kept.model.clone());
        } else {
            let replayed = world.restore(&kept, &replay_of(destroyed.clone()));
            assert_eq!(replayed.lots, lots.len() as u64);
        }
        world.lose(&lots);
        // It is not serving yet, and a start from here comes to the same.
        assert!(world.engine().backup().unwrap().is_some_and(|row| row.replayed));
        world.reopen();
        world.take_over();
        let usage = world.engine().usage(&site_id(0), at.month).unwrap().unwrap();
        assert_eq!(usage.evidence, Evidence::Destroyed);
        assert!(!world.engine().takes_records(at));
        world.check();
        world.check_blocks();
        assert_eq!(world.month_lots(0).1, [], "no name is given again");
        for place in blocks_left(&world) {
            assert!(!lots.contains(&Lot::Records(place.bucket)), "{place:?}");
        }
        let row =
            Row { site: 2, event: 9_000, user: 3, device: 3, drm: 1, effect: 0, hours_ago: 1 };
        world.run(Op::Submit((0..60).map(|n| Row { hours_ago: n, ..row }).collect()));
        world.run(Op::Restart);
        world.check();
        world.check_blocks();
        let report = world.destroy(&lots, Arc::new(())).unwrap();
        assert!(report.nothing && report.verification == Verification::Passed, "{report:?}");
        world.close();
    }
}

fn blocks_left(world: &World) -> Vec<BlockPlace> {
    let store = world.engine().store();
    let mut places = Vec::new();
    for table in store.tables() {
        let Table::BlockKeys(class, _) = table else { continue };
        let rows = store.scan(table, &[], None).unwrap();
        places.extend(rows.map(|row| BlockPlace::from_key(class, &row.unwrap().0).unwrap()));
    }
    places
}

#[test]
fn check_35_with_a_checkpoint_and_a_held_snapshot_nothing_of_it_opens() {
    let mut world = World::filled();
    world.fold_now();
    let (_, lots) = world.month_lots(0);
    let seen_rows = world.rows();
    let kept = world.back_up("backup");
    // The register as it was then, and the copy that a cut left in the data directory.
    let old = world.dir.path().join("old keys");
    copy_all(&world.dir.path().join("keys"), &old);
    let left = world.runtime.block_on(world.engine().copy_data(8, KNOWN)).unwrap();
    let engine = world.engine().clone();
    let table = engine.store().tables().into_iter().find(|t| matches!(t, Table::BlockKeys(..)));
    let mut held = engine.store().scan(table.unwrap(), &[], None).unwrap();
    assert!(held.next().is_some());
    let report = world.destroy(&lots, Arc::new(())).unwrap();
    assert_ne!(report.verification, Verification::KeyStillOpens);
    world.lose(&lots);
    world.opens_all_but(&seen_rows, &lots);
    drop(held);
    drop(engine);
    // What a cut leaves in the data directory.
    assert!(!left.path.exists() && left.lease.is_called_off());
    std::fs::create_dir(&left.path).unwrap();
    world.close();
    // 32: the backup with all keys of today.
    let today = world.dir.path().join("keys");
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(&today)).unwrap();
    let data = store::Settings { data: kept.path.clone(), block_cache_bytes: 1 << 20 };
    let store = Store::open(&data).unwrap();
    let mut tried = [0, 0];
    for table in store.tables() {
        let Table::BlockKeys(class, _) = table else { continue };
        for row in store.scan(table, &[], None).unwrap() {
            let (key, wrapped) = row.unwrap();
            let place = BlockPlace::from_key(class, &key).unwrap();
            let by = ring.by_id(crate::crypto::seal::key_id(&wrapped).unwrap());
            let victim = lots.contains(&Lot::Records(place.bucket));
            assert_eq!(by.is_some_and(|by| read_block(&store, &by, place).is_ok()), !victim);
            tried[usize::from(victim)] += 1;
        }
    }
    assert!(tried[0] > 0 && tried[1] > 0, "{tried:?}");
    drop((store, ring));
    // 33: the register of then, with the root key and the VEK home of today.
    for part in ["vek.home", "root.key"] {
        std::fs::copy(today.join(part), old.join(part)).unwrap();
    }
    assert!(KeyRing::open(&keys::Settings::in_dir(&old)).is_err());
    world.open();
    assert!(!left.path.exists(), "a start removes what a cut left");
    let again = world.engine().unfinished_destruction();
    if !again.is_empty() {
        let report = world.destroy(&again, Arc::new(())).unwrap();
        assert_eq!(report.verification, Verification::Passed);
    }
    world.check_blocks();
}

/// The copy that a backup is made of has links to the files that go: with it they would stay on the
/// disk, and be said to be gone.
#[test]
fn a_destruction_takes_away_the_copy_that_a_backup_is_made_of() {
    use std::os::unix::fs::MetadataExt;
    let files = |path: &Path| -> BTreeSet<u64> {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| entry.metadata().unwrap().ino()).collect()
    };
    let mut world = World::filled();
    world.fold_now();
    let (_, lots) = world.month_lots(0);
    let copy = world.runtime.block_on(world.engine().copy_data(7, KNOWN)).unwrap();
    let data = world.dir.path().join("data");
    let shared = files(&copy.path).intersection(&files(&data)).count();
    assert!(shared > 0, "links, not copies");
    // A file of it is open, as while it is copied elsewhere.
    let (lease, path) = (copy.lease.clone(), copy.path.clone());
    let (told, is_open) = mpsc::channel();
    let copying = std::thread::spawn(move || {
        let reading = lease.read().unwrap();
        told.send(()).unwrap();
        while reading.goes_on().is_ok() {
            std::thread::yield_now();
        }
        drop(reading);
    });
    is_open.recv().unwrap();
    let report = world.destroyed(&lots);
    assert!(copying.is_finished(), "nothing of it is open when the destruction has ended");
    copying.join().unwrap();
    assert!(report.files_removed > 0 && !path.exists());
    assert!(copy.lease.read().is_err(), "and nothing can be opened any more");
    world.runtime.block_on(world.engine().drop_copy()).unwrap();
    // The next one is made.
    let kept = world.back_up("later");
    assert!(!kept.copy.lease.is_called_off());
    // And one that has ended is in nobody's way.
    let (_, lots) = world.month_lots(1);
    world.destroyed(&lots);
    assert!(!kept.copy.lease.is_called_off());
}

#[test]
fn an_older_register_is_refused_unless_it_fits() {
    let mut world = World::filled();
    world.fold_now();
    world.close();
    let old = world.dir.path().join("old keys");
    copy_all(&world.dir.path().join("keys"), &old);
    world.open();
    let fits = world.back_up("fits");
    // A month that the old register has no keys for.
    world.run(Op::Advance(24 * 20));
    world.run(Op::Submit(vec![Row {
        site: 0,
        event: 5,
        user: 5,
        device: 5,
        drm: 0,
        effect: 0,
        hours_ago: 0,
    }]));
    let newer = world.back_up("newer");
    world.put_back(&newer);
    let keys = world.dir.path().join("keys");
    std::fs::remove_dir_all(&keys).unwrap();
    copy_all(&old, &keys);
    let refused = world.try_open(&Replay::default()).err().unwrap().to_string();
    assert!(refused.contains("older than the data"), "{refused}");
    assert!(refused.contains("put back the newest register"), "{refused}");
    world.restore(&fits, &Replay::default());
    world.check();
    world.check_blocks();
    world.close();
}

#[test]
fn slots_that_had_ended_are_not_begun_again() {
    let mut world = World::filled();
    world.fold_now();
    let kept = world.back_up("backup");
    let before = world.engine().ring().seen_days();
    let row = |event| Row { site: 0, event, user: 9, device: 9, drm: 0, effect: 0, hours_ago: 0 };
    world.run(Op::Advance(24 * 50));
    world.run(Op::Submit(vec![row(1)]));
    world.fold_now();
    let floor = world.engine().seen_floor();
    assert!(before.iter().all(|day| *day < floor), "the lost data had ended them");
    world.restore(&kept, &replay_of(Vec::new()));
    assert_eq!(world.engine().seen_floor(), floor);
    let stored = runs::list(world.engine().store(), Table::Seen).unwrap();
    assert_eq!(stored, [], "their rows are gone");
    // Their keys go as lots.
    let days = world.engine().ring().seen_days();
    let over: Vec<Lot> = days.into_iter().filter(|day| *day < floor).map(Lot::Seen).collect();
    assert!(before.iter().all(|day| over.contains(&Lot::Seen(*day))), "{over:?}");
    world.destroyed(&over);
    assert!(world.engine().ring().seen_days().iter().all(|day| *day >= floor));
    world.run(Op::Submit(vec![row(1), row(2)]));
    world.check();
    world.close();
}

/// The clock of the start says nothing of it, so only the ledger does.
#[test]
fn slots_that_the_ledger_says_were_destroyed_are_not_asked_for() {
    let mut world = World::filled();
    world.fold_now();
    let kept = world.back_up("backup");
    let days = world.engine().ring().seen_days();
    let start = Timestamp(world.now());
    let later = Timestamp(start.0 + 50 * DAY);
    world.clock.0.store(later.0, Ordering::SeqCst);
    world.runtime.block_on(world.engine().expire(later)).unwrap();
    let lots: Vec<Lot> = days.iter().copied().map(Lot::Seen).collect();
    let named = lots.iter().map(|lot| named(&world, lot)).collect();
    world.destroyed(&lots);
    // Newer slots would tell it as well.
    assert_eq!(world.engine().ring().seen_days(), []);
    world.clock.0.store(start.0, Ordering::SeqCst);
    let last = days.last().unwrap().0;
    world.restore(&kept, &Replay { last: Timestamp(0), ..replay_of(named) });
    assert_eq!(world.engine().seen_floor(), Day(last + 1));
    assert_eq!(runs::list(world.engine().store(), Table::Seen).unwrap(), []);
    world.close();
}

#[test]
fn tokens_that_were_revoked_and_sites_that_ended_stay_so() {
    let mut world = World::filled();
    let token = |id: &str| Token {
        key_id: id.to_owned(),
        secret_hash: [1; 32],
        role: crate::model::caller::Role::Operator,
        sites: crate::model::caller::SiteScope::All,
        name: id.to_owned(),
        producer: id.to_owned(),
        producers: None,
        created_at: Timestamp(0),
        expires_at: Timestamp::END,
        issuer: None,
    };
    for id in ["kept", "revoked"] {
        world.runtime.block_on(world.engine().put_token(token(id))).unwrap();
    }
    let kept = world.back_up("backup");
    let ended = Timestamp(START + HOUR);
    let nowhere = SiteId::parse(b"NOWHERE").unwrap();
    let replay = Replay {
        revoked: vec!["revoked".into(), "of-later".into()],
        terminated: vec![(site_id(1), ended), (nowhere, ended)],
        ..Replay::default()
    };
    let replayed = world.restore(&kept, &replay);
    assert_eq!((replayed.tokens, replayed.sites, replayed.lots), (1, 1, 0));
    world.reopen();
    assert!(world.engine().token("revoked").is_none() && world.engine().token("kept").is_some());
    assert_eq!(world.engine().site(&site_id(1)).unwrap().terminated_at, Some(ended));
    assert_eq!(world.engine().site(&site_id(0)).unwrap().terminated_at, None);
    world.close();
}
