//! Checks of the privacy study on what a fold leaves.

use super::*;
use crate::crypto::seal::counts::DECRYPTS;
use crate::engine::fold::{
    FoldError, block_key_opens, blocks_of, key_of, open_block_key, read_block,
};
use crate::model::ids::{KeyId, SiteNo};
use crate::model::retention::Lot;

/// Check 22: a block's key opens in its own place and under its own key only, whatever part of the
/// place is another one.
#[test]
fn check_22_a_row_opens_in_its_own_place_only() {
    let mut world = World::new(settings(false));
    let row = Row { site: 0, event: 1, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
    world.run(Op::Submit(vec![row]));
    world.run(Op::Fold);
    let engine = world.engine();
    let (ring, store) = (engine.ring(), engine.store());
    let records = |lot: &Lot| match lot {
        Lot::Records(bucket) => Some(*bucket),
        _ => None,
    };
    let lots = engine.lots();
    let (bucket, info) =
        lots.iter().find_map(|info| records(&info.lot).map(|bucket| (bucket, info))).unwrap();
    let key = ring.by_id(info.keys[0]).unwrap();
    let place = blocks_of(store, bucket).unwrap()[0];
    let [.., (table, at)] = place.rows();
    let wrapped = store.get(table, &at).unwrap().unwrap();
    assert!(block_key_opens(&key, place, &wrapped));
    let with = |change: fn(&mut BlockPlace)| {
        let mut other = place;
        change(&mut other);
        assert_ne!(other, place);
        other
    };
    let others = [
        with(|place| place.bucket.site = SiteNo(place.bucket.site.0 + 1)),
        with(|place| place.bucket.class = Class::Detections),
        with(|place| {
            let next = place.bucket.epoch.code() + 1;
            place.bucket = Bucket { epoch: Epoch::from_code(next), ..place.bucket };
        }),
        with(|place| place.fragment = !place.fragment),
        with(|place| place.number += 1),
    ];
    for other in others {
        assert!(!block_key_opens(&key, other, &wrapped), "{other:?}");
    }
    // The header and the block are of other kinds in the same place.
    for (table, at) in &place.rows()[..2] {
        let sealed = store.get(*table, at).unwrap().unwrap();
        assert!(!block_key_opens(&key, place, &sealed), "{}", table.name());
    }
}

/// Check 23: whose key it is stands in the sealed bytes; a number that no living key has is looked
/// up, and nothing is tried, however many keys there are.
#[test]
fn check_23_an_unknown_key_is_looked_up_and_not_tried() {
    let mut world = World::new(settings(false));
    let row =
        |site: u8| Row { site, event: 1, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
    world.run(Op::Submit((0..3).map(row).collect()));
    world.run(Op::Fold);
    let engine = world.engine();
    let (ring, store) = (engine.ring(), engine.store());
    let seals = ring.list().iter().filter(|key| ring.by_id(key.id).is_some()).count();
    assert!(seals > 5, "{seals} keys that could be tried");
    let lots = engine.lots();
    let (bucket, keys) = lots
        .iter()
        .find_map(|info| match info.lot {
            Lot::Records(bucket) => Some((bucket, &info.keys)),
            _ => None,
        })
        .unwrap();
    let place = blocks_of(store, bucket).unwrap()[0];
    let [.., (table, at)] = place.rows();
    let mut wrapped = store.get(table, &at).unwrap().unwrap();
    let open = |wrapped: &[u8]| {
        DECRYPTS.during(|| {
            let key = key_of(ring, wrapped)?;
            open_block_key(place, &key, wrapped).map(|_| ())
        })
    };
    let (opened, tried) = open(&wrapped);
    assert!(opened.is_ok() && tried == 1, "{tried}");
    // Of a block: its key and its body.
    let key = ring.by_id(keys[0]).unwrap();
    let (rows, tried) = DECRYPTS.during(|| read_block(store, &key, place).unwrap().len());
    assert_eq!((rows, tried), (1, 2));
    // Another living key, and a number that nobody has.
    let state = ring.state_key().id();
    for (id, most) in [(state, 1), (KeyId(9_999), 0)] {
        wrapped[1..9].copy_from_slice(&id.0.to_be_bytes());
        let (opened, tried) = open(&wrapped);
        assert!(opened.is_err() && tried <= most, "{id:?}: {tried}");
    }
    // One that was retired.
    wrapped[1..9].copy_from_slice(&keys[0].0.to_be_bytes());
    assert!(open(&wrapped).0.is_ok());
    ring.retire(&keys[..1]).unwrap();
    let (opened, tried) = open(&wrapped);
    assert!(matches!(opened, Err(FoldError::Corrupt(_))) && tried == 0, "{tried}");
}

/// A row that was removed is in no file any more once the table was rewritten.
#[test]
fn removed_rows_are_in_no_file_after_a_rewrite() {
    let mut world = World::new(settings(false));
    for no in 0..20 {
        let (name, bytes) = (format!("hold/{no:020}"), [no; 100]);
        world.runtime.block_on(world.engine().put_desk_row(&name, &bytes)).unwrap();
    }
    world.run(Op::Restart);
    let row = store::keys::desk("hold/00000000000000000007");
    let sealed = world.engine().store().get(Table::Meta, &row).unwrap().unwrap();
    let there = |world: &World| {
        let files = std::fs::read_dir(world.dir.path().join("data"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file());
        let holds = |path: &std::path::PathBuf| {
            std::fs::read(path).unwrap().windows(sealed.len()).any(|at| at == &sealed[..])
        };
        files.filter(holds).count()
    };
    assert!(there(&world) > 0);
    let gone = world.engine().delete_desk_row("hold/00000000000000000007");
    world.runtime.block_on(gone).unwrap();
    assert!(there(&world) > 0, "a removal alone leaves its bytes");
    world.runtime.block_on(world.engine().rewrite_desk_rows()).unwrap();
    assert_eq!(there(&world), 0);
    assert_eq!(world.engine().desk_rows("hold/").unwrap().len(), 19);
}
