//! The journal's bytes of what the writer decided about a group of batches, before they are sealed.
//!
//! Replay applies this record; it never judges again and reads no clock. The counters are absolute,
//! so that applying a group twice changes nothing.

use super::codec::{Corrupt, Put, Reader};
use crate::model::batch::{SiteMonth, Verdict};
use crate::model::ids::SiteNo;
use crate::model::time::{Month, Timestamp};
use crate::model::usage::Counters;

const VERSION: u8 = 1;

/// What the writer decided about one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupVerdict {
    /// When the group was judged.
    pub judged_at: Timestamp,
    /// The verdicts of each batch's rows.
    pub batches: Vec<Vec<Verdict>>,
    /// The counters of every site-month that the group touched, as of the group.
    pub counters: Vec<(SiteMonth, Counters)>,
}

impl GroupVerdict {
    /// Encodes the record; equal verdicts in a row are written once with their number.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.zigzag(self.judged_at.0);
        out.varint(self.batches.len() as u64);
        for rows in &self.batches {
            out.varint(rows.len() as u64);
            for run in rows.chunk_by(|left, right| left == right) {
                out.push(run[0].code());
                out.varint(run.len() as u64);
            }
        }
        out.varint(self.counters.len() as u64);
        for (at, counters) in &self.counters {
            out.varint(u64::from(at.site.0));
            out.varint(u64::from(at.month.0));
            encode_counters(counters, &mut out);
        }
        out
    }

    /// Decodes the record. `rows_max` bounds the rows of a batch, so that a corrupt run length
    /// cannot ask for unbounded memory.
    ///
    /// # Errors
    /// When the bytes do not follow the format.
    pub fn decode(bytes: &[u8], rows_max: usize) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("journal verdict", bytes);
        if reader.byte()? != VERSION {
            return Err(reader.corrupt());
        }
        let judged_at = Timestamp(reader.zigzag()?);
        let mut batches = Vec::new();
        for _ in 0..reader.count_of(1)? {
            batches.push(decode_rows(&mut reader, rows_max)?);
        }
        let mut counters = Vec::new();
        for _ in 0..reader.count_of(29)? {
            let site = SiteNo(reader.number32()?);
            let month = Month(reader.number32()?);
            counters.push((SiteMonth { site, month }, decode_counters(&mut reader)?));
        }
        reader.end()?;
        Ok(Self { judged_at, batches, counters })
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

/// Writes the 27 figures of a site-month.
pub fn encode_counters(counters: &Counters, out: &mut Vec<u8>) {
    counters.figures().for_each(|figure| out.varint(figure));
}

/// Reads the 27 figures of a site-month.
///
/// # Errors
/// When a figure is missing.
pub fn decode_counters(reader: &mut Reader<'_>) -> Result<Counters, Corrupt> {
    let mut figures = [0; 27];
    for figure in &mut figures {
        *figure = reader.varint()?;
    }
    Counters::from_figures(&figures).ok_or(reader.corrupt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn verdict()(
            at in any::<i64>(),
            batches in proptest::collection::vec(proptest::collection::vec(0u8..5, 0..40), 0..5),
            counters in proptest::collection::vec(proptest::array::uniform27(any::<u64>()), 0..4),
        ) -> GroupVerdict {
            let rows = |codes: Vec<u8>| {
                codes.into_iter().map(|code| Verdict::from_code(code).unwrap()).collect()
            };
            let at_month = |no| SiteMonth { site: SiteNo(no), month: Month(24_322) };
            GroupVerdict {
                judged_at: Timestamp(at),
                batches: batches.into_iter().map(rows).collect(),
                counters: counters.iter().enumerate()
                    .map(|(no, row)| (at_month(no as u32), Counters::from_figures(row).unwrap()))
                    .collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn verdicts_round_trip(verdict in verdict()) {
            prop_assert_eq!(GroupVerdict::decode(&verdict.encode(), 40), Ok(verdict));
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
