//! The answer to a batch: what became of each record (API.md "Ingest").

use std::fmt::Write;

use super::fault::{Fault, Pointer};
use super::problem::PROBLEMS;
use crate::model::limits;
use crate::model::reason::Reason;

/// A record that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its position in the body, from 0; blank lines do not count.
    pub index: usize,
    /// Its event id, where it was readable and is safe to print.
    pub event_id: Option<Box<str>>,
    /// Why.
    pub reason: Reason,
    /// Where: schema names and array indexes only.
    pub pointer: Pointer,
}

impl Rejection {
    /// The refusal of a record by the schema or by the desk.
    pub fn new(index: usize, fault: &Fault<'_>) -> Self {
        let text = fault.event_id.and_then(|id| std::str::from_utf8(id).ok());
        Self {
            index,
            event_id: text.map(Into::into),
            reason: fault.reason,
            pointer: fault.pointer,
        }
    }

    /// The refusal of a record that is too old, found when it was judged.
    pub fn late(index: usize) -> Self {
        let pointer = Pointer::of("occurred_at");
        Self { index, event_id: None, reason: Reason::TooOld, pointer }
    }
}

/// The answer to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its number.
    pub receipt: String,
    /// Records in the body.
    pub received: usize,
    /// Records that count, corrections and those not retained included.
    pub accepted: usize,
    /// Records that were seen before.
    pub duplicates: usize,
    /// Records that were refused.
    pub rejected: usize,
    /// Records that count for a closed month.
    pub corrected: usize,
    /// Records that count but are not kept.
    pub not_retained: usize,
    /// The refused records, or the first of them.
    pub rejections: Vec<Rejection>,
}

impl Receipt {
    /// The answer's JSON. One in which nothing was accepted is a problem (RFC 9457) with the same
    /// members. Everything in it is a number or comes from a closed list, except the receipt's
    /// number and event ids, whose alphabet needs no escaping.
    pub fn to_json(&self) -> Vec<u8> {
        let listed = self.rejections.len().min(limits::ERRORS_LISTED_MAX);
        let mut out = String::with_capacity(160 + listed * 120);
        out.push('{');
        if self.accepted + self.duplicates == 0 && self.received > 0 {
            let _ = write!(
                out,
                r#""type":"{PROBLEMS}nothing-accepted","title":"No record was accepted","status":422,"#
            );
        }
        let _ = write!(
            out,
            r#""receipt":"{}","received":{},"accepted":{},"duplicates":{},"rejected":{}"#,
            self.receipt, self.received, self.accepted, self.duplicates, self.rejected
        );
        for (name, count) in [("corrected", self.corrected), ("not_retained", self.not_retained)] {
            if count > 0 {
                let _ = write!(out, r#","{name}":{count}"#);
            }
        }
        out.push_str(r#","errors":["#);
        for (place, rejection) in self.rejections.iter().take(listed).enumerate() {
            if place > 0 {
                out.push(',');
            }
            let _ = write!(out, r#"{{"index":{}"#, rejection.index);
            if let Some(event_id) = &rejection.event_id {
                let _ = write!(out, r#","event_id":"{event_id}""#);
            }
            let (reason, pointer) = (rejection.reason, rejection.pointer);
            let retryable = reason.retryable();
            let _ = write!(
                out,
                r#","code":"{reason}","pointer":"{pointer}","retryable":{retryable}}}"#
            );
        }
        out.push(']');
        if self.rejected > listed {
            out.push_str(r#","errors_truncated":true"#);
        }
        out.push('}');
        out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(rejected: usize, accepted: usize) -> Receipt {
        let fault = Fault {
            reason: Reason::BadTime,
            pointer: Pointer::of("occurred_at"),
            event_id: Some(b"e-1"),
        };
        Receipt {
            receipt: "r-1-0".into(),
            received: rejected + accepted,
            accepted,
            duplicates: 0,
            rejected,
            corrected: 0,
            not_retained: 0,
            rejections: (0..rejected).map(|index| Rejection::new(index, &fault)).collect(),
        }
    }

    #[test]
    fn members_are_those_of_the_contract() {
        let json: serde_json::Value = serde_json::from_slice(&receipt(1, 2).to_json()).unwrap();
        let wanted = serde_json::json!({
            "receipt": "r-1-0", "received": 3, "accepted": 2, "duplicates": 0, "rejected": 1,
            "errors": [{"index": 0, "event_id": "e-1", "code": "bad_time",
                "pointer": "/occurred_at", "retryable": false}],
        });
        assert_eq!(json, wanted);
    }

    #[test]
    fn nothing_accepted_is_a_problem_and_lists_are_capped() {
        let json: serde_json::Value =
            serde_json::from_slice(&receipt(1_001, 0).to_json()).unwrap();
        assert_eq!(json["status"], 422);
        assert_eq!(json["errors"].as_array().unwrap().len(), 1_000);
        assert_eq!(json["errors_truncated"], true);
    }
}
