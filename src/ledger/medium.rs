//! The few things that the ledger asks of a file, so that tests can cut the power between any two
//! of them; and reading one line by line.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::entry::LINE_BYTES_MAX;
use crate::keys::medium::FileId;

/// A file that grows at its end. It may be cut only behind what was acknowledged.
pub trait Log: Send + Sync {
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

    /// Writes bytes. Not durable before [`Log::sync`].
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to a length. Not durable before [`Log::sync`].
    ///
    /// # Errors
    /// What the system says.
    fn cut(&self, to: u64) -> io::Result<()>;

    /// Makes everything durable. After an error the state is unknown; never try again.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self) -> io::Result<()>;
}

/// A file of the operating system.
#[derive(Debug)]
pub struct DiskLog(pub File);

impl Log for DiskLog {
    fn size(&self) -> io::Result<u64> {
        self.0.metadata().map(|meta| meta.len())
    }

    fn identity(&self) -> io::Result<FileId> {
        FileId::open(&self.0)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, at)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn cut(&self, to: u64) -> io::Result<()> {
        self.0.set_len(to)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync; it also writes the new length where the file has grown.
        self.0.sync_data()
    }
}

/// How much is read at once, bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// Reads a log line by line, from its beginning.
pub(super) struct Lines<'a> {
    log: &'a dyn Log,
    size: u64,
    /// Where the next chunk begins.
    at: u64,
    buffer: Vec<u8>,
    /// The first byte of the buffer that was not given away.
    from: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(log: &'a dyn Log) -> io::Result<Self> {
        Ok(Self { log, size: log.size()?, at: 0, buffer: Vec::new(), from: 0 })
    }

    /// The next line without its newline; `None` where no whole line of at most
    /// [`LINE_BYTES_MAX`] is left.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = self.from;
        loop {
            let fresh = &self.buffer[searched..];
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let (from, end) = (self.from, searched + end);
                self.from = end + 1;
                return Ok(Some(&self.buffer[from..end]));
            }
            let left = self.size - self.at;
            if left == 0 || self.buffer.len() - self.from > LINE_BYTES_MAX {
                return Ok(None);
            }
            self.buffer.drain(..self.from);
            self.from = 0;
            searched = self.buffer.len();
            let more = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            self.buffer.resize(searched + more, 0);
            self.log.read_at(self.at, &mut self.buffer[searched..])?;
            self.at += more as u64;
        }
    }

    /// Where the next line begins, bytes.
    pub(super) fn position(&self) -> u64 {
        self.at - (self.buffer.len() - self.from) as u64
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> u64 {
        self.size - self.position()
    }
}
