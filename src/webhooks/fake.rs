//! A source in memory, and a clock that tests move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::source::{About, Certified, Change, DestroyedNews, GroupNews, MonthNews, Rows, Source};
use super::{Settings, Webhooks};
use crate::engine::EngineError;
use crate::ledger::{Actor, Event};
use crate::model::time::{Clock, Timestamp};

/// A clock that tests move.
pub struct TestClock(pub AtomicI64);

impl TestClock {
    /// Moves it, also back.
    pub fn pass(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// What a source is made of.
#[derive(Default)]
pub struct Inside {
    /// Months.
    pub months: Vec<MonthNews>,
    /// Months of groups.
    pub groups: Vec<GroupNews>,
    /// Certificates.
    pub destroyed: Vec<DestroyedNews>,
    /// Numbers of certificates that say nothing of a site.
    pub silent: BTreeSet<u64>,
    /// What is removed.
    pub removed: BTreeSet<About>,
    /// Rows.
    pub rows: BTreeMap<String, Vec<u8>>,
    /// What the ledger was told.
    pub noted: Vec<(Actor, Event)>,
    /// How many changes still work; `None` = all.
    pub changes_left: Option<usize>,
    /// Looks for months.
    pub looks: usize,
}

/// A source in memory.
#[derive(Default)]
pub struct Memory(Mutex<Inside>);

impl Memory {
    /// Looks inside, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Inside)) -> Change<'_> {
        let done = self.with(|inside| match &mut inside.changes_left {
            Some(0) => Err(EngineError::Stopped),
            left => {
                left.iter_mut().for_each(|left| *left -= 1);
                change(inside);
                Ok(())
            }
        });
        Box::pin(std::future::ready(done))
    }
}

impl Source for Memory {
    fn months(&self, closed_after: Timestamp) -> Result<Vec<MonthNews>, EngineError> {
        Ok(self.with(|inside| {
            inside.looks += 1;
            let is_news = |month: &&MonthNews| month.closed_at.is_none_or(|at| at > closed_after);
            inside.months.iter().filter(is_news).cloned().collect()
        }))
    }

    fn groups(&self, closed_after: Timestamp) -> Result<Vec<GroupNews>, EngineError> {
        Ok(self.with(|inside| {
            let is_news = |month: &&GroupNews| month.closed_at > closed_after;
            inside.groups.iter().filter(is_news).cloned().collect()
        }))
    }

    fn destroyed_after(&self, number: u64) -> Result<Certified, EngineError> {
        Ok(self.with(|inside| {
            let later = inside.destroyed.iter().filter(|news| news.number > number);
            let silent = inside.silent.range(number + 1..).copied();
            let through = later.clone().map(|news| news.number).chain(silent).min();
            let destroyed = later.filter(|news| Some(news.number) == through).cloned().collect();
            Certified { destroyed, through }
        }))
    }

    fn removed(&self, of: BTreeSet<About>) -> Result<BTreeSet<About>, EngineError> {
        Ok(self.with(|inside| of.intersection(&inside.removed).cloned().collect()))
    }

    fn origin(&self) -> String {
        "here".to_owned()
    }

    fn note(&self, actor: Actor, event: Event) -> Change<'_> {
        self.change(|inside| inside.noted.push((actor, event)))
    }

    fn load_rows(&self, prefix: &str) -> Result<Rows, EngineError> {
        Ok(self.with(|inside| {
            let own = inside.rows.iter().filter(|(name, _)| name.starts_with(prefix));
            own.map(|(name, row)| (name.clone(), row.clone().into())).collect()
        }))
    }

    fn put_row(&self, name: String, bytes: Zeroizing<Vec<u8>>) -> Change<'_> {
        self.change(|inside| {
            inside.rows.insert(name, bytes.to_vec());
        })
    }

    fn delete_row(&self, name: String) -> Change<'_> {
        self.change(|inside| {
            inside.rows.remove(&name);
        })
    }
}

/// A desk with nothing to tell, for tests of the rooms above.
pub fn desk(clock: Arc<dyn Clock>) -> Webhooks {
    Webhooks::new(Arc::new(Memory::default()), Settings::default(), clock).unwrap()
}
