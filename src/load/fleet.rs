//! The sites of a run and the people who watch there. Sites are of very unequal size, and few
//! users make most of the requests (a power law, as in the field).

use super::random::{Random, mix3};
use super::text::Text;

/// Zones that the sites take in turn; half of the sites bill by UTC, the default.
const ZONES: [&str; 8] =
    ["Asia/Seoul", "UTC", "Europe/Berlin", "UTC", "America/New_York", "UTC", "Asia/Kolkata", "UTC"];

/// Most users of one site: a device's number must fit 32 bits (three devices, sixteen ranks).
pub(super) const USERS_MAX: u32 = 80_000_000;

/// Devices that one user may have.
pub(super) const DEVICES_MAX: u32 = 3;

/// How a site names its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// `viewer-81231`; the same names at each such site, where they are other people.
    Viewer,
    /// UUID.
    Uuid,
    /// SHA-256 in hex: hashed by the customer.
    Hashed,
    /// Mail address.
    Mail,
    /// Hangul, now and then escaped.
    Hangul,
    /// Base64 of 12 bytes, where case matters.
    Base64,
    /// Account number.
    Number,
    /// The MAC of a set-top box, as the vendor advises.
    Mac,
}

const STYLES: [Style; 8] = [
    Style::Viewer,
    Style::Uuid,
    Style::Mail,
    Style::Number,
    Style::Hashed,
    Style::Viewer,
    Style::Base64,
    Style::Hangul,
];

/// A site of the run.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// Its id in the contract.
    pub(super) id: String,
    /// The zone that it is created with.
    pub(super) zone: &'static str,
    /// How many people watch there.
    pub(super) users: u32,
    /// What its users' and devices' ids are made from.
    pub(super) seed: u64,
    style: Style,
}

impl Site {
    /// Writes a user's id as the inside of a JSON string; the same id each time, whatever the bits.
    pub(super) fn write_user(&self, text: &mut Text, user: u32, bits: u64) {
        let material = mix3(self.seed, 0x05, u64::from(user));
        let number = u64::from(user);
        match self.style {
            Style::Viewer => {
                text.raw("viewer-");
                text.decimal(number, 1);
            }
            Style::Uuid => text.uuid(&wide(material), false),
            Style::Hashed => {
                text.hex(&wide(material), false);
                text.hex(&wide(!material), false);
            }
            Style::Mail => {
                text.raw("user");
                text.decimal(number, 1);
                text.raw("@example.com");
            }
            Style::Hangul if bits & 3 == 0 => {
                text.escaped("시청자");
                text.decimal(number, 1);
            }
            Style::Hangul => {
                text.raw("시청자");
                text.decimal(number, 1);
            }
            Style::Base64 => text.base64(&wide(material)[..12]),
            Style::Number => text.decimal(1_000_000_000 + number * 7, 10),
            Style::Mac => text.hex(&(0x8034_0000_0000 | number).to_be_bytes()[2..], true),
        }
    }

    /// Whether the site's users are boxes (`user_id_kind`).
    pub(super) fn users_are_devices(&self) -> bool {
        self.style == Style::Mac
    }
}

/// All sites of a run.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    /// The sites, the largest first.
    pub(super) sites: Vec<Site>,
}

impl Fleet {
    /// So many sites that share so many users.
    pub(super) fn new(seed: u64, prefix: &str, sites: u32, users: u32) -> Self {
        let site = |index: u32| {
            let share = share_before(index + 1, sites) - share_before(index, sites);
            let style = match index % 16 {
                15 => Style::Mac,
                other => STYLES[other as usize % STYLES.len()],
            };
            Site {
                id: format!("{prefix}-{:04}", index + 1),
                zone: ZONES[index as usize % ZONES.len()],
                users: ((f64::from(users) * share) as u32).clamp(1, USERS_MAX),
                seed: mix3(seed, 0x51, u64::from(index)),
                style,
            }
        };
        Self { sites: (0..sites.max(1)).map(site).collect() }
    }

    /// A site, in proportion to the sizes.
    #[inline]
    pub(super) fn any_site(&self, random: &mut Random) -> u32 {
        let x = random.fraction();
        let x = x * x;
        // The fourth power of a uniform variable has the density x^(-3/4): a Zipf law whose
        // exponent needs multiplications only, which are the same on every machine.
        (x * x * self.sites.len() as f64) as u32
    }

    /// A user of a site: Zipf's law with the exponent 1/2.
    #[inline]
    pub(super) fn any_user(&self, site: &Site, random: &mut Random) -> u32 {
        let x = random.fraction();
        (x * x * f64::from(site.users)) as u32
    }
}

/// The share of traffic of the sites before this one; the inverse of [`Fleet::any_site`].
fn share_before(index: u32, sites: u32) -> f64 {
    (f64::from(index) / f64::from(sites.max(1))).sqrt().sqrt()
}

fn wide(material: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&material.to_be_bytes());
    bytes[8..].copy_from_slice(&mix3(material, 0x06, 0).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sites_are_unequal_and_share_all_users() {
        let fleet = Fleet::new(1, "load", 20, 100_000);
        let users: u32 = fleet.sites.iter().map(|site| site.users).sum();
        assert!((99_900..=100_000).contains(&users), "{users}");
        assert!(fleet.sites[0].users > 40_000);
        assert!(fleet.sites[19].users < 2_000);
    }

    #[test]
    fn traffic_follows_the_sizes() {
        let fleet = Fleet::new(1, "load", 20, 100_000);
        let mut random = Random::new(1, 1, 1);
        let mut hits = [0u32; 20];
        for _ in 0..100_000 {
            hits[fleet.any_site(&mut random) as usize] += 1;
        }
        for (site, hits) in fleet.sites.iter().zip(hits) {
            assert!(hits.abs_diff(site.users) < 700, "{} {hits} {}", site.id, site.users);
        }
    }

    #[test]
    fn user_ids_are_distinct_whatever_the_style() {
        let fleet = Fleet::new(1, "load", 16, 1_000);
        for site in &fleet.sites {
            let names: HashSet<Vec<u8>> = (0..500)
                .map(|user| {
                    let mut text = Text::default();
                    site.write_user(&mut text, user, 1);
                    text.into_bytes()
                })
                .collect();
            assert_eq!(names.len(), 500, "{}", site.id);
        }
    }
}
