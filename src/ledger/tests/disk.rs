//! The four files of a ledger on a disk whose power can be cut.

use std::io;

pub(super) use crate::keys::tests::disk::{Cut, Disk};

use crate::keys::medium::{FileId, Medium};
use crate::keys::tests::disk::DiskFile;
use crate::ledger::book::Files;
use crate::ledger::medium::Log;

/// A disk for one ledger.
pub(super) fn disk() -> Disk {
    Disk::new(4)
}

/// Its files, in the order entries, checkpoints, hashes, ends.
pub(super) fn files(disk: &Disk) -> Files {
    let file = |at| Box::new(disk.file(at)) as Box<dyn Log>;
    Files { entries: file(0), checkpoints: file(1), hashes: file(2), ends: file(3) }
}

impl Log for DiskFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.length())
    }

    fn identity(&self) -> io::Result<FileId> {
        Medium::identity(self)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.read(at, into)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(at, bytes)
    }

    fn cut(&self, to: u64) -> io::Result<()> {
        self.shorten(to)
    }

    fn sync(&self) -> io::Result<()> {
        self.flush()
    }
}
