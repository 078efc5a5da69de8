//! The statement that evidence is made of: policy with its history, inventory, lots, holds, and
//! what the program is. The ledger gets its SHA-256 before anybody gets its bytes, so a statement
//! that was changed later is found by whoever has the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use super::inventory::{DESK_ROWS, Life, ROWS, TABLES, TYPES};
use super::papers::{self, digest_of};
use super::policy::{Policy, RetentionClass};
use super::{Desk, DeskError, Inner, credential, sees};
use crate::crypto::sha256;
use crate::keys::KeyInfo;
use crate::ledger::{Actor, Digest, Entry, Event, LedgerError, Recorded};
use crate::model::caller::{Caller, SiteScope};
use crate::model::ids::KeyId;
use crate::model::site::Site;
use crate::wire::retention::evidence::{KeyView, PastPolicy, PolicyView, SiteView, Statement};

/// Entries that are read from the ledger at once.
const READ_ENTRIES: u64 = 1_000;
/// What a line of the ledger about a policy, or about a read, has in it.
const LINES: [&str; 3] =
    ["\"kind\":\"policy_adopted\"", "\"kind\":\"policy_loaded\"", "\"kind\":\"privileged_read\""];

impl Desk {
    /// The statement about the caller's sites, after its digest is in the ledger.
    ///
    /// # Errors
    /// When a row or the ledger cannot be read, or the ledger does not take the entry.
    pub async fn evidence(&self, caller: &Caller) -> Result<Vec<u8>, DeskError> {
        let inner = &self.0;
        let by = credential(caller)?;
        let statement = inner.statement(caller).await?;
        let (made_at, bytes) = (statement.made_at, statement.to_json());
        let digest = Digest(sha256(&[&bytes]));
        let event = Event::EvidenceExported { digest, all_sites: statement.all_sites };
        inner.append(Entry::new(made_at, Actor::Credential(by), event)).await?;
        Ok(bytes)
    }
}

impl Inner {
    async fn statement(&self, caller: &Caller) -> Result<Statement, DeskError> {
        let head = self.ask(|ledger| ledger.head()).await?;
        // What is told of the ledger is told of the same entries that the statement names.
        let (history, reads) = self.told(head.size).await?;
        let settings = self.settings.clone();
        // They are read from the disk, so not here.
        let (build, papers) = self.ask(move |_| Ok((build(), papers::read(&settings)))).await?;
        let all = caller.sites == SiteScope::All;
        let access = if all { Some(self.access_summary().await?) } else { None };
        // The vaults are locked while they are turned over.
        let vault = Arc::clone(&self.vault);
        let listed = tokio::task::spawn_blocking(move || (vault.key_list(), vault.held_key_list()));
        let (keys, held) = listed.await.map_err(|_| DeskError::Failed)?;
        let held = held?;
        let going: BTreeSet<KeyId> = {
            let state = self.state();
            let lots = state.run.iter().flat_map(|run| &run.lots);
            let main = lots.filter(|planned| planned.hold.is_none());
            main.flat_map(|planned| &planned.keys).map(|key| KeyId(key.key)).collect()
        };
        let shown = |key: &&KeyInfo| key.site.as_ref().map_or(all, |site| caller.sites.holds(site));
        let state = |key: &KeyInfo| if going.contains(&key.id) { "destroying" } else { "living" };
        let living = keys.iter().filter(shown).map(|key| key_view(key, state(key)));
        let kept = held.iter().filter(shown).map(|key| key_view(key, "held"));
        let key_list: Vec<KeyView> = living.chain(kept).collect();
        let (believed, confirmed) = self.believed();
        let own = |site: &crate::model::ids::SiteId| sees(caller, site);
        let mut lots = self.lot_views(believed)?;
        lots.retain(|lot| own(&lot.site));
        self.certified_lots(&mut lots, &|lot| own(&lot.site))?;
        let holds = self.state().holds.values().filter(|hold| own(&hold.site)).cloned().collect();
        let sites = self.vault.sites();
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
            history,
            types: TYPES.iter().map(|(kind, class)| (kind.name(), class.name())).collect(),
            stored: stored(),
            build,
            keys: by_kind(&keys),
            key_list,
            processors: papers.processors,
            test_report: papers.test_report,
            reads: all.then_some(reads),
            access,
            turn_over: self.turn_view()?,
            sites: sites.iter().filter(|site| own(&site.id)).map(|site| site_view(site)).collect(),
            lots,
            holds,
        })
    }

    /// What the ledger tells of the past: every policy that was taken up, and how often few read
    /// what few may read, by route.
    async fn told(&self, size: u64) -> Result<(Vec<PastPolicy>, BTreeMap<String, u64>), DeskError> {
        self.ask(move |ledger| {
            let (mut from, mut history, mut reads) = (0, Vec::new(), BTreeMap::new());
            while from < size {
                let lines = ledger.read(from, READ_ENTRIES.min(size - from))?;
                for (line, entry) in lines.iter().zip(from..) {
                    if LINES.iter().any(|kind| line.contains(kind)) {
                        let read = Recorded::decode(line.as_bytes());
                        let read = read.map_err(|_| LedgerError::Changed { entry })?;
                        match read.event {
                            Event::PrivilegedRead { route, .. } => {
                                *reads.entry(route.to_string()).or_insert(0) += 1;
                            }
                            _ => history.extend(past(read)),
                        }
                    }
                }
                from += lines.len().max(1) as u64;
            }
            Ok((history, reads))
        })
        .await
    }
}

fn by_kind(keys: &[KeyInfo]) -> Vec<(&'static str, u64)> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key.kind.name()).or_insert(0) += 1;
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

fn past(entry: Recorded) -> Option<PastPolicy> {
    let (Event::PolicyLoaded { digest, profile, published, effective }
    | Event::PolicyAdopted { digest, profile, published, in_force_from: effective, .. }) =
        entry.event
    else {
        return None;
    };
    let said = [profile.to_string(), published.to_string(), effective.to_string()];
    Some(PastPolicy { entry: entry.number, taken_up: entry.time, said, digest })
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
