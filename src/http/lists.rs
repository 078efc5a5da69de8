//! Customers' lists on their way in: one of a site at a time, and in memory of their own, so that
//! no list, however long or slow, keeps a batch of records or another customer's list out.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::body::Budget;
use crate::model::ids::SiteId;

/// The lists that are being read or answered.
#[derive(Clone, Debug)]
pub struct Lists {
    budget: Budget,
    sites: Arc<Mutex<BTreeSet<SiteId>>>,
}

impl Lists {
    /// No list yet, of at most so many bytes each. A list is held twice while it is inflated.
    pub fn new(list_bytes_max: usize) -> Self {
        Self { budget: Budget::new(list_bytes_max.saturating_mul(2)), sites: Arc::default() }
    }

    /// Lets a list of a site, or of a group's key scope, in, until what this gives is dropped;
    /// `None` while there is another.
    pub fn admit(&self, site: &SiteId) -> Option<Turn> {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        sites.insert(site.clone()).then(|| Turn { lists: self.clone(), site: site.clone() })
    }

    /// The memory of lists.
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }
}

/// A site's turn to send a list.
#[derive(Debug)]
pub struct Turn {
    lists: Lists,
    site: SiteId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.lists.sites.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.site);
    }
}
