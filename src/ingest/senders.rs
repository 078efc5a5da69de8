//! Who sent the records of one request, for the reconciliation: an index a record, and one name for
//! all that are alike.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::arrivals;
use crate::model::arrival::{Arrival, Credential, NAMES_MAX, OTHERS, Received, Sender};
use crate::model::caller::Caller;
use crate::model::reason::Reason;

/// Credentials whose names are remembered, at most; they are made again where they are not.
const CREDENTIALS_MAX: usize = 10_000;

/// What each credential is known by, by its key id; made once, since its sites may be many.
#[derive(Default)]
pub struct Credentials(Mutex<HashMap<String, Arc<Credential>>>);

impl Credentials {
    /// What a caller's credential is known by.
    pub fn of(&self, caller: &Caller) -> Arc<Credential> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(credential) = known.get(&caller.key_id) {
            return Arc::clone(credential);
        }
        if known.len() >= CREDENTIALS_MAX {
            known.clear();
        }
        let credential = Arc::new(arrivals::credential(caller));
        known.insert(caller.key_id.clone(), Arc::clone(&credential));
        credential
    }
}

/// The senders of a request.
pub struct Senders {
    credential: Arc<Credential>,
    arrival: Arrival,
    by_name: HashMap<Box<[u8]>, u16>,
    /// Names that are told apart beside the credential's own.
    names: usize,
    /// The sender that stands for all further names.
    others: Option<u16>,
    /// The one before; neighbors are mostly alike.
    last: u16,
    rows: usize,
}

impl Senders {
    /// Nobody yet. Without a list of names that the credential may use, the name of a record that
    /// is refused is not written down: it could be anything, and is kept for longer than records.
    pub fn new(credential: Arc<Credential>, lists_names: bool) -> Self {
        Self {
            credential,
            arrival: Arrival { lists_names, ..Arrival::default() },
            by_name: HashMap::new(),
            names: 0,
            others: None,
            last: 0,
            rows: 0,
        }
    }

    /// Notes the producer of the next row.
    pub fn row(&mut self, producer: &[u8]) {
        let sender = self.index(producer);
        self.arrival.row(sender, self.rows);
        self.rows += 1;
    }

    /// Counts a refused record; without a name that may be written down it is the credential's.
    pub fn reject(&mut self, producer: Option<&[u8]>, reason: Reason) {
        let credential = Arc::clone(&self.credential);
        let producer = producer.filter(|_| self.arrival.lists_names);
        let sender = self.index(producer.unwrap_or(credential.producer.as_bytes()));
        if let Some((_, received)) = self.arrival.senders.get_mut(usize::from(sender)) {
            received.reject(reason, 1);
        }
    }

    /// Counts a request that could not be read.
    pub fn unreadable(credential: Arc<Credential>) -> Arrival {
        let received = Received { unreadable: 1, ..Received::default() };
        Arrival { senders: vec![(Sender::own(credential), received)], ..Arrival::default() }
    }

    /// What is counted, but for the rows, which nobody has judged yet.
    pub fn finish(self) -> Arrival {
        self.arrival
    }

    fn index(&mut self, producer: &[u8]) -> u16 {
        let last = self.arrival.senders.get(usize::from(self.last));
        if last.is_some_and(|(sender, _)| sender.producer.as_bytes() == producer) {
            return self.last;
        }
        self.last = match self.by_name.get(producer) {
            Some(known) => *known,
            None => self.add(producer),
        };
        self.last
    }

    fn add(&mut self, producer: &[u8]) -> u16 {
        let name = String::from_utf8_lossy(producer);
        let sender = Sender { credential: Arc::clone(&self.credential), producer: (*name).into() };
        if sender.is_bounded() && self.names == NAMES_MAX {
            // All that come after the last name share one.
            let others = Sender { producer: OTHERS.into(), ..sender };
            let index = self.others.unwrap_or_else(|| push(&mut self.arrival, others));
            self.others = Some(index);
            return index;
        }
        self.names += usize::from(sender.is_bounded());
        let index = push(&mut self.arrival, sender);
        self.by_name.insert(producer.into(), index);
        index
    }
}

/// Adds a sender; the bounds are below what an index holds.
fn push(arrival: &mut Arrival, sender: Sender) -> u16 {
    let index = u16::try_from(arrival.senders.len()).unwrap_or(u16::MAX);
    arrival.senders.push((sender, Received::default()));
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::Verdict;

    fn of_names(lists_names: bool) -> Senders {
        let credential = Credential { producer: "own".into(), sites: "*".into() };
        Senders::new(Arc::new(credential), lists_names)
    }

    fn senders() -> Senders {
        of_names(true)
    }

    #[test]
    fn a_refused_name_that_is_not_listed_is_not_written_down() {
        for (lists_names, names) in [(true, vec!["own", "a", "b"]), (false, vec!["own", "a"])] {
            let mut senders = of_names(lists_names);
            senders.row(b"own");
            senders.row(b"a");
            senders.reject(Some(b"b"), Reason::UnknownSite);
            let judged = senders.finish().judged(&[Verdict::Accepted; 2]);
            let found: Vec<&str> = judged.iter().map(|(sender, _)| &*sender.producer).collect();
            assert_eq!(found, names);
            assert_eq!(judged.iter().map(|(_, received)| received.records()).sum::<u64>(), 3);
        }
    }

    #[test]
    fn each_record_is_its_sender_s() {
        let mut senders = senders();
        for name in ["own", "own", "a", "own", "a", "b"] {
            senders.row(name.as_bytes());
        }
        senders.reject(None, Reason::BadJson);
        senders.reject(Some(b"b"), Reason::InFuture);
        senders.reject(Some(b"c"), Reason::InFuture);
        let judged = senders.finish().judged(&[Verdict::Accepted; 6]);
        let found: Vec<(&str, u64, u64)> = judged
            .iter()
            .map(|(sender, received)| (&*sender.producer, received.accepted, received.records()))
            .collect();
        assert_eq!(found, [("own", 3, 4), ("a", 2, 2), ("b", 1, 2), ("c", 0, 1)]);
    }

    #[test]
    fn too_many_names_are_counted_together() {
        let mut senders = senders();
        let names = NAMES_MAX + 50;
        for at in 0..2 * names {
            senders.row(format!("p{}", at % names).as_bytes());
        }
        senders.reject(Some(b"one more"), Reason::TooOld);
        // Its own name has its place however late it comes.
        senders.row(b"own");
        senders.reject(None, Reason::BadJson);
        let judged = senders.finish().judged(&vec![Verdict::Accepted; 2 * names + 1]);
        assert_eq!(judged.len(), NAMES_MAX + 2);
        let of = |at: usize| {
            let (sender, received) = &judged[at];
            (&*sender.producer, received.accepted, received.records())
        };
        assert_eq!([of(0), of(NAMES_MAX - 1)], [("p0", 2, 2), ("p63", 2, 2)]);
        assert_eq!([of(NAMES_MAX), of(NAMES_MAX + 1)], [("", 100, 101), ("own", 1, 2)]);
    }

    #[test]
    fn a_request_of_one_sender_needs_no_index() {
        let mut senders = senders();
        (0..5).for_each(|_| senders.row(b"x"));
        assert!(senders.finish().sender_of.is_empty());
    }
}
