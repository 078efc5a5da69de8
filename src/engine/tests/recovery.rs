//! What a start compares, and that every group is on the disk before it is answered.

use super::*;
use crate::model::ids::SiteNo;
use crate::model::usage::Tally;
use crate::store::verdict::{decode_tally, encode_tally};
use crate::store::{Changes, keys as row_keys};

fn row(event: u16) -> Row {
    Row { site: 0, event, user: 1 + event, device: 1 + event, drm: 0, effect: 0, hours_ago: 1 }
}

fn november() -> SiteMonth {
    SiteMonth { site: SiteNo(1), month: Month::parse(b"2026-11").unwrap() }
}

impl World {
    /// Changes the stored counters of November, which are sealed under no key, behind the engine's
    /// back; then what the next start says.
    fn start_on_other_counters(mut self, change: impl FnOnce(&mut Tally)) -> Option<String> {
        let store = self.engine().store();
        let key = row_keys::counters(november());
        let mut tally = decode_tally(&store.get(Table::Counters, &key).unwrap().unwrap()).unwrap();
        change(&mut tally);
        let mut changes = Changes::default();
        changes.put(Table::Counters, key, encode_tally(&tally));
        store.apply(&changes).unwrap();
        self.close();
        let data = self.dir.path().join("data");
        let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 }).unwrap();
        let keys = keys::Settings::in_dir(self.dir.path().join("keys"));
        let (ring, _) = KeyRing::open(&keys).unwrap();
        let opened = Engine::open(store, ring, self.settings.clone(), self.clock.clone());
        match opened {
            Ok(engine) => {
                engine.stop();
                None
            }
            Err(error) => Some(error.to_string()),
        }
    }
}

fn folded(tight: bool) -> World {
    let mut world = World::new(settings(tight));
    world.run(Op::Submit((0..200).map(row).collect()));
    world.run(Op::Fold);
    world
}

#[test]
fn counters_that_differ_from_their_sets_refuse_the_start() {
    for tight in [false, true] {
        let same = folded(tight).start_on_other_counters(|_| {});
        assert_eq!(same, None, "tight: {tight}");
        let changes: [fn(&mut Tally); 6] = [
            |tally| tally.counters.mau += 1,
            |tally| tally.counters.devices += 1,
            |tally| tally.corrections.mau += 1,
            |tally| tally.corrections.device_users += 1,
            |tally| tally.corrections.devices += 1,
            |tally| tally.corrections.watermark_users += 1,
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let said = folded(tight).start_on_other_counters(change);
            let said = said.unwrap_or_else(|| panic!("{at} was not seen, tight: {tight}"));
            assert!(said.contains("do not agree with its sets"), "{at}: {said}");
        }
    }
    // Of a set in memory also what is too little.
    let said = folded(false).start_on_other_counters(|tally| tally.counters.mau -= 1);
    assert!(said.unwrap().contains("do not agree with its sets"));
}

/// Counters of which no set says how many they are: the verdicts of the journal do.
#[test]
fn counters_that_differ_from_what_was_acknowledged_refuse_the_start() {
    for tight in [false, true] {
        for change in [false, true] {
            let mut world = folded(tight);
            world.run(Op::Submit(vec![row(300)]));
            let said = world.start_on_other_counters(|tally| {
                tally.counters.no_license += u64::from(change);
            });
            let differs =
                said.as_deref().is_some_and(|said| said.contains("differs from what was ack"));
            assert_eq!(differs, change, "tight {tight}: {said:?}");
            assert_eq!(said.is_some(), change, "tight {tight}: {said:?}");
        }
    }
}

/// D1: one sync of the log for each group, before its answer.
#[test]
fn every_group_is_synced_before_it_is_answered() {
    let mut world = World::new(settings(false));
    world.run(Op::Submit(vec![row(0)]));
    for event in 1..20 {
        let before = world.engine().store().written().syncs;
        world.run(Op::Submit(vec![row(event)]));
        let syncs = world.engine().store().written().syncs - before;
        assert_eq!(syncs, 1, "for group {event}");
    }
    world.close();
}

/// What an earlier build acknowledged, and did not fold, lies unpadded in the journal.
#[test]
fn a_journal_from_before_padding_is_read() {
    let mut world = World::new(settings(false));
    world.run(Op::Submit((0..40).map(row).collect()));
    world.run(Op::Submit((30..50).map(row).collect()));
    let figures =
        |world: &World| world.engine().usage(&site_id(0), november().month).unwrap().unwrap().tally;
    let counted = figures(&world);
    assert_eq!(counted.counters.records, 50);
    let key_of = |id| world.engine().ring().by_id(id);
    let stored: Vec<_> =
        journal::stored(world.engine().store(), 0, u64::MAX).unwrap().map(Result::unwrap).collect();
    assert!(!stored.is_empty());
    let mut changes = Changes::default();
    for journal::StoredGroup { number, half, row } in stored {
        let old = journal::before_padding(number, &row, &key_of);
        assert!(old[0] == 1 && old.len() < row.len());
        changes.put(Table::Journal(half), row_keys::group(number), old);
    }
    world.engine().store().apply(&changes).unwrap();
    world.close();
    world.open();
    assert_eq!(figures(&world), counted);
    world.run(Op::Fold);
    assert_eq!(figures(&world), counted);
    world.close();
}
