//! A part of a ledger, checked by itself.

use super::*;
use crate::ledger::range::{Range, RangeError, verify_range};
use crate::ledger::{Proof, VerifierKey};

/// Lines from a number on, with what they are checked against.
struct Part {
    from: u64,
    lines: Vec<u8>,
    before: Option<Proof>,
    last: Option<Proof>,
    checkpoint: String,
}

impl Part {
    fn of(ledger: &Ledger, from: u64) -> Self {
        let head = ledger.head().unwrap();
        let lines = ledger.read(from, 1_000).unwrap();
        let lines = lines.into_iter().map(|line| line + "\n").collect::<String>().into_bytes();
        let before = (from > 0).then(|| ledger.proof(from).unwrap());
        Self { from, lines, before, last: None, checkpoint: head.to_string() }
    }

    /// One that ends with an entry.
    fn until(ledger: &Ledger, from: u64, to: u64) -> Self {
        let last = ledger.proof(to).unwrap();
        let lines = ledger.read(from, to + 1 - from).unwrap();
        let lines = lines.into_iter().map(|line| line + "\n").collect::<String>().into_bytes();
        let checkpoint = last.checkpoint.clone();
        Self { lines, last: Some(last), checkpoint, ..Self::of(ledger, from) }
    }

    fn check(&self, key: &VerifierKey) -> Result<usize, RangeError> {
        let range = Range {
            from: self.from,
            lines: &self.lines,
            before: self.before.as_ref(),
            last: self.last.as_ref(),
            checkpoint: self.checkpoint.as_bytes(),
        };
        verify_range(&range, key).map(|entries| entries.len())
    }
}

#[test]
fn a_range_from_any_entry_leads_to_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&settings(folder.path()));
    for no in 0..21 {
        ledger.append(read_of(no)).unwrap();
        let size = no + 1;
        for from in 0..size {
            let part = Part::of(&ledger, from);
            assert_eq!(part.check(ledger.verifier_key()), Ok((size - from) as usize), "{from}");
        }
    }
    // The proof may be under a later checkpoint than that of the lines.
    let mut part = Part::of(&ledger, 6);
    ledger.append(read_of(99)).unwrap();
    part.before = Some(ledger.proof(6).unwrap());
    assert_eq!(part.check(ledger.verifier_key()), Ok(15));
}

#[test]
fn a_range_may_end_before_the_ledger_does() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&settings(folder.path()));
    for no in 0..13 {
        ledger.append(read_of(no)).unwrap();
    }
    let key = ledger.verifier_key();
    for (from, to) in (0..13).flat_map(|from| (from..13).map(move |to| (from, to))) {
        let good = Part::until(&ledger, from, to);
        assert_eq!(good.check(key), Ok((to + 1 - from) as usize), "{from} to {to}");
        for at in (0..good.lines.len()).step_by(7) {
            let mut part = Part::until(&ledger, from, to);
            part.lines[at] ^= 1 << (at % 7);
            assert!(part.check(key).is_err(), "byte {at} of {from} to {to}");
        }
        // A line less, a line more, the proof of another one, and none.
        let lines = good.lines.split_inclusive(|byte| *byte == b'\n').collect::<Vec<_>>();
        let less =
            Part { lines: lines[..lines.len() - 1].concat(), ..Part::until(&ledger, from, to) };
        assert!(less.check(key).is_err(), "{from} to {to}");
        if to < 12 {
            let more = Part { lines: Part::until(&ledger, from, to + 1).lines, ..good };
            assert_eq!(more.check(key), Err(RangeError::NoLast(to + 1)));
            let other = Part {
                last: Some(ledger.proof(to + 1).unwrap()),
                ..Part::until(&ledger, from, to)
            };
            assert_eq!(other.check(key), Err(RangeError::NoLast(to)));
            let none = Part { last: None, ..Part::until(&ledger, from, to) };
            assert_eq!(none.check(key), Err(RangeError::Size(to + 1, 13)));
        }
    }
    // Lines of a fork before a last line that is the ledger's own.
    let (other, fork) = (tempfile::tempdir().unwrap(), Part::until(&ledger, 0, 5));
    let (forked, _) = open(&settings(other.path()));
    for no in 0..6 {
        forked.append(read_of(if no == 2 { 99 } else { no })).unwrap();
    }
    let lines = forked.read(0, 6).unwrap().into_iter().map(|line| line + "\n");
    let lines = lines.collect::<String>().into_bytes();
    assert_eq!(Part { lines, ..fork }.check(key), Err(RangeError::Root));
    // A proof whose hashes were exchanged proves nothing.
    let mut part = Part::until(&ledger, 0, 5);
    part.last.as_mut().unwrap().hashes[0].0[0] ^= 1;
    assert_eq!(part.check(key), Err(RangeError::Last(5, crate::ledger::ProofError::Path)));
}

#[test]
fn whatever_is_changed_in_a_range_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&settings(folder.path()));
    for no in 0..13 {
        ledger.append(read_of(no)).unwrap();
    }
    let key = ledger.verifier_key();
    for from in [0, 5, 12] {
        let good = Part::of(&ledger, from);
        for at in 0..good.lines.len() {
            let mut part = Part::of(&ledger, from);
            part.lines[at] ^= 1 << (at % 7);
            assert!(part.check(key).is_err(), "byte {at} from {from}");
        }
        let ends = good.lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        for (end, _) in ends {
            let mut part = Part::of(&ledger, from);
            part.lines.truncate(end + 1);
            assert_eq!(part.check(key).is_ok(), end + 1 == good.lines.len());
        }
    }
    let mut part = Part::of(&ledger, 5);
    part.from = 4;
    assert_eq!(part.check(key), Err(RangeError::NoProof(4)));
    part.before = Some(ledger.proof(4).unwrap());
    assert!(part.check(key).is_err());
    let mut part = Part::of(&ledger, 5);
    part.before.as_mut().unwrap().hashes[0].0[0] ^= 1;
    assert!(matches!(part.check(key), Err(RangeError::Before(5, _))));
    let other = Signer::new("other", SigningKey::new(&Secret::random()).unwrap()).unwrap();
    assert_eq!(Part::of(&ledger, 0).check(other.public()), Err(RangeError::Signature));
}
