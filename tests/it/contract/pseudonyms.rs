//! What an operator says of a site's pseudonyms: the algorithm, once, and the form of user ids,
//! from month to month (DESIGN.md "Keys", domain.md §7.1).

use super::clocked::Clocked;
use super::*;

const FOLDED: &str = r#"{"user_id_trim":true,"user_id_nfc":true,"user_id_lower":true}"#;
const NONE: &str = r#"{"user_id_trim":false,"user_id_nfc":false,"user_id_lower":false}"#;

fn put(server: &Clocked, site: &str, body: &str) -> Answer {
    server.operate("PUT", &format!("/v1/sites/{site}"), body)
}

/// Posts one record for each user; how many were accepted and not retained.
fn post(server: &Clocked, site: &str, day: &str, users: &[&str]) -> (u64, u64) {
    let record = |(at, user): (usize, &&str)| {
        let time = format!("{day}T10:{at:02}:00Z");
        let record = with(&license(&format!("{site}:{day}:{at}"), user), "site_id", site);
        format!("{}\n", with(&record, "occurred_at", time))
    };
    let lines: String = users.iter().enumerate().map(record).collect();
    let answer = server.lines(&lines);
    assert_eq!(answer.count("rejected"), 0, "{answer:?}");
    let lost = answer.json()["not_retained"].as_u64().unwrap_or(0);
    (answer.count("accepted"), lost)
}

fn usage(server: &Clocked, site: &str, month: &str) -> Value {
    server.operate("GET", &format!("/v1/sites/{site}/usage/{month}"), "").json()
}

fn said(value: &Value) -> [Value; 5] {
    ["pseudonym_algorithm", "canonicalizer", "user_id_trim", "user_id_nfc", "user_id_lower"]
        .map(|name| value[name].clone())
}

fn exact(algorithm: &str) -> [Value; 5] {
    [json!(algorithm), json!(1), json!(false), json!(false), json!(false)]
}

/// A change of the options moves no count of the month that it is said in, nor of any before; the
/// next month has it, over a start and for late records, too; statements name it.
#[test]
fn options_hold_from_the_next_month_on() {
    let mut server = Clocked::at("2026-11-10T12:00:00Z");
    assert_eq!(put(&server, "F", "{}").status, 201);
    let spelled = ["Viewe\u{301}r", "viewér", " VIEWÉR", "guest", "GUEST ", " "];
    assert_eq!(post(&server, "F", "2026-11-10", &spelled), (6, 0));
    let november = |server: &Clocked| {
        let usage = usage(server, "F", "2026-11");
        assert_eq!(said(&usage), exact("hmac-sha-256"), "{usage}");
        usage["mau"].clone()
    };
    assert_eq!(november(&server), json!(5), "every spelling is somebody, but for a sentinel");
    let answer = put(&server, "F", FOLDED).json();
    for option in ["user_id_trim", "user_id_nfc", "user_id_lower"] {
        assert_eq!(answer["effective"][option], json!("2026-12"), "{answer}");
        assert_eq!(answer[option], json!(false), "{answer}");
    }
    assert_eq!(november(&server), json!(5));
    assert_eq!(post(&server, "F", "2026-11-09", &["VIEWÉR"]), (1, 0));
    assert_eq!(november(&server), json!(6), "still byte for byte");
    server = server.again();
    server.until("2026-12-02T00:00:00Z");
    assert_eq!(post(&server, "F", "2026-12-01", &spelled), (6, 0));
    let december = usage(&server, "F", "2026-12");
    assert_eq!(december["mau"], json!(1), "{december}");
    assert_eq!(december["excluded"]["sentinel_user_id"], json!(2), "{december}");
    assert_eq!(december["excluded"]["no_user_id"], json!(1), "white space is no id: {december}");
    assert_eq!(said(&december)[2..], [json!(true), json!(true), json!(true)]);
    assert_eq!(put(&server, "F", "{}").json()["user_id_lower"], json!(true));
    // Late for November, and read as November reads.
    assert_eq!(post(&server, "F", "2026-11-12", &["viewéR"]), (1, 0));
    assert_eq!(november(&server), json!(7));
    // Back again: from January on.
    assert_eq!(put(&server, "F", NONE).json()["effective"]["user_id_nfc"], json!("2027-01"));
    server.until("2027-01-05T00:00:00Z");
    server = server.again();
    assert_eq!(post(&server, "F", "2027-01-04", &spelled), (6, 0));
    assert_eq!(usage(&server, "F", "2027-01")["mau"], json!(5));
    assert_eq!(
        (november(&server), usage(&server, "F", "2026-12")["mau"].clone()),
        (json!(7), json!(1))
    );
    let billing = server.token("billing", 90);
    for (month, folded, mau) in [("2026-11", false, 7), ("2026-12", true, 1)] {
        let path = format!("/v1/sites/F/statements/{month}");
        let body = server.send(&billing, "GET", &path, &[], "").json()["body"].clone();
        let mut wanted = exact("hmac-sha-256");
        wanted[2..].fill(json!(folded));
        assert_eq!(said(&body["method"]), wanted, "{body}");
        assert_eq!(body["figures"]["mau"], json!(mau));
        let page = [("accept", "text/html")];
        let page = server.send(&billing, "GET", &path, &page, "").text();
        let words = if folded { "in NFC, trimmed, in lower case" } else { "byte for byte" };
        assert!(page.contains(words) && page.contains("hmac-sha-256"), "{page}");
    }
    server.end();
}

/// While a site has no record, its options hold at once.
#[test]
fn options_of_a_site_without_records_hold_at_once() {
    let server = Clocked::at("2026-11-10T12:00:00Z");
    let answer = put(&server, "A", r#"{"user_id_lower":true}"#);
    assert_eq!((answer.status, answer.json().get("effective")), (200, None), "{answer:?}");
    assert_eq!(post(&server, "A", "2026-11-10", &["Ä", "ä", "ä "]), (3, 0));
    assert_eq!(usage(&server, "A", "2026-11")["mau"], json!(2));
    for (body, pointer) in [
        (r#"{"user_id_lower":"yes"}"#, "/user_id_lower"),
        (r#"{"pseudonym_algorithm":"md5"}"#, "/pseudonym_algorithm"),
        (r#"{"billing_group_algorithm":"blake3"}"#, "/billing_group_algorithm"),
    ] {
        let refused = problem(&put(&server, "A", body), 422, "unfit");
        assert!(refused.to_string().contains(pointer), "{refused}");
    }
    server.end();
}

/// The algorithm is said when a site is made, and never again; what is counted is the same.
#[test]
fn an_algorithm_is_chosen_once() {
    let mut server = Clocked::at("2026-11-10T12:00:00Z");
    let blake3 = r#"{"pseudonym_algorithm":"blake3","billing_group":"G",
        "billing_group_algorithm":"blake3"}"#;
    assert_eq!(put(&server, "B", blake3).status, 201);
    for _ in 0..2 {
        let other = r#"{"pseudonym_algorithm":"hmac-sha-256","name":"other"}"#;
        problem(&put(&server, "B", other), 409, "algorithm-fixed");
        problem(&put(&server, "A", r#"{"pseudonym_algorithm":"blake3"}"#), 409, "algorithm-fixed");
        let other = r#"{"billing_group":"G","billing_group_algorithm":"hmac-sha-256"}"#;
        problem(&put(&server, "A", other), 409, "algorithm-fixed");
        let again = put(&server, "B", blake3);
        assert_eq!((again.status, &again.json()["name"]), (200, &json!("")), "{again:?}");
        assert_eq!(again.json()["pseudonym_algorithm"], json!("blake3"));
        assert_eq!(put(&server, "B", r#"{"pseudonym_algorithm":null}"#).status, 200);
        server = server.again();
    }
    let joins = r#"{"billing_group":"G","pseudonym_algorithm":"hmac-sha-256"}"#;
    assert_eq!(put(&server, "A", joins).status, 200);
    // One batch with records of both.
    for (site, users) in [("A", ["x", "y", "y"]), ("B", ["y", "z", "x"])] {
        assert_eq!(post(&server, site, "2026-11-10", &users), (3, 0));
    }
    let mixed: String = (0..40)
        .map(|at| {
            let site = ["A", "B"][at % 2];
            let record = with(&license(&format!("m{at}"), ["x", "y"][at / 2 % 2]), "site_id", site);
            format!("{}\n", with(&record, "occurred_at", "2026-11-10T11:00:00Z"))
        })
        .collect();
    assert_eq!(server.lines(&mixed).count("accepted"), 40);
    server = server.again();
    assert_eq!(server.lines(&mixed).count("duplicates"), 40);
    for (site, mau, algorithm) in [("A", 2, "hmac-sha-256"), ("B", 3, "blake3")] {
        let usage = usage(&server, site, "2026-11");
        assert_eq!((&usage["mau"], said(&usage)), (&json!(mau), exact(algorithm)));
    }
    let group = server.operate("GET", "/v1/groups/G/usage/2026-11", "").json();
    assert_eq!((&group["mau"], &group["pseudonym_algorithm"]), (&json!(3), &json!("blake3")));
    assert_eq!(said(&group["members"][1]), exact("blake3"), "{group}");
    server.until("2026-12-05T00:00:00Z");
    let billing = server.token("billing", 90);
    let stated = |path: &str| {
        let path = format!("/v1/{path}/statements/2026-11");
        server.send(&billing, "GET", &path, &[], "").json()["body"].clone()
    };
    assert_eq!(said(&stated("sites/B")["method"]), exact("blake3"));
    let body = stated("groups/G");
    assert_eq!(
        (&body["pseudonym_algorithm"], &body["figures"]["mau"]),
        (&json!("blake3"), &json!(3))
    );
    assert_eq!(said(&body["members"][0]["method"]), exact("hmac-sha-256"));
    assert!(stated("sites/A").get("pseudonym_algorithm").is_none());
    server.end();
}

/// A month that late records do not reach any more is opened by backfills only; these are refused
/// where another member counts in it and reads ids differently, and by nobody else.
#[test]
fn backfills_of_a_group_are_read_alike() {
    let server = Clocked::at("2026-07-10T12:00:00Z");
    assert_eq!(put(&server, "X", r#"{"billing_group":"G"}"#).status, 201);
    assert_eq!(post(&server, "X", "2026-06-28", &["Viewer"]), (1, 0));
    let answer = put(&server, "X", r#"{"user_id_lower":true}"#).json();
    assert_eq!(answer["effective"]["user_id_lower"], json!("2026-08"), "{answer}");
    server.until("2026-09-10T12:00:00Z");
    assert_eq!(post(&server, "X", "2026-09-10", &["Viewer"]), (1, 0));
    let joins = r#"{"billing_group":"G","user_id_lower":true}"#;
    assert_eq!(put(&server, "Z", joins).status, 201, "nothing of June or July can come of it");
    let differ = |answer: &Answer| drop(problem(answer, 409, "user-ids-differ"));
    differ(&put(&server, "W", r#"{"billing_group":"G"}"#));
    let make = |site: &str, from: &str, to: &str| {
        let body = json!({"site_id": site, "from": format!("{from}T00:00:00Z"),
            "to": format!("{to}T00:00:00Z"), "reason": "no link"});
        server.operate("POST", "/v1/backfills", &body.to_string())
    };
    let july = |site: &str| make(site, "2026-07-05", "2026-07-20");
    let id = |made: &Answer| {
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["id"].as_str().unwrap().to_owned()
    };
    let ledger = || {
        let auditor = server.token("auditor", 90);
        let read = server.send(&auditor, "GET", "/v1/ledger?limit=1000", &[], "").text();
        read.matches("backfill_made").count()
    };
    let producer = server.token("producer", 90);
    let whole = |id: &str, site: &str, day: &str, users: &[&str]| {
        let record = |(at, user): (usize, &&str)| {
            let record = with(&license(&format!("{id}:{at}"), user), "site_id", site);
            format!("{}\n", with(&record, "occurred_at", format!("{day}T10:00:00Z")))
        };
        let lines: String = users.iter().enumerate().map(record).collect();
        let path = format!("/v1/backfills/{id}/records");
        let loaded = server.send(&producer, "POST", &path, &[NDJSON], &lines);
        assert_eq!(loaded.json()["staged"], json!(users.len()), "{loaded:?}");
        let closed = server.operate("POST", &format!("/v1/backfills/{id}/close"), "");
        assert_eq!(closed.status, 200, "{closed:?}");
    };
    // Who comes first decides, and nobody who brings nothing.
    let first = id(&july("Z"));
    differ(&july("X"));
    // Also where it is one month of several.
    differ(&make("X", "2026-06-29", "2026-08-20"));
    assert_eq!(ledger(), 1, "what is refused was not made");
    let gone = server.operate("DELETE", &format!("/v1/backfills/{first}"), "");
    assert_eq!(gone.status, 200, "{gone:?}");
    let second = id(&july("X"));
    differ(&july("Z"));
    whole(&second, "X", "2026-07-08", &["Viewer", "viewer"]);
    differ(&july("Z"));
    let third = id(&july("X"));
    whole(&third, "X", "2026-07-09", &["viewer", "VIEWER"]);
    let mau =
        |month: &str| server.operate("GET", &format!("/v1/groups/G/usage/{month}"), "").json();
    let found = mau("2026-07");
    assert_eq!((&found["mau"], &found["corrections"]["users"]), (&json!(0), &json!(3)), "{found}");
    for (site, user) in [("Z", "VIEWER"), ("X", "Viewer")] {
        let made = id(&make(site, "2026-08-02", "2026-08-20"));
        whole(&made, site, "2026-08-08", &[user]);
    }
    let found = mau("2026-08");
    assert_eq!((&found["mau"], &found["corrections"]["users"]), (&json!(0), &json!(1)), "{found}");
    server.end();
}

/// A member that has ended binds the months that it has records in, and none after these, although
/// they go on to close.
#[test]
fn a_member_that_has_ended_binds_no_later_month() {
    let server = Clocked::at("2026-11-10T12:00:00Z");
    for site in ["V", "W"] {
        assert_eq!(put(&server, site, r#"{"billing_group":"H"}"#).status, 201);
        assert_eq!(post(&server, site, "2026-11-10", &["Viewer"]), (1, 0));
    }
    let ended = server.operate("POST", "/v1/sites/W/terminate", "{}");
    assert_eq!(ended.status, 200, "{ended:?}");
    assert_eq!(put(&server, "V", r#"{"user_id_trim":true}"#).status, 200);
    server.until("2027-01-05T12:00:00Z");
    assert_eq!(post(&server, "V", "2027-01-05", &["Viewer"]), (1, 0));
    // Both months of W have closed.
    for site in ["V", "W"] {
        let named = put(&server, site, r#"{"name":"another name"}"#);
        assert_eq!(named.status, 200, "{named:?}");
    }
    let late = json!({"site_id": "V", "from": "2026-12-02T00:00:00Z",
        "to": "2026-12-20T00:00:00Z", "reason": "no link"});
    let made = server.operate("POST", "/v1/backfills", &late.to_string());
    assert_eq!(made.status, 201, "{made:?}");
    // November has records of both, which stay.
    let differ = |answer: &Answer| drop(problem(answer, 409, "user-ids-differ"));
    let new = r#"{"billing_group":"H","user_id_trim":true}"#;
    differ(&put(&server, "N", new));
    server.end();
}

/// Members of a billing group read user ids alike in each month that they share: else one person
/// would be two users of the group.
#[test]
fn members_of_a_group_read_user_ids_alike() {
    let server = Clocked::at("2026-11-10T12:00:00Z");
    let group = r#"{"billing_group":"G"}"#;
    for site in ["X", "Y"] {
        assert_eq!(put(&server, site, group).status, 201);
        assert_eq!(post(&server, site, "2026-11-10", &["Viewer"]), (1, 0));
    }
    let differ = |answer: &Answer| drop(problem(answer, 409, "user-ids-differ"));
    differ(&put(&server, "X", r#"{"user_id_lower":true}"#));
    // A member that has ended does not bind the months after it.
    for site in ["V", "W"] {
        assert_eq!(put(&server, site, r#"{"billing_group":"H"}"#).status, 201);
        assert_eq!(post(&server, site, "2026-11-10", &["Viewer"]), (1, 0));
    }
    differ(&put(&server, "V", r#"{"user_id_trim":true}"#));
    let ended = server.operate("POST", "/v1/sites/W/terminate", "{}");
    assert_eq!(ended.status, 200, "{ended:?}");
    let answer = put(&server, "V", r#"{"user_id_trim":true}"#);
    assert_eq!(answer.json()["effective"]["user_id_trim"], json!("2026-12"), "{answer:?}");
    differ(&put(&server, "Z", r#"{"billing_group":"G","user_id_lower":true}"#));
    assert_eq!(server.operate("GET", "/v1/sites/Z", "").status, 404, "refused and made");
    assert_eq!(server.operate("GET", "/v1/sites/X", "").json().get("effective"), None);
    // All but one leave, that one changes, and the others come back with the same options: all of
    // it for the next month, and the group is never without them.
    assert_eq!(put(&server, "Y", r#"{"billing_group":null}"#).status, 200);
    differ(&put(&server, "Z", r#"{"billing_group":"G","user_id_lower":true}"#));
    assert_eq!(put(&server, "X", r#"{"user_id_lower":true}"#).status, 200);
    differ(&put(&server, "Y", group));
    let back = r#"{"billing_group":"G","user_id_lower":true}"#;
    let answer = put(&server, "Y", back).json();
    assert_eq!(answer["effective"], json!({"user_id_lower": "2026-12"}), "{answer}");
    server.until("2026-12-02T00:00:00Z");
    assert_eq!(post(&server, "X", "2026-12-01", &["Viewer"]), (1, 0));
    assert_eq!(post(&server, "Y", "2026-12-01", &["VIEWER"]), (1, 0));
    let mau = |month: &str| {
        server.operate("GET", &format!("/v1/groups/G/usage/{month}"), "").json()["mau"].clone()
    };
    assert_eq!((mau("2026-11"), mau("2026-12")), (json!(1), json!(1)));
    // A new site would be a member of November, too, which reads otherwise.
    differ(&put(&server, "Z", back));
    server.end();
}

/// Somebody whose later records are not kept is found in every month, in the form of the month,
/// also when the options change after the request.
#[test]
fn suppressed_persons_are_found_in_every_form() {
    let mut server = Clocked::at("2026-11-10T12:00:00Z");
    for algorithm in ["hmac-sha-256", "blake3"] {
        let body = json!({"pseudonym_algorithm": algorithm}).to_string();
        assert_eq!(put(&server, algorithm, &body).status, 201);
        assert_eq!(post(&server, algorithm, "2026-11-10", &["Viewer-É", "other"]), (2, 0));
    }
    let privacy = server.token("privacy", 365);
    for site in ["hmac-sha-256", "blake3"] {
        let path = format!("/v1/sites/{site}/subjects/erase");
        let body = r#"{"user_id":"Viewer-É","suppress":true}"#;
        let answer = server.send(&privacy, "POST", &path, &[JSON], body);
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.json();
        assert_eq!(
            (&told["records_erased"], &told["suppressed"]),
            (&json!(1), &json!(true)),
            "{told}"
        );
    }
    let spelled = ["Viewer-É", "viewer-é", " VIEWER-E\u{301}", "other"];
    for (at, (options, before, lost)) in [
        // Of November only the id itself; then what each month's form brings together.
        (r#"{"user_id_lower":true}"#, "2026-11-11", 1),
        (FOLDED, "2026-12-02", 2),
        (r#"{"user_id_trim":false,"user_id_lower":false}"#, "2027-01-02", 3),
        (NONE, "2027-02-02", 1),
        (FOLDED, "2027-03-02", 1),
    ]
    .into_iter()
    .enumerate()
    {
        if at > 0 {
            server.until(&format!("{before}T12:00:00Z"));
            server = server.again();
        } else {
            server.until("2026-11-11T12:00:00Z");
        }
        for site in ["hmac-sha-256", "blake3"] {
            assert_eq!(post(&server, site, before, &spelled), (4, lost), "{site} {before}");
            assert_eq!(put(&server, site, options).status, 200);
        }
    }
    // Erased now, under the form of a month that was folded and of one that was not.
    for site in ["hmac-sha-256", "blake3"] {
        let path = format!("/v1/sites/{site}/subjects/erase");
        let answer = server.send(&privacy, "POST", &path, &[JSON], r#"{"user_id":"OTHER"}"#);
        // Found under the forms of December and January; byte for byte it is somebody else.
        assert_eq!(
            (answer.status, &answer.json()["records_erased"]),
            (200, &json!(2)),
            "{answer:?}"
        );
    }
    server.end();
}

/// Whom a site called nobody until last month is a person now, and may be suppressed.
#[test]
fn a_sentinel_that_ended_can_be_suppressed() {
    let server = Clocked::at("2026-11-10T12:00:00Z");
    assert_eq!(put(&server, "S", r#"{"sentinel_user_ids":["lobby"]}"#).status, 201);
    assert_eq!(post(&server, "S", "2026-11-10", &["lobby"]), (1, 0));
    assert_eq!(put(&server, "S", r#"{"sentinel_user_ids":[]}"#).status, 200);
    server.until("2026-12-02T12:00:00Z");
    assert_eq!(post(&server, "S", "2026-12-02", &["lobby"]), (1, 0));
    assert_eq!(usage(&server, "S", "2026-12")["mau"], json!(1));
    let privacy = server.token("privacy", 365);
    let body = r#"{"user_id":"lobby","suppress":true}"#;
    let told = server.send(&privacy, "POST", "/v1/sites/S/subjects/erase", &[JSON], body);
    assert_eq!((told.status, &told.json()["suppressed"]), (200, &json!(true)), "{told:?}");
    server.until("2026-12-03T12:00:00Z");
    assert_eq!(post(&server, "S", "2026-12-03", &["lobby"]), (1, 1));
    server.end();
}

/// A customer's list is read as the month reads ids.
#[test]
fn a_list_is_read_in_the_form_of_its_month() {
    for algorithm in ["hmac-sha-256", "blake3"] {
        let server = Clocked::at("2026-11-10T12:00:00Z");
        let made =
            json!({"pseudonym_algorithm": algorithm, "user_id_lower": true, "user_id_trim": true});
        assert_eq!(put(&server, "L", &made.to_string()).status, 201);
        let names: Vec<String> = (0..120).map(|number| format!("Viewer {number}")).collect();
        let record = |(at, name): (usize, &String)| {
            let record = with(&license(&format!("l{at}"), name), "site_id", "L");
            format!("{}\n", with(&record, "occurred_at", "2026-11-10T11:00:00Z"))
        };
        let lines: String = names.iter().enumerate().map(record).collect();
        assert_eq!(server.lines(&lines).count("accepted"), 120);
        server.until("2026-12-04T00:00:00Z");
        let billing = server.token("billing", 90);
        let list: String = (0..130)
            .flat_map(|number| [format!(" VIEWER {number}"), format!("viewer {number}\u{3000}")])
            .map(|name| format!("{}\n", json!({"user_id": name})))
            .collect();
        let path = "/v1/sites/L/statements/2026-11/challenge";
        let answer = server.send(&billing, "POST", path, &[NDJSON], &list);
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.json();
        let counts = ["mau", "lines", "repeated", "listed", "counted", "counted_not_listed"];
        let counts = counts.map(|name| told[name].as_u64().unwrap());
        assert_eq!(counts, [120, 260, 130, 130, 120, 0], "{algorithm}");
        server.end();
    }
}
