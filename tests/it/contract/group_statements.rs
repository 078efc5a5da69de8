//! The statement of a billing group's month, asked for as its customer does.

use super::clocked::Clocked;
use super::*;
use blindtally::app::verify::Request;
use blindtally::billing::verify;
use blindtally::config::{Flags, Settings, compose};

const NOVEMBER: &str = "/v1/groups/acme/statements/2026-11";

fn record(site: &str, event: &str, user: &str) -> Value {
    let record = with(&license(event, user), "occurred_at", "2026-11-10T11:00:00Z");
    with(&record, "site_id", site)
}

/// November of a group of two sites, of which `B` waits longer; `u` is a user of both.
fn closed() -> Clocked {
    closed_with(|_| {})
}

/// The same with other settings.
fn closed_with(change: fn(&mut Settings)) -> Clocked {
    let server = Clocked::with("2026-11-10T12:00:00Z", change);
    let put = |site: &str, body: Value| {
        let path = format!("/v1/sites/{site}");
        assert!(server.operate("PUT", &path, &body.to_string()).status < 300);
    };
    put("A", json!({"billing_group": "acme"}));
    put("B", json!({"billing_group": "acme", "closing_hours": 96, "time_zone": "Asia/Seoul"}));
    put("C", json!({}));
    let lines = [
        record("A", "1", "u"),
        record("A", "2", "v"),
        record("B", "3", "u"),
        with(&record("B", "4", "w"), "drm_type", json!("widevine")),
        record("B", "5", "guest"),
        record("C", "6", "x"),
    ];
    let lines: String = lines.iter().map(|record| format!("{record}\n")).collect();
    assert_eq!(server.lines(&lines).count("accepted"), 6);
    server
}

fn late(server: &Clocked, site: &str, event: &str, user: &str) {
    let answer = server.lines(&record(site, event, user).to_string());
    assert_eq!(answer.count("corrected"), 1, "{answer:?}");
}

#[test]
fn a_group_has_a_statement_that_anybody_can_check() {
    let server = closed();
    let billing = server.token("billing", 90);
    let get = |path: &str| server.send(&billing, "GET", path, &[], "");
    // The last member closes at 2026-12-04T15:00Z; until then the group waits.
    server.until("2026-12-04T14:00:00Z");
    assert_eq!(get("/v1/sites/A/statements/2026-11").status, 200);
    problem(&get(NOVEMBER), 409, "month-open");
    // A correction of its own site, and in time for the group.
    late(&server, "A", "7", "y");
    server.until("2026-12-05T15:00:00Z");
    let answer = get(NOVEMBER);
    assert_eq!(answer.status, 200, "{answer:?}");
    let key = server.verifier_key();
    let body = verify(&answer.body, &key).unwrap();
    assert_eq!((body.version, body.billable.mau, body.billable.licenses_issued), (1, 4, 5));
    let said = answer.json()["body"].clone();
    assert_eq!(said["billing_group"], "acme");
    let own = |at: usize| {
        let member = &said["members"][at];
        (member["site_id"].as_str().unwrap().to_owned(), member["figures"]["mau"].as_u64().unwrap())
    };
    assert_eq!([own(0), own(1)], [("A".to_owned(), 2), ("B".to_owned(), 2)]);
    assert!(said.get("site_id").is_none() && said["members"][2].is_null());
    assert_eq!(body.corrections.users, 0, "who came late for A was in time for the group");
    assert_eq!(body.recount.as_ref().unwrap().mau, 4);
    let widevine = body.by_drm_type.iter().find(|of| of.drm_type == "widevine").unwrap();
    assert_eq!((widevine.mau, body.subjects_least), (None, Some(10)), "one user is too few");
    assert!(body.quality.is_some_and(|of| of.is_some()), "the sums of its members");
    // A member names its group, and nobody else does.
    let member = get("/v1/sites/A/statements/2026-11").json();
    assert_eq!(member["body"]["billing_group"], "acme");
    assert!(!get("/v1/sites/C/statements/2026-11").text().contains("billing_group"));
    // The set is the group's own, and its digest nobody else's.
    assert_ne!(member["body"]["recount"]["user_set"], said["recount"]["user_set"]);
    let other = answer.text().replace("\"mau\":4", "\"mau\":3");
    assert!(verify(other.as_bytes(), &key).is_err());
    server.end();
}

#[test]
fn a_group_is_restated_counted_again_and_shown() {
    let server = closed();
    let billing = server.token("billing", 90);
    let get =
        |path: &str, headers: &[(&str, &str)]| server.send(&billing, "GET", path, headers, "");
    server.until("2026-12-05T15:00:00Z");
    let first = get(NOVEMBER, &[]);
    assert_eq!(first.status, 200, "{first:?}");
    late(&server, "A", "7", "w");
    late(&server, "A", "8", "y");
    let restate = server.operate("POST", &format!("{NOVEMBER}/restate"), r#"{"reason":"late"}"#);
    assert_eq!(restate.status, 201, "{restate:?}");
    let body = verify(&restate.body, &server.verifier_key()).unwrap();
    // `w` is new at A, and known in the group.
    assert_eq!((body.corrections.users, body.corrections.records), (1, 2));
    assert_eq!((body.version, body.billable.mau, body.billable.licenses_issued), (2, 4, 7));
    let versions = get(&format!("{NOVEMBER}/versions"), &[]).json();
    assert_eq!(versions["items"][0], first.json());
    assert_eq!(versions["items"][1], restate.json());
    let csv = get(NOVEMBER, &[("accept", "text/csv")]);
    let text = csv.text();
    assert!(
        text.starts_with("figure,value\r\nbilling_group,acme\r\nmonth,2026-11\r\nversion,2\r\n")
    );
    let rows: Vec<&str> = text.split_terminator("\r\n").collect();
    for row in ["mau,3", "mau_of_A,2", "mau_of_B,2", "licenses_issued,5", "corrected_users,1"] {
        assert!(rows.contains(&row), "{row}: {text}");
    }
    assert!(!text.contains("\ndevices,"), "devices of two sites do not add up");
    let page = get(&format!("{NOVEMBER}/page"), &[]);
    assert!(page.text().contains("Members of the group") && page.text().contains("acme"));
    let export = get(&format!("{NOVEMBER}/export?format=openmeter"), &[]).json();
    assert_eq!((&export["subject"], &export["data"]["value"]), (&json!("acme"), &json!(4)));
    // And once more, from the files.
    let place = server.stop();
    let flags = Flags { data: Some(place.data()), ..Flags::default() };
    let settings = compose("", "", [], &flags).unwrap();
    let request = Request { recount: true, ..Request::default() };
    let report = blindtally::app::verify::run(&settings, &request);
    assert!(report.findings.is_empty(), "{report:#?}");
    for version in [1, 2] {
        let said =
            format!("version {version} of the statement of group acme for 2026-11: genuine, and 3");
        assert!(report.checked.iter().any(|line| line.starts_with(&said)), "{report:#?}");
    }
}

/// What comes of a month after its group has closed, by a site that joined since, stands beside the
/// figures everywhere, and on the next statement.
#[test]
fn a_late_joiner_is_on_the_next_statement() {
    let server = closed();
    let billing = server.token("billing", 365);
    let get = |path: &str| server.send(&billing, "GET", path, &[], "").json();
    server.until("2026-12-05T15:00:00Z");
    let first = get(NOVEMBER)["body"].clone();
    assert_eq!(first["figures"]["licenses_issued"], 5);
    let put = server.operate("PUT", "/v1/sites/D", r#"{"billing_group":"acme"}"#);
    assert_eq!(put.status, 201, "{put:?}");
    let lines = [record("D", "1", "u"), record("D", "2", "x"), record("D", "3", "z")];
    let december = with(&record("A", "9", "u"), "occurred_at", "2026-12-05T12:00:00Z");
    let lines = lines.iter().chain([&december]).map(|record| format!("{record}\n"));
    assert_eq!(server.lines(&lines.collect::<String>()).count("accepted"), 4);
    let usage = get("/v1/groups/acme/usage/2026-11");
    let stays = (&usage["mau"], &usage["licenses_issued"], &usage["state"]);
    assert_eq!(stays, (&json!(3), &json!(5), &json!("closed")), "{usage}");
    let late = &usage["corrections"];
    assert_eq!((&late["users"], &late["records"]), (&json!(2), &json!(3)), "{usage}");
    server.until("2027-01-08T00:00:00Z");
    let next = get("/v1/groups/acme/statements/2026-12")["body"].clone();
    let earlier = next["earlier_corrections"].as_array().unwrap();
    assert_eq!(earlier.len(), 1, "{next}");
    let (of, late) = (&earlier[0]["month"], &earlier[0]["corrections"]);
    assert_eq!(of, "2026-11");
    let counts = ["users", "records", "licenses_issued"].map(|name| late[name].as_u64().unwrap());
    assert_eq!(counts, [2, 3, 3]);
    assert_eq!(get(NOVEMBER)["body"], first);
    server.end();
}

/// A customer's list against a group's statement: persons, whichever member they used.
#[test]
fn a_list_is_answered_for_a_group() {
    let server = closed();
    let path = format!("{NOVEMBER}/challenge");
    let name = |number: u32| format!("grouped-viewer-{number:03}");
    let sites = |number: u32| if number.is_multiple_of(3) { ["A", "B"] } else { ["A", "A"] };
    let lines = (0..120u32).flat_map(|number| {
        sites(number)
            .map(|site| format!("{}\n", record(site, &format!("{site}:{number}"), &name(number))))
    });
    let answer = server.lines(&lines.collect::<String>());
    assert_eq!(answer.count("accepted") + answer.count("duplicates"), 240);
    let list = |numbers: std::ops::Range<u32>| -> String {
        numbers.map(|number| format!("{}\n", json!({"user_id": name(number)}))).collect()
    };
    let billing = server.token("billing", 365);
    let post = |token: &str, text: &str| server.send(token, "POST", &path, &[NDJSON], text);
    problem(&post(&billing, &list(0..130)), 409, "month-open");
    server.until("2026-12-05T15:00:00Z");
    // Somebody may not see every member, and nothing is read of the list.
    for sites in [json!(["A"]), json!(["B", "C"])] {
        let body = json!({"role": "billing", "sites": sites, "name": "b", "expires_in_days": 9});
        let made = server.operate("POST", "/v1/tokens", &body.to_string()).json();
        problem(&post(made["token"].as_str().unwrap(), "no list"), 404, "not-found");
    }
    let nobody = "{\"user_id\":\"guest\"}\n{\"user_id\":null}\n";
    let told = post(&billing, &(list(0..130) + "{\"user_id\":\"u\"}\n" + nobody)).json();
    assert_eq!(told["billing_group"], "acme", "{told}");
    let counts = ["mau", "listed", "counted", "not_counted", "counted_not_listed", "unattributed"];
    // `u`, `v` and `w` are counted as well; two of them are not listed.
    let counts = counts.map(|name| told[name].as_u64().unwrap());
    assert_eq!(counts, [123, 131, 121, 10, 2, 2]);
    let statement = server.send(&billing, "GET", NOVEMBER, &[], "").json();
    assert_eq!(statement["body"]["billable"]["mau"], told["mau"]);
    late(&server, "A", "late", "grouped-viewer-125");
    let restated = server.operate("POST", &format!("{NOVEMBER}/restate"), r#"{"reason":"late"}"#);
    assert_eq!(restated.status, 201, "{restated:?}");
    let told = post(&billing, &list(0..130)).json();
    let late = ["version", "billed_late", "late", "challenges_left"];
    assert_eq!(late.map(|name| told[name].as_u64().unwrap()), [2, 1, 1, 3]);
    assert_eq!(told["counted_late"], Value::Null, "few are not told");
    // A member's list is of the same budget, and the ledger names the group.
    let own = path.replace("groups/acme", "sites/A");
    let own = server.send(&billing, "POST", &own, &[NDJSON], &list(0..130)).json();
    assert_eq!((&own["challenges_left"], &own["counted"]), (&json!(2), &json!(120)));
    let auditor = server.token("auditor", 30);
    let read = server.send(&auditor, "GET", "/v1/ledger?from=0&limit=1000", &[], "").text();
    assert!(read.contains(r#"restatement_challenged"#) && read.contains("+acme"), "{read}");
    for _ in 0..2 {
        assert_eq!(post(&billing, &list(0..130)).status, 200);
    }
    problem(&post(&billing, &list(0..130)), 409, "challenge-budget");
    assert_eq!(server.files_with(b"grouped-viewer"), Vec::<String>::new());
    server.end();
}

/// The close of a group is told by the server to an endpoint that has every member.
#[test]
fn the_close_of_a_group_is_told() {
    let server = closed_with(|settings| {
        settings.webhooks.every = std::time::Duration::from_millis(20);
        settings.webhooks.deadline = std::time::Duration::from_millis(200);
    });
    let make = |sites: Value| {
        let body = json!({"url": "https://hooks.invalid/a", "events": ["month.closed"],
            "sites": sites});
        let made = server.operate("POST", "/v1/webhooks", &body.to_string());
        assert_eq!(made.status, 201, "{made:?}");
        format!("/v1/webhooks/{}/deliveries", made.json()["id"].as_str().unwrap())
    };
    let (both, one) = (make(json!(["A", "B"])), make(json!(["A"])));
    server.until("2026-12-05T15:00:00Z");
    let of = |path: &str| {
        let listed = server.operate("GET", path, "").json()["items"].clone();
        let name = |item: &Value| {
            let of = [&item["site_id"], &item["billing_group"]];
            of.into_iter().find_map(Value::as_str).unwrap().to_owned()
        };
        let mut names: Vec<String> = listed.as_array().unwrap().iter().map(name).collect();
        names.sort_unstable();
        names
    };
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while of(&both) != ["A", "B", "acme"] {
        assert!(std::time::Instant::now() < deadline, "{:?}", of(&both));
    }
    assert_eq!(of(&one), ["A"]);
    server.end();
}

#[test]
fn a_group_is_there_for_whoever_has_every_member() {
    let server = closed();
    server.until("2026-12-05T15:00:00Z");
    let token = |role: &str, sites: Value| {
        let body = json!({"role": role, "sites": sites, "name": role, "expires_in_days": 90});
        let made = server.operate("POST", "/v1/tokens", &body.to_string());
        made.json()["token"].as_str().unwrap().to_owned()
    };
    let ask = |token: &str, path: &str| server.send(token, "GET", path, &[], "");
    let rest = ["", "/versions", "/page", "/export?format=lago"];
    for (sites, seen) in
        [(json!(["A", "B"]), true), (json!(["A"]), false), (json!(["B", "C"]), false)]
    {
        let own = token("billing", sites.clone());
        for rest in rest {
            let answer = ask(&own, &format!("{NOVEMBER}{rest}"));
            assert_eq!(answer.status, if seen { 200 } else { 404 }, "{sites} {rest} {answer:?}");
        }
        let operator = token("operator", sites);
        let path = format!("{NOVEMBER}/restate");
        let body = r#"{"reason":"late"}"#;
        let answer = server.send(&operator, "POST", &path, &[JSON], body);
        assert_eq!(answer.status, if seen { 201 } else { 404 }, "{answer:?}");
    }
    let auditor = server.token("auditor", 90);
    assert_eq!(ask(&auditor, NOVEMBER).status, 200);
    problem(&ask(&auditor, "/v1/groups/other/statements/2026-11"), 404, "not-found");
    problem(&ask(&auditor, "/v1/groups/+acme/statements/2026-11"), 404, "not-found");
    problem(&ask(&auditor, "/v1/sites/+acme/statements/2026-11"), 404, "not-found");
    problem(&ask(&auditor, "/v1/groups/acme/statements/2026-13"), 400, "bad-month");
    server.end();
}
