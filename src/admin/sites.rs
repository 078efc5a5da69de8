//! Sites: settings merged, checked and handed to the engine, which says from when they hold.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::tokens::actor;
use super::{AdminError, Book, Scribe, list};
use crate::ledger::Event;
use crate::model::caller::Caller;
use crate::model::ids::{GroupId, SiteId};
use crate::model::reason::Reason;
use crate::model::site::{Site, SiteChange, SiteSettings};
use crate::wire::admin::{SitePatch, site_to_value};
use crate::wire::fault::{Flaw, Pointer};

/// The desk for sites; cheap to clone.
#[derive(Clone)]
pub struct Sites {
    book: Arc<dyn Book>,
    scribe: Arc<dyn Scribe>,
    /// Held from the reading of the old settings to the writing of the new ones: of two changes at
    /// once, neither may undo the other.
    changing: Arc<Mutex<()>>,
}

impl Sites {
    /// A desk over a book, whose changes of what is kept the ledger hears of.
    pub fn new(book: Arc<dyn Book>, scribe: Arc<dyn Scribe>) -> Self {
        Self { book, scribe, changing: Arc::default() }
    }

    /// Makes or changes a site; a member that is absent keeps its value. The request's text is used
    /// up. Returns whether the site is new, and the answer.
    ///
    /// # Errors
    /// [`AdminError`]; nothing is changed then. [`AdminError::BeyondCaller`] when the site would
    /// join or leave a billing group that has a member which is not the caller's;
    /// [`AdminError::Conflict`] where the site or its group has another algorithm already, or
    /// another member of the group reads user ids in another form.
    pub async fn put(
        &self,
        caller: &Caller,
        id: SiteId,
        text: &mut [u8],
    ) -> Result<(bool, Vec<u8>), AdminError> {
        let patch = SitePatch::parse(text)?;
        let _changing = self.changing.lock().await;
        let before = self.book.site(&id);
        let said = before.as_deref().map(|site| site.last_said().clone()).unwrap_or_default();
        let settings = merge(&said, &patch)?;
        if settings.billing_group != said.billing_group {
            self.may_regroup(caller, before.as_deref(), settings.billing_group.as_ref())?;
        }
        let is_new_period = settings.records_days != said.records_days;
        if is_new_period {
            let records_days = settings.records_days;
            let event = Event::SiteRetention { site: id.clone(), records_days };
            self.scribe.note(actor(&caller.key_id), event).await?;
        }
        let change = SiteChange {
            settings,
            algorithm: patch.pseudonym_algorithm,
            group_algorithm: patch.billing_group_algorithm,
        };
        let put = self.book.put_site(id.clone(), change).await;
        if put.is_err() && is_new_period {
            // Nothing came of it, and a restore goes by the last that was said.
            let event = Event::SiteRetention { site: id, records_days: said.records_days };
            self.scribe.note(actor(&caller.key_id), event).await?;
        }
        let put = put?;
        Ok((put.created, site_text(&put.site).into_bytes()))
    }

    /// Whether the caller may take a site out of the groups that it is in, and into another. Who is
    /// in a group decides whom its figure counts and who may read it, for all of its members (T1).
    fn may_regroup(
        &self,
        caller: &Caller,
        site: Option<&Site>,
        joins: Option<&GroupId>,
    ) -> Result<(), AdminError> {
        let mut touched: Vec<&GroupId> = site.into_iter().flat_map(groups_of).collect();
        touched.extend(joins);
        let sites = self.book.sites();
        let mut foreign = sites.iter().filter(|site| !caller.sites.holds(&site.id));
        if foreign.any(|site| groups_of(site).any(|group| touched.contains(&group))) {
            return Err(AdminError::BeyondCaller);
        }
        Ok(())
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

/// Every group that a site is, was or will be in: the months of before are still read and billed.
fn groups_of(site: &Site) -> impl Iterator<Item = &GroupId> {
    let past = site.past.iter().map(|(_, settings)| settings);
    let pending = site.pending.iter().map(|(_, settings)| settings);
    let all = past.chain([&site.settings]).chain(pending);
    all.filter_map(|settings| settings.billing_group.as_ref())
}

fn merge(said: &SiteSettings, patch: &SitePatch) -> Result<SiteSettings, AdminError> {
    let mut settings = patch.apply(said);
    if patch.billing_group_algorithm.is_some() && settings.billing_group.is_none() {
        let pointer = Pointer::of("billing_group_algorithm");
        return Err(AdminError::Unfit(Flaw { reason: Reason::BadValue, pointer }));
    }
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
    use crate::model::pseudonym::{Algorithm, UserForm};
    use crate::model::site::Counting;

    fn desk() -> (Sites, Arc<Memory>) {
        let book = Arc::new(Memory::default());
        (Sites::new(book.clone(), book.clone()), book)
    }

    async fn put_by(
        sites: &Sites,
        scope: SiteScope,
        id: &str,
        text: &str,
    ) -> Result<(bool, Vec<u8>), AdminError> {
        let (operator, id) = (caller(Role::Operator, scope), SiteId::parse(id.as_bytes()).unwrap());
        sites.put(&operator, id, &mut text.as_bytes().to_vec()).await
    }

    async fn put(sites: &Sites, text: &str) -> Result<(bool, Vec<u8>), AdminError> {
        put_by(sites, SiteScope::All, "ACME", text).await
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
                user_form: UserForm::default(),
                billing_group: None,
            }
        );
    }

    /// The ledger hears of a period before it is written, and of no other change; where it cannot
    /// hear nothing is changed.
    #[tokio::test]
    async fn a_sites_own_period_is_in_the_ledger_first() {
        let (sites, book) = desk();
        for text in [
            r#"{"name":"Acme"}"#,
            r#"{"retention":{"records_days":7}}"#,
            r#"{"name":"Acme TV","retention":{"records_days":7}}"#,
            r#"{"retention":{"records_days":null}}"#,
        ] {
            put(&sites, text).await.unwrap();
        }
        let told = book.notes().into_iter().filter_map(|(_, event)| match event {
            Event::SiteRetention { records_days, .. } => Some(records_days),
            _ => None,
        });
        assert_eq!(told.collect::<Vec<_>>(), [Some(7), None]);
        book.break_notes();
        assert!(put(&sites, r#"{"retention":{"records_days":30}}"#).await.is_err());
        assert_eq!(book.sites()[0].last_said().records_days, None);
    }

    /// What was said of a change that was refused is taken back: a restore goes by the last word.
    #[tokio::test]
    async fn a_refused_period_is_taken_back_in_the_ledger() {
        let (sites, book) = desk();
        put(&sites, r#"{"retention":{"records_days":90}}"#).await.unwrap();
        book.fail(crate::engine::EngineError::DiskFull);
        assert!(put(&sites, r#"{"retention":{"records_days":7}}"#).await.is_err());
        assert!(put(&sites, r#"{"name":"Acme"}"#).await.is_err());
        let told = book.notes().into_iter().filter_map(|(_, event)| match event {
            Event::SiteRetention { records_days, .. } => Some(records_days),
            _ => None,
        });
        assert_eq!(told.collect::<Vec<_>>(), [Some(90), Some(7), Some(90)]);
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
            put_by(&sites, SiteScope::All, id, "{}").await.unwrap();
        }
        let own = SiteScope::Some([SiteId::parse(b"B").unwrap()].into());
        let listed = String::from_utf8(sites.list(&caller(Role::Billing, own))).unwrap();
        assert!(listed.contains("\"B\"") && !listed.contains("\"A\""), "{listed}");
        assert_eq!(sites.read(&SiteId::parse(b"C").unwrap()), Err(AdminError::NotFound));
        assert!(sites.read(&SiteId::parse(b"A").unwrap()).is_ok());
    }

    #[tokio::test]
    async fn nobody_joins_or_leaves_a_group_with_members_of_others() {
        let (sites, book) = desk();
        let own = |ids: &[&str]| {
            SiteScope::Some(ids.iter().map(|id| SiteId::parse(id.as_bytes()).unwrap()).collect())
        };
        let (joins, leaves) = (r#"{"billing_group":"G"}"#, r#"{"billing_group":null}"#);
        for id in ["B", "C"] {
            put_by(&sites, SiteScope::All, id, joins).await.unwrap();
        }
        let refused = Err(AdminError::BeyondCaller);
        // Neither a new site nor one that exists, also not with one of the members.
        assert_eq!(put_by(&sites, own(&["A"]), "A", joins).await, refused);
        assert!(book.site(&SiteId::parse(b"A").unwrap()).is_none(), "refused and made");
        put_by(&sites, own(&["A"]), "A", "{}").await.unwrap();
        assert_eq!(put_by(&sites, own(&["A"]), "A", joins).await, refused);
        assert_eq!(put_by(&sites, own(&["A", "B"]), "A", joins).await, refused);
        assert_eq!(put_by(&sites, own(&["B"]), "B", leaves).await, refused);
        assert_eq!(put_by(&sites, own(&["B"]), "B", r#"{"billing_group":"H"}"#).await, refused);
        // What is no change of groups, a group of its own, and every member's operator.
        put_by(&sites, own(&["B"]), "B", r#"{"name":"b"}"#).await.unwrap();
        put_by(&sites, own(&["B"]), "B", joins).await.unwrap();
        put_by(&sites, own(&["A"]), "A", r#"{"billing_group":"own"}"#).await.unwrap();
        put_by(&sites, own(&["A", "B", "C"]), "A", joins).await.unwrap();
        assert_eq!(put_by(&sites, own(&["A"]), "A", leaves).await, refused);
        put_by(&sites, own(&["B", "C", "A"]), "B", leaves).await.unwrap();
    }

    #[test]
    fn a_group_of_before_and_one_of_later_are_groups_of_a_site() {
        let group = |name: &str| GroupId::parse(name.as_bytes());
        let of = |name| SiteSettings { billing_group: group(name), ..SiteSettings::default() };
        let month = |text: &str| crate::model::time::Month::parse(text.as_bytes()).unwrap();
        let site = Site {
            id: SiteId::parse(b"A").unwrap(),
            no: crate::model::ids::SiteNo(1),
            algorithm: Algorithm::default(),
            created_at: crate::model::time::Timestamp(0),
            terminated_at: None,
            settings: of("now"),
            pending: vec![(month("2026-12"), of("later"))],
            past: vec![(month("2026-10"), of("before"))],
            months: Vec::new(),
            closed_through: None,
        };
        let names = ["before", "now", "later"].map(|name| group(name).unwrap());
        assert_eq!(groups_of(&site).cloned().collect::<Vec<_>>(), names);
    }
}
