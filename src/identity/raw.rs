//! An id as the client sent it.

use std::fmt;

/// The text of an id that was not read yet: valid UTF-8 as it stood in the body, borrowed from the
/// buffer that the request wipes (P1). Outside of the room `identity` it can be made and handed on,
/// and nothing else.
///
/// ```
/// let raw = blindtally::identity::RawId::new(b"viewer-81231");
/// assert_eq!(format!("{raw:?}"), "RawId(…)");
/// assert_eq!(raw.len(), 12);
/// ```
/// ```compile_fail,E0277
/// let raw = blindtally::identity::RawId::new(b"viewer-81231");
/// println!("{raw}");
/// ```
/// ```compile_fail,E0624
/// let raw = blindtally::identity::RawId::new(b"viewer-81231");
/// let bytes = raw.bytes();
/// ```
/// ```compile_fail,E0616
/// let raw = blindtally::identity::RawId::new(b"viewer-81231");
/// let bytes = raw.0;
/// ```
/// ```compile_fail,E0277
/// fn read<T: AsRef<[u8]>>(_: T) {}
/// read(blindtally::identity::RawId::new(b"viewer-81231"));
/// ```
/// ```compile_fail,E0277
/// fn write<T: serde::Serialize>(_: T) {}
/// write(blindtally::identity::RawId::new(b"viewer-81231"));
/// ```
#[derive(Clone, Copy)]
pub struct RawId<'a>(&'a [u8]);

impl<'a> RawId<'a> {
    /// Marks the text of an id as such, at the moment the parser meets it.
    pub const fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    /// Its length in bytes, for the limits.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text at all.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text, for this room only.
    pub(in crate::identity) const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for RawId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawId(…)")
    }
}
