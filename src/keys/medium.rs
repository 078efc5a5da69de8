//! The few things that register and VEK home ask of a file, so that tests can cut the power between
//! any two of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that can be overwritten in place. There is no way to rename, remove or shorten: those
/// leave the old bytes in free blocks.
pub trait Medium: Send {
    /// The length, bytes.
    ///
    /// # Errors
    /// What the system says.
    fn size(&self) -> io::Result<u64>;

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
