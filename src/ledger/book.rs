//! The files of a ledger: recovering them at the start, and writing to them.
//!
//! | step of an append | a cut behind it |
//! |---|---|
//! | lines, hashes and line ends are written | lines without a checkpoint |
//! | the lines are synced | lines without a checkpoint |
//! | the checkpoint is written | lines with a torn checkpoint, or a whole one |
//! | the checkpoint is synced | all is there, and only now is it acknowledged |
//!
//! What no checkpoint signs was never acknowledged, and the start cuts it off: it must not sign
//! lines that anybody may have put there. What a checkpoint signs must be there, byte for byte, or
//! the start is refused. So the order of the two syncs is the whole of the argument. Hashes and
//! line ends are not synced at all: they follow from the lines and are made anew where they differ.
//!
//! A killed process, and a failed sync, leave a checkpoint that is read but is not on the disk (a
//! failed sync even marks it clean, so that no later one writes it). So a start writes the last
//! checkpoint again and syncs it before anybody, the second copy above all, hears of it.

use std::collections::BTreeMap;
use std::io;

use super::entry::{Entry, Head, Recorded};
use super::medium::{Lines, Log};
use super::note::{Checkpoint, Signer};
use super::noted::Noted;
use super::notes::{is_torn, tail};
use super::tree::{self, Frontier, Hash, Nodes};
use super::words::Phase;
use super::{CHECKPOINTS, ENTRIES, LedgerError, Receipt, Witness, io_error};
use crate::keys::vek::LedgerMark;

/// Size of a hash in its file, bytes.
const HASH_BYTES: usize = 32;
/// Size of a line's end in its file, bytes.
const END_BYTES: usize = 8;

/// The four files.
pub(super) struct Files {
    /// The lines.
    pub(super) entries: Box<dyn Log>,
    /// The signed checkpoints.
    pub(super) checkpoints: Box<dyn Log>,
    /// The hashes of full subtrees, see [`tree`].
    pub(super) hashes: Box<dyn Log>,
    /// Where each line ends, behind its newline: 8 bytes, big-endian.
    pub(super) ends: Box<dyn Log>,
}

impl Nodes for Files {
    fn node(&self, place: u64) -> io::Result<Hash> {
        let mut hash = [0; HASH_BYTES];
        self.hashes.read_at(place * HASH_BYTES as u64, &mut hash)?;
        Ok(hash)
    }
}

impl Files {
    /// Where the line of an entry begins: where the one before ends.
    pub(super) fn begin(&self, entry: u64) -> io::Result<u64> {
        let Some(before) = entry.checked_sub(1) else { return Ok(0) };
        let mut end = [0; END_BYTES];
        self.ends.read_at(before * END_BYTES as u64, &mut end)?;
        Ok(u64::from_be_bytes(end))
    }
}

/// Where the files stand; whoever holds it may write.
#[derive(Default)]
pub(super) struct Writer {
    frontier: Frontier,
    /// Length of the lines, bytes.
    bytes: u64,
    /// Length of the checkpoints, bytes.
    notes: u64,
    /// Operations without a result, with their kind.
    open: BTreeMap<u64, String>,
    failed: Option<io::ErrorKind>,
}

/// What a group of entries will be.
#[derive(Default)]
struct Staged {
    lines: Vec<u8>,
    ends: Vec<u8>,
    hashes: Vec<Hash>,
}

impl Writer {
    /// Numbers of the operations without a result.
    pub(super) fn open(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }

    /// Entries so far.
    pub(super) fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Writes entries, all with one checkpoint, and returns when it is durable. The outer error
    /// says that nothing can be written any more; an inner one concerns its entry only.
    pub(super) fn commit<'a>(
        &mut self,
        files: &Files,
        signer: &Signer,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> Result<(Vec<Result<Receipt, LedgerError>>, Option<Checkpoint>), LedgerError> {
        if let Some(kind) = self.failed {
            return Err(LedgerError::Failed(kind));
        }
        // Until the end of it, so that nothing leaves a state between.
        self.failed = Some(io::ErrorKind::Interrupted);
        let before = self.frontier.size();
        let mut staged = Staged::default();
        let placed: Vec<_> = entries.map(|entry| self.stage(entry, &mut staged)).collect();
        let size = self.frontier.size();
        if size == before {
            self.failed = None;
            let errors = placed.into_iter().filter_map(Result::err).map(Err).collect();
            return Ok((errors, None));
        }
        let root = self.frontier.root();
        let written = self.write(files, signer, before, &staged);
        let checkpoint = written.map_err(|source| {
            self.failed = Some(source.kind());
            LedgerError::Failed(source.kind())
        })?;
        self.failed = None;
        let receipt = |(index, operation)| Receipt { index, operation, size, root };
        let receipts = placed.into_iter().map(|placed| placed.map(receipt)).collect();
        Ok((receipts, Some(checkpoint)))
    }

    /// Gives an entry its place; its number and operation.
    fn stage(&mut self, entry: &Entry, staged: &mut Staged) -> Result<(u64, u64), LedgerError> {
        let number = self.frontier.size();
        let (phase, kind) = (entry.event.phase(), entry.event.kind());
        let operation = match (phase, entry.operation) {
            (Phase::Intent | Phase::Done, None) => number,
            (Phase::Result, Some(operation)) => {
                let open = self.open.get(&operation).is_some_and(|begun| begun == kind);
                if open { operation } else { return Err(LedgerError::NoOperation(operation)) }
            }
            _ => return Err(LedgerError::Unfit),
        };
        let (time, actor, event) = (entry.time, entry.actor.clone(), entry.event.clone());
        let recorded = Recorded { number, time, operation, actor, event };
        let line = recorded.encode().map_err(|_| LedgerError::Unfit)?;
        self.frontier.push(tree::leaf(&line), &mut staged.hashes);
        staged.lines.extend_from_slice(&line);
        staged.lines.push(b'\n');
        let end = self.bytes + staged.lines.len() as u64;
        staged.ends.extend_from_slice(&end.to_be_bytes());
        match phase {
            Phase::Intent => drop(self.open.insert(operation, kind.to_owned())),
            Phase::Result => drop(self.open.remove(&operation)),
            Phase::Done => {}
        }
        Ok((number, operation))
    }

    fn write(
        &mut self,
        files: &Files,
        signer: &Signer,
        before: u64,
        staged: &Staged,
    ) -> io::Result<Checkpoint> {
        let (size, root) = (self.frontier.size(), self.frontier.root());
        let checkpoint = signer.sign(size, root).ok_or(io::ErrorKind::OutOfMemory)?;
        let note = checkpoint.to_string();
        files.entries.write_at(self.bytes, &staged.lines)?;
        files
            .hashes
            .write_at(tree::kept(before) * HASH_BYTES as u64, staged.hashes.as_flattened())?;
        files.ends.write_at(before * END_BYTES as u64, &staged.ends)?;
        files.entries.sync()?;
        files.checkpoints.write_at(self.notes, note.as_bytes())?;
        files.checkpoints.sync()?;
        self.bytes += staged.lines.len() as u64;
        self.notes += note.len() as u64;
        Ok(checkpoint)
    }
}

/// What a start found beside the ledger itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Whole lines behind the last checkpoint that were cut.
    pub(super) cut_entries: u64,
    /// Bytes behind the last checkpoint that were cut, those of checkpoints included.
    pub(super) cut_bytes: u64,
    /// Hashes or line ends were made anew.
    pub(super) rebuilt: bool,
    /// What the entries say of the vaults of keys.
    pub(super) noted: Noted,
}

/// Reads everything once, checks it against the last checkpoint and the witnesses, and cuts what
/// was never acknowledged.
pub(super) fn recover(
    files: &Files,
    signer: &Signer,
    witnesses: &[(Witness, LedgerMark)],
) -> Result<(Writer, Checkpoint, Found), LedgerError> {
    let tail = tail(&*files.checkpoints).map_err(io_error("read", CHECKPOINTS))?;
    let tail = tail.ok_or(LedgerError::Checkpoints)?;
    let signed = match &tail.last {
        Some(last) if !last.is_by(signer.public()) => return Err(LedgerError::Signature),
        Some(last) => Some(last.clone()),
        None => None,
    };
    let size = signed.as_ref().map_or(0, |last| last.size);
    if let Some((witness, mark)) = witnesses.iter().find(|(_, mark)| mark.size > size) {
        return Err(LedgerError::Behind { witness: *witness, theirs: mark.size, ours: size });
    }
    let root = signed.as_ref().map_or_else(tree::empty, |last| last.root);
    let mut walk = Walk::new(files, witnesses)?;
    walk.signed(size, &root)?;
    let mut writer = Writer {
        frontier: walk.frontier.clone(),
        bytes: walk.lines.position(),
        notes: tail.end,
        ..Writer::default()
    };
    writer.open = std::mem::take(&mut walk.open);
    let noted = std::mem::take(&mut walk.noted);
    let differs = walk.differs;
    let beyond = walk.beyond().map_err(io_error("read", ENTRIES))?;
    // A checkpoint was begun only when all of its lines were durable.
    let begun = signer.sign(beyond.frontier.size(), beyond.frontier.root());
    let begun = begun.ok_or(LedgerError::Failed(io::ErrorKind::OutOfMemory))?.to_string();
    let torn =
        tail.rest.is_empty() || (beyond.whole && is_torn(&tail.rest, tail.end, begun.as_bytes()));
    if !torn || (signed.is_none() && beyond.bytes > 0) {
        return Err(LedgerError::Checkpoints);
    }
    let found = Found {
        cut_entries: beyond.frontier.size() - size,
        cut_bytes: beyond.bytes + tail.rest.len() as u64,
        rebuilt: differs,
        noted,
    };
    cut(files, &writer).map_err(io_error("cut", ENTRIES))?;
    if differs {
        rebuild(files, size).map_err(io_error("rebuild", "the hashes"))?;
    }
    let checkpoint = match signed {
        Some(checkpoint) => {
            let done = writer.settle(files, &checkpoint);
            done.map_err(io_error("write", CHECKPOINTS))?;
            checkpoint
        }
        None => writer.first(files, signer).map_err(io_error("write", CHECKPOINTS))?,
    };
    Ok((writer, checkpoint, found))
}

impl Writer {
    /// Makes the last checkpoint, and what it signs, durable, whoever wrote it.
    fn settle(&self, files: &Files, last: &Checkpoint) -> io::Result<()> {
        if last.size > 0 {
            files.entries.sync()?;
        }
        let note = last.to_string();
        files.checkpoints.write_at(self.notes - note.len() as u64, note.as_bytes())?;
        files.checkpoints.sync()
    }

    /// The checkpoint of a ledger without entries.
    fn first(&mut self, files: &Files, signer: &Signer) -> io::Result<Checkpoint> {
        let checkpoint = signer.sign(0, tree::empty()).ok_or(io::ErrorKind::OutOfMemory)?;
        let note = checkpoint.to_string();
        files.checkpoints.write_at(0, note.as_bytes())?;
        files.checkpoints.sync()?;
        self.notes = note.len() as u64;
        Ok(checkpoint)
    }
}

/// The one pass over all lines.
struct Walk<'a> {
    files: &'a Files,
    lines: Lines<'a>,
    frontier: Frontier,
    open: BTreeMap<u64, String>,
    noted: Noted,
    hashes: Compared<'a>,
    ends: Compared<'a>,
    /// What is still to be compared, smallest size last.
    witnesses: Vec<(Witness, LedgerMark)>,
    differs: bool,
}

/// What follows the last checkpoint.
struct Beyond {
    frontier: Frontier,
    bytes: u64,
    /// No piece of a line is left.
    whole: bool,
}

impl<'a> Walk<'a> {
    fn new(files: &'a Files, witnesses: &[(Witness, LedgerMark)]) -> Result<Self, LedgerError> {
        // A mark of nothing says nothing.
        let mut witnesses: Vec<_> =
            witnesses.iter().filter(|(_, mark)| mark.size > 0).copied().collect();
        witnesses.sort_by_key(|(_, mark)| std::cmp::Reverse(mark.size));
        Ok(Self {
            files,
            lines: Lines::new(&*files.entries).map_err(io_error("read", ENTRIES))?,
            frontier: Frontier::default(),
            open: BTreeMap::new(),
            noted: Noted::default(),
            hashes: Compared::new(&*files.hashes).map_err(io_error("read", "the hashes"))?,
            ends: Compared::new(&*files.ends).map_err(io_error("read", "the line ends"))?,
            witnesses,
            differs: false,
        })
    }

    /// Walks over what the last checkpoint signs.
    fn signed(&mut self, size: u64, root: &Hash) -> Result<(), LedgerError> {
        // Hashes that lead to the signed root say which line was changed.
        let trusted = tree::root(self.files, size).is_ok_and(|kept| kept == *root);
        let mut added = Vec::new();
        for entry in 0..size {
            let line = self.lines.next().map_err(io_error("read", ENTRIES))?;
            let Some(line) = line else {
                return Err(LedgerError::Ends { entry, signed: size });
            };
            added.clear();
            let leaf = tree::leaf(line);
            self.frontier.push(leaf, &mut added);
            let same = self.hashes.agrees(added.as_flattened());
            let kept = || self.files.node(tree::place(0, entry));
            if !same && trusted && kept().is_ok_and(|kept| kept != leaf) {
                return Err(LedgerError::Changed { entry });
            }
            let head = Head::read(line).filter(|head| head.number == entry);
            let head = head.ok_or(LedgerError::Changed { entry })?;
            self.noted.read((head.kind, head.phase), line);
            match head.phase {
                Phase::Intent => drop(self.open.insert(entry, head.kind.to_owned())),
                Phase::Result => drop(self.open.remove(&head.operation)),
                Phase::Done => {}
            }
            self.differs |= !same;
            self.differs |= !self.ends.agrees(&self.lines.position().to_be_bytes());
            self.witnessed()?;
        }
        if self.frontier.root() != *root {
            return Err(LedgerError::ChangedSomewhere { signed: size });
        }
        Ok(())
    }

    /// Compares with the witnesses of this size.
    fn witnessed(&mut self) -> Result<(), LedgerError> {
        let size = self.frontier.size();
        while let Some((witness, mark)) = self.witnesses.pop_if(|(_, mark)| mark.size == size) {
            if mark.root != self.frontier.root() {
                return Err(LedgerError::Forked { witness, size });
            }
        }
        Ok(())
    }

    /// Walks over the rest.
    fn beyond(mut self) -> io::Result<Beyond> {
        let bytes = self.lines.left();
        let mut added = Vec::new();
        while let Some(line) = self.lines.next()? {
            added.clear();
            self.frontier.push(tree::leaf(line), &mut added);
        }
        Ok(Beyond { frontier: self.frontier, bytes, whole: self.lines.left() == 0 })
    }
}

/// Cuts all files to what is acknowledged.
fn cut(files: &Files, writer: &Writer) -> io::Result<()> {
    let size = writer.size();
    let lengths = [
        // First, since a torn checkpoint is known by the lines that it was for.
        (&files.checkpoints, writer.notes),
        (&files.entries, writer.bytes),
        (&files.hashes, tree::kept(size) * HASH_BYTES as u64),
        (&files.ends, size * END_BYTES as u64),
    ];
    for (log, length) in lengths {
        if log.size()? > length {
            log.cut(length)?;
            log.sync()?;
        }
    }
    Ok(())
}

/// Writes hashes and line ends anew.
fn rebuild(files: &Files, size: u64) -> io::Result<()> {
    /// How many entries are written at once.
    const GROUP: u64 = 4_096;
    let mut lines = Lines::new(&*files.entries)?;
    let mut frontier = Frontier::default();
    let (mut added, mut ends) = (Vec::new(), Vec::new());
    while frontier.size() < size {
        let before = frontier.size();
        while frontier.size() < size.min(before + GROUP) {
            let line = lines.next()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            frontier.push(tree::leaf(line), &mut added);
            ends.extend_from_slice(&lines.position().to_be_bytes());
        }
        files.hashes.write_at(tree::kept(before) * HASH_BYTES as u64, added.as_flattened())?;
        files.ends.write_at(before * END_BYTES as u64, &ends)?;
        added.clear();
        ends.clear();
    }
    Ok(())
}

/// Compares what should be in a file with what is, piece by piece from its beginning.
struct Compared<'a> {
    log: &'a dyn Log,
    size: u64,
    at: u64,
    buffer: Vec<u8>,
    from: usize,
}

impl<'a> Compared<'a> {
    /// How much is read at once, bytes.
    const CHUNK_BYTES: u64 = 64 << 10;

    fn new(log: &'a dyn Log) -> io::Result<Self> {
        Ok(Self { log, size: log.size()?, at: 0, buffer: Vec::new(), from: 0 })
    }

    /// Whether these bytes come next; a file that cannot be read agrees with nothing.
    fn agrees(&mut self, bytes: &[u8]) -> bool {
        if self.buffer.len() - self.from < bytes.len() {
            self.buffer.drain(..self.from);
            self.from = 0;
            let old = self.buffer.len();
            let more = (self.size - self.at).min(Self::CHUNK_BYTES);
            self.buffer.resize(old + usize::try_from(more).unwrap_or(0), 0);
            if self.log.read_at(self.at, &mut self.buffer[old..]).is_err() {
                return false;
            }
            self.at += more;
        }
        let agrees = self.buffer[self.from..].starts_with(bytes);
        self.from = self.buffer.len().min(self.from + bytes.len());
        agrees
    }
}
