//! The root key in two shares, so that nobody starts the keys alone: each share is as random as the
//! key, and the key is their exclusive or. Whoever has one share knows nothing of the key.
//!
//! The two files are of two people: each on a medium of its own, needed at each start and not in
//! between. A share says which of the two it is, so that one person's share given twice is refused,
//! and not taken for a wrong key.

use std::path::{Path, PathBuf};

use super::{KeyFile, RootError, read_secret, write_secret};
use crate::crypto::{SealKey, Secret};
use crate::model::ids::KeyId;

/// The first line of each share.
const HEADERS: [&[u8]; 2] = [
    b"blindtally root key share 1 of 2, format 1; keep secret, keep a copy offline\n",
    b"blindtally root key share 2 of 2, format 1; keep secret, keep a copy offline\n",
];

impl KeyFile {
    /// Reads both shares, the first one first.
    ///
    /// # Errors
    /// When one of them is missing, readable by others, of another form, or the other one.
    pub fn load_shares(paths: &[PathBuf; 2]) -> Result<Self, RootError> {
        let [one, two] = paths;
        Self::of_shares(paths, &share(one, 0)?, &share(two, 1)?)
    }

    /// Reads both shares, or makes them where there is none: only for the very first start. Where
    /// one of them is there, a cut came between, and the other one is made: nothing was wrapped.
    ///
    /// # Errors
    /// As [`KeyFile::load_shares`], or when a file cannot be written.
    pub fn load_or_create_shares(paths: &[PathBuf; 2]) -> Result<Self, RootError> {
        for (path, header) in paths.iter().zip(HEADERS) {
            let io = |source| RootError::Io { path: path.clone(), source };
            if !path.try_exists().map_err(io)? {
                write_secret(path, header, &Secret::random())?;
            }
        }
        Self::load_shares(paths)
    }

    fn of_shares(
        [one, two]: &[PathBuf; 2],
        first: &Secret,
        second: &Secret,
    ) -> Result<Self, RootError> {
        let mut key = *first.expose();
        key.iter_mut().zip(second.expose()).for_each(|(byte, other)| *byte ^= other);
        // Taking wipes.
        let secret = Secret::take(&mut key).ok_or_else(|| RootError::Form(one.clone()))?;
        let name = format!("key shares {} and {}", one.display(), two.display());
        Ok(Self { name, key: SealKey::new(KeyId(0), &secret) })
    }
}

/// Reads a share, which must be the one that it is given for.
fn share(path: &Path, no: usize) -> Result<Secret, RootError> {
    read_secret(path, HEADERS[no]).map_err(|error| {
        let is_other = || read_secret(path, HEADERS[1 - no]).is_ok();
        match error {
            RootError::Form(path) if is_other() => RootError::Share { path, needed: no + 1 },
            error => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Aad;
    use crate::keys::{KeyRing, KeysError, RootProvider, Settings, VaultId, VekId};
    use crate::model::vocab::Class;
    use std::fs;

    const VEK: VekId = VekId { vault: VaultId([1; 16]), epoch: 1 };

    fn paths(dir: &Path) -> [PathBuf; 2] {
        ["first", "second"].map(|person| {
            fs::create_dir_all(dir.join(person)).unwrap();
            dir.join(person).join("root.share")
        })
    }

    /// Check 30, the start of the keys: a vault that was made with two shares opens with both, and
    /// with neither alone, nor with one of them given twice, nor with one that somebody made up.
    #[test]
    fn check_30_one_person_alone_does_not_start_the_keys_and_two_do() {
        let dir = tempfile::tempdir().unwrap();
        let shares = paths(dir.path());
        let settings = |shares: &[PathBuf; 2]| Settings {
            shares: Some(shares.clone()),
            ..Settings::in_dir(dir.path().join("keys"))
        };
        let site = crate::model::ids::SiteId::parse(b"A").unwrap();
        let (ring, _) = KeyRing::open(&settings(&shares)).unwrap();
        let key = ring.bucket(&site, Class::Records, 5).unwrap();
        let sealed = key.seal(&Aad::new("test/1"), b"record");
        drop(ring);
        assert!(!dir.path().join("keys/root.key").exists());
        // Two work, in any number of starts.
        for _ in 0..2 {
            let (ring, _) = KeyRing::open(&settings(&shares)).unwrap();
            let key = ring.bucket(&site, Class::Records, 5).unwrap();
            assert_eq!(key.open(&Aad::new("test/1"), &sealed).unwrap(), b"record");
        }
        let refused = |shares: &[PathBuf; 2]| match KeyRing::open(&settings(shares)) {
            Err(KeysError::Root(error)) => error,
            other => panic!("{:?}", other.map(|_| ())),
        };
        let [one, two] = &shares;
        // The other one's medium is not there.
        for (at, path) in shares.iter().enumerate() {
            let mut alone = shares.clone();
            alone[at] = dir.path().join("nowhere");
            let said = refused(&alone);
            assert!(matches!(said, RootError::Missing(_)), "{said} {}", path.display());
        }
        // The same person twice, also with a copy of the file.
        let copy = dir.path().join("copy");
        fs::copy(one, &copy).unwrap();
        for other in [one, &copy] {
            let said = refused(&[one.clone(), other.clone()]);
            assert!(matches!(said, RootError::Share { needed: 2, .. }), "{said}");
        }
        let said = refused(&[two.clone(), one.clone()]);
        assert!(matches!(said, RootError::Share { needed: 1, .. }), "{said}");
        // One made up, and the root key of somebody else.
        let forged = dir.path().join("forged");
        write_secret(&forged, HEADERS[1], &Secret::random()).unwrap();
        let opened = KeyRing::open(&settings(&[one.clone(), forged]));
        let Err(KeysError::Vek(said)) = opened.map(|_| ()) else { panic!("it opened") };
        assert!(said.to_string().contains("does not open this vault"), "{said}");
        let file = dir.path().join("file");
        KeyFile::load_or_create(&file).unwrap();
        assert!(matches!(refused(&[file, two.clone()]), RootError::Form(_)));
        KeyRing::open(&settings(&shares)).unwrap();
    }

    /// The key is the exclusive or of the shares, and a first start that was cut between them makes
    /// the second one.
    #[test]
    fn the_key_is_made_of_both_shares() {
        let dir = tempfile::tempdir().unwrap();
        let shares = paths(dir.path());
        write_secret(&shares[0], HEADERS[0], &Secret::take(&mut [0x5a; 32]).unwrap()).unwrap();
        let made = KeyFile::load_or_create_shares(&shares).unwrap();
        let wrapped = made.wrap(VEK, &Aad::new("test/1"), &[9; 32]).unwrap();
        let text = fs::read_to_string(&shares[1]).unwrap();
        let digits = text.lines().last().unwrap();
        let second = data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap();
        let mut key: [u8; 32] = std::array::from_fn(|at| second[at] ^ 0x5a);
        let key = SealKey::new(KeyId(0), &Secret::take(&mut key).unwrap());
        assert_eq!(key.open(&Aad::new("test/1"), &wrapped).unwrap(), [9; 32]);
        let again = KeyFile::load_shares(&shares).unwrap();
        assert_eq!(again.unwrap(VEK, &Aad::new("test/1"), &wrapped).unwrap().expose(), &[9; 32]);
    }
}
