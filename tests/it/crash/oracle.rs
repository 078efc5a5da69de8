//! Random records, and the exact figures that they must come to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::clients::AGE_SECONDS_MAX;
use crate::support::Random;

/// A site of the test.
pub struct Site {
    /// Its id.
    pub id: &'static str,
    /// Its zone.
    pub zone: &'static str,
    /// Its users.
    users: u64,
}

/// Sites of unequal size.
pub const SITES: [Site; 4] = [
    Site { id: "ACME", zone: "UTC", users: 60_000 },
    Site { id: "globex", zone: "Asia/Seoul", users: 20_000 },
    Site { id: "initech.tv", zone: "America/New_York", users: 2_000 },
    Site { id: "tiny-1", zone: "UTC", users: 7 },
];

/// DRM systems; the last is what a record without one counts as.
const DRM: [&str; 5] = ["widevine", "fairplay", "playready", "wiseplay", "other"];
/// Requests; all but the last two issue a licence.
const REQUESTS: [&str; 5] = ["new", "renewal", "offline", "release", "preflight"];

/// The first of the users that come once, for a short time; a power of two.
const NEWCOMERS: u64 = 1 << 24;

/// A licence record in numbers.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Its event.
    pub event: u64,
    site: u8,
    drm: u8,
    request: u8,
    failed: bool,
    user: Option<u32>,
    device: Option<u32>,
    at_second: i64,
}

impl Record {
    /// A record of this event; mostly of the last hours.
    pub fn random(event: u64, now_second: i64, random: &mut Random) -> Self {
        let site = [0, 0, 0, 0, 0, 1, 1, 1, 2, 3][random.below(10) as usize];
        let users = SITES[usize::from(site)].users;
        let user = match random.below(4) {
            // Some come often, and some are new and come several times at once.
            0 => random.below(users.div_ceil(100)),
            1 if users > 1_000 => NEWCOMERS + event % NEWCOMERS / 500 * 20 + random.below(20),
            _ => random.below(users),
        } as u32;
        let age = match random.below(10) {
            0 => random.below(AGE_SECONDS_MAX),
            1..=3 => random.below(3 * 86_400),
            _ => random.below(7_200),
        };
        Self {
            event,
            site,
            drm: random.below(5) as u8,
            request: [0, 0, 0, 0, 1, 1, 2, 2, 3, 4][random.below(10) as usize],
            failed: random.below(20) == 0,
            user: (random.below(25) != 0).then_some(user),
            device: (random.below(10) != 0).then(|| user * 3 + random.below(3) as u32),
            at_second: now_second - age as i64,
        }
    }

    /// Writes the record as a line of NDJSON.
    pub fn write(&self, out: &mut String) {
        let site = SITES[usize::from(self.site)].id;
        let at = jiff::Timestamp::from_second(self.at_second).expect("a time");
        let outcome = if self.failed { "fail" } else { "success" };
        let request = REQUESTS[usize::from(self.request)];
        let event = self.event;
        write!(out, r#"{{"event_id":"e-{event}","type":"drm.license.issued","site_id":"{site}","#)
            .expect("text");
        write!(out, r#""occurred_at":"{at}","outcome":"{outcome}","request_type":"{request}""#)
            .expect("text");
        if let Some(user) = self.user {
            write!(out, r#","user_id":"viewer-{user}""#).expect("text");
        }
        if self.drm < 4 {
            write!(out, r#","drm_type":"{}""#, DRM[usize::from(self.drm)]).expect("text");
        }
        if let Some(device) = self.device {
            let id = u64::from(device).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x0123_4567_89ab_cdef;
            write!(out, r#","device":{{"ids":[{{"kind":"android_id","value":"{id:016x}"}}]}}"#)
                .expect("text");
        }
        out.push_str("}\n");
    }
}

/// The figures of a site's month.
#[derive(Default)]
struct Figures {
    users: HashSet<u32>,
    devices: HashSet<u32>,
    issued: u64,
    failed: u64,
    unattributed: u64,
    by_drm: [(HashSet<u32>, u64); DRM.len()],
}

impl Figures {
    fn add(&mut self, record: &Record) {
        if record.request >= 3 {
            return;
        }
        if record.failed {
            self.failed += 1;
            return;
        }
        let drm = &mut self.by_drm[usize::from(record.drm)];
        self.issued += 1;
        drm.1 += 1;
        match record.user {
            Some(user) => {
                self.users.insert(user);
                drm.0.insert(user);
            }
            None => self.unattributed += 1,
        }
        self.devices.extend(record.device);
    }

    /// The same in the words of the contract.
    fn to_value(&self) -> Value {
        let seen = DRM.iter().zip(&self.by_drm).filter(|(_, (_, issued))| *issued > 0);
        let by_drm: BTreeMap<_, _> = seen
            .map(|(name, (users, issued))| {
                (*name, json!({"mau": users.len(), "licenses_issued": issued}))
            })
            .collect();
        json!({
            "mau": self.users.len(),
            "devices": self.devices.len(),
            "licenses_issued": self.issued,
            "licenses_failed": self.failed,
            "unattributed_licenses": self.unattributed,
            "by_drm_type": by_drm,
        })
    }
}

/// Everything that was acknowledged, counted exactly.
pub struct Oracle {
    zones: Vec<TimeZone>,
    events: HashSet<u64>,
    months: HashMap<(u8, String), Figures>,
}

impl Oracle {
    /// Nothing yet.
    pub fn new() -> Self {
        let zones = SITES.iter().map(|site| TimeZone::get(site.zone).expect("a zone")).collect();
        Self { zones, events: HashSet::new(), months: HashMap::new() }
    }

    /// Counts a record; false when it was counted before.
    pub fn add(&mut self, record: &Record) -> bool {
        if !self.events.insert(record.event) {
            return false;
        }
        let at = jiff::Timestamp::from_second(record.at_second).expect("a time");
        let at = at.to_zoned(self.zones[usize::from(record.site)].clone());
        let month = at.strftime("%Y-%m").to_string();
        self.months.entry((record.site, month)).or_default().add(record);
        true
    }

    /// Distinct records.
    pub fn records(&self) -> usize {
        self.events.len()
    }

    /// Each site and month that has records, and what its figures must be.
    pub fn figures(&self) -> BTreeMap<(&'static str, &str), Value> {
        let named = self.months.iter();
        named
            .map(|((site, month), figures)| {
                ((SITES[usize::from(*site)].id, month.as_str()), figures.to_value())
            })
            .collect()
    }
}
