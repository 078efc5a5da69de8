//! Papers: what evidence passes on without knowing it, files that an operator names. The list of
//! processors goes in as it is, of the report of the tests its name and SHA-256. They are looked at
//! anew for each statement, so that a file can be replaced without a start; a report that is the
//! file that it was is not read again.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{Settings, StartError};
use crate::crypto::{Sha256, sha256};
use crate::ledger::Digest;
use crate::wire::retention::evidence::Paper;

/// Longest list of processors, bytes: it is a list of firms, and goes into each statement.
pub(super) const PROCESSORS_BYTES_MAX: u64 = 64 << 10;
/// Longest report of the tests, bytes: it is read whole when it changes.
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

/// What tells a file from the one that it was: device, inode, length, and the times of the last
/// change of its bytes and of its entry, seconds and nanoseconds.
type Stamp = [i128; 7];

/// The digest of the report that was read last.
#[derive(Default)]
pub(super) struct KnownReport(Mutex<Option<(Stamp, Digest)>>);

fn stamp_of(meta: &Metadata) -> Stamp {
    let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()].map(i128::from);
    let [bytes, bytes_ns, entry, entry_ns] = times;
    let [dev, ino, len] = [meta.dev(), meta.ino(), meta.len()].map(i128::from);
    [dev, ino, len, bytes, bytes_ns, entry, entry_ns]
}

/// Opens a regular file: whoever opens a pipe waits for somebody who writes into it.
fn open(path: &Path) -> Option<(File, Stamp)> {
    std::fs::metadata(path).ok().filter(Metadata::is_file)?;
    let file = File::open(path).ok()?;
    let stamp = stamp_of(&file.metadata().ok()?);
    Some((file, stamp))
}

/// Whether what is named is there, and of its form.
///
/// # Errors
/// Which setting names a file that is not.
pub(super) fn check(settings: &Settings, known: &KnownReport) -> Result<(), StartError> {
    let papers = read(settings, known);
    let good = |paper: &Option<Paper>| paper.as_ref().is_none_or(|paper| paper.sha256.is_some());
    if !good(&papers.processors) {
        return Err(StartError::Processors);
    }
    if good(&papers.test_report) { Ok(()) } else { Err(StartError::TestReport) }
}

/// Reads what is named. What cannot be read has a name only.
pub(super) fn read(settings: &Settings, known: &KnownReport) -> Papers {
    Papers {
        processors: settings.processors.as_deref().map(processors),
        test_report: settings.test_report.as_deref().map(|path| report(path, known)),
    }
}

fn processors(path: &Path) -> Paper {
    let text = open(path).and_then(|(file, _)| {
        let mut text = String::new();
        let mut bounded = file.take(PROCESSORS_BYTES_MAX + 1);
        let read = bounded.read_to_string(&mut text).ok()? as u64;
        (read <= PROCESSORS_BYTES_MAX).then_some(text)
    });
    let sha256 = text.as_ref().map(|text| Digest(sha256(&[text.as_bytes()])));
    Paper { name: name_of(path), sha256, text }
}

fn report(path: &Path, known: &KnownReport) -> Paper {
    let sha256 = open(path).and_then(|(file, stamp)| {
        let mut known = known.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, digest)) = (*known).filter(|(of, _)| *of == stamp) {
            return Some(digest);
        }
        let digest = digest_of(file, REPORT_BYTES_MAX)?;
        *known = Some((stamp, digest));
        Some(digest)
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(report: &Path) -> Settings {
        Settings { test_report: Some(report.to_owned()), ..Settings::default() }
    }

    fn digest(settings: &Settings, known: &KnownReport) -> Option<Digest> {
        read(settings, known).test_report.unwrap().sha256
    }

    #[test]
    fn a_report_is_read_again_when_it_is_another_file_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.xml");
        let (settings, known) = (settings(&path), KnownReport::default());
        assert_eq!(digest(&settings, &known), None, "not there");
        std::fs::write(&path, "one").unwrap();
        let own = |text: &str| Some(Digest(sha256(&[text.as_bytes()])));
        assert_eq!(digest(&settings, &known), own("one"));
        // What is known is answered without a reading.
        let other = Digest([7; 32]);
        known.0.lock().unwrap().as_mut().unwrap().1 = other;
        assert_eq!(digest(&settings, &known), Some(other));
        // Another file in its place, of the same length.
        let next = folder.path().join("next");
        std::fs::write(&next, "two").unwrap();
        std::fs::rename(&next, &path).unwrap();
        assert_eq!(digest(&settings, &known), own("two"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(digest(&settings, &known), None, "no file, no digest");
    }

    /// A pipe would be waited for until somebody writes into it.
    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), folder.path()] {
            let known = KnownReport::default();
            assert!(matches!(check(&settings(path), &known), Err(StartError::TestReport)));
            let own = Settings { processors: Some(path.to_owned()), ..Settings::default() };
            assert!(matches!(check(&own, &known), Err(StartError::Processors)));
        }
    }
}
