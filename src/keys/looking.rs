//! A vault that is only looked at, with the server stopped: register and VEK home are read into
//! memory, and whatever opening would repair or finish is written there and forgotten.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::home::{self, at};
use super::medium::{FileId, Medium};
use super::opening::Parts;
use super::register::CHUNK_SLOTS;
use super::witness::NoWitness;
use super::{KeyRing, KeysError, Settings};

/// A file as it was when it was read. What it holds is wrapped.
struct Shadow {
    bytes: Vec<u8>,
    id: FileId,
}

impl Shadow {
    fn of(path: &Path) -> Result<Box<dyn Medium>, KeysError> {
        let read = || {
            let mut file = File::open(path)?;
            let id = FileId::open(&file)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(Self { bytes, id })
        };
        Ok(Box::new(read().map_err(at("read", path))?))
    }
}

impl Medium for Shadow {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn identity(&self) -> io::Result<FileId> {
        Ok(self.id)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.bytes.get(at..));
        let from = from.and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = at.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let to = self.bytes.get_mut(at..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        to.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl KeyRing {
    /// Opens the vault under its key file without changing anything of it. A token as the root is
    /// not asked: it may end epochs for good, which is for the server to do.
    ///
    /// # Errors
    /// When a server has it, the root is a token, a part is missing or damaged beyond repair, or
    /// the root key does not open it.
    pub fn look(settings: &Settings) -> Result<Self, KeysError> {
        if settings.pkcs11.is_some() {
            return Err(KeysError::NotWithToken);
        }
        let lock = home::lock(settings)?;
        let [vek_home, a, b] = home::files(settings);
        let (ring, _) = Self::from_parts(Parts {
            home: Shadow::of(&vek_home)?,
            register: [Shadow::of(&a)?, Shadow::of(&b)?],
            copies: Vec::new(),
            chunk: CHUNK_SLOTS,
            root: Arc::new(settings.key_file(false)?),
            witness: Arc::new(NoWitness),
            settings: settings.clone(),
            lock: Some(lock),
        })?;
        Ok(ring)
    }
}
