//! `blindtally evidence`: puts a pack together from what an auditor may read of a running server,
//! and checks it at once.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::client::{Ask, ClientError, Target, send};
use crate::app::pack::{self, README};
use crate::crypto::sha256;
use crate::ledger::{Digest, Event, Proof, Recorded};
use crate::wire::ledger::{LedgerHead, LedgerPage};
use crate::wire::retention::evidence::{
    BEFORE_FILE, CERTIFICATES, CHECKPOINT_FILE, CertificatePage, INDEX, INDEX_FILE, Index,
    KEY_FILE, LAST_FILE, LINES_FILE, PackFile, README_FILE, STATED_FILE, STATEMENT_FILE, Said,
};

/// Entries that are asked for at once.
const PAGE_ENTRIES: u64 = 1_000;

/// Where the pack goes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the pack; it must not exist.
    #[arg(long)]
    out: PathBuf,
    /// The number of the first entry of the ledger.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The number of the last entry; the last one that there is without it. The statement is of
    /// today in any case.
    #[arg(long)]
    to: Option<u64>,
}

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The request.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The server's refusal, as it said it.
    #[error("The server refused {0}: {1}")]
    Refused(String, String),
    /// An answer that is not one.
    #[error("The server's answer to {0} is of another form; use a client of its version.")]
    Form(String),
    /// The first entry lies beyond the ledger.
    #[error("The ledger has {0} entries, so none begins at the one that was asked for.")]
    Beyond(u64),
    /// The last entry lies before the first one, or beyond the ledger.
    #[error("--to must name an entry from {0} to {1}.")]
    To(u64, u64),
    /// The statement's entry is not where it should be.
    #[error("The server's ledger has no entry of the statement that it made; ask its operator.")]
    NotStated,
    /// A file.
    #[error("{} cannot be written: {}.", .0.display(), .1)]
    File(PathBuf, std::io::Error),
}

/// Asks the server; what a good answer holds.
struct Source<'a> {
    target: &'a Target,
    token: &'a str,
}

impl Source<'_> {
    async fn get(&self, path: String) -> Result<Vec<u8>, EvidenceError> {
        let (status, body) = send(self.target, self.token, &Ask::get(path.clone())).await?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        Err(EvidenceError::Refused(path, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Puts a pack together; sentences about what is in it, and whether it checks.
///
/// # Errors
/// [`EvidenceError`]; a folder that was begun has no index then.
pub async fn export(
    target: &Target,
    token: &str,
    args: &Args,
) -> Result<(Vec<String>, bool), EvidenceError> {
    let files = collect(&Source { target, token }, args).await?;
    let mut index = Vec::new();
    let folder = |dir: &Path| {
        let made = std::fs::DirBuilder::new().mode(0o700).create(dir);
        made.map_err(|error| EvidenceError::File(dir.to_owned(), error))
    };
    folder(&args.out)?;
    folder(&args.out.join(CERTIFICATES))?;
    for (name, bytes) in &files {
        write(&args.out.join(name), bytes)?;
        let sha256 = Digest(sha256(&[bytes]));
        index.push(PackFile { name: name.clone(), bytes: bytes.len() as u64, sha256 });
    }
    let index = Index { format: INDEX.to_owned(), from: args.from, to: args.to, files: index };
    let bytes = index.to_bytes().map_err(|_| EvidenceError::Form(INDEX_FILE.to_owned()))?;
    write(&args.out.join(INDEX_FILE), &bytes)?;
    let report = pack::run(&args.out, None);
    let good = report.findings.is_empty();
    let not = report.unchecked.into_iter().map(|sentence| format!("Not checked: {sentence}"));
    Ok(([report.checked, not.collect(), report.findings].concat(), good))
}

/// The files, by name. The statement comes first, so that its entry is among the lines.
async fn collect(
    source: &Source<'_>,
    args: &Args,
) -> Result<BTreeMap<String, Vec<u8>>, EvidenceError> {
    let (mut files, from) = (BTreeMap::new(), args.from);
    let statement = source.get("/v1/evidence".to_owned()).await?;
    let path = "/v1/ledger/head".to_owned();
    let head = LedgerHead::parse(&source.get(path.clone()).await?);
    let head = head.ok_or(EvidenceError::Form(path))?;
    if from >= head.size {
        return Err(EvidenceError::Beyond(head.size));
    }
    match args.to {
        Some(to) if to < from || to >= head.size => {
            return Err(EvidenceError::To(from, head.size - 1));
        }
        Some(to) => ends_with(source, (from, to), (&statement, head.size), &mut files).await?,
        None => {
            files.insert(LINES_FILE.to_owned(), lines(source, from, head.size).await?);
            files.insert(CHECKPOINT_FILE.to_owned(), head.checkpoint.into_bytes());
        }
    }
    files.insert(STATEMENT_FILE.to_owned(), statement);
    files.insert(KEY_FILE.to_owned(), format!("{}\n", head.verifier_key).into_bytes());
    if from > 0 {
        let proof = source.get(format!("/v1/ledger/{from}/proof")).await?;
        files.insert(BEFORE_FILE.to_owned(), proof);
    }
    certificates(source, args.to, &mut files).await?;
    files.insert(README_FILE.to_owned(), README.as_bytes().to_vec());
    Ok(files)
}

/// Lines up to one before the last, and the proof of the statement's entry, which comes after them;
/// then the proof of the last line under the very same checkpoint, so that both are of one history.
async fn ends_with(
    source: &Source<'_>,
    (from, to): (u64, u64),
    (statement, size): (&[u8], u64),
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), EvidenceError> {
    files.insert(LINES_FILE.to_owned(), lines(source, from, to + 1).await?);
    let said = Said::parse(statement).ok_or_else(|| EvidenceError::Form(STATEMENT_FILE.into()))?;
    let first = said.ledger.size;
    let digest = Digest(sha256(&[statement]));
    let after = lines(source, first, size).await?;
    let is_it = |line: &[u8]| {
        let read = Recorded::decode(line);
        read.is_ok_and(|entry| match entry.event {
            Event::EvidenceExported { digest: own, .. } => own == digest,
            _ => false,
        })
    };
    let at = after.split(|byte| *byte == b'\n').position(is_it).ok_or(EvidenceError::NotStated)?;
    let path = format!("/v1/ledger/{}/proof", first.saturating_add(at as u64));
    let proof = source.get(path.clone()).await?;
    let stated = Proof::parse(&proof).map_err(|_| EvidenceError::Form(path))?;
    files.insert(STATED_FILE.to_owned(), proof);
    let path = format!("/v1/ledger/{to}/proof?size={}", stated.size);
    let form = || EvidenceError::Form(path.clone());
    let last = Proof::parse(&source.get(path.clone()).await?).ok();
    let last = last.filter(|last| last.size == stated.size).ok_or_else(form)?;
    let last = Proof { checkpoint: stated.checkpoint.clone(), ..last };
    files.insert(LAST_FILE.to_owned(), last.to_json().map_err(|_| form())?.into_bytes());
    files.insert(CHECKPOINT_FILE.to_owned(), stated.checkpoint.into_bytes());
    Ok(())
}

/// Every certificate that may be read, page after page; with an end those of destructions that
/// began until then.
async fn certificates(
    source: &Source<'_>,
    to: Option<u64>,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), EvidenceError> {
    let mut next = Some("0".to_owned());
    while let Some(cursor) = next {
        let path = format!("/v1/certificates?cursor={cursor}");
        let page = CertificatePage::parse(&source.get(path.clone()).await?);
        // A cursor that comes again would never end.
        let page = page.filter(|page| page.next.as_ref() != Some(&cursor));
        let page = page.ok_or(EvidenceError::Form(path))?;
        let until = |id: &String| {
            let number = id.strip_prefix('c').and_then(|number| number.parse::<u64>().ok());
            to.is_none_or(|to| number.is_some_and(|number| number <= to))
        };
        for id in page.ids.into_iter().filter(until) {
            let text = source.get(format!("/v1/certificates/{id}")).await?;
            files.insert(format!("{CERTIFICATES}/{id}.json"), text);
        }
        next = page.next;
    }
    Ok(())
}

/// The lines from a number on, up to the size of a checkpoint: reading them adds more.
async fn lines(source: &Source<'_>, from: u64, size: u64) -> Result<Vec<u8>, EvidenceError> {
    let (mut at, mut lines) = (from, Vec::new());
    while at < size {
        let limit = PAGE_ENTRIES.min(size - at);
        let path = format!("/v1/ledger?from={at}&limit={limit}");
        let page = LedgerPage::parse(&source.get(path.clone()).await?);
        let page = page.filter(|page| page.from == at && !page.lines.is_empty());
        let page = page.ok_or(EvidenceError::Form(path))?;
        for line in page.lines.iter().take(usize::try_from(size - at).unwrap_or(usize::MAX)) {
            lines.extend_from_slice(line.as_bytes());
            lines.push(b'\n');
        }
        at = at.saturating_add(page.lines.len() as u64);
    }
    Ok(lines)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), EvidenceError> {
    std::fs::write(path, bytes).map_err(|error| EvidenceError::File(path.to_owned(), error))
}

#[cfg(test)]
impl Args {
    /// A pack of everything from an entry on.
    pub fn of(out: PathBuf, from: u64) -> Self {
        Self { out, from, to: None }
    }

    /// A pack that ends with an entry.
    pub fn until(out: PathBuf, from: u64, to: u64) -> Self {
        Self { out, from, to: Some(to) }
    }
}
