//! Stub.

use std::fmt;

use crate::model::vocab::vocabulary;

/// A raw id of an end user, device or session, borrowed from the request.
#[derive(Clone, Copy)]
pub struct RawId<'a>(&'a [u8]);

impl<'a> RawId<'a> {
    /// Marks bytes as a raw id.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for RawId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawId(…)")
    }
}

vocabulary! {
    /// Stub.
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
    }
}

vocabulary! {
    /// Stub.
    pub enum PayloadEncoding {
        /// Four bits a digit.
        Hex = 1, "hex";
        /// The text is the payload.
        Ascii = 2, "ascii";
        /// RFC 4648, either alphabet, with padding or without.
        Base64 = 3, "base64";
    }
}
