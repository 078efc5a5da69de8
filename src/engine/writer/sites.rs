//! Sites and their months, as the writer changes them.

use std::sync::Arc;

use super::Writer;
use crate::engine::{EngineError, SitePut, calendar, directory};
use crate::model::ids::SiteId;
use crate::model::site::{Site, SiteSettings};
use crate::model::time::Timestamp;

impl Writer {
    /// Makes a site, or changes its settings.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn put_site(
        &mut self,
        id: SiteId,
        settings: SiteSettings,
    ) -> Result<SitePut, EngineError> {
        let now = self.shared.clock.now();
        let known = self.shared.directory.site(&id);
        let created = known.is_none();
        let (site, effective) = match known {
            Some(site) if !self.has_records(&site) => {
                (directory::changed_at_once(&site, settings), None)
            }
            Some(site) => directory::changed(&site, settings, now)?,
            None => {
                let no = self.shared.directory.next_no();
                let site = Site {
                    id,
                    no,
                    created_at: now,
                    terminated_at: None,
                    settings,
                    pending: None,
                    past: Vec::new(),
                    months: Vec::new(),
                };
                (site, None)
            }
        };
        let site = self.shared.directory.put_site(&self.shared.store, site)?;
        Ok(SitePut { site, created, effective })
    }

    /// The site with a stored month that holds the instant; `None` where there is no such site.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn reach(
        &mut self,
        id: &SiteId,
        at: Timestamp,
    ) -> Result<Option<Arc<Site>>, EngineError> {
        let Some(site) = self.shared.directory.site(id) else { return Ok(None) };
        if calendar::stored(&site, at).is_some() {
            return Ok(Some(site));
        }
        let months = calendar::reaching(&site, at)?;
        let grown = Site { months, ..Site::clone(&site) };
        self.shared.directory.put_site(&self.shared.store, grown).map(Some)
    }
}
