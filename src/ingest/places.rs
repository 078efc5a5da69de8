//! Where the records of one request belong: their sites, months and days, with the keys of each.
//! Looked up once a request; neighbors mostly belong to the same place.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::crypto::HmacKey;
use crate::engine::backfill::{Loading, mark_of};
use crate::engine::erase::Persons;
use crate::engine::{Engine, EngineError, MonthSeen, calendar};
use crate::identity::UserRules;
use crate::keys::{GroupMonthKeys, SiteMonthKeys};
use crate::model::batch::SiteMonth;
use crate::model::caller::Caller;
use crate::model::ids::{GroupId, SiteId, SiteNo};
use crate::model::pseudonym::Algorithm;
use crate::model::reason::Reason;
use crate::model::site::{Counting, MonthSpan, Site};
use crate::model::time::{Day, Month, Timestamp};
use crate::store::backfill::MARK_BYTES;
use crate::wire::Record;

/// A site's month, as this request sees it.
pub struct MonthPlace {
    /// The site.
    pub site: SiteId,
    /// Site number and month.
    pub name: SiteMonth,
    /// The keys of the month.
    pub keys: Arc<SiteMonthKeys>,
    /// What makes the site's pseudonyms.
    pub algorithm: Algorithm,
    /// How user ids are read.
    pub users: UserRules,
    /// How the month is counted.
    pub counting: Counting,
    /// The site's billing group in this month.
    pub group: Option<GroupPlace>,
    /// Persons of the site whose records are not kept.
    pub suppressed: Option<Arc<Persons>>,
    span: MonthSpan,
    /// The site as it stood when the place was made.
    seen: Arc<Site>,
}

/// A billing group's month, as this request sees it.
#[derive(Clone)]
pub struct GroupPlace {
    /// The number of its key scope.
    pub no: SiteNo,
    /// Its keys of the month.
    pub keys: Arc<GroupMonthKeys>,
    /// What makes its pseudonyms.
    pub algorithm: Algorithm,
}

/// A UTC day of a site and producer, as this request sees it.
pub struct DayPlace {
    /// The day.
    pub day: Day,
    /// Makes the seen tags of the events of this site, producer and day.
    pub key: HmacKey,
}

struct SitePlace {
    site: Arc<Site>,
    months: Vec<usize>,
    /// The days of each producer.
    days: HashMap<Box<[u8]>, Vec<usize>>,
}

/// Why a record has no place.
pub enum NoPlace {
    /// The record is refused.
    Refused(Reason),
    /// The engine cannot go on.
    Failed(EngineError),
}

impl From<Reason> for NoPlace {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl From<EngineError> for NoPlace {
    fn from(error: EngineError) -> Self {
        Self::Failed(error)
    }
}

/// The places of one request.
pub struct Places<'e> {
    engine: &'e Engine,
    caller: &'e Caller,
    now: Timestamp,
    future_ms: i64,
    floor: Day,
    /// The backfill that the records are for.
    target: Option<&'e Loading>,
    suppressions: u64,
    /// Where the site of a name is; a producer may name very many.
    names: HashMap<Box<[u8]>, usize>,
    sites: Vec<Option<SitePlace>>,
    months: Vec<MonthPlace>,
    days: Vec<DayPlace>,
}

impl<'e> Places<'e> {
    /// No places yet. Records for a backfill are its site's, and of its time however long ago that
    /// is.
    pub fn new(
        engine: &'e Engine,
        caller: &'e Caller,
        future_ms: i64,
        target: Option<&'e Loading>,
    ) -> Self {
        Self {
            engine,
            caller,
            now: engine.clock().now(),
            future_ms,
            floor: engine.seen_floor(),
            target,
            // Before any list is read: a batch that missed a change is not taken.
            suppressions: engine.suppressions(),
            names: HashMap::new(),
            sites: Vec::new(),
            months: Vec::new(),
            days: Vec::new(),
        }
    }

    /// Which lists of suppressed persons this request was compared with.
    pub fn suppressions(&self) -> u64 {
        self.suppressions
    }

    /// Whether a record is over the accepted age; the engine may still know it as a duplicate.
    pub fn is_old(&self, record: &Record<'_>) -> bool {
        if self.target.is_some() {
            return false;
        }
        let age_ms = self.now.0.saturating_sub(record.occurred_at.0);
        age_ms >= self.engine.settings().age_ms
    }

    /// The mark of a record's event, where it is for a backfill.
    pub fn mark_of(&self, record: &Record<'_>, producer: &[u8]) -> Option<[u8; MARK_BYTES]> {
        let day = record.occurred_at.day();
        self.target.map(|target| mark_of(&target.mark, producer, day, record.event_id))
    }

    /// The producer of a record: its own word where the credential allows it, else the
    /// credential's.
    ///
    /// # Errors
    /// When the credential does not allow the name.
    pub fn producer_of<'r>(&self, record: &Record<'r>) -> Result<&'r [u8], Reason>
    where
        'e: 'r,
    {
        let own = self.caller.producer.as_bytes();
        let Some(name) = record.producer else { return Ok(own) };
        let names = self.caller.producers.as_ref();
        let allowed = names
            .is_none_or(|names| name == own || names.iter().any(|known| known.as_bytes() == name));
        if allowed { Ok(name) } else { Err(Reason::ProducerNotAllowed) }
    }

    /// The month and day of a record. A month that has no row yet gets one, and its keys, before
    /// anything uses them: this waits for the disk, once for each site and month.
    ///
    /// # Errors
    /// When the record is refused or the engine cannot go on.
    pub fn of(&mut self, record: &Record<'_>, producer: &[u8]) -> Result<(usize, usize), NoPlace> {
        let at = self.site_of(record.site_id);
        let site = self.sites[at].as_ref().ok_or(Reason::UnknownSite)?;
        if site.site.terminated_at.is_some() {
            return Err(Reason::SiteTerminated.into());
        }
        if record.occurred_at.0.saturating_sub(self.now.0) > self.future_ms {
            return Err(Reason::InFuture.into());
        }
        let when = record.occurred_at;
        let day = when.day();
        match self.target {
            Some(target) if site.site.id != target.site => {
                return Err(Reason::NotInBackfill.into());
            }
            Some(Loading { job, .. }) if !(job.from..job.to).contains(&when) => {
                return Err(Reason::NotInBackfill.into());
            }
            None if day < self.floor => return Err(Reason::TooOld.into()),
            _ => {}
        }
        let month =
            site.months.iter().find(|month| self.months[**month].span.contains(when)).copied();
        let days = site.days.get(producer).map_or(&[][..], Vec::as_slice);
        let known_day = days.iter().find(|known| self.days[**known].day == day).copied();
        // In a month without a row no record was ever taken, so this is nobody's duplicate; and a
        // record that is refused must not open a month.
        if month.is_none() && self.is_old(record) && calendar::stored(&site.site, when).is_none() {
            return Err(Reason::TooOld.into());
        }
        let month = month.map_or_else(|| self.open_month(at, when), Ok)?;
        let day = known_day.map_or_else(|| self.open_day(at, day, producer), Ok)?;
        Ok((month, day))
    }

    /// The months of this request, as they were when its rows were made.
    pub fn months_seen(&self) -> Vec<MonthSeen> {
        let seen = |month: &MonthPlace| (Arc::clone(&month.seen), month.name.month);
        self.months.iter().map(seen).collect()
    }

    /// A month that [`Places::of`] answered.
    pub fn month(&self, place: usize) -> &MonthPlace {
        &self.months[place]
    }

    /// A day that [`Places::of`] answered.
    pub fn day(&self, place: usize) -> &DayPlace {
        &self.days[place]
    }

    fn site_of(&mut self, id: &[u8]) -> usize {
        if let Some(known) = self.names.get(id) {
            return *known;
        }
        let site = SiteId::parse(id)
            .filter(|id| self.caller.sites.holds(id))
            .and_then(|id| self.engine.site(&id))
            .map(|site| SitePlace { site, months: Vec::new(), days: HashMap::new() });
        self.names.insert(id.into(), self.sites.len());
        self.sites.push(site);
        self.sites.len() - 1
    }

    fn open_month(&mut self, at: usize, when: Timestamp) -> Result<usize, NoPlace> {
        let Some(place) = self.sites[at].as_mut() else {
            return Err(EngineError::NoSite.into());
        };
        if self.target.is_some() {
            // Looked at before anything is stored: a record that is refused must not open a month.
            let months = calendar::reaching(&place.site, when).map_err(EngineError::from)?;
            let span = months.into_iter().find(|span| span.contains(when));
            let span = span.ok_or(EngineError::NoSite)?;
            if !self.engine.takes_backfill(&place.site.id, span.month, span.to) {
                return Err(Reason::TooOld.into());
            }
        }
        let span = match calendar::stored(&place.site, when) {
            Some(span) => span,
            None => {
                place.site = self.engine.reach(&place.site.id, when)?;
                calendar::stored(&place.site, when).ok_or(EngineError::NoSite)?
            }
        };
        let name = SiteMonth { site: place.site.no, month: span.month };
        // It closed under a program with other rules, and is counted by no others.
        if !span.rule_set.is_known() {
            return Err(Reason::TooOld.into());
        }
        // Asked before: a month that lost a key must not get new ones. And after: it may lose one
        // at this moment.
        let keys = match self.engine.takes_records(name) {
            true => self.engine.ring().site_month(&place.site.id, span.month),
            false => return Err(Reason::TooOld.into()),
        };
        let keys = match keys {
            Ok(keys) => keys,
            Err(_) if !self.engine.takes_records(name) => return Err(Reason::TooOld.into()),
            Err(error) => return Err(EngineError::from(error).into()),
        };
        let settings = place.site.settings_in(span.month);
        let group = match &settings.billing_group {
            Some(group) => open_group(self.engine, group, span.month)?,
            None => None,
        };
        place.months.push(self.months.len());
        self.months.push(MonthPlace {
            site: place.site.id.clone(),
            name,
            keys,
            algorithm: span.pseudonyms.algorithm,
            users: UserRules::new(span.pseudonyms.users, &settings.sentinel_user_ids),
            counting: settings.counting,
            group,
            suppressed: self.engine.suppressed(place.site.no),
            span,
            seen: Arc::clone(&place.site),
        });
        Ok(self.months.len() - 1)
    }

    fn open_day(&mut self, at: usize, day: Day, producer: &[u8]) -> Result<usize, EngineError> {
        let Some(place) = self.sites[at].as_mut() else { return Err(EngineError::NoSite) };
        let site = place.site.id.as_str().as_bytes();
        let length = [u8::try_from(site.len()).unwrap_or(u8::MAX)];
        let label = [b"event/1", &length[..], site, producer].concat();
        let key = match self.target {
            // Its slot is gone, and so is the key of that: nothing is compared with these tags.
            Some(target) if day < self.floor => target.mark.subkey(&label),
            _ => self.engine.ring().seen(day)?.mac.subkey(&label),
        };
        place.days.entry(producer.into()).or_default().push(self.days.len());
        self.days.push(DayPlace { day, key });
        Ok(self.days.len() - 1)
    }
}

/// The keys of a billing group's month, made before the first record of the month uses them; `None`
/// once the group's set is destroyed, and its figures are final.
fn open_group(
    engine: &Engine,
    group: &GroupId,
    month: Month,
) -> Result<Option<GroupPlace>, EngineError> {
    let scope = engine.group_scope(group).ok_or(EngineError::NoSite)?;
    let (no, algorithm) = (scope.no, scope.algorithm);
    let name = SiteMonth { site: no, month };
    if !engine.takes_records(name) {
        return Ok(None);
    }
    match engine.ring().group_month(&scope.id, month) {
        Ok(keys) => Ok(Some(GroupPlace { no, keys, algorithm })),
        // Lost at this moment.
        Err(_) if !engine.takes_records(name) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
