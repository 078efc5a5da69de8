//! The second copy of the checkpoints, on another mount: it shows a history that was exchanged as a
//! whole.
//!
//! A thread of its own writes it, so that a mount that hangs holds up neither an append nor the
//! keys. It writes the newest checkpoint only; those that came while it wrote are passed over. A
//! copy that cannot be reached, or that lacks an entry for too long, stops nothing; it is said, and
//! tried again with the next checkpoint and whenever it is looked at.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::book::Files;
use super::medium::Log;
use super::note::{Checkpoint, VerifierKey};
use super::notes::{NOTE_LINES, tail};
use super::tree;
use super::words::Alarm;
use crate::keys::medium::FileId;
use crate::model::time::Timestamp;

/// How long a start waits for the copy before it goes on without.
pub(super) const START_WAIT: Duration = Duration::from_secs(10);
/// How long a stop waits for the last checkpoint to get there.
pub(super) const STOP_WAIT: Duration = Duration::from_secs(5);
/// How long the copy may lack an entry before that is an alarm, milliseconds.
pub(super) const LATE_MILLIS: i64 = 60_000;

/// Where the copy lies.
pub(super) struct Place {
    /// Opens the file, or makes it.
    pub(super) open: Box<dyn Fn() -> io::Result<Box<dyn Log>> + Send>,
    /// Which file has the name now.
    pub(super) look: Box<dyn Fn() -> io::Result<FileId> + Send>,
}

/// How the second copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondCopy {
    /// There is none.
    NotConfigured,
    /// It follows.
    InStep,
    /// It could not be written, or not in time.
    Unreachable(io::ErrorKind),
    /// It is damaged, or not of this ledger; it is left as it is.
    Disagrees,
}

/// The copy as the ledger sees it.
pub(super) struct Second(Arc<Desk>);

/// What ledger and thread share.
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The newest checkpoint, if it was not taken yet.
    next: Option<Checkpoint>,
    /// The thread is at the file.
    busy: bool,
    /// The ledger is closed.
    closing: bool,
    standing: SecondCopy,
    /// When the first entry was written that the copy may lack.
    since: Option<Timestamp>,
    /// What is to be said.
    alarm: Option<Alarm>,
}

impl Second {
    /// Begins to follow; answers the copy's last checkpoint, if it can be reached in this time and
    /// has one.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn begin(
        place: Place,
        (key, files): (VerifierKey, Arc<Files>),
        wait: Duration,
    ) -> io::Result<(Self, Option<Checkpoint>)> {
        let state = State {
            next: None,
            busy: true,
            closing: false,
            standing: SecondCopy::InStep,
            since: None,
            alarm: None,
        };
        let desk = Arc::new(Desk { state: Mutex::new(state), changed: Condvar::new() });
        // Without room: what nobody waits for any more is not handed over.
        let (found, waits) = sync_channel(0);
        let shared = Arc::clone(&desk);
        std::thread::Builder::new()
            .name("ledger copy".to_owned())
            .spawn(move || shared.follow(&mut Copy { place, key, files, log: None }, &found))?;
        let copied = match waits.recv_timeout(wait) {
            Ok(found) => found,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                desk.lock().standing = SecondCopy::Unreachable(io::ErrorKind::TimedOut);
                None
            }
        };
        Ok((Self(desk), copied))
    }

    pub(super) fn standing(&self) -> SecondCopy {
        self.0.lock().standing
    }

    /// The newest checkpoint, and the time of its entry.
    pub(super) fn offer(&self, checkpoint: &Checkpoint, time: Timestamp) {
        let mut state = self.0.lock();
        if state.standing == SecondCopy::Disagrees {
            return;
        }
        state.next = Some(checkpoint.clone());
        state.since.get_or_insert(time);
        self.0.changed.notify_all();
    }

    /// What became worse since it was asked last.
    pub(super) fn take_alarm(&self) -> Option<Alarm> {
        self.0.lock().alarm.take()
    }

    /// Whether it lacks an entry for too long, which is then an alarm; and tries a copy again that
    /// could not be reached.
    pub(super) fn look(&self, head: &Checkpoint, now: Timestamp) {
        let mut state = self.0.lock();
        let late = state.since.is_some_and(|since| now.0.saturating_sub(since.0) > LATE_MILLIS);
        if late && state.standing == SecondCopy::InStep {
            state.turn(SecondCopy::Unreachable(io::ErrorKind::TimedOut));
        }
        let idle = !state.busy && state.next.is_none();
        if idle && matches!(state.standing, SecondCopy::Unreachable(_)) {
            state.next = Some(head.clone());
            self.0.changed.notify_all();
        }
    }

    /// Waits until the thread has nothing to do, at most so long.
    pub(super) fn settle(&self, wait: Duration) {
        let working = |state: &mut State| state.busy || state.next.is_some();
        let waited = self.0.changed.wait_timeout_while(self.0.lock(), wait, working);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Second {
    /// The thread ends with its present work; it is not waited for, because it may hang.
    fn drop(&mut self) {
        self.0.lock().closing = true;
        self.0.changed.notify_all();
    }
}

impl State {
    /// Takes a new standing over; a worse one is an alarm.
    fn turn(&mut self, standing: SecondCopy) {
        let same = std::mem::discriminant(&self.standing) == std::mem::discriminant(&standing);
        self.standing = standing;
        if !same {
            self.alarm = match standing {
                SecondCopy::Unreachable(_) => Some(Alarm::SecondCopyUnreachable),
                SecondCopy::Disagrees => Some(Alarm::SecondCopyDisagrees),
                SecondCopy::InStep | SecondCopy::NotConfigured => self.alarm,
            };
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn follow(&self, copy: &mut Copy, found: &SyncSender<Option<Checkpoint>>) {
        let attached = copy.attach();
        if let Err(standing) = &attached {
            self.lock().standing = *standing;
        }
        if found.send(attached.unwrap_or_default()).is_err() {
            // Nobody compared it with the ledger.
            copy.log = None;
        }
        loop {
            let mut state = self.lock();
            state.busy = false;
            self.changed.notify_all();
            let rests = |state: &mut State| state.next.is_none() && !state.closing;
            let mut state =
                self.changed.wait_while(state, rests).unwrap_or_else(PoisonError::into_inner);
            let Some(next) = state.next.take() else { return };
            state.busy = true;
            drop(state);
            let pushed = copy.push(&next);
            let mut state = self.lock();
            match pushed {
                Ok(begun_anew) => {
                    state.turn(SecondCopy::InStep);
                    if begun_anew {
                        state.alarm = Some(Alarm::SecondCopyNew);
                    }
                    if state.next.is_none() {
                        state.since = None;
                    }
                }
                Err(standing) => state.turn(standing),
            }
        }
    }
}

/// The file, as the thread has it.
struct Copy {
    place: Place,
    key: VerifierKey,
    files: Arc<Files>,
    /// Open, with where its last checkpoint ends.
    log: Option<(Box<dyn Log>, u64)>,
}

impl Copy {
    /// Opens it; its last checkpoint, if it has one.
    fn attach(&mut self) -> Result<Option<Checkpoint>, SecondCopy> {
        let unreachable = |error: io::Error| SecondCopy::Unreachable(error.kind());
        let open = open(&self.place, &self.key).map_err(unreachable)?;
        let (log, end, last) = open.ok_or(SecondCopy::Disagrees)?;
        if last.as_ref().is_some_and(|last| !last.is_by(&self.key)) {
            return Err(SecondCopy::Disagrees);
        }
        self.log = Some((log, end));
        Ok(last)
    }

    /// Whether a checkpoint that was found is one of this ledger's.
    fn agrees(&self, found: &Checkpoint, newest: &Checkpoint) -> bool {
        let root = || tree::root(&*self.files, found.size);
        found.size <= newest.size && root().is_ok_and(|root| root == found.root)
    }

    /// Adds a checkpoint; whether the copy is a new one, without those before.
    fn push(&mut self, checkpoint: &Checkpoint) -> Result<bool, SecondCopy> {
        let unreachable = |error: io::Error| SecondCopy::Unreachable(error.kind());
        // The name may stand for another file by now: moved, replaced, or no longer mounted.
        let same = |(log, _): &(Box<dyn Log>, u64)| {
            let named = (self.place.look)();
            named.and_then(|named| Ok(named == log.identity()?)).unwrap_or(false)
        };
        let mut begun_anew = false;
        if !self.log.as_ref().is_some_and(same) {
            self.log = None;
            let found = self.attach()?;
            if found.as_ref().is_some_and(|found| !self.agrees(found, checkpoint)) {
                self.log = None;
                return Err(SecondCopy::Disagrees);
            }
            begun_anew = found.is_none() && checkpoint.size > 0;
        }
        let Some((log, end)) = &mut self.log else { return Err(SecondCopy::Disagrees) };
        let note = checkpoint.to_string();
        match log.write_at(*end, note.as_bytes()).and_then(|()| log.sync()) {
            Ok(()) => {
                *end += note.len() as u64;
                Ok(begun_anew)
            }
            Err(error) => {
                self.log = None;
                Err(unreachable(error))
            }
        }
    }
}

/// A copy that is open, where its last checkpoint ends, and that checkpoint.
type Open = (Box<dyn Log>, u64, Option<Checkpoint>);

/// Opens it and cuts what is torn at its end; `None` when it is something else. Its last checkpoint
/// is written again, because it may only have been read from memory.
fn open(place: &Place, key: &VerifierKey) -> io::Result<Option<Open>> {
    let log = (place.open)()?;
    let Some(tail) = tail(&*log)? else { return Ok(None) };
    let lines = tail.rest.iter().filter(|byte| **byte == b'\n').count();
    // A whole checkpoint that cannot be read was not torn by a cut but changed, and what does not
    // begin as one is something else.
    let mut begun = tail.rest.iter().zip(key.name().bytes());
    let begun = begun.all(|(byte, own)| *byte == own || *byte == 0);
    let torn = begun && (lines < NOTE_LINES || tail.rest.contains(&0));
    if !torn {
        return Ok(None);
    }
    if !tail.rest.is_empty() {
        log.cut(tail.end)?;
    }
    if let Some(last) = tail.last.as_ref().filter(|last| last.is_by(key)) {
        let note = last.to_string();
        log.write_at(tail.end - note.len() as u64, note.as_bytes())?;
    }
    log.sync()?;
    Ok(Some((log, tail.end, tail.last)))
}
