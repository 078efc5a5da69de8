//! The figures of arrivals: in the journal what a group adds, in their table what an hour has.
//!
//! A list is `n × (sites and producer of the credential ‖ n × (producer ‖ figures))`, so that a
//! credential is named once; names are prefixed by their length. Figures are `accepted ‖
//! duplicates ‖ corrected ‖ not retained ‖ unreadable ‖ n × (reason (1) ‖ records)`, varints; only
//! reasons that occurred are written, so that a new reason changes no row. Behind them stands 255
//! with the records whose reasons have ended.

use std::sync::Arc;

use super::codec::{Corrupt, Put, Reader};
use crate::model::arrival::{Credential, Received, Sender};
use crate::model::reason::Reason;

const VERSION: u8 = 1;
/// Stands where a reason stands, for records whose reasons have ended. No reason has this code.
const REASONS_ENDED: u8 = u8::MAX;

/// Least bytes of figures: five and the number of reasons.
const FIGURES_BYTES_MIN: usize = 6;

type Pair<'a> = (&'a Sender, &'a Received);

/// Writes what came of each sender. Those of a credential stand together.
pub fn put<'a>(list: impl Iterator<Item = (&'a Sender, &'a Received)>, out: &mut Vec<u8>) {
    let list: Vec<Pair<'_>> = list.collect();
    let same = |left: &Pair<'_>, right: &Pair<'_>| left.0.credential == right.0.credential;
    let by_credential = || list.chunk_by(same);
    out.varint(by_credential().count() as u64);
    for of in by_credential() {
        let credential = &of[0].0.credential;
        out.prefixed(credential.sites.as_bytes());
        out.prefixed(credential.producer.as_bytes());
        out.varint(of.len() as u64);
        for (sender, received) in of {
            out.prefixed(sender.producer.as_bytes());
            put_figures(received, out);
        }
    }
}

/// Reads what [`put`] wrote.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn take(reader: &mut Reader<'_>) -> Result<Vec<(Sender, Received)>, Corrupt> {
    let mut list = Vec::new();
    for _ in 0..reader.count_of(3)? {
        let (sites, producer) = (reader.text()?.into(), reader.text()?.into());
        let credential = Arc::new(Credential { producer, sites });
        for _ in 0..reader.count_of(1 + FIGURES_BYTES_MIN)? {
            let producer = reader.text()?.into();
            let sender = Sender { credential: Arc::clone(&credential), producer };
            list.push((sender, take_figures(reader)?));
        }
    }
    Ok(list)
}

fn put_figures(received: &Received, out: &mut Vec<u8>) {
    let Received { accepted, duplicates, corrected, not_retained, unreadable, .. } = received;
    for figure in [accepted, duplicates, corrected, not_retained, unreadable] {
        out.varint(*figure);
    }
    let reasons = || received.by_reason().filter(|(_, records)| *records > 0);
    let ended = Some(received.reasons_ended).filter(|records| *records > 0);
    out.varint(reasons().count() as u64 + u64::from(ended.is_some()));
    for (reason, records) in reasons() {
        out.push(reason.code());
        out.varint(records);
    }
    if let Some(records) = ended {
        out.push(REASONS_ENDED);
        out.varint(records);
    }
}

fn take_figures(reader: &mut Reader<'_>) -> Result<Received, Corrupt> {
    let mut received = Received {
        accepted: reader.varint()?,
        duplicates: reader.varint()?,
        corrected: reader.varint()?,
        not_retained: reader.varint()?,
        unreadable: reader.varint()?,
        ..Received::default()
    };
    let mut last = 0;
    for _ in 0..reader.count_of(2)? {
        let (code, records) = (reader.byte()?, reader.varint()?);
        if code <= last || records == 0 {
            return Err(reader.corrupt());
        }
        last = code;
        if code == REASONS_ENDED {
            received.reasons_ended = records;
            continue;
        }
        received.reject(Reason::from_code(code).ok_or(reader.corrupt())?, records);
    }
    Ok(received)
}

/// The row of an hour.
pub fn encode_hour<'a>(list: impl Iterator<Item = (&'a Sender, &'a Received)>) -> Vec<u8> {
    let mut row = vec![VERSION];
    put(list, &mut row);
    row
}

/// Reads the row of an hour.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode_hour(bytes: &[u8]) -> Result<Vec<(Sender, Received)>, Corrupt> {
    let mut reader = versioned(bytes)?;
    let list = take(&mut reader)?;
    reader.end()?;
    Ok(list)
}

/// Everything that ever arrived, and how many records were counted before arrivals were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// What arrived.
    pub received: Received,
    /// Records that were counted before.
    pub before: u64,
}

impl Total {
    /// Its row.
    pub fn encode(&self) -> Vec<u8> {
        let mut row = vec![VERSION];
        row.varint(self.before);
        put_figures(&self.received, &mut row);
        row
    }

    /// Reads its row.
    ///
    /// # Errors
    /// When the bytes do not follow the format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = versioned(bytes)?;
        let before = reader.varint()?;
        let received = take_figures(&mut reader)?;
        reader.end()?;
        Ok(Self { received, before })
    }
}

fn versioned(bytes: &[u8]) -> Result<Reader<'_>, Corrupt> {
    let mut reader = Reader::new("arrivals", bytes);
    if reader.byte()? == VERSION { Ok(reader) } else { Err(reader.corrupt()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn figures()(
            five in any::<[u64; 5]>(),
            reasons_ended in prop_oneof![Just(0), any::<u64>()],
            rejected in proptest::collection::vec(
                prop_oneof![Just(0), any::<u64>()], Reason::ALL.len(),
            ),
        ) -> Received {
            let [accepted, duplicates, corrected, not_retained, unreadable] = five;
            let mut received = Received {
                accepted, duplicates, corrected, not_retained, unreadable, reasons_ended,
                ..Received::default()
            };
            received.rejected.copy_from_slice(&rejected);
            received
        }
    }

    /// Lists in the order of their senders, each once.
    pub(crate) fn arrivals() -> impl Strategy<Value = Vec<(Sender, Received)>> {
        let one = ("[a-z]{0,2}", "[^x]{0,2}", "[^x]{0,2}", figures());
        let of = |(sites, name, producer, received): (String, String, String, Received)| {
            let credential = Arc::new(Credential { producer: name.into(), sites: sites.into() });
            (Sender { credential, producer: producer.into() }, received)
        };
        proptest::collection::vec(one.prop_map(of), 0..5).prop_map(|list| {
            let sorted: std::collections::BTreeMap<_, _> = list.into_iter().collect();
            sorted.into_iter().collect()
        })
    }

    proptest! {
        #[test]
        fn arrivals_round_trip(list in arrivals(), more in any::<u8>()) {
            let mut row = encode_hour(list.iter().map(|(sender, received)| (sender, received)));
            prop_assert_eq!(decode_hour(&row), Ok(list));
            row.push(more);
            prop_assert!(decode_hour(&row).is_err(), "bytes are left over");
            row.pop();
            row[0] = VERSION + 1;
            prop_assert!(decode_hour(&row).is_err());
        }

        #[test]
        fn totals_round_trip(received in figures(), before in any::<u64>(), more in any::<u8>()) {
            let total = Total { received, before };
            let mut row = total.encode();
            prop_assert_eq!(Total::decode(&row), Ok(total));
            prop_assert!(Total::decode(&row[..row.len() - 1]).is_err());
            row.push(more);
            prop_assert!(Total::decode(&row).is_err());
        }

        #[test]
        fn changed_bytes_never_panic(list in arrivals(), at in any::<u16>(), to in any::<u8>()) {
            let mut row = encode_hour(list.iter().map(|(sender, received)| (sender, received)));
            let at = usize::from(at) % row.len();
            row[at] = to;
            let _ = decode_hour(&row);
            let _ = decode_hour(&row[..at]);
        }
    }

    #[test]
    fn a_reason_stands_once_and_in_order() {
        let mut received = Received::default();
        received.reject(Reason::BadJson, 1);
        received.reject(Reason::BadTime, 2);
        let mut row = Total { received, before: 0 }.encode();
        let at = row.len() - 4;
        assert_eq!(row[at..], [Reason::BadJson.code(), 1, Reason::BadTime.code(), 2]);
        row.swap(at, at + 2);
        assert!(Total::decode(&row).is_err());
    }

    #[test]
    fn ended_reasons_stand_behind_all_others() {
        assert_eq!(Reason::from_code(REASONS_ENDED), None, "no reason has the code");
        let mut received = Received { reasons_ended: 7, ..Received::default() };
        let plain = Total { received: received.clone(), before: 0 }.encode();
        assert_eq!(plain[plain.len() - 3..], [1, REASONS_ENDED, 7]);
        received.reject(Reason::BadJson, 1);
        let mut row = Total { received, before: 0 }.encode();
        let at = row.len() - 5;
        assert_eq!(row[at..], [2, Reason::BadJson.code(), 1, REASONS_ENDED, 7]);
        row[at + 4] = 0;
        assert!(Total::decode(&row).is_err(), "nought is not written");
        row[at..].copy_from_slice(&[2, REASONS_ENDED, 7, Reason::BadJson.code(), 1]);
        assert!(Total::decode(&row).is_err());
    }
}
