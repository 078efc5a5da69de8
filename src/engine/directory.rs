//! Sites and tokens as they stand, for every reader; the writer alone changes them, and only after
//! the change is on the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::calendar::{self, NoZone};
use crate::crypto::{Aad, SealKey};
use crate::model::caller::Token;
use crate::model::ids::{GroupId, SiteId, SiteNo};
use crate::model::limits;
use crate::model::pseudonym::Algorithm;
use crate::model::site::{Site, SiteSettings};
use crate::model::time::{DAY_MS, Month, Timestamp};
use crate::store::rows;
use crate::store::{Changes, Store, Table, keys};

use super::{EngineError, names};

/// Sites and tokens.
pub struct Directory {
    lists: RwLock<Lists>,
    key: Arc<SealKey>,
}

#[derive(Default)]
struct Lists {
    by_id: BTreeMap<SiteId, Arc<Site>>,
    by_no: HashMap<SiteNo, Arc<Site>>,
    /// The last number that no site has any more, and none gets.
    last_no: Option<SiteNo>,
    /// The sites that were, are or will be members of each billing group.
    members: BTreeMap<GroupId, BTreeSet<SiteId>>,
    tokens: BTreeMap<String, Arc<Token>>,
}

impl Directory {
    /// Loads the stored sites and tokens, which are sealed under `key`.
    ///
    /// # Errors
    /// When a row cannot be read or opened.
    pub fn load(store: &Store, key: Arc<SealKey>) -> Result<Self, EngineError> {
        let mut lists = Lists::default();
        let open = |row: &[u8], value: &[u8]| {
            key.open(&aad(row), value).map_err(|error| EngineError::Damaged(error.to_string()))
        };
        for row in store.scan(Table::Meta, keys::SITES, Some(keys::SITES_END))? {
            let (name, value) = row?;
            let site = rows::decode_site(&open(&name, &value)?)?;
            // Refused as a whole: with another zone its months would begin at other instants.
            calendar::check(&site).map_err(|_| {
                EngineError::Refused(format!(
                    "site {} has a time zone that this build does not know; start it with the \
                     release that the zone was set with, or a newer one",
                    site.id
                ))
            })?;
            refuse_unknown_rules(&site)?;
            lists.put_site(Arc::new(site));
        }
        for row in store.scan(Table::Meta, keys::TOKENS, Some(keys::TOKENS_END))? {
            let (name, value) = row?;
            let token = rows::decode_token(&open(&name, &value)?)?;
            lists.tokens.insert(token.key_id.clone(), Arc::new(token));
        }
        Ok(Self { lists: RwLock::new(lists), key })
    }

    fn read(&self) -> RwLockReadGuard<'_, Lists> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Lists> {
        self.lists.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A site by its id, or a billing group's key scope by its own.
    pub fn site(&self, id: &SiteId) -> Option<Arc<Site>> {
        self.read().by_id.get(id).cloned()
    }

    /// A site, or a billing group's key scope, by its number.
    pub fn by_no(&self, no: SiteNo) -> Option<Arc<Site>> {
        self.read().by_no.get(&no).cloned()
    }

    /// All sites in the order of their ids.
    pub fn sites(&self) -> Vec<Arc<Site>> {
        self.read().by_id.values().filter(|site| !site.id.is_group()).cloned().collect()
    }

    /// The key scopes of all billing groups.
    pub fn groups(&self) -> Vec<SiteId> {
        self.read().by_id.keys().filter(|id| id.is_group()).cloned().collect()
    }

    /// The members of a billing group in a month, in the order of their ids.
    pub fn members(&self, group: &GroupId, month: Month) -> Vec<Arc<Site>> {
        let lists = self.read();
        let known = lists.members.get(group).into_iter().flatten();
        let sites = known.filter_map(|id| lists.by_id.get(id));
        sites.filter(|site| site.is_member(group, month)).cloned().collect()
    }

    /// The sites that were, are or will be members of a billing group.
    pub fn ever_members(&self, group: &GroupId) -> Vec<Arc<Site>> {
        let lists = self.read();
        let known = lists.members.get(group).into_iter().flatten();
        known.filter_map(|id| lists.by_id.get(id)).cloned().collect()
    }

    /// The key scope of a billing group; one that is new has the number after `last`.
    fn scope_of(
        &self,
        group: &GroupId,
        last: SiteNo,
        (now, algorithm): (Timestamp, Algorithm),
    ) -> Arc<Site> {
        let id = SiteId::of_group(group);
        let new = || Site {
            id: id.clone(),
            no: SiteNo(self.next_no().0.max(last.0.saturating_add(1))),
            algorithm,
            created_at: now,
            terminated_at: None,
            settings: SiteSettings::default(),
            pending: Vec::new(),
            past: Vec::new(),
            months: Vec::new(),
            closed_through: None,
        };
        self.site(&id).unwrap_or_else(|| Arc::new(new()))
    }

    /// A token by its key id.
    pub fn token(&self, key_id: &str) -> Option<Arc<Token>> {
        self.read().tokens.get(key_id).cloned()
    }

    /// All tokens in the order of their key ids.
    pub fn tokens(&self) -> Vec<Arc<Token>> {
        self.read().tokens.values().cloned().collect()
    }

    /// The number for the next site: behind all that there are, and all that are kept.
    pub fn next_no(&self) -> SiteNo {
        let lists = self.read();
        let numbers = lists.by_no.keys().copied().chain(lists.last_no);
        SiteNo(numbers.max().map_or(1, |last| last.0 + 1))
    }

    /// Gives no site a number up to this one any more.
    pub fn keep_numbers(&self, last: Option<SiteNo>) {
        let mut lists = self.write();
        lists.last_no = lists.last_no.max(last);
    }

    /// Stores a site that names no billing group for the first time, then shows it.
    ///
    /// # Errors
    /// When the disk refuses; then the engine must stop.
    pub fn put_site(&self, store: &Store, site: Site) -> Result<Arc<Site>, EngineError> {
        self.put_site_of(store, site, Algorithm::default())
    }

    /// Stores a site, then shows it. A billing group that it names for the first time comes into
    /// being with it, under the algorithm.
    ///
    /// # Errors
    /// When the disk refuses; then the engine must stop.
    pub fn put_site_of(
        &self,
        store: &Store,
        site: Site,
        algorithm: Algorithm,
    ) -> Result<Arc<Site>, EngineError> {
        let mut rows = vec![site];
        let site = rows[0].clone();
        let later = site.pending.iter().map(|(_, settings)| settings);
        for group in later.chain([&site.settings]).filter_map(|s| s.billing_group.as_ref()) {
            let last = rows.iter().map(|row| row.no).max().unwrap_or(site.no);
            let scope = self.scope_of(group, last, (site.created_at, algorithm));
            if rows.iter().all(|row| row.id != scope.id) && self.site(&scope.id).is_none() {
                rows.push(Site::clone(&scope));
            }
        }
        let mut changes = Changes::default();
        self.site_rows(&rows, &mut changes);
        store.apply(&changes)?;
        self.show_sites(rows);
        self.site(&site.id).ok_or(EngineError::NoSite)
    }

    /// Adds the rows of sites to a change set; [`Directory::show_sites`] is for when it is written.
    pub fn site_rows(&self, sites: &[Site], changes: &mut Changes) {
        for site in sites {
            let name = names::site(&self.key, &site.id);
            let sealed = self.key.seal(&aad(&name), &rows::encode_site(site));
            changes.put(Table::Meta, name, sealed);
        }
    }

    /// The row of a site.
    pub fn row_of(&self, id: &SiteId) -> Vec<u8> {
        names::site(&self.key, id)
    }

    /// Shows sites whose rows are on the disk, all of them at once.
    pub fn show_sites(&self, sites: Vec<Site>) {
        let mut lists = self.write();
        sites.into_iter().for_each(|site| lists.put_site(Arc::new(site)));
    }

    /// Hides a site whose row is gone.
    pub fn remove_site(&self, id: &SiteId) {
        let mut lists = self.write();
        if let Some(site) = lists.by_id.remove(id) {
            lists.by_no.remove(&site.no);
            lists.last_no = lists.last_no.max(Some(site.no));
        }
        lists.members.values_mut().for_each(|members| {
            members.remove(id);
        });
    }

    /// Stores a token, then shows it.
    ///
    /// # Errors
    /// When the disk refuses; then the engine must stop.
    pub fn put_token(&self, store: &Store, token: Token) -> Result<(), EngineError> {
        let name = keys::token(&token.key_id);
        let mut changes = Changes::default();
        let sealed = self.key.seal(&aad(&name), &rows::encode_token(&token));
        changes.put(Table::Meta, name, sealed);
        store.apply(&changes)?;
        self.write().tokens.insert(token.key_id.clone(), Arc::new(token));
        Ok(())
    }

    /// Removes a token; false when there was none.
    ///
    /// # Errors
    /// When the disk refuses; then the engine must stop.
    pub fn delete_token(&self, store: &Store, key_id: &str) -> Result<bool, EngineError> {
        if self.token(key_id).is_none() {
            return Ok(false);
        }
        let mut changes = Changes::default();
        changes.delete(Table::Meta, keys::token(key_id));
        store.apply(&changes)?;
        Ok(self.write().tokens.remove(key_id).is_some())
    }
}

impl Lists {
    fn put_site(&mut self, site: Arc<Site>) {
        let all = site.past.iter().chain(&site.pending).map(|(_, settings)| settings);
        for group in all.chain([&site.settings]).filter_map(|s| s.billing_group.as_ref()) {
            match self.members.get_mut(group) {
                Some(members) => members.insert(site.id.clone()),
                None => self.members.entry(group.clone()).or_default().insert(site.id.clone()),
            };
        }
        self.by_no.insert(site.no, Arc::clone(&site));
        self.by_id.insert(site.id.clone(), site);
    }
}

/// A month that is not closed is counted on by the rules that it was begun with, or not at all. One
/// that is closed keeps its name and figures, and takes nothing any more (`Places`).
fn refuse_unknown_rules(site: &Site) -> Result<(), EngineError> {
    let open = site.months.iter().filter(|span| !site.is_closed(span.month));
    let Some(span) = open.filter(|span| !span.rule_set.is_known()).min_by_key(|span| span.month)
    else {
        return Ok(());
    };
    Err(EngineError::Refused(format!(
        "site {} counts {} by the rule set {}, which this program does not have; start it with \
         the release that the month was begun with, or a newer one",
        site.id, span.month, span.rule_set
    )))
}

/// A site's row from before format 6 under its new key.
///
/// # Errors
/// When it does not open.
pub fn renamed(
    key: &SealKey,
    (row, sealed): (Box<[u8]>, Box<[u8]>),
) -> Result<(Vec<u8>, Vec<u8>), EngineError> {
    let opened = key.open(&aad(&row), &sealed);
    let opened = opened.map_err(|error| EngineError::Damaged(error.to_string()))?;
    let name = names::site(key, &rows::decode_site(&opened)?.id);
    let sealed = key.seal(&aad(&name), &opened);
    Ok((name, sealed))
}

fn aad(row: &[u8]) -> Aad {
    Aad::new("meta/1").bytes(row)
}

/// The settings in force at a time: announced ones take over when their month begins.
///
/// # Errors
/// [`NoZone`].
pub fn settings_at(site: &Site, now: Timestamp) -> Result<&SiteSettings, NoZone> {
    let begun = begun(site, now)?;
    let announced = site.pending.iter().take(begun).next_back();
    Ok(announced.map_or(&site.settings, |(_, settings)| settings))
}

/// How many announced changes hold by a time.
fn begun(site: &Site, now: Timestamp) -> Result<usize, NoZone> {
    let mut begun = 0;
    for (month, _) in &site.pending {
        if calendar::span(site, *month)?.from > now {
            break;
        }
        begun += 1;
    }
    Ok(begun)
}

/// The site as it stands at a time: once the month has begun that a change was announced for, the
/// change is no announcement any more. For the eyes of an operator; months are counted with
/// [`Site::settings_in`].
///
/// # Errors
/// [`NoZone`].
pub fn as_of(site: &Arc<Site>, now: Timestamp) -> Result<Arc<Site>, NoZone> {
    let begun = begun(site, now)?;
    if begun == 0 {
        return Ok(Arc::clone(site));
    }
    let settings = settings_at(site, now)?.clone();
    let pending = site.pending.iter().skip(begun).cloned().collect();
    Ok(Arc::new(Site { settings, pending, ..Site::clone(site) }))
}

/// Whether what is frozen inside a month is the same in both.
pub fn frozen_alike(left: &SiteSettings, right: &SiteSettings) -> bool {
    left.time_zone == right.time_zone
        && left.sentinel_user_ids == right.sentinel_user_ids
        && left.records_days == right.records_days
        && left.closing_hours == right.closing_hours
        && left.counting == right.counting
        && left.user_form == right.user_form
        && left.billing_group == right.billing_group
}

/// A site without any accepted record, with new settings: they hold at once, and months that were
/// opened for records which were refused are made anew when they are needed. A month that is
/// closed stays as it is.
pub fn changed_at_once(site: &Site, settings: SiteSettings) -> Site {
    if frozen_alike(&site.settings, &settings) && site.pending.is_empty() {
        return Site { settings, ..site.clone() };
    }
    let mut changed = Site { settings, pending: Vec::new(), ..site.clone() };
    changed.months.retain(|span| site.is_closed(span.month));
    changed.past.retain(|(until, _)| site.is_closed(*until));
    if let Some(last) = site.closed_through {
        changed.past.push((last.next(), site.settings_in(last).clone()));
    }
    changed
}

/// Whether settings keep records longer than others: without days of its own a site keeps them for
/// the months of the policy.
fn keeps_longer(before: &SiteSettings, after: &SiteSettings) -> bool {
    let days = |settings: &SiteSettings| settings.records_days.unwrap_or(u32::MAX);
    days(after) > days(before)
}

/// A site with new settings: what is frozen inside a month holds from the next month on. A longer
/// retention of records holds from the first month that begins after the notice of a material
/// change, so what is collected before keeps its own period; nothing else waits for that. Answers
/// the first month that is changed.
///
/// # Errors
/// [`NoZone`].
pub fn changed(
    site: &Site,
    settings: SiteSettings,
    now: Timestamp,
) -> Result<(Site, Option<Month>), NoZone> {
    let mut site = site.clone();
    while let Some((month, _)) = site.pending.first() {
        // A month that a record opened ahead of time has begun, too.
        let is_open = site.months.last().is_some_and(|last| last.month >= *month);
        if !is_open && calendar::span(&site, *month)?.from > now {
            break;
        }
        let (until, announced) = site.pending.remove(0);
        let before = std::mem::replace(&mut site.settings, announced);
        site.past.push((until, before));
    }
    let current = site.settings.clone();
    if frozen_alike(&current, &settings) {
        site.pending.clear();
        site.settings = settings;
        return Ok((site, None));
    }
    // A month may exist beyond the present one (a record a few minutes ahead of the boundary), and
    // what it was opened with stays.
    let last = site.months.last().map_or(now.day().month(), |span| span.month);
    let zone = calendar::zone(&current.time_zone)?;
    let from = last.max(calendar::month_in(&zone, now)).next();
    let mut pending = Vec::new();
    let mut whole = from;
    if keeps_longer(&current, &settings) {
        let sooner = SiteSettings { records_days: current.records_days, ..settings.clone() };
        whole = noticed(&site, (&settings, &sooner), from, now)?;
        if whole > from && !frozen_alike(&current, &sooner) {
            pending.push((from, sooner));
        }
    }
    site.settings.name.clone_from(&settings.name);
    site.settings.plan_mau = settings.plan_mau;
    pending.push((whole, settings));
    let first = pending.first().map(|(month, _)| *month);
    site.pending = pending;
    Ok((site, first))
}

/// The first month from one on that begins after the notice of a longer retention. Months begin by
/// the zone that holds from that one on, which may be a day earlier than by the one before.
fn noticed(
    site: &Site,
    (settings, sooner): (&SiteSettings, &SiteSettings),
    from: Month,
    now: Timestamp,
) -> Result<Month, NoZone> {
    let ahead = Site { pending: vec![(from, sooner.clone())], ..site.clone() };
    let said = site.pending.iter().find(|(_, said)| !keeps_longer(said, settings));
    let (known, mut month) = match said {
        // Its notice runs already, until the instant that was said with it.
        Some((month, _)) => (calendar::span(site, *month)?.from, from.max(*month)),
        None => {
            let notice = i64::from(limits::MATERIAL_NOTICE_DAYS) * DAY_MS;
            (Timestamp(now.0.saturating_add(notice)), from)
        }
    };
    while calendar::span(&ahead, month)?.from < known {
        month = month.next();
    }
    Ok(month)
}
