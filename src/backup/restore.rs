//! Putting a backup back, with the server stopped: everything is checked before anything is
//! written, and again while it is written. Keys and ledger must be there already; they are looked
//! at and not changed. What was destroyed since the backup goes at the next start.
//!
//! A file says that the directory is not whole until the last one is in its place, so that a cut
//! one is neither started nor taken for a full directory: the same command begins it again.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::{DATA, MANIFEST, copy};
use crate::crypto::sha256;
use crate::keys::LedgerMark;
use crate::keys::{self, KeysError};
use crate::ledger::verify::{self, Against};
use crate::ledger::{
    self, Digest, ENTRIES, Epoch, Event, Recorded, VERIFIER_KEY, Vault, VerifierKey, Word,
};
use crate::model::ids::SiteId;
use crate::model::time::Timestamp;
use crate::model::vocab::Class;
use crate::store::{RESTORING, Store, StoreError};
use crate::wire::backup::{BadManifest, MANIFEST_BYTES_MAX, Manifest};

/// Why a backup cannot be put back: each a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A file operation.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The manifest is of another version.
    #[error("{} is a backup of another format; use the program that made it", .0.display())]
    Format(PathBuf),
    /// The manifest is none.
    #[error("{} is damaged or no manifest of a backup; use another backup", .0.display())]
    Manifest(PathBuf),
    /// A file of the backup is not there.
    #[error("{} is missing from the backup; use another backup", .0.display())]
    Missing(PathBuf),
    /// A file of the backup is not what the manifest says.
    #[error("{} was changed after the backup was made; use another backup", .0.display())]
    Changed(PathBuf),
    /// A file that the manifest does not name.
    #[error("{} does not belong to the backup; remove it, or use another backup", .0.display())]
    Stranger(PathBuf),
    /// Something is there already.
    #[error(
        "{} is not empty; name an empty data directory, or move what is there away",
        .0.display()
    )]
    NotEmpty(PathBuf),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// There are no keys.
    #[error("{} holds no key register; put back the keys first", .0.display())]
    NoKeys(PathBuf),
    /// The keys of another vault.
    #[error(
        "the backup belongs to vault {backup} and the keys to vault {keys}; put back the keys that \
         belong to it"
    )]
    OtherVault {
        /// Of the backup.
        backup: Vault,
        /// Of the keys.
        keys: Vault,
    },
    /// There is no ledger.
    #[error("{} holds no ledger that can be read; put back the ledger first", .0.display())]
    NoLedger(PathBuf),
    /// The ledger does not agree.
    #[error("the ledger in {}: {what}; put back the newest ledger", .dir.display())]
    Ledger {
        /// Its directory.
        dir: PathBuf,
        /// The first finding.
        what: String,
    },
    /// The manifest is not the one that the ledger knows.
    #[error(
        "the ledger knows of a backup {0}, and its manifest was another one: it was changed; use \
         another backup"
    )]
    OtherManifest(u64),
    /// The ledger does not know the backup.
    #[error("the ledger knows of no backup {0} that was made; put back the newest ledger")]
    Unknown(u64),
    /// What was put back cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |source| RestoreError::Io { what, path, source }
}

/// Where everything belongs.
pub struct Places<'a> {
    /// The data directory.
    pub data: &'a Path,
    /// The keys.
    pub keys: &'a keys::Settings,
    /// The ledger.
    pub ledger: &'a ledger::Settings,
}

/// Records that a hold keeps and the backup cannot bring back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRecords {
    /// The hold.
    pub hold: u64,
    /// The site.
    pub site: SiteId,
    /// The class.
    pub class: Word,
    /// Its month or day.
    pub epoch: Epoch,
}

/// What was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutBack {
    /// What it is.
    pub manifest: Manifest,
    /// When the ledger was written last: the server ran at least until then.
    pub alive_until: Timestamp,
    /// Records on hold that were moved to hold storage after the backup was begun: the start says
    /// which of them are lost.
    pub lost: Vec<LostRecords>,
    /// Whether the register is older than the backup, so that the start may refuse it.
    pub register_behind: bool,
}

/// Checks every file of a backup against its manifest.
///
/// # Errors
/// When a file is missing, changed or too many, or the manifest is none.
pub fn check(backup: &Path) -> Result<Manifest, RestoreError> {
    Ok(manifest_of(backup)?.0)
}

/// As [`check`], with the SHA-256 of the manifest.
pub(super) fn manifest_of(backup: &Path) -> Result<(Manifest, [u8; 32]), RestoreError> {
    let path = backup.join(MANIFEST);
    let size = fs::metadata(&path).map_err(at("read", &path))?.len();
    if size > MANIFEST_BYTES_MAX as u64 {
        return Err(RestoreError::Manifest(path));
    }
    let text = fs::read(&path).map_err(at("read", &path))?;
    let manifest = Manifest::parse(&text).map_err(|bad| match bad {
        BadManifest::Format => RestoreError::Format(path.clone()),
        BadManifest::Form => RestoreError::Manifest(path.clone()),
    })?;
    let data = backup.join(DATA);
    let named: BTreeSet<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    for entry in fs::read_dir(&data).map_err(at("read", &data))? {
        let entry = entry.map_err(at("read", &data))?;
        if !entry.file_name().to_str().is_some_and(|name| named.contains(name)) {
            return Err(RestoreError::Stranger(entry.path()));
        }
    }
    for file in &manifest.files {
        let path = data.join(&file.name);
        let found = match copy::digest(&path, &file.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RestoreError::Missing(path));
            }
            found => found.map_err(at("read", &path))?,
        };
        if found != *file {
            return Err(RestoreError::Changed(path));
        }
    }
    Ok((manifest, sha256(&[&text])))
}

/// Puts a backup back into an empty data directory.
///
/// # Errors
/// [`RestoreError`]; unless it says that the same command is to be run again, nothing was written.
pub fn restore(backup: &Path, places: &Places<'_>) -> Result<PutBack, RestoreError> {
    admit(places.data)?;
    let (manifest, digest) = manifest_of(backup)?;
    let keys_dir = &places.keys.dir;
    let head = keys::register_head(places.keys)?;
    let head = head.ok_or_else(|| RestoreError::NoKeys(keys_dir.clone()))?;
    if head.vault.0 != manifest.vault.0 {
        let (backup, keys) = (manifest.vault, Vault(head.vault.0));
        return Err(RestoreError::OtherVault { backup, keys });
    }
    let (alive_until, lost) = ledger_of(places, &manifest, digest)?;
    put(backup, places.data, &manifest)?;
    let register_behind = head.generation < manifest.register_generation;
    Ok(PutBack { manifest, alive_until, lost, register_behind })
}

/// Whether a directory may be written to: it is not there, empty, or was being put back.
fn admit(data: &Path) -> Result<(), RestoreError> {
    if data.join(RESTORING).exists() {
        return Ok(());
    }
    let mut entries = match fs::read_dir(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(at("read", data))?,
    };
    // The root of an ext file system has one entry that is nobody's.
    let empty = entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lost+found"));
    if empty { Ok(()) } else { Err(RestoreError::NotEmpty(data.to_owned())) }
}

/// The ledger must be whole and as long as the backup knew it, and know the backup. Answers the
/// time of its last entry, and which records on hold were moved since the backup.
fn ledger_of(
    places: &Places<'_>,
    manifest: &Manifest,
    digest: [u8; 32],
) -> Result<(Timestamp, Vec<LostRecords>), RestoreError> {
    let dir = &places.ledger.dir;
    let none = || RestoreError::NoLedger(dir.clone());
    let key = fs::read_to_string(dir.join(VERIFIER_KEY)).map_err(|_| none())?;
    let key = VerifierKey::parse(&key).ok_or_else(none)?;
    let own = LedgerMark { size: manifest.ledger_size, root: manifest.ledger_root.0 };
    let second = places.ledger.second_copy.as_deref().filter(|path| path.exists());
    let against = Against { key: &key, second_copy: second, marks: &[own] };
    let report = verify::verify(dir, &against).map_err(|_| none())?;
    // A server that was killed may leave lines that nothing signs; they are no entries.
    let signed = report.signed().ok_or_else(|| {
        let what = report.findings.iter().map(ToString::to_string).next().unwrap_or_default();
        RestoreError::Ledger { dir: dir.clone(), what }
    })?;
    let signed = usize::try_from(signed).unwrap_or(usize::MAX);
    let entries = dir.join(ENTRIES);
    let file = fs::File::open(&entries).map_err(at("read", &entries))?;
    let (mut last, mut known, mut lost) = (Timestamp(0), None, Vec::new());
    for line in BufReader::new(file).split(b'\n').take(signed) {
        let line = line.map_err(at("read", &entries))?;
        let Ok(entry) = Recorded::decode(&line) else { continue };
        last = entry.time;
        if let (Event::BackupResult { manifest: found, .. }, true) =
            (&entry.event, entry.operation == manifest.operation)
        {
            known = *found;
        }
        take_lost(&mut lost, &entry, manifest);
    }
    match known {
        Some(known) if known == Digest(digest) => Ok((last, lost)),
        Some(_) => Err(RestoreError::OtherManifest(manifest.operation)),
        None => Err(RestoreError::Unknown(manifest.operation)),
    }
}

/// Records that were moved have no key any more but that of their hold, and the backup has them
/// under the one from before.
fn take_lost(lost: &mut Vec<LostRecords>, entry: &Recorded, manifest: &Manifest) {
    match &entry.event {
        Event::HoldMoved { hold, site, class, epoch, .. }
            if entry.number >= manifest.ledger_size =>
        {
            let of = Class::from_name(class.as_str().as_bytes());
            if matches!(of, Some(Class::Records | Class::Detections)) {
                let (site, class) = (site.clone(), class.clone());
                lost.push(LostRecords { hold: *hold, site, class, epoch: *epoch });
            }
        }
        Event::HoldReleased { hold, .. } => lost.retain(|one| one.hold != *hold),
        _ => {}
    }
}

fn put(backup: &Path, data: &Path, manifest: &Manifest) -> Result<(), RestoreError> {
    copy::make_dir(data).map_err(at("make", data))?;
    let restoring = data.join(RESTORING);
    if restoring.exists() {
        // An attempt before this one was cut: what it wrote goes.
        for entry in fs::read_dir(data).map_err(at("read", data))? {
            let path = entry.map_err(at("read", data))?.path();
            if path != restoring && path.is_file() {
                fs::remove_file(&path).map_err(at("remove", &path))?;
            }
        }
    }
    copy::write(&restoring, b"").map_err(at("write", &restoring))?;
    copy::sync_dir(data).map_err(at("sync", data))?;
    let from = backup.join(DATA);
    for file in &manifest.files {
        let path = data.join(&file.name);
        let written = copy::copy(&from, data, &file.name).map_err(at("write", &path))?;
        if written != *file {
            return Err(RestoreError::Changed(from.join(&file.name)));
        }
    }
    copy::sync_dir(data).map_err(at("sync", data))?;
    Store::look(data)?;
    fs::remove_file(&restoring).map_err(at("remove", &restoring))?;
    copy::sync_dir(data).map_err(at("sync", data))
}
