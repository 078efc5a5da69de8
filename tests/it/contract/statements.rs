//! Statements: issued once, the same bytes for ever, checked with nothing but the ledger's key.

use super::clocked::Clocked;
use super::*;
use blindtally::app::verify::Request;
use blindtally::billing::{StatementError, verify};
use blindtally::config::{Flags, compose};

const NOVEMBER: &str = "/v1/sites/A/statements/2026-11";

/// November with two users and a device, closed.
fn closed() -> Clocked {
    let server = Clocked::at("2026-11-10T12:00:00Z");
    let device = json!({"ids": [{"kind": "android_id", "value": "a1b2c3d4e5f60718"}]});
    let at = |event: &str, user: &str| {
        with(&license(event, user), "occurred_at", "2026-11-10T11:00:00Z")
    };
    let lines = [
        with(&at("1", "u"), "device", device),
        at("2", "v"),
        at("3", "guest"),
        with(&at("4", "w"), "outcome", "fail"),
        with(&at("5", "u"), "drm_type", "widevine"),
    ];
    let lines: String = lines.iter().map(|record| format!("{record}\n")).collect();
    assert_eq!(server.lines(&lines).count("accepted"), 5);
    server.until("2026-12-04T00:00:00Z");
    server
}

fn late(server: &Clocked, event: &str, user: &str, time: &str) {
    let record = with(&license(event, user), "occurred_at", time);
    assert_eq!(server.lines(&record.to_string()).count("corrected"), 1);
}

#[test]
fn a_closed_month_has_a_statement_that_anybody_can_check() {
    let mut server = closed();
    let billing = server.token("billing", 30);
    let get = |server: &Clocked, path: &str| server.send(&billing, "GET", path, &[], "");
    let answer = get(&server, NOVEMBER);
    assert_eq!(answer.status, 200, "{answer:?}");
    let key = server.verifier_key();
    let body = verify(&answer.body, &key).unwrap();
    assert_eq!((body.version, body.billable.mau, body.billable.licenses_issued), (1, 2, 4));
    assert_eq!((body.figures.devices, body.figures.unattributed_licenses), (Some(1), 1));
    let recount = body.recount.clone().unwrap();
    assert_eq!((recount.mau, recount.devices), (2, Some(1)));
    let usage = server.usage("2026-11");
    for excluded in &body.excluded {
        assert_eq!(usage["excluded"][&excluded.reason], json!(excluded.records));
    }
    // The same bytes, whatever comes later, over a start, and for an auditor.
    late(&server, "6", "x", "2026-11-10T11:00:00Z");
    server = server.again();
    let auditor = server.token("auditor", 30);
    for token in [&billing, &auditor] {
        assert_eq!(server.send(token, "GET", NOVEMBER, &[], "").body, answer.body);
    }
    // Each changed byte is found.
    for at in (0..answer.body.len()).step_by(7) {
        let mut changed = answer.body.clone();
        changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
        if changed != answer.body {
            assert!(verify(&changed, &key).is_err(), "byte {at}");
        }
    }
    let other = answer.text().replace("\"mau\":2", "\"mau\":3");
    assert_eq!(verify(other.as_bytes(), &key), Err(StatementError::Digest));
    server.end();
}

#[test]
fn a_restatement_is_a_new_version_that_names_the_old_one() {
    let server = closed();
    let billing = server.token("billing", 90);
    let first = server.send(&billing, "GET", NOVEMBER, &[], "");
    late(&server, "6", "x", "2026-11-10T11:00:00Z");
    late(&server, "7", "u", "2026-11-10T11:00:00Z");
    let restate = |body: &str| server.operate("POST", &format!("{NOVEMBER}/restate"), body);
    assert_eq!(problem(&restate("{}"), 422, "unfit")["pointer"], json!("/reason"));
    problem(&restate("{"), 400, "unreadable");
    let second = restate(r#"{"reason":"the offline servers came late"}"#);
    assert_eq!(second.status, 201, "{second:?}");
    let key = server.verifier_key();
    let (one, two) = (verify(&first.body, &key).unwrap(), verify(&second.body, &key).unwrap());
    assert_eq!(two.figures, one.figures, "what is closed does not change");
    assert_eq!((two.version, two.reason.as_deref()), (2, Some("the offline servers came late")));
    let replaced = two.replaces.clone().unwrap();
    let digest = blindtally::crypto::sha256(&[&one.to_bytes().unwrap()]);
    assert_eq!((replaced.version, replaced.digest.0), (1, digest));
    assert_eq!((two.corrections.records, two.corrections.users), (2, 1));
    assert_eq!((two.billable.mau, two.billable.licenses_issued), (3, 6));
    assert_eq!(two.recount.unwrap().user_set, one.recount.unwrap().user_set);
    assert_eq!(server.send(&billing, "GET", NOVEMBER, &[], "").body, second.body);
    let versions = server.send(&billing, "GET", &format!("{NOVEMBER}/versions"), &[], "").json();
    let items = versions["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0], first.json());
    // The next month's statement shows what came late for this one.
    let december = with(&license("8", "u"), "occurred_at", "2026-12-03T11:00:00Z");
    assert_eq!(server.lines(&december.to_string()).count("accepted"), 1);
    server.until("2027-01-04T00:00:00Z");
    let next = server.send(&billing, "GET", "/v1/sites/A/statements/2026-12", &[], "");
    let next = verify(&next.body, &key).unwrap();
    assert_eq!(next.earlier_corrections.len(), 1);
    assert_eq!(next.earlier_corrections[0].corrections, two.corrections);
    server.end();
}

/// The second count of a stopped server's files, and what it says of other files.
#[test]
fn statements_are_counted_again_offline() {
    let server = closed();
    let billing = server.token("billing", 90);
    assert_eq!(server.send(&billing, "GET", NOVEMBER, &[], "").status, 200);
    late(&server, "6", "x", "2026-11-10T11:00:00Z");
    let restate = r#"{"reason":"late"}"#;
    assert_eq!(server.operate("POST", &format!("{NOVEMBER}/restate"), restate).status, 201);
    let place = server.stop();
    let flags = Flags { data: Some(place.data()), ..Flags::default() };
    let settings = compose("", "", [], &flags).unwrap();
    let request = Request { recount: true, ..Request::default() };
    let verify = || blindtally::app::verify::run(&settings, &request);
    let report = verify();
    assert!(report.findings.is_empty(), "{report:#?}");
    let counted: Vec<&String> =
        report.checked.iter().filter(|line| line.contains("counted again")).collect();
    assert_eq!(counted.len(), 2, "{report:#?}");
    assert!(counted[0].contains("version 1") && counted[0].contains("2 users"), "{counted:?}");
    let agrees = |line: &String| line.ends_with("accepted, and all months count as many");
    assert!(report.checked.iter().any(agrees), "{report:#?}");
    // It changed nothing, so it can be asked again, also without the root key being asked for.
    assert_eq!(verify(), report);
    let plain = blindtally::app::verify::run(&settings, &Request::default());
    assert!(plain.unchecked.iter().any(|line| line.contains("--recount")), "{plain:#?}");
    // Another root key opens nothing, and says so.
    std::fs::rename(place.keys().join("root.key"), place.path().join("away")).unwrap();
    let report = verify();
    assert!(report.findings.iter().any(|line| line.contains("no count was made")), "{report:#?}");
}

#[test]
fn a_statement_as_a_page() {
    let server = closed();
    let billing = server.token("billing", 90);
    late(&server, "6", "x", "2026-11-10T11:00:00Z");
    let restated = r#"{"reason":"<script>alert(1)</script> & \"more\""}"#;
    assert_eq!(server.operate("POST", &format!("{NOVEMBER}/restate"), restated).status, 201);
    let page = server.send(&billing, "GET", &format!("{NOVEMBER}/page"), &[], "");
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.ends_with("sandbox"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let text = page.text();
    assert!(!text.contains("<script") && text.contains("&lt;script&gt;alert(1)"), "{text}");
    assert!(text.contains("<strong>3</strong> monthly active users"), "{text}");
    // A browser gets the page at the statement's own address, a program JSON.
    let browser = [("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")];
    assert_eq!(server.send(&billing, "GET", NOVEMBER, &browser, "").body, page.body);
    let json = server.send(&billing, "GET", NOVEMBER, &[("accept", "*/*")], "");
    assert_eq!(json.header("content-type"), Some("application/json"));
    // The same page of the saved file, offline.
    assert_eq!(blindtally::billing::page_of(&json.body).unwrap(), page.body);
    server.end();
}

#[test]
fn a_statement_as_csv_and_those_that_are_none() {
    let server = closed();
    let billing = server.token("billing", 30);
    let csv = server.send(&billing, "GET", NOVEMBER, &[("accept", "text/csv")], "");
    let text = csv.text();
    assert!(text.starts_with("figure,value\r\nsite_id,A\r\nmonth,2026-11\r\nversion,1\r\n"));
    let rows: Vec<&str> = text.split_terminator("\r\n").collect();
    for row in ["mau,2", "licenses_issued,4", "excluded_sentinel_user_id,1", "mau_widevine,"] {
        assert!(rows.contains(&row), "{row}: {text}");
    }
    let get = |path: &str| server.send(&billing, "GET", path, &[], "");
    problem(&get("/v1/sites/A/statements/2026-12"), 409, "month-open");
    problem(&get("/v1/sites/B/statements/2026-11"), 404, "not-found");
    problem(&get("/v1/sites/A/statements/2026-13"), 400, "bad-month");
    problem(&get("/v1/sites/A/statements/2026-11?version=1"), 400, "bad-query");
    // Nothing is stated of a month before the site.
    problem(&get("/v1/sites/A/statements/2026-10"), 404, "not-found");
    server.end();
}
