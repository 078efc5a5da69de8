//! A vault on real files: first start, restart, missing and foreign parts, secrets in files, names.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::destroy::done;
use super::{holds, month, site};
use crate::crypto::Aad;
use crate::keys::{KeyKind, KeyRing, KeysError, LedgerMark, Resumed, RootError, Settings};
use crate::model::ids::KeyId;
use crate::model::time::Day;
use crate::model::vocab::Class;

fn settings(dir: &Path) -> Settings {
    Settings::in_dir(dir.join("keys"))
}

fn error(settings: &Settings) -> KeysError {
    KeyRing::open(settings).err().unwrap()
}

#[test]
fn keys_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (ring, opened) = KeyRing::open(&settings).unwrap();
    assert!(opened.first_start);
    assert!(matches!(error(&settings), KeysError::Locked(_)));
    let keys = ring.site_month(&site(1), month(1)).unwrap();
    let bucket = ring.bucket(&site(1), Class::Records, 24_312).unwrap();
    let seen = ring.seen(Day(20_500)).unwrap();
    let journal = ring.journal().unwrap();
    let aad = Aad::new("test/1");
    let sealers =
        [ring.state_key(), Arc::clone(&keys.sets), bucket, Arc::clone(&seen.seal), journal];
    let sealed = sealers.each_ref().map(|key| (key.id(), key.seal(&aad, b"value")));
    let tag = keys.record.tag([1; 16]);
    let mac = (keys.base.mac_key().mac(b"id"), seen.mac.mac(b"event"));
    drop(ring);
    let (ring, opened) = KeyRing::open(&settings).unwrap();
    assert!(!opened.first_start);
    assert_eq!(opened.repaired, 0);
    for (id, sealed) in sealed {
        assert_eq!(ring.by_id(id).unwrap().open(&aad, &sealed).unwrap(), b"value");
    }
    let again = ring.site_month_existing(&site(1), month(1)).unwrap();
    assert_eq!(again.record.tag([1; 16]), tag);
    assert_eq!(
        (again.base.mac_key().mac(b"id"), ring.seen(Day(20_500)).unwrap().mac.mac(b"event")),
        mac
    );
    assert_eq!(again.ids, keys.ids);
    assert!(ring.by_id(keys.ids.base).is_none(), "a base key seals nothing");
    assert!(ring.site_month_existing(&site(1), month(2)).is_none());
    assert_eq!(ring.seen_days(), [Day(20_500)]);
}

#[test]
fn no_secret_is_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (ring, _) = KeyRing::open(&settings).unwrap();
    for s in 0..4 {
        ring.site_month(&site(s), month(s)).unwrap();
        ring.bucket(&site(s), Class::Detections, 3).unwrap();
        ring.seen(Day(20_000 + u32::from(s))).unwrap();
        ring.journal().unwrap();
    }
    let mut secrets = ring.secrets_for_scan();
    assert!(secrets.len() > 40);
    let root = crate::keys::KeyFile::load(&settings.root_key).unwrap();
    let vek = super::super::home::open_vek(&settings).unwrap().vek(1, &root).unwrap();
    secrets.push(*vek.expose());
    let mut files = 0;
    for entry in fs::read_dir(&settings.dir).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        for secret in &secrets {
            assert!(!holds(&bytes, secret));
            assert!(!holds(&bytes, data_encoding::HEXLOWER.encode(secret).as_bytes()));
        }
    }
    // Register A and B, VEK home, root key, lock.
    assert_eq!(files, 5);
}

#[test]
fn a_missing_part_is_refused_and_named() {
    for part in ["register.a", "register.b", "vek.home", "root.key"] {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        KeyRing::open(&settings).unwrap();
        let path = settings.dir.join(part);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let error = error(&settings);
        match &error {
            KeysError::Missing(missing) => assert_eq!(missing, &path),
            KeysError::Root(RootError::Missing(missing)) => assert_eq!(missing, &path),
            other => panic!("{other}"),
        }
        assert!(error.to_string().contains(part));
        assert!(!path.exists(), "nothing was made in its place");
        fs::write(&path, kept).unwrap();
        let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
        fs::set_permissions(&path, mode).unwrap();
        KeyRing::open(&settings).unwrap();
    }
}

#[test]
fn parts_of_another_vault_are_refused() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [mine, other] = dirs.each_ref().map(|dir| settings(dir.path()));
    KeyRing::open(&mine).unwrap();
    KeyRing::open(&other).unwrap();
    for part in ["register.a", "register.b", "vek.home", "root.key"] {
        let path = mine.dir.join(part);
        let kept = fs::read(&path).unwrap();
        fs::copy(other.dir.join(part), &path).unwrap();
        let error = error(&mine);
        assert!(matches!(error, KeysError::Register(_) | KeysError::Root(_) | KeysError::Vek(_)));
        fs::write(&path, kept).unwrap();
    }
    KeyRing::open(&mine).unwrap();
}

/// A cut during the renames of a first start may keep any of them.
#[test]
fn a_first_start_cut_short_is_finished() {
    let parts = ["vek.home", "register.a", "register.b"];
    for kept in 0..8u32 {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        KeyRing::open(&settings).unwrap();
        for (at, part) in parts.iter().enumerate() {
            let path = settings.dir.join(part);
            if kept & 1 << at == 0 {
                fs::rename(&path, settings.dir.join(format!("{part}.new"))).unwrap();
            }
        }
        let (ring, opened) = KeyRing::open(&settings).unwrap();
        assert_eq!(opened.first_start, kept == 0);
        ring.site_month(&site(1), month(1)).unwrap();
        drop(ring);
        KeyRing::open(&settings).unwrap();
        assert_eq!(fs::read_dir(&settings.dir).unwrap().count(), 5);
    }
}

#[test]
fn an_epoch_that_the_home_does_not_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    KeyRing::open(&settings).unwrap();
    let root = crate::keys::KeyFile::load(&settings.root_key).unwrap();
    let mut home = super::super::home::open_vek(&settings).unwrap();
    let next = crate::crypto::Secret::random();
    home.write_next(&root, &next, Default::default()).unwrap();
    // Turned over at the home only: the register's epoch is still in force, the other is discarded.
    let (_, opened) = KeyRing::open(&settings).unwrap();
    assert_eq!(opened.resumed, Resumed::RolledBack);
    let mut home = super::super::home::open_vek(&settings).unwrap();
    assert_eq!(home.epoch(), 1);
    home.write_next(&root, &next, Default::default()).unwrap();
    home.destroy_previous(&root, false).unwrap();
    assert!(matches!(error(&settings), KeysError::VekEpoch { register: 1, home: 2 }));
}

#[test]
fn names_are_given_once() {
    let dir = tempfile::tempdir().unwrap();
    let (ring, _) = KeyRing::open(&settings(dir.path())).unwrap();
    let retired = |result: Result<(), KeysError>| matches!(result, Err(KeysError::Retired { .. }));
    let bucket = ring.bucket(&site(1), Class::Records, 5).unwrap();
    let same = ring.bucket(&site(1), Class::Records, 5).unwrap();
    assert_eq!(bucket.id(), same.id());
    for other in [
        ring.bucket(&site(2), Class::Records, 5),
        ring.bucket(&site(1), Class::Detections, 5),
        ring.bucket(&site(1), Class::Records, 6),
    ] {
        assert_ne!(other.unwrap().id(), bucket.id());
    }
    ring.retire(&[bucket.id()]).unwrap();
    assert!(ring.by_id(bucket.id()).is_none());
    assert!(retired(ring.bucket(&site(1), Class::Records, 5).map(drop)));
    let seen = ring.seen(Day(20_500)).unwrap().seal.id();
    ring.retire(&[seen]).unwrap();
    ring.retire(&[seen]).unwrap();
    assert!(retired(ring.seen(Day(20_500)).map(drop)));
    let journals: Vec<KeyId> = (0..3).map(|_| ring.journal().unwrap().id()).collect();
    ring.retire(&journals).unwrap();
    assert!(!journals.contains(&ring.journal().unwrap().id()));
    assert!(matches!(ring.retire(&[ring.state_key().id()]), Err(KeysError::InUse(_))));
    let node = ring.list().into_iter().find(|info| info.kind == KeyKind::Node).unwrap();
    assert!(matches!(ring.retire(&[node.id]), Err(KeysError::InUse(_))));
}

#[test]
fn the_uses_of_a_month_die_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (ring, _) = KeyRing::open(&settings).unwrap();
    let keys = ring.site_month(&site(1), month(1)).unwrap();
    ring.site_month(&site(1), month(3)).unwrap();
    ring.site_month(&site(2), month(2)).unwrap();
    ring.retire(&[keys.ids.tally, keys.ids.sets]).unwrap();
    let check = |ring: &KeyRing| {
        assert!(ring.site_month_existing(&site(1), month(1)).is_none());
        let again = ring.site_month(&site(1), month(1));
        assert!(matches!(again, Err(KeysError::Retired { .. })));
        assert_eq!(ring.watermark_months(&site(1)), [month(1), month(3)]);
        let left = ring.watermark(&site(1), month(1)).unwrap();
        assert_eq!(left.watermark.tag([2; 16]), keys.watermark.tag([2; 16]));
        assert_eq!(left.base.mac_key().mac(b"x"), keys.base.mac_key().mac(b"x"));
    };
    check(&ring);
    drop(ring);
    let (ring, _) = KeyRing::open(&settings).unwrap();
    check(&ring);
    ring.retire(&[keys.ids.base]).unwrap();
    assert!(ring.watermark(&site(1), month(1)).is_none());
    ring.retire(&[keys.ids.watermark, keys.ids.record]).unwrap();
    assert_eq!(ring.watermark_months(&site(1)), [month(3)]);
    let left = ring.list().into_iter().filter(|info| info.epoch == month(1).0);
    assert_eq!(left.count(), 0, "nodes without keys go too");
}

/// The register grows past its first chunk, and every key is there again after a start.
#[test]
fn many_sites() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (ring, _) = KeyRing::open(&settings).unwrap();
    for s in 0..200u32 {
        let site = crate::model::ids::SiteId::parse(format!("site-{s}").as_bytes()).unwrap();
        ring.site_month(&site, month(1)).unwrap();
        ring.bucket(&site, Class::Records, month(1).0).unwrap();
    }
    let made = ring.list();
    assert!(made.len() > 1_200);
    drop(ring);
    let (ring, _) = KeyRing::open(&settings).unwrap();
    assert_eq!(ring.list(), made);
}

#[test]
fn the_buckets_of_a_fold_are_one_write() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (ring, _) = KeyRing::open(&settings).unwrap();
    let generation = || {
        let bytes = fs::read(settings.dir.join("register.a")).unwrap();
        u64::from_be_bytes(bytes[32..40].try_into().unwrap())
    };
    let old = ring.bucket(&site(1), Class::Records, 5).unwrap();
    let before = generation();
    let names: Vec<_> =
        (0..40).flat_map(|s| [5, 6].map(|epoch| (site(s), Class::Records, epoch))).collect();
    ring.make_buckets(&names).unwrap();
    assert_eq!(generation(), before + 1);
    for (site, class, epoch) in &names {
        ring.bucket(site, *class, *epoch).unwrap();
    }
    ring.make_buckets(&names).unwrap();
    assert_eq!(generation(), before + 1, "what is there is not made again");
    assert_eq!(ring.bucket(&site(1), Class::Records, 5).unwrap().id(), old.id());
    ring.retire(&[old.id()]).unwrap();
    assert!(matches!(ring.make_buckets(&names), Err(KeysError::Retired { .. })));
    // A name twice is one key, and the vault opens again.
    let twice = [7, 8, 7].map(|epoch| (site(1), Class::Records, epoch));
    let before = ring.list().len();
    ring.make_buckets(&twice).unwrap();
    assert_eq!(ring.list().len(), before + 4, "two nodes, two keys");
    drop(ring);
    let (ring, _) = KeyRing::open(&settings).unwrap();
    assert_eq!(ring.list().len(), before + 4);
}

/// Names that were retired are remembered as long as somebody may ask for them, and no longer: the
/// life of a process is longer than that.
#[test]
fn retired_names_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let (ring, _) = KeyRing::open(&settings(dir.path())).unwrap();
    // The first of January 2026, as the months begin then.
    let day = |month: u8| Day(20_454 + 30 * u32::from(month));
    let bucket = |month: u8| {
        let by_day = crate::model::batch::Epoch::Day(day(month)).code();
        let keys = [by_day, self::month(month).0];
        keys.map(|epoch| ring.bucket(&site(1), Class::Records, epoch).map(|key| key.id()))
    };
    let mut most = 0;
    for no in 0..30 {
        let seen = ring.seen(day(no)).unwrap().seal.id();
        let keys = ring.site_month(&site(1), month(no)).unwrap();
        let [one, two] = bucket(no).map(Result::unwrap);
        ring.retire(&[seen, one, two]).unwrap();
        done(ring.destroy(&[keys.ids.tally, keys.ids.sets], LedgerMark::default(), &()));
        most = most.max(ring.core().unwrap().retired.len());
        for ago in 0..=no.min(7) {
            let retired =
                |result: Result<_, KeysError>| matches!(result, Err(KeysError::Retired { .. }));
            assert!(bucket(no - ago).into_iter().all(retired), "{no} {ago}");
            assert!(retired(ring.seen(day(no - ago)).map(|keys| keys.seal.id())));
        }
    }
    // Five names a month, for nine months and the one that is partly over.
    assert!(most <= 50, "{most}");
}

#[test]
fn marks_are_read_from_the_files_and_nothing_is_changed() {
    use crate::keys::{RegisterWrite, Said, Unwitnessed, Witness, marks};
    struct Four;
    impl Witness for Four {
        fn note(&self, _: &RegisterWrite) -> Result<LedgerMark, Unwitnessed> {
            Ok(LedgerMark { size: 4, root: [4; 32] })
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    assert!(marks(&settings).unwrap().iter().all(|file| file.said == Said::Missing));
    assert!(!settings.dir.exists());
    let (ring, _) = KeyRing::open_witnessed(&settings, None, Arc::new(Four)).unwrap();
    let said = |settings: &Settings| -> Vec<Said> {
        marks(settings).unwrap().into_iter().map(|file| file.said).collect()
    };
    let four = Said::Mark(ring.mark().unwrap());
    let none = Said::Mark(LedgerMark::default());
    assert_eq!(said(&settings), [none, four, four]);
    // The vault of holds counts too.
    ring.hold().unwrap();
    assert_eq!(said(&settings), [none, four, four, none, four, four]);
    drop(ring);
    let path = settings.dir.join("register.a");
    let mut bytes = fs::read(&path).unwrap();
    bytes[75] ^= 1;
    fs::write(&path, &bytes).unwrap();
    fs::remove_file(settings.dir.join("register.b")).unwrap();
    assert_eq!(said(&settings)[..3], [none, Said::Damaged, Said::Missing]);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}
