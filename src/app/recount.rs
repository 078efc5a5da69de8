//! The statements of a stopped server, checked against its ledger's key and against a count of what
//! its sets hold. It opens keys and data, and changes neither.

use std::collections::BTreeMap;

use super::verify::Report;
use crate::billing;
use crate::config::Settings;
use crate::engine::arrivals::Sums;
use crate::engine::looking::Looking;
use crate::engine::recount::Recount;
use crate::keys::KeyRing;
use crate::ledger::VerifierKey;
use crate::model::ids::SiteId;
use crate::model::time::Month;
use crate::wire::statement::Body;

/// Before the names of statements' rows.
const ROWS: &str = "statement/";

/// Counts again what every stored statement says.
pub fn run(settings: &Settings, key: &VerifierKey, report: &mut Report) {
    let looking = match KeyRing::look(&settings.keys) {
        Ok(ring) => Looking::open(&settings.store.data, ring),
        Err(error) => {
            report.findings.push(format!("no count was made again: {error}"));
            return;
        }
    };
    let rows = looking.and_then(|looking| Ok((looking.rows(ROWS)?, looking)));
    let (rows, looking) = match rows {
        Ok(opened) => opened,
        Err(error) => {
            report.findings.push(format!("no count was made again: {error}"));
            return;
        }
    };
    match looking.arrivals() {
        Ok(found) => arrived(found, report),
        Err(error) => report.findings.push(format!("what arrived: {error}")),
    }
    if rows.is_empty() {
        report.unchecked.push("counts: there is no statement yet".to_owned());
    }
    let key = key.to_string();
    let mut counted: BTreeMap<(SiteId, Month), Option<Recount>> = BTreeMap::new();
    for (name, row) in rows {
        let body = match billing::verify(&row, &key) {
            Ok(body) => body,
            Err(error) => {
                report.findings.push(format!("the row {name}: {error}"));
                continue;
            }
        };
        let Some(scope) = body.scope() else { continue };
        let at = (scope, body.month);
        let found = match counted.get(&at) {
            Some(found) => found.clone(),
            None => match looking.recount(&at.0, at.1) {
                Ok(found) => {
                    counted.insert(at, found.clone());
                    found
                }
                Err(error) => {
                    report.findings.push(format!("{}: {error}", title(&body)));
                    continue;
                }
            },
        };
        compare(&body, found.as_ref(), report);
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
        report.findings.push(format!(
            "{accepted} records arrived and were accepted, and all months count {counted}"
        ));
    }
    if let Some(duplicates) = found.duplicates.filter(|_| !found.is_possible()) {
        report.findings.push(format!(
            "{duplicates} duplicates arrived, and all months count {counted_duplicates}"
        ));
    }
}

fn title(body: &Body) -> String {
    let Body { version, month, .. } = body;
    format!("version {version} of the statement of {} for {month}", body.subject())
}

/// Says whether a statement and the sets of its month agree.
fn compare(body: &Body, found: Option<&Recount>, report: &mut Report) {
    let title = title(body);
    let Some(found) = found else {
        report.unchecked.push(format!("the count of {title}: the sets of the month are destroyed"));
        return;
    };
    let of = &body.figures;
    // A group has a set of users only.
    let stand_ins = body.site_id.is_some().then_some(of.device_users);
    let counts = [
        ("users", Some(of.mau), found.users),
        ("devices", of.devices, found.devices),
        ("users of watermark sessions", of.watermark_users, found.watermark_users),
        ("devices that stand for users", stand_ins, found.device_users),
    ];
    let before = report.findings.len();
    let said = counts.into_iter().filter_map(|(what, said, stored)| Some((what, said?, stored)));
    for (what, said, stored) in said.filter(|(_, said, stored)| said != stored) {
        report.findings.push(format!("{title} says {said} {what}, and the sets hold {stored}"));
    }
    let digest = body.recount.as_ref().map(|recount| recount.user_set.0);
    if digest.is_some_and(|digest| digest != found.digest) {
        report.findings.push(format!("{title} has another digest of its users than the set"));
    }
    if report.findings.len() == before {
        report.checked.push(format!(
            "{title}: genuine, and {} users counted again from the stored set, same digest",
            found.users
        ));
    }
}

#[cfg(test)]
mod tests;
