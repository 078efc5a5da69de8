//! The journal's bytes of what the writer decided about a group of batches, before they are sealed.
//!
//! Replay applies this record; it never judges again and reads no clock. The counters are absolute,
//! so that applying a group twice changes nothing.

use super::arrivals;
use super::codec::{Corrupt, Put, Reader};
use crate::model::arrival::{Arrival, Received, Sender};
use crate::model::batch::{SiteMonth, Verdict};
use crate::model::ids::SiteNo;
use crate::model::time::{Month, Timestamp};
use crate::model::usage::{Counters, Extent, Tally};

const VERSION: u8 = 4;
/// Before late rows were counted by kind; it is still read.
const VERSION_BEFORE_KINDS: u8 = 3;
/// Before late devices were counted; it is still read.
const VERSION_WITHOUT_LATE_DEVICES: u8 = 2;
/// Before arrivals were counted; it is still read.
const VERSION_WITHOUT_ARRIVALS: u8 = 1;
/// Of the row of a tally.
const TALLY_VERSION: u8 = 3;
/// Before late rows were counted by kind; it is still read.
const TALLY_VERSION_BEFORE_KINDS: u8 = 2;
/// Before late devices were counted; it is still read.
const TALLY_VERSION_WITHOUT_LATE_DEVICES: u8 = 1;

/// What the writer decided about one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupVerdict {
    /// When the group was judged.
    pub judged_at: Timestamp,
    /// The verdicts of each batch's rows.
    pub batches: Vec<Vec<Verdict>>,
    /// The time that the writer believed, by which months close.
    pub believed: Timestamp,
    /// What is counted of every site-month that the group touched, as of the group. One that is
    /// closed here and was not before was closed before the first batch of the group.
    pub tallies: Vec<(SiteMonth, Tally)>,
    /// What the group adds to the arrivals of the hour in which it was judged; each sender once, in
    /// their order.
    pub arrivals: Vec<(Sender, Received)>,
    /// How much was counted of a row; in every new group everything. A replay counts as the group
    /// was judged.
    pub extent: Extent,
}

impl GroupVerdict {
    /// Encodes the record; equal verdicts in a row are written once with their number.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![match self.extent {
            Extent::Everything => VERSION,
            Extent::LateDevices => VERSION_BEFORE_KINDS,
            Extent::LateUsers => VERSION_WITHOUT_LATE_DEVICES,
        }];
        out.zigzag(self.judged_at.0);
        out.zigzag(self.believed.0);
        out.varint(self.batches.len() as u64);
        for rows in &self.batches {
            out.varint(rows.len() as u64);
            for run in rows.chunk_by(|left, right| left == right) {
                out.push(run[0].code());
                out.varint(run.len() as u64);
            }
        }
        out.varint(self.tallies.len() as u64);
        for (at, tally) in &self.tallies {
            out.varint(u64::from(at.site.0));
            out.varint(u64::from(at.month.0));
            put_tally(&mut out, tally, self.extent);
        }
        let arrivals = self.arrivals.iter().map(|(sender, received)| (sender, received));
        arrivals::put(arrivals, &mut out);
        out
    }

    /// Decodes the record. `rows_max` bounds the rows of a batch, so that a corrupt run length
    /// cannot ask for unbounded memory.
    ///
    /// # Errors
    /// When the bytes do not follow the format.
    pub fn decode(bytes: &[u8], rows_max: usize) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("journal verdict", bytes);
        let version = reader.byte()?;
        let (extent, has_arrivals) = match version {
            VERSION => (Extent::Everything, true),
            VERSION_BEFORE_KINDS => (Extent::LateDevices, true),
            VERSION_WITHOUT_LATE_DEVICES => (Extent::LateUsers, true),
            VERSION_WITHOUT_ARRIVALS => (Extent::LateUsers, false),
            _ => return Err(reader.corrupt()),
        };
        let judged_at = Timestamp(reader.zigzag()?);
        let believed = Timestamp(reader.zigzag()?);
        let mut batches = Vec::new();
        for _ in 0..reader.count_of(1)? {
            batches.push(decode_rows(&mut reader, rows_max)?);
        }
        let mut tallies = Vec::new();
        for _ in 0..reader.count_of(2 + TALLY_BYTES_MIN)? {
            let site = SiteNo(reader.number32()?);
            let month = Month(reader.number32()?);
            tallies.push((SiteMonth { site, month }, tally(&mut reader, extent)?));
        }
        let arrivals = match has_arrivals {
            true => arrivals::take(&mut reader)?,
            // Nobody wrote down who they were from.
            false => Arrival::default().judged(&batches.concat()),
        };
        reader.end()?;
        Ok(Self { judged_at, batches, believed, tallies, arrivals, extent })
    }
}

fn decode_rows(reader: &mut Reader<'_>, rows_max: usize) -> Result<Vec<Verdict>, Corrupt> {
    let corrupt = reader.corrupt();
    let count = reader.count()?;
    if count > rows_max {
        return Err(corrupt);
    }
    let mut rows = Vec::with_capacity(count);
    while rows.len() < count {
        let verdict = Verdict::from_code(reader.byte()?).ok_or(corrupt)?;
        let run = reader.count()?;
        if run == 0 || run > count - rows.len() {
            return Err(corrupt);
        }
        rows.resize(rows.len() + run, verdict);
    }
    Ok(rows)
}

/// Least bytes of a tally: its figures, its corrections, and that it is not closed. A new one has
/// more figures, and a byte where there are no corrections.
const TALLY_BYTES_MIN: usize = Counters::FIGURES_BEFORE + 3 + 1;

fn put_tally(out: &mut Vec<u8>, tally: &Tally, extent: Extent) {
    let Tally { counters, corrections, closed_at } = tally;
    if extent == Extent::Everything {
        counters.figures().for_each(|figure| out.varint(figure));
        // Most months have none.
        let late = *corrections != Counters::default();
        out.push(u8::from(late));
        corrections.figures().filter(|_| late).for_each(|figure| out.varint(figure));
    } else {
        counters.figures().take(Counters::FIGURES_BEFORE).for_each(|figure| out.varint(figure));
        out.varint(corrections.records);
        out.varint(corrections.mau);
        out.varint(corrections.licenses_issued);
        if extent == Extent::LateDevices {
            out.varint(corrections.device_users);
        }
    }
    out.push(u8::from(closed_at.is_some()));
    if let Some(at) = closed_at {
        out.zigzag(at.0);
    }
}

/// The first figures of some counters; the rest is zero.
fn figures(reader: &mut Reader<'_>, count: usize) -> Result<Counters, Corrupt> {
    let mut figures = [0; Counters::FIGURES];
    for figure in figures.iter_mut().take(count) {
        *figure = reader.varint()?;
    }
    Counters::from_figures(&figures).ok_or(reader.corrupt())
}

fn tally(reader: &mut Reader<'_>, extent: Extent) -> Result<Tally, Corrupt> {
    let (counters, corrections) = if extent == Extent::Everything {
        let counters = figures(reader, Counters::FIGURES)?;
        let corrections = match reader.byte()? {
            0 => Counters::default(),
            1 => figures(reader, Counters::FIGURES)?,
            _ => return Err(reader.corrupt()),
        };
        (counters, corrections)
    } else {
        let counters = figures(reader, Counters::FIGURES_BEFORE)?;
        let corrections = Counters {
            records: reader.varint()?,
            mau: reader.varint()?,
            licenses_issued: reader.varint()?,
            device_users: if extent == Extent::LateDevices { reader.varint()? } else { 0 },
            ..Counters::default()
        };
        (counters, corrections)
    };
    let closed_at = match reader.byte()? {
        0 => None,
        1 => Some(Timestamp(reader.zigzag()?)),
        _ => return Err(reader.corrupt()),
    };
    Ok(Tally { counters, corrections, closed_at })
}

/// The row of a site-month's tally.
pub fn encode_tally(tally: &Tally) -> Vec<u8> {
    let mut out = vec![TALLY_VERSION];
    put_tally(&mut out, tally, Extent::Everything);
    out
}

/// Reads the row of a site-month's tally.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode_tally(bytes: &[u8]) -> Result<Tally, Corrupt> {
    let mut reader = Reader::new("counters", bytes);
    let extent = match reader.byte()? {
        TALLY_VERSION => Extent::Everything,
        TALLY_VERSION_BEFORE_KINDS => Extent::LateDevices,
        TALLY_VERSION_WITHOUT_LATE_DEVICES => Extent::LateUsers,
        _ => return Err(reader.corrupt()),
    };
    let tally = tally(&mut reader, extent)?;
    reader.end()?;
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn a_tally()(
            figures in proptest::collection::vec(any::<u64>(), Counters::FIGURES),
            late in proptest::option::of(
                proptest::collection::vec(any::<u64>(), Counters::FIGURES)
            ),
            closed_at in proptest::option::of(any::<i64>()),
        ) -> Tally {
            let counters = |figures: &Vec<u64>| Counters::from_figures(figures).unwrap();
            Tally {
                counters: counters(&figures),
                corrections: late.as_ref().map(counters).unwrap_or_default(),
                closed_at: closed_at.map(Timestamp),
            }
        }
    }

    prop_compose! {
        fn verdict()(
            at in any::<i64>(), believed in any::<i64>(),
            batches in proptest::collection::vec(proptest::collection::vec(0u8..6, 0..40), 0..5),
            tallies in proptest::collection::vec(a_tally(), 0..4),
            arrivals in arrivals::tests::arrivals(),
        ) -> GroupVerdict {
            let rows = |codes: Vec<u8>| {
                codes.into_iter().map(|code| Verdict::from_code(code).unwrap()).collect()
            };
            let at_month = |no| SiteMonth { site: SiteNo(no), month: Month(24_322) };
            GroupVerdict {
                judged_at: Timestamp(at),
                batches: batches.into_iter().map(rows).collect(),
                believed: Timestamp(believed),
                tallies: tallies.into_iter().enumerate()
                    .map(|(no, tally)| (at_month(no as u32), tally))
                    .collect(),
                arrivals,
                extent: Extent::Everything,
            }
        }
    }

    /// As it was decided when less was counted.
    fn before(mut verdict: GroupVerdict, extent: Extent) -> GroupVerdict {
        verdict.extent = extent;
        for (_, tally) in &mut verdict.tallies {
            let mut figures: Vec<u64> = tally.counters.figures().collect();
            figures[34..].fill(0);
            tally.counters = Counters::from_figures(&figures).unwrap();
            let late = &tally.corrections;
            let devices = if extent == Extent::LateUsers { 0 } else { late.device_users };
            tally.corrections = Counters {
                records: late.records,
                mau: late.mau,
                licenses_issued: late.licenses_issued,
                device_users: devices,
                ..Counters::default()
            };
        }
        verdict
    }

    proptest! {
        #[test]
        fn verdicts_round_trip(verdict in verdict()) {
            prop_assert_eq!(GroupVerdict::decode(&verdict.encode(), 40), Ok(verdict));
        }

        #[test]
        fn a_verdict_from_before_late_devices_and_kinds_is_read(verdict in verdict()) {
            for (extent, of_group, of_row) in [
                (Extent::LateUsers, 2, 1),
                (Extent::LateDevices, 3, 2),
            ] {
                let old = before(verdict.clone(), extent);
                let bytes = old.encode();
                prop_assert_eq!(bytes[0], of_group);
                prop_assert_eq!(GroupVerdict::decode(&bytes, 40), Ok(old.clone()));
                for (_, tally) in old.tallies {
                    let mut row = vec![of_row];
                    put_tally(&mut row, &tally, extent);
                    prop_assert_eq!(decode_tally(&row), Ok(tally));
                }
            }
        }

        #[test]
        fn a_verdict_from_before_arrivals_is_read(verdict in verdict()) {
            let old = before(verdict, Extent::LateUsers);
            let without = GroupVerdict { arrivals: Vec::new(), ..old };
            let mut bytes = without.encode();
            prop_assert_eq!(bytes.pop(), Some(0));
            bytes[0] = VERSION_WITHOUT_ARRIVALS;
            let read = GroupVerdict::decode(&bytes, 40).unwrap();
            let rows = without.batches.iter().map(Vec::len).sum::<usize>() as u64;
            prop_assert_eq!(read.arrivals.iter().map(|(_, of)| of.records()).sum::<u64>(), rows);
            prop_assert_eq!(GroupVerdict { arrivals: Vec::new(), ..read }, without);
        }

        #[test]
        fn tallies_round_trip(tally in a_tally(), more in any::<u8>()) {
            let mut row = encode_tally(&tally);
            prop_assert_eq!(decode_tally(&row), Ok(tally));
            row.push(more);
            prop_assert!(decode_tally(&row).is_err(), "bytes are left over");
            prop_assert!(decode_tally(&row[..row.len() - 2]).is_err());
            row.pop();
            row[0] = TALLY_VERSION + 1;
            prop_assert!(decode_tally(&row).is_err());
        }

        #[test]
        fn changed_bytes_never_panic(verdict in verdict(), at in any::<u16>(), to in any::<u8>()) {
            let mut bytes = verdict.encode();
            let at = usize::from(at) % bytes.len();
            bytes[at] = to;
            let _ = GroupVerdict::decode(&bytes, 40);
            let _ = GroupVerdict::decode(&bytes[..at], 40);
        }
    }
}
