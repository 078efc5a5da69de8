//! The list of lots: what lives with its due time and state, and what was destroyed with its
//! certificate. Certificates are never removed, so a page opens no more of them than it shows, and
//! never more than a few.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{LOTS_MAX, Standing, epoch_of, rule_name, word_of};
use super::policy::{Policy, Profile};
use super::run::FAILED;
use super::{Desk, DeskError, Inner, sees};
use crate::model::caller::Caller;
use crate::model::ids::SiteId;
use crate::model::retention::Lot;
use crate::model::time::Timestamp;
use crate::wire::retention::certificate::{Certificate, CertifiedLot};
use crate::wire::retention::rows::{FailedRow, Planned, RunRow};
use crate::wire::retention::view::{ListView, LotView, RuleView};

/// Which lots are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Of this site only.
    pub site: Option<SiteId>,
    /// In this state only.
    pub state: Option<&'static str>,
    /// Most lots.
    pub limit: usize,
    /// Where the page before ended: lots to leave out, or a place among the certificates.
    pub from: usize,
}

/// Most certificates that are opened for one page: each may have a thousand lots.
const OPENED_MAX: usize = 32;
/// The bit of a cursor that stands for a place among the certificates.
const CERTIFIED: usize = 1 << (usize::BITS - 1);
/// Bits of such a cursor for the lots of its certificate to leave out; a certificate has fewer.
const SKIP_BITS: u32 = 14;
const _: () = assert!(LOTS_MAX < 1 << SKIP_BITS);

/// A place among the certificates: the number of an intent, and lots of its certificate to leave
/// out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    operation: u64,
    skip: usize,
}

impl Place {
    const FIRST: Self = Self { operation: 0, skip: 0 };

    fn of(cursor: usize) -> Option<Self> {
        let place = (cursor & CERTIFIED != 0).then_some(cursor & !CERTIFIED)?;
        let skip = place & ((1 << SKIP_BITS) - 1);
        Some(Self { operation: (place >> SKIP_BITS) as u64, skip })
    }

    fn cursor(self) -> usize {
        // A ledger has fewer entries than this has bits for.
        let operation = usize::try_from(self.operation).unwrap_or(usize::MAX);
        CERTIFIED | (operation << SKIP_BITS) | self.skip
    }
}

/// Every state of a lot.
pub const STATES: [&str; 8] =
    ["active", "due", "held", "overdue", "destroying", "destroyed", "failed", "certified"];

impl Question {
    /// The state of this name.
    pub fn state_of(name: &str) -> Option<&'static str> {
        STATES.iter().find(|state| **state == name).copied()
    }
}

impl Desk {
    /// The lots of the caller's sites.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn list(&self, caller: &Caller, question: &Question) -> Result<Vec<u8>, DeskError> {
        let inner = &self.0;
        let (believed, confirmed) = inner.believed();
        let wanted = |lot: &LotView| {
            sees(caller, &lot.site)
                && question.site.as_ref().is_none_or(|site| *site == lot.site)
                && question.state.is_none_or(|state| state == lot.state)
        };
        let (mut lots, mut next_cursor) = (Vec::new(), None);
        let place = Place::of(question.from);
        if place.is_none() && question.state != Some("certified") {
            let mut own = inner.lot_views(believed)?;
            own.retain(wanted);
            let end = question.from.saturating_add(question.limit);
            next_cursor = (own.len() > end).then_some(end);
            lots.extend(own.into_iter().skip(question.from).take(question.limit));
        }
        if next_cursor.is_none() && question.state.is_none_or(|state| state == "certified") {
            let place = place.unwrap_or(Place::FIRST);
            next_cursor = inner.certified(&mut lots, place, question.limit, &wanted)?;
        }
        let policy = inner.policy_at(believed);
        let list = ListView {
            as_of: inner.clock.now(),
            high_water: believed,
            unconfirmed: !confirmed,
            turn_over: inner.turn_view()?,
            profile: policy.profile.name(),
            dates: (
                policy.published.to_string(),
                inner.effective(policy).unwrap_or(policy.effective).to_string(),
            ),
            rules: rules(policy),
            lots,
            next_cursor,
        };
        Ok(list.to_json())
    }
}

impl Inner {
    /// Adds every lot that was destroyed with a certificate.
    pub(super) fn certified_lots(
        &self,
        lots: &mut Vec<LotView>,
        wanted: &dyn Fn(&LotView) -> bool,
    ) -> Result<(), DeskError> {
        let mut next = Some(Place::FIRST);
        while let Some(place) = next {
            next = self.certified(lots, place, usize::MAX, wanted)?.and_then(Place::of);
        }
        Ok(())
    }

    /// Every lot that lives, is being destroyed, or whose destruction failed.
    pub(super) fn lot_views(&self, believed: Timestamp) -> Result<Vec<LotView>, DeskError> {
        let now = believed.max(self.clock.now());
        let mut going: BTreeMap<(Option<u64>, Lot), Option<&'static str>> = BTreeMap::new();
        let under_way = {
            let state = self.state();
            [state.run.clone(), state.waits.clone()]
        };
        for run in under_way.iter().flatten() {
            let state = self.run_state(run)?;
            let ends = run.lots.iter().filter(|planned| planned.heirs.is_empty());
            going.extend(ends.map(|planned| ((planned.hold, planned.lot), state)));
        }
        let profile = self.policy_at(believed).profile;
        let held = self.vault.held()?.into_iter().filter(|held| held.lost);
        let lost: BTreeSet<Lot> = held.map(|held| held.lot).collect();
        let view = |standing: &Standing| LotView {
            class: word_of(standing.info.lot),
            site: standing.info.site.clone(),
            epoch: epoch_of(standing.info.lot),
            rule: rule_name(profile, standing.info.lot).to_owned(),
            due: standing.due,
            state: state_of(standing, going.get(&key_of(standing)).copied().flatten(), now),
            holds: standing.holds.clone(),
            apart: standing.hold.is_some(),
            lost: standing.hold.is_some() && lost.contains(&standing.info.lot),
            certificate: None,
        };
        let mut standings = self.all_standings(believed)?;
        // Of the copies that holds have of one lot the one that stays longest is shown.
        standings.sort_by_key(|one| (one.info.lot, one.hold.is_some(), one.free_at.is_some()));
        standings.dedup_by_key(|one| (one.info.lot, one.hold.is_some()));
        let living: BTreeSet<Lot> = standings.iter().map(|standing| standing.info.lot).collect();
        standings.retain(|one| going.get(&key_of(one)).is_none_or(Option::is_some));
        let mut views: Vec<LotView> = standings.iter().map(view).collect();
        // One that lives is listed above, and tried again.
        let gone = |planned: &Planned| !living.contains(&planned.lot);
        for (_, row) in self.vault.load_rows(FAILED)? {
            let lots = FailedRow::parse(&row)?.lots.into_iter().filter(gone);
            views.extend(lots.map(|planned| gone_view(planned, profile, "failed")));
        }
        Ok(views)
    }

    /// The state of what the run under way takes; `None` where its certificate tells of it already.
    fn run_state(&self, run: &RunRow) -> Result<Option<&'static str>, DeskError> {
        if !run.report.as_ref().is_some_and(|report| report.passed && !report.withdrawn) {
            return Ok(Some("destroying"));
        }
        let operation = run.operation.unwrap_or(u64::MAX);
        let issued = self.certificate_from(operation)?.is_some_and(|(at, _)| at == operation);
        Ok((!issued).then_some("destroyed"))
    }

    /// Adds lots with a certificate from a place on until there are so many; where the next page
    /// begins.
    fn certified(
        &self,
        lots: &mut Vec<LotView>,
        mut place: Place,
        limit: usize,
        wanted: &dyn Fn(&LotView) -> bool,
    ) -> Result<Option<usize>, DeskError> {
        for opened in 0.. {
            let Some((operation, row)) = self.certificate_from(place.operation)? else { break };
            let skip = if operation == place.operation { place.skip } else { 0 };
            place = Place { operation, skip };
            if lots.len() >= limit || opened == OPENED_MAX {
                return Ok(Some(place.cursor()));
            }
            let body = Certificate::parse(&row)?.body;
            let own = body.lots.iter().filter_map(|lot| certified(lot, &body.id)).filter(wanted);
            let mut own = own.skip(skip);
            let room = limit - lots.len();
            lots.extend(own.by_ref().take(room));
            if own.next().is_some() {
                return Ok(Some(Place { operation, skip: skip + room }.cursor()));
            }
            place = Place { operation: operation.saturating_add(1), skip: 0 };
        }
        Ok(None)
    }
}

/// A lot that does not live any more.
fn gone_view(planned: Planned, profile: Profile, state: &'static str) -> LotView {
    LotView {
        class: word_of(planned.lot),
        site: planned.site,
        epoch: epoch_of(planned.lot),
        rule: rule_name(profile, planned.lot).to_owned(),
        due: planned.due,
        state,
        holds: Vec::new(),
        apart: planned.hold.is_some(),
        lost: false,
        certificate: None,
    }
}

fn key_of(standing: &Standing) -> (Option<u64>, Lot) {
    (standing.hold.map(|hold| hold.0), standing.info.lot)
}

fn state_of(standing: &Standing, going: Option<&'static str>, now: Timestamp) -> &'static str {
    if let Some(state) = going {
        state
    } else if standing.due > now {
        "active"
    } else if standing.is_overdue(now) {
        "overdue"
    } else if !standing.holds.is_empty() {
        "held"
    } else {
        "due"
    }
}

/// What is gone; a lot that a hold keeps is not.
fn certified(lot: &CertifiedLot, id: &str) -> Option<LotView> {
    const WORDS: [&str; 9] = [
        "records",
        "detections",
        "sets",
        "key.record",
        "key.watermark",
        "key.base",
        "key.suppression",
        "seen",
        "access",
    ];
    let class = lot.class.strip_prefix("hold.").unwrap_or(&lot.class);
    if !lot.held_by.is_empty() {
        return None;
    }
    Some(LotView {
        class: WORDS.iter().find(|word| **word == class).copied()?,
        site: lot.site.clone(),
        epoch: lot.epoch,
        rule: lot.rule.clone(),
        due: lot.due,
        state: "certified",
        holds: Vec::new(),
        apart: false,
        lost: false,
        certificate: Some(id.to_owned()),
    })
}

pub(super) fn rules(policy: &Policy) -> Vec<RuleView> {
    let view = |rule: &super::policy::Rule| RuleView {
        class: rule.class.name(),
        content: rule.content,
        period: rule.period.to_string(),
        ground: rule.ground,
        epoch: rule.epoch.name(),
    };
    policy.rules.iter().map(view).collect()
}
