//! What the tests of the real binary share: a place for its data, the process, an HTTP client, a
//! generator of random numbers.

mod http;
mod process;
mod random;
pub mod softhsm;

pub use http::{Answer, Client, exchange};
pub use process::{
    Ended, PATIENCE, Place, Server, evidence, kill_early, kill_self, load, run_to_end, start,
    start_alive, verify,
};
pub use random::{Random, seed};

use serde_json::Value;

/// One request on a connection of its own.
#[track_caller]
pub fn ask(
    server: &Server,
    token: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut client = Client::new(server.address(), token);
    let answer = client.send(method, path, headers, body);
    answer.unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", server.logs()))
}

/// `GET path`.
#[track_caller]
pub fn get(server: &Server, token: &str, path: &str) -> Answer {
    ask(server, token, "GET", path, &[], b"")
}

/// `PUT` or `POST` of JSON.
#[track_caller]
pub fn send_json(server: &Server, token: &str, method: &str, path: &str, body: &str) -> Answer {
    ask(server, token, method, path, &[("content-type", "application/json")], body.as_bytes())
}

/// `POST /v1/records` of NDJSON.
#[track_caller]
pub fn post_records(server: &Server, token: &str, lines: &str) -> Answer {
    let headers = [("content-type", "application/x-ndjson")];
    ask(server, token, "POST", "/v1/records", &headers, lines.as_bytes())
}

/// Makes or changes a site with the operator token; `settings` is a JSON object.
#[track_caller]
pub fn put_site(server: &Server, site: &str, settings: &str) {
    let path = format!("/v1/sites/{site}");
    let answer = send_json(server, &server.operator_token(), "PUT", &path, settings);
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

/// Makes a token of a role for these sites (`["*"]`: all) with the operator token.
#[track_caller]
pub fn make_token(server: &Server, role: &str, sites: &[&str]) -> String {
    let body = serde_json::json!({"role": role, "sites": sites, "name": format!("test {role}")});
    let body = body.to_string();
    let answer = send_json(server, &server.operator_token(), "POST", "/v1/tokens", &body);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["token"].as_str().expect("a token").to_owned()
}

/// A producer token for all sites.
#[track_caller]
pub fn producer_token(server: &Server) -> String {
    make_token(server, "producer", &["*"])
}

/// A billing token for all sites.
#[track_caller]
pub fn billing_token(server: &Server) -> String {
    make_token(server, "billing", &["*"])
}

/// The usage of a site's month.
#[track_caller]
pub fn usage(server: &Server, token: &str, site: &str, month: &str) -> Value {
    let answer = get(server, token, &format!("/v1/sites/{site}/usage/{month}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}
