//! The bodies of requests about holds and terminations.

use crate::model::reason::Reason;
use crate::model::time::{Month, Timestamp};
use crate::model::vocab::Class;
use crate::wire::admin::Form;
use crate::wire::fault::{Flaw, Pointer};

/// Most months of one hold: five years.
pub const HOLD_MONTHS_MAX: usize = 60;
/// Longest free text of an operator, bytes; printable ASCII. It stays in a row of the desk.
const REASON_BYTES_MAX: usize = 200;
/// Longest word of a closed list, bytes.
const WORD_BYTES_MAX: usize = 48;
/// Longest time as text, bytes.
const TIME_BYTES_MAX: usize = 40;

/// Why data may be held.
const GROUNDS: [&str; 5] =
    ["billing_dispute", "unpaid", "overpaid", "legal_claim", "authority_request"];

/// The body of `POST /v1/sites/{site_id}/holds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRequest {
    /// The months that are held, in order, each once.
    pub months: Vec<Month>,
    /// Why; one of a closed list.
    pub ground: &'static str,
    /// When somebody must look at it again.
    pub review_at: Timestamp,
    /// What is held; empty for everything.
    pub classes: Vec<Class>,
    /// What the caller says about it.
    pub reason: Option<String>,
}

impl HoldRequest {
    /// Every ground.
    pub const GROUNDS: [&'static str; 5] = GROUNDS;

    /// Reads the body.
    ///
    /// # Errors
    /// The first member that does not fit.
    pub fn parse(body: &mut [u8]) -> Result<Self, Flaw> {
        let (mut months, mut ground, mut review_at) = (None, None, None);
        let (mut classes, mut reason) = (None, None);
        Form::read(body, |form, name| match name {
            b"months" => form.member("months", |form| {
                months = Some(form.list(month)?);
                Ok(())
            }),
            b"ground" => form.member("ground", |form| {
                let text = form.text(0, WORD_BYTES_MAX)?;
                let known = GROUNDS.iter().find(|known| **known == text).copied();
                ground = Some(known.ok_or_else(|| form.flaw(Reason::BadValue))?);
                Ok(())
            }),
            b"review_at" => form.member("review_at", |form| {
                review_at = Some(instant(form)?);
                Ok(())
            }),
            b"classes" => form.member("classes", |form| {
                classes = form.optional(|form| form.list(class))?;
                Ok(())
            }),
            b"reason" => form.member("reason", |form| {
                reason = form.optional(plain)?;
                Ok(())
            }),
            _ => Err(form.unknown()),
        })?;
        let missing = |name| Flaw { reason: Reason::MissingField, pointer: Pointer::of(name) };
        let mut months: Vec<Month> = months.ok_or_else(|| missing("months"))?;
        let mut classes: Vec<Class> = classes.unwrap_or_default();
        months.sort_unstable();
        months.dedup();
        classes.sort_unstable();
        classes.dedup();
        if months.is_empty() || months.len() > HOLD_MONTHS_MAX {
            return Err(Flaw { reason: Reason::BadValue, pointer: Pointer::of("months") });
        }
        Ok(Self {
            months,
            ground: ground.ok_or_else(|| missing("ground"))?,
            review_at: review_at.ok_or_else(|| missing("review_at"))?,
            classes,
            reason,
        })
    }
}

/// The body of `POST /v1/sites/{site_id}/holds/{hold}/review`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewRequest {
    /// When somebody must look at it again.
    pub review_at: Timestamp,
    /// Why it stays.
    pub reason: String,
}

impl ReviewRequest {
    /// Reads the body.
    ///
    /// # Errors
    /// The first member that does not fit.
    pub fn parse(body: &mut [u8]) -> Result<Self, Flaw> {
        let (mut review_at, mut reason) = (None, None);
        Form::read(body, |form, name| match name {
            b"review_at" => form.member("review_at", |form| {
                review_at = Some(instant(form)?);
                Ok(())
            }),
            b"reason" => form.member("reason", |form| {
                reason = Some(plain(form)?);
                Ok(())
            }),
            _ => Err(form.unknown()),
        })?;
        let missing = |name| Flaw { reason: Reason::MissingField, pointer: Pointer::of(name) };
        let review_at = review_at.ok_or_else(|| missing("review_at"))?;
        Ok(Self { review_at, reason: reason.ok_or_else(|| missing("reason"))? })
    }
}

fn month(form: &mut Form<'_>) -> Result<Month, Flaw> {
    let text = form.text(0, WORD_BYTES_MAX)?;
    Month::parse(text.as_bytes()).ok_or_else(|| form.flaw(Reason::BadValue))
}

fn instant(form: &mut Form<'_>) -> Result<Timestamp, Flaw> {
    let text = form.text(0, TIME_BYTES_MAX)?;
    Timestamp::parse(text.as_bytes()).ok_or_else(|| form.flaw(Reason::BadTime))
}

fn class(form: &mut Form<'_>) -> Result<Class, Flaw> {
    let text = form.text(0, WORD_BYTES_MAX)?;
    Class::from_name(text.as_bytes()).ok_or_else(|| form.flaw(Reason::BadValue))
}

fn plain(form: &mut Form<'_>) -> Result<String, Flaw> {
    let text = form.text(1, REASON_BYTES_MAX)?;
    let fits = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if fits { Ok(text) } else { Err(form.flaw(Reason::BadValue)) }
}

/// The body of `POST /v1/retention/confirm-clock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmRequest {
    /// The time that it is, by another clock than the server's.
    pub time: Timestamp,
}

impl ConfirmRequest {
    /// Reads the body.
    ///
    /// # Errors
    /// The first member that does not fit.
    pub fn parse(body: &mut [u8]) -> Result<Self, Flaw> {
        let mut time = None;
        Form::read(body, |form, name| match name {
            b"time" => form.member("time", |form| {
                time = Some(instant(form)?);
                Ok(())
            }),
            _ => Err(form.unknown()),
        })?;
        let missing = Flaw { reason: Reason::MissingField, pointer: Pointer::of("time") };
        Ok(Self { time: time.ok_or(missing)? })
    }
}

/// The body of `POST /v1/sites/{site_id}/terminate`, which may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TerminateRequest {
    /// What the caller says about it.
    pub reason: Option<String>,
}

impl TerminateRequest {
    /// Reads the body.
    ///
    /// # Errors
    /// The first member that does not fit.
    pub fn parse(body: &mut [u8]) -> Result<Self, Flaw> {
        let mut request = Self::default();
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(request);
        }
        Form::read(body, |form, name| match name {
            b"reason" => form.member("reason", |form| {
                request.reason = form.optional(plain)?;
                Ok(())
            }),
            _ => Err(form.unknown()),
        })?;
        Ok(request)
    }
}

/// Why a month may be removed before it is due.
pub const REMOVAL_REASONS: [&str; 3] =
    ["controller_request", "collected_in_error", "authority_order"];

/// The body of `POST /v1/sites/{site_id}/retention/{month}/destroy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovalRequest {
    /// Why; one of [`REMOVAL_REASONS`].
    pub reason: &'static str,
    /// The caller knows that records of the month which come later are refused, and not counted.
    pub late_refused: bool,
}

impl RemovalRequest {
    /// Reads the body.
    ///
    /// # Errors
    /// The first member that does not fit.
    pub fn parse(body: &mut [u8]) -> Result<Self, Flaw> {
        let (mut reason, mut late_refused) = (None, false);
        Form::read(body, |form, name| match name {
            b"reason" => form.member("reason", |form| {
                let text = form.text(0, WORD_BYTES_MAX)?;
                let known = REMOVAL_REASONS.iter().find(|known| **known == text).copied();
                reason = Some(known.ok_or_else(|| form.flaw(Reason::BadValue))?);
                Ok(())
            }),
            b"late_records" => form.member("late_records", |form| {
                let text = form.text(0, WORD_BYTES_MAX)?;
                late_refused = text == "refuse";
                if late_refused { Ok(()) } else { Err(form.flaw(Reason::BadValue)) }
            }),
            _ => Err(form.unknown()),
        })?;
        let missing = Flaw { reason: Reason::MissingField, pointer: Pointer::of("reason") };
        Ok(Self { reason: reason.ok_or(missing)?, late_refused })
    }
}
