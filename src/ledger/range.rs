//! Checking a part of the ledger that somebody took out of it: the lines from a number on, up to a
//! signed checkpoint or to a line under it. What came before them is known by the proof of the
//! first of them; that they are all up to the last, by the proof of that one, whose hashes are the
//! tree of what stands before it.

use super::entry::Recorded;
use super::note::{Checkpoint, VerifierKey};
use super::proof::{Proof, ProofError, verify_proof};
use super::tree::{self, Frontier};
use super::verify::Finding;
use super::words::Phase;

/// Lines of a ledger with what they are checked against.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    /// The number of the first line.
    pub from: u64,
    /// The lines, each ended by a newline.
    pub lines: &'a [u8],
    /// The proof of the first line; none is needed from entry 0 on.
    pub before: Option<&'a Proof>,
    /// The proof of the last line, where the checkpoint is over more than the lines.
    pub last: Option<&'a Proof>,
    /// The checkpoint over the last line, a signed note.
    pub checkpoint: &'a [u8],
}

/// What does not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not a checkpoint.
    #[error("the checkpoint is not a signed note")]
    Checkpoint,
    /// Another key.
    #[error("the checkpoint is not signed by the ledger's key")]
    Signature,
    /// The proof of the first line.
    #[error("what came before entry {0} is not known: {1}")]
    Before(u64, ProofError),
    /// The proof is of another entry, or missing.
    #[error("there is no proof of entry {0}, which the lines begin with")]
    NoProof(u64),
    /// The proof of the last line.
    #[error("that entry {0} is the last one is not known: {1}")]
    Last(u64, ProofError),
    /// The proof is of another entry, or not under the checkpoint.
    #[error("the proof of the last entry is not one of entry {0} under the checkpoint")]
    NoLast(u64),
    /// A line.
    #[error(transparent)]
    Line(Finding),
    /// The last line has no end.
    #[error("the last line has no end")]
    End,
    /// More or fewer lines than the checkpoint signs.
    #[error("the lines end with {0} entries, and the checkpoint signs {1}")]
    Size(u64, u64),
    /// The root is another one.
    #[error("the lines are not what the checkpoint signs: one of them was changed or exchanged")]
    Root,
}

/// Checks a range; its entries.
///
/// # Errors
/// The first thing that does not agree.
pub fn verify_range(range: &Range<'_>, key: &VerifierKey) -> Result<Vec<Recorded>, RangeError> {
    let checkpoint = Checkpoint::parse(range.checkpoint).ok_or(RangeError::Checkpoint)?;
    if !checkpoint.is_by(key) {
        return Err(RangeError::Signature);
    }
    let mut frontier = begin(range, key)?;
    let lines = match range.lines.split_last() {
        None => Vec::new(),
        Some((b'\n', lines)) => lines.split(|byte| *byte == b'\n').collect(),
        Some(_) => return Err(RangeError::End),
    };
    let (mut entries, mut added) = (Vec::with_capacity(lines.len()), Vec::new());
    let mut before_last = Frontier::default();
    for (at, line) in lines.iter().copied().enumerate() {
        let number = frontier.size();
        if at + 1 == lines.len() {
            before_last = frontier.clone();
        }
        let line_error = |finding| RangeError::Line(finding);
        let entry = Recorded::decode(line).map_err(|_| line_error(Finding::Line(number)))?;
        if entry.number > number {
            let to = entry.number - 1;
            return Err(line_error(Finding::Missing { from: number, to }));
        }
        if entry.number < number {
            return Err(line_error(Finding::Again(entry.number)));
        }
        added.clear();
        frontier.push(tree::leaf(line), &mut added);
        entries.push(entry);
    }
    match (range.last, lines.last()) {
        (None, _) if frontier.size() != checkpoint.size => {
            return Err(RangeError::Size(frontier.size(), checkpoint.size));
        }
        (None, _) if frontier.root() != checkpoint.root => return Err(RangeError::Root),
        (None, _) => {}
        (Some(_), None) => return Err(RangeError::Size(frontier.size(), checkpoint.size)),
        (Some(last), Some(line)) => ends_with(range, last, (&before_last, line), key)?,
    }
    answered(&entries, range.from)?;
    Ok(entries)
}

/// The tree of what came before.
fn begin(range: &Range<'_>, key: &VerifierKey) -> Result<Frontier, RangeError> {
    if range.from == 0 {
        return Ok(Frontier::default());
    }
    let proof = range.before.filter(|proof| proof.index == range.from);
    let proof = proof.ok_or(RangeError::NoProof(range.from))?;
    verify_proof(proof, key).map_err(|error| RangeError::Before(range.from, error))?;
    let hashes: Vec<_> = proof.hashes.iter().map(|hash| hash.0).collect();
    tree::before_leaf(proof.index, proof.size, &hashes)
        .and_then(|peaks| Frontier::of(proof.index, peaks))
        .ok_or(RangeError::Before(range.from, ProofError::Path))
}

/// Whether the lines are those of the tree up to the last one: the entry that the proof is of, and
/// before it what the proof's own hashes say.
fn ends_with(
    range: &Range<'_>,
    last: &Proof,
    (before, line): (&Frontier, &[u8]),
    key: &VerifierKey,
) -> Result<(), RangeError> {
    let number = before.size();
    let own = last.index == number && last.checkpoint.as_bytes() == range.checkpoint;
    if !own {
        return Err(RangeError::NoLast(number));
    }
    verify_proof(last, key).map_err(|error| RangeError::Last(number, error))?;
    let hashes: Vec<_> = last.hashes.iter().map(|hash| hash.0).collect();
    let known = tree::before_leaf(number, last.size, &hashes)
        .and_then(|peaks| Frontier::of(number, peaks))
        .ok_or(RangeError::Last(number, ProofError::Path))?;
    let same = known.root() == before.root() && last.entry.as_bytes() == line;
    if same { Ok(()) } else { Err(RangeError::Root) }
}

/// Each result answers an open intent of its kind, where that is in the range.
fn answered(entries: &[Recorded], from: u64) -> Result<(), RangeError> {
    let mut open = std::collections::BTreeMap::new();
    for entry in entries {
        match entry.event.phase() {
            Phase::Intent => {
                open.insert(entry.number, entry.event.kind());
            }
            Phase::Result if entry.operation >= from => {
                if open.remove(&entry.operation) != Some(entry.event.kind()) {
                    return Err(RangeError::Line(Finding::NoIntent(entry.number)));
                }
            }
            Phase::Result | Phase::Done => {}
        }
    }
    Ok(())
}
