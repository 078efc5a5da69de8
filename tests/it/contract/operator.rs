//! Sites, tokens and the routes of operation.

use super::*;

#[track_caller]
fn operate(world: &World, method: &str, path: &str, body: &str) -> Answer {
    let operator = world.server.operator_token();
    ask(&world.server, &operator, method, path, &[JSON], body.as_bytes())
}

fn next_month() -> String {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    now.saturating_add(jiff::Span::new().months(1)).strftime("%Y-%m").to_string()
}

#[test]
fn a_site_is_made_changed_and_read() {
    let world = World::new();
    let put = |body: &str| operate(&world, "PUT", "/v1/sites/S.1_x-Y", body);
    let made = put(r#"{"name":"Site","time_zone":"Asia/Seoul","retention":{"records_days":30}}"#);
    assert_eq!(made.status, 201, "{made:?}");
    let read = made.json();
    assert_eq!(read["site_id"], json!("S.1_x-Y"));
    assert_eq!((&read["name"], &read["time_zone"]), (&json!("Site"), &json!("Asia/Seoul")));
    assert_eq!(read["retention"], json!({"records_days": 30}));
    assert_eq!(read["plan_mau"], Value::Null);
    assert_eq!((&read["billing_group"], &read["device_as_user"]), (&Value::Null, &json!(false)));
    assert_eq!(read["closing_hours"], json!(72));
    // An absent member keeps its value; before the first record everything takes effect at once.
    let changed = put(r#"{"time_zone":"Europe/Berlin","sentinel_user_ids":["lobby"]}"#);
    assert_eq!(changed.status, 200);
    let read = changed.json();
    assert_eq!((&read["name"], &read["time_zone"]), (&json!("Site"), &json!("Europe/Berlin")));
    assert_eq!(read["sentinel_user_ids"], json!(["lobby"]));
    assert_eq!(read.get("effective"), None);
    assert_eq!(operate(&world, "GET", "/v1/sites/S.1_x-Y", "").json(), read);
    let list = operate(&world, "GET", "/v1/sites", "").json();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let world = world.crash();
    assert_eq!(operate(&world, "GET", "/v1/sites/S.1_x-Y", "").json(), read, "after a crash");
}

#[test]
fn what_a_month_has_frozen_changes_with_the_next() {
    let world = World::new();
    assert_eq!(world.lines(&[license("f", "u")]).status, 200);
    let changed = operate(&world, "PUT", "/v1/sites/A", r#"{"time_zone":"Asia/Seoul"}"#);
    assert_eq!(changed.status, 200, "{changed:?}");
    let read = changed.json();
    assert_eq!(read["time_zone"], json!("UTC"), "what holds now");
    assert_eq!(read["effective"], json!({"time_zone": next_month()}));
    // What nothing is counted by holds at once, and leaves the announcement as it was.
    let read = operate(&world, "PUT", "/v1/sites/A", r#"{"plan_mau":50000}"#).json();
    assert_eq!(read["plan_mau"], json!(50_000));
    assert_eq!(read["effective"], json!({"time_zone": next_month()}));
    let read = operate(&world, "GET", "/v1/sites/A", "").json();
    assert_eq!(read["effective"], json!({"time_zone": next_month()}));
    assert_eq!(world.usage("A", month_of(&ago(0)))["time_zone"], json!("UTC"));
    let next = world.usage("A", &next_month());
    assert_eq!(next["time_zone"], json!("Asia/Seoul"));
    // The first month of the new zone begins where the last one of the old zone ended.
    assert_eq!(next["from"], world.usage("A", month_of(&ago(0)))["to"]);
}

#[test]
fn a_record_that_was_refused_freezes_nothing() {
    let world = World::new();
    let zone = |site: &str, zone: &str| {
        let body = json!({"time_zone": zone}).to_string();
        operate(&world, "PUT", &format!("/v1/sites/{site}"), &body).json()
    };
    for site in ["N1", "N2", "N3"] {
        put_site(&world.server, site, "{}");
    }
    let of = |site: &str| with(&license("n", "u"), "site_id", site);
    let old = with(&of("N1"), "occurred_at", ago(35 * 86_400 + 600));
    assert_eq!(world.refused(&old)["code"], json!("too_old"));
    problem(&world.post(&[JSON], format!("[{},", of("N2"))), 400, "unreadable");
    for site in ["N1", "N2"] {
        let read = zone(site, "Asia/Seoul");
        assert_eq!((&read["time_zone"], read.get("effective")), (&json!("Asia/Seoul"), None));
        let usage = world.usage(site, "2026-11");
        assert_eq!(usage["from"], json!("2026-10-31T15:00:00Z"), "{site}");
        // Counted under what holds now, and frozen by this one.
        assert_eq!(counts(&world.lines(&[of(site)])), [1, 1, 0, 0]);
        assert_eq!(zone(site, "UTC")["effective"], json!({"time_zone": next_month()}));
    }
    // What a month was counted with stays over a restart.
    assert_eq!(counts(&world.lines(&[of("N3")])), [1, 1, 0, 0]);
    let world = world.restart();
    let body = r#"{"time_zone":"Asia/Seoul"}"#;
    let read = operate(&world, "PUT", "/v1/sites/N3", body).json();
    assert_eq!(read["effective"], json!({"time_zone": next_month()}));
}

#[test]
fn a_thousand_long_sentinels_fit() {
    let world = World::new();
    let sentinels: Vec<String> = (0..1_000).map(|n| format!("{n:0256}")).collect();
    let body = json!({"sentinel_user_ids": sentinels}).to_string();
    assert_eq!(operate(&world, "PUT", "/v1/sites/A", &body).status, 200);
    let escaped = body.replace("\"0", "\"\\u0030");
    assert_eq!(operate(&world, "PUT", "/v1/sites/A", &escaped).status, 200);
}

#[test]
fn unfit_settings_of_a_site() {
    let world = World::new();
    for (body, code, pointer) in [
        (r#"{"colour":"red"}"#, "unknown_field", ""),
        (r#"{"retention":{"days":3}}"#, "unknown_field", "/retention"),
        (r#"{"time_zone":"Nowhere/City"}"#, "bad_value", "/time_zone"),
        (r#"{"time_zone":7}"#, "wrong_type", "/time_zone"),
        (r#"{"retention":{"records_days":0}}"#, "bad_value", "/retention/records_days"),
        (r#"{"include_failures":"yes"}"#, "wrong_type", "/include_failures"),
        (r#"{"anonymous_by_device":1}"#, "wrong_type", "/anonymous_by_device"),
        (r#"{"closing_hours":23}"#, "bad_value", "/closing_hours"),
        (r#"{"closing_hours":241}"#, "bad_value", "/closing_hours"),
        (r#"{"closing_hours":"72"}"#, "wrong_type", "/closing_hours"),
        (r#"{"sentinel_user_ids":"x"}"#, "wrong_type", "/sentinel_user_ids"),
        (r#"{"sentinel_user_ids":["a",7]}"#, "wrong_type", "/sentinel_user_ids/1"),
        (r#"{"name":"a","name":"b"}"#, "duplicate_field", "/name"),
    ] {
        let read = problem(&operate(&world, "PUT", "/v1/sites/N", body), 422, "unfit");
        assert_eq!((&read["code"], &read["pointer"]), (&json!(code), &json!(pointer)), "{body}");
    }
    for body in ["", "{", "[]", "7"] {
        problem(&operate(&world, "PUT", "/v1/sites/N", body), 400, "unreadable");
    }
    problem(&operate(&world, "GET", "/v1/sites/N", ""), 404, "not-found");
    for site in ["a%20b", "a!b", &"x".repeat(65), "%41"] {
        problem(&operate(&world, "PUT", &format!("/v1/sites/{site}"), "{}"), 404, "not-found");
    }
}

#[test]
fn tokens_are_shown_once() {
    let world = World::new();
    let body = r#"{"role":"producer","sites":["A"],"expires_in_days":90,"name":"licence server 1",
        "producer":"license-server"}"#;
    let made = operate(&world, "POST", "/v1/tokens", body);
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let (key_id, text) = (made["key_id"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert!(text.starts_with(&format!("bt_{key_id}_")), "{made}");
    assert_eq!((&made["role"], &made["sites"]), (&json!("producer"), &json!(["A"])));
    let expires: jiff::Timestamp = made["expires_at"].as_str().unwrap().parse().unwrap();
    let days = expires.duration_since(jiff::Timestamp::now()).as_secs() as f64 / 86_400.0;
    assert!((89.99..90.01).contains(&days), "{days}");
    let list = operate(&world, "GET", "/v1/tokens", "");
    for token in [text, &world.producer, &world.billing, &world.server.operator_token()] {
        let secret = token.splitn(3, '_').nth(2).unwrap();
        assert!(!list.text().contains(secret), "a secret is listed");
    }
    let read = list.json();
    let items = read["items"].as_array().unwrap();
    assert_eq!(items.len(), 4);
    let listed = items.iter().find(|item| item["key_id"] == made["key_id"]).unwrap();
    assert_eq!(listed.get("token"), None);
    for name in ["role", "sites", "expires_at", "name", "producer"] {
        assert_eq!(listed[name], made[name], "{name}");
    }
    assert_eq!(listed["producer"], json!("license-server"));
}

#[test]
fn unfit_tokens() {
    let world = World::new();
    for (body, code, pointer) in [
        (r#"{"sites":["A"]}"#, "missing_field", "/role"),
        (r#"{"role":"billing"}"#, "missing_field", "/sites"),
        (r#"{"role":"admin","sites":["A"]}"#, "bad_value", "/role"),
        (r#"{"role":"billing","sites":[]}"#, "bad_value", "/sites"),
        (r#"{"role":"billing","sites":["*","A"]}"#, "bad_value", "/sites"),
        (r#"{"role":"billing","sites":["a b"]}"#, "bad_value", "/sites/0"),
        (
            r#"{"role":"billing","sites":["A"],"expires_in_days":0}"#,
            "bad_value",
            "/expires_in_days",
        ),
        (r#"{"role":"billing","sites":["A"],"scope":"x"}"#, "unknown_field", ""),
    ] {
        let read = problem(&operate(&world, "POST", "/v1/tokens", body), 422, "unfit");
        assert_eq!((&read["code"], &read["pointer"]), (&json!(code), &json!(pointer)), "{body}");
    }
}

#[test]
fn the_routes_of_operation() {
    let world = World::new();
    for path in ["/livez", "/readyz"] {
        let answer = ask(&world.server, "", "GET", path, &[], b"");
        assert_eq!((answer.status, answer.json()), (200, json!({"status": "ok"})));
    }
    let version = ask(&world.server, "", "GET", "/version", &[], b"").json();
    assert_eq!(version["name"], json!("blindtally"));
    assert_eq!(version["version"], json!(env!("CARGO_PKG_VERSION")));
    let bad = with(&license("b", "u"), "schema", 3);
    assert_eq!(world.lines(&[license("a", "u"), license("a", "u"), bad]).status, 200);
    let operator = world.server.operator_token();
    for (accept, media) in [
        ("*/*", "text/plain; version=0.0.4"),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text",
        ),
    ] {
        let answer = ask(&world.server, &operator, "GET", "/metrics", &[("accept", accept)], b"");
        let text = answer.text();
        assert!(answer.header("content-type").unwrap().starts_with(media), "{answer:?}");
        assert_eq!(text.ends_with("# EOF\n"), media.contains("openmetrics"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("blindtally_") && value.parse::<f64>().is_ok(), "{line}");
        }
        for wanted in [
            "blindtally_records_total{outcome=\"accepted\"} 1",
            "blindtally_records_total{outcome=\"duplicate\"} 1",
            "blindtally_records_total{outcome=\"rejected\"} 1",
            "blindtally_records_rejected_total{reason=\"bad_value\"} 1",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
    }
}
