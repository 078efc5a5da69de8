//! What operators say of backfills, and what they are answered.

use serde_json::{Value, json};

use super::admin::Form;
use super::fault::{Flaw, Pointer};
use crate::model::backfill::{Job, Outcomes, REASON_BYTES_MAX, Stage, Why};
use crate::model::ids::SiteId;
use crate::model::limits::{PRODUCER_BYTES_MAX, SITE_ID_BYTES_MAX};
use crate::model::reason::Reason;
use crate::model::time::{Day, Month, Timestamp};

/// Longest time as text, bytes.
const TIME_BYTES_MAX: usize = 40;

/// The body of `POST /v1/backfills`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillRequest {
    /// The site; nobody has looked whether there is one.
    pub site: SiteId,
    /// Whose credentials may load it, where not everybody's of the site.
    pub producer: Option<String>,
    /// The first instant of its records.
    pub from: Timestamp,
    /// The instant behind its records.
    pub to: Timestamp,
    /// Why; printable ASCII, because it goes into the ledger.
    pub reason: String,
}

impl BackfillRequest {
    /// Reads the body.
    ///
    /// # Errors
    /// The first member that does not fit.
    pub fn parse(body: &mut [u8]) -> Result<Self, Flaw> {
        let (mut site, mut producer, mut from, mut to, mut reason) = (None, None, None, None, None);
        Form::read(body, |form, name| match name {
            b"site_id" => form.member("site_id", |form| {
                let text = form.text(1, SITE_ID_BYTES_MAX)?;
                let id = SiteId::parse(text.as_bytes());
                site = Some(id.ok_or_else(|| form.flaw(Reason::BadValue))?);
                Ok(())
            }),
            b"producer" => form.member("producer", |form| {
                producer = form.optional(|form| form.text(1, PRODUCER_BYTES_MAX))?;
                Ok(())
            }),
            b"from" => form.member("from", |form| {
                from = Some(instant(form)?);
                Ok(())
            }),
            b"to" => form.member("to", |form| {
                to = Some(instant(form)?);
                Ok(())
            }),
            b"reason" => form.member("reason", |form| {
                let text = form.text(1, REASON_BYTES_MAX)?;
                let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                let text = Some(text).filter(|_| is_plain);
                reason = Some(text.ok_or_else(|| form.flaw(Reason::BadValue))?);
                Ok(())
            }),
            _ => Err(form.unknown()),
        })?;
        let missing = |name| Flaw { reason: Reason::MissingField, pointer: Pointer::of(name) };
        let request = Self {
            site: site.ok_or_else(|| missing("site_id"))?,
            producer,
            from: from.ok_or_else(|| missing("from"))?,
            to: to.ok_or_else(|| missing("to"))?,
            reason: reason.ok_or_else(|| missing("reason"))?,
        };
        if request.from < request.to {
            return Ok(request);
        }
        Err(Flaw { reason: Reason::BadTime, pointer: Pointer::of("to") })
    }
}

fn instant(form: &mut Form<'_>) -> Result<Timestamp, Flaw> {
    let text = form.text(0, TIME_BYTES_MAX)?;
    Timestamp::parse(text.as_bytes()).ok_or_else(|| form.flaw(Reason::BadTime))
}

/// The id of a backfill in paths and answers.
pub fn backfill_id(number: u64) -> String {
    format!("b{number}")
}

/// The number of a backfill's id.
pub fn backfill_number(id: &str) -> Option<u64> {
    let number = id.strip_prefix('b')?.parse().ok()?;
    (backfill_id(number) == id).then_some(number)
}

/// A backfill as it is shown. `exact_from` is the first day whose duplicates are known as of now
/// whether their records are kept or not; of one that is closed, its own is shown.
pub fn view(job: &Job, site: &SiteId, exact_from: Day) -> Value {
    let state = match job.why {
        Some(Why::Expired) => "expired",
        _ => job.stage.name(),
    };
    let text = |at: Timestamp| at.to_string();
    let is_closed = job.stage == Stage::Closed;
    json!({
        "id": backfill_id(job.number),
        "site_id": site.as_str(),
        "producer": job.producer,
        "from": text(job.from),
        "to": text(job.to),
        "reason": job.reason,
        "state": state,
        "abandoned_because": job.why.map(Why::name),
        "created_at": text(job.made_at),
        "created_by": job.made_by,
        "open_until": text(job.open_until),
        "ended_at": job.ended_at.map(text),
        "key_destroyed": job.key.is_none(),
        "duplicates_exact_from": text(job.exact_from.unwrap_or(exact_from).start()),
        "close_attempts": job.attempts,
        "loads": job.loads,
        "bytes": job.bytes,
        "staged": job.records(),
        "rejected": job.rejected,
        "outcome": is_closed.then(|| outcomes(&job.total())),
        "months": months(job, is_closed),
    })
}

fn months(job: &Job, is_closed: bool) -> Vec<Value> {
    let month = |(month, staged): (&Month, &u64)| {
        let outcome = job.outcomes.get(month).copied().unwrap_or_default();
        json!({
            "month": month.to_string(),
            "staged": staged,
            "outcome": is_closed.then(|| outcomes(&outcome)),
        })
    };
    job.staged.iter().map(month).collect()
}

fn outcomes(of: &Outcomes) -> Value {
    let Outcomes { accepted, duplicates, corrected, not_retained, too_old } = of;
    json!({
        "accepted": accepted,
        "duplicates": duplicates,
        "corrected": corrected,
        "not_retained": not_retained,
        "too_old": too_old,
    })
}

/// `{"items":[…]}`.
pub fn list(items: Vec<Value>) -> Vec<u8> {
    json!({ "items": items }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BackfillRequest, Flaw> {
        BackfillRequest::parse(&mut text.as_bytes().to_vec())
    }

    #[test]
    fn a_request_says_where_when_and_why() {
        let text = r#"{"site_id":"A","from":"2026-09-01T00:00:00Z","to":"2026-10-01T00:00:00Z",
            "reason":"the link was down"}"#;
        let request = parse(text).unwrap();
        assert_eq!((request.site.as_str(), request.producer.as_deref()), ("A", None));
        assert_eq!(request.to.to_string(), "2026-10-01T00:00:00Z");
        let named = text.replace("\"from\"", "\"producer\":\"offline\",\"from\"");
        assert_eq!(parse(&named).unwrap().producer.as_deref(), Some("offline"));
        for (change, reason, at) in [
            ((",\"to\":\"2026-10-01T00:00:00Z\"", ""), Reason::MissingField, "/to"),
            (("2026-10", "2026-08"), Reason::BadTime, "/to"),
            (("2026-10-01T00:00:00Z", "2026-09-01T00:00:00Z"), Reason::BadTime, "/to"),
            (("\"A\"", "\"A B\""), Reason::BadValue, "/site_id"),
            (("the link", "the\\nlink"), Reason::BadValue, "/reason"),
            (("reason", "why"), Reason::UnknownField, ""),
        ] {
            let flaw = parse(&text.replace(change.0, change.1)).unwrap_err();
            assert_eq!((flaw.reason, flaw.pointer.to_string().as_str()), (reason, at));
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        assert_eq!(backfill_number(&backfill_id(17)), Some(17));
        for other in ["17", "b", "b017", "b+1", "c1", "b1 "] {
            assert_eq!(backfill_number(other), None, "{other}");
        }
    }
}
