//! Why a record is refused: code and pointer of every reason.

use super::*;

/// The codes that a black box can meet; `site_terminated` has no route yet, and
/// `not_in_backfill` is met in `backfill.rs`.
const CODES: [&str; 17] = [
    "bad_cloudevent",
    "bad_json",
    "bad_time",
    "bad_value",
    "duplicate_field",
    "in_future",
    "missing_field",
    "producer_not_allowed",
    "secret_field",
    "too_long",
    "too_many_devices",
    "too_old",
    "unknown_device_kind",
    "unknown_field",
    "unknown_site",
    "unknown_type",
    "wrong_type",
];

#[track_caller]
fn expect(world: &World, record: &Value, code: &str, pointer: &str) {
    let error = world.refused(record);
    assert!(CODES.contains(&code));
    let wanted = json!({
        "index": 0, "event_id": "e", "code": code, "pointer": pointer,
        "retryable": code == "in_future",
    });
    assert_eq!(error, wanted, "{record}");
}

#[test]
fn required_members_are_required() {
    let world = World::new();
    let good = license("e", "u");
    for name in ["type", "site_id", "occurred_at", "outcome"] {
        expect(&world, &without(&good, name), "missing_field", &format!("/{name}"));
    }
    let nameless = world.refused(&without(&good, "event_id"));
    let wanted = json!({
        "index": 0, "code": "missing_field", "pointer": "/event_id", "retryable": false,
    });
    assert_eq!(nameless, wanted);
    // Only licenses need an outcome; producer, schema, environment and DRM type have defaults.
    let packaged = with(&without(&good, "outcome"), "type", "drm.content.packaged");
    let packaged = without(&packaged, "user_id");
    assert_eq!(counts(&world.lines(&[packaged])), [1, 1, 0, 0]);
}

#[test]
fn members_outside_the_schema() {
    let world = World::new();
    let good = license("e", "u");
    let device = |value: Value| with(&good, "device", value);
    expect(&world, &with(&good, "viewer-81231", 1), "unknown_field", "");
    expect(&world, &with(&good, "job_id", "1"), "unknown_field", "");
    expect(&world, &device(json!({"viewer-81231": 1})), "unknown_field", "/device");
    let id = json!({"ids": [{"kind": "opaque", "value": "x", "v": 1}]});
    expect(&world, &device(id), "unknown_field", "/device/ids/0");
    expect(&world, &with(&good, "license", json!({"x": 1})), "unknown_field", "/license");
    for secret in ["signing_key", "cek", "key", "token", "spc", "ckc", "challenge", "pssh", "iv"] {
        expect(&world, &with(&good, secret, "x"), "secret_field", &format!("/{secret}"));
    }
    expect(&world, &with(&good, "license", "CAIS"), "secret_field", "/license");
    expect(&world, &device(json!({"key": "x"})), "secret_field", "/device/key");
    let twice = good.to_string().replacen('{', "{\"user_id\":\"other\",", 1);
    let answer = world.post(&[NDJSON], twice);
    assert_eq!(only_error(&answer)["code"], json!("duplicate_field"));
    assert_eq!(only_error(&answer)["pointer"], json!("/user_id"));
}

#[test]
fn values_outside_the_schema() {
    let world = World::new();
    let good = license("e", "u");
    for (member, value, code) in [
        ("user_id", json!(81231), "wrong_type"),
        ("user_id", json!(["u"]), "wrong_type"),
        ("occurred_at", json!(true), "wrong_type"),
        ("latency_ms", json!("7"), "wrong_type"),
        ("latency_ms", json!(7.5), "wrong_type"),
        ("drm_type", json!("verimatrix"), "bad_value"),
        ("environment", json!("staging"), "bad_value"),
        ("outcome", json!("maybe"), "bad_value"),
        ("request_type", json!("refresh"), "bad_value"),
        ("license_type", json!("eternal"), "bad_value"),
        ("schema", json!(2), "bad_value"),
        ("type", json!("drm.license.revoked"), "unknown_type"),
        ("site_id", json!("Nowhere"), "unknown_site"),
        ("site_id", json!("a site"), "unknown_site"),
        ("occurred_at", json!("now"), "bad_time"),
        ("device", json!("phone"), "wrong_type"),
    ] {
        expect(&world, &with(&good, member, value), code, &format!("/{member}"));
    }
    let kind = |kind: &str| json!({"ids": [{"kind": kind, "value": "x"}]});
    for unknown in ["serial", "IMEI", ""] {
        let record = with(&good, "device", kind(unknown));
        expect(&world, &record, "unknown_device_kind", "/device/ids/0/kind");
    }
    let id = json!({"kind": "opaque", "value": "x"});
    let nine = with(&good, "device", json!({"ids": vec![id.clone(); 9]}));
    expect(&world, &nine, "too_many_devices", "/device/ids");
    let eight = with(&good, "device", json!({"ids": vec![id; 8]}));
    assert_eq!(counts(&world.lines(&[eight])), [1, 1, 0, 0]);
}

#[test]
fn texts_have_their_lengths() {
    let world = World::new();
    let good = license("e", "u");
    let mark = json!({
        "event_id": "e", "type": "watermark.session.created", "site_id": "A", "occurred_at": ago(0),
    });
    for (base, member, max) in [
        (&good, "user_id", 256),
        (&good, "cid", 200),
        (&mark, "forensic_mark", 254),
        (&mark, "domain", 64),
        (&good, "producer", 64),
        (&good, "session_id", 64),
        (&good, "order_id", 128),
        (&good, "error_code", 32),
    ] {
        // Bytes, not characters.
        let text = format!("한{}", "x".repeat(max - 2));
        expect(&world, &with(base, member, text), "too_long", &format!("/{member}"));
        let fits = with(base, member, "x".repeat(max));
        let fits = with(&fits, "event_id", format!("fits-{member}"));
        assert_eq!(counts(&world.lines(&[fits])), [1, 1, 0, 0], "{member}");
    }
    let device = |length: usize| json!({"ids": [{"kind": "opaque", "value": "x".repeat(length)}]});
    expect(&world, &with(&good, "device", device(257)), "too_long", "/device/ids/0/value");
    let long = world.refused(&with(&good, "event_id", "e".repeat(65)));
    assert_eq!((&long["code"], &long["pointer"]), (&json!("too_long"), &json!("/event_id")));
    assert_eq!(long.get("event_id"), None);
}

#[test]
fn event_ids_come_back_only_when_they_can_be_nothing_else() {
    let world = World::new();
    for (id, back) in [
        ("0192f0c1-7a2b-7c00-8000-0123456789ab", true),
        ("a.b_c:d-E9", true),
        ("viewer 81231", false),
        ("viewer@example.com", false),
        ("뷰어", false),
    ] {
        let error = world.refused(&with(&license(id, "u"), "schema", 9));
        assert_eq!(error["event_id"].as_str(), back.then_some(id));
    }
}

#[test]
fn a_flawed_device_or_user_never_costs_a_record() {
    let world = World::new();
    let mut batch = Vec::new();
    for (kind, value) in [
        ("android_id", "not hex at all"),
        ("android_id", "9774d56d682e549c"),
        ("imei", "490154203237511"),
        ("wifi_mac", "02:00:00:00:00:00"),
        ("wifi_mac", "06:23:45:67:89:ab"),
        ("idfa", "00000000-0000-0000-0000-000000000000"),
        ("fairplay_hu", ""),
        ("imei", "null"),
    ] {
        let record = license(&format!("d{}", batch.len()), "u");
        batch.push(with(&record, "device", json!({"ids": [{"kind": kind, "value": value}]})));
    }
    let record = |id: &str, device: Value| with(&license(id, "u"), "device", device);
    batch.push(record("n1", json!({"ids": [{"kind": "imei", "value": null}]})));
    batch.push(record("n2", json!({"ids": [{"kind": "imei"}], "model": "m".repeat(100)})));
    batch.push(with(&license("n3", "u"), "license", json!({"expires_at": 0})));
    for user in [json!(""), json!("LICENSETOKEN"), json!("guest"), Value::Null] {
        batch.push(with(&license(&format!("u{}", batch.len()), ""), "user_id", user));
    }
    batch.push(without(&license("u", ""), "user_id"));
    let answer = world.lines(&batch);
    assert_eq!(counts(&answer), [16, 16, 0, 0], "{answer:?}");
    let usage = world.usage("A", month_of(&ago(0)));
    assert_eq!(usage["devices"], json!(0));
    assert_eq!((&usage["mau"], &usage["unattributed_licenses"]), (&json!(1), &json!(5)));
}

#[test]
fn sites_that_are_not_the_callers_do_not_exist() {
    let world = World::new();
    put_site(&world.server, "B", "{}");
    let own = json!({"role": "producer", "sites": ["A", "ghost"], "name": "own"});
    let own = token(&world.server, &own);
    let record = |id: &str, site: &str| with(&license(id, "u"), "site_id", site);
    let lines: String =
        [record("m1", "A"), record("m2", "B"), record("m3", "C"), record("m4", "ghost")]
            .iter()
            .map(|record| format!("{record}\n"))
            .collect();
    let answer = ask(&world.server, &own, "POST", "/v1/records", &[NDJSON], lines.as_bytes());
    assert_eq!((answer.status, counts(&answer)), (200, [4, 1, 0, 3]), "{answer:?}");
    let read = answer.json();
    for (at, error) in read["errors"].as_array().unwrap().iter().enumerate() {
        assert_eq!(error["index"], json!(at + 1));
        assert_eq!(
            (&error["code"], &error["pointer"]),
            (&json!("unknown_site"), &json!("/site_id"))
        );
    }
    assert_eq!(world.usage("B", month_of(&ago(0)))["licenses_issued"], json!(0));
}

#[test]
fn producers_speak_only_for_names_they_have() {
    let world = World::new();
    let body = json!({
        "role": "producer", "sites": ["A"], "name": "n", "producer": "own", "producers": ["other"],
    });
    let bound = token(&world.server, &body);
    let post = |record: &Value| {
        let text = record.to_string();
        ask(&world.server, &bound, "POST", "/v1/records", &[NDJSON], text.as_bytes())
    };
    let record = |id: &str, producer: &str| with(&license(id, "u"), "producer", producer);
    for good in [license("p1", "u"), record("p2", "own"), record("p3", "other")] {
        assert_eq!(counts(&post(&good)), [1, 1, 0, 0], "{good}");
    }
    let refused = post(&record("p4", "third"));
    problem(&refused, 422, "nothing-accepted");
    let error = only_error(&refused);
    assert_eq!(error["code"], json!("producer_not_allowed"));
    assert_eq!(error["pointer"], json!("/producer"));
    // Without a list every name may be used.
    assert_eq!(counts(&world.lines(&[record("p4", "third")])), [1, 1, 0, 0]);
}

#[test]
fn times_have_their_bounds() {
    const DAY: i64 = 86_400;
    let world = World::new();
    let at = |id: &str, seconds: i64| with(&license(id, "u"), "occurred_at", ago(seconds));
    assert_eq!(counts(&world.lines(&[at("old", 35 * DAY - 120), at("ahead", -240)])), [2, 2, 0, 0]);
    expect(&world, &at("e", -300 - 60), "in_future", "/occurred_at");
    let error = world.refused(&at("e", 37 * DAY + 7_200));
    assert_eq!((&error["code"], &error["pointer"]), (&json!("too_old"), &json!("/occurred_at")));
    let error = world.refused(&at("e", 35 * DAY + 120));
    assert_eq!((&error["code"], &error["event_id"]), (&json!("too_old"), &json!("e")));
    // The pointer is that of the event, also where the engine finds it too old.
    let event = |seconds: i64| {
        let event = json!({
            "specversion": "1.0", "id": "e", "type": "drm.license.issued", "source": "p",
            "subject": "A", "time": ago(seconds), "data": {"outcome": "success"},
        });
        let media = [("content-type", "application/cloudevents+json")];
        only_error(&world.post(&media, event.to_string()))
    };
    for seconds in [35 * DAY + 120, 37 * DAY + 7_200] {
        let error = event(seconds);
        assert_eq!((&error["code"], &error["pointer"]), (&json!("too_old"), &json!("/time")));
    }
}

#[test]
fn a_broken_line_is_refused_alone() {
    let world = World::new();
    let good = license("e", "u").to_string();
    for broken in [&good[..good.len() - 1], "nonsense", "[]", "7", "\"e\"", "null", "{\"a\":1}}"] {
        let answer = world.post(&[NDJSON], format!("{broken}\n{good}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let error = only_error(&answer);
        assert_eq!((&error["index"], &error["code"]), (&json!(0), &json!("bad_json")), "{broken}");
        assert_eq!(error["pointer"], json!(""));
    }
    let deep = format!("{{\"cid\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(only_error(&world.post(&[NDJSON], deep))["code"], json!("bad_json"));
    let text = [good.as_bytes(), b"\n\xff\xfe\n"].concat();
    assert_eq!(only_error(&world.post(&[NDJSON], text))["code"], json!("bad_json"));
}
