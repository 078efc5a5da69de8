//! What is to be destroyed now: everything that is due. What is on hold gets a copy in hold storage
//! before; keys that open held buckets are held with them. A copy goes when its hold was released.

use std::collections::{BTreeMap, BTreeSet};

use super::aside::{LeftAlone, Tried};
use super::due::{self, Terms};
use super::holds::covers;
use super::policy::{Policy, Profile, RetentionClass};
use super::vault::{HeldInfo, LotInfo};
use super::{DeskError, Inner};
use crate::crypto::sha256;
use crate::ledger::{Bucket, Digest, Epoch, Keys, Word};
use crate::model::batch;
use crate::model::ids::{HoldNo, KeyId, SiteId};
use crate::model::retention::{Doom, Lot};
use crate::model::time::{DAY_MS, Day, Timestamp};
use crate::model::vocab::Class;
use crate::wire::retention::rows::{Committed, HoldRow, Planned};

/// Most lots of one destruction, so that its certificate stays readable.
pub(super) const LOTS_MAX: usize = 1_000;
/// How long what holds nobody's record waits at most for a backup that is being copied, days: less
/// than until it would be late.
pub(super) const COPY_WAIT_DAYS: u32 = 3;
/// How long after its due time a lot must be gone, milliseconds: 5 days.
pub(super) const DEADLINE_MS: i64 = 5 * DAY_MS;

/// What tells a lot or a copy from everything else.
pub(super) type Name = (Lot, Option<HoldNo>);

/// A lot, or a copy in hold storage, and what is decided of it.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// The lot.
    pub(super) info: LotInfo,
    /// The hold whose copy it is; `None` for the lot itself.
    pub(super) hold: Option<HoldNo>,
    /// When it is due.
    pub(super) due: Timestamp,
    /// Whether its month is not closed yet.
    pub(super) waits: bool,
    /// Open holds that cover it.
    pub(super) holds: Vec<u64>,
    /// Holds that covered it and were released.
    pub(super) released: Vec<u64>,
    /// When a run may take it first; `None` while its own hold is open.
    pub(super) free_at: Option<Timestamp>,
}

impl Standing {
    /// What tells it from everything else.
    pub(super) fn name(&self) -> (Lot, Option<HoldNo>) {
        (self.info.lot, self.hold)
    }

    /// The next run takes it: it is due, its month is closed, and what covers it has, or gets, a
    /// copy of its own.
    pub(super) fn is_free(&self, now: Timestamp) -> bool {
        !self.waits && self.free_at.is_some_and(|at| at <= now)
    }

    /// It should be gone, or be kept apart.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        self.free_at.is_some_and(|at| at.0.saturating_add(DEADLINE_MS) < now.0)
    }

    /// Due, and on hold.
    pub(super) fn is_held(&self, now: Timestamp) -> bool {
        self.due <= now && !self.holds.is_empty()
    }
}

impl Inner {
    /// Every living lot, in the order of the lots: buckets come before the keys that open them.
    /// After a lot come the copies in hold storage.
    ///
    /// # Errors
    /// When the vault of the holds cannot be opened.
    pub(super) fn standings(&self, now: Timestamp) -> Result<Vec<Standing>, DeskError> {
        let holds: Vec<HoldRow> = self.state().holds.values().cloned().collect();
        let mut by_site: BTreeMap<SiteId, Vec<(Option<HoldNo>, LotInfo)>> = BTreeMap::new();
        for info in self.vault.lots() {
            by_site.entry(info.site.clone()).or_default().push((None, info));
        }
        for HeldInfo { hold, lot, site, keys, ends_at, .. } in self.vault.held()? {
            let info = LotInfo { lot, site: site.clone(), keys, ends_at };
            by_site.entry(site).or_default().push((Some(hold), info));
        }
        let (policy, age_ms) = (self.policy_at(now), self.vault.age_ms());
        let mut standings = Vec::new();
        for (site, lots) in by_site {
            if site.is_everywhere() {
                let one = |(hold, info)| self.everywhere_standing((info, hold), policy);
                standings.extend(lots.into_iter().map(one));
                continue;
            }
            let Some(site) = self.vault.site(&site) else {
                tracing::error!("retention: a lot of a site that is not known");
                continue;
            };
            if site.id.is_group() {
                let one = |(hold, info)| self.group_standing((info, hold), &site, &holds, now);
                standings.extend(lots.into_iter().map(one));
                continue;
            }
            let terms = Terms { policy, site: &site, age_ms };
            let infos: Vec<LotInfo> = lots.iter().map(|(_, info)| info.clone()).collect();
            let dues = terms.dues(&infos);
            let own: Vec<&HoldRow> = holds.iter().filter(|hold| hold.site == site.id).collect();
            for (hold, info) in lots {
                let due = dues.get(&info.lot).copied().unwrap_or(Timestamp::END);
                let covering = own.iter().copied().filter(|row| covers(row, &terms, info.lot));
                let covering: Vec<&HoldRow> = covering.collect();
                let last_record = terms.last_record(info.ends_at);
                let waits = terms.waits_for_close(info.lot);
                standings.push(standing((info, hold), (due, last_record), &covering, waits));
            }
        }
        standings.sort_by_key(|standing| (standing.info.lot, standing.hold));
        Ok(standings)
    }

    /// Everything of [`Inner::standings`], and what the destruction under way takes that the
    /// registers do not list any more: while it waits for a copy or for the root provider, what it
    /// means is due, may be late, and is not destroyed. No hold keeps what the engine has begun
    /// with, but those that get a copy.
    ///
    /// # Errors
    /// When the vault of the holds cannot be opened.
    pub(super) fn all_standings(&self, now: Timestamp) -> Result<Vec<Standing>, DeskError> {
        let mut standings = self.standings(now)?;
        let begun: BTreeMap<(Lot, Option<HoldNo>), Vec<HoldNo>> = {
            let waiting = self.vault.waiting_destruction();
            let dooms = self.vault.unfinished_destruction().into_iter().chain(waiting);
            dooms.map(|doom| ((doom.lot, doom.hold), doom.heirs)).collect()
        };
        for standing in &mut standings {
            if let Some(heirs) = begun.get(&standing.name()) {
                standing.holds.retain(|hold| heirs.contains(&HoldNo(*hold)));
            }
        }
        let living: BTreeSet<(Lot, Option<HoldNo>)> =
            standings.iter().map(Standing::name).collect();
        let state = self.state();
        for planned in state.planned().filter(|planned| !living.contains(&name_of(planned))) {
            let released = planned.released_holds.iter().filter_map(|hold| state.holds.get(hold));
            let ends = released.filter_map(|hold| Some(hold.released.as_ref()?.at));
            standings.push(Standing {
                info: LotInfo {
                    lot: planned.lot,
                    site: planned.site.clone(),
                    keys: planned.keys.iter().map(|key| KeyId(key.key)).collect(),
                    ends_at: planned.due,
                },
                hold: planned.hold.map(HoldNo),
                due: planned.due,
                waits: false,
                holds: planned.heirs.clone(),
                released: planned.released_holds.clone(),
                free_at: Some(ends.fold(planned.due, Timestamp::max)),
            });
        }
        drop(state);
        standings.sort_by_key(Standing::name);
        Ok(standings)
    }

    /// What is to be destroyed now, at most [`LOTS_MAX`]: lots that nothing holds; when there are
    /// none, what is on hold of one site, which needs a copy and may fail; and when there is
    /// nothing of that either, copies of holds that were released, likewise. What `tried` names
    /// failed in this run already: it is taken with fewer others then, and at last alone.
    ///
    /// # Errors
    /// When the vault of the holds cannot be opened.
    pub(super) fn plan(&self, now: Timestamp, tried: &Tried) -> Result<Vec<Planned>, DeskError> {
        let mut standings = self.free(now)?;
        standings.retain(|one| !tried.is_over(one));
        for of_holds in [false, true] {
            let of = || standings.iter().filter(|one| one.hold.is_some() == of_holds);
            let rank = |one: &Standing| (tried.most(one).is_some(), !one.holds.is_empty());
            let Some(first) = of().min_by_key(|one| rank(one)) else { continue };
            let (rank_of_first, most) = (rank(first), tried.most(first));
            let alike = |one: &&Standing| {
                let of_site = one.holds.is_empty() || one.info.site == first.info.site;
                of_site && rank(one) == rank_of_first && tried.most(one) == most
            };
            let alike = of().filter(alike).take(most.unwrap_or(LOTS_MAX));
            return Ok(alike.map(|standing| self.planned(standing)).collect());
        }
        Ok(Vec::new())
    }

    /// What a run may take now.
    fn free(&self, now: Timestamp) -> Result<Vec<Standing>, DeskError> {
        let mut standings = self.standings(now)?;
        let aside = self.names_aside();
        standings.retain(|one| one.is_free(now) && !aside.contains(&one.name()));
        self.leave_to_copy(&mut standings, now);
        Ok(standings)
    }

    /// What is free and was left where it is in this run.
    pub(super) fn left_alone(&self, now: Timestamp, tried: &Tried) -> Result<LeftAlone, DeskError> {
        let mut left = LeftAlone::default();
        for one in self.free(now)?.iter().filter(|one| tried.is_over(one)) {
            let of = match (tried.most(one), one.holds.is_empty()) {
                (Some(0), true) if !tried.waits_alone(one) => match one.hold {
                    Some(_) => &mut left.copies,
                    None => &mut left.refused,
                },
                (_, false) if !tried.holds_wait() => &mut left.held,
                _ => &mut left.waiting,
            };
            *of += 1;
        }
        Ok(left)
    }

    /// Whether something is free that needs the vault of the holds.
    pub(super) fn needs_holds(&self, now: Timestamp) -> Result<bool, DeskError> {
        let free = self.free(now)?;
        Ok(free.iter().any(|one| one.hold.is_some() || !one.holds.is_empty()))
    }

    /// What decides when a lot goes that is of no site. No hold covers one.
    fn everywhere_standing(
        &self,
        (info, hold): (LotInfo, Option<HoldNo>),
        policy: &Policy,
    ) -> Standing {
        if let Lot::Access(_) = info.lot {
            let due = due::access_due(info.ends_at, policy);
            return standing((info, hold), (due, due), &[], false);
        }
        seen_standing((info, hold), self.vault.age_ms(), self.vault.seen_floor())
    }

    /// What knows duplicates is due every day, the access log every month, and they hold nobody's
    /// record; where nothing else is free they wait a while for a backup that they would call off.
    /// What is on hold does not wait for it.
    fn leave_to_copy(&self, standings: &mut Vec<Standing>, now: Timestamp) {
        let is_unheld = |one: &Standing| one.hold.is_none() && one.holds.is_empty();
        let may_wait = |one: &Standing| {
            let until = one.due.0.saturating_add(i64::from(COPY_WAIT_DAYS) * DAY_MS);
            matches!(one.info.lot, Lot::Seen(_) | Lot::Access(_)) && now.0 < until
        };
        if self.vault.is_copying() && standings.iter().filter(|one| is_unheld(one)).all(may_wait) {
            standings.retain(|one| !is_unheld(one));
        }
    }

    /// A lot or a copy as it is planned for destruction, with a commitment to each of its keys.
    pub(super) fn planned(&self, standing: &Standing) -> Planned {
        let committed = |key: &KeyId| {
            let commitment = match standing.hold {
                None => self.vault.commitment(*key)?,
                Some(_) => self.vault.held_commitment(*key)?,
            };
            Some(Committed { key: key.0, commitment: Digest(commitment) })
        };
        let mut keys: Vec<_> = standing.info.keys.iter().filter_map(committed).collect();
        keys.sort_unstable_by_key(|key| key.key);
        Planned {
            lot: standing.info.lot,
            site: standing.info.site.clone(),
            due: standing.due,
            keys,
            released_holds: standing.released.clone(),
            hold: standing.hold.map(|hold| hold.0),
            heirs: standing.holds.clone(),
        }
    }
}

/// What is decided of the duplicates of a day. While the floor is not behind them they are needed.
fn seen_standing((info, hold): (LotInfo, Option<HoldNo>), age_ms: i64, floor: Day) -> Standing {
    let due = due::seen_due(info.ends_at, age_ms);
    let needed = !matches!(info.lot, Lot::Seen(day) if day < floor);
    standing((info, hold), (due, due), &[], needed)
}

/// What is decided of a lot, or of a copy, that is due then and covered by these holds.
pub(super) fn standing(
    (info, hold): (LotInfo, Option<HoldNo>),
    (due, last_record): (Timestamp, Timestamp),
    holds: &[&HoldRow],
    waits_for_close: bool,
) -> Standing {
    let (mut open, mut released, mut until) = (Vec::new(), Vec::new(), due);
    for row in holds {
        match &row.released {
            None => open.push(row.number),
            Some(end) => {
                released.push(row.number);
                until = until.max(end.at);
            }
        }
    }
    let free_at = match hold {
        // Nothing of it is copied before nothing more can come.
        None if !open.is_empty() => Some(due.max(last_record)),
        None => Some(until),
        // A copy goes with its own hold; one of a hold that is not known is kept.
        Some(own) => {
            let row = holds.iter().find(|row| row.number == own.0);
            row.and_then(|row| row.released.as_ref()).map(|end| end.at.max(due))
        }
    };
    // A copy is read by nobody who counts.
    let waits = hold.is_none() && waits_for_close;
    Standing { info, hold, due, waits, holds: open, released, free_at }
}

/// What tells a planned lot or copy from everything else.
pub(super) fn name_of(planned: &Planned) -> (Lot, Option<HoldNo>) {
    (planned.lot, planned.hold.map(HoldNo))
}

/// What a plan asks of the engine.
pub(super) fn doom_of(planned: &Planned) -> Doom {
    Doom {
        lot: planned.lot,
        hold: planned.hold.map(HoldNo),
        heirs: planned.heirs.iter().copied().map(HoldNo).collect(),
    }
}

/// The class of what is destroyed: that of the lot, or of a copy in hold storage.
pub(super) const fn word_of_planned(planned: &Planned) -> &'static str {
    match (planned.hold, planned.lot) {
        (None, lot) => word_of(lot),
        (Some(_), Lot::Records(bucket)) => match bucket.class {
            Class::Records => "hold.records",
            Class::Sets => "hold.sets",
            Class::Detections => "hold.detections",
        },
        (Some(_), Lot::Sets(_)) => "hold.sets",
        (Some(_), Lot::RecordKey(_)) => "hold.key.record",
        (Some(_), Lot::WatermarkKey(_)) => "hold.key.watermark",
        (Some(_), Lot::BaseKey(_)) => "hold.key.base",
        (Some(_), Lot::Suppression(_)) => "hold.key.suppression",
        (Some(_), Lot::Seen(_)) => "hold.seen",
        (Some(_), Lot::Access(_)) => "hold.access",
    }
}

/// A lot's class in ledger, list and certificate.
pub(super) const fn word_of(lot: Lot) -> &'static str {
    match lot {
        Lot::Records(bucket) => bucket.class.name(),
        Lot::Sets(_) => "sets",
        Lot::RecordKey(_) => "key.record",
        Lot::WatermarkKey(_) => "key.watermark",
        Lot::BaseKey(_) => "key.base",
        Lot::Suppression(_) => "key.suppression",
        Lot::Seen(_) => "seen",
        Lot::Access(_) => "access",
    }
}

/// The class whose rule a lot follows; none for what ends by what is accepted.
pub(super) fn class_of(lot: Lot) -> Option<RetentionClass> {
    Some(match lot {
        Lot::Records(bucket) => bucket.class.into(),
        Lot::Sets(_) => RetentionClass::Sets,
        Lot::WatermarkKey(_) => RetentionClass::Detections,
        Lot::RecordKey(_) | Lot::BaseKey(_) | Lot::Suppression(_) => RetentionClass::Records,
        Lot::Access(_) => RetentionClass::AccessLog,
        Lot::Seen(_) => return None,
    })
}

/// The rule of a lot: profile and class, or the accepted age.
pub(super) fn rule_name(profile: Profile, lot: Lot) -> &'static str {
    let Some(class) = class_of(lot) else { return "limits/age" };
    match (profile, class) {
        (Profile::KrPipa, RetentionClass::Sets) => "kr-pipa/c3",
        (Profile::KrPipa, RetentionClass::AccessLog) => "kr-pipa/c6",
        (Profile::KrPipa, RetentionClass::Detections) => "kr-pipa/c7",
        (Profile::KrPipa, _) => "kr-pipa/c2",
        (Profile::EuGdpr, RetentionClass::Sets) => "eu-gdpr/c3",
        (Profile::EuGdpr, RetentionClass::AccessLog) => "eu-gdpr/c6",
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
        Lot::Sets(at)
        | Lot::RecordKey(at)
        | Lot::WatermarkKey(at)
        | Lot::BaseKey(at)
        | Lot::Suppression(at) => Epoch::Month(at.month),
        Lot::Seen(day) => Epoch::Day(day),
        Lot::Access(month) => Epoch::Month(month),
    }
}

/// The lots as the ledger's intent names them: sites of one class, epoch, rule and due time
/// together.
pub(super) fn buckets(lots: &[Planned], rule: impl Fn(Lot) -> &'static str) -> Vec<Bucket> {
    let mut groups: BTreeMap<(&'static str, Epoch, &'static str, Timestamp), Vec<SiteId>> =
        BTreeMap::new();
    for planned in lots {
        let group =
            (word_of_planned(planned), epoch_of(planned.lot), rule(planned.lot), planned.due);
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

/// The ground of what ends by what is accepted.
const AGE_GROUND: &str =
    "as long as a record may come again and must count once ([limits] age_days)";

/// The ground of a lot's rule.
pub(super) fn ground_of(policy: &Policy, lot: Lot) -> &'static str {
    let Some(class) = class_of(lot) else { return AGE_GROUND };
    policy.rule(class).map_or("", |rule| rule.ground)
}
