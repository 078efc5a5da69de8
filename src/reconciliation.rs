//! The desk for reconciliation: what arrived from whom, by the hour, so that a producer can check
//! its own log. It names no record and no person; who sends are machines.

use std::ops::Range;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use tokio::sync::Semaphore;

use crate::engine::arrivals::{ArrivalRow, Look, credential};
use crate::engine::{Engine, EngineError};
use crate::model::arrival::{Hour, Place, Sender};
use crate::model::caller::{Caller, Role, SiteScope};
use crate::model::ids::SiteId;
use crate::wire::arrivals::{list_to_csv, list_to_json, place_from_bytes, place_to_bytes};

/// Most questions that are looked into at once, so that nobody takes all threads.
const READERS_MAX: usize = 2;
/// Most hours that one question looks at, whether it finds anything or not: a month of 31 days.
const HOURS_MAX: usize = 31 * 24;
/// Most senders of these hours: the bound of names of 16 hours.
const SENDERS_MAX: usize = 65_536;

/// Whether a sender is wanted.
pub type Wanted<'a> = &'a dyn Fn(&Sender) -> bool;

/// What this desk needs of the engine; a trait, so that its tests need no disk.
pub trait Arrivals: Send + Sync + 'static {
    /// What arrived in a range of hours, from a place; and where it goes on, if it does.
    ///
    /// # Errors
    /// When a row cannot be read.
    fn arrivals(
        &self,
        range: Range<Hour>,
        from: Option<&Place>,
        look: &Look,
        wanted: Wanted<'_>,
    ) -> Result<(Vec<ArrivalRow>, Option<Place>), EngineError>;
}

impl Arrivals for Engine {
    fn arrivals(
        &self,
        range: Range<Hour>,
        from: Option<&Place>,
        look: &Look,
        wanted: Wanted<'_>,
    ) -> Result<(Vec<ArrivalRow>, Option<Place>), EngineError> {
        Self::arrivals(self, range, from, look, wanted)
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
    /// Where the next page begins; `None` on the last one. A page may have one and no rows.
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
    /// Given to who looks through the hours.
    reading: Arc<Semaphore>,
}

impl Reconciliation {
    /// A desk over arrivals.
    pub fn new(arrivals: Arc<dyn Arrivals>) -> Self {
        Self { arrivals, reading: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// What arrived: for a producer what it sent itself, for others everything of their sites, by
    /// hour and then by sender. Few are looked into at once; the others wait.
    ///
    /// # Errors
    /// [`ReconciliationError`].
    pub async fn ask(&self, caller: &Caller, asked: Question) -> Result<Page, ReconciliationError> {
        let one_of_few = Arc::clone(&self.reading).acquire_owned().await;
        let one_of_few = one_of_few.map_err(|_| ReconciliationError::Failed)?;
        let (desk, caller) = (self.clone(), Arc::clone(caller));
        // It reads files. Who hangs up stops nothing, so the permit goes along.
        let looking = tokio::task::spawn_blocking(move || {
            let page = desk.list(&caller, &asked);
            drop(one_of_few);
            page
        });
        // An error means that it ended with a panic, which has been logged.
        looking.await.unwrap_or(Err(ReconciliationError::Failed))
    }

    fn list(&self, caller: &Caller, asked: &Question) -> Result<Page, ReconciliationError> {
        let from = match &asked.cursor {
            None => None,
            Some(cursor) => Some(read_cursor(cursor).ok_or(ReconciliationError::BadCursor)?),
        };
        let own = credential(caller);
        let wanted = |sender: &Sender| {
            let credential = &*sender.credential;
            let mine = caller.role != Role::Producer || credential.producer == own.producer;
            mine && (credential.sites == own.sites || holds(&caller.sites, &credential.sites))
        };
        let look = Look { rows: asked.limit, hours: HOURS_MAX, senders: SENDERS_MAX };
        let found = self.arrivals.arrivals(asked.range.clone(), from.as_ref(), &look, &wanted);
        let (rows, next) = found.map_err(|_| ReconciliationError::Failed)?;
        Ok(Page { rows, next_cursor: next.as_ref().map(write_cursor) })
    }
}

/// Whether a scope holds all sites of a credential. Those that are known by a digest only are in no
/// list.
fn holds(scope: &SiteScope, sites: &str) -> bool {
    let held = |id: &str| SiteId::parse(id.as_bytes()).is_some_and(|id| scope.holds(&id));
    matches!(scope, SiteScope::All) || sites.split(',').all(held)
}

/// Where a page ends, opaque to callers so that it may change.
fn write_cursor(place: &Place) -> String {
    BASE64URL_NOPAD.encode(&place_to_bytes(place))
}

fn read_cursor(cursor: &str) -> Option<Place> {
    place_from_bytes(&BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?)
}

#[cfg(test)]
pub mod fake;

#[cfg(test)]
mod tests {
    use super::fake::{Crowd, Rows, caller, sender};
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

    /// Who has few rows reads no further at once than who has many.
    #[test]
    fn a_question_looks_at_so_many_hours_and_then_goes_on() {
        let first = (0..1_000).map(|hour| (hour, "other", "A", "x"));
        let rows: Vec<_> = first.chain([(1_000, "p", "A", "p")]).collect();
        let desk = Reconciliation::new(Arc::new(Rows::of(&rows)));
        let own = caller(Role::Producer, "p", scope(&["A"]));
        let question = |cursor| Question { range: Hour(0)..Hour(2_000), limit: 9, cursor };
        let page = desk.list(&own, &question(None)).unwrap();
        assert_eq!(names(&page), [""; 0]);
        let cursor = page.next_cursor.clone().unwrap();
        assert_eq!(read_cursor(&cursor), Some(Place { hour: Hour(744), behind: None }));
        assert!(String::from_utf8(page.to_json()).unwrap().contains(&cursor));
        let page = desk.list(&own, &question(Some(cursor))).unwrap();
        assert_eq!((names(&page), page.next_cursor), (vec!["1000 p A p".to_owned()], None));
    }

    /// Also those whose askers have gone are looked into until they end.
    #[tokio::test]
    async fn few_questions_are_looked_into_at_once() {
        let crowd = Arc::new(Crowd::default());
        let desk = Reconciliation::new(Arc::clone(&crowd) as Arc<dyn Arrivals>);
        let all = caller(Role::Operator, "o", SiteScope::All);
        let asks: Vec<_> = (0..READERS_MAX + 1)
            .map(|_| {
                let (desk, all) = (desk.clone(), Arc::clone(&all));
                tokio::spawn(async move { desk.ask(&all, ask(9, None)).await.is_ok() })
            })
            .collect();
        // The first ones begin, and nobody waits for them any more.
        crowd.begun(READERS_MAX).await;
        asks[..READERS_MAX].iter().for_each(tokio::task::JoinHandle::abort);
        for (at, asked) in asks.into_iter().enumerate() {
            assert!(asked.await.unwrap_or(at < READERS_MAX));
        }
        assert_eq!(crowd.most(), READERS_MAX);
    }

    #[test]
    fn only_own_cursors_are_read() {
        let behind = Some(sender("p", "A,B", "\"x\" y"));
        let places = [Place { hour: Hour(7), behind }, Place { hour: Hour(9), behind: None }];
        let cursors = places.each_ref().map(write_cursor);
        assert_eq!(cursors.each_ref().map(|cursor| read_cursor(cursor)), places.map(Some));
        let padded = format!("{}=", cursors[0]);
        for bad in ["", "A", "!!", &BASE64URL_NOPAD.encode(b"[1,2]"), &padded] {
            assert_eq!(read_cursor(bad), None, "{bad}");
        }
        let asked = ask(1, Some("x".into()));
        let all = caller(Role::Operator, "o", SiteScope::All);
        let refused = desk().list(&all, &asked);
        assert_eq!(refused.err(), Some(ReconciliationError::BadCursor));
    }
}
