//! Writes a record's facts as one line of NDJSON, in the spellings that the contract accepts.

use super::devices::Class;
use super::fleet::{Fleet, Site};
use super::random::mix3;
use super::spelling;
use super::text::Text;
use super::traffic::{AGE_DAYS_MAX, Event, PRODUCER_TWIN, Session, Who};
use crate::model::time::{DAY_MS, Timestamp};
use crate::model::vocab::{DrmType, Environment, Outcome, RecordType, RequestType};

/// Codes of failed requests, as vendors write them.
const ERROR_CODES: [&str; 6] = ["7105", "7306", "1101", "8002", "A1003", "5001"];

/// Offsets from UTC of the zones in which sites bill, in hours ahead; their months begin earlier.
const ZONE_HOURS: [i64; 6] = [0, 9, 1, 2, -5, -4];

/// The days that records may lie in, spelled in advance, and the months' edges.
#[derive(Debug)]
pub(super) struct Calendar {
    first_day: i64,
    days: Vec<[u8; 10]>,
    /// The starts of the present month and the one before, in UTC.
    month_starts_ms: [i64; 2],
}

impl Calendar {
    /// The calendar around the present.
    pub(super) fn new(now_ms: i64) -> Self {
        let last_day = now_ms.div_euclid(DAY_MS) + 1;
        let first_day = last_day - i64::from(AGE_DAYS_MAX) - 3;
        let spell = |day: i64| {
            let mut spelled = [b'0'; 10];
            let text = Timestamp(day * DAY_MS).to_string();
            for (to, from) in spelled.iter_mut().zip(text.bytes()) {
                *to = from;
            }
            spelled
        };
        let days: Vec<[u8; 10]> = (first_day..=last_day).map(spell).collect();
        let starts = (first_day..=last_day).zip(&days).filter(|(_, day)| day.ends_with(b"-01"));
        let mut month_starts_ms = [first_day * DAY_MS; 2];
        for (day, _) in starts {
            month_starts_ms = [day * DAY_MS, month_starts_ms[0]];
        }
        Self { first_day, days, month_starts_ms }
    }

    /// The first instant of a month in one of the zones, or the last millisecond before.
    pub(super) fn edge_ms(&self, bits: u64) -> i64 {
        let start = self.month_starts_ms[(bits & 1) as usize];
        let hours = ZONE_HOURS[(bits >> 8) as usize % ZONE_HOURS.len()];
        start - hours * 3_600_000 - i64::from(bits & 2 == 2)
    }

    fn day(&self, at_ms: i64) -> &[u8; 10] {
        const UNKNOWN: &[u8; 10] = b"1970-01-01";
        let place = usize::try_from(at_ms.div_euclid(DAY_MS) - self.first_day).ok();
        place.and_then(|place| self.days.get(place)).unwrap_or(UNKNOWN)
    }

    /// `2026-11-22T04:16:00`, with the digits of milliseconds where asked for.
    fn write_rfc3339(&self, text: &mut Text, at_ms: i64, with_ms: bool) {
        let ms = at_ms.rem_euclid(DAY_MS).unsigned_abs();
        text.bytes(self.day(at_ms));
        let mut clock = *b"T00:00:00.000";
        put2(&mut clock, 1, ms / 3_600_000);
        put2(&mut clock, 4, ms / 60_000 % 60);
        put2(&mut clock, 7, ms / 1_000 % 60);
        put2(&mut clock, 11, ms % 100);
        clock[10] += (ms % 1_000 / 100) as u8;
        text.bytes(if with_ms { &clock } else { &clock[..9] });
    }
}

fn put2(clock: &mut [u8; 13], at: usize, number: u64) {
    clock[at] += (number / 10 % 10) as u8;
    clock[at + 1] += (number % 10) as u8;
}

/// Spellings of a time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Milliseconds,
    Seconds,
    Offset,
    Compact,
    EpochText,
    EpochNumber,
}

impl Spelling {
    fn of(bits: u64) -> Self {
        match (bits >> 8) & 127 {
            0..8 => Self::Seconds,
            8..14 => Self::Offset,
            14..16 => Self::Compact,
            16..18 => Self::EpochText,
            18 => Self::EpochNumber,
            _ => Self::Milliseconds,
        }
    }
}

impl Event {
    /// The instant to the precision of the spelling that these bits will pick.
    pub(super) fn writable_ms(at_ms: i64, bits: u64) -> i64 {
        match Spelling::of(bits) {
            Spelling::Seconds | Spelling::Compact => at_ms - at_ms.rem_euclid(1_000),
            _ => at_ms,
        }
    }

    /// Writes the record as a line.
    pub(super) fn write(&self, text: &mut Text, fleet: &Fleet, calendar: &Calendar) {
        let site = &fleet.sites[self.site as usize];
        self.write_envelope(text, site, calendar);
        match self.kind {
            RecordType::LicenseIssued => self.write_license(text, site),
            RecordType::SessionCreated => self.write_session(text, site),
            RecordType::ContentPackaged => self.write_packaged(text),
            RecordType::WatermarkPackaged => self.write_watermarked(text),
            RecordType::WatermarkDetected => self.write_detected(text),
        }
        text.raw("}\n");
    }

    fn write_envelope(&self, text: &mut Text, site: &Site, calendar: &Calendar) {
        text.raw("{\"event_id\":\"");
        let mut id = [0; 16];
        id[..8].copy_from_slice(&mix3(site.seed, 0x11, self.number).to_be_bytes());
        id[8..].copy_from_slice(&mix3(site.seed, 0x12, self.number).to_be_bytes());
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        text.uuid(&id, false);
        text.raw("\",\"type\":\"");
        text.raw(self.kind.name());
        text.raw("\",\"site_id\":\"");
        text.raw(&site.id);
        text.raw("\",\"occurred_at\":");
        self.write_time(text, calendar);
        text.raw(match self.producer {
            0 => ",\"producer\":\"license-server\"",
            1 => ",\"producer\":\"token-proxy\"",
            PRODUCER_TWIN => ",\"producer\":\"second-proxy\"",
            _ => "",
        });
        text.raw(match self.environment {
            Environment::Production if self.bits & 15 == 0 => ",\"environment\":\"production\"",
            Environment::Production => "",
            Environment::Trial => ",\"environment\":\"trial\"",
            Environment::Test => ",\"environment\":\"test\"",
        });
    }

    fn write_time(&self, text: &mut Text, calendar: &Calendar) {
        let at = self.at_ms;
        match Spelling::of(self.bits) {
            Spelling::EpochNumber => text.decimal(at.unsigned_abs(), 1),
            Spelling::EpochText => {
                text.byte(b'"');
                text.decimal(at.unsigned_abs(), 1);
                text.byte(b'"');
            }
            Spelling::Compact => {
                let mut spelled = Text::with_capacity(19);
                calendar.write_rfc3339(&mut spelled, at, false);
                text.byte(b'"');
                for byte in spelled.into_bytes() {
                    if byte.is_ascii_digit() {
                        text.byte(byte);
                    }
                }
                text.byte(b'"');
            }
            Spelling::Offset => {
                text.byte(b'"');
                calendar.write_rfc3339(text, at + 9 * 3_600_000, true);
                text.raw("+09:00\"");
            }
            spelling => {
                text.byte(b'"');
                calendar.write_rfc3339(text, at, spelling == Spelling::Milliseconds);
                text.raw("Z\"");
            }
        }
    }

    fn write_outcome(&self, text: &mut Text) {
        match self.outcome {
            Outcome::Success if self.bits & 0x7f0 == 0 => text.raw(",\"outcome\":\"SUCCESS\""),
            Outcome::Success => text.raw(",\"outcome\":\"success\""),
            Outcome::Fail => {
                text.raw(",\"outcome\":\"fail\",\"error_code\":\"");
                text.raw(ERROR_CODES[(self.bits >> 20) as usize % ERROR_CODES.len()]);
                text.byte(b'"');
            }
        }
    }

    fn write_user(&self, text: &mut Text, site: &Site) {
        match self.who {
            Who::User(user) => {
                text.raw(",\"user_id\":\"");
                site.write_user(text, user, self.bits);
                text.byte(b'"');
                if site.users_are_devices() {
                    text.raw(",\"user_id_kind\":\"device\"");
                }
            }
            Who::LicenseToken => text.raw(",\"user_id\":\"LICENSETOKEN\""),
            Who::Empty => text.raw(",\"user_id\":\"\""),
            Who::Missing => {}
        }
    }

    fn write_cid(&self, text: &mut Text) {
        let title = (self.bits >> 24) & 0xffff;
        text.raw(",\"cid\":\"t");
        text.decimal(title * title / 0x1_0000, 5);
        text.byte(b'e');
        text.decimal((self.bits >> 40) & 15, 2);
        text.byte(b'"');
    }

    fn write_license(&self, text: &mut Text, site: &Site) {
        self.write_outcome(text);
        self.write_user(text, site);
        self.write_cid(text);
        self.write_drm_type(text);
        text.raw(",\"request_type\":\"");
        text.raw(self.request.name());
        text.raw(match self.request {
            RequestType::Offline => "\",\"license_type\":\"offline\"",
            RequestType::New if self.bits & 0x30 == 0 => "\",\"license_type\":\"streaming\"",
            _ => "\"",
        });
        self.write_device(text);
        if self.bits & 0xc0 == 0 {
            text.raw(",\"latency_ms\":");
            text.decimal(2 + ((self.bits >> 44) & 63), 1);
        }
    }

    /// Only what would be `other` anyway is left out; a few servers capitalize.
    fn write_drm_type(&self, text: &mut Text) {
        if self.drm == DrmType::Other && self.bits & 8 == 0 {
            return;
        }
        text.raw(",\"drm_type\":\"");
        text.raw(match self.drm {
            DrmType::Widevine if self.bits & 0xff0 == 0 => "Widevine",
            DrmType::FairPlay if self.bits & 0xff0 == 0 => "FAIRPLAY",
            drm => drm.name(),
        });
        text.byte(b'"');
    }

    fn write_device(&self, text: &mut Text) {
        let device = &self.device;
        if device.class == Class::Other && device.ids().is_empty() {
            return;
        }
        text.raw(",\"device\":{");
        if !device.ids().is_empty() {
            text.raw("\"ids\":[");
            // Mostly each device spells its ids in one way; an update of its app may change that.
            let seldom = self.bits & 0x3c00 == 0;
            let spelling = if seldom { self.bits >> 48 } else { device.seed >> 48 };
            spelling::write_ids(text, device, spelling);
            text.raw("],");
        }
        text.raw(spelling::description(device.class, device.seed));
        text.byte(b'}');
    }

    fn write_session(&self, text: &mut Text, site: &Site) {
        self.write_outcome(text);
        let key = match self.session {
            Session::Own => Some(("ws-", mix3(site.seed, 0x21, self.number))),
            Session::Kept(user) => Some(("wk-", mix3(site.seed, 0x22, u64::from(user)))),
            Session::Missing => None,
        };
        if let Some((prefix, key)) = key {
            text.raw(",\"wm_session_id\":\"");
            text.raw(prefix);
            text.hex(&key.to_be_bytes(), false);
            text.byte(b'"');
        }
        self.write_user(text, site);
        self.write_cid(text);
        if let Who::User(user) = self.who {
            text.raw(",\"forensic_mark\":\"");
            site.write_user(text, user, self.bits);
            text.raw("|ip=198.51.100.7\"");
        }
        self.write_payload(text);
        text.raw(",\"cdn\":\"cloudfront\",\"streaming_format\":\"dash\"");
    }

    /// Seven bytes at most, which is PallyCon's limit.
    fn write_payload(&self, text: &mut Text) {
        text.raw(",\"payload\":\"");
        text.hex(&mix3(self.bits, 0x23, self.number).to_be_bytes()[1..], false);
        text.byte(b'"');
    }

    fn write_packaged(&self, text: &mut Text) {
        self.write_outcome(text);
        self.write_cid(text);
        text.raw(",\"job_id\":\"");
        text.decimal(self.number & 0xff_ffff_ffff, 8);
        text.raw("\",\"packager\":\"cli\",\"formats\":[\"dash\",\"hls\"],");
        text.raw(
            "\"drm_types\":[\"widevine\",\"playready\",\"fairplay\"],\"encryption\":\"cbcs\",",
        );
        text.raw("\"multi_key\":true,\"track_types\":[\"AUDIO\",\"SD\",\"HD\"]");
    }

    fn write_watermarked(&self, text: &mut Text) {
        self.write_cid(text);
        text.raw(",\"job_id\":\"");
        text.decimal(self.number & 0xff_ffff_ffff, 8);
        text.raw("\",\"kind\":\"ab_preprocess\",\"variants\":2,\"formats\":[\"dash\"],");
        text.raw("\"drm\":true,\"region\":\"ap-northeast-2\",\"status\":\"complete\"");
    }

    fn write_detected(&self, text: &mut Text) {
        text.raw(",\"detection_id\":\"FD-");
        text.decimal(self.number & 0xff_ffff_ffff, 8);
        text.raw("\",\"method\":\"blind\",\"source_kind\":\"upload\",\"status\":\"");
        if self.outcome == Outcome::Fail {
            return text.raw("not_found\"");
        }
        text.raw("completed\"");
        self.write_payload(text);
    }
}
