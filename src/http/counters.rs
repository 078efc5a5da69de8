//! What the server counts. Labels are the names of routes and classes of status, never a path.

use std::time::Duration;

use hyper::StatusCode;

use super::router::{Route, table};
use crate::observe::metrics::Label;
use crate::observe::{Counter, Gauge, Histogram, Registry};

/// The classes of status, in the order of their first digit.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];
/// The name of requests that no route answers.
const NO_ROUTE: &str = "none";

/// The server's counters; cheap to clone.
#[derive(Clone, Debug)]
pub struct Counters {
    requests: Counter,
    answer_seconds: Histogram,
    connections: Gauge,
    accepted: Counter,
    handshake_failures: Counter,
    beyond_peer: Counter,
    unreadable: Counter,
}

impl Counters {
    /// Registers the counters.
    pub fn register(registry: &Registry) -> Self {
        let routes = table().iter().map(|row| row.name).chain([NO_ROUTE]);
        Self {
            requests: registry.counter(
                "blindtally_http_requests",
                "Requests by route and class of status.",
                vec![Label::new("route", routes), Label::new("status", CLASSES)],
            ),
            answer_seconds: registry.histogram(
                "blindtally_http_answer_seconds",
                "From a request's head to its answer.",
            ),
            connections: registry.gauge("blindtally_http_connections", "Open connections."),
            accepted: registry.counter(
                "blindtally_http_connections_accepted",
                "Connections accepted.",
                vec![],
            ),
            handshake_failures: registry.counter(
                "blindtally_http_handshake_failures",
                "TLS handshakes that failed or took too long.",
                vec![],
            ),
            beyond_peer: registry.counter(
                "blindtally_http_connections_beyond_peer",
                "Connections closed because their peer had too many.",
                vec![],
            ),
            unreadable: registry.counter(
                "blindtally_requests_unreadable",
                "Requests to post records whose body never became a batch.",
                vec![],
            ),
        }
    }

    /// Counts an answered request.
    pub fn answered(&self, route: Option<Route>, status: StatusCode, took: Duration) {
        let at = table().iter().position(|row| Some(row.route) == route);
        let class = usize::from(status.as_u16() / 100).saturating_sub(2);
        self.requests.up(&[at.unwrap_or(table().len()), class]);
        self.answer_seconds.observe(took);
    }

    /// Counts a connection as open until the mark is dropped, however its task ends.
    pub fn connection(&self) -> Open {
        self.accepted.up(&[]);
        self.connections.add(1);
        Open(self.connections.clone())
    }

    /// Counts a post of records whose body never became a batch.
    pub fn unreadable(&self) {
        self.unreadable.up(&[]);
    }

    /// Counts a connection that was closed because its peer had too many.
    pub fn beyond_peer(&self) {
        self.beyond_peer.up(&[]);
    }

    /// Counts a handshake that failed.
    pub fn handshake_failed(&self) {
        self.handshake_failures.up(&[]);
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}
