//! Papers: what evidence passes on without knowing it, files that an operator names. The list of
//! processors goes in as it is, of the report of the tests its name and SHA-256. They are read anew
//! for each statement, so that a file can be replaced without a start.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Settings, StartError};
use crate::crypto::{Sha256, sha256};
use crate::ledger::Digest;
use crate::wire::retention::evidence::Paper;

/// Longest list of processors, bytes: it is a list of firms, and goes into each statement.
pub(super) const PROCESSORS_BYTES_MAX: u64 = 64 << 10;
/// Longest report of the tests, bytes: it is read whole for each statement.
pub(super) const REPORT_BYTES_MAX: u64 = 256 << 20;
/// Read of a report at once, bytes.
const PIECE_BYTES: usize = 1 << 20;

/// What evidence passes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Papers {
    /// Who processes for whoever runs this server; `None` where no file is named.
    pub processors: Option<Paper>,
    /// The report of the tests of the program that runs, likewise.
    pub test_report: Option<Paper>,
}

/// Whether what is named is there, and of its form.
///
/// # Errors
/// Which setting names a file that is not.
pub(super) fn check(settings: &Settings) -> Result<(), StartError> {
    let papers = read(settings);
    let good = |paper: &Option<Paper>| paper.as_ref().is_none_or(|paper| paper.sha256.is_some());
    if !good(&papers.processors) {
        return Err(StartError::Processors);
    }
    if good(&papers.test_report) { Ok(()) } else { Err(StartError::TestReport) }
}

/// Reads what is named. What cannot be read has a name only.
pub(super) fn read(settings: &Settings) -> Papers {
    Papers {
        processors: settings.processors.as_deref().map(processors),
        test_report: settings.test_report.as_deref().map(report),
    }
}

fn processors(path: &Path) -> Paper {
    let text = File::open(path).ok().and_then(|file| {
        let mut text = String::new();
        let mut bounded = file.take(PROCESSORS_BYTES_MAX + 1);
        let read = bounded.read_to_string(&mut text).ok()? as u64;
        (read <= PROCESSORS_BYTES_MAX).then_some(text)
    });
    let sha256 = text.as_ref().map(|text| Digest(sha256(&[text.as_bytes()])));
    Paper { name: name_of(path), sha256, text }
}

fn report(path: &Path) -> Paper {
    let sha256 = File::open(path).ok().and_then(|file| digest_of(file, REPORT_BYTES_MAX));
    Paper { name: name_of(path), sha256, text: None }
}

/// The SHA-256 of a file of at most so many bytes; `None` where it is longer or cannot be read.
pub(super) fn digest_of(mut file: File, bytes_max: u64) -> Option<Digest> {
    let (mut hash, mut piece, mut total) = (Sha256::default(), vec![0; PIECE_BYTES], 0u64);
    loop {
        let read = file.read(&mut piece).ok()?;
        total += read as u64;
        if read == 0 || total > bytes_max {
            return (total <= bytes_max).then(|| Digest(hash.finish()));
        }
        hash.update(piece.get(..read)?);
    }
}

/// Where the file lies is nobody's business.
fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
