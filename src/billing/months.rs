//! What this desk needs of the engine; a trait, so that its tests need no disk.

use std::pin::Pin;
use std::sync::Arc;

use crate::crypto::{BaseKey, TagKey};
use crate::engine::groups::GroupMonth;
pub use crate::engine::recount::{Compared, Recount};
use crate::engine::{Engine, EngineError, UsageMonth};
use crate::identity::Listed;
use crate::keys::{GroupMonthKeys, SiteMonthKeys};
use crate::model::explained::Explained;
use crate::model::ids::{GroupId, SiteId};
use crate::model::site::Site;
use crate::model::time::Month;

/// A change of state that is under way.
pub type Change<'a, T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'a>>;

/// The keys of a month that make tags of user ids.
pub enum ListKeys {
    /// Of a site's month.
    Site(Arc<SiteMonthKeys>),
    /// Of a billing group's.
    Group(Arc<GroupMonthKeys>),
}

impl ListKeys {
    /// What the first step of a pseudonym is made with.
    pub fn base(&self) -> &BaseKey {
        match self {
            Self::Site(keys) => &keys.base,
            Self::Group(keys) => &keys.base,
        }
    }

    /// What makes a tag of the counted set of it.
    pub fn tally(&self) -> &TagKey {
        match self {
            Self::Site(keys) => &keys.tally,
            Self::Group(keys) => &keys.tally,
        }
    }
}

/// What this desk needs of the engine.
pub trait Months: Send + Sync + 'static {
    /// All sites.
    fn sites(&self) -> Vec<Arc<Site>>;
    /// A site's month; `None` for an unknown site only.
    ///
    /// # Errors
    /// When the engine cannot tell.
    fn usage(&self, site: &SiteId, month: Month) -> Result<Option<UsageMonth>, EngineError>;
    /// The key scopes of all billing groups.
    fn groups(&self) -> Vec<SiteId>;
    /// A billing group's month; `None` when no site is a member in it.
    ///
    /// # Errors
    /// When the engine cannot tell.
    fn group(&self, group: &GroupId, month: Month) -> Result<Option<GroupMonth>, EngineError>;
    /// Folds all that was taken so far, so that it is in the stored sets.
    fn fold(&self) -> Change<'_, ()>;
    /// The keys of a month of a site or of a group's key scope, while all of them live.
    fn keys(&self, scope: &SiteId, month: Month) -> Option<ListKeys>;
    /// A list beside the stored users of a closed month; `None` where they are gone.
    fn compare(&self, site: SiteId, month: Month, list: Listed) -> Change<'_, Option<Compared>>;
    /// The stored sets of a month, counted again; `None` where they are gone.
    fn recount(&self, site: SiteId, month: Month) -> Change<'_, Option<Recount>>;
    /// What says how far the ids of a site's month can be trusted, of what is folded.
    fn quality(&self, site: SiteId, month: Month) -> Change<'_, Arc<Explained>>;
    /// The desk's rows whose name begins so, in the order of their names.
    ///
    /// # Errors
    /// When a row cannot be read.
    fn load_rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, EngineError>;
    /// Writes a row of the desk; it is durable when this is done.
    fn put_row(&self, name: String, bytes: Vec<u8>) -> Change<'_, ()>;
    /// Removes a row of the desk.
    fn delete_row(&self, name: String) -> Change<'_, ()>;
}

impl Months for Engine {
    fn sites(&self) -> Vec<Arc<Site>> {
        Self::sites(self)
    }

    fn usage(&self, site: &SiteId, month: Month) -> Result<Option<UsageMonth>, EngineError> {
        Self::usage(self, site, month)
    }

    fn groups(&self) -> Vec<SiteId> {
        Self::groups(self)
    }

    fn group(&self, group: &GroupId, month: Month) -> Result<Option<GroupMonth>, EngineError> {
        self.group_usage(group, month)
    }

    fn fold(&self) -> Change<'_, ()> {
        Box::pin(Self::fold(self))
    }

    fn keys(&self, scope: &SiteId, month: Month) -> Option<ListKeys> {
        match scope.is_group() {
            true => self.ring().group_month_existing(scope, month).map(ListKeys::Group),
            false => self.ring().site_month_existing(scope, month).map(ListKeys::Site),
        }
    }

    fn compare(&self, site: SiteId, month: Month, list: Listed) -> Change<'_, Option<Compared>> {
        Box::pin(Self::compare(self, site, month, list))
    }

    fn recount(&self, site: SiteId, month: Month) -> Change<'_, Option<Recount>> {
        Box::pin(Self::recount(self, site, month))
    }

    fn quality(&self, site: SiteId, month: Month) -> Change<'_, Arc<Explained>> {
        Box::pin(self.explain_folded(site, month))
    }

    fn load_rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
        self.desk_rows(prefix)
    }

    fn put_row(&self, name: String, bytes: Vec<u8>) -> Change<'_, ()> {
        Box::pin(async move { self.put_desk_row(&name, &bytes).await })
    }

    fn delete_row(&self, name: String) -> Change<'_, ()> {
        Box::pin(async move { self.delete_desk_row(&name).await })
    }
}
