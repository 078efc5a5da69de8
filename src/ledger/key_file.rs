//! The file of the private key: one line in the signer form of Go's note package,
//! `PRIVATE+KEY+name+hex of the key hash+base64 of (0x01 ‖ seed)`, mode 0600. Its public half lies
//! beside the ledger.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;

use super::note::{NAME_BYTES_MAX, Signer};
use crate::crypto::{Secret, SigningKey};

const PREFIX: &str = "PRIVATE+KEY+";
/// Length of the encoded seed with its algorithm byte.
const SEED_CHARS: usize = 44;
/// Longest file, bytes: prefix, name, plus, hash, plus, seed, newline.
const FILE_BYTES_MAX: usize = PREFIX.len() + NAME_BYTES_MAX + 10 + SEED_CHARS + 1;

/// Why the signing key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is gone, and a ledger that it signed is there.
    #[error(
        "the ledger's signing key {} is missing while its ledger exists; put it back",
        .0.display()
    )]
    Missing(PathBuf),
    /// Others may read or write it.
    #[error(
        "the ledger's signing key {} is open to others (mode {mode:o}); set its mode to 600",
        .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not in the form this program writes.
    #[error(
        "the ledger's signing key {} is not in the form of one; put the right file back",
        .0.display()
    )]
    Form(PathBuf),
    /// A name that no key can have.
    #[error("the ledger's name must be 1 to 128 printable characters without space and plus")]
    Name,
    /// The file system said no.
    #[error("the ledger's signing key {} cannot be used: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads the key.
pub(super) fn load(path: &Path) -> Result<Signer, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    // One byte more than allowed, so that a longer file shows; a fixed place, so that no copy is
    // left behind by growing.
    let mut text = [0; FILE_BYTES_MAX + 1];
    let mut length = 0;
    let read = loop {
        match file.read(&mut text[length..]) {
            Ok(0) => break Ok(()),
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    let signer = parse(&text[..length]);
    wipe(&mut text);
    read.map_err(io)?;
    signer.ok_or_else(|| KeyFileError::Form(path.to_owned()))
}

/// Makes a key: only where there is no ledger that another key could have signed.
pub(super) fn create(path: &Path, name: &str) -> Result<Signer, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.to_owned(), source };
    let seed = Secret::random();
    let key = SigningKey::new(&seed).ok_or_else(|| io(io::ErrorKind::OutOfMemory.into()))?;
    let signer = Signer::new(name, key).ok_or(KeyFileError::Name)?;
    let mut text = [0; FILE_BYTES_MAX];
    let length = write(&mut text, &signer, &seed);
    let written = write_new(path, &text[..length], 0o600);
    wipe(&mut text);
    written.map_err(io)?;
    Ok(signer)
}

/// The text of a key; its length.
fn write(text: &mut [u8; FILE_BYTES_MAX], signer: &Signer, seed: &Secret) -> usize {
    let public = signer.public().to_string();
    let head = public.rsplit_once('+').map_or("", |(head, _)| head);
    let mut bytes = [1; 33];
    bytes[1..].copy_from_slice(seed.expose());
    let mut length = 0;
    for part in [PREFIX.as_bytes(), head.as_bytes(), b"+"] {
        text[length..length + part.len()].copy_from_slice(part);
        length += part.len();
    }
    BASE64.encode_mut(&bytes, &mut text[length..length + SEED_CHARS]);
    wipe(&mut bytes);
    length += SEED_CHARS;
    text[length] = b'\n';
    length + 1
}

fn parse(text: &[u8]) -> Option<Signer> {
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let rest = line.strip_prefix(PREFIX.as_bytes())?;
    let (head, seed) = rest.split_at_checked(rest.len().checked_sub(SEED_CHARS)?)?;
    let head = std::str::from_utf8(head).ok()?;
    let (name, _) = head.split_once('+')?;
    let mut bytes = [0; 33];
    let decoded = BASE64.decode_mut(seed, &mut bytes).is_ok() && bytes[0] == 1;
    let seed = Secret::take(&mut bytes[1..])?;
    let signer = Signer::new(name, SigningKey::new(&seed)?).filter(|_| decoded)?;
    // The hash of the public half says whether the seed is whole.
    let public = signer.public().to_string();
    let own = public.rsplit_once('+').map(|(own, _)| own);
    (own == head.strip_suffix('+')).then_some(signer)
}

/// Writes beside and renames, so that a file with this name is whole.
pub(super) fn write_new(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_parent(path)
}

/// Makes a name in a directory durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn wipe(bytes: &mut [u8]) {
    // Taking wipes the source whatever its length.
    drop(Secret::take(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_comes_back_and_its_form_is_that_of_signed_notes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.key");
        let made = create(&path, "example.com/ledger").unwrap();
        assert_eq!(load(&path).unwrap().public(), made.public());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        let parts: Vec<&str> = text.split('+').collect();
        assert_eq!(parts[..3], ["PRIVATE", "KEY", "example.com/ledger"]);
        assert_eq!(parts[3], made.public().to_string().split('+').nth(1).unwrap());
        assert!(matches!(create(&path, "a+b"), Err(KeyFileError::Name)));
    }

    /// The example key of Go's golang.org/x/mod/sumdb/note package.
    #[test]
    fn published_vector() {
        let key =
            "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n";
        let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(parse(key.as_bytes()).unwrap().public().to_string(), public);
    }

    #[test]
    fn what_is_no_safe_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.key");
        assert!(matches!(load(&path), Err(KeyFileError::Io { .. })));
        create(&path, "n").unwrap();
        let good = fs::read(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(&path), Err(KeyFileError::Exposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(load(&path), Err(KeyFileError::Form(_))), "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            let cut = load(&path);
            let only_newline = at == good.len() - 1;
            assert_eq!(matches!(cut, Err(KeyFileError::Form(_))), !only_newline, "cut at {at}");
        }
    }
}
