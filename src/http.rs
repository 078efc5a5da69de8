//! Sockets, TLS, routes, limits, problems: everything between a network and the desks.
//!
//! The way of a request: `server` accepts under a cap, `connection` shakes hands and keeps the
//! deadlines, `service` finds the [`Route`], proves the caller, checks the role and calls one desk,
//! `body` and `inflate` keep the caps, `problem` is the one table of errors to the outside.
//!
//! Invariants: every route has its roles in the one table of `router`, and what is not there is
//! refused (T1); no answer and no log line holds a value of the input (P1); a batch that a desk was
//! given is answered for by a task of its own, so that a client's hang-up leaves no commit without
//! an owner (D1).

mod activity;
mod answer;
mod backfills;
mod backups;
mod body;
mod connection;
mod counters;
mod desks;
mod explained;
mod groups;
mod inflate;
mod key;
mod ledger;
mod lists;
mod noted;
mod peers;
mod problem;
mod query;
mod reconciliation;
mod records;
mod retention;
mod router;
mod server;
mod service;
mod statements;
mod subjects;
mod tls;
mod webhooks;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use records::{Answering, Counting, Delivery, Intake};
pub use router::{Access, Route, Row, table};
pub use server::{Server, StartError};
pub use tls::{TlsError, TlsFiles};

use crate::admin::{Sites, Tokens};
use crate::audit::Audit;
use crate::backfill::Backfills;
use crate::backup::Backups;
use crate::billing::Billing;
use crate::reconciliation::Reconciliation;
use crate::retention::Desk;
use crate::subjects::Subjects;
use crate::usage::Usage;
use crate::webhooks::Webhooks;

/// What the server is told. All sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Addresses to listen on; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// The certificate; without it plain HTTP is served, on loopback only.
    pub tls: Option<TlsFiles>,
    /// Most connections at once.
    pub connections_max: usize,
    /// Most connections at once of one peer address.
    pub peer_connections_max: usize,
    /// Largest request body as it was sent.
    pub encoded_body_bytes_max: usize,
    /// Largest request body after inflation.
    pub body_bytes_max: usize,
    /// Largest list of a customer's users, as sent and after inflation; twice of it is the memory
    /// of all lists together, beside that of other bodies.
    pub list_bytes_max: usize,
    /// Most bytes of request bodies held at once, without lists.
    pub held_body_bytes_max: usize,
    /// How long things may take.
    pub deadlines: Deadlines,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// A TLS handshake.
    pub handshake: Duration,
    /// The first byte of a connection; and a request head of HTTP/1, from its first byte.
    pub header: Duration,
    /// A request body, from its head.
    pub body: Duration,
    /// The desk's answer, from the whole body.
    pub answer: Duration,
    /// The silence between two requests of a connection.
    pub idle: Duration,
    /// The end of running requests when the server stops.
    pub drain: Duration,
    /// The pause between two looks at the certificate's files.
    pub reload: Duration,
}

/// Whether records can be taken; the text says why not and is shown to callers.
pub type Readiness = Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync>;

/// The desks that requests are handed to.
#[derive(Clone)]
pub struct Desks {
    /// Takes batches of records.
    pub intake: Arc<dyn Intake>,
    /// Knows the credentials.
    pub tokens: Tokens,
    /// Knows the sites.
    pub sites: Sites,
    /// Answers billing questions.
    pub usage: Usage,
    /// Knows what arrived from whom.
    pub reconciliation: Reconciliation,
    /// Issues statements.
    pub billing: Billing,
    /// Writes and reads the ledger.
    pub audit: Audit,
    /// Knows what must go and what must stay.
    pub retention: Desk,
    /// Knows what is kept of one person.
    pub subjects: Subjects,
    /// Counts late logs all at once.
    pub backfills: Backfills,
    /// Makes backups.
    pub backups: Backups,
    /// Tells others what happens.
    pub webhooks: Webhooks,
    /// Says whether records can be taken.
    pub ready: Readiness,
}
