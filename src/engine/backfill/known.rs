//! Which events of a backfill were counted before. For days whose duplicates are still known the
//! writer sees it at once. For older ones the slots are gone, and only the records that are kept
//! can tell: their blocks are read. What is not kept any more cannot be compared.

use std::collections::{BTreeSet, HashSet};

use super::mark;
use crate::crypto::HmacKey;
use crate::engine::explain::Work;
use crate::engine::fold::header_living;
use crate::engine::{Engine, EngineError};
use crate::model::batch::Item;
use crate::model::field::Field;
use crate::model::site::Site;
use crate::model::time::{Day, Month};
use crate::store::backfill::MARK_BYTES;
use crate::store::block::OwnedRow;
use crate::store::codec::Corrupt;
use crate::store::details;

/// Those of `wanted` that a kept record of these months has, from days before the slots; `None`
/// where records were destroyed or sealed anew meanwhile, so that it must begin again.
///
/// # Errors
/// When a record cannot be read, or the engine has stopped.
pub fn known(
    engine: &Engine,
    site: &Site,
    months: &BTreeSet<Month>,
    (floor, key): (Day, &HmacKey),
    wanted: &HashSet<[u8; MARK_BYTES]>,
) -> Result<Option<HashSet<[u8; MARK_BYTES]>>, EngineError> {
    let mut found = HashSet::new();
    for month in months {
        let work = Work::new(engine, site, *month)?;
        let mut listing = work.list()?;
        // Blocks all of whose records are of days with slots have nothing to tell. Where a header
        // does not open, the reading of the block says why.
        let (store, ring) = (&engine.shared.store, &engine.shared.ring);
        listing.blocks.retain(|place| {
            let header = header_living(store, ring, *place);
            !matches!(header, Ok(Some(header)) if header.first.day() >= floor)
        });
        let whole = work.every_block(&listing, |_, rows| {
            for row in rows.iter().filter(|row| row.occurred_at.day() < floor) {
                let mark = mark_of_row(key, row)?;
                found.extend(mark.filter(|mark| wanted.contains(mark)));
            }
            Ok(())
        })?;
        if !whole {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// The mark of a kept record's event.
fn mark_of_row(key: &HmacKey, row: &OwnedRow) -> Result<Option<[u8; MARK_BYTES]>, Corrupt> {
    let (mut producer, mut event) = (None, None);
    for item in details::items(&row.details) {
        match item? {
            (field, Item::Text(text)) if field == Field::Producer.code() => producer = Some(text),
            (field, item) if field == Field::EventId.code() => event = Some(item),
            _ => {}
        }
    }
    let day = row.occurred_at.day();
    Ok(producer.zip(event).and_then(|(producer, event)| match event {
        Item::Uuid(bytes) => Some(mark(key, producer, day, (b'u', &bytes))),
        Item::Text(text) => Some(mark(key, producer, day, (b't', text))),
        _ => None,
    }))
}
