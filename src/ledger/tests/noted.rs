//! What the ledger asks of the keys: only what happened for certain, and all of that.

use super::*;
use crate::keys::Known;

const VAULT: [u8; 16] = [0xab; 16];
const HOLD: [u8; 16] = [0xcd; 16];

fn written(vault: [u8; 16], (generation, vek_epoch): (u64, u64), made: u64, gone: &[u64]) -> Entry {
    let event = Event::RegisterWritten {
        vault: Vault(vault),
        generation,
        vek_epoch,
        made: Keys::of((made > 0).then_some(KeyId(made))),
        gone: Keys::of(gone.iter().copied().map(KeyId)),
    };
    Entry::new(NOW, Actor::Server, event)
}

/// Intent and result of a destruction of these keys.
fn destroyed(ledger: &Ledger, keys: &[u64], vek_after: u64, passed: bool) {
    let operation = ledger.append(intent()).unwrap().operation;
    let end = Event::DestructionResult {
        buckets: 1,
        records: 1,
        keys: Keys::of(keys.iter().copied().map(KeyId)),
        vek_before: vek_after - 1,
        vek_after,
        verification: Verification { passed, opened_none_of: 1, files_searched: 0 },
    };
    ledger.append(Entry::result(NOW, Actor::Server, operation, end)).unwrap();
}

/// What a start knows of the main vault and of that of the holds; `verify` knows the same.
fn known(settings: &Settings) -> [Known; 2] {
    let (ledger, _) = open(settings);
    let [main, hold] = [VAULT, HOLD].map(|vault| ledger.noted_at_start().of(&vault));
    let against = crate::ledger::verify::Against {
        key: ledger.verifier_key(),
        second_copy: None,
        marks: &[],
    };
    let report = crate::ledger::verify::verify(&settings.dir, &against).unwrap();
    assert_eq!([VAULT, HOLD].map(|vault| report.noted.of(&vault)), [main, hold]);
    [main, hold]
}

fn at(generation: u64, vek_epoch: u64, next_key: u64) -> Known {
    Known { generation, vek_epoch, next_key }
}

#[test]
fn a_write_counts_once_its_successor_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let add = |entry| open(&settings).0.append(entry).unwrap();
    assert_eq!(known(&settings)[0], Known::default());
    add(written(VAULT, (2, 1), 7, &[]));
    assert_eq!(known(&settings)[0], at(0, 0, 8), "it may not have happened");
    add(written(VAULT, (3, 1), 0, &[7]));
    assert_eq!(known(&settings)[0], at(2, 1, 8));
    // Not done, and noted again with something else; then its successor.
    add(written(VAULT, (3, 1), 9, &[]));
    assert_eq!(known(&settings)[0], at(2, 1, 10));
    add(written(VAULT, (4, 2), 0, &[9]));
    assert_eq!(known(&settings)[0], at(3, 1, 10));
    // The turn-over was rolled back.
    add(written(VAULT, (4, 1), 0, &[7]));
    add(written(VAULT, (5, 1), 0, &[]));
    assert_eq!(known(&settings), [at(4, 1, 10), Known::default()]);
}

#[test]
fn a_result_makes_its_own_turn_over_certain() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (ledger, _) = open(&settings);
    let add = |entry| ledger.append(entry).unwrap();
    add(written(HOLD, (8, 1), 40, &[]));
    add(written(VAULT, (6, 1), 12, &[]));
    add(written(VAULT, (7, 2), 13, &[3, 4]));
    // Of the other vault, same epoch, and rolled back.
    add(written(HOLD, (9, 2), 0, &[9]));
    // Noted while the destruction ended, and never done.
    add(written(VAULT, (8, 2), 14, &[]));
    drop(ledger);
    assert_eq!(known(&settings), [at(7, 2, 15), at(8, 1, 41)]);
    let (ledger, _) = open(&settings);
    let add = |entry| ledger.append(entry).unwrap();
    add(written(VAULT, (9, 3), 0, &[5, 6]));
    destroyed(&ledger, &[5, 6], 3, false);
    destroyed(&ledger, &[50], 3, true);
    drop(ledger);
    assert_eq!(known(&settings), [at(8, 2, 15), at(8, 1, 41)], "none of these shows it");
    destroyed(&open(&settings).0, &[4, 5], 3, true);
    assert_eq!(known(&settings), [at(9, 3, 15), at(8, 1, 41)]);
}

/// Writes that were lost are said to be; a destruction is never taken back, nor a number.
#[test]
fn a_restore_that_is_noted_may_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (ledger, _) = open(&settings);
    let add = |entry| ledger.append(entry).unwrap();
    add(written(VAULT, (6, 1), 12, &[]));
    add(written(VAULT, (7, 2), 0, &[3]));
    add(written(VAULT, (8, 2), 30, &[]));
    add(written(VAULT, (9, 2), 0, &[]));
    add(Entry::new(
        NOW,
        Actor::Server,
        Event::RestoreIntent { backup: 3, lost_from: NOW, lost_until: NOW },
    ));
    drop(ledger);
    assert_eq!(known(&settings)[0], at(0, 2, 31));
    let (ledger, _) = open(&settings);
    ledger.append(written(VAULT, (8, 2), 31, &[])).unwrap();
    ledger.append(written(VAULT, (9, 2), 32, &[])).unwrap();
    drop(ledger);
    assert_eq!(known(&settings)[0], at(8, 2, 33));
}
