//! How the ids of a site become pseudonyms: which keyed hash makes the base, and which form a user
//! id has before it is hashed. The first is said when a site is made and never changes; the second
//! is frozen inside a month like the zone. Each month's row says both.

use super::vocab::vocabulary;

/// The version of the rules that lead from raw text to canonical bytes. It is part of every
/// message: a rule that changes gets a new version, and a site keeps its version through a month.
pub const CANONICALIZER_VERSION: u8 = 1;

vocabulary! {
    /// The keyed hash that makes the base pseudonym (DESIGN.md "Keys").
    pub enum Algorithm {
        /// HMAC-SHA-256 (FIPS 198-1).
        HmacSha256 = 1, "hmac-sha-256";
        /// The keyed hash of BLAKE3.
        Blake3 = 2, "blake3";
    }
}

impl Default for Algorithm {
    /// What every site has whose row does not say.
    fn default() -> Self {
        Self::HmacSha256
    }
}

/// What is done to the user ids of a site before they are compared (domain.md §7.1); nothing by
/// default. Each combination is a canonical form of its own, and no id of one form equals any of
/// another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UserForm {
    /// White space at both ends is cut off (Unicode property `White_Space`).
    pub trim: bool,
    /// Normalization form C (UAX #15).
    pub nfc: bool,
    /// Each character becomes its full lowercase mapping, in no language.
    pub lower: bool,
}

impl UserForm {
    /// How many forms there are.
    pub const COUNT: u8 = 8;

    /// Every form, the byte-exact one first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).filter_map(Self::from_code)
    }

    /// Whether an id stays what it is, byte for byte.
    pub const fn is_exact(self) -> bool {
        !(self.trim || self.nfc || self.lower)
    }

    /// The stable byte that is stored: bit 0 trim, bit 1 NFC, bit 2 lower.
    pub fn code(self) -> u8 {
        u8::from(self.trim) | u8::from(self.nfc) << 1 | u8::from(self.lower) << 2
    }

    /// The form of a stored byte.
    pub fn from_code(code: u8) -> Option<Self> {
        let bit = |at: u8| code >> at & 1 == 1;
        (code < Self::COUNT).then(|| Self { trim: bit(0), nfc: bit(1), lower: bit(2) })
    }

    /// The version byte of a user's message: the version in the low half, the form in the high one.
    pub fn version_byte(self) -> u8 {
        CANONICALIZER_VERSION | self.code() << 4
    }
}

/// How the ids of one month of a site become pseudonyms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pseudonyms {
    /// The keyed hash of the site.
    pub algorithm: Algorithm,
    /// The version of the canonical forms.
    pub canonicalizer: u8,
    /// The form of user ids.
    pub users: UserForm,
}

impl Default for Pseudonyms {
    /// What every month has whose row does not say.
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            canonicalizer: CANONICALIZER_VERSION,
            users: UserForm::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn forms_have_bytes_of_their_own() {
        let forms: Vec<UserForm> = UserForm::all().collect();
        assert_eq!((forms.len(), forms[0]), (8, UserForm::default()));
        assert!(forms[0].is_exact() && !forms[1..].iter().any(|form| form.is_exact()));
        assert_eq!(UserForm::default().version_byte(), 1);
        let only = |trim, nfc, lower| UserForm { trim, nfc, lower }.version_byte();
        assert_eq!(only(true, false, false), 0x11);
        assert_eq!(only(false, true, false), 0x21);
        assert_eq!(only(false, false, true), 0x41);
        assert_eq!(only(true, true, true), 0x71);
        let bytes: BTreeSet<u8> = forms.iter().map(|form| form.version_byte()).collect();
        assert_eq!(bytes.len(), 8);
        for form in forms {
            assert_eq!(UserForm::from_code(form.code()), Some(form));
        }
        assert_eq!(UserForm::from_code(8), None);
    }
}
