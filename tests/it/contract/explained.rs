//! A month explained: small parts, the quality of ids, and who sees it.

use super::clocked::Clocked;
use super::*;
use blindtally::billing::verify;

const NOVEMBER: &str = "/v1/sites/A/usage/2026-11";

/// Licences of November, each of a user of its own and a device of its own.
fn licenses(server: &Clocked, drm: &str, first: u32, count: u32) {
    let line = |number: u32| {
        let record = with(&license(&format!("e{number}"), &format!("u{number}")), "drm_type", drm);
        let record = with(&record, "occurred_at", "2026-11-10T11:00:00Z");
        let ids = json!([{"kind": "android_id", "value": format!("a1b2c3d4{number:08x}")}]);
        format!("{}\n", with(&record, "device", json!({"ids": ids, "os": "android"})))
    };
    let lines: String = (first..first + count).map(line).collect();
    assert_eq!(server.lines(&lines).count("accepted"), u64::from(count));
}

fn explain(server: &Clocked) -> Value {
    let answer = server.operate("GET", &format!("{NOVEMBER}/explained"), "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn parts(said: &Value) -> Vec<(String, u64)> {
    let part =
        |of: &Value| (of["drm_type"].as_str().unwrap().to_owned(), of["records"].as_u64().unwrap());
    said["requests"].as_array().unwrap().iter().map(part).collect()
}

/// Nine users are too few, and ten are enough.
#[test]
fn check_19_too_few_are_not_shown_and_enough_are() {
    let server = Clocked::with("2026-11-10T12:00:00Z", |settings| {
        settings.engine.explain.fresh_ms = 0;
    });
    licenses(&server, "widevine", 0, 40);
    licenses(&server, "playready", 100, 30);
    licenses(&server, "ncg", 200, 12);
    licenses(&server, "fairplay", 300, 9);
    let said = explain(&server);
    assert_eq!(said["subjects_least"], 10);
    // Alone it would be what is missing from the total, so the next larger one goes with it.
    let shown = [("widevine".to_owned(), 40), ("playready".to_owned(), 30)];
    assert_eq!(parts(&said), shown);
    assert_eq!(said["requests_suppressed"], json!({"parts": 2, "count": 21}));
    assert_eq!((&said["licenses_issued"], &said["users"]), (&json!(91), &json!(91)));
    licenses(&server, "fairplay", 400, 1);
    let said = explain(&server);
    assert_eq!(parts(&said).len(), 4);
    assert_eq!(said["requests_suppressed"], json!({"parts": 0, "count": 0}));
    // One user with two devices is one of too few.
    let ranges = |said: &Value| said["devices_per_user"]["ranges"].as_array().unwrap().len();
    assert_eq!(ranges(&said), 1);
    let second = with(&license("second", "u1"), "occurred_at", "2026-11-10T11:00:00Z");
    let ids = json!([{"kind": "android_id", "value": "00000000000000ff"}]);
    let second = with(&second, "device", json!({"ids": ids}));
    assert_eq!(server.lines(&second.to_string()).count("accepted"), 1);
    let said = explain(&server);
    assert_eq!(ranges(&said), 0, "both are left out: 92 users are known");
    assert_eq!(said["devices_per_user"]["suppressed"], json!({"parts": 2, "count": 92}));
    let csv = server.token("billing", 9);
    let asked = format!("{NOVEMBER}/explained");
    let csv = server.send(&csv, "GET", &asked, &[("accept", "text/csv")], "");
    let text = csv.text();
    assert!(text.starts_with("figure,value\r\n") && text.contains("\r\nusers,92\r\n"), "{text}");
    assert!(!text.contains("devices_per_user_2_3"), "{text}");
    let old = server.operate("GET", "/v1/compat/pallycon/A/statistics/2026-11", "").json();
    let wanted = json!({
        "license_count": 93, "device_count": 93, "user_count": 92,
        "pc_count": 0, "ios_count": 0, "android_count": null,
    });
    assert_eq!(old, wanted, "one device is of no known kind, and would be had by subtraction");
    server.end();
}

#[test]
fn the_quality_of_ids_stands_in_usage_and_statement() {
    let server = Clocked::with("2026-11-10T12:00:00Z", |settings| {
        settings.engine.explain.limits.devices_per_user = 3;
        settings.engine.explain.limits.share_least = 10;
        settings.engine.explain.limits.license_share_ppm = 250_000;
    });
    licenses(&server, "widevine", 0, 12);
    let mut lines = String::new();
    for number in 0..8 {
        let user = if number < 4 { "everybody" } else { "guest" };
        let record = license(&format!("x{number}"), user);
        let record = with(&record, "occurred_at", "2026-11-10T11:00:00Z");
        let ids = json!([{"kind": "android_id", "value": format!("ffffffff{number:08x}")}]);
        lines += &format!("{}\n", with(&record, "device", json!({"ids": ids})));
    }
    assert_eq!(server.lines(&lines).count("accepted"), 8);
    assert!(server.usage("2026-11").get("quality").is_none(), "nobody has asked");
    let said = explain(&server)["quality"].clone();
    for (member, wanted) in [
        ("records_counted", 20),
        ("records_seen", 20),
        ("sentinel_licenses", 4),
        ("sentinel_share_ppm", 200_000),
        ("unattributed_licenses", 4),
        ("suspect_shared_users", 1),
        ("suspect_users_by_devices", 1),
        ("suspect_users_by_share", 0),
        ("suspect_user_licenses", 4),
        ("suspect_user_share_ppm", 200_000),
        ("suspect_shared_devices", 0),
    ] {
        assert_eq!(said[member], json!(wanted), "{member}");
    }
    assert_eq!(server.usage("2026-11")["quality"], said);
    assert_eq!(server.usage("2026-11")["mau"], 13, "the bill is not changed by it");
    server.until("2026-12-04T00:00:00Z");
    let billing = server.token("billing", 90);
    let path = "/v1/sites/A/statements/2026-11";
    let statement = server.send(&billing, "GET", path, &[], "");
    let body = verify(&statement.body, &server.verifier_key()).unwrap();
    assert_eq!(body.format, "blindtally/statement/4");
    let stated = body.quality.unwrap().unwrap();
    assert_eq!((stated.suspect_shared_users, stated.sentinel_share_ppm), (Some(1), 200_000));
    // What comes later changes an explanation, and no statement.
    let late = with(&license("late", "everybody"), "occurred_at", "2026-11-10T11:00:00Z");
    assert_eq!(server.lines(&late.to_string()).count("corrected"), 1);
    assert_eq!(server.send(&billing, "GET", path, &[], "").body, statement.body);
    let changed = statement.text().replace("\"sentinel_licenses\":4", "\"sentinel_licenses\":0");
    assert!(verify(changed.as_bytes(), &server.verifier_key()).is_err());
    server.end();
}

/// Nobody asks for an explanation; the quality of the ids stands in the usage all the same.
#[test]
fn an_open_month_is_explained_unasked() {
    let server = Clocked::with("2026-11-10T12:00:00Z", |settings| {
        settings.engine.explain.limits.devices_per_user = 3;
        settings.engine.explain.look = std::time::Duration::from_millis(50);
    });
    let mut lines = String::new();
    for number in 0..8 {
        let record = license(&format!("x{number}"), "everybody");
        let record = with(&record, "occurred_at", "2026-11-10T11:00:00Z");
        let ids = json!([{"kind": "android_id", "value": format!("ffffffff{number:08x}")}]);
        lines += &format!("{}\n", with(&record, "device", json!({"ids": ids})));
    }
    assert_eq!(server.lines(&lines).count("accepted"), 8);
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    let found = loop {
        if let Some(quality) = server.usage("2026-11").get("quality") {
            break quality.clone();
        }
        assert!(std::time::Instant::now() < deadline, "it is never explained");
        // The next fold is due a minute later.
        server.pass(60);
    };
    assert_eq!((&found["suspect_shared_users"], &found["records_seen"]), (&json!(1), &json!(8)));
    server.end();
}
