//! The alphabet of all disk formats: little-endian numbers, LEB128 varints, length-prefixed bytes.

use crate::model::ids::{ShortTag, Tag};

/// Stored bytes that do not follow their format; the operation stops (F1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored bytes do not follow their format ({0})")]
pub struct Corrupt(pub &'static str);

/// Writes a value's bytes.
pub trait Put {
    /// An unsigned LEB128 number.
    fn varint(&mut self, number: u64);
    /// A signed number, zigzag and LEB128.
    fn zigzag(&mut self, number: i64);
    /// Bytes with their length before them.
    fn prefixed(&mut self, bytes: &[u8]);
}

impl Put for Vec<u8> {
    #[inline]
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.push((number as u8) | 0x80);
            number >>= 7;
        }
        self.push(number as u8);
    }

    #[inline]
    fn zigzag(&mut self, number: i64) {
        self.varint(((number << 1) ^ (number >> 63)) as u64);
    }

    #[inline]
    fn prefixed(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

/// Reads a value's bytes; every step checks that they are there.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader over a value; `what` names the format in errors.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, what }
    }

    /// The error of this format.
    pub fn corrupt(&self) -> Corrupt {
        Corrupt(self.what)
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// # Errors
    /// When bytes are left over.
    pub fn end(self) -> Result<(), Corrupt> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.corrupt()) }
    }

    /// # Errors
    /// When fewer bytes are left.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Corrupt(self.what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// # Errors
    /// When fewer bytes are left.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Corrupt(self.what))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// # Errors
    /// When nothing is left.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self.rest.split_first().ok_or(Corrupt(self.what))?;
        self.rest = rest;
        Ok(*first)
    }

    /// # Errors
    /// When the number is cut off or has more than 64 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Corrupt> {
        // Codes, lengths and places: nearly every number has one byte.
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Corrupt> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.corrupt())
    }

    /// # Errors
    /// When the number does not fit.
    #[inline]
    pub fn count(&mut self) -> Result<usize, Corrupt> {
        usize::try_from(self.varint()?).map_err(|_| self.corrupt())
    }

    /// A number of things of at least `each` bytes, checked against what is left, so that a
    /// corrupt count cannot ask for unbounded memory.
    ///
    /// # Errors
    /// When so many cannot follow.
    pub fn count_of(&mut self, each: usize) -> Result<usize, Corrupt> {
        let count = self.count()?;
        if count > self.rest.len() / each.max(1) { Err(self.corrupt()) } else { Ok(count) }
    }

    /// # Errors
    /// When the number does not fit.
    #[inline]
    pub fn number32(&mut self) -> Result<u32, Corrupt> {
        u32::try_from(self.varint()?).map_err(|_| self.corrupt())
    }

    /// # Errors
    /// When the number is cut off.
    #[inline]
    pub fn zigzag(&mut self) -> Result<i64, Corrupt> {
        let number = self.varint()?;
        Ok(((number >> 1) as i64) ^ -((number & 1) as i64))
    }

    /// # Errors
    /// When fewer bytes are left than the length says.
    #[inline]
    pub fn prefixed(&mut self) -> Result<&'a [u8], Corrupt> {
        let count = self.count()?;
        self.bytes(count)
    }

    /// # Errors
    /// When the bytes are no UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Corrupt> {
        let what = self.what;
        std::str::from_utf8(self.prefixed()?).map_err(|_| Corrupt(what))
    }

    /// # Errors
    /// When fewer bytes are left.
    #[inline]
    pub fn tag(&mut self) -> Result<Tag, Corrupt> {
        Ok(Tag(self.array()?))
    }

    /// # Errors
    /// When fewer bytes are left.
    #[inline]
    pub fn short_tag(&mut self) -> Result<ShortTag, Corrupt> {
        Ok(ShortTag(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(unsigned in any::<u64>(), signed in any::<i64>(), text in ".{0,40}") {
            let mut bytes = Vec::new();
            bytes.varint(unsigned);
            bytes.zigzag(signed);
            bytes.prefixed(text.as_bytes());
            let mut reader = Reader::new("test", &bytes);
            prop_assert_eq!(reader.varint(), Ok(unsigned));
            prop_assert_eq!(reader.zigzag(), Ok(signed));
            prop_assert_eq!(reader.text(), Ok(text.as_str()));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn anything_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = Reader::new("test", &bytes);
            while reader.varint().and_then(|_| reader.prefixed()).is_ok() {}
        }
    }
}
