//! The bill over months, zones, changes of the clocks, late, repeated and refused records,
//! backfills, erasures, holds, closes and starts: each figure against a second count in Python
//! (`tests/vectors/count.py`).

mod bites;
mod maker;
mod run;

use std::path::Path;
use std::process::Command;

use super::clocked::Clocked;
use super::*;
use crate::support::{Random, seed};
use bites::bites;
use blindtally::config::Settings;
use maker::Maker;
use run::{Run, groups, statement_path};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// The first days of winter time in Berlin and New York lie behind this, and two turns of a month.
const BEGIN: &str = "2026-10-22T07:30:00Z";
const END: &str = "2027-01-15T00:00:00Z";
/// The records of the first days are of months that are closed by now everywhere.
const CLOSED: &str = "2026-11-12T00:00:00Z";
/// What is compared of a statement: all that is no name, no time and no text of a credential.
const STATED: [&str; 10] = [
    "figures",
    "by_drm_type",
    "excluded",
    "corrections",
    "earlier_corrections",
    "billable",
    "members",
    "evidence",
    "recount",
    "quality",
];

/// The second count has its own time zone data, of another year: these are zones whose rules have
/// not changed for long.
const SITES: [(&str, &str); 6] = [
    (
        "utc",
        r#"{"time_zone":"UTC","billing_group":"acme","user_id_trim":true,"user_id_nfc":true,
            "user_id_lower":true,"pseudonym_algorithm":"blake3",
            "billing_group_algorithm":"blake3"}"#,
    ),
    // Its options change on the way.
    ("seoul", r#"{"time_zone":"Asia/Seoul","closing_hours":24,"device_as_user":true}"#),
    (
        "york",
        r#"{"time_zone":"America/New_York","closing_hours":240,"include_failures":true,
            "count_renewals":false,"billing_group":"acme","user_id_trim":true,"user_id_nfc":true,
            "user_id_lower":true}"#,
    ),
    (
        "berlin",
        r#"{"time_zone":"Europe/Berlin","anonymous_by_device":true,"device_as_user":true,
            "sentinel_user_ids":["lobby"],"user_id_trim":true,"user_id_nfc":true,
            "user_id_lower":true}"#,
    ),
    // No whole hours from UTC.
    (
        "nepal",
        r#"{"time_zone":"Asia/Kathmandu","anonymous_by_device":true,"user_id_trim":true,
            "user_id_nfc":true,"user_id_lower":true}"#,
    ),
    // Half an hour from all others, and its ids are compared byte for byte.
    (
        "johns",
        r#"{"time_zone":"America/St_Johns","include_failures":true,"device_as_user":true,
            "sentinel_user_ids":["Guest"]}"#,
    ),
];
/// A site that nothing is ever sent to.
const QUIET: (&str, &str) = ("quiet", r#"{"time_zone":"Asia/Tokyo"}"#);
/// A member of the group that is made in mid-run.
const JOINER: (&str, &str) = (
    "joiner",
    r#"{"time_zone":"America/New_York","billing_group":"acme","user_id_trim":true,
        "user_id_nfc":true,"user_id_lower":true}"#,
);
/// A member of the group whose collection ends in mid-run.
const PARTED: (&str, &str) = (
    "parted",
    r#"{"time_zone":"Europe/Berlin","billing_group":"acme","user_id_trim":true,
        "user_id_nfc":true,"user_id_lower":true}"#,
);
/// What is changed of the options while records come; it holds from the next month on.
const CHANGES: [(&str, &str); 3] = [
    ("seoul", r#"{"device_as_user":false,"include_failures":true,"closing_hours":96}"#),
    ("york", r#"{"count_renewals":true,"include_failures":false,"closing_hours":48}"#),
    ("berlin", r#"{"anonymous_by_device":false,"sentinel_user_ids":["lobby","usér7"]}"#),
];

/// Every reason for which a line of the run is refused.
const REFUSED: [&str; 18] = [
    "bad_json",
    "bad_time",
    "bad_value",
    "duplicate_field",
    "in_future",
    "missing_field",
    "not_in_backfill",
    "producer_not_allowed",
    "secret_field",
    "site_terminated",
    "too_long",
    "too_many_devices",
    "too_old",
    "unknown_device_kind",
    "unknown_field",
    "unknown_site",
    "unknown_type",
    "wrong_type",
];

fn second(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_second()
}

fn text(second: i64) -> String {
    jiff::Timestamp::from_second(second).unwrap().to_string()
}

fn settings_of(server: &Clocked, site: &str, zones: Value) -> Value {
    let mut said = server.operate("GET", &format!("/v1/sites/{site}"), "").json();
    said["created_at"] = (second(said["created_at"].as_str().unwrap()) * 1_000).into();
    said["zones"] = zones;
    said
}

/// Runs the second count; whether it agrees, and what it says.
fn recount(given: &Value) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("given.json");
    std::fs::write(&file, given.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/count.py");
    let done = Command::new("python3").arg("-B").arg(script).arg(&file).output();
    let done = done.unwrap_or_else(|error| panic!("python3 cannot be run ({error})"));
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    (done.status.success(), said.into_owned())
}

/// Of what is explained everything is shown, nothing is given twice, and hardly anything fits into
/// the memory of one reading.
pub(super) fn odd(settings: &mut Settings) {
    let explain = &mut settings.engine.explain;
    (explain.subjects, explain.fresh_ms, explain.memory_bytes) = (1, 0, 3_000);
    // Few enough for statements that tell something, and leave something out.
    settings.billing.subjects_least = 4;
    let limits = &mut explain.limits;
    (limits.devices_per_user, limits.users_per_device) = (2, 2);
    (limits.license_share_ppm, limits.share_least) = (50_000, 30);
}

/// Puts a site into a group or takes it out; from which month on.
fn join(server: &Clocked, site: &str, group: Value) -> Value {
    let body = json!({"billing_group": group}).to_string();
    let said = server.operate("PUT", &format!("/v1/sites/{site}"), &body).json();
    assert!(said["effective"]["billing_group"].is_string(), "{said}");
    json!([said["effective"]["billing_group"], group])
}

/// Folds the user ids of a site from a month on; which month.
fn fold(server: &Clocked, site: &str) -> Value {
    let body = r#"{"user_id_trim":true,"user_id_lower":true}"#;
    let said = server.operate("PUT", &format!("/v1/sites/{site}"), body).json();
    assert!(said["effective"]["user_id_trim"].is_string(), "{said}");
    said["effective"]["user_id_lower"].clone()
}

/// The settings of all sites, with the zones, groups and options that they had.
fn all_settings(
    server: &Clocked,
    [zone, folded, changed]: [&Value; 3],
    (joined, left): (&Value, &Value),
) -> Vec<Value> {
    let moved = json!([["2026-01", "UTC"], [zone, "Asia/Seoul"]]);
    SITES
        .iter()
        .chain(&[QUIET, JOINER, PARTED])
        .map(|(site, body)| {
            let first = serde_json::from_str::<Value>(body).unwrap()["time_zone"].clone();
            let zones = if *site == "utc" { moved.clone() } else { json!([["2026-01", first]]) };
            let mut said = settings_of(server, site, zones);
            said["counting"] = counting(site, body, changed);
            said["groups"] = match *site {
                "utc" | "joiner" | "parted" => json!([["2026-01", "acme"]]),
                "york" => json!([["2026-01", "acme"], left]),
                "berlin" => json!([["2026-01", null], joined]),
                _ => json!([["2026-01", null]]),
            };
            said["options"] = match *site {
                "seoul" => json!([["2026-01", []], [folded, ["trim", "lower"]]]),
                _ => json!([["2026-01", forms(body)]]),
            };
            said
        })
        .collect()
}

/// What is done to the user ids of a site.
fn forms(body: &str) -> Vec<&'static str> {
    let read: Value = serde_json::from_str(body).unwrap();
    let is_set = |form: &&str| read[format!("user_id_{form}")] == true;
    ["trim", "nfc", "lower"].into_iter().filter(is_set).collect()
}

/// The counting options of a site, each from which month on.
fn counting(site: &str, body: &str, changed: &Value) -> Value {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let mut options = json!({
        "closing_hours": 72, "include_failures": false, "count_renewals": true,
        "device_as_user": false, "anonymous_by_device": false, "sentinel_user_ids": [],
    });
    let set = |options: &mut Value, body: Value| {
        for (name, value) in body.as_object().unwrap() {
            if options.get(name).is_some() {
                options[name] = value.clone();
            }
        }
    };
    set(&mut options, read(body));
    let mut all = vec![json!(["2026-01", options])];
    if let Some((_, change)) = CHANGES.iter().find(|(of, _)| *of == site) {
        set(&mut options, read(change));
        all.push(json!([changed, options]));
    }
    all.into()
}

/// Changes options of sites; from which month on that holds.
fn change(server: &Clocked) -> Value {
    let mut from = Value::Null;
    for (site, body) in CHANGES {
        let said = server.operate("PUT", &format!("/v1/sites/{site}"), body).json();
        for name in serde_json::from_str::<Value>(body).unwrap().as_object().unwrap().keys() {
            let effective = &said["effective"][name];
            assert!(effective.is_string() && (from.is_null() || from == *effective), "{said}");
            from = effective.clone();
        }
    }
    from
}

/// Something of every kind came, in time and late, and was refused for every reason.
fn has_all_kinds(given: &Value) {
    let events = given["events"].as_array().unwrap();
    let last = events.iter().rfind(|event| event["usage"].is_array()).unwrap();
    for (part, name) in [
        ("corrections", "users"),
        ("corrections", "device_users"),
        ("corrections", "watermark_sessions"),
        ("corrections", "devices"),
        ("corrections", "licenses_failed"),
        ("excluded", "anonymous"),
        ("excluded", "session_failed"),
        ("excluded", "session_test"),
    ] {
        let of = |item: &Value| item[part][name].as_u64().unwrap_or(0);
        let items = last["usage"].as_array().unwrap().iter();
        assert!(items.map(of).sum::<u64>() > 0, "{part} {name}");
    }
    let answered = |kind: &str, name: &str| {
        let own = events.iter().filter(|event| event["kind"] == kind);
        own.map(|event| event["answer"][name].as_u64().unwrap_or(0)).sum::<u64>()
    };
    assert!(answered("post", "accepted") > 4_000 && answered("post", "not_retained") > 0);
    for name in ["accepted", "duplicates", "corrected", "not_retained"] {
        assert!(answered("closed", name) > 0, "{name} of backfills");
    }
    assert!(events.iter().any(|event| event["kind"] == "abandoned"));
    let refused: std::collections::BTreeSet<&str> = events
        .iter()
        .filter_map(|event| event["answer"]["errors"].as_array())
        .flatten()
        .filter_map(|error| error["code"].as_str())
        .collect();
    assert_eq!(refused.len(), REFUSED.len(), "{refused:?}");
    assert!(REFUSED.iter().all(|reason| refused.contains(reason)), "{refused:?}");
    for evidence in ["live", "held", "destroyed"] {
        let of = |item: &Value| item["evidence"] == evidence;
        assert!(last["usage"].as_array().unwrap().iter().any(of), "{evidence}");
    }
    let statements = given["statements"].as_array().unwrap();
    assert!(statements.iter().any(|said| said["version"] == 3 && said["site_id"].is_null()));
    assert!(statements.iter().any(|said| said["version"] == 3 && said["site_id"] == "johns"));
}

#[test]
fn every_figure_agrees_with_a_second_count() {
    let mut run = Run::begin();
    let (mut zone, mut folded, mut changed) = (Value::Null, Value::Null, Value::Null);
    let (mut joined, mut left) = (Value::Null, Value::Null);
    for turn in 0.. {
        if turn == 25 {
            let body = r#"{"time_zone":"Asia/Seoul"}"#;
            let moved = run.server.operate("PUT", "/v1/sites/utc", body);
            zone = moved.json()["effective"]["time_zone"].clone();
            joined = join(&run.server, "berlin", json!("acme"));
            folded = fold(&run.server, "seoul");
        }
        if turn == 45 {
            changed = change(&run.server);
        }
        if turn == 70 {
            left = join(&run.server, "york", Value::Null);
        }
        let (next, goes_on) = run.turn(turn);
        run = next;
        if !goes_on {
            break;
        }
    }
    run.finish();
    run.ask_all();
    run.restate("late");
    let sites = all_settings(&run.server, [&zone, &folded, &changed], (&joined, &left));
    let given = run.given(sites);
    let (agrees, said) = recount(&given);
    assert!(agrees, "{said}");
    has_all_kinds(&given);
    bites(given);
    run.server.end();
}

/// Without what says when it was asked, how often something came again, and what the keys of a
/// server make of a set.
fn settled(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => items.iter_mut().for_each(|item| *item = settled(item.take())),
        Value::Object(members) => {
            members.retain(|name, _| !["as_of", "duplicates", "user_set"].contains(&name.as_str()));
            members.values_mut().for_each(|member| *member = settled(member.take()));
        }
        _ => {}
    }
    value
}

/// Posts lines, so many a request.
fn post_all(server: &Clocked, lines: &[String], size: usize) {
    for batch in lines.chunks(size) {
        let answer = server.lines(&batch.concat());
        assert_eq!((answer.status, answer.count("rejected")), (200, 0), "{answer:?}");
    }
}

/// What the usage says of all months, and what the statements say that are asked for here, under
/// the names of the months; `restate` asks for a version more.
fn all_said(server: &Clocked, restate: bool) -> (Value, Value) {
    let usage = server.operate("GET", "/v1/usage?from=2026-09&to=2027-02&limit=1000", "").json();
    let billing = server.token("billing", 365);
    let mut statements = json!({});
    for owner in SITES.map(|(site, _)| site).into_iter().chain(["+acme"]) {
        for month in ["2026-09", "2026-10"] {
            let path = statement_path(owner, month);
            let (said, wanted) = if restate {
                let body = r#"{"reason":"what came late"}"#;
                (server.operate("POST", &format!("{path}/restate"), body), 201)
            } else {
                (server.send(&billing, "GET", &path, &[], ""), 200)
            };
            assert_eq!(said.status, wanted, "{path}: {said:?}");
            let body = &said.json()["body"];
            assert_eq!(body["version"], json!(1 + u8::from(restate)), "{path}");
            statements[format!("{owner} {month}")] = STATED
                .iter()
                .map(|name| (String::from(*name), body[*name].clone()))
                .collect::<serde_json::Map<_, _>>()
                .into();
        }
    }
    (json!({"usage": usage["items"], "groups": groups(server)}), statements)
}

/// What all months say after these lines, after their close and after the late ones, so many a
/// request.
fn figures_of(lines: &[String], late: &[String], size: usize) -> Value {
    let server = Clocked::with(BEGIN, odd);
    for (site, body) in SITES {
        assert_eq!(server.operate("PUT", &format!("/v1/sites/{site}"), body).status, 201);
    }
    post_all(&server, lines, size);
    let usage = server.operate("GET", "/v1/usage?from=2026-09&to=2027-02&limit=1000", "").json();
    let open = json!({"usage": usage["items"], "groups": groups(&server)});
    server.until(CLOSED);
    let (closed, first) = all_said(&server, false);
    // The set of a month is the same one after another start.
    let server = server.again();
    post_all(&server, late, size);
    let (corrected, second) = all_said(&server, true);
    let mut sets = std::collections::BTreeSet::new();
    for (name, said) in first.as_object().unwrap() {
        let set = said["recount"]["user_set"].as_str().unwrap();
        assert_eq!(second[name]["recount"]["user_set"], set, "{name}");
        assert!(sets.insert(set.to_owned()), "{name}");
    }
    server.end();
    settled(json!([open, closed, first, corrected, second]))
}

/// The same records in another order, in other batches and twice count the same, and so do those
/// that come after the close.
#[test]
fn order_batches_and_repeats_change_nothing() {
    let mut maker = Maker::new();
    let mut make = |count: usize, now: &str| -> Vec<String> {
        (0..count).map(|_| format!("{}\n", maker.record(second(now)))).collect()
    };
    let (mut lines, mut late) = (make(1_200, BEGIN), make(600, CLOSED));
    late.push(format!("{}\n", maker.nobodys(second(CLOSED))));
    let once = figures_of(&lines, &late, 40);
    let sum = |list: &Value, name: &str| {
        let counted = |item: &Value| item.pointer(name).and_then(Value::as_u64).unwrap_or(0);
        match list {
            Value::Array(items) => items.iter().map(counted).sum::<u64>(),
            list => list.as_object().unwrap().values().map(counted).sum(),
        }
    };
    assert!(sum(&once[0]["usage"], "/mau") > 100);
    for name in ["/figures/mau", "/recount/devices", "/recount/watermark_users"] {
        assert!(sum(&once[2], name) > 20, "{name}");
    }
    for name in ["/recount/late_users", "/recount/late_device_users", "/corrections/records"] {
        assert!(sum(&once[4], name) > 0, "{name}");
    }
    for lines in [&mut lines, &mut late] {
        lines.extend(lines.clone());
        for at in (1..lines.len()).rev() {
            lines.swap(at, maker.random.below(at as u64 + 1) as usize);
        }
    }
    let again = figures_of(&lines, &late, 333);
    for (at, part) in ["open", "closed", "first", "corrected", "second"].iter().enumerate() {
        assert_eq!(again[at], once[at], "{part}");
    }
}
