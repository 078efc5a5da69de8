//! Whether what was read from the records is what the counters say.

use crate::model::batch::{Effect, Said};
use crate::model::explained::Explained;
use crate::model::site::Counting;
use crate::model::vocab::RecordType;

/// Compares every figure that both know.
///
/// # Errors
/// The name of a figure that differs.
pub fn agrees(of: &Explained, counting: Counting) -> Result<(), &'static str> {
    let (counters, late) = (&of.tally.counters, &of.tally.corrections);
    if of.records_seen > of.records_counted() {
        return Err("records");
    }
    let effect = |found: &[Effect]| effects(of, counting, found);
    let both = [
        ("licenses_issued", of.licenses_issued(), counters.licenses_issued, late.licenses_issued),
        ("mau", of.users, counters.mau, late.mau),
    ];
    // What is late is not told apart in every figure; then the figure lies in between.
    let between = [
        (
            "licenses_failed",
            effect(&[Effect::Failed, Effect::FailedCounted]),
            counters.licenses_failed,
        ),
        ("renewals_excluded", effect(&[Effect::Renewal]), counters.renewals_excluded),
        ("no_license", effect(&[Effect::NoLicense]), counters.no_license),
        ("trial", effect(&[Effect::Trial]), counters.trial),
        ("test", effect(&[Effect::Test]), counters.test),
        ("failed_elsewhere", effect(&[Effect::FailedElsewhere]), counters.failed_elsewhere),
        ("unattributed_licenses", of.unattributed, counters.unattributed_licenses),
        ("devices", of.devices, counters.devices),
        ("device_users", of.device_users, counters.device_users),
    ];
    let by_drm = counters.mau_by_drm.iter().zip(&of.users_by_drm);
    let by_drm = by_drm.map(|(counter, found)| ("mau_by_drm", *found, *counter));
    let licenses = by_drm_licenses(of).into_iter().zip(counters.licenses_by_drm);
    let licenses = licenses.map(|(found, counter)| ("licenses_by_drm", found, counter));
    let whole = of.is_whole();
    for (name, found, counter, late) in both {
        let most = counter + late;
        if found > most || whole && found != most {
            return Err(name);
        }
    }
    for (name, found, counter) in between.into_iter().chain(by_drm).chain(licenses) {
        if found > counter + late.records || whole && found < counter {
            return Err(name);
        }
    }
    Ok(())
}

/// The licence requests that count as one of these.
fn effects(of: &Explained, counting: Counting, wanted: &[Effect]) -> u64 {
    let counts = of.requests.iter().filter(|(cell, _)| {
        let said = Said {
            kind: RecordType::LicenseIssued,
            outcome: cell.outcome,
            environment: cell.environment,
            request: Some(cell.request),
            license: None,
        };
        wanted.contains(&Effect::of(&said, counting))
    });
    counts.map(|(_, part)| part.records).sum()
}

fn by_drm_licenses(of: &Explained) -> [u64; 8] {
    let mut sums = [0; 8];
    for (cell, part) in of.requests.iter().filter(|(cell, _)| cell.is_issue()) {
        sums[usize::from(cell.drm.code())] += part.records;
    }
    sums
}
