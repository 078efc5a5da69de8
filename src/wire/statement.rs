//! A statement as it is written: one JSON object, one spelling; and the same as CSV. It is of a
//! site or of a billing group: members that only one of the two has are not there in the other.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::explained::IdQuality;
use super::retention::spoken::{maybe, text};
use super::retention::{BadForm, read, written};
use crate::ledger::Proof;
use crate::model::ids::{GroupId, SiteId};
use crate::model::time::{Month, Timestamp};
use crate::model::usage::Evidence;

mod csv;
mod parts;

pub use parts::{
    Billable, ByDrm, Corrected, Earlier, Excluded, Figures, Method, Recounted, Replaced,
};

/// What the form is called.
pub const FORMAT: &str = "blindtally/statement/4";
/// What it was called before figures by DRM system about too few were left out.
const WITH_ALL_SYSTEMS: &str = "blindtally/statement/3";
/// What it was called before devices that stand for users were billed. Statements of an older form
/// stay as they are.
const WITHOUT_DEVICE_USERS: &str = "blindtally/statement/2";
/// What it was called before it had the quality of the ids.
const WITHOUT_QUALITY: &str = "blindtally/statement/1";
/// What the form of a billing group's statement is called.
pub const GROUP_FORMAT: &str = "blindtally/group-statement/3";
/// What it was called before it had the quality of the ids, and left out what is about too few.
const GROUP_WITHOUT_QUALITY: &str = "blindtally/group-statement/2";
/// What it was called before devices that stand for users were billed.
const GROUP_WITHOUT_DEVICE_USERS: &str = "blindtally/group-statement/1";
/// Longest statement that is read, bytes: that of a group has about 1,300 for each member, and a
/// client takes an answer of twice as many.
pub const STATEMENT_BYTES_MAX: usize = 32 << 20;
/// What of it is left for the ledger's proof, bytes.
const PROOF_BYTES_MAX: usize = 64 << 10;
/// Longest body that is issued, bytes: with its proof it can be read again.
pub const BODY_BYTES_MAX: usize = STATEMENT_BYTES_MAX - PROOF_BYTES_MAX;

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
    /// Figures by DRM system about fewer users are left out, and what would tell them. Older forms
    /// left out nothing and do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects_least: Option<u64>,
    /// Licence records that made nobody active.
    pub excluded: Vec<Excluded>,
    /// What came after the close, until the issue.
    pub corrections: Corrected,
    /// The same of the months before, where there is any.
    pub earlier_corrections: Vec<Earlier>,
    /// What is to be billed: the figures, and from the second version on with the corrections.
    pub billable: Billable,
    /// What became of the stored sets until the issue. Older forms do not have it.
    #[serde(default, with = "maybe", skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The same counted from the stored sets; `null` where they are destroyed, or on hold and read
    /// by nobody.
    pub recount: Option<Recounted>,
    /// How far the ids of the month can be trusted, as of the issue; `null` where that could not be
    /// told. Of a group these are the sums of its members, so that a user who looks like many at
    /// two of them is two; one that nobody is a member of does not have it, nor do statements of
    /// older forms.
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
    /// How far its ids can be trusted; `null` where that could not be told. Older forms do not have
    /// it.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub quality: Option<Option<IdQuality>>,
}

impl Member {
    /// The same without what is not counted.
    pub fn counted(self) -> Self {
        Self { quality: None, ..self }
    }
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

/// A member that is there, `null` or not; one that is not there has its default.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<IdQuality>>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

impl Body {
    /// Whether it is of a form that is known, and has what that form has.
    pub fn is_of_known_form(&self) -> bool {
        let (quality, group) = (self.quality.is_some(), self.billing_group.is_some());
        let (leaves_out, all) = (self.subjects_least.is_some(), self.has_all_systems());
        let of_members = self.members.iter().flatten().any(|of| of.quality.is_some());
        let older_group = self.is_of_group() && !quality && !of_members && all;
        match self.format.as_str() {
            FORMAT => self.is_of_site() && quality && self.bills_devices() && leaves_out,
            WITH_ALL_SYSTEMS => self.is_of_site() && quality && self.bills_devices() && all,
            WITHOUT_DEVICE_USERS => self.is_of_site() && quality && self.is_older() && all,
            WITHOUT_QUALITY => self.is_of_site() && !quality && !group && self.is_older() && all,
            GROUP_FORMAT => {
                self.is_of_group()
                    && self.has_members_quality()
                    && self.bills_devices()
                    && leaves_out
            }
            GROUP_WITHOUT_QUALITY => older_group && self.bills_devices(),
            GROUP_WITHOUT_DEVICE_USERS => older_group && self.is_older(),
            _ => false,
        }
    }

    /// Whether it is of a form that bills devices that stand for users.
    pub fn is_of_form_with_devices(&self) -> bool {
        [FORMAT, WITH_ALL_SYSTEMS, GROUP_FORMAT, GROUP_WITHOUT_QUALITY]
            .contains(&self.format.as_str())
    }

    /// Whether it is of the form that is issued now.
    fn is_of_newest_form(&self) -> bool {
        [FORMAT, GROUP_FORMAT].contains(&self.format.as_str())
    }

    /// Whether no figure by DRM system is left out, as in older forms.
    fn has_all_systems(&self) -> bool {
        let is_told = |of: &ByDrm| of.mau.is_some() && of.licenses_issued.is_some();
        self.subjects_least.is_none() && self.by_drm_type.iter().all(is_told)
    }

    /// Whether it says of each member how far the ids can be trusted, and so of all of them.
    fn has_members_quality(&self) -> bool {
        let members = || self.members.iter().flatten();
        self.quality.is_some() == members().next().is_some()
            && members().all(|of| of.quality.is_some())
    }

    /// Whether it has what the newest form has beyond the older ones. A version that follows one of
    /// an older form bills no devices either.
    fn bills_devices(&self) -> bool {
        let late = |of: &Recounted| of.late_users.is_some() == (self.version > 1);
        (self.billable.device_users.is_some() || self.version > 1)
            && self.evidence.is_some()
            && self.recount.as_ref().is_none_or(late)
    }

    /// Whether it has none of that.
    fn is_older(&self) -> bool {
        let late = |of: &Recounted| of.late_users.is_some() || of.late_device_users.is_some();
        self.billable.device_users.is_none()
            && self.evidence.is_none()
            && !self.recount.as_ref().is_some_and(late)
    }

    /// Whether it bills what it says of the month.
    pub fn bills_what_it_says(&self) -> bool {
        let due = Billable::of(self.version, &self.figures, &self.corrections);
        let device_users = self.billable.device_users.and(due.device_users);
        self.billable == Billable { device_users, ..due }
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
            of.devices.is_none()
                && of.watermark_users.is_none()
                && (of.device_users.is_none() && of.late_device_users.is_none())
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
