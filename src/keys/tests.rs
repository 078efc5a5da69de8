//! The keys as a whole: cuts at every step, damage everywhere, files of others, secrets in files.

pub(crate) mod disk;
pub(in crate::keys) mod hsm;

mod copies;
mod crash;
mod cut;
mod damage;
mod destroy;
mod device;
mod erasure;
mod held;
mod hold;
mod randomness;
mod sentences;
mod softhsm;
mod vault;

use std::collections::BTreeMap;

use std::sync::Arc;

use self::disk::Disk;
use self::hsm::OneKey;
use super::copies::Remote;
use super::opening::{Opened, Parts};
use super::register::FileRegister;
use super::ring::KeyRing;
use super::vek::VekHome;
use super::witness::NoWitness;
use super::{KeysError, RegisterError, RootProvider, Settings, VaultId};
use crate::crypto::Secret;
use crate::model::ids::{KeyId, SiteId};
use crate::model::time::Month;

const VAULT: VaultId = VaultId([7; 16]);
/// Small, so that growing is part of every test.
const CHUNK: u32 = 8;

fn vek() -> Secret {
    Secret::take(&mut [0x3c; 32]).unwrap()
}

fn site(no: u8) -> SiteId {
    SiteId::parse(format!("SITE-{no}").as_bytes()).unwrap()
}

fn month(no: u8) -> Month {
    Month(24_312 + u32::from(no))
}

/// The files of a disk: register A, register B, VEK home, a copy off the host.
const HOME: usize = 2;
const OFF: usize = 3;

/// A disk with an empty register and a VEK home.
fn disk() -> Disk {
    disk_under(&OneKey, CHUNK)
}

fn disk_under(root: &dyn RootProvider, slots: u32) -> Disk {
    let disk = Disk::new(4);
    FileRegister::create_sized([disk.file(0), disk.file(1)], VAULT, slots).unwrap();
    VekHome::create(disk.file(HOME), VAULT, root, &vek()).unwrap();
    disk
}

fn parts(disk: &Disk, root: Arc<dyn RootProvider>) -> Parts {
    Parts {
        home: Box::new(disk.file(HOME)),
        register: [Box::new(disk.file(0)), Box::new(disk.file(1))],
        copies: Vec::new(),
        chunk: CHUNK,
        root,
        witness: Arc::new(NoWitness),
        settings: Settings::in_dir("none"),
        lock: None,
    }
}

/// A copy off the host that is a file of the same disk.
fn off_host(disk: &Disk) -> Remote {
    let (disk, looked) = (disk.clone(), disk.clone());
    let open = move || {
        let file = disk.reach(OFF)?;
        Ok(Box::new(file) as Box<dyn super::medium::Medium>)
    };
    let look = Box::new(move || looked.identity(OFF));
    Remote { path: "off".into(), open: Box::new(open), look }
}

/// With a copy off the host.
fn open_under(disk: &Disk, root: Arc<dyn RootProvider>) -> Result<(KeyRing, Opened), KeysError> {
    let parts = parts(disk, root);
    KeyRing::from_parts(Parts { copies: vec![off_host(disk)], ..parts })
}

fn open(disk: &Disk) -> Result<(KeyRing, u32), KeysError> {
    let (ring, opened) = KeyRing::from_parts(parts(disk, Arc::new(OneKey)))?;
    Ok((ring, opened.repaired))
}

type Secrets = BTreeMap<KeyId, [u8; 32]>;

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// Everything behind the headers, which differ by their letter.
fn slots(bytes: &[u8]) -> &[u8] {
    &bytes[super::slot::HEADER_BYTES..]
}

fn register_error(result: Result<(KeyRing, u32), KeysError>) -> RegisterError {
    match result {
        Err(KeysError::Register(error)) => error,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it opened"),
    }
}
