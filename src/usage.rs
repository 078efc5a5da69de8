//! The desk for billing questions: counts of months, never anything about a person. It names no key
//! and no pseudonym, and opens no record; where licences are explained the engine does.

mod explain;
mod group;

use std::pin::Pin;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;

use crate::engine::groups::GroupMonth;
use crate::engine::{Engine, EngineError, UsageMonth};
use crate::model::caller::Caller;
use crate::model::explained::Explained;
use crate::model::ids::{GroupId, SiteId};
use crate::model::site::Site;
use crate::model::time::Month;
use crate::wire::explained::IdQuality;
use crate::wire::usage::{self as wire, list_to_csv, list_to_json};

/// What this desk needs of the engine; a trait, so that its tests need no disk.
pub trait Counts: Send + Sync + 'static {
    /// All sites in the order of their ids.
    fn sites(&self) -> Vec<Arc<Site>>;
    /// A site's month; `None` for an unknown site only.
    ///
    /// # Errors
    /// When the engine cannot tell.
    fn usage(&self, site: &SiteId, month: Month) -> Result<Option<UsageMonth>, EngineError>;
    /// A billing group's month; `None` where no site is a member.
    ///
    /// # Errors
    /// When the engine cannot tell.
    fn group_usage(&self, group: &GroupId, month: Month)
    -> Result<Option<GroupMonth>, EngineError>;
    /// What the licences of a site's month were, and what of it is not shown.
    fn explain(&self, site: SiteId, month: Month) -> Explaining<'_>;
    /// What was made of it last; costs nothing.
    fn explained(&self, site: &SiteId, month: Month) -> Option<Arc<Explained>>;
}

/// An explanation on its way.
pub type Explaining<'a> =
    Pin<Box<dyn Future<Output = Result<Arc<Explained>, EngineError>> + Send + 'a>>;

impl Counts for Engine {
    fn sites(&self) -> Vec<Arc<Site>> {
        Self::sites(self)
    }

    fn usage(&self, site: &SiteId, month: Month) -> Result<Option<UsageMonth>, EngineError> {
        Self::usage(self, site, month)
    }

    fn group_usage(
        &self,
        group: &GroupId,
        month: Month,
    ) -> Result<Option<GroupMonth>, EngineError> {
        Self::group_usage(self, group, month)
    }

    fn explain(&self, site: SiteId, month: Month) -> Explaining<'_> {
        Box::pin(Self::explain(self, site, month))
    }

    fn explained(&self, site: &SiteId, month: Month) -> Option<Arc<Explained>> {
        Self::explained(self, site, month)
    }
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No such site, or not one of the caller's.
    #[error("there is no such site")]
    NotFound,
    /// The figures of the month were kept as long as they may be, and have ended.
    #[error("the figures of the month are not kept any more")]
    Ended,
    /// The cursor is none that this desk gave.
    #[error("the cursor cannot be read")]
    BadCursor,
    /// The engine is at work on something that comes first.
    #[error("the engine is busy")]
    Busy,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// The engine cannot tell.
    #[error("the figures cannot be read")]
    Failed,
}

impl From<EngineError> for UsageError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NoSite => Self::NotFound,
            EngineError::Ended => Self::Ended,
            EngineError::Busy => Self::Busy,
            EngineError::Stopped => Self::Stopped,
            // The engine has said why in its log.
            EngineError::DiskFull
            | EngineError::Damaged(_)
            | EngineError::Refused(_)
            | EngineError::Conflict(_)
            | EngineError::InUse => Self::Failed,
        }
    }
}

/// A question about many months.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The first month.
    pub from: Month,
    /// The last month, itself included.
    pub to: Month,
    /// Most rows of the answer.
    pub limit: usize,
    /// Where an earlier answer ended.
    pub cursor: Option<&'a str>,
}

/// Some rows, and where they go on.
#[derive(Clone, Debug)]
pub struct Page {
    rows: Vec<wire::Usage>,
    /// Where the next page begins; `None` on the last one.
    pub next_cursor: Option<String>,
}

impl Page {
    /// The rows as JSON, with the cursor.
    pub fn to_json(&self) -> Vec<u8> {
        list_to_json(&self.rows, self.next_cursor.as_deref())
    }

    /// The first row as JSON.
    pub fn to_json_single(&self) -> Vec<u8> {
        self.rows.first().map(wire::Usage::to_json).unwrap_or_default()
    }

    /// The rows as CSV.
    pub fn to_csv(&self) -> Vec<u8> {
        list_to_csv(&self.rows)
    }
}

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Usage {
    counts: Arc<dyn Counts>,
}

impl Usage {
    /// A desk over counts.
    pub fn new(counts: Arc<dyn Counts>) -> Self {
        Self { counts }
    }

    /// One month of one site; all zeros where it never had a record.
    ///
    /// # Errors
    /// [`UsageError::NotFound`], [`UsageError::Ended`], [`UsageError::Failed`].
    pub fn month(&self, caller: &Caller, site: &SiteId, month: Month) -> Result<Page, UsageError> {
        let held = caller.sites.holds(site);
        let found = if held { self.counts.usage(site, month)? } else { None };
        let row = self.row(found.ok_or(UsageError::NotFound)?);
        Ok(Page { rows: vec![row], next_cursor: None })
    }

    /// The months of the caller's sites, by site and then by month, but for those whose figures
    /// have ended.
    ///
    /// # Errors
    /// [`UsageError::BadCursor`], [`UsageError::Failed`].
    pub fn list(&self, caller: &Caller, question: &Question<'_>) -> Result<Page, UsageError> {
        let after = match question.cursor {
            None => None,
            Some(cursor) => Some(read_cursor(cursor).ok_or(UsageError::BadCursor)?),
        };
        let mut rows = Vec::new();
        let mut last = None;
        for site in self.counts.sites() {
            let done = after.as_ref().is_some_and(|(id, _)| site.id < *id);
            if done || !caller.sites.holds(&site.id) {
                continue;
            }
            let resumed = after.as_ref().filter(|(id, _)| site.id == *id);
            let mut month = question.from;
            if let Some((_, last)) = resumed {
                month = month.max(last.next());
            }
            while month <= question.to {
                if rows.len() == question.limit {
                    let next_cursor = last.map(|(id, month)| write_cursor(&id, month));
                    return Ok(Page { rows, next_cursor });
                }
                match self.counts.usage(&site.id, month) {
                    Ok(Some(found)) => rows.push(self.row(found)),
                    // A list has what there is.
                    Ok(None) | Err(EngineError::Ended) => {}
                    Err(error) => return Err(error.into()),
                }
                last = Some((site.id.clone(), month));
                month = month.next();
            }
        }
        Ok(Page { rows, next_cursor: None })
    }

    fn row(&self, usage: UsageMonth) -> wire::Usage {
        let explained = self.counts.explained(&usage.site.id, usage.span.month);
        wire::Usage {
            quality: explained.map(|explained| IdQuality::of(&explained)),
            site_id: usage.site.id.clone(),
            month: usage.span.month,
            time_zone: usage.time_zone,
            pseudonyms: usage.span.pseudonyms,
            rule_set: usage.span.rule_set,
            state: usage.state,
            closes_at: usage.closes_at,
            corrections: usage.tally.corrections,
            from: usage.span.from,
            to: usage.span.to,
            evidence: usage.evidence,
            as_of: usage.as_of,
            counters: usage.tally.counters,
        }
    }
}

/// The last site and month of a page, opaque to callers so that it may change.
pub fn write_cursor(site: &SiteId, month: Month) -> String {
    BASE64URL_NOPAD.encode(format!("{month} {site}").as_bytes())
}

/// Reads what [`write_cursor`] wrote; nothing else is a cursor.
pub fn read_cursor(cursor: &str) -> Option<(SiteId, Month)> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
    let (month, site) = bytes.split_at_checked(7)?;
    Some((SiteId::parse(site.strip_prefix(b" ")?)?, Month::parse(month)?))
}

#[cfg(test)]
pub mod fake;

#[cfg(test)]
mod tests {
    use super::fake::{Figures, caller};
    use super::*;
    use crate::model::caller::{Role, SiteScope};

    fn site(id: &str) -> SiteId {
        SiteId::parse(id.as_bytes()).unwrap()
    }

    fn month(text: &str) -> Month {
        Month::parse(text.as_bytes()).unwrap()
    }

    fn desk() -> Usage {
        Usage::new(Arc::new(Figures::of(&["A", "B", "C"])))
    }

    fn names(page: &Page) -> Vec<String> {
        let name = |row: &wire::Usage| format!("{} {}", row.site_id, row.month);
        page.rows.iter().map(name).collect()
    }

    #[test]
    fn foreign_and_unknown_sites_look_the_same() {
        let desk = desk();
        let own = caller(Role::Billing, SiteScope::Some([site("B"), site("X")].into()));
        let at = month("2026-11");
        assert_eq!(desk.month(&own, &site("A"), at).unwrap_err(), UsageError::NotFound);
        assert_eq!(desk.month(&own, &site("X"), at).unwrap_err(), UsageError::NotFound);
        assert!(desk.month(&own, &site("B"), at).is_ok());
        let question = Question { from: at, to: at, limit: 9, cursor: None };
        assert_eq!(names(&desk.list(&own, &question).unwrap()), ["B 2026-11"]);
    }

    #[test]
    fn pages_join_without_gap_or_repeat() {
        let desk = desk();
        let all = caller(Role::Operator, SiteScope::All);
        let (from, to) = (month("2026-10"), month("2026-11"));
        let whole = Question { from, to, limit: 100, cursor: None };
        let expected = names(&desk.list(&all, &whole).unwrap());
        assert_eq!(expected.len(), 6);
        for limit in 1..=7 {
            let (mut joined, mut cursor) = (Vec::new(), None::<String>);
            loop {
                let question = Question { from, to, limit, cursor: cursor.as_deref() };
                let page = desk.list(&all, &question).unwrap();
                assert!(page.rows.len() <= limit);
                joined.extend(names(&page));
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(joined, expected, "{limit} a page");
        }
        let backwards = Question { from: to, to: from, limit: 9, cursor: None };
        assert!(names(&desk.list(&all, &backwards).unwrap()).is_empty());
    }

    #[test]
    fn only_own_cursors_are_read() {
        let cursor = write_cursor(&site("A.b"), month("2026-11"));
        assert_eq!(read_cursor(&cursor), Some((site("A.b"), month("2026-11"))));
        for bad in ["", "A", "!!", &BASE64URL_NOPAD.encode(b"2026-11"), &format!("{cursor}=")] {
            assert_eq!(read_cursor(bad), None, "{bad}");
        }
    }
}
