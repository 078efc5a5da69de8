//! Every format of stored bytes. What decodes is encoded again and decodes to the same value, and
//! that encoding is a fixed point: the bytes may have had another spelling (a number of more bytes
//! than it needs), the value has one.
#![no_main]

use std::fmt::Debug;
use std::io;

use blindtally::crypto;
use blindtally::keys::medium::{FileId, Medium};
use blindtally::keys::slot::{self, HEADER_BYTES, SLOT_BYTES};
use blindtally::keys::vek::VekHome;
use blindtally::keys::{VaultId, VekError};
use blindtally::model::batch::Item;
use blindtally::model::ids::{ShortTag, Tag};
use blindtally::model::time::Timestamp;
use blindtally::store::arrivals::{self, Total};
use blindtally::store::backfill;
use blindtally::store::backup::{BackupRow, DataMark};
use blindtally::store::block::{self, FilterKeys, OwnedRow, Row};
use blindtally::store::codec::{Corrupt, Put, Reader};
use blindtally::store::destruction::{Ended, HeldRow, UnderWay, decode_gone, encode_gone};
use blindtally::store::details;
use blindtally::store::dictionary::{AddedRow, Dictionary};
use blindtally::store::erasure::{Erasure, decode_suppressed, encode_suppressed};
use blindtally::store::filter::Filter;
use blindtally::store::header::{Filtered, Header};
use blindtally::store::pages::{self, RunHead};
use blindtally::store::rows::{self, Position};
use blindtally::store::verdict::{self, GroupVerdict};
use blindtally::store::{batch, keys};
use blindtally::wire::challenge::Spent;
use blindtally::wire::retention::BadForm;
use blindtally::wire::webhooks::rows::{EndpointRow, EventRow};
use blindtally_fuzz::choose;
use libfuzzer_sys::fuzz_target;

/// Rows of a batch, as the engine bounds them.
const ROWS_MAX: usize = 10_000;
/// Beyond this a decoded block is only let go: encoding it again would test the compressor.
const DETAILS_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((format, bytes)) = choose(data, 28) else { return };
    match format {
        0 => batches(bytes),
        1 => {
            let decode = |bytes: &[u8]| GroupVerdict::decode(bytes, ROWS_MAX);
            of_any_version(bytes, decode, GroupVerdict::encode);
        }
        2 => blocks(bytes),
        3 => headers(bytes),
        4 => run_heads(bytes),
        5 => run_pages(bytes),
        6 => of_any_version(bytes, rows::decode_site, rows::encode_site),
        7 => of_any_version(bytes, rows::decode_token, rows::encode_token),
        8 => round_trip(bytes, Position::decode, Position::encode),
        9 => row_details(bytes),
        10 => numbers(bytes),
        11 => of_any_version(bytes, verdict::decode_tally, verdict::encode_tally),
        12 => row_keys(bytes),
        // A row of version 1 is read, and written as one of version 2, which is longer.
        14 if bytes.first() == Some(&1) => drop(UnderWay::decode(bytes)),
        14 => round_trip(bytes, UnderWay::decode, UnderWay::encode),
        15 => round_trip(bytes, decode_gone, |group| encode_gone(*group)),
        16 => round_trip(bytes, arrivals::decode_hour, |list| {
            arrivals::encode_hour(list.iter().map(|(sender, received)| (sender, received)))
        }),
        17 => round_trip(bytes, Total::decode, Total::encode),
        18 => of_any_version(bytes, Erasure::decode, Erasure::encode),
        19 => of_any_version(bytes, decode_suppressed, |tags| encode_suppressed(tags)),
        20 => round_trip(bytes, BackupRow::decode, BackupRow::encode),
        21 => round_trip(bytes, DataMark::decode, DataMark::encode),
        22 => of_any_version(bytes, Ended::decode, Ended::encode),
        25 => round_trip(bytes, backfill::decode, backfill::encode),
        26 => round_trip(bytes, backfill::decode_staged, backfill::encode_staged),
        23 => round_trip(bytes, HeldRow::decode, HeldRow::encode),
        27 => {
            register_slot(bytes);
            register_header(bytes);
        }
        24 => {
            vek_home(bytes);
            texts(bytes);
        }
        _ => filters(bytes),
    }
});

/// Rows that are one JSON object: each has one spelling.
fn texts(bytes: &[u8]) {
    let again = |read: Result<Result<Vec<u8>, BadForm>, BadForm>| {
        if let Ok(Ok(written)) = read {
            assert_eq!(written, bytes);
        }
    };
    again(Spent::parse(bytes).map(|row| row.to_bytes()));
    again(EndpointRow::parse(bytes).map(|row| row.to_bytes()));
    again(EventRow::parse(bytes).map(|row| row.to_bytes()));
}

/// A file in memory.
struct Memory(Vec<u8>);

impl Medium for Memory {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn identity(&self) -> io::Result<FileId> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let found = self.0.get(from..from + into.len());
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, _at: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A slot of the register as it comes, and under a checksum that is right.
fn register_slot(bytes: &[u8]) {
    const SUM_AT: usize = SLOT_BYTES - 32;
    let Some((place, rest)) = bytes.split_first_chunk::<20>() else { return };
    let (vault, no) = place.split_at(16);
    let vault = VaultId(vault.try_into().expect("16 bytes"));
    let no = u32::from_be_bytes(no.try_into().expect("4 bytes"));
    let mut stored = [0; SLOT_BYTES];
    let length = rest.len().min(SLOT_BYTES);
    stored[..length].copy_from_slice(&rest[..length]);
    let check = |stored: &[u8; SLOT_BYTES]| {
        let Some(written) = slot::written_again(vault, no, stored) else { return };
        assert_eq!(slot::written_again(vault, no, &written), Some(written));
        if written.iter().any(|byte| *byte != 0) {
            // Everywhere else it is no slot.
            assert_eq!(slot::written_again(vault, no.wrapping_add(1), &written), None);
            let mut other = written;
            other[SUM_AT - 1] ^= 1;
            assert_eq!(slot::written_again(vault, no, &other), None);
        }
    };
    check(&stored);
    let sum = crypto::digest(&[&place[..], &stored[..SUM_AT]].concat());
    stored[SUM_AT..].copy_from_slice(&sum);
    check(&stored);
}

/// The header of a copy of the register, likewise.
fn register_header(bytes: &[u8]) {
    const SUM_AT: usize = HEADER_BYTES - 32;
    let Some((letter, rest)) = bytes.split_first() else { return };
    let mut stored = [0; HEADER_BYTES];
    let length = rest.len().min(HEADER_BYTES);
    stored[..length].copy_from_slice(&rest[..length]);
    for letter in [*letter, b'A', b'B', b'C'] {
        stored[10] = letter;
        // What is shorter than a page is no header.
        assert_eq!(slot::header_written_again(letter, rest.get(..SUM_AT).unwrap_or(rest)), None);
        let sum = crypto::digest(&stored[..SUM_AT]);
        stored[SUM_AT..].copy_from_slice(&sum);
        if let Some(written) = slot::header_written_again(letter, &stored) {
            assert_eq!(written[10], letter);
            assert_eq!(slot::header_written_again(letter, &written), Some(written));
        }
    }
}

/// The two slots of a VEK home, each under a checksum that is right, so that what stands below it
/// is looked at; and as they come.
fn vek_home(bytes: &[u8]) {
    const SLOT_BYTES: usize = 512;
    const SUM_AT: usize = SLOT_BYTES - 32;
    let mut file = vec![0; 2 * SLOT_BYTES];
    let length = bytes.len().min(file.len());
    file[..length].copy_from_slice(&bytes[..length]);
    let _ = VekHome::open(Memory(bytes.to_vec()));
    for slot in file.chunks_mut(SLOT_BYTES) {
        let sum = crypto::digest(&slot[..SUM_AT]);
        slot[SUM_AT..].copy_from_slice(&sum);
    }
    match VekHome::open(Memory(file.clone())) {
        Ok(home) => {
            let newest = home.epoch();
            assert!(home.holds(newest), "an epoch that is not there");
            let stored = [8, 8 + SLOT_BYTES].map(|at| u16::from_be_bytes([file[at], file[at + 1]]));
            assert!(stored.contains(&1), "a home of no version that we know");
            let (_, _) = (home.vault(), home.ledger());
        }
        Err(VekError::Version(version)) => assert_ne!(version, 1),
        Err(_) => {}
    }
}

fn round_trip<T: PartialEq + Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, Corrupt>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    let Ok(value) = decode(bytes) else { return };
    let written = encode(&value);
    assert!(written.len() <= bytes.len(), "an encoding longer than the bytes it was read from");
    assert_eq!(decode(&written).as_ref(), Ok(&value));
    assert_eq!(encode(&value), written);
    assert!(decode(&written[..written.len() - 1]).is_err(), "a cut value decodes");
}

/// The same of a format whose earlier versions are read and not written; they may be shorter.
fn of_any_version<T: PartialEq + Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, Corrupt>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    let Ok(value) = decode(bytes) else { return };
    let written = encode(&value);
    if written.first() == bytes.first() {
        return round_trip(bytes, decode, encode);
    }
    assert_eq!(decode(&written).as_ref(), Ok(&value));
}

/// A batch comes back, and its rows go into a block and out of it.
fn batches(bytes: &[u8]) {
    of_any_version(bytes, batch::decode, batch::encode);
    let Ok(mut batch) = batch::decode(bytes) else { return };
    let mut dictionary = Dictionary::default();
    if dictionary.add(&mut batch.details).is_err() {
        return;
    }
    let rows: Result<Vec<AddedRow<'_>>, Corrupt> = dictionary.rows(&batch.details).collect();
    let Ok(rows) = rows else { return };
    if rows.len() > block::ROWS_MAX
        || rows.iter().map(|row| row.bytes).sum::<usize>() > DETAILS_BYTES_MAX
    {
        return;
    }
    let mut users: Vec<_> = rows.iter().map(|row| row.user).collect();
    users.sort_unstable();
    let mut rows: Vec<Row<'_>> = rows
        .iter()
        .map(|row| Row { user: row.user, occurred_at: Timestamp(0), details: row.details })
        .collect();
    rows.sort_by_key(|row| row.user);
    let Ok((written, _)) = block::encode_with(&mut dictionary, &rows) else { return };
    // What a device's head says is looked at when it is read back.
    let Ok(again) = block::decode(&written) else { return };
    assert_eq!(again.iter().map(|row| row.user).collect::<Vec<_>>(), users);
}

fn blocks(bytes: &[u8]) {
    let Ok(mut rows) = block::decode(bytes) else { return };
    assert!(rows.len() <= block::ROWS_MAX);
    if rows.iter().map(|row| row.details.len()).sum::<usize>() > DETAILS_BYTES_MAX {
        return;
    }
    rows.sort_by_key(|row| row.user);
    let Ok((written, keys)) = encode_block(&rows) else { return };
    let again = block::decode(&written).expect("what was encoded decodes");
    let parts = |rows: &[OwnedRow]| -> Vec<_> {
        let parts = rows.iter().map(|row| (row.user, row.occurred_at, fields(&row.details)));
        parts.collect()
    };
    assert_eq!(parts(&again), parts(&rows));
    assert_eq!(encode_block(&again).expect("what decoded encodes").0, written);
    found_by_header(&rows, keys);
}

fn encode_block(rows: &[OwnedRow]) -> Result<(Vec<u8>, FilterKeys), Corrupt> {
    let rows: Vec<Row<'_>> = rows.iter().map(OwnedRow::as_row).collect();
    block::encode(&rows)
}

/// A header finds everybody who is in its block.
fn found_by_header(rows: &[OwnedRow], mut keys: FilterKeys) {
    let tags = [&mut keys.users, &mut keys.devices, &mut keys.marks];
    let header = Header::new(rows.len(), (Timestamp(0), Timestamp(0)), tags);
    for row in rows {
        assert!(row.user.is_none_or(|user| header.may_hold(Filtered::User, &user)));
        for (_, item) in details::items(&row.details).filter_map(Result::ok) {
            assert!(match item {
                Item::Tag(tag) => header.may_hold(Filtered::Watermark, &tag),
                Item::Device(device) => header.may_hold(Filtered::Device, &device.tag),
                Item::Number(_) | Item::Text(_) | Item::Uuid(_) => true,
            });
        }
    }
}

/// The fields of a row in the order that a block gives them.
fn fields(details: &[u8]) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for item in details::items(details) {
        let (field, item) = item.expect("a block gives sound details");
        fields.push(format!("{field:03} {item:?}"));
    }
    fields.sort();
    fields
}

fn headers(bytes: &[u8]) {
    of_any_version(bytes, Header::decode, Header::encode);
    let Ok(header) = Header::decode(bytes) else { return };
    let mut tag = [0; 16];
    tag.iter_mut().zip(bytes.iter().rev()).for_each(|(to, from)| *to = *from);
    for kind in [Filtered::User, Filtered::Device, Filtered::Watermark] {
        header.may_hold(kind, &Tag(tag));
    }
}

fn filters(bytes: &[u8]) {
    let Some((key, stored)) = bytes.split_first_chunk::<8>() else { return };
    if let Some(filter) = Filter::decode(stored) {
        filter.may_hold(u64::from_le_bytes(*key));
        assert_eq!(filter.as_bytes(), stored);
    }
    let (keys, _) = bytes.as_chunks::<8>();
    let mut keys: Vec<u64> = keys.iter().map(|key| u64::from_le_bytes(*key)).collect();
    let filter = Filter::build(&mut keys.clone());
    assert!(keys.drain(..).all(|key| filter.may_hold(key)), "a wrong no");
    assert_eq!(Filter::decode(filter.as_bytes()), Some(filter));
}

fn run_heads(bytes: &[u8]) {
    round_trip(bytes, RunHead::decode, RunHead::encode);
    let Ok(mut head) = RunHead::decode(bytes) else { return };
    let mut tag = [0; 12];
    tag.iter_mut().zip(bytes.iter().rev()).for_each(|(to, from)| *to = *from);
    let tag = ShortTag(tag);
    head.fences.sort_unstable();
    let pages = head.pages_of(tag);
    assert!(pages.start <= pages.end && pages.end <= head.fences.len());
    for (page, fence) in head.fences.iter().enumerate() {
        assert!(*fence != tag.prefix() || pages.contains(&page), "a page that may hold the tag");
    }
}

fn run_pages(bytes: &[u8]) {
    round_trip(bytes, pages::decode_page, |entries| pages::encode_page(entries));
    let Ok(mut entries) = pages::decode_page(bytes) else { return };
    entries.sort_unstable();
    entries.dedup_by_key(|(tag, _)| *tag);
    let page = pages::encode_page(&entries);
    for (tag, mask) in &entries {
        assert_eq!(pages::find_in_page(&page, *tag), Ok(*mask));
    }
    for other in [ShortTag([0; 12]), ShortTag([0xff; 12])] {
        let mask = entries.iter().find(|(tag, _)| *tag == other).map_or(0, |(_, mask)| *mask);
        assert_eq!(pages::find_in_page(&page, other), Ok(mask));
    }
}

fn row_details(bytes: &[u8]) {
    let mut written = Vec::new();
    let items = details::items(bytes);
    let sound = items.map_while(|item| item.ok()).map(|(field, item)| {
        details::push(&mut written, field, item);
        (field, item)
    });
    let sound: Vec<_> = sound.collect();
    let again: Result<Vec<_>, Corrupt> = details::items(&written).collect();
    assert_eq!(again, Ok(sound));
    if let Some(uuid) = details::uuid(bytes) {
        assert_eq!(details::uuid_text(uuid).as_bytes(), bytes);
    }
    if let Some(uuid) = bytes.first_chunk::<16>() {
        assert_eq!(details::uuid(details::uuid_text(*uuid).as_bytes()), Some(*uuid));
    }
}

fn numbers(bytes: &[u8]) {
    let mut reader = Reader::new("number", bytes);
    if let Ok(number) = reader.varint() {
        let mut out = Vec::new();
        out.varint(number);
        assert!(out.len() <= bytes.len() - reader.rest().len());
        assert_eq!(Reader::new("number", &out).varint(), Ok(number));
    }
    if let Some(number) = bytes.first_chunk::<8>().map(|number| i64::from_le_bytes(*number)) {
        let mut out = Vec::new();
        out.zigzag(number);
        out.prefixed(bytes);
        let mut reader = Reader::new("number", &out);
        assert_eq!(reader.zigzag(), Ok(number));
        assert_eq!(reader.prefixed(), Ok(bytes));
        assert_eq!(reader.end(), Ok(()));
    }
}

fn row_keys(bytes: &[u8]) {
    if let Some(number) = keys::group_number(bytes) {
        assert_eq!(keys::group(number), bytes);
    }
    if let Some(at) = keys::counters_of(bytes) {
        assert_eq!(keys::counters(at), bytes);
    }
    if let Some(lot) = keys::gone_lot(bytes) {
        assert_eq!(keys::gone(&lot), bytes);
    }
    if let Some((owner, kind, run, page)) = keys::page_of(bytes) {
        assert_eq!(keys::page(owner, kind, run, page), bytes);
    }
    if let Some((fragment, site, epoch, number)) = keys::block_of(bytes) {
        assert_eq!(keys::block(fragment, site, epoch, number)[1..], bytes[1..]);
    }
}
