//! The tamper-evident ledger: every destruction, erasure, hold, statement, register write and
//! privileged read is an entry, and nobody can change, drop, reorder or exchange one without being
//! found (L1). It holds no personal data, and its [field types](words) have no room for any.
//!
//! Entries are lines of JSON in a file of their own, under a Merkle tree of RFC 6962 whose root is
//! signed after every append (a C2SP checkpoint). An append returns when the entry and its
//! checkpoint are on the disk. The files, byte for byte: `docs/FORMATS.md`; why so:
//! `docs/decisions/0009-ledger.md`.
//!
//! What protects from what: a change, against the signed root; a ledger that was set back, alone,
//! against the [marks](Ledger::covers) that register and VEK home carry; all of them set back
//! together, against the second copy of the checkpoints, on another mount.
//!
//! A start reads every line once (0.6 s for a million entries, 1 s where the hashes must be made
//! anew, so 6 s to 10 s for ten million); an append writes its line and two hashes or so and syncs
//! twice, however long the ledger is (2 ms); a proof reads some tens of hashes (25 µs). Measured on
//! two cores.

mod book;
pub mod entry;
mod error;
mod home;
mod key_file;
pub mod kinds;
pub mod medium;
pub mod note;
mod noted;
mod notes;
pub mod proof;
pub mod range;
mod second;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod verify;
pub mod words;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::keys::vek::LedgerMark;
use crate::model::time::Timestamp;

use book::{Files, Writer};
use entry::LINE_BYTES_MAX;
pub use entry::{Entry, Recorded};
use error::io_error;
pub use error::{LedgerError, Witness};
use home::{Home, Lock};
pub use key_file::KeyFileError;
pub use kinds::Event;
use note::Signer;
pub use note::{Checkpoint, VerifierKey};
pub use noted::Noted;
pub use proof::{Proof, ProofError, verify_proof};
pub use second::SecondCopy;
use second::{Place, START_WAIT, STOP_WAIT, Second};
use tree::{Hash, Nodes};
pub use words::{
    Actor, Alarm, Bucket, Credential, Digest, Epoch, Keys, Note, Phase, Vault, Verification, Word,
};

/// The lines.
pub const ENTRIES: &str = "entries.ndjson";
/// The signed checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// The hashes of the tree's full subtrees.
pub const HASHES: &str = "hashes";
/// Where each line ends.
pub const ENDS: &str = "ends";
/// The public key, in the verifier form of signed notes.
pub const VERIFIER_KEY: &str = "verifier.key";
/// Locked while a process has the ledger.
pub const LOCK: &str = "ledger.lock";

/// Most bytes of lines in one answer of [`Ledger::read`], unless the first line alone is longer.
pub const READ_BYTES_MAX: usize = 8 << 20;

/// Where the ledger lives and what it must cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory of its files.
    pub dir: PathBuf,
    /// The file of the private key, made at the first start.
    pub signing_key: PathBuf,
    /// The name that a new key gets, and with it the origin of all checkpoints: printable, without
    /// space and plus, different for each installation. An existing key keeps its own.
    pub name: String,
    /// A second copy of the checkpoints, on another mount.
    pub second_copy: Option<PathBuf>,
    /// What register header and VEK home carry: a ledger that does not cover these is refused
    /// before anything in it is touched.
    pub marks: Vec<LedgerMark>,
}

/// An entry is in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its number.
    pub index: u64,
    /// The id of its operation: give it with the result of an intent.
    pub operation: u64,
    /// Entries under the checkpoint that made it durable.
    pub size: u64,
    /// Their root.
    pub root: Hash,
}

impl Receipt {
    /// What the keys carry from now on.
    pub fn mark(&self) -> LedgerMark {
        LedgerMark { size: self.size, root: self.root }
    }
}

/// What a start found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Entries, alarms of this start included.
    pub size: u64,
    /// Whole lines that no checkpoint signed, from a write that was cut short; they were removed.
    pub cut_entries: u64,
    /// Bytes that were removed with them, those of a torn line or checkpoint included.
    pub cut_bytes: u64,
    /// The hashes or line ends were missing or damaged and were made anew.
    pub rebuilt: bool,
    /// How the second copy stands.
    pub second_copy: SecondCopy,
}

/// The last checkpoint, and whether anything may be answered from it.
struct Published {
    checkpoint: Checkpoint,
    failed: Option<io::ErrorKind>,
}

/// An entry that waits to be written, and where its answer is put.
struct Waiting {
    entry: Entry,
    answer: Arc<Mutex<Option<Result<Receipt, LedgerError>>>>,
}

/// The ledger. All calls may come from many threads; appends that wait for each other are written
/// together.
pub struct Ledger {
    files: Arc<Files>,
    signer: Signer,
    queue: Mutex<Vec<Waiting>>,
    writer: Mutex<Writer>,
    published: RwLock<Published>,
    second: Option<Second>,
    noted: Noted,
    _lock: Option<Lock>,
}

impl Ledger {
    /// Opens a ledger, or makes it with its key at the very first start.
    ///
    /// # Errors
    /// When anything in it does not agree, it does not cover a mark, or a file cannot be used.
    pub fn open(settings: &Settings, now: Timestamp) -> Result<(Self, Opened), LedgerError> {
        let Home { files, signer, second, lock } = home::open(settings)?;
        let (mut ledger, opened) = Self::start(files, signer, second, &settings.marks, now)?;
        ledger._lock = Some(lock);
        Ok((ledger, opened))
    }

    /// Starts from files that are open.
    fn start(
        files: Files,
        signer: Signer,
        place: Option<Place>,
        marks: &[LedgerMark],
        now: Timestamp,
    ) -> Result<(Self, Opened), LedgerError> {
        let files = Arc::new(files);
        let begin = |place| {
            let ours = (signer.public().clone(), Arc::clone(&files));
            Second::begin(place, ours, START_WAIT).map_err(io_error("follow", "the second copy"))
        };
        let (second, copied) = match place.map(begin).transpose()? {
            Some((second, copied)) => (Some(second), copied),
            None => (None, None),
        };
        let mut witnesses: Vec<_> = marks.iter().map(|mark| (Witness::Keys, *mark)).collect();
        witnesses.extend(copied.iter().map(|last| (Witness::SecondCopy, last.mark())));
        let (writer, checkpoint, found) = book::recover(&files, &signer, &witnesses)?;
        let size = checkpoint.size;
        let standing = second.as_ref().map_or(SecondCopy::NotConfigured, Second::standing);
        let alarm = match standing {
            SecondCopy::Unreachable(_) => Some(Alarm::SecondCopyUnreachable),
            SecondCopy::Disagrees => Some(Alarm::SecondCopyDisagrees),
            SecondCopy::InStep if copied.is_none() && size > 0 => Some(Alarm::SecondCopyNew),
            SecondCopy::InStep | SecondCopy::NotConfigured => None,
        };
        let stale = copied.is_none_or(|last| last.size < size);
        let ledger = Self {
            files,
            signer,
            queue: Mutex::default(),
            published: RwLock::new(Published { checkpoint: checkpoint.clone(), failed: None }),
            writer: Mutex::new(writer),
            second,
            noted: found.noted,
            _lock: None,
        };
        if let (Some(second), true, None) = (&ledger.second, stale, alarm) {
            second.offer(&checkpoint, now);
        }
        if let Some(reason) = alarm {
            ledger.append(Entry::new(now, Actor::Server, Event::Alarm { reason }))?;
        }
        let opened = Opened {
            size: ledger.head()?.size,
            cut_entries: found.cut_entries,
            cut_bytes: found.cut_bytes,
            rebuilt: found.rebuilt,
            second_copy: ledger.second_copy(),
        };
        Ok((ledger, opened))
    }

    /// Appends an entry. When it returns, the entry and a checkpoint over it are on the disk.
    ///
    /// # Errors
    /// When the entry cannot be written in this form, or writing failed, now or before.
    pub fn append(&self, entry: Entry) -> Result<Receipt, LedgerError> {
        let answer = Arc::default();
        let waiting = Waiting { entry, answer: Arc::clone(&answer) };
        unpoisoned(self.queue.lock()).push(waiting);
        let mut writer = self.writing();
        // Whoever had the pen meanwhile may have written this one as well.
        if let Some(answer) = unpoisoned(answer.lock()).take() {
            return answer;
        }
        let group = std::mem::take(&mut *unpoisoned(self.queue.lock()));
        let written = self.write(&mut writer, group.iter().map(|waiting| &waiting.entry));
        let failed = |kind| std::iter::repeat_with(move || Err(LedgerError::Failed(kind)));
        match written {
            Ok(receipts) => answer_all(&group, receipts.into_iter()),
            Err(LedgerError::Failed(kind)) => answer_all(&group, failed(kind)),
            Err(_) => answer_all(&group, failed(io::ErrorKind::Other)),
        }
        let own = unpoisoned(answer.lock()).take();
        own.unwrap_or(Err(LedgerError::Failed(io::ErrorKind::Other)))
    }

    /// Appends entries in this order, with one sync. Each has an answer of its own.
    ///
    /// # Errors
    /// When writing failed, now or before; then none of them is in the ledger.
    pub fn append_all(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<Receipt, LedgerError>>, LedgerError> {
        self.write(&mut self.writing(), entries.iter())
    }

    /// The last checkpoint: size, root, and the signed note that outsiders check.
    ///
    /// # Errors
    /// After a failed write.
    pub fn head(&self) -> Result<Checkpoint, LedgerError> {
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner);
        match published.failed {
            Some(kind) => Err(LedgerError::Failed(kind)),
            None => Ok(published.checkpoint.clone()),
        }
    }

    /// What register header and VEK home carry, so that an older ledger is refused.
    ///
    /// # Errors
    /// After a failed write.
    pub fn mark(&self) -> Result<LedgerMark, LedgerError> {
        Ok(self.head()?.mark())
    }

    /// Whether the ledger has at least the entries of a mark, and those.
    ///
    /// # Errors
    /// When it has fewer ([`LedgerError::Behind`]) or others ([`LedgerError::Forked`]).
    pub fn covers(&self, mark: LedgerMark) -> Result<(), LedgerError> {
        self.covers_of(Witness::Keys, mark)
    }

    /// As [`Ledger::covers`], with who knows the mark.
    ///
    /// # Errors
    /// As [`Ledger::covers`].
    pub fn covers_of(&self, witness: Witness, mark: LedgerMark) -> Result<(), LedgerError> {
        let ours = self.head()?.size;
        if mark.size > ours {
            return Err(LedgerError::Behind { witness, theirs: mark.size, ours });
        }
        let root = self.root(mark.size)?;
        if mark.size > 0 && root != mark.root {
            return Err(LedgerError::Forked { witness, size: mark.size });
        }
        Ok(())
    }

    /// The root of the first `size` entries.
    ///
    /// # Errors
    /// When there are fewer, or a hash cannot be read.
    pub fn root(&self, size: u64) -> Result<Hash, LedgerError> {
        self.within(size)?;
        tree::root(&*self.files, size).map_err(io_error("read", HASHES))
    }

    /// Lines from an entry on, without their newlines: at most `limit`, and at most
    /// [`READ_BYTES_MAX`] bytes unless the first alone is longer. [`Recorded::decode`] reads them.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&self, from: u64, limit: u64) -> Result<Vec<String>, LedgerError> {
        let size = self.head()?.size;
        let begin = |entry| self.files.begin(entry).map_err(io_error("read", ENDS));
        let (mut lines, mut bytes) = (Vec::new(), 0);
        for entry in from..from.saturating_add(limit).min(size) {
            let line = self.line(entry, begin(entry)?, begin(entry + 1)?)?;
            bytes += line.len();
            if bytes > READ_BYTES_MAX && entry > from {
                break;
            }
            lines.push(line);
        }
        Ok(lines)
    }

    /// The proof of RFC 6962 that an entry is among the first `size`.
    ///
    /// # Errors
    /// When there are fewer entries, or a hash cannot be read.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, LedgerError> {
        self.within(size)?;
        if index >= size {
            return Err(LedgerError::Beyond { asked: index, size });
        }
        tree::inclusion(&*self.files, index, size).map_err(io_error("read", HASHES))
    }

    /// The proof of RFC 6962 that the first `from` entries are the beginning of the first `to`.
    ///
    /// # Errors
    /// When there are fewer entries, or a hash cannot be read.
    pub fn consistency(&self, from: u64, to: u64) -> Result<Vec<Hash>, LedgerError> {
        self.within(to)?;
        if from > to {
            return Err(LedgerError::Beyond { asked: from, size: to });
        }
        tree::consistency(&*self.files, from, to).map_err(io_error("read", HASHES))
    }

    /// An entry with its proof under the last checkpoint, for a certificate.
    ///
    /// # Errors
    /// When there is no such entry, or a file cannot be read.
    pub fn proof(&self, index: u64) -> Result<Proof, LedgerError> {
        let head = self.head()?;
        let hashes = self.inclusion(index, head.size)?;
        let entry = self.read(index, 1)?.pop();
        let entry = entry.ok_or(LedgerError::Beyond { asked: index, size: head.size })?;
        let hashes = hashes.into_iter().map(Digest).collect();
        Ok(Proof { entry, index, size: head.size, hashes, checkpoint: head.to_string() })
    }

    /// What the entries say of the vaults of keys, as of the start.
    pub fn noted_at_start(&self) -> &Noted {
        &self.noted
    }

    /// The intents that have no result yet, oldest first: what a start has to finish.
    ///
    /// # Errors
    /// When a line cannot be read.
    pub fn unfinished(&self) -> Result<Vec<Recorded>, LedgerError> {
        let open = self.writing().open();
        let read = |entry| -> Result<Recorded, LedgerError> {
            let line = self.read(entry, 1)?.pop().unwrap_or_default();
            Recorded::decode(line.as_bytes()).map_err(|_| LedgerError::Changed { entry })
        };
        open.into_iter().map(read).collect()
    }

    /// How the second copy of the checkpoints stands. It never waits for a write.
    pub fn second_copy(&self) -> SecondCopy {
        self.second.as_ref().map_or(SecondCopy::NotConfigured, Second::standing)
    }

    /// Looks after the second copy: one that became worse, or that lacks an entry for too long, is
    /// an alarm; one that could not be reached is tried again. To be called now and then.
    ///
    /// # Errors
    /// When the alarm cannot be written.
    pub fn watch_second_copy(&self, now: Timestamp) -> Result<(), LedgerError> {
        let Some(second) = &self.second else { return Ok(()) };
        second.look(&self.head()?, now);
        let alarm = |reason| Entry::new(now, Actor::Server, Event::Alarm { reason });
        second.take_alarm().map_or(Ok(()), |reason| self.append(alarm(reason)).map(drop))
    }

    /// Waits until the second copy has the last checkpoint, or could not be written; some seconds
    /// at most.
    pub fn finish_second_copy(&self) {
        if let Some(second) = &self.second {
            second.settle(STOP_WAIT);
        }
    }

    /// The public key, which outsiders check everything with.
    pub fn verifier_key(&self) -> &VerifierKey {
        self.signer.public()
    }

    /// A line, if it is still the one that is in the tree.
    fn line(&self, entry: u64, at: u64, end: u64) -> Result<String, LedgerError> {
        let changed = || LedgerError::Changed { entry };
        let length = end.checked_sub(at).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= LINE_BYTES_MAX + 1).ok_or_else(changed)?;
        let mut line = vec![0; length];
        self.files.entries.read_at(at, &mut line).map_err(io_error("read", ENTRIES))?;
        let ended = line.pop() == Some(b'\n');
        let kept = self.files.node(tree::place(0, entry)).map_err(io_error("read", HASHES))?;
        if !ended || tree::leaf(&line) != kept {
            return Err(changed());
        }
        String::from_utf8(line).map_err(|_| changed())
    }

    fn within(&self, size: u64) -> Result<(), LedgerError> {
        let ours = self.head()?.size;
        if size > ours { Err(LedgerError::Beyond { asked: size, size: ours }) } else { Ok(()) }
    }

    fn writing(&self) -> MutexGuard<'_, Writer> {
        unpoisoned(self.writer.lock())
    }

    /// Writes entries, publishes the checkpoint, has it copied, and says what became of those
    /// before.
    fn write<'a>(
        &self,
        writer: &mut Writer,
        entries: impl Iterator<Item = &'a Entry> + Clone,
    ) -> Result<Vec<Result<Receipt, LedgerError>>, LedgerError> {
        let last = entries.clone().last().map(|entry| entry.time);
        let (receipts, checkpoint) = self.commit(writer, entries)?;
        let (Some(checkpoint), Some(time), Some(second)) = (checkpoint, last, &self.second) else {
            return Ok(receipts);
        };
        second.offer(&checkpoint, time);
        if let Some(reason) = second.take_alarm() {
            let alarm = Entry::new(time, Actor::Server, Event::Alarm { reason });
            if let (_, Some(checkpoint)) = self.commit(writer, std::iter::once(&alarm))? {
                second.offer(&checkpoint, time);
            }
        }
        Ok(receipts)
    }

    fn commit<'a>(
        &self,
        writer: &mut Writer,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> Result<(Vec<Result<Receipt, LedgerError>>, Option<Checkpoint>), LedgerError> {
        let done = writer.commit(&self.files, &self.signer, entries);
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        match &done {
            Ok((_, Some(checkpoint))) => published.checkpoint = checkpoint.clone(),
            Ok((_, None)) => {}
            Err(LedgerError::Failed(kind)) => published.failed = Some(*kind),
            Err(_) => published.failed = Some(io::ErrorKind::Other),
        }
        done
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.finish_second_copy();
    }
}

/// A thread that panicked with a lock leaves a writer that refuses everything, so there is nothing
/// to fear from what it left.
fn unpoisoned<'a, T>(
    locked: Result<MutexGuard<'a, T>, PoisonError<MutexGuard<'a, T>>>,
) -> MutexGuard<'a, T> {
    locked.unwrap_or_else(PoisonError::into_inner)
}

fn answer_all(group: &[Waiting], answers: impl Iterator<Item = Result<Receipt, LedgerError>>) {
    for (waiting, answer) in group.iter().zip(answers) {
        *unpoisoned(waiting.answer.lock()) = Some(answer);
    }
}
