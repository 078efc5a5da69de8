//! The statements of a stopped server, checked against its ledger's key and against a count of what
//! its sets hold. It opens keys and data, and changes neither.

use std::collections::BTreeMap;

use super::verify::Report;
use crate::billing;
use crate::config::Settings;
use crate::crypto::sha256;
use crate::engine::EngineError;
use crate::engine::arrivals::Sums;
use crate::engine::looking::Looking;
use crate::engine::recount::Recount;
use crate::keys::{KeyRing, KeysError};
use crate::ledger::VerifierKey;
use crate::model::ids::SiteId;
use crate::model::time::Month;
use crate::model::vocab::DrmType;
use crate::wire::statement::Body;

/// What to do where keys and data do not open.
const OPEN: &str = "stop the server, check a copy of data, keys and ledger of one time, and name \
                    the root key in the configuration that is given with --config";
/// What to do where counts do not agree.
const COUNTS: &str = "bill nobody by it until it is known why, keep data and ledger as they are, \
                      and count the last backup again in the same way";
/// What to do where a statement is not the one that was issued.
const STATEMENTS: &str = "bill nobody by it, keep the data as it is, and take the statement from \
                          whoever got it when it was issued: `blindtally statement verify` tells \
                          whether that one is genuine";

/// Before the names of statements' rows.
const ROWS: &str = "statement/";

/// Counts again what every stored statement says.
pub fn run(settings: &Settings, key: &VerifierKey, report: &mut Report) {
    let looking = match KeyRing::look(&settings.keys) {
        Ok(ring) => Looking::open(&settings.store.data, ring),
        // As the installation is meant to be: nothing was changed or lost.
        Err(error @ KeysError::NotWithToken) => {
            report.unchecked.push(format!("counts: {error}; no count was made again"));
            return;
        }
        Err(error) => {
            report.find(format!("no count was made again: {error}"), OPEN);
            return;
        }
    };
    let rows = looking.and_then(|looking| Ok((looking.rows(ROWS)?, looking)));
    let (rows, looking) = match rows {
        Ok(opened) => opened,
        Err(error) => {
            report.find(format!("no count was made again: {error}"), OPEN);
            return;
        }
    };
    match looking.arrivals() {
        Ok(found) => arrived(found, report),
        Err(error) => report.find(format!("what arrived: {error}"), COUNTS),
    }
    if rows.is_empty() {
        report.unchecked.push("counts: there is no statement yet".to_owned());
    }
    let key = key.to_string();
    let mut counted: BTreeMap<(SiteId, Month), Found> = BTreeMap::new();
    // The rows of a month come one after the other, by their versions.
    let mut before: Vec<Body> = Vec::new();
    for (name, row) in rows {
        let body = match billing::verify(&row, &key) {
            Ok(body) => body,
            Err(error) => {
                report.find(format!("the row {name}: {error}"), STATEMENTS);
                continue;
            }
        };
        let Some(scope) = body.scope() else { continue };
        let at = (scope, body.month);
        before.retain(|of| of.scope().as_ref() == Some(&at.0) && of.month == at.1);
        follows(&body, &before, report);
        let found = match counted.get(&at) {
            Some(found) => found.clone(),
            None => match find(&looking, &at) {
                Ok(found) => {
                    counted.insert(at, found.clone());
                    found
                }
                Err(error) => {
                    report.find(format!("{}: {error}", title(&body)), COUNTS);
                    before.push(body);
                    continue;
                }
            },
        };
        compare(&body, &found, report);
        before.push(body);
    }
}

/// What became of the sets of a month.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// They are there, and hold this.
    Sets(Recount),
    /// They are apart, on hold.
    Held,
    /// They are destroyed.
    Nothing,
}

fn find(looking: &Looking, (scope, month): &(SiteId, Month)) -> Result<Found, EngineError> {
    Ok(match looking.recount(scope, *month)? {
        Some(found) => Found::Sets(found),
        None if looking.is_held(scope, *month)? => Found::Held,
        None => Found::Nothing,
    })
}

/// Says whether a version names the one before it, as that one is stored, and bills devices that
/// stand for users just where the first one that is stored does.
fn follows(body: &Body, before: &[Body], report: &mut Report) {
    let title = title(body);
    let bills = |of: &Body| of.billable.device_users.is_some();
    if before.first().is_some_and(|first| bills(first) != bills(body)) {
        let how = if bills(body) { "bills" } else { "does not bill" };
        let what = "devices that stand for users, unlike the first version";
        report.find(format!("{title} {how} {what}"), COUNTS);
    }
    let wrong = match (&body.replaces, before.last()) {
        (None, None) if body.version == 1 => None,
        (None, _) => Some("names no version that it takes the place of".to_owned()),
        (Some(of), _) if of.version.checked_add(1) != Some(body.version) => {
            Some(format!("takes the place of version {}", of.version))
        }
        (Some(of), Some(before)) if of.version == before.version => {
            let own = before.to_bytes().map(|bytes| sha256(&[&bytes]));
            let same = own.is_ok_and(|own| own == of.digest.0);
            (!same).then(|| format!("takes the place of another version {}", of.version))
        }
        (Some(of), Some(before)) if of.version < before.version => {
            let (version, other) = (of.version, before.version);
            Some(format!("takes the place of version {version}, and there is a version {other}"))
        }
        (Some(of), _) => {
            let what = format!("{title} takes the place of version {}", of.version);
            report.unchecked.push(format!("{what}, which is not stored"));
            None
        }
    };
    if let Some(wrong) = wrong {
        report.find(format!("{title} {wrong}"), STATEMENTS);
    }
}

/// Says whether as many records arrived and were accepted as all months count, and no fewer
/// duplicates than they count.
fn arrived(found: Option<Sums>, report: &mut Report) {
    let Some(found) = found else {
        return report.unchecked.push("what arrived: nothing of it was folded yet".to_owned());
    };
    let Sums { accepted, counted, counted_duplicates, .. } = found;
    if found.agree() {
        return report.checked.push(format!(
            "what arrived: {accepted} records were accepted, and all months count as many"
        ));
    }
    if accepted != counted {
        let what =
            format!("{accepted} records arrived and were accepted, and all months count {counted}");
        report.find(what, COUNTS);
    }
    if let Some(duplicates) = found.duplicates.filter(|_| !found.is_possible()) {
        let what =
            format!("{duplicates} duplicates arrived, and all months count {counted_duplicates}");
        report.find(what, COUNTS);
    }
}

fn title(body: &Body) -> String {
    let Body { version, month, .. } = body;
    format!("version {version} of the statement of {} for {month}", body.subject())
}

/// Says whether a statement and the sets of its month agree.
fn compare(body: &Body, found: &Found, report: &mut Report) {
    let title = title(body);
    let before = report.findings.len();
    if !body.bills_what_it_says() {
        report.find(format!("{title} bills other counts than it says"), COUNTS);
    }
    let found = match found {
        Found::Sets(found) => found,
        Found::Held => {
            let why = "the sets of the month are on hold, and read by nobody";
            return report.unchecked.push(format!("the count of {title}: {why}"));
        }
        Found::Nothing => {
            let why = "the sets of the month are destroyed";
            return report.unchecked.push(format!("the count of {title}: {why}"));
        }
    };
    for (what, said, stored) in counts(body, found) {
        if said != stored {
            report.find(format!("{title} says {said} {what}, and the sets hold {stored}"), COUNTS);
        }
    }
    for (what, said, stored) in late(body, found) {
        if said > stored {
            report.find(format!("{title} says {said} {what}, and the sets hold {stored}"), COUNTS);
        }
    }
    let sessions = body.figures.watermark_sessions;
    if body.site_id.is_some() && sessions < found.sessions {
        let stored = found.sessions;
        let what = "watermark sessions, and the sets hold";
        report.find(format!("{title} says {sessions} {what} {stored} that have an id"), COUNTS);
    }
    let digest = body.recount.as_ref().map(|recount| recount.user_set.0);
    if digest.is_some_and(|digest| digest != found.digest) {
        report.find(format!("{title} has another digest of its users than the set"), COUNTS);
    }
    if report.findings.len() == before {
        let late = match body.version {
            1 => String::new(),
            _ => format!(", {} late ones", body.corrections.users),
        };
        report.checked.push(format!(
            "{title}: genuine, and {} users counted again from the stored set, same digest{late}",
            found.users
        ));
    }
}

/// What a statement says and what the sets hold; these do not change any more.
fn counts(body: &Body, found: &Recount) -> Vec<(String, u64, u64)> {
    let of = &body.figures;
    // A group has a set of users only.
    let stand_ins = body.site_id.is_some().then_some(of.device_users);
    let own = body.recount.as_ref();
    let recounted = [
        ("users by its own count", own.map(|of| of.mau), found.users),
        ("devices by its own count", own.and_then(|of| of.devices), found.devices),
        (
            "users of watermark sessions by its own count",
            own.and_then(|of| of.watermark_users),
            found.watermark_users,
        ),
        (
            "devices that stand for users by its own count",
            own.and_then(|of| of.device_users),
            found.device_users,
        ),
    ];
    let counts = [
        ("users", Some(of.mau), found.users),
        ("devices", of.devices, found.devices),
        ("users of watermark sessions", of.watermark_users, found.watermark_users),
        ("devices that stand for users", stand_ins, found.device_users),
    ];
    let said =
        |(what, said, stored): (&str, Option<u64>, u64)| Some((what.to_owned(), said?, stored));
    let by_drm = DrmType::ALL.iter().zip(found.users_by_drm).filter_map(|(drm, stored)| {
        let row = body.by_drm_type.iter().find(|row| row.drm_type == drm.name());
        // What is left out says nothing, and a system without a row that nobody has it.
        Some((format!("users of {drm}"), row.map_or(Some(0), |row| row.mau)?, stored))
    });
    counts.into_iter().chain(recounted).filter_map(said).chain(by_drm).collect()
}

/// What a statement says of what came after the close, and what the sets hold of that by now, which
/// may be more. The first version bills none of it, and was not folded for it.
fn late(body: &Body, found: &Recount) -> Vec<(&'static str, u64, u64)> {
    if body.version == 1 {
        return Vec::new();
    }
    let of = &body.corrections;
    let mut late = vec![("late users", of.users, found.late_users)];
    // Older forms were written before all of these were counted.
    if body.site_id.is_some() && body.evidence.is_some() {
        late.extend([
            ("late devices that stand for users", of.device_users, found.late_device_users),
            ("late devices", of.devices, found.late_devices),
            ("late users of watermark sessions", of.watermark_users, found.late_watermark_users),
        ]);
    }
    let own = body.recount.as_ref();
    let users = own.and_then(|of| of.late_users);
    late.extend(users.map(|said| ("late users by its own count", said, found.late_users)));
    let devices = own.and_then(|of| of.late_device_users);
    let what = "late devices that stand for users by its own count";
    late.extend(devices.map(|said| (what, said, found.late_device_users)));
    late
}

#[cfg(test)]
mod tests;
