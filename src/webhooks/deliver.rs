//! Sends what is due and keeps what came of it.

use std::time::Duration;

use tokio::task::JoinSet;

use super::client::Parcel;
use super::figures::Ended;
use super::queue::{Due, endpoint_row, event_row};
use super::sign::seconds;
use super::{Inner, Webhooks};
use crate::model::time::Timestamp;
use crate::wire::webhooks::rows::{DeliveryRow, LastRow};
use crate::wire::webhooks::{Standing, Trouble};

/// The pause before each attempt, from the end of the one before, milliseconds: at once, 5 s,
/// 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h (Standard Webhooks).
const DELAYS_MS: [i64; 10] = [
    0, 5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000,
    86_400_000,
];
/// The status by which an endpoint says that it is gone for good.
const GONE: u16 = 410;
/// The shortest pause between two turns, so that a full queue does not keep a core busy.
const BREATH: Duration = Duration::from_secs(1);

/// The pause before an attempt after so many others, milliseconds; `None` when there is none left.
pub fn delay_ms(attempts: u32) -> Option<i64> {
    DELAYS_MS.get(usize::try_from(attempts).ok()?).copied()
}

impl Webhooks {
    /// Looks for news and sends, as long as it is polled: what the app spawns.
    pub async fn watch(self) {
        let mut running = JoinSet::new();
        let mut look_at = tokio::time::Instant::now();
        loop {
            let now = tokio::time::Instant::now();
            if look_at <= now {
                let more = self.0.scan().await.unwrap_or_else(|error| {
                    tracing::error!(%error, "webhooks: a look for news did not end");
                    false
                });
                look_at = now + if more { BREATH } else { self.0.settings.every };
            }
            self.start_due(&mut running);
            let next_ms = self.0.state().next_ms(self.0.clock.now());
            let next = next_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
            let pause = look_at.saturating_duration_since(tokio::time::Instant::now());
            let pause = next.map_or(pause, |next| pause.min(next.max(BREATH)));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.0.bell.notified() => {}
                Some(_) = running.join_next() => {}
            }
        }
    }

    /// Starts everything that is due and has room in the lane of its endpoint.
    pub(super) fn start_due(&self, running: &mut JoinSet<()>) {
        let due = self.0.state().take_due(self.0.clock.now());
        for one in due {
            let desk = self.clone();
            running.spawn(async move { desk.0.attempt(one).await });
        }
    }
}

impl Inner {
    async fn attempt(&self, due: Due) {
        let now = self.clock.now();
        let signature = due.keys.sign(&due.id, now, &due.body);
        let parcel = Parcel { id: due.id, timestamp: seconds(now), signature, body: due.body };
        let outcome = match &due.target {
            Some(target) => self.client.send(target, parcel).await,
            // A setting no longer allows the address that it allowed once.
            None => Err(Trouble::InternalAddress),
        };
        self.keep(&due.event, due.webhook, outcome).await;
    }

    /// Keeps what came of an attempt. Where it cannot be written it holds in memory alone, and a
    /// restart may send the message once more, with the same id.
    async fn keep(&self, event: &str, webhook: u64, outcome: Result<u16, Trouble>) {
        let _changing = self.changing.lock().await;
        let now = self.clock.now();
        let written = {
            let mut state = self.state();
            state.landed(webhook);
            let Some(row) = state.events.get_mut(event) else { return };
            let own = row.deliveries.iter_mut().find(|delivery| delivery.webhook == webhook);
            let Some(delivery) = own else { return };
            let ended = record(delivery, now, outcome);
            self.figures.ended(ended);
            if ended == Ended::Failed {
                tracing::warn!(webhook, id = row.id, "webhooks: a message was given up");
            }
            let bytes = row.to_bytes();
            state.queue_for(event, webhook);
            bytes
        };
        self.write(event_row(event), written).await;
        if outcome == Ok(GONE) {
            self.disable(webhook, now).await;
        }
    }

    /// Tells an endpoint nothing more.
    async fn disable(&self, webhook: u64, now: Timestamp) {
        let written = {
            let mut state = self.state();
            let Some(endpoint) = state.endpoints.get_mut(&webhook) else { return };
            endpoint.row.disabled_at.get_or_insert(now);
            endpoint.row.to_bytes()
        };
        tracing::warn!(webhook, "webhooks: an endpoint said that it is gone, and is disabled");
        self.write(endpoint_row(webhook), written).await;
    }

    async fn write<E: std::fmt::Display>(&self, name: String, bytes: Result<Vec<u8>, E>) {
        let written = match bytes {
            Ok(bytes) => self.source.put_row(name, bytes.into()).await.map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = written {
            tracing::error!(%error, "webhooks: what came of an attempt cannot be written");
        }
    }
}

/// What an attempt makes of a delivery.
fn record(delivery: &mut DeliveryRow, now: Timestamp, outcome: Result<u16, Trouble>) -> Ended {
    delivery.attempts = delivery.attempts.saturating_add(1);
    let (status, error) = (outcome.ok(), outcome.err());
    delivery.last = Some(LastRow { at: now, status, error });
    if status.is_some_and(|status| (200..300).contains(&status)) {
        delivery.standing = Standing::Delivered;
        return Ended::Delivered;
    }
    match delay_ms(delivery.attempts).filter(|_| status != Some(GONE)) {
        Some(delay) => {
            delivery.next_at = Timestamp(now.0.saturating_add(delay));
            Ended::Again
        }
        None => {
            delivery.standing = Standing::Failed;
            Ended::Failed
        }
    }
}
