//! The second count finds every figure that is wrong by one.

use super::*;

/// Where a figure stands, and how the second count begins what it says of it.
type Wrong = (String, String);

/// Raises many figures by one, changes what else is said, and has every one of them found.
pub(super) fn bites(mut given: Value) {
    let wrong = [asked(&given), events(&given), statements(&given)].concat();
    for (path, _) in &wrong {
        let figure = given.pointer_mut(path).unwrap_or_else(|| panic!("no {path}"));
        *figure = match figure {
            Value::Number(count) => (count.as_u64().unwrap() + 1).into(),
            Value::String(word) if word == "live" => "destroyed".into(),
            Value::String(digest) => digest.chars().rev().collect::<String>().into(),
            _ => Value::Null,
        };
    }
    let (agrees, said) = recount(&given);
    assert!(!agrees);
    for (path, label) in wrong {
        assert!(said.contains(&label), "{path}: no {label:?} in {said}");
    }
}

/// The place of the first of a list.
fn place(list: &Value, is_it: impl Fn(&Value) -> bool) -> usize {
    list.as_array().unwrap().iter().position(is_it).unwrap()
}

/// Figures that were asked for.
fn asked(given: &Value) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let events = given["events"].as_array().unwrap();
    let last = events.iter().rposition(|of| of["usage"].is_array()).unwrap();
    let (asked, path) = (&given["events"][last], format!("/events/{last}"));
    let of =
        |site: &'static str| move |of: &Value| of["site_id"] == site && of["month"] == "2026-11";
    let at = place(&asked["usage"], of("utc"));
    for name in ["mau", "licenses_by_device", "excluded/trial", "corrections/records"] {
        let label = format!("utc 2026-11 {}: ", name.replace('/', " "));
        wrong.push((format!("{path}/usage/{at}/{name}"), label));
    }
    let own = asked["groups"][2]["members"].as_array().unwrap().iter();
    let own: u64 = own.map(|of| of["mau"].as_u64().unwrap()).sum();
    let mau = asked["groups"][2]["mau"].as_u64().unwrap();
    assert!(mau > 0 && mau < own, "users are shared: {mau} of {own}");
    for (name, label) in [
        ("mau", "mau"),
        ("unattributed_licenses", "unattributed_licenses"),
        ("by_drm_type/ncg/mau", "by_drm_type ncg mau"),
        ("members/0/corrections/records", "members berlin corrections records"),
    ] {
        let label = format!("group acme 2026-12 {label}: ");
        wrong.push((format!("{path}/groups/3/{name}"), label));
    }
    let at = place(&asked["explained"], of("york"));
    for name in ["devices_per_user/ranges/0/count", "quality/sentinel_share_ppm", "records_seen"] {
        let label = name.split("/ranges").next().unwrap().replace('/', " ");
        let label = format!("york 2026-11 explained {label}");
        wrong.push((format!("{path}/explained/{at}/{name}"), label));
    }
    let at = place(&asked["arrivals"], |of| of["accepted"].as_u64().unwrap() > 0);
    for name in ["received", "accepted", "duplicates", "corrected", "not_retained"] {
        wrong.push((format!("{path}/arrivals/{at}/{name}"), format!(") {name}: ")));
    }
    wrong
}

/// What requests and a backfill were answered.
fn events(given: &Value) -> Vec<Wrong> {
    let at = place(&given["events"], |of| of["answer"]["errors"][0].is_object());
    let label = format!("answer at {} errors", given["events"][at]["at"]);
    let posted = (format!("/events/{at}/answer/errors/0/index"), label);
    let at = place(&given["events"], |of| of["kind"] == "closed");
    let label = format!("backfill at {} accepted", given["events"][at]["at"]);
    let closed = (format!("/events/{at}/answer/accepted"), label);
    let at = place(&given["events"], |of| of["kind"] == "stated" && of["status"] == 200);
    let event = &given["events"][at];
    let (owner, month) = (event["of"].as_str().unwrap(), event["month"].as_str().unwrap());
    let label = format!("{owner} {month} stated at {}", event["at"]);
    let stated = (format!("/events/{at}/status"), label);
    let at = place(&given["events"], |of| of["answer"]["records_erased"].as_u64() > Some(0));
    let label = format!("erasure at {}", given["events"][at]["at"]);
    vec![posted, closed, stated, (format!("/events/{at}/answer/records_erased"), label)]
}

/// Figures of a second version of the group and of a site.
fn statements(given: &Value) -> Vec<Wrong> {
    let of_group = [
        "billable/mau",
        "billable/device_users",
        "figures/records",
        "figures/session_records",
        "corrections/records",
        "corrections/watermark_sessions",
        "recount/late_users",
        "recount/mau",
        "members/0/corrections/records",
    ];
    let of_site = [
        "quality/sentinel_licenses",
        "quality/records_seen",
        "quality/unattributed_share_ppm",
        "method/closing_hours",
        "recount/devices",
        "recount/watermark_users",
        "recount/device_users",
        "recount/late_users",
        "recount/late_device_users",
        "recount/user_set",
    ];
    let mut wrong = Vec::new();
    for (owner, name, parts) in
        [("billing_group", "acme", &of_group[..]), ("site_id", "berlin", &of_site)]
    {
        // What is zero may not be said at all.
        let says_all =
            |said: &Value| parts.iter().all(|part| said.pointer(&format!("/{part}")).is_some());
        let at = place(&given["statements"], |said| {
            let is_own = said["site_id"].is_null() == (owner != "site_id") && said[owner] == name;
            is_own && said["version"] == 2 && said["recount"].is_object() && says_all(said)
        });
        let said = &given["statements"][at];
        let month = said["month"].as_str().unwrap();
        let first = said["members"][0]["site_id"].as_str().unwrap_or_default();
        for part in parts {
            let label = part.replace("corrections", "late").replace('/', " ");
            let label = label.replace("members 0", &format!("members {first}"));
            let label = format!("{name} {month} statement 2 {label}: ");
            wrong.push((format!("/statements/{at}/{part}"), label));
        }
        // A month that says it was never counted again.
        let next = place(&given["statements"], |of| {
            let is_own = of["site_id"] == said["site_id"] && of[owner] == name;
            is_own && of["version"] == 1 && of["month"] == "2026-11"
        });
        for part in ["recount", "evidence"] {
            let label = format!("{name} 2026-11 statement 1 {part}: ");
            wrong.push((format!("/statements/{next}/{part}"), label));
        }
    }
    wrong
}
