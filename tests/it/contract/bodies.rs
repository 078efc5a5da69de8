//! The formats of a batch, and the receipt.

use super::*;

#[test]
fn a_receipt_has_the_members_of_the_contract() {
    let world = World::new();
    let good = license("e1", "u");
    let bad = with(&license("e2", "u"), "occurred_at", "yesterday");
    let answer = world.lines(&[good.clone(), good, bad]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("idempotent-replayed"), None);
    let read = answer.json();
    let names: Vec<&String> = read.as_object().unwrap().keys().collect();
    let mut wanted =
        ["receipt", "received_at", "received", "accepted", "duplicates", "rejected", "errors"];
    wanted.sort_unstable();
    assert_eq!(sorted(names), wanted, "corrected and not_retained are absent when zero");
    assert!(read["receipt"].as_str().is_some_and(|receipt| !receipt.is_empty()));
    assert_eq!(counts(&answer), [3, 1, 1, 1]);
    let error = json!({
        "index": 2, "event_id": "e2", "code": "bad_time", "pointer": "/occurred_at",
        "retryable": false,
    });
    assert_eq!(only_error(&answer), error);
}

fn sorted(mut names: Vec<&String>) -> Vec<&str> {
    names.sort_unstable();
    names.into_iter().map(String::as_str).collect()
}

#[test]
fn lines_are_read_one_by_one() {
    let world = World::new();
    let (one, two) = (license("l1", "u"), license("l2", "u"));
    let text = format!("\n\r\n  \t\n{one}\r\n\n[]\n{{\"event_id\":\"l3\"\n \n{two}");
    for media in
        ["application/x-ndjson", "application/jsonl", "APPLICATION/X-NDJSON; charset=utf-8"]
    {
        let answer = world.post(&[("content-type", media)], &text);
        let [received, accepted, duplicates, rejected] = counts(&answer);
        assert_eq!((received, accepted + duplicates, rejected), (4, 2, 2), "{answer:?}");
        let read = answer.json();
        let errors: Vec<(u64, &str)> = read["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| (error["index"].as_u64().unwrap(), error["code"].as_str().unwrap()))
            .collect();
        assert_eq!(errors, [(1, "bad_json"), (2, "bad_json")], "blank lines are not counted");
    }
}

#[test]
fn nothing_at_all_is_a_batch_only_as_lines() {
    let world = World::new();
    for body in ["", "\n", "\r\n \n\n"] {
        let answer = world.post(&[NDJSON], body);
        assert_eq!((answer.status, counts(&answer)), (200, [0; 4]), "{answer:?}");
    }
    let empty = world.post(&[JSON], "[]");
    assert_eq!((empty.status, counts(&empty)), (200, [0; 4]), "{empty:?}");
    for media in ["application/json", "application/cloudevents+json"] {
        for body in ["", " ", "\n"] {
            problem(&world.post(&[("content-type", media)], body), 400, "unreadable");
        }
    }
}

#[test]
fn json_is_one_object_or_an_array() {
    let world = World::new();
    let (one, two) = (license("j1", "u"), license("j2", "u"));
    assert_eq!(counts(&world.post(&[JSON], one.to_string())), [1, 1, 0, 0]);
    let array = json!([one, 7, two, {"event_id": "j3"}]).to_string();
    let answer = world.post(&[JSON], &array);
    assert_eq!(counts(&answer), [4, 1, 1, 2]);
    let read = answer.json();
    assert_eq!(
        (&read["errors"][0]["index"], &read["errors"][0]["code"]),
        (&json!(1), &json!("bad_json"))
    );
    assert_eq!(read["errors"][1]["event_id"], json!("j3"));
    let third = license("j4", "u").to_string();
    for broken in [
        format!("[{third}"),
        format!("[{third},]"),
        format!("[{third} {third}]"),
        format!("{third}{third}"),
        format!("[{third}]]"),
        third[..third.len() - 1].to_owned(),
        "true".to_owned(),
        "nonsense".to_owned(),
    ] {
        problem(&world.post(&[JSON], &broken), 400, "unreadable");
    }
    let kept = world.post(&[JSON], &third);
    assert_eq!(counts(&kept), [1, 1, 0, 0], "after a 4xx no record of the request was kept");
}

fn event(id: &str, data: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "type": "drm.license.issued", "source": "/licence/1",
        "subject": "A", "time": ago(0), "data": data,
    })
}

#[test]
fn cloud_events_in_three_modes() {
    let world = World::new();
    let data = json!({"outcome": "success", "user_id": "u"});
    let single = [("content-type", "application/cloudevents+json; charset=UTF-8")];
    let one = event("c1", &data);
    assert_eq!(counts(&world.post(&single, one.to_string())), [1, 1, 0, 0]);
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let inner = with(&data, "site_id", "A");
    let events = json!([one, event("c2", &data), without(&event("c3", &inner), "subject")]);
    assert_eq!(counts(&world.post(&batch, events.to_string())), [3, 2, 1, 0]);
    assert_eq!(counts(&world.post(&batch, "[]")), [0; 4]);
    problem(&world.post(&batch, one.to_string()), 400, "unreadable");
    problem(&world.post(&single, json!([one]).to_string()), 400, "unreadable");
    // Binary mode, and the source is the producer: the same event again is a duplicate.
    let now = ago(0);
    let mut headers = vec![
        JSON,
        ("ce-specversion", "1.0"),
        ("ce-id", "c1"),
        ("ce-type", "drm.license.issued"),
        ("ce-source", "/licence/1"),
        ("ce-subject", "A"),
        ("ce-time", &now),
    ];
    assert_eq!(counts(&world.post(&headers, data.to_string())), [1, 0, 1, 0]);
    headers[2].1 = "c4";
    assert_eq!(counts(&world.post(&headers, data.to_string())), [1, 1, 0, 0]);
    headers[4].1 = "/licence/2";
    assert_eq!(counts(&world.post(&headers, data.to_string())), [1, 1, 0, 0]);
    headers[1].1 = "0.3";
    let refused = world.post(&headers, data.to_string());
    problem(&refused, 422, "nothing-accepted");
    assert_eq!(only_error(&refused)["code"], json!("bad_cloudevent"));
}

#[test]
fn every_spelling_of_a_time_is_the_same_time() {
    let world = World::new();
    let seconds = jiff::Timestamp::now().as_second() - 90_000;
    let utc = jiff::Timestamp::from_second(seconds).unwrap();
    let compact: String = utc.to_string().chars().filter(char::is_ascii_digit).collect();
    let seoul = utc.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(9)));
    let spellings = [
        json!(utc.to_string()),
        json!(utc.to_string().replace('Z', "+00:00")),
        json!(seoul.strftime("%Y-%m-%dT%H:%M:%S+09:00").to_string()),
        json!(compact),
        json!(seconds),
        json!(seconds * 1_000),
    ];
    for (at, spelling) in spellings.iter().enumerate() {
        let answer = world.lines(&[with(&license("t", "u"), "occurred_at", spelling.clone())]);
        let wanted = if at == 0 { [1, 1, 0, 0] } else { [1, 0, 1, 0] };
        assert_eq!(counts(&answer), wanted, "{spelling}");
    }
    for bad in [json!("2026-13-01T00:00:00Z"), json!("2026-11-31"), json!(""), json!("soon")] {
        let error = world.refused(&with(&license("t", "u"), "occurred_at", bad.clone()));
        assert_eq!(error["code"], json!("bad_time"), "{bad}");
    }
}

#[test]
fn batches_come_in_codings() {
    let world = World::new();
    let text = license("g1", "u").to_string();
    let gzip = limits::gzip(text.as_bytes());
    let zstd = zstd::stream::encode_all(text.as_bytes(), 3).unwrap();
    for (turn, (coding, body)) in
        [("gzip", &gzip), ("x-gzip", &gzip), ("GZIP", &gzip), ("zstd", &zstd)]
            .into_iter()
            .enumerate()
    {
        let answer = world.post(&[NDJSON, ("content-encoding", coding)], body);
        let accepted = u64::from(turn == 0);
        assert_eq!(counts(&answer), [1, accepted, 1 - accepted, 0], "{coding}");
    }
    let plain = world.post(&[NDJSON, ("content-encoding", "identity")], &text);
    assert_eq!(counts(&plain), [1, 0, 1, 0]);
    for (coding, body) in [("gzip", &zstd), ("zstd", &gzip)] {
        problem(&world.post(&[NDJSON, ("content-encoding", coding)], body), 400, "bad-coding");
    }
    for (coding, body) in [("gzip", &gzip), ("zstd", &zstd)] {
        let cut = &body[..body.len() - 4];
        problem(&world.post(&[NDJSON, ("content-encoding", coding)], cut), 400, "bad-coding");
        let more = [body, &b"junk"[..]].concat();
        problem(&world.post(&[NDJSON, ("content-encoding", coding)], more), 400, "bad-coding");
    }
}
