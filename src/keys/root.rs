//! The root key: what wraps the vault epoch key. The default is a key file, or two that make one
//! together ([`shares`]); a PKCS#11 token is the other choice ([`pkcs11`]), and KMS and Vault would
//! stand behind the same trait.

pub mod pkcs11;
mod shares;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use self::pkcs11::Pkcs11Fault;
use super::{VaultId, home, wipe};
use crate::crypto::{Aad, SealKey, Secret};
use crate::model::ids::KeyId;

/// Why the root key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// No file while the vault exists.
    #[error(
        "the root key file {} is missing but the vault was made with one; put it back, nothing \
         can be read without it", .0.display()
    )]
    Missing(PathBuf),
    /// Others can read it.
    #[error(
        "the root key file {} can be read by others (mode {mode:03o}); run chmod 600 on it",
        .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not in the form this program writes.
    #[error(
        "the root key file {} is not a header line and 64 hex digits; put the right file back",
        .0.display()
    )]
    Form(PathBuf),
    /// A share of the root key in the place of the other one.
    #[error(
        "the root key file {} is the share of the other person, and nobody gives both; put share \
         {needed} of 2 there", .path.display()
    )]
    Share {
        /// The file.
        path: PathBuf,
        /// Which share belongs there.
        needed: usize,
    },
    /// The file system said no.
    #[error(
        "the root key file {} cannot be used ({source}); check its disk and its rights, then \
         start again", .path.display()
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A provider that is not a file: it cannot be reached, or it refuses.
    #[error("the root provider {name} cannot be used ({why}); check it, then start again")]
    Provider {
        /// The provider.
        name: String,
        /// In the provider's words, which hold no secret.
        why: String,
    },
    /// A provider that keeps a key for each epoch has none of this one.
    #[error(
        "the root provider {0} has no key of this vault epoch, so that it has ended; put back the \
         VEK home of today"
    )]
    Ended(String),
    /// A PKCS#11 token.
    #[error("the PKCS#11 token {label:?} cannot be used: {fault}")]
    Pkcs11 {
        /// Its label, as the settings say it.
        label: String,
        /// What is wrong with it.
        fault: Pkcs11Fault,
    },
    /// Wrapped under another root key, or changed.
    #[error("the root key ({0}) does not open this vault; give the root key it was made with")]
    Other(String),
}

impl RootError {
    /// Whether it says that there is no key of the epoch, and not merely that it cannot be used
    /// now.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Pkcs11 { fault: Pkcs11Fault::NoKey(_), .. })
    }
}

/// One VEK: the vault it belongs to (the register of holds is a vault of its own) and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VekId {
    /// The vault.
    pub vault: VaultId,
    /// Its epoch, from 1.
    pub epoch: u64,
}

/// Whoever holds the root key: wraps the vault epoch keys and unwraps them.
///
/// A provider that can destroy keys by itself (an HSM) keeps one wrapping key for each epoch that
/// has begun and not ended, which never leaves it, and destroys it when the epoch ends: then not
/// even a copy of the VEK home opens anything. A key file has one key for all and ignores epochs.
pub trait RootProvider: Send + Sync {
    /// What it is, for people.
    fn name(&self) -> &str;

    /// Called before a VEK of this epoch is wrapped. An epoch may be begun twice without an end
    /// between, and again after its end: a crash came between, and nothing was wrapped that anybody
    /// still needs.
    ///
    /// # Errors
    /// When the provider cannot be reached or refuses.
    fn begin_epoch(&self, vek: VekId) -> Result<(), RootError> {
        let _ = vek;
        Ok(())
    }

    /// Called when the VEK of this epoch is to be destroyed: when it returns, nothing that was
    /// wrapped in it opens any more, if the provider can do that at all. An epoch may be ended
    /// twice, or without having been begun.
    ///
    /// # Errors
    /// When the provider cannot be reached or refuses.
    fn end_epoch(&self, vek: VekId) -> Result<(), RootError> {
        let _ = vek;
        Ok(())
    }

    /// Whether an epoch that has ended opens nothing any more, not even with a copy of everything
    /// that was written.
    fn ends_epochs(&self) -> bool {
        false
    }

    /// Wraps 32 bytes, bound to `aad`, in an epoch that has begun.
    ///
    /// # Errors
    /// When the provider cannot be reached or refuses.
    fn wrap(&self, vek: VekId, aad: &Aad, plain: &[u8; 32]) -> Result<Vec<u8>, RootError>;

    /// Unwraps what was wrapped under the same `aad` in the same epoch.
    ///
    /// # Errors
    /// When the provider cannot be reached or refuses, the bytes are not its own, or the epoch has
    /// ended: that one must be told from the others ([`RootError::is_ended`]).
    fn unwrap(&self, vek: VekId, aad: &Aad, wrapped: &[u8]) -> Result<Secret, RootError>;
}

const HEADER: &[u8] = b"blindtally root key, format 1; keep secret, keep a copy offline\n";
/// Behind the header: the digits and a newline, bytes.
const DIGITS_BYTES: usize = 64 + 1;
/// Longest file of a root key or a share, bytes.
const FILE_BYTES_MAX: usize = 100 + DIGITS_BYTES;

/// The root key in a file that only its owner reads, or in two of them.
pub struct KeyFile {
    name: String,
    key: SealKey,
}

impl KeyFile {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is missing, readable by others, or of another form.
    pub fn load(path: &Path) -> Result<Self, RootError> {
        Ok(Self::new(path, &read_secret(path, HEADER)?))
    }

    /// Reads the file, or makes one where there is none: only for the very first start, when no
    /// vault exists that another root key could belong to.
    ///
    /// # Errors
    /// As [`KeyFile::load`], or when the file cannot be written.
    pub fn load_or_create(path: &Path) -> Result<Self, RootError> {
        let io = |source| RootError::Io { path: path.to_owned(), source };
        if path.try_exists().map_err(io)? {
            return Self::load(path);
        }
        let secret = Secret::random();
        write_secret(path, HEADER, &secret)?;
        Ok(Self::new(path, &secret))
    }

    fn new(path: &Path, secret: &Secret) -> Self {
        Self {
            name: format!("key file {}", path.display()),
            // The root has no number in any register; zero is never given to another key.
            key: SealKey::new(KeyId(0), secret),
        }
    }
}

impl RootProvider for KeyFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn wrap(&self, _: VekId, aad: &Aad, plain: &[u8; 32]) -> Result<Vec<u8>, RootError> {
        Ok(self.key.seal(aad, plain))
    }

    fn unwrap(&self, _: VekId, aad: &Aad, wrapped: &[u8]) -> Result<Secret, RootError> {
        let other = || RootError::Other(self.name.clone());
        let mut plain = self.key.open(aad, wrapped).map_err(|_| other())?;
        Secret::take(&mut plain).ok_or_else(other)
    }
}

/// Reads a secret from a file that only its owner reads, behind its header line.
fn read_secret(path: &Path, header: &[u8]) -> Result<Secret, RootError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => RootError::Missing(path.to_owned()),
        _ => RootError::Io { path: path.to_owned(), source },
    };
    let mut file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(RootError::Exposed { path: path.to_owned(), mode });
    }
    // One byte more than allowed, so that a longer file shows. A buffer of a fixed place, so
    // that no copy is left behind by growing.
    let mut text = [0; FILE_BYTES_MAX + 1];
    let mut length = 0;
    loop {
        match file.read(&mut text[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                wipe(&mut text);
                return Err(io(error));
            }
        }
    }
    let secret = parse(&text[..length], header);
    wipe(&mut text);
    secret.ok_or_else(|| RootError::Form(path.to_owned()))
}

/// Writes a secret into a file of its own, behind a header line.
fn write_secret(path: &Path, header: &[u8], secret: &Secret) -> Result<(), RootError> {
    let mut text = [0; FILE_BYTES_MAX];
    let length = header.len() + DIGITS_BYTES;
    text[..header.len()].copy_from_slice(header);
    for (pair, byte) in text[header.len()..].chunks_exact_mut(2).zip(secret.expose()) {
        pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
    }
    text[length - 1] = b'\n';
    let written = write_new(path, &text[..length]);
    wipe(&mut text);
    written.map_err(|source| RootError::Io { path: path.to_owned(), source })
}

/// Writes beside and renames: a first start cut short leaves no half root key. A file left over
/// from one holds a key that never wrapped anything.
fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = home::beside(path);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    home::sync_parent(path)
}

/// By hand rather than by a crate: no copy may be left that is not wiped.
fn parse(text: &[u8], header: &[u8]) -> Option<Secret> {
    let length = header.len() + DIGITS_BYTES;
    if text.len() < length - 1 || text.len() > length {
        return None;
    }
    let rest = text.strip_prefix(header)?;
    let (digits, end) = rest.split_at_checked(64)?;
    if !matches!(end, b"" | b"\n") {
        return None;
    }
    let mut bytes = [0; 32];
    let mut ok = true;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        match (hex_value(pair[0]), hex_value(pair[1])) {
            (Some(high), Some(low)) => *byte = high << 4 | low,
            _ => ok = false,
        }
    }
    Secret::take(&mut bytes).filter(|_| ok)
}

fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const VEK: VekId = VekId { vault: VaultId([1; 16]), epoch: 1 };

    #[test]
    fn wraps_and_unwraps_across_a_reload() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        let aad = Aad::new("test/1").number(7);
        let wrapped = KeyFile::load_or_create(&path).unwrap().wrap(VEK, &aad, &[9; 32]).unwrap();
        let again = KeyFile::load_or_create(&path).unwrap();
        assert_eq!(again.unwrap(VEK, &aad, &wrapped).unwrap().expose(), &[9; 32]);
        let moved = again.unwrap(VEK, &Aad::new("test/1").number(8), &wrapped);
        assert!(matches!(moved, Err(RootError::Other(_))));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_root_key_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let aad = Aad::new("test/1");
        let one = KeyFile::load_or_create(&dir.path().join("one")).unwrap();
        let two = KeyFile::load_or_create(&dir.path().join("two")).unwrap();
        let wrapped = one.wrap(VEK, &aad, &[9; 32]).unwrap();
        assert!(matches!(two.unwrap(VEK, &aad, &wrapped), Err(RootError::Other(_))));
    }

    #[test]
    fn refuses_what_is_not_a_safe_root_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        assert!(matches!(KeyFile::load(&path), Err(RootError::Missing(_))));
        KeyFile::load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(KeyFile::load(&path), Err(RootError::Exposed { .. })));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let good = fs::read(&path).unwrap();
        let mut bad = vec![Vec::new(), good[..good.len() - 2].to_vec(), b"\n".repeat(good.len())];
        bad.push([good.as_slice(), b"00"].concat());
        bad.push([HEADER, "Z".repeat(64).as_bytes(), b"\n"].concat());
        for text in bad {
            fs::write(&path, &text).unwrap();
            assert!(matches!(KeyFile::load(&path), Err(RootError::Form(_))));
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(KeyFile::load(&path).is_ok());
    }
}
