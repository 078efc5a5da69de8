//! An entry, and the line that it is written as: one JSON object, its members in a fixed order, no
//! white space. A line is read strictly: what is read, written again, must be the same bytes, so an
//! entry has one spelling only.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kinds::Event;
use super::words::{Actor, Phase, text};
use crate::model::time::Timestamp;

/// Longest line, bytes: a destruction of one bucket each of twenty thousand sites fits.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// What somebody asks the ledger to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(super) time: Timestamp,
    pub(super) actor: Actor,
    pub(super) operation: Option<u64>,
    pub(super) event: Event,
}

impl Entry {
    /// A whole operation, or the intent of one, whose id will be the number of this entry.
    pub fn new(time: Timestamp, actor: Actor, event: Event) -> Self {
        Self { time, actor, operation: None, event }
    }

    /// The result of the operation whose intent has this number.
    pub fn result(time: Timestamp, actor: Actor, operation: u64, event: Event) -> Self {
        Self { time, actor, operation: Some(operation), event }
    }
}

/// An entry in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its number, counted from 0 without a gap.
    pub number: u64,
    /// When it was written.
    pub time: Timestamp,
    /// The number of the first entry of its operation: its own, unless it is a result.
    pub operation: u64,
    /// Who did it.
    pub actor: Actor,
    /// What happened.
    pub event: Event,
}

/// A line is not an entry in the form that the ledger writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the line is not an entry of the ledger, or not in the ledger's own spelling")]
pub struct BadLine;

/// The members in their order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<K, A, F> {
    number: u64,
    #[serde(with = "text")]
    time: Timestamp,
    operation: u64,
    phase: Phase,
    kind: K,
    actor: A,
    fields: F,
}

impl Recorded {
    /// The line, without its newline.
    ///
    /// # Errors
    /// When it would not be read back as the same entry: a word or time of another form, too long.
    pub fn encode(&self) -> Result<Vec<u8>, BadLine> {
        let line = self.write().ok_or(BadLine)?;
        let back = Self::read(&line).ok_or(BadLine)?;
        if back == *self { Ok(line) } else { Err(BadLine) }
    }

    /// Reads a line, without its newline.
    ///
    /// # Errors
    /// When it is not exactly what [`Recorded::encode`] writes for some entry.
    pub fn decode(line: &[u8]) -> Result<Self, BadLine> {
        let entry = Self::read(line).ok_or(BadLine)?;
        if entry.write().as_deref() == Some(line) { Ok(entry) } else { Err(BadLine) }
    }

    fn write(&self) -> Option<Vec<u8>> {
        let line = Line {
            number: self.number,
            time: self.time,
            operation: self.operation,
            phase: self.event.phase(),
            kind: self.event.kind(),
            actor: &self.actor,
            fields: &self.event,
        };
        serde_json::to_vec(&line).ok()
    }

    fn read(line: &[u8]) -> Option<Self> {
        if line.len() > LINE_BYTES_MAX {
            return None;
        }
        let line: Line<String, Actor, Value> = serde_json::from_slice(line).ok()?;
        let event = Event::read(&line.kind, line.phase, line.fields)?;
        let first = line.operation == line.number;
        let placed = match line.phase {
            Phase::Result => line.operation < line.number,
            Phase::Intent | Phase::Done => first,
        };
        let Line { number, time, operation, actor, .. } = line;
        placed.then_some(Self { number, time, operation, actor, event })
    }
}

/// What a start reads of each line: the members before the actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) number: u64,
    pub(super) operation: u64,
    pub(super) phase: Phase,
    pub(super) kind: &'a str,
}

impl<'a> Head<'a> {
    /// Reads the head of a line without reading the rest; the line is known to be what was signed.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let mut rest = line;
        let number = until(&mut rest, b"{\"number\":", b",")?;
        until(&mut rest, b"\"time\":\"", b"\",")?;
        let operation = until(&mut rest, b"\"operation\":", b",")?;
        let phase = until(&mut rest, b"\"phase\":\"", b"\",")?;
        let kind = until(&mut rest, b"\"kind\":\"", b"\",")?;
        Some(Self {
            number: number.parse().ok()?,
            operation: operation.parse().ok()?,
            phase: Phase::from_name(phase.as_bytes())?,
            kind,
        })
    }
}

/// What stands between a beginning and the next end; goes on behind the end.
fn until<'a>(rest: &mut &'a [u8], begin: &[u8], end: &[u8]) -> Option<&'a str> {
    /// Longest of these members, bytes.
    const MEMBER_BYTES_MAX: usize = 64;
    let body = rest.strip_prefix(begin)?;
    let near = &body[..body.len().min(MEMBER_BYTES_MAX + end.len())];
    let at = near.windows(end.len()).position(|window| window == end)?;
    *rest = &body[at + end.len()..];
    std::str::from_utf8(&body[..at]).ok()
}
