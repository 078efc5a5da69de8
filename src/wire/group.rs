//! The figures of a billing group's month, as they are answered (API.md "Billing").

use serde_json::{Map, Value, json};

use super::usage::corrections;
use crate::model::ids::{GroupId, SiteId};
use crate::model::pseudonym::{Algorithm, Pseudonyms};
use crate::model::rules::RuleSet;
use crate::model::time::{Month, Timestamp};
use crate::model::usage::{Counters, Evidence, State};
use crate::model::vocab::DrmType;

/// A member and its own figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The site.
    pub site_id: SiteId,
    /// IANA name of the zone of its month.
    pub time_zone: String,
    /// How its own ids become pseudonyms.
    pub pseudonyms: Pseudonyms,
    /// The rules that its own month is counted by.
    pub rule_set: RuleSet,
    /// How far its own month is.
    pub state: State,
    /// Its own figures.
    pub counters: Counters,
    /// What came after its own close.
    pub corrections: Counters,
}

/// The figures of a group's month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupUsage {
    /// The group.
    pub group: GroupId,
    /// The month, by its name; each member has its own range.
    pub month: Month,
    /// What makes the pseudonyms of its users.
    pub algorithm: Algorithm,
    /// The rules that its members are counted by; where these differ, the newest.
    pub rule_set: RuleSet,
    /// How far the group's month is.
    pub state: State,
    /// When the last member closes, or was due to.
    pub closes_at: Timestamp,
    /// Users, each once, and the sums of the members as of the group's close.
    pub figures: Counters,
    /// What came after the group's close; of the users those that are not among its own.
    pub corrections: Counters,
    /// The members, in the order of their ids.
    pub members: Vec<Member>,
    /// What the group's figures rest on.
    pub evidence: Evidence,
    /// When the figures were read.
    pub as_of: Timestamp,
}

impl GroupUsage {
    /// The figures as a JSON text. Licences and records are the sums of the members; users are not,
    /// because one may be a user of several.
    pub fn to_json(&self) -> Vec<u8> {
        let figures = &self.figures;
        let of_drm = |(drm, mau, licenses): (DrmType, u64, u64)| {
            (drm.name().to_owned(), json!({"mau": mau, "licenses_issued": licenses}))
        };
        let by_drm: Map<String, Value> = figures.by_drm().map(of_drm).collect();
        let value = json!({
            "group": self.group.as_str(),
            "month": self.month.to_string(),
            "state": self.state.name(),
            "rule_set": self.rule_set.to_string(),
            "pseudonym_algorithm": self.algorithm.name(),
            "mau": figures.mau,
            "by_drm_type": by_drm,
            "licenses_issued": figures.licenses_issued,
            "licenses_failed": figures.licenses_failed,
            "unattributed_licenses": figures.unattributed_licenses,
            "corrections": corrections(&self.corrections),
            "members": self.members.iter().map(Member::to_value).collect::<Vec<_>>(),
            "closes_at": self.closes_at.to_string(),
            "evidence": self.evidence.name(),
            "as_of": self.as_of.to_string(),
        });
        value.to_string().into_bytes()
    }
}

impl Member {
    fn to_value(&self) -> Value {
        let counters = &self.counters;
        json!({
            "site_id": self.site_id.as_str(),
            "time_zone": self.time_zone,
            "state": self.state.name(),
            "mau": counters.mau,
            "licenses_issued": counters.licenses_issued,
            "licenses_failed": counters.licenses_failed,
            "unattributed_licenses": counters.unattributed_licenses,
            "device_users": counters.device_users,
            "corrections": corrections(&self.corrections),
            "rule_set": self.rule_set.to_string(),
            "pseudonym_algorithm": self.pseudonyms.algorithm.name(),
            "canonicalizer": self.pseudonyms.canonicalizer,
            "user_id_trim": self.pseudonyms.users.trim,
            "user_id_nfc": self.pseudonyms.users.nfc,
            "user_id_lower": self.pseudonyms.users.lower,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_add_up_and_users_do_not() {
        let member = |id: &str, mau, licenses| {
            let mut counters = Counters { mau, licenses_issued: licenses, ..Counters::default() };
            counters.licenses_by_drm[0] = licenses;
            Member {
                site_id: SiteId::parse(id.as_bytes()).unwrap(),
                time_zone: "UTC".to_owned(),
                pseudonyms: Pseudonyms::default(),
                rule_set: RuleSet::default(),
                state: State::Closed,
                counters,
                corrections: Counters { records: 3, mau: 1, ..Counters::default() },
            }
        };
        let mut figures = Counters { mau: 4, licenses_issued: 12, ..Counters::default() };
        (figures.mau_by_drm[0], figures.licenses_by_drm[0]) = (4, 12);
        let usage = GroupUsage {
            group: GroupId::parse(b"acme").unwrap(),
            month: Month::new(2026, 11).unwrap(),
            algorithm: Algorithm::Blake3,
            rule_set: RuleSet::of(3),
            state: State::Closing,
            closes_at: Timestamp(1_796_342_400_000),
            figures,
            corrections: Counters { mau: 1, records: 6, ..Counters::default() },
            members: vec![member("A", 3, 5), member("B", 2, 7)],
            evidence: Evidence::Live,
            as_of: Timestamp(1_795_320_960_000),
        };
        let read: Value = serde_json::from_slice(&usage.to_json()).unwrap();
        assert_eq!((&read["mau"], &read["licenses_issued"]), (&json!(4), &json!(12)));
        assert_eq!(read["by_drm_type"], json!({"widevine": {"mau": 4, "licenses_issued": 12}}));
        assert_eq!(read["corrections"], json!({"users": 1, "records": 6}));
        assert_eq!(read["members"][1]["mau"], json!(2));
        let rules = (&read["rule_set"], &read["members"][1]["rule_set"]);
        assert_eq!(rules, (&json!("mau/3"), &json!("mau/1")));
        assert_eq!((&read["group"], &read["state"]), (&json!("acme"), &json!("closing")));
    }
}
