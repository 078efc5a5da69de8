//! What the retention desk reads, keeps and answers: bodies of requests, a policy file, rows of its
//! own, certificates, the list of lots. What is kept has one spelling: what is read, written again,
//! is the same bytes.

pub mod access;
pub mod certificate;
pub mod evidence;
pub mod processing;
mod request;
pub mod rows;
pub(super) mod spoken;
pub mod view;

pub use request::{
    ConfirmRequest, HOLD_MONTHS_MAX, HoldRequest, REMOVAL_REASONS, RemovalRequest, ReviewRequest,
    TerminateRequest,
};

use serde::{Deserialize, Serialize};

use crate::model::time::Day;
use spoken::text;

/// Longest policy file, bytes.
pub const POLICY_BYTES_MAX: usize = 64 << 10;

/// A text is not of the form that it should have; what is wrong with it is not said, because it may
/// hold anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is not of this form")]
pub struct BadForm;

/// A retention policy as an operator writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDoc {
    /// The profile that it changes.
    pub profile: String,
    /// When it was published.
    #[serde(with = "text")]
    pub published: Day,
    /// From when on it holds.
    #[serde(with = "text")]
    pub effective: Day,
    /// Whether it changes rights in a material way.
    pub material: bool,
    /// What is other than in the profile.
    pub periods: PeriodsDoc,
}

/// The periods that a policy may set; an absent one is the profile's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeriodsDoc {
    /// Records, months after the end of their month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub c2_months: Option<u32>,
    /// Pseudonym sets, days after the month is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub c3_objection_days: Option<u32>,
    /// Watermark detections, months after the end of their month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub c7_months: Option<u32>,
}

impl PolicyDoc {
    /// Reads a policy file.
    ///
    /// # Errors
    /// When it is too long, no JSON, or has an unknown or unfit member.
    pub fn parse(text: &[u8]) -> Result<Self, BadForm> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(BadForm);
        }
        serde_json::from_slice(text).map_err(|_| BadForm)
    }

    /// The one spelling that its digest is made of, and in which it is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Reads what [`written`] wrote, and nothing else.
pub(super) fn read<T: Serialize + for<'de> Deserialize<'de>>(text: &[u8]) -> Result<T, BadForm> {
    let value: T = serde_json::from_slice(text).map_err(|_| BadForm)?;
    if serde_json::to_vec(&value).is_ok_and(|again| again == text) {
        Ok(value)
    } else {
        Err(BadForm)
    }
}

pub(super) fn written<T: Serialize>(value: &T) -> Result<Vec<u8>, BadForm> {
    serde_json::to_vec(value).map_err(|_| BadForm)
}

#[cfg(test)]
mod tests;
