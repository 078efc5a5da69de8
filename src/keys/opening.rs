//! Opening a vault: which VEK is in force, and what became of a turn-over that was cut short.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use super::cache::Cache;
use super::copies::{CopyFault, Remote};
use super::destroy::{Destruction, Pending, Turning};
use super::home::{self, Found, Lock};
use super::medium::Medium;
use super::register::{CHUNK_SLOTS, FileRegister};
use super::root::RootProvider;
use super::scan::Forms;
use super::slot::KeyName;
use super::tree::{Core, Made, VEK, broken};
use super::vek::VekHome;
use super::witness::{NoWitness, Witness};
use super::{KeyKind, KeyRing, KeysError, Pkcs11Root, Settings, VekError};
use crate::crypto::SealKey;

/// What became of a turn-over that was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// There was none.
    Nothing,
    /// The register had not been written: nothing has happened, the call can be repeated.
    RolledBack,
    /// The register had been written: the VEK before was destroyed now, and so is what the call
    /// was to destroy.
    Finished,
    /// The register had been written, and a copy off the host does not have it yet: the VEK before
    /// still lives. [`KeyRing::resume`] goes on.
    Waiting,
}

/// What opening found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// A new vault was made. A caller that has data must refuse: its keys are gone.
    pub first_start: bool,
    /// Slots and headers of the register that were repaired from the other copy.
    pub repaired: u32,
    /// A turn-over or destruction that was cut short.
    pub resumed: Resumed,
}

/// What a ring is made of.
pub(super) struct Parts {
    pub(super) home: Box<dyn Medium>,
    pub(super) register: [Box<dyn Medium>; 2],
    pub(super) copies: Vec<Remote>,
    /// Slots that the register grows by.
    pub(super) chunk: u32,
    pub(super) root: Arc<dyn RootProvider>,
    pub(super) witness: Arc<dyn Witness>,
    pub(super) settings: Settings,
    pub(super) lock: Option<Lock>,
}

impl KeyRing {
    /// Opens the vault under the root of the settings, a key file or a PKCS#11 token, or makes one
    /// where there is none.
    ///
    /// # Errors
    /// When another process has it, a part of it is missing, damaged beyond repair or of another
    /// vault, or the root key does not open it.
    pub fn open(settings: &Settings) -> Result<(Self, Opened), KeysError> {
        Self::open_witnessed(settings, None, Arc::new(NoWitness))
    }

    /// As [`KeyRing::open`], with another root provider.
    ///
    /// # Errors
    /// As [`KeyRing::open`].
    pub fn open_with(
        settings: &Settings,
        root: Box<dyn RootProvider>,
    ) -> Result<(Self, Opened), KeysError> {
        Self::open_witnessed(settings, Some(root.into()), Arc::new(NoWitness))
    }

    /// As [`KeyRing::open`], with another root provider if one is given, and with a witness of each
    /// write of the register.
    ///
    /// # Errors
    /// As [`KeyRing::open`], and when a copy off the host is ahead of the register or another file.
    pub fn open_witnessed(
        settings: &Settings,
        root: Option<Arc<dyn RootProvider>>,
        witness: Arc<dyn Witness>,
    ) -> Result<(Self, Opened), KeysError> {
        let lock = home::lock(settings)?;
        let found = home::find(settings)?;
        let token = || settings.pkcs11.clone().map(|token| Arc::new(Pkcs11Root::new(token)) as _);
        let root = match (root.or_else(token), found) {
            (Some(root), _) => root,
            (None, found) => Arc::new(settings.key_file(found == Found::Nothing)?),
        };
        if found == Found::Nothing {
            home::create(settings, root.as_ref())?;
        }
        let [a, b] = home::open_register(settings)?;
        let (ring, opened) = Self::from_parts(Parts {
            home: Box::new(home::open_file(&settings.vek_home)?),
            register: [Box::new(a), Box::new(b)],
            copies: settings.copies.iter().cloned().map(Remote::file).collect(),
            chunk: CHUNK_SLOTS,
            root,
            witness,
            settings: settings.clone(),
            lock: Some(lock),
        })?;
        Ok((ring, Opened { first_start: found == Found::Nothing, ..opened }))
    }

    pub(super) fn from_parts(parts: Parts) -> Result<(Self, Opened), KeysError> {
        let Parts { root, witness, settings, lock, .. } = parts;
        let mut home = VekHome::open(parts.home)?;
        let open = FileRegister::open_chunked(parts.register, home.vault(), parts.chunk)?;
        let epoch = open.register.header().vek_epoch;
        // Before the home and the root provider are touched.
        let known = witness.known(home.vault());
        known.admit(open.register.header().generation, epoch)?;
        // The register says which VEK is in force; see the table in `vek`.
        let vek = home.vek(epoch, root.as_ref()).map_err(|error| match error {
            VekError::NoEpoch(register) => KeysError::VekEpoch { register, home: home.epoch() },
            error => error.into(),
        })?;
        let vek = SealKey::new(VEK, &vek);
        let mut core = Core::open(Box::new(open.register), open.live, vek, witness)?;
        core.register.raise_next_key(known.next_key);
        let (mut resumed, mut pending) = (Resumed::Nothing, None);
        match (home.turning(), home.epoch() == epoch) {
            (true, true) => {
                let read_back = core.read_back()?;
                pending = Some(Pending::found(&core, read_back));
            }
            (true, false) => {
                home.discard_next(root.as_ref())?;
                resumed = Resumed::RolledBack;
            }
            // Once more, because the last zeros may have been torn, or never have reached the disk.
            (false, _) => drop(home.destroy_previous(root.as_ref(), true)?),
        }
        core.register.follow(parts.copies);
        refuse_copies(&core)?;
        let turning = Turning { home, root, pending, ended_before: None, forms: Forms::default() };
        let ring = Self::assemble(core, turning, settings, lock)?;
        match ring.resume(&())? {
            None => {}
            Some(Destruction::Waiting(_)) => resumed = Resumed::Waiting,
            Some(_) => resumed = Resumed::Finished,
        }
        Ok((ring, Opened { first_start: false, repaired: open.repaired, resumed }))
    }

    fn assemble(
        mut core: Core,
        turning: Turning,
        settings: Settings,
        lock: Option<Lock>,
    ) -> Result<Self, KeysError> {
        let name = KeyName::plain(KeyKind::State, 0);
        let state = match core.by_name.get(&name) {
            Some(id) => core.seal_key(*id)?,
            None => core.make(&[name])?.first().map(Made::seal_key).ok_or_else(broken)?,
        };
        let mut cache = Cache::default();
        let state = cache.seal(state);
        let marks = |name: &&KeyName| name.kind == KeyKind::Watermark && name.hold == 0;
        for name in core.by_name.keys().filter(marks) {
            cache.mark(name);
        }
        Ok(Self {
            core: Mutex::new(core),
            cache: RwLock::new(cache),
            turning: Mutex::new(turning),
            failed: Arc::new(OnceLock::new()),
            state,
            settings,
            hold: Mutex::new(None),
            _lock: lock,
        })
    }
}

/// A copy that cannot be reached waits; one that contradicts the register stops the start.
fn refuse_copies(core: &Core) -> Result<(), KeysError> {
    let wrong = |fault: &CopyFault| matches!(fault, CopyFault::Foreign | CopyFault::Ahead(_));
    let mut faults: Vec<(PathBuf, CopyFault)> = Vec::new();
    for copy in core.register.copies() {
        faults.extend(copy.fault.filter(wrong).map(|fault| (copy.path, fault)));
    }
    faults.pop().map_or(Ok(()), |(path, fault)| Err(KeysError::Copy { path, fault }))
}
