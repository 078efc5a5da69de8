//! Ids that are neither users nor devices: sessions, orders, marks, payloads.

use std::fmt;

use zeroize::Zeroizing;

use super::RawId;
use super::text;
use super::wiped::Wiped;
use crate::model::vocab::vocabulary;

vocabulary! {
    /// The namespaces of ids beside users and devices. All but the payload are byte-exact.
    pub enum OtherKind {
        /// A playback or license session.
        Session = 1, "session";
        /// The request id of a license.
        LicenseRequest = 2, "license_request";
        /// An order of the customer's shop.
        Order = 3, "order";
        /// An operator of the packaging console.
        Operator = 4, "operator";
        /// The recipient of a distributor watermark.
        Recipient = 5, "recipient";
        /// The id of a distributor watermark.
        Dwm = 6, "dwm";
        /// A watermark session.
        WmSession = 7, "wm_session";
        /// The watermark id of an edge token.
        Wmid = 8, "wmid";
        /// The text that a vendor keeps for a payload.
        ForensicMark = 9, "forensic_mark";
        /// The bits that are embedded in the picture.
        Payload = 10, "payload";
        /// The distributor that a copy was made for.
        Distributor = 11, "distributor";
    }
}

vocabulary! {
    /// How the text of a watermark payload is to be read.
    pub enum PayloadEncoding {
        /// Four bits a digit.
        Hex = 1, "hex";
        /// The text is the payload.
        Ascii = 2, "ascii";
        /// RFC 4648, either alphabet, with padding or without.
        Base64 = 3, "base64";
        /// A number in decimal digits.
        Uint = 4, "uint";
        /// The variants of the segments in their order, `a` and `b` or `0` and `1`.
        Ab = 5, "ab";
    }
}

/// Longest payload that is decoded on the stack, bytes; those of the field have 22 bits to 7 bytes.
const SMALL_BYTES_MAX: usize = 64;
/// Longest payload that is read as a number, decimal digits: those of 512 bits.
const UINT_DIGITS_MAX: usize = 154;

/// A watermark payload: its bytes, and how many of their bits are payload.
pub struct Payload<'a> {
    exact: &'a [u8],
    own: Own,
    bits: u32,
}

/// The decoded bytes, wiped when they go; none where the exact text is the payload.
enum Own {
    None,
    Small(Wiped<SMALL_BYTES_MAX>),
    Large(Zeroizing<Vec<u8>>),
}

impl Own {
    /// Lets `write` fill so many bytes; where it does not fit, there are none.
    fn fill(bytes: usize, write: impl FnOnce(&mut [u8]) -> bool) -> Self {
        if bytes == 0 {
            return Self::None;
        }
        if bytes <= SMALL_BYTES_MAX {
            let mut small = Wiped::new();
            return if write(small.room(bytes)) { Self::Small(small) } else { Self::None };
        }
        let mut large = Zeroizing::new(vec![0; bytes]);
        if write(&mut large) { Self::Large(large) } else { Self::None }
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Reads a watermark payload. `0123` may be hex, ASCII or base64 alike, so nothing is guessed: the
/// payload is the exact text unless the record declares an encoding and the text fits it. An odd
/// number of hex digits fills the last byte from its high end, and so does a pattern of variants
/// that is no multiple of eight. A number has as many whole bytes as it needs, one at least.
pub fn payload<'a>(raw: RawId<'a>, encoding: Option<PayloadEncoding>) -> Payload<'a> {
    let exact = raw.bytes();
    let (own, bits_read) = match encoding {
        _ if exact.is_empty() => (Own::None, 0),
        Some(PayloadEncoding::Hex) => (read_hex(exact), bits(exact.len(), 4)),
        Some(PayloadEncoding::Base64) => {
            let length = text::base64_bytes(exact);
            (Own::fill(length, |own| text::base64(exact, own)), bits(length, 8))
        }
        Some(PayloadEncoding::Uint) => read_uint(exact),
        Some(PayloadEncoding::Ab) => (read_variants(exact), bits(exact.len(), 1)),
        Some(PayloadEncoding::Ascii) | None => (Own::None, 0),
    };
    let bits = if own.is_none() { bits(exact.len(), 8) } else { bits_read };
    Payload { exact, own, bits }
}

fn read_hex(digits: &[u8]) -> Own {
    let whole = digits.len() / 2;
    Own::fill(digits.len().div_ceil(2), |own| {
        let mut fits = text::hex(&digits[..whole * 2], &mut own[..whole]);
        if let (Some(last), Some(digit)) = (own.get_mut(whole), digits.get(whole * 2)) {
            let nibble = text::nibble(*digit);
            fits &= nibble < 16;
            *last = nibble << 4;
        }
        fits
    })
}

fn read_uint(digits: &[u8]) -> (Own, u32) {
    if digits.len() > UINT_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return (Own::None, 0);
    }
    let mut number = Wiped::<SMALL_BYTES_MAX>::new();
    let bytes = number.room(SMALL_BYTES_MAX);
    for digit in digits {
        let mut carry = u32::from(digit - b'0');
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 10;
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        if carry > 0 {
            return (Own::None, 0);
        }
    }
    let zeros = bytes.iter().take(SMALL_BYTES_MAX - 1).take_while(|byte| **byte == 0).count();
    let mut short = Wiped::new();
    short.copy(&bytes[zeros..]);
    (Own::Small(short), bits(SMALL_BYTES_MAX - zeros, 8))
}

fn read_variants(pattern: &[u8]) -> Own {
    Own::fill(pattern.len().div_ceil(8), |own| {
        pattern.iter().enumerate().all(|(at, variant)| {
            let bit = match variant {
                b'a' | b'A' | b'0' => 0,
                b'b' | b'B' | b'1' => 1,
                _ => return false,
            };
            own[at / 8] |= bit << (7 - at % 8);
            true
        })
    })
}

impl Payload<'_> {
    /// How many bits of the bytes are payload.
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    pub(in crate::identity) fn bytes(&self) -> &[u8] {
        match &self.own {
            Own::None => self.exact,
            Own::Small(own) => own.as_slice(),
            Own::Large(own) => own,
        }
    }
}

fn bits(units: usize, each: u32) -> u32 {
    u32::try_from(units).unwrap_or(u32::MAX).saturating_mul(each)
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bits, …)", self.bits)
    }
}
