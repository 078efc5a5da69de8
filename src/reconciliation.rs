//! The desk for reconciliation: what arrived from whom, by the hour, so that a producer can check
//! its own log. It names no record and no person; who sends are machines.

use std::ops::Range;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;

use crate::engine::arrivals::{ArrivalRow, credential};
use crate::engine::{Engine, EngineError};
use crate::model::arrival::{Hour, Sender};
use crate::model::caller::{Caller, Role, SiteScope};
use crate::model::ids::SiteId;
use crate::wire::arrivals::{list_to_csv, list_to_json, place_from_bytes, place_to_bytes};

/// Whether a sender is wanted.
pub type Wanted<'a> = &'a dyn Fn(&Sender) -> bool;

/// What this desk needs of the engine; a trait, so that its tests need no disk.
pub trait Arrivals: Send + Sync + 'static {
    /// What arrived in a range of hours, after a place, so many rows at most; and whether there is
    /// more.
    ///
    /// # Errors
    /// When a row cannot be read.
    fn arrivals(
        &self,
        range: Range<Hour>,
        after: Option<&(Hour, Sender)>,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<(Vec<ArrivalRow>, bool), EngineError>;
}

impl Arrivals for Engine {
    fn arrivals(
        &self,
        range: Range<Hour>,
        after: Option<&(Hour, Sender)>,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<(Vec<ArrivalRow>, bool), EngineError> {
        Self::arrivals(self, range, after, limit, wanted)
    }
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconciliationError {
    /// The cursor is none that this desk gave.
    #[error("the cursor cannot be read")]
    BadCursor,
    /// The engine cannot tell.
    #[error("the figures cannot be read")]
    Failed,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// The hours.
    pub range: Range<Hour>,
    /// Most rows of the answer.
    pub limit: usize,
    /// Where an earlier answer ended.
    pub cursor: Option<String>,
}

/// Some rows, and where they go on.
#[derive(Clone, Debug)]
pub struct Page {
    rows: Vec<ArrivalRow>,
    /// Where the next page begins; `None` on the last one.
    pub next_cursor: Option<String>,
}

impl Page {
    /// The rows as JSON, with the cursor.
    pub fn to_json(&self) -> Vec<u8> {
        list_to_json(&self.rows, self.next_cursor.as_deref())
    }

    /// The rows as CSV.
    pub fn to_csv(&self) -> Vec<u8> {
        list_to_csv(&self.rows)
    }
}

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Reconciliation {
    arrivals: Arc<dyn Arrivals>,
}

impl Reconciliation {
    /// A desk over arrivals.
    pub fn new(arrivals: Arc<dyn Arrivals>) -> Self {
        Self { arrivals }
    }

    /// What arrived: for a producer what it sent itself, for others everything of their sites, by
    /// hour and then by sender. It reads files, so it runs off the reactor.
    ///
    /// # Errors
    /// [`ReconciliationError`].
    pub fn list(&self, caller: &Caller, asked: &Question) -> Result<Page, ReconciliationError> {
        let after = match &asked.cursor {
            None => None,
            Some(cursor) => Some(read_cursor(cursor).ok_or(ReconciliationError::BadCursor)?),
        };
        let own = credential(caller);
        let wanted = |sender: &Sender| {
            let credential = &*sender.credential;
            let mine = caller.role != Role::Producer || credential.producer == own.producer;
            mine && (credential.sites == own.sites || holds(&caller.sites, &credential.sites))
        };
        let Question { range, limit, .. } = asked;
        let found = self.arrivals.arrivals(range.clone(), after.as_ref(), *limit, &wanted);
        let (rows, more) = found.map_err(|_| ReconciliationError::Failed)?;
        let last = rows.last().filter(|_| more);
        let next_cursor = last.map(|(hour, sender, _)| write_cursor(*hour, sender));
        Ok(Page { rows, next_cursor })
    }
}

/// Whether a scope holds all sites of a credential. Those that are known by a digest only are in no
/// list.
fn holds(scope: &SiteScope, sites: &str) -> bool {
    let held = |id: &str| SiteId::parse(id.as_bytes()).is_some_and(|id| scope.holds(&id));
    matches!(scope, SiteScope::All) || sites.split(',').all(held)
}

/// The last row of a page, opaque to callers so that it may change.
fn write_cursor(hour: Hour, sender: &Sender) -> String {
    BASE64URL_NOPAD.encode(&place_to_bytes(hour, sender))
}

fn read_cursor(cursor: &str) -> Option<(Hour, Sender)> {
    place_from_bytes(&BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?)
}

#[cfg(test)]
pub mod fake;

#[cfg(test)]
mod tests {
    use super::fake::{Rows, caller, sender};
    use super::*;

    fn scope(ids: &[&str]) -> SiteScope {
        SiteScope::Some(ids.iter().map(|id| SiteId::parse(id.as_bytes()).unwrap()).collect())
    }

    fn names(page: &Page) -> Vec<String> {
        let name = |(hour, sender, _): &ArrivalRow| {
            let of = &sender.credential;
            format!("{} {} {} {}", hour.0, of.producer, of.sites, sender.producer)
        };
        page.rows.iter().map(name).collect()
    }

    fn ask(limit: usize, cursor: Option<String>) -> Question {
        Question { range: Hour(0)..Hour(10), limit, cursor }
    }

    fn desk() -> Reconciliation {
        let rows = [
            (1, "p", "A", "p"),
            (1, "p", "A,B", "p"),
            (1, "q", "A", "p"),
            (2, "p", "*", "x"),
            (2, "p", "#0123", "y"),
            (2, "p", "A", ""),
            (11, "p", "A", "p"),
        ];
        Reconciliation::new(Arc::new(Rows::of(&rows)))
    }

    #[test]
    fn a_producer_sees_its_own_and_nobody_more_than_its_sites() {
        let desk = desk();
        let see = |role, name: &str, sites: SiteScope| {
            names(&desk.list(&caller(role, name, sites), &ask(99, None)).unwrap())
        };
        let own = ["1 p A p", "2 p A "];
        assert_eq!(see(Role::Producer, "p", scope(&["A"])), own);
        assert_eq!(
            see(Role::Producer, "p", scope(&["A", "B"])),
            ["1 p A p", "1 p A,B p", "2 p A "]
        );
        assert_eq!(see(Role::Producer, "p", scope(&["B"])), [""; 0]);
        assert_eq!(see(Role::Producer, "", SiteScope::All), [""; 0]);
        assert_eq!(see(Role::Producer, "p", SiteScope::All).len(), 5);
        assert_eq!(see(Role::Operator, "p", SiteScope::All).len(), 6);
        let some = ["1 p A p", "1 q A p", "2 p A "];
        assert_eq!(see(Role::Operator, "other", scope(&["A", "C"])), some);
        assert_eq!(see(Role::Auditor, "other", SiteScope::All).len(), 6);
    }

    #[test]
    fn pages_join_without_gap_or_repeat() {
        let desk = desk();
        let all = caller(Role::Operator, "o", SiteScope::All);
        let expected = names(&desk.list(&all, &ask(99, None)).unwrap());
        assert_eq!(expected.len(), 6);
        for limit in 1..=7 {
            let (mut joined, mut cursor) = (Vec::new(), None);
            loop {
                let page = desk.list(&all, &ask(limit, cursor)).unwrap();
                joined.extend(names(&page));
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(joined, expected, "{limit} a page");
        }
    }

    #[test]
    fn only_own_cursors_are_read() {
        let place = (Hour(7), sender("p", "A,B", "\"x\" y"));
        let cursor = write_cursor(place.0, &place.1);
        assert_eq!(read_cursor(&cursor), Some(place));
        for bad in ["", "A", "!!", &BASE64URL_NOPAD.encode(b"[1,2]"), &format!("{cursor}=")] {
            assert_eq!(read_cursor(bad), None, "{bad}");
        }
        let asked = ask(1, Some("x".into()));
        let all = caller(Role::Operator, "o", SiteScope::All);
        let refused = desk().list(&all, &asked);
        assert_eq!(refused.err(), Some(ReconciliationError::BadCursor));
    }
}
