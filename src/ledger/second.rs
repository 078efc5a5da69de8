//! The second copy of the checkpoints, on another mount: it shows a history that was exchanged as a
//! whole. A copy that cannot be reached stops nothing; it is said, and tried again at each append.

use std::io;

use super::medium::Log;
use super::note::{Checkpoint, VerifierKey};
use super::notes::{NOTE_LINES, tail};

/// Opens the file, or makes it.
pub type Opener = Box<dyn Fn() -> io::Result<Box<dyn Log>> + Send + Sync>;

/// How the second copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondCopy {
    /// There is none.
    NotConfigured,
    /// It has the last checkpoint.
    InStep,
    /// It could not be written.
    Unreachable(io::ErrorKind),
    /// It is damaged, or not of this ledger; it is left as it is.
    Disagrees,
}

pub(super) struct Second {
    opener: Option<Opener>,
    log: Option<(Box<dyn Log>, u64)>,
    state: SecondCopy,
}

impl Second {
    pub(super) fn new(opener: Option<Opener>) -> Self {
        Self { opener, log: None, state: SecondCopy::NotConfigured }
    }

    pub(super) fn state(&self) -> SecondCopy {
        self.state
    }

    /// Opens it; its last checkpoint, if it can be reached and has one.
    pub(super) fn attach(&mut self, key: &VerifierKey) -> Option<Checkpoint> {
        let opener = self.opener.as_ref()?;
        match Self::open(opener, key) {
            Err(error) => self.state = SecondCopy::Unreachable(error.kind()),
            Ok(None) => self.state = SecondCopy::Disagrees,
            Ok(Some((log, end, last))) => {
                if last.as_ref().is_some_and(|last| !last.is_by(key)) {
                    self.state = SecondCopy::Disagrees;
                    return None;
                }
                self.state = SecondCopy::InStep;
                self.log = Some((log, end));
                return last;
            }
        }
        None
    }

    /// Opens it and cuts what is torn at its end; `None` when it is something else.
    fn open(
        opener: &Opener,
        key: &VerifierKey,
    ) -> io::Result<Option<(Box<dyn Log>, u64, Option<Checkpoint>)>> {
        let log = opener()?;
        let Some(tail) = tail(&*log)? else { return Ok(None) };
        let lines = tail.rest.iter().filter(|byte| **byte == b'\n').count();
        // A whole checkpoint that cannot be read was not torn by a cut but changed, and what does
        // not begin as one is something else.
        let mut begun = tail.rest.iter().zip(key.name().bytes());
        let begun = begun.all(|(byte, own)| *byte == own || *byte == 0);
        let torn = begun && (lines < NOTE_LINES || tail.rest.contains(&0));
        if !torn {
            return Ok(None);
        }
        if !tail.rest.is_empty() {
            log.cut(tail.end)?;
            log.sync()?;
        }
        Ok(Some((log, tail.end, tail.last)))
    }

    /// Adds a checkpoint. `agrees` says whether a checkpoint found there is one of this ledger's.
    /// Answers whether the state became worse, which is worth an alarm.
    pub(super) fn push(
        &mut self,
        checkpoint: &Checkpoint,
        key: &VerifierKey,
        agrees: impl Fn(&Checkpoint) -> bool,
    ) -> bool {
        let before = self.state;
        if matches!(before, SecondCopy::NotConfigured | SecondCopy::Disagrees) {
            return false;
        }
        if self.log.is_none() {
            let found = self.attach(key);
            if found.is_some_and(|found| !agrees(&found)) {
                (self.state, self.log) = (SecondCopy::Disagrees, None);
            }
        }
        if let Some((log, end)) = &mut self.log {
            let note = checkpoint.to_string();
            match log.write_at(*end, note.as_bytes()).and_then(|()| log.sync()) {
                Ok(()) => *end += note.len() as u64,
                Err(error) => {
                    (self.state, self.log) = (SecondCopy::Unreachable(error.kind()), None);
                }
            }
        }
        let same = std::mem::discriminant(&before) == std::mem::discriminant(&self.state);
        !same && self.state != SecondCopy::InStep
    }
}
