//! A part of a ledger, checked by itself.

use super::*;
use crate::ledger::range::{Range, RangeError, verify_range};
use crate::ledger::{Proof, VerifierKey};

/// Lines from a number on, with what they are checked against.
struct Part {
    from: u64,
    lines: Vec<u8>,
    before: Option<Proof>,
    checkpoint: String,
}

impl Part {
    fn of(ledger: &Ledger, from: u64) -> Self {
        let head = ledger.head().unwrap();
        let lines = ledger.read(from, 1_000).unwrap();
        let lines = lines.into_iter().map(|line| line + "\n").collect::<String>().into_bytes();
        let before = (from > 0).then(|| ledger.proof(from).unwrap());
        Self { from, lines, before, checkpoint: head.to_string() }
    }

    fn check(&self, key: &VerifierKey) -> Result<usize, RangeError> {
        let range = Range {
            from: self.from,
            lines: &self.lines,
            before: self.before.as_ref(),
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
