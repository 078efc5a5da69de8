//! The messages: `{"type":…,"timestamp":…,"data":{…}}` as the Standard Webhooks specification has
//! them. They hold counts and names of sites, never anything of a person.

use serde::Serialize;
use serde_json::{Value, json};

use super::Topic;
use crate::model::explained::Suspects;
use crate::model::ids::{GroupId, SiteId};
use crate::model::rules::RuleSet;
use crate::model::site::MonthSpan;
use crate::model::time::{Month, Timestamp};
use crate::model::usage::Counters;

/// Largest message, bytes; the specification asks for less than 20 KB.
pub const MESSAGE_BYTES_MAX: usize = 20_000;

/// What a message says of its event.
pub type Data = Value;

/// A month of a site as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthNews {
    /// The site.
    pub site: SiteId,
    /// The users, and devices that stand for users, that its plan includes.
    pub plan_mau: Option<u64>,
    /// The month.
    pub span: MonthSpan,
    /// The zone whose calendar it follows.
    pub time_zone: String,
    /// When its figures became final; `None` while they are not.
    pub closed_at: Option<Timestamp>,
    /// Its figures.
    pub counters: Counters,
    /// Who was suspect when its licences were explained last, since the start.
    pub suspects: Option<Suspects>,
}

impl MonthNews {
    /// What is told when it is closed.
    pub fn closed(&self) -> Data {
        let counters = &self.counters;
        json!({
            "site_id": self.site.as_str(),
            "month": self.span.month.to_string(),
            "time_zone": self.time_zone,
            "from": self.span.from.to_string(),
            "to": self.span.to.to_string(),
            "closed_at": self.closed_at.map(|at| at.to_string()),
            "rule_set": self.span.rule_set.to_string(),
            "mau": counters.mau,
            "device_users": counters.device_users,
            "licenses_issued": counters.licenses_issued,
            "licenses_failed": counters.licenses_failed,
            "devices": counters.devices,
            "unattributed_licenses": counters.unattributed_licenses,
            "watermark_sessions": counters.watermark_sessions,
            "watermark_users": counters.watermark_users,
        })
    }

    /// What the plan is measured by: the users, and where the site's options count them the devices
    /// that stand for users. There are none of these elsewhere.
    pub fn planned(&self) -> u128 {
        u128::from(self.counters.mau) + u128::from(self.counters.device_users)
    }

    /// What is told when its users have reached a share of the plan.
    pub fn reached(&self, percent: u64) -> Data {
        json!({
            "site_id": self.site.as_str(),
            "month": self.span.month.to_string(),
            "threshold_percent": percent,
            "plan_mau": self.plan_mau,
            "mau": self.counters.mau,
            "device_users": self.counters.device_users,
        })
    }

    /// What is told when too many of its licences name no user.
    pub fn alarm(&self, limit_percent: u64) -> Data {
        json!({
            "site_id": self.site.as_str(),
            "month": self.span.month.to_string(),
            "reason": "unattributed_share",
            "limit_percent": limit_percent,
            "licenses_issued": self.counters.licenses_issued,
            "unattributed_licenses": self.counters.unattributed_licenses,
        })
    }
}

/// A closed month of a billing group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupNews {
    /// The group's key scope.
    pub scope: SiteId,
    /// Its members in that month: whoever is told has all of them.
    pub members: Vec<SiteId>,
    /// The month by its name: each member's own of that name.
    pub month: Month,
    /// The first instant of its first member's month.
    pub from: Timestamp,
    /// The last instant of its last member's month, not included.
    pub to: Timestamp,
    /// When its figures became final.
    pub closed_at: Timestamp,
    /// The rules that its members are counted by.
    pub rule_set: RuleSet,
    /// Its users, and the sums of its members.
    pub counters: Counters,
}

impl GroupNews {
    /// What is told when it is closed: what a statement of the group bills, and how it came about.
    pub fn closed(&self) -> Data {
        let counters = &self.counters;
        json!({
            "billing_group": self.scope.group().as_ref().map(GroupId::as_str),
            "members": self.members.len(),
            "month": self.month.to_string(),
            "from": self.from.to_string(),
            "to": self.to.to_string(),
            "closed_at": self.closed_at.to_string(),
            "rule_set": self.rule_set.to_string(),
            "mau": counters.mau,
            "device_users": counters.device_users,
            "licenses_issued": counters.licenses_issued,
            "licenses_failed": counters.licenses_failed,
            "unattributed_licenses": counters.unattributed_licenses,
            "watermark_sessions": counters.watermark_sessions,
        })
    }
}

/// What is told when ids of a month look like many users or devices each.
pub fn shared(month: &MonthNews, suspects: Suspects) -> Data {
    json!({
        "site_id": month.site.as_str(),
        "month": month.span.month.to_string(),
        "reason": "shared_ids",
        "licenses_issued": month.counters.licenses_issued,
        "suspect_shared_users": suspects.users,
        "suspect_user_licenses": suspects.user_licenses,
        "suspect_shared_devices": suspects.devices,
        "suspect_device_licenses": suspects.device_licenses,
    })
}

/// What of one site a certificate says to be destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestroyedNews {
    /// The number of the certificate, which grows.
    pub number: u64,
    /// The certificate's id.
    pub certificate: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The site.
    pub site: SiteId,
    /// Lots of the site.
    pub lots: u64,
    /// Records of the site; `None` where their number went with the keys.
    pub records: Option<u64>,
}

impl DestroyedNews {
    /// What is told.
    pub fn done(&self) -> Data {
        json!({
            "site_id": self.site.as_str(),
            "certificate": self.certificate,
            "issued_at": self.issued_at.to_string(),
            "lots": self.lots,
            "records": self.records,
        })
    }
}

/// What a test tells.
pub fn test(webhook: &str) -> Data {
    json!({ "webhook": webhook })
}

#[derive(Serialize)]
struct Message<'a> {
    r#type: &'a str,
    timestamp: String,
    data: &'a Data,
}

/// The text of a message; `None` when it would be too long.
pub fn text(topic: Topic, at: Timestamp, data: &Data) -> Option<String> {
    let message = Message { r#type: topic.name(), timestamp: at.to_string(), data };
    let text = serde_json::to_string(&message).ok()?;
    (text.len() < MESSAGE_BYTES_MAX).then_some(text)
}
