//! The rows of backfills: what one is and how it stands, and the records of each request that
//! loaded it. The first is sealed under the state key, the second under the backfill's own; both by
//! the caller.

use std::collections::BTreeMap;

use super::codec::{Corrupt, Put, Reader};
use super::details::{self, Form};
use super::{arrivals, batch as batch_format, shapes};
use crate::model::arrival::Arrival;
use crate::model::backfill::{Job, Outcomes, Stage, Why};
use crate::model::batch::{Batch, Details};
use crate::model::ids::{KeyId, SiteNo, Tag};
use crate::model::person::Person;
use crate::model::time::{Day, Month, Timestamp};

const VERSION: u8 = 1;

/// Bytes of an event's mark.
pub const MARK_BYTES: usize = 16;

/// Encodes a backfill.
pub fn encode(job: &Job) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.varint(job.number);
    out.varint(u64::from(job.site.0));
    out.push(u8::from(job.producer.is_some()));
    out.prefixed(job.producer.as_deref().unwrap_or_default().as_bytes());
    for at in [job.from, job.to, job.made_at, job.open_until] {
        out.zigzag(at.0);
    }
    out.prefixed(job.reason.as_bytes());
    out.prefixed(job.made_by.as_bytes());
    out.push(job.stage.code());
    out.push(job.why.map_or(0, Why::code));
    out.varint(job.operation);
    out.push(u8::from(job.told));
    out.varint(u64::from(job.attempts));
    out.varint(job.exact_from.map_or(0, |day| u64::from(day.0)));
    out.push(u8::from(job.ended_at.is_some()));
    out.zigzag(job.ended_at.map_or(0, |at| at.0));
    out.varint(job.key.map_or(0, |key| key.0));
    out.prefixed(&job.mark);
    for figure in [u64::from(job.loads), job.bytes, job.rejected] {
        out.varint(figure);
    }
    out.varint(job.staged.len() as u64);
    for (month, records) in &job.staged {
        out.varint(u64::from(month.0));
        out.varint(*records);
    }
    out.varint(job.outcomes.len() as u64);
    for (month, of) in &job.outcomes {
        out.varint(u64::from(month.0));
        let Outcomes { accepted, duplicates, corrected, not_retained, too_old } = of;
        for figure in [accepted, duplicates, corrected, not_retained, too_old] {
            out.varint(*figure);
        }
    }
    out
}

/// Decodes a backfill.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode(bytes: &[u8]) -> Result<Job, Corrupt> {
    let mut reader = Reader::new("backfill", bytes);
    let corrupt = reader.corrupt();
    if reader.byte()? != VERSION {
        return Err(corrupt);
    }
    let (number, site) = (reader.varint()?, SiteNo(reader.number32()?));
    let has_producer = flag(&mut reader)?;
    let producer = Some(reader.text()?.into()).filter(|_| has_producer);
    let mut at = || reader.zigzag().map(Timestamp);
    let (from, to, made_at, open_until) = (at()?, at()?, at()?, at()?);
    let (reason, made_by) = (reader.text()?.into(), reader.text()?.into());
    let stage = Stage::from_code(reader.byte()?).ok_or(corrupt)?;
    let why = match reader.byte()? {
        0 => None,
        code => Some(Why::from_code(code).ok_or(corrupt)?),
    };
    let (operation, told) = (reader.varint()?, flag(&mut reader)?);
    let attempts = reader.number32()?;
    let exact_from = Some(Day(reader.number32()?)).filter(|day| day.0 > 0);
    let has_ended = flag(&mut reader)?;
    let ended_at = Some(Timestamp(reader.zigzag()?)).filter(|_| has_ended);
    let key = Some(KeyId(reader.varint()?)).filter(|key| key.0 > 0);
    let mark = reader.prefixed()?.to_vec();
    let loads = reader.number32()?;
    let (bytes, rejected) = (reader.varint()?, reader.varint()?);
    let mut staged = BTreeMap::new();
    for _ in 0..reader.count_of(2)? {
        staged.insert(Month(reader.number32()?), reader.varint()?);
    }
    let mut outcomes = BTreeMap::new();
    for _ in 0..reader.count_of(6)? {
        let month = Month(reader.number32()?);
        let outcome = Outcomes {
            accepted: reader.varint()?,
            duplicates: reader.varint()?,
            corrected: reader.varint()?,
            not_retained: reader.varint()?,
            too_old: reader.varint()?,
        };
        outcomes.insert(month, outcome);
    }
    reader.end()?;
    Ok(Job {
        number,
        site,
        producer,
        from,
        to,
        reason,
        made_by,
        made_at,
        open_until,
        stage,
        why,
        operation,
        told,
        attempts,
        exact_from,
        ended_at,
        key,
        mark,
        loads,
        bytes,
        rejected,
        staged,
        outcomes,
    })
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Corrupt> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.corrupt()),
    }
}

/// The records of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Staged {
    /// The rows, with who sent them.
    pub batch: Batch,
    /// For each row the mark of its event, by which repetitions are found.
    pub marks: Vec<[u8; MARK_BYTES]>,
}

/// Encodes the records of a request.
pub fn encode_staged(staged: &Staged) -> Vec<u8> {
    let Staged { batch, marks } = staged;
    let mut out = vec![VERSION];
    let Arrival { senders, sender_of, lists_names } = &batch.arrival;
    out.push(u8::from(*lists_names));
    arrivals::put(senders.iter().map(|(sender, received)| (sender, received)), &mut out);
    out.varint(sender_of.len() as u64);
    sender_of.iter().for_each(|sender| out.varint(u64::from(*sender)));
    let suppressed = || batch.claims.iter().enumerate().filter(|(_, claim)| claim.suppressed);
    out.varint(suppressed().count() as u64);
    suppressed().for_each(|(row, _)| out.varint(row as u64));
    out.varint(marks.len() as u64);
    marks.iter().for_each(|mark| out.extend_from_slice(mark));
    out.extend_from_slice(&batch_format::encode(batch));
    out
}

/// Decodes the records of a request.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode_staged(bytes: &[u8]) -> Result<Staged, Corrupt> {
    let mut reader = Reader::new("records of a backfill", bytes);
    let corrupt = reader.corrupt();
    if reader.byte()? != VERSION {
        return Err(corrupt);
    }
    let lists_names = flag(&mut reader)?;
    let senders = arrivals::take(&mut reader)?;
    let mut sender_of = Vec::new();
    for _ in 0..reader.count_of(1)? {
        sender_of.push(u16::try_from(reader.varint()?).map_err(|_| corrupt)?);
    }
    let mut suppressed = Vec::new();
    for _ in 0..reader.count_of(1)? {
        suppressed.push(reader.count()?);
    }
    let mut marks = Vec::new();
    for _ in 0..reader.count_of(MARK_BYTES)? {
        marks.push(reader.array()?);
    }
    let mut batch = batch_format::decode(reader.rest())?;
    if marks.len() != batch.claims.len() || sender_of.len() > marks.len() {
        return Err(corrupt);
    }
    for row in suppressed {
        batch.claims.get_mut(row).ok_or(corrupt)?.suppressed = true;
    }
    batch.arrival = Arrival { senders, sender_of, lists_names };
    Ok(Staged { batch, marks })
}

/// Which rows of a batch are one of these persons'.
///
/// # Errors
/// When the details do not follow the format.
pub fn rows_of(details: &Details, persons: &[Person]) -> Result<Vec<bool>, Corrupt> {
    let shapes: Option<Vec<_>> = details.shapes.iter().map(|shape| shapes::fields(shape)).collect();
    let shapes = shapes.ok_or(Corrupt("shape"))?;
    let is_user = |tag: &Tag| persons.iter().any(|person| person.users.contains(tag));
    let is_device = |tag: &Tag| persons.iter().any(|person| person.devices.contains(tag));
    let mut found = Vec::with_capacity(details.rows.len());
    for (shape, _, values) in details.rows() {
        let mut reader = Reader::new("details", values);
        let mut is_one = false;
        for (field, form) in shapes.get(shape as usize).ok_or(reader.corrupt())? {
            match form {
                Form::Number => drop(reader.zigzag()?),
                Form::Text => drop(reader.prefixed()?),
                Form::Uuid => drop(reader.array::<16>()?),
                Form::Tag => is_one |= is_user(&reader.tag()?) && *field == details::USER,
                Form::Device => {
                    reader.bytes(details::DEVICE_HEAD_BYTES)?;
                    is_one |= is_device(&reader.tag()?);
                }
                Form::Word => {}
            }
        }
        reader.end()?;
        found.push(is_one);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arrival::{Received, Sender};
    use crate::model::reason::Reason;
    use crate::store::batch::tests::batch;
    use proptest::prelude::*;

    prop_compose! {
        fn staged()(
            (mut batch, _) in batch(), lists_names in any::<bool>(),
            marks in proptest::collection::vec(any::<[u8; 16]>(), 30),
            flags in proptest::collection::vec(any::<(bool, u8)>(), 30),
        ) -> Staged {
            let of = |name: &str| {
                (Sender { producer: name.into(), ..Sender::default() }, Received::default())
            };
            let mut senders = vec![of("p"), of("q"), of("")];
            senders[1].1.reject(Reason::BadTime, 3);
            batch.arrival = Arrival { senders, sender_of: Vec::new(), lists_names };
            for (row, (suppressed, sender)) in flags.iter().enumerate().take(batch.claims.len()) {
                batch.claims[row].suppressed = *suppressed;
                batch.arrival.row(u16::from(*sender) % 3, row);
            }
            let marks = marks[..batch.claims.len()].to_vec();
            Staged { batch, marks }
        }
    }

    fn job(number: u64, stage: Stage) -> Job {
        let month = |month: u32| Month(24_300 + month);
        let outcome =
            Outcomes { accepted: 5, duplicates: 4, corrected: 3, not_retained: 2, too_old: 1 };
        let is_open = matches!(stage, Stage::Loading | Stage::Closing);
        Job {
            number,
            site: SiteNo(7),
            producer: number.is_multiple_of(2).then(|| "licence server".into()),
            from: Timestamp(-5),
            to: Timestamp(1_795_320_960_000),
            reason: "the link was down".into(),
            made_by: "abcdefghijklmnop".into(),
            made_at: Timestamp(3),
            open_until: Timestamp(4),
            stage,
            why: (stage == Stage::Abandoned).then_some(Why::Expired),
            operation: 9,
            told: !is_open,
            attempts: 3,
            exact_from: (stage == Stage::Closed).then_some(Day(20_000)),
            ended_at: (!is_open).then_some(Timestamp(8)),
            key: is_open.then_some(KeyId(77)),
            mark: vec![1, 2, 3],
            loads: 12,
            bytes: 1 << 40,
            rejected: 2,
            staged: [(month(1), 8), (month(2), 9)].into(),
            outcomes: [(month(1), outcome)].into(),
        }
    }

    #[test]
    fn backfills_round_trip() {
        for (number, stage) in (0..).zip(Stage::ALL.iter().copied()) {
            let job = job(number, stage);
            let bytes = encode(&job);
            assert_eq!(decode(&bytes), Ok(job));
            for at in 0..bytes.len() {
                assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
            }
        }
        assert!(decode(&[&encode(&job(1, Stage::Closed))[..], &[0]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn records_round_trip(staged in staged()) {
            prop_assert_eq!(decode_staged(&encode_staged(&staged)), Ok(staged));
        }

        #[test]
        fn changed_bytes_never_panic(staged in staged(), at in any::<u16>(), to in any::<u8>()) {
            let mut bytes = encode_staged(&staged);
            let at = usize::from(at) % bytes.len();
            bytes[at] = to;
            let _ = decode_staged(&bytes);
            let _ = decode_staged(&bytes[..at]);
        }
    }
}
