//! Makes the traffic of the bill's run: records of every kind, some of them again, and lines that
//! must be refused, each for one reason.

use super::*;

/// Error codes, some of them unknown.
const CODES: [&str; 8] = ["7011", "7020", "2001", "8716", "1002", "7306", "0000", "E9"];
/// Some that options bring to a sentinel, or to nothing.
const NOBODY: &[&str] =
    &["", "guest", "lobby", "LICENSETOKEN", "Guest", " LOBBY", "licensetoken", "\u{3000} "];
/// Ways to spell a user, some of which options bring together.
const SPELLINGS: &[&str] = &[
    "us\u{e9}r#",
    "us\u{e9}r#",
    "use\u{301}r#",
    "USE\u{301}R#",
    " us\u{e9}r#\u{a0}",
    "US\u{c9}r#\n",
];
/// Instants at which a month begins somewhere.
const TURNS: [&str; 6] = [
    "2026-10-31T18:15:00Z",
    "2026-10-31T23:00:00Z",
    "2026-11-01T02:30:00Z",
    "2026-11-01T04:00:00Z",
    "2026-12-01T03:30:00Z",
    "2027-01-01T05:00:00Z",
];
/// Names of producers: one that a credential lists, and some that it does not.
const PRODUCERS: [&str; 5] = ["box-1", "box-1", "box-1", "stranger-1", "stranger-2"];
/// So old is what may come again, so that it is a duplicate and not too old.
const AGAIN: i64 = 34 * DAY;

/// Makes records.
pub(super) struct Maker {
    pub(super) random: Random,
    /// The sites that records are of.
    pub(super) sites: Vec<&'static str>,
    sent: Vec<Value>,
    made: u64,
    /// The users who were erased: what is not kept of them cannot be compared with late logs.
    pub(super) gone: Vec<u64>,
}

impl Maker {
    pub(super) fn new() -> Self {
        Self {
            random: Random::new(seed()),
            sites: SITES.map(|(site, _)| site).to_vec(),
            sent: Vec::new(),
            made: 0,
            gone: Vec::new(),
        }
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.random.below(list.len() as u64) as usize]
    }

    fn below(&mut self, end: i64) -> i64 {
        self.random.below(end as u64) as i64
    }

    /// A time that can be accepted: just now, around the turn of a month, or any.
    fn time(&mut self, now: i64) -> String {
        let turn = self.pick(&["2026-11-01", "2026-12-01", "2027-01-01"]);
        let turn = second(&format!("{turn}T00:00:00Z")) - 16 * HOUR;
        match self.random.below(8) {
            0..=3 => text(now - self.below(6 * HOUR)),
            4 if (turn..turn + AGAIN).contains(&now) => {
                text((turn + self.below(32 * HOUR)).min(now))
            }
            5 => {
                let exact = second(self.pick(&TURNS)) * 1_000 + self.below(3) - 1;
                let fits = (now - AGAIN..now).contains(&(exact / 1_000));
                let exact = if fits { exact } else { now * 1_000 };
                jiff::Timestamp::from_millisecond(exact).unwrap().to_string()
            }
            _ => text(now - self.below(AGAIN)),
        }
    }

    /// A record, or one that was sent before.
    pub(super) fn record(&mut self, now: i64) -> Value {
        if !self.sent.is_empty() && self.random.below(8) == 0 {
            let at = self.random.below(self.sent.len() as u64) as usize;
            let again = self.sent[at].clone();
            if now - second(again["occurred_at"].as_str().unwrap()) < AGAIN {
                return again;
            }
        }
        let record = self.fresh(now);
        self.sent.push(record.clone());
        record
    }

    /// A line: a record, or what must be refused.
    pub(super) fn line(&mut self, now: i64) -> String {
        match self.random.below(14) {
            0 => self.unfit(now),
            _ => self.record(now).to_string(),
        }
    }

    /// A record of a user at a site, spelled in a way that no record is.
    pub(super) fn of(&mut self, now: i64, site: &str, user: u64) -> Value {
        let mut record = self.fresh(now);
        record["site_id"] = site.into();
        record["type"] = "drm.license.issued".into();
        record.as_object_mut().unwrap().remove("wm_session_id");
        record["user_id"] = format!("us\u{e9}r{user}").into();
        record
    }

    /// A license that a device got for nobody, of a site whose October has closed.
    pub(super) fn nobodys(&mut self, now: i64) -> Value {
        let mut record = self.of(now, "johns", 0);
        record.as_object_mut().unwrap().remove("user_id");
        record["occurred_at"] = "2026-10-25T10:00:00Z".into();
        record["outcome"] = "success".into();
        record["environment"] = "production".into();
        record["request_type"] = "new".into();
        record["device"] = device("00000abcdef01000".to_owned());
        record
    }

    /// A line for a backfill of a site and a range of times, some of which belong elsewhere.
    pub(super) fn late(&mut self, now: i64, (site, from, to): (&str, i64, i64)) -> String {
        let inside = |of: &Value| {
            let at = second(of["occurred_at"].as_str().unwrap());
            of["site_id"] == site && (from..to).contains(&at)
        };
        match self.random.below(16) {
            0 => return self.unfit(now),
            1 => return self.fresh(now).to_string(),
            2..5 if !self.sent.is_empty() => {
                let begin = self.random.below(self.sent.len() as u64) as usize;
                let is_gone = |of: &Value| self.gone.contains(&number(of));
                let mut rest = self.sent[begin..].iter();
                if let Some(again) = rest.find(|of| inside(of) && !is_gone(of)) {
                    return again.to_string();
                }
            }
            _ => {}
        }
        let mut record = self.fresh(now);
        record["site_id"] = site.into();
        record["occurred_at"] = text(from + self.below(to - from)).into();
        if !self.gone.contains(&number(&record)) {
            self.sent.push(record.clone());
        }
        record.to_string()
    }

    fn fresh(&mut self, now: i64) -> Value {
        self.made += 1;
        let site = self.random.below(self.sites.len() as u64) as usize;
        let mut record = json!({
            "event_id": format!("b-{}", self.made),
            "type": "drm.license.issued",
            "site_id": self.sites[site],
            "occurred_at": self.time(now),
            "outcome": self.pick(&["success", "success", "success", "fail"]),
            "environment": self.pick(&["production", "production", "production", "trial", "test"]),
        });
        if self.random.below(8) == 0 {
            record["producer"] = self.pick(&PRODUCERS).into();
        }
        if self.random.below(20) == 0 {
            record["type"] = "drm.content.packaged".into();
            record["cid"] = "movie".into();
            return record;
        }
        match self.random.below(6) {
            0 => {}
            1 => record["user_id"] = self.pick(NOBODY).into(),
            _ => {
                let name = self.pick(SPELLINGS);
                record["user_id"] = name.replace('#', &self.random.below(60).to_string()).into();
            }
        }
        if self.random.below(4) == 0 {
            record["user_id_kind"] = self.pick(&["anonymous", "account"]).into();
        }
        if self.random.below(5) == 0 {
            record["type"] = "watermark.session.created".into();
            record["wm_session_id"] = format!("session {}", self.random.below(90)).into();
        } else {
            self.add_license(&mut record);
        }
        self.add_device(&mut record);
        record
    }

    fn add_license(&mut self, record: &mut Value) {
        let requests = ["new", "new", "renewal", "offline", "release", "server_cert"];
        record["request_type"] = self.pick(&requests).into();
        record["drm_type"] = self.pick(&["widevine", "playready", "fairplay", "ncg"]).into();
        if record["outcome"] == "fail" && self.random.below(2) == 0 {
            record["error_class"] = self.pick(&["token", "server", "quota"]).into();
        }
        if record["outcome"] == "fail" && self.random.below(2) == 0 {
            record["error_code"] = self.pick(&CODES).into();
        }
        match self.random.below(3) {
            0 => {}
            1 => {
                record["license"] = json!({
                    "session_id": format!("play {}", self.random.below(200)),
                    "request_id": format!("request {}", self.random.below(400)),
                });
            }
            _ => {
                record["license"] = json!({"session_id": format!("s{}", self.random.below(99))});
            }
        }
    }

    fn add_device(&mut self, record: &mut Value) {
        match self.random.below(4) {
            0 => {}
            1 => record["device"] = device("9774d56d682e549c".to_owned()),
            _ => {
                let number = 0xab_cdef_0000 + self.random.below(50);
                record["device"] = device(format!("{number:016x}"));
                if self.random.below(3) > 0 {
                    let systems = ["android", "ios", "windows", "tizen"];
                    record["device"]["os"] = self.pick(&systems).into();
                }
            }
        }
    }

    /// A line with one flaw.
    fn unfit(&mut self, now: i64) -> String {
        let mut record = self.fresh(now);
        while record["type"] == "drm.content.packaged" {
            // It has few members.
            record = self.fresh(now);
        }
        record.as_object_mut().unwrap().remove("producer");
        if self.random.below(2) == 0 {
            record["producer"] = "box-1".into();
        }
        match self.random.below(17) {
            0 => return r#"{"event_id":"cut"#.to_owned(),
            1 => record["color"] = "red".into(),
            2 => record["cek"] = "00".into(),
            3 => drop(record.as_object_mut().unwrap().remove("event_id")),
            4 => record["cid"] = 7.into(),
            5 => record["environment"] = "moon".into(),
            6 => record["type"] = "drm.license.lent".into(),
            7 => record["site_id"] = "nowhere".into(),
            8 => record["site_id"] = "ended".into(),
            9 => record["occurred_at"] = "yesterday".into(),
            10 | 11 => {
                record["occurred_at"] = text(now - 35 * DAY - self.below(40 * DAY)).into();
            }
            12 => record["occurred_at"] = text(now + 301 + self.below(DAY)).into(),
            13 => record["device"] = json!({"ids": [{"kind": "antenna", "value": "1"}]}),
            14 => record["device"] = json!({"ids": vec![device_id("ab".to_owned()); 9]}),
            15 => record["event_id"] = "x".repeat(65).into(),
            _ => {
                record["cid"] = "movie".into();
                return record.to_string().replacen('{', r#"{"cid":"film","#, 1);
            }
        }
        record.to_string()
    }
}

/// The number of the user that a record names, or one that nobody has.
fn number(record: &Value) -> u64 {
    let user = record["user_id"].as_str().unwrap_or_default();
    let digits: String = user.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(u64::MAX)
}

fn device_id(value: String) -> Value {
    json!({"kind": "android_id", "value": value})
}

fn device(value: String) -> Value {
    json!({"ids": [device_id(value)]})
}
