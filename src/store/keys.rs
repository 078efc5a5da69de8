//! Row keys. Numbers are big-endian, so that the order of the bytes is that of the numbers.

use super::destruction::{LOT_BYTES, decode_lot, encode_lot};
use crate::model::arrival::Hour;
use crate::model::batch::SiteMonth;
use crate::model::ids::{HoldNo, SiteNo};
use crate::model::retention::Lot;
use crate::model::time::Month;

/// The position row of the meta table.
pub const POSITION: &[u8] = b"position";
/// The row that ties the data to its keys.
pub const VAULT: &[u8] = b"vault";
/// The row that names the blocks of a fold under way.
pub const INTENT: &[u8] = b"intent";
/// Before a site's row.
pub const SITES: &[u8] = b"site/";
/// After every site's row.
pub const SITES_END: &[u8] = b"site0";
/// Before a token's row.
pub const TOKENS: &[u8] = b"token/";
/// After every token's row.
pub const TOKENS_END: &[u8] = b"token0";
/// Before a row of a desk's own.
pub const DESK: &[u8] = b"desk/";

/// Before a day of the access log, sealed under the key of its month.
pub const ACCESS: &[u8] = b"desk/access/=";
/// After every such day.
pub const ACCESS_END: &[u8] = b"desk/access0";
/// The same of data from before format 7, under the state key: these come before all others.
pub const ACCESS_BEFORE: &[u8] = b"desk/access/";

/// The row of a destruction under way.
pub const DESTRUCTION: &[u8] = b"destruction";
/// The row of a destruction of copies on hold that waits for a copy of their register.
pub const WAITING: &[u8] = b"destruction.waits";
/// What became of the destruction that ended last.
pub const DESTROYED: &[u8] = b"destroyed";
/// A row that is only ever removed, to begin a new log.
pub const RECLAIM: &[u8] = b"reclaim";
/// What the data knows of keys and ledger, as of its last fold.
pub const MARK: &[u8] = b"mark";
/// The row that says that this data was put back from a backup, or is one.
pub const BACKUP: &[u8] = b"backup";
/// Before the row of each destroyed lot.
pub const GONE: &[u8] = b"gone/";
/// After the row of every destroyed lot.
pub const GONE_END: &[u8] = b"gone0";

/// Before the row of each copy in hold storage.
pub const HELD: &[u8] = b"held/";
/// After the row of every copy in hold storage.
pub const HELD_END: &[u8] = b"held0";

/// Before the row of each erasure that has not ended.
pub const ERASING: &[u8] = b"erasing/";
/// After the row of every erasure.
pub const ERASING_END: &[u8] = b"erasing0";
/// Before the row of each person whose later records are not kept.
pub const SUPPRESSED: &[u8] = b"suppressed/";
/// After the row of every such person.
pub const SUPPRESSED_END: &[u8] = b"suppressed0";

/// Before the row of each month whose figures have ended.
pub const ENDED: &[u8] = b"ended/";
/// After the row of every such month.
pub const ENDED_END: &[u8] = b"ended0";
/// The row that says how many records such months had counted, all of them together.
pub const ENDED_RECORDS: &[u8] = b"ended";

/// Every kind of row of the default table; the store writes `format` itself.
pub const META_ROWS: [&str; 19] = [
    "format",
    "position",
    "vault",
    "intent",
    "mark",
    "backup",
    "destruction",
    "destruction.waits",
    "destroyed",
    "reclaim",
    "gone/",
    "held/",
    "site/",
    "token/",
    "erasing/",
    "suppressed/",
    "ended",
    "ended/",
    "desk/",
];

/// A journal group.
pub fn group(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The number of a journal group's key.
pub fn group_number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// A token's row.
pub fn token(key_id: &str) -> Vec<u8> {
    [TOKENS, key_id.as_bytes()].concat()
}

/// A desk's row of a name.
pub fn desk(name: &str) -> Vec<u8> {
    [DESK, name.as_bytes()].concat()
}

/// The days of a month in the access log, by what they begin with: from the first key up to, and
/// without, the last.
pub fn access_month(before: &[u8], month: Month) -> (Vec<u8>, Vec<u8>) {
    // After the dash comes the day, and after the dash in the alphabet the dot.
    let key = |end: &str| [before, format!("{month}{end}").as_bytes()].concat();
    (key("-"), key("."))
}

/// The row of a destroyed lot.
pub fn gone(lot: &Lot) -> Vec<u8> {
    [GONE, &encode_lot(lot)].concat()
}

/// The lot of a destroyed lot's row.
pub fn gone_lot(key: &[u8]) -> Option<Lot> {
    decode_lot(key.strip_prefix(GONE)?)
}

/// The row of an erasure.
pub fn erasing(number: u64) -> Vec<u8> {
    [ERASING, &number.to_be_bytes()].concat()
}

/// The row of a person whose later records are not kept: by the erasure that asked for it.
pub fn suppressed(site: SiteNo, number: u64) -> Vec<u8> {
    [SUPPRESSED, &site.0.to_be_bytes(), &number.to_be_bytes()].concat()
}

/// The site and the erasure of [`suppressed`].
pub fn suppressed_of(key: &[u8]) -> Option<(SiteNo, u64)> {
    let (site, number) = key.strip_prefix(SUPPRESSED)?.split_first_chunk::<4>()?;
    let number: [u8; 8] = number.try_into().ok()?;
    Some((SiteNo(u32::from_be_bytes(*site)), u64::from_be_bytes(number)))
}

/// The row of a month whose figures have ended.
pub fn ended(at: SiteMonth) -> Vec<u8> {
    [&ended_from(at.site)[..], &at.month.0.to_be_bytes()].concat()
}

/// Before the rows of a site's months whose figures have ended.
pub fn ended_from(site: SiteNo) -> Vec<u8> {
    [ENDED, &site.0.to_be_bytes()].concat()
}

/// The month of [`ended`].
pub fn ended_of(key: &[u8]) -> Option<SiteMonth> {
    let (site, month) = key.strip_prefix(ENDED)?.split_first_chunk::<4>()?;
    let month = Month(u32::from_be_bytes(month.try_into().ok()?));
    Some(SiteMonth { site: SiteNo(u32::from_be_bytes(*site)), month })
}

/// The counters of a site and month.
pub fn counters(at: SiteMonth) -> Vec<u8> {
    [at.month.0.to_be_bytes(), at.site.0.to_be_bytes()].concat()
}

/// The site and month of a counters row.
pub fn counters_of(key: &[u8]) -> Option<SiteMonth> {
    let month = u32::from_be_bytes(key.get(..4)?.try_into().ok()?);
    let site = u32::from_be_bytes(key.get(4..8)?.try_into().ok()?);
    let month = Month(month);
    (key.len() == 8).then_some(SiteMonth { site: SiteNo(site), month })
}

/// The row of everything that ever arrived; no hour has this number.
pub const ARRIVALS_TOTAL: [u8; 4] = [u8::MAX; 4];

/// The row that says before which hour reasons have ended; behind all hours and the total.
pub const ARRIVALS_REASONS: [u8; 5] = [u8::MAX, u8::MAX, u8::MAX, u8::MAX, 0];

/// The arrivals of an hour.
pub fn arrivals(hour: Hour) -> [u8; 4] {
    hour.0.to_be_bytes()
}

/// The hour of an arrivals row.
pub fn arrivals_hour(key: &[u8]) -> Option<Hour> {
    key.try_into().ok().map(|hour| Hour(u32::from_be_bytes(hour)))
}

/// A page of a run (page 0 is its head): `owner ‖ kind ‖ run ‖ page`. The owner is a site or a
/// day.
pub fn page(owner: u32, kind: u8, run: u64, page: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(17);
    key.extend_from_slice(&owner.to_be_bytes());
    key.push(kind);
    key.extend_from_slice(&run.to_be_bytes());
    key.extend_from_slice(&page.to_be_bytes());
    key
}

/// What [`page`] was made of.
pub fn page_of(key: &[u8]) -> Option<(u32, u8, u64, u32)> {
    let (owner, rest) = key.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first()?;
    let (run, rest) = rest.split_first_chunk::<8>()?;
    let page: [u8; 4] = rest.try_into().ok()?;
    Some((u32::from_be_bytes(*owner), *kind, u64::from_be_bytes(*run), u32::from_be_bytes(page)))
}

/// The row of a block: its number.
pub fn block_body(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The row of a block's header or of its key: `fragment ‖ site ‖ epoch ‖ number`. Fragments (blocks
/// too small to stay) stand together, so that a start finds them at once.
pub fn block(fragment: bool, site: SiteNo, epoch: u32, number: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(17);
    key.push(u8::from(fragment));
    key.extend_from_slice(&site.0.to_be_bytes());
    key.extend_from_slice(&epoch.to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// What [`block`] was made of.
pub fn block_of(key: &[u8]) -> Option<(bool, SiteNo, u32, u64)> {
    let (fragment, rest) = key.split_first()?;
    let (site, rest) = rest.split_first_chunk::<4>()?;
    let (epoch, rest) = rest.split_first_chunk::<4>()?;
    let number: [u8; 8] = rest.try_into().ok()?;
    let site = SiteNo(u32::from_be_bytes(*site));
    Some((*fragment == 1, site, u32::from_be_bytes(*epoch), u64::from_be_bytes(number)))
}

/// A kept answer: `arrival day ‖ keyed hash of producer and key`.
pub fn answer(day: u32, hash: &[u8; 16]) -> Vec<u8> {
    [&day.to_be_bytes()[..], hash].concat()
}

/// A backfill: its number and a zero.
pub fn backfill(number: u64) -> Vec<u8> {
    [&number.to_be_bytes()[..], &[0]].concat()
}

/// The number of a backfill whose row this is; `None` for a row of its records.
pub fn backfill_of(key: &[u8]) -> Option<u64> {
    let (number, rest) = key.split_first_chunk::<8>()?;
    (rest == [0]).then(|| u64::from_be_bytes(*number))
}

/// Records of a backfill: its number, a one, and the number of the request that brought them.
pub fn backfill_records(number: u64, load: u32) -> Vec<u8> {
    [&number.to_be_bytes()[..], &[1], &load.to_be_bytes()].concat()
}

/// All records of a backfill: from the first key up to, and without, the last.
pub fn backfill_range(number: u64) -> (Vec<u8>, Vec<u8>) {
    let part = |part: u8| [&number.to_be_bytes()[..], &[part]].concat();
    (part(1), part(2))
}

/// A copy in hold storage: `held/ ‖ hold ‖ lot`.
pub fn held(hold: HoldNo, lot: &Lot) -> Vec<u8> {
    [HELD, &hold.0.to_be_bytes(), &encode_lot(lot)].concat()
}

/// The hold and the lot of [`held`].
pub fn held_of(key: &[u8]) -> Option<(HoldNo, Lot)> {
    let (hold, lot) = key.strip_prefix(HELD)?.split_first_chunk::<8>()?;
    Some((HoldNo(u64::from_be_bytes(*hold)), decode_lot(lot)?))
}

/// A row of a lot in hold storage: `lot ‖ part ‖ key that the row had`. Parts are 1 block,
/// 2 header, 3 run of a set.
pub fn hold_row(lot: &Lot, part: u8, key: &[u8]) -> Vec<u8> {
    [&encode_lot(lot)[..], &[part], key].concat()
}

/// The part and the key of [`hold_row`].
pub fn hold_row_of(key: &[u8]) -> Option<(u8, &[u8])> {
    let (part, key) = key.get(LOT_BYTES..)?.split_first()?;
    Some((*part, key))
}

/// All rows of a lot in hold storage: from the first key up to, and without, the last.
pub fn hold_rows(lot: &Lot) -> (Vec<u8>, Vec<u8>) {
    (hold_row(lot, 0, &[]), hold_row(lot, u8::MAX, &[]))
}

/// The key of a block in hold storage: `hold ‖ lot ‖ key that the row had`.
pub fn hold_key(hold: HoldNo, lot: &Lot, key: &[u8]) -> Vec<u8> {
    [&hold.0.to_be_bytes()[..], &encode_lot(lot), key].concat()
}

/// The key that the row of [`hold_key`] had.
pub fn hold_key_of(key: &[u8]) -> Option<&[u8]> {
    key.get(8 + LOT_BYTES..)
}

/// All block keys of a copy in hold storage: from the first key up to, and without, the last. Keys
/// of blocks begin with 0 or 1.
pub fn hold_keys(hold: HoldNo, lot: &Lot) -> (Vec<u8>, Vec<u8>) {
    (hold_key(hold, lot, &[]), hold_key(hold, lot, &[u8::MAX]))
}
