//! The routes of the retention desk: holds with two people, runs, certificates, pages.

use std::sync::mpsc::{Sender, channel};

use tokio::task::JoinHandle;

use super::*;
use crate::retention::DeskError;

const HOLD: &str =
    r#"{"months":["2026-11"],"ground":"billing_dispute","review_at":"2027-01-01T00:00:00Z"}"#;

#[tokio::test]
async fn a_hold_is_opened_by_one_and_ended_by_two() {
    let harness = start(settings()).await;
    let holds = "/v1/sites/ACME/holds";
    let made = harness.send(harness.request(Role::Privacy, "POST", holds), HOLD).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert!(made.body.contains("\"id\":\"h1\"") && made.body.contains("\"state\":\"open\""));
    assert!(harness.get(Role::Auditor, holds).await.body.contains("billing_dispute"));
    let release = || harness.request(Role::Custodian, "DELETE", "/v1/sites/ACME/holds/h1");
    let first = harness.send(release(), "").await;
    assert_eq!(first.status, 202, "{}", first.body);
    assert!(first.body.contains("\"state\":\"release_requested\""), "{}", first.body);
    assert!(first.body.contains("\"needs\":\"second person\""), "{}", first.body);
    let again = harness.send(release(), "").await;
    assert_eq!(again.status, 409);
    assert!(again.body.contains("/same-person\""), "{}", again.body);
    let create = r#"{"role":"custodian","sites":["*"],"name":"another"}"#;
    let made = harness.send(harness.request(Role::Operator, "POST", "/v1/tokens"), create).await;
    let at = made.body.find("bt_").unwrap();
    let other = format!("Bearer {}", &made.body[at..at + 63]);
    let asked = || request("DELETE", "/v1/sites/ACME/holds/h1").header("authorization", &other);
    let ended = harness.send(asked(), "").await;
    assert_eq!(ended.status, 200, "{}", ended.body);
    assert!(ended.body.contains("\"state\":\"released\""), "{}", ended.body);
    let after = harness.send(asked(), "").await;
    assert_eq!(after.status, 409);
    assert!(after.body.contains("/hold-released\""), "{}", after.body);
}

#[tokio::test]
async fn a_review_renews_a_hold_for_a_year_at_most() {
    let harness = start(settings()).await;
    let holds = "/v1/sites/ACME/holds";
    let post = |path: &str| harness.request(Role::Privacy, "POST", path);
    let far = HOLD.replace("2027-01-01", "2027-11-23");
    let refused = harness.send(post(holds), far).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("/review-too-far\""), "{}", refused.body);
    assert!(refused.body.contains("\"pointer\":\"/review_at\""), "{}", refused.body);
    assert!(refused.body.contains("name an earlier review_at"), "{}", refused.body);
    assert_eq!(harness.send(post(holds), HOLD).await.status, 201);
    let path = "/v1/sites/ACME/holds/h1/review";
    let body = r#"{"review_at":"2027-11-22T04:16:00Z","reason":"not paid yet"}"#;
    let reviewed = harness.send(post(path), body).await;
    assert_eq!(reviewed.status, 200, "{}", reviewed.body);
    for part in ["\"review_at\":\"2027-11-22T04:16:00Z\"", "\"reason\":\"not paid yet\""] {
        assert!(reviewed.body.contains(part), "{}", reviewed.body);
    }
    let further = body.replace("04:16:00Z", "04:16:00.001Z");
    let refused = harness.send(post(path), further).await;
    assert!(refused.status == 422 && refused.body.contains("/review-too-far\""));
    let past = body.replace("2027-11-22", "2026-11-22");
    let refused = harness.send(post(path), past).await;
    assert!(refused.status == 422 && refused.body.contains("/unfit\""), "{}", refused.body);
    let unknown = harness.send(post("/v1/sites/ACME/holds/h2/review"), body).await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn what_cannot_be_held_is_a_plain_problem() {
    let harness = start(settings()).await;
    let post = |path: &str| harness.request(Role::Privacy, "POST", path);
    let unknown = HOLD.replace("2026-11", "2020-01");
    let refused = harness.send(post("/v1/sites/ACME/holds"), unknown).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("/unknown-month\""), "{}", refused.body);
    assert!(refused.body.contains("GET /v1/retention lists what is"), "{}", refused.body);
    assert_eq!(harness.send(post("/v1/sites/NONE/holds"), HOLD).await.status, 404);
    let unfit = harness.send(post("/v1/sites/ACME/holds"), "{\"months\":1}").await;
    assert_eq!(unfit.status, 422);
    assert!(unfit.body.contains("/months"), "{}", unfit.body);
    assert_eq!(harness.send(post("/v1/sites/ACME/holds"), "nonsense").await.status, 400);
}

#[tokio::test]
async fn runs_lots_and_certificates() {
    let harness = start(settings()).await;
    let ran = harness.send(harness.request(Role::Custodian, "POST", "/v1/retention/run"), "").await;
    assert_eq!(ran.status, 200, "{}", ran.body);
    assert!(ran.body.contains("\"destroyed\":2"), "{}", ran.body);
    let listed = harness.get(Role::Auditor, "/v1/retention?state=certified&site=ACME").await;
    assert!(listed.body.contains("\"certificate\":\"c"), "{}", listed.body);
    assert!(!listed.body.contains("\"site_id\":\"B\""), "{}", listed.body);
    let certificates = harness.get(Role::Auditor, "/v1/certificates").await.body;
    let at = certificates.find("\"id\":\"c").unwrap() + 6;
    let id: String = certificates[at..].chars().take_while(|c| *c != '"').collect();
    let path = format!("/v1/certificates/{id}");
    let certificate = harness.get(Role::Auditor, &path).await;
    assert!(certificate.body.starts_with("{\"body\":{\"format\":\"blindtally/certificate/3\""));
    assert_eq!(harness.get(Role::Auditor, "/v1/certificates/c9999").await.status, 404);
    for bad in ["?limit=0", "?state=x", "?x=1"] {
        let got = harness.get(Role::Auditor, &format!("/v1/retention{bad}")).await;
        assert_eq!(got.status, 400, "{bad}");
    }
    assert_eq!(harness.get(Role::Auditor, "/v1/retention?site=a%20b").await.status, 404);
    let asked = harness.request(Role::Custodian, "POST", "/v1/retention/confirm-clock");
    let confirm = harness.send(asked, r#"{"time":"2026-11-22T04:16:00Z"}"#).await;
    assert_eq!(confirm.status, 409);
    assert!(confirm.body.contains("/nothing-to-confirm\""), "{}", confirm.body);
}

#[tokio::test]
async fn every_use_is_in_the_access_log() {
    let harness = start(settings()).await;
    harness.get(Role::Auditor, "/v1/certificates").await;
    harness.get(Role::Billing, "/v1/certificates").await;
    harness.get(Role::Privacy, "/v1/sites/ACME/holds?kim@example.com").await;
    harness.get(Role::Privacy, "/v1/sites/viewer-81231/holds").await;
    harness.get(Role::Producer, "/v1/receipts").await;
    harness.get(Role::Producer, "/v1/ledger").await;
    harness.send(request("GET", "/v1/certificates"), "").await;
    let read = harness.get(Role::Auditor, "/v1/access?day=2026-11-22").await;
    assert_eq!(read.status, 200, "{}", read.body);
    let said: serde_json::Value = serde_json::from_str(&read.body).unwrap();
    let line = |line: &serde_json::Value| {
        let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        format!(
            "{} {} {} {} {}",
            text("role"),
            text("route"),
            text("site_id"),
            line["status"],
            line["count"]
        )
    };
    let mut lines: Vec<String> = said["lines"].as_array().unwrap().iter().map(line).collect();
    lines.sort_unstable();
    let made = lines.iter().position(|line| line.starts_with("operator token_create"));
    made.map(|at| lines.remove(at));
    assert_eq!(
        lines,
        [
            "auditor certificate_list - 200 1",
            "billing certificate_list - 403 1",
            "privacy hold_list - 404 1",
            "privacy hold_list ACME 200 1",
            "producer ledger_list - 403 1",
            "producer receipt - 400 1",
        ]
    );
    assert!(!read.body.contains("kim") && !read.body.contains("viewer"), "{}", read.body);
    // This very reading is in the next one.
    let again = harness.get(Role::Auditor, "/v1/access").await;
    assert!(again.body.contains("\"access_log\""), "{}", again.body);
    for bad in ["?day=2026-11", "?day=2026-11-31", "?day=x", "?from=2026-11-22"] {
        assert_eq!(
            harness.get(Role::Auditor, &format!("/v1/access{bad}")).await.status,
            400,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_site_ends_once() {
    let harness = start(settings()).await;
    let path = "/v1/sites/ACME/terminate";
    let ended = harness.send(harness.request(Role::Operator, "POST", path), "").await;
    assert_eq!(ended.status, 200, "{}", ended.body);
    assert!(ended.body.contains("\"terminated_at\":\"2026-11-22T04:16:00Z\""), "{}", ended.body);
    let body = r#"{"reason":"the contract ended"}"#;
    let again = harness.send(harness.request(Role::Operator, "POST", path), body).await;
    assert_eq!(again.body, ended.body);
}

/// Takes both places of those who look something up; they are given back with the gates.
async fn occupied(retention: &Desk) -> (Vec<Sender<()>>, Vec<JoinHandle<Result<(), DeskError>>>) {
    let (mut gates, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (gate, wait) = channel::<()>();
        let (desk, (begun, has_begun)) = (retention.clone(), tokio::sync::oneshot::channel());
        readers.push(tokio::spawn(async move {
            let look = move |_: &Desk| {
                let _ = begun.send(());
                let _ = wait.recv();
                Ok(())
            };
            desk.look_up(look).await
        }));
        has_begun.await.unwrap();
        gates.push(gate);
    }
    (gates, readers)
}

/// Who hangs up before the answer is there has used the route all the same, and the log says so.
#[tokio::test]
async fn a_read_whose_connection_drops_is_in_the_access_log() {
    let harness = start(settings()).await;
    let (gates, readers) = occupied(&harness.retention).await;
    for (role, path) in [
        (Role::Auditor, "/v1/certificates?cursor=0"),
        (Role::Auditor, "/v1/sites/ACME/holds"),
        (Role::Billing, "/v1/certificates"),
    ] {
        let mut stream = TcpStream::connect(harness.address).await.unwrap();
        let token = &harness.tokens[&role];
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // It is there before this one, so it has begun when this one is answered.
        assert_eq!(harness.send(request("GET", "/livez"), "").await.status, 200);
        drop(stream);
    }
    let text = || harness.registry.render(crate::observe::metrics::Exposition::Prometheus);
    tokio::time::timeout(Duration::from_secs(10), async {
        let closed = |text: &str| {
            text.contains("blindtally_http_connections 0\n")
                && text.contains("blindtally_http_connections_accepted_total 6\n")
        };
        while !closed(&text()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    drop(gates);
    for reader in readers {
        reader.await.unwrap().unwrap();
    }
    let read = harness.get(Role::Auditor, "/v1/access").await;
    let said: serde_json::Value = serde_json::from_str(&read.body).unwrap();
    let line = |line: &serde_json::Value| {
        format!(
            "{} {} {} {} {}",
            line["role"].as_str().unwrap(),
            line["route"].as_str().unwrap(),
            line["site_id"].as_str().unwrap_or("-"),
            line["status"],
            line["count"]
        )
    };
    let mut lines: Vec<String> = said["lines"].as_array().unwrap().iter().map(line).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "auditor certificate_list - 499 1",
            "auditor hold_list ACME 499 1",
            "billing certificate_list - 403 1"
        ]
    );
}
