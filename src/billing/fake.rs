//! Months in memory, for tests of this desk and of the rooms above.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::months::{Change, Compared, Months, Recount};
use super::{Billing, Ledger, Settings};
use crate::engine::{EngineError, UsageMonth};
use crate::identity::Listed;
use crate::keys::SiteMonthKeys;
use crate::model::explained::{Explained, Limits};
use crate::model::ids::{ShortTag, SiteId};
use crate::model::site::Site;
use crate::model::time::{Clock, Month};
use crate::wire::explained::IdQuality;

/// No site, or one whose months are all alike.
#[derive(Default)]
pub struct Memory {
    /// What every month says.
    pub usage: Mutex<Option<UsageMonth>>,
    /// What its sets hold.
    pub recount: Mutex<Option<Recount>>,
    /// The keys of every month.
    pub keys: Mutex<Option<Arc<SiteMonthKeys>>>,
    /// The users of every month.
    pub users: Mutex<BTreeSet<ShortTag>>,
    /// How often it was told to fold.
    pub folds: AtomicU32,
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

    fn usage(&self, _: &SiteId, _: Month) -> Result<Option<UsageMonth>, EngineError> {
        Ok(self.usage.lock().unwrap().clone())
    }

    fn fold(&self) -> Change<'_, ()> {
        self.folds.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn keys(&self, _: &SiteId, _: Month) -> Option<Arc<SiteMonthKeys>> {
        self.keys.lock().unwrap().clone()
    }

    fn compare(&self, _: SiteId, _: Month, list: Listed) -> Change<'_, Option<Compared>> {
        let users = self.users.lock().unwrap();
        let listed = list.tags().iter().filter(|tag| users.contains(tag)).count() as u64;
        let compared = Compared { members: users.len() as u64, listed };
        let lives = self.keys.lock().unwrap().is_some();
        Box::pin(async move { Ok(lives.then_some(compared)) })
    }

    fn recount(&self, _: SiteId, _: Month) -> Change<'_, Option<Recount>> {
        let found = self.recount.lock().unwrap().clone();
        Box::pin(async move { Ok(found) })
    }

    fn quality(&self, site: SiteId, month: Month) -> Change<'_, IdQuality> {
        let usage = self.usage.lock().unwrap().clone();
        Box::pin(async move {
            let usage = usage.ok_or(EngineError::NoSite)?;
            let now = (usage.as_of, usage.tally);
            Ok(IdQuality::of(&Explained::new((site, month), now, Limits::default())))
        })
    }

    fn load_rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
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

/// A desk without any site.
pub fn desk(ledger: Arc<Ledger>, clock: Arc<dyn Clock>) -> Billing {
    Billing::new(Arc::new(Memory::default()), ledger, Settings::default(), clock)
}
