//! Check 31: once a month of a site is destroyed, no route tells anything of its records.

use super::access::{ROLES, ROUTES};
use super::clocked::Clocked;
use super::*;

const PLANTED: [&str; 4] = ["planted-event", "planted-user", "planted-content", "planted-model"];

fn planted() -> String {
    let [event, user, cid, model] = PLANTED;
    let mut record = with(&license(event, user), "cid", cid);
    record["device"] = json!({"model": model});
    with(&record, "occurred_at", "2026-11-10T11:00:00Z").to_string()
}

/// What every route says to everybody who may ask, of the month that is destroyed.
fn sweep(server: &Clocked, tokens: &[(&str, String)]) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    for (method, path, roles) in ROUTES {
        // Which reads, or questions; what ends a site or a token says nothing of records.
        let path = path.replace("2026-10", "2026-11").replace("/groups/G", "/groups/acme");
        for (role, token) in tokens.iter().filter(|(role, _)| roles.contains(role)) {
            let answer = server.send(token, method, &path, &[JSON], "");
            answers.push((format!("{role} {method} {path}"), answer));
        }
    }
    answers
}

#[test]
fn check_31_no_route_tells_anything_of_a_destroyed_month() {
    let server = Clocked::at("2026-11-10T12:00:00Z");
    let put = r#"{"billing_group":"acme"}"#;
    assert_eq!(server.operate("PUT", "/v1/sites/A", put).status, 200);
    assert_eq!(server.lines(&planted()).count("accepted"), 1);
    let tokens = ROLES.map(|role| (role, server.token(role, 365)));
    let explained = |server: &Clocked| {
        let path = "/v1/sites/A/usage/2026-11/explained";
        server.send(&tokens[1].1, "GET", path, &[], "")
    };
    let before = explained(&server);
    server.until("2027-07-10T00:00:00Z");
    let time = json!({"time": "2027-07-10T00:00:00Z"}).to_string();
    let custodian = &tokens[5].1;
    let confirm = server.send(custodian, "POST", "/v1/retention/confirm-clock", &[JSON], &time);
    assert!(matches!(confirm.status, 200 | 409), "{confirm:?}");
    let ran = server.send(custodian, "POST", "/v1/retention/run", &[JSON], "");
    assert_eq!((ran.status, ran.count("failed")), (200, 0), "{ran:?}");
    let usage = server.usage("2026-11");
    assert_eq!((&usage["evidence"], &usage["mau"]), (&json!("destroyed"), &json!(1)));
    // No record is left to be explained.
    let (before, after) = (before.json(), explained(&server).json());
    assert_eq!((&before["licenses_issued"], &after["licenses_issued"]), (&json!(1), &json!(0)));
    let answers = sweep(&server, &tokens);
    assert!(answers.iter().filter(|(_, answer)| answer.status == 200).count() > 20);
    for (what, answer) in &answers {
        let text = String::from_utf8_lossy(&answer.body);
        assert!(PLANTED.iter().all(|planted| !text.contains(planted)), "{what}: {text}");
    }
    server.end();
}
