//! Months in memory, for tests of this desk and of the rooms above.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::months::{Change, Compared, ListKeys, Months, Recount};
use super::{Billing, Ledger, Settings};
use crate::crypto::{BaseKey, SealKey, Secret, TagKey};
use crate::engine::groups::GroupMonth;
use crate::engine::{EngineError, UsageMonth};
use crate::identity::Listed;
use crate::keys::{SiteMonthIds, SiteMonthKeys};
use crate::model::explained::{Explained, Limits};
use crate::model::ids::{GroupId, KeyId, ShortTag, SiteId, SiteNo};
use crate::model::pseudonym::{Algorithm, Pseudonyms};
use crate::model::rules::RuleSet;
use crate::model::site::{MonthSpan, Site, SiteSettings};
use crate::model::time::{Clock, Month, Timestamp};
use crate::model::usage::{Counters, Evidence, State, Tally};

/// What happens while the sets of a statement are counted.
type Meanwhile = Box<dyn Fn(&Memory) + Send>;

/// What keeps the quality of a site's ids from being told at once.
#[derive(Clone, Copy)]
pub enum Trouble {
    /// It is never done.
    Stuck,
    /// It is done when somebody comes back for it.
    Slow,
    /// It was asked for too soon, the first time.
    Busy,
}

/// No site, or one whose months are all alike.
#[derive(Default)]
pub struct Memory {
    /// What every month says.
    pub usage: Mutex<Option<UsageMonth>>,
    /// Months of which nothing was ever sent.
    pub silent: Mutex<BTreeSet<Month>>,
    /// Months in which nobody is a member of the only group.
    pub deserted: Mutex<BTreeSet<Month>>,
    /// What every month of the only group says.
    pub group: Mutex<Option<GroupMonth>>,
    /// What the sets hold.
    pub recount: Mutex<Option<Recount>>,
    /// What happens while they are counted.
    pub meanwhile: Mutex<Option<Meanwhile>>,
    /// The keys of every month.
    pub keys: Mutex<Option<Arc<SiteMonthKeys>>>,
    /// The users of every month.
    pub users: Mutex<BTreeSet<ShortTag>>,
    /// The users that came late for every month.
    pub late: Mutex<BTreeSet<ShortTag>>,
    /// Why the quality of ids cannot be told.
    pub unread: Mutex<Option<&'static str>>,
    /// The month whose quality of ids is never done.
    pub stuck: Mutex<Option<Month>>,
    /// What keeps that of a site's ids from being told at once.
    pub troubles: Mutex<BTreeMap<SiteId, Trouble>>,
    /// How often it was asked for the quality of ids.
    pub asked: AtomicU32,
    /// How often rows were asked for.
    pub reads: AtomicU32,
    /// How often it was told to fold.
    pub folds: AtomicU32,
    /// Whether it is too busy to fold.
    pub is_busy: AtomicBool,
    /// The desk's rows.
    pub rows: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Changes until one fails; 0 = none does.
    pub fails_in: AtomicU32,
}

impl Memory {
    fn change(&self, change: impl FnOnce()) -> Change<'_, ()> {
        let left = self.fails_in.load(Ordering::SeqCst);
        self.fails_in.store(left.saturating_sub(1), Ordering::SeqCst);
        let done = if left == 1 {
            Err(EngineError::Stopped)
        } else {
            change();
            Ok(())
        };
        Box::pin(async move { done })
    }
}

impl Months for Memory {
    fn sites(&self) -> Vec<Arc<Site>> {
        self.usage.lock().unwrap().iter().map(|usage| Arc::clone(&usage.site)).collect()
    }

    fn usage(&self, _: &SiteId, month: Month) -> Result<Option<UsageMonth>, EngineError> {
        let mut usage = self.usage.lock().unwrap().clone();
        if self.is_silent(month) {
            usage.iter_mut().for_each(|usage| usage.tally = Tally::default());
        }
        Ok(usage)
    }

    fn groups(&self) -> Vec<SiteId> {
        let known = self.group.lock().unwrap();
        known.iter().map(|month| SiteId::of_group(&month.group)).collect()
    }

    fn group(&self, group: &GroupId, month: Month) -> Result<Option<GroupMonth>, EngineError> {
        let mut known = self.group.lock().unwrap().clone();
        if self.deserted.lock().unwrap().contains(&month) {
            return Ok(None);
        }
        if self.is_silent(month)
            && let Some(known) = &mut known
        {
            known.tally = Tally::default();
            known.members.iter_mut().for_each(|of| of.tally = Tally::default());
        }
        Ok(known.filter(|month| month.group == *group))
    }

    fn fold(&self) -> Change<'_, ()> {
        self.folds.fetch_add(1, Ordering::SeqCst);
        let is_busy = self.is_busy.load(Ordering::SeqCst);
        Box::pin(async move { if is_busy { Err(EngineError::Busy) } else { Ok(()) } })
    }

    fn keys(&self, _: &SiteId, _: Month) -> Option<ListKeys> {
        self.keys.lock().unwrap().clone().map(ListKeys::Site)
    }

    fn compare(&self, _: SiteId, _: Month, list: Listed) -> Change<'_, Option<Compared>> {
        let (users, late) = (self.users.lock().unwrap(), self.late.lock().unwrap());
        let of = |set: &BTreeSet<ShortTag>| {
            list.tags().iter().filter(|tag| set.contains(tag)).count() as u64
        };
        let (listed, late_listed) = (of(&users), of(&late));
        let (members, late) = (users.len() as u64, late.len() as u64);
        let compared = Compared { members, listed, late, late_listed };
        let lives = self.keys.lock().unwrap().is_some();
        Box::pin(async move { Ok(lives.then_some(compared)) })
    }

    fn recount(&self, _: SiteId, month: Month) -> Change<'_, Option<Recount>> {
        let found = self.recount.lock().unwrap().clone().filter(|_| !self.is_silent(month));
        if let Some(meanwhile) = &*self.meanwhile.lock().unwrap() {
            meanwhile(self);
        }
        Box::pin(async move { Ok(found) })
    }

    fn quality(&self, site: SiteId, month: Month) -> Change<'_, Arc<Explained>> {
        let group = self.group.lock().unwrap();
        let mut members = group.iter().flat_map(|group| &group.members);
        let member = members.find(|of| of.site.id == site).cloned();
        let usage = member.or_else(|| self.usage.lock().unwrap().clone());
        drop(group);
        let unread = *self.unread.lock().unwrap();
        let stuck = *self.stuck.lock().unwrap() == Some(month);
        let mut troubles = self.troubles.lock().unwrap();
        let trouble = troubles.get(&site).copied();
        if matches!(trouble, Some(Trouble::Busy)) {
            troubles.remove(&site);
        }
        drop(troubles);
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if stuck || matches!(trouble, Some(Trouble::Stuck)) {
                std::future::pending::<()>().await;
            }
            match trouble {
                Some(Trouble::Busy) => return Err(EngineError::Busy),
                Some(Trouble::Slow) => tokio::task::yield_now().await,
                Some(Trouble::Stuck) | None => {}
            }
            if let Some(why) = unread {
                return Err(EngineError::Damaged(why.into()));
            }
            let usage = usage.ok_or(EngineError::NoSite)?;
            let now = (usage.as_of, usage.tally);
            Ok(Arc::new(Explained::new((site, month), now, Limits::default())))
        })
    }

    fn load_rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let rows = self.rows.lock().unwrap();
        let own = rows.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(own.map(|(name, row)| (name.clone(), row.clone())).collect())
    }

    fn put_row(&self, name: String, bytes: Vec<u8>) -> Change<'_, ()> {
        self.change(|| drop(self.rows.lock().unwrap().insert(name, bytes)))
    }

    fn delete_row(&self, name: String) -> Change<'_, ()> {
        self.change(|| drop(self.rows.lock().unwrap().remove(&name)))
    }
}

impl Memory {
    fn is_silent(&self, month: Month) -> bool {
        self.silent.lock().unwrap().contains(&month)
    }

    /// A site whose months are closed and can be told of.
    pub fn closed() -> Self {
        let memory = Self::default();
        *memory.usage.lock().unwrap() = Some(usage());
        *memory.keys.lock().unwrap() = Some(keys());
        memory
    }
}

/// What November says: closed, with three users, and one late.
pub fn usage() -> UsageMonth {
    let november = Month::parse(b"2026-11").unwrap();
    let site = Site {
        id: SiteId::parse(b"A").unwrap(),
        no: SiteNo(1),
        algorithm: Algorithm::default(),
        created_at: Timestamp(0),
        terminated_at: None,
        settings: SiteSettings::default(),
        pending: Vec::new(),
        past: Vec::new(),
        months: Vec::new(),
        closed_through: Some(november),
    };
    let at = |text: &str| Timestamp::parse(text.as_bytes()).unwrap();
    let (from, to) = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
    let counters = Counters { mau: 3, licenses_issued: 7, records: 9, ..Counters::default() };
    let corrections = Counters { records: 2, mau: 1, licenses_issued: 2, ..Counters::default() };
    UsageMonth {
        site: Arc::new(site),
        span: MonthSpan {
            month: november,
            from,
            to,
            partitions: 1,
            pseudonyms: Pseudonyms::default(),
            rule_set: RuleSet::default(),
        },
        time_zone: "UTC".to_owned(),
        state: State::Closed,
        closes_at: at("2026-12-04T00:00:00Z"),
        tally: Tally { counters, corrections, closed_at: Some(at("2026-12-04T00:00:01Z")) },
        evidence: Evidence::Live,
        as_of: to,
    }
}

/// The keys of a month.
pub fn keys() -> Arc<SiteMonthKeys> {
    let secret = |byte: u8| Secret::take(&mut [byte; 32]).unwrap();
    let id = KeyId(1);
    Arc::new(SiteMonthKeys {
        base: BaseKey::new(&secret(1)),
        tally: TagKey::new(&secret(2)),
        record: TagKey::new(&secret(3)),
        watermark: TagKey::new(&secret(4)),
        sets: Arc::new(SealKey::new(id, &secret(5))),
        ids: SiteMonthIds { base: id, tally: id, record: id, watermark: id, sets: id },
    })
}

/// A desk without any site.
pub fn desk(ledger: Arc<Ledger>, clock: Arc<dyn Clock>) -> Billing {
    desk_of(Memory::default(), ledger, clock)
}

/// A desk over such months.
pub fn desk_of(months: Memory, ledger: Arc<Ledger>, clock: Arc<dyn Clock>) -> Billing {
    Billing::new(Arc::new(months), ledger, Settings::default(), clock)
}
