//! Sites: settings merged, checked and handed to the engine, which says from when they hold.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{AdminError, Book, list};
use crate::model::caller::Caller;
use crate::model::ids::SiteId;
use crate::model::reason::Reason;
use crate::model::site::{Site, SiteSettings};
use crate::wire::admin::{SitePatch, site_to_value};
use crate::wire::fault::{Flaw, Pointer};

/// The desk for sites; cheap to clone.
#[derive(Clone)]
pub struct Sites {
    book: Arc<dyn Book>,
    /// Held from the reading of the old settings to the writing of the new ones: of two changes at
    /// once, neither may undo the other.
    changing: Arc<Mutex<()>>,
}

impl Sites {
    /// A desk over a book.
    pub fn new(book: Arc<dyn Book>) -> Self {
        Self { book, changing: Arc::default() }
    }

    /// Makes or changes a site; a member that is absent keeps its value. The request's text is used
    /// up. Returns whether the site is new, and the answer.
    ///
    /// # Errors
    /// [`AdminError`]; nothing is changed then.
    pub async fn put(&self, id: SiteId, text: &mut [u8]) -> Result<(bool, Vec<u8>), AdminError> {
        let patch = SitePatch::parse(text)?;
        let _changing = self.changing.lock().await;
        let said = self.book.site(&id).map(|site| last_said(&site)).unwrap_or_default();
        let settings = merge(&said, &patch)?;
        let put = self.book.put_site(id, settings).await?;
        Ok((put.created, site_text(&put.site).into_bytes()))
    }

    /// A site's settings.
    ///
    /// # Errors
    /// [`AdminError::NotFound`].
    pub fn read(&self, id: &SiteId) -> Result<Vec<u8>, AdminError> {
        let site = self.book.site(id).ok_or(AdminError::NotFound)?;
        Ok(site_text(&site).into_bytes())
    }

    /// The caller's sites.
    pub fn list(&self, caller: &Caller) -> Vec<u8> {
        let mut sites = self.book.sites();
        sites.retain(|site| caller.sites.holds(&site.id));
        list(sites.iter().map(|site| site_text(site)))
    }
}

/// What an operator said last, whether it holds already or not: later changes build on it.
fn last_said(site: &Site) -> SiteSettings {
    site.pending.as_ref().map_or_else(|| site.settings.clone(), |(_, pending)| pending.clone())
}

fn merge(said: &SiteSettings, patch: &SitePatch) -> Result<SiteSettings, AdminError> {
    let mut settings = patch.apply(said);
    if patch.time_zone.is_some() {
        settings.time_zone =
            canonical_zone(&settings.time_zone).ok_or(AdminError::Unfit(Flaw {
                reason: Reason::BadValue,
                pointer: Pointer::of("time_zone"),
            }))?;
    }
    Ok(settings)
}

/// A site as it is answered, with what takes effect later.
fn site_text(site: &Site) -> String {
    site_to_value(site).to_string()
}

/// The IANA name of a zone in its own spelling; `None` for a zone that this build does not know.
fn canonical_zone(name: &str) -> Option<String> {
    let zone = jiff::tz::db().get(name).ok()?;
    zone.iana_name().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Memory, caller};
    use super::*;
    use crate::model::caller::{Role, SiteScope};
    use crate::model::site::Counting;

    fn desk() -> (Sites, Arc<Memory>) {
        let book = Arc::new(Memory::default());
        (Sites::new(book.clone()), book)
    }

    async fn put(sites: &Sites, text: &str) -> Result<(bool, Vec<u8>), AdminError> {
        sites.put(SiteId::parse(b"ACME").unwrap(), &mut text.as_bytes().to_vec()).await
    }

    #[tokio::test]
    async fn an_absent_member_keeps_its_value() {
        let (sites, book) = desk();
        let first = r#"{"name":"Acme","time_zone":"asia/seoul","sentinel_user_ids":["x"],
                        "retention":{"records_days":30}}"#;
        assert!(put(&sites, first).await.unwrap().0);
        assert!(!put(&sites, r#"{"name":"Acme TV"}"#).await.unwrap().0);
        let site = book.site(&SiteId::parse(b"ACME").unwrap()).unwrap();
        assert_eq!(
            site.settings,
            SiteSettings {
                name: "Acme TV".to_owned(),
                time_zone: "Asia/Seoul".to_owned(),
                sentinel_user_ids: vec!["x".to_owned()],
                records_days: Some(30),
                plan_mau: None,
                closing_hours: 72,
                counting: Counting::default(),
                billing_group: None,
            }
        );
    }

    #[tokio::test]
    async fn an_unknown_zone_is_refused_where_it_stands() {
        let (sites, book) = desk();
        for zone in ["Asia/Atlantis", "", "+09:00", "local", "../UTC", "KST-9"] {
            let refused = put(&sites, &format!(r#"{{"time_zone":"{zone}"}}"#)).await;
            let Err(AdminError::Unfit(flaw)) = refused else { panic!("{zone} was taken") };
            assert_eq!(flaw.pointer.to_string(), "/time_zone");
        }
        assert!(book.sites().is_empty());
        put(&sites, r#"{"time_zone":"utc"}"#).await.unwrap();
        assert_eq!(book.sites()[0].settings.time_zone, "UTC");
    }

    #[tokio::test]
    async fn a_caller_sees_its_own_sites() {
        let (sites, _) = desk();
        for id in ["A", "B"] {
            sites.put(SiteId::parse(id.as_bytes()).unwrap(), &mut b"{}".to_vec()).await.unwrap();
        }
        let own = SiteScope::Some([SiteId::parse(b"B").unwrap()].into());
        let listed = String::from_utf8(sites.list(&caller(Role::Billing, own))).unwrap();
        assert!(listed.contains("\"B\"") && !listed.contains("\"A\""), "{listed}");
        assert_eq!(sites.read(&SiteId::parse(b"C").unwrap()), Err(AdminError::NotFound));
        assert!(sites.read(&SiteId::parse(b"A").unwrap()).is_ok());
    }
}
