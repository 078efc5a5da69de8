//! Power cuts and kills at every write and sync.

use super::disk::{Cut, Disk, disk, files};
use super::*;
use crate::ledger::tree;
use crate::ledger::verify::{self, Against};
use crate::ledger::{CHECKPOINTS, ENTRIES, HASHES, Receipt};

fn start(disk: &Disk) -> Result<(Ledger, Opened), LedgerError> {
    Ledger::start(files(disk), signer(), None, &[], NOW)
}

/// What a life of the ledger was told.
#[derive(Default)]
struct Told {
    lines: Vec<String>,
    mark: LedgerMark,
}

/// Appends until something fails; how many entries were under way then.
fn live(disk: &Disk, told: &mut Told) -> usize {
    let Ok((ledger, _)) = start(disk) else { return 0 };
    let groups: [&[Entry]; 4] = [
        &[read_of(1)],
        &[intent(), read_of(2), read_of(3), read_of(4), read_of(5)],
        &[read_of(6)],
        &[Entry::result(NOW, Actor::Server, 1, result()), read_of(7)],
    ];
    for group in groups {
        let Ok(receipts) = ledger.append_all(group) else {
            assert!(matches!(ledger.append(read_of(9)), Err(LedgerError::Failed(_))));
            assert!(matches!(ledger.head(), Err(LedgerError::Failed(_))));
            return group.len();
        };
        let receipts: Vec<Receipt> = receipts.into_iter().map(Result::unwrap).collect();
        told.mark = receipts[0].mark();
        told.lines = ledger.read(0, 100).unwrap();
    }
    0
}

/// Whatever was acknowledged is there, and what is there holds together.
fn check(disk: &Disk, told: &Told, under_way: usize) -> Opened {
    let (ledger, opened) = start(disk).unwrap();
    let lines = ledger.read(0, 100).unwrap();
    assert!(lines.starts_with(&told.lines));
    assert!([0, under_way].contains(&(lines.len() - told.lines.len())), "{}", lines.len());
    ledger.covers(told.mark).unwrap();
    // What a start takes for true, others may copy at once: it is on the disk by then.
    for at in [0, 1] {
        assert!(disk.durable(at) == disk.bytes(at), "file {at} is only in memory");
    }
    let mut frontier = tree::Frontier::default();
    lines.iter().for_each(|line| frontier.push(tree::leaf(line.as_bytes()), &mut Vec::new()));
    assert_eq!(ledger.head().unwrap().root, frontier.root());
    let receipt = ledger.append(read_of(50)).unwrap();
    assert_eq!(receipt.index, lines.len() as u64);
    for index in 0..receipt.size {
        let proof = ledger.proof(index).unwrap();
        assert_eq!(
            crate::ledger::verify_proof(&proof, ledger.verifier_key()).unwrap().number,
            index
        );
    }
    opened
}

/// What a cut leaves can be told from a changed ledger without starting on it: a backup is put back
/// with a ledger that nobody has tidied yet.
fn check_offline(disk: &Disk, told: &Told) {
    let dir = tempfile::tempdir().unwrap();
    for (at, name) in [ENTRIES, CHECKPOINTS, HASHES].into_iter().enumerate() {
        std::fs::write(dir.path().join(name), disk.bytes(at)).unwrap();
    }
    let signer = signer();
    let against = Against { key: signer.public(), second_copy: None, marks: &[told.mark] };
    let report = verify::verify(dir.path(), &against).unwrap();
    let signed = report.signed().unwrap_or_else(|| panic!("{:?}", report.findings));
    assert!(signed >= told.lines.len() as u64, "{signed}: {:?}", report.findings);
    // One that was acknowledged and is gone is no cut.
    let lost = LedgerMark { size: signed + 1, ..told.mark };
    let against = Against { marks: &[lost], ..against };
    assert_eq!(verify::verify(dir.path(), &against).unwrap().signed(), None);
}

#[test]
fn no_cut_loses_what_was_acknowledged() {
    let whole = disk();
    live(&whole, &mut Told::default());
    let (mut torn, mut cut_lines) = (0, 0);
    for fuse in 0..whole.operations() {
        let cuts = [Cut::Lost, Cut::Kept, Cut::Killed].into_iter();
        let cuts = cuts.chain((0..60).map(Cut::Seeded));
        for cut in cuts {
            let (disk, mut told) = (disk(), Told::default());
            disk.burn_after(fuse);
            let under_way = live(&disk, &mut told);
            disk.power(cut);
            if !told.lines.is_empty() {
                check_offline(&disk, &told);
            }
            let opened = check(&disk, &told, under_way);
            torn += u32::from(opened.cut_bytes > 0);
            cut_lines += u32::from(opened.cut_entries > 0);
            assert_eq!(opened.second_copy, crate::ledger::SecondCopy::NotConfigured);
        }
    }
    assert!(torn > 50 && cut_lines > 50, "the cuts hit nothing: {torn} {cut_lines}");
}

#[test]
fn a_cut_while_recovering_is_recovered() {
    for seed in 0..40 {
        for first in 10..20 {
            let (disk, mut told) = (disk(), Told::default());
            disk.burn_after(first);
            let under_way = live(&disk, &mut told);
            disk.power(Cut::Seeded(seed));
            for again in 0..4 {
                disk.burn_after(again);
                drop(start(&disk));
                disk.power(Cut::Seeded(seed * 7 + u64::from(again)));
            }
            check(&disk, &told, under_way);
        }
    }
}

/// A process that is killed before its checkpoint is synced, or whose sync failed, leaves one that
/// can be read. The next start may only go on from it once it is on the disk.
#[test]
fn what_a_start_goes_on_from_survives_the_next_cut() {
    let whole = disk();
    live(&whole, &mut Told::default());
    for fuse in 0..whole.operations() {
        let (disk, mut told) = (disk(), Told::default());
        disk.burn_after(fuse);
        live(&disk, &mut told);
        disk.power(Cut::Killed);
        let (ledger, _) = start(&disk).unwrap();
        let head = ledger.head().unwrap();
        // Written behind what was only in memory, and lost as a whole.
        disk.burn_after(1);
        assert!(ledger.append(read_of(60)).is_err());
        drop(ledger);
        disk.power(Cut::Lost);
        let (ledger, _) = start(&disk).unwrap();
        ledger.covers(head.mark()).unwrap();
    }
}

#[test]
fn derived_files_are_made_anew() {
    let (disk, mut told) = (disk(), Told::default());
    live(&disk, &mut told);
    let (hashes, ends) = (disk.bytes(2), disk.bytes(3));
    for at in [2, 3] {
        for bytes in [Vec::new(), vec![0; 40], vec![0xff; 900], disk.bytes(at)[1..].to_vec()] {
            disk.set(at, bytes);
            let (_, opened) = start(&disk).unwrap();
            assert!(opened.rebuilt);
            assert!(disk.bytes(2).starts_with(&hashes) && disk.bytes(3).starts_with(&ends));
            assert!(!start(&disk).unwrap().1.rebuilt);
        }
    }
}

/// A change of what is signed, or of its last signature, is no torn write, whatever the kept hashes
/// say; nothing is cut because of it.
#[test]
fn a_start_refuses_every_change() {
    let disk = disk();
    live(&disk, &mut Told::default());
    let good: Vec<_> = (0..4).map(|at| disk.bytes(at)).collect();
    for (at, byte) in (0..good[0].len()).map(|byte| (0, byte)) {
        for kept in [true, false] {
            let mut bytes = good[at].clone();
            bytes[byte] ^= 1 << (byte % 7);
            disk.set(at, bytes.clone());
            if !kept {
                disk.set(2, Vec::new());
            }
            let error = start(&disk).err().expect("a changed entry");
            let entry = good[0][..byte].iter().filter(|byte| **byte == b'\n').count() as u64;
            match error {
                LedgerError::Changed { entry: named } => assert!(named == entry || !kept),
                LedgerError::ChangedSomewhere { .. } => assert!(!kept),
                LedgerError::Ends { .. } => {}
                other => panic!("{other}"),
            }
            assert_eq!(disk.bytes(at), bytes);
            disk.set(2, good[2].clone());
            disk.set(0, good[0].clone());
        }
    }
    let last = String::from_utf8(good[1].clone()).unwrap();
    let last = last.trim_end().rfind(&format!("\n{NAME}\n")).unwrap() + 1;
    for byte in last..good[1].len() {
        let mut bytes = good[1].clone();
        bytes[byte] ^= 0x41;
        disk.set(1, bytes.clone());
        let error = start(&disk).err().expect("a changed checkpoint");
        assert!(matches!(error, LedgerError::Checkpoints | LedgerError::Signature), "{error}");
        assert_eq!((disk.bytes(0), disk.bytes(1)), (good[0].clone(), bytes));
    }
}

#[test]
fn missing_files_are_refused() {
    let disk = disk();
    live(&disk, &mut Told::default());
    let good: Vec<_> = (0..4).map(|at| disk.bytes(at)).collect();
    disk.set(1, Vec::new());
    assert!(matches!(start(&disk), Err(LedgerError::Checkpoints)));
    disk.set(1, good[1].clone());
    disk.set(0, Vec::new());
    assert!(matches!(start(&disk), Err(LedgerError::Ends { entry: 0, signed: 9 })));
    let other = Signer::new(NAME, SigningKey::new(&Secret::random()).unwrap()).unwrap();
    disk.set(0, good[0].clone());
    let started = Ledger::start(files(&disk), other, None, &[], NOW);
    assert!(matches!(started, Err(LedgerError::Signature)));
    start(&disk).unwrap();
}
