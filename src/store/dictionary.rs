//! The shapes and words of the batches of one fold, each once, so that a block's columns are found
//! by numbers, and a text is hashed once a batch and not once a row.

use std::collections::HashMap;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::block::{Packer, RowDetails, Texts};
use super::codec::Corrupt;
use super::details::{self, Form, TAG_BYTES};
use super::shapes;
use crate::model::batch::Details;
use crate::model::ids::Tag;

const CORRUPT: Corrupt = Corrupt("details");

/// Shapes and words by their numbers.
#[derive(Default)]
pub struct Dictionary {
    shapes: Vec<Shape>,
    shape_numbers: HashMap<Box<[u8]>, u32>,
    words: Vec<(u8, Box<[u8]>)>,
    word_numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// For each word the block that had it last, and its place among the texts of its column.
    places: Vec<(u32, u32)>,
    block: u32,
    pub(super) packer: Packer,
}

struct Shape {
    /// Whether the tag of the user comes before the fields.
    user: bool,
    fields: Box<[(u8, Form)]>,
}

/// A row of a batch that was added.
#[derive(Clone, Copy, Debug)]
pub struct AddedRow<'a> {
    /// Its user's record tag.
    pub user: Option<Tag>,
    /// Everything else.
    pub details: RowDetails<'a>,
    /// Bytes of it as `store::details` writes it, but for the lengths of texts.
    pub bytes: usize,
}

impl Dictionary {
    /// Adds the shapes and words of a batch, which from then on has their numbers in here.
    ///
    /// # Errors
    /// When they do not follow their format.
    pub fn add(&mut self, details: &mut Details) -> Result<(), Corrupt> {
        let words: Result<Vec<u32>, Corrupt> =
            details.words().map(|(field, text)| self.word(field, text)).collect();
        let words = words?;
        for number in &mut details.numbers {
            *number = *words.get(*number as usize).ok_or(CORRUPT)?;
        }
        let shapes: Result<Vec<u32>, Corrupt> =
            details.shapes.iter().map(|shape| self.shape(shape)).collect();
        let shapes = shapes?;
        for row in &mut details.rows {
            row.shape = *shapes.get(row.shape as usize).ok_or(CORRUPT)?;
        }
        Ok(())
    }

    fn word(&mut self, field: u8, text: &[u8]) -> Result<u32, Corrupt> {
        let hash = self.hasher.hash_one((field, text));
        let same = |(of, word): &(u8, Box<[u8]>)| *of == field && **word == *text;
        let known = self.word_numbers.find(hash, |word| same(&self.words[*word as usize]));
        if let Some(known) = known {
            return Ok(*known);
        }
        let number = u32::try_from(self.words.len()).map_err(|_| CORRUPT)?;
        self.words.push((field, text.into()));
        self.places.push((0, 0));
        let (words, hasher) = (&self.words, &self.hasher);
        self.word_numbers.insert_unique(hash, number, |word| {
            let (field, text) = &words[*word as usize];
            hasher.hash_one((*field, &**text))
        });
        Ok(number)
    }

    fn shape(&mut self, shape: &[u8]) -> Result<u32, Corrupt> {
        const USER: (u8, Form) = (details::USER, Form::Tag);
        if let Some(known) = self.shape_numbers.get(shape) {
            return Ok(*known);
        }
        let number = u32::try_from(self.shapes.len()).map_err(|_| CORRUPT)?;
        let fields = shapes::fields(shape).ok_or(CORRUPT)?;
        let (user, fields) = match fields.split_first() {
            Some((&USER, rest)) => (true, rest),
            _ => (false, fields.as_slice()),
        };
        self.shapes.push(Shape { user, fields: fields.into() });
        self.shape_numbers.insert(shape.into(), number);
        Ok(number)
    }

    /// The rows of a batch that was added.
    pub fn rows<'a>(
        &self,
        details: &'a Details,
    ) -> impl Iterator<Item = Result<AddedRow<'a>, Corrupt>> {
        details.rows().map(|(number, words, values)| {
            let shape = self.shapes.get(number as usize).ok_or(CORRUPT)?;
            let (user, values) = if shape.user {
                let (tag, rest) = values.split_first_chunk::<TAG_BYTES>().ok_or(CORRUPT)?;
                (Some(Tag(*tag)), rest)
            } else {
                (None, values)
            };
            let texts = words.iter().filter_map(|word| self.words.get(*word as usize));
            let texts: usize = texts.map(|(_, text)| text.len()).sum();
            let bytes = texts + values.len() + shape.fields.len() * 2;
            Ok(AddedRow {
                user,
                details: RowDetails::Shaped { shape: number, words, values },
                bytes,
            })
        })
    }

    /// The fields and forms of a shape, without the tag of the user.
    pub(super) fn fields(&self, shape: u32) -> &[(u8, Form)] {
        self.shapes.get(shape as usize).map_or(&[], |shape| &shape.fields)
    }

    /// A new block begins: none of its texts is known.
    pub(super) fn begin_block(&mut self) {
        self.block = self.block.wrapping_add(1);
        if self.block == 0 {
            self.places.fill((0, 0));
            self.block = 1;
        }
    }

    /// The place of a word among the texts of its column, added where the block has none.
    pub(super) fn place(&mut self, word: u32, texts: &mut Texts<'_>) -> Result<u32, Corrupt> {
        let (block, place) = self.places.get_mut(word as usize).ok_or(CORRUPT)?;
        if *block != self.block {
            let (_, text) = self.words.get(word as usize).ok_or(CORRUPT)?;
            (*block, *place) = (self.block, texts.add(text));
        }
        Ok(*place)
    }
}
