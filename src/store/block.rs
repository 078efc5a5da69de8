//! A block: a thousand records of one bucket or more, by columns, before they are sealed.
//!
//! `version ‖ rows ‖ length of the packed part ‖ its raw length ‖ packed part ‖ tags ‖ padding`.
//! The packed part holds every column that compresses (zstd level 1, or as it is where that does
//! not pay); the tags are random by nature and stand apart, never compressed. Rows come sorted by
//! user tag, which is written once for each user; a column exists for each field that any row has.

mod texts;

pub(super) use texts::Texts;

use super::codec::{Corrupt, Put, Reader};
use super::details::{self, Form, TAG_BYTES};
use super::dictionary::Dictionary;
use super::header::filter_key;
use super::padding::Steps;
use crate::model::batch::Item;
use crate::model::ids::Tag;
use crate::model::time::Timestamp;

/// The version that is written.
const VERSION: u8 = 2;
/// The one before, which had no padding.
const UNPADDED: u8 = 1;
/// Higher levels take much more time and save hardly more.
const ZSTD_LEVEL: i32 = 1;
/// The packed part is kept as it is unless zstd saves a sixteenth.
const SAVES_AT_LEAST: usize = 16;
/// Most bytes of a packed part, and of all rows of a block; a block is a fraction of this.
const PACKED_BYTES_MAX: usize = 64 << 20;
/// Most bytes before the packed part of a block that is written.
const HEAD_BYTES: usize = 16;
/// Rows that are touched before the first of them is read; they stay in the nearest caches.
const TOUCHED_ROWS: usize = 128;
/// Most rows of a block.
pub const ROWS_MAX: usize = 8_192;

/// One record on its way into a block.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The user's record tag; `None` sorts first.
    pub user: Option<Tag>,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Its fields.
    pub details: RowDetails<'a>,
}

/// The fields of a row on its way into a block.
#[derive(Clone, Copy, Debug)]
pub enum RowDetails<'a> {
    /// From another block, as `store::details` writes them.
    Plain(&'a [u8]),
    /// From the journal, as `store::shapes` writes them.
    Shaped {
        /// The number of its shape in the dictionary.
        shape: u32,
        /// The numbers of its words in the dictionary.
        words: &'a [u32],
        /// Its other values.
        values: &'a [u8],
    },
}

impl<'a> RowDetails<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Plain(values) | Self::Shaped { values, .. } => values,
        }
    }
}

/// One record read back from a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRow {
    /// The user's record tag.
    pub user: Option<Tag>,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Its fields (`store::details`), ordered by field.
    pub details: Vec<u8>,
}

impl OwnedRow {
    /// The row as [`encode`] takes it.
    pub fn as_row(&self) -> Row<'_> {
        let details = RowDetails::Plain(&self.details);
        Row { user: self.user, occurred_at: self.occurred_at, details }
    }
}

/// A column: the values of one field in one form. Most rows have it once; `counts` is written only
/// where that is not so.
struct Column<'a> {
    field: u8,
    form: Form,
    rows: usize,
    /// As long as `counts` is empty, so many rows have one value each, and then none has any.
    even: usize,
    /// The values of each row, once the rows that have one are not just the first ones.
    counts: Vec<u8>,
    /// Numbers, the heads of devices, and the numbers of texts, as they are written.
    values: Vec<u8>,
    texts: Texts<'a>,
    /// Tags and UUIDs.
    tags: Vec<u8>,
}

/// Compresses the packed parts of blocks with what is made once: that takes a small block's time.
#[derive(Default)]
pub(super) struct Packer(Option<zstd::bulk::Compressor<'static>>);

impl Packer {
    /// The compressed bytes; none where that fails.
    fn squeeze(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.0.is_none() {
            self.0 = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        self.0.as_mut().and_then(|packer| packer.compress(bytes).ok()).unwrap_or_default()
    }
}

/// The tags in a block, as numbers for the filters of its header.
#[derive(Debug, Default)]
pub struct FilterKeys {
    /// Users.
    pub users: Vec<u64>,
    /// Devices.
    pub devices: Vec<u64>,
    /// Every other pseudonym.
    pub marks: Vec<u64>,
}

/// Encodes rows of other blocks that are sorted by user tag; answers the bytes, and what the header
/// is made of.
///
/// # Errors
/// When a row's details do not follow their format.
pub fn encode(rows: &[Row<'_>]) -> Result<(Vec<u8>, FilterKeys), Corrupt> {
    encode_with(&mut Dictionary::default(), rows)
}

/// Encodes rows of the journal and of other blocks, sorted by user tag.
///
/// # Errors
/// When a row's details do not follow their format.
pub fn encode_with(
    dictionary: &mut Dictionary,
    rows: &[Row<'_>],
) -> Result<(Vec<u8>, FilterKeys), Corrupt> {
    let (mut block, keys) = fill(dictionary, rows)?;
    Steps::Block.pad(&mut block);
    Ok((block, keys))
}

/// Everything up to the padding.
fn fill(dictionary: &mut Dictionary, rows: &[Row<'_>]) -> Result<(Vec<u8>, FilterKeys), Corrupt> {
    let mut tags = Vec::with_capacity(rows.len() * 48);
    let mut packed = Vec::with_capacity(rows.len() * 32);
    encode_users(rows, &mut packed, &mut tags);
    let mut before = 0;
    for row in rows {
        packed.zigzag(row.occurred_at.0.wrapping_sub(before));
        before = row.occurred_at.0;
    }
    let columns = gather(dictionary, rows)?;
    let mut keys = FilterKeys { users: tag_keys(&tags).collect(), ..FilterKeys::default() };
    packed.varint(columns.len() as u64);
    for column in columns {
        match column.form {
            Form::Device => keys.devices.extend(tag_keys(&column.tags)),
            Form::Tag => keys.marks.extend(tag_keys(&column.tags)),
            Form::Number | Form::Text | Form::Word | Form::Uuid => {}
        }
        column.encode(&mut packed, &mut tags);
    }
    let squeezed = dictionary.packer.squeeze(&packed);
    let pays =
        !squeezed.is_empty() && squeezed.len() + packed.len() / SAVES_AT_LEAST < packed.len();
    let kept = if pays { &squeezed } else { &packed };
    let mut out = Vec::with_capacity(Steps::Block.padded(kept.len() + tags.len() + HEAD_BYTES));
    out.push(VERSION);
    out.varint(rows.len() as u64);
    out.varint(kept.len() as u64);
    out.varint(if pays { packed.len() as u64 } else { 0 });
    out.extend_from_slice(kept);
    out.extend_from_slice(&tags);
    Ok((out, keys))
}

/// The filter keys of tags that stand one after the other.
fn tag_keys(tags: &[u8]) -> impl Iterator<Item = u64> + '_ {
    tags.as_chunks::<16>().0.iter().map(|tag| filter_key(&Tag(*tag)))
}

/// Runs of equal users: `number of runs, (has tag, length)…`; the tag stands among the tags.
fn encode_users(rows: &[Row<'_>], packed: &mut Vec<u8>, tags: &mut Vec<u8>) {
    let runs = rows.chunk_by(|left, right| left.user == right.user);
    packed.varint(runs.clone().count() as u64);
    for run in runs {
        let user = run[0].user;
        packed.varint((run.len() as u64) << 1 | u64::from(user.is_some()));
        if let Some(tag) = user {
            tags.extend_from_slice(&tag.0);
        }
    }
}

/// The columns of the rows, ordered by field and form.
fn gather<'a>(dictionary: &mut Dictionary, rows: &[Row<'a>]) -> Result<Vec<Column<'a>>, Corrupt> {
    let mut columns = Columns { list: Vec::new(), rows: rows.len() };
    // For each shape of the dictionary its columns; neighbors mostly have the same.
    let mut plans: hashbrown::HashMap<u32, Vec<(usize, Form)>> = hashbrown::HashMap::new();
    dictionary.begin_block();
    for (row_no, row) in rows.iter().enumerate() {
        if row_no % TOUCHED_ROWS == 0 {
            touch(rows.iter().skip(row_no).take(TOUCHED_ROWS));
        }
        let mut reader = Reader::new("details", row.details.bytes());
        let RowDetails::Shaped { shape, words, .. } = row.details else {
            let mut guess = 0;
            while !reader.is_empty() {
                let (field, form) = details::read_kind(&mut reader)?;
                guess = columns.find(field, form, guess);
                columns.list[guess].push(row_no, &mut reader)?;
                guess += 1;
            }
            continue;
        };
        let plan = plans.entry(shape).or_insert_with(|| {
            let fields = dictionary.fields(shape).iter();
            fields.map(|(field, form)| (columns.find(*field, *form, 0), *form)).collect()
        });
        let mut words = words.iter();
        for (at, form) in plan {
            let column = &mut columns.list[*at];
            if *form == Form::Word {
                let word = words.next().ok_or(reader.corrupt())?;
                let place = dictionary.place(*word, &mut column.texts)?;
                column.push_place(row_no, place)?;
            } else {
                column.push(row_no, &mut reader)?;
            }
        }
        reader.end()?;
    }
    let mut columns = columns.list;
    columns.sort_by_key(|column| (column.field, column.form as u8));
    Ok(columns)
}

/// The columns so far.
struct Columns<'a> {
    list: Vec<Column<'a>>,
    rows: usize,
}

impl Columns<'_> {
    /// The column of a field in a form, made where it is new. Rows mostly have the same fields in
    /// the same order, so a guess is tried first.
    fn find(&mut self, field: u8, form: Form, guess: usize) -> usize {
        let form = if form == Form::Word { Form::Text } else { form };
        let fits = |column: &Column<'_>| column.field == field && column.form == form;
        if self.list.get(guess).is_some_and(fits) {
            return guess;
        }
        self.list.iter().position(fits).unwrap_or_else(|| {
            self.list.push(Column::new(field, form, self.rows));
            self.list.len() - 1
        })
    }
}

/// Touches the memory of the rows, which lie scattered over a whole journal segment: a loop of
/// nothing but loads, of which the processor has many under way at once.
fn touch<'r, 'a: 'r>(rows: impl Iterator<Item = &'r Row<'a>>) {
    const LINE_BYTES: usize = 64;
    let mut sum = 0;
    for row in rows {
        let details = row.details.bytes();
        for at in (0..details.len()).step_by(LINE_BYTES) {
            sum ^= details[at];
        }
        if let RowDetails::Shaped { words: [first, ..], .. } = row.details {
            sum ^= *first as u8;
        }
    }
    std::hint::black_box(sum);
}

impl<'a> Column<'a> {
    fn new(field: u8, form: Form, rows: usize) -> Self {
        let room = |wanted: bool, each: usize| if wanted { rows * each } else { 0 };
        let tags = matches!(form, Form::Uuid | Form::Tag | Form::Device);
        Self {
            field,
            form,
            rows,
            even: 0,
            counts: Vec::new(),
            values: Vec::with_capacity(room(matches!(form, Form::Number | Form::Text), 1)),
            texts: Texts::default(),
            tags: Vec::with_capacity(room(tags, TAG_BYTES)),
        }
    }

    /// A row, which is not before the last one, has a value more.
    #[inline]
    fn count(&mut self, row: usize) -> Result<(), Corrupt> {
        if self.counts.is_empty() && self.even == row {
            self.even += 1;
            return Ok(());
        }
        self.count_uneven(row)
    }

    fn count_uneven(&mut self, row: usize) -> Result<(), Corrupt> {
        self.spell_counts();
        self.counts[row] = self.counts[row].checked_add(1).ok_or(Corrupt("details"))?;
        Ok(())
    }

    fn spell_counts(&mut self) {
        if self.counts.is_empty() {
            self.counts.resize(self.even, 1);
            self.counts.resize(self.rows, 0);
        }
    }

    /// Takes a value of this column's form off the reader.
    fn push(&mut self, row: usize, reader: &mut Reader<'a>) -> Result<(), Corrupt> {
        self.count(row)?;
        match self.form {
            Form::Number => self.values.zigzag(reader.zigzag()?),
            Form::Text => {
                let text = self.texts.plain(reader.prefixed()?, self.rows);
                self.values.varint(u64::from(text));
            }
            Form::Uuid | Form::Tag => self.tags.extend_from_slice(&reader.array::<TAG_BYTES>()?),
            Form::Device => {
                self.values.extend_from_slice(&reader.array::<{ details::DEVICE_HEAD_BYTES }>()?);
                self.tags.extend_from_slice(&reader.array::<TAG_BYTES>()?);
            }
            Form::Word => return Err(reader.corrupt()),
        }
        Ok(())
    }

    /// Takes a text by its place.
    fn push_place(&mut self, row: usize, place: u32) -> Result<(), Corrupt> {
        self.count(row)?;
        self.values.varint(u64::from(place));
        Ok(())
    }

    /// `field, form, whether every row has one, counts, texts, values`.
    fn encode(mut self, packed: &mut Vec<u8>, tags: &mut Vec<u8>) {
        packed.push(self.field);
        packed.push(self.form as u8);
        let plain = self.counts.is_empty() && self.even == self.rows;
        packed.push(u8::from(plain));
        if !plain {
            self.spell_counts();
            packed.extend_from_slice(&self.counts);
        }
        if self.form == Form::Text {
            packed.varint(u64::from(self.texts.count));
            packed.extend_from_slice(&self.texts.bytes);
        }
        packed.extend_from_slice(&self.values);
        tags.extend_from_slice(&self.tags);
    }
}

/// Reads the rows of a block.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode(bytes: &[u8]) -> Result<Vec<OwnedRow>, Corrupt> {
    let mut reader = Reader::new("block", bytes);
    let corrupt = reader.corrupt();
    let version = reader.byte()?;
    if !matches!(version, VERSION | UNPADDED) {
        return Err(corrupt);
    }
    let rows = reader.count()?;
    let kept = reader.count()?;
    let raw = reader.count()?;
    if rows > ROWS_MAX || raw > PACKED_BYTES_MAX {
        return Err(corrupt);
    }
    let packed = reader.bytes(kept)?;
    let squeezed = if raw == 0 {
        None
    } else {
        Some(zstd::bulk::decompress(packed, raw).map_err(|_| corrupt)?)
    };
    let mut columns = Reader::new("block", squeezed.as_deref().unwrap_or(packed));
    let mut tags = reader;
    let mut out = decode_users(&mut columns, &mut tags, rows)?;
    let mut before = 0i64;
    for row in &mut out {
        before = before.wrapping_add(columns.zigzag()?);
        row.occurred_at = Timestamp(before);
    }
    let mut room = PACKED_BYTES_MAX;
    for _ in 0..columns.count_of(3)? {
        decode_column(&mut columns, &mut tags, &mut out, &mut room)?;
    }
    columns.end()?;
    match version {
        UNPADDED => tags.end()?,
        _ => Steps::Block.end(&tags, bytes.len())?,
    }
    Ok(out)
}

fn decode_users(
    columns: &mut Reader<'_>,
    tags: &mut Reader<'_>,
    rows: usize,
) -> Result<Vec<OwnedRow>, Corrupt> {
    let mut out = Vec::with_capacity(rows);
    for _ in 0..columns.count_of(1)? {
        let run = columns.varint()?;
        let user = if run & 1 == 1 { Some(tags.tag()?) } else { None };
        let length = usize::try_from(run >> 1).map_err(|_| columns.corrupt())?;
        if length > rows - out.len() {
            return Err(columns.corrupt());
        }
        let row = OwnedRow { user, occurred_at: Timestamp(0), details: Vec::new() };
        out.resize(out.len() + length, row);
    }
    if out.len() == rows { Ok(out) } else { Err(columns.corrupt()) }
}

fn decode_column(
    columns: &mut Reader<'_>,
    tags: &mut Reader<'_>,
    out: &mut [OwnedRow],
    room: &mut usize,
) -> Result<(), Corrupt> {
    let field = columns.byte()?;
    let form = Form::from_code(columns.byte()?).ok_or(columns.corrupt())?;
    let plain = columns.byte()? == 1;
    let counts = if plain { None } else { Some(columns.bytes(out.len())?) };
    let mut words = Vec::new();
    if form == Form::Text {
        for _ in 0..columns.count_of(1)? {
            words.push(columns.prefixed()?);
        }
    }
    for (row_no, row) in out.iter_mut().enumerate() {
        let count = counts.map_or(1, |counts| counts[row_no]);
        for _ in 0..count {
            let item = decode_item(form, columns, tags, &words)?;
            let before = row.details.len();
            details::push(&mut row.details, field, item);
            // A dictionary can ask for far more than it holds.
            let grown = row.details.len() - before;
            *room = room.checked_sub(grown).ok_or(columns.corrupt())?;
        }
    }
    Ok(())
}

fn decode_item<'a>(
    form: Form,
    columns: &mut Reader<'_>,
    tags: &mut Reader<'_>,
    words: &[&'a [u8]],
) -> Result<Item<'a>, Corrupt> {
    Ok(match form {
        Form::Number => Item::Number(columns.zigzag()?),
        Form::Text => {
            let index = columns.count()?;
            Item::Text(words.get(index).copied().ok_or(columns.corrupt())?)
        }
        Form::Uuid => Item::Uuid(tags.array()?),
        Form::Tag => Item::Tag(tags.tag()?),
        Form::Device => {
            let head = columns.array()?;
            Item::Device(details::device(head, tags.tag()?).ok_or(columns.corrupt())?)
        }
        Form::Word => return Err(columns.corrupt()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::batch::tests::{Own, batch, own};
    use crate::store::dictionary::AddedRow;
    use proptest::prelude::*;

    fn details_of(items: &[Own]) -> Vec<u8> {
        let mut out = Vec::new();
        for (field, item) in items.iter().map(Own::item) {
            details::push(&mut out, field, item);
        }
        out
    }

    fn form_of(item: &Item<'_>) -> Form {
        match item {
            Item::Number(_) => Form::Number,
            Item::Text(_) => Form::Text,
            Item::Uuid(_) => Form::Uuid,
            Item::Tag(_) => Form::Tag,
            Item::Device(_) => Form::Device,
        }
    }

    /// Blocks order a row's fields by field and form; equal fields keep their order.
    fn ordered(details: &[u8]) -> Vec<u8> {
        let mut items: Vec<_> = details::items(details).map(Result::unwrap).collect();
        items.sort_by_key(|(field, item)| (*field, form_of(item) as u8));
        let mut out = Vec::new();
        items.iter().for_each(|(field, item)| details::push(&mut out, *field, *item));
        out
    }

    /// A block of the version before: the same without its padding.
    fn unpadded(rows: &[Row<'_>]) -> Vec<u8> {
        let (mut bytes, _) = fill(&mut Dictionary::default(), rows).unwrap();
        bytes[0] = UNPADDED;
        bytes
    }

    /// One record with texts of this length, with and without its optional members.
    fn alone(length: usize, user: bool, full: bool) -> Vec<u8> {
        let (text, other) = ("t".repeat(length), "o".repeat(length));
        let mut details = Vec::new();
        details::push(&mut details, 1, Item::Text(text.as_bytes()));
        details::push(&mut details, 2, Item::Number(3));
        if full {
            details::push(&mut details, 3, Item::Text(other.as_bytes()));
            details::push(&mut details, 4, Item::Uuid([length as u8; 16]));
            details::push(&mut details, 5, Item::Tag(Tag([0xa5; 16])));
            details::push(&mut details, 6, Item::Text(text.as_bytes()));
        }
        let details = RowDetails::Plain(&details);
        let user = user.then_some(Tag([0xb6; 16]));
        let row = Row { user, occurred_at: Timestamp(1_795_000_000_000), details };
        encode(&[row]).unwrap().0
    }

    /// Check 27: the block of one record is as long whatever its texts are and whoever is in it.
    #[test]
    fn check_27_the_block_of_one_record_does_not_show_its_length() {
        let sizes: std::collections::BTreeSet<usize> = (1..64)
            .flat_map(|length| [(false, false), (true, false), (true, true)].map(|of| (length, of)))
            .map(|(length, (user, full))| alone(length, user, full).len())
            .collect();
        assert_eq!(sizes, [1_024].into());
    }

    /// What padding costs a block of a thousand rows: next to nothing.
    #[test]
    fn padding_costs_a_full_block_nothing_to_speak_of() {
        let rows = |count: usize| -> Vec<OwnedRow> {
            let row = |at: usize| {
                let tag = crate::crypto::sha256(&[&at.to_be_bytes()]);
                let mut user = [0; 16];
                user.copy_from_slice(&tag[..16]);
                let mut details = Vec::new();
                let text = format!("content-{}", at % 97);
                details::push(&mut details, 1, Item::Text(text.as_bytes()));
                let uuid = std::array::from_fn(|byte| tag[16 + byte]);
                details::push(&mut details, 2, Item::Uuid(uuid));
                let occurred_at = Timestamp(1_795_000_000_000 + at as i64 * 977);
                OwnedRow { user: Some(Tag(user)), occurred_at, details }
            };
            let mut rows: Vec<OwnedRow> = (0..count).map(row).collect();
            rows.sort_by_key(|row| row.user);
            rows
        };
        for count in [1_024, 2_048, 4_096] {
            let rows = rows(count);
            let given: Vec<Row<'_>> = rows.iter().map(OwnedRow::as_row).collect();
            let (padded, bare) = (encode(&given).unwrap().0.len(), unpadded(&given).len());
            assert!(bare > 16 << 10 && padded - bare < 256, "{count}: {padded} {bare}");
        }
    }

    proptest! {
        #[test]
        fn blocks_round_trip(
            rows in proptest::collection::vec(
                (0u8..4, any::<i64>(), proptest::collection::vec(own(), 0..6)), 0..40),
        ) {
            let mut rows: Vec<OwnedRow> = rows.into_iter().map(|(user, at, items)| OwnedRow {
                user: (user > 0).then_some(Tag([user; 16])),
                occurred_at: Timestamp(at),
                details: details_of(&items),
            }).collect();
            rows.sort_by_key(|row| row.user);
            let given: Vec<Row<'_>> = rows.iter().map(OwnedRow::as_row).collect();
            let (bytes, _) = encode(&given).unwrap();
            let before = unpadded(&given);
            for row in &mut rows {
                row.details = ordered(&row.details);
            }
            prop_assert_eq!(decode(&bytes), Ok(rows.clone()));
            // What was written before there was padding reads as ever, and nothing in between does.
            prop_assert_eq!(decode(&before), Ok(rows));
            prop_assert!(before.len() == bytes.len() || decode(&bytes[..before.len()]).is_err());
            prop_assert!(decode(&[&before[..], &[0]].concat()).is_err());
        }

        /// Rows of several batches, and of a block before them, each with its own shapes and words.
        #[test]
        fn rows_of_the_journal_round_trip(
            batches in proptest::collection::vec(batch(), 1..4),
            kept in proptest::collection::vec(proptest::collection::vec(own(), 0..6), 0..4),
        ) {
            let kept: Vec<Vec<u8>> = kept.iter().map(|items| details_of(items)).collect();
            let mut dictionary = Dictionary::default();
            let mut rows = Vec::new();
            for details in &kept {
                let row = Row {
                    user: None, occurred_at: Timestamp(7), details: RowDetails::Plain(details),
                };
                rows.push((row, details.clone()));
            }
            let mut batches = batches;
            for (batch, _) in &mut batches {
                dictionary.add(&mut batch.details).unwrap();
            }
            for (batch, plain) in &batches {
                let added = dictionary.rows(&batch.details);
                for ((added, claim), plain) in added.zip(&batch.claims).zip(plain) {
                    let AddedRow { user, details, bytes } = added.unwrap();
                    let first = details::items(plain).next().map(Result::unwrap);
                    let with_user = match first {
                        Some((details::USER, Item::Tag(tag))) => Some(tag),
                        _ => None,
                    };
                    prop_assert_eq!(user, with_user);
                    let plain = plain[if user.is_some() { 18 } else { 0 }..].to_vec();
                    prop_assert!(bytes <= plain.len() && plain.len() < bytes + 7);
                    rows.push((Row { user, occurred_at: claim.occurred_at, details }, plain));
                }
            }
            rows.sort_by_key(|(row, _)| row.user);
            let given: Vec<Row<'_>> = rows.iter().map(|(row, _)| *row).collect();
            let (bytes, _) = encode_with(&mut dictionary, &given).unwrap();
            // Each block has its own texts, whatever the one before had.
            prop_assert_eq!(&encode_with(&mut dictionary, &given).unwrap().0, &bytes);
            let wanted: Vec<OwnedRow> = rows.into_iter().map(|(row, plain)| OwnedRow {
                user: row.user, occurred_at: row.occurred_at, details: ordered(&plain),
            }).collect();
            prop_assert_eq!(decode(&bytes), Ok(wanted));
        }

        #[test]
        fn changed_bytes_never_panic(
            items in proptest::collection::vec(own(), 1..9), at in any::<u16>(), to in any::<u8>(),
        ) {
            let details = details_of(&items);
            let user = Some(Tag([1; 16]));
            let details = RowDetails::Plain(&details);
            let row = Row { user, occurred_at: Timestamp(5), details };
            let (mut bytes, _) = encode(&[row, row, row]).unwrap();
            let at = usize::from(at) % bytes.len();
            bytes[at] = to;
            let _ = decode(&bytes);
            let _ = decode(&bytes[..at]);
        }
    }
}
