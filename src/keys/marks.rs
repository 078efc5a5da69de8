//! The ledger's marks as they stand in clear in the files of a vault. They are read without the
//! root key and without a lock, and nothing is changed: so a start can check the ledger before it
//! opens the keys, which may write, and an auditor can check a copy of the files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::home::{any, at, files, lock};
use super::medium::DiskFile;
use super::slot::{Copy, HEADER_BYTES, Header, HeaderRead};
use super::vek::{LedgerMark, VekHome};
use super::{KeysError, Settings, VaultId, VekError};

/// What a file says of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Size and root; zero before the first entry.
    Mark(LedgerMark),
    /// The file is not there.
    Missing,
    /// The part of the file that says it is torn, damaged or another file's.
    Damaged,
}

/// A file of a vault, and what it says of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMark {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub said: Said,
}

/// What VEK home and both copies of the register say, and those of the vault of holds where there
/// is one. A file that says nothing is no error here; opening the keys decides what it means.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn marks(settings: &Settings) -> Result<Vec<FileMark>, KeysError> {
    let mut found = marks_of(settings)?;
    let hold = settings.of_hold();
    if any(&hold)? {
        found.extend(marks_of(&hold)?);
    }
    Ok(found)
}

/// How far a vault is, by the newer of its register's two copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// The vault.
    pub vault: VaultId,
    /// The register's generation.
    pub generation: u64,
    /// The VEK epoch that wraps it.
    pub vek_epoch: u64,
}

/// How far the vaults are, that of holds included where there is one. A vault whose headers are
/// both missing or damaged has no place in the answer.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn stands(settings: &Settings) -> Result<Vec<Stand>, KeysError> {
    let mut stands = Vec::new();
    for settings in [settings.clone(), settings.of_hold()] {
        let [_, a, b] = files(&settings);
        let headers = [header(Copy::A, &a)?, header(Copy::B, &b)?];
        let newest = headers.into_iter().flatten().flatten().max_by_key(|header| header.generation);
        stands.extend(newest.map(|header| Stand {
            vault: header.vault,
            generation: header.generation,
            vek_epoch: header.vek_epoch,
        }));
    }
    Ok(stands)
}

fn marks_of(settings: &Settings) -> Result<Vec<FileMark>, KeysError> {
    let [home, a, b] = files(settings);
    let said = [vek_home(&home)?, register(Copy::A, &a)?, register(Copy::B, &b)?];
    Ok([home, a, b].into_iter().zip(said).map(|(path, said)| FileMark { path, said }).collect())
}

fn open(path: &Path) -> Result<Option<File>, KeysError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at("open", path)(error)),
    }
}

fn vek_home(path: &Path) -> Result<Said, KeysError> {
    let Some(file) = open(path)? else { return Ok(Said::Missing) };
    match VekHome::open(DiskFile(file)) {
        Ok(home) => Ok(Said::Mark(home.ledger())),
        Err(VekError::Io(error)) => Err(at("read", path)(error)),
        Err(_) => Ok(Said::Damaged),
    }
}

fn register(copy: Copy, path: &Path) -> Result<Said, KeysError> {
    Ok(match header(copy, path)? {
        None => Said::Missing,
        Some(None) => Said::Damaged,
        Some(Some(header)) => Said::Mark(header.ledger),
    })
}

/// The header of a copy, if the file is there; inside, if the header is good.
fn header(copy: Copy, path: &Path) -> Result<Option<Option<Header>>, KeysError> {
    let Some(file) = open(path)? else { return Ok(None) };
    let mut page = Vec::with_capacity(HEADER_BYTES);
    file.take(HEADER_BYTES as u64).read_to_end(&mut page).map_err(at("read", path))?;
    Ok(Some(match Header::parse(copy, &page) {
        HeaderRead::Good(header) => Some(header),
        _ => None,
    }))
}

/// What the register says of itself in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterHead {
    /// The vault.
    pub vault: VaultId,
    /// One more with each write.
    pub generation: u64,
}

/// What the register says of itself; `None` where neither of its files says anything. It belongs to
/// nobody else meanwhile.
///
/// # Errors
/// When a process has the keys, or a file is there and cannot be read.
pub fn register_head(settings: &Settings) -> Result<Option<RegisterHead>, KeysError> {
    let [_, a, b] = files(settings);
    if !any(settings)? {
        return Ok(None);
    }
    let _lock = lock(settings)?;
    let mut newest: Option<RegisterHead> = None;
    for (copy, path) in [(Copy::A, &a), (Copy::B, &b)] {
        let Some(Some(header)) = header(copy, path)? else { continue };
        let head = RegisterHead { vault: header.vault, generation: header.generation };
        newest = newest.filter(|known| known.generation >= head.generation).or(Some(head));
    }
    Ok(newest)
}
