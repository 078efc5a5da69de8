//! What the licences of a month were, for those who may see the bill. The engine reads the records
//! and says what is about too few; what leaves this desk are counts without it.

use super::{Usage, UsageError};
use crate::model::caller::Caller;
use crate::model::ids::SiteId;
use crate::model::time::Month;
use crate::wire::explained::Shown;

impl Usage {
    /// The licences of a site's month, explained.
    ///
    /// # Errors
    /// [`UsageError`].
    pub async fn explain(
        &self,
        caller: &Caller,
        site: SiteId,
        month: Month,
    ) -> Result<Shown, UsageError> {
        if !caller.sites.holds(&site) {
            return Err(UsageError::NotFound);
        }
        Ok(Shown(self.counts.explain(site, month).await?))
    }
}
