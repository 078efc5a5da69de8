//! What of an explanation is not shown because it is about too few; made once, with it.

use std::collections::BTreeSet;

use super::crowd::Crowd;
use super::suppress;
use crate::model::explained::{Cell, Explained, Family, Hidden, Part};
use crate::model::vocab::{DrmType, Environment, Outcome, RequestType};

/// What of an explanation is about fewer than so many, or would tell of them.
pub fn hidden(of: &Explained, crowd: &Crowd, least: u64) -> Hidden {
    let renewals = renewals(of, least);
    let parts: Vec<&Part> = of.requests.values().collect();
    let requests = suppress::parts(&parts, &totals(of, renewals.is_some()), least);
    let parts: Vec<&Part> = of.licenses_by_quality.values().collect();
    let qualities = suppress::parts(&parts, &[vec![(0..parts.len()).collect()]], least);
    let [licenses, devices, users, sessions] = &crowd.ranges;
    let ranges = [
        suppress::ranges(&of.licenses_per_user.0, licenses, least, None),
        suppress::ranges(&of.devices_per_user.0, devices, least, None),
        suppress::ranges(&of.users_per_device.0, users, least, None),
        suppress::ranges(&of.licenses_per_session.0, sessions, least, None),
    ];
    let ids = of.device_ids.iter().zip(&crowd.device_ids);
    let device_ids = ids.map(|(ids, few)| *ids > 0 && (few.len() as u64) < least).collect();
    // The old statistics have no figure for other devices.
    let other = Some(Family::Other as usize);
    let families = suppress::ranges(&of.devices_by_family, &crowd.families, least, other);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::explained::Limits;
    use crate::model::field::ErrorClass;
    use crate::model::ids::SiteId;
    use crate::model::time::{Month, Timestamp};
    use crate::model::usage::Tally;

    /// Three DRM systems, renewals and offline licences, failures by class, a little trial and
    /// test: 38 parts, eight of them about too few.
    #[test]
    fn a_month_of_a_site_stays_readable() {
        let site = SiteId::parse(b"A").unwrap();
        let month = Month::parse(b"2026-11").unwrap();
        let mut of =
            Explained::new((site, month), (Timestamp(0), Tally::default()), Limits::default());
        let mut next = 0;
        let mut put = |environment, drm, request, error: u8, (records, subjects): (u64, u32)| {
            let outcome = Some(if error == 0 { Outcome::Success } else { Outcome::Fail });
            let error = ErrorClass::ALL.get(usize::from(error)).copied().filter(|_| error > 0);
            let cell = Cell { environment, outcome, drm, request, error };
            let subjects: Vec<u32> = (next..next + subjects.min(10)).collect();
            next += 10;
            of.requests.insert(cell, Part { records, subjects, nameless: 0 });
        };
        let kinds = [RequestType::New, RequestType::Renewal, RequestType::Offline];
        let drms = [DrmType::Widevine, DrmType::PlayReady, DrmType::FairPlay];
        let (live, trial, test) = (Environment::Production, Environment::Trial, Environment::Test);
        for (drm, most) in drms.into_iter().zip([90_000, 45_000, 30_000]) {
            let last = drm == DrmType::FairPlay;
            for (request, part) in kinds.into_iter().zip([1, 4, 7]) {
                let is_small = last && request == RequestType::Offline;
                put(live, drm, request, 0, if is_small { (4, 3) } else { (most / part, 1_000) });
                put(live, drm, request, 1, (most / 300, 100));
                put(live, drm, request, 2, if last { (5, 4) } else { (most / 300, 100) });
            }
            put(live, drm, RequestType::Release, 0, (20, 12));
            put(trial, drm, RequestType::New, 0, if last { (3, 2) } else { (50, 12) });
            let second = drm == DrmType::PlayReady;
            put(test, drm, RequestType::New, 0, if second { (3, 2) } else { (500, 12) });
        }
        put(trial, DrmType::Widevine, RequestType::New, 1, (2, 1));
        put(test, DrmType::Widevine, RequestType::New, 1, (2, 1));
        let small = of.requests.values().filter(|part| part.subjects() < 10).count();
        assert_eq!((of.requests.len(), small), (38, 8));
        let hidden = hidden(&of, &Crowd::new(10), 10).requests;
        let left_out = hidden.iter().filter(|hidden| **hidden).count();
        let all: u64 = of.requests.values().map(|part| part.records).sum();
        let shown = of.requests.values().zip(&hidden).filter(|(_, hidden)| !**hidden);
        let shown: u64 = shown.map(|(part, _)| part.records).sum();
        assert!(left_out <= 2 * small && shown * 100 >= all * 85, "{left_out} {shown} {all}");
    }
}
