//! The ten million records: each a pure function of its number, so that nothing has to be kept to
//! send it or to count it.

use std::ops::Range;

use jiff::ToSpan;
use jiff::tz::TimeZone;

use crate::support::Random;

/// Records that are sent.
pub const RECORDS: u64 = 10_000_000;
/// Those of them that repeat the event of another.
pub const DUPLICATES: u64 = 1_000_000;
/// Distinct events.
const EVENTS: u64 = RECORDS - DUPLICATES;
/// Without a common divisor with [`RECORDS`], so that its multiples reach every record.
const STRIDE: u64 = 7_368_787;
/// Months of the records: the present one and the one before.
pub const MONTHS: usize = 2;
/// DRM systems, with names of one length.
pub const DRM: [&str; 4] = ["widevine", "fairplay", "wiseplay", "clearkey"];
/// Devices of a user.
const DEVICES: u64 = 3;

/// A site of the test; ids have one length.
pub struct Site {
    /// Its id.
    pub id: &'static str,
    users: u64,
    /// Of 1,024 records.
    share: u64,
}

/// Sites of unequal size.
pub const SITES: [Site; 5] = [
    Site { id: "site-0", users: 1_500_000, share: 600 },
    Site { id: "site-1", users: 300_000, share: 250 },
    Site { id: "site-2", users: 40_000, share: 120 },
    Site { id: "site-3", users: 2_000, share: 50 },
    Site { id: "site-4", users: 9, share: 4 },
];

/// A record in numbers.
struct Record {
    event: u64,
    site: usize,
    month: usize,
    at_second: u64,
    user: Option<u64>,
    drm: usize,
    device: u64,
}

/// The records of a seed.
pub struct Traffic {
    seed: u64,
    now_second: u64,
    boundary_second: u64,
}

impl Traffic {
    /// Those of a seed, in the month that is now and the last days of the one before.
    pub fn new(seed: u64) -> Self {
        let now = jiff::Timestamp::now().to_zoned(TimeZone::UTC);
        let boundary = now.first_of_month().and_then(|day| day.start_of_day()).expect("a time");
        let second = |at: &jiff::Zoned| at.timestamp().as_second().unsigned_abs();
        Self { seed, now_second: second(&now), boundary_second: second(&boundary) }
    }

    /// The name of a month.
    pub fn month(&self, month: usize) -> String {
        let boundary = jiff::Timestamp::from_second(self.boundary_second as i64).expect("a time");
        let boundary = boundary.to_zoned(TimeZone::UTC);
        let first = if month == 0 { boundary.clone() - 1.day() } else { boundary };
        first.strftime("%Y-%m").to_string()
    }

    /// The event at a place in the order of sending.
    fn event_at(&self, place: u64) -> u64 {
        let number = (place * STRIDE + self.seed % RECORDS) % RECORDS;
        if number < EVENTS { number } else { Random::new(self.seed ^ number).below(EVENTS) }
    }

    fn record(&self, event: u64) -> Record {
        let mut random = Random::new(self.seed.rotate_left(32) ^ event);
        let mut share = random.below(1_024);
        let site = SITES.iter().position(|site| {
            let found = share < site.share;
            share = share.saturating_sub(site.share);
            found
        });
        let site = site.unwrap_or(0);
        // The product of three: a few users come all the time, most of them rarely.
        let user = random.below(random.clone().below(SITES[site].users) + 1);
        let user = if random.below(2) == 0 { random.below(user + 1) } else { user };
        let month = usize::from(random.below(5) > 0);
        let at_second = match month {
            0 => self.boundary_second - 1 - random.below(2 * 86_400),
            _ => self.now_second - random.below((self.now_second - self.boundary_second).max(1)),
        };
        Record {
            event,
            site,
            month,
            at_second,
            user: (random.below(64) > 0).then_some(user),
            drm: random.below(random.clone().below(4) + 1) as usize,
            device: user * DEVICES + random.below(DEVICES),
        }
    }

    /// Writes the records at some places in the order of sending.
    pub fn write(&self, places: Range<u64>, out: &mut Vec<u8>) {
        out.clear();
        for place in places {
            let record = self.record(self.event_at(place));
            out.extend_from_slice(br#"{"event_id":""#);
            hex::<8>(record.event, out);
            out.extend_from_slice(br#"","type":"drm.license.issued","site_id":""#);
            out.extend_from_slice(SITES[record.site].id.as_bytes());
            out.extend_from_slice(br#"","occurred_at":"#);
            decimal(record.at_second, out);
            out.extend_from_slice(br#","outcome":"success","user_id":""#);
            match record.user {
                Some(user) => {
                    out.extend_from_slice(b"viewer");
                    hex::<6>(user, out);
                }
                None => out.extend_from_slice(b"LICENSETOKEN"),
            }
            out.extend_from_slice(br#"","drm_type":""#);
            out.extend_from_slice(DRM[record.drm].as_bytes());
            out.extend_from_slice(br#"","device":{"ids":[{"kind":"android_id","value":""#);
            // An odd factor keeps ids distinct.
            hex::<16>((record.device + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15), out);
            out.extend_from_slice(b"\"}]}}\n");
        }
    }

    /// What the figures must be, by site and then by month.
    pub fn figures(&self) -> Vec<Figures> {
        let sites = SITES.iter().flat_map(|site| [site; MONTHS]);
        let mut figures: Vec<Figures> = sites.map(|site| Figures::new(site.users)).collect();
        for event in 0..EVENTS {
            let record = self.record(event);
            figures[record.site * MONTHS + record.month].add(&record);
        }
        figures
    }
}

/// The figures of a site's month.
pub struct Figures {
    /// Users.
    pub users: Set,
    /// Devices.
    pub devices: Set,
    /// Licences.
    pub licenses: u64,
    /// Licences of nobody.
    pub unattributed: u64,
    /// Users and licences of each DRM system.
    pub by_drm: [(Set, u64); DRM.len()],
}

impl Figures {
    fn new(users: u64) -> Self {
        Self {
            users: Set::new(users),
            devices: Set::new(users * DEVICES),
            licenses: 0,
            unattributed: 0,
            by_drm: std::array::from_fn(|_| (Set::new(users), 0)),
        }
    }

    fn add(&mut self, record: &Record) {
        let by_drm = &mut self.by_drm[record.drm];
        self.licenses += 1;
        by_drm.1 += 1;
        self.devices.insert(record.device);
        match record.user {
            Some(user) => {
                self.users.insert(user);
                by_drm.0.insert(user);
            }
            None => self.unattributed += 1,
        }
    }
}

/// A set of small numbers, one bit each.
pub struct Set(Vec<u64>);

impl Set {
    fn new(end: u64) -> Self {
        Self(vec![0; end.div_ceil(64) as usize])
    }

    fn insert(&mut self, number: u64) {
        self.0[(number / 64) as usize] |= 1 << (number % 64);
    }

    /// Its members.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

fn hex<const DIGITS: usize>(number: u64, out: &mut Vec<u8>) {
    let digit = |at: usize| b"0123456789abcdef"[(number >> (4 * (DIGITS - 1 - at)) & 15) as usize];
    out.extend_from_slice(&std::array::from_fn::<u8, DIGITS, _>(digit));
}

fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    while number > 0 {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
    }
    out[start..].reverse();
}
