//! The desk for batches of records (a stub with its door; the desk itself is being built).

use crate::model::caller::Caller;
use crate::wire::Media;

/// The desk; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingest;

/// A batch that was received.
pub struct Post<'a> {
    /// Who sent it.
    pub caller: &'a Caller,
    /// Its format.
    pub media: Media,
    /// The inflated body, which the desk wipes.
    pub body: Vec<u8>,
    /// The key for a safe retry of the whole batch.
    pub idempotency_key: Option<&'a str>,
    /// The `ce-` headers of a CloudEvent in binary mode, names in lower case.
    pub ce_headers: &'a [(String, String)],
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// Every record was judged.
    Receipt {
        /// 200, or 422 when nothing was accepted.
        status: u16,
        /// The answer's JSON.
        body: Vec<u8>,
        /// Whether this is the first answer again.
        replayed: bool,
    },
    /// The body cannot be read as a whole.
    Unreadable,
    /// More records than the limit.
    TooManyRecords,
    /// The queue is full.
    Busy,
    /// The disk is full.
    DiskFull,
    /// The engine has stopped.
    Stopped,
    /// The key was used with another body.
    IdempotencyMismatch,
    /// The first request with this key still runs.
    IdempotencyRunning,
}

impl Ingest {
    /// Takes a batch.
    pub async fn post(&self, _post: Post<'_>) -> Posted {
        Posted::Stopped
    }

    /// Counts a request whose body never became a batch.
    pub fn unreadable(&self, _caller: &Caller) {}
}
