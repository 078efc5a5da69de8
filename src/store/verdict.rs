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
use crate::model::usage::{Corrections, Counters, Tally};

const VERSION: u8 = 3;
/// Before late devices were counted; it is still read.
const VERSION_WITHOUT_LATE_DEVICES: u8 = 2;
/// Before arrivals were counted; it is still read.
const VERSION_WITHOUT_ARRIVALS: u8 = 1;
/// Of the row of a tally.
const TALLY_VERSION: u8 = 2;
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
    /// Whether devices that stand for users were counted among the corrections, as they are in
    /// every new group; a replay counts as the group was judged.
    pub late_devices: bool,
}

impl GroupVerdict {
    /// Encodes the record; equal verdicts in a row are written once with their number.
    pub fn encode(&self) -> Vec<u8> {
        let new = self.late_devices;
        let mut out = vec![if new { VERSION } else { VERSION_WITHOUT_LATE_DEVICES }];
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
            put_tally(&mut out, tally, new);
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
        let (late_devices, has_arrivals) = match version {
            VERSION => (true, true),
            VERSION_WITHOUT_LATE_DEVICES => (false, true),
            VERSION_WITHOUT_ARRIVALS => (false, false),
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
            tallies.push((SiteMonth { site, month }, tally(&mut reader, late_devices)?));
        }
        let arrivals = match has_arrivals {
            true => arrivals::take(&mut reader)?,
            // Nobody wrote down who they were from.
            false => Arrival::default().judged(&batches.concat()),
        };
        reader.end()?;
        Ok(Self { judged_at, batches, believed, tallies, arrivals, late_devices })
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

/// Least bytes of a tally: its figures, its corrections, and that it is not closed.
const TALLY_BYTES_MIN: usize = Counters::FIGURES + 3 + 1;

fn put_tally(out: &mut Vec<u8>, tally: &Tally, late_devices: bool) {
    let Tally { counters, corrections, closed_at } = tally;
    counters.figures().for_each(|figure| out.varint(figure));
    out.varint(corrections.records);
    out.varint(corrections.users);
    out.varint(corrections.licenses_issued);
    if late_devices {
        out.varint(corrections.device_users);
    }
    out.push(u8::from(closed_at.is_some()));
    if let Some(at) = closed_at {
        out.zigzag(at.0);
    }
}

fn tally(reader: &mut Reader<'_>, late_devices: bool) -> Result<Tally, Corrupt> {
    let mut figures = [0; Counters::FIGURES];
    for figure in &mut figures {
        *figure = reader.varint()?;
    }
    let counters = Counters::from_figures(&figures).ok_or(reader.corrupt())?;
    let corrections = Corrections {
        records: reader.varint()?,
        users: reader.varint()?,
        licenses_issued: reader.varint()?,
        device_users: if late_devices { reader.varint()? } else { 0 },
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
    put_tally(&mut out, tally, true);
    out
}

/// Reads the row of a site-month's tally.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode_tally(bytes: &[u8]) -> Result<Tally, Corrupt> {
    let mut reader = Reader::new("counters", bytes);
    let late_devices = match reader.byte()? {
        TALLY_VERSION => true,
        TALLY_VERSION_WITHOUT_LATE_DEVICES => false,
        _ => return Err(reader.corrupt()),
    };
    let tally = tally(&mut reader, late_devices)?;
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
            late in any::<[u64; 4]>(), closed_at in proptest::option::of(any::<i64>()),
        ) -> Tally {
            let [records, users, licenses_issued, device_users] = late;
            Tally {
                counters: Counters::from_figures(&figures).unwrap(),
                corrections: Corrections { records, users, licenses_issued, device_users },
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
                late_devices: true,
            }
        }
    }

    /// As it was decided before late devices were counted.
    fn before(mut verdict: GroupVerdict) -> GroupVerdict {
        verdict.late_devices = false;
        for (_, tally) in &mut verdict.tallies {
            tally.corrections.device_users = 0;
        }
        verdict
    }

    proptest! {
        #[test]
        fn verdicts_round_trip(verdict in verdict()) {
            prop_assert_eq!(GroupVerdict::decode(&verdict.encode(), 40), Ok(verdict));
        }

        #[test]
        fn a_verdict_from_before_late_devices_is_read(verdict in verdict()) {
            let old = before(verdict);
            let bytes = old.encode();
            prop_assert_eq!(bytes[0], VERSION_WITHOUT_LATE_DEVICES);
            prop_assert_eq!(GroupVerdict::decode(&bytes, 40), Ok(old.clone()));
            for (_, tally) in old.tallies {
                let mut row = vec![TALLY_VERSION_WITHOUT_LATE_DEVICES];
                put_tally(&mut row, &tally, false);
                prop_assert_eq!(decode_tally(&row), Ok(tally));
            }
        }

        #[test]
        fn a_verdict_from_before_arrivals_is_read(verdict in verdict()) {
            let without = GroupVerdict { arrivals: Vec::new(), ..before(verdict) };
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
