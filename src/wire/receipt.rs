//! The answer to a batch (API.md "Ingest"): how many records came, and what became of them.

use serde::Serialize;
use serde_json::Value;

use super::fault::Fault;
use super::problem::Problem;
use crate::model::limits;
use crate::model::reason::Reason;

/// One refused record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Refusal {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    code: &'static str,
    pointer: String,
    retryable: bool,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The receipt's own id.
    pub receipt: String,
    /// When it was judged: the records arrived in the hour of this (reconciliation).
    pub received_at: String,
    /// Records in the body.
    pub received: u64,
    /// Records that were taken.
    pub accepted: u64,
    /// Records that had been taken before.
    pub duplicates: u64,
    /// Records that were refused.
    pub rejected: u64,
    /// Taken records of a closed month.
    #[serde(skip_serializing_if = "is_zero")]
    pub corrected: u64,
    /// Taken records whose retention has passed.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_retained: u64,
    errors: Vec<Refusal>,
    #[serde(skip_serializing_if = "is_false")]
    errors_truncated: bool,
}

/// What became of a request that loads a backfill.
#[derive(Serialize)]
struct Loaded<'a> {
    backfill: &'a str,
    receipt: &'a str,
    received_at: &'a str,
    received: u64,
    /// Records that wait to be counted.
    staged: u64,
    rejected: u64,
    errors: &'a [Refusal],
    #[serde(skip_serializing_if = "is_false")]
    errors_truncated: bool,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_false(truth: &bool) -> bool {
    !*truth
}

impl Receipt {
    /// A receipt that counts nothing yet.
    pub fn new(receipt: String) -> Self {
        Self { receipt, ..Self::default() }
    }

    /// Counts a refused record, and lists it while there is room.
    pub fn reject(&mut self, index: usize, fault: &Fault<'_>) {
        self.rejected += 1;
        if self.errors.len() >= limits::ERRORS_LISTED_MAX {
            self.errors_truncated = true;
            return;
        }
        self.errors.push(Refusal {
            index,
            event_id: fault.event_id.and_then(|id| String::from_utf8(id.to_vec()).ok()),
            code: fault.reason.name(),
            pointer: fault.pointer.to_string(),
            retryable: fault.reason.retryable(),
        });
    }

    /// Counts a refused record whose fault was found after its body was gone.
    pub fn reject_late(&mut self, index: usize, reason: Reason, pointer: &str, event_id: &str) {
        let listed = self.errors.len();
        self.reject(index, &Fault::late(reason, event_id.as_bytes()));
        if let Some(refusal) = self.errors.get_mut(listed) {
            pointer.clone_into(&mut refusal.pointer);
        }
    }

    /// Puts the listed errors in the order of their records.
    pub fn sort(&mut self) {
        self.errors.sort_by_key(|refusal| refusal.index);
    }

    /// Whether the batch as a whole is answered with 200: something was taken or had been before,
    /// or there was nothing to take.
    pub const fn is_success(&self) -> bool {
        self.accepted + self.duplicates > 0 || self.received == 0
    }

    /// The answer to records that were put aside for a backfill: `accepted` of them wait to be
    /// counted.
    pub fn to_loaded_json(&self, backfill: &str) -> String {
        let loaded = Loaded {
            backfill,
            receipt: &self.receipt,
            received_at: &self.received_at,
            received: self.received,
            staged: self.accepted,
            rejected: self.rejected,
            errors: &self.errors,
            errors_truncated: self.errors_truncated,
        };
        serde_json::to_string(&loaded).unwrap_or_default()
    }

    /// The answer.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The answer when nothing was taken: a problem with the same members.
    pub fn to_problem(&self) -> Problem {
        let problem = Problem::new("nothing-accepted", "No record was accepted", 422);
        let Ok(Value::Object(members)) = serde_json::to_value(self) else { return problem };
        members.into_iter().fold(problem, |problem, (name, value)| problem.member(&name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::fault::Pointer;
    use serde_json::json;

    #[test]
    fn the_answer_of_the_contract() {
        let mut receipt = Receipt::new("r1".to_owned());
        (receipt.received, receipt.accepted, receipt.duplicates) = (3, 1, 1);
        let pointer = Pointer::of("occurred_at");
        let fault = Fault { reason: Reason::BadTime, pointer, event_id: Some(b"e-17") };
        receipt.reject(2, &fault);
        receipt.received_at = "2026-11-26T02:00:00Z".to_owned();
        let read: Value = serde_json::from_str(&receipt.to_json()).unwrap();
        let want = json!({
            "receipt": "r1", "received_at": "2026-11-26T02:00:00Z",
            "received": 3, "accepted": 1, "duplicates": 1, "rejected": 1,
            "errors": [{"index": 2, "event_id": "e-17", "code": "bad_time",
                        "pointer": "/occurred_at", "retryable": false}],
        });
        assert_eq!(read, want);
        receipt.corrected = 1;
        receipt.not_retained = 2;
        let read: Value = serde_json::from_str(&receipt.to_json()).unwrap();
        assert_eq!((&read["corrected"], &read["not_retained"]), (&json!(1), &json!(2)));
    }

    #[test]
    fn errors_are_capped_and_counted_on() {
        let mut receipt = Receipt::new(String::new());
        let fault = Fault { reason: Reason::InFuture, pointer: Pointer::ROOT, event_id: None };
        for index in 0..1_001 {
            receipt.reject(index, &fault);
        }
        receipt.received = 1_001;
        assert!(!receipt.is_success());
        let read: Value = serde_json::from_slice(&receipt.to_problem().to_json()).unwrap();
        assert_eq!(read["errors"].as_array().unwrap().len(), 1_000);
        assert_eq!(read["errors_truncated"], json!(true));
        assert_eq!(read["rejected"], json!(1_001));
        assert_eq!(read["status"], json!(422));
        assert_eq!(
            read["errors"][0],
            json!({
                "index": 0, "code": "in_future", "pointer": "", "retryable": true,
            })
        );
    }
}
