//! Ids that are neither users nor devices: sessions, orders, marks, payloads.

use std::fmt;

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
    }
}

/// Longest payload that is decoded, bytes; those of the field have 22 bits to 7 bytes.
const PAYLOAD_BYTES_MAX: usize = 64;

/// A watermark payload: its bytes, and how many of their bits are payload.
pub struct Payload<'a> {
    exact: &'a [u8],
    own: Wiped<PAYLOAD_BYTES_MAX>,
    bits: u32,
}

/// Reads a watermark payload. `0123` may be hex, ASCII or base64 alike, so nothing is guessed: the
/// payload is the exact text unless the record declares an encoding and the text fits it. An odd
/// number of hex digits fills the last byte from its high end.
pub fn payload<'a>(raw: RawId<'a>, encoding: Option<PayloadEncoding>) -> Payload<'a> {
    let exact = raw.bytes();
    let mut payload = Payload { exact, own: Wiped::new(), bits: bits(exact.len(), 8) };
    match encoding {
        Some(PayloadEncoding::Hex) => payload.read_hex(),
        Some(PayloadEncoding::Base64) => payload.read_base64(),
        Some(PayloadEncoding::Ascii) | None => {}
    }
    payload
}

impl Payload<'_> {
    fn read_hex(&mut self) {
        let digits = self.exact;
        let whole = digits.len() / 2;
        if digits.is_empty() || digits.len() > 2 * PAYLOAD_BYTES_MAX {
            return;
        }
        let own = self.own.room(digits.len().div_ceil(2));
        let mut fits = text::hex(&digits[..whole * 2], &mut own[..whole]);
        if let (Some(last), Some(digit)) = (own.get_mut(whole), digits.get(whole * 2)) {
            let nibble = text::nibble(*digit);
            fits &= nibble < 16;
            *last = nibble << 4;
        }
        if fits {
            self.bits = bits(digits.len(), 4);
        } else {
            self.own.clear();
        }
    }

    fn read_base64(&mut self) {
        let length = text::base64_bytes(self.exact);
        if length > PAYLOAD_BYTES_MAX {
            return;
        }
        if text::base64(self.exact, self.own.room(length)) {
            self.bits = bits(length, 8);
        } else {
            self.own.clear();
        }
    }

    /// How many bits of the bytes are payload.
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    pub(in crate::identity) fn bytes(&self) -> &[u8] {
        match self.own.as_slice() {
            [] => self.exact,
            own => own,
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
