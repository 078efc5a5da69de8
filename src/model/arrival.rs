//! What arrived from whom, by the hour: the figures that a producer checks its own log against.
//!
//! Everything that a request brought is counted once: a record as accepted, duplicate or rejected,
//! a request that could not be read as one unreadable request.

use std::sync::Arc;

use super::batch::Verdict;
use super::reason::Reason;
use super::time::{Day, Timestamp};

/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Most producer names of a credential in an hour, and so of a request, that are told apart beside
/// its own; records of further names are counted under the credential and [`OTHERS`].
pub const NAMES_MAX: usize = 64;
/// Most such names of all credentials in an hour.
pub const HOUR_NAMES_MAX: usize = 4_096;
/// Stands for the producers beyond [`NAMES_MAX`]. No producer has an empty name.
pub const OTHERS: &str = "";
/// How long the figures of an hour are kept, days: a year, and a month to look at it.
pub const KEPT_DAYS: u32 = 400;

/// A UTC hour, counted from 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hour(pub u32);

impl Hour {
    /// The hour of an instant.
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.0.div_euclid(HOUR_MS)).unwrap_or(0))
    }

    /// The first hour that begins at an instant or after it.
    pub fn from(at: Timestamp) -> Self {
        Self::of(Timestamp(at.0.saturating_add(HOUR_MS - 1)))
    }

    /// Its first instant.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * HOUR_MS)
    }

    /// The first hour that is kept on a day.
    pub fn first_kept(today: Day) -> Self {
        Self(today.0.saturating_sub(KEPT_DAYS) * 24)
    }
}

/// What a credential is known by, over its rotation: names of machines and customers, never of
/// people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Credential {
    /// Its producer name.
    pub producer: Box<str>,
    /// Its sites: `*`, or their ids in order with commas between, or `#` and a digest of these
    /// where they are many.
    pub sites: Box<str>,
}

/// Who sent a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sender {
    /// The credential.
    pub credential: Arc<Credential>,
    /// The producer that the record names, else the credential's; or [`OTHERS`].
    pub producer: Box<str>,
}

impl Sender {
    /// A credential under its own producer name.
    pub fn own(credential: Arc<Credential>) -> Self {
        let producer = credential.producer.clone();
        Self { credential, producer }
    }

    /// Whether the name is one of those of which there are so many at most.
    pub fn is_bounded(&self) -> bool {
        self.producer != self.credential.producer && &*self.producer != OTHERS
    }
}

/// A place in the order of hours and their senders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The hour.
    pub hour: Hour,
    /// The sender that it is behind; `None` = before the hour's first.
    pub behind: Option<Sender>,
}

/// What came of one sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Records that were counted, corrections and what was not kept included.
    pub accepted: u64,
    /// Records that were known.
    pub duplicates: u64,
    /// Of the accepted: those for a closed month.
    pub corrected: u64,
    /// Of the accepted: those that were not kept.
    pub not_retained: u64,
    /// Requests that could not be read as a whole.
    pub unreadable: u64,
    /// Records that were refused, in the order of [`Reason::ALL`].
    pub rejected: [u64; Reason::ALL.len()],
    /// Records that were refused so long ago that nobody knows any more why (class C9).
    pub reasons_ended: u64,
}

impl Received {
    /// Records that came: accepted, duplicates and rejected.
    pub fn records(&self) -> u64 {
        self.accepted + self.duplicates + self.refused()
    }

    /// Records that were refused, known why or not.
    pub fn refused(&self) -> u64 {
        self.rejected.iter().fold(self.reasons_ended, |sum, records| sum.saturating_add(*records))
    }

    /// Forgets why records were refused, and keeps how many they were; whether it knew.
    pub fn end_reasons(&mut self) -> bool {
        let knew = self.rejected.iter().any(|records| *records > 0);
        self.reasons_ended = self.refused();
        self.rejected = Default::default();
        knew
    }

    /// The refused records by reason.
    pub fn by_reason(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().copied().zip(self.rejected)
    }

    /// Counts a judged row.
    fn judge(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Duplicate => self.duplicates += 1,
            Verdict::TooOld => self.reject(Reason::TooOld, 1),
            taken => {
                self.accepted += 1;
                self.corrected += u64::from(taken.is_correction());
                let lost = matches!(taken, Verdict::NotRetained | Verdict::CorrectionNotRetained);
                self.not_retained += u64::from(lost);
            }
        }
    }

    /// Counts refused records.
    pub fn reject(&mut self, reason: Reason, records: u64) {
        if let Some(figure) = self.rejected.get_mut(usize::from(reason.code()) - 1) {
            *figure += records;
        }
    }

    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.corrected += other.corrected;
        self.not_retained += other.not_retained;
        self.unreadable += other.unreadable;
        self.reasons_ended += other.reasons_ended;
        self.rejected.iter_mut().zip(other.rejected).for_each(|(figure, more)| *figure += more);
    }
}

/// Who sent the rows of a batch, and what of the request never became a row. All senders are of one
/// credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The senders of the request: [`NAMES_MAX`], the credential itself and [`OTHERS`] at most.
    pub senders: Vec<(Sender, Received)>,
    /// The sender of each row, as an index; empty where all rows are of the first.
    pub sender_of: Vec<u16>,
    /// Whether the credential lists the names that its records may carry. Without a list a record
    /// that is refused could carry anything, so its name is not written down.
    pub lists_names: bool,
}

impl Arrival {
    /// Notes the sender of the next row, of which there were `rows` before.
    pub fn row(&mut self, sender: u16, rows: usize) {
        if sender > 0 || !self.sender_of.is_empty() {
            self.sender_of.resize(rows, 0);
            self.sender_of.push(sender);
        }
    }

    /// What it takes of the memory, bytes.
    pub fn bytes(&self) -> usize {
        let names = self.senders.iter().map(|(sender, _)| sender.producer.len());
        self.senders.len() * size_of::<(Sender, Received)>()
            + self.sender_of.len() * size_of::<u16>()
            + names.sum::<usize>()
    }

    /// What came of each sender, once the rows are judged: what is refused now is the credential's
    /// own where it lists no names. Rows of nobody (there are none but in tests) are counted for a
    /// sender without names.
    pub fn judged(mut self, verdicts: &[Verdict]) -> Vec<(Sender, Received)> {
        if self.senders.is_empty() && !verdicts.is_empty() {
            self.senders.push(Default::default());
        }
        let hides = |sender: &Sender, verdict: Verdict| {
            verdict == Verdict::TooOld && !self.lists_names && sender.is_bounded()
        };
        let last = self.senders.len().saturating_sub(1);
        let mut own = None;
        for (row, verdict) in verdicts.iter().enumerate() {
            let sender = self.sender_of.get(row).map_or(0, |sender| usize::from(*sender));
            let mut at = sender.min(last);
            if let Some((sender, _)) = self.senders.get(at).filter(|(of, _)| hides(of, *verdict)) {
                let credential = Arc::clone(&sender.credential);
                at = *own.get_or_insert_with(|| place_of_own(&mut self.senders, credential));
            }
            if let Some((_, received)) = self.senders.get_mut(at) {
                received.judge(*verdict);
            }
        }
        let is_empty = |(_, received): &(Sender, Received)| *received == Received::default();
        // A name of which nothing was taken is not written down either.
        self.senders.retain(|of| self.lists_names || !of.0.is_bounded() || !is_empty(of));
        self.senders
    }
}

/// Where the credential itself stands among its senders.
fn place_of_own(senders: &mut Vec<(Sender, Received)>, credential: Arc<Credential>) -> usize {
    let own = Sender::own(credential);
    let known = senders.iter().position(|(sender, _)| *sender == own);
    known.unwrap_or_else(|| {
        senders.push((own, Received::default()));
        senders.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_of_utc() {
        let at = |text: &str| Timestamp::parse(text.as_bytes()).unwrap();
        let hour = Hour::of(at("2026-11-26T02:59:59.999Z"));
        assert_eq!(hour.start(), at("2026-11-26T02:00:00Z"));
        assert_eq!(Hour::of(hour.start()), hour);
        assert_eq!(Hour::from(hour.start()), hour);
        assert_eq!(Hour::from(at("2026-11-26T02:00:00.001Z")), Hour(hour.0 + 1));
        assert_eq!(Hour::of(Timestamp(-1)), Hour(0));
        assert_eq!(Hour::first_kept(Day(401)), Hour(24));
        assert_eq!(Hour::first_kept(Day(7)), Hour(0));
    }

    #[test]
    fn rows_are_counted_for_their_sender() {
        let of = |name: &str| {
            (Sender { producer: name.into(), ..Sender::default() }, Default::default())
        };
        let senders = vec![of("a"), of("b")];
        let mut arrival = Arrival { senders, sender_of: Vec::new(), lists_names: true };
        for (row, sender) in [0, 0, 1, 0, 1, 0].into_iter().enumerate() {
            arrival.row(sender, row);
        }
        arrival.senders[0].1.reject(Reason::BadJson, 2);
        let verdicts = [
            Verdict::Accepted,
            Verdict::Duplicate,
            Verdict::CorrectionNotRetained,
            Verdict::TooOld,
            Verdict::Correction,
            Verdict::NotRetained,
        ];
        let judged = arrival.judged(&verdicts);
        let mut first =
            Received { accepted: 2, duplicates: 1, not_retained: 1, ..Default::default() };
        first.reject(Reason::TooOld, 1);
        first.reject(Reason::BadJson, 2);
        let second = Received { accepted: 2, corrected: 2, not_retained: 1, ..Received::default() };
        assert_eq!([&judged[0].1, &judged[1].1], [&first, &second]);
        assert_eq!(judged.iter().map(|(_, received)| received.records()).sum::<u64>(), 8);
        let mut twice = first.clone();
        twice.add(&first);
        assert_eq!((twice.records(), twice.rejected[13]), (12, 2));
    }

    #[test]
    fn what_is_refused_carries_no_name_that_is_not_listed() {
        let credential = Arc::new(Credential { producer: "own".into(), sites: "*".into() });
        let judged = |names: &[&str], verdicts: &[Verdict], lists_names: bool| {
            let mut arrival = Arrival { lists_names, ..Arrival::default() };
            for (row, name) in names.iter().enumerate() {
                let sender =
                    Sender { credential: Arc::clone(&credential), producer: (*name).into() };
                arrival.senders.push((sender, Received::default()));
                arrival.row(u16::try_from(row).unwrap(), row);
            }
            let found = arrival.judged(verdicts).into_iter();
            let figures = |(sender, received): (Sender, Received)| {
                (sender.producer.to_string(), received.accepted, received.records())
            };
            found.map(figures).collect::<Vec<_>>()
        };
        let of = |name: &str, accepted, records| (name.to_owned(), accepted, records);
        let (good, old) = (Verdict::Accepted, Verdict::TooOld);
        let own = [of("own", 0, 1)];
        assert_eq!(judged(&["a"], &[old], false), own);
        assert_eq!(judged(&["a"], &[good], false), [of("a", 1, 1)]);
        assert_eq!(judged(&["a"], &[old], true), [of("a", 0, 1)]);
        assert_eq!(judged(&["own"], &[old], false), own);
        assert_eq!(judged(&[OTHERS], &[old], false), [of(OTHERS, 0, 1)]);
        let three = judged(&["a", "own", "b"], &[old, good, old], false);
        assert_eq!(three, [of("own", 1, 3)]);
        let three = judged(&["a", "b", "c"], &[old, good, old], false);
        assert_eq!(three, [of("b", 1, 1), of("own", 0, 2)]);
    }

    #[test]
    fn reasons_end_and_their_sum_stays() {
        let mut received = Received { accepted: 3, duplicates: 2, ..Received::default() };
        assert!(!received.end_reasons());
        received.reject(Reason::BadJson, 4);
        received.reject(Reason::TooOld, 5);
        let before = received.records();
        assert!(received.end_reasons());
        assert_eq!((received.records(), received.reasons_ended), (before, 9));
        assert_eq!(received.by_reason().map(|(_, records)| records).sum::<u64>(), 0);
        assert!(!received.end_reasons());
        let mut sum = Received::default();
        sum.reject(Reason::BadJson, 1);
        sum.add(&received);
        assert_eq!((sum.reasons_ended, sum.refused()), (9, 10));
        assert!(sum.end_reasons());
        assert_eq!((sum.reasons_ended, sum.records()), (10, 15));
    }

    #[test]
    fn rows_of_nobody_are_counted() {
        let judged = Arrival::default().judged(&[Verdict::Accepted]);
        assert_eq!(judged[0].1.accepted, 1);
        assert!(Arrival::default().judged(&[]).is_empty());
    }
}
