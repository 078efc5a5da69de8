//! A certificate of destruction as it is written: one JSON object, one spelling.

use serde::{Deserialize, Serialize};

use super::rows::Committed;
use super::spoken::text;
use super::{BadForm, read, written};
use crate::ledger::{Digest, Epoch, Proof};
use crate::model::ids::SiteId;
use crate::model::time::Timestamp;

/// What the form is called.
pub const FORMAT: &str = "blindtally/certificate/3";
/// What it was called before it said against how many holds it was held, which backups it covers
/// and why they are dead, and what a search in the register found. Such certificates are read for
/// ever, and issued where a destruction was begun by a build that did not note its holds.
pub const FORMAT_2: &str = "blindtally/certificate/2";
/// What it was called before it said where the vault epoch key lived, which backups there were, who
/// approved and how many files were searched. Read for ever.
const FORMAT_1: &str = "blindtally/certificate/1";
/// Longest certificate that is read, bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 64 << 20;

/// A certificate: what it says, and the proof that the ledger has its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// What it says.
    pub body: Body,
    /// The ledger's entry with the SHA-256 of the body, under a signed checkpoint.
    pub issued: Proof,
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// [`FORMAT`], or one of those before.
    pub format: String,
    /// Its id.
    pub id: String,
    /// The name of the ledger, and of its key.
    pub ledger: String,
    /// When it was issued.
    #[serde(with = "text")]
    pub issued_at: Timestamp,
    /// The profile of the policy.
    pub profile: String,
    /// The SHA-256 of the policy.
    pub policy: Digest,
    /// Who began the destruction: `server` or a credential.
    pub initiated_by: String,
    /// The credential of the first person, where a destruction takes two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// When it began.
    #[serde(with = "text")]
    pub begun_at: Timestamp,
    /// When it had ended.
    #[serde(with = "text")]
    pub ended_at: Timestamp,
    /// What came of the look at holds before it; absent in formats 1 and 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_check: Option<HoldCheck>,
    /// What was destroyed.
    pub lots: Vec<CertifiedLot>,
    /// The key above all keys.
    pub vek: Vek,
    /// The backups that there were before, which this makes unreadable; absent in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<Backups>,
    /// How it was done.
    pub method: Method,
    /// How it was checked.
    pub verification: Checked,
    /// What this does not show.
    pub limits: Vec<String>,
    /// The ledger's entry before the destruction.
    pub intent: Proof,
    /// The ledger's entry after it.
    pub result: Proof,
}

/// A lot that was destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedLot {
    /// Its class.
    pub class: String,
    /// The site.
    #[serde(with = "text")]
    pub site: SiteId,
    /// Month or day.
    pub epoch: Epoch,
    /// The rule.
    pub rule: String,
    /// The legal ground of the rule.
    pub ground: String,
    /// When it was due.
    #[serde(with = "text")]
    pub due: Timestamp,
    /// Records; `null` where a start finished the destruction and the count went with the keys, or
    /// where a block could not be read to count them.
    pub records: Option<u64>,
    /// Its keys with their commitments.
    pub keys: Vec<Committed>,
    /// Holds that covered it once and were released. A hold that was opened after its destruction
    /// began says itself for how many lots it came too late.
    pub released_holds: Vec<u64>,
    /// The hold whose copy in hold storage it was; absent for the lot itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<u64>,
    /// Holds that were open, and have a copy of it in hold storage: it is not gone. Absent where
    /// there was none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<u64>,
}

/// The key above all keys, which was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vek {
    /// The epoch that was destroyed.
    pub destroyed_epoch: u64,
    /// The epoch in force.
    pub new_epoch: u64,
    /// The register's generation; `null` where a start finished the destruction.
    pub register_generation: Option<u64>,
    /// Whether a copy of the VEK home from before, with the root key, would open old registers.
    pub home_copy_opens: bool,
    /// What wrapped it, and what its home lies on; absent in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
}

/// The look at holds before a destruction: no hold is opened between it and the intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldCheck {
    /// When.
    #[serde(with = "text")]
    pub checked_at: Timestamp,
    /// Holds that were open then, of the sites of the list and of those by which they are held.
    pub open: u64,
    /// Lots of the list that one of them covered: each of these says so in `held_by`, and is not
    /// gone. 0 where nothing was on hold.
    pub covered: u64,
}

/// Backups that the ledger knows of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backups {
    /// How many were made before the destruction began.
    pub made: u64,
    /// The number of the intent of the last of them.
    pub last: Option<u64>,
    /// Those of them that can hold rows of the list, in their order: not older than the first day
    /// of its lots. Absent in format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered: Option<Vec<CoveredBackup>>,
    /// Why they open nothing of it; absent in format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<String>,
}

/// A backup, as the ledger and its own `manifest.json` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoveredBackup {
    /// The number of its intent in the ledger.
    pub operation: u64,
    /// Up to when it holds what was acknowledged.
    #[serde(with = "text")]
    pub barrier: Timestamp,
    /// The SHA-256 of its manifest.
    pub manifest: Digest,
}

/// The search for the destroyed keys in the bytes of the register's own files, after it was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterSearch {
    /// Copies that were read back whole: both.
    pub copies: u64,
    /// Places for a key in them, the free ones included.
    pub places: u64,
    /// Numbers of keys that were looked for: all of the list.
    pub keys: u64,
    /// Wrapped forms from before that were looked for; fewer than keys where a start finished the
    /// destruction and had none.
    pub wrapped: u64,
    /// Places that name one of the keys or hold one of the forms: 0.
    pub found: u64,
}

/// How it was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// What was done to the keys.
    pub keys: String,
    /// What was done to the sealed bytes.
    pub data: String,
    /// What the medium is known to be.
    pub medium: String,
    /// What older copies and backups open.
    pub copies: String,
}

/// How it was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    /// Nothing opened and nothing was left.
    pub passed: bool,
    /// Keys whose wrapped form from before was tried and did not open; fewer than there were where
    /// a start finished the destruction.
    pub keys_tried: u64,
    /// Files that were removed.
    pub files_removed: u64,
    /// Bytes that were reclaimed.
    pub bytes_reclaimed: u64,
    /// Files that were looked at when it was verified; absent in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_searched: Option<u64>,
    /// What a search in the register found; absent in formats 1 and 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<RegisterSearch>,
}

impl Body {
    /// Whether it has the members of its format.
    pub fn is_whole(&self) -> bool {
        let since_2 = [
            self.backups.is_some(),
            self.vek.home.is_some(),
            self.verification.files_searched.is_some(),
        ];
        let backups = self.backups.as_ref();
        let since_3 = [
            self.hold_check.is_some(),
            backups.is_some_and(|backups| backups.covered.is_some()),
            backups.is_some_and(|backups| backups.dead.is_some()),
            self.verification.register.is_some(),
        ];
        let all = |new: &[bool]| new.iter().all(|there| *there);
        let none = |new: &[bool]| new.iter().all(|there| !there);
        match self.format.as_str() {
            FORMAT => all(&since_2) && all(&since_3),
            FORMAT_2 => all(&since_2) && none(&since_3),
            FORMAT_1 => none(&since_2) && none(&since_3) && self.requested_by.is_none(),
            _ => false,
        }
    }

    /// The same as builds wrote it that knew format 2: what was not noted cannot be said.
    #[must_use]
    pub fn in_format_2(mut self) -> Self {
        self.format = FORMAT_2.to_owned();
        (self.hold_check, self.verification.register) = (None, None);
        if let Some(backups) = &mut self.backups {
            (backups.covered, backups.dead) = (None, None);
        }
        self
    }

    /// The same as builds wrote it that knew format 1 only.
    #[cfg(test)]
    pub fn in_format_1(self) -> Self {
        let mut old = self.in_format_2();
        old.format = FORMAT_1.to_owned();
        (old.backups, old.requested_by, old.vek.home) = (None, None, None);
        old.verification.files_searched = None;
        old
    }

    /// The bytes that its digest is made of.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadForm> {
        written(self)
    }

    /// Reads what [`Body::to_bytes`] wrote.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadForm> {
        read(bytes)
    }
}

impl Certificate {
    /// Its bytes.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadForm> {
        written(self)
    }

    /// Reads what [`Certificate::to_bytes`] wrote; a newline at the end may be there.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadForm> {
        if bytes.len() > CERTIFICATE_BYTES_MAX {
            return Err(BadForm);
        }
        read(bytes.strip_suffix(b"\n").unwrap_or(bytes))
    }
}
