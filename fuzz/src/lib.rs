//! What the targets share: how an input is cut, the oracles, and the checks of decoded records.
//!
//! Every target begins with a byte or two that choose (which format, which limits); the rest is
//! what the parser gets. In seeds the choice is a digit, so that they can be written by hand.

// Where the files in `http` look for it.
pub use blindtally::crypto;

pub mod http;
pub mod json;
pub mod records;
pub mod spellings;

/// Takes a choice of `0..of` off the front of an input; `0` to `9` stand for themselves.
pub fn choose(data: &[u8], of: usize) -> Option<(usize, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((usize::from(first.wrapping_sub(b'0')) % of, rest))
}

/// The head of a text up to a mark, and what stands behind it.
pub fn cut<'a>(data: &'a [u8], mark: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = data.windows(mark.len()).position(|window| window == mark);
    at.map_or((data, &[]), |at| (&data[..at], &data[at + mark.len()..]))
}
