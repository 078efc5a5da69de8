//! Backfills: late logs that are put aside, and counted as a whole or not at all.

use std::sync::mpsc;

use super::clocked::Clocked;
use super::*;
use crate::support::{Client, make_token};

impl World {
    fn operate(&self, method: &str, path: &str, body: &str) -> Answer {
        send_json(&self.server, &self.server.operator_token(), method, path, body)
    }

    /// A backfill of site `A` of the last days.
    fn made(&self, days: i64) -> String {
        let body = json!({
            "site_id": "A", "from": ago(days * 86_400), "to": ago(0), "reason": "no link",
        });
        let made = self.operate("POST", "/v1/backfills", &body.to_string());
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(made.json()["state"], json!("loading"));
        made.json()["id"].as_str().unwrap().to_owned()
    }

    fn load(&self, id: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        let path = format!("/v1/backfills/{id}/records");
        ask(&self.server, &self.producer, "POST", &path, headers, body.as_ref())
    }

    fn load_lines(&self, id: &str, records: &[Value]) -> Answer {
        let text: String = records.iter().map(|record| format!("{record}\n")).collect();
        self.load(id, &[NDJSON], text)
    }

    fn shown(&self, id: &str) -> Value {
        let shown = self.operate("GET", &format!("/v1/backfills/{id}"), "");
        assert_eq!(shown.status, 200, "{shown:?}");
        shown.json()
    }

    fn close(&self, id: &str) -> Answer {
        self.operate("POST", &format!("/v1/backfills/{id}/close"), "")
    }

    /// Sums of all rows of the reconciliation: received, accepted, duplicates.
    fn arrived(&self) -> [u64; 3] {
        let path = "/v1/reconciliation?limit=1000";
        let rows = ask(&self.server, &self.producer, "GET", path, &[], b"").json();
        let rows = rows["items"].as_array().unwrap().clone();
        ["received", "accepted", "duplicates"]
            .map(|name| rows.iter().map(|row| row[name].as_u64().unwrap()).sum())
    }
}

/// A licence of some time ago.
fn late(event_id: &str, user_id: &str, hours: i64) -> Value {
    with(&license(event_id, user_id), "occurred_at", ago(hours * 3_600))
}

/// What is put aside survives a kill and is not counted; what is counted is what a plain count of
/// the same records says, with those that came in time; a kill afterwards takes nothing back.
#[test]
fn late_logs_are_counted_as_a_whole() {
    let world = World::new();
    let in_time = [late("e1", "u1", 3), late("e2", "u2", 3)];
    assert_eq!(counts(&world.lines(&in_time)), [2, 2, 0, 0]);
    let id = world.made(9);
    let first = [late("e3", "u3", 100), in_time[0].clone(), late("e4", "u1", 100)];
    let loaded = world.load_lines(&id, &first).json();
    assert_eq!((&loaded["staged"], &loaded["rejected"]), (&json!(3), &json!(0)), "{loaded}");
    assert_eq!(loaded["backfill"], json!(id));
    // In another order, with repetitions, as an array and inflated.
    let array = json!([first[2], first[0], late("e5", "u4", 150)]).to_string();
    let zipped = zstd::stream::encode_all(array.as_bytes(), 1).unwrap();
    let loaded = world.load(&id, &[JSON, ("content-encoding", "zstd")], &zipped);
    assert_eq!(loaded.count("staged"), 3, "{loaded:?}");
    let refused = [
        with(&license("f1", "u"), "site_id", "B"),
        late("f2", "u", 10 * 24),
        with(&license("f3", "u"), "occurred_at", ago(-60)),
        with(&license("f4", "u"), "drm_type", "none"),
        late("e6", "u6", 2),
    ];
    put_site(&world.server, "B", "{}");
    let loaded = world.load_lines(&id, &refused).json();
    let codes: Vec<&str> =
        loaded["errors"].as_array().unwrap().iter().map(|e| e["code"].as_str().unwrap()).collect();
    let outside = "not_in_backfill";
    assert_eq!(codes, [outside, outside, outside, "bad_value"], "{loaded}");
    let world = world.crash();
    let months: std::collections::BTreeSet<String> =
        [3, 100, 150, 2].map(|hours| month_of(&ago(hours * 3_600)).to_owned()).into();
    let figures = |world: &World| {
        let sum = |name: &str| -> u64 {
            let of = |month: &String| world.usage("A", month)[name].as_u64().unwrap();
            months.iter().map(of).sum()
        };
        (sum("licenses_issued"), sum("duplicates"))
    };
    assert_eq!(figures(&world), (2, 0));
    assert_eq!(world.arrived(), [2, 2, 0]);
    let shown = world.shown(&id);
    assert_eq!((&shown["staged"], &shown["rejected"]), (&json!(7), &json!(4)), "{shown}");
    assert_eq!(shown["outcome"], json!(null));
    for _ in 0..2 {
        let closed = world.close(&id);
        assert_eq!(closed.status, 200, "{closed:?}");
        let outcome = &closed.json()["outcome"];
        let wanted = (&json!(4), &json!(3));
        assert_eq!((&outcome["accepted"], &outcome["duplicates"]), wanted, "{closed:?}");
        assert_eq!(closed.json()["key_destroyed"], json!(true));
    }
    let world = world.crash();
    assert_eq!(figures(&world), (6, 3));
    // The refused ones of the requests that were taken are counted with them.
    assert_eq!(world.arrived(), [2 + 7 + 4, 6, 3]);
    assert_eq!(world.shown(&id)["state"], json!("closed"));
    problem(&world.load_lines(&id, &first), 409, "backfill-not-open");
    let gone = world.operate("DELETE", &format!("/v1/backfills/{id}"), "");
    problem(&gone, 409, "backfill-not-open");
}

/// Killed while it closes: all of it is counted or nothing, and a close that was begun is finished
/// when it is asked for again.
#[test]
fn a_killed_close_counts_everything_or_nothing() {
    const RECORDS: u64 = 500;
    let mut world = World::new();
    let mut wanted = 0;
    for round in 0..5 {
        let id = world.made(2);
        for part in 0..2 {
            let event = |n| late(&format!("{round}-{n}"), &format!("u{n}"), 1);
            let of = part * RECORDS / 2..(part + 1) * RECORDS / 2;
            let records: Vec<Value> = of.map(event).collect();
            assert_eq!(world.load_lines(&id, &records).count("staged"), RECORDS / 2);
        }
        let (address, operator) = (world.server.address(), world.server.operator_token());
        let (path, (say, hear)) = (format!("/v1/backfills/{id}/close"), mpsc::channel());
        let closing = std::thread::spawn(move || {
            let mut client = Client::new(address, &operator);
            // A connection first, so that only the close is under way.
            client.send("GET", "/v1/backfills", &[], b"").unwrap();
            say.send(()).unwrap();
            client.send("POST", &path, &[], b"").map(|answer| answer.status)
        });
        hear.recv().unwrap();
        if round > 0 {
            // Later each time, by what the server does meanwhile.
            for _ in 0..round * 3 {
                world.shown(&id);
            }
        }
        world = world.crash();
        let answered = closing.join().unwrap();
        // The server goes on with it by itself, but not at its start.
        if world.shown(&id)["state"] == json!("closing") {
            assert_eq!(world.close(&id).status, 200);
        }
        let shown = world.shown(&id);
        let is_closed = shown["state"] == json!("closed");
        assert!(is_closed || answered.is_err(), "{shown} after {answered:?}");
        wanted += if is_closed { RECORDS } else { 0 };
        assert_eq!(world.arrived(), [wanted, wanted, 0], "{shown}");
        if !is_closed {
            assert_eq!(shown["state"], json!("loading"));
            assert_eq!(world.close(&id).json()["outcome"]["accepted"], json!(RECORDS));
            wanted += RECORDS;
        }
    }
}

#[test]
fn a_backfill_that_is_abandoned_counts_nothing() {
    let world = World::new();
    let id = world.made(5);
    assert_eq!(world.load_lines(&id, &[late("e1", "u1", 50)]).count("staged"), 1);
    let gone = world.operate("DELETE", &format!("/v1/backfills/{id}"), "");
    assert_eq!((gone.status, &gone.json()["state"]), (200, &json!("abandoned")), "{gone:?}");
    assert_eq!(gone.json()["key_destroyed"], json!(true));
    problem(&world.load_lines(&id, &[late("e1", "u1", 50)]), 409, "backfill-not-open");
    problem(&world.close(&id), 409, "backfill-not-open");
    assert_eq!(world.arrived(), [0, 0, 0]);
    // The same records can still come in time.
    assert_eq!(counts(&world.lines(&[late("e1", "u1", 50)])), [1, 1, 0, 0]);
    let world = world.crash();
    assert_eq!(world.shown(&id)["state"], json!("abandoned"));
    let list = world.operate("GET", "/v1/backfills", "").json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[test]
fn requests_that_load_are_answered_like_records() {
    let world = World::new();
    let id = world.made(5);
    let body = format!("{}\n{}\n", late("e1", "u1", 50), without(&license("e2", "u"), "outcome"));
    let keyed = [NDJSON, ("idempotency-key", "k")];
    let first = world.load(&id, &keyed, &body);
    assert_eq!((first.status, first.count("staged"), first.count("rejected")), (200, 1, 1));
    let again = world.load(&id, &keyed, &body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    problem(&world.load(&id, &keyed, "{}"), 422, "idempotency-mismatch");
    // The same key elsewhere is another one.
    let other = world.made(5);
    assert_eq!(world.load(&other, &keyed, &body).header("idempotent-replayed"), None);
    assert_eq!(counts(&world.post(&keyed, &body)), [2, 1, 0, 1]);
    assert_eq!(world.load(&id, &[NDJSON], "").count("staged"), 0);
    problem(&world.load(&id, &[NDJSON], "{}\n"), 422, "nothing-accepted");
    problem(&world.load(&id, &[JSON], "[{"), 400, "unreadable");
    problem(&world.load(&id, &[("content-type", "text/html")], "x"), 415, "unsupported-media-type");
    problem(&world.load("b0", &[NDJSON], &body), 404, "not-found");
    problem(&world.load("nothing", &[NDJSON], &body), 404, "not-found");
    assert_eq!(world.shown(&id)["staged"], json!(1));
    for (body, status, name) in [
        ("[]", 400, "unreadable"),
        ("{}", 422, "unfit"),
        (r#"{"site_id":"NONE","from":"2026-01-01T00:00:00Z"}"#, 422, "unfit"),
    ] {
        problem(&world.operate("POST", "/v1/backfills", body), status, name);
    }
}

#[test]
fn a_backfill_has_bounds() {
    let world = World::with(&[("BACKFILL__RECORDS", "3")]);
    let id = world.made(5);
    let two = [late("e1", "u1", 50), late("e2", "u1", 50)];
    assert_eq!(world.load_lines(&id, &two).count("staged"), 2);
    problem(&world.load_lines(&id, &two), 409, "backfill-full");
    assert_eq!(world.load_lines(&id, &two[..1]).count("staged"), 1);
    assert_eq!(world.close(&id).json()["outcome"]["accepted"], json!(2));
}

#[test]
fn a_producer_loads_its_own_sites() {
    let world = World::new();
    let id = world.made(5);
    let stranger = make_token(&world.server, "producer", &["B"]);
    let path = format!("/v1/backfills/{id}/records");
    let body = late("e1", "u1", 50).to_string();
    let answer = ask(&world.server, &stranger, "POST", &path, &[NDJSON], body.as_bytes());
    problem(&answer, 404, "not-found");
    let path = format!("/v1/backfills/{id}");
    problem(&ask(&world.server, &stranger, "GET", &path, &[], b""), 404, "not-found");
    let own = make_token(&world.server, "producer", &["A"]);
    assert_eq!(ask(&world.server, &own, "GET", &path, &[], b"").status, 200);
}

/// Months long ago: an open one counts, a closed one is corrected, what was counted is known though
/// its slot is gone, and what has lost its sets is refused.
#[test]
fn months_long_ago_are_counted_or_corrected_once() {
    let server = Clocked::at("2026-07-01T12:00:00Z");
    let record = |event: &str, user: &str, time: &str| {
        format!("{}\n", with(&license(event, user), "occurred_at", time))
    };
    let first = record("e1", "u1", "2026-07-01T11:00:00Z");
    assert_eq!(counts(&server.lines(&first)), [1, 1, 0, 0]);
    server.until("2026-08-05T12:00:00Z");
    server.until("2026-09-20T12:00:00Z");
    assert_eq!(server.usage("2026-07")["state"], json!("closed"));
    // The floor of the slots rises with a fold of newer records.
    let now = record("n1", "u9", "2026-09-20T11:00:00Z");
    assert_eq!(counts(&server.lines(&now)), [1, 1, 0, 0]);
    // What is due hangs on a clock that somebody believes.
    let time = json!({"time": "2026-09-20T12:00:00Z"}).to_string();
    let custodian = server.token("custodian", 30);
    let path = "/v1/retention/confirm-clock";
    let confirmed = server.send(&custodian, "POST", path, &[JSON], &time);
    let server = server.again();
    // Where no run has seen a time before there is no jump.
    assert!(matches!(confirmed.status, 200 | 409), "{confirmed:?}");
    let make = |from: &str| {
        let to = "2026-09-20T11:30:00Z";
        let body = json!({"site_id": "A", "from": from, "to": to, "reason": "no link"});
        let made = server.operate("POST", "/v1/backfills", &body.to_string());
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["id"].as_str().unwrap().to_owned()
    };
    let id = make("2026-05-01T00:00:00Z");
    let producer = server.token("producer", 30);
    let load = |lines: &str| {
        let path = format!("/v1/backfills/{id}/records");
        server.send(&producer, "POST", &path, &[NDJSON], lines).json()
    };
    let lines = [
        first.clone(),
        record("e2", "u2", "2026-07-01T11:00:00Z"),
        record("e3", "u1", "2026-07-02T11:00:00Z"),
        record("e4", "u3", "2026-09-02T11:00:00Z"),
        record("e4", "u3", "2026-09-02T11:00:00Z"),
    ];
    let loaded = load(&lines.concat());
    assert_eq!((&loaded["staged"], &loaded["rejected"]), (&json!(5), &json!(0)), "{loaded}");
    // The sets of May would have been destroyed by now.
    let loaded = load(&record("e5", "u5", "2026-05-02T11:00:00Z"));
    assert_eq!(loaded["errors"][0]["code"], json!("too_old"), "{loaded}");
    let closed = server.operate("POST", &format!("/v1/backfills/{id}/close"), "");
    let wanted = json!({
        "accepted": 3, "duplicates": 2, "corrected": 2, "not_retained": 0, "too_old": 0,
    });
    assert_eq!(closed.json()["outcome"], wanted, "{closed:?}");
    let july = server.usage("2026-07");
    assert_eq!((&july["mau"], &july["licenses_issued"]), (&json!(1), &json!(1)));
    assert_eq!(july["corrections"]["records"], json!(2));
    assert_eq!(july["corrections"]["users"], json!(1));
    let september = server.usage("2026-09");
    assert_eq!((&september["mau"], &september["licenses_issued"]), (&json!(2), &json!(2)));
    server.end();
}
