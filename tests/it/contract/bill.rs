//! The bill over months, zones, changes of the clocks, late and repeated records, closes and
//! starts: each figure against a second count in Python (`tests/vectors/count.py`).

use std::path::Path;
use std::process::Command;

use super::clocked::Clocked;
use super::*;
use crate::support::{Random, seed};
use blindtally::config::Settings;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// The first days of winter time in Berlin and New York lie behind this, and two turns of a month.
const BEGIN: &str = "2026-10-22T07:30:00Z";
const END: &str = "2027-01-15T00:00:00Z";

/// Error codes, some of them unknown.
const CODES: [&str; 8] = ["7011", "7020", "2001", "8716", "1002", "7306", "0000", "E9"];

const SITES: [(&str, &str); 5] = [
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
];
/// What is changed of the options while records come; it holds from the next month on.
const CHANGES: [(&str, &str); 3] = [
    ("seoul", r#"{"device_as_user":false,"include_failures":true,"closing_hours":96}"#),
    ("york", r#"{"count_renewals":true,"include_failures":false,"closing_hours":48}"#),
    ("berlin", r#"{"anonymous_by_device":false,"sentinel_user_ids":["lobby","usér7"]}"#),
];

/// Some that options bring to a sentinel, or to nothing.
const NOBODY: &[&str] =
    &["", "guest", "lobby", "LICENSETOKEN", "Guest", " LOBBY", "licensetoken", "\u{3000} "];
/// Ways to spell a user, some of which options bring together.
const SPELLINGS: &[&str] = &[
    "us\u{e9}r#",
    "us\u{e9}r#",
    "use\u{301}r#",
    "USE\u{301}R#",
    " us\u{e9}r#\u{a0}",
    "US\u{c9}r#\n",
];

fn second(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_second()
}

fn text(second: i64) -> String {
    jiff::Timestamp::from_second(second).unwrap().to_string()
}

/// Makes records.
struct Maker {
    random: Random,
    sent: Vec<Value>,
}

impl Maker {
    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.random.below(list.len() as u64) as usize]
    }

    /// A time that can be accepted: just now, around the turn of a month, or any.
    fn time(&mut self, now: i64) -> i64 {
        let turn = self.pick(&["2026-11-01", "2026-12-01", "2027-01-01"]);
        let turn = second(&format!("{turn}T00:00:00Z")) - 16 * HOUR;
        match self.random.below(4) {
            0 | 1 => now - self.random.below(6 * HOUR as u64) as i64,
            2 if (turn..turn + 34 * DAY).contains(&now) => {
                (turn + self.random.below(32 * HOUR as u64) as i64).min(now)
            }
            _ => now - self.random.below(34 * DAY as u64) as i64,
        }
    }

    fn record(&mut self, now: i64) -> Value {
        if !self.sent.is_empty() && self.random.below(8) == 0 {
            let at = self.random.below(self.sent.len() as u64) as usize;
            let again = self.sent[at].clone();
            if now - second(again["occurred_at"].as_str().unwrap()) < 34 * DAY {
                return again;
            }
        }
        let mut record = json!({
            "event_id": format!("b-{}", self.sent.len()),
            "type": "drm.license.issued",
            "site_id": self.pick(&SITES).0,
            "occurred_at": text(self.time(now)),
            "outcome": self.pick(&["success", "success", "success", "fail"]),
            "environment": self.pick(&["production", "production", "production", "trial", "test"]),
        });
        if self.random.below(20) == 0 {
            record["type"] = "drm.content.packaged".into();
            record["cid"] = "movie".into();
            self.sent.push(record.clone());
            return record;
        }
        match self.random.below(6) {
            0 => {}
            1 => record["user_id"] = self.pick(NOBODY).into(),
            _ => {
                let name = self.pick(SPELLINGS);
                record["user_id"] = name.replace('#', &self.random.below(60).to_string()).into();
            }
        }
        if self.random.below(4) == 0 {
            record["user_id_kind"] = self.pick(&["anonymous", "account"]).into();
        }
        if self.random.below(5) == 0 {
            record["type"] = "watermark.session.created".into();
            record["wm_session_id"] = format!("session {}", self.random.below(90)).into();
        } else {
            let requests = ["new", "new", "renewal", "offline", "release", "server_cert"];
            record["request_type"] = self.pick(&requests).into();
            record["drm_type"] = self.pick(&["widevine", "playready", "fairplay", "ncg"]).into();
            if record["outcome"] == "fail" && self.random.below(2) == 0 {
                record["error_class"] = self.pick(&["token", "server", "quota"]).into();
            }
            if record["outcome"] == "fail" && self.random.below(2) == 0 {
                record["error_code"] = self.pick(&CODES).into();
            }
            match self.random.below(3) {
                0 => {}
                1 => {
                    record["license"] = json!({
                        "session_id": format!("play {}", self.random.below(200)),
                        "request_id": format!("request {}", self.random.below(400)),
                    });
                }
                _ => {
                    record["license"] =
                        json!({"session_id": format!("s{}", self.random.below(99))});
                }
            }
        }
        self.add_device(&mut record);
        self.sent.push(record.clone());
        record
    }

    fn add_device(&mut self, record: &mut Value) {
        match self.random.below(4) {
            0 => {}
            1 => record["device"] = device("9774d56d682e549c".to_owned()),
            _ => {
                let number = 0xab_cdef_0000 + self.random.below(50);
                record["device"] = device(format!("{number:016x}"));
                if self.random.below(3) > 0 {
                    let systems = ["android", "ios", "windows", "tizen"];
                    record["device"]["os"] = self.pick(&systems).into();
                }
            }
        }
    }
}

fn device(value: String) -> Value {
    json!({"ids": [{"kind": "android_id", "value": value}]})
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
    let limits = &mut explain.limits;
    (limits.devices_per_user, limits.users_per_device) = (2, 2);
    (limits.license_share_ppm, limits.share_least) = (50_000, 30);
}

/// What every month of every site is explained with, and in the old shape.
fn explained(server: &Clocked) -> (Vec<Value>, Value) {
    let (mut explained, mut pallycon) = (Vec::new(), json!({}));
    for (site, _) in SITES {
        for month in ["2026-09", "2026-10", "2026-11", "2026-12", "2027-01"] {
            let path = format!("/v1/sites/{site}/usage/{month}");
            let answer = server.operate("GET", &format!("{path}/explained"), "");
            assert_eq!(answer.status, 200, "{answer:?}");
            let said = answer.json();
            // The usage has the quality of what was explained last.
            assert_eq!(server.operate("GET", &path, "").json()["quality"], said["quality"]);
            explained.push(said);
            let path = format!("/v1/compat/pallycon/{site}/statistics/{month}");
            pallycon[format!("{site} {month}")] = server.operate("GET", &path, "").json();
        }
    }
    (explained, pallycon)
}

/// A billing group's months.
fn groups(server: &Clocked) -> Vec<Value> {
    let month = |month: &&str| {
        let answer = server.operate("GET", &format!("/v1/groups/acme/usage/{month}"), "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    ["2026-09", "2026-10", "2026-11", "2026-12", "2027-01"].iter().map(month).collect()
}

/// The statements of all closed months of the group and of the sites, with what came late.
fn statements(server: &Clocked) -> Vec<Value> {
    let owners = SITES.map(|(site, _)| format!("/v1/sites/{site}"));
    let owners = owners.into_iter().chain(["/v1/groups/acme".to_owned()]);
    let billing = server.token("billing", 90);
    let mut statements = Vec::new();
    for owner in owners {
        for month in ["2026-10", "2026-11", "2026-12"] {
            let path = format!("{owner}/statements/{month}");
            let first = server.send(&billing, "GET", &path, &[], "");
            if first.status == 409 {
                continue;
            }
            let reason = r#"{"reason":"late"}"#;
            assert_eq!(server.operate("POST", &format!("{path}/restate"), reason).status, 201);
            let all = server.send(&billing, "GET", &format!("{path}/versions"), &[], "").json();
            let of = |item: &Value| item["body"].clone();
            statements.extend(all["items"].as_array().unwrap().iter().map(of));
        }
    }
    statements
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
        .map(|(site, body)| {
            let first = serde_json::from_str::<Value>(body).unwrap()["time_zone"].clone();
            let zones = if *site == "utc" { moved.clone() } else { json!([["2026-01", first]]) };
            let mut said = settings_of(server, site, zones);
            said["counting"] = counting(site, body, changed);
            said["groups"] = match *site {
                "utc" => json!([["2026-01", "acme"]]),
                "york" => json!([["2026-01", "acme"], left]),
                "berlin" => json!([["2026-01", null], joined]),
                _ => json!([["2026-01", null]]),
            };
            said["options"] = match *site {
                "seoul" => json!([["2026-01", []], [folded, ["trim", "lower"]]]),
                _ => json!([["2026-01", ["trim", "nfc", "lower"]]]),
            };
            said
        })
        .collect()
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

/// The second count finds what is wrong by one.
fn bites(mut given: Value) {
    let items = given["usage"].as_array().unwrap();
    let at = items.iter().position(|item| item["site_id"] == "utc").unwrap();
    for (name, wrong) in [("mau", json!(7_000)), ("state", json!("shut"))] {
        let said = std::mem::replace(&mut given["usage"][at][name], wrong);
        assert!(!recount(&given).0, "{name}");
        given["usage"][at][name] = said;
    }
    let november = |name: &str| given["groups"][2][name].clone();
    let own: u64 =
        november("members").as_array().unwrap().iter().map(|of| of["mau"].as_u64().unwrap()).sum();
    let mau = november("mau").as_u64().unwrap();
    assert!(mau > 0 && mau < own, "users are shared: {mau} of {own}");
    let said = std::mem::replace(&mut given["groups"][2]["mau"], json!(mau + 1));
    assert!(!recount(&given).0, "a group's users");
    given["groups"][2]["mau"] = said;
    let group = |of: &Value| of["site_id"].is_null() && of["version"] == 2;
    let at = given["statements"].as_array().unwrap().iter().position(group).unwrap();
    for (part, name) in [
        ("billable", "mau"),
        ("billable", "device_users"),
        ("figures", "records"),
        ("figures", "session_records"),
        ("corrections", "records"),
        ("corrections", "watermark_sessions"),
        ("recount", "late_users"),
    ] {
        let figure = &mut given["statements"][at][part][name];
        *figure = (figure.as_u64().unwrap() + 1).into();
        assert!(!recount(&given).0, "{part} {name} of a group's statement");
        let figure = &mut given["statements"][at][part][name];
        *figure = (figure.as_u64().unwrap() - 1).into();
    }
    // Its first months may have no record.
    let ranges = |of: &Value| of["devices_per_user"]["ranges"].as_array().map_or(0, Vec::len);
    let has = |of: &Value| of["site_id"] == "york" && ranges(of) > 0;
    let at = given["explained"].as_array().unwrap().iter().position(has);
    let figure = &mut given["explained"][at.unwrap()]["devices_per_user"]["ranges"][0]["count"];
    *figure = (figure.as_u64().unwrap() + 1).into();
    assert!(!recount(&given).0);
}

/// Something of every kind came, in time and late.
fn has_all_kinds(items: &[Value]) {
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
        assert!(items.iter().map(of).sum::<u64>() > 0, "{part} {name}");
    }
}

#[test]
fn every_figure_agrees_with_a_second_count() {
    let mut server = Clocked::outside(BEGIN);
    for (site, body) in SITES {
        assert_eq!(server.operate("PUT", &format!("/v1/sites/{site}"), body).status, 201);
    }
    let mut maker = Maker { random: Random::new(seed()), sent: Vec::new() };
    let (mut now, mut records, mut zone) = (second(BEGIN), Vec::new(), Value::Null);
    let (mut joined, mut left) = (Value::Null, Value::Null);
    let (mut folded, mut changed) = (Value::Null, Value::Null);
    for turn in 0.. {
        let batch: Vec<Value> = (0..40).map(|_| maker.record(now)).collect();
        let lines: String = batch.iter().map(|record| format!("{record}\n")).collect();
        let is_killed = turn % 6 == 2;
        if is_killed {
            server = server.killed_over(&lines, maker.random.below(80));
        }
        let answer = server.lines(&lines);
        assert_eq!((answer.status, answer.count("rejected")), (200, 0), "{answer:?}");
        let sent = |record: &Value| json!([now * 1_000, record]);
        // Of a batch that was on its way all of it had come, or nothing.
        if is_killed && answer.count("duplicates") == batch.len() as u64 {
            records.extend(batch.iter().map(sent));
        }
        records.extend(batch.iter().map(sent));
        if turn == 25 {
            let moved = server.operate("PUT", "/v1/sites/utc", r#"{"time_zone":"Asia/Seoul"}"#);
            zone = moved.json()["effective"]["time_zone"].clone();
            joined = join(&server, "berlin", json!("acme"));
            folded = fold(&server, "seoul");
        }
        if turn == 45 {
            changed = change(&server);
        }
        if turn == 70 {
            left = join(&server, "york", Value::Null);
        }
        if turn % 12 == 5 {
            server = server.again();
        }
        // Every other step is short, so that batches come close to every boundary.
        let step = if turn % 2 == 0 { 2 * HOUR } else { 40 * HOUR };
        now += 2 * HOUR + maker.random.below(step as u64) as i64;
        if now >= second(END) {
            break;
        }
        server.until(&text(now));
    }
    let sites = all_settings(&server, [&zone, &folded, &changed], (&joined, &left));
    let usage = server.operate("GET", "/v1/usage?from=2026-09&to=2027-02&limit=1000", "").json();
    let now = second(usage["items"][0]["as_of"].as_str().unwrap()) * 1_000;
    let (explained, pallycon) = explained(&server);
    let given = json!({
        "sites": sites, "records": records, "usage": usage["items"], "now": now,
        "explained": explained, "pallycon": pallycon, "groups": groups(&server),
        "statements": statements(&server),
    });
    let (agrees, said) = recount(&given);
    assert!(agrees, "{said}");
    has_all_kinds(usage["items"].as_array().unwrap());
    assert!(records.len() > 1_000, "{}", records.len());
    bites(given);
    server.end();
}

/// Without what says when it was asked and how often something came again.
fn settled(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => items.iter_mut().for_each(|item| *item = settled(item.take())),
        Value::Object(members) => {
            members.retain(|name, _| !["as_of", "duplicates"].contains(&name.as_str()));
            members.values_mut().for_each(|member| *member = settled(member.take()));
        }
        _ => {}
    }
    value
}

/// What all months say after these lines, so many a request.
fn figures_of(lines: &[String], size: usize) -> Value {
    let server = Clocked::with(BEGIN, odd);
    for (site, body) in SITES {
        assert_eq!(server.operate("PUT", &format!("/v1/sites/{site}"), body).status, 201);
    }
    for batch in lines.chunks(size) {
        let answer = server.lines(&batch.concat());
        assert_eq!((answer.status, answer.count("rejected")), (200, 0), "{answer:?}");
    }
    let usage = server.operate("GET", "/v1/usage?from=2026-09&to=2027-02&limit=1000", "").json();
    let said = json!({"usage": usage["items"], "groups": groups(&server)});
    server.end();
    settled(said)
}

/// The same records in another order, in other batches and twice count the same.
#[test]
fn order_batches_and_repeats_change_nothing() {
    let mut maker = Maker { random: Random::new(seed()), sent: Vec::new() };
    let mut lines: Vec<String> =
        (0..1_200).map(|_| format!("{}\n", maker.record(second(BEGIN)))).collect();
    let once = figures_of(&lines, 40);
    let counted = |item: &Value| item["mau"].as_u64().unwrap();
    let users: u64 = once["usage"].as_array().unwrap().iter().map(counted).sum();
    assert!(users > 100, "{users}");
    lines.extend(lines.clone());
    for at in (1..lines.len()).rev() {
        lines.swap(at, maker.random.below(at as u64 + 1) as usize);
    }
    assert_eq!(figures_of(&lines, 333), once);
}
