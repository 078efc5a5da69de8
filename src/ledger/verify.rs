//! Checking a ledger without the server: everything is recomputed from the lines, and whatever does
//! not agree with a signature, a mark or the second copy is named. It needs the public key, which
//! an auditor has from elsewhere than the ledger's directory.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

use super::entry::Recorded;
use super::medium::{DiskLog, Lines, Log};
use super::note::{CHECKPOINT_BYTES_MAX, Checkpoint, VerifierKey};
use super::noted::Noted;
use super::notes::{Next, Notes};
use super::tree::{self, Frontier, Hash, Nodes};
use super::words::Phase;
use super::{CHECKPOINTS, ENTRIES, HASHES};
use crate::keys::vek::LedgerMark;

mod advice;

/// Most findings that are listed.
pub const FINDINGS_MAX: usize = 1_000;

/// What a ledger is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    /// The public key.
    pub key: &'a VerifierKey,
    /// The second copy of the checkpoints.
    pub second_copy: Option<&'a Path>,
    /// Marks that register header and VEK home carry.
    pub marks: &'a [LedgerMark],
}

/// Who knows a size and a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knower {
    /// The file of checkpoints.
    Checkpoints,
    /// Its second copy.
    SecondCopy,
    /// Register header or VEK home.
    Keys,
}

impl fmt::Display for Knower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoints => "the file of checkpoints",
            Self::SecondCopy => "the second copy of the checkpoints",
            Self::Keys => "the key register or the VEK home",
        })
    }
}

/// Something that does not agree. Entries are named by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A line that is no entry.
    #[error("entry {0}: its line is not an entry in the ledger's own form; it was changed")]
    Line(u64),
    /// Numbers were skipped.
    #[error("entry {from}: missing, with all up to entry {to}")]
    Missing {
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        to: u64,
    },
    /// A number that was there before.
    #[error("entry {0}: comes again, or out of order")]
    Again(u64),
    /// A result without its intent.
    #[error("entry {0}: a result without an open intent of its kind")]
    NoIntent(u64),
    /// A line that is not what was signed, and others before agree.
    #[error("entry {0}: not what was signed; it was changed")]
    Changed(u64),
    /// The first root that does not agree, where lines are in order.
    #[error(
        "entry {from}: from here to entry {to} something was changed or exchanged: the root over \
         {size} entries in {by} is another one", size = to + 1
    )]
    Root {
        /// Whose root.
        by: Knower,
        /// The first entry that may be the changed one.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// Fewer entries than somebody knows of.
    #[error("entry {from}: missing, with all that follow: {by} knows of {size} entries")]
    Short {
        /// Whose size.
        by: Knower,
        /// The first that is missing.
        from: u64,
        /// How many there were.
        size: u64,
    },
    /// More than the last checkpoint signs.
    #[error("entry {0}: not signed by any checkpoint")]
    Unsigned(u64),
    /// A checkpoint that is none.
    #[error("{0}: what follows the checkpoint over {1} entries is not a checkpoint")]
    NotCheckpoint(Knower, u64),
    /// A signature that is not by the key.
    #[error("{0}: the checkpoint over {1} entries is not signed by the ledger's key")]
    Signature(Knower, u64),
    /// Sizes that go back.
    #[error("{0}: the checkpoint over {1} entries comes after a later one")]
    Order(Knower, u64),
    /// No checkpoint at all.
    #[error("{0}: there is no checkpoint in it")]
    NoCheckpoint(Knower),
    /// A file that is not there or cannot be read.
    #[error("{0}: cannot be read ({1})")]
    Unreadable(Knower, io::ErrorKind),
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Entries.
    pub size: u64,
    /// Their root.
    pub root: Hash,
    /// Checkpoints with good signatures that agree, those of the second copy included.
    pub checkpoints: u64,
    /// How many entries the second copy knows of and agrees with; `None` where there is none that
    /// can be read. From there on nobody but this host vouches: a fork behind it is not seen.
    pub second: Option<u64>,
    /// What the entries say of the vaults of keys.
    pub noted: Noted,
    /// What does not agree, at most [`FINDINGS_MAX`]; empty for a good ledger.
    pub findings: Vec<Finding>,
    /// More than a killed server leaves: a broken checkpoint with others behind it, entries that
    /// somebody else knows and the checkpoints do not sign, or more findings than are listed.
    beyond: bool,
}

impl Report {
    /// Whether everything agrees.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    /// How many entries are signed, if nothing was found but what a killed server leaves after
    /// them: lines or a checkpoint that it was writing, also in the second copy, acknowledged to
    /// nobody. The next start looks at them more closely and removes them.
    pub fn signed(&self) -> Option<u64> {
        let unsigned = self.findings.iter().find_map(|finding| match finding {
            Finding::Unsigned(from) => Some(*from),
            _ => None,
        });
        let signed = unsigned.unwrap_or(self.size);
        let left = |finding: &Finding| match *finding {
            Finding::Unsigned(_) => true,
            Finding::Line(at) | Finding::NoIntent(at) | Finding::Missing { from: at, .. } => {
                at >= signed
            }
            Finding::NotCheckpoint(Knower::Checkpoints, at) => at == signed,
            Finding::NotCheckpoint(Knower::SecondCopy, at) => at <= signed,
            _ => false,
        };
        (!self.beyond && self.findings.iter().all(left)).then_some(signed)
    }
}

/// Checks the ledger in a directory.
///
/// # Errors
/// When the lines cannot be read; everything else is a finding.
pub fn verify(dir: &Path, against: &Against<'_>) -> io::Result<Report> {
    let open = |path: &Path| File::open(path).map(DiskLog);
    let entries = open(&dir.join(ENTRIES))?;
    let (noted, findings) = (Noted::default(), Vec::new());
    let root = tree::empty();
    let mut report =
        Report { size: 0, root, checkpoints: 0, second: None, noted, findings, beyond: false };
    let (own, copy) = (open(&dir.join(CHECKPOINTS)), against.second_copy.map(open));
    let mut trails = Vec::new();
    for (source, log) in [(Knower::Checkpoints, Some(&own)), (Knower::SecondCopy, copy.as_ref())] {
        match log {
            None => {}
            Some(Ok(log)) => trails.push(Trail::new(source, Feed::Notes(Notes::new(log)?))),
            Some(Err(error)) => report.say(Finding::Unreadable(source, error.kind())),
        }
    }
    let mut marks: Vec<_> = against.marks.iter().filter(|mark| mark.size > 0).copied().collect();
    marks.sort_by_key(|mark| mark.size);
    trails.push(Trail::new(Knower::Keys, Feed::Marks(marks.into_iter())));
    let hashes = open(&dir.join(HASHES)).ok();
    let check = Check { key: against.key, hashes, report, trails, frontier: Frontier::default() };
    check.run(&entries)
}

impl Report {
    fn say(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.beyond = true;
        }
    }
}

/// Sizes and roots, in order.
enum Feed<'a> {
    Notes(Notes<'a>),
    Marks(std::vec::IntoIter<LedgerMark>),
}

/// One who knows sizes and roots, and how far it was compared.
struct Trail<'a> {
    source: Knower,
    feed: Feed<'a>,
    /// What comes next; `None` at its end.
    next: Option<LedgerMark>,
    /// The last size that agreed.
    agreed: u64,
    /// Its last good size.
    last: Option<u64>,
    /// A root did not agree, so later ones cannot either.
    lost: bool,
}

impl<'a> Trail<'a> {
    fn new(source: Knower, feed: Feed<'a>) -> Self {
        Self { source, feed, next: None, agreed: 0, last: None, lost: false }
    }

    /// Steps to the next size; says what is wrong on the way.
    fn step(&mut self, key: &VerifierKey, report: &mut Report) -> io::Result<()> {
        let (source, before) = (self.source, self.last.unwrap_or(0));
        self.next = match &mut self.feed {
            Feed::Marks(marks) => marks.next(),
            Feed::Notes(notes) => match next_good(notes, source, before, (key, report))? {
                None if self.last.is_none() => {
                    report.say(Finding::NoCheckpoint(source));
                    None
                }
                next => next,
            },
        };
        self.last = self.next.map(|next| next.size).or(self.last);
        Ok(())
    }
}

/// The next checkpoint with a good signature and in order.
fn next_good(
    notes: &mut Notes<'_>,
    source: Knower,
    before: u64,
    (key, report): (&VerifierKey, &mut Report),
) -> io::Result<Option<LedgerMark>> {
    loop {
        let note: Box<Checkpoint> = match notes.next()? {
            Next::End => return Ok(None),
            Next::Broken => {
                // A cut leaves at most a part of one.
                report.beyond |= notes.left() > CHECKPOINT_BYTES_MAX as u64;
                report.say(Finding::NotCheckpoint(source, before));
                return Ok(None);
            }
            Next::Note(note) => note,
        };
        if !note.is_by(key) {
            report.say(Finding::Signature(source, note.size));
        } else if note.size < before {
            report.say(Finding::Order(source, note.size));
        } else {
            return Ok(Some(LedgerMark { size: note.size, root: note.root }));
        }
    }
}

struct Check<'a> {
    key: &'a VerifierKey,
    hashes: Option<DiskLog>,
    report: Report,
    trails: Vec<Trail<'a>>,
    frontier: Frontier,
}

/// The kept hashes, where they can be read.
struct Kept<'a>(&'a DiskLog);

impl Nodes for Kept<'_> {
    fn node(&self, place: u64) -> io::Result<Hash> {
        let mut hash = [0; 32];
        self.0.read_at(place * 32, &mut hash)?;
        Ok(hash)
    }
}

impl Check<'_> {
    fn run(mut self, entries: &dyn Log) -> io::Result<Report> {
        for trail in &mut self.trails {
            trail.step(self.key, &mut self.report)?;
        }
        self.compare()?;
        let mut lines = Lines::new(entries)?;
        let mut order = Order::default();
        let (mut added, mut leaves) = (Vec::new(), Leaves::default());
        while let Some(line) = lines.next()? {
            order.read(line, &mut self.report);
            added.clear();
            let leaf = tree::leaf(line);
            self.frontier.push(leaf, &mut added);
            leaves.push(leaf);
            self.compare_named(&mut leaves)?;
        }
        if lines.left() > 0 {
            self.report.say(Finding::Line(order.expected));
        }
        self.finish()
    }

    /// Compares, and puts a root that differs down to one line where the kept hashes know it.
    fn compare_named(&mut self, leaves: &mut Leaves) -> io::Result<()> {
        let known = self.report.findings.len();
        self.compare()?;
        if let (Some(hashes), Some(Finding::Root { from, to, .. })) =
            (&self.hashes, self.report.findings.get(known).copied())
            && let Some(entry) = leaves.first_other(&Kept(hashes), from, to)
        {
            self.report.findings[known] = Finding::Changed(entry);
        }
        if self.trails.first().is_none_or(|trail| trail.agreed == self.frontier.size()) {
            leaves.clear(self.frontier.size());
        }
        Ok(())
    }

    /// Compares the tree with everybody who knows this size.
    fn compare(&mut self) -> io::Result<()> {
        let size = self.frontier.size();
        let mut root = None;
        for trail in &mut self.trails {
            while let Some(mark) = trail.next.filter(|mark| mark.size <= size) {
                let same = *root.get_or_insert_with(|| self.frontier.root()) == mark.root;
                let (source, from) = (trail.source, trail.agreed);
                if same {
                    trail.agreed = size;
                    self.report.checkpoints += u64::from(source != Knower::Keys);
                } else if !trail.lost {
                    trail.lost = true;
                    let to = size.saturating_sub(1).max(from);
                    self.report.say(Finding::Root { by: source, from, to });
                }
                trail.step(self.key, &mut self.report)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Report> {
        let size = self.frontier.size();
        let agreed: Vec<u64> = self.trails.iter().map(|trail| trail.agreed).collect();
        for trail in &mut self.trails {
            // To its end, so that every signature is looked at and the largest size is known.
            while trail.next.is_some() {
                trail.step(self.key, &mut self.report)?;
            }
            let (source, last) = (trail.source, trail.last.unwrap_or(0));
            if source == Knower::SecondCopy {
                self.report.second = Some(trail.agreed);
            }
            if last > size {
                self.report.say(Finding::Short { by: source, from: size, size: last });
            } else if source == Knower::Checkpoints && last < size {
                self.report.say(Finding::Unsigned(last));
                // The checkpoint is written before anybody else hears of its size.
                self.report.beyond |= agreed.iter().any(|known| *known > last);
            }
        }
        (self.report.size, self.report.root) = (size, self.frontier.root());
        Ok(self.report)
    }
}

/// The leaves since the last checkpoint that agreed, to name the one that differs.
#[derive(Default)]
struct Leaves {
    first: u64,
    list: Vec<Hash>,
}

impl Leaves {
    /// Most that are kept; more in one checkpoint are named as a range.
    const MAX: usize = 1 << 16;

    fn push(&mut self, leaf: Hash) {
        if self.list.len() < Self::MAX {
            self.list.push(leaf);
        }
    }

    fn clear(&mut self, first: u64) {
        self.list.clear();
        self.first = first;
    }

    /// The first entry of a range whose kept hash is another one, if it is the only such: a range
    /// in which everything differs was exchanged, or moved.
    fn first_other(&self, kept: &dyn Nodes, from: u64, to: u64) -> Option<u64> {
        let mut others = (from..=to).filter(|entry| {
            let at = entry.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
            let leaf = at.and_then(|at| self.list.get(at));
            let kept = kept.node(tree::place(0, *entry));
            leaf.is_some_and(|leaf| kept.is_ok_and(|kept| kept != *leaf))
        });
        let first = others.next()?;
        others.next().is_none().then_some(first)
    }
}

/// Numbers, and operations.
#[derive(Default)]
struct Order {
    expected: u64,
    open: std::collections::BTreeMap<u64, &'static str>,
}

impl Order {
    fn read(&mut self, line: &[u8], report: &mut Report) {
        let Ok(entry) = Recorded::decode(line) else {
            report.say(Finding::Line(self.expected));
            self.expected += 1;
            return;
        };
        let number = entry.number;
        if number > self.expected {
            report.say(Finding::Missing { from: self.expected, to: number - 1 });
        } else if number < self.expected {
            report.say(Finding::Again(number));
        }
        self.expected = self.expected.max(number.saturating_add(1));
        report.noted.read((entry.event.kind(), entry.event.phase()), line);
        match entry.event.phase() {
            Phase::Intent => drop(self.open.insert(number, entry.event.kind())),
            Phase::Done => {}
            Phase::Result => {
                let begun = self.open.remove(&entry.operation);
                if begun != Some(entry.event.kind()) {
                    report.say(Finding::NoIntent(number));
                }
            }
        }
    }
}
