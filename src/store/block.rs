//! A block: a thousand records of one bucket or more, by columns, before they are sealed.
//!
//! `version ‖ rows ‖ length of the packed part ‖ its raw length ‖ packed part ‖ tags`. The packed
//! part holds every column that compresses (zstd level 1, or as it is where that does not pay); the
//! tags are random by nature and stand apart, never compressed. Rows come sorted by user tag, which
//! is written once for each user; a column exists for each field that any row has.

use super::codec::{Corrupt, Put, Reader};
use super::details::{self, Form};
use super::header::filter_key;
use crate::model::batch::Item;
use crate::model::ids::Tag;
use crate::model::time::Timestamp;

const VERSION: u8 = 1;
/// Bytes of a tag and of a UUID.
const TAG_BYTES: usize = 16;
/// The packed part is kept as it is unless zstd saves a sixteenth.
const SAVES_AT_LEAST: usize = 16;
/// Most bytes of a packed part, and of all rows of a block; a block is a fraction of this.
const PACKED_BYTES_MAX: usize = 64 << 20;
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
    /// Its fields (`store::details`).
    pub details: &'a [u8],
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
        Row { user: self.user, occurred_at: self.occurred_at, details: &self.details }
    }
}

/// A column: the values of one field in one form. Most rows have it once; `counts` is written only
/// where that is not so.
struct Column {
    field: u8,
    form: Form,
    counts: Vec<u8>,
    /// Numbers, and the heads of devices, as they are written.
    values: Vec<u8>,
    /// Texts, one after the other, and where each ends.
    texts: Vec<u8>,
    ends: Vec<usize>,
    /// Tags and UUIDs.
    tags: Vec<u8>,
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

/// Encodes rows that are sorted by user tag; answers the bytes, and what the header is made of.
///
/// # Errors
/// When a row's details do not follow their format.
pub fn encode(rows: &[Row<'_>]) -> Result<(Vec<u8>, FilterKeys), Corrupt> {
    let mut tags = Vec::with_capacity(rows.len() * 48);
    let mut packed = Vec::with_capacity(rows.len() * 32);
    encode_users(rows, &mut packed, &mut tags);
    let mut before = 0;
    for row in rows {
        packed.zigzag(row.occurred_at.0.wrapping_sub(before));
        before = row.occurred_at.0;
    }
    let columns = gather(rows)?;
    let mut keys = FilterKeys { users: tag_keys(&tags).collect(), ..FilterKeys::default() };
    packed.varint(columns.len() as u64);
    for column in columns {
        match column.form {
            Form::Device => keys.devices.extend(tag_keys(&column.tags)),
            Form::Tag => keys.marks.extend(tag_keys(&column.tags)),
            Form::Number | Form::Text | Form::Uuid => {}
        }
        column.encode(&mut packed, &mut tags);
    }
    let squeezed = zstd::bulk::compress(&packed, 1).unwrap_or_default();
    let pays =
        !squeezed.is_empty() && squeezed.len() + packed.len() / SAVES_AT_LEAST < packed.len();
    let kept = if pays { &squeezed } else { &packed };
    let mut out = Vec::with_capacity(kept.len() + tags.len() + 16);
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
fn gather(rows: &[Row<'_>]) -> Result<Vec<Column>, Corrupt> {
    let mut columns: Vec<Column> = Vec::new();
    // Rows mostly have the same fields in the same order: the column after the last one is tried
    // first.
    for (row_no, row) in rows.iter().enumerate() {
        if row_no % TOUCHED_ROWS == 0 {
            touch(rows.iter().skip(row_no).take(TOUCHED_ROWS));
        }
        let mut guess = 0;
        let mut reader = Reader::new("details", row.details);
        while !reader.is_empty() {
            let (field, form) = details::read_kind(&mut reader)?;
            let fits = |column: &Column| column.field == field && column.form == form;
            let at = if columns.get(guess).is_some_and(fits) {
                guess
            } else {
                columns.iter().position(fits).unwrap_or_else(|| {
                    columns.push(Column::new(field, form, rows.len()));
                    columns.len() - 1
                })
            };
            columns[at].push(row_no, &mut reader)?;
            guess = at + 1;
        }
    }
    columns.sort_by_key(|column| (column.field, column.form as u8));
    Ok(columns)
}

/// Touches the memory of the rows, which lie scattered over a whole journal segment: a loop of
/// nothing but loads, of which the processor has many under way at once.
fn touch<'r, 'a: 'r>(rows: impl Iterator<Item = &'r Row<'a>>) {
    const LINE_BYTES: usize = 64;
    let mut sum = 0;
    for row in rows {
        for at in (0..row.details.len()).step_by(LINE_BYTES) {
            sum ^= row.details[at];
        }
    }
    std::hint::black_box(sum);
}

impl Column {
    fn new(field: u8, form: Form, rows: usize) -> Self {
        let room = |wanted: bool, each: usize| if wanted { rows * each } else { 0 };
        let tags = matches!(form, Form::Uuid | Form::Tag | Form::Device);
        Self {
            field,
            form,
            counts: vec![0; rows],
            values: Vec::with_capacity(room(form == Form::Number, 1)),
            texts: Vec::with_capacity(room(form == Form::Text, 8)),
            ends: Vec::with_capacity(room(form == Form::Text, 1)),
            tags: Vec::with_capacity(room(tags, TAG_BYTES)),
        }
    }

    /// Takes a value of this column's form off the reader.
    fn push(&mut self, row: usize, reader: &mut Reader<'_>) -> Result<(), Corrupt> {
        let count = &mut self.counts[row];
        *count = count.checked_add(1).ok_or(reader.corrupt())?;
        match self.form {
            Form::Number => self.values.zigzag(reader.zigzag()?),
            Form::Text => {
                self.texts.extend_from_slice(reader.prefixed()?);
                self.ends.push(self.texts.len());
            }
            Form::Uuid | Form::Tag => self.tags.extend_from_slice(reader.bytes(TAG_BYTES)?),
            Form::Device => {
                self.values.extend_from_slice(reader.bytes(details::DEVICE_HEAD_BYTES)?);
                self.tags.extend_from_slice(reader.bytes(TAG_BYTES)?);
            }
        }
        Ok(())
    }

    /// `field, form, whether every row has one, counts, values`.
    fn encode(&self, packed: &mut Vec<u8>, tags: &mut Vec<u8>) {
        packed.push(self.field);
        packed.push(self.form as u8);
        let plain = self.counts.iter().all(|count| *count == 1);
        packed.push(u8::from(plain));
        if !plain {
            packed.extend_from_slice(&self.counts);
        }
        if self.form == Form::Text {
            encode_texts(&self.texts, &self.ends, packed);
        }
        packed.extend_from_slice(&self.values);
        tags.extend_from_slice(&self.tags);
    }
}

/// Texts by a dictionary: the distinct ones in the order of their first use, then an index each.
fn encode_texts(texts: &[u8], ends: &[usize], packed: &mut Vec<u8>) {
    let mut known: hashbrown::HashMap<&[u8], u64> =
        hashbrown::HashMap::with_capacity(ends.len().min(1_024));
    let mut words: Vec<&[u8]> = Vec::new();
    let mut indexes = Vec::with_capacity(ends.len());
    let mut start = 0;
    for end in ends {
        let text = &texts[start..*end];
        start = *end;
        let index = *known.entry(text).or_insert_with(|| {
            words.push(text);
            words.len() as u64 - 1
        });
        indexes.varint(index);
    }
    packed.varint(words.len() as u64);
    for word in words {
        packed.prefixed(word);
    }
    packed.extend_from_slice(&indexes);
}

/// Reads the rows of a block.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode(bytes: &[u8]) -> Result<Vec<OwnedRow>, Corrupt> {
    let mut reader = Reader::new("block", bytes);
    let corrupt = reader.corrupt();
    if reader.byte()? != VERSION {
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
    tags.end()?;
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::DeviceTag;
    use crate::model::vocab::{DeviceKind, Quality, Scope};
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Own {
        Number(i64),
        Text(String),
        Uuid([u8; 16]),
        Tag([u8; 16]),
        Device([u8; 16], bool),
    }

    fn own() -> impl Strategy<Value = (u8, Own)> {
        let item = prop_oneof![
            any::<i64>().prop_map(Own::Number),
            "[a-c]{0,3}".prop_map(Own::Text),
            any::<[u8; 16]>().prop_map(Own::Uuid),
            any::<[u8; 16]>().prop_map(Own::Tag),
            (any::<[u8; 16]>(), any::<bool>()).prop_map(|(tag, it)| Own::Device(tag, it)),
        ];
        (0u8..6, item)
    }

    fn details_of(items: &[(u8, Own)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (field, own) in items {
            let item = match own {
                Own::Number(number) => Item::Number(*number),
                Own::Text(text) => Item::Text(text.as_bytes()),
                Own::Uuid(bytes) => Item::Uuid(*bytes),
                Own::Tag(bytes) => Item::Tag(Tag(*bytes)),
                Own::Device(bytes, recommended) => Item::Device(DeviceTag {
                    kind: DeviceKind::Imei,
                    quality: Quality::Good,
                    scope: Scope::Device,
                    recommended: *recommended,
                    tag: Tag(*bytes),
                }),
            };
            details::push(&mut out, *field, item);
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
            for row in &mut rows {
                row.details = ordered(&row.details);
            }
            prop_assert_eq!(decode(&bytes), Ok(rows));
        }

        #[test]
        fn changed_bytes_never_panic(
            items in proptest::collection::vec(own(), 1..9), at in any::<u16>(), to in any::<u8>(),
        ) {
            let details = details_of(&items);
            let user = Some(Tag([1; 16]));
            let row = Row { user, occurred_at: Timestamp(5), details: &details };
            let (mut bytes, _) = encode(&[row, row, row]).unwrap();
            let at = usize::from(at) % bytes.len();
            bytes[at] = to;
            let _ = decode(&bytes);
            let _ = decode(&bytes[..at]);
        }
    }
}
