//! Check 34 for the whole: after a destruction, and after the release of a hold, nothing of the
//! keys is in any file of data, keys and hold vault, nor in the raw blocks of the disk below.

use super::*;
use crate::keys::image::{LoopImage, Needles, not_possible};
use crate::model::ids::HoldNo;

const HOLD: HoldNo = HoldNo(1);

/// Adds the plain and the wrapped bytes of keys of a vault, and its VEK as it is wrapped, read from
/// the files as docs/FORMATS.md has them.
fn add(needles: &mut Needles, ring: &KeyRing, keys: &std::path::Path, ids: &BTreeSet<KeyId>) {
    let name = keys.file_name().unwrap().to_string_lossy();
    for (id, secret) in ring.secrets() {
        if ids.contains(&id) {
            needles.add_secret(&format!("{name} {id}"), &secret);
        }
    }
    let register = std::fs::read(keys.join("register.a")).unwrap();
    let mut wrapped = 0;
    for slot in register[4_096..].chunks(256).filter(|slot| slot[0] == 1) {
        let id = KeyId(u64::from_be_bytes(slot[8..16].try_into().unwrap()));
        if ids.contains(&id) {
            needles.add(format!("{name} {id} wrapped"), &slot[96..169]);
            wrapped += 1;
        }
    }
    assert_eq!(wrapped, ids.len());
    let home = std::fs::read(keys.join("vek.home")).unwrap();
    let slot = home.chunks(512).find(|slot| slot.iter().any(|byte| *byte != 0)).unwrap();
    let length = usize::from(u16::from_be_bytes(slot[74..76].try_into().unwrap()));
    needles.add(format!("{name} VEK wrapped"), &slot[76..76 + length]);
}

/// Destroys, and answers what must not be found, and was found before.
fn destroyed(world: &mut World, image: Option<&LoopImage>) -> Needles {
    let dir = world.dir.path().to_owned();
    let keys = dir.join("keys");
    world.fold_now();
    let (_, gone) = world.month_lots(0);
    let (_, held) = world.month_lots(1);
    let ring = Arc::clone(world.engine().ring());
    let lots = world.engine().lots();
    let of = |lots_of: &[Lot]| -> BTreeSet<KeyId> {
        let own = lots.iter().filter(|info| lots_of.contains(&info.lot));
        own.flat_map(|info| info.keys.iter().copied()).collect()
    };
    let mut needles = Needles::default();
    add(&mut needles, &ring, &keys, &of(&[gone.clone(), held.clone()].concat()));
    let heirs = |lot: &Lot| Doom { heirs: vec![HOLD], ..Doom::from(*lot) };
    let batch: Vec<Doom> =
        gone.iter().copied().map(Doom::from).chain(held.iter().map(heirs)).collect();
    let wrapped = |needles: &Needles| -> usize {
        needles.names().iter().filter(|name| name.ends_with("wrapped")).count()
    };
    assert_eq!(needles.found_below(&dir).len(), wrapped(&needles), "found before");
    let report = world.destroy(&batch, Arc::new(())).unwrap();
    assert_eq!(report.verification, Verification::Passed);
    world.lose(&[gone, held.clone()].concat());
    let hold = ring.hold_existing().unwrap().unwrap();
    let of_hold = world.engine().held().unwrap().into_iter().flat_map(|held| held.keys);
    add(&mut needles, &hold, &keys.join("hold"), &of_hold.collect());
    if let Some(image) = image {
        assert!(!needles.found_in(&image.raw()).is_empty(), "the hold's keys are there");
    }
    let copy = |lot: &Lot| Doom { hold: Some(HOLD), ..Doom::from(*lot) };
    let release: Vec<Doom> = held.iter().map(copy).collect();
    let report = world.destroy(&release, Arc::new(())).unwrap();
    assert_eq!(report.verification, Verification::Passed);
    world.check();
    world.check_blocks();
    needles
}

#[test]
fn check_34_no_key_is_in_any_file_nor_in_the_raw_image() {
    let image = LoopImage::mount(512);
    let dir = match &image {
        Ok(image) => tempfile::tempdir_in(image.path()).unwrap(),
        Err(why) => {
            not_possible("check 34, raw image of an ext4; its files were searched", why);
            tempfile::tempdir().unwrap()
        }
    };
    let mut world = World::filled_in(dir);
    let needles = destroyed(&mut world, image.as_ref().ok());
    let none = BTreeSet::new();
    assert_eq!(needles.found_below(world.dir.path()), none);
    world.close();
    assert_eq!(needles.found_below(world.dir.path()), none);
    // The directory stays for the search in the raw image, and goes with that.
    let World { dir, .. } = world;
    let _ = dir.keep();
    if let Ok(image) = image {
        assert_eq!(needles.found_in(&image.unmounted()), none);
    }
}
