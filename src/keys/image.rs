//! For tests: a file system of its own in a file, so that a search sees every byte that the disk
//! would have, free blocks and journal included; and the search.
//!
//! Mounting needs root and loop devices. Where that is not possible a test says so with
//! [`not_possible`], which `.ci/run` repeats at its end.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The size of a block, bytes. Blocks that are zero are not searched.
const BLOCK: usize = 4_096;

/// An ext4 (`data=ordered`, the default) in a file, mounted for as long as this lives.
pub struct LoopImage {
    dir: tempfile::TempDir,
}

impl LoopImage {
    /// Makes and mounts one of so many MiB.
    ///
    /// # Errors
    /// Why that is not possible here.
    pub fn mount(mebibytes: u64) -> Result<Self, String> {
        let image = Self { dir: tempfile::tempdir().map_err(|error| error.to_string())? };
        let file = fs::File::create(image.file()).map_err(|error| error.to_string())?;
        file.set_len(mebibytes << 20).map_err(|error| error.to_string())?;
        fs::create_dir(image.path()).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").arg("-q").arg(image.file()))?;
        let options = "loop,data=ordered,noatime";
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", options])
            .arg(image.file())
            .arg(image.path()))?;
        Ok(image)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ext4.image")
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// Every byte of it, once everything is written.
    pub fn raw(&self) -> Vec<u8> {
        run(Command::new("sync").arg("-f").arg(self.path())).unwrap();
        fs::read(self.file()).unwrap()
    }

    /// Takes it off, and answers every byte of it.
    pub fn unmounted(self) -> Vec<u8> {
        run(Command::new("umount").arg(self.path())).unwrap();
        fs::read(self.file()).unwrap()
    }
}

impl Drop for LoopImage {
    fn drop(&mut self) {
        // Nothing is mounted any more after `unmounted`, and then this says so to nobody.
        let _ = run(Command::new("umount").arg(self.path()));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{name}: {said}")) }
}

/// Says that a check was not made as it should be. The standard error of the process is not caught
/// by the test harness, so that it is seen, and `.ci/run` looks for the first word.
pub fn not_possible(check: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {check}: {why}");
}

/// Every file below a directory, with its content.
pub fn every_file(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(every_file(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found
}

/// What is searched for, by names.
#[derive(Default)]
pub struct Needles(Vec<(String, Vec<u8>)>);

impl Needles {
    /// Adds bytes.
    pub fn add(&mut self, name: impl Into<String>, bytes: &[u8]) {
        assert!(bytes.len() >= 32, "too short to be found by chance");
        self.0.push((name.into(), bytes.to_vec()));
    }

    /// Adds the bytes of a key, and its spellings in text.
    pub fn add_secret(&mut self, name: &str, secret: &[u8; 32]) {
        self.add(format!("{name} plain"), secret);
        self.add(format!("{name} hex"), data_encoding::HEXLOWER.encode(secret).as_bytes());
        self.add(format!("{name} base64"), &data_encoding::BASE64.encode(secret).as_bytes()[..42]);
    }

    /// All names.
    pub fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The names of what occurs in the bytes.
    pub fn found_in(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let mut by_first: Vec<Vec<usize>> = vec![Vec::new(); 256];
        for (at, (_, needle)) in self.0.iter().enumerate() {
            by_first[usize::from(needle[0])].push(at);
        }
        let mut found = BTreeSet::new();
        for run in nonzero(bytes) {
            for (at, byte) in run.iter().enumerate() {
                for needle in &by_first[usize::from(*byte)] {
                    let (name, needle) = &self.0[*needle];
                    if run[at..].starts_with(needle) {
                        found.insert(name.as_str());
                    }
                }
            }
        }
        found
    }

    /// The names of what occurs in any file below a directory.
    pub fn found_below(&self, dir: &Path) -> BTreeSet<&str> {
        every_file(dir).iter().flat_map(|(_, bytes)| self.found_in(bytes)).collect()
    }
}

/// The stretches of blocks that are not zero.
fn nonzero(bytes: &[u8]) -> Vec<&[u8]> {
    let zero = |block: &[u8]| block.iter().all(|byte| *byte == 0);
    let is_zero = |block: &[u8]| {
        // Comparing slices is fast without optimization, too.
        if block.len() == BLOCK { *block == [0; BLOCK] } else { zero(block) }
    };
    let blocks = bytes.len().div_ceil(BLOCK);
    let block = |no: usize| &bytes[no * BLOCK..bytes.len().min((no + 1) * BLOCK)];
    let (mut runs, mut no) = (Vec::new(), 0);
    while no < blocks {
        if is_zero(block(no)) {
            no += 1;
            continue;
        }
        let first = no;
        while no < blocks && !is_zero(block(no)) {
            no += 1;
        }
        runs.push(&bytes[first * BLOCK..bytes.len().min(no * BLOCK)]);
    }
    runs
}

#[test]
fn the_search_finds_what_is_there() {
    let mut needles = Needles::default();
    let secret: [u8; 32] = std::array::from_fn(|at| at as u8 ^ 0xa5);
    needles.add_secret("k", &secret);
    let mut bytes = vec![0; 3 * BLOCK + 100];
    assert!(needles.found_in(&bytes).is_empty());
    // Over the edge of a block, and at the very end.
    bytes[2 * BLOCK - 16..2 * BLOCK + 16].copy_from_slice(&secret);
    let end = bytes.len();
    bytes[end - 64..].copy_from_slice(data_encoding::HEXLOWER.encode(&secret).as_bytes());
    assert_eq!(needles.found_in(&bytes), ["k hex", "k plain"].into());
    bytes[2 * BLOCK] ^= 1;
    assert_eq!(needles.found_in(&bytes), ["k hex"].into());
}
