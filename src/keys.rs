//! The keys and where they live: root provider, VEK home, key register, key ring. What this room
//! destroys nobody can read again, so nothing here is derived from anything that lives longer, and
//! no key is ever written but wrapped, into a place that can be overwritten.
//!
//! ```text
//! root key            a RootProvider: a key file, or a PKCS#11 token                  (root)
//!  └ VEK              vault epoch key, in the VEK home, wrapped by the root           (vek)
//!     ├ journal keys  directly under the VEK, so that its turn-over turns the
//!     │               retired ones in every older copy of the register to noise; those of
//!     │               backfills likewise
//!     └ node keys     one per (use, month) or (bucket class, epoch)                   (register)
//!        └ leaf keys  one per (site, use, month), (site, class, epoch), UTC day, state
//! ```
//!
//! [`KeyRing`] is the logical tree; nobody above it knows files. Each part says in its own page how
//! it survives a crash at any byte: [`vek`], `register`, `home` (the first start), [`copies`]
//! (those off the host). How keys are destroyed: [`destroy`]. What is on hold lies in a vault of
//! its own: [`hold`].

mod access;
mod cache;
pub mod copies;
pub mod destroy;
mod group;
pub mod hold;
mod home;
#[cfg(test)]
pub mod image;
pub mod looking;
mod marks;
pub mod medium;
mod mounts;
mod opening;
mod pages;
mod person;
mod register;
mod restore;
mod rewrap;
pub mod ring;
pub mod root;
pub mod scan;
mod settle;
pub mod slot;
#[cfg(test)]
pub(crate) mod tests;
mod tree;
pub mod vek;
pub mod witness;

use std::io;
use std::path::PathBuf;

pub use copies::{CopyFault, CopyStatus};
pub use destroy::{Destroyed, Destruction, EpochStanding, Step, Steps, Victim};
pub use group::GroupMonthKeys;
pub use hold::HeldKey;
pub use home::exists;
pub use marks::{FileMark, RegisterHead, Said, Stand, marks, register_head, stands};
pub use opening::{Opened, Resumed};
pub use person::{RecordKeys, SuppressionKeys};
pub use register::RegisterError;
pub use restore::{Restored, restore};
pub use ring::{KeyInfo, KeyRing, SeenKeys, SiteMonthIds, SiteMonthKeys, WatermarkKeys};
pub use root::pkcs11::{PinFault, Pkcs11Fault, Pkcs11Root, Pkcs11Settings};
pub use root::{KeyFile, RootError, RootProvider, VekId};
pub use scan::RegisterScan;
pub use slot::KeyKind;
pub use vek::{LedgerMark, VekError};
pub use witness::{Known, NoWitness, RegisterWrite, Unwitnessed, Witness};

use crate::crypto::Secret;
pub use crate::model::ids::HoldNo;
use crate::model::ids::KeyId;

/// The random id of one vault; it is bound into everything wrapped, so that the files of two vaults
/// never mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VaultId(pub [u8; 16]);

/// Where the keys live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The keys directory: both copies of the register and the lock.
    pub dir: PathBuf,
    /// The VEK home; in production on another medium than the register, and in no backup.
    pub vek_home: PathBuf,
    /// The root key file, for the default root provider.
    pub root_key: PathBuf,
    /// Two shares that make the root key together, instead of the root key file.
    pub shares: Option<[PathBuf; 2]>,
    /// A PKCS#11 token instead of the root key file.
    pub pkcs11: Option<Pkcs11Settings>,
    /// Copies of the register on other media: files that are made where there are none, in
    /// directories that must exist.
    pub copies: Vec<PathBuf>,
}

impl Settings {
    /// Everything in one directory: the embedded default.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            vek_home: dir.join("vek.home"),
            root_key: dir.join("root.key"),
            shares: None,
            pkcs11: None,
            copies: Vec::new(),
            dir,
        }
    }

    /// The root key in its file or in its shares; made where there is none, if `make` says so.
    ///
    /// # Errors
    /// When a file of it is missing, readable by others, or of another form.
    fn key_file(&self, make: bool) -> Result<KeyFile, RootError> {
        match (&self.shares, make) {
            (None, false) => KeyFile::load(&self.root_key),
            (None, true) => KeyFile::load_or_create(&self.root_key),
            (Some(shares), false) => KeyFile::load_shares(shares),
            (Some(shares), true) => KeyFile::load_or_create_shares(shares),
        }
    }

    /// The files that the root key lies in.
    pub fn root_files(&self) -> Vec<&PathBuf> {
        self.shares.as_ref().map_or(vec![&self.root_key], |shares| shares.iter().collect())
    }
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The root key.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The VEK home.
    #[error(transparent)]
    Vek(#[from] VekError),
    /// The register.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// A token as the root, where a key file is needed.
    #[error("the root key is in a token, which only the server may ask")]
    NotWithToken,
    /// Another process has the keys open.
    #[error("the keys directory {} is in use by another process; stop that first", .0.display())]
    Locked(PathBuf),
    /// A file operation outside of the register's own.
    #[error("cannot {what} {} ({source}); check its disk and its rights", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A part of the vault is gone.
    #[error("{} is missing while other parts of the vault exist; put it back", .0.display())]
    Missing(PathBuf),
    /// Register and VEK home are of different times.
    #[error(
        "the key register is wrapped for vault epoch {register} but the VEK home is at epoch \
         {home}; put back the register that belongs to this VEK home"
    )]
    VekEpoch {
        /// The epoch in the register's header.
        register: u64,
        /// The newest epoch at the home.
        home: u64,
    },
    /// Older than the ledger.
    #[error(
        "the key register is at generation {} and vault epoch {}, but the ledger knows of \
         generation {} and epoch {}: the keys were put back from an older time; put back the \
         newest ones", .register.0, .register.1, .noted.0, .noted.1
    )]
    Older {
        /// Generation and epoch of the register.
        register: (u64, u64),
        /// Those that it has had for certain.
        noted: (u64, u64),
    },
    /// A wrapped key that its parent does not open.
    #[error(
        "key {id} in slot {slot} of the key register does not open under its parent; put back \
         both copies of the register of one time"
    )]
    Unopened {
        /// The key.
        id: KeyId,
        /// Its slot.
        slot: u32,
    },
    /// Two keys of one name, a key without parent, or an id that was never given.
    #[error(
        "key {id} in slot {slot} of the key register does not fit the others; put back both \
         copies of the register of one time"
    )]
    Misfit {
        /// The key.
        id: KeyId,
        /// Its slot.
        slot: u32,
    },
    /// A key of this name was retired; a name is never given twice.
    #[error("the {kind} key of this name was retired and is never made again")]
    Retired {
        /// Its kind.
        kind: KeyKind,
    },
    /// A key that others need, or that lives as long as the vault.
    #[error("key {0} is a node or the state key, which cannot be retired by itself")]
    InUse(KeyId),
    /// The ledger.
    #[error(transparent)]
    Witness(#[from] Unwitnessed),
    /// A copy off the host that is not what it should be.
    #[error("the copy of the key register {} cannot be used: {fault}", .path.display())]
    Copy {
        /// The copy.
        path: PathBuf,
        /// What is wrong with it.
        fault: CopyFault,
    },
    /// A restore over a register that is there.
    #[error("{} exists; it is put back only where both of its files are gone", .0.display())]
    Exists(PathBuf),
    /// A destruction while another one waits.
    #[error(
        "a destruction or turn-over of the keys has not ended yet (it waits for a copy off the \
         host, or it failed); finish it before the next one"
    )]
    Unfinished,
    /// Verification found a key that should be gone.
    #[error("key {0} still opens after its destruction, so it is not destroyed; stop and look")]
    StillOpens(KeyId),
    /// No living key of this number.
    #[error("there is no key {0}")]
    NoKey(KeyId),
    /// A key of this name on hold, with another secret.
    #[error("key {0} is on hold already, with another secret")]
    HeldDiffers(KeyId),
    /// A write or sync of the register failed. It is never tried again: what the disk holds is
    /// unknown until the files are read anew.
    #[error("writing the key register failed ({0}), so this process must stop and start again")]
    Failed(io::ErrorKind),
}

/// Wipes bytes that held, or may have held, key material.
fn wipe(bytes: &mut [u8]) {
    // Taking wipes the source whatever its length.
    drop(Secret::take(bytes));
}
