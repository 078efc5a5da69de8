//! What arrived from whom, by the hour, and receipts again.

use std::collections::BTreeMap;

use super::*;

/// The rows that a token sees, read page by page.
#[track_caller]
fn arrivals(server: &Server, token: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/reconciliation?limit=2{cursor}");
        let answer = ask(server, token, "GET", &path, &[], b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json();
        rows.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

/// Received, accepted, duplicates, unreadable requests, and the refused by reason, of each producer
/// over all hours: the test may run over the end of one.
fn sums(rows: &[Value]) -> BTreeMap<String, ([u64; 4], BTreeMap<String, u64>)> {
    let mut sums: BTreeMap<String, ([u64; 4], BTreeMap<String, u64>)> = BTreeMap::new();
    for row in rows {
        let (figures, refused) = sums.entry(row["producer"].as_str().unwrap().into()).or_default();
        let names = ["received", "accepted", "duplicates", "unreadable_requests"];
        for (figure, name) in figures.iter_mut().zip(names) {
            *figure += row[name].as_u64().unwrap();
        }
        let mut total = 0;
        for (reason, records) in row["rejected"].as_object().unwrap() {
            *refused.entry(reason.clone()).or_default() += records.as_u64().unwrap();
            total += records.as_u64().unwrap();
        }
        let parts = row["accepted"].as_u64().unwrap() + row["duplicates"].as_u64().unwrap() + total;
        assert_eq!(row["received"], json!(parts), "{row}");
    }
    sums
}

#[test]
fn everything_that_comes_is_counted_once_and_survives_a_kill() {
    let world = World::new();
    let of = |producer: &str, record: Value| with(&record, "producer", producer);
    let first = license("r1", "u");
    let batch = [
        first.clone(),
        first.clone(),
        license("r2", "u"),
        of("other", license("r3", "u")),
        of("other", with(&license("r4", "u"), "site_id", "Nowhere")),
        of("other", with(&license("r5", "u"), "occurred_at", ago(-3_600))),
        // What is refused is the credential's, whatever it names.
        of("other", with(&license("r6", "u"), "drm_type", "none")),
    ];
    let answer = world.lines(&batch);
    assert_eq!(counts(&answer), [7, 3, 1, 3]);
    let at = answer.json()["received_at"].as_str().unwrap().to_owned();
    // Nothing accepted is counted as well, and so is what cannot be read.
    world.refused(&of("third", with(&license("r7", "u"), "occurred_at", ago(40 * 86_400))));
    assert_eq!(world.post(&[NDJSON], "x\n\ny\n").status, 422);
    assert_eq!(world.post(&[JSON], "[{").status, 400);
    assert_eq!(world.post(&[("content-type", "text/html")], "x").status, 415);
    let coding = [NDJSON, ("content-encoding", "gzip")];
    assert_eq!(world.post(&coding, "no gzip").status, 400);
    // Nothing came: an empty body, an answer again, another body under the same key.
    assert_eq!(world.post(&[NDJSON], "").status, 200);
    let keyed = [NDJSON, ("idempotency-key", "k")];
    let body = license("r8", "u").to_string();
    for _ in 0..2 {
        assert_eq!(world.post(&keyed, &body).status, 200);
    }
    assert_eq!(world.post(&keyed, "").status, 422);
    let wanted: BTreeMap<String, ([u64; 4], BTreeMap<String, u64>)> = [
        (
            "p",
            [10, 3, 1, 3],
            vec![
                ("bad_json", 2),
                ("bad_value", 1),
                ("in_future", 1),
                ("too_old", 1),
                ("unknown_site", 1),
            ],
        ),
        ("other", [1, 1, 0, 0], vec![]),
    ]
    .into_iter()
    .map(|(name, figures, refused)| {
        let refused = refused.into_iter().map(|(reason, records)| (reason.to_owned(), records));
        (name.to_owned(), (figures, refused.collect()))
    })
    .collect();
    let rows = arrivals(&world.server, &world.producer);
    assert_eq!(sums(&rows), wanted);
    let hour = format!("{}:00:00Z", &at[..13]);
    let named = |row: &&Value| row["hour"] == json!(hour) && row["producer"] == json!("other");
    assert!(rows.iter().any(|row| named(&row)), "a receipt says its hour: {at} {rows:?}");
    assert!(rows.iter().all(|row| row["credential"] == json!("p") && row["sites"] == json!(["*"])));
    let usage = world.usage("A", month_of(&ago(0)));
    assert_eq!((&usage["licenses_issued"], &usage["duplicates"]), (&json!(4), &json!(1)));
    let world = world.crash();
    assert_eq!(arrivals(&world.server, &world.producer), rows, "across a kill");
    let world = world.restart();
    assert_eq!(arrivals(&world.server, &world.producer), rows, "across a restart");
    let metrics = ask(&world.server, &world.server.operator_token(), "GET", "/metrics", &[], b"");
    let difference = "blindtally_reconciliation_difference 0\n";
    assert!(metrics.text().contains(difference), "{}", metrics.text());
}

/// Whoever is suppressed changes nothing for a request without rows: it is answered and counted.
#[test]
fn what_cannot_be_read_is_counted_after_somebody_was_suppressed() {
    let world = World::new();
    assert_eq!(counts(&world.lines(&[license("s1", "u")])), [1, 1, 0, 0]);
    let privacy = token(&world.server, &json!({"role": "privacy", "sites": ["A"], "name": "q"}));
    let body = r#"{"user_id":"u","suppress":true}"#;
    let path = "/v1/sites/A/subjects/erase";
    assert_eq!(send_json(&world.server, &privacy, "POST", path, body).status, 200);
    problem(&world.post(&[JSON], "[{"), 400, "unreadable");
    world.refused(&with(&license("s2", "u"), "drm_type", "none"));
    assert_eq!(counts(&world.lines(&[license("s3", "u")])), [1, 1, 0, 0]);
    let found = sums(&arrivals(&world.server, &world.producer));
    assert_eq!(found["p"], ([3, 2, 0, 1], BTreeMap::from([("bad_value".to_owned(), 1)])));
}

#[test]
fn a_name_that_is_not_allowed_is_not_written_down() {
    let world = World::new();
    let body = json!({"role": "producer", "sites": ["*"], "name": "few", "producers": ["few-2"]});
    let few = token(&world.server, &body);
    let post = |producer: &str, event: &str| {
        let line = with(&license(event, "u"), "producer", producer).to_string();
        ask(&world.server, &few, "POST", "/v1/records", &[NDJSON], line.as_bytes()).status
    };
    assert_eq!([post("few-2", "n1"), post("stranger", "n2")], [200, 422]);
    // A listed name is, also where its record is refused; without a list it could be anything.
    for token in [&few, &world.producer] {
        let lost = with(&license("n3", "u"), "site_id", "Nowhere");
        let line = with(&lost, "producer", "few-2").to_string();
        let answer = ask(&world.server, token, "POST", "/v1/records", &[NDJSON], line.as_bytes());
        assert_eq!(answer.status, 422);
    }
    let found = sums(&arrivals(&world.server, &world.server.operator_token()));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["few", "few-2", "p"]);
    assert_eq!(found["few"].1, BTreeMap::from([("producer_not_allowed".to_owned(), 1)]));
    let lost = BTreeMap::from([("unknown_site".to_owned(), 1)]);
    assert_eq!([&found["few-2"].1, &found["p"].1], [&lost, &lost]);
}

#[test]
fn each_sees_what_is_its_own() {
    let world = World::new();
    put_site(&world.server, "B", "{}");
    let make = |role: &str, sites: &[&str], producer: &str| {
        let body = json!({"role": role, "sites": sites, "name": "n", "producer": producer});
        token(&world.server, &body)
    };
    let (a, b) = (make("producer", &["A"], "same"), make("producer", &["B"], "same"));
    let other = make("producer", &["A"], "other");
    for (token, site, event) in [(&a, "A", "s1"), (&b, "B", "s2"), (&other, "A", "s3")] {
        let line = with(&license(event, "u"), "site_id", site).to_string();
        let answer = ask(&world.server, token, "POST", "/v1/records", &[NDJSON], line.as_bytes());
        assert_eq!(counts(&answer), [1, 1, 0, 0]);
    }
    let see = |token: &str| {
        let rows = arrivals(&world.server, token).into_iter();
        let name = |row: Value| format!("{} {}", row["credential"], row["sites"]);
        let mut names: Vec<String> = rows.map(name).collect();
        names.sort();
        names.dedup();
        names
    };
    let (same_a, same_b) = ("\"same\" [\"A\"]", "\"same\" [\"B\"]");
    assert_eq!(see(&a), [same_a]);
    assert_eq!(see(&b), [same_b]);
    assert_eq!(see(&make("producer", &["A"], "same")), [same_a], "kept over rotation");
    assert_eq!(see(&make("producer", &["A", "B"], "same")), [same_a, same_b]);
    assert_eq!(see(&make("operator", &["A"], "x")), ["\"other\" [\"A\"]", same_a]);
    assert_eq!(see(&make("auditor", &["*"], "x")).len(), 3);
    assert_eq!(see(&world.producer), [""; 0], "it sent nothing");
}

#[test]
fn a_receipt_can_be_asked_for_again() {
    let world = World::new();
    let key = ("idempotency-key", "batch 1");
    let body = format!("{}\nx\n", license("q1", "u"));
    let first = world.post(&[NDJSON, key], &body);
    assert_eq!((first.status, counts(&first)), (200, [2, 1, 0, 1]));
    let again = |world: &World, token: &str, key: &str| {
        ask(&world.server, token, "GET", "/v1/receipts", &[("idempotency-key", key)], b"")
    };
    let kept = again(&world, &world.producer, "\"batch 1\"");
    assert_eq!((kept.status, &kept.body), (200, &first.body), "byte for byte");
    assert_eq!(kept.header("idempotent-replayed"), Some("true"));
    problem(&again(&world, &world.producer, "batch 2"), 404, "not-found");
    let body = json!({"role": "producer", "sites": ["*"], "name": "stranger"});
    let stranger = token(&world.server, &body);
    problem(&again(&world, &stranger, "batch 1"), 404, "not-found");
    let none = ask(&world.server, &world.producer, "GET", "/v1/receipts", &[], b"");
    problem(&none, 400, "bad-idempotency-key");
    let world = world.crash();
    assert_eq!(again(&world, &world.producer, "batch 1").body, first.body, "across a kill");
}
