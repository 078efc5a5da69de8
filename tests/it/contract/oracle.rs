//! An oracle of the figures: it makes random records and counts them with plain sets.

use std::collections::{BTreeMap, HashMap, HashSet};

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};

use super::*;
use crate::support::{Random, seed};

/// What the oracle knows of a site's month.
#[derive(Default)]
pub struct Month {
    users: HashSet<String>,
    by_drm: BTreeMap<&'static str, (HashSet<String>, u64)>,
    issued: u64,
    /// Failed license requests.
    pub failed: u64,
    unattributed: u64,
    /// Recommended good ids.
    pub devices: HashSet<String>,
    sessions: HashSet<String>,
    session_users: HashSet<String>,
    duplicates: u64,
    trial: u64,
    test: u64,
}

impl Month {
    /// The figures as they must be answered.
    pub fn figures(&self) -> Value {
        let by_drm: serde_json::Map<String, Value> = self
            .by_drm
            .iter()
            .map(|(drm, (users, licenses))| {
                ((*drm).to_owned(), json!({"mau": users.len(), "licenses_issued": licenses}))
            })
            .collect();
        json!({
            "mau": self.users.len(),
            "licenses_issued": self.issued,
            "licenses_failed": self.failed,
            "devices": self.devices.len(),
            "unattributed_licenses": self.unattributed,
            "by_drm_type": by_drm,
            "watermark_sessions": self.sessions.len(),
            "watermark_users": self.session_users.len(),
            "duplicates": self.duplicates,
            "corrections": {"records": 0, "users": 0},
            "other_environments": {"trial": self.trial, "test": self.test},
        })
    }
}

/// A generator of records that counts what it makes.
pub struct Oracle {
    random: Random,
    /// What it has counted, by site and month.
    pub months: HashMap<(String, String), Month>,
    sent: Vec<(Value, (String, String))>,
    now: i64,
}

/// The sites, the hours by which their zones are ahead, and what they call nobody.
const SITES: [(&str, i8, &[&str]); 2] = [("A", 0, &[]), ("B", 9, &["lobby"])];
/// Sentinels of every site.
const NOBODY: [&str; 6] = ["", "LICENSETOKEN", "guest", "-1", "null", "proxySample"];
const DRM: [(&str, &str); 7] = [
    ("widevine", "widevine"),
    ("WIDEVINE_MODULAR", "widevine"),
    ("FairPlay", "fairplay"),
    ("fps", "fairplay"),
    ("PlayReady", "playready"),
    ("ncg", "ncg"),
    ("", "other"),
];

impl Oracle {
    /// An oracle of a fresh seed.
    pub fn new() -> Self {
        Self {
            random: Random::new(seed()),
            months: HashMap::new(),
            sent: Vec::new(),
            now: jiff::Timestamp::now().as_second(),
        }
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.random.below(list.len() as u64) as usize]
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.random.below(n) == 0
    }

    /// So many records; one in ten was sent before.
    pub fn batch(&mut self, records: u64) -> Vec<Value> {
        (0..records).map(|_| self.record()).collect()
    }

    fn record(&mut self) -> Value {
        if !self.sent.is_empty() && self.one_in(10) {
            let at = self.random.below(self.sent.len() as u64) as usize;
            let (record, place) = self.sent[at].clone();
            self.months.get_mut(&place).unwrap().duplicates += 1;
            return with(&record, "user_id", "someone else");
        }
        let (site, hours, own_nobody) = self.pick(&SITES);
        let seconds = self.now - self.random.below(33 * 86_400) as i64;
        let time = jiff::Timestamp::from_second(seconds).unwrap();
        let zoned = time.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(hours)));
        let place = (site.to_owned(), zoned.strftime("%Y-%m").to_string());
        let mut record = json!({
            "event_id": format!("o-{}", self.sent.len()),
            "site_id": site,
            "occurred_at": time.to_string(),
        });
        let environment = self.pick(&["", "production", "production", "trial", "test"]);
        if !environment.is_empty() {
            record["environment"] = environment.into();
        }
        let production = matches!(environment, "" | "production");
        let user = self.user(&mut record, own_nobody);
        if self.one_in(5) {
            self.session(&mut record, &place, production, user);
        } else {
            self.license(&mut record, &place, environment, user);
        }
        self.sent.push((record.clone(), place));
        record
    }

    /// Gives the record a user; answers it where it is somebody.
    fn user(&mut self, record: &mut Value, own_nobody: &[&str]) -> Option<String> {
        let user = match self.random.below(8) {
            0 => return None,
            1 => self.pick(&NOBODY).to_owned(),
            2 => "lobby".to_owned(),
            // Byte-exact: each of these is a user of its own.
            3 => self.pick(&["user1", "User1", "user1 ", "사용자1", "usér1"]).to_owned(),
            _ => format!("user{}", self.random.below(40)),
        };
        record["user_id"] = user.clone().into();
        let nobody = NOBODY.contains(&user.as_str()) || own_nobody.contains(&user.as_str());
        (!nobody).then_some(user)
    }

    fn session(
        &mut self,
        record: &mut Value,
        place: &(String, String),
        production: bool,
        user: Option<String>,
    ) {
        let session = format!("session {}", self.random.below(60));
        record["type"] = "watermark.session.created".into();
        record["wm_session_id"] = session.clone().into();
        let outcome = self.pick(&["", "success", "fail"]);
        if !outcome.is_empty() {
            record["outcome"] = outcome.into();
        }
        let month = self.months.entry(place.clone()).or_default();
        if production && outcome != "fail" {
            month.sessions.insert(session);
            month.session_users.extend(user);
        }
    }

    fn license(
        &mut self,
        record: &mut Value,
        place: &(String, String),
        environment: &str,
        user: Option<String>,
    ) {
        record["type"] = "drm.license.issued".into();
        let outcome = self.pick(&["success", "SUCCESS", "0000", "fail", "FD007"]);
        record["outcome"] = outcome.into();
        let request = self.pick(&[
            "",
            "new",
            "NEW",
            "renewal",
            "offline",
            "release",
            "server_cert",
            "preflight",
        ]);
        if !request.is_empty() {
            record["request_type"] = request.into();
        }
        match self.random.below(4) {
            0 => record["license_type"] = "offline".into(),
            1 => record["persistent"] = true.into(),
            _ => {}
        }
        let (spelled, drm) = self.pick(&DRM);
        if !spelled.is_empty() {
            record["drm_type"] = spelled.into();
        }
        let device = self.device(record);
        let issues = !matches!(request, "release" | "server_cert" | "preflight");
        let success = !matches!(outcome, "fail" | "FD007");
        let month = self.months.entry(place.clone()).or_default();
        match (environment, success) {
            _ if !issues => {}
            ("trial", true) => month.trial += 1,
            ("test", true) => month.test += 1,
            ("trial" | "test", false) => {}
            (_, false) => month.failed += 1,
            (_, true) => {
                month.issued += 1;
                month.devices.extend(device);
                let (users, licenses) = month.by_drm.entry(drm).or_default();
                *licenses += 1;
                match user {
                    Some(user) => {
                        users.insert(user.clone());
                        month.users.insert(user);
                    }
                    None => month.unattributed += 1,
                }
            }
        }
    }

    /// Gives the record a device; answers the id that counts, if one of its ids is good.
    fn device(&mut self, record: &mut Value) -> Option<String> {
        let n = self.random.below(25);
        let turn = self.random.below(4);
        let ids = Ids { n, turn };
        let junk = json!({"kind": "android_id", "value": "9774D56D682E549C"});
        let shared = "b2761ec9e81a8448ad4d7cf48bc55a06aba1789aeaccf2c7374dc101d11fdf5a";
        let zeros = "00000000-0000-0000-0000-000000000000";
        let (list, counted) = match self.random.below(13) {
            0 => return None,
            1 => (json!([ids.android()]), Some("android")),
            2 => (json!([ids.mac(), ids.android(), ids.widevine()]), Some("widevine")),
            3 => (json!([ids.mac(), ids.imei(true)]), Some("imei")),
            4 => (json!([ids.imei(false), ids.mac()]), Some("mac")),
            5 => (json!([junk, {"kind": "idfa", "value": zeros}]), None),
            6 => (json!([{"kind": "wifi_mac", "value": format!("06:00:00:00:00:{n:02x}")}]), None),
            7 => (json!([{"kind": "widevine_device_unique_id", "value": shared}]), None),
            8 => (json!([ids.imei(false)]), None),
            9 => (json!([ids.widevine(), ids.android()]), Some("android")),
            10 => (json!([junk, ids.mac()]), Some("mac")),
            11 => (json!([ids.serial(), ids.android()]), Some("serial")),
            _ => (json!([ids.serial()]), None),
        };
        record["device"] = json!({ "ids": list });
        let last = record["device"]["ids"].as_array().unwrap().len() == 1;
        match counted {
            Some("android") if !last => record["device"]["recommended"] = 1.into(),
            Some("mac") => record["device"]["recommended"] = 0.into(),
            Some("serial") => record["device"]["os"] = "android".into(),
            None => record["device"]["platform"] = "web".into(),
            _ => {}
        }
        counted.map(|kind| format!("{kind} {n}"))
    }
}

/// Device ids of one number in several spellings.
struct Ids {
    n: u64,
    turn: u64,
}

impl Ids {
    fn bytes(&self) -> [u8; 32] {
        *blake3::hash(&self.n.to_le_bytes()).as_bytes()
    }

    fn android(&self) -> Value {
        let value = match self.turn {
            0 => format!("{:x}", 0xab_cdef_0000 + self.n),
            1 => format!("{:016X}", 0xab_cdef_0000 + self.n),
            _ => format!("{:016x}", 0xab_cdef_0000 + self.n),
        };
        json!({"kind": "android_id", "value": value})
    }

    fn widevine(&self) -> Value {
        let value = match self.turn {
            0 => HEXUPPER.encode(&self.bytes()),
            1 => HEXLOWER.encode(&self.bytes()),
            2 => BASE64.encode(&self.bytes()) + "\n",
            _ => BASE64.encode(&self.bytes()),
        };
        json!({"kind": "widevine_device_unique_id", "value": value})
    }

    fn serial(&self) -> Value {
        let value = match self.turn {
            0 => BASE64.encode(HEXLOWER.encode(&self.bytes()[..17]).as_bytes()),
            _ => BASE64.encode(&self.bytes()[..17]),
        };
        json!({"kind": "widevine_cert_serial", "value": value})
    }

    fn mac(&self) -> Value {
        let n = self.n;
        let value = match self.turn {
            0 => format!("00:23:45:67:89:{n:02x}"),
            1 => format!("00-23-45-67-89-{n:02X}"),
            2 => format!("0023.4567.89{n:02x}"),
            _ => format!("0023456789{n:02x}"),
        };
        json!({"kind": "wifi_mac", "value": value})
    }

    fn imei(&self, good: bool) -> Value {
        let body = format!("490154203237{:02}", self.n);
        let sum: u32 = body
            .bytes()
            .enumerate()
            .map(|(at, digit)| u32::from(digit - b'0') * (1 + at as u32 % 2))
            .map(|value| value / 10 + value % 10)
            .sum();
        let check = (10 - sum % 10) % 10;
        let (kind, value) = match self.turn {
            // Never 0, which stands for no check digit.
            _ if !good => ("imei", format!("{body}{}", 1 + (check + u32::from(check == 9)) % 9)),
            0 => ("imei", body),
            1 => ("imei", format!("{body}0")),
            2 => ("imeisv", format!("{body}17")),
            _ => ("imei", format!("{}-{}-{check}", &body[..6], &body[6..])),
        };
        json!({"kind": kind, "value": value})
    }
}
