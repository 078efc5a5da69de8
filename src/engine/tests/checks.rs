//! Checks of the privacy study on what a fold leaves.

use super::*;
use crate::engine::fold::{block_key_opens, blocks_of};
use crate::model::ids::SiteNo;
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
/// up, and nothing is tried.
#[test]
fn check_23_an_unknown_key_is_looked_up_and_not_tried() {
    let world = World::new(settings(false));
    let ring = world.engine().ring();
    let (aad, state) = (crate::crypto::Aad::new("test/1"), ring.state_key());
    let mut sealed = state.seal(&aad, b"x");
    assert_eq!(crate::crypto::seal::key_id(&sealed), Ok(state.id()));
    sealed[1..9].copy_from_slice(&9_999_u64.to_be_bytes());
    let id = crate::crypto::seal::key_id(&sealed).unwrap();
    assert!(ring.by_id(id).is_none());
    assert_eq!(state.open(&aad, &sealed), Err(crate::crypto::OpenError::OtherKey(id)));
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
