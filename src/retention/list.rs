//! The list of lots: what lives with its due time and state, and what was destroyed with its
//! certificate.

use std::collections::BTreeSet;

use super::certificate;
use super::plan::{Standing, class_of, epoch_of, rule_name, word_of};
use super::policy::Policy;
use super::run::FAILED;
use super::{Desk, DeskError, Inner};
use crate::model::caller::Caller;
use crate::model::ids::SiteId;
use crate::model::retention::Lot;
use crate::model::time::Timestamp;
use crate::wire::retention::certificate::{Certificate, CertifiedLot};
use crate::wire::retention::rows::FailedRow;
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
    /// Lots to leave out: where the page before ended.
    pub from: usize,
}

/// Every state of a lot.
pub const STATES: [&str; 7] =
    ["active", "due", "held", "overdue", "destroying", "failed", "certified"];

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
        let mut lots = inner.lot_views(believed)?;
        lots.retain(|lot| {
            caller.sites.holds(&lot.site)
                && question.site.as_ref().is_none_or(|site| *site == lot.site)
                && question.state.is_none_or(|state| state == lot.state)
        });
        let end = question.from.saturating_add(question.limit);
        let next_cursor = (lots.len() > end).then_some(end);
        let lots = lots.into_iter().skip(question.from).take(question.limit).collect();
        let policy = inner.policy_at(believed);
        let list = ListView {
            as_of: inner.clock.now(),
            high_water: believed,
            unconfirmed: !confirmed,
            profile: policy.profile.name(),
            dates: (policy.published.to_string(), policy.effective.to_string()),
            rules: rules(policy),
            lots,
            next_cursor,
        };
        Ok(list.to_json())
    }
}

impl Inner {
    fn lot_views(&self, believed: Timestamp) -> Result<Vec<LotView>, DeskError> {
        let now = believed.max(self.clock.now());
        let going: BTreeSet<Lot> = {
            let state = self.state();
            let all = state.run.iter().flat_map(|run| &run.lots);
            all.filter(|planned| planned.heirs.is_empty()).map(|planned| planned.lot).collect()
        };
        let profile = self.policy_at(believed).profile;
        let view = |standing: &Standing| LotView {
            class: word_of(standing.info.lot),
            site: standing.info.site.clone(),
            epoch: epoch_of(standing.info.lot),
            rule: rule_name(profile, class_of(standing.info.lot)).to_owned(),
            due: standing.due,
            state: state_of(standing, &going, now),
            holds: standing.holds.clone(),
            apart: standing.hold.is_some(),
            certificate: None,
        };
        let mut standings = self.standings(believed)?;
        // Of the copies that holds have of one lot the one that stays longest is shown.
        standings.sort_by_key(|one| (one.info.lot, one.hold.is_some(), one.free_at.is_some()));
        standings.dedup_by_key(|one| (one.info.lot, one.hold.is_some()));
        let living: BTreeSet<Lot> = standings.iter().map(|standing| standing.info.lot).collect();
        let mut views: Vec<LotView> = standings.iter().map(view).collect();
        for (_, row) in self.vault.load_rows(FAILED)? {
            for planned in FailedRow::parse(&row)?.lots {
                // One that lives is listed above, and tried again.
                if living.contains(&planned.lot) {
                    continue;
                }
                views.push(LotView {
                    class: word_of(planned.lot),
                    site: planned.site,
                    epoch: epoch_of(planned.lot),
                    rule: rule_name(profile, class_of(planned.lot)).to_owned(),
                    due: planned.due,
                    state: "failed",
                    holds: Vec::new(),
                    apart: planned.hold.is_some(),
                    certificate: None,
                });
            }
        }
        for (_, row) in self.vault.load_rows(certificate::ROWS)? {
            let body = Certificate::parse(&row)?.body;
            views.extend(body.lots.iter().filter_map(|lot| certified(lot, &body.id)));
        }
        Ok(views)
    }
}

fn state_of(standing: &Standing, going: &BTreeSet<Lot>, now: Timestamp) -> &'static str {
    if going.contains(&standing.info.lot) {
        "destroying"
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
    const WORDS: [&str; 6] =
        ["records", "detections", "sets", "key.record", "key.watermark", "key.base"];
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
        certificate: Some(id.to_owned()),
    })
}

fn rules(policy: &Policy) -> Vec<RuleView> {
    let view = |rule: &super::policy::Rule| RuleView {
        class: rule.class.name(),
        content: rule.content,
        period: rule.period.to_string(),
        ground: rule.ground,
        epoch: rule.epoch.name(),
    };
    policy.rules.iter().map(view).collect()
}
