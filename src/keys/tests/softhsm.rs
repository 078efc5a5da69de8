//! The PKCS#11 root with a real token behind it. SoftHSM reads its configuration from the
//! environment of the process, once; so each test runs in a process of its own, which is this
//! test binary again, asked for this one test.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use self::token::{CONF, LABEL, PIN, SoftHsm};
use super::destroy::{done, filled, victims};
use super::{month, site};
use crate::crypto::Aad;
use crate::keys::{
    Destroyed, HoldNo, KeyFile, KeyRing, KeysError, LedgerMark, PinFault, Pkcs11Fault, Pkcs11Root,
    Pkcs11Settings, Resumed, RootError, RootProvider, Settings, VaultId, VekError, VekId,
};
use crate::model::vocab::Class;

mod killed;
#[allow(dead_code, reason = "shared with the integration tests, which use other parts of it")]
#[path = "../../../tests/it/support/softhsm.rs"]
mod token;

/// Where the token is, in the process of a test.
const TOKEN_DIR: &str = "BLINDTALLY_TEST_TOKEN";

const VEK: VekId = VekId { vault: VaultId([1; 16]), epoch: 7 };

/// This test binary again, for one test.
fn again(test: &str, token: &SoftHsm, more: &[(&str, OsString)]) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "--test-threads=1", test]);
    command.env(CONF, token.conf()).env(TOKEN_DIR, token.dir());
    command.envs(more.iter().map(|(name, value)| (name, value))).output().unwrap()
}

/// Runs `body` with a fresh token, in a process of its own. `test` is the test's whole name.
#[track_caller]
pub(super) fn apart(test: &str, body: impl FnOnce(&SoftHsm)) {
    if let Some(dir) = env::var_os(TOKEN_DIR) {
        return body(&SoftHsm::at(Path::new(&dir)));
    }
    let dir = tempfile::tempdir().unwrap();
    let ended = again(test, &SoftHsm::make(dir.path()), &[]);
    let said = String::from_utf8_lossy(&ended.stdout);
    // A name that is not this test's would run nothing.
    let ran = ended.status.success() && said.contains("1 passed");
    assert!(ran, "{:?}\n{said}{}", ended.status, String::from_utf8_lossy(&ended.stderr));
    assert!(!said.contains(PIN));
}

pub(super) fn root_of(token: &SoftHsm) -> Pkcs11Root {
    Pkcs11Root::new(settings_of(token))
}

fn settings_of(token: &SoftHsm) -> Pkcs11Settings {
    Pkcs11Settings { module: SoftHsm::module(), label: LABEL.into(), pin_file: token.pin_file() }
}

fn vault_in(dir: PathBuf, token: &SoftHsm) -> Settings {
    Settings { pkcs11: Some(settings_of(token)), ..Settings::in_dir(dir) }
}

/// The token with no code of ours between.
fn session() -> Session {
    let module = Pkcs11::new(SoftHsm::module()).unwrap();
    let label = |slot: &_| module.get_token_info(*slot).is_ok_and(|info| info.label() == LABEL);
    let slot = module.get_slots_with_token().unwrap().into_iter().find(label).unwrap();
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
    session
}

#[track_caller]
fn fault<T>(result: Result<T, RootError>) -> Pkcs11Fault {
    match result.err() {
        Some(RootError::Pkcs11 { label, fault }) if label == LABEL => {
            assert!(!fault.to_string().contains(PIN));
            fault
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn vault_fault(settings: &Settings) -> Pkcs11Fault {
    match KeyRing::open(settings).err() {
        Some(KeysError::Root(error) | KeysError::Vek(VekError::Root(error))) => {
            fault::<()>(Err(error))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_wraps_in_living_epochs_only() {
    apart("keys::tests::softhsm::a_token_wraps_in_living_epochs_only", |token| {
        let root = root_of(token);
        let (aad, other) = (Aad::new("test/1").number(7), Aad::new("test/1").number(8));
        assert_eq!(fault(root.wrap(VEK, &aad, &[9; 32])), Pkcs11Fault::NoKey(7));
        for _ in 0..3 {
            root.begin_epoch(VEK).unwrap();
            assert_eq!(token.keys(), 1);
        }
        let wrapped = root.wrap(VEK, &aad, &[9; 32]).unwrap();
        assert_ne!(wrapped, root.wrap(VEK, &aad, &[9; 32]).unwrap());
        assert!(!super::holds(&wrapped, &[9; 4]));
        assert_eq!(root.unwrap(VEK, &aad, &wrapped).unwrap().expose(), &[9; 32]);
        // As a process that starts.
        let fresh = root_of(token);
        assert_eq!(fresh.unwrap(VEK, &aad, &wrapped).unwrap().expose(), &[9; 32]);
        assert_eq!(fault(root.unwrap(VEK, &other, &wrapped)), Pkcs11Fault::NotOpened);
        for at in 1..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 0x10;
            assert_eq!(fault(root.unwrap(VEK, &aad, &changed)), Pkcs11Fault::NotOpened, "{at}");
        }
        for bad in [&wrapped[1..], &wrapped[..60], &[wrapped.as_slice(), b"0"].concat(), b""] {
            assert_eq!(fault(root.unwrap(VEK, &aad, bad)), Pkcs11Fault::OtherRoot);
        }
        for vek in [VekId { epoch: 8, ..VEK }, VekId { vault: VaultId([2; 16]), ..VEK }] {
            assert_eq!(fault(root.unwrap(vek, &aad, &wrapped)), Pkcs11Fault::NoKey(vek.epoch));
            root.begin_epoch(vek).unwrap();
            assert_eq!(fault(root.unwrap(vek, &aad, &wrapped)), Pkcs11Fault::NotOpened);
            root.end_epoch(vek).unwrap();
        }
        assert_eq!(root.unwrap(VEK, &aad, &wrapped).unwrap().expose(), &[9; 32]);
        for _ in 0..2 {
            root.end_epoch(VEK).unwrap();
            assert_eq!(token.keys(), 0);
            assert_eq!(fault(root.unwrap(VEK, &aad, &wrapped)), Pkcs11Fault::NoKey(7));
        }
        root.begin_epoch(VEK).unwrap();
        assert_eq!(fault(root.unwrap(VEK, &aad, &wrapped)), Pkcs11Fault::NotOpened);
    });
}

#[test]
fn a_wrapping_key_never_leaves_the_token() {
    apart("keys::tests::softhsm::a_wrapping_key_never_leaves_the_token", |token| {
        root_of(token).begin_epoch(VEK).unwrap();
        let session = session();
        let id = [[1; 16].as_slice(), &7u64.to_be_bytes()].concat();
        let found = session.find_objects(&[Attribute::Id(id.clone())]).unwrap();
        let [key] = found.as_slice() else { panic!("{found:?}") };
        let asked = [AttributeType::Value, AttributeType::ValueLen];
        let infos = session.get_attribute_info(*key, &asked).unwrap();
        assert!(matches!(infos[0], AttributeInfo::Sensitive), "{infos:?}");
        let said = session.get_attributes(
            *key,
            &[
                AttributeType::Extractable,
                AttributeType::Sensitive,
                AttributeType::Private,
                AttributeType::Token,
                AttributeType::Copyable,
                AttributeType::Label,
                AttributeType::ValueLen,
            ],
        );
        let label = format!("blindtally {} epoch 7", "01".repeat(16));
        let wanted = [
            Attribute::Extractable(false),
            Attribute::Sensitive(true),
            Attribute::Private(true),
            Attribute::Token(true),
            Attribute::Copyable(false),
            Attribute::Label(label.into_bytes()),
            Attribute::ValueLen(32.into()),
        ];
        assert_eq!(said.unwrap(), wanted);
        session.copy_object(*key, &[Attribute::Extractable(true)]).unwrap_err();
        session.update_attributes(*key, &[Attribute::Extractable(true)]).unwrap_err();
        // Neither a twin nor another name, under which it would outlive its epoch.
        session.copy_object(*key, &[Attribute::Id(vec![9])]).unwrap_err();
        session.update_attributes(*key, &[Attribute::Id(vec![9])]).unwrap_err();
        session.update_attributes(*key, &[Attribute::Label(vec![9])]).unwrap_err();
    });
}

/// Keys of our name that somebody brought in: destroying one would prove nothing.
#[test]
fn a_key_from_elsewhere_is_refused() {
    apart("keys::tests::softhsm::a_key_from_elsewhere_is_refused", |token| {
        let (root, aad) = (root_of(token), Aad::new("test/1"));
        // Loads the module.
        root.end_epoch(VEK).unwrap();
        let bring = |epoch: u64| {
            let id = [[1; 16].as_slice(), &epoch.to_be_bytes()].concat();
            let template = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Token(true),
                Attribute::Id(id),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Encrypt(true),
                Attribute::Value(vec![5; 32]),
            ];
            session().create_object(&template).unwrap();
        };
        bring(7);
        assert_eq!(fault(root.begin_epoch(VEK)), Pkcs11Fault::Loose(7));
        let next = VekId { epoch: 8, ..VEK };
        root.begin_epoch(next).unwrap();
        let wrapped = root.wrap(next, &aad, &[9; 32]).unwrap();
        bring(8);
        assert_eq!(fault(root.begin_epoch(next)), Pkcs11Fault::TwoKeys(8));
        assert_eq!(fault(root.unwrap(next, &aad, &wrapped)), Pkcs11Fault::TwoKeys(8));
        root.end_epoch(next).unwrap();
        root.end_epoch(VEK).unwrap();
        assert_eq!(token.keys(), 0, "the end takes whatever has the name");
    });
}

/// Made in the token and kept inside, but with attributes that let somebody keep it by another
/// name: it is not used, and one that is already gone by its name is not taken for destroyed.
#[test]
fn a_key_that_can_be_put_aside_is_refused() {
    apart("keys::tests::softhsm::a_key_that_can_be_put_aside_is_refused", |token| {
        let settings = vault_in(token.dir().join("keys"), token);
        let (ring, _) = KeyRing::open(&settings).unwrap();
        filled(&ring);
        let due = victims(&ring);
        let (vault, root) = (ring.core().unwrap().vault, root_of(token));
        let make = |vek: VekId, more: [Attribute; 2]| {
            let id = [vek.vault.0.as_slice(), &vek.epoch.to_be_bytes()].concat();
            let mut template = vec![
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Token(true),
                Attribute::Id(id),
                Attribute::ValueLen(32.into()),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
            ];
            template.extend(more);
            session().generate_key(&Mechanism::AesKeyGen, &template).unwrap();
        };
        let next = VekId { vault, epoch: 2 };
        for more in [
            [Attribute::Copyable(true), Attribute::Modifiable(false)],
            [Attribute::Copyable(false), Attribute::Modifiable(true)],
        ] {
            make(next, more);
            assert_eq!(fault(root.begin_epoch(next)), Pkcs11Fault::Loose(2));
            root.end_epoch(next).unwrap();
        }
        // As if it had been renamed.
        root.end_epoch(VekId { vault, epoch: 1 }).unwrap();
        let refused = ring.destroy(&due, LedgerMark::default(), &()).err().unwrap();
        assert!(matches!(refused, KeysError::Vek(VekError::GoneBefore(1))), "{refused:?}");
        assert!(!ring.is_destroyed(&due, 1));
    });
}

#[test]
fn a_wrong_pin_is_tried_once() {
    apart("keys::tests::softhsm::a_wrong_pin_is_tried_once", |token| {
        token.write_pin("7301-not-it", 0o600);
        let root = root_of(token);
        assert_eq!(fault(root.begin_epoch(VEK)), Pkcs11Fault::PinRefused);
        token.write_pin(PIN, 0o600);
        assert_eq!(fault(root.begin_epoch(VEK)), Pkcs11Fault::PinRefused, "not tried again");
        let root = root_of(token);
        root.begin_epoch(VEK).unwrap();
        let pin = |fault| Pkcs11Fault::Pin { path: token.pin_file(), fault };
        token.write_pin(PIN, 0o640);
        assert_eq!(fault(root.begin_epoch(VEK)), pin(PinFault::Exposed(0o640)));
        fs::remove_file(token.pin_file()).unwrap();
        assert_eq!(fault(root.begin_epoch(VEK)), pin(PinFault::Missing));
        token.write_pin(&format!("{PIN}\n"), 0o400);
        root.begin_epoch(VEK).unwrap();
        // A short one is refused by its length; that counts as well.
        fs::remove_file(token.pin_file()).unwrap();
        token.write_pin("1", 0o600);
        assert_eq!(fault(root.begin_epoch(VEK)), Pkcs11Fault::PinRefused);
    });
}

#[test]
fn a_token_is_known_by_its_label() {
    apart("keys::tests::softhsm::a_token_is_known_by_its_label", |token| {
        let root = root_of(token);
        root.begin_epoch(VEK).unwrap();
        let label = "blindtally".to_owned();
        let other = Pkcs11Root::new(Pkcs11Settings { label: label.clone(), ..settings_of(token) });
        let refused = other.begin_epoch(VEK).err();
        let Some(RootError::Pkcs11 { label: said, fault: why }) = refused else { panic!() };
        assert_eq!((said, why), (label, Pkcs11Fault::NoToken));
        // SoftHSM finds a new one when it is initialized, which a token that is missing asks for.
        token.init(LABEL);
        other.begin_epoch(VEK).unwrap_err();
        assert_eq!(fault(root.begin_epoch(VEK)), Pkcs11Fault::TwoTokens);
    });
}

/// A module that could not be initialized again stays without, until it can.
#[test]
fn a_module_that_is_not_initialized_is_initialized_again() {
    apart("keys::tests::softhsm::a_module_that_is_not_initialized_is_initialized_again", |token| {
        let root = root_of(token);
        root.begin_epoch(VEK).unwrap();
        // The token is gone, so the module is initialized once more; its configuration is gone
        // as well, so that this fails.
        let moved = [token.tokens(), token.conf()].map(|path| (path.with_extension("away"), path));
        moved.iter().for_each(|(away, path)| fs::rename(path, away).unwrap());
        (0..3).for_each(|_| drop(fault(root.begin_epoch(VEK))));
        moved.iter().for_each(|(away, path)| fs::rename(away, path).unwrap());
        root.begin_epoch(VEK).unwrap();
        // Ended by somebody else in this process.
        Pkcs11::new(SoftHsm::module()).unwrap().finalize().unwrap();
        root.begin_epoch(VEK).unwrap();
        assert_eq!(token.keys(), 1);
    });
}

/// Removed while the vault is open, and connected again.
#[test]
fn a_token_may_go_away_and_come_back() {
    apart("keys::tests::softhsm::a_token_may_go_away_and_come_back", |token| {
        let settings = vault_in(token.dir().join("keys"), token);
        let (ring, _) = KeyRing::open(&settings).unwrap();
        filled(&ring);
        let due = victims(&ring);
        let away = token.dir().join("away");
        fs::rename(token.tokens(), &away).unwrap();
        fs::create_dir(token.tokens()).unwrap();
        let refused = ring.destroy(&due, LedgerMark::default(), &()).err().unwrap();
        let KeysError::Vek(VekError::Root(refused)) = refused else { panic!("{refused:?}") };
        let gone = fault::<()>(Err(refused));
        assert!(matches!(gone, Pkcs11Fault::NoToken | Pkcs11Fault::Gone), "{gone:?}");
        assert!(!ring.is_destroyed(&due, 1));
        // Keys that are in memory go on, and new ones are made.
        ring.journal().unwrap();
        ring.bucket(&site(2), Class::Detections, 6).unwrap();
        fs::remove_dir(token.tokens()).unwrap();
        fs::rename(&away, token.tokens()).unwrap();
        let destroyed = done(ring.destroy(&due, LedgerMark::default(), &()));
        assert_eq!((destroyed.old_epoch, destroyed.new_epoch), (1, 2));
        assert_eq!(token.keys(), 1);
        // A start without it is refused, and changes nothing.
        drop(ring);
        let before = files(&settings.dir);
        fs::rename(token.tokens(), &away).unwrap();
        fs::create_dir(token.tokens()).unwrap();
        let gone = vault_fault(&settings);
        assert!(matches!(gone, Pkcs11Fault::NoToken | Pkcs11Fault::Gone), "{gone:?}");
        assert!(files(&settings.dir) == before);
        fs::remove_dir(token.tokens()).unwrap();
        fs::rename(&away, token.tokens()).unwrap();
        let (ring, _) = KeyRing::open(&settings).unwrap();
        assert!(ring.is_destroyed(&due, 1));
    });
}

/// The files of a keys directory and their bytes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn put_back(files: &[(PathBuf, Vec<u8>)]) {
    files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
}

/// A whole life, and the attack that a key file does not withstand: register and VEK home copied
/// before a destruction, and put back after it.
fn live(settings: &Settings) -> (Destroyed, Result<(), KeysError>) {
    let (ring, opened) = KeyRing::open(settings).unwrap();
    assert!(opened.first_start);
    filled(&ring);
    let secrets = ring.secrets();
    drop(ring);
    let (ring, opened) = KeyRing::open(settings).unwrap();
    assert_eq!((opened.first_start, opened.resumed), (false, Resumed::Nothing));
    assert_eq!(ring.secrets(), secrets);
    let (bucket, aad) = (ring.bucket(&site(0), Class::Records, 5).unwrap(), Aad::new("test/1"));
    let (id, sealed) = (bucket.id(), bucket.seal(&aad, b"row"));
    let turned = done(ring.turn_over(LedgerMark::default(), &()));
    assert_eq!((turned.old_epoch, turned.new_epoch), (1, 2));
    let copied = files(&settings.dir);
    let destroyed = done(ring.destroy(&victims(&ring), LedgerMark::default(), &()));
    assert!(ring.is_destroyed(&[id], 2));
    let survivors = ring.secrets();
    drop(ring);
    let today = files(&settings.dir);
    put_back(&copied);
    let attack = KeyRing::open(settings).map(|(ring, _)| {
        assert_eq!(ring.by_id(id).unwrap().open(&aad, &sealed).unwrap(), b"row");
    });
    put_back(&today);
    let (ring, opened) = KeyRing::open(settings).unwrap();
    assert_eq!((ring.secrets(), opened.resumed), (survivors, Resumed::Nothing));
    assert!(ring.site_month(&site(2), month(1)).is_ok());
    (destroyed, attack)
}

#[test]
fn a_copied_vek_home_opens_nothing_after_a_destruction() {
    apart("keys::tests::softhsm::a_copied_vek_home_opens_nothing_after_a_destruction", |token| {
        let settings = vault_in(token.dir().join("keys"), token);
        let (destroyed, attack) = live(&settings);
        assert!(!destroyed.home_copy_opens, "as the certificate will say");
        let Err(KeysError::Vek(VekError::Root(refused))) = attack else { panic!("{attack:?}") };
        assert_eq!(fault::<()>(Err(refused)), Pkcs11Fault::NoKey(2));
        assert!(!settings.root_key.exists(), "no root key in a file");
        assert_eq!(token.keys(), 1);
    });
}

#[test]
fn a_copied_vek_home_opens_with_a_key_file_and_the_result_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (destroyed, attack) = live(&Settings::in_dir(dir.path().join("keys")));
    assert!(destroyed.home_copy_opens, "as the certificate will say");
    attack.unwrap();
}

#[test]
fn the_two_roots_do_not_open_each_other() {
    apart("keys::tests::softhsm::the_two_roots_do_not_open_each_other", |token| {
        let in_token = vault_in(token.dir().join("keys"), token);
        drop(KeyRing::open(&in_token).unwrap());
        let as_file = Settings { pkcs11: None, ..in_token.clone() };
        let refused = KeyRing::open(&as_file).err().unwrap();
        assert!(matches!(refused, KeysError::Root(RootError::Missing(_))), "{refused}");
        KeyFile::load_or_create(&as_file.root_key).unwrap();
        let refused = KeyRing::open(&as_file).err().unwrap();
        assert!(matches!(refused, KeysError::Vek(VekError::Root(RootError::Other(_)))));
        let by_file = Settings::in_dir(token.dir().join("other"));
        drop(KeyRing::open(&by_file).unwrap());
        let as_token = vault_in(by_file.dir, token);
        assert_eq!(vault_fault(&as_token), Pkcs11Fault::OtherRoot);
        KeyRing::open(&in_token).unwrap();
    });
}

#[test]
fn the_hold_vault_has_keys_of_its_own_in_the_token() {
    apart("keys::tests::softhsm::the_hold_vault_has_keys_of_its_own_in_the_token", |token| {
        let settings = vault_in(token.dir().join("keys"), token);
        let (ring, _) = KeyRing::open(&settings).unwrap();
        filled(&ring);
        let bucket = ring.bucket(&site(0), Class::Records, 5).unwrap();
        let aad = Aad::new("test/1");
        let (id, sealed) = (bucket.id(), bucket.seal(&aad, b"row"));
        let hold = ring.hold().unwrap();
        let moved = ring.move_to_hold(&hold, id, HoldNo(1)).unwrap();
        assert_eq!(token.keys(), 2);
        done(ring.destroy(&[id], LedgerMark::default(), &()));
        drop((hold, ring));
        let (ring, _) = KeyRing::open(&settings).unwrap();
        let hold = ring.hold_existing().unwrap().unwrap();
        match hold.held_key(moved).unwrap() {
            crate::keys::HeldKey::Seal(key) => {
                assert_eq!(key.open(&aad, &sealed).unwrap(), b"row");
            }
            _ => panic!("another key"),
        }
        let destroyed = done(hold.destroy(&[moved], LedgerMark::default(), &()));
        assert!(!destroyed.home_copy_opens);
        assert_eq!(token.keys(), 2);
    });
}
