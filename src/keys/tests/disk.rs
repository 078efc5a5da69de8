//! A disk whose power can be cut between any two operations, and which then keeps any part of what
//! was not synced: whole sectors, torn sectors, or nothing. The ledger's tests use it too.
//!
//! A sync that fails does what Linux may do: what it was to write is marked clean, so that readers
//! go on seeing it and no later sync writes it, unless it is written again. How much of it is on
//! the disk shows at the next power cut.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use crate::keys::medium::{FileId, Medium};

const SECTOR: usize = 512;

/// What survives of the sectors that were not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// Nothing.
    Lost,
    /// Everything, and it is on the disk.
    Kept,
    /// The process was killed: everything is readable, nothing of it is on the disk yet.
    Killed,
    /// Each sector for itself: the old one, the new one, or torn at some byte.
    Seeded(u64),
}

/// Some files.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

struct State {
    files: Vec<Stored>,
    /// Which file each name stands for.
    names: Vec<usize>,
    fuse: Option<u32>,
    dead: bool,
    operations: u32,
    /// Files that cannot be reached.
    away: BTreeSet<usize>,
    /// A file whose writes are not kept.
    liar: Option<usize>,
}

#[derive(Clone, Default)]
struct Stored {
    durable: Vec<u8>,
    seen: Vec<u8>,
    /// What the next sync writes.
    dirty: BTreeSet<usize>,
    /// What a sync that failed left in memory only; no later one writes it.
    dropped: BTreeSet<usize>,
    /// The shortest length since the last sync.
    cut: Option<usize>,
}

/// A file on it.
pub(crate) struct DiskFile {
    disk: Disk,
    /// Its name, when it was opened.
    name: usize,
    at: usize,
}

impl Disk {
    pub(crate) fn new(files: usize) -> Self {
        let names = (0..files).collect();
        let files = vec![Stored::default(); files];
        Self(Arc::new(Mutex::new(State {
            files,
            names,
            fuse: None,
            dead: false,
            operations: 0,
            away: BTreeSet::new(),
            liar: None,
        })))
    }

    pub(crate) fn file(&self, name: usize) -> DiskFile {
        let at = self.0.lock().unwrap().names[name];
        DiskFile { disk: self.clone(), name, at }
    }

    /// Which file has a name, if it can be reached.
    pub(crate) fn identity(&self, name: usize) -> io::Result<FileId> {
        self.reach(name)?.identity()
    }

    /// Gives a name to another file, with this content, durably. Whoever has the one before open
    /// keeps it.
    pub(crate) fn replace(&self, name: usize, bytes: Vec<u8>) {
        let stored = Stored { durable: bytes.clone(), seen: bytes, ..Stored::default() };
        let mut state = self.0.lock().unwrap();
        state.names[name] = state.files.len();
        state.files.push(stored);
    }

    /// A file, if it can be reached.
    pub(crate) fn reach(&self, at: usize) -> io::Result<DiskFile> {
        let away = self.0.lock().unwrap().away.contains(&at);
        if away { Err(io::ErrorKind::HostUnreachable.into()) } else { Ok(self.file(at)) }
    }

    /// Cuts a file off, or lets it be reached again.
    pub(crate) fn away(&self, at: usize, away: bool) {
        let mut state = self.0.lock().unwrap();
        if away {
            state.away.insert(at)
        } else {
            state.away.remove(&at)
        };
    }

    /// From now on the writes of a file succeed and leave it as it is.
    pub(crate) fn forget_writes_of(&self, at: usize) {
        self.0.lock().unwrap().liar = Some(at);
    }

    /// Lets this many writes and syncs happen; the next one is the last and fails.
    pub(crate) fn burn_after(&self, operations: u32) {
        self.0.lock().unwrap().fuse = Some(operations);
    }

    /// Writes and syncs so far.
    pub(crate) fn operations(&self) -> u32 {
        self.0.lock().unwrap().operations
    }

    /// What a reader sees.
    pub(crate) fn bytes(&self, at: usize) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        state.files[state.names[at]].seen.clone()
    }

    /// What is on the disk for certain.
    pub(crate) fn durable(&self, at: usize) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        state.files[state.names[at]].durable.clone()
    }

    /// Puts another content there, durably.
    pub(crate) fn set(&self, at: usize, bytes: Vec<u8>) {
        let stored = Stored { durable: bytes.clone(), seen: bytes, ..Stored::default() };
        let mut state = self.0.lock().unwrap();
        let at = state.names[at];
        state.files[at] = stored;
    }

    /// Power off and on again.
    pub(crate) fn power(&self, cut: Cut) {
        let mut state = self.0.lock().unwrap();
        (state.fuse, state.dead, state.liar) = (None, false, None);
        let mut seed = match cut {
            Cut::Seeded(seed) => seed,
            _ => 0,
        };
        for file in &mut state.files {
            match cut {
                Cut::Killed => {}
                Cut::Kept => file.settle(|| SECTOR),
                Cut::Lost => file.settle(|| 0),
                Cut::Seeded(_) => file.settle(|| survivors(&mut seed)),
            }
        }
    }
}

/// How many bytes of a sector made it: all, none, or some (SplitMix64).
fn survivors(seed: &mut u64) -> usize {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    match mixed % 5 {
        0 | 1 => 0,
        2 | 3 => SECTOR,
        _ => (mixed >> 8) as usize % SECTOR,
    }
}

impl Stored {
    fn settle(&mut self, mut survivors: impl FnMut() -> usize) {
        if let Some(cut) = self.cut.take().filter(|_| survivors() > 0) {
            self.durable.truncate(cut);
        }
        let mut sectors = std::mem::take(&mut self.dirty);
        sectors.append(&mut self.dropped);
        sectors.into_iter().for_each(|sector| self.keep(sector, survivors()));
        self.seen = self.durable.clone();
    }

    /// Some bytes of a sector reach the disk.
    fn keep(&mut self, sector: usize, bytes: usize) {
        let from = sector * SECTOR;
        let to = self.seen.len().min(from + bytes);
        if to > from {
            let length = self.durable.len().max(to);
            self.durable.resize(length, 0);
            self.durable[from..to].copy_from_slice(&self.seen[from..to]);
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let to = at + bytes.len();
        let length = self.seen.len().max(to);
        self.seen.resize(length, 0);
        self.seen[at..to].copy_from_slice(bytes);
        for sector in at / SECTOR..to.div_ceil(SECTOR) {
            self.dirty.insert(sector);
            self.dropped.remove(&sector);
        }
    }

    fn shorten(&mut self, to: usize) {
        self.seen.truncate(to);
        self.cut = Some(self.cut.map_or(to, |before| before.min(to)));
        self.dirty.retain(|sector| sector * SECTOR < to);
        self.dropped.retain(|sector| sector * SECTOR < to);
    }

    fn sync(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.durable.truncate(cut);
        }
        std::mem::take(&mut self.dirty).into_iter().for_each(|sector| self.keep(sector, SECTOR));
    }
}

impl DiskFile {
    /// Spends one operation; whether it may be carried out, and whether it succeeds.
    fn spend(state: &mut State, name: usize) -> (bool, io::Result<()>) {
        let error = || Err(io::Error::other("power cut"));
        if state.away.contains(&name) {
            return (false, Err(io::ErrorKind::HostUnreachable.into()));
        }
        if state.dead {
            return (false, error());
        }
        state.operations += 1;
        match &mut state.fuse {
            Some(0) => {
                state.dead = true;
                (true, error())
            }
            Some(left) => {
                *left -= 1;
                (true, Ok(()))
            }
            None => (true, Ok(())),
        }
    }

    /// The length that a reader sees.
    pub(crate) fn length(&self) -> u64 {
        self.disk.0.lock().unwrap().files[self.at].seen.len() as u64
    }

    /// Reads what a reader sees.
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.disk.0.lock().unwrap();
        let bytes = state.files[self.at].seen.get(at as usize..at as usize + into.len());
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// Writes; the last write before a cut happens and fails.
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let (happens, result) = Self::spend(&mut state, self.name);
        if happens && !bytes.is_empty() && state.liar != Some(self.name) {
            state.files[self.at].write(at as usize, bytes);
        }
        result
    }

    /// Cuts the file to a length.
    pub(crate) fn shorten(&self, to: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let (happens, result) = Self::spend(&mut state, self.name);
        if happens {
            state.files[self.at].shorten(to as usize);
        }
        result
    }

    /// Syncs; one that fails drops what it was to write.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let (happens, result) = Self::spend(&mut state, self.name);
        let file = &mut state.files[self.at];
        match &result {
            Ok(()) => file.sync(),
            Err(_) if happens => {
                let mut dirty = std::mem::take(&mut file.dirty);
                file.dropped.append(&mut dirty);
            }
            Err(_) => {}
        }
        result
    }
}

impl Medium for DiskFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.length())
    }

    fn identity(&self) -> io::Result<FileId> {
        Ok(FileId(0, self.at as u64))
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.read(at, into)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(at, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.flush()
    }
}
