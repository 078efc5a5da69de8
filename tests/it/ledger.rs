//! A ledger written by the library and checked by a second implementation in Python, which shares
//! no code with it (L1); and the ledger of a real server.

mod server;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use blindtally::keys::vek::LedgerMark;
use blindtally::ledger::{
    Actor, Alarm, Bucket, Digest, Entry, Epoch, Event, Keys, Ledger, Note, Settings, Verification,
    Word,
};
use blindtally::model::ids::{KeyId, SiteId};
use blindtally::model::time::{Month, Timestamp};

/// 2026-11-22T04:16:00Z.
const NOW: Timestamp = Timestamp(1_795_320_960_000);

/// A ledger with what an auditor has of it.
struct Written {
    _folder: tempfile::TempDir,
    dir: PathBuf,
    copy: PathBuf,
    key: String,
    mark: LedgerMark,
    proofs: Vec<String>,
}

fn written() -> Written {
    let folder = tempfile::tempdir().unwrap();
    let (dir, copy) = (folder.path().join("ledger"), folder.path().join("copy"));
    let settings = Settings {
        dir: dir.clone(),
        signing_key: folder.path().join("ledger.key"),
        name: "blindtally/it".to_owned(),
        second_copy: Some(copy.clone()),
        marks: Vec::new(),
    };
    let (ledger, _) = Ledger::open(&settings, NOW).unwrap();
    let mark = fill(&ledger);
    drop(ledger);
    // Another life of the server, and one entry each.
    let (ledger, _) = Ledger::open(&settings, NOW).unwrap();
    for hold in 0..9 {
        let site = SiteId::parse(b"ACME").unwrap();
        let reason = Note::parse("case \"7\" \\ closed");
        let event = Event::HoldReleaseRequested { hold, site, reason };
        ledger.append(Entry::new(NOW, Actor::Server, event)).unwrap();
        // The copy has the newest checkpoint only; here it is to have all of them.
        ledger.finish_second_copy();
    }
    let size = ledger.head().unwrap().size;
    let proofs = (0..size).map(|index| ledger.proof(index).unwrap().to_json().unwrap()).collect();
    let key = ledger.verifier_key().to_string();
    Written { _folder: folder, dir, copy, key, mark, proofs }
}

/// A start, a destruction in two entries, and a group; the mark after it.
fn fill(ledger: &Ledger) -> LedgerMark {
    let append = |event| {
        ledger.finish_second_copy();
        ledger.append(Entry::new(NOW, Actor::Server, event)).unwrap()
    };
    append(Event::ServerStarted { version: Word::of("0.1.0") });
    let bucket = Bucket {
        class: Word::of("records"),
        epoch: Epoch::Month(Month::parse(b"2026-05").unwrap()),
        rule: Word::of("kr-pipa/c2"),
        due: NOW,
        sites: ["ACME", "B.C"].map(|site| SiteId::parse(site.as_bytes()).unwrap()).to_vec(),
    };
    let profile = Word::of("kr-pipa");
    let begun = append(Event::DestructionIntent {
        profile,
        buckets: vec![bucket],
        keys: Keys::of([3, 4, 9].map(KeyId)),
        commitments: Digest([0xc5; 32]),
    });
    let alarm = Event::Alarm { reason: Alarm::ClockBack };
    let later = Timestamp(NOW.0 + 1_234);
    let group = [
        Entry::new(later, Actor::Server, alarm.clone()),
        Entry::new(
            later,
            Actor::Server,
            Event::CertificateIssued { destruction: begun.operation, digest: Digest([0xd1; 32]) },
        ),
        Entry::new(later, Actor::Server, alarm),
    ];
    ledger.finish_second_copy();
    assert!(ledger.append_all(&group).unwrap().iter().all(Result::is_ok));
    let ended = Event::DestructionResult {
        buckets: 2,
        records: u64::MAX,
        keys: Keys::of([3, 4, 9].map(KeyId)),
        vek_before: 1,
        vek_after: 2,
        verification: Verification { passed: true, opened_none_of: 9, files_searched: 3 },
    };
    let ended = Entry::result(later, Actor::Server, begun.operation, ended);
    ledger.finish_second_copy();
    ledger.append(ended).unwrap().mark()
}

/// Runs the second implementation; whether it was content, and what it said.
fn check<S: AsRef<OsStr>>(key: &str, arguments: &[S]) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/check_ledger.py");
    let done = Command::new("python3").arg("-B").arg(script).arg(key).args(arguments).output();
    let done: Output =
        done.unwrap_or_else(|error| panic!("python3 cannot be run ({error}); see `make setup`"));
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(matches!(done.status.code(), Some(0 | 1)), "{said}");
    assert!(!said.contains("Traceback"), "{said}");
    (done.status.success(), said.into_owned())
}

impl Written {
    fn check(&self) -> (bool, String) {
        check(&self.key, &[self.dir.as_path()])
    }

    fn check_all(&self) -> (bool, String) {
        let root: String = self.mark.root.iter().map(|byte| format!("{byte:02x}")).collect();
        let (dir, copy) = (self.dir.display().to_string(), self.copy.display().to_string());
        let mark = format!("{}:{root}", self.mark.size);
        check(&self.key, &[&dir, "--second", &copy, "--mark", &mark])
    }

    fn entries(&self) -> PathBuf {
        self.dir.join("entries.ndjson")
    }
}

#[test]
fn the_second_implementation_agrees() {
    let written = written();
    let (good, said) = written.check_all();
    assert!(good, "{said}");
    // Six entries in four appends and nine in nine, one checkpoint over nothing; twice; a mark.
    assert!(said.contains("15 entries, 29 roots, 0 findings"), "{said}");
    let file = written.copy.with_file_name("proof.json");
    for (index, proof) in written.proofs.iter().enumerate() {
        std::fs::write(&file, proof).unwrap();
        let (good, said) = check(&written.key, &[Path::new("--proof"), &file]);
        assert!(good && said.contains(&format!("entry {index} is proved")), "{said}");
    }
    let changed = written.proofs[4].replace("clock_back", "clock_ahead");
    std::fs::write(&file, changed).unwrap();
    assert!(!check(&written.key, &[Path::new("--proof"), &file]).0);
}

#[test]
fn the_second_implementation_finds_what_was_changed() {
    let written = written();
    let good = std::fs::read(written.entries()).unwrap();
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    let find = |bytes: Vec<u8>, entry: usize| {
        std::fs::write(written.entries(), bytes).unwrap();
        let (content, said) = written.check();
        assert!(!content && said.contains(&format!("entry {entry}:")), "{entry}: {said}");
    };
    for (at, entry) in [(12, 0), (good.len() / 2, 0), (good.len() - 30, 14)] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        let entry = good[..at].iter().filter(|byte| **byte == b'\n').count().max(entry);
        find(bytes, entry);
    }
    let mut dropped = lines.clone();
    dropped.remove(7);
    find(dropped.concat(), 7);
    let mut swapped = lines.clone();
    swapped.swap(9, 10);
    find(swapped.concat(), 9);
    find([lines.as_slice(), &[lines[14]]].concat().concat(), 14);
    find(lines[..12].concat(), 12);
    std::fs::write(written.entries(), &good).unwrap();
    assert!(written.check().0);

    // A history without its last entries, with the checkpoints cut to fit: the copy knows.
    let notes = std::fs::read_to_string(written.dir.join("checkpoints")).unwrap();
    let whole: Vec<&str> = notes.split_inclusive('\n').collect();
    std::fs::write(written.entries(), lines[..13].concat()).unwrap();
    std::fs::write(written.dir.join("checkpoints"), whole[..whole.len() - 10].concat()).unwrap();
    assert!(written.check().0);
    let (content, said) = written.check_all();
    assert!(!content && said.contains("second copy knows 15 entries"), "{said}");
    // A signature with one changed bit.
    std::fs::write(written.entries(), &good).unwrap();
    let at = notes.len() - 20;
    let mut forged = notes.into_bytes();
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    std::fs::write(written.dir.join("checkpoints"), forged).unwrap();
    assert!(!written.check().0);
}
