//! What a statement's body is made of: counts, and how they came to be. Members that a form got
//! later are not there where they have nothing to say, so that older statements keep their bytes.

use serde::{Deserialize, Serialize};

use crate::ledger::Digest;
use crate::model::pseudonym::Pseudonyms;
use crate::model::rules::RuleSet;
use crate::model::site::Counting;
use crate::model::systems::Hidden;
use crate::model::time::Month;
use crate::model::usage::Counters;
use crate::model::vocab::DrmType;
use crate::wire::retention::spoken::text;

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
    pub fn new(rule_set: RuleSet, ids: Pseudonyms, closing_hours: u32, of: Counting) -> Self {
        Self {
            rule_set: rule_set.to_string(),
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
    /// Unattributed licences that a device stands for. Older forms have neither this nor the next
    /// two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licenses_by_device: Option<u64>,
    /// Records of watermark sessions in production, repeated ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_records: Option<u64>,
    /// Records that are neither licence requests nor watermark sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_records: Option<u64>,
}

impl From<&Counters> for Figures {
    fn from(of: &Counters) -> Self {
        // A month that an earlier program counted a part of has a part of these, and says nothing.
        let is_whole = of.explained_records() == of.records;
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
            licenses_by_device: Some(of.licenses_by_device),
            session_records: is_whole.then_some(of.session_records),
            other_records: is_whole.then_some(of.other_records),
        }
    }
}

/// The figures of a DRM system; `null` for what is left out because it is about too few, or would
/// tell of them ([`Hidden`]). Older forms left out nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByDrm {
    /// The system.
    pub drm_type: String,
    /// Distinct users.
    pub mau: Option<u64>,
    /// Issued licences.
    pub licenses_issued: Option<u64>,
}

impl ByDrm {
    /// The figures of a month, so far as they are told.
    pub fn of(counters: &Counters, hidden: &Hidden) -> Vec<Self> {
        let row = |(drm, users, licenses): (DrmType, u64, u64)| {
            let (mau, licenses_issued) = hidden.told(drm, (Some(users), Some(licenses)));
            Self { drm_type: drm.name().to_owned(), mau, licenses_issued }
        };
        counters.by_drm().map(row).collect()
    }

    /// The same of what an earlier version told, so far as it is told now.
    pub fn told(self, hidden: &Hidden) -> Self {
        let Some(drm) = DrmType::from_name(self.drm_type.as_bytes()) else { return self };
        let (mau, licenses_issued) = hidden.told(drm, (self.mau, self.licenses_issued));
        Self { mau, licenses_issued, ..self }
    }
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

/// What came after the close of a month. What is zero is not there, but for the first three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corrected {
    /// Records.
    pub records: u64,
    /// Users beyond the closed set.
    pub users: u64,
    /// Issued licences.
    pub licenses_issued: u64,
    /// Devices beyond the closed set that stand for users.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub device_users: u64,
    /// Failed requests.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub licenses_failed: u64,
    /// Of these, those that made their users active.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures_counted: u64,
    /// Devices beyond the closed set; not of a group.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub devices: u64,
    /// Licences that are nobody's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unattributed_licenses: u64,
    /// Of these, those that a device stands for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub licenses_by_device: u64,
    /// Watermark sessions beyond the closed set.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub watermark_sessions: u64,
    /// Their users beyond the closed set; not of a group.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub watermark_users: u64,
    /// Records of watermark sessions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub session_records: u64,
    /// Records that are neither licence requests nor watermark sessions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_records: u64,
    /// What of it is not counted, where there is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Excluded>,
}

impl Corrected {
    /// Whether anything came late.
    pub const fn any(&self) -> bool {
        self.records > 0 || self.users > 0 || self.licenses_issued > 0 || self.device_users > 0
    }

    /// All that is counted of a group by now, beyond what was stated of its month.
    /// What an older form did not state, or under another reason, is what came `late` of it.
    pub fn beyond(now: &Counters, late: &Counters, figures: &Figures, stated: &[Excluded]) -> Self {
        let more = |now: u64, said: u64| now.saturating_sub(said);
        let some =
            |now: u64, said: Option<u64>, late: u64| said.map_or(late, |said| more(now, said));
        let is_older = figures.licenses_by_device.is_none();
        let reason = |((reason, records), (_, late)): ((&str, u64), (&str, u64))| {
            let said = stated.iter().find(|of| of.reason == reason).filter(|_| !is_older);
            let records = some(records, said.map(|of| of.records), late);
            Excluded { reason: reason.to_owned(), records }
        };
        Self {
            records: more(now.records, figures.records),
            // Those of the figures, too, that the statement did not know.
            users: late.mau.saturating_add(more(now.mau, figures.mau)),
            licenses_issued: more(now.licenses_issued, figures.licenses_issued),
            device_users: more(now.device_users, figures.device_users),
            licenses_failed: more(now.licenses_failed, figures.licenses_failed),
            failures_counted: more(now.failures_counted, figures.failures_counted),
            devices: 0,
            unattributed_licenses: more(now.unattributed_licenses, figures.unattributed_licenses),
            licenses_by_device: some(
                now.licenses_by_device,
                figures.licenses_by_device,
                late.licenses_by_device,
            ),
            watermark_sessions: more(now.watermark_sessions, figures.watermark_sessions),
            watermark_users: 0,
            session_records: some(
                now.session_records,
                figures.session_records,
                late.session_records,
            ),
            other_records: some(now.other_records, figures.other_records, late.other_records),
            excluded: now
                .exclusions()
                .zip(late.exclusions())
                .map(reason)
                .filter(|of| of.records > 0)
                .collect(),
        }
    }

    /// Its figures by their names, those that are not there included.
    pub fn figures(&self) -> [(&'static str, u64); 13] {
        [
            ("records", self.records),
            ("users", self.users),
            ("licenses_issued", self.licenses_issued),
            ("device_users", self.device_users),
            ("licenses_failed", self.licenses_failed),
            ("failures_counted", self.failures_counted),
            ("devices", self.devices),
            ("unattributed_licenses", self.unattributed_licenses),
            ("licenses_by_device", self.licenses_by_device),
            ("watermark_sessions", self.watermark_sessions),
            ("watermark_users", self.watermark_users),
            ("session_records", self.session_records),
            ("other_records", self.other_records),
        ]
    }
}

const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<&Counters> for Corrected {
    fn from(of: &Counters) -> Self {
        let reasons = of.exclusions().filter(|(_, records)| *records > 0);
        let row = |(reason, records): (&str, u64)| Excluded { reason: reason.to_owned(), records };
        Self {
            records: of.records,
            users: of.mau,
            licenses_issued: of.licenses_issued,
            device_users: of.device_users,
            licenses_failed: of.licenses_failed,
            failures_counted: of.failures_counted,
            devices: of.devices,
            unattributed_licenses: of.unattributed_licenses,
            licenses_by_device: of.licenses_by_device,
            watermark_sessions: of.watermark_sessions,
            watermark_users: of.watermark_users,
            session_records: of.session_records,
            other_records: of.other_records,
            excluded: reasons.map(row).collect(),
        }
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
    /// Distinct devices that stand for users, never among the users. Older forms billed none, and
    /// neither does a version that follows one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_users: Option<u64>,
}

impl Billable {
    /// What a version bills: the figures, and from the second one on what came late.
    pub fn of(version: u32, figures: &Figures, late: &Corrected) -> Self {
        let with = |count: u64, late: u64| match version {
            1 => count,
            _ => count.saturating_add(late),
        };
        Self {
            mau: with(figures.mau, late.users),
            licenses_issued: with(figures.licenses_issued, late.licenses_issued),
            device_users: Some(with(figures.device_users, late.device_users)),
        }
    }

    /// What a version bills that follows another one: devices only where the first version billed
    /// them, which one of an older form did not. A month is billed as it was at first.
    pub fn as_before(self, bills_devices: bool) -> Self {
        Self { device_users: self.device_users.filter(|_| bills_devices), ..self }
    }
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
    /// Distinct users that came late, of a version that bills them; at least as many as it bills,
    /// because more may come while it is issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_users: Option<u64>,
    /// The same of devices that stand for users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_device_users: Option<u64>,
    /// SHA-256 over the users' pseudonyms, sorted, twelve bytes each.
    pub user_set: Digest,
}
