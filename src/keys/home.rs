//! The files of a vault: the lock, the first start, and opening what is there.
//!
//! A first start makes three files (VEK home, both register copies). Each is written whole under a
//! name beside its own (`….new`), all are synced with their directories, and only then renamed. So
//! if any of them has its own name, the others are whole under one of their two names, and a start
//! cut short is finished by the next; if none has, nothing was promised and the start begins again.
//! A file that has neither name is lost, and that is refused. (Renaming onto a name that nothing
//! had leaves no old bytes behind: there were none.)

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::medium::DiskFile;
use super::register::FileRegister;
use super::root::RootProvider;
use super::slot::Copy;
use super::vek::VekHome;
use super::{KeysError, Settings, VaultId};
use crate::crypto::{Secret, random_bytes};

/// Whether a vault is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The very first start.
    Nothing,
    /// All of its files.
    Vault,
}

/// The name beside `path`.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// A file of the same name in a directory beside `path`.
pub(super) fn beside_dir(path: &Path, dir: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    path.parent().unwrap_or(Path::new("")).join(dir).join(name)
}

/// Makes the directory of a file if need be.
pub(super) fn make_dir_of(path: &Path) -> Result<(), KeysError> {
    path.parent().map_or(Ok(()), make_dir)
}

/// Whether any file of a vault is there, finished or not.
pub(super) fn any(settings: &Settings) -> Result<bool, KeysError> {
    for path in files(settings) {
        for path in [beside(&path), path] {
            if path.try_exists().map_err(at("look for", &path))? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether there is a vault: any of its files has its own name. A caller that has data and finds
/// none must not go on: the first opening would make a new one.
///
/// # Errors
/// When a file cannot be looked for.
pub fn exists(settings: &Settings) -> Result<bool, KeysError> {
    for path in files(settings) {
        if path.try_exists().map_err(at("look for", &path))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn make_dir(dir: &Path) -> Result<(), KeysError> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.and_then(|()| sync_parent(dir)).map_err(at("make the keys directory", dir))
}

/// Makes a name in a directory durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// The lock of a keys directory, for as long as this lives.
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would not do: a process that another thread is just starting has the file
        // as well, until it runs its own program.
        let _ = self.0.unlock();
    }
}

/// Makes the keys directory if need be, and takes its lock.
pub(super) fn lock(settings: &Settings) -> Result<Lock, KeysError> {
    let dir = &settings.dir;
    make_dir(dir)?;
    let path = dir.join("keys.lock");
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(KeysError::Locked(dir.clone())),
        Err(TryLockError::Error(source)) => Err(at("lock", &path)(source)),
    }
}

/// Looks for the vault's files, and finishes a first start that was cut short after its promise.
pub(super) fn find(settings: &Settings) -> Result<Found, KeysError> {
    let files = files(settings);
    let mut there = [false; 3];
    for (there, path) in there.iter_mut().zip(&files) {
        *there = path.try_exists().map_err(at("look for", path))?;
    }
    if there == [false; 3] {
        return Ok(Found::Nothing);
    }
    for (path, _) in files.iter().zip(there).filter(|(_, there)| !there) {
        let new = beside(path);
        if !new.try_exists().map_err(at("look for", &new))? {
            return Err(KeysError::Missing(path.clone()));
        }
        fs::rename(&new, path).map_err(at("rename", &new))?;
    }
    // Also where nothing was renamed now: the names may be younger than the last sync.
    for path in &files {
        sync_parent(path).map_err(at("sync the directory of", path))?;
    }
    Ok(Found::Vault)
}

/// First start: a vault id, a VEK and an empty register.
pub(super) fn create(settings: &Settings, root: &dyn RootProvider) -> Result<(), KeysError> {
    let files = files(settings);
    let open = |path: &Path| -> Result<DiskFile, KeysError> {
        let new = beside(path);
        let mut options = OpenOptions::new();
        // What an earlier attempt left here never wrapped anything that was promised.
        let options = options.read(true).write(true).create(true).truncate(true).mode(0o600);
        options.open(&new).map(DiskFile).map_err(at("make", &new))
    };
    let vault = VaultId(random_bytes());
    VekHome::create(open(&files[0])?, vault, root, &Secret::random())?;
    FileRegister::create([open(&files[1])?, open(&files[2])?], vault)?;
    for path in &files {
        sync_parent(path).map_err(at("sync the directory of", path))?;
    }
    for path in &files {
        fs::rename(beside(path), path).map_err(at("rename", path))?;
    }
    files.iter().try_for_each(|path| sync_parent(path).map_err(at("sync the directory of", path)))
}

/// Opens the VEK home.
pub(super) fn open_vek(settings: &Settings) -> Result<VekHome<DiskFile>, KeysError> {
    Ok(VekHome::open(open_file(&settings.vek_home)?)?)
}

/// Opens both copies of the register, A first.
pub(super) fn open_register(settings: &Settings) -> Result<[DiskFile; 2], KeysError> {
    let [_, a, b] = files(settings);
    Ok([open_file(&a)?, open_file(&b)?])
}

/// Opens a file of the vault.
pub(super) fn open_file(path: &Path) -> Result<DiskFile, KeysError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.map(DiskFile).map_err(at("open", path))
}

/// VEK home, register A, register B.
pub(super) fn files(settings: &Settings) -> [PathBuf; 3] {
    let [a, b] = Copy::BOTH.map(|copy| settings.dir.join(copy.file()));
    [settings.vek_home.clone(), a, b]
}

/// Names the file in an error.
pub(super) fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeysError {
    let path = path.to_owned();
    move |source| KeysError::Io { what, path, source }
}
