//! A root provider behind PKCS#11: an HSM, or a program that behaves like one.
//!
//! Each VEK epoch has an AES-256 key of its own in the token. It was made there, cannot be read
//! out, copied, renamed or wrapped, and wraps one VEK with AES-GCM. When the epoch ends the token
//! destroys it; then a copy of the VEK home from before opens nothing, with the token and its PIN
//! neither. (Unless somebody copied the token itself: that is between its owner and its maker.)
//!
//! Every call opens a session, logs in with the PIN as its file says it now, and ends both again:
//! calls are a handful a day, so the token stands open for moments only, no PIN stays in memory,
//! and a token that was away needs nothing but to be back. All calls are safe to repeat.

mod fault;
mod pin;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};

pub use self::fault::{PinFault, Pkcs11Fault};
use super::{RootError, RootProvider, VekId};
use crate::crypto::{Aad, Secret, equal, random_bytes};

/// What a wrapped VEK begins with; the wrapping of a key file begins with another byte.
const FORM: u8 = 0x11;
const IV_BYTES: usize = 12;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const WRAPPED_BYTES: usize = 1 + IV_BYTES + KEY_BYTES + TAG_BYTES;

/// Which token, and how to get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkcs11Settings {
    /// The library that speaks to it; loaded when the vault is opened, never needed to build.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// The file that holds its user PIN, for the owner's eyes only.
    pub pin_file: PathBuf,
}

/// The token as a root provider.
pub struct Pkcs11Root {
    name: String,
    settings: Pkcs11Settings,
    /// Whether the token refused the PIN.
    refused: AtomicBool,
}

impl Pkcs11Root {
    /// Asks for nothing yet; each call finds the token anew.
    pub fn new(settings: Pkcs11Settings) -> Self {
        let name = format!("PKCS#11 token {:?}", settings.label);
        Self { name, settings, refused: AtomicBool::new(false) }
    }

    fn fault(&self, fault: Pkcs11Fault) -> RootError {
        RootError::Pkcs11 { label: self.settings.label.clone(), fault }
    }

    /// Logs in, works, and ends the session.
    fn with<T>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, Pkcs11Fault>,
    ) -> Result<T, RootError> {
        // One call at a time: login is a state of the process, and so is what a module knows.
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let session = loaded(&mut modules, &self.settings.module).and_then(|module| {
            match self.logged_in(&module) {
                // Some modules look for their tokens once, when they are initialized.
                Err(Pkcs11Fault::NoToken | Pkcs11Fault::Gone) => {
                    finalize(&module)?;
                    initialize(&module)?;
                    self.logged_in(&module)
                }
                session => session,
            }
        });
        session.and_then(|session| work(&session)).map_err(|fault| self.fault(fault))
    }

    fn logged_in(&self, module: &Pkcs11) -> Result<Session, Pkcs11Fault> {
        if self.refused.load(Ordering::Relaxed) {
            return Err(Pkcs11Fault::PinRefused);
        }
        let (slot, info) = find_token(module, &self.settings.label)?;
        if info.write_protected() {
            return Err(Pkcs11Fault::ReadOnly);
        }
        let flags =
            (info.user_pin_initialized(), info.user_pin_locked(), info.user_pin_final_try());
        may_log_in(flags)?;
        let pin = pin::read(&self.settings.pin_file)?;
        let session = module.open_rw_session(slot)?;
        match session.login_with_raw(UserType::User, &pin) {
            // By somebody else in this process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => {
                let fault = Pkcs11Fault::from(error);
                self.refused.store(fault == Pkcs11Fault::PinRefused, Ordering::Relaxed);
                Err(fault)
            }
        }
    }
}

impl RootProvider for Pkcs11Root {
    fn name(&self) -> &str {
        &self.name
    }

    fn begin_epoch(&self, vek: VekId) -> Result<(), RootError> {
        self.with(|session| {
            let key = match find(session, vek)?.as_slice() {
                [] => session.generate_key(&Mechanism::AesKeyGen, &template(vek))?,
                [key] => *key,
                _ => return Err(Pkcs11Fault::TwoKeys(vek.epoch)),
            };
            // As the token says, not as it was asked to: some take a template as advice.
            if stays_inside(session, key)? { Ok(()) } else { Err(Pkcs11Fault::Loose(vek.epoch)) }
        })
    }

    fn end_epoch(&self, vek: VekId) -> Result<(), RootError> {
        self.with(|session| {
            find(session, vek)?.into_iter().try_for_each(|key| Ok(session.destroy_object(key)?))
        })?;
        // In a session of its own, which has nothing in mind of the one before.
        self.with(|session| match find(session, vek)?.as_slice() {
            [] => Ok(()),
            _ => Err(Pkcs11Fault::NotDestroyed(vek.epoch)),
        })
    }

    fn ends_epochs(&self) -> bool {
        true
    }

    fn wrap(&self, vek: VekId, aad: &Aad, plain: &[u8; 32]) -> Result<Vec<u8>, RootError> {
        self.with(|session| {
            let key = only(session, vek)?;
            let iv: [u8; IV_BYTES] = random_bytes();
            let sealed = session.encrypt(&gcm(&mut iv.clone(), aad)?, key, plain)?;
            let wrapped = [[FORM].as_slice(), &iv, &sealed].concat();
            // The VEK before it is destroyed soon, and nobody opens this one until the next start.
            let back = open(session, key, aad, &wrapped)?;
            if equal(back.expose(), plain) { Ok(wrapped) } else { Err(Pkcs11Fault::NotOpened) }
        })
    }

    fn unwrap(&self, vek: VekId, aad: &Aad, wrapped: &[u8]) -> Result<Secret, RootError> {
        if wrapped.len() != WRAPPED_BYTES || wrapped[0] != FORM {
            return Err(self.fault(Pkcs11Fault::OtherRoot));
        }
        self.with(|session| open(session, only(session, vek)?, aad, wrapped))
    }
}

/// A token's own word on whether its PIN may be tried: (set, locked, one try left).
fn may_log_in(flags: (bool, bool, bool)) -> Result<(), Pkcs11Fault> {
    match flags {
        (_, true, _) => Err(Pkcs11Fault::PinLocked),
        (false, ..) => Err(Pkcs11Fault::PinUnset),
        (_, _, true) => Err(Pkcs11Fault::PinLastTry),
        (true, false, false) => Ok(()),
    }
}

/// Modules that are loaded stay so for the life of the process: a library with threads of its own
/// must not be unloaded under them.
static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

fn loaded(modules: &mut BTreeMap<PathBuf, Pkcs11>, path: &Path) -> Result<Pkcs11, Pkcs11Fault> {
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(path).map_err(|_| Pkcs11Fault::Module(path.to_owned()))?;
    initialize(&module)?;
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

fn initialize(module: &Pkcs11) -> Result<(), Pkcs11Fault> {
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Also of a module that an earlier attempt left without being initialized.
fn finalize(module: &Pkcs11) -> Result<(), Pkcs11Fault> {
    match module.clone().finalize() {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn find_token(module: &Pkcs11, label: &str) -> Result<(Slot, TokenInfo), Pkcs11Fault> {
    let slots = module.get_slots_with_token()?.into_iter();
    // A slot that cannot be asked is not the one.
    let infos = slots.filter_map(|slot| Some((slot, module.get_token_info(slot).ok()?)));
    let fits = |info: &TokenInfo| info.token_initialized() && info.label() == label;
    let mut found = infos.filter(|(_, info)| fits(info));
    match (found.next(), found.next()) {
        (Some(token), None) => Ok(token),
        (Some(_), Some(_)) => Err(Pkcs11Fault::TwoTokens),
        (None, _) => Err(Pkcs11Fault::NoToken),
    }
}

/// How an epoch's key is found: the vault id and the epoch, as bytes.
fn sought(vek: VekId) -> Vec<Attribute> {
    let id = [vek.vault.0.as_slice(), &vek.epoch.to_be_bytes()].concat();
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
        Attribute::Id(id),
    ]
}

fn template(vek: VekId) -> Vec<Attribute> {
    let mut template = sought(vek);
    // For people who look at the token with its own tool.
    let label = format!("blindtally {:032x} epoch {}", u128::from_be_bytes(vek.vault.0), vek.epoch);
    template.extend([
        Attribute::Label(label.into_bytes()),
        Attribute::ValueLen((KEY_BYTES as u64).into()),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Copyable(false),
        // By another name it would outlive its epoch.
        Attribute::Modifiable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Derive(false),
    ]);
    template
}

fn find(session: &Session, vek: VekId) -> Result<Vec<ObjectHandle>, Pkcs11Fault> {
    Ok(session.find_objects(&sought(vek))?)
}

fn only(session: &Session, vek: VekId) -> Result<ObjectHandle, Pkcs11Fault> {
    match find(session, vek)?.as_slice() {
        [] => Err(Pkcs11Fault::NoKey(vek.epoch)),
        [key] => Ok(*key),
        _ => Err(Pkcs11Fault::TwoKeys(vek.epoch)),
    }
}

/// Whether a key was made in the token, has never been anywhere else, and cannot get another name
/// or a twin.
fn stays_inside(session: &Session, key: ObjectHandle) -> Result<bool, Pkcs11Fault> {
    let asked = [
        AttributeType::Local,
        AttributeType::Sensitive,
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
        AttributeType::Copyable,
        AttributeType::Modifiable,
    ];
    let answers = session.get_attributes(key, &asked)?;
    let said = |wanted: &Attribute| answers.contains(wanted);
    Ok(said(&Attribute::Local(true))
        && said(&Attribute::Sensitive(true))
        && said(&Attribute::AlwaysSensitive(true))
        && said(&Attribute::NeverExtractable(true))
        && said(&Attribute::Copyable(false))
        && said(&Attribute::Modifiable(false)))
}

fn gcm<'a>(iv: &'a mut [u8; IV_BYTES], aad: &'a Aad) -> Result<Mechanism<'a>, Pkcs11Fault> {
    let bits = (TAG_BYTES as u64 * 8).into();
    Ok(Mechanism::AesGcm(GcmParams::new(iv, aad.as_bytes(), bits)?))
}

fn open(
    session: &Session,
    key: ObjectHandle,
    aad: &Aad,
    wrapped: &[u8],
) -> Result<Secret, Pkcs11Fault> {
    let mut iv = std::array::from_fn(|at| wrapped[1 + at]);
    let sealed = &wrapped[1 + IV_BYTES..];
    let opened = session.decrypt(&gcm(&mut iv, aad)?, key, sealed);
    let mut plain = opened.map_err(|error| match error {
        // Which of these a wrong tag gives differs from token to token.
        Error::Pkcs11(
            RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::GeneralError
            | RvError::FunctionFailed,
            Function::Decrypt,
        ) => Pkcs11Fault::NotOpened,
        error => error.into(),
    })?;
    Secret::take(&mut plain).ok_or(Pkcs11Fault::NotOpened)
}
