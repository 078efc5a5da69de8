//! The generator against facts, and the oracle against a naive recount of the bytes: what a reader
//! of the NDJSON finds with `serde_json`, sets of strings and the calendar of `jiff`.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use serde_json::Value;

use super::*;
use crate::model::time::Month;

const NOW: &str = "2026-11-22T04:16:00Z";

fn plan(records: u64) -> Plan {
    Plan {
        seed: 7,
        now_ms: parse_time(NOW).unwrap().0,
        records,
        batch: 500,
        spread_ms: 20 * DAY_MS,
        duplicates: 0.1,
        late: 0.2,
        sentinels: 0.03,
        failures: 0.05,
    }
}

fn stream(plan: Plan) -> Traffic {
    Traffic::new(plan, Fleet::new(7, "load", 18, 3_000))
}

fn bytes(traffic: &Traffic) -> Vec<u8> {
    (0..traffic.batches()).flat_map(|number| traffic.batch(number, None).0).collect()
}

pub(super) fn parsed(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn text<'a>(record: &'a Value, member: &str) -> &'a str {
    record[member].as_str().unwrap_or_default()
}

fn time(record: &Value) -> Timestamp {
    match &record["occurred_at"] {
        Value::Number(number) => Timestamp(number.as_i64().unwrap()),
        other => Timestamp::parse(other.as_str().unwrap().as_bytes()).unwrap(),
    }
}

#[test]
fn same_seed_same_bytes() {
    let one = bytes(&stream(plan(3_000)));
    assert_eq!(one, bytes(&stream(plan(3_000))));
    assert_ne!(one, bytes(&stream(Plan { seed: 8, ..plan(3_000) })));
    let digest = blake3::hash(&one).to_hex();
    assert_eq!(&digest[..16], "755001147aeaaeab", "the stream of a seed changed");
}

#[test]
fn shares_are_as_asked() {
    let records = parsed(&bytes(&stream(plan(60_000))));
    assert_eq!(records.len(), 60_000);
    let share = |is: &dyn Fn(&Value) -> bool| {
        records.iter().filter(|record| is(record)).count() as f64 / records.len() as f64
    };
    let near = |found: f64, wanted: f64| {
        assert!((found - wanted).abs() < 0.1 * wanted + 0.002, "{found} instead of {wanted}");
    };
    near(share(&|r| text(r, "type") == "drm.license.issued"), 0.961);
    near(share(&|r| text(r, "type") == "watermark.session.created"), 0.03);
    near(share(&|r| text(r, "outcome") == "fail"), 0.05);
    near(share(&|r| text(r, "environment") == "trial"), 0.02);
    near(share(&|r| text(r, "environment") == "test"), 0.01);
    near(share(&|r| text(r, "user_id") == "LICENSETOKEN"), 0.03 / 2.0);
    near(share(&|r| r["user_id"] == ""), 0.03 / 4.0);
    near(share(&|r| text(r, "drm_type") == "fairplay"), 0.25);
    near(share(&|r| text(r, "drm_type") == "playready"), 0.10);
    let distinct: BTreeSet<String> = records.iter().map(key).collect();
    near(1.0 - distinct.len() as f64 / records.len() as f64, 0.1);
}

#[test]
fn times_stay_inside_the_window() {
    let now = parse_time(NOW).unwrap();
    for record in parsed(&bytes(&stream(plan(30_000)))) {
        let age = now.0 - time(&record).0;
        assert!((0..=35 * DAY_MS).contains(&age), "{record}");
    }
}

#[test]
fn records_are_of_the_usual_size() {
    let bytes = bytes(&stream(plan(20_000)));
    let mean = bytes.len() / 20_000;
    assert!((380..=460).contains(&mean), "{mean}");
    assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() < 800));
}

#[test]
fn the_oracle_agrees_with_a_naive_recount() {
    let traffic = stream(plan(80_000));
    let zones = oracle::own_zones(&traffic.fleet);
    let empty = Oracle::new(&zones, traffic.plan.now_ms).unwrap();
    // Two halves, as two threads would make them.
    let (mut one, mut two) = (empty.emptied(), empty.emptied());
    let mut bytes = Vec::new();
    for number in 0..traffic.batches() {
        let half = if number % 2 == 0 { &mut one } else { &mut two };
        bytes.extend(traffic.batch(number, Some(half)).0);
    }
    one.merge(&two);
    let mut recount = Recount::default();
    for record in parsed(&bytes) {
        recount.observe(&record, &traffic.fleet);
    }
    let expected = one.expected();
    assert!(expected.len() >= 36, "each site has two months: {}", expected.len());
    let mut seen = 0;
    for month in &expected {
        let site = &traffic.fleet.sites[month.site as usize];
        for (pointer, figure) in &month.figures {
            let found = recount.figure(&site.id, month.month, pointer);
            assert_eq!(found, *figure, "{} {} {pointer}", site.id, month.month);
            seen += found;
        }
    }
    assert_eq!(seen, recount.total(), "nothing outside of the months that the oracle knows");
    assert!(one.duplicates() > 6_000);
}

/// What makes a record one: site, producer, event id and UTC day.
fn key(record: &Value) -> String {
    let day = time(record).0.div_euclid(DAY_MS);
    let producer = text(record, "producer");
    format!("{} {producer} {} {day}", text(record, "site_id"), text(record, "event_id"))
}

/// Sets of strings by site, month and figure.
#[derive(Default)]
pub(super) struct Recount {
    observed: u64,
    events: BTreeSet<String>,
    sets: BTreeMap<(String, Month, String), BTreeSet<String>>,
}

impl Recount {
    pub(super) fn observe(&mut self, record: &Value, fleet: &Fleet) {
        let id = text(record, "site_id");
        let zone = fleet.sites.iter().find(|site| site.id == id).unwrap().zone;
        let at = jiff::Timestamp::from_millisecond(time(record).0).unwrap().in_tz(zone).unwrap();
        let month = Month::new(at.year().into(), at.month().into()).unwrap();
        self.observed += 1;
        let serial = format!("#{}", self.observed);
        let mut add = |figure: &str, member: &str| {
            let place = (id.to_owned(), month, format!("/{figure}"));
            self.sets.entry(place).or_default().insert(member.to_owned())
        };
        if !self.events.insert(key(record)) {
            assert!(add("duplicates", &serial));
            return;
        }
        let user = Some(text(record, "user_id")).filter(|id| !["", "LICENSETOKEN"].contains(id));
        let success = text(record, "outcome").eq_ignore_ascii_case("success");
        let issues = ["new", "renewal", "offline"].contains(&text(record, "request_type"));
        let place = record["environment"].as_str().unwrap_or("production");
        match (text(record, "type"), place, success) {
            ("drm.license.issued", "production", false) => assert!(add("licenses_failed", &serial)),
            ("drm.license.issued", "production", true) if issues => {
                let drm = record["drm_type"].as_str().unwrap_or("other").to_lowercase();
                add("licenses_issued", &serial);
                add(&format!("by_drm_type/{drm}/licenses_issued"), &serial);
                if let Some(device) = recommended(record) {
                    add("devices", &device);
                }
                let Some(user) = user else {
                    add("unattributed_licenses", &serial);
                    return;
                };
                add("mau", user);
                add(&format!("by_drm_type/{drm}/mau"), user);
            }
            ("drm.license.issued", place, true) if issues => {
                add(&format!("other_environments/{place}"), &serial);
            }
            ("watermark.session.created", "production", true) => {
                add("watermark_sessions", record["wm_session_id"].as_str().unwrap_or(&serial));
                if let Some(user) = user {
                    add("watermark_users", user);
                }
            }
            _ => {}
        }
    }

    pub(super) fn figure(&self, site: &str, month: Month, pointer: &str) -> u64 {
        let place = (site.to_owned(), month, pointer.to_owned());
        self.sets.get(&place).map_or(0, |set| set.len() as u64)
    }

    pub(super) fn events(&self) -> usize {
        self.events.len()
    }

    fn total(&self) -> u64 {
        self.sets.values().map(|set| set.len() as u64).sum()
    }
}

/// The id that counts: the first good one in the order of preference.
fn recommended(record: &Value) -> Option<String> {
    let preference = [
        "widevine_cert_serial",
        "fairplay_hu",
        "playready_client_id",
        "ncg_device_id",
        "widevine_device_unique_id",
        "android_id",
        "imei",
        "imeisv",
        "meid",
        "wifi_mac",
        "idfv",
        "lgudid",
        "samsung_tv_uuid",
        "prehashed",
        "opaque",
    ];
    let ids = record["device"]["ids"].as_array()?;
    preference.into_iter().find_map(|kind| {
        let id = ids.iter().find(|id| id["kind"] == kind)?;
        let canonical = canonical(kind, text(id, "value"), id["encoding"].as_str())?;
        let kind = kind.trim_end_matches("sv");
        Some(format!("{kind} {}", HEXLOWER_PERMISSIVE.encode(&canonical)))
    })
}

/// The canonical bytes of a good id (reference/domain.md §7.1, §7.2).
fn canonical(kind: &str, value: &str, encoding: Option<&str>) -> Option<Vec<u8>> {
    let value = value.trim_end();
    let hex = |text: &str| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let base64 = |text: &str| {
        let bytes = text.as_bytes();
        BASE64.decode(bytes).or_else(|_| BASE64URL_NOPAD.decode(bytes)).ok()
    };
    let bare: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    let good = match kind {
        "widevine_device_unique_id" => {
            let id = if value.len() == 64 { hex(value)? } else { base64(value)? };
            (![0xb2, 0xb7].contains(&id[0]) || !matches!(id[1], 0x76 | 0xdd)).then_some(id)?
        }
        "widevine_cert_serial" => {
            let id = base64(value)?;
            std::str::from_utf8(&id).ok().and_then(hex).unwrap_or(id)
        }
        "fairplay_hu" if value.len() == 40 => hex(value)?,
        "fairplay_hu" => base64(value)?,
        "playready_client_id" if value.contains('-') => {
            let mut id = hex(&bare)?;
            if encoding != Some("uuid_be") {
                id[..4].reverse();
                id[4..6].reverse();
                id[6..8].reverse();
            }
            id
        }
        "playready_client_id" => {
            if value.len() == 32 {
                hex(value)?
            } else {
                base64(value)?
            }
        }
        "ncg_device_id" if value == "Unknown_DeviceID" || value.starts_with("e3f5536a") => None?,
        "ncg_device_id" if value.starts_with("DID01_") => value.into(),
        "android_id" => {
            let id = u64::from_str_radix(value, 16).ok()?;
            (![0, 0x9774_d56d_682e_549c].contains(&id)).then(|| id.to_be_bytes().into())?
        }
        "imei" | "imeisv" => {
            let (id, rest) = bare.split_at(14);
            let check = (b'0' + spelling::luhn(id.as_bytes())) as char;
            let fits = rest.len() != 1 || rest == "0" || rest.starts_with(check);
            fits.then(|| id.into())?
        }
        "wifi_mac" => hex(&bare).filter(|mac| mac[0] & 3 == 0)?,
        "opaque" => value.into(),
        _ => hex(&bare)?,
    };
    Some(good)
}
