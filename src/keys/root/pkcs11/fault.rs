//! What can be wrong with a token, in sentences that say what to do. Nothing of the PIN or of a key
//! is in them; a code of PKCS#11 is a word from a closed list, or a number.

use std::io;
use std::path::PathBuf;

use cryptoki::error::{Error, RvError};

/// Why the token cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs11Fault {
    /// The library is missing, or is no PKCS#11 module for this machine.
    #[error(
        "its module {} cannot be loaded; install it, or correct [keys] pkcs11_module",
        .0.display()
    )]
    Module(PathBuf),
    /// No slot holds it.
    #[error("no slot holds it; connect it and start its service, or correct [keys] pkcs11_token")]
    NoToken,
    /// The label is not enough to know it by.
    #[error("two tokens have this label; give one of them another")]
    TwoTokens,
    /// Keys cannot be made or destroyed in it.
    #[error("it is write-protected, so that no key can be made or destroyed in it; allow writes")]
    ReadOnly,
    /// The PIN's file.
    #[error("the PIN file {} {fault}", .path.display())]
    Pin {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: PinFault,
    },
    /// Nobody has set one.
    #[error("it has no user PIN yet, or one that must be changed; set one with its own tool")]
    PinUnset,
    /// Refused once, and never tried again by this process: tokens lock after a few tries.
    #[error(
        "it refuses the PIN, which is not tried again so that the token is not locked; correct \
         the PIN file and start again"
    )]
    PinRefused,
    /// Not tried.
    #[error(
        "one more wrong PIN would lock it, so none was tried; correct the PIN file, log in once \
         with the token's own tool, and start again"
    )]
    PinLastTry,
    /// Too many wrong ones.
    #[error("its user PIN is locked; have its security officer set a new one")]
    PinLocked,
    /// It went away, or the session did.
    #[error("it was removed or lost its session; connect it again and repeat what was asked")]
    Gone,
    /// The epoch has ended, or it is the wrong token.
    #[error(
        "it holds no key of vault epoch {0}: put back the VEK home of today if this one is from \
         before a destruction (then nothing opens it), or connect the token of this vault"
    )]
    NoKey(u64),
    /// Somebody else made one.
    #[error("it holds two keys of vault epoch {0}; remove the one that is not ours")]
    TwoKeys(u64),
    /// Destroying such a key would prove nothing.
    #[error(
        "its key of vault epoch {0} was not made in it, or can be taken out of it, copied or \
         renamed; use a token that keeps keys inside and as they are"
    )]
    Loose(u64),
    /// It said that it did.
    #[error("it still holds its key of vault epoch {0} after destroying it; stop and look")]
    NotDestroyed(u64),
    /// Wrapped by a key file or another provider.
    #[error("the VEK was wrapped by another kind of root; set [keys] root to the one it was")]
    OtherRoot,
    /// Changed, or another key of the same name.
    #[error("it does not open the wrapped VEK; put back the VEK home of this vault")]
    NotOpened,
    /// It cannot do AES-GCM, or not make AES keys.
    #[error("it does not offer CKM_AES_KEY_GEN and CKM_AES_GCM as needed; use one that does")]
    Mechanism,
    /// Anything else.
    #[error("it refused {0}; look up the code in its manual")]
    Refused(String),
}

/// What is wrong with the PIN's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinFault {
    /// Not there.
    #[error("is missing; put it there")]
    Missing,
    /// Others can read it; the mode's permission bits.
    #[error("can be read by others (mode {0:03o}); run chmod 600 on it")]
    Exposed(u32),
    /// No PIN in it.
    #[error("is not one line of 1 to 255 bytes; write the PIN into it, and nothing else")]
    Form,
    /// The file system said no.
    #[error("cannot be read ({0}); check its disk and its rights")]
    Io(io::ErrorKind),
}

impl From<Error> for Pkcs11Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Pkcs11(code, function) => Self::known(code)
                .unwrap_or_else(|| Self::Refused(format!("{function:?} with {code:?}"))),
            Error::NullFunctionPointer | Error::NotSupported => Self::Mechanism,
            // The crate's own conversions; what was converted stays out of the sentence.
            _ => Self::Refused("an answer that this program cannot read".to_owned()),
        }
    }
}

impl Pkcs11Fault {
    fn known(code: RvError) -> Option<Self> {
        Some(match code {
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => Self::PinRefused,
            RvError::PinLocked => Self::PinLocked,
            RvError::PinExpired | RvError::UserPinNotInitialized => Self::PinUnset,
            RvError::TokenWriteProtected | RvError::SessionReadOnly => Self::ReadOnly,
            RvError::TokenNotPresent | RvError::TokenNotRecognized | RvError::SlotIdInvalid => {
                Self::NoToken
            }
            // Whoever was to initialize it again could not.
            RvError::CryptokiNotInitialized
            | RvError::DeviceRemoved
            | RvError::SessionClosed
            | RvError::SessionHandleInvalid
            | RvError::UserNotLoggedIn
            | RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid => Self::Gone,
            RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::FunctionNotSupported
            | RvError::KeySizeRange => Self::Mechanism,
            _ => return None,
        })
    }
}
