//! The offline check of ledger, keys and data directory. It reads files only, so it works on a
//! copy, and needs no root key: what it checks lies in clear. Only when statements are to be
//! counted again are keys and data opened ([`super::recount`]).

use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::ledger::carried;
use super::recount;
use crate::config::Settings;
use crate::keys::{self, FileMark, Said};
use crate::ledger::verify::{self, Against, Report as LedgerReport};
use crate::ledger::{Digest, VERIFIER_KEY, VerifierKey};
use crate::store::Store;

/// What is to be checked beside the places in the settings.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The file of the public key; without it that in the ledger's own directory is used.
    pub key: Option<PathBuf>,
    /// The second copy of the checkpoints; without it that of the settings.
    pub second: Option<PathBuf>,
    /// The keys directory was named, so that it must be there.
    pub keys_named: bool,
    /// Whether the counts of statements are to be made again, which needs the root key.
    pub recount: bool,
}

/// What to do about keys that do not fit.
const KEYS: &str = "stop the server, keep the keys directory as it is, and put back its newest \
                    copy as docs/OPERATING.md says under \"Restore\"";
/// What to do about what cannot be read.
const READABLE: &str = "mount its disk or make it readable for your user, and check again";

/// What was checked, what was not, and what does not agree: sentences without a full stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Checked, and good unless a finding says otherwise.
    pub checked: Vec<String>,
    /// Not checked, and why or what would be needed.
    pub unchecked: Vec<String>,
    /// Whatever does not agree or cannot be read, each with what to do about it.
    pub findings: Vec<String>,
}

/// Checks everything that is there.
pub fn run(settings: &Settings, request: &Request) -> Report {
    let mut report = Report::default();
    let marks = report.marks(settings, request);
    let key = report.ledger(settings, request, &marks);
    report.data(&settings.store.data);
    if request.recount {
        // Where there is none, that is a finding already.
        if let Some(key) = key {
            recount::run(settings, &key, &mut report);
        }
        let unread =
            "records and blocks: only sums, statements and the sets of their months were opened";
        report.unchecked.push(unread.to_owned());
    } else {
        report.unchecked.push(
            "what is sealed: no record, set or key was opened, no count was made again; ask for \
             it with --recount, which needs the root key and the server stopped"
                .to_owned(),
        );
    }
    report
}

impl Report {
    /// Says what does not agree, and what to do about it: a clause that somebody can act by.
    pub(super) fn find(&mut self, what: impl Display, advice: &str) {
        self.findings.push(format!("{what}; {advice}"));
    }

    /// Reads what the keys say of the ledger.
    fn marks(&mut self, settings: &Settings, request: &Request) -> Vec<FileMark> {
        let dir = &settings.keys.dir;
        if !request.keys_named && !dir.exists() {
            let dir = dir.display();
            self.unchecked.push(format!(
                "whether the ledger is as long as the keys know: {dir} is not there; name the keys \
                 directory with --keys DIR"
            ));
            return Vec::new();
        }
        let files = match keys::marks(&settings.keys) {
            Ok(files) => files,
            Err(error) => {
                self.find(error, READABLE);
                return Vec::new();
            }
        };
        for file in &files {
            let path = file.path.display();
            match file.said {
                Said::Mark(mark) if mark.size > 0 => {
                    self.checked.push(format!("{path} knows of {} entries", mark.size));
                }
                Said::Mark(_) => self.unchecked.push(format!("{path} knows of no ledger yet")),
                Said::Missing => self.find(format!("{path} is missing"), KEYS),
                Said::Damaged => {
                    let what = "is damaged where it says which ledger it belongs to, or is another \
                                file";
                    self.find(format!("{path} {what}"), KEYS);
                }
            }
        }
        files
    }

    /// Checks the ledger; the key that it was checked with.
    fn ledger(
        &mut self,
        settings: &Settings,
        request: &Request,
        files: &[FileMark],
    ) -> Option<VerifierKey> {
        let dir = &settings.ledger.dir;
        let key = self.public_key(dir, request.key.as_deref())?;
        let second = request.second.as_ref().or(settings.ledger.second_copy.as_ref());
        if second.is_none() {
            self.unchecked.push(
                "whether ledger and keys were set back together: only a second copy of the \
                 checkpoints would show it; name one with --second FILE"
                    .to_owned(),
            );
        }
        let marks = carried(files);
        let second = second.map(PathBuf::as_path);
        match verify::verify(dir, &Against { key: &key, second_copy: second, marks: &marks }) {
            Ok(found) => {
                self.of_ledger(dir, &key, &found);
                if !files.is_empty() {
                    self.age_of_keys(settings, &found);
                }
            }
            Err(error) => {
                let (dir, kind) = (dir.display(), error.kind());
                let advice =
                    format!("name the ledger's directory with --ledger DIR, or {READABLE}");
                self.find(format!("the ledger in {dir} cannot be read: {kind}"), &advice);
            }
        }
        Some(key)
    }

    fn of_ledger(&mut self, dir: &Path, key: &VerifierKey, found: &LedgerReport) {
        self.checked.push(format!(
            "the ledger in {}: {} entries with root {}, under {} checkpoints signed by {}",
            dir.display(),
            found.size,
            Digest(found.root),
            found.checkpoints,
            key.name()
        ));
        match found.second {
            Some(known) if known < found.size => self.unchecked.push(format!(
                "entries {known} to {}: the second copy of the checkpoints knows of {known} of {} \
                 entries, so from entry {known} on only this host vouches for what is written, and \
                 a fork would not be seen; let the server write the copy again, or find out since \
                 when it cannot",
                found.size - 1,
                found.size
            )),
            Some(known) => self.checked.push(format!(
                "the second copy of the checkpoints knows of all {known} entries and agrees"
            )),
            None => {}
        }
        for finding in &found.findings {
            self.find(finding, finding.advice());
        }
        if found.findings.len() >= verify::FINDINGS_MAX {
            let advice = "this is no single entry: take the whole directory for changed, and go by \
                          what the first finding says";
            self.find("there are more findings than are listed", advice);
        }
    }

    /// Whether the keys are as new as the ledger knows.
    fn age_of_keys(&mut self, settings: &Settings, found: &LedgerReport) {
        let stands = match keys::stands(&settings.keys) {
            Ok(stands) => stands,
            Err(error) => return self.find(error, KEYS),
        };
        for stand in stands {
            let known = found.noted.of(&stand.vault.0);
            match known.admit(stand.generation, stand.vek_epoch) {
                Ok(()) => self.checked.push(format!(
                    "the key register is at generation {}, and the ledger is sure of {}",
                    stand.generation, known.generation
                )),
                Err(error) => self.find(error, KEYS),
            }
        }
    }

    /// The key that everything is checked with.
    fn public_key(&mut self, dir: &Path, named: Option<&Path>) -> Option<VerifierKey> {
        let beside = dir.join(VERIFIER_KEY);
        let read = |path: &Path| {
            let text = std::fs::read_to_string(path).ok()?;
            VerifierKey::parse(&text)
        };
        let path = named.unwrap_or(&beside);
        let Some(key) = read(path) else {
            let advice = "name your copy of the ledger's file verifier.key with --key FILE";
            self.find(format!("{} holds no public key of a ledger", path.display()), advice);
            return None;
        };
        if named.is_none() {
            self.unchecked.push(format!(
                "whether {} is the right key: give the one that you have from elsewhere with \
                 --key FILE",
                beside.display()
            ));
        } else if read(&beside).as_ref() != Some(&key) {
            let (beside, path) = (beside.display(), path.display());
            let advice = "check that --key is of this ledger; if it is, somebody put another key \
                          beside the ledger: keep the directory as it is and tell your auditor";
            self.find(format!("{beside} is not the public key in {path}"), advice);
        }
        Some(key)
    }

    fn data(&mut self, data: &Path) {
        match Store::look(data) {
            Ok(tables) => self.checked.push(format!(
                "the data directory {}: its format is known, and so are its {tables} tables",
                data.display()
            )),
            Err(error) => {
                let advice = "name the server's data directory with --data DIR; if it is this one, \
                              keep it as it is and put back the newest backup";
                self.find(format!("{}: {error}", data.display()), advice);
            }
        }
    }
}
