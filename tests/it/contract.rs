//! The contract with callers (API.md), asked of the real server over HTTP.

mod access;
mod backfill;
mod bill;
mod bodies;
mod challenge;
mod clocked;
mod errors;
mod explained;
mod export;
mod figures;
mod group_statements;
mod killed;
mod limits;
mod once;
mod operator;
mod oracle;
mod outside;
mod pseudonyms;
mod reconciliation;
mod statements;
mod swept;
mod token;

pub use challenge::with_a_closed_month;

use crate::support::{Answer, Place, Server, ask, billing_token, put_site, send_json, start};
use serde_json::{Value, json};

/// A server with one site, `A`, and a token of each role that tests use most.
struct World {
    place: Place,
    server: Server,
    producer: String,
    billing: String,
}

impl World {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        Self::at(Place::new(), settings)
    }

    fn at(place: Place, settings: &[(&str, &str)]) -> Self {
        let server = start(&place, settings);
        put_site(&server, "A", "{}");
        let producer = token(&server, &json!({"role": "producer", "sites": ["*"], "name": "p"}));
        let billing = billing_token(&server);
        Self { place, server, producer, billing }
    }

    /// Kills the server and starts it again.
    fn crash(self) -> Self {
        self.server.kill();
        let server = start(&self.place, &[]);
        Self { server, ..self }
    }

    /// Ends the server in an orderly way and starts it again.
    fn restart(self) -> Self {
        let ended = self.server.terminate();
        assert!(ended.status.success(), "{ended:?}");
        let server = start(&self.place, &[]);
        Self { server, ..self }
    }

    #[track_caller]
    fn post(&self, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        ask(&self.server, &self.producer, "POST", "/v1/records", headers, body.as_ref())
    }

    /// Posts records as NDJSON.
    #[track_caller]
    fn lines(&self, records: &[Value]) -> Answer {
        let text: String = records.iter().map(|record| format!("{record}\n")).collect();
        self.post(&[NDJSON], text)
    }

    /// Posts one record, which must be refused; answers its entry in `errors`.
    #[track_caller]
    fn refused(&self, record: &Value) -> Value {
        let answer = self.lines(std::slice::from_ref(record));
        problem(&answer, 422, "nothing-accepted");
        only_error(&answer)
    }

    #[track_caller]
    fn usage(&self, site: &str, month: &str) -> Value {
        crate::support::usage(&self.server, &self.billing, site, month)
    }
}

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Makes a token from the body of a request for it.
#[track_caller]
fn token(server: &Server, body: &Value) -> String {
    let operator = server.operator_token();
    let answer = send_json(server, &operator, "POST", "/v1/tokens", &body.to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["token"].as_str().unwrap().to_owned()
}

/// The one entry of `errors`.
#[track_caller]
fn only_error(answer: &Answer) -> Value {
    let read = answer.json();
    let errors = read["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{read}");
    errors[0].clone()
}

/// An error to the outside: RFC 9457, with a type whose last part is `name`.
#[track_caller]
fn problem(answer: &Answer, status: u16, name: &str) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let read = answer.json();
    assert_eq!(read["status"], json!(status), "{read}");
    assert!(read["title"].as_str().is_some_and(|title| !title.is_empty()), "{read}");
    let kind = read["type"].as_str().unwrap();
    assert!(
        kind.starts_with("http") || kind.starts_with("urn:") || kind.starts_with('/'),
        "{read}"
    );
    assert_eq!(kind.rsplit(['/', ':', '#']).next(), Some(name), "{read}");
    read
}

/// Received, accepted, duplicates and rejected of a receipt.
#[track_caller]
fn counts(answer: &Answer) -> [u64; 4] {
    ["received", "accepted", "duplicates", "rejected"].map(|member| {
        answer.json()[member].as_u64().unwrap_or_else(|| panic!("no {member}: {answer:?}"))
    })
}

/// A good record of site `A`.
fn license(event_id: &str, user_id: &str) -> Value {
    json!({
        "event_id": event_id,
        "type": "drm.license.issued",
        "site_id": "A",
        "occurred_at": ago(0),
        "outcome": "success",
        "user_id": user_id,
    })
}

/// The record with another member.
fn with(record: &Value, member: &str, value: impl Into<Value>) -> Value {
    let mut changed = record.clone();
    changed[member] = value.into();
    changed
}

/// The record without a member.
fn without(record: &Value, member: &str) -> Value {
    let mut changed = record.clone();
    changed.as_object_mut().unwrap().remove(member);
    changed
}

/// The time so many seconds ago (or ahead, below zero).
fn ago(seconds: i64) -> String {
    (jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds)).to_string()
}

/// The month of a time text, as `YYYY-MM`.
fn month_of(time: &str) -> &str {
    &time[..7]
}
