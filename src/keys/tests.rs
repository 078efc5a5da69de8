//! The keys as a whole: cuts at every step, damage everywhere, files of others, secrets in files.

pub(in crate::keys) mod disk;

mod crash;
mod damage;
mod vault;

use std::collections::BTreeMap;

use self::disk::Disk;
use super::register::FileRegister;
use super::ring::KeyRing;
use super::{KeysError, RegisterError, VaultId};
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

/// A disk with an empty register.
fn disk() -> Disk {
    let disk = Disk::new(2);
    FileRegister::create_sized([disk.file(0), disk.file(1)], VAULT, CHUNK).unwrap();
    disk
}

fn open(disk: &Disk) -> Result<(KeyRing, u32), KeysError> {
    let open = FileRegister::open_chunked([disk.file(0), disk.file(1)], VAULT, CHUNK)?;
    let ring = KeyRing::assemble(Box::new(open.register), open.live, &vek(), None)?;
    Ok((ring, open.repaired))
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
