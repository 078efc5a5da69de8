//! What the desk holds in memory: endpoints, events, and for each endpoint the deliveries that
//! wait, in the order of their time. It mirrors the desk's rows and is made of them anew by a
//! start.
//!
//! Bounds: as many endpoints as [`ENDPOINTS_MAX`], as many events as [`EVENTS_MAX`], as many
//! attempts at once as [`LANE`] for each endpoint. Beyond the second nothing new is queued and
//! nothing is lost, because the next look finds it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::StartError;
use super::client::Target;
use super::deliver::delay_ms;
use super::sign::Keys;
use super::source::Source;
use crate::model::time::Timestamp;
use crate::wire::retention::BadForm;
use crate::wire::webhooks::Standing;
use crate::wire::webhooks::rows::{EndpointRow, EventRow};

/// Most endpoints.
pub const ENDPOINTS_MAX: usize = 100;
/// Most events that are kept.
pub const EVENTS_MAX: usize = 100_000;
/// Most attempts at once for one endpoint.
const LANE: usize = 2;

/// Before the names of all rows of this desk.
const ROWS: &str = "hook/";
/// Before the names of endpoints' rows.
pub const ENDPOINTS: &str = "hook/endpoint/";
/// Before the names of secrets' rows.
const SECRETS: &str = "hook/secret/";
/// Before the names of events' rows.
const EVENTS: &str = "hook/event/";
/// The row of the number that was given last.
pub const LAST: &str = "hook/last";
/// The row of the number of the last certificate that was looked at.
pub const CURSOR: &str = "hook/cursor";

/// The name of an endpoint's row.
pub fn endpoint_row(number: u64) -> String {
    format!("{ENDPOINTS}{number:020}")
}

/// The name of the row of an endpoint's secrets.
pub fn secret_row(number: u64) -> String {
    format!("{SECRETS}{number:020}")
}

/// The name of an event's row.
pub fn event_row(event: &str) -> String {
    format!("{EVENTS}{event}")
}

/// An endpoint.
pub struct Endpoint {
    /// Its row.
    pub row: EndpointRow,
    /// Its secrets.
    pub keys: Arc<Keys>,
    /// Where it is; `None` where a setting no longer allows it.
    pub target: Option<Arc<Target>>,
    waiting: BTreeSet<(Timestamp, String)>,
    flying: usize,
}

impl Endpoint {
    /// An endpoint for which nothing waits.
    pub fn new(row: EndpointRow, keys: Keys, allow_internal: bool) -> Self {
        let target = Target::parse(&row.url.0, allow_internal).map(Arc::new);
        let keys = Arc::new(keys);
        Self { row, keys, target, waiting: BTreeSet::new(), flying: 0 }
    }

    /// Whether it is told anything.
    pub fn is_active(&self) -> bool {
        self.row.disabled_at.is_none()
    }
}

/// A delivery that is due.
pub struct Due {
    /// The event.
    pub event: String,
    /// The endpoint.
    pub webhook: u64,
    /// Where it is.
    pub target: Option<Arc<Target>>,
    /// Its secrets.
    pub keys: Arc<Keys>,
    /// The id of the message.
    pub id: String,
    /// The message.
    pub body: String,
}

/// What the desk holds in memory.
#[derive(Default)]
pub struct State {
    /// The number that was given last.
    pub last: u64,
    /// The number of the last certificate that was looked at.
    pub cursor: u64,
    /// By their numbers.
    pub endpoints: BTreeMap<u64, Endpoint>,
    /// By their names.
    pub events: BTreeMap<String, EventRow>,
}

impl State {
    /// Loads the desk's rows.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn load(source: &dyn Source, allow_internal: bool) -> Result<Self, StartError> {
        let mut state = Self::default();
        let (mut rows, mut secrets) = (Vec::new(), BTreeMap::new());
        for (name, mut bytes) in source.load_rows(ROWS)? {
            if name.starts_with(ENDPOINTS) {
                rows.push(EndpointRow::parse(&bytes)?);
            } else if let Some(number) = name.strip_prefix(SECRETS) {
                let number: u64 = number.parse().map_err(|_| BadForm)?;
                secrets.insert(number, Keys::parse(&mut bytes).ok_or(BadForm)?);
            } else if let Some(event) = name.strip_prefix(EVENTS) {
                state.events.insert(event.to_owned(), EventRow::parse(&bytes)?);
            } else if name == LAST {
                state.last = number(&bytes)?;
            } else if name == CURSOR {
                state.cursor = number(&bytes)?;
            } else {
                return Err(BadForm.into());
            }
        }
        for row in rows {
            // A secret without its endpoint was cut from it before it was shown to anybody.
            let keys = secrets.remove(&row.number).ok_or(BadForm)?;
            state.last = state.last.max(row.number);
            state.endpoints.insert(row.number, Endpoint::new(row, keys, allow_internal));
        }
        let names: Vec<String> = state.events.keys().cloned().collect();
        names.iter().for_each(|name| state.queue(name));
        Ok(state)
    }

    /// Lets the waiting delivery of an event to one endpoint wait.
    pub fn queue_for(&mut self, event: &str, webhook: u64) {
        let row = self.events.get(event);
        let delivery = row.and_then(|row| row.delivery(webhook));
        let waits = delivery.filter(|one| one.standing == Standing::Waiting);
        if let (Some(one), Some(endpoint)) = (waits, self.endpoints.get_mut(&webhook)) {
            endpoint.waiting.insert((one.next_at, event.to_owned()));
        }
    }

    /// Lets the waiting deliveries of an event wait, each once: for a start.
    pub fn queue(&mut self, event: &str) {
        let Some(row) = self.events.get(event) else { return };
        let waiting = row.deliveries.iter().filter(|one| one.standing == Standing::Waiting);
        for delivery in waiting {
            if let Some(endpoint) = self.endpoints.get_mut(&delivery.webhook) {
                endpoint.waiting.insert((delivery.next_at, event.to_owned()));
            }
        }
    }

    /// Whether a delivery of an event may still be tried.
    pub fn is_waiting(&self, row: &EventRow) -> bool {
        let active =
            |webhook| self.endpoints.get(webhook).is_some_and(|endpoint| endpoint.is_active());
        let mut waiting = row.deliveries.iter().filter(|one| one.standing == Standing::Waiting);
        waiting.any(|one| active(&one.webhook))
    }

    /// Takes what is due, as much as the lanes hold; each gives its place back with
    /// [`State::landed`].
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Due> {
        let mut due = Vec::new();
        let Self { endpoints, events, .. } = self;
        for (webhook, endpoint) in endpoints.iter_mut().filter(|(_, known)| known.is_active()) {
            while endpoint.flying < LANE {
                let Some((at, event)) = endpoint.waiting.first() else { break };
                let row = events.get(event);
                let delivery = row.and_then(|row| row.delivery(*webhook));
                let (Some(row), Some(delivery)) = (row, delivery) else {
                    endpoint.waiting.pop_first();
                    continue;
                };
                if wait_ms(*at, delivery.attempts, now) > 0 {
                    break;
                }
                due.push(Due {
                    event: event.clone(),
                    webhook: *webhook,
                    target: endpoint.target.clone(),
                    keys: Arc::clone(&endpoint.keys),
                    id: row.id.clone(),
                    body: row.body.clone(),
                });
                endpoint.waiting.pop_first();
                endpoint.flying += 1;
            }
        }
        due
    }

    /// Gives a place in a lane back.
    pub fn landed(&mut self, webhook: u64) {
        if let Some(endpoint) = self.endpoints.get_mut(&webhook) {
            endpoint.flying = endpoint.flying.saturating_sub(1);
        }
    }

    /// How long until something is due for which there is room, milliseconds.
    pub fn next_ms(&self, now: Timestamp) -> Option<i64> {
        let free = self.endpoints.values().filter(|one| one.is_active() && one.flying < LANE);
        let first = free.filter_map(|endpoint| endpoint.waiting.first());
        first.map(|(at, _)| at.0.saturating_sub(now.0).max(0)).min()
    }

    /// How many deliveries wait.
    pub fn waiting(&self) -> i64 {
        let active = self.endpoints.values().filter(|one| one.is_active());
        let count: usize = active.map(|one| one.waiting.len() + one.flying).sum();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// How many endpoints are disabled.
    pub fn disabled(&self) -> i64 {
        let disabled = self.endpoints.values().filter(|one| !one.is_active()).count();
        i64::try_from(disabled).unwrap_or(i64::MAX)
    }
}

/// How long a delivery still waits, milliseconds. It never waits longer than its step: a longer
/// wait means that the clock was set back.
fn wait_ms(at: Timestamp, attempts: u32, now: Timestamp) -> i64 {
    let wait = at.0.saturating_sub(now.0);
    if wait > delay_ms(attempts).unwrap_or(0) { 0 } else { wait }
}

/// A number as a row has it.
///
/// # Errors
/// When it is none.
pub fn number(bytes: &[u8]) -> Result<u64, BadForm> {
    let text = std::str::from_utf8(bytes).map_err(|_| BadForm)?;
    text.parse().map_err(|_| BadForm)
}
