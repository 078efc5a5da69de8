//! The journal's bytes of a batch, before they are sealed.
//!
//! `version ‖ months ‖ days ‖ base time ‖ n ‖ n claims ‖ details`. A claim takes 11 bytes and 12
//! for each tag that it has.

use super::codec::{Corrupt, Put, Reader};
use crate::model::batch::{Batch, Claim, Effect, SiteMonth};
use crate::model::ids::{ShortTag, SiteNo};
use crate::model::time::{Day, Month, Timestamp};
use crate::model::vocab::{DrmType, RecordType};

const VERSION: u8 = 1;
const HAS_USER: u8 = 1;
const HAS_DEVICE: u8 = 2;
const HAS_SESSION: u8 = 4;
const SENTINEL: u8 = 8;
/// In the byte of type and DRM system, whose codes leave it free.
const BY_DEVICE: u8 = 8;
/// Least bytes of a claim: month, day, kinds, flags, time, details length, seen tag.
const CLAIM_BYTES_MIN: usize = 6 + 12;

/// Encodes a batch.
pub fn encode(batch: &Batch) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + batch.claims.len() * 52 + batch.details.len());
    out.push(VERSION);
    out.varint(batch.months.len() as u64);
    for at in &batch.months {
        out.varint(u64::from(at.site.0));
        out.varint(u64::from(at.month.0));
    }
    out.varint(batch.days.len() as u64);
    for day in &batch.days {
        out.varint(u64::from(day.0));
    }
    let base = batch.claims.iter().map(|claim| claim.occurred_at.0).min().unwrap_or(0);
    out.zigzag(base);
    out.varint(batch.claims.len() as u64);
    let mut start = 0;
    for (claim, end) in batch.claims.iter().zip(&batch.ends) {
        encode_claim(&mut out, claim, base);
        out.varint(u64::from(end - start));
        start = *end;
    }
    out.extend_from_slice(&batch.details);
    out
}

fn encode_claim(out: &mut Vec<u8>, claim: &Claim, base: i64) {
    out.varint(u64::from(claim.month));
    out.varint(u64::from(claim.day));
    let by_device = if claim.by_device { BY_DEVICE } else { 0 };
    out.push(claim.kind.code() << 4 | by_device | claim.drm.code());
    let flag = |tag: &Option<ShortTag>, bit| if tag.is_some() { bit } else { 0 };
    let has = flag(&claim.user, HAS_USER)
        | flag(&claim.device, HAS_DEVICE)
        | flag(&claim.session, HAS_SESSION)
        | if claim.sentinel { SENTINEL } else { 0 };
    out.push(has << 4 | claim.effect.code());
    out.varint((claim.occurred_at.0 - base) as u64);
    out.extend_from_slice(&claim.seen.0);
    for tag in [&claim.user, &claim.device, &claim.session].into_iter().flatten() {
        out.extend_from_slice(&tag.0);
    }
}

/// Decodes a batch.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode(bytes: &[u8]) -> Result<Batch, Corrupt> {
    let mut reader = Reader::new("journal batch", bytes);
    if reader.byte()? != VERSION {
        return Err(reader.corrupt());
    }
    let mut batch = Batch::default();
    for _ in 0..reader.count_of(2)? {
        let site = SiteNo(reader.number32()?);
        batch.months.push(SiteMonth { site, month: Month(reader.number32()?) });
    }
    for _ in 0..reader.count_of(1)? {
        batch.days.push(Day(reader.number32()?));
    }
    let base = reader.zigzag()?;
    let rows = reader.count_of(CLAIM_BYTES_MIN)?;
    batch.claims.reserve_exact(rows);
    batch.ends.reserve_exact(rows);
    let mut end = 0u32;
    for _ in 0..rows {
        let claim = decode_claim(&mut reader, base)?;
        let fits = usize::from(claim.month) < batch.months.len()
            && usize::from(claim.day) < batch.days.len();
        end = reader.number32()?.checked_add(end).filter(|_| fits).ok_or(reader.corrupt())?;
        batch.claims.push(claim);
        batch.ends.push(end);
    }
    if reader.rest().len() != end as usize {
        return Err(reader.corrupt());
    }
    batch.details = reader.rest().to_vec();
    Ok(batch)
}

fn decode_claim(reader: &mut Reader<'_>, base: i64) -> Result<Claim, Corrupt> {
    let corrupt = reader.corrupt();
    let month = u16::try_from(reader.varint()?).map_err(|_| corrupt)?;
    let day = u16::try_from(reader.varint()?).map_err(|_| corrupt)?;
    let kinds = reader.byte()?;
    let flags = reader.byte()?;
    let ahead = i64::try_from(reader.varint()?).map_err(|_| corrupt)?;
    let occurred_at = Timestamp(base.checked_add(ahead).ok_or(corrupt)?);
    let seen = reader.short_tag()?;
    let mut tag = |bit| {
        if flags >> 4 & bit == 0 { Ok(None) } else { reader.short_tag().map(Some) }
    };
    Ok(Claim {
        month,
        day,
        kind: RecordType::from_code(kinds >> 4).ok_or(corrupt)?,
        drm: DrmType::from_code(kinds & 7).ok_or(corrupt)?,
        effect: Effect::from_code(flags & 15).ok_or(corrupt)?,
        occurred_at,
        seen,
        user: tag(HAS_USER)?,
        sentinel: flags >> 4 & SENTINEL != 0,
        by_device: kinds & BY_DEVICE != 0,
        device: tag(HAS_DEVICE)?,
        session: tag(HAS_SESSION)?,
        suppressed: false,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tag() -> impl Strategy<Value = Option<ShortTag>> {
        proptest::option::of(any::<[u8; 12]>().prop_map(ShortTag))
    }

    prop_compose! {
        fn claim()(
            kind in 1u8..=5, drm in 0u8..8, effect in 0u8..10, at in 0i64..4_000_000_000_000,
            seen in any::<[u8; 12]>(), user in tag(), device in tag(), session in tag(),
            detail in proptest::collection::vec(any::<u8>(), 0..20),
            month in 0usize..3, day in 0usize..3, sentinel in any::<bool>(),
            by_device in any::<bool>(),
        ) -> (Claim, Vec<u8>, usize, usize) {
            let claim = Claim {
                month: 0, day: 0, kind: RecordType::from_code(kind).unwrap(),
                drm: DrmType::from_code(drm).unwrap(), effect: Effect::from_code(effect).unwrap(),
                occurred_at: Timestamp(at), seen: ShortTag(seen), user, device, session,
                sentinel, by_device,
                suppressed: false,
            };
            (claim, detail, month, day)
        }
    }

    pub(crate) fn batch() -> impl Strategy<Value = Batch> {
        proptest::collection::vec(claim(), 0..30).prop_map(|rows| {
            let mut batch = Batch::default();
            for (mut claim, detail, month, day) in rows {
                let site = SiteNo(month as u32);
                claim.month = batch.month_index(SiteMonth { site, month: Month(24_322) }).unwrap();
                claim.day = batch.day_index(Day(20_000 + day as u32)).unwrap();
                batch.claims.push(claim);
                batch.details.extend_from_slice(&detail);
                batch.ends.push(batch.details.len() as u32);
            }
            batch
        })
    }

    proptest! {
        #[test]
        fn batches_round_trip(batch in batch()) {
            prop_assert_eq!(decode(&encode(&batch)), Ok(batch));
        }

        #[test]
        fn changed_bytes_never_panic(batch in batch(), at in any::<u16>(), to in any::<u8>()) {
            let mut bytes = encode(&batch);
            let at = usize::from(at) % bytes.len();
            bytes[at] = to;
            let _ = decode(&bytes);
            let _ = decode(&bytes[..at]);
        }
    }
}
