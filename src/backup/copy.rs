//! Files of a backup: copied, synced, and digested on the way.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::crypto::Sha256;
use crate::engine::backup::Lease;
use crate::ledger::Digest;
use crate::wire::backup::FileDoc;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// The size and the digest of a file.
///
/// # Errors
/// What the system said.
pub fn digest(path: &Path, name: &str) -> io::Result<FileDoc> {
    read(path, name, |_| Ok(()))
}

/// Copies a file into a directory; the copy is on the disk when this returns.
///
/// # Errors
/// What the system said.
pub fn copy(from: &Path, to: &Path, name: &str) -> io::Result<FileDoc> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = options.open(to.join(name))?;
    let doc = read(&from.join(name), name, |bytes| out.write_all(bytes))?;
    out.sync_all()?;
    Ok(doc)
}

/// As [`copy()`], of a file that a destruction may want to be gone: it stops at the next piece
/// then.
///
/// # Errors
/// What the system said, or that the copying was called off.
pub fn copy_leased(lease: &Lease, from: &Path, to: &Path, name: &str) -> io::Result<FileDoc> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = options.open(to.join(name))?;
    let doc = {
        // While it is open it is not gone, whether it has a name or not.
        let reading = lease.read()?;
        read(&from.join(name), name, |bytes| {
            reading.goes_on()?;
            out.write_all(bytes)
        })?
    };
    out.sync_all()?;
    Ok(doc)
}

fn read(
    path: &Path,
    name: &str,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<FileDoc> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    let (mut hash, mut total) = (Sha256::default(), 0);
    loop {
        let read = file.read(&mut piece)?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
        take(bytes)?;
        total += bytes.len() as u64;
    }
    Ok(FileDoc { name: name.to_owned(), bytes: total, sha256: Digest(hash.finish()) })
}

/// Writes a small file; it is on the disk when this returns, its name with the directory's sync.
///
/// # Errors
/// What the system said.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a directory for nobody else's eyes.
///
/// # Errors
/// What the system said.
pub fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the names in a directory durable.
///
/// # Errors
/// What the system said.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
