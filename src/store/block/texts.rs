//! The distinct texts of a column of a block.

use crate::store::codec::Put;

/// The distinct texts of a column in the order of their first use. One may stand there twice, once
/// from the dictionary and once from a block.
#[derive(Default)]
pub struct Texts<'a> {
    /// As they are written.
    pub bytes: Vec<u8>,
    /// How many.
    pub count: u32,
    plain: hashbrown::HashMap<&'a [u8], u32>,
}

impl<'a> Texts<'a> {
    /// Adds a text; its place.
    pub fn add(&mut self, text: &[u8]) -> u32 {
        self.bytes.prefixed(text);
        self.count += 1;
        self.count - 1
    }

    /// The place of a text that is in no dictionary; one of at most so many.
    pub fn plain(&mut self, text: &'a [u8], most: usize) -> u32 {
        if self.plain.is_empty() {
            self.plain.reserve(most);
        }
        if let Some(known) = self.plain.get(text) {
            return *known;
        }
        let place = self.add(text);
        self.plain.insert(text, place);
        place
    }
}
