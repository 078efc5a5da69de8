//! Check 41 in the engine: one person's rows do not open, also not from a copy of the data of
//! before with the keys of after; everybody else's do; nothing that was counted moves.

mod beside;

use super::checks::copy;
use super::*;
use crate::engine::erase::{EraseReport, EraseStep, EraseSteps, Order, Stage, Waits};
use crate::engine::restore::{LedgerErasure, Replay};
use crate::model::ids::{HoldNo, SiteNo};
use crate::model::person::Person;

/// Steps of an erasure of somebody in two buckets: more of them would be a cut that nobody made.
const STEPS: u32 = 20;

impl EraseSteps for Cut {
    fn begins(&self, step: EraseStep) {
        let left = self.0.fetch_sub(1, Ordering::SeqCst);
        assert!(left != 0, "cut at {step:?}");
    }
}

fn nobody() -> Waits {
    Arc::new(|_| false)
}

/// A user of the world, whose tag is the same in all months.
fn person(user: u16) -> Person {
    Person { users: vec![Tag(tag("user record", user))], devices: Vec::new() }
}

/// The user of an event of [`World::filled`].
fn user_of(event: u16) -> u16 {
    event % 1_000 % 7
}

impl World {
    fn no(&self, site: u8) -> SiteNo {
        self.engine().site(&site_id(site)).unwrap().no
    }

    fn hide(&self, site: u8, number: u64, order: Order) {
        let order = Order { number, ..order };
        self.runtime.block_on(self.engine().hide(&site_id(site), order)).unwrap();
    }

    fn erase(&self, number: u64, waits: Waits, steps: Arc<dyn EraseSteps>) -> Option<EraseReport> {
        self.runtime.block_on(self.engine().erase(number, waits, MARK, steps)).ok()
    }

    /// Hides and erases a user, to the end; answers the report.
    fn erased(&mut self, site: u8, number: u64, user: u16) -> EraseReport {
        self.hide(site, number, Order { person: person(user), ..Order::default() });
        let report = self.erase(number, nobody(), Arc::new(())).unwrap();
        assert!(report.done && report.held.is_empty() && report.waiting_for.is_empty());
        self.runtime.block_on(self.engine().end_erasure(number)).unwrap();
        assert_eq!(self.engine().erasures(), []);
        assert_eq!(report.records, self.forget(site, user));
        report
    }

    /// The same while another erasure has not ended.
    fn erased_beside(&mut self, site: u8, number: u64, user: u16) {
        self.hide(site, number, Order { person: person(user), ..Order::default() });
        assert!(self.erase(number, nobody(), Arc::new(())).unwrap().done);
        self.runtime.block_on(self.engine().end_erasure(number)).unwrap();
        self.forget(site, user);
    }

    /// The model forgets the rows of a user; how many these were.
    fn forget(&mut self, site: u8, user: u16) -> u64 {
        let no = self.no(site);
        let mut gone = 0;
        for (_, events) in self.model.kept.iter_mut().filter(|(bucket, _)| bucket.site == no) {
            let before = events.len();
            events.retain(|event| user_of(*event) != user);
            gone += before - events.len();
        }
        gone as u64
    }

    /// Buckets of a site that have rows of a user, by the model.
    fn buckets_with(&self, site: u8, user: u16) -> Vec<Lot> {
        let no = self.no(site);
        let has = |events: &Vec<u16>| events.iter().any(|event| user_of(*event) == user);
        let of = self.model.kept.iter().filter(|(bucket, events)| bucket.site == no && has(events));
        of.map(|(bucket, _)| Lot::Records(*bucket)).collect()
    }
}

#[test]
fn check_41_copies_from_before_open_nothing_of_the_bucket_and_today_opens_the_neighbors() {
    let mut world = World::filled();
    world.fold_now();
    let counted = world.model.counters.clone();
    let with = world.buckets_with(0, 3);
    assert!(with.len() > 1, "{with:?}");
    let rows = world.rows();
    world.opens_all_but(&rows, &[]);
    world.close();
    let (old, today) = (world.dir.path().join("old"), world.dir.path().join("today"));
    copy(&world.dir.path().join("data"), &old);
    world.open();
    let report = world.erased(0, 41, 3);
    assert!(report.blocks as usize >= with.len() && report.records > 2 && !report.keys.is_empty());
    assert_eq!(report.keys.len(), with.len());
    // Today everybody else's rows open, and the person's are not there; figures stay.
    world.check_blocks();
    world.check();
    assert_eq!(world.model.counters, counted);
    // Rows of before, with the keys of after: none of these buckets, all of the others.
    world.opens_all_but(&rows, &with);
    world.reopen();
    world.opens_all_but(&rows, &with);
    world.check_blocks();
    world.check();
    world.close();
    copy(&world.dir.path().join("keys"), &today);
    let data = store::Settings { data: old, block_cache_bytes: 1 << 20 };
    let old_store = Store::open(&data).unwrap();
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(&today)).unwrap();
    let secrets = ring.secrets_for_scan();
    let mut tried = [0, 0];
    for (table, key, wrapped) in &rows {
        let Table::BlockKeys(class, _) = table else { continue };
        let place = BlockPlace::from_key(*class, key).unwrap();
        let number = crate::crypto::seal::key_id(wrapped).unwrap();
        let victim = with.contains(&Lot::Records(place.bucket));
        let read = ring.by_id(number).is_some_and(|by| read_block(&old_store, &by, place).is_ok());
        assert_eq!(read, !victim);
        // Nor under another number: it is the key that is gone, not its entry.
        let opens = |secret: &[u8; 32]| {
            let secret = crate::crypto::Secret::take(&mut secret.to_vec()).unwrap();
            let key = crate::crypto::SealKey::new(number, &secret);
            fold::block_key_opens(&key, place, wrapped)
        };
        assert_eq!(secrets.iter().any(opens), !victim);
        tried[usize::from(victim)] += 1;
    }
    assert!(tried[0] > 0 && tried[1] > 0, "{tried:?}");
    drop((old_store, ring));
    world.open();
}

#[test]
fn an_erasure_that_is_cut_at_any_step_is_brought_to_its_end() {
    let mut reached = 0;
    for step in 0..=STEPS {
        let mut world = World::filled();
        let with = world.buckets_with(1, 2);
        let rows = {
            world.fold_now();
            world.rows()
        };
        world.hide(1, 9, Order { person: person(2), ..Order::default() });
        let cut = Cut::at(step);
        let whole = world.erase(9, nobody(), cut.clone());
        assert_eq!(whole.is_none(), cut.was_reached(), "{step}");
        reached += u32::from(cut.was_reached());
        if whole.is_none() {
            world.reopen();
            let standing = world.engine().erasures();
            assert_eq!(standing.len(), 1, "the person stays hidden, {step}");
            assert_eq!(world.engine().shared.hidden(world.no(1)), [person(2)]);
        }
        let report = whole.or_else(|| world.erase(9, nobody(), Arc::new(()))).unwrap();
        assert!(report.done && report.held.is_empty(), "{step}: {report:?}");
        assert_eq!(report.records, world.forget(1, 2), "{step}");
        let gone: BTreeSet<KeyId> = report.keys.iter().copied().collect();
        assert!(gone.len() >= with.len(), "{step}: {report:?}");
        world.opens_all_but(&rows, &with);
        world.check_blocks();
        // One living key a bucket, whatever was cut.
        for info in world.engine().lots() {
            let two = matches!(info.lot, Lot::Sets(_));
            assert_eq!(info.keys.len(), if two { 2 } else { 1 }, "{step}: {info:?}");
        }
        world.runtime.block_on(world.engine().end_erasure(9)).unwrap();
        world.reopen();
        assert_eq!(world.engine().erasures(), []);
        world.check();
        world.check_blocks();
    }
    assert_eq!(reached, STEPS);
}

#[test]
fn again_and_another_and_later_rows_of_the_same_bucket() {
    let mut world = World::filled();
    let first = world.erased(0, 1, 3);
    let again = world.erased(0, 2, 3);
    assert!(first.records > 0);
    assert_eq!((again.records, again.blocks, again.keys), (0, 0, Vec::new()));
    world.erased(0, 3, 4);
    // Fragments from before and after join in one block, through a restart.
    for round in 0..4 {
        let row = |event: u16| Row {
            site: 0,
            event: 4_000 + 1_000 * round + event,
            user: event % 7,
            device: 1,
            drm: 0,
            effect: 0,
            hours_ago: 1,
        };
        world.run(Op::Submit((0..300).map(row).collect()));
        world.run(Op::Fold);
        world.check_blocks();
        if round == 1 {
            world.reopen();
        }
        if round == 2 {
            world.erased(0, 4, 5);
        }
    }
    // The person who comes back is kept: nobody asked for anything else.
    assert!(!world.buckets_with(0, 3).is_empty());
    world.check_blocks();
    world.check();
}

#[test]
fn a_bucket_on_hold_waits_with_the_person_hidden() {
    let mut world = World::filled();
    world.fold_now();
    let with = world.buckets_with(0, 3);
    let Lot::Records(held) = with[0] else { panic!() };
    let rows = world.rows();
    world.hide(0, 5, Order { person: person(3), ..Order::default() });
    let waits: Waits = Arc::new(move |bucket| bucket == held);
    let report = world.erase(5, waits, Arc::new(())).unwrap();
    assert!(!report.done);
    assert_eq!(report.held, [held]);
    world.opens_all_but(&rows, &with[1..]);
    world.reopen();
    assert_eq!(world.engine().erasures()[0].stage, Stage::Hidden);
    assert_eq!(world.engine().shared.hidden(world.no(0)), [person(3)]);
    // Released: the same call, with what it has done before.
    let report = world.erase(5, nobody(), Arc::new(())).unwrap();
    assert!(report.done);
    assert_eq!(report.records, world.forget(0, 3));
    world.opens_all_but(&rows, &with);
    world.check_blocks();
}

#[test]
fn what_was_erased_in_can_be_held_and_destroyed() {
    let mut world = World::filled();
    world.erased(0, 1, 3);
    world.fold_now();
    let lot = world.buckets_with(0, 4)[0];
    let Lot::Records(bucket) = lot else { panic!() };
    let mut wanted = world.model.kept[&bucket].clone();
    wanted.sort_unstable();
    let doom = Doom { heirs: vec![HoldNo(1)], ..Doom::from(lot) };
    let report = world.destroy(&[doom], Arc::new(())).unwrap();
    assert_eq!(report.verification, Verification::Passed);
    world.lose(&[lot]);
    let held = world.engine().held_bucket(HoldNo(1), bucket).unwrap().unwrap();
    let mut events = Vec::new();
    for place in held.blocks().unwrap() {
        for row in held.read(place).unwrap() {
            let first = details::items(&row.details).next().unwrap().unwrap().1;
            let Item::Number(event) = first else { panic!() };
            events.push(event as u16);
        }
    }
    drop(held);
    events.sort_unstable();
    assert_eq!(events, wanted);
    // A copy may hold anybody: whoever is erased now waits for its end.
    world.hide(0, 7, Order { person: person(4), ..Order::default() });
    let report = world.erase(7, nobody(), Arc::new(())).unwrap();
    assert_eq!((report.done, report.held), (false, vec![bucket]));
    let copy = Doom { lot, hold: Some(HoldNo(1)), heirs: Vec::new() };
    assert_eq!(world.destroy(&[copy], Arc::new(())).unwrap().verification, Verification::Passed);
    assert!(world.erase(7, nobody(), Arc::new(())).unwrap().done);
}

#[test]
fn nothing_is_erased_while_the_register_waits_for_a_copy() {
    let mut world = World::filled();
    world.fold_now();
    world.close();
    let shelf = world.dir.path().join("shelf");
    std::fs::create_dir(&shelf).unwrap();
    world.copies = vec![shelf.join("register.c")];
    world.open();
    let with = world.buckets_with(0, 3);
    let rows = world.rows();
    let away = world.dir.path().join("away");
    std::fs::rename(&shelf, &away).unwrap();
    world.hide(0, 3, Order { person: person(3), ..Order::default() });
    for _ in 0..2 {
        let report = world.erase(3, nobody(), Arc::new(())).unwrap();
        assert_eq!((report.done, &report.waiting_for), (false, &world.copies));
        world.reopen();
    }
    std::fs::rename(&away, &shelf).unwrap();
    assert!(world.erase(3, nobody(), Arc::new(())).unwrap().done);
    world.forget(0, 3);
    world.opens_all_but(&rows, &with);
    world.check_blocks();
}

#[test]
fn a_block_that_does_not_open_ends_the_erasure_and_nothing_else() {
    let mut world = World::filled();
    world.fold_now();
    let with = world.buckets_with(0, 3);
    let place = {
        let rows = world.rows();
        let of = rows.iter().find(|row| world.try_row(row).0 == with[0]).unwrap();
        BlockPlace::from_key(Class::Records, &of.1).unwrap()
    };
    let [_, (table, key), _] = place.rows();
    let whole = world.engine().store().get(table, &key).unwrap().unwrap();
    let put = |world: &World, value: Vec<u8>| {
        let mut changes = store::Changes::default();
        changes.put(table, key.clone(), value);
        world.engine().store().apply(&changes).unwrap();
    };
    put(&world, b"damaged".to_vec());
    world.hide(0, 3, Order { person: person(3), ..Order::default() });
    let order = world.engine().erase(3, nobody(), MARK, Arc::new(()));
    let error = world.runtime.block_on(order).unwrap_err();
    assert!(matches!(error, EngineError::Damaged(_)), "{error:?}");
    assert!(world.engine().is_running());
    put(&world, whole);
    assert!(world.erase(3, nobody(), Arc::new(())).unwrap().done);
    world.forget(0, 3);
    world.check_blocks();
}

#[test]
fn data_from_before_an_erasure_is_put_back_without_the_buckets_that_had_the_person() {
    let mut world = World::filled();
    let kept = world.back_up("backup");
    let with = world.buckets_with(0, 3);
    world.erased(0, 60, 3);
    let other = LedgerErasure {
        number: 61,
        site: site_id(1),
        months: vec![Month::parse(b"2026-11").unwrap()],
        suppressed: false,
        ended: false,
        keys: 0,
    };
    let done =
        LedgerErasure { number: 60, site: site_id(0), ended: true, keys: 2, ..other.clone() };
    let replay = Replay { erasures: vec![done, other.clone()], ..Replay::default() };
    world.restore(&kept, &replay);
    // What the keys no longer open is not there; whoever it was is counted.
    for lot in &with {
        let Lot::Records(bucket) = lot else { panic!() };
        world.model.kept.remove(bucket);
    }
    world.check_blocks();
    world.check();
    // Nobody knows who the other was: it waits for whoever knows to say so again.
    let lost = world.engine().erasures();
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].number, lost[0].stage), (61, Stage::Lost));
    assert_eq!((&lost[0].site, &lost[0].months), (&other.site, &other.months));
    assert!(world.erase(61, nobody(), Arc::new(())).is_none());
    world.reopen();
    assert_eq!(world.engine().erasures().len(), 1);
    let seen = |world: &World| {
        let explained = world.engine().explain(site_id(1), other.months[0]);
        world.runtime.block_on(explained).ok().map(|made| made.records_seen)
    };
    assert_eq!(seen(&world), Some(0), "nobody knows whom not to show");
    let order = Order { suppress: vec![Tag([9; 16])], repeats: Some(61), ..Order::default() };
    world.hide(1, 70, Order { person: person(2), ..order });
    // In a later backup both are known: neither is lost again.
    for number in [61, 70] {
        let row = store::keys::suppressed(world.no(1), number);
        assert!(world.engine().store().get(Table::Meta, &row).unwrap().is_some(), "{number}");
    }
    assert!(world.erase(70, nobody(), Arc::new(())).unwrap().done);
    assert_eq!(world.engine().erasures().len(), 1);
    assert_ne!(seen(&world), Some(0));
    world.forget(1, 2);
    world.check_blocks();
}
