//! The offline check of an evidence pack: that every file is the one of the index, and that the
//! lines, the statement and the certificates are what the ledger's key signed. An index can be made
//! anew by whoever changes a file; what the key signed cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::verify::Report;
use crate::crypto::sha256;
use crate::ledger::range::{Range, RangeError, verify_range};
use crate::ledger::{Digest, Event, Proof, Recorded, VerifierKey};
use crate::retention::certificate;
use crate::wire::retention::evidence::{
    BEFORE_FILE, CERTIFICATES, CHECKPOINT_FILE, INDEX_FILE, Index, KEY_FILE, LINES_FILE,
    README_FILE, STATEMENT_FILE, is_of_all_sites,
};

/// What every pack says of itself.
pub const README: &str = include_str!("pack.txt");

/// A pack that is being checked.
struct Pack<'a> {
    dir: &'a Path,
    /// The files of the index that are what it says.
    files: BTreeMap<String, Vec<u8>>,
    report: Report,
}

/// Checks a pack. `named` is the public key as an auditor has it from elsewhere.
pub fn run(dir: &Path, named: Option<&Path>) -> Report {
    let mut pack = Pack { dir, files: BTreeMap::new(), report: Report::default() };
    match pack.index() {
        Some(index) => pack.all(&index, named),
        None => pack.find(format!("{INDEX_FILE}: not the index of an evidence pack")),
    }
    pack.report
}

impl Pack<'_> {
    fn find(&mut self, sentence: String) {
        self.report.findings.push(sentence);
    }

    fn index(&self) -> Option<Index> {
        Index::parse(&std::fs::read(self.dir.join(INDEX_FILE)).ok()?).ok()
    }

    fn all(&mut self, index: &Index, named: Option<&Path>) {
        self.listed(index);
        if let Err(error) = self.strangers(index) {
            self.find(format!("{}: cannot be read ({})", self.dir.display(), error.kind()));
        }
        if self.files.get(README_FILE).is_some_and(|text| text != README.as_bytes()) {
            self.find(format!("{README_FILE}: not the text of this version of packs"));
        }
        let Some(key) = self.key(named) else { return };
        let entries = self.lines(index.from, &key);
        match &entries {
            Some(entries) => self.statement(entries),
            None => self.report.unchecked.push(format!(
                "{STATEMENT_FILE}: the entry with its digest is not known while the lines are not"
            )),
        }
        self.certificates(&entries.unwrap_or_default(), &key);
    }

    /// Reads every file of the index and compares it.
    fn listed(&mut self, index: &Index) {
        let mut bytes = 0;
        for file in &index.files {
            match std::fs::read(self.dir.join(&file.name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.find(format!("{}: missing", file.name));
                }
                Err(error) => {
                    self.find(format!("{}: cannot be read ({})", file.name, error.kind()));
                }
                Ok(text) => {
                    if text.len() as u64 != file.bytes || Digest(sha256(&[&text])) != file.sha256 {
                        self.find(format!("{}: changed, it is not what the index says", file.name));
                    }
                    bytes += text.len();
                    self.files.insert(file.name.clone(), text);
                }
            }
        }
        let (dir, files) = (self.dir.display(), index.files.len());
        self.report.checked.push(format!("{files} files of {dir} with {bytes} bytes"));
    }

    /// Files that the index does not know.
    fn strangers(&mut self, index: &Index) -> io::Result<()> {
        let known: BTreeSet<&str> = index.files.iter().map(|file| file.name.as_str()).collect();
        let mut found = names_in(self.dir, "")?;
        if found.remove(CERTIFICATES) {
            let folder = self.dir.join(CERTIFICATES);
            found.extend(names_in(&folder, &format!("{CERTIFICATES}/"))?);
        }
        for name in found {
            if name != INDEX_FILE && !known.contains(name.as_str()) {
                self.find(format!("{name}: not in the index"));
            }
        }
        Ok(())
    }

    /// The key that everything is checked with.
    fn key(&mut self, named: Option<&Path>) -> Option<VerifierKey> {
        let read = |text: &[u8]| VerifierKey::parse(std::str::from_utf8(text).ok()?);
        let own = self.files.get(KEY_FILE).and_then(|text| read(text));
        if own.is_none() {
            self.find(format!("{KEY_FILE}: not the public key of a ledger"));
        }
        let Some(named) = named else {
            self.report.unchecked.push(format!(
                "whether {KEY_FILE} is the right key: give the one that you have from elsewhere \
                 with --key FILE"
            ));
            return own;
        };
        let key = std::fs::read(named).ok().and_then(|text| read(&text));
        if key.is_none() {
            self.find(format!("{}: not the public key of a ledger", named.display()));
        } else if own.is_some() && own != key {
            self.find(format!("{KEY_FILE}: not the public key in {}", named.display()));
        }
        key
    }

    /// The entries of the ledger, if they are what the key signed.
    fn lines(&mut self, from: u64, key: &VerifierKey) -> Option<Vec<Recorded>> {
        let before = match self.files.get(BEFORE_FILE).map(|text| Proof::parse(text)) {
            Some(Err(error)) => {
                self.find(format!("{BEFORE_FILE}: {error}"));
                None
            }
            Some(Ok(proof)) => Some(proof),
            None => None,
        };
        let (lines, checkpoint) = (self.files.get(LINES_FILE)?, self.files.get(CHECKPOINT_FILE)?);
        let range = Range { from, lines, before: before.as_ref(), checkpoint };
        match verify_range(&range, key) {
            Err(error) => {
                self.find(format!("{}: {error}", file_of(&error)));
                None
            }
            Ok(entries) => {
                let count = entries.len();
                self.report.checked.push(format!(
                    "{count} entries of the ledger {}, from entry {from} on, under its signed \
                     checkpoint",
                    key.name()
                ));
                if from > 0 {
                    self.report.unchecked.push(format!(
                        "what happened before entry {from}: its hashes are known, its lines are \
                         not in the pack"
                    ));
                }
                Some(entries)
            }
        }
    }

    fn statement(&mut self, entries: &[Recorded]) {
        let Some(text) = self.files.get(STATEMENT_FILE) else {
            return self.find(format!("{STATEMENT_FILE}: missing"));
        };
        let own = Digest(sha256(&[text]));
        let stated = |entry: &&Recorded| match &entry.event {
            Event::EvidenceExported { digest, .. } => *digest == own,
            _ => false,
        };
        match entries.iter().find(stated) {
            None => self.find(format!(
                "{STATEMENT_FILE}: the ledger has no statement with this digest; it was changed"
            )),
            Some(entry) => {
                let (number, time) = (entry.number, entry.time);
                let sentence = format!(
                    "the statement of {time}, whose digest is entry {number} of the ledger"
                );
                self.report.checked.push(sentence);
            }
        }
    }

    fn certificates(&mut self, entries: &[Recorded], key: &VerifierKey) {
        let prefix = format!("{CERTIFICATES}/");
        let (mut good, mut certified) = (0, BTreeSet::new());
        let files: Vec<(String, Vec<u8>)> = self
            .files
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .map(|(name, text)| (name.clone(), text.clone()))
            .collect();
        let line_key = key.to_string();
        for (name, text) in files {
            match certificate::verify(&text, &line_key) {
                Err(error) => self.find(format!("{name}: {error}")),
                Ok(body) if name != format!("{prefix}{}.json", body.id) => {
                    self.find(format!("{name}: it is the certificate {}", body.id));
                }
                Ok(body) => {
                    good += 1;
                    certified.insert(body.intent.index);
                }
            }
        }
        self.report.checked.push(format!("{good} certificates of destruction"));
        self.lacking(entries, &certified);
    }

    /// Certificates that the ledger knows and the pack has not. In a pack of all sites each is a
    /// finding, but for those that were in data which a restore has lost.
    fn lacking(&mut self, entries: &[Recorded], certified: &BTreeSet<u64>) {
        let issued = entries.iter().filter_map(|entry| match entry.event {
            Event::CertificateIssued { destruction, .. } => Some((entry.number, destruction)),
            _ => None,
        });
        let lacking: Vec<(u64, u64)> =
            issued.filter(|(_, destruction)| !certified.contains(destruction)).collect();
        if lacking.is_empty() {
            return;
        }
        let statement = self.files.get(STATEMENT_FILE);
        if statement.and_then(|text| is_of_all_sites(text)) != Some(true) {
            let count = lacking.len();
            self.report.unchecked.push(format!(
                "{count} certificates that the ledger knows and the pack has not: whoever \
                 exported it sees some sites only; have somebody with all sites export it"
            ));
            return;
        }
        let restores: Vec<(u64, u64)> = entries
            .iter()
            .filter_map(|entry| match entry.event {
                Event::RestoreIntent { backup, .. } => Some((backup, entry.number)),
                _ => None,
            })
            .collect();
        let is_lost = |issued: u64| {
            let lost = restores.iter().find(|(backup, at)| *backup < issued && issued < *at);
            lost.map(|(_, at)| *at)
        };
        for (entry, destruction) in lacking {
            match is_lost(entry) {
                Some(restore) => self.report.unchecked.push(format!(
                    "the certificate c{destruction}: it was issued after the backup that entry \
                     {restore} put back, so the server has lost it; ask whoever got it then"
                )),
                None => self.find(format!(
                    "{CERTIFICATES}/c{destruction}.json: missing, and entry {entry} of the ledger \
                     says that it was issued; export the pack anew after a retention run, and if \
                     it is missing then, somebody removed it"
                )),
            }
        }
    }
}

/// The file that an error is about, as far as that can be told.
fn file_of(error: &RangeError) -> String {
    match error {
        RangeError::Checkpoint | RangeError::Signature => CHECKPOINT_FILE.to_owned(),
        RangeError::Before(..) | RangeError::NoProof(_) => BEFORE_FILE.to_owned(),
        RangeError::Line(_) | RangeError::End => LINES_FILE.to_owned(),
        RangeError::Size(..) | RangeError::Root => format!("{LINES_FILE} or {CHECKPOINT_FILE}"),
    }
}

fn names_in(dir: &Path, prefix: &str) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(dir)? {
        names.insert(format!("{prefix}{}", entry?.file_name().to_string_lossy()));
    }
    Ok(names)
}
