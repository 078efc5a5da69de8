//! The figures of a site's month, as they are answered (API.md "Billing").

use serde_json::{Map, Value, json};

use super::explained::IdQuality;
use crate::model::ids::SiteId;
use crate::model::pseudonym::Pseudonyms;
use crate::model::rules::RuleSet;
use crate::model::time::{Month, Timestamp};
use crate::model::usage::Counters;
pub use crate::model::usage::{Evidence, State};
use crate::model::vocab::DrmType;

/// The figures of one site and month, with all that is said about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The site.
    pub site_id: SiteId,
    /// The month, in the site's zone.
    pub month: Month,
    /// IANA name of the zone.
    pub time_zone: String,
    /// How its ids become pseudonyms.
    pub pseudonyms: Pseudonyms,
    /// The rules that it is counted by.
    pub rule_set: RuleSet,
    /// How far the month is.
    pub state: State,
    /// The figures.
    pub counters: Counters,
    /// When it closes, or was due to.
    pub closes_at: Timestamp,
    /// What came after the close.
    pub corrections: Counters,
    /// The month's first instant.
    pub from: Timestamp,
    /// The next month's first instant.
    pub to: Timestamp,
    /// What the figures rest on.
    pub evidence: Evidence,
    /// When the figures were read.
    pub as_of: Timestamp,
    /// The quality of the ids, where the licences were explained since the start.
    pub quality: Option<IdQuality>,
}

impl Usage {
    /// The figures as a JSON value.
    pub fn to_value(&self) -> Value {
        let counters = &self.counters;
        let by_drm: Map<String, Value> = counters
            .by_drm()
            .map(|(drm, mau, licenses)| {
                (drm.name().to_owned(), json!({"mau": mau, "licenses_issued": licenses}))
            })
            .collect();
        let mut value = json!({
            "site_id": self.site_id.as_str(),
            "month": self.month.to_string(),
            "time_zone": self.time_zone,
            "state": self.state.name(),
            "rule_set": self.rule_set.to_string(),
            "mau": counters.mau,
            "licenses_issued": counters.licenses_issued,
            "licenses_failed": counters.licenses_failed,
            "devices": counters.devices,
            "unattributed_licenses": counters.unattributed_licenses,
            "device_users": counters.device_users,
            "licenses_by_device": counters.licenses_by_device,
            "failures_counted": counters.failures_counted,
            "excluded": excluded(counters),
            "by_drm_type": by_drm,
            "watermark_sessions": counters.watermark_sessions,
            "watermark_users": counters.watermark_users,
            "session_records": counters.session_records,
            "other_records": counters.other_records,
            "records": counters.records,
            "duplicates": counters.duplicates,
            "corrections": corrections(&self.corrections),
            "other_environments": {"trial": counters.trial, "test": counters.test},
            "from": self.from.to_string(),
            "to": self.to.to_string(),
            "closes_at": self.closes_at.to_string(),
            "evidence": self.evidence.name(),
            "as_of": self.as_of.to_string(),
            "pseudonym_algorithm": self.pseudonyms.algorithm.name(),
            "canonicalizer": self.pseudonyms.canonicalizer,
            "user_id_trim": self.pseudonyms.users.trim,
            "user_id_nfc": self.pseudonyms.users.nfc,
            "user_id_lower": self.pseudonyms.users.lower,
        });
        if let (Some(quality), Some(members)) = (&self.quality, value.as_object_mut()) {
            let quality = serde_json::to_value(quality).unwrap_or_default();
            members.insert("quality".to_owned(), quality);
        }
        value
    }

    /// The figures as a JSON text.
    pub fn to_json(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }

    /// The cells of a CSV row, in the order of [`csv_names`].
    fn cells(&self) -> Vec<String> {
        let counters = &self.counters;
        let mut cells = vec![
            self.site_id.to_string(),
            self.month.to_string(),
            self.time_zone.clone(),
            self.state.to_string(),
            self.rule_set.to_string(),
        ];
        let figures = [
            counters.mau,
            counters.licenses_issued,
            counters.licenses_failed,
            counters.devices,
            counters.unattributed_licenses,
            counters.watermark_sessions,
            counters.watermark_users,
            counters.duplicates,
            self.corrections.records,
            self.corrections.mau,
            counters.device_users,
            counters.failures_counted,
            counters.trial,
            counters.test,
        ];
        cells.extend(figures.iter().map(u64::to_string));
        let by_drm = counters.mau_by_drm.iter().zip(&counters.licenses_by_drm);
        cells.extend(by_drm.flat_map(|(mau, licenses)| [mau.to_string(), licenses.to_string()]));
        cells.extend(counters.exclusions().map(|(_, count)| count.to_string()));
        cells.extend(self.corrections.late().map(|(_, count)| count.to_string()));
        let late = self.corrections.exclusions();
        cells.extend(late.map(|(_, count)| count.to_string()));
        cells.extend([
            self.from.to_string(),
            self.to.to_string(),
            self.closes_at.to_string(),
            self.evidence.to_string(),
            self.as_of.to_string(),
        ]);
        // What is newer stands behind all that there was, so that nothing moves.
        let newer = [
            counters.licenses_by_device,
            counters.session_records,
            counters.other_records,
            counters.records,
        ];
        cells.extend(newer.iter().map(u64::to_string));
        let Pseudonyms { algorithm, canonicalizer, users } = self.pseudonyms;
        cells.extend([algorithm.name().to_owned(), canonicalizer.to_string()]);
        cells.extend([users.trim, users.nfc, users.lower].map(|option| option.to_string()));
        cells.extend(IdQuality::columns(self.quality.as_ref()).into_iter().map(|(_, cell)| cell));
        cells
    }
}

/// What came after the close: records, users beyond the closed month's, and everything else of
/// which there is any.
pub(super) fn corrections(of: &Counters) -> Value {
    let mut said = json!({"records": of.records, "users": of.mau});
    for (name, count) in of.late().filter(|(_, count)| *count > 0) {
        said[name] = count.into();
    }
    let reasons = of.exclusions().filter(|(_, count)| *count > 0);
    let reasons: Map<String, Value> =
        reasons.map(|(reason, count)| (reason.to_owned(), count.into())).collect();
    if !reasons.is_empty() {
        said["excluded"] = reasons.into();
    }
    said
}

/// What is not counted, by reason.
pub fn excluded(counters: &Counters) -> Value {
    let pairs = counters.exclusions().map(|(reason, count)| (reason.to_owned(), json!(count)));
    Value::Object(pairs.collect())
}

/// A page of a list: `items`, and a `cursor` where there is more.
pub fn list_to_json(items: &[Usage], cursor: Option<&str>) -> Vec<u8> {
    let mut page = Map::new();
    page.insert("items".to_owned(), items.iter().map(Usage::to_value).collect());
    if let Some(cursor) = cursor {
        page.insert("cursor".to_owned(), json!(cursor));
    }
    Value::Object(page).to_string().into_bytes()
}

/// The list as CSV (RFC 4180): a header row, rows ended by CRLF.
pub fn list_to_csv(items: &[Usage]) -> Vec<u8> {
    let mut text = String::new();
    row(&mut text, csv_names());
    for item in items {
        row(&mut text, item.cells());
    }
    text.into_bytes()
}

fn csv_names() -> Vec<String> {
    const HEAD: &str = "site_id month time_zone state rule_set mau licenses_issued licenses_failed \
        devices unattributed_licenses watermark_sessions watermark_users duplicates \
        corrected_records corrected_users device_users failures_counted \
        trial test";
    let mut names: Vec<String> = HEAD.split_ascii_whitespace().map(str::to_owned).collect();
    let by_drm = |drm: &DrmType| [format!("mau_{drm}"), format!("licenses_issued_{drm}")];
    names.extend(DrmType::ALL.iter().flat_map(by_drm));
    let excluded = Counters::default();
    names.extend(excluded.exclusions().map(|(reason, _)| format!("excluded_{reason}")));
    names.extend(excluded.late().map(|(name, _)| format!("corrected_{name}")));
    let late = excluded.exclusions().map(|(reason, _)| format!("corrected_excluded_{reason}"));
    names.extend(late);
    names.extend(["from", "to", "closes_at", "evidence", "as_of"].map(str::to_owned));
    const NEWER: &str = "licenses_by_device session_records other_records records \
        pseudonym_algorithm canonicalizer user_id_trim user_id_nfc user_id_lower";
    names.extend(NEWER.split_ascii_whitespace().map(str::to_owned));
    names.extend(IdQuality::columns(None).into_iter().map(|(name, _)| name));
    names
}

fn row(text: &mut String, cells: Vec<String>) {
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&csv_cell(cell));
    }
    text.push_str("\r\n");
}

/// A cell of a CSV row. A text that a spreadsheet would take for a formula is told apart by an
/// apostrophe.
pub fn csv_cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guarded = if formula { format!("'{text}") } else { text.to_owned() };
    if guarded.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::explained::QualityLimits;

    fn usage() -> Usage {
        let mut counters = Counters { mau: 3, licenses_issued: 5, ..Counters::default() };
        counters.mau_by_drm[0] = 3;
        counters.licenses_by_drm[0] = 5;
        Usage {
            site_id: SiteId::parse(b"-ACME").unwrap(),
            month: Month::new(2026, 11).unwrap(),
            time_zone: "UTC".to_owned(),
            pseudonyms: Pseudonyms::default(),
            rule_set: RuleSet::of(7),
            state: State::Open,
            counters,
            closes_at: Timestamp(1_796_342_400_000),
            corrections: Counters::default(),
            from: Timestamp(1_793_491_200_000),
            to: Timestamp(1_796_083_200_000),
            evidence: Evidence::Live,
            as_of: Timestamp(1_795_320_960_000),
            quality: None,
        }
    }

    #[test]
    fn json_has_the_members_of_the_contract() {
        let read: Value = serde_json::from_slice(&usage().to_json()).unwrap();
        assert_eq!(read["from"], json!("2026-11-01T00:00:00Z"));
        assert_eq!(read["by_drm_type"], json!({"widevine": {"mau": 3, "licenses_issued": 5}}));
        assert_eq!(read["corrections"], json!({"records": 0, "users": 0}));
        assert_eq!(read["other_environments"], json!({"trial": 0, "test": 0}));
        let mut late = usage();
        late.corrections = Counters {
            records: 9,
            mau: 2,
            watermark_sessions: 4,
            trial: 3,
            sessions_test: 1,
            ..Counters::default()
        };
        let said: Value = serde_json::from_slice(&late.to_json()).unwrap();
        let wanted = json!({"records": 9, "users": 2, "watermark_sessions": 4,
            "excluded": {"trial": 3, "session_test": 1}});
        assert_eq!(said["corrections"], wanted);
        let page = list_to_json(&[usage()], Some("c"));
        let page: Value = serde_json::from_slice(&page).unwrap();
        assert_eq!(page["items"][0], read);
        assert_eq!(page["cursor"], json!("c"));
    }

    /// Whatever the JSON form says of a month, the other one says as well.
    #[test]
    fn csv_lacks_nothing_that_json_has() {
        let mut late = usage();
        let numbers: Vec<u64> = (1..=Counters::FIGURES as u64).map(|at| at * 1_000).collect();
        late.corrections = Counters::from_figures(&numbers).unwrap();
        let numbers: Vec<u64> = numbers.iter().map(|number| number + 7).collect();
        late.counters = Counters::from_figures(&numbers).unwrap();
        late.quality = Some(IdQuality {
            as_of: Timestamp(1_795_320_900_000),
            records_counted: 81,
            suspect_shared_users: Some(82),
            suspect_user_share_ppm: None,
            limits: QualityLimits { users_per_device: 83, ..QualityLimits::default() },
            ..IdQuality::default()
        });
        let said: Value = serde_json::from_slice(&late.to_json()).unwrap();
        let text = String::from_utf8(list_to_csv(&[late])).unwrap();
        let rows: Vec<Vec<&str>> =
            text.split_terminator("\r\n").map(|row| row.split(',').collect()).collect();
        let cell = |name: &str| {
            let at = rows[0].iter().position(|of| *of == name);
            at.map(|at| rows[1][at]).unwrap_or_else(|| panic!("{name} is not there"))
        };
        let same = |name: &str, value: &Value| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(cell(name).trim_start_matches('\''), text, "{name}");
        };
        let members = |value: &Value| value.as_object().unwrap().clone().into_iter();
        for (name, value) in members(&said) {
            match name.as_str() {
                "excluded" => members(&value)
                    .for_each(|(reason, count)| same(&format!("excluded_{reason}"), &count)),
                "corrections" => members(&value).for_each(|(late, count)| match late.as_str() {
                    "excluded" => members(&count).for_each(|(reason, count)| {
                        same(&format!("corrected_excluded_{reason}"), &count);
                    }),
                    _ => same(&format!("corrected_{late}"), &count),
                }),
                "by_drm_type" => members(&value).for_each(|(drm, of)| {
                    same(&format!("mau_{drm}"), &of["mau"]);
                    same(&format!("licenses_issued_{drm}"), &of["licenses_issued"]);
                }),
                "other_environments" => {
                    members(&value).for_each(|(name, count)| same(&name, &count));
                }
                "quality" => members(&value).for_each(|(name, value)| match name.as_str() {
                    "limits" => members(&value)
                        .for_each(|(name, value)| same(&format!("quality_limits_{name}"), &value)),
                    _ if value.is_null() => same(&format!("quality_{name}"), &json!("")),
                    _ => same(&format!("quality_{name}"), &value),
                }),
                _ => same(&name, &value),
            }
        }
        // Where nothing was explained the columns are there all the same, with nothing in them.
        let text = String::from_utf8(list_to_csv(&[usage()])).unwrap();
        let (names, cells) = text.split_once("\r\n").unwrap();
        assert!(names.ends_with(",quality_limits_license_share_least"), "{names}");
        assert!(cells.ends_with(&format!(",false{}\r\n", ",".repeat(18))), "{cells}");
    }

    #[test]
    fn csv_is_square_and_guarded() {
        let text = String::from_utf8(list_to_csv(&[usage()])).unwrap();
        let rows: Vec<&str> = text.split_terminator("\r\n").collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].split(',').count(), rows[1].split(',').count());
        assert!(rows[1].starts_with("'-ACME,2026-11,UTC,open,mau/7,3,5,"));
        assert_eq!(csv_cell("a\"b,c"), "\"a\"\"b,c\"");
        assert_eq!(csv_cell("=1"), "'=1");
    }
}
