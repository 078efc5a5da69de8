//! Putting the register back from a copy off the host, when both of its files are gone.
//!
//! Both files are written whole beside their places, synced, and then renamed, A first. A restore
//! cut short before the first rename begins again; after it, it only finishes the second.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::home::{self, at, sync_parent};
use super::medium::{DiskFile, Medium, read_all};
use super::settle::Image;
use super::slot::{Copy, HEADER_BYTES, Header, SLOT_BYTES};
use super::vek::LedgerMark;
use super::{CopyFault, KeysError, Settings};

/// What was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The generation of the copy: writes after it are lost, and with them the keys they made.
    pub generation: u64,
    /// The VEK epoch that wraps it.
    pub vek_epoch: u64,
    /// The ledger's mark in it.
    pub mark: LedgerMark,
}

/// Makes register.a and register.b anew from a copy off the host.
///
/// # Errors
/// When the keys are in use, a file of the register is there, the copy is damaged or of another
/// vault, or the VEK home does not hold the VEK that wraps it: then the copy is from before a
/// destruction, and nothing will ever open it.
pub fn restore(settings: &Settings, copy: &Path) -> Result<Restored, KeysError> {
    let _lock = home::lock(settings)?;
    let vek_home = home::open_vek(settings)?;
    let [_, a, b] = home::files(settings);
    let there = [&a, &b].map(|path| path.try_exists().map_err(at("look for", path)));
    let [there_a, there_b] = there;
    let (there_a, there_b) = (there_a?, there_b?);
    let new_b = aside(&b);
    let half = there_a && !there_b && new_b.try_exists().map_err(at("look for", &new_b))?;
    if (there_a || there_b) && !half {
        return Err(KeysError::Exists(if there_a { a } else { b }));
    }
    let (bytes, header) = read(copy)?;
    if header.vault != vek_home.vault() {
        return Err(KeysError::Copy { path: copy.to_owned(), fault: CopyFault::Foreign });
    }
    if !vek_home.holds(header.vek_epoch) {
        let (register, home) = (header.vek_epoch, vek_home.epoch());
        return Err(KeysError::VekEpoch { register, home });
    }
    if !half {
        for (letter, path) in [(Copy::A, &a), (Copy::B, &b)] {
            write(&aside(path), letter, &header, &bytes).map_err(at("write", path))?;
        }
        fs::rename(aside(&a), &a).map_err(at("rename", &a))?;
    }
    fs::rename(&new_b, &b).map_err(at("rename", &b))?;
    sync_parent(&b).map_err(at("sync the directory of", &b))?;
    let Header { generation, vek_epoch, ledger: mark, .. } = header;
    Ok(Restored { generation, vek_epoch, mark })
}

/// The copy's bytes and header, if it is whole.
fn read(copy: &Path) -> Result<(Vec<u8>, Header), KeysError> {
    let file = File::open(copy).map_err(at("open", copy))?;
    let bad = |fault| KeysError::Copy { path: copy.to_owned(), fault };
    let medium = DiskFile(file);
    let bytes = read_all(&medium).map_err(at("read", copy))?;
    let image = Image::read(Copy::Off, &medium).map_err(|_| bad(CopyFault::Foreign))?;
    match image.whole() {
        Some(header) => Ok((bytes, header.clone())),
        None if image.header().is_none() => Err(bad(CopyFault::Foreign)),
        None => Err(bad(CopyFault::NotKept)),
    }
}

/// Beside the register, under a name that no start takes for a file of a first start.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".restore");
    PathBuf::from(name)
}

fn write(path: &Path, letter: Copy, header: &Header, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    // Overwritten in place, if an attempt before left one.
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = DiskFile(options.open(path)?);
    let end = HEADER_BYTES + header.slots as usize * SLOT_BYTES;
    file.write_at(0, &header.encode(letter))?;
    file.write_at(HEADER_BYTES as u64, bytes.get(HEADER_BYTES..end).unwrap_or_default())?;
    file.sync()?;
    sync_parent(path)
}
