//! A statement as it is written: one JSON object, one spelling; and the same as CSV. It is of a
//! site or of a billing group: members that only one of the two has are not there in the other.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::explained::IdQuality;
use super::retention::spoken::{maybe, text};
use super::retention::{BadForm, read, written};
use crate::ledger::{Digest, Proof};
use crate::model::ids::{GroupId, SiteId};
use crate::model::pseudonym::Pseudonyms;
use crate::model::site::Counting;
use crate::model::time::{Month, Timestamp};
use crate::model::usage::{Corrections, Counters};

mod csv;

/// What the form is called.
pub const FORMAT: &str = "blindtally/statement/2";
/// What it was called before it had the quality of the ids. Such statements stay as they are.
const WITHOUT_QUALITY: &str = "blindtally/statement/1";
/// What the form of a billing group's statement is called.
pub const GROUP_FORMAT: &str = "blindtally/group-statement/1";
/// Longest statement that is read, bytes.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// A statement: what it says, and the proof that the ledger has its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// What it says.
    pub body: Body,
    /// The ledger's entry with the SHA-256 of the body, under a signed checkpoint.
    pub issued: Proof,
}

/// What a statement says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// [`FORMAT`] or [`GROUP_FORMAT`].
    pub format: String,
    /// The name of the ledger, and of its key.
    pub ledger: String,
    /// The site; a group's statement is of none.
    #[serde(default, with = "maybe", skip_serializing_if = "Option::is_none")]
    pub site_id: Option<SiteId>,
    /// The billing group that it is of, or that the site's users of this month are counted with.
    #[serde(default, with = "maybe", skip_serializing_if = "Option::is_none")]
    pub billing_group: Option<GroupId>,
    /// The month.
    #[serde(with = "text")]
    pub month: Month,
    /// From 1 on.
    pub version: u32,
    /// The version that this one takes the place of.
    pub replaces: Option<Replaced>,
    /// Why it was restated.
    pub reason: Option<String>,
    /// When it was issued.
    #[serde(with = "text")]
    pub issued_at: Timestamp,
    /// Who asked for it: `server` or a credential.
    pub issued_by: String,
    /// The zone whose calendar the month follows; each member of a group has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The month's first instant; of a group that of its first member.
    #[serde(with = "text")]
    pub from: Timestamp,
    /// The next month's first instant; of a group that of its last member.
    #[serde(with = "text")]
    pub to: Timestamp,
    /// When it closed.
    #[serde(with = "text")]
    pub closed_at: Timestamp,
    /// How it was counted; each member of a group has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// What made the pseudonyms of a group's own set; not said of a group that was stated before
    /// there was a choice, and then it was HMAC-SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pseudonym_algorithm: Option<String>,
    /// The figures as of the close; they are the same in every version. Of a group users are
    /// counted once, and all others are the members' sums.
    pub figures: Figures,
    /// By DRM system; not additive.
    pub by_drm_type: Vec<ByDrm>,
    /// Licence records that made nobody active.
    pub excluded: Vec<Excluded>,
    /// What came after the close, until the issue.
    pub corrections: Corrected,
    /// The same of the months before, where there is any.
    pub earlier_corrections: Vec<Earlier>,
    /// What is to be billed: the figures, and from the second version on with the corrections.
    pub billable: Billable,
    /// The same counted from the stored sets; `null` where they are destroyed.
    pub recount: Option<Recounted>,
    /// How far the ids of the month can be trusted, as of the issue; `null` where that could not be
    /// told. Statements of the first form do not have it.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub quality: Option<Option<IdQuality>>,
    /// The members of a group, in the order of their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<Member>>,
}

/// A member of a billing group, and what its own month says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The site.
    #[serde(with = "text")]
    pub site_id: SiteId,
    /// The zone of its month.
    pub time_zone: String,
    /// Its month's first instant.
    #[serde(with = "text")]
    pub from: Timestamp,
    /// Its next month's first instant.
    #[serde(with = "text")]
    pub to: Timestamp,
    /// When its own month closed; `null` for a site that joined after the group's close.
    #[serde(with = "maybe")]
    pub closed_at: Option<Timestamp>,
    /// How it is counted.
    pub method: Method,
    /// Its own figures.
    pub figures: Figures,
    /// What came after its own close, until the issue. A user of these that came before the group
    /// closed is among the group's.
    pub corrections: Corrected,
}

/// What a statement is of, as it is said: `site ACME`, `group acme`.
pub struct Subject<'b>(&'b Body);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.site_id, &self.0.billing_group) {
            (Some(site), _) => write!(f, "site {site}"),
            (None, Some(group)) => write!(f, "group {group}"),
            (None, None) => f.write_str("nobody"),
        }
    }
}

/// An earlier version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replaced {
    /// Its number.
    pub version: u32,
    /// The SHA-256 of its body.
    pub digest: Digest,
}

/// How a month was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// The rule set.
    pub rule_set: String,
    /// The version of the canonical forms of ids.
    pub canonicalizer: u32,
    /// What made the pseudonyms. Statements from before there was a choice say neither this nor the
    /// next three: it was HMAC-SHA-256 of byte-exact ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pseudonym_algorithm: Option<String>,
    /// Whether white space around user ids was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id_trim: Option<bool>,
    /// Whether user ids were brought to normalization form C.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id_nfc: Option<bool>,
    /// Whether user ids were brought to lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id_lower: Option<bool>,
    /// Hours between end and close.
    pub closing_hours: u32,
    /// Whether failed requests make a user active.
    pub include_failures: bool,
    /// Whether renewals do.
    pub count_renewals: bool,
    /// Whether a device stands for a user where there is none.
    pub device_as_user: bool,
    /// Whether anonymous users are counted by their device.
    pub anonymous_by_device: bool,
}

impl Method {
    /// How user ids were compared, in words.
    pub fn user_ids(&self) -> &'static str {
        let [trim, nfc, lower] = [self.user_id_trim, self.user_id_nfc, self.user_id_lower]
            .map(Option::unwrap_or_default);
        match (trim, nfc, lower) {
            (false, false, false) => "byte for byte",
            (true, false, false) => "trimmed",
            (false, true, false) => "in NFC",
            (false, false, true) => "in lower case",
            (true, true, false) => "in NFC, trimmed",
            (true, false, true) => "trimmed, in lower case",
            (false, true, true) => "in NFC, in lower case",
            (true, true, true) => "in NFC, trimmed, in lower case",
        }
    }

    /// The method of a month's settings.
    pub fn new(rule_set: &str, ids: Pseudonyms, closing_hours: u32, of: Counting) -> Self {
        Self {
            rule_set: rule_set.to_owned(),
            canonicalizer: u32::from(ids.canonicalizer),
            pseudonym_algorithm: Some(ids.algorithm.name().to_owned()),
            user_id_trim: Some(ids.users.trim),
            user_id_nfc: Some(ids.users.nfc),
            user_id_lower: Some(ids.users.lower),
            closing_hours,
            include_failures: of.include_failures,
            count_renewals: of.renewals,
            device_as_user: of.device_as_user,
            anonymous_by_device: of.anonymous_by_device,
        }
    }
}

/// The figures of a closed month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Distinct users.
    pub mau: u64,
    /// Issued licences (MAL).
    pub licenses_issued: u64,
    /// Failed requests.
    pub licenses_failed: u64,
    /// Failed requests that made their users active.
    pub failures_counted: u64,
    /// Distinct devices; one of two members cannot be told from two, so a group has no figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<u64>,
    /// Licences that are nobody's.
    pub unattributed_licenses: u64,
    /// Distinct devices that stand for users.
    pub device_users: u64,
    /// Distinct watermark sessions.
    pub watermark_sessions: u64,
    /// Distinct users of watermark sessions; not of a group, as with devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_users: Option<u64>,
    /// Records that were sent again.
    pub duplicates: u64,
    /// Accepted records of every type and environment.
    pub records: u64,
}

impl From<&Counters> for Figures {
    fn from(of: &Counters) -> Self {
        Self {
            mau: of.mau,
            licenses_issued: of.licenses_issued,
            licenses_failed: of.licenses_failed,
            failures_counted: of.failures_counted,
            devices: Some(of.devices),
            unattributed_licenses: of.unattributed_licenses,
            device_users: of.device_users,
            watermark_sessions: of.watermark_sessions,
            watermark_users: Some(of.watermark_users),
            duplicates: of.duplicates,
            records: of.records,
        }
    }
}

/// The figures of a DRM system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByDrm {
    /// The system.
    pub drm_type: String,
    /// Distinct users.
    pub mau: u64,
    /// Issued licences.
    pub licenses_issued: u64,
}

/// Excluded licence records of one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excluded {
    /// Why.
    pub reason: String,
    /// How many.
    pub records: u64,
}

/// What came after the close of a month.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corrected {
    /// Records.
    pub records: u64,
    /// Users beyond the closed set.
    pub users: u64,
    /// Issued licences.
    pub licenses_issued: u64,
    /// Devices beyond the closed set that stand for users; not there where there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub device_users: u64,
}

impl Corrected {
    /// Whether anything came late.
    pub const fn any(&self) -> bool {
        let Self { records, users, licenses_issued, device_users } = *self;
        records > 0 || users > 0 || licenses_issued > 0 || device_users > 0
    }
}

const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<Corrections> for Corrected {
    fn from(of: Corrections) -> Self {
        let Corrections { records, users, licenses_issued, device_users } = of;
        Self { records, users, licenses_issued, device_users }
    }
}

/// The corrections of an earlier month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Earlier {
    /// The month.
    #[serde(with = "text")]
    pub month: Month,
    /// All that came after its close, until the issue.
    pub corrections: Corrected,
}

/// What is to be billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Billable {
    /// Distinct users.
    pub mau: u64,
    /// Issued licences.
    pub licenses_issued: u64,
}

/// A count of the stored sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recounted {
    /// Distinct users.
    pub mau: u64,
    /// Distinct devices; a group has a set of users only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<u64>,
    /// Distinct users of watermark sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_users: Option<u64>,
    /// Distinct devices that stand for users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_users: Option<u64>,
    /// SHA-256 over the users' pseudonyms, sorted, twelve bytes each.
    pub user_set: Digest,
}

/// A member that is there, `null` or not; one that is not there has its default.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<IdQuality>>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

impl Body {
    /// Whether it is of a form that is known, and has what that form has.
    pub fn is_of_known_form(&self) -> bool {
        match self.format.as_str() {
            FORMAT => self.is_of_site() && self.quality.is_some(),
            WITHOUT_QUALITY => {
                self.is_of_site() && self.quality.is_none() && self.billing_group.is_none()
            }
            GROUP_FORMAT => self.is_of_group() && self.quality.is_none(),
            _ => false,
        }
    }

    fn is_of_site(&self) -> bool {
        let own = self.recount.as_ref().is_none_or(|of| {
            of.devices.is_some() && of.watermark_users.is_some() && of.device_users.is_some()
        });
        self.site_id.as_ref().is_some_and(|site| !site.is_group())
            && self.members.is_none()
            && (self.time_zone.is_some() && self.method.is_some())
            && (self.figures.devices.is_some() && self.figures.watermark_users.is_some())
            && own
    }

    fn is_of_group(&self) -> bool {
        let own = self.recount.as_ref().is_none_or(|of| {
            of.devices.is_none() && of.watermark_users.is_none() && of.device_users.is_none()
        });
        (self.site_id.is_none() && self.billing_group.is_some())
            && self.members.as_ref().is_some_and(|of| of.iter().all(|of| !of.site_id.is_group()))
            && (self.time_zone.is_none() && self.method.is_none())
            && (self.figures.devices.is_none() && self.figures.watermark_users.is_none())
            && own
    }

    /// The key scope that it is of: the site, or that of the group. `None` where it says neither.
    pub fn scope(&self) -> Option<SiteId> {
        let group = || self.billing_group.as_ref().map(SiteId::of_group);
        self.site_id.clone().or_else(group)
    }

    /// What it is of, as it is said to people.
    pub const fn subject(&self) -> Subject<'_> {
        Subject(self)
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

impl Statement {
    /// Its bytes.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadForm> {
        written(self)
    }

    /// Reads what [`Statement::to_bytes`] wrote; a newline at the end may be there.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadForm> {
        if bytes.len() > STATEMENT_BYTES_MAX {
            return Err(BadForm);
        }
        read(bytes.strip_suffix(b"\n").unwrap_or(bytes))
    }
}

/// A body on its way to the ledger, and how many entries that had before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Entries of the ledger before the statement's.
    pub entries: u64,
    /// The body.
    pub body: Body,
}

impl Draft {
    /// Its bytes.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadForm> {
        written(self)
    }

    /// Reads what [`Draft::to_bytes`] wrote.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadForm> {
        read(bytes)
    }
}

/// The versions of a statement, as they are listed.
///
/// # Errors
/// When one cannot be written.
pub fn versions_to_json(statements: &[Statement]) -> Result<Vec<u8>, BadForm> {
    #[derive(Serialize)]
    struct Page<'s> {
        items: &'s [Statement],
    }
    written(&Page { items: statements })
}

#[cfg(test)]
mod tests;
