//! The file of checkpoints: signed notes of five lines each, one behind the other, with growing
//! sizes. An append adds one, so a change of the entries can be dated by them.

use std::io;

use super::medium::Log;
use super::note::{CHECKPOINT_BYTES_MAX, Checkpoint};

/// Lines of a checkpoint.
pub(super) const NOTE_LINES: usize = 5;
/// What a disk writes as a whole, or not, bytes.
const SECTOR_BYTES: u64 = 512;

/// The end of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// The last whole checkpoint.
    pub(super) last: Option<Checkpoint>,
    /// Where it ends, bytes.
    pub(super) end: u64,
    /// What follows it.
    pub(super) rest: Vec<u8>,
}

/// Reads the end of the file: the last checkpoint behind which there are at most the bytes of one
/// more; `None` when the end has not that form.
pub(super) fn tail(log: &dyn Log) -> io::Result<Option<Tail>> {
    let size = log.size()?;
    let from = size.saturating_sub(2 * CHECKPOINT_BYTES_MAX as u64);
    let mut bytes = vec![0; usize::try_from(size - from).unwrap_or(0)];
    log.read_at(from, &mut bytes)?;
    let newlines: Vec<usize> = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1)
        .collect();
    // From the last line end backward; what was torn has few.
    for (last, end) in newlines.iter().enumerate().rev() {
        let start = match (last + 1).checked_sub(NOTE_LINES) {
            Some(0) if from == 0 => 0,
            Some(first) if first > 0 => newlines[first - 1],
            _ => break,
        };
        if let Some(checkpoint) = Checkpoint::parse(&bytes[start..*end]) {
            let rest = bytes[*end..].to_vec();
            let end = from + *end as u64;
            let fits = rest.len() <= CHECKPOINT_BYTES_MAX;
            return Ok(fits.then_some(Tail { last: Some(checkpoint), end, rest }));
        }
    }
    let fits = from == 0 && bytes.len() <= CHECKPOINT_BYTES_MAX;
    Ok(fits.then_some(Tail { last: None, end: 0, rest: bytes }))
}

/// Whether the bytes at this place of the file are what a cut may have left of a checkpoint: its
/// beginning, with zeros for sectors, or their ends, that did not reach the disk. A changed byte is
/// not that, nor is a whole checkpoint.
pub(super) fn is_torn(rest: &[u8], at: u64, whole: &[u8]) -> bool {
    if rest.len() > whole.len() || rest == whole {
        return false;
    }
    let mut hole = false;
    for (place, (byte, good)) in (at..).zip(rest.iter().zip(whole)) {
        if place % SECTOR_BYTES == 0 {
            hole = false;
        }
        hole |= byte != good;
        if hole && *byte != 0 {
            return false;
        }
    }
    true
}

/// Reads the file from its beginning, checkpoint by checkpoint.
pub(super) struct Notes<'a> {
    log: &'a dyn Log,
    size: u64,
    at: u64,
    buffer: Vec<u8>,
    from: usize,
}

/// The next thing in a file of checkpoints.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A checkpoint.
    Note(Box<Checkpoint>),
    /// Something else, up to the end of the file.
    Broken,
    /// The end.
    End,
}

impl<'a> Notes<'a> {
    /// How much is read at once, bytes.
    const CHUNK_BYTES: usize = 64 << 10;

    pub(super) fn new(log: &'a dyn Log) -> io::Result<Self> {
        Ok(Self { log, size: log.size()?, at: 0, buffer: Vec::new(), from: 0 })
    }

    /// Bytes from what comes next to the end of the file.
    pub(super) fn left(&self) -> u64 {
        self.size - self.at + (self.buffer.len() - self.from) as u64
    }

    pub(super) fn next(&mut self) -> io::Result<Next> {
        if self.buffer.len() - self.from < CHECKPOINT_BYTES_MAX && self.at < self.size {
            self.buffer.drain(..self.from);
            self.from = 0;
            let left = usize::try_from(self.size - self.at).unwrap_or(Self::CHUNK_BYTES);
            let (old, more) = (self.buffer.len(), left.min(Self::CHUNK_BYTES));
            self.buffer.resize(old + more, 0);
            self.log.read_at(self.at, &mut self.buffer[old..])?;
            self.at += more as u64;
        }
        let rest = &self.buffer[self.from..];
        if rest.is_empty() {
            return Ok(Next::End);
        }
        let mut ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let Some((end, _)) = ends.nth(NOTE_LINES - 1) else { return Ok(Next::Broken) };
        let Some(note) = Checkpoint::parse(&rest[..=end]) else { return Ok(Next::Broken) };
        self.from += end + 1;
        Ok(Next::Note(Box::new(note)))
    }
}
