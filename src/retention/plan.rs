//! What is to be destroyed now: due, and not on hold. Keys that open held buckets are held with
//! them.

use std::collections::{BTreeMap, BTreeSet};

use super::Inner;
use super::due::Terms;
use super::holds::covers;
use super::policy::{Policy, Profile, RetentionClass};
use super::vault::LotInfo;
use crate::crypto::sha256;
use crate::ledger::{Bucket, Digest, Epoch, Keys, Word};
use crate::model::batch;
use crate::model::ids::{KeyId, SiteId};
use crate::model::retention::Lot;
use crate::model::time::{DAY_MS, Timestamp};
use crate::wire::retention::rows::{Committed, HoldRow, Planned};

/// Most lots of one destruction, so that its certificate stays readable.
pub(super) const LOTS_MAX: usize = 1_000;
/// How long after its due time a lot must be gone, milliseconds: 5 days.
pub(super) const DEADLINE_MS: i64 = 5 * DAY_MS;

/// A lot and what is decided of it.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// The lot.
    pub(super) info: LotInfo,
    /// When it is due.
    pub(super) due: Timestamp,
    /// Whether its month is not closed yet.
    pub(super) waits: bool,
    /// Open holds that cover it.
    pub(super) holds: Vec<u64>,
    /// Holds that covered it and were released, and when the last of them was.
    pub(super) released: Vec<u64>,
    /// When it could be destroyed first.
    pub(super) free_at: Timestamp,
}

impl Standing {
    /// Due, its month is closed, and nothing holds it.
    pub(super) fn is_free(&self, now: Timestamp) -> bool {
        self.due <= now && !self.waits && self.holds.is_empty()
    }

    /// It should be gone.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        self.holds.is_empty() && self.free_at.0.saturating_add(DEADLINE_MS) < now.0
    }
}

impl Inner {
    /// Every living lot, in the order of the lots: buckets come before the keys that open them.
    pub(super) fn standings(&self, now: Timestamp) -> Vec<Standing> {
        let holds: Vec<HoldRow> = self.state().holds.values().cloned().collect();
        let mut by_site: BTreeMap<SiteId, Vec<LotInfo>> = BTreeMap::new();
        for info in self.vault.lots() {
            by_site.entry(info.site.clone()).or_default().push(info);
        }
        let (policy, age_ms) = (self.policy_at(now), self.vault.age_ms());
        let mut standings = Vec::new();
        for (site, lots) in by_site {
            let Some(site) = self.vault.site(&site) else {
                tracing::error!("retention: a lot of a site that is not known");
                continue;
            };
            let terms = Terms { policy, site: &site, age_ms };
            let dues = terms.dues(&lots);
            let own: Vec<&HoldRow> = holds.iter().filter(|hold| hold.site == site.id).collect();
            for info in lots {
                let due = dues.get(&info.lot).copied().unwrap_or(Timestamp::END);
                standings.push(standing(info, due, &own, &terms));
            }
        }
        standings.sort_by_key(|standing| standing.info.lot);
        standings
    }

    /// Every living lot, and those of the destruction under way that the register does not list any
    /// more: while it waits for a copy or for the root provider, what it means is due, may be late,
    /// and is not destroyed. No hold keeps what the engine has begun with.
    pub(super) fn all_standings(&self, now: Timestamp) -> Vec<Standing> {
        let mut standings = self.standings(now);
        let shut: BTreeSet<Lot> = self.vault.unfinished_destruction().into_iter().collect();
        let begun = standings.iter_mut().filter(|standing| shut.contains(&standing.info.lot));
        begun.for_each(|standing| standing.holds.clear());
        let living: BTreeSet<Lot> = standings.iter().map(|standing| standing.info.lot).collect();
        let state = self.state();
        let lots = state.run.iter().flat_map(|run| &run.lots);
        for planned in lots.filter(|planned| !living.contains(&planned.lot)) {
            let released = planned.released_holds.iter().filter_map(|hold| state.holds.get(hold));
            let ends = released.filter_map(|hold| Some(hold.released.as_ref()?.at));
            standings.push(Standing {
                info: LotInfo {
                    lot: planned.lot,
                    site: planned.site.clone(),
                    keys: planned.keys.iter().map(|key| KeyId(key.key)).collect(),
                    ends_at: planned.due,
                },
                due: planned.due,
                waits: false,
                holds: Vec::new(),
                released: planned.released_holds.clone(),
                free_at: ends.fold(planned.due, Timestamp::max),
            });
        }
        drop(state);
        standings.sort_by_key(|standing| standing.info.lot);
        standings
    }

    /// What is to be destroyed now, at most [`LOTS_MAX`].
    pub(super) fn plan(&self, now: Timestamp) -> Vec<Planned> {
        let mut planned = Vec::new();
        for standing in self.standings(now).into_iter().filter(|lot| lot.is_free(now)) {
            if planned.len() == LOTS_MAX {
                break;
            }
            planned.push(self.planned(standing));
        }
        planned
    }

    /// A lot as it is planned for destruction, with a commitment to each of its keys.
    pub(super) fn planned(&self, standing: Standing) -> Planned {
        let committed = |key: &KeyId| {
            let commitment = self.vault.commitment(*key)?;
            Some(Committed { key: key.0, commitment: Digest(commitment) })
        };
        let mut keys: Vec<_> = standing.info.keys.iter().filter_map(committed).collect();
        keys.sort_unstable_by_key(|key| key.key);
        Planned {
            lot: standing.info.lot,
            site: standing.info.site,
            due: standing.due,
            keys,
            released_holds: standing.released,
        }
    }
}

fn standing(info: LotInfo, due: Timestamp, holds: &[&HoldRow], terms: &Terms<'_>) -> Standing {
    let waits = terms.waits_for_close(info.lot);
    let mut standing =
        Standing { info, due, waits, holds: Vec::new(), released: Vec::new(), free_at: due };
    for hold in holds.iter().filter(|hold| covers(hold, terms, standing.info.lot)) {
        match &hold.released {
            None => standing.holds.push(hold.number),
            Some(released) => {
                standing.released.push(hold.number);
                standing.free_at = standing.free_at.max(released.at);
            }
        }
    }
    standing
}

/// A lot's class in ledger, list and certificate.
pub(super) const fn word_of(lot: Lot) -> &'static str {
    match lot {
        Lot::Records(bucket) => bucket.class.name(),
        Lot::Sets(_) => "sets",
        Lot::RecordKey(_) => "key.record",
        Lot::WatermarkKey(_) => "key.watermark",
        Lot::BaseKey(_) => "key.base",
    }
}

/// The class whose rule a lot follows.
pub(super) fn class_of(lot: Lot) -> RetentionClass {
    match lot {
        Lot::Records(bucket) => bucket.class.into(),
        Lot::Sets(_) => RetentionClass::Sets,
        Lot::WatermarkKey(_) => RetentionClass::Detections,
        Lot::RecordKey(_) | Lot::BaseKey(_) => RetentionClass::Records,
    }
}

/// A rule's name: profile and class.
pub(super) const fn rule_name(profile: Profile, class: RetentionClass) -> &'static str {
    match (profile, class) {
        (Profile::KrPipa, RetentionClass::Sets) => "kr-pipa/c3",
        (Profile::KrPipa, RetentionClass::Detections) => "kr-pipa/c7",
        (Profile::KrPipa, _) => "kr-pipa/c2",
        (Profile::EuGdpr, RetentionClass::Sets) => "eu-gdpr/c3",
        (Profile::EuGdpr, RetentionClass::Detections) => "eu-gdpr/c7",
        (Profile::EuGdpr, _) => "eu-gdpr/c2",
    }
}

/// Month or day of a lot.
pub(super) fn epoch_of(lot: Lot) -> Epoch {
    match lot {
        Lot::Records(bucket) => match bucket.epoch {
            batch::Epoch::Month(month) => Epoch::Month(month),
            batch::Epoch::Day(day) => Epoch::Day(day),
        },
        Lot::Sets(at) | Lot::RecordKey(at) | Lot::WatermarkKey(at) | Lot::BaseKey(at) => {
            Epoch::Month(at.month)
        }
    }
}

/// The lots as the ledger's intent names them: sites of one class, epoch, rule and due time
/// together.
pub(super) fn buckets(lots: &[Planned], rule: impl Fn(Lot) -> &'static str) -> Vec<Bucket> {
    let mut groups: BTreeMap<(&'static str, Epoch, &'static str, Timestamp), Vec<SiteId>> =
        BTreeMap::new();
    for planned in lots {
        let group = (word_of(planned.lot), epoch_of(planned.lot), rule(planned.lot), planned.due);
        groups.entry(group).or_default().push(planned.site.clone());
    }
    let bucket = |((class, epoch, rule, due), mut sites): (_, Vec<SiteId>)| {
        sites.sort_unstable();
        Bucket { class: Word::of(class), epoch, rule: Word::of(rule), due, sites }
    };
    groups.into_iter().map(bucket).collect()
}

/// All keys of a plan with their commitments, in order.
pub(super) fn committed(lots: impl IntoIterator<Item = Vec<Committed>>) -> Vec<Committed> {
    let mut keys: Vec<Committed> = lots.into_iter().flatten().collect();
    keys.sort_unstable_by_key(|key| key.key);
    keys
}

/// The digest of commitments that the ledger's intent carries.
pub(super) fn digest_of(keys: &[Committed]) -> Digest {
    let numbers: Vec<[u8; 8]> = keys.iter().map(|key| key.key.to_be_bytes()).collect();
    let parts: Vec<&[u8]> = numbers
        .iter()
        .zip(keys)
        .flat_map(|(number, key)| [&number[..], &key.commitment.0[..]])
        .collect();
    Digest(sha256(&parts))
}

/// The keys as the ledger writes them.
pub(super) fn keys_of(keys: &[Committed]) -> Keys {
    Keys::of(keys.iter().map(|key| KeyId(key.key)))
}

/// The ground of a lot's rule.
pub(super) fn ground_of(policy: &Policy, lot: Lot) -> &'static str {
    policy.rule(class_of(lot)).map_or("", |rule| rule.ground)
}
