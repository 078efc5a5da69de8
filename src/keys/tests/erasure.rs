//! Checks 34 and 45 for the keys: what was destroyed is in no file and in no block of the disk, and
//! the same search catches every shortcut that a destroyer could take.
//!
//! The shortcuts are those of a medium that lies: what it does not write it shows all the same, so
//! that the destroyer's own reading back is content. Only the search can tell.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::destroy::{done, filled, live_of, victims};
use super::*;
use crate::keys::image::{LoopImage, Needles, not_possible};
use crate::keys::medium::{FileId, Medium};
use crate::keys::register::CHUNK_SLOTS;
use crate::keys::slot::{HEADER_BYTES, SLOT_BYTES};
use crate::keys::{KeyFile, LedgerMark, RegisterScan};

/// A step that a destroyer leaves out, or does in a wrong way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortcut {
    /// None: everything is written.
    None,
    /// The row is taken off the list of living keys, and its bytes stay.
    DeletesTheRow,
    /// The zeros over the victims are not written.
    SkipsTheOverwrite,
    /// The old VEK is not destroyed at its home.
    SkipsTheVek,
    /// The second copy of the register is not written.
    SkipsCopyB,
    /// A new file is renamed over the old one, as is done with most files.
    RenamesOver,
}

/// A file that leaves out what a shortcut says.
struct Liar {
    path: PathBuf,
    file: File,
    /// What a reader sees.
    seen: Vec<u8>,
    shortcut: Shortcut,
}

impl Liar {
    fn open(path: PathBuf, shortcut: Shortcut) -> Box<Self> {
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let seen = fs::read(&path).unwrap();
        Box::new(Self { path, file, seen, shortcut })
    }

    fn is_home(&self) -> bool {
        self.path.ends_with("vek.home")
    }

    /// Writes what is really written of some bytes.
    fn really(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let zeros = bytes.iter().all(|byte| *byte == 0);
        match self.shortcut {
            Shortcut::SkipsTheVek if self.is_home() && zeros => Ok(()),
            Shortcut::SkipsCopyB if self.path.ends_with("register.b") => Ok(()),
            Shortcut::SkipsTheOverwrite if !self.is_home() && zeros => Ok(()),
            Shortcut::DeletesTheRow if !self.is_home() && zeros => {
                self.file.write_all_at(&bytes[..1], at)
            }
            Shortcut::RenamesOver => Ok(()),
            _ => self.file.write_all_at(bytes, at),
        }
    }
}

impl Medium for Liar {
    fn size(&self) -> io::Result<u64> {
        Ok(self.seen.len() as u64)
    }

    fn identity(&self) -> io::Result<FileId> {
        FileId::open(&self.file)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = self.seen.get(at as usize..at as usize + into.len());
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let end = at as usize + bytes.len();
        let length = self.seen.len().max(end);
        self.seen.resize(length, 0);
        self.seen[at as usize..end].copy_from_slice(bytes);
        // A row at a time: one write takes in many.
        if !self.is_home() && at >= HEADER_BYTES as u64 {
            let mut rows = bytes.chunks(SLOT_BYTES).zip((at..).step_by(SLOT_BYTES));
            return rows.try_for_each(|(row, at)| self.really(at, row));
        }
        self.really(at, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.shortcut == Shortcut::RenamesOver {
            let new = self.path.with_extension("new");
            fs::write(&new, &self.seen)?;
            File::open(&new)?.sync_all()?;
            fs::rename(&new, &self.path)?;
            self.file = File::options().read(true).write(true).open(&self.path)?;
        }
        self.file.sync_data()
    }
}

/// A vault in a directory, and what must not be found of it after the destruction.
fn prepare(dir: &Path) -> (Settings, Needles) {
    let settings = Settings::in_dir(dir.join("keys"));
    let (ring, _) = KeyRing::open(&settings).unwrap();
    filled(&ring);
    let (due, secrets) = (victims(&ring), ring.secrets());
    drop(ring);
    let home = fs::read(&settings.vek_home).unwrap();
    let register = fs::read(settings.dir.join("register.a")).unwrap();
    let mut needles = Needles::default();
    for id in &due {
        needles.add_secret(&format!("{id}"), &secrets[id]);
    }
    for (id, wrapped) in live_of(&register, &home).iter().filter(|(id, _)| due.contains(id)) {
        needles.add(format!("{id} wrapped"), wrapped);
    }
    // The wrapped VEK: its length stands before it.
    let length = usize::from(u16::from_be_bytes(home[74..76].try_into().unwrap()));
    needles.add("the VEK wrapped", &home[76..76 + length]);
    (settings, needles)
}

/// What a copy of the register and the root key would open of these: the wrapped ones.
fn of_use(needles: &Needles) -> BTreeSet<&str> {
    needles.names().into_iter().filter(|name| name.ends_with("wrapped")).collect()
}

/// What the search in the register finds afterwards.
fn destroy(settings: &Settings, shortcut: Shortcut) -> RegisterScan {
    let liar = |path: &Path| -> Box<dyn Medium> { Liar::open(path.to_owned(), shortcut) };
    let (ring, _) = KeyRing::from_parts(Parts {
        home: liar(&settings.vek_home),
        register: ["register.a", "register.b"].map(|name| liar(&settings.dir.join(name))),
        copies: Vec::new(),
        chunk: CHUNK,
        root: Arc::new(KeyFile::load(&settings.root_key).unwrap()),
        witness: Arc::new(NoWitness),
        settings: settings.clone(),
        lock: None,
    })
    .unwrap();
    let due = victims(&ring);
    done(ring.destroy(&due, LedgerMark::default(), &()));
    let scan = ring.scan(&due).unwrap();
    assert_eq!((scan.copies, scan.keys, scan.wrapped), (2, 4, 4));
    assert_eq!(scan.places, 2 * u64::from(CHUNK_SLOTS));
    scan
}

/// Destroys in a directory, and searches its files.
fn files_after(dir: &Path, shortcut: Shortcut) -> (BTreeSet<String>, u64) {
    let (settings, needles) = prepare(dir);
    let before = needles.found_below(dir);
    assert_eq!(before, of_use(&needles), "the search finds what is there before");
    let scan = destroy(&settings, shortcut);
    (needles.found_below(dir).into_iter().map(str::to_owned).collect(), scan.found)
}

fn victims_wrapped(found: &BTreeSet<String>) -> usize {
    found.iter().filter(|name| name.starts_with('k') && name.ends_with("wrapped")).count()
}

/// Check 45 on the files alone, so that it runs everywhere. The search in the register that a
/// certificate speaks of finds the same: each key in each copy that still has it.
#[test]
fn check_45_the_search_in_files_catches_every_shortcut() {
    for (shortcut, keys, vek, places) in [
        (Shortcut::None, 0, false, 0),
        (Shortcut::DeletesTheRow, 4, false, 8),
        (Shortcut::SkipsTheOverwrite, 4, false, 8),
        (Shortcut::SkipsTheVek, 0, true, 0),
        (Shortcut::SkipsCopyB, 4, false, 4),
        // This is what no search in files can see.
        (Shortcut::RenamesOver, 0, false, 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (found, in_register) = files_after(dir.path(), shortcut);
        assert_eq!(in_register, places, "{shortcut:?}");
        let has_vek = found.contains("the VEK wrapped");
        assert_eq!((victims_wrapped(&found), has_vek), (keys, vek), "{shortcut:?}: {found:?}");
        assert_eq!(found.len(), keys + usize::from(vek), "{shortcut:?}: {found:?}");
    }
}

/// Checks 34 and 45 on the raw blocks of an ext4 of its own.
#[test]
fn check_34_and_45_the_search_in_the_raw_image_catches_every_shortcut() {
    let name = "checks 34 and 45, raw image of an ext4";
    for (shortcut, caught) in [
        (Shortcut::None, false),
        (Shortcut::DeletesTheRow, true),
        (Shortcut::SkipsTheOverwrite, true),
        (Shortcut::SkipsTheVek, true),
        (Shortcut::SkipsCopyB, true),
        (Shortcut::RenamesOver, true),
    ] {
        let image = match LoopImage::mount(16) {
            Ok(image) => image,
            Err(why) => return not_possible(name, &why),
        };
        let (settings, needles) = prepare(&image.path());
        assert_eq!(needles.found_in(&image.raw()), of_use(&needles), "found before");
        destroy(&settings, shortcut);
        let raw = image.unmounted();
        let found = needles.found_in(&raw);
        assert_eq!(!found.is_empty(), caught, "{shortcut:?}: {found:?}");
        let secrets = found.iter().filter(|name| !name.ends_with("wrapped"));
        assert_eq!(secrets.count(), 0, "no key is ever written but wrapped: {found:?}");
    }
}
