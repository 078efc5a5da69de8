//! A customer's own list against a statement, asked of a server over HTTP.

use super::clocked::Clocked;
use super::*;
use crate::canary::ids::Mint;
use crate::canary::search::Finder;

const CHALLENGE: &str = "/v1/sites/A/statements/2026-11/challenge";

fn name(number: u32) -> String {
    format!("challenged-viewer-{number:05}")
}

/// November with 130 users, one of them under an id that JSON escapes, closed.
fn closed() -> Clocked {
    let server = Clocked::at("2026-11-10T12:00:00Z");
    let record = |number: u32, user: &str| {
        let record = license(&format!("e{number}"), user);
        format!("{}\n", with(&record, "occurred_at", "2026-11-10T11:00:00Z"))
    };
    let lines: String = (0..129).map(|number| record(number, &name(number))).collect();
    let lines = lines + &record(129, "é \"quoted\"") + &record(130, "guest");
    assert_eq!(server.lines(&lines).count("accepted"), 131);
    server.until("2026-12-04T00:00:00Z");
    server
}

/// The files of a server that has ended, with a user of site `A` in a month that is closed by now
/// and still has its set; and the month.
pub fn with_a_closed_month() -> (Place, String) {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let back = |months: i64| today.first_of_month() - jiff::Span::new().months(months);
    let (month, next) = (back(2), back(1));
    let server = Clocked::at(&format!("{}-10T12:00:00Z", &month.to_string()[..7]));
    let at = format!("{}-10T11:00:00Z", &month.to_string()[..7]);
    let record = with(&license("e", "u"), "occurred_at", at);
    assert_eq!(server.lines(&record.to_string()).count("accepted"), 1);
    server.until(&format!("{}-05T00:00:00Z", &next.to_string()[..7]));
    (server.stop(), month.to_string()[..7].to_owned())
}

fn list(numbers: impl IntoIterator<Item = u32>) -> String {
    let line = |number| format!("{}\n", json!({"user_id": name(number)}));
    numbers.into_iter().map(line).collect()
}

#[test]
fn a_list_is_answered_in_counts() {
    let mut server = closed();
    let billing = server.token("billing", 365);
    let send = |server: &Clocked, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        server.send_bytes(&billing, "POST", path, headers, body)
    };
    // 29 are not listed, 41 were not counted, and one is spelled another way.
    let text = list(100..141) + &list(0..100) + &list([3, 4]);
    let text = text + "{\"user_id\":\"\\u00e9 \\\"quoted\\\"\"}\n{\"user_id\":\"guest\"}\n";
    let answer = send(&server, CHALLENGE, &[NDJSON], text.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    let counts = ["mau", "lines", "repeated", "unattributed", "listed", "counted", "not_counted"];
    let counts = counts.map(|name| told[name].as_u64().unwrap());
    assert_eq!(counts, [130, 145, 2, 1, 142, 130, 12]);
    assert_eq!((&told["counted_not_listed"], &told["challenges_left"]), (&json!(0), &json!(4)));
    assert_eq!((&told["suppressed"], &told["counted_min"]), (&json!(false), &json!(10)));
    // The same list compressed, after a start: the same answer.
    server = server.again();
    let coded = [NDJSON, ("content-encoding", "gzip")];
    let again = send(&server, CHALLENGE, &coded, &limits::gzip(text.as_bytes())).json();
    for name in ["mau", "listed", "counted", "not_counted", "counted_not_listed"] {
        assert_eq!(again[name], told[name], "{name}");
    }
    assert_eq!(again["challenges_left"], json!(3));
    // The ledger has both answers, at the numbers that they name.
    let auditor = server.token("auditor", 30);
    for answer in [&told, &again] {
        let path = format!("/v1/ledger?from={}&limit=1", answer["entry"]);
        let read = server.send(&auditor, "GET", &path, &[], "").text();
        assert!(read.contains("statement_challenged"), "{read}");
        assert!(read.contains(r#"\"counted\":130,\"counted_not_listed\":0"#), "{read}");
    }
    // No id of the list is in any file or answer.
    assert!(!answer.text().contains("challenged-viewer") && !answer.text().contains("quoted"));
    let needle = b"challenged-viewer".as_slice();
    assert_eq!(server.files_with(needle), Vec::<String>::new());
    server.end();
}

/// Of ids that somebody else's customer list names nothing is left, whether the list was answered
/// or refused: in no spelling, in no file and in no answer.
#[test]
fn no_spelling_of_a_listed_id_is_left() {
    let (server, mut mint) = (closed(), Mint::default());
    let billing = server.token("billing", 365);
    let mut answers = Vec::new();
    let mut post = |headers: &[(&str, &str)], body: &[u8], status: u16| {
        let answer = server.send_bytes(&billing, "POST", CHALLENGE, headers, body);
        assert_eq!(answer.status, status, "{answer:?}");
        answers.extend(answer.body);
    };
    let mut marked = |count: usize| {
        let line = |_| format!("{}\n", json!({"user_id": mint.member("user_id")}));
        (0..count).map(line).collect::<String>()
    };
    let coded = [NDJSON, ("content-encoding", "gzip")];
    post(&[NDJSON], (list(0..130) + &marked(200)).as_bytes(), 200);
    post(&coded, &limits::gzip((list(0..130) + &marked(200)).as_bytes()), 200);
    // Too few, cut, of another form, and broken.
    post(&[NDJSON], marked(3).as_bytes(), 422);
    let whole = list(0..130) + &marked(50);
    post(&[NDJSON], &whole.as_bytes()[..whole.len() - 5], 422);
    post(&[NDJSON], marked(50).replace("user_id", "name").as_bytes(), 422);
    let cut = limits::gzip(marked(50).as_bytes());
    post(&coded, &cut[..cut.len() - 5], 400);
    let canaries = &mint.canaries;
    assert_eq!(canaries.len(), 553);
    let finder = Finder::new(canaries);
    let mut hits = finder.search("answers", &answers);
    let place = server.stop();
    let (files, bytes, found) = finder.search_files(place.path());
    hits.extend(found);
    assert!(files >= 15 && bytes > 10_000, "{files} files, {bytes} bytes");
    assert!(hits.is_empty(), "{hits:#?}");
}

/// A list against a second version: who came late and is billed by it is counted, apart.
#[test]
fn a_list_is_compared_with_what_a_second_version_bills() {
    let server = closed();
    let billing = server.token("billing", 365);
    let late = |number: u32| {
        let record = license(&format!("late{number}"), &name(number));
        format!("{}\n", with(&record, "occurred_at", "2026-11-10T11:00:00Z"))
    };
    // Some of them are known.
    let lines: String = (120..160).map(late).collect();
    assert_eq!(server.lines(&lines).count("corrected"), 40);
    let path = CHALLENGE.replace("challenge", "restate");
    let second = server.operate("POST", &path, r#"{"reason":"late"}"#).json();
    assert_eq!(second["body"]["billable"]["mau"], 161);
    let text = list(0..160) + "{\"user_id\":\"é \\\"quoted\\\"\"}\n";
    let answer = server.send(&billing, "POST", CHALLENGE, &[NDJSON], &text);
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    let names = [
        "version",
        "mau",
        "listed",
        "counted",
        "not_counted",
        "counted_not_listed",
        "billed_late",
        "late",
        "counted_late",
        "late_not_listed",
    ];
    let counts = names.map(|name| told[name].as_u64().unwrap());
    assert_eq!(counts, [2, 130, 161, 130, 31, 0, 31, 31, 31, 0]);
    let auditor = server.token("auditor", 30);
    let path = format!("/v1/ledger?from={}&limit=1", told["entry"]);
    let read = server.send(&auditor, "GET", &path, &[], "").text();
    assert!(read.contains("restatement_challenged"), "{read}");
    server.end();
}

#[test]
fn lists_that_are_not_answered() {
    let server = closed();
    let billing = server.token("billing", 365);
    let post = |path: &str, headers: &[(&str, &str)], body: &str| {
        server.send(&billing, "POST", path, headers, body)
    };
    let whole = list(0..130);
    problem(&post(CHALLENGE, &[JSON], &whole), 415, "unsupported-media-type");
    let coded = [NDJSON, ("content-encoding", "br")];
    problem(&post(CHALLENGE, &coded, &whole), 415, "unsupported-coding");
    problem(&post(&format!("{CHALLENGE}?x=1"), &[NDJSON], &whole), 400, "bad-query");
    let other =
        |path: &str| post(&CHALLENGE.replace("A/statements/2026-11", path), &[NDJSON], &whole);
    problem(&other("B/statements/2026-11"), 404, "not-found");
    problem(&other("A/statements/2026-10"), 404, "not-found");
    problem(&other("A/statements/2026-12"), 409, "month-open");
    problem(&other("A/statements/2026-13"), 400, "bad-month");
    let small = list((0..99).chain(0..99));
    problem(&post(CHALLENGE, &[NDJSON], &small), 422, "list-too-small");
    let bad =
        problem(&post(CHALLENGE, &[NDJSON], &format!("{whole}\n{{\"user_id\":7}}")), 422, "unfit");
    let said = (&bad["index"], &bad["code"], &bad["pointer"]);
    assert_eq!(said, (&json!(130), &json!("wrong_type"), &json!("/user_id")));
    assert_eq!(server.operate("POST", CHALLENGE, &whole).status, 403);
    // Nothing of that was an answer.
    for left in (0..5).rev() {
        let answer = post(CHALLENGE, &[NDJSON], &whole).json();
        assert_eq!(answer["challenges_left"], json!(left));
    }
    for _ in 0..2 {
        problem(&post(CHALLENGE, &[NDJSON], &whole), 409, "challenge-budget");
    }
    let auditor = server.token("auditor", 30);
    let read = server.send(&auditor, "GET", "/v1/ledger?from=0&limit=1000", &[], "").text();
    assert_eq!(read.matches("challenge_refused").count(), 1);
    assert_eq!(read.matches("statement_challenged").count(), 5);
    server.end();
}

#[test]
fn what_is_destroyed_tells_nothing_any_more() {
    let server = closed();
    let (billing, custodian) = (server.token("billing", 365), server.token("custodian", 365));
    let post = |token: &str, path: &str, body: &str| {
        let headers = if path == CHALLENGE { NDJSON } else { JSON };
        server.send(token, "POST", path, &[headers], body)
    };
    assert_eq!(post(&billing, CHALLENGE, &list(0..130)).status, 200);
    server.until("2027-02-10T00:00:00Z");
    let time = json!({"time": "2027-02-10T00:00:00Z"}).to_string();
    let confirmed = post(&custodian, "/v1/retention/confirm-clock", &time);
    // Where no run has seen a time before there is no jump.
    assert!(matches!(confirmed.status, 200 | 409), "{confirmed:?}");
    let ran = post(&custodian, "/v1/retention/run", "");
    assert_eq!(ran.status, 200, "{ran:?}");
    assert_eq!(server.usage("2026-11")["evidence"], json!("destroyed"));
    let refused = problem(&post(&billing, CHALLENGE, &list(0..130)), 410, "not-attributable");
    assert_eq!(refused["code"], json!("not_attributable"));
    server.end();
}
