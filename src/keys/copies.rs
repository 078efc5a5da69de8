//! Copies of the register off the host: files that get every write after register.a and register.b
//! have it, the same slots in place, under a letter of their own so that none of them is ever taken
//! for one of the two.
//!
//! An ordinary write tries each copy once and does not wait: a copy that cannot be written is
//! behind until a later write, a turn-over or a start carries all slots over. A turn-over waits:
//! the old VEK is not destroyed before each copy is written, synced, read back and every key in it
//! opened, because a copy left behind would be noise afterwards and no help.
//!
//! A copy that is cut while it is written is not whole, and [`restore`](super::restore()) refuses
//! it; the two files on the host are whole then. Whoever wants to survive the loss of the host in
//! that very moment names two copies: they are written one after the other.
//!
//! A copy lies in a directory of the other medium, not at its mount point, so that it cannot be
//! reached while the medium is not mounted. Mounts over the network must give up with an error in
//! time (`soft`), because a write that hangs holds up whoever needs a new key.
//!
//! A file that is open goes on taking writes when its name stands for another by now, or for none:
//! moved away, put back from a backup, unmounted. So each write looks first whether the name still
//! stands for the file that is open, and carries everything over where it does not.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::home::sync_parent;
use super::medium::{DiskFile, FileId, Medium};
use super::pages::{self, BackError, Inspect, Touched, place, write_slots};
use super::slot::{Copy, HEADER_BYTES, Header, HeaderRead};

/// Why a copy does not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyFault {
    /// It cannot be reached, or written.
    #[error("it cannot be written ({0})")]
    Unreachable(io::ErrorKind),
    /// Another file lies there. It is never overwritten.
    #[error("another file lies there; move it away or name another place")]
    Foreign,
    /// It is from a later time than the register, or from another past.
    #[error(
        "it is at generation {0} and not of this register's past; the register was put back from \
         an older time"
    )]
    Ahead(u64),
    /// What was written is not what is read.
    #[error("it did not keep what was written to it")]
    NotKept,
}

/// How a copy stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyStatus {
    /// Its file.
    pub path: PathBuf,
    /// The generation it is known to hold in this run.
    pub generation: Option<u64>,
    /// Writes it lacks; all of them if it was not reached in this run.
    pub behind: u64,
    /// Why, if it is behind.
    pub fault: Option<CopyFault>,
}

/// How a copy's file is opened.
type Open = Box<dyn Fn() -> io::Result<Box<dyn Medium>> + Send>;

/// Which file has the copy's name.
type Look = Box<dyn Fn() -> io::Result<FileId> + Send>;

/// Where a copy lies.
pub(super) struct Remote {
    /// Its name.
    pub(super) path: PathBuf,
    /// Opens it, and makes it where there is none.
    pub(super) open: Open,
    /// Which file has its name now.
    pub(super) look: Look,
}

impl Remote {
    /// A file.
    pub(super) fn file(path: PathBuf) -> Self {
        let (place, name) = (path.clone(), path.clone());
        let open = move || {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(&place)?;
            sync_parent(&place)?;
            Ok(Box::new(DiskFile(file)) as Box<dyn Medium>)
        };
        Self { path, open: Box::new(open), look: Box::new(move || FileId::named(&name)) }
    }
}

/// A copy and what is known of it.
pub(super) struct OffCopy {
    remote: Remote,
    /// Open while it follows.
    medium: Option<Box<dyn Medium>>,
    generation: Option<u64>,
    /// Slots that its file has.
    slots: u32,
    fault: Option<CopyFault>,
}

impl From<io::Error> for CopyFault {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.kind())
    }
}

impl OffCopy {
    pub(super) fn new(remote: Remote) -> Self {
        Self { remote, medium: None, generation: None, slots: 0, fault: None }
    }

    /// Its file.
    pub(super) fn path(&self) -> &Path {
        &self.remote.path
    }

    /// How it stands beside a register of this generation.
    pub(super) fn status(&self, generation: u64) -> CopyStatus {
        CopyStatus {
            path: self.remote.path.clone(),
            generation: self.generation,
            behind: generation - self.generation.unwrap_or(0).min(generation),
            fault: self.fault,
        }
    }

    /// Whether the name still stands for the file that is open.
    fn is_in_place(&self) -> bool {
        let same = |medium: &dyn Medium| -> io::Result<bool> {
            Ok((self.remote.look)()? == medium.identity()?)
        };
        self.medium.as_deref().is_some_and(|medium| same(medium).unwrap_or(false))
    }

    /// After a write of the register: the slots it touched, or all of them if the copy was behind.
    pub(super) fn follow(&mut self, header: &Header, bytes: &Touched, source: &dyn Medium) {
        let next = self.generation.is_some_and(|own| own + 1 == header.generation);
        let next = next && self.slots == header.slots && self.is_in_place();
        match self.medium.take().filter(|_| next) {
            None => self.catch_up(header, source),
            Some(mut medium) => {
                let done = write_slots(&mut medium, bytes)
                    .and_then(|()| medium.write_at(0, &header.encode(Copy::Off)))
                    .and_then(|()| medium.sync());
                self.note(header, done.map(|()| medium).map_err(CopyFault::from));
            }
        }
    }

    /// Carries all slots over.
    pub(super) fn catch_up(&mut self, header: &Header, source: &dyn Medium) {
        let carried = self.carry(header, source);
        self.note(header, carried);
    }

    /// Brings the copy up to date and reads it back; how many keys opened, `None` if it is not to
    /// be had.
    pub(super) fn confirm(
        &mut self,
        header: &Header,
        source: &dyn Medium,
        inspect: &mut dyn Inspect,
    ) -> Option<u32> {
        if self.generation != Some(header.generation) || !self.is_in_place() {
            self.catch_up(header, source);
        }
        let medium = self.medium.take()?;
        match pages::read_back(&medium, Copy::Off, header, inspect) {
            Ok(opened) => {
                self.medium = Some(medium);
                Some(opened)
            }
            Err(error) => {
                self.note(
                    header,
                    Err(match error {
                        BackError::Io(error) => error.into(),
                        BackError::State | BackError::Slot(_) => CopyFault::NotKept,
                    }),
                );
                None
            }
        }
    }

    fn carry(&self, header: &Header, source: &dyn Medium) -> Result<Box<dyn Medium>, CopyFault> {
        let mut medium = (self.remote.open)()?;
        admit(&medium, header)?;
        pages::carry(source, &mut medium, header.slots)?;
        medium.write_at(0, &header.encode(Copy::Off))?;
        medium.sync()?;
        Ok(medium)
    }

    fn note(&mut self, header: &Header, written: Result<Box<dyn Medium>, CopyFault>) {
        match written {
            Ok(medium) => {
                self.medium = Some(medium);
                (self.generation, self.slots) = (Some(header.generation), header.slots);
                self.fault = None;
            }
            // What it holds now is unknown; the next try carries everything over.
            Err(fault) => {
                self.medium = None;
                self.generation = None;
                self.fault = Some(fault);
            }
        }
    }
}

/// Whether a file may be overwritten: an empty one, or a copy of this register's past.
fn admit(medium: &dyn Medium, header: &Header) -> Result<(), CopyFault> {
    let there = medium.size()?.min(place(0));
    let mut page = vec![0; usize::try_from(there).unwrap_or(HEADER_BYTES)];
    medium.read_at(0, &mut page)?;
    if page.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    match Header::parse(Copy::Off, &page) {
        HeaderRead::Good(own) if own.vault != header.vault => Err(CopyFault::Foreign),
        HeaderRead::Good(own) => {
            let past = own.generation < header.generation || own == *header;
            if past { Ok(()) } else { Err(CopyFault::Ahead(own.generation)) }
        }
        // Cut while its header was written.
        HeaderRead::Bad { vault, magic: true } if vault == header.vault => Ok(()),
        HeaderRead::Bad { .. } | HeaderRead::Version(_) | HeaderRead::OtherCopy => {
            Err(CopyFault::Foreign)
        }
    }
}
