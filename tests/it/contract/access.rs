//! Who may do what: every route for every role, and everything that is not allowed is refused.

use super::*;
use crate::support::Client;

pub(super) const ROLES: [&str; 6] =
    ["producer", "billing", "privacy", "auditor", "operator", "custodian"];

/// The routes that exist, and the roles of API.md "Authentication" that may take them.
pub(super) const ROUTES: &[(&str, &str, &[&str])] = &[
    ("POST", "/v1/records", &["producer"]),
    ("GET", "/v1/sites/A/usage/2026-11", &["billing", "operator"]),
    ("GET", "/v1/groups/G/usage/2026-11", &["billing", "operator"]),
    ("GET", "/v1/groups/G/statements/2026-10", &["billing", "auditor"]),
    ("GET", "/v1/groups/G/statements/2026-10/versions", &["billing", "auditor"]),
    ("GET", "/v1/groups/G/statements/2026-10/page", &["billing", "auditor"]),
    ("GET", "/v1/groups/G/statements/2026-10/export?format=lago", &["billing"]),
    ("POST", "/v1/groups/G/statements/2026-10/restate", &["operator"]),
    ("POST", "/v1/groups/G/statements/2026-10/challenge", &["billing"]),
    ("GET", "/v1/usage?month=2026-11", &["billing", "operator"]),
    ("GET", "/v1/sites/A/usage/2026-11/explained", &["billing", "operator"]),
    ("GET", "/v1/compat/pallycon/A/statistics/2026-11", &["billing", "operator"]),
    ("GET", "/v1/reconciliation", &["producer", "operator", "auditor"]),
    ("GET", "/v1/receipts", &["producer"]),
    ("GET", "/v1/sites", &["billing", "operator"]),
    ("GET", "/v1/sites/A", &["billing", "operator"]),
    ("PUT", "/v1/sites/A", &["operator"]),
    ("GET", "/v1/sites/A/statements/2026-10", &["billing", "auditor"]),
    ("GET", "/v1/sites/A/statements/2026-10/versions", &["billing", "auditor"]),
    ("POST", "/v1/sites/A/statements/2026-10/restate", &["operator"]),
    ("GET", "/v1/sites/A/statements/2026-10/page", &["billing", "auditor"]),
    ("GET", "/v1/sites/A/statements/2026-10/export?format=lago", &["billing"]),
    ("POST", "/v1/sites/A/statements/2026-10/challenge", &["billing"]),
    ("POST", "/v1/tokens", &["operator"]),
    ("GET", "/v1/tokens", &["operator"]),
    ("DELETE", "/v1/tokens/aaaaaaaaaaaaaaaa", &["operator"]),
    ("GET", "/v1/ledger", &["auditor"]),
    ("GET", "/v1/ledger/head", &["auditor"]),
    ("GET", "/v1/ledger/0/proof", &["auditor"]),
    ("GET", "/metrics", &["operator"]),
    ("POST", "/v1/sites/NONE/terminate", &["operator"]),
    ("POST", "/v1/sites/A/holds", &["privacy"]),
    ("GET", "/v1/sites/A/holds", &["privacy", "auditor", "custodian"]),
    ("POST", "/v1/sites/A/holds/h1/review", &["privacy"]),
    ("DELETE", "/v1/sites/A/holds/h1", &["custodian"]),
    ("GET", "/v1/retention", &["auditor", "operator"]),
    ("POST", "/v1/retention/run", &["custodian"]),
    ("POST", "/v1/retention/confirm-clock", &["custodian"]),
    ("POST", "/v1/backfills", &["operator"]),
    ("GET", "/v1/backfills", &["producer", "operator", "auditor"]),
    ("GET", "/v1/backfills/b1", &["producer", "operator", "auditor"]),
    ("POST", "/v1/backfills/b1/records", &["producer"]),
    ("POST", "/v1/backfills/b1/close", &["operator"]),
    ("DELETE", "/v1/backfills/b1", &["operator"]),
    ("POST", "/v1/backups", &["operator"]),
    ("GET", "/v1/backups", &["operator"]),
    ("GET", "/v1/backups/b1", &["operator"]),
    ("POST", "/v1/sites/A/retention/2026-10/destroy", &["custodian"]),
    ("POST", "/v1/sites/A/subjects/erase", &["privacy"]),
    ("GET", "/v1/sites/A/subjects/erasures", &["privacy"]),
    ("GET", "/v1/evidence", &["auditor"]),
    ("GET", "/v1/access", &["auditor"]),
    ("GET", "/v1/certificates", &["auditor"]),
    ("GET", "/v1/certificates/c1", &["auditor"]),
    ("POST", "/v1/webhooks", &["operator"]),
    ("GET", "/v1/webhooks", &["operator"]),
    ("DELETE", "/v1/webhooks/w1", &["operator"]),
    ("POST", "/v1/webhooks/w1/rotate", &["operator"]),
    ("POST", "/v1/webhooks/w1/test", &["operator"]),
    ("GET", "/v1/webhooks/w1/deliveries", &["operator"]),
];

/// What is about all sites at once, and refused to a credential of some.
const OF_ALL_SITES: [&str; 6] = [
    "/metrics",
    "/v1/access",
    "/v1/ledger",
    "/v1/backups",
    "/v1/retention/run",
    "/v1/retention/confirm-clock",
];

/// Paths that nobody may take, whatever the role: they do not exist.
const NOWHERE: [&str; 12] = [
    "/",
    "/v1",
    "/v1/",
    "/v1/nothing",
    "/v1/records/1",
    "/v1/sites/A/usage",
    "/v1/sites/",
    "/metrics/",
    "/v1/sites/A/people",
    "/v1//sites",
    "/v1/ledger/0",
    "/v1/ledger/head/",
];

/// Whether a path of the list above is one of this pattern.
fn fits(pattern: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap();
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given || wanted.starts_with('{') => {}
            _ => return false,
        }
    }
}

/// The list above has every route of the server that asks for a credential, and nothing else.
#[test]
fn no_route_is_forgotten() {
    let (open, closed): (Vec<_>, Vec<_>) = blindtally::http::table()
        .iter()
        .partition(|row| row.access == blindtally::http::Access::Open);
    for row in &closed {
        let listed = |(method, path, _): &&(&str, &str, &[&str])| {
            // `/v1/ledger/head` fits one pattern only; a pattern without braces comes first.
            *method == row.method.as_str()
                && fits(row.path, path)
                && (row.path.contains('{') || row.path == path.split('?').next().unwrap())
        };
        assert_eq!(ROUTES.iter().filter(listed).count(), 1, "{} {}", row.method, row.path);
    }
    assert_eq!(closed.len(), ROUTES.len());
    let names: Vec<_> = open.iter().map(|row| row.path).collect();
    assert_eq!(names, ["/livez", "/readyz", "/version"]);
}

fn role_tokens(world: &World) -> Vec<(&'static str, String)> {
    let make = |role: &&'static str| {
        let body = json!({"role": role, "sites": ["*"], "name": format!("all {role}")});
        (*role, token(&world.server, &body))
    };
    ROLES.iter().map(make).collect()
}

#[test]
fn every_route_for_every_role() {
    let world = World::new();
    for (role, token) in role_tokens(&world) {
        for (method, path, allowed) in ROUTES {
            let answer = ask(&world.server, &token, method, path, &[NDJSON], b"");
            if allowed.contains(&role) {
                assert!(
                    !matches!(answer.status, 401 | 403 | 405),
                    "{role} {method} {path}: {answer:?}"
                );
            } else {
                problem(&answer, 403, "wrong-role");
            }
        }
        for path in NOWHERE {
            for method in ["GET", "POST", "PUT", "DELETE"] {
                let answer = ask(&world.server, &token, method, path, &[JSON], b"");
                problem(&answer, 404, "not-found");
            }
        }
        for path in ["/livez", "/readyz", "/version"] {
            assert_eq!(ask(&world.server, &token, "GET", path, &[], b"").status, 200);
        }
    }
    for (method, path, _) in ROUTES {
        let answer = ask(&world.server, "", method, path, &[NDJSON], b"");
        problem(&answer, 401, "no-credential");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"blindtally\""));
    }
}

#[test]
fn methods_that_a_path_does_not_know() {
    let world = World::new();
    for (method, path, allow) in [
        ("GET", "/v1/records", "POST"),
        ("POST", "/v1/sites/A", "PUT, GET, HEAD"),
        ("DELETE", "/v1/sites/A", "PUT, GET, HEAD"),
        ("PUT", "/v1/tokens", "POST, GET, HEAD"),
        ("POST", "/livez", "GET, HEAD"),
    ] {
        let answer = ask(&world.server, &world.producer, method, path, &[], b"");
        problem(&answer, 405, "wrong-method");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
    let head = ask(&world.server, &world.billing, "HEAD", "/v1/sites", &[], b"");
    let full = ask(&world.server, &world.billing, "GET", "/v1/sites", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), full.header("content-length"));
}

#[test]
fn credentials_that_prove_nothing() {
    let world = World::new();
    let good = world.billing.clone();
    let (head, secret) = good.split_at(20);
    let mut other = secret.to_owned();
    let digit = if &other[5..6] == "A" { "B" } else { "A" };
    other.replace_range(5..6, digit);
    let other_secret = world.producer.split_at(20).1;
    let status = |value: &str| {
        let mut client = Client::new(world.server.address(), "");
        client.send("GET", "/v1/sites", &[("authorization", value)], b"").unwrap()
    };
    let mut bodies = Vec::new();
    for bad in [
        format!("Bearer {head}{other}"),
        format!("Bearer {head}{other_secret}"),
        format!("Bearer bt_{}_{secret}", "a".repeat(16)),
        format!("Bearer {}", good.to_uppercase()),
        format!("Bearer {good}x"),
        format!("Bearer {head}"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        good.clone(),
        format!("Basic {good}"),
        format!("Bearer {good} {good}"),
    ] {
        let answer = status(&bad);
        problem(&answer, 401, "bad-credential");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer "), "{answer:?}");
        bodies.push(answer.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "which flaw it was is nobody's business");
    assert_eq!(status(&format!("Bearer {good}")).status, 200);
    assert_eq!(status(&format!("bearer {good}")).status, 200, "RFC 9110 §11.1: any case");
}

#[test]
fn a_revoked_token_ends_at_once() {
    let world = World::new();
    let operator = world.server.operator_token();
    let key_id = world.producer.split('_').nth(1).unwrap();
    let path = format!("/v1/tokens/{key_id}");
    let mut kept = Client::new(world.server.address(), &world.producer);
    assert_eq!(kept.send("POST", "/v1/records", &[NDJSON], b"").unwrap().status, 200);
    assert_eq!(ask(&world.server, &operator, "DELETE", &path, &[], b"").status, 204);
    let answer = kept.send("POST", "/v1/records", &[NDJSON], b"").unwrap();
    problem(&answer, 401, "bad-credential");
    problem(&ask(&world.server, &operator, "DELETE", &path, &[], b""), 404, "not-found");
    let world = world.crash();
    problem(&world.post(&[NDJSON], ""), 401, "bad-credential");
}

#[test]
fn sites_outside_the_credential_are_not_there() {
    let world = World::new();
    put_site(&world.server, "B", "{}");
    let token = |role: &str| {
        token(&world.server, &json!({"role": role, "sites": ["B", "Z"], "name": role}))
    };
    let billing = token("billing");
    let get = |path: &str| ask(&world.server, &billing, "GET", path, &[], b"");
    assert_eq!(get("/v1/sites/B/usage/2026-11").status, 200);
    let foreign = get("/v1/sites/A/usage/2026-11");
    problem(&foreign, 404, "not-found");
    assert_eq!(foreign.body, get("/v1/sites/Z/usage/2026-11").body);
    problem(&get("/v1/sites/A"), 404, "not-found");
    let names = |answer: &Answer, list: &str| -> Vec<String> {
        let read = answer.json();
        let items = read[list].as_array().unwrap_or_else(|| panic!("{answer:?}"));
        items.iter().map(|item| item["site_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&get("/v1/usage?month=2026-11"), "items"), ["B"]);
    assert_eq!(names(&get("/v1/sites"), "items"), ["B"]);
    // An operator of some sites gives no more than it has.
    let operator = token("operator");
    let create = |sites: Value| {
        let body = json!({"role": "billing", "sites": sites, "name": "n"}).to_string();
        ask(&world.server, &operator, "POST", "/v1/tokens", &[JSON], body.as_bytes())
    };
    assert_eq!(create(json!(["B"])).status, 201);
    problem(&create(json!(["A"])), 403, "beyond-caller");
    problem(&create(json!(["*"])), 403, "beyond-caller");
    let put = ask(&world.server, &operator, "PUT", "/v1/sites/A", &[JSON], b"{}");
    problem(&put, 404, "not-found");
    let key_id = world.producer.split('_').nth(1).unwrap();
    let path = format!("/v1/tokens/{key_id}");
    problem(&ask(&world.server, &operator, "DELETE", &path, &[], b""), 404, "not-found");
}

/// Every route that names a site or a group: with a credential of another site it is as if there
/// was none.
#[test]
fn no_route_reaches_into_another_site() {
    let world = World::new();
    put_site(&world.server, "A", r#"{"billing_group":"G"}"#);
    put_site(&world.server, "B", "{}");
    let mut named = 0;
    for role in ROLES {
        let own = token(&world.server, &json!({"role": role, "sites": ["B"], "name": "of B"}));
        for (method, path, allowed) in ROUTES {
            if !allowed.contains(&role) {
                continue;
            }
            let answer = ask(&world.server, &own, method, path, &[JSON], b"{}");
            let names_one = ["/sites/A", "/sites/NONE", "/groups/G", "/pallycon/A"];
            let of_all = |start: &&str| path.starts_with(*start) && *path != "/v1/ledger/head";
            if names_one.iter().any(|part| path.contains(part)) {
                problem(&answer, 404, "not-found");
                named += 1;
            } else if OF_ALL_SITES.iter().any(of_all) {
                problem(&answer, 403, "needs-all-sites");
            } else {
                assert!(!matches!(answer.status, 401 | 403), "{role} {method} {path}: {answer:?}");
                assert!(!answer.text().contains("\"A\""), "{role} {method} {path}: {answer:?}");
            }
        }
    }
    assert!(named > 25, "{named}");
}

#[test]
fn an_operator_of_one_site_changes_no_group_of_others() {
    let world = World::new();
    for site in ["B", "C"] {
        put_site(&world.server, site, r#"{"billing_group":"G"}"#);
    }
    let token = |role: &str, sites: &[&str]| {
        token(&world.server, &json!({"role": role, "sites": sites, "name": role}))
    };
    let billing = token("billing", &["B", "C"]);
    let usage = || ask(&world.server, &billing, "GET", "/v1/groups/G/usage/2026-11", &[], b"");
    assert_eq!(usage().status, 200);
    let put = |token: &str, site: &str, body: &str| {
        let path = format!("/v1/sites/{site}");
        ask(&world.server, token, "PUT", &path, &[JSON], body.as_bytes())
    };
    let (joins, leaves) = (r#"{"billing_group":"G"}"#, r#"{"billing_group":null}"#);
    problem(&put(&token("operator", &["A"]), "A", joins), 403, "beyond-caller");
    problem(&put(&token("operator", &["B"]), "B", leaves), 403, "beyond-caller");
    let after = usage();
    assert_eq!(after.status, 200, "{after:?}");
    assert_eq!(after.json()["members"].as_array().map(Vec::len), Some(2), "{after:?}");
    assert_eq!(put(&token("operator", &["B", "C"]), "C", leaves).status, 200);
    assert_eq!(usage().json()["members"].as_array().map(Vec::len), Some(1));
}
