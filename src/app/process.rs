//! What the operating system must know of a process that holds ids and keys in memory, and what it
//! says of a disk.
#![allow(unsafe_code, reason = "these system calls have no safe form in std")]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What puts a thread behind all others.
#[cfg(target_os = "linux")]
const LAST: libc::c_int = 19;

/// Switches core dumps off, makes the process unreadable to others of the same user, and takes as
/// many file handles as it may: a dump would write ids and keys to disk (P1).
///
/// # Errors
/// What the system said; a server without this protection must not start.
pub fn protect() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live value of the type that the call reads.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) })?;
    #[cfg(target_os = "linux")]
    // SAFETY: this option takes one integer and no pointer.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })?;
    raise_file_limit();
    Ok(())
}

/// The soft limit on open files is often 1,024, too few for connections and RocksDB together. A
/// failure only means fewer connections.
fn raise_file_limit() {
    let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live value of the type that the call writes.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut files) } == 0 {
        files.rlim_cur = files.rlim_max;
        // SAFETY: as above, and the call only reads.
        let _ = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const files) };
    }
}

/// Puts the thread that calls it behind all others, for good: it works where there is nothing else
/// to do. A failure only means that it is not behind.
pub fn at_ease() {
    // SAFETY: the call takes one integer and no pointer. Linux keeps the figure for each thread.
    #[cfg(target_os = "linux")]
    let _ = unsafe { libc::nice(LAST) };
}

/// The bytes that this process may still write to the disk of a directory.
///
/// # Errors
/// What the system said.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut figures = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in a zero byte and the pointer is to room of the type that the call
    // writes.
    check(unsafe { libc::statvfs(path.as_ptr(), figures.as_mut_ptr()) })?;
    // SAFETY: the call said that it has written the value.
    let figures = unsafe { figures.assume_init() };
    Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
}

fn check(status: libc::c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
