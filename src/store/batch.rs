//! The journal's bytes of a batch, before they are sealed.
//!
//! `version ‖ months ‖ days ‖ base time ‖ shapes ‖ words ‖ numbers ‖ n ‖ n claims ‖ values`.
//!
//! A claim takes 12 bytes and 12 for each tag that it has. Version 3 is a batch with sites of
//! billing groups: each month has the number of its group, or 0, and a claim may have a tag more.
//! Version 1 had neither shapes nor words, and rows as `store::details` writes them.

use super::codec::{Corrupt, Put, Reader};
use super::shapes;
use crate::model::batch::{Batch, Claim, DetailsRow, Effect, SiteMonth};
use crate::model::ids::{ShortTag, SiteNo};
use crate::model::time::{Day, Month, Timestamp};
use crate::model::vocab::{DrmType, RecordType};

const VERSION: u8 = 2;
const GROUPS_VERSION: u8 = 3;
const PLAIN_VERSION: u8 = 1;
const HAS_USER: u8 = 1;
const HAS_DEVICE: u8 = 2;
const HAS_SESSION: u8 = 4;
const SENTINEL: u8 = 8;
/// In the byte of type and DRM system, whose codes leave it free.
const BY_DEVICE: u8 = 8;
/// In the same byte, in version 3 only: the last tag is that of the billing group.
const HAS_GROUP: u8 = 0x80;
/// Least bytes of a claim: month, day, kinds, flags, time, details length, seen tag.
const CLAIM_BYTES_MIN: usize = 6 + 12;

/// Encodes a batch.
pub fn encode(batch: &Batch) -> Vec<u8> {
    let mut out = Vec::with_capacity(
        1_024 + batch.claims.len() * 64 + batch.details.values.len() + batch.details.texts.len(),
    );
    let grouped = !batch.groups.is_empty();
    out.push(if grouped { GROUPS_VERSION } else { VERSION });
    out.varint(batch.months.len() as u64);
    for (place, at) in batch.months.iter().enumerate() {
        out.varint(u64::from(at.site.0));
        out.varint(u64::from(at.month.0));
        if grouped {
            out.varint(batch.group_of(place).map_or(0, |group| u64::from(group.0)));
        }
    }
    out.varint(batch.days.len() as u64);
    for day in &batch.days {
        out.varint(u64::from(day.0));
    }
    let base = batch.claims.iter().map(|claim| claim.occurred_at.0).min().unwrap_or(0);
    out.zigzag(base);
    shapes::encode_common(&batch.details, &mut out);
    out.varint(batch.claims.len() as u64);
    for (claim, (shape, _, values)) in batch.claims.iter().zip(batch.details.rows()) {
        encode_claim(&mut out, claim, base);
        out.varint(u64::from(shape));
        out.varint(values.len() as u64);
    }
    out.extend_from_slice(&batch.details.values);
    out
}

fn encode_claim(out: &mut Vec<u8>, claim: &Claim, base: i64) {
    out.varint(u64::from(claim.month));
    out.varint(u64::from(claim.day));
    let by_device = if claim.by_device { BY_DEVICE } else { 0 };
    let grouped = if claim.group.is_some() { HAS_GROUP } else { 0 };
    out.push(grouped | claim.kind.code() << 4 | by_device | claim.drm.code());
    let flag = |tag: &Option<ShortTag>, bit| if tag.is_some() { bit } else { 0 };
    let has = flag(&claim.user, HAS_USER)
        | flag(&claim.device, HAS_DEVICE)
        | flag(&claim.session, HAS_SESSION)
        | if claim.sentinel { SENTINEL } else { 0 };
    out.push(has << 4 | claim.effect.code());
    out.varint((claim.occurred_at.0 - base) as u64);
    out.extend_from_slice(&claim.seen.0);
    let tags = [&claim.user, &claim.device, &claim.session, &claim.group];
    for tag in tags.into_iter().flatten() {
        out.extend_from_slice(&tag.0);
    }
}

/// Decodes a batch.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode(bytes: &[u8]) -> Result<Batch, Corrupt> {
    let mut reader = Reader::new("journal batch", bytes);
    let version = reader.byte()?;
    if ![GROUPS_VERSION, VERSION, PLAIN_VERSION].contains(&version) {
        return Err(reader.corrupt());
    }
    let mut batch = Batch::default();
    for _ in 0..reader.count_of(2)? {
        let site = SiteNo(reader.number32()?);
        let place = u16::try_from(batch.months.len()).map_err(|_| reader.corrupt())?;
        batch.months.push(SiteMonth { site, month: Month(reader.number32()?) });
        if version == GROUPS_VERSION {
            match reader.number32()? {
                0 => {}
                group => batch.set_group(place, SiteNo(group)),
            }
        }
    }
    for _ in 0..reader.count_of(1)? {
        batch.days.push(Day(reader.number32()?));
    }
    let base = reader.zigzag()?;
    // For each shape how many words a row of it has; rows of version 1 have none.
    let mut words = vec![0];
    if version != PLAIN_VERSION {
        words = shapes::decode_common(&mut reader, &mut batch.details)?;
    }
    let rows = reader.count_of(CLAIM_BYTES_MIN)?;
    batch.claims.reserve_exact(rows);
    batch.details.rows.reserve_exact(rows);
    let (mut words_end, mut end) = (0u32, 0u32);
    for _ in 0..rows {
        let claim = decode_claim(&mut reader, base, version)?;
        let fits = usize::from(claim.month) < batch.months.len()
            && usize::from(claim.day) < batch.days.len()
            && (claim.group.is_none() || batch.group_of(usize::from(claim.month)).is_some());
        let shape = if version == PLAIN_VERSION { 0 } else { reader.number32()? };
        let words = words.get(shape as usize).filter(|_| fits).ok_or(reader.corrupt())?;
        words_end = words_end.checked_add(*words).ok_or(reader.corrupt())?;
        end = reader.number32()?.checked_add(end).ok_or(reader.corrupt())?;
        batch.claims.push(claim);
        batch.details.rows.push(DetailsRow { shape, words_end, end });
    }
    if words_end as usize != batch.details.numbers.len() {
        return Err(reader.corrupt());
    }
    if reader.rest().len() != end as usize {
        return Err(reader.corrupt());
    }
    batch.details.values = reader.rest().to_vec();
    if version == PLAIN_VERSION {
        let rows: Vec<&[u8]> = batch.details.rows().map(|(_, _, values)| values).collect();
        batch.details = shapes::of_plain(rows.into_iter())?;
    }
    Ok(batch)
}

fn decode_claim(reader: &mut Reader<'_>, base: i64, version: u8) -> Result<Claim, Corrupt> {
    let corrupt = reader.corrupt();
    let month = u16::try_from(reader.varint()?).map_err(|_| corrupt)?;
    let day = u16::try_from(reader.varint()?).map_err(|_| corrupt)?;
    let kinds = reader.byte()?;
    let flags = reader.byte()?;
    let ahead = i64::try_from(reader.varint()?).map_err(|_| corrupt)?;
    let occurred_at = Timestamp(base.checked_add(ahead).ok_or(corrupt)?);
    let seen = reader.short_tag()?;
    let grouped = version == GROUPS_VERSION && kinds & HAS_GROUP != 0;
    let kind = if grouped { kinds & !HAS_GROUP } else { kinds } >> 4;
    let mut tag = |is_there: bool| is_there.then(|| reader.short_tag()).transpose();
    let has = |bit| flags >> 4 & bit != 0;
    Ok(Claim {
        month,
        day,
        kind: RecordType::from_code(kind).ok_or(corrupt)?,
        drm: DrmType::from_code(kinds & 7).ok_or(corrupt)?,
        effect: Effect::from_code(flags & 15).ok_or(corrupt)?,
        occurred_at,
        seen,
        user: tag(has(HAS_USER))?,
        sentinel: has(SENTINEL),
        by_device: kinds & BY_DEVICE != 0,
        device: tag(has(HAS_DEVICE))?,
        session: tag(has(HAS_SESSION))?,
        group: tag(grouped)?,
        suppressed: false,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::batch::{DeviceTag, Item};
    use crate::model::ids::Tag;
    use crate::model::vocab::{DeviceKind, Quality, Scope};
    use crate::store::details;
    use crate::store::shapes::DetailsWriter;
    use proptest::prelude::*;

    fn tag() -> impl Strategy<Value = Option<ShortTag>> {
        proptest::option::of(any::<[u8; 12]>().prop_map(ShortTag))
    }

    /// A value of a row's details, with its field.
    #[derive(Clone, Debug)]
    pub(crate) enum Own {
        Number(u8, i64),
        Text(u8, String),
        Uuid(u8, [u8; 16]),
        Tag(u8, [u8; 16]),
        Device([u8; 16], bool),
    }

    impl Own {
        pub(crate) fn item(&self) -> (u8, Item<'_>) {
            match self {
                Self::Number(field, number) => (*field, Item::Number(*number)),
                Self::Text(field, text) => (*field, Item::Text(text.as_bytes())),
                Self::Uuid(field, bytes) => (*field, Item::Uuid(*bytes)),
                Self::Tag(field, bytes) => (*field, Item::Tag(Tag(*bytes))),
                Self::Device(bytes, recommended) => {
                    let device = DeviceTag {
                        kind: DeviceKind::Imei,
                        quality: Quality::Good,
                        scope: Scope::Device,
                        recommended: *recommended,
                        tag: Tag(*bytes),
                    };
                    (129, Item::Device(device))
                }
            }
        }
    }

    /// Fields with few values, so that shapes and words repeat; 119 is the event id.
    pub(crate) fn own() -> impl Strategy<Value = Own> {
        prop_oneof![
            (0u8..4, any::<i64>()).prop_map(|(field, number)| Own::Number(field, number)),
            (prop_oneof![1u8..4, Just(119)], "[a-c]{0,3}").prop_map(|(f, text)| Own::Text(f, text)),
            (1u8..4, any::<[u8; 16]>()).prop_map(|(field, bytes)| Own::Uuid(field, bytes)),
            (prop_oneof![Just(0u8), Just(130)], any::<[u8; 16]>())
                .prop_map(|(field, bytes)| Own::Tag(field, bytes)),
            (any::<[u8; 16]>(), any::<bool>()).prop_map(|(tag, it)| Own::Device(tag, it)),
        ]
    }

    prop_compose! {
        fn claim()(
            kind in 1u8..=5, drm in 0u8..8, effect in 0u8..14, at in 0i64..4_000_000_000_000,
            seen in any::<[u8; 12]>(), user in tag(), device in tag(), session in tag(),
            items in proptest::collection::vec(own(), 0..6),
            month in 0usize..3, day in 0usize..3, sentinel in any::<bool>(),
            by_device in any::<bool>(), group in tag(),
        ) -> (Claim, Vec<Own>, usize, usize) {
            let claim = Claim {
                month: 0, day: 0, kind: RecordType::from_code(kind).unwrap(),
                drm: DrmType::from_code(drm).unwrap(), effect: Effect::from_code(effect).unwrap(),
                occurred_at: Timestamp(at), seen: ShortTag(seen), user, device, session,
                sentinel, by_device, group,
                suppressed: false,
            };
            (claim, items, month, day)
        }
    }

    /// A batch, and the details of its rows as `store::details` writes them.
    pub(crate) fn batch() -> impl Strategy<Value = (Batch, Vec<Vec<u8>>)> {
        (any::<bool>(), proptest::collection::vec(claim(), 0..30)).prop_map(|(grouped, rows)| {
            let mut batch = Batch::default();
            let mut writer = DetailsWriter::with_capacity(rows.len());
            let mut plain = Vec::new();
            for (mut claim, items, month, day) in rows {
                let site = SiteNo(month as u32);
                claim.month = batch.month_index(SiteMonth { site, month: Month(24_322) }).unwrap();
                claim.day = batch.day_index(Day(20_000 + day as u32)).unwrap();
                // Half of the batches are of sites without a group.
                if claim.group.is_some_and(|_| grouped) {
                    batch.set_group(claim.month, SiteNo(9 + month as u32));
                } else {
                    claim.group = None;
                }
                batch.claims.push(claim);
                let mut row = Vec::new();
                for (field, item) in items.iter().map(Own::item) {
                    writer.push(field, item);
                    details::push(&mut row, field, item);
                }
                writer.end_row();
                plain.push(row);
            }
            batch.details = writer.finish();
            (batch, plain)
        })
    }

    /// As version 1 was written.
    fn encode_plain(batch: &Batch, rows: &[Vec<u8>]) -> Vec<u8> {
        let mut out = vec![1];
        out.varint(batch.months.len() as u64);
        for at in &batch.months {
            out.varint(u64::from(at.site.0));
            out.varint(u64::from(at.month.0));
        }
        out.varint(batch.days.len() as u64);
        batch.days.iter().for_each(|day| out.varint(u64::from(day.0)));
        let base = batch.claims.iter().map(|claim| claim.occurred_at.0).min().unwrap_or(0);
        out.zigzag(base);
        out.varint(rows.len() as u64);
        for (claim, row) in batch.claims.iter().zip(rows) {
            encode_claim(&mut out, claim, base);
            out.varint(row.len() as u64);
        }
        out.extend(rows.concat());
        out
    }

    proptest! {
        #[test]
        fn batches_round_trip((batch, _) in batch()) {
            prop_assert_eq!(decode(&encode(&batch)), Ok(batch));
        }

        /// What an earlier version left in the journal is read.
        #[test]
        fn batches_of_version_1_are_read((batch, plain) in batch()) {
            let mut batch = batch;
            batch.groups.clear();
            batch.claims.iter_mut().for_each(|claim| claim.group = None);
            prop_assert_eq!(decode(&encode_plain(&batch, &plain)), Ok(batch));
        }

        #[test]
        fn changed_bytes_never_panic((batch, _) in batch(), at in any::<u16>(), to in any::<u8>()) {
            let mut bytes = encode(&batch);
            let at = usize::from(at) % bytes.len();
            bytes[at] = to;
            let _ = decode(&bytes);
            let _ = decode(&bytes[..at]);
        }
    }
}
