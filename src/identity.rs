//! The only place that sees a raw id: raw text → canonical form → pseudonym.
//!
//! The way of an id is a change of type at every step, and no step goes back:
//!
//! 1. [`RawId`]: the text as the client sent it. Nobody outside of this room can read it.
//! 2. [`UserId`] (in the form of its month, no sentinel: [`UserRules`]), [`DeviceId`] (read by
//!    [`device()`] after the rules of its kind, with a quality and a scope), [`Payload`] (read by
//!    [`payload`]).
//! 3. A [`Slot`] of a [`PseudonymQueue`], which hashes many ids side by side.
//! 4. A [`Tag`](crate::model::ids::Tag): what may be stored.
//!
//! # The pseudonym, byte for byte
//!
//! ```text
//! message = "bt/1" ‖ u8 length of kind ‖ kind ‖ u8 version ‖ u16be length of id ‖ id
//! base    = the first 16 bytes of HMAC-SHA-256(base key, message), or of the keyed hash of BLAKE3,
//!           whichever is the algorithm of the site               never stored, wiped
//! tag     = AES-256(use key, base)                                  one block, a permutation
//! ```
//!
//! `kind` is `user`, or the name of a [`DeviceKind`](crate::model::vocab::DeviceKind) (`imeisv`
//! becomes `imei`, with which it shares its canonical form), or the name of an [`OtherKind`]. It is
//! the namespace: equal bytes of two kinds never link. The id of a `payload` is its length in bits
//! (u32be) and then its bytes. The version is 1, the canonicalizer's; that of a user id has the
//! form of the site's month beside it: 16 where it is trimmed, 32 where it is NFC, 64 where it is
//! lower case, so that no two forms ever meet. `tests/vectors/pseudonyms.json` holds the vectors,
//! and `tests/vectors/check.py` computes all of them a second time with nothing but Python.
//!
//! # A device id is never an error
//!
//! A record is money, so a device id that does not fit its kind, or is known junk, is taken and
//! flagged. What can be read as its kind has the canonical bytes of the kind, whatever its quality,
//! so that every spelling of a junk id gives one pseudonym; what cannot be read keeps its exact
//! bytes. Only [`Quality::Good`](crate::model::vocab::Quality::Good) is counted.
//!
//! The exact bytes of one id may in theory be the canonical bytes of another id of the same kind
//! (an NCG id of 16 characters and the UUID with these 16 bytes). Real ids of 128 bits do not meet
//! printable text by chance; canonicalizer version 1 accepts that.

mod device;
mod form;
mod junk;
mod other;
mod pseudonym;
mod raw;
mod reading;
mod roll;
mod text;
mod user;
mod wiped;

#[cfg(test)]
mod tests;

pub use device::{DeviceId, device, recommended};
pub use form::FormRoom;
pub use other::{OtherKind, Payload, PayloadEncoding, payload};
pub use pseudonym::{Job, PseudonymQueue, Slot};
pub use raw::RawId;
pub use roll::{Listed, Roll};
pub use user::{User, UserId, UserRules};
