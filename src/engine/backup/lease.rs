//! Who may read the copy beside the data, and for how long: until a destruction wants files gone.
//!
//! The copy is made of hard links, so that a file which a destruction gives back stays on the disk
//! for as long as the copy has it, or somebody has it open. Copying takes as long as the place of
//! the backups takes, and what is due does not wait for that: the destruction calls the copying off
//! and takes the copy away, and the backup is made again. See `docs/decisions/0031`.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// How often, and how long apart, whoever calls the copying off looks whether the last file is
/// closed: a piece of it is being written to where backups are.
const LOOKS: u32 = 1_000;
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
struct Terms {
    called_off: AtomicBool,
    reading: Mutex<()>,
}

/// The right to read a copy; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lease(Arc<Terms>);

impl PartialEq for Lease {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Lease {}

/// A file of the copy may be open while this lives.
pub struct Reading<'a> {
    lease: &'a Lease,
    _held: MutexGuard<'a, ()>,
}

impl Reading<'_> {
    /// Whether to read on.
    ///
    /// # Errors
    /// When the copying was called off: the file is to be closed.
    pub fn goes_on(&self) -> io::Result<()> {
        if self.lease.is_called_off() { Err(called_off()) } else { Ok(()) }
    }
}

fn called_off() -> io::Error {
    io::Error::other("a destruction needs the files to be gone")
}

impl Lease {
    /// To be held while a file of the copy is open.
    ///
    /// # Errors
    /// When the copying was called off.
    pub fn read(&self) -> io::Result<Reading<'_>> {
        let held = self.0.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = Reading { lease: self, _held: held };
        reading.goes_on().map(|()| reading)
    }

    /// Whether the copying was called off.
    pub fn is_called_off(&self) -> bool {
        self.0.called_off.load(Ordering::Acquire)
    }

    /// Calls the copying off, and waits a while until no file of the copy is open; whether none is.
    pub fn call_off(&self) -> bool {
        self.0.called_off.store(true, Ordering::Release);
        for _ in 0..LOOKS {
            match self.0.reading.try_lock() {
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
                Ok(_) | Err(TryLockError::Poisoned(_)) => return true,
            }
        }
        false
    }
}
