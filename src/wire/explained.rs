//! The licences of a month, explained, as they are answered; and the quality of its ids, which goes
//! with usage and statement.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::retention::spoken::text;
use super::usage::csv_cell;
use crate::model::explained::{Cell, Explained, Family, Histogram, Ranges};
use crate::model::time::Timestamp;
use crate::model::vocab::Quality;

/// What a share is a part of.
const MILLION: u128 = 1_000_000;

/// How far the ids of a month can be trusted: counts and shares, nobody's id and no pseudonym.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdQuality {
    /// The fold that the figures are of, and the records are those until then. Whoever was to be
    /// erased by the time of the reading is among what was counted and not among what was seen.
    #[serde(with = "text")]
    pub as_of: Timestamp,
    /// Records that were counted until then.
    pub records_counted: u64,
    /// Records among them that were still there to be read.
    pub records_seen: u64,
    /// Issued licences whose user id stands for nobody.
    pub sentinel_licenses: u64,
    /// Their share of the issued licences, parts of a million.
    pub sentinel_share_ppm: u64,
    /// Issued licences that are nobody's, those with a sentinel included.
    pub unattributed_licenses: u64,
    /// Their share of the issued licences, parts of a million.
    pub unattributed_share_ppm: u64,
    /// Users that look like many; unknown, as all of suspects, where too little was left to read.
    pub suspect_shared_users: Option<u64>,
    /// Those with too many devices.
    pub suspect_users_by_devices: Option<u64>,
    /// Those with too large a share of the licences.
    pub suspect_users_by_share: Option<u64>,
    /// The licences of suspect users.
    pub suspect_user_licenses: Option<u64>,
    /// Their share of the issued licences that were read, parts of a million.
    pub suspect_user_share_ppm: Option<u64>,
    /// Devices that look like many.
    pub suspect_shared_devices: Option<u64>,
    /// Their licences.
    pub suspect_device_licenses: Option<u64>,
    /// From where on a member is suspect.
    pub limits: QualityLimits,
}

/// From where on a member is suspect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityLimits {
    /// A user with more devices.
    pub devices_per_user: u32,
    /// A device with more users.
    pub users_per_device: u32,
    /// A user with more of the licences, parts of a million, ...
    pub license_share_ppm: u32,
    /// ... where so many were issued.
    pub license_share_least: u64,
}

/// A part of a whole in parts of a million, rounded down; of nothing nothing.
fn share(part: u64, of: u64) -> u64 {
    let million = u128::from(part) * MILLION;
    u64::try_from(million.checked_div(u128::from(of)).unwrap_or(0)).unwrap_or(u64::MAX)
}

impl IdQuality {
    /// Its figures with their names; nothing for what is unknown.
    pub fn figures(&self) -> [(&'static str, Option<u64>); 13] {
        [
            ("records_counted", Some(self.records_counted)),
            ("records_seen", Some(self.records_seen)),
            ("sentinel_licenses", Some(self.sentinel_licenses)),
            ("sentinel_share_ppm", Some(self.sentinel_share_ppm)),
            ("unattributed_licenses", Some(self.unattributed_licenses)),
            ("unattributed_share_ppm", Some(self.unattributed_share_ppm)),
            ("suspect_shared_users", self.suspect_shared_users),
            ("suspect_users_by_devices", self.suspect_users_by_devices),
            ("suspect_users_by_share", self.suspect_users_by_share),
            ("suspect_user_licenses", self.suspect_user_licenses),
            ("suspect_user_share_ppm", self.suspect_user_share_ppm),
            ("suspect_shared_devices", self.suspect_shared_devices),
            ("suspect_device_licenses", self.suspect_device_licenses),
        ]
    }

    /// The columns of a CSV row, by their names: nothing in them where the licences were not
    /// explained, or of what is unknown.
    pub fn columns(of: Option<&Self>) -> Vec<(String, String)> {
        let none = Self::default();
        let said = of.unwrap_or(&none);
        let limits = &said.limits;
        let least = limits.license_share_least;
        let limits = [
            ("limits_devices_per_user", u64::from(limits.devices_per_user)),
            ("limits_users_per_device", u64::from(limits.users_per_device)),
            ("limits_license_share_ppm", u64::from(limits.license_share_ppm)),
            ("limits_license_share_least", least),
        ];
        let counts = said.figures().into_iter();
        let counts = counts.chain(limits.map(|(name, count)| (name, Some(count))));
        let counts = counts.map(|(name, count)| (name, count.map(|count| count.to_string())));
        let all = [("as_of", Some(said.as_of.to_string()))].into_iter().chain(counts);
        let cell = |cell: Option<String>| cell.filter(|_| of.is_some()).unwrap_or_default();
        all.map(|(name, value)| (format!("quality_{name}"), cell(value))).collect()
    }

    /// What the explanations of a group's members say together; nothing without any. A licence is
    /// of one member, so licences, records and their shares are sums. Whether a user of one member
    /// is one of another nobody can tell, so suspects are counted at each: one who looks like many
    /// at two of them is two. Where one member's are unknown, so are all.
    pub fn of_members(of: &[Arc<Explained>]) -> Option<Self> {
        let members: Vec<Self> = of.iter().map(|of| Self::of(of)).collect();
        let sum = |figure: fn(&Self) -> u64| members.iter().map(figure).sum::<u64>();
        let known =
            |figure: fn(&Self) -> Option<u64>| members.iter().map(figure).sum::<Option<u64>>();
        let issued = of.iter().map(|of| of.tally.counters.licenses_issued).sum();
        let read = of.iter().map(|of| of.licenses_issued()).sum();
        let (sentinel, nobodys) =
            (sum(|of| of.sentinel_licenses), sum(|of| of.unattributed_licenses));
        let suspect = known(|of| of.suspect_user_licenses);
        Some(Self {
            as_of: members.iter().map(|of| of.as_of).min()?,
            records_counted: sum(|of| of.records_counted),
            records_seen: sum(|of| of.records_seen),
            sentinel_licenses: sentinel,
            sentinel_share_ppm: share(sentinel, issued),
            unattributed_licenses: nobodys,
            unattributed_share_ppm: share(nobodys, issued),
            suspect_shared_users: known(|of| of.suspect_shared_users),
            suspect_users_by_devices: known(|of| of.suspect_users_by_devices),
            suspect_users_by_share: known(|of| of.suspect_users_by_share),
            suspect_user_licenses: suspect,
            suspect_user_share_ppm: suspect.map(|licenses| share(licenses, read)),
            suspect_shared_devices: known(|of| of.suspect_shared_devices),
            suspect_device_licenses: known(|of| of.suspect_device_licenses),
            limits: members.first()?.limits.clone(),
        })
    }

    /// What an explanation says of the ids.
    pub fn of(of: &Explained) -> Self {
        let (counters, suspects, limits) = (&of.tally.counters, of.suspects, of.limits);
        let issued = counters.licenses_issued;
        let told = |figure: u64| of.tells_suspects().then_some(figure);
        Self {
            as_of: of.as_of,
            records_counted: of.records_counted(),
            records_seen: of.records_seen,
            sentinel_licenses: counters.sentinel_licenses,
            sentinel_share_ppm: share(counters.sentinel_licenses, issued),
            unattributed_licenses: counters.unattributed_licenses,
            unattributed_share_ppm: share(counters.unattributed_licenses, issued),
            suspect_shared_users: told(suspects.users),
            suspect_users_by_devices: told(suspects.users_by_devices),
            suspect_users_by_share: told(suspects.users_by_share),
            suspect_user_licenses: told(suspects.user_licenses),
            suspect_user_share_ppm: told(share(suspects.user_licenses, of.licenses_issued())),
            suspect_shared_devices: told(suspects.devices),
            suspect_device_licenses: told(suspects.device_licenses),
            limits: QualityLimits {
                devices_per_user: limits.devices_per_user,
                users_per_device: limits.users_per_device,
                license_share_ppm: limits.license_share_ppm,
                license_share_least: limits.share_least,
            },
        }
    }
}

/// An explanation as it is shown: without what it says is about too few.
#[derive(Clone, Debug)]
pub struct Shown(pub Arc<Explained>);

/// What is shown of a breakdown, and what is left out: its parts and their sum.
struct Split<T> {
    shown: Vec<(T, u64)>,
    left_out: (u64, u64),
}

impl<T> Split<T> {
    fn of(parts: impl Iterator<Item = (T, u64)>, hidden: &[bool]) -> Self {
        let mut split = Self { shown: Vec::new(), left_out: (0, 0) };
        for ((name, count), hidden) in parts.zip(hidden) {
            if count == 0 {
                continue;
            }
            if *hidden {
                split.left_out = (split.left_out.0 + 1, split.left_out.1 + count);
            } else {
                split.shown.push((name, count));
            }
        }
        split
    }

    fn suppressed(&self) -> Value {
        json!({"parts": self.left_out.0, "count": self.left_out.1})
    }
}

impl Shown {
    fn requests(&self) -> Split<Cell> {
        let parts = self.0.requests.iter().map(|(cell, part)| (*cell, part.records));
        Split::of(parts, &self.0.hidden.requests)
    }

    fn qualities(&self) -> Split<&'static str> {
        let name = |quality: &Option<Quality>| quality.map_or("none", Quality::name);
        let parts = &self.0.licenses_by_quality;
        let parts = parts.iter().map(|(quality, part)| (name(quality), part.records));
        Split::of(parts, &self.0.hidden.qualities)
    }

    fn histograms(&self) -> [(&'static str, Split<(u32, Option<u32>)>); 4] {
        let of = &self.0;
        let split = |histogram: &Histogram, which: Ranges| {
            let parts = histogram.0.iter().enumerate();
            let parts = parts.map(|(at, count)| (Histogram::range(at), *count));
            Split::of(parts, &self.0.hidden.ranges[which as usize])
        };
        [
            ("licenses_per_user", split(&of.licenses_per_user, Ranges::LicensesPerUser)),
            ("devices_per_user", split(&of.devices_per_user, Ranges::DevicesPerUser)),
            ("users_per_device", split(&of.users_per_device, Ranges::UsersPerDevice)),
            ("licenses_per_session", split(&of.licenses_per_session, Ranges::LicensesPerSession)),
        ]
    }

    fn device_ids(&self) -> impl Iterator<Item = (&'static str, Option<u64>)> + '_ {
        let parts = Quality::ALL.iter().zip(self.0.device_ids).zip(&self.0.hidden.device_ids);
        parts.map(|((quality, ids), hidden)| (quality.name(), (!hidden).then_some(ids)))
    }

    /// The totals, each with its name.
    fn totals(&self) -> Vec<(&'static str, u64)> {
        let of = &self.0;
        let failed = of.requests.iter().filter(|(cell, _)| cell.is_failure());
        vec![
            ("records_counted", of.records_counted()),
            ("records_seen", of.records_seen),
            ("licenses_issued", of.licenses_issued()),
            ("licenses_failed", failed.map(|(_, part)| part.records).sum()),
            ("unattributed_licenses", of.unattributed),
            ("duplicates", of.tally.counters.duplicates),
            ("users", of.users),
            ("devices", of.devices),
            ("device_users", of.device_users),
            ("session_licenses", of.session_licenses),
            ("sessions", of.licenses_per_session.members()),
            ("request_licenses", of.request_licenses),
            ("license_requests", of.requests_distinct),
            ("repeated_license_requests", of.request_licenses - of.requests_distinct),
        ]
    }

    /// As a JSON text.
    pub fn to_json(&self) -> Vec<u8> {
        let of = &self.0;
        let mut whole = Map::new();
        let mut put = |name: &str, value: Value| drop(whole.insert(name.to_owned(), value));
        put("site_id", of.site.as_str().into());
        put("month", of.month.to_string().into());
        put("as_of", of.as_of.to_string().into());
        put("subjects_least", of.hidden.least.into());
        for (name, count) in self.totals() {
            put(name, count.into());
        }
        put("renewals", of.hidden.renewals.into());
        let requests = self.requests();
        put(
            "requests",
            requests.shown.iter().map(|(cell, count)| cell_json(cell, *count)).collect(),
        );
        put("requests_suppressed", requests.suppressed());
        for (name, split) in self.histograms() {
            let ranges: Vec<Value> = split
                .shown
                .iter()
                .map(|((from, to), count)| json!({"from": from, "to": to, "count": count}))
                .collect();
            put(name, json!({"ranges": ranges, "suppressed": split.suppressed()}));
        }
        let ids: Map<String, Value> =
            self.device_ids().map(|(name, ids)| (name.to_owned(), ids.into())).collect();
        put("device_ids", ids.into());
        let qualities = self.qualities();
        let mut by_quality: Map<String, Value> = Map::new();
        for (name, count) in &qualities.shown {
            by_quality.insert((*name).to_owned(), (*count).into());
        }
        put("licenses_by_device_quality", by_quality.into());
        put("licenses_by_device_quality_suppressed", qualities.suppressed());
        put("quality", serde_json::to_value(IdQuality::of(of)).unwrap_or_default());
        Value::Object(whole).to_string().into_bytes()
    }

    /// As CSV (RFC 4180): a row for each figure.
    pub fn to_csv(&self) -> Vec<u8> {
        let of = &self.0;
        let mut rows = vec![
            ("site_id".to_owned(), of.site.to_string()),
            ("month".to_owned(), of.month.to_string()),
            ("as_of".to_owned(), of.as_of.to_string()),
            ("subjects_least".to_owned(), of.hidden.least.to_string()),
        ];
        let mut row = |name: String, count: u64| rows.push((name, count.to_string()));
        for (name, count) in self.totals() {
            row(name.to_owned(), count);
        }
        of.hidden.renewals.into_iter().for_each(|count| row("renewals".to_owned(), count));
        let requests = self.requests();
        for (cell, count) in &requests.shown {
            let error = cell.error.map_or(String::new(), |error| format!("_{error}"));
            let (result, drm) = (result(cell), cell.drm);
            let name = format!("requests_{}_{result}_{drm}_{}", cell.environment, cell.request);
            row(name + &error, *count);
        }
        row("requests_suppressed".to_owned(), requests.left_out.1);
        for (name, split) in self.histograms() {
            for ((from, to), count) in &split.shown {
                let to = to.map_or("more".to_owned(), |to| to.to_string());
                row(format!("{name}_{from}_{to}"), *count);
            }
            row(format!("{name}_suppressed"), split.left_out.1);
        }
        for (name, ids) in self.device_ids() {
            ids.into_iter().for_each(|ids| row(format!("device_ids_{name}"), ids));
        }
        let qualities = self.qualities();
        for (name, count) in &qualities.shown {
            row(format!("licenses_by_device_quality_{name}"), *count);
        }
        row("licenses_by_device_quality_suppressed".to_owned(), qualities.left_out.1);
        for (name, count) in IdQuality::of(of).figures() {
            count.into_iter().for_each(|count| row(format!("quality_{name}"), count));
        }
        let mut text = "figure,value\r\n".to_owned();
        for (name, value) in rows {
            text.push_str(&format!("{},{}\r\n", csv_cell(&name), csv_cell(&value)));
        }
        text.into_bytes()
    }

    /// In the shape of PallyCon's old statistics (`~/statistics` of its REST API of 2014); a count
    /// of devices of too few is `null`.
    pub fn to_pallycon(&self) -> Vec<u8> {
        let family = |family: Family| {
            let at = family as usize;
            let is_shown = self.0.hidden.families.get(at) == Some(&false);
            is_shown.then_some(self.0.devices_by_family[at])
        };
        let view = json!({
            "license_count": self.0.licenses_issued(),
            "device_count": self.0.devices,
            "user_count": self.0.users,
            "pc_count": family(Family::Pc),
            "ios_count": family(Family::Ios),
            "android_count": family(Family::Android),
        });
        view.to_string().into_bytes()
    }
}

/// How a licence request ended.
fn result(cell: &Cell) -> &'static str {
    cell.outcome.map_or("none", |outcome| outcome.name())
}

fn cell_json(cell: &Cell, records: u64) -> Value {
    json!({
        "environment": cell.environment.name(),
        "result": result(cell),
        "drm_type": cell.drm.name(),
        "request_type": cell.request.name(),
        "error_class": cell.error.map(|error| error.name()),
        "records": records,
    })
}
