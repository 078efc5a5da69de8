//! Padding: what is sealed shows its length, so a block of one record would show how long its texts
//! are and which members were there (reference: check 27 of the privacy study). Blocks, headers and
//! the parts of the journal are filled up with zeros to whole steps before they are sealed.
//!
//! A block of few records has a long step, which all that one record says fits into. One of a
//! thousand shows the sum of a thousand records anyhow, and its step is short, so that it costs
//! about a tenth of a byte a record.

use super::codec::{Corrupt, Reader};

/// Step of a short value, bytes.
const LONG_STEP_BYTES: usize = 1 << 10;
/// Step of a long value, and of headers, bytes.
const STEP_BYTES: usize = 1 << 8;
/// Length from which on a value is long, bytes.
const LONG_BYTES: usize = 16 << 10;

/// Stands between a value and its padding, where the value does not say where it ends (as in
/// ISO/IEC 7816-4).
const CLOSED: u8 = 0x80;

/// How a value is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// A block, and a part of the journal.
    Block,
    /// A header: three filters and three numbers.
    Header,
}

impl Steps {
    /// The length that a value of this length gets.
    pub fn padded(self, bytes: usize) -> usize {
        let step = match self {
            Self::Block if bytes <= LONG_BYTES => LONG_STEP_BYTES,
            Self::Block | Self::Header => STEP_BYTES,
        };
        bytes.next_multiple_of(step)
    }

    /// Fills a value up.
    pub fn pad(self, value: &mut Vec<u8>) {
        value.resize(self.padded(value.len()), 0);
    }

    /// A value with its end marked, filled up.
    pub fn closed(self, mut value: Vec<u8>) -> Vec<u8> {
        value.reserve_exact(self.padded(value.len() + 1) - value.len());
        value.push(CLOSED);
        self.pad(&mut value);
        value
    }

    /// The value of [`Steps::closed`].
    ///
    /// # Errors
    /// When it is none, or is longer than it would have been padded to.
    pub fn opened(self, mut value: Vec<u8>) -> Result<Vec<u8>, Corrupt> {
        let corrupt = Corrupt("padding");
        let end = value.iter().rposition(|byte| *byte != 0).ok_or(corrupt)?;
        if value[end] != CLOSED || self.padded(end + 1) != value.len() {
            return Err(corrupt);
        }
        value.truncate(end);
        Ok(value)
    }

    /// Checks that what is left of a value of this length is its padding and nothing else.
    ///
    /// # Errors
    /// When it is not.
    pub fn end(self, reader: &Reader<'_>, bytes: usize) -> Result<(), Corrupt> {
        let rest = reader.rest();
        let used = bytes.saturating_sub(rest.len());
        let whole = self.padded(used) == bytes && rest.iter().all(|byte| *byte == 0);
        if whole { Ok(()) } else { Err(reader.corrupt()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_value_comes_back_and_nothing_else_does() {
        for bytes in [0, 1, 63, 1_022, 1_023, 1_024, 16_383, 16_384, 20_000] {
            // Zeros, and the mark itself, may stand at the end of a value.
            for end in [0, 7, CLOSED] {
                let value = [vec![9; bytes], vec![end]].concat();
                let closed = Steps::Block.closed(value.clone());
                assert_eq!(closed.len(), Steps::Block.padded(value.len() + 1));
                assert_eq!(Steps::Block.opened(closed.clone()), Ok(value));
                for bad in [
                    [&closed[..], &[0; 256]].concat(),
                    closed[..closed.len() - 1].to_vec(),
                    [&closed[..closed.len() - 1], &[1]].concat(),
                    vec![0; closed.len()],
                ] {
                    let length = bad.len();
                    assert!(Steps::Block.opened(bad).is_err(), "{bytes} {end} {length}");
                }
            }
        }
        assert_eq!(Steps::Block.opened(Vec::new()), Err(Corrupt("padding")));
    }

    #[test]
    fn every_length_has_one_padded_form_that_ends_where_it_should() {
        for (steps, bytes, padded) in [
            (Steps::Block, 1, 1_024),
            (Steps::Block, 1_024, 1_024),
            (Steps::Block, 1_025, 2_048),
            (Steps::Block, 16_384, 16_384),
            (Steps::Block, 16_385, 16_640),
            (Steps::Header, 1, 256),
            (Steps::Header, 257, 512),
        ] {
            assert_eq!(steps.padded(bytes), padded);
            let mut value = vec![7; bytes];
            steps.pad(&mut value);
            let end = |value: &[u8], used: usize| {
                let mut reader = Reader::new("test", value);
                reader.bytes(used).unwrap();
                steps.end(&reader, value.len())
            };
            assert_eq!((value.len(), end(&value, bytes)), (padded, Ok(())));
            if padded > bytes {
                assert!(end(&value[..padded - 1], bytes).is_err(), "cut");
                value[padded - 1] = 1;
                assert!(end(&value, bytes).is_err(), "something stands there");
            }
            value.extend([0; 256]);
            assert!(end(&value, bytes).is_err(), "longer than it is padded to");
        }
    }
}
