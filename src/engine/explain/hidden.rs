//! What of an explanation is not shown because it is about too few; made once, with it.

use std::collections::BTreeSet;

use super::suppress;
use crate::model::explained::{Cell, Explained, Family, Hidden, Part};
use crate::model::vocab::{DrmType, Environment, Outcome, RequestType};

/// What of an explanation is about fewer than so many, or would tell of them.
pub fn hidden(of: &Explained, least: u64) -> Hidden {
    let renewals = renewals(of, least);
    let parts: Vec<&Part> = of.requests.values().collect();
    let requests = suppress::parts(&parts, &totals(of, renewals.is_some()), least);
    let parts: Vec<&Part> = of.licenses_by_quality.values().collect();
    let qualities = suppress::parts(&parts, &[vec![(0..parts.len()).collect()]], least);
    let ranges = [
        suppress::ranges(&of.licenses_per_user.0, least, None),
        suppress::ranges(&of.devices_per_user.0, least, None),
        suppress::ranges(&of.users_per_device.0, least, None),
        suppress::ranges(&of.licenses_per_session.0, least, None),
    ];
    let device_ids = of.device_ids.iter().map(|ids| (1..least).contains(ids)).collect();
    // The old statistics have no figure for other devices.
    let other = Some(Family::Other as usize);
    let families = suppress::ranges(&of.devices_by_family, least, other);
    Hidden { least, requests, qualities, ranges, device_ids, families, renewals }
}

/// The issued renewals, where they are about enough.
fn renewals(of: &Explained, least: u64) -> Option<u64> {
    let parts: Vec<&Part> =
        of.requests.iter().filter(|(cell, _)| is_renewal(cell)).map(|(_, part)| part).collect();
    let subjects: BTreeSet<u32> = parts.iter().flat_map(|part| &part.subjects).copied().collect();
    let nameless: u64 = parts.iter().map(|part| part.nameless).sum();
    let enough = parts.is_empty() || subjects.len() as u64 + nameless >= least;
    enough.then(|| parts.iter().map(|part| part.records).sum())
}

fn is_renewal(cell: &Cell) -> bool {
    cell.is_issue() && cell.request == RequestType::Renewal
}

/// The sums of licence requests that are known, each by the places of its parts: those that stand
/// beside the parts, and then those of usage and statement, too.
fn totals(of: &Explained, renewals: bool) -> [Vec<Vec<usize>>; 2] {
    let sum = |wanted: &dyn Fn(&Cell) -> bool| -> Vec<usize> {
        let places = of.requests.keys().enumerate().filter(|(_, cell)| wanted(cell));
        places.map(|(at, _)| at).collect()
    };
    let elsewhere = |cell: &Cell, outcome: Outcome| {
        cell.environment != Environment::Production
            && cell.outcome == Some(outcome)
            && cell.request.issues()
    };
    let mut here = vec![sum(&|_| true), sum(&Cell::is_issue), sum(&Cell::is_failure)];
    if renewals {
        here.push(sum(&is_renewal));
    }
    let mut known = here.clone();
    known.push(sum(&|cell| !cell.request.issues()));
    known.push(sum(&|cell| elsewhere(cell, Outcome::Fail)));
    for environment in [Environment::Trial, Environment::Test] {
        known.push(sum(&|cell| {
            elsewhere(cell, Outcome::Success) && cell.environment == environment
        }));
    }
    for drm in DrmType::ALL {
        known.push(sum(&|cell| cell.is_issue() && cell.drm == *drm));
    }
    if of.tally.counters.renewals_excluded > 0 {
        known.push(sum(&is_renewal));
    }
    [here, known].map(|mut totals| {
        totals.retain(|total| !total.is_empty());
        totals
    })
}
