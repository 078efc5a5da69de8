//! What is counted of every record, whoever it is about; the first pass does it.

use std::collections::{BTreeMap, HashMap};

use super::facts::Facts;
use crate::model::batch::Effect;
use crate::model::explained::{Cell, Explained, Part};
use crate::model::ids::ShortTag;
use crate::model::vocab::Quality;

/// The sums, on their way.
pub struct Totals {
    names: Names,
    issued: u64,
    seen: u64,
    unattributed: u64,
    session_licenses: u64,
    request_licenses: u64,
    requests: BTreeMap<Cell, Part>,
    by_quality: BTreeMap<Option<Quality>, Part>,
}

/// The numbers that stand for subjects inside of one report; only of those that some part had room
/// for, so they are few.
struct Names {
    /// Subjects of a part that are told apart.
    most: usize,
    numbers: HashMap<ShortTag, u32>,
}

impl Names {
    /// Adds a record to its part.
    fn add(&mut self, part: &mut Part, facts: &Facts) {
        part.records += 1;
        let Some(tag) = facts.subject() else {
            part.nameless += 1;
            return;
        };
        if part.subjects.len() >= self.most {
            return;
        }
        let next = self.numbers.len() as u32;
        let number = *self.numbers.entry(tag).or_insert(next);
        if !part.subjects.contains(&number) {
            part.subjects.push(number);
        }
    }
}

impl Totals {
    /// Nothing yet; of each part so many subjects are told apart.
    pub fn new(subjects: usize) -> Self {
        Self {
            names: Names { most: subjects, numbers: HashMap::new() },
            issued: 0,
            seen: 0,
            unattributed: 0,
            session_licenses: 0,
            request_licenses: 0,
            requests: BTreeMap::new(),
            by_quality: BTreeMap::new(),
        }
    }

    /// Takes a record.
    pub fn take(&mut self, facts: &Facts) {
        self.seen += 1;
        if let Some(cell) = facts.cell {
            self.names.add(self.requests.entry(cell).or_default(), facts);
        }
        if facts.effect != Effect::Issued {
            return;
        }
        self.issued += 1;
        self.names.add(self.by_quality.entry(facts.best_quality()).or_default(), facts);
        self.unattributed += u64::from(facts.active.is_none());
        self.session_licenses += u64::from(facts.session.is_some() && !facts.renewal);
        self.request_licenses += u64::from(facts.request.is_some());
    }

    /// Hands the sums over; answers the issued licences that are counted.
    pub fn end(self, into: &mut Explained) -> u64 {
        into.records_seen = self.seen;
        into.requests = self.requests;
        into.licenses_by_quality = self.by_quality;
        into.unattributed = self.unattributed;
        into.session_licenses = self.session_licenses;
        into.request_licenses = self.request_licenses;
        self.issued
    }
}
