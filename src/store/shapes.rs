//! The details of a batch's rows in the journal: what rows have in common stands once a batch.
//!
//! A shape names the fields of a row, `( field (1) ‖ form (1) )…`; a row is the number of its shape
//! and its values, one after the other, without field or form. A text stands in the batch's list of
//! words with its field, and its number in the row. In a block the same details stand by columns
//! (`store::block`), and read back they are as `store::details` has them.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::codec::{Corrupt, Put, Reader};
use super::details::{self, Form};
use crate::model::batch::{Details, DetailsRow, Item, Word};
use crate::model::field::Field;
use crate::model::ids::Tag;

/// Texts have fields below this code: what identifies is a tag.
const TEXT_FIELDS: usize = 128;

/// Whether hardly two rows of a batch have the same text in a field, so that a list of its words
/// would cost more than it saves. Catalogs have tens of thousands of contents.
fn is_various(field: u8) -> bool {
    const VARIOUS: [u8; 5] = [
        Field::EventId.code(),
        Field::Cid.code(),
        Field::JobId.code(),
        Field::DetectionId.code(),
        Field::SourceHost.code(),
    ];
    VARIOUS.contains(&field)
}

/// Writes the details of rows, one after the other.
pub struct DetailsWriter {
    details: Details,
    /// The shape of the row that is being written.
    shape: Vec<u8>,
    shapes: HashMap<Box<[u8]>, u32>,
    words: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The last word of each field: producers, platforms and the like are mostly what they were.
    last: [Option<u32>; TEXT_FIELDS],
}

impl DetailsWriter {
    /// Room for so many rows.
    pub fn with_capacity(rows: usize) -> Self {
        let mut details = Details::default();
        details.rows.reserve(rows);
        details.numbers.reserve(rows * 8);
        details.values.reserve(rows * 96);
        Self {
            details,
            shape: Vec::with_capacity(64),
            shapes: HashMap::new(),
            words: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            last: [None; TEXT_FIELDS],
        }
    }

    /// Adds a field to the row; answers where the tag stands that the item has, if it has one.
    pub fn push(&mut self, field: u8, item: Item<'_>) -> usize {
        match item {
            Item::Number(number) => self.number(field, number),
            Item::Text(text) => self.text(field, text),
            Item::Uuid(bytes) => {
                self.shape.extend_from_slice(&[field, Form::Uuid as u8]);
                self.details.values.extend_from_slice(&bytes);
            }
            Item::Tag(tag) => return self.tag(field, tag),
            Item::Device(device) => {
                self.shape.extend_from_slice(&[field, Form::Device as u8]);
                self.details.values.extend_from_slice(&details::device_head(&device));
                self.details.values.extend_from_slice(&device.tag.0);
            }
        }
        self.details.values.len().saturating_sub(details::TAG_BYTES)
    }

    /// As [`DetailsWriter::push`], of a number.
    #[inline]
    pub fn number(&mut self, field: u8, number: i64) {
        self.shape.extend_from_slice(&[field, Form::Number as u8]);
        self.details.values.zigzag(number);
    }

    /// As [`DetailsWriter::push`], of a tag.
    #[inline]
    pub fn tag(&mut self, field: u8, tag: Tag) -> usize {
        self.shape.extend_from_slice(&[field, Form::Tag as u8]);
        self.details.values.extend_from_slice(&tag.0);
        self.details.values.len().saturating_sub(details::TAG_BYTES)
    }

    /// As [`DetailsWriter::push`], of a text.
    #[inline]
    pub fn text(&mut self, field: u8, text: &[u8]) {
        if is_various(field) {
            self.shape.extend_from_slice(&[field, Form::Text as u8]);
            self.details.values.prefixed(text);
        } else {
            self.shape.extend_from_slice(&[field, Form::Word as u8]);
            let word = self.word(field, text);
            self.details.numbers.push(word);
        }
    }

    fn word(&mut self, field: u8, text: &[u8]) -> u32 {
        let last = self.last.get_mut(usize::from(field));
        if let Some(Some(last)) = last
            && word_of(&self.details, *last).1 == text
        {
            return *last;
        }
        let hash = self.hasher.hash_one((field, text));
        let known = self.words.find(hash, |word| word_of(&self.details, *word) == (field, text));
        let word = known.copied().unwrap_or_else(|| {
            let next = self.details.words.len() as u32;
            self.details.texts.extend_from_slice(text);
            let end = self.details.texts.len() as u32;
            self.details.words.push(Word { field, end });
            let (details, hasher) = (&self.details, &self.hasher);
            let hash_of = |word: &u32| hasher.hash_one(word_of(details, *word));
            self.words.insert_unique(hash, next, hash_of);
            next
        });
        if let Some(last) = last {
            *last = Some(word);
        }
        word
    }

    /// Adds rows that were written before, in their order.
    pub fn copy(&mut self, rows: &Details) {
        self.copy_some(rows, |_| true);
    }

    /// Adds some of the rows that were written before, by their numbers.
    pub fn copy_some(&mut self, rows: &Details, is_wanted: impl Fn(usize) -> bool) {
        for (_, (shape, words, values)) in
            rows.rows().enumerate().filter(|(row, _)| is_wanted(*row))
        {
            let shape = rows.shapes.get(shape as usize);
            self.shape.extend_from_slice(shape.map_or(&[][..], |shape| shape));
            for word in words {
                let (field, text) = word_of(rows, *word);
                let word = self.word(field, text);
                self.details.numbers.push(word);
            }
            self.details.values.extend_from_slice(values);
            self.end_row();
        }
    }

    /// Ends the row.
    pub fn end_row(&mut self) {
        let last = self.details.rows.last().map(|row| row.shape);
        let same = last.filter(|last| {
            self.details.shapes.get(*last as usize).is_some_and(|last| **last == *self.shape)
        });
        let shape = same.or_else(|| self.shapes.get(self.shape.as_slice()).copied());
        let shape = shape.unwrap_or_else(|| {
            let next = self.details.shapes.len() as u32;
            self.details.shapes.push(self.shape.as_slice().into());
            self.shapes.insert(self.shape.as_slice().into(), next);
            next
        });
        let words_end = self.details.numbers.len() as u32;
        let end = u32::try_from(self.details.values.len()).unwrap_or(u32::MAX);
        self.details.rows.push(DetailsRow { shape, words_end, end });
        self.shape.clear();
    }

    /// Puts a tag where [`DetailsWriter::push`] said that it stands.
    pub fn set_tag(&mut self, at: usize, tag: Tag) {
        if let Some(place) = self.details.values.get_mut(at..at + tag.0.len()) {
            place.copy_from_slice(&tag.0);
        }
    }

    /// What was written.
    pub fn finish(self) -> Details {
        self.details
    }
}

fn word_of(details: &Details, number: u32) -> (u8, &[u8]) {
    let number = number as usize;
    let before = number.checked_sub(1).and_then(|before| details.words.get(before));
    let Some(word) = details.words.get(number) else { return (0, &[]) };
    let start = before.map_or(0, |before| before.end) as usize;
    (word.field, details.texts.get(start..word.end as usize).unwrap_or(&[]))
}

/// The fields and forms of a shape; `None` where a form is none, or half of one is left.
pub(super) fn fields(shape: &[u8]) -> Option<Vec<(u8, Form)>> {
    let (pairs, rest) = shape.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[field, form]| Some((*field, Form::from_code(*form)?))).collect()
}

/// The details of rows as batches of version 1 had them: each row as `store::details` writes it.
pub(super) fn of_plain<'a>(
    rows: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Result<Details, Corrupt> {
    let mut writer = DetailsWriter::with_capacity(rows.len());
    for row in rows {
        for item in details::items(row) {
            let (field, item) = item?;
            writer.push(field, item);
        }
        writer.end_row();
    }
    Ok(writer.finish())
}

/// Writes everything but the rows' shapes and ends, which stand with their claims, and the values:
/// `shapes ‖ words ‖ numbers`.
pub(super) fn encode_common(details: &Details, out: &mut Vec<u8>) {
    out.varint(details.shapes.len() as u64);
    details.shapes.iter().for_each(|shape| out.prefixed(shape));
    out.varint(details.words.len() as u64);
    for (field, text) in details.words() {
        out.push(field);
        out.prefixed(text);
    }
    out.varint(details.numbers.len() as u64);
    details.numbers.iter().for_each(|number| out.varint(u64::from(*number)));
}

/// Reads what [`encode_common`] wrote; answers for each shape how many words it has.
pub(super) fn decode_common(
    reader: &mut Reader<'_>,
    details: &mut Details,
) -> Result<Vec<u32>, Corrupt> {
    let mut words = Vec::new();
    for _ in 0..reader.count_of(1)? {
        let shape = reader.prefixed()?;
        let fields = fields(shape).ok_or(reader.corrupt())?;
        words.push(fields.iter().filter(|(_, form)| *form == Form::Word).count() as u32);
        details.shapes.push(shape.into());
    }
    for _ in 0..reader.count_of(2)? {
        let field = reader.byte()?;
        details.texts.extend_from_slice(reader.prefixed()?);
        let end = u32::try_from(details.texts.len()).map_err(|_| reader.corrupt())?;
        details.words.push(Word { field, end });
    }
    let count = reader.count_of(1)?;
    details.numbers.reserve_exact(count);
    for _ in 0..count {
        let number = reader.number32()?;
        if number as usize >= details.words.len() {
            return Err(reader.corrupt());
        }
        details.numbers.push(number);
    }
    Ok(words)
}
