//! What the desk answers.

use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::rows::{EndpointRow, EventRow};
use super::{Standing, hook_id};
use crate::model::ids::{GroupId, SiteId};
use crate::model::time::Timestamp;

/// An endpoint as it is listed: never its secret.
pub fn endpoint(row: &EndpointRow, previous_until: Option<Timestamp>) -> Value {
    let topics: Vec<&str> = row.topics.iter().map(|topic| topic.name()).collect();
    let sites: Vec<&str> = match row.all_sites {
        true => vec!["*"],
        false => row.sites.iter().map(SiteId::as_str).collect(),
    };
    json!({
        "id": hook_id(row.number),
        "url": row.url.0,
        "events": topics,
        "sites": sites,
        "created_at": row.made_at.to_string(),
        "created_by": row.made_by,
        "state": if row.disabled_at.is_some() { "disabled" } else { "active" },
        "disabled_at": row.disabled_at.map(|at| at.to_string()),
        "previous_secret_until": previous_until.map(|at| at.to_string()),
    })
}

#[derive(Serialize)]
struct Made<'a> {
    secret: &'a str,
    #[serde(flatten)]
    endpoint: Value,
}

/// The answer that shows a secret, once; wiped when it is let go.
pub fn with_secret(
    row: &EndpointRow,
    previous_until: Option<Timestamp>,
    secret: &str,
) -> Zeroizing<Vec<u8>> {
    let made = Made { secret, endpoint: endpoint(row, previous_until) };
    // All of its room at once: a text that grows leaves copies behind.
    let room = made.endpoint.to_string().len() + secret.len() + 64;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    match serde_json::to_writer(&mut *text, &made) {
        Ok(()) => text,
        Err(_) => Zeroizing::default(),
    }
}

/// A delivery as it is listed.
pub fn delivery(row: &EventRow, webhook: u64, endpoint_is_active: bool) -> Option<Value> {
    let delivery = row.delivery(webhook)?;
    let waits = delivery.standing == Standing::Waiting;
    let standing = if waits && !endpoint_is_active { Standing::Dropped } else { delivery.standing };
    let next_at = (standing == Standing::Waiting).then(|| delivery.next_at.to_string());
    let last = delivery.last.map(|last| {
        json!({
            "at": last.at.to_string(),
            "status": last.status,
            "error": last.error.map(|error| error.name()),
        })
    });
    Some(json!({
        "id": row.id,
        "event": row.topic.name(),
        "site_id": row.site.as_ref().filter(|site| !site.is_group()).map(SiteId::as_str),
        "billing_group": row.site.as_ref().and_then(SiteId::group).as_ref().map(GroupId::as_str),
        "raised_at": row.raised_at.to_string(),
        "state": standing.name(),
        "attempts": delivery.attempts,
        "next_at": next_at,
        "last": last,
    }))
}

/// `{"items":[…]}`.
pub fn list(items: Vec<Value>) -> Vec<u8> {
    json!({ "items": items }).to_string().into_bytes()
}

/// A test that was queued.
pub fn queued(id: &str) -> Vec<u8> {
    json!({"id": id, "state": Standing::Waiting.name()}).to_string().into_bytes()
}
