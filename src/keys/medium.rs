//! The few things that register and VEK home ask of a file, so that tests can cut the power between
//! any two of them.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Which file a handle or a name stands for: device and inode. A file that was moved, replaced or
/// unmounted goes on taking the writes of whoever has it open, and its name stands for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(pub(crate) u64, pub(crate) u64);

impl FileId {
    fn of(meta: &Metadata) -> Self {
        Self(meta.dev(), meta.ino())
    }

    /// That of a name.
    ///
    /// # Errors
    /// What the system says, also when nothing has the name.
    pub fn named(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&std::fs::metadata(path)?))
    }

    /// That of a file that is open.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(file: &File) -> io::Result<Self> {
        Ok(Self::of(&file.metadata()?))
    }
}

/// Bytes that can be overwritten in place. There is no way to rename, remove or shorten: those
/// leave the old bytes in free blocks.
pub trait Medium: Send {
    /// The length, bytes.
    ///
    /// # Errors
    /// What the system says.
    fn size(&self) -> io::Result<u64>;

    /// Which file it is.
    ///
    /// # Errors
    /// What the system says.
    fn identity(&self) -> io::Result<FileId>;

    /// Reads exactly as many bytes as `into` holds.
    ///
    /// # Errors
    /// What the system says, also when the file ends before.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()>;

    /// Overwrites bytes, or adds them at the end. Not durable before [`Medium::sync`].
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written durable. After an error the state is unknown; never try again.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// The whole content.
pub(super) fn read_all(medium: &dyn Medium) -> io::Result<Vec<u8>> {
    let size = usize::try_from(medium.size()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; size];
    medium.read_at(0, &mut bytes)?;
    Ok(bytes)
}

impl Medium for Box<dyn Medium> {
    fn size(&self) -> io::Result<u64> {
        self.as_ref().size()
    }

    fn identity(&self) -> io::Result<FileId> {
        self.as_ref().identity()
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.as_ref().read_at(at, into)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.as_mut().write_at(at, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.as_mut().sync()
    }
}

/// A file of the operating system.
#[derive(Debug)]
pub struct DiskFile(pub File);

impl Medium for DiskFile {
    fn size(&self) -> io::Result<u64> {
        self.0.metadata().map(|meta| meta.len())
    }

    fn identity(&self) -> io::Result<FileId> {
        FileId::open(&self.0)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, at)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        // fdatasync; it also writes the new length where the file has grown.
        self.0.sync_data()
    }
}
