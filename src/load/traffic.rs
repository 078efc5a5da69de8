//! What happens in the field, record by record. A record is a pure function of the plan and of its
//! slot in the stream; a slot may hold an earlier slot's record again.

use super::devices::Device;
use super::fleet::{DEVICES_MAX, Fleet};
use super::oracle::Oracle;
use super::random::{Random, Rate, mix, mix3, scale};
use super::record::Calendar;
use super::text::Text;
use crate::model::time::DAY_MS;
use crate::model::vocab::{DrmType, Environment, Outcome, RecordType, RequestType};

/// How far back a record may lie: a day less than the server accepts, so that a long run stays
/// inside.
pub(super) const AGE_DAYS_MAX: u32 = 34;

/// Room for a record when a body is allocated.
const RECORD_BYTES: usize = 480;

/// What determines the stream.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Makes one stream different from another.
    pub(super) seed: u64,
    /// The present, in milliseconds.
    pub(super) now_ms: i64,
    /// How many records to make, duplicates included.
    pub(super) records: u64,
    /// Records in a batch.
    pub(super) batch: u32,
    /// The time over which records that are not late spread, in milliseconds.
    pub(super) spread_ms: i64,
    /// The share of records that were sent before, half of them in whole batches.
    pub(super) duplicates: f64,
    /// The share of records that are hours to days late.
    pub(super) late: f64,
    /// The share of records without a usable user id.
    pub(super) sentinels: f64,
    /// The share of license requests that fail.
    pub(super) failures: f64,
}

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A user of the site, by number.
    User(u32),
    /// The documented "no user id".
    LicenseToken,
    /// An empty id.
    Empty,
    /// No id at all.
    Missing,
}

/// A watermark session's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// Of this record alone.
    Own,
    /// The one that its user (by number) keeps over several records.
    Kept(u32),
    /// Not given.
    Missing,
}

/// One record, as facts.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// What its event id is made from.
    pub(super) number: u64,
    /// Its type.
    pub(super) kind: RecordType,
    /// The site's number.
    pub(super) site: u32,
    /// Whose it is.
    pub(super) who: Who,
    /// When it happened, to the precision in which it will be written.
    pub(super) at_ms: i64,
    /// Which producer sent it (see `record`).
    pub(super) producer: u8,
    /// Where it happened.
    pub(super) environment: Environment,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// The DRM system.
    pub(super) drm: DrmType,
    /// What was asked for.
    pub(super) request: RequestType,
    /// The device, which licenses report.
    pub(super) device: Device,
    /// The watermark session.
    pub(super) session: Session,
    /// Bits that vary spelling and what counts for nothing.
    pub(super) bits: u64,
}

/// The producer number of a copy of another producer's event.
pub(super) const PRODUCER_TWIN: u8 = 8;

/// Streams of random numbers, one for each purpose.
const STREAM_EVENT: u64 = 1;
const STREAM_BATCH_AGAIN: u64 = 2;
const STREAM_RECORD_AGAIN: u64 = 3;

/// How many batches back a duplicate may reach.
const BATCHES_BACK: u64 = 200;

/// The stream of a plan.
#[derive(Debug)]
pub(super) struct Traffic {
    /// What determines it.
    pub(super) plan: Plan,
    /// Its sites.
    pub(super) fleet: Fleet,
    calendar: Calendar,
    /// The high bits of the events' numbers, so that a later run with the same seed has the same
    /// people and new events. The low 40 bits are the slot's.
    run: u64,
    again: Rate,
    late: Rate,
    sentinels: Rate,
    failures: Rate,
}

impl Traffic {
    /// The stream of a plan over these sites.
    pub(super) fn new(plan: Plan, fleet: Fleet) -> Self {
        Self {
            calendar: Calendar::new(plan.now_ms),
            run: mix(plan.now_ms.unsigned_abs()) << 40,
            again: Rate::new(plan.duplicates / 2.0),
            late: Rate::new(plan.late),
            sentinels: Rate::new(plan.sentinels),
            failures: Rate::new(plan.failures),
            plan,
            fleet,
        }
    }

    /// How many batches the stream has.
    pub(super) fn batches(&self) -> u64 {
        self.plan.records.div_ceil(u64::from(self.plan.batch))
    }

    /// Makes a batch as NDJSON and tells the oracle what is in it.
    pub(super) fn batch(&self, number: u64, mut oracle: Option<&mut Oracle>) -> (Vec<u8>, u32) {
        let size = u64::from(self.plan.batch);
        let count = size.min(self.plan.records.saturating_sub(number * size));
        let mut text = Text::with_capacity(RECORD_BYTES * count as usize);
        for slot in number * size..number * size + count {
            let source = self.source(slot);
            let event = self.event(source);
            event.write(&mut text, &self.fleet, &self.calendar);
            if let Some(oracle) = oracle.as_deref_mut() {
                oracle.observe(&event, source != slot);
            }
        }
        (text.into_bytes(), count as u32)
    }

    /// The slot whose record a slot holds: itself, or an earlier one that is sent again.
    pub(super) fn source(&self, slot: u64) -> u64 {
        let size = u64::from(self.plan.batch);
        let mut slot = slot;
        loop {
            slot = self.source_batch(slot / size) * size + slot % size;
            let dice = mix3(self.plan.seed, STREAM_RECORD_AGAIN, slot);
            if slot < size || !self.again.takes(dice) {
                return slot;
            }
            let bits = mix(dice);
            let batch = slot / size;
            let back = 1 + scale(bits, batch.min(BATCHES_BACK));
            slot = (batch - back) * size + scale(mix(bits), size);
        }
    }

    fn source_batch(&self, batch: u64) -> u64 {
        let mut batch = batch;
        loop {
            let dice = mix3(self.plan.seed, STREAM_BATCH_AGAIN, batch);
            if batch == 0 || !self.again.takes(dice) {
                return batch;
            }
            batch -= 1 + scale(mix(dice), batch.min(BATCHES_BACK));
        }
    }

    /// The record of a slot that is its own source.
    pub(super) fn event(&self, slot: u64) -> Event {
        let dice = mix3(self.plan.seed, 4, slot);
        if slot == 0 || dice & 0x3ff != 0 {
            return self.draft(slot);
        }
        // The same event id twice, yet two records: another producer's, or on another UTC day.
        let mut twin = self.draft(slot - 1);
        twin.session = Session::Missing;
        let day_before = twin.at_ms - DAY_MS;
        if dice & 0x400 == 0 && day_before >= self.earliest_ms() {
            twin.at_ms = day_before;
        } else {
            twin.producer = PRODUCER_TWIN;
        }
        twin
    }

    fn earliest_ms(&self) -> i64 {
        self.plan.now_ms - i64::from(AGE_DAYS_MAX) * DAY_MS
    }

    fn draft(&self, slot: u64) -> Event {
        let mut random = Random::new(self.plan.seed, STREAM_EVENT, slot);
        let number = self.fleet.any_site(&mut random);
        let site = &self.fleet.sites[number as usize];
        let user = self.fleet.any_user(site, &mut random);
        let traits = random.next();
        let bits = random.next();
        let kind = kind(traits as u16);
        let at_ms = Event::writable_ms(self.time(&mut random), bits);
        let device = Device::new(site.seed, owned_device(user, site.users, random.next()), bits);
        let request = request((traits >> 16) as u16);
        Event {
            number: self.run | slot,
            kind,
            site: number,
            who: self.who(user, &mut random),
            at_ms,
            producer: (traits >> 32) as u8 & 7,
            environment: match (traits >> 40) as u16 % 100 {
                0..2 => Environment::Trial,
                2 => Environment::Test,
                _ => Environment::Production,
            },
            outcome: self.outcome(kind, request, &mut random),
            drm: device.drm(traits >> 8),
            request,
            device,
            session: match bits >> 56 {
                0..26 => Session::Kept(user),
                26..40 => Session::Missing,
                _ => Session::Own,
            },
            bits,
        }
    }

    /// On time, or hours to days late; some late ones lie at the very edge of a month.
    fn time(&self, random: &mut Random) -> i64 {
        let dice = random.next();
        let x = random.fraction();
        let now = self.plan.now_ms;
        if !self.late.takes(dice) {
            return now - (x * self.plan.spread_ms as f64) as i64;
        }
        if dice & 63 == 0 {
            let edge = self.calendar.edge_ms(dice >> 6);
            if (self.earliest_ms()..now).contains(&edge) {
                return edge;
            }
        }
        let hours = i64::from(AGE_DAYS_MAX) * DAY_MS - 3_600_000;
        now - 3_600_000 - (x * x * x * hours as f64) as i64
    }

    fn who(&self, user: u32, random: &mut Random) -> Who {
        let dice = random.next();
        match dice % 4 {
            _ if !self.sentinels.takes(dice) => Who::User(user),
            0 => Who::Empty,
            1 => Who::Missing,
            _ => Who::LicenseToken,
        }
    }

    /// A release always succeeds here: whether a failed one is a failed license is nobody's rule.
    fn outcome(&self, kind: RecordType, request: RequestType, random: &mut Random) -> Outcome {
        let can_fail = kind != RecordType::LicenseIssued || request.issues();
        match can_fail && random.chance(self.failures) {
            true => Outcome::Fail,
            false => Outcome::Success,
        }
    }
}

/// Shares of the record types: nearly all are licenses.
fn kind(dice: u16) -> RecordType {
    match dice % 2_000 {
        0..60 => RecordType::SessionCreated,
        60..70 => RecordType::ContentPackaged,
        70..75 => RecordType::WatermarkPackaged,
        75..78 => RecordType::WatermarkDetected,
        _ => RecordType::LicenseIssued,
    }
}

fn request(dice: u16) -> RequestType {
    match dice % 1_000 {
        0..270 => RequestType::Renewal,
        270..320 => RequestType::Offline,
        320..345 => RequestType::Release,
        345..348 => RequestType::ServerCert,
        348..350 => RequestType::Preflight,
        _ => RequestType::New,
    }
}

/// The number of one of a user's one to three devices. Households share: now and then the device
/// belongs to the neighbor.
fn owned_device(user: u32, users: u32, bits: u64) -> u32 {
    let neighbor = user ^ 1;
    let owner = if bits & 15 == 0 && neighbor < users { neighbor } else { user };
    let devices = 1 + owner % DEVICES_MAX;
    let nth = if bits >> 60 < 11 { 0 } else { scale(bits << 4, u64::from(devices)) as u32 };
    owner * DEVICES_MAX + nth
}
