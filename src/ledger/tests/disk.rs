//! A disk whose power can be cut between any two operations, and which then keeps any part of what
//! was not synced: whole sectors, torn sectors, or nothing.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use crate::ledger::book::Files;
use crate::ledger::medium::Log;

const SECTOR: usize = 512;

/// What survives of the sectors that were not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// Nothing.
    Lost,
    /// Everything.
    Kept,
    /// Each sector for itself: nothing, all, or torn at some byte.
    Seeded(u64),
}

/// Some files.
#[derive(Clone)]
pub(super) struct Disk(Arc<Mutex<State>>);

struct State {
    files: Vec<Stored>,
    fuse: Option<u32>,
    dead: bool,
    operations: u32,
}

#[derive(Clone, Default)]
struct Stored {
    durable: Vec<u8>,
    seen: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// The shortest length since the last sync.
    cut: Option<usize>,
}

struct SimLog {
    disk: Disk,
    at: usize,
}

impl Disk {
    pub(super) fn new() -> Self {
        let files = vec![Stored::default(); 4];
        Self(Arc::new(Mutex::new(State { files, fuse: None, dead: false, operations: 0 })))
    }

    pub(super) fn files(&self) -> Files {
        let file = |at| Box::new(SimLog { disk: self.clone(), at }) as Box<dyn Log>;
        Files { entries: file(0), checkpoints: file(1), hashes: file(2), ends: file(3) }
    }

    /// Lets this many operations happen; the next one is the last, and fails.
    pub(super) fn burn_after(&self, operations: u32) {
        self.0.lock().unwrap().fuse = Some(operations);
    }

    pub(super) fn operations(&self) -> u32 {
        self.0.lock().unwrap().operations
    }

    pub(super) fn bytes(&self, at: usize) -> Vec<u8> {
        self.0.lock().unwrap().files[at].seen.clone()
    }

    /// Puts another content there, durably.
    pub(super) fn set(&self, at: usize, bytes: Vec<u8>) {
        let seen = bytes.clone();
        let stored = Stored { durable: bytes, seen, ..Stored::default() };
        self.0.lock().unwrap().files[at] = stored;
    }

    /// Power off and on again.
    pub(super) fn power(&self, cut: Cut) {
        let mut state = self.0.lock().unwrap();
        (state.fuse, state.dead) = (None, false);
        let mut seed = match cut {
            Cut::Seeded(seed) => seed,
            Cut::Lost | Cut::Kept => 0,
        };
        for file in &mut state.files {
            match cut {
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
        for sector in std::mem::take(&mut self.dirty) {
            let from = sector * SECTOR;
            let to = self.seen.len().min(from + survivors());
            if to > from {
                let length = self.durable.len().max(to);
                self.durable.resize(length, 0);
                self.durable[from..to].copy_from_slice(&self.seen[from..to]);
            }
        }
        self.seen = self.durable.clone();
    }
}

/// Spends one operation; whether it may be carried out, and whether it succeeds.
fn spend(state: &mut State) -> (bool, io::Result<()>) {
    let error = || Err(io::Error::other("power cut"));
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

impl Log for SimLog {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().files[self.at].seen.len() as u64)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.disk.0.lock().unwrap();
        let bytes = state.files[self.at].seen.get(at as usize..at as usize + into.len());
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let (happens, result) = spend(&mut state);
        if happens && !bytes.is_empty() {
            let file = &mut state.files[self.at];
            let (from, to) = (at as usize, at as usize + bytes.len());
            let length = file.seen.len().max(to);
            file.seen.resize(length, 0);
            file.seen[from..to].copy_from_slice(bytes);
            file.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
        }
        result
    }

    fn cut(&self, to: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let (happens, result) = spend(&mut state);
        if happens {
            let file = &mut state.files[self.at];
            let to = to as usize;
            file.seen.truncate(to);
            file.cut = Some(file.cut.map_or(to, |before| before.min(to)));
            file.dirty.retain(|sector| sector * SECTOR < to);
        }
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        // A failed sync leaves everything as uncertain as before.
        let (_, result) = spend(&mut state);
        if result.is_ok() {
            let file = &mut state.files[self.at];
            file.durable = file.seen.clone();
            file.dirty.clear();
            file.cut = None;
        }
        result
    }
}
