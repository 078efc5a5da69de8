//! The figures of a month, against an oracle that counts the same records with plain sets.

use super::oracle::{Month, Oracle};
use super::*;
use crate::support::{PATIENCE, get};
use std::time::Instant;

/// Compares every month that the oracle knows.
#[track_caller]
fn compare(world: &World, oracle: &Oracle, when: &str) {
    for ((site, month), expected) in &oracle.months {
        let usage = world.usage(site, month);
        for (name, figure) in expected.figures().as_object().unwrap() {
            assert_eq!(&usage[name], figure, "{name} of {site} {month} {when}: {usage}");
        }
    }
}

#[test]
fn figures_are_those_of_the_oracle() {
    let folds = [("FOLD__SECONDS", "1"), ("FOLD__SEGMENT_BYTES", "65536")];
    let world = World::with(&folds);
    put_site(&world.server, "B", r#"{"time_zone":"Asia/Seoul","sentinel_user_ids":["lobby"]}"#);
    let mut oracle = Oracle::new();
    for turn in 0..12 {
        let batch = oracle.batch(250);
        let answer = world.lines(&batch);
        assert_eq!((answer.status, answer.count("rejected")), (200, 0), "{answer:?}");
        compare(&world, &oracle, &format!("right after batch {turn}"));
    }
    let world = world.crash();
    compare(&world, &oracle, "after a crash");
    let answer = world.lines(&oracle.batch(2_000));
    assert_eq!(answer.count("rejected"), 0, "{answer:?}");
    compare(&world, &oracle, "after more");
    let world = world.restart();
    compare(&world, &oracle, "after a restart");
    let known = oracle.months.values();
    assert!(known.clone().count() >= 4 && known.clone().all(|month| month.failed > 0));
    assert!(known.clone().map(|month| month.devices.len()).sum::<usize>() > 100);
}

#[test]
fn figures_stay_through_a_fold() {
    let world = World::with(&[("FOLD__SECONDS", "1"), ("FOLD__SEGMENT_BYTES", "65536")]);
    put_site(&world.server, "B", r#"{"time_zone":"Asia/Seoul","sentinel_user_ids":["lobby"]}"#);
    let mut oracle = Oracle::new();
    assert_eq!(world.lines(&oracle.batch(3_000)).status, 200);
    let operator = world.server.operator_token();
    let deadline = Instant::now() + PATIENCE;
    let folded = || {
        let metrics = get(&world.server, &operator, "/metrics").text();
        let line = metrics.lines().find_map(|l| l.strip_prefix("blindtally_folded_rows_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    while folded() == 0 {
        assert!(Instant::now() < deadline, "nothing is folded");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    compare(&world, &oracle, "after a fold");
    assert_eq!(world.lines(&oracle.batch(1_000)).status, 200);
    compare(&world, &oracle, "after a fold and more");
    let world = world.crash();
    compare(&world, &oracle, "after a fold and a crash");
}

/// The members of API.md "Billing", each with a value of its type.
fn usage_shape() -> Value {
    json!({
        "site_id": "", "month": "", "time_zone": "", "state": "", "rule_set": "", "mau": 0,
        "licenses_issued": 0, "licenses_failed": 0, "devices": 0, "unattributed_licenses": 0,
        "device_users": 0, "failures_counted": 0, "licenses_by_device": 0,
        "excluded": {
            "failed": 0, "no_user_id": 0, "sentinel_user_id": 0, "renewal": 0, "no_license": 0,
            "trial": 0, "test": 0, "failed_elsewhere": 0, "anonymous": 0, "session_failed": 0,
            "session_trial": 0, "session_test": 0,
        },
        "session_records": 0, "other_records": 0, "records": 0,
        "by_drm_type": {}, "watermark_sessions": 0, "watermark_users": 0, "duplicates": 0,
        "corrections": {"records": 0, "users": 0}, "other_environments": {"trial": 0, "test": 0},
        "from": "", "to": "", "closes_at": "", "evidence": "", "as_of": "",
        "pseudonym_algorithm": "", "canonicalizer": 0, "user_id_trim": false,
        "user_id_nfc": false, "user_id_lower": false,
    })
}

#[track_caller]
fn same_shape(found: &Value, shape: &Value) {
    match (found, shape) {
        (Value::Object(found), Value::Object(shape)) => {
            assert!(found.keys().eq(shape.keys()), "{found:?}");
            found.iter().for_each(|(name, value)| same_shape(value, &shape[name]));
        }
        (Value::Number(number), Value::Number(_)) => assert!(number.is_u64(), "{number}"),
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => {}
        _ => panic!("{found} is not as {shape}"),
    }
}

#[test]
fn usage_has_the_members_of_the_contract() {
    let world = World::new();
    put_site(&world.server, "B", r#"{"time_zone":"Asia/Seoul"}"#);
    let now = ago(0);
    let empty = world.usage("A", month_of(&now));
    same_shape(&empty, &usage_shape());
    assert_eq!((&empty["state"], &empty["evidence"]), (&json!("open"), &json!("live")));
    assert_eq!((&empty["rule_set"], &empty["site_id"]), (&json!("mau/1"), &json!("A")));
    let other = world.usage("B", "2026-10");
    assert_eq!(other["from"], json!("2026-09-30T15:00:00Z"));
    assert_eq!(other["to"], json!("2026-10-31T15:00:00Z"));
    for month in ["2001-01", "2026-10", "2031-12"] {
        let zeros = world.usage("A", month);
        same_shape(&zeros, &usage_shape());
        for (name, figure) in Month::default().figures().as_object().unwrap() {
            assert_eq!(&zeros[name], figure, "{name} of {month}");
        }
    }
    // The site is new, so its past months still wait for records.
    assert_eq!(world.usage("A", "2001-01")["state"], json!("closing"));
    assert_eq!(world.usage("A", "2031-12")["state"], json!("open"));
    let at = world.usage("A", "2001-01")["as_of"].as_str().unwrap().parse::<jiff::Timestamp>();
    let age = jiff::Timestamp::now().duration_since(at.unwrap());
    assert!(age.as_secs() < 60, "{age}");
    assert_eq!(world.lines(&[with(&license("x", "u"), "drm_type", "widevine")]).status, 200);
    let one = world.usage("A", month_of(&now));
    assert_eq!(one["by_drm_type"], json!({"widevine": {"mau": 1, "licenses_issued": 1}}));
}

#[test]
fn months_and_sites_that_are_none() {
    let world = World::new();
    for month in ["2026-13", "2026-00", "2026-1", "202611", "november", "2026-11-01", "%32026-11"] {
        let path = format!("/v1/sites/A/usage/{month}");
        problem(&get(&world.server, &world.billing, &path), 400, "bad-month");
    }
    for site in ["B", "a", "A%20"] {
        let path = format!("/v1/sites/{site}/usage/2026-11");
        problem(&get(&world.server, &world.billing, &path), 404, "not-found");
    }
    for (query, name) in [
        ("", "bad-query"),
        ("?month=2026-11&month=2026-11", "bad-query"),
        ("?month=2026-11&from=2026-11", "bad-query"),
        ("?from=2026-11", "bad-query"),
        ("?month=2026-11&site=A", "bad-query"),
        ("?month=2026-11&limit=0", "bad-query"),
        ("?month=2026-11&limit=x", "bad-query"),
        ("?month=2026-13", "bad-month"),
        ("?month=2026-11&cursor=xyz", "bad-cursor"),
    ] {
        let answer = get(&world.server, &world.billing, &format!("/v1/usage{query}"));
        problem(&answer, 400, name);
    }
}

#[test]
fn a_list_is_walked_once() {
    let world = World::new();
    for n in 0..23 {
        put_site(&world.server, &format!("S{n:02}"), "{}");
    }
    let now = ago(0);
    let month = month_of(&now);
    assert_eq!(world.lines(&[with(&license("w", "u"), "site_id", "S07")]).status, 200);
    let mut wanted: Vec<String> = (0..23).map(|n| format!("S{n:02}")).collect();
    wanted.insert(0, "A".to_owned());
    for limit in [1, 5, 23, 24, 100] {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let path = format!("/v1/usage?month={month}&limit={limit}{cursor}");
            let answer = get(&world.server, &world.billing, &path);
            let read = answer.json();
            let items = read["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            seen.extend(items.iter().map(|item| item["site_id"].as_str().unwrap().to_owned()));
            let single = world.usage(seen.last().unwrap(), month);
            assert_eq!(items.last().unwrap()["mau"], single["mau"]);
            pages += 1;
            assert!(pages < 30, "the walk does not end");
            match read["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, wanted, "{limit} a page");
    }
    let two = get(&world.server, &world.billing, "/v1/usage?from=2026-10&to=2026-11&limit=1000");
    assert_eq!(two.json()["items"].as_array().unwrap().len(), 2 * wanted.len());
}

#[test]
fn figures_as_csv() {
    let world = World::new();
    put_site(&world.server, "B", "{}");
    assert_eq!(world.lines(&[license("c1", "u"), license("c2", "v")]).status, 200);
    let now = ago(0);
    let month = month_of(&now);
    for path in [format!("/v1/usage?month={month}"), format!("/v1/sites/A/usage/{month}")] {
        let headers = [("accept", "text/csv")];
        let answer = ask(&world.server, &world.billing, "GET", &path, &headers, b"");
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with("text/csv"), "{answer:?}");
        let text = answer.text();
        assert!(text.ends_with("\r\n") && !text.replace("\r\n", "").contains(['\r', '\n']));
        let rows: Vec<Vec<&str>> =
            text.split_terminator("\r\n").map(|row| row.split(',').collect()).collect();
        assert!(rows[0].starts_with(&[
            "site_id",
            "month",
            "time_zone",
            "state",
            "rule_set",
            "mau"
        ]));
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{text}");
        assert_eq!(rows.len(), if path.contains("sites") { 2 } else { 3 });
        let usage = world.usage("A", month);
        for (name, cell) in rows[0].iter().zip(&rows[1]) {
            let wanted = match &usage[*name] {
                Value::String(text) if *name != "as_of" => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => continue,
            };
            assert_eq!(*cell, wanted, "{name}");
        }
    }
    let picky = [("accept", "application/xml")];
    let path = format!("/v1/usage?month={month}");
    let answer = ask(&world.server, &world.billing, "GET", &path, &picky, b"");
    problem(&answer, 406, "not-acceptable");
}
