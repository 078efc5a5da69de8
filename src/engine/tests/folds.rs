//! What a fold leaves, and what it takes along.

use super::*;

/// A set on disk whose member gains one DRM system after another counts each of them once.
#[test]
fn a_mask_that_grows_on_disk_is_known_to_the_cache() {
    let mut world = World::new(Settings { tally_bytes: 0, ..settings(true) });
    for (event, drm) in [0, 1, 2, 2, 1, 3, 3].into_iter().enumerate() {
        let event = event as u16;
        let row = Row { site: 0, event, user: 1, device: 1, drm, effect: 0, hours_ago: 1 };
        world.run(Op::Submit(vec![row]));
        if event.is_multiple_of(2) {
            world.run(Op::Fold);
        }
    }
    world.run(Op::Restart);
    world.close();
}

/// A fold leaves nothing in the journal, and its key is gone from the register.
#[test]
fn journal_keys_are_retired_after_the_fold() {
    let mut world = World::new(settings(false));
    let journal_keys = |world: &World| {
        world.engine().ring().list().into_iter().filter(|k| k.kind == KeyKind::Journal).count()
    };
    for event in 0..5 {
        let row = Row { site: 0, event, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
        world.run(Op::Submit(vec![row]));
        world.run(Op::Fold);
    }
    world.run(Op::Restart);
    let row = Row { site: 0, event: 9, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
    world.run(Op::Submit(vec![row]));
    world.run(Op::Fold);
    let first = keys_range(&world);
    assert_eq!(first, 0, "groups are left in the journal");
    world.close();
    world.open();
    assert!(journal_keys(&world) <= 3, "{}", journal_keys(&world));
}

fn keys_range(world: &World) -> usize {
    journal::stored(world.engine().store(), 0, u64::MAX).unwrap().count()
}
