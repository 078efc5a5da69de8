//! Endpoints in data that was put back from a backup. One that was removed since is removed again:
//! somebody wanted it to be told nothing more. One whose secret was replaced since has the old
//! secret in the data, which may have been replaced because others know it, and which the endpoint
//! does not accept any more: it is disabled, and is made anew. A number is never given twice.

use std::collections::{BTreeMap, BTreeSet};

use super::StartError;
use super::queue::{ENDPOINTS, LAST, endpoint_row, number, secret_row};
use super::source::Source;
use crate::ledger::{Event, Recorded};
use crate::model::time::Timestamp;
use crate::wire::webhooks::rows::EndpointRow;

/// An entry is written before its row; this long before the barrier its row may have come after,
/// milliseconds.
const ROW_MS: i64 = 60_000;

/// The backup that the data was put back from.
#[derive(Clone, Copy, Debug)]
pub struct Since {
    /// The number of its intent in the ledger.
    pub operation: u64,
    /// What came after is not in the data.
    pub barrier: Timestamp,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Endpoints that were removed.
    pub removed: Vec<u64>,
    /// Endpoints that were disabled, because their secret is an old one.
    pub disabled: Vec<u64>,
}

/// Brings the endpoints to where the ledger has them. It can be done twice.
///
/// # Errors
/// When a row cannot be read or written.
pub async fn replay(
    source: &dyn Source,
    entries: &[Recorded],
    since: Since,
    now: Timestamp,
) -> Result<Replayed, StartError> {
    let mut endpoints = BTreeMap::new();
    for (_, bytes) in source.load_rows(ENDPOINTS)? {
        let row = EndpointRow::parse(&bytes)?;
        endpoints.insert(row.number, row);
    }
    let known = source.load_rows(LAST)?.into_iter().next();
    let known = known.map(|(_, bytes)| number(&bytes)).transpose()?.unwrap_or(0);
    let (mut last, mut removed, mut replaced) = (known, BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        let later = entry.number > since.operation
            || entry.time.0.saturating_add(ROW_MS) >= since.barrier.0;
        match entry.event {
            Event::WebhookMade { webhook, .. } => last = last.max(webhook),
            Event::WebhookRemoved { webhook } => {
                removed.insert(webhook);
            }
            Event::WebhookSecretReplaced { webhook } if later => {
                replaced.insert(webhook);
            }
            _ => {}
        }
    }
    if last > known {
        source.put_row(LAST.to_owned(), last.to_string().into_bytes().into()).await?;
    }
    let mut done = Replayed::default();
    for (number, row) in endpoints {
        if removed.contains(&number) {
            // In the order of a removal: a secret without its endpoint is nothing.
            source.delete_row(endpoint_row(number)).await?;
            source.delete_row(secret_row(number)).await?;
            done.removed.push(number);
        } else if replaced.contains(&number) && row.disabled_at.is_none() {
            let row = EndpointRow { disabled_at: Some(now), ..row };
            source.put_row(endpoint_row(number), row.to_bytes()?.into()).await?;
            done.disabled.push(number);
        }
    }
    Ok(done)
}
