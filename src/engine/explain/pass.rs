//! One pass over the records of a month: a part of the members (users, devices, sessions, licence
//! requests), each with what is counted of it.
//!
//! Tags are random, so the first bits of a tag say which part it belongs to. A pass begins with all
//! that is left; where that does not fit, it keeps half of it and leaves the rest to a later pass.
//! No member is counted in two passes, and all of them together are exact.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::crowd::{Crowd, Whose};
use super::facts::Facts;
use crate::model::batch::Effect;
use crate::model::explained::{Explained, Family, Histogram, Limits, Ranges};
use crate::model::ids::ShortTag;
use crate::model::vocab::Quality;

/// Bytes of the tables for each byte of an entry, at the worst moment: a table that is seven
/// eighths full gets one of twice the size beside it.
const TABLE_FACTOR: usize = 4;
/// Bits after which a part is not halved any more. No honest tags get there.
const BITS_MAX: u32 = 48;

/// Tags are as random as any hash of them.
#[derive(Default)]
pub struct TagHasher(u64);

impl Hasher for TagHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // The last bytes of each tag: the first ones are the same within a part.
        for tag in bytes.chunks_exact(TAG_BYTES) {
            let mut last = [0; 8];
            last.copy_from_slice(&tag[TAG_BYTES - 8..]);
            self.0 = self.0.rotate_left(23) ^ u64::from_le_bytes(last);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}

const TAG_BYTES: usize = 12;
type Key = [u8; TAG_BYTES];
type Pair = [u8; 2 * TAG_BYTES];
type Hash = BuildHasherDefault<TagHasher>;

/// A user.
#[derive(Default)]
struct User {
    licenses: u32,
    devices: u32,
    drm: u8,
}

/// A device id.
#[derive(Default)]
struct Device {
    licenses: u32,
    users: u32,
    /// A bit for each quality that it came with.
    qualities: u8,
    /// A bit for each family.
    families: u8,
    /// Whether it was a record's recommended good one.
    recommended: bool,
    stands: bool,
    whose: Whose,
}

/// A session.
#[derive(Default)]
struct Session {
    licenses: u32,
    whose: Whose,
}

/// A part of all tags: those whose first bits are these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    bits: u32,
    prefix: u64,
}

impl Part {
    /// All of them.
    pub const ALL: Self = Self { bits: 0, prefix: 0 };

    fn holds(self, tag: &[u8]) -> bool {
        let mut first = [0; 8];
        first.copy_from_slice(&tag[..8]);
        self.bits == 0 || u64::from_be_bytes(first) >> (u64::BITS - self.bits) == self.prefix
    }

    fn halves(self) -> (Self, Self) {
        let half = |last| Self { bits: self.bits + 1, prefix: self.prefix << 1 | last };
        (half(0), half(1))
    }
}

/// The members of a part.
pub struct Pass {
    part: Part,
    limits: Limits,
    memory: usize,
    users: HashMap<Key, User, Hash>,
    devices: HashMap<Key, Device, Hash>,
    pairs: HashSet<Pair, Hash>,
    sessions: HashMap<Key, Session, Hash>,
    requests: HashSet<Key, Hash>,
    /// What does not fit, for later passes.
    left: Vec<Part>,
}

impl Pass {
    /// A pass over a part, whose members take no more than so many bytes.
    pub fn new(part: Part, limits: Limits, memory: usize) -> Self {
        Self {
            part,
            limits,
            memory,
            users: HashMap::default(),
            devices: HashMap::default(),
            pairs: HashSet::default(),
            sessions: HashMap::default(),
            requests: HashSet::default(),
            left: Vec::new(),
        }
    }

    /// Takes a record.
    pub fn take(&mut self, facts: &Facts) {
        let issued = facts.effect == Effect::Issued;
        if let Some(tag) = facts.active.filter(|tag| self.part.holds(&tag.0)) {
            let user = self.users.entry(tag.0).or_default();
            user.licenses = user.licenses.saturating_add(u32::from(issued));
            user.drm |= facts.drm.bit();
        }
        if let Some(tag) = facts.device.filter(|tag| facts.stands && self.part.holds(&tag.0)) {
            self.devices.entry(tag.0).or_default().stands = true;
        }
        if !issued {
            return;
        }
        for (quality, tag) in facts.ids().iter().filter(|(_, tag)| self.part.holds(&tag.0)) {
            let device = self.devices.entry(tag.0).or_default();
            device.qualities |= 1 << quality.code();
            device.whose.take(facts);
        }
        if let Some(tag) = facts.device.filter(|tag| self.part.holds(&tag.0)) {
            let device = self.devices.entry(tag.0).or_default();
            device.licenses = device.licenses.saturating_add(1);
            device.families |= 1 << facts.family as u8;
            device.recommended = true;
            device.whose.take(facts);
        }
        if let Some((user, device)) = facts.active.zip(facts.device) {
            self.pair(user, device);
        }
        if let Some(tag) = facts.session.filter(|tag| !facts.renewal && self.part.holds(&tag.0)) {
            let session = self.sessions.entry(tag.0).or_default();
            session.licenses = session.licenses.saturating_add(1);
            session.whose.take(facts);
        }
        if let Some(tag) = facts.request.filter(|tag| self.part.holds(&tag.0)) {
            self.requests.insert(tag.0);
        }
    }

    /// Notes that a user has a device. From some number on nobody asks how many there are, so that
    /// one id that stands for millions takes no memory for them.
    fn pair(&mut self, user: ShortTag, device: ShortTag) {
        let most = |limit: u32| limit.saturating_add(1).max(Histogram::LAST_FROM);
        let (of_user, of_device) = (self.users.get(&user.0), self.devices.get(&device.0));
        let wanted = of_user.is_some_and(|of| of.devices < most(self.limits.devices_per_user))
            || of_device.is_some_and(|of| of.users < most(self.limits.users_per_device));
        if !wanted {
            return;
        }
        let mut pair = [0; 2 * TAG_BYTES];
        pair[..TAG_BYTES].copy_from_slice(&user.0);
        pair[TAG_BYTES..].copy_from_slice(&device.0);
        if !self.pairs.insert(pair) {
            return;
        }
        if let Some(user) = self.users.get_mut(&user.0) {
            user.devices += 1;
        }
        if let Some(device) = self.devices.get_mut(&device.0) {
            device.users += 1;
        }
    }

    /// Halves the part as long as its members do not fit.
    pub fn fit(&mut self) {
        while self.bytes() > self.memory && self.part.bits < BITS_MAX {
            let (kept, left) = self.part.halves();
            self.part = kept;
            self.left.push(left);
            self.users.retain(|tag, _| kept.holds(tag));
            self.devices.retain(|tag, _| kept.holds(tag));
            self.pairs.retain(|pair| kept.holds(pair) || kept.holds(&pair[TAG_BYTES..]));
            self.sessions.retain(|tag, _| kept.holds(tag));
            self.requests.retain(|tag| kept.holds(tag));
            self.users.shrink_to_fit();
            self.devices.shrink_to_fit();
            self.pairs.shrink_to_fit();
            self.sessions.shrink_to_fit();
            self.requests.shrink_to_fit();
        }
    }

    /// The memory that the members take, at most.
    fn bytes(&self) -> usize {
        let entries = self.users.len() * (size_of::<(Key, User)>() + 1)
            + self.devices.len() * (size_of::<(Key, Device)>() + 1)
            + self.pairs.len() * (size_of::<Pair>() + 1)
            + self.sessions.len() * (size_of::<(Key, Session)>() + 1)
            + self.requests.len() * (size_of::<Key>() + 1);
        entries * TABLE_FACTOR
    }

    /// Adds what was counted to an explanation, which knows all issued licences by now, and whom it
    /// is about to a crowd; answers what is left for later passes.
    pub fn end(self, issued: u64, into: &mut Explained, crowd: &mut Crowd) -> Vec<Part> {
        let limits = self.limits;
        let share = |licenses: u32| {
            issued >= limits.share_least
                && u128::from(licenses) * 1_000_000
                    > u128::from(issued) * u128::from(limits.license_share_ppm)
        };
        for (tag, user) in &self.users {
            into.users += 1;
            into.licenses_per_user.add(user.licenses);
            into.devices_per_user.add(user.devices);
            let own = Whose::default();
            crowd.range(Ranges::LicensesPerUser, user.licenses, tag, own);
            crowd.range(Ranges::DevicesPerUser, user.devices, tag, own);
            for (bit, users) in into.users_by_drm.iter_mut().enumerate() {
                *users += u64::from(user.drm >> bit & 1);
            }
            let by_devices = user.devices > limits.devices_per_user;
            let by_share = share(user.licenses);
            into.suspects.users_by_devices += u64::from(by_devices);
            into.suspects.users_by_share += u64::from(by_share);
            if by_devices || by_share {
                into.suspects.users += 1;
                into.suspects.user_licenses += u64::from(user.licenses);
            }
        }
        for (tag, device) in &self.devices {
            device.end(limits, into, (tag, &mut *crowd));
        }
        for (tag, Session { licenses, whose }) in &self.sessions {
            into.licenses_per_session.add(*licenses);
            crowd.range(Ranges::LicensesPerSession, *licenses, tag, *whose);
        }
        into.requests_distinct += self.requests.len() as u64;
        into.passes += 1;
        self.left
    }
}

impl Device {
    fn end(&self, limits: Limits, into: &mut Explained, (own, crowd): (&Key, &mut Crowd)) {
        let qualities = into.device_ids.iter_mut().zip(Quality::ALL).enumerate();
        for (at, (ids, _)) in qualities.filter(|(_, (_, of))| self.qualities >> of.code() & 1 == 1)
        {
            *ids += 1;
            crowd.device_id(at, own, self.whose);
        }
        into.device_users += u64::from(self.stands);
        if !self.recommended {
            return;
        }
        into.devices += 1;
        into.users_per_device.add(self.users);
        crowd.range(Ranges::UsersPerDevice, self.users, own, self.whose);
        let family = (0..Family::Other as u8).find(|bit| self.families >> bit & 1 == 1);
        let family = usize::from(family.unwrap_or(Family::Other as u8));
        into.devices_by_family[family] += 1;
        crowd.family(family, own, self.whose);
        if self.users > limits.users_per_device {
            into.suspects.devices += 1;
            into.suspects.device_licenses += u64::from(self.licenses);
        }
    }
}
