//! Who may do what: every route for every role, and what strangers are told.

use super::*;
use crate::http::router::{Access, Route, table};

/// The roles of API.md, written down a second time on purpose.
fn expected(route: Route, role: Role) -> bool {
    match route {
        Route::Records | Route::Receipt | Route::BackfillLoad => role == Role::Producer,
        Route::Reconciliation | Route::BackfillList | Route::BackfillGet => {
            matches!(role, Role::Producer | Role::Operator | Role::Auditor)
        }
        Route::BackfillCreate | Route::BackfillClose | Route::BackfillAbandon => {
            role == Role::Operator
        }
        Route::SiteUsage
        | Route::GroupUsage
        | Route::UsageList
        | Route::SiteGet
        | Route::SiteList => {
            matches!(role, Role::Billing | Role::Operator)
        }
        Route::StatementGet
        | Route::StatementVersions
        | Route::StatementPage
        | Route::GroupStatementGet
        | Route::GroupStatementVersions
        | Route::GroupStatementPage => {
            matches!(role, Role::Billing | Role::Auditor)
        }
        Route::UsageExplained | Route::PallyconStatistics => {
            matches!(role, Role::Billing | Role::Operator)
        }
        Route::Challenge | Route::GroupChallenge | Route::Export | Route::GroupExport => {
            role == Role::Billing
        }
        Route::SitePut
        | Route::Restate
        | Route::GroupRestate
        | Route::TokenCreate
        | Route::TokenList
        | Route::TokenRevoke
        | Route::SiteTerminate
        | Route::BackupBegin
        | Route::BackupList
        | Route::BackupGet
        | Route::WebhookCreate
        | Route::WebhookList
        | Route::WebhookRemove
        | Route::WebhookRotate
        | Route::WebhookTest
        | Route::WebhookDeliveries
        | Route::Metrics => role == Role::Operator,
        Route::SubjectErase | Route::SubjectErasures => role == Role::Privacy,
        Route::HoldOpen | Route::HoldReview => role == Role::Privacy,
        Route::HoldList => matches!(role, Role::Privacy | Role::Auditor | Role::Custodian),
        Route::HoldRelease | Route::RetentionRun | Route::MonthRemove | Route::ClockConfirm => {
            role == Role::Custodian
        }
        Route::RetentionList => matches!(role, Role::Auditor | Role::Operator),
        Route::CertificateList | Route::CertificateGet | Route::Evidence => role == Role::Auditor,
        Route::AccessLog | Route::LedgerList | Route::LedgerHead | Route::LedgerProof => {
            role == Role::Auditor
        }
        Route::Live | Route::Ready | Route::Version => true,
    }
}

/// What is about every site at once: no answer of it could be cut down to some.
const OF_ALL_SITES: [Route; 9] = [
    Route::AccessLog,
    Route::RetentionRun,
    Route::ClockConfirm,
    Route::BackupBegin,
    Route::BackupList,
    Route::BackupGet,
    Route::LedgerList,
    Route::LedgerProof,
    Route::Metrics,
];

fn path(pattern: &str) -> String {
    let path = pattern.replace("{site}", "ACME").replace("{month}", "2026-11");
    let path = path.replace("{index}", "0").replace("{group}", "G");
    let path = path.replace("{key_id}", "aaaaaaaaaaaaaaaa");
    let path = path.replace("{hold}", "h1").replace("{id}", "c1").replace("{name}", "b1");
    path.replace("/v1/usage", "/v1/usage?month=2026-11")
}

#[tokio::test]
async fn every_route_for_every_role() {
    let harness = start(settings()).await;
    for row in table() {
        let path = path(row.path);
        let stranger = harness.send(request(row.method.as_str(), &path), "").await;
        let open = row.access == Access::Open;
        assert_eq!(stranger.status == 401, !open, "{path} without a credential");
        if !open {
            assert!(stranger.header("www-authenticate").starts_with("Bearer"), "{path}");
        }
        for role in Role::ALL {
            let asked = harness.request(*role, row.method.as_str(), &path);
            let got = harness.send(asked.header("content-type", "application/json"), "{}").await;
            let allowed = !matches!(got.status.as_u16(), 401 | 403 | 405);
            assert_eq!(allowed, expected(row.route, *role), "{role} {path}: {}", got.status);
            if !allowed {
                assert_eq!(got.status, 403);
                assert_eq!(got.header("content-type"), "application/problem+json");
            }
        }
    }
}

#[tokio::test]
async fn what_is_about_every_site_needs_a_credential_of_every_site() {
    let harness = start(settings()).await;
    for role in Role::ALL {
        let body = format!(r#"{{"role":"{role}","sites":["ACME","B"],"name":"of two sites"}}"#);
        let made = harness.send(harness.request(Role::Operator, "POST", "/v1/tokens"), body).await;
        let at = made.body.find("bt_").unwrap();
        let own = format!("Bearer {}", &made.body[at..at + 63]);
        for row in table().iter().filter(|row| expected(row.route, *role)) {
            let asked = request(row.method.as_str(), &path(row.path)).header("authorization", &own);
            let got = harness.send(asked.header("content-type", "application/json"), "{}").await;
            let refused = got.status == 403 && got.body.contains("/needs-all-sites\"");
            let needs = OF_ALL_SITES.contains(&row.route);
            assert_eq!(refused, needs, "{role} {}: {} {}", row.path, got.status, got.body);
        }
    }
}

#[tokio::test]
async fn bad_credentials_are_refused_alike() {
    let harness = start(settings()).await;
    let good = harness.tokens[&Role::Operator].clone();
    let mut swapped = good[..19].to_owned();
    swapped.push_str(&harness.tokens[&Role::Billing][19..]);
    let unknown = format!("bt_{}{}", "a".repeat(16), &good[19..]);
    let mut bodies = Vec::new();
    for bad in [swapped, unknown, "nonsense".to_owned()] {
        let asked = request("GET", "/v1/sites").header("authorization", format!("Bearer {bad}"));
        let got = harness.send(asked, "").await;
        assert_eq!(got.status, 401);
        assert!(got.header("www-authenticate").contains("invalid_token"));
        bodies.push(got.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    let none = harness.send(request("GET", "/v1/sites"), "").await;
    assert_eq!(none.header("www-authenticate"), "Bearer realm=\"blindtally\"");
}

#[tokio::test]
async fn a_token_lives_from_its_making_to_its_end() {
    let harness = start(settings()).await;
    let body = r#"{"role":"billing","sites":["B"],"expires_in_days":1,"name":"n"}"#;
    let made = harness.send(harness.request(Role::Operator, "POST", "/v1/tokens"), body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let at = made.body.find("bt_").unwrap();
    let token = made.body[at..at + 63].to_owned();
    let ask = |path: &str| request("GET", path).header("authorization", format!("Bearer {token}"));
    assert_eq!(harness.send(ask("/v1/sites/B/usage/2026-11"), "").await.status, 200);
    assert_eq!(harness.send(ask("/v1/sites/ACME/usage/2026-11"), "").await.status, 404);
    assert_eq!(harness.send(ask("/v1/sites/ACME"), "").await.status, 404);
    let listed = harness.send(ask("/v1/usage?month=2026-11"), "").await;
    assert!(listed.body.contains("\"B\"") && !listed.body.contains("ACME"), "{}", listed.body);

    let path = format!("/v1/tokens/{}", &token[3..19]);
    let ended = harness.send(harness.request(Role::Operator, "DELETE", &path), "").await;
    assert_eq!(ended.status, 204);
    assert_eq!(harness.send(ask("/v1/sites/B/usage/2026-11"), "").await.status, 401);
    let again = harness.send(harness.request(Role::Operator, "DELETE", &path), "").await;
    assert_eq!(again.status, 404);
}

#[tokio::test]
async fn sites_are_made_and_read() {
    let harness = start(settings()).await;
    let put = || harness.request(Role::Operator, "PUT", "/v1/sites/NEW");
    let made = harness.send(put(), r#"{"time_zone":"UTC"}"#).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(harness.send(put(), "{}").await.status, 200);
    let bad = harness.send(put(), r#"{"time_zone":"Nowhere/Canary"}"#).await;
    assert_eq!(bad.status, 422);
    assert!(bad.body.contains("/time_zone") && !bad.body.contains("Canary"), "{}", bad.body);
    assert_eq!(harness.send(put(), "[").await.status, 400);
    assert_eq!(harness.get(Role::Billing, "/v1/sites/NEW").await.status, 200);
    assert!(harness.get(Role::Billing, "/v1/sites").await.body.contains("\"NEW\""));
    assert_eq!(harness.get(Role::Billing, "/v1/sites/OTHER").await.status, 404);
    assert_eq!(harness.get(Role::Billing, "/v1/sites/%41").await.status, 404);
}

#[tokio::test]
async fn unknown_paths_and_methods() {
    let harness = start(settings()).await;
    let got = harness.get(Role::Operator, "/v1/nothing").await;
    assert_eq!(got.status, 404);
    assert_eq!(got.header("content-type"), "application/problem+json");
    let got = harness.send(request("DELETE", "/v1/sites/ACME"), "").await;
    assert_eq!(got.status, 405);
    assert_eq!(got.header("allow"), "PUT, GET, HEAD");
    let head = harness.send(request("HEAD", "/livez"), "").await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), "15");
}

#[tokio::test]
async fn usage_is_json_or_csv_page_by_page() {
    let harness = start(settings()).await;
    let month = "/v1/sites/ACME/usage/2026-11";
    let got = harness.get(Role::Billing, month).await;
    assert_eq!(got.header("content-type"), "application/json");
    assert!(got.body.contains("\"mau\":7"), "{}", got.body);
    let csv = harness.request(Role::Billing, "GET", month).header("accept", "text/csv");
    let csv = harness.send(csv, "").await;
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert!(csv.body.contains("\r\n"), "{}", csv.body);
    let html = harness.request(Role::Billing, "GET", month).header("accept", "text/html");
    assert_eq!(harness.send(html, "").await.status, 406);

    let first = harness.get(Role::Billing, "/v1/usage?month=2026-11&limit=1").await;
    assert!(first.body.contains("ACME") && !first.body.contains("\"B\""), "{}", first.body);
    let link = first.header("link");
    let next = link.strip_prefix('<').unwrap().split('>').next().unwrap();
    let second = harness.get(Role::Billing, next).await;
    assert!(second.body.contains("\"B\"") && !second.body.contains("ACME"), "{}", second.body);
    assert_eq!(second.header("link"), "");

    for bad in [
        "/v1/sites/ACME/usage/2026-13",
        "/v1/sites/ACME/usage/november",
        "/v1/usage",
        "/v1/usage?month=2026-1",
        "/v1/usage?month=2026-11&from=2026-10",
        "/v1/usage?from=2026-11",
        "/v1/usage?month=2026-11&limit=0",
        "/v1/usage?month=2026-11&limit=1001",
        "/v1/usage?month=2026-11&cursor=canary",
        "/v1/usage?month=2026-11&canary=1",
    ] {
        let got = harness.get(Role::Billing, bad).await;
        assert_eq!(got.status, 400, "{bad}: {}", got.body);
        assert!(!got.body.contains("canary"), "{}", got.body);
    }
}

#[tokio::test]
async fn the_ledger_is_read_by_numbers() {
    let harness = start(settings()).await;
    let get = |path: &'static str| harness.get(Role::Auditor, path);
    let list = get("/v1/ledger").await;
    assert_eq!(list.status, 200, "{}", list.body);
    assert!(list.body.contains("privileged_read"), "{}", list.body);
    let one = get("/v1/ledger?from=1&limit=1").await;
    assert!(one.body.contains("\"from\":1") && one.body.contains("\"size\":2"), "{}", one.body);
    assert_eq!(get("/v1/ledger/1/proof").await.status, 200);
    let proof = get("/v1/ledger/0/proof").await.body;
    assert!(proof.starts_with("{\"entry\":") && proof.contains("blindtally/test"), "{proof}");
    assert_eq!(get("/v1/ledger/99/proof").await.status, 404);
    let head = get("/v1/ledger/head").await;
    assert_eq!(head.header("content-type"), "application/json");
    assert!(head.body.contains("\"size\":4,"), "{}", head.body);
    let asked = harness.request(Role::Auditor, "GET", "/v1/ledger/head");
    let note = harness.send(asked.header("accept", "text/plain"), "").await;
    assert!(note.header("content-type").starts_with("text/plain"), "{}", note.body);
    assert!(note.body.starts_with("blindtally/test\n4\n"), "{}", note.body);
    let asked = harness.request(Role::Auditor, "GET", "/v1/ledger/head");
    assert_eq!(harness.send(asked.header("accept", "text/html"), "").await.status, 406);
    for (bad, kind) in [
        ("/v1/ledger?from=-1", "bad-entry-number"),
        ("/v1/ledger?from=01", "bad-entry-number"),
        ("/v1/ledger?from=", "bad-entry-number"),
        ("/v1/ledger?from=18446744073709551616", "bad-entry-number"),
        ("/v1/ledger?limit=0", "bad-query"),
        ("/v1/ledger?limit=1001", "bad-query"),
        ("/v1/ledger?limit=%2B1", "bad-query"),
        ("/v1/ledger?canary=1", "bad-query"),
        ("/v1/ledger/canary/proof", "bad-entry-number"),
        ("/v1/ledger/+1/proof", "bad-entry-number"),
    ] {
        let got = harness.get(Role::Auditor, bad).await;
        assert_eq!(got.status, 400, "{bad}: {}", got.body);
        assert!(got.body.contains(kind) && !got.body.contains("canary"), "{bad}: {}", got.body);
    }
    assert!(get("/v1/ledger/head").await.body.contains("\"size\":4,"), "refusals left entries");
}

#[tokio::test]
async fn probes_and_metrics() {
    let harness = start(settings()).await;
    for path in ["/livez", "/readyz", "/version"] {
        assert_eq!(harness.send(request("GET", path), "").await.status, 200, "{path}");
    }
    harness.get(Role::Operator, "/v1/canary-path").await;
    let text = harness.get(Role::Operator, "/metrics").await;
    assert!(text.header("content-type").starts_with("text/plain; version=0.0.4"));
    let line = "blindtally_http_requests_total{route=\"live\",status=\"2xx\"} 1\n";
    assert!(text.body.contains(line), "{}", text.body);
    let line = "blindtally_http_requests_total{route=\"none\",status=\"4xx\"} 1\n";
    assert!(text.body.contains(line), "{}", text.body);
    assert!(!text.body.contains("canary"));
    let asked = harness.request(Role::Operator, "GET", "/metrics");
    let asked = asked.header("accept", "application/openmetrics-text;version=1.0.0,*/*;q=0.1");
    let open = harness.send(asked, "").await;
    assert!(open.header("content-type").starts_with("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n"));
}
