//! The statement that evidence is made of: policy with its history, inventory, lots, holds, and
//! what the program is. The ledger gets its SHA-256 before anybody gets its bytes, so a statement
//! that was changed later is found by whoever has the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use super::inventory::{DESK_ROWS, Life, ROWS, TABLES, TYPES};
use super::papers::{self, Papers, digest_of};
use super::policy::{Policy, RetentionClass};
use super::vault::Vault;
use super::{Desk, DeskError, Inner, credential, sees};
use crate::crypto::sha256;
use crate::keys::KeyInfo;
use crate::ledger::{Actor, Digest, Entry, Event};
use crate::model::caller::{Caller, SiteScope};
use crate::model::ids::{KeyId, SiteId};
use crate::model::site::Site;
use crate::wire::retention::evidence::{KeyView, PastPolicy, PolicyView, SiteView, Statement};
use crate::wire::retention::rows::{Planned, PolicyTold};

impl Desk {
    /// The statement about the caller's sites, after its digest is in the ledger.
    ///
    /// # Errors
    /// When a row or the ledger cannot be read, or the ledger does not take the entry.
    pub async fn evidence(&self, caller: &Caller) -> Result<Vec<u8>, DeskError> {
        let inner = &self.0;
        let by = credential(caller)?;
        // They are read from the disk, so not here, and by few at once.
        let papers = |desk: &Self| Ok((build(), papers::read(&desk.0.settings, &desk.0.report)));
        let papers = self.look_up(papers).await?;
        let statement = inner.statement(caller, papers).await?;
        let (made_at, bytes) = (statement.made_at, statement.to_json());
        let digest = Digest(sha256(&[&bytes]));
        let event = Event::EvidenceExported { digest, all_sites: statement.all_sites };
        inner.append(Entry::new(made_at, Actor::Credential(by), event)).await?;
        Ok(bytes)
    }
}

impl Inner {
    async fn statement(
        &self,
        caller: &Caller,
        (build, papers): (Option<Digest>, Papers),
    ) -> Result<Statement, DeskError> {
        // What is told of the ledger is told of the same entries that the statement names.
        let (head, told) = self.told().await?;
        let all = caller.sites == SiteScope::All;
        let access = match &caller.sites {
            SiteScope::All => self.access_summary().await?,
            own @ SiteScope::Some(_) => self.access_summary_of(own.clone()).await?,
        };
        // The vaults are locked while they are turned over.
        let vault = Arc::clone(&self.vault);
        let listed = tokio::task::spawn_blocking(move || key_views(vault.as_ref()));
        let listed = listed.await.map_err(|_| DeskError::Failed)??;
        let planned = self.planned_keys();
        let views = listed.into_iter().map(|(key, state)| {
            let is_planned = planned.contains(&(key.hold.is_some(), key.id));
            key_view(&key, if is_planned { "destroying" } else { state })
        });
        let keys: Vec<KeyView> = views.collect();
        let shown = |key: &&KeyView| {
            let site = key.site.as_ref().and_then(|site| SiteId::parse(site.as_bytes()));
            site.map_or(all, |site| caller.sites.holds(&site))
        };
        let key_list: Vec<KeyView> = keys.iter().filter(shown).cloned().collect();
        let (believed, confirmed) = self.believed();
        let own = |site: &SiteId| sees(caller, site);
        let mut lots = self.lot_views(believed)?;
        lots.retain(|lot| own(&lot.site));
        self.certified_lots(&mut lots, &|lot| own(&lot.site))?;
        let holds = self.state().holds.values().filter(|hold| own(&hold.site)).cloned().collect();
        let mut sites = self.vault.sites();
        sites.retain(|site| own(&site.id));
        let next = self.next.as_ref();
        let policy = self.policy_at(believed);
        Ok(Statement {
            made_at: self.clock.now(),
            clock: (believed, confirmed),
            made_for: caller.key_id.clone(),
            all_sites: all,
            version: env!("CARGO_PKG_VERSION"),
            configuration: Digest(self.settings.configuration),
            ledger: (head.origin.clone(), head.size, Digest(head.root)),
            policy: policy_view(policy),
            next_policy: next.filter(|next| *next != policy).map(policy_view),
            history: told.policies.into_iter().map(past).collect(),
            types: TYPES.iter().map(|(kind, class)| (kind.name(), class.name())).collect(),
            stored: stored(),
            build,
            keys: by_kind(&keys),
            key_list,
            processors: papers.processors,
            test_report: papers.test_report,
            reads: all.then_some(told.reads),
            access,
            processing: self.processing_record(&sites, policy),
            turn_over: self.turn_view()?,
            sites: sites.iter().map(|site| site_view(site)).collect(),
            lots,
            holds,
        })
    }

    /// The keys that are planned to be destroyed, with whether they are of the vault of the holds.
    fn planned_keys(&self) -> BTreeSet<(bool, KeyId)> {
        let state = self.state();
        let lots = state.planned();
        let of = |planned: &Planned| {
            let of_holds = planned.hold.is_some();
            let keys: Vec<_> = planned.keys.iter().map(|key| (of_holds, KeyId(key.key))).collect();
            keys
        };
        lots.flat_map(of).collect()
    }
}

/// The keys of both registers, and those that a destruction has taken out of one and that may open
/// something until it has ended: while a copy off the host is waited for, for days.
fn key_views(vault: &dyn Vault) -> Result<Vec<(KeyInfo, &'static str)>, DeskError> {
    let living = vault.key_list().into_iter().map(|key| (key, "living"));
    let held = vault.held_key_list()?.into_iter().map(|key| (key, "held"));
    let mut keys: Vec<_> = living.chain(held).collect();
    // Asked after the lists: what ended between the two is gone.
    let listed: BTreeSet<_> = keys.iter().map(|(key, _)| (key.hold.is_some(), key.id)).collect();
    let unlisted = |key: &KeyInfo| !listed.contains(&(key.hold.is_some(), key.id));
    let going = vault.unfinished_keys()?.into_iter().filter(unlisted);
    keys.extend(going.map(|key| (key, "destroying")));
    Ok(keys)
}

/// How many there are of each kind, but for those that are held.
fn by_kind(keys: &[KeyView]) -> Vec<(&'static str, u64)> {
    let mut counts = BTreeMap::new();
    for key in keys.iter().filter(|key| key.state != "held") {
        *counts.entry(key.kind).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

fn key_view(key: &KeyInfo, state: &'static str) -> KeyView {
    KeyView {
        key: key.id.0,
        parent: key.parent.0,
        kind: key.kind.name(),
        class: key.class.map(|class| class.name()),
        site: key.site.as_ref().map(ToString::to_string),
        epoch: key.epoch,
        hold: key.hold.map(|hold| hold.0),
        state,
    }
}

/// The program that runs, as its own process sees it.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// Longest program, bytes.
const PROGRAM_BYTES_MAX: u64 = 1 << 32;

/// The SHA-256 of the program that runs, read once.
fn build() -> Option<Digest> {
    static BUILD: OnceLock<Option<Digest>> = OnceLock::new();
    *BUILD.get_or_init(|| digest_of(std::fs::File::open(OWN_PROGRAM).ok()?, PROGRAM_BYTES_MAX))
}

fn past(policy: PolicyTold) -> PastPolicy {
    let PolicyTold { entry, at, said, digest } = policy;
    PastPolicy { entry, taken_up: at, said, digest }
}

fn policy_view(policy: &Policy) -> PolicyView {
    let Policy { profile, published, effective, digest, .. } = policy;
    PolicyView {
        said: [profile.name().to_owned(), published.to_string(), effective.to_string()],
        digest: Digest(*digest),
        rules: super::list::rules(policy),
    }
}

fn site_view(site: &Site) -> SiteView {
    SiteView {
        id: site.id.to_string(),
        created_at: site.created_at,
        terminated_at: site.terminated_at,
        time_zone: site.settings.time_zone.clone(),
        records_days: site.settings.records_days,
    }
}

/// Kinds of tables, and rows of the default table and of the desk by their paths.
fn stored() -> Vec<(String, String)> {
    let lists = [("", TABLES), ("default/", ROWS), ("default/desk/", DESK_ROWS)];
    let rows = lists.into_iter().flat_map(|(before, list)| {
        list.iter().map(move |(what, life)| (format!("{before}{what}"), life_of(*life)))
    });
    rows.collect()
}

fn life_of(life: Life) -> String {
    match life {
        Life::Class(class, _) => RetentionClass::name(class).to_owned(),
        Life::Hold => "until the release of the hold".to_owned(),
        Life::Engine(until) | Life::Sweep(_, until) | Life::Lots(until) => until.to_owned(),
    }
}
