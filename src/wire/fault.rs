//! Why a record was refused, and where: a reason code and a pointer made of schema names and array
//! indexes only, so that no value and no name of the input can come back in an answer.

use std::fmt;

use crate::model::reason::Reason;

/// The deepest pointer that a schema can make is `/data/device/ids/0/value`.
const PARTS_MAX: usize = 5;

/// A step of a [`Pointer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A member that the schema knows.
    Name(&'static str),
    /// An element of an array.
    Index(u16),
}

/// A JSON pointer (RFC 6901) into a record.
#[derive(Clone, Copy)]
pub struct Pointer {
    parts: [Part; PARTS_MAX],
    length: u8,
}

impl PartialEq for Pointer {
    /// By the steps that are there; what an earlier, longer pointer left behind them is nothing.
    fn eq(&self, other: &Self) -> bool {
        let steps = |pointer: &Self| usize::from(pointer.length);
        self.parts.iter().take(steps(self)).eq(other.parts.iter().take(steps(other)))
    }
}

impl Eq for Pointer {}

impl Pointer {
    /// The record itself.
    pub const ROOT: Self = Self { parts: [Part::Index(0); PARTS_MAX], length: 0 };

    /// A member of the record itself.
    pub fn of(name: &'static str) -> Self {
        Self::ROOT.with(Part::Name(name))
    }

    /// The pointer one step further. Steps beyond what a schema can nest are left out.
    pub fn with(mut self, part: Part) -> Self {
        self.push(part);
        self
    }

    /// Goes one step down.
    #[inline]
    pub(super) fn push(&mut self, part: Part) {
        if let Some(slot) = self.parts.get_mut(usize::from(self.length)) {
            *slot = part;
            self.length += 1;
        }
    }

    /// Goes one step up.
    #[inline]
    pub(super) fn pop(&mut self) {
        self.length = self.length.saturating_sub(1);
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Schema names hold neither `~` nor `/`, so nothing needs escaping.
        self.parts.iter().take(usize::from(self.length)).try_for_each(|part| match part {
            Part::Name(name) => write!(f, "/{name}"),
            Part::Index(index) => write!(f, "/{index}"),
        })
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The refusal of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault<'a> {
    /// Why.
    pub reason: Reason,
    /// Where.
    pub pointer: Pointer,
    /// The event id, where it was readable and is safe to print.
    pub event_id: Option<&'a [u8]>,
}

impl<'a> Fault<'a> {
    /// A fault that was found after the record's body was gone. It points to the record itself.
    pub fn late(reason: Reason, event_id: &'a [u8]) -> Self {
        Self { reason, pointer: Pointer::ROOT, event_id: printable(event_id) }
    }
}

/// Gives an event id back if it matches `[A-Za-z0-9._:-]{1,64}`.
pub fn printable(event_id: &[u8]) -> Option<&[u8]> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
    ((1..=64).contains(&event_id.len()) && event_id.iter().all(plain)).then_some(event_id)
}

/// A flaw in the body of a cold request (sites, tokens).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Why.
    pub reason: Reason,
    /// Where.
    pub pointer: Pointer,
}
