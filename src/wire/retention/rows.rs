//! The rows that the desk keeps (sealed by the engine): holds, the clock, a destruction under way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::certificate::RegisterSearch;
use super::spoken::{classes, lot, maybe, text, texts};
use super::{BadForm, read, written};
use crate::ledger::{Digest, Keys};
use crate::model::ids::SiteId;
use crate::model::retention::Lot;
use crate::model::time::{DAY_MS, Month, Timestamp};
use crate::model::vocab::Class;

/// Gives a row its bytes.
macro_rules! row {
    ($($name:ident),*) => {$(
        impl $name {
            /// Its bytes.
            ///
            /// # Errors
            /// When there is no memory for them.
            pub fn to_bytes(&self) -> Result<Vec<u8>, BadForm> {
                written(self)
            }

            /// Reads what [`Self::to_bytes`] wrote.
            ///
            /// # Errors
            /// When it has another form.
            pub fn parse(bytes: &[u8]) -> Result<Self, BadForm> {
                read(bytes)
            }
        }
    )*};
}
row!(HoldRow, ClockRow, NoticeRow, TurnRow, RemovalRow, RunRow, FailedRow, ToldRow);

/// Who asked for something, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The public part of the credential.
    pub by: String,
    /// When, by the believed time.
    #[serde(with = "text")]
    pub at: Timestamp,
    /// What the clock said then, by which tokens have their times, where it is another time; kept
    /// where a second person is waited for.
    #[serde(default, with = "maybe", skip_serializing_if = "Option::is_none")]
    pub clock: Option<Timestamp>,
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRow {
    /// Its number, from 1, given once.
    pub number: u64,
    /// The site.
    #[serde(with = "text")]
    pub site: SiteId,
    /// The months.
    #[serde(with = "texts")]
    pub months: Vec<Month>,
    /// What is held; empty for everything.
    #[serde(with = "classes")]
    pub classes: Vec<Class>,
    /// Why.
    pub ground: String,
    /// When somebody must look again.
    #[serde(with = "text")]
    pub review_at: Timestamp,
    /// What the caller said.
    pub reason: Option<String>,
    /// Who opened it.
    pub opened: Asked,
    /// Whether the ledger has it.
    pub in_ledger: bool,
    /// The first person who wants it to end.
    pub requested: Option<Asked>,
    /// The second.
    pub released: Option<Asked>,
    /// Whether the alarm of its missed review was given.
    pub alarmed: bool,
    /// When it was given last.
    #[serde(with = "maybe", default, skip_serializing_if = "Option::is_none")]
    pub alarmed_at: Option<Timestamp>,
    /// Its last review, which gave it the date that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<Reviewed>,
}

/// How long the first person's request to release a hold waits for the second, milliseconds: 7
/// days, as that of a removal does. What somebody wanted long ago is half of no decision of today.
pub const RELEASE_WAITS_MS: i64 = 7 * DAY_MS;

impl HoldRow {
    /// Until when the first person's request to release it waits for the second.
    pub fn requested_until(&self) -> Option<Timestamp> {
        let first = self.requested.as_ref()?;
        Some(Timestamp(first.at.0.saturating_add(RELEASE_WAITS_MS)))
    }

    /// Whether the first person's request waits still.
    pub fn waits_for_release(&self, now: Timestamp) -> bool {
        self.released.is_none() && self.requested_until().is_some_and(|until| now <= until)
    }
}

/// Somebody looked at a hold, and it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reviewed {
    /// The number of its entry in the ledger.
    pub entry: u64,
    /// Who, and when.
    pub by: Asked,
    /// Why it stays; `null` where the row was made again from the ledger, which does not have it.
    pub reason: Option<String>,
}

/// A removal that waits for a second person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovalRow {
    /// Why.
    pub reason: String,
    /// Whether late records are to be refused.
    pub late_refused: bool,
    /// The first person.
    pub asked: Asked,
}

/// What the desk knows of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockRow {
    /// The latest time that was believed.
    #[serde(with = "text")]
    pub high_water: Timestamp,
    /// The time of a jump that nobody has confirmed.
    #[serde(with = "maybe")]
    pub jump: Option<Timestamp>,
    /// Whether the alarm of a clock that went back was given.
    pub back: bool,
    /// The policy that the ledger was told of last.
    pub policy: Digest,
}

/// A policy file that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeRow {
    /// When a run saw it first, by the believed time.
    #[serde(with = "text")]
    pub seen_at: Timestamp,
}

/// What the desk knows of the turn-over of the vault epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnRow {
    /// The epoch in force.
    pub vek_epoch: u64,
    /// Keys that had ended when it began: what ended later still opens in older copies.
    pub ended: u64,
    /// When it began; `null` where nobody has seen a turn-over yet.
    #[serde(with = "maybe")]
    pub last: Option<Timestamp>,
    /// From when on the time to the next one counts.
    #[serde(with = "text")]
    pub from: Timestamp,
    /// Whether the alarm of a late one was given.
    pub alarmed: bool,
}

/// A key of a lot with its commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Committed {
    /// Its number in the register.
    pub key: u64,
    /// `HMAC-SHA-256(key, "blindtally/commit/1")`, made before the key was destroyed.
    pub commitment: Digest,
}

/// A lot that is to be destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// The lot.
    #[serde(with = "lot")]
    pub lot: Lot,
    /// Its site.
    #[serde(with = "text")]
    pub site: SiteId,
    /// When it was due.
    #[serde(with = "text")]
    pub due: Timestamp,
    /// Its keys.
    pub keys: Vec<Committed>,
    /// Holds that covered it and were released.
    pub released_holds: Vec<u64>,
    /// The hold whose copy it is, where it is none of the lots themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<u64>,
    /// Open holds, which have a copy in hold storage before it is destroyed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heirs: Vec<u64>,
}

/// What the engine said of a destruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// Records of each lot, in the order of the plan; `null` where a start finished the destruction
    /// and the count went with the keys, and of a lot with a block that could not be read.
    pub records: Option<Vec<Option<u64>>>,
    /// The keys that are gone.
    pub keys: Keys,
    /// How many of them were tried at the end and did not open; the rest is known by the register.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub keys_tried: u64,
    /// The VEK epoch that was destroyed.
    pub old_epoch: u64,
    /// The VEK epoch in force.
    pub new_epoch: u64,
    /// The register's generation; `null` where a start finished the destruction.
    pub generation: Option<u64>,
    /// Files that were removed.
    pub files_removed: u64,
    /// Bytes that were reclaimed.
    pub bytes_reclaimed: u64,
    /// Files that were searched.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files_searched: u64,
    /// What a search for the keys in the register found; absent where it was not made, and in rows
    /// of earlier builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<RegisterSearch>,
    /// Whether a copy of the VEK home of before, with the root key, would open old registers.
    pub home_copy_opens: bool,
    /// Whether everything that was checked is gone.
    pub passed: bool,
    /// There was nothing to destroy.
    pub nothing: bool,
    /// It was given up before the engine began, because something of it came to be on hold.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
    /// When it ended.
    #[serde(with = "text")]
    pub ended_at: Timestamp,
}

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Reported {
    /// What is said of a plan that was given up before the engine began.
    pub fn withdrawn(epoch: u64, ended_at: Timestamp) -> Self {
        Self {
            records: None,
            keys: Keys::default(),
            keys_tried: 0,
            old_epoch: epoch,
            new_epoch: epoch,
            generation: None,
            files_removed: 0,
            bytes_reclaimed: 0,
            files_searched: 0,
            register: None,
            home_copy_opens: true,
            passed: false,
            nothing: false,
            withdrawn: true,
            ended_at,
        }
    }
}

/// A destruction under way: there is one at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRow {
    /// The number of its intent in the ledger; `null` until that is known to be there.
    pub operation: Option<u64>,
    /// Who began it.
    pub by: String,
    /// When.
    #[serde(with = "text")]
    pub begun_at: Timestamp,
    /// The profile of the policy.
    pub profile: String,
    /// The policy.
    pub policy: Digest,
    /// The VEK epoch before it.
    pub vek_before: u64,
    /// Holds that were open when it was planned, of the sites of its lots; absent in rows of
    /// earlier builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_holds: Option<u64>,
    /// What is to be destroyed.
    pub lots: Vec<Planned>,
    /// Whether the alarm was given of what keeps it from ending.
    pub alarmed: bool,
    /// What the engine said, once it is done.
    pub report: Option<Reported>,
    /// The reason of a removal before its time; absent for what was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<String>,
    /// The credential of the first person who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
}

/// Lots of a destruction whose verification did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedRow {
    /// The number of its intent in the ledger.
    pub operation: u64,
    /// When it ended.
    #[serde(with = "text")]
    pub ended_at: Timestamp,
    /// What was to be destroyed.
    pub lots: Vec<Planned>,
}

/// What the ledger tells of the past, as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToldRow {
    /// How many entries were read.
    pub entries: u64,
    /// The root of the ledger's tree over them.
    pub root: Digest,
    /// Every policy that was taken up, in order.
    pub policies: Vec<PolicyTold>,
    /// How often few read what few may read, by route.
    pub reads: BTreeMap<String, u64>,
}

impl Default for ToldRow {
    /// Nothing was read, and there is no root of nothing.
    fn default() -> Self {
        let root = Digest([0; 32]);
        Self { entries: 0, root, policies: Vec::new(), reads: BTreeMap::new() }
    }
}

/// A policy that was taken up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyTold {
    /// The number of its entry.
    pub entry: u64,
    /// When it was taken up.
    #[serde(with = "text")]
    pub at: Timestamp,
    /// Profile, published, effective.
    pub said: [String; 3],
    /// Its SHA-256.
    pub digest: Digest,
}
