//! The offline check of an evidence pack: that every file is the one of the index, and that the
//! lines, the statement and the certificates are what the ledger's key signed. An index can be made
//! anew by whoever changes a file; what the key signed cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::verify::Report;
use crate::crypto::sha256;
use crate::ledger::range::{Range, RangeError, verify_range};
use crate::ledger::{Digest, Event, Proof, Recorded, VerifierKey, verify_proof};
use crate::retention::certificate;
use crate::wire::retention::evidence::{
    BEFORE_FILE, CERTIFICATES, CHECKPOINT_FILE, INDEX_1, INDEX_FILE, Index, KEY_FILE, LAST_FILE,
    LINES_FILE, README_FILE, STATED_FILE, STATEMENT_FILE, Said,
};

mod stated;

/// What every pack says of itself.
pub const README: &str = include_str!("pack.txt");
/// What packs of format 1 said.
const README_1: &str = include_str!("pack-1.txt");

/// What to do about a pack that is not as it was made.
const ANEW: &str = "have the pack exported anew and sent in another way, and if it is the same \
                    then, have the server's ledger checked with blindtally verify";
/// What to do about a file that this user or this host cannot read.
const READABLE: &str = "make it readable for your user, and check again";

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
        None => pack.find(format!(
            "{INDEX_FILE}: not the index of an evidence pack; name the folder that blindtally \
             evidence made, and if it is that one, {ANEW}"
        )),
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
            let (dir, kind) = (self.dir.display(), error.kind());
            self.find(format!("{dir}: cannot be read ({kind}); {READABLE}"));
        }
        let readme = if index.format == INDEX_1 { README_1 } else { README };
        if self.files.get(README_FILE).is_some_and(|text| text != readme.as_bytes()) {
            self.find(format!(
                "{README_FILE}: not the text of this form of packs; do nothing that it says, \
                 docs/OPERATING.md says how to check a pack"
            ));
        }
        let Some(key) = self.key(named) else { return };
        let entries = self.lines(index, &key);
        match &entries {
            Some(entries) => self.statement(index, entries, &key),
            None => self.report.unchecked.push(format!(
                "{STATEMENT_FILE}: the entry with its digest is not known while the lines are not"
            )),
        }
        self.certificates(index, &entries.unwrap_or_default(), &key);
    }

    /// Reads every file of the index and compares it.
    fn listed(&mut self, index: &Index) {
        let mut bytes = 0;
        for file in &index.files {
            match std::fs::read(self.dir.join(&file.name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.find(format!("{}: missing; {ANEW}", file.name));
                }
                Err(error) => {
                    let kind = error.kind();
                    self.find(format!("{}: cannot be read ({kind}); {READABLE}", file.name));
                }
                Ok(text) => {
                    if text.len() as u64 != file.bytes || Digest(sha256(&[&text])) != file.sha256 {
                        let name = &file.name;
                        self.find(format!(
                            "{name}: changed, it is not what the index says; {ANEW}"
                        ));
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
                self.find(format!(
                    "{name}: not in the index; it is no part of the pack, put it elsewhere and \
                     trust nothing in it"
                ));
            }
        }
        Ok(())
    }

    /// The key that everything is checked with.
    fn key(&mut self, named: Option<&Path>) -> Option<VerifierKey> {
        let read = |text: &[u8]| VerifierKey::parse(std::str::from_utf8(text).ok()?);
        let own = self.files.get(KEY_FILE).and_then(|text| read(text));
        if own.is_none() {
            self.find(format!("{KEY_FILE}: not the public key of a ledger; {ANEW}"));
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
            let named = named.display();
            self.find(format!(
                "{named}: not the public key of a ledger; give your copy of the file \
                 {KEY_FILE} of the ledger's directory with --key"
            ));
        } else if own.is_some() && own != key {
            let named = named.display();
            self.find(format!(
                "{KEY_FILE}: not the public key in {named}; make sure that yours is of the \
                 server that the pack is of, and if it is, believe nothing in the pack"
            ));
        }
        key
    }

    /// A proof of the pack, if it is one.
    fn proof(&mut self, name: &str) -> Option<Proof> {
        match Proof::parse(self.files.get(name)?) {
            Err(error) => {
                self.find(format!("{name}: {error}; {ANEW}"));
                None
            }
            Ok(proof) => Some(proof),
        }
    }

    /// The entries of the ledger, if they are what the key signed.
    fn lines(&mut self, index: &Index, key: &VerifierKey) -> Option<Vec<Recorded>> {
        let (before, last) = (self.proof(BEFORE_FILE), self.proof(LAST_FILE));
        if index.to.is_some() && last.is_none() {
            self.find(format!(
                "{LAST_FILE}: missing or no proof, so nobody knows that the lines end there; {ANEW}"
            ));
            return None;
        }
        let (from, last) = (index.from, last.filter(|_| index.to.is_some()));
        let (lines, checkpoint) = (self.files.get(LINES_FILE)?, self.files.get(CHECKPOINT_FILE)?);
        let range = Range { from, lines, before: before.as_ref(), last: last.as_ref(), checkpoint };
        let entries = match verify_range(&range, key) {
            Err(error) => {
                self.find(format!("{}: {error}; {ANEW}", file_of(&error)));
                return None;
            }
            Ok(entries) => entries,
        };
        let end = entries.last().map(|entry| entry.number);
        if index.to.is_some() && index.to != end {
            self.find(format!("{LINES_FILE}: does not end where the index says; {ANEW}"));
            return None;
        }
        let (count, name) = (entries.len(), key.name());
        let under = if index.to.is_some() { "proved under its" } else { "under its" };
        self.report.checked.push(format!(
            "{count} entries of the ledger {name}, from entry {from} on, {under} signed checkpoint"
        ));
        if from > 0 {
            self.report.unchecked.push(format!(
                "what happened before entry {from}: its hashes are known, its lines are not in \
                 the pack"
            ));
        }
        if let Some(to) = index.to {
            self.report
                .unchecked
                .push(format!("what happened after entry {to}: the pack was to end with it"));
        }
        Some(entries)
    }

    /// The entry with a statement's digest.
    fn stated(
        &mut self,
        index: &Index,
        (entries, key): (&[Recorded], &VerifierKey),
        own: Digest,
    ) -> Option<Recorded> {
        let is_it = |entry: &&Recorded| match &entry.event {
            Event::EvidenceExported { digest, .. } => *digest == own,
            _ => false,
        };
        if index.to.is_none() {
            return entries.iter().find(is_it).cloned();
        }
        let proof = self.proof(STATED_FILE)?;
        if self.files.get(CHECKPOINT_FILE).map(Vec::as_slice) != Some(proof.checkpoint.as_bytes()) {
            self.find(format!(
                "{STATED_FILE}: proved under another checkpoint than the lines, so the two may be \
                 of two ledgers; {ANEW}"
            ));
            return None;
        }
        match verify_proof(&proof, key) {
            Ok(entry) => Some(entry).filter(|entry| is_it(&entry)),
            Err(error) => {
                self.find(format!("{STATED_FILE}: {error}; {ANEW}"));
                None
            }
        }
    }

    fn statement(&mut self, index: &Index, entries: &[Recorded], key: &VerifierKey) {
        let Some(text) = self.files.get(STATEMENT_FILE) else {
            return self.find(format!("{STATEMENT_FILE}: missing; {ANEW}"));
        };
        let (own, said) = (Digest(sha256(&[text])), Said::parse(text));
        let Some(entry) = self.stated(index, (entries, key), own) else {
            let file = if index.to.is_some() { STATED_FILE } else { LINES_FILE };
            return self.find(format!(
                "{STATEMENT_FILE}: {file} has no entry with its digest, so it was changed; \
                 believe nothing in it, and {ANEW}"
            ));
        };
        let (number, time) = (entry.number, entry.time);
        self.report
            .checked
            .push(format!("the statement of {time}, whose digest is entry {number} of the ledger"));
        match said {
            // A pack of the first form says less, and that is all that was promised of it.
            Some(_) if index.format == INDEX_1 => {}
            Some(said) => stated::check(&said, index.from, entries, &mut self.report),
            None => self.find(format!(
                "{STATEMENT_FILE}: not a statement of this form; check it with the version of \
                 blindtally that made it"
            )),
        }
    }

    fn certificates(&mut self, index: &Index, entries: &[Recorded], key: &VerifierKey) {
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
                    let id = body.id;
                    self.find(format!("{name}: it is the certificate {id}; {ANEW}"));
                }
                Ok(body) => {
                    good += 1;
                    certified.insert(body.intent.index);
                }
            }
        }
        self.report.checked.push(format!("{good} certificates of destruction"));
        self.lacking(index, entries, &certified);
    }

    /// Certificates that the ledger knows and the pack has not. In a pack of all sites each is a
    /// finding, but for those that were in data which a restore has lost.
    fn lacking(&mut self, index: &Index, entries: &[Recorded], certified: &BTreeSet<u64>) {
        let issued = entries.iter().filter_map(|entry| match entry.event {
            Event::CertificateIssued { destruction, .. } => Some((entry.number, destruction)),
            _ => None,
        });
        let lacking: Vec<(u64, u64)> =
            issued.filter(|(_, destruction)| !certified.contains(destruction)).collect();
        if lacking.is_empty() {
            return;
        }
        let said = self.files.get(STATEMENT_FILE).and_then(|text| Said::parse(text));
        if !said.is_some_and(|said| said.all_sites) {
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
            match (is_lost(entry), index.to) {
                (Some(restore), _) => self.report.unchecked.push(format!(
                    "the certificate c{destruction}: it was issued after the backup that entry \
                     {restore} put back, so the server has lost it; ask whoever got it then"
                )),
                (None, Some(to)) => self.report.unchecked.push(format!(
                    "the certificate c{destruction}: entry {entry} says that it was issued, and \
                     the pack has it not; a restore after entry {to} may have lost it, which a \
                     pack without --to would say"
                )),
                (None, None) => self.find(format!(
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
        RangeError::Last(..) | RangeError::NoLast(_) => {
            format!("{LAST_FILE}, {LINES_FILE} or {CHECKPOINT_FILE}")
        }
        RangeError::Line(_) | RangeError::End => LINES_FILE.to_owned(),
        RangeError::Size(..) | RangeError::Root => {
            format!("{LINES_FILE}, {LAST_FILE} or {CHECKPOINT_FILE}")
        }
    }
}

fn names_in(dir: &Path, prefix: &str) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(dir)? {
        names.insert(format!("{prefix}{}", entry?.file_name().to_string_lossy()));
    }
    Ok(names)
}
